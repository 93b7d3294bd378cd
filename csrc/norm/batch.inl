// Batch normalisation: (x - mean) * rstd * weight + bias, by the statistics of the batch or by those that were kept.
//
// Memory bounds it: 8 bytes an element forward (float32), 12 backward, if a channel stays in cache between the pass
// that adds and the pass that maps. With channels first a task takes whole channels through both passes; with channels
// last rows are added in fixed parts, and mapped afterwards. Statistics are those of `Moments`: one pass a block.
//
// Parameters: training: 0 momentum, below 0 for the mean of all batches, 1 eps, 2 channels last;
//             inference: 0 eps, 1 channels last; backward: 0 channels last.
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
    if (a.n_inputs < 5) return;
    for (int64_t ch = 0; ch < c; ++ch)
      if (!Moments<C>::finite(mean[ch]) || !Moments<C>::finite(variance[ch])) return;
    if (a.n_inputs > 5) {
      const int64_t batches = ++*a.in(5).as<int64_t>();
      if (momentum < 0) momentum = 1 / static_cast<double>(batches);
    }
    move(a.in(3), momentum, mean.get(), 1);
    move(a.in(4), momentum, variance.get(), n / (n - 1));
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

// Few channels are taken in parts, this many of each.
static int64_t plane_split(const Channels& k) { return k.c >= 8 || k.n * k.c == 0 ? 1 : least(k.n, parts(8, k.c)); }

template <class T>
static void train_planes(const Channels& k, const T* x, T* out, const BatchStatistics<compute_t<T>>& b) {
  using M = Moments<compute_t<T>>;
  using P = typename M::P;
  const int64_t split = plane_split(k), share = parts(k.n, split), image = k.c * k.s;
  const auto each = [&](int64_t task, auto&& plane) {
    const int64_t first = task % split * share, last = least(k.n, first + share);
    for (int64_t n = first; n < last; ++n) plane(n * image + task / split * k.s);
  };
  const int64_t grain = parts(kNormTask, share * k.s + 1);
  const Scratch<P> partial(k.c * split);
  parallel_ranges(k.c * split, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % split * share, images = least(k.n - first, share);
      P p = M::identity();
      add_plane_moments(x + first * image + task / split * k.s, image, images, k.s, p);
      partial[task] = p;
      if (split > 1) continue;
      b.set(task, p);  // the channel is in cache
      each(task, [&](int64_t at) { b.map.plane(task, x + at, out + at, k.s); });
    }
  });
  if (split == 1) return;
  for (int64_t ch = 0; ch < k.c; ++ch) {
    P p = M::identity();
    for (int64_t j = 0; j < split; ++j) M::join(p, partial[ch * split + j]);
    b.set(ch, p);
  }
  parallel_ranges(k.c * split, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      each(task, [&](int64_t at) { b.map.plane(task / split, x + at, out + at, k.s); });
  });
}

template <class T>
static void train_rows(const Channels& k, const T* x, T* out, const BatchStatistics<compute_t<T>>& b) {
  const Scratch<typename Moments<compute_t<T>>::P> found(k.c);
  column_moments(x, k.rows(), k.c, found.get());
  for (int64_t ch = 0; ch < k.c; ++ch) b.set(ch, found[ch]);
  affine_rows(b.map, x, out, k.rows(), k.c);
}

