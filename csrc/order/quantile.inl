// Order statistics: median, quantile, and those that leave NaN out, along adjacent axes.
//
// One statistic of a line without NaN is selected among its keys by partitions, each of the part where it lies: 1M
// float32 are read about three times. Several, or of lines with NaN or -0.0, are read from the sorted line.
#include "order/values.inl"

enum Method { kLinear, kLower, kHigher, kMidpoint, kNearest };

// Where a quantile lies among sorted elements.
struct Place {
  int64_t low, high;
  double part;
  Place(double q, int64_t n, int64_t method) {
    const double at = q * static_cast<double>(n - 1), floor = std::floor(at);
    low = high = static_cast<int64_t>(floor);
    part = at - floor;
    if (part == 0) return;
    if (method == kLinear || method == kMidpoint) {
      ++high;
      if (method == kMidpoint) part = 0.5;
      return;
    }
    const bool up = method == kHigher || (method == kNearest && (part > 0.5 || (part == 0.5 && (low & 1))));
    low = high = low + up;
    part = 0;
  }
  // Infinite, not NaN, where one of the two is; their value where they are equal.
  double between(double a, double b) const { return a == b || part == 0 ? a : a * (1 - part) + b * part; }
};

// Elements `low` and `high` (that or the next) of n words in order; a and b are used up.
template <class K> static std::pair<K, K> select_words(K* a, K* b, int64_t n, int64_t low, int64_t high) {
#if DLCORE_ISA == 4
  while (n > kNetwork<K>) {
    const K pivot = pivot_of(a, n);
    const auto cut = [&](K* from, K* to, K at) {
      return n < 4 * kParallelSort ? partition<true>(from, to, to + n, n, at) - to
                                   : partition_together(Part<K>{from, to, n, false}, at);
    };
    int64_t below = cut(a, b, pivot);
    std::swap(a, b);
    if (below == 0) {  // the pivot is the smallest
      below = pivot == static_cast<K>(~K{0}) ? n : cut(a, b, static_cast<K>(pivot + 1));
      std::swap(a, b);
      if (high < below) return {pivot, pivot};
    }
    if (low < below && high >= below) {
      K last = a[0], next = a[below];
      for (int64_t i = 0; i < below; ++i) last = a[i] > last ? a[i] : last;
      for (int64_t i = below; i < n; ++i) next = a[i] < next ? a[i] : next;
      return {last, next};
    }
    if (high < below) {
      n = below;
    } else {
      a += below, b += below, n -= below, low -= below, high -= below;
    }
  }
  network_sort(a, a, n);
  return {a[low], a[high]};
#else
  static_cast<void>(b);
  std::nth_element(a, a + low, a + n);
  return {a[low], low == high ? a[low] : *std::min_element(a + high, a + n)};
#endif
}

struct Wanted {
  bool missing;  // whether NaN is left out
  int64_t method, count;
  const Param* q;
};

// The statistics of one line, `stride` apart.
template <class T> class Line {
  using K = bits_t<T>;
  using W = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

 public:
  explicit Line(int64_t n) : n_(n), keys_(n), words_(2 * n) {}

  void statistics(const T* x, const Wanted& wanted, T* out, int64_t stride) {
    std::atomic<bool> special{wanted.count != 1};
    W* words = words_.get();
    parallel_ranges(special ? 0 : n_, kSortChunk, [&](int64_t begin, int64_t end) {
      unsigned any = 0;
#pragma omp simd reduction(| : any)
      for (int64_t i = begin; i < end; ++i) {
        any |= is_special(x + i);
        words[i] = key_of(x + i, K{0});
      }
      if (any) special.store(true, std::memory_order_relaxed);
    });
    if (special) return of_sorted(x, wanted, out, stride);
    const Place place(wanted.q[0].f, n_, wanted.method);
    const auto [low, high] = select_words(words, words + n_, n_, place.low, place.high);
    store(out, static_cast<compute_t<T>>(place.between(value(low), value(high))));
  }

 private:
  static double value(W word) {
    const K bits = bits_of_key<T>(static_cast<K>(word), K{0});
    T element;
    __builtin_memcpy(&element, &bits, sizeof element);
    return static_cast<double>(load(&element));
  }
  void of_sorted(const T* x, const Wanted& wanted, T* out, int64_t stride) {
    T* sorted = keys_.get();
    sort_values(x, sorted, 1, n_, false);
    int64_t numbers = n_;
    while (numbers > 0 && is_nan(sorted + numbers - 1)) --numbers;
    const bool nan = numbers == 0 || (numbers < n_ && !wanted.missing);
    for (int64_t k = 0; k < wanted.count; ++k) {
      if (nan) {
        out[k * stride] = sorted[n_ - 1];
        continue;
      }
      const Place place(wanted.q[k].f, numbers, wanted.method);
      const auto at = [&](int64_t i) { return static_cast<double>(load(sorted + i)); };
      store(out + k * stride, static_cast<compute_t<T>>(place.between(at(place.low), at(place.high))));
    }
  }

  const int64_t n_;
  const Scratch<T> keys_;
  const Scratch<W> words_;
};

template <class T> static void each_line_of(const Rows& l, const T* x, T* out, const Wanted& wanted) {
  const int64_t lines = l.outer * l.inner, n = l.n;
  if (l.inner == 1) {
    const auto some = [&](int64_t begin, int64_t end) {
      Line<T> line(n);
      for (int64_t k = begin; k < end; ++k) line.statistics(x + k * n, wanted, out + k, lines);
    };
    if (n >= kParallelSort && lines < 16) return some(0, lines);
    return parallel_ranges(lines, n < kSortGrain ? kSortGrain / n : 1, some);
  }
  const int64_t tiles = (l.inner + kSideBySide - 1) / kSideBySide, grain = kSortGrain / (n * kSideBySide);
  const auto some = [&](int64_t begin, int64_t end) {
    const Scratch<T> in(kSideBySide * n);
    Line<T> line(n);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t o = tile / tiles, first = tile % tiles * kSideBySide, w = std::min(kSideBySide, l.inner - first);
      const T* from = x + o * n * l.inner + first;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t c = 0; c < w; ++c) in[c * n + j] = from[j * l.inner + c];
      for (int64_t c = 0; c < w; ++c)
        line.statistics(in.get() + c * n, wanted, out + o * l.inner + first + c, lines);
    }
  };
  if (n >= kParallelSort && l.outer * tiles < 4) some(0, l.outer * tiles);  // line by line, each by all threads
  else parallel_ranges(l.outer * tiles, grain > 1 ? grain : 1, some);
}

// params: first axis and the one behind the last, whether NaN is left out, method, how many, and which quantiles
static void quantile(const Args& a) {
  const Array& x = a.in(0);
  if (a.out().size() == 0) return;
  const Wanted wanted = {a.integer(2) != 0, a.integer(3), a.integer(4), a.params + 5};
  const Rows l(x, a.integer(0), a.integer(1));
  with_float(x.dtype, [&]<class T>() { each_line_of(l, x.as<const T>(), a.out().as<T>(), wanted); });
}

static const Kernel kernels[] = {{"order:quantile", quantile, kAllContiguous}};
