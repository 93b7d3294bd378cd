// The replaying side: a recorded step as a Python object.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "core/function.h"
#include "core/memory.h"
#include "core/record.h"
#include "core/tape.h"

namespace dlcore {

struct Site {  // an array whose address follows a buffer that is replaced
  int array;
  int64_t offset;
};

struct Result {  // a tensor that the step returns
  Tensor* tensor;  // owned; null: a view of an input, made at every call
  int region;
  Array array;
  int64_t offset;
};

struct Watched {  // a Python variable: a cell, an entry of a dict or list, or how many entries these have
  PyObject *container, *key, *value;  // owned; key null for a cell and for the number of entries
};

struct Recording {
  PyObject_HEAD
  Steps steps;
  std::vector<std::vector<Site>> sites;  // per region: inputs, and inside ones that survive
  std::vector<char*> bound;              // per region: where the sites point
  std::vector<Array> inputs;             // what each argument must look like
  std::vector<bool> input_grad, input_written;
  std::vector<Result> results;
  std::vector<Tensor*> grads;            // per LeafGrad: the gradient the step leaves; owned, null: None
  std::vector<int> grad_region;
  std::vector<std::pair<const char*, const char*>> fixed_written, fixed_all;  // memory of outside regions
  std::vector<Watched> watched;
  PyObject* check;                       // check() -> bool: whether modules and optimizers are as recorded
  PyObject* last_args;                   // of the last replay, for explain()
  uint64_t seen_changes;
  char* arena;
  size_t arena_bytes;
  bool grad_mode, busy;
  int64_t replays;
};

static PyTypeObject* recording_type = nullptr;
static uint64_t next_serial = 0;

// ---- from the recorder to a recording -----------------------------------------------------------------------------
static Tensor* aliased(Tensor* t) {  // the same memory behind a buffer of its own, so that the input can be told from other uses
  Buffer* buffer = new Buffer{};
  buffer->data = t->array.data;
  buffer->bytes = static_cast<size_t>(t->array.size() * item_size(t->array.dtype));
  buffer->readonly = t->buffer->readonly;
  buffer->owner = Py_NewRef(as_object(t));
  buffer->free_owner = [](void* owner) { Py_DECREF(static_cast<PyObject*>(owner)); };
  Tensor* alias = blank_tensor(tensor_type);
  if (!alias) {
    drop(buffer);
    return nullptr;
  }
  alias->array = t->array;
  alias->buffer = buffer;
  alias->device = t->device;
  alias->requires_grad = t->requires_grad;
  if (t->grad) alias->grad = Py_NewRef(t->grad);
  return alias;
}

// begin_recording(tensors, dry): the tensors to call the step with.
static PyObject* begin_recording(PyObject*, PyObject* args) {
  PyObject* tensors;
  int dry;
  if (!PyArg_ParseTuple(args, "O!p:begin_recording", &PyTuple_Type, &tensors, &dry)) return nullptr;
  if (recorder) {
    PyErr_SetString(errors.capture, "a step is being recorded already");
    return nullptr;
  }
  PyObject* aliases = PyTuple_New(PyTuple_GET_SIZE(tensors));
  if (!aliases) return nullptr;
  Recorder* r = new Recorder{};
  r->serial = ++next_serial;
  r->dry = dry;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tensors); ++k) {
    Tensor* alias = aliased(as_tensor(PyTuple_GET_ITEM(tensors, k)));
    if (!alias) {
      delete r;
      Py_DECREF(aliases);
      return nullptr;
    }
    PyTuple_SET_ITEM(aliases, k, as_object(alias));
    alias->buffer->mark = r->serial << 32 | static_cast<uint32_t>(k);
    r->steps.regions.push_back({.kind = Region::input, .buffer = keep(alias->buffer), .bytes = alias->buffer->bytes, .argument = static_cast<int>(k)});
  }
  recorder = r;
  return aliases;
}

static void discard(Recorder* r) {
  for (Region& region : r->steps.regions) {  // not ours
    if (region.kind == Region::inside) region.buffer = nullptr;
  }
  release(r->steps);
  delete r;
}

static PyObject* abort_recording(PyObject*, PyObject*) {
  if (Recorder* r = std::exchange(recorder, nullptr)) discard(r);
  Py_RETURN_NONE;
}

static std::pair<const char*, const char*> extent(const Array& a) {  // first byte, one past the last
  const char *low = static_cast<const char*>(a.data), *high = low;
  const int64_t item = item_size(a.dtype);
  for (int d = 0; d < a.ndim; ++d) {
    if (a.shape[d] == 0) return {low, low};
    const int64_t reach = (a.shape[d] - 1) * a.strides[d] * item;
    (reach < 0 ? low : high) += reach;
  }
  return {low, high + item};
}

