// Direct convolutions of many images without a stride: lanes are images, L of them at a time.
//
// A place of L images is a vector, and the places of a row follow each other, so that a tile of direct_tiles.inl takes
// neighbours in a row: no position is computed for nothing, whatever the width, no load crosses a cache line, and taps
// that read padding are left out, of which there are many where planes are small: of the gradient of the input of a
// 3 x 3 convolution of 13 x 13, two in seven. Every result is one chain of multiply-adds in the order of the taps, as
// in the other direct kernels: which of them computes it never shows in the bits.
//
// What it costs is to transpose each element that is read or written, about half a cycle. Microseconds of float32 on
// two cores of a Zen 4, 64 images, output with a ReLU, then gradient of the input; lanes of positions -> of images:
//                                        NCHW                        NHWC
//   8 -> 16 channels, 13 x 13, 3 x 3     124 -> 106    177 -> 116      general      219 -> 116
//   1 ->  8 channels, 28 x 28, 3 x 3      74 ->  70    116 ->  93    177 ->  65     172 ->  84
//   8 ->  8 channels, 28 x 28, 3 x 3     354 -> 307    352 -> 302    517 -> 325     481 -> 319
//   8 groups of 8 of 16 images 28 x 28   713 -> 635    711 -> 626   1121 -> 762    1127 -> 754
// Maxima of windows are maxima of vectors, taken before results are transposed: of 2 by 2 a quarter of the elements is,
// and what lies beyond the last window is not computed. In a step of model c, with windows of 2 by 2, one launch
// instead of two: 1 -> 8 channels, 28 x 28, 95 -> 75 us, 8 -> 16 channels, 13 x 13, 123 -> 91.
// Wide planes in NCHW stay where they were: 1 -> 8 channels of 64 x 64 were 384 there and 461 here.
constexpr int64_t kImageSource = int64_t{1} << 18;   // bytes of a copy at most
constexpr int64_t kImageResults = int64_t{1} << 15;  // bytes of results that wait to be transposed, if rows are short

// to[i + j * row] = from[i * column + j] for i < ni, j < nj: tiles that go over what is done already take the ends.
template <class T> static void transpose_bits(T* to, int64_t row, int64_t ni, const T* from, int64_t column,
                                              int64_t nj) {
  const auto tiles = [&]<int N>() DLCORE_MAP {
    for (int64_t i = 0; i < ni; i += N) {
      for (int64_t j = 0; j < nj; j += N) {
        const int64_t a = std::min(i, ni - N), b = std::min(j, nj - N);
        transpose_tile(to + a + b * row, row, from + a * column + b, column, std::make_index_sequence<N>{});
      }
    }
  };
  constexpr int L = kTransposeTile<T>;
  const int64_t least = std::min(ni, nj);
  if (least >= L) return tiles.template operator()<L>();
  if constexpr (L > 8) {
    if (least >= 8) return tiles.template operator()<8>();
  }
  if constexpr (L > 4) {
    if (least >= 4) return tiles.template operator()<4>();
  }
  for (int64_t i = 0; i < ni; ++i) {
    for (int64_t j = 0; j < nj; ++j) to[i + j * row] = from[i * column + j];
  }
}

template <class T>
static void transpose_places(T* to, int64_t row, int64_t ni, const T* from, int64_t column, int64_t nj) {
  using Bits = std::conditional_t<sizeof(T) == 1, uint8_t, std::conditional_t<sizeof(T) == 4, int32_t, int64_t>>;
  transpose_bits(reinterpret_cast<Bits*>(to), row, ni, reinterpret_cast<const Bits*>(from), column, nj);
}

// Rows [first, first + rows) of `count` planes of L images, as [plane][position][image]; planes lie `apart` positions
// from each other.
template <class T>
static void gather_places(const Images& x, const T* from, int64_t block, int64_t plane, int64_t count, int64_t first,
                          int64_t rows, T* to, int64_t apart) {
  constexpr int L = kLanes<T>;
  const int64_t images = std::min<int64_t>(L, x.count - block * L), positions = rows * x.width;
  from += block * L * x.image + plane * x.plane + first * x.row;
  if (x.pixel == 1) {
    for (int64_t i = 0; i < count; ++i) {
      transpose_places(to + i * apart * L, L, images, from + i * x.plane, x.image, positions);
    }
  } else {
    for (int64_t q = 0; q < positions; ++q) {
      transpose_places(to + q * L, apart * L, images, from + q * x.pixel, x.image, count);
    }
  }
}

