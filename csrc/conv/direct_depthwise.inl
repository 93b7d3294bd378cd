// Depthwise convolutions of planes that are not large: lanes are channels, L of them at a time.
//
// Planes are transposed once, so that the channels of a place lie side by side, with zeros around them; of NHWC places
// are copied as they are. Then every result is a chain of multiply-adds in the order of the taps, as in a tile of
// direct_tiles.inl, at any stride and with no lane or position computed for nothing: K multiply-adds for L results. A
// position costs two transpositions of a vector, about K / 2 multiply-adds at 3 x 3. Small planes gain most, of which a
// band each has more to prepare than to compute. The gradient of the weight is the same walk with a sum for each tap,
// in the compute type for some rows of an image, then in double; images fall into parts by shapes alone.
//
// A step of training finds images in memory, not in a cache, with 8 bytes for 18 operations at 3 x 3: what will be read
// next is fetched ahead. Microseconds of float32, 3 x 3, 64 images in no cache, two cores of a Zen 4 (read: 36 GB/s),
// without it and with it; output, gradient of the input, of the weight:
//                                    NCHW                                  NHWC
//   16 channels of 32 x 32           by rows               365 -> 357      286 -> 237   286 -> 232   371 -> 274
//   32 of 32 x 32 at stride 2        381 -> 402 455 -> 416 463 -> 491      532 -> 399   243 -> 195   616 -> 451
//   64 of 16 x 16                    by rows               578 -> 328      362 -> 219   336 -> 220   546 -> 270
//   64 of 16 x 16 at stride 2        298 -> 166 197 -> 192 340 -> 287      257 -> 130    85 ->  89   324 -> 203
//   128 of 8 x 8                     280 -> 210 260 -> 211 435 -> 224      188 -> 129   193 -> 120   317 -> 165
// Paced by positions: a row's lines at once cost a fifth of what it gains for the weight.

constexpr int64_t kLanePlane = int64_t{1} << 16;  // elements of a copy at most: 256 KiB of floats, in the second cache
constexpr int64_t kLanePlaces = 768;              // of a plane in NCHW without a stride, at most
constexpr int64_t kLaneChain = 256;               // products that are added in the compute type

// What the next item reads of images, or writes, fetched into the second cache while this one is computed, evenly. A
// block of channels is a stretch of memory in NCHW; with channels last it is worth a share of the next image. Without
// it a core waits for each line that is in memory only: caches foresee neither such short stretches nor every fourth
// line.
template <class T> struct Ahead {
  static constexpr int64_t kLine = 64;  // bytes

  const char* from;
  int64_t share;  // bytes for each position

  Ahead(const Images& images, const T* first, int64_t n, int64_t block, int64_t positions) {
    const int64_t length = kLanes<T> * images.height * images.width;
    const int64_t next = n * images.image + block * length + (images.pixel == 1 ? length : images.image);
    from = reinterpret_cast<const char*>(first) + next * int64_t{sizeof(T)};
    share = (length * int64_t{sizeof(T)} / positions + kLine - 1) / kLine * kLine;
  }
  void fetch(int64_t position, int64_t count) const {  // beyond the last image, too, where it is without effect
    for (int64_t i = 0; i < count * share; i += kLine) __builtin_prefetch(from + position * share + i, 0, 2);
  }
};

// Planes of one axis as a copy has them: `length` places from `origin` on, the taps of a phase at places of their own.
struct LaneAxis {
  const Axis& axis;
  int64_t length = 0;

  explicit LaneAxis(const Axis& a) : axis(a) {
    for (const AxisTaps& taps : a.taps) {
      for (const AxisTap& tap : taps) length = std::max(length, (a.positions() - 1) * a.step + place(tap) + 1);
    }
  }
  int64_t place(const AxisTap& tap) const {
    return tap.shift * axis.step + axis.phases[static_cast<size_t>(tap.phase)];
  }
  int64_t first() const { return std::min(std::max<int64_t>(0, axis.origin), axis.source); }  // copied of the source
  int64_t last() const { return std::max(first(), std::min(axis.source, axis.origin + length)); }
};

