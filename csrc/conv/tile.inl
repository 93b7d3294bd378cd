// The tile: C[MR rows, NV vectors] (+)= A @ B as in matmul/tile.inl, but k goes through runs of A that begin anywhere:
// of a convolution a run is a row of taps, of its weight's gradient a row of positions. B is packed in the order of k.
// Every element of C is one chain of fused multiply-adds, whatever the tile's size.

constexpr int64_t kLine = 64;  // bytes

struct Run {
  int64_t at, depth;  // offset of the first element from the tile's `a`, elements
  int64_t step;       // of B, for the first one
  int64_t line;       // of the source, which may be padding: then there is nothing to add
};

// A stretch of memory that will be read soon: tiles fetch it into the second cache, a line with each step of k.
struct Stretch {
  const char *at = nullptr, *end = nullptr;
  const char* take(int64_t lines, const void* otherwise) {  // may reach beyond the end
    if (at >= end) return static_cast<const char*>(otherwise);
    return std::exchange(at, at + lines * kLine);
  }
};

template <class T> struct RunTile {
  const T* a;
  int64_t a_row, a_col;
  const Run* runs;
  int64_t count;
  const T* b;  // NV vectors for each step of k
  T* c;        // whole vectors
  int64_t c_row;
  bool accumulate;
  Stretch* soon = nullptr;    // two, or none
  const char* ahead[2] = {};  // what this tile fetches of them, or else of B
};

#if DLCORE_ISA == 4
constexpr int kMostVectors = 4;
constexpr int kRowsOf[kMostVectors + 1] = {0, 16, 14, 8, 6};
#else
constexpr int kMostVectors = 2;
constexpr int kRowsOf[kMostVectors + 1] = {0, 12, 6};
#endif

template <class T, int MR, int NV> static void run_tile(const RunTile<T>& t) {
  constexpr int L = kLanes<T>, kGroups = (MR + 2) / 3;
  const int64_t a_row = t.a_row, a_col = t.a_col, c_row = t.c_row;
  const char *ahead = t.ahead[0], *other = t.ahead[1];
  int64_t line = 0;
  vec<T> sum[MR][NV] = {};
  for (int64_t r = 0; r < t.count; ++r) {
    const T* b = t.b + t.runs[r].step * (NV * L);
    const T* a[kGroups];  // one pointer for three rows: base + {0, 1, 2} strides are addressing modes
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) a[g] = t.a + t.runs[r].at + 3 * g * a_row;
    for (int64_t k = t.runs[r].depth; k > 0; --k, b += NV * L, line += kLine) {
      __builtin_prefetch(ahead + line, 0, 2), __builtin_prefetch(other + line, 0, 2);
      vec<T> row[NV];
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) row[v] = vload(b + v * L);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const vec<T> x = vset(a[i / 3][i % 3 * a_row]);
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) sum[i][v] = vfma(x, row[v], sum[i][v]);
      }
#pragma GCC unroll 16
      for (int g = 0; g < kGroups; ++g) a[g] += a_col;
    }
  }
  T* c = t.c;
  const bool accumulate = t.accumulate;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i, c += c_row) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) vstore(c + v * L, accumulate ? vload(c + v * L) + sum[i][v] : sum[i][v]);
  }
}

template <class T> using RunTileFunction = void (*)(const RunTile<T>&);
template <class T, int NV, int... I>
static RunTileFunction<T> run_tile_of(int rows, std::integer_sequence<int, I...>) {
  static constexpr RunTileFunction<T> tiles[] = {run_tile<T, I + 1, NV>...};
  return tiles[rows - 1];
}
template <class T> static RunTileFunction<T> run_tile_of(int rows, int vectors) {
  switch (vectors) {
    case 1: return run_tile_of<T, 1>(rows, std::make_integer_sequence<int, kRowsOf[1]>());
    case 2: return run_tile_of<T, 2>(rows, std::make_integer_sequence<int, kRowsOf[2]>());
#if DLCORE_ISA == 4
    case 3: return run_tile_of<T, 3>(rows, std::make_integer_sequence<int, kRowsOf[3]>());
    default: return run_tile_of<T, 4>(rows, std::make_integer_sequence<int, kRowsOf[4]>());
#else
    default: return nullptr;
#endif
  }
}

// All rows of C, shared out evenly to tiles.
template <class T> static void run_rows(RunTile<T> tile, int64_t rows, int vectors) {
  const int64_t tiles = ceil_div(rows, kRowsOf[vectors]);
  int64_t steps = 0;
  for (int64_t r = 0; tile.soon && r < tile.count; ++r) steps += tile.runs[r].depth;
  for (int64_t t = 0, row = 0; t < tiles; ++t) {
    const int64_t next = rows * (t + 1) / tiles;
    for (int i = 0; i < 2; ++i) {
      const char* b = reinterpret_cast<const char*>(tile.b);
      tile.ahead[i] = tile.soon ? tile.soon[i].take(steps, b) : b;
    }
    run_tile_of<T>(static_cast<int>(next - row), vectors)(tile);
    tile.a += (next - row) * tile.a_row, tile.c += (next - row) * tile.c_row;
    row = next;
  }
}

// `lanes` columns as panels of whole vectors: how many vectors each has.
struct Panels {
  int64_t lanes;  // columns
  int lane_count, vectors;
  Panels(int64_t columns, int lanes_of_vector, int most)
      : lanes(columns), lane_count(lanes_of_vector),
        vectors(static_cast<int>(std::min<int64_t>(std::max<int64_t>(ceil_div(columns, lanes_of_vector), 1), most))) {}
  int64_t width() const { return int64_t{vectors} * lane_count; }
  int64_t count() const { return ceil_div(lanes, width()); }
  int columns(int64_t panel) const { return static_cast<int>(std::min(lanes - panel * width(), width())); }
  int vectors_of(int64_t panel) const { return static_cast<int>(ceil_div(columns(panel), lane_count)); }
};
