// Group normalisation: for each image and group of channels by its own mean and standard deviation. With as many groups
// as channels that is instance normalisation.
//
// Memory bounds it: 8 bytes an element forward (float32), 12 backward, as a group mostly stays in cache between the
// pass that adds and the pass that maps. With channels first a task takes whole groups, which lie together; with
// channels last it takes images, whose channels are added by columns. Gradients of weight and bias are sums of each
// image, added in order in double.
//
// Parameters: forward 0 groups, 1 eps, 2 channels last; backward 0 groups, 1 channels last.
#include "norm/channels.inl"

struct Groups {
  int64_t n, c, s, groups, width;  // width: channels of a group
  bool last;
  Groups(const Array& x, int64_t g, bool channels_last) : n(1), groups(g), last(channels_last) {
    const Channels k = channels_of(x, channels_last);
    n = k.n, c = k.c, s = k.s, width = g ? c / g : 0;
  }
  int64_t values() const { return width * s; }
  // Calls image(n) for all of them: in parallel where there are several, else with what is parallel within.
  template <class F> void each_image(F image) const {
    if (n == 1) return image(int64_t{0});
    parallel_ranges(n, parts(kNormTask, c * s + 1), [&](int64_t begin, int64_t end) {
      const Serial alone(true);
      for (int64_t k = begin; k < end; ++k) image(k);
    });
  }
};

template <class C> struct GroupForward {
  using M = Moments<C>;
  const Args& a;
  const Groups& k;
  double eps;
  Values<C> weight, bias;
  GroupForward(const Args& args, const Groups& groups)
      : a(args), k(groups), eps(a.number(1)), weight(a.in(1), k.c, 1), bias(a.in(2), k.c, 0) {}
  double rstd_of(int64_t row, const typename M::P& p) const {
    const double rstd = 1 / std::sqrt(M::variance(p, 0) + eps);
    if (a.out(1)) a.out(1).as<C>()[row] = static_cast<C>(p.mean());
    if (a.out(2)) a.out(2).as<C>()[row] = static_cast<C>(rstd);
    return rstd;
  }
};

template <class T> static void groups_first(const GroupForward<compute_t<T>>& f, const T* x, T* out) {
  using C = compute_t<T>;
  using M = Moments<C>;
  const Groups& k = f.k;
  parallel_ranges(k.n * k.groups, parts(kNormTask, k.values() + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * k.values(), channel = row % k.groups * k.width;
      typename M::P p = M::identity();
      add_moments(x + at, k.values(), p);
      const double rstd = f.rstd_of(row, p);
      const C center = static_cast<C>(p.c), scale = static_cast<C>(rstd), offset = static_cast<C>(-p.offset * rstd);
      if (k.s == 1) {
        const C *w = f.weight.get() + channel, *b = f.bias.get() + channel;
        map_one(x + at, out + at, k.width, [=](int64_t i, C v) DLCORE_MAP {
          return fma_(fma_(v - center, scale, offset), w[i], b[i]);
        });
        continue;
      }
      for (int64_t c = 0; c < k.width; ++c) {
        const double w = f.weight[channel + c];
        const C factor = static_cast<C>(rstd * w), bias = static_cast<C>(f.bias[channel + c] - p.offset * rstd * w);
        const int64_t plane = at + c * k.s;
        map_one(x + plane, out + plane, k.s, [=](int64_t, C v) DLCORE_MAP { return fma_(v - center, factor, bias); });
      }
    }
  });
}

template <class T> static void groups_last(const GroupForward<compute_t<T>>& f, const T* x, T* out) {
  using C = compute_t<T>;
  using M = Moments<C>;
  const Groups& k = f.k;
  k.each_image([&](int64_t n) {
    const T* image = x + n * k.c * k.s;
    const Scratch<typename M::P> found(k.c);
    column_moments(image, k.s, k.c, found.get());
    const Affine<C> map(k.c);
    for (int64_t g = 0; g < k.groups; ++g) {
      typename M::P p = M::identity();
      for (int64_t c = 0; c < k.width; ++c) M::join(p, found[g * k.width + c]);
      const double rstd = f.rstd_of(n * k.groups + g, p);
      for (int64_t c = g * k.width; c < (g + 1) * k.width; ++c)
        map.set(c, p.c, p.offset, rstd * f.weight[c], f.bias[c]);
    }
    affine_rows(map, Result<T>{image, out + n * k.c * k.s}, k.s, k.c);
  });
}

static void group_norm_forward(const Args& a) {
  const Groups k(a.in(0), a.integer(0), a.integer(2) != 0);
  with_float(a.in(0).dtype, [&]<class T>() {
    const GroupForward<compute_t<T>> f(a, k);
    (k.last ? groups_last<T> : groups_first<T>)(f, a.in(0).as<T>(), a.out().as<T>());
  });
}

