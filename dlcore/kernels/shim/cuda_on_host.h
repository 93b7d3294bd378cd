// CUDA C++ on a CPU, so that kernels run, barriers and all, where there is no GPU: a .cu file compiled with g++ after
// this header is ordinary C++. The threads of a block are fibers of one system thread that switch at barriers and warp
// operations only. Blocks run one after the other, or, interleaved, a few at a time that also switch at atomics.
//
// Found and reported: threads at different barriers, barriers some threads never reach, shuffles from lanes that take
// no part. Shared memory starts as NaN in each block. A kernel that lacks a barrier or an atomic gives results that
// depend on the order of threads and blocks, which is why there are three (`Order`): compare their bits.
// Not here: blocks that spin until another writes, inline PTX, asynchronous copies, tensor cores, block clusters.
#pragma once
#include <link.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// ---- qualifiers ---------------------------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ thread_local  // hence in one place that can be filled with NaN: see `poison`
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#ifndef __restrict__
#define __restrict__
#endif

// ---- vectors ------------------------------------------------------------------------------------------------------
#define DLCORE_VECTORS(T, name, align2, align4)                                                       \
  struct alignas(align2) name##2 { T x, y; };                                                         \
  struct name##3 { T x, y, z; };                                                                      \
  struct alignas(align4) name##4 { T x, y, z, w; };                                                   \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                          \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                                  \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
DLCORE_VECTORS(signed char, char, 2, 4)
DLCORE_VECTORS(unsigned char, uchar, 2, 4)
DLCORE_VECTORS(short, short, 4, 8)
DLCORE_VECTORS(unsigned short, ushort, 4, 8)
DLCORE_VECTORS(int, int, 8, 16)
DLCORE_VECTORS(unsigned int, uint, 8, 16)
DLCORE_VECTORS(long long, longlong, 16, 16)
DLCORE_VECTORS(unsigned long long, ulonglong, 16, 16)
DLCORE_VECTORS(float, float, 8, 16)
DLCORE_VECTORS(double, double, 16, 16)
#undef DLCORE_VECTORS
struct dim3 { unsigned x = 1, y = 1, z = 1; };

