// Logarithms, exponentials of doubles, and the error function of floats, by tables in registers: of whole vectors, for
// AVX-512, where one instruction looks 8 doubles or 16 or 32 floats up.
//
// log(x) = log(2^e) + log(1 / r) + log(1 + f), where x = m 2^e and m r = 1 + f, r of 16 numbers near 1 / m: a short
// series and no quotient. exp(x) = 2^n 2^(k / 16) exp(r). A body includes this file once.
#include "common/vectors.inl"
#if DLCORE_ISA == 4

// Tables of 16 and of 32 numbers at places that the last bits of each lane say.
DLCORE_VECTOR vec<float> vlookup16(__m512i place, const float* table) {
  return (vec<float>)_mm512_maskz_permutexvar_ps(0xffff, place, _mm512_loadu_ps(table));
}
DLCORE_VECTOR vec<double> vlookup16(__m512i place, const double* table) {
  return (vec<double>)_mm512_permutex2var_pd(_mm512_loadu_pd(table), place, _mm512_loadu_pd(table + 8));
}
DLCORE_VECTOR vec<float> vlookup32(__m512i place, const float* table) {
  return (vec<float>)_mm512_permutex2var_ps(_mm512_loadu_ps(table), place, _mm512_loadu_ps(table + 16));
}

// ---- logarithms ---------------------------------------------------------------------------------------------------

// Numbers near 1 / m at the place that the first four bits of m after the point say, m in [0.75, 1.5).
template <class T> struct Inverse;
template <> struct Inverse<float> {
  static constexpr int shift = 19;
  static constexpr float near[] = {
      1.0f, 0.90625f, 0.875f, 0.8125f, 0.78125f, 0.75f, 0.71875f, 0.6875f, 1.3125f, 1.25f, 1.21875f, 1.15625f, 1.125f,
      1.09375f, 1.0625f, 1.0f};
};
template <> struct Inverse<double> {
  static constexpr int shift = 48;
  static constexpr double near[] = {
      1.0, 0.9140625, 0.865234375, 0.8203125, 0.78125, 0.744140625, 0.7109375, 0.681640625, 1.306640625, 1.255859375,
      1.20703125, 1.1640625, 1.123046875, 1.083984375, 1.048828125, 1.0};
};

