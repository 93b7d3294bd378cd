// Depthwise convolutions, in which each channel of the output sees one of the input, and both of their gradients.
//
// 2 N D L K FLOPs on N (C S + D L) elements that must move: bound by memory, and by the first-level cache, from which each
// element is read K times. A thread makes kPlaces places of one channel, so that a weight is loaded once for them; with
// channels in front neighbouring threads have neighbouring places, with channels behind (kLast) neighbouring channels, so
// loads and stores are coalesced in both. Each sum runs through the places of the kernel in their order.
//
//   depthwise         out = relu?(conv(x, w) + bias)
//   depthwise_input   the gradient to x, which gathers: no atomics, no zeros between strides
//   depthwise_weight  the gradient to w: a block sums one channel (kLast: 32) over a slice of all places, kTaps sums a
//                     thread, by warps and then across them in fixed order; a second pass adds the slices in theirs
//
// Versions: 1, this one: unmeasured, not yet run on hardware. Compiled, no spills, on sm_80, 90, 100 and 120: 43 to 64
// registers, 4 blocks and half of an SM's warps; the gradient to w with 9 sums a thread 56 to 71, 25 126, 49 224.
#include "walk.cuh"

// 4 blocks an SM: up to 64 registers, for with fewer the compiler spills addresses.
constexpr int kThreads = 256, kPlaces = 4, kWarps = kThreads / 32;

// What a thread makes: places `first`, `first + apart`, ... of one channel of one image.
struct Part {
  int image, channel, first, apart;

  template <bool kLast> __device__ static Part of(int i, int channels, int places) {
    const int units = (places + kPlaces - 1) / kPlaces;
    if (kLast) return {i / channels / units, i % channels, i / channels % units * kPlaces, 1};
    return {i / units / channels, i / units % channels, i % units, units};
  }
};

template <bool kLast> __device__ inline int address(int image, int channel, int place, int channels, int places) {
  return kLast ? (image * places + place) * channels + channel : (image * channels + channel) * places + place;
}

// Grid: parts of the output by kThreads; `parts`: of them.
template <class T, bool kLast>
__global__ void __launch_bounds__(kThreads, 4)
depthwise(const T* x, const T* w, const T* bias, T* out, const __grid_constant__ Walk walk, int relu, int parts) {
  after_previous();
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= parts) return;
  const int places = walk.places(), room = walk.room(), points = walk.points;
  const Part part = Part::of<kLast>(i, walk.outputs, places);
  const int from = part.channel / (walk.outputs / walk.inputs);
  int z[kPlaces], y[kPlaces], x_[kPlaces];
  Compute<T> sum[kPlaces];
