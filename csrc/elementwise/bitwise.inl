// Integers bit by bit: and, or, xor, not, shifts. Bound by memory.
#include "common/pointwise.inl"

struct BitAnd {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const { return a & b; }
};
struct BitOr {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const { return a | b; }
};
struct BitXor {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const { return a ^ b; }
};
struct BitNot {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x) const { return static_cast<T>(~x); }
};
struct BoolNot {  // of bytes 0 and 1
  static constexpr int64_t kGrain = 1 << 18;
  uint8_t operator()(uint8_t x) const { return x ^ 1; }
};

// By as many bits as there are, or more, all are lost; a negative count is read as a large one. C leaves both open.
template <class T> static inline bool within(T count) {
  return static_cast<std::make_unsigned_t<T>>(count) < 8 * sizeof(T);
}
struct LeftShift {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const {
    const auto shifted = wrap_t<T>(a) << (wrap_t<T>(b) & (8 * sizeof(wrap_t<T>) - 1));
    return within(b) ? static_cast<T>(shifted) : T(0);
  }
};
struct RightShift {  // of negative numbers with copies of the sign
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T a, T b) const {
    constexpr T last = 8 * sizeof(T) - 1;
    const T sign = a < 0 ? T(-1) : T(0);
    return within(b) ? static_cast<T>(a >> (b & last)) : sign;
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void bits(const Args& a) {
  with_bits(a.out().dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
template <class F> static void shift(const Args& a) {
  with_integer(a.out().dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
static void bitwise_not(const Args& a) {
  if (a.out().dtype == DType::bool_) return pointwise<BoolNot, uint8_t, uint8_t>(a.out(), a.in(0));
  with_bits(a.out().dtype, [&]<class T>() { pointwise<BitNot, T, T>(a.out(), a.in(0)); });
}

static const Kernel kernels[] = {
    {"elementwise:bitwise_and", bits<BitAnd>, 0},
    {"elementwise:bitwise_or", bits<BitOr>, 0},
    {"elementwise:bitwise_xor", bits<BitXor>, 0},
    {"elementwise:bitwise_not", bitwise_not, 0},
    {"elementwise:bitwise_left_shift", shift<LeftShift>, 0},
    {"elementwise:bitwise_right_shift", shift<RightShift>, 0},
};
