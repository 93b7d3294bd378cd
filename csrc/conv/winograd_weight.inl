// The weight's gradient by Winograd's algorithm, the transpose of winograd.inl in the weight:
//
//   dw = G^T [ sum over tiles of (B^T x B) * (A y A^T) ] G
//
// 16 products with k going through the tiles. As in weight.inl boxes of tiles are dealt out to slices by shapes alone,
// each with sums of its own, which are added in order.

// A y A^T of each tile, to[point][tile][lane], `width` elements from tile to tile; zeros beyond `columns` filters.
static void transform_gradients(const float* from, const Tiling& p, int columns, int width, float* to, int64_t point) {
  constexpr int L = kLanes<float>;
  for (int lane = 0; lane < width; lane += L) {
    const int count = std::min(L, columns - lane);
    float* put = to + lane;
    for (int64_t line = 0; line < p.images * p.rows; ++line) {
      const float* y = from + line / p.rows * p.image + line % p.rows * 2 * p.row + lane;
      for (int64_t j = 0; j < p.columns; ++j, put += width, y += 2 * p.place) {
        vec<float> t[2][4];
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          const vec<float> a = load_lanes(y + v * p.place, count), b = load_lanes(y + p.row + v * p.place, count);
          t[v][0] = a, t[v][1] = a + b, t[v][2] = a - b, t[v][3] = -b;
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          vstore(put + (4 * i + 0) * point, t[0][i]);
          vstore(put + (4 * i + 1) * point, t[0][i] + t[1][i]);
          vstore(put + (4 * i + 2) * point, t[0][i] - t[1][i]);
          vstore(put + (4 * i + 3) * point, -t[1][i]);
        }
      }
    }
  }
}

struct WinogradWeight {
  static constexpr int L = kLanes<float>;
  static constexpr int64_t kCost = 28;  // of a tile

  const WeightGradient<float>& g;
  const Axis axes[kAxes] = {tiled(g.axes[0], 1), tiled(g.axes[1], 2), tiled(g.axes[2], 2)};
  const Axis own[kAxes] = {itself(g.axes[0], 1), itself(g.axes[1], 2), itself(g.axes[2], 2)};  // of y
  const int64_t high = axes[1].target / 2, wide = axes[2].target / 2;
  const int64_t row = ceil_div(g.channels, L) * L, depth = kPoints * g.channels;
  const int64_t sums = g.groups * g.padded * depth;  // elements of one slice

  static Axis itself(const Axis& a, int64_t unit) {
    return {a.target, ceil_div(a.target, unit) * unit, 1, 1, 0, 1, false};
  }

  bool takes() const {
    return takes_winograd(g.axes, g.target.count, g.channels, g.filters, kCost) && sums <= kSumElements;
  }

  // Whether every result is finite: the general kernel has to compute them anew where not.
  bool run() const {
    const int64_t most = kTransformedBytes / (kPoints * row * int64_t{sizeof(float)});
    const TileBoxes boxes(g.target.count, high, wide, std::max(kLeastTiles, most));
    const int64_t slices = std::clamp<int64_t>(std::min(boxes.count(), kSumElements / sums), 1, kSlices);
    const int64_t wanted = tasks_wanted(sums * g.target.count * high * wide);
    const int64_t parts = std::clamp<int64_t>(ceil_div(wanted, slices * g.groups), 1, most_parts());
    Scratch<float> total(slices * sums);
    parallel_for(slices * g.groups * parts, [&](int64_t task) {
      const int64_t part = task % parts, group = task / parts % g.groups, slice = task / parts / g.groups;
      add_slice(boxes, boxes.count() * slice / slices, boxes.count() * (slice + 1) / slices, group,
                g.panels.count() * part / parts, g.panels.count() * (part + 1) / parts, total.get() + slice * sums);
    });
    return finish(total.get(), slices);
  }

  int64_t most_parts() const {  // what is read is transformed for each
    return std::clamp<int64_t>(g.padded / kPartFilters, 1, g.panels.count());
  }

