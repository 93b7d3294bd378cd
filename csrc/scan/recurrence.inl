// ---- linear_recurrence ----------------------------------------------------------------------------------------------
// h[t] = a[t] h[t-1] + b[t], in double, and its gradients in one pass from the other end: with
// g[t] = dout[t] + a[t+1] g[t+1] they are db = g, da[t] = g[t] h[t-1] and a[0] g[0] for what h begins with.
//
// Inputs a, b and the first h, or none: then h[0] = b[0], and a[0] is not looked at. Lines across memory lie side by
// side in the lanes; along a line each step waits for the one before, so that lines are shared out between threads.

// Each step of a row waits for the one before: some rows go side by side.
constexpr int kRowsAtOnce = 4;

// step(row, t, state) for t from `first` on, of all rows in turn.
template <class Step>
static inline void along_rows(int rows, int64_t first, int64_t m, double* states, Step step) {
  if (rows == kRowsAtOnce) {
    double x[kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) x[r] = states[r];
    for (int64_t t = first; t < m; ++t)
#pragma GCC unroll 4
      for (int r = 0; r < kRowsAtOnce; ++r) step(r, t, x[r]);
    for (int r = 0; r < kRowsAtOnce; ++r) states[r] = x[r];
    return;
  }
  for (int r = 0; r < rows; ++r) {
    double x = states[r];
    for (int64_t t = first; t < m; ++t) step(r, t, x);
    states[r] = x;
  }
}

static void linear_recurrence(const Args& args) {
  const Lines l = scanned_lines(args);
  const bool reverse = args.integer(1) != 0;
  if (args.out().size() == 0) return;
  with_float(args.in(0).dtype, [&]<class T>() {
    const T *a = args.in(0).as<const T>(), *b = args.in(1).as<const T>(), *initial = args.in(2).as<const T>();
    T* out = args.out().as<T>();
    if (l.inner > 1)
      return each_tile(l, kScanBlock, [&](int64_t base, int64_t w) {
        alignas(64) double h[kScanBlock], factor[kScanBlock], term[kScanBlock];
        if (initial) take_in(h, initial + base / (l.n * l.inner) * l.inner + base % l.inner, w, false);
        for (int64_t j = 0; j < l.n; ++j) {
          const int64_t at = base + (reverse ? l.n - 1 - j : j) * l.inner;
          take_in(factor, a + at, w, false);
          take_in(term, b + at, w, false);
          if (j == 0 && !initial) std::memcpy(h, term, static_cast<size_t>(w) * sizeof(double));
          else
#pragma omp simd
            for (int64_t c = 0; c < w; ++c) h[c] = factor[c] * h[c] + term[c];
          give_out(h, out + at, w, false);
        }
      });
    parallel_ranges(l.outer, line_grain(l.n), [&](int64_t begin, int64_t end) {
      double factor[kRowsAtOnce][kScanBlock], term[kRowsAtOnce][kScanBlock], h[kRowsAtOnce];
      for (int64_t k = begin; k < end; k += kRowsAtOnce) {
        const int rows = static_cast<int>(end - k < kRowsAtOnce ? end - k : kRowsAtOnce);
        for (int r = 0; r < rows; ++r) h[r] = initial ? static_cast<double>(load(initial + k + r)) : 0;
        for (int64_t i = 0; i < l.n; i += kScanBlock) {
          const int64_t m = l.n - i < kScanBlock ? l.n - i : kScanBlock, at = k * l.n + (reverse ? l.n - i - m : i);
          for (int r = 0; r < rows; ++r) {
            take_in(factor[r], a + at + r * l.n, m, reverse);
            take_in(term[r], b + at + r * l.n, m, reverse);
          }
          const bool alone = i == 0 && !initial;  // the first is what it begins with
          if (alone)
            for (int r = 0; r < rows; ++r) h[r] = term[r][0];
          along_rows(rows, alone, m, h, [&](int r, int64_t t, double& x) DLCORE_MAP {
            term[r][t] = x = factor[r][t] * x + term[r][t];
          });
          for (int r = 0; r < rows; ++r) give_out(term[r], out + at + r * l.n, m, reverse);
        }
      }
    });
  });
}

