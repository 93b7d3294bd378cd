// The tile of a direct convolution: Q outputs at V vectors of positions, their sums in registers.
//
// Each tap loads V vectors of the source, at its offset, and broadcasts one weight for each output: Q V multiply-adds
// for Q + V loads. With AVX-512, 8 outputs x 3 vectors: 24 multiply-adds, 12 cycles where there are two units, for 3
// loads that cross a cache line, which count twice, and 8 that do not: 7 cycles of two ports. So arithmetic bounds it.
// A single output (depthwise) has as many loads as multiply-adds and is bound by loads. Every result is one chain of
// multiply-adds in the order of the taps: how positions and outputs are cut never shows in the bits.

struct DirectTap {
  int64_t at, place;  // offset in the source; which weights are its own
};

template <class T> struct DirectTile {
  const T* x;
  const DirectTap* taps;
  int64_t count;
  const T* weights;  // [place][Q]
  const T* bias;     // [Q]
  T* out;
  int64_t out_row;  // from one output to the next
};

template <class T, int Q, int V> static void direct_tile(const DirectTile<T>& t) {
  constexpr int L = kLanes<T>;
  vec<T> sum[Q][V];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
    const vec<T> b = vset(t.bias[q]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[q][v] = b;
  }
  const T *x = t.x, *weights = t.weights;
  const DirectTap* tap = t.taps;
  for (int64_t k = t.count; k > 0; --k, ++tap) {
    const T *at = x + tap->at, *w = weights + tap->place * Q;
    vec<T> value[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) value[v] = vload(at + v * L);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const vec<T> factor = vset(w[q]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[q][v] = vfma(factor, value[v], sum[q][v]);
    }
  }
  T* out = t.out;
  const int64_t row = t.out_row;
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) vstore(out + q * row + v * L, sum[q][v]);
  }
}

template <class T> using DirectTileFunction = void (*)(const DirectTile<T>&);

// The outputs of a tile, 1 << i, and how many vectors it takes at most: as many sums as there are registers for.
constexpr int kOutputSizes = DLCORE_ISA == 4 ? 4 : 3;
constexpr int kMostOutputs = 1 << (kOutputSizes - 1), kMostVectors = DLCORE_ISA == 4 ? 8 : 6;
constexpr int kVectorsOf[4] = {kMostVectors, DLCORE_ISA == 4 ? 8 : 5, DLCORE_ISA == 4 ? 6 : 3, 3};

template <class T> struct DirectTiles {
  DirectTileFunction<T> of[kOutputSizes][kMostVectors] = {};
};
template <class T, int I, int... V>
constexpr void set_direct_tiles(DirectTiles<T>& tiles, std::integer_sequence<int, V...>) {
  ((tiles.of[I][V] = direct_tile<T, 1 << I, V + 1>), ...);
}
template <class T, int... I> constexpr DirectTiles<T> make_direct_tiles(std::integer_sequence<int, I...>) {
  DirectTiles<T> tiles;
  (set_direct_tiles<T, I>(tiles, std::make_integer_sequence<int, kVectorsOf[I]>()), ...);
  return tiles;
}
template <class T>
constexpr DirectTiles<T> kDirectTiles = make_direct_tiles<T>(std::make_integer_sequence<int, kOutputSizes>());

// Outputs are taken in blocks of the largest size, then of smaller ones.
static inline int output_size(int64_t left) {
  int i = kOutputSizes - 1;
  while (left < 1 << i) --i;
  return i;
}
