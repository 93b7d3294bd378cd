// From the recorder to a recording: what was noted while the step ran is made ready to be run again.
#include "core/recording.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "core/autocast.h"
#include "core/function.h"
#include "core/plan.h"
#include "core/tape.h"

namespace dlcore {

static uint64_t next_serial = 0;

static Tensor* original(const Recorder* r, const Region& input) {  // what an alias stands for
  return input.leaf >= 0 ? r->steps.grads[static_cast<size_t>(input.leaf)].given.get()
                         : r->given[static_cast<size_t>(input.argument)].get();
}

bool overlaps(const Array& a, const std::vector<Range>& ranges) {
  const auto [low, high] = extent(a);
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range& r) { return low < r.second && r.first < high; });
}

// What stands for an argument with a gradient history is no leaf either: its history goes on outside. A backward pass
// within the step takes the gradient there, but only in this call.
static PyObject* go_on_outside(PyObject*, PyObject* dout) {
  if (recorder) record_failure("backward() inside the step reaches an argument whose gradient history began outside");
  return Py_NewRef(dout);
}

static bool continue_history(Tensor* alias, Tensor* given) {
  static PyMethodDef rule{"go_on_outside", go_on_outside, METH_O, nullptr};
  static Plan* plan = nullptr;
  alias->view = given->view;
  alias->buffer->rewritten = given->buffer->rewritten;
  if (!given->node) return true;
  if (!plan) {
    auto made = std::make_unique<Plan>();
    made->n_outputs = 1;
    made->rules.push_back({Ref::own(PyCFunction_New(&rule, nullptr)), {0}, true, {{Source::dout, 0, 0}}});
    if (!made->rules[0].function) return false;
    plan = made.release();
  }
  const auto node = Owned<Node>::own(new_node(given->node->function, plan, 1));
  if (!node) return false;
  set_edge(node->edges[0], given, true);
  hold_node(alias, node.get());
  alias->version_seen = alias->buffer->version - history_lost(given);
  return true;
}

// Adds an argument and what stands for it.
static void add_argument(Recorder* r, Tensor* given, Tensor* alias) {
  const int k = static_cast<int>(r->aliases.size());
  Buffer* buffer = alias->buffer;
  if (std::find(r->aliases.begin(), r->aliases.end(), alias) == r->aliases.end()) {
    buffer->mark = r->serial << 32 | static_cast<uint32_t>(k);
  }
  r->given.push_back(TensorRef::share(given));
  r->aliases.push_back(alias);
  r->steps.regions.push_back({.kind = Region::input, .bytes = buffer->bytes, .argument = k, .device = buffer->device});
  r->steps.regions.back().buffer = keep(buffer);  // now that nothing can fail
}

// begin_recording(tensors, dry, stands=()): the tensors to call the step with; the same one twice where a tensor is
// given twice. `stands`: further arguments, used as they are by what will be recorded.
PyObject* begin_recording(PyObject*, PyObject* args) {
  PyObject *tensors, *stands = nullptr;
  int dry;
  if (!PyArg_ParseTuple(args, "O!p|O!:begin_recording", &PyTuple_Type, &tensors, &dry, &PyTuple_Type, &stands)) {
    return nullptr;
  }
  if (!check_tensors(tensors, "begin_recording")) return nullptr;
  if (stands && !check_tensors(stands, "begin_recording")) return nullptr;
  if (recorder) {
    PyErr_SetString(errors.capture, "a step is being recorded already");
    return nullptr;
  }
  const int n = static_cast<int>(PyTuple_GET_SIZE(tensors));
  Ref aliases = Ref::own(PyTuple_New(n));
  if (!aliases) return nullptr;
  const auto forget = [](Recorder* r) {
    release(r->steps);
    delete r;
  };
  std::unique_ptr<Recorder, decltype(forget)> r(new Recorder, forget);
  r->serial = ++next_serial;
  r->dry = dry;
  for (int k = 0; k < n; ++k) {
    int same = 0;
    while (PyTuple_GET_ITEM(tensors, same) != PyTuple_GET_ITEM(tensors, k)) ++same;
    TensorRef alias = same < k ? TensorRef::share(r->aliases[static_cast<size_t>(same)])
                               : TensorRef::own(aliased(as_tensor(PyTuple_GET_ITEM(tensors, k))));
    Tensor* given = as_tensor(PyTuple_GET_ITEM(tensors, k));
    if (!alias || (same == k && !continue_history(alias.get(), given))) return nullptr;
    add_argument(r.get(), given, alias.get());
    PyTuple_SET_ITEM(aliases.get(), k, as_object(alias.release()));
  }
  for (Py_ssize_t k = 0; stands && k < PyTuple_GET_SIZE(stands); ++k) {
    Tensor* stand = as_tensor(PyTuple_GET_ITEM(stands, k));
    add_argument(r.get(), stand, stand);
  }
  r->newest = newest_sequence();
  forget_casts();
  set_recorder(r.get());
  r.release();
  return aliases.release();
}

