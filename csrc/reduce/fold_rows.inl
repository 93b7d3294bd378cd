// Folds of many rows, each with the bits of common/fold.inl. In short ones most of the time goes into the last steps,
// from a vector to a number. Of as many rows as a vector has lanes these are done together: two vectors of which each
// holds the lanes of some rows become one that holds half as many lanes of all of them. A row of 64 elements or more is
// folded alone, within registers: a block has too few of them (4 of 1024; their sums, 4 MB, took 59 and take 48 us).
// Where a vector would hold all lanes of a row it is made of halves of two rows: sums of 31,775 rows of 33 took 112 us
// and take 67, where a loop that sums as many words takes 46; the fold alone takes 46.
//
// 16-bit floats are widened in registers, or compared as integers of the same order. Of bfloat16 the even and the odd
// ones of a vector are had by a shift and a mask, and multiply-adds add them: rows of 1024 45 -> 30 us, the loop over
// words 23. float16 takes 39, for its conversion goes through the units that add: 16 numbers in two cycles, 35 us.
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

#if DLCORE_ISA == 4
// Half a vector, or a quarter, from a on and behind it as much from b on: inserted from memory, without a shuffle.
static inline __m512i half_vectors(const void* a, const void* b) {
  const auto* from = static_cast<const __m256i*>(a);
  return _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(_mm256_loadu_si256(from)),
                                  _mm256_loadu_si256(static_cast<const __m256i*>(b)), 1);
}
static inline __m256i quarter_vectors(const void* a, const void* b) {
  const auto* from = static_cast<const __m128i*>(a);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(from)),
                                 _mm_loadu_si128(static_cast<const __m128i*>(b)), 1);
}
static inline __m512 widened(__m256i words, half_t) { return _mm512_maskz_cvtph_ps(0xffff, words); }
static inline __m512 widened(__m256i words, bfloat16_t) {
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, words), 16));
}
#endif

// Elements of memory as vectors of what is joined, and one alone: as they are stored, or widened. `halves`: those of a
// and b that fill half a vector each.
template <class S> struct AsStored {
  using L = S;
  static vec<L> vector(const S* p) { return vload(p); }
  static vec<L> halves(const S* a, const S* b) { return reinterpret_cast<vec<L>>(half_vectors(a, b)); }
  static L one(const S* p) { return *p; }
};
template <class S> struct Widened {
  using L = compute_t<S>;
  static vec<L> vector(const S* p) { return widen(p); }
  static vec<L> halves(const S* a, const S* b) {
    if constexpr (std::is_same_v<S, L>) {
      return AsStored<S>::halves(a, b);
    } else {
      return (vec<L>)widened(quarter_vectors(a, b), S{});
    }
  }
  static L one(const S* p) { return load(p); }
  // Of pairs in words, half of the instructions that lay them side by side.
  static vec<L> even(vec<int32_t> pairs) requires(std::is_same_v<S, bfloat16_t>) { return (vec<L>)(pairs << 16); }
  static vec<L> odd(vec<int32_t> pairs) requires(std::is_same_v<S, bfloat16_t>) { return (vec<L>)(pairs & -65536); }
};