static bool overlaps(const Array& a, const std::vector<std::pair<const char*, const char*>>& ranges) {
  const auto [low, high] = extent(a);
  return std::any_of(ranges.begin(), ranges.end(), [&](const auto& r) { return low < r.second && r.first < high; });
}

static int region_index(const Recorder* r, const Tensor* t) {
  return t->buffer && t->buffer->mark >> 32 == r->serial ? static_cast<int>(static_cast<uint32_t>(t->buffer->mark)) : -1;
}

// Where a tensor that the step made and something keeps came from: "<bytes> bytes\n<line>"; empty if there is none.
static std::string lasting(const Recorder* r, PyObject* outputs) {
  std::vector<bool> accounted(r->steps.regions.size());
  const auto account = [&](const Tensor* t) {
    const int region = region_index(r, t);
    if (region >= 0) accounted[static_cast<size_t>(region)] = true;
  };
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(outputs); ++k) account(as_tensor(PyTuple_GET_ITEM(outputs, k)));
  for (const LeafGrad& g : r->steps.grads) if (g.replaced && g.leaf->grad) account(as_tensor(g.leaf->grad));
  for (size_t k = 0; k < r->steps.regions.size(); ++k) {
    const Region& region = r->steps.regions[k];
    if (region.kind == Region::inside && region.buffer && !accounted[k]) {
      return std::to_string(region.bytes) + " bytes\n" + r->steps.lines[static_cast<size_t>(region.line)];
    }
  }
  return "";
}

static Recording* blank_recording() {
  Recording* self = PyObject_GC_New(Recording, recording_type);
  if (!self) return nullptr;
  const PyObject header = *reinterpret_cast<PyObject*>(self);
  new (self) Recording{};
  *reinterpret_cast<PyObject*>(self) = header;
  PyObject_GC_Track(reinterpret_cast<PyObject*>(self));
  return self;
}

// Points every array of the commands at its memory, and notes which follow buffers that are replaced.
static void bind_places(Recording* self) {
  Steps& s = self->steps;
  self->sites.resize(s.regions.size());
  self->bound.resize(s.regions.size());
  for (size_t k = 0; k < s.regions.size(); ++k) {
    const Region& r = s.regions[k];
    self->bound[k] = r.buffer ? static_cast<char*>(r.buffer->data) : r.offset >= 0 ? self->arena + r.offset : nullptr;
  }
  for (size_t k = 0; k < s.arrays.size(); ++k) {
    const Place& p = s.places[k];
    if (p.region == -1) s.arrays[k].data = &s.immediates[static_cast<size_t>(p.offset)];
    if (p.region < 0) continue;
    s.arrays[k].data = self->bound[static_cast<size_t>(p.region)] + p.offset;
    const Region& r = s.regions[static_cast<size_t>(p.region)];
    if (r.kind == Region::input || (r.kind == Region::inside && r.buffer)) {
      self->sites[static_cast<size_t>(p.region)].push_back({static_cast<int>(k), p.offset});
    }
  }
}

static void repoint(Recording* self, int region, char* to) {
  if (self->bound[static_cast<size_t>(region)] == to) return;
  self->bound[static_cast<size_t>(region)] = to;
  for (const Site& site : self->sites[static_cast<size_t>(region)]) self->steps.arrays[static_cast<size_t>(site.array)].data = to + site.offset;
}

