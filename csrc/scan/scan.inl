// Scans along one axis of contiguous arrays: sums, products, extrema and logarithms of sums of all elements up to each,
// and the linear recurrence h[t] = a[t] h[t-1] + b[t], which the gradients of the others are made of.
//
// Memory bounds sums and products: each element is read and written once. Along a line they are taken in groups of 8,
// whose prefixes three steps of shifted vectors give (Kogge and Stone 1973), so that only one addition in eight waits
// for the one before. Lines across memory lie side by side in the lanes. Sums of floats are in double and rounded once
// for each result, integers in int64, which wraps. Long lines are cut into chunks of kScanChunk elements: with several
// threads their totals are found first, with one they are found on the way, and either gives the same bits.
//
// Parameters: 0 axis (-1: all elements in a row); 1 reverse; cumsum, cumprod: 2 exclusive.

#include "common/dtypes.inl"
#include "common/lines.inl"

constexpr int64_t kScanBlock = 512;    // elements that pass through a buffer in the first-level cache
constexpr int64_t kScanChunk = 65536;  // elements a thread takes at once
constexpr int kGroup = 8;

struct Sums {
  template <class V> V operator()(V a, V b) const { return a + b; }
  template <class C> static C identity() { return static_cast<C>(-0.0); }  // which leaves the sign of a zero
  static constexpr int kFirst = 0;  // what an exclusive scan begins with
};
struct Products {
  template <class V> V operator()(V a, V b) const { return a * b; }
  template <class C> static C identity() { return 1; }
  static constexpr int kFirst = 1;
};

static inline Lines scanned_lines(const Args& a) {
  if (a.integer(0) >= 0) return lines_of(a.in(0), a.integer(0));
  Lines l;
  l.n = a.in(0).size();
  return l;
}

// ---- groups -------------------------------------------------------------------------------------------------------

// Lanes of (earlier, later) taken together, `s` places before those of `later`.
template <int s, class C> static inline vec<C> shifted(vec<C> earlier, vec<C> later) {
  typedef int64_t Places __attribute__((vector_size(kVectorBytes)));
  constexpr int L = kLanes<C>;
  return [&]<size_t... l>(std::index_sequence<l...>) DLCORE_MAP {
    return __builtin_shuffle(earlier, later, Places{static_cast<int64_t>(L - s + l)...});
  }(std::make_index_sequence<L>());
}
template <int s, class C, class Join> static inline void scan_step(vec<C>* v, Join join) {
  constexpr int L = kLanes<C>, kVectors = kGroup / L;
  const vec<C> none = vset(Join::template identity<C>());
#pragma GCC unroll 4
  for (int i = kVectors - 1; i >= 0; --i) {
    if constexpr (s < L) v[i] = join(shifted<s, C>(i > 0 ? v[i > 0 ? i - 1 : 0] : none, v[i]), v[i]);
    else if (i >= s / L) v[i] = join(v[i - s / L], v[i]);
  }
}
// to[0 .. n), n a multiple of kGroup: the prefixes of x after `local`, and these after `carry`.
template <class C, class Join>
static inline void scan_groups(const C* x, C* to, int64_t n, C& local, C carry, Join join) {
  constexpr int L = kLanes<C>, kVectors = kGroup / L;
  C total = local;
  const vec<C> all = vset(carry);
  for (int64_t i = 0; i < n; i += kGroup) {
    vec<C> v[kVectors];
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) v[k] = vload(x + i + k * L);
    scan_step<1, C>(v, join);
    scan_step<2, C>(v, join);
    scan_step<4, C>(v, join);
    const vec<C> before = vset(total);
    total = join(total, v[kVectors - 1][L - 1]);
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) vstore(to + i + k * L, join(all, join(before, v[k])));
  }
  local = total;
}

// ---- blocks -------------------------------------------------------------------------------------------------------

// n stored elements from p on, or back from the last of them, in the type they are added in; and n such to p.
template <class C, class T> static inline void take_in(C* to, const T* p, int64_t n, bool reverse) {
  using F = compute_t<T>;
  F widened[kScanBlock];
  const F* from = widened;
  if constexpr (std::is_same_v<T, F>) from = p;
  else load_block(widened, p, n);
  if (reverse)
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<C>(from[n - 1 - i]);
  else
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<C>(from[i]);
}
template <class C, class T> static inline void give_out(const C* from, T* p, int64_t n, bool reverse) {
  using F = compute_t<T>;
  F narrowed[kScanBlock];
  F* to = narrowed;
  if constexpr (std::is_same_v<T, F>) to = p;
  if (reverse)
    for (int64_t i = 0; i < n; ++i) to[n - 1 - i] = static_cast<F>(from[i]);
  else
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<F>(from[i]);
  if constexpr (!std::is_same_v<T, F>) store_block(p, narrowed, n);
}

