// Gradients of maxima in narrow planes whose windows do not overlap: zeros, and each gradient where its maximum was.
//
// A row of fewer than eight windows fills no half of a vector, and a store for each window takes three cycles. Windows
// of 2 by 2 of float32 on one core of a Zen 4, by vectors -> here: 64 x 16 planes of 11 x 11 45.2 -> 29.5 us, 64 x 8 of
// 14 x 14 29.0 -> 25.3. With more it does not pay: 64 x 8 of 26 x 26 are 60.8 by vectors and 78.4 here. The gradient of
// a ReLU before goes with it at a cycle for each window, instead of a launch that goes over all elements (16 us for the
// first, 6 here).
constexpr int64_t kScatterRow = 8;          // windows of a row: with as many vectors are half full
constexpr int64_t kScatterPlane = 1 << 14;  // elements of a plane at most: it stays in the first caches
constexpr int64_t kScatterVolume = 256;     // positions of a window at most: a byte

static bool by_scatter(const Pooling& p) {
  for (const Axis& a : p.axis)
    if (a.kernel > a.stride || a.dilation != 1) return false;
  return !p.adaptive() && !p.padded() && p.inner == 1 && p.axis[2].out < kScatterRow && p.in() <= kScatterPlane &&
         p.volume() <= kScatterVolume;
}

// The gradient of a maximum; behind a ReLU zero where the maximum is not above 0. Whether it is can be foreseen by
// nothing: there is no branch.
template <bool kRelu, class T> static inline T passed(const T* dout, const T* maximum) {
  if constexpr (!kRelu) return *dout;
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
  Bits bits;
  __builtin_memcpy(&bits, dout, sizeof bits);
  bits = static_cast<Bits>(bits & (load(maximum) <= 0 ? Bits(0) : static_cast<Bits>(-1)));
  T found;
  __builtin_memcpy(&found, &bits, sizeof bits);
  return found;
}

template <bool kRelu, class T>
static void back_by_scatter(const Pooling& p, const T* dout, const uint8_t* places, const T* maxima, T* dx) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t in = p.in(), out = p.out(), step = width.stride;
  int64_t offset[kScatterVolume] = {};  // places that no window has stay within it: nothing is written elsewhere
  for (int64_t k = 0; k < p.volume(); ++k)
    offset[k] = (k / (height.kernel * width.kernel) * height.in + k / width.kernel % height.kernel) * width.in +
                k % width.kernel;
  parallel_ranges(p.planes, std::max<int64_t>(1, kScatterPlane / in), [&](int64_t begin, int64_t end) {
    int64_t at = begin * out;
    for (int64_t plane = begin; plane < end; ++plane) {
      T* to = dx + plane * in;
      std::fill(to, to + in, T{});
      for (int64_t d = 0; d < depth.out; ++d)
        for (int64_t h = 0; h < height.out; ++h) {
          T* row = to + (d * depth.stride * height.in + h * height.stride) * width.in;
          for (const int64_t last = at + width.out; at < last; ++at, row += step)
            row[offset[places[at]]] = passed<kRelu>(dout + at, maxima + at);
        }
    }
  });
}
