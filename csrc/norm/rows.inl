// Layer and RMS normalisation: rows of l elements, each by its own mean and standard deviation, or by the root of the
// mean of its squares.
//
// Memory bounds them: 8 bytes an element forward (float32), 12 backward. A row stays in the first-level cache between
// the pass that adds and the pass that maps. Gradients of weight and bias are sums over rows: of up to 64 rows in the
// compute type, then in double, for fixed parts of the rows, whose sums are added in order.
//
// Parameters: forward 0 the number of normalised axes, 1 eps; backward 0 the number of normalised axes.
#include "norm/channels.inl"

struct NormRows {
  int64_t n = 1, l = 1;
  NormRows(const Array& x, int64_t axes) {
    for (int d = 0; d < x.ndim; ++d) (d < x.ndim - axes ? n : l) *= x.shape[d];
  }
  int64_t grain() const { return parts(kNormTask, l + 1); }
};

// Room for rows of 16-bit floats in the compute type.
template <class T> static int64_t row_room(int64_t l) { return std::is_same_v<T, compute_t<T>> ? 1 : l; }

template <class C> static double sum_of_squares(const C* x, int64_t n) {
  return sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return x[i] * x[i]; });
}

// What `Moments` gives of one block, with products in the place of its divisions: of short rows these are most of the
// work. `inverse`: 1 / n.
template <class C> struct RowMoments {
  double center, offset, variance;
  RowMoments(const C* x, int64_t n, double inverse) {
    constexpr int kWide = kWideBytes / 2 / sizeof(C);
    const int64_t first = Moments<C>::pilot(n);
    const double pilot = sum_block<C>(first, [=](int64_t i) DLCORE_MAP { return x[i]; });
    const C c = Moments<C>::shift_of(first == n ? pilot * inverse : pilot / static_cast<double>(first));
    C d[kWide], q[kWide];
    for (int j = 0; j < kWide; ++j) d[j] = q[j] = 0;
    int64_t i = 0;
    for (; i + kWide <= n; i += kWide)
#pragma omp simd
      for (int j = 0; j < kWide; ++j) {
        const C y = x[i + j] - c;
        d[j] += y;
        q[j] += y * y;
      }
    for (int j = 0; i + j < n; ++j) {
      const C y = x[i + j] - c;
      d[j] += y;
      q[j] += y * y;
    }
    const double sum = folded(d), squares = folded(q), rest = squares - sum * sum * inverse;
    center = c, offset = sum * inverse, variance = (rest < 0 ? 0 : rest) * inverse;
  }
  static double folded(C* lanes) {
    constexpr int kHalf = kWideBytes / 4 / sizeof(C);
#pragma omp simd
    for (int j = 0; j < kHalf; ++j) lanes[j] += lanes[j + kHalf];
    return fold_lanes(lanes, Plus{});
  }
};

// out = (x - center) * scale + offset, times weight, plus bias (both may be null)
template <class T>
static void store_row(const compute_t<T>* x, compute_t<T> center, compute_t<T> scale, compute_t<T> offset,
                      const compute_t<T>* weight, const compute_t<T>* bias, int64_t l, T* out, compute_t<T>* room) {
  using C = compute_t<T>;
  C* to;
  if constexpr (std::is_same_v<T, C>) to = out;
  else to = room;
  if (weight && bias) {
#pragma omp simd
    for (int64_t i = 0; i < l; ++i) to[i] = fma_(fma_(x[i] - center, scale, offset), weight[i], bias[i]);
  } else if (weight) {
#pragma omp simd
    for (int64_t i = 0; i < l; ++i) to[i] = fma_(x[i] - center, scale, offset) * weight[i];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < l; ++i) to[i] = fma_(x[i] - center, scale, offset);
    for (int64_t i = 0; bias && i < l; ++i) to[i] += bias[i];
  }
  if constexpr (!std::is_same_v<T, C>) store_block(out, to, l);
}

