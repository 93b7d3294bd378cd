// The replaying side: whether a recorded step stands for a call, and running it again.
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <numeric>
#include <thread>

#include "core/autocast.h"
#include "core/batch.h"
#include "core/function.h"
#include "core/memory.h"
#include "core/plan.h"
#include "core/recording.h"
#include "core/tape.h"
#include "core/threads.h"

namespace dlcore {

// ---- whether a recording stands for a call ------------------------------------------------------------------------
// A graph reads its arguments in memory of its own, to which each replay copies them.
static bool is_graph(const Recording* self) { return self->device && (!self->fixed.empty() || self->inputs.empty()); }

// From one step's argument to the next one's, in bytes, where a graph of several steps reads them: aligned as one is.
static int64_t pitch(const Buffer* fixed) { return static_cast<int64_t>((fixed->bytes + 15) / 16 * 16); }

// A GPU's kernels are specialised for whether addresses are multiples of 16 bytes.
static bool same_alignment(const Recording* self, const Input& input, const Tensor* t) {
  return !t->device || is_graph(self) || aligned(t) == input.aligned;
}

static bool same_spec(const Input& input, const Tensor* t) {
  const Array &want = input.array, &a = t->array;
  return !t->weak && (t->node != nullptr) == input.history && t->requires_grad == input.requires_grad &&
         !(input.written && t->buffer->readonly) && t->device == input.device && a.dtype == want.dtype &&
         a.ndim == want.ndim &&
         !std::memcmp(a.shape, want.shape, sizeof(int64_t) * a.ndim) &&
         !std::memcmp(a.strides, want.strides, sizeof(int64_t) * a.ndim);
}

struct Call {  // the tensors of one replay
  std::vector<Tensor*> sources;  // per input; whoever calls holds the arguments
  std::vector<Array> wholes;     // per input: all of its memory, in a sweep too
  std::vector<TensorRef> grads;  // the sources that leaves hold, which the step may replace and other threads too
};

static Tensor* leaf_of(const Recording* self, size_t k, const Call& call) {
  const LeafGrad& g = self->steps.grads[k];
  return g.argument >= 0 ? call.sources[static_cast<size_t>(g.argument)] : g.leaf.get();
}

// Adds the gradients that leaves have now, which must be there where the recorded step found some.
static bool add_grads(Recording* self, Call& call) {
  for (size_t k = 0; k < self->grads.size(); ++k) {
    const LeafGrad& g = self->steps.grads[k];
    if (!g.leaf || !g.read) continue;
    Tensor* now = as_tensor(leaf_of(self, k, call)->grad);
    if ((g.region >= 0) != (now != nullptr)) return false;
    if (!now) continue;
    call.sources.push_back(now);
    call.wholes.push_back(now->array);
    call.grads.push_back(TensorRef::share(now));
  }
  return call.sources.size() == self->inputs.size();
}

// Inputs that have moved must not reach into memory that the step changes, nor what it changes of them into others.
static bool apart(const Recording* self, const Call& call) {
  for (size_t k = 0; k < call.sources.size(); ++k) {
    const Input& a = self->inputs[k];
    const char* bound = self->bound[static_cast<size_t>(a.region)];
    if (bound == call.sources[k]->array.data && call.wholes[k].ndim == a.array.ndim) continue;
    if (overlaps(call.wholes[k], a.written ? self->fixed_all : self->fixed_written)) return false;
    for (size_t j = 0; j < call.sources.size(); ++j) {
      const Input& b = self->inputs[j];
      if (a.same != b.same && (a.written || b.written) && share_memory(call.wholes[k], call.wholes[j])) return false;
    }
  }
  return true;
}

// 1 yes, 0 no, -1 error.
static int matches(Recording* self, Call& call) {
  if (call.sources.size() != self->n_arguments || self->grad_mode != grad_enabled || recorder) return 0;
  if (self->autocast != autocast_dtype) return 0;
  if (!add_grads(self, call)) return 0;
  for (size_t k = 0; k < call.sources.size(); ++k) {
    const Input& input = self->inputs[k];
    if (!same_spec(input, call.sources[k]) || !same_alignment(self, input, call.sources[k])) return 0;
    if (input.leaf >= 0) continue;
    if (self->grad_mode && history_lost(call.sources[k])) return 0;
    if (call.sources[static_cast<size_t>(input.same)] != call.sources[k]) return 0;
    for (size_t j = 0; input.requires_grad_after && j < k; ++j) {  // its gradients from both places add up
      if (input.same != self->inputs[j].same && call.sources[j] == call.sources[k]) return 0;
    }
  }
  if (!apart(self, call)) return 0;
  const std::vector<TensorRef>& older = self->steps.older;
  if (std::any_of(older.begin(), older.end(), [](const TensorRef& t) { return history_lost(t.get()); })) return 0;
  for (Guard& guard : self->guards) {
    if (const int same = holds(guard); same != 1) return same;
  }
  if (self->check && changes != self->seen_changes) {
    const uint64_t now = changes;
    const Ref same = Ref::own(PyObject_CallNoArgs(self->check.get()));
    if (!same) return -1;
    if (same.get() != Py_True) return 0;
    self->seen_changes = now;
  }
  return 1;
}

// ---- replaying ----------------------------------------------------------------------------------------------------
static bool touched(const Tensor* t) { return t->requires_grad || t->grad || t->weakrefs; }  // by whoever held it

// Results and gradients of the last call that somebody still holds keep their memory: new ones take their place. So do
// gradients that this call starts from (it holds them), for the step may read them after it has written new ones.
static bool replace_held(Recording* self) {
  Steps& s = self->steps;
  for (size_t region = 0; region < s.regions.size(); ++region) {
    if (s.regions[region].kind != Region::inside || !s.regions[region].buffer) continue;
    std::vector<TensorRef*> ours;
    int64_t held = 0;
    for (Result& r : self->results) {
      if (r.region != static_cast<int>(region)) continue;
      ours.push_back(&r.tensor);
      held += Py_REFCNT(r.tensor.object()) - 1 + touched(r.tensor.get());
    }
    for (size_t k = 0; k < self->grads.size(); ++k) {
      Result& r = self->grads[k];
      if (r.region != static_cast<int>(region)) continue;
      ours.push_back(&r.tensor);
      const bool is_grad = s.grads[k].leaf->grad == r.tensor.object();
      held += Py_REFCNT(r.tensor.object()) - 1 - is_grad + touched(r.tensor.get());
    }
    Buffer* old = s.regions[region].buffer;
    if (held == 0 && old->refs == static_cast<int64_t>(ours.size()) + 1) {
      old->rewritten = false;  // nobody has a view from before
      continue;
    }
    std::unique_ptr<Buffer, void (*)(Buffer*)> fresh(nullptr, drop);
    try {
      fresh.reset(new_buffer(old->bytes, old->device));
    } catch (const std::bad_alloc&) {
      PyErr_Format(PyExc_MemoryError,
                   "capture: out of memory for an output of %zu bytes; an earlier one is still in use", old->bytes);
      return false;
    }
    std::vector<TensorRef> made;
    for (TensorRef* place : ours) {
      const Tensor* before = place->get();
      TensorRef t = TensorRef::own(blank_tensor(Py_TYPE(place->object())));
      if (!t) return false;
      t->array = before->array;
      t->array.data = static_cast<char*>(fresh->data) + (before->array.as<char>() - static_cast<char*>(old->data));
      t->buffer = keep(fresh.get());
      t->device = before->device;
      made.push_back(std::move(t));
    }
    for (size_t k = 0; k < ours.size(); ++k) *ours[k] = std::move(made[k]);  // all or, where memory runs out, none
    repoint(self, static_cast<int>(region), static_cast<char*>(fresh->data));
    s.regions[region].buffer = fresh.release();
    drop(old);
    self->graph.reset();
    self->graph_of_many.reset();
  }
  return true;
}

static void run_command(Recording* self, const Command& c) {
  Steps& s = self->steps;
  dlcore::run(c.kernel, {s.arrays.data() + c.first_array, c.n_inputs, c.n_arrays,
                         s.params.data() + c.first_param, c.n_params});
}

// body(at), whose C++ errors become Python's; `at`: the command that runs, null when all have.
template <class Body> static bool guarded(const Recording* self, const Command*& at, Body body) {
  try {
    body(at);
    at = nullptr;
    return true;
  } catch (...) {
    const char* kernel = at ? at->kernel.name : "capture";
    const int caller = at ? at->caller : -1;
    return raise_kernel_error(kernel, at && at->function ? at->function->name_utf8 : kernel,
                              caller < 0 ? nullptr : self->steps.callers[static_cast<size_t>(caller)].c_str());
  }
}
template <class Body> static bool guarded_without_gil(const Recording* self, const Command*& at, Body body) {
  return guarded(self, at, [&](const Command*& at) {
    const WithoutGil released;
    body(at);
  });
}

// Steps on a GPU: their launches become the nodes of a graph, which nothing but the graph's own launch runs. Step j reads
// its arguments in `memory`, j times what pitch() says further. Under the GIL, for one thread at a time can do this.
static std::shared_ptr<cuda::Graph> make_graph(Recording* self, const Command*& at, int64_t steps,
                                               const std::vector<Buffer*>& memory) {
  cuda::capture_begin(self->device);
  try {
    for (int64_t j = 0; j < steps; ++j) {
      for (size_t k = 0; k < memory.size(); ++k) {
        repoint(self, self->inputs[k].region, static_cast<char*>(memory[k]->data) + j * pitch(self->fixed[k]));
      }
      for (const Command& c : self->steps.commands) {
        at = &c;
        run_command(self, c);
      }
    }
    at = nullptr;
    return cuda::instantiate(cuda::capture_end(self->device));
  } catch (...) {
    cuda::capture_abandon(self->device);
    throw;
  }
}

// A sweep's steps are launched kTogether at a time, and their arguments copied so: a launch, and a copy where an
// argument's elements lie one after the other, where each step would need its own.
static constexpr int64_t kTogether = 8;
static constexpr int64_t kMostTogether = 64 << 20;  // bytes of arguments that this may take

static bool together(const Recording* self, int64_t times) {
  const auto all = [](int64_t bytes, const Buffer* b) { return bytes + kTogether * pitch(b); };
  return times >= 2 * kTogether &&
         std::accumulate(self->fixed.begin(), self->fixed.end(), int64_t{0}, all) <= kMostTogether;
}

// False: there is no room for the arguments of several steps.
static bool make_room_for_many(Recording* self) {
  try {
    while (self->fixed_of_many.size() < self->fixed.size()) {
      const Buffer* one = self->fixed[self->fixed_of_many.size()];
      self->fixed_of_many.push_back(new_buffer(static_cast<size_t>(kTogether * pitch(one)), self->device));
    }
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// The graphs that a sweep over `times` steps needs.
static void make_graphs(Recording* self, const Command*& at, int64_t times) {
  if (!self->graph) self->graph = make_graph(self, at, 1, self->fixed);
  if (!together(self, times) || self->graph_of_many || !make_room_for_many(self)) return;
  self->graph_of_many = make_graph(self, at, kTogether, self->fixed_of_many);
}

// The arguments of `steps` steps, from step `first` on, to where a graph reads them.
static void copy_to_graph(Recording* self, const Call& call, int64_t first, int64_t steps,
                          const std::vector<int64_t>& strides, const std::vector<Buffer*>& memory) {
  for (size_t k = 0; k < memory.size(); ++k) {
    const int64_t stride = k < strides.size() ? strides[k] : 0, to_next = pitch(self->fixed[k]);
    const size_t bytes = self->fixed[k]->bytes;
    const char* from = call.sources[k]->array.as<char>() + first * stride;
    char* to = static_cast<char*>(memory[k]->data);
    const bool in_a_row = stride == to_next && bytes == static_cast<size_t>(to_next);
    for (int64_t j = 0; j < (in_a_row ? 1 : steps); ++j) {
      const size_t n = in_a_row ? bytes * static_cast<size_t>(steps) : bytes;
      cuda::copy(self->device, to + j * to_next, self->device, from + j * stride, n);
    }
  }
}

// Launches as many steps of a sweep at once as are left and have a graph; returns how many.
static int64_t run_graph(Recording* self, const Call& call, int64_t step, int64_t times,
                         const std::vector<int64_t>& strides) {
  const bool many = self->graph_of_many && times - step >= kTogether;
  const int64_t steps = many ? kTogether : 1;
  copy_to_graph(self, call, step, steps, strides, many ? self->fixed_of_many : self->fixed);
  cuda::launch_graph(many ? *self->graph_of_many : *self->graph);
  return steps;
}

// What the step leaves in tensors besides values: versions, gradients, flags. `end`: the command at which it ended.
static bool leave(Recording* self, const Call& call, int end) {
  Steps& s = self->steps;
  for (const Region& r : s.regions) {
    if (r.written && r.kind == Region::outside) ++r.buffer->version;
  }
  for (size_t k = 0; k < call.sources.size(); ++k) {
    const Input& input = self->inputs[k];
    if (input.written) bump(call.sources[k]);
    if (input.leaf < 0 && input.requires_grad_after != input.requires_grad) {
      call.sources[k]->requires_grad = input.requires_grad_after;
      ++changes;
    }
  }
  for (size_t k = 0; k < self->grads.size(); ++k) {
    const LeafGrad& g = s.grads[k];
    const bool set = g.set >= 0 && end >= g.set, cleared = g.cleared >= 0 && end >= g.cleared;
    if (!g.leaf || !(set || cleared)) continue;
    const Result& left = self->grads[k];
    Ref grad = Ref::share(set ? left.tensor.object() : nullptr);
    if (set && left.input >= 0) {
      grad = from_input(left, call.sources[static_cast<size_t>(left.input)]);
      if (!grad) return false;
    }
    hold_grad(leaf_of(self, k, call), grad.release());
  }
  return true;
}

static PyObject* results(const Recording* self, const Call& call) {
  Ref tuple = Ref::own(PyTuple_New(static_cast<Py_ssize_t>(self->results.size())));
  for (size_t k = 0; tuple && k < self->results.size(); ++k) {
    const Result& r = self->results[k];
    TensorRef t = r.tensor;
    if (t && self->graph) {  // the graph's own memory stays its own
      t = TensorRef::own(contiguous_copy(t.get()));
    } else if (!t) {
      Tensor* source = call.sources[static_cast<size_t>(r.input)];
      Array a = r.array;
      a.data = static_cast<char*>(source->array.data) + r.offset;
      t = TensorRef::own(new_view(source, a));
    }
    if (!t) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(k), as_object(t.release()));
  }
  if (!tuple || !self->tracking) return tuple.release();
  return linked_results(*self->tracking, std::move(tuple), call.sources);
}

static bool read_args(PyObject* tuple, Call& call) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tuple); ++k) {
    if (!is_tensor(PyTuple_GET_ITEM(tuple, k))) return false;
    Tensor* t = as_tensor(PyTuple_GET_ITEM(tuple, k));
    call.sources.push_back(t);
    call.wholes.push_back(t->array);
  }
  return true;
}

