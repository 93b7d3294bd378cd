// Sorting in registers: short lines of words by a bitonic network, longer ones by partitions around a pivot.
//
// R registers of L lanes hold element number l * R + r in lane l of register r, so that most of the network's exchanges
// are between registers: 256 words of 32 bits take 1100 instructions (0.4 ns a word).
#ifndef DLCORE_ORDER_NETWORK
#define DLCORE_ORDER_NETWORK
#include "order/keys.inl"

#if DLCORE_ISA >= 3

template <class K> static inline vec<K> lower(vec<K> a, vec<K> b) { return a < b ? a : b; }
template <class K> static inline vec<K> upper(vec<K> a, vec<K> b) { return a < b ? b : a; }

// Lane l gets what lane l ^ mask has.
template <int mask, class K, int... l>
static inline vec<K> swapped(vec<K> v, std::integer_sequence<int, l...>) {
  return __builtin_shuffle(v, vec<K>{static_cast<K>(l ^ mask)...});
}
template <int mask, class K> static inline vec<K> swapped(vec<K> v) {
  return swapped<mask, K>(v, std::make_integer_sequence<int, kLanes<K>>{});
}
// Lanes with `bit` from b, the others from a.
template <int bit, class K, int... l>
static inline vec<K> joined(vec<K> a, vec<K> b, std::integer_sequence<int, l...>) {
  return __builtin_shuffle(a, b, vec<K>{static_cast<K>(l & bit ? l + kLanes<K> : l)...});
}
template <int bit, class K> static inline vec<K> joined(vec<K> a, vec<K> b) {
  return joined<bit, K>(a, b, std::make_integer_sequence<int, kLanes<K>>{});
}

template <class K> static inline void exchange(vec<K>& a, vec<K>& b) {
  const vec<K> low = lower<K>(a, b), high = upper<K>(a, b);
  a = low, b = high;
}

// Exchanges at distances half, half / 2, ... 1 of registers.
template <int R, int half, class K> static inline void between_registers(vec<K>* v) {
  if constexpr (half > 0) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      if (!(r & half)) exchange<K>(v[r], v[r + half]);
    between_registers<R, half / 2, K>(v);
  }
}
template <int R, int half, class K> static inline void between_lanes(vec<K>* v) {
  if constexpr (half > 0) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vec<K> other = swapped<half, K>(v[r]);
      v[r] = joined<half, K>(lower<K>(v[r], other), upper<K>(v[r], other));
    }
    between_lanes<R, half / 2, K>(v);
  }
}
// Sorted runs of `size` / 2 elements become sorted runs of `size`, up to all.
template <int R, int size, class K> static inline void merge_runs(vec<K>* v) {
  constexpr int L = kLanes<K>;
  if constexpr (size <= R) {
    constexpr int flip = size - 1;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      if ((r & (size / 2)) == 0) exchange<K>(v[r], v[r ^ flip]);
    between_registers<R, size / 4, K>(v);
  } else {
    constexpr int lanes = size / R;  // of a run
    if constexpr (R == 1) {
      const vec<K> other = swapped<lanes - 1, K>(v[0]);
      v[0] = joined<lanes / 2, K>(lower<K>(v[0], other), upper<K>(v[0], other));
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < R / 2; ++r) {
        const vec<K> a = v[r], b = swapped<lanes - 1, K>(v[R - 1 - r]);
        const vec<K> low = lower<K>(a, b), high = upper<K>(a, b);
        v[r] = joined<lanes / 2, K>(low, high);
        v[R - 1 - r] = swapped<lanes - 1, K>(joined<lanes / 2, K>(high, low));
      }
    }
    between_lanes<R, lanes / 4, K>(v);
    between_registers<R, R / 2, K>(v);
  }
  if constexpr (size < R * L) merge_runs<R, 2 * size, K>(v);
}

// Element l * R + r from lane l of register r to where it stands in memory.
template <int R, class K> static inline void to_rows(vec<K>* v) {
  constexpr int L = kLanes<K>;
  // A perfect shuffle, log2(R) times: each makes the highest bit of r the lowest of l.
  const auto zip = [&]<int... l>(std::integer_sequence<int, l...>) {
    vec<K> t[R];
#pragma GCC unroll 16
    for (int r = 0; r < R / 2; ++r) {
      t[2 * r] = __builtin_shuffle(v[r], v[r + R / 2], vec<K>{static_cast<K>(l / 2 + (l % 2) * L)...});
      t[2 * r + 1] = __builtin_shuffle(v[r], v[r + R / 2], vec<K>{static_cast<K>(L / 2 + l / 2 + (l % 2) * L)...});
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) v[r] = t[r];
  };
#pragma GCC unroll 4
  for (int step = R; step > 1; step /= 2) zip(std::make_integer_sequence<int, L>{});
}

