#include "core/function.h"

#include <structmember.h>

#include <cstring>
#include <new>
#include <utility>

#include "core/memory.h"
#include "core/tape.h"

namespace dlcore {

PyTypeObject* function_type = nullptr;

static PyObject* missing = nullptr;  // inspect.Parameter.empty: an attribute without a default
static constexpr size_t kMaxPlans = 4096;          // per function; beyond, shapes are too dynamic for a cache to help
static constexpr size_t kReleaseGil = size_t{1} << 19;  // bytes touched from which other Python threads may run

// ---- operands -----------------------------------------------------------------------------------------------------
// New reference, or null: absent when optional, else an error is set.
static Tensor* to_operand(Function* f, PyObject* value, int position, bool* failed) {
  *failed = false;
  if (is_tensor(value)) return as_tensor(Py_NewRef(value));
  if (PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value)) {
    Tensor* t = new_scalar(value);
    *failed = !t;
    return t;
  }
  if (value == Py_None && (f->optional >> position & 1)) return nullptr;
  PyObject* name = f->variadic ? PyTuple_GET_ITEM(f->input_names, 0) : PyTuple_GET_ITEM(f->input_names, position);
  PyObject* args[3] = {value, f->name, name};
  PyObject* converted = PyObject_Vectorcall(bound.convert, args, 3, nullptr);  // arrays, lists, NumPy's numbers
  Tensor* t = nullptr;
  if (converted && is_tensor(converted)) return as_tensor(converted);
  if (converted) {
    t = new_scalar(converted);
    Py_DECREF(converted);
  }
  *failed = !t;
  return t;
}

// The operands of one call; owned references, null where absent.
struct Operands {
  static constexpr int kInline = 8;
  Tensor* local[kInline];
  std::vector<Tensor*> many;
  Tensor** data = local;
  int n = 0;
  explicit Operands(int count) : n(count) {
    if (count > kInline) {
      many.resize(static_cast<size_t>(count));
      data = many.data();
    }
    for (int k = 0; k < n; ++k) data[k] = nullptr;
  }
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;
  ~Operands() {
    for (int k = 0; k < n; ++k) Py_XDECREF(as_object(data[k]));
  }
  void set(int k, Tensor* owned) {
    Py_XDECREF(as_object(data[k]));
    data[k] = owned;
  }
};

// ---- the cache of plans -------------------------------------------------------------------------------------------
struct Key {
  static constexpr int kInline = 128;
  uint64_t local[kInline];
  std::vector<uint64_t> many;
  uint64_t* words = local;
  size_t n = 0;
  uint64_t hash = 0;

  explicit Key(size_t capacity) {
    if (capacity <= kInline) return;
    many.resize(capacity);
    words = many.data();
  }
  void add(uint64_t word) {
    words[n++] = word;
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
};

static bool wanted(const Tensor* t) { return grad_enabled && t && t->requires_grad; }

static bool make_key(Function* f, Tensor** operands, int n, PyObject* attrs, Key& key) {
  for (int k = 0; k < n; ++k) {
    const Tensor* t = operands[k];
    if (!t) {
      key.add(~uint64_t{0});
      continue;
    }
    const Array& a = t->array;
    key.add(static_cast<uint64_t>(a.dtype) | uint64_t{a.ndim} << 8 | uint64_t{t->device} << 16 | uint64_t{t->weak} << 24 |
            uint64_t{wanted(t)} << 25);
    for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.shape[d]));
    if (f->strided_key)
      for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.strides[d]));
  }
  const Py_ssize_t n_attrs = PyTuple_GET_SIZE(attrs);
  if (n_attrs == 0 || attrs == f->defaults) return true;
  for (Py_ssize_t k = 0; k < n_attrs; ++k)  // 1, 1.0 and True are equal: tell them apart by type
    key.add(reinterpret_cast<uintptr_t>(Py_TYPE(PyTuple_GET_ITEM(attrs, k))));
  const Py_hash_t h = PyObject_Hash(attrs);
  if (h == -1 && PyErr_Occurred()) return false;
  key.add(static_cast<uint64_t>(h));
  return true;
}

static void unref(Plan* plan) {
  if (--plan->refs == 0) delete plan;
}

static void clear_cache(Function* f) {
  auto entries = std::move(*f->cache);
  f->cache->clear();
  for (auto& [hash, entry] : entries) {
    Py_DECREF(entry.attrs);
    unref(entry.plan);
  }
}

static Plan* find_plan(Function* f, const Key& key, PyObject* attrs) {
  const auto [begin, end] = f->cache->equal_range(key.hash);
  for (auto it = begin; it != end; ++it) {
    CacheEntry& e = it->second;
    if (e.words.size() != key.n || std::memcmp(e.words.data(), key.words, key.n * sizeof(uint64_t))) continue;
    if (e.attrs == attrs || PyObject_RichCompareBool(e.attrs, attrs, Py_EQ) == 1) return e.plan;
  }
  return nullptr;
}

