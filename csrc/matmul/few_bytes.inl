// Products of few rows of bytes with AVX512-VNNI: B is read once, where it lies, and nothing of it is packed.
//
// VPDPBUSD multiplies bytes without a sign by bytes with one. Here B takes the sign that A has not, by adding or taking
// off 128 where both are of the same kind; so what is to be put right is a number for each row, 128 times its sum.
//
// Where rows of B are dense, four of them are interleaved in registers, 64 columns at a time, kFewDepth rows deep: few
// pages are open at once, and each line is fetched while its left neighbour is worked on. Sums wait in the first-level
// cache, in the order of the interleaved columns. Where columns of B are dense, four rows of A meet four columns, 64
// elements at a time, and 16 sums of 16 lanes become one vector.
//
// Bound by reading B (1 row: 8 shuffles for 256 bytes), from about 4 rows on by the products. int8 with K = N = 1024 on
// a Zen 4, in us: with B packed, now, and in torch 2.13's _int_mm.
//             one thread: rows of B dense      columns dense        two threads: rows       columns
//   1 row           71   23   44               52   15   18               70   16   28      51   11   13
//   2 rows          73   25   47               52   17   88               65   17   30      38   13   51
//   4 rows          80   33   57               60   27   98               62   22   34      51   18   56
//   8 rows          96   60   74               78   52  117               68   38   50      54   31   70
//   16 rows        133  124  113              114  105  153                -    -    -       -    -    -
constexpr int64_t kFewRows = 16;
constexpr int64_t kFewDepth = 64, kFewColumns = 64;
constexpr int64_t kFewStrips = 8;  // of the columns, for threads

// A's rows as bytes, dense, with zeros up to a whole vector and up to kFewRows; what the sums begin with.
struct FewRows {
  int64_t pitch;
  Scratch<uint8_t> bytes;
  int32_t start[kFewRows] = {};

  explicit FewRows(const ByteProduct& p) : pitch(ceil_div(p.k, 64) * 64), bytes(kFewRows * pitch) {
    __builtin_memset(bytes.get(), 0, static_cast<size_t>(kFewRows * pitch));
    for (int64_t r = 0; r < p.m; ++r) {
      uint8_t* to = bytes.get() + r * pitch;
      const uint8_t* from = p.a + r * p.a_row;
      if (p.a_col == 1) __builtin_memcpy(to, from, static_cast<size_t>(p.k));
      else for (int64_t k = 0; k < p.k; ++k) to[k] = from[k * p.a_col];
      if (p.a_signed != p.b_signed) continue;
      const uint8_t flip = p.a_signed ? 0x80 : 0;
      uint32_t sum = 0;  // of a + 128, or a
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < p.k; ++k) sum += static_cast<uint8_t>(to[k] ^ flip);
      start[r] = static_cast<int32_t>(p.a_signed ? 128 * (128 * static_cast<uint32_t>(p.k) - sum) : 128 * sum);
    }
  }
};

// Halves of x and y interleaved. With masks, of everything: the intrinsics without begin with what is not initialised,
// which compilers warn of.
static inline __attribute__((always_inline)) __m512i low_8(__m512i x, __m512i y) {
  return _mm512_maskz_unpacklo_epi8(~__mmask64{0}, x, y);
}
static inline __attribute__((always_inline)) __m512i high_8(__m512i x, __m512i y) {
  return _mm512_maskz_unpackhi_epi8(~__mmask64{0}, x, y);
}
static inline __attribute__((always_inline)) __m512i low_16(__m512i x, __m512i y) {
  return _mm512_maskz_unpacklo_epi16(~__mmask32{0}, x, y);
}
static inline __attribute__((always_inline)) __m512i high_16(__m512i x, __m512i y) {
  return _mm512_maskz_unpackhi_epi16(~__mmask32{0}, x, y);
}

template <bool a_signed> static inline __attribute__((always_inline)) Lanes add_bytes(Lanes sum, Lanes a, Lanes b) {
  return a_signed ? FourTerms::add(sum, b, a) : FourTerms::add(sum, a, b);
}

