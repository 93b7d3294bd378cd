// Resampling along an axis by a table of spans and weights, and windows of images as columns (im2col) and back.
//
// Memory bounds all of it. Across memory (inner > 1) a row of the output is a sum of rows of the input, a vector at a
// time. Along memory the spans differ from lane to lane, so that kLanes lines are transposed into a buffer first, where
// they lie side by side. Columns are added back by planes, each by one thread and in a fixed order.
#include "common/dtypes.inl"
#include "common/lines.inl"
#include "common/simd.inl"

constexpr int64_t kResizeGrain = 16384;  // multiplications a thread takes at once
constexpr int64_t kResizeBlock = 256;    // results of 16-bit floats that wait to be rounded

static inline int64_t resize_grain(int64_t work) { return work < kResizeGrain ? kResizeGrain / (work + 1) + 1 : 1; }

// ---- resample -----------------------------------------------------------------------------------------------------

template <class C> struct Spans {
  const int32_t* spans;  // (first, count) of each output
  const C* weights;      // null: all are 1
  int64_t most;          // weights of an output
  int64_t first(int64_t k) const { return spans[2 * k]; }
  int64_t count(int64_t k) const { return spans[2 * k + 1]; }
};

static void check_spans(const Array& spans, int64_t n, const Array& weights) {
  const int32_t* p = spans.as<const int32_t>();
  for (int64_t k = 0; k < spans.shape[0]; ++k) {
    const int64_t first = p[2 * k], count = p[2 * k + 1];
    if (count < 0 || first < 0 || first + count > n)
      throw IndexFault("resample: span " + std::to_string(k) + " of " + std::to_string(count) + " elements from " +
                       std::to_string(first) + " leaves the axis of length " + std::to_string(n));
    if (weights && count > weights.shape[1])
      throw IndexFault("resample: span " + std::to_string(k) + " of " + std::to_string(count) + " elements has " +
                       std::to_string(weights.shape[1]) + " weights");
  }
}

// out[j] = sum over t of w[t] x[t * stride + j], for j < n; w may be null.
template <bool kWeighted, class T>
static inline void mix_rows(T* out, const T* x, int64_t stride, int64_t n, const compute_t<T>* w, int64_t count) {
  using C = compute_t<T>;
  constexpr int64_t L = kLanes<C>;
  if (count == 0 || (count == 1 && !kWeighted)) {
    if (count) std::memcpy(out, x, static_cast<size_t>(n) * sizeof(T));
    else std::memset(out, 0, static_cast<size_t>(n) * sizeof(T));
    return;
  }
  C room[kResizeBlock];
  for (int64_t begin = 0; begin < n; begin += kResizeBlock) {
    const int64_t m = n - begin < kResizeBlock ? n - begin : kResizeBlock;
    const T* from = x + begin;
    C* to = room;
    if constexpr (std::is_same_v<T, C>) to = out + begin;
    int64_t j = 0;
    for (; j + 2 * L <= m; j += 2 * L) {
      vec<C> a = widen(from + j), b = widen(from + j + L);
      if constexpr (kWeighted) a *= w[0], b *= w[0];
      for (int64_t t = 1; t < count; ++t) {
        const T* row = from + t * stride + j;
        if constexpr (kWeighted) {
          const vec<C> factor = vset(w[t]);
          a = vfma(factor, widen(row), a), b = vfma(factor, widen(row + L), b);
        } else {
          a += widen(row), b += widen(row + L);
        }
      }
      vstore(to + j, a), vstore(to + j + L, b);
    }
    for (; j + L <= m; j += L) {
      vec<C> a = widen(from + j);
      if constexpr (kWeighted) a *= w[0];
      for (int64_t t = 1; t < count; ++t) {
        if constexpr (kWeighted) a = vfma(vset(w[t]), widen(from + t * stride + j), a);
        else a += widen(from + t * stride + j);
      }
      vstore(to + j, a);
    }
    for (; j < m; ++j) {
      C a = load(from + j);
      if constexpr (kWeighted) a *= w[0];
      for (int64_t t = 1; t < count; ++t) {
        const C v = load(from + t * stride + j);
        if constexpr (kWeighted) a = fma_(w[t], v, a);
        else a += v;
      }
      to[j] = a;
    }
    if constexpr (!std::is_same_v<T, C>) store_block(out + begin, room, m);
  }
}

