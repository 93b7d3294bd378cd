// Sorted lines: sort, argsort, topk. Stable in both directions; the same bits for any number of threads.
//
// sort: values.inl. argsort: 32 bits of the key above the place in the line, so that equal keys stay in order; of keys
// of 64 bits those that tell most come first, and where these are equal, the others (see order_wide).
#include "order/values.inl"

// ---- indices ------------------------------------------------------------------------------------------------------
// An item: 32 bits that it is ordered by, above the place of an element.
static inline uint64_t item_of(uint64_t key, int64_t place) { return key << 32 | static_cast<uint64_t>(place); }
static inline int64_t place_of(uint64_t item) { return static_cast<int64_t>(item & 0xffffffffu); }

template <bool all> static void order_wide(const uint64_t* keys, uint64_t* items, uint64_t* room, int64_t n);

// Puts items that are in order into that of the keys at their places, of which they have the upper bits alone.
static void order_runs(const uint64_t* keys, uint64_t* items, uint64_t* room, int64_t n) {
  const auto equal_next = [&](int64_t i) { return items[i] >> 32 == items[i + 1] >> 32; };
  const auto end_of = [&](int64_t i) {
    while (i + 1 < n && equal_next(i)) ++i;
    return i + 1;
  };
  parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
    constexpr int64_t step = 16;
    constexpr int most = 32;
    std::pair<int64_t, int64_t> waiting[most];  // runs whose keys are on their way from memory
    int count = 0;
    const auto finish = [&] {
      for (int k = 0; k < count; ++k) {
        const auto [first, stop] = waiting[k];
        order_wide<false>(keys, items + first, room + first, stop - first);
      }
      count = 0;
    };
    int64_t i = begin;
    if (begin && equal_next(begin - 1)) i = end_of(begin);  // of a run that began before
    while (i < end) {
      unsigned runs = 0;
      if (i + step < end) {
#pragma omp simd reduction(| : runs)
        for (int64_t k = 0; k < step; ++k) runs |= equal_next(i + k);
        if (!runs) {
          i += step;
          continue;
        }
      }
      const int64_t stop = end_of(i);
      if (stop - i > 1 && stop - i < kParallelSort) {
        for (int64_t k = i; k < stop && k < i + 4; ++k) __builtin_prefetch(keys + place_of(items[k]));
        waiting[count++] = {i, stop};
        if (count == most) finish();
      }
      i = stop;
    }
    finish();
  });
  for (int64_t i = 0; i + kParallelSort <= n;) {  // long runs, by all threads
    if (items[i] >> 32 != items[i + 1] >> 32) {
      ++i;
      continue;
    }
    const int64_t stop = end_of(i);
    if (stop - i >= kParallelSort) order_wide<false>(keys, items + i, room + i, stop - i);
    i = stop;
  }
}

// Puts items, whose places are in order, into the order of the keys there. `all`: their places are 0, 1, ... n - 1.
template <bool all> static void order_wide(const uint64_t* keys, uint64_t* items, uint64_t* room, int64_t n) {
  constexpr int64_t few = 16;
  const auto key_at = [&](uint64_t item) { return keys[place_of(item)]; };
  const auto place = [&](int64_t i) { return all ? i : place_of(items[i]); };
  if (n <= few) {
    for (int64_t i = 1; i < n; ++i) {
      const uint64_t item = items[i], key = key_at(item);
      int64_t j = i;
      for (; j > 0 && key < key_at(items[j - 1]); --j) items[j] = items[j - 1];
      items[j] = item;
    }
    return;
  }
  const int64_t chunk = std::max(kSortChunk, (n + 63) / 64), chunks = (n + chunk - 1) / chunk;
  uint64_t least[64], most[64];
  parallel_for(chunks, [&](int64_t c) {
    uint64_t low = ~uint64_t{0}, high = 0;
    for (int64_t i = c * chunk; i < std::min(n, (c + 1) * chunk); ++i) {
      const uint64_t key = keys[place(i)];
      low = std::min(low, key), high = std::max(high, key);
    }
    least[c] = low, most[c] = high;
  });
  for (int64_t c = 1; c < chunks; ++c) least[0] = std::min(least[0], least[c]), most[0] = std::max(most[0], most[c]);
  if (least[0] == most[0]) return;
  // Differences from the least key: small integers of both signs have few bits then.
  const uint64_t first = least[0];
  const int width = 64 - __builtin_clzll(most[0] - first), shift = width > 32 ? width - 32 : 0;
  parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) items[i] = item_of((keys[place(i)] - first) >> shift, place(i));
  });
  sort_words_together(items, room, n, 32);
  if (shift) order_runs(keys, items, room, n);  // in a run they differ in the last `shift` bits of these differences
}

