#include "core/function.h"

#include <structmember.h>

#include <cstring>
#include <memory>

#include "core/indexing.h"
#include "core/ref.h"

namespace dlcore {

PyTypeObject* function_type = nullptr;

static constexpr int kMaxArguments = 32;

static bool is_bit(uint32_t bits, int k) { return bits >> k & 1; }

// ---- operands -----------------------------------------------------------------------------------------------------
Tensor* to_operand(Function* f, PyObject* value, int k, PyObject* const* others, Py_ssize_t n_others, bool* failed) {
  *failed = false;
  if (is_tensor(value)) return as_tensor(Py_NewRef(value));
  if (PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value)) {
    Tensor* t = scalar_operand(value, f->name, PyTuple_GET_ITEM(f->input_names, k));
    *failed = !t;
    return t;
  }
  if (value == Py_None && is_bit(f->optional, k)) return nullptr;
  PyObject* like = Py_None;
  for (Py_ssize_t j = 0; j < n_others && like == Py_None; ++j)
    if (others[j] && is_tensor(others[j])) like = others[j];
  if (Tensor* copied = copied_operand(value, like)) return copied;
  if ((*failed = PyErr_Occurred())) return nullptr;
  PyObject* args[4] = {value, f->name, PyTuple_GET_ITEM(f->input_names, k), like};
  Ref converted = Ref::own(call_python(bound.convert, args, 4));  // arrays, lists, NumPy's numbers
  Tensor* t = nullptr;
  if (converted && is_tensor(converted.get())) return as_tensor(converted.release());
  if (converted) t = scalar_operand(converted.get(), f->name, PyTuple_GET_ITEM(f->input_names, k));
  *failed = !t;
  return t;
}

// ---- calling from Python ------------------------------------------------------------------------------------------
static int find_name(PyObject* names, PyObject* name) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k)
    if (PyTuple_GET_ITEM(names, k) == name) return static_cast<int>(k);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k)
    if (PyUnicode_Compare(PyTuple_GET_ITEM(names, k), name) == 0) return static_cast<int>(k);
  return -1;
}

// The place of the argument called `name` among operands and attributes; -1: there is none.
static int find_argument(Function* f, PyObject* name) {
  int place = find_name(f->input_names, name);
  if (place < 0 && (place = find_name(f->attr_names, name)) >= 0) place += f->n_inputs;
  return place;
}

// The place of the argument that has `name` for another spelling: `axis` for "dim" (dlcore/_spelling.py).
static int find_spelling(Function* f, PyObject* name) {
  PyObject* meant = bound.spellings ? PyDict_GetItemWithError(bound.spellings, name) : nullptr;
  int place = -1;
  for (Py_ssize_t k = 0; meant && PyTuple_Check(meant) && place < 0 && k < PyTuple_GET_SIZE(meant); ++k)
    place = find_argument(f, PyTuple_GET_ITEM(meant, k));
  return place;
}

static void no_argument(Function* f, PyObject* name) {
  const Ref names = Ref::own(PySequence_Concat(f->input_names, f->attr_names));
  const Ref comma = Ref::own(PyUnicode_FromString(", "));
  const Ref all = names && comma ? Ref::own(PyUnicode_Join(comma.get(), names.get())) : Ref();
  if (all) PyErr_Format(PyExc_TypeError, "%s: there is no argument %R (there are %U)", f->name_utf8, name, all.get());
}

// Positional and keyword arguments into `values` (borrowed; null where not given): operands, then attributes.
static bool place_arguments(Function* f, PyObject* const* args, Py_ssize_t n, PyObject* kwnames, PyObject** values,
                            int total) {
  if (n > total) {
    PyErr_Format(PyExc_TypeError, "%s: takes at most %d arguments, %zd given", f->name_utf8, total, n);
    return false;
  }
  for (Py_ssize_t k = 0; k < n; ++k) values[k] = args[k];
  for (Py_ssize_t k = 0; kwnames && k < PyTuple_GET_SIZE(kwnames); ++k) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, k);
    int place = find_argument(f, name);
    if (place < 0 && (place = find_spelling(f, name)) < 0 && PyErr_Occurred()) return false;
    if (place < 0 || values[place]) {
      if (place >= 0) PyErr_Format(PyExc_TypeError, "%s: argument %R is given twice", f->name_utf8, name);
      else no_argument(f, name);
      return false;
    }
    values[place] = args[n + k];
  }
  return true;
}

