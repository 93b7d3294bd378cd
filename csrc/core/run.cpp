// Runs a plan: casts, outputs, the kernel, the tape.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "core/batch.h"
#include "core/device.h"
#include "core/function.h"
#include "core/hooks.h"
#include "core/layout.h"
#include "core/memory.h"
#include "core/record.h"
#include "core/tape.h"
#include "core/traced.h"

namespace dlcore {

static constexpr size_t kReleaseGil = size_t{1} << 19;  // bytes touched from which other Python threads may run

static bool check_history(Function* f, Tensor** operands, int n) {
  for (int k = 0; k < n; ++k) {
    const Tensor* t = operands[k];
    if (!t || !t->buffer) continue;
    if (history_lost(t)) {
      PyErr_Format(errors.autograd,
                   "%s: operand %d was changed in place through another tensor that shares its memory, so its gradient "
                   "would be wrong; take the view again after the write, or detach()", f->name_utf8, k);
      return false;
    }
  }
  return true;
}

static bool cast_operands(const Plan* plan, Operands& operands) {
  for (int k = 0; k < operands.n; ++k) {
    Tensor* t = operands.data[k];
    const int target = plan->casts[static_cast<size_t>(k)];
    if (!t || t->weak || target < 0 || target == static_cast<int>(t->array.dtype)) continue;
    PyObject* args[2] = {as_object(t), dtype_object(static_cast<DType>(target))};
    PyObject* cast = call_python(bound.cast, args, 2);
    if (!cast) return false;
    operands.set(k, as_tensor(cast));
  }
  return true;
}

static bool same_lengths(const int64_t* a, const int64_t* b, int n) { return !std::memcmp(a, b, sizeof(int64_t) * n); }
static bool fits(const OutputSpec& spec, const Tensor* out) {
  const Array& a = out->array;
  if (out->device && !(a.contiguous() && aligned(out))) return false;  // as its kernels are planned for
  return spec.dtype == a.dtype && spec.ndim == a.ndim && same_lengths(spec.shape, a.shape, a.ndim);
}

static thread_local bool hold_gil = false;
HoldGil::HoldGil() : before_(std::exchange(hold_gil, true)) {}
HoldGil::~HoldGil() { hold_gil = before_; }

// "take: index 9 ..." as an error of `caller`: what `renamed` (dlcore/_arguments.py) makes of it in an eager call.
static std::string as_of(const char* caller, const std::exception& fault) {
  const std::string text = fault.what();
  const size_t colon = text.find(':');
  const bool names = colon != std::string::npos && text.find(' ') > colon;
  return caller && names ? caller + text.substr(colon) : text;
}

bool raise_kernel_error(const char* kernel, const char* operation, const char* caller) {
  try {
    throw;
  } catch (const PythonRaised&) {  // the error is set
  } catch (const IndexFault& fault) {
    PyErr_SetString(PyExc_IndexError, as_of(caller, fault).c_str());
  } catch (const ValueFault& fault) {
    PyErr_SetString(PyExc_ValueError, as_of(caller, fault).c_str());
  } catch (const LinAlgFault& fault) {
    const Ref linalg = Ref::own(PyImport_ImportModule("numpy.linalg"));
    const Ref kind = linalg ? attribute(linalg.get(), "LinAlgError") : Ref{};
    if (kind) PyErr_SetString(kind.get(), as_of(caller, fault).c_str());
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError, "%s: out of memory for temporary space; dlcore holds %lld bytes in tensors",
                 operation, static_cast<long long>(memory_stats().in_use));
  } catch (const std::exception& error) {
    PyErr_Format(PyExc_RuntimeError, "%s: %s", kernel, error.what());
  }
  return false;
}

bool run_kernel(const Kernel& kernel, const Args& args, size_t bytes, const char* operation) {
  if (trace) trace_failed();  // of no operation
  try {
    if (bytes < kReleaseGil || recorder || hold_gil) {  // the recorder counts references
      launch(kernel, args);
      return true;
    }
    const WithoutGil released;
    launch(kernel, args);
    return true;
  } catch (...) {
    return raise_kernel_error(kernel.name, operation ? operation : kernel.name);
  }
}

