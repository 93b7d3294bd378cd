// Quick(name, function): a function in Python whose plainest calls C++ answers: tensors of zeros or of numbers, views of
// which nothing is kept. All other calls, and all errors, are the function's: each answer here is null then, without an
// error. While a step is recorded all but casts go to Python.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/batch.h"
#include "core/function.h"
#include "core/indexing.h"
#include "core/layout.h"
#include "core/record.h"
#include "core/stand_in.h"
#include "core/tape.h"
#include "core/traced.h"

namespace dlcore {

namespace {

using Answer = PyObject* (*)(PyObject* const* args, Py_ssize_t n, PyObject* kwnames);

struct Quick {
  StandIn as;
  Answer answer;
};

int default_place = -1;  // the code of the default device; -1: Python has not decided

bool makes_here() { return default_place == 0 && !recorder; }

}  // namespace

Tensor* copied_operand(PyObject* value, PyObject* like) {
  if (recorder || trace || !(is_tensor(like) ? !as_tensor(like)->device : default_place == 0)) return nullptr;
  if (reinterpret_cast<PyObject*>(Py_TYPE(value)) == bound.ndarray) return copied_array(value);
  return listed(value, DType::float32);
}

namespace {

// ---- arguments ----------------------------------------------------------------------------------------------------
// Lengths given one by one or as one tuple, in plain ints of at least `least`.
struct Lengths {
  int64_t values[kMaxDims];
  int n = 0;

  bool read(PyObject* const* args, Py_ssize_t count, int64_t least) {
    if (count != 1 || !PyTuple_CheckExact(args[0])) return count > 0 && read_each(args, count, least);
    return read_each(&PyTuple_GET_ITEM(args[0], 0), PyTuple_GET_SIZE(args[0]), least);
  }

