// LAMB on any number of tensors in two launches: `measure` updates the moments and sums the squares of parameters and
// directions, `apply` finds the rate of each tensor from them and updates the parameters. As adam.cu otherwise.
//
// A block of `measure` works on `each` chunks in a row and gives one pair of sums for each segment it meets: pair
// block + segment, which no other has. The blocks of `apply` add the pairs of their segment in one order: no atomics,
// and the same bits every time. Where a chunk is not on 16-byte boundaries its elements are summed in another order.
//
// Bound by memory: 24 bytes a float32 parameter in `measure` (p, g read, m, v read and written), 16 in `apply`.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "device_rules.cuh"

// The sum over the block, in all threads; the order is fixed.
__device__ inline double block_sum(double x) {
  __shared__ double of_warp[kThreads / 32];
  __syncthreads();  // the last sum has been read
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  x = of_warp[0];
  for (int w = 1; w < kThreads / 32; ++w) x += of_warp[w];
  return x;
}

// The factors of the step of segment k, in all threads.
template <class C, class Table>
__device__ inline void make_factors(const Table& table, int k, const double* settings, C (&s)[Lamb::kFactors]) {
  __shared__ C shared[Lamb::kFactors];
  __syncthreads();  // those of the last segment have been read
  if (threadIdx.x == 0) {
    double wide[Lamb::kFactors];
    Lamb::factors(settings + table.group[k] * Lamb::kSettings, next_step(table.data[4][k]), wide);
#pragma unroll
    for (int j = 0; j < Lamb::kFactors; ++j) shared[j] = static_cast<C>(wide[j]);
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < Lamb::kFactors; ++j) s[j] = shared[j];
}

// Pointers of a segment: parameter, gradient, first and second moment, step count. sums: pairs.
template <class T, int kTensors>
__global__ void __launch_bounds__(kThreads)
measure(const __grid_constant__ Segments<5, kTensors> table, const double* settings, int each, double* sums,
        const long long* faults, const unsigned char* active) {
  after_previous();
  if (held_back(faults, active)) return;
  using C = Compute<T>;
  constexpr int n = kVector<C>, length = kThreads * n;
  int chunk = blockIdx.x * each;
  const int last = table.first[table.kCount], end = last < chunk + each ? last : chunk + each;
  for (int k = segment_of(table, chunk); chunk < end; ++k) {
    C s[Lamb::kFactors];
    make_factors(table, k, settings, s);
    double of_p = 0, of_u = 0;
    for (const int until = table.first[k + 1] < end ? table.first[k + 1] : end; chunk < until; ++chunk) {
      const long long begin = (chunk - table.first[k]) * static_cast<long long>(length);
      const long long left = table.length[k] - begin;
      const T* const p = static_cast<const T*>(table.data[0][k]) + begin;
      const T* const g = static_cast<const T*>(table.data[1][k]) + begin;
      C *const m = static_cast<C*>(table.data[2][k]) + begin, *const v = static_cast<C*>(table.data[3][k]) + begin;
      const bool vectors = left >= length && on_16_bytes(p) && on_16_bytes(g) && on_16_bytes(m) && on_16_bytes(v);
      C x[n], dx[n], mean[n], square[n];
      load_chunk(p, vectors, left, x);
      load_chunk(g, vectors, left, dx);
      load_chunk(m, vectors, left, mean);
      load_chunk(v, vectors, left, square);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        C y = x[j];
        Moments::step(y, dx[j], mean[j], square[j], s);
        if (!vectors && threadIdx.x + j * kThreads >= left) continue;
        const double u = Lamb::direction(x[j], mean[j], square[j], s), at = x[j];
        of_p += at * at;
        of_u += u * u;
      }
      store_chunk(m, vectors, left, mean);
      store_chunk(v, vectors, left, square);
    }
    of_p = block_sum(of_p);
    of_u = block_sum(of_u);
    if (threadIdx.x == 0) {
      double* const pair = sums + 2 * (blockIdx.x + k);
      pair[0] = of_p;
      pair[1] = of_u;
    }
  }
}

// measured: the chunks of a block of `measure`.
template <class T, int kTensors>
__global__ void __launch_bounds__(kThreads)
apply(const __grid_constant__ Segments<5, kTensors> table, const double* settings, int each, const double* sums,
      int measured, const long long* faults, const unsigned char* active) {
  after_previous();
  if (held_back(faults, active)) return;
  using C = Compute<T>;
  constexpr int n = kVector<C>, length = kThreads * n;
  int chunk = blockIdx.x * each;
  const int last = table.first[table.kCount], end = last < chunk + each ? last : chunk + each;
  for (int k = segment_of(table, chunk); chunk < end; ++k) {
    C s[Lamb::kFactors];
    make_factors(table, k, settings, s);
    double of_p = 0, of_u = 0;
    const int first_block = table.first[k] / measured, last_block = (table.first[k + 1] - 1) / measured;
    for (int b = first_block + threadIdx.x; b <= last_block; b += kThreads) {
      of_p += sums[2 * (b + k)];
      of_u += sums[2 * (b + k) + 1];
    }
    of_p = block_sum(of_p);
    of_u = block_sum(of_u);
    const C rate = static_cast<C>(-Lamb::rate(settings[table.group[k] * Lamb::kSettings + Lamb::kLr], of_p, of_u));
    for (const int until = table.first[k + 1] < end ? table.first[k + 1] : end; chunk < until; ++chunk) {
      const long long begin = (chunk - table.first[k]) * static_cast<long long>(length);
      const long long left = table.length[k] - begin;
      T* const p = static_cast<T*>(table.data[0][k]) + begin;
      const C* const m = static_cast<const C*>(table.data[2][k]) + begin;
      const C* const v = static_cast<const C*>(table.data[3][k]) + begin;
      const bool vectors = left >= length && on_16_bytes(p) && on_16_bytes(m) && on_16_bytes(v);
      C x[n], mean[n], square[n];
      load_chunk(p, vectors, left, x);
      load_chunk(m, vectors, left, mean);
      load_chunk(v, vectors, left, square);
#pragma unroll
      for (int j = 0; j < n; ++j) x[j] = fma_(rate, Lamb::direction(x[j], mean[j], square[j], s), x[j]);
      store_chunk(p, vectors, left, x);
    }
    __syncthreads();  // thread 0 has read the step count
    if (threadIdx.x == 0) finish_step(table.data[4][k], blocks_of(table, k, each));
  }
}