static bool finish(Recording* self, Recorder* r, PyObject* inputs, PyObject* outputs) {
  const std::string kept = lasting(r, outputs);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(outputs); ++k) {
    Tensor* t = as_tensor(PyTuple_GET_ITEM(outputs, k));
    const int region = region_index(r, t);
    const Region::Kind kind = region < 0 ? Region::outside : r->steps.regions[static_cast<size_t>(region)].kind;
    Result result{nullptr, region, t->array, 0};
    if (region >= 0) result.offset = static_cast<char*>(t->array.data) - static_cast<char*>(t->buffer->data);
    if (kind != Region::input) result.tensor = as_tensor(Py_NewRef(as_object(t)));
    self->results.push_back(result);
  }
  for (LeafGrad& g : r->steps.grads) {
    Tensor* end = g.replaced && g.leaf->grad ? as_tensor(g.leaf->grad) : nullptr;
    const int region = end ? region_index(r, end) : -1;
    self->grads.push_back(end ? as_tensor(Py_NewRef(as_object(end))) : nullptr);
    self->grad_region.push_back(region);
  }
  if (r->failure.empty() && !kept.empty()) {
    r->failure = "lasting: a tensor made inside the step is kept, of " + kept;
  }
  for (Region& region : r->steps.regions) if (region.kind == Region::inside) keep(region.buffer);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(inputs); ++k) {
    const Tensor* t = as_tensor(PyTuple_GET_ITEM(inputs, k));
    const Region& region = r->steps.regions[static_cast<size_t>(k)];
    self->inputs.push_back(t->array);
    self->input_grad.push_back(t->requires_grad);
    self->input_written.push_back(region.written);
    if (region.written) {  // in the caller's eyes too
      Tensor* given = as_tensor(static_cast<PyObject*>(region.buffer->owner));
      given->buffer->version += region.buffer->version;
    }
  }
  for (const Region& region : r->steps.regions) {
    if (region.kind != Region::outside) continue;
    const char* low = static_cast<const char*>(region.buffer->data);
    self->fixed_all.emplace_back(low, low + region.bytes);
    if (region.written) self->fixed_written.emplace_back(low, low + region.bytes);
  }
  for (size_t k = 0; k < self->inputs.size() && r->failure.empty(); ++k) {
    if (overlaps(self->inputs[k], self->input_written[k] ? self->fixed_all : self->fixed_written)) {
      r->failure = "an argument shares memory with a tensor that the step changes; pass a clone()";
    }
  }
  plan_arena(r->steps);
  self->steps = std::move(r->steps);
  r->steps = Steps{};
  if (!r->failure.empty() || r->dry) return true;
  self->arena_bytes = static_cast<size_t>(self->steps.arena_bytes);
  try {
    self->arena = static_cast<char*>(allocate(self->arena_bytes));
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError, "capture: out of memory for the %zu bytes of the recorded step's arena", self->arena_bytes);
    return false;
  }
  bind_places(self);
  return true;
}

// end_recording(aliases, outputs) -> (Recording, failure): failure is None, or why it cannot be replayed.
static PyObject* end_recording(PyObject*, PyObject* args) {
  PyObject *inputs, *outputs;
  if (!PyArg_ParseTuple(args, "O!O!:end_recording", &PyTuple_Type, &inputs, &PyTuple_Type, &outputs)) return nullptr;
  Recorder* r = std::exchange(recorder, nullptr);
  if (!r) {
    PyErr_SetString(errors.capture, "no step is being recorded");
    return nullptr;
  }
  Recording* self = blank_recording();
  if (!self || !finish(self, r, inputs, outputs)) {
    Py_XDECREF(reinterpret_cast<PyObject*>(self));
    discard(r);
    return nullptr;
  }
  self->grad_mode = grad_enabled;
  self->seen_changes = changes;
  PyObject* failure = r->failure.empty() ? Py_NewRef(Py_None) : PyUnicode_FromString(r->failure.c_str());
  delete r;
  return Py_BuildValue("NN", self, failure);
}

// ---- replaying ----------------------------------------------------------------------------------------------------
static bool same_value(PyObject* now, PyObject* then) {
  if (now == then) return true;
  if (!now || Py_TYPE(now) != Py_TYPE(then)) return false;
  const bool plain = PyLong_Check(then) || PyFloat_Check(then) || PyUnicode_Check(then) || PyTuple_Check(then);
  return plain && PyObject_RichCompareBool(now, then, Py_EQ) == 1;
}

static bool unchanged(const Watched& w) {
  if (PyCell_Check(w.container)) return same_value(PyCell_GET(w.container), w.value);
  if (!w.key) return PyObject_Size(w.container) == PyLong_AsSsize_t(w.value);
  if (PyDict_Check(w.container)) return same_value(PyDict_GetItem(w.container, w.key), w.value);
  const Py_ssize_t k = PyLong_AsSsize_t(w.key);
  return k < PyList_GET_SIZE(w.container) && same_value(PyList_GET_ITEM(w.container, k), w.value);
}

static bool same_spec(const Array& want, const Tensor* t, bool requires_grad) {
  const Array& a = t->array;
  return !t->weak && !t->node && t->requires_grad == requires_grad && a.dtype == want.dtype && a.ndim == want.ndim &&
         !std::memcmp(a.shape, want.shape, sizeof(int64_t) * a.ndim) && !std::memcmp(a.strides, want.strides, sizeof(int64_t) * a.ndim);
}