template <bool centred, class T> static void normalise_rows(const Args& a, const NormRows& rows, double eps) {
  using C = compute_t<T>;
  using M = Moments<C>;
  const T* x = a.in(0).as<T>();
  T* out = a.out(0).as<T>();
  const Array none{}, &mean = centred ? a.out(1) : none, &rstd = a.out(centred ? 2 : 1);
  const Array& bias = centred ? a.in(2) : none;
  const Values<C> weights(a.in(1), a.in(1) ? rows.l : 0, 1), biases(bias, bias ? rows.l : 0, 0);
  const C *w = a.in(1) ? weights.get() : nullptr, *b = bias ? biases.get() : nullptr;
  const double inverse = 1 / static_cast<double>(rows.l);
  parallel_ranges(rows.n, rows.grain(), [&](int64_t begin, int64_t end) {
    const Scratch<C> from(row_room<T>(rows.l)), to(row_room<T>(rows.l));
    for (int64_t r = begin; r < end; ++r) {
      const C* row = widened(x + r * rows.l, rows.l, from.get());
      double center = 0, offset = 0, spread;
      if (centred && rows.l > kNormBlock) {
        typename M::P p = M::identity();
        add_moments(row, rows.l, p);
        center = p.c, offset = p.offset, spread = M::variance(p, 0);
      } else if (centred) {
        const RowMoments<C> m(row, rows.l, inverse);
        center = m.center, offset = m.offset, spread = m.variance;
      } else {
        spread = sum_of_squares(row, rows.l) * inverse;
      }
      const double scale = 1 / std::sqrt(spread + eps);
      if (mean) mean.as<C>()[r] = static_cast<C>(center + offset);
      if (rstd) rstd.as<C>()[r] = static_cast<C>(scale);
      store_row(row, static_cast<C>(center), static_cast<C>(scale), static_cast<C>(-offset * scale), w, b, rows.l,
                out + r * rows.l, to.get());
    }
  });
}
template <bool centred> static void forward(const Args& a) {
  const NormRows rows(a.in(0), a.integer(0));
  with_float(a.in(0).dtype, [&]<class T>() { normalise_rows<centred, T>(a, rows, a.number(1)); });
}

// ---- gradients ----------------------------------------------------------------------------------------------------
// With g = dy weight and xhat = (x - mean) rstd: dx = rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) where no
// mean was taken off; dweight = sum over rows of dy xhat, dbias = sum over rows of dy.
constexpr int kRowsAtOnce = 4;  // rows of which dweight and dbias are added while they are in registers

template <class C> struct RowGradient {
  const C *dy, *x;
  C* dx;
  C mean, rstd, slope, shift;
};

template <int rows, bool with_dx, bool with_sums, class C>
static void gradient_rows(const RowGradient<C>* row, const C* weight, int64_t l, C* dweight, C* dbias) {
  RowGradient<C> g[rows];
  for (int k = 0; k < rows; ++k) g[k] = row[k];
#pragma omp simd
  for (int64_t i = 0; i < l; ++i) {
    C w = weight[i], dw = 0, db = 0;
#pragma GCC unroll 4
    for (int k = 0; k < rows; ++k) {
      const C d = g[k].dy[i], centred = g[k].x[i] - g[k].mean;
      if constexpr (with_dx) g[k].dx[i] = d * w * g[k].rstd - fma_(centred, g[k].slope, g[k].shift);
      if constexpr (with_sums) dw = fma_(d, centred * g[k].rstd, dw), db += d;
    }
    if constexpr (with_sums) dweight[i] += dw, dbias[i] += db;
  }
}

// The sums of g and of g (x - mean), g = dy weight, as fractions of the length of the row: `inverse` is 1 / l.
template <bool centred, class C>
static void set_slope(RowGradient<C>& g, const C* weight, int64_t l, double inverse) {
  constexpr int kWide = kWideBytes / 2 / sizeof(C);
  const C mean = g.mean;
  double sum = 0, product = 0;
  for (int64_t b = 0; b < l; b += kNormBlock) {
    const int64_t m = least(l - b, kNormBlock);
    const C *dy = g.dy + b, *x = g.x + b, *w = weight + b;
    C s[kWide], p[kWide];
    for (int j = 0; j < kWide; ++j) s[j] = p[j] = 0;
    const auto take = [&](int64_t i, int j) DLCORE_MAP {
      const C d = dy[i] * w[i];
      if constexpr (centred) s[j] += d;
      p[j] += d * (x[i] - mean);
    };
    int64_t i = 0;
    for (; i + kWide <= m; i += kWide)
#pragma omp simd
      for (int j = 0; j < kWide; ++j) take(i + j, j);
    for (int j = 0; i + j < m; ++j) take(i + j, j);
    product += RowMoments<C>::folded(p);
    if constexpr (centred) sum += RowMoments<C>::folded(s);
  }
  const double rstd = g.rstd;
  g.slope = static_cast<C>(rstd * rstd * rstd * product * inverse), g.shift = static_cast<C>(rstd * sum * inverse);
}

