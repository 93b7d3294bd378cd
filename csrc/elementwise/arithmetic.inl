// Arithmetic of two operands: add, sub, mul, div, maximum, minimum, pow, floor_divide, remainder.
//
// Bound by memory (12 bytes an element in float32) except pow and the divisions. Both operands have one dtype, which
// is the output's.
#include "common/pointwise.inl"
#include "elementwise/power.inl"

struct Add {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, bool>) return a | b;
    else return static_cast<T>(wrap_t<T>(a) + wrap_t<T>(b));
  }
};
struct Sub {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const { return static_cast<T>(wrap_t<T>(a) - wrap_t<T>(b)); }
};
struct Mul {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, bool>) return a & b;
    else return static_cast<T>(wrap_t<T>(a) * wrap_t<T>(b));
  }
};
struct Div {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const { return a / b; }
};
struct Maximum {  // a NaN in either operand is the result
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T a, T b) const { return (a > b) | (a != a) ? a : b; }
};
struct Minimum {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T a, T b) const { return (a < b) | (a != a) ? a : b; }
};

// What Python's operators make of numbers and of the rest that fmod gives, which is exact.
DLCORE_MATH T floor_of_rest(T a, T b, T rest) {
  const T quotient = (a - rest) / b - ((rest != T(0)) & ((rest < T(0)) != (b < T(0))) ? T(1) : T(0));
  const T low = __builtin_floor(quotient), near = quotient - low > T(0.5) ? low + T(1) : low, ratio = a / b;
  const T whole = quotient == T(0) ? copysign_(T(0), ratio) : near;
  return b == T(0) ? ratio : whole;
}
DLCORE_MATH T remainder_of_rest(T a, T b, T rest) {
  (void)a;
  const T moved = (rest < T(0)) != (b < T(0)) ? rest + b : rest;
  return rest == T(0) ? copysign_(T(0), b) : moved;
}

