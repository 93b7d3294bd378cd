// Operands in the order the tiles read them, widened to the type of the arithmetic.

constexpr int64_t kConflict = 2048;  // bytes: rows so far apart would share few sets of the first-level cache

// put(k, v): lanes l < count of v are lines[l * stride + k], for all k < depth. Whole squares have a way of their own,
// without branches.
template <class S, class Put>
static void transpose_lines(const S* lines, int64_t stride, int count, int64_t depth, const Put& put) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  int64_t k = 0;
  vec<T> square[L];
  for (; count == L && k + L <= depth; k += L) {
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) square[l] = widen(lines + l * stride + k);
    swap_blocks<L / 2, T>(square);
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) put(k + l, square[l]);
  }
  for (; k < depth; k += L) {
    const int steps = static_cast<int>(depth - k < L ? depth - k : L);
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) {
      const S* from = lines + l * stride + k;
      square[l] = vec<T>{};
      if (l < count) square[l] = steps == L ? widen(from) : widen_first(from, steps);
    }
    swap_blocks<L / 2, T>(square);
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l)
      if (l < steps) put(k + l, square[l]);
  }
}

template <class T> static inline void put_lanes(T* to, vec<T> v, int count) {
  if (count == kLanes<T>) vstore(to, v);
  else vstore_first(to, v, count);
}

