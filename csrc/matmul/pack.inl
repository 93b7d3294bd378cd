// Copies of operands in the order a tile reads them, widened to the type of the arithmetic. Needed where columns of B
// are not adjacent, where strides make rows collide in the cache, and for 16-bit floats; everything else is read in
// place. A packed element costs about 0.2 cycles and saves nothing but misses, so few rows of C never pay for it.

template <class S> static inline vec<compute_t<S>> widen_first(const S* p, int n) {
  if constexpr (std::is_same_v<S, compute_t<S>>) {
    return vload_first(p, n);
  } else {
    S lanes[kLanes<float>] = {};
    __builtin_memcpy(lanes, p, static_cast<size_t>(n) * sizeof(S));
    return widen(lanes);
  }
}

// Transposes a square of registers: for each power of two, blocks off the diagonal change places.
template <int HALF, class T> static inline void swap_blocks(vec<T> (&v)[kLanes<T>]) {
  constexpr int L = kLanes<T>;
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Index Pick __attribute__((vector_size(kVectorBytes)));
  Pick low{}, high{};
#pragma GCC unroll 16
  for (int l = 0; l < L; ++l) {
    low[l] = l & HALF ? L + l - HALF : l;
    high[l] = l & HALF ? L + l : l + HALF;
  }
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) {
    if (i & HALF) continue;
    const vec<T> x = v[i], y = v[i + HALF];
    v[i] = __builtin_shuffle(x, y, low);
    v[i + HALF] = __builtin_shuffle(x, y, high);
  }
  if constexpr (HALF > 1) swap_blocks<HALF / 2, T>(v);
}

// out[k * pitch + l] = lines[l * stride + k] for k < depth and l < count; zeros for further l < stored <= kLanes.
template <class S> [[gnu::noinline, gnu::noclone]]
static void pack_transposed(const S* lines, int64_t stride, int count, int64_t depth, compute_t<S>* out, int64_t pitch,
                            int stored) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  for (int64_t k = 0; k < depth; k += L) {
    const int steps = static_cast<int>(depth - k < L ? depth - k : L);
    vec<T> square[L];
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) {
      const S* from = lines + l * stride + k;
      square[l] = vec<T>{};
      if (l < count) square[l] = steps == L ? widen(from) : widen_first(from, steps);
    }
    swap_blocks<L / 2, T>(square);
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) {
      if (l >= steps) continue;
      if (stored == L) vstore(out + (k + l) * pitch, square[l]);
      else vstore_first(out + (k + l) * pitch, square[l], stored);
    }
  }
}

// Columns of B as panels of `width` columns, one after another: panels[(j / width) * size + k * width + j % width] =
// b[k * row + j * col], zeros up to whole vectors. Rows are read through all panels, in long runs.
template <class S> static void pack_columns(const S* b, int64_t row, int64_t col, int64_t depth, int64_t columns,
                                            compute_t<S>* panels, int64_t width, int64_t size) {
  using T = compute_t<S>;
  constexpr int L = kLanes<T>;
  const int64_t whole = columns / L * L;
  const int tail = static_cast<int>(columns - whole);
  const auto place = [&](int64_t j) { return panels + j / width * size + j % width; };
  if (col == 1) {
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t j = 0; j < whole; j += L) vstore(place(j) + k * width, widen(b + k * row + j));
      if (tail) vstore(place(whole) + k * width, widen_first(b + k * row + whole, tail));
    }
    return;
  }
  for (int64_t j = 0; j < columns; j += L) {
    const int count = j < whole ? L : tail;
    if (row == 1) {
      pack_transposed(b + j * col, col, count, depth, place(j), width, L);
    } else {
      for (int64_t k = 0; k < depth; ++k) {
        for (int l = 0; l < L; ++l) place(j)[k * width + l] = l < count ? load(b + k * row + (j + l) * col) : T(0);
      }
    }
  }
}

