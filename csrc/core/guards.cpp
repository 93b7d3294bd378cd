// What a recorded step has read from Python's state: see guards.h.
#include "core/guards.h"

#include <cstring>

namespace dlcore {

static PyObject* absent;  // dlcore._C.absent: the value of a guard where there was nothing

bool same_value(PyObject* now, PyObject* then) {
  if (now == then) return true;
  if (!now || !then || Py_TYPE(now) != Py_TYPE(then)) return false;
  if (PyFloat_CheckExact(then)) {
    const double a = PyFloat_AS_DOUBLE(now), b = PyFloat_AS_DOUBLE(then);
    return !std::memcmp(&a, &b, sizeof a);
  }
  if (PyTuple_CheckExact(then)) {
    bool same = PyTuple_GET_SIZE(now) == PyTuple_GET_SIZE(then);
    for (Py_ssize_t k = 0; same && k < PyTuple_GET_SIZE(then); ++k) {
      same = same_value(PyTuple_GET_ITEM(now, k), PyTuple_GET_ITEM(then, k));
    }
    return same;
  }
  if (!PyLong_CheckExact(then) && !PyUnicode_CheckExact(then) && !PyBytes_CheckExact(then)) return false;
  return PyObject_RichCompareBool(now, then, Py_EQ) == 1;  // these types compare without errors
}

// An error while looking means that things are not as they were; Ctrl-C and the like are passed on.
static int failed() {
  if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) return -1;
  PyErr_Clear();
  return 0;
}

static bool same_entries(PyObject* dict, PyObject* then) {
  if (2 * PyDict_GET_SIZE(dict) != PyTuple_GET_SIZE(then)) return false;
  Py_ssize_t at = 0, k = 0;
  for (PyObject *key, *value; PyDict_Next(dict, &at, &key, &value); k += 2) {
    if (!same_value(key, PyTuple_GET_ITEM(then, k)) || !same_value(value, PyTuple_GET_ITEM(then, k + 1))) return false;
  }
  return true;
}

static bool same_elements(PyObject* list, PyObject* then) {
  bool same = PyList_GET_SIZE(list) == PyTuple_GET_SIZE(then);
  for (Py_ssize_t k = 0; same && k < PyTuple_GET_SIZE(then); ++k) {
    same = same_value(PyList_GET_ITEM(list, k), PyTuple_GET_ITEM(then, k));
  }
  return same;
}

static bool same_code(PyObject* function, PyObject* then) {
  PyObject* const now[] = {PyFunction_GET_CODE(function), PyFunction_GET_DEFAULTS(function),
                           PyFunction_GET_KW_DEFAULTS(function)};
  for (Py_ssize_t k = 0; k < 3; ++k) {
    if ((now[k] ? now[k] : Py_None) != PyTuple_GET_ITEM(then, k)) return false;
  }
  return true;
}

static bool same_attributes(PyObject* owner, PyObject* then) {
  if (!then) return true;
  const Ref now = Ref::own(PyObject_GenericGetDict(owner, nullptr));
  PyErr_Clear();
  return now.get() == then;
}

static int asked(PyObject* ask) {
  const Ref answer = Ref::own(PyObject_CallNoArgs(ask));
  const int truth = answer ? PyObject_IsTrue(answer.get()) : -1;
  return truth < 0 ? failed() : truth;
}

