// Sorted lines: sort, argsort, topk. Stable in both directions; the same bits for any number of threads.
//
// A line is sorted by keys (keys.inl) by radix (radix.inl): sort by the keys alone, and what keys do not tell, the signs
// of zeros and the bits of NaNs, is put back in the order in which the line has it; argsort by pairs of key and index.
#include "order/radix.inl"

// A contiguous array seen along one axis, or (axis < 0) flat.
struct Rows {
  int64_t outer = 1, n = 1, inner = 1;
  Rows(const Array& x, int64_t axis) {
    for (int d = 0; d < x.ndim; ++d) (axis < 0 || d == axis ? n : d < axis ? outer : inner) *= x.shape[d];
  }
};

constexpr int64_t kSideBySide = 16;  // lines across memory that are gathered at once: whole cache lines are read
constexpr int64_t kSortGrain = 2048;  // elements: 10 us

// ---- one line, contiguous -----------------------------------------------------------------------------------------
// By all threads where it is long and the caller does not run in parallel already.
template <class T> static void sort_values(const T* x, T* out, int64_t n, bool descending) {
  using K = bits_t<T>;
  const K flip = descending ? static_cast<K>(~K{0}) : K{0};
  K* keys = reinterpret_cast<K*>(out);
  const Scratch<K> room(n);
  std::atomic<bool> special{false};
  parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
    bool any = false;
    for (int64_t i = begin; i < end; ++i) {
      any |= is_special(x + i);
      keys[i] = key_of(x + i, flip);
    }
    if (any) special.store(true, std::memory_order_relaxed);
  });
  sort_together(keys, room.get(), n, 0, 8 * sizeof(K), false);
  if constexpr (kIsReal<T> || std::is_signed_v<T>) {
    parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) keys[i] = bits_of_key<T>(keys[i], flip);
    });
  } else if (descending) {
    for (int64_t i = 0; i < n; ++i) keys[i] ^= flip;
  }
  if constexpr (kIsReal<T>) {
    if (!special.load(std::memory_order_relaxed)) return;
    int64_t nans = 0;
    for (int64_t i = 0; i < n; ++i) nans += is_nan(x + i);
    T *nan = descending ? out : out + n - nans, *zero = descending ? out + nans : out;
    for (const T* end = out + n; zero < end && !is_zero(zero);) ++zero;
    for (int64_t i = 0; i < n; ++i) {
      if (is_nan(x + i)) *nan++ = x[i];
      else if (is_zero(x + i)) *zero++ = x[i];
    }
  }
}

template <class T> static void make_pairs(const T* x, pair_t<bits_t<T>>* pairs, int64_t n, bool descending) {
  using K = bits_t<T>;
  const K flip = descending ? static_cast<K>(~K{0}) : K{0};
  parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pairs[i] = make_pair_of<K>(key_of(x + i, flip), i);
  });
}

// The bits [low, high) of words that pairs of T are sorted by.
template <class T> constexpr int kLowBit = sizeof(T) < 8 ? 32 : 0;
template <class T> constexpr int kHighBit = sizeof(T) < 8 ? 32 + 8 * sizeof(T) : 64;

// The first `count` in order; `values` may be null.
template <class E, class T>
static void take_pairs(const E* pairs, const T* x, T* values, int64_t* indices, int64_t count) {
  parallel_ranges(count, kSortChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) indices[i] = index_of(pairs[i]);
    if (values)
      for (int64_t i = begin; i < end; ++i) values[i] = x[index_of(pairs[i])];
  });
}

template <class T>
static void sort_indices(const T* x, T* values, int64_t* indices, int64_t n, int64_t count, bool descending) {
  using E = pair_t<bits_t<T>>;
  if (sizeof(T) < 8 && n >= int64_t{1} << 32) throw std::runtime_error("a line of 2^32 elements or more");
  const Scratch<E> room(2 * n);
  make_pairs(x, room.get(), n, descending);
  sort_together(room.get(), room.get() + n, n, kLowBit<T>, kHighBit<T>, false);
  take_pairs(room.get(), x, values, indices, count);
}

// The first `count` of n in order, `count` being much smaller: elements that come before the last of those kept so far
// are collected, and cut down to `count` when there is no more room.
template <class T>
static int64_t select_pairs(const T* x, int64_t begin, int64_t end, int64_t count, bool descending,
                            pair_t<bits_t<T>>* kept, int64_t room) {
  using K = bits_t<T>;
  const K flip = descending ? static_cast<K>(~K{0}) : K{0};
  constexpr int64_t block = 256;
  K keys[block], limit = static_cast<K>(~K{0});
  bool limited = false;  // later ones that equal the limit come behind those kept
  int64_t n = 0;
  const auto cut = [&] {
    if (n <= count) return;
    std::nth_element(kept, kept + count - 1, kept + n);
    n = count;
    limit = static_cast<K>(word_of(kept[count - 1]) >> kLowBit<T>);
    limited = true;
  };
  for (int64_t first = begin; first < end; first += block) {
    const int64_t m = std::min(block, end - first);
    unsigned below = 0;
    for (int64_t i = 0; i < m; ++i) keys[i] = key_of(x + first + i, flip);
    if (limited) {
#pragma omp simd reduction(+ : below)
      for (int64_t i = 0; i < m; ++i) below += keys[i] < limit;
      if (!below) continue;
    }
    for (int64_t i = 0; i < m; ++i) {
      kept[n] = make_pair_of<K>(keys[i], first + i);
      n += !limited || keys[i] < limit;
    }
    if (n + block > room) cut();
  }
  cut();
  return n;
}

