// What normalisations of arrays with channels share: the array seen as (n, c, s) or, channels last, as (n, s, c); sums
// over planes and over columns in a fixed order; and affine maps of planes and of rows.
//
// Sums of a block are in the compute type, those of blocks in double. How the work is cut follows from shapes alone, so
// that the number of threads changes no bit.
#ifndef DLCORE_NORM_CHANNELS
#define DLCORE_NORM_CHANNELS
#include "common/dtypes.inl"
#include "common/moments.inl"

constexpr int64_t kNormBlock = 4096;   // elements that pass through a buffer at once
constexpr int64_t kNormTask = 16384;   // elements of a task at least: some microseconds
constexpr int64_t kNormRows = 64;      // rows whose sums stay in the compute type
constexpr int64_t kNormColumns = 128;  // columns of a task: 64 rows of them are 32 KiB
constexpr int64_t kNormChunks = 64;    // parts of the rows at most, each with sums of its own

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

struct Channels {
  int64_t n = 1, c = 1, s = 1;
  bool last = false;  // rows of channels
  int64_t rows() const { return n * s; }
};
static inline Channels channels_of(const Array& x, bool last) {
  Channels k;
  k.n = x.shape[0], k.c = x.shape[last ? x.ndim - 1 : 1];
  for (int d = 1; d < x.ndim; ++d) k.s *= x.shape[d];
  k.s = k.c ? k.s / k.c : 0;
  k.last = last || k.s == 1;  // (N, C)
  return k;
}

// One number a channel in the compute type: of an operand, or the same for all where it is absent.
template <class C> class Values {
 public:
  Values(const Array& x, int64_t n, C otherwise) : room_(n) {
    for (int64_t i = 0; !x && i < n; ++i) room_[i] = otherwise;
    if (x)
      with_float(x.dtype, [&]<class T>() {
        for (int64_t i = 0; i < n; ++i) room_[i] = static_cast<C>(load(x.as<T>() + i));
      });
  }
  C operator[](int64_t i) const { return room_[i]; }
  const C* get() const { return room_.get(); }

 private:
  Scratch<C> room_;
};
// Stores value(i) in element i of an output of any floating dtype.
template <class F> static void set_values(const Array& x, int64_t n, F value) {
  if (!x) return;
  with_float(x.dtype, [&]<class T>() {
    for (int64_t i = 0; i < n; ++i) store(x.as<T>() + i, static_cast<compute_t<T>>(value(i)));
  });
}

// n elements in the compute type: where they are, or in the buffer.
template <class T> static inline const compute_t<T>* widened(const T* x, int64_t n, compute_t<T>* buffer) {
  if constexpr (std::is_same_v<T, compute_t<T>>) return x;
  else return load_block(buffer, x, n), buffer;
}

// out[i] = map(i, x[i]), in blocks.
template <class T, class Map> static inline void map_one(const T* x, T* out, int64_t n, Map map) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = map(i, x[i]);
  } else {
    C from[kNormBlock / 4], to[kNormBlock / 4];
    for (int64_t b = 0; b < n; b += kNormBlock / 4) {
      const int64_t m = least(n - b, kNormBlock / 4);
      load_block(from, x + b, m);
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) to[i] = map(b + i, from[i]);
      store_block(out + b, to, m);
    }
  }
}
// out[i] = map(i, x[i], y[i])
template <class T, class Map> static inline void map_two(const T* x, const T* y, T* out, int64_t n, Map map) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = map(i, x[i], y[i]);
  } else {
    C first[kNormBlock / 4], second[kNormBlock / 4], to[kNormBlock / 4];
    for (int64_t b = 0; b < n; b += kNormBlock / 4) {
      const int64_t m = least(n - b, kNormBlock / 4);
      load_block(first, x + b, m), load_block(second, y + b, m);
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) to[i] = map(b + i, first[i], second[i]);
      store_block(out + b, to, m);
    }
  }
}