// The first elements along the first axis of each tensor, of length `times`; null without an error if there are none.
static Ref first_elements(const Call& stacked, int64_t times) {
  for (const Tensor* t : stacked.sources) {
    if (t->array.ndim == 0 || t->array.shape[0] != times || t->requires_grad) return {};
  }
  Ref firsts = Ref::own(PyTuple_New(static_cast<Py_ssize_t>(stacked.sources.size())));
  for (size_t k = 0; firsts && k < stacked.sources.size(); ++k) {
    Array a = stacked.wholes[k];
    std::memmove(a.shape, a.shape + 1, sizeof(int64_t) * static_cast<size_t>(a.ndim - 1));
    std::memmove(a.strides, a.strides + 1, sizeof(int64_t) * static_cast<size_t>(a.ndim - 1));
    --a.ndim;
    Tensor* first = new_view(stacked.sources[k], a);
    if (!first) return {};
    PyTuple_SET_ITEM(firsts.get(), static_cast<Py_ssize_t>(k), as_object(first));
  }
  return firsts;
}

constexpr auto kPatience = std::chrono::milliseconds(20);  // that a signal (Ctrl-C) waits for, or one step

// A recording that runs. In a forked child, none of those that ran in threads of the parent does.
static uint32_t generation = 1;
static const int fork_rule = pthread_atfork(nullptr, nullptr, [] { ++generation; });

