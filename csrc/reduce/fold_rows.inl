// Folds of many rows, each with the bits of common/fold.inl. In short ones most of the time goes into the last steps,
// from a vector to a number. Of as many rows as a vector has lanes these are done together: two vectors of which each
// holds the lanes of some rows become one that holds half as many lanes of all of them. A row of 64 elements or more is
// folded alone, within registers: a block has too few of them (4 of 1024; their sums, 4 MB, took 59 and take 50 us).
//
// 16-bit floats are widened in registers, or compared as integers of the same order.
#include "common/fold.inl"

// The numbers of a vector's lanes.
template <class T> static inline vec<T> place_vector() {
  vec<T> place;
#pragma GCC unroll 64
  for (int i = 0; i < kLanes<T>; ++i) place[i] = static_cast<T>(i);
  return place;
}

// The first n of N elements (of 64 bytes at most), zeros beyond.
template <int N, class S> static inline void load_few(S* few, const S* x, int n) {
#if DLCORE_ISA == 4
  const __mmask64 mask = ~__mmask64{} >> (64 - n * sizeof(S));
  const __m512i bytes = _mm512_maskz_loadu_epi8(mask, x);
  std::memcpy(few, &bytes, N * sizeof(S));
#else
  for (int i = 0; i < N; ++i) few[i] = i < n ? x[i] : S{};
#endif
}

// The bits of a comparison of vectors, one a lane.
template <class T, class Mask> static inline int true_lanes(Mask mask) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
#if DLCORE_ISA == 4
  if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask((__m512i)mask);
  else return _mm512_movepi64_mask((__m512i)mask);
#elif DLCORE_ISA == 3
  if constexpr (sizeof(T) == 4) return _mm256_movemask_ps((__m256)mask);
  else return _mm256_movemask_pd((__m256d)mask);
#else
  if constexpr (sizeof(T) == 4) return _mm_movemask_ps((__m128)mask);
  else return _mm_movemask_pd((__m128d)mask);
#endif
}

// Which lanes are equal, one bit each: a comparison of vectors as a vector would be made of the mask first.
template <class T> static inline int equal_lanes(vec<T> a, vec<T> b) {
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<T, float>) return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
  else if constexpr (std::is_same_v<T, double>) return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ);
  else if constexpr (sizeof(T) == 4) return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
  else return _mm512_cmpeq_epi64_mask((__m512i)a, (__m512i)b);
#else
  return true_lanes<T>(a == b);
#endif
}

// Join{}(a, b); where there are masks the largest of floats by two instructions, not three.
template <class Join, class V> static inline V joined(V a, V b) {
#if DLCORE_ISA == 4
  constexpr bool larger = std::is_same_v<Join, Larger>;
  if constexpr ((larger || std::is_same_v<Join, Smaller>)&&std::is_same_v<V, vec<float>>) {
    const __m512 x = (__m512)a, y = (__m512)b;
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    return (V)(larger ? _mm512_mask_max_ps(x, number, x, y) : _mm512_mask_min_ps(x, number, x, y));
  }
  if constexpr ((larger || std::is_same_v<Join, Smaller>)&&std::is_same_v<V, vec<double>>) {
    const __m512d x = (__m512d)a, y = (__m512d)b;
    const __mmask8 number = _mm512_cmp_pd_mask(x, x, _CMP_ORD_Q);
    return (V)(larger ? _mm512_mask_max_pd(x, number, x, y) : _mm512_mask_min_pd(x, number, x, y));
  }
#endif
  return Join{}(a, b);
}

// Elements of memory as vectors of what is joined, and one alone: as they are stored, or widened.
template <class S> struct AsStored {
  using L = S;
  static vec<L> vector(const S* p) { return vload(p); }
  static L one(const S* p) { return *p; }
};
template <class S> struct Widened {
  using L = compute_t<S>;
  static vec<L> vector(const S* p) { return widen(p); }
  static L one(const S* p) { return load(p); }
};

