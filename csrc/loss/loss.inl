// cross_entropy and mse_loss with their gradients in the same pass, the scaling of such a gradient; nll_loss.
//
// The gradient of a loss is asked for right after the loss: while a line of logits is in cache its gradient costs no
// further trip to memory. cross_entropy must read the logits and write dlogits, 8 bytes an element (float32); the
// separate kernels it replaces (log_softmax, nll_loss, and both backward) move 24. The gradient already holds the
// factor of the reduction, and `scale` leaves memory alone when the factor that comes from above is 1, as at the root.

#include "common/dtypes.inl"
#include "common/lines.inl"
#include "common/loop_nest.inl"
#include "loss/position.inl"

enum Reduction : int64_t { kNone, kMean, kSum };  // as REDUCTIONS in dlcore/ops/loss.py

// Labels as int64, -1 where ignored; throws before anything is written.
static void read_labels(const char* operation, const Array& target, int64_t classes, int64_t ignore,
                        int64_t* labels) {
  const int64_t count = target.size();
  with_integer(target.dtype, [&]<class T>() {
    for (int64_t i = 0; i < count; ++i) labels[i] = static_cast<int64_t>(target.as<const T>()[i]);
  });
  for (int64_t i = 0; i < count; ++i) {
    const int64_t label = labels[i];
    if (label != ignore && (label < 0 || label >= classes))
      throw IndexFault(std::string(operation) + ": label " + std::to_string(label) + " at position " +
                       position(target, i) + " is out of range for " + std::to_string(classes) +
                       (classes == 1 ? " class" : " classes"));
    labels[i] = label == ignore ? -1 : label;
  }
}

static void store_loss(const Array& out, int64_t i, double x) {
  with_float(out.dtype, [&]<class T>() { store(out.as<T>() + i, static_cast<compute_t<T>>(x)); });
}

// ---- cross_entropy ------------------------------------------------------------------------------------------------
// loss = (1 - s) w[t] nll(t) + s / n sum_c w[c] nll(c), nll(c) = log(sum(exp(x))) - x[c], s the label smoothing.
// dlogits = factor ((1 - s) w[t] (p - [c = t]) + s / n (sum(w) p - w[c])), p the softmax: a multiple of p, less others.
template <class C> struct CrossEntropy {
  int64_t n;
  double smoothing, factor;  // factor: of dlogits, from the reduction
  const C* weight;           // null: all 1
  double weight_sum;
  const int64_t* labels;
  double* losses;

  double hard(int64_t label) const { return (1 - smoothing) * (weight ? weight[label] : 1); }
  double soft() const { return smoothing / static_cast<double>(n); }
  C weight_of(int64_t c) const { return weight ? weight[c] : C(1); }
  C times(int64_t label, double sum) const {
    return static_cast<C>(factor * (hard(label) + soft() * weight_sum) / sum);
  }
  // own: x[label] - max; all: the weighted sum of x - max, or 0 without smoothing
  double loss(int64_t label, double log_sum, double own, double all) const {
    return hard(label) * (log_sum - own) + (smoothing == 0 ? 0 : soft() * (weight_sum * log_sum - all));
  }

  void line(int64_t k, const C* x, const C*, C* dx) const {
    const int64_t label = labels[k];
    if (label < 0) {
      losses[k] = 0;
      if (dx) std::memset(dx, 0, sizeof(C) * static_cast<size_t>(n));
      return;
    }
    const C max = max_of(n, x);
    const double sum = dx ? sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return dx[i] = exp_below(x[i] - max); })
                          : sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return exp_below(x[i] - max); });
    const double all =
        smoothing == 0 ? 0 : sum_of<C>(n, [=, this](int64_t i) DLCORE_MAP { return weight_of(i) * (x[i] - max); });
    losses[k] = loss(label, log_(static_cast<C>(sum)), x[label] - max, all);
    if (!dx) return;
    const C p = times(label, sum), share = static_cast<C>(factor * soft());
    if (smoothing == 0) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) dx[i] *= p;
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) dx[i] = dx[i] * p - share * weight_of(i);
    }
    dx[label] -= static_cast<C>(factor * hard(label));
  }

  void columns(int64_t k, int64_t ld, int64_t w, const C* x, const C*, C* dx) const {
    C max[kColumns], log_sum[kColumns];
    double sums[kColumns], all[kColumns];
    column_maxima(x, n, ld, w, max);
    if (dx)
      column_sums<C>(n, w, sums, [&](int64_t j, int64_t c) DLCORE_MAP {
        return dx[j * ld + c] = exp_below(x[j * ld + c] - max[c]);
      });
    else
      column_sums<C>(n, w, sums, [&](int64_t j, int64_t c) DLCORE_MAP { return exp_below(x[j * ld + c] - max[c]); });
    if (smoothing != 0)
      column_sums<C>(n, w, all, [&](int64_t j, int64_t c) DLCORE_MAP {
        return weight_of(j) * (x[j * ld + c] - max[c]);
      });
    else
      for (int64_t c = 0; c < w; ++c) all[c] = 0;
#pragma omp simd
    for (int64_t c = 0; c < w; ++c) log_sum[c] = log_(static_cast<C>(sums[c]));
    const int64_t* label = labels + k;
    for (int64_t c = 0; c < w; ++c)
      losses[k + c] = label[c] < 0 ? 0 : loss(label[c], log_sum[c], x[label[c] * ld + c] - max[c], all[c]);
    if (!dx) return;
    C p[kColumns], share[kColumns];
    for (int64_t c = 0; c < w; ++c) {
      p[c] = label[c] < 0 ? C(0) : times(label[c], sums[c]);
      share[c] = label[c] < 0 ? C(0) : static_cast<C>(factor * soft());
    }
    column_map(n, ld, w, dx, [&](int64_t j, int64_t c) DLCORE_MAP {
      return dx[j * ld + c] * p[c] - share[c] * weight_of(j);
    });
    for (int64_t c = 0; c < w; ++c) {
      if (label[c] >= 0) dx[label[c] * ld + c] -= static_cast<C>(factor * hard(label[c]));
      else for (int64_t j = 0; j < n; ++j) dx[j * ld + c] = 0;  // 0 * NaN is not 0
    }
  }
};

