// A direct convolution of planes, and the gradient of its input, which is one too, with weights turned round.
//
//   target[n, g, o, p] = activation(bias[g, o] + sum over i, taps of weights[g, o, i, tap] source[n, g, i, p at tap])
//
// Work is cut by image, group and band of positions; each part copies the planes that it reads, or reads them where
// they lie, then goes through blocks of outputs, whose weights are packed in the order in which tiles read them.

constexpr int64_t kPartWork = int64_t{1} << 19;  // multiply-adds worth a part of their own: 5 us

// One target phase.
struct Phase {
  int64_t y, x;
  std::vector<DirectTap> copied, in_place;  // each tap, in copies and in the source itself
  std::vector<int64_t> place;               // of its weight, from the first of an output
  int64_t packed;                           // where its weights begin among all that are packed
};

// Results of one output at a band of positions, on their way to memory.
template <class T> struct Stored {
  const T* from;
  int64_t pitch, rows, columns;
  T *to, *pre;
  int64_t row, pixel;  // strides of the target
  int64_t spill;       // elements of each later row, where they follow: they may be overwritten, for they come last
};

template <class A, class T> static void store_plane(const Stored<T>& p) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < p.rows; ++r) {
    const T* from = p.from + r * p.pitch;
    const int64_t end = p.columns + (p.rows - 1 - r) * p.spill;
    const auto put = [&](T* plane, int64_t j, const T* value) DLCORE_MAP {
      T* to = plane + r * p.row;
      const int n = static_cast<int>(std::min<int64_t>(L, p.columns - j));
      if (p.pixel != 1) {
        for (int l = 0; l < n; ++l) to[(j + l) * p.pixel] = value[l];
      } else if (j + L <= end) {
        vstore(to + j, vload(value));
      } else {
        vstore_first(to + j, vload(value), n);
      }
    };
    for (int64_t j = 0; j < p.columns; j += L) {
      T value[L];
      for (int l = 0; l < L; ++l) value[l] = from[j + l];
      if (p.pre) put(p.pre, j, value);
      if constexpr (!std::is_same_v<A, activation::none>) {
#pragma omp simd
        for (int l = 0; l < L; ++l) value[l] = A::value(value[l]);
      }
      put(p.to, j, value);
    }
  }
}

template <class T> struct Planes;
template <class T> static bool run_depthwise(const Planes<T>& planes);  // whether it was one for direct_depthwise.inl
template <class T> static bool run_images(const Planes<T>& planes, const T* packs);  // or direct_images.inl

