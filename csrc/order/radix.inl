// Sorting by the bits of a word: stable, out of place, without branches on the data.
//
// Most bits first until a bucket fits in cache and three digits are left, then the last digit first; bits that are the
// same everywhere are skipped. 1M float32: 4 MB are read 5 times and written 4 times, once by the whole (the first
// digit, all threads together) and otherwise bucket by bucket, in L2.
#ifndef DLCORE_ORDER_RADIX
#define DLCORE_ORDER_RADIX
#include "order/network.inl"

constexpr int kDigit = 11;               // bits: 2048 counters, 8 KB
constexpr int64_t kFewDigits = 4096;     // elements below which digits have 8 bits
constexpr int64_t kSortChunk = 32768;    // elements of a chunk of a pass by all threads
constexpr int64_t kParallelSort = 1 << 16;

#if DLCORE_ISA >= 3
template <class K> constexpr int64_t kSmall = kNetwork<K>;
template <class K> static inline void sort_small(const K* a, K* to, int64_t n) { network_sort(a, to, n); }
#else
template <class K> constexpr int64_t kSmall = 24;
template <class K> static void sort_small(const K* a, K* to, int64_t n) {  // by insertion
  for (int64_t i = 0; i < n; ++i) {
    const K word = a[i];
    int64_t j = i;
    for (; j > 0 && word < to[j - 1]; --j) to[j] = to[j - 1];
    to[j] = word;
  }
}
#endif

// Bits in which words of a differ.
template <class K> static uint64_t varying_bits(const K* a, int64_t n) {
  const uint64_t first = a[0];
  uint64_t varying = 0;
  for (int64_t i = 0; i < n; ++i) varying |= a[i] ^ first;
  return varying;
}

// `low` and `high` moved to the first and behind the last of the varying bits; equal where there are none.
static inline void narrow_bits(uint64_t varying, int* low, int* high) {
  if (*high < 64) varying &= (uint64_t{1} << *high) - 1;
  varying = *low < 64 ? varying >> *low << *low : 0;
  if (varying == 0) *high = *low;
  else *high = 64 - __builtin_clzll(varying), *low = __builtin_ctzll(varying);
}

template <class K> static inline uint32_t digit_of(K e, int shift, uint32_t mask) {
  return static_cast<uint32_t>(e >> shift) & mask;
}

template <int passes, class K> static void least_digits_first(K* a, K* b, int64_t n, int low, int bits, bool into_b) {
  alignas(64) uint32_t counts[passes][1 << kDigit];
  const int64_t size = int64_t{1} << bits;
  const uint32_t mask = static_cast<uint32_t>(size - 1);
  for (int p = 0; p < passes; ++p) memset(counts[p], 0, sizeof(uint32_t) * size);
  for (int64_t i = 0; i < n; ++i)
    for (int p = 0; p < passes; ++p) ++counts[p][digit_of(a[i], low + p * bits, mask)];
  K *from = a, *to = b;
  for (int p = 0; p < passes; ++p) {
    uint32_t* next = counts[p];
    uint32_t sum = 0;
    for (int64_t d = 0; d < size; ++d) {
      const uint32_t count = next[d];
      next[d] = sum;
      sum += count;
    }
    const int shift = low + p * bits;
    for (int64_t i = 0; i < n; ++i) to[next[digit_of(from[i], shift, mask)]++] = from[i];
    std::swap(from, to);
  }
  K* const wanted = into_b ? b : a;
  if (from != wanted) memcpy(static_cast<void*>(wanted), from, sizeof(K) * n);
}

#if DLCORE_ISA == 4
constexpr int64_t kPartitions = 8192;  // words below which partitions beat more than one digit
template <class K>
static void partition_sort(K* a, K* b, int64_t n, int64_t need, int low, bool into_b, int depth);
#endif