// What the positions of a box read of the source: channels innermost, zeros where padding is read. An interleaved
// source without padding is read where it is.
template <class S> struct Source {
  using T = compute_t<S>;
  static constexpr int L = kLanes<T>;

  const Images& images;
  const Axis (&axes)[kAxes];
  const int64_t channels;  // of one group
  bool copied;
  int64_t pixel, skip[kAxes];    // every skip-th element of an axis is kept: a kernel of length 1 reads no others
  int64_t stride[kAxes + 1];     // image and axes
  int64_t low[kAxes], extent[kAxes];
  const T* data;  // the place `low` of the first image

  Source(const Images& x, const Axis (&a)[kAxes], int64_t c) : images(x), axes(a), channels(c) {
    pixel = channels;
    const int64_t across = pixel * axes[2].step() * static_cast<int64_t>(sizeof(T));
    const int64_t apart = images.place[2] * axes[2].step() * static_cast<int64_t>(sizeof(T));
    copied = !std::is_same_v<S, T> || images.channel != 1 || apart % kConflict == 0;
    for (const Axis& axis : axes) copied |= axis.padded();
    for (int i = 0; i < kAxes; ++i) skip[i] = copied && axes[i].kernel == 1 ? axes[i].step() : 1;
    if (across / skip[2] % kConflict == 0) pixel += L;
  }
  void read_planes() { copied = false; }  // of a kernel of length 1, where they are
  int64_t lane() const { return copied ? 1 : images.channel; }  // how far apart channels are
  int64_t step(int axis) const { return axes[axis].step() / skip[axis]; }
  int64_t longest(int axis, int64_t positions) const { return ceil_div(axes[axis].longest(positions), skip[axis]); }
  // Elements that are transposed in one go for a box of such lengths, at most: as many again as are kept.
  int64_t segment(const int64_t* length) const {
    if (!copied || images.channel == 1) return 0;
    return 2 * longest(1, length[2]) * longest(2, length[3]) * skip[2];
  }
  // Elements that the copy for a box of such lengths takes, at most.
  int64_t elements(const int64_t* length) const {
    if (!copied) return 0;
    return length[0] * longest(0, length[1]) * longest(1, length[2]) * longest(2, length[3]) * pixel;
  }
  // Offset in the copy of what position q reads for a tap.
  int64_t place(int axis, int64_t q, int64_t tap) const {
    return (axes[axis].place(q, tap) - low[axis]) / skip[axis] * stride[axis + 1];
  }

  // `order`: room for a segment, kept from box to box with `to`: zeros are written and the order is found only where
  // they differ from the box before.
  void fill(const S* x, const Box& box, T* to, int64_t* order) {
    for (int a = 0; a < kAxes; ++a) {
      low[a] = axes[a].low(box.begin[a + 1]);
      extent[a] = ceil_div(axes[a].extent(box.begin[a + 1], box.end[a + 1]), skip[a]);
    }
    x += box.begin[0] * images.image;
    if constexpr (std::is_same_v<S, T>) {
      if (!copied) {
        stride[0] = images.image;
        for (int a = 0; a < kAxes; ++a) stride[a + 1] = images.place[a], x += low[a] * images.place[a];
        data = x;
        return;
      }
    }
    stride[3] = pixel, stride[2] = extent[2] * pixel, stride[1] = extent[1] * stride[2];
    stride[0] = extent[0] * stride[1];
    data = to;
    const Rows rows = rows_of(box.length(0));
    if (!(rows == before)) {
      clear_border(to, rows);
      if (images.channel != 1) find_order(rows, order);
      before = rows;
    }
    if (rows.h0 >= rows.h1 || rows.w0 >= rows.w1) return;
    for (int64_t n = 0; n < rows.images; ++n, x += images.image) {
      for (int64_t d = rows.d0; d < rows.d1; ++d) {
        const S* from = x + (low[0] + d * skip[0]) * images.place[0];
        T* plane = to + n * stride[0] + d * stride[1];
        if (images.channel == 1) copy_interleaved(from, plane, rows);
        else copy_planar(from, plane, rows, order);
      }
    }
  }

 private:
  // Places of the copy that lie in the source: [d0, d1) x [h0, h1) x [w0, w1). Planes are transposed in segments of
  // `depth` elements: whole rows in one go, or each by itself.
  struct Rows {
    int64_t images = -1, planes = 0, lines = 0, places = 0;  // lengths of the copy
    int64_t d0 = 0, d1 = 0, h0 = 0, h1 = 0, w0 = 0, w1 = 0;
    int64_t segments = 0, depth = 0;
    bool operator==(const Rows&) const = default;
  };
  Rows before;  // of the box before

  void inside(int a, int64_t& begin, int64_t& end) const {
    begin = std::min(extent[a], low[a] < 0 ? ceil_div(-low[a], skip[a]) : 0);
    end = std::max(begin, std::min(extent[a], ceil_div(std::max<int64_t>(images.size[a] - low[a], 0), skip[a])));
  }
  Rows rows_of(int64_t count) const {
    Rows r;
    r.images = count, r.planes = extent[0], r.lines = extent[1], r.places = extent[2];
    inside(0, r.d0, r.d1), inside(1, r.h0, r.h1), inside(2, r.w0, r.w1);
    const int64_t width = images.size[2], span = span_of(r);
    const bool whole = skip[1] == 1 && 2 * span > width;
    r.segments = whole ? 1 : r.h1 - r.h0;
    r.depth = whole ? (r.h1 - r.h0 - 1) * width + span : span;
    return r;
  }
  int64_t span_of(const Rows& r) const { return (r.w1 - r.w0 - 1) * skip[2] + 1; }  // of a row of the source
  // Where element k of a segment goes to, or -1.
  void find_order(const Rows& r, int64_t* order) const {
    const int64_t width = images.size[2], span = span_of(r);
    for (int64_t k = 0, row = 0; k < r.depth; k += width, row += stride[2]) {
      const int64_t columns = std::min(width, r.depth - k);
      for (int64_t c = 0; c < columns; ++c) order[k + c] = -1;
      for (int64_t c = 0, at = row; c < std::min(span, columns); c += skip[2], at += pixel) order[k + c] = at;
    }
  }
  void clear_border(T* to, const Rows& r) const {
    const int64_t row = stride[2];
    for (int64_t n = 0; n < r.images; ++n) {
      for (int64_t d = 0; d < extent[0]; ++d) {
        T* plane = to + n * stride[0] + d * stride[1];
        const bool there = d >= r.d0 && d < r.d1;
        const int64_t h0 = there ? r.h0 : extent[1], h1 = there ? r.h1 : extent[1];
        std::fill_n(plane, h0 * row, T(0));
        std::fill(plane + h1 * row, plane + extent[1] * row, T(0));
        for (int64_t h = h0; h < h1; ++h) {
          std::fill_n(plane + h * row, r.w0 * pixel, T(0));
          std::fill(plane + h * row + r.w1 * pixel, plane + (h + 1) * row, T(0));
        }
      }
    }
  }
  void copy_interleaved(const S* x, T* plane, const Rows& r) const {
    const int64_t count = r.w1 - r.w0;
    for (int64_t h = r.h0; h < r.h1; ++h) {
      const S* from = x + (low[1] + h * skip[1]) * images.place[1] + (low[2] + r.w0 * skip[2]) * images.place[2];
      T* to = plane + h * stride[2] + r.w0 * pixel;
      if (pixel == images.place[2] && skip[2] == 1) {
        load_block(to, from, count * pixel);
      } else {
        for (int64_t w = 0; w < count; ++w) load_block(to + w * pixel, from + w * skip[2] * images.place[2], channels);
      }
    }
  }
  void copy_planar(const S* x, T* plane, const Rows& r, const int64_t* order) const {
    x += (low[1] + r.h0 * skip[1]) * images.place[1] + low[2] + r.w0 * skip[2];
    plane += r.h0 * stride[2] + r.w0 * pixel;
    const int64_t apart = skip[1] * images.size[2];  // segments in the source, when there are several
    for (int64_t c = 0; c < channels; c += L) {
      const int count = static_cast<int>(std::min<int64_t>(L, channels - c));
      for (int64_t s = 0; s < r.segments; ++s) {
        T* to = plane + s * stride[2] + c;
        transpose_lines(x + c * images.channel + s * apart, images.channel, count, r.depth,
                        [&](int64_t k, vec<T> v) DLCORE_MAP {
                          if (order[k] >= 0) put_lanes(to + order[k], v, count);
                        });
      }
    }
  }
};

