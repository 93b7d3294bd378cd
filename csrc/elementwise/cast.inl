// Conversion between any two dtypes; the target is the output's. Bound by memory.
//
// To bool: whether it differs from 0. Integer to integer wraps. Float to integer truncates towards zero and stays
// within the target: beyond its range the nearest limit, NaN gives 0. To float rounds once, to nearest even.
#include "common/pointwise.inl"

template <class I, class T> static inline I saturate(T x) {
  constexpr T low = static_cast<T>(std::numeric_limits<I>::min());
  constexpr T above = T(2) * static_cast<T>(uint64_t(1) << (std::numeric_limits<I>::digits - 1));  // the maximum + 1
  const T inside = (x >= low) & (x < above) ? x : T(0);
  return x >= above ? std::numeric_limits<I>::max() : x < low ? std::numeric_limits<I>::min() : static_cast<I>(inside);
}

template <class O> struct Convert {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> O operator()(T x) const {
    if constexpr (std::is_same_v<O, bool>) return x != T(0);
    else if constexpr (std::is_integral_v<O> && std::is_floating_point_v<T>) return saturate<O>(x);
    else return static_cast<O>(x);
  }
};
struct RoundToOdd {
  static constexpr int64_t kGrain = 1 << 16;
  float operator()(double x) const { return round_to_odd(x); }
  float operator()(int64_t x) const { return round_to_odd(x); }
  float operator()(int32_t x) const { return round_to_odd(static_cast<double>(x)); }
  float operator()(uint32_t x) const { return round_to_odd(static_cast<double>(x)); }
  float operator()(uint64_t x) const {  // halved, the last bit kept: an int64, whose rounding to odd is that of x
    const bool large = x >> 63;
    return round_to_odd(static_cast<int64_t>(large ? x >> 1 | (x & 1) : x)) * (large ? 2.0f : 1.0f);
  }
};
// float32 to int32 in four instructions a vector: truncated, what is out of range or NaN gives the lowest integer, the
// bits of which the highest has turned. What the compiler makes of saturate is seven, and 108 us for a million in cache
// of a Zen 4 where the copy takes 72 as this does.
struct Truncate {
  static constexpr int64_t kGrain = 1 << 16;
  int32_t operator()(float x) const { return saturate<int32_t>(x); }
  static vec<int32_t> truncated(vec<float> x) {
#if DLCORE_ISA == 4
    return (vec<int32_t>)_mm512_maskz_cvttps_epi32(0xffff, (__m512)x);
#elif DLCORE_ISA == 3
    return (vec<int32_t>)_mm256_cvttps_epi32((__m256)x);
#else
    return (vec<int32_t>)_mm_cvttps_epi32((__m128)x);
#endif
  }
  static void map(int64_t n, int32_t* out, const float* in) {
    for (int64_t i = 0; i < n; i += kLanes<float>) {
      const vec<float> x = vload(in + i);
      vstore(out + i, (truncated(x) ^ (x >= 2147483648.0f)) & (x == x));
    }
  }
};
// Between equal compute types; 16-bit floats are widened or rounded on the way. Of a loop that does nothing in between
// the compiler would make copies of groups on the stack: 105 us for a million floats rounded to bfloat16, not 80.
struct Move {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const { return x; }
  template <class T>
    requires kByHand<T>
  static void map(int64_t n, float* out, const T* in) { load_block(out, in, n); }
  template <class T>
    requires kByHand<T>
  static void map(int64_t n, T* out, const float* in) { store_block(out, in, n); }
};

template <class O> static void cast_to(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class I>() {
    constexpr bool kept = std::is_same_v<compute_t<O>, compute_t<I>>;
    constexpr bool truncated = std::is_same_v<O, int32_t> && std::is_same_v<I, float>;
    using F = std::conditional_t<kept, Move, std::conditional_t<truncated, Truncate, Convert<compute_t<O>>>>;
    pointwise<F, O, I>(a.out(), a.in(0));
  });
}

static void cast(const Args& a) {
  const DType from = a.in(0).dtype, to = a.out().dtype;
  if (from == to) return with_bits(to, [&]<class T>() { pointwise<Move, T, T>(a.out(), a.in(0)); });
  if (from == DType::float64 && to == DType::float16) return pointwise<RoundToOdd, half_t, double>(a.out(), a.in(0));
  if (to == DType::bfloat16) {  // of a float16 and of shorter integers a float holds all bits
    if (from == DType::float64) return pointwise<RoundToOdd, bfloat16_t, double>(a.out(), a.in(0));
    if (from == DType::int64) return pointwise<RoundToOdd, bfloat16_t, int64_t>(a.out(), a.in(0));
    if (from == DType::int32) return pointwise<RoundToOdd, bfloat16_t, int32_t>(a.out(), a.in(0));
    if (from == DType::uint64) return pointwise<RoundToOdd, bfloat16_t, uint64_t>(a.out(), a.in(0));
    if (from == DType::uint32) return pointwise<RoundToOdd, bfloat16_t, uint32_t>(a.out(), a.in(0));
  }
  if (to == DType::bool_) return cast_to<bool>(a);
  with_dtype(to, [&]<class O>() { cast_to<O>(a); });
}

static const Kernel kernels[] = {{"elementwise:cast", cast, 0}};
