// Sorting by the bits of a word: stable, out of place, without branches on the data.
//
// Most bits first until a bucket fits in cache and three digits are left, then the last digit first; bits that are the
// same everywhere are skipped. 1M float32: 4 MB are read 5 times and written 4 times, once by the whole (the first
// digit, all threads together) and otherwise bucket by bucket, in L2.
#ifndef DLCORE_ORDER_RADIX
#define DLCORE_ORDER_RADIX
#include "order/keys.inl"

constexpr int kDigit = 11;               // bits: 2048 counters, 8 KB
constexpr int64_t kInsertion = 24;       // elements
constexpr int64_t kFewDigits = 4096;     // elements below which digits have 8 bits
constexpr int64_t kSortChunk = 32768;    // elements of a chunk of a pass by all threads
constexpr int64_t kParallelSort = 1 << 16;

template <class E> static void insertion_sort(E* a, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const E e = a[i];
    int64_t j = i;
    for (; j > 0 && e < a[j - 1]; --j) a[j] = a[j - 1];
    a[j] = e;
  }
}

// Bits in which words of a differ.
template <class E> static uint64_t varying_bits(const E* a, int64_t n) {
  const uint64_t first = word_of(a[0]);
  uint64_t varying = 0;
  for (int64_t i = 0; i < n; ++i) varying |= word_of(a[i]) ^ first;
  return varying;
}

// `low` and `high` moved to the first and behind the last of the varying bits; equal where there are none.
static inline void narrow_bits(uint64_t varying, int* low, int* high) {
  if (*high < 64) varying &= (uint64_t{1} << *high) - 1;
  varying = *low < 64 ? varying >> *low << *low : 0;
  if (varying == 0) *high = *low;
  else *high = 64 - __builtin_clzll(varying), *low = __builtin_ctzll(varying);
}

template <class E> static inline uint32_t digit_of(const E& e, int shift, uint32_t mask) {
  return static_cast<uint32_t>(word_of(e) >> shift) & mask;
}

template <int passes, class E> static void least_digits_first(E* a, E* b, int64_t n, int low, int bits, bool into_b) {
  alignas(64) uint32_t counts[passes][1 << kDigit];
  const int64_t size = int64_t{1} << bits;
  const uint32_t mask = static_cast<uint32_t>(size - 1);
  for (int p = 0; p < passes; ++p) memset(counts[p], 0, sizeof(uint32_t) * size);
  for (int64_t i = 0; i < n; ++i)
    for (int p = 0; p < passes; ++p) ++counts[p][digit_of(a[i], low + p * bits, mask)];
  E *from = a, *to = b;
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
  E* const wanted = into_b ? b : a;
  if (from != wanted) memcpy(static_cast<void*>(wanted), from, sizeof(E) * n);
}

// Sorts the n elements at a by bits [low, high) of their words, into b or in place; both have room for n.
template <class E> static void sort_bits(E* a, E* b, int64_t n, int low, int high, bool into_b) {
  const auto stays = [&] {
    if (into_b) memcpy(static_cast<void*>(b), a, sizeof(E) * n);
  };
  if (n <= kInsertion) {
    if (low < high) insertion_sort(a, n);
    return stays();
  }
  narrow_bits(varying_bits(a, n), &low, &high);
  if (low == high) return stays();
  const int width = high - low, most = n < kFewDigits ? 8 : kDigit, passes = (width + most - 1) / most;
  const int bits = (width + passes - 1) / passes;
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
    if (count) sort_bits(b + start, a + start, count, low, shift, !into_b);
    start = next[d];
  }
}

// The same by all threads; what a chunk is depends on n alone.
template <class E> static void sort_together(E* a, E* b, int64_t n, int low, int high, bool into_b) {
  if (n < kParallelSort) return sort_bits(a, b, n, low, high, into_b);
  const int64_t chunk = std::max(kSortChunk, (n + 63) / 64), chunks = (n + chunk - 1) / chunk;
  const auto each_chunk = [&](auto&& f) {
    parallel_for(chunks, [&](int64_t c) { f(c, c * chunk, std::min(n, (c + 1) * chunk)); });
  };
  uint64_t varying[64];
  each_chunk([&](int64_t c, int64_t begin, int64_t end) {
    varying[c] = varying_bits(a + begin, end - begin) | (word_of(a[begin]) ^ word_of(a[0]));
  });
  for (int64_t c = 1; c < chunks; ++c) varying[0] |= varying[c];
  narrow_bits(varying[0], &low, &high);
  if (low == high) {
    if (into_b) memcpy(static_cast<void*>(b), a, sizeof(E) * n);
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
    if (is_large(count)) sort_together(b + start, a + start, count, low, shift, !into_b);
  }
}

#endif  // DLCORE_ORDER_RADIX