// ---- 16-bit floats ------------------------------------------------------------------------------------------------
struct __half {
  unsigned short bits;
  __half() = default;
  __half(float x) { const _Float16 h = static_cast<_Float16>(x); memcpy(&bits, &h, 2); }
  operator float() const { _Float16 h; memcpy(&h, &bits, 2); return static_cast<float>(h); }
};
struct __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float x) {
    unsigned b;
    memcpy(&b, &x, 4);
    bits = x != x ? 0x7fff : static_cast<unsigned short>((b + 0x7fff + (b >> 16 & 1)) >> 16);
  }
  operator float() const { const unsigned b = unsigned(bits) << 16; float x; memcpy(&x, &b, 4); return x; }
};
struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;
inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline __half __float2half_rn(float x) { return x; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
inline __half2 __float22half2_rn(float2 v) { return {v.x, v.y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }

// ---- fibers -------------------------------------------------------------------------------------------------------
namespace shim {

enum State { ready, at_block, at_warp, done };
enum Order { forward, backward, interleaved };
constexpr int kStack = 64 << 10, kResident = 4;  // bytes of a fiber's stack; blocks at a time where interleaved

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  uint3 thread;
  int index;  // in the block
  State state;
  int site, votes;           // of the barrier it waits at; its vote there, then the sum of all
  unsigned mask, taking;     // of the warp operation it waits at; the lanes that took part in its last
  const char* operation;
  unsigned long long given, seen[32];  // to and from the other lanes
};

struct Block {
  std::vector<Fiber> fibers;
  uint3 index;
  int alive = 0, waiting = 0;  // threads that have not returned; those at the barrier
  std::vector<char> shared;    // its shared memory while another block runs
};

inline ucontext_t scheduler;
inline std::vector<Block> residents;
inline Block* here;
inline Fiber* current;
inline dim3 grid, block;
inline Order order;
inline char problem[256];
inline void (*body)(void* const*);
inline void* const* arguments;

inline void yield() { swapcontext(&current->context, &scheduler); }
inline void pause() {  // before an atomic operation
  if (order == interleaved) yield();
}

template <class... A> inline void fail(const char* format, A... values) {
  if (!problem[0]) snprintf(problem, sizeof problem, format, values...);
  yield();  // the scheduler never comes back
}

inline void release_block() {  // when the last thread has arrived
  int votes = 0, site = -1;
  for (const Fiber& f : here->fibers) {
    if (f.state != at_block) continue;
    votes += f.votes;
    if (site >= 0 && f.site != site && !problem[0])
      snprintf(problem, sizeof problem, "threads of a block wait at two barriers, lines %d and %d", site, f.site);
    site = f.site;
  }
  for (Fiber& f : here->fibers) {
    if (f.state != at_block) continue;
    f.votes = votes;
    f.state = ready;
  }
  here->waiting = 0;
}

// Waits for all threads of the block; the number of those with `vote`.
inline int block_barrier(bool vote, int site) {
  Fiber* const self = current;
  self->state = at_block;
  self->site = site;
  self->votes = vote;
  if (++here->waiting == here->alive) release_block();
  yield();
  return self->votes;
}

inline Fiber* lane_of(int lane) {  // of the current warp; nullptr: there is none, or it has returned
  const size_t index = current->index / 32 * 32 + lane;
  return index < here->fibers.size() && here->fibers[index].state != done ? &here->fibers[index] : nullptr;
}

// Lets the lanes that wait with `as` go on if all of them are there.
inline void release_warp(const Fiber& as) {
  const unsigned mask = as.mask;
  unsigned long long values[32] = {};
  unsigned taking = 0;
  for (int lane = 0; lane < 32; ++lane) {
    const Fiber* f = mask >> lane & 1 ? lane_of(lane) : nullptr;
    if (!f) continue;
    if (f->state != at_warp || f->mask != mask || strcmp(f->operation, as.operation)) return;
    values[lane] = f->given;
    taking |= 1u << lane;
  }
  for (int lane = 0; lane < 32; ++lane) {
    if (!(taking >> lane & 1)) continue;
    Fiber* const f = lane_of(lane);
    memcpy(f->seen, values, sizeof values);
    f->taking = taking;
    f->state = ready;
  }
}

// Waits for the lanes in `mask`; what each gave is then in current->seen.
inline void warp_barrier(unsigned mask, unsigned long long given, const char* operation) {
  Fiber* const self = current;
  if (!(mask >> self->index % 32 & 1)) fail("%s: lane %d is not in its mask %08x", operation, self->index % 32, mask);
  self->state = at_warp;
  self->mask = mask;
  self->operation = operation;
  self->given = given;
  release_warp(*self);
  yield();
}

template <class T> inline T shuffle(unsigned mask, T x, int source, const char* operation) {
  static_assert(sizeof(T) <= 8);
  unsigned long long bits = 0;
  memcpy(&bits, &x, sizeof x);
  warp_barrier(mask, bits, operation);
  if (!(current->taking >> source & 1)) fail("%s reads lane %d, which takes no part", operation, source);
  memcpy(&x, &current->seen[source], sizeof x);
  return x;
}

// All lanes of `mask`, folded in their order.
template <class T, class F> inline T reduce(unsigned mask, T x, const char* operation, F fold) {
  warp_barrier(mask, static_cast<unsigned long long>(x), operation);
  bool first = true;
  for (int lane = 0; lane < 32; ++lane) {
    if (!(current->taking >> lane & 1)) continue;
    const T other = static_cast<T>(current->seen[lane]);
    x = first ? other : fold(x, other);
    first = false;
  }
  return x;
}

inline void enter() {
  for (;;) {  // a fiber serves one thread of many blocks
    body(arguments);
    current->state = done;
    if (--here->alive == here->waiting && here->alive > 0) release_block();
    for (int lane = 0; lane < 32; ++lane) {  // those that wait for this one do so no more
      const Fiber* f = lane_of(lane);
      if (f && f->state == at_warp && f->mask >> current->index % 32 & 1) release_warp(*f);
    }
    yield();
  }
}

// This library's thread-local memory, which is all shared memory.
struct Region {
  char* start;
  size_t size;
};
static thread_local char inside;
inline int find_region(dl_phdr_info* info, size_t, void* region) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    char* const start = static_cast<char*>(info->dlpi_tls_data);
    if (header.p_type != PT_TLS || !start || &inside < start || &inside >= start + header.p_memsz) continue;
    *static_cast<Region*>(region) = {start, header.p_memsz};
    return 1;
  }
  return 0;
}

inline void make_fibers(Block& b) {
  b.fibers.resize(block.x * block.y * block.z);
  for (unsigned i = 0; i < b.fibers.size(); ++i) {
    Fiber& f = b.fibers[i];
    f.thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    f.index = static_cast<int>(i);
    if (!f.stack) f.stack.reset(new char[kStack]);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStack;
    makecontext(&f.context, enter, 0);
  }
}