// join of identity and x[0] .. x[n-1] in a quarter of kWideBytes of lanes, as fold_array joins them. What is new stands
// first, so that its test for NaN does not wait for the last join.
template <class L> constexpr int kParts = kWideBytes / 4 / kVectorBytes;
template <class Join, class From, class S, class L>
static inline __attribute__((always_inline)) void fold_to_lanes(const S* x, int64_t n, L identity, vec<L>* lanes) {
  constexpr int kLane = kLanes<L>, P = kParts<L>, kNarrow = P * kLane, kWide = 4 * kNarrow;
  vec<L> acc[4 * P];
  int64_t i = 0;
  if (n >= kWide) {
#pragma GCC unroll 16
    for (int v = 0; v < 4 * P; ++v) acc[v] = From::vector(x + v * kLane);
    for (i = kWide; i + kWide <= n; i += kWide)
#pragma GCC unroll 16
      for (int v = 0; v < 4 * P; ++v) acc[v] = joined<Join>(From::vector(x + i + v * kLane), acc[v]);
#pragma GCC unroll 16
    for (int v = 0; v < 2 * P; ++v) acc[v] = joined<Join>(acc[v], acc[v + 2 * P]);
#pragma GCC unroll 16
    for (int v = 0; v < P; ++v) acc[v] = joined<Join>(acc[v], acc[v + P]);
  } else {
#pragma GCC unroll 16
    for (int v = 0; v < P; ++v) acc[v] = vset(identity);
  }
  for (; i + kNarrow <= n; i += kNarrow)
#pragma GCC unroll 16
    for (int v = 0; v < P; ++v) acc[v] = joined<Join>(From::vector(x + i + v * kLane), acc[v]);
  if (i < n) {
    // The last group overlaps the one before, which only a sum can tell; of fewer than a group the rest is identity.
    using Place = std::remove_cvref_t<decltype((acc[0] == acc[0])[0])>;
    S few[kNarrow];
    const S* last = few;
    if (n >= kNarrow) last = x + n - kNarrow;
    else load_few<kNarrow>(few, x, static_cast<int>(n));
    const Place first = static_cast<Place>(n < kNarrow ? 0 : kNarrow - (n - i));
    const Place end = static_cast<Place>(n < kNarrow ? n : kNarrow);
    constexpr bool sum = std::is_same_v<Join, Plus>;
#pragma GCC unroll 16
    for (int v = 0; v < P; ++v) {
      const vec<Place> place = place_vector<Place>() + static_cast<Place>(v * kLane);
      const vec<L> y = From::vector(last + v * kLane);
      if constexpr (sum) acc[v] = (place >= first ? y : vec<L>{}) + acc[v];
      else acc[v] = joined<Join>(place < end ? y : vset(identity), acc[v]);
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < P; ++v) lanes[v] = acc[v];
}

// join of v's first w lanes and of the w behind them, halving.
template <int w, class Join, class V, int... lane>
static inline V fold_within(V v, std::integer_sequence<int, lane...> lanes) {
  const V folded = joined<Join>(v, __builtin_shufflevector(v, v, (lane + w) % static_cast<int>(sizeof...(lane))...));
  if constexpr (w == 1) return folded;
  else return fold_within<w / 2, Join>(folded, lanes);
}
// join of identity and x[0] .. x[n-1].
template <class Join, class From, class S, class L> static inline L fold_from(const S* x, int64_t n, L identity) {
  constexpr int N = kLanes<L>;
  vec<L> parts[kParts<L>];
  fold_to_lanes<Join, From>(x, n, identity, parts);
#pragma GCC unroll 4
  for (int half = kParts<L> / 2; half > 0; half /= 2)
#pragma GCC unroll 16
    for (int v = 0; v < half; ++v) parts[v] = joined<Join>(parts[v], parts[v + half]);
  return fold_within<N / 2, Join>(parts[0], std::make_integer_sequence<int, N>())[0];
}
// join of lanes l and l + w of every group of 2 w lanes, those of a first.
template <int w, class Join, class V, int... lane>
static inline V fold_pair(V a, V b, std::integer_sequence<int, lane...>) {
  constexpr int N = sizeof...(lane), half = N / 2;
  return joined<Join>(
      __builtin_shufflevector(a, b, lane / half * N + lane % half / w * 2 * w + lane % half % w ...),
      __builtin_shufflevector(a, b, lane / half * N + lane % half / w * 2 * w + lane % half % w + w ...));
}
// rows[0 .. count), a vector of lanes each -> one vector with kLanes / count lanes of each.
template <class Join, class L, int count> static inline vec<L> fold_across(const vec<L>* rows) {
  if constexpr (count == 1) {
    return rows[0];
  } else {
    const vec<L> first = fold_across<Join, L, count / 2>(rows);
    const vec<L> second = fold_across<Join, L, count / 2>(rows + count / 2);
    return fold_pair<kLanes<L> / count, Join>(first, second, std::make_integer_sequence<int, kLanes<L>>());
  }
}

// group[k] = the lanes of row k, which has `groups` groups and a rest, as fold_to_lanes has them, in one vector. Where
// it has no whole group, what lies behind it is read, and left out.
template <class Join, class From, int groups, class S, class L>
static inline void fold_short(const S* x, int64_t ld, int64_t n, int count, L identity, vec<L>* group) {
  constexpr int N = kLanes<L>, P = kParts<L>, kNarrow = N * P;
  constexpr bool sum = std::is_same_v<Join, Plus>;
  using Place = std::remove_cvref_t<decltype((vec<L>{} == vec<L>{})[0])>;
  const int rest = static_cast<int>(n) - groups * kNarrow;
  const int64_t last = groups ? n - kNarrow : 0;
  const Place first = static_cast<Place>(kNarrow - rest);
  for (int k = 0; k < count; ++k) {
    const S* row = x + k * ld;
    vec<L> parts[P];
#pragma GCC unroll 16
    for (int v = 0; v < P; ++v) {
      parts[v] = vset(identity);
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) parts[v] = joined<Join>(From::vector(row + g * kNarrow + v * N), parts[v]);
      const vec<Place> place = place_vector<Place>() + static_cast<Place>(v * N);
      const vec<L> y = From::vector(row + last + v * N);
      if constexpr (groups == 0) parts[v] = place < static_cast<Place>(n) ? y : parts[v];
      else if (rest) parts[v] = joined<Join>(!sum || place >= first ? y : vec<L>{}, parts[v]);
    }
#pragma GCC unroll 4
    for (int half = P / 2; half > 0; half /= 2)
#pragma GCC unroll 16
      for (int v = 0; v < half; ++v) parts[v] = joined<Join>(parts[v], parts[v + half]);
    group[k] = parts[0];
  }
}

