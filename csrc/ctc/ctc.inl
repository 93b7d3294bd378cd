// The connectionist temporal classification loss (Graves et al. 2006) and its gradient in the same pass.
//
// A target of S labels becomes L = 2 S + 1 states, a blank around each label. alpha[t][s] is the logarithm of the
// probability of all ways to be in state s after step t, beta[t][s] of all ways on from there; each is the logarithm of
// a sum of three exponentials a state and step, so arithmetic bounds them. They are kept relative to the largest of the
// step before, and these are added up in double, so that rounding does not grow with the loss. States that cannot be
// reached, or from which the end cannot be, are left out: half of them, where the target is long. The gradient is minus
// the probability of being in a state with the label at step t, exp(alpha + beta) over its sum.
//
// Samples are independent and run in parallel. Parameters: 0 blank, 1 reduction, 2 whether infinite losses become 0.
#include "common/dtypes.inl"
#include "common/fold.inl"
#include "loss/position.inl"

enum Reduction : int64_t { kNone, kMean, kSum };  // as REDUCTIONS in dlcore/ops/loss.py

constexpr int64_t kPad = 2;                   // states beside the first and the last, which are never reached
constexpr int64_t kStatesAtOnce = 8 * 1024;   // states of all steps: about 20 us

// The logarithm of an impossible state: finite, so that differences are numbers. Sums of many stay below kImpossible.
template <class C> constexpr C kNever = C(-1e30);
template <class C> static bool impossible(C x) { return x < C(-1e29); }

static void read_integers(const Array& from, int64_t* to) {
  with_integer(from.dtype, [&]<class T>() {
    for (int64_t i = 0; i < from.size(); ++i) to[i] = static_cast<int64_t>(from.as<const T>()[i]);
  });
}

// Lengths and labels of the samples, checked before anything is written.
struct Targets {
  int64_t samples, blank;
  Scratch<int64_t> labels, steps, lengths, first;  // first: of a sample's labels

  Targets(const Array& log_probs, const Array& targets, const Array& input_lengths, const Array& target_lengths,
          int64_t blank)
      : samples(log_probs.ndim == 3 ? log_probs.shape[1] : 1), blank(blank), labels(targets.size()), steps(samples),
        lengths(samples), first(samples) {
    read_integers(targets, labels.get());
    read_integers(input_lengths, steps.get());
    read_integers(target_lengths, lengths.get());
    const bool padded = targets.ndim == 2;
    const int64_t most = padded ? targets.shape[1] : targets.size();
    for (int64_t n = 0; n < samples; ++n) {
      check(steps[n], log_probs.shape[0], n, "input", "steps of log_probs");
      check(lengths[n], most, n, "target", padded ? "labels of a row of targets" : "labels of targets");
    }
    int64_t end = 0;
    for (int64_t n = 0; n < samples; ++n) {
      first[n] = padded ? n * most : end;
      end += lengths[n];
    }
    if (!padded && end != most)
      throw ValueFault("ctc_loss: targets holds " + std::to_string(most) + " labels, target_lengths add up to " +
                       std::to_string(end));
    const int64_t classes = log_probs.shape[log_probs.ndim - 1];
    for (int64_t n = 0; n < samples; ++n) {
      for (int64_t i = first[n]; i < first[n] + lengths[n]; ++i) {
        if (labels[i] >= 0 && labels[i] < classes && labels[i] != blank) continue;
        const std::string label = "ctc_loss: label " + std::to_string(labels[i]) + " at position " +
                                  position(targets, i);
        throw IndexFault(labels[i] == blank ? label + " is the blank"
                                            : label + " is out of range for " + std::to_string(classes) +
                                                  (classes == 1 ? " class" : " classes"));
      }
    }
  }
  static void check(int64_t length, int64_t most, int64_t n, const char* what, const char* of) {
    if (length < 0 || length > most)
      throw ValueFault("ctc_loss: " + std::string(what) + " length " + std::to_string(length) + " at position " +
                       std::to_string(n) + " is not between 0 and " + std::to_string(most) + ", the " + of);
  }
};

template <class C> static inline __attribute__((always_inline)) C larger(C a, C b) { return a > b ? a : b; }
// log(exp(a) + exp(b) + exp(c)); NaN if one is.
template <class C> static inline __attribute__((always_inline)) C log_sum(C a, C b, C c) {
  const C most = larger(larger(a, b), c);
  return most + log_(exp_below(a - most) + exp_below(b - most) + exp_below(c - most));
}

