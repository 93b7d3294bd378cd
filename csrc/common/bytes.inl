// Runs of bytes, copied and zeroed: memcpy and memset for what is long.
//
// glibc 2.36 copies runs of 4 KiB and more by `rep movsb`, which on a Zen 4 takes 12 to 16 times as long as vectors
// where the target lies 1 to 31 bytes behind the source, modulo 4096: 5.3 GB/s for 75, 4 MiB turned by three floats.
// Past the caches 64 MiB are copied at 38 GB/s for 26; what is that long would not stay in them.
#ifndef DLCORE_COMMON_BYTES
#define DLCORE_COMMON_BYTES
#include "common/simd.inl"

// A vector's bytes to an aligned place, past the caches. A fence follows before another thread reads them.
static inline void stream_vector(char* to, vec<uint8_t> v) {
#if DLCORE_ISA == 4
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(v));
#elif DLCORE_ISA == 3
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(v));
#else
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(v));
#endif
}

// n bytes, one to two words: the first word of them and the last.
template <class Word> static inline void copy_ends(char* to, const char* from, int64_t n) {
  Word first, last;
  const int64_t end = n - static_cast<int64_t>(sizeof(Word));
  memcpy(&first, from, sizeof first);
  memcpy(&last, from + end, sizeof last);
  memcpy(to, &first, sizeof first);
  memcpy(to + end, &last, sizeof last);
}

// n bytes to where they do not overlap.
template <bool streaming = false> static inline void copy_bytes(void* target, const void* source, int64_t n) {
  using Bytes = vec<uint8_t>;
  struct Half { char bytes[kVectorBytes / 2]; };
  struct Words { uint64_t words[2]; };
  constexpr int64_t W = kVectorBytes;
  char* to = static_cast<char*>(target);
  const char* from = static_cast<const char*>(source);
  if (n < W) {
    if (n >= W / 2) return copy_ends<Half>(to, from, n);
    if (n >= 16) return copy_ends<Words>(to, from, n);
    if (n >= 8) return copy_ends<uint64_t>(to, from, n);
    if (n >= 4) return copy_ends<uint32_t>(to, from, n);
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
    return;
  }
  const auto load = [&](int64_t i) { return vload(reinterpret_cast<const uint8_t*>(from) + i); };
  const auto put = [&](int64_t i, Bytes v) {
    if constexpr (streaming) stream_vector(to + i, v);
    else vstore(reinterpret_cast<uint8_t*>(to) + i, v);
  };
  const Bytes first = load(0), last = load(n - W);
  int64_t i = W - (reinterpret_cast<intptr_t>(to) & (W - 1));  // stores that straddle two lines take twice as long
  for (; i + 4 * W <= n; i += 4 * W) {
    const Bytes x = load(i), y = load(i + W), z = load(i + 2 * W), w = load(i + 3 * W);
    put(i, x);
    put(i + W, y);
    put(i + 2 * W, z);
    put(i + 3 * W, w);
  }
  for (; i + W <= n; i += W) put(i, load(i));
  vstore(reinterpret_cast<uint8_t*>(to), first);
  vstore(reinterpret_cast<uint8_t*>(to) + n - W, last);
  if constexpr (streaming) _mm_sfence();
}

static inline void write_zeros(char* to, int64_t bytes, bool streaming) {
  if (!streaming || bytes < 4 * kVectorBytes) {
    memset(to, 0, bytes);
    return;
  }
  const int64_t head = -reinterpret_cast<intptr_t>(to) & (kVectorBytes - 1);
  memset(to, 0, head);
  int64_t i = head;
  for (; i + kVectorBytes <= bytes; i += kVectorBytes) stream_vector(to + i, vec<uint8_t>{});
  memset(to + i, 0, bytes - i);
}

#endif  // DLCORE_COMMON_BYTES