// sums[r][0 .. 64) += the product of R rows of A, `a` on, and `depth` rows of B. Of four columns' vectors the number v
// has columns 16 l + 4 v + e in lane l of 128 bits.
template <bool a_signed, int R>
static void few_strip(const uint8_t* b, int64_t b_row, __mmask64 there, int64_t depth, const uint8_t* a, int64_t pitch,
                      Lanes flip, int32_t* sums) {
  Lanes sum[R][4];
#pragma GCC unroll 16
  for (int i = 0; i < 4 * R; ++i) sum[i / 4][i % 4] = vload(sums + i * 16);
  for (int64_t k = 0; k < depth; k += 4, b += 4 * b_row) {
    const auto row = [&](int64_t t) DLCORE_MAP {  // beyond the last A has zeros
      const uint8_t* line = b + std::min(t, depth - 1 - k) * b_row;
      _mm_prefetch(reinterpret_cast<const char*>(line + 2 * kFewColumns), _MM_HINT_T0);
      return _mm512_xor_si512(_mm512_maskz_loadu_epi8(there, line), (__m512i)flip);
    };
    const __m512i x = row(0), y = row(1), z = row(2), w = row(3);
    const __m512i low_xy = low_8(x, y), high_xy = high_8(x, y), low_zw = low_8(z, w), high_zw = high_8(z, w);
    const __m512i columns[4] = {low_16(low_xy, low_zw), high_16(low_xy, low_zw), low_16(high_xy, high_zw),
                                high_16(high_xy, high_zw)};
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      int32_t terms;
      __builtin_memcpy(&terms, a + r * pitch + k, sizeof terms);
      const Lanes four = vset(terms);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[r][v] = add_bytes<a_signed>(sum[r][v], four, (Lanes)columns[v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4 * R; ++i) vstore(sums + i * 16, sum[i / 4][i % 4]);
}

// The sums of the lanes of 16 vectors: half as many lanes and vectors at each step.
static inline __attribute__((always_inline)) Lanes sums_of(const Lanes* x) {
  constexpr __mmask16 all16 = 0xffff;
  constexpr __mmask8 all8 = 0xff;
  __m512i fours[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto pair = [&](int k) DLCORE_MAP {
      const __m512i p = (__m512i)x[4 * i + k], q = (__m512i)x[4 * i + k + 1];
      return (__m512i)((Lanes)_mm512_maskz_unpacklo_epi32(all16, p, q) +
                       (Lanes)_mm512_maskz_unpackhi_epi32(all16, p, q));
    };
    const __m512i p = pair(0), q = pair(2);
    fours[i] = (__m512i)((Lanes)_mm512_maskz_unpacklo_epi64(all8, p, q) +
                         (Lanes)_mm512_maskz_unpackhi_epi64(all8, p, q));
  }
  const auto lanes = [&](__m512i p, __m512i q) DLCORE_MAP {
    return (__m512i)((Lanes)_mm512_maskz_shuffle_i32x4(all16, p, q, 0x88) +
                     (Lanes)_mm512_maskz_shuffle_i32x4(all16, p, q, 0xdd));
  };
  return (Lanes)lanes(lanes(fours[0], fours[1]), lanes(fours[2], fours[3]));
}

// sums[r (16 / R) + c] = the product of row r of A and of column c of B, of which `count` are there.
template <bool a_signed, int R>
static void few_dots(const uint8_t* b, int64_t b_col, int64_t count, int64_t depth, const uint8_t* a, int64_t pitch,
                     Lanes flip, int32_t* sums) {
  constexpr int C = 16 / R;
  const uint8_t* column[C];
#pragma GCC unroll 16
  for (int c = 0; c < C; ++c) column[c] = b + std::min<int64_t>(c, count - 1) * b_col;
  Lanes sum[16] = {};
  for (int64_t k = 0; k < depth; k += 64) {
    const __mmask64 there = depth - k >= 64 ? ~__mmask64{0} : (__mmask64{1} << (depth - k)) - 1;
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      const Lanes line = (Lanes)_mm512_maskz_loadu_epi8(there, column[c] + k) ^ flip;
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Lanes terms = vload(reinterpret_cast<const int32_t*>(a + r * pitch + k));
        sum[r * C + c] = add_bytes<a_signed>(sum[r * C + c], terms, line);
      }
    }
  }
  vstore(sums, sums_of(sum));
}

// f.operator()<R>(r) for groups of R rows, 1, 2 or 4, from row r on; zeros fill the last.
template <class F> static inline void few_groups(int64_t rows, F&& f) {
  for (int64_t r = 0; r < rows; r += 4) {
    if (rows - r == 1) f.template operator()<1>(r);
    else if (rows - r == 2) f.template operator()<2>(r);
    else f.template operator()<4>(r);
  }
}