// Sorts n words at a, which differ in bits [low, high) and are in order of those below, into b or in place.
template <bool digits_alone = false, class K>
static void sort_bits(K* a, K* b, int64_t n, int low, int high, bool into_b) {
  const auto stays = [&] {
    if (into_b) memcpy(static_cast<void*>(b), a, sizeof(K) * n);
  };
  if (n <= kSmall<K>) return sort_small(a, into_b ? b : a, n);
  if (low < high) narrow_bits(varying_bits(a, n), &low, &high);
  if (low == high) return stays();
  const int width = high - low, most = n < kFewDigits ? 8 : kDigit, passes = (width + most - 1) / most;
  const int bits = (width + passes - 1) / passes;
#if DLCORE_ISA == 4
  if (!digits_alone && passes > 1 && n < kPartitions) return partition_sort(a, b, n, n, low, into_b, 80);
#endif
  if (n < int64_t{1} << 30) {
    if (passes == 1) return least_digits_first<1>(a, b, n, low, bits, into_b);
    if (passes == 2) return least_digits_first<2>(a, b, n, low, bits, into_b);
    if (passes == 3 && n < kParallelSort) return least_digits_first<3>(a, b, n, low, bits, into_b);
  }
  const int wanted = 61 - __builtin_clzll(static_cast<uint64_t>(n));  // so that a bucket has about 8 elements
  const int top = std::min(width, std::clamp(wanted, 3, kDigit));
  const int shift = high - top;
  const uint32_t mask = (1u << top) - 1;
  int64_t next[1 << kDigit];
  memset(next, 0, sizeof(int64_t) << top);
  for (int64_t i = 0; i < n; ++i) ++next[digit_of(a[i], shift, mask)];
  int64_t sum = 0;
  for (uint32_t d = 0; d <= mask; ++d) {
    const int64_t count = next[d];
    next[d] = sum;
    sum += count;
  }
  for (int64_t i = 0; i < n; ++i) b[next[digit_of(a[i], shift, mask)]++] = a[i];
  int64_t start = 0;
  for (uint32_t d = 0; d <= mask; ++d) {
    const int64_t count = next[d] - start;
    if (count) sort_bits<digits_alone>(b + start, a + start, count, low, shift, !into_b);
    start = next[d];
  }
}

// The same by all threads; what a chunk is depends on n alone.
template <class K> static void sort_bits_together(K* a, K* b, int64_t n, int low, int high, bool into_b) {
  if (n < kParallelSort) return sort_bits(a, b, n, low, high, into_b);
  const int64_t chunk = std::max(kSortChunk, (n + 63) / 64), chunks = (n + chunk - 1) / chunk;
  const auto each_chunk = [&](auto&& f) {
    parallel_for(chunks, [&](int64_t c) { f(c, c * chunk, std::min(n, (c + 1) * chunk)); });
  };
  uint64_t varying[64];
  each_chunk([&](int64_t c, int64_t begin, int64_t end) {
    varying[c] = varying_bits(a + begin, end - begin) | (a[begin] ^ a[0]);
  });
  for (int64_t c = 1; c < chunks; ++c) varying[0] |= varying[c];
  narrow_bits(varying[0], &low, &high);
  if (low == high) {
    if (into_b) memcpy(static_cast<void*>(b), a, sizeof(K) * n);
    return;
  }
  const int top = std::min(high - low, kDigit), shift = high - top;
  const int64_t size = int64_t{1} << top;
  const uint32_t mask = static_cast<uint32_t>(size - 1);
  const Scratch<int64_t> counts(chunks * size), starts(size + 1);
  each_chunk([&](int64_t c, int64_t begin, int64_t end) {
    int64_t* mine = counts.get() + c * size;
    memset(mine, 0, sizeof(int64_t) * size);
    for (int64_t i = begin; i < end; ++i) ++mine[digit_of(a[i], shift, mask)];
  });
  int64_t sum = 0;
  for (int64_t d = 0; d < size; ++d) {
    starts[d] = sum;
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t count = counts[c * size + d];
      counts[c * size + d] = sum;
      sum += count;
    }
  }
  starts[size] = n;
  each_chunk([&](int64_t c, int64_t begin, int64_t end) {
    int64_t* next = counts.get() + c * size;
    for (int64_t i = begin; i < end; ++i) b[next[digit_of(a[i], shift, mask)]++] = a[i];
  });
  // Buckets are shared out in groups of about a chunk; those that would keep one thread busy while others wait are
  // sorted by all of them.
  const auto is_large = [&](int64_t count) { return count >= kParallelSort && count > n / 8; };
  const Scratch<int64_t> groups(size + 1);
  int64_t group_count = 0;
  for (int64_t d = 0, first = 0; d < size; ++d) {
    if (d == 0 || starts[d] - starts[first] >= kSortChunk / 2) groups[group_count++] = first = d;
  }
  groups[group_count] = size;
  parallel_for(group_count, [&](int64_t g) {
    for (int64_t d = groups[g]; d < groups[g + 1]; ++d) {
      const int64_t start = starts[d], count = starts[d + 1] - start;
      if (count && !is_large(count)) sort_bits(b + start, a + start, count, low, shift, !into_b);
    }
  });
  for (int64_t d = 0; d < size; ++d) {
    const int64_t start = starts[d], count = starts[d + 1] - start;
    if (is_large(count)) sort_bits_together(b + start, a + start, count, low, shift, !into_b);
  }
}

#endif  // DLCORE_ORDER_RADIX