int holds(Guard& guard) {
  PyObject *const owner = guard.owner.get(), *const then = guard.value.get();
  switch (guard.kind) {
    case GuardKind::entry: {
      PyObject* now = PyDict_GetItemWithError(owner, guard.key.get());
      return !now && PyErr_Occurred() ? failed() : same_value(now, then);
    }
    case GuardKind::item: {
      const Py_ssize_t k = PyLong_AsSsize_t(guard.key.get());
      return k < PyList_GET_SIZE(owner) && same_value(PyList_GET_ITEM(owner, k), then);
    }
    case GuardKind::cell: return same_value(PyCell_GET(owner), then);
    case GuardKind::type:
      return reinterpret_cast<PyObject*>(Py_TYPE(owner)) == then && same_attributes(owner, guard.key.get());
    case GuardKind::cls: {
      const unsigned tag = reinterpret_cast<PyTypeObject*>(owner)->tp_version_tag;
      if (tag && tag == PyLong_AsUnsignedLong(then)) return 1;
      const int same = asked(guard.key.get());
      if (same == 1) guard.value = Ref::own(PyLong_FromUnsignedLong(tag));
      return guard.value ? same : -1;
    }
    case GuardKind::elements: return same_elements(owner, then);
    case GuardKind::entries: return same_entries(owner, then);
    case GuardKind::code: return same_code(owner, then);
    case GuardKind::asked: return asked(owner);
  }
  return 0;
}

static bool fits(const Guard& g) {
  PyObject *const owner = g.owner.get(), *const key = g.key.get(), *const value = g.value.get();
  switch (g.kind) {
    case GuardKind::entry: return PyDict_Check(owner);
    case GuardKind::item: return PyList_Check(owner) && PyLong_Check(key) && PyLong_AsSsize_t(key) >= 0;
    case GuardKind::cell: return PyCell_Check(owner);
    case GuardKind::type: return value && PyType_Check(value);
    case GuardKind::cls: return PyType_Check(owner) && PyCallable_Check(key) && value && PyLong_Check(value);
    case GuardKind::elements: return PyList_Check(owner) && value && PyTuple_Check(value);
    case GuardKind::entries: return PyDict_Check(owner) && value && PyTuple_Check(value);
    case GuardKind::code:
      return PyFunction_Check(owner) && value && PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 3;
    case GuardKind::asked: return PyCallable_Check(owner);
  }
  return false;
}

bool make_guard(PyObject* tuple, Guard& guard) {
  int kind;
  PyObject *owner, *key, *value;
  if (!PyTuple_Check(tuple)) {
    PyErr_SetString(PyExc_TypeError, "watch: a guard is a tuple");
    return false;
  }
  if (!PyArg_ParseTuple(tuple, "iOOO:watch", &kind, &owner, &key, &value)) return false;
  guard = {static_cast<GuardKind>(kind), Ref::share(owner), key == absent ? Ref() : Ref::share(key),
           value == absent ? Ref() : Ref::share(value)};
  if (fits(guard)) return true;
  PyErr_Clear();
  PyErr_Format(PyExc_TypeError, "watch: a guard of kind %d does not hold what it needs", kind);
  return false;
}

// same_value(now, then): whether two values are the same to a guard.
static PyObject* same_value_of(PyObject*, PyObject* args) {
  PyObject *now, *then;
  if (!PyArg_ParseTuple(args, "OO:same_value", &now, &then)) return nullptr;
  return PyBool_FromLong(same_value(now, then));
}

// version_tag(cls): its version tag, or 0 where it can have none.
static PyObject* version_tag(PyObject*, PyObject* cls) {
  if (!PyType_Check(cls)) {
    PyErr_SetString(PyExc_TypeError, "version_tag: a class is needed");
    return nullptr;
  }
  auto* type = reinterpret_cast<PyTypeObject*>(cls);
  const Ref name = Ref::own(PyUnicode_InternFromString("__init__"));
  if (!name) return nullptr;
  _PyType_Lookup(type, name.get());  // a lookup gives the class a tag
  return PyLong_FromUnsignedLong(type->tp_version_tag);
}

static PyMethodDef methods[] = {
    {"same_value", safe<same_value_of>, METH_VARARGS,
     "same_value(now, then): whether two values are the same to a guard."},
    {"version_tag", safe<version_tag>, METH_O,
     "version_tag(cls): changes with all that can be looked up on it; 0: unknown."},
    {nullptr, nullptr, 0, nullptr}};

bool init_guards(PyObject* module) {
  absent = PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  return absent && PyModule_AddObjectRef(module, "absent", absent) == 0 && PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace dlcore