// Rows of A for one tile, step by step of k: out[k * rows + i] = a[i * row + k * col].
template <class S> static void pack_rows(const S* a, int64_t row, int64_t col, int64_t rows, int64_t depth,
                                         compute_t<S>* out) {
  constexpr int L = kLanes<compute_t<S>>;
  for (int64_t i = 0; i < rows; i += L) {
    const int count = static_cast<int>(rows - i < L ? rows - i : L);
    const S* from = a + i * row;
    if (col == 1) {
      pack_transposed(from, row, count, depth, out + i, rows, count);
    } else if (row == 1) {
      for (int64_t k = 0; k < depth; ++k) vstore_first(out + i + k * rows, widen_first(from + k * col, count), count);
    } else {
      for (int64_t k = 0; k < depth; ++k) {
        for (int l = 0; l < count; ++l) out[i + k * rows + l] = load(from + l * row + k * col);
      }
    }
  }
}

// Rows of A, shared out evenly among tiles, and where the copy of each tile begins: with room for lanes written beyond
// its last row, which also keeps tiles from falling into the same sets of a cache.
struct RowTiles {
  static constexpr int kMost = 16;  // rows of a tile
  int64_t rows, tiles, depth;
  int64_t least = rows / tiles, longer = rows % tiles;  // so many tiles have a row more: no division for each

  int64_t first(int64_t t) const { return least * t + std::min(t, longer); }
  int64_t count(int64_t t) const { return least + (t < longer); }
  int64_t place(int64_t t) const { return first(t) * depth + t * kMost; }
  int64_t size() const { return rows * depth + tiles * kMost; }
};

// Tiles [t0, t1) of adjacent rows, LANES rows of each: what goes beyond a tile's, its next step of k overwrites.
template <int LANES, class S>
static void pack_lanes(const RowTiles& tiles, int64_t t0, int64_t t1, const S* a, int64_t col, int64_t depth,
                       compute_t<S>* out) {
  using T = compute_t<S>;
  constexpr int kTogether = 32;  // as many lines written to at once as a first-level cache keeps
  constexpr int64_t kSteps = 4;
  const auto copy = [](const S* from, T* to) DLCORE_MAP {
    if constexpr (std::is_same_v<S, T>) {
      __builtin_memcpy(to, from, LANES * sizeof(T));
    } else {
#pragma GCC unroll 4
      for (int l = 0; l < LANES; l += kLanes<T>) vstore(to + l, widen(from + l));
    }
  };
  for (; t0 < t1; t0 += kTogether) {
    const int n = static_cast<int>(std::min<int64_t>(t1 - t0, kTogether));
    const S* from[kTogether];
    T* to[kTogether];
    int64_t count[kTogether];
    for (int t = 0; t < n; ++t)
      from[t] = a + tiles.first(t0 + t), to[t] = out + tiles.place(t0 + t), count[t] = tiles.count(t0 + t);
    const auto steps = [&](int64_t k, auto together) DLCORE_MAP {
      for (int t = 0; t < n; ++t) {
        for (int64_t s = 0; s < int64_t{together}; ++s) copy(from[t] + (k + s) * col, to[t] + (k + s) * count[t]);
      }
    };
    int64_t k = 0;
    for (; k + kSteps <= depth; k += kSteps) steps(k, std::integral_constant<int64_t, kSteps>());
    for (; k < depth; ++k) steps(k, std::integral_constant<int64_t, 1>());
  }
}

// All tiles. Where rows are adjacent, a step of k is read through many tiles, so that no line is read twice.
template <class S>
static void pack_tiles(const RowTiles& tiles, const S* a, int64_t row, int64_t col, int64_t depth,
                       compute_t<S>* out) {
  constexpr bool eight = std::is_same_v<S, compute_t<S>> || kLanes<compute_t<S>> <= 8;
  int64_t done = 0;
  if (row == 1) {
    const bool few = eight && (tiles.rows + tiles.tiles - 1) / tiles.tiles <= 8;
    const int64_t lanes = few ? 8 : RowTiles::kMost;
    for (done = tiles.tiles; done > 0 && tiles.first(done - 1) + lanes > tiles.rows;) --done;  // reads no further
    if (few) pack_lanes<eight ? 8 : RowTiles::kMost>(tiles, 0, done, a, col, depth, out);
    else pack_lanes<RowTiles::kMost>(tiles, 0, done, a, col, depth, out);
  }
  for (int64_t t = done; t < tiles.tiles; ++t)
    pack_rows(a + tiles.first(t) * row, row, col, tiles.count(t), depth, out + tiles.place(t));
}