template <class T> struct Lanes {
  static constexpr int L = kLanes<T>;
  const LaneAxis y, x;
  const int64_t channels;

  Lanes(const Axis& down, const Axis& across, int64_t c) : y(down), x(across), channels(c) {}
  // Whether this is the way. Planes of many places without a stride are walked as well row by row.
  static bool take(const Images& source, const Images& target, const Axis& y, const Axis& x, int64_t groups,
                   int64_t most) {
    const int64_t positions = std::max(source.height * source.width, target.height * target.width);
    const int64_t copied = LaneAxis(y).length * LaneAxis(x).length;
    const bool strided = y.step * x.step * y.spread * x.spread > 1;
    return groups == source.planes && groups == target.planes && 2 * groups >= L &&
           std::max(positions, copied) * L <= kLanePlane && (strided || source.pixel != 1 || positions <= most);
  }
  int64_t blocks() const { return (channels + L - 1) / L; }
  int64_t width(int64_t block) const { return std::min<int64_t>(L, channels - block * L); }
  int64_t elements() const { return y.length * x.length * L; }

  // Where tap (a, b) reads, from the place that position (0, 0) begins at.
  int64_t offset(const AxisTap& a, const AxisTap& b) const { return (y.place(a) * x.length + x.place(b)) * L; }

  // A transposition goes by bits, which are read back as vectors.
  using Bits = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  static void transpose(T* to, int64_t row, int64_t ni, const T* from, int64_t column, int64_t nj) {
    transpose_strip(reinterpret_cast<Bits*>(to), row, ni, reinterpret_cast<const Bits*>(from), column, nj);
  }

  // L channels of all places of an image, side by side; those that there are.
  static void gather(const Images& images, const T* from, int64_t count, T* to) {
    const int64_t positions = images.height * images.width;
    if (images.pixel == 1) return transpose(to, L, count, from, images.plane, positions);
    for (int64_t p = 0; p < positions; ++p) {
      vstore(to + p * L, count == L ? vload(from + p * images.pixel)
                                    : vload_first(from + p * images.pixel, static_cast<int>(count)));
    }
  }
  static void scatter(const Images& images, const T* from, int64_t count, T* to) {
    const int64_t positions = images.height * images.width;
    if (images.pixel == 1) return transpose(to, images.plane, positions, from, L, count);
    for (int64_t p = 0; p < positions; ++p) {
      if (count == L) vstore(to + p * images.pixel, vload(from + p * L));
      else vstore_first(to + p * images.pixel, vload(from + p * L), static_cast<int>(count));
    }
  }

  // Whether places can be read and written in the images themselves, a vector each.
  static bool lies_right(const Images& images, int64_t count) { return images.pixel != 1 && count == L; }

  // The copy of an image's channels with zeros around it, which must be there already. `room`: for all its places.
  void copy(const Images& source, const T* from, int64_t count, T* room, T* to) const {
    const int64_t columns = x.last() - x.first();
    const bool whole = source.pixel == 1 && source.width % kTransposeTile<Bits> == 0 && columns == source.width;
    const bool direct = lies_right(source, count);
    if (!direct && !whole) gather(source, from, count, room);
    for (int64_t r = y.first(); r < y.last(); ++r) {
      T* target = to + ((r - y.axis.origin) * x.length + x.first() - x.axis.origin) * L;
      if (whole) {
        transpose(target, L, count, from + r * source.row, source.plane, columns);
        continue;
      }
      const int64_t pixel = direct ? source.pixel : L;
      const T* row = (direct ? from : room) + (r * source.width + x.first()) * pixel;
      for (int64_t i = 0; i < columns; ++i) vstore(target + i * L, vload(row + i * pixel));
    }
  }
};

// ---- the output, and the gradient of the input ---------------------------------------------------------------------
struct LaneTaps {
  int64_t y, x;                          // the phase of the target
  std::vector<int64_t> offset, weight;   // in the copy; in the weights of a block
};