static bool is_busy(const Recording* self) { return self->busy == generation; }

struct Busy {
  Recording* self;
  explicit Busy(Recording* r) : self(r) {
    self->busy = generation;
    self->runner = PyThread_get_thread_ident();
  }
  ~Busy() { self->busy = 0; }
};

// Waits until no other thread runs it; false, with an error, where it is this thread that does, or Ctrl-C came.
static bool await_turn(const Recording* self) {
  constexpr auto kPause = std::chrono::microseconds(20);
  while (is_busy(self)) {
    if (self->runner == PyThread_get_thread_ident()) {
      PyErr_SetString(PyExc_RuntimeError, "capture: this step is running already, and has called itself");
      return false;
    }
    {
      const WithoutGil released;
      std::this_thread::sleep_for(kPause);
    }
    if (PyErr_CheckSignals()) return false;
  }
  return true;
}

// Whether arguments that move on by so many bytes stay such as the kernels are specialised for.
static bool strides_keep_alignment(const Recording* self, const Call& call, const std::vector<int64_t>& strides) {
  if (is_graph(self)) return true;
  for (size_t k = 0; k < strides.size(); ++k) {
    if (call.sources[k]->device && strides[k] % kVectorBytes) return false;
  }
  return true;
}

// `times` replays; the arguments move on by `strides` bytes after each. The results as a tuple; NotImplemented if the
// recording does not stand for this call.
static PyObject* replay(Recording* self, Call& call, int64_t times, const std::vector<int64_t>& strides) {
  if (!await_turn(self)) return nullptr;
  const Busy busy(self);
  const int good = matches(self, call);
  if (good < 0) return nullptr;
  const bool one_by_one = times > 1 && !(self->steady && strides_keep_alignment(self, call, strides));
  if (!good || one_by_one) Py_RETURN_NOTIMPLEMENTED;
  if (!replace_held(self)) return nullptr;
  const bool as_graph = is_graph(self);
  for (size_t k = 0; !as_graph && k < call.sources.size(); ++k) {
    repoint(self, self->inputs[k].region, call.sources[k]->array.as<char>());
  }
  const Command* at = nullptr;
  const bool graphs_missing = as_graph && (!self->graph || (times > 1 && !self->graph_of_many));
  if (graphs_missing && !guarded(self, at, [&](const Command*& at) { make_graphs(self, at, times); })) return nullptr;
  int64_t step = 0;
  const auto some_steps = [&](const Command*& at) {  // until it is time to look for signals
    using clock = std::chrono::steady_clock;
    const Serial alone(self->serial);
    const clock::time_point begin = times > 1 ? clock::now() : clock::time_point{};
    do {
      int64_t done = 1;
      if (as_graph) {
        done = run_graph(self, call, step, times, strides);
      } else {
        for (size_t k = 0; step && k < strides.size(); ++k) {
          repoint(self, static_cast<int>(k), self->bound[k] + strides[k]);
        }
        for (const Command& c : self->steps.commands) {
          at = &c;
          run_command(self, c);
        }
      }
      self->replays += done;
      step += done;
    } while (step < times && clock::now() - begin < kPatience);
  };
  const int all = static_cast<int>(self->steps.commands.size());
  while (step < times) {  // what was done before an error is done, as it would be without a recording
    if (!guarded_without_gil(self, at, some_steps)) {
      const PendingError raised;
      if (step) leave(self, call, all);
      leave(self, call, at ? static_cast<int>(at - self->steps.commands.data()) : 0);
      return nullptr;
    }
    if (step < times && PyErr_CheckSignals()) {
      const PendingError raised;
      leave(self, call, all);
      return nullptr;
    }
  }
  if (!leave(self, call, all)) return nullptr;
  return results(self, call);
}

