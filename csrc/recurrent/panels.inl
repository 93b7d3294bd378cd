// Weights packed for tiles, and the products of a few rows with them. Every element of a product is one chain of fused
// multiply-adds over k, whatever the tile, so that neither rows nor threads show in the bits.

// The most rows of a tile of so many vectors whose sums stay in registers.
constexpr int most_rows(int vectors) {
#if DLCORE_ISA == 4
  return vectors == 4 ? 6 : vectors == 3 ? 9 : 14;
#else
  return vectors == 4 ? 3 : vectors == 3 ? 4 : 6;
#endif
}

template <class C, int vectors, int... I> static TileFunction<C> tile_of(int rows, std::integer_sequence<int, I...>) {
  static constexpr TileFunction<C> tiles[] = {compute_tile<C, I + 1, vectors, false>...};
  return tiles[rows - 1];
}

// out (rows, whole vectors) = or += a (rows, depth) @ panel (depth, whole vectors).
template <int vectors, class C>
static void multiply(const C* a, int64_t a_row, int rows, const C* panel, int64_t depth, C* out, int64_t out_row,
                     bool accumulate) {
  constexpr int L = kLanes<C>;
  const Tile<C> tile{a, a_row, 1, panel, vectors * L, out, out_row, depth, nullptr, L, accumulate};
  tile_of<C, vectors>(rows, std::make_integer_sequence<int, most_rows(vectors)>())(tile);
}

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Elements from one row of a buffer to the next: room for whole vectors behind n, and no power of two, so that rows
// fall into different sets of the cache.
template <class C> static inline int64_t pitch_of(int64_t n) {
  return ceil_div(n, 2 * kLanes<C>) * 2 * kLanes<C> + kLanes<C>;
}

// f(row, count) for rows [r0, r1) in tiles of at most `most`, of nearly the same size.
template <class F> static void each_tile(int64_t r0, int64_t r1, int most, F&& f) {
  const int64_t rows = r1 - r0, tiles = ceil_div(rows, most);
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t first = r0 + rows * t / tiles, next = r0 + rows * (t + 1) / tiles;
    f(first, static_cast<int>(next - first));
  }
}

// weight (gates * units, depth), by groups of kLanes units: group u holds for each k a vector for each of the gates.
template <class S, int gates> struct GatePanels {
  using C = compute_t<S>;
  static constexpr int L = kLanes<C>;
  const int64_t units, depth, groups = ceil_div(units, L), size = depth * gates * L;
  const Scratch<C> room{groups * size};

  GatePanels(const S* weight, int64_t units_, int64_t depth_) : units(units_), depth(depth_) {
    parallel_ranges(groups, std::max<int64_t>(1, (int64_t{1} << 16) / (size + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t u = begin; u < end; ++u)
        for (int g = 0; g < gates; ++g)
          pack_transposed(weight + (g * units + u * L) * depth, depth, count(u), depth, room.get() + u * size + g * L,
                          gates * L, L);
    });
  }
  int count(int64_t u) const { return static_cast<int>(std::min<int64_t>(L, units - u * L)); }
  const C* group(int64_t u) const { return room.get() + u * size; }
};

// A matrix (depth, columns) of any strides in panels of two vectors of columns.
template <class S> struct ColumnPanels {
  using C = compute_t<S>;
  static constexpr int L = kLanes<C>, kWidth = 2 * L;
  const int64_t depth, columns, panels = ceil_div(columns, kWidth), size = depth * kWidth;
  const Scratch<C> room{panels * size};

  ColumnPanels(const S* b, int64_t row, int64_t col, int64_t depth_, int64_t columns_)
      : depth(depth_), columns(columns_) {
    if (columns % kWidth) std::fill_n(room.get() + (panels - 1) * size, size, C(0));
    parallel_ranges(panels, std::max<int64_t>(1, (int64_t{1} << 16) / (size + 1)), [&](int64_t begin, int64_t end) {
      const int64_t j = begin * kWidth, n = std::min(columns, end * kWidth) - j;
      pack_columns(b + j * col, row, col, depth, n, room.get() + begin * size, int64_t{kWidth}, size);
    });
  }
  // Columns of panels [p0, p1), rows [r0, r1): out = or += a @ b. The rows of `out` have room for whole panels.
  void product(const C* a, int64_t a_row, int64_t r0, int64_t r1, int64_t p0, int64_t p1, C* out, int64_t out_row,
               bool accumulate) const {
    for (int64_t p = p0; p < p1; ++p)
      each_tile(r0, r1, most_rows(2), [&](int64_t r, int rows) {
        multiply<2>(a + r * a_row, a_row, rows, room.get() + p * size, depth, out + r * out_row + p * kWidth, out_row,
                    accumulate);
      });
  }
};