// Puts back the gradients that leaves had: where aliases stood for them, or all of them.
static void restore_grads(Recorder* r, bool all) {
  for (LeafGrad& g : r->steps.grads) {
    if (!g.leaf || !(all || (g.region >= 0 && !g.replaced))) continue;
    if (all && !g.read && !g.replaced) continue;
    hold_grad(g.leaf.get(), Py_XNewRef(g.given.object()));
  }
}

static void discard(Recorder* r) {
  for (Region& region : r->steps.regions) {
    if (region.kind == Region::inside) region.buffer = nullptr;  // not ours
  }
  release(r->steps);
  delete r;
}

PyObject* abort_recording(PyObject*, PyObject*) {
  if (Recorder* r = recorder) {
    forget_casts();
    restore_grads(r, r->dry);
    set_recorder(nullptr);
    discard(r);
  }
  Py_RETURN_NONE;
}

static int region_index(const Recorder* r, const Tensor* t) {
  const bool met = t->buffer && t->buffer->mark >> 32 == r->serial;
  return met ? static_cast<int>(static_cast<uint32_t>(t->buffer->mark)) : -1;
}

// Lets go of leaves that were made inside and that nobody else knows.
static void forget_leaves(Recorder* r) {
  for (LeafGrad& g : r->steps.grads) {
    if (g.leaf && g.argument < 0 && Py_REFCNT(g.leaf.object()) == 1) g.leaf = {};
  }
}

// A tensor that the step has made and that something keeps, and where it was made; empty if there is none.
static Failure kept_tensor(Recorder* r, PyObject* outputs) {
  forget_leaves(r);
  std::vector<bool> accounted(r->steps.regions.size());
  const auto account = [&](const Tensor* t) {
    const int region = region_index(r, t);
    if (region >= 0) accounted[static_cast<size_t>(region)] = true;
  };
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(outputs); ++k) account(as_tensor(PyTuple_GET_ITEM(outputs, k)));
  for (const LeafGrad& g : r->steps.grads) {
    if (g.leaf && g.replaced && g.leaf->grad) account(as_tensor(g.leaf->grad));
  }
  for (size_t k = 0; k < r->steps.regions.size(); ++k) {
    const Region& region = r->steps.regions[k];
    if (region.kind == Region::inside && region.buffer && !accounted[k]) {
      const std::string text = "a tensor made inside the step is kept, of " + std::to_string(region.bytes) + " bytes";
      return {FailureKind::keeps_tensor, text, r->steps.lines[static_cast<size_t>(region.line)]};
    }
  }
  return {};
}

// something_kept(outputs): whether tensors made since begin_recording live on, besides these and gradients.
PyObject* something_kept(PyObject*, PyObject* outputs) {
  if (!check_tensors(outputs, "something_kept")) return nullptr;
  forget_casts();
  return PyBool_FromLong(recorder && !kept_tensor(recorder, outputs).empty());
}

// made_inside(tensor): whether its memory was made since begin_recording.
PyObject* made_inside(PyObject*, PyObject* tensor) {
  if (!is_tensor(tensor)) return PyErr_Format(PyExc_TypeError, "made_inside: a tensor is wanted");
  const int region = recorder ? region_index(recorder, as_tensor(tensor)) : -1;
  return PyBool_FromLong(region >= 0 && recorder->steps.regions[static_cast<size_t>(region)].kind == Region::inside);
}

