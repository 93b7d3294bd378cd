// C = activation(A @ B + bias): blocking, packing, partition over threads, epilogue.
//
// C is cut into blocks, each computed by one thread from beginning to end. Within a block k runs in slices of at most
// kDepth, cut by the value of K alone; for each slice and each panel of columns all tiles of rows are computed while
// the panel stays in the cache. No thread shares what another packs, so a product is one parallel region.

// A slice of k, rows of a block, and columns packed together: A's rows (768 KiB) and a panel stay in a cache of 1 MiB.
template <class T> constexpr int64_t kDepth = 2048 / static_cast<int64_t>(sizeof(T));
constexpr int64_t kBlockRows = 384, kBlockColumns = 2048, kGroupColumns = 256;
constexpr int64_t kBlockWork = int64_t{1} << 19;  // multiply-adds worth a block of their own: 5 us
constexpr int64_t kLeastWork = 1 << 10;           // what one takes at least, be it empty
constexpr int64_t kLargeWork = int64_t{1} << 26;  // and those of a product that is shared out in smaller parts

// Scratch, a little of it on the stack: the pool's 20 ns are as much as a product of 8 x 8 matrices takes, and threads
// that work on many would wait for its lock.
template <class T> class Room {
 public:
  explicit Room(int64_t count)
      : bytes_(sizeof(T) * static_cast<size_t>(count)),
        data_(bytes_ <= sizeof little_ ? little_ : static_cast<T*>(allocate(bytes_))) {}
  ~Room() {
    if (data_ != little_) release(data_, bytes_);
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  T* get() { return data_; }

 private:
  alignas(64) T little_[(size_t{1} << 14) / sizeof(T)];
  size_t bytes_;
  T* data_;
};

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The slices of k: they begin at an even one, so that 16-bit floats can be multiplied in pairs.
template <class T> static inline int64_t slices_of(int64_t k) { return k > kDepth<T> ? ceil_div(k, kDepth<T>) : 1; }
static inline int64_t slice_begin(int64_t k, int64_t slices, int64_t s) {
  return s == 0 ? 0 : s == slices ? k : k * s / slices & ~int64_t{1};
}
template <class T> static inline int64_t longest_slice(int64_t k) {
  const int64_t slices = slices_of<T>(k);
  return slices == 1 ? k : ceil_div(k, slices) + 1;
}

template <class S> static inline compute_t<S> rounded(compute_t<S> x) {
  S s;
  store(&s, x);
  return load(&s);
}

// Rounds, adds the bias (16-bit floats; others have it from the tile), activates, keeps what the gradient needs. Each
// step rounds to S as the separate operations would. Loops have a constant length, so that they are vector code; whole
// rows are also loaded and stored with a constant length.
template <class A, class S>
static void finish_tile(const Product<S>& p, const compute_t<S>* x, int64_t x_row, int64_t i, int64_t j, int rows,
                        int columns) {
  using T = compute_t<S>;
  constexpr bool same = std::is_same_v<S, T>;
  constexpr int kWidth = kTileVectors * kLanes<T>;
  T bias[kWidth] = {};
  if (!same && p.bias) {
    for (int l = 0; l < columns; ++l) bias[l] = load(p.bias + j + l);
  }
  const auto finish_rows = [&](auto whole) DLCORE_MAP {
    const auto put = [&](S* to, const T* values) DLCORE_MAP {
      if constexpr (whole) {
        store_block(to, values, kWidth);
      } else {
        S result[kWidth];
        store_block(result, values, kWidth);
        __builtin_memcpy(to, result, static_cast<size_t>(columns) * sizeof(S));
      }
    };
    for (int r = 0; r < rows; ++r) {
      T value[kWidth];
      for (int l = 0; l < kWidth; ++l) value[l] = whole || l < columns ? x[r * x_row + l] : T(0);
      if (!same && (p.bias || p.pre || !std::is_same_v<A, activation::none>)) {
#pragma omp simd
        for (int l = 0; l < kWidth; ++l) value[l] = rounded<S>(value[l]);
        if (p.bias) {
#pragma omp simd
          for (int l = 0; l < kWidth; ++l) value[l] = rounded<S>(value[l] + bias[l]);
        }
      }
      const int64_t at = (i + r) * p.c_row + j;
      if (p.pre) put(p.pre + at, value);
      if constexpr (!std::is_same_v<A, activation::none>) {
#pragma omp simd
        for (int l = 0; l < kWidth; ++l) value[l] = A::value(value[l]);
      }
      put(p.c + at, value);
    }
  };
  if (columns == kWidth) finish_rows(std::true_type());
  else finish_rows(std::false_type());
}

template <class S>
using FinishFunction = void (*)(const Product<S>&, const compute_t<S>*, int64_t, int64_t, int64_t, int, int);
template <class S> static FinishFunction<S> finish_for(const Product<S>& p) {
  if (p.activation == Activation::none && !p.pre && std::is_same_v<S, compute_t<S>>) return nullptr;
  return with_activation(p.activation, [](auto a) -> FinishFunction<S> { return finish_tile<decltype(a), S>; });
}

// One block of C: rows [i0, i1), columns [j0, j1).
template <class S> struct Block {
  using T = compute_t<S>;
  static constexpr bool same = std::is_same_v<S, T>;
  static constexpr int L = kLanes<T>, kWidth = kTileVectors * L;

  const Product<S>& p;
  const int64_t i0, i1, j0, j1;
  const int64_t rows = i1 - i0, columns = j1 - j0;
  const int64_t slices = slices_of<T>(p.k), depth = longest_slice<T>(p.k);
  const RowTiles tiles{rows, ceil_div(rows, kTileRows), depth};
  // Columns of A that are a multiple of 2 KiB apart fall into so few sets of the caches that panel after panel finds
  // none of them there.
  const bool collides = p.a_row == 1 && p.a_col * static_cast<int64_t>(sizeof(T)) % 2048 == 0 && columns > kWidth;
  const bool copies_a = !same || (p.a_row != 1 && p.a_col != 1) || columns >= 8 * kWidth || collides;
  const bool copies_b = !same || p.b_col != 1 || rows > 4 * kTileRows;
  const FinishFunction<S> finish = finish_for(p);

  void run() const {
    Room<T> copy_a(copies_a ? tiles.size() : 0);
    Room<T> panels(copies_b ? ceil_div(std::min(columns, kGroupColumns), kWidth) * panel_size() : 0);
    Room<T> sums(same ? 0 : rows * columns);  // 16-bit results are rounded once, after the last slice
    for (int64_t s = 0; s < slices; ++s) {
      const int64_t k0 = slice_begin(p.k, slices, s), k1 = slice_begin(p.k, slices, s + 1);
      if (copies_a)
        pack_tiles(tiles, p.a + i0 * p.a_row + k0 * p.a_col, p.a_row, p.a_col, k1 - k0, copy_a.get());
      for (int64_t group = j0; group < j1; group += kGroupColumns) {
        const int64_t end = std::min(group + kGroupColumns, j1);
        if (copies_b) {
          pack_columns(p.b + k0 * p.b_row + group * p.b_col, p.b_row, p.b_col, k1 - k0, end - group, panels.get(),
                       int64_t{kWidth}, panel_size());
        }
        for (int64_t j = group; j < end;) {
          j += run_panel(j, end, k0, k1, copy_a.get(), panels.get() + (j - group) / kWidth * panel_size(), sums.get());
        }
      }
    }
  }

  int64_t panel_size() const { return depth * kWidth + 32; }  // not a power of two: panels fall into different sets

  // All rows of the next columns; returns how many columns it took.
  int64_t run_panel(int64_t j, int64_t end, int64_t k0, int64_t k1, const T* copy_a, const T* panel, T* sums) const {
    Tile<T> tile;
    tile.depth = k1 - k0;
    tile.accumulate = k0 > 0;
    const bool last = k1 == p.k;
    const bool wide = same && !copies_b && rows <= kWideRows && !finish && end - j >= kWideVectors * L;
    const int64_t width = wide ? kWideVectors * L : std::min<int64_t>(end - j, kWidth);
    const int vectors = static_cast<int>(ceil_div(width, L));
    tile.tail = static_cast<int>(width - (vectors - 1) * L);
    tile.bias = nullptr;
    tile.b = panel;
    tile.b_row = kWidth;
    if constexpr (same) {
      if (last && p.bias) tile.bias = p.bias + j;
      if (!copies_b) {
        tile.b = p.b + k0 * p.b_row + j * p.b_col;
        tile.b_row = p.b_row;
      }
    }
    for (int64_t t = 0; t < tiles.tiles; ++t) {
      const int64_t i = i0 + tiles.first(t);
      const int count = static_cast<int>(tiles.count(t));
      place_a(tile, i, count, k0, copy_a + tiles.place(t));
      if constexpr (same) {
        tile.c = p.c + i * p.c_row + j;
        tile.c_row = p.c_row;
      } else {
        tile.c = sums + (i - i0) * columns + (j - j0);
        tile.c_row = columns;
      }
      if (wide) kTiles<T>.wide[count - 1](tile);
      else kTiles<T>.narrow[count - 1][vectors - 1][is_part<T>(vectors, tile.tail)](tile);
      if (last && finish) finish(p, tile.c, tile.c_row, i, j, count, static_cast<int>(width));
    }
    return width;
  }

  void place_a(Tile<T>& tile, int64_t i, int count, int64_t k0, const T* copy) const {
    if (copies_a) {
      tile.a = copy;
      tile.a_row = 1;
      tile.a_col = count;
    } else if constexpr (same) {
      tile.a = p.a + i * p.a_row + k0 * p.a_col;
      tile.a_row = p.a_row;
      tile.a_col = p.a_col;
    }
  }
};

#include "matmul/narrow.inl"
#include "matmul/broad.inl"
#include "matmul/small.inl"
#include "matmul/pairs.inl"

// How C is cut: `down` x `across` blocks. Every element is computed in the same way in any block, so the number of
// threads may have a say without showing in the bits.
struct Grid {
  int64_t down, across;
  int64_t blocks() const { return down * across; }
};

// A multiply-add of doubles counts twice: it takes two float lanes.
template <class S> static int64_t work_of(const Product<S>& p) {
  return p.m * p.n * std::max<int64_t>(p.k, 1) * static_cast<int64_t>(sizeof(compute_t<S>) / 4);
}

#if DLCORE_ISA == 4
constexpr int64_t kManyRows = 512;  // of C: beside them it counts little that each thread packs all of a small B

// Whether rows of C are shared out, where there are enough, and not columns: because B is read in place or small. The
// thread that makes some rows, of activations or of a weight's gradient, is then mostly the one that needs them next,
// and lines stay in its caches.
template <class S> static bool shares_rows(const Product<S>& p) {
  if (reads_in_place(p)) return true;
  const bool small = p.n * p.k * static_cast<int64_t>(sizeof(S)) <= second_level_cache() / 2;
  return std::is_same_v<S, compute_t<S>> && p.a_row != 1 && p.m >= kManyRows && small;
}

// As many blocks as wanted and no more: each packs what it needs of A and B itself. Columns are shared, not rows, for
// then no part of B is packed twice, unless more would be packed of A; 16-bit results need room for a block of sums.
template <class S> static Grid cut_broad(const Product<S>& p, int64_t wanted) {
  constexpr int64_t width = kBroadVectors * kLanes<compute_t<S>>, most = 4096;
  const bool same = std::is_same_v<S, compute_t<S>>;
  const int64_t narrow = same && copies_rows(p, p.n) ? 1 : 4;
  Grid grid{ceil_div(p.m, same ? most : kBlockRows), same ? 1 : ceil_div(p.n, kBlockColumns)};
  while (grid.blocks() < wanted) {
    const int64_t rows = p.m / grid.down, columns = p.n / grid.across;
    const bool high = rows >= 2 * kTallRows;
    if (high && shares_rows(p)) grid.down *= 2;
    else if (columns >= 2 * width && narrow * columns >= rows) grid.across *= 2;
    else if (high) grid.down *= 2;
    else break;
  }
  return grid;
}
#endif

// For tall tiles of `width` columns, blocks of at most `most` rows. Rows are shared before columns: halves of int8
// 256x256x256 take 40.8 us by columns and 41.4 by rows, both at once 45.8 and 42.1. (Perhaps what one thread fetches
// ahead at the end of its part of a row is the other's.)
static inline Grid cut_tall(int64_t m, int64_t n, int64_t most, int64_t width, int64_t wanted) {
  Grid grid{1, 1};
  if (std::min<int64_t>(m, n) > kFew) {  // what fits the cache; narrow products stream
    grid = {ceil_div(m, most), ceil_div(n, kBlockColumns)};
    // As many blocks of rows for each thread: of three, two threads would do two and one.
    int64_t alike = 1;
    while (alike < grid.down && alike < wanted) alike = std::min(2 * alike, wanted);
    grid.down = ceil_div(grid.down, alike) * alike;
  }
  while (grid.blocks() < wanted) {
    const int64_t rows = m / grid.down, columns = n / grid.across;
    if (columns >= 2 * width && (columns > rows || rows < 2 * kTileRows)) grid.across *= 2;
    else if (rows >= 2 * kTileRows) grid.down *= 2;
    else break;
  }
  return grid;
}

template <class S> static Grid cut(const Product<S>& p, int64_t wanted) {
  if (p.m == 0 || p.n == 0) return {0, 0};
#if DLCORE_ISA == 4
  if (takes_broad(p)) return cut_broad(p, wanted);
#endif
  int64_t most = kBlockRows;
#if DLCORE_ISA == 4
  if (std::is_same_v<S, bfloat16_t> && multiplies_bfloat16()) most *= 4;  // each tile is read once
#endif
  return cut_tall(p.m, p.n, most, kTileVectors * kLanes<compute_t<S>>, wanted);
}

// Bias, activation and rounding of a block that came without them; its sums are `row` apart, or in C.
template <class S>
static void finish_block(const Product<S>& p, compute_t<S>* c, int64_t row, int64_t i0, int64_t i1, int64_t j0,
                         int64_t j1) {
  const FinishFunction<S> finish = finish_for(p);
  constexpr int64_t width = kTileVectors * kLanes<compute_t<S>>;
  if constexpr (std::is_same_v<S, compute_t<S>>) {
    for (int64_t i = i0; i < i1 && p.bias; ++i) {
#pragma omp simd
      for (int64_t j = j0; j < j1; ++j) c[(i - i0) * row + (j - j0)] += p.bias[j];
    }
  }
  for (int64_t j = j0; finish && j < j1; j += width) {
    finish(p, c + (j - j0), row, i0, j, static_cast<int>(i1 - i0), static_cast<int>(std::min(width, j1 - j)));
  }
}

template <class S> static void run_block(const Product<S>& p, Grid grid, int64_t block) {
  constexpr int64_t width = kTileVectors * kLanes<compute_t<S>>;
  int64_t i0 = 0, i1 = p.m, j0 = 0, j1 = p.n;
  if (grid.blocks() > 1) {  // of a small product, the divisions would take as long as the rest
    const int64_t down = block % grid.down, across = block / grid.down, panels = ceil_div(p.n, width);
    i0 = p.m * down / grid.down, i1 = p.m * (down + 1) / grid.down;
    j0 = panels * across / grid.across * width;
    j1 = std::min(p.n, panels * (across + 1) / grid.across * width);
  }
  const auto finish = [&](compute_t<S>* c, int64_t row) { finish_block(p, c, row, i0, i1, j0, j1); };
  if (narrow_block(p, i0, i1, j0, j1, finish)) return;
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<S, bfloat16_t>) {
    if (multiplies_bfloat16()) return PairBlock{p, i0, i1, j0, j1}.run();
  }
  if (takes_broad(p) && i1 - i0 > kTallRows) return BroadBlock<S>{p, i0, i1, j0, j1}.run();
#endif
  Block<S>{p, i0, i1, j0, j1}.run();
}