// Of a base: 1 / log(base) = scale + scale_low, the logarithm of 2, step + step_low, and those of 1 / r, of m < 1 of
// 2 / r, for the exponent that AVX-512 gives is one less there. `high` and `step` are so short that sums are exact.
struct BaseE {};
struct Base2 {};
struct Base10 {};
template <class Base, class T> struct LogTable;
template <> struct LogTable<BaseE, float> {
  static constexpr float scale = 1.0f, scale_low = 0.0f, step = 0.69314575f, step_low = 1.4286068e-06f;
  static constexpr float high[] = {
      0.0f, 0.09844971f, 0.13354492f, 0.2076416f, 0.24685669f, 0.2876892f, 0.3302307f, 0.37469482f, 0.4212036f,
      0.47000122f, 0.4953308f, 0.54797363f, 0.5753784f, 0.60354614f, 0.6325073f, 0.69314575f};
  static constexpr float low[] = {
      0.0f, -9.634218e-06f, -1.352925e-05f, -2.2367842e-06f, 3.3884785e-06f, -7.1365325e-06f, 1.097398e-05f,
      -1.3747773e-06f, 9.851795e-06f, 2.4085425e-06f, -9.373317e-06f, -8.462097e-06f, -1.4273065e-05f, -1.1120708e-05f,
      1.5234525e-05f, 1.4286068e-06f};
};
template <> struct LogTable<BaseE, double> {
  static constexpr double scale = 1.0, scale_low = 0.0, step = 0.6931471805601177, step_low = -1.7239444525614835e-13;
  static constexpr double high[] = {
      0.0, 0.0898563291220853, 0.14475485499406204, 0.19806991376208316, 0.24686007793116005, 0.2955252499132257,
      0.34117075740232394, 0.383252702837126, 0.4256877454708956, 0.4653270813614654, 0.5049833481416499,
      0.5412311385343855, 0.577101764802137, 0.6125036918529077, 0.6454737110907445, 0.6931471805601177};
  static constexpr double low[] = {
      0.0, -2.2425180056249017e-13, 3.101034082988782e-13, 1.0634128304268335e-14, 3.657488373208597e-13,
      -4.188868199662314e-13, 4.431816646402999e-13, -4.5358739633308435e-14, 3.290375822008266e-13,
      3.6831799877043413e-13, 1.1241001411909127e-13, -2.8220198625470073e-13, -3.4386369075684227e-14,
      1.109336355105547e-13, -1.5606644083236472e-13, -1.7239444525614835e-13};
};
template <> struct LogTable<Base2, float> {
  static constexpr float scale = 1.442695f, scale_low = 1.925963e-08f, step = 1.0f, step_low = 0.0f;
  static constexpr float high[] = {
      0.0f, 0.14202881f, 0.19262695f, 0.29956055f, 0.35614014f, 0.41503906f, 0.47644043f, 0.5405884f, 0.607666f,
      0.6781006f, 0.7145996f, 0.79052734f, 0.8300781f, 0.87072754f, 0.9125366f, 1.0f};
  static constexpr float low[] = {
      0.0f, -9.803722e-06f, 1.8124818e-05f, -2.650161e-07f, 3.6735066e-06f, -1.5632212e-06f, -2.3857444e-06f,
      -1.9997544e-05f, 1.6561597e-05f, -2.8680824e-05f, -1.8282373e-06f, 1.9290621e-05f, -3.1264424e-06f,
      -1.05560075e-05f, 5.376559e-07f, 0.0f};
};
template <> struct LogTable<Base2, double> {
  static constexpr double scale = 1.4426950408889634, scale_low = 2.0355273740931033e-17, step = 1.0, step_low = 0.0;
  static constexpr double high[] = {
      0.0, 0.1296352804165508, 0.20883711144506378, 0.2857544823336866, 0.3561438102251486, 0.4263528125065932,
      0.4922053598011189, 0.5529167737904572, 0.6141375993584006, 0.6713250726716069, 0.7285369720957533,
      0.7808314795374827, 0.8325818541679837, 0.8836560387626378, 0.931221722014925, 1.0};
  static constexpr double low[] = {
      0.0, 4.466345291637466e-14, -8.20902802038674e-14, 1.9075301583480665e-13, 1.266771905137232e-13,
      8.478351458871054e-14, 1.8482976480732484e-13, -1.0945834064222337e-13, 1.384645276316078e-13,
      4.4577814915742626e-13, -1.2786158699659166e-13, 3.5576393345119293e-13, 2.7873936016447883e-13,
      -1.0607446600933678e-13, -3.3764072776923224e-13, 0.0};
};
template <> struct LogTable<Base10, float> {
  static constexpr float scale = 0.4342945f, scale_low = -1.010305e-08f, step = 0.3010254f, step_low = 4.605039e-06f;
  static constexpr float high[] = {
      0.0f, 0.042755127f, 0.0579834f, 0.09017944f, 0.10720825f, 0.124938965f, 0.14343262f, 0.16271973f, 0.18292236f,
      0.20413208f, 0.21511841f, 0.23797607f, 0.24987793f, 0.26211548f, 0.27468872f, 0.3010254f};
  static constexpr float low[] = {
      0.0f, -3.1465322e-06f, 8.54854e-06f, -2.8130103e-06f, 1.7176948e-06f, -2.2823545e-07f, -1.0474885e-05f,
      7.5709354e-06f, 8.320305e-06f, -1.2097422e-05f, -3.0412457e-06f, 2.1756982e-06f, -4.564709e-07f, -3.548882e-06f,
      1.2336239e-05f, 4.605039e-06f};
};
template <> struct LogTable<Base10, double> {
  static constexpr double scale = 0.4342944819032518, scale_low = 1.098319650216765e-17, step = 0.3010299956640665,
                          step_low = -8.532344317057107e-14;
  static constexpr double high[] = {
      0.0, 0.03902410790215072, 0.06286623475261877, 0.08602067057836393, 0.10720996964755614, 0.12834498529991833,
      0.14816857732694189, 0.1664445340165912, 0.18487383887168107, 0.20208898371583928, 0.2193114815509034,
      0.23505369689974032, 0.2506321119499262, 0.2660069735175057, 0.28032567094032856, 0.3010299956640665};
  static constexpr double low[] = {
      0.0, -4.43994864315875e-13, 1.4243076941965304e-13, -4.336398978183289e-13, 3.122305995789308e-13,
      2.931204504995498e-13, -1.671194079832088e-13, 5.965465616908679e-14, 3.077681523260574e-13,
      -2.4939691047516593e-13, 9.270566940636622e-14, -1.6479298687236965e-13, 2.5527967242784504e-13,
      -3.6997161985200967e-13, -7.221875720861181e-14, -8.532344317057107e-14};
};