// history_lost(tensor): whether it was changed through another tensor in a way that its gradient history misses.
PyObject* lost_history(PyObject*, PyObject* tensor) {
  if (!is_tensor(tensor)) return PyErr_Format(PyExc_TypeError, "history_lost: a tensor is wanted");
  Tensor* t = as_tensor(tensor);
  if (!refresh_view(t)) return nullptr;
  return PyBool_FromLong(t->buffer && history_lost(t));
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
    if (r.buffer) self->bound[k] = static_cast<char*>(r.buffer->data);
    else if (r.offset >= 0) self->bound[k] = static_cast<char*>(self->arena->data) + r.offset;
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

void repoint(Recording* self, int region, char* to) {
  const size_t index = static_cast<size_t>(region);
  if (self->bound[index] == to) return;
  self->bound[index] = to;
  for (const Site& site : self->sites[index]) {
    self->steps.arrays[static_cast<size_t>(site.array)].data = to + site.offset;
  }
}

static void note_inputs(Recording* self, const Recorder* r) {
  const std::vector<Region>& regions = r->steps.regions;
  for (size_t k = 0; k < regions.size(); ++k) {
    const Region& region = regions[k];
    if (region.kind != Region::input) continue;
    Tensor* given = original(r, region);
    const Tensor* after = region.leaf < 0 ? r->aliases[k] : given;
    int same = static_cast<int>(k);
    if (region.leaf < 0) {
      same = static_cast<int>(std::find(r->aliases.begin(), r->aliases.end(), after) - r->aliases.begin());
    }
    self->inputs.push_back({static_cast<int>(k), given->array, given->device, given->requires_grad, after->requires_grad,
                            given->node != nullptr, aligned(given), regions[static_cast<size_t>(same)].written, same,
                            region.leaf});
    self->n_arguments += region.leaf < 0;
    if (region.written) given->buffer->version += region.buffer->version;  // in the caller's eyes too
  }
}

static Result result_of(const Recording* self, const Recorder* r, Tensor* t) {
  Result result{.region = region_index(r, t), .array = t->array};
  if (result.region >= 0) {
    result.offset = static_cast<char*>(t->array.data) - static_cast<char*>(t->buffer->data);
    if (r->steps.regions[static_cast<size_t>(result.region)].kind == Region::input) {
      const auto& inputs = self->inputs;
      const auto is_it = [&](const Input& i) { return i.region == result.region; };
      result.input = static_cast<int>(std::find_if(inputs.begin(), inputs.end(), is_it) - inputs.begin());
    }
  }
  if (result.input < 0) result.tensor = TensorRef::share(t);
  return result;
}

// A gradient that is an input, or a view of it.
Ref from_input(const Result& r, Tensor* source) {
  Array a = r.array;
  a.data = static_cast<char*>(source->array.data) + r.offset;
  const bool all = r.offset == 0 && a.ndim == source->array.ndim &&
                   !std::memcmp(a.strides, source->array.strides, sizeof(int64_t) * a.ndim);
  return all ? Ref::share(as_object(source)) : Ref::own(as_object(new_view(source, a)));
}

static bool note_results(Recording* self, Recorder* r, PyObject* outputs) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(outputs); ++k) {
    self->results.push_back(result_of(self, r, as_tensor(PyTuple_GET_ITEM(outputs, k))));
  }
  for (size_t k = 0; k < self->results.size(); ++k) {  // views of the caller's tensors, not of their aliases
    const Result& result = self->results[k];
    if (result.input < 0) continue;
    Tensor* t = as_tensor(PyTuple_GET_ITEM(outputs, static_cast<Py_ssize_t>(k)));
    const Region& region = r->steps.regions[static_cast<size_t>(result.region)];
    drop(std::exchange(t->buffer, keep(original(r, region)->buffer)));
    Py_CLEAR(t->base);  // an alias
  }
  self->steady = true;
  for (LeafGrad& g : r->steps.grads) {
    Tensor* end = g.leaf && g.replaced ? as_tensor(g.leaf->grad) : nullptr;
    const Result& left = self->grads.emplace_back(end ? result_of(self, r, end) : Result{});
    if (left.input >= 0) {
      Ref given = from_input(left, original(r, r->steps.regions[static_cast<size_t>(left.region)]));
      if (!given) return false;
      hold_grad(g.leaf.get(), given.release());
    }
    if (g.leaf && g.read && g.replaced && g.argument < 0 && (end || g.region >= 0)) self->steady = false;
  }
  return true;
}

// Why the step cannot be replayed, though every command can.
static const char* hindrance(Recording* self, const Recorder* r) {
  const Steps& s = r->steps;
  for (const Region& region : s.regions) {
    if (region.kind == Region::outside) {
      const char* low = static_cast<const char*>(region.buffer->data);
      self->fixed_all.emplace_back(low, low + region.bytes);
      if (region.written) self->fixed_written.emplace_back(low, low + region.bytes);
    }
    if (region.kind == Region::inside && region.buffer && region.from_host && region.first < 0) return kFromHost;
  }
  const std::vector<Input>& inputs = self->inputs;
  for (size_t k = 0; k < inputs.size(); ++k) {
    if (overlaps(inputs[k].array, inputs[k].written ? self->fixed_all : self->fixed_written)) {
      return "an argument shares memory with a tensor that the step changes; pass a clone()";
    }
    for (size_t j = 0; j < k; ++j) {
      const bool distinct = inputs[k].same != inputs[j].same && (inputs[j].written || inputs[k].written);
      if (distinct && share_memory(inputs[j].array, inputs[k].array)) {
        return "two arguments share memory, which the step changes; pass a clone()";
      }
    }
  }
  for (const Region& region : s.regions) {
    if (region.first >= 0 && region.device != self->device) return "the step works on more than one device";
  }
  return nullptr;
}