// The first `count` places in order of a line, or (count < n) of any that comes behind; items and room for n.
template <class T>
static void sort_places(const T* x, uint64_t* items, uint64_t* room, int64_t n, int64_t count, bool descending) {
  if (n >= int64_t{1} << 32) throw std::runtime_error("a line of 2^32 elements or more");
  if constexpr (sizeof(T) < 8) {
    parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
      const bits_t<T> flip = flip_of<T>(descending);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) items[i] = item_of(key_of(x + i, flip), i);
    });
    if (count < n && n < kParallelSort) sort_words(items, room, n, count, 32, false);
    else sort_words_together(items, room, n, 32);
  } else {
    const Scratch<uint64_t> keys(n);
    parallel_ranges(n, kSortChunk, [&](int64_t begin, int64_t end) {
      make_keys(x + begin, keys.get() + begin, end - begin, descending);
      for (int64_t i = begin; i < end; ++i) {
        if constexpr (std::is_same_v<T, double>) {  // rounded to 32 bits: the order is the same, but for what is equal
          const float rounded = static_cast<float>(x[i]);
          items[i] = item_of(key_of(&rounded, flip_of<float>(descending)), i);
        } else {
          items[i] = static_cast<uint64_t>(i);
        }
      }
    });
    if constexpr (std::is_same_v<T, double>) {
      sort_words_together(items, room, n, 32);
      order_runs(keys.get(), items, room, n);
    } else {
      order_wide<true>(keys.get(), items, room, n);
    }
  }
}

// The first `count` in order; `values` may be null.
template <class T>
static void take_places(const uint64_t* items, const T* x, T* values, int64_t* indices, int64_t count) {
  parallel_ranges(count, kSortChunk, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) indices[i] = place_of(items[i]);
    if (values)
      for (int64_t i = begin; i < end; ++i) values[i] = x[indices[i]];
  });
}

template <class T>
static void sort_indices(const T* x, T* values, int64_t* indices, int64_t lines, int64_t n, int64_t count,
                         bool descending) {
  const Scratch<uint64_t> items(2 * n);
  for (int64_t k = 0; k < lines; ++k) {
    sort_places(x + k * n, items.get(), items.get() + n, n, count, descending);
    take_places(items.get(), x + k * n, values ? values + k * count : nullptr, indices + k * count, count);
  }
}

// ---- a few of many ------------------------------------------------------------------------------------------------
struct Keyed {
  uint64_t key;
  int64_t place;
  bool operator<(const Keyed& other) const { return key < other.key || (key == other.key && place < other.place); }
};