// log(1 + f) - f over f^2, |f| <= 1/16, times `scale`: relative errors of 2^-27 and 2^-60 of log(1 + f).
template <class Table> DLCORE_VECTOR vec<float> vlog_series(vec<float> f, vec<float>) {
  constexpr float s = Table::scale;
  return vpoly(f, s * -0.49999982f, s * 0.33334455f, s * -0.2503376f, s * 0.19218737f);
}
template <class Table> DLCORE_VECTOR vec<double> vlog_series(vec<double> f, vec<double> z) {
  constexpr double s = Table::scale;
  const vec<double> even = vpoly(z, s * -0.49999999999999994, s * -0.2500000000004781, s * -0.16666666536444028,
                                 s * -0.12500140353061054, s * -0.0995536987693259);
  const vec<double> odd = vpoly(z, s * 0.3333333333333347, s * 0.19999999999579524, s * 0.14285713749997075,
                                s * 0.11113171938503841, s * 0.07849206062398138);
  return vfma(odd, f, even);
}

// The logarithm of x: of floats 0.8 ulp, of doubles 1.2.
template <class Base, class V> DLCORE_VECTOR V vlog(V x) {
  using T = lane<V>;
  using Table = LogTable<Base, T>;
  const V m = vmantissa(x), e = vexponent(x);
  __m512i place;
  if constexpr (sizeof(T) == 4) place = _mm512_maskz_srli_epi32(0xffff, (__m512i)m, Inverse<T>::shift);
  else place = _mm512_maskz_srli_epi64(0xff, (__m512i)m, Inverse<T>::shift);
  const V f = vfma(m, vlookup16(place, Inverse<T>::near), vset(T(-1))), z = f * f, series = vlog_series<Table>(f, z);
  const V start = vfma(e, vset(Table::step), vlookup16(place, Table::high));
  V small = vlookup16(place, Table::low);
  if constexpr (Table::step_low != T(0)) small = vfma(e, vset(Table::step_low), small);
  if constexpr (Table::scale == T(1)) return vlimits<kOfLogarithm>(start + (f + vfma(z, series, small)), x);
  const V rest = vfma(z, series, vfma(f, vset(Table::scale_low), small));
  return vlimits<kOfLogarithm>(start + vfma(f, vset(Table::scale), rest), x);
}

// ---- exponentials of doubles --------------------------------------------------------------------------------------

// 2^n e^r for n a multiple of 1/16, given as n + kToSixteenths: 0.6 ulp, rounded gradually below the normal range.
constexpr double kToSixteenths = 0x1.8p48;
DLCORE_VECTOR vec<double> vexp_of(vec<double> rounded, vec<double> n, vec<double> r) {
  static constexpr double powers[] = {
      1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916, 1.189207115002721, 1.241857812073484,
      1.2968395546510096, 1.3542555469368927, 1.4142135623730951, 1.4768261459394993, 1.5422108254079407,
      1.6104903319492543, 1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474};
  static constexpr double lacking[] = {  // of 2^(k / 16), relative
      0.0, 8.189317638195515e-17, -2.7939114859515733e-17, 7.826573258636076e-17, 3.3484623336251524e-17,
      3.750854201303127e-17, 1.9572585293112036e-17, 5.68648095791174e-17, -6.835808657661922e-17,
      -2.3591094770850053e-17, 5.1548301170786783e-17, 1.5341410053603723e-17, 4.875160526227062e-17,
      1.685487290628973e-17, 1.790126907604513e-17, -5.545065618639427e-17};
  const vec<double> power = vlookup16((__m512i)rounded, powers), rest = vlookup16((__m512i)rounded, lacking);
  const vec<double> q = vpoly(r, 0.5000000000000004, 0.16666666664376847, 0.04166666666074514, 0.008333472895780234,
                              0.0013889110172841674);
  return vscale(vfma(power, r + vfma(r * r, q, rest), power), n);  // scales by the power's whole part
}
DLCORE_VECTOR vec<double> vexp(vec<double> x, vec<double> low) {  // exp(x + low), |x| < 1000
  const vec<double> rounded = vfma(x, vset(1.4426950408889634), vset(kToSixteenths)), n = rounded - vset(kToSixteenths);
  const vec<double> r = vfma(n, vset(-Real<double>::kLn2Low), vfma(n, vset(-Real<double>::kLn2High), x));
  return vexp_of(rounded, n, r + low);
}
DLCORE_VECTOR vec<double> vexp(vec<double> x) {
  return vexp(vbetween(x, Real<double>::kExpMin, Real<double>::kExpMax), vset(0.0));
}
DLCORE_VECTOR vec<double> vexp2(vec<double> given) {
  const vec<double> x = vbetween(given, -1080.0, 1025.0), rounded = x + vset(kToSixteenths);
  const vec<double> n = rounded - vset(kToSixteenths);
  return vexp_of(rounded, n, (x - n) * vset(0.6931471805599453));
}

// ---- the error function of floats ---------------------------------------------------------------------------------

