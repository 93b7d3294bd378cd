#include "core/stand_in.h"

#include "core/tensor.h"

#include <structmember.h>

#include <cstddef>
#include <cstring>

namespace dlcore {

// A method, when a class holds it.
static PyObject* bind(PyObject* self, PyObject* object, PyObject*) {
  return object ? PyMethod_New(self, object) : Py_NewRef(self);
}

// Its name, its documentation and the like are those of the function in Python.
static PyObject* get_attribute(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  return PyObject_GetAttr(reinterpret_cast<StandIn*>(self)->function, name);
}

static PyObject* repr(PyObject* self) { return PyObject_Repr(reinterpret_cast<StandIn*>(self)->function); }

bool python_answers() {
  if (!PyErr_Occurred()) return true;
  for (PyObject* kind :
       {PyExc_TypeError, PyExc_ValueError, PyExc_IndexError, PyExc_OverflowError, errors.autograd, errors.capture}) {
    if (!PyErr_ExceptionMatches(kind)) continue;
    PyErr_Clear();
    return true;
  }
  return false;
}

static PyObject* get_doc(PyObject* self, void*) {
  return PyObject_GetAttrString(reinterpret_cast<StandIn*>(self)->function, "__doc__");
}
// The function as it is written, under all that decorators have put around it.
static PyObject* get_wrapped(PyObject* self, void*) {
  Ref found = Ref::share(reinterpret_cast<StandIn*>(self)->function);
  while (Ref inner = attribute(found.get(), "__wrapped__")) found = inner;
  PyErr_Clear();
  return found.release();
}
static PyObject* reduce(PyObject* self, PyObject*) {  // pickled and copied by name
  PyObject* function = reinterpret_cast<StandIn*>(self)->function;
  const Ref module = attribute(function, "__module__"), name = attribute(function, "__qualname__");
  const Ref finder = module && name ? Ref::own(PyImport_ImportModule("pkgutil")) : Ref();
  Ref find = finder ? attribute(finder.get(), "resolve_name") : Ref();
  const Ref place = find ? Ref::own(PyUnicode_FromFormat("%U:%U", module.get(), name.get())) : Ref();
  return place ? Py_BuildValue("N(O)", find.release(), place.get()) : nullptr;
}

static PyMethodDef methods[] = {
    {"__reduce__", safe<reduce>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(StandIn, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
static PyGetSetDef getset[] = {
    {"__doc__", get_doc, nullptr, nullptr, nullptr},
    {"__wrapped__", get_wrapped, nullptr, "The function in Python.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

bool add_stand_in_type(PyObject* module, const char* name, size_t size, newfunc make, destructor destroy,
                       PyGetSetDef* extra) {
  PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(make)},
      {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_descr_get, reinterpret_cast<void*>(bind)},
      {Py_tp_getattro, reinterpret_cast<void*>(get_attribute)},
      {Py_tp_repr, reinterpret_cast<void*>(repr)},
      {Py_tp_getset, getset},
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {0, nullptr},
  };
  PyType_Spec spec = {name, static_cast<int>(size), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  const Ref type = Ref::own(PyType_FromSpec(&spec));
  if (type && extra) {
    auto* of = reinterpret_cast<PyTypeObject*>(type.get());
    const Ref attribute = Ref::own(PyDescr_NewGetSet(of, extra));
    if (!attribute || PyDict_SetItemString(of->tp_dict, extra->name, attribute.get()) < 0) return false;
    PyType_Modified(of);
  }
  return type && PyModule_AddObjectRef(module, std::strrchr(name, '.') + 1, type.get()) == 0;
}

void free_stand_in(PyObject* self) {
  Py_XDECREF(reinterpret_cast<StandIn*>(self)->function);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace dlcore