// The first `count` of [begin, end) in order, in no order: elements that come before the last of those kept so far are
// collected, and cut down to `count` when there is no more room.
template <class T>
static int64_t select_places(const T* x, int64_t begin, int64_t end, int64_t count, bool descending, Keyed* kept,
                             int64_t room) {
  using K = bits_t<T>;
  const K flip = flip_of<T>(descending);
  constexpr int64_t block = 256;
  K keys[block], limit = static_cast<K>(~K{0});
  bool limited = false;  // later ones that equal the limit come behind those kept
  int64_t n = 0;
  const auto cut = [&] {
    if (n <= count) return;
    std::nth_element(kept, kept + count - 1, kept + n);
    n = count;
    limit = static_cast<K>(kept[count - 1].key);
    limited = true;
  };
  for (int64_t first = begin; first < end; first += block) {
    const int64_t m = std::min(block, end - first);
    unsigned below = 0;
#pragma omp simd reduction(+ : below)
    for (int64_t i = 0; i < m; ++i) {
      keys[i] = key_of(x + first + i, flip);
      below += keys[i] < limit;
    }
    if (limited && !below) continue;
    for (int64_t i = 0; i < m; ++i) {
      kept[n] = {keys[i], first + i};
      n += !limited || keys[i] < limit;
    }
    if (n + block > room || !limited) cut();
  }
  cut();
  return n;
}

// By all threads, each chunk by itself; then the best of all.
template <class T>
static void select_first(const T* x, T* values, int64_t* indices, int64_t n, int64_t count, bool descending) {
  const int64_t room = 2 * count + 1024, chunk = std::max(int64_t{65536}, 16 * count);
  const int64_t chunks = (n + chunk - 1) / chunk;
  const Scratch<Keyed> kept(chunks * room);
  const Scratch<int64_t> counts(chunks);
  parallel_for(chunks, [&](int64_t c) {
    counts[c] = select_places(x, c * chunk, std::min(n, (c + 1) * chunk), count, descending, kept.get() + c * room,
                              room);
  });
  int64_t total = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    memmove(kept.get() + total, kept.get() + c * room, sizeof(Keyed) * counts[c]);
    total += counts[c];
  }
  if (total > count) std::nth_element(kept.get(), kept.get() + count - 1, kept.get() + total);
  std::sort(kept.get(), kept.get() + count);
  for (int64_t i = 0; i < count; ++i) {
    indices[i] = kept[i].place;
    values[i] = x[kept[i].place];
  }
}

// ---- all lines ----------------------------------------------------------------------------------------------------
// Lines one after another: their first `count` elements in order. `values` or `indices` may be null.
template <class T>
static void sort_adjacent(const T* x, T* values, int64_t* indices, int64_t lines, int64_t n, int64_t count,
                          bool descending) {
  if (!indices) return sort_values(x, values, lines, n, descending);
  const bool few = count < n / 8 && (n >= kParallelSort || (sizeof(T) == 8 && n >= 512));
  if (!few || !values) return sort_indices(x, values, indices, lines, n, count, descending);
  for (int64_t k = 0; k < lines; ++k)
    select_first(x + k * n, values + k * count, indices + k * count, n, count, descending);
}

template <class T> static void sort_lines(const Rows& l, const T* x, T* values, int64_t* indices, int64_t count,
                                          bool descending) {
  const int64_t lines = l.outer * l.inner, n = l.n;
  const auto at = [](auto* p, int64_t offset) { return p ? p + offset : p; };
  if (l.inner == 1) {
    if (n >= kParallelSort && lines < 16) return sort_adjacent(x, values, indices, lines, n, count, descending);
    parallel_ranges(lines, n < kSortGrain ? kSortGrain / n : 1, [&](int64_t begin, int64_t end) {
      sort_adjacent(x + begin * n, at(values, begin * count), at(indices, begin * count), end - begin, n, count,
                    descending);
    });
    return;
  }
  const int64_t tiles = (l.inner + kSideBySide - 1) / kSideBySide, grain = kSortGrain / (n * kSideBySide);
  const auto some = [&](int64_t begin, int64_t end) {
    const Scratch<T> in(kSideBySide * n), sorted(kSideBySide * count);
    const Scratch<int64_t> places(indices ? kSideBySide * count : 0);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t o = tile / tiles, first = tile % tiles * kSideBySide, w = std::min(kSideBySide, l.inner - first);
      const T* from = x + o * n * l.inner + first;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t c = 0; c < w; ++c) in[c * n + j] = from[j * l.inner + c];
      sort_adjacent(in.get(), values ? sorted.get() : nullptr, indices ? places.get() : nullptr, w, n, count,
                    descending);
      const int64_t base = o * count * l.inner + first;
      for (int64_t j = 0; j < count; ++j)
        for (int64_t c = 0; c < w; ++c) {
          if (values) values[base + j * l.inner + c] = sorted[c * count + j];
          if (indices) indices[base + j * l.inner + c] = places[c * count + j];
        }
    }
  };
  if (n >= kParallelSort && l.outer * tiles < 4) some(0, l.outer * tiles);  // line by line, each by all threads
  else parallel_ranges(l.outer * tiles, grain > 1 ? grain : 1, some);
}

