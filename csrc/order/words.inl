// Sorting unsigned words of 32 or 64 bits, by one thread or by all: with AVX-512 by partitions around a pivot and, for
// up to 256 words, networks in registers; by radix (radix.inl) without it, where few bits differ, and where the half
// of each word is a place (those of 1M: 3.9 ns a word, partitions take 5.3).
//
// Partitions go from one place to another and back, not in place: 32 words of 32 bits take about 40 instructions.
#ifndef DLCORE_ORDER_WORDS
#define DLCORE_ORDER_WORDS
#include "order/radix.inl"

#if DLCORE_ISA == 4
// Sorts n words at a, with room at b, into b or in place, so that the first `need` are right. `low`: as of sort_bits,
// which takes over where `depth` partitions were not enough.
template <class K>
static void partition_sort(K* a, K* b, int64_t n, int64_t need, int low, bool into_b, int depth) {
  while (n > kNetwork<K>) {
    if (need <= 0) return;
    if (depth-- == 0) return sort_bits<true>(a, b, n, low, 8 * static_cast<int>(sizeof(K)), into_b);
    const K pivot = pivot_of(a, n);
    int64_t below = partition<true>(a, b, b + n, n, pivot) - b;
    if (below == 0) {  // the pivot is the smallest: words equal to it are done
      const bool last = pivot == static_cast<K>(~K{0});
      below = last ? n : partition<true>(b, a, a + n, n, static_cast<K>(pivot + 1)) - a;
      K* const to = into_b ? b : a;
      for (int64_t i = 0; i < below; ++i) to[i] = pivot;
    } else {
      partition_sort(b, a, below, need, low, !into_b, depth);
      std::swap(a, b);
      into_b = !into_b;
    }
    a += below, b += below, n -= below, need -= below;
  }
  if (n > 0 && need > 0) network_sort(a, into_b ? b : a, n);
}
#endif

// Sorts n words at a, with room at b, into b or in place, so that the first `need` are right; those with equal bits
// from `low` on are in order already.
template <class K> static void sort_words(K* a, K* b, int64_t n, int64_t need, int low, bool into_b) {
#if DLCORE_ISA == 4
  if (low == 0 || need < n || n < kPartitions) return partition_sort(a, b, n, need, low, into_b, 80);
#endif
  static_cast<void>(need);
  sort_bits(a, b, n, low, 8 * static_cast<int>(sizeof(K)), into_b);
}

#if DLCORE_ISA == 4
template <class K> struct Part {
  K *a, *b;  // the words, and room for them
  int64_t n;
  bool into_b;
};

// partition() by all threads.
template <class K> static int64_t partition_together(const Part<K>& part, K pivot) {
  const int64_t chunk = std::max(kSortChunk, (part.n + 63) / 64), chunks = (part.n + chunk - 1) / chunk;
  int64_t below[65] = {};
  const auto size_of = [&](int64_t c) { return std::min(chunk, part.n - c * chunk); };
  parallel_for(chunks, [&](int64_t c) { below[c + 1] = count_below(part.a + c * chunk, size_of(c), pivot); });
  for (int64_t c = 0; c < chunks; ++c) below[c + 1] += below[c];
  const int64_t total = below[chunks];
  parallel_for(chunks, [&](int64_t c) {
    const int64_t above_end = (c + 1) * chunk < part.n ? (c + 1) * chunk - below[c + 1] : part.n - total;
    partition<false>(part.a + c * chunk, part.b + below[c], part.b + total + above_end, size_of(c), pivot);
  });
  return total;
}

// Parts are cut until there are some for every thread, or it does not repay; then each thread sorts whole parts. The
// result does not depend on what the parts were, so they may depend on the number of threads.
template <class K> static void sort_parts(K* a, K* b, int64_t n) {
  constexpr int most = 64;
  Part<K> parts[most + 1];
  parts[0] = {a, b, n, false};
  int count = 1;
  const int64_t enough = std::max(n / (4 * thread_count()), kSortChunk);
  for (int k = 0, rounds = 0; k < count && rounds < most;) {
    if (parts[k].n <= enough) {
      ++k;
      continue;
    }
    const Part<K> part = parts[k];
    ++rounds;
    const K pivot = pivot_of(part.a, part.n);
    int64_t below = partition_together(part, pivot);
    const Part<K> moved = {part.b, part.a, part.n, !part.into_b};
    if (below == 0) {  // the pivot is the smallest: words equal to it are done
      const bool last = pivot == static_cast<K>(~K{0});
      below = last ? part.n : partition_together(moved, static_cast<K>(pivot + 1));
      K* const to = part.into_b ? part.b : part.a;
      parallel_ranges(below, kSortChunk, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) to[i] = pivot;
      });
      parts[k] = {part.a + below, part.b + below, part.n - below, part.into_b};
    } else {
      parts[k] = {moved.a, moved.b, below, moved.into_b};
      parts[count++] = {moved.a + below, moved.b + below, part.n - below, moved.into_b};
    }
  }
  std::sort(parts, parts + count, [](const Part<K>& x, const Part<K>& y) { return x.n > y.n; });  // the longest first
  parallel_for(count, [&](int64_t k) {
    const Part<K>& part = parts[k];
    sort_words(part.a, part.b, part.n, part.n, 0, part.into_b);
  });
}
#endif

// Whether n words are small integers, of both signs maybe: their differences from the least have at most `few` bits.
template <class K> static bool differ_little(const K* a, int64_t n, int few, K* least) {
  const auto range = [&](int64_t step) {
    K below = a[0], above = a[0];
    for (int64_t i = 0; i < n; i += step) {
      below = a[i] < below ? a[i] : below;
      above = a[i] > above ? a[i] : above;
    }
    *least = below;
    return static_cast<uint64_t>(above - below);
  };
  return range(n / 64) >> few == 0 && range(1) >> few == 0;  // some tell mostly
}

// The same in place, by all threads.
template <class K> static void sort_words_together(K* a, K* b, int64_t n, int low) {
  constexpr int bits = 8 * static_cast<int>(sizeof(K)), few = sizeof(K) == 4 ? kDigit : 2 * kDigit;
  if (n < kParallelSort) return sort_words(a, b, n, n, low, false);
  if (low > 0) return sort_bits_together(a, b, n, low, bits, false);
  K first;
  if (differ_little(a, n, few, &first)) {
    const auto each = [&](auto&& f) {
      parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) a[i] = f(a[i]);
      });
    };
    each([=](K word) { return static_cast<K>(word - first); });
    sort_bits_together(a, b, n, 0, bits, false);
    return each([=](K word) { return static_cast<K>(word + first); });
  }
#if DLCORE_ISA == 4
  if (thread_count() == 1) sort_words(a, b, n, n, low, false);
  else sort_parts(a, b, n);
#else
  sort_bits_together(a, b, n, low, bits, false);
#endif
}

#endif  // DLCORE_ORDER_WORDS
