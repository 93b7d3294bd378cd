// Copies between strided arrays of one item size; what movement, and optimizers of non-contiguous parameters, stand on.
// Bound by memory: every element is read and written once.
//
// Axes are put in the order of the target's addresses and merged where both sides allow, so that most copies become
// rows of memcpy, rows of one repeated value, or transpositions of a matrix by square tiles held in registers.

struct Axis {
  int64_t size, to, from;  // strides in elements
};

// The walk over all elements of a copy: axes outermost first, offsets of the first element.
struct Walk {
  int n = 0;
  Axis axes[kMaxDims];
  int64_t to = 0, from = 0;

  int64_t rows() const {  // all positions of all axes but the last
    int64_t product = 1;
    for (int d = 0; d + 1 < n; ++d) product *= axes[d].size;
    return product;
  }
};

// A row-major position in the axes of a walk, with the offsets it has on both sides.
struct Cursor {
  const Axis* axes;
  int n;
  int64_t to, from;
  int64_t index[kMaxDims];

  Cursor(const Axis* walk_axes, int count, int64_t first_to, int64_t first_from, int64_t position)
      : axes(walk_axes), n(count), to(first_to), from(first_from) {
    for (int d = n - 1; d >= 0; --d) {
      index[d] = position % axes[d].size;
      position /= axes[d].size;
      to += index[d] * axes[d].to;
      from += index[d] * axes[d].from;
    }
  }
  // `steps` on, at most to the end of the innermost axis.
  void next(int64_t steps = 1) {
    int64_t taken = steps;
    for (int d = n - 1; d >= 0; --d, taken = 1) {
      to += taken * axes[d].to;
      from += taken * axes[d].from;
      index[d] += taken;
      if (index[d] < axes[d].size) return;
      to -= axes[d].size * axes[d].to;
      from -= axes[d].size * axes[d].from;
      index[d] = 0;
    }
  }
  int64_t left() const { return n > 0 ? axes[n - 1].size - index[n - 1] : 1; }
};

// Pairs the axes of target and source (broadcast to the target's shape), in the target's order.
static Walk pair_axes(const Array& target, const Array& source) {
  Walk w;
  for (int d = 0; d < target.ndim; ++d) {
    const int s = d - (target.ndim - source.ndim);
    const bool broadcast = s < 0 || source.shape[s] == 1;
    w.axes[w.n++] = {target.shape[d], target.strides[d], broadcast ? 0 : source.strides[s]};
  }
  return w;
}

static Walk plan_copy(const Array& target, const Array& source) {
  const Walk all = pair_axes(target, source);
  Walk w;
  for (int d = 0; d < all.n; ++d) {
    Axis a = all.axes[d];
    if (a.size == 1) continue;
    if (a.to < 0) {  // run forward through the target
      w.to += (a.size - 1) * a.to;
      w.from += (a.size - 1) * a.from;
      a.to = -a.to;
      a.from = -a.from;
    }
    int k = w.n++;
    for (; k > 0 && w.axes[k - 1].to < a.to; --k) w.axes[k] = w.axes[k - 1];
    w.axes[k] = a;
  }
  int merged = 0;
  for (int d = 1; d < w.n; ++d) {
    Axis& outer = w.axes[merged];
    const Axis& inner = w.axes[d];
    if (outer.to == inner.size * inner.to && outer.from == inner.size * inner.from) {
      outer = {outer.size * inner.size, inner.to, inner.from};
    } else {
      w.axes[++merged] = inner;
    }
  }
  if (w.n > 0) w.n = merged + 1;
  return w;
}

constexpr int64_t kCopyGrain = 128 * 1024;  // bytes written by one chunk: 5-10 us

// `rows` rows of n elements each.
template <class T>
static void copy_block(T* to, Axis along, const T* from, int64_t rows, Axis across) {
  const int64_t n = along.size;
  constexpr int64_t step = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < rows; ++r, to += across.to, from += across.from) {
    if (along.to == 1 && along.from == 1) {
      if (n > 16 * step) {
        memcpy(to, from, n * sizeof(T));
        continue;
      }
      int64_t i = 0;  // a call would cost more than a short row
      for (; i + step <= n; i += step) memcpy(to + i, from + i, 64);
      for (; i < n; ++i) to[i] = from[i];
    } else if (along.to == 1 && along.from == 0) {
      const T value = *from;
      for (int64_t i = 0; i < n; ++i) to[i] = value;
    } else {
      for (int64_t i = 0; i < n; ++i) to[i * along.to] = from[i * along.from];
    }
  }
}