// The arrays of one launch and the values of weak scalars among them; not initialised, for most calls have few.
struct Arrays {
  static constexpr size_t kInline = 12;
  alignas(Array) char local[kInline * sizeof(Array)];
  int64_t local_immediates[kInline];
  Buffer* local_buffers[kInline];
  std::vector<Array> many;
  std::vector<int64_t> many_immediates;
  std::vector<Buffer*> many_buffers;
  Array* data = reinterpret_cast<Array*>(local);
  int64_t* immediates = local_immediates;
  Buffer** buffers = local_buffers;
  explicit Arrays(size_t count) {
    if (count <= kInline) return;
    many.resize(count);
    many_immediates.resize(count);
    many_buffers.resize(count);
    data = many.data();
    immediates = many_immediates.data();
    buffers = many_buffers.data();
  }
};

struct RecordedAs {  // names the operation that the recorder's next commands belong to
  RecordedAs(Function* f, const Plan* plan) { set(f, plan); }
  ~RecordedAs() { set(nullptr, nullptr); }
  static void set(Function* f, const Plan* plan) {
    if (!recorder) return;
    recorder->function = f;
    recorder->plan = plan;
  }
};

static bool written(const Plan* plan, int k) {
  return std::find(plan->writes.begin(), plan->writes.end(), k) != plan->writes.end();
}

// ---- overlaps -----------------------------------------------------------------------------------------------------
// A copy that stands for an operand whose plan is made: a GPU's kernels are specialised for its layout.
static Tensor* copy_for_plan(Tensor* t) { return t->device ? copy_in_layout(t) : contiguous_copy(t); }

// Whether something may be written that is also another operand: no, wherever each written buffer is met once.
static bool writes_may_meet(const Plan* plan, const Operands& operands) {
  static uint64_t serial = 0;
  ++serial;
  size_t met = 0;
  bool foreign = false;
  for (const int k : plan->writes) {
    Buffer* buffer = operands.data[k]->buffer;
    if (buffer->writer == serial) return true;
    buffer->writer = serial;
  }
  for (int k = 0; k < operands.n; ++k) {
    const Buffer* buffer = operands.data[k] ? operands.data[k]->buffer : nullptr;
    if (!buffer) continue;
    met += buffer->writer == serial;
    foreign = foreign || buffer->free_owner;
  }
  return foreign || met > plan->writes.size();
}

// What is written must be no part of another operand: kernels read and write in any order. An operand that is only read
// is copied first; two that are written are refused.
static bool part_written(Function* f, const Plan* plan, Operands& operands) {
  if (plan->writes.empty() || !writes_may_meet(plan, operands)) return true;
  struct Stretch {
    const char *low, *high;
    int operand;
    bool written;
  };
  std::vector<Stretch> stretches;
  std::vector<bool> is_written(static_cast<size_t>(operands.n)), copied(is_written);
  for (const int k : plan->writes) is_written[static_cast<size_t>(k)] = true;
  for (int k = 0; k < operands.n; ++k) {
    if (!operands.data[k] || !operands.data[k]->buffer) continue;
    const auto [low, high] = extent(operands.data[k]->array);
    if (low != high) stretches.push_back({low, high, k, is_written[static_cast<size_t>(k)]});
  }
  std::sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) { return a.low < b.low; });
  for (size_t k = 0; k < stretches.size(); ++k) {
    for (size_t j = k + 1; j < stretches.size() && stretches[j].low < stretches[k].high; ++j) {
      const Stretch &a = stretches[k], &b = stretches[j];
      if (a.written && b.written) {
        PyErr_Format(PyExc_ValueError, "%s: operands %d and %d are both written and share memory", f->name_utf8,
                     std::min(a.operand, b.operand), std::max(a.operand, b.operand));
        return false;
      }
      if (a.written || b.written) copied[static_cast<size_t>(a.written ? b.operand : a.operand)] = true;
    }
  }
  for (int k = 0; k < operands.n; ++k) {
    if (!copied[static_cast<size_t>(k)]) continue;
    if (plan->tracked && plan->needs[static_cast<size_t>(k)]) {
      PyErr_Format(errors.autograd, "%s: operand %d shares memory with one that is written; pass a clone()",
                   f->name_utf8, k);
      return false;
    }
    Tensor* copy = copy_for_plan(operands.data[k]);
    if (!copy) return false;
    operands.set(k, copy);
  }
  return true;
}

static bool is_infinite(DType dtype, const void* value) {
  switch (dtype) {
    case DType::float16: return (*static_cast<const uint16_t*>(value) & 0x7fff) == 0x7c00;
    case DType::bfloat16: return (*static_cast<const uint16_t*>(value) & 0x7fff) == 0x7f80;
    case DType::float32: return std::isinf(*static_cast<const float*>(value));
    case DType::float64: return std::isinf(*static_cast<const double*>(value));
    default: return false;
  }
}