// ---- making a plan: Python decides, C++ keeps the answer ----------------------------------------------------------
static bool read_ints(PyObject* plan, const char* field, std::vector<int>& out) {
  PyObject* list = PyObject_GetAttrString(plan, field);
  if (!list) return false;
  for (Py_ssize_t k = 0; k < PySequence_Size(list); ++k) {
    PyObject* item = PySequence_GetItem(list, k);
    out.push_back(static_cast<int>(PyLong_AsLong(item)));
    Py_XDECREF(item);
  }
  Py_DECREF(list);
  return !PyErr_Occurred();
}

static bool read_params(PyObject* plan, std::vector<Param>& out) {
  PyObject* list = PyObject_GetAttrString(plan, "params");
  if (!list) return false;
  for (Py_ssize_t k = 0; k < PySequence_Size(list); ++k) {
    PyObject* item = PySequence_GetItem(list, k);
    Param p;
    if (PyFloat_Check(item)) p.f = PyFloat_AsDouble(item);
    else p.i = PyLong_AsLongLong(item);
    out.push_back(p);
    Py_XDECREF(item);
  }
  Py_DECREF(list);
  return !PyErr_Occurred();
}

static bool read_outputs(PyObject* plan, std::vector<OutputSpec>& out) {
  PyObject* list = PyObject_GetAttrString(plan, "outputs");
  if (!list) return false;
  bool good = true;
  for (Py_ssize_t k = 0; good && k < PySequence_Size(list); ++k) {
    PyObject* item = PySequence_GetItem(list, k);
    OutputSpec spec{};
    if (item != Py_None) {
      PyObject *shape = PyObject_GetAttrString(item, "shape"), *dtype = PyObject_GetAttrString(item, "dtype");
      int ndim = 0;
      good = shape && dtype && parse_shape(shape, spec.shape, &ndim, "output") && parse_dtype(dtype, &spec.dtype);
      spec.ndim = static_cast<uint8_t>(ndim);
      spec.present = true;
      Py_XDECREF(shape);
      Py_XDECREF(dtype);
    }
    Py_XDECREF(item);
    out.push_back(spec);
  }
  Py_DECREF(list);
  return good;
}

static bool read_saves(PyObject* plan, std::vector<SaveSpec>& out) {  // (kind, index): kind 0 none, 1 input, 2 output
  PyObject* list = PyObject_GetAttrString(plan, "saves");
  if (!list) return false;
  bool good = true;
  for (Py_ssize_t k = 0; good && k < PySequence_Size(list); ++k) {
    PyObject* item = PySequence_GetItem(list, k);
    int kind, index;
    good = item && PyArg_ParseTuple(item, "ii", &kind, &index);
    if (good) out.push_back({static_cast<SaveSpec::Kind>(kind), index});
    Py_XDECREF(item);
  }
  Py_DECREF(list);
  return good;
}

static bool read_target(PyObject* source, Plan* plan) {
  PyObject* target = PyObject_GetAttrString(source, "target");  // kernel name, callable, or (offset, strides) of a view
  if (!target) return false;
  bool good = true;
  if (plan->kind == PlanKind::native) {
    const char* name = PyUnicode_AsUTF8(target);
    plan->kernel = name ? find_kernel(name) : nullptr;
    if (name && !plan->kernel) PyErr_Format(PyExc_LookupError, "no kernel is called %R", target);
    good = plan->kernel;
  } else if (plan->kind == PlanKind::view) {
    PyObject* strides;
    long long offset;
    int n;
    good = PyArg_ParseTuple(target, "LO", &offset, &strides) && parse_shape(strides, plan->strides, &n, "view");
    plan->offset = offset;
  } else {
    plan->callable = Py_NewRef(target);
  }
  Py_DECREF(target);
  return good;
}

static Plan* read_plan(PyObject* source, Tensor** operands, int n) {
  Plan* plan = new Plan;
  std::vector<int> scalars;  // kind, n_outputs, taped
  bool good = read_ints(source, "head", scalars) && scalars.size() == 3;
  if (good) {
    plan->kind = static_cast<PlanKind>(scalars[0]);
    plan->n_outputs = scalars[1];
    plan->taped = scalars[2];
    good = read_ints(source, "casts", plan->casts) && read_outputs(source, plan->outputs) && read_params(source, plan->params) &&
           read_saves(source, plan->saves) && read_ints(source, "writes", plan->writes) && read_target(source, plan);
  }
  for (int k = 0; k < n; ++k) plan->needs.push_back(wanted(operands[k]));
  if (good) return plan;
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "malformed plan");
  delete plan;
  return nullptr;
}

