#include "core/plan.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>

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

uint64_t plans_forgotten = 0;

// 1, 1.0 and True are equal, 0.0 and -0.0 too: what tells them apart, in tuples as well.
static uint64_t type_word(PyObject* value) {
  uint64_t word = reinterpret_cast<uintptr_t>(Py_TYPE(value));
  if (PyFloat_CheckExact(value)) word ^= uint64_t{std::signbit(PyFloat_AS_DOUBLE(value))} << 63;
  if (!PyTuple_CheckExact(value)) return word;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(value); ++k)
    word = (word ^ type_word(PyTuple_GET_ITEM(value, k))) * 0x9E3779B97F4A7C15u;
  return word;
}

static uint64_t address(const void* object) { return reinterpret_cast<uintptr_t>(object); }

// The first word says how many follow, so that equal words are of equal values.
void add_attribute(Key& key, PyObject* value, int depth) {
  PyTypeObject* type = Py_TYPE(value);
  if (type == &PyLong_Type) {
    int overflow;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow) {
      key.add(address(type));
      key.add(static_cast<uint64_t>(number));
      return;
    }
  } else if (type == &PyFloat_Type) {
    key.add(address(type));
    key.add(std::bit_cast<uint64_t>(PyFloat_AS_DOUBLE(value)));
    return;
  } else if (type == &PyBool_Type || value == Py_None || type == Py_TYPE(dtype_object(DType::bool_)) ||
             type == Py_TYPE(device_object(0))) {
    key.add(address(value));
    return;
  } else if (type == &PyTuple_Type && depth > 0) {
    key.add(address(type));
    key.add(static_cast<uint64_t>(PyTuple_GET_SIZE(value)));
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(value); ++k) add_attribute(key, PyTuple_GET_ITEM(value, k), depth - 1);
    return;
  }
  key.exact = false;
  key.add(type_word(value) | 1);  // addresses are even
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
    const uint64_t flags = uint64_t{t->weak} | uint64_t{wanted(t)} << 1 | uint64_t{strided && aligned(t)} << 2;
    key.add(static_cast<uint64_t>(a.dtype) | uint64_t{a.ndim} << 8 | uint64_t{t->device} << 16 | flags << 24);
    for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.shape[d]));
    if (strided)
      for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.strides[d]));
  }
  const Py_ssize_t n_attrs = PyTuple_GET_SIZE(attrs);
  if (n_attrs == 0 || attrs == f->defaults) return true;
  for (Py_ssize_t k = 0; k < n_attrs; ++k) add_attribute(key, PyTuple_GET_ITEM(attrs, k));
  if (key.exact) return true;
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
    if (e.hash != key.hash || e.words.size() != key.n) continue;
    if (std::memcmp(e.words.data(), key.words, key.n * sizeof(uint64_t))) continue;
    if (key.exact || e.attrs == attrs) return e.plan;
    const uint64_t changes_before = changes_;
    const Ref held = Ref::share(e.attrs);
    const int equal = PyObject_RichCompareBool(held.get(), attrs, Py_EQ);
    if (equal < 0) return nullptr;
    if (changes_ != changes_before) return find(key, attrs);  // by Python code of the comparison, or another thread
    if (equal) return e.plan;
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
  ++changes_;
  if (size_ >= kMaxPlans) clear();
  try {
    if (2 * (size_ + 1) > entries_.size()) {
      std::vector<Entry> old(entries_.empty() ? 8 : 2 * entries_.size());
      old.swap(entries_);
      for (Entry& e : old)
        if (e.plan) place(std::move(e));
    }
    place({key.hash, {key.words, key.words + key.n}, Py_NewRef(attrs), plan});
    ++size_;
  } catch (const std::bad_alloc&) {
    unref(plan);  // made again by the next call
  }
}

void PlanCache::clear() {
  std::vector<Entry> old;
  old.swap(entries_);
  size_ = 0;
  ++changes_;
  for (Entry& e : old) {
    Py_XDECREF(e.attrs);
    if (e.plan) unref(e.plan);
  }
}

// ---- making a plan: Python decides, C++ keeps the answer ----------------------------------------------------------
// f(item) for every item of a sequence, as long as it returns true; false with a Python error.
template <class F> static bool each(PyObject* sequence, F&& f) {
  const Ref fast = sequence ? Ref::own(PySequence_Fast(sequence, "malformed plan")) : Ref();
  if (!fast) return false;
  for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(fast.get()); ++k)
    if (!f(PySequence_Fast_GET_ITEM(fast.get(), k))) return false;
  return !PyErr_Occurred();
}
template <class F> static bool each_of(PyObject* plan, const char* field, F&& f) {
  return each(attribute(plan, field).get(), f);
}

static bool add_int(PyObject* item, std::vector<int>& out) {
  out.push_back(static_cast<int>(PyLong_AsLong(item)));
  return !PyErr_Occurred();
}
static bool read_ints(PyObject* plan, const char* field, std::vector<int>& out) {
  return each_of(plan, field, [&](PyObject* item) { return add_int(item, out); });
}

static bool read_params(PyObject* plan, std::vector<Param>& out) {
  return each_of(plan, "params", [&](PyObject* item) {
    Param p;
    if (PyFloat_Check(item)) p.f = PyFloat_AsDouble(item);
    else p.i = PyLong_AsLongLong(item);
    out.push_back(p);
    return !PyErr_Occurred();
  });
}