// Whether nothing can change what a value is: plans are found by such attributes as they are. `depth`: of tuples left.
static bool is_plain(PyObject* value, int depth = 3) {
  PyTypeObject* type = Py_TYPE(value);
  if (type == &PyLong_Type || value == Py_None || type == &PyFloat_Type || type == &PyBool_Type ||
      type == &PyUnicode_Type || type == Py_TYPE(dtype_object(DType::bool_)) || type == Py_TYPE(device_object(0))) {
    return true;
  }
  if (type != &PyTuple_Type || depth == 0) return false;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(value); ++k)
    if (!is_plain(PyTuple_GET_ITEM(value, k), depth - 1)) return false;
  return true;
}

// The attributes, plain ones as given: they are converted when a plan is made. Others (NumPy's numbers, arrays, objects
// with __index__) become plain first, by the same kinds (dlcore/op/signature.py), for a plan must not outlive a change.
static Ref make_attrs(Function* f, PyObject** values) {
  const Py_ssize_t n = PyTuple_GET_SIZE(f->defaults);
  bool plain = true;
  for (Py_ssize_t k = 0; k < n; ++k) plain = plain && !values[k] && PyTuple_GET_ITEM(f->defaults, k) != bound.required;
  if (plain) return Ref::share(f->defaults);
  Ref attrs = Ref::own(PyTuple_New(n));
  bool accepted = true;
  for (Py_ssize_t k = 0; attrs && k < n; ++k) {
    PyObject* value = values[k] ? values[k] : PyTuple_GET_ITEM(f->defaults, k);
    if (value == bound.required) {
      PyErr_Format(PyExc_TypeError, "%s: missing argument %R", f->name_utf8, PyTuple_GET_ITEM(f->attr_names, k));
      return Ref();
    }
    PyObject* item = PyList_CheckExact(value) ? PyList_AsTuple(value) : Py_NewRef(value);
    if (!item) return Ref();
    PyTuple_SET_ITEM(attrs.get(), k, item);
    accepted = accepted && is_plain(item);
  }
  if (!attrs || accepted) return attrs;
  attrs = Ref::own(PyObject_CallFunctionObjArgs(bound.accept, f->op, attrs.get(), nullptr));
  if (attrs && !(PyTuple_CheckExact(attrs.get()) && PyTuple_GET_SIZE(attrs.get()) == n)) {
    PyErr_Format(PyExc_TypeError, "%s: malformed attributes", f->name_utf8);
    return Ref();
  }
  return attrs;
}

// Tensors of the operands one by one, those of groups too.
struct Given {
  PyObject* values[kMaxArguments] = {};
  Ref sequences[kMaxArguments];  // groups as lists or tuples
  std::vector<PyObject*> items;  // borrowed; null where not given
  std::vector<int> positions;    // which operand of the signature each belongs to
  std::vector<int> lengths;      // of the groups

  bool open_groups(Function* f) {
    for (int k = 0; k < f->n_inputs; ++k) {
      if (!is_bit(f->groups, k)) {
        items.push_back(values[k]);
        positions.push_back(k);
        continue;
      }
      PyObject* name = PyTuple_GET_ITEM(f->input_names, k);
      if (!values[k] || is_tensor(values[k]) || !PySequence_Check(values[k]) || PySequence_Size(values[k]) < 0) {
        PyErr_Clear();  // of something without a length
        if (!values[k]) PyErr_Format(PyExc_TypeError, "%s: missing argument %R", f->name_utf8, name);
        else PyErr_Format(PyExc_TypeError, "%s: operand %R is a %s, not a sequence of tensors", f->name_utf8, name,
                          Py_TYPE(values[k])->tp_name);
        return false;
      }
      sequences[k] = Ref::own(PySequence_Fast(values[k], "a sequence of tensors is wanted"));
      if (!sequences[k]) return false;
      const Py_ssize_t n = PySequence_Fast_GET_SIZE(sequences[k].get());
      lengths.push_back(static_cast<int>(n));
      PyObject** group = PySequence_Fast_ITEMS(sequences[k].get());
      items.insert(items.end(), group, group + n);
      positions.insert(positions.end(), static_cast<size_t>(n), k);
    }
    return true;
  }
};

