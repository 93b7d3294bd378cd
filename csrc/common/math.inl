// Elementary functions of float and double, branch-free so that a loop over them becomes vector code in every
// instruction set.
//
// Errors, in units of the last place, are stated at each function and hold over the whole range: NaN gives NaN,
// infinities give the limit, results below the normal range are rounded gradually (gelu's tails become 0 there).
// Polynomials are minimax fits (Remez, weighted for relative error); reductions subtract multiples of ln 2 held in two
// parts, the first short enough for exact products, so that they need no fused multiply-add.
#ifndef DLCORE_COMMON_MATH
#define DLCORE_COMMON_MATH
#include "common/simd.inl"

#define DLCORE_MATH template <class T> static inline __attribute__((always_inline))

template <class T> struct Real;
template <> struct Real<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr Bits kBias = 127, kSqrtHalf = 0x3f3504f3;
  static constexpr float kRound = 0x1.8p23f;   // x + kRound: x rounded to an integer, found in the low bits
  static constexpr float kRoundExponent = 0x1.8p23f + 127;  // the same with the exponent's bias on top
  static constexpr float kInteger = 0x1p23f;   // its bits | k are 2^23 + k
  static constexpr float kSmallest = 0x1p-126f, kExpMin = -104.0f, kExpMax = 89.0f;
  static constexpr float kLn2High = 0x1.63p-1f, kLn2Low = -0x1.bd0106p-13f;
  static constexpr float kOne = 10.0f;         // 1 - tanh(kOne) is far below half an ulp
  static constexpr float kTailErf = 13.2f;     // where exp(-x^2 / 2) leaves the normal range
  static constexpr float kTailTanh = 10.01f;   // where exp(-v) of gelu_tanh does
};
template <> struct Real<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr Bits kBias = 1023, kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kRound = 0x1.8p52;
  static constexpr double kRoundExponent = 0x1.8p52 + 1023;
  static constexpr double kInteger = 0x1p52;
  static constexpr double kSmallest = 0x1p-1022, kExpMin = -746.0, kExpMax = 710.0;
  static constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  static constexpr double kOne = 20.0;
  static constexpr double kTailErf = 37.6, kTailTanh = 21.14;
};

DLCORE_MATH typename Real<T>::Bits bits_of(T x) { return __builtin_bit_cast(typename Real<T>::Bits, x); }
DLCORE_MATH T of_bits(typename Real<T>::Bits b) { return __builtin_bit_cast(T, b); }
static inline __attribute__((always_inline)) float abs_(float x) { return __builtin_fabsf(x); }
static inline __attribute__((always_inline)) double abs_(double x) { return __builtin_fabs(x); }
DLCORE_MATH T copysign_(T magnitude, T sign) {
  const auto top = bits_of(T(-0.0));
  return of_bits<T>((bits_of(magnitude) & ~top) | (bits_of(sign) & top));
}
// NaN passes through, here and in every comparison below.
DLCORE_MATH T at_most(T x, T high) { return x > high ? high : x; }

// c0 + c1 x + c2 x^2 + ...
DLCORE_MATH T poly(T, T c0) { return c0; }
template <class T, class... C> static inline __attribute__((always_inline)) T poly(T x, T c0, C... rest) {
  return fma_(poly(x, static_cast<T>(rest)...), x, c0);
}

// x * y - product exactly, for product = x * y rounded.
DLCORE_MATH T product_error(T x, T y, T product) {
#if DLCORE_ISA >= 3
  return fma_(x, y, -product);
#else
  constexpr auto low_half = (typename Real<T>::Bits(1) << ((Real<T>::kMantissa + 2) / 2)) - 1;
  const T x_high = of_bits<T>(bits_of(x) & ~low_half), x_low = x - x_high;
  const T y_high = of_bits<T>(bits_of(y) & ~low_half), y_low = y - y_high;
  return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low;
#endif
}

// ---- exponentials -------------------------------------------------------------------------------------------------

// 2^n in the normal range, n given as n + kRoundExponent.
DLCORE_MATH T power_of_two(T rounded) { return of_bits<T>(bits_of(rounded) << Real<T>::kMantissa); }

