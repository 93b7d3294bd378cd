// Powers, logarithms, error functions, gamma functions: exp2, log2, log10, cbrt, erf, erfc, lgamma, digamma,
// digamma_slope, xlogy, logaddexp, sinc. Bound by arithmetic; errors stand at each function.
#include "common/log1p.inl"
#include "common/numbers.inl"
#include "common/pointwise.inl"
#include "elementwise/lookup.inl"

// ---- powers and logarithms ----------------------------------------------------------------------------------------

// 2^x: 1.5 ulp, exact for whole x.
struct Exp2 {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    constexpr T least = sizeof(T) == 4 ? T(-151) : T(-1080), most = sizeof(T) == 4 ? T(129) : T(1025);
    const T low = x < least ? least : x, inside = x > most ? most : low;
    const T rounded = inside + Real<T>::kRoundExponent, n = rounded - Real<T>::kRoundExponent;
    return scale_exp((inside - n) * T(0.6931471805599453), rounded);
  }
#if DLCORE_ISA == 4
  static vec<float> vector(vec<float> x) {
    const vec<float> n = vround(x), r = (x - n) * vset(0.6931471805599453f);
    const vec<float> q = vpoly(r, 0.5f, 0.16666542f, 0.041666277f, 0.008366642f, 0.001394671f);
    return vlimits<kOfPower>(vscale(vfma(r * r, q, r) + vset(1.0f), n), x);
  }
  static vec<double> vector(vec<double> x) { return vexp2(x); }
#endif
};

// log(m) of x = m 2^e, for positive finite x; subnormal ones too.
DLCORE_MATH T log_and_exponent(T x, T& e) {
  constexpr T shift = T(Real<T>::kMantissa + 2);
  const bool subnormal = x < Real<T>::kSmallest;
  const T m = split_exponent(subnormal ? x * T(uint64_t(1) << (Real<T>::kMantissa + 2)) : x, e);
  e = subnormal ? e - shift : e;
  return log_reduced(m - T(1), T(0));
}
DLCORE_MATH T log_of_all(T x, T y) {  // y, or the limits
  constexpr T inf = std::numeric_limits<T>::infinity();
  const T positive = x < inf ? y : x;
  return x > T(0) ? positive : x == T(0) ? -inf : std::numeric_limits<T>::quiet_NaN();
}

// Logarithms to base 2 and 10: 1.7 ulp, without fused multiply-adds 2, exact for powers of the base. Constants are in
// two parts.
struct Log2 {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    constexpr T high = sizeof(T) == 4 ? T(1.4426950216293335) : T(1.4426950408889634);  // 1 / ln 2
    constexpr T low = sizeof(T) == 4 ? T(1.925963033500011e-08) : T(2.0355273740931033e-17);
    T e;
    const T l = log_and_exponent(x, e);
    return log_of_all(x, fma_(l, high, fma_(l, low, e)));
  }
#if DLCORE_ISA == 4
  template <class V> static V vector(V x) { return vlog<Base2>(x); }
#endif
};
struct Log10 {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    constexpr T high = sizeof(T) == 4 ? T(0.4342944920063019) : T(0.4342944819032518);  // 1 / ln 10
    constexpr T low = sizeof(T) == 4 ? T(-1.0103049952192578e-08) : T(1.098319650216765e-17);
    constexpr T two = sizeof(T) == 4 ? T(0x1.344p-2) : T(0x1.34413509f7p-2);  // log10(2), exact times e
    constexpr T rest = sizeof(T) == 4 ? T(4.605039e-06) : T(1.42050232272661e-13);
    T e;
    const T l = log_and_exponent(x, e), small = fma_(l, high, fma_(l, low, e * rest));
    return log_of_all(x, fma_(e, two, small));
  }
#if DLCORE_ISA == 4
  template <class V> static V vector(V x) { return vlog<Base10>(x); }
#endif
};

// The cube roots of 2 and 1/2, each in two parts.
template <class T> struct RootOf {
  static constexpr T two = static_cast<T>(1.2599210498948732), half = static_cast<T>(0.7937005259840998);
  static constexpr bool small = sizeof(T) == 4;
  static constexpr T two_low = small ? static_cast<T>(1.2599210498948732 - two) : T(-2.589933375300507e-17);
  static constexpr T half_low = small ? static_cast<T>(0.7937005259840998 - half) : T(-5.4345040970989115e-17);
};