// ---- sums over contiguous elements --------------------------------------------------------------------------------
template <class T> static inline void add_moments(const T* x, int64_t n, typename Moments<compute_t<T>>::P& p) {
  compute_t<T> buffer[std::is_same_v<T, compute_t<T>> ? 1 : kNormBlock];
  for (int64_t b = 0; b < n; b += kNormBlock) {
    const int64_t m = least(n - b, kNormBlock);
    Moments<compute_t<T>>::run(widened(x + b, m, buffer), m, 0, p);
  }
}

// The sums of dy and of dy * (x - mean).
struct Pair {
  double sum = 0, product = 0;
  void add(const Pair& o) { sum += o.sum, product += o.product; }
};
template <class C> static inline void add_pair_block(const C* dy, const C* x, int64_t n, C mean, Pair& p) {
  constexpr int kWide = kWideBytes / 2 / sizeof(C);
  C s[kWide], d[kWide];
  for (int j = 0; j < kWide; ++j) s[j] = d[j] = 0;
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide)
#pragma omp simd
    for (int j = 0; j < kWide; ++j) {
      s[j] += dy[i + j];
      d[j] += dy[i + j] * (x[i + j] - mean);
    }
  for (int j = 0; i + j < n; ++j) {
    s[j] += dy[i + j];
    d[j] += dy[i + j] * (x[i + j] - mean);
  }
  for (int w = kWide / 2; w > 0; w /= 2)
    for (int j = 0; j < w; ++j) s[j] += s[j + w], d[j] += d[j + w];
  p.sum += s[0], p.product += d[0];
}
template <class T> static inline void add_pair(const T* dy, const T* x, int64_t n, compute_t<T> mean, Pair& p) {
  constexpr int64_t room = std::is_same_v<T, compute_t<T>> ? 1 : kNormBlock;
  compute_t<T> first[room], second[room];
  for (int64_t b = 0; b < n; b += kNormBlock) {
    const int64_t m = least(n - b, kNormBlock);
    add_pair_block(widened(dy + b, m, first), widened(x + b, m, second), m, mean, p);
  }
}

// The same of `count` planes of s elements, `stride` apart: short ones are put together first, for a block of its own
// costs as much as a hundred elements.
constexpr int64_t kShortPlane = 512;
template <class T>
static void add_plane_moments(const T* x, int64_t stride, int64_t count, int64_t s,
                              typename Moments<compute_t<T>>::P& p) {
  if (s >= kShortPlane) {
    for (int64_t k = 0; k < count; ++k) add_moments(x + k * stride, s, p);
    return;
  }
  compute_t<T> buffer[kNormBlock];
  int64_t used = 0;
  for (int64_t k = 0; k < count; ++k) {
    load_block(buffer + used, x + k * stride, s);
    used += s;
    if (k + 1 < count && used + s <= kNormBlock) continue;
    Moments<compute_t<T>>::run(buffer, used, 0, p);
    used = 0;
  }
}
template <class T>
static void add_plane_pairs(const T* dy, const T* x, int64_t stride, int64_t count, int64_t s, compute_t<T> mean,
                            Pair& p) {
  if (s >= kShortPlane) {
    for (int64_t k = 0; k < count; ++k) add_pair(dy + k * stride, x + k * stride, s, mean, p);
    return;
  }
  compute_t<T> first[kNormBlock], second[kNormBlock];
  int64_t used = 0;
  for (int64_t k = 0; k < count; ++k) {
    load_block(first + used, dy + k * stride, s), load_block(second + used, x + k * stride, s);
    used += s;
    if (k + 1 < count && used + s <= kNormBlock) continue;
    add_pair_block(first, second, used, mean, p);
    used = 0;
  }
}

// ---- sums over rows -----------------------------------------------------------------------------------------------
// How `rows` rows of c channels are cut: few channels are taken as several rows side by side, `fold` of them.
struct RowParts {
  int64_t fold, width, rows, rest, chunk, chunks, tiles;
  RowParts(int64_t all, int64_t c) {
    fold = c > 0 && c <= kNormColumns / 2 ? kNormColumns / c : 1;
    width = c * fold, rows = all / fold, rest = all % fold;
    const int64_t enough = parts(parts(kNormTask, width < 1 ? 1 : least(width, kNormColumns)), kNormRows) * kNormRows;
    const int64_t share = parts(parts(rows, kNormChunks), kNormRows) * kNormRows;
    chunk = share > enough ? share : enough;
    chunks = parts(rows, chunk), tiles = parts(width, kNormColumns);
  }
};

