#include "core/function.h"

#include <structmember.h>

#include <cstring>

namespace dlcore {

PyTypeObject* function_type = nullptr;

static PyObject* missing = nullptr;  // inspect.Parameter.empty: an attribute without a default

// ---- operands -----------------------------------------------------------------------------------------------------
// New reference, or null: absent when optional, else an error is set.
Tensor* to_operand(Function* f, PyObject* value, int position, PyObject* const* others, Py_ssize_t n_others, bool* failed) {
  *failed = false;
  if (is_tensor(value)) return as_tensor(Py_NewRef(value));
  if (PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value)) {
    Tensor* t = new_scalar(value);
    *failed = !t;
    return t;
  }
  if (value == Py_None && (f->optional >> position & 1)) return nullptr;
  PyObject* name = f->variadic ? PyTuple_GET_ITEM(f->input_names, 0) : PyTuple_GET_ITEM(f->input_names, position);
  PyObject* like = Py_None;
  for (Py_ssize_t k = 0; k < n_others && like == Py_None; ++k) if (others[k] && is_tensor(others[k])) like = others[k];
  PyObject* args[4] = {value, f->name, name, like};
  PyObject* converted = PyObject_Vectorcall(bound.convert, args, 4, nullptr);  // arrays, lists, NumPy's numbers
  Tensor* t = nullptr;
  if (converted && is_tensor(converted)) return as_tensor(converted);
  if (converted) {
    t = new_scalar(converted);
    Py_DECREF(converted);
  }
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
    PyObject* const* given = f->variadic ? PySequence_Fast_ITEMS(list) : values;
    for (int k = 0; k < operands.n && !failed; ++k) {
      PyObject* value = f->variadic ? PySequence_Fast_GET_ITEM(list, k) : values[k];
      if (!value && !(f->optional >> k & 1)) {
        PyErr_Format(PyExc_TypeError, "%s: missing argument %R", f->name_utf8, PyTuple_GET_ITEM(f->input_names, k));
        failed = true;
      } else if (value) {
        operands.data[k] = to_operand(f, value, f->variadic ? 0 : k, given, operands.n, &failed);
      }
    }
    if (!failed) result = dispatch(f, operands, attrs, nullptr);
    Py_DECREF(attrs);
  }
  Py_XDECREF(list);
  return result;
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
  f->cache = new PlanCache;
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
  reinterpret_cast<Function*>(self)->cache->clear();
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

