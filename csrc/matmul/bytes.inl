// Products of int8 or uint8 with sums of 32 bits, exact modulo 2^32.
//
// A 32-bit lane holds neighbours along k: four bytes where the processor has VPDPBUSD (AVX512-VNNI), which adds four
// products to a lane and never saturates; else two numbers of 16 bits for PMADDWD, which every processor has. VPDPBUSD
// multiplies bytes without a sign by bytes with one: a signed A is packed as a + 128, an unsigned B as b - 128, and
// what that adds is taken off again. With a' and b' as packed, u = 128 or 0 and v = -128 or 0,
//   sum a b = sum (a' - u) (b' - v) = sum a' b' - u sum b' - v sum a' + K u v:
// a number for each row and one for each column, which the sums begin with. Beyond K both are packed as 0.
//
// Both operands are packed, but where rows are few and that instruction is there: matmul/few_bytes.inl. Tiles and
// slices are those of gemm.inl, as many bytes of each. Bound by arithmetic, with few rows by packing B. GOP/s (2 M N K
// operations) on one core of a Zen 4, whose roof is 460, torch 2.13's _int_mm beside; all of it with packing:
//                                     64^3   256^3   512^3   1024^3   128x784x256   8x1024x1024
//   four terms side by side, looped    143     326     362      351           304            85
//   by unpacking, squares transposed   226     418     428      378           403           154
//   rows of B in runs, tall blocks     215     418     439      406           407           169
//   the same, on a slower day            -       -     397      397             -             -
//   A read once, C prefetched            -     420     437      437           413             -
//   rows of A copied as they lie         -     422     442      440           416             -
//   torch                              150     424     439      417           419           223
//   float32                             92     110     107      103           108           109
using Lanes = vec<int32_t>;
constexpr int kByteRows = DLCORE_ISA == 4 ? 14 : DLCORE_ISA == 3 ? 6 : 4;
constexpr int kByteWidth = kTileVectors * kLanes<int32_t>;
constexpr int64_t kByteDepth = 2048;  // of a slice of k

struct ByteProduct : Product<uint8_t, int32_t> {
  bool a_signed = false, b_signed = false;
};

// ---- two ways to use a lane -----------------------------------------------------------------------------------------

// Bytes become 16 bits, with their sign or with zeros: (x ^ 0x80) - 0x80, or x.
struct TwoTerms {
  static constexpr int kTerms = 2;
  static uint8_t flip_a(const ByteProduct& p) { return p.a_signed ? 0x80 : 0; }
  static uint8_t flip_b(const ByteProduct& p) { return p.b_signed ? 0x80 : 0; }
  static uint32_t term(uint8_t x, uint8_t flip) { return static_cast<uint16_t>((x ^ flip) - flip); }
  // Lanes of a line whose elements are adjacent.
  static void read_line(const uint8_t* line, uint8_t flip, void* to) {
    uint16_t terms[2 * kLanes<int32_t>];
#pragma omp simd
    for (int i = 0; i < 2 * kLanes<int32_t>; ++i) terms[i] = static_cast<uint16_t>((line[i] ^ flip) - flip);
    __builtin_memcpy(to, terms, sizeof terms);
  }
  // Lanes of adjacent lines, whose elements are `step` apart.
  static void read_lines(const uint8_t* lines, int64_t step, uint8_t flip, void* to) {
    const uint8_t* next = lines + step;
    uint32_t lanes[kLanes<int32_t>];
#pragma omp simd
    for (int l = 0; l < kLanes<int32_t>; ++l) lanes[l] = term(lines[l], flip) | term(next[l], flip) << 16;
    __builtin_memcpy(to, lanes, sizeof lanes);
  }
  static Lanes add(Lanes sum, Lanes a, Lanes b) {
#if DLCORE_ISA == 4
    return sum + (Lanes)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif DLCORE_ISA == 3
    return sum + (Lanes)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
    return sum + (Lanes)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
  }
};

