// Sums over the elements of each channel in a fixed order: of planes (channels first) and of columns (channels last).
// Part of channels.inl.
//
// Memory bounds them. Elements are added in lanes of the compute type, and what these come to is joined in double once
// a block, for that costs as much as some vectors of elements. Lanes and blocks follow from shapes alone: threads
// change no bit, nor do instruction sets that have a fused multiply-add.

// n elements in the compute type: where they are, or in the buffer.
template <class T> static inline const compute_t<T>* widened(const T* x, int64_t n, compute_t<T>* buffer) {
  if constexpr (std::is_same_v<T, compute_t<T>>) return x;
  else return load_block(buffer, x, n), buffer;
}

// An operand as sums read it: block(at, n, buffer) gives n elements from `at` on, no more than kNormBlock.
template <class T> struct Elements {
  using C = compute_t<T>;
  const T* x;
  static constexpr bool in_place() { return std::is_same_v<T, C>; }
  const C* block(int64_t at, int64_t n, C* buffer) const { return widened(x + at, n, buffer); }
};
// A gradient dy; with `out`, the result of a ReLU, that before it.
template <class T> struct Gradient {
  using C = compute_t<T>;
  const T *dy, *out = nullptr;
  uint16_t* kept = nullptr;  // a bit an element, whether it passes the ReLU: sums write them, and `out` is read once
  uint16_t* lanes(int64_t first) const { return kept ? kept + first / kLanes<C> : nullptr; }
  bool in_place() const { return std::is_same_v<T, C> && !out; }
  // f(load): load(at) is a vector of the gradient from element `first` on, of T that is the compute type
  template <class F> void vectors(int64_t first, F f) const {
    const C *from = dy + first, *result = out + (out ? first : 0);
    if constexpr (kKeepsLanes<C>) {
      if (uint16_t* to = lanes(first))
        return f([=](auto at) DLCORE_MAP { return rectified(at(from), at(result), to + at.i / kLanes<C>); });
    }
    if (out) f([=](auto at) DLCORE_MAP { return rectified(at(from), at(result)); });
    else f([=](auto at) DLCORE_MAP { return at(from); });
  }
  const C* block(int64_t at, int64_t n, C* buffer) const {
    const C* from = widened(dy + at, n, buffer);
    if (!out) return from;
    C room[std::is_same_v<T, C> ? 1 : kNormBlock];
    const C* kept = widened(out + at, n, room);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) buffer[i] = activation::relu::gradient(from[i], kept[i]);
    return buffer;
  }
};

// ---- planes ---------------------------------------------------------------------------------------------------------
constexpr int64_t kShortPlane = 512;  // shorter planes are put together first where they do not fill lanes

// A sum over contiguous elements, in kWideBytes / 2 of lanes that stay in registers; halves are added to each other at
// the end.
template <class C> struct LaneSum {
  static constexpr int kVectors = kWideBytes / 2 / kVectorBytes, kWide = kVectors * kLanes<C>;
  vec<C> lanes[kVectors] = {};

  template <int w, int... lane> static vec<C> across(vec<C> v, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(v, v, (lane ^ w)...);
  }
  template <int w> static C within(vec<C> v) {
    if constexpr (w == 0) return v[0];
    else return within<w / 2>(v + across<w>(v, std::make_integer_sequence<int, kLanes<C>>()));
  }
  C total() {
#pragma GCC unroll 4
    for (int w = kVectors / 2; w > 0; w /= 2)
#pragma GCC unroll 4
      for (int v = 0; v < w; ++v) lanes[v] += lanes[v + w];
    return within<kLanes<C> / 2>(lanes[0]);
  }
};

