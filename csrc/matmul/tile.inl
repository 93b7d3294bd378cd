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

// What the compiler shall not follow: of addresses that it could compute early it keeps one for each row, in memory,
// where registers are short. Without this a tile of 6 x 4 vectors has 980 instructions instead of 420, and takes 55 to
// 75 cycles besides its multiply-adds instead of 20 to 40.
template <class P> static inline P* hidden(P* p) {
  __asm__("" : "+r"(p));
  return p;
}

// V: all of a vector, or half of one.
template <class V, class T> static inline V load_first(const T* p, int n) {
#if DLCORE_ISA == 4
  if constexpr (sizeof(V) == 32 && sizeof(T) == 4)
    return (V)_mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << n) - 1), p);
  else if constexpr (sizeof(V) == 32)
    return (V)_mm256_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
  else
#endif
    return vload_first(p, n);
}
template <class V, class T> static inline void store_first(T* p, V v, int n) {
#if DLCORE_ISA == 4
  if constexpr (sizeof(V) == 32 && sizeof(T) == 4)
    _mm256_mask_storeu_ps(p, static_cast<__mmask8>((1u << n) - 1), (__m256)v);
  else if constexpr (sizeof(V) == 32)
    _mm256_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), (__m256d)v);
  else
#endif
    vstore_first(p, v, n);
}
template <class T, class V> static inline V multiply_add(V a, V b, V c) {
#if DLCORE_ISA == 4
  if constexpr (sizeof(V) == 32 && sizeof(T) == 4) return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  else if constexpr (sizeof(V) == 32) return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
  else
#endif
    return vfma(a, b, c);
}

// MR rows of NV vectors V. PART: the last one is not full. AHEAD: B is prefetched, for it may come from memory.
template <class T, int MR, int NV, bool PART, bool AHEAD = true, class V = vec<T>>
static void compute_tile(const Tile<T>& t) {
  constexpr int L = static_cast<int>(sizeof(V) / sizeof(T)), kGroups = (MR + 2) / 3;
  const int tail = t.tail;
  const auto load_vector = [&](const T* p, int v) DLCORE_MAP {
    if (PART && v == NV - 1) return load_first<V>(p + v * L, tail);
    V all;
    __builtin_memcpy(&all, p + v * L, sizeof all);
    return all;
  };
  const int64_t a_row = t.a_row, a_col = t.a_col, b_row = t.b_row, c_row = t.c_row;
  T* c = t.c;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c = hidden(c + c_row))
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) __builtin_prefetch(c + v * L, 1);
  const T* a[kGroups];  // of three rows each: base + {0, 1, 2} strides are addressing modes
#pragma GCC unroll 16
  for (int g = 0; g < kGroups; ++g) a[g] = t.a + 3 * g * a_row;
  const T* b = t.b;
  V sum[MR][NV] = {};
  for (int64_t k = t.depth; k > 0; --k) {
    V row[NV];
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      row[v] = load_vector(b, v);
      if (AHEAD) __builtin_prefetch(b + kAhead * b_row + v * L);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V x = a[i / 3][i % 3 * a_row] - V{};
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = multiply_add<T>(x, row[v], sum[i][v]);
    }
    b += b_row;
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) a[g] += a_col;
  }
  const Tile<T>& again = *hidden(&t);
  c = again.c;
  if (again.accumulate) {
    const T* from = c;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, from += c_row)
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = load_vector(from, v) + sum[i][v];
  }
  if (const T* bias = again.bias) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + load_vector(bias, v);
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += c_row) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      if (PART && v == NV - 1) store_first(c + v * L, sum[i][v], tail);
      else __builtin_memcpy(c + v * L, &sum[i][v], sizeof(V));
    }
  }
}

template <class T> using TileFunction = void (*)(const Tile<T>&);

// A tile of one vector; `part`: of at most half of one, where halves are faster: with 512 bits, for two multiply-adds
// of 256 are done at once, and two loads.
template <class T, int MR, bool AHEAD = true> constexpr TileFunction<T> one_vector(bool part) {
#if DLCORE_ISA == 4
  typedef T Half __attribute__((vector_size(kVectorBytes / 2)));
  return part ? compute_tile<T, MR, 1, true, AHEAD, Half> : compute_tile<T, MR, 1, true, AHEAD>;
#else
  return part ? compute_tile<T, MR, 1, true, AHEAD> : compute_tile<T, MR, 1, false, AHEAD>;
#endif
}
template <class T> static inline bool is_part(int vectors, int tail) {
  return DLCORE_ISA == 4 && vectors == 1 ? tail <= kLanes<T> / 2 : tail != kLanes<T>;
}

template <class T> struct TileTable {
  TileFunction<T> narrow[kTileRows][kTileVectors][2] = {};  // [rows - 1][vectors - 1][is_part]
  TileFunction<T> wide[kWideRows] = {};                     // kWideVectors whole vectors
};

template <class T, int... I> constexpr TileTable<T> make_tile_table(std::integer_sequence<int, I...>) {
  TileTable<T> table;
  ((table.narrow[I][0][0] = one_vector<T, I + 1>(false), table.narrow[I][0][1] = one_vector<T, I + 1>(true),
    table.narrow[I][1][0] = compute_tile<T, I + 1, 2, false>, table.narrow[I][1][1] = compute_tile<T, I + 1, 2, true>),
   ...);
  table.wide[0] = compute_tile<T, 1, kWideVectors, false>;
  table.wide[1] = compute_tile<T, 2, kWideVectors, false>;
  table.wide[2] = compute_tile<T, 3, kWideVectors, false>;
  table.wide[3] = compute_tile<T, 4, kWideVectors, false>;
  return table;
}
template <class T> constexpr TileTable<T> kTiles = make_tile_table<T>(std::make_integer_sequence<int, kTileRows>());