// Cube root of m 2^e, that of m times 2^(e mod 3 / 3) times 2^(e / 3): 0.7 ulp, without fused multiply-adds 1.2. The
// root of m and a third of 1 / root^2 are polynomials; a step of Newton's method, of doubles two, does the rest. The
// last residual is exact.
struct Cbrt {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    constexpr T third = T(0.3333333333333333), shift = sizeof(T) == 4 ? T(24) : T(54);
    const T a = abs_(x);
    const bool subnormal = a < Real<T>::kSmallest;
    T given;
    const T m = split_exponent(subnormal ? a * T(uint64_t(1) << int(shift)) : a, given);
    const T e = subnormal ? given - shift : given, rounded = fma_(e, third, Real<T>::kRoundExponent);
    const T rest = fma_(T(-3), rounded - Real<T>::kRoundExponent, e);  // -1, 0 or 1
    const T high = rest > T(0) ? RootOf<T>::two : rest < T(0) ? RootOf<T>::half : T(1);
    const T low = rest > T(0) ? RootOf<T>::two_low : rest < T(0) ? RootOf<T>::half_low : T(0);
    T y, slope;
    if constexpr (sizeof(T) == 4) {
      y = poly(m, 0.45166734f, 0.904817f, -0.53562856f, 0.21693641f, -0.03778795f);
      slope = poly(m, 0.9065626f, -1.0717186f, 0.6468773f, -0.14860575f);
    } else {
      const T first = poly(m, 0.42168957382897726, 1.0560160049585101, -0.8360714251928929, 0.5109673017155645,
                           -0.17955746577625867, 0.026955023168291833);
      const T near = poly(m, 1.0574209869516278, -1.6733129702620257, 1.5283111496849873, -0.7113850186207714,
                          0.13226990870476651);
      y = fma_(fma_(-first * first, first, m), near, first);
      slope = near * fma_(T(-3) * (y * y), near, T(2));
    }
    const T square = y * y, square_low = product_error(y, y, square);
    const T step = (fma_(-square, y, m) - square_low * y) * slope;
    const T root = fma_(y, high, fma_(step, high, y * low)) * power_of_two(rounded);
    return (a > T(0)) & (a < std::numeric_limits<T>::infinity()) ? copysign_(root, x) : x;
  }
#if DLCORE_ISA == 4
  template <class V> static V vector(V x) {
    using T = lane<V>;
    const V m = vmantissa(x), e = vexponent(x) - vexponent(m), k = vround(e * vset(T(0.3333333333333333)));
    const V rest = vfma(k, vset(T(-3)), e);  // -1, 0 or 1
    V y, slope;
    if constexpr (sizeof(T) == 4) {
      y = vpoly(m, 0.46062142f, 0.8699813f, -0.485553f, 0.18540826f, -0.030449048f);
      slope = vpoly(m, 0.8716597f, -0.9715243f, 0.5528643f, -0.11974462f);
    } else {
      const V first = vpoly(m, 0.43004933801133005, 1.015359087521678, -0.7579076313731066, 0.4367065928833952,
                            -0.14468511250641583, 0.020477825057885847);
      const V near = vpoly(m, 1.0167099772791524, -1.5168759888283123, 1.3061962142142396, -0.5732249618810009,
                           0.10048591073341263);
      y = vfma(vfma(-first * first, first, m), near, first);
      slope = near * vfma(vset(T(-3)) * (y * y), near, vset(T(2)));
    }
    const V high = vlookup(rest, T(1), RootOf<T>::two, RootOf<T>::half);
    const V low = vlookup(rest, T(0), RootOf<T>::two_low, RootOf<T>::half_low);
    const V square = y * y, square_low = vfma(y, y, -square);
    const V step = vfma(-square_low, y, vfma(-square, y, m)) * slope;
    const V root = vfma(y, high, vfma(step, high, y * low));
    return vlimits<kAsTheyAre>(vcopysign(vscale(root, k), x), x);
  }
#endif
};

// a log(b), 0 where a = 0: 2 ulp.
struct XLogY {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T a, T b) const { return (a == T(0)) & (b == b) ? T(0) : a * log_(b); }
#if DLCORE_ISA == 4
  template <class V> static V vector(V a, V b) {
    const V zero = vset(lane<V>(0));
    return (a == zero) & (b == b) ? zero : a * vlog<BaseE>(b);
  }
#endif
};

// log(e^a + e^b) = max + log(1 + e^-|a - b|): 2 ulp of the larger of its terms.
struct LogAddExp {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T a, T b) const {
    const T most = (a > b) | (a != a) ? a : b, apart = a == b ? T(0) : -abs_(a - b);  // infinities are equal, too
    return most + log1p_below_one(exp_(apart));
  }
};

// ---- error functions ----------------------------------------------------------------------------------------------

