// Folds of contiguous blocks with a fixed set of lanes: the order of combination, and so every bit of the result,
// depends on the length alone, not on the instruction set, the address or the number of threads.
//
// A block has at most kFoldBlock elements; sums of blocks are added in double. So a float sum of any length carries the
// rounding of at most kFoldBlock / lanes + log2(lanes) additions, 70 of them, and usually the square root of that.
#ifndef DLCORE_COMMON_FOLD
#define DLCORE_COMMON_FOLD
#include "common/math.inl"

constexpr int64_t kFoldBlock = 4096;
constexpr int kWideBytes = 256;  // lanes of a block: enough independent additions to hide their latency

// Joins of two scalars or of two vectors.
struct Plus {
  template <class V> V operator()(V a, V b) const { return a + b; }
};
struct Larger {  // a NaN on either side wins, as in NumPy
  template <class V> V operator()(V a, V b) const {  // two selections: the inner one is an instruction
    const V larger = a > b ? a : b;
    return a != a ? a : larger;
  }
  template <class V> static auto beats(V x, V best) { return (x > best) | (x != x); }
  template <class T> static constexpr T identity() {
    if constexpr (std::numeric_limits<T>::has_infinity) return -std::numeric_limits<T>::infinity();
    else return std::numeric_limits<T>::lowest();
  }
};
struct Smaller {
  template <class V> V operator()(V a, V b) const {
    const V smaller = a < b ? a : b;
    return a != a ? a : smaller;
  }
  template <class V> static auto beats(V x, V best) { return (x < best) | (x != x); }
  template <class T> static constexpr T identity() {
    if constexpr (std::numeric_limits<T>::has_infinity) return std::numeric_limits<T>::infinity();
    else return std::numeric_limits<T>::max();
  }
};

// join of a quarter of kWideBytes of lanes, halving.
template <class L, class Join> static inline L fold_lanes(L* lanes, Join join) {
#pragma GCC unroll 8
  for (int w = kWideBytes / 8 / static_cast<int>(sizeof(L)); w > 0; w /= 2)
#pragma GCC unroll 32
    for (int j = 0; j < w; ++j) lanes[j] = join(lanes[j], lanes[j + w]);
  return lanes[0];
}

// The sum of map(0) .. map(n-1), n <= kFoldBlock, evaluated in vectors. The map may also store what it computes, and
// must give the same again: a last group that is not full overlaps the one before, what was counted replaced by 0.
template <class L, class Map> static inline L sum_block(int64_t n, Map map) {
  constexpr int kWide = kWideBytes / sizeof(L), kNarrow = kWide / 4;
  L lanes[kWide];
  int64_t i = 0;
  if (n >= kWide) {
    for (int j = 0; j < kWide; ++j) lanes[j] = 0;
    for (; i + kWide <= n; i += kWide)
#pragma omp simd
      for (int j = 0; j < kWide; ++j) lanes[j] += map(i + j);
    for (int w = kWide / 2; w >= kNarrow; w /= 2)
#pragma omp simd
      for (int j = 0; j < w; ++j) lanes[j] += lanes[j + w];
  } else {
    for (int j = 0; j < kNarrow; ++j) lanes[j] = 0;
  }
  for (; i + kNarrow <= n; i += kNarrow)
#pragma omp simd
    for (int j = 0; j < kNarrow; ++j) lanes[j] += map(i + j);
  const int rest = static_cast<int>(n - i), counted = kNarrow - rest;
  if (rest && n >= kNarrow) {
#pragma omp simd
    for (int j = 0; j < kNarrow; ++j) {
      const L y = map(n - kNarrow + j);
      lanes[j] += j >= counted ? y : L(0);
    }
  } else {
#pragma omp simd
    for (int j = 0; j < rest; ++j) lanes[j] += map(i + j);
  }
  return fold_lanes(lanes, Plus{});
}

// The same for any length.
template <class C, class Map> static inline double sum_of(int64_t n, Map map) {
  double total = 0;
  for (int64_t b = 0; b < n; b += kFoldBlock)
    total += sum_block<C>(n - b < kFoldBlock ? n - b : kFoldBlock, [&](int64_t i) DLCORE_MAP { return map(b + i); });
  return total;
}

// join of identity and x[0] .. x[n-1]. Explicit vectors: the compiler takes a NaN-preserving comparison apart.
template <class Join, class T> static inline T fold_array(const T* x, int64_t n, T identity) {
  constexpr int kLane = kVectorBytes / sizeof(T), kWide = kWideBytes / sizeof(T), kNarrow = kWide / 4;
  constexpr int kVectors = kWide / kLane;
  const Join join;
  T lanes[kNarrow];
  int64_t i = 0;
  if (n >= kWide) {
    vec<T> acc[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) acc[v] = vload(x + v * kLane);
    for (i = kWide; i + kWide <= n; i += kWide)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) acc[v] = join(acc[v], vload(x + i + v * kLane));
#pragma GCC unroll 16
    for (int v = 0; v < kVectors / 2; ++v) acc[v] = join(acc[v], acc[v + kVectors / 2]);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors / 4; ++v) vstore(lanes + v * kLane, join(acc[v], acc[v + kVectors / 4]));
  } else {
    for (int j = 0; j < kNarrow; ++j) lanes[j] = identity;
  }
  for (; i + kNarrow <= n; i += kNarrow)
#pragma GCC unroll 16
    for (int j = 0; j < kNarrow; j += kLane) vstore(lanes + j, join(vload(lanes + j), vload(x + i + j)));
  if (i < n && n >= kNarrow) {  // the last group overlaps the one before, which only a sum can tell
    const T* last = x + n - kNarrow;
    const int counted = kNarrow - static_cast<int>(n - i);
    if constexpr (std::is_same_v<Join, Plus>) {
#pragma omp simd
      for (int j = 0; j < kNarrow; ++j) lanes[j] += j >= counted ? last[j] : T(0);
    } else {
#pragma GCC unroll 16
      for (int j = 0; j < kNarrow; j += kLane) vstore(lanes + j, join(vload(lanes + j), vload(last + j)));
    }
  } else {
    for (int j = 0; i < n; ++i, ++j) lanes[j] = join(lanes[j], x[i]);
  }
  return fold_lanes(lanes, join);
}

// The largest element, to be subtracted before an exponential: a NaN may be passed over, it comes back in the sum.
struct Above {
  template <class V> V operator()(V a, V b) const { return a > b ? a : b; }
};
template <class C> static inline C max_of(int64_t n, const C* x) {
  return fold_array<Above>(x, n, Larger::identity<C>());
}

// exp(x) for x <= 0: 1 ulp where the result is normal, 0 below. Two thirds of the work of exp_: 2^n is one factor, with
// an exponent field of 0, which is the number 0, at the lower end.
DLCORE_MATH T exp_below(T x) {
  constexpr T kLowest = -static_cast<T>(Real<T>::kBias) * T(0.6931471805599453);
  T rounded;
  const T r = reduce_exp(x < kLowest ? kLowest : x, rounded), power = power_of_two(rounded);
  return fma_(expm1_reduced(r), power, power);
}

#endif  // DLCORE_COMMON_FOLD
