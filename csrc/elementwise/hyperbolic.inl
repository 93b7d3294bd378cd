// tan, sinh, cosh, asinh, acosh, atanh. Bound by arithmetic; errors stand at each function.
#include "common/angles.inl"

// ---- tangent ------------------------------------------------------------------------------------------------------

// Of floats 2.7 ulp, beyond kShortLimit 0.6 ulp; of doubles 1.8 ulp. Beyond kNearLimit the C library's.
struct Tan {
  static inline __attribute__((always_inline)) float shortly(float x) {
    float rounded, low;
    const float r = reduce_short(x, rounded, low), z = r * r;
    const float t = fma_(r * z, poly(z, 0.33333156f, 0.13338836f, 0.0534082f, 0.024441391f, 0.0031014823f,
                                     0.009396526f), low) + r;
    const float y = (bits_of(rounded) & 1) ? -1.0f / t : t;
    return x == 0.0f ? x : y;
  }
  static inline __attribute__((always_inline)) float near(float x) {  // sin(x) / cos(x)
    double s, c;
    const bool odd = reduce_near(x, s, c) & 1;
    const auto y = static_cast<float>((odd ? -c : s) / (odd ? s : c));
    return x == 0.0f ? x : y;
  }
  // A quotient of polynomials, to 2^-65. What the reduction and the denominator lack is put into the numerator, by the
  // slope and the tangent, which need not be known closely.
  static inline __attribute__((always_inline)) double near(double x) {
    double rounded, low;
    const double r = reduce_double(x, rounded, low), z = r * r;
    const double q = poly(z, -0.4667162138439952, 0.025663550546684046, -0.00031180274813002795, 4.98133502930391e-07);
    const double d = fma_(z, q, 1.0), d_low = fma_(z, q, 1.0 - d);
    const double more = fma_(-d_low * r, fma_(z, 0.44, 1.0), low * fma_(z, 0.66, 1.0));
    const double p = poly(z, -0.13338288051066188, 0.0034248125986855965, -1.786044351338188e-05);
    const double n = fma_(r * z, p, more) + r;
    const bool odd = bits_of(rounded) & 1;
    const double y = (odd ? -d : n) / (odd ? n : d);
    return x == 0.0 ? x : y;
  }
  template <class T> static T far(T x) { return std::tan(x); }
};
template <class S> static void tan_loop(int64_t n, void* out, const void* const* in) {
  by_size<Tan>(n, static_cast<S*>(out), static_cast<const S*>(in[0]));
}
static void tan(const Args& a) {
  const Array* const arrays[] = {&a.out(), &a.in(0)};
  with_float(a.in(0).dtype, [&]<class T>() { run_pointwise(tan_loop<T>, 1 << 13, arrays, 2); });
}

// ---- hyperbolic functions -----------------------------------------------------------------------------------------

// (e^a - 1) / 4 for a >= 0: it is finite as long as sinh(a) is.
DLCORE_MATH T quarter_expm1(T a) {
  T rounded;
  constexpr T most = sizeof(T) == 4 ? T(89.6) : T(710.7);  // where sinh is infinite, and the power is not yet
  const T r = reduce_exp(at_most(a, most), rounded), quarter = power_of_two(rounded - T(2));
  return fma_(quarter, expm1_reduced(r), quarter - T(0.25));
}
struct Sinh {  // 3 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), u = quarter_expm1(a), y = T(2) * u + u / fma_(u, T(2), T(0.5));
    return a < T(8) * Real<T>::kSmallest ? x : copysign_(y, x);
  }
};
struct Cosh {  // 2 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T u = quarter_expm1(abs_(x));
    return fma_(u, T(2), T(0.5)) + T(0.5) / fma_(u, T(4), T(1));
  }
};

// ---- their inverses -----------------------------------------------------------------------------------------------

// All are logarithms, log(t) = n ln 2 + 2 atanh(s) with s = (t - 2^n) / (t + 2^n): one quotient and a short series.

