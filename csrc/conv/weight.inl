// The weight's gradient: dw[filter][channel][tap] = the sum over all positions of
// x[channel][place(position, tap)] * y[filter][position]. A product with long K: rows are (last tap, channel), adjacent
// in the copy of x, columns are filters, and k are the positions. Boxes of positions are dealt out to slices, by shapes
// alone; each slice adds up its boxes in order in sums of its own, and the slices are added in order at the end: the
// same bits for any number of threads.
//
// While tiles go through a box they fetch the next one: kernels of length 1 have few multiply-adds for an element, and
// would wait for x and y, which a step of training finds in memory. Microseconds of 64 images in no cache, two cores of
// a Zen 4, 1 x 1, without that and with it, NCHW, then NHWC:
//   16 -> 32 channels of 32 x 32    697 -> 585     803 -> 506
//   32 -> 64 of 16 x 16             689 -> 578     653 -> 545
//   64 -> 64 of 16 x 16            1131 -> 941     941 -> 814
// Kernels 3 x 3 neither gain nor lose, nor planes of 8 x 8, whose slices have a box each.
//
// With planes of x read where they are, 1 x 1, NCHW, 64 images, two cores, before and with it:
//   64 -> 64 of 16 x 16    909 -> 712      128 -> 128 of 8 x 8    811 -> 693

constexpr int64_t kSlices = 8, kFewSlices = 4;      // at most, and where positions are few: for threads to share
constexpr int64_t kSumElements = int64_t{1} << 20;  // of all slices, unless one takes more
constexpr int64_t kPartFilters = 64;                // a copy of x is worth so many

