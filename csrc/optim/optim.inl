// Optimizer steps over any number of parameters in one launch, and clipping by the norm of all gradients.
// Bound by memory: Adam moves 28 bytes a float32 parameter, SGD with momentum 20, without 12, clipping 4 to 12.
//
// Operands come as lists of equal length: parameters, gradients, moments, step counts, and last one float64 matrix of
// hyperparameters with a row for each parameter group: everything that changes from step to step lies in memory.
// Arithmetic follows PyTorch's CPU implementation operation by operation, in the parameter's dtype (float32 for the
// 16-bit floats, whose moments are float32).
#include "common/math.inl"
#include "common/strided_copy.inl"

constexpr int64_t kOptimBlock = 512;    // 16-bit parameters are widened by blocks
constexpr int64_t kOptimGrain = 65536;  // elements of one chunk: 10-20 us

// One operand as contiguous memory: itself, or a copy that is written back.
class Dense {
 public:
  explicit Dense(const Array& x)
      : array_(x), copied_(!x.contiguous()), copy_(copied_ ? x.size() * item_size(x.dtype) : 0) {
    dense_ = copied_ ? contiguous_at(copy_.get(), x) : x;
    if (copied_) copy_array(dense_, x);
  }
  char* data() const { return dense_.as<char>(); }
  void write_back() const {
    if (copied_) copy_array(array_, dense_);
  }

 private:
  Array array_, dense_;
  bool copied_;
  Scratch<char> copy_;
};

static double step_count(const Array& step) {
  return step.dtype == DType::int64 ? static_cast<double>(*step.as<int64_t>()) : static_cast<double>(*step.as<float>());
}
static void set_step_count(const Array& step, double count) {
  if (step.dtype == DType::int64) *step.as<int64_t>() = static_cast<int64_t>(count);
  else *step.as<float>() = static_cast<float>(count);
}

// The operands that belong to one parameter. `moments` lists of moments stand between gradients and step counts.
struct Lists {
  const Args& a;
  int n, moments;
  explicit Lists(const Args& args)
      : a(args), n(static_cast<int>(args.integer(0))), moments((args.n_inputs - 1) / n - 3) {}
  const Array& parameter(int k) const { return a.in(k); }
  const Array& gradient(int k) const { return a.in(n + k); }
  const Array& moment(int which, int k) const { return a.in((2 + which) * n + k); }
  const Array& step(int k) const { return a.in((2 + moments) * n + k); }
  int64_t group(int k) const { return a.integer(1 + k); }  // params: n, then the group of each parameter
  double hyper(int k, int column) const {
    const Array& h = a.in(a.n_inputs - 1);
    return h.as<const double>()[group(k) * h.strides[0] + column * h.strides[1]];
  }
  bool contiguous(int k) const {
    bool all = parameter(k).contiguous() && gradient(k).contiguous();
    for (int j = 0; j < moments; ++j) all = all && moment(j, k).contiguous();
    return all;
  }
};

// Calls piece(k, begin, end, slot) until each array k of size(k) elements is covered; small neighbours share a chunk.
// Slots differ from piece to piece, rise in order, and stay below pieces_of(total) + n.
static int64_t pieces_of(int64_t total) { return (total + kOptimGrain - 1) / kOptimGrain; }
template <class Size, class Piece> static void each_piece(int n, Size size, Piece piece) {
  const Scratch<int64_t> first(n + 1);  // elements in all arrays before array k
  first[0] = 0;
  for (int k = 0; k < n; ++k) first[k + 1] = first[k] + size(k);
  parallel_ranges(first[n], kOptimGrain, [&](int64_t begin, int64_t end) {
    int low = 0, high = n;  // the last array that begins at or before `begin`
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first[middle] <= begin ? low : high) = middle;
    }
    for (int k = low; k < n && first[k] < end; ++k) {
      const int64_t from = begin > first[k] ? begin - first[k] : 0,
                    until = (end < first[k + 1] ? end : first[k + 1]) - first[k];
      if (from < until) piece(k, from, until, begin / kOptimGrain + k);
    }
  });
}