// The sums of x - c and (x - c)^2; see common/moments.inl for why c is the mean of elements before.
template <class C> struct MomentLanes {
  static constexpr int kWide = LaneSum<C>::kWide;
  LaneSum<C> sum, squares;
  __attribute__((always_inline)) void step(const C* x, vec<C> c) {
#pragma GCC unroll 8
    for (int j = 0; j < sum.kVectors; ++j) {
      const vec<C> y = vload(x + j * kLanes<C>) - c;
      sum.lanes[j] += y, squares.lanes[j] = vfma(y, y, squares.lanes[j]);
    }
  }
  void add(const C* x, int64_t n, C c) {
    MomentLanes in = *this;  // in registers
    int64_t i = 0;
    for (; i + kWide <= n; i += kWide) in.step(x + i, vset(c));
    if (i < n) {
      C rest[kWide];
      for (int j = 0; j < kWide; ++j) rest[j] = i + j < n ? x[i + j] : c;
      in.step(rest, vset(c));
    }
    *this = in;
  }
};

// The sums of dy and of dy * (x - mean).
struct Pair {
  double sum = 0, product = 0;
  void add(const Pair& o) { sum += o.sum, product += o.product; }
};
template <class C> struct PairLanes {
  static constexpr int kWide = LaneSum<C>::kWide;
  LaneSum<C> sum, product;
  template <class Load, class At>
  __attribute__((always_inline)) void step(int j, Load dy, const C* x, vec<C> mean, At at) {
    const vec<C> d = dy(at);
    sum.lanes[j] += d, product.lanes[j] = vfma(d, at(x) - mean, product.lanes[j]);
  }
  template <class Load> void add(Load dy, const C* x, int64_t n, C mean) {
    constexpr int L = kLanes<C>;
    const vec<C> c = vset(mean);
    PairLanes in = *this;  // in registers
    int64_t i = 0;
    for (; i + kWide <= n; i += kWide)
#pragma GCC unroll 8
      for (int j = 0; j < sum.kVectors; ++j) in.step(j, dy, x, c, WholeVector<C>{i + j * L});
#pragma GCC unroll 8
    for (int j = 0; j < sum.kVectors; ++j, i += L) {
      if (i + L <= n) in.step(j, dy, x, c, WholeVector<C>{i});
      else if (i < n) in.step(j, dy, x, c, PartVector<C>{i, static_cast<int>(n - i)});
    }
    *this = in;
  }
};

// Calls take(x, y, n) for the pieces of `count` planes of s elements, the first at `at`, `stride` apart, in the compute
// type; x and y: `Elements` or their like, y may be null. A piece is at most a block; short planes that do not fill
// lanes come together in one.
template <class C, class X, class Y, class Take>
static inline void each_piece(const X& x, const Y* y, int64_t at, int64_t stride, int64_t count, int64_t s, Take take) {
  C first[kNormBlock], second[kNormBlock];
  const int64_t step = x.in_place() ? kNormBlock : kNormBlock / 4;  // what is made stays in the first-level cache
  if (s >= kShortPlane || s % LaneSum<C>::kWide == 0) {
    for (int64_t k = 0; k < count; ++k)
      for (int64_t b = 0; b < s; b += step) {
        const int64_t m = least(s - b, step), from = at + k * stride + b;
        const C* other = nullptr;
        if constexpr (!std::is_same_v<Y, void>) other = y->block(from, m, second);
        take(x.block(from, m, first), other, m);
      }
    return;
  }
  const auto put = [](const C* from, C* to, int64_t n) {
    if (from != to) std::memcpy(to, from, n * sizeof(C));
  };
  for (int64_t k = 0, used = 0; k < count; ++k) {
    put(x.block(at + k * stride, s, first + used), first + used, s);
    if constexpr (!std::is_same_v<Y, void>) put(y->block(at + k * stride, s, second + used), second + used, s);
    used += s;
    if (k + 1 < count && used + s <= kNormBlock) continue;
    take(first, second, used);
    used = 0;
  }
}

