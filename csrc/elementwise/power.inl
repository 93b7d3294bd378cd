// Powers of whole vectors, for AVX-512: 2^(b log2(a)) with the logarithm in more bits than the result has: 0.7 ulp of
// floats; 0.75 ulp of doubles, 3 where a is within 1/16 of 1 and b so large that the result is near either limit.
//
// The logarithm is a sum of two numbers: log(a) = log(2^e) + log(1 / r) + log(1 + f), where r is near 1 / m, from a
// table in registers, and m r = 1 + f. Of floats r has so few bits that f is exact. Floats were computed in double,
// two vectors of it for one, 42 multiply-adds and 4 scalings: 82 cycles of a Zen 4 for 16. With floats alone, and a
// table of powers of 2 for the exponential, there are 19 in 43 instructions: 8.6 ns for 16 from the first-level
// cache, 9.2 of a million; NumPy's, which may be 4 ulp off, take 10.8 and 11.8. The multiply-adds, 5 look-ups, the
// mantissa and the exponent go through the same two pipes of half a vector's width, 0.27 ns each: 7.0. Two vectors
// step by step side by side took 8.3, one without regard to special numbers 8.1. Without the compensation of f^2 / 2,
// which makes 3.2 ulp of bases near 1.03, and 15 multiply-adds it was 7.8, without special numbers as well 7.4.
#ifndef DLCORE_ELEMENTWISE_POWER
#define DLCORE_ELEMENTWISE_POWER
#include "elementwise/lookup.inl"
#if DLCORE_ISA == 4

// Whether a or b is none of the common numbers: a not above 0, b 0, either not finite. Then limits are looked after.
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

// ---- floats ---------------------------------------------------------------------------------------------------------

// By way of doubles, whatever a and b are: limits are where a float is 0 or infinite.
DLCORE_VECTOR vec<double> vpower_of(vec<double> a, vec<double> b) {
  const vec<double> zero = vset(0.0), m = vmantissa(a), e = vexponent(a) - vexponent(m), f = m - vset(1.0);
  const vec<double> series = vpoly(f, 1.442695040910634, -0.7213475208314819, 0.4808983326420627, -0.36067365350215286,
                                   0.2885404280951152, -0.2404584156829283, 0.2060568506246122, -0.18000367647155022,
                                   0.16050324026031762, -0.1492081477418373, 0.13879197848996863, -0.10203852018304481,
                                   0.03798832144787597);
  const vec<double> log = vlimits<kOfLogarithm>(vfma(f, series, e), vcopysign(a, zero)), product = b * log;
  const vec<double> x = vbetween((log == zero) | (b == zero) ? zero : product, -300.0, 300.0);
  const vec<double> n = vround(x), r = x - n;
  return vscale(vpoly(r, 1.0000000005545295, 0.6931472057386252, 0.24022646890044974, 0.05550328775837842,
                      0.009618488984431423, 0.0013399931357904154, 0.00015345807780148084), n);
}
template <int half> DLCORE_VECTOR vec<double> vhalf(vec<float> x) {
  return (vec<double>)_mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, (__m512)x, half));
}
static __attribute__((noinline)) vec<float> vpower_of_all(vec<float> a, vec<float> b) {
  const vec<double> first = vpower_of(vhalf<0>(a), vhalf<0>(b)), second = vpower_of(vhalf<1>(a), vhalf<1>(b));
  const __m512 low = _mm512_castps256_ps512(_mm512_maskz_cvtpd_ps(0xff, (__m512d)first));
  const __m256 high = _mm512_maskz_cvtpd_ps(0xff, (__m512d)second);
  return (vec<float>)_mm512_maskz_insertf32x8(0xffff, low, high, 1);
}