#if DLCORE_ISA == 4
struct FourTerms {
  static constexpr int kTerms = 4;
  static uint8_t flip_a(const ByteProduct& p) { return p.a_signed ? 0x80 : 0; }
  static uint8_t flip_b(const ByteProduct& p) { return p.b_signed ? 0 : 0x80; }
  static uint32_t term(uint8_t x, uint8_t flip) { return static_cast<uint8_t>(x ^ flip); }
  static void read_line(const uint8_t* line, uint8_t flip, void* to) {
    const Lanes lanes = vload(reinterpret_cast<const int32_t*>(line)) ^ vset(flip * 0x01010101);
    __builtin_memcpy(to, &lanes, sizeof lanes);
  }
  static void read_lines(const uint8_t* lines, int64_t step, uint8_t flip, void* to) {
    const auto row = [&](int64_t t) DLCORE_MAP {
      const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lines + t * step));
      return _mm_xor_si128(x, _mm_set1_epi8(static_cast<char>(flip)));
    };
    const __m128i x = row(0), y = row(1), z = row(2), w = row(3);
    const __m128i low_xy = _mm_unpacklo_epi8(x, y), high_xy = _mm_unpackhi_epi8(x, y);
    const __m128i low_zw = _mm_unpacklo_epi8(z, w), high_zw = _mm_unpackhi_epi8(z, w);
    __m128i* out = static_cast<__m128i*>(to);
    _mm_storeu_si128(out, _mm_unpacklo_epi16(low_xy, low_zw));
    _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(low_xy, low_zw));
    _mm_storeu_si128(out + 2, _mm_unpacklo_epi16(high_xy, high_zw));
    _mm_storeu_si128(out + 3, _mm_unpackhi_epi16(high_xy, high_zw));
  }
  // Not the intrinsic: it is for functions that are compiled for AVX512-VNNI, where the compiler would take such
  // instructions for TwoTerms too.
  static Lanes add(Lanes sum, Lanes a, Lanes b) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
};
#endif

// ---- packing --------------------------------------------------------------------------------------------------------

// out[q * pitch + l] = the terms at k = kTerms q, kTerms q + 1, ... of line l < count, 0 for further l < kLanes;
// elements of a line lie `step` apart, lines `stride`. Whole vectors are stored: a pitch below kLanes needs room
// behind.
template <class Way>
static void pack_bytes(const uint8_t* lines, int64_t stride, int64_t step, int count, int64_t depth, int32_t* out,
                       int64_t pitch, uint8_t flip) {
  constexpr int L = kLanes<int32_t>, T = Way::kTerms, kBits = 32 / T;
  int64_t q = 0;
  if (stride == 1 && count == L) {
    for (; q < depth / T; ++q) Way::read_lines(lines + T * q * step, step, flip, out + q * pitch);
  } else if (step == 1) {  // a square of lanes is transposed
    for (; q + L <= depth / T; q += L) {
      vec<float> square[L] = {};
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l)
        if (l < count) Way::read_line(lines + l * stride + T * q, flip, &square[l]);
      swap_blocks<L / 2, float>(square);
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) __builtin_memcpy(out + (q + l) * pitch, &square[l], sizeof square[l]);
    }
  }
  for (; q < ceil_div(depth, T); ++q) {
    uint32_t lanes[L] = {};
    for (int l = 0; l < count; ++l)
      for (int t = 0; t < T && T * q + t < depth; ++t)
        lanes[l] |= Way::term(lines[l * stride + (T * q + t) * step], flip) << t * kBits;
    __builtin_memcpy(out + q * pitch, lanes, sizeof lanes);
  }
}

// The lanes of one line whose elements are adjacent, in their order, and zeros up to a whole vector.
template <class Way> static void pack_line(const uint8_t* line, int64_t depth, int32_t* out, uint8_t flip) {
  constexpr int L = kLanes<int32_t>, T = Way::kTerms, kBits = 32 / T;
  int64_t q = 0;
  for (; q + L <= depth / T; q += L) Way::read_line(line + T * q, flip, out + q);
  for (; q % L || T * q < depth; ++q) {
    uint32_t lane = 0;
    for (int t = 0; t < T && T * q + t < depth; ++t) lane |= Way::term(line[T * q + t], flip) << t * kBits;
    out[q] = static_cast<int32_t>(lane);
  }
}

// ---- tiles ----------------------------------------------------------------------------------------------------------

struct ByteTile {
  const int32_t* a;  // lane q of row i is a[i * a_row + q * a_col]
  int64_t a_row, a_col;
  const int32_t* b;  // [depth][kByteWidth]
  int64_t depth;     // lanes
  const int32_t *row, *column;  // what the sums of each row and of each column begin with
  int32_t* c;                   // whole vectors
  int64_t c_row;
  bool accumulate;
};

template <class Way, int MR> static void byte_tile(const ByteTile& t) {
  constexpr int L = kLanes<int32_t>, NV = kTileVectors, kGroups = (MR + 2) / 3;
  Lanes sum[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) sum[i][v] = vset(t.row[i]) + vload(t.column + v * L);
  const int64_t a_row = t.a_row, a_col = t.a_col;
  const int32_t* a[kGroups];  // of three rows each: base + {0, 1, 2} strides are addressing modes
#pragma GCC unroll 16
  for (int g = 0; g < kGroups; ++g) a[g] = t.a + 3 * g * a_row;
  const int32_t* b = t.b;
  int32_t* c = t.c;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c = hidden(c + t.c_row))
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) __builtin_prefetch(c + v * L, 1);
  for (int64_t q = t.depth; q > 0; --q, b += kByteWidth) {
    Lanes line[NV];
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) line[v] = vload(b + v * L);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const Lanes x = vset(a[i / 3][i % 3 * a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = Way::add(sum[i][v], x, line[v]);
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) a[g] += a_col;
  }
  c = t.c;
  const int64_t c_row = t.c_row;
  const bool accumulate = t.accumulate;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += c_row)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) vstore(c + v * L, accumulate ? vload(c + v * L) + sum[i][v] : sum[i][v]);
}

