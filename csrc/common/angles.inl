// Sine and cosine at once, of floats in double: what sin, cos and tan are made of. Of short floats in float.
#ifndef DLCORE_COMMON_ANGLES
#define DLCORE_COMMON_ANGLES
#include "common/pointwise.inl"

constexpr float kNearLimit = 0x1p20f;

// sin(r) and cos(r) of r = x - n pi / 2 for the nearest n, |x| <= kNearLimit; returns n in its low bits. pi / 2 is held
// in three parts, so that the products with integers up to 2^20 are exact.
static inline __attribute__((always_inline)) uint64_t reduce_near(float x, double& s, double& c) {
  const double rounded = fma_(double(x), 0.6366197723675814, Real<double>::kRound), n = rounded - Real<double>::kRound;
  const double first = fma_(n, -1.57079632673412561417e+00, double(x));
  const double r = fma_(n, -2.02226624879595063154e-21, fma_(n, -6.07710050630396597660e-11, first)), z = r * r;
  s = r * fma_(z, poly(z, -0.1666666664167099, 0.008333329382379977, -0.00019839332123549865,
                       2.7182758931484836e-06), 1.0);  // of -0: -0
  c = fma_(z * z, poly(z, 0.04166666662390772, -0.0013888883822446877, 2.4799533935083498e-05,
                       -2.7211131614379425e-07), fma_(z, -0.5, 1.0));
  return bits_of(rounded);
}

// x - n pi / 2 for the nearest n, |x| <= kNearLimit, and what it lacks in `low`; `rounded` has n in its low bits. Both
// products are subtracted exactly: what cancels is made up for by the next bits of pi / 2.
static inline __attribute__((always_inline)) double reduce_double(double x, double& rounded, double& low) {
  rounded = fma_(x, 0.6366197723675814, Real<double>::kRound);
  const double n = rounded - Real<double>::kRound, first = fma_(n, -1.5707963267948966, x);  // exact
  const double q = n * 6.123233995736766e-17, q_low = fma_(n, 6.123233995736766e-17, -q), r = first - q;
  low = ((first - r) - q) - fma_(n, -1.4973849048591698e-33, q_low);
  return r;
}
// The same of a double. Errors of 0.7 ulp.
static inline __attribute__((always_inline)) uint64_t reduce_near(double x, double& s, double& c) {
  double rounded, low;
  const double r = reduce_double(x, rounded, low), z = r * r, half = 0.5 * z, w = 1.0 - half;
  const double series = poly(z, -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
                             2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10);
  s = r + fma_(r * z, series, low * w);
  const double rest = poly(z, 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                           -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11);
  c = w + (fma_(z * z, rest, (1.0 - w) - half) - r * low);
  return bits_of(rounded);
}

// Angles up to it are reduced in float, where products are exact before they are added.
constexpr float kShortLimit = DLCORE_ISA >= 3 ? 0x1p13f : -1.0f;

// x - n pi / 2 for the nearest n, |x| <= kShortLimit, and what it lacks in `low`; `rounded` has n in its low bits. pi/2
// is the sum of three floats: x - n times the first is exact.
static inline __attribute__((always_inline)) float reduce_short(float x, float& rounded, float& low) {
  rounded = fma_(x, 0.63661977f, Real<float>::kRound);
  const float n = rounded - Real<float>::kRound;
  low = n * 0x1.ee59dap-50f;
  return fma_(n, 0x1.777a5cp-25f, fma_(n, -0x1.921fb6p+0f, x));
}

// Doubles need a fused multiply-add to be faster than the C library.
template <class T> constexpr bool kVectors = sizeof(T) == 4 || DLCORE_ISA >= 3;

// y = F::shortly(x), F::near(x) or F::far(x), whichever is right for its size: what an element gets does not depend on
// those beside it. Of doubles there is no short way.
template <class F, class T> static void by_size_of_block(int64_t n, T* y, const T* x) {
  constexpr bool is_float = sizeof(T) == 4;
  T largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = abs_(x[i]) > largest ? abs_(x[i]) : largest;
  const auto pick = [](T v) DLCORE_MAP {
    if constexpr (is_float) return abs_(v) <= kShortLimit ? F::shortly(v) : F::near(v);
    else return F::near(v);
  };
  if (is_float && largest <= T(kShortLimit)) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(F::shortly(static_cast<float>(x[i])));
  } else if (kVectors<T> && largest <= T(kNearLimit)) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = pick(x[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = kVectors<T> && !(abs_(x[i]) > T(kNearLimit)) ? pick(x[i]) : F::far(x[i]);
  }
}
template <class F, class S> static void by_size(int64_t n, S* y, const S* x) {
  for (int64_t start = 0; start < n; start += kPointwiseBlock) {
    const int64_t m = n - start < kPointwiseBlock ? n - start : kPointwiseBlock;
    if constexpr (std::is_same_v<S, compute_t<S>>) {
      by_size_of_block<F>(m, y + start, x + start);
    } else {
      float block[kPointwiseBlock];
      load_block(block, x + start, m);
      by_size_of_block<F>(m, block, block);
      store_block(y + start, block, m);
    }
  }
}

#endif  // DLCORE_COMMON_ANGLES
