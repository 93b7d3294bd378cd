// Adam and AdamW on any number of tensors in one launch (two where there are more than 80), after a launch of one block
// that turns settings and step counts into the factors of each tensor.
//
//   g += weight_decay p (decoupled: p *= 1 - lr weight_decay); m += (1 - beta1) (g - m)
//   v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// Bound by memory: 28 bytes a float32 parameter (p, m, v read and written, g read), 22 with 16-bit parameters and
// gradients; some 40 instructions a parameter where the bandwidth of an H200 leaves time for 190.
// A thread has 64 bytes in flight before its first use of any (16 in each of p, g, m, v), 96 with 16-bit parameters.
//
// The factors have a launch of their own because the step counts, too, lie in memory and are moved on by the kernel: no
// block of the update may move a count that another has still to read. It also takes the powers, in float64, once for
// each tensor instead of once for each block. Both launches replay in a CUDA graph with nothing from the host.
//
// Versions: 1, this one: unmeasured, not yet run on hardware. Triton's twin is adam.py; both are compiled by the tests.
#include "segments.cuh"

enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kDecoupled, kMaximize, kSettings };

template <class C> struct Factors {
  C sign, decay, keep, weight1, beta2, weight2, inverse_root2, eps, step;
  int has_decay, from_gradient;
};
using Slot = Factors<double>;  // what each tensor has room for

__device__ inline Factors<double> factors(const double* h, double t) {
  const bool decoupled = h[kDecoupled] != 0;
  Factors<double> s;
  s.sign = h[kMaximize] != 0 ? -1 : 1;
  s.decay = decoupled ? 0 : h[kDecay];
  s.keep = decoupled ? 1 - h[kLr] * h[kDecay] : 1;
  s.weight1 = 1 - h[kBeta1];
  s.beta2 = h[kBeta2];
  s.weight2 = 1 - h[kBeta2];
  s.inverse_root2 = 1 / sqrt(1 - pow(h[kBeta2], t));
  s.eps = h[kEps];
  s.step = -h[kLr] / (1 - pow(h[kBeta1], t));
  s.has_decay = h[kDecay] != 0;
  s.from_gradient = s.weight1 >= 0.5;  // the nearer end loses less: PyTorch's lerp
  if (s.from_gradient) s.weight1 -= 1;
  return s;
}

// slots[i] = the factors of tensor i, whose step count rises by 1. One thread a tensor.
extern "C" __global__ void __launch_bounds__(kThreads)
adam_factors(const __grid_constant__ Steps steps, const double* settings, Slot* slots, int n) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= n) return;
  const double t = steps.count_step(i);
  const Factors<double> s = factors(settings + steps.group(i) * kSettings, t);
  if (steps.wide(i)) {
    slots[i] = s;
  } else {
    *reinterpret_cast<Factors<float>*>(slots + i) = {
        float(s.sign),    float(s.decay),         float(s.keep), float(s.weight1), float(s.beta2),
        float(s.weight2), float(s.inverse_root2), float(s.eps),  float(s.step),    s.has_decay,
        s.from_gradient};
  }
}

template <class C>
__device__ inline void adam_element(C& p, C gradient, C& m, C& v, const Factors<C>& s) {
  C g = s.sign * gradient, x = p;
  if (s.has_decay || s.from_gradient) {  // the same in all threads of a block
    x *= s.keep;
    g = fma(s.decay, x, g);
  }
  m = fma(s.weight1, g - m, s.from_gradient ? g : m);
  v = fma(s.weight2 * g, g, v * s.beta2);
  p = x + s.step * m / fma(sqrt(v), s.inverse_root2, s.eps);
}

// Pointers of a segment: parameter, gradient, first and second moment.
template <class T>
__global__ void __launch_bounds__(kThreads) adam(const __grid_constant__ Segments<4> table, const Slot* slots) {
  using C = Compute<T>;
  constexpr int n = kVector<T>;
  const int k = segment_of(table, blockIdx.x);
  const long long begin = (blockIdx.x - table.first[k]) * static_cast<long long>(kChunk<T>);
  const long long left = table.length[k] - begin;
  T* p = static_cast<T*>(table.data[0][k]) + begin;
  const T* g = static_cast<const T*>(table.data[1][k]) + begin;
  C *m = static_cast<C*>(table.data[2][k]) + begin, *v = static_cast<C*>(table.data[3][k]) + begin;
  const Factors<C> s = *reinterpret_cast<const Factors<C>*>(slots + table.slot[k]);
  if (left >= kChunk<T> && on_16_bytes(p) && on_16_bytes(g) && on_16_bytes(m) && on_16_bytes(v)) {
    const int i = threadIdx.x * n;
    C x[n], dx[n], mean[n], square[n];
    load_vectors(p + i, x);
    load_vectors(g + i, dx);
    load_vectors(m + i, mean);
    load_vectors(v + i, square);
#pragma unroll
    for (int j = 0; j < n; ++j) adam_element(x[j], dx[j], mean[j], square[j], s);
    store_vectors(p + i, x);
    store_vectors(m + i, mean);
    store_vectors(v + i, square);
  } else {
    for (int i = threadIdx.x; i < kChunk<T> && i < left; i += kThreads) {
      C x = widen(p[i]), mean = m[i], square = v[i];
      adam_element(x, widen(g[i]), mean, square, s);
      narrow(x, p[i]);
      m[i] = mean;
      v[i] = square;
    }
  }
}
