// Step counts kept as float32 (checkpoints of PyTorch have them so) to integers, which the kernels can count in, and
// back. One thread a tensor.
#include "../common/order.cuh"

struct Counts {
  static constexpr int kCount = 480;
  float* count[kCount];
};

template <bool back>
__global__ void __launch_bounds__(256) convert(const __grid_constant__ Counts counts, long long* whole, int n) {
  after_previous();
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  if (back) *counts.count[i] = static_cast<float>(whole[i]);
  else whole[i] = static_cast<long long>(*counts.count[i]);
}