static bool read_outputs(PyObject* plan, std::vector<OutputSpec>& out) {
  return each_of(plan, "outputs", [&](PyObject* item) {
    OutputSpec spec{};
    if (item != Py_None) {
      const Ref shape = attribute(item, "shape"), dtype = attribute(item, "dtype");
      int ndim = 0;
      if (!shape || !dtype || !parse_shape(shape.get(), spec.shape, &ndim, "output")) return false;
      if (!parse_dtype(dtype.get(), &spec.dtype)) return false;
      for (int d = 0; d < ndim; ++d) {
        if (spec.shape[d] >= 0) continue;
        PyErr_Format(errors.shape, "a result cannot have the shape %R", shape.get());
        return false;
      }
      spec.ndim = static_cast<uint8_t>(ndim);
      spec.present = true;
    }
    out.push_back(spec);
    return true;
  });
}

static bool read_saves(PyObject* plan, std::vector<SaveSpec>& out) {
  return each_of(plan, "saves", [&](PyObject* item) {
    int kind, index;
    if (!PyArg_ParseTuple(item, "ii", &kind, &index)) return false;
    out.push_back({static_cast<SaveSpec::Kind>(kind), index});
    return true;
  });
}

static bool read_rules(PyObject* plan, std::vector<GradientRule>& out) {  // PlannedRule of dlcore/_gradients.py
  return each_of(plan, "rules", [&](PyObject* item) {
    PyObject *function, *targets, *arguments;
    int single;
    if (!PyArg_ParseTuple(item, "OOpO", &function, &targets, &single, &arguments)) return false;
    GradientRule rule{Ref::share(function), {}, single != 0, {}};
    if (!each(targets, [&](PyObject* target) { return add_int(target, rule.targets); })) return false;
    const bool good = each(arguments, [&](PyObject* argument) {
      int source, index, count;
      if (!PyArg_ParseTuple(argument, "iii", &source, &index, &count)) return false;
      rule.arguments.push_back({static_cast<Source>(source), index, count});
      return true;
    });
    if (good) out.push_back(std::move(rule));
    return good;
  });
}

static bool read_target(PyObject* source, Plan* plan) {
  const Ref target = attribute(source, "target");  // kernel name, callable, or (offset, strides) of a view
  if (!target) return false;
  if (plan->kind == PlanKind::native) {
    if (PyUnicode_Check(target.get())) {
      const char* name = PyUnicode_AsUTF8(target.get());
      plan->kernel = name ? find_kernel(name) : nullptr;
      if (name && !plan->kernel) PyErr_Format(PyExc_LookupError, "no kernel is called %R", target.get());
    } else {
      plan->kernel = static_cast<const Kernel*>(PyCapsule_GetPointer(target.get(), kKernelCapsule));
      plan->callable = target;
    }
    return plan->kernel;
  }
  if (plan->kind == PlanKind::view) {
    PyObject* strides;
    long long offset;
    int n;
    if (!PyArg_ParseTuple(target.get(), "LO", &offset, &strides)) return false;
    plan->offset = offset;
    return parse_shape(strides, plan->strides, &n, "view");
  }
  plan->callable = target;
  return true;
}

Plan* read_plan(PyObject* source, Tensor** operands, int n) {
  auto plan = std::make_unique<Plan>();
  std::vector<int> scalars;  // kind, n_outputs, tracked, device, n_temps
  bool good = read_ints(source, "head", scalars) && scalars.size() == 5;
  if (good) {
    plan->kind = static_cast<PlanKind>(scalars[0]);
    plan->n_outputs = scalars[1];
    plan->tracked = scalars[2];
    plan->device = static_cast<uint8_t>(scalars[3]);
    plan->n_temps = scalars[4];
    plan->attrs = attribute(source, "attrs");
    good = plan->attrs && PyTuple_Check(plan->attrs.get()) && read_ints(source, "casts", plan->casts) &&
           read_outputs(source, plan->outputs) && read_params(source, plan->params) &&
           read_saves(source, plan->saves) && read_rules(source, plan->rules) &&
           read_ints(source, "writes", plan->writes) && read_ints(source, "copies", plan->copies) &&
           read_target(source, plan.get());
  }
  for (int k = 0; k < n; ++k) plan->needs.push_back(wanted(operands[k]));
  if (good && plan->casts.size() == static_cast<size_t>(n)) return plan.release();
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "malformed plan");
  return nullptr;
}

Plan* make_plan(Function* f, Tensor** operands, int n, PyObject* attrs, const int* lengths, int n_groups) {
  const Ref tensors = Ref::own(PyTuple_New(n)), needs = Ref::own(PyTuple_New(n));
  const Ref groups = Ref::own(PyTuple_New(n_groups));
  if (!tensors || !needs || !groups) return nullptr;
  for (int k = 0; k < n; ++k) {
    PyTuple_SET_ITEM(tensors.get(), k, Py_NewRef(operands[k] ? as_object(operands[k]) : Py_None));
    PyTuple_SET_ITEM(needs.get(), k, PyBool_FromLong(wanted(operands[k])));
  }
  for (int k = 0; k < n_groups; ++k) {
    PyObject* length = PyLong_FromLong(lengths[k]);
    if (!length) return nullptr;
    PyTuple_SET_ITEM(groups.get(), k, length);
  }
  PyObject* args[5] = {f->op, tensors.get(), attrs, needs.get(), groups.get()};
  const Ref source = Ref::own(call_python(bound.plan, args, 5));
  Plan* plan = source ? read_plan(source.get(), operands, n) : nullptr;
  if (plan) plan->lengths = groups;
  return plan;
}

}  // namespace dlcore