static bool grads_match(const Recording* self, Tensor* const* args) {
  for (const LeafGrad& g : self->steps.grads) {
    if (!g.guarded) continue;
    const Tensor* leaf = g.argument >= 0 ? args[g.argument] : g.leaf;
    const Buffer* now = leaf->grad ? as_tensor(leaf->grad)->buffer : nullptr;
    if (now != g.before) return false;
  }
  return true;
}

// Whether the recording stands for a call with these arguments now: 1 yes, 0 no, -1 error.
static int matches(Recording* self, Tensor* const* args, size_t n) {
  if (n != self->inputs.size() || self->grad_mode != grad_enabled || recorder) return 0;
  for (size_t k = 0; k < n; ++k) {
    if (!same_spec(self->inputs[k], args[k], self->input_grad[k])) return 0;
    if (self->input_written[k] && args[k]->buffer->readonly) return 0;
    const bool moved = self->bound[k] != args[k]->array.data;
    if (moved && overlaps(args[k]->array, self->input_written[k] ? self->fixed_all : self->fixed_written)) return 0;
    for (size_t j = 0; j < k; ++j) {  // two arguments over one memory, one of them written
      if ((self->input_written[j] || self->input_written[k]) && args[j]->buffer == args[k]->buffer) return 0;
    }
  }
  for (const Watched& w : self->watched) if (!unchanged(w)) return 0;
  if (!grads_match(self, args)) return 0;
  if (changes != self->seen_changes) {
    const uint64_t now = changes;
    PyObject* same = PyObject_CallNoArgs(self->check);
    if (!same) return -1;
    const bool yes = same == Py_True;
    Py_DECREF(same);
    if (!yes) return 0;
    self->seen_changes = now;
  }
  return 1;
}

// Results and gradients of the last call that somebody still holds keep their memory: new ones take their place.
static bool replace_held(Recording* self) {
  Steps& s = self->steps;
  for (size_t region = 0; region < s.regions.size(); ++region) {
    if (s.regions[region].kind != Region::inside || !s.regions[region].buffer) continue;
    std::vector<Tensor**> ours;
    int64_t held = 0;
    for (Result& r : self->results) {
      if (r.region != static_cast<int>(region)) continue;
      ours.push_back(&r.tensor);
      held += Py_REFCNT(as_object(r.tensor)) - 1;
    }
    for (size_t k = 0; k < self->grads.size(); ++k) {
      if (self->grad_region[k] != static_cast<int>(region)) continue;
      ours.push_back(&self->grads[k]);
      held += Py_REFCNT(as_object(self->grads[k])) - 1 - (s.grads[k].leaf->grad == as_object(self->grads[k]));
    }
    Buffer* old = s.regions[region].buffer;
    if (held == 0 && old->refs == static_cast<int64_t>(ours.size()) + 1) continue;
    Buffer* fresh;
    try {
      fresh = new_buffer(old->bytes);
    } catch (const std::bad_alloc&) {
      PyErr_Format(PyExc_MemoryError, "capture: out of memory for an output of %zu bytes; an earlier one is still in use", old->bytes);
      return false;
    }
    for (Tensor** place : ours) {
      Tensor* t = blank_tensor(Py_TYPE(as_object(*place)));
      if (!t) {
        drop(fresh);
        return false;
      }
      t->array = (*place)->array;
      t->array.data = static_cast<char*>(fresh->data) + (static_cast<char*>((*place)->array.data) - static_cast<char*>(old->data));
      t->buffer = keep(fresh);
      t->device = (*place)->device;
      Py_SETREF(*place, t);
    }
    s.regions[region].buffer = fresh;
    drop(old);
    repoint(self, static_cast<int>(region), static_cast<char*>(fresh->data));
  }
  return true;
}

static void run_command(Recording* self, const Command& c) {
  Steps& s = self->steps;
  c.kernel.function({s.arrays.data() + c.first_array, c.n_inputs, c.n_arrays, s.params.data() + c.first_param, c.n_params});
}

template <class Body> static bool guarded(Recording* self, Body body) {  // without the GIL; C++ errors become Python's
  struct WithoutGil {
    PyThreadState* state = PyEval_SaveThread();
    ~WithoutGil() { PyEval_RestoreThread(state); }
  };
  const Command* at = nullptr;
  try {
    const WithoutGil released;
    body(at);
    return true;
  } catch (const IndexFault& fault) {
    PyErr_SetString(PyExc_IndexError, fault.what());
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError, "%s: out of memory for temporary space; dlcore holds %lld bytes", at ? at->kernel.name : "capture",
                 static_cast<long long>(memory_stats().in_use));
  } catch (const std::exception& error) {
    PyErr_Format(PyExc_RuntimeError, "%s: %s", at ? at->kernel.name : "capture", error.what());
  }
  static_cast<void>(self);
  return false;
}