#include "matmul/zeros.inl"

// Blocks wanted of `work` multiply-adds: enough for balance, none too small to be worth another thread.
template <class S> static int64_t blocks_wanted(int64_t work) {
  constexpr bool same = std::is_same_v<S, compute_t<S>>;
  const int threads = thread_count();
  if (threads == 1) return 1;
  const bool in_pairs = std::is_same_v<S, bfloat16_t> && multiplies_bfloat16();  // each takes half as long
  if (DLCORE_ISA == 4 && (in_pairs || product_tiles() >= (same ? Tiles::mixed : Tiles::broad)))
    return std::min<int64_t>(work / (in_pairs ? kBlockWork : kBlockWork / 2),
                             work < kLargeWork ? threads : 2 * threads);
  return std::min<int64_t>(work / kBlockWork, 4 * threads);
}

// Whether a product can be cut into so many blocks of rows, none of which packs what another does.
template <class S> static bool cuts_freely([[maybe_unused]] const Product<S>& p, [[maybe_unused]] int64_t blocks) {
#if DLCORE_ISA == 4
  return takes_broad(p) && reads_in_place(p) && p.m >= blocks * kTallRows && work_of(p) >= blocks * (kBlockWork / 4);
#else
  return false;
#endif
}

// Independent products in one parallel region. Their blocks take turns, those of the first rows first: so each thread
// works on the same rows of all. Small ones that could not be cut, or not for nothing, run side by side.
template <class S, int N> static void gemm(const Product<S> (&products)[N]) {
  int64_t work = 0, blocks = 0;
  Grid grids[N];
  for (const Product<S>& p : products) work += work_of(p);
  const int64_t wanted = blocks_wanted<S>(work), threads = std::min<int64_t>(wanted, thread_count());
  for (int i = 0; i < N; ++i) {
    const int64_t share = wanted * work_of(products[i]) / std::max<int64_t>(work, 1);
    grids[i] = cut(products[i], cuts_freely(products[i], threads) ? std::max(share, threads) : share);
    blocks = std::max(blocks, grids[i].blocks());
  }
  const auto run = [&](int64_t turn) {
    const int64_t i = turn % N, block = turn / N;
    if (block < grids[i].blocks()) run_block(products[i], grids[i], block);
  };
  if (wanted > 1) return parallel_for(blocks * N, run);
  for (int64_t turn = 0; turn < blocks * N; ++turn) run(turn);
}