#pragma unroll
  for (int p = 0; p < kPlaces; ++p) {
    const Place o(part.first + p * part.apart, walk.made);
    z[p] = o.z * walk.stride[0] - walk.before[0];
    y[p] = o.y * walk.stride[1] - walk.before[1];
    x_[p] = o.x * walk.stride[2] - walk.before[2];
    sum[p] = 0;
  }
  const T* weight = w + part.channel * points;
  for (int kz = 0; kz < walk.kernel[0]; ++kz) {
    for (int ky = 0; ky < walk.kernel[1]; ++ky) {
      for (int kx = 0; kx < walk.kernel[2]; ++kx, ++weight) {
        const Compute<T> factor = widen(*weight);
#pragma unroll
        for (int p = 0; p < kPlaces; ++p) {
          const int a = z[p] + kz * walk.dilation[0], b = y[p] + ky * walk.dilation[1], c = x_[p] + kx * walk.dilation[2];
          if (part.first + p * part.apart < places && within(a, walk.size[0]) && within(b, walk.size[1]) &&
              within(c, walk.size[2])) {
            const int place = (a * walk.size[1] + b) * walk.size[2] + c;
            sum[p] = fma(Compute<T>(widen(x[address<kLast>(part.image, from, place, walk.inputs, room)])), factor,
                         sum[p]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kPlaces; ++p) {
    const int place = part.first + p * part.apart;
    if (place < places) {
      out[address<kLast>(part.image, part.channel, place, walk.outputs, places)] =
          finished<T>(sum[p], bias, part.channel, relu != 0);
    }
  }
}

// The place of the output that a place of the kernel brings to i of the padded input; -1 where there is none.
__device__ inline int met(int i, int k, int stride, int dilation, int made) {
  const int t = i - k * dilation;
  if (t < 0) return -1;
  const int o = t / stride;
  return o * stride == t && o < made ? o : -1;
}

// Grid: parts of the input by kThreads; `parts`: of them.
template <class T, bool kLast>
__global__ void __launch_bounds__(kThreads, 4)
depthwise_input(const T* y, const T* w, T* out, const __grid_constant__ Walk walk, int parts) {
  after_previous();
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= parts) return;
  const int places = walk.places(), room = walk.room(), points = walk.points, each = walk.outputs / walk.inputs;
  const Part part = Part::of<kLast>(i, walk.inputs, room);
  int z[kPlaces], y_[kPlaces], x_[kPlaces];
  Compute<T> sum[kPlaces];
#pragma unroll
  for (int p = 0; p < kPlaces; ++p) {
    const Place at(part.first + p * part.apart, walk.size);
    z[p] = at.z + walk.before[0];
    y_[p] = at.y + walk.before[1];
    x_[p] = at.x + walk.before[2];
    sum[p] = 0;
  }
  for (int d = part.channel * each; d < (part.channel + 1) * each; ++d) {
    const T* weight = w + d * points;
    for (int kz = 0; kz < walk.kernel[0]; ++kz) {
      for (int ky = 0; ky < walk.kernel[1]; ++ky) {
        for (int kx = 0; kx < walk.kernel[2]; ++kx, ++weight) {
          const Compute<T> factor = widen(*weight);
#pragma unroll
          for (int p = 0; p < kPlaces; ++p) {
            if (part.first + p * part.apart >= room) continue;
            const int a = met(z[p], kz, walk.stride[0], walk.dilation[0], walk.made[0]);
            const int b = met(y_[p], ky, walk.stride[1], walk.dilation[1], walk.made[1]);
            const int c = met(x_[p], kx, walk.stride[2], walk.dilation[2], walk.made[2]);
            if ((a | b | c) < 0) continue;
            const int place = (a * walk.made[1] + b) * walk.made[2] + c;
            sum[p] = fma(Compute<T>(widen(y[address<kLast>(part.image, d, place, walk.outputs, places)])), factor,
                         sum[p]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kPlaces; ++p) {
    const int place = part.first + p * part.apart;
    if (place < room) {
      narrow(sum[p], out[address<kLast>(part.image, part.channel, place, walk.inputs, room)]);
    }
  }
}

// Grid: channels of the output (kLast: by 32); slices of `share` places of all images. slices: (slices, outputs,
// points) in the type of the sums, of which kTaps is at least the number of places of the kernel.
template <class T, class S, int kTaps, bool kLast>
__global__ void __launch_bounds__(kThreads)
depthwise_weight(const T* x, const T* y, S* slices, const __grid_constant__ Walk walk, int share) {
  after_previous();
  using C = Compute<T>;
  __shared__ int offset[3][kTaps];
  __shared__ C partial[kWarps][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, points = walk.points;
  for (int k = threadIdx.x; k < kTaps; k += kThreads) {
    const Place at(k < points ? k : 0, walk.kernel);
    offset[0][k] = at.z * walk.dilation[0] - walk.before[0];
    offset[1][k] = at.y * walk.dilation[1] - walk.before[1];
    offset[2][k] = at.x * walk.dilation[2] - walk.before[2];
  }
  __syncthreads();
  const int places = walk.places(), room = walk.room(), all = walk.images * places;
  const int channel = kLast ? static_cast<int>(blockIdx.x) * 32 + lane : static_cast<int>(blockIdx.x);
  const int from = channel / (walk.outputs / walk.inputs);
  const int begin = blockIdx.y * share, end = begin + share < all ? begin + share : all;
  C sum[kTaps];
#pragma unroll
  for (int k = 0; k < kTaps; ++k) sum[k] = 0;
  const bool mine = channel < walk.outputs;
  for (int i = begin + (kLast ? warp : static_cast<int>(threadIdx.x)); mine && i < end; i += kLast ? kWarps : kThreads) {
    const int image = i / places, at = i % places;
    const Place o(at, walk.made);
    const C arriving = widen(y[address<kLast>(image, channel, at, walk.outputs, places)]);
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      if (k >= points) continue;
      const int a = o.z * walk.stride[0] + offset[0][k], b = o.y * walk.stride[1] + offset[1][k],
                c = o.x * walk.stride[2] + offset[2][k];
      if (within(a, walk.size[0]) && within(b, walk.size[1]) && within(c, walk.size[2])) {
        const int place = (a * walk.size[1] + b) * walk.size[2] + c;
        sum[k] = fma(C(widen(x[address<kLast>(image, from, place, walk.inputs, room)])), arriving, sum[k]);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    C own = sum[k];
    if (!kLast) {
      for (int lanes = 16; lanes > 0; lanes /= 2) own += __shfl_xor_sync(0xffffffffu, own, lanes);
    }
    partial[warp][lane] = own;
    __syncthreads();
    if (k < points && mine && (kLast ? warp == 0 : threadIdx.x == 0)) {
      for (int other = 1; other < kWarps; ++other) own += partial[other][lane];
      narrow(own, slices[(blockIdx.y * walk.outputs + channel) * points + k]);
    }
    __syncthreads();
  }
}
