// Depthwise convolutions of wide planes without a stride: several rows of results at a time.
//
//   target[n, c, y, x] = activation(bias[c] + sum over taps (a, b) of weights[c, a, b] source[n, c, y + a, x + b])
//
// A tap has one multiply-add for each vector that it loads, and one that begins anywhere costs two accesses to the
// cache: loads bound a tile of one row. Four or eight rows share them: 3 x 3 taps take 30 loads for 72 multiply-adds,
// 7 x 7 ones 70 for 196. Lines of the source are copied once, with zeros around them, and so that its first column is
// aligned. A last tile that is not full goes over some of the results before it again: nothing is written beyond a row.
// Every result is one chain of multiply-adds in the order of the taps, as in a tile of direct_tiles.inl.
//
// Bound by memory: 8 bytes for 18 operations at 3 x 3. On one core of a Zen 4, float32, 3 x 3, output / gradient of the
// input, with a tile of one row and here: 64 x 16 planes of 32 x 32 864 / 856 -> 389 / 426 us (22 GB/s), 64 x 64 of
// 16 x 16, with channels as lanes before, 565 / 574 -> 473 / 507.

constexpr int kRowsTogether = 4;
constexpr int kRowVectors = DLCORE_ISA == 4 ? 4 : 2;  // of a tile: sums, loads and 9 weights fit into registers
constexpr int64_t kRowCopy = int64_t{1} << 15;        // bytes of a copy, where planes can be cut to so much

template <class T> struct RowTile {
  const T* x;              // what the first tap of the first row reads
  int64_t line;            // from there to the next line of the copy
  const int64_t* columns;  // offsets of the taps of a line
  int64_t height, width;   // of the kernel
  const T* weights;
  T bias;
  T* out;
  int64_t row;  // from one row of results to the next
};

// K: height and width of the kernel where the compiler is to know them, or 0; then there are R lines at least.
template <class T, int R, int V, int K> static void row_tile(const RowTile<T>& t) {
  constexpr int L = kLanes<T>;
  const int height = K ? K : static_cast<int>(t.height), width = K ? K : static_cast<int>(t.width);
  const T *x = t.x, *weights = t.weights;
  vec<T> sum[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sum[r][v] = vset(t.bias);
  }
  // Line j of the source, which rows [first, last) read: row r for the taps of line j - r of the kernel.
  const auto add_line = [&]<int first, int last>(int j) DLCORE_MAP {
    for (int b = 0; b < width; ++b) {
      const T* at = x + t.columns[b];
      vec<T> value[V];
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) value[v] = vload(at + v * L);
#pragma GCC unroll 16
      for (int r = first; r < last; ++r) {
        const vec<T> factor = vset(weights[(j - r) * width + b]);
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) sum[r][v] = vfma(factor, value[v], sum[r][v]);
      }
    }
    x += t.line;
  };
  [&]<int... J>(std::integer_sequence<int, J...>) DLCORE_MAP {
    if constexpr (K > 0) {
      (add_line.template operator()<std::max(0, J - K + 1), std::min(J + 1, R)>(J), ...);
    } else {
      ((J < R - 1 ? add_line.template operator()<0, std::min(J + 1, R)>(J) : void()), ...);
      for (int j = R - 1; j < height; ++j) add_line.template operator()<0, R>(j);
      ((J < R - 1 ? add_line.template operator()<std::min(J + 1, R - 1), R>(height + J) : void()), ...);
    }
  }(std::make_integer_sequence<int, R + K - 1>());
  T* out = t.out;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r, out += t.row) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) vstore(out + v * L, sum[r][v]);
  }
}

template <class T> using RowTileFunction = void (*)(const RowTile<T>&);
template <class T, int R, int K, int... V>
static RowTileFunction<T> row_tile_of(int vectors, std::integer_sequence<int, V...>) {
  static constexpr RowTileFunction<T> of[] = {row_tile<T, R, V + 1, K>...};
  return of[vectors - 1];
}

// How many rows to take together, and their tile.
template <class T> struct RowTiles {
  int64_t rows;
  RowTileFunction<T> run;

  RowTiles(int64_t height, int64_t width, int64_t count, int vectors) {
    constexpr auto all = std::make_integer_sequence<int, kRowVectors>();
    constexpr auto narrow = std::make_integer_sequence<int, kRowVectors / 2>();
    const bool three = height == 3 && width == 3;
    if (three && count >= 2 * kRowsTogether && vectors <= kRowVectors / 2)
      rows = 2 * kRowsTogether, run = row_tile_of<T, 2 * kRowsTogether, 3>(vectors, narrow);
    else if (three && count >= kRowsTogether)
      rows = kRowsTogether, run = row_tile_of<T, kRowsTogether, 3>(vectors, all);
    else if (height >= kRowsTogether && count >= kRowsTogether)
      rows = kRowsTogether, run = row_tile_of<T, kRowsTogether, 0>(vectors, all);
    else
      rows = 1, run = row_tile_of<T, 1, 0>(vectors, all);
  }
};

