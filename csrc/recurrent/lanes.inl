// Lanes: as many units as a vector has, of which the first `count` are there; and the functions of gates on them.
#define DLCORE_LANES static inline __attribute__((always_inline))

template <class S> DLCORE_LANES vec<compute_t<S>> load_lanes(const S* from, int count) {
  return count == kLanes<compute_t<S>> ? widen(from) : widen_first(from, count);
}
// Those of an operand that may be absent: zeros then.
template <class S> DLCORE_LANES vec<compute_t<S>> lanes_or_zero(const S* from, int64_t at, int count) {
  return from ? load_lanes(from + at, count) : vec<compute_t<S>>{};
}
template <class S> DLCORE_LANES void store_lanes(S* to, vec<compute_t<S>> x, int count) {
  using C = compute_t<S>;
  if constexpr (std::is_same_v<S, C>) {
    if (count == kLanes<C>) vstore(to, x);
    else vstore_first(to, x, count);
  } else {
    C values[kLanes<C>];
    vstore(values, x);
    if (count == kLanes<C>) return store_block(to, values, kLanes<C>);
    for (int l = 0; l < count; ++l) store(to + l, values[l]);
  }
}

// 1 / (1 + exp(-x)): 2 ulp, and 1.6e-38 (or 1e-308) for all that is less.
DLCORE_MATH T gate_sigmoid(T x) {
  constexpr T far = sizeof(T) == 4 ? T(87) : T(708);
  const T low = x < -far ? -far : x;
  return T(1) / (T(1) + exp_normal(-at_most(low, far)));
}

template <class C> struct GateFunctions {
  DLCORE_LANES vec<C> sigmoid(vec<C> x) {
    C v[kLanes<C>];
    vstore(v, x);
#pragma omp simd
    for (int l = 0; l < kLanes<C>; ++l) v[l] = gate_sigmoid(v[l]);
    return vload(v);
  }
  DLCORE_LANES vec<C> tanh(vec<C> x) {
    C v[kLanes<C>];
    vstore(v, x);
#pragma omp simd
    for (int l = 0; l < kLanes<C>; ++l) v[l] = tanh_(v[l]);
    return vload(v);
  }
};

#if DLCORE_ISA == 4
// With the instruction for p 2^n, and a reciprocal of 14 bits and a step of Newton's in the place of a division, which
// takes as long as ten multiply-adds.
template <> struct GateFunctions<float> {
  using V = vec<float>;
  DLCORE_LANES V reciprocal(V x) {
    const V r = (V)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
    return vfma(r, vfma(-x, r, vset(1.0f)), r);
  }
  DLCORE_LANES V sigmoid(V x) {
    const __m512 low = _mm512_maskz_max_ps(0xffff, _mm512_set1_ps(-87.0f), (__m512)-x);  // NaN passes
    return reciprocal(vset(1.0f) + scaled_exp((V)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(87.0f), low)));
  }
  DLCORE_LANES V tanh(V x) {
    using R = Real<float>;
    const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    const V twice = (V)_mm512_maskz_andnot_epi32(0xffff, sign, (__m512i)x) * vset(2.0f);
    const V a = (V)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(2 * R::kOne), (__m512)twice);  // NaN passes
    const V rounded = vfma(a, vset(1.4426950408889634f), vset(R::kRoundExponent));
    const V n = rounded - vset(R::kRoundExponent);
    const V r = vfma(n, vset(-R::kLn2Low), vfma(n, vset(-R::kLn2High), a));
    V q = vfma(vset(0.001394671f), r, vset(0.008366642f));
    q = vfma(vfma(vfma(q, r, vset(0.041666277f)), r, vset(0.16666542f)), r, vset(0.5f));
    const V power = (V)_mm512_maskz_scalef_ps(0xffff, _mm512_set1_ps(1.0f), (__m512)n);
    const V e = vfma(power, vfma(r * r, q, r), power - vset(1.0f));  // exp(2 |x|) - 1
    const V t = e * reciprocal(e + vset(2.0f));
    return (V)_mm512_ternarylogic_epi32(sign, (__m512i)x, (__m512i)t, 0xca);  // the sign of x
  }
};
#endif