// Register r of n words: what lies behind them is the largest word.
template <class K> static inline vec<K> load_register(const K* p, int64_t count) {
  constexpr int L = kLanes<K>;
  if (count >= L) return vload(p);
#if DLCORE_ISA == 4
  const unsigned mask = count <= 0 ? 0 : (1u << count) - 1;
  const __m512i rest = _mm512_set1_epi32(-1);
  if constexpr (sizeof(K) == 4) return (vec<K>)_mm512_mask_loadu_epi32(rest, static_cast<__mmask16>(mask), p);
  else return (vec<K>)_mm512_mask_loadu_epi64(rest, static_cast<__mmask8>(mask), p);
#else
  alignas(kVectorBytes) K padded[L];
  for (int l = 0; l < L; ++l) padded[l] = l < count ? p[l] : static_cast<K>(~K{0});
  return vload(padded);
#endif
}
template <class K> static inline void store_register(K* p, int64_t count, vec<K> v) {
  constexpr int L = kLanes<K>;
  if (count >= L) return vstore(p, v);
#if DLCORE_ISA == 4
  const unsigned mask = count <= 0 ? 0 : (1u << count) - 1;
  if constexpr (sizeof(K) == 4) _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(mask), (__m512i)v);
  else _mm512_mask_storeu_epi64(p, static_cast<__mmask8>(mask), (__m512i)v);
#else
  if (count > 0) memcpy(p, &v, sizeof(K) * count);
#endif
}

template <int R, class K> [[gnu::noinline]] static void network_of(const K* from, K* to, int64_t n) {
  constexpr int L = kLanes<K>;
  vec<K> v[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) v[r] = load_register(from + r * L, n - r * L);
  merge_runs<R, 2, K>(v);
  to_rows<R, K>(v);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) store_register(to + r * L, n - r * L, v[r]);
}

template <class K> constexpr int64_t kNetwork = 16 * kLanes<K>;

// Sorts up to kNetwork words; `to` may be `from`.
template <class K> static inline void network_sort(const K* from, K* to, int64_t n) {
  constexpr int L = kLanes<K>;
  if (n <= L) network_of<1>(from, to, n);
  else if (n <= 2 * L) network_of<2>(from, to, n);
  else if (n <= 4 * L) network_of<4>(from, to, n);
  else if (n <= 8 * L) network_of<8>(from, to, n);
  else network_of<16>(from, to, n);
}
#endif

#if DLCORE_ISA == 4
static inline __m512i compressed(uint32_t, unsigned m, __m512i v) {
  return _mm512_maskz_compress_epi32(static_cast<__mmask16>(m), v);
}
static inline __m512i compressed(uint64_t, unsigned m, __m512i v) {
  return _mm512_maskz_compress_epi64(static_cast<__mmask8>(m), v);
}
static inline void masked_store(uint32_t* p, unsigned m, __m512i v) {
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(m), v);
}
static inline void masked_store(uint64_t* p, unsigned m, __m512i v) {
  _mm512_mask_storeu_epi64(p, static_cast<__mmask8>(m), v);
}
static inline unsigned lanes_below(uint32_t pivot, __m512i v) {
  return _mm512_cmplt_epu32_mask(v, _mm512_set1_epi32(static_cast<int>(pivot)));
}
static inline unsigned lanes_below(uint64_t pivot, __m512i v) {
  return _mm512_cmplt_epu64_mask(v, _mm512_set1_epi64(static_cast<long long>(pivot)));
}
static inline __m512i masked_load(const uint32_t* p, unsigned m) {
  return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(m), p);
}
static inline __m512i masked_load(const uint64_t* p, unsigned m) {
  return _mm512_maskz_loadu_epi64(static_cast<__mmask8>(m), p);
}

// Words below the pivot to `left` and on, the others to what ends at `right`; returns the end of those below. `alone`:
// what lies between the two ends may be overwritten meanwhile.
template <bool alone, class K> static K* partition(const K* from, K* left, K* right, int64_t n, K pivot) {
  constexpr int L = kLanes<K>, at_once = 4;
  constexpr unsigned all = (1u << L) - 1;
  int64_t i = 0;
  for (; i + at_once * L <= n; i += at_once * L) {
    __m512i v[at_once];
    unsigned m[at_once];
    int c[at_once];
#pragma GCC unroll 4
    for (int u = 0; u < at_once; ++u) {
      v[u] = _mm512_loadu_si512(from + i + u * L);
      m[u] = lanes_below(pivot, v[u]);
      c[u] = __builtin_popcount(m[u]);
    }
#pragma GCC unroll 4
    for (int u = 0; u < at_once; ++u) {
      if constexpr (alone) _mm512_storeu_si512(left, compressed(K{}, m[u], v[u]));
      else masked_store(left, (1u << c[u]) - 1, compressed(K{}, m[u], v[u]));
      left += c[u];
      right -= L - c[u];
      masked_store(right, all >> c[u], compressed(K{}, ~m[u] & all, v[u]));
    }
  }
  for (; i < n; i += L) {
    const unsigned valid = n - i < L ? (1u << (n - i)) - 1 : all;
    const __m512i v = masked_load(from + i, valid);
    const unsigned m = lanes_below(pivot, v) & valid, rest = ~m & valid;
    const int c = __builtin_popcount(m), d = __builtin_popcount(rest);
    masked_store(left, (1u << c) - 1, compressed(K{}, m, v));
    left += c;
    right -= d;
    masked_store(right, (1u << d) - 1, compressed(K{}, rest, v));
  }
  return left;
}

template <class K> static int64_t count_below(const K* a, int64_t n, K pivot) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += a[i] < pivot;
  return count;
}

// The middle of some of the words.
template <class K> static K pivot_of(const K* a, int64_t n) {
  constexpr int samples = 4 * kLanes<K>;
  alignas(64) K s[samples];
  const int64_t step = n / samples;
  for (int k = 0; k < samples; ++k) s[k] = a[k * step + step / 2];
  network_of<4>(s, s, samples);
  return s[samples / 2];
}
#endif
#endif  // DLCORE_ORDER_NETWORK