// Elements x[0 .. kWide), a group, joined with acc, a lane each: the even ones of each half stand before its odd ones
// where they are had so at less cost. Widened ones are added by multiply-adds with 1, the same bits: what widens them
// keeps the units busy that add, and not those that multiply.
template <class L> constexpr int kParts = kWideBytes / 4 / kVectorBytes;
template <class Join, class From, bool first, class S, class L = typename From::L>
static inline __attribute__((always_inline)) void join_group(const S* x, vec<L>* acc) {
  constexpr int P = kParts<L>;
  const auto join = [&](int v, vec<L> y) DLCORE_MAP {
    if constexpr (first) acc[v] = y;
    else if constexpr (std::is_same_v<Join, Plus> && !std::is_same_v<S, L>) acc[v] = vfma(y, vset(L(1)), acc[v]);
    else acc[v] = joined<Join>(y, acc[v]);
  };
#pragma GCC unroll 2
  for (int half = 0; half < 4 * P; half += 2 * P)
#pragma GCC unroll 16
    for (int v = half; v < half + P; ++v) {
      if constexpr (requires { From::even(vec<int32_t>{}); }) {
        const auto both = vload(reinterpret_cast<const int32_t*>(x + (2 * v - half) * kLanes<L>));
        join(v, From::even(both)), join(v + P, From::odd(both));
      } else {
        join(v, From::vector(x + v * kLanes<L>)), join(v + P, From::vector(x + (v + P) * kLanes<L>));
      }
    }
}
// join of identity and x[0] .. x[n-1] in a quarter of kWideBytes of lanes, as fold_array joins them. What is new stands
// first, so that its test for NaN does not wait for the last join.
template <class Join, class From, class S, class L>
static inline __attribute__((always_inline)) void fold_to_lanes(const S* x, int64_t n, L identity, vec<L>* lanes) {
  constexpr int kLane = kLanes<L>, P = kParts<L>, kNarrow = P * kLane, kWide = 4 * kNarrow;
  vec<L> acc[4 * P];
  int64_t i = 0;
  if (n >= kWide) {
    join_group<Join, From, true>(x, acc);
    for (i = kWide; i + kWide <= n; i += kWide) join_group<Join, From, false>(x + i, acc);
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
// a[0], b[0], a[1], b[1], ... in the place of two vectors.
template <class L> static inline void interleave(L* a, L* b) {
  constexpr int N = kLanes<L>;
  const vec<L> x = vload(a), y = vload(b);
  const auto half = [&]<int... lane>(int first, std::integer_sequence<int, lane...>) DLCORE_MAP {
    const vec<L> low = __builtin_shufflevector(x, y, lane / 2 + lane % 2 * N...);
    const vec<L> high = __builtin_shufflevector(x, y, N / 2 + lane / 2 + lane % 2 * N...);
    return first ? low : high;
  };
  vstore(a, half(1, std::make_integer_sequence<int, N>()));
  vstore(b, half(0, std::make_integer_sequence<int, N>()));
}

// Short rows, the lanes of `kRows` of them in one vector: where one vector would hold all lanes of a row, two rows fill
// it with half of theirs, so that the first step from a vector to a number takes no shuffle.
template <class L> constexpr int kRows = kParts<L> == 1 ? 2 : 1;
template <class From, class S, class L = typename From::L> static inline vec<L> lanes_of(const S* a, const S* b) {
  if constexpr (kRows<L> == 1) return From::vector(a);
  else return From::halves(a, b);
}

// The next `count` rows, next() giving kRows of them in a vector -> one vector with kLanes / count lanes of each.
template <class Join, class L, int count, class Next>
static inline __attribute__((always_inline)) vec<L> fold_across(Next& next) {
  if constexpr (count == kRows<L>) {
    return next();
  } else {
    const vec<L> first = fold_across<Join, L, count / 2>(next), second = fold_across<Join, L, count / 2>(next);
    return fold_pair<kLanes<L> / count, Join>(first, second, std::make_integer_sequence<int, kLanes<L>>());
  }
}

// The lanes of row a, or of a and b, which have `groups` groups and a rest, as fold_to_lanes has them, halved till they
// fill a vector. Where there is no whole group, what lies behind it is read, and left out.
template <class Join, class From, int groups, class S, class L>
static inline __attribute__((always_inline)) vec<L> fold_short(const S* a, const S* b, int64_t n, L identity) {
  constexpr int N = kLanes<L> / kRows<L>, P = kParts<L> * kRows<L>, kNarrow = N * P;
  constexpr bool sum = std::is_same_v<Join, Plus>;
  using Place = std::remove_cvref_t<decltype((vec<L>{} == vec<L>{})[0])>;
  const int rest = static_cast<int>(n) - groups * kNarrow;
  const int64_t last = groups ? n - kNarrow : 0;
  const Place first = static_cast<Place>(kNarrow - rest);
  vec<L> parts[P];
#pragma GCC unroll 16
  for (int v = 0; v < P; ++v) {
    if constexpr (groups > 0) parts[v] = lanes_of<From>(a + v * N, b + v * N);
    else parts[v] = vset(identity);
#pragma GCC unroll 4
    for (int g = 1; g < groups; ++g)
      parts[v] = joined<Join>(lanes_of<From>(a + g * kNarrow + v * N, b + g * kNarrow + v * N), parts[v]);
    const vec<Place> place = (place_vector<Place>() & static_cast<Place>(N - 1)) + static_cast<Place>(v * N);
    if (groups == 0 ? v * N >= n : rest <= kNarrow - (v + 1) * N) continue;  // nothing of the rest
    const vec<L> y = lanes_of<From>(a + last + v * N, b + last + v * N);
    if constexpr (groups == 0) parts[v] = place < static_cast<Place>(n) ? y : parts[v];
    else parts[v] = joined<Join>(!sum || place >= first ? y : vec<L>{}, parts[v]);
  }
#pragma GCC unroll 4
  for (int half = P / 2; half > 0; half /= 2)
#pragma GCC unroll 16
    for (int v = 0; v < half; ++v) parts[v] = joined<Join>(parts[v], parts[v + half]);
  return parts[0];
}
// out[0 .. kLanes) = join of identity and the n elements of each of as many rows.
template <class Join, class From, int groups, class S, class L>
static inline void fold_batch(const S* x, int64_t ld, int64_t n, L identity, L* out) {
  auto next = [&]() DLCORE_MAP {
    const S *const a = x, *const b = x + ld;
    x = b + (kRows<L> - 1) * ld;
    asm("" : "+r"(x));  // else each row gets a pointer of its own, and most of them no register
    return fold_short<Join, From, groups>(a, b, n, identity);
  };
  if constexpr (sizeof(L) > 2) {
    vstore(out, fold_across<Join, L, kLanes<L>>(next));
  } else {  // so many rows are a loop: the code of all, one after another, would be 14 KB
    vec<L> rows[kLanes<L> / kRows<L>], *row = rows;
#pragma GCC unroll 1
    for (vec<L>& of : rows) of = next();
    auto kept = [&]() DLCORE_MAP { return *row++; };
    vstore(out, fold_across<Join, L, kLanes<L>>(kept));
  }
}

// out[r] = join of identity and the n elements from x + r * ld on.
template <class Join, class From, class S, class L>
static inline void fold_rows(const S* x, int64_t ld, int64_t n, int64_t rows, L identity, L* out) {
  constexpr int N = kLanes<L>, kNarrow = N * kParts<L>;
  for (int64_t r = 0; r < rows;) {
    if constexpr (!std::is_integral_v<S>) {
      // The last batch may begin within the one before. What lies behind a row shorter than a group is read where it is
      // of other rows.
      const int64_t start = r < rows - N ? r : rows - N;
      if (n < 4 * kNarrow && start >= 0 && (rows - N - start) * ld + n >= kNarrow) {
        const S* const from = x + start * ld;
        L* const to = out + start;
        if (n < kNarrow) fold_batch<Join, From, 0>(from, ld, n, identity, to);
        else if (n < 2 * kNarrow) fold_batch<Join, From, 1>(from, ld, n, identity, to);
        else if (n < 3 * kNarrow) fold_batch<Join, From, 2>(from, ld, n, identity, to);
        else fold_batch<Join, From, 3>(from, ld, n, identity, to);
        r = start + N;
        continue;
      }
    }
    out[r] = fold_from<Join, From>(x + r * ld, n, identity);
    ++r;
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
  static vec<L> halves(const S* a, const S* b) {
    return turned(reinterpret_cast<vec<L>>(half_vectors(a, b))) + kShift;
  }
  static L one(const S* p) { return static_cast<L>(turned(static_cast<L>(p->bits)) + kShift); }
  static S back(L key) { return {static_cast<uint16_t>(turned(static_cast<L>(key - kShift)))}; }
};
