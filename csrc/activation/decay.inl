// What activations with an exponential share: exp(-|x|) kept in two parts, and silu, which gates are made of too. A
// body includes it once.
#include "common/math.inl"

struct Bounded {
  static constexpr int64_t kGrain = 1 << 16;
};
struct Exponential {
  static constexpr int64_t kGrain = 1 << 14;
};

DLCORE_MATH T at_least(T x, T low) { return x < low ? low : x; }

// exp(-|x|), and times(f) = f exp(-|x|) rounded once.
template <class T> struct Decay {
  T scaled, rest, e;
  __attribute__((always_inline)) explicit Decay(T x) {
    constexpr T zero = Real<T>::kRoundExponent;
    T rounded;
    const T r = reduce_exp(-at_most(abs_(x), T(1.25) * -Real<T>::kExpMin), rounded), n = rounded - zero;
    const T half = fma_(n, T(0.5), zero);
    scaled = (expm1_reduced(r) + T(1)) * power_of_two(half);
    rest = power_of_two((n - (half - zero)) + zero);
    e = scaled * rest;
  }
  __attribute__((always_inline)) T times(T factor) const { return scaled * factor * rest; }
};

struct Silu : Exponential {  // x / (1 + exp(-x))
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    const Decay<T> d(x);
    return (x < T(0) ? d.times(at_least(x, T(-1e4))) : x) / (T(1) + d.e);
  }
};
// s (1 + x (1 - s)), s the logistic function; with e = exp(-|x|) and q = 1 / (1 + e): s = q or e q.
struct SiluBackward : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    const Decay<T> d(x);
    const T q = T(1) / (T(1) + d.e), y = at_least(at_most(x, T(1e4)), T(-1e4));
    const T up = q * fma_(y, d.e * q, T(1)), down = d.times(fma_(y, q, T(1))) * q;
    return dout * (x < T(0) ? down : up);
  }
};
