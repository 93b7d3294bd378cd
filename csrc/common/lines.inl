// Work along one axis of contiguous arrays, in the compute type, in one of two ways:
//   a line at a time       its elements, contiguous, are the lanes of the vectors
//   columns                up to 1024 lines side by side are the lanes: element j of line c at [j * ld + c]
// Columns suit lines across memory, and short ones (rows of 10 logits), which are transposed into a buffer first.
// What is neither float nor contiguous passes through a buffer too.
#ifndef DLCORE_COMMON_LINES
#define DLCORE_COMMON_LINES
#include "common/fold.inl"

struct Lines {
  int64_t outer = 1, n = 1, inner = 1;
  int64_t count() const { return outer * inner; }
  int64_t offset(int64_t line) const {  // of its first element
    return inner == 1 ? line * n : line / inner * n * inner + line % inner;
  }
};

static inline Lines lines_of(const Array& x, int64_t axis) {
  Lines l;
  for (int d = 0; d < x.ndim; ++d) (d < axis ? l.outer : d == axis ? l.n : l.inner) *= x.shape[d];
  return l;
}

constexpr int64_t kLineChunk = 32768;  // elements a thread takes at once: 10 us of exponentials
constexpr int64_t kLineTile = 16;     // lines gathered at once: whole cache lines are read
constexpr int64_t kColumns = 1024;
constexpr int64_t kWidened = 65536;   // elements of a tile of columns that passes through a buffer: it stays in L2
constexpr int64_t kShortLine = 32;    // elements up to which a line by itself would leave most lanes empty
constexpr int64_t kShortTile = 64;    // short lines transposed at once

static inline int64_t line_grain(int64_t n) { return n < kLineChunk ? kLineChunk / (n + 1) + 1 : 1; }

// w lines, element j of line c at p[j * stride + c], to and from buffer[c * n + j].
template <class T> static void gather_lines(const T* p, int64_t n, int64_t stride, int64_t w, compute_t<T>* buffer) {
  if (stride == 1) {
    load_block(buffer, p, n);
  } else {
    for (int64_t j = 0; j < n; ++j)
      for (int64_t c = 0; c < w; ++c) buffer[c * n + j] = load(p + j * stride + c);
  }
}
template <class T> static void scatter_lines(T* p, int64_t n, int64_t stride, int64_t w, const compute_t<T>* buffer) {
  if (stride == 1) {
    store_block(p, buffer, n);
  } else {
    for (int64_t j = 0; j < n; ++j)
      for (int64_t c = 0; c < w; ++c) store(p + j * stride + c, buffer[c * n + j]);
  }
}

// The same for lines `first` .. `first` + w, element j of line c to and from buffer[j * kShortTile + c].
template <class T>
static void transpose_in(const T* p, const Lines& l, int64_t first, int64_t w, compute_t<T>* buffer) {
  for (int64_t c = 0; c < w; ++c) {
    const T* line = p + l.offset(first + c);
    for (int64_t j = 0; j < l.n; ++j) buffer[j * kShortTile + c] = load(line + j * l.inner);
  }
}
template <class T>
static void transpose_out(T* p, const Lines& l, int64_t first, int64_t w, const compute_t<T>* buffer) {
  for (int64_t c = 0; c < w; ++c) {
    T* line = p + l.offset(first + c);
    for (int64_t j = 0; j < l.n; ++j) store(line + j * l.inner, buffer[j * kShortTile + c]);
  }
}