// Hooks of the gradient of an argument, which no replay would call.
static bool any_hooked(const Call& call) {
  return std::any_of(call.sources.begin(), call.sources.end(),
                     [](const Tensor* t) { return t->hooks && PyList_GET_SIZE(t->hooks); });
}

PyObject* run_recording(PyObject* object, PyObject* args) {
  Recording* self = reinterpret_cast<Recording*>(object);
  Call call;
  if (examiner || batch_depth || !read_args(args, call) || any_hooked(call)) Py_RETURN_NOTIMPLEMENTED;  // each operation is looked at in an eager call
  Ref result = Ref::own(replay(self, call, 1, {}));
  if (result && result.get() != Py_NotImplemented) self->last_args = Ref::share(args);
  return result.release();
}

// outcome(*tensors): what the recorded call itself returns, with these as its arguments.
PyObject* outcome_recording(PyObject* object, PyObject* args) {
  Call call;
  if (!read_args(args, call)) Py_RETURN_NOTIMPLEMENTED;
  return results(reinterpret_cast<Recording*>(object), call);
}

// stands(*tensors): whether it can be replayed for a call with these arguments now.
PyObject* stands_recording(PyObject* object, PyObject* args) {
  Call call;
  const int good = read_args(args, call) ? matches(reinterpret_cast<Recording*>(object), call) : 0;
  return good < 0 ? nullptr : PyBool_FromLong(good);
}