static void bump_written(Recording* self, Tensor* const* args) {
  for (const Region& r : self->steps.regions) {
    if (!r.written) continue;
    if (r.kind == Region::outside) ++r.buffer->version;
    else if (r.kind == Region::input) bump(args[r.argument]);
  }
}

static void set_grads(Recording* self, Tensor* const* args) {
  for (size_t k = 0; k < self->grads.size(); ++k) {
    const LeafGrad& g = self->steps.grads[k];
    if (!g.replaced) continue;
    Tensor* leaf = g.argument >= 0 ? args[g.argument] : g.leaf;
    PyObject* grad = self->grads[k] ? as_object(self->grads[k]) : nullptr;
    if (leaf->grad != grad) Py_XSETREF(leaf->grad, Py_XNewRef(grad));
  }
}

static PyObject* results(Recording* self, Tensor* const* args) {
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(self->results.size()));
  for (size_t k = 0; tuple && k < self->results.size(); ++k) {
    const Result& r = self->results[k];
    Tensor* t = r.tensor;
    if (t) {
      Py_INCREF(as_object(t));
    } else {
      Tensor* arg = args[self->steps.regions[static_cast<size_t>(r.region)].argument];
      Array a = r.array;
      a.data = static_cast<char*>(arg->array.data) + r.offset;
      t = new_view(arg, a);
      if (!t) Py_CLEAR(tuple);
    }
    if (tuple) PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(k), as_object(t));
  }
  return tuple;
}

static bool read_args(PyObject* tuple, std::vector<Tensor*>& args) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tuple); ++k) {
    if (!is_tensor(PyTuple_GET_ITEM(tuple, k))) return false;
    args.push_back(as_tensor(PyTuple_GET_ITEM(tuple, k)));
  }
  return true;
}

struct Busy {
  Recording* self;
  explicit Busy(Recording* r) : self(r) { self->busy = true; }
  ~Busy() { self->busy = false; }
};

// The step once (times < 0), or `times` times, over successive elements of each argument's first axis. The results as a
// tuple; NotImplemented if the recording does not stand for this call.
static PyObject* replay(Recording* self, PyObject* tuple, int64_t times) {
  std::vector<Tensor*> args;
  if (!read_args(tuple, args)) Py_RETURN_NOTIMPLEMENTED;
  if (self->busy) {
    PyErr_SetString(PyExc_RuntimeError, "capture: this step is running already, in another thread");
    return nullptr;
  }
  std::vector<int64_t> stride(args.size());
  PyObject* firsts = nullptr;
  if (times >= 0) {  // a sweep: each argument has an axis more, of length `times`
    firsts = PyTuple_New(static_cast<Py_ssize_t>(args.size()));
    for (size_t k = 0; firsts && k < args.size(); ++k) {
      Array a = args[k]->array;
      if (a.ndim == 0 || a.shape[0] != times) {
        Py_DECREF(firsts);
        Py_RETURN_NOTIMPLEMENTED;
      }
      if (overlaps(a, self->input_written.size() > k && self->input_written[k] ? self->fixed_all : self->fixed_written)) {
        Py_DECREF(firsts);
        Py_RETURN_NOTIMPLEMENTED;
      }
      stride[k] = a.strides[0] * item_size(a.dtype);
      std::memmove(a.shape, a.shape + 1, sizeof(int64_t) * static_cast<size_t>(a.ndim - 1));
      std::memmove(a.strides, a.strides + 1, sizeof(int64_t) * static_cast<size_t>(a.ndim - 1));
      --a.ndim;
      Tensor* first = new_view(args[k], a);
      if (!first) Py_CLEAR(firsts);
      else PyTuple_SET_ITEM(firsts, static_cast<Py_ssize_t>(k), as_object(first));
    }
    if (!firsts) return nullptr;
    args.clear();
    read_args(firsts, args);
  }
  struct Held {
    PyObject* o;
    ~Held() { Py_XDECREF(o); }
  } held{firsts};
  const int good = matches(self, args.data(), args.size());
  if (good < 0) return nullptr;
  if (!good) Py_RETURN_NOTIMPLEMENTED;
  if (!replace_held(self)) return nullptr;
  {
    const Busy busy(self);
    for (size_t k = 0; k < args.size(); ++k) repoint(self, static_cast<int>(k), static_cast<char*>(args[k]->array.data));
    const bool done = guarded(self, [&](const Command*& at) {
      for (int64_t step = 0; step < std::max<int64_t>(times, times < 0 ? 1 : 0); ++step) {
        for (size_t k = 0; step && k < args.size(); ++k) repoint(self, static_cast<int>(k), self->bound[k] + stride[k]);
        for (const Command& c : self->steps.commands) {
          at = &c;
          run_command(self, c);
        }
        ++self->replays;
      }
    });
    bump_written(self, args.data());
    if (!done) return nullptr;
    set_grads(self, args.data());
  }
  Py_XSETREF(self->last_args, Py_NewRef(firsts ? firsts : tuple));
  return results(self, args.data());
}

