// Blocks of C by broad tiles: 6 rows x 4 vectors, and 8 x 3, 12 x 2, 14 x 1 for the last columns.
//
// An Intel core does two 512-bit multiply-adds a cycle, but its loads, and where another guest uses the other
// hyperthread every instruction, are what a tile of 14 x 2 waits for (0.57 loads a multiply-add; here 0.42). Zen 4 is
// at its roof with either tile while all lies in its caches; with these it packs less of B and writes C in long runs.
//
// GFLOP/s of float32, DLCORE_TILES=tall and the default, on an Emerald Rapids Xeon, one thread and two, and on one core
// of a Zen 4 (115 at most). Of a product marked T, A^T is what lies in memory.
//                 256^3   128x784x256   1024^3   2048x32x2048   512x128x4096   T 512x128x4096   T 512x128x1024
//   Xeon        157 171     147 172    144 155      102 141
//   2 threads   208 230     201 225    190 230      135 168
//   Zen 4       110 116     110 111    103 107       83  96         83 112          91  96         102 109
//
// k runs in the same slices as in gemm.inl. Within one: groups of columns of B, as many as keep a share of the
// second-level cache; all rows of A against a group, tile by tile; the panels of a group innermost, so that C is
// written in long runs. Every element is the same chain of multiply-adds: the bits are those of the tall tiles.
#if DLCORE_ISA == 4
constexpr int kBroadVectors = 4;
constexpr int kBroadRows[kBroadVectors + 1] = {0, 14, 12, 8, 6};
constexpr int kTallRows = 14;          // so many rows are one tall tile, which reads B once
constexpr int64_t kSmallA = 1 << 16;   // bytes of an A of adjacent columns that is read in place
constexpr int64_t kManyColumns = 256;  // of C: worth copies of the rows of A

// Whether a product is for these tiles. It is for tall ones where few rows meet a B that no cache of a core holds, for
// those read it where it lies, prefetched. Where tall tiles are at the roof by themselves, they are also for few rows
// of any B that is read in place, and for floats of 16 bits, whose rows are always copied.
template <class S> static bool takes_broad(const Product<S>& p) {
  const Tiles tiles = product_tiles();
  if (tiles == Tiles::tall || p.m <= kTallRows || p.n <= kFew) return false;
  const bool mixed = tiles == Tiles::mixed, few = p.b_col == 1 && p.m <= 4 * kTallRows;
  if (mixed && !std::is_same_v<S, compute_t<S>>) return false;
  return !few || (!mixed && p.k * p.n * static_cast<int64_t>(sizeof(S)) <= second_level_cache());
}

// Whether A is read from copies of its rows, for blocks of so many columns. An A^T is read in place where it is small,
// or where few columns of C need it and its rows are no multiple of 2 KiB apart, which falls into few sets of a cache.
template <class S> static bool copies_rows(const Product<S>& p, int64_t columns) {
  if (!std::is_same_v<S, compute_t<S>>) return true;
  if (p.a_col == 1) return false;
  if (p.a_row != 1) return true;
  constexpr int64_t item = sizeof(S);
  if (p.m * std::min(p.k, kDepth<S>) * item <= kSmallA) return false;
  return columns >= kManyColumns || p.a_col * item % 2048 == 0;
}

// Whether B is read where it is: if it lies on whole vectors and its rows, with what lies between those of a block,
// stay in the second-level cache beside the rest: a part of wide rows would fall into few of the sets.
template <class S> static bool reads_in_place(const Product<S>& p) {
  using T = compute_t<S>;
  return std::is_same_v<S, T> && p.b_col == 1 && p.b_row % kLanes<T> == 0 &&
         reinterpret_cast<uintptr_t>(p.b) % kVectorBytes == 0 &&
         longest_slice<T>(p.k) * p.b_row * static_cast<int64_t>(sizeof(T)) <= second_level_cache() * 3 / 5;
}

// The tile of so many rows: of more than kTallRows rows, shared out evenly, no tile gets less than half of the most.
template <class T, int NV, bool PART, int... I>
static TileFunction<T> broad_tile_of(int rows, std::integer_sequence<int, I...>) {
  constexpr int least = kBroadRows[NV] / 2;
  if constexpr (NV == 1) {
    static constexpr TileFunction<T> tiles[] = {one_vector<T, least + I, false>(PART)...};
    return tiles[rows - least];
  } else {
    static constexpr TileFunction<T> tiles[] = {compute_tile<T, least + I, NV, PART, false>...};
    return tiles[rows - least];
  }
}
template <class T, int NV> static TileFunction<T> broad_tile_of(int rows, bool part) {
  constexpr auto all = std::make_integer_sequence<int, kBroadRows[NV] - kBroadRows[NV] / 2 + 1>();
  return part ? broad_tile_of<T, NV, true>(rows, all) : broad_tile_of<T, NV, false>(rows, all);
}

// f(from, to, vectors) for columns that tiles of so many vectors share: so that the last ones, too, are worked on by
// tiles with many multiply-adds a load. Where two multiply-adds of half vectors are done at once, half a vector at the
// end has a tile of its own.
template <class T, class F> static void broad_regions(int64_t columns, F f) {
  constexpr int64_t L = kLanes<T>;
  const int64_t over = columns % L;
  const bool half = product_tiles() == Tiles::mixed && columns > L && over > 0 && over <= L / 2;
  const int64_t end = half ? columns - over : columns, vectors = ceil_div(end, L);
  int64_t fours = vectors / 4, threes = 0;
  switch (vectors % 4) {
    case 3: threes = 1; break;
    case 2:
      if (fours) fours -= 1, threes = 2;
      break;
    case 1:
      if (fours > 1) fours -= 2, threes = 3;
      else if (fours == 1) fours = 0, threes = 1;
  }
  const int64_t first = std::min(end, fours * 4 * L), second = std::min(end, first + threes * 3 * L);
  if (first > 0) f(int64_t{0}, first, 4);
  if (second > first) f(first, second, 3);
  if (end > second) f(second, end, static_cast<int>(ceil_div(end - second, L)));
  if (columns > end) f(end, columns, 1);
}