// sweep(tensors, n): each has an axis more than the argument, of length n.
PyObject* sweep_recording(PyObject* object, PyObject* args) {
  Recording* self = reinterpret_cast<Recording*>(object);
  PyObject* tensors;
  long long times;
  if (!PyArg_ParseTuple(args, "O!L:sweep", &PyTuple_Type, &tensors, &times)) return nullptr;
  Call stacked, call;
  if (examiner || batch_depth || !read_args(tensors, stacked)) Py_RETURN_NOTIMPLEMENTED;
  const Ref firsts = first_elements(stacked, times);
  if (!firsts && PyErr_Occurred()) return nullptr;
  if (!firsts) Py_RETURN_NOTIMPLEMENTED;
  read_args(firsts.get(), call);
  call.wholes = stacked.wholes;
  std::vector<int64_t> strides;
  for (const Array& a : stacked.wholes) strides.push_back(a.strides[0] * item_size(a.dtype));
  Ref result = Ref::own(replay(self, call, times, strides));
  if (result && result.get() != Py_NotImplemented) self->last_args = firsts;
  return result.release();
}

// ---- timing -------------------------------------------------------------------------------------------------------
namespace {
// The memory that a step changes, besides its arena: kept, and put back.
class Snapshot {
 public:
  Snapshot(const Recording* self, const Call& call) : device_(self->device) {
    for (size_t k = 0; k < call.sources.size(); ++k) {
      const auto [low, high] = extent(call.sources[k]->array);
      if (self->inputs[k].written) keep(const_cast<char*>(low), static_cast<size_t>(high - low));
    }
    for (size_t k = 0; k < self->steps.regions.size(); ++k) {
      const Region& r = self->steps.regions[k];
      if (r.kind != Region::input && r.buffer && r.written) keep(self->bound[k], r.bytes);
    }
  }

