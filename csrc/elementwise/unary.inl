// Functions of one operand: neg, abs, sign, square, reciprocal, exp, expm1, log, log1p, sqrt, rsqrt, sin, cos.
//
// The roots and simple ones are bound by memory, the rest by arithmetic; errors are those of common/math.inl.
#include "common/angles.inl"
#include "elementwise/lookup.inl"

struct Neg {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(wrap_t<T>(0) - wrap_t<T>(x));
    else return -x;
  }
};
struct Abs {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T x) const {
    if constexpr (!std::is_integral_v<T>) return abs_(x);
    else return x < 0 ? static_cast<T>(wrap_t<T>(0) - wrap_t<T>(x)) : x;
  }
};
struct Sign {  // of NaN: NaN
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>((x > 0) - (x < 0));
    else return __builtin_islessgreater(x, T(0)) ? copysign_(T(1), x) : x + T(0);  // of a zero +0, of NaN itself
  }
};
struct Square {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const { return static_cast<T>(wrap_t<T>(x) * wrap_t<T>(x)); }
};
struct Reciprocal {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const { return T(1) / x; }
};
struct Sqrt {
  static constexpr int64_t kGrain = 1 << 16;
  float operator()(float x) const { return __builtin_sqrtf(x); }
  double operator()(double x) const { return __builtin_sqrt(x); }
};
struct Rsqrt {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return T(1) / Sqrt{}(x); }
};
struct Exp {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return exp_(x); }
#if DLCORE_ISA == 4
  static vec<float> vector(vec<float> x) { return exp_vector(x); }
  static vec<double> vector(vec<double> x) { return vexp(x); }
#endif
};
struct Expm1 {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return expm1_(x); }
};
struct Log {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return log_(x); }
#if DLCORE_ISA == 4
  template <class V> static V vector(V x) { return vlog<BaseE>(x); }
#endif
};
struct Log1p {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return log1p_(x); }
};

// ---- sine and cosine ----------------------------------------------------------------------------------------------

// sin(x + quarter pi / 2): of floats 1.6 ulp, beyond kShortLimit 0.6 ulp.
template <int quarter> struct Sin {
  static inline __attribute__((always_inline)) float shortly(float x) {
    float rounded, low;
    const float r = reduce_short(x, rounded, low), z = r * r;
    const float s = fma_(r * z, poly(z, -0.16666655f, 0.008332189f, -0.0001951829f), low) + r;
    const float c = fma_(z * z, poly(z, 0.041666646f, -0.001388731f, 2.4432327e-05f), fma_(z, -0.5f, 1.0f));
    const uint32_t k = bits_of(rounded) + quarter;
    const float value = (k & 1) ? c : s, y = of_bits<float>(bits_of(value) ^ ((k & 2) << 30));
    return !quarter && x == 0.0f ? x : y;
  }
  DLCORE_MATH T near(T x) {
    double s, c;
    const uint64_t k = reduce_near(x, s, c) + quarter;
    const double value = (k & 1) ? c : s;
    const auto y = static_cast<T>(of_bits<double>(bits_of(value) ^ ((k & 2) << 62)));
    return !quarter && x == T(0) ? x : y;
  }
  template <class T> static T far(T x) { return quarter ? std::cos(x) : std::sin(x); }
};
template <int quarter, class S> static void sin_loop(int64_t n, void* out, const void* const* in) {
  by_size<Sin<quarter>>(n, static_cast<S*>(out), static_cast<const S*>(in[0]));
}
template <int quarter> static void sin_kernel(const Args& a) {
  const Array* const arrays[] = {&a.out(), &a.in(0)};
  with_float(a.in(0).dtype, [&]<class T>() { run_pointwise(sin_loop<quarter, T>, 1 << 13, arrays, 2); });
}

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void number_kernel(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}
template <class F> static void kernel(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}

static const Kernel kernels[] = {
    {"elementwise:neg", number_kernel<Neg>, 0},
    {"elementwise:abs", number_kernel<Abs>, 0},
    {"elementwise:sign", number_kernel<Sign>, 0},
    {"elementwise:square", number_kernel<Square>, 0},
    {"elementwise:reciprocal", kernel<Reciprocal>, 0},
    {"elementwise:exp", kernel<Exp>, 0},
    {"elementwise:expm1", kernel<Expm1>, 0},
    {"elementwise:log", kernel<Log>, 0},
    {"elementwise:log1p", kernel<Log1p>, 0},
    {"elementwise:sqrt", kernel<Sqrt>, 0},
    {"elementwise:rsqrt", kernel<Rsqrt>, 0},
    {"elementwise:sin", sin_kernel<0>, 0},
    {"elementwise:cos", sin_kernel<1>, 0},
};
