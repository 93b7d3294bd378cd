// Powers of whole vectors, for AVX-512: exp(b log(a)) with the logarithm in more bits than the result has.
//
// Floats are computed in double. Doubles need about ten bits more, for the exponent magnifies the error: the logarithm
// is a sum of two doubles, log(a) = e ln 2 + log(1 / r) + log(1 + f), where r is near 1 / m, from a table of 16, and
// m r = 1 + f exactly in two doubles. 1 ulp of floats, 2 ulp of doubles.
#ifndef DLCORE_ELEMENTWISE_POWER
#define DLCORE_ELEMENTWISE_POWER
#include "common/vectors.inl"
#if DLCORE_ISA == 4

// Whether a or b is none of the common numbers: a not above 0, b 0, either not finite. Then limits are looked after.
DLCORE_VECTOR bool vpower_is_special(vec<float> a, vec<float> b) {
  return _mm512_fpclass_ps_mask((__m512)a, 0xdf) | _mm512_fpclass_ps_mask((__m512)b, 0x9f);
}
DLCORE_VECTOR bool vpower_is_special(vec<double> a, vec<double> b) {
  return _mm512_fpclass_pd_mask((__m512d)a, 0xdf) | _mm512_fpclass_pd_mask((__m512d)b, 0x9f);
}

// Of a negative base: a whole exponent decides about the sign, of others the power is NaN, but for 0 and infinity.
template <class V> DLCORE_VECTOR V vpower_sign(V value, V a, V b) {
  using T = lane<V>;
  const V half = b * vset(T(0.5)), zero = vset(T(0)), size = vcopysign(a, zero);
  const auto negative = vcopysign(vset(T(1)), a) < zero, even = vround(half) == half, whole = vround(b) == b;
  const auto decided = (size == zero) | (size == vset(std::numeric_limits<T>::infinity()));
  const V of_others = decided ? value : vset(std::numeric_limits<T>::quiet_NaN());
  const V of_negative = whole ? (even ? value : -value) : of_others;
  return negative ? of_negative : value;
}

// b log2(a) -> 2^x, as doubles of floats; limits are where a float is 0 or infinite.
template <bool special> DLCORE_VECTOR vec<double> vpower_of(vec<double> a, vec<double> b) {
  const vec<double> zero = vset(0.0), m = vmantissa(a), e = vexponent(a) - vexponent(m), f = m - vset(1.0);
  const vec<double> series = vpoly(f, 1.442695040910634, -0.7213475208314819, 0.4808983326420627, -0.36067365350215286,
                                   0.2885404280951152, -0.2404584156829283, 0.2060568508246122, -0.18000367647155022,
                                   0.16050324026031762, -0.1492081477418373, 0.13879197848996863, -0.10203852018304481,
                                   0.03798832144787597);
  vec<double> log = vfma(f, series, e);
  if (special) log = vlimits<kOfLogarithm>(log, vcopysign(a, zero));
  vec<double> product = b * log;
  if (special) product = (log == zero) | (b == zero) ? zero : product;
  const vec<double> x = vbetween(product, -300.0, 300.0);
  const vec<double> n = vround(x), r = x - n;
  return vscale(vpoly(r, 1.0000000005545295, 0.6931472057386252, 0.24022646890044974, 0.05550328775837842,
                      0.009618488984431423, 0.0013399931357904154, 0.00015345807780148084), n);
}
template <int half> DLCORE_VECTOR vec<double> vhalf(vec<float> x) {
  return (vec<double>)_mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, (__m512)x, half));
}
template <bool special> DLCORE_VECTOR vec<float> vpower_all(vec<float> a, vec<float> b) {
  const vec<double> first = vpower_of<special>(vhalf<0>(a), vhalf<0>(b));
  const vec<double> second = vpower_of<special>(vhalf<1>(a), vhalf<1>(b));
  const __m512 low = _mm512_castps256_ps512(_mm512_maskz_cvtpd_ps(0xff, (__m512d)first));
  const __m256 high = _mm512_maskz_cvtpd_ps(0xff, (__m512d)second);
  const vec<float> value = (vec<float>)_mm512_maskz_insertf32x8(0xffff, low, high, 1);
  if constexpr (special) return vpower_sign(value, a, b);
  else return value;
}

// A table of 16 doubles at places that the last four bits of each lane say.
DLCORE_VECTOR vec<double> vlookup16(__m512i place, const double* table) {
  const __m512d first = _mm512_loadu_pd(table), second = _mm512_loadu_pd(table + 8);
  return (vec<double>)_mm512_permutex2var_pd(first, place, second);
}

