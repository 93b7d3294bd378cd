// Where a direct convolution reads and writes: planes copied with their padding, and the offset of every tap in them.
//
// Rows of a plane stand one behind the other, `pitch` elements apart, as wide as the output and what a kernel reaches
// beyond. A tap is then one offset, the same for all positions, and positions are counted through from row to row: the
// lanes of a vector are neighbours in that count, whatever the width. The positions at the end of a row, which reach
// into the next one, are computed for nothing and not stored.
//
// A stride deals the source out to phases, planes of every s-th row and column: so neighbours are neighbours again. The
// gradient of the input has phases of the target instead: each is a convolution of its own, with every s-th tap.

struct AxisTap {
  int64_t k, phase, shift;  // place in the kernel, phase of the source (an index into Axis::phases), offset there
};

// What one target phase of an axis reads.
using AxisTaps = std::vector<AxisTap>;

struct Axis {
  int64_t source = 0, target = 0, kernel = 0;
  int64_t step = 1, spread = 1;  // phases of the source, of the target
  int64_t origin = 0, reach = 0;  // element j of phase f of a copy is source[j * step + f + origin]; largest shift
  std::vector<int64_t> phases;    // those that are read
  std::vector<AxisTaps> taps;     // for each target phase

  int64_t positions(int64_t phase = 0) const { return target > phase ? (target - phase + spread - 1) / spread : 0; }
};

static inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static Axis forward_axis(int64_t source, int64_t target, int64_t kernel, int64_t stride, int64_t before,
                         int64_t dilation) {
  Axis axis;
  axis.source = source, axis.target = target, axis.kernel = kernel;
  axis.step = stride;
  axis.origin = -before;
  axis.taps.resize(1);
  for (int64_t k = 0; k < kernel; ++k) {
    const int64_t phase = k * dilation % stride, shift = k * dilation / stride;
    const auto found = std::find(axis.phases.begin(), axis.phases.end(), phase);
    const int64_t index = found - axis.phases.begin();
    if (found == axis.phases.end()) axis.phases.push_back(phase);
    axis.taps[0].push_back({k, index, shift});
    axis.reach = std::max(axis.reach, shift);
  }
  return axis;
}

// The gradient of the input reads dout[o] where o * stride + k * dilation - before is the place written.
static Axis backward_axis(int64_t source, int64_t target, int64_t kernel, int64_t stride, int64_t before,
                          int64_t dilation) {
  Axis axis;
  axis.source = source, axis.target = target, axis.kernel = kernel;
  axis.spread = stride;
  axis.phases = {0};
  axis.taps.resize(static_cast<size_t>(stride));
  int64_t least = 0, most = 0;
  bool any = false;
  for (int64_t p = 0; p < stride; ++p) {
    for (int64_t k = 0; k < kernel; ++k) {
      const int64_t at = p + before - k * dilation, shift = floor_div(at, stride);
      if (at - shift * stride) continue;
      axis.taps[static_cast<size_t>(p)].push_back({k, 0, shift});
      least = any ? std::min(least, shift) : shift, most = any ? std::max(most, shift) : shift, any = true;
    }
  }
  axis.origin = least, axis.reach = most - least;
  for (AxisTaps& taps : axis.taps) {
    for (AxisTap& tap : taps) tap.shift -= least;
  }
  return axis;
}

// Images in memory: strides in elements. One spatial axis is a plane of one row.
struct Images {
  int64_t count, planes, height, width;
  int64_t image, plane, row, pixel;

  Images(const Array& x, bool channels_last) {
    const bool line = x.ndim == 3;
    const int64_t a = x.shape[1], b = x.shape[2], c = x.shape[line ? 2 : 3];
    count = x.shape[0];
    if (channels_last) planes = c, height = line ? 1 : a, width = line ? a : b;
    else planes = a, height = line ? 1 : b, width = c;
    const bool interleaved = channels_last && planes > 1;  // images of one plane are the same in both layouts
    image = planes * height * width;
    plane = interleaved ? 1 : height * width;
    row = width * (interleaved ? planes : 1);
    pixel = interleaved ? planes : 1;
  }
};

// A rectangle of positions that is computed in one go, the same size everywhere but at the edges.
struct Band {
  int64_t y0, y1, x0, x1;
};

