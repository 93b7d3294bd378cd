// Remembered(function): a function that keeps what it gave for arguments that are plain, ints, text, None and tuples or
// lists of them, so that functions in Python work out once what a shape and their arguments mean. Of a tensor among the
// arguments it looks at the dtype, the device and the layout only, and so must the function.
//
// Arguments are compared by value and by type: True and 1.0 equal 1 and mean something else, so they are not plain, and
// a call with them runs the function. So does one with names. Errors are not kept, nor results for which values of a
// tensor were read, as of an axis that is one. Results must not be changed.
#include "core/function.h"
#include "core/ref.h"
#include "core/traced.h"

#include <structmember.h>

#include <algorithm>
#include <cstddef>

namespace dlcore {

namespace {

constexpr Py_ssize_t kMost = 1024;  // results; then all are forgotten
constexpr Py_ssize_t kLongest = 64;  // items of an argument: to hash more costs more than it saves

struct Remembered {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* function;
  PyObject* results;  // a dict: arguments -> result
};

bool is_plain_atom(PyObject* value) { return value == Py_None || PyLong_CheckExact(value) || PyUnicode_CheckExact(value); }

// Bytes, which no plain argument is.
PyObject* key_of_tensor(const Tensor* t) {
  const Array& a = t->array;
  int64_t words[1 + 2 * kMaxDims] = {static_cast<int64_t>(a.dtype) | int64_t{t->device} << 8 | int64_t{a.ndim} << 16};
  std::copy(a.shape, a.shape + a.ndim, words + 1);
  std::copy(a.strides, a.strides + a.ndim, words + 1 + a.ndim);
  const size_t bytes = sizeof(int64_t) * (1 + 2 * size_t{a.ndim});
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(words), static_cast<Py_ssize_t>(bytes));
}

// What stands for an argument in a key, a new reference; null, without an error, where it is not plain.
PyObject* key_of(PyObject* value, int depth) {
  if (is_plain_atom(value)) return Py_NewRef(value);
  if (is_tensor(value)) return as_tensor(value)->weak || depth ? nullptr : key_of_tensor(as_tensor(value));
  const bool list = PyList_CheckExact(value);
  if ((!list && !PyTuple_CheckExact(value)) || depth > 2) return nullptr;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
  if (n > kLongest) return nullptr;
  PyObject** items = PySequence_Fast_ITEMS(value);
  Py_ssize_t atoms = 0;
  while (atoms < n && is_plain_atom(items[atoms])) ++atoms;
  if (atoms == n && !list) return Py_NewRef(value);
  Ref key = Ref::own(PyTuple_New(n));
  for (Py_ssize_t k = 0; key && k < n; ++k) {
    PyObject* item = key_of(PySequence_Fast_ITEMS(value)[k], depth + 1);
    if (!item) return nullptr;
    PyTuple_SET_ITEM(key.get(), k, item);
  }
  return key.release();
}

PyObject* key_of_call(PyObject* const* args, Py_ssize_t n) {
  Ref key = Ref::own(PyTuple_New(n));
  for (Py_ssize_t k = 0; key && k < n; ++k) {
    PyObject* item = key_of(args[k], 0);
    if (!item) return nullptr;
    PyTuple_SET_ITEM(key.get(), k, item);
  }
  return key.release();
}

PyObject* call_remembered(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* r = reinterpret_cast<Remembered*>(self);
  const Ref key = kwnames ? Ref() : Ref::own(key_of_call(args, PyVectorcall_NARGS(nargsf)));
  if (!key) {
    if (PyErr_Occurred()) return nullptr;
    return PyObject_Vectorcall(r->function, args, nargsf, kwnames);
  }
  if (PyObject* found = PyDict_GetItemWithError(r->results, key.get())) return Py_NewRef(found);
  if (PyErr_Occurred()) return nullptr;
  const uint64_t reads = values_read;
  Ref result = Ref::own(PyObject_Vectorcall(r->function, args, nargsf, nullptr));
  if (!result || values_read != reads) return result.release();
  if (PyDict_Size(r->results) >= kMost) PyDict_Clear(r->results);
  return PyDict_SetItem(r->results, key.get(), result.get()) < 0 ? nullptr : result.release();
}

PyObject* remembered_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* function;
  if (!PyArg_ParseTuple(args, "O:Remembered", &function)) return nullptr;
  Ref results = Ref::own(PyDict_New());
  auto* r = results ? reinterpret_cast<Remembered*>(type->tp_alloc(type, 0)) : nullptr;
  if (!r) return nullptr;
  r->vectorcall = call_remembered;
  r->function = Py_NewRef(function);
  r->results = results.release();
  return reinterpret_cast<PyObject*>(r);
}

void remembered_dealloc(PyObject* self) {
  auto* r = reinterpret_cast<Remembered*>(self);
  Py_XDECREF(r->function);
  Py_XDECREF(r->results);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Remembered, vectorcall), READONLY, nullptr},
    {"__wrapped__", T_OBJECT, offsetof(Remembered, function), READONLY, "The function itself."},
    {nullptr, 0, 0, 0, nullptr},
};

}  // namespace

bool init_remembered(PyObject* module) {
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(safe<remembered_new>)},
      {Py_tp_dealloc, reinterpret_cast<void*>(remembered_dealloc)},
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_members, members},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Remembered", sizeof(Remembered), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  const Ref type = Ref::own(PyType_FromSpec(&spec));
  return type && PyModule_AddObjectRef(module, "Remembered", type.get()) == 0;
}

}  // namespace dlcore
