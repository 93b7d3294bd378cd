// Tensors of lists of Python numbers, without NumPy in between.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/indexing.h"

namespace dlcore {

namespace {

constexpr int64_t kMostListed = 4096;  // items; NumPy does not need much longer for more

enum class Kind { none, truth, whole, real };

struct Shape {
  int64_t lengths[kMaxDims];
  int ndim = 0;
};

bool is_list(PyObject* o) { return PyList_CheckExact(o) || PyTuple_CheckExact(o); }

// The lengths of nested lists, as their first items have them.
bool read_shape(PyObject* list, Shape& shape) {
  int64_t size = 1;
  for (PyObject* at = list; is_list(at); at = PySequence_Fast_GET_ITEM(at, 0)) {
    const int64_t n = PySequence_Fast_GET_SIZE(at);
    if (shape.ndim == kMaxDims || n == 0 || (size *= n) > kMostListed) return false;
    shape.lengths[shape.ndim++] = n;
  }
  return true;
}

// f(item) for each number, in order, as long as it is true; false where lists differ in length.
template <class F> bool each_item(PyObject* list, const Shape& shape, int axis, F&& f) {
  if (!is_list(list) || PySequence_Fast_GET_SIZE(list) != shape.lengths[axis]) return false;
  PyObject** items = PySequence_Fast_ITEMS(list);
  for (int64_t k = 0; k < shape.lengths[axis]; ++k)
    if (!(axis + 1 < shape.ndim ? each_item(items[k], shape, axis + 1, f) : f(items[k]))) return false;
  return true;
}

Kind kind_of(PyObject* item) {
  if (PyFloat_CheckExact(item)) return Kind::real;
  if (PyLong_CheckExact(item)) return Kind::whole;
  return PyBool_Check(item) ? Kind::truth : Kind::none;
}

// float64 holds it.
bool is_real(PyObject* item, double* value) {
  if (PyFloat_CheckExact(item)) {
    *value = PyFloat_AS_DOUBLE(item);
    return true;
  }
  int beyond;
  const long long i = PyLong_AsLongLongAndOverflow(item, &beyond);
  *value = static_cast<double>(i);
  return !beyond && i >= -(1LL << 53) && i <= 1LL << 53;
}

bool fill(Tensor* t, PyObject* list, const Shape& shape, Kind kind) {
  const Array& a = t->array;
  int64_t at = 0;
  if (kind == Kind::truth) {
    return each_item(list, shape, 0, [&](PyObject* item) {
      a.as<uint8_t>()[at++] = item == Py_True;
      return true;
    });
  }
  if (kind == Kind::whole) {
    return each_item(list, shape, 0, [&](PyObject* item) {
      int beyond;
      a.as<int64_t>()[at++] = PyLong_AsLongLongAndOverflow(item, &beyond);
      return !beyond;
    });
  }
  return each_item(list, shape, 0, [&](PyObject* item) {
    double value;
    if (!is_real(item, &value)) return false;
    if (a.dtype == DType::float64) {
      a.as<double>()[at++] = value;
      return true;
    }
    const float rounded = static_cast<float>(value);
    a.as<float>()[at++] = rounded;
    return std::isfinite(rounded) || !std::isfinite(value);
  });
}

constexpr Py_ssize_t kMostCopied = 1 << 16;  // bytes

// By a format of the buffer protocol, of native bytes.
bool dtype_of(const char* format, DType* dtype) {
  static constexpr struct {
    char letter;
    DType dtype;
  } known[] = {{'f', DType::float32}, {'d', DType::float64}, {'l', DType::int64}, {'q', DType::int64},
               {'i', DType::int32},   {'?', DType::bool_},   {'h', DType::int16}, {'b', DType::int8},
               {'B', DType::uint8},   {'e', DType::float16}};
  if (!format || !format[0] || format[1]) return false;
  for (const auto& one : known) {
    if (one.letter != format[0]) continue;
    *dtype = one.dtype;
    return true;
  }
  return false;
}

}  // namespace

Tensor* copied_array(PyObject* array) {
  Py_buffer view;
  if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
    PyErr_Clear();
    return nullptr;
  }
  DType dtype;
  int64_t shape[kMaxDims];
  Tensor* t = nullptr;
  if (view.ndim <= kMaxDims && view.len <= kMostCopied && dtype_of(view.format, &dtype)) {
    std::copy(view.shape, view.shape + view.ndim, shape);
    t = new_tensor(shape, view.ndim, dtype);
    const auto* from = static_cast<const uint8_t*>(view.buf);
    if (t && dtype == DType::bool_) {  // of other bytes than 0 and 1, too
      std::transform(from, from + view.len, t->array.as<uint8_t>(), [](uint8_t b) { return b != 0; });
    } else if (t) {
      std::memcpy(t->array.data, from, static_cast<size_t>(view.len));
    }
  }
  PyBuffer_Release(&view);
  return t;
}

Tensor* listed(PyObject* list, DType floats) {
  Shape shape;
  Kind kind = Kind::none;
  if (!is_list(list) || !read_shape(list, shape) || (floats != DType::float32 && floats != DType::float64)) return nullptr;
  const bool known = each_item(list, shape, 0, [&](PyObject* item) {
    const Kind own = kind_of(item);
    const bool mixed = kind != Kind::none && kind != own;
    if (own == Kind::none || (mixed && (own == Kind::truth || kind == Kind::truth))) return false;
    kind = mixed ? Kind::real : own;
    return true;
  });
  if (!known) return nullptr;
  const DType dtype = kind == Kind::truth ? DType::bool_ : kind == Kind::whole ? DType::int64 : floats;
  TensorRef t = TensorRef::own(new_tensor(shape.lengths, shape.ndim, dtype));
  return t && fill(t.get(), list, shape, kind) ? t.release() : nullptr;
}

}  // namespace dlcore
