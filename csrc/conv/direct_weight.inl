// The gradient of a direct convolution to its weights: for every output o and tap k of a group,
//
//   dweight[o, k] = sum over images and positions p of dout[o, p] x[p at k]
//
// Positions are the lanes. A tile keeps the sums of Q outputs x N taps in registers and goes through the bands of many
// images: Q + N loads for Q N multiply-adds (8 x 3: 11 for 24). dout is copied into rows as far apart as those of x,
// with zeros where a position is none; so x must be finite there, which is found out first, and bands where it is not
// are summed position by position. Images fall into parts by shapes alone, each with sums of its own, added in order.

constexpr int kPartsMost = 16;  // sums of each weight

template <class T> struct WeightTile {
  const T *dout, *x;
  const int64_t* offsets;            // of the taps
  int64_t dout_row;                  // from one output to the next
  int64_t bands, dout_band, x_band;  // how many, and from one to the next
  int64_t vectors;
  T* sums;  // [Q][sums_row]: added to; of one element each, or of a vector
  int64_t sums_row;
};

// The lanes of a vector in a fixed tree.
template <class T> static inline T add_lanes(vec<T> v) {
  T lane[kLanes<T>];
  vstore(lane, v);
  for (int width = kLanes<T> / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}
#if DLCORE_ISA == 4
template <> inline float add_lanes<float>(vec<float> v) {
  float lane[16];
  vstore(lane, v);
  const __m256 a = _mm256_loadu_ps(lane) + _mm256_loadu_ps(lane + 8);
  const __m128 b = _mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1), c = b + _mm_movehl_ps(b, b);
  return c[0] + c[1];
}
#endif

template <class T, int Q, int N, bool kVectors> static void weight_tile(const WeightTile<T>& t) {
  constexpr int L = kLanes<T>;
  T* sums = t.sums;
  const int64_t sums_row = t.sums_row, row = t.dout_row;
  vec<T> sum[Q][N] = {};
  if constexpr (kVectors) {
#pragma GCC unroll 16
    for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) sum[q][n] = vload(sums + q * sums_row + n * L);
    }
  }
  for (int64_t b = 0; b < t.bands; ++b) {
    const T *x[N], *dout[(Q + 2) / 3];  // one pointer for three outputs: base + {0, 1, 2} strides are addressing modes
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) x[n] = t.x + b * t.x_band + t.offsets[n];
#pragma GCC unroll 16
    for (int q = 0; q < Q; q += 3) dout[q / 3] = t.dout + b * t.dout_band + q * row;
    for (int64_t v = 0; v < t.vectors * L; v += L) {
      vec<T> value[N];
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) value[n] = vload(x[n] + v);
#pragma GCC unroll 16
      for (int q = 0; q < Q; ++q) {
        vec<T> d = vload(dout[q / 3] + q % 3 * row);
#if DLCORE_ISA == 4
        asm("" : "+v"(d));  // or it is loaded anew for each multiply-add, and loads are what bounds the tile
#endif
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) sum[q][n] = vfma(d, value[n], sum[q][n]);
      }
#pragma GCC unroll 16
      for (int q = 0; q < Q; q += 3) dout[q / 3] += L;
    }
  }
#pragma GCC unroll 16
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      if constexpr (kVectors) vstore(sums + q * sums_row + n * L, sum[q][n]);
      else sums[q * sums_row + n] += add_lanes<T>(sum[q][n]);
    }
  }
}

template <class T> using WeightTileFunction = void (*)(const WeightTile<T>&);
constexpr int kMostTaps = 9;
constexpr int kTapsOf[4] = {kMostTaps, DLCORE_ISA == 4 ? 6 : 5, DLCORE_ISA == 4 ? 5 : 3, 3};  // of 1 << i outputs

