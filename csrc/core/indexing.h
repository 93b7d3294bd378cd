// x[index] and x[index] = value, as far as C++ knows them; dlcore/_indexing.py has an answer to all else.
#pragma once
#include "core/tensor.h"

namespace dlcore {

PyObject* subscript(PyObject* self, PyObject* index);
int assign_subscript(PyObject* self, PyObject* index, PyObject* value);

// ---- counted.cpp
bool counts_here(const Tensor* mask);  // whether C++ may look at its values: on the host, and while nothing is recorded
// x[mask], of a mask of the lengths of the axes of x from `axis` on; nothing is kept of the call.
PyObject* masked_elements(Tensor* x, Tensor* mask, int axis);
bool init_counted(PyObject* module);

// ---- listed.cpp
// A list of ints as a tensor of int64, one of bools as a mask, nested ones too; of floats one of `floats`, and of floats
// and ints. Null, without an error, where there is anything else, an item that does not fit, or lists differ in length.
Tensor* listed(PyObject* list, DType floats);
// A copy of a small array of NumPy's that lies in order, in the dtype that it has; null, without an error, of others.
Tensor* copied_array(PyObject* array);
// Either of them, of an operand beside `like`, a tensor or anything else, in the host's memory.
Tensor* copied_operand(PyObject* value, PyObject* like);  // quick.cpp

}  // namespace dlcore
