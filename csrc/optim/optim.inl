// Optimizer steps over any number of parameters in one launch, and clipping by the norm of all gradients.
// Bound by memory: Adam moves 28 bytes a float32 parameter, SGD with momentum 20, without 12, clipping 4 to 12.
//
// Operands come as lists of equal length: parameters, gradients, moments, step counts; behind them a float64 matrix of
// hyperparameters with a row for each parameter group, and a flag, which may be absent: where it is false a step does
// nothing. Everything that changes from step to step lies in memory.
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

// The numbers kept for a parameter are in the dtype of its moments.
static double number_at(const Array& x) {
  return x.dtype == DType::float64 ? *x.as<double>() : static_cast<double>(*x.as<float>());
}
static void set_number(const Array& x, double value) {
  if (x.dtype == DType::float64) *x.as<double>() = value;
  else *x.as<float>() = static_cast<float>(value);
}

// The operands that belong to one parameter. `moments` lists of moments stand between gradients and step counts.
struct Lists {
  const Args& a;
  int n, moments;
  explicit Lists(const Args& args)
      : a(args), n(static_cast<int>(args.integer(0))), moments((args.n_inputs - 2) / n - 3) {}
  bool active() const {
    const Array& flag = a.in(a.n_inputs - 1);
    return flag.data == nullptr || *flag.as<const uint8_t>() != 0;
  }
  const Array& parameter(int k) const { return a.in(k); }
  const Array& gradient(int k) const { return a.in(n + k); }
  const Array& moment(int which, int k) const { return a.in((2 + which) * n + k); }
  const Array& step(int k) const { return a.in((2 + moments) * n + k); }
  int64_t group(int k) const { return a.integer(1 + k); }  // params: n, then the group of each parameter
  double hyper(int k, int column) const {
    const Array& h = a.in(a.n_inputs - 2);
    return h.as<const double>()[group(k) * h.strides[0] + column * h.strides[1]];
  }
};

// Calls piece(k, begin, end, slot) until each array k of size(k) elements is covered; small neighbours share a chunk.
// Slots differ from piece to piece, rise in order, and stay below pieces_of(total) + n.
static int64_t pieces_of(int64_t total) { return (total + kOptimGrain - 1) / kOptimGrain; }
template <class Size, class Piece>
static void each_piece(int n, Size size, Piece piece, int64_t grain = kOptimGrain) {
  const Scratch<int64_t> first(n + 1);  // elements in all arrays before array k
  first[0] = 0;
  for (int k = 0; k < n; ++k) first[k + 1] = first[k] + size(k);
  parallel_ranges(first[n], grain, [&](int64_t begin, int64_t end) {
    int low = 0, high = n;  // the last array that begins at or before `begin`
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first[middle] <= begin ? low : high) = middle;
    }
    for (int k = low; k < n && first[k] < end; ++k) {
      const int64_t from = begin > first[k] ? begin - first[k] : 0,
                    until = (end < first[k + 1] ? end : first[k + 1]) - first[k];
      if (from < until) piece(k, from, until, begin / grain + k);
    }
  });
}

constexpr int kMostMoments = 3;

// How updates are shared out: a share of each parameter for each thread, the first rows for the thread that calls, as
// products share out weights and their gradients; so lines of the caches seldom go from one core to another, which
// takes 7 ns each on a Zen 4, and 29 ns where the cores have no cache in common. Updates are elementwise, so that the
// number of threads may have a say in this.
struct Shares {
  static constexpr int64_t kLeast = 4096;  // elements of a chunk: a microsecond
  static constexpr int64_t kLine = 64;     // elements that stay together: whole lines of the caches
  const int64_t total;
  const int threads = total < 2 * kLeast ? 1 : thread_count();

  int64_t begin(int64_t size, int share) const {
    return share == threads ? size : size / kLine * share / threads * kLine;
  }
  int64_t grain() const {  // as many chunks for each thread
    const int64_t chunks = (pieces_of(total) / threads + 1) * threads;
    return std::max((total / chunks / kLine + 1) * kLine, kLeast);
  }
};