// What is done to lines of the inputs x, y (y may be null) and the output z (may be null), in the compute type C.
template <class C> struct LineFunctions {
  using Columns = void (*)(const void* op, int64_t k, int64_t ld, int64_t w, const C* x, const C* y, C* z);
  const void* op;
  void (*line_)(const void* op, int64_t k, const C* x, const C* y, C* z);
  Columns columns_, short_columns_;  // the latter: lines of kShortTile, which the compiler makes use of

  template <class Op>
  explicit LineFunctions(const Op& object)
      : op(&object),
        line_([](const void* self, int64_t k, const C* x, const C* y, C* z) {
          static_cast<const Op*>(self)->line(k, x, y, z);
        }),
        columns_([](const void* self, int64_t k, int64_t ld, int64_t w, const C* x, const C* y, C* z) {
          static_cast<const Op*>(self)->columns(k, ld, w, x, y, z);
        }),
        short_columns_([](const void* self, int64_t k, int64_t, int64_t w, const C* x, const C* y,
                          C* z) __attribute__((flatten)) {
          static_cast<const Op*>(self)->columns(k, kShortTile, w, x, y, z);
        }) {}

  void line(int64_t k, const C* x, const C* y, C* z) const { line_(op, k, x, y, z); }
  void columns(int64_t k, int64_t ld, int64_t w, const C* x, const C* y, C* z) const {
    (ld == kShortTile ? short_columns_ : columns_)(op, k, ld, w, x, y, z);
  }
};

// walk_lines() for 16-bit floats, by columns; inner >= kLineTile.
template <class T>
static void widened_columns(const Lines& l, const T* x, const T* y, T* z, const LineFunctions<compute_t<T>>& op) {
  using C = compute_t<T>;
  const int64_t n = l.n, fit = kWidened / (n + 1) / 64 * 64, most = fit < 64 ? 64 : fit < kColumns ? fit : kColumns;
  const int64_t tile = l.inner < most ? l.inner : most, tiles = (l.inner + tile - 1) / tile;
  parallel_ranges(l.outer * tiles, line_grain(n * tile), [&](int64_t begin, int64_t end) {
    Scratch<C> buffer(tile * n * 3);
    C *bx = buffer.get(), *by = bx + tile * n, *bz = by + tile * n;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t o = item / tiles, first = (item - o * tiles) * tile, base = o * n * l.inner + first;
      const int64_t w = l.inner - first < tile ? l.inner - first : tile;
      for (int64_t j = 0; j < n; ++j) load_block(bx + j * tile, x + base + j * l.inner, w);
      for (int64_t j = 0; y && j < n; ++j) load_block(by + j * tile, y + base + j * l.inner, w);
      op.columns(o * l.inner + first, tile, w, bx, y ? by : nullptr, z ? bz : nullptr);
      for (int64_t j = 0; z && j < n; ++j) store_block(z + base + j * l.inner, bz + j * tile, w);
    }
  });
}