// b log2(|a|) = high + low where that is a number, with an error of 2^-33 of it.
DLCORE_VECTOR vec<float> vexponent_of_power(vec<float> a, vec<float> b, vec<float>& low) {
  static constexpr float inverse[] = {  // times -1/2
      -0.5f, -0.4765625f, -0.4609375f, -0.453125f, -0.4375f, -0.42578125f, -0.4140625f, -0.40625f, -0.39453125f,
      -0.38671875f, -0.375f, -0.3671875f, -0.359375f, -0.3515625f, -0.34375f, -0.3359375f, -0.65625f, -0.6484375f,
      -0.6328125f, -0.625f, -0.609375f, -0.6015625f, -0.5859375f, -0.578125f, -0.5625f, -0.5546875f, -0.546875f,
      -0.5390625f, -0.53125f, -0.5234375f, -0.515625f, -0.5f};
  // -log2 of the inverse, of m < 1 one more, to 2^-16, so that sums with exponents are exact.
  static constexpr float log_high[] = {
      0.0f, 0.06925964f, 0.11735535f, 0.14201355f, 0.19264221f, 0.23181152f, 0.27207947f, 0.29956055f, 0.34178162f,
      0.370636f, 0.41503906f, 0.44540405f, 0.47644043f, 0.5081482f, 0.5405731f, 0.57373047f, 0.6076813f,
      0.6249542f, 0.66015625f, 0.67807007f, 0.7145996f, 0.73321533f, 0.7711792f, 0.7905426f, 0.8300781f, 0.85025024f,
      0.8707123f, 0.8914795f, 0.9125366f, 0.9339142f, 0.9556122f, 1.0f};
  static constexpr float log_low[] = {
      0.0f, 3.0188824e-06f, 1.6039585e-06f, 5.455068e-06f, 2.8660284e-06f, 4.1517856e-06f, 7.7663366e-08f,
      -2.650161e-07f, 6.901037e-06f, 7.393592e-06f, -1.5632212e-06f, 7.095588e-06f, -2.3857444e-06f, -1.2896891e-06f,
      -4.7387543e-06f, 4.776548e-06f, 1.3028072e-06f, 6.34502e-06f, -6.2528848e-06f, 1.8367533e-06f, -1.8282373e-06f,
      -1.8727261e-06f, 2.1102853e-06f, 4.031832e-06f, -3.1264424e-06f, 2.6363548e-06f, 4.7027816e-06f, -3.9489655e-06f,
      5.376559e-07f, -3.375028e-06f, -6.3019756e-06f, 0.0f};
  const vec<float> scale = vset(-2 * 1.442695f), m = vmantissa(a);
  const __m512i place = _mm512_maskz_srli_epi32(0xffff, (__m512i)m, 18);
  const vec<float> g = vfma(m, vlookup32(place, inverse), vset(0.5f));  // -f / 2, exact
  const vec<float> h = vfma(g, g, g), h_low = vfma(g, g, g - h);        // -1/2 of f - f^2 / 2
  // -1/2 of the rest of log(1 + f), and what `scale` lacks of 1 / ln 2: 1.3349759e-08 of itself.
  const vec<float> z = g * g, first = vfma(g, vset(8 * 0.25003153f), vset(4 * 0.33333328f));
  const vec<float> series = vfma(z, vfma(g, vset(32 * 0.15762411f), vset(16 * 0.20073868f)), first);
  const vec<float> rest = vfma(g, vfma(z, series, vset(1.3349759e-08f)), h_low);
  const vec<float> start = vexponent(a) + vlookup32(place, log_high), over = h * scale, log = start + over;
  const vec<float> small = ((start - log) + over) + vlookup32(place, log_low);
  const vec<float> log_rest = vfma(rest, scale, vfma(h, scale, -over)) + small;
  const vec<float> product = b * log;
  low = vfma(b, log_rest, vfma(b, log, -product));
  return product;
}