struct ScanOptions {
  bool reverse, exclusive;
};

// ---- lines --------------------------------------------------------------------------------------------------------

// One chunk of a line of n elements, after `carry`; its own total is returned. out may be null: then that is all.
template <class T, class Out, class C, class Join>
static C scan_chunk(const T* x, Out* out, int64_t n, int64_t chunk, C carry, ScanOptions o, Join join) {
  alignas(64) C room[kGroup + kScanBlock + kGroup];
  C* block = room + kGroup;
  const int64_t begin = chunk * kScanChunk, end = begin + kScanChunk < n ? begin + kScanChunk : n;
  C local = Join::template identity<C>();
  block[-1] = chunk ? carry : C(Join::kFirst);
  for (int64_t i = begin; i < end; i += kScanBlock) {
    const int64_t m = end - i < kScanBlock ? end - i : kScanBlock, at = o.reverse ? n - i - m : i;
    if constexpr (sizeof(T) == sizeof(C) && sizeof(Out) == sizeof(C)) {  // nothing to convert
      if (m == kScanBlock && out && !o.reverse && !o.exclusive) {
        scan_groups(reinterpret_cast<const C*>(x + at), reinterpret_cast<C*>(out + at), m, local, carry, join);
        continue;
      }
    }
    take_in(block, x + at, m, o.reverse);
    const int64_t full = (m + kGroup - 1) / kGroup * kGroup;
    for (int64_t k = m; k < full; ++k) block[k] = Join::template identity<C>();
    scan_groups(block, block, full, local, carry, join);
    if (out) give_out(block - o.exclusive, out + at, m, o.reverse);
    block[-1] = block[m - 1];
  }
  return local;
}

template <class T, class Out, class C, class Join>
static void scan_rows(const Lines& l, const T* x, Out* out, ScanOptions o) {
  const Join join;
  const int64_t n = l.n, chunks = (n + kScanChunk - 1) / kScanChunk;
  const C none = Join::template identity<C>();
  if (chunks == 1 || thread_count() == 1 || l.outer >= 16)
    return parallel_ranges(l.outer, line_grain(n), [&](int64_t first, int64_t last) {
      for (int64_t k = first; k < last; ++k) {
        C carry = none;
        for (int64_t c = 0; c < chunks; ++c)
          carry = join(carry, scan_chunk(x + k * n, out + k * n, n, c, carry, o, join));
      }
    });
  const Scratch<C> totals(l.outer * chunks);
  parallel_for(l.outer * chunks, [&](int64_t item) {
    const int64_t k = item / chunks, c = item % chunks;
    Out* nowhere = nullptr;
    totals[item] = c + 1 < chunks ? scan_chunk(x + k * n, nowhere, n, c, none, o, join) : none;
  });
  for (int64_t k = 0; k < l.outer; ++k) {
    C carry = none;
    for (C* t = totals.get() + k * chunks; t < totals.get() + (k + 1) * chunks; ++t) {
      const C total = *t;
      *t = carry;
      carry = join(carry, total);
    }
  }
  parallel_for(l.outer * chunks, [&](int64_t item) {
    const int64_t k = item / chunks;
    scan_chunk(x + k * n, out + k * n, n, item % chunks, totals[item], o, join);
  });
}

// ---- columns ------------------------------------------------------------------------------------------------------

// f(base, w) for tiles of w lines side by side, the first element of the first at `base`.
template <class F> static void each_tile(const Lines& l, int64_t widest, F&& f) {
  const int64_t tiles = (l.inner + widest - 1) / widest, tile = (l.inner + tiles - 1) / tiles;
  parallel_ranges(l.outer * tiles, line_grain(l.n * tile), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t o = item / tiles, first = (item - o * tiles) * tile;
      f(o * l.n * l.inner + first, l.inner - first < tile ? l.inner - first : tile);
    }
  });
}