  void put_back() const {
    for (const Copy& c : copies_) move(c.at, c.values->data, c.values->bytes);
  }

 private:
  struct Copy {
    char* at;
    std::unique_ptr<Buffer, void (*)(Buffer*)> values;
  };
  void move(void* to, const void* from, size_t bytes) const {
    if (!device_) std::memcpy(to, from, bytes);
    else if (bytes) cuda::copy(device_, to, device_, from, bytes);
  }
  void keep(char* at, size_t bytes) {
    Copy copy{at, {new_buffer(bytes, device_), drop}};
    move(copy.values->data, at, bytes);
    copies_.push_back(std::move(copy));
  }
  const uint8_t device_;
  std::vector<Copy> copies_;
};
}  // namespace

// Calls run(k) for each of n commands, one after the other, and lowers seconds[k] to what it took.
template <class Run> static void time_each(uint8_t device, std::vector<double>& seconds, const Run& run) {
  const size_t n = seconds.size();
  std::vector<double> times;
  if (device) {
    cuda::Stopwatch watch(device, n + 1);
    for (size_t k = 0; k < n; ++k) {
      watch.mark(k);
      run(k);
    }
    watch.mark(n);
    times = watch.seconds();
  } else {
    using clock = std::chrono::steady_clock;
    clock::time_point before = clock::now();
    for (size_t k = 0; k < n; ++k) {
      run(k);
      const clock::time_point after = clock::now();
      times.push_back(std::chrono::duration<double>(after - before).count());
      before = after;
    }
  }
  for (size_t k = 0; k < n; ++k) seconds[k] = std::min(seconds[k], times[k]);
}