// Runs update(k, parameter, gradient, moment 0, moment 1, elements) over all parameters: contiguous ones in place and
// in parallel, the others one by one as copies.
template <class Update> static void update_all(const Lists& lists, Update update) {
  const int moments = lists.moments;
  const auto moment_item = [&](int k) { return moments > 0 ? item_size(lists.moment(0, k).dtype) : 0; };
  for (int k = 0; k < lists.n; ++k) {
    if (lists.contiguous(k)) continue;
    const Dense p(lists.parameter(k)), g(lists.gradient(k));
    const Dense m(moments > 0 ? lists.moment(0, k) : lists.parameter(k)),
        v(moments > 1 ? lists.moment(1, k) : lists.parameter(k));
    update(k, p.data(), g.data(), m.data(), v.data(), lists.parameter(k).size());
    p.write_back();
    if (moments > 0) m.write_back();
    if (moments > 1) v.write_back();
  }
  const auto size = [&](int k) { return lists.contiguous(k) ? lists.parameter(k).size() : 0; };
  each_piece(lists.n, size, [&](int k, int64_t begin, int64_t end, int64_t) {
    const int64_t at = begin * item_size(lists.parameter(k).dtype), at_moment = begin * moment_item(k);
    update(k, lists.parameter(k).as<char>() + at, lists.gradient(k).as<char>() + at,
           moments > 0 ? lists.moment(0, k).as<char>() + at_moment : nullptr,
           moments > 1 ? lists.moment(1, k).as<char>() + at_moment : nullptr, end - begin);
  });
}

// run(parameter, gradient, first, n) over blocks of n elements in the compute type; the parameter is written.
template <class T, class F> static void by_blocks(T* p, const T* g, int64_t n, F run) {
  if constexpr (std::is_same_v<T, compute_t<T>>) {
    run(p, g, int64_t{0}, n);
  } else {
    float wide_p[kOptimBlock], wide_g[kOptimBlock];
    for (int64_t i = 0; i < n; i += kOptimBlock) {
      const int64_t m = n - i < kOptimBlock ? n - i : kOptimBlock;
      load_block(wide_p, p + i, m);
      load_block(wide_g, g + i, m);
      run(wide_p, wide_g, i, m);
      store_block(p + i, wide_p, m);
    }
  }
}

// ---- Adam ---------------------------------------------------------------------------------------------------------
// g += weight_decay p (or, decoupled, p *= 1 - lr weight_decay); m += (1 - beta1) (g - m);
// v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
enum AdamHyper { kAdamLr, kBeta1, kBeta2, kEps, kAdamDecay, kDecoupled, kAdamMaximize };

template <class C> struct AdamScalars {
  C sign, decay, keep, weight1, beta2, weight2, inverse_root2, eps, step;
  bool from_gradient;
};

static AdamScalars<double> adam_scalars(const Lists& lists, int k, double t) {
  const auto h = [&](int column) { return lists.hyper(k, column); };
  const bool decoupled = h(kDecoupled) != 0;
  AdamScalars<double> s;
  s.sign = h(kAdamMaximize) != 0 ? -1 : 1;
  s.decay = decoupled ? 0 : h(kAdamDecay);
  s.keep = decoupled ? 1 - h(kAdamLr) * h(kAdamDecay) : 1;
  s.weight1 = 1 - h(kBeta1);
  s.beta2 = h(kBeta2);
  s.weight2 = 1 - h(kBeta2);
  s.inverse_root2 = 1 / __builtin_sqrt(1 - pow(h(kBeta2), t));
  s.eps = h(kEps);
  s.step = -h(kAdamLr) / (1 - pow(h(kBeta1), t));
  s.from_gradient = s.weight1 >= 0.5;  // the nearer end loses less: PyTorch's lerp
  if (s.from_gradient) s.weight1 -= 1;
  return s;
}

template <class C> static AdamScalars<C> rounded(const AdamScalars<double>& s) {
  return {C(s.sign),    C(s.decay),         C(s.keep), C(s.weight1), C(s.beta2),
          C(s.weight2), C(s.inverse_root2), C(s.eps),  C(s.step),    s.from_gradient};
}

static inline float root(float x) { return __builtin_sqrtf(x); }
static inline double root(double x) { return __builtin_sqrt(x); }

template <bool decay, bool from_gradient, class C>
static void adam_block(C* __restrict p, const C* __restrict gradient, C* __restrict m, C* __restrict v, int64_t n,
                       const AdamScalars<C> s) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    C g = s.sign * gradient[i], x = p[i];
    if constexpr (decay) {
      x *= s.keep;
      g = fma_(s.decay, x, g);
    }
    const C mean = fma_(s.weight1, g - m[i], from_gradient ? g : m[i]);
    const C square = fma_(s.weight2 * g, g, v[i] * s.beta2);
    m[i] = mean;
    v[i] = square;
    p[i] = x + s.step * mean / fma_(root(square), s.inverse_root2, s.eps);
  }
}