template <class S, class Place>
static void multiply_small(const Product<S>& p, int64_t begin, int64_t end, Place place) {
  SmallProduct<S> small(p);
  Room<S> copy(small.room());
  for (int64_t b = begin; b < end; ++b) {
    Product<S> entry = p;
    place(entry, b);
    small.run(entry.a, entry.b, entry.c, copy.get());
  }
}

// The same product for many matrices: place(p, entry) moves p to an entry of the batch.
template <class S, class Place> static void gemm_batch(const Product<S>& p, int64_t batch, Place place) {
  if (batch == 1) {
    Product<S> only = p;
    place(only, 0);
    if (multiply_without_zeros(only)) return;
  }
  const int64_t work = std::max(work_of(p), kLeastWork), wanted = blocks_wanted<S>(work * batch);
  const Grid grid = cut(p, ceil_div(wanted, std::max<int64_t>(batch, 1)));
  const int64_t blocks = grid.blocks() * batch;
  parallel_ranges(blocks, wanted > 1 ? std::max<int64_t>(1, blocks / wanted) : blocks, [&](int64_t begin, int64_t end) {
    if constexpr (std::is_same_v<S, compute_t<S>>) {
      if (grid.blocks() == 1 && SmallProduct<S>::takes(p)) return multiply_small(p, begin, end, place);
    }
    for (int64_t b = begin; b < end; ++b) {
      Product<S> entry = p;
      const int64_t of = grid.blocks() == 1 ? b : b / grid.blocks();
      place(entry, of);
      run_block(entry, grid, b - of * grid.blocks());
    }
  });
}