// The states of one sample.
template <class T> struct Lattice {
  using C = compute_t<T>;
  const T* x;  // log_probs of its first step
  int64_t step_stride, class_stride, steps, states, width;
  const int64_t* label;  // of each state
  const C* skip;         // 0 where a state may follow the one before the last, else kNever

  int64_t low(int64_t t) const { return std::max<int64_t>(0, states - 2 * (steps - t)); }
  int64_t high(int64_t t) const { return std::min(states, 2 * t + 2); }

  void emissions(int64_t t, C* e) const {
    const T* row = x + t * step_stride;
    const int64_t end = high(t);
    for (int64_t s = low(t); s < end; ++s) {
      const C value = load(row + label[s] * class_stride);
      e[s] = value < kNever<C> ? kNever<C> : value;
    }
  }
  // Row t of alpha from the row before (null: the first), `top` below; returns the largest.
  C advance(int64_t t, const C* before, C top, const C* e, C* alpha) const {
    const int64_t begin = low(t), end = high(t);
    C most = kNever<C>;
    if (!before) {
      for (int64_t s = begin; s < end; ++s) alpha[s] = e[s];
    } else {
#pragma omp simd
      for (int64_t s = begin; s < end; ++s)
        alpha[s] = log_sum(before[s], before[s - 1], before[s - 2] + skip[s]) + (e[s] - top);
    }
    for (int64_t s = begin; s < end; ++s) most = larger(alpha[s], most);
    for (int64_t k = 1; k <= kPad; ++k) alpha[begin - k] = kNever<C>;
    for (int64_t k = 0; k < kPad; ++k) alpha[end + k] = kNever<C>;
    return impossible(most) ? C(0) : most;
  }
  // The negative logarithm of the probability of the target; keeps all rows of alpha, or the last two.
  double forward(C* alpha, bool keep, C* e) const {
    if (steps == 0 || low(0) >= high(0))
      return steps == 0 && states == 1 ? 0.0 : std::numeric_limits<double>::infinity();
    double sum = 0;
    C top = 0, *before = nullptr;
    for (int64_t t = 0; t < steps; ++t) {
      C* row = alpha + (keep ? t : t & 1) * width + kPad;
      emissions(t, e);
      sum += static_cast<double>(top);
      top = advance(t, before, top, e, row);
      before = row;
    }
    const C total = log_sum(before[states - 1], states > 1 ? before[states - 2] : kNever<C>, kNever<C>);
    return impossible(total) ? std::numeric_limits<double>::infinity() : -(sum + static_cast<double>(total));
  }
  // dx[t][label] = -factor * the probability of the states with this label, rows `row_stride` apart.
  void backward(const C* alpha, C* e, C* onward, C* beta, C* p, double factor, T* dx, int64_t row_stride,
                int64_t classes, int64_t blank, C* room) const {
    for (int64_t t = steps - 1; t >= 0; --t) {
      const int64_t begin = low(t), end = high(t);
      const C* row = alpha + t * width + kPad;
      if (t == steps - 1) {
        for (int64_t s = begin; s < end; ++s) beta[s] = s >= states - 2 ? C(0) : kNever<C>;
      } else {
#pragma omp simd
        for (int64_t s = begin; s < end; ++s)
          beta[s] = log_sum(onward[s], onward[s + 1], onward[s + 2] + skip[s + 2]);
      }
      C most = kNever<C>, top = kNever<C>;
      for (int64_t s = begin; s < end; ++s) most = larger(row[s] + beta[s], most);
      for (int64_t s = begin; s < end; ++s) top = larger(beta[s], top);
#pragma omp simd
      for (int64_t s = begin; s < end; ++s) p[s] = exp_below(row[s] + beta[s] - most);
      const double sum = sum_of<C>(end - begin, [=](int64_t i) DLCORE_MAP { return p[begin + i]; });
      const C scale = static_cast<C>(-factor / sum);
      C* sums;
      if constexpr (std::is_same_v<T, C>) sums = dx + t * row_stride;
      else sums = room;
      memset(sums, 0, classes * sizeof(C));
      const int64_t even = begin + begin % 2, blanks = (end - even + 1) / 2;
      if (blanks > 0)
        sums[blank] = scale * static_cast<C>(sum_of<C>(blanks, [=](int64_t i) DLCORE_MAP { return p[even + 2 * i]; }));
      for (int64_t s = begin + 1 - begin % 2; s < end; s += 2) sums[label[s]] += scale * p[s];
      if constexpr (!std::is_same_v<T, C>) store_block(dx + t * row_stride, sums, classes);
      if (t == 0) return;
      emissions(t, e);
      if (impossible(top)) top = 0;
      for (int64_t s = begin; s < end; ++s) onward[s] = beta[s] + (e[s] - top);
      for (int64_t k = 1; k <= kPad; ++k) onward[begin - k] = kNever<C>;
      for (int64_t k = 0; k < kPad; ++k) onward[end + k] = kNever<C>;
    }
  }
};

