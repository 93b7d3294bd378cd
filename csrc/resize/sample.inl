// Images sampled at places of a grid (grid_sample), of two or three axes, and grids of affine maps (affine_grid).
//
// Arithmetic bounds few channels, gathers many. Points are taken kPoints at a time: where their taps lie and how much
// they weigh is found in vectors, an axis at a time, and once for all channels. A tap outside of the image is at -1 and
// reads as 0, so that what lies at a border of the image never spoils a point beyond it.
//
// Parameters: 0 mode (bilinear, nearest, bicubic); 1 padding (zeros, border, reflection); 2 whether corners are
// aligned; 3 layout (NCHW, NHWC).
#include "common/dtypes.inl"
#include "common/simd.inl"

constexpr int64_t kPoints = 64;
constexpr int64_t kSampleGrain = 8192;  // taps a thread reads at once
constexpr int kMostTaps = 16;
enum SampleMode { kBilinear, kNearest, kBicubic };
enum SamplePadding { kZeros, kBorder, kReflection };

// ---- vectors ------------------------------------------------------------------------------------------------------

template <class C> struct PlacesOf { typedef int32_t type __attribute__((vector_size(kLanes<C> * 4))); };
template <class C> using places = typename PlacesOf<C>::type;  // as many as lanes of C

template <class V> static inline V by_lane(V x, double (*f)(double)) {
  for (size_t i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = static_cast<decltype(+x[0])>(f(x[i]));
  return x;
}
#if DLCORE_ISA == 4
constexpr int kDown = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC, kEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
template <int kHow> static inline vec<float> whole(vec<float> x) {
  return (vec<float>)_mm512_maskz_roundscale_ps(0xffff, (__m512)x, kHow);
}
template <int kHow> static inline vec<double> whole(vec<double> x) {
  return (vec<double>)_mm512_maskz_roundscale_pd(0xff, (__m512d)x, kHow);
}
template <class V> static inline V vfloor(V x) { return whole<kDown>(x); }
template <class V> static inline V veven(V x) { return whole<kEven>(x); }  // halves to even
#elif DLCORE_ISA == 3
static inline vec<float> vfloor(vec<float> x) { return (vec<float>)_mm256_floor_ps((__m256)x); }
static inline vec<double> vfloor(vec<double> x) { return (vec<double>)_mm256_floor_pd((__m256d)x); }
static inline vec<float> veven(vec<float> x) { return (vec<float>)_mm256_round_ps((__m256)x, 8); }
static inline vec<double> veven(vec<double> x) { return (vec<double>)_mm256_round_pd((__m256d)x, 8); }
#else
template <class V> static inline V vfloor(V x) { return by_lane(x, [](double v) { return __builtin_floor(v); }); }
template <class V> static inline V veven(V x) { return by_lane(x, [](double v) { return __builtin_rint(v); }); }
#endif

// Elements from[at], 0 where at is negative. Compilers make branches of it, which are not foreseen at all.
template <class T> static inline vec<compute_t<T>> gathered(const T* from, const int32_t* at) {
  vec<compute_t<T>> v{};
  for (int i = 0; i < kLanes<compute_t<T>>; ++i) {
    const compute_t<T> value = load(from + (at[i] < 0 ? 0 : at[i]));
    v[i] = at[i] < 0 ? 0 : value;
  }
  return v;
}
#if DLCORE_ISA == 4
static inline vec<float> gathered(const float* from, const int32_t* at) {
  const __m512i index = _mm512_loadu_si512(at);
  const __mmask16 there = _mm512_cmpge_epi32_mask(index, _mm512_setzero_si512());
  return (vec<float>)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, index, from, 4);
}
static inline vec<double> gathered(const double* from, const int32_t* at) {
  const __m256i index = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  const __mmask8 there = _mm256_cmpge_epi32_mask(index, _mm256_setzero_si256());
  return (vec<double>)_mm512_mask_i32gather_pd(_mm512_setzero_pd(), there, index, from, 8);
}
#elif DLCORE_ISA == 3
static inline vec<float> gathered(const float* from, const int32_t* at) {
  const __m256i index = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  const __m256 there = _mm256_castsi256_ps(_mm256_xor_si256(index, _mm256_set1_epi32(-1)));
  return (vec<float>)_mm256_mask_i32gather_ps(_mm256_setzero_ps(), from, index, there, 4);
}
static inline vec<double> gathered(const double* from, const int32_t* at) {
  const __m128i index = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  const __m256i there = _mm256_cvtepi32_epi64(_mm_xor_si128(index, _mm_set1_epi32(-1)));
  return (vec<double>)_mm256_mask_i32gather_pd(_mm256_setzero_pd(), from, index, _mm256_castsi256_pd(there), 8);
}
#endif