template <class T> struct DepthwiseRows {
  static constexpr int L = kLanes<T>;

  const Planes<T>& p;
  const int64_t height = p.y.positions(), width = p.x.positions();  // of the target
  const int64_t lead = (p.x.origin % L + L) % L;                    // so that the first column of the source is aligned
  const int64_t pitch = (lead + width + p.x.reach + L - 1) / L * L;
  const int64_t most = kRowCopy / (pitch * int64_t{sizeof(T)}) - p.y.reach;
  const int64_t rows = std::min(height, std::max<int64_t>(kRowsTogether, most));
  const int64_t bands = (height + rows - 1) / rows;
  const int64_t taps = p.y.kernel * p.x.kernel;
  std::vector<int64_t> columns = {};  // offsets of the taps of a line

  // Whether the rows of a kernel follow each other on the lines of the source, downwards or upwards.
  static bool take(const Planes<T>& p) {
    const bool strided = p.x.step * p.x.spread * p.y.step * p.y.spread != 1;
    if (p.in != 1 || p.out != 1 || p.source.pixel != 1 || strided) return false;
    return p.x.positions() >= L && p.y.reach == p.y.kernel - 1;
  }

  void run() {
    for (const AxisTap& tap : p.x.taps[0]) columns.push_back(tap.shift);
    const int64_t work = rows * width * taps, grain = std::max<int64_t>(1, kPartWork / (work + 1));
    const auto store = with_activation(p.activation, [](auto a) -> void (*)(const Stored<T>&) {
      return store_plane<decltype(a), T>;
    });
    parallel_ranges(p.source.count * p.groups * bands, grain, [&](int64_t begin, int64_t end) {
      Scratch<T> copy((rows + p.y.reach) * pitch), sums(rows * width + L), weights(taps);
      zero_line(copy.get(), (rows + p.y.reach) * pitch);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t plane = item / bands, c = plane % p.groups;
        const int64_t first = height * (item % bands) / bands, last = height * (item % bands + 1) / bands;
        fill(copy.get(), p.from + plane * p.source.plane, first, last - first + p.y.reach);
        for (int64_t k = 0; k < taps; ++k) weights[k] = p.weights[c * taps + k];
        const int64_t at = plane * p.target.plane + first * p.target.row;
        if (!p.pre && p.activation == Activation::none) {
          compute(copy.get(), weights.get(), c, last - first, p.to + at);
          continue;
        }
        compute(copy.get(), weights.get(), c, last - first, sums.get());
        store({sums.get(), width, last - first, width, p.to + at, p.pre ? p.pre + at : nullptr, p.target.row, 1, 0});
      }
    });
  }

 private:
  // `count` lines of a plane, the first one at row `first` of the target. Around them are zeros already.
  void fill(T* copy, const T* from, int64_t first, int64_t count) const {
    const int64_t x0 = std::min(std::max<int64_t>(0, p.x.origin), p.source.width);
    const int64_t x1 = std::clamp(p.x.origin + width + p.x.reach, x0, p.source.width);
    T* to = copy + lead + x0 - p.x.origin;
    if (x0 == x1) return;
    for (int64_t y = first + p.y.origin; count > 0; ++y, --count, to += pitch) {
      if (y < 0 || y >= p.source.height) std::fill_n(to, x1 - x0, T(0));
      else copy_line(to, from + y * p.source.row + x0, 1, x1 - x0);
    }
  }

  // Of a tile: as few as can be computed twice, or else as many as there may be.
  int64_t vectors() const {
    int64_t best = 1;
    const auto all = [&](int64_t v) { return (width + v * L - 1) / (v * L) * v; };
    for (int64_t v = 2; v <= std::min<int64_t>(kRowVectors, width / L); ++v) best = all(v) <= all(best) ? v : best;
    return best;
  }

  void compute(const T* copy, const T* weights, int64_t channel, int64_t count, T* out) const {
    const int64_t v = vectors();
    const bool upwards = p.y.taps[0][0].shift != 0;
    const RowTiles<T> tiles(p.y.kernel, p.x.kernel, count, static_cast<int>(v));
    RowTile<T> tile{nullptr, upwards ? -pitch : pitch, columns.data(), p.y.kernel, p.x.kernel, weights,
                    p.bias ? p.bias[channel] : T(0), nullptr, upwards ? -width : width};
    for (int64_t r = 0; r < count; r += tiles.rows) {
      const int64_t row = std::min(r, count - tiles.rows) + (upwards ? tiles.rows - 1 : 0);  // the tile's first one
      for (int64_t j = 0; j < width; j += v * L) {
        const int64_t column = std::min(j, width - v * L);
        tile.x = copy + (row + (upwards ? p.y.reach : 0)) * pitch + lead + column;
        tile.out = out + row * width + column;
        tiles.run(tile);
      }
    }
  }
};