static bool changes_requires_grad(const Recorder* r) {
  return std::any_of(r->operand_flags.begin(), r->operand_flags.end(),
                     [](const auto& used) { return used.first->requires_grad != used.second; });
}

// Whether a GPU can replay the step as one graph. Its addresses are fixed, but arguments that are only read can be
// copied to where it reads them.
static bool graphable(const Recording* self) {
  return std::all_of(self->inputs.begin(), self->inputs.end(),
                     [](const Input& i) { return !i.written && i.array.contiguous(); });
}

static bool finish(Recording* self, Recorder* r, PyObject* outputs) {
  const Failure kept = kept_tensor(r, outputs);
  note_inputs(self, r);
  const bool noted = note_results(self, r, outputs);
  restore_grads(r, r->dry);
  if (!noted) return false;
  if (r->failure.empty()) r->failure = kept;
  for (const Region& region : r->steps.regions) {
    if (region.first >= 0) self->device = region.device;
  }
  const char* hindered = hindrance(self, r);
  if (r->failure.empty() && hindered) r->failure = {FailureKind::permanent, hindered, ""};
  if (r->failure.empty() && changes_requires_grad(r)) {
    r->failure = {FailureKind::rebinds, "the step leaves requires_grad of a tensor that it uses other than it was; "
                  "set it back before the step ends", ""};
  }
  for (Region& region : r->steps.regions) {
    if (region.kind == Region::inside) keep(region.buffer);
  }
  self->steps = std::move(r->steps);
  r->steps = Steps{};
  return true;
}

// lay_out(allocate): where intermediate results go, and, if it is to be replayed, their memory.
PyObject* lay_out_recording(PyObject* object, PyObject* allocate) {
  Recording* self = reinterpret_cast<Recording*>(object);
  const int replayed = PyObject_IsTrue(allocate);
  if (replayed < 0) return nullptr;
  plan_arena(self->steps);
  if (!replayed) Py_RETURN_NONE;
  const size_t bytes = static_cast<size_t>(self->steps.arena_bytes);
  try {
    self->arena = new_buffer(bytes, self->device);
    if (self->device && graphable(self)) {
      for (const Input& input : self->inputs) {
        self->fixed.push_back(new_buffer(self->steps.regions[static_cast<size_t>(input.region)].bytes, self->device));
      }
    }
  } catch (const std::bad_alloc&) {
    return PyErr_Format(PyExc_MemoryError, "capture: out of memory for the %zu bytes of the recorded step's arena",
                        bytes);
  }
  bind_places(self);
  Py_RETURN_NONE;
}

// end_recording(aliases, outputs) -> (Recording, failure): None, or why it cannot be replayed, as (kind, text, line).
// The recording's memory is still to be laid out.
PyObject* end_recording(PyObject*, PyObject* args) {
  PyObject *aliases, *outputs;
  if (!PyArg_ParseTuple(args, "O!O!:end_recording", &PyTuple_Type, &aliases, &PyTuple_Type, &outputs)) return nullptr;
  if (!check_tensors(outputs, "end_recording")) return nullptr;
  Recorder* r = recorder;
  if (!r) {
    PyErr_SetString(errors.capture, "no step is being recorded");
    return nullptr;
  }
  forget_casts();
  auto self = Owned<Recording>::own(blank_recording());
  bool good = false;
  try {
    good = self && finish(self.get(), r, outputs);
  } catch (const std::bad_alloc&) {
    restore_grads(r, r->dry);
    out_of_memory("capture");
  }
  set_recorder(nullptr);
  if (!good) {
    self = {};
    discard(r);
    return nullptr;
  }
  self->grad_mode = grad_enabled;
  self->autocast = autocast_dtype;
  self->seen_changes = changes;
  const Failure failure = std::move(r->failure);
  delete r;
  if (failure.empty()) return Py_BuildValue("NO", self.release(), Py_None);
  return Py_BuildValue("N(iss)", self.release(), static_cast<int>(failure.kind), failure.text.c_str(),
                       failure.line.c_str());
}

}  // namespace dlcore