inline void start(Block& b, long long i) {
  b.index = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
  b.alive = static_cast<int>(b.fibers.size());
  b.waiting = 0;
  for (Fiber& f : b.fibers) f.state = ready;
}

// Runs each thread of `here` that can run as far as it gets.
inline void pass() {
  const int n = static_cast<int>(here->fibers.size());
  bool ran = false;
  for (int i = 0; i < n && !problem[0]; ++i) {
    Fiber& f = here->fibers[order == backward ? n - 1 - i : i];
    if (f.state != ready) continue;
    ran = true;
    current = &f;
    swapcontext(&scheduler, &f.context);
  }
  for (const Fiber& f : here->fibers) {
    if (ran || f.state != at_warp) continue;
    snprintf(problem, sizeof problem, "thread %d waits for lanes %08x at %s for ever", f.index, f.mask, f.operation);
    return;
  }
}

inline void run_grid() {
  Region shared{};
  inside = 0;  // allocates it
  dl_iterate_phdr(find_region, &shared);
  const long long blocks = 1ll * grid.x * grid.y * grid.z;
  const bool sole = order != interleaved;
  residents.resize(std::min<long long>(blocks, sole ? 1 : kResident));
  for (Block& b : residents) make_fibers(b);
  long long started = 0, finished = 0;
  const auto next = [&](Block& b) {
    if (started == blocks) return;
    start(b, order == backward ? blocks - 1 - started : started);
    ++started;
    b.shared.assign(shared.size, '\xff');
    if (sole) memset(shared.start, 0xff, shared.size);
  };
  for (Block& b : residents) next(b);
  while (finished < blocks && !problem[0]) {
    for (Block& b : residents) {
      if (b.alive == 0 || problem[0]) continue;
      here = &b;
      if (!sole) memcpy(shared.start, b.shared.data(), shared.size);
      pass();
      if (!sole) memcpy(b.shared.data(), shared.start, shared.size);
      if (b.alive > 0) continue;
      ++finished;
      next(b);
    }
  }
}

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void* const* args, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<A>*>(args[I])...);
}
template <auto kernel> struct Caller;
template <class... A, void (*kernel)(A...)> struct Caller<kernel> {
  static constexpr size_t count = sizeof...(A);
  static void run(void* const* args) { call(kernel, args, std::index_sequence_for<A...>()); }
  static bool fits(const int* sizes) {
    const int want[] = {static_cast<int>(sizeof(A))..., 0};
    return std::equal(want, want + count, sizes);
  }
};

// Runs the kernel over the grid. What went wrong, or nullptr.
template <auto kernel>
inline const char* launch(const unsigned* grid_, const unsigned* block_, int count, const int* sizes,
                          void* const* args, int order_) {
  using Wanted = Caller<kernel>;
  problem[0] = 0;
  if (count != static_cast<int>(Wanted::count) || !Wanted::fits(sizes)) return "the arguments do not fit";
  grid = {grid_[0], grid_[1], grid_[2]};
  block = {block_[0], block_[1], block_[2]};
  order = static_cast<Order>(order_);
  body = Wanted::run;
  arguments = args;
  run_grid();
  return problem[0] ? problem : nullptr;
}

}  // namespace shim

#define threadIdx (shim::current->thread)
#define blockIdx (shim::here->index)
#define blockDim (shim::block)
#define gridDim (shim::grid)
constexpr int warpSize = 32;