// Compiled once for each stored type: an operation is called through pointers, once a line or for many lines at once.
template <class T>
[[gnu::noinline, gnu::noclone]]
static void walk_lines(const Lines& l, const T* x, const T* y, T* z, const LineFunctions<compute_t<T>>& op) {
  using C = compute_t<T>;
  constexpr bool direct = std::is_same_v<T, C>;
  const int64_t n = l.n;
  const auto at = [](auto* p, int64_t offset) { return p ? p + offset : p; };
  if (z && n == 0) return;  // however many lines there are: nothing is to be written

  if (n <= kShortLine && (l.inner < kLineTile || !direct)) {
    const int64_t tiles = (l.count() + kShortTile - 1) / kShortTile;
    parallel_ranges(tiles, line_grain(n * kShortTile), [&](int64_t begin, int64_t end) {
      alignas(64) C bx[kShortLine * kShortTile], by[kShortLine * kShortTile], bz[kShortLine * kShortTile];
      for (int64_t k = begin * kShortTile; k < end * kShortTile && k < l.count(); k += kShortTile) {
        const int64_t w = l.count() - k < kShortTile ? l.count() - k : kShortTile;
        transpose_in(x, l, k, w, bx);
        if (y) transpose_in(y, l, k, w, by);
        op.columns(k, kShortTile, w, bx, y ? by : nullptr, z ? bz : nullptr);
        if (z) transpose_out(z, l, k, w, bz);
      }
    });
    return;
  }
  if constexpr (direct) {
    if (l.inner == 1) {
      parallel_ranges(l.outer, line_grain(n), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) op.line(k, x + k * n, at(y, k * n), at(z, k * n));
      });
      return;
    }
    if (l.inner >= kLineTile) {
      const int64_t tiles = (l.inner + kColumns - 1) / kColumns, tile = (l.inner + tiles - 1) / tiles;
      parallel_ranges(l.outer * tiles, line_grain(n * tile), [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t o = item / tiles, first = (item - o * tiles) * tile, base = o * n * l.inner + first;
          const int64_t w = l.inner - first < tile ? l.inner - first : tile;
          op.columns(o * l.inner + first, l.inner, w, x + base, at(y, base), at(z, base));
        }
      });
      return;
    }
  }
  if constexpr (!direct) {
    if (l.inner >= kLineTile) return widened_columns(l, x, y, z, op);
  }
  const int64_t tile = l.inner < kLineTile ? l.inner : kLineTile, tiles = (l.inner + kLineTile - 1) / kLineTile;
  parallel_ranges(l.outer * tiles, line_grain(n * tile), [&](int64_t begin, int64_t end) {
    Scratch<C> buffer(tile * n * 3);
    C *bx = buffer.get(), *by = bx + tile * n, *bz = by + tile * n;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t o = item / tiles, first = (item - o * tiles) * tile, base = o * n * l.inner + first;
      const int64_t w = l.inner - first < tile ? l.inner - first : tile;
      gather_lines(x + base, n, l.inner, w, bx);
      if (y) gather_lines(y + base, n, l.inner, w, by);
      for (int64_t c = 0; c < w; ++c)
        op.line(o * l.inner + first + c, bx + c * n, y ? by + c * n : nullptr, z ? bz + c * n : nullptr);
      if (z) scatter_lines(z + base, n, l.inner, w, bz);
    }
  });
}

// Applies op to every line of the inputs x, y (y may be null) and the output z (may be null):
//   op.line(k, x, y, z)                   line number k
//   op.columns(k, ld, w, x, y, z)         lines k .. k + w - 1
template <class T, class Op> static void each_line(const Lines& l, const T* x, const T* y, T* z, const Op& op) {
  walk_lines(l, x, y, z, LineFunctions<compute_t<T>>(op));
}

// ---- columns ------------------------------------------------------------------------------------------------------
// sums[c] = sum over j of map(j, c), each evaluated once
template <class C, class Map> static void column_sums(int64_t n, int64_t w, double* sums, Map map) {
  C block[kColumns];
  for (int64_t c = 0; c < w; ++c) sums[c] = 0;
  for (int64_t j = 0; j < n; j += 64) {
    for (int64_t c = 0; c < w; ++c) block[c] = 0;
    for (int64_t k = j; k < n && k < j + 64; ++k)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) block[c] += map(k, c);
    for (int64_t c = 0; c < w; ++c) sums[c] += block[c];
  }
}
template <class C> static void column_maxima(const C* x, int64_t n, int64_t ld, int64_t w, C* max) {
  constexpr int kLane = kVectorBytes / sizeof(C);
  for (int64_t c = 0; c < w; ++c) max[c] = Larger::identity<C>();
  for (int64_t j = 0; j < n; ++j, x += ld) {
    int64_t c = 0;
    for (; c + kLane <= w; c += kLane) vstore(max + c, Above{}(vload(max + c), vload(x + c)));
    for (; c < w; ++c) max[c] = Above{}(max[c], x[c]);
  }
}
// out[j * ld + c] = map(j, c)
template <class C, class Map> static void column_map(int64_t n, int64_t ld, int64_t w, C* out, Map map) {
  for (int64_t j = 0; j < n; ++j)
#pragma omp simd
    for (int64_t c = 0; c < w; ++c) out[j * ld + c] = map(j, c);
}

#endif  // DLCORE_COMMON_LINES
