// What normalisations of arrays with channels share: the array seen as (n, c, s) or, channels last, as (n, s, c); sums
// over planes and over columns (sums.inl); and affine maps of planes and of rows. How the work is cut follows from
// shapes alone, so that the number of threads changes no bit.
#ifndef DLCORE_NORM_CHANNELS
#define DLCORE_NORM_CHANNELS
#include "common/activations.inl"
#include "common/dtypes.inl"
#include "common/moments.inl"

constexpr int64_t kNormBlock = 4096;   // elements of a block at most
constexpr int64_t kNormTask = 16384;   // elements of a task at least: some microseconds
constexpr int64_t kNormRows = 16;      // rows that pass through a buffer at once
constexpr int64_t kNormSum = 128;      // rows whose sums stay in the compute type
constexpr int64_t kNormColumns = 128;  // columns of a tile
constexpr int64_t kNormChunks = 32;    // parts of the rows at most, each with sums of its own

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

struct Channels {
  int64_t n = 1, c = 1, s = 1;
  bool last = false;  // rows of channels
  int64_t rows() const { return n * s; }
};
static inline Channels channels_of(const Array& x, bool last) {
  Channels k;
  k.n = x.shape[0], k.c = x.shape[last ? x.ndim - 1 : 1];
  for (int d = 1; d < x.ndim; ++d) k.s *= x.shape[d];
  k.s = k.c ? k.s / k.c : 0;
  k.last = last || k.s == 1;  // (N, C)
  return k;
}

// One number a channel in the compute type: of an operand, or the same for all where it is absent.
template <class C> class Values {
 public:
  Values(const Array& x, int64_t n, C otherwise) : room_(n) {
    for (int64_t i = 0; !x && i < n; ++i) room_[i] = otherwise;
    if (x)
      with_float(x.dtype, [&]<class T>() {
        for (int64_t i = 0; i < n; ++i) room_[i] = static_cast<C>(load(x.as<T>() + i));
      });
  }
  C operator[](int64_t i) const { return room_[i]; }
  const C* get() const { return room_.get(); }

 private:
  Scratch<C> room_;
};
// Stores value(i) in element i of an output of any floating dtype.
template <class F> static void set_values(const Array& x, int64_t n, F value) {
  if (!x) return;
  with_float(x.dtype, [&]<class T>() {
    for (int64_t i = 0; i < n; ++i) store(x.as<T>() + i, static_cast<compute_t<T>>(value(i)));
  });
}

// A vector of elements from i on, all of it or (n lanes) what is left of them: at(p) loads it of the array p.
template <class C> struct WholeVector {
  int64_t i;
  vec<C> operator()(const C* p) const { return vload(p + i); }
  void store(C* p, vec<C> v) const { vstore(p + i, v); }
  WholeVector operator+(int64_t more) const { return {i + more}; }
};
template <class C> struct PartVector {
  int64_t i;
  int n;
  vec<C> operator()(const C* p) const { return vload_first(p + i, n); }
  void store(C* p, vec<C> v) const { vstore_first(p + i, v, n); }
  PartVector operator+(int64_t more) const { return {i + more, n}; }
};
// relu::value and relu::gradient of vectors
template <class V> static inline V rectified(V x) { return x <= V{} ? V{} : x; }
template <class V> static inline V rectified(V dy, V out) { return out <= V{} ? V{} : dy; }
// The same, with a bit for each lane that is not 0 by it, for another time.
template <class C> constexpr bool kKeepsLanes = DLCORE_ISA == 4 && std::is_same_v<C, float>;
#if DLCORE_ISA == 4
static inline vec<float> rectified(vec<float> dy, vec<float> out, uint16_t* kept) {
  const __mmask16 lanes = _mm512_cmp_ps_mask((__m512)out, _mm512_setzero_ps(), _CMP_NLE_UQ);
  *kept = lanes;
  return (vec<float>)_mm512_maskz_mov_ps(lanes, (__m512)dy);
}
static inline vec<float> rectified(vec<float> dy, uint16_t kept) {
  return (vec<float>)_mm512_maskz_mov_ps(kept, (__m512)dy);
}
#endif

#include "norm/sums.inl"

