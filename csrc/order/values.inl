// Lines of values in order: keys are sorted, and what keys do not tell, the signs of zeros and the bits of NaNs, is put
// back in the order in which the line has it; keys of 8 bits, and many of 16, are counted.
#ifndef DLCORE_ORDER_VALUES
#define DLCORE_ORDER_VALUES
#include "order/words.inl"

// A contiguous array seen along the axes [first, last).
struct Rows {
  int64_t outer = 1, n = 1, inner = 1;
  Rows(const Array& x, int64_t first, int64_t last) {
    for (int d = 0; d < x.ndim; ++d) (d < first ? outer : d < last ? n : inner) *= x.shape[d];
  }
};

constexpr int64_t kSideBySide = 16;   // lines across memory that are gathered at once: whole cache lines are read
constexpr int64_t kSortGrain = 8192;  // elements: 10 us

template <class T> static inline bits_t<T> flip_of(bool descending) {
  return static_cast<bits_t<T>>(descending ? ~bits_t<T>{0} : bits_t<T>{0});
}

// ---- values -------------------------------------------------------------------------------------------------------
template <class T> static bool make_keys(const T* x, bits_t<T>* keys, int64_t n, bool descending) {
  const bits_t<T> flip = flip_of<T>(descending);
  unsigned special = 0;
#pragma omp simd reduction(| : special)
  for (int64_t i = 0; i < n; ++i) {
    special |= is_special(x + i);
    keys[i] = key_of(x + i, flip);
  }
  return special != 0;
}
template <class T> static void keys_to_bits(bits_t<T>* keys, int64_t n, bool descending) {
  const bits_t<T> flip = flip_of<T>(descending);
  if (!kIsReal<T> && !std::is_signed_v<T> && !descending) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) keys[i] = bits_of_key<T>(keys[i], flip);
}

// The zeros and NaNs of the sorted line `out` become those of x in their order.
template <class T> static void restore_specials(const T* x, T* out, int64_t n, bool descending) {
  int64_t nans = 0;
  for (int64_t i = 0; i < n; ++i) nans += is_nan(x + i);
  T *nan = descending ? out : out + n - nans, *zero = descending ? out + nans : out;
  for (const T* end = out + n; zero < end && !is_zero(zero);) ++zero;
  for (int64_t i = 0; i < n; ++i) {
    if (is_nan(x + i)) *nan++ = x[i];
    else if (is_zero(x + i)) *zero++ = x[i];
  }
}

// Keys of few bits: each is written as often as it is there.
template <class K> static void count_keys(K* keys, int64_t n) {
  constexpr int64_t range = int64_t{1} << (8 * sizeof(K));
  const int64_t chunk = std::max(int64_t{65536}, (n + 7) / 8), chunks = (n + chunk - 1) / chunk;
  const Scratch<int64_t> counts(chunks * range);
  parallel_for(chunks, [&](int64_t c) {
    int64_t* mine = counts.get() + c * range;
    memset(mine, 0, sizeof(int64_t) * range);
    for (int64_t i = c * chunk; i < std::min(n, (c + 1) * chunk); ++i) ++mine[keys[i]];
  });
  K* to = keys;
  for (int64_t k = 0; k < range; ++k) {
    int64_t count = 0;
    for (int64_t c = 0; c < chunks; ++c) count += counts[c * range + k];
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<K>(k);
    to += count;
  }
}

// Sorts keys in place.
template <class K> static void sort_keys(K* keys, K* room, int64_t n) {
  if constexpr (sizeof(K) >= 4) {
    sort_words_together(keys, room, n, 0);
  } else {
    if (n >= (sizeof(K) == 1 ? 64 : 100'000)) return count_keys(keys, n);
    const Scratch<uint32_t> wide(2 * n);
    for (int64_t i = 0; i < n; ++i) wide[i] = keys[i];
    sort_words(wide.get(), wide.get() + n, n, n, 0, false);
    for (int64_t i = 0; i < n; ++i) keys[i] = static_cast<K>(wide[i]);
  }
}

// Lines one after another in memory.
template <class T> static void sort_values(const T* x, T* out, int64_t lines, int64_t n, bool descending) {
  using K = bits_t<T>;
  K* keys = reinterpret_cast<K*>(out);
  const Scratch<K> room(sizeof(K) >= 4 ? n : 0);
  std::atomic<bool> special{false};
  parallel_ranges(lines * n, kSortChunk, [&](int64_t begin, int64_t end) {
    if (make_keys(x + begin, keys + begin, end - begin, descending)) special.store(true, std::memory_order_relaxed);
  });
  for (int64_t k = 0; k < lines; ++k) sort_keys(keys + k * n, room.get(), n);
  parallel_ranges(lines * n, kSortChunk, [&](int64_t begin, int64_t end) {
    keys_to_bits<T>(keys + begin, end - begin, descending);
  });
  if (!special.load(std::memory_order_relaxed)) return;
  for (int64_t k = 0; k < lines; ++k) restore_specials(x + k * n, out + k * n, n, descending);
}

#endif  // DLCORE_ORDER_VALUES