 private:
  bool read_each(PyObject* const* items, Py_ssize_t count, int64_t least) {
    if (count > kMaxDims) return false;
    for (n = 0; n < count; ++n) {
      if (!PyLong_CheckExact(items[n])) return false;
      int beyond;
      values[n] = PyLong_AsLongLongAndOverflow(items[n], &beyond);
      if (beyond || values[n] < least) return false;
    }
    return true;
  }
};

// The dtype that the one name `dtype` gives, or `usual` where there are no names.
bool read_dtype(PyObject* const* named, PyObject* kwnames, DType usual, DType* dtype) {
  *dtype = usual;
  if (!kwnames) return true;
  if (PyTuple_GET_SIZE(kwnames) != 1 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "dtype")) {
    return false;
  }
  if (Py_TYPE(named[0]) != Py_TYPE(dtype_object(usual))) return false;
  if (parse_dtype(named[0], dtype)) return true;
  PyErr_Clear();
  return false;
}

// ---- new tensors --------------------------------------------------------------------------------------------------
bool read_new(PyObject* const* args, Py_ssize_t n, PyObject* kwnames, Lengths& lengths, DType* dtype) {
  return makes_here() && lengths.read(args, n, 0) && read_dtype(args + n, kwnames, DType::float32, dtype);
}

// Filled as _C.full does it (tensor.cpp).
PyObject* made_of(const int64_t* shape, int ndim, DType dtype, PyObject* number) {
  int64_t element = 0;
  const TensorRef scalar = TensorRef::own(new_scalar(number));
  if (!scalar || !store_immediate(scalar.get(), dtype, &element, "full")) return nullptr;
  TensorRef t = TensorRef::own(new_tensor(shape, ndim, dtype));
  if (!t) return nullptr;
  if (!are_few(t.get())) return call_inplace(reinterpret_cast<Function*>(bound.assign), t.get(), &number, 1);
  fill_few(t.get(), &element);
  return as_object(t.release());
}

PyObject* number_of(bool one) {
  static PyObject* const numbers[2] = {PyLong_FromLong(0), PyLong_FromLong(1)};
  return numbers[one];
}

template <bool one> PyObject* filled(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  Lengths lengths;
  DType dtype;
  if (!read_new(args, n, kwnames, lengths, &dtype)) return nullptr;
  return made_of(lengths.values, lengths.n, dtype, number_of(one));
}

// A number, and the dtype that a tensor of it has.
bool read_number(PyObject* value, DType* dtype) {
  *dtype = PyFloat_CheckExact(value) ? DType::float32 : PyLong_CheckExact(value) ? DType::int64 : DType::bool_;
  return *dtype != DType::bool_ || PyBool_Check(value);
}

PyObject* full(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  Lengths lengths;
  DType usual, dtype;
  if (!makes_here() || n != 2 || !lengths.read(args, 1, 0) || !read_number(args[1], &usual)) return nullptr;
  if (!read_dtype(args + n, kwnames, usual, &dtype)) return nullptr;
  return made_of(lengths.values, lengths.n, dtype, args[1]);
}

// The tensor that a new one is to be like, in the host's memory; else null.
Tensor* liked(PyObject* const* args, PyObject* kwnames) {
  if (kwnames || recorder || !is_tensor(args[0])) return nullptr;
  Tensor* t = as_tensor(args[0]);
  return t->weak || t->device || is_batched(t) ? nullptr : t;
}

template <bool one> PyObject* filled_like(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  const Tensor* like = n == 1 ? liked(args, kwnames) : nullptr;
  return like ? made_of(like->array.shape, like->array.ndim, like->array.dtype, number_of(one)) : nullptr;
}

PyObject* full_like(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  const Tensor* like = n == 2 ? liked(args, kwnames) : nullptr;
  DType of_number;
  if (!like || !read_number(args[1], &of_number)) return nullptr;
  return made_of(like->array.shape, like->array.ndim, like->array.dtype, args[1]);
}

PyObject* empty_like(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  const Tensor* like = n == 1 ? liked(args, kwnames) : nullptr;
  if (!like || like->array.dtype == DType::bool_) return nullptr;
  return as_object(new_tensor(like->array.shape, like->array.ndim, like->array.dtype));
}

PyObject* empty(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  Lengths lengths;
  DType dtype;
  if (!read_new(args, n, kwnames, lengths, &dtype)) return nullptr;
  return dtype == DType::bool_ ? nullptr : as_object(new_tensor(lengths.values, lengths.n, dtype));
}

constexpr int64_t kMostCounted = 512;

template <class T> PyObject* counted(int64_t n, double first, double step, DType dtype) {  // as creation/ramp.inl
  Tensor* t = new_tensor(&n, 1, dtype);
  for (int64_t i = 0; t && i < n; ++i) t->array.as<T>()[i] = static_cast<T>(first + static_cast<double>(i) * step);
  return as_object(t);
}

// Of numbers that float64 holds, and so do all between.
PyObject* arange(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (!makes_here() || n < 1 || n > 3) return nullptr;
  double given[3];
  bool whole = true;
  for (Py_ssize_t k = 0; k < n; ++k) {
    int beyond = 0;
    const bool real = PyFloat_CheckExact(args[k]);
    if (!real && !PyLong_CheckExact(args[k])) return nullptr;
    if (real) given[k] = PyFloat_AS_DOUBLE(args[k]);
    else given[k] = static_cast<double>(PyLong_AsLongLongAndOverflow(args[k], &beyond));
    if (beyond || !(std::fabs(given[k]) < 1e12)) return nullptr;
    whole = whole && !real;
  }
  const double first = n == 1 ? 0 : given[0], last = given[n == 1 ? 0 : 1], step = n == 3 ? given[2] : 1;
  DType dtype;
  if (step == 0 || !read_dtype(args + n, kwnames, whole ? DType::int64 : DType::float32, &dtype)) return nullptr;
  const double count = std::ceil((last - first) / step);
  if (!(count >= 1 && count <= kMostCounted)) return nullptr;
  const auto size = static_cast<int64_t>(count);
  if (dtype == DType::float32) return counted<float>(size, first, step, dtype);
  return dtype == DType::int64 && whole ? counted<int64_t>(size, first, step, dtype) : nullptr;
}

PyObject* tensor(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (!makes_here() || n != 1 || kwnames) return nullptr;
  PyObject* data = args[0];
  if (reinterpret_cast<PyObject*>(Py_TYPE(data)) == bound.ndarray) return as_object(copied_array(data));
  if (PyFloat_CheckExact(data) || PyLong_CheckExact(data)) {  // as a list of one
    const Ref list = Ref::own(PyTuple_Pack(1, data));
    Tensor* t = list ? listed(list.get(), DType::float32) : nullptr;
    if (t) t->array.ndim = 0;
    return as_object(t);
  }
  return as_object(listed(data, DType::float32));
}

// ---- views --------------------------------------------------------------------------------------------------------
bool views_plainly(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (kwnames || n < 1 || !is_tensor(args[0]) || recorder || trace) return false;
  Tensor* t = as_tensor(args[0]);
  return !t->weak && !is_batched(t) && !wanted(t) && !(grad_enabled && t->base && !refresh_view(t)) && !wanted(t);
}

PyObject* reshape(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  Lengths lengths;
  if (!views_plainly(args, n, kwnames) || !lengths.read(args + 1, n - 1, -1)) return nullptr;
  Tensor* t = as_tensor(args[0]);
  int64_t known = 1;
  int open = -1;
  for (int d = 0; d < lengths.n; ++d) {
    if (lengths.values[d] >= 0) {
      if (__builtin_mul_overflow(known, lengths.values[d], &known)) return nullptr;
    } else {
      if (open >= 0) return nullptr;
      open = d;
    }
  }
  const int64_t size = t->array.size();
  if (!t->array.contiguous() || size == 0 || known == 0 || size % known || (open < 0 && size != known)) return nullptr;
  if (open >= 0) lengths.values[open] = size / known;
  Array a;
  a.data = t->array.data;
  a.dtype = t->array.dtype;
  a.ndim = static_cast<uint8_t>(lengths.n);
  int64_t stride = 1;
  bool behind = true;  // axes of length 1 behind all others have the stride 0 (dlcore/ops/movement.py)
  for (int d = lengths.n - 1; d >= 0; --d) {
    behind = behind && lengths.values[d] == 1;
    a.shape[d] = lengths.values[d];
    a.strides[d] = behind ? 0 : stride;
    stride *= lengths.values[d];
  }
  return as_object(view_of(t, a));
}

PyObject* with_axes(Tensor* t, const int64_t* axes) {
  Array a = t->array;
  for (int d = 0; d < a.ndim; ++d) {
    a.shape[d] = t->array.shape[axes[d]];
    a.strides[d] = t->array.strides[axes[d]];
  }
  return as_object(view_of(t, a));
}

PyObject* permute(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  Lengths axes;
  if (!views_plainly(args, n, kwnames) || !axes.read(args + 1, n - 1, -kMaxDims)) return nullptr;
  Tensor* t = as_tensor(args[0]);
  const int ndim = t->array.ndim;
  unsigned seen = 0;
  for (int d = 0; d < axes.n; ++d) {
    if (axes.values[d] < -ndim || axes.values[d] >= ndim) return nullptr;
    if (axes.values[d] < 0) axes.values[d] += ndim;
    seen |= 1u << axes.values[d];
  }
  return axes.n == ndim && seen == (1u << ndim) - 1 ? with_axes(t, axes.values) : nullptr;
}

PyObject* reversed(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (n != 1 || !views_plainly(args, n, kwnames)) return nullptr;
  const int ndim = as_tensor(args[0])->array.ndim;
  int64_t axes[kMaxDims];
  for (int d = 0; d < ndim; ++d) axes[d] = ndim - 1 - d;
  return with_axes(as_tensor(args[0]), axes);
}

PyObject* matrices_transposed(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (n != 1 || !views_plainly(args, n, kwnames) || as_tensor(args[0])->array.ndim < 2) return nullptr;
  const int ndim = as_tensor(args[0])->array.ndim;
  int64_t axes[kMaxDims];
  for (int d = 0; d < ndim; ++d) axes[d] = d;
  std::swap(axes[ndim - 1], axes[ndim - 2]);
  return with_axes(as_tensor(args[0]), axes);
}

PyObject* expand(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  Lengths lengths;
  if (!views_plainly(args, n, kwnames) || !lengths.read(args + 1, n - 1, -1)) return nullptr;
  Tensor* t = as_tensor(args[0]);
  const Array& from = t->array;
  const int extra = lengths.n - from.ndim;
  if (extra < 0) return nullptr;
  Array a;
  a.data = from.data;
  a.dtype = from.dtype;
  a.ndim = static_cast<uint8_t>(lengths.n);
  for (int d = 0; d < lengths.n; ++d) {
    const int64_t own = d < extra ? 1 : from.shape[d - extra];
    const int64_t length = lengths.values[d] < 0 && d >= extra ? own : lengths.values[d];
    if (length < 0 || (own != 1 && own != length)) return nullptr;
    a.shape[d] = length;
    a.strides[d] = d >= extra && own == length ? from.strides[d - extra] : 0;
  }
  int64_t size;
  return count_elements(a.shape, a.ndim, item_size(a.dtype), &size) ? as_object(view_of(t, a)) : nullptr;
}

// ---- conversions --------------------------------------------------------------------------------------------------
// x.to(dtype), of a dtype of dlcore.
PyObject* cast(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (kwnames || n != 2 || !is_tensor(args[0]) || Py_TYPE(args[1]) != Py_TYPE(dtype_object(DType::bool_))) return nullptr;
  const Tensor* t = as_tensor(args[0]);
  if (t->weak) return nullptr;
  return dtype_object(t->array.dtype) == args[1] ? Py_NewRef(args[0]) : call_python(bound.cast, args, 2);
}

// ---- answers that look at values -------------------------------------------------------------------------------------
// Two tensors in the host's memory of which nothing is kept.
bool plain_pair(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (kwnames || n != 2 || recorder || trace || examiner) return false;
  return std::all_of(args, args + 2, [](PyObject* o) {
    if (!is_tensor(o)) return false;
    const Tensor* t = as_tensor(o);
    return !t->weak && !t->device && !is_batched(t) && !wanted(t);
  });
}

bool same_shape(const Array& a, const Array& b) {
  return a.ndim == b.ndim && std::equal(a.shape, a.shape + a.ndim, b.shape);
}

PyObject* array_equal(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (!plain_pair(args, n, kwnames)) return nullptr;
  Tensor* operands[2] = {as_tensor(args[0]), as_tensor(args[1])};
  if (!same_shape(operands[0]->array, operands[1]->array)) Py_RETURN_FALSE;
  if (operands[0]->array.size() > kMostCounted) return nullptr;
  auto* eq = reinterpret_cast<Function*>(bound.compare[Py_EQ]);
  if (!read_signature(eq)) return nullptr;
  const TensorRef same = TensorRef::own(as_tensor(call(eq, operands, 2, eq->defaults)));
  return same ? PyBool_FromLong(!std::memchr(same->array.data, 0, static_cast<size_t>(same->array.size()))) : nullptr;
}

PyObject* masked_select(PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (!plain_pair(args, n, kwnames)) return nullptr;
  const Array &x = as_tensor(args[0])->array, &mask = as_tensor(args[1])->array;
  return x.ndim && mask.dtype == DType::bool_ && same_shape(x, mask) ? subscript(args[0], args[1]) : nullptr;
}

// ---- the type -----------------------------------------------------------------------------------------------------
constexpr struct {
  const char* name;
  Answer answer;
} answers[] = {
    {"zeros", filled<false>}, {"ones", filled<true>}, {"empty", empty}, {"full", full},
    {"zeros_like", filled_like<false>}, {"ones_like", filled_like<true>}, {"empty_like", empty_like},
    {"full_like", full_like}, {"arange", arange}, {"tensor", tensor},
    {"reshape", reshape}, {"permute", permute}, {"expand", expand}, {"T", reversed}, {"mT", matrices_transposed},
    {"cast", cast}, {"array_equal", array_equal}, {"masked_select", masked_select},
};

PyObject* call_quick(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  const auto* q = reinterpret_cast<Quick*>(self);
  PyObject* found = q->answer(args, PyVectorcall_NARGS(nargsf), kwnames);
  if (found || !python_answers()) return found;
  return PyObject_Vectorcall(q->as.function, args, nargsf, kwnames);
}

PyObject* call_safely(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  try {
    return call_quick(self, args, nargsf, kwnames);
  } catch (const std::bad_alloc&) {
    return out_of_memory("dlcore");
  }
}

PyObject* quick_new(PyTypeObject* type, PyObject* args, PyObject*) {
  const char* name;
  PyObject* function;
  if (!PyArg_ParseTuple(args, "sO:Quick", &name, &function)) return nullptr;
  for (const auto& known : answers) {
    if (std::strcmp(known.name, name)) continue;
    auto* q = reinterpret_cast<Quick*>(type->tp_alloc(type, 0));
    if (!q) return nullptr;
    q->as.vectorcall = call_safely;
    q->as.function = Py_NewRef(function);
    q->answer = known.answer;
    return reinterpret_cast<PyObject*>(q);
  }
  return PyErr_Format(PyExc_ValueError, "Quick: C++ has no answers for %s", name);
}

PyObject* set_default_place(PyObject*, PyObject* code) {
  default_place = static_cast<int>(PyLong_AsLong(code));
  if (PyErr_Occurred()) return nullptr;
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"set_default_place", set_default_place, METH_O,
     "set_default_place(code): of the default device; -1 where Python must be asked."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool init_quick(PyObject* module) {
  return add_stand_in_type(module, "dlcore._C.Quick", sizeof(Quick), safe<quick_new>, free_stand_in) &&
         PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace dlcore
