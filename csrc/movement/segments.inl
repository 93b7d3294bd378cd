// Sums of rows by the places they go to: the gradients of take, of an embedding and of bags of one.
//
// dx[k] = sum of the rows e with places[e] == k, in the order of their numbers, in float32 or wider. The numbers are
// sorted by place, by counting; each place is then written once, as a sum held in registers, or as zeros: 1024 rows of
// 768 floats into a vocabulary of 50257 move 3 MB of rows and 154 MB of zeros. Where so much is written, zeros go past
// the caches, which could not keep them. Bits do not depend on how the work is cut: one chunk adds all of a place.
// A body includes it once, behind common/strided_copy.inl and movement/positions.inl.

constexpr int64_t kStreamed = 8 << 20;  // bytes of dx from which zeros go past the caches

// The numbers of rows by place: those of place k are order[first[k]] .. order[first[k + 1] - 1]. A place of -1 is none.
// A few zeros follow, for what looks ahead.
template <class Count> struct RowsByPlace {
  static constexpr int64_t kAhead = 4;
  Scratch<Count> first, order;
  int64_t length, kept = 0;

  RowsByPlace(const int64_t* places, int64_t n, int64_t length)
      : first(length + 2), order(n + kAhead), length(length) {
    // Counts stand two places on, sums of them one place on until the last pass has moved each to its end.
    memset(first.get(), 0, (length + 2) * sizeof(Count));
    for (int64_t i = 0; i < n; ++i) {
      if (places[i] < 0) continue;
      ++first[places[i] + 2];
      ++kept;
    }
    for (int64_t k = 2; k < length + 1; ++k) first[k] += first[k - 1];
    for (int64_t i = 0; i < n; ++i)
      if (places[i] >= 0) order[first[places[i] + 1]++] = static_cast<Count>(i);
    for (int64_t i = 0; i < kAhead; ++i) order[kept + i] = 0;
  }
  int64_t count(int64_t k) const { return first[k + 1] - first[k]; }
  int64_t largest() const {
    Count most = 0;
    for (int64_t k = 0; k < length; ++k) most = std::max<Count>(most, first[k + 1] - first[k]);
    return most;
  }
  // The first place before which there are `work` rows and places.
  int64_t place_at(int64_t work) const {
    int64_t low = 0, high = length;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (middle + static_cast<int64_t>(first[middle]) < work) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};

// Where rows are: the source of a sum.
template <class T> struct DenseRows {
  static constexpr bool kWeighted = false;
  const T* from;
  int64_t outer, stride;
  const T* row(int64_t o, int64_t e) const { return from + o * outer + e * stride; }
  compute_t<T> weight(int64_t) const { return 1; }
};

template <class T> constexpr bool kInVectors = !std::is_integral_v<T>;

// Columns [j, j + vectors * kLanes) of one place.
template <int vectors, class T, class Rows, class Count>
static void add_vectors(T* to, const Rows& rows, int64_t o, const Count* e, const Count* end, int64_t j, double scale) {
  using A = compute_t<T>;
  constexpr int64_t lanes = kLanes<A>, ahead = RowsByPlace<Count>::kAhead, line = 64;
  vec<A> sum[vectors] = {};
  for (; e != end; ++e) {
    const char* later = reinterpret_cast<const char*>(rows.row(o, e[ahead]) + j);
    for (int64_t b = 0; b < vectors * lanes * static_cast<int64_t>(sizeof(T)); b += line) __builtin_prefetch(later + b);
    const T* row = rows.row(o, *e) + j;
    [[maybe_unused]] const vec<A> weight = vset(static_cast<A>(rows.weight(*e)));
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      if constexpr (Rows::kWeighted) sum[v] = vfma(weight, widen(row + v * lanes), sum[v]);
      else sum[v] += widen(row + v * lanes);
    }
  }
  A room[vectors * lanes];
  A* sums = room;
  if constexpr (std::is_same_v<T, A>) sums = to;
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v)
    vstore(sums + v * lanes, scale == 1 ? sum[v] : sum[v] * vset(static_cast<A>(scale)));
  if constexpr (!std::is_same_v<T, A>) store_block(to, room, vectors * lanes);
}

