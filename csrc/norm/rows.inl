// Layer and RMS normalisation: rows of l elements, each by its own mean and standard deviation, or by the root of the
// mean of its squares.
//
// Memory bounds them: 8 bytes an element forward (float32), 12 backward. A row stays in the first-level cache between
// the pass that adds and the pass that maps. Results that would not stay in any cache go past them, so that their lines
// are not read first: of 16384 x 1024 floats layer_norm takes 2.7 ms for 5.0 (Zen 4, two threads). Gradients of weight
// and bias are sums over rows: of up to kNormSum rows in the compute type, then in double, for fixed parts of the rows,
// whose sums are added in order.
//
// Parameters: forward 0 the number of normalised axes, 1 eps; backward 0 the number of normalised axes.
#include "common/bytes.inl"
#include "norm/channels.inl"

constexpr int kRowsAtOnce = 4;  // at most
constexpr int64_t kPage = 4096, kInCaches = 20 << 20, kPastCaches = 48 << 20;  // bytes

struct NormRows {
  int64_t n = 1, l = 1;
  NormRows(const Array& x, int64_t axes) {
    for (int d = 0; d < x.ndim; ++d) (d < x.ndim - axes ? n : l) *= x.shape[d];
  }
  int64_t grain() const { return parts(kNormTask, l + 1); }
  // Rows that are worked on together, so that what waits for a sum of one goes on with another: as many as fill a page.
  // More were slower where memory bounds: 4096 x 1024 floats took layer_norm 1.8 times as long with four.
  template <class T> int64_t at_once() const { return kRowsAtOnce * l * int64_t{sizeof(T)} <= kPage ? kRowsAtOnce : 1; }
  bool in_caches(int64_t item) const { return n * l * item < kInCaches; }
  // Whether results go past the caches, where `arrays` of their size do not stay there.
  template <class T> bool streams(const Array& out, int64_t arrays) const {
    return std::is_same_v<T, compute_t<T>> && out && n * l * arrays * int64_t{sizeof(T)} >= kPastCaches &&
           l % kLanes<T> == 0 && reinterpret_cast<intptr_t>(out.as<T>()) % kVectorBytes == 0;
  }
};

template <class C> static double sum_of_squares(const C* x, int64_t n) {
  return sum_of<C>(n, [=](int64_t i) DLCORE_MAP { return x[i] * x[i]; });
}

template <class C> static inline vec<C> vload_part(const C* p, int n) {
  return n == kLanes<C> ? vload(p) : vload_first(p, n);
}
// The first n lanes, zeros beyond.
template <class C> static inline vec<C> first_of(vec<C> v, int n) {
  if (n == kLanes<C>) return v;
  C room[kLanes<C>] = {};
  vstore_first(room, v, n);
  return vload(room);
}
// take(v, i, m) for the m elements from i on of a row, which are those of vector v of a sum.
template <class C, class Take> static inline void over_row(int64_t n, Take take) {
  constexpr int L = kLanes<C>, kVectors = LaneSum<C>::kVectors;
  int64_t i = 0;
  for (; i + LaneSum<C>::kWide <= n; i += LaneSum<C>::kWide)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) take(v, i + v * L, L);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v)
    if (i + v * L < n) take(v, i + v * L, static_cast<int>(least(n - i - v * L, L)));
}

// A row, and what is to become of it: (x - center) * scale + offset.
template <class C> struct RowMap {
  const C* x;
  double center = 0, offset = 0, spread = 0, scale = 0;
};

// Center, offset and variance of rows of one block, as `Moments` finds them, with products in the place of its
// divisions: of short rows these are most of the work.
template <class C> static inline void find_moments(RowMap<C>* rows, int count, int64_t n) {
  const int64_t first = Moments<C>::pilot(n);
  const double inverse = 1 / static_cast<double>(n), of_first = 1 / static_cast<double>(first);
  for (int k = 0; k < count; ++k) {
    const C* x = rows[k].x;
    LaneSum<C> sum;
    over_row<C>(first, [&](int v, int64_t i, int m) DLCORE_MAP { sum.lanes[v] += vload_part(x + i, m); });
    rows[k].center = Moments<C>::shift_of(sum.total() * of_first);
  }
  for (int k = 0; k < count; ++k) {
    const C* x = rows[k].x;
    const vec<C> c = vset(static_cast<C>(rows[k].center));
    LaneSum<C> sum, squares;
    over_row<C>(n, [&](int v, int64_t i, int m) DLCORE_MAP {
      const vec<C> y = first_of<C>(vload_part(x + i, m) - c, m);
      sum.lanes[v] += y;
      squares.lanes[v] = vfma(y, y, squares.lanes[v]);
    });
    const double total = sum.total(), rest = squares.total() - total * total * inverse;
    rows[k].offset = total * inverse, rows[k].spread = (rest < 0 ? 0 : rest) * inverse;
  }
}

