// Any reduction, whatever its axes and strides, as tiles of two kinds:
//   rows      the innermost axis is reduced: blocks of up to 4096 elements of one output
//   columns   the innermost axis is kept: blocks of up to 64 rows of up to 1024 outputs side by side
// An operation (`Op`) only ever sees such blocks, contiguous along the innermost axis and in one of four compute types
// (wide_t), so that its loops are compiled for these alone:
//   C, P                                   compute type, partial result
//   P identity()                           of nothing
//   run(const C* x, n, position, P&)       takes n elements, the first being number `position` of its output
//   columns(const C* x, ld, rows, w, position, P*)   the same for w outputs, row r at x + r * ld
//   merge(P&, const P&)                    with the partial result of later elements
//   finish(P)                              the result, rounded once when it is stored
// Long reductions are cut into chunks of kChunk elements, by shape alone, and merged as a balanced tree. Functions are
// kept from being inlined where two copies of them would gain nothing.

struct Axis {
  int64_t length, in, out;  // strides in elements
};
struct AxisList {
  Axis axes[kMaxDims];
  int count = 0;
};

constexpr int64_t kChunk = 65536;

static int64_t nearness(const Axis& x) { return x.in == 0 ? INT64_MAX : x.in < 0 ? -x.in : x.in; }

// Memory order, outermost first, neighbours that form one axis merged.
static void normalize(AxisList& list) {
  Axis* a = list.axes;
  for (int i = 1; i < list.count; ++i)
    for (int j = i; j > 0 && nearness(a[j - 1]) < nearness(a[j]); --j) {
      const Axis swap = a[j];
      a[j] = a[j - 1], a[j - 1] = swap;
    }
  int last = 0;
  for (int i = 1; i < list.count; ++i) {
    if (a[last].in == a[i].in * a[i].length && a[last].out == a[i].out * a[i].length) {
      a[last] = {a[last].length * a[i].length, a[i].in, a[i].out};
    } else {
      a[++last] = a[i];
    }
  }
  if (list.count) list.count = last + 1;
}

static int64_t elements(const AxisList& list) {
  int64_t n = 1;
  for (int i = 0; i < list.count; ++i) n *= list.axes[i].length;
  return n;
}

// Divisions cost more than a short row: none where there is nothing to divide.
static int64_t divide(int64_t a, int64_t b) { return b == 1 ? a : a / b; }

// Offsets of element number k of the axes, row-major.
static void locate(const AxisList& list, int64_t k, int64_t& in, int64_t& out) {
  in = out = 0;
  for (int i = list.count - 1; i >= 0; --i) {
    const Axis& a = list.axes[i];
    const int64_t next = i ? k / a.length : 0, index = k - next * a.length;
    in += index * a.in, out += index * a.out, k = next;
  }
}

struct Layout {
  AxisList kept, reduced;  // without the two below
  Axis run = {1, 0, 0};    // the innermost reduced axis
  Axis width = {1, 0, 0};  // columns: the innermost kept axis
  bool columns = false;
};

// `mask`: bit d is set where axis d is reduced. The output is contiguous, with or without the reduced axes.
static Layout layout_of(const Array& x, int64_t mask) {
  Layout l;
  int64_t out = 1;
  AxisList kept_reversed;
  for (int d = x.ndim - 1; d >= 0; --d) {
    const bool reduced = mask >> d & 1;
    if (x.shape[d] == 1) continue;
    AxisList& list = reduced ? l.reduced : kept_reversed;
    list.axes[list.count++] = {x.shape[d], x.strides[d], reduced ? 0 : out};
    if (!reduced) out *= x.shape[d];
  }
  for (int i = kept_reversed.count - 1; i >= 0; --i) l.kept.axes[l.kept.count++] = kept_reversed.axes[i];
  normalize(l.kept);
  normalize(l.reduced);
  if (l.reduced.count) l.run = l.reduced.axes[--l.reduced.count];
  if (l.kept.count) {
    const Axis& inner = l.kept.axes[l.kept.count - 1];
    const bool short_runs = l.run.length < 16 && inner.length >= 64;  // better 64 short sums at once than one by one
    l.columns = nearness(inner) < nearness(l.run) || short_runs;
    if (l.columns) l.width = l.kept.axes[--l.kept.count];
  }
  return l;
}

// float, double, int32_t or int64_t
template <class T>
using wide_t = std::conditional_t<std::is_integral_v<T>, std::conditional_t<sizeof(T) < 4, int32_t, T>, compute_t<T>>;