// Python's: the quotient is rounded down and the remainder has the divisor's sign. Integer division by 0 gives 0.
template <class T> static inline T floor_quotient(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return static_cast<T>(-wrap_t<T>(a));  // the processor traps on the smallest number / -1
      return static_cast<T>(a / b - ((a % b != 0) & ((a < 0) != (b < 0))));
    }
    return static_cast<T>(a / b);
  } else {
    return floor_of_rest(a, b, std::fmod(a, b));
  }
}
template <class T> static inline T floor_remainder(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
      const T rest = a % b;
      return static_cast<T>(rest + ((rest != 0) & ((rest < 0) != (b < 0)) ? b : 0));
    }
    return static_cast<T>(a % b);
  } else {
    return remainder_of_rest(a, b, std::fmod(a, b));
  }
}
// Of floats by way of doubles, to the same bits: with s = a and d = b, both with b's sign taken off, and n the integer
// nearest to s / d, n d has 24 + 29 bits at most and s - n d fewer than 25, so that both are exact in double. Whether n
// is one too many, the sign of s - n d tells. Infinite d: any number above all floats in its place has the same n, 0.
constexpr float kFar = 0x1p29f;
static inline __attribute__((always_inline)) bool is_far(float a, float b) {  // of 0, infinity and NaN, infinity and 0
  constexpr float inf = std::numeric_limits<float>::infinity();
  return (abs_(a) >= abs_(b) * kFar) & ((abs_(a) < inf) == (abs_(b) > 0.0f));
}
struct NearDivision {
  double s, d, n, rest;
  __attribute__((always_inline)) NearDivision(float a, float b) {
    s = of_bits<float>(bits_of(a) ^ (bits_of(b) & 0x80000000u));
    d = at_most(abs_(static_cast<double>(b)), 1e300);
    n = (s / d + Real<double>::kRound) - Real<double>::kRound;
    rest = fma_(-n, d, s);
  }
};
struct FloorDivide {
  static constexpr int64_t kGrain = 1 << 11;
  template <class T> T operator()(T a, T b) const { return floor_quotient(a, b); }
  DLCORE_MATH T of_rest(T a, T b, T rest) { return floor_of_rest(a, b, rest); }
  static __attribute__((always_inline)) float near(float a, float b) {
    const NearDivision v(a, b);
    const double unknown = v.s - v.s;  // NaN where `a` is infinite
    return static_cast<float>(copysign_((v.n - (v.rest < 0.0 ? 1.0 : 0.0)) + unknown, v.s));
  }
};
struct Remainder {
  static constexpr int64_t kGrain = 1 << 11;
  template <class T> T operator()(T a, T b) const { return floor_remainder(a, b); }
  DLCORE_MATH T of_rest(T a, T b, T rest) { return remainder_of_rest(a, b, rest); }
  static __attribute__((always_inline)) float near(float a, float b) {
    const auto rest = static_cast<float>(NearDivision(a, b).rest);  // exact
    return copysign_(rest < 0.0f ? rest + abs_(b) : rest, b);
  }
};
struct Fmod {  // towards 0, with the sign of a: exact, as fmod is
  static constexpr int64_t kGrain = 1 << 11;
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) return std::fmod(a, b);
    else if constexpr (std::is_signed_v<T>) return (b == 0) | (b == -1) ? T(0) : static_cast<T>(a % b);
    else return b == 0 ? T(0) : static_cast<T>(a % b);
  }
  DLCORE_MATH T of_rest(T, T, T rest) { return rest; }
  static __attribute__((always_inline)) float near(float a, float b) {
    const NearDivision v(a, b);  // of |a|, |b|: the rest of the nearest multiple
    const double rest = of_bits<double>(bits_of(v.rest) ^ (bits_of(v.s) & (uint64_t(1) << 63)));
    return copysign_(static_cast<float>(rest < 0.0 ? rest + v.d : rest), a);
  }
};
template <class F, class S> static void division_loop(int64_t n, void* out, const void* const* in) {
  auto *a = static_cast<const S*>(in[0]), *b = static_cast<const S*>(in[1]);
  float x[kPointwiseBlock], y[kPointwiseBlock];
  for (int64_t start = 0; start < n; start += kPointwiseBlock) {
    const int64_t m = n - start < kPointwiseBlock ? n - start : kPointwiseBlock;
    load_block(x, a + start, m);
    load_block(y, b + start, m);
    uint32_t far = 0;
#pragma omp simd reduction(| : far)
    for (int64_t i = 0; i < m; ++i) far |= is_far(x[i], y[i]);
    if (!far) {
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) x[i] = F::near(x[i], y[i]);
    } else {
      for (int64_t i = 0; i < m; ++i) x[i] = is_far(x[i], y[i]) ? F{}(x[i], y[i]) : F::near(x[i], y[i]);
    }
    store_block(static_cast<S*>(out) + start, x, m);
  }
}

// fmod of doubles: a - n b is exact for the quotient n cut to an integer, or one less where the division rounded up.
// Quotients of 2^52 and more are left to the C library, and where there is no fused multiply-add all are.
static inline __attribute__((always_inline)) double fmod_near(double a, double b) {
  const double x = abs_(a), y = abs_(b), bounded = y < std::numeric_limits<double>::infinity() ? y : 1.0;
  const double n = __builtin_trunc(x / bounded);
  const double rest = fma_(-n, bounded, x), near = rest < 0.0 ? rest + y : rest;
  return copysign_(x < y ? x : near, a);
}
template <class F> static void double_division(int64_t n, void* out, const void* const* in) {
  auto *a = static_cast<const double*>(in[0]), *b = static_cast<const double*>(in[1]);
  auto* to = static_cast<double*>(out);
  for (int64_t start = 0; start < n; start += kPointwiseBlock) {
    const int64_t m = n - start < kPointwiseBlock ? n - start : kPointwiseBlock;
    uint64_t far = DLCORE_ISA < 3;
#pragma omp simd reduction(| : far)
    for (int64_t i = start; i < start + m; ++i) far |= !(abs_(a[i]) < abs_(b[i]) * 0x1p52);
    if (!far) {
#pragma omp simd
      for (int64_t i = start; i < start + m; ++i) to[i] = F::of_rest(a[i], b[i], fmod_near(a[i], b[i]));
    } else {
      for (int64_t i = start; i < start + m; ++i) to[i] = F::of_rest(a[i], b[i], std::fmod(a[i], b[i]));
    }
  }
}