static PyObject* tuple_of(Tensor** operands, int n) {
  PyObject* tuple = PyTuple_New(n);
  for (int k = 0; tuple && k < n; ++k) PyTuple_SET_ITEM(tuple, k, Py_NewRef(operands[k] ? as_object(operands[k]) : Py_None));
  return tuple;
}

static Plan* make_plan(Function* f, Tensor** operands, int n, PyObject* attrs) {
  PyObject* tensors = tuple_of(operands, n);
  PyObject* needs = PyTuple_New(n);
  if (!tensors || !needs) return nullptr;
  for (int k = 0; k < n; ++k) PyTuple_SET_ITEM(needs, k, PyBool_FromLong(wanted(operands[k])));
  PyObject* args[4] = {f->op, tensors, attrs, needs};
  PyObject* source = PyObject_Vectorcall(bound.plan, args, 4, nullptr);
  Py_DECREF(tensors);
  Py_DECREF(needs);
  if (!source) return nullptr;
  Plan* plan = read_plan(source, operands, n);
  Py_DECREF(source);
  return plan;
}

// ---- running a plan -----------------------------------------------------------------------------------------------
static bool check_history(Function* f, Tensor** operands, int n) {
  for (int k = 0; k < n; ++k) {
    const Tensor* t = operands[k];
    if (!t || !t->buffer) continue;
    if (t->node ? t->version_seen != t->buffer->version && t->requires_grad : t->view && t->buffer->rewritten) {
      PyErr_Format(errors.autograd,
                   "%s: operand %d was changed in place through another tensor that shares its memory, so its gradient would be "
                   "wrong; take the view again after the write, or detach()", f->name_utf8, k);
      return false;
    }
  }
  return true;
}

static bool cast_operands(Function* f, const Plan* plan, Operands& operands) {
  for (int k = 0; k < operands.n; ++k) {
    Tensor* t = operands.data[k];
    const int target = plan->casts[static_cast<size_t>(k)];
    if (!t || t->weak || target < 0 || target == static_cast<int>(t->array.dtype)) continue;
    PyObject* args[2] = {as_object(t), dtype_object(static_cast<DType>(target))};
    PyObject* cast = PyObject_Vectorcall(bound.cast, args, 2, nullptr);
    if (!cast) return false;
    operands.set(k, as_tensor(cast));
  }
  (void)f;
  return true;
}

static bool same_array(const Array& a, const Array& b) {
  return a.data == b.data && a.dtype == b.dtype && a.ndim == b.ndim && !std::memcmp(a.shape, b.shape, sizeof(int64_t) * a.ndim) &&
         !std::memcmp(a.strides, b.strides, sizeof(int64_t) * a.ndim);
}
static bool fits(const OutputSpec& spec, const Array& a) {
  return spec.dtype == a.dtype && spec.ndim == a.ndim && !std::memcmp(spec.shape, a.shape, sizeof(int64_t) * a.ndim);
}

static bool run_kernel(const Kernel& kernel, const Args& args, size_t bytes) {
  try {
    if (bytes < kReleaseGil) {
      launch(kernel, args);
      return true;
    }
    struct WithoutGil {
      PyThreadState* state = PyEval_SaveThread();
      ~WithoutGil() { PyEval_RestoreThread(state); }
    } released;
    launch(kernel, args);
    return true;
  } catch (const IndexFault& fault) {
    PyErr_SetString(PyExc_IndexError, fault.what());
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError, "%s: out of memory for temporary space; dlcore holds %lld bytes", kernel.name,
                 static_cast<long long>(memory_stats().in_use));
  } catch (const std::exception& error) {
    PyErr_Format(PyExc_RuntimeError, "%s: %s", kernel.name, error.what());
  }
  return false;
}

struct Arrays {
  static constexpr int kInline = 12;
  Array local[kInline];
  int64_t local_immediates[kInline];
  std::vector<Array> many;
  std::vector<int64_t> many_immediates;
  Array* data = local;
  int64_t* immediates = local_immediates;
  explicit Arrays(size_t count) {
    if (count <= kInline) return;
    many.resize(count);
    many_immediates.resize(count);
    data = many.data();
    immediates = many_immediates.data();
  }
};

static bool written(const Plan* plan, int k) {
  for (const int w : plan->writes) if (w == k) return true;
  return false;
}