template <class T> static void copy_rows(T* to, const T* from, const Walk& w) {
  const Axis inner = w.axes[w.n - 1];
  const int64_t grain = kCopyGrain / static_cast<int64_t>(sizeof(T));
  if (inner.size > grain) {  // long rows are cut
    const int64_t pieces = (inner.size + grain - 1) / grain;
    parallel_ranges(w.rows() * pieces, 1, [&](int64_t unit, int64_t) {
      const Cursor at(w.axes, w.n - 1, w.to, w.from, unit / pieces);
      const int64_t first = unit % pieces * grain, left = inner.size - first;
      copy_block(to + at.to + first * inner.to, {left < grain ? left : grain, inner.to, inner.from},
                 from + at.from + first * inner.from, 1, {});
    });
    return;
  }
  const Axis across = w.n > 1 ? w.axes[w.n - 2] : Axis{};
  parallel_ranges(w.rows(), grain / inner.size, [&](int64_t begin, int64_t end) {  // short ones go together
    Cursor at(w.axes, w.n - 1, w.to, w.from, begin);
    for (int64_t row = begin; row < end;) {
      const int64_t rows = at.left() < end - row ? at.left() : end - row;
      copy_block(to + at.to, inner, from + at.from, rows, across);
      at.next(rows);
      row += rows;
    }
  });
}

// Rows of a few elements: a block of them goes column by column, so that the inner loop is long.
template <class T> static void copy_narrow(T* to, const T* from, Walk w) {
  const Axis inner = w.axes[w.n - 1], rows = w.axes[w.n - 2];
  w.n -= 1;  // `rows` and the cursor see only the axes before the two
  constexpr int64_t block = 1024;
  const int64_t blocks = (rows.size + block - 1) / block;
  parallel_ranges(w.rows() * blocks, 8, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const Cursor at(w.axes, w.n - 1, w.to, w.from, unit / blocks);
      const int64_t first = unit % blocks * block, left = rows.size - first;
      T* t = to + at.to + first * rows.to;
      const T* f = from + at.from + first * rows.from;
      for (int64_t c = 0; c < inner.size; ++c) {
        copy_block(t + c * inner.to, {left < block ? left : block, rows.to, rows.from}, f + c * inner.from, 1, {});
      }
    }
  });
}

// ---- transposition ------------------------------------------------------------------------------------------------
// A tile is N vectors of N elements; log2(N) rounds of interleaving row i with row i + N/2 transpose it. 4- and 8-byte
// elements fill a cache line with a tile's row at full width, so nothing is read or written twice.
template <class T>
constexpr int kTile = kVectorBytes / static_cast<int>(sizeof(T)) < 16 ? kVectorBytes / static_cast<int>(sizeof(T)) : 16;
template <class T, int N> struct TileRow { typedef T type __attribute__((vector_size(N * sizeof(T)))); };

template <class T, size_t... I>
static inline __attribute__((always_inline)) void transpose_tile(T* to, int64_t to_stride, const T* from,
                                                                 int64_t from_stride, std::index_sequence<I...>) {
  constexpr size_t N = sizeof...(I);
  using Row = typename TileRow<T, N>::type;
  const Row low = {static_cast<T>(I / 2 + I % 2 * N)...};
  const Row high = {static_cast<T>(N / 2 + I / 2 + I % 2 * N)...};
  Row rows[N], next[N];
  ((void)memcpy(&rows[I], from + I * from_stride, sizeof(Row)), ...);
#pragma GCC unroll 4
  for (size_t width = 1; width < N; width *= 2) {
#pragma GCC unroll 16
    for (size_t i = 0; i < N / 2; ++i) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + N / 2], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + N / 2], high);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < N; ++i) rows[i] = next[i];
  }
  ((void)memcpy(to + I * to_stride, &rows[I], sizeof(Row)), ...);
}