static void adam(const Args& a) {
  const Lists lists(a);
  const Scratch<AdamScalars<double>> scalars(lists.n);
  double last = -1;
  for (int k = 0; k < lists.n; ++k) {
    const double t = step_count(lists.step(k)) + 1;
    set_step_count(lists.step(k), t);
    // Parameters of one group have mostly made the same number of steps: powers are slow.
    scalars[k] =
        k > 0 && t == last && lists.group(k) == lists.group(k - 1) ? scalars[k - 1] : adam_scalars(lists, k, t);
    last = t;
  }
  update_all(lists, [&](int k, char* p, const char* g, char* m, char* v, int64_t n) {
    with_float(lists.parameter(k).dtype, [&]<class T>() {
      using C = compute_t<T>;
      const AdamScalars<C> s = rounded<C>(scalars[k]);
      const bool decay = lists.hyper(k, kAdamDecay) != 0;
      by_blocks(reinterpret_cast<T*>(p), reinterpret_cast<const T*>(g), n,
                [&](C* wide_p, const C* wide_g, int64_t i, int64_t count) {
                  C *mi = reinterpret_cast<C*>(m) + i, *vi = reinterpret_cast<C*>(v) + i;
                  if (s.from_gradient) adam_block<true, true>(wide_p, wide_g, mi, vi, count, s);
                  else if (decay) adam_block<true, false>(wide_p, wide_g, mi, vi, count, s);
                  else adam_block<false, false>(wide_p, wide_g, mi, vi, count, s);
                });
    });
  });
}

// ---- SGD ----------------------------------------------------------------------------------------------------------
// g += weight_decay p; b = momentum b + (1 - dampening) g (b = g in the first step);
// p -= lr (nesterov ? g + momentum b : b), without momentum p -= lr g
enum SgdHyper { kSgdLr, kMomentum, kDampening, kSgdDecay, kNesterov, kSgdMaximize };

template <bool momentum, bool nesterov, class C>
static void sgd_block(C* __restrict p, const C* __restrict gradient, C* __restrict b, int64_t n, C sign, C decay,
                      C keep, C add, C ahead, C rate) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    C g = fma_(decay, p[i], sign * gradient[i]);
    if constexpr (momentum) {
      const C buffer = fma_(add, g, keep * b[i]);
      b[i] = buffer;
      g = nesterov ? fma_(ahead, buffer, g) : buffer;
    }
    p[i] = fma_(rate, g, p[i]);
  }
}

static void sgd(const Args& a) {
  const Lists lists(a);
  const Scratch<bool> first(lists.n);
  for (int k = 0; k < lists.n; ++k) {
    const double t = step_count(lists.step(k));
    first[k] = t == 0;
    set_step_count(lists.step(k), t + 1);
  }
  update_all(lists, [&](int k, char* p, const char* g, char* b, char*, int64_t n) {
    const auto h = [&](int column) { return lists.hyper(k, column); };
    const bool nesterov = h(kNesterov) != 0, momentum = lists.moments > 0 && h(kMomentum) != 0;
    with_float(lists.parameter(k).dtype, [&]<class T>() {
      using C = compute_t<T>;
      const C sign = h(kSgdMaximize) != 0 ? C(-1) : C(1), decay = static_cast<C>(h(kSgdDecay)),
              rate = static_cast<C>(-h(kSgdLr));
      const C keep = static_cast<C>(first[k] ? 0 : h(kMomentum)),
              add = static_cast<C>(first[k] ? 1 : 1 - h(kDampening));
      const C ahead = static_cast<C>(h(kMomentum));
      by_blocks(reinterpret_cast<T*>(p), reinterpret_cast<const T*>(g), n,
                [&](C* wide_p, const C* wide_g, int64_t i, int64_t count) {
                  C* bi = reinterpret_cast<C*>(b) + i;
                  const auto run = momentum ? nesterov ? sgd_block<true, true, C> : sgd_block<true, false, C>
                                            : sgd_block<false, false, C>;
                  run(wide_p, wide_g, bi, count, sign, decay, keep, add, ahead, rate);
                });
    });
  });
}

// ---- clipping -----------------------------------------------------------------------------------------------------
// Sums are taken in float64 in the order of 16 lanes, of blocks, then of pieces: the same bits for any number of
// threads.
constexpr int kSumLanes = 16;

static inline double larger(double x, double y) { return y > x || y != y ? y : x; }  // NaN stays

enum Order { kLargest, kSquares, kPowers };

// The largest magnitude, the sum of squares, or that of other powers.
template <Order order, class T> static double measure(const T* x, int64_t n, double power) {
  double lanes[kSumLanes] = {};
  compute_t<T> block[kOptimBlock];
  for (int64_t i = 0; i < n; i += kOptimBlock) {
    const int64_t m = n - i < kOptimBlock ? n - i : kOptimBlock, padded = (m + kSumLanes - 1) / kSumLanes * kSumLanes;
    load_block(block, x + i, m);
    for (int64_t j = m; j < padded; ++j) block[j] = 0;
    double part[kSumLanes] = {};  // of this block: long chains of equal terms all round to one side
    for (int64_t j = 0; j < padded; j += kSumLanes) {
#pragma omp simd
      for (int lane = 0; lane < kSumLanes; ++lane) {
        const double y = abs_(static_cast<double>(block[j + lane]));
        if constexpr (order == kLargest) part[lane] = larger(part[lane], y);
        else part[lane] += order == kSquares ? y * y : pow(y, power);
      }
    }
    for (int lane = 0; lane < kSumLanes; ++lane)
      lanes[lane] = order == kLargest ? larger(lanes[lane], part[lane]) : lanes[lane] + part[lane];
  }
  double total = 0;
  for (const double lane : lanes) total = order == kLargest ? larger(total, lane) : total + lane;
  return total;
}