static bool convert_operands(Function* f, PyObject* const* given, const int* positions, Operands& operands) {
  for (int k = 0; k < operands.n; ++k) {
    const int place = positions ? positions[k] : k;
    if (!given[k]) {
      if (is_bit(f->optional, place)) continue;
      PyErr_Format(PyExc_TypeError, "%s: missing argument %R", f->name_utf8, PyTuple_GET_ITEM(f->input_names, place));
      return false;
    }
    bool failed;
    operands.data[k] = to_operand(f, given[k], place, given, operands.n, &failed);
    if (failed) return false;
  }
  return true;
}

static PyObject* call_with_groups(Function* f, PyObject* const* args, Py_ssize_t n, PyObject* kwnames, int total) {
  Given given;
  if (!place_arguments(f, args, n, kwnames, given.values, total) || !given.open_groups(f)) return nullptr;
  const Ref attrs = make_attrs(f, given.values + f->n_inputs);
  if (!attrs) return nullptr;
  Operands operands(static_cast<int>(given.items.size()));
  if (!convert_operands(f, given.items.data(), given.positions.data(), operands)) return nullptr;
  return dispatch(f, operands, attrs.get(), nullptr, given.lengths.data(), static_cast<int>(given.lengths.size()));
}

static PyObject* call_operation(Function* f, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  if (!f->input_names && !read_signature(f)) return nullptr;
  const Py_ssize_t n = PyVectorcall_NARGS(nargsf);
  const int total = f->n_inputs + static_cast<int>(PyTuple_GET_SIZE(f->defaults));
  if (f->groups) return call_with_groups(f, args, n, kwnames, total);
  PyObject* values[kMaxArguments] = {};
  if (!place_arguments(f, args, n, kwnames, values, total)) return nullptr;
  const Ref attrs = make_attrs(f, values + f->n_inputs);
  if (!attrs) return nullptr;
  Operands operands(f->n_inputs);
  if (!convert_operands(f, values, nullptr, operands)) return nullptr;
  return dispatch(f, operands, attrs.get(), nullptr);
}

// The MemoryError that is set names the operation: Python's own says nothing, and new tensors know no operation.
static void name_memory_error(const Function* f) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  const Ref text = value ? Ref::own(PyObject_Str(value)) : Ref();
  const char* said = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  const bool bare = !said || !*said, nameless = !bare && !std::strncmp(said, "out of memory", 13);
  PyErr_Restore(type, value, trace);
  if (bare) PyErr_Format(PyExc_MemoryError, "%s: out of memory", f->name_utf8);
  else if (nameless) PyErr_Format(PyExc_MemoryError, "%s: %s", f->name_utf8, said);
}

// What the operation is of arguments that it did not take as they were, with a TypeError: `where(condition)` and
// `gather(x, 1, index)` of other libraries. That is a part of its definition; where it returns NotImplemented the error
// stays.
static PyObject* call_otherwise(Function* f, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  const Ref meant = attribute(f->op, "meant");  // None of a definition that says nothing of it
  const bool declared = meant && meant.get() != Py_None;
  const auto n = static_cast<size_t>(PyVectorcall_NARGS(nargsf));
  Ref result = declared ? Ref::own(PyObject_Vectorcall(meant.get(), args, n, kwnames)) : Ref();
  if (declared && result.get() != Py_NotImplemented) {
    for (PyObject* held : {type, value, trace}) Py_XDECREF(held);
    return result.release();
  }
  PyErr_Restore(type, value, trace);
  return nullptr;
}

// Whether a tensor stands where an attribute belongs, as the index in `gather(x, 1, index)`.
static bool is_misplaced(const Function* f, PyObject* const* args, Py_ssize_t n) {
  for (Py_ssize_t k = f->n_inputs; k < n; ++k)
    if (is_tensor(args[k])) return true;
  return false;
}