// ---- maps -----------------------------------------------------------------------------------------------------------
// out[i] = map(i, x[i]), in blocks.
template <class T, class Map> static inline void map_one(const T* x, T* out, int64_t n, Map map) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = map(i, x[i]);
  } else {
    C from[kNormBlock / 4], to[kNormBlock / 4];
    for (int64_t b = 0; b < n; b += kNormBlock / 4) {
      const int64_t m = least(n - b, kNormBlock / 4);
      load_block(from, x + b, m);
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) to[i] = map(b + i, from[i]);
      store_block(out + b, to, m);
    }
  }
}
// out[i] = map(i, x[i], y[i])
template <class T, class Map> static inline void map_two(const T* x, const T* y, T* out, int64_t n, Map map) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = map(i, x[i], y[i]);
  } else {
    C first[kNormBlock / 4], second[kNormBlock / 4], to[kNormBlock / 4];
    for (int64_t b = 0; b < n; b += kNormBlock / 4) {
      const int64_t m = least(n - b, kNormBlock / 4);
      load_block(first, x + b, m), load_block(second, y + b, m);
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) to[i] = map(b + i, first[i], second[i]);
      store_block(out + b, to, m);
    }
  }
}

// Calls f(at) for the vectors of n elements.
template <class C, class F> static inline void each_vector(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes<C> <= n; i += kLanes<C>) f(WholeVector<C>{i});
  if (i < n) f(PartVector<C>{i, static_cast<int>(n - i)});
}
// Where the results of a map of x go: out = map(x), + residual where there is one, behind a ReLU if asked for. The bits
// are those of separate operations: what a map gives is rounded to T before the residual is added.
template <class T> struct Result {
  using C = compute_t<T>;
  const T* x;
  T* out;
  const T* residual = nullptr;
  bool relu = false;
  // n elements from `first` on: map(at, vector of x), where at(p) is the vector of an array p of n elements
  template <class Map> void operator()(int64_t first, int64_t n, Map map) const {
    const T *from = x + first, *more = residual + (residual ? first : 0);
    T* to = out + first;
    if constexpr (std::is_same_v<T, C>) {
      if (more && relu)
        each_vector<C>(n, [=](auto at) DLCORE_MAP { at.store(to, rectified(map(at, at(from)) + at(more))); });
      else if (more) each_vector<C>(n, [=](auto at) DLCORE_MAP { at.store(to, map(at, at(from)) + at(more)); });
      else if (relu) each_vector<C>(n, [=](auto at) DLCORE_MAP { at.store(to, rectified(map(at, at(from)))); });
      else each_vector<C>(n, [=](auto at) DLCORE_MAP { at.store(to, map(at, at(from))); });
    } else {
      C y[kNormBlock / 4], other[kNormBlock / 4];
      for (int64_t b = 0; b < n; b += kNormBlock / 4) {
        const int64_t m = least(n - b, kNormBlock / 4);
        load_block(y, from + b, m);
        each_vector<C>(m, [&](auto at) DLCORE_MAP { at.store(y, map(at + b, at(y))); });
        if (more) {
          store_block(to + b, y, m), load_block(y, to + b, m), load_block(other, more + b, m);
          each_vector<C>(m, [&](auto at) DLCORE_MAP { at.store(y, at(y) + at(other)); });
        }
        if (relu) each_vector<C>(m, [&](auto at) DLCORE_MAP { at.store(y, rectified(at(y))); });
        store_block(to + b, y, m);
      }
    }
  }
};

// dx = map(at, vector of dy, vector of x), n elements from `first` on
template <class T, class Map>
static inline void map_gradient(const Gradient<T>& dy, const T* x, T* dx, int64_t first, int64_t n, Map map) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
    const C *d = dy.dy + first, *from = x + first, *out = dy.out + (dy.out ? first : 0);
    C* to = dx + first;
    if constexpr (kKeepsLanes<C>) {
      if (const uint16_t* kept = dy.lanes(first))
        return each_vector<C>(n, [=](auto at) DLCORE_MAP {
          at.store(to, map(at, rectified(at(d), kept[at.i / kLanes<C>]), at(from)));
        });
    }
    if (out)
      each_vector<C>(n, [=](auto at) DLCORE_MAP { at.store(to, map(at, rectified(at(d), at(out)), at(from))); });
    else each_vector<C>(n, [=](auto at) DLCORE_MAP { at.store(to, map(at, at(d), at(from))); });
  } else {
    C d[kNormBlock / 4], y[kNormBlock / 4];
    for (int64_t b = 0; b < n; b += kNormBlock / 4) {
      const int64_t m = least(n - b, kNormBlock / 4);
      dy.block(first + b, m, d), load_block(y, x + first + b, m);
      each_vector<C>(m, [&](auto at) DLCORE_MAP { at.store(y, map(at + b, at(d), at(y))); });
      store_block(dx + first + b, y, m);
    }
  }
}

// Chunks of `grain` of what was gone through before, the last first: that is in cache still.
template <class F> static void parallel_backwards(int64_t total, int64_t grain, F f) {
  if (total <= 0) return;
  const int64_t chunks = parts(total, grain);
  parallel_for(chunks, [&](int64_t chunk) {
    const int64_t begin = (chunks - 1 - chunk) * grain;
    f(begin, least(total, begin + grain));
  });
}

