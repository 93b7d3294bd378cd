// Losses of pairs of numbers, l1_loss, smooth_l1_loss, huber_loss, binary_cross_entropy, the same of logits and kl_div,
// with the gradient in the same pass.
//
// Bound by memory but for those with logarithms: two reads and, where a gradient is wanted, one write of each element,
// 12 bytes in float32. The gradient holds the factor of the reduction. Blocks are summed in the compute type, their
// sums in double, in a fixed order.
#include "common/dtypes.inl"
#include "common/fold.inl"
#include "common/log1p.inl"
#include "common/math.inl"
#include "core/threads.h"

enum Reduction : int64_t { kNone, kMean, kSum };  // as REDUCTIONS in dlcore/ops/loss.py

DLCORE_MATH T sign_(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : x; }  // of zeros and NaN: themselves

// A loss is a functor of compute type C, made from the parameters behind the reduction: (value, slope) of an input x
// and a target t. `checked`: whether inputs must lie in [0, 1].
template <class C> struct Graded {
  C value, slope;
};
struct Unchecked {
  static constexpr bool checked = false;
  explicit Unchecked(const Param*) {}
};

template <class C> struct L1 : Unchecked {
  using Unchecked::Unchecked;
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const { return {abs_(x - t), sign_(x - t)}; }
};
template <class C> struct SmoothL1 {
  static constexpr bool checked = false;
  C beta;
  explicit SmoothL1(const Param* p) : beta(static_cast<C>(p[0].f)) {}
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const {
    const C d = x - t, a = abs_(d), q = d / beta;
    return {a < beta ? C(0.5) * d * q : a - C(0.5) * beta, a < beta ? q : sign_(d)};
  }
};
template <class C> struct Huber {
  static constexpr bool checked = false;
  C delta;
  explicit Huber(const Param* p) : delta(static_cast<C>(p[0].f)) {}
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const {
    const C d = x - t, a = abs_(d);
    return {a < delta ? C(0.5) * d * d : delta * (a - C(0.5) * delta), a < delta ? d : delta * sign_(d)};
  }
};

// max(x, 0) - x t + log(1 + exp(-|x|)), and the logistic function less t.
template <class C> struct BceLogits : Unchecked {
  using Unchecked::Unchecked;
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const {
    const C e = exp_(-abs_(x)), positive = x > C(0) ? x : C(0), s = (x < C(0) ? e : C(1)) / (C(1) + e);
    return {fma_(-x, t, positive) + log1p_below_one(e), s - t};
  }
};
// -t log(x) - (1 - t) log(1 - x), logarithms of -100 at least; (x - t) / (x (1 - x)), a divisor of 1e-12 at least.
template <class C> struct Bce {
  static constexpr bool checked = true;
  explicit Bce(const Param*) {}
  static __attribute__((always_inline)) C at_least(C x, C low) { return x < low ? low : x; }
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const {
    const C p = at_least(log_(x), C(-100)), q = at_least(log1p_(-x), C(-100));
    return {(t - C(1)) * q - t * p, (x - t) / at_least(x * (C(1) - x), C(1e-12))};
  }
};

template <class C> struct KlDiv : Unchecked {  // t (log(t) - x), 0 where t is 0
  using Unchecked::Unchecked;
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const {
    return {t == C(0) ? C(0) : t * (log_(t) - x), -t};
  }
};
template <class C> struct KlDivOfLogs : Unchecked {  // exp(t) (t - x)
  using Unchecked::Unchecked;
  __attribute__((always_inline)) Graded<C> operator()(C x, C t) const {
    const C p = exp_(t);
    return {p == C(0) ? C(0) : p * (t - x), -p};
  }
};

// ---- the pass -----------------------------------------------------------------------------------------------------

constexpr int64_t kPairBlock = 512;

template <class T> struct PairBlocks {  // of operands and results: where they lie, or widened
  using C = compute_t<T>;
  static constexpr bool kWide = std::is_same_v<T, C>;
  alignas(64) C room[4][kPairBlock];

  const C* read(int k, const T* p, int64_t m) {
    if constexpr (kWide) return p;
    else return load_block(room[k], p, m), room[k];
  }
  C* written(int k, T* p) {
    if constexpr (kWide) return p ? p : room[k];
    else return room[k];
  }
  void store(int k, T* p, int64_t m) {
    if constexpr (!kWide) {
      if (p) store_block(p, room[k], m);
    }
  }
};

