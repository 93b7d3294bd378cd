// conv and its transpose: target = activation(source * weights + bias), one product for each phase of a box.
//
// A box of positions is computed for one panel of target channels after the other: its results wait in rows[position]
// [lane], in the first- or second-level cache, for bias and activation, and go from there to the target, transposed for
// NCHW. Where nothing is left to be done, as in NHWC without bias and activation, tiles write to the target itself. k
// runs in slices of at most kSlice, by its value alone.

template <class T> constexpr int64_t kSlice = 2048 / static_cast<int64_t>(sizeof(T));
constexpr int64_t kSourceBytes = 384 << 10;  // of a box's copy: with a panel it stays in a cache of 1 MiB
constexpr int64_t kMostPositions = 1024;     // of a box
constexpr int64_t kFewPositions = 64;        // fewer are not worth the panels they read
constexpr int64_t kTaskWork = int64_t{1} << 18;  // multiply-adds worth a task

// How many tasks to cut `work` multiply-adds into.
static inline int64_t tasks_wanted(int64_t work) {
  const int threads = thread_count();
  return threads == 1 ? 1 : std::clamp<int64_t>(work / kTaskWork, 1, 4 * threads);
}

template <class S> struct Gather {
  using T = compute_t<S>;
  static constexpr int L = kLanes<T>;

  const Images source, target;
  const Axis (&axes)[kAxes];
  const int64_t groups, channels = source.channels / groups, lanes = target.channels / groups;  // of a group
  const S *x = nullptr, *w = nullptr;
  S* out = nullptr;
  const S* bias = nullptr;
  Activation activation = Activation::none;
  S* pre = nullptr;
  const int64_t taps = axes[0].kernel * axes[1].kernel * axes[2].kernel, depth = taps * channels;
  const Panels panels{lanes, L, most_vectors()};
  const int64_t padded = ((panels.count() - 1) * panels.vectors + panels.vectors_of(panels.count() - 1)) * L;

  // Where the results of a box go: its first position, and strides of images and axes.
  struct Results {
    T* at;
    int64_t stride[kAxes + 1];

    Results(T* rows, int width, const Box& box) : at(rows) {  // position by position
      stride[kAxes] = width;
      for (int a = kAxes; a > 0; --a) stride[a - 1] = stride[a] * box.length(a);
    }
    Results(T* out, const Images& images, const Box& box) : at(out + box.begin[0] * images.image) {  // in the target
      stride[0] = images.image;
      for (int a = 0; a < kAxes; ++a) stride[a + 1] = images.place[a], at += box.begin[a + 1] * images.place[a];
    }
  };

  Gather(const Images& from, const Images& to, const Axis (&a)[kAxes], int64_t g)
      : source(from), target(to), axes(a), groups(g) {}

  // Rows of a tile are positions along the last axis: where there are few, tiles are wide.
  int most_vectors() const {
    const int64_t vectors = ceil_div(lanes, L);
    if (kMostVectors == 2) return 2;
    return axes[2].target / axes[2].spread() <= 6 && vectors >= 4 ? 4 : vectors == 3 ? 3 : 2;
  }

  void run() const {
    if (target.count == 0) return;
    Scratch<T> packed(groups * depth * padded);
    pack(packed.get());
    const int64_t work = groups * depth * lanes * target.count * target.positions(), wanted = tasks_wanted(work);
    Boxes boxes{{target.count, target.size[0], target.size[1], target.size[2]}, {}};
    std::copy_n(boxes.size, kAxes + 1, boxes.length);
    const Source<S> shape(source, axes, channels);
    const int64_t bytes = sizeof(T), share = boxes.positions() * groups / wanted;
    const int64_t most = std::min(kMostPositions, std::max(share, kFewPositions));
    boxes.shrink([&](const Boxes& b) {
      return b.positions() <= most && shape.elements(b.length) * bytes <= kSourceBytes;
    });
    const int64_t parts = std::clamp<int64_t>(ceil_div(wanted, boxes.count() * groups), 1, panels.count());
    const int64_t units = boxes.count() * groups * parts, tasks = std::min(units, wanted);
    parallel_for(tasks, [&](int64_t task) {
      Source<S> from(source, axes, channels);
      Scratch<T> copy(shape.elements(boxes.length)), rows(boxes.positions() * panels.width());
      Scratch<int64_t> order(shape.segment(boxes.length));
      for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; ++unit) {
        const int64_t part = unit % parts, group = unit / parts % groups;
        const Box box = boxes[unit / parts / groups];
        from.fill(x + group * channels * source.channel, box, copy.get(), order.get());
        run_box(from, box, group, panels.count() * part / parts, panels.count() * (part + 1) / parts, packed.get(),
                rows.get());
      }
    });
  }

  void pack(T* packed) const {
    Scratch<int64_t> rank(taps);
    rank_taps(axes, rank.get());
    const bool back = axes[0].transposed;
    const int64_t parts = back ? ceil_div(channels, kFilterBlock) : panels.count();
    const int64_t elements = groups * depth * lanes / (groups * parts);
    parallel_ranges(groups * parts, (int64_t{1} << 15) / (elements + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t group = i / parts, part = i % parts;
        const S* from = w + group * channels * lanes * taps;
        T* to = packed + group * padded * depth;
        if (back) pack_channels(from, part * kFilterBlock, std::min(channels, (part + 1) * kFilterBlock), channels,
                                lanes, taps, rank.get(), panels, to);
        else pack_filters(from, channels, taps, rank.get(), part * panels.width(), panels.columns(part),
                          panels.vectors_of(part) * L, to + part * panels.width() * depth);
      }
    });
  }

  void run_box(const Source<S>& from, const Box& box, int64_t group, int64_t panel0, int64_t panel1, const T* packed,
               T* rows) const {
    for (int64_t panel = panel0; panel < panel1; ++panel) {
      const int vectors = panels.vectors_of(panel), width = vectors * L, columns = panels.columns(panel);
      const T* weights = packed + (group * padded + panel * panels.width()) * depth;
      const int64_t first = group * lanes + panel * panels.width();
      const Results results = results_of(box, rows, first, columns, width);
      for (int64_t d = 0; d < axes[0].phases(box.begin[1], box.end[1]); ++d)
        for (int64_t h = 0; h < axes[1].phases(box.begin[2], box.end[2]); ++h)
          for (int64_t v = 0; v < axes[2].phases(box.begin[3], box.end[3]); ++v) {
            const Phase phase[kAxes] = {axes[0].phase(box.begin[1] + d, box.end[1]),
                                        axes[1].phase(box.begin[2] + h, box.end[2]),
                                        axes[2].phase(box.begin[3] + v, box.end[3])};
            run_phase(from, box, phase, weights, vectors, results);
          }
      finish(box, panel, first, results, rows);
    }
  }

  // What is left to be done for the sums of a box, channels `first` and following.
  void finish(const Box& box, int64_t panel, int64_t first, const Results& results, T* rows) const {
    if (results.at != rows) return;
    const int columns = panels.columns(panel), width = panels.vectors_of(panel) * L;
    const int64_t positions = box.positions();
    if (bias || (!std::is_same_v<S, T> && (pre || activation != Activation::none)))
      add_bias<S>(rows, positions, width, bias ? bias + first : nullptr, columns);
    if (pre) store_positions<S>(rows, target, box, first, columns, width, pre);
    if (activation != Activation::none)
      with_activation(activation, [&](auto a) { activate<decltype(a), T>(rows, positions * width); });
    store_positions<S>(rows, target, box, first, columns, width, out);
  }

  // Sums that are the results, of whole vectors of channels side by side, go where they belong at once.
  Results results_of(const Box& box, T* rows, int64_t first, int columns, int width) const {
    if constexpr (std::is_same_v<S, T>) {
      const bool finished = !bias && !pre && activation == Activation::none;
      if (finished && target.channel == 1 && columns == width) return Results(out + first, target, box);
    }
    return Results(rows, width, box);
  }

  // The positions of one phase, all slices of k.
  void run_phase(const Source<S>& from, const Box& box, const Phase* phase, const T* weights, int vectors,
                 const Results& results) const {
    const int width = vectors * L;
    const Phase &d = phase[0], &h = phase[1], &v = phase[2];
    const int64_t before = (d.tap * axes[1].kernel + d.taps * h.tap) * axes[2].kernel + d.taps * h.taps * v.tap;
    const int64_t k = d.taps * h.taps * v.taps * channels, slices = std::max<int64_t>(1, ceil_div(k, kSlice<T>));
    Scratch<Run> runs(2 * (d.taps * h.taps * v.taps + slices + 1));
    Run* const live = runs.get() + d.taps * h.taps * v.taps + slices + 1;
    Scratch<int64_t> begin(slices + 1);
    cut_runs(from, phase, k, slices, runs.get(), begin.get());
    // Images, planes, rows and positions of a row: adjacent ones that are equally far apart are one.
    int64_t count[kAxes + 1] = {box.length(0)}, read[kAxes + 1] = {from.stride[0]}, written[kAxes + 1];
    std::copy_n(results.stride, kAxes + 1, written);
    T* to = results.at;
    for (int a = kAxes; a > 0; --a) {
      count[a] = phase[a - 1].count, read[a] = from.step(a - 1) * from.stride[a];
      to += (phase[a - 1].first - box.begin[a]) * written[a];
      written[a] *= axes[a - 1].spread();
    }
    const bool skips = axes[1].padded();  // each row has runs of its own: those that read padding alone are left out
    for (int a = kAxes; a > 0 && !skips; --a) {
      if (read[a - 1] != read[3] * count[3] || written[a - 1] != written[3] * count[3]) break;
      count[3] *= count[a - 1], count[a - 1] = 1;
    }
    for (int64_t s = 0; s < slices; ++s) {
      RunTile<T> tile{nullptr, read[3], 1, runs.get() + begin[s], begin[s + 1] - begin[s],
                      weights + (before * channels + k * s / slices) * width, nullptr, written[3], s > 0};
      for (int64_t n = 0; n < count[0]; ++n)
        for (int64_t i = 0; i < count[1]; ++i)
          for (int64_t j = 0; j < count[2]; ++j) {
            tile.a = from.data + n * read[0] + i * read[1] + j * read[2];
            tile.c = to + n * written[0] + i * written[1] + j * written[2];
            if (skips) {
              tile.runs = live;
              tile.count = live_runs(runs.get() + begin[s], begin[s + 1] - begin[s], j * axes[1].step(), live);
            }
            run_rows(tile, count[3], vectors);
          }
    }
  }

  // The runs that do not read padding alone, for a row `down` lines below the first.
  int64_t live_runs(const Run* runs, int64_t count, int64_t down, Run* live) const {
    int64_t made = 0;
    for (int64_t r = 0; r < count; ++r)
      if (runs[r].line + down >= 0 && runs[r].line + down < axes[1].source) live[made++] = runs[r];
    return made;
  }

  // k as runs of adjacent elements of the source, slice by slice: begin[s] is the first run of slice s.
  void cut_runs(const Source<S>& from, const Phase* phase, int64_t k, int64_t slices, Run* runs, int64_t* begin) const {
    int64_t made = 0, at = 0, slice = 0;
    begin[0] = 0;
    const auto place = [&](int a, int64_t i) {
      return from.place(a, phase[a].first, axes[a].order[phase[a].tap + i]);
    };
    for (int64_t d = 0; d < phase[0].taps; ++d)
      for (int64_t h = 0; h < phase[1].taps; ++h)
        for (int64_t v = 0; v < phase[2].taps; ++v) {
          int64_t offset = place(0, d) + place(1, h) + place(2, v);
          const int64_t line = axes[1].place(phase[1].first, axes[1].order[phase[1].tap + h]);
          for (int64_t left = channels; left > 0;) {
            const int64_t end = k * (slice + 1) / slices, take = std::min(left, end - at);
            Run* last = made > begin[slice] ? runs + made - 1 : nullptr;
            if (last && last->line == line && last->at + last->depth == offset) last->depth += take;
            else runs[made++] = {offset, take, at - k * slice / slices, line};
            at += take, offset += take, left -= take;
            if (at == end) begin[++slice] = made;
          }
        }
    for (; slice < slices;) begin[++slice] = made;  // a phase that reads nothing
  }
};