// Pairs (from[at], from[at + 1]), apart; 0 where at is negative. A gather costs by the lane, however wide that is.
#if DLCORE_ISA == 4
static inline void gathered_pairs(const float* from, const int32_t* at, vec<float>& first, vec<float>& second) {
  const auto eight = [&](const int32_t* places) {
    const __m256i index = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(places));
    const __mmask8 there = _mm256_cmpge_epi32_mask(index, _mm256_setzero_si256());
    return _mm512_castsi512_ps(_mm512_mask_i32gather_epi64(_mm512_setzero_si512(), there, index, from, 4));
  };
  const __m512 a = eight(at), b = eight(at + 8);
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  first = (vec<float>)_mm512_permutex2var_ps(a, even, b);
  second = (vec<float>)_mm512_permutex2var_ps(a, _mm512_or_si512(even, _mm512_set1_epi32(1)), b);
}
#elif DLCORE_ISA == 3
static inline void gathered_pairs(const float* from, const int32_t* at, vec<float>& first, vec<float>& second) {
  const auto four = [&](const int32_t* places) {
    const __m128i index = _mm_loadu_si128(reinterpret_cast<const __m128i*>(places));
    const __m256i there = _mm256_cvtepi32_epi64(_mm_xor_si128(index, _mm_set1_epi32(-1)));
    const auto base = reinterpret_cast<const long long*>(from);
    return _mm256_castsi256_ps(_mm256_mask_i32gather_epi64(_mm256_setzero_si256(), base, index, there, 4));
  };
  const __m256 a = four(at), b = four(at + 4);  // 0 0' 1 1' | 2 2' 3 3', and so on
  const __m256d low = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
  const __m256d high = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
  first = (vec<float>)_mm256_castpd_ps(_mm256_permute4x64_pd(low, 0xd8));
  second = (vec<float>)_mm256_castpd_ps(_mm256_permute4x64_pd(high, 0xd8));
}
#endif

// ---- taps ---------------------------------------------------------------------------------------------------------

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
template <class C> static inline vec<C> padded_place(vec<C> c, int64_t padding, bool align, C n) {
  if (padding == kReflection) {
    const C low = align ? C(0) : C(-0.5), span = align ? n - 1 : n;
    if (span > 0) {
      const vec<C> away = c - low, from = away < 0 ? -away : away;
      const vec<C> times = vfloor(from / span), extra = from - times * span;
      c = times - 2 * vfloor(times / 2) == 0 ? extra + low : span - extra + low;
    } else {
      c = c - c;
    }
  }
  const vec<C> least = vset(padding == kZeros ? C(-3) : C(0)), most = vset(padding == kZeros ? n + 2 : n - 1);
  c = c < least ? least : c;
  return c > most ? most : c;
}

// The slope of padded_place(): at the middle of the last pixel, where it turns, 0.
template <class C> static inline vec<C> padded_slope(vec<C> c, int64_t padding, bool align, C n) {
  const vec<C> one = vset(C(1)), none{};
  vec<C> slope = one;
  if (padding == kReflection) {
    const C low = align ? C(0) : C(-0.5), span = align ? n - 1 : n;
    if (!(span > 0)) return none;
    const vec<C> away = c - low, from = away < 0 ? -away : away;
    const vec<C> times = vfloor(from / span), extra = from - times * span, odd = times - 2 * vfloor(times / 2);
    slope = ((away < 0) ^ (odd != 0)) ? -one : one;
    c = odd == 0 ? extra + low : span - extra + low;
  }
  const vec<C> least = vset(padding == kZeros ? C(-3) : C(0)), most = vset(padding == kZeros ? n + 2 : n - 1);
  return (c <= least) | (c >= most) ? none : slope;
}