static bool run_native(Function* f, const Plan* plan, Operands& operands, Operands& outputs, bool given) {
  const int n_in = operands.n, n_all = n_in + outputs.n;
  Arrays arrays(static_cast<size_t>(n_all));
  Operands copies(n_in);
  size_t bytes = 0;
  for (int k = 0; k < n_in; ++k) {
    Tensor* t = operands.data[k];
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
      if (!store_immediate(t, a.dtype, a.data, f->name_utf8)) return false;
      continue;
    }
    const bool gap = k < 32 ? (plan->kernel->contiguous >> k & 1) : (plan->kernel->contiguous >> 31 & 1);
    const bool hazard = given && t->buffer == outputs.data[0]->buffer && !same_array(t->array, outputs.data[0]->array);
    if (hazard || (gap && !t->array.contiguous())) {
      if (written(plan, k)) {
        PyErr_Format(PyExc_ValueError, "%s: operand %d is written in place and must be contiguous", f->name_utf8, k);
        return false;
      }
      t = contiguous_copy(t);
      if (!t) return false;
      copies.data[k] = t;
    }
    arrays.data[k] = t->array;
    bytes += t->buffer->bytes;
  }
  for (int k = 0; k < outputs.n; ++k) {
    if (!outputs.data[k]) {
      arrays.data[n_in + k] = Array{};
      continue;
    }
    arrays.data[n_in + k] = outputs.data[k]->array;
    bytes += outputs.data[k]->buffer->bytes;
  }
  const Args args{arrays.data, n_in, n_all, plan->params.data(), static_cast<int>(plan->params.size())};
  return run_kernel(*plan->kernel, args, bytes);
}

// A weak scalar as a 0-d tensor of the dtype the plan wants, for kernels written in Python.
static Tensor* materialise(Function* f, Tensor* t, int code) {
  const DType dtype = code < 0 ? t->array.dtype : static_cast<DType>(code);
  Tensor* scalar = new_tensor(nullptr, 0, dtype);
  if (scalar && !store_immediate(t, dtype, scalar->array.data, f->name_utf8)) Py_CLEAR(scalar);
  return scalar;
}

static bool run_foreign(Function* f, const Plan* plan, Operands& operands, Operands& outputs, PyObject* attrs) {
  std::vector<PyObject*> args;
  bool good = true;
  for (int k = 0; k < operands.n; ++k) {
    Tensor* t = operands.data[k];
    PyObject* value = !t ? Py_NewRef(Py_None) : t->weak ? as_object(materialise(f, t, plan->casts[static_cast<size_t>(k)])) : Py_NewRef(as_object(t));
    good = good && value;
    args.push_back(value);
  }
  for (int k = 0; k < outputs.n; ++k) args.push_back(Py_NewRef(outputs.data[k] ? as_object(outputs.data[k]) : Py_None));
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(attrs); ++k) args.push_back(Py_NewRef(PyTuple_GET_ITEM(attrs, k)));
  PyObject* result = nullptr;
  if (good) {
    const bool mode = std::exchange(grad_enabled, false);
    result = PyObject_Vectorcall(plan->callable, args.data(), args.size(), nullptr);
    grad_enabled = mode;
  }
  for (PyObject* o : args) Py_XDECREF(o);
  Py_XDECREF(result);
  return result;
}

static PyObject* run_composite(const Plan* plan, Operands& operands, PyObject* attrs) {
  std::vector<PyObject*> args;
  for (int k = 0; k < operands.n; ++k) args.push_back(operands.data[k] ? as_object(operands.data[k]) : Py_None);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(attrs); ++k) args.push_back(PyTuple_GET_ITEM(attrs, k));
  return PyObject_Vectorcall(plan->callable, args.data(), args.size(), nullptr);
}

static bool record(Function* f, const Plan* plan, Operands& operands, Operands& outputs, PyObject* attrs) {
  Node* node = new_node(f, attrs, operands.n, static_cast<int>(plan->saves.size()), plan->n_outputs);
  if (!node) return false;
  bool good = true;
  for (int k = 0; k < operands.n; ++k) set_edge(node->edges[k], operands.data[k], plan->needs[static_cast<size_t>(k)]);
  for (size_t k = 0; k < plan->saves.size(); ++k) {
    const SaveSpec save = plan->saves[k];
    if (save.kind == SaveSpec::none) continue;
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
  }
  for (int k = 0; k < plan->n_outputs; ++k) {
    Tensor* out = outputs.data[k];
    if (!out || !is_float(out->array.dtype)) continue;
    out->node = reinterpret_cast<Node*>(Py_NewRef(reinterpret_cast<PyObject*>(node)));
    out->output = static_cast<uint32_t>(k);
    out->requires_grad = true;
    out->version_seen = out->buffer->version;
  }
  Py_DECREF(reinterpret_cast<PyObject*>(node));
  return good;
}