// Columns [j0, j1), rows of B dense.
template <bool a_signed> static void few_strips(const ByteProduct& p, const FewRows& a, int64_t j0, int64_t j1) {
  const int64_t blocks = ceil_div(j1 - j0, kFewColumns);
  const Lanes flip = vset<int32_t>(p.a_signed == p.b_signed ? static_cast<int32_t>(0x80808080) : 0);
  const Scratch<int32_t> sums(blocks * kFewRows * kFewColumns);
  const auto of = [&](int64_t block, int64_t r) { return sums.get() + (block * kFewRows + r) * kFewColumns; };
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t r = 0; r < kFewRows; ++r) std::fill_n(of(block, r), kFewColumns, a.start[r]);
  for (int64_t k = 0; k < p.k; k += kFewDepth) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t j = j0 + block * kFewColumns, columns = j1 - j;
      const __mmask64 there = columns >= kFewColumns ? ~__mmask64{0} : (__mmask64{1} << columns) - 1;
      few_groups(p.m, [&]<int R>(int64_t r) {
        few_strip<a_signed, R>(p.b + k * p.b_row + j, p.b_row, there, std::min(kFewDepth, p.k - k),
                               a.bytes.get() + r * a.pitch + k, a.pitch, flip, of(block, r));
      });
    }
  }
  for (int64_t r = 0; r < p.m; ++r) {
    int32_t* c = p.c + r * p.c_row;
    for (int64_t j = j0; j < j1; ++j) {
      const int64_t at = (j - j0) % kFewColumns;
      c[j] = of((j - j0) / kFewColumns, r)[at % 16 / 4 * 16 + at / 16 * 4 + at % 4];
    }
  }
}

// Columns [j0, j1), which are dense in B.
template <bool a_signed> static void few_columns(const ByteProduct& p, const FewRows& a, int64_t j0, int64_t j1) {
  const Lanes flip = vset<int32_t>(p.a_signed == p.b_signed ? static_cast<int32_t>(0x80808080) : 0);
  for (int64_t first = j0; first < j1; first += 16) {
    few_groups(p.m, [&]<int R>(int64_t r) {
      for (int64_t j = first; j < std::min(first + 16, j1); j += 16 / R) {
        const int64_t count = std::min<int64_t>(16 / R, j1 - j);
        int32_t sums[16];
        few_dots<a_signed, R>(p.b + j * p.b_col, p.b_col, count, p.k, a.bytes.get() + r * a.pitch, a.pitch, flip, sums);
        for (int64_t i = 0; i < std::min<int64_t>(R, p.m - r); ++i) {
          const uint32_t start = static_cast<uint32_t>(a.start[r + i]);
          int32_t* c = p.c + (r + i) * p.c_row + j;
          for (int64_t l = 0; l < count; ++l)
            c[l] = static_cast<int32_t>(start + static_cast<uint32_t>(sums[i * 16 / R + l]));
        }
      }
    });
  }
}

static bool takes_few(const ByteProduct& p) {
  return multiplies_bytes() && p.m <= kFewRows && p.k > 0 && (p.b_col == 1 || p.b_row == 1 || p.n == 1);
}

// A product for each entry of a batch, as multiply_bytes.
template <class Place> static void multiply_few(const ByteProduct& p, int64_t batch, Place place) {
  const int64_t width = std::max<int64_t>(ceil_div(p.n, kFewColumns * kFewStrips), 2) * kFewColumns;
  const int64_t strips = ceil_div(p.n, width);
  const int64_t bytes = std::min(width, p.n) * p.k, part = (int64_t{1} << 18) / ceil_div(p.m, 4);  // 6 to 10 us
  const int64_t grain = std::max<int64_t>(1, part / bytes);
  parallel_ranges(batch * strips, grain, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      ByteProduct entry = p;
      place(entry, s / strips);
      const FewRows a(entry);
      const int64_t j0 = s % strips * width, j1 = std::min(j0 + width, p.n);
      const auto run = [&]<bool a_signed>() {
        if (p.b_col == 1) few_strips<a_signed>(entry, a, j0, j1);
        else few_columns<a_signed>(entry, a, j0, j1);
      };
      if (p.a_signed) run.template operator()<true>();
      else run.template operator()<false>();
    }
  });
}
