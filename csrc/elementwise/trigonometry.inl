// Angles: asin, acos, atan, atan2, and hypot. Bound by arithmetic in short vectors; errors stand at each function.
//
// Polynomials are minimax fits (Remez) of what is left behind x: relative errors of 1e-9 of floats, 2e-17 of doubles.
#include "common/pointwise.inl"

constexpr double kPi = 3.141592653589793, kPiLow = 1.2246467991473532e-16;  // what pi has beyond a double

// pi times a power of 2, and the rest of it
template <class T> struct Pi {
  static constexpr T high = static_cast<T>(kPi);
  static constexpr T low = sizeof(T) == 4 ? static_cast<T>(kPi - double(static_cast<T>(kPi))) : static_cast<T>(kPiLow);
};

// atan(t) for |t| <= tan(pi / 8).
DLCORE_MATH T atan_reduced(T t) {
  const T z = t * t;
  if constexpr (sizeof(T) == 4)
    return fma_(t * z, poly(z, -0.333333164f, 0.199984938f, -0.142439231f, 0.10596437f, -0.0608435124f), t);
  else
    return fma_(t * z, poly(z, -0.33333333333331694, 0.19999999999519524, -0.1428571423704545, 0.11111108666146251,
                            -0.09090838188924605, 0.07691025253212136, -0.06651623140238963, 0.05766393120393459,
                            -0.04681078227250732, 0.0291840478942146, -0.008415106898868617), t);
}

// atan(a / b) for a, b >= 0, not both 0 and not both infinite: pi / 2 - atan(b / a) or pi / 4 + atan((a - b) / (a + b))
// where the quotient is large. 2 ulp.
DLCORE_MATH T atan_of_quotient(T a, T b) {
  constexpr T above = T(2.414213562373095), near = T(0.41421356237309503);  // tan(3 pi / 8), tan(pi / 8)
  const bool far = a > above * b, middle = a > near * b;
  const T over = middle ? a - b : a, under = middle ? a + b : b;
  const T t = (far ? -b : over) / (far ? a : under);
  const T quarters = far ? T(2) : middle ? T(1) : T(0);
  const T high = quarters * (T(0.25) * Pi<T>::high), low = quarters * (T(0.25) * Pi<T>::low);
  return high + (atan_reduced(t) + low);
}

struct Atan {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const { return copysign_(atan_of_quotient(abs_(x), T(1)), x); }
};

// atan(t) for 0 <= t <= 1.
static inline __attribute__((always_inline)) float atan_unit(float t) {
  const float z = t * t;
  return fma_(t * z, poly(z, -0.333333f, 0.1999853f, -0.14264043f, 0.10951187f, -0.08400679f, 0.057912596f,
                          -0.031135246f, 0.010892812f, -0.0017889641f), t);
}

// The angle of (x, y), in [-pi, pi]: of floats 1.5 ulp, of doubles 2 ulp. Zeros and infinities as in C. Floats have few
// bits: a longer polynomial of the smaller over the larger is faster than more cases.
struct Atan2 {
  static constexpr int64_t kGrain = 1 << 15;
  DLCORE_MAP float operator()(float y, float x) const {
    constexpr float inf = std::numeric_limits<float>::infinity();
    const float a = abs_(y), b = abs_(x);
    const bool steep = a > b, infinite = (a == inf) & (b == inf), nothing = (a == 0.0f) & (b == 0.0f);
    const float q = (steep ? b : a) / (steep ? a : b), finite = infinite ? 1.0f : q;
    const float t = atan_unit(nothing ? 0.0f : finite);
    const float up = steep ? 0.5f * Pi<float>::high - (t - 0.5f * Pi<float>::low) : t;
    const float other = Pi<float>::high - (up - Pi<float>::low);
    return copysign_(bits_of(x) >> 31 ? other : up, y);
  }
  DLCORE_MAP double operator()(double y, double x) const {
    using T = double;
    constexpr T inf = std::numeric_limits<T>::infinity(), large = 1e307;
    const T larger = abs_(y) > abs_(x) ? abs_(y) : abs_(x);  // their sum may be too large, or have too few bits
    const T scale = larger > large ? T(0.125) : larger < Real<T>::kSmallest * T(1024) ? Real<T>::kInteger : T(1);
    const bool infinite = (abs_(y) == inf) & (abs_(x) == inf), nothing = (y == T(0)) & (x == T(0));
    const T a = infinite ? T(1) : abs_(y) * scale, b = infinite | nothing ? T(1) : abs_(x) * scale;
    const T angle = atan_of_quotient(a, b);
    const T other = Pi<T>::high - (angle - Pi<T>::low);
    return copysign_(bits_of(x) >> (8 * sizeof(T) - 1) ? other : angle, y);
  }
};

