// Folds of many short rows at once, each with the bits of common/fold.inl: one by one most of the time goes into the
// last steps, from a vector to a number. Of as many rows as a vector has lanes these are done together: two vectors of
// which each holds the lanes of some rows become one that holds half as many lanes of all of them.
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
template <class Join, class From, class S, class L>
static inline void fold_to_lanes(const S* x, int64_t n, L identity, L* lanes) {
  constexpr int kLane = kVectorBytes / sizeof(L), kWide = kWideBytes / sizeof(L), kNarrow = kWide / 4;
  constexpr int kVectors = kWide / kLane, kParts = kNarrow / kLane;
  const Join join;
  vec<L> acc[kVectors];
  int64_t i = 0;
  if (n >= kWide) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) acc[v] = From::vector(x + v * kLane);
    for (i = kWide; i + kWide <= n; i += kWide)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) acc[v] = join(From::vector(x + i + v * kLane), acc[v]);
#pragma GCC unroll 16
    for (int v = 0; v < 2 * kParts; ++v) acc[v] = join(acc[v], acc[v + 2 * kParts]);
#pragma GCC unroll 16
    for (int v = 0; v < kParts; ++v) acc[v] = join(acc[v], acc[v + kParts]);
  } else {
#pragma GCC unroll 16
    for (int v = 0; v < kParts; ++v) acc[v] = vset(identity);
  }
  for (; i + kNarrow <= n; i += kNarrow)
#pragma GCC unroll 16
    for (int v = 0; v < kParts; ++v) acc[v] = join(From::vector(x + i + v * kLane), acc[v]);
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
    for (int v = 0; v < kParts; ++v) {
      const vec<Place> place = place_vector<Place>() + static_cast<Place>(v * kLane);
      const vec<L> y = From::vector(last + v * kLane);
      if constexpr (sum) acc[v] = (place >= first ? y : vec<L>{}) + acc[v];
      else acc[v] = join(place < end ? y : vset(identity), acc[v]);
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < kParts; ++v) vstore(lanes + v * kLane, acc[v]);
}

// join of identity and x[0] .. x[n-1].
template <class Join, class From, class S, class L> static inline L fold_from(const S* x, int64_t n, L identity) {
  L lanes[kWideBytes / 4 / sizeof(L)];
  fold_to_lanes<Join, From>(x, n, identity, lanes);
  return fold_lanes(lanes, Join{});
}
// join of lanes l and l + w of every group of 2 w lanes, those of a first.
template <int w, class Join, class V, int... lane>
static inline V fold_pair(V a, V b, std::integer_sequence<int, lane...>) {
  constexpr int N = sizeof...(lane), half = N / 2;
  return Join{}(
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

// out[r] = join of identity and the n elements from x + r * ld on.
template <class Join, class From, class S, class L>
static inline void fold_rows(const S* x, int64_t ld, int64_t n, int64_t rows, L identity, L* out) {
  if constexpr (std::is_integral_v<S>) {
    for (int64_t r = 0; r < rows; ++r) out[r] = fold_from<Join, From>(x + r * ld, n, identity);
  } else {
    constexpr int N = kLanes<L>, kParts = kWideBytes / 4 / kVectorBytes, kNarrow = N * kParts;
    using Place = std::remove_cvref_t<decltype((vec<L>{} == vec<L>{})[0])>;
    const S* const end = x + (rows - 1) * ld + n;
    vec<L> group[N] = {};
    for (int64_t r = 0; r < rows; r += N) {
      const int count = static_cast<int>(rows - r < N ? rows - r : N);
      for (int k = 0; k < count; ++k) {
        const S* row = x + (r + k) * ld;
        L lanes[kNarrow];
        if (n < kNarrow && row + kNarrow <= end) {  // what lies behind a short row is read, and left out
          for (int v = 0; v < kParts; ++v) {
            const vec<Place> place = place_vector<Place>() + static_cast<Place>(v * N);
            vstore(lanes + v * N, place < static_cast<Place>(n) ? From::vector(row + v * N) : vset(identity));
          }
        } else {
          fold_to_lanes<Join, From>(row, n, identity, lanes);
        }
        for (int parts = kParts / 2; parts > 0; parts /= 2)
          for (int v = 0; v < parts; ++v)
            vstore(lanes + v * N, Join{}(vload(lanes + v * N), vload(lanes + (v + parts) * N)));
        group[k] = vload(lanes);
      }
      L found[N];
      vstore(found, fold_across<Join, L, N>(group));
      std::memcpy(out + r, found, count * sizeof(L));
    }
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