// A polynomial around the nearest multiple of 65/512, |x| <= 3.9355, where it is 1: 2 ulp.
DLCORE_VECTOR vec<float> verf(vec<float> x) {
  static constexpr float c0[] = {
      0.0f, 0.14248537f, 0.280463f, 0.40984848f, 0.5273385f, 0.63065135f, 0.7186238f, 0.79116374f, 0.84908605f,
      0.89387316f, 0.92740816f, 0.9517236f, 0.9687964f, 0.98040456f, 0.9880475f, 0.9929205f, 0.9959292f, 0.997728f,
      0.99876946f, 0.9993533f, 0.9996703f, 0.999837f, 0.9999218f, 0.99996364f, 0.9999836f, 0.99999285f, 0.99999696f,
      0.99999875f, 0.9999995f, 0.9999998f, 0.99999994f, 1.0f};
  static constexpr float c1[] = {
      1.1283791f, 1.1103382f, 1.0579293f, 0.97602034f, 0.8718906f, 0.75416434f, 0.6316418f, 0.5122437f, 0.40223813f,
      0.30583745f, 0.22516398f, 0.16051218f, 0.1107944f, 0.074050575f, 0.047922537f, 0.03002976f, 0.018220682f,
      0.010704787f, 0.006089647f, 0.0033543375f, 0.001789048f, 0.0009239271f, 0.00046201274f, 0.0002237024f,
      0.00010487881f, 4.761077e-05f, 2.0927771e-05f, 8.907196e-06f, 3.670788e-06f, 1.4647981e-06f, 5.659738e-07f,
      2.1174586e-07f};
  static constexpr float c2[] = {
      1.3029965e-05f, -0.14095591f, -0.2686164f, -0.37171227f, -0.44278198f, -0.47869816f, -0.48114172f, -0.4552323f,
      -0.40853402f, -0.3494585f, -0.28586468f, -0.224145f, -0.16880825f, -0.12223839f, -0.08515471f, -0.057179257f,
      -0.037010178f, -0.023101997f, -0.013944017f, -0.008067545f, -0.0045632245f, -0.002485701f, -0.0012879189f,
      -0.0006664813f, -0.00033267084f, -0.00017202887f, -7.054972e-05f, -2.8813063e-05f, -3.4044122e-05f,
      -1.8786255e-05f, -1.4438097e-05f, -2.6753354e-05f};
  static constexpr float c3[] = {
      -0.3768772f, -0.35765845f, -0.30677986f, -0.23073539f, -0.14071596f, -0.048951432f, 0.033507764f, 0.098605506f,
      0.1421747f, 0.16392893f, 0.16665193f, 0.15503801f, 0.1344327f, 0.10978151f, 0.08498904f, 0.06264971f,
      0.04411131f, 0.029733557f, 0.019220604f, 0.011931607f, 0.007120494f, 0.0040886663f, 0.0022605935f, 0.0012041879f,
      0.0006183239f, 0.00030617925f, 0.00014626264f, 6.742607e-05f, 3.0004103e-05f, 1.2891325e-05f, 5.3490257e-06f,
      2.1438527e-06f};
  static constexpr float c4[] = {
      0.015956854f, 0.06862104f, 0.12865171f, 0.16483496f, 0.18808039f, 0.17104977f, 0.14909329f, 0.110920995f,
      0.0660654f, 0.025837546f, -0.00811797f, -0.03504207f, -0.04213472f, -0.044632617f, -0.05107395f, -0.041796956f,
      -0.032539982f, -0.02457457f, -0.011697166f, -0.016340857f, -0.0034017428f, -0.00015624671f, -0.003213089f,
      0.00110007f, 0.0017703176f, 0.0037188216f, 7.416953e-05f, -0.0004464116f, 0.0041197143f, 0.0026373197f,
      0.0024292073f, 0.005142406f};
  constexpr float width = 0x1.04p-3f;
  const __m512 most = _mm512_set1_ps(31 * width);  // returns the second operand where it is NaN
  const vec<float> a = (vec<float>)_mm512_maskz_min_ps(0xffff, most, _mm512_abs_ps((__m512)x));
  const vec<float> rounded = vfma(a, vset(1.0f / width), vset(Real<float>::kRound));
  const vec<float> t = vfma(rounded - vset(Real<float>::kRound), vset(-width), a);
  const __m512i place = (__m512i)rounded;
  const vec<float> low = vfma(vlookup32(place, c1), t, vlookup32(place, c0));
  const vec<float> high = vfma(vfma(vlookup32(place, c4), t, vlookup32(place, c3)), t, vlookup32(place, c2));
  return vcopysign(vfma(t * t, high, low), x);
}

#endif
