// The gradient of the weight with images as lanes, as in direct_images.inl: x and dout of L images are transposed, a
// band of rows at a time, and a tile of direct_weight.inl goes through all of it. Its sums are vectors, a lane for each
// image, which are added up when they have been through kImageChain positions. Of x there are zeros around the planes.
//
// Microseconds of float32 on two cores of a Zen 4, 3 x 3, lanes of positions -> lanes of images, NCHW, NHWC:
//   64 images,  1 ->  8 channels of 28 x 28        63 ->  58     148 ->  56
//   64 images,  8 ->  8 channels of 28 x 28       380 -> 341     539 -> 325
//   64 images, 16 ->  8 channels of 32 x 32      1019 -> 951    1336 -> 884
//   16 images, 8 groups of 8 of 28 x 28           804 -> 827    1247 -> 957
//   128 images, 1 -> 6 channels of 28 x 28, 5 x 5 252 -> 197     400 -> 224
// Cutting a band into tiles of 48 positions, so that they stay in the first cache, cost a sixth: sums are read and
// written more often.
constexpr int64_t kImageChain = 512;    // products that a lane sums at least, where there are more

template <class T> struct ImageSums {
  static constexpr int L = kLanes<T>;

  const WeightSums<T>& p;
  const int64_t blocks = (p.source.count + L - 1) / L, width = p.output.width, wide = width + p.x.reach;
  const int64_t apart = std::max<int64_t>(1, 8 / blocks);
  const int64_t rows = std::max<int64_t>(1, std::min((p.output.height + apart - 1) / apart, most_rows(p)));
  const int64_t bands = (p.output.height + rows - 1) / rows, lines = rows + p.y.reach;
  const int64_t parts = cut_parts();
  std::vector<int64_t> offsets = {};

  static bool take(const WeightSums<T>& p) {
    const bool narrow = p.source.pixel != 1 || 16 * p.x.reach >= p.output.width;
    const int64_t n = p.source.count, empty = (n + L - 1) / L * L - n;
    if (p.x.step * p.y.step != 1 || n == 0 || 8 * empty > n || p.in * p.out == 1) return false;
    return narrow && most_rows(p) > 2 * p.y.reach;
  }
  static int64_t most_rows(const WeightSums<T>& p) {  // of a band, so that its copies stay in the second cache
    const int64_t line = p.in * (p.output.width + p.x.reach) + p.out * p.output.width;
    return 2 * kImageSource / (line * L * int64_t{sizeof(T)} + 1) - p.y.reach;
  }
  int64_t cut_parts() const {
    const int64_t units = blocks * bands, work = units * rows * width * L * p.out * p.taps * p.groups;
    int64_t n = 1;
    while (n < kPartsMost && 2 * n <= units && work / (2 * n) > kPartWork / 2) n *= 2;
    return n;
  }

  void run() {
    for (int64_t i = 0; i < p.in; ++i) {
      for (const AxisTap& a : p.y.taps[0]) {
        for (const AxisTap& b : p.x.taps[0]) offsets.push_back(((i * lines + a.shift) * wide + b.shift) * L);
      }
    }
    const int64_t units = blocks * bands, size = p.out * p.taps;
    const int64_t work = units / parts * rows * width * L * size;
    Scratch<T> sums(parts * p.groups * size);
    parallel_ranges(parts * p.groups, std::max<int64_t>(1, kPartWork / (work + 1)), [&](int64_t begin, int64_t end) {
      Scratch<T> read(p.in * lines * wide * L), given(p.out * rows * width * L), lanes(size * L);
      zero_line(read.get(), p.in * lines * wide * L);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t part = item / p.groups, g = item % p.groups;
        T* own = sums.get() + item * size;
        std::fill_n(own, size, T(0));
        zero_line(lanes.get(), size * L);
        int64_t chain = 0;
        for (int64_t u = units * part / parts; u < units * (part + 1) / parts; ++u) {
          const int64_t y0 = u % bands * rows, y1 = std::min(y0 + rows, p.output.height);
          copy(u / bands, g, y0, y1, read.get(), given.get());
          add(y1 - y0, read.get(), given.get(), lanes.get());
          chain += (y1 - y0) * width;
          if (chain >= kImageChain) add_up(lanes.get(), own), chain = 0;
        }
        add_up(lanes.get(), own);
      }
    });
    p.add_parts(sums.get(), parts);
  }

 private:
  // Rows [y0, y1) of dout, and what they read of x; zeros in lanes of no image and around the planes.
  void copy(int64_t block, int64_t g, int64_t y0, int64_t y1, T* read, T* given) const {
    if ((block + 1) * L > p.source.count) {
      zero_line(read, p.in * lines * wide * L);
      zero_line(given, p.out * rows * width * L);
    }
    gather_places(p.output, p.dout, block, g * p.out, p.out, y0, y1 - y0, given, rows * width);
    const int64_t top = y0 + p.y.origin, until = y1 + p.y.origin + p.y.reach;
    const int64_t first = std::clamp<int64_t>(0, top, until), last = std::clamp<int64_t>(p.source.height, first, until);
    T* to = read + ((first - top) * wide - p.x.origin) * L;
    if (wide == p.source.width) {
      gather_places(p.source, p.from, block, g * p.in, p.in, first, last - first, to, lines * wide);
    } else {
      for (int64_t y = first; y < last; ++y, to += wide * L) {
        gather_places(p.source, p.from, block, g * p.in, p.in, y, 1, to, lines * wide);
      }
    }
    for (int64_t i = 0; i < p.in; ++i) {
      T* plane = read + i * lines * wide * L;
      zero_line(plane, (first - top) * wide * L);
      zero_line(plane + (last - top) * wide * L, (until - last) * wide * L);
    }
  }

  void add(int64_t count, const T* read, const T* given, T* lanes) const {
    for (int64_t o = 0; o < p.out;) {
      const int size = output_size(p.out - o);
      WeightTile<T> tile{given + o * rows * width * L, read, offsets.data(), rows * width * L, count, width * L,
                         wide * L, width, lanes + o * p.taps * L, p.taps * L};
      for (int64_t k = 0; k < p.taps;) {
        const int64_t n = std::min<int64_t>(kTapsOf[size], p.taps - k);
        kWeightTiles<T, true>.of[size][n - 1](tile);
        tile.offsets += n, tile.sums += n * L, k += n;
      }
      o += int64_t{1} << size;
    }
  }

  void add_up(T* lanes, T* sums) const {
    for (int64_t k = 0; k < p.out * p.taps; ++k) {
      sums[k] += add_lanes<T>(vload(lanes + k * L));
      vstore(lanes + k * L, vec<T>{});
    }
  }
};

template <class T> static bool run_images(const WeightSums<T>& p) {
  if (!ImageSums<T>::take(p)) return false;
  ImageSums<T>{p}.run();
  return true;
}