// exp(r) - 1 for |r| <= ln(2) / 2.
DLCORE_MATH T expm1_reduced(T r) {
  if constexpr (sizeof(T) == 4)
    return fma_(r * r, poly(r, 0.5f, 0.16666542f, 0.041666277f, 0.008366642f, 0.001394671f), r);
  else
    return fma_(r * r, poly(r, 0.5000000000000006, 0.16666666666666685, 0.04166666666657295, 0.00833333333331445,
                            0.0013888888932615678, 0.00019841269903369735, 2.480150414517628e-05,
                            2.755722762571203e-06, 2.76264516753643e-07, 2.5114583997541123e-08), r);
}

// x - n ln 2, with n + kRoundExponent returned in `rounded`.
DLCORE_MATH T reduce_exp(T x, T& rounded) {
  rounded = fma_(x, T(1.4426950408889634), Real<T>::kRoundExponent);  // 1 / ln 2
  const T n = rounded - Real<T>::kRoundExponent;
  return fma_(n, -Real<T>::kLn2Low, fma_(n, -Real<T>::kLn2High, x));
}

// exp(r) 2^n. The power is applied as two factors: 2^n itself may lie above or below the normal range.
DLCORE_MATH T scale_exp(T r, T rounded) {
  constexpr T zero = Real<T>::kRoundExponent;
  const T n = rounded - zero, half = fma_(n, T(0.5), zero), rest = (n - (half - zero)) + zero;
  return (expm1_reduced(r) + T(1)) * power_of_two(half) * power_of_two(rest);
}

// exp(x): 1 ulp.
DLCORE_MATH T exp_(T x) {  // the limits are two independent selections: nested ones cost three more instructions
  const T low = x < Real<T>::kExpMin ? Real<T>::kExpMin : x;
  T rounded;
  const T r = reduce_exp(x > Real<T>::kExpMax ? Real<T>::kExpMax : low, rounded);
  return scale_exp(r, rounded);
}

// exp(x + low) as a normal number: -87.6 <= x <= 88 (-708 <= x <= 709), |low| <= ulp(x).
DLCORE_MATH T exp_normal(T x, T low) {
  T rounded;
  const T r = reduce_exp(x, rounded);
  return (expm1_reduced(r + low) + T(1)) * power_of_two(rounded);
}
DLCORE_MATH T exp_normal(T x) {
  T rounded;
  const T r = reduce_exp(x, rounded);
  return (expm1_reduced(r) + T(1)) * power_of_two(rounded);
}

// exp(x) - 1 where -4 kOne <= x <= kExpMax.
DLCORE_MATH T expm1_inside(T x) {
  T rounded;
  const T r = reduce_exp(x, rounded);
  const T half = power_of_two(rounded - T(1));  // half of 2^n, which may overflow alone
  return T(2) * fma_(half, expm1_reduced(r), half - T(0.5));
}

// exp(x) - 1, also near 0: 2 ulp. It has the sign of x, of zeros too.
DLCORE_MATH T expm1_(T x) {
  const T low = x < T(-4) * Real<T>::kOne ? T(-4) * Real<T>::kOne : x;
  const T y = expm1_inside(x > Real<T>::kExpMax ? Real<T>::kExpMax : low);
  return abs_(x) < T(2) * Real<T>::kSmallest ? x : copysign_(y, x);  // half of a subnormal number may lose a bit
}

// tanh(x): 2.5 ulp.
DLCORE_MATH T tanh_(T x) {
  const T e = expm1_inside(T(2) * at_most(abs_(x), Real<T>::kOne));  // of the positive side: there its error is damped
  return copysign_(e / (e + T(2)), x);
}

// 1 / (1 + exp(-x)): 2 ulp, in the lower tail too.
DLCORE_MATH T sigmoid_(T x) {
  T rounded;
  const T r = reduce_exp(-at_most(abs_(x), -Real<T>::kExpMin), rounded), e = scale_exp(r, rounded);
  return (x < T(0) ? e : T(1)) / (T(1) + e);
}