// How much the neighbour at distance x < 1 and the one at x in [1, 2] weigh: Keys 1981, a = -3/4.
template <class V> static inline V cubic_near(V x) { return (x * 1.25f - 2.25f) * x * x + 1; }
template <class V> static inline V cubic_far(V x) { return ((x * -0.75f + 3.75f) * x - 6) * x + 3; }
template <class V> static inline V cubic_near_slope(V x) { return (x * 3.75f - 4.5f) * x; }
template <class V> static inline V cubic_far_slope(V x) { return (x * -2.25f + 7.5f) * x - 6; }

// Where the taps of points lie along one axis (-1: outside), and their weights: [tap][point].
template <class C> struct AxisTaps {
  static constexpr int64_t L = kLanes<C>;
  int32_t at[4][kPoints];
  C weight[4][kPoints], slope[4][kPoints];  // slope: of the weight, along the grid's coordinate

  // Pixel c of n, if there is one, for the points from p on.
  void place(int t, int64_t p, vec<C> c, C n) {
    const vec<C> kept = (c >= 0) & (c < n) ? c : vset(C(-1));
    const places<C> found = __builtin_convertvector(kept, places<C>);
    __builtin_memcpy(at[t] + p, &found, sizeof found);
  }
  void weigh(int t, int64_t p, vec<C> w) { vstore(weight[t] + p, w); }

  void find(const C* coordinate, const Sampling& s, int64_t length) {
    const C n = static_cast<C>(length);
    for (int64_t p = 0; p < kPoints; p += L) {
      const vec<C> g = vload(coordinate + p);
      const vec<C> free = s.align ? (g + 1) / 2 * (n - 1) : ((g + 1) * n - 1) / 2;
      if (s.mode == kBicubic) {
        cubic(p, free, s, n);
        continue;
      }
      const vec<C> c = padded_place(free, s.padding, s.align, n);
      if (s.mode == kNearest) {
        place(0, p, veven(c), n);
        weigh(0, p, 1 + 0 * c);  // NaN of NaN
      } else {
        const vec<C> below = vfloor(c), part = c - below;
        place(0, p, below, n), place(1, p, below + 1, n);
        weigh(0, p, 1 - part), weigh(1, p, part);
      }
    }
  }
  void find_slopes(const C* coordinate, const Sampling& s, int64_t length) {
    const C n = static_cast<C>(length), scale = (s.align ? n - 1 : n) / 2;
    for (int64_t p = 0; p < kPoints; p += L) {
      const vec<C> g = vload(coordinate + p);
      const vec<C> free = s.align ? (g + 1) / 2 * (n - 1) : ((g + 1) * n - 1) / 2;
      if (s.mode == kNearest) {
        vstore(slope[0] + p, vec<C>{});
      } else if (s.mode == kBilinear) {
        const vec<C> along = scale * padded_slope(free, s.padding, s.align, n);
        vstore(slope[0] + p, -along), vstore(slope[1] + p, along);
      } else {
        const vec<C> part = free - vfloor(free);
        vstore(slope[0] + p, scale * cubic_far_slope(part + 1));
        vstore(slope[1] + p, scale * cubic_near_slope(part));
        vstore(slope[2] + p, -scale * cubic_near_slope(1 - part));
        vstore(slope[3] + p, -scale * cubic_far_slope(2 - part));
      }
    }
  }
  void cubic(int64_t p, vec<C> c, const Sampling& s, C n) {
    const vec<C> below = vfloor(c), part = c - below;
    weigh(0, p, cubic_far(part + 1)), weigh(1, p, cubic_near(part));
    weigh(2, p, cubic_near(1 - part)), weigh(3, p, cubic_far(2 - part));
    for (int t = 0; t < 4; ++t) {
      const vec<C> moved = padded_place(below + static_cast<C>(t - 1), s.padding, s.align, n);
      place(t, p, s.padding == kReflection ? vfloor(moved) : moved, n);  // it may be a rounding beside its pixel
    }
  }
};