// The loss of sample n; its gradient, times `factor`, where `dx` is not null.
template <class T>
static double sample_loss(const Args& a, const Targets& targets, int64_t n, double factor, bool zero_infinity, T* dx) {
  using C = compute_t<T>;
  const Array& x = a.in(0);
  const bool batched = x.ndim == 3;
  const int64_t length = targets.lengths[n], states = 2 * length + 1, width = states + 2 * kPad;
  const int64_t classes = x.shape[x.ndim - 1], steps = targets.steps[n], rows = dx ? steps : 2;
  const Scratch<int64_t> label(states);
  const Scratch<C> skip(width), alpha(rows * width), e(width), onward(width), beta(width), p(width), room(classes);
  for (int64_t s = 0; s < states; ++s)
    label[s] = s % 2 ? targets.labels[targets.first[n] + s / 2] : targets.blank;
  for (int64_t s = 0; s < width; ++s)
    skip[s] = s % 2 && s >= 3 && s < states && label[s] != label[s - 2] ? C(0) : kNever<C>;
  const Lattice<T> lattice{x.as<const T>() + (batched ? n * x.strides[1] : 0), x.strides[0], x.strides[x.ndim - 1],
                           steps, states, width, label.get(), skip.get()};
  const double loss = lattice.forward(alpha.get(), dx != nullptr, e.get() + kPad);
  const bool infinite = std::isinf(loss);
  if (dx) {
    const int64_t stride = (batched ? x.shape[1] : 1) * classes;
    T* first = dx + n * classes;
    const T unknown = [] {
      T value;
      store(&value, std::numeric_limits<C>::quiet_NaN());
      return value;
    }();
    if (infinite && !zero_infinity)
      for (int64_t t = 0; t < steps; ++t) std::fill_n(first + t * stride, classes, unknown);
    for (int64_t t = infinite ? (zero_infinity ? 0 : steps) : steps; t < x.shape[0]; ++t)
      memset(static_cast<void*>(first + t * stride), 0, classes * sizeof(T));
    if (!infinite)
      lattice.backward(alpha.get(), e.get() + kPad, onward.get() + kPad, beta.get() + kPad, p.get() + kPad, factor,
                       first, stride, classes, targets.blank, room.get());
  }
  return infinite && zero_infinity ? 0.0 : loss;
}

static void ctc_loss(const Args& a) {
  const Array &x = a.in(0), &out = a.out(0), &dx = a.out(1);
  const Targets targets(x, a.in(1), a.in(2), a.in(3), a.integer(0));
  const int64_t reduction = a.integer(1), samples = targets.samples;
  const bool zero_infinity = a.integer(2) != 0;
  const auto share = [&](int64_t n) {  // of a sample, in the mean
    return 1.0 / (static_cast<double>(std::max<int64_t>(targets.lengths[n], 1)) * static_cast<double>(samples));
  };
  const Scratch<double> losses(samples);
  int64_t states = 0;
  for (int64_t n = 0; n < samples; ++n) states += targets.steps[n] * (2 * targets.lengths[n] + 1);
  const int64_t each = samples ? states / samples + 1 : 1;
  with_float(x.dtype, [&]<class T>() {
    parallel_ranges(samples, kStatesAtOnce / each + 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        losses[n] = sample_loss<T>(a, targets, n, reduction == kMean ? share(n) : 1.0, zero_infinity, dx.as<T>());
    });
    T* to = out.as<T>();
    if (reduction == kNone) {
      for (int64_t n = 0; n < samples; ++n) store(to + n, static_cast<compute_t<T>>(losses[n]));
      return;
    }
    double sum = 0;
    for (int64_t n = 0; n < samples; ++n) sum += reduction == kMean ? losses[n] * share(n) : losses[n];
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    store(to, static_cast<compute_t<T>>(reduction == kMean && samples == 0 ? nothing : sum));
  });
}

static const Kernel kernels[] = {{"ctc:ctc_loss", ctc_loss, 0b1110}};