static bool make_outputs(const Plan* plan, Operands& operands, Operands& outputs, Tensor* out) {
  if (plan->kind == PlanKind::view) {
    Tensor* base = operands.data[0];
    Array a;
    a.dtype = base->array.dtype;
    a.ndim = plan->outputs[0].ndim;
    a.data = static_cast<char*>(base->array.data) + plan->offset * item_size(a.dtype);
    std::memcpy(a.shape, plan->outputs[0].shape, sizeof(int64_t) * a.ndim);
    std::memcpy(a.strides, plan->strides, sizeof(int64_t) * a.ndim);
    Tensor* view = new_view(base, a);
    if (!view) return false;
    view->view = true;
    outputs.data[0] = view;
    return true;
  }
  for (int k = 0; k < outputs.n; ++k) {
    const OutputSpec& spec = plan->outputs[static_cast<size_t>(k)];
    if (!spec.present || (k >= plan->n_outputs && !plan->taped)) continue;
    outputs.data[k] = out ? as_tensor(Py_NewRef(as_object(out))) : new_tensor(spec.shape, spec.ndim, spec.dtype);
    if (!outputs.data[k]) return false;
    if (!out && operands.n && operands.data[0]) outputs.data[k]->device = operands.data[0]->device;
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

static PyObject* run_plan(Function* f, Plan* plan, Operands& operands, PyObject* attrs, Tensor* out) {
  if (plan->taped && !check_history(f, operands.data, operands.n)) return nullptr;
  for (const int k : plan->writes) if (!check_writable(operands.data[k], f->name_utf8)) return nullptr;
  if (!cast_operands(f, plan, operands)) return nullptr;
  if (plan->kind == PlanKind::composite) return run_composite(plan, operands, attrs);
  Operands outputs(static_cast<int>(plan->outputs.size()));
  if (out && !(plan->kind == PlanKind::native && plan->n_outputs == 1 && fits(plan->outputs[0], out->array))) out = nullptr;
  if (!make_outputs(plan, operands, outputs, out)) return nullptr;
  if (plan->kind == PlanKind::native && !run_native(f, plan, operands, outputs, out)) return nullptr;
  if (plan->kind == PlanKind::foreign && !run_foreign(f, plan, operands, outputs, attrs)) return nullptr;
  for (const int k : plan->writes) bump(operands.data[k]);
  if (out) bump(out);
  if (plan->taped && !record(f, plan, operands, outputs, attrs)) return nullptr;
  return returned(plan, outputs);
}

// Takes owned operands (they may be replaced by casts).
static PyObject* dispatch(Function* f, Operands& operands, PyObject* attrs, Tensor* out) {
  Key key(static_cast<size_t>(operands.n) * (f->strided_key ? 17 : 9) + static_cast<size_t>(PyTuple_GET_SIZE(attrs)) + 1);
  if (!make_key(f, operands.data, operands.n, attrs, key)) return nullptr;
  Plan* plan = f->value_key ? nullptr : find_plan(f, key, attrs);
  if (!plan) {
    plan = make_plan(f, operands.data, operands.n, attrs);
    if (!plan) return nullptr;
    if (!f->value_key) {
      if (f->cache->size() >= kMaxPlans) clear_cache(f);
      f->cache->emplace(key.hash, CacheEntry{{key.words, key.words + key.n}, Py_NewRef(attrs), plan});
    } else {
      --plan->refs;
    }
  }
  ++plan->refs;
  PyObject* result = run_plan(f, plan, operands, attrs, out);
  unref(plan);
  return result;
}

PyObject* call(Function* f, Tensor** given, int n, PyObject* attrs, Tensor* out) {
  Operands operands(n);
  for (int k = 0; k < n; ++k) operands.data[k] = given[k] ? as_tensor(Py_NewRef(as_object(given[k]))) : nullptr;
  return dispatch(f, operands, attrs, out);
}

// ---- calling from Python ------------------------------------------------------------------------------------------
static int find_name(PyObject* names, PyObject* name) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k)
    if (PyTuple_GET_ITEM(names, k) == name) return static_cast<int>(k);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k)
    if (PyUnicode_Compare(PyTuple_GET_ITEM(names, k), name) == 0) return static_cast<int>(k);
  return -1;
}

// Positional and keyword arguments into `values` (borrowed; null where not given): operands, then attributes.
static bool place_arguments(Function* f, PyObject* const* args, Py_ssize_t n, PyObject* kwnames, PyObject** values, int total) {
  if (n > total) {
    PyErr_Format(PyExc_TypeError, "%s: takes at most %d arguments, %zd given", f->name_utf8, total, n);
    return false;
  }
  for (Py_ssize_t k = 0; k < n; ++k) values[k] = args[k];
  for (Py_ssize_t k = 0; kwnames && k < PyTuple_GET_SIZE(kwnames); ++k) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, k);
    int place = find_name(f->input_names, name);
    if (place < 0 && (place = find_name(f->attr_names, name)) >= 0) place += f->n_inputs;
    if (place < 0 || values[place]) {
      PyErr_Format(PyExc_TypeError, "%s: %s argument %R", f->name_utf8, place < 0 ? "there is no" : "got twice the", name);
      return false;
    }
    values[place] = args[n + k];
  }
  return true;
}