// A Python number among the operands, as the kernel takes it. An operation that says what it is of numbers that do not
// fit, a comparison, is asked too where a finite one would be infinite: x <= 1e300 holds for no infinite x.
static bool store_number(Function* f, const Tensor* t, DType dtype, void* out) {
  if (!store_immediate(t, dtype, out, f->name_utf8)) return false;
  const bool finite = t->array.dtype != DType::float64 || std::isfinite(t->immediate.f);
  if (!f->unfitting || !finite || !is_infinite(dtype, out)) return true;
  PyErr_SetNone(PyExc_OverflowError);
  return false;
}

static bool run_native(Function* f, const Plan* plan, Operands& operands, Operands& outputs, bool given) {
  const int n_in = operands.n, n_all = n_in + outputs.n;
  Arrays arrays(static_cast<size_t>(n_all));
  Operands copies(n_in);
  size_t bytes = 0;
  for (int k = 0; k < n_in; ++k) {
    Tensor* t = operands.data[k];
    arrays.buffers[k] = nullptr;
    if (!t) {
      arrays.data[k] = Array{};
      continue;
    }
    if (t->weak) {
      const int code = plan->casts[static_cast<size_t>(k)];
      Array& a = arrays.data[k];
      a = Array{};
      a.dtype = code < 0 ? t->array.dtype : static_cast<DType>(code);
      a.data = &arrays.immediates[k];
      if (!store_number(f, t, a.dtype, a.data)) return false;
      continue;
    }
    const bool moved = std::find(plan->copies.begin(), plan->copies.end(), k) != plan->copies.end();
    const bool gap = k < 32 ? (plan->kernel->contiguous >> k & 1) : (plan->kernel->contiguous >> 31 & 1);
    const Tensor* target = given ? outputs.data[0] : nullptr;
    const bool hazard = target && may_meet(t, target) && !same_array(t->array, target->array);
    if (hazard || moved || (gap && !t->array.contiguous())) {
      if (written(plan, k) && !moved) {
        PyErr_Format(PyExc_ValueError, "%s: operand %d is written in place and must be contiguous", f->name_utf8, k);
        return false;
      }
      t = moved ? contiguous_copy(t) : copy_for_plan(t);
      if (!t) return false;
      copies.data[k] = t;
    }
    arrays.data[k] = t->array;
    arrays.buffers[k] = t->buffer;
    bytes += t->buffer->bytes;
  }
  for (int k = 0; k < outputs.n; ++k) {
    arrays.buffers[n_in + k] = outputs.data[k] ? outputs.data[k]->buffer : nullptr;
    if (!outputs.data[k]) {
      arrays.data[n_in + k] = Array{};
      continue;
    }
    arrays.data[n_in + k] = outputs.data[k]->array;
    bytes += outputs.data[k]->buffer->bytes;
  }
  const int n_params = static_cast<int>(plan->params.size());
  const Args args{arrays.data, n_in, n_all, plan->params.data(), n_params, arrays.buffers};
  {
    const RecordedAs as(f, plan);
    if (!run_kernel(*plan->kernel, args, plan->device ? 0 : bytes, f->name_utf8)) return false;
  }
  for (const int k : plan->copies)
    if (written(plan, k) && !device_copy(copies.data[k], operands.data[k])) return false;
  return true;
}

// A weak scalar as a 0-d tensor of the dtype the plan wants, for kernels written in Python.
static Tensor* materialise(Function* f, Tensor* t, int code) {
  const DType dtype = code < 0 ? t->array.dtype : static_cast<DType>(code);
  Tensor* scalar = new_tensor(nullptr, 0, dtype);
  if (scalar && recorder && !record_host_access(scalar, kFromHost)) Py_CLEAR(scalar);
  if (scalar && !store_number(f, t, dtype, scalar->array.data)) Py_CLEAR(scalar);
  return scalar;
}

