// See roofs.cpp. One kernel body for each roof; nothing here is called but to be timed.
#include "common/simd.inl"

constexpr int64_t kBlock = 4 * kVectorBytes;
constexpr int kChains = 12;  // two FMA units of latency 4 need 8; 16 registers hold 12 and two constants
typedef uint64_t Words __attribute__((vector_size(kVectorBytes)));

// Keeps the compiler from seeing that a loop is a memcpy, or that a value could be had otherwise.
template <class V> static inline void opaque(V& v) {
#if DLCORE_ISA == 4
  asm("" : "+v"(v));
#else
  asm("" : "+x"(v));
#endif
}
static inline void forget_memory() { asm volatile("" ::: "memory"); }

static inline Words words_at(const char* p) {
  Words v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <bool streaming> static inline void put(char* p, Words v) {
  if constexpr (!streaming) __builtin_memcpy(p, &v, sizeof v);
#if DLCORE_ISA == 4
  else _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
#elif DLCORE_ISA == 3
  else _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
#else
  else _mm_stream_si128(reinterpret_cast<__m128i*>(p), reinterpret_cast<__m128i>(v));
#endif
}

struct Slice {
  int64_t begin, end;
};
static Slice slice_of(int64_t bytes, int64_t thread, int64_t threads) {
  const int64_t blocks = bytes / kBlock;
  return {blocks * thread / threads * kBlock, thread + 1 == threads ? bytes : blocks * (thread + 1) / threads * kBlock};
}
static int64_t bytes_of(const Array& a) { return a.size() * item_size(a.dtype); }

// Four vectors by name: arrays of them end up on the stack (GCC 12).
template <bool streaming> static void copy_slice(const char* from, char* to, Slice s) {
  int64_t i = s.begin;
  for (; i + kBlock <= s.end; i += kBlock) {
    Words v0 = words_at(from + i), v1 = words_at(from + i + kVectorBytes);
    Words v2 = words_at(from + i + 2 * kVectorBytes), v3 = words_at(from + i + 3 * kVectorBytes);
    opaque(v0), opaque(v1), opaque(v2), opaque(v3);
    put<streaming>(to + i, v0), put<streaming>(to + i + kVectorBytes, v1);
    put<streaming>(to + i + 2 * kVectorBytes, v2), put<streaming>(to + i + 3 * kVectorBytes, v3);
  }
  __builtin_memcpy(to + i, from + i, static_cast<size_t>(s.end - i));
  if constexpr (streaming) _mm_sfence();
}

// (source) -> (copy, times); passes, whether stores go past the caches.
static void copy(const Args& a) {
  const char* from = a.in(0).as<char>();
  char* to = a.out().as<char>();
  const int64_t bytes = bytes_of(a.in(0)), passes = a.integer(0);
  const bool streaming = a.integer(1);
  if (reinterpret_cast<uintptr_t>(to) % kVectorBytes) throw std::invalid_argument("the target is not aligned");
  together(a.out(1), [&](int64_t thread, int64_t threads) {
    const Slice s = slice_of(bytes, thread, threads);
    for (int64_t pass = 0; pass < passes; ++pass) {
      if (streaming) copy_slice<true>(from, to, s);
      else copy_slice<false>(from, to, s);
      forget_memory();
    }
  });
}

static uint64_t sum_slice(const char* from, Slice s) {
  Words sum0{}, sum1{}, sum2{}, sum3{};
  int64_t i = s.begin;
  for (; i + kBlock <= s.end; i += kBlock) {
    sum0 += words_at(from + i), sum1 += words_at(from + i + kVectorBytes);
    sum2 += words_at(from + i + 2 * kVectorBytes), sum3 += words_at(from + i + 3 * kVectorBytes);
    opaque(sum0), opaque(sum1), opaque(sum2), opaque(sum3);
  }
  const Words all = sum0 + sum1 + sum2 + sum3;
  uint64_t lanes[kVectorBytes / 8], total = 0;
  __builtin_memcpy(lanes, &all, sizeof lanes);
  for (const uint64_t lane : lanes) total += lane;
  for (; i < s.end; i += 8) {
    uint64_t word;
    __builtin_memcpy(&word, from + i, 8);
    total += word;
  }
  return total;
}

// (source of 8-byte words) -> (their sum over all passes by thread, times); passes.
static void read(const Args& a) {
  const char* from = a.in(0).as<char>();
  uint64_t* out = a.out().as<uint64_t>();
  const int64_t bytes = bytes_of(a.in(0)), passes = a.integer(0);
  if (bytes % 8) throw std::invalid_argument("whole 8-byte words are read");
  together(a.out(1), [&](int64_t thread, int64_t threads) {
    const Slice s = slice_of(bytes, thread, threads);
    uint64_t total = 0;
    for (int64_t pass = 0; pass < passes; ++pass) {
      total += sum_slice(from, s);
      forget_memory();
    }
    out[thread] = total;
  });
}

template <class T> static void fma_chains(const T* from, T* to, int64_t n, int64_t steps, T factor, T term) {
  const vec<T> a = vset(factor), b = vset(term);
  for (int64_t i = 0; i < n; i += kChains * kLanes<T>) {
    vec<T> x[kChains];
    for (int c = 0; c < kChains; ++c) x[c] = vload(from + i + c * kLanes<T>);
    for (int64_t step = 0; step < steps; ++step)
      for (int c = 0; c < kChains; ++c) {
        x[c] = vfma(x[c], a, b);
        opaque(x[c]);
      }
    for (int c = 0; c < kChains; ++c) vstore(to + i + c * kLanes<T>, x[c]);
  }
}

// (x: threads by elements) -> (x * factor + term, done `steps` times, times); steps, factor, term.
static void fma(const Args& a) {
  const int64_t n = a.in(0).shape[1], steps = a.integer(0);
  const double factor = a.number(1), term = a.number(2);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    if (n % (kChains * kLanes<T>)) throw std::invalid_argument("elements do not fill the registers");
    together(a.out(1), [&](int64_t thread, int64_t) {
      fma_chains(a.in(0).as<T>() + thread * n, a.out().as<T>() + thread * n, n, steps, T(factor), T(term));
    });
  };
  if (a.in(0).dtype == DType::float32) run(0.0f);
  else run(0.0);
}

static const Kernel kernels[] = {
    {"roofs:copy", copy, kAllContiguous}, {"roofs:read", read, kAllContiguous}, {"roofs:fma", fma, kAllContiguous}};
