// Reductions: sum, mean, max, min (of the numbers alone too), any, all, argmax, argmin, logsumexp over any set of axes
// of an array with any strides.
//
// They read each element once and do next to nothing with it: memory bounds them. So the layout decides
// (common/reduction.inl): rows are folded in 64 lanes, columns a tile at a time with partial results in L1, both
// straight from the input. 16-bit floats are widened block by block; float sums end in double, integer sums are int64.
// Integers of 8 and 16 bits are read as they are. Of 1024 x 1024 bytes, on one core of a Zen 4 that reads 94 GB/s from
// there, in us, widened to 32 bits before -> so: any, all 61 -> 12, along columns 74 -> 12, along rows 72 -> 26; sum
// 97 -> 41, along columns 117 -> 49, along rows 110 -> 63.
// any and all read operands of any dtype as they are: of 4M bytes 139 us by way of booleans, 50 so, of 1M floats 76 and
// 53, of 31,775 rows of 33 floats 202 and 86.
// Short rows of these are summed in words, of bytes two rows at once: 149,796 rows of 7 bytes 645 -> 112 us, a third of
// it by the division that is left out where nothing is divided. Larger and smaller of floats take two instructions, not
// three, where masks are: the largest of 1M 69 -> 49 us, over the first axis of 1024 x 1024 74 -> 53; a loop that sums
// as many words takes 44.
//
// Parameters: 0 bit mask of the reduced axes; mean: 1 the number of elements divided by.

#include "common/dtypes.inl"
#include "common/reduction.inl"
#include "reduce/fold_rows.inl"

// ---- columns ------------------------------------------------------------------------------------------------------
// Calls each(c) for every `step` of w columns and returns how many it has covered. With `ahead` the four rows behind
// the four at x are fetched meanwhile, a line after another: by itself a processor begins anew in each row and reads as
// many pages at once as there are rows. So sums over the first axis of 1024 x 1024 float32 that are in no cache take
// 150 us, not 214, where a loop that sums as many words takes 137. Where rows are short, or do not follow one another,
// this costs and nothing is gained.
template <int step, class T, class Each>
static inline __attribute__((always_inline)) int64_t each_column(const T* x, int64_t w, bool ahead, Each each) {
  constexpr int kBytes = 4 * step * static_cast<int>(sizeof(T));
  int64_t c = 0;
  if (ahead) {
    for (const char* next = reinterpret_cast<const char*>(x + 4 * w); c + step <= w; c += step, next += kBytes) {
#pragma GCC unroll 4
      for (int line = 0; line < kBytes; line += 64) __builtin_prefetch(next + line);
      each(c);
    }
  }
  for (; c + step <= w; c += step) each(c);
  return c;
}
// Whether rows of w elements, ld apart, of an array that is no longer in the second-level cache are worth it.
template <class T> static bool fetches_ahead(int64_t ld, int64_t w, bool distant) {
  return distant && ld == w && w * static_cast<int64_t>(sizeof(T)) >= (sizeof(T) < 4 ? 512 : 256);
}
constexpr int64_t kDistant = int64_t{1} << 21;  // bytes of such an array

// ---- sum, mean ----------------------------------------------------------------------------------------------------
// Integers of 8 and 16 bits stay what they are; others are in their compute type.
template <class T> constexpr bool kSmall = std::is_integral_v<T> && sizeof(T) < 4;
template <class T> using narrow_t = std::conditional_t<kSmall<T>, T, wide_t<T>>;

// Floats are summed in their compute type within a block, integers in int64, small ones in int32, which holds a block
// of them; for a mean in double, which does not wrap.
template <class C> using sum_t = std::conditional_t<kSmall<C>, int32_t,
                                                   std::conditional_t<std::is_integral_v<C>, int64_t, C>>;
