// Convolutions of 3 x 3 without a stride by Winograd's algorithm F(2 x 2, 3 x 3) (Lavin and Gray, arXiv 1509.09308), in
// float32: output and the gradient of the input.
//
//   four results of a tile = A^T [ sum over channels of (G w G^T) * (B^T x B) ] A,  where * goes element by element
//
// 16 multiplications in place of 36. x are the 4 x 4 places that the tile's windows reach; tiles lie 2 apart. Channels
// are lanes: of each 16 tiles take 24 additions (neighbours share 8) and 16 stores of x, and 16 loads and 24 additions
// of the results, 90 cycles beside the 16 multiply-adds for each channel. The source is copied as in pack.inl, results
// are stored as in gather.inl; windows of a box take 256 KiB at most, and its products half of it for each panel.
//
// GFLOP/s of the convolution of float32, one core of a Zen 4 (115 at most by multiply-adds), before and with it,
// output, gradient of the input, gradient of the weight (winograd_weight.inl):
//   3 x 3, images             NCHW                                 NHWC
//   64 of  16 x 32 x 32        97-131    97-133   101-138          107-153   107-158   106-158
//   64 of  32 x 16 x 16       109-176   109-174   110-172          115-196   116-196   112-194
//   64 of  64 x  8 x  8       114-202   115-204   112-168          115-213   119-215   113-178
//    1 of  64 x 56 x 56       109-197   110-200   110-172          113-210   113-212   112-186
//   16 of 128 x 28 x 28       113-212   112-212   111-177          114-224   113-223   111-184
//   16 of 512 x  7 x  7       116-167   113-164       -            117-170   114-167       -
// Bounds of takes_winograd: 8 channels gain 0 to 6 %, 16 of them 30 % and more. 4 tiles lose a fifth, 16 gain 20 %
// with 64 channels and none with 256, for the weights are transformed in each call. Of 3 x 3 positions nothing is
// gained. With two lines of padding a window in the corner has a ninth of the products whose errors it shares, so that
// is left to the general kernel.
//
// Accuracy. A sum has 9 times fewer terms, one after the other, than the chain of the general kernel, which outweighs
// the transformations. Standard normal x and y, weights of variance 1 / (9 C), 16 x 32 x 32, general kernel - this one:
// root mean square error by that of the results 2.1e-7 - 1.6e-7, of the input's gradient 2.3e-7 - 1.7e-7, of the
// weight's 5.5e-7 - 3.7e-7; largest error by the same 2.5e-6 - 1.0e-6, 2.8e-6 - 1.0e-6, 3.4e-6 - 1.5e-6. With a mean of
// 10: 2.5e-7 - 1.5e-7, 2.2e-7 - 1.2e-7, 2.7e-7 - 1.0e-7. But errors are those of all places of a tile: a window of
// small numbers beside a very large one has the error of the large one's terms, which it does not have by itself.
// Infinities and NaN would spoil such windows, too: results that are not finite are found, and all is computed anew.
constexpr int kPoints = 16;
constexpr int64_t kTransformedBytes = 256 << 10;  // of the windows of a box
constexpr int64_t kWorthTiles = 32;     // fewer are not worth the weights that are transformed for them
constexpr int64_t kLeastTiles = 14;     // of a box: rows of a tile of products
constexpr int64_t kWorthChannels = 16;  // fewer are not worth the transformations of a tile

// Tiles of a box, in the order of images, rows and columns; strides of the places that they read.
struct Tiling {
  int64_t images, rows, columns;
  int64_t image, row, place;

  template <class S> Tiling(const Box& tiles, const Source<S>& from)
      : images(tiles.length(0)), rows(tiles.length(2)), columns(tiles.length(3)),
        image(from.stride[0]), row(from.stride[2]), place(from.stride[3]) {}
  int64_t count() const { return images * rows * columns; }
};

// The distance between points of so many elements: an odd number of lines, for they are written side by side, and a
// cache has few places for lines a power of two apart.
static inline int64_t point_stride(int64_t elements) {
  constexpr int64_t line = 64 / sizeof(float);
  return (ceil_div(elements, line) | 1) * line;
}

// An axis of which whole tiles are computed: what they read beyond the source is zero.
static Axis tiled(const Axis& a, int64_t unit) {
  return {a.source, ceil_div(a.target, unit) * unit, a.kernel, a.stride, a.before, a.dilation, a.transposed};
}

// The positions of a box of tiles: of all, or of those that there are.
static Box positions_of(const Box& tiles, int64_t height, int64_t width) {
  Box box = tiles;
  box.begin[2] *= 2, box.begin[3] *= 2;
  box.end[2] = std::min(2 * tiles.end[2], height), box.end[3] = std::min(2 * tiles.end[3], width);
  return box;
}

// Boxes of all tiles, for copies of at most `most` of them, and how many elements their copies take.
struct TileBoxes : Boxes {
  int64_t copied[kAxes + 1];  // lengths of a box in positions

