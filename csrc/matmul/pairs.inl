// Products of bfloat16 on processors that multiply them two at a time (AVX512-BF16: Zen 4, Cooper Lake and later).
//
// VDPBF16PS adds two products to a float32: c + a1 b1, rounded, then + a0 b0, rounded, 0 being the lower half of each
// 32-bit lane. A lane holds an even k in its upper half and the next k in its lower one, so that every element of C is
// the chain of multiply-adds over k that other processors compute: the same bits, but where a number is subnormal,
// which this instruction takes and gives as 0. It does twice the multiply-adds of a float32 instruction, and packed
// operands take half the memory. A last odd k is multiplied with 0 x 0. Both operands are packed; but of a B whose
// columns are adjacent, up to kInPlaceRows rows interleave two rows of 32 columns in registers, which costs 2 shuffles
// for 28 products in a tile of 14 rows. Of larger products all panels of a group meet a tile of A, which is read once.
//
// Blocks, slices and partition are those of gemm.inl; tiles are 14 rows x 2 vectors, and on Intel's processors those of
// broad.inl. GFLOP/s on one core of a Zen 5:
//                              64^3   128x784x256   256^3   512^3   1024^3   2048x32x2048
//   float32                     204       225        236     243      231        167
//   bfloat16, widened           144       217        217     232      226        113
//   bfloat16, in pairs          279       437        433     468      435        195
// On one core of a Zen 4, torch 2.13 beside:
//                           8x1024x1024   32x1024x1024   128x784x256   512^3   1024^3
//   all packed, panel by panel     73            143           199        199      188
//   in place, tile by tile        211            220           214        203      202
//   torch                         102            170           202        218      210
#if DLCORE_ISA == 4
#pragma GCC push_options
#pragma GCC target("avx512bf16")

constexpr int kPairVectors = 4;
constexpr int kPairRows[2][kPairVectors + 1] = {{0, 14, 14, 0, 0}, {0, 14, 12, 8, 6}};  // tall, broad; [vectors]
constexpr int kMostPairRows = 14;
// Rows up to which B is read where it is, by tiles of 14 rows. On a Zen 4 packing an element took as long as
// multiplying it with 20 rows; where tiles are broad for want of loads (not measured), one that is not may be a fifth
// slower.
constexpr int64_t kInPlaceRows[2] = {128, 56};

static inline Pairs swap_halves(Pairs v) { return (Pairs)_mm512_maskz_rol_epi32(0xffff, (__m512i)v, 16); }

// kLanes pairs whose two elements are `apart` elements apart, of lanes that are adjacent; `two`: there is a second one.
static inline Pairs join_rows(const bfloat16_t* even, int64_t apart, int lanes, bool two) {
  const __mmask16 mask = static_cast<__mmask16>((1u << lanes) - 1);
  const auto read = [&](const bfloat16_t* p) DLCORE_MAP {
    return _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_maskz_loadu_epi16(mask, p));
  };
  const __m512i upper = _mm512_maskz_slli_epi32(0xffff, read(even), 16);
  return (Pairs)(two ? _mm512_or_si512(upper, read(even + apart)) : upper);
}

// out[q * pitch + l] = the pair (2 q, 2 q + 1) of line l < count, zeros for further l < stored; elements of a line lie
// `step` apart, lines `stride`.
static void pack_lines(const bfloat16_t* lines, int64_t stride, int64_t step, int count, int64_t depth, int32_t* out,
                       int64_t pitch, int stored) {
  constexpr int L = kLanes<int32_t>;
  const int64_t whole = depth / 2, pairs = (depth + 1) / 2;
  const auto put = [&](int64_t q, Pairs v) DLCORE_MAP {
    _mm512_mask_storeu_epi32(out + q * pitch, static_cast<__mmask16>((1u << stored) - 1), (__m512i)v);
  };
  if (stride == 1) {
    for (int64_t q = 0; q < pairs; ++q) put(q, join_rows(lines + 2 * q * step, step, count, q < whole));
  } else if (step == 1) {
    for (int64_t q = 0; q < pairs; q += L) {
      const int64_t left = depth - 2 * q;  // elements
      const __mmask32 mask = left >= 2 * L ? ~__mmask32{0} : static_cast<__mmask32>((uint64_t{1} << left) - 1);
      vec<float> square[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) {
        square[l] = vec<float>{};
        if (l < count)
          square[l] = (vec<float>)swap_halves((Pairs)_mm512_maskz_loadu_epi16(mask, lines + l * stride + 2 * q));
      }
      swap_blocks<L / 2, float>(square);
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l)
        if (q + l < pairs) put(q + l, (Pairs)square[l]);
    }
  } else {
    for (int64_t q = 0; q < pairs; ++q) {
      for (int l = 0; l < stored; ++l) {
        const bfloat16_t* even = lines + l * stride + 2 * q * step;
        const uint32_t upper = l < count ? even[0].bits : 0, lower = l < count && q < whole ? even[step].bits : 0;
        out[q * pitch + l] = static_cast<int32_t>(upper << 16 | lower);
      }
    }
  }
}