// T, Out: the stored types of input and output.
template <class Op, class T, class Out> struct Reduction {
  using C = typename Op::C;
  using P = typename Op::P;
  static constexpr bool kConverts = !std::is_same_v<T, C>;
  static constexpr int64_t kTile = 1024;       // columns at once: their partial results stay in L1
  static constexpr int64_t kFetchTile = 256;   // when they pass through a buffer
  static constexpr int64_t kFetchRows = 16;

  const Op& op;
  const Layout l;
  const T* x;
  Out* out;
  bool direct;
  int64_t tile, block, blocks_per_run, blocks, chunk, chunks;

  Reduction(const Op& o, const Array& in, const Array& to, int64_t mask)
      : op(o), l(layout_of(in, mask)), x(in.as<T>()), out(to.as<Out>()) {
    direct = !kConverts && (l.columns ? l.width.in == 1 : l.run.in == 1 || l.run.length == 1);
    const int64_t widest = direct ? kTile : kFetchTile;
    tile = l.width.length < widest ? l.width.length : widest;
    block = l.columns ? (direct ? 64 : kFetchRows) : kBlock;
    blocks_per_run = (l.run.length + block - 1) / block;
    blocks = blocks_per_run * elements(l.reduced);
    const int64_t block_elements = (l.run.length < block ? l.run.length : block) * tile;
    chunk = block_elements > 0 && block_elements < kChunk ? kChunk / block_elements : 1;
    chunks = blocks > chunk ? (blocks + chunk - 1) / chunk : 1;
  }

  // Copies `rows` runs of n elements into contiguous memory of the compute type.
  __attribute__((noinline))
  static void fetch(const T* from, int64_t row_stride, int64_t stride, int64_t rows, int64_t n, C* to) {
    for (int64_t r = 0; r < rows; ++r) {
      const T* p = from + r * row_stride;
      C* q = to + r * n;
      if constexpr (std::is_same_v<T, half_t> && std::is_same_v<C, float>) {  // its conversion: not the compiler's
        if (stride == 1) {
          load_block(q, p, n);
          continue;
        }
      }
      if (stride == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) q[i] = load(p + i);
      } else {
        for (int64_t i = 0; i < n; ++i) q[i] = load(p + i * stride);
      }
    }
  }

  // Blocks [begin, end) of the w outputs whose first input element is `base`, into p[0 .. w).
  __attribute__((noinline)) void take(const T* base, int64_t w, int64_t begin, int64_t end, P* p) const {
    C buffer[kBlock];
    for (int64_t c = 0; c < w; ++c) p[c] = op.identity();
    for (int64_t b = begin; b < end; ++b) {
      const int64_t outer = divide(b, blocks_per_run), at = (b - outer * blocks_per_run) * block;
      const int64_t n = l.run.length - at < block ? l.run.length - at : block;
      const int64_t position = outer * l.run.length + at;
      int64_t offset = 0, unused;
      if (l.reduced.count) locate(l.reduced, outer, offset, unused);
      const T* from = base + offset + at * l.run.in;
      const C* block_x = buffer;
      int64_t ld = w;
      if constexpr (!kConverts) {
        if (direct) block_x = from, ld = l.run.in;
      }
      if (block_x == buffer) {
        if (l.columns) fetch(from, l.run.in, l.width.in, n, w, buffer);
        else fetch(from, 0, l.run.in, 1, n, buffer);
      }
      if (l.columns) op.columns(block_x, ld, n, w, position, p);
      else op.run(block_x, n, position, p[0]);
    }
  }

  __attribute__((noinline)) void finish(const P* p, int64_t w, int64_t offset) const {
    for (int64_t c = 0; c < w; ++c) store(out + offset + c * l.width.out, static_cast<compute_t<Out>>(op.finish(p[c])));
  }

  void operator()() const {
    const int64_t tiles = l.width.length > 0 ? (l.width.length + tile - 1) / tile : 0;
    const int64_t outputs = elements(l.kept) * tiles, items = outputs * chunks;
    if (items == 0) return;
    const int64_t span = chunk < blocks ? chunk : blocks;
    const int64_t work = span * (l.run.length < block ? l.run.length : block) * tile;
    Scratch<P> partial(chunks > 1 ? items * tile : 0);
    auto place = [&](int64_t output, int64_t& in, int64_t& to) {
      const int64_t k = divide(output, tiles), first = (output - k * tiles) * tile;
      locate(l.kept, k, in, to);
      in += first * l.width.in, to += first * l.width.out;
      return l.width.length - first < tile ? l.width.length - first : tile;
    };
    parallel_ranges(items, work < kChunk ? kChunk / (work + 1) + 1 : 1, [&](int64_t begin, int64_t end) {
      P local[kTile];
      for (int64_t item = begin; item < end; ++item) {
        const int64_t output = divide(item, chunks), c = item - output * chunks;
        int64_t in, to;
        const int64_t w = place(output, in, to), last = (c + 1) * chunk < blocks ? (c + 1) * chunk : blocks;
        P* p = chunks > 1 ? partial.get() + item * tile : local;
        take(x + in, w, c * chunk, last, p);
        if (chunks == 1) finish(p, w, to);
      }
    });
    for (int64_t output = 0; chunks > 1 && output < outputs; ++output) {
      P* p = partial.get() + output * chunks * tile;
      int64_t in, to;
      const int64_t w = place(output, in, to);
      for (int64_t step = 1; step < chunks; step *= 2)
        for (int64_t i = 0; i + step < chunks; i += 2 * step)
          for (int64_t c = 0; c < w; ++c) op.merge(p[i * tile + c], p[(i + step) * tile + c]);
      finish(p, w, to);
    }
  }
};