// Rows [i0, i1), more than kTallRows of them, and columns [j0, j1) of C.
template <class S> struct BroadBlock {
  using T = compute_t<S>;
  static constexpr bool same = std::is_same_v<S, T>;
  static constexpr int L = kLanes<T>;

  const Product<S>& p;
  const int64_t i0, i1, j0, j1;
  const int64_t rows = i1 - i0, columns = j1 - j0;
  const int64_t slices = slices_of<T>(p.k), depth = longest_slice<T>(p.k);
  const bool copies_a = copies_rows(p, columns);
  // Adjacent rows that few columns of C need are copied as they lie, only so far apart that they do not collide.
  const bool spreads_a = copies_a && same && p.a_row == 1 && columns < kManyColumns;
  const int64_t pitch = spreads_a ? ceil_div(rows, 2 * L) * 2 * L + L : 0;  // an odd number of vectors
  const bool copies_b = !reads_in_place(p);
  const FinishFunction<S> finish = finish_for(p);

  void run() const {
    Room<T> sums(same ? 0 : rows * columns);  // 16-bit results are rounded once, after the last slice
    broad_regions<T>(columns, [&](int64_t from, int64_t to, int vectors) {
      switch (vectors) {
        case 1: return run_region<1>(j0 + from, j0 + to, sums.get());
        case 2: return run_region<2>(j0 + from, j0 + to, sums.get());
        case 3: return run_region<3>(j0 + from, j0 + to, sums.get());
        default: return run_region<4>(j0 + from, j0 + to, sums.get());
      }
    });
  }

  template <int NV> void run_region(int64_t from, int64_t to, T* sums) const {
    constexpr int64_t width = int64_t{NV} * L;
    const int64_t panel = depth * width + 32;
    const RowTiles tiles{rows, ceil_div(rows, kBroadRows[NV]), depth};
    // Two fifths of the second-level cache: where k is short, whole rows of C are then written in one go.
    const int64_t fits = second_level_cache() * 2 / 5 / (std::max<int64_t>(depth, 1) * static_cast<int64_t>(sizeof(T)));
    const int64_t group = std::min(std::max(fits / width * width, width), ceil_div(to - from, width) * width);
    Room<T> copy_a(spreads_a ? depth * pitch : copies_a ? tiles.size() : 0);
    Room<T> panels(copies_b ? group / width * panel : 0);
    for (int64_t s = 0; s < slices; ++s) {
      const int64_t k0 = slice_begin(p.k, slices, s), k1 = slice_begin(p.k, slices, s + 1);
      const S* a = p.a + i0 * p.a_row + k0 * p.a_col;
      if (spreads_a) spread_rows(a, k1 - k0, copy_a.get());
      else if (copies_a) pack_tiles(tiles, a, p.a_row, p.a_col, k1 - k0, copy_a.get());
      for (int64_t j = from; j < to; j += group) {
        const int64_t end = std::min(j + group, to);
        if (copies_b)
          pack_columns(p.b + k0 * p.b_row + j * p.b_col, p.b_row, p.b_col, k1 - k0, end - j, panels.get(), width,
                       panel);
        for (int64_t t = 0; t < tiles.tiles; ++t) {
          for (int64_t at = j; at < end; at += width)
            run_tile<NV>(tiles.first(t), static_cast<int>(tiles.count(t)), at, std::min(at + width, to), k0, k1,
                         copy_a.get() + (spreads_a ? tiles.first(t) : tiles.place(t)),
                         panels.get() + (at - j) / width * panel, sums);
        }
      }
    }
  }

  void spread_rows(const S* a, int64_t steps, T* to) const {
    if constexpr (same)
      for (int64_t k = 0; k < steps; ++k) std::copy_n(a + k * p.a_col, rows, to + k * pitch);
  }

  template <int NV>
  void run_tile(int64_t i, int count, int64_t j, int64_t end, int64_t k0, int64_t k1, const T* a, const T* panel,
                T* sums) const {
    Tile<T> tile;
    tile.depth = k1 - k0, tile.accumulate = k0 > 0, tile.bias = nullptr;
    tile.tail = static_cast<int>(end - j - (NV - 1) * L);
    tile.a = a, tile.a_row = 1, tile.a_col = spreads_a ? pitch : count;
    tile.b = panel, tile.b_row = NV * L;
    tile.c = sums + i * columns + (j - j0), tile.c_row = columns;
    const bool last = k1 == p.k;
    if constexpr (same) {
      if (!copies_a) tile.a = p.a + (i0 + i) * p.a_row + k0 * p.a_col, tile.a_row = p.a_row, tile.a_col = p.a_col;
      if (!copies_b) tile.b = p.b + k0 * p.b_row + j, tile.b_row = p.b_row;
      tile.c = p.c + (i0 + i) * p.c_row + j, tile.c_row = p.c_row;
      if (last && p.bias) tile.bias = p.bias + j;
    }
    broad_tile_of<T, NV>(count, is_part<T>(NV, tile.tail))(tile);
    constexpr int kChunk = kTileVectors * L;  // what `finish` takes at most
    for (int64_t at = j; last && finish && at < end; at += kChunk)
      finish(p, tile.c + (at - j), tile.c_row, i0 + i, at, count,
             static_cast<int>(std::min<int64_t>(kChunk, end - at)));
  }
};
#endif