// atanh(s) - s for |s| <= 1/4.
DLCORE_MATH T atanh_rest(T s) {
  const T z = s * s;
  if constexpr (sizeof(T) == 4)
    return s * z * poly(z, 0.33333322f, 0.20001705f, 0.14204119f, 0.12623483f);
  else
    return s * z * poly(z, 0.3333333333333336, 0.19999999999983575, 0.14285714289298326, 0.11111110728093444,
                        0.0909093220404504, 0.0769146787777018, 0.0668536341817749, 0.05634265073235584,
                        0.0703276317673708);
}
// n, for p = 2^n.
DLCORE_MATH T exponent_of(typename Real<T>::Bits p) {
  using R = Real<T>;
  return of_bits<T>(bits_of(R::kInteger) | (p >> R::kMantissa)) - (R::kInteger + static_cast<T>(R::kBias));
}
// The power of 2 nearest to t > 0, by their quotient: it is in [sqrt(1/2), sqrt(2)). Its bits.
DLCORE_MATH typename Real<T>::Bits nearest_power(T t) {
  using R = Real<T>;
  constexpr auto mask = (typename R::Bits(1) << R::kMantissa) - 1;
  return (bits_of(t) - R::kSqrtHalf + (R::kBias << R::kMantissa)) & ~mask;
}
// n ln 2 + 2 atanh(s).
DLCORE_MATH T log_of(T s, T n) {
  const T r = atanh_rest(s);
  return fma_(n, Real<T>::kLn2High, fma_(n, Real<T>::kLn2Low, r + r) + (s + s));
}

// log(a + b), where a is sinh(y) and b cosh(y), or the other way round: near 1 it is 2 atanh(sinh(y) / (1 + cosh(y))).
DLCORE_MATH T log_of_sum(T a, T b, T sinh, T cosh) {
  const T q = fma_(T(0.25), a, T(0.25) * b);  // a + b may be too large
  const auto p = nearest_power(q);
  const bool near = q < T(0.4166667);
  const T w = of_bits<T>(p), n = near ? T(0) : exponent_of<T>(p) + T(2);
  const T s = (near ? sinh : q - w) / (near ? T(1) + cosh : q + w), y = log_of(s, n);
  return a < std::numeric_limits<T>::infinity() ? y : a;
}

template <class T> constexpr T kFarAway = sizeof(T) == 4 ? T(0x1p26) : T(0x1p55);  // x^2 + 1 is x^2
struct Asinh {  // 3 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), root = a > kFarAway<T> ? a : std::sqrt(fma_(a, a, T(1)));
    return copysign_(log_of_sum(a, root, a, root), x);
  }
};
struct Acosh {  // NaN below 1: 3.5 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T d = x - T(1), root = x > kFarAway<T> ? x : std::sqrt(fma_(d, d, d + d));
    const T y = log_of_sum(x, root, root, x);
    return x < T(1) ? std::numeric_limits<T>::quiet_NaN() : y;
  }
};
// log(u / v) / 2 for u = 1 + a, v = 1 - a; NaN beyond 1: 3 ulp. The sums u - p v and u + p v are made of a, lest they
// have the errors of u and v; where p is large v is exact.
struct Atanh {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    using R = Real<T>;
    constexpr auto mask = (typename R::Bits(1) << R::kMantissa) - 1;
    const T a = abs_(x), u = T(1) + a, v = T(1) - a;
    const auto b = (bits_of(u) - bits_of(v) + (R::kBias << R::kMantissa) + (mask >> 1)) & ~mask;  // near u / v
    const T p = of_bits<T>(b), n = exponent_of<T>(b);
    const bool far = p > T(1 << 20);
    const T over = far ? fma_(-v, p, T(1)) : fma_(a, p, T(1) - p);
    const T s = (over + a) / (far ? fma_(p, v, u) : fma_(a, T(1) - p, T(1) + p)), r = atanh_rest(s);
    const T y = fma_(n, T(0.5) * R::kLn2High, fma_(n, T(0.5) * R::kLn2Low, r) + s);
    const T limit = a == T(1) ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::quiet_NaN();
    return copysign_(a < T(1) ? y : limit, x);
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void kernel(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}

static const Kernel kernels[] = {
    {"elementwise:tan", tan, 0},
    {"elementwise:sinh", kernel<Sinh>, 0},
    {"elementwise:cosh", kernel<Cosh>, 0},
    {"elementwise:asinh", kernel<Asinh>, 0},
    {"elementwise:acosh", kernel<Acosh>, 0},
    {"elementwise:atanh", kernel<Atanh>, 0},
};