static bool run_foreign(Function* f, const Plan* plan, Operands& operands, Operands& outputs) {
  std::vector<Ref> args;
  for (int k = 0; k < operands.n; ++k) {
    Tensor* t = operands.data[k];
    if (t && t->weak) {
      args.push_back(Ref::own(as_object(materialise(f, t, plan->casts[static_cast<size_t>(k)]))));
      if (!args.back()) return false;
    } else {
      args.push_back(Ref::share(t ? as_object(t) : Py_None));
    }
  }
  for (int k = 0; k < outputs.n; ++k) {
    Tensor* t = outputs.data[k];
    args.push_back(Ref::share(t ? as_object(t) : Py_None));
  }
  PyObject* attrs = plan->attrs.get();
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(attrs); ++k) args.push_back(Ref::share(PyTuple_GET_ITEM(attrs, k)));
  std::vector<PyObject*> borrowed;
  for (const Ref& arg : args) borrowed.push_back(arg.get());
  const WithoutAutocast as_given;
  const bool mode = std::exchange(grad_enabled, false);
  const Ref result = Ref::own(call_python(plan->callable.get(), borrowed.data(), borrowed.size()));
  grad_enabled = mode;
  return static_cast<bool>(result);
}

static PyObject* run_composite(const Plan* plan, Operands& operands) {
  const WithoutAutocast as_given;
  std::vector<PyObject*> args;
  PyObject* attrs = plan->attrs.get();
  for (int k = 0; k < operands.n; ++k) args.push_back(operands.data[k] ? as_object(operands.data[k]) : Py_None);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(attrs); ++k) args.push_back(PyTuple_GET_ITEM(attrs, k));
  return call_python(plan->callable.get(), args.data(), args.size());
}

// Makes the call a node of the tape.
static bool track(Function* f, Plan* plan, Operands& operands, Operands& outputs, const Ref& check = Ref()) {
  Node* node = new_node(f, plan, operands.n);
  if (!node) return false;
  if (check) node->note = attribute(check.get(), "where").release();
  bool good = !check || node->note;
  for (int k = 0; k < operands.n; ++k)
    set_edge(node->edges[k], operands.data[k], plan->needs[static_cast<size_t>(k)]);
  for (size_t k = 0; k < plan->saves.size(); ++k) {
    const SaveSpec save = plan->saves[k];
    Tensor* t = save.kind == SaveSpec::input ? operands.data[save.index] : outputs.data[save.index];
    if (!t) continue;
    Saved& slot = node->saved[k];
    if (save.kind == SaveSpec::input) {
      slot.tensor = as_tensor(Py_NewRef(as_object(t)));
    } else {
      slot.tensor = new_view(t, t->array);  // an alias: the output itself refers to the node
      good = good && slot.tensor;
      if (save.index < plan->n_outputs) slot.output = save.index;
    }
    slot.version = t->buffer ? t->buffer->version : 0;
    if (t->base) show_to_collector(t);  // its base may become a result of this node
  }
  for (int k = 0; k < plan->n_outputs; ++k) {
    Tensor* out = outputs.data[k];
    if (!out || !is_float(out->array.dtype)) continue;
    hold_node(out, node);
    out->output = static_cast<uint32_t>(k);
    out->requires_grad = true;
    out->version_seen = out->buffer->version;
  }
  good = good && (!region || join_region(node));
  Py_DECREF(reinterpret_cast<PyObject*>(node));
  return good;
}

// The view of x that a plan of a view operation says.
static Tensor* planned_view(const Plan* plan, Tensor* x) {
  Array a;
  a.dtype = x->array.dtype;
  a.ndim = plan->outputs[0].ndim;
  a.data = static_cast<char*>(x->array.data) + plan->offset * item_size(a.dtype);
  std::memcpy(a.shape, plan->outputs[0].shape, sizeof(int64_t) * a.ndim);
  std::memcpy(a.strides, plan->strides, sizeof(int64_t) * a.ndim);
  return view_of(x, a);
}

static bool make_outputs(Function* f, const Plan* plan, Operands& operands, Operands& outputs, Tensor* out) {
  if (plan->kind == PlanKind::view) {
    Tensor* view = planned_view(plan, operands.data[0]);
    if (!view) return false;
    if (recorder) record_view(f, plan, operands.data[0], view);
    outputs.data[0] = view;
    return true;
  }
  for (int k = 0; k < outputs.n; ++k) {
    const OutputSpec& spec = plan->outputs[static_cast<size_t>(k)];
    const bool extra = k >= plan->n_outputs && k < outputs.n - plan->n_temps;
    if (!spec.present || (extra && !plan->tracked)) continue;
    const bool given = out && k == 0;
    outputs.data[k] = given ? as_tensor(Py_NewRef(as_object(out)))
                            : new_tensor(spec.shape, spec.ndim, spec.dtype, plan->device);
    if (!outputs.data[k]) return false;
  }
  return true;
}

