// Exponential, truncated normal, gamma and Poisson numbers from the words of philox.inl. Bound by arithmetic: by
// logarithms and roots of doubles, but for the exponential ones.
//
// Those drawn by rejection use one block for each attempt: attempt t of element i is the block with counter
// (offset + i, t, 1); words of other draws have counters (block, 0, 0). So an element depends on (seed, offset, i) and
// its own parameter alone, and a draw of n elements moves the state on by n blocks, rounded up to 16.
#include "random/philox.inl"

template <class T> static inline T rounded_to(double x) {  // once
  if constexpr (sizeof(T) >= 4) {
    return static_cast<T>(x);
  } else {
    T y;
    store(&y, round_to_odd(x));
    return y;
  }
}

// ---- by a formula -------------------------------------------------------------------------------------------------

// -scale log u, u in (0, 1]: 32 bits, or 53 for float64. params: scale.
template <class T> static void exponential_as(const Args& a, T* to) {
  using C = compute_t<T>;
  const C scale = static_cast<C>(a.number(0));
  const int64_t n = a.out().size();
  if constexpr (std::is_same_v<T, double>) {
    fill_random<T, 2>(advance(a.in(0), n, 2), to, n, [=](const Group& g, T* out, int64_t) {
      for (int half = 0; half < 2; ++half) {
#pragma omp simd
        for (int j = 0; j < kBlocks; ++j)
          out[half * kBlocks + j] = -scale * log_(exact_double((long_word(g, half, j) >> 11) + 1) * 0x1p-53);
      }
    });
  } else {
    fill_random<T, 1>(advance(a.in(0), n, 1), to, n, [=](const Group& g, T* out, int64_t) {
      float x[kGroupWords];
#pragma omp simd
      for (int i = 0; i < kGroupWords; ++i)
        x[i] = -scale * log_(static_cast<float>(g.words[i]) * 0x1p-32f + 0x1p-33f);
      store_block(out, x, kGroupWords);
    });
  }
}
static void exponential(const Args& a) {
  with_float(a.out().dtype, [&]<class T>() { exponential_as(a, a.out().as<T>()); });
}