// Runs update(k, parameter, gradient, moments, elements) over all parameters: contiguous ones in place and in parallel,
// the others one by one as copies. The first `moments` lists behind the gradients are moments.
template <class Update> static void update_all(const Lists& lists, int moments, Update update) {
  const auto item = [&](int k) { return moments > 0 ? item_size(lists.moment(0, k).dtype) : 0; };
  const auto contiguous = [&](int k) {
    bool all = lists.parameter(k).contiguous() && lists.gradient(k).contiguous();
    for (int j = 0; j < moments; ++j) all = all && lists.moment(j, k).contiguous();
    return all;
  };
  for (int k = 0; k < lists.n; ++k) {
    if (contiguous(k)) continue;
    const Dense p(lists.parameter(k)), g(lists.gradient(k));
    const auto moment = [&](int j) -> const Array& { return j < moments ? lists.moment(j, k) : lists.step(k); };
    const Dense dense[kMostMoments] = {Dense(moment(0)), Dense(moment(1)), Dense(moment(2))};
    char* const m[kMostMoments] = {dense[0].data(), dense[1].data(), dense[2].data()};
    update(k, p.data(), g.data(), m, lists.parameter(k).size());
    p.write_back();
    for (int j = 0; j < moments; ++j) dense[j].write_back();
  }
  const auto size = [&](int k) { return contiguous(k) ? lists.parameter(k).size() : 0; };
  int64_t total = 0;
  for (int k = 0; k < lists.n; ++k) total += size(k);
  const Shares shares{total};
  const auto begin_of = [&](int k, int share) { return shares.begin(size(k), share); };
  const auto size_of = [&](int i) {  // i: share by share, in each a part of every parameter
    return begin_of(i % lists.n, i / lists.n + 1) - begin_of(i % lists.n, i / lists.n);
  };
  const auto piece = [&](int i, int64_t begin, int64_t end, int64_t) {
    const int k = i % lists.n;
    const int64_t first = begin_of(k, i / lists.n) + begin;
    const int64_t at = first * item_size(lists.parameter(k).dtype), at_moment = first * item(k);
    char* m[kMostMoments] = {};
    for (int j = 0; j < moments; ++j) m[j] = lists.moment(j, k).as<char>() + at_moment;
    update(k, lists.parameter(k).as<char>() + at, lists.gradient(k).as<char>() + at, m, end - begin);
  };
  each_piece(lists.n * shares.threads, size_of, piece, shares.grain());
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

// ---- the rules of kernels/optim/rules.cuh -------------------------------------------------------------------------

#define DLCORE_RULE inline __attribute__((always_inline))
static inline float root(float x) { return __builtin_sqrtf(x); }
static inline double root(double x) { return __builtin_sqrt(x); }
template <class C> static inline C magnitude(C x) { return abs_(x); }
template <class C> static inline C larger(C x, C y) { return (y > x) | (y != y) ? y : x; }  // NaN stays
#include "optim/rules.cuh"
#undef DLCORE_RULE

// One variant on n elements; the parameter, and the moments that it uses, are written. `ivdep`, not `omp simd`: that
// takes the address of what a rule gets by reference, and no vectors come of it.
template <class Rule, int variant, class C>
static void rule_block(C* __restrict p, const C* __restrict gradient, C* const* moments, int64_t n, const C* factors) {
  constexpr int used = Rule::used(variant);
  C s[Rule::kFactors];
  for (int j = 0; j < Rule::kFactors; ++j) s[j] = factors[j];
  C *__restrict a = moments[0], *__restrict b = moments[1], *__restrict c = moments[2];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    C x = p[i], state[kMostMoments];
    if constexpr (used > 0) state[0] = a[i];
    if constexpr (used > 1) state[1] = b[i];
    if constexpr (used > 2) state[2] = c[i];
    Rule::template update<variant>(x, gradient[i], state, s);
    if constexpr (used > 0) a[i] = state[0];
    if constexpr (used > 1) b[i] = state[1];
    if constexpr (used > 2) c[i] = state[2];
    p[i] = x;
  }
}

template <class Rule, class C, int at = 0>
static void run_variant(int variant, C* p, const C* g, C* const* moments, int64_t n, const C* factors) {
  if constexpr (at + 1 < Rule::kVariants)
    if (variant != at) return run_variant<Rule, C, at + 1>(variant, p, g, moments, n, factors);
  rule_block<Rule, at>(p, g, moments, n, factors);
}

