// Results whose shape depends on values: the true elements of a mask are counted, then what they select is written, in one
// call and without a plan for each number.
#include <algorithm>
#include <initializer_list>

#include "core/batch.h"
#include "core/indexing.h"
#include "core/record.h"
#include "core/traced.h"

namespace dlcore {

// Whether C++ may look at its values.
static bool reads_here(const Tensor* t) {
  return !recorder && !trace && !examiner && !t->device && !t->weak && !is_batched(t);
}

bool counts_here(const Tensor* mask) { return reads_here(mask) && mask->array.dtype == DType::bool_; }

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

// Launches a kernel on contiguous tensors: `n_inputs` of them, then outputs.
static bool launch_on(const Kernel* kernel, std::initializer_list<Tensor*> tensors, int n_inputs,
                      std::initializer_list<int64_t> numbers) {
  Array arrays[4];
  Param params[2];
  size_t bytes = 0;
  int n = 0, n_params = 0;
  for (Tensor* t : tensors) {
    arrays[n++] = t ? t->array : Array{};
    bytes += t ? t->buffer->bytes : 0;
  }
  for (const int64_t number : numbers) params[n_params++].i = number;
  return run_kernel(*kernel, Args{arrays, n_inputs, n, params, n_params}, bytes);
}

// count_values(x, minlength): what bincount of an integer vector is; None where Python must find it, or words the error.
static PyObject* count_values(PyObject*, PyObject* args) {
  static const Kernel *limits = find_kernel("count:limits"), *count = find_kernel("count:bincount");
  constexpr int64_t kMost = int64_t{1} << 40;
  PyObject* given;
  long long least;
  if (!PyArg_ParseTuple(args, "OL:count_values", &given, &least)) return nullptr;
  if (!is_tensor(given) || !reads_here(as_tensor(given)) || least < 0) Py_RETURN_NONE;
  const TensorRef x = dense(as_tensor(given));
  const int64_t two = 2;
  const TensorRef range = x ? TensorRef::own(new_tensor(&two, 1, DType::int64)) : TensorRef();
  if (!range || !launch_on(limits, {x.get(), range.get()}, 1, {})) return nullptr;
  const auto* found = range->array.as<int64_t>();
  if (found[0] < 0 || found[1] >= kMost) Py_RETURN_NONE;
  const int64_t size = std::max<int64_t>(least, found[1] + 1);
  TensorRef out = TensorRef::own(new_tensor(&size, 1, DType::int64));
  if (!out || !launch_on(count, {x.get(), nullptr, out.get()}, 2, {size})) return nullptr;
  return as_object(out.release());
}

// run_heads_of(x, equal_nan): (values, places) of all runs of equal elements of a line; None where Python must find them.
static PyObject* run_heads_of(PyObject*, PyObject* args) {
  static const Kernel *count = find_kernel("order:count_runs"), *heads = find_kernel("order:run_heads");
  PyObject* given;
  int equal_nan;
  if (!PyArg_ParseTuple(args, "Op:run_heads_of", &given, &equal_nan)) return nullptr;
  if (!is_tensor(given) || !reads_here(as_tensor(given)) || as_tensor(given)->array.ndim != 1) Py_RETURN_NONE;
  const TensorRef x = dense(as_tensor(given));
  const TensorRef runs = x ? TensorRef::own(new_tensor(nullptr, 0, DType::int64)) : TensorRef();
  if (!runs || !launch_on(count, {x.get(), runs.get()}, 1, {equal_nan})) return nullptr;
  const int64_t n = *runs->array.as<int64_t>();
  TensorRef values = TensorRef::own(new_tensor(&n, 1, x->array.dtype));
  TensorRef places = values ? TensorRef::own(new_tensor(&n, 1, DType::int64)) : TensorRef();
  if (!places || !launch_on(heads, {x.get(), values.get(), places.get()}, 1, {n, equal_nan})) return nullptr;
  return Py_BuildValue("NN", as_object(values.release()), as_object(places.release()));
}

static PyMethodDef functions[] = {
    {"count_values", safe<count_values>, METH_VARARGS,
     "count_values(x, minlength): how often 0, 1, ... are in an integer vector; None where Python must find it."},
    {"run_heads_of", safe<run_heads_of>, METH_VARARGS,
     "run_heads_of(x, equal_nan): the first elements of runs, and their places; None where Python must find them."},
    {"true_positions", safe<true_positions>, METH_O,
     "true_positions(mask): where a mask is true, (count, ndim) int64; None where Python must find them."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_counted(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace dlcore