using ByteFunction = void (*)(const ByteTile&);
template <class Way, int... I> static ByteFunction byte_tile_of(int rows, std::integer_sequence<int, I...>) {
  static constexpr ByteFunction tiles[] = {byte_tile<Way, I + 1>...};
  return tiles[rows - 1];
}

// Rows [i0, i1) and columns [j0, j1) of C.
template <class Way> struct ByteBlock {
  static constexpr int L = kLanes<int32_t>;

  const ByteProduct& p;
  const int64_t i0, i1, j0, j1;
  const int64_t rows = i1 - i0, tiles = ceil_div(rows, kByteRows);
  const int64_t depth = ceil_div(std::min(p.k, kByteDepth), Way::kTerms);  // lanes of a slice
  const uint8_t flip_a = Way::flip_a(p), flip_b = Way::flip_b(p);
  const int64_t u = Way::kTerms == 4 && flip_a ? 128 : 0, v = Way::kTerms == 4 && flip_b ? -128 : 0;

  // Rows of A whose elements are adjacent are copied as they lie, an odd number of vectors apart lest they collide; of
  // others, those of a tile lane by lane.
  const bool by_rows = p.a_col == 1;
  const int64_t pitch = by_rows ? ceil_div(depth, 2 * L) * 2 * L + L : depth;

  int64_t first_row(int64_t tile) const { return rows * tile / tiles; }  // counted from i0
  int64_t panel_size() const { return depth * kByteWidth + 32; }  // not a power of two: panels fall into different sets

  void run() const {
    const int64_t group = std::min(kGroupColumns, ceil_div(j1 - j0, kByteWidth) * kByteWidth);
    Scratch<int32_t> a(rows * pitch + L), row(rows), panels(group / kByteWidth * panel_size()), column(group);
    for (int64_t k0 = 0; k0 == 0 || k0 < p.k; k0 += kByteDepth) {
      const int64_t k1 = std::min(k0 + kByteDepth, p.k);
      pack_a(k0, k1, a.get(), row.get());
      for (int64_t j = j0; j < j1; j += group) {
        const int64_t end = std::min(j + group, j1);
        pack_b(k0, k1, j, end, panels.get(), column.get());
        for (int64_t t = 0; t < tiles; ++t) {  // A is read once: its rows may be more than the cache keeps
          for (int64_t at = j; at < end; at += kByteWidth)
            run_tile(t, k0, k1, at, end, a.get(), row.get(), panels.get() + (at - j) / kByteWidth * panel_size(),
                     column.get() + (at - j));
        }
      }
    }
  }

  // The slice [k0, k1) of A, and what the sums of each row begin with.
  void pack_a(int64_t k0, int64_t k1, int32_t* to, int32_t* row) const {
    const int64_t lanes = ceil_div(k1 - k0, Way::kTerms);
    const uint8_t* a = p.a + i0 * p.a_row + k0 * p.a_col;
    const Lanes ones = vset<int32_t>(0x01010101);  // of b'
    const auto start = [&](int32_t sum) { return static_cast<int32_t>((k1 - k0) * u * v - v * sum); };
    for (int64_t i = 0; by_rows && i < rows; ++i) {
      pack_line<Way>(a + i * p.a_row, k1 - k0, to + i * pitch, flip_a);
      Lanes sums = {};
      for (int64_t q = 0; v && q < lanes; q += L) sums = Way::add(sums, vload(to + i * pitch + q), ones);
      uint32_t sum = 0;
      for (int l = 0; l < L; ++l) sum += static_cast<uint32_t>(sums[l]);
      row[i] = start(static_cast<int32_t>(sum));
    }
    for (int64_t t = 0; !by_rows && t < tiles; ++t) {
      const int64_t i = first_row(t), count = first_row(t + 1) - i;
      int32_t* tile = to + i * pitch;
      pack_bytes<Way>(a + i * p.a_row, p.a_row, p.a_col, static_cast<int>(count), k1 - k0, tile, count, flip_a);
      Lanes sum = {};
      for (int64_t q = 0; v && q < lanes; ++q) sum = Way::add(sum, vload(tile + q * count), ones);
      for (int64_t r = 0; r < count; ++r) row[i + r] = start(sum[r]);
    }
  }

  // The slice [k0, k1) of columns [j, end) of B, and what the sums of each column begin with. Adjacent columns are read
  // in long runs: rows may be a power of two apart.
  void pack_b(int64_t k0, int64_t k1, int64_t j, int64_t end, int32_t* panels, int32_t* column) const {
    constexpr int T = Way::kTerms;
    const auto place = [&](int64_t at) {
      return panels + (at - j) / kByteWidth * panel_size() + (at - j) % kByteWidth;
    };
    const int64_t runs = p.b_col == 1 ? (k1 - k0) / T : 0, whole = j + (end - j) / L * L;
    for (int64_t q = 0; q < runs; ++q) {
      const uint8_t* row = p.b + (k0 + T * q) * p.b_row;
      for (int64_t at = j; at < whole; at += L) Way::read_lines(row + at, p.b_row, flip_b, place(at) + q * kByteWidth);
    }
    for (int64_t at = j; at < j + ceil_div(end - j, kByteWidth) * kByteWidth; at += L) {
      const int64_t q = at < whole ? runs : 0, k = k0 + T * q;
      pack_bytes<Way>(p.b + k * p.b_row + at * p.b_col, p.b_col, p.b_row,
                      static_cast<int>(std::clamp<int64_t>(end - at, 0, L)), k1 - k, place(at) + q * kByteWidth,
                      kByteWidth, flip_b);
    }
    const Lanes ones = vset<int32_t>(0x01010101);  // of a'
    for (int64_t at = j; at < end; at += L) {
      Lanes sum = {};
      for (int64_t q = 0; u && q < ceil_div(k1 - k0, T); ++q)
        sum = Way::add(sum, ones, vload(place(at) + q * kByteWidth));
      vstore(column + (at - j), sum * static_cast<int32_t>(-u));
    }
  }

  // One tile, of the columns from `j` on that one panel has.
  void run_tile(int64_t t, int64_t k0, int64_t k1, int64_t j, int64_t end, const int32_t* a, const int32_t* row,
                const int32_t* panel, const int32_t* column) const {
    const bool whole = end - j >= kByteWidth;
    const int64_t i = first_row(t), count = first_row(t + 1) - i;
    int32_t part[kByteRows * kByteWidth];  // a panel that ends beyond C
    int32_t* c = p.c + (i0 + i) * p.c_row + j;
    const auto copy_rows = [&](auto copy) {
      for (int64_t r = 0; r < count; ++r)
        copy(c + r * p.c_row, part + r * kByteWidth, static_cast<size_t>(end - j) * sizeof(int32_t));
    };
    ByteTile tile{a + i * pitch, by_rows ? pitch : 1, by_rows ? 1 : count, panel, ceil_div(k1 - k0, Way::kTerms),
                  row + i, column, c, p.c_row, k0 > 0};
    if (!whole) tile.c = part, tile.c_row = kByteWidth;
    if (!whole && k0 > 0) copy_rows([](int32_t* x, int32_t* y, size_t n) { __builtin_memcpy(y, x, n); });
    byte_tile_of<Way>(static_cast<int>(count), std::make_integer_sequence<int, kByteRows>())(tile);
    if (!whole) copy_rows([](int32_t* x, int32_t* y, size_t n) { __builtin_memcpy(x, y, n); });
  }
};

