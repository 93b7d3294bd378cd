// Gradient descent with or without momentum on any number of tensors in one launch (two where there are more than 96),
// after a launch of one block that turns settings and step counts into the factors of each tensor (see adam.cu).
//
//   g += weight_decay p; b = momentum b + (1 - dampening) g, b = g in a tensor's first step
//   p -= lr (nesterov ? g + momentum b : b), without momentum p -= lr g
//
// Bound by memory: 20 bytes a float32 parameter with momentum (p, b read and written, g read), 12 without; 14 and 6
// with 16-bit parameters and gradients. A thread has 48 bytes in flight before its first use of any.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "segments.cuh"

enum Setting { kLr, kMomentum, kDampening, kDecay, kNesterov, kMaximize, kSettings };

template <class C> struct Factors {
  C sign, decay, rate, keep, add, ahead;
  int momentum, nesterov;
};
using Slot = Factors<double>;  // what each tensor has room for

template <class C> __device__ inline Factors<C> factors(const double* h, bool first) {
  return {h[kMaximize] != 0 ? C(-1) : C(1), C(h[kDecay]),     C(-h[kLr]),
          C(first ? 0 : h[kMomentum]),      C(first ? 1 : 1 - h[kDampening]),
          C(h[kMomentum]),                  h[kMomentum] != 0, h[kNesterov] != 0};
}

// slots[i] = the factors of tensor i, whose step count rises by 1. One thread a tensor.
extern "C" __global__ void __launch_bounds__(kThreads)
sgd_factors(const __grid_constant__ Steps steps, const double* settings, Slot* slots, int n) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= n) return;
  const double t = steps.count_step(i);
  const double* h = settings + steps.group(i) * kSettings;
  if (steps.wide(i)) slots[i] = factors<double>(h, t == 1);
  else *reinterpret_cast<Factors<float>*>(slots + i) = factors<float>(h, t == 1);
}

template <class C> __device__ inline void sgd_element(C& p, C gradient, const Factors<C>& s) {
  p = fma(s.rate, fma(s.decay, p, s.sign * gradient), p);
}
template <class C> __device__ inline void momentum_element(C& p, C gradient, C& b, const Factors<C>& s) {
  const C g = fma(s.decay, p, s.sign * gradient);
  b = fma(s.add, g, s.keep * b);
  p = fma(s.rate, s.nesterov ? fma(s.ahead, b, g) : b, p);
}

// Pointers of a segment: parameter, gradient, momentum buffer (null where the optimizer has none).
template <class T>
__global__ void __launch_bounds__(kThreads) sgd(const __grid_constant__ Segments<3> table, const Slot* slots) {
  using C = Compute<T>;
  constexpr int n = kVector<T>;
  const int k = segment_of(table, blockIdx.x);
  const long long begin = (blockIdx.x - table.first[k]) * static_cast<long long>(kChunk<T>);
  const long long left = table.length[k] - begin;
  T* p = static_cast<T*>(table.data[0][k]) + begin;
  const T* g = static_cast<const T*>(table.data[1][k]) + begin;
  C* b = static_cast<C*>(table.data[2][k]);
  const Factors<C> s = *reinterpret_cast<const Factors<C>*>(slots + table.slot[k]);
  const bool momentum = b != nullptr && s.momentum;
  if (momentum) b += begin;
  if (left >= kChunk<T> && on_16_bytes(p) && on_16_bytes(g) && (!momentum || on_16_bytes(b))) {
    const int i = threadIdx.x * n;
    C x[n], dx[n], buffer[n];
    load_vectors(p + i, x);
    load_vectors(g + i, dx);
    if (momentum) {
      load_vectors(b + i, buffer);
#pragma unroll
      for (int j = 0; j < n; ++j) momentum_element(x[j], dx[j], buffer[j], s);
      store_vectors(b + i, buffer);
    } else {
#pragma unroll
      for (int j = 0; j < n; ++j) sgd_element(x[j], dx[j], s);
    }
    store_vectors(p + i, x);
  } else {
    for (int i = threadIdx.x; i < kChunk<T> && i < left; i += kThreads) {
      C x = widen(p[i]);
      if (momentum) {
        C buffer = b[i];
        momentum_element(x, widen(g[i]), buffer, s);
        b[i] = buffer;
      } else {
        sgd_element(x, widen(g[i]), s);
      }
      narrow(x, p[i]);
    }
  }
}