template <class C_, class L_ = sum_t<C_>> struct Sum {
  using C = C_;
  using L = L_;
  static constexpr bool kFloat = std::is_same_v<compute_t<C>, L> && !std::is_integral_v<L>;
  using P = std::conditional_t<std::is_integral_v<L>, int64_t, double>;
  static constexpr bool kShortRows = kFloat || kSmall<C>;
  using From = Widened<C>;
  static constexpr int kLane = kLanes<L>;
  static constexpr bool kPairs = kFloat && requires { From::even(vec<int32_t>{}); };
  P divisor = 1;
  bool distant = false;

  P identity() const { return 0; }
  __attribute__((noinline)) void run(const C* x, int64_t n, int64_t, P& p) const requires(!kFloat) {
    p += sum_block<L>(n, [=](int64_t i) DLCORE_MAP { return static_cast<L>(x[i]); });
  }
  // Short rows of small integers are summed in words, eight bytes at once.
  __attribute__((noinline)) void rows(const C* x, int64_t ld, int64_t n, int64_t w, int64_t position, P* p) const
      requires(kSmall<C>) {
    const int64_t bytes = n * static_cast<int64_t>(sizeof(C));
    const char* row = reinterpret_cast<const char*>(x);
    if (bytes > 64) {
      for (int64_t c = 0; c < w; ++c) run(x + c * ld, n, position, p[c]);
      return;
    }
    const int64_t whole = (bytes - 1) / 8 * 8, rest = bytes - whole;  // the last word may have fewer bytes
    const uint64_t mask = ~uint64_t{} >> 8 * (8 - rest);
    const int64_t pitch = ld * static_cast<int64_t>(sizeof(C));
    const P above = std::is_signed_v<C> ? n << (8 * sizeof(C) - 1) : 0;  // by so much are signed ones taken as larger
    int64_t c = 0;
    if constexpr (sizeof(C) == 1) {  // two rows at once, as long as words may be read whole
      const __m128i turned = _mm_set1_epi8(std::is_signed_v<C> ? -128 : 0), zero = _mm_setzero_si128();
      const __m128i last = _mm_set1_epi64x(static_cast<int64_t>(mask)), extra = _mm_set1_epi64x(above);
      for (; c + 2 <= w && (w - 2 - c) * pitch + rest >= 8; c += 2, row += 2 * pitch) {
        const auto word = [&](int64_t i) { return _mm_xor_si128(words_at(row + i, row + pitch + i), turned); };
        __m128i sum = _mm_sad_epu8(_mm_and_si128(word(whole), last), zero);
        for (int64_t i = 0; i < whole; i += 8) sum = _mm_add_epi64(sum, _mm_sad_epu8(word(i), zero));
        __m128i* const to = reinterpret_cast<__m128i*>(p + c);
        _mm_storeu_si128(to, _mm_add_epi64(_mm_loadu_si128(to), _mm_sub_epi64(sum, extra)));
      }
    }
    for (; c < w; ++c, row += pitch) {
      uint64_t last = 0;
      P sum = 0;
      for (int64_t i = 0; i < whole; i += 8) sum += sum_word(word_at(row + i), ~uint64_t{});
      if ((w - 1 - c) * pitch + rest >= 8) last = word_at(row + whole);  // and of rows behind it
      else std::memcpy(&last, row + whole, static_cast<size_t>(rest));
      sum += sum_word(last, mask);
      p[c] += sum - above;
    }
  }
  static uint64_t word_at(const char* p) {
    uint64_t word;
    std::memcpy(&word, p, sizeof word);
    return word;
  }
  static __m128i words_at(const char* a, const char* b) {
    return _mm_set_epi64x(static_cast<int64_t>(word_at(b)), static_cast<int64_t>(word_at(a)));
  }
  // The sum of a word's numbers; signed ones each as much larger as makes the least of them 0.
  static int64_t sum_word(uint64_t word, uint64_t mask) {
    constexpr int kBits = 8 * sizeof(C);
    constexpr uint64_t kOnes = ~uint64_t{} / ((uint64_t{1} << 2 * kBits) - 1);  // one in each pair of numbers
    constexpr uint64_t kEven = kOnes * ((uint64_t{1} << kBits) - 1);
    if constexpr (std::is_signed_v<C>) word ^= kOnes << (kBits - 1) | kOnes << (2 * kBits - 1);
    word &= mask;
    return static_cast<int64_t>(((word & kEven) + (word >> kBits & kEven)) * kOnes >> (64 - 2 * kBits));
  }
  __attribute__((noinline)) void rows(const C* x, int64_t ld, int64_t n, int64_t w, int64_t, P* p) const
      requires(kFloat) {
    L sums[1024];
    fold_rows<Plus, From>(x, ld, n, w, L(0), sums);
    for (int64_t c = 0; c < w; ++c) p[c] += sums[c];
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    alignas(64) L lanes[1024];
    for (int64_t c = 0; c < w; ++c) lanes[c] = 0;
    const bool ahead = fetches_ahead<C>(ld, w, distant);
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * ld) {
      const auto sum = [&](int64_t c, auto at) DLCORE_MAP {
        return (at(x + c) + at(x + ld + c)) + (at(x + 2 * ld + c) + at(x + 3 * ld + c));
      };
      add_columns(x, w, ahead, lanes, sum);
    }
    for (; r < rows; ++r, x += ld)
      add_columns(x, w, false, lanes, [&](int64_t c, auto at) DLCORE_MAP { return at(x + c); });
    if constexpr (kPairs)
      for (int64_t c = 0; c + 2 * kLane <= w; c += 2 * kLane) interleave(lanes + c, lanes + c + kLane);
#pragma omp simd
    for (int64_t c = 0; c < w; ++c) p[c] += lanes[c];
  }
  // lanes[c] += sum(c, read), `read` being what makes a number, or a vector, of memory. Where pairs are taken apart the
  // even ones of two vectors stand before the odd ones.
  template <class Sums>
  static inline void add_columns(const C* x, int64_t w, bool ahead, L* lanes, Sums sum) {
    const auto add = [&](int64_t c, int64_t at, auto read) DLCORE_MAP {
      vstore(lanes + at, vload(lanes + at) + sum(c, read));
    };
    int64_t c = 0;
    if constexpr (kPairs) {
      const auto pairs = [&](const C* y) DLCORE_MAP { return vload(reinterpret_cast<const int32_t*>(y)); };
      c = each_column<2 * kLane>(x, w, ahead, [&](int64_t k) DLCORE_MAP {
        add(k, k, [=](const C* y) DLCORE_MAP { return From::even(pairs(y)); });
        add(k, k + kLane, [=](const C* y) DLCORE_MAP { return From::odd(pairs(y)); });
      });
    } else if constexpr (kFloat) {
      c = each_column<kLane>(x, w, ahead, [&](int64_t k) DLCORE_MAP {
        add(k, k, [&](const C* y) DLCORE_MAP { return From::vector(y); });
      });
    }
#pragma omp simd
    for (int64_t k = c; k < w; ++k) lanes[k] += sum(k, [](const C* y) DLCORE_MAP { return wide(y); });
  }
  static L wide(const C* x) { return static_cast<L>(load(x)); }
  void merge(P& p, const P& q) const { p += q; }
  bool as_is() const { return divisor == 1; }  // a division would take longer than a short row's sum
  P finish(P p) const { return p / divisor; }
};