static PyObject* returned(const Plan* plan, Operands& outputs) {
  if (plan->n_outputs == 0) Py_RETURN_NONE;
  if (plan->n_outputs == 1) return as_object(std::exchange(outputs.data[0], nullptr));
  PyObject* tuple = PyTuple_New(plan->n_outputs);
  for (int k = 0; tuple && k < plan->n_outputs; ++k) {
    Tensor* t = std::exchange(outputs.data[k], nullptr);
    PyTuple_SET_ITEM(tuple, k, t ? as_object(t) : Py_NewRef(Py_None));
  }
  return tuple;
}

struct PlanRef {
  Plan* plan;
  explicit PlanRef(Plan* p) : plan(p) {}
  ~PlanRef() { unref(plan); }
  PlanRef(const PlanRef&) = delete;
  PlanRef& operator=(const PlanRef&) = delete;
};

// ---- looking at what operations compute ---------------------------------------------------------------------------
PER_THREAD PyObject* examiner = nullptr;

static Ref as_tuple(Operands& tensors, int n) {
  Ref tuple = Ref::own(PyTuple_New(n));
  for (int k = 0; tuple && k < n; ++k)
    PyTuple_SET_ITEM(tuple.get(), k, Py_NewRef(tensors.data[k] ? as_object(tensors.data[k]) : Py_None));
  return tuple;
}

// callable(*args) with no examiner; null with an error.
template <class... Args> static Ref unexamined(PyObject* callable, Args... args) {
  PyObject* outer = std::exchange(examiner, nullptr);
  PyObject* all[] = {args...};
  Ref result = Ref::own(call_python(callable, all, sizeof...(args)));
  examiner = outer;
  return result;
}

static Ref examine_operands(Function* f, Operands& operands) {
  const Ref given = as_tuple(operands, operands.n), name = Ref::own(PyUnicode_FromString(f->name_utf8));
  return given && name ? unexamined(examiner, name.get(), given.get()) : Ref();
}

static bool examine_outputs(PyObject* check, Operands& outputs, int n) {
  const Ref made = as_tuple(outputs, n);
  return made && unexamined(check, made.get());
}

// Nothing is kept of the call, nor can it fail.
static bool is_only_view(const Plan* plan) { return plan->kind == PlanKind::view && !plan->tracked && !recorder; }

static PyObject* run_plan(Function* f, Plan* plan, Operands& operands, Tensor* out) {
  if (plan->tracked && !check_history(f, operands.data, operands.n)) return nullptr;
  for (const int k : plan->writes)
    if (!check_written(operands.data[k], f->name_utf8)) return nullptr;
  for (int k = 0; recorder && k < operands.n; ++k)
    if (operands.data[k]) record_operand(operands.data[k], plan->tracked);
  if (!cast_operands(plan, operands) || !part_written(f, plan, operands)) return nullptr;
  if (plan->kind == PlanKind::composite) return run_composite(plan, operands);
  Operands outputs(static_cast<int>(plan->outputs.size()));
  if (out && !(plan->kind == PlanKind::native && plan->n_outputs == 1 && fits(plan->outputs[0], out))) out = nullptr;
  if (!make_outputs(f, plan, operands, outputs, out)) return nullptr;
  Ref check;
  if (examiner && plan->kind != PlanKind::view && !(check = examine_operands(f, operands))) return nullptr;
  if (plan->kind == PlanKind::native && !run_native(f, plan, operands, outputs, out)) return nullptr;
  if (plan->kind == PlanKind::foreign && !run_foreign(f, plan, operands, outputs)) return nullptr;
  for (const int k : plan->writes) bump(operands.data[k]);
  if (out) bump(out);
  if (check && !examine_outputs(check.get(), outputs, plan->n_outputs)) return nullptr;
  if (plan->tracked && !track(f, plan, operands, outputs, check)) return nullptr;
  return returned(plan, outputs);
}

// The plan for a call, with a reference of its own: found, or made. Null with an error.
Plan* plan_for(Function* f, Operands& operands, PyObject* attrs, const int* lengths, int n_groups) {
  Key key;
  for (int k = 0; k < n_groups; ++k) key.add(static_cast<uint64_t>(lengths[k]));
  if (!make_key(f, operands.data, operands.n, attrs, key)) return nullptr;
  if (Plan* plan = f->cache->find(key, attrs)) {
    ++plan->refs;
    return plan;
  }
  if (PyErr_Occurred()) return nullptr;  // from comparing attributes
  Plan* plan = make_plan(f, operands.data, operands.n, attrs, lengths, n_groups);
  if (plan) {
    ++plan->refs;
    f->cache->keep(key, attrs, plan);
  }
  return plan;
}