static PyObject* run(PyObject* self, PyObject* args) { return replay(reinterpret_cast<Recording*>(self), args, -1); }

static PyObject* sweep(PyObject* self, PyObject* args) {
  PyObject* tensors;
  long long times;
  if (!PyArg_ParseTuple(args, "O!L:sweep", &PyTuple_Type, &tensors, &times)) return nullptr;
  return replay(reinterpret_cast<Recording*>(self), tensors, times);
}

// profile(repeats): seconds of each command, the fastest of some replays with the last call's arguments. All memory that
// the step changes is put back, so nothing has happened afterwards.
static PyObject* profile(PyObject* object, PyObject* argument) {
  Recording* self = reinterpret_cast<Recording*>(object);
  const int64_t repeats = PyLong_AsLongLong(argument);
  if (repeats == -1 && PyErr_Occurred()) return nullptr;
  std::vector<Tensor*> args;
  if (self->busy || (!self->inputs.empty() && !self->last_args) || (self->last_args && !read_args(self->last_args, args))) {
    PyErr_SetString(errors.capture, "explain: the step has not been replayed yet");
    return nullptr;
  }
  Steps& s = self->steps;
  std::vector<double> seconds(s.commands.size(), 1e9);
  std::vector<std::pair<char*, std::vector<char>>> saved;
  for (size_t k = 0; k < s.regions.size(); ++k) {
    const Region& r = s.regions[k];
    char* at = self->bound[k];
    if (r.kind == Region::inside && !r.buffer) continue;
    if (r.kind != Region::input && r.written) saved.emplace_back(at, std::vector<char>(at, at + r.bytes));
    if (r.kind == Region::input && r.written) {
      PyErr_SetString(errors.capture, "explain: the step changes its argument");
      return nullptr;
    }
  }
  const Busy busy(self);
  const bool done = guarded(self, [&](const Command*& at) {
    using clock = std::chrono::steady_clock;
    for (int64_t repeat = 0; repeat < repeats; ++repeat) {
      clock::time_point before = clock::now();
      for (size_t k = 0; k < s.commands.size(); ++k) {
        at = &s.commands[k];
        run_command(self, s.commands[k]);
        const clock::time_point after = clock::now();
        seconds[k] = std::min(seconds[k], std::chrono::duration<double>(after - before).count());
        before = after;
      }
    }
  });
  for (const auto& [at, bytes] : saved) std::memcpy(at, bytes.data(), bytes.size());
  if (!done) return nullptr;
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(seconds.size()));
  for (size_t k = 0; list && k < seconds.size(); ++k) PyList_SET_ITEM(list, static_cast<Py_ssize_t>(k), PyFloat_FromDouble(seconds[k]));
  return list;
}

// ---- what a recording tells ---------------------------------------------------------------------------------------
static PyObject* string_list(const std::vector<std::string>& lines) {
  PyObject* list = PyList_New(0);
  for (const std::string& line : lines) {
    PyObject* text = PyUnicode_FromString(line.c_str());
    if (list && text) PyList_Append(list, text);
    Py_XDECREF(text);
  }
  return list;
}