static PyObject* make_attrs(Function* f, PyObject** values) {
  const Py_ssize_t n = PyTuple_GET_SIZE(f->defaults);
  bool plain = true;
  for (Py_ssize_t k = 0; k < n; ++k) plain = plain && !values[k] && PyTuple_GET_ITEM(f->defaults, k) != missing;
  if (plain) return Py_NewRef(f->defaults);
  PyObject* attrs = PyTuple_New(n);
  for (Py_ssize_t k = 0; attrs && k < n; ++k) {
    PyObject* value = values[k] ? values[k] : PyTuple_GET_ITEM(f->defaults, k);
    if (value == missing) {
      PyErr_Format(PyExc_TypeError, "%s: missing argument %R", f->name_utf8, PyTuple_GET_ITEM(f->attr_names, k));
      Py_DECREF(attrs);
      return nullptr;
    }
    PyTuple_SET_ITEM(attrs, k, PyList_Check(value) ? PyList_AsTuple(value) : Py_NewRef(value));
  }
  return attrs;
}

static PyObject* vectorcall(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  Function* f = reinterpret_cast<Function*>(self);
  const int total = f->n_inputs + static_cast<int>(PyTuple_GET_SIZE(f->defaults));
  PyObject* values[32] = {};
  if (!place_arguments(f, args, PyVectorcall_NARGS(nargsf), kwnames, values, total)) return nullptr;
  PyObject* list = nullptr;
  if (f->variadic) {
    list = values[0] ? PySequence_Fast(values[0], "a sequence of tensors is wanted") : nullptr;
    if (!list && !PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "%s: missing argument: a sequence of tensors", f->name_utf8);
    if (!list) return nullptr;
  }
  PyObject* attrs = make_attrs(f, values + f->n_inputs);
  PyObject* result = nullptr;
  if (attrs) {
    Operands operands(f->variadic ? static_cast<int>(PySequence_Fast_GET_SIZE(list)) : f->n_inputs);
    bool failed = false;
    for (int k = 0; k < operands.n && !failed; ++k) {
      PyObject* value = f->variadic ? PySequence_Fast_GET_ITEM(list, k) : values[k];
      if (!value && !(f->optional >> k & 1)) {
        PyErr_Format(PyExc_TypeError, "%s: missing argument %R", f->name_utf8, PyTuple_GET_ITEM(f->input_names, k));
        failed = true;
      } else if (value) {
        operands.data[k] = to_operand(f, value, f->variadic ? 0 : k, &failed);
      }
    }
    if (!failed) result = dispatch(f, operands, attrs, nullptr);
    Py_DECREF(attrs);
  }
  Py_XDECREF(list);
  return result;
}

// ---- in place -----------------------------------------------------------------------------------------------------
static Tensor* alias_with_history(Tensor* t) {
  Tensor* alias = new_view(t, t->array);
  if (!alias) return nullptr;
  alias->requires_grad = t->requires_grad;
  alias->node = t->node;
  Py_XINCREF(reinterpret_cast<PyObject*>(t->node));
  alias->output = t->output;
  alias->version_seen = t->version_seen;
  return alias;
}

static bool check_trackable(Function* f, const Tensor* target) {
  if (target->requires_grad && !target->node) {
    PyErr_Format(errors.autograd, "%s: a leaf that requires a gradient cannot be changed in place; use no_grad() or an out-of-place operation", f->name_utf8);
    return false;
  }
  if (target->view) {
    PyErr_Format(errors.autograd, "%s: writing in place into a view would lose the gradient of what it is a view of; assign with x[index] = value, or use an out-of-place operation",
                 f->name_utf8);
    return false;
  }
  return true;
}

