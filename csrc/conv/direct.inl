// Direct convolutions, where lanes cannot be filled by channels: few channels, or each for itself (depthwise).
//
// Bound by arithmetic, 2 N L D C K operations as in conv.inl, on N (C S + D L) elements, but for depthwise ones, with
// 2 K operations for two elements. Lanes are positions, neighbours in a count through all rows of a plane, so that they
// are full at any number of channels and almost full at any width (direct_geometry.inl). No matrix of windows: planes
// are read where they lie, or copied once with their padding. In GFLOP/s of float32, one core of a Zen 5 (240 at most),
// forward with ReLU / gradient of the input / of the weight, batch 64, beside oneDNN, the best of many runs:
//   1 ->  8 channels of 28 x 28, 3 x 3         77 /  44 /  90      27 /   7 /  37     1.4 MB are written: by memory
//   8 -> 16 channels of 13 x 13, 3 x 3        159 / 108 /  98     137 /  76 /  77
//   1 ->  6 channels of 28 x 28, 5 x 5        124 /  56 / 110      48 /   3 /  54
//   3 -> 16 channels of 32 x 32, 3 x 3        119 /  75 / 118      92 /  34 / 138
//   32 channels of 32 x 32, depthwise          39 /  36 /  26      15 /  20 /  16     by memory
// What is missing went to positions computed for nothing, at the ends of rows and planes, and to copies of padding.
// Where there are sixteen images lanes are images since then: direct_images.inl has figures of both.
#include "common/activations.inl"
#include "common/dtypes.inl"
#include "common/strided_copy.inl"

namespace direct {  // names of types hold for the whole program: other families have an Axis of their own
#include "conv/direct_geometry.inl"
#include "conv/direct_tiles.inl"
#include "conv/direct_planes.inl"
#include "conv/direct_images.inl"
#include "conv/direct_weight.inl"
#include "conv/direct_images_weight.inl"
#include "conv/direct_rows.inl"
#include "conv/direct_depthwise.inl"
#include "conv/direct_halves.inl"
}  // namespace direct

static const Kernel kernels[] = {
    {"conv:direct", direct::output, kAllContiguous},
    {"conv:direct_input", direct::input, kAllContiguous},
    {"conv:direct_pooled", direct::pooled, kAllContiguous},
    {"conv:direct_weight", direct::weight, kAllContiguous},
};