struct PairTile {
  const int32_t* a;  // [depth][rows]
  const int32_t* b;  // [depth][b_row]
  int64_t b_row;
  float* c;  // whole vectors
  int64_t c_row;
  int64_t depth;  // pairs
  bool accumulate;
};

template <int MR, int NV> static void pair_tile(const PairTile& t) {
  constexpr int L = kLanes<float>;
  __m512 sum[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) sum[i][v] = _mm512_setzero_ps();
  const int32_t* a = t.a;
  const int32_t* b = t.b;
  const int64_t b_row = t.b_row;
  float* c = t.c;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c = hidden(c + t.c_row))
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) __builtin_prefetch(c + v * L, 1);
  for (int64_t q = t.depth; q > 0; --q, a += MR, b += b_row) {
    __m512bh row[NV];
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) row[v] = (__m512bh)_mm512_loadu_si512(b + v * L);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32(a[i]);
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], x, row[v]);
    }
  }
  c = t.c;
  const int64_t c_row = t.c_row;
  const bool accumulate = t.accumulate;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += c_row) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      const __m512 x = accumulate ? _mm512_add_ps(_mm512_loadu_ps(c + v * L), sum[i][v]) : sum[i][v];
      _mm512_storeu_ps(c + v * L, x);
    }
  }
}

// Few rows read B where it lies, a line of each of its rows at a time; meanwhile the next one is fetched.
struct FewPairs {
  const int32_t* a;  // [(depth + 1) / 2][rows]
  const bfloat16_t* b;
  int64_t b_row, depth;  // depth: elements
  __mmask32 there;       // of 32 columns
  float* c;              // all 32
  int64_t c_row;
  bool accumulate;
};

template <int MR> static void few_pairs_tile(const FewPairs& t) {
  constexpr int L = kLanes<float>;
  vec<float> sum[MR][2] = {};
  const int32_t* a = t.a;
  const bfloat16_t* b = t.b;
  const int64_t b_row = t.b_row;
  const __mmask32 there = t.there;
  const auto add = [&](const bfloat16_t* odd) DLCORE_MAP {
    const TwoRows rows(b, odd, there);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const Pairs x = vset(a[i]);
      sum[i][0] = add_pairs(x, rows.low, sum[i][0]), sum[i][1] = add_pairs(x, rows.high, sum[i][1]);
    }
  };
  for (int64_t q = t.depth / 2; q > 0; --q, a += MR, b += 2 * b_row) {
    _mm_prefetch(reinterpret_cast<const char*>(b + 2 * L), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(b + b_row + 2 * L), _MM_HINT_T0);
    add(b + b_row);
  }
  if (t.depth % 2) add(nullptr);
  float* c = t.c;
  const int64_t c_row = t.c_row;
  const bool accumulate = t.accumulate;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += c_row) {
    in_order(sum[i][0], sum[i][1]);
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) vstore(c + v * L, accumulate ? vload(c + v * L) + sum[i][v] : sum[i][v]);
  }
}
template <int... I> static void few_pairs_tile(int rows, const FewPairs& t, std::integer_sequence<int, I...>) {
  static constexpr void (*tiles[])(const FewPairs&) = {few_pairs_tile<kFew + 1 + I>...};
  tiles[rows - kFew - 1](t);
}

using PairFunction = void (*)(const PairTile&);
template <int NV, int... I> static PairFunction pair_tile_of(int rows, std::integer_sequence<int, I...>) {
  static constexpr PairFunction tiles[] = {pair_tile<I + 1, NV>...};
  return tiles[rows - 1];
}
static PairFunction pair_tile_of(int rows, int vectors) {
  switch (vectors) {
    case 1: return pair_tile_of<1>(rows, std::make_integer_sequence<int, kMostPairRows>());
    case 2: return pair_tile_of<2>(rows, std::make_integer_sequence<int, kMostPairRows>());
    case 3: return pair_tile_of<3>(rows, std::make_integer_sequence<int, kPairRows[1][3]>());
    default: return pair_tile_of<4>(rows, std::make_integer_sequence<int, kPairRows[1][4]>());
  }
}

// Rows [i0, i1) and columns [j0, j1) of C.
struct PairBlock {
  using S = bfloat16_t;
  static constexpr int L = kLanes<float>, kChunk = kTileVectors * L;  // what `finish` takes at most

  const Product<S>& p;
  const int64_t i0, i1, j0, j1;
  const int64_t rows = i1 - i0, columns = j1 - j0, padded = ceil_div(columns, kChunk) * kChunk;
  const int64_t slices = slices_of<float>(p.k), depth = pairs_of(longest_slice<float>(p.k));
  const bool broad = product_tiles() == Tiles::broad;
  const int vectors = static_cast<int>(std::min<int64_t>(ceil_div(columns, L), broad ? kPairVectors : kTileVectors));
  const bool in_place = p.m > kFew && p.m <= kInPlaceRows[broad] && p.b_col == 1;
  const int64_t width = int64_t{vectors} * L;
  const int64_t tiles = ceil_div(rows, in_place ? kMostPairRows : kPairRows[broad][vectors]);
  const FinishFunction<S> finish = finish_for(p);