// The taps of kPoints points in the image, one after the other: [tap][point].
template <class C> struct PointTaps {
  static constexpr int64_t L = kLanes<C>;
  int32_t at[kMostTaps][kPoints];
  C weight[kMostTaps][kPoints];
  AxisTaps<C> axis[3];

  // The coordinates of points by axes; those of points that are not there are 0.
  template <int kAxes, class T> static void apart(const T* grid, int64_t count, C (*coordinates)[kPoints]) {
    T room[kAxes * kPoints] = {};
    if (count < kPoints) {
      std::memcpy(room, grid, static_cast<size_t>(count * kAxes) * sizeof(T));
      grid = room;
    }
    for (int d = 0; d < kAxes; ++d)
#pragma omp simd
      for (int64_t p = 0; p < kPoints; ++p) coordinates[d][p] = load(grid + p * kAxes + d);
  }
  static void parts(int t, const Sampling& s, int* k) {  // tap t's number along each axis
    for (int64_t d = s.axes - 1; d >= 0; --d, t /= s.along()) k[d] = t % s.along();
  }
  template <class T> void find_axes(const T* grid, int64_t count, const Sampling& s, bool slopes = false) {
    C coordinates[3][kPoints];
    if (s.axes == 2) apart<2>(grid, count, coordinates);
    else apart<3>(grid, count, coordinates);
    for (int d = 0; d < s.axes; ++d) {
      axis[d].find(coordinates[s.axes - 1 - d], s, s.size[d]);
      if (slopes) axis[d].find_slopes(coordinates[s.axes - 1 - d], s, s.size[d]);
    }
  }
  template <class T> void find(const T* grid, int64_t count, const Sampling& s, bool slopes = false) {
    find_axes(grid, count, s, slopes);
    const int taps = s.taps();
    for (int t = 0; t < taps; ++t) {
      int k[3];
      parts(t, s, k);
      for (int64_t p = 0; p < kPoints; p += L) {
        places<C> index{}, outside{};
        vec<C> w = vset(C(1));
        for (int64_t d = 0; d < s.axes; ++d) {
          places<C> along;
          __builtin_memcpy(&along, axis[d].at[k[d]] + p, sizeof along);
          outside |= along;
          index += along * static_cast<int32_t>(s.stride[d]);
          w = d ? w * vload(axis[d].weight[k[d]] + p) : vload(axis[d].weight[k[d]] + p);
        }
        index = outside < 0 ? outside | -1 : index;
        __builtin_memcpy(at[t] + p, &index, sizeof index);
        vstore(weight[t] + p, w);
      }
    }
  }
};

template <class T, class C>
static void sample_planes(T* out, const T* x, int64_t count, int taps, const PointTaps<C>& points, const Sampling& s) {
  constexpr int64_t L = kLanes<C>;
  C sums[kPoints];
  for (int64_t c = 0; c < s.channels; ++c) {
    const T* plane = x + c * s.plane;
    for (int64_t p = 0; p < count; p += L) {
      vec<C> sum{};
      for (int t = 0; t < taps; ++t) sum = vfma(vload(points.weight[t] + p), gathered(plane, points.at[t] + p), sum);
      vstore(sums + p, sum);
    }
    store_block(out + c * s.points, sums, count);
  }
}

#if DLCORE_ISA >= 3
// The same of bilinear taps, two neighbours in a row at a time. Where only one of the two is in the image, the pair is
// moved by one, so that all that is read is in the image; what is not meant counts as 0.
struct PairTaps {
  static constexpr int64_t L = kLanes<float>;
  int32_t at[kMostTaps / 4][kPoints];
  float first[kMostTaps / 4][kPoints], second[kMostTaps / 4][kPoints];  // weights
  int32_t left[kPoints], right[kPoints];                                // whether they are meant: all bits, or none

  void find(const PointTaps<float>& points, const Sampling& s) {
    const int64_t row = s.axes - 1;
    const AxisTaps<float>& along = points.axis[row];
    for (int64_t p = 0; p < kPoints; p += L) {
      places<float> a, b;
      __builtin_memcpy(&a, along.at[0] + p, sizeof a);
      __builtin_memcpy(&b, along.at[1] + p, sizeof b);
      const vec<float> u = vload(along.weight[0] + p), v = vload(along.weight[1] + p);
      const vec<float> one = (a < 0) & (b >= 0) ? v : u, two = (a >= 0) & (b < 0) ? u : v;
      const places<float> base = a < 0 ? a - a : a + (b >> 31), is_left = b >= 0, is_right = a >= 0;
      __builtin_memcpy(left + p, &is_left, sizeof is_left);
      __builtin_memcpy(right + p, &is_right, sizeof is_right);
      for (int t = 0; t < 1 << row; ++t) {
        places<float> index = base, outside = base;
        vec<float> w = vset(1.0f);
        for (int64_t d = 0; d < row; ++d) {
          const int k = t >> (row - 1 - d) & 1;
          places<float> down;
          __builtin_memcpy(&down, points.axis[d].at[k] + p, sizeof down);
          outside |= down;
          index += down * static_cast<int32_t>(s.stride[d]);
          w *= vload(points.axis[d].weight[k] + p);
        }
        index = outside < 0 ? outside | -1 : index;
        __builtin_memcpy(at[t] + p, &index, sizeof index);
        vstore(first[t] + p, w * one), vstore(second[t] + p, w * two);
      }
    }
  }
};

