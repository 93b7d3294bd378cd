// Objects that stand for a function in Python and have its name, documentation and signature (shaped.cpp, quick.cpp,
// traced.cpp).
#pragma once
#include "core/ref.h"

namespace dlcore {

struct StandIn {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* function;
};

// Whether the function in Python is to be asked, where C++ has no answer: errors of the kinds that it words itself are
// cleared; others, such as an interrupt or what a driver says, stay, for the second call might hide them.
bool python_answers();

// Adds the type "dlcore._C.Name" of objects that begin with a StandIn. `extra`: an attribute beside those of all.
bool add_stand_in_type(PyObject* module, const char* name, size_t size, newfunc make, destructor destroy,
                       PyGetSetDef* extra = nullptr);
void free_stand_in(PyObject* self);  // the end of `destroy`

bool init_quick(PyObject* module);  // quick.cpp

}  // namespace dlcore