// 1 - erf(a) for a >= 0, as twice the tail of a normal distribution at a sqrt(2): 3 ulp. The square's rounding error is
// fed into the exponential.
DLCORE_MATH T erfc_positive(T a) {
  const T x = at_most(a, sizeof(T) == 4 ? T(10.2) : T(27.3)), square = x * x;
  T rounded;
  const T r = reduce_exp(-square, rounded) - product_error(x, x, square);
  return scale_exp(r, rounded) * (T(2) * tail_ratio(x * T(1.4142135623730951)));
}

// erf(x) / x - 1, |x| <= 1, for z = x^2.
DLCORE_MATH T erf_series(T z) {
  if constexpr (sizeof(T) == 4)
    return poly(z, 0.128379166f, -0.37612626f, 0.112836003f, -0.0268544462f, 0.00518953661f, -0.000802084571f,
                7.8891193e-05f);
  else
    return poly(z, 0.1283791670955126, -0.3761263890318375, 0.11283791670954885, -0.026866170645077875,
                0.005223977624828431, -0.0008548326981425541, 0.00012055331132955798, -1.4925595772180445e-05,
                1.6461008477795947e-06, -1.6350396222798252e-07, 1.466032872232511e-08, -1.1374955734553238e-09,
                5.960685336093912e-11);
}
// -log(1 - erf(a)), 1 <= a <= 4: 1 - erf(a) is so small there that a fit of it leaves erf(a) an error of 0.02 ulp.
static inline __attribute__((always_inline)) float erf_exponent(float a) {
  return poly(a, 0.00034152126f, 1.1270891f, 0.63814485f, 0.10310677f, -0.021838069f, 0.0029476595f, -0.00018637930f);
}
struct Erf {  // 1.5 ulp, of floats with AVX-512 2 ulp
  static constexpr int64_t kGrain = 1 << 14;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), near = fma_(a, erf_series(a * a), a);
    T far;
    if constexpr (sizeof(T) == 4) far = T(1) - exp_normal(-erf_exponent(at_most(a, T(4))));
    else far = T(1) - erfc_positive(a);
    return copysign_(a < T(1) ? near : far, x);
  }
#if DLCORE_ISA == 4
  static vec<float> vector(vec<float> x) { return verf(x); }
#endif
};
struct Erfc {
  static constexpr int64_t kGrain = 1 << 14;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T tail = erfc_positive(abs_(x));
    return x < T(0) ? T(2) - tail : tail;
  }
};

constexpr double kPi = 3.141592653589793;

// ---- gamma functions ----------------------------------------------------------------------------------------------

// sin(pi r) / r for |r| <= 1/2.
static inline __attribute__((always_inline)) double sine_ratio(double z) {
  return poly(z, 3.141592653589793, -5.167712780049969, 2.550164039877294, -0.5992645293187383, 0.08214588656989333,
              -0.007370430478768394, 0.00046629968879996004, -2.190318548305919e-05, 7.694727910685407e-07);
}