  const int64_t pitch = padded + L;  // of sums: not a power of two

  static int64_t pairs_of(int64_t k) { return (k + 1) / 2; }
  int64_t first_row(int64_t tile) const { return rows * tile / tiles; }  // counted from i0
  int64_t panel_size() const { return depth * width + 32; }  // not a power of two: panels fall into different sets

  void run() const {
    Scratch<int32_t> copy_a(rows * depth);
    Room<int32_t> panels(in_place ? 0 : ceil_div(std::min(padded, kGroupColumns), width) * panel_size());
    // Rounded once, after the last slice.
    Scratch<float> sums(slices > 1 ? rows * pitch : kMostPairRows * std::max<int64_t>(width, kChunk));
    for (int64_t s = 0; s < slices; ++s) {
      const int64_t k0 = slice_begin(p.k, slices, s), k1 = slice_begin(p.k, slices, s + 1);
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t end = first_row(t + 1), pitch = end - first_row(t);
        for (int64_t i = first_row(t); i < end; i += L) {
          const int count = static_cast<int>(std::min<int64_t>(end - i, L));
          pack_lines(p.a + (i0 + i) * p.a_row + k0 * p.a_col, p.a_row, p.a_col, count, k1 - k0,
                     copy_a.get() + first_row(t) * depth + (i - first_row(t)), pitch, count);
        }
      }
      if (in_place) {
        for (int64_t j = j0; j < j1; j += kChunk) run_few(j, k0, k1, copy_a.get(), sums.get());
        continue;
      }
      for (int64_t group = j0; group < j1; group += kGroupColumns) {
        const int64_t end = std::min(group + kGroupColumns, j1);
        pack_b(k0, k1, group, end, panels.get());
        for (int64_t t = 0; t < tiles; ++t) {
          for (int64_t j = group; j < end; j += width)
            run_tile(t, j, std::min(j + width, end), k0, k1, copy_a.get(),
                     panels.get() + (j - group) / width * panel_size(), sums.get());
        }
      }
    }
  }

  // Adjacent columns are read in long runs, two rows at once.
  void pack_b(int64_t k0, int64_t k1, int64_t j0, int64_t j1, int32_t* panels) const {
    const auto place = [&](int64_t j) DLCORE_MAP {
      return panels + (j - j0) / width * panel_size() + (j - j0) % width;
    };
    const int64_t whole = p.b_col == 1 ? j0 + (j1 - j0) / kChunk * kChunk : j0;
    for (int64_t k = k0; k < k1 && whole > j0; k += 2) {
      const S* even = p.b + k * p.b_row;
      for (int64_t j = j0; j < whole; j += kChunk) {
        TwoRows rows(even + j, k + 1 < k1 ? even + p.b_row + j : nullptr, ~__mmask32{0});
        in_order(rows.low, rows.high);
        vstore(place(j) + (k - k0) / 2 * width, rows.low), vstore(place(j + L) + (k - k0) / 2 * width, rows.high);
      }
    }
    for (int64_t j = whole; j < j1; j += L) {
      pack_lines(p.b + k0 * p.b_row + j * p.b_col, p.b_col, p.b_row, static_cast<int>(std::min<int64_t>(j1 - j, L)),
                 k1 - k0, place(j), width, L);
    }
  }

  // All rows of the columns [j, j + kChunk); sums have room for them, for a block ends with C or after whole chunks.
  void run_few(int64_t j, int64_t k0, int64_t k1, const int32_t* copy_a, float* sums) const {
    const int here = static_cast<int>(std::min<int64_t>(kChunk, j1 - j));
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t i = first_row(t);
      const int count = static_cast<int>(first_row(t + 1) - i);
      FewPairs tile{copy_a + i * depth, p.b + k0 * p.b_row + j, p.b_row, k1 - k0, TwoRows::mask(here), sums, kChunk,
                    k0 > 0};
      if (slices > 1) tile.c = sums + i * pitch + (j - j0), tile.c_row = pitch;
      few_pairs_tile(count, tile, std::make_integer_sequence<int, kMostPairRows - kFew>());
      if (k1 == p.k) finish(p, tile.c, tile.c_row, i0 + i, j, count, here);
    }
  }

  void run_tile(int64_t t, int64_t j, int64_t end, int64_t k0, int64_t k1, const int32_t* copy_a,
                const int32_t* panel, float* sums) const {
    const int64_t i = first_row(t);
    const int count = static_cast<int>(first_row(t + 1) - i);
    PairTile tile{copy_a + i * depth, panel, width, sums, width, pairs_of(k1 - k0), k0 > 0};
    if (slices > 1) tile.c = sums + i * pitch + (j - j0), tile.c_row = pitch;
    pair_tile_of(count, static_cast<int>(ceil_div(end - j, L)))(tile);
    if (k1 < p.k) return;
    for (int64_t at = j; at < end; at += kChunk) {
      const int width_here = static_cast<int>(std::min<int64_t>(kChunk, end - at));
      finish(p, tile.c + (at - j), tile.c_row, i0 + i, at, count, width_here);
    }
  }
};

#pragma GCC pop_options
#endif
