// What the multi-tensor kernels share: the table of segments they take by value, and access to 16 bytes at a time.
//
// A segment is one tensor. It is cut into chunks of one vector a thread, numbered through all segments of a launch; a
// block takes a few chunks in a row, so that all have the same work whatever the sizes of the tensors, and finds their
// segment by bisection in the parameters (constant memory). A chunk that is full and on 16-byte boundaries moves in
// vectors, others by elements, neighbouring threads on neighbouring elements.
//
// Compiled with --fmad=false: a * b + c rounds twice, as on the CPU, and fma is written where the CPU has one; division
// and sqrt round correctly (NVRTC's default). So updates have the CPU's bits.
#pragma once
#include "../common/convert.cuh"
#include "../common/order.cuh"

constexpr int kThreads = 256;

// kTensors: as many as the parameters of a launch hold besides a few arguments, 4 KiB of them with any driver and almost
// 32 KiB with those for CUDA 12.1 and later. multi_tensor.py chooses.
template <int kPointers, int kTensors> struct Segments {
  static constexpr int kCount = kTensors;
  void* data[kPointers][kCount];
  long long length[kCount];  // elements
  int first[kCount + 1];     // chunk at which the segment begins; behind the last segment the number of all chunks
  int group[kCount];         // row of settings
};

// Whether parameters stay as they are: where the flag `active` is false, and where an operation before has met bad
// data, for what was computed from it is wrong. `faults`: the (code, position) of every row that may report some
// (launch.py's FAULT_ROOM). Both may be null. All threads of the block must call it; 4 KiB from the cache.
__device__ inline bool held_back(const long long* faults, const unsigned char* active) {
  constexpr int kRoom = 256;
  bool found = active != nullptr && *active == 0;
  if (faults != nullptr) for (int k = threadIdx.x; k < kRoom; k += kThreads) found = found || faults[2 * k] != 0;
  return __syncthreads_or(found);
}

// kVector<T> elements: 16 bytes of the tensors of type T.
template <class T> constexpr int kVector = 16 / sizeof(T);
template <class T> constexpr int kChunk = kThreads * kVector<T>;

__device__ inline bool on_16_bytes(const void* p) { return (reinterpret_cast<unsigned long long>(p) & 15) == 0; }

template <int bytes> struct Raw { using type = uint4; };
template <> struct Raw<8> { using type = uint2; };

// n elements, 8 bytes or a multiple of 16, from or to boundaries of as many.
template <class T, int n> __device__ inline void load_vectors(const T* from, Compute<T> (&to)[n]) {
  constexpr int each = n < kVector<T> ? n : kVector<T>;
#pragma unroll
  for (int i = 0; i < n; i += each) {
    const auto bits = *reinterpret_cast<const typename Raw<each * sizeof(T)>::type*>(from + i);
    const T* x = reinterpret_cast<const T*>(&bits);
#pragma unroll
    for (int j = 0; j < each; ++j) to[i + j] = widen(x[j]);
  }
}
template <class T, int n> __device__ inline void store_vectors(T* to, const Compute<T> (&from)[n]) {
  constexpr int each = n < kVector<T> ? n : kVector<T>;
#pragma unroll
  for (int i = 0; i < n; i += each) {
    typename Raw<each * sizeof(T)>::type bits;
    T* x = reinterpret_cast<T*>(&bits);
#pragma unroll
    for (int j = 0; j < each; ++j) narrow(from[i + j], x[j]);
    *reinterpret_cast<decltype(bits)*>(to + i) = bits;
  }
}

// This thread's n elements of a chunk of which `left` exist: a vector, or elements kThreads apart.
template <class T, int n> __device__ inline void load_chunk(const T* from, bool vectors, long long left,
                                                            Compute<T> (&to)[n]) {
  if (vectors) return load_vectors(from + threadIdx.x * n, to);
#pragma unroll
  for (int j = 0; j < n; ++j) {
    const int i = threadIdx.x + j * kThreads;
    to[j] = i < left ? widen(from[i]) : 0;
  }
}
template <class T, int n> __device__ inline void store_chunk(T* to, bool vectors, long long left,
                                                             const Compute<T> (&from)[n]) {
  if (vectors) return store_vectors(to + threadIdx.x * n, from);
#pragma unroll
  for (int j = 0; j < n; ++j) {
    const int i = threadIdx.x + j * kThreads;
    if (i < left) narrow(from[j], to[i]);
  }
}

// The segment that holds chunk `chunk`.
template <class Table> __device__ inline int segment_of(const Table& table, int chunk) {
  int low = 0, high = Table::kCount;  // first[low] <= chunk < first[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.first[middle] <= chunk) low = middle;
    else high = middle;
  }
  return low;
}

// ---- step counts --------------------------------------------------------------------------------------------------
// Every block that works on a tensor reads its step count, and the last of them raises it, so that one launch does all
// and replays in a CUDA graph. Which is the last is counted in the upper half of the count itself: it is 0 before and
// after a launch, and needs no memory that someone would have to set to 0.

__device__ inline double next_step(const void* count) {
  return static_cast<double>((*static_cast<const volatile long long*>(count) & 0xffffffffll) + 1);
}

// By one thread of each of the `blocks` blocks that read the count, after it has done so; whether it was the last.
__device__ inline bool finish_step(void* count, int blocks) {
  auto* const both = static_cast<unsigned long long*>(count);
  const unsigned long long before = atomicAdd(both, 1ull << 32);
  const bool last = before >> 32 == blocks - 1u;
  if (last) *both = (before & 0xffffffffull) + 1;
  return last;
}

// The blocks that work on segment k where each takes `each` chunks.
template <class Table> __device__ inline int blocks_of(const Table& table, int k, int each) {
  return (table.first[k + 1] - 1) / each - table.first[k] / each + 1;
}