template <class T, class Out, class C, class Join>
static void scan_columns(const Lines& l, const T* x, Out* out, ScanOptions o) {
  const Join join;
  each_tile(l, kScanBlock, [&](int64_t base, int64_t w) {
    alignas(64) C carry[kScanBlock], row[kScanBlock];
    const C first = o.exclusive ? C(Join::kFirst) : Join::template identity<C>();
    for (int64_t c = 0; c < w; ++c) carry[c] = first;
    for (int64_t j = 0; j < l.n; ++j) {
      const int64_t at = base + (o.reverse ? l.n - 1 - j : j) * l.inner;
      take_in(row, x + at, w, false);
      if (o.exclusive) give_out(carry, out + at, w, false);
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) carry[c] = join(carry[c], row[c]);
      if (!o.exclusive) give_out(carry, out + at, w, false);
    }
  });
}

template <class Join> static void scan(const Args& a) {
  const Lines l = scanned_lines(a);
  const ScanOptions o{a.integer(1) != 0, a.integer(2) != 0};
  if (a.out().size() == 0) return;
  with_dtype(a.in(0).dtype, [&]<class T>() {
    constexpr bool integers = std::is_integral_v<T>;
    using Out = std::conditional_t<integers, int64_t, T>;
    using C = std::conditional_t<integers, uint64_t, double>;
    const auto run = l.inner == 1 ? scan_rows<T, Out, C, Join> : scan_columns<T, Out, C, Join>;
    run(l, a.in(0).as<const T>(), a.out().as<Out>(), o);
  });
}

// ---- cummax, cummin -------------------------------------------------------------------------------------------------
// The last of equal elements, and of NaN, is the one whose index counts.
template <class Join, class T> static inline bool takes_over(T x, T best) {
  if constexpr (std::is_same_v<Join, Larger>) return (x >= best) | (x != x);
  else return (x <= best) | (x != x);
}

template <class T, class Join>
static void extreme_row(const T* x, T* out, int64_t* places, int64_t n) {
  using C = compute_t<T>;
  constexpr int64_t kStretch = 64;  // elements of which mostly none takes over: then nothing waits for the one before
  C best = load(x), stretch[kStretch];
  int64_t place = 0;
  for (int64_t i = 0; i < n; i += kStretch) {
    const int64_t m = n - i < kStretch ? n - i : kStretch;
    take_in(stretch, x + i, m, false);
    int some = 0;
#pragma omp simd reduction(| : some)
    for (int64_t k = 0; k < m; ++k) some |= takes_over<Join>(stretch[k], best);
    if (!some) {
      T same;
      store(&same, best);
      for (int64_t k = 0; k < m; ++k) out[i + k] = same;
      for (int64_t k = 0; k < m; ++k) places[i + k] = place;
      continue;
    }
    for (int64_t k = 0; k < m; ++k) {
      const C y = stretch[k];
      if (takes_over<Join>(y, best) && (best == best || y != y)) best = y, place = i + k;
      store(out + i + k, best);
      places[i + k] = place;
    }
  }
}
template <class T, class Join>
static void extreme_columns(const Lines& l, const T* x, T* out, int64_t* places) {
  using C = compute_t<T>;
  each_tile(l, kScanBlock, [&](int64_t base, int64_t w) {
    alignas(64) C best[kScanBlock], row[kScanBlock];
    alignas(64) int64_t place[kScanBlock];
    take_in(best, x + base, w, false);
    for (int64_t c = 0; c < w; ++c) place[c] = 0;
    for (int64_t j = 0; j < l.n; ++j) {
      const int64_t at = base + j * l.inner;
      take_in(row, x + at, w, false);
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) {
        const bool taken = takes_over<Join>(row[c], best[c]) & ((best[c] == best[c]) | (row[c] != row[c]));
        best[c] = taken ? row[c] : best[c];
        place[c] = taken ? j : place[c];
      }
      give_out(best, out + at, w, false);
      std::memcpy(places + at, place, static_cast<size_t>(w) * sizeof(int64_t));
    }
  });
}
template <class Join> static void scan_extrema(const Args& a) {
  const Lines l = scanned_lines(a);
  if (a.out().size() == 0) return;
  with_dtype(a.in(0).dtype, [&]<class T>() {
    const T* x = a.in(0).as<const T>();
    T* out = a.out(0).as<T>();
    int64_t* places = a.out(1).as<int64_t>();
    if (l.inner > 1) return extreme_columns<T, Join>(l, x, out, places);
    parallel_ranges(l.outer, line_grain(l.n), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) extreme_row<T, Join>(x + k * l.n, out + k * l.n, places + k * l.n, l.n);
    });
  });
}

// ---- logcumsumexp, recurrence ---------------------------------------------------------------------------------------
// Along a line or, w of them side by side, along rows of kScanBlock at most: what each does is the same for any w.