// profile(repeats): seconds of each command, the fastest of some replays with the last call's arguments; on a GPU
// between events in its stream, without a graph. All memory that the step changes is put back, so nothing has happened.
PyObject* profile_recording(PyObject* object, PyObject* argument) {
  Recording* self = reinterpret_cast<Recording*>(object);
  const int64_t repeats = PyLong_AsLongLong(argument);
  if (repeats == -1 && PyErr_Occurred()) return nullptr;
  Call call;
  const bool known = self->last_args ? read_args(self->last_args.get(), call) : self->n_arguments == 0;
  if (is_busy(self) || !known || !add_grads(self, call)) {
    PyErr_SetString(errors.capture, "explain: call the step once more first: it has not been replayed yet, or starts "
                                    "from other gradients");
    return nullptr;
  }
  Steps& s = self->steps;
  std::vector<double> seconds(s.commands.size(), 1e9);
  const Busy busy(self);
  const bool as_graph = is_graph(self);
  for (size_t k = 0; k < call.sources.size(); ++k) {
    repoint(self, self->inputs[k].region, as_graph ? static_cast<char*>(self->fixed[k]->data)
                                                   : call.sources[k]->array.as<char>());
  }
  const Command* at = nullptr;
  const bool done = guarded(self, at, [&](const Command*& at) {
    const Snapshot saved(self, call);
    const WithoutGil released;
    const Serial alone(self->serial);
    if (as_graph) copy_to_graph(self, call, 0, 1, {}, self->fixed);
    for (int64_t repeat = 0; repeat < repeats; ++repeat) {
      std::exception_ptr error;
      try {
        time_each(self->device, seconds, [&](size_t k) {
          at = &s.commands[k];
          run_command(self, s.commands[k]);
        });
      } catch (...) {
        error = std::current_exception();
      }
      saved.put_back();
      if (error) std::rethrow_exception(error);
    }
  });
  if (!done) return nullptr;
  Ref list = Ref::own(PyList_New(static_cast<Py_ssize_t>(seconds.size())));
  for (size_t k = 0; list && k < seconds.size(); ++k) {
    PyObject* value = PyFloat_FromDouble(seconds[k]);
    if (!value) return nullptr;
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(k), value);
  }
  return list.release();
}

}  // namespace dlcore
