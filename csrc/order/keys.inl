// Keys: unsigned integers that compare as elements do. NaN counts as the largest number and -0.0 equals 0.0.
#ifndef DLCORE_ORDER_KEYS
#define DLCORE_ORDER_KEYS
#include "common/dtypes.inl"
#include "common/simd.inl"

template <class T> constexpr bool kIsReal =
    std::is_same_v<T, half_t> || std::is_same_v<T, bfloat16_t> || std::is_floating_point_v<T>;

template <int bytes> struct BitsOf { using type = uint64_t; };
template <> struct BitsOf<1> { using type = uint8_t; };
template <> struct BitsOf<2> { using type = uint16_t; };
template <> struct BitsOf<4> { using type = uint32_t; };
template <class T> using bits_t = typename BitsOf<static_cast<int>(sizeof(T))>::type;

template <class T> constexpr bits_t<T> kSignBit = static_cast<bits_t<T>>(bits_t<T>{1} << (8 * sizeof(T) - 1));
template <class T> constexpr bits_t<T> kInfinity =  // of floats
    std::is_same_v<T, half_t> ? 0x7c00 : std::is_same_v<T, bfloat16_t> ? 0x7f80
    : sizeof(T) == 4 ? bits_t<T>(0x7f800000u) : bits_t<T>(0x7ff0000000000000ull);

template <class T> static inline bits_t<T> bits_of(const T* p) {
  bits_t<T> bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return bits;
}

// `flip`: 0 for ascending, all ones for descending order.
template <class T> static inline bits_t<T> key_of(const T* p, bits_t<T> flip) {
  using K = bits_t<T>;
  constexpr K sign = kSignBit<T>;
  K u = bits_of(p);
  if constexpr (kIsReal<T>) {
    const K size = u & static_cast<K>(~sign);
    u = size == 0 ? K{0} : u;
    const K mask = static_cast<K>(static_cast<std::make_signed_t<K>>(u) < 0 ? ~K{0} : sign);
    u = size > kInfinity<T> ? static_cast<K>(~K{0}) : static_cast<K>(u ^ mask);
  } else if constexpr (std::is_signed_v<T>) {
    u = static_cast<K>(u ^ sign);
  }
  return static_cast<K>(u ^ flip);
}

// The bits of an element with this key: 0.0 for all zeros, a NaN for all of them.
template <class T> static inline bits_t<T> bits_of_key(bits_t<T> key, bits_t<T> flip) {
  using K = bits_t<T>;
  constexpr K sign = kSignBit<T>;
  key = static_cast<K>(key ^ flip);
  if constexpr (kIsReal<T>) return static_cast<K>(key ^ (key & sign ? sign : static_cast<K>(~K{0})));
  else if constexpr (std::is_signed_v<T>) return static_cast<K>(key ^ sign);
  else return key;
}

// Whether the key does not tell the element's bits: a NaN or -0.0.
template <class T> static inline bool is_special(const T* p) {
  if constexpr (!kIsReal<T>) return false;
  const bits_t<T> u = bits_of(p);
  return u == kSignBit<T> || (u & static_cast<bits_t<T>>(~kSignBit<T>)) > kInfinity<T>;
}
template <class T> static inline bool is_zero(const T* p) {
  return (bits_of(p) & static_cast<bits_t<T>>(~kSignBit<T>)) == 0;
}
template <class T> static inline bool is_nan(const T* p) {
  if constexpr (!kIsReal<T>) return false;
  return (bits_of(p) & static_cast<bits_t<T>>(~kSignBit<T>)) > kInfinity<T>;
}

#endif  // DLCORE_ORDER_KEYS
