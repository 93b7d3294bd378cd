// Objects that stand for a function in Python and have its name, documentation and signature (shaped.cpp, quick.cpp, direct.cpp).
#pragma once
#include "core/ref.h"

namespace dlcore {

struct StandIn {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* function;
};

PyObject* bind_stand_in(PyObject* self, PyObject* object, PyObject* type);  // a method, when a class holds it
PyObject* get_of_stand_in(PyObject* self, PyObject* name);
PyObject* repr_of_stand_in(PyObject* self);
// Whether the function in Python is to be asked, where C++ has no answer: errors of the kinds that it words itself are
// cleared; others, such as an interrupt or what a driver says, stay, for the second call might hide them.
bool python_answers();
extern PyGetSetDef stand_in_getset[];
extern PyMethodDef stand_in_methods[];

bool init_quick(PyObject* module);   // quick.cpp
bool init_direct(PyObject* module);  // direct.cpp

}  // namespace dlcore