template <class T>
static void select_first(const T* x, T* values, int64_t* indices, int64_t n, int64_t count, bool descending) {
  using E = pair_t<bits_t<T>>;
  const int64_t room = 2 * count + 1024, chunk = std::max(int64_t{65536}, 16 * count);
  const int64_t chunks = (n + chunk - 1) / chunk;
  const Scratch<E> kept(chunks * (room + 1));
  const Scratch<int64_t> counts(chunks);
  parallel_for(chunks, [&](int64_t c) {
    counts[c] = select_pairs(x, c * chunk, std::min(n, (c + 1) * chunk), count, descending,
                             kept.get() + c * (room + 1), room);
  });
  int64_t total = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    memmove(static_cast<void*>(kept.get() + total), kept.get() + c * (room + 1), sizeof(E) * counts[c]);
    total += counts[c];
  }
  if (total > count) std::nth_element(kept.get(), kept.get() + count - 1, kept.get() + total);
  std::sort(kept.get(), kept.get() + count);
  take_pairs(kept.get(), x, values, indices, count);
}

// The first `count` of a line in order, with their indices where there are any (which topk always has).
template <class T>
static void sort_line(const T* x, T* values, int64_t* indices, int64_t n, int64_t count, bool descending) {
  if (!indices) sort_values(x, values, n, descending);
  else if (n >= 512 && count < n / 8) select_first(x, values, indices, n, count, descending);
  else sort_indices(x, values, indices, n, count, descending);
}

// ---- all lines ----------------------------------------------------------------------------------------------------
template <class T> static void sort_lines(const Rows& l, const T* x, T* values, int64_t* indices, int64_t count,
                                          bool descending) {
  const int64_t lines = l.outer * l.inner, n = l.n;
  if (l.inner == 1) {
    const auto sort_one = [&](int64_t k) {
      sort_line(x + k * n, values ? values + k * count : nullptr, indices ? indices + k * count : nullptr, n, count,
                descending);
    };
    if (n >= kParallelSort && lines < 16) {
      for (int64_t k = 0; k < lines; ++k) sort_one(k);  // each by all threads
    } else {
      parallel_ranges(lines, n < kSortGrain ? kSortGrain / n : 1, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) sort_one(k);
      });
    }
    return;
  }
  const int64_t tiles = (l.inner + kSideBySide - 1) / kSideBySide, grain = kSortGrain / (n * kSideBySide);
  parallel_ranges(l.outer * tiles, grain > 1 ? grain : 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> in(kSideBySide * n), sorted(kSideBySide * count);
    const Scratch<int64_t> places(indices ? kSideBySide * count : 0);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t o = tile / tiles, first = tile % tiles * kSideBySide, w = std::min(kSideBySide, l.inner - first);
      const T* from = x + o * n * l.inner + first;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t c = 0; c < w; ++c) in[c * n + j] = from[j * l.inner + c];
      for (int64_t c = 0; c < w; ++c)
        sort_line(in.get() + c * n, values ? sorted.get() + c * count : nullptr,
                  indices ? places.get() + c * count : nullptr, n, count, descending);
      const int64_t base = o * count * l.inner + first;
      for (int64_t j = 0; j < count; ++j)
        for (int64_t c = 0; c < w; ++c) {
          if (values) values[base + j * l.inner + c] = sorted[c * count + j];
          if (indices) indices[base + j * l.inner + c] = places[c * count + j];
        }
    }
  });
}

// params: axis (-1: of the flat array), descending
static void sort(const Args& a) {
  const Array& x = a.in(0);
  if (x.size() == 0) return;
  const Rows l(x, a.integer(0));
  with_dtype(x.dtype, [&]<class T>() {
    sort_lines(l, x.as<const T>(), a.out().as<T>(), a.out(1).as<int64_t>(), l.n, a.integer(1) != 0);
  });
}

static void argsort(const Args& a) {
  const Array& x = a.in(0);
  if (x.size() == 0) return;
  const Rows l(x, a.integer(0));
  with_dtype(x.dtype, [&]<class T>() {
    sort_lines(l, x.as<const T>(), static_cast<T*>(nullptr), a.out().as<int64_t>(), l.n, a.integer(1) != 0);
  });
}

// params: axis, descending, count
static void topk(const Args& a) {
  const Array& x = a.in(0);
  if (a.out().size() == 0) return;
  const Rows l(x, a.integer(0));
  with_dtype(x.dtype, [&]<class T>() {
    sort_lines(l, x.as<const T>(), a.out().as<T>(), a.out(1).as<int64_t>(), a.integer(2), a.integer(1) != 0);
  });
}

static const Kernel kernels[] = {
    {"order:sort", sort, kAllContiguous},
    {"order:argsort", argsort, kAllContiguous},
    {"order:topk", topk, kAllContiguous},
};