// (asin(x) - x) / x of |x| <= 1/2, for z = x^2.
DLCORE_MATH T asin_series(T z) {
  if constexpr (sizeof(T) == 4)
    return z * poly(z, 0.166666597f, 0.0750050917f, 0.0445160493f, 0.0318152159f, 0.0144106848f, 0.0375549607f);
  else
    return z * poly(z, 0.16666666666665414, 0.07500000000337698, 0.044642856826995696, 0.03038195921058391,
                    0.02237175600559999, 0.017359738307230362, 0.013884886855770473, 0.012171573116529413,
                    0.0065175678701664755, 0.019557051723595252, -0.01626965284016717, 0.03194342246668499);
}

// asin(x) = pi / 2 - 2 asin(sqrt((1 - x) / 2)) for x above 1/2: 2 ulp.
struct Asin {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), far = T(0.5) * (T(1) - a);
    const bool near = a <= T(0.5);
    const T z = near ? a * a : far, r = near ? a : std::sqrt(far), y = fma_(r, asin_series(z), r);
    const T other = T(0.5) * Pi<T>::high - (y + y - T(0.5) * Pi<T>::low);
    return copysign_(near ? y : other, x);
  }
};
struct Acos {
  static constexpr int64_t kGrain = 1 << 15;
  template <class T> DLCORE_MAP T operator()(T x) const {
    const T a = abs_(x), far = T(0.5) * (T(1) - a);
    const bool near = a <= T(0.5);
    const T z = near ? a * a : far, r = near ? x : std::sqrt(far), y = fma_(r, asin_series(z), r);
    const T middle = T(0.5) * Pi<T>::high - (y - T(0.5) * Pi<T>::low);
    const T back = Pi<T>::high - (y + y - Pi<T>::low);
    return near ? middle : x < T(0) ? back : y + y;
  }
};

// ---- hypot --------------------------------------------------------------------------------------------------------

// sqrt(a^2 + b^2): of floats in double, whose squares neither overflow nor vanish; of doubles scaled by a power of 2.
// 1 ulp. Infinity where either is infinite, NaN or not.
struct Hypot {
  static constexpr int64_t kGrain = 1 << 15;
  DLCORE_MAP float operator()(float a, float b) const {
    constexpr float inf = std::numeric_limits<float>::infinity();
    const double x = a, y = b;
    const auto length = static_cast<float>(std::sqrt(x * x + y * y));
    return (abs_(a) == inf) | (abs_(b) == inf) ? inf : length;
  }
  DLCORE_MAP double operator()(double a, double b) const {
    constexpr double inf = std::numeric_limits<double>::infinity();
    const double x = abs_(a), y = abs_(b), m = x > y ? x : y, n = x > y ? y : x;
    const double up = m < 0x1p-500 ? 0x1p600 : 1.0, scale = m > 0x1p500 ? 0x1p-600 : up;
    const double back = m > 0x1p500 ? 0x1p600 : m < 0x1p-500 ? 0x1p-600 : 1.0, p = m * scale, q = n * scale;
    const double length = std::sqrt(fma_(p, p, q * q)) * back;
    return (x == inf) | (y == inf) ? inf : length;
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void one(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}
template <class F> static void two(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}

static const Kernel kernels[] = {
    {"elementwise:asin", one<Asin>, 0},
    {"elementwise:acos", one<Acos>, 0},
    {"elementwise:atan", one<Atan>, 0},
    {"elementwise:atan2", two<Atan2>, 0},
    {"elementwise:hypot", two<Hypot>, 0},
};