// One line along memory, element by element.
template <bool kWeighted, class T>
static inline void mix_line(T* out, const T* x, int64_t m, const Spans<compute_t<T>>& s) {
  using C = compute_t<T>;
  for (int64_t k = 0; k < m; ++k) {
    const T* from = x + s.first(k);
    const int64_t count = s.count(k);
    const C* w = kWeighted ? s.weights + k * s.most : nullptr;
    C a = 0;
    if (count) a = load(from);
    if constexpr (kWeighted)
      if (count) a *= w[0];
    for (int64_t t = 1; t < count; ++t) {
      if constexpr (kWeighted) a = fma_(w[t], load(from + t), a);
      else a += load(from + t);
    }
    store(out + k, a);
  }
}

// Up to kLanes lines along memory at once, of elements of `inner` numbers: through buffers [number][line].
template <bool kWeighted, class T>
static inline void mix_lines(T* out, const T* x, int64_t lines, int64_t n, int64_t m, int64_t inner,
                             const Spans<compute_t<T>>& s, compute_t<T>* in, compute_t<T>* results) {
  using C = compute_t<T>;
  constexpr int64_t L = kLanes<C>;
  if (lines == L) {  // a constant number of them: vector code
    for (int64_t j = 0; j < n * inner; ++j)
      for (int64_t c = 0; c < L; ++c) in[j * L + c] = load(x + c * n * inner + j);
  } else {
    std::memset(in, 0, static_cast<size_t>(n * inner * L) * sizeof(C));
    for (int64_t c = 0; c < lines; ++c)
      for (int64_t j = 0; j < n * inner; ++j) in[j * L + c] = load(x + c * n * inner + j);
  }
  for (int64_t k = 0; k < m; ++k) {
    const int64_t count = s.count(k), step = inner * L;
    const C* w = kWeighted ? s.weights + k * s.most : nullptr;
    for (int64_t j = 0; j < inner; ++j) {
      const C* from = in + s.first(k) * step + j * L;
      vec<C> a{};
      if (count) a = vload(from);
      if constexpr (kWeighted)
        if (count) a *= w[0];
      for (int64_t t = 1; t < count; ++t) {
        if constexpr (kWeighted) a = vfma(vset(w[t]), vload(from + t * step), a);
        else a += vload(from + t * step);
      }
      vstore(results + k * step + j * L, a);
    }
  }
  for (int64_t c = 0; c < lines; ++c)
    for (int64_t k = 0; k < m * inner; ++k) store(out + c * m * inner + k, results[k * L + c]);
}

// Lines of which each output is one element: vectors of outputs whose elements lie within a vector are one permutation.
template <class T> struct Choices {
  static constexpr int64_t L = kLanes<T>;
  typedef std::conditional_t<sizeof(T) == 8, int64_t, int32_t> Place;
  typedef Place Places __attribute__((vector_size(kVectorBytes)));
  const int64_t n, m, blocks;
  const Spans<T>& s;
  Scratch<Place> within;   // of each output of a block: its place behind the block's first element
  Scratch<int64_t> begin;  // where that is; -1: they lie farther apart

  Choices(int64_t n, int64_t m, const Spans<T>& s) : n(n), m(m), blocks(m / L), s(s), within(m + L), begin(blocks + 1) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t first = s.first(b * L), from = first + L <= n ? first : n - L;
      bool fits = from >= 0;
      for (int64_t i = 0; i < L; ++i) {
        const int64_t place = s.first(b * L + i) - from;
        fits = fits && place >= 0 && place < L && s.count(b * L + i) == 1;
        within[b * L + i] = static_cast<Place>(place);
      }
      begin[b] = fits ? from : -1;
    }
  }
  void line(T* out, const T* x) const {
    for (int64_t b = 0; b < blocks; ++b) {
      if (begin[b] >= 0) {
        Places places;
        __builtin_memcpy(&places, within.get() + b * L, sizeof places);
        vstore(out + b * L, __builtin_shuffle(vload(x + begin[b]), places));
      } else {
        some(out, x, b * L, b * L + L);
      }
    }
    some(out, x, blocks * L, m);
  }
  void some(T* out, const T* x, int64_t k, int64_t end) const {
    for (; k < end; ++k) out[k] = s.count(k) ? x[s.first(k)] : T(0);
  }
};