// ---- pow ----------------------------------------------------------------------------------------------------------

// exp(y log|x|) in double, each to 1e-10, which a float does not notice, times the sign. C's special cases: pow(x, 0)
// and pow(1, y) are 1 even for NaN; a negative base needs an integer exponent. Selections of numbers, not logic on
// bools: the compiler turns the latter into branches and the loop stays scalar.
static inline __attribute__((always_inline)) float pow_float(float base, float exponent) {
  constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const double x = base, y = exponent, a = abs_(x);  // a subnormal float is a normal double
  double e, rounded;
  const double m = split_exponent(a, e), s = (m - 1.0) / (m + 1.0), z = s * s;
  const double series = poly(z, 2.0, 0.6666666667552095, 0.39999995698006585, 0.28572102286416945, 0.22176441624650203,
                             0.19580873951908767);  // log((1 + s) / (1 - s)) / s
  const double finite = fma_(e, 0.6931471805599453, s * series), not_zero = a < inf ? finite : a;
  const double log = a == 0.0 ? -inf : not_zero;
  const double product = log == 0.0 ? 0.0 : y * log, power = y == 0.0 ? 0.0 : product;
  const double low = power < -110.0 ? -110.0 : power;  // beyond, a float is 0 or infinite
  const double r = reduce_exp(power > 90.0 ? 90.0 : low, rounded);
  const double q = poly(r, 0.500000006785065, 0.16666665862244623, 0.04166629404783285, 0.008333498120910993,
                        0.0013944736637650668, 0.0001979003253687571);
  const double value = (fma_(r * r, q, r) + 1.0) * power_of_two(rounded);

  const double size = at_most(abs_(y), 0x1p31), half = 0.5 * size;  // floats beyond are even integers, as 2^31 is
  const double whole = (size + Real<double>::kRound) - Real<double>::kRound;
  const double whole_half = (half + Real<double>::kRound) - Real<double>::kRound;
  const double of_integer = half == whole_half ? 1.0 : -1.0, of_others = abs_(log) < inf ? nan : 1.0;
  const double of_negative = whole == size ? of_integer : of_others;
  return static_cast<float>(value * (copysign_(1.0, x) < 0.0 ? of_negative : 1.0));
}

template <class T> static inline T pow_integer(T base, T exponent) {  // exponent >= 0
  wrap_t<T> result = 1, square = wrap_t<T>(base);
  for (auto e = static_cast<std::make_unsigned_t<T>>(exponent); e; e >>= 1) {
    if (e & 1) result *= square;
    square *= square;
  }
  return static_cast<T>(result);
}

struct Pow {
  static constexpr int64_t kGrain = 1 << 12;
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return pow_integer(a, b);
    else if constexpr (sizeof(T) == 4) return pow_float(a, b);
    else return std::pow(a, b);
  }
#if DLCORE_ISA == 4
  template <class V> static V vector(V a, V b) { return vpower(a, b); }
