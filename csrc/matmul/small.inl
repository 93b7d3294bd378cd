// Small products, and batches of them: the tiles of one product are chosen once, and run for each entry of the batch.
//
// Whoever multiplies two matrices of 8 x 8 spends most of the time on what is decided once for large ones: how rows and
// columns are shared out, whether something is copied, which function computes a tile. A is read where it lies, and so
// is B unless its columns are not adjacent; both are in the caches of a core. Every element is the same
// chain of multiply-adds as in any other tile.
//
// Nanoseconds for one of a batch of n x n, on one core of a Zen 4, the better of torch 2.13 and NumPy 2.4 beside:
//                        float32: 4    8    16    32     64    100   float64: 4    8    16    32     64     100
//   chosen for each entry        44   55   115   657   4806  20030         44   60   201  1309   9750   39100
//   chosen once                  14   20    79   591   4645  18800         13   24   155  1197   9575   36860
//   the better                   31   48   106   623   4660  18110         33   54   189  1220   9550   36970
//
// Fetching the next entry's operands meanwhile gains nothing, be they in the third-level cache: 32 x 100^3 604 us, 617.
template <class S> class SmallProduct {
  static constexpr int L = kLanes<S>, kMost = 256;  // tiles
  static constexpr int64_t kBytes = 6 << 14;        // of B

 public:
  // Whether the product is for this: small, of one slice of k, without an epilogue, and not for narrow_block.
  static bool takes(const Product<S>& p) {
    if (p.bias || p.pre || p.activation != Activation::none || p.m == 0 || p.n == 0 || p.k > kDepth<S>) return false;
    if (NarrowWay(p)) return false;
    return p.k * padded(p.n) * static_cast<int64_t>(sizeof(S)) <= kBytes && tiles_at_most(p) <= kMost;
  }

  explicit SmallProduct(const Product<S>& p) : p_(p) {
    each_region(p.n, [&](int64_t from, int64_t to, int vectors) {
      const RowTiles rows{p.m, ceil_div(p.m, most_rows(vectors)), p.k};
      for (int64_t j = from; j < to; j += vectors * L) {
        const int tail = static_cast<int>(std::min<int64_t>(to - j - (vectors - 1) * L, L));
        for (int64_t t = 0; t < rows.tiles; ++t)
          steps_[count_++] = {tile_of(static_cast<int>(rows.count(t)), vectors, tail), rows.first(t) * p.a_row,
                              copies_b_ ? j : j * p.b_col, rows.first(t) * p.c_row + j, tail};
      }
    });
    tile_.a_row = p.a_row, tile_.a_col = p.a_col, tile_.c_row = p.c_row, tile_.depth = p.k;
    tile_.b_row = copies_b_ ? padded(p.n) : p.b_row;
    tile_.bias = nullptr, tile_.accumulate = false;
  }

  int64_t room() const { return copies_b_ ? p_.k * padded(p_.n) : 0; }

  // `copy`: as much as room() says.
  void run(const S* a, const S* b, S* c, S* copy) {
    if (copies_b_) {
      pack_columns(b, p_.b_row, p_.b_col, p_.k, p_.n, copy, padded(p_.n), int64_t{0});
      b = copy;
    }
    for (int s = 0; s < count_; ++s) {
      const Step& step = steps_[s];
      tile_.a = a + step.a, tile_.b = b + step.b, tile_.c = c + step.c, tile_.tail = step.tail;
      step.run(tile_);
    }
  }

 private:
  struct Step {
    TileFunction<S> run;
    int64_t a, b, c;
    int tail;
  };

  static int64_t padded(int64_t n) { return ceil_div(n, L) * L; }
#if DLCORE_ISA == 4
  static constexpr int kLeast = kBroadRows[1] / 2;  // rows for broad tiles; and rows times vectors of each
  static bool is_broad(const Product<S>& p) { return p.m >= kLeast; }
#endif
  static int64_t tiles_at_most(const Product<S>& p) {
    const int64_t vectors = ceil_div(p.n, L);
#if DLCORE_ISA == 4
    if (is_broad(p)) return p.m * vectors / kLeast;
#endif
    return ceil_div(p.m, kTileRows) * ceil_div(vectors, kTileVectors);
  }
  int most_rows([[maybe_unused]] int vectors) const {
#if DLCORE_ISA == 4
    if (broad_) return kBroadRows[vectors];
#endif
    return kTileRows;
  }
  TileFunction<S> tile_of(int rows, int vectors, int tail) const {
    const bool part = is_part<S>(vectors, tail);
#if DLCORE_ISA == 4
    if (broad_) {
      switch (vectors) {
        case 1: return broad_tile_of<S, 1>(rows, part);
        case 2: return broad_tile_of<S, 2>(rows, part);
        case 3: return broad_tile_of<S, 3>(rows, part);
        default: return broad_tile_of<S, 4>(rows, part);
      }
    }
#endif
    return kTiles<S>.narrow[rows - 1][vectors > 1][part];
  }
  // f(from, to, vectors) for regions of columns that tiles of so many vectors share.
  template <class F> void each_region(int64_t columns, F f) const {
#if DLCORE_ISA == 4
    if (broad_) return broad_regions<S>(columns, f);
#endif
    const int64_t whole = columns / (kTileVectors * L) * (kTileVectors * L);
    if (whole) f(int64_t{0}, whole, kTileVectors);
    if (whole < columns) f(whole, columns, static_cast<int>(ceil_div(columns - whole, L)));
  }

  const Product<S> p_;
  const bool copies_b_ = p_.b_col != 1;
#if DLCORE_ISA == 4
  const bool broad_ = is_broad(p_);
#endif
  Step steps_[kMost];
  int count_ = 0;
  Tile<S> tile_;
};