// ---- gradients ----------------------------------------------------------------------------------------------------
// With g = dy weight and xhat = (x - mean) rstd, means over the group: dx = rstd (g - mean(g) - xhat mean(g xhat)).
template <class C> struct GroupBackward {
  const Groups& k;
  const C *mean, *rstd;  // of each image and group
  Values<C> weight;
  Scratch<Pair> sums;  // of each image and channel
  GroupBackward(const Args& a, const Groups& groups)
      : k(groups), mean(a.in(2).as<C>()), rstd(a.in(3).as<C>()), weight(a.in(4), k.c, 1), sums(k.n * k.c) {}
  // What is taken off before the product with rstd: (x - mean) * slope + shift
  void slope_of(int64_t row, C& slope, C& shift) const {
    const int64_t channel = row % k.groups * k.width, first = row / k.groups * k.c + channel;
    const double n = static_cast<double>(k.values()), r = rstd[row];
    double sum = 0, product = 0;
    for (int64_t c = 0; c < k.width; ++c) {
      sum += weight[channel + c] * sums[first + c].sum;
      product += weight[channel + c] * sums[first + c].product;
    }
    slope = static_cast<C>(r * r * product / n), shift = static_cast<C>(sum / n);
  }
  double total(int64_t c, bool of_weight) const {
    double found = 0;
    for (int64_t n = 0; n < k.n; ++n) {
      const Pair& p = sums[n * k.c + c];
      found += of_weight ? p.product * rstd[n * k.groups + c / k.width] : p.sum;
    }
    return found;
  }
};

template <class T> static void backward_first(const GroupBackward<compute_t<T>>& b, const T* dy, const T* x, T* dx) {
  using C = compute_t<T>;
  const Groups& k = b.k;
  parallel_ranges(k.n * k.groups, parts(kNormTask, k.values() + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * k.values(), channel = row % k.groups * k.width, first = row / k.groups * k.c + channel;
      const C mean = b.mean[row], rstd = b.rstd[row];
      for (int64_t c = 0; c < k.width; ++c) {
        Pair p;
        if (k.s == 1) {
          const C d = load(dy + at + c);
          p = {d, static_cast<double>(d) * (load(x + at + c) - mean)};
        } else {
          add_pair(dy + at + c * k.s, x + at + c * k.s, k.s, mean, p);
        }
        b.sums[first + c] = p;
      }
      if (!dx) continue;
      C slope, shift;
      b.slope_of(row, slope, shift);
      if (k.s == 1) {
        const C* w = b.weight.get() + channel;
        map_two(dy + at, x + at, dx + at, k.width, [=](int64_t i, C d, C v) DLCORE_MAP {
          return (d * w[i] - fma_(v - mean, slope, shift)) * rstd;
        });
        continue;
      }
      for (int64_t c = 0; c < k.width; ++c) {
        const C w = b.weight[channel + c];
        const int64_t plane = at + c * k.s;
        map_two(dy + plane, x + plane, dx + plane, k.s, [=](int64_t, C d, C v) DLCORE_MAP {
          return (d * w - fma_(v - mean, slope, shift)) * rstd;
        });
      }
    }
  });
}

template <class T> static void backward_last(const GroupBackward<compute_t<T>>& b, const T* dy, const T* x, T* dx) {
  using C = compute_t<T>;
  const Groups& k = b.k;
  k.each_image([&](int64_t n) {
    const int64_t at = n * k.c * k.s;
    const AffinePair<C> map(k.c);
    for (int64_t c = 0; c < k.c; ++c) {
      const int64_t row = n * k.groups + c / k.width;
      map.center[c] = b.mean[row], map.weight[c] = b.weight[c], map.scale[c] = b.rstd[row];
    }
    column_pairs(Elements<T>{dy + at}, x + at, k.s, k.c, map.center.get(), b.sums.get() + n * k.c);
    if (!dx) return;
    for (int64_t g = 0; g < k.groups; ++g) {
      C slope, shift;
      b.slope_of(n * k.groups + g, slope, shift);
      for (int64_t c = g * k.width; c < (g + 1) * k.width; ++c) map.slope[c] = slope, map.shift[c] = shift;
    }
    affine_pair_rows(map, Gradient<T>{dy + at}, x + at, dx + at, k.s, k.c);
  });
}

static void group_norm_backward(const Args& a) {
  const Groups k(a.in(1), a.integer(0), a.integer(1) != 0);
  with_float(a.in(1).dtype, [&]<class T>() {
    const GroupBackward<compute_t<T>> b(a, k);
    (k.last ? backward_last<T> : backward_first<T>)(b, a.in(0).as<T>(), a.in(1).as<T>(), a.out(0).as<T>());
    set_values(a.out(1), k.c, [&](int64_t c) { return b.total(c, true); });
    set_values(a.out(2), k.c, [&](int64_t c) { return b.total(c, false); });
  });
}

static const Kernel kernels[] = {
    {"norm:group_norm_forward", group_norm_forward, kAllContiguous},
    {"norm:group_norm_backward", group_norm_backward, kAllContiguous},
};