  TileBoxes(int64_t images, int64_t rows, int64_t columns, int64_t most)
      : Boxes{{images, 1, rows, columns}, {images, 1, rows, columns}} {
    shrink([&](const Boxes& b) { return b.positions() <= most; });
    for (int a = 0; a <= kAxes; ++a) copied[a] = length[a] * (a < 2 ? 1 : 2);
  }
};

static inline vec<float> load_lanes(const float* p, int count) {
  return count == kLanes<float> ? vload(p) : vload_first(p, count);
}

// B^T x B of each tile, to[point][tile][channel], `row` elements from tile to tile.
static void transform_windows(const float* from, const Tiling& p, int64_t channels, float* to, int64_t point,
                              int64_t row) {
  constexpr int L = kLanes<float>;
  for (int64_t c = 0; c < channels; c += L) {
    const int count = static_cast<int>(std::min<int64_t>(L, channels - c));
    const auto column = [&](const float* x, vec<float>* t) DLCORE_MAP {
      const vec<float> x0 = load_lanes(x, count), x1 = load_lanes(x + p.row, count),
                       x2 = load_lanes(x + 2 * p.row, count), x3 = load_lanes(x + 3 * p.row, count);
      t[0] = x0 - x2, t[1] = x1 + x2, t[2] = x2 - x1, t[3] = x1 - x3;
    };
    float* put = to + c;
    for (int64_t line = 0; line < p.images * p.rows; ++line) {
      const float* x = from + line / p.rows * p.image + line % p.rows * 2 * p.row + c;
      vec<float> t0[4], t1[4], t2[4], t3[4];
      column(x, t0), column(x + p.place, t1);
      for (int64_t j = 0; j < p.columns; ++j, put += row) {
        x += 2 * p.place;
        column(x, t2), column(x + p.place, t3);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          vstore(put + (4 * i + 0) * point, t0[i] - t2[i]);
          vstore(put + (4 * i + 1) * point, t1[i] + t2[i]);
          vstore(put + (4 * i + 2) * point, t2[i] - t1[i]);
          vstore(put + (4 * i + 3) * point, t1[i] - t3[i]);
          t0[i] = t2[i], t1[i] = t3[i];  // tiles share two columns
        }
      }
    }
  }
}

// G w G^T of `count` elements that lie [tap][element], to[point][element].
static void transform_filters(const float* from, int64_t count, float* to) {
  const vec<float> half = vset(0.5f);
  const auto spread = [&](vec<float> a, vec<float> b, vec<float> c, vec<float>* four) DLCORE_MAP {
    const vec<float> ends = (a + c) * half, middle = b * half;
    four[0] = a, four[1] = ends + middle, four[2] = ends - middle, four[3] = c;
  };
  for (int64_t k = 0; k < count; k += kLanes<float>, from += kLanes<float>, to += kLanes<float>) {
    vec<float> columns[3][4];
#pragma GCC unroll 3
    for (int v = 0; v < 3; ++v)
      spread(vload(from + v * count), vload(from + (3 + v) * count), vload(from + (6 + v) * count), columns[v]);
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      vec<float> row[4];
      spread(columns[0][u], columns[1][u], columns[2][u], row);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) vstore(to + (4 * u + v) * count, row[v]);
    }
  }
}

// Whether the algorithm is worth its transformations, by shapes alone: `cost` multiplications for each tile in place of
// 9 for each position.
static bool takes_winograd(const Axis (&axes)[kAxes], int64_t images, int64_t channels, int64_t lanes, int64_t cost) {
  const auto plain = [](const Axis& a) {
    const bool inside = a.low(0) >= -1 && a.high(a.target) <= a.source + 1;  // no window is mostly padding
    return a.kernel == 3 && a.stride == 1 && a.dilation == 1 && inside;
  };
  const bool plane = axes[0].target == 1 && axes[0].source == 1 && axes[0].kernel == 1;
  const int64_t tiles = ceil_div(axes[1].target, 2) * ceil_div(axes[2].target, 2);
  return plane && plain(axes[1]) && plain(axes[2]) && channels >= kWorthChannels && lanes >= kWorthChannels &&
         images * tiles >= kWorthTiles && cost * tiles <= 9 * axes[1].target * axes[2].target;
}

// Whether no lane has become NaN.
static bool all_zero(vec<float> v) {
  bool zero = true;
  for (int l = 0; l < kLanes<float>; ++l) zero &= v[l] == 0;
  return zero;
}

// conv and its transpose.
struct WinogradGather {
  static constexpr int L = kLanes<float>;
  static constexpr int64_t kCost = 22;  // of a tile

  const Gather<float>& g;
  const Axis axes[kAxes] = {tiled(g.axes[0], 1), tiled(g.axes[1], 2), tiled(g.axes[2], 2)};
  const int64_t high = axes[1].target / 2, wide = axes[2].target / 2;
  const int64_t row = ceil_div(g.channels, L) * L;  // elements of a window at a point

  bool takes() const { return takes_winograd(g.axes, g.target.count, g.channels, g.lanes, kCost); }