template <class T> struct Planes {
  static constexpr int L = kLanes<T>;

  const Images source, target;
  const Axis y, x;
  const int64_t groups, in, out;
  const T *from, *weights, *bias;
  const int64_t weight_group, weight_out, weight_in;  // strides; the taps of one are adjacent
  T *to, *pre;
  const Activation activation;

  const Bands bands = cut_bands(y, x, in, std::max<int64_t>(1, 8 / std::max<int64_t>(1, source.count * groups)));
  const Copies copies{y, x, bands};
  const bool lies_right = y.step == 1 && x.step == 1 && y.origin == 0 && x.origin == 0 && source.pixel == 1 &&
                          bands.across() == 1 && copies.width == source.width &&
                          y.positions() + y.reach <= source.height;
  std::vector<Phase> phases = {};
  int64_t packed = 0, taps = 0;  // elements of all packed weights; taps of all phases, for one output

  void plan() {
    for (size_t py = 0; py < y.taps.size(); ++py) {
      for (size_t px = 0; px < x.taps.size(); ++px) {
        Phase phase{static_cast<int64_t>(py), static_cast<int64_t>(px), {}, {}, {}, packed};
        for (int64_t i = 0; i < in; ++i) {
          for (const AxisTap& a : y.taps[py]) {
            for (const AxisTap& b : x.taps[px]) {
              const int64_t plane = i * copies.phases() + a.phase * static_cast<int64_t>(x.phases.size()) + b.phase;
              const int64_t k = static_cast<int64_t>(phase.place.size());
              phase.copied.push_back({plane * copies.size + a.shift * copies.width + b.shift, k});
              if (lies_right) phase.in_place.push_back({i * source.plane + a.shift * source.row + b.shift, k});
              phase.place.push_back(i * weight_in + a.k * x.kernel + b.k);
            }
          }
        }
        const int64_t n = static_cast<int64_t>(phase.copied.size());
        packed += groups * out * n, taps += n;
        phases.push_back(std::move(phase));
      }
    }
  }

  void pack(T* packs) const {
    const int64_t blocks = (out + kMostOutputs - 1) / kMostOutputs;  // of the largest size, and what is left
    const int64_t share = std::max<int64_t>(1, (int64_t{1} << 14) / (std::min<int64_t>(out, kMostOutputs) * taps + 1));
    parallel_ranges(groups * blocks, share, [&](int64_t begin, int64_t end) {
      for (const Phase& phase : phases) {
        const int64_t n = static_cast<int64_t>(phase.place.size());
        for (int64_t block = begin; block < end; ++block) {
          const int64_t g = block / blocks, first = block % blocks * kMostOutputs;
          const int64_t last = std::min(first + kMostOutputs, out);
          T* pack = packs + phase.packed + (g * out + first) * n;
          for (int64_t o = first; o < last;) {
            const int64_t q = 1 << output_size(last - o);
            const T* w = weights + g * weight_group + o * weight_out;
            for (int64_t k = 0; k < n; ++k) {
              for (int64_t i = 0; i < q; ++i) *pack++ = w[i * weight_out + phase.place[static_cast<size_t>(k)]];
            }
            o += q;
          }
        }
      }
    });
  }

  void run() {
    if (run_depthwise(*this)) return;
    plan();
    Scratch<T> packs(packed);
    pack(packs.get());
    if (run_images(*this, packs.get())) return;
    const int64_t items = source.count * groups * bands.count();
    const int64_t work = bands.rows * copies.width * out * taps;
    const auto store = with_activation(activation, [](auto a) -> void (*)(const Stored<T>&) {
      return store_plane<decltype(a), T>;
    });
    parallel_ranges(items, std::max<int64_t>(1, kPartWork / (work + 1)), [&](int64_t begin, int64_t end) {
      Scratch<T> copy(copies.elements(in) + 2 * L), sums(kMostOutputs * sums_row() + L);
      int64_t zeroed = -1;  // the band for which there are zeros around the copies
      for (int64_t item = begin; item < end; ++item) {
        const int64_t plane = item / bands.count(), band = item % bands.count();
        run_item(plane / groups, plane % groups, band, packs.get(), copy.get(), sums.get(), store, zeroed);
      }
    });
  }

 private:
  int64_t sums_row() const { return (bands.rows * copies.width + L - 1) / L * L; }

  // Whether a band can be read in the source itself: vectors must not reach beyond its last element.
  bool reads_source(const T* first, int64_t rows, int64_t columns) const {
    if (!lies_right) return false;
    const int64_t run = (rows - 1) * source.width + columns, last = (in - 1) * source.plane + y.reach * source.row;
    return first + last + x.reach + (run + L - 1) / L * L <= from + source.count * source.image;
  }

  template <class Store>
  void run_item(int64_t n, int64_t g, int64_t number, const T* packs, T* copy, T* sums, Store store,
                int64_t& zeroed) const {
    const Band band = bands[number];
    const T* first = from + n * source.image + g * in * source.plane;
    const bool in_place = reads_source(first + band.y0 * source.row, band.y1 - band.y0, band.x1 - band.x0);
    const T* read = in_place ? first + band.y0 * source.row : copy;
    if (!in_place && zeroed != number) zero_line(copy, copies.elements(in)), zeroed = number;
    for (int64_t i = 0; !in_place && i < in; ++i) {
      copies.fill(copy + copies.elements(i), first + i * source.plane, source, band);
    }
    for (const Phase& phase : phases) {
      const int64_t rows = std::min(band.y1, y.positions(phase.y)) - band.y0;
      const int64_t columns = std::min(band.x1, x.positions(phase.x)) - band.x0;
      if (rows <= 0 || columns <= 0) continue;
      const int64_t row = target.row * y.spread, pixel = target.pixel * x.spread;
      const int64_t at = n * target.image + g * out * target.plane + (band.y0 * y.spread + phase.y) * target.row +
                         (band.x0 * x.spread + phase.x) * target.pixel;
      const int64_t vectors = ((rows - 1) * copies.width + columns + L - 1) / L, k = phase.place.size();
      Stored<T> stored{nullptr, copies.width, rows, columns, nullptr, nullptr, row, pixel, 0};
      if (pixel == 1 && row == columns) stored.spill = columns;  // so the band is as wide as the target
      const DirectTap* walk = (in_place ? phase.in_place : phase.copied).data();
      const T* pack = packs + phase.packed + g * out * k;
      for (int64_t o = 0; o < out;) {
        const int size = output_size(out - o), q = 1 << size;
        run_block(size, read, walk, k, pack, g * out + o, vectors, sums);
        for (int i = 0; i < q; ++i) {
          stored.from = sums + i * sums_row();
          stored.to = to + at + (o + i) * target.plane;
          stored.pre = pre ? pre + at + (o + i) * target.plane : nullptr;
          store(stored);
        }
        pack += q * k;
        o += q;
      }
    }
  }

  void run_block(int size, const T* read, const DirectTap* walk, int64_t k, const T* pack, int64_t output,
                 int64_t vectors, T* sums) const {
    T first[kMostOutputs] = {};
    for (int i = 0; bias && i < 1 << size; ++i) first[i] = bias[output + i];
    DirectTile<T> tile{read, walk, k, pack, first, sums, sums_row()};
    for (int64_t parts = (vectors + kVectorsOf[size] - 1) / kVectorsOf[size]; parts > 0; --parts) {
      const int64_t v = (vectors + parts - 1) / parts;  // tiles of about the same size
      kDirectTiles<T>.of[size][v - 1](tile);
      tile.x += v * L, tile.out += v * L, vectors -= v;
    }
  }
};