static PyObject* vectorcall(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  Function* f = reinterpret_cast<Function*>(self);
  PyObject* result = nullptr;
  if (f->input_names && is_misplaced(f, args, PyVectorcall_NARGS(nargsf))) {
    result = call_otherwise(f, args, nargsf, kwnames);  // before an error is worded that nobody reads
    if (result) return result;
    if (PyErr_Occurred()) return nullptr;
  }
  try {
    result = call_operation(f, args, nargsf, kwnames);
  } catch (const std::bad_alloc&) {
    out_of_memory(f->name_utf8);
  }
  if (!result && PyErr_ExceptionMatches(PyExc_TypeError)) result = call_otherwise(f, args, nargsf, kwnames);
  if (!result && PyErr_ExceptionMatches(PyExc_MemoryError)) name_memory_error(f);
  return result;
}

// ---- the type -----------------------------------------------------------------------------------------------------
static bool truth(PyObject* op, const char* field) {
  const Ref value = attribute(op, field);
  return value && value.get() != Py_None && PyObject_IsTrue(value.get()) == 1;
}

// A field of every item of a sequence, as a tuple.
static PyObject* column(PyObject* items, const char* field) {
  const Py_ssize_t n = PyTuple_GET_SIZE(items);
  Ref found = Ref::own(PyTuple_New(n));
  for (Py_ssize_t k = 0; found && k < n; ++k) {
    PyObject* value = PyObject_GetAttrString(PyTuple_GET_ITEM(items, k), field);
    if (!value) return nullptr;
    PyTuple_SET_ITEM(found.get(), k, value);
  }
  return found.release();
}

static bool read_cast(Function* f) {
  const Ref value = attribute(f->op, "cast");
  const char* text = value && PyUnicode_Check(value.get()) ? PyUnicode_AsUTF8(value.get()) : nullptr;
  if (!text && PyErr_Occurred()) return false;
  const bool low = text && !std::strcmp(text, "low"), wide = text && !std::strcmp(text, "float32");
  if (!low && !wide && !(text && !std::strcmp(text, "widest"))) {
    PyErr_Format(PyExc_ValueError, "%s: cast %R is not \"low\", \"float32\" or \"widest\"", f->name_utf8, value.get());
    return false;
  }
  f->cast = low ? CastClass::low : wide ? CastClass::float32 : CastClass::widest;
  return true;
}

bool read_signature(Function* f) {
  if (f->input_names) return true;
  const Ref signature = attribute(f->op, "signature");
  const Ref operands = signature ? attribute(signature.get(), "operands") : Ref();
  const Ref attributes = operands ? attribute(signature.get(), "attributes") : Ref();
  if (!attributes) return false;
  if (!PyTuple_Check(operands.get()) || !PyTuple_Check(attributes.get())) {
    PyErr_Format(PyExc_TypeError, "%s: a signature has tuples of operands and attributes", f->name_utf8);
    return false;
  }
  f->n_inputs = static_cast<int>(PyTuple_GET_SIZE(operands.get()));
  if (f->n_inputs + PyTuple_GET_SIZE(attributes.get()) > kMaxArguments) {
    PyErr_Format(PyExc_TypeError, "%s: an operation takes at most %d arguments", f->name_utf8, kMaxArguments);
    return false;
  }
  for (int k = 0; k < f->n_inputs; ++k) {
    PyObject* operand = PyTuple_GET_ITEM(operands.get(), k);
    f->optional |= static_cast<uint32_t>(truth(operand, "optional")) << k;
    f->groups |= static_cast<uint32_t>(truth(operand, "group")) << k;
  }
  f->strided_key = truth(f->op, "view");
  f->dynamic = truth(f->op, "dynamic");
  f->random = truth(f->op, "random");
  f->elementwise = truth(f->op, "elementwise");
  f->unfitting = truth(f->op, "unfitting");
  if (!read_cast(f)) return false;
  f->attr_names = column(attributes.get(), "name");
  f->defaults = column(attributes.get(), "default");
  PyObject* names = column(operands.get(), "name");
  if (!f->attr_names || !f->defaults || !names) {
    Py_CLEAR(f->attr_names);
    Py_CLEAR(f->defaults);
    Py_XDECREF(names);
    return false;
  }
  f->input_names = names;
  return true;
}