// Along an axis, or (-1) flat.
static Rows rows_of(const Array& x, int64_t axis) {
  return axis < 0 ? Rows(x, 0, x.ndim) : Rows(x, axis, axis + 1);
}

// params: axis, descending
static void sort(const Args& a) {
  const Array& x = a.in(0);
  if (x.size() == 0) return;
  const Rows l = rows_of(x, a.integer(0));
  with_dtype(x.dtype, [&]<class T>() {
    sort_lines(l, x.as<const T>(), a.out().as<T>(), a.out(1).as<int64_t>(), l.n, a.integer(1) != 0);
  });
}

static void argsort(const Args& a) {
  const Array& x = a.in(0);
  if (x.size() == 0) return;
  const Rows l = rows_of(x, a.integer(0));
  with_dtype(x.dtype, [&]<class T>() {
    sort_lines(l, x.as<const T>(), static_cast<T*>(nullptr), a.out().as<int64_t>(), l.n, a.integer(1) != 0);
  });
}

// params: axis, descending, count
static void topk(const Args& a) {
  const Array& x = a.in(0);
  if (a.out().size() == 0) return;
  const Rows l = rows_of(x, a.integer(0));
  with_dtype(x.dtype, [&]<class T>() {
    sort_lines(l, x.as<const T>(), a.out().as<T>(), a.out(1).as<int64_t>(), a.integer(2), a.integer(1) != 0);
  });
}

// dx[indices[j]] = dout[j] along axis params[0], 0 elsewhere; the indices of a line differ.
static void sort_backward(const Args& a) {
  const Array &dout = a.in(0), &dx = a.out();
  const int64_t axis = a.integer(0), size = dout.size();
  memset(dx.data, 0, dx.size() * item_size(dx.dtype));
  if (size == 0) return;
  const Rows l(dout, axis, axis + 1);
  const int64_t n = dx.shape[axis], *indices = a.in(1).as<const int64_t>(), line = l.n * l.inner;
  std::atomic<int64_t> wrong{size};
  with_bits(dx.dtype, [&]<class T>() {
    const T* from = dout.as<const T>();
    T* to = dx.as<T>();
    parallel_ranges(size, kSortChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const int64_t o = i / line, stop = std::min(end, (o + 1) * line);
        for (int64_t c = i % l.inner; i < stop; ++i) {
          if (static_cast<uint64_t>(indices[i]) < static_cast<uint64_t>(n)) {
            to[(o * n + indices[i]) * l.inner + c] = from[i];
          } else {
            int64_t first = wrong.load();
            while (i < first && !wrong.compare_exchange_weak(first, i)) {}
          }
          if (++c == l.inner) c = 0;
        }
      }
    });
  });
  const int64_t i = wrong.load();
  if (i < size)
    throw IndexFault("sort_backward: index " + std::to_string(indices[i]) + " at position " + std::to_string(i) +
                     " is out of range for axis " + std::to_string(axis) + " of length " + std::to_string(n));
}

static const Kernel kernels[] = {
    {"order:sort", sort, kAllContiguous},
    {"order:argsort", argsort, kAllContiguous},
    {"order:topk", topk, kAllContiguous},
    {"order:sort_backward", sort_backward, kAllContiguous},
};
