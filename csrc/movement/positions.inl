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
static inline void take_rows(char* out, const char* x, const int64_t* positions, int64_t n, int64_t row) {
  constexpr int64_t ahead = 4, line = 64, most = 16 * line;  // rows lie anywhere: the processor cannot foresee them
  const int64_t reach = row < most ? row : most;
  for (int64_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const char* later = x + positions[i + ahead] * row;
      for (int64_t b = 0; b < reach; b += line) __builtin_prefetch(later + b);
    }
    copy_bytes(out + i * row, x + positions[i] * row, row);
  }
}

// out[o, i, ...] = x[o, positions[i], ...] with o over the axes before `axis`.
static inline void take_at(const Array& x, int64_t axis, const int64_t* positions, int64_t n, const Array& out) {
  if (out.size() == 0) return;
  const Blocks b(x, axis);
  const int64_t row = b.inner * item_size(x.dtype);
  const int64_t rows = row < kCopyGrain ? kCopyGrain / row : 1, pieces = (n + rows - 1) / rows;
  parallel_ranges(b.outer * pieces, rows / n > 0 ? rows / n : 1, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t o = unit / pieces, first = unit % pieces * rows, count = n - first < rows ? n - first : rows;
      const int64_t* p = positions + first;
      if (b.inner > 1) {
        take_rows(out.as<char>() + (o * n + first) * row, x.as<const char>() + o * b.length * row, p, count, row);
        continue;
      }
      with_bits(x.dtype, [&]<class T>() {
        const T* from = x.as<const T>() + o * b.length;
        T* to = out.as<T>() + o * n + first;
        for (int64_t i = 0; i < count; ++i) to[i] = from[p[i]];
      });
    }
  });
}

// The places of `index` (contiguous) in row-major order, beside them x with the indexed axis left out; the innermost
// axis apart, for loops over it.
struct IndexRows {
  enum { kIndex, kX };
  LoopNest<2> outer;
  int64_t length, stride;  // of the innermost axis; the stride is that of x
  int64_t along;           // the stride of x along the indexed axis
  bool apart;              // whether rows of the index lead to different places of x, whatever the indices are

  IndexRows(const Array& index, const Array& x, int64_t axis)
      : along(x.strides[axis]), apart(axis == index.ndim - 1) {
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
  }
  // f(i, place in x) for every index i. Where rows are apart, chunks of whole rows run on several threads; else all is
  // done in order, unless x is only read.
  template <bool only_reads, class F> void each(Indices& indices, F&& f) const {
    const int64_t rows = outer.size(), n = rows * length;
    if (n == 0) return;
    const int64_t some = length < kIndexGrain ? kIndexGrain / length * length : only_reads ? kIndexGrain : length;
    parallel_ranges(n, only_reads || apart ? some : n, [&](int64_t begin, int64_t end) {
      int64_t positions[kIndexBlock];
      const int64_t row = begin / length;
      LoopCursor<2> at(outer, outer.count, row);
      for (int64_t block = begin, i = begin, j = begin - row * length; block < end; block = i) {
        const int64_t last = std::min(block + kIndexBlock, end);
        if (!indices.find(block, last, positions)) return;
        while (i < last) {
          const int64_t count = std::min(length - j, last - i);
          each_place(i, at.offsets[kX] + j * stride, positions + (i - block), count, f);
          i += count, j += count;
          if (j == length) j = 0, at.next();
        }
      }
    });
  }

 private:
  // Of n indices of one row.
  template <class F> void each_place(int64_t i, int64_t base, const int64_t* positions, int64_t n, F&& f) const {
    const int64_t between = stride, step = along;
    if (between == 0 && step == 1) {  // along the last axis
      for (int64_t j = 0; j < n; ++j) f(i + j, base + positions[j]);
    } else {
      for (int64_t j = 0; j < n; ++j) f(i + j, base + j * between + positions[j] * step);
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
  rows.each<false>(indices, [=](int64_t i, int64_t at) DLCORE_MAP { sums[at] = sum_of(sums[at], load(src + i)); });
  indices.check();
}