static inline vec<float> meant(vec<float> v, const int32_t* mask) {
  places<float> bits;
  __builtin_memcpy(&bits, mask, sizeof bits);
  return (vec<float>)((places<float>)v & bits);
}
static void sample_pairs(float* out, const float* x, int64_t count, const PairTaps& pairs, const Sampling& s) {
  constexpr int64_t L = kLanes<float>;
  float sums[kPoints];
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t p = 0; p < count; p += L) {
      vec<float> sum{}, a, b;
      for (int t = 0; t < 1 << (s.axes - 1); ++t) {
        gathered_pairs(x + c * s.plane, pairs.at[t] + p, a, b);
        sum = vfma(vload(pairs.first[t] + p), meant(a, pairs.left + p), sum);
        sum = vfma(vload(pairs.second[t] + p), meant(b, pairs.right + p), sum);
      }
      vstore(sums + p, sum);
    }
    std::memcpy(out + c * s.points, sums, static_cast<size_t>(count) * sizeof(float));
  }
}
#endif

template <class T, class C>
static void sample_pixels(T* out, const T* x, int64_t count, int taps, const PointTaps<C>& points, const Sampling& s,
                          C* sums) {
  for (int64_t p = 0; p < count; ++p) {
    for (int64_t c = 0; c < s.channels; ++c) sums[c] = 0;
    for (int t = 0; t < taps; ++t) {
      const C weight = points.weight[t][p];
      if (points.at[t][p] < 0) {
        if (weight != weight)
          for (int64_t c = 0; c < s.channels; ++c) sums[c] = weight;
        continue;
      }
      const T* pixel = x + points.at[t][p];
#pragma omp simd
      for (int64_t c = 0; c < s.channels; ++c) sums[c] = fma_(weight, load(pixel + c), sums[c]);
    }
    store_block(out + p * s.channels, sums, s.channels);
  }
}

// ---- kernels ------------------------------------------------------------------------------------------------------

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
#if DLCORE_ISA >= 3
      const Scratch<PairTaps> pairs(1);
#endif
      for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, first = item % blocks * kPoints;
        const int64_t count = s.points - first < kPoints ? s.points - first : kPoints;
        const T* where = places + (n * s.points + first) * s.axes;
        const T* image = from + n * s.channels * s.plane;
        T* to = out.as<T>() + n * s.channels * s.points;
#if DLCORE_ISA >= 3
        if constexpr (std::is_same_v<T, float>) {
          if (!s.last && s.mode == kBilinear && s.size[s.axes - 1] > 1) {
            points[0].find_axes(where, count, s);
            pairs[0].find(points[0], s);
            sample_pairs(to + first, image, count, pairs[0], s);
            continue;
          }
        }
#endif
        points[0].find(where, count, s);
        if (s.last) sample_pixels(to + first * s.channels, image, count, taps, points[0], s, sums.get());
        else sample_planes(to + first, image, count, taps, points[0], s);
      }
    });
  });
}

// ---- gradients ----------------------------------------------------------------------------------------------------

constexpr int64_t kSampleChannels = 16;  // whose gradients a thread adds up at once

// In how many places a pixel's gradient is added up: neighbours among the points share pixels, and an addition would
// wait for the one before. Each tap has its own sums where these are few.
static inline int64_t spread_sums(const Sampling& s) { return s.taps() <= 4 ? s.taps() : 1; }