template <class T>
static void add_plane_moments(const T* x, int64_t at, int64_t stride, int64_t count, int64_t s,
                              typename Moments<compute_t<T>>::P& p) {
  using C = compute_t<T>;
  using M = Moments<C>;
  MomentLanes<C> lanes;
  C c = 0;
  int64_t used = 0, room = 0;
  const auto join = [&] {
    M::join_block(p, static_cast<double>(used), c, lanes.sum.total(), lanes.squares.total());
    lanes = {}, used = 0;
  };
  each_piece<C>(Elements<T>{x}, static_cast<const void*>(nullptr), at, stride, count, s,
                [&](const C* from, const C*, int64_t n) {
    if (used && used + n > room) join();
    if (used == 0) {  // a block is no longer than four times what its c is the mean of
      const int64_t first = n <= kNormBlock / 16 ? n : M::pilot(n), known = p.n ? static_cast<int64_t>(p.n) : first;
      c = M::shift_of(p.n ? p.mean() : sum_block<C>(first, [=](int64_t i) DLCORE_MAP { return from[i]; }) / first);
      room = least(4 * known, kNormBlock);
    }
    lanes.add(from, n, c), used += n;
  });
  if (used) join();
}
template <class T> static inline void add_moments(const T* x, int64_t n, typename Moments<compute_t<T>>::P& p) {
  add_plane_moments(x, 0, 0, 1, n, p);
}

template <class Dy, class T>
static void add_plane_pairs(const Dy& dy, const T* x, int64_t at, int64_t stride, int64_t count, int64_t s,
                            compute_t<T> mean, Pair& p) {
  using C = compute_t<T>;
  PairLanes<C> lanes;
  int64_t used = 0;
  const auto join = [&] {
    p.sum += lanes.sum.total(), p.product += lanes.product.total();
    lanes = {}, used = 0;
  };
  if constexpr (std::is_same_v<Dy, Gradient<T>> && std::is_same_v<T, C>) {
    if (dy.out && s % LaneSum<C>::kWide == 0) {
      for (int64_t k = 0; k < count; ++k)
        for (int64_t b = 0; b < s; b += kNormBlock) {
          const int64_t n = least(s - b, kNormBlock), from = at + k * stride + b;
          if (used + n > kNormBlock) join();
          dy.vectors(from, [&](auto load) DLCORE_MAP { lanes.add(load, x + from, n, mean); });
          used += n;
        }
      if (used) join();
      return;
    }
  }
  const Elements<T> of_x{x};
  each_piece<C>(dy, &of_x, at, stride, count, s, [&](const C* d, const C* v, int64_t n) {
    if (used + n > kNormBlock) join();
    lanes.add([=](auto from) DLCORE_MAP { return from(d); }, v, n, mean), used += n;
  });
  if (used) join();
}
template <class T> static inline void add_pair(const T* dy, const T* x, int64_t n, compute_t<T> mean, Pair& p) {
  add_plane_pairs(Elements<T>{dy}, x, 0, 0, 1, n, mean, p);
}

// ---- columns --------------------------------------------------------------------------------------------------------
// How `rows` rows of c channels are cut: few channels are taken as several rows side by side, `fold` of them.
struct RowParts {
  int64_t fold, width, rows, rest, chunk, chunks, tiles;
  RowParts(int64_t all, int64_t c) {
    fold = c > 0 && c <= kNormColumns / 2 ? kNormColumns / c : 1;
    width = c * fold, rows = all / fold, rest = all % fold;
    const int64_t enough = parts(parts(kNormTask, width < 1 ? 1 : least(width, kNormColumns)), kNormSum) * kNormSum;
    const int64_t share = parts(parts(rows, kNormChunks), kNormSum) * kNormSum;
    chunk = share > enough ? share : enough;
    chunks = parts(rows, chunk), tiles = parts(width, kNormColumns);
  }
};

