// Sine and cosine at once, of floats in double: what sin, cos and tan are made of.
#ifndef DLCORE_COMMON_ANGLES
#define DLCORE_COMMON_ANGLES
#include "common/math.inl"

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

// The same of a double: r is a sum of two, for what x - n pi / 2 cancels is made up for by the next bits of pi / 2.
// Errors of 0.7 ulp.
static inline __attribute__((always_inline)) uint64_t reduce_near(double x, double& s, double& c) {
  constexpr double pi_half = 1.5707963267948966, next = 6.123233995736766e-17, last = -1.4973849048591698e-33;
  const double rounded = fma_(x, 0.6366197723675814, Real<double>::kRound), n = rounded - Real<double>::kRound;
  const double p = n * pi_half, left = x - p, p_low = product_error(n, pi_half, p);  // x - p is exact
  const double first = left - p_low, a = first - left, first_low = (left - (first - a)) - (p_low + a);
  const double q = n * next, q_low = product_error(n, next, q);
  const double r = first - q, b = r - first, r_low = (first - (r - b)) - (q + b);
  const double low = (r_low + first_low) - fma_(n, last, q_low), z = r * r, half = 0.5 * z, w = 1.0 - half;
  const double series = poly(z, -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
                             2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10);
  s = r + fma_(r * z, series, low * w);
  const double rest = poly(z, 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                           -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11);
  c = w + (fma_(z * z, rest, (1.0 - w) - half) - r * low);
  return bits_of(rounded);
}

// Doubles need a fused multiply-add to be faster than the C library.
template <class T> constexpr bool kVectors = sizeof(T) == 4 || DLCORE_ISA >= 3;

#endif  // DLCORE_COMMON_ANGLES
