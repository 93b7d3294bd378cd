#include "core/plan.h"

#include <cstring>

#include "core/device.h"
#include "core/function.h"
#include "core/tape.h"

namespace dlcore {

static constexpr size_t kMaxPlans = 4096;  // per function; beyond, shapes are too dynamic for a cache to help

bool wanted(const Tensor* t) { return grad_enabled && t && t->requires_grad; }

bool layout_matters(Function* f, Tensor** operands, int n) {
  bool matters = f->strided_key;
  for (int k = 0; k < n && !matters; ++k) matters = operands[k] && operands[k]->device;
  return matters;
}

bool make_key(Function* f, Tensor** operands, int n, PyObject* attrs, Key& key) {
  const bool strided = layout_matters(f, operands, n);
  for (int k = 0; k < n; ++k) {
    const Tensor* t = operands[k];
    if (!t) {
      key.add(~uint64_t{0});
      continue;
    }
    const Array& a = t->array;
    key.add(static_cast<uint64_t>(a.dtype) | uint64_t{a.ndim} << 8 | uint64_t{t->device} << 16 | uint64_t{t->weak} << 24 |
            uint64_t{wanted(t)} << 25 | uint64_t{strided && aligned(t)} << 26);
    for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.shape[d]));
    if (strided)
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

// ---- the cache ----------------------------------------------------------------------------------------------------
Plan* PlanCache::find(const Key& key, PyObject* attrs) const {
  if (!size_) return nullptr;
  const size_t mask = entries_.size() - 1;
  for (size_t k = key.hash & mask; entries_[k].plan; k = (k + 1) & mask) {
    const Entry& e = entries_[k];
    if (e.hash != key.hash || e.words.size() != key.n || std::memcmp(e.words.data(), key.words, key.n * sizeof(uint64_t))) continue;
    if (e.attrs == attrs || PyObject_RichCompareBool(e.attrs, attrs, Py_EQ) == 1) return e.plan;
  }
  return nullptr;
}

void PlanCache::place(Entry&& entry) {
  const size_t mask = entries_.size() - 1;
  size_t k = entry.hash & mask;
  while (entries_[k].plan) k = (k + 1) & mask;
  entries_[k] = std::move(entry);
}

void PlanCache::keep(const Key& key, PyObject* attrs, Plan* plan) {
  if (size_ >= kMaxPlans) clear();
  if (2 * (size_ + 1) > entries_.size()) {
    std::vector<Entry> old(entries_.empty() ? 8 : 2 * entries_.size());
    old.swap(entries_);
    for (Entry& e : old) if (e.plan) place(std::move(e));
  }
  place({key.hash, {key.words, key.words + key.n}, Py_NewRef(attrs), plan});
  ++size_;
}

void PlanCache::clear() {
  std::vector<Entry> old;
  old.swap(entries_);
  size_ = 0;
  for (Entry& e : old) {
    Py_XDECREF(e.attrs);
    if (e.plan) unref(e.plan);
  }
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
    const bool named = PyUnicode_Check(target);
    const char* name = named ? PyUnicode_AsUTF8(target) : nullptr;
    plan->kernel = name ? find_kernel(name) : !named ? static_cast<const Kernel*>(PyCapsule_GetPointer(target, kKernelCapsule)) : nullptr;
    if (name && !plan->kernel) PyErr_Format(PyExc_LookupError, "no kernel is called %R", target);
    if (!named) plan->callable = Py_NewRef(target);
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

Plan* read_plan(PyObject* source, Tensor** operands, int n) {
  Plan* plan = new Plan;
  std::vector<int> scalars;  // kind, n_outputs, taped, device, n_temps
  bool good = read_ints(source, "head", scalars) && scalars.size() == 5;
  if (good) {
    plan->kind = static_cast<PlanKind>(scalars[0]);
    plan->n_outputs = scalars[1];
    plan->taped = scalars[2];
    plan->device = static_cast<uint8_t>(scalars[3]);
    plan->n_temps = scalars[4];
    good = read_ints(source, "casts", plan->casts) && read_outputs(source, plan->outputs) && read_params(source, plan->params) &&
           read_saves(source, plan->saves) && read_ints(source, "writes", plan->writes) &&
           read_ints(source, "copies", plan->copies) && read_target(source, plan);
  }
  for (int k = 0; k < n; ++k) plan->needs.push_back(wanted(operands[k]));
  if (good && plan->casts.size() == static_cast<size_t>(n)) return plan;
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "malformed plan");
  delete plan;
  return nullptr;
}

static PyObject* tuple_of(Tensor** operands, int n) {
  PyObject* tuple = PyTuple_New(n);
  for (int k = 0; tuple && k < n; ++k) PyTuple_SET_ITEM(tuple, k, Py_NewRef(operands[k] ? as_object(operands[k]) : Py_None));
  return tuple;
}

Plan* make_plan(Function* f, Tensor** operands, int n, PyObject* attrs) {
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

}  // namespace dlcore
