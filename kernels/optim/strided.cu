// Copies between a tensor of any strides and dense memory, for the rare parameter, moment or gradient that is updated
// in place and not contiguous. Bound by memory, 8 to 16 bytes an element by how the strides lie; not tuned.
#include "../common/order.cuh"

struct Layout {
  long long size, shape[8], stride[8];  // elements; unused axes, first, have length 1
};

template <class T, bool gather>
__global__ void __launch_bounds__(256) copy(T* dense, T* strided, const __grid_constant__ Layout layout) {
  after_previous();
  const long long step = 256ll * gridDim.x;
  for (long long i = 256ll * blockIdx.x + threadIdx.x; i < layout.size; i += step) {
    long long rest = i, at = 0;
    for (int d = 7; d >= 0; --d) {
      at += rest % layout.shape[d] * layout.stride[d];
      rest /= layout.shape[d];
    }
    if (gather) dense[i] = strided[at];
    else strided[at] = dense[i];
  }
}
