// Products of bfloat16 on processors that multiply them two at a time (AVX512-BF16: Zen 4, Cooper Lake and later).
//
// VDPBF16PS adds two products to a float32: c + a1 b1, rounded, then + a0 b0, rounded, 0 being the lower half of each
// 32-bit lane. A lane holds an even k in its upper half and the next k in its lower one, so that every element of C is
// the chain of multiply-adds over k that other processors compute: the same bits, but where a number is subnormal,
// which this instruction takes and gives as 0. It does twice the multiply-adds of a float32 instruction, and packed
// operands take half the memory. A last odd k is multiplied with 0 x 0. Both operands are packed; but of a B whose
// columns are adjacent, up to kInPlaceRows rows interleave two rows of 32 columns in registers, which costs 2 shuffles
// for 28 products in a tile of 14 rows. Rows of A are copied as they lie, not transposed: a tile reads as many lines,
// each for 16 steps. All panels of a group meet a tile of A, which is read once, and all slices of k follow one another
// in it, so that sums wait in the first-level cache. Results to which nothing is done but to be rounded are rounded in
// registers: of 4096 x 64 @ 64 x 64 that took a third of the time.
//
// Blocks, slices and partition are those of gemm.inl; tiles are 14 rows x 2 vectors, and on Intel's processors those of
// broad.inl. GFLOP/s on one core of a Zen 5:
//                              64^3   128x784x256   256^3   512^3   1024^3   2048x32x2048
//   float32                     204       225        236     243      231        167
//   bfloat16, widened           144       217        217     232      226        113
//   bfloat16, in pairs          279       437        433     468      435        195
// On one core of a Zen 4, torch 2.13 beside:
//                           8x1024x1024   32x1024x1024   128x784x256   512^3   1024^3   4096x64x64   2048x32x2048
//   all packed, panel by panel     73            143           199        199      188       168           136
//   in place, tile by tile        211            220           214        203      202       168           136
//   rounded in registers          219            227           225        221      219       200           197
//   torch                         102            170           202        218      210       200           192
// and of many products of n x n, as a batch:
//                                4^3    8^3   16^3   32^3   64^3   100^3
//   all packed                   1.1    6.6     27    113    159     137
//   rounded in registers         2.2     14     63    165    203     182
//   torch                        1.2    8.1     43    127    182     178
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

// A tile of C, its sums in registers: PairTile reads packed B, FewPairs reads it where it lies.
struct PairSums {
  const int32_t* a;  // the pair q of row i is a[i * a_row + q * a_col]
  int64_t a_row, a_col;
  int64_t depth;  // of k: an odd one has a last pair whose second half is 0
  float* c;       // whole vectors
  int64_t c_row;
  bool accumulate, last;  // not the first slice of k, the last one
  bfloat16_t* rounded;    // where the results go, `columns` of each row, or nullptr
  int64_t rounded_row;
  int columns;
};
struct PairTile : PairSums {
  const int32_t* b;  // [pairs][b_row]
  int64_t b_row;
};
// Of few rows, which read a line of each row of B at a time; meanwhile the next one is fetched.
struct FewPairs : PairSums {
  const bfloat16_t* b;
  int64_t b_row;
};

// Up to 32 bfloat16 of the two vectors x and y.
template <bool interleaved> static inline void store_rounded(bfloat16_t* to, __m512 x, __m512 y, __mmask32 there) {
  __m512i both = (__m512i)_mm512_cvtne2ps_pbh(y, x);
  if (interleaved) both = _mm512_maskz_permutexvar_epi64(0xff, _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), both);
  _mm512_mask_storeu_epi16(to, there, both);
}

