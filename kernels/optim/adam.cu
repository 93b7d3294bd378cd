// Adam and AdamW on any number of tensors, of any sizes, groups and step counts, in one launch (580 tensors each,
// 68 where there are fewer or the driver takes 4 KiB of parameters only).
//
//   g += weight_decay p (decoupled: p *= 1 - lr weight_decay); m += (1 - beta1) (g - m)
//   v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// Bound by memory: 28 bytes a float32 parameter (p, m, v read and written, g read), 22 with 16-bit parameters and
// gradients; some 40 instructions each, where the bandwidth of an H200 leaves time for 190. A small model is bound by
// the launch: hence one, whose latencies overlap. A thread has 64 bytes in flight (48 with 16-bit parameters) while
// three warps turn settings and step count into factors; 1024 threads an SM have 64 KiB (48), twice what an H200 asks
// for by its bandwidth and latency. Registers 60 to 64 with either table, no spills, on sm_80, 90, 100 and 120: 4 blocks
// an SM.
//
// The bits are the CPU's, but for one thing: pow in float64 is exact to 2 ulp here and to 1 in the C library, so that a
// factor, rounded to float32, may rarely differ in its last bit.
//
// Versions: 1, factors by a launch of their own, one block; 2, this one, factors in every block and step counts raised
// by the last (segments.cuh), one launch less; 3, a table of 580 tensors (32516 bytes of parameters) and, on sm_90 and
// later, launched early: ACQBULK and PREEXIT are its 2nd and 4th instruction, before any load. All unmeasured:
// not yet run on hardware. Triton's twin is adam.py.
#include "segments.cuh"

enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kDecoupled, kMaximize, kSettings };

template <class C> struct Factors {
  C sign, decay, keep, weight1, beta2, weight2, inverse_root2, eps, step;
  bool has_decay, from_gradient;
};

// Step t, in float64; each part in another warp, for a power takes longer than all the rest.
template <class C> __device__ inline void make_factors(const double* h, double t, Factors<C>& s) {
  if (threadIdx.x == 0) {
    s.step = static_cast<C>(-h[kLr] / (1 - pow(h[kBeta1], t)));
  } else if (threadIdx.x == 32) {
    s.inverse_root2 = static_cast<C>(1 / sqrt(1 - pow(h[kBeta2], t)));
  } else if (threadIdx.x == 64) {
    const bool decoupled = h[kDecoupled] != 0;
    const double weight1 = 1 - h[kBeta1];
    s.sign = h[kMaximize] != 0 ? -1 : 1;
    s.decay = static_cast<C>(decoupled ? 0 : h[kDecay]);
    s.keep = static_cast<C>(decoupled ? 1 - h[kLr] * h[kDecay] : 1);
    s.from_gradient = weight1 >= 0.5;  // the nearer end loses less: PyTorch's lerp
    s.weight1 = static_cast<C>(s.from_gradient ? weight1 - 1 : weight1);
    s.beta2 = static_cast<C>(h[kBeta2]);
    s.weight2 = static_cast<C>(1 - h[kBeta2]);
    s.eps = static_cast<C>(h[kEps]);
    s.has_decay = h[kDecay] != 0;
  }
}

template <class C> __device__ inline void update(C& p, C gradient, C& m, C& v, const Factors<C>& s) {
  C g = s.sign * gradient, x = p;
  if (s.has_decay || s.from_gradient) {  // the same in all threads of a block
    x *= s.keep;
    g = fma(s.decay, x, g);
  }
  m = fma(s.weight1, g - m, s.from_gradient ? g : m);
  v = fma(s.weight2 * g, g, v * s.beta2);
  p = x + s.step * m / fma(sqrt(v), s.inverse_root2, s.eps);
}

// Pointers of a segment: parameter, gradient, first and second moment, step count. each: chunks of a block.
template <class T, int kTensors>
__global__ void __launch_bounds__(kThreads, 4)
adam(const __grid_constant__ Segments<5, kTensors> table, const double* settings, int each, const long long* faults,
     const unsigned char* active) {
  after_previous();
  if (held_back(faults, active)) return;
  using C = Compute<T>;
  constexpr int n = kVector<C>, length = kThreads * n;  // 8 elements of 16 bits would take 128 registers
  __shared__ Factors<C> shared;
  int chunk = blockIdx.x * each;
  const int last = table.first[table.kCount], end = last < chunk + each ? last : chunk + each;
  for (int k = segment_of(table, chunk); chunk < end; ++k) {
    const int until = table.first[k + 1] < end ? table.first[k + 1] : end;
    for (bool fresh = true; chunk < until; ++chunk, fresh = false) {
      const long long begin = (chunk - table.first[k]) * static_cast<long long>(length);
      const long long left = table.length[k] - begin;
      T* const p = static_cast<T*>(table.data[0][k]) + begin;
      const T* const g = static_cast<const T*>(table.data[1][k]) + begin;
      C *const m = static_cast<C*>(table.data[2][k]) + begin, *const v = static_cast<C*>(table.data[3][k]) + begin;
      const bool vectors = left >= length && on_16_bytes(p) && on_16_bytes(g) && on_16_bytes(m) && on_16_bytes(v);
      C x[n], dx[n], mean[n], square[n];
      load_chunk(p, vectors, left, x);
      load_chunk(g, vectors, left, dx);
      load_chunk(m, vectors, left, mean);
      load_chunk(v, vectors, left, square);
      if (fresh) {  // while the loads are under way
        make_factors(settings + table.group[k] * kSettings, next_step(table.data[4][k]), shared);
        __syncthreads();
      }
      const Factors<C> s = shared;
#pragma unroll
      for (int j = 0; j < n; ++j) update(x[j], dx[j], mean[j], square[j], s);
      store_chunk(p, vectors, left, x);
      store_chunk(m, vectors, left, mean);
      store_chunk(v, vectors, left, square);
    }
    __syncthreads();  // all have read the factors
    if (threadIdx.x == 0) finish_step(table.data[4][k], blocks_of(table, k, each));
  }
}
