// Convolutions by products: out, and the gradients of the input (the transposed convolution) and of the weight.
//
// A convolution is the product out[position, filter] = sum over (tap, channel) of x[place(position, tap), channel]
// w[tap, channel, filter]: 2 N L C D K operations for N images, L positions, C channels, D filters and K taps (of one
// group), on N (C S + D L) + C D K elements: bound by arithmetic from some 16 channels on (a 3 x 3 convolution of 16
// channels has 36 operations a byte; a core of a Zen 5 does 240 GFLOP/s and reads some 20 GB/s from memory).
//
// The matrix of windows is never made. Of a box of positions (some images, or a part of one) the source is copied once,
// with its padding and the channels innermost; NHWC without padding is read where it is. There a window is a few runs
// of adjacent elements, the same for every position but for where it begins, so that a tile of 14 positions x 32
// filters takes its rows from the copy and only the weights are packed. A box's copy is at most 384 KiB (or one row of
// tiles, where that takes more), whatever the image's size. Transposing costs about 0.3 cycles an element of x and of
// out; a multiply-add of 32 lanes costs one, so that is K D / 32 cycles an element of x: 5 % for 16 channels and 3 x 3.
//
// Lines of the source that are padding are not multiplied: a twelfth of the taps of 3 x 3 on 8 x 8 positions.
//
// The gradient of the input is the same product with source and target exchanged: with a stride, positions fall into
// phases that read different taps, each a convolution without a stride whose results lie `stride` apart. The gradient
// of the weight takes the same copy as the operand of its rows, (tap, channel), with k going through the positions.
//
// GFLOP/s of float32, NCHW, one core of a busy Zen 5, forward / to the input / to the weight; oneDNN is PyTorch's:
//   3 x 3, images       64 of 16 x 32 x 32    64 of 64 x 8 x 8    16 of 512 x 7 x 7
//   first version       168   167   178       241   239   228     227   205   221
//   borders cleared and the order of a transposition found once for boxes of one shape
//                       195   194   204       243   242   241
//   lines of padding left out
//                       200   199   211       264   263   256
//   oneDNN               50    54   105       245   245   226     231   228   199
// Without effect or worse: slices of 256 or 192 instead of 512, boxes of 256 positions, prefetching the next box.
//
// The same on one core of a Zen 4 (some 115 to 120 GFLOP/s), 3 x 3, 64 images, NCHW, then NHWC, where results are
// written in place: 16 of 32 x 32 98, 97, 103, then 110, 110, 109; 64 of 8 x 8 118, 117, 119, then 122, 121, 120. What
// NCHW lacks with 16 channels are its transpositions: 0.4 cycles an element of x and of out, for 9 of multiply-adds.
//
// What 3 x 3 convolutions of float32 with 16 channels and more do instead is in winograd.inl.
#include "common/activations.inl"
#include "common/dtypes.inl"
#include "matmul/tile.inl"
#include "matmul/pack.inl"

namespace general {  // another family may call its types alike, and the linker would take them for the same
#include "conv/shape.inl"
#include "conv/tile.inl"
#include "conv/pack.inl"
#include "conv/gather.inl"
#include "conv/weight.inl"
#include "conv/winograd.inl"
#include "conv/winograd_weight.inl"

// Parameters: layout (0 NCHW, 1 NHWC), groups, activation; then strides, before, after and dilations, each of all axes
// of space.
struct Walk {
  bool interleaved;
  int64_t groups;
  Activation activation;
  int64_t stride[kAxes], before[kAxes], dilation[kAxes];

  Walk(const Args& args, int axes)
      : interleaved(args.integer(0) == 1), groups(args.integer(1)),
        activation(static_cast<Activation>(args.integer(2))) {
    for (int a = 0; a < kAxes; ++a) {
      const int own = a - (kAxes - axes);
      stride[a] = own < 0 ? 1 : args.integer(3 + own);
      before[a] = own < 0 ? 0 : args.integer(3 + axes + own);
      dilation[a] = own < 0 ? 1 : args.integer(3 + 3 * axes + own);
    }
  }
  Axis axis(int a, const Images& source, const Images& target, int64_t kernel, bool transposed) const {
    return {source.size[a], target.size[a], kernel, stride[a], before[a], dilation[a], transposed};
  }
};

static inline int64_t kernel_length(const Array& w, int a) {
  const int own = a - (kAxes - (w.ndim - 2));
  return own < 0 ? 1 : w.shape[2 + own];
}

#include "conv/pointwise.inl"

static void gather(const Args& args, bool transposed) {
  const Array &x = args.in(0), &w = args.in(1), &out = args.out();
  const Walk walk(args, x.ndim - 2);
  const Images source(x, walk.interleaved), target(out, walk.interleaved);
  const Axis axes[kAxes] = {walk.axis(0, source, target, kernel_length(w, 0), transposed),
                            walk.axis(1, source, target, kernel_length(w, 1), transposed),
                            walk.axis(2, source, target, kernel_length(w, 2), transposed)};
  if (run_pointwise(args, source, target, axes, walk, transposed)) return;
  with_float(x.dtype, [&]<class S>() {
    Gather<S> g(source, target, axes, walk.groups);
    g.x = x.as<S>(), g.w = w.as<S>(), g.out = out.as<S>();
    if (!transposed) {
      if (args.in(2)) g.bias = args.in(2).as<S>();
      if (args.n_arrays > args.n_inputs + 1 && args.out(1)) g.pre = args.out(1).as<S>();
      g.activation = walk.activation;
    }
    if constexpr (std::is_same_v<S, float>) {
      const WinogradGather winograd{g};
      if (winograd.takes() && winograd.run()) return;
    }
    g.run();
  });
}

// x, weight, bias or absent -> out, and the values before the activation if asked for.
static void conv(const Args& args) { gather(args, false); }

// y, weight -> the gradient of conv's input where y arrives at its output.
static void conv_input(const Args& args) { gather(args, true); }

// x, y -> the gradient of conv's weight.
static void conv_weight(const Args& args) {
  const Array &x = args.in(0), &y = args.in(1), &out = args.out();
  const Walk walk(args, x.ndim - 2);
  const Images source(x, walk.interleaved), target(y, walk.interleaved);
  const Axis axes[kAxes] = {walk.axis(0, source, target, kernel_length(out, 0), false),
                            walk.axis(1, source, target, kernel_length(out, 1), false),
                            walk.axis(2, source, target, kernel_length(out, 2), false)};
  with_float(x.dtype, [&]<class S>() {
    WeightGradient<S> g(source, target, axes, walk.groups);
    g.x = x.as<S>(), g.y = y.as<S>(), g.out = out.as<S>();
    if constexpr (std::is_same_v<S, float>) {
      const WinogradWeight winograd{g};
      if (winograd.takes() && winograd.run()) return;
    }
    g.run();
  });
}

}  // namespace general

static const Kernel kernels[] = {
    {"conv:conv", general::conv, kAllContiguous},
    {"conv:conv_input", general::conv_input, kAllContiguous},
    {"conv:conv_weight", general::conv_weight, kAllContiguous},
};