// The place of every tap in the order of k: phases of the axes, then the taps of each.
static void rank_taps(const Axis (&axes)[kAxes], int64_t* rank) {
  struct Place {
    int64_t at, begin, count;
  };
  const int64_t most = axes[0].kernel + axes[1].kernel + axes[2].kernel;
  Scratch<Place> places(most);
  const Place* of[kAxes];
  Place* next = places.get();
  for (int a = 0; a < kAxes; ++a) {
    const Axis& axis = axes[a];
    for (int64_t i = 0; i < axis.kernel;) {
      int64_t end = i;
      while (end < axis.kernel && axis.phase_of(axis.order[end]) == axis.phase_of(axis.order[i])) ++end;
      for (const int64_t begin = i; i < end; ++i) next[axis.order[i]] = {i, begin, end - begin};
    }
    of[a] = next;
    next += axis.kernel;
  }
  for (int64_t d = 0; d < axes[0].kernel; ++d) {
    for (int64_t h = 0; h < axes[1].kernel; ++h) {
      for (int64_t w = 0; w < axes[2].kernel; ++w, ++rank) {
        const Place &x = of[0][d], &y = of[1][h], &z = of[2][w];
        const int64_t before =
            (x.begin * axes[1].kernel + x.count * y.begin) * axes[2].kernel + x.count * y.count * z.begin;
        *rank = before + ((x.at - x.begin) * y.count + y.at - y.begin) * z.count + z.at - z.begin;
      }
    }
  }
}

// The weights of one group, w[filter][channel][tap], as a panel of target channels: panel[k][lane], k as rank_taps has
// it, then source channels. Lanes are filters `first` and following.
template <class S>
static void pack_filters(const S* w, int64_t channels, int64_t taps, const int64_t* rank, int64_t first, int columns,
                         int width, compute_t<S>* panel) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  for (int64_t begin = 0; begin < channels; begin += L) {  // whole squares, whose rows all lanes soon complete
    const int64_t depth = std::min<int64_t>(L, channels - begin) * taps;
    for (int lane = 0; lane < width; lane += L) {
      const int count = std::clamp(columns - lane, 0, L);
      T* to = panel + begin * width + lane;
      int64_t c = 0, t = 0;
      transpose_lines(w + ((first + lane) * channels + begin) * taps, channels * taps, count, depth,
                      [&](int64_t, vec<T> v) DLCORE_MAP {
                        vstore(to + (rank[t] * channels + c) * width, v);
                        if (++t == taps) t = 0, ++c;
                      });
    }
  }
}

// The same with lanes that are channels, k going through the filters: filters [begin, end), at most kFilterBlock of
// them, to all panels. The rows of a tap lie together in a buffer first: in a panel those of different taps are often a
// power of two apart.
constexpr int64_t kFilterBlock = 32;
template <class S>
static void pack_channels(const S* w, int64_t begin, int64_t end, int64_t filters, int64_t channels, int64_t taps,
                          const int64_t* rank, const Panels& panels, compute_t<S>* packed) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  const int64_t count = end - begin, apart = kFilterBlock * L + L;  // of taps in the buffer
  Scratch<T> buffer(taps * apart);
  for (int64_t panel = 0; panel < panels.count(); ++panel) {
    const int64_t width = panels.vectors_of(panel) * L;
    for (int64_t lane = 0; lane < width; lane += L) {
      const int64_t c = panel * panels.width() + lane;
      const int lines = static_cast<int>(std::clamp<int64_t>(channels - c, 0, L));
      T* to = packed + panel * panels.width() * taps * filters + begin * width + lane;
      for (int64_t o = 0; o < count; ++o) {
        const S* from = w + ((begin + o) * channels + c) * taps;
        for (int64_t i = 0; i < L * taps; i += 64 / static_cast<int64_t>(sizeof(S)))
          __builtin_prefetch(from + L * taps + i);  // what comes next of this filter, when its turn comes again
        transpose_lines(from, taps, lines, taps,
                        [&](int64_t t, vec<T> v) DLCORE_MAP { vstore(buffer.get() + t * apart + o * L, v); });
      }
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t o = 0; o < count; ++o)
          vstore(to + (rank[t] * filters + o) * width, vload(buffer.get() + t * apart + o * L));
    }
  }
}

