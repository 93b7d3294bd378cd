// Load, store, fused multiply-add and broadcast at this instruction set's width, and the 16-bit floats' conversions.
// Everything else is plain C++ that the compiler vectorises (`#pragma omp simd`).
#ifndef DLCORE_COMMON_SIMD
#define DLCORE_COMMON_SIMD

// Follows the parameters of a lambda that a loop calls, or precedes the result of a functor: where the call stays one,
// the loop does not become vector code.
#define DLCORE_MAP __attribute__((always_inline))

#if DLCORE_ISA == 4
constexpr int kVectorBytes = 64;
#elif DLCORE_ISA == 3
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T> struct VectorOf { typedef T type __attribute__((vector_size(kVectorBytes))); };
template <class T> using vec = typename VectorOf<T>::type;
template <class T> constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T> static inline vec<T> vload(const T* p) {
  vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T> static inline void vstore(T* p, vec<T> v) { __builtin_memcpy(p, &v, sizeof v); }
template <class T> static inline vec<T> vset(T x) { return x - vec<T>{}; }

// a * b + c rounded once where the hardware has it; the baseline rounds twice (its results differ in the last bit).
static inline float fma_(float a, float b, float c) {
#if DLCORE_ISA >= 3
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
static inline double fma_(double a, double b, double c) {
#if DLCORE_ISA >= 3
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}
#if DLCORE_ISA == 4
static inline vec<float> vfma(vec<float> a, vec<float> b, vec<float> c) {
  return (vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline vec<double> vfma(vec<double> a, vec<double> b, vec<double> c) {
  return (vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif DLCORE_ISA == 3
static inline vec<float> vfma(vec<float> a, vec<float> b, vec<float> c) {
  return (vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static inline vec<double> vfma(vec<double> a, vec<double> b, vec<double> c) {
  return (vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#else
static inline vec<float> vfma(vec<float> a, vec<float> b, vec<float> c) { return a * b + c; }
static inline vec<double> vfma(vec<double> a, vec<double> b, vec<double> c) { return a * b + c; }
#endif

// The first n lanes of memory, zeros beyond; only those n are touched.
#if DLCORE_ISA == 4
static inline vec<float> vload_first(const float* p, int n) {
  return (vec<float>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
static inline vec<double> vload_first(const double* p, int n) {
  return (vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
}
static inline void vstore_first(float* p, vec<float> v, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
}
static inline void vstore_first(double* p, vec<double> v, int n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), (__m512d)v);
}
#elif DLCORE_ISA == 3
constexpr int32_t kFirst[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static inline __m256i first_lanes(int n32) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirst + 8 - n32));
}
static inline vec<float> vload_first(const float* p, int n) {
  return (vec<float>)_mm256_maskload_ps(p, first_lanes(n));
}
static inline vec<double> vload_first(const double* p, int n) {
  return (vec<double>)_mm256_maskload_pd(p, first_lanes(2 * n));
}
static inline void vstore_first(float* p, vec<float> v, int n) { _mm256_maskstore_ps(p, first_lanes(n), (__m256)v); }
static inline void vstore_first(double* p, vec<double> v, int n) {
  _mm256_maskstore_pd(p, first_lanes(2 * n), (__m256d)v);
}
#else
template <class T> static inline vec<T> vload_first(const T* p, int n) {
  vec<T> v{};
  for (int i = 0; i < kLanes<T>; ++i) v[i] = i < n ? p[i] : T(0);
  return v;
}
template <class T> static inline void vstore_first(T* p, vec<T> v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}
#endif

// ---- 16-bit floats: widen on load, round to nearest even on store -------------------------------------------------
static inline float to_float(bfloat16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h.bits) << 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
static inline bfloat16_t to_bfloat16(float f) {
  uint32_t bits;
  __builtin_memcpy(&bits, &f, 4);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const uint32_t nan = bits | 0x400000u;  // keep a NaN a NaN: rounding could carry it into infinity
  return {static_cast<uint16_t>((f != f ? nan : rounded) >> 16)};
}
static inline float to_float(half_t h) {
#if DLCORE_ISA >= 3
  return _cvtsh_ss(h.bits);
#else
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16, magnitude = h.bits & 0x7fffu;
  uint32_t bits = (magnitude << 13) + 0x38000000u;  // rebias the exponent: 127 - 15 = 112
  if (magnitude >= 0x7c00u) bits += 0x38000000u;    // inf and NaN
  float f;
  if (magnitude < 0x0400u) {                        // zero and subnormal: magnitude * 2^-24
    f = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
    __builtin_memcpy(&bits, &f, 4);
  }
  bits |= sign;
  __builtin_memcpy(&f, &bits, 4);
  return f;
#endif
}
static inline half_t to_half(float f) {
#if DLCORE_ISA >= 3
  return {static_cast<uint16_t>(_cvtss_sh(f, 0))};
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &f, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (bits >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 65520 and above round to infinity
  if (bits < 0x38800000u) {                                                 // below 2^-14: round to a multiple of 2^-24
    float magnitude, shifted;
    __builtin_memcpy(&magnitude, &bits, 4);
    shifted = magnitude + 0.5f;  // 0.5 has an ulp of 2^-24: the addition rounds to nearest even
    uint32_t r;
    __builtin_memcpy(&r, &shifted, 4);
    return {static_cast<uint16_t>(sign | (r - 0x3f000000u))};
  }
  const uint32_t rounded = bits + 0xfffu + ((bits >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
#endif
}

// What is rounded twice, to float and then to 16 bits, may come out wrong: the first rounding can make a tie of what is
// none. So the first one is to odd: the float nearest to x of those beside it that is not even where x is no float.
static inline float round_to_odd(double x) {
  const float f = static_cast<float>(x);
  const double back = f;
  uint32_t bits;
  __builtin_memcpy(&bits, &f, 4);
  const uint32_t odd = (bits - (__builtin_fabs(back) > __builtin_fabs(x))) | 1u;  // towards zero, then odd
  const uint32_t chosen = (back == x) | (x != x) ? bits : odd;
  float result;
  __builtin_memcpy(&result, &chosen, 4);
  return result;
}
// The same of integers, of which a double holds 53 bits: of larger ones the last bits become one that tells whether any
// of them was set.
static inline float round_to_odd(int64_t x) {
  constexpr int64_t cut = (int64_t{1} << 11) - 1, limit = int64_t{1} << 53;
  const int64_t marked = (x & ~cut) | ((x & cut) != 0 ? (cut + 1) / 2 : 0);
  return round_to_odd(static_cast<double>((x > limit) | (x < -limit) ? marked : x));
}

// The type arithmetic is done in, and conversions to and from storage.
template <class T> struct ComputeOf { using type = T; };
template <> struct ComputeOf<half_t> { using type = float; };
template <> struct ComputeOf<bfloat16_t> { using type = float; };
template <class T> using compute_t = typename ComputeOf<T>::type;

template <class T> static inline compute_t<T> load(const T* p) {
  if constexpr (std::is_same_v<T, half_t> || std::is_same_v<T, bfloat16_t>) return to_float(*p);
  else return *p;
}
template <class T> static inline void store(T* p, compute_t<T> x) {
  if constexpr (std::is_same_v<T, half_t>) *p = to_half(x);
  else if constexpr (std::is_same_v<T, bfloat16_t>) *p = to_bfloat16(x);
  else *p = x;
}

// kLanes elements of memory as the vector of the compute type.
static inline vec<float> widen(const float* p) { return vload(p); }
static inline vec<double> widen(const double* p) { return vload(p); }
static inline vec<float> widen(const bfloat16_t* p) {
#if DLCORE_ISA == 4  // of a conversion of vectors the compiler makes two of half the width
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (vec<float>)_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, words), 16);
#else
  typedef uint16_t Narrow __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint32_t Wide __attribute__((vector_size(kVectorBytes)));
  Narrow bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return (vec<float>)(__builtin_convertvector(bits, Wide) << 16);
#endif
}
static inline vec<float> widen(const half_t* p) {
#if DLCORE_ISA == 4  // the masked form: the plain one warns of an uninitialised value, GCC bug 105593
  return (vec<float>)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif DLCORE_ISA == 3
  return (vec<float>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  vec<float> v{};
  for (int i = 0; i < kLanes<float>; ++i) v[i] = to_float(p[i]);
  return v;
#endif
}

// n elements at once. Written out where the compiler does not turn scalar conversions into vector ones (half_t), or
// into more instructions than these (bfloat16_t).
#if DLCORE_ISA == 4
static inline void narrow(half_t* p, __m512 a, __m512 b) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xffff, a, 0));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 16), _mm512_maskz_cvtps_ph(0xffff, b, 0));
}
static inline __m512i round_to_bfloat16(__m512 f) {  // to_bfloat16(f) in the upper halves
  const __m512i bits = _mm512_castps_si512(f), even = _mm512_maskz_srli_epi32(0xffff, bits, 16) & _mm512_set1_epi32(1);
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), even);
  return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
}
static inline __m512i lower_halves(__m512i a, __m512i b) {
  const __m512i even = _mm512_set_epi32(0x003e003c, 0x003a0038, 0x00360034, 0x00320030, 0x002e002c, 0x002a0028,
                                        0x00260024, 0x00220020, 0x001e001c, 0x001a0018, 0x00160014, 0x00120010,
                                        0x000e000c, 0x000a0008, 0x00060004, 0x00020000);
  return _mm512_permutex2var_epi16(a, even, b);
}
static inline __m512i upper_halves(__m512i a, __m512i b) {
  const __m512i odd = _mm512_set_epi32(0x003f003d, 0x003b0039, 0x00370035, 0x00330031, 0x002f002d, 0x002b0029,
                                       0x00270025, 0x00230021, 0x001f001d, 0x001b0019, 0x00170015, 0x00130011,
                                       0x000f000d, 0x000b0009, 0x00070005, 0x00030001);
  return _mm512_permutex2var_epi16(a, odd, b);
}
// Without a NaN upper halves are rounded as 16-bit integers: up where the lower one is above 0x8000 after the last bit
// of the upper has been put to its last, which breaks ties. Five instructions for the eleven of two vectors one by one.
static inline void narrow(bfloat16_t* p, __m512 a, __m512 b) {
  const __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b), up = upper_halves(x, y);
  if (__builtin_expect(_mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0, 0))
    return _mm512_storeu_si512(p, upper_halves(round_to_bfloat16(a), round_to_bfloat16(b)));
  const __m512i one = _mm512_set1_epi16(1), marked = lower_halves(x, y) | (up & one);
  const __mmask32 above = _mm512_cmpgt_epu16_mask(marked, _mm512_set1_epi16(INT16_MIN));
  _mm512_storeu_si512(p, _mm512_mask_add_epi16(up, above, up, one));
}
#endif

template <class T> static inline void load_block(compute_t<T>* __restrict to, const T* __restrict from, int64_t n) {
  int64_t i = 0;
#if DLCORE_ISA >= 3
  if constexpr (!std::is_same_v<T, compute_t<T>>) {
    for (; i + kLanes<float> <= n; i += kLanes<float>) vstore(to + i, widen(from + i));
  }
#endif
  for (; i < n; ++i) to[i] = load(from + i);
}
template <class T> static inline void store_block(T* __restrict to, const compute_t<T>* __restrict from, int64_t n) {
  int64_t i = 0;
#if DLCORE_ISA == 4
  if constexpr (!std::is_same_v<T, compute_t<T>>) {
    for (; i + 32 <= n; i += 32) narrow(to + i, _mm512_loadu_ps(from + i), _mm512_loadu_ps(from + i + 16));
  }
#elif DLCORE_ISA == 3
  if constexpr (std::is_same_v<T, half_t>) {
    for (; i + 8 <= n; i += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), 0));
  }
#endif
  for (; i < n; ++i) store(to + i, from[i]);
}

#endif  // DLCORE_COMMON_SIMD