// Takes tiles of up to kNormRows rows and kNormColumns columns, all in order for each column:
//   take(x, y, ld, rows, w, first column, P*)     x and y (may be null) in the compute type
// and gives found[c] by join(P&, const P&).
template <class P, class T, class Take, class Join>
static void column_parts(const T* x, const T* y, int64_t all, int64_t c, P* found, Take take, Join join) {
  using C = compute_t<T>;
  constexpr bool direct = std::is_same_v<T, C>;
  const RowParts cut(all, c);
  const Scratch<P> partial((cut.chunks + 1) * cut.width);
  for (int64_t i = 0; i < (cut.chunks + 1) * cut.width; ++i) partial[i] = P{};
  const auto rows_of = [&](const T* from, int64_t ld, int64_t rows, int64_t w, C* buffer) -> const C* {
    if constexpr (direct) return from;
    for (int64_t r = 0; r < rows; ++r) load_block(buffer + r * kNormColumns, from + r * ld, w);
    return buffer;
  };
  const auto tile = [&](int64_t row, int64_t rows, int64_t ld, int64_t column, int64_t w, P* p) {
    const Scratch<C> room(direct ? 1 : 2 * kNormRows * kNormColumns);
    for (int64_t r = 0; r < rows; r += kNormRows) {
      const int64_t m = least(rows - r, kNormRows), at = (row + r) * ld + column;
      const C* first = rows_of(x + at, ld, m, w, room.get());
      const C* second = y ? rows_of(y + at, ld, m, w, room.get() + kNormRows * kNormColumns) : nullptr;
      take(first, second, direct ? ld : kNormColumns, m, w, column, p);
    }
  };
  parallel_ranges(cut.chunks * cut.tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t k = task / cut.tiles, column = task % cut.tiles * kNormColumns, row = k * cut.chunk;
      tile(row, least(cut.rows - row, cut.chunk), cut.width, column, least(cut.width - column, kNormColumns),
           partial.get() + k * cut.width + column);
    }
  });
  if (cut.rest) tile(cut.rows * cut.fold, cut.rest, c, 0, c, partial.get() + cut.chunks * cut.width);
  for (int64_t ch = 0; ch < c; ++ch) found[ch] = P{};
  for (int64_t k = 0; k <= cut.chunks; ++k)
    for (int64_t i = 0; i < cut.width; ++i) join(found[i % c], partial[k * cut.width + i]);
}

template <class T>
static void column_moments(const T* x, int64_t rows, int64_t c, typename Moments<compute_t<T>>::P* found) {
  using M = Moments<compute_t<T>>;
  using P = typename M::P;
  using C = compute_t<T>;
  column_parts<P>(
      x, static_cast<const T*>(nullptr), rows, c, found,
      [](const C* t, const C*, int64_t ld, int64_t m, int64_t w, int64_t, P* p) { M::columns(t, ld, m, w, 0, p); },
      [](P& p, const P& q) { M::join(p, q); });
}

template <class T>
static void column_pairs(const T* dy, const T* x, int64_t rows, int64_t c, const compute_t<T>* mean, Pair* found) {
  using C = compute_t<T>;
  const auto take = [=](const C* dy, const C* x, int64_t ld, int64_t m, int64_t w, int64_t first, Pair* p) {
    C s[kNormColumns], d[kNormColumns], middle[kNormColumns];
    for (int64_t j = 0; j < w; ++j) s[j] = d[j] = 0, middle[j] = mean[(first + j) % c];
    for (int64_t r = 0; r < m; ++r, dy += ld, x += ld)
#pragma omp simd
      for (int64_t j = 0; j < w; ++j) {
        s[j] += dy[j];
        d[j] += dy[j] * (x[j] - middle[j]);
      }
    for (int64_t j = 0; j < w; ++j) p[j].sum += s[j], p[j].product += d[j];
  };
  column_parts<Pair>(dy, x, rows, c, found, take, [](Pair& p, const Pair& q) { p.add(q); });
}