// Positions of an axis, one after the other, that read the same taps [tap, until) of it and no padding.
struct Stretch {
  int64_t first, last;
  size_t tap, until;
};

static std::vector<Stretch> cut_stretches(const Axis& axis) {
  std::vector<Stretch> found;
  const AxisTaps& taps = axis.taps[0];
  const auto outside = [&](int64_t q, size_t k) {
    const int64_t at = q + axis.origin + taps[k].shift;
    return at < 0 || at >= axis.source;
  };
  for (int64_t q = 0; q < axis.target; ++q) {
    size_t tap = 0, until = taps.size();
    while (tap < until && outside(q, tap)) ++tap;
    while (tap < until && outside(q, until - 1)) --until;
    if (!found.empty() && found.back().tap == tap && found.back().until == until) ++found.back().last;
    else found.push_back({q, q + 1, tap, until});
  }
  return found;
}

// Maxima of windows of results that follow, instead of the results: windows lie side by side from the first row and
// column on. The target has as many rows and columns as they hold, and its strides are those of the maxima.
struct Pools {
  int64_t height = 1, width = 1, down = 1, across = 1;  // of a window, and from one to the next
  uint8_t* places = nullptr;                            // of each maximum in its window, if they are asked for
};

// The integers in the lanes of a vector, as bytes. (Of a conversion the compiler makes sixteen of single ones.)
template <class V> static inline void store_bytes(uint8_t* to, V lanes) {
#if DLCORE_ISA == 4
  if constexpr (sizeof(lanes[0]) == 4) {
    const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(lanes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
    return;
  }
#endif
  for (size_t l = 0; l < sizeof(V) / sizeof(lanes[0]); ++l) to[l] = static_cast<uint8_t>(lanes[l]);
}

template <class T> struct ImagePlanes {
  static constexpr int L = kLanes<T>;
  const Planes<T>& p;
  const T* packs;
  const Pools* pools = nullptr;
  const int64_t unit = pools ? pools->down : 1;  // rows that are computed together
  const std::vector<Stretch> down = cut_stretches(p.y), across = cut_stretches(p.x);
  const int64_t blocks = (p.source.count + L - 1) / L, width = p.target.width;
  const int64_t apart = std::max<int64_t>(1, 8 / (blocks * p.groups));  // parts for threads to share
  const int64_t rows = whole(std::min((p.target.height + apart - 1) / apart, most_rows(p)));
  const int64_t bands = (p.target.height + rows - 1) / rows;
  const int64_t lines = std::min(p.source.height, rows + p.y.reach), plane = lines * p.source.width;  // that it reads
  const int64_t few = whole(kImageResults / (width * kMostOutputs * L * int64_t{sizeof(T)}));
  const int64_t together = p.target.pixel == 1 ? kMostOutputs : std::max<int64_t>(16, kMostOutputs);  // outputs
  std::vector<std::vector<DirectTap>> taps = {};  // for each stretch of rows, then of columns

  // Whether this is the way: nearly all lanes have an image, a band has not much more to copy than to compute, and
  // lanes of positions would need transposing, too, or leave many empty at the ends of rows.
  static bool take(const Planes<T>& p) {
    const bool strided = p.x.step * p.x.spread * p.y.step * p.y.spread != 1;
    const int64_t n = p.source.count, empty = (n + L - 1) / L * L - n;
    const bool narrow = p.source.pixel != 1 || 16 * p.x.reach >= p.target.width;
    return !strided && narrow && p.in * p.out > 1 && 8 * empty <= n && most_rows(p) > 2 * p.y.reach;
  }
  int64_t whole(int64_t count) const { return std::max<int64_t>(1, count / unit) * unit; }
  static int64_t most_rows(const Planes<T>& p) {  // of a band, so that its copy stays in the second cache
    return kImageSource / (p.in * p.source.width * L * int64_t{sizeof(T)} + 1) - p.y.reach;
  }

  void run() {
    for (const Stretch& y : down) {
      for (const Stretch& x : across) taps.push_back(reads(y, x));
    }
    const int64_t work = rows * width * L * p.out * p.taps;
    const int64_t grain = std::max<int64_t>(1, kPartWork / (work + 1));
    parallel_ranges(blocks * p.groups * bands, grain, [&](int64_t begin, int64_t end) {
      Scratch<T> source(p.in * plane * L), results(together * std::min(few, rows) * width * L);
      Scratch<uint8_t> places(pools ? together * std::min(few, rows) / unit * pooled() * L : 0);
      if (p.source.count % L) zero_line(source.get(), p.in * plane * L);  // lanes of no image
      for (int64_t item = begin; item < end; ++item) {
        const int64_t band = item % bands, g = item / bands % p.groups, block = item / bands / p.groups;
        const int64_t y0 = band * rows, y1 = std::min(y0 + rows, p.target.height);
        run_band(block, g, y0, y1, source.get(), results.get(), places.get());
      }
    });
  }

 private:
  std::vector<DirectTap> reads(const Stretch& y, const Stretch& x) const {
    std::vector<DirectTap> found;
    const int64_t high = static_cast<int64_t>(p.y.taps[0].size()), wide = static_cast<int64_t>(p.x.taps[0].size());
    for (int64_t i = 0; i < p.in; ++i) {
      for (size_t a = y.tap; a < y.until; ++a) {
        for (size_t b = x.tap; b < x.until; ++b) {
          const int64_t line = p.y.origin + p.y.taps[0][a].shift, column = p.x.origin + p.x.taps[0][b].shift;
          found.push_back({(i * plane + line * p.source.width + column) * L,
                           (i * high + static_cast<int64_t>(a)) * wide + static_cast<int64_t>(b)});
        }
      }
    }
    return found;
  }

  // Rows [y0, y1) of the target.
  void run_band(int64_t block, int64_t g, int64_t y0, int64_t y1, T* source, T* results, uint8_t* places) const {
    const int64_t first = std::clamp<int64_t>(y0 + p.y.origin, 0, p.source.height - lines);
    gather_places(p.source, p.from, block, g * p.in, p.in, first, lines, source, plane);
    for (int64_t o = 0; o < p.out; o += together) {
      const int64_t outputs = std::min(together, p.out - o);
      for (int64_t y = y0; y < y1; y += few) {
        const int64_t end = std::min(y + few, y1), row = (end - y) * width * L;
        for (int64_t q = 0; q < outputs;) {
          const int size = output_size(outputs - q);
          compute(size, g * p.out + o + q, source - first * p.source.width * L, y, end, results + q * row, row);
          q += int64_t{1} << size;
        }
        put(block, g * p.out + o, outputs, y, end, results, places);
      }
    }
  }

  void compute(int size, int64_t output, const T* source, int64_t y0, int64_t y1, T* out, int64_t out_row) const {
    const int64_t k = static_cast<int64_t>(p.y.taps[0].size() * p.x.taps[0].size()) * p.in;
    T first[kMostOutputs] = {};
    for (int i = 0; p.bias && i < 1 << size; ++i) first[i] = p.bias[output + i];
    DirectTile<T> tile{nullptr, nullptr, 0, packs + output * k, first, nullptr, out_row};
    for (size_t d = 0; d < down.size(); ++d) {
      for (int64_t y = std::max(y0, down[d].first); y < std::min(y1, down[d].last); ++y) {
        for (size_t c = 0; c < across.size(); ++c) {
          const std::vector<DirectTap>& list = taps[d * across.size() + c];
          int64_t x = across[c].first, left = across[c].last - x;
          tile.taps = list.data(), tile.count = static_cast<int64_t>(list.size());
          for (int64_t parts = (left + kVectorsOf[size] - 1) / kVectorsOf[size]; parts > 0; --parts) {
            const int64_t v = (left + parts - 1) / parts;  // tiles of about the same size
            tile.x = source + (y * p.source.width + x) * L;
            tile.out = out + ((y - y0) * width + x) * L;
            kDirectTiles<T>.of[size][v - 1](tile);
            x += v, left -= v;
          }
        }
      }
    }
  }

  // Results of some outputs for rows [y0, y1), as [output][position][image], go where they belong.
  void put(int64_t block, int64_t output, int64_t outputs, int64_t y0, int64_t y1, T* results, uint8_t* places) const {
    const int64_t positions = (y1 - y0) * width;
    const int64_t at = block * L * p.target.image + output * p.target.plane + y0 / unit * p.target.row;
    if (p.pre) scatter(block, outputs, positions, results, p.pre + at);
    with_activation(p.activation, [&](auto a) {
      using A = decltype(a);
      if constexpr (!std::is_same_v<A, activation::none>) {
        for (int64_t i = 0; i < outputs * positions * L; i += L) {
          T value[L];
          vstore(value, vload(results + i));
#pragma omp simd
          for (int l = 0; l < L; ++l) value[l] = A::value(value[l]);
          vstore(results + i, vload(value));
        }
      }
    });
    if (!pools) return scatter(block, outputs, positions, results, p.to + at);
    const int64_t down = (y1 - y0 + unit - 1) / unit;
    for (int64_t o = 0; o < outputs; ++o) {
      const int64_t first = o * down * pooled() * L;
      pool(results + o * positions * L, down, results + first, places + first);
    }
    scatter(block, outputs, down * pooled(), results, p.to + at);
    if (pools->places) scatter(block, outputs, down * pooled(), places, pools->places + at);
  }
  int64_t pooled() const { return (width - pools->width) / pools->across + 1; }

  // The maxima of rows of windows of one output. They may lie over its results, of which none is written before it has
  // been read.
  void pool(const T* from, int64_t down, T* maxima, uint8_t* places) const {
    using Places = decltype(vec<T>{} > vec<T>{});
    for (int64_t y = 0; y < down; ++y) {
      for (int64_t x = 0; x < pooled(); ++x, maxima += L, places += L) {
        const T* window = from + (y * pools->down * width + x * pools->across) * L;
        vec<T> most = vload(window);
        Places place{};
        int32_t k = 0;
        for (int64_t i = 0; i < pools->height; ++i) {
          for (int64_t j = 0; j < pools->width; ++j, ++k) {
            const vec<T> v = vload(window + (i * width + j) * L);
            const auto better = (v > most) | (v != v);
            most = better ? v : most, place = better ? Places{} + k : place;
          }
        }
        vstore(maxima, most);
        store_bytes(places, place);
      }
    }
  }

  template <class E> void scatter(int64_t block, int64_t outputs, int64_t positions, const E* from, E* to) const {
    const Images& t = p.target;
    const int64_t images = std::min<int64_t>(L, t.count - block * L);
    if (t.pixel == 1) {
      for (int64_t o = 0; o < outputs; ++o) {
        transpose_places(to + o * t.plane, t.image, positions, from + o * positions * L, L, images);
      }
    } else {
      for (int64_t q = 0; q < positions; ++q) {
        transpose_places(to + q * t.pixel, t.image, outputs, from + q * L, positions * L, images);
      }
    }
  }
};

template <class T> static bool run_images(const Planes<T>& p, const T* packs) {
  if (!ImagePlanes<T>::take(p)) return false;
  ImagePlanes<T>{p, packs}.run();
  return true;
}

// Maxima of a convolution without a stride. Behind its parameters: lengths of windows along each axis of space, and
// from one window to the next, which do not overlap.
static void pooled(const Args& a) {
  const Array& out = a.out(0);
  if (out.size() == 0) return;
  const int spatial = out.ndim - 2, first = 3 + 4 * spatial;
  Images target(out, a.integer(0) == 1);
  Pools pools{1, a.integer(first + spatial - 1), 1, a.integer(first + 2 * spatial - 1), a.out(1).as<uint8_t>()};
  if (spatial == 2) pools.height = a.integer(first), pools.down = a.integer(first + spatial);
  target.height = (target.height - 1) * pools.down + pools.height;
  target.width = (target.width - 1) * pools.across + pools.width;
  const auto run = [&]<class T>() {
    Planes<T> planes = forward_planes<T>(a, target, out.as<T>(), nullptr);
    planes.plan();
    Scratch<T> packs(planes.packed);
    planes.pack(packs.get());
    ImagePlanes<T>{planes, packs.get(), &pools}.run();
  };
  if (out.dtype == DType::float32) run.template operator()<float>();
  else run.template operator()<double>();
}