  // Whether every result is finite: the general kernel has to compute them anew where not.
  bool run() const {
    Scratch<float> weights(g.groups * kPoints * g.channels * g.padded);
    transform_weights(weights.get());
    const int64_t all = g.groups * g.target.count * high * wide;
    const int64_t wanted = tasks_wanted(kPoints * g.channels * g.lanes * all);
    const int64_t most = kTransformedBytes / (kPoints * row * int64_t{sizeof(float)});
    const TileBoxes boxes(g.target.count, high, wide, std::max(kLeastTiles, std::min(most, all / wanted)));
    const Source<float> shape(g.source, axes, g.channels);
    const int64_t units = boxes.count() * g.groups, tasks = std::min(units, wanted);
    std::atomic<bool> finite{true};
    parallel_for(tasks, [&](int64_t task) {
      const int64_t tiles = boxes.positions(), width = g.panels.width();
      Source<float> from(g.source, axes, g.channels);
      Scratch<float> copy(shape.elements(boxes.copied)), windows(kPoints * point_stride(tiles * row));
      Scratch<float> products(kPoints * point_stride(tiles * width)), results(4 * tiles * width);
      Scratch<int64_t> order(shape.segment(boxes.copied));
      for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; ++unit) {
        const int64_t group = unit % g.groups;
        const Box box = boxes[unit / g.groups];
        from.fill(g.x + group * g.channels * g.source.channel, positions_of(box, 2 * high, 2 * wide), copy.get(),
                  order.get());
        const Tiling tiling(box, from);
        transform_windows(from.data, tiling, g.channels, windows.get(), point_stride(tiles * row), row);
        for (int64_t panel = 0; panel < g.panels.count(); ++panel) {
          multiply(windows.get(), point_stride(tiles * row), tiling.count(), weights.get(), group, panel,
                   products.get(), point_stride(tiles * width));
          if (!store_tiles(products.get(), point_stride(tiles * width), tiling, box, group, panel, results.get()))
            finite = false;
        }
      }
    });
    return finite;
  }

  // G w G^T as [panel][point][channel][lane].
  void transform_weights(float* to) const {
    Scratch<float> packed(g.groups * g.depth * g.padded);
    g.pack(packed.get());
    const int64_t panels = g.panels.count(), grain = (1 << 13) / (g.channels * g.panels.width()) + 1;
    parallel_ranges(g.groups * panels, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t panel = i % panels, at = (i / panels * g.padded + panel * g.panels.width()) * g.channels;
        const int64_t width = g.panels.vectors_of(panel) * L;
        transform_filters(packed.get() + at * g.taps, g.channels * width, to + at * kPoints);
      }
    });
  }

  void multiply(const float* windows, int64_t read, int64_t tiles, const float* weights, int64_t group, int64_t panel,
                float* products, int64_t made) const {
    const int vectors = g.panels.vectors_of(panel), width = vectors * L;
    const Run channels{0, g.channels, 0, 0};
    const float* weight = weights + (group * g.padded + panel * g.panels.width()) * kPoints * g.channels;
    for (int point = 0; point < kPoints; ++point) {
      run_rows(RunTile<float>{windows + point * read, row, 1, &channels, 1, weight + point * g.channels * width,
                              products + point * made, width, false}, tiles, vectors);
    }
  }

  // A^T [...] A of the tiles of a panel, and what follows; whether all are finite.
  bool store_tiles(const float* products, int64_t point, const Tiling& p, const Box& tiles, int64_t group,
                   int64_t panel, float* rows) const {
    const int width = g.panels.vectors_of(panel) * L;
    const int64_t first = group * g.lanes + panel * g.panels.width();
    const Box box = positions_of(tiles, g.target.size[1], g.target.size[2]);
    const auto to = g.results_of(box, rows, first, g.panels.columns(panel), width);
    vec<float> zero{};  // or NaN
    for (int lane = 0; lane < width; lane += L) {
      const float* from = products + lane;
      for (int64_t line = 0; line < p.images * p.rows; ++line) {
        const int64_t i = 2 * (line % p.rows);
        float* put = to.at + line / p.rows * to.stride[0] + i * to.stride[2] + lane;
        for (int64_t j = 0; j < box.length(3); j += 2, from += width, put += 2 * to.stride[3]) {
          vec<float> upper[4], lower[4];
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) {
            const vec<float> m0 = vload(from + v * point), m1 = vload(from + (4 + v) * point),
                             m2 = vload(from + (8 + v) * point), m3 = vload(from + (12 + v) * point);
            upper[v] = m0 + (m1 + m2), lower[v] = (m1 - m2) - m3;
          }
          const auto store_two = [&](const vec<float>* m, float* at) DLCORE_MAP {
            const vec<float> left = m[0] + (m[1] + m[2]), right = (m[1] - m[2]) - m[3];
            zero = vfma(right, vec<float>{}, vfma(left, vec<float>{}, zero));
            vstore(at, left);
            if (j + 1 < box.length(3)) vstore(at + to.stride[3], right);
          };
          store_two(upper, put);
          if (i + 1 < box.length(2)) store_two(lower, put + to.stride[2]);
        }
      }
    }
    g.finish(box, panel, first, to, rows);
    return all_zero(zero);
  }
};
