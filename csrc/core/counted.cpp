// Results whose shape depends on values: the true elements of a mask are counted, then what they select is written, in one
// call and without a plan for each number.
#include <algorithm>

#include "core/batch.h"
#include "core/indexing.h"
#include "core/record.h"
#include "core/traced.h"

namespace dlcore {

bool counts_here(const Tensor* mask) {
  return !recorder && !trace && !examiner && !mask->device && !mask->weak && !is_batched(mask) &&
         mask->array.dtype == DType::bool_;
}

// False with an error.
static bool count_true(const Tensor* mask, int64_t* found) {
  static const Kernel* count = find_kernel("movement:count_nonzero");
  Array arrays[2] = {mask->array, {}};
  arrays[1].data = found;
  arrays[1].dtype = DType::int64;
  return run_kernel(*count, Args{arrays, 1, 2, nullptr, 0}, mask->buffer->bytes);
}

static TensorRef dense(Tensor* t) {
  return t->array.contiguous() ? TensorRef::share(t) : TensorRef::own(contiguous_copy(t));
}

PyObject* masked_elements(Tensor* x, Tensor* given, int axis) {
  static const Kernel* take = find_kernel("movement:masked_take");
  const TensorRef from = dense(x), mask = dense(given);
  int64_t found;
  if (!from || !mask || !count_true(mask.get(), &found)) return nullptr;
  const Array& a = x->array;
  int64_t shape[kMaxDims];
  int ndim = axis;
  std::copy(a.shape, a.shape + axis, shape);
  shape[ndim++] = found;
  for (int d = axis + mask->array.ndim; d < a.ndim; ++d) shape[ndim++] = a.shape[d];
  TensorRef out = TensorRef::own(new_tensor(shape, ndim, a.dtype));
  if (!out) return nullptr;
  Array arrays[3] = {from->array, mask->array, out->array};
  Param along;
  along.i = axis;
  const size_t bytes = from->buffer->bytes + mask->buffer->bytes;
  return run_kernel(*take, Args{arrays, 2, 3, &along, 1}, bytes) ? as_object(out.release()) : nullptr;
}

// true_positions(mask): (count, ndim) int64; None where Python must find them.
static PyObject* true_positions(PyObject*, PyObject* given) {
  static const Kernel* nonzero = find_kernel("movement:nonzero");
  if (!is_tensor(given) || !counts_here(as_tensor(given))) Py_RETURN_NONE;
  const TensorRef mask = dense(as_tensor(given));
  int64_t shape[2];
  if (!mask || !count_true(mask.get(), &shape[0])) return nullptr;
  shape[1] = mask->array.ndim;
  TensorRef out = TensorRef::own(new_tensor(shape, 2, DType::int64));
  if (!out) return nullptr;
  Array arrays[2] = {mask->array, out->array};
  return run_kernel(*nonzero, Args{arrays, 1, 2, nullptr, 0}, mask->buffer->bytes) ? as_object(out.release()) : nullptr;
}

static PyMethodDef functions[] = {
    {"true_positions", safe<true_positions>, METH_O,
     "true_positions(mask): where a mask is true, (count, ndim) int64; None where Python must find them."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_counted(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace dlcore