#if DLCORE_ISA == 4
// exp_ and sigmoid_ to the same bits with an instruction for p 2^n, which the compiler does not use by itself, and for
// the limits: the second operand is returned where it is NaN.
static inline __attribute__((always_inline)) vec<float> scaled_exp(vec<float> x) {
  using R = Real<float>;
  const vec<float> rounded = vfma(x, vset(1.4426950408889634f), vset(R::kRoundExponent));
  const vec<float> n = rounded - vset(R::kRoundExponent);
  const vec<float> r = vfma(n, vset(-R::kLn2Low), vfma(n, vset(-R::kLn2High), x));
  vec<float> q = vfma(vset(0.001394671f), r, vset(0.008366642f));
  q = vfma(vfma(vfma(q, r, vset(0.041666277f)), r, vset(0.16666542f)), r, vset(0.5f));
  return (vec<float>)_mm512_maskz_scalef_ps(0xffff, (__m512)(vfma(r * r, q, r) + vset(1.0f)), (__m512)n);
}
static inline __attribute__((always_inline)) vec<float> exp_vector(vec<float> x) {
  const __m512 low = _mm512_maskz_max_ps(0xffff, _mm512_set1_ps(Real<float>::kExpMin), (__m512)x);
  return scaled_exp((vec<float>)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(Real<float>::kExpMax), low));
}
static inline __attribute__((always_inline)) vec<float> sigmoid_vector(vec<float> x) {
  const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  const __m512 down = (__m512)((__m512i)x | sign);  // -|x|
  const vec<float> e = scaled_exp((vec<float>)_mm512_maskz_max_ps(0xffff, _mm512_set1_ps(Real<float>::kExpMin), down));
  return (x < vset(0.0f) ? e : vset(1.0f)) / (vset(1.0f) + e);
}
#endif

// ---- logarithms ---------------------------------------------------------------------------------------------------

// m in [sqrt(1/2), sqrt(2)) and e with x = m 2^e, for positive normal x.
DLCORE_MATH T split_exponent(T x, T& e) {
  using R = Real<T>;
  constexpr auto mask = (typename R::Bits(1) << R::kMantissa) - 1;
  const auto b = bits_of(x) - R::kSqrtHalf;
  const auto biased = (b + (R::kBias << R::kMantissa)) >> R::kMantissa;
  e = of_bits<T>(bits_of(R::kInteger) | biased) - (R::kInteger + static_cast<T>(R::kBias));
  return of_bits<T>((b & mask) + R::kSqrtHalf);
}

// log(1 + f) + e ln 2 for 1 + f in [sqrt(1/2), sqrt(2)): with s = f / (2 + f), log(1 + f) = 2 s + s R(s^2) (fdlibm).
DLCORE_MATH T log_reduced(T f, T e) {
  const T s = f / (T(2) + f), z = s * s, half_square = T(0.5) * f * f;
  T R;
  if constexpr (sizeof(T) == 4)
    R = z * poly(z, 0xaaaaaa.0p-24f, 0xccce13.0p-25f, 0x91e9ee.0p-25f, 0xf89e26.0p-26f);
  else
    R = z * poly(z, 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                 1.479819860511658591e-01);
  const T tail = fma_(s, half_square + R, e * Real<T>::kLn2Low) - half_square;
  return fma_(e, Real<T>::kLn2High, tail + f);
}

// log(x): 1 ulp.
DLCORE_MATH T log_(T x) {
  constexpr T inf = std::numeric_limits<T>::infinity(), shift = T(Real<T>::kMantissa + 2);
  const bool subnormal = x < Real<T>::kSmallest;
  T e;
  const T m = split_exponent(subnormal ? x * T(uint64_t(1) << (Real<T>::kMantissa + 2)) : x, e);
  const T y = log_reduced(m - T(1), subnormal ? e - shift : e);
  const T positive = x < inf ? y : x;
  return x > T(0) ? positive : x == T(0) ? -inf : std::numeric_limits<T>::quiet_NaN();
}

