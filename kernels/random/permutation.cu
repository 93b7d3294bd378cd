// The integers 0 ... n - 1 in the order of their 64-bit random words, equal words by index: what any stable sort gives.
//
// Random words fall evenly into buckets by their leading bits, 128 to 256 in each on average, and a number's place in
// its bucket is the count of those that come before it: a sort without exchanges, right for any words and any sizes of
// buckets, whose result does not depend on the order in which atomics put numbers into a bucket.
//
//   count    how many words each bucket gets (integer atomics)
//   scan     where buckets begin (one block)
//   scatter  draws the words again, cheaper than to read them, and writes (word, index) into its bucket
//   rank     one block a bucket: places by counting in shared memory; moves the generator on, which all have read
//
// Up to 512 numbers `rank_all` does everything in one block.
// Bytes a number: 16 written and read back, 8 written, in `scatter` and `rank`; bound by the 16-byte stores to random
// places there and by 256 comparisons of 8 instructions here, 60 us a million at the issue rate of an H200 by design.
// An epoch of 60000 is bound by its four launches and the zeroing of the counters.
// CUDA C++ because Triton has no indexing of shared memory, and its atomics on scattered places are no shorter.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "../common/order.cuh"
#include "philox.cuh"

constexpr int kThreads = 256, kScanThreads = 1024, kAll = 512;

struct Keyed {
  unsigned long long key;
  long long index;
  __device__ bool before(const Keyed& y) const { return key < y.key || (key == y.key && index < y.index); }
};

// Calls use({key, index}) for the two numbers that block `block` of the draw makes.
template <class F>
__device__ inline void each_key(const long long* state, long long stride, long long block, long long n, F use) {
  const Words words = philox(static_cast<unsigned long long>(state[stride] + block),
                             static_cast<unsigned long long>(state[0]));
  const long long first = block / 16 * 32 + block % 16;
  if (first < n) use(Keyed{words.pair(0), first});
  if (first + 16 < n) use(Keyed{words.pair(1), first + 16});
}

__device__ inline long long block_of_thread() { return static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x; }

// One thread a Philox block. shift: 64 - bits of a bucket's number.
extern "C" __global__ void __launch_bounds__(kThreads)
count(const long long* state, long long stride, long long n, int shift, unsigned* counts) {
  after_previous();
  each_key(state, stride, block_of_thread(), n, [=](Keyed x) { atomicAdd(counts + (x.key >> shift), 1u); });
}

// start[b] = next[b] = numbers in buckets before b; start[buckets] = n.
extern "C" __global__ void __launch_bounds__(kScanThreads)
scan(const unsigned* counts, unsigned long long* start, unsigned long long* next, int buckets) {
  after_previous();
  __shared__ unsigned long long of_warp[kScanThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned long long before = 0;  // in all buckets of earlier rounds
  for (int first = 0; first < buckets; first += kScanThreads) {
    const int b = first + static_cast<int>(threadIdx.x);
    const unsigned long long own = b < buckets ? counts[b] : 0;
    unsigned long long sum = own;  // of this and earlier lanes
    for (int distance = 1; distance < 32; distance *= 2) {
      const unsigned long long other = __shfl_up_sync(0xffffffffu, sum, distance);
      if (lane >= distance) sum += other;
    }
    if (lane == 31) of_warp[warp] = sum;
    __syncthreads();
    unsigned long long earlier = before;
    for (int w = 0; w < kScanThreads / 32; ++w) {
      if (w < warp) earlier += of_warp[w];
      before += of_warp[w];
    }
    __syncthreads();  // of_warp is written again
    if (b < buckets) start[b] = next[b] = earlier + sum - own;
  }
  if (threadIdx.x == 0) start[buckets] = before;
}

extern "C" __global__ void __launch_bounds__(kThreads)
scatter(const long long* state, long long stride, long long n, int shift, unsigned long long* next, Keyed* split) {
  after_previous();
  each_key(state, stride, block_of_thread(), n, [=](Keyed x) { split[atomicAdd(next + (x.key >> shift), 1ull)] = x; });
}

extern "C" __global__ void __launch_bounds__(kThreads)
rank(const unsigned long long* start, const Keyed* split, long long* out, long long* state, long long stride,
     long long used) {
  after_previous();
  __shared__ Keyed tile[kThreads];
  const long long begin = static_cast<long long>(start[blockIdx.x]);
  const long long end = static_cast<long long>(start[blockIdx.x + 1]);
  for (long long first = begin; first < end; first += kThreads) {  // almost always one round, and one tile
    const long long mine = first + threadIdx.x;
    const Keyed own = mine < end ? split[mine] : Keyed{};
    long long place = begin;
    for (long long from = begin; from < end; from += kThreads) {
      __syncthreads();  // the tile before this one has been read
      if (from + threadIdx.x < end) tile[threadIdx.x] = split[from + threadIdx.x];
      __syncthreads();
      const int m = static_cast<int>(end - from < kThreads ? end - from : kThreads);
      for (int i = 0; i < m; ++i) place += tile[i].before(own);
    }
    if (mine < end) out[place] = own.index;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) state[stride] += used;
}

// All of it for n <= 512, in one block.
extern "C" __global__ void __launch_bounds__(kAll)
rank_all(long long* state, long long stride, long long n, long long used, long long* out) {
  after_previous();
  __shared__ Keyed all[kAll];
  if (threadIdx.x < used) each_key(state, stride, threadIdx.x, n, [](Keyed x) { all[x.index] = x; });
  __syncthreads();
  if (threadIdx.x < n) {
    const Keyed own = all[threadIdx.x];
    int place = 0;
    for (int i = 0; i < n; ++i) place += all[i].before(own);
    out[place] = own.index;
  }
  if (threadIdx.x == 0) state[stride] += used;
}
