// The norm of all gradients together, and their scaling by min(1, max_norm / (norm + 1e-6)), in two launches; division
// of all by a number, with a look for what is not finite, in two; bringing their elements between limits, in one.
//
// `measure`: at most 1024 blocks, each over chunks b, b + blocks, b + 2 blocks, ..., give one float64 partial each.
// `scale`: every block adds the partials in the same order (8 KiB from the second-level cache), hence finds the same
// factor, and scales its chunks with it, or returns at once where the factor is 1. No atomics, no value on the host:
// the bits depend on the shapes alone.
//
// Bound by memory: 4 bytes a float32 gradient to measure, 8 more to scale. Sums are in float64, as on the CPU: a
// conversion and a fma an element, within the bandwidth on sm_80, 90 and 100; sm_120 has 2 float64 lanes an SM and is
// bound by them. The CPU adds in 16 lanes; the order here differs, so the norm may differ in its last bit of float64,
// and rounded to float32 practically never. Registers 19 to 46, no spills, on sm_80, 90, 100 and 120.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "segments.cuh"

enum Order { kLargest, kSquares, kPowers };

template <int order> __device__ inline double combine(double x, double y) {
  if (order == kLargest) return y > x || y != y ? y : x;  // NaN stays
  return x + y;
}
template <int order> __device__ inline double add_element(double sum, double x, double power) {
  if (order == kSquares) return fma(x, x, sum);
  return combine<order>(sum, order == kLargest ? fabs(x) : pow(fabs(x), power));
}

// The sum over the block, in all threads; the order is fixed.
template <int order> __device__ inline double over_block(double x) {
  __shared__ double of_warp[kThreads / 32];
  for (int lane = 16; lane > 0; lane /= 2) x = combine<order>(x, __shfl_xor_sync(0xffffffffu, x, lane));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  x = of_warp[0];
  for (int w = 1; w < kThreads / 32; ++w) x = combine<order>(x, of_warp[w]);
  return x;
}

template <class T, int order>
__global__ void __launch_bounds__(kThreads)
measure(const __grid_constant__ Segments<1, 160> table, double* partials, double power) {
  after_previous();
  const int chunks = table.first[table.kCount];
  constexpr int n = kVector<T>;
  double sum = 0;
  for (int chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
    const int k = segment_of(table, chunk);
    const long long begin = (chunk - table.first[k]) * static_cast<long long>(kChunk<T>);
    const long long left = table.length[k] - begin;
    const T* x = static_cast<const T*>(table.data[0][k]) + begin;
    if (left >= kChunk<T> && on_16_bytes(x)) {
      Compute<T> values[n];
      load_vectors(x + threadIdx.x * n, values);
#pragma unroll
      for (int j = 0; j < n; ++j) sum = add_element<order>(sum, values[j], power);
    } else {
      const int first = threadIdx.x * n;  // the same elements as above: the bits do not depend on the address
      for (int i = first; i < first + n && i < left; ++i) sum = add_element<order>(sum, widen(x[i]), power);
    }
  }
  sum = over_block<order>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// x = f(x) for all elements of the segments.
template <class T, class F> __device__ inline void change(const Segments<1, 160>& table, F f) {
  const int chunks = table.first[table.kCount];
  constexpr int n = kVector<T>;
  for (int chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
    const int k = segment_of(table, chunk);
    const long long begin = (chunk - table.first[k]) * static_cast<long long>(kChunk<T>);
    const long long left = table.length[k] - begin;
    T* const x = static_cast<T*>(table.data[0][k]) + begin;
    const bool vectors = left >= kChunk<T> && on_16_bytes(x);
    Compute<T> values[n];
    load_chunk(x, vectors, left, values);
#pragma unroll
    for (int j = 0; j < n; ++j) values[j] = f(values[j]);
    store_chunk(x, vectors, left, values);
  }
}

// What `measure` found in all blocks of all launches, in all threads.
template <int order> __device__ inline double measured(const double* partials, int parts) {
  double sum = 0;
  for (int i = threadIdx.x; i < parts; i += kThreads) sum = combine<order>(sum, partials[i]);
  return over_block<order>(sum);
}

// out: where the norm goes, a number of `bytes` bytes; 0: another launch writes it.
template <class T, int order>
__global__ void __launch_bounds__(kThreads)
scale(const __grid_constant__ Segments<1, 160> table, const double* partials, int parts, double power, double max_norm,
      void* out, int bytes) {
  after_previous();
  double norm = measured<order>(partials, parts);
  if (order == kSquares) norm = sqrt(norm);
  if (order == kPowers) norm = pow(norm, 1 / power);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    if (bytes == 4) *static_cast<float*>(out) = static_cast<float>(norm);
    if (bytes == 8) *static_cast<double*>(out) = norm;
  }
  const double factor = max_norm / (norm + 1e-6);
  if (factor >= 1) return;  // a NaN norm scales: the gradients become NaN, as in PyTorch
  const Compute<T> f = static_cast<Compute<T>>(factor);
  change<T>(table, [f](Compute<T> x) { return x * f; });
}

// g = g / divisor. finite: where it goes whether the largest magnitude of all, of which the partials are, is finite;
// null: another launch writes it. 12 bytes a float32 gradient with `measure`.
template <class T>
__global__ void __launch_bounds__(kThreads)
unscale(const __grid_constant__ Segments<1, 160> table, const double* partials, int parts, const float* divisor,
        unsigned char* finite) {
  after_previous();
  if (finite != nullptr && blockIdx.x == 0) {
    const double largest = measured<kLargest>(partials, parts);
    if (threadIdx.x == 0) *finite = largest <= 1.7976931348623157e308;  // the largest float64; false for NaN
  }
  const Compute<T> f = static_cast<Compute<T>>(1.0 / static_cast<double>(*divisor));
  if (f != 1) change<T>(table, [f](Compute<T> x) { return x * f; });
}

// g = min(max(g, -limit), limit), NaN as it is. 8 bytes a float32 gradient.
template <class T>
__global__ void __launch_bounds__(kThreads)
bound(const __grid_constant__ Segments<1, 160> table, double limit) {
  after_previous();
  const Compute<T> most = static_cast<Compute<T>>(limit);
  change<T>(table, [most](Compute<T> x) { return x > most ? most : x < -most ? -most : x; });
}