// log(|a|) = high + low.
template <bool special> DLCORE_VECTOR vec<double> vlog_in_two(vec<double> a, vec<double>& low) {
  static constexpr double near_inverse[] = {1.0, 0.9140625, 0.865234375, 0.8203125, 0.78125, 0.744140625, 0.7109375,
                                            0.681640625, 1.306640625, 1.255859375, 1.20703125, 1.1640625, 1.123046875,
                                            1.083984375, 1.048828125, 1.0};
  static constexpr double log_high[] = {  // -log of the inverse, rounded to 2^-42: its sum with e ln 2 is exact
      0.0, 0.08985632912185793, 0.14475485499428942, 0.19806991376208316, 0.2468600779316148, 0.29552524991277096,
      0.3411707574027787, 0.383252702837126, -0.26745943508876735, -0.22782009919819757, -0.18816383241824042,
      -0.15191604202573217, -0.11604541575775329, -0.08064348870698268, -0.04767346946937323, 0.0};
  static constexpr double log_low[] = {
      0.0, 3.1218748807418837e-15, 8.272973285564614e-14, 1.0634128304268335e-14, -8.899851356560444e-14,
      3.586053092023274e-14, -1.156568624616423e-14, -4.5358739633308435e-14, 4.6684676570510833e-14,
      8.596509314011835e-14, 5.743078393200756e-14, -1.0980754099855238e-13, -8.936559926276793e-14,
      5.595440532347099e-14, 1.6328004423783634e-14, 0.0};
  const vec<double> one = vset(1.0), m = vmantissa(a), e = vexponent(a) - vexponent(m);
  const __m512i place = _mm512_maskz_srli_epi64(0xff, (__m512i)m, 48);
  const vec<double> r = vlookup16(place, near_inverse), p = m * r, rest = vfma(m, r, -p), f = p - one;
  const vec<double> square = f * f, square_low = vfma(f, f, -square);
  const vec<double> start = vfma(e, vset(Real<double>::kLn2High), vlookup16(place, log_high));
  const vec<double> first = start + f, first_low = (start - first) + f;
  const vec<double> second = vfma(square, vset(-0.5), first), second_low = vfma(square, vset(-0.5), first - second);
  const vec<double> series = vpoly(f, 0.3333333333333333, -0.24999999999999983, 0.20000000000001186,
                                   -0.1666666666676865, 0.14285714283567064, -0.12499999785120712,
                                   0.11111111187819885, -0.10000184150757999, 0.09093099203849613,
                                   -0.08286401963526555, 0.06540157745390889);
  const vec<double> small = vfma(e, vset(Real<double>::kLn2Low), vlookup16(place, log_low));
  const vec<double> rest_over = vfma(square - f, rest, rest);  // rest / (1 + f)
  const vec<double> tail = vfma(square * f, series, small) + (rest_over - square_low * vset(0.5));
  const vec<double> sum = (first_low + second_low) + tail, high = second + sum;
  low = (second - high) + sum;
  return special ? vlimits<kOfLogarithm>(high, vcopysign(a, vset(0.0))) : high;
}
template <bool special> DLCORE_VECTOR vec<double> vpower_all(vec<double> a, vec<double> b) {
  const vec<double> zero = vset(0.0);
  vec<double> log_low;
  const vec<double> log = vlog_in_two<special>(a, log_low);
  vec<double> product = b * log, rest = vfma(b, log, -product) + b * log_low;
  if (special) {
    const auto nothing = (log == zero) | (b == zero);
    product = nothing ? zero : product;
    rest = nothing ? zero : rest;
  }
  const vec<double> low = vcopysign(product, zero) < vset(800.0) ? rest : zero;  // of infinity there is none
  const vec<double> x = vbetween(product, -800.0, 800.0);
  const vec<double> n = vround(x * vset(1.4426950408889634));
  const vec<double> r = vfma(n, vset(-Real<double>::kLn2Low), vfma(n, vset(-Real<double>::kLn2High), x)) + low;
  const vec<double> q = vpoly(r, 0.5000000000000006, 0.16666666666666685, 0.04166666666657295, 0.00833333333331445,
                              0.0013888888932615678, 0.00019841269903369735, 2.480150414517628e-05,
                              2.755722762571203e-06, 2.76264516753643e-07, 2.5114583997541123e-08);
  const vec<double> value = vscale(vfma(r * r, q, r) + vset(1.0), n);
  if constexpr (special) return vpower_sign(value, a, b);
  else return value;
}

template <class V> DLCORE_VECTOR V vpower(V a, V b) {
  return __builtin_expect(vpower_is_special(a, b), 0) ? vpower_all<true>(a, b) : vpower_all<false>(a, b);
}

#endif
#endif  // DLCORE_ELEMENTWISE_POWER
