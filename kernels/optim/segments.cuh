// What the multi-tensor kernels share: the table of segments they take by value, and access to 16 bytes at a time.
//
// A segment is one tensor. It is cut into chunks of one vector a thread, numbered through all segments of a launch, so
// that every block has the same work whatever the sizes of the tensors; a block finds its segment by bisection in the
// parameters (constant memory). A chunk that is full and on 16-byte boundaries moves in vectors, others by elements,
// neighbouring threads on neighbouring elements.
//
// Compiled with --fmad=false: a * b + c rounds twice, as on the CPU, and fma is written where the CPU has one; division
// and sqrt round correctly (NVRTC's default). So updates have the CPU's bits.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

constexpr int kThreads = 256;

// 3840 bytes: the 4 KiB of parameters that every driver takes hold the table and a few arguments more.
template <int kPointers> struct Segments {
  static constexpr int kCount = 480 / (kPointers + 2);
  void* data[kPointers][kCount];
  long long length[kCount];  // elements
  int first[kCount];         // chunk at which the segment begins; of unused segments the number of all chunks
  int slot[kCount];          // the segment's place in other arrays
};

// The step counts of tensors, for the launch that turns them into factors.
struct Steps {
  static constexpr int kCount = 320;
  void* count[kCount];
  int about[kCount];  // 4 group + 2 (the count is a float32) + (the factors are float64)

  __device__ bool wide(int i) const { return about[i] & 1; }
  __device__ int group(int i) const { return about[i] >> 2; }
  __device__ double count_step(int i) const {  // raises the count of tensor i by 1; the new count
    if ((about[i] & 2) == 0) return static_cast<double>(*static_cast<long long*>(count[i]) += 1);
    float* const at = static_cast<float*>(count[i]);
    const double t = *at + 1.0;
    *at = static_cast<float>(t);
    return t;
  }
};

// The type arithmetic is done in.
template <class T> struct ComputeOf { using type = float; };
template <> struct ComputeOf<double> { using type = double; };
template <class T> using Compute = typename ComputeOf<T>::type;

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(__half x) { return __half2float(x); }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void narrow(float x, float& to) { to = x; }
__device__ inline void narrow(double x, double& to) { to = x; }
__device__ inline void narrow(float x, __half& to) { to = __float2half_rn(x); }
__device__ inline void narrow(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }

// kVector<T> elements: 16 bytes of the tensors of type T.
template <class T> constexpr int kVector = 16 / sizeof(T);
template <class T> constexpr int kChunk = kThreads * kVector<T>;

__device__ inline bool on_16_bytes(const void* p) { return (reinterpret_cast<unsigned long long>(p) & 15) == 0; }

// n elements from or to 16-byte boundaries; also n sizeof(T) = 32, the float32 moments of 16-bit parameters.
template <class T, int n> __device__ inline void load_vectors(const T* from, Compute<T> (&to)[n]) {
  constexpr int each = kVector<T>;
#pragma unroll
  for (int i = 0; i < n; i += each) {
    const uint4 bits = *reinterpret_cast<const uint4*>(from + i);
    const T* x = reinterpret_cast<const T*>(&bits);
#pragma unroll
    for (int j = 0; j < each; ++j) to[i + j] = widen(x[j]);
  }
}
template <class T, int n> __device__ inline void store_vectors(T* to, const Compute<T> (&from)[n]) {
  constexpr int each = kVector<T>;
#pragma unroll
  for (int i = 0; i < n; i += each) {
    uint4 bits;
    T* x = reinterpret_cast<T*>(&bits);
#pragma unroll
    for (int j = 0; j < each; ++j) narrow(from[i + j], x[j]);
    *reinterpret_cast<uint4*>(to + i) = bits;
  }
}

// The segment that holds chunk `chunk`.
template <class Table> __device__ inline int segment_of(const Table& table, int chunk) {
  int low = 0, high = Table::kCount;  // first[low] <= chunk, and chunk < first[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.first[middle] <= chunk) low = middle;
    else high = middle;
  }
  return low;
}
