// gcd, lcm; fmax, fmin, heaviside, nextafter, nan_to_num; lerp, addcmul, addcdiv; deg2rad, rad2deg. Bound by memory,
// but for gcd and lcm.
#include "common/numbers.inl"
#include "elementwise/divisors.inl"

// ---- choices ------------------------------------------------------------------------------------------------------

struct FMax {  // a NaN counts as absent
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> DLCORE_MAP T operator()(T a, T b) const { return (a >= b) | (b != b) ? a : b; }
};
struct FMin {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> DLCORE_MAP T operator()(T a, T b) const { return (a <= b) | (b != b) ? a : b; }
};
struct Heaviside {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x, T values) const {
    const T step = x > T(0) ? T(1) : x < T(0) ? T(0) : values;
    return x != x ? x : step;
  }
};

// Of the bits of floats: those beyond `infinity` without the sign are NaN. Above 0 the next number has the next bits.
template <class U, U infinity> struct NextAfter {
  static constexpr int64_t kGrain = 1 << 15;
  U operator()(U a, U b) const {
    constexpr U sign = U(1) << (8 * sizeof(U) - 1), rest = sign - 1;
    const U x = a & rest, y = b & rest;
    const bool unknown = (x > infinity) | (y > infinity), equal = (a == b) | ((x | y) == 0);
    const bool away = (y > x) & !((a ^ b) & sign);  // on the same side, and further from 0
    const U along = static_cast<U>(away ? a + 1 : a - 1);
    const U step = x == 0 ? U((b & sign) | 1) : along;
    const U known = equal ? b : step;
    return unknown ? static_cast<U>(infinity | (infinity >> 1)) : known;
  }
};

template <class S> struct Largest {
  static constexpr compute_t<S> value = std::numeric_limits<compute_t<S>>::max();
};
template <> struct Largest<half_t> {
  static constexpr float value = 65504.0f;
};
template <> struct Largest<bfloat16_t> {
  static constexpr float value = 0x1.fep127f;
};
template <class S> struct Finite {
  template <class C> struct NanToNum {  // infinities become the largest numbers
    static constexpr int64_t kGrain = 1 << 16;
    C nan;
    explicit NanToNum(const Param* p) : nan(static_cast<C>(p[0].f)) {}
    DLCORE_MAP C operator()(C x) const {
      constexpr C most = Largest<S>::value;
      const C number = x == x ? copysign_(most, x) : nan;
      return abs_(x) <= most ? x : number;
    }
  };
};

// ---- three operands -----------------------------------------------------------------------------------------------

struct Lerp {  // from the nearer end, so that both are met exactly
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T a, T b, T weight) const {
    const T width = b - a;
    return abs_(weight) < T(0.5) ? fma_(weight, width, a) : fma_(weight - T(1), width, b);
  }
#if DLCORE_ISA >= 3
  // Each operand is loaded once. Left to itself the compiler takes them from memory wherever they are used, six times
  // for three: a million floats that straddle lines took a Zen 4 216 us, others 143.
  template <class T> requires std::is_floating_point_v<T>
  static void map(int64_t n, T* out, const T* starts, const T* ends, const T* weights) {
    for (int64_t i = 0; i < n; i += kLanes<T>) {
      vec<T> a = vload(starts + i), b = vload(ends + i), weight = vload(weights + i);
      asm("" : "+v"(a), "+v"(b), "+v"(weight));
      const vec<T> width = b - a, low = vfma(weight, width, a), high = vfma(weight - T(1), width, b);
      vstore(out + i, (weight < T(0.5)) & (weight > T(-0.5)) ? low : high);
    }
  }
#endif
};
struct AddCMul {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x, T a, T b) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(wrap_t<T>(x) + wrap_t<T>(a) * wrap_t<T>(b));
    else return fma_(a, b, x);
  }
};
struct AddCDiv {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x, T a, T b) const { return x + a / b; }
};

// ---- angles -------------------------------------------------------------------------------------------------------

// x times a number in two parts, float(number) towards 0 and what is left, of its sign: infinities stay what they are.
// It is rounded once, as from a product of doubles, in half the time: deg2rad of a million floats took 75 us on two
// cores of a Zen 4 and takes 47, PyTorch 51.
static inline __attribute__((always_inline)) float times(float x, double number, [[maybe_unused]] float high) {
#if DLCORE_ISA >= 3
  return fma_(x, high, x * static_cast<float>(number - high));
#else
  return static_cast<float>(x * number);
#endif
}
static inline __attribute__((always_inline)) double times(double x, double number, float) { return x * number; }

struct ToRadians {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x) const {
    return times(x, 0.017453292519943295, 0x1.1df46ap-6f);  // pi / 180
  }
};
struct ToDegrees {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> DLCORE_MAP T operator()(T x) const { return times(x, 57.29577951308232, 0x1.ca5dcp+5f); }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void integers(const Args& a) {
  with_integer(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
template <class F> static void one(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}
template <class F> static void two(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
template <class F> static void numbers(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
template <class F> static void three(const Args& a) {
  with_float(a.in(0).dtype,
             [&]<class T>() { pointwise<F, T, T, T, T>(a.out(), a.in(0), a.in(1), a.in(2)); });
}
static void addcmul(const Args& a) {
  with_dtype(a.in(0).dtype,
             [&]<class T>() { pointwise<AddCMul, T, T, T, T>(a.out(), a.in(0), a.in(1), a.in(2)); });
}

template <class U, U infinity> static void next(const Args& a) {
  pointwise<NextAfter<U, infinity>, U, U, U>(a.out(), a.in(0), a.in(1));
}
static void nextafter(const Args& a) {
  switch (a.out().dtype) {
    case DType::float16: return next<uint16_t, 0x7c00>(a);
    case DType::bfloat16: return next<uint16_t, 0x7f80>(a);
    case DType::float32: return next<uint32_t, 0x7f800000>(a);
    default: return next<uint64_t, 0x7ff0000000000000>(a);
  }
}

static void nan_to_num(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise_with<Finite<T>::template NanToNum, T, 1>(a); });
}

static const Kernel kernels[] = {
    {"elementwise:gcd", integers<Gcd>, 0},
    {"elementwise:lcm", integers<Lcm>, 0},
    {"elementwise:fmax", numbers<FMax>, 0},
    {"elementwise:fmin", numbers<FMin>, 0},
    {"elementwise:heaviside", numbers<Heaviside>, 0},
    {"elementwise:nextafter", nextafter, 0},
    {"elementwise:nan_to_num", nan_to_num, 0},
    {"elementwise:lerp", three<Lerp>, 0},
    {"elementwise:addcmul", addcmul, 0},
    {"elementwise:addcdiv", three<AddCDiv>, 0},
    {"elementwise:deg2rad", one<ToRadians>, 0},
    {"elementwise:rad2deg", one<ToDegrees>, 0},
};
