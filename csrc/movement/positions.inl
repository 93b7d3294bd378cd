// What kernels that read or write by index share. A body includes it once, behind common/strided_copy.inl.

constexpr int64_t kIndexGrain = 8 * 1024;  // indices of a chunk
constexpr int64_t kIndexBlock = 1024;      // whose positions stay in the first-level cache

// The positions in [0, size) of n indices (negative ones count from the end), and whether one is out of range.
template <class T> static bool to_positions(const void* indices, int64_t n, int64_t size, int64_t* positions) {
  const T* index = static_cast<const T*>(indices);
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t k = index[i];  // of a uint64 beyond int64 negative, and out of range
    const int64_t position = k + (std::is_signed_v<T> && k < 0 ? size : 0);
    positions[i] = position;
    wrong |= static_cast<uint64_t>(position) >= static_cast<uint64_t>(size);
  }
  return wrong != 0;
}

// Contiguous indices into an axis of length `size`, whose positions are found a part at a time, by several threads.
class Indices {
 public:
  Indices(const char* operation, const Array& indices, int64_t axis, int64_t size)
      : operation_(operation), indices_(indices), axis_(axis), size_(size) {
    with_integer(indices.dtype, [&]<class T>() { convert_ = to_positions<T>; });
  }
  // Those of the indices [begin, end); false where one is out of range, which `check` reports then.
  bool find(int64_t begin, int64_t end, int64_t* positions) {
    const char* from = indices_.as<const char>() + begin * item_size(indices_.dtype);
    if (!convert_(from, end - begin, size_, positions)) return true;
    wrong_.store(true, std::memory_order_relaxed);
    return false;
  }
  // Throws, of the first index out of range, where `find` met one.
  void check() const {
    if (!wrong_.load(std::memory_order_relaxed)) return;
    with_integer(indices_.dtype, [&]<class T>() {
      const T* index = indices_.as<const T>();
      int64_t i = 0, position;
      while (!to_positions<T>(index + i, 1, size_, &position)) ++i;
      throw IndexFault(std::string(operation_) + ": index " + std::to_string(index[i]) + " at position " +
                       std::to_string(i) + " is out of range for axis " + std::to_string(axis_) + " of length " +
                       std::to_string(size_));
    });
  }

 private:
  const char* operation_;
  const Array& indices_;
  int64_t axis_, size_;
  bool (*convert_)(const void*, int64_t, int64_t, int64_t*);
  std::atomic<bool> wrong_ = false;
};

static inline void find_positions(const char* operation, const Array& indices, int64_t axis, int64_t size,
                                  int64_t* positions) {
  Indices found(operation, indices, axis, size);
  parallel_ranges(indices.size(), kIndexGrain, [&](int64_t begin, int64_t end) {
    found.find(begin, end, positions + begin);
  });
  found.check();
}

// A contiguous array seen from one of its axes.
struct Blocks {
  int64_t outer = 1, length, inner = 1;
  Blocks(const Array& x, int64_t axis) : length(x.shape[axis]) {
    for (int d = 0; d < axis; ++d) outer *= x.shape[d];
    for (int d = static_cast<int>(axis) + 1; d < x.ndim; ++d) inner *= x.shape[d];
  }
};

// n rows of `row` bytes, at `positions`.
static inline void take_rows(char* out, const char* x, const int64_t* positions, int64_t n, int64_t row,
                             bool streaming) {
  constexpr int64_t ahead = 4, line = 64, most = 16 * line;  // rows lie anywhere: the processor cannot foresee them
  const int64_t reach = row < most ? row : most;
  for (int64_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const char* later = x + positions[i + ahead] * row;
      for (int64_t b = 0; b < reach; b += line) __builtin_prefetch(later + b);
    }
    if (streaming) copy_bytes<true>(out + i * row, x + positions[i] * row, row);
    else copy_bytes(out + i * row, x + positions[i] * row, row);
  }
}

// n elements at `positions`. Those of 4 bytes two to a store: one an element would take longer than finding them.
template <class T> static inline void gather_numbers(T* to, const T* from, const int64_t* positions, int64_t n) {
  int64_t i = 0;
  if constexpr (sizeof(T) == 4) {
    for (; i + 4 <= n; i += 4) {
      const int64_t* p = positions + i;
      const uint64_t pairs[] = {from[p[0]] | static_cast<uint64_t>(from[p[1]]) << 32,
                                from[p[2]] | static_cast<uint64_t>(from[p[3]]) << 32};
      memcpy(to + i, &pairs[0], 8);
      memcpy(to + i + 2, &pairs[1], 8);
    }
  }
  for (; i < n; ++i) to[i] = from[positions[i]];
}

// n rows of b.inner elements, at `positions`.
static inline void take_some(char* out, const char* x, const int64_t* positions, int64_t n, const Blocks& b,
                             DType dtype, bool streaming) {
  if (b.inner > 1) return take_rows(out, x, positions, n, b.inner * item_size(dtype), streaming);
  with_bits(dtype, [&]<class T>() {
    gather_numbers(reinterpret_cast<T*>(out), reinterpret_cast<const T*>(x), positions, n);
  });
}