// Inputs logits (N, C, d...) or (C,), target (N, d...) or (), weight (C,) or none; outputs loss, dlogits or none.
// Parameters: reduction, ignore_index, label_smoothing.
template <class T> static void cross_entropy_of(const Args& a) {
  using C = compute_t<T>;
  const Array &logits = a.in(0), &target = a.in(1), &out = a.out(0);
  const Lines l = lines_of(logits, logits.ndim == 1 ? 0 : 1);
  const int64_t reduction = a.integer(0);
  Scratch<int64_t> labels(l.count());
  read_labels("cross_entropy", target, l.n, a.integer(1), labels.get());

  Scratch<C> weights(a.in(2) ? l.n : 0);
  double weight_sum = static_cast<double>(l.n), total = 0;
  if (a.in(2)) {
    gather_lines(a.in(2).as<T>(), l.n, 1, 1, weights.get());
    weight_sum = sum_of<C>(l.n, [&](int64_t i) DLCORE_MAP { return weights[i]; });
  }
  for (int64_t i = 0; i < l.count(); ++i)
    if (labels[i] >= 0) total += a.in(2) ? weights[labels[i]] : 1;

  Scratch<double> losses(l.count());
  const CrossEntropy<C> lines{l.n, a.number(2), reduction == kMean ? 1 / total : 1, a.in(2) ? weights.get() : nullptr,
                              weight_sum, labels.get(), losses.get()};
  each_line(l, logits.as<T>(), static_cast<const T*>(nullptr), a.out(1).as<T>(), lines);
  if (reduction == kNone) {
    for (int64_t i = 0; i < l.count(); ++i) store_loss(out, i, losses[i]);
  } else {
    const double sum = sum_of<double>(l.count(), [&](int64_t i) DLCORE_MAP { return losses[i]; });
    store_loss(out, 0, reduction == kMean ? sum / total : sum);
  }
}

#include "loss/linear.inl"

// ---- mse_loss -----------------------------------------------------------------------------------------------------
// Inputs input, target of one shape; outputs loss, dinput (may be absent). Parameter: reduction.
template <class T> static void mse_loss_of(const Args& a) {
  using C = compute_t<T>;
  constexpr int64_t kChunk = 65536;
  const T *x = a.in(0).as<T>(), *t = a.in(1).as<T>();
  T *out = a.out(0).as<T>(), *dx = a.out(1).as<T>();
  const int64_t n = a.in(0).size(), reduction = a.integer(0);
  const C twice = static_cast<C>(reduction == kMean ? 2.0 / static_cast<double>(n) : 2.0);
  Scratch<double> partial(n / kChunk + 1);
  partial[0] = 0;
  parallel_ranges(n, kChunk, [&](int64_t begin, int64_t end) {
    const auto difference = [=](int64_t i) DLCORE_MAP { return load(x + begin + i) - load(t + begin + i); };
    if (dx) {
#pragma omp simd
      for (int64_t i = 0; i < end - begin; ++i) store(dx + begin + i, difference(i) * twice);
    }
    if (reduction == kNone) {
#pragma omp simd
      for (int64_t i = 0; i < end - begin; ++i) store(out + begin + i, difference(i) * difference(i));
    } else {
      partial[begin / kChunk] =
          sum_of<C>(end - begin, [=](int64_t i) DLCORE_MAP { return difference(i) * difference(i); });
    }
  });
  if (reduction == kNone) return;
  const double sum = sum_of<double>((n + kChunk - 1) / kChunk, [&](int64_t i) DLCORE_MAP { return partial[i]; });
  store_loss(a.out(0), 0, reduction == kMean ? sum / static_cast<double>(n) : sum);
}

