#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace dlcore::cuda {

// program(name, device, launches, zeroed) of _C.cuda: a capsule of the kernel that they are.
PyObject* make_program(PyObject*, PyObject* args);

}  // namespace dlcore::cuda