// log(1 + x), also near 0: 2 ulp. It has the sign of x, of zeros too.
DLCORE_MATH T log1p_(T x) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  const T u = T(1) + x, back = u - T(1), lost = (T(1) - (u - back)) + (x - back);  // u + lost = 1 + x exactly
  T e;
  const T m = split_exponent(u, e);
  const T scale = power_of_two(Real<T>::kRoundExponent - at_most(e, T(Real<T>::kBias - 1)));
  const T y = copysign_(log_reduced(fma_(lost, scale, m - T(1)), e), x);
  const T inside = x < inf ? y : x;
  return x > T(-1) ? inside : x == T(-1) ? -inf : std::numeric_limits<T>::quiet_NaN();
}

// ---- normal distribution ------------------------------------------------------------------------------------------

// The probability that a standard normal exceeds a >= 0, divided by exp(-a^2 / 2). Times (a + 4.25) it is nearly
// constant: a polynomial in (a - 4.25) / (a + 4.25), fitted up to kTailErf.
DLCORE_MATH T tail_ratio(T a) {
  const T q = T(1) / (a + T(4.25)), t = fma_(q, T(-8.5), T(1));
  if constexpr (sizeof(T) == 4)
    return q * poly(t, 0.7595542f, -0.6251298f, 0.41822752f, -0.22051528f, 0.0852723f, -0.019366443f, -0.0007510003f,
                    0.0021831284f, -0.0003662345f, -0.00023480611f);
  else
    return q * poly(t, 0.7595542082672071, -0.6251297770834476, 0.41822752582252837, -0.22051601745288732,
                    0.08527207614574309, -0.019358324074715175, -0.0007453379458436223, 0.002149382644959385,
                    -0.00040445620206944704, -0.00019212265482555703, 7.800520329752777e-05, 2.0647431040298886e-05,
                    -1.2619099698425858e-05, -3.1919909399442503e-06, 2.003129846474575e-06, 6.684375790346579e-07,
                    -2.974952095696937e-07, -1.4938008843107702e-07, 3.4090230316038835e-08, 2.673636983157589e-08,
                    -1.7046098391235698e-09, -2.401622613659818e-09);
}

// The probability that a standard normal exceeds a, 0 <= a <= kTailErf, is returned times `exponential`, exp(-a^2 / 2).
// The square's rounding error is fed into the exponential: without it the tail would be wrong by a^2 / 2 ulp.
DLCORE_MATH T normal_tail(T a, T& exponential) {
  const T half = T(0.5) * a, square = a * half;
  exponential = exp_normal(-square, -product_error(a, half, square));
  return tail_ratio(a);
}

// ---- circle -------------------------------------------------------------------------------------------------------

// sin(2 pi (x + quarter / 4)), |x| <= 2^20: 2 ulp of the larger of the result and 2^-24 (2^-53) near its zeros.
template <int quarter, class T> static inline __attribute__((always_inline)) T circle(T x) {
  using R = Real<T>;
  const T rounded = fma_(x, T(4), R::kRound), r = fma_(rounded - R::kRound, T(-0.25), x), z = r * r;  // |r| <= 1/8
  T s, c;
  if constexpr (sizeof(T) == 4) {
    s = r * poly(z, 6.2831855f, -41.341663f, 81.592354f, -75.39357f);
    c = fma_(z, poly(z, -19.739208f, 64.93932f, -85.443245f, 59.220287f), 1.0f);
  } else {
    s = r * poly(z, 6.283185307179586, -41.341702240399634, 81.60524927594453, -76.70585970331943, 42.05868490239031,
                 -15.093797515564116, 3.780726239391256);
    c = fma_(z, poly(z, -19.739208802178716, 64.93939402266807, -85.45681720655122, 60.244641332388106,
                     -26.42625110916204, 7.903095982069222, -1.6968500209636137), 1.0);
  }
  const auto n = bits_of(rounded) + quarter;
  const T value = (n & 1) ? c : s;
  return of_bits<T>(bits_of(value) ^ ((n & 2) << (8 * sizeof(T) - 2)));
}
DLCORE_MATH T sin2pi_(T x) { return circle<0>(x); }
DLCORE_MATH T cos2pi_(T x) { return circle<1>(x); }

#endif  // DLCORE_COMMON_MATH
