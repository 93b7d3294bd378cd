// ---- linear_recurrence ----------------------------------------------------------------------------------------------
// h[t] = a[t] h[t-1] + b[t], in double, and its gradients in one pass from the other end: with
// g[t] = dout[t] + a[t+1] g[t+1] they are db = g, da[t] = g[t] h[t-1] and a[0] g[0] for what h begins with.
//
// Inputs a, b and the first h, or none: then h[0] = b[0], and a[0] is not looked at. Lines across memory lie side by
// side in the lanes; along a line each step waits for the one before, so that lines are shared out between threads.

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
      double factor[kScanBlock], term[kScanBlock];
      for (int64_t k = begin; k < end; ++k) {
        double h = initial ? static_cast<double>(load(initial + k)) : 0;
        for (int64_t i = 0; i < l.n; i += kScanBlock) {
          const int64_t m = l.n - i < kScanBlock ? l.n - i : kScanBlock, at = k * l.n + (reverse ? l.n - i - m : i);
          take_in(factor, a + at, m, reverse);
          take_in(term, b + at, m, reverse);
          for (int64_t t = 0; t < m; ++t) term[t] = h = i + t == 0 && !initial ? term[t] : factor[t] * h + term[t];
          give_out(term, out + at, m, reverse);
        }
      }
    });
  });
}

template <class T> static void recurrence_gradients(const Args& args, const Lines& l, bool reverse) {
  const T *dout = args.in(0).as<const T>(), *a = args.in(1).as<const T>(), *out = args.in(2).as<const T>();
  const T* initial = args.in(3).as<const T>();
  T *da = args.out(0).as<T>(), *db = args.out(1).as<T>(), *dinitial = args.out(2).as<T>();
  const auto row_of = [&](int64_t k) {
    double g = 0, next = 0, row[kScanBlock], factor[kScanBlock], before[kScanBlock];
    for (int64_t i = 0; i < l.n; i += kScanBlock) {
      const int64_t m = l.n - i < kScanBlock ? l.n - i : kScanBlock, at = k * l.n + (reverse ? i : l.n - i - m);
      const bool last = i + m == l.n;
      take_in(row, dout + at, m, !reverse);
      take_in(factor, a + at, m, !reverse);
      for (int64_t t = 0; t < m; ++t) row[t] = g = i + t == 0 ? row[t] : next * g + row[t], next = factor[t];
      if (db) give_out(row, db + at, m, !reverse);
      if (!da) continue;
      take_in(before, reverse ? out + at + 1 : out + at - !last, m - last, !reverse);
      for (int64_t t = 0; t < m - last; ++t) before[t] *= row[t];
      if (last) before[m - 1] = initial ? g * static_cast<double>(load(initial + k)) : 0;
      give_out(before, da + at, m, !reverse);
    }
    if (dinitial) store(dinitial + k, static_cast<compute_t<T>>(next * g));
  };
  if (l.inner == 1)
    return parallel_ranges(l.outer, line_grain(l.n), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) row_of(k);
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