// A rule as numbers and functions: what surrounds them is compiled once.
constexpr int kMostFactors = 16, kMostSettings = 16, kMostScalars = 2;
struct AnyRule {
  int settings, scalars, n_factors;
  int (*used)(int variant);
  int (*factors)(const double* h, double t, double* kept, double* s);
  void (*run32)(int, float*, const float*, float* const*, int64_t, const float*);
  void (*run64)(int, double*, const double*, double* const*, int64_t, const double*);
};

// A step of all parameters: counts, the numbers kept, and the factors of each parameter first.
static void step_all(const Args& a, const AnyRule& rule) {
  struct Step {
    double factors[kMostFactors];
    int variant;
  };
  const Lists lists(a);
  if (!lists.active()) return;
  const int moments = lists.moments - rule.scalars;  // the last may be absent
  const Scratch<Step> steps(lists.n);
  double last = -1;
  for (int k = 0; k < lists.n; ++k) {
    const double t = step_count(lists.step(k)) + 1;
    set_step_count(lists.step(k), t);
    // Parameters of one group have mostly made the same number of steps: powers are slow.
    if (rule.scalars == 0 && k > 0 && t == last && lists.group(k) == lists.group(k - 1)) {
      steps[k] = steps[k - 1];
      continue;
    }
    double h[kMostSettings], kept[kMostScalars];
    for (int j = 0; j < rule.settings; ++j) h[j] = lists.hyper(k, j);
    for (int j = 0; j < rule.scalars; ++j) kept[j] = number_at(lists.moment(moments + j, k));
    steps[k].variant = rule.factors(h, t, kept, steps[k].factors);
    while (rule.used(steps[k].variant) > moments) --steps[k].variant;  // no list of buffers: as without momentum
    for (int j = 0; j < rule.scalars; ++j) set_number(lists.moment(moments + j, k), kept[j]);
    last = t;
  }
  update_all(lists, moments, [&](int k, char* p, const char* g, char* const* m, int64_t n) {
    const Step& step = steps[k];
    with_float(lists.parameter(k).dtype, [&]<class T>() {
      using C = compute_t<T>;
      C factors[kMostFactors];
      for (int j = 0; j < rule.n_factors; ++j) factors[j] = static_cast<C>(step.factors[j]);
      by_blocks(reinterpret_cast<T*>(p), reinterpret_cast<const T*>(g), n,
                [&](C* wide_p, const C* wide_g, int64_t i, int64_t count) {
                  C* at[kMostMoments] = {};
                  for (int j = 0; j < moments; ++j) at[j] = reinterpret_cast<C*>(m[j]) + i;
                  if constexpr (std::is_same_v<C, double>) rule.run64(step.variant, wide_p, wide_g, at, count, factors);
                  else rule.run32(step.variant, wide_p, wide_g, at, count, factors);
                });
    });
  });
}

template <class Rule> static void rule(const Args& a) {
  static_assert(Rule::kFactors <= kMostFactors && Rule::kSettings <= kMostSettings && Rule::kScalars <= kMostScalars &&
                Rule::kMoments <= kMostMoments);
  step_all(a, {Rule::kSettings, Rule::kScalars, Rule::kFactors, [](int variant) { return Rule::used(variant); },
               [](const double* h, double t, double* kept, double* s) { return Rule::factors(h, t, kept, s); },
               run_variant<Rule, float>, run_variant<Rule, double>});
}

// ---- sums ---------------------------------------------------------------------------------------------------------
// Sums are taken in float64 in the order of 16 lanes, of blocks, then of pieces: the same bits for any number of
// threads.
constexpr int kSumLanes = 16;

enum Order { kLargest, kSquares, kPowers };

// kLanes<double> numbers of memory.
static inline vec<double> doubles(const double* p) { return vload(p); }
static inline vec<double> doubles(const float* p) {
#if DLCORE_ISA == 4  // of a conversion of vectors the compiler makes two of half the width
  return (vec<double>)_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p));
#else
  typedef float Half __attribute__((vector_size(kVectorBytes / 2)));
  Half half;
  __builtin_memcpy(&half, p, sizeof half);
  return __builtin_convertvector(half, vec<double>);
#endif
}