// Writes `value` (any strides, same shape) into target's memory, casting within the same kind.
static bool write_into(Function* f, Tensor* target, Tensor* value) {
  static const Kernel* copy = find_kernel("movement:copy");
  const Array &to = target->array, &from = value->array;
  if (to.ndim != from.ndim || std::memcmp(to.shape, from.shape, sizeof(int64_t) * to.ndim)) {
    PyObject *have = shape_tuple(from.shape, from.ndim), *want = shape_tuple(to.shape, to.ndim);
    PyErr_Format(errors.shape, "%s: a result of shape %R does not fit in place into shape %R", f->name_utf8, have, want);
    Py_XDECREF(have);
    Py_XDECREF(want);
    return false;
  }
  Tensor* source = as_tensor(Py_NewRef(as_object(value)));
  if (to.dtype != from.dtype) {
    if (is_float(from.dtype) && !is_float(to.dtype)) {
      PyErr_Format(errors.dtype, "%s: a result of dtype %s does not fit in place into dtype %s", f->name_utf8,
                   kDTypeName[static_cast<int>(from.dtype)], kDTypeName[static_cast<int>(to.dtype)]);
      Py_DECREF(source);
      return false;
    }
    PyObject* args[2] = {as_object(source), dtype_object(to.dtype)};
    Py_SETREF(source, as_tensor(PyObject_Vectorcall(bound.cast, args, 2, nullptr)));
    if (!source) return false;
  }
  Array arrays[2] = {source->array, to};
  const bool good = run_kernel(*copy, Args{arrays, 1, 2, nullptr, 0}, target->buffer->bytes);
  Py_DECREF(source);
  bump(target);
  return good;
}

PyObject* call_inplace(Function* f, Tensor* target, PyObject* const* args, Py_ssize_t n) {
  if (!check_writable(target, f->name_utf8)) return nullptr;
  Operands operands(static_cast<int>(n) + 1);
  bool failed = false, tracked = wanted(target);
  for (int k = 0; k < n && !failed; ++k) {
    operands.data[k + 1] = to_operand(f, args[k], k + 1, &failed);
    tracked = tracked || wanted(operands.data[k + 1]);
  }
  if (failed || (tracked && !check_trackable(f, target))) return nullptr;
  operands.data[0] = tracked ? alias_with_history(target) : as_tensor(Py_NewRef(as_object(target)));
  if (!operands.data[0]) return nullptr;
  PyObject* result = dispatch(f, operands, f->defaults, tracked ? nullptr : target);
  if (!result) return nullptr;
  Tensor* value = as_tensor(result);
  if (value != target) {
    if (!write_into(f, target, value)) {
      Py_DECREF(result);
      return nullptr;
    }
    if (tracked) {
      Py_XINCREF(reinterpret_cast<PyObject*>(value->node));
      Py_XSETREF(target->node, value->node);
      target->output = value->output;
      target->requires_grad = true;
      target->version_seen = target->buffer->version;
      target->buffer->rewritten = true;
    }
  }
  Py_DECREF(result);
  return Py_NewRef(as_object(target));
}

// ---- the type -----------------------------------------------------------------------------------------------------
static bool read_inputs(Function* f, PyObject* inputs) {
  PyObject* words = PyUnicode_Split(inputs, nullptr, -1);
  if (!words) return false;
  f->n_inputs = static_cast<int>(PyList_GET_SIZE(words));
  f->input_names = PyTuple_New(f->n_inputs);
  for (int k = 0; k < f->n_inputs; ++k) {
    const char* word = PyUnicode_AsUTF8(PyList_GET_ITEM(words, k));
    const size_t length = std::strlen(word);
    const bool star = word[0] == '*', optional = word[length - 1] == '?';
    f->variadic = f->variadic || star;
    if (optional || star) f->optional |= 1u << k;
    PyObject* name = PyUnicode_FromStringAndSize(word + star, static_cast<Py_ssize_t>(length - star - optional));
    PyUnicode_InternInPlace(&name);
    PyTuple_SET_ITEM(f->input_names, k, name);
  }
  Py_DECREF(words);
  if (f->variadic && f->n_inputs != 1) {
    PyErr_SetString(PyExc_TypeError, "op: a row takes either named operands or one list of them");
    return false;
  }
  return true;
}

static bool read_attrs(Function* f, PyObject* op) {
  PyObject* mapping = PyObject_GetAttrString(op, "attrs");
  if (!mapping) return false;
  PyObject *keys = PyMapping_Keys(mapping), *values = PyMapping_Values(mapping);
  Py_DECREF(mapping);
  if (!keys || !values) return false;
  f->attr_names = PyList_AsTuple(keys);
  f->defaults = PyList_AsTuple(values);
  Py_DECREF(keys);
  Py_DECREF(values);
  if (f->n_inputs + PyTuple_GET_SIZE(f->defaults) > 32) {
    PyErr_SetString(PyExc_TypeError, "op: a row takes at most 32 arguments");
    return false;
  }
  return true;
}

static bool truth(PyObject* op, const char* field) {
  PyObject* value = PyObject_GetAttrString(op, field);
  const bool yes = value && value != Py_None && PyObject_IsTrue(value) == 1;
  Py_XDECREF(value);
  return yes;
}