template <class T> struct DepthwisePlanes {
  static constexpr int L = kLanes<T>;
  const Planes<T>& p;
  const Lanes<T> lanes{p.y, p.x, p.groups};
  std::vector<LaneTaps> phases = {};

  void run() {
    const int64_t taps = p.y.kernel * p.x.kernel, blocks = lanes.blocks();
    plan();
    Scratch<T> packed(blocks * taps * L);
    for (int64_t i = 0; i < blocks * taps * L; ++i) packed[i] = T(0);
    for (int64_t c = 0; c < lanes.channels; ++c) {
      for (int64_t k = 0; k < taps; ++k) packed[(c / L * taps + k) * L + c % L] = p.weights[c * taps + k];
    }
    const int64_t from = p.source.height * p.source.width * L, to = p.target.height * p.target.width * L;
    const int64_t grain = std::max<int64_t>(1, kPartWork / (to * taps + 1));
    parallel_ranges(p.source.count * blocks, grain, [&](int64_t begin, int64_t end) {
      Scratch<T> copy(lanes.elements()), room(from), results(to);
      zero_line(copy.get(), lanes.elements());
      zero_line(room.get(), from);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, block = item % blocks;
        const int64_t positions = p.target.height * p.target.width;
        const Ahead<T> read(p.source, p.from, n, block, positions), written(p.target, p.to, n, block, positions);
        lanes.copy(p.source, p.from + n * p.source.image + block * L * p.source.plane, lanes.width(block), room.get(),
                   copy.get());
        const T* weights = packed.get() + block * taps * L;
        if (!p.pre && p.activation == Activation::none && Lanes<T>::lies_right(p.target, lanes.width(block))) {
          T* to = p.to + n * p.target.image + block * L;
          compute(block, copy.get(), weights, to, p.target.pixel, read, written);
          continue;
        }
        compute(block, copy.get(), weights, results.get(), L, read, written);
        put(n, block, results.get());
      }
    });
  }

 private:
  void plan() {
    for (size_t py = 0; py < p.y.taps.size(); ++py) {
      for (size_t px = 0; px < p.x.taps.size(); ++px) {
        LaneTaps taps{static_cast<int64_t>(py), static_cast<int64_t>(px), {}, {}};
        for (const AxisTap& a : p.y.taps[py]) {
          for (const AxisTap& b : p.x.taps[px]) {
            taps.offset.push_back(lanes.offset(a, b));
            taps.weight.push_back((a.k * p.x.kernel + b.k) * L);
          }
        }
        phases.push_back(std::move(taps));
      }
    }
  }

  // `count` positions side by side, `step` apart in the copy, `spread` in the results.
  template <int count>
  static void positions(const LaneTaps& taps, const T* copy, int64_t step, const T* weights, vec<T> bias, T* to,
                        int64_t spread) {
    vec<T> sum[count];
#pragma GCC unroll 8
    for (int q = 0; q < count; ++q) sum[q] = bias;
    const int64_t n = static_cast<int64_t>(taps.offset.size()), *offset = taps.offset.data();
    const int64_t* weight = taps.weight.data();
    for (int64_t k = 0; k < n; ++k) {
      const vec<T> w = vload(weights + weight[k]);
      const T* at = copy + offset[k];
#pragma GCC unroll 8
      for (int q = 0; q < count; ++q) sum[q] = vfma(w, vload(at + q * step), sum[q]);
    }
#pragma GCC unroll 8
    for (int q = 0; q < count; ++q) vstore(to + q * spread, sum[q]);
  }
  // All positions of a row: a last group that is not full goes over some of the one before again.
  template <int count>
  static void row(const LaneTaps& taps, const T* copy, int64_t step, const T* weights, vec<T> bias, T* to,
                  int64_t spread, int64_t n) {
    for (int64_t i = 0; i < n; i += count) {
      const int64_t j = std::min(i, n - count);
      positions<count>(taps, copy + j * step, step, weights, bias, to + j * spread, spread);
    }
  }

  // `pixel`: from one place of the results to the next.
  void compute(int64_t block, const T* copy, const T* weights, T* results, int64_t pixel,
               const Ahead<T>& read, const Ahead<T>& written) const {
    T first[L] = {};
    for (int64_t l = 0; p.bias && l < lanes.width(block); ++l) first[l] = p.bias[block * L + l];
    const int64_t step = p.x.step * L, spread = p.x.spread * pixel;
    int64_t done = 0;
    for (const LaneTaps& taps : phases) {
      const int64_t rows = p.y.positions(taps.y), columns = p.x.positions(taps.x);
      for (int64_t r = 0; r < rows && columns > 0; ++r) {
        read.fetch(done, columns), written.fetch(done, columns), done += columns;
        const T* at = copy + r * p.y.step * lanes.x.length * L;
        T* to = results + ((taps.y + r * p.y.spread) * p.target.width + taps.x) * pixel;
        if (columns >= 8) row<8>(taps, at, step, weights, vload(first), to, spread, columns);
        else if (columns >= 4) row<4>(taps, at, step, weights, vload(first), to, spread, columns);
        else row<1>(taps, at, step, weights, vload(first), to, spread, columns);
      }
    }
  }

  void put(int64_t n, int64_t block, T* results) const {
    const int64_t at = n * p.target.image + block * L * p.target.plane, count = lanes.width(block);
    const int64_t elements = p.target.height * p.target.width * L;
    if (p.pre) Lanes<T>::scatter(p.target, results, count, p.pre + at);
    with_activation(p.activation, [&](auto a) {
      using A = decltype(a);
      if constexpr (!std::is_same_v<A, activation::none>) {
        for (int64_t i = 0; i < elements; i += L) {
          T value[L];
          vstore(value, vload(results + i));
#pragma omp simd
          for (int l = 0; l < L; ++l) value[l] = A::value(value[l]);
          vstore(results + i, vload(value));
        }
      }
    });
    Lanes<T>::scatter(p.target, results, count, p.to + at);
  }
};

