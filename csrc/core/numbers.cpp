// Python numbers as elements of a dtype: rounded once, whatever their size; integers are refused where they do not fit.
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/ref.h"
#include "core/tensor.h"

namespace dlcore::v1 {
#define DLCORE_ISA 1
#include "common/simd.inl"
#undef DLCORE_ISA
}  // namespace dlcore::v1

namespace dlcore {

// As Python writes it; of integers of more than 512 bits only how long they are.
static Ref number_text(const Tensor* t) {
  const Ref value = Ref::own(t->large                             ? Py_NewRef(t->large)
                             : t->array.dtype == DType::float64 ? PyFloat_FromDouble(t->immediate.f)
                                                                : PyLong_FromLongLong(t->immediate.i));
  const Ref bits = value && t->large ? Ref::own(PyObject_CallMethod(t->large, "bit_length", nullptr)) : Ref();
  const bool long_one = bits && PyLong_AsLongLong(bits.get()) > 512;
  if (long_one) return Ref::own(PyUnicode_FromFormat("of %S bits", bits.get()));
  return value && !PyErr_Occurred() ? Ref::own(PyObject_Repr(value.get())) : Ref();
}

static bool does_not_fit(const Tensor* t, DType dtype, const char* operation) {
  const Ref text = number_text(t);
  const Ref range = text ? attribute(dtype_object(dtype), "range") : Ref();
  if (range) {
    PyErr_Format(PyExc_OverflowError, "%s: Python %s %U does not fit in %s (%S)", operation,
                 t->array.dtype == DType::float64 ? "float" : "integer", text.get(),
                 kDTypeName[static_cast<int>(dtype)], range.get());
  }
  return false;
}

// An integer beyond int64 as m 2^exponent, m of 62 bits, the last of which is set where anything was cut off: so m
// rounds to a float as the integer does.
static bool split_integer(PyObject* number, int64_t* m, int* exponent) {
  const Ref length = Ref::own(PyObject_CallMethod(number, "bit_length", nullptr));
  const Ref shift = length ? Ref::own(PyLong_FromLongLong(PyLong_AsLongLong(length.get()) - 62)) : Ref();
  const Ref top = shift ? Ref::own(PyNumber_Rshift(number, shift.get())) : Ref();
  const Ref back = top ? Ref::own(PyNumber_Lshift(top.get(), shift.get())) : Ref();
  const int exact = back ? PyObject_RichCompareBool(back.get(), number, Py_EQ) : -1;
  if (exact < 0) return false;
  const long long bits = PyLong_AsLongLong(shift.get());
  *m = PyLong_AsLongLong(top.get()) | !exact;
  *exponent = bits < 4096 ? static_cast<int>(bits) : 4096;
  return true;
}

template <class T> static T to_integer_or(T fallback, double f, bool* fits) {  // truncated
  const double whole = std::trunc(f);
  *fits = whole >= static_cast<double>(std::numeric_limits<T>::min()) &&
          whole < static_cast<double>(std::numeric_limits<T>::max() / 2 + 1) * 2;
  return *fits ? static_cast<T>(whole) : fallback;
}

template <class T> static bool store_integer(const Tensor* t, T* out) {
  bool fits;
  if (t->array.dtype == DType::float64) {
    *out = to_integer_or<T>(0, t->immediate.f, &fits);
  } else if (t->large) {
    fits = false;
    if constexpr (std::is_same_v<T, uint64_t>) {  // the only type that holds more than int64 does
      const unsigned long long value = PyLong_AsUnsignedLongLong(t->large);
      fits = !PyErr_Occurred();
      PyErr_Clear();  // negative or too large
      *out = value;
    }
  } else {
    const int64_t i = t->immediate.i;
    fits = std::in_range<T>(i);
    *out = static_cast<T>(i);
  }
  return fits;
}

// x: the number, or the m of m 2^exponent. What lies beyond the range becomes infinite, as in arithmetic; an integer fits
// where Python has a float for it.
template <class X> static bool store_float(X x, int exponent, DType dtype, void* out) {
  const auto scaled = [&](auto m) { return exponent ? std::ldexp(m, exponent) : m; };
  switch (dtype) {
    case DType::float16: *static_cast<half_t*>(out) = v1::to_half(scaled(v1::round_to_odd(x))); break;
    case DType::bfloat16: *static_cast<bfloat16_t*>(out) = v1::to_bfloat16(scaled(v1::round_to_odd(x))); break;
    case DType::float32: *static_cast<float*>(out) = scaled(static_cast<float>(x)); break;
    default: *static_cast<double*>(out) = scaled(static_cast<double>(x));
  }
  return !std::is_integral_v<X> || std::isfinite(scaled(static_cast<double>(x)));
}

static bool store_number(const Tensor* t, DType dtype, void* out, bool* fits) {
  int64_t m = t->immediate.i;
  int exponent = 0;
  switch (dtype) {
    case DType::bool_:
      *fits = true;
      *static_cast<uint8_t*>(out) = t->large || (t->array.dtype == DType::float64 ? t->immediate.f != 0 : m != 0);
      return true;
    case DType::uint8: *fits = store_integer(t, static_cast<uint8_t*>(out)); return true;
    case DType::uint16: *fits = store_integer(t, static_cast<uint16_t*>(out)); return true;
    case DType::uint32: *fits = store_integer(t, static_cast<uint32_t*>(out)); return true;
    case DType::uint64: *fits = store_integer(t, static_cast<uint64_t*>(out)); return true;
    case DType::int8: *fits = store_integer(t, static_cast<int8_t*>(out)); return true;
    case DType::int16: *fits = store_integer(t, static_cast<int16_t*>(out)); return true;
    case DType::int32: *fits = store_integer(t, static_cast<int32_t*>(out)); return true;
    case DType::int64: *fits = store_integer(t, static_cast<int64_t*>(out)); return true;
    default: break;
  }
  if (t->array.dtype == DType::float64) {
    *fits = store_float(t->immediate.f, 0, dtype, out);
    return true;
  }
  if (t->large && !split_integer(t->large, &m, &exponent)) return false;
  *fits = store_float(m, exponent, dtype, out);
  return true;
}

bool store_immediate(const Tensor* t, DType dtype, void* out, const char* operation) {
  bool fits;
  return store_number(t, dtype, out, &fits) && (fits || does_not_fit(t, dtype, operation));
}

}  // namespace dlcore
