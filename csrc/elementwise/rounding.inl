// Rounding, signs and limits: floor, ceil, trunc, round, clip, copysign, isinf, isposinf, isneginf, signbit. Bound by
// memory.
#include "common/pointwise.inl"

// Integers are whole already. Zeros keep their sign, and so do numbers that are rounded to zero.
struct Floor {
  static constexpr int64_t kGrain = 1 << 16;
  DLCORE_MAP float operator()(float x) const { return __builtin_floorf(x); }
  DLCORE_MAP double operator()(double x) const { return __builtin_floor(x); }
};
struct Ceil {
  static constexpr int64_t kGrain = 1 << 16;
  DLCORE_MAP float operator()(float x) const { return __builtin_ceilf(x); }
  DLCORE_MAP double operator()(double x) const { return __builtin_ceil(x); }
};
struct Trunc {
  static constexpr int64_t kGrain = 1 << 16;
  DLCORE_MAP float operator()(float x) const { return __builtin_truncf(x); }
  DLCORE_MAP double operator()(double x) const { return __builtin_trunc(x); }
};
struct RoundEven {
  static constexpr int64_t kGrain = 1 << 16;
  DLCORE_MAP float operator()(float x) const { return __builtin_rintf(x); }
  DLCORE_MAP double operator()(double x) const { return __builtin_rint(x); }
};
struct Same {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x) const { return x; }
};

struct RoundLargest {  // to a multiple of 10^19, which no int64 holds: 0, or what wraps
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x) const {
    constexpr int64_t half = 5'000'000'000'000'000'000;
    const uint64_t up = int64_t(x) > half, down = int64_t(x) < -half;
    return static_cast<T>((up - down) * 10'000'000'000'000'000'000u);
  }
};
struct Nothing {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T) const { return 0; }
};

// To a number of digits: in double, so that a float is rounded as its digits say. Behind 2^52 units there are none.
struct RoundDigits {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x, double power) const {
    const double scaled = x * power;
    return abs_(scaled) < Real<double>::kInteger ? static_cast<T>(__builtin_rint(scaled) / power) : x;
  }
};
struct RoundTens {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x, double power) const {
    return abs_(x) < std::numeric_limits<T>::infinity() ? static_cast<T>(__builtin_rint(x / power) * power) : x;
  }
};
struct RoundInteger {  // to the nearest multiple of a power of ten, at ties to an even one; it may wrap
  static constexpr int64_t kGrain = 1 << 12;
  template <class T> DLCORE_MAP T operator()(T x, int64_t power) const {
    using Wide = std::conditional_t<std::is_same_v<T, uint64_t>, uint64_t, int64_t>;
    const Wide unit = static_cast<Wide>(power), wide = x, quotient = wide / unit, rest = wide % unit;
    const Wide twice = 2 * (rest < 0 ? -rest : rest), up = (twice > unit) | ((twice == unit) & (quotient & 1));
    return static_cast<T>(static_cast<uint64_t>(quotient + (rest < 0 ? -up : up)) * static_cast<uint64_t>(power));
  }
};

struct CopySign {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> DLCORE_MAP T operator()(T a, T b) const { return copysign_(a, b); }
};
struct IsInf {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP bool operator()(T x) const { return abs_(x) == std::numeric_limits<T>::infinity(); }
};
struct IsPosInf {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP bool operator()(T x) const { return x == std::numeric_limits<T>::infinity(); }
};
struct IsNegInf {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP bool operator()(T x) const { return x == -std::numeric_limits<T>::infinity(); }
};
struct SignBit {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP bool operator()(T x) const { return bits_of(x) >> (8 * sizeof(T) - 1); }
};