// Stores a vector; streaming, one that is whole goes past the caches: what it is part of is aligned then.
template <bool streaming, class C, class At> static inline void put(C* to, At at, vec<C> v) {
  if constexpr (streaming && std::is_same_v<At, WholeVector<C>>)
    stream_vector(reinterpret_cast<char*>(to + at.i), (vec<uint8_t>)v);
  else at.store(to, v);
}

// out = (x - center) * scale + offset, times weight, plus bias; of what was not centred x * scale * weight
template <bool centred, class T>
static void store_row(const RowMap<compute_t<T>>& row, const compute_t<T>* weight, const compute_t<T>* bias, int64_t l,
                      T* out, compute_t<T>* room, bool streaming) {
  using C = compute_t<T>;
  C* to;
  if constexpr (std::is_same_v<T, C>) to = out;
  else to = room;
  const C* x = row.x;
  const vec<C> center = vset(static_cast<C>(row.center)), scale = vset(static_cast<C>(row.scale));
  const vec<C> offset = vset(static_cast<C>(-row.offset * row.scale));
  const auto map = [=](auto at) DLCORE_MAP {
    if constexpr (centred) return vfma(vfma(at(x) - center, scale, offset), at(weight), at(bias));
    else return at(x) * scale * at(weight);
  };
  if (streaming) each_vector<C>(l, [=](auto at) DLCORE_MAP { put<true>(to, at, map(at)); });
  else each_vector<C>(l, [=](auto at) DLCORE_MAP { at.store(to, map(at)); });
  if constexpr (!std::is_same_v<T, C>) store_block(out, to, l);
}

template <bool centred, class T> static void normalise_rows(const Args& a, const NormRows& rows, double eps) {
  using C = compute_t<T>;
  using M = Moments<C>;
  constexpr bool direct = std::is_same_v<T, C>;
  const bool streaming = rows.streams<T>(a.out(0), 2);
  const int64_t l = rows.l, at_once = rows.in_caches(2 * sizeof(T)) ? kRowsAtOnce : rows.at_once<T>();
  const T* x = a.in(0).as<T>();
  T* out = a.out(0).as<T>();
  const Array none{}, &mean = centred ? a.out(1) : none, &rstd = a.out(centred ? 2 : 1);
  const Values<C> weight(a.in(1), l, 1), bias(centred ? a.in(2) : none, centred ? l : 0, 0);
  const double inverse = 1 / static_cast<double>(l);
  parallel_ranges(rows.n, rows.grain(), [&](int64_t begin, int64_t end) {
    const Scratch<C> from(direct ? 1 : l * at_once), to(direct ? 1 : l);
    for (int64_t r = begin; r < end; r += at_once) {
      const int count = static_cast<int>(least(end - r, at_once));
      RowMap<C> row[kRowsAtOnce];
      for (int k = 0; k < count; ++k) row[k].x = widened(x + (r + k) * l, l, from.get() + (direct ? 0 : k * l));
      if (centred && l <= kNormBlock) find_moments(row, count, l);
      for (int k = 0; k < count && (!centred || l > kNormBlock); ++k) {
        if constexpr (centred) {
          typename M::P p = M::identity();
          add_moments(row[k].x, l, p);
          row[k].center = p.c, row[k].offset = p.offset, row[k].spread = M::variance(p, 0);
        } else {
          row[k].spread = sum_of_squares(row[k].x, l) * inverse;
        }
      }
      for (int k = 0; k < kRowsAtOnce; ++k) row[k].scale = 1 / std::sqrt(row[k].spread + eps);
      for (int k = 0; k < count; ++k) {
        if (mean) mean.as<C>()[r + k] = static_cast<C>(row[k].center + row[k].offset);
        if (rstd) rstd.as<C>()[r + k] = static_cast<C>(row[k].scale);
        store_row<centred>(row[k], weight.get(), bias.get(), l, out + (r + k) * l, to.get(), streaming);
      }
    }
    if (streaming) _mm_sfence();
  });
}
template <bool centred> static void forward(const Args& a) {
  const NormRows rows(a.in(0), a.integer(0));
  with_float(a.in(0).dtype, [&]<class T>() { normalise_rows<centred, T>(a, rows, a.number(1)); });
}

// ---- gradients ----------------------------------------------------------------------------------------------------
// With g = dy weight and xhat = (x - mean) rstd: dx = rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) where no
// mean was taken off; dweight = sum over rows of dy xhat, dbias = sum over rows of dy.
template <class C> struct RowGradient {
  const C *dy, *x;
  C* dx;
  C mean, rstd, slope, shift;
};