template <class T> static void scale_by(T* x, int64_t n, double factor) {
  const compute_t<T> f = static_cast<compute_t<T>>(factor);
  compute_t<T> block[kOptimBlock];
  for (int64_t i = 0; i < n; i += kOptimBlock) {
    const int64_t m = n - i < kOptimBlock ? n - i : kOptimBlock;
    load_block(block, x + i, m);
    for (int64_t j = 0; j < m; ++j) block[j] *= f;
    store_block(x + i, block, m);
  }
}

// norm = (sum |g|^power)^(1 / power) over all gradients; each is multiplied by min(1, max_norm / (norm + 1e-6)).
// params: max_norm, power (infinity: the largest magnitude)
static void clip_grad_norm(const Args& a) {
  const double max_norm = a.number(0), power = a.number(1);
  const bool largest = power > std::numeric_limits<double>::max();
  const int n = a.n_inputs;
  const auto size = [&](int k) { return a.in(k).contiguous() ? a.in(k).size() : 0; };
  const auto measured = [&](const Array& x, const char* data, int64_t begin, int64_t end) {
    double result = 0;
    with_float(x.dtype, [&]<class T>() {
      const T* from = reinterpret_cast<const T*>(data) + begin;
      const int64_t count = end - begin;
      result = largest      ? measure<kLargest>(from, count, power)
               : power == 2 ? measure<kSquares>(from, count, power)
                            : measure<kPowers>(from, count, power);
    });
    return result;
  };
  int64_t total = 0;
  for (int k = 0; k < n; ++k) total += size(k);
  const int64_t slots = pieces_of(total) + 2 * n;
  const Scratch<double> parts(slots);  // of pieces, then of gradients that are not contiguous
  memset(parts.get(), 0, slots * sizeof(double));
  each_piece(n, size, [&](int k, int64_t begin, int64_t end, int64_t slot) {
    parts[slot] = measured(a.in(k), a.in(k).as<const char>(), begin, end);
  });
  for (int k = 0; k < n; ++k) {
    if (!a.in(k).contiguous()) parts[slots - n + k] = measured(a.in(k), Dense(a.in(k)).data(), 0, a.in(k).size());
  }
  double norm = 0;
  for (int64_t i = 0; i < slots; ++i) norm = largest ? larger(norm, parts[i]) : norm + parts[i];
  if (!largest) norm = power == 2 ? root(norm) : pow(norm, 1 / power);
  if (a.out().dtype == DType::float64) *a.out().as<double>() = norm;
  else *a.out().as<float>() = static_cast<float>(norm);

  const double factor = max_norm / (norm + 1e-6);
  if (factor >= 1) return;  // a NaN norm scales: the gradients become NaN, as in PyTorch
  each_piece(n, size, [&](int k, int64_t begin, int64_t end, int64_t) {
    with_float(a.in(k).dtype, [&]<class T>() { scale_by(a.in(k).as<T>() + begin, end - begin, factor); });
  });
  for (int k = 0; k < n; ++k) {
    if (a.in(k).contiguous()) continue;
    const Dense g(a.in(k));
    with_float(a.in(k).dtype,
               [&]<class T>() { scale_by(reinterpret_cast<T*>(g.data()), a.in(k).size(), factor); });
    g.write_back();
  }
}

// ---- schedules ----------------------------------------------------------------------------------------------------
// settings[:, 0] = rates[min(position, steps - 1)]; position += 1
static void scheduled_rates(const Args& a) {
  const Array &settings = a.in(0), &rates = a.in(2);
  int64_t& position = *a.in(1).as<int64_t>();
  const int64_t last = rates.shape[0] - 1, row = position < 0 ? 0 : position < last ? position : last;
  for (int64_t g = 0; g < settings.shape[0]; ++g)
    settings.as<double>()[g * settings.strides[0]] =
        rates.as<const double>()[row * rates.strides[0] + g * rates.strides[1]];
  ++position;
}

static const Kernel kernels[] = {
    {"optim:scheduled_rates", scheduled_rates, 0},
    {"optim:sgd", sgd, 0},
    {"optim:adam", adam, 0},
    {"optim:clip_grad_norm", clip_grad_norm, 0},
};