// ---- max, min -----------------------------------------------------------------------------------------------------
// In the type that From (common/fold.inl) makes of the elements.
template <class C_, class Join, class From = AsStored<C_>> struct Extremum {
  using C = C_;
  using P = typename From::L;
  static constexpr bool kShortRows = !std::is_integral_v<C>;
  static constexpr int64_t kColumns = 4096 / sizeof(P);
  bool distant = false;

  static void update(P& p, P x) {  // the branch is seldom taken, unlike those the join becomes for scalars
    if (Join::beats(x, p)) p = x;
  }
  P identity() const { return Join::template identity<P>(); }
  __attribute__((noinline)) void rows(const C* x, int64_t ld, int64_t n, int64_t w, int64_t, P* p) const {
    P best[1024];
    fold_rows<Join, From>(x, ld, n, w, identity(), best);
    for (int64_t c = 0; c < w; ++c) p[c] = Join{}(p[c], best[c]);
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    const bool ahead = fetches_ahead<C>(ld, w, distant);
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * ld) {
      const C *x1 = x + ld, *x2 = x + 2 * ld, *x3 = x + 3 * ld;
      int64_t c = each_column<kLanes<P>>(x, w, ahead, [&](int64_t k) DLCORE_MAP {
        vstore(p + k, joined<Join>(vload(p + k), joined<Join>(joined<Join>(at(x + k), at(x1 + k)),
                                                              joined<Join>(at(x2 + k), at(x3 + k)))));
      });
      for (; c < w; ++c)
        for (const C* y : {x, x1, x2, x3}) update(p[c], From::one(y + c));
    }
    for (; r < rows; ++r, x += ld)
      for (int64_t c = 0; c < w; ++c) update(p[c], From::one(x + c));
  }
  static inline vec<P> at(const C* y) { return From::vector(y); }
  void merge(P& p, const P& q) const { p = Join{}(p, q); }
  C finish(P p) const {
    if constexpr (std::is_same_v<P, C>) return p;
    else return From::back(p);
  }
};