template <bool kWeighted, class T>
static void resample_axis(const Lines& l, int64_t m, const T* x, T* out, const Spans<compute_t<T>>& s) {
  using C = compute_t<T>;
  constexpr int64_t L = kLanes<C>;
  int64_t terms = 0, widest = 0;
  for (int64_t k = 0; k < m; ++k) {
    terms += s.count(k);
    widest = widest < s.count(k) ? s.count(k) : widest;
  }
  const bool narrow = l.inner < L && l.outer >= L && 2 * terms >= l.n && (kWeighted || widest > 1);
  if (l.inner > 1 && !narrow) {
    parallel_ranges(l.outer * m, resize_grain(l.inner * (terms / m + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t o = item / m, k = item - o * m;
        mix_rows<kWeighted>(out + item * l.inner, x + (o * l.n + s.first(k)) * l.inner, l.inner, l.inner,
                            kWeighted ? s.weights + k * s.most : nullptr, s.count(k));
      }
    });
    return;
  }
#if DLCORE_ISA >= 3
  if constexpr (!kWeighted && std::is_same_v<T, C>) {
    if (l.inner == 1 && widest <= 1 && l.outer >= 4) {
      const Choices<T> choices(l.n, m, s);
      return parallel_ranges(l.outer, resize_grain(m / 4), [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) choices.line(out + o * m, x + o * l.n);
      });
    }
  }
#endif
  if (!narrow) {
    parallel_ranges(l.outer, resize_grain(terms), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) mix_line<kWeighted>(out + o * m, x + o * l.n, m, s);
    });
    return;
  }
  const int64_t groups = (l.outer + L - 1) / L, step = l.inner * L;
  parallel_ranges(groups, resize_grain(step * (terms + l.n)), [&](int64_t begin, int64_t end) {
    const Scratch<C> room((l.n + m) * step);
    for (int64_t g = begin; g < end; ++g) {
      const int64_t o = g * L, lines = l.outer - o < L ? l.outer - o : L;
      mix_lines<kWeighted>(out + o * m * l.inner, x + o * l.n * l.inner, lines, l.n, m, l.inner, s, room.get(),
                           room.get() + l.n * step);
    }
  });
}

// Parameter: the axis. Operands: x, spans, back, weights, back's weights.
static void resample(const Args& a) {
  const Array &x = a.in(0), &spans = a.in(1), &weights = a.in(3), &out = a.out();
  const Lines l = lines_of(x, a.integer(0));
  const int64_t m = spans.shape[0];
  check_spans(spans, l.n, weights);
  if (out.size() == 0) return;
  with_float(x.dtype, [&]<class T>() {
    using C = compute_t<T>;
    const int32_t* table = spans.as<const int32_t>();
    const T* from = x.as<const T>();
    if (!weights) return resample_axis<false>(l, m, from, out.as<T>(), Spans<C>{table, nullptr, 0});
    const int64_t most = weights.shape[1];
    const Scratch<C> factors(m * most + 1);
    with_float(weights.dtype, [&]<class W>() {
      const W* w = weights.as<const W>();
      for (int64_t k = 0; k < m * most; ++k) factors[k] = static_cast<C>(load(w + k));
    });
    resample_axis<true>(l, m, from, out.as<T>(), Spans<C>{table, factors.get(), most});
  });
}

// ---- columns ------------------------------------------------------------------------------------------------------

// Windows of planes, described by params: kernel, dilation, padding, stride of both axes; then height and width.
struct Windows {
  int64_t kernel[2], dilation[2], padding[2], stride[2], size[2], count[2];  // count: of windows along each axis