// The columns [j, j + n) of one place, n <= kVectorBytes.
template <class T, class Rows, class Count>
static void add_columns(T* to, const Rows& rows, int64_t o, const Count* e, const Count* end, int64_t j, int64_t n,
                        double scale) {
  using A = compute_t<T>;
  A sums[kVectorBytes] = {};
  for (; e != end; ++e) {
    const T* row = rows.row(o, *e) + j;
    const A weight = rows.weight(*e);
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      if constexpr (Rows::kWeighted) sums[k] = fma_(weight, load(row + k), sums[k]);
      else sums[k] = sum_of(sums[k], load(row + k));
    }
  }
  for (int64_t k = 0; k < n; ++k) {
    if constexpr (kInVectors<T>) store(to + k, scale == 1 ? sums[k] : sums[k] * static_cast<A>(scale));
    else to[k] = sums[k];
  }
}

// Columns [j, last) of one place.
template <class T, class Rows, class Count>
static void add_place(T* to, const Rows& rows, int64_t o, const Count* e, const Count* end, int64_t j, int64_t last,
                      double scale) {
  constexpr int64_t lanes = kLanes<compute_t<T>>;
  if constexpr (kInVectors<T>) {
    for (; j + 8 * lanes <= last; j += 8 * lanes) add_vectors<8>(to + j, rows, o, e, end, j, scale);
    for (; j + 2 * lanes <= last; j += 2 * lanes) add_vectors<2>(to + j, rows, o, e, end, j, scale);
    for (; j + lanes <= last; j += lanes) add_vectors<1>(to + j, rows, o, e, end, j, scale);
  }
  for (; j < last; j += kVectorBytes) {
    const int64_t left = last - j;
    add_columns(to + j, rows, o, e, end, j, left < kVectorBytes ? left : kVectorBytes, scale);
  }
}

// dx[o, k] = sum of rows.row(o, e) over the e with places[e] == k, divided by their number if `mean`; zeros where there
// are none. dx: (outer, length, width).
template <class Count, class T, class Rows>
static void add_sorted_rows(T* dx, int64_t outer, int64_t length, int64_t width, const int64_t* places, int64_t n,
                            const Rows& rows, bool mean) {
  const RowsByPlace<Count> sorted(places, n, length);
  const int64_t item = static_cast<int64_t>(sizeof(T)), work = length + sorted.kept;
  const int64_t grain = kCopyGrain / (width * item) + 1, parts = (work + grain - 1) / grain;
  // A place with many rows is cut along the columns: all of it goes through one chunk else.
  constexpr int64_t tile = 8 * kLanes<compute_t<T>>;
  const bool heavy = width >= 2 * tile && sorted.kept > 4 * grain && sorted.largest() > 4 * grain;
  const int64_t columns = heavy ? tile : width, blocks = (width + columns - 1) / columns;
  const bool streaming = outer * length * width * item >= kStreamed;
  parallel_ranges(outer * parts * blocks, 1, [&](int64_t unit, int64_t) {
    const int64_t o = unit / (parts * blocks), part = unit / blocks % parts, j = unit % blocks * columns;
    const int64_t last = j + columns < width ? j + columns : width;
    const int64_t end = part + 1 == parts ? length : sorted.place_at((part + 1) * grain);
    T* to = dx + o * length * width;
    for (int64_t k = sorted.place_at(part * grain); k < end;) {
      int64_t empty = k;
      while (empty < end && sorted.count(empty) == 0) ++empty;
      if (blocks == 1 && empty > k)
        write_zeros(reinterpret_cast<char*>(to + k * width), (empty - k) * width * item, streaming);
      for (; blocks > 1 && k < empty; ++k)
        write_zeros(reinterpret_cast<char*>(to + k * width + j), (last - j) * item, streaming);
      k = empty;
      if (k == end) break;
      const double scale = mean ? 1.0 / static_cast<double>(sorted.count(k)) : 1.0;
      const Count* numbers = sorted.order.get();
      add_place(to + k * width, rows, o, numbers + sorted.first[k], numbers + sorted.first[k + 1], j, last, scale);
      ++k;
    }
    if (streaming) _mm_sfence();
  });
}

template <class T, class Rows>
static void add_rows_by_place(T* dx, int64_t outer, int64_t length, int64_t width, const int64_t* places, int64_t n,
                              const Rows& rows, bool mean) {
  if (n < (int64_t{1} << 31)) add_sorted_rows<uint32_t>(dx, outer, length, width, places, n, rows, mean);
  else add_sorted_rows<int64_t>(dx, outer, length, width, places, n, rows, mean);
}