static bool refresh_views(Operands& operands) {
  for (int k = 0; grad_enabled && k < operands.n; ++k)
    if (operands.data[k] && operands.data[k]->base && !refresh_view(operands.data[k])) return false;
  return true;
}

PyObject* run_kept(Function* f, PlanCache& plans, Key& key, Tensor* x) {
  static PyObject* nothing = PyTuple_New(0);
  if ((grad_enabled && x->base && !refresh_view(x)) || !make_key(f, &x, 1, nothing, key)) return nullptr;
  Plan* plan = plans.find(key, Py_None);
  if (!plan) return nullptr;
  if (is_only_view(plan)) return as_object(planned_view(plan, x));
  Operands operands(1);
  operands.data[0] = as_tensor(Py_NewRef(as_object(x)));
  ++plan->refs;
  const PlanRef held(plan);
  return run_plan(f, plan, operands, nullptr);
}

PyObject* run_and_keep(Function* f, PlanCache& plans, const Key& key, Tensor* x, PyObject* attrs) {
  Operands operands(1);
  operands.data[0] = as_tensor(Py_NewRef(as_object(x)));
  Plan* plan = plan_for(f, operands, attrs, nullptr, 0);
  if (!plan) return nullptr;
  const PlanRef held(plan);
  ++plan->refs;
  plans.keep(key, Py_None, plan);
  return run_plan(f, plan, operands, nullptr);
}

PyObject* run_planned(Function* f, Plan* plan, Operands& operands) {
  if (is_only_view(plan)) return as_object(planned_view(plan, operands.data[0]));
  return run_plan(f, plan, operands, nullptr);
}

bool link_result(Function* f, Tensor* const* given, int n, PyObject* attrs, Tensor* out) {
  if (!read_signature(f)) return false;
  Operands operands(n), outputs(1);
  for (int k = 0; k < n; ++k) operands.data[k] = as_tensor(Py_NewRef(as_object(given[k])));
  Plan* plan = plan_for(f, operands, attrs, nullptr, 0);
  if (!plan) return false;
  const PlanRef held(plan);
  outputs.data[0] = as_tensor(Py_NewRef(as_object(out)));
  return !plan->tracked || track(f, plan, operands, outputs);
}

// What the operation is where a Python number among its operands does not fit their dtype: a part of its definition.
static PyObject* call_unfitting(Function* f, Operands& operands) {
  const Ref part = attribute(f->op, "unfitting");
  std::vector<PyObject*> args;
  for (int k = 0; k < operands.n; ++k) args.push_back(operands.data[k] ? as_object(operands.data[k]) : Py_None);
  return part ? call_python(part.get(), args.data(), args.size()) : nullptr;
}

// Takes owned operands (they may be replaced by casts).
PyObject* dispatch(Function* f, Operands& operands, PyObject* attrs, Tensor* out, const int* lengths, int n_groups) {
  if (trace) return dispatch_traced(f, operands, attrs, out, lengths, n_groups);
  if (f->dynamic && recorder && !any_batched(operands.data, operands.n)) {
    const std::string what = std::string(f->name_utf8) + "() has a result whose shape depends on values";
    if (!record_host_read(what.c_str())) return nullptr;
  }
  if (f->cast != CastClass::widest && autocast_dtype != kNoAutocast && !autocast_operands(f->cast, operands)) {
    return nullptr;
  }
  if ((f->random && batch_depth) || any_batched(operands.data, operands.n)) {
    return call_batched(f, operands, attrs, lengths, n_groups);
  }
  if (!refresh_views(operands)) return nullptr;
  Plan* plan = plan_for(f, operands, attrs, lengths, n_groups);
  if (!plan) return nullptr;
  const PlanRef held(plan);
  if (is_only_view(plan)) return as_object(planned_view(plan, operands.data[0]));
  PyObject* result = run_plan(f, plan, operands, out);
  if (result || !f->unfitting || !PyErr_ExceptionMatches(PyExc_OverflowError)) return result;
  PyErr_Clear();
  return call_unfitting(f, operands);
}

PyObject* call(Function* f, Tensor** given, int n, PyObject* attrs, Tensor* out) {
  Operands operands(n);
  for (int k = 0; k < n; ++k) operands.data[k] = given[k] ? as_tensor(Py_NewRef(as_object(given[k]))) : nullptr;
  return dispatch(f, operands, attrs, out);
}

}  // namespace dlcore