[[noreturn]] static void not_between(const char* name, double value, int64_t i) {
  throw ValueFault(std::string(name) + ": input " + std::to_string(value) + " at position " + std::to_string(i) +
                   " is no probability, between 0 and 1; of logits take binary_cross_entropy_with_logits");
}
template <class C> static void check_probabilities(const char* name, const C* x, int64_t m, int64_t first) {
  int bad = 0;
#pragma omp simd reduction(| : bad)
  for (int64_t i = 0; i < m; ++i) bad |= (x[i] < C(0)) | (x[i] > C(1));
  if (!bad) return;
  for (int64_t i = 0; i < m; ++i)
    if (x[i] < C(0) || x[i] > C(1)) not_between(name, static_cast<double>(x[i]), first + i);
}

// Inputs input, target of one shape; outputs loss, dinput (may be absent). Parameters: reduction, then the functor's.
template <template <class> class F, class T> static void pair_loss_of(const Args& a) {
  using C = compute_t<T>;
  constexpr int64_t kChunk = 1 << 15;
  const T *x = a.in(0).as<T>(), *t = a.in(1).as<T>();
  const int64_t n = a.in(0).size(), reduction = a.integer(0);
  T *out = reduction == kNone ? a.out(0).as<T>() : nullptr, *dx = a.out(1).as<T>();
  const C factor = static_cast<C>(reduction == kMean ? 1.0 / static_cast<double>(n) : 1.0);
  const F<C> f(a.params + 1);
  Scratch<double> partial(n / kChunk + 1);
  partial[0] = 0;
  parallel_ranges(n, kChunk, [&](int64_t begin, int64_t end) {
    PairBlocks<T> blocks;
    double sum = 0;
    for (int64_t i = begin; i < end; i += kPairBlock) {
      const int64_t m = end - i < kPairBlock ? end - i : kPairBlock;
      const C *u = blocks.read(0, x + i, m), *v = blocks.read(1, t + i, m);
      if constexpr (F<C>::checked) check_probabilities("binary_cross_entropy", u, m, i);
      C *value = blocks.written(2, out ? out + i : nullptr), *slope = blocks.written(3, dx ? dx + i : nullptr);
      if (dx) {
#pragma omp simd
        for (int64_t j = 0; j < m; ++j) {
          const Graded<C> g = f(u[j], v[j]);
          value[j] = g.value;
          slope[j] = g.slope * factor;
        }
        blocks.store(3, dx + i, m);
      } else {
#pragma omp simd
        for (int64_t j = 0; j < m; ++j) value[j] = f(u[j], v[j]).value;
      }
      if (out) blocks.store(2, out + i, m);
      else sum += sum_of<C>(m, [=](int64_t j) DLCORE_MAP { return value[j]; });
    }
    partial[begin / kChunk] = sum;
  });
  if (out) return;
  const double sum = sum_of<double>((n + kChunk - 1) / kChunk, [&](int64_t i) DLCORE_MAP { return partial[i]; });
  const double loss = reduction == kMean ? sum / static_cast<double>(n) : sum;
  store(a.out(0).as<T>(), static_cast<C>(loss));
}

// ---- kernels ------------------------------------------------------------------------------------------------------

template <template <class> class F> static void pair_loss(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pair_loss_of<F, T>(a); });
}

static const Kernel kernels[] = {
    {"loss:l1_loss", pair_loss<L1>, kAllContiguous},
    {"loss:smooth_l1_loss", pair_loss<SmoothL1>, kAllContiguous},
    {"loss:huber_loss", pair_loss<Huber>, kAllContiguous},
    {"loss:binary_cross_entropy", pair_loss<Bce>, kAllContiguous},
    {"loss:binary_cross_entropy_with_logits", pair_loss<BceLogits>, kAllContiguous},
    {"loss:kl_div", pair_loss<KlDiv>, kAllContiguous},
    {"loss:kl_div_of_logs", pair_loss<KlDivOfLogs>, kAllContiguous},
};
