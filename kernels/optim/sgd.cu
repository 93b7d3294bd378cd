// Gradient descent with or without momentum on any number of tensors in one launch (677 tensors each, 80
// where there are fewer or the driver takes 4 KiB of parameters only), as adam.cu.
//
//   g += weight_decay p; b = momentum b + (1 - dampening) g, b = g in a tensor's first step
//   p -= lr (nesterov ? g + momentum b : b), without momentum p -= lr g
//
// Bound by memory: 20 bytes a float32 parameter with momentum (p, b read and written, g read), 12 without; 14 and 6
// with 16-bit parameters and gradients. A thread has 48 bytes in flight before its first use of any, 1024 threads an SM
// 48 KiB. Registers 53 to 64 with either table, no spills, on sm_80, 90, 100 and 120.
//
// Versions: 1, factors by a launch of their own; 2, one launch less; 3, a table of 677 tensors
// (32532 bytes of parameters), launched early as adam.cu. Unmeasured: not yet run on hardware.
#include "segments.cuh"

enum Setting { kLr, kMomentum, kDampening, kDecay, kNesterov, kMaximize, kSettings };

template <class C> struct Factors {
  C sign, decay, rate, keep, add, ahead;
  bool nesterov;
};

template <class C> __device__ inline Factors<C> factors(const double* h, bool first) {
  return {h[kMaximize] != 0 ? C(-1) : C(1),
          static_cast<C>(h[kDecay]),
          static_cast<C>(-h[kLr]),
          static_cast<C>(first ? 0 : h[kMomentum]),
          static_cast<C>(first ? 1 : 1 - h[kDampening]),
          static_cast<C>(h[kMomentum]),
          h[kNesterov] != 0};
}

// Pointers of a segment: parameter, gradient, momentum buffer (null where the optimizer has none), step count.
// each: chunks of a block.
template <class T, int kTensors>
__global__ void __launch_bounds__(kThreads, 4)
sgd(const __grid_constant__ Segments<4, kTensors> table, const double* settings, int each, const long long* faults,
    const unsigned char* active) {
  after_previous();
  if (held_back(faults, active)) return;
  using C = Compute<T>;
  constexpr int n = kVector<T>;
  int chunk = blockIdx.x * each;
  const int last = table.first[table.kCount], end = last < chunk + each ? last : chunk + each;
  for (int k = segment_of(table, chunk); chunk < end; ++k) {
    const double* const h = settings + table.group[k] * kSettings;
    const Factors<C> s = factors<C>(h, next_step(table.data[3][k]) == 1);
    C* const buffers = h[kMomentum] != 0 ? static_cast<C*>(table.data[2][k]) : nullptr;
    for (const int until = table.first[k + 1] < end ? table.first[k + 1] : end; chunk < until; ++chunk) {
      const long long begin = (chunk - table.first[k]) * static_cast<long long>(kChunk<T>);
      const long long left = table.length[k] - begin;
      T* const p = static_cast<T*>(table.data[0][k]) + begin;
      const T* const g = static_cast<const T*>(table.data[1][k]) + begin;
      C* const b = buffers + begin;
      const bool vectors = left >= kChunk<T> && on_16_bytes(p) && on_16_bytes(g) && on_16_bytes(buffers);
      C x[n], dx[n], buffer[n];
      load_chunk(p, vectors, left, x);
      load_chunk(g, vectors, left, dx);
      if (buffers != nullptr) load_chunk(b, vectors, left, buffer);
#pragma unroll
      for (int j = 0; j < n; ++j) dx[j] = fma(s.decay, x[j], s.sign * dx[j]);
      if (buffers != nullptr) {
#pragma unroll
        for (int j = 0; j < n; ++j) {
          buffer[j] = fma(s.add, dx[j], s.keep * buffer[j]);
          dx[j] = s.nesterov ? fma(s.ahead, buffer[j], dx[j]) : buffer[j];
        }
        store_chunk(b, vectors, left, buffer);
      }
#pragma unroll
      for (int j = 0; j < n; ++j) x[j] = fma(s.rate, dx[j], x[j]);
      store_chunk(p, vectors, left, x);
    }
    __syncthreads();  // all have read the step count
    if (threadIdx.x == 0) finish_step(table.data[3][k], blocks_of(table, k, each));
  }
}
