// Rows by index, out[o, i] = x[o, indices[i]]: take (see take.py) for rows of a multiple of 16 bytes, in CUDA C++.
//
// Bound by memory: every row is read and written once, indices are read once; no FLOPs. Threads count 16-byte units of
// the output without regard to rows, so all lanes work whatever the length of a row: Triton, whose tiles have sides of
// powers of two, leaves 23 of 100 idle on images of 784 bytes. A thread has 4 units of 16 bytes in flight, 256 threads
// a block. A unit's row is found by a division of 32 bits where the output has fewer than 2^32 units; its index comes
// from the first-level cache but for the row's first lane. Registers 32 to 36, no spills, on sm_80, 90, 100 and 120.
//
// An index out of range is reported (position: the smallest) and its row becomes 0.
//
// Versions: 1, this one. Unmeasured: not yet run on hardware.
#include "../common/order.cuh"

// kTokens: no index counts from the end. kThreads: of a block; kUnits: of a thread.
template <class Count, class Index, bool kTokens, int kThreads, int kUnits>
__global__ void __launch_bounds__(kThreads)
take(const uint4* x, const Index* indices, uint4* out, long long* errors, long long bad_index, long long total,
     long long n, long long length, long long inner, long long x_outer, long long x_axis) {
  after_previous();
  const Count first = static_cast<Count>(blockIdx.x) * (kThreads * kUnits) + threadIdx.x;
  const Count units = static_cast<Count>(inner), rows = static_cast<Count>(n);
  uint4 row[kUnits];
#pragma unroll
  for (int k = 0; k < kUnits; ++k) {
    const Count unit = first + k * kThreads;
    row[k] = {0, 0, 0, 0};
    if (unit >= static_cast<Count>(total)) continue;
    const Count number = unit / units, i = number % rows;
    const long long index = indices[i], place = index + (!kTokens && index < 0 ? length : 0);
    if (place >= 0 && place < length) {
      row[k] = x[static_cast<long long>(number / rows) * x_outer + place * x_axis + (unit - number * units)];
    } else {
      atomicMax(errors, bad_index);
      atomicMin(errors + 1, static_cast<long long>(i));
    }
  }
#pragma unroll
  for (int k = 0; k < kUnits; ++k) {
    const Count unit = first + k * kThreads;
    if (unit < static_cast<Count>(total)) out[unit] = row[k];
  }
}
