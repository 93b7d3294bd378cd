// Products with few rows or columns: bound by reading the large operand once, not by arithmetic. It is read in the
// order it has in memory, by dot products where k's elements are adjacent, by rows scaled and added otherwise.
//
// 16-bit floats are widened as they are read or, where the processor has VDPBF16PS, multiplied in pairs with the same
// bits (matmul/pairs.inl): nothing is packed. Dot products are also taken for up to kFewDots rows, four at a time, for
// packing an element takes as long as multiplying it with 10 rows; of float32 and float16 where k is long beside them.
// Microseconds on one core of a Zen 4, torch 2.13 beside; the weights (1024, 1024) lie in the third-level cache, ^T:
// transposed:
//                  bfloat16: 1 row  1 row ^T  8 rows ^T  128x784x10  float16: 1 row  8 rows ^T  float32: 4x4096x4
//   packed, in tiles           173       102        146        22.5             147        318                4.9
//   read in place               32        29         93        14.1              40        181                4.0
//   torch                      108        92        146        31              2200                          20
// and of float32:             8x1024x1024 ^T   14x1024x1024 ^T   8x256x256 ^T   14x784x128 ^T   128x784x10 ^T
//   packed, in tiles                317              424              17.5            36.3            29.4
//   read in place                   161              289              11.3            27.4            20.1
//   torch                           380              532              17.5
constexpr int kFew = 4;
constexpr int kFewDots = 14;  // but of float64, whose lines would push one another out of the first-level cache
constexpr int64_t kDotLength = 16;  // of float32, for each row: packing an element costs little
constexpr int64_t kDotMost = 8192;  // beyond, tiles' sums of parts of k are 4 times as near (140,000 numbers)
constexpr int kDots = 4;   // lines of y at once: independent chains, and streams the prefetcher can follow (sum_four)
constexpr int kSteps = 8;  // values of k at once, so that c is loaded and stored once for all of them

// c[i, j] = sum over k of x[i, k] * y[j, k], i < few.
template <class S> struct Narrow {
  const S* x;
  int64_t x_i, x_k;
  const S* y;
  int64_t y_j, y_k;
  compute_t<S>* c;
  int64_t c_i, c_j;
  int64_t few, many, depth;
};

// ---- how elements along k are read and multiplied ---------------------------------------------------------------

template <class S> struct OneByOne {
  using Line = vec<compute_t<S>>;
  static constexpr int kTaken = kLanes<compute_t<S>>;
  static Line read(const S* p) { return widen(p); }
  static Line read_first(const S* p, int n) { return widen_first(p, n); }
  static Line add(Line x, Line y, Line sum) { return vfma(x, y, sum); }
};

// A lane's two neighbours, the second one first: what VDPBF16PS does.
struct TwoByTwo {
  struct Line {
    vec<float> even, odd;
  };
  static constexpr int kTaken = 2 * kLanes<float>;
  static Line read(const bfloat16_t* p) {
    vec<uint32_t> pairs;
    __builtin_memcpy(&pairs, p, sizeof pairs);
    return {(vec<float>)(pairs << 16), (vec<float>)(pairs & 0xffff0000u)};
  }
  static Line read_first(const bfloat16_t* p, int n) {
    bfloat16_t all[kTaken] = {};
    __builtin_memcpy(all, p, static_cast<size_t>(n) * sizeof *p);
    return read(all);
  }
  static vec<float> add(Line x, Line y, vec<float> sum) { return vfma(x.even, y.even, vfma(x.odd, y.odd, sum)); }
};

#if DLCORE_ISA == 4
using Pairs = vec<int32_t>;  // 16 pairs

// Not the intrinsic: it is for functions that are compiled for AVX512-BF16.
static inline vec<float> add_pairs(Pairs x, Pairs y, vec<float> sum) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
  return sum;
}