template <int rows, bool with_dx, bool with_sums, bool streaming, class C>
static void gradient_rows(const RowGradient<C>* row, const C* weight, int64_t l, C* dweight, C* dbias) {
  RowGradient<C> g[rows];
  for (int k = 0; k < rows; ++k) g[k] = row[k];
  each_vector<C>(l, [&](auto at) DLCORE_MAP {
    const vec<C> w = at(weight);
    vec<C> dw{}, db{};
#pragma GCC unroll 4
    for (int k = 0; k < rows; ++k) {
      const vec<C> d = at(g[k].dy), xhat = (at(g[k].x) - g[k].mean) * g[k].rstd;
      if constexpr (with_dx)
        put<streaming>(g[k].dx, at, (d * w - vfma(xhat, vset(g[k].slope), vset(g[k].shift))) * g[k].rstd);
      if constexpr (with_sums) dw = vfma(d, xhat, dw), db += d;
    }
    if constexpr (with_sums) at.store(dweight, at(dweight) + dw), at.store(dbias, at(dbias) + db);
  });
}

// The means of g and of g xhat; `inverse` is 1 / l.
template <bool centred, class C>
static void set_slope(RowGradient<C>& g, const C* weight, int64_t l, double inverse) {
  const vec<C> mean = vset(g.mean);
  double sum = 0, product = 0;
  for (int64_t b = 0; b < l; b += kNormBlock) {
    const C *dy = g.dy + b, *x = g.x + b, *w = weight + b;
    LaneSum<C> of_g, of_product;
    over_row<C>(least(l - b, kNormBlock), [&](int v, int64_t i, int m) DLCORE_MAP {
      const vec<C> d = vload_part(dy + i, m) * vload_part(w + i, m);
      if constexpr (centred) of_g.lanes[v] += d;
      of_product.lanes[v] = vfma(d, vload_part(x + i, m) - mean, of_product.lanes[v]);
    });
    product += of_product.total();
    if constexpr (centred) sum += of_g.total();
  }
  g.slope = static_cast<C>(g.rstd * product * inverse), g.shift = static_cast<C>(sum * inverse);
}

template <bool centred, class T> static void backward_rows(const Args& a, const NormRows& rows) {
  using C = compute_t<T>;
  constexpr bool direct = std::is_same_v<T, C>;
  const int64_t l = rows.l, room = direct ? 1 : l * kRowsAtOnce, most = rows.at_once<T>();
  const T *dy = a.in(0).as<T>(), *x = a.in(1).as<T>();
  const C *mean = centred ? a.in(2).as<C>() : nullptr, *rstd = a.in(centred ? 3 : 2).as<C>();
  T* dx = a.out(0).as<T>();
  const Array none{}, &dweight = a.out(1), &dbias = centred ? a.out(2) : none;
  const bool summed = dweight || dbias, streaming = rows.streams<T>(a.out(0), 3);
  const Values<C> weight(a.in(centred ? 4 : 3), l, 1);
  const double inverse = 1 / static_cast<double>(l);
  const int64_t share = parts(parts(rows.n, kNormChunks), kRowsAtOnce) * kRowsAtOnce;
  const int64_t chunk = share > rows.grain() ? share : rows.grain(), chunks = parts(rows.n, chunk);
  const Scratch<double> partial(summed ? std::max<int64_t>(chunks, 1) * 2 * l : 1);
  for (int64_t i = 0; summed && chunks == 0 && i < 2 * l; ++i) partial[i] = 0;
  parallel_ranges(chunks, 1, [&](int64_t first, int64_t last) {
    const Scratch<C> sums(summed ? 2 * l : 1), dys(room), xs(room), dxs(room);
    for (int64_t k = first; k < last; ++k) {
      const int64_t begin = k * chunk, end = least(rows.n, begin + chunk);
      double* total = partial.get() + k * 2 * l;
      for (int64_t i = 0; summed && i < 2 * l; ++i) total[i] = 0, sums[i] = 0;
      for (int64_t r = begin; r < end;) {
        const int at_once = static_cast<int>(least(end - r, most));
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
        const auto each = [&]<bool with_dx, bool with_sums, bool past = false>() {
          C *dw = sums.get(), *db = dw + l;
          if (at_once == kRowsAtOnce)
            return gradient_rows<kRowsAtOnce, with_dx, with_sums, past>(g, weight.get(), l, dw, db);
          for (int j = 0; j < at_once; ++j) gradient_rows<1, with_dx, with_sums, past>(g + j, weight.get(), l, dw, db);
        };
        if (dx && summed && streaming) each.template operator()<true, true, true>();
        else if (dx && summed) each.template operator()<true, true>();
        else if (dx) each.template operator()<true, false>();
        else each.template operator()<false, true>();
        if constexpr (!direct)
          for (int j = 0; dx && j < at_once; ++j) store_block(dx + (r + j) * l, dxs.get() + j * l, l);
        r += at_once;
        if (summed && ((r - begin) % kNormSum == 0 || r == end))
          for (int64_t i = 0; i < 2 * l; ++i) total[i] += sums[i], sums[i] = 0;
      }
    }
    if (streaming) _mm_sfence();
  });
  parallel_ranges(summed ? 2 * l : 0, parts(kNormTask, chunks + 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = 1; k < chunks; ++k)
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) partial[i] += partial[k * 2 * l + i];
  });
  set_values(dweight, l, [&](int64_t i) { return partial[i]; });
  set_values(dbias, l, [&](int64_t i) { return partial[l + i]; });
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