static void batch_norm_training(const Args& a) {
  const Channels k = channels_of(a.in(0), a.integer(2) != 0);
  with_float(a.in(0).dtype, [&]<class T>() {
    const BatchStatistics<compute_t<T>> b(a, k.c, a.number(1));
    (k.last ? train_rows<T> : train_planes<T>)(k, a.in(0).as<T>(), a.out().as<T>(), b);
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
    const T* x = a.in(0).as<T>();
    T* out = a.out().as<T>();
    const Values<double> mean(a.in(1), k.c, 0), variance(a.in(2), k.c, 1);
    const Values<C> weight(a.in(3), k.c, 1), bias(a.in(4), k.c, 0);
    check_kept("the running mean", mean, k.c, std::numeric_limits<double>::lowest());
    check_kept("the running variance", variance, k.c, 0);
    const Affine<C> map(k.c);
    for (int64_t ch = 0; ch < k.c; ++ch) map.set(ch, mean[ch], 0, weight[ch] / std::sqrt(variance[ch] + eps), bias[ch]);
    if (k.last) return affine_rows(map, x, out, k.rows(), k.c);
    parallel_ranges(k.n * k.c, parts(kNormTask, k.s + 1), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) map.plane(p % k.c, x + p * k.s, out + p * k.s, k.s);
    });
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
    const double factor = weight[ch] * rstd[ch], by = factor * rstd[ch] * rstd[ch] * sums[ch].product / n;
    map.center[ch] = mean[ch], map.scale[ch] = static_cast<C>(factor), map.slope[ch] = static_cast<C>(by);
    map.shift[ch] = static_cast<C>(factor * sums[ch].sum / n);
  }
};

template <class T>
static void backward_planes(const Channels& k, const T* dy, const T* x, T* dx, const BatchGradient<compute_t<T>>& g) {
  const int64_t split = plane_split(k), share = parts(k.n, split), image = k.c * k.s;
  const auto each = [&](int64_t task, auto&& plane) {
    const int64_t first = task % split * share, last = least(k.n, first + share);
    for (int64_t n = first; n < last; ++n) plane(n * image + task / split * k.s);
  };
  const int64_t grain = parts(kNormTask, share * k.s + 1);
  const Scratch<Pair> partial(k.c * split);
  const auto map = [&](int64_t task) {
    each(task, [&](int64_t at) { g.map.plane(task / split, dy + at, x + at, dx + at, k.s); });
  };
  parallel_ranges(k.c * split, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % split * share, at = first * image + task / split * k.s;
      Pair p;
      add_plane_pairs(dy + at, x + at, image, least(k.n - first, share), k.s, g.mean[task / split], p);
      partial[task] = p;
      if (split > 1) continue;
      g.sums[task] = p, g.set(task);
      if (dx) map(task);
    }
  });
  if (split == 1) return;
  for (int64_t ch = 0; ch < k.c; ++ch) {
    g.sums[ch] = Pair{};
    for (int64_t j = 0; j < split; ++j) g.sums[ch].add(partial[ch * split + j]);
    g.set(ch);
  }
  if (!dx) return;
  parallel_ranges(k.c * split, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) map(task);
  });
}

static void batch_norm_backward(const Args& a) {
  const Channels k = channels_of(a.in(1), a.integer(0) != 0);
  with_float(a.in(1).dtype, [&]<class T>() {
    using C = compute_t<T>;
    const T *dy = a.in(0).as<T>(), *x = a.in(1).as<T>();
    T* dx = a.out(0).as<T>();
    const BatchGradient<C> g(a, k);
    if (k.last) {
      column_pairs(dy, x, k.rows(), k.c, g.mean.get(), g.sums.get());
      for (int64_t ch = 0; ch < k.c; ++ch) g.set(ch);
      if (dx) affine_pair_rows(g.map, dy, x, dx, k.rows(), k.c);
    } else {
      backward_planes(k, dy, x, dx, g);
    }
    set_values(a.out(1), k.c, [&](int64_t ch) { return g.sums[ch].product * g.rstd[ch]; });
    set_values(a.out(2), k.c, [&](int64_t ch) { return g.sums[ch].sum; });
  });
}

static const Kernel kernels[] = {
    {"norm:batch_norm_training", batch_norm_training, 0b111},
    {"norm:batch_norm_inference", batch_norm_inference, kAllContiguous},
    {"norm:batch_norm_backward", batch_norm_backward, kAllContiguous},
};