// Per command: (kernel name, row or None, attributes or None, line, inputs, outputs), arrays as
// (dtype, shape, strides, region, offset, value).
static PyObject* describe_array(const Steps& s, size_t k) {
  const Array& a = s.arrays[k];
  const Place& p = s.places[k];
  if (p.region == -2) return Py_NewRef(Py_None);
  const long long value = p.region == -1 ? s.immediates[static_cast<size_t>(p.offset)] : 0;
  return Py_BuildValue("ONNiLL", dtype_object(a.dtype), shape_tuple(a.shape, a.ndim), shape_tuple(a.strides, a.ndim), p.region,
                       static_cast<long long>(p.offset), value);
}
static PyObject* get_commands(PyObject* object, void*) {
  const Steps& s = reinterpret_cast<Recording*>(object)->steps;
  PyObject* list = PyList_New(0);
  for (const Command& c : s.commands) {
    PyObject *in = PyList_New(0), *out = PyList_New(0), *params = PyList_New(0);
    for (int k = 0; k < c.n_arrays; ++k) {
      PyObject* a = describe_array(s, static_cast<size_t>(c.first_array + k));
      if (!a) return nullptr;
      PyList_Append(k < c.n_inputs ? in : out, a);
      Py_DECREF(a);
    }
    for (int k = 0; k < c.n_params; ++k) {
      PyObject* bits = PyLong_FromLongLong(s.params[static_cast<size_t>(c.first_param + k)].i);
      PyList_Append(params, bits);
      Py_XDECREF(bits);
    }
    PyObject* op = c.function ? c.function->op : Py_None;
    PyObject* entry = Py_BuildValue("sOOiNNN", c.kernel.name, op, c.attrs ? c.attrs : Py_None, c.line, in, out, params);
    if (!entry) return nullptr;
    PyList_Append(list, entry);
    Py_DECREF(entry);
  }
  return list;
}

// Per region: (kind, bytes, first command, last command, written, arena offset or -1, line, address).
static PyObject* get_regions(PyObject* object, void*) {
  const Recording* self = reinterpret_cast<Recording*>(object);
  static const char* kinds[] = {"outside", "input", "inside"};
  PyObject* list = PyList_New(0);
  for (size_t k = 0; k < self->steps.regions.size(); ++k) {
    const Region& r = self->steps.regions[k];
    const uintptr_t at = r.kind == Region::outside ? reinterpret_cast<uintptr_t>(r.buffer->data) : 0;
    PyObject* entry = Py_BuildValue("sniiOLiK", r.kind == Region::inside && r.buffer ? "result" : kinds[r.kind], static_cast<Py_ssize_t>(r.bytes),
                                    r.first, r.last, r.written ? Py_True : Py_False, static_cast<long long>(r.offset), r.line,
                                    static_cast<unsigned long long>(at));
    if (!entry) return nullptr;
    PyList_Append(list, entry);
    Py_DECREF(entry);
  }
  return list;
}
static PyObject* get_lines(PyObject* object, void*) { return string_list(reinterpret_cast<Recording*>(object)->steps.lines); }
static PyObject* get_operands(PyObject* object, void*) {
  const Steps& s = reinterpret_cast<Recording*>(object)->steps;
  PyObject* list = PyList_New(0);
  for (PyObject* o : s.operands) PyList_Append(list, o);
  return list;
}
static PyObject* get_arena_bytes(PyObject* o, void*) { return PyLong_FromLongLong(reinterpret_cast<Recording*>(o)->steps.arena_bytes); }
static PyObject* get_unplanned_bytes(PyObject* o, void*) { return PyLong_FromLongLong(reinterpret_cast<Recording*>(o)->steps.unplanned_bytes); }
static PyObject* get_replays(PyObject* o, void*) { return PyLong_FromLongLong(reinterpret_cast<Recording*>(o)->replays); }

// watch(variables, check): what must be unchanged at a replay. variables: (container, key or None, value).
static PyObject* watch(PyObject* object, PyObject* args) {
  Recording* self = reinterpret_cast<Recording*>(object);
  PyObject *list, *check;
  if (!PyArg_ParseTuple(args, "O!O:watch", &PyList_Type, &list, &check)) return nullptr;
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(list); ++k) {
    PyObject *container, *key, *value;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(list, k), "OOO", &container, &key, &value)) return nullptr;
    self->watched.push_back({Py_NewRef(container), key == Py_None ? nullptr : Py_NewRef(key), Py_NewRef(value)});
  }
  Py_XSETREF(self->check, Py_NewRef(check));
  self->seen_changes = changes;
  Py_RETURN_NONE;
}