// A NaN in any operand is the result; x is where it equals a limit. Selections of numbers: logic on bools would become
// branches.
struct AtLeast {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> DLCORE_MAP T operator()(T x, T low) const {
    const T y = x < low ? low : x;
    return low != low ? low : y;
  }
};
struct AtMost {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> DLCORE_MAP T operator()(T x, T high) const {
    const T y = x > high ? high : x;
    return high != high ? high : y;
  }
};
struct Clip {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> DLCORE_MAP T operator()(T x, T low, T high) const { return AtMost{}(AtLeast{}(x, low), high); }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void rounding(const Args& a) {
  if (!is_float(a.in(0).dtype))
    return with_bits(a.in(0).dtype, [&]<class T>() { pointwise<Same, T, T>(a.out(), a.in(0)); });
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}

template <class T> static Array number_array(const T& value, DType dtype) {
  Array array;
  array.data = const_cast<T*>(&value);
  array.dtype = dtype;
  return array;
}

static void round_digits(const Args& a) {
  const int64_t digits = a.integer(0), size = digits < 0 ? -digits : digits;
  if (is_float(a.in(0).dtype)) {
    const double power = std::pow(10.0, static_cast<double>(size < 308 || digits > 0 ? size : 308));
    const Array factor = number_array(power, DType::float64);
    return with_float(a.in(0).dtype, [&]<class T>() {
      if (digits < 0) pointwise<RoundTens, T, T, double>(a.out(), a.in(0), factor);
      else pointwise<RoundDigits, T, T, double>(a.out(), a.in(0), factor);
    });
  }
  int64_t power = 1;
  for (int64_t k = 0; k < size && k < 18; ++k) power *= 10;
  const Array factor = number_array(power, DType::int64);
  with_integer(a.in(0).dtype, [&]<class T>() {
    if (digits >= 0) pointwise<Same, T, T>(a.out(), a.in(0));
    else if (size == 19) pointwise<RoundLargest, T, T>(a.out(), a.in(0));
    else if (size > 19) pointwise<Nothing, T, T>(a.out(), a.in(0));
    else pointwise<RoundInteger, T, T, int64_t>(a.out(), a.in(0), factor);
  });
}

template <class F> static void test(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, bool, T>(a.out(), a.in(0)); });
}
static void copysign(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<CopySign, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
// Between two numbers, dense: an instruction each, without the blocks in which they would stand again and again.
template <class T> static void clip_dense(const Array& x, const Array& out, T low, T high) {
  const T* in = x.as<const T>();
  T* to = out.as<T>();
  const auto run = [=](int64_t begin, int64_t end) {
    const T least = low, most = high;  // the closure's own could be what `to` points to
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const T y = least > in[i] ? least : in[i];
      to[i] = most < y ? most : y;
    }
  };
  if (out.size() <= Clip::kGrain) run(0, out.size());
  else parallel_ranges(out.size(), Clip::kGrain, run);
}
static bool is_number(const Array& a) {  // and not NaN
  if (!a || a.size() != 1) return false;
  return a.dtype == DType::float32   ? *a.as<const float>() == *a.as<const float>()
         : a.dtype == DType::float64 ? *a.as<const double>() == *a.as<const double>()
                                     : true;
}

static void clip(const Args& a) {
  const bool wide = a.in(0).dtype != DType::float16 && a.in(0).dtype != DType::bfloat16;
  if (wide && is_number(a.in(1)) && is_number(a.in(2)) && a.out().contiguous() && same_layout(a.in(0), a.out())) {
    return with_dtype(a.in(0).dtype, [&]<class T>() {
      if constexpr (std::is_same_v<T, compute_t<T>>)
        clip_dense<T>(a.in(0), a.out(), *a.in(1).as<const T>(), *a.in(2).as<const T>());
    });
  }
  with_dtype(a.in(0).dtype, [&]<class T>() {
    if (!a.in(1) && !a.in(2)) pointwise<Same, T, T>(a.out(), a.in(0));
    else if (!a.in(2)) pointwise<AtLeast, T, T, T>(a.out(), a.in(0), a.in(1));
    else if (!a.in(1)) pointwise<AtMost, T, T, T>(a.out(), a.in(0), a.in(2));
    else pointwise<Clip, T, T, T, T>(a.out(), a.in(0), a.in(1), a.in(2));
  });
}

static const Kernel kernels[] = {
    {"elementwise:floor", rounding<Floor>, 0},
    {"elementwise:ceil", rounding<Ceil>, 0},
    {"elementwise:trunc", rounding<Trunc>, 0},
    {"elementwise:round", rounding<RoundEven>, 0},
    {"elementwise:round_digits", round_digits, 0},
    {"elementwise:copysign", copysign, 0},
    {"elementwise:isinf", test<IsInf>, 0},
    {"elementwise:isposinf", test<IsPosInf>, 0},
    {"elementwise:isneginf", test<IsNegInf>, 0},
    {"elementwise:signbit", test<SignBit>, 0},
    {"elementwise:clip", clip, 0},
};
