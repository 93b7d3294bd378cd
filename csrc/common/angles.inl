// Sine and cosine of floats at once, in double: what sin, cos and tan are made of.
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

#endif  // DLCORE_COMMON_ANGLES