// The largest magnitude, the sum of squares, or that of other powers. Of 1M float32 in the third-level cache squares
// take 64 us, 42 of them the reading: it is the conversion that the rest waits for.
template <Order order, class T> static double measure(const T* x, int64_t n, double power) {
  using C = compute_t<T>;
  using Doubles = vec<double>;
  constexpr int N = kLanes<double>, V = kSumLanes / N;
  constexpr auto join = [](auto a, auto b) DLCORE_MAP {
    if constexpr (order == kLargest) return larger(a, b);
    else return a + b;
  };
  Doubles lanes[V] = {};
  for (int64_t i = 0; i < n; i += kOptimBlock) {
    const int64_t m = n - i < kOptimBlock ? n - i : kOptimBlock, padded = (m + kSumLanes - 1) / kSumLanes * kSumLanes;
    C block[kOptimBlock];
    const C* from = block;
    if constexpr (std::is_same_v<T, C>)
      if (m == padded) from = x + i;
    if (from == block) {
      load_block(block, x + i, m);
      for (int64_t j = m; j < padded; ++j) block[j] = 0;
    }
    Doubles part[V] = {};  // of this block: long chains of equal terms all round to one side
    for (int64_t j = 0; j < padded; j += kSumLanes)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        Doubles y = doubles(from + j + v * N);
        if constexpr (order == kSquares && sizeof(C) == 4) {
          part[v] = vfma(y, y, part[v]);  // the square of a float is a double: it is rounded once
          continue;
        }
        if constexpr (order == kSquares) y = y * y;
        else y = y < 0 ? -y : y;
        if constexpr (order == kPowers)
          for (int lane = 0; lane < N; ++lane) y[lane] = pow(y[lane], power);
        part[v] = join(part[v], y);
      }
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) lanes[v] = join(lanes[v], part[v]);
  }
  double total = 0;
  for (int lane = 0; lane < kSumLanes; ++lane) total = join(total, lanes[lane / N][lane % N]);
  return total;
}

template <class T> static void scale_by(T* x, int64_t n, double factor) {
  const compute_t<T> f = static_cast<compute_t<T>>(factor);
  if constexpr (std::is_same_v<T, compute_t<T>>) {
    for (int64_t i = 0; i < n; ++i) x[i] *= f;
    return;
  }
  compute_t<T> block[kOptimBlock];
  for (int64_t i = 0; i < n; i += kOptimBlock) {
    const int64_t m = n - i < kOptimBlock ? n - i : kOptimBlock;
    load_block(block, x + i, m);
    for (int64_t j = 0; j < m; ++j) block[j] *= f;
    store_block(x + i, block, m);
  }
}

// ---- LAMB ---------------------------------------------------------------------------------------------------------
// Its two passes over n elements of one parameter; `measure` above sums squares.
template <class T> static void lamb_measure(const T* p, const T* g, compute_t<T>* m, compute_t<T>* v, int64_t n,
                                            const compute_t<T>* s, double* sums) {
  using C = compute_t<T>;
  C x[kOptimBlock], dx[kOptimBlock], u[kOptimBlock];
  for (int64_t i = 0; i < n; i += kOptimBlock) {
    const int64_t count = n - i < kOptimBlock ? n - i : kOptimBlock;
    load_block(x, p + i, count);
    load_block(dx, g + i, count);
    C *const mean = m + i, *const square = v + i;
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      C at = x[j], a = mean[j], b = square[j];
      Moments::step(at, dx[j], a, b, s);
      mean[j] = a;
      square[j] = b;
      u[j] = Lamb::direction(x[j], a, b, s);
    }
    sums[0] += measure<kSquares>(x, count, 2.0);
    sums[1] += measure<kSquares>(u, count, 2.0);
  }
}

template <class T> static void lamb_apply(T* p, const compute_t<T>* m, const compute_t<T>* v, int64_t n,
                                          const compute_t<T>* s, double step) {
  using C = compute_t<T>;
  const C rate = static_cast<C>(-step);
  C x[kOptimBlock];
  for (int64_t i = 0; i < n; i += kOptimBlock) {
    const int64_t count = n - i < kOptimBlock ? n - i : kOptimBlock;
    load_block(x, p + i, count);
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) x[j] = fma_(rate, Lamb::direction(x[j], m[i + j], v[i + j], s), x[j]);
    store_block(p + i, x, count);
  }
}