// Calls f(offset in the image's memory, first position of the box, positions) for stretches of the box's positions
// that are `images.place[2]` apart.
template <class F> static void each_stretch(const Images& images, const Box& box, const F& f) {
  int64_t length = box.length(3);
  if (length == images.size[2]) {
    length *= box.length(2);
    if (box.length(2) == images.size[1]) length *= box.length(1);
  }
  const int64_t all = box.positions();
  for (int64_t p = 0; p < all; p += length) {
    int64_t rest = p, at = 0;
    for (int a = kAxes - 1; a >= 0; --a) {
      at += (box.begin[a + 1] + rest % box.length(a + 1)) * images.place[a];
      rest /= box.length(a + 1);
    }
    f(at + (box.begin[0] + rest) * images.image, p, length);
  }
}

// Channels [first, first + columns) of the positions of a box, rows[position][lane], zeros beyond up to `width`.
template <class S>
static void pack_positions(const S* y, const Images& images, const Box& box, int64_t first, int columns, int width,
                           compute_t<S>* rows) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  each_stretch(images, box, [&](int64_t at, int64_t p, int64_t length) {
    for (int lane = 0; lane < width; lane += L) {
      const int count = std::clamp(columns - lane, 0, L);
      const S* from = y + at + (first + lane) * images.channel;
      T* to = rows + p * width + lane;
      if (images.channel == 1) {
        for (int64_t i = 0; i < length; ++i, from += images.place[2])
          vstore(to + i * width, count == L ? widen(from) : widen_first(from, count));
      } else {
        transpose_lines(from, images.channel, count, length,
                        [&](int64_t k, vec<T> v) DLCORE_MAP { vstore(to + k * width, v); });
      }
    }
  });
}

template <class S> static inline compute_t<S> rounded(compute_t<S> x) {
  S s;
  store(&s, x);
  return load(&s);
}

// Bias and activation of rows[position][lane], in place; each step rounds to S, as the separate operations would.
template <class S> static void add_bias(compute_t<S>* rows, int64_t count, int width, const S* bias, int columns) {
  using T = compute_t<S>;
  constexpr int kMost = kMostVectors * kLanes<T>;
  T added[kMost] = {};
  for (int l = 0; bias && l < columns; ++l) added[l] = load(bias + l);
  for (int64_t p = 0; p < count; ++p) {
    T* row = rows + p * width;
    if constexpr (std::is_same_v<S, T>) {
#pragma omp simd
      for (int l = 0; l < width; ++l) row[l] += added[l];
    } else {
#pragma omp simd
      for (int l = 0; l < width; ++l) row[l] = bias ? rounded<S>(rounded<S>(row[l]) + added[l]) : rounded<S>(row[l]);
    }
  }
}
template <class A, class T> static void activate(T* rows, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) rows[i] = A::value(rows[i]);
}

// rows[position][lane] to channels [first, first + columns) of an image.
template <class S>
static void store_positions(const compute_t<S>* rows, const Images& images, const Box& box, int64_t first, int columns,
                            int width, S* y) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  each_stretch(images, box, [&](int64_t at, int64_t p, int64_t length) {
    S* to = y + at + first * images.channel;
    const T* from = rows + p * width;
    if (images.channel == 1) {
      const bool whole = columns == width && images.place[2] == width;  // of all channels, one behind the other
      const int64_t runs = whole ? 1 : length, run = whole ? length * width : columns;
      for (int64_t i = 0; i < runs; ++i) store_block(to + i * images.place[2], from + i * width, run);
      return;
    }
    if constexpr (std::is_same_v<S, T>) {
      for (int64_t i = 0; i < length; i += L) {
        const int count = static_cast<int>(std::min<int64_t>(L, length - i));
        transpose_lines(from + i * width, width, count, columns, [&](int64_t k, vec<T> v) DLCORE_MAP {
          put_lanes(to + k * images.channel + i, v, count);
        });
      }
    } else {
      constexpr int kBlock = 4 * L;  // whole vectors of the narrow type
      T block[kMostVectors * L * kBlock];
      for (int64_t i = 0; i < length; i += kBlock) {
        const int64_t count = std::min<int64_t>(kBlock, length - i);
        for (int64_t j = 0; j < count; j += L)
          transpose_lines(from + (i + j) * width, width, static_cast<int>(std::min<int64_t>(L, count - j)), columns,
                          [&](int64_t k, vec<T> v) DLCORE_MAP { vstore(block + k * kBlock + j, v); });
        for (int k = 0; k < columns; ++k) store_block(to + k * images.channel + i, block + k * kBlock, count);
      }
    }
  });
}
