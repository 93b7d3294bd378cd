// Where a convolution reads and writes: images of three axes of space, positions by phases, boxes of positions.
//
// Convolution and transposed convolution are one thing here: a target, whose positions q are computed, and a source,
// read at place(q, tap). A convolution reads q stride - before + tap dilation. Its transpose reads the position o for
// which o stride - before + tap dilation = q: taps fall into `stride` phases, and every stride-th q reads the taps of
// one phase, at places that then follow each other without a stride.

constexpr int kAxes = 3;

static inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static inline int64_t modulo(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// An image, or a batch of them: NCHW or NHWC, with 1 to 3 axes of space; missing ones are of length 1.
struct Images {
  int64_t count, channels, size[kAxes];
  int64_t image, channel, place[kAxes];  // strides in elements

  Images(const Array& x, bool interleaved) : count(x.shape[0]), channels(x.shape[interleaved ? x.ndim - 1 : 1]) {
    const int axes = x.ndim - 2, first = interleaved ? 1 : 2;
    for (int a = 0; a < kAxes; ++a) size[a] = a < kAxes - axes ? 1 : x.shape[first + a - (kAxes - axes)];
    int64_t stride = interleaved ? channels : 1;
    for (int a = kAxes - 1; a >= 0; --a) place[a] = stride, stride *= size[a];
    channel = interleaved ? 1 : stride;
    image = interleaved ? stride : stride * channels;
  }
  int64_t positions() const { return size[0] * size[1] * size[2]; }
};

// What one phase of an axis has to do with a range of the target.
struct Phase {
  int64_t first, count;      // positions first, first + Axis::spread(), ..., in the range
  int64_t tap, taps;         // places [tap, tap + taps) of Axis::order
};

struct Axis {
  int64_t source, target, kernel, stride, before, dilation;
  bool transposed;
  Scratch<int64_t> order;  // the taps, phase after phase, those of a phase by the place they read

  Axis(int64_t s, int64_t t, int64_t k, int64_t step, int64_t b, int64_t d, bool back)
      : source(s), target(t), kernel(k), stride(step), before(b), dilation(d), transposed(back), order(k) {
    for (int64_t i = 0; i < k; ++i) order[i] = i;
    if (back)
      std::sort(order.get(), order.get() + k, [&](int64_t a, int64_t c) {
        return phase_of(a) != phase_of(c) ? phase_of(a) < phase_of(c) : a > c;
      });
  }
  int64_t phase_of(int64_t tap) const { return transposed ? tap * dilation % stride : 0; }
  int64_t spread() const { return transposed ? stride : 1; }  // how far apart the positions of a phase are
  int64_t step() const { return transposed ? 1 : stride; }    // and what they read

  // What is read of the source for positions [q0, q1): [low, high), which may lie outside of it.
  int64_t low(int64_t q0) const {
    return transposed ? floor_div(q0 + before - (kernel - 1) * dilation, stride) : q0 * stride - before;
  }
  int64_t high(int64_t q1) const {
    return transposed ? floor_div(q1 - 1 + before, stride) + 1
                      : (q1 - 1) * stride - before + (kernel - 1) * dilation + 1;
  }
  int64_t extent(int64_t q0, int64_t q1) const { return std::max<int64_t>(0, high(q1) - low(q0)); }
  int64_t longest(int64_t count) const {  // extent of any `count` positions, at most
    return transposed ? (count - 1 + (kernel - 1) * dilation) / stride + 2 : extent(0, count);
  }
  int64_t place(int64_t q, int64_t tap) const {
    return transposed ? floor_div(q + before - tap * dilation, stride) : q * stride - before + tap * dilation;
  }

  // The phase of position q, and its positions in [q, q1).
  Phase phase(int64_t q, int64_t q1) const {
    if (!transposed) return {q, q1 - q, 0, kernel};
    Phase p{q, ceil_div(q1 - q, stride), 0, 0};
    const int64_t own = modulo(q + before, stride);
    while (p.tap < kernel && phase_of(order[p.tap]) < own) ++p.tap;
    while (p.tap + p.taps < kernel && phase_of(order[p.tap + p.taps]) == own) ++p.taps;
    return p;
  }
  int64_t phases(int64_t q0, int64_t q1) const { return std::min(q1 - q0, spread()); }  // that have positions there
  bool padded() const { return low(0) < 0 || high(target) > source; }
};

// Positions of a target that are computed in one go: images and ranges of its axes.
struct Box {
  int64_t begin[kAxes + 1], end[kAxes + 1];
  int64_t length(int axis) const { return end[axis] - begin[axis]; }
  int64_t positions() const { return length(0) * length(1) * length(2) * length(3); }
};

// All positions, cut into boxes of equal lengths (but for the last ones).
struct Boxes {
  int64_t size[kAxes + 1], length[kAxes + 1];

  int64_t along(int axis) const { return length[axis] ? ceil_div(size[axis], length[axis]) : 0; }
  int64_t count() const { return along(0) * along(1) * along(2) * along(3); }
  Box operator[](int64_t index) const {
    Box box;
    for (int a = kAxes; a >= 0; --a) {
      box.begin[a] = index % along(a) * length[a];
      box.end[a] = std::min(box.begin[a] + length[a], size[a]);
      index /= along(a);
    }
    return box;
  }
  int64_t positions() const { return length[0] * length[1] * length[2] * length[3]; }

  // Makes boxes smaller, by their outermost axis, until `fits` says so.
  template <class F> void shrink(const F& fits) {
    for (int a = 0; a <= kAxes; ++a) {
      int64_t parts = 1;
      while (length[a] > 1 && !fits(*this)) {
        parts = std::max(parts + 1, std::min(parts * 2, size[a]));
        length[a] = ceil_div(size[a], std::min(parts, size[a]));
      }
    }
  }
};
