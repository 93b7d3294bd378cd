// Reductions that do more with an element than add it: products, variances, norms, sums and means of the numbers alone.
//
// Memory bounds them: each element is read once, and what an operation does in two steps (a mean, then the squares of
// what differs from it) it does block by block, in the first-level cache.
//
// Parameters: 0 bit mask of the reduced axes; var, std, var_mean: 1 the correction; norm: 1 its order.

#include "common/dtypes.inl"
#include "common/moments.inl"
#include "common/reduction.inl"

// ---- prod ---------------------------------------------------------------------------------------------------------
// Floats are multiplied in double, which neither overflows nor loses bits where the product is a float; integers wrap.
template <class C_> struct Product {
  using C = C_;
  using P = std::conditional_t<std::is_integral_v<C>, uint64_t, double>;
  static constexpr int kLanesOfP = kWideBytes / sizeof(P);

  P identity() const { return 1; }
  __attribute__((noinline)) void run(const C* x, int64_t n, int64_t, P& p) const {
    P lanes[kLanesOfP];
    for (int j = 0; j < kLanesOfP; ++j) lanes[j] = 1;
    int64_t i = 0;
    for (; i + kLanesOfP <= n; i += kLanesOfP)
#pragma omp simd
      for (int j = 0; j < kLanesOfP; ++j) lanes[j] *= static_cast<P>(x[i + j]);
    for (int j = 0; i + j < n; ++j) lanes[j] *= static_cast<P>(x[i + j]);
    for (int w = kLanesOfP / 2; w > 0; w /= 2)
      for (int j = 0; j < w; ++j) lanes[j] *= lanes[j + w];
    p *= lanes[0];
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    for (int64_t r = 0; r < rows; ++r, x += ld)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) p[c] *= static_cast<P>(x[c]);
  }
  void merge(P& p, const P& q) const { p *= q; }
  auto finish(P p) const {
    if constexpr (std::is_integral_v<C>) return static_cast<int64_t>(p);
    else return p;
  }
};

// ---- var, std, var_mean, std_mean -----------------------------------------------------------------------------------
// See `Moments` in common/moments.inl.

// The same with the mean as a second output, laid out as the first.
template <class C_> struct MomentsAndMean : Moments<C_> {
  const char *first, *second;
};
template <class C, class Out>
static void finish_moments(const void* op, const void* p, int64_t w, void* out, int64_t stride) {
  using Op = MomentsAndMean<C>;
  finish_partial<Op, Out>(op, p, w, out, stride);
  const Op& moments = *static_cast<const Op*>(op);
  Out* means = reinterpret_cast<Out*>(const_cast<char*>(moments.second) + (static_cast<char*>(out) - moments.first));
  for (int64_t c = 0; c < w; ++c) {
    const typename Op::P& partial = static_cast<const typename Op::P*>(p)[c];
    const double mean = partial.n == 0 ? std::numeric_limits<double>::quiet_NaN() : partial.mean();
    store(means + c * stride, static_cast<compute_t<Out>>(mean));
  }
}

// ---- norm of order 0, 1, 2, inf, -inf -------------------------------------------------------------------------------
enum class Order : int { zero, one, two, largest, smallest };

template <class C_, Order order> struct Norm {
  using C = C_;
  using P = double;
  static constexpr bool kSum = order == Order::zero || order == Order::one || order == Order::two;

  template <class L> static L term(C x) {
    if constexpr (order == Order::zero) return x != 0 ? L(1) : L(0);
    const L y = static_cast<L>(x);
    if constexpr (order == Order::two) return y * y;
    else return abs_(y);
  }
  // Of floats whose squares overflow, or vanish: then they are added in double.
  static bool unfit(C sum) { return order == Order::two && sizeof(C) == 4 && !(sum > C(1e-30) && sum < C(1e38)); }
  template <class V> static V joined(V a, V b) {  // a NaN on either side wins
    if constexpr (order == Order::largest) return (b > a) | (b != b) ? b : a;
    else return (b < a) | (b != b) ? b : a;
  }
  P identity() const { return order == Order::smallest ? std::numeric_limits<double>::infinity() : 0.0; }

  __attribute__((noinline)) void run(const C* x, int64_t n, int64_t, P& p) const {
    if constexpr (kSum) {
      const C sum = sum_block<C>(n, [=](int64_t i) DLCORE_MAP { return term<C>(x[i]); });
      p += unfit(sum) ? sum_block<double>(n, [=](int64_t i) DLCORE_MAP { return term<double>(x[i]); }) : sum;
    } else {
      constexpr int kWide = kWideBytes / sizeof(C);
      C lanes[kWide];
      for (int j = 0; j < kWide; ++j) lanes[j] = static_cast<C>(p);
      int64_t i = 0;
      for (; i + kWide <= n; i += kWide)
#pragma omp simd
        for (int j = 0; j < kWide; ++j) lanes[j] = joined(lanes[j], abs_(x[i + j]));
      for (int j = 0; i + j < n; ++j) lanes[j] = joined(lanes[j], abs_(x[i + j]));
      for (int w = kWide / 2; w > 0; w /= 2)
        for (int j = 0; j < w; ++j) lanes[j] = joined(lanes[j], lanes[j + w]);
      p = lanes[0];
    }
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    if constexpr (kSum) {
      C lanes[1024];
      for (int64_t c = 0; c < w; ++c) lanes[c] = 0;
      for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) lanes[c] += term<C>(x[r * ld + c]);
      for (int64_t c = 0; c < w; ++c) {
        double sum = lanes[c];
        if (unfit(lanes[c])) {
          sum = 0;
          for (int64_t r = 0; r < rows; ++r) sum += term<double>(x[r * ld + c]);
        }
        p[c] += sum;
      }
    } else {
      for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) p[c] = joined(p[c], static_cast<double>(abs_(x[r * ld + c])));
    }
  }
  void merge(P& p, const P& q) const { p = kSum ? p + q : joined(p, q); }
  double finish(P p) const { return order == Order::two ? std::sqrt(p) : p; }
};