static PyObject* function_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* op;
  if (!PyArg_ParseTuple(args, "O:Function", &op)) return nullptr;
  Ref name = attribute(op, "name");
  if (!name || !PyUnicode_Check(name.get())) {
    return PyErr_Format(PyExc_TypeError, "Function: a %s is not an operation", Py_TYPE(op)->tp_name);
  }
  const char* text = PyUnicode_AsUTF8(name.get());
  auto cache = std::make_unique<PlanCache>();
  Function* f = text ? reinterpret_cast<Function*>(type->tp_alloc(type, 0)) : nullptr;
  if (!f) return nullptr;
  f->vectorcall = vectorcall;
  f->op = Py_NewRef(op);
  f->cache = cache.release();
  f->name = name.release();
  f->name_utf8 = text;
  return reinterpret_cast<PyObject*>(f);
}

static void function_dealloc(PyObject* self) {
  Function* f = reinterpret_cast<Function*>(self);
  delete f->cache;
  for (PyObject* held : {f->op, f->name, f->input_names, f->attr_names, f->defaults}) Py_XDECREF(held);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// What a function does not have is a part that its operation's definition may declare: `@softmax.reference`.
static PyObject* function_getattro(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  return PyObject_CallMethod(reinterpret_cast<Function*>(self)->op, "part", "O", name);
}

static PyObject* function_get(PyObject* self, PyObject* object, PyObject*) {  // a method, when a class holds it
  return object ? PyMethod_New(self, object) : Py_NewRef(self);
}

static PyObject* get_op(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->op); }
static PyObject* get_name(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->name); }
static PyObject* get_doc(PyObject* self, void*) {
  return PyObject_GetAttrString(reinterpret_cast<Function*>(self)->op, "doc");
}
static PyObject* get_signature(PyObject* self, void*) {
  return PyObject_GetAttrString(reinterpret_cast<Function*>(self)->op, "python_signature");
}
static PyObject* get_plans(PyObject* self, void*) {
  return PyLong_FromSize_t(reinterpret_cast<Function*>(self)->cache->size());
}
static PyObject* function_repr(PyObject* self) {
  return PyUnicode_FromFormat("<operation %U>", reinterpret_cast<Function*>(self)->name);
}

static PyObject* clear_plans(PyObject* self, PyObject*) {
  reinterpret_cast<Function*>(self)->cache->clear();
  ++plans_forgotten;
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
  const Ref module = Ref::own(PyImport_ImportModule("dlcore.op"));
  Ref by_name = module ? attribute(module.get(), "function") : Ref();
  if (!by_name) return nullptr;
  return Py_BuildValue("N(O)", by_name.release(), reinterpret_cast<Function*>(self)->name);
}

static PyGetSetDef function_getset[] = {
    {"op", get_op, nullptr, "The operation's definition.", nullptr},
    {"__name__", get_name, nullptr, nullptr, nullptr},
    {"__qualname__", get_name, nullptr, nullptr, nullptr},
    {"__doc__", get_doc, nullptr, nullptr, nullptr},
    {"__signature__", get_signature, nullptr, nullptr, nullptr},
    {"plans", get_plans, nullptr, "How many plans are cached.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
static PyMethodDef function_methods[] = {
    {"clear_plans", safe<clear_plans>, METH_NOARGS, "Forget all plans (after an operation or a device has changed)."},
    {"inplace", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(safe<inplace_method>)), METH_FASTCALL,
     "inplace(target, *operands): target = op(target, *operands), written into target's memory."},
    {"__reduce__", safe<reduce>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

bool init_function(PyObject* module) {
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(safe<function_new>)},
      {Py_tp_dealloc, reinterpret_cast<void*>(function_dealloc)},
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_descr_get, reinterpret_cast<void*>(function_get)},
      {Py_tp_getattro, reinterpret_cast<void*>(function_getattro)},
      {Py_tp_repr, reinterpret_cast<void*>(function_repr)},
      {Py_tp_getset, function_getset},
      {Py_tp_methods, function_methods},
      {Py_tp_members, function_members},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Function", sizeof(Function), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  PyObject* type = PyType_FromSpec(&spec);
  function_type = reinterpret_cast<PyTypeObject*>(type);
  return type && PyModule_AddObjectRef(module, "Function", type) == 0;
}

}  // namespace dlcore
