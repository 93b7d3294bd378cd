// Tensors that stand for one example of a batch (dlcore/_batching.py): what a function sees that runs for all at once.
//
// Such a tensor has the shape of one example. It keeps the tensor of all of them, whose axis 0 counts the examples, and
// the level, an object of Python, that says which batch they belong to. Operations on it go to `bound.batched`; what
// asks for its values is an error.
#pragma once
#include "core/plan.h"
#include "core/tensor.h"

namespace dlcore {

// How many batches of this thread are being gone through: random operations ask what to do for the examples.
PER_THREAD extern int batch_depth;

inline bool is_batched(const Tensor* t) { return t && t->batch; }
inline bool any_batched(Tensor* const* tensors, int n) {
  for (int k = 0; k < n; ++k)
    if (is_batched(tensors[k])) return true;
  return false;
}
// The tensor of all examples, through all levels; itself if it is not batched. Borrowed.
Tensor* whole_of(Tensor* t);
// bound.batched(function, operands, attributes, lengths of groups).
PyObject* call_batched(Function* f, Operands& operands, PyObject* attrs, const int* lengths, int n_groups);
// bound.batched_inplace(function, target, arguments).
PyObject* call_batched_inplace(Function* f, Tensor* target, PyObject* const* args, Py_ssize_t n);
// False, with an error, for a batched tensor: there is no `what` of it.
bool check_unbatched(const Tensor* t, const char* what);

// One example of `value`, of the level that `t` has.
PyObject* batched_like(Tensor* t, PyObject* value);

bool init_batch(PyObject* module);

}  // namespace dlcore
