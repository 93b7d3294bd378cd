// The tile: C[rows, columns] (+)= A[rows, depth] @ B[depth, columns], the accumulators in registers.
// Each step of k broadcasts one element of A per row and multiplies it with NV vectors of a row of B: MR * NV fused
// multiply-adds for MR + NV loads. Every element of C is one chain of fused multiply-adds over k, whatever the tile's
// size, so the partition of M and N never shows in the bits.
//
// Bound by arithmetic: Zen 4 does one 512-bit (two 256-bit) multiply-adds and one 512-bit load a cycle.

template <class T> struct Tile {
  const T* a;
  int64_t a_row, a_col;  // strides in elements; both layouts of A cost the same
  const T* b;
  int64_t b_row;  // columns of B are adjacent
  T* c;
  int64_t c_row;
  int64_t depth;
  const T* bias;    // added to every row, or nullptr
  int tail;         // columns in the last vector
  bool accumulate;  // add to what C holds: second and later blocks of k
};

#if DLCORE_ISA == 4
constexpr int kTileRows = 14;  // 28 accumulators, 2 vectors of B, 1 of A: 31 of 32 registers
#else
constexpr int kTileRows = 6;  // 12 accumulators, 2 of B, 1 of A: 15 of 16 registers
#endif
constexpr int kTileVectors = 2;
constexpr int kAhead = 32;  // rows of B to prefetch: one read in place may have a page of its own, and come from memory
constexpr int kWideRows = 4;     // few rows: wider tiles, to have enough independent chains
constexpr int kWideVectors = DLCORE_ISA == 4 ? 6 : 3;

// PART: the last vector holds t.tail lanes only.
template <class T, int MR, int NV, bool PART> static void compute_tile(const Tile<T>& t) {
  constexpr int L = kLanes<T>;
  const auto load_vector = [&](const T* p, int v) {
    return PART && v == NV - 1 ? vload_first(p + v * L, t.tail) : vload(p + v * L);
  };
  vec<T> sum[MR][NV] = {};
  const T* a = t.a;
  const T* b = t.b;
  const int64_t a_row = t.a_row, a_col = t.a_col, b_row = t.b_row;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) __builtin_prefetch(t.c + i * t.c_row, 1);
  for (int64_t k = t.depth; k > 0; --k, a += a_col, b += b_row) {
    vec<T> row[NV];
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      row[v] = load_vector(b, v);
      __builtin_prefetch(b + kAhead * b_row + v * L);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const vec<T> x = vset(a[i * a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = vfma(x, row[v], sum[i][v]);
    }
  }
  T* c = t.c;  // copies: a store through c could change t, for all the compiler knows
  const T* bias = t.bias;
  const int64_t c_row = t.c_row;
  const int tail = t.tail;
  const bool accumulate = t.accumulate;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += c_row) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      vec<T> x = sum[i][v];
      if (accumulate) x = load_vector(c, v) + x;
      if (bias) x = x + load_vector(bias, v);
      if (PART && v == NV - 1) vstore_first(c + v * L, x, tail);
      else vstore(c + v * L, x);
    }
  }
}

template <class T> using TileFunction = void (*)(const Tile<T>&);
template <class T> struct TileTable {
  TileFunction<T> narrow[kTileRows][kTileVectors][2] = {};  // [rows - 1][vectors - 1][last vector partial]
  TileFunction<T> wide[kWideRows] = {};                     // kWideVectors whole vectors
};

template <class T, int... I> constexpr TileTable<T> make_tile_table(std::integer_sequence<int, I...>) {
  TileTable<T> table;
  ((table.narrow[I][0][0] = compute_tile<T, I + 1, 1, false>, table.narrow[I][0][1] = compute_tile<T, I + 1, 1, true>,
    table.narrow[I][1][0] = compute_tile<T, I + 1, 2, false>, table.narrow[I][1][1] = compute_tile<T, I + 1, 2, true>),
   ...);
  table.wide[0] = compute_tile<T, 1, kWideVectors, false>;
  table.wide[1] = compute_tile<T, 2, kWideVectors, false>;
  table.wide[2] = compute_tile<T, 3, kWideVectors, false>;
  table.wide[3] = compute_tile<T, 4, kWideVectors, false>;
  return table;
}
template <class T> constexpr TileTable<T> kTiles = make_tile_table<T>(std::make_integer_sequence<int, kTileRows>());
