// Batch normalisation: (x - mean) * rstd * weight + bias, by the statistics of the batch or by those that were kept.
//
// Memory bounds it: a pass that adds and a pass that maps, 12 bytes an element forward (float32), 20 backward. Both go
// through memory in order, the second from the end, which is in cache still. A channel at a time through both would
// read from cache once more, but planes of other channels lie between its own: those of 2^n elements fall into the
// same sets of a cache, and nothing is fetched ahead. Statistics are those of `Moments`.
//
// A residual and a ReLU behind it are part of the second pass: 4 bytes more for the residual, against 20 in kernels of
// their own. The gradient may take ReLU's with it: 28 bytes, against 32, or 24 where the sums leave to the map which
// elements pass the ReLU, a bit each (AVX-512, float32, vectors that do not go over an end). Microseconds of that, two
// cores of a Zen 4, without bits and with them, NCHW, then NHWC:
//   64 images, 32 channels of 32 x 32    1134 ->  971    1253 ->  927
//   64 images, 64 of 16 x 16              358 ->  333     431 ->  385
//   16 images, 64 of 56 x 56             1891 -> 1549    2200 -> 1692
//
// Parameters: training: 0 momentum, below 0 for the mean of all batches, 1 eps, 2 channels last, 3 ReLU;
//             inference: 0 eps, 1 channels last; backward: 0 channels last, 1 ReLU.
#include "norm/channels.inl"

// What the statistics of the batch become: the map of its elements, what is kept for the gradient, running statistics.
template <class C> struct BatchStatistics {
  using P = typename Moments<C>::P;
  const Args& a;
  int64_t c;
  double eps;
  Values<C> weight, bias;
  Affine<C> map;
  Scratch<double> mean, variance;
  BatchStatistics(const Args& args, int64_t channels, double eps)
      : a(args), c(channels), eps(eps), weight(a.in(1), c, 1), bias(a.in(2), c, 0), map(c), mean(c), variance(c) {}

  void set(int64_t ch, const P& p) const {
    mean[ch] = p.mean(), variance[ch] = Moments<C>::variance(p, 0);
    const double rstd = 1 / std::sqrt(variance[ch] + eps);
    map.set(ch, p.c, p.offset, rstd * weight[ch], bias[ch]);
    if (a.out(1)) a.out(1).as<C>()[ch] = static_cast<C>(mean[ch]);
    if (a.out(2)) a.out(2).as<C>()[ch] = static_cast<C>(rstd);
  }

  // A batch with a statistic that is not finite leaves all as it was: it is not counted.
  void update(double momentum, double n) const {
    if (a.n_inputs < 6) return;
    for (int64_t ch = 0; ch < c; ++ch)
      if (!Moments<C>::finite(mean[ch]) || !Moments<C>::finite(variance[ch])) return;
    if (a.n_inputs > 6) {
      const int64_t batches = ++*a.in(6).as<int64_t>();
      if (momentum < 0) momentum = 1 / static_cast<double>(batches);
    }
    move(a.in(4), momentum, mean.get(), 1);
    move(a.in(5), momentum, variance.get(), n / (n - 1));
  }
  void move(const Array& running, double momentum, const double* to, double factor) const {
    with_float(running.dtype, [&]<class T>() {
      for (int64_t ch = 0; ch < c; ++ch) {
        T* at = running.as<T>() + (c > 1 ? ch * running.strides[0] : 0);
        const double kept = static_cast<double>(load(at));
        store(at, static_cast<compute_t<T>>((1 - momentum) * kept + momentum * (to[ch] * factor)));
      }
    });
  }
};