// The standard normal below which lies probability p in (0, 1): Wichura's AS 241 (1988), PPND16, 16 digits.
static double normal_quantile(double p) {
  const double q = p - 0.5;
  if (abs_(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q *
           poly(r, 3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
                45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727) /
           poly(r, 1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
                39307.89580009271061, 28729.085735721942674, 5226.495278852545925);
  }
  double r = std::sqrt(-std::log(q < 0 ? p : 1 - p)), x;
  if (r <= 5) {
    r -= 1.6;
    x = poly(r, 1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
             1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4) /
        poly(r, 1.0, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459,
             0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9);
  } else {
    r -= 5;
    x = poly(r, 6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
             0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
             2.01033439929228813265e-7) /
        poly(r, 1.0, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525,
             7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15);
  }
  return q < 0 ? -x : x;
}

// mean + deviation x, where x has the probability first + width u below it, u in (0, 1), within [low, high].
// params: mean, deviation (negative: the upper tail was turned into the lower one), first, width, low, high.
template <class T> static void truncated_normal_as(const Args& a, T* to) {
  const double mean = a.number(0), deviation = a.number(1), first = a.number(2), width = a.number(3),
               low = a.number(4), high = a.number(5);
  const auto number = [=](double u) {
    const double x = mean + deviation * normal_quantile(first + width * u);
    return rounded_to<T>(x < low ? low : at_most(x, high));
  };
  const int64_t n = a.out().size();
  if constexpr (std::is_same_v<T, double>) {
    fill_random<T, 2>(advance(a.in(0), n, 2), to, n, [=](const Group& g, T* out, int64_t) {
      for (int i = 0; i < 2 * kBlocks; ++i)
        out[i] = number((exact_double(long_word(g, i / kBlocks, i % kBlocks) >> 12) + 0.5) * 0x1p-52);
    });
  } else {
    fill_random<T, 1>(advance(a.in(0), n, 1), to, n, [=](const Group& g, T* out, int64_t) {
      for (int i = 0; i < kGroupWords; ++i) out[i] = number((g.words[i] + 0.5) * 0x1p-32);
    });
  }
}
static void truncated_normal(const Args& a) {
  with_float(a.out().dtype, [&]<class T>() { truncated_normal_as(a, a.out().as<T>()); });
}

// ---- by rejection -------------------------------------------------------------------------------------------------

constexpr int64_t kRejectionGrain = 2048;  // elements: 50 to 100 us

struct Attempt {
  uint32_t word[4];
  double normal;  // of words 0 and 1, where asked for
  double uniform(int w) const { return (word[w] + 0.5) * 0x1p-32; }  // in (0, 1)
  double wide(int w) const {  // of two words, in [0, 1)
    return exact_double((word[w] | static_cast<uint64_t>(word[w + 1]) << 32) >> 11) * 0x1p-53;
  }
};

// Standard normal numbers of words 0 and 1 by Box and Muller, of the first `count` lanes. The library's logarithms are
// taken one by one, all else in vectors.
template <int count> static inline void make_normal(const Words& words, double* normal) {
  for (int l = 0; l < count; ++l)
    normal[l] = std::log((static_cast<double>(static_cast<uint32_t>(words.word[0][l])) + 0.5) * 0x1p-32);
#pragma omp simd
  for (int l = 0; l < count; ++l)
    normal[l] = std::sqrt(-2 * normal[l]) * cos2pi_(static_cast<uint32_t>(words.word[1][l]) * 0x1p-32);
}

// to[i] = make(parameter i, attempts) for all i: attempts(t) draws the block of attempt t; the first ones are drawn for
// a vector of elements at once.
template <bool normals, class T, class P, class F>
static void fill_by_rejection(State s, const P* parameters, T* to, int64_t n, F make) {
  parallel_ranges(n, kRejectionGrain, [&](int64_t begin, int64_t end) {
    const Keys keys(s.seed);
    const auto draw = [&](uint64_t block, uint64_t attempt) {
      Lanes at;
      for (int l = 0; l < kHalf; ++l) at[l] = block + static_cast<uint64_t>(l);
      return philox({{at, at >> 32, Lanes{} + attempt, Lanes{} + 1}}, keys);
    };
    const auto lane = [](const Words& words, int l, double normal) {
      Attempt a;
      for (int w = 0; w < 4; ++w) a.word[w] = static_cast<uint32_t>(words.word[w][l]);
      a.normal = normal;
      return a;
    };
    const auto again = [&](uint64_t block, uint64_t t) {
      const Words words = draw(block, t);
      double normal = 0;
      if constexpr (normals) make_normal<1>(words, &normal);
      return lane(words, 0, normal);
    };
    for (int64_t i = begin; i < end; i += kHalf) {
      const uint64_t block = s.offset + static_cast<uint64_t>(i);
      const Words first = draw(block, 0);
      double normal[kHalf] = {};
      if constexpr (normals) make_normal<kHalf>(first, normal);
      for (int l = 0; l < kHalf && i + l < end; ++l) {
        to[i + l] = make(load(parameters + i + l), [&](uint64_t t) {
          return t ? again(block + static_cast<uint64_t>(l), t) : lane(first, l, normal[l]);
        });
      }
    }
  });
}

// Raises for the first parameter that is outside of a distribution's.
template <class P, class F>
static void check_parameters(const char* what, const Array& x, const char* range, F good) {
  const P* p = x.as<const P>();
  for (int64_t i = 0; i < x.size(); ++i) {
    if (!good(load(p + i)))
      throw ValueFault(std::string(what) + std::to_string(static_cast<double>(load(p + i))) + " at position " +
                       std::to_string(i) + " is not " + range);
  }
}

// Marsaglia and Tsang, "A simple method for generating gamma variables" (2000). Below 1: gamma(a + 1) u^(1 / a).
// Parameter: whether its logarithm.
template <class F> static double gamma_number(double a, bool log, F attempts) {
  const double shape = a < 1 ? a + 1 : a, d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (uint64_t t = 0;; ++t) {
    const Attempt w = attempts(t);
    const double x = w.normal, cube = 1 + c * x;
    if (cube <= 0) continue;
    const double v = cube * cube * cube, square = x * x, u = w.uniform(2);
    // Of what is accepted nine in ten are below a bound that needs no logarithms.
    if (u >= 1 - 0.0331 * square * square && std::log(u) >= 0.5 * square + d * (1 - v + std::log(v))) continue;
    const double raised = a < 1 ? std::log(w.uniform(3)) / a : 0.0;
    if (log) return std::log(d * v) + raised;
    return a < 1 ? d * v * std::exp(raised) : d * v;
  }
}
static void gamma(const Args& a) {
  const Array& shape = a.in(1);
  with_float(shape.dtype, [&]<class T>() {
    check_parameters<T>("gamma: the concentration ", shape, "positive and finite",
                        [](double x) { return x > 0 && x < std::numeric_limits<double>::infinity(); });
    const State s = advance(a.in(0), shape.size(), 4);
    fill_by_rejection<true>(s, shape.as<const T>(), a.out().as<T>(), shape.size(), [&](double x, auto attempts) {
      return rounded_to<T>(gamma_number(x, a.integer(0) != 0, attempts));
    });
  });
}

// log k!, k a whole number: Stirling's series, from 10 on 16 digits.
static double log_factorial(double k) {
  static constexpr double small[10] = {0.0, 0.0, 0.69314718055994531, 1.7917594692280550, 3.1780538303479458,
                                       4.7874917427820458, 6.5792512120101012, 8.5251613610654147, 10.604602902745251,
                                       12.801827480081469};
  if (k < 10) return small[static_cast<int>(k)];
  const double x = k + 1, r = 1 / (x * x);
  return (x - 0.5) * std::log(x) - x + 0.91893853320467274 +
         poly(r, 1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188, -691.0 / 360360) / x;
}

// Below 10 by inversion; from there by transformed rejection (Hoermann 1993, PTRS).
template <class F> static int64_t poisson_number(double rate, F attempts) {
  if (rate < 10) {
    const double u = attempts(0).wide(0);
    double p = std::exp(-rate), sum = p;
    int64_t k = 0;
    for (; u > sum && p > 1e-300; sum += p) p *= rate / static_cast<double>(++k);
    return k;
  }
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b, inverse = 1.1239 + 1.1328 / (b - 3.4),
               accepted = 0.9277 - 3.6224 / (b - 2), log_rate = std::log(rate);
  for (uint64_t t = 0;; ++t) {
    const Attempt w = attempts(t);
    const double u = w.wide(0) - 0.5, v = w.wide(2), near = 0.5 - abs_(u);
    const double k = std::floor((2 * a / near + b) * u + rate + 0.43);
    if (near >= 0.07 && v <= accepted) return static_cast<int64_t>(k);
    if (!(k >= 0) || (near < 0.013 && v > near)) continue;
    if (std::log(v * inverse / (a / (near * near) + b)) <= k * log_rate - rate - log_factorial(k))
      return static_cast<int64_t>(k);
  }
}
static void poisson(const Args& a) {
  const Array& rate = a.in(1);
  with_float(rate.dtype, [&]<class T>() {
    check_parameters<T>("poisson: the rate ", rate, "between 0 and 2^52",
                        [](double x) { return x >= 0 && x <= 0x1p52; });
    const State s = advance(a.in(0), rate.size(), 4);
    fill_by_rejection<false>(s, rate.as<const T>(), a.out().as<int64_t>(), rate.size(),
                      [](double x, auto attempts) { return poisson_number(x, attempts); });
  });
}

static const Kernel kernels[] = {
    {"random:exponential", exponential, 0},
    {"random:truncated_normal", truncated_normal, 0},
    {"random:gamma", gamma, 0b10},
    {"random:poisson", poisson, 0b10},
};
