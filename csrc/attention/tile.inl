// The products of attention: C[rows, columns] (+)= A[rows, depth] B[depth, columns], of operands that lie in a
// first-level cache, or are read in order. A is read element by element and may have any strides, B and C have
// adjacent columns: so scores are made with queries, gradients of keys and values with their widths along the vectors,
// and nothing but queries and gradients of outputs is ever transposed.
//
// Bound by arithmetic: a step of the depth multiplies `rows` elements of A with two vectors of B. Every element of C is
// one chain of fused multiply-adds, whatever the size of the tile.

template <class C> struct Tile {
  const C* a;
  int64_t a_row, a_col;  // strides in elements
  const C* b;
  int64_t b_row;
  C* c;
  int64_t c_row;
  int64_t depth;
  int tail;         // columns in the last vector
  bool accumulate;  // add to what C holds
};

constexpr int kTileRows = DLCORE_ISA == 4 ? 8 : 4;  // of two vectors each: enough chains to hide their latency

template <class C, int MR, int NV, bool PART> static void compute_tile(const Tile<C>& t) {
  constexpr int L = kLanes<C>;
  const int tail = t.tail;
  const auto load_vector = [=](const C* p, int v) DLCORE_MAP {
    return PART && v == NV - 1 ? vload_first(p + v * L, tail) : vload(p + v * L);
  };
  vec<C> sum[MR][NV];
  const C *a = t.a, *b = t.b;
  C* c = t.c;
  const int64_t a_row = t.a_row, a_col = t.a_col, b_row = t.b_row, c_row = t.c_row;
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) sum[i][v] = t.accumulate ? load_vector(c + i * c_row, v) : vec<C>{};
  for (int64_t k = t.depth; k > 0; --k, a += a_col, b += b_row) {
    vec<C> row[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) row[v] = load_vector(b, v);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const vec<C> x = vset(a[i * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) sum[i][v] = vfma(x, row[v], sum[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      if (PART && v == NV - 1) vstore_first(c + i * c_row + v * L, sum[i][v], tail);
      else vstore(c + i * c_row + v * L, sum[i][v]);
    }
}

template <class C> using TileFunction = void (*)(const Tile<C>&);
template <class C> struct TileTable { TileFunction<C> of[kTileRows][2][2]; };  // [rows - 1][vectors - 1][partial]
template <class C, int... I> constexpr TileTable<C> make_tile_table(std::integer_sequence<int, I...>) {
  return {{{{compute_tile<C, I + 1, 1, false>, compute_tile<C, I + 1, 1, true>},
            {compute_tile<C, I + 1, 2, false>, compute_tile<C, I + 1, 2, true>}}...}};
}
template <class C> constexpr TileTable<C> kTiles = make_tile_table<C>(std::make_integer_sequence<int, kTileRows>());

// A matrix as a product reads it.
template <class C> struct Matrix {
  const C* data;
  int64_t row, col;
};

template <class C>
static void multiply(int64_t rows, int64_t columns, int64_t depth, Matrix<C> a, const C* b, int64_t b_row, C* c,
                     int64_t c_row, bool accumulate) {
  constexpr int L = kLanes<C>;
  for (int64_t j = 0; j < columns; j += 2 * L) {
    const int64_t width = least(columns - j, 2 * L), vectors = (width + L - 1) / L;
    const int tail = static_cast<int>(width - (vectors - 1) * L);
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const int64_t height = least(rows - i, kTileRows);
      const Tile<C> tile{a.data + i * a.row, a.row, a.col, b + j, b_row, c + i * c_row + j, c_row,
                         depth,              tail,  accumulate};
      kTiles<C>.of[height - 1][vectors - 1][tail != L](tile);
    }
  }
}