static PyObject* function_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* op;
  if (!PyArg_ParseTuple(args, "O:Function", &op)) return nullptr;
  Function* f = reinterpret_cast<Function*>(type->tp_alloc(type, 0));
  if (!f) return nullptr;
  f->vectorcall = vectorcall;
  f->op = Py_NewRef(op);
  f->cache = new std::unordered_multimap<uint64_t, CacheEntry>;
  f->name = PyObject_GetAttrString(op, "name");
  f->name_utf8 = f->name ? PyUnicode_AsUTF8(f->name) : nullptr;
  f->vjp = PyObject_GetAttrString(op, "vjp");
  PyObject* inputs = PyObject_GetAttrString(op, "inputs");
  const bool good = f->name_utf8 && f->vjp && inputs && read_inputs(f, inputs) && read_attrs(f, op);
  Py_XDECREF(inputs);
  if (!good) {
    Py_DECREF(reinterpret_cast<PyObject*>(f));
    return nullptr;
  }
  f->strided_key = truth(op, "view");
  f->value_key = truth(op, "dynamic");
  return reinterpret_cast<PyObject*>(f);
}

static void function_dealloc(PyObject* self) {
  Function* f = reinterpret_cast<Function*>(self);
  clear_cache(f);
  delete f->cache;
  Py_XDECREF(f->op);
  Py_XDECREF(f->name);
  Py_XDECREF(f->vjp);
  Py_XDECREF(f->input_names);
  Py_XDECREF(f->attr_names);
  Py_XDECREF(f->defaults);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyObject* function_get(PyObject* self, PyObject* object, PyObject*) {  // a method, when a class holds it
  return object ? PyMethod_New(self, object) : Py_NewRef(self);
}

static PyObject* get_op(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->op); }
static PyObject* get_name(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->name); }
static PyObject* get_doc(PyObject* self, void*) { return PyObject_GetAttrString(reinterpret_cast<Function*>(self)->op, "doc"); }
static PyObject* get_signature(PyObject* self, void*) { return PyObject_GetAttrString(reinterpret_cast<Function*>(self)->op, "signature"); }
static PyObject* get_plans(PyObject* self, void*) { return PyLong_FromSize_t(reinterpret_cast<Function*>(self)->cache->size()); }
static PyObject* function_repr(PyObject* self) { return PyUnicode_FromFormat("<operation %U>", reinterpret_cast<Function*>(self)->name); }

static PyObject* clear_plans(PyObject* self, PyObject*) {
  clear_cache(reinterpret_cast<Function*>(self));
  Py_RETURN_NONE;
}
static PyObject* inplace_method(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  if (n < 1 || !is_tensor(args[0])) {
    PyErr_SetString(PyExc_TypeError, "inplace(target, *operands): target is a tensor");
    return nullptr;
  }
  return call_inplace(reinterpret_cast<Function*>(self), as_tensor(args[0]), args + 1, n - 1);
}
static PyObject* reduce(PyObject* self, PyObject*) {  // pickled and copied by name
  PyObject* module = PyImport_ImportModule("dlcore.op");
  PyObject* by_name = module ? PyObject_GetAttrString(module, "function") : nullptr;
  Py_XDECREF(module);
  return by_name ? Py_BuildValue("N(O)", by_name, reinterpret_cast<Function*>(self)->name) : nullptr;
}

static PyGetSetDef function_getset[] = {
    {"op", get_op, nullptr, "The row.", nullptr},
    {"__name__", get_name, nullptr, nullptr, nullptr},
    {"__qualname__", get_name, nullptr, nullptr, nullptr},
    {"__doc__", get_doc, nullptr, nullptr, nullptr},
    {"__signature__", get_signature, nullptr, nullptr, nullptr},
    {"plans", get_plans, nullptr, "How many plans are cached.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
static PyMethodDef function_methods[] = {
    {"clear_plans", clear_plans, METH_NOARGS, "Forget all plans (after a row or a device has changed)."},
    {"inplace", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(inplace_method)), METH_FASTCALL,
     "inplace(target, *operands): target = op(target, *operands), written into target's memory."},
    {"__reduce__", reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

bool init_function(PyObject* module) {
  PyObject* inspect = PyImport_ImportModule("inspect");
  PyObject* parameter = inspect ? PyObject_GetAttrString(inspect, "Parameter") : nullptr;
  missing = parameter ? PyObject_GetAttrString(parameter, "empty") : nullptr;
  Py_XDECREF(inspect);
  Py_XDECREF(parameter);
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(function_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(function_dealloc)},
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_descr_get, reinterpret_cast<void*>(function_get)},
      {Py_tp_repr, reinterpret_cast<void*>(function_repr)},
      {Py_tp_getset, function_getset},
      {Py_tp_methods, function_methods},
      {Py_tp_members, function_members},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Function", sizeof(Function), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  function_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return missing && function_type && PyModule_AddObjectRef(module, "Function", reinterpret_cast<PyObject*>(function_type)) == 0;
}

}  // namespace dlcore