template <class C> struct Rows {  // `ld` elements apart
  const C* at;
  int64_t ld;
  const C* row(int64_t r) const { return at + r * ld; }
  template <class At> vec<C> vector(int64_t r, At from) const { return from(row(r)); }
  Rows operator+(int64_t column) const { return {at + column, ld}; }
};
template <class C> struct MaskedRows {  // of a gradient before a ReLU
  const C *dy, *out;
  uint16_t* kept;  // null, or a vector's lanes
  int64_t ld;
  template <class At> vec<C> vector(int64_t r, At from) const {
    if constexpr (kKeepsLanes<C>) {
      if (kept) return rectified(from(dy + r * ld), from(out + r * ld), kept + (r * ld + from.i) / kLanes<C>);
    }
    return rectified(from(dy + r * ld), from(out + r * ld));
  }
  MaskedRows operator+(int64_t column) const {
    return {dy + column, out + column, kept ? kept + column / kLanes<C> : nullptr, ld};
  }
};

// Two sums of each of w columns: Sums::step(v, y, c, a, b) adds what the elements v and y give to a and b.
constexpr int kStripVectors = DLCORE_ISA == 4 ? 8 : 4;  // whose sums stay in registers
template <class Sums, int count, class X, class C>
static inline void add_strip(X x, Rows<C> y, int64_t rows, const C* c, C* first, C* second) {
  vec<C> a[count], b[count], middle[count];
  for (int j = 0; j < count; ++j)
    a[j] = vload(first + j * kLanes<C>), b[j] = vload(second + j * kLanes<C>), middle[j] = vload(c + j * kLanes<C>);
  for (int64_t r = 0; r < rows; ++r)
    for (int j = 0; j < count; ++j)
      Sums::step(x.vector(r, WholeVector<C>{j * kLanes<C>}), vload(y.row(r) + j * kLanes<C>), middle[j], a[j], b[j]);
  for (int j = 0; j < count; ++j) vstore(first + j * kLanes<C>, a[j]), vstore(second + j * kLanes<C>, b[j]);
}
template <class Sums, class X, class C>
static void add_columns(X x, Rows<C> y, int64_t rows, int64_t w, const C* c, C* first, C* second) {
  constexpr int kStrip = kStripVectors * kLanes<C>;
  int64_t j = 0;
  for (; j + kStrip <= w; j += kStrip)
    add_strip<Sums, kStripVectors>(x + j, y + j, rows, c + j, first + j, second + j);
  for (; j + kLanes<C> <= w; j += kLanes<C>) add_strip<Sums, 1>(x + j, y + j, rows, c + j, first + j, second + j);
  const int left = static_cast<int>(w - j);
  if (left == 0) return;
  vec<C> a = vload(first + j), b = vload(second + j);
  for (int64_t r = 0; r < rows; ++r)
    Sums::step((x + j).vector(r, PartVector<C>{0, left}), vload_first((y + j).row(r), left), vload(c + j), a, b);
  vstore(first + j, a), vstore(second + j, b);
}