// ---- affine maps ----------------------------------------------------------------------------------------------------
// out = (x - center) * scale + shift, a number each for every channel. The difference comes first: where the mean,
// middle + offset, is far from 0 it is exact, and shift takes up the offset.
template <class C> struct Affine {
  Scratch<C> center, scale, shift;
  explicit Affine(int64_t c) : center(c), scale(c), shift(c) {}
  void set(int64_t ch, double middle, double offset, double factor, double bias) const {
    center[ch] = static_cast<C>(middle), scale[ch] = static_cast<C>(factor);
    shift[ch] = static_cast<C>(bias - (middle - static_cast<double>(center[ch]) + offset) * factor);
  }
  template <class T> void plane(int64_t ch, const Result<T>& result, int64_t at, int64_t n) const {
    const C middle = center[ch], factor = scale[ch], bias = shift[ch];
    result(at, n, [=](auto, vec<C> v) DLCORE_MAP { return vfma(v - vset(middle), vset(factor), vset(bias)); });
  }
};

// Vectors of one number a channel, repeated until loops over them are long enough.
template <class C, int count> struct Repeated {
  int64_t c, period;
  Scratch<C> room;
  explicit Repeated(int64_t channels)
      : c(channels), period(channels < 256 ? channels * parts(256, channels < 1 ? 1 : channels) : channels),
        room(period * count) {}
  C* operator[](int k) const { return room.get() + k * period; }
  void fill() const {  // from the first c of each
    for (int k = 0; k < count; ++k)
      for (int64_t i = c; i < period; ++i) room[k * period + i] = room[k * period + i - c];
  }
  // Calls span(first, n) for the elements of `rows` rows, in spans that begin with channel 0 and are no longer than the
  // period.
  template <class Span> void each(int64_t rows, Span span) const {
    const int64_t total = rows * c, grain = parts(kNormTask, period) * period;
    if (c == 0) return;
    parallel_backwards(total, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += period) span(i, least(end - i, period));
    });
  }
};
template <class T>
static void affine_rows(const Affine<compute_t<T>>& map, const Result<T>& result, int64_t rows, int64_t c) {
  using C = compute_t<T>;
  const Repeated<C, 3> v(c);
  for (int64_t i = 0; i < c; ++i) v[0][i] = map.center[i], v[1][i] = map.scale[i], v[2][i] = map.shift[i];
  v.fill();
  const C *center = v[0], *scale = v[1], *shift = v[2];
  v.each(rows, [=](int64_t at, int64_t n) {
    result(at, n, [=](auto i, vec<C> y) DLCORE_MAP { return vfma(y - i(center), i(scale), i(shift)); });
  });
}

// dx = (dy * weight - ((x - center) * slope + shift)) * scale, where slope is a gradient's size by scale. Had it what
// dx has, that times scale^2, it would overflow for the variances that a small eps leaves: of x = 1e-20 with gradients
// of 1 it is 1e40, times differences of 1e-20.
template <class C> struct AffinePair {
  static constexpr int kNumbers = 5;  // of each channel
  Scratch<C> center, weight, slope, shift, scale;
  explicit AffinePair(int64_t c) : center(c), weight(c), slope(c), shift(c), scale(c) {}
  template <class T> void plane(int64_t ch, const Gradient<T>& dy, const T* x, T* dx, int64_t at, int64_t n) const {
    const C middle = center[ch], w = weight[ch], by = slope[ch], offset = shift[ch], factor = scale[ch];
    map_gradient(dy, x, dx, at, n, [=](auto, vec<C> d, vec<C> v) DLCORE_MAP {
      return (d * vset(w) - vfma(v - vset(middle), vset(by), vset(offset))) * vset(factor);
    });
  }
};
template <class T>
static void affine_pair_rows(const AffinePair<compute_t<T>>& map, const Gradient<T>& dy, const T* x, T* dx,
                             int64_t rows, int64_t c) {
  using C = compute_t<T>;
  const Repeated<C, AffinePair<C>::kNumbers> v(c);
  for (int64_t i = 0; i < c; ++i) {
    v[0][i] = map.center[i], v[1][i] = map.weight[i], v[2][i] = map.slope[i], v[3][i] = map.shift[i];
    v[4][i] = map.scale[i];
  }
  v.fill();
  const C *center = v[0], *weight = v[1], *slope = v[2], *shift = v[3], *scale = v[4];
  v.each(rows, [=](int64_t at, int64_t n) {
    map_gradient(dy, x, dx, at, n, [=](auto i, vec<C> d, vec<C> y) DLCORE_MAP {
      return (d * i(weight) - vfma(y - i(center), i(slope), i(shift))) * i(scale);
    });
  });
}

#endif  // DLCORE_NORM_CHANNELS