template <class T> static bool run_depthwise(const Planes<T>& p) {
  if (DepthwiseRows<T>::take(p)) {
    DepthwiseRows<T>{p}.run();
    return true;
  }
  if (!Lanes<T>::take(p.source, p.target, p.y, p.x, p.groups, kLanePlaces)) return false;
  DepthwisePlanes<T>{p}.run();
  return true;
}

// ---- the gradient of the weight ------------------------------------------------------------------------------------
template <class T> struct DepthwiseSums {
  static constexpr int L = kLanes<T>;
  const WeightSums<T>& p;
  const Lanes<T> lanes{p.y, p.x, p.groups};
  const int64_t taps = p.y.kernel * p.x.kernel, rows = p.output.height, columns = p.output.width;
  std::vector<int64_t> offsets = {};

  void run() {
    for (const AxisTap& a : p.y.taps[0]) {
      for (const AxisTap& b : p.x.taps[0]) offsets.push_back(lanes.offset(a, b));
    }
    const int64_t blocks = lanes.blocks(), images = p.source.count, work = rows * columns * L * taps;
    const int64_t all = work * images * blocks;
    int64_t parts = 1;
    while (parts < kPartsMost && 2 * parts <= images && all / (2 * parts) > kPartWork / 2) parts *= 2;
    Scratch<double> sums(parts * blocks * taps * L);
    const int64_t cuts = std::min(blocks, (kPartsMost + parts - 1) / parts);  // of the blocks, for threads to share
    const int64_t grain = std::max<int64_t>(1, kPartWork / (all / (parts * cuts) + 1));
    parallel_ranges(parts * cuts, grain, [&](int64_t begin, int64_t end) {
      const int64_t from = p.source.height * p.source.width * L;
      Scratch<T> copy(lanes.elements()), room(from), given(rows * columns * L);
      zero_line(copy.get(), lanes.elements());
      zero_line(room.get(), from);
      zero_line(given.get(), rows * columns * L);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t part = item / cuts, first = blocks * (item % cuts) / cuts;
        const int64_t last = blocks * (item % cuts + 1) / cuts;
        double* own = sums.get() + part * blocks * taps * L;
        std::fill(own + first * taps * L, own + last * taps * L, 0.0);
        for (int64_t n = images * part / parts; n < images * (part + 1) / parts; ++n) {
          for (int64_t block = first; block < last; ++block) {
            add_image(n, block, room.get(), copy.get(), given.get(), own + block * taps * L);
          }
        }
      }
    });
    for (int64_t c = 0; c < lanes.channels; ++c) {
      for (int64_t k = 0; k < taps; ++k) {
        double sum = 0;
        for (int64_t part = 0; part < parts; ++part) {
          sum += sums[((part * blocks + c / L) * taps + k) * L + c % L];
        }
        p.to[c * taps + k] = static_cast<T>(sum);
      }
    }
  }

 private:
  void add_image(int64_t n, int64_t block, T* room, T* copy, T* given, double* sums) const {
    const int64_t count = lanes.width(block);
    const Ahead<T> x(p.source, p.from, n, block, rows * columns), y(p.output, p.dout, n, block, rows * columns);
    lanes.copy(p.source, p.from + n * p.source.image + block * L * p.source.plane, count, room, copy);
    const T* dout = p.dout + n * p.output.image + block * L * p.output.plane;
    const bool direct = Lanes<T>::lies_right(p.output, count);
    if (!direct) Lanes<T>::gather(p.output, dout, count, given);
    add(copy, direct ? dout : given, direct ? p.output.pixel : L, sums, x, y);
  }

  template <int count>
  void add_taps(const T* copy, const T* given, int64_t pixel, int64_t first, int64_t last, int64_t tap, double* sums,
                const Ahead<T>& ahead_x, const Ahead<T>& ahead_y) const {
    const int64_t step = p.x.step * L, line = p.y.step * lanes.x.length * L, once = tap == 0;
    const T* at[count];
    for (int q = 0; q < count; ++q) at[q] = copy + offsets[static_cast<size_t>(tap + q)];
    vec<T> sum[count] = {};
    for (int64_t r = first; r < last; ++r) {
      const T* dout = given + r * columns * pixel;
      for (int64_t c = 0; c < columns; ++c) {
        const vec<T> d = vload(dout + c * pixel);
        ahead_x.fetch(r * columns + c, once), ahead_y.fetch(r * columns + c, once);
#pragma GCC unroll 16
        for (int q = 0; q < count; ++q) sum[q] = vfma(d, vload(at[q] + r * line + c * step), sum[q]);
      }
    }
    for (int q = 0; q < count; ++q) {
      T lane[L];
      vstore(lane, sum[q]);
#pragma omp simd
      for (int l = 0; l < L; ++l) sums[(tap + q) * L + l] += lane[l];
    }
  }

  void add(const T* copy, const T* given, int64_t pixel, double* sums, const Ahead<T>& x, const Ahead<T>& y) const {
    const int64_t share = std::max<int64_t>(1, kLaneChain / columns);
    for (int64_t first = 0; first < rows; first += share) {
      const int64_t last = std::min(first + share, rows);
      int64_t tap = 0;
      for (; tap + 9 <= taps; tap += 9) add_taps<9>(copy, given, pixel, first, last, tap, sums, x, y);
      for (; tap + 5 <= taps; tap += 5) add_taps<5>(copy, given, pixel, first, last, tap, sums, x, y);
      for (; tap < taps; ++tap) add_taps<1>(copy, given, pixel, first, last, tap, sums, x, y);
    }
  }
};

template <class T> static bool run_depthwise(const WeightSums<T>& p) {
  if (!Lanes<T>::take(p.source, p.output, p.y, p.x, p.groups, kLanePlane)) return false;
  DepthwiseSums<T>{p}.run();
  return true;
}
