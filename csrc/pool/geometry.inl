// What a pooling is: three axes in space (1-d and 2-d ones are led by axes of length 1), planes, and how many elements
// lie side by side at one place: 1 in NCHW, where planes are (image, channel), the channels in NHWC.
#ifndef DLCORE_POOL_GEOMETRY
#define DLCORE_POOL_GEOMETRY
#include "common/dtypes.inl"
#include "common/fold.inl"

struct Range {
  int64_t first, last;  // last is not in it
};

// One axis. Window o begins at o * stride - before, and has an element every `dilation`; with kernel 0 windows share
// out the axis as PyTorch's adaptive poolings do: from floor(o * in / out) to ceil((o + 1) * in / out).
struct Axis {
  int64_t in = 1, out = 1, kernel = 1, stride = 1, before = 0, dilation = 1;

  bool adaptive() const { return kernel == 0; }
  int64_t widest() const {
    return !adaptive() ? kernel : out == 0 ? 1 : in % out == 0 ? in / out : std::min(in, in / out + 2);
  }
  int64_t start(int64_t o) const { return adaptive() ? o * in / out : o * stride - before; }
  int64_t step() const { return adaptive() ? 1 : dilation; }
  // The positions in the window (0 .. widest) that lie in the input.
  Range valid(int64_t o) const {
    if (adaptive()) return {0, ((o + 1) * in + out - 1) / out - start(o)};
    const int64_t s = start(o), first = s < 0 ? (-s + dilation - 1) / dilation : 0;
    const int64_t last = s >= in ? 0 : std::min(kernel, (in - s + dilation - 1) / dilation);
    return {first, std::max(first, last)};
  }
  // The element at position k of window o, or -1 where that lies in the padding.
  int64_t element(int64_t o, int64_t k) const {
    const Range r = valid(o);
    return k < r.first || k >= r.last ? -1 : start(o) + k * step();
  }
  // The position of input i in window o, or -1.
  int64_t position(int64_t o, int64_t i) const {
    const int64_t d = i - start(o);
    if (d < 0 || d % step()) return -1;
    return adaptive() ? (d < valid(o).last ? d : -1) : d / dilation < kernel ? d / dilation : -1;
  }
  // Windows that may hold input i: all that do are among them.
  Range windows(int64_t i) const {
    if (adaptive()) return {i * out / in, std::min(out, ((i + 1) * out + in - 1) / in)};
    const int64_t q = i + before, reach = (kernel - 1) * dilation;
    return {q <= reach ? 0 : (q - reach + stride - 1) / stride, std::min(out, q / stride + 1)};
  }
  // Elements of window o with the padding, which stops `before` after the end.
  int64_t padded(int64_t o) const { return std::min(start(o) + kernel, in + before) - start(o); }

  // Seen modulo the stride, the elements at one position of all windows lie side by side: those of position k are in
  // phase k % period, shift(k) slots on.
  int64_t period = 1;
  int64_t phases() const { return std::min(kernel, period); }
  int64_t remainder(int64_t phase) const { return phase * dilation % stride; }
  int64_t shift(int64_t k) const { return k * dilation / stride; }
  int64_t shifts() const { return shift(kernel - 1); }
};

struct Pooling {
  Axis axis[3];
  int64_t planes = 1, inner = 1;

  int64_t in() const { return axis[0].in * axis[1].in * axis[2].in; }
  int64_t out() const { return axis[0].out * axis[1].out * axis[2].out; }
  int64_t volume() const { return axis[0].widest() * axis[1].widest() * axis[2].widest(); }
  bool adaptive() const { return axis[0].adaptive() || axis[1].adaptive() || axis[2].adaptive(); }
  bool padded() const { return axis[0].before > 0 || axis[1].before > 0 || axis[2].before > 0 || overhang(); }
  bool overhang() const {  // windows that reach beyond the end, as ceil_mode has them
    for (const Axis& a : axis)
      if (!a.adaptive() && a.start(a.out - 1) + (a.kernel - 1) * a.dilation >= a.in) return true;
    return false;
  }
};

static int64_t common_divisor(int64_t a, int64_t b) {
  while (b) {
    const int64_t r = a % b;
    a = b, b = r;
  }
  return std::max<int64_t>(a, 1);
}

// Of the operands' shapes, and parameters: layout (1: NHWC), then kernels, strides, padding and dilations.
static Pooling pooling_of(const Args& a, const Array& in, const Array& out) {
  const int space = in.ndim - 2;
  const bool last = a.integer(0) == 1;
  Pooling p;
  p.planes = last ? in.shape[0] : in.shape[0] * in.shape[1];
  p.inner = last ? in.shape[in.ndim - 1] : 1;
  for (int k = 0; k < space; ++k) {
    const int d = last ? 1 + k : 2 + k;
    Axis& axis = p.axis[3 - space + k];
    axis = {in.shape[d], out.shape[d], a.integer(1 + k), a.integer(1 + space + k), a.integer(1 + 2 * space + k),
            a.integer(1 + 3 * space + k)};
    axis.period = axis.stride / common_divisor(axis.stride, axis.dilation);
  }
  return p;
}

#endif  // DLCORE_POOL_GEOMETRY