// What a kind of sums over columns knows: `begin` and `end` of a block, `step` for each element, and `join` of sums
// over n and over more rows. Sums are in double, kFields of them for each column, `ld` apart; c is taken off elements.
template <class C_> struct ColumnMoments {
  using C = C_;
  using M = Moments<C>;
  static constexpr bool kTwo = false;  // operands
  static constexpr int kFields = 3;    // c, offset and squares of Moments::P
  static void step(vec<C> v, vec<C>, vec<C> c, vec<C>& d, vec<C>& q) {
    const vec<C> y = v - c;
    d += y, q = vfma(y, y, q);
  }
  void begin(const double* p, int64_t ld, int64_t n, Rows<C> x, int64_t rows, int64_t w, int64_t, C* c) const {
    const int64_t first = n ? 0 : M::pilot(rows);
    for (int64_t j = 0; j < w; ++j) c[j] = 0;
    for (int64_t r = 0; r < first; ++r)
#pragma omp simd
      for (int64_t j = 0; j < w; ++j) c[j] += x.row(r)[j];
    for (int64_t j = 0; j < w; ++j) c[j] = M::shift_of(n ? p[j] + p[ld + j] : static_cast<double>(c[j]) / first);
  }
  static void join(double* p, int64_t ld, double n, const double* o, int64_t o_ld, double more, int64_t w) {
    const double total = n + more, share = more / total, both = n * share;
#pragma omp simd
    for (int64_t j = 0; j < w; ++j) {
      const double delta = (o[j] - p[j]) + (o[o_ld + j] - p[ld + j]);
      const double offset = p[ld + j] + (delta - delta == 0 ? delta * share : o[o_ld + j]);  // as Moments::join
      p[j] = n ? p[j] : o[j];
      p[ld + j] = n ? offset : o[o_ld + j];
      p[2 * ld + j] = n ? p[2 * ld + j] + (o[2 * o_ld + j] + delta * delta * both) : o[2 * o_ld + j];
    }
  }
  void end(double* p, int64_t ld, int64_t n, int64_t rows, int64_t w, const C* c, const C* d, const C* q) const {
    double block[kFields][kNormColumns];
    const double count = static_cast<double>(rows);
#pragma omp simd
    for (int64_t j = 0; j < w; ++j) {
      const double sum = d[j], rest = q[j] - sum * sum / count;
      block[0][j] = c[j], block[1][j] = sum / count, block[2][j] = rest < 0 ? 0 : rest;
    }
    join(p, ld, static_cast<double>(n), block[0], kNormColumns, count, w);
  }
};
template <class C_> struct ColumnPairs {
  using C = C_;
  static constexpr bool kTwo = true;
  static constexpr int kFields = 2;  // those of Pair
  const C* mean;
  int64_t channels;
  static void step(vec<C> d, vec<C> v, vec<C> mean, vec<C>& sum, vec<C>& product) {
    sum += d, product = vfma(d, v - mean, product);
  }
  void begin(const double*, int64_t, int64_t, const auto&, int64_t, int64_t w, int64_t first, C* c) const {
    for (int64_t j = 0; j < w; ++j) c[j] = mean[(first + j) % channels];
  }
  static void join(double* p, int64_t ld, double, const double* o, int64_t o_ld, double, int64_t w) {
    for (int k = 0; k < kFields; ++k)
#pragma omp simd
      for (int64_t j = 0; j < w; ++j) p[k * ld + j] += o[k * o_ld + j];
  }
  void end(double* p, int64_t ld, int64_t, int64_t, int64_t w, const C*, const C* sum, const C* product) const {
#pragma omp simd
    for (int64_t j = 0; j < w; ++j) p[j] += sum[j], p[ld + j] += product[j];
  }
};

// Adds `rows` rows of w columns, ld apart, the first element at `at`, to the sums of the columns from `column` on.
template <class Sums, class X, class Y>
static void add_tile(const Sums& sums, const X& x, const Y& y, int64_t at, int64_t ld, int64_t rows, int64_t w,
                     int64_t column, double* p, int64_t p_ld) {
  using C = typename Sums::C;
  C buffer[2][kNormRows * kNormColumns], c[kNormColumns], a[kNormColumns], b[kNormColumns];
  const auto rows_of = [&](const auto& from, int64_t r, int64_t m, C* room) -> Rows<C> {
    if (from.in_place()) return {from.block(at + r * ld, w, room), ld};
    if (w == ld) return {from.block(at + r * ld, m * w, room), w};
    for (int64_t k = 0; k < m; ++k) from.block(at + (r + k) * ld, w, room + k * w);
    return {room, w};
  };
  for (int64_t j = 0; j < kNormColumns; ++j) c[j] = 0;
  for (int64_t block = 0; block < rows; block += kNormSum) {
    const int64_t last = least(rows, block + kNormSum);
    for (int64_t j = 0; j < kNormColumns; ++j) a[j] = b[j] = 0;
    for (int64_t r = block; r < last; r += kNormRows) {
      const int64_t m = least(last - r, kNormRows);
      const auto add = [&](auto first, Rows<C> second) {
        if (r == block) sums.begin(p, p_ld, block, first, m, w, column, c);
        add_columns<Sums>(first, second, m, w, c, a, b);
      };
      if constexpr (Sums::kTwo && std::is_same_v<X, Gradient<C>>) {
        if (x.out) {
          const int64_t from = at + r * ld;
          add(MaskedRows<C>{x.dy + from, x.out + from, x.lanes(from), ld}, rows_of(y, r, m, buffer[1]));
          continue;
        }
      }
      const Rows<C> first = rows_of(x, r, m, buffer[0]);
      add(first, Sums::kTwo ? rows_of(y, r, m, buffer[1]) : first);
    }
    sums.end(p, p_ld, block, last - block, w, c, a, b);
  }
}

