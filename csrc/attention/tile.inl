// The products of attention: C[rows, columns] (+)= A[rows, depth] B[depth, columns], of operands that lie in a
// first-level cache, or are read in order. A is read element by element and may have any strides, B and C have
// adjacent columns: so scores are made with queries, gradients of keys and values with their widths along the vectors,
// and nothing but queries and gradients of outputs is ever transposed.
//
// Bound by arithmetic: a step of the depth multiplies `rows` elements of A with two vectors of B. Every element is one
// chain of fused multiply-adds, whatever the size of the tile, and added to C as a whole: the error of a long sum grows
// with the length of a block and the number of them, not with their product.

// Queries of a block: two vectors (of SSE2 and AVX2 four), one a lane.
template <class C> constexpr int64_t kQueries = kLanes<C> * (DLCORE_ISA == 4 ? 2 : 4);

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
    for (int v = 0; v < NV; ++v) sum[i][v] = vec<C>{};
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
      if (t.accumulate) sum[i][v] += load_vector(c + i * c_row, v);
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

// ---- a block of queries and one of keys -----------------------------------------------------------------------------
// Tiles of the square have a row for each of `height` keys and a column for each query. Of the rows from `split` on the
// first half of the columns is of no meaning, and left out.

// Lanes that are computed of a block of `count` queries: half of them where that will do, as in short sequences.
template <class C> static int64_t lanes_of(int64_t count) {
  return count <= kQueries<C> / 2 ? kQueries<C> / 2 : kQueries<C>;
}

// Scores of `count` queries, or gradients of probabilities, from rows of the keys' side and turned ones of theirs.
template <class C>
static void multiply_turned(int64_t split, int64_t height, int64_t count, int64_t depth, Matrix<C> rows,
                            const C* turned, C* tile) {
  constexpr int64_t Q = kQueries<C>, half = Q / 2;
  multiply<C>(split, lanes_of<C>(count), depth, rows, turned, Q, tile, Q, false);
  const Matrix<C> rest{rows.data + split * rows.row, rows.row, rows.col};
  multiply<C>(height - split, half, depth, rest, turned + half, Q, tile + split * Q + half, Q, false);
}

// Adds to `count` rows of queries the tile's columns times rows of the keys' side.
template <class C>
static void multiply_queries(int64_t split, int64_t height, int64_t count, int64_t width, const C* tile, const C* rows,
                             int64_t row, C* sums, int64_t sums_row, bool accumulate) {
  constexpr int64_t Q = kQueries<C>, half = Q / 2;
  const int64_t first = split == height ? count : least(count, half);
  multiply<C>(first, width, split, {tile, 1, Q}, rows, row, sums, sums_row, accumulate);
  C* rest = sums + first * sums_row;
  multiply<C>(count - first, width, height, {tile + first, 1, Q}, rows, row, rest, sums_row, accumulate);
}

// Adds to the rows of the keys the tile times rows of the queries' side.
template <class C>
static void multiply_keys(int64_t split, int64_t height, int64_t count, int64_t width, const C* tile, Matrix<C> rows,
                          C* sums, int64_t sums_row) {
  constexpr int64_t Q = kQueries<C>, half = Q / 2;
  multiply<C>(split, width, count, {tile, Q, 1}, rows.data, rows.row, sums, sums_row, true);
  const C* rest = rows.data + half * rows.row;
  multiply<C>(height - split, width, count - half, {tile + split * Q + half, Q, 1}, rest, rows.row,
              sums + split * sums_row, sums_row, true);
}
