#include "core/stand_in.h"

#include "core/tensor.h"

namespace dlcore {

PyObject* bind_stand_in(PyObject* self, PyObject* object, PyObject*) {
  return object ? PyMethod_New(self, object) : Py_NewRef(self);
}

// Its name, its documentation and the like are those of the function in Python.
PyObject* get_of_stand_in(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  return PyObject_GetAttr(reinterpret_cast<StandIn*>(self)->function, name);
}

PyObject* repr_of_stand_in(PyObject* self) { return PyObject_Repr(reinterpret_cast<StandIn*>(self)->function); }

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

PyGetSetDef stand_in_getset[] = {
    {"__doc__", get_doc, nullptr, nullptr, nullptr},
    {"__wrapped__", get_wrapped, nullptr, "The function in Python.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMethodDef stand_in_methods[] = {
    {"__reduce__", safe<reduce>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace dlcore