// The products of MR rows, by add(q), and what becomes of them; true if they were rounded and stored where they belong.
// The instruction that rounds takes subnormal numbers as 0: those that adding slices has left are not for it.
template <int MR, int NV, bool interleaved, class Multiply>
static inline __attribute__((always_inline)) bool pair_sums(const PairSums& t, Multiply multiply) {
  constexpr int L = kLanes<float>, kGroups = (MR + 2) / 3;
  __m512 sum[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) sum[i][v] = _mm512_setzero_ps();
  if (bfloat16_t* to = t.rounded) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, to = hidden(to + t.rounded_row)) __builtin_prefetch(to, 1);
  }
  const int64_t a_row = t.a_row, a_col = t.a_col;
  const int32_t* a[kGroups];  // of three rows each: base + {0, 1, 2} strides are addressing modes
#pragma GCC unroll 16
  for (int g = 0; g < kGroups; ++g) a[g] = t.a + 3 * g * a_row;
  multiply([&](const __m512i (&row)[NV]) DLCORE_MAP {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32(a[i / 3][i % 3 * a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], x, (__m512bh)row[v]);
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) a[g] += a_col;
  });
  const PairSums& again = *hidden(&t);
  bool rounds = again.rounded != nullptr;
  if (again.accumulate) {
    const float* c = again.c;
    __mmask16 subnormal = 0;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, c += again.c_row)
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        sum[i][v] = _mm512_add_ps(_mm512_loadu_ps(c + v * L), sum[i][v]);
        subnormal |= _mm512_fpclass_ps_mask(sum[i][v], 0x20);
      }
    rounds = rounds && !subnormal;
  }
  if (rounds) {
    bfloat16_t* to = again.rounded;
    const int64_t to_row = again.rounded_row;
    const uint64_t there = again.columns < 64 ? (uint64_t{1} << again.columns) - 1 : ~uint64_t{0};
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, to += to_row)
#pragma GCC unroll 16
      for (int v = 0; v < NV; v += 2) {
        const __mmask32 here = static_cast<__mmask32>(there >> v * L);
        store_rounded<interleaved>(to + v * L, sum[i][v], sum[i][v + (v + 1 < NV)], v + 1 < NV ? here : here & 0xffff);
      }
    return true;
  }
  if constexpr (interleaved) {
    if (again.last) {
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) in_order(sum[i][0], sum[i][1]);
    }
  }
  float* c = again.c;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += again.c_row)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) _mm512_storeu_ps(c + v * L, sum[i][v]);
  return false;
}

template <int MR, int NV> static bool pair_tile(const PairTile& t) {
  return pair_sums<MR, NV, false>(t, [&](auto add) DLCORE_MAP {
    const int32_t* b = t.b;
    const int64_t b_row = t.b_row;
    for (int64_t q = (t.depth + 1) / 2; q > 0; --q, b += b_row) {
      __m512i row[NV];
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) row[v] = _mm512_loadu_si512(b + v * kLanes<float>);
      add(row);
    }
  });
}

template <int MR> static bool few_pairs_tile(const FewPairs& t) {
  return pair_sums<MR, 2, true>(t, [&](auto add) DLCORE_MAP {
    const bfloat16_t* b = t.b;
    const int64_t b_row = t.b_row;
    const __mmask32 there = TwoRows::mask(t.columns);
    const auto both = [&](const bfloat16_t* odd) DLCORE_MAP {
      const TwoRows rows(b, odd, there);
      const __m512i row[2] = {(__m512i)rows.low, (__m512i)rows.high};
      add(row);
    };
    for (int64_t q = t.depth / 2; q > 0; --q, b += 2 * b_row) {
      _mm_prefetch(reinterpret_cast<const char*>(b + 2 * kLanes<float>), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(b + b_row + 2 * kLanes<float>), _MM_HINT_T0);
      both(b + b_row);
    }
    if (t.depth % 2) both(nullptr);
  });
}
template <int... I> static bool few_pairs_tile(int rows, const FewPairs& t, std::integer_sequence<int, I...>) {
  static constexpr bool (*tiles[])(const FewPairs&) = {few_pairs_tile<kFew + 1 + I>...};
  return tiles[rows - kFew - 1](t);
}