// How images are cut for sums over planes: parts of a few images each, and tiles of channels where these are large. All
// of a part lies together, so that memory is read in order; its sums are joined in order.
struct PlaneParts {
  int64_t share, count, width, tiles;  // images of a part, parts; channels of a tile, tiles
  explicit PlaneParts(const Channels& k) {
    const int64_t block = least(kNormBlock / (k.s ? k.s : 1), k.n / 8), task = parts(kNormTask, k.c * k.s + 1);
    share = least(block > task ? block : task, k.n), count = share ? parts(k.n, share) : 0;
    width = 4 * kNormTask / (share * k.s + 1) + 1, width = least(width, k.c), tiles = width ? parts(k.c, width) : 0;
  }
  int64_t images(const Channels& k, int64_t part) const { return least(k.n - part * share, share); }
  // One sum after another of all parts: found and partial are Sums::kFields times c each.
  template <class Sums> void join(const Channels& k, const double* partial, double* found) const {
    std::fill_n(found, Sums::kFields * k.c, 0.0);
    for (int64_t part = 0; part < count; ++part)
      Sums::join(found, k.c, static_cast<double>(part * share * k.s), partial + part * Sums::kFields * k.c, k.c,
                 static_cast<double>(images(k, part) * k.s), k.c);
  }
  // Calls sum(channel, first element, images, sums) for each channel of each part; sums: those of the part.
  template <class Sums, class F> void each(const Channels& k, double* partial, F sum) const {
    parallel_ranges(count * tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t part = task / tiles, first = task % tiles * width, last = least(first + width, k.c);
        for (int64_t ch = first; ch < last; ++ch)
          sum(ch, (part * share * k.c + ch) * k.s, images(k, part), partial + part * Sums::kFields * k.c);
      }
    });
  }
};
// Calls plane(channel, first element) for all planes, the last ones first.
template <class F> static void each_plane(const Channels& k, F plane) {
  parallel_backwards(k.n * k.c, parts(kNormTask, k.s + 1), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin, ch = begin % k.c; p < end; ++p, ch = ch + 1 < k.c ? ch + 1 : 0) plane(ch, p * k.s);
  });
}

template <class T>
static void train_planes(const Channels& k, const Result<T>& result, const BatchStatistics<compute_t<T>>& b) {
  using Sums = ColumnMoments<compute_t<T>>;
  using M = Moments<compute_t<T>>;
  const PlaneParts cut(k);
  const Scratch<double> partial(cut.count * Sums::kFields * k.c), found(Sums::kFields * k.c);
  cut.each<Sums>(k, partial.get(), [&](int64_t ch, int64_t at, int64_t images, double* sums) {
    typename M::P p = M::identity();
    add_plane_moments(result.x, at, k.c * k.s, images, k.s, p);
    sums[ch] = p.c, sums[k.c + ch] = p.offset, sums[2 * k.c + ch] = p.squares;
  });
  cut.join<Sums>(k, partial.get(), found.get());
  for (int64_t ch = 0; ch < k.c; ++ch)
    b.set(ch, {static_cast<double>(k.rows()), found[ch], found[k.c + ch], found[2 * k.c + ch]});
  each_plane(k, [&](int64_t ch, int64_t at) { b.map.plane(ch, result, at, k.s); });
}

template <class T>
static void train_rows(const Channels& k, const Result<T>& result, const BatchStatistics<compute_t<T>>& b) {
  const Scratch<typename Moments<compute_t<T>>::P> found(k.c);
  column_moments(result.x, k.rows(), k.c, found.get());
  for (int64_t ch = 0; ch < k.c; ++ch) b.set(ch, found[ch]);
  affine_rows(b.map, result, k.rows(), k.c);
}

static void batch_norm_training(const Args& a) {
  const Channels k = channels_of(a.in(0), a.integer(2) != 0);
  with_float(a.in(0).dtype, [&]<class T>() {
    const BatchStatistics<compute_t<T>> b(a, k.c, a.number(1));
    const T* residual = a.in(3) ? a.in(3).as<T>() : nullptr;
    const Result<T> result{a.in(0).as<T>(), a.out().as<T>(), residual, a.integer(3) != 0};
    (k.last ? train_rows<T> : train_planes<T>)(k, result, b);
    b.update(a.number(0), static_cast<double>(k.rows()));
  });
}

// ---- by statistics that were kept ---------------------------------------------------------------------------------
static void check_kept(const char* name, const Values<double>& values, int64_t c, double from) {
  for (int64_t ch = 0; ch < c; ++ch)
    if (!(values[ch] >= from && values[ch] <= std::numeric_limits<double>::max()))
      throw ValueFault("batch_norm_inference: " + std::string(name) + " of channel " + std::to_string(ch) + " is " +
                       std::to_string(values[ch]));
}

