// What activations with an exponential share: exp(-|x|) kept in two parts, and silu, which gates are made of too. A
// body includes it once.
#include "common/vectors.inl"

struct Bounded {
  static constexpr int64_t kGrain = 1 << 16;
};
struct Exponential {
  static constexpr int64_t kGrain = 1 << 14;
};

DLCORE_MATH T at_least(T x, T low) { return x < low ? low : x; }

// exp(-|x|), and times(f) = f exp(-|x|) rounded once.
template <class T> struct Decay {
  T scaled, rest, e;
  __attribute__((always_inline)) explicit Decay(T x) {
    constexpr T zero = Real<T>::kRoundExponent;
    T rounded;
    const T r = reduce_exp(-at_most(abs_(x), T(1.25) * -Real<T>::kExpMin), rounded), n = rounded - zero;
    const T half = fma_(n, T(0.5), zero);
    scaled = (expm1_reduced(r) + T(1)) * power_of_two(half);
    rest = power_of_two((n - (half - zero)) + zero);
    e = scaled * rest;
  }
  __attribute__((always_inline)) T times(T factor) const { return scaled * factor * rest; }
};

#if DLCORE_ISA == 4
// Of whole vectors, to the same bits with an instruction for p 2^n: exp(-|x|) = power 2^n.
template <> struct Decay<vec<float>> {
  vec<float> power, n, e;
  __mmask16 negative;  // x is below 0, or -0, or NaN
  DLCORE_MAP explicit Decay(vec<float> x) : negative(_mm512_movepi32_mask((__m512i)x)) {
    using R = Real<float>;
    const __m512 down = (__m512)((__m512i)x | (__m512i)vset(-0.0f));  // -|x|; of a NaN NaN, as the second operand
    const vec<float> y = (vec<float>)_mm512_maskz_max_ps(0xffff, _mm512_set1_ps(1.25f * R::kExpMin), down);
    const vec<float> rounded = vfma(y, vset(1.4426950408889634f), vset(R::kRoundExponent));
    n = rounded - vset(R::kRoundExponent);
    const vec<float> r = vfma(n, vset(-R::kLn2Low), vfma(n, vset(-R::kLn2High), y));
    const vec<float> q = vpoly(r, 0.5f, 0.16666542f, 0.041666277f, 0.008366642f, 0.001394671f);
    power = vfma(r * r, q, r) + vset(1.0f);
    e = vscale(power, n);
  }
  DLCORE_MAP vec<float> times_where_negative(vec<float> factor) const {  // else the factor alone
    const __m512 scaled = _mm512_mask_mul_ps((__m512)factor, negative, (__m512)factor, (__m512)power);
    return (vec<float>)_mm512_mask_scalef_ps(scaled, negative, scaled, (__m512)n);
  }
};
DLCORE_VECTOR vec<float> vwithin(vec<float> x, float low, float high) {  // NaN as it is
  const __m512 least = _mm512_maskz_max_ps(0xffff, _mm512_set1_ps(low), (__m512)x);
  return (vec<float>)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(high), least);
}
#endif

struct Silu : Exponential {  // x / (1 + exp(-x))
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    const Decay<T> d(x);
    return (x < T(0) ? d.times(at_least(x, T(-1e4))) : x) / (T(1) + d.e);
  }
#if DLCORE_ISA == 4
  DLCORE_MAP static vec<float> vector(vec<float> x) {
    const Decay<vec<float>> d(x);
    return d.times_where_negative(vwithin(x, -1e4f, std::numeric_limits<float>::infinity())) / (vset(1.0f) + d.e);
  }
#endif
};
// s (1 + x (1 - s)), s the logistic function; with e = exp(-|x|) and q = 1 / (1 + e): s = q or e q.
struct SiluBackward : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    const Decay<T> d(x);
    const T q = T(1) / (T(1) + d.e), y = at_least(at_most(x, T(1e4)), T(-1e4));
    const T up = q * fma_(y, d.e * q, T(1)), down = d.times(fma_(y, q, T(1))) * q;
    return dout * (x < T(0) ? down : up);
  }
#if DLCORE_ISA == 4
  DLCORE_MAP static vec<float> vector(vec<float> dout, vec<float> x) {
    const Decay<vec<float>> d(x);
    const vec<float> q = vset(1.0f) / (vset(1.0f) + d.e);
    const vec<float> other = (vec<float>)_mm512_mask_mov_ps((__m512)(d.e * q), d.negative, (__m512)q);
    return dout * (d.times_where_negative(vfma(vwithin(x, -1e4f, 1e4f), other, vset(1.0f))) * q);
  }
#endif
};