// out[o, i, ...] = x[o, position i, ...] of n, with o over the axes before `axis`. `positions(first, n, room)` gives
// those of the indices from `first` on, n of at most kIndexBlock; a null pointer where one is wrong.
template <class Positions>
static inline void take_at(const Array& x, int64_t axis, int64_t n, const Array& out, Positions&& positions) {
  if (out.size() == 0) return;
  const Blocks b(x, axis);
  const int64_t row = b.inner * item_size(x.dtype);
  const int64_t rows = row < kCopyGrain ? kCopyGrain / row : 1, pieces = (n + rows - 1) / rows;
  const bool streaming = is_past_caches(out) && row >= kCopyGrain / 32;
  parallel_ranges(b.outer * pieces, rows / n > 0 ? rows / n : 1, [&](int64_t begin, int64_t end) {
    int64_t room[kIndexBlock];
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t o = unit / pieces, first = unit % pieces * rows, last = std::min(first + rows, n);
      for (int64_t i = first; i < last; i += kIndexBlock) {
        const int64_t count = std::min(kIndexBlock, last - i);
        const int64_t* found = positions(i, count, room);
        if (!found) return;
        take_some(out.as<char>() + (o * n + i) * row, x.as<const char>() + o * b.length * row, found, count, b,
                  x.dtype, streaming);
      }
    }
  });
}

// ---- indices beside the other axes --------------------------------------------------------------------------------
// From so many indices on each thread writes a part of what they lead to, and goes through all of them for those of its
// part: that takes 0.3 ns an index of a Zen 4, and writing one anywhere in 4 MiB 2.
constexpr int64_t kManyIndices = 64 * 1024;

// Those of a block of places that lie in a part, from its first on, and which they are; and room for a vector more.
struct Selected {
  uint32_t places[kIndexBlock + 16], numbers[kIndexBlock + 16];

  // Of n places below 2^32 those in [low, high), in order; how many.
  int64_t find(const int64_t* all, int64_t n, int64_t low, int64_t high) {
    int64_t count = 0, i = 0;
    const uint32_t least = static_cast<uint32_t>(low), width = static_cast<uint32_t>(high - low);
#if DLCORE_ISA == 4
    __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (; i + 16 <= n; i += 16, number = _mm512_add_epi32(number, _mm512_set1_epi32(16))) {
      const __m256i first = _mm512_maskz_cvtepi64_epi32(0xff, _mm512_loadu_si512(all + i));
      const __m256i second = _mm512_maskz_cvtepi64_epi32(0xff, _mm512_loadu_si512(all + i + 8));
      const __m512i both = _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(first), second, 1);
      const __m512i place = _mm512_sub_epi32(both, _mm512_set1_epi32(static_cast<int>(least)));
      const __mmask16 within = _mm512_cmplt_epu32_mask(place, _mm512_set1_epi32(static_cast<int>(width)));
      _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(within, place));
      _mm512_storeu_si512(numbers + count, _mm512_maskz_compress_epi32(within, number));
      count += __builtin_popcount(within);
    }
#endif
    for (; i < n; ++i) {  // without a branch: a place is written until it is right
      places[count] = static_cast<uint32_t>(all[i]) - least, numbers[count] = static_cast<uint32_t>(i);
      count += places[count] < width;
    }
    return count;
  }
};

// The places of `index` (contiguous) in row-major order, beside them x with the indexed axis left out; the innermost
// axis apart, for loops over it.
struct IndexRows {
  enum { kIndex, kX };
  LoopNest<2> outer;
  int64_t length, stride;  // of the innermost axis; the stride is that of x
  int64_t along;           // the stride of x along the indexed axis
  int64_t reach;           // elements of x from which a row of indices takes; 0 where they do not lie side by side
  const char* data;        // of x
  int64_t item;            // bytes of its elements
  int64_t size;            // elements of x
  bool apart;              // whether rows of the index lead to different places of x, whatever the indices are