// How positions are cut into bands: by shapes alone.
struct Bands {
  int64_t height, width;  // positions of all
  int64_t rows, columns;  // of one band
  int64_t down() const { return (height + rows - 1) / rows; }
  int64_t across() const { return (width + columns - 1) / columns; }
  int64_t count() const { return down() * across(); }
  Band operator[](int64_t index) const {
    const int64_t y = index / across() * rows, x = index % across() * columns;
    return {y, std::min(y + rows, height), x, std::min(x + columns, width)};
  }
};

constexpr int64_t kBandPositions = 1024;  // results of eight outputs, 32 KiB, wait in the first cache to be stored
constexpr int64_t kBandSource = 1 << 15;  // elements of the source that a band may copy, 128 KiB, where it can help it

// `apart`: into how many parts the positions should fall at least, for threads to share.
static Bands cut_bands(const Axis& y, const Axis& x, int64_t planes, int64_t apart) {
  Bands bands{y.positions(), x.positions(), 1, 1};
  bands.columns = std::min(bands.width, kBandPositions - std::min(kBandPositions / 2, x.reach));
  const int64_t pitch = bands.columns + x.reach, line = pitch * planes;
  const int64_t most = std::min(kBandPositions / pitch, kBandSource / std::max<int64_t>(line, 1) - y.reach);
  const int64_t shared = (bands.height + apart - 1) / apart;
  bands.rows = std::max<int64_t>(1, std::min({bands.height, most, shared}));
  const int64_t parts = bands.down();
  bands.rows = (bands.height + parts - 1) / parts;  // of about the same height
  return bands;
}

// ---- copies of the source -------------------------------------------------------------------------------------------

// n zeros; up to a vector beyond them is overwritten. (Of a loop over elements the compiler makes a call of memset.)
template <class T> static inline void zero_line(T* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes<T>) vstore(to + i, vec<T>{});
}

// n elements, `stride` apart in memory, side by side; nothing beyond them is touched.
template <class T> static void copy_line(T* to, const T* from, int64_t stride, int64_t n) {
  constexpr int L = kLanes<T>;
  if (stride == 1) {
    for (int64_t i = 0; i + L <= n; i += L) vstore(to + i, vload(from + i));
    if (n >= L && n % L == 0) return;
    if (n >= L) vstore(to + n - L, vload(from + n - L));
    else vstore_first(to, vload_first(from, static_cast<int>(n)), static_cast<int>(n));
  } else if (stride == 2) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

// The copies of one band of the planes of a group: plane after plane, phase after phase. What lies outside of the
// source is zero, and stays so where the next plane is copied into the same place. `size`: elements of one.
struct Copies {
  const Axis &y, &x;
  int64_t width, height, size;

  Copies(const Axis& down, const Axis& across, const Bands& bands)
      : y(down), x(across), width(bands.columns + across.reach), height(bands.rows + down.reach),
        size(width * height) {}
  int64_t phases() const { return static_cast<int64_t>(y.phases.size() * x.phases.size()); }
  int64_t elements(int64_t planes) const { return planes * phases() * size; }

  // One plane; `from` is its first element. The places outside of the source hold zeros.
  template <class T> void fill(T* to, const T* from, const Images& source, const Band& band) const {
    for (const int64_t fy : y.phases) {
      for (const int64_t fx : x.phases) {
        fill_phase(to, from, source, band, fy + y.origin, fx + x.origin);
        to += size;
      }
    }
  }

 private:
  struct Range {
    int64_t first, last;
  };
  // Of n places, the first at `start` of the source and each a step on, those that lie in its `length` elements.
  static Range inside(int64_t start, int64_t step, int64_t n, int64_t length) {
    const int64_t first = start < 0 ? (-start + step - 1) / step : 0;
    const int64_t last = start < length ? (length - start + step - 1) / step : 0;
    return {std::min(first, n), std::min(std::max(last, first), n)};
  }

  template <class T>
  void fill_phase(T* to, const T* from, const Images& source, const Band& band, int64_t top,
                  int64_t left) const {
    const int64_t rows = band.y1 - band.y0 + y.reach, columns = band.x1 - band.x0 + x.reach;
    const Range down = inside(band.y0 * y.step + top, y.step, rows, source.height);
    const Range across = inside(band.x0 * x.step + left, x.step, columns, source.width);
    if (across.first >= across.last) return;
    from += (band.y0 * y.step + top) * source.row + (band.x0 * x.step + left + across.first * x.step) * source.pixel;
    for (int64_t r = down.first; r < down.last; ++r) {
      copy_line(to + r * width + across.first, from + r * y.step * source.row, x.step * source.pixel,
                across.last - across.first);
    }
  }
};
