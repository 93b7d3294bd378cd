// Images sampled at places of a grid (grid_sample), of two or three axes.
//
// Arithmetic bounds few channels, gathers many. Points are taken kPoints at a time: where their taps lie and how much
// they weigh is found in vectors, an axis at a time, and once for all channels. A tap outside of the image is at -1 and
// reads as 0, so that what lies at a border of the image never spoils a point beyond it.
//
// Parameters: 0 mode (bilinear, nearest, bicubic); 1 padding (zeros, border, reflection); 2 whether corners are aligned;
// 3 layout (NCHW, NHWC).
#include "common/dtypes.inl"
#include "common/simd.inl"

constexpr int64_t kPoints = 64;
constexpr int64_t kSampleGrain = 8192;  // taps a thread reads at once
constexpr int kMostTaps = 16;
enum SampleMode { kBilinear, kNearest, kBicubic };
enum SamplePadding { kZeros, kBorder, kReflection };

static inline DLCORE_MAP float floor_(float x) { return __builtin_floorf(x); }
static inline DLCORE_MAP double floor_(double x) { return __builtin_floor(x); }
static inline DLCORE_MAP float rounded(float x) { return __builtin_rintf(x); }  // halves to even
static inline DLCORE_MAP double rounded(double x) { return __builtin_rint(x); }

struct Sampling {
  int64_t mode, padding, axes, images, channels, points, plane;
  int64_t size[3], stride[3], pixel, channel;  // strides within an image: of axes, and of channels
  bool align, last;

  Sampling(const Args& a) : mode(a.integer(0)), padding(a.integer(1)), align(a.integer(2)), last(a.integer(3)) {
    const Array &x = a.in(0), &grid = a.in(1);
    axes = grid.shape[grid.ndim - 1];
    images = x.shape[0];
    channels = x.shape[last ? x.ndim - 1 : 1];
    points = plane = 1;
    for (int d = 0; d < axes; ++d) {
      size[d] = x.shape[d + (last ? 1 : 2)];
      plane *= size[d];
      points *= grid.shape[1 + d];
    }
    pixel = last ? channels : 1;
    channel = last ? 1 : plane;
    int64_t step = pixel;
    for (int64_t d = axes - 1; d >= 0; --d) stride[d] = step, step *= size[d];
  }
  int along() const { return mode == kNearest ? 1 : mode == kBicubic ? 4 : 2; }  // taps of an axis
  int taps() const {
    int n = 1;
    for (int d = 0; d < axes; ++d) n *= along();
    return n;
  }
};

// The place inside of an image of n pixels that stands for the place c, by the padding. Beyond an image of zeros places
// are all the same: so that they fit integers they stay near.
template <class C> static inline DLCORE_MAP C padded_place(C c, int64_t padding, bool align, C n) {
  if (padding == kReflection) {
    const C low = align ? C(0) : C(-0.5), span = align ? n - 1 : n;
    const C from = c < low ? low - c : c - low, safe = span > 0 ? span : C(1);
    const C times = floor_(from / safe), extra = from - times * safe;
    const C reflected = times - 2 * floor_(times / 2) == 0 ? extra + low : span - extra + low;
    c = span > 0 ? reflected : c - c;
  }
  const C least = padding == kZeros ? C(-3) : C(0), most = padding == kZeros ? n + 2 : n - 1;
  c = c < least ? least : c;
  return c > most ? most : c;
}

// How much the neighbour at distance x < 1 and the one at x in [1, 2] weigh: Keys 1981, a = -3/4.
template <class C> static inline DLCORE_MAP C cubic_near(C x) { return (C(1.25) * x - C(2.25)) * x * x + 1; }
template <class C> static inline DLCORE_MAP C cubic_far(C x) {
  return ((C(-0.75) * x + C(3.75)) * x - 6) * x + 3;
}

// Where the taps of points lie along one axis (-1: outside), and their weights: [tap][point].
template <class C> struct AxisTaps {
  int32_t at[4][kPoints];
  C weight[4][kPoints];

  void place(int t, int64_t count, const C* c, int64_t n) {  // the pixel c of n, if there is one
#pragma omp simd
    for (int64_t p = 0; p < count; ++p) {
      const bool inside = c[p] >= 0 && c[p] < static_cast<C>(n);
      at[t][p] = inside ? static_cast<int32_t>(c[p]) : -1;
    }
  }
  void find(const C* coordinate, int64_t count, const Sampling& s, int64_t n) {
    const C size = static_cast<C>(n);
    C place_[kPoints] = {}, pixel[kPoints] = {};
    const int64_t padding = s.mode == kBicubic ? int64_t{kZeros} : s.padding;
    const bool align = s.align, free = s.mode == kBicubic;
#pragma omp simd
    for (int64_t p = 0; p < count; ++p) {
      const C g = coordinate[p];
      const C c = align ? (g + 1) / 2 * (size - 1) : ((g + 1) * size - 1) / 2;
      place_[p] = free ? c : padded_place(c, padding, align, size);
    }
    if (s.mode == kNearest) {
      for (int64_t p = 0; p < count; ++p) {
        pixel[p] = rounded(place_[p]);
        weight[0][p] = 1 + 0 * place_[p];  // NaN of NaN
      }
      return place(0, count, pixel, n);
    }
    if (s.mode == kBilinear) {
#pragma omp simd
      for (int64_t p = 0; p < count; ++p) {
        pixel[p] = floor_(place_[p]);
        weight[1][p] = place_[p] - pixel[p];
        weight[0][p] = 1 - weight[1][p];
      }
      place(0, count, pixel, n);
#pragma omp simd
      for (int64_t p = 0; p < count; ++p) pixel[p] += 1;
      return place(1, count, pixel, n);
    }
    for (int64_t p = 0; p < count; ++p) {
      const C below = floor_(place_[p]), part = place_[p] - below;
      pixel[p] = below;
      weight[0][p] = cubic_far(part + 1), weight[1][p] = cubic_near(part);
      weight[2][p] = cubic_near(1 - part), weight[3][p] = cubic_far(2 - part);
    }
    C moved[kPoints] = {};
    for (int t = 0; t < 4; ++t) {
      for (int64_t p = 0; p < count; ++p) moved[p] = padded_place(pixel[p] + (t - 1), s.padding, align, size);
      if (s.padding == kReflection)  // between pixels only where one pixel is reflected at its own middle
        for (int64_t p = 0; p < count; ++p) moved[p] = floor_(moved[p]);
      place(t, count, moved, n);
    }
  }
};