static void lamb(const Args& a) {
  struct Step {
    double factors[Lamb::kFactors];
  };
  const Lists lists(a);
  if (!lists.active()) return;
  const Scratch<Step> steps(lists.n);
  const auto contiguous = [&](int k) {
    return lists.parameter(k).contiguous() && lists.gradient(k).contiguous() && lists.moment(0, k).contiguous() &&
           lists.moment(1, k).contiguous();
  };
  const auto size = [&](int k) { return contiguous(k) ? lists.parameter(k).size() : 0; };
  int64_t total = 0;
  for (int k = 0; k < lists.n; ++k) {
    double h[Lamb::kSettings];
    for (int j = 0; j < Lamb::kSettings; ++j) h[j] = lists.hyper(k, j);
    const double t = step_count(lists.step(k)) + 1;
    set_step_count(lists.step(k), t);
    Lamb::factors(h, t, steps[k].factors);
    total += size(k);
  }
  const auto with_step = [&](int k, auto run) {
    with_float(lists.parameter(k).dtype, [&]<class T>() {
      compute_t<T> s[Lamb::kFactors];
      for (int j = 0; j < Lamb::kFactors; ++j) s[j] = static_cast<compute_t<T>>(steps[k].factors[j]);
      run(static_cast<T*>(nullptr), s);
    });
  };
  const int64_t slots = pieces_of(total) + lists.n;
  const Scratch<double> sums(2 * slots), rates(lists.n);
  const Scratch<int> owner(slots);
  memset(sums.get(), 0, 2 * slots * sizeof(double));
  for (int64_t i = 0; i < slots; ++i) owner[i] = -1;
  each_piece(lists.n, size, [&](int k, int64_t begin, int64_t end, int64_t slot) {
    owner[slot] = k;
    with_step(k, [&]<class T>(T*, const compute_t<T>* s) {
      lamb_measure(lists.parameter(k).as<const T>() + begin, lists.gradient(k).as<const T>() + begin,
                   lists.moment(0, k).as<compute_t<T>>() + begin, lists.moment(1, k).as<compute_t<T>>() + begin,
                   end - begin, s, &sums[2 * slot]);
    });
  });
  const Scratch<double> of(2 * lists.n);
  memset(of.get(), 0, 2 * lists.n * sizeof(double));
  for (int64_t i = 0; i < slots; ++i) {
    if (owner[i] < 0) continue;
    of[2 * owner[i]] += sums[2 * i];
    of[2 * owner[i] + 1] += sums[2 * i + 1];
  }
  for (int k = 0; k < lists.n; ++k) rates[k] = Lamb::rate(lists.hyper(k, Lamb::kLr), of[2 * k], of[2 * k + 1]);
  each_piece(lists.n, size, [&](int k, int64_t begin, int64_t end, int64_t) {
    with_step(k, [&]<class T>(T*, const compute_t<T>* s) {
      lamb_apply(lists.parameter(k).as<T>() + begin, lists.moment(0, k).as<const compute_t<T>>() + begin,
                 lists.moment(1, k).as<const compute_t<T>>() + begin, end - begin, s, rates[k]);
    });
  });
  for (int k = 0; k < lists.n; ++k) {
    if (contiguous(k)) continue;
    const Dense p(lists.parameter(k)), g(lists.gradient(k)), m(lists.moment(0, k)), v(lists.moment(1, k));
    with_step(k, [&]<class T>(T*, const compute_t<T>* s) {
      using C = compute_t<T>;
      const int64_t n = lists.parameter(k).size();
      C *const mean = reinterpret_cast<C*>(m.data()), *const square = reinterpret_cast<C*>(v.data());
      T* const x = reinterpret_cast<T*>(p.data());
      double pair[2] = {};
      lamb_measure(static_cast<const T*>(x), reinterpret_cast<const T*>(g.data()), mean, square, n, s, pair);
      lamb_apply(x, mean, square, n, s, Lamb::rate(lists.hyper(k, Lamb::kLr), pair[0], pair[1]));
    });
    p.write_back();
    m.write_back();
    v.write_back();
  }
}

// ---- clipping -----------------------------------------------------------------------------------------------------
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