// The spatial numbers among the parameters, from `first` on, for the vertical (0) or horizontal (1) axis of a plane.
struct Steps {
  int64_t stride, before, dilation;
  Steps(const Args& a, int first, int spatial, int axis) {
    const int at = axis - (2 - spatial);
    stride = at < 0 ? 1 : a.integer(first + at);
    before = at < 0 ? 0 : a.integer(first + spatial + at);
    dilation = at < 0 ? 1 : a.integer(first + 3 * spatial + at);
  }
};

static inline int64_t kernel_length(const Array& weights, int axis) {
  const int at = axis + weights.ndim - 2;
  return at < 2 ? 1 : weights.shape[at];
}

// x, weight and bias, whose results for the rows and columns of `target` are to be written to `to` and `pre`.
template <class T> static Planes<T> forward_planes(const Args& a, const Images& target, T* to, T* pre) {
  const Array &x = a.in(0), &w = a.in(1), &bias = a.in(2);
  const int64_t groups = a.integer(1), taps = kernel_length(w, 0) * kernel_length(w, 1);
  const Images source(x, a.integer(0) == 1);
  const Steps sy(a, 3, x.ndim - 2, 0), sx(a, 3, x.ndim - 2, 1);
  return {source, target,
          forward_axis(source.height, target.height, kernel_length(w, 0), sy.stride, sy.before, sy.dilation),
          forward_axis(source.width, target.width, kernel_length(w, 1), sx.stride, sx.before, sx.dilation),
          groups, source.planes / groups, target.planes / groups, x.as<T>(), w.as<T>(), bias.as<T>(),
          target.planes / groups * w.shape[1] * taps, w.shape[1] * taps, taps, to, pre,
          static_cast<Activation>(a.integer(2))};
}

// The size of the target may leave nothing to be done; what is left to sum may be nothing too.
template <class T> static void forward(const Args& a) {
  const Array& out = a.out(0);
  if (out.size() == 0) return;
  T* pre = a.n_arrays > a.n_inputs + 1 ? a.out(1).as<T>() : nullptr;
  forward_planes<T>(a, Images(out, a.integer(0) == 1), out.as<T>(), pre).run();
}

template <class T> static void input_gradient(const Args& a) {
  const Array &dout = a.in(0), &w = a.in(1), &dx = a.out(0);
  const bool last = a.integer(0) == 1;
  const int64_t groups = a.integer(1), taps = kernel_length(w, 0) * kernel_length(w, 1);
  const Images source(dout, last), target(dx, last);
  const Steps sy(a, 3, dx.ndim - 2, 0), sx(a, 3, dx.ndim - 2, 1);
  if (dx.size() == 0) return;
  Planes<T>{source, target,
            backward_axis(source.height, target.height, kernel_length(w, 0), sy.stride, sy.before, sy.dilation),
            backward_axis(source.width, target.width, kernel_length(w, 1), sx.stride, sx.before, sx.dilation),
            groups, source.planes / groups, target.planes / groups, dout.as<T>(), w.as<T>(), nullptr,
            source.planes / groups * w.shape[1] * taps, taps, w.shape[1] * taps, dx.as<T>(), nullptr,
            Activation::none}.run();
}