// to[i + j * row] = from[i * column + j] for i < ni, j < nj.
template <class T>
static void transpose_strip(T* to, int64_t row, int64_t ni, const T* from, int64_t column, int64_t nj) {
  constexpr int64_t N = kTile<T>;
  for (int64_t i = 0; i < ni; i += N) {
    for (int64_t j = 0; j < nj; j += N) {
      T* t = to + i + j * row;
      const T* f = from + i * column + j;
      if (ni - i >= N && nj - j >= N) {
        transpose_tile(t, row, f, column, std::make_index_sequence<N>{});
        continue;
      }
      const int64_t mi = ni - i < N ? ni - i : N, mj = nj - j < N ? nj - j : N;
      for (int64_t b = 0; b < mj; ++b)
        for (int64_t a = 0; a < mi; ++a) t[a + b * row] = f[a * column + b];
    }
  }
}

// The source runs along axis k, the target along the last one.
template <class T> static void copy_transposed(T* to, const T* from, Walk w, int k) {
  const Axis across = w.axes[k], along = w.axes[w.n - 1];
  for (int d = k; d < w.n - 2; ++d) w.axes[d] = w.axes[d + 1];
  w.n -= 1;  // `rows` and the cursor see only the other axes
  const int64_t strip = 256 / static_cast<int64_t>(sizeof(T));  // of the source's rows: four cache lines
  const int64_t strips = (across.size + strip - 1) / strip;
  const int64_t bytes = strip * along.size * static_cast<int64_t>(sizeof(T));
  parallel_ranges(w.rows() * strips, bytes < kCopyGrain ? kCopyGrain / bytes : 1, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const Cursor at(w.axes, w.n - 1, w.to, w.from, unit / strips);
      const int64_t j = unit % strips * strip, left = across.size - j;
      transpose_strip(to + at.to + j * across.to, across.to, along.size, from + at.from + j, along.from,
                      left < strip ? left : strip);
    }
  });
}

template <class T> static void copy_elements(T* to, const T* from, const Walk& w) {
  if (w.n == 0) {
    to[w.to] = from[w.from];
    return;
  }
  const Axis& along = w.axes[w.n - 1];
  if (along.to == 1 && along.from != 1 && along.from != 0 && along.size >= 4) {
    for (int k = w.n - 2; k >= 0; --k) {
      if (w.axes[k].from == 1 && w.axes[k].size >= 4) return copy_transposed(to, from, w, k);
    }
  }
  if (along.size < 8 && w.n >= 2 && w.axes[w.n - 2].size > 4 * along.size) return copy_narrow(to, from, w);
  copy_rows(to, from, w);
}

// target = source, broadcast; both of one dtype.
static void copy_array(const Array& target, const Array& source) {
  if (target.size() == 0) return;
  const Walk w = plan_copy(target, source);
  switch (item_size(target.dtype)) {
    case 1: return copy_elements(target.as<uint8_t>(), source.as<const uint8_t>(), w);
    case 2: return copy_elements(target.as<uint16_t>(), source.as<const uint16_t>(), w);
    case 4: return copy_elements(target.as<uint32_t>(), source.as<const uint32_t>(), w);
    default: return copy_elements(target.as<uint64_t>(), source.as<const uint64_t>(), w);
  }
}

// `source`, or a copy of it where it may overlap `target`: what an assignment such as `a[1:] = a[:-1]` must read before
// it writes.
struct Extent {
  const char *low, *high;
  explicit Extent(const Array& x) : low(x.as<const char>()), high(low) {
    for (int d = 0; d < x.ndim; ++d)
      (x.strides[d] < 0 ? low : high) += (x.shape[d] - 1) * x.strides[d] * item_size(x.dtype);
    high += item_size(x.dtype);
  }
  bool meets(const Extent& other) const { return low < other.high && other.low < high; }
};

class Apart {
 public:
  Apart(const Array& source, const Array& target)
      : array(source),
        copied_(Extent(source).meets(Extent(target))),
        copy_(copied_ ? source.size() * item_size(source.dtype) : 0) {
    if (!copied_) return;
    array.data = copy_.get();
    int64_t stride = 1;
    for (int d = array.ndim - 1; d >= 0; --d) {
      array.strides[d] = stride;
      stride *= array.shape[d];
    }
    copy_array(array, source);
  }
  Array array;

 private:
  bool copied_;
  Scratch<char> copy_;
};