using PairFunction = bool (*)(const PairTile&);
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
  const int64_t rows = i1 - i0, columns = j1 - j0;
  const int64_t slices = slices_of<float>(p.k), depth = pairs_of(longest_slice<float>(p.k)), pairs = pairs_of(p.k);
  const bool broad = product_tiles() == Tiles::broad;
  const int vectors = static_cast<int>(std::min<int64_t>(ceil_div(columns, L), broad ? kPairVectors : kTileVectors));
  const bool in_place = p.m > kFew && p.m <= kInPlaceRows[broad] && p.b_col == 1;
  // Columns up to here: of less than a vector more, half of what is computed would be for nothing.
  const int64_t in_place_end = !in_place ? j0 : columns % kChunk > L ? j1 : j1 - columns % kChunk;
  const int64_t width = int64_t{vectors} * L;
  const int64_t tiles = ceil_div(rows, in_place ? kMostPairRows : kPairRows[broad][vectors]);
  const bool plain = !p.bias && !p.pre && p.activation == Activation::none;  // results are rounded, no more
  const bool waits = !plain || slices > 1;  // sums wait in float32
  const FinishFunction<S> finish = finish_for(p);

  // Rows of A are copied as they lie but for the halves of pairs, an odd number of lines apart lest they collide; of an
  // A^T, and of one with strides, the rows of a tile pair by pair.
  const bool by_rows = p.a_col == 1;
  const int64_t pitch = ceil_div(pairs, 2 * L) * 2 * L + L;
  // Half of the second-level cache is for all slices of some columns of B.
  const int64_t fits = second_level_cache() / 2 / std::max<int64_t>(4 * pairs, 1) / width * width;  // of 4 bytes
  const int64_t group = std::max(std::min(fits, kGroupColumns / width * width), width);

  static int64_t pairs_of(int64_t k) { return (k + 1) / 2; }
  int64_t first_row(int64_t tile) const { return rows * tile / tiles; }  // counted from i0
  int64_t panel_size() const { return depth * width + 32; }  // not a power of two: panels fall into different sets

  void run() const {
    Room<int32_t> copy_a(by_rows ? rows * pitch : rows * pairs);
    pack_a(copy_a.get());
    Room<float> sums(waits ? std::max(rows * kChunk, kMostPairRows * std::max<int64_t>(width, kChunk)) : 0);
    for (int64_t j = j0; j < in_place_end; j += kChunk) run_few(j, copy_a.get(), sums.get());
    const int64_t left = j1 - in_place_end;
    Room<int32_t> panels(ceil_div(std::min(left, group), width) * slices * panel_size());
    for (int64_t from = in_place_end; from < j1; from += group) {
      const int64_t to = std::min(from + group, j1);
      pack_b(from, to, panels.get());
      for (int64_t t = 0; t < tiles; ++t) {
        for (int64_t j = from; j < to; j += width)
          run_tile(t, j, std::min(j + width, to), copy_a.get(),
                   panels.get() + (j - from) / width * slices * panel_size(), sums.get());
      }
    }
  }

  void pack_a(int32_t* to) const {
    const S* a = p.a + i0 * p.a_row;
    if (by_rows) {
      for (int64_t i = 0; i < rows; ++i, a += p.a_row, to += pitch) {
        for (int64_t q = 0; q < pairs; q += L)
          vstore(to + q, swap_halves((Pairs)_mm512_maskz_loadu_epi16(TwoRows::mask(p.k - 2 * q), a + 2 * q)));
      }
      return;
    }
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t first = first_row(t), end = first_row(t + 1);
      pack_lines(a + first * p.a_row, p.a_row, p.a_col, static_cast<int>(end - first), p.k, to + first * pairs,
                 end - first, static_cast<int>(end - first));
    }
  }

  // Columns [from, to), all slices of a panel one after another. Adjacent columns are read in long runs, two rows at
  // once.
  void pack_b(int64_t from, int64_t to, int32_t* panels) const {
    for (int64_t s = 0; s < slices; ++s) {
      const int64_t k0 = slice_begin(p.k, slices, s), k1 = slice_begin(p.k, slices, s + 1);
      const auto place = [&](int64_t j) DLCORE_MAP {
        return panels + ((j - from) / width * slices + s) * panel_size() + (j - from) % width;
      };
      const int64_t whole = p.b_col == 1 ? from + (to - from) / kChunk * kChunk : from;
      for (int64_t k = k0; k < k1 && whole > from; k += 2) {
        const S* even = p.b + k * p.b_row;
        for (int64_t j = from; j < whole; j += kChunk) {
          TwoRows rows(even + j, k + 1 < k1 ? even + p.b_row + j : nullptr, ~__mmask32{0});
          in_order(rows.low, rows.high);
          vstore(place(j) + (k - k0) / 2 * width, rows.low), vstore(place(j + L) + (k - k0) / 2 * width, rows.high);
        }
      }
      for (int64_t j = whole; j < to; j += L) {
        pack_lines(p.b + k0 * p.b_row + j * p.b_col, p.b_col, p.b_row, static_cast<int>(std::min<int64_t>(to - j, L)),
                   k1 - k0, place(j), width, L);
      }
    }
  }

  // What tile t does for columns [j, j + columns) in slice s.
  PairSums sums_of(int64_t t, int64_t s, int64_t j, int64_t columns, const int32_t* copy_a, float* c,
                   int64_t c_row) const {
    const int64_t k0 = slice_begin(p.k, slices, s), k1 = slice_begin(p.k, slices, s + 1), i = first_row(t);
    const bool last = s + 1 == slices;
    PairSums tile{copy_a, pitch, 1, k1 - k0, c, c_row, s > 0, last, nullptr, p.c_row, static_cast<int>(columns)};
    if (!by_rows) tile.a_row = 1, tile.a_col = first_row(t + 1) - i;
    tile.a += by_rows ? i * pitch + k0 / 2 : i * pairs + k0 / 2 * tile.a_col;
    if (last && plain) tile.rounded = p.c + (i0 + i) * p.c_row + j;
    return tile;
  }

  // All rows of the columns [j, j + kChunk).
  void run_few(int64_t j, const int32_t* copy_a, float* sums) const {
    const int64_t here = std::min<int64_t>(kChunk, j1 - j);
    for (int64_t s = 0; s < slices; ++s) {
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t i = first_row(t);
        const int count = static_cast<int>(first_row(t + 1) - i);
        const FewPairs tile{sums_of(t, s, j, here, copy_a, sums + i * kChunk, kChunk),
                            p.b + slice_begin(p.k, slices, s) * p.b_row + j, p.b_row};
        if (!few_pairs_tile(count, tile, std::make_integer_sequence<int, kMostPairRows - kFew>()) && tile.last)
          finish(p, tile.c, kChunk, i0 + i, j, count, static_cast<int>(here));
      }
    }
  }

  void run_tile(int64_t t, int64_t j, int64_t end, const int32_t* copy_a, const int32_t* panel, float* sums) const {
    const int64_t i = first_row(t);
    const int count = static_cast<int>(first_row(t + 1) - i);
    const PairFunction run = pair_tile_of(count, static_cast<int>(ceil_div(end - j, L)));
    bool rounded = false;
    for (int64_t s = 0; s < slices; ++s)
      rounded = run({sums_of(t, s, j, end - j, copy_a, sums, width), panel + s * panel_size(), width});
    for (int64_t at = j; at < end && !rounded; at += kChunk)
      finish(p, sums + (at - j), width, i0 + i, at, count, static_cast<int>(std::min<int64_t>(kChunk, end - at)));
  }
};

#pragma GCC pop_options
#endif
