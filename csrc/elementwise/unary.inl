// Functions of one operand: neg, abs, sign, square, reciprocal, exp, expm1, log, log1p, sqrt, rsqrt, sin, cos.
//
// The roots and simple ones are bound by memory, the rest by arithmetic; errors are those of core/math.inl.
#include "core/pointwise.inl"

struct Neg {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(wrap_t<T>(0) - wrap_t<T>(x));
    else return -x;
  }
};
struct Abs {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const {
    if constexpr (!std::is_integral_v<T>) return abs_(x);
    else return x < 0 ? static_cast<T>(wrap_t<T>(0) - wrap_t<T>(x)) : x;
  }
};
struct Sign {  // of NaN: NaN
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>((x > 0) - (x < 0));
    else return x > T(0) ? T(1) : x < T(0) ? T(-1) : x == T(0) ? T(0) : x;
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
};
struct Expm1 {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return expm1_(x); }
};
struct Log {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return log_(x); }
};
struct Log1p {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> T operator()(T x) const { return log1p_(x); }
};
struct Sin {
  static constexpr int64_t kGrain = 1 << 11;
  template <class T> T operator()(T x) const { return std::sin(x); }
};
struct Cos {
  static constexpr int64_t kGrain = 1 << 11;
  template <class T> T operator()(T x) const { return std::cos(x); }
};

template <class F> static void number_kernel(const Args& a) {
  with_number(a.in(0).dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    pointwise<F, T, T>(a.out(), a.in(0));
  });
}
template <class F> static void kernel(const Args& a) {
  with_float(a.in(0).dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    pointwise<F, T, T>(a.out(), a.in(0));
  });
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
    {"elementwise:sin", kernel<Sin>, 0},
    {"elementwise:cos", kernel<Cos>, 0},
};