template <class T> static void recurrence_gradients(const Args& args, const Lines& l, bool reverse) {
  const T *dout = args.in(0).as<const T>(), *a = args.in(1).as<const T>(), *out = args.in(2).as<const T>();
  const T* initial = args.in(3).as<const T>();
  T *da = args.out(0).as<T>(), *db = args.out(1).as<T>(), *dinitial = args.out(2).as<T>();
  const auto rows_of = [&](int64_t k, int rows) {
    double g[kRowsAtOnce], row[kRowsAtOnce][kScanBlock], factor[kRowsAtOnce][kScanBlock + 1], before[kScanBlock];
    for (int r = 0; r < rows; ++r) g[r] = 0, factor[r][0] = 0;
    for (int64_t i = 0; i < l.n; i += kScanBlock) {
      const int64_t m = l.n - i < kScanBlock ? l.n - i : kScanBlock, at = k * l.n + (reverse ? i : l.n - i - m);
      const bool last = i + m == l.n;
      for (int r = 0; r < rows; ++r) {  // factor[r][t] is that of the step before, in this order
        take_in(row[r], dout + at + r * l.n, m, !reverse);
        take_in(factor[r] + 1, a + at + r * l.n, m, !reverse);
        if (i == 0) g[r] = row[r][0];
      }
      along_rows(rows, i == 0, m, g, [&](int r, int64_t t, double& x) DLCORE_MAP {
        row[r][t] = x = factor[r][t] * x + row[r][t];
      });
      for (int r = 0; r < rows; ++r) {
        const int64_t from = at + r * l.n;
        factor[r][0] = factor[r][m];
        if (db) give_out(row[r], db + from, m, !reverse);
        if (!da) continue;
        take_in(before, reverse ? out + from + 1 : out + from - !last, m - last, !reverse);
        for (int64_t t = 0; t < m - last; ++t) before[t] *= row[r][t];
        if (last) before[m - 1] = initial ? g[r] * static_cast<double>(load(initial + k + r)) : 0;
        give_out(before, da + from, m, !reverse);
      }
    }
    for (int r = 0; dinitial && r < rows; ++r) store(dinitial + k + r, static_cast<compute_t<T>>(factor[r][0] * g[r]));
  };
  if (l.inner == 1)
    return parallel_ranges(l.outer, line_grain(l.n), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; k += kRowsAtOnce)
        rows_of(k, static_cast<int>(end - k < kRowsAtOnce ? end - k : kRowsAtOnce));
    });
  // w lines side by side, one step of all of them after the other
  const auto tile = [&](int64_t base, int64_t w) {
    alignas(64) double g[kScanBlock], row[kScanBlock], factor[kScanBlock], before[kScanBlock];
    const int64_t first = base / (l.n * l.inner) * l.inner + base % l.inner;
    for (int64_t c = 0; c < w; ++c) g[c] = factor[c] = 0;
    for (int64_t j = l.n - 1; j >= 0; --j) {
      const int64_t at = base + (reverse ? l.n - 1 - j : j) * l.inner;
      take_in(row, dout + at, w, false);
      if (j == l.n - 1) std::memcpy(g, row, static_cast<size_t>(w) * sizeof(double));
      else
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) g[c] = factor[c] * g[c] + row[c];
      take_in(factor, a + at, w, false);
      if (db) give_out(g, db + at, w, false);
      if (da && (j > 0 || initial)) {
        take_in(before, j > 0 ? out + at + (reverse ? l.inner : -l.inner) : initial + first, w, false);
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) before[c] *= g[c];
        give_out(before, da + at, w, false);
      } else if (da) {
        for (int64_t c = 0; c < w; ++c) store(da + at + c, compute_t<T>(0));
      }
    }
    if (!dinitial) return;
    for (int64_t c = 0; c < w; ++c) row[c] = factor[c] * g[c];
    give_out(row, dinitial + first, w, false);
  };
  each_tile(l, kScanBlock, tile);
}
static void linear_recurrence_backward(const Args& args) {
  const Lines l = scanned_lines(args);
  if (l.inner * l.outer == 0 || l.n == 0) return;
  with_float(args.in(0).dtype, [&]<class T>() { recurrence_gradients<T>(args, l, args.integer(1) != 0); });
}