  IndexRows(const Array& index, const Array& x, int64_t axis)
      : along(x.strides[axis]),
        data(x.as<const char>()),
        item(item_size(x.dtype)),
        size(x.size()),
        apart(axis == index.ndim - 1) {
    int64_t strides[kMaxDims], dense = 1;
    for (int d = index.ndim - 1; d >= 0; --d) {
      strides[d] = dense;
      dense *= index.shape[d];
    }
    for (int d = 0; d < index.ndim; ++d)
      if (index.shape[d] != 1) outer.push({index.shape[d], {strides[d], d == axis ? 0 : x.strides[d]}});
    outer.merge();
    const LoopAxis<2> inner = outer.count ? outer.pop() : LoopAxis<2>{1, {1, 0}};
    length = inner.length;
    stride = inner.strides[kX];
    reach = stride == 0 && along == 1 ? x.shape[axis] : 0;
  }
  // f(first, places in x less base, n, base) for every block of indices, on several threads.
  template <class F> void blocks(Indices& indices, F&& f) const {
    using Body = std::remove_reference_t<F>;
    if (outer.size() * length == 0) return;
    each_row(indices, {&f, [](const void* body, int64_t first, const int64_t* places, int64_t n, int64_t base) {
      (*static_cast<const Body*>(body))(first, places, n, base);
    }, nullptr}, kIndexGrain);
  }
  // f(i, place in x) for every index i, on several threads. What is done at one place is done in the order of the
  // indices.
  template <class F> void each(Indices& indices, F&& f) const {
    using Body = std::remove_reference_t<F>;
    const int64_t n = outer.size() * length;
    if (n == 0) return;
    Loops loops = {&f, [](const void* body, int64_t first, const int64_t* places, int64_t n, int64_t base) {
      for (int64_t i = 0; i < n; ++i) (*static_cast<const Body*>(body))(first + i, base + places[i]);
    }, nullptr};
    loops.some = [](const void* body, int64_t first, int64_t low, const Selected& s, int64_t n) {
      for (int64_t i = 0; i < n; ++i) (*static_cast<const Body*>(body))(first + s.numbers[i], low + s.places[i]);
    };
    if (apart && length < n) each_row(indices, loops, length);
    else each_part(indices, loops, n);
  }

 private:
  struct Loops {  // over a block of indices, from number `first` on
    const void* body;
    void (*all)(const void* body, int64_t first, const int64_t* places, int64_t n, int64_t base);
    void (*some)(const void* body, int64_t first, int64_t low, const Selected&, int64_t n);
  };

  // Chunks of whole rows, or of `cut` indices of long ones, on several threads.
  void each_row(Indices& indices, const Loops& loops, int64_t cut) const {
    const int64_t some = length < kIndexGrain ? kIndexGrain / length * length : cut;
    parallel_ranges(outer.size() * length, some, [&](int64_t begin, int64_t end) {
      each_block(indices, begin, end, [&](int64_t first, const int64_t* places, int64_t count, int64_t base) {
        loops.all(loops.body, first, places, count, base);
      });
    });
  }
  // All of the n indices in order, each of several threads for a part of x.
  void each_part(Indices& indices, const Loops& loops, int64_t n) const {
    const int64_t parts = n < kManyIndices || size >> 32 ? 1 : std::min(thread_count(), 8);  // the same bits for any
    parallel_for(parts, [&](int64_t part) {
      const int64_t low = size * part / parts, high = size * (part + 1) / parts;
      Selected selected;
      each_block(indices, 0, n, [&](int64_t first, const int64_t* places, int64_t count, int64_t base) {
        if (parts == 1) return loops.all(loops.body, first, places, count, base);
        loops.some(loops.body, first, low, selected, selected.find(places, count, low - base, high - base));
      });
    });
  }
  // f(first, places in x less base, n, base) for the indices [begin, end), n of at most kIndexBlock; until one is out
  // of range.
  template <class F> void each_block(Indices& indices, int64_t begin, int64_t end, F&& f) const {
    int64_t places[kIndexBlock];
    const int64_t row = begin / length;
    LoopCursor<2> at(outer, outer.count, row);
    for (int64_t block = begin, j = begin - row * length, n; block < end; block += n) {
      n = std::min(kIndexBlock, end - block);
      if (reach > 0 && length >= kIndexBlock / 4) n = std::min(n, length - j);  // so that a block is of one row
      if (!indices.find(block, block + n, places)) return;
      if (reach > 0 && n <= length - j) {
        const int64_t base = at.offsets[kX];
        if (reach <= 4 * n)  // most lines will be needed, which the processor cannot foresee
          for (int64_t b = 0; b < reach * item; b += 64) __builtin_prefetch(data + base * item + b);
        f(block, places, n, base);
        if ((j += n) == length) j = 0, at.next();
        continue;
      }
      for (int64_t i = 0; i < n;) {
        const int64_t count = std::min(length - j, n - i);
        find_places(places + i, at.offsets[kX] + j * stride, count);
        i += count, j += count;
        if (j == length) j = 0, at.next();
      }
      f(block, places, n, 0);
    }
  }
  // From positions along the axis to places in x, of n indices of one row.
  void find_places(int64_t* places, int64_t base, int64_t n) const {
    const int64_t between = stride, step = along;
    if (reach > 0) {
      for (int64_t j = 0; j < n && base != 0; ++j) places[j] += base;
    } else {
      for (int64_t j = 0; j < n; ++j) places[j] = base + j * between + places[j] * step;
    }
  }
};

// Integers wrap.
template <class A> static inline A sum_of(A a, A b) {
  return static_cast<A>(static_cast<wrap_t<A>>(a) + static_cast<wrap_t<A>>(b));
}

template <class T> static void round_row(T* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(to + i, from[i]);
}

// sums[index[i, j, ...], j, ...] += src[i, j, ...], in the order of the indices
template <class A, class T>
static inline void add_indexed(A* sums, const T* src, Indices& indices, const IndexRows& rows) {
  rows.each(indices, [=](int64_t i, int64_t at) DLCORE_MAP { sums[at] = sum_of(sums[at], load(src + i)); });
  indices.check();
}