// log|gamma(x)|, x >= -1/2, in double. From 8 on Stirling's series, (x - 1/2) (log(x) - 1) + ...; below, x is 2 + t and
// up to 6 whole steps, |t| <= 1/2: log|gamma(2 + t)|, t times a polynomial, and the logarithm of the product of the
// steps. Either takes one logarithm. Errors are 3 ulp of the larger of the result and 2, near the zeros at 1 and 2 of
// the result.
static inline __attribute__((always_inline)) double lgamma_right(double x) {
  const bool far = x >= 8.0;
  const double n = (x + Real<double>::kRound) - Real<double>::kRound, t = x - n;
  double product = 1.0;
  for (int k = 1; k < 7; ++k) product *= n >= double(k + 2) ? x - double(k) : 1.0;
  const double below = abs_(x * (n == 0.0 ? x + 1.0 : 1.0)), log = log_(far ? x : n < 2.0 ? below : product);
  const double first = poly(t, 0.42278433509846713, 0.3224670334241133, -0.06735230105319576, 0.02058080842776596,
                            -0.007385551028925199, 0.002890510331841715, -0.001192753901329195, 0.0005096694951117744,
                            -0.00022315497226545693, 9.945794420267023e-05, -4.4923771900263126e-05,
                            2.0503543820324395e-05, -9.456078991061234e-06, 4.39352152984909e-06,
                            -1.9748263013224156e-06, 8.999002331486809e-07, -5.806122874939548e-07,
                            2.977072021385798e-07);
  const double near = fma_(t, first, n < 2.0 ? -log : log), v = 1.0 / x;
  const double series = v * poly(v * v, 0.0833333333333333, -0.00277777777761, 0.0007936506668623436,
                                 -0.000595202936866999, 0.0008373083769525871, -0.0016532372336598529);
  const double large = fma_(x - 0.5, log - 1.0, 0.41893853320467274 + series);  // (log(2 pi) - 1) / 2
  return far ? large : near;
}
// Of x < -1/2: log(pi / |x sin(pi x)|) less the value at -x. Infinite at poles. NaN where these cancel and must not.
template <bool may_cancel> static inline __attribute__((always_inline)) double lgamma_of(double x) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const double a = abs_(x), r = a - __builtin_rint(a), sine = abs_(r * sine_ratio(r * r));
  const bool left = x < -0.5;
  const double right = lgamma_right(left ? a : x), other = log_(kPi / (a * sine)) - right;
  const double kept = may_cancel | (abs_(other) >= right) | (right < 2.0) ? other : inf - inf;
  const double y = left ? kept : right;
  return (left & (sine == 0.0)) | (a == inf) ? inf : y;
}
static double library_lgamma(double x) {
  int sign;
  return ::lgamma_r(x, &sign);
}
template <class S> static void lgamma_loop(int64_t n, void* out, const void* const* in) {
  using T = compute_t<S>;
  constexpr bool is_float = sizeof(T) == 4;
  T block[kPointwiseBlock];
  for (int64_t start = 0; start < n; start += kPointwiseBlock) {
    const int64_t m = n - start < kPointwiseBlock ? n - start : kPointwiseBlock;
    load_block(block, static_cast<const S*>(in[0]) + start, m);
    T least = 0;
#pragma omp simd reduction(min : least)
    for (int64_t i = 0; i < m; ++i) least = block[i] < least ? block[i] : least;
    if (least >= T(-0.5)) {
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) block[i] = static_cast<T>(lgamma_right(block[i]));
    } else {
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) block[i] = static_cast<T>(lgamma_of<is_float>(block[i]));
      for (int64_t i = 0; i < m && !is_float; ++i)
        if (block[i] != block[i]) block[i] = library_lgamma(load(static_cast<const S*>(in[0]) + start + i));
    }
    store_block(static_cast<S*>(out) + start, block, m);
  }
}
static void lgamma(const Args& a) {
  const Array* const arrays[] = {&a.out(), &a.in(0)};
  with_float(a.in(0).dtype, [&]<class T>() { run_pointwise(lgamma_loop<T>, 1 << 13, arrays, 2); });
}

// The slope of log(gamma(x)), in double: its terms have errors of 1 ulp. Poles are NaN, at zero infinite.
struct DiGamma {
  static constexpr int64_t kGrain = 1 << 13;
  template <class T> DLCORE_MAP T operator()(T given) const {
    constexpr double inf = std::numeric_limits<double>::infinity();
    const double at = given, x = at < 0.0 ? 1.0 - at : at;
    const bool small = x < 8.0;
    double over = 1.0, under = x;  // over / under = 1 / x + 1 / (x + 1) + ... + 1 / (x + 7)
    for (int k = 1; k < 8; ++k) {
      over = fma_(over, x + double(k), under);
      under *= x + double(k);
    }
    const double w = small ? x + 8.0 : x, v = 1.0 / w, z = v * v;
    const double series = z * poly(z, 1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12,
                                   -3617.0 / 8160);
    const double y = (log_(w) - 0.5 * v) - series - (small ? over / under : 0.0);
    const double r = at - __builtin_rint(at), side = 0.5 - abs_(r);
    const double slope = kPi * (side * sine_ratio(side * side)) / (r * sine_ratio(r * r));  // cos(pi r) / sin(pi r)
    const double other = y - slope;
    const double found = at < 0.0 ? (r == 0.0 ? inf - inf : other) : y;
    return static_cast<T>(at == 0.0 ? copysign_(inf, -at) : found);
  }
};

// The slope of digamma, the sum of (x + k)^-2, in double: 3 ulp. From 12 on Euler and Maclaurin's formula alone; below,
// 12 terms are put before it, as one fraction. Of x < 0, (pi / sin(pi x))^2 less the value at 1 - x: infinite at poles.
template <class C> struct TriGamma {
  static constexpr int64_t kGrain = 1 << 13;
  explicit TriGamma(const Param*) {}
  DLCORE_MAP C operator()(C given) const {
    const double at = given, x = at < 0.0 ? 1.0 - at : at;
    const bool small = x < 12.0;
    double over = 1.0, under = x * x;
    for (int k = 1; k < 12; ++k) {
      const double square = (x + double(k)) * (x + double(k));
      over = fma_(over, square, under);
      under *= square;
    }
    const double w = small ? x + 12.0 : x, v = 1.0 / w, z = v * v;
    const double series = z * v * poly(z, 1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6);
    const double y = (v + 0.5 * z) + series + (small ? over / under : 0.0);
    const double r = at - __builtin_rint(at), q = kPi / (r * sine_ratio(r * r));
    return static_cast<C>(at < 0.0 ? fma_(q, q, -y) : y);
  }
};