template <class T> struct WeightTiles {
  WeightTileFunction<T> of[kOutputSizes][kMostTaps] = {};
};
template <class T, bool kVectors, int I, int... N>
constexpr void set_weight_tiles(WeightTiles<T>& tiles, std::integer_sequence<int, N...>) {
  ((tiles.of[I][N] = weight_tile<T, 1 << I, N + 1, kVectors>), ...);
}
template <class T, bool kVectors, int... I>
constexpr WeightTiles<T> make_weight_tiles(std::integer_sequence<int, I...>) {
  WeightTiles<T> tiles;
  (set_weight_tiles<T, kVectors, I>(tiles, std::make_integer_sequence<int, kTapsOf[I]>()), ...);
  return tiles;
}
template <class T, bool kVectors>
constexpr WeightTiles<T> kWeightTiles = make_weight_tiles<T, kVectors>(std::make_integer_sequence<int, kOutputSizes>());

template <class T> struct WeightSums;
template <class T> static bool run_depthwise(const WeightSums<T>& sums);
template <class T> static bool run_images(const WeightSums<T>& sums);

template <class T> struct WeightSums {
  static constexpr int L = kLanes<T>;

  const Images source, output;
  const Axis y, x;
  const int64_t groups, in, out;
  const T *from, *dout;
  T* to;

  const Bands bands = cut_bands(y, x, in, 1);
  const Copies copies{y, x, bands};
  const int64_t vectors = ((bands.rows - 1) * copies.width + bands.columns + L - 1) / L;
  const int64_t units = source.count * bands.count(), taps = in * y.kernel * x.kernel;
  const int64_t x_band = copies.elements(in) + 2 * L, dout_row = vectors * L, dout_band = out * dout_row;
  const int64_t parts = cut_parts();
  // Bands in a tile: eight outputs of dout in half of the first cache. Of many groups few, to read memory in its order.
  const int64_t together =
      std::max<int64_t>(1, (groups > 1 ? 512 : 4096) / (dout_row * std::min<int64_t>(out, 8)));
  std::vector<int64_t> offsets = {};

  int64_t cut_parts() const {
    const int64_t work = units * bands.rows * copies.width * out * taps * groups;
    int64_t n = 1;
    while (n < kPartsMost && 2 * n <= units && work / (2 * n) > kPartWork / 2) n *= 2;
    return n;
  }

  void run() {
    if (run_depthwise(*this) || run_images(*this)) return;
    for (int64_t i = 0; i < in; ++i) {
      for (const AxisTap& a : y.taps[0]) {
        for (const AxisTap& b : x.taps[0]) {
          const int64_t plane = i * copies.phases() + a.phase * static_cast<int64_t>(x.phases.size()) + b.phase;
          offsets.push_back(plane * copies.size + a.shift * copies.width + b.shift);
        }
      }
    }
    const int64_t work = units / parts * bands.rows * copies.width * out * taps, blocks = (groups + 15) / 16;
    Scratch<T> sums(parts * groups * out * taps);
    const int64_t grain = std::max<int64_t>(1, kPartWork / (work * std::min<int64_t>(groups, 16) + 1));
    parallel_ranges(parts * blocks, grain, [&](int64_t begin, int64_t end) {
      Scratch<T> read(together * x_band), given(together * dout_band);
      std::vector<int64_t> zeroed(static_cast<size_t>(together), -1);  // the bands that zeros are around
      for (int64_t item = begin; item < end; ++item) {
        const int64_t part = item / blocks, first = units * part / parts, last = units * (part + 1) / parts;
        const int64_t g0 = item % blocks * 16, g1 = std::min(g0 + 16, groups);
        T* own = sums.get() + part * groups * out * taps;
        for (int64_t k = g0 * out * taps; k < g1 * out * taps; ++k) own[k] = T(0);
        for (int64_t u = first; u < last; u += together) {
          const int64_t until = std::min(u + together, last);
          for (int64_t g = g0; g < g1; ++g) {  // as they lie in memory, where bands are taken one by one
            add_bands(g, u, until, read.get(), given.get(), zeroed.data(), own + g * out * taps);
          }
        }
      }
    });
    add_parts(sums.get(), parts);
  }

  // The gradient from `count` sums of every weight.
  void add_parts(T* sums, int64_t count) const {
    const int64_t size = groups * out * taps;
    parallel_ranges(size, int64_t{1} << 14, [&](int64_t begin, int64_t end) {
      for (int64_t p = 1; p < count; ++p) {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) sums[k] += sums[p * size + k];
      }
      store_block(to + begin, sums + begin, end - begin);
    });
  }

 private:
  // dout of a band in rows as far apart as those of the copies of x; between them are zeros.
  void fill_dout(T* rows, int64_t n, int64_t g, const Band& band) const {
    const T* first = dout + n * output.image + g * out * output.plane + band.y0 * output.row + band.x0 * output.pixel;
    const int64_t columns = band.x1 - band.x0;
    for (int64_t o = 0; o < out; ++o) {
      T* row = rows + o * dout_row;
      for (int64_t r = band.y0; r < band.y1; ++r, row += copies.width) {
        copy_line(row, first + o * output.plane + (r - band.y0) * output.row, output.pixel, columns);
      }
    }
  }

  void add_bands(int64_t g, int64_t begin, int64_t end, T* read, T* given, int64_t* zeroed, T* sums) const {
    T zero = 0;
    for (int64_t u = begin; u < end; ++u) {
      const int64_t n = u / bands.count();
      const Band band = bands[u % bands.count()];
      T *copy = read + (u - begin) * x_band, *rows = given + (u - begin) * dout_band;
      if (zeroed[u - begin] != u % bands.count()) {
        zero_line(copy, copies.elements(in) + L);
        zero_line(rows, dout_band);
        zeroed[u - begin] = u % bands.count();
      }
      const T* first = from + n * source.image + g * in * source.plane;
      for (int64_t i = 0; i < in; ++i) copies.fill(copy + copies.elements(i), first + i * source.plane, source, band);
      zero += not_finite(copy);
      fill_dout(rows, n, g, band);
    }
    if (zero != T(0)) return add_places(begin, end, read, given, sums);
    for (int64_t o = 0; o < out;) {
      const int size = output_size(out - o);
      WeightTile<T> tile{given + o * dout_row, read, offsets.data(), dout_row, end - begin, dout_band, x_band, vectors,
                         sums + o * taps, taps};
      for (int64_t k = 0; k < taps;) {
        const int64_t count = std::min<int64_t>(kTapsOf[size], taps - k);
        kWeightTiles<T, false>.of[size][count - 1](tile);
        tile.offsets += count, tile.sums += count, k += count;
      }
      o += 1 << size;
    }
  }

  // 0, or NaN where an element of a band is not finite.
  T not_finite(const T* copy) const {
    vec<T> sum{};
    for (int64_t i = 0; i < x_band - L; i += L) sum += vload(copy + i) * T(0);
    return add_lanes<T>(sum);
  }

  // The same, position by position.
  void add_places(int64_t begin, int64_t end, const T* read, const T* given, T* sums) const {
    for (int64_t u = begin; u < end; ++u) {
      const Band band = bands[u % bands.count()];
      for (int64_t o = 0; o < out; ++o) {
        for (int64_t k = 0; k < taps; ++k) {
          const T* x_at = read + (u - begin) * x_band + offsets[static_cast<size_t>(k)];
          const T* dout_at = given + (u - begin) * dout_band + o * dout_row;
          T sum = 0;
          for (int64_t r = 0; r < band.y1 - band.y0; ++r) {
            for (int64_t c = 0; c < band.x1 - band.x0; ++c) {
              const int64_t at = r * copies.width + c;
              sum = fma_(dout_at[at], x_at[at], sum);
            }
          }
          sums[o * taps + k] += sum;
        }
      }
    }
  }
};

template <class T> static void weight_gradient(const Args& a) {
  const Array &x = a.in(0), &dout = a.in(1), &dw = a.out(0);
  const bool last = a.integer(0) == 1;
  const int64_t groups = a.integer(1);
  const Images source(x, last), output(dout, last);
  const Steps sy(a, 3, x.ndim - 2, 0), sx(a, 3, x.ndim - 2, 1);
  if (dw.size() == 0) return;
  WeightSums<T>{source, output,
                forward_axis(source.height, output.height, kernel_length(dw, 0), sy.stride, sy.before, sy.dilation),
                forward_axis(source.width, output.width, kernel_length(dw, 1), sx.stride, sx.before, sx.dilation),
                groups, source.planes / groups, output.planes / groups, x.as<T>(), dout.as<T>(), dw.as<T>()}.run();
}