// Those that pass over NaN begin with it, so that it is left where there is nothing else.
struct LargerNumber {
  template <class V> V operator()(V a, V b) const { return (a != a) | (b > a) ? b : a; }
  template <class V> static auto beats(V x, V best) { return (best != best) | (x > best); }
  template <class T> static constexpr T identity() { return std::numeric_limits<T>::quiet_NaN(); }
};
struct SmallerNumber {
  template <class V> V operator()(V a, V b) const { return (a != a) | (b < a) ? b : a; }
  template <class V> static auto beats(V x, V best) { return (best != best) | (x < best); }
  template <class T> static constexpr T identity() { return std::numeric_limits<T>::quiet_NaN(); }
};

// ---- any, all: the largest and the smallest of bits ---------------------------------------------------------------
// A float's without its sign: 0 for zeros of both signs, and for no NaN.
template <class T> struct WithoutSign {
  using L = T;
  static constexpr L kRest = static_cast<L>(~L(0)) >> 1;
  static vec<L> vector(const T* p) { return vload(p) & kRest; }
  static L one(const T* p) { return *p & kRest; }
};
template <class C, class Join, class From> struct Truth : Extremum<C, Join, From> {
  uint8_t finish(typename From::L p) const { return p != 0; }
};

// ---- argmax, argmin: the first extremum; the first NaN if there is one ----------------------------------------------
// One axis, or all of them of a contiguous array, so that a position is an index.
template <class C_, class Join> struct ArgExtremum {
  using C = C_;
  struct P {
    C value;
    int64_t index;
  };

  static bool beats(C x, C best) { return Join::beats(x, best) & (best == best); }
  P identity() const { return {Join::template identity<C>(), 0}; }
  // Index of the first element equal to `best`, or NaN where that is NaN; it is there.
  static int64_t find(const C* x, int64_t n, C best) {
    constexpr int K = kLanes<C>;
    int64_t i = 0;
    if (best == best) {
      const vec<C> wanted = vset(best);
      const auto hits = [&](int64_t at) { return equal_lanes<C>(vload(x + at), wanted); };
      while (i + 4 * K <= n && !(hits(i) | hits(i + K) | hits(i + 2 * K) | hits(i + 3 * K))) i += 4 * K;
      for (; i + K <= n; i += K)
        if (const int found = hits(i)) return i + __builtin_ctz(found);
    }
    while ((x[i] != best) & (x[i] == x[i])) ++i;
    return i;
  }
  __attribute__((noinline)) void rows(const C* x, int64_t ld, int64_t n, int64_t w, int64_t position, P* p) const {
    // Find a block's extremum first: only a block that improves on the rest, and few do, is searched.
    C best[1024];
    fold_rows<Join, AsStored<C>>(x, ld, n, w, Join::template identity<C>(), best);
    for (int64_t c = 0; c < w; ++c)
      if (beats(best[c], p[c].value)) p[c] = {best[c], position + find(x + c * ld, n, best[c])};
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t position,
                                         P* p) const {
    constexpr int kLane = kVectorBytes / sizeof(C);
    using Index = std::remove_reference_t<decltype((vec<C>{} == vec<C>{})[0])>;  // a block has at most 64 rows
    C best[1024];
    Index index[1024];
    for (int64_t c = 0; c < w; ++c) best[c] = p[c].value, index[c] = -1;
    for (int64_t r = 0; r < rows; ++r, x += ld) {
      int64_t c = 0;
      for (; c + kLane <= w; c += kLane) {
        const vec<C> y = vload(x + c), old = vload(best + c);
        const auto better = Join::beats(y, old) & (old == old);
        vstore(best + c, better ? y : old);
        vstore(index + c, better ? vec<Index>{} + static_cast<Index>(r) : vload(index + c));
      }
      for (; c < w; ++c)
        if (beats(x[c], best[c])) best[c] = x[c], index[c] = static_cast<Index>(r);
    }
    for (int64_t c = 0; c < w; ++c)
      if (index[c] >= 0) p[c] = {best[c], position + index[c]};
  }
  void merge(P& p, const P& q) const {
    if (beats(q.value, p.value)) p = q;
  }
  int64_t finish(P p) const { return p.index; }
};