  // The sums of boxes [begin, end) for some panels of a group.
  void add_slice(const TileBoxes& boxes, int64_t begin, int64_t end, int64_t group, int64_t panel0, int64_t panel1,
                 float* sum) const {
    const int64_t tiles = boxes.positions(), width = g.panels.width();
    const int64_t read = point_stride(tiles * row), made = point_stride(tiles * width);
    Source<float> from(g.source, axes, g.channels), to(g.target, own, g.filters);
    Scratch<float> copy(from.elements(boxes.copied)), copy_of_y(to.elements(boxes.copied));
    Scratch<int64_t> order(from.segment(boxes.copied)), order_of_y(to.segment(boxes.copied));
    Scratch<float> windows(kPoints * read), gradients(kPoints * made);
    for (int64_t i = begin; i < end; ++i) {
      const Box tile_box = boxes[i], box = positions_of(tile_box, 2 * high, 2 * wide);
      from.fill(g.x + group * g.channels * g.source.channel, box, copy.get(), order.get());
      to.fill(g.y + group * g.filters * g.target.channel, box, copy_of_y.get(), order_of_y.get());
      const Tiling tiling(tile_box, from), places(tile_box, to);
      transform_windows(from.data, tiling, g.channels, windows.get(), read, row);
      const Run run{0, tiling.count(), 0, 0};
      for (int64_t panel = panel0; panel < panel1; ++panel) {
        const int vectors = g.panels.vectors_of(panel), lanes = vectors * L;
        float* c = sum + (group * g.padded + panel * width) * depth;
        transform_gradients(to.data + panel * width, places, g.panels.columns(panel), lanes, gradients.get(), made);
        for (int point = 0; point < kPoints; ++point) {
          run_rows(RunTile<float>{windows.get() + point * read, 1, row, &run, 1, gradients.get() + point * made,
                                  c + point * g.channels * lanes, lanes, i > begin}, g.channels, vectors);
        }
      }
    }
  }

  // G^T [...] G of the slices' sums, added up.
  bool finish(const float* total, int64_t slices) const {
    Scratch<float> gradient(g.groups * g.padded * g.depth);
    std::atomic<bool> finite{true};
    const int64_t panels = g.panels.count(), blocks = ceil_div(g.channels, 16);
    parallel_ranges(g.groups * panels * blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t panel = i / blocks % panels, group = i / blocks / panels;
        const int64_t at = group * g.padded + panel * g.panels.width(), width = g.panels.vectors_of(panel) * L;
        const int64_t first = i % blocks * 16 * width, last = std::min(first + 16 * width, g.channels * width);
        if (!gather_points(total + at * depth, slices, g.channels * width, first, last, gradient.get() + at * g.depth))
          finite = false;
      }
    });
    g.unpack(gradient.get(), 1);
    return finite;
  }
  bool gather_points(const float* from, int64_t slices, int64_t count, int64_t first, int64_t last, float* to) const {
    const vec<float> half = vset(0.5f);
    const auto gather = [&](const vec<float>* four, vec<float>* three) DLCORE_MAP {
      const vec<float> ends = (four[1] + four[2]) * half;
      three[0] = four[0] + ends, three[1] = (four[1] - four[2]) * half, three[2] = ends + four[3];
    };
    vec<float> zero{};  // or NaN
    for (int64_t k = first; k < last; k += L) {
      vec<float> rows[4][3], columns[3][4];
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) {
        vec<float> four[4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          const float* at = from + (4 * u + v) * count + k;
          four[v] = vload(at);
          for (int64_t s = 1; s < slices; ++s) four[v] = four[v] + vload(at + s * sums);
        }
        gather(four, rows[u]);
        for (int v = 0; v < 3; ++v) columns[v][u] = rows[u][v];
      }
#pragma GCC unroll 3
      for (int v = 0; v < 3; ++v) {
        vec<float> three[3];
        gather(columns[v], three);
        for (int u = 0; u < 3; ++u) {
          vstore(to + (3 * u + v) * count + k, three[u]);
          zero = vfma(three[u], vec<float>{}, zero);
        }
      }
    }
    return all_zero(zero);
  }
};