// ---- nansum, nanmean ------------------------------------------------------------------------------------------------
// The sum of what is not NaN, and how many there are.
template <class C_, bool mean> struct Numbers {
  using C = C_;
  struct P {
    double sum, count;
  };
  P identity() const { return {0, 0}; }
  __attribute__((noinline)) void run(const C* x, int64_t n, int64_t, P& p) const {
    p.sum += sum_block<C>(n, [=](int64_t i) DLCORE_MAP { return x[i] == x[i] ? x[i] : C(0); });
    if constexpr (mean) p.count += sum_block<C>(n, [=](int64_t i) DLCORE_MAP { return x[i] == x[i] ? C(1) : C(0); });
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    C sum[1024], count[1024];
    for (int64_t c = 0; c < w; ++c) sum[c] = count[c] = 0;
    for (int64_t r = 0; r < rows; ++r, x += ld)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) {
        sum[c] += x[c] == x[c] ? x[c] : C(0);
        count[c] += x[c] == x[c] ? C(1) : C(0);
      }
    for (int64_t c = 0; c < w; ++c) p[c].sum += sum[c], p[c].count += count[c];
  }
  void merge(P& p, const P& q) const { p.sum += q.sum, p.count += q.count; }
  double finish(const P& p) const { return mean ? p.sum / p.count : p.sum; }
};

// ---- kernels ------------------------------------------------------------------------------------------------------
static void prod(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() {
    reduce_axes<T, std::conditional_t<std::is_integral_v<T>, int64_t, T>>(Product<wide_t<T>>{}, a.in(0), a.out(),
                                                                         a.integer(0));
  });
}

template <class T, class Out> static void moments(const Args& a, bool root, bool with_mean) {
  using C = wide_t<T>;
  if (!with_mean) return reduce_axes<T, Out>(Moments<C>{a.number(1), root}, a.in(0), a.out(), a.integer(0));
  using Op = MomentsAndMean<C>;
  const Op op{{a.number(1), root}, a.out(0).as<char>(), a.out(1).as<char>()};
  static constexpr ReductionFunctions functions = {sizeof(typename Op::P), take_blocks<Moments<C>>,
                                                   merge_partial<Moments<C>>, finish_moments<C, Out>};
  run_reduction(functions, &op, fetch<T, wide_t<T>>, !std::is_same_v<T, C>, a.in(0), a.out(), a.integer(0));
}
template <bool root, bool with_mean> static void each_moments(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() {
    if constexpr (!std::is_integral_v<T>) moments<T, T>(a, root, with_mean);
    else with_float(a.out().dtype, [&]<class Out>() { moments<T, Out>(a, root, with_mean); });
  });
}

template <class T, Order order> static void norm_of(const Args& a) {
  reduce_axes<T, T>(Norm<wide_t<T>, order>{}, a.in(0), a.out(), a.integer(0));
}
static void norm(const Args& a) {
  const double p = a.number(1);
  with_float(a.in(0).dtype, [&]<class T>() {
    if (p == 0) norm_of<T, Order::zero>(a);
    else if (p == 1) norm_of<T, Order::one>(a);
    else if (p == 2) norm_of<T, Order::two>(a);
    else if (p > 0) norm_of<T, Order::largest>(a);
    else norm_of<T, Order::smallest>(a);
  });
}
template <bool mean> static void numbers(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() {
    reduce_axes<T, T>(Numbers<wide_t<T>, mean>{}, a.in(0), a.out(), a.integer(0));
  });
}

static const Kernel kernels[] = {
    {"reduce:prod", prod, 0},
    {"reduce:var", each_moments<false, false>, 0},
    {"reduce:std", each_moments<true, false>, 0},
    {"reduce:var_mean", each_moments<false, true>, 0},
    {"reduce:std_mean", each_moments<true, true>, 0},
    {"reduce:norm", norm, 0},
    {"reduce:nansum", numbers<false>, 0},
    {"reduce:nanmean", numbers<true>, 0},
};