// ---- barriers, warps ----------------------------------------------------------------------------------------------
inline void __syncthreads(int line = __builtin_LINE()) { shim::block_barrier(false, line); }
inline int __syncthreads_count(int p, int line = __builtin_LINE()) { return shim::block_barrier(p != 0, line); }
inline int __syncthreads_or(int p, int line = __builtin_LINE()) { return shim::block_barrier(p != 0, line) > 0; }
inline int __syncthreads_and(int p, int line = __builtin_LINE()) { return shim::block_barrier(p == 0, line) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { shim::warp_barrier(mask, 0, "__syncwarp"); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> inline T __shfl_sync(unsigned mask, T x, int lane, int width = 32) {
  const int self = shim::current->index % 32;
  return shim::shuffle(mask, x, (self & ~(width - 1)) | (lane & (width - 1)), "__shfl_sync");
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T x, int lanes, int width = 32) {
  const int self = shim::current->index % 32, source = self ^ lanes;
  return shim::shuffle(mask, x, source > (self | (width - 1)) ? self : source, "__shfl_xor_sync");
}
template <class T> inline T __shfl_down_sync(unsigned mask, T x, unsigned delta, int width = 32) {
  const int self = shim::current->index % 32, source = self + static_cast<int>(delta);
  return shim::shuffle(mask, x, source > (self | (width - 1)) ? self : source, "__shfl_down_sync");
}
template <class T> inline T __shfl_up_sync(unsigned mask, T x, unsigned delta, int width = 32) {
  const int self = shim::current->index % 32, source = self - static_cast<int>(delta);
  return shim::shuffle(mask, x, source < (self & ~(width - 1)) ? self : source, "__shfl_up_sync");
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  const unsigned bit = (p != 0) << shim::current->index % 32;
  return shim::reduce(mask, bit, "__ballot_sync", [](unsigned a, unsigned b) { return a | b; });
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
template <class T> inline unsigned __match_any_sync(unsigned mask, T x) {
  unsigned long long bits = 0;
  memcpy(&bits, &x, sizeof x);
  shim::warp_barrier(mask, bits, "__match_any_sync");
  unsigned same = 0;
  for (int lane = 0; lane < 32; ++lane)
    same |= unsigned((shim::current->taking >> lane & 1) && shim::current->seen[lane] == bits) << lane;
  return same;
}
#define DLCORE_REDUCE(name, expression)                                                              \
  template <class T> inline T __reduce_##name##_sync(unsigned mask, T x) {                           \
    return shim::reduce(mask, x, "__reduce_" #name "_sync", [](T a, T b) -> T { return expression; }); \
  }
DLCORE_REDUCE(add, a + b)
DLCORE_REDUCE(min, a < b ? a : b)
DLCORE_REDUCE(max, a > b ? a : b)
DLCORE_REDUCE(and, a & b)
DLCORE_REDUCE(or, a | b)
DLCORE_REDUCE(xor, a ^ b)
#undef DLCORE_REDUCE

// ---- atomics: nothing interrupts a fiber --------------------------------------------------------------------------
template <class T> using Same = std::type_identity_t<T>;
#define DLCORE_ATOMIC(name, expression)                                                     \
  template <class T> inline T atomic##name(T* at, Same<T> x) {                              \
    shim::pause();                                                                          \
    const T old = *at;                                                                      \
    *at = expression;                                                                       \
    return old;                                                                             \
  }                                                                                         \
  template <class T> inline T atomic##name##_block(T* at, Same<T> x) { return atomic##name(at, x); }
DLCORE_ATOMIC(Add, old + x)
DLCORE_ATOMIC(Sub, old - x)
DLCORE_ATOMIC(Min, x < old ? x : old)
DLCORE_ATOMIC(Max, x > old ? x : old)
DLCORE_ATOMIC(And, old & x)
DLCORE_ATOMIC(Or, old | x)
DLCORE_ATOMIC(Xor, old ^ x)
DLCORE_ATOMIC(Exch, x)
DLCORE_ATOMIC(Inc, old >= x ? 0 : old + 1)
#undef DLCORE_ATOMIC
template <class T> inline T atomicCAS(T* at, Same<T> compare, Same<T> x) {
  shim::pause();
  const T old = *at;
  if (old == compare) *at = x;
  return old;
}

// ---- memory, bits, arithmetic -------------------------------------------------------------------------------------
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __ldlu(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, Same<T> x) { *p = x; }
template <class T> inline void __stcg(T* p, Same<T> x) { *p = x; }
template <class T> inline void __stwt(T* p, Same<T> x) { *p = x; }

template <class To, class From> inline To dlcore_bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, x);
}
inline int __float_as_int(float x) { return dlcore_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return dlcore_bits<unsigned>(x); }
inline float __int_as_float(int x) { return dlcore_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return dlcore_bits<float>(x); }
inline long long __double_as_longlong(double x) { return dlcore_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return dlcore_bits<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (1ull * a * b) >> 32; }
inline int __mulhi(int a, int b) { return static_cast<int>((1ll * a * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
  return static_cast<unsigned>(((1ull * high << 32 | low) << (n & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
  return static_cast<unsigned>((1ull * high << 32 | low) >> (n & 31));
}

using std::exp;
using std::fabs;
using std::fma;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::log;
using std::max;
using std::min;
using std::pow;
using std::sqrt;
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
