// softmax, log_softmax and their gradients along one axis of contiguous arrays. Parameter 0: the axis.
//
// They must read each input and write the output once: 8 bytes an element (float32), 12 backward. A line is worked on
// in three passes (max, exponentials and their sum, scale); all but the first find it in cache, so memory and the
// exponential, about 15 vector instructions, bound it alike. Sums are taken in blocks and end in double.
// A line that holds +inf, or nothing but -inf, gives NaN, as the formula does.

#include "common/dtypes.inl"
#include "common/lines.inl"

template <class C> struct Softmax {
  int64_t n;
  void line(int64_t, const C* x, const C*, C* out) const {
    const C max = max_of(n, x);
    const double sum = sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return out[i] = exp_below(x[i] - max); });
    const C scale = static_cast<C>(1 / sum);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] *= scale;
  }
  void columns(int64_t, int64_t ld, int64_t w, const C* x, const C*, C* out) const {
    C max[kColumns], scale[kColumns];
    double sums[kColumns];
    column_maxima(x, n, ld, w, max);
    column_sums<C>(n, w, sums, [&](int64_t j, int64_t c) DLCORE_MAP {
      return out[j * ld + c] = exp_below(x[j * ld + c] - max[c]);
    });
    for (int64_t c = 0; c < w; ++c) scale[c] = static_cast<C>(1 / sums[c]);
    column_map(n, ld, w, out, [&](int64_t j, int64_t c) DLCORE_MAP { return out[j * ld + c] * scale[c]; });
  }
};

template <class C> struct LogSoftmax {
  int64_t n;
  void line(int64_t, const C* x, const C*, C* out) const {
    const C max = max_of(n, x);
    const C log_sum = log_(static_cast<C>(sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return exp_below(x[i] - max); })));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - max) - log_sum;
  }
  void columns(int64_t, int64_t ld, int64_t w, const C* x, const C*, C* out) const {
    C max[kColumns], log_sum[kColumns];
    double sums[kColumns];
    column_maxima(x, n, ld, w, max);
    column_sums<C>(n, w, sums, [&](int64_t j, int64_t c) DLCORE_MAP { return exp_below(x[j * ld + c] - max[c]); });
#pragma omp simd
    for (int64_t c = 0; c < w; ++c) log_sum[c] = log_(static_cast<C>(sums[c]));
    column_map(n, ld, w, out, [&](int64_t j, int64_t c) DLCORE_MAP { return (x[j * ld + c] - max[c]) - log_sum[c]; });
  }
};

// dx = out * (dout - sum(dout * out))
template <class C> struct SoftmaxBackward {
  int64_t n;
  void line(int64_t, const C* dout, const C* out, C* dx) const {
    const C dot = static_cast<C>(sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return dout[i] * out[i]; }));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = out[i] * (dout[i] - dot);
  }
  void columns(int64_t, int64_t ld, int64_t w, const C* dout, const C* out, C* dx) const {
    C dot[kColumns];
    double sums[kColumns];
    column_sums<C>(n, w, sums, [&](int64_t j, int64_t c) DLCORE_MAP { return dout[j * ld + c] * out[j * ld + c]; });
    for (int64_t c = 0; c < w; ++c) dot[c] = static_cast<C>(sums[c]);
    column_map(n, ld, w, dx, [&](int64_t j, int64_t c) DLCORE_MAP {
      return out[j * ld + c] * (dout[j * ld + c] - dot[c]);
    });
  }
};

// dx = dout - exp(out) * sum(dout)
template <class C> struct LogSoftmaxBackward {
  int64_t n;
  void line(int64_t, const C* dout, const C* out, C* dx) const {
    const C sum = static_cast<C>(sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return dout[i]; }));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dout[i] - exp_below(out[i]) * sum;
  }
  void columns(int64_t, int64_t ld, int64_t w, const C* dout, const C* out, C* dx) const {
    C sum[kColumns];
    double sums[kColumns];
    column_sums<C>(n, w, sums, [&](int64_t j, int64_t c) DLCORE_MAP { return dout[j * ld + c]; });
    for (int64_t c = 0; c < w; ++c) sum[c] = static_cast<C>(sums[c]);
    column_map(n, ld, w, dx, [&](int64_t j, int64_t c) DLCORE_MAP {
      return dout[j * ld + c] - exp_below(out[j * ld + c]) * sum[c];
    });
  }
};

// ---- kernels ------------------------------------------------------------------------------------------------------
template <template <class> class Op, class T> static void along_axis(const Args& a) {
  const Lines l = lines_of(a.in(0), a.integer(0));
  const T* second = a.n_inputs > 1 ? a.in(1).as<T>() : nullptr;
  each_line(l, a.in(0).as<T>(), second, a.out().as<T>(), Op<compute_t<T>>{l.n});
}

template <template <class> class Op> static void each_float(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { along_axis<Op, T>(a); });
}

static const Kernel kernels[] = {
    {"softmax:softmax", each_float<Softmax>, kAllContiguous},
    {"softmax:log_softmax", each_float<LogSoftmax>, kAllContiguous},
    {"softmax:softmax_backward", each_float<SoftmaxBackward>, kAllContiguous},
    {"softmax:log_softmax_backward", each_float<LogSoftmaxBackward>, kAllContiguous},
};