// The gradient of channels [first, last) of one image: planes of sums, whose element -1 takes what lies outside.
template <class T, class C>
static void spread_planes(T* dx, const T* dout, const T* grid, int64_t first, int64_t last, const Sampling& s,
                          PointTaps<C>& points, C* sums) {
  const int taps = s.taps();
  const int64_t room = s.plane + 1, own = spread_sums(s), step = own > 1 ? room : 0;
  std::memset(sums, 0, static_cast<size_t>((last - first) * own * room) * sizeof(C));
  for (int64_t begin = 0; begin < s.points; begin += kPoints) {
    const int64_t count = s.points - begin < kPoints ? s.points - begin : kPoints;
    points.find(grid + begin * s.axes, count, s);
    for (int64_t c = first; c < last; ++c) {
      C* plane = sums + (c - first) * own * room + 1;
      const T* from = dout + c * s.points + begin;
      for (int64_t p = 0; p < count; ++p) {
        const C value = load(from + p);
        for (int t = 0; t < taps; ++t) plane[t * step + points.at[t][p]] += points.weight[t][p] * value;
      }
    }
  }
  for (int64_t c = first; c < last; ++c) {
    C* plane = sums + (c - first) * own * room + 1;
    for (int64_t t = 1; t < own; ++t)
#pragma omp simd
      for (int64_t i = 0; i < s.plane; ++i) plane[i] += plane[t * room + i];
    store_block(dx + c * s.plane, plane, s.plane);
  }
}
template <class T, class C>
static void spread_pixels(T* dx, const T* dout, const T* grid, const Sampling& s, PointTaps<C>& points, C* sums) {
  std::memset(sums, 0, static_cast<size_t>(s.plane * s.channels) * sizeof(C));
  for (int64_t begin = 0; begin < s.points; begin += kPoints) {
    const int64_t count = s.points - begin < kPoints ? s.points - begin : kPoints;
    points.find(grid + begin * s.axes, count, s);
    for (int64_t p = 0; p < count; ++p)
      for (int t = 0; t < s.taps(); ++t) {
        if (points.at[t][p] < 0) continue;
        C* pixel = sums + points.at[t][p];
        const T* from = dout + (begin + p) * s.channels;
        const C weight = points.weight[t][p];
#pragma omp simd
        for (int64_t c = 0; c < s.channels; ++c) pixel[c] += weight * load(from + c);
      }
  }
  store_block(dx, sums, s.plane * s.channels);
}

// The gradient of the grid at `count` points: of each tap the sum over channels of dout times the pixel, then slopes.
template <class T, class C>
static void grid_slopes(T* dgrid, const T* dout, const T* x, int64_t count, const Sampling& s,
                        const PointTaps<C>& points) {
  constexpr int64_t L = kLanes<C>;
  C sums[3][kPoints] = {}, dots[kPoints];
  for (int t = 0; t < s.taps(); ++t) {
    int k[3];
    PointTaps<C>::parts(t, s, k);
    for (int64_t p = 0; p < kPoints; p += L) {
      vec<C> dot{};
      if (!s.last) {
        for (int64_t c = 0; c < s.channels; ++c) {
          C from[L] = {};
          for (int64_t i = 0; i < L && p + i < count; ++i) from[i] = load(dout + c * s.points + p + i);
          dot = vfma(vload(from), gathered(x + c * s.plane, points.at[t] + p), dot);
        }
      } else {
        for (int64_t i = 0; i < L && p + i < count; ++i) {
          const int32_t at = points.at[t][p + i];
          C sum = 0;
          for (int64_t c = 0; at >= 0 && c < s.channels; ++c)
            sum += load(dout + (p + i) * s.channels + c) * load(x + at + c);
          dot[i] = sum;
        }
      }
      vstore(dots + p, dot);
    }
    for (int d = 0; d < s.axes; ++d)
      for (int64_t p = 0; p < kPoints; p += L) {
        vec<C> w = vload(points.axis[d].slope[k[d]] + p);
        for (int e = 0; e < s.axes; ++e)
          if (e != d) w *= vload(points.axis[e].weight[k[e]] + p);
        vstore(sums[d] + p, vfma(w, vload(dots + p), vload(sums[d] + p)));
      }
  }
  for (int64_t p = 0; p < count; ++p)
    for (int d = 0; d < s.axes; ++d) store(dgrid + p * s.axes + (s.axes - 1 - d), sums[d][p]);
}

