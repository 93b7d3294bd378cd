// Convolutions of images of a few channels (first layers: 1 to 4), out = relu?(conv(x, w) + bias), without a product.
//
// 2 N L D C K FLOPs on N (C S + D L) elements that must move: with C K = 9 or 27 bound by writing the output. A product's
// tiles would be two thirds empty, so here a thread sums kOutputs channels of kPlaces places in registers: an element of
// x, loaded coalesced along x (and again from the first-level cache for the next place of the kernel), serves kOutputs
// fmas; a weight, broadcast from shared memory in the type of the sums, kPlaces. Sums run through channels, then places
// of the kernel: one order for each shape. x and out have their channels in front (kLast false) or behind: a thread then
// writes neighbours itself, and the second-level cache puts its stores together.
//
// Versions: 1, this one: unmeasured, not yet run on hardware. Compiled: 47 to 80 registers (float64 72 to 140), no spills,
// on sm_80, 90, 100 and 120; with 64 of them an SM holds 8 blocks, half of its warps.
#include "walk.cuh"

constexpr int kThreads = 128, kPlaces = 2;

// Grid: places of all images by kThreads * kPlaces; channels of the output by kOutputs. Shared: inputs * points *
// kOutputs numbers.
template <class T, int kOutputs, bool kLast>
__global__ void __launch_bounds__(kThreads)
direct(const T* x, const T* w, const T* bias, T* out, const __grid_constant__ Walk walk, int relu) {
  after_previous();
  using C = Compute<T>;
  extern __shared__ double room[];
  C* weights = reinterpret_cast<C*>(room);  // (inputs, points, kOutputs)
  const int points = walk.points, terms = walk.inputs * points, first_d = blockIdx.y * kOutputs;
  for (int i = threadIdx.x; i < terms * kOutputs; i += kThreads) {
    const int d = first_d + i % kOutputs;
    weights[i] = d < walk.outputs ? C(widen(w[d * terms + i / kOutputs])) : C(0);
  }
  __syncthreads();
  const int places = walk.places(), space = walk.room(), all = walk.images * places;
  int image[kPlaces], at[kPlaces];
  C sum[kPlaces][kOutputs];
#pragma unroll
  for (int p = 0; p < kPlaces; ++p) {
    const int i = (blockIdx.x * kPlaces + p) * kThreads + threadIdx.x;
    image[p] = i < all ? i / places : -1;
    at[p] = i < all ? i % places : 0;
#pragma unroll
    for (int d = 0; d < kOutputs; ++d) sum[p][d] = 0;
  }
  for (int c = 0; c < walk.inputs; ++c) {
    const C* of_place = weights + c * points * kOutputs;
    for (int kz = 0; kz < walk.kernel[0]; ++kz) {
      for (int ky = 0; ky < walk.kernel[1]; ++ky) {
        for (int kx = 0; kx < walk.kernel[2]; ++kx, of_place += kOutputs) {
          C value[kPlaces];
#pragma unroll
          for (int p = 0; p < kPlaces; ++p) {
            const Place o(at[p], walk.made);
            const int z = o.z * walk.stride[0] + kz * walk.dilation[0] - walk.before[0];
            const int y = o.y * walk.stride[1] + ky * walk.dilation[1] - walk.before[1];
            const int x_ = o.x * walk.stride[2] + kx * walk.dilation[2] - walk.before[2];
            const bool there = image[p] >= 0 && within(z, walk.size[0]) && within(y, walk.size[1]) &&
                               within(x_, walk.size[2]);
            const int place = (z * walk.size[1] + y) * walk.size[2] + x_;
            value[p] = 0;
            if (there) {
              value[p] = widen(kLast ? x[(image[p] * space + place) * walk.inputs + c]
                                     : x[(image[p] * walk.inputs + c) * space + place]);
            }
          }
#pragma unroll
          for (int d = 0; d < kOutputs; ++d) {
            const C weight = of_place[d];
#pragma unroll
            for (int p = 0; p < kPlaces; ++p) sum[p][d] = fma(value[p], weight, sum[p][d]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kPlaces; ++p) {
    if (image[p] < 0) continue;
#pragma unroll
    for (int k = 0; k < kOutputs; ++k) {
      const int d = first_d + k;
      if (d >= walk.outputs) continue;
      const int to = kLast ? (image[p] * places + at[p]) * walk.outputs + d
                           : (image[p] * walk.outputs + d) * places + at[p];
      out[to] = finished<T>(sum[p][k], bias, d, relu != 0);
    }
  }
}
