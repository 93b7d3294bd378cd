// Mean and variance of many elements in one pass, robust however far they are from 0.
//
// Each block gives its mean and the sum of squared differences from it, which Chan's formula joins. Within a block both
// come from the sums d and q of x - c and (x - c)^2: the mean is c + d / n, the squares are q - d^2 / n. c is the mean
// of the elements before, or of a quarter of the first block. However far that is from the block's own mean, q is no
// more than a small multiple of what is left, so that nothing cancels. The differences are floats, all else is double.
#ifndef DLCORE_COMMON_MOMENTS
#define DLCORE_COMMON_MOMENTS
#include "common/fold.inl"

template <class C_> struct Moments {
  using C = C_;
  using L = std::conditional_t<std::is_same_v<C, float>, float, double>;
  struct P {  // the mean is c + offset: however far both are from 0, differences of means keep their bits
    double n, c, offset, squares;
    double mean() const { return c + offset; }
  };
  double correction = 0;
  bool root = false;

  static bool finite(double x) { return x - x == 0; }
  static L shift_of(double mean) { return static_cast<L>(finite(mean) ? mean : 0.0); }
  static int64_t pilot(int64_t n) { return n < 64 ? n : n / 4; }
  static void join(P& p, const P& o) {
    if (o.n == 0) return;
    if (p.n == 0) {
      p = o;
      return;
    }
    const double total = p.n + o.n, share = o.n / total, delta = (o.c - p.c) + (o.offset - p.offset);
    p.squares += o.squares + delta * delta * (p.n * share);
    p.offset = finite(delta) ? p.offset + delta * share : p.offset + o.offset;  // an infinity makes the mean infinite
    p.n = total;
  }
  static void join_block(P& p, double n, double c, double d, double q) {
    const double rest = q - d * d / n;
    join(p, {n, c, d / n, rest < 0 ? 0 : rest});
  }
  static P identity() { return {0, 0, 0, 0}; }

  static __attribute__((noinline)) void run(const C* x, int64_t n, int64_t, P& p) {
    constexpr int kWide = kWideBytes / 2 / sizeof(L);
    const int64_t first = pilot(n);
    double mean = p.mean();
    if (p.n == 0) mean = sum_block<L>(first, [=](int64_t i) DLCORE_MAP { return static_cast<L>(x[i]); }) / first;
    const L c = shift_of(mean);
    L d[kWide], q[kWide];
    for (int j = 0; j < kWide; ++j) d[j] = q[j] = 0;
    int64_t i = 0;
    for (; i + kWide <= n; i += kWide)
#pragma omp simd
      for (int j = 0; j < kWide; ++j) {
        const L y = static_cast<L>(x[i + j]) - c;
        d[j] += y;
        q[j] += y * y;
      }
    for (int j = 0; i + j < n; ++j) {
      const L y = static_cast<L>(x[i + j]) - c;
      d[j] += y;
      q[j] += y * y;
    }
    for (int w = kWide / 2; w > 0; w /= 2)
      for (int j = 0; j < w; ++j) d[j] += d[j + w], q[j] += q[j + w];
    join_block(p, static_cast<double>(n), c, d[0], q[0]);
  }
  static __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) {
    constexpr int64_t kSide = 128;  // columns at once: 64 rows of them stay in the first-level cache
    L c[kSide], d[kSide], q[kSide];
    for (int64_t k = 0; k < w; k += kSide) {
      const int64_t m = w - k < kSide ? w - k : kSide, first = p[k].n == 0 ? pilot(rows) : 0;
      for (int64_t j = 0; j < m; ++j) d[j] = q[j] = 0;
      for (int64_t r = 0; r < first; ++r)
#pragma omp simd
        for (int64_t j = 0; j < m; ++j) d[j] += static_cast<L>(x[r * ld + k + j]);
      for (int64_t j = 0; j < m; ++j) {
        c[j] = shift_of(first ? static_cast<double>(d[j]) / first : p[k + j].mean());
        d[j] = 0;
      }
      for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t j = 0; j < m; ++j) {
          const L y = static_cast<L>(x[r * ld + k + j]) - c[j];
          d[j] += y;
          q[j] += y * y;
        }
      for (int64_t j = 0; j < m; ++j) join_block(p[k + j], static_cast<double>(rows), c[j], d[j], q[j]);
    }
  }
  static void merge(P& p, const P& o) { join(p, o); }
  static double variance(const P& p, double correction) {
    const double left = p.n - correction;
    return p.squares / (left > 0 ? left : 0);
  }
  double finish(const P& p) const { return root ? std::sqrt(variance(p, correction)) : variance(p, correction); }
};

#endif  // DLCORE_COMMON_MOMENTS