// The taps of points in the image, one after the other: [tap][point].
template <class C> struct PointTaps {
  int32_t at[kMostTaps][kPoints];
  C weight[kMostTaps][kPoints];
  AxisTaps<C> axis[3];

  template <class T> void find(const T* grid, int64_t count, const Sampling& s) {
    C coordinate[kPoints] = {};
    for (int d = 0; d < s.axes; ++d) {
      for (int64_t p = 0; p < count; ++p) coordinate[p] = load(grid + p * s.axes + (s.axes - 1 - d));
      axis[d].find(coordinate, count, s, s.size[d]);
    }
    const int each = s.along(), taps = s.taps();
    for (int t = 0; t < taps; ++t) {
      int rest = t;
      for (int64_t d = s.axes - 1; d >= 0; --d, rest /= each) {
        const int k = rest % each;
        const int32_t* from = axis[d].at[k];
        const C* w = axis[d].weight[k];
        const int32_t step = static_cast<int32_t>(s.stride[d]);
        if (d == s.axes - 1) {
#pragma omp simd
          for (int64_t p = 0; p < count; ++p) {
            at[t][p] = from[p] < 0 ? -1 : from[p] * step;
            weight[t][p] = w[p];
          }
        } else {
#pragma omp simd
          for (int64_t p = 0; p < count; ++p) {
            at[t][p] = (from[p] | at[t][p]) < 0 ? -1 : at[t][p] + from[p] * step;
            weight[t][p] *= w[p];
          }
        }
      }
    }
  }
};

template <class T, class C>
static void sample_planes(T* out, const T* x, int64_t count, int taps, const PointTaps<C>& points, const Sampling& s) {
  for (int64_t c = 0; c < s.channels; ++c) {
    const T* plane = x + c * s.plane;
    C sums[kPoints];
    for (int64_t p = 0; p < count; ++p) sums[p] = 0;
    for (int t = 0; t < taps; ++t) {
      const int32_t* at = points.at[t];
      const C* weight = points.weight[t];
#pragma omp simd
      for (int64_t p = 0; p < count; ++p) {
        const int32_t place = at[p] < 0 ? 0 : at[p];
        const C value = at[p] < 0 ? C(0) : static_cast<C>(load(plane + place));
        sums[p] = fma_(weight[p], value, sums[p]);
      }
    }
    store_block(out + c * s.points, sums, count);
  }
}

template <class T, class C>
static void sample_pixels(T* out, const T* x, int64_t count, int taps, const PointTaps<C>& points, const Sampling& s,
                          C* sums) {
  for (int64_t p = 0; p < count; ++p) {
    for (int64_t c = 0; c < s.channels; ++c) sums[c] = 0;
    for (int t = 0; t < taps; ++t) {
      const C weight = points.weight[t][p];
      if (points.at[t][p] < 0) {
        for (int64_t c = 0; c < s.channels; ++c) sums[c] += 0 * weight;
        continue;
      }
      const T* pixel = x + points.at[t][p];
#pragma omp simd
      for (int64_t c = 0; c < s.channels; ++c) sums[c] = fma_(weight, load(pixel + c), sums[c]);
    }
    store_block(out + p * s.channels, sums, s.channels);
  }
}

static void grid_sample(const Args& a) {
  const Array &x = a.in(0), &grid = a.in(1), &out = a.out();
  const Sampling s(a);
  if (out.size() == 0) return;
  const int64_t blocks = (s.points + kPoints - 1) / kPoints, taps = s.taps();
  const int64_t work = kPoints * taps * (s.channels + 4);
  with_float(x.dtype, [&]<class T>() {
    using C = compute_t<T>;
    const T *from = x.as<const T>(), *places = grid.as<const T>();
    parallel_ranges(s.images * blocks, work < kSampleGrain ? kSampleGrain / work : 1, [&](int64_t begin, int64_t end) {
      const Scratch<PointTaps<C>> points(1);
      const Scratch<C> sums(s.channels + 1);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, first = item % blocks * kPoints;
        const int64_t count = s.points - first < kPoints ? s.points - first : kPoints;
        points[0].find(places + (n * s.points + first) * s.axes, count, s);
        const T* image = from + n * s.channels * s.plane;
        T* to = out.as<T>() + n * s.channels * s.points;
        if (s.last) sample_pixels(to + first * s.channels, image, count, taps, points[0], s, sums.get());
        else sample_planes(to + first, image, count, taps, points[0], s);
      }
    });
  });
}

static const Kernel kernels[] = {{"resize:grid_sample", grid_sample, kAllContiguous}};
