// What kernels that read or write by index share. A body includes it once, behind common/strided_copy.inl.

// Contiguous indices into an axis of length `size` as positions in [0, size): negative ones count from the end.
static inline void find_positions(const char* operation, const Array& indices, int64_t axis, int64_t size,
                           int64_t* positions) {
  with_integer(indices.dtype, [&]<class T>() {
    const T* index = indices.as<const T>();
    const int64_t n = indices.size();
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t k = index[i];  // of a uint64 beyond int64 negative, and out of range
      const int64_t position = k + (std::is_signed_v<T> && k < 0 ? size : 0);
      positions[i] = position;
      wrong |= static_cast<uint64_t>(position) >= static_cast<uint64_t>(size);
    }
    if (!wrong) return;
    int64_t i = 0;
    while (static_cast<uint64_t>(positions[i]) < static_cast<uint64_t>(size)) ++i;
    throw IndexFault(std::string(operation) + ": index " + std::to_string(index[i]) + " at position " +
                     std::to_string(i) + " is out of range for axis " + std::to_string(axis) + " of length " +
                     std::to_string(size));
  });
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

// The positions of `index` (contiguous) in row-major order, beside them x with the indexed axis left out; the innermost
// axis apart, for loops over it.
struct IndexRows {
  enum { kIndex, kX };
  LoopNest<2> outer;
  int64_t length, stride;  // of the innermost axis; the stride is that of x

  IndexRows(const Array& index, const Array& x, int64_t axis) {
    int64_t strides[kMaxDims], dense = 1;
    for (int d = index.ndim - 1; d >= 0; --d) {
      strides[d] = dense;
      dense *= index.shape[d];
    }
    for (int d = 0; d < index.ndim; ++d)
      outer.push({index.shape[d], {strides[d], d == axis ? 0 : x.strides[d]}});
    const LoopAxis<2> inner = outer.pop();
    length = inner.length;
    stride = inner.strides[kX];
  }
  // f(number of the first position, offset in x) for the rows [begin, end).
  template <class F> void each(int64_t begin, int64_t end, F&& f) const {
    LoopCursor<2> at(outer, outer.count, begin);
    for (int64_t row = begin; row < end; ++row, at.next()) f(at.offsets[kIndex], at.offsets[kX]);
  }
};

// Integers wrap.
template <class A> static inline A sum_of(A a, A b) {
  return static_cast<A>(static_cast<wrap_t<A>>(a) + static_cast<wrap_t<A>>(b));
}

template <class T> static void round_row(T* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(to + i, from[i]);
}