  explicit Windows(const Args& a) {
    for (int d = 0; d < 2; ++d) {
      kernel[d] = a.integer(d), dilation[d] = a.integer(2 + d), padding[d] = a.integer(4 + d);
      stride[d] = a.integer(6 + d), size[d] = a.integer(8 + d);
      count[d] = (size[d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1) / stride[d] + 1;
    }
  }
  int64_t offset(int d, int64_t k) const { return k * dilation[d] - padding[d]; }
  // The windows along axis d, from begin to end, of which element k lies in the plane.
  void inside(int d, int64_t k, int64_t& begin, int64_t& end) const {
    const int64_t at = offset(d, k), s = stride[d];
    begin = at >= 0 ? 0 : (-at + s - 1) / s;
    end = size[d] - at <= 0 ? 0 : (size[d] - at + s - 1) / s;
    begin = begin < count[d] ? begin : count[d];
    end = end < begin ? begin : end < count[d] ? end : count[d];
  }
};

// out (N, C kh kw, L) = the elements of windows of x (N, C, H, W): each row of out one place in all windows of a plane.
static void im2col(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  const Windows w(a);
  if (out.size() == 0) return;
  const int64_t taps = w.kernel[0] * w.kernel[1], windows = w.count[0] * w.count[1];
  const int64_t rows = out.size() / windows, plane = w.size[0] * w.size[1];
  with_bits(x.dtype, [&]<class T>() {
    const T* from = x.as<const T>();
    T* to = out.as<T>();
    parallel_ranges(rows, resize_grain(windows), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        const int64_t ky = row % taps / w.kernel[1], kx = row % w.kernel[1];
        const T* source = from + row / taps * plane + w.offset(1, kx);
        T* target = to + row * windows;
        int64_t top, bottom, left, right;
        w.inside(0, ky, top, bottom);
        w.inside(1, kx, left, right);
        for (int64_t i = 0; i < w.count[0]; ++i, target += w.count[1]) {
          if (i < top || i >= bottom) {
            std::memset(target, 0, static_cast<size_t>(w.count[1]) * sizeof(T));
            continue;
          }
          const T* line = source + (i * w.stride[0] + w.offset(0, ky)) * w.size[1];
          for (int64_t j = 0; j < left; ++j) target[j] = 0;
          if (w.stride[1] == 1)
            for (int64_t j = left; j < right; ++j) target[j] = line[j];
          else
            for (int64_t j = left; j < right; ++j) target[j] = line[j * w.stride[1]];
          for (int64_t j = right; j < w.count[1]; ++j) target[j] = 0;
        }
      }
    });
  });
}

// The adjoint: out (N, C, H, W) = the sums of the columns' elements over the windows that hold them, in their order.
static void col2im(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  const Windows w(a);
  if (out.size() == 0) return;
  const int64_t taps = w.kernel[0] * w.kernel[1], windows = w.count[0] * w.count[1], plane = w.size[0] * w.size[1];
  with_float(x.dtype, [&]<class T>() {
    using C = compute_t<T>;
    const T* from = x.as<const T>();
    parallel_ranges(out.size() / plane, resize_grain(taps * windows), [&](int64_t first, int64_t last) {
      const Scratch<C> room(std::is_same_v<T, C> ? 1 : plane);
      for (int64_t p = first; p < last; ++p) {
        T* to = out.as<T>() + p * plane;
        C* sums = room.get();
        if constexpr (std::is_same_v<T, C>) sums = to;
        std::memset(sums, 0, static_cast<size_t>(plane) * sizeof(C));
        const T* column = from + p * taps * windows;
        for (int64_t k = 0; k < taps; ++k, column += windows) {
          const int64_t ky = k / w.kernel[1], kx = k % w.kernel[1];
          int64_t top, bottom, left, right;
          w.inside(0, ky, top, bottom);
          w.inside(1, kx, left, right);
          for (int64_t i = top; i < bottom; ++i) {
            C* line = sums + (i * w.stride[0] + w.offset(0, ky)) * w.size[1] + w.offset(1, kx);
            const T* source = column + i * w.count[1];
            if (w.stride[1] == 1)
#pragma omp simd
              for (int64_t j = left; j < right; ++j) line[j] += load(source + j);
            else
              for (int64_t j = left; j < right; ++j) line[j * w.stride[1]] += load(source + j);
          }
        }
        if constexpr (!std::is_same_v<T, C>) store_block(to, sums, plane);
      }
    });
  });
}

static const Kernel kernels[] = {
    {"resize:resample", resample, kAllContiguous},
    {"resize:im2col", im2col, kAllContiguous},
    {"resize:col2im", col2im, kAllContiguous},
};
