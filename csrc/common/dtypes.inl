// From a dtype, known when a kernel runs, to a type, known when it is compiled: each function calls
// f.template operator()<T>() for the type T in which elements are stored.
//
//   with_float(a.in(0).dtype, [&]<class T>() { pointwise<Exp, T, T>(a.out(), a.in(0)); });
#ifndef DLCORE_COMMON_DTYPES
#define DLCORE_COMMON_DTYPES

template <class F> static inline void with_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float16: return f.template operator()<half_t>();
    case DType::bfloat16: return f.template operator()<bfloat16_t>();
    case DType::float32: return f.template operator()<float>();
    default: return f.template operator()<double>();
  }
}

// Booleans are bytes that hold 0 or 1.
template <class F> static inline void with_integer(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bool_:
    case DType::uint8: return f.template operator()<uint8_t>();
    case DType::uint16: return f.template operator()<uint16_t>();
    case DType::uint32: return f.template operator()<uint32_t>();
    case DType::uint64: return f.template operator()<uint64_t>();
    case DType::int8: return f.template operator()<int8_t>();
    case DType::int16: return f.template operator()<int16_t>();
    case DType::int32: return f.template operator()<int32_t>();
    default: return f.template operator()<int64_t>();
  }
}

template <class F> static inline void with_dtype(DType dtype, F&& f) {
  if (is_float(dtype)) with_float(dtype, f);
  else with_integer(dtype, f);
}

// An unsigned integer as wide as an element: for kernels that move elements without looking at them.
template <class F> static inline void with_bits(DType dtype, F&& f) {
  switch (item_size(dtype)) {
    case 1: return f.template operator()<uint8_t>();
    case 2: return f.template operator()<uint16_t>();
    case 4: return f.template operator()<uint32_t>();
    default: return f.template operator()<uint64_t>();
  }
}

// Integers overflow by wrapping: arithmetic is done on unsigned numbers, of at least 32 bits so that none is promoted
// to a signed int.
template <class T, bool = std::is_integral_v<T>> struct WrapOf { using type = T; };
template <class T> struct WrapOf<T, true> { using type = std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>; };
template <class T> using wrap_t = typename WrapOf<T>::type;

#endif  // DLCORE_COMMON_DTYPES
