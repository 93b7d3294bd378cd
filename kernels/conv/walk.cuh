// What the convolutions in CUDA C++ share: lengths passed by value, and sums finished by bias and ReLU.
//
// Compiled with --fmad=false: fma is written where one rounding is meant.
#pragma once
#include "../common/convert.cuh"
#include "../common/order.cuh"

// Axes of space are z, y, x, those that are not there of length 1. Elements are counted in int: walk.py sees to it.
struct Walk {
  int images, inputs, outputs, points;  // channels of all groups; places of the kernel
  int size[3], made[3], kernel[3], stride[3], before[3], dilation[3];

  __device__ int places() const { return made[0] * made[1] * made[2]; }
  __device__ int room() const { return size[0] * size[1] * size[2]; }
};

struct Place {
  int z, y, x;
  __device__ Place(int at, const int (&lengths)[3])
      : z(at / (lengths[1] * lengths[2])), y(at / lengths[2] % lengths[1]), x(at % lengths[2]) {}
};

// Whether an index, which may be negative, lies within a length.
__device__ inline bool within(int i, int length) { return static_cast<unsigned>(i) < static_cast<unsigned>(length); }

// The sum, rounded; plus the bias, rounded again; ReLU, which keeps NaN: as the kernels in Triton do it.
template <class T>
__device__ inline T finished(Compute<T> sum, const T* bias, int channel, bool relu) {
  T value;
  narrow(sum, value);
  if (bias != nullptr) narrow(widen(value) + widen(bias[channel]), value);
  if (relu && widen(value) <= 0) narrow(Compute<T>(0), value);
  return value;
}