// g = min(max(g, -limit), limit), NaN as it is; params: limit
static void clip_grad_value(const Args& a) {
  const auto clip = [&](const Array& x, char* data, int64_t begin, int64_t end) {
    with_float(x.dtype, [&]<class T>() {
      const compute_t<T> limit = static_cast<compute_t<T>>(a.number(0));
      T* const g = reinterpret_cast<T*>(data) + begin;
      compute_t<T> block[kOptimBlock];
      for (int64_t i = 0; i < end - begin; i += kOptimBlock) {
        const int64_t n = end - begin - i < kOptimBlock ? end - begin - i : kOptimBlock;
        load_block(block, g + i, n);
        for (int64_t j = 0; j < n; ++j)
          block[j] = block[j] > limit ? limit : block[j] < -limit ? -limit : block[j];
        store_block(g + i, block, n);
      }
    });
  };
  const auto size = [&](int k) { return a.in(k).contiguous() ? a.in(k).size() : 0; };
  each_piece(a.n_inputs, size, [&](int k, int64_t begin, int64_t end, int64_t) {
    clip(a.in(k), a.in(k).as<char>(), begin, end);
  });
  for (int k = 0; k < a.n_inputs; ++k) {
    if (a.in(k).contiguous()) continue;
    const Dense g(a.in(k));
    clip(a.in(k), g.data(), 0, a.in(k).size());
    g.write_back();
  }
}

// ---- loss scaling -------------------------------------------------------------------------------------------------
// Each gradient is multiplied by 1 / scale, the last input; out: whether all elements are finite. A piece is scaled
// right after it was measured, out of the cache.
static void unscale_grads(const Args& a) {
  const int n = a.n_inputs - 1;
  const double factor = 1.0 / static_cast<double>(*a.in(n).as<const float>());
  const auto size = [&](int k) { return a.in(k).contiguous() ? a.in(k).size() : 0; };
  std::atomic<bool> finite{true};
  const auto unscale = [&](DType dtype, char* data, int64_t begin, int64_t end) {
    with_float(dtype, [&]<class T>() {
      T* const x = reinterpret_cast<T*>(data) + begin;
      if (!(measure<kLargest>(x, end - begin, 0) <= std::numeric_limits<double>::max())) finite = false;
      if (factor != 1.0) scale_by(x, end - begin, factor);
    });
  };
  each_piece(n, size, [&](int k, int64_t begin, int64_t end, int64_t) {
    unscale(a.in(k).dtype, a.in(k).as<char>(), begin, end);
  });
  for (int k = 0; k < n; ++k) {
    if (a.in(k).contiguous()) continue;
    const Dense g(a.in(k));
    unscale(a.in(k).dtype, g.data(), 0, a.in(k).size());
    g.write_back();
  }
  *a.out().as<uint8_t>() = finite;
}

// params: growth, backoff, interval
static void update_scale(const Args& a) {
  float& scale = *a.in(0).as<float>();
  int64_t &good = *a.in(1).as<int64_t>(), &skipped = *a.in(2).as<int64_t>();
  if (*a.in(3).as<const uint8_t>() == 0) {
    scale = static_cast<float>(scale * a.number(1));
    good = 0;
    ++skipped;
  } else if (++good >= a.integer(2)) {
    const double grown = scale * a.number(0);
    if (grown <= std::numeric_limits<float>::max()) scale = static_cast<float>(grown);
    good = 0;
  }
}

static const Kernel kernels[] = {
    {"optim:lamb", lamb, 0},
    {"optim:unscale_grads", unscale_grads, 0},
    {"optim:update_scale", update_scale, 0},
    {"optim:clip_grad_value", clip_grad_value, 0},
    {"optim:scheduled_rates", scheduled_rates, 0},
    {"optim:sgd", rule<Sgd>, 0},
    {"optim:adam", rule<Adam>, 0},
    {"optim:weight_average", rule<WeightAverage>, 0},
    {"optim:lion", rule<Lion>, 0},
    {"optim:rmsprop", rule<Rmsprop>, 0},
    {"optim:rmsprop_centered", rule<RmspropCentered>, 0},
    {"optim:adagrad", rule<Adagrad>, 0},
    {"optim:adadelta", rule<Adadelta>, 0},
    {"optim:adamax", rule<Adamax>, 0},
    {"optim:amsgrad", rule<Amsgrad>, 0},
    {"optim:nadam", rule<Nadam>, 0},
    {"optim:radam", rule<Radam>, 0},
    {"optim:schedule_free_sgd", rule<ScheduleFreeSgd>, 0},
    {"optim:schedule_free_adamw", rule<ScheduleFreeAdamw>, 0},
    {"optim:clip_grad_norm", clip_grad_norm, 0},
};