// Operands: x, grid, dout; outputs: dx, dgrid, each where it is wanted.
static void grid_sample_backward(const Args& a) {
  const Array &x = a.in(0), &grid = a.in(1), &dout = a.in(2), &dx = a.out(0), &dgrid = a.out(1);
  const Sampling s(a);
  const int64_t blocks = (s.points + kPoints - 1) / kPoints, work = s.taps() * (s.channels + 4);
  with_float(x.dtype, [&]<class T>() {
    using C = compute_t<T>;
    const T *image = x.as<const T>(), *places_ = grid.as<const T>(), *from = dout.as<const T>();
    const int64_t each = s.last ? s.channels : kSampleChannels, parts = (s.channels + each - 1) / (each + !each);
    if (dx && dx.size()) {
      parallel_ranges(s.images * parts, s.points * work < kSampleGrain ? kSampleGrain / (s.points * work + 1) + 1 : 1,
                      [&](int64_t begin, int64_t end) {
        const Scratch<PointTaps<C>> points(1);
        const Scratch<C> sums((s.plane + 1) * each * (s.last ? 1 : spread_sums(s)));
        for (int64_t item = begin; item < end; ++item) {
          const int64_t n = item / parts, first = item % parts * each;
          const int64_t last = first + each < s.channels ? first + each : s.channels;
          T* to = dx.as<T>() + n * s.channels * s.plane;
          const T *own = from + n * s.channels * s.points, *where = places_ + n * s.points * s.axes;
          if (s.last) spread_pixels(to, own, where, s, points[0], sums.get());
          else spread_planes(to, own, where, first, last, s, points[0], sums.get());
        }
      });
    }
    if (!dgrid || dgrid.size() == 0) return;
    parallel_ranges(s.images * blocks, kPoints * work < kSampleGrain ? kSampleGrain / (kPoints * work) : 1,
                    [&](int64_t begin, int64_t end) {
      const Scratch<PointTaps<C>> points(1);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, first = item % blocks * kPoints;
        const int64_t count = s.points - first < kPoints ? s.points - first : kPoints;
        points[0].find(places_ + (n * s.points + first) * s.axes, count, s, true);
        grid_slopes(dgrid.as<T>() + (n * s.points + first) * s.axes,
                    from + n * s.channels * s.points + first * s.pixel, image + n * s.channels * s.plane, count, s,
                    points[0]);
      }
    });
  });
}

// ---- affine_grid ----------------------------------------------------------------------------------------------------

// -1 to 1: the middles of n pixels, or of their corners.
static inline double coordinate(int64_t i, int64_t n, bool align) {
  const double along = n == 1 ? 0 : 2 * static_cast<double>(i) / static_cast<double>(n - 1) - 1;
  return align ? along : along * static_cast<double>(n - 1) / static_cast<double>(n);
}

// theta (N, axes, axes + 1) -> (N, lengths..., axes): one line along the last length at a time. Bound by memory: each
// result is written once. Parameter: whether corners are aligned.
template <class T> static void affine_lines(const Args& a) {
  using C = compute_t<T>;
  const Array &theta = a.in(0), &out = a.out();
  const int axes = static_cast<int>(theta.shape[1]);
  const bool align = a.integer(0);
  const int64_t width = out.shape[axes], lines = width ? out.size() / (width * axes) : 0;
  Scratch<C> along(width);
  for (int64_t i = 0; i < width; ++i) along[i] = static_cast<C>(coordinate(i, width, align));
  parallel_ranges(lines, std::max<int64_t>(1, kSampleGrain / width), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      C base[3], slope[3];
      int64_t rest = line, at[3] = {};
      for (int d = axes - 1; d >= 1; --d) at[d - 1] = rest % out.shape[d], rest /= out.shape[d];
      for (int row = 0; row < axes; ++row) {
        const T* t = theta.as<T>() + (rest * axes + row) * (axes + 1);
        base[row] = load(t + axes), slope[row] = load(t);
        for (int d = 0; d < axes - 1; ++d)
          base[row] += static_cast<C>(coordinate(at[d], out.shape[d + 1], align)) * load(t + axes - 1 - d);
      }
      T* to = out.as<T>() + line * width * axes;
      for (int row = 0; row < axes; ++row)
        for (int64_t i = 0; i < width; ++i) store(to + i * axes + row, base[row] + along[i] * slope[row]);
    }
  });
}
static void affine_grid(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { affine_lines<T>(a); });
}

static const Kernel kernels[] = {
    {"resize:affine_grid", affine_grid, kAllContiguous},
    {"resize:grid_sample", grid_sample, kAllContiguous},
    {"resize:grid_sample_backward", grid_sample_backward, kAllContiguous},
};