// ---- scale: x *= factor in place ------------------------------------------------------------------------------------
template <class T> static void scale_by(const Args& a) {
  const Array& x = a.in(0);
  const compute_t<T> factor = load(a.in(1).as<T>());
  if (factor == 1) return;
  T* p = x.as<T>();
  if (x.contiguous()) {
    parallel_ranges(x.size(), 65536, [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) store(p + i, load(p + i) * factor);
    });
    return;
  }
  const Array* const arrays[] = {&x};
  const LoopNest<1> nest = loop_over<1>(arrays);
  LoopCursor<1> at(nest, nest.count, 0);
  for (int64_t i = 0, n = x.size(); i < n; ++i, at.next()) store(p + at.offsets[0], load(p + at.offsets[0]) * factor);
}

// ---- nll_loss -----------------------------------------------------------------------------------------------------
// One element of each position is read, and of the gradient one is written into zeros. Parameters: reduction, the label
// that does not count.

struct Chosen {  // where the elements of the labels lie in (outer, classes, inner)
  int64_t classes, inner, positions;
  Scratch<int64_t> labels;
  Chosen(const char* name, const Args& a, const Array& x)
      : classes(x.shape[x.ndim > 1]), inner(1), positions(a.in(1).size()), labels(positions) {
    for (int d = 2; d < x.ndim; ++d) inner *= x.shape[d];
    read_labels(name, a.in(1), classes, a.integer(1), labels.get());
  }
  int64_t at(int64_t i) const { return (i / inner * classes + labels[i]) * inner + i % inner; }
  template <class T> double weight(const T* w, int64_t i) const {
    return labels[i] < 0 ? 0.0 : w ? static_cast<double>(load(w + labels[i])) : 1.0;
  }
  template <class F> double total(F&& term) const {  // of all positions, in chunks, in their order
    constexpr int64_t kChunk = 16384;
    const int64_t chunks = (positions + kChunk - 1) / kChunk;
    Scratch<double> sums(chunks + 1);
    parallel_ranges(positions, kChunk, [&](int64_t begin, int64_t end) {
      sums[begin / kChunk] = sum_of<double>(end - begin, [&](int64_t i) DLCORE_MAP { return term(begin + i); });
    });
    return sum_of<double>(chunks, [&](int64_t k) DLCORE_MAP { return sums[k]; });
  }
};

// input, target, weight -> loss
template <class T> static void nll_loss_of(const Args& a) {
  const Array& x = a.in(0);
  const Chosen chosen("nll_loss", a, x);
  const T *p = x.as<T>(), *w = a.in(2) ? a.in(2).as<T>() : nullptr;
  const auto loss = [&](int64_t i) {
    return chosen.labels[i] < 0 ? 0.0 : -static_cast<double>(load(p + chosen.at(i))) * chosen.weight(w, i);
  };
  if (a.integer(0) == kNone) {
    parallel_ranges(chosen.positions, 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) store_loss(a.out(), i, loss(i));
    });
    return;
  }
  const double sum = chosen.total(loss);
  const bool mean = a.integer(0) == kMean;
  store_loss(a.out(), 0, mean ? sum / chosen.total([&](int64_t i) { return chosen.weight(w, i); }) : sum);
}

// dout, target, weight -> dinput: 0 everywhere where nothing counts.
template <class T> static void nll_loss_backward_of(const Args& a) {
  const Array &dout = a.in(0), &dx = a.out();
  const Chosen chosen("nll_loss", a, dx);
  const T *up = dout.as<T>(), *w = a.in(2) ? a.in(2).as<T>() : nullptr;
  T* p = dx.as<T>();
  double factor = -1;
  if (a.integer(0) == kMean) {
    const double total = chosen.total([&](int64_t i) { return chosen.weight(w, i); });
    factor = total == 0 ? 0 : -1 / total;
  }
  parallel_ranges(dx.size(), 65536, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<void*>(p + begin), 0, sizeof(T) * static_cast<size_t>(end - begin));
  });
  const bool each = a.integer(0) == kNone;
  for (int64_t i = 0; i < chosen.positions; ++i) {
    if (chosen.labels[i] < 0) continue;
    const double above = load(up + (each ? i : 0));
    store(p + chosen.at(i), static_cast<compute_t<T>>(factor * chosen.weight(w, i) * above));
  }
}

// ---- kernels ------------------------------------------------------------------------------------------------------
static void nll_loss(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { nll_loss_of<T>(a); });
}
static void nll_loss_backward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { nll_loss_backward_of<T>(a); });
}
static void cross_entropy(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { cross_entropy_of<T>(a); });
}
static void mse_loss(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { mse_loss_of<T>(a); });
}
static void scale(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { scale_by<T>(a); });
}

static const Kernel kernels[] = {
    {"loss:cross_entropy", cross_entropy, kAllContiguous},
    {"loss:linear_cross_entropy", linear_cross_entropy, kAllContiguous},
    {"loss:mse_loss", mse_loss, kAllContiguous},
    {"loss:nll_loss", nll_loss, kAllContiguous},
    {"loss:nll_loss_backward", nll_loss_backward, kAllContiguous},
    {"loss:scale", scale, 0},
};