// out[r] = join of identity and the n elements from x + r * ld on.
template <class Join, class From, class S, class L>
static inline void fold_rows(const S* x, int64_t ld, int64_t n, int64_t rows, L identity, L* out) {
  constexpr int N = kLanes<L>, kNarrow = N * kParts<L>;
  for (int64_t r = 0; r < rows; r += N) {
    const int count = static_cast<int>(rows - r < N ? rows - r : N);
    const S* row = x + r * ld;
    if constexpr (!std::is_integral_v<S>) {
      // What lies behind a row shorter than a group is read where it is of other rows.
      const bool inside = (rows - r - count) * ld + n >= kNarrow;
      if (n < 4 * kNarrow && inside) {
        vec<L> group[N] = {};
        if (n < kNarrow) fold_short<Join, From, 0>(row, ld, n, count, identity, group);
        else if (n < 2 * kNarrow) fold_short<Join, From, 1>(row, ld, n, count, identity, group);
        else if (n < 3 * kNarrow) fold_short<Join, From, 2>(row, ld, n, count, identity, group);
        else fold_short<Join, From, 3>(row, ld, n, count, identity, group);
        L found[N];
        vstore(found, fold_across<Join, L, N>(group));
        std::memcpy(out + r, found, count * sizeof(L));
        continue;
      }
    }
    for (int k = 0; k < count; ++k, row += ld) out[r + k] = fold_from<Join, From>(row, n, identity);
  }
}

// ---- 16-bit floats in order ---------------------------------------------------------------------------------------
// As integers whose order is that of the floats, NaN of either sign below them or above: what is negative has its other
// bits turned over, and all are moved on so far that the NaN of one sign wrap to the other end.
template <class S, bool nan_above> struct Ordered {
  using L = int16_t;
  static constexpr int kInfinity = std::is_same_v<S, half_t> ? 0x7c00 : 0x7f80;
  static constexpr L kShift = static_cast<L>(nan_above ? kInfinity + 1 - 0x8000 : 0x7fff - kInfinity);

  template <class V> static V turned(V x) { return x ^ ((x >> 15) & L(0x7fff)); }
  static vec<L> vector(const S* p) { return turned(vload(reinterpret_cast<const L*>(p))) + kShift; }
  static L one(const S* p) { return static_cast<L>(turned(static_cast<L>(p->bits)) + kShift); }
  static S back(L key) { return {static_cast<uint16_t>(turned(static_cast<L>(key - kShift)))}; }
};