static int recording_traverse(PyObject* object, visitproc visit, void* arg) {
  Recording* self = reinterpret_cast<Recording*>(object);
  Py_VISIT(Py_TYPE(object));
  for (const Watched& w : self->watched) {
    Py_VISIT(w.container);
    Py_VISIT(w.value);
  }
  Py_VISIT(self->check);
  Py_VISIT(self->last_args);
  return 0;
}
static int recording_clear(PyObject* object) {
  Recording* self = reinterpret_cast<Recording*>(object);
  std::vector<Watched> watched;
  watched.swap(self->watched);
  for (const Watched& w : watched) {
    Py_DECREF(w.container);
    Py_XDECREF(w.key);
    Py_DECREF(w.value);
  }
  Py_CLEAR(self->check);
  Py_CLEAR(self->last_args);
  return 0;
}
static void recording_dealloc(PyObject* object) {
  Recording* self = reinterpret_cast<Recording*>(object);
  PyObject_GC_UnTrack(object);
  recording_clear(object);
  for (const Result& r : self->results) Py_XDECREF(as_object(r.tensor));
  for (Tensor* t : self->grads) Py_XDECREF(as_object(t));
  release(self->steps);
  if (self->arena) dlcore::release(self->arena, self->arena_bytes);
  PyTypeObject* type = Py_TYPE(object);
  self->~Recording();
  PyObject_GC_Del(object);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}

// something_kept(outputs): whether tensors made since begin_recording live on, besides these and gradients.
static PyObject* something_kept(PyObject*, PyObject* outputs) {
  return PyBool_FromLong(recorder && !lasting(recorder, outputs).empty());
}
static PyObject* is_recording(PyObject*, PyObject*) { return PyBool_FromLong(recorder != nullptr); }
static PyObject* note_change(PyObject*, PyObject*) {
  ++changes;
  Py_RETURN_NONE;
}
// not_recordable(reason): what is happening cannot be recorded; it goes on as usual.
static PyObject* not_recordable(PyObject*, PyObject* reason) {
  const char* text = PyUnicode_AsUTF8(reason);
  if (!text) return nullptr;
  if (recorder) record_failure(text);
  Py_RETURN_NONE;
}
// suspended(function): function() without recording what it does.
static PyObject* suspended(PyObject*, PyObject* function) {
  Recorder* r = std::exchange(recorder, nullptr);
  PyObject* result = PyObject_CallNoArgs(function);
  recorder = r;
  return result;
}

static PyMethodDef functions[] = {
    {"begin_recording", begin_recording, METH_VARARGS, "begin_recording(tensors, dry): starts recording in this thread; the tensors to call the step with."},
    {"end_recording", end_recording, METH_VARARGS, "end_recording(aliases, outputs): (the Recording, None or why it cannot be replayed)."},
    {"abort_recording", abort_recording, METH_NOARGS, "Forget what was recorded."},
    {"something_kept", something_kept, METH_O, "something_kept(outputs): whether other tensors made since begin_recording live on."},
    {"is_recording", is_recording, METH_NOARGS, "Whether this thread records."},
    {"note_change", note_change, METH_NOARGS, "Recordings must look again whether what they depend on is as it was."},
    {"not_recordable", not_recordable, METH_O, "not_recordable(reason): what is happening cannot be recorded."},
    {"suspended", suspended, METH_O, "suspended(function): what function() returns, without recording."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_record(PyObject* module) {
  static PyMethodDef methods[] = {
      {"run", run, METH_VARARGS, "run(*tensors): the results of a replay, a tuple; NotImplemented if this recording does not stand for the call."},
      {"sweep", sweep, METH_VARARGS, "sweep(tensors, n): n replays; replay i takes element i along the first axis of every tensor."},
      {"profile", profile, METH_O, "profile(repeats): seconds of each command; the step's effects are undone."},
      {"watch", watch, METH_VARARGS, "watch(variables, check): what must be as it was for a replay."},
      {nullptr, nullptr, 0, nullptr},
  };
  static PyGetSetDef getset[] = {
      {"commands", get_commands, nullptr, "Per launch: (kernel, row, attributes, line, inputs, outputs, params).", nullptr},
      {"regions", get_regions, nullptr, "Per buffer: (kind, bytes, first, last, written, offset, line, address).", nullptr},
      {"lines", get_lines, nullptr, "Lines of the user's code.", nullptr},
      {"operands", get_operands, nullptr, "Leaves that the step uses.", nullptr},
      {"arena_bytes", get_arena_bytes, nullptr, "Memory of all intermediate results together.", nullptr},
      {"unplanned_bytes", get_unplanned_bytes, nullptr, "Their sizes added up.", nullptr},
      {"replays", get_replays, nullptr, "How often this was replayed.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("A recorded step.")},
      {Py_tp_dealloc, reinterpret_cast<void*>(recording_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(recording_traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(recording_clear)},
      {Py_tp_methods, methods},
      {Py_tp_getset, getset},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Recording", sizeof(Recording), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  recording_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return recording_type && PyModule_AddObjectRef(module, "Recording", reinterpret_cast<PyObject*>(recording_type)) == 0 &&
         PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace dlcore