// The n-th slope of digamma, (-1)^(n + 1) n! zeta(n + 1, x), in double. zeta(s, y), y >= 0, is the sum of (y + k)^-s:
// 12 terms and Euler and Maclaurin's formula, which that makes exact for n < 32. Of x < 0, with r = x - floor(x) and
// q = ceil(x) - x, it is zeta(s, r) + (-1)^s (zeta(s, q) - zeta(s, 1 - x)): nothing cancels but what does in the
// result.
template <class C> struct DigammaSlope {
  static constexpr int64_t kGrain = 1 << 11;
  static constexpr double kBernoulli[] = {1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6};
  int n;
  double factorial = 1.0, series[7];  // n!, and (2 j + n - 1)! / (2 j)! / (n - 1)! times Bernoulli's numbers

  explicit DigammaSlope(const Param* p) : n(static_cast<int>(p[0].i)) {
    for (int k = 2; k <= n; ++k) factorial *= k;
    double ratio = 1.0;
    for (int j = 1; j <= 7; ++j) {
      ratio *= j == 1 ? n * (n + 1) / 2.0 : (n + 2 * j - 2.0) * (n + 2 * j - 1.0) / ((2 * j - 1.0) * (2 * j));
      series[j - 1] = kBernoulli[j - 1] * ratio;
    }
  }
  DLCORE_MAP static double power(double t, int exponent) {  // below 32
    double found = 1.0;
    for (int bit = 0; bit < 5; ++bit, t *= t) found *= exponent >> bit & 1 ? t : 1.0;
    return found;
  }
  DLCORE_MAP double zeta(double y) const {  // times n!
    const double v = 1.0 / (y + 12.0), z = v * v;
    double rest = series[6], total = 0.0;
    for (int j = 5; j >= 0; --j) rest = fma_(rest, z, series[j]);
    for (int k = 11; k >= 0; --k) total += power(1.0 / (y + double(k)), n + 1);
    const double tail = power(v, n) * fma_(z, rest, fma_(0.5 * n, v, 1.0));
    return factorial * (total + tail / n);
  }
  DLCORE_MAP C operator()(C given) const {
    const double at = given, low = __builtin_floor(at), high = __builtin_ceil(at), odd = n & 1 ? 1.0 : -1.0;
    const bool negative = at < 0.0;
    const double first = zeta(negative ? at - low : at);
    const double other = odd * (zeta(negative ? high - at : 1.0) - zeta(negative ? 1.0 - at : 1.0));
    return static_cast<C>(odd * (negative ? first + other : first));
  }
};

// sin(pi x) / (pi x), 1 at 0: 2 ulp, in double. Of whole numbers 0.
struct Sinc {
  static constexpr int64_t kGrain = 1 << 14;
  template <class T> DLCORE_MAP T operator()(T given) const {
    const double x = given, n = __builtin_rint(x), r = x - n, half = 0.5 * n;
    const double s = r * sine_ratio(r * r), signed_s = half == __builtin_rint(half) ? s : -s;
    const double below = x == 0.0 ? 1.0 : kPi * x;
    return static_cast<T>(x == 0.0 ? 1.0 : signed_s / below);
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void one(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}
template <class F> static void two(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}

static void digamma_slope(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() {
    if (a.params[0].i == 1) pointwise_with<TriGamma, T, 1>(a);
    else pointwise_with<DigammaSlope, T, 1>(a);
  });
}

static const Kernel kernels[] = {
    {"elementwise:exp2", one<Exp2>, 0},
    {"elementwise:log2", one<Log2>, 0},
    {"elementwise:log10", one<Log10>, 0},
    {"elementwise:cbrt", one<Cbrt>, 0},
    {"elementwise:erf", one<Erf>, 0},
    {"elementwise:erfc", one<Erfc>, 0},
    {"elementwise:lgamma", lgamma, 0},
    {"elementwise:digamma", one<DiGamma>, 0},
    {"elementwise:digamma_slope", digamma_slope, 0},
    {"elementwise:sinc", one<Sinc>, 0},
    {"elementwise:xlogy", two<XLogY>, 0},
    {"elementwise:logaddexp", two<LogAddExp>, 0},
};