template <bool centred, class T> static void backward_rows(const Args& a, const NormRows& rows) {
  using C = compute_t<T>;
  constexpr bool direct = std::is_same_v<T, C>;
  const int64_t l = rows.l, room = direct ? 1 : l * kRowsAtOnce;
  const T *dy = a.in(0).as<T>(), *x = a.in(1).as<T>();
  const C *mean = centred ? a.in(2).as<C>() : nullptr, *rstd = a.in(centred ? 3 : 2).as<C>();
  T* dx = a.out(0).as<T>();
  const Array none{}, &dweight = a.out(1), &dbias = centred ? a.out(2) : none;
  const bool summed = dweight || dbias;
  const Values<C> weight(a.in(centred ? 4 : 3), l, 1);
  const double inverse = 1 / static_cast<double>(l);
  const int64_t share = parts(parts(rows.n, kNormChunks), kRowsAtOnce) * kRowsAtOnce;
  const int64_t chunk = share > rows.grain() ? share : rows.grain(), chunks = parts(rows.n, chunk);
  const Scratch<double> partial(summed ? chunks * 2 * l : 1);
  parallel_ranges(chunks, 1, [&](int64_t first, int64_t last) {
    const Scratch<C> sums(summed ? 2 * l : 1), dys(room), xs(room), dxs(room);
    for (int64_t k = first; k < last; ++k) {
      const int64_t begin = k * chunk, end = least(rows.n, begin + chunk);
      double* total = partial.get() + k * 2 * l;
      for (int64_t i = 0; summed && i < 2 * l; ++i) total[i] = 0, sums[i] = 0;
      for (int64_t r = begin; r < end;) {
        const int at_once = static_cast<int>(least(end - r, kRowsAtOnce));
        RowGradient<C> g[kRowsAtOnce];
        for (int j = 0; j < at_once; ++j) {
          const int64_t at = (r + j) * l;
          g[j].dy = widened(dy + at, l, dys.get() + (direct ? 0 : j * l));
          g[j].x = widened(x + at, l, xs.get() + (direct ? 0 : j * l));
          if constexpr (direct) g[j].dx = dx + at;
          else g[j].dx = dxs.get() + j * l;
          g[j].mean = centred ? mean[r + j] : C(0), g[j].rstd = rstd[r + j];
          if (dx) set_slope<centred>(g[j], weight.get(), l, inverse);
        }
        const auto each = [&]<bool with_dx, bool with_sums>() {
          if (at_once == kRowsAtOnce)
            return gradient_rows<kRowsAtOnce, with_dx, with_sums>(g, weight.get(), l, sums.get(), sums.get() + l);
          for (int j = 0; j < at_once; ++j)
            gradient_rows<1, with_dx, with_sums>(g + j, weight.get(), l, sums.get(), sums.get() + l);
        };
        if (dx && summed) each.template operator()<true, true>();
        else if (dx) each.template operator()<true, false>();
        else each.template operator()<false, true>();
        if constexpr (!direct)
          for (int j = 0; dx && j < at_once; ++j) store_block(dx + (r + j) * l, dxs.get() + j * l, l);
        r += at_once;
        if (summed && ((r - begin) % kNormRows == 0 || r == end))
          for (int64_t i = 0; i < 2 * l; ++i) total[i] += sums[i], sums[i] = 0;
      }
    }
  });
  const auto sum_at = [&](int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < chunks; ++k) sum += partial[k * 2 * l + i];
    return sum;
  };
  set_values(dweight, l, [&](int64_t i) { return sum_at(i); });
  set_values(dbias, l, [&](int64_t i) { return sum_at(l + i); });
}
template <bool centred> static void backward(const Args& a) {
  const Array& rstd = a.in(centred ? 3 : 2);
  const NormRows rows(a.in(1), a.in(1).ndim - rstd.ndim);
  with_float(a.in(1).dtype, [&]<class T>() { backward_rows<centred, T>(a, rows); });
}

static const Kernel kernels[] = {
    {"norm:layer_norm_forward", forward<true>, kAllContiguous},
    {"norm:rms_norm_forward", forward<false>, kAllContiguous},
    {"norm:layer_norm_backward", backward<true>, kAllContiguous},
    {"norm:rms_norm_backward", backward<false>, kAllContiguous},
};