// ---- affine maps ----------------------------------------------------------------------------------------------------
// out = (x - center) * scale + shift, a number each for every channel. The difference comes first: where the mean,
// middle + offset, is far from 0 it is exact, and shift takes up the offset.
template <class C> struct Affine {
  Scratch<C> center, scale, shift;
  explicit Affine(int64_t c) : center(c), scale(c), shift(c) {}
  void set(int64_t ch, double middle, double offset, double factor, double bias) const {
    center[ch] = static_cast<C>(middle), scale[ch] = static_cast<C>(factor);
    shift[ch] = static_cast<C>(bias - (middle - static_cast<double>(center[ch]) + offset) * factor);
  }
  template <class T> void plane(int64_t ch, const T* x, T* out, int64_t n) const {
    const C middle = center[ch], factor = scale[ch], bias = shift[ch];
    map_one(x, out, n, [=](int64_t, C v) DLCORE_MAP { return fma_(v - middle, factor, bias); });
  }
};

// Vectors of one number a channel, repeated until loops over them are long enough.
template <class C, int count> struct Repeated {
  int64_t c, period;
  Scratch<C> room;
  explicit Repeated(int64_t channels)
      : c(channels), period(channels < 256 ? channels * parts(256, channels < 1 ? 1 : channels) : channels),
        room(period * count) {}
  C* operator[](int k) const { return room.get() + k * period; }
  void fill() const {  // from the first c of each
    for (int k = 0; k < count; ++k)
      for (int64_t i = c; i < period; ++i) room[k * period + i] = room[k * period + i - c];
  }
  // Calls span(first, n) for the elements of `rows` rows, in spans that begin with channel 0 and are no longer than the
  // period.
  template <class Span> void each(int64_t rows, Span span) const {
    const int64_t total = rows * c, grain = parts(kNormTask, period) * period;
    if (c == 0) return;
    parallel_ranges(total, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += period) span(i, least(end - i, period));
    });
  }
};
template <class T>
static void affine_rows(const Affine<compute_t<T>>& map, const T* x, T* out, int64_t rows, int64_t c) {
  using C = compute_t<T>;
  const Repeated<C, 3> v(c);
  for (int64_t i = 0; i < c; ++i) v[0][i] = map.center[i], v[1][i] = map.scale[i], v[2][i] = map.shift[i];
  v.fill();
  const C *center = v[0], *scale = v[1], *shift = v[2];
  v.each(rows, [=](int64_t at, int64_t n) {
    map_one(x + at, out + at, n, [=](int64_t i, C y) DLCORE_MAP { return fma_(y - center[i], scale[i], shift[i]); });
  });
}

// dx = dy * scale - ((x - center) * slope + shift)
template <class C> struct AffinePair {
  Scratch<C> center, scale, slope, shift;
  explicit AffinePair(int64_t c) : center(c), scale(c), slope(c), shift(c) {}
  template <class T> void plane(int64_t ch, const T* dy, const T* x, T* dx, int64_t n) const {
    const C middle = center[ch], factor = scale[ch], by = slope[ch], offset = shift[ch];
    map_two(dy, x, dx, n, [=](int64_t, C d, C v) DLCORE_MAP { return d * factor - fma_(v - middle, by, offset); });
  }
};
template <class T>
static void affine_pair_rows(const AffinePair<compute_t<T>>& map, const T* dy, const T* x, T* dx, int64_t rows,
                             int64_t c) {
  using C = compute_t<T>;
  const Repeated<C, 4> v(c);
  for (int64_t i = 0; i < c; ++i)
    v[0][i] = map.center[i], v[1][i] = map.scale[i], v[2][i] = map.slope[i], v[3][i] = map.shift[i];
  v.fill();
  const C *center = v[0], *scale = v[1], *slope = v[2], *shift = v[3];
  v.each(rows, [=](int64_t at, int64_t n) {
    map_two(dy + at, x + at, dx + at, n, [=](int64_t i, C d, C y) DLCORE_MAP {
      return d * scale[i] - fma_(y - center[i], slope[i], shift[i]);
    });
  });
}

#endif  // DLCORE_NORM_CHANNELS