// 2^(x + low) where that is a normal number: 2^(k / 16) from a table, whose bits lack those of k in the exponent's
// place, times 2^r, and times 1 and what the table's numbers lack.
DLCORE_VECTOR vec<float> vpower_of_two(vec<float> x, vec<float> low) {
  static constexpr uint32_t powers[] = {0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                                        0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                                        0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  static constexpr float lacking[] = {0.0f, 4.628547e-08f, -1.19921575e-08f, 4.7297824e-08f, 3.193418e-08f,
                                      3.6210572e-08f, -3.099072e-08f, -7.475213e-09f, 1.7114271e-08f, -3.0476834e-08f,
                                      5.233334e-09f, 6.1075918e-09f, -1.4719605e-08f, -5.258795e-09f, -6.1282597e-09f,
                                      5.1406093e-09f};
  const vec<float> to_sixteenths = vset(0x1.8p19f), rounded = (x + low) + to_sixteenths;
  const vec<float> r = (x - (rounded - to_sixteenths)) + low;
  const __m512i place = (__m512i)rounded, shifted = _mm512_maskz_slli_epi32(0xffff, place, 19);
  const __m512i base = _mm512_maskz_permutexvar_epi32(0xffff, place, _mm512_loadu_si512(powers));
  const vec<float> power = (vec<float>)_mm512_add_epi32(base, shifted);
  const vec<float> more = vfma(vpoly(r, 0.6931472f, 0.2402343f, 0.05549966f), r, vlookup16(place, lacking));
  return vfma(power, more, power);
}

DLCORE_VECTOR vec<float> vpower(vec<float> a, vec<float> b) {
  vec<float> low;
  const vec<float> x = vexponent_of_power(a, b, low), value = vpower_of_two(x, low);
  // Neither limits nor NaN have exponents within; nor have subnormal numbers.
  const __mmask16 others = _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)x), _mm512_set1_ps(125.0f), _CMP_NLT_UQ);
  if (__builtin_expect(others | _mm512_movepi32_mask((__m512i)a), 0)) {
    const __m512 all = others ? (__m512)vpower_of_all(a, b) : (__m512)value;
    return vpower_sign((vec<float>)_mm512_mask_mov_ps((__m512)value, others, all), a, b);
  }
  return value;
}

// ---- doubles --------------------------------------------------------------------------------------------------------

// log(|a|) = high + low.
template <bool special> DLCORE_VECTOR vec<double> vlog_in_two(vec<double> a, vec<double>& low) {
  using Table = LogTable<BaseE, double>;
  const vec<double> m = vmantissa(a), e = vexponent(a);
  const __m512i place = _mm512_maskz_srli_epi64(0xff, (__m512i)m, Inverse<double>::shift);
  const vec<double> r = vlookup16(place, Inverse<double>::near), p = m * r, rest = vfma(m, r, -p), f = p - vset(1.0);
  const vec<double> minus_half = f * vset(-0.5), h = vfma(f, minus_half, f), h_low = vfma(f, minus_half, f - h);
  const vec<double> start = vfma(e, vset(Table::step), vlookup16(place, Table::high));
  const vec<double> first = start + h, first_low = (start - first) + h, square = f * f;
  const vec<double> series = vpoly(f, 0.3333333333333333, -0.24999999999999983, 0.20000000000001186,
                                   -0.1666666666676865, 0.14285714283567064, -0.12499999785120712,
                                   0.11111111187819885, -0.10000184150757999, 0.09093099203849613,
                                   -0.08286401963526555, 0.06540157745390889);
  const vec<double> small = vfma(e, vset(Table::step_low), vlookup16(place, Table::low));
  const vec<double> rest_over = vfma(square - f, rest, rest);  // rest / (1 + f)
  const vec<double> tail = vfma(square * f, series, small) + (rest_over + h_low);
  const vec<double> sum = first_low + tail, high = first + sum;
  low = (first - high) + sum;
  return special ? vlimits<kOfLogarithm>(high, vcopysign(a, vset(0.0))) : high;
}
template <bool special> DLCORE_VECTOR vec<double> vpower_all(vec<double> a, vec<double> b) {
  const vec<double> zero = vset(0.0);
  vec<double> log_low;
  const vec<double> log = vlog_in_two<special>(a, log_low);
  vec<double> product = b * log, rest = vfma(b, log_low, vfma(b, log, -product));
  if (special) {
    const auto nothing = (log == zero) | (b == zero);
    product = nothing ? zero : product;
    rest = nothing ? zero : rest;
  }
  const vec<double> low = vcopysign(product, zero) < vset(800.0) ? rest : zero;  // of infinity there is none
  const vec<double> value = vexp(vbetween(product, -800.0, 800.0), low);
  if constexpr (special) return vpower_sign(value, a, b);
  else return value;
}

DLCORE_VECTOR vec<double> vpower(vec<double> a, vec<double> b) {
  return __builtin_expect(vpower_is_special(a, b), 0) ? vpower_all<true>(a, b) : vpower_all<false>(a, b);
}

#endif
#endif  // DLCORE_ELEMENTWISE_POWER