// ---- logsumexp: the sum of exp(x - max) travels with the max ------------------------------------------------------
template <class C_> struct LogSumExp {
  using C = C_;
  struct P {
    C max;
    double sum;
  };

  static C shift_of(C max) { return max - max == 0 ? max : C(0); }  // exp(inf - inf) would be NaN
  static void raise(P& p, C max) {
    if (max == p.max) return;
    p.sum = p.sum == 0 ? 0 : p.sum * exp_(static_cast<double>(shift_of(p.max)) - shift_of(max));
    p.max = max;
  }
  // Among +inf and NaN there is nothing to scale: the sum is the max.
  static double unless_infinite(C max, C sum) { return max - max == 0 || max < 0 ? sum : max; }
  P identity() const { return {Larger::identity<C>(), 0}; }
  __attribute__((noinline)) void run(const C* x, int64_t n, int64_t, P& p) const {
    raise(p, Larger{}(p.max, fold_array<Larger>(x, n, Larger::identity<C>())));
    const C shift = shift_of(p.max);
    p.sum += unless_infinite(p.max, sum_block<C>(n, [=](int64_t i) DLCORE_MAP { return exp_below(x[i] - shift); }));
  }
  __attribute__((noinline)) void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    C max[1024], shift[1024], sum[1024];
    for (int64_t c = 0; c < w; ++c) max[c] = p[c].max, sum[c] = 0;
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) max[c] = Larger{}(max[c], x[r * ld + c]);
    for (int64_t c = 0; c < w; ++c) {
      raise(p[c], max[c]);
      shift[c] = shift_of(max[c]);
    }
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) sum[c] += exp_below(x[r * ld + c] - shift[c]);
    for (int64_t c = 0; c < w; ++c) p[c].sum += unless_infinite(max[c], sum[c]);
  }
  void merge(P& p, const P& q) const {
    P other = q;
    const C max = Larger{}(p.max, q.max);
    raise(p, max);
    raise(other, max);
    p.sum += other.sum;
  }
  double finish(P p) const { return log_(p.sum) + static_cast<double>(shift_of(p.max)); }
};

// ---- kernels ------------------------------------------------------------------------------------------------------
template <class T, class Out, class Op> static void reduce(const Args& a, Op op) {
  if constexpr (requires { op.distant; }) op.distant = a.in(0).size() * static_cast<int64_t>(sizeof(T)) >= kDistant;
  reduce_axes<T, Out>(op, a.in(0), a.out(), a.integer(0));
}

static void sum(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() {
    if constexpr (std::is_integral_v<T>) reduce<T, int64_t>(a, Sum<narrow_t<T>>{});
    else reduce<T, T>(a, Sum<T, compute_t<T>>{});
  });
}
static void mean(const Args& a) {
  const double count = static_cast<double>(a.integer(1));
  with_dtype(a.in(0).dtype, [&]<class T>() {
    if constexpr (!std::is_integral_v<T>) reduce<T, T>(a, Sum<T, compute_t<T>>{count});
    else with_float(a.out().dtype, [&]<class Out>() { reduce<T, Out>(a, Sum<wide_t<T>, double>{count}); });
  });
}
template <class Join> static void extremum(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() {
    if constexpr (std::is_same_v<T, compute_t<T>>) reduce<T, T>(a, Extremum<narrow_t<T>, Join>{});
    else reduce<T, T>(a, Extremum<T, Join, Ordered<T, std::is_same_v<Join, Larger>>>{});
  });
}
template <class Join> static void extreme_number(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { reduce<T, T>(a, Extremum<wide_t<T>, Join>{}); });
}
template <class Join> static void truth(const Args& a) {
  const DType dtype = a.in(0).dtype;
  with_bits(dtype, [&]<class T>() {
    if constexpr (sizeof(T) > 1)
      if (is_float(dtype)) return reduce<T, uint8_t>(a, Truth<T, Join, WithoutSign<T>>{});
    reduce<T, uint8_t>(a, Truth<T, Join, AsStored<T>>{});
  });
}
template <class Join> static void arg_extremum(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() { reduce<T, int64_t>(a, ArgExtremum<wide_t<T>, Join>{}); });
}
static void logsumexp(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { reduce<T, T>(a, LogSumExp<wide_t<T>>{}); });
}

static const Kernel kernels[] = {
    {"reduce:sum", sum, 0},
    {"reduce:mean", mean, 0},
    {"reduce:max", extremum<Larger>, 0},
    {"reduce:min", extremum<Smaller>, 0},
    {"reduce:nanmax", extreme_number<LargerNumber>, 0},
    {"reduce:nanmin", extreme_number<SmallerNumber>, 0},
    {"reduce:any", truth<Larger>, 0},
    {"reduce:all", truth<Smaller>, 0},
    {"reduce:argmax", arg_extremum<Larger>, kAllContiguous},
    {"reduce:argmin", arg_extremum<Smaller>, kAllContiguous},
    {"reduce:logsumexp", logsumexp, 0},
};
