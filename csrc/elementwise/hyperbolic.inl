// tan, sinh, cosh, asinh, acosh, atanh. Bound by arithmetic; errors stand at each function.
#include "common/angles.inl"
#include "common/pointwise.inl"

// ---- tangent ------------------------------------------------------------------------------------------------------

// sin(x) / cos(x), |x| <= kNearLimit: of floats 0.6 ulp, of doubles 2 ulp. Beyond the C library's.
template <class T> static inline __attribute__((always_inline)) T tan_near(T x) {
  double s, c;
  const bool odd = reduce_near(x, s, c) & 1;
  const auto y = static_cast<T>((odd ? -c : s) / (odd ? s : c));
  return x == T(0) ? x : y;
}
template <class S> static void tan_loop(int64_t n, void* out, const void* const* in) {
  using T = compute_t<S>;
  auto* x = static_cast<const S*>(in[0]);
  auto* y = static_cast<S*>(out);
  T block[kPointwiseBlock];
  for (int64_t start = 0; start < n; start += kPointwiseBlock) {
    const int64_t m = n - start < kPointwiseBlock ? n - start : kPointwiseBlock;
    load_block(block, x + start, m);
    T largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < m; ++i) largest = abs_(block[i]) > largest ? abs_(block[i]) : largest;
    if (kVectors<T> && largest <= T(kNearLimit)) {
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) block[i] = tan_near(block[i]);
    } else {
      for (int64_t i = 0; i < m; ++i) block[i] = std::tan(block[i]);
    }
    store_block(y + start, block, m);
  }
}
static void tan(const Args& a) {
  const Array* const arrays[] = {&a.out(), &a.in(0)};
  with_float(a.in(0).dtype, [&]<class T>() { run_pointwise(tan_loop<T>, 1 << 13, arrays, 2); });
}

// ---- hyperbolic functions -----------------------------------------------------------------------------------------

// (e^a - 1) / 4 for a >= 0: it is finite as long as sinh(a) is.
DLCORE_MATH T quarter_expm1(T a) {
  T rounded;
  constexpr T most = sizeof(T) == 4 ? T(89.6) : T(710.7);  // where sinh is infinite, and the power is not yet
  const T r = reduce_exp(at_most(a, most), rounded), quarter = power_of_two(rounded - T(2));
  return fma_(quarter, expm1_reduced(r), quarter - T(0.25));
}
struct Sinh {  // 3 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), u = quarter_expm1(a), y = T(2) * u + u / fma_(u, T(2), T(0.5));
    return a < T(8) * Real<T>::kSmallest ? x : copysign_(y, x);
  }
};
struct Cosh {  // 2 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T u = quarter_expm1(abs_(x));
    return fma_(u, T(2), T(0.5)) + T(0.5) / fma_(u, T(4), T(1));
  }
};

// log(a + sqrt(a^2 + 1)) = log1p(a + a^2 / (1 + sqrt(a^2 + 1))), beyond 2^26 (2^55) log(2 a): 3 ulp.
template <class T> constexpr T kFarAway = sizeof(T) == 4 ? T(0x1p26) : T(0x1p55);
struct Asinh {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), near = at_most(a, kFarAway<T>), square = near * near;
    const T inside = near + square / (T(1) + std::sqrt(square + T(1)));
    const bool far = a > kFarAway<T>;
    const T y = log1p_(far ? a : inside) + (far ? T(0.6931471805599453) : T(0));
    return copysign_(y, x);
  }
};
struct Acosh {  // NaN below 1: 3 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const bool far = x > kFarAway<T>;
    const T t = (far ? T(1) : x) - T(1), inside = t + std::sqrt(fma_(t, t, t + t));
    const T y = log1p_(far ? x : inside) + (far ? T(0.6931471805599453) : T(0));
    return x < T(1) ? std::numeric_limits<T>::quiet_NaN() : y;
  }
};
struct Atanh {  // log((1 + a) / (1 - a)) / 2; NaN beyond 1: 3 ulp
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), y = T(0.5) * log1p_((a + a) / (T(1) - a));
    return a < T(2) * Real<T>::kSmallest ? x : copysign_(y, x);
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void kernel(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}

static const Kernel kernels[] = {
    {"elementwise:tan", tan, 0},
    {"elementwise:sinh", kernel<Sinh>, 0},
    {"elementwise:cosh", kernel<Cosh>, 0},
    {"elementwise:asinh", kernel<Asinh>, 0},
    {"elementwise:acosh", kernel<Acosh>, 0},
    {"elementwise:atanh", kernel<Atanh>, 0},
};
