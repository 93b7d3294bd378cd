// What AVX-512 has instructions for and the compiler does not use by itself: mantissas and exponents, powers of 2, and
// the limits of functions. The masked forms: the plain ones warn of uninitialised values, GCC bug 105593.
#ifndef DLCORE_COMMON_VECTORS
#define DLCORE_COMMON_VECTORS
#include "common/math.inl"
#if DLCORE_ISA == 4
#define DLCORE_VECTOR static inline __attribute__((always_inline))

// |x| = m 2^e with m in [0.75, 1.5); subnormal numbers too.
DLCORE_VECTOR vec<float> vmantissa(vec<float> x) {
  return (vec<float>)_mm512_maskz_getmant_ps(0xffff, (__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
}
DLCORE_VECTOR vec<double> vmantissa(vec<double> x) {
  return (vec<double>)_mm512_maskz_getmant_pd(0xff, (__m512d)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
}
DLCORE_VECTOR vec<float> vexponent(vec<float> x) { return (vec<float>)_mm512_maskz_getexp_ps(0xffff, (__m512)x); }
DLCORE_VECTOR vec<double> vexponent(vec<double> x) { return (vec<double>)_mm512_maskz_getexp_pd(0xff, (__m512d)x); }
// x 2^n, rounded gradually below the normal range.
DLCORE_VECTOR vec<float> vscale(vec<float> x, vec<float> n) {
  return (vec<float>)_mm512_maskz_scalef_ps(0xffff, (__m512)x, (__m512)n);
}
DLCORE_VECTOR vec<double> vscale(vec<double> x, vec<double> n) {
  return (vec<double>)_mm512_maskz_scalef_pd(0xff, (__m512d)x, (__m512d)n);
}
// The nearest whole number.
DLCORE_VECTOR vec<float> vround(vec<float> x) { return (vec<float>)_mm512_maskz_roundscale_ps(0xffff, (__m512)x, 8); }
DLCORE_VECTOR vec<double> vround(vec<double> x) { return (vec<double>)_mm512_maskz_roundscale_pd(0xff, (__m512d)x, 8); }
// The number between two limits nearest to x; of NaN NaN.
DLCORE_VECTOR vec<double> vbetween(vec<double> x, double low, double high) {
  const __m512d least = _mm512_maskz_max_pd(0xff, _mm512_set1_pd(low), (__m512d)x);
  return (vec<double>)_mm512_maskz_min_pd(0xff, _mm512_set1_pd(high), least);
}
// y, or what a table says where x is special. A table has a nibble for each of quiet NaN, signalling NaN, zero, one,
// -infinity, infinity, negative, positive, from the right: 0 for y, 1 for x, 2 for x as a quiet NaN, 3 for NaN, 4 and 5
// for -infinity and infinity, 8 for 0.
template <uint32_t table> DLCORE_VECTOR vec<float> vlimits(vec<float> y, vec<float> x) {
  const __m512i limits = _mm512_set1_epi32(static_cast<int>(table));
  return (vec<float>)_mm512_mask_fixupimm_ps((__m512)y, 0xffff, (__m512)x, limits, 0);
}
template <uint32_t table> DLCORE_VECTOR vec<double> vlimits(vec<double> y, vec<double> x) {
  return (vec<double>)_mm512_mask_fixupimm_pd((__m512d)y, 0xff, (__m512d)x, _mm512_set1_epi64(table), 0);
}
constexpr uint32_t kOfLogarithm = 0x03530422, kOfPower = 0x00580022;
constexpr uint32_t kAsTheyAre = 0x00110122;  // zeros, infinities and NaN

template <class V> using lane = std::remove_cvref_t<decltype(V{}[0])>;
template <class V> DLCORE_VECTOR V vcopysign(V magnitude, V sign) {
  const __m512i top = (__m512i)vset(lane<V>(-0.0));
  return (V)_mm512_ternarylogic_epi32(top, (__m512i)sign, (__m512i)magnitude, 0xca);  // top ? sign : magnitude
}
template <class V> DLCORE_VECTOR V vpoly(V, lane<V> c0) { return vset(c0); }
template <class V, class... C> DLCORE_VECTOR V vpoly(V x, lane<V> c0, C... rest) {
  return vfma(vpoly(x, static_cast<lane<V>>(rest)...), x, vset(c0));
}

// Of k = 0, 1 or -1: at, above or below.
DLCORE_VECTOR vec<float> vlookup(vec<float> k, float at, float above, float below) {
  const __m512i place = (__m512i)(k + vset(Real<float>::kRound));  // its last bits
  const __m512 table = _mm512_setr_ps(at, above, at, at, at, at, at, at, at, at, at, at, at, at, at, below);
  return (vec<float>)_mm512_maskz_permutexvar_ps(0xffff, place, table);
}
DLCORE_VECTOR vec<double> vlookup(vec<double> k, double at, double above, double below) {
  const __m512i place = (__m512i)(k + vset(Real<double>::kRound));
  const __m512d table = _mm512_setr_pd(at, above, at, at, at, at, at, below);
  return (vec<double>)_mm512_maskz_permutexvar_pd(0xff, place, table);
}
#endif
#endif  // DLCORE_COMMON_VECTORS