struct InPairs {
  using Line = Pairs;
  static constexpr int kTaken = 2 * kLanes<float>;
  static Line read(const bfloat16_t* p) { return vload(reinterpret_cast<const int32_t*>(p)); }
  static Line read_first(const bfloat16_t* p, int n) {
    return (Pairs)_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), p);
  }
  static vec<float> add(Line x, Line y, vec<float> sum) { return add_pairs(x, y, sum); }
};
#endif

template <class T> static inline T sum_lanes(vec<T> v) {
  T lanes[kLanes<T>];
  vstore(lanes, v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// sum_lanes of each of four vectors, at `out`, `stride` apart.
template <class T> static inline void sum_four(const vec<T>* sums, T* out, int64_t stride) {
#if DLCORE_ISA >= 3
  if constexpr (std::is_same_v<T, float>) {  // in its order, so with its bits, but all four together: lanes are columns
    const auto quarter = [](vec<float> v) {
#if DLCORE_ISA >= 4
      const auto half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                        __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#else
      const auto half = v;
#endif
      const auto low = __builtin_shufflevector(half, half, 0, 1, 2, 3);
      return (__m128)(low + __builtin_shufflevector(half, half, 4, 5, 6, 7));
    };
    __m128 a = quarter(sums[0]), b = quarter(sums[1]), c = quarter(sums[2]), d = quarter(sums[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    float found[4];
    _mm_storeu_ps(found, (a + c) + (b + d));
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) out[l * stride] = found[l];
    return;
  }
#endif
  for (int l = 0; l < 4; ++l) out[l * stride] = sum_lanes<T>(sums[l]);
}

// y_k == x_k == 1; FEW rows from i on.
template <class Way, class S, int FEW, int LINES> static void dots(const Narrow<S>& p, int64_t i0, int64_t j) {
  using T = compute_t<S>;
  constexpr int N = Way::kTaken;
  vec<T> sum[FEW][LINES] = {};
  const S *x = p.x + i0 * p.x_i, *y = p.y + j * p.y_j;
  const auto add = [&](int64_t k, auto whole, int left) DLCORE_MAP {
    const auto read = [&](const S* q) DLCORE_MAP { return whole ? Way::read(q) : Way::read_first(q, left); };
    typename Way::Line line[LINES];
#pragma GCC unroll 8
    for (int l = 0; l < LINES; ++l) line[l] = read(y + l * p.y_j + k);
#pragma GCC unroll 8
    for (int i = 0; i < FEW; ++i) {
      const typename Way::Line row = read(x + i * p.x_i + k);
#pragma GCC unroll 8
      for (int l = 0; l < LINES; ++l) sum[i][l] = Way::add(row, line[l], sum[i][l]);
    }
  };
  int64_t k = 0;
  for (; k + N <= p.depth; k += N) add(k, std::true_type(), N);
  if (k < p.depth) add(k, std::false_type(), static_cast<int>(p.depth - k));
#pragma GCC unroll 8
  for (int i = 0; i < FEW; ++i) {
    T* to = p.c + (i0 + i) * p.c_i + j * p.c_j;
    if constexpr (LINES == 4) sum_four<T>(sum[i], to, p.c_j);
    else *to = sum_lanes<T>(sum[i][0]);
  }
}

template <class Way, class S, int LINES> static void dots_of_rows(const Narrow<S>& p, int64_t j) {
  for (int64_t i = 0; i < p.few; i += 4) {
    switch (p.few - i) {
      case 1: dots<Way, S, 1, LINES>(p, i, j); break;
      case 2: dots<Way, S, 2, LINES>(p, i, j); break;
      case 3: dots<Way, S, 3, LINES>(p, i, j); break;
      default: dots<Way, S, 4, LINES>(p, i, j);
    }
  }
}
template <class Way, class S> static void all_dots(const Narrow<S>& p) {
  int64_t j = 0;
  for (; j + kDots <= p.many; j += kDots) dots_of_rows<Way, S, kDots>(p, j);
  for (; j < p.many; ++j) dots_of_rows<Way, S, 1>(p, j);
}

// y_j == c_j == 1.
template <class S, int FEW, int STEPS> static void add_lines(const Narrow<S>& p, int64_t k) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  T x[FEW][STEPS];
  for (int i = 0; i < FEW; ++i) {
    for (int s = 0; s < STEPS; ++s) x[i][s] = load(p.x + i * p.x_i + (k + s) * p.x_k);
  }
  const S* y = p.y + k * p.y_k;
  const auto add = [&](int64_t j, auto whole, int lanes) {
    const auto load_sum = [&](const T* q) { return whole ? vload(q) : vload_first(q, lanes); };
    const auto load_line = [&](const S* q) { return whole ? widen(q) : widen_first(q, lanes); };
#pragma GCC unroll 8
    for (int i = 0; i < FEW; ++i) {
      vec<T> sum = k ? load_sum(p.c + i * p.c_i + j) : vec<T>{};
#pragma GCC unroll 8
      for (int s = 0; s < STEPS; ++s) sum = vfma(vset(x[i][s]), load_line(y + s * p.y_k + j), sum);
      if (whole) vstore(p.c + i * p.c_i + j, sum);
      else vstore_first(p.c + i * p.c_i + j, sum, lanes);
    }
  };
  int64_t j = 0;
  for (; j + L <= p.many; j += L) add(j, std::true_type(), L);
  if (j < p.many) add(j, std::false_type(), static_cast<int>(p.many - j));
}

template <class S, int FEW> static void all_lines(const Narrow<S>& p) {
  int64_t k = 0;
  for (; k + kSteps <= p.depth; k += kSteps) add_lines<S, FEW, kSteps>(p, k);
  for (; k < p.depth; ++k) add_lines<S, FEW, 1>(p, k);
}

#if DLCORE_ISA == 4
// Two rows of 32 columns as pairs, the first row above: lanes of 128 bits have columns 8 l + {0 .. 3}, and + {4 .. 7}.
struct TwoRows {
  Pairs low, high;
  TwoRows(const bfloat16_t* even, const bfloat16_t* odd, __mmask32 there) {
    const __m512i x = _mm512_maskz_loadu_epi16(there, even);
    const __m512i y = odd ? _mm512_maskz_loadu_epi16(there, odd) : __m512i{};
    low = (Pairs)_mm512_maskz_unpacklo_epi16(~__mmask32{0}, y, x);
    high = (Pairs)_mm512_maskz_unpackhi_epi16(~__mmask32{0}, y, x);
  }
  static __mmask32 mask(int64_t columns) {
    return columns >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((uint64_t{1} << columns) - 1);
  }
};
// What has the columns of TwoRows, in their order.
template <class V> static inline void in_order(V& low, V& high) {
  const __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
  const __m512i second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  const __m512i x = (__m512i)low, y = (__m512i)high;
  low = (V)_mm512_maskz_permutex2var_epi64(0xff, x, first, y);
  high = (V)_mm512_maskz_permutex2var_epi64(0xff, x, second, y);
}

// add_lines in pairs; c has room for whole blocks of 32 columns, and gets them in order with the last step.
template <int FEW, int STEPS> static void add_pair_lines(const Narrow<bfloat16_t>& p, int64_t k) {
  constexpr int L = kLanes<float>, kPairs = (STEPS + 1) / 2;
  int32_t x[FEW][kPairs];
  for (int i = 0; i < FEW; ++i) {
    for (int q = 0; q < kPairs; ++q) {
      const bfloat16_t* even = p.x + i * p.x_i + (k + 2 * q) * p.x_k;
      const uint32_t odd = 2 * q + 1 < STEPS ? even[p.x_k].bits : 0;
      x[i][q] = static_cast<int32_t>(static_cast<uint32_t>(even->bits) << 16 | odd);
    }
  }
  const bool last = k + STEPS == p.depth;
  for (int64_t j = 0; j < p.many; j += 2 * L) {
    const __mmask32 there = TwoRows::mask(p.many - j);
    vec<float> sum[FEW][2] = {};
#pragma GCC unroll 8
    for (int i = 0; i < 2 * FEW && k; ++i) sum[i / 2][i % 2] = vload(p.c + i / 2 * p.c_i + j + i % 2 * L);
#pragma GCC unroll 4
    for (int q = 0; q < kPairs; ++q) {
      const bfloat16_t* even = p.y + (k + 2 * q) * p.y_k + j;
      const TwoRows rows(even, 2 * q + 1 < STEPS ? even + p.y_k : nullptr, there);
#pragma GCC unroll 4
      for (int i = 0; i < FEW; ++i) {
        const Pairs both = vset(x[i][q]);
        sum[i][0] = add_pairs(both, rows.low, sum[i][0]), sum[i][1] = add_pairs(both, rows.high, sum[i][1]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < FEW; ++i) {
      if (last) in_order(sum[i][0], sum[i][1]);
      vstore(p.c + i * p.c_i + j, sum[i][0]), vstore(p.c + i * p.c_i + j + L, sum[i][1]);
    }
  }
}

template <int FEW> static void all_pair_lines(const Narrow<bfloat16_t>& p) {
  int64_t k = 0;
  for (; k + kSteps <= p.depth; k += kSteps) add_pair_lines<FEW, kSteps>(p, k);
  for (; k + 2 <= p.depth; k += 2) add_pair_lines<FEW, 2>(p, k);
  if (k < p.depth) add_pair_lines<FEW, 1>(p, k);
}
#endif

// Rows and columns are both few: each sum is four, over every fourth k, for a single one would wait for itself. With
// 512 bits, two multiply-adds of 256 are done at once.
constexpr int64_t kLong = 64;
template <class T> using Short __attribute__((vector_size(DLCORE_ISA == 4 ? kVectorBytes / 2 : kVectorBytes))) = T;
template <class T> constexpr int kShortLanes = static_cast<int>(sizeof(Short<T>) / sizeof(T));

template <class T, int FEW> static void short_lines(const Narrow<T>& p) {
  using V = Short<T>;
  const int many = static_cast<int>(p.many);
  V sum[4][FEW] = {};
  const auto add = [&](int64_t k, int chain) DLCORE_MAP {
    const V y = load_first<V>(p.y + k * p.y_k, many);
#pragma GCC unroll 4
    for (int i = 0; i < FEW; ++i)
      sum[chain][i] = multiply_add<T>(p.x[i * p.x_i + k * p.x_k] - V{}, y, sum[chain][i]);
  };
  int64_t k = 0;
  for (; k + 4 <= p.depth; k += 4) {
#pragma GCC unroll 4
    for (int chain = 0; chain < 4; ++chain) add(k + chain, chain);
  }
  for (; k < p.depth; ++k) add(k, 0);
#pragma GCC unroll 4
  for (int i = 0; i < FEW; ++i)
    store_first(p.c + i * p.c_i, (sum[0][i] + sum[1][i]) + (sum[2][i] + sum[3][i]), many);
}

// f.operator()<FEW>() for `few` <= kFew rows.
template <class F> static void with_few(int64_t few, F&& f) {
  switch (few) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    default: return f.template operator()<4>();
  }
}

template <class S> static void run_narrow(const Narrow<S>& p) {
  constexpr bool halves = std::is_same_v<S, bfloat16_t>;
#if DLCORE_ISA == 4
  if constexpr (halves) {
    if (multiplies_bfloat16()) {
      if (p.y_k == 1) return all_dots<InPairs>(p);
      return with_few(p.few, [&]<int FEW>() { all_pair_lines<FEW>(p); });
    }
  }
#endif
  if (p.y_k == 1) return all_dots<std::conditional_t<halves, TwoByTwo, OneByOne<S>>>(p);
  with_few(p.few, [&]<int FEW>() { all_lines<S, FEW>(p); });
}

// Whether k's elements are adjacent in the large operand, and rows are few enough for dot products: each widens a line
// anew, which SSE2 does number by number.
template <class S> static bool takes_dots(int64_t few, int64_t k, int64_t y_k) {
  const bool widens = std::is_same_v<S, float> || (std::is_same_v<S, half_t> && DLCORE_ISA >= 3);
  const bool pays = std::is_same_v<S, bfloat16_t> || (widens && k >= kDotLength * few && k <= kDotMost);
  return y_k == 1 && few <= (pays ? kFewDots : kFew);
}

// Which of these ways a product takes, if any: the same for all of its blocks.
struct NarrowWay {
  bool rows, along_k, along_lines, along_both;  // of A are few, or columns of B

  template <class S> explicit NarrowWay(const Product<S>& p) {
    using T = compute_t<S>;
    rows = p.m <= kFew || takes_dots<S>(p.m, p.k, p.b_row);
    const int64_t few = rows ? p.m : p.n, y_k = rows ? p.b_row : p.a_col, y_j = rows ? p.b_col : p.a_row;
    along_k = takes_dots<S>(few, p.k, y_k);
    // Of lines shorter than a vector, sums would be a chain through memory: tiles keep them in registers.
    const bool lines = few <= kFew && y_j == 1 && (rows || p.c_row == 1);
    along_lines = lines && std::max(p.m, p.n) >= kLanes<T>;
    along_both = std::is_same_v<S, T> && lines && rows && p.n <= kShortLanes<T> && p.k >= kLong;
    if (p.k < 2 * kLanes<T>) along_k = along_lines = along_both = false;
  }
  explicit operator bool() const { return along_k || along_lines || along_both; }
};

// The block of C by one of these ways, or false where none suits. 16-bit results wait in float32 for what is done to
// them at the end.
template <class S, class Finish>
static bool narrow_block(const Product<S>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1, Finish finish) {
  using T = compute_t<S>;
  constexpr bool same = std::is_same_v<S, T>;
  const NarrowWay way(p);
  if (!way) return false;
  Narrow<S> q;
  if (way.rows) q = {p.a, p.a_row, p.a_col, p.b + j0 * p.b_col, p.b_col, p.b_row, nullptr, 0, 1, p.m, j1 - j0, p.k};
  else q = {p.b, p.b_col, p.b_row, p.a + i0 * p.a_row, p.a_row, p.a_col, nullptr, 1, 0, p.n, i1 - i0, p.k};
  Room<S> x(way.along_k && q.x_k != 1 ? q.few * q.depth : 0);
  if (way.along_k && q.x_k != 1) {
    for (int64_t i = 0; i < q.few; ++i) {
      for (int64_t k = 0; k < q.depth; ++k) x.get()[i * q.depth + k] = q.x[i * q.x_i + k * q.x_k];
    }
    q.x = x.get(), q.x_i = q.depth, q.x_k = 1;
  }
  constexpr int64_t block = 2 * kLanes<T>;  // in pairs, whole ones are written; one more, lest rows collide
  const int64_t row = same ? p.c_row : way.rows ? (ceil_div(j1 - j0, block) + 1) * block : p.n;
  Room<T> sums(same ? 0 : (i1 - i0) * row + block);
  if constexpr (same) q.c = p.c + i0 * p.c_row + j0;
  else q.c = sums.get();
  (way.rows ? q.c_i : q.c_j) = row;
  if constexpr (same) {
    if (way.along_both && !way.along_k) with_few(q.few, [&]<int FEW>() { short_lines<T, FEW>(q); });
    else run_narrow(q);
  } else {
    run_narrow(q);
  }
  finish(q.c, row);
  return true;
}