template <class S> struct WeightGradient {
  using T = compute_t<S>;
  static constexpr int L = kLanes<T>;

  const Images source, target;  // x and y
  const Axis (&axes)[kAxes];
  const int64_t groups, channels = source.channels / groups, filters = target.channels / groups;  // of a group
  const S *x = nullptr, *y = nullptr;
  S* out = nullptr;
  const int64_t taps = axes[0].kernel * axes[1].kernel * axes[2].kernel, depth = taps * channels;
  const Panels panels{filters, L, ceil_div(filters, L) == 3 && kMostVectors > 2 ? 3 : 2};
  const int64_t padded = ((panels.count() - 1) * panels.vectors + panels.vectors_of(panels.count() - 1)) * L;
  const int64_t sums = groups * padded * depth;  // elements of one slice

  WeightGradient(const Images& from, const Images& to, const Axis (&a)[kAxes], int64_t g)
      : source(from), target(to), axes(a), groups(g) {}

  // Rows of a tile's first operand may be any distance apart, so that planes need no transposing where each element is
  // read for one tap alone, unless their lines would fall into few sets of the first-level cache.
  Source<S> opened() const {
    Source<S> from(source, axes, channels);
    bool planes = std::is_same_v<S, T> && source.channel * int64_t{sizeof(T)} % kConflict != 0;
    for (const Axis& a : axes) planes &= a.kernel == 1 && a.stride == 1 && !a.padded();
    if (planes) from.read_planes();
    return from;
  }

  void run() const {
    const Source<S> shape = opened();
    Boxes boxes{{target.count, target.size[0], target.size[1], target.size[2]}, {}};
    std::copy_n(boxes.size, kAxes + 1, boxes.length);
    const int64_t bytes = sizeof(T), some = std::min(padded, 2 * kPartFilters);
    const int64_t room = std::clamp<int64_t>(kSumElements / (sums + 1), 1, kSlices);  // slices that there may be
    const int64_t share = ceil_div(boxes.positions(), std::min(room, kFewSlices));
    const int64_t worth = kTaskWork / (depth * filters);  // a task
    const int64_t positions = std::clamp(std::max(share, worth), kFewPositions, kMostPositions);
    boxes.shrink([&](const Boxes& b) {
      return b.positions() <= positions && shape.elements(b.length) * bytes <= kSourceBytes &&
             b.positions() * some * bytes <= kSourceBytes;
    });
    const int64_t all = boxes.count();
    const int64_t slices = std::clamp<int64_t>(all, 1, room);
    const int64_t wanted = tasks_wanted(depth * filters * groups * target.count * target.positions());
    const int64_t most = ceil_div(padded, std::max<int64_t>(kPartFilters, panels.width()));
    const int64_t least = ceil_div(padded * depth, kSumElements / 2);  // a part's sums stay in a cache
    const int64_t parts = std::clamp<int64_t>(std::max(ceil_div(wanted, slices * groups), least), 1,
                                              std::min(most, panels.count()));
    Scratch<T> total(slices * sums);
    parallel_for(slices * groups * parts, [&](int64_t task) {
      const int64_t part = task % parts, group = task / parts % groups, slice = task / parts / groups;
      const int64_t panel0 = panels.count() * part / parts, panel1 = panels.count() * (part + 1) / parts;
      T* sum = total.get() + slice * sums + group * padded * depth;
      const int64_t first = all * slice / slices, end = all * (slice + 1) / slices;
      if (first == end) std::fill_n(sum + panel0 * panels.width() * depth, width_of(panel0, panel1) * depth, T(0));
      Source<S> from = opened();
      Scratch<int64_t> order(shape.segment(boxes.length));
      Scratch<T> copy(shape.elements(boxes.length)), rows(boxes.positions() * width_of(panel0, panel1));
      Scratch<Run> runs(2 * boxes.length[0] * boxes.length[1] * boxes.length[2]);
      for (int64_t box = first; box < end; ++box) {
        from.fill(x + group * channels * source.channel, boxes[box], copy.get(), order.get());
        Stretch soon[2];
        if (groups == 1 && box + 1 < end) {
          soon[0] = of_images(source, x, boxes[box + 1]);
          soon[1] = of_images(target, y, boxes[box + 1]);
        }
        run_box(from, boxes[box], group, panel0, panel1, box > first, rows.get(), runs.get(), sum, soon);
      }
    });
    unpack(total.get(), slices);
  }

  // What is read for a box of whole images.
  static Stretch of_images(const Images& images, const S* first, const Box& box) {
    if (box.positions() != box.length(0) * images.positions()) return {};
    return {reinterpret_cast<const char*>(first + box.begin[0] * images.image),
            reinterpret_cast<const char*>(first + box.end[0] * images.image)};
  }

  int64_t width_of(int64_t panel0, int64_t panel1) const {  // lanes of panels
    return std::min(panel1 * panels.width(), padded) - panel0 * panels.width();
  }

  void run_box(const Source<S>& from, const Box& box, int64_t group, int64_t panel0, int64_t panel1, bool accumulate,
               T* rows, Run* runs, T* sum, Stretch* soon) const {
    const int64_t positions = box.positions(), apart = from.step(2) * from.stride[3];
    // Lines that are padding are left out; where there are none, runs that follow each other are one.
    const bool skips = axes[1].padded();
    Run* const live = runs + box.length(0) * box.length(1) * box.length(2);
    int64_t made = 0, position = 0;
    for (int64_t n = 0; n < box.length(0); ++n)
      for (int64_t d = 0; d < box.length(1); ++d)
        for (int64_t h = 0; h < box.length(2); ++h) {
          const int64_t at = n * from.stride[0] + d * from.step(0) * from.stride[1] + h * from.step(1) * from.stride[2];
          const int64_t line = axes[1].place(box.begin[2] + h, 0);
          Run* last = made ? runs + made - 1 : nullptr;
          if (last && !skips && last->at + last->depth * apart == at) last->depth += box.length(3);
          else runs[made++] = {at, box.length(3), position, line};
          position += box.length(3);
        }
    for (int64_t panel = panel0; panel < panel1; ++panel) {
      const int vectors = panels.vectors_of(panel), width = vectors * L;
      pack_positions<S>(y, target, box, group * filters + panel * panels.width(), panels.columns(panel), width,
                        rows + (panel - panel0) * panels.width() * positions);
    }
    const bool adjacent = axes[2].dilation == 1 && from.stride[3] == channels;  // the taps of the last axis
    const int64_t together = adjacent ? axes[2].kernel : 1, count = together * channels;
    int64_t row = 0;  // of the sums
    for (int64_t d = 0; d < axes[0].kernel; ++d)
      for (int64_t h = 0; h < axes[1].kernel; ++h) {
        const int64_t down = h * axes[1].dilation;
        int64_t count_live = 0;
        for (int64_t r = 0; r < made; ++r)
          if (!skips || (runs[r].line + down >= 0 && runs[r].line + down < axes[1].source))
            live[count_live++] = runs[r];
        for (int64_t v = 0; v < axes[2].kernel; v += together, row += count) {
          const int64_t at = from.place(0, box.begin[1], d) + from.place(1, box.begin[2], h) +
                             from.place(2, box.begin[3], v);
          for (int64_t panel = panel0; panel < panel1; ++panel) {
            const int vectors = panels.vectors_of(panel), width = vectors * L;
            const RunTile<T> tile{from.data + at, from.lane(), apart, live, count_live,
                                  rows + (panel - panel0) * panels.width() * positions,
                                  sum + panel * panels.width() * depth + row * width, width, accumulate, soon};
            run_rows(tile, count, vectors);
          }
        }
      }
  }

  // The slices' sums, [tap, channel][filter], added and turned into [filter][channel, tap].
  void unpack(const T* total, int64_t slices) const {
    const int64_t blocks = padded / L, chunk = 16 * L;
    const int64_t chunks = ceil_div(depth, chunk);
    parallel_ranges(groups * blocks * chunks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t k0 = i % chunks * chunk, block = i / chunks % blocks, group = i / chunks / blocks;
        const int64_t panel = block * L / panels.width(), lane = block * L % panels.width();
        const int64_t width = panels.vectors_of(panel) * L;
        const T* from = total + (group * padded + panel * panels.width()) * depth + lane;
        const int count = static_cast<int>(std::min<int64_t>(L, filters - block * L));
        S* to = out + (group * filters + block * L) * depth;
        for (int64_t k = k0; k < std::min(depth, k0 + chunk); k += L)
          unpack_square(from, width, slices, k, static_cast<int>(std::min<int64_t>(L, depth - k)), to + k, count);
      }
    });
  }
  void unpack_square(const T* from, int64_t width, int64_t slices, int64_t k, int steps, S* to, int count) const {
    vec<T> square[L];
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) {
      square[l] = vec<T>{};
      if (l >= steps) continue;
      const T* at = from + ((k + l) % taps * channels + (k + l) / taps) * width;
      vec<T> v = vload(at);
      for (int64_t s = 1; s < slices; ++s) v = v + vload(at + s * sums);
      square[l] = v;
    }
    swap_blocks<L / 2, T>(square);
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) {
      if (l >= count) continue;
      if constexpr (std::is_same_v<S, T>) {
        put_lanes(to + l * depth, square[l], steps);
      } else {
        T lanes[L];
        S stored[L];
        vstore(lanes, square[l]);
        store_block(stored, lanes, L);
        __builtin_memcpy(to + l * depth, stored, static_cast<size_t>(steps) * sizeof(S));
      }
    }
  }
};