// The largest element so far, and the sum of exp(x - largest), which only ever loses by a factor exp(before - largest).
template <class C> struct LogSums {
  C largest[kScanBlock];
  double sum[kScanBlock];

  static C shift_of(C x) { return x - x == 0 ? x : C(0); }  // exp(inf - inf) would be NaN
  static C scale_of(C before, C top) {
    const C scale = exp_below(before - shift_of(top));
    return (before == top) | (top - top != 0) ? C(1) : scale;
  }
  void begin(int64_t w) {
    for (int64_t c = 0; c < w; ++c) largest[c] = Larger::identity<C>(), sum[c] = 0;
  }
  // One element of each of w lines.
  void take(const C* x, C* out, int64_t w) {
#pragma omp simd
    for (int64_t c = 0; c < w; ++c) {
      const C top = Above{}(largest[c], x[c]), shift = shift_of(top);
      const C added = exp_below(x[c] - shift);
      sum[c] = sum[c] * scale_of(largest[c], top) + (top - top == 0 || top < 0 ? added : top);
      largest[c] = top;
      out[c] = log_(static_cast<C>(sum[c])) + shift;
    }
  }
};
// The same along a line, n <= kScanBlock elements after `top` and `total`: all but the sum itself in vectors.
template <class C> static void log_sums(const C* x, C* out, int64_t n, C& top, double& total) {
  C largest[kScanBlock + 1], scale[kScanBlock], added[kScanBlock], sums[kScanBlock];
  largest[0] = top;
  for (int64_t i = 0; i < n; ++i) largest[i + 1] = Above{}(largest[i], x[i]);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const C shift = LogSums<C>::shift_of(largest[i + 1]), high = largest[i + 1];
    const C term = exp_below(x[i] - shift);
    scale[i] = LogSums<C>::scale_of(largest[i], high);
    added[i] = high - high == 0 || high < 0 ? term : high;
  }
  double local = 0;  // of this block, so that a long line's sum carries the rounding of few additions
  for (int64_t i = 0; i < n; ++i) {
    total *= scale[i];
    local = local * scale[i] + added[i];
    sums[i] = static_cast<C>(total + local);
  }
  total += local;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = log_(sums[i]) + LogSums<C>::shift_of(largest[i + 1]);
  top = largest[n];
}

static void logcumsumexp(const Args& a) {
  const Lines l = scanned_lines(a);
  const bool reverse = a.integer(1) != 0;
  if (a.out().size() == 0) return;
  with_float(a.in(0).dtype, [&]<class T>() {
    using C = compute_t<T>;
    const T* x = a.in(0).as<const T>();
    T* out = a.out().as<T>();
    if (l.inner > 1)
      return each_tile(l, kScanBlock, [&](int64_t base, int64_t w) {
        LogSums<C> sums;
        C row[kScanBlock], results[kScanBlock];
        sums.begin(w);
        for (int64_t j = 0; j < l.n; ++j) {
          const int64_t at = base + (reverse ? l.n - 1 - j : j) * l.inner;
          take_in(row, x + at, w, false);
          sums.take(row, results, w);
          give_out(results, out + at, w, false);
        }
      });
    parallel_ranges(l.outer, line_grain(l.n), [&](int64_t begin, int64_t end) {
      C row[kScanBlock], results[kScanBlock];
      for (int64_t k = begin; k < end; ++k) {
        C top = Larger::identity<C>();
        double total = 0;
        for (int64_t i = 0; i < l.n; i += kScanBlock) {
          const int64_t m = l.n - i < kScanBlock ? l.n - i : kScanBlock, at = k * l.n + (reverse ? l.n - i - m : i);
          take_in(row, x + at, m, reverse);
          log_sums(row, results, m, top, total);
          give_out(results, out + at, m, reverse);
        }
      }
    });
  });
}

#include "scan/recurrence.inl"

static const Kernel kernels[] = {
    {"scan:cumsum", scan<Sums>, kAllContiguous},
    {"scan:cumprod", scan<Products>, kAllContiguous},
    {"scan:cummax", scan_extrema<Larger>, kAllContiguous},
    {"scan:cummin", scan_extrema<Smaller>, kAllContiguous},
    {"scan:logcumsumexp", logcumsumexp, kAllContiguous},
    {"scan:linear_recurrence", linear_recurrence, kAllContiguous},
    {"scan:linear_recurrence_backward", linear_recurrence_backward, kAllContiguous},
};