#endif
};
struct Identity {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T a) const { return a; }
};
struct SquareOf {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a) const { return a * a; }
};
struct CubeOf {  // of floats rounded once
  static constexpr int64_t kGrain = 1 << 16;
  DLCORE_MAP float operator()(float a) const { return static_cast<float>(double(a) * a * a); }
  DLCORE_MAP double operator()(double a) const { return a * a * a; }
};
struct InverseOf {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a) const { return T(1) / a; }
};
struct RootOf {  // differs from sqrt at -0 and -inf
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a) const {
    constexpr T inf = std::numeric_limits<T>::infinity();
    return a == -inf ? inf : std::sqrt(a) + T(0);
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void number_kernel(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
template <class F> static void kernel(const Args& a) {
  if (a.in(0).dtype == DType::bool_) pointwise<F, bool, bool, bool>(a.out(), a.in(0), a.in(1));
  else number_kernel<F>(a);
}

template <class F> static void division(const Args& a) {
  if (!is_float(a.in(0).dtype)) return number_kernel<F>(a);
  with_float(a.in(0).dtype, [&]<class T>() {
    const Array* const arrays[] = {&a.out(), &a.in(0), &a.in(1)};
    if constexpr (std::is_same_v<T, double>) run_pointwise(double_division<F>, 1 << 13, arrays, 3);
    else run_pointwise(division_loop<F, T>, 1 << 14, arrays, 3);
  });
}

static void div(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<Div, T, T, T>(a.out(), a.in(0), a.in(1)); });
}

// Raises for the first negative exponent: integers have no such powers.
template <class T> static void check_powers(const Array& x) {
  const Array* const arrays[] = {&x};
  LoopNest<1> nest = loop_over<1>(arrays);
  nest.merge();
  if (nest.count == 0) nest.push({1, {1}});
  const LoopAxis<1> inner = nest.pop();
  T bits = 0;
  LoopCursor<1> at(nest, nest.count, 0);
  for (int64_t row = 0; row < nest.size(); ++row, at.next()) {
    const T* p = x.as<const T>() + at.offsets[0];
    for (int64_t i = 0; i < inner.length; ++i) bits |= p[i * inner.strides[0]];
    if (bits >= 0) continue;
    int64_t i = 0;
    while (p[i * inner.strides[0]] >= 0) ++i;
    throw ValueFault("pow: the exponent " + std::to_string(p[i * inner.strides[0]]) + " at position " +
                     std::to_string(row * inner.length + i) + " is negative, and integers have no such powers");
  }
}

static void pow(const Args& a) {
  if (a.out().size() == 0) return;
  if (!is_float(a.in(0).dtype)) {
    with_integer(a.in(0).dtype, [&]<class T>() {
      if constexpr (std::is_signed_v<T>) check_powers<T>(a.in(1));
    });
    return number_kernel<Pow>(a);
  }
  if (a.in(1).size() != 1) return number_kernel<Pow>(a);
  with_float(a.in(0).dtype, [&]<class T>() {
    const auto exponent = load(a.in(1).as<const T>());  // the usual constants need no logarithm
    if (exponent == 2) pointwise<SquareOf, T, T>(a.out(), a.in(0));
    else if (exponent == 3) pointwise<CubeOf, T, T>(a.out(), a.in(0));
    else if (exponent == 1) pointwise<Identity, T, T>(a.out(), a.in(0));
    else if (exponent == -1) pointwise<InverseOf, T, T>(a.out(), a.in(0));
    else if (exponent == 0.5) pointwise<RootOf, T, T>(a.out(), a.in(0));
    else pointwise<Pow, T, T, T>(a.out(), a.in(0), a.in(1));
  });
}

static const Kernel kernels[] = {
    {"elementwise:add", kernel<Add>, 0},
    {"elementwise:sub", number_kernel<Sub>, 0},
    {"elementwise:mul", kernel<Mul>, 0},
    {"elementwise:div", div, 0},
    {"elementwise:maximum", kernel<Maximum>, 0},
    {"elementwise:minimum", kernel<Minimum>, 0},
    {"elementwise:pow", pow, 0},
    {"elementwise:floor_divide", division<FloorDivide>, 0},
    {"elementwise:remainder", division<Remainder>, 0},
    {"elementwise:fmod", division<Fmod>, 0},
};