// found: the sums of each of c channels over all rows, Sums::kFields times c of them.
template <class Sums, class X, class Y>
static void sum_columns(const Sums& sums, const X& x, const Y& y, int64_t all, int64_t c, double* found) {
  constexpr int kFields = Sums::kFields;
  const RowParts cut(all, c);
  const Scratch<double> partial((cut.chunks + 1) * kFields * c);
  const auto part = [&](int64_t k, int64_t at, int64_t ld, int64_t rows, int64_t w, int64_t column, int64_t fold) {
    double p[kFields * kNormColumns] = {};
    add_tile(sums, x, y, at, ld, rows, w, column, p, kNormColumns);
    for (int64_t f = 1; f < fold; ++f)
      Sums::join(p, kNormColumns, static_cast<double>(f * rows), p + f * c, kNormColumns, static_cast<double>(rows), c);
    for (int field = 0; field < kFields; ++field)
      std::copy_n(p + field * kNormColumns, w / fold, partial.get() + (k * kFields + field) * c + column);
  };
  parallel_ranges(cut.chunks * cut.tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t k = task / cut.tiles, column = task % cut.tiles * kNormColumns, row = k * cut.chunk;
      part(k, row * cut.width + column, cut.width, least(cut.rows - row, cut.chunk),
           least(cut.width - column, kNormColumns), column, cut.fold);
    }
  });
  if (cut.rest) part(cut.chunks, cut.rows * cut.width, c, cut.rest, c, 0, 1);
  std::fill_n(found, kFields * c, 0.0);
  int64_t n = 0;
  for (int64_t k = 0; k < cut.chunks + (cut.rest > 0); ++k) {
    const int64_t more = k < cut.chunks ? least(cut.rows - k * cut.chunk, cut.chunk) * cut.fold : cut.rest;
    Sums::join(found, c, static_cast<double>(n), partial.get() + k * kFields * c, c, static_cast<double>(more), c);
    n += more;
  }
}

template <class T>
static void column_moments(const T* x, int64_t rows, int64_t c, typename Moments<compute_t<T>>::P* found) {
  const Scratch<double> sums(ColumnMoments<compute_t<T>>::kFields * c);
  const Elements<T> from{x};
  sum_columns(ColumnMoments<compute_t<T>>{}, from, from, rows, c, sums.get());
  for (int64_t ch = 0; ch < c; ++ch)
    found[ch] = {static_cast<double>(rows), sums[ch], sums[c + ch], sums[2 * c + ch]};
}
template <class Dy, class T>
static void column_pairs(const Dy& dy, const T* x, int64_t rows, int64_t c, const compute_t<T>* mean, Pair* found) {
  const ColumnPairs<compute_t<T>> pairs{mean, c};
  const Scratch<double> sums(pairs.kFields * c);
  sum_columns(pairs, dy, Elements<T>{x}, rows, c, sums.get());
  for (int64_t ch = 0; ch < c; ++ch) found[ch] = {sums[ch], sums[c + ch]};
}