#if DLCORE_ISA == 4
#include "matmul/few_bytes.inl"
#endif

// A product for each entry of a batch: place(p, entry) moves p to it. Blocks are cut as those of float32.
template <class Place> static void multiply_bytes(const ByteProduct& p, int64_t batch, Place place) {
#if DLCORE_ISA == 4
  if (takes_few(p)) return multiply_few(p, batch, place);
#endif
  const int64_t work = p.m * p.n * std::max<int64_t>(p.k, 1) / 4, wanted = blocks_wanted<float>(work * batch);
  const Grid grid = cut_tall(p.m, p.n, 4 * kBlockRows, kByteWidth, ceil_div(wanted, std::max<int64_t>(batch, 1)));
  const int64_t blocks = grid.blocks() * batch, panels = ceil_div(p.n, kByteWidth);
  parallel_ranges(blocks, wanted > 1 ? std::max<int64_t>(1, blocks / wanted) : blocks, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      ByteProduct entry = p;
      place(entry, b / grid.blocks());
      const int64_t down = b % grid.blocks() % grid.down, across = b % grid.blocks() / grid.down;
      const int64_t i0 = p.m * down / grid.down, i1 = p.m * (down + 1) / grid.down;
      const int64_t j0 = panels * across / grid.across * kByteWidth;
      const int64_t j1 = std::min(panels * (across + 1) / grid.across * kByteWidth, p.n);
#if DLCORE_ISA == 4
      if (multiplies_bytes()) {
        ByteBlock<FourTerms>{entry, i0, i1, j0, j1}.run();
        continue;
      }
#endif
      ByteBlock<TwoTerms>{entry, i0, i1, j0, j1}.run();
    }
  });
}