static void batch_norm_inference(const Args& a) {
  const double eps = a.number(0);
  const Channels k = channels_of(a.in(0), a.integer(1) != 0);
  with_float(a.in(0).dtype, [&]<class T>() {
    using C = compute_t<T>;
    const Values<double> mean(a.in(1), k.c, 0), variance(a.in(2), k.c, 1);
    const Values<C> weight(a.in(3), k.c, 1), bias(a.in(4), k.c, 0);
    check_kept("the running mean", mean, k.c, std::numeric_limits<double>::lowest());
    check_kept("the running variance", variance, k.c, 0);
    const Affine<C> map(k.c);
    for (int64_t ch = 0; ch < k.c; ++ch) map.set(ch, mean[ch], 0, weight[ch] / std::sqrt(variance[ch] + eps), bias[ch]);
    const Result<T> result{a.in(0).as<T>(), a.out().as<T>()};
    if (k.last) return affine_rows(map, result, k.rows(), k.c);
    each_plane(k, [&](int64_t ch, int64_t at) { map.plane(ch, result, at, k.s); });
  });
}

// ---- gradients ----------------------------------------------------------------------------------------------------
// With xhat = (x - mean) rstd: dbias = sum dy, dweight = sum dy xhat,
// dx = weight rstd (dy - dbias / n - xhat dweight / n).
template <class C> struct BatchGradient {
  int64_t c;
  double n;
  Values<C> mean;
  Values<double> rstd;
  Values<C> weight;
  Scratch<Pair> sums;
  AffinePair<C> map;
  BatchGradient(const Args& a, const Channels& k)
      : c(k.c), n(static_cast<double>(k.rows())), mean(a.in(2), c, 0), rstd(a.in(3), c, 1), weight(a.in(4), c, 1),
        sums(c), map(c) {}
  void set(int64_t ch) const {
    const double w = weight[ch], by = w * rstd[ch] * rstd[ch] * sums[ch].product / n;
    map.center[ch] = mean[ch], map.weight[ch] = weight[ch], map.slope[ch] = static_cast<C>(by);
    map.shift[ch] = static_cast<C>(w * sums[ch].sum / n), map.scale[ch] = static_cast<C>(rstd[ch]);
  }
};

template <class T>
static void sum_planes(const Channels& k, const Gradient<T>& dy, const T* x, const BatchGradient<compute_t<T>>& g) {
  using Sums = ColumnPairs<compute_t<T>>;
  const PlaneParts cut(k);
  const Scratch<double> partial(cut.count * Sums::kFields * k.c), found(Sums::kFields * k.c);
  cut.each<Sums>(k, partial.get(), [&](int64_t ch, int64_t at, int64_t images, double* sums) {
    Pair p;
    add_plane_pairs(dy, x, at, k.c * k.s, images, k.s, g.mean[ch], p);
    sums[ch] = p.sum, sums[k.c + ch] = p.product;
  });
  cut.join<Sums>(k, partial.get(), found.get());
  for (int64_t ch = 0; ch < k.c; ++ch) g.sums[ch] = {found[ch], found[k.c + ch]};
}

static void batch_norm_backward(const Args& a) {
  const Channels k = channels_of(a.in(1), a.integer(0) != 0);
  with_float(a.in(1).dtype, [&]<class T>() {
    using C = compute_t<T>;
    const bool relu = a.integer(1) != 0;
    const T* x = a.in(1).as<T>();
    T* dx = a.out(0).as<T>();
    const bool vectors = k.last ? k.c % kLanes<C> == 0 : k.s % LaneSum<C>::kWide == 0;  // whole ones
    const bool keeps = kKeepsLanes<T> && relu && dx && vectors;
    const Scratch<uint16_t> kept(keeps ? parts(a.in(1).size(), kLanes<C>) : 0);
    const Gradient<T> dy{a.in(0).as<T>(), relu ? a.in(5).as<T>() : nullptr, keeps ? kept.get() : nullptr};
    const BatchGradient<C> g(a, k);
    if (k.last) column_pairs(dy, x, k.rows(), k.c, g.mean.get(), g.sums.get());
    else sum_planes(k, dy, x, g);
    for (int64_t ch = 0; ch < k.c; ++ch) g.set(ch);
    if (dx && k.last) affine_pair_rows(g.map, dy, x, dx, k.rows(), k.c);
    else if (dx) each_plane(k, [&](int64_t ch, int64_t at) { g.map.plane(ch, dy, x, dx, at, k.s); });
    set_values(a.out(1), k.c, [&](int64_t ch) { return g.sums[ch].product * g.rstd[ch]; });
    set_values(a.out(2), k.c, [&](int64_t ch) { return g.sums[ch].sum; });
  });
}

static const Kernel kernels[] = {
    {"norm:batch_norm_training", batch_norm_training, 0b1111},
    {"norm:batch_norm_inference", batch_norm_inference, kAllContiguous},
    {"norm:batch_norm_backward", batch_norm_backward, kAllContiguous},
};
