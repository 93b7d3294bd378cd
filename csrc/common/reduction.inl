// Any reduction, whatever its axes and strides, as tiles of two kinds:
//   rows      the innermost axis is reduced: blocks of up to 4096 elements of one output, or of several short ones
//   columns   the innermost axis is kept: blocks of up to 64 rows of up to 1024 outputs side by side
// An operation (`Op`) only ever sees such blocks, contiguous along the innermost axis, of the stored type or in one of
// four compute types (wide_t), so that most loops are compiled for these alone:
//   C, P                                   type of the elements, partial result (of at most 32 bytes)
//   P identity()                           of nothing
//   run(const C* x, n, position, P&)       takes n elements, the first being number `position` of its output
//   rows(const C* x, ld, n, w, position, P*)   the same for w outputs, each from x + r * ld on; by `run` if absent.
//                                          With a member kShortRows = true rows of a few elements are taken so too
//   columns(const C* x, ld, rows, w, position, P*)   the same for w outputs, row r at x + r * ld; 1024 at most, or
//                                          kColumns where that is a member and more
//   merge(P&, const P&)                    with the partial result of later elements
//   finish(P)                              the result, rounded once when it is stored; where a member as_is() says so,
//                                          the partial result itself
// Long reductions are cut into chunks of kReductionChunk elements, by shape alone, and merged as a balanced tree. What
// goes over the tiles is compiled once and calls an operation through pointers: one call a tile, whose cost is hidden.
#ifndef DLCORE_COMMON_REDUCTION
#define DLCORE_COMMON_REDUCTION
#include "common/fold.inl"
#include "common/loop_nest.inl"

constexpr int64_t kReductionChunk = 65536;
constexpr int64_t kPartialSize = 32;      // bytes of a partial result at most
constexpr int64_t kReductionTile = 1024;  // outputs at once: their partial results stay in L1

// ---- axes ---------------------------------------------------------------------------------------------------------

enum { kIn, kOut };  // the arrays of a reduction's loop nests
using ReductionAxis = LoopAxis<2>;

static inline int64_t nearness(const ReductionAxis& axis) {
  const int64_t stride = axis.strides[kIn];
  return stride == 0 ? INT64_MAX : stride < 0 ? -stride : stride;
}

// In the order of the input's memory.
struct ReductionAxes {
  LoopNest<2> kept, reduced;      // without the two below
  ReductionAxis run = {1, {}};    // the innermost reduced axis
  ReductionAxis width = {1, {}};  // the innermost kept axis: that of the outputs of a tile
  bool columns = false;

  // `mask`: bit d is set where axis d is reduced. The output is contiguous, with or without the reduced axes.
  // `short_rows`: whether several short rows are taken at once as fast as columns are.
  ReductionAxes(const Array& x, int64_t mask, bool short_rows) {
    int64_t strides[kMaxDims], out = 1;  // of the output
    for (int d = x.ndim - 1; d >= 0; --d) {
      const bool is_reduced = mask >> d & 1;
      strides[d] = is_reduced ? 0 : out;
      if (is_reduced && x.shape[d] != 1) reduced.push({x.shape[d], {x.strides[d], 0}});
      if (!is_reduced) out *= x.shape[d];
    }
    for (int d = 0; d < x.ndim; ++d)
      if (!(mask >> d & 1) && x.shape[d] != 1) kept.push({x.shape[d], {x.strides[d], strides[d]}});
    const auto key = [](const ReductionAxis& axis) { return nearness(axis); };
    kept.sort(key), kept.merge();
    reduced.sort(key), reduced.merge();
    if (reduced.count) run = reduced.pop();
    if (kept.count) {
      const bool side_by_side = !short_rows && run.length < 16 && kept.innermost().length >= 64;
      columns = nearness(kept.innermost()) < nearness(run) || side_by_side;
      width = kept.pop();
    }
  }
};

// ---- blocks -------------------------------------------------------------------------------------------------------

// The compute type: float, double, int32_t or int64_t.
template <class T>
using wide_t = std::conditional_t<std::is_integral_v<T>, std::conditional_t<sizeof(T) < 4, int32_t, T>, compute_t<T>>;

// Copies `rows` runs of n elements into contiguous memory of the type that the operation takes.
using FetchFunction = void (*)(const void* from, int64_t row_stride, int64_t stride, int64_t rows, int64_t n, void* to);

template <class T, class C> static inline C fetched(const T* p) {
  if constexpr (std::is_same_v<T, C>) return *p;
  else return load(p);
}
template <class T, class C>
static void fetch(const void* from, int64_t row_stride, int64_t stride, int64_t rows, int64_t n, void* to) {
  if (row_stride == n * stride) n *= rows, rows = 1;
  for (int64_t r = 0; r < rows; ++r) {
    const T* p = static_cast<const T*>(from) + r * row_stride;
    C* q = static_cast<C*>(to) + r * n;
    if (stride == 1) {
      if constexpr (std::is_same_v<T, half_t> && !std::is_same_v<T, C>) {  // no vectors are made of its conversion
        load_block(q, p, n);
      } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) q[i] = fetched<T, C>(p + i);
      }
    } else if (std::is_same_v<T, C> && stride == 2) {  // vectors, where the stride is known: a third of the time
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) q[i] = fetched<T, C>(p + 2 * i);
    } else {
      for (int64_t i = 0; i < n; ++i) q[i] = fetched<T, C>(p + i * stride);
    }
  }
}

// A reduction but for its operation's types: where its elements and blocks are.
struct ReductionInput {
  const ReductionAxes axes;
  const FetchFunction fetch;
  const int64_t item;  // bytes of an element
  bool direct;         // blocks are used where they lie
  int64_t block, blocks_per_run;

  // Blocks [begin, end) of the w outputs whose first input element is at `base`, into p[0 .. w).
  template <class Op> void take(const Op& op, const char* base, int64_t w, int64_t begin, int64_t end,
                                typename Op::P* p) const {
    using C = typename Op::C;
    alignas(64) C buffer[kFoldBlock];
    const ReductionAxis& run = axes.run;
    for (int64_t c = 0; c < w; ++c) p[c] = op.identity();
    for (int64_t b = begin; b < end; ++b) {
      const int64_t outer = blocks_per_run == 1 ? b : b / blocks_per_run, at = (b - outer * blocks_per_run) * block;
      const int64_t n = run.length - at < block ? run.length - at : block, position = outer * run.length + at;
      int64_t offsets[2] = {};
      if (axes.reduced.count) axes.reduced.locate(outer, offsets);
      const char* from = base + (offsets[kIn] + at * run.strides[kIn]) * item;
      const C* x = buffer;
      const int64_t across = axes.width.strides[kIn];
      int64_t ld = axes.columns ? w : n;
      if (direct) x = reinterpret_cast<const C*>(from), ld = axes.columns ? run.strides[kIn] : across;
      else if (axes.columns) fetch(from, run.strides[kIn], across, n, w, buffer);
      else fetch(from, across, run.strides[kIn], w, n, buffer);
      if (axes.columns) op.columns(x, ld, n, w, position, p);
      else if constexpr (requires { op.rows(x, ld, n, w, position, p); }) op.rows(x, ld, n, w, position, p);
      else
        for (int64_t c = 0; c < w; ++c) op.run(x + c * ld, n, position, p[c]);
    }
  }
};

// An operation as functions of its partial results.
struct ReductionFunctions {
  int64_t partial_size;
  void (*take)(const void* op, const ReductionInput&, const char* base, int64_t w, int64_t begin, int64_t end, void* p);
  void (*merge)(const void* op, void* p, const void* later, int64_t w);
  void (*finish)(const void* op, const void* p, int64_t w, void* out, int64_t stride);
  bool short_rows = false;
  int64_t columns = kReductionTile;  // that are taken at once
};

template <class Op>
static void take_blocks(const void* op, const ReductionInput& input, const char* base, int64_t w, int64_t begin,
                        int64_t end, void* p) {
  input.take(*static_cast<const Op*>(op), base, w, begin, end, static_cast<typename Op::P*>(p));
}
template <class Op> static void merge_partial(const void* op, void* p, const void* later, int64_t w) {
  using P = typename Op::P;
  for (int64_t c = 0; c < w; ++c)
    static_cast<const Op*>(op)->merge(static_cast<P*>(p)[c], static_cast<const P*>(later)[c]);
}
template <class Op, class Out>
static void finish_partial(const void* op_, const void* p_, int64_t w, void* out, int64_t stride) {
  const Op& op = *static_cast<const Op*>(op_);
  const typename Op::P* p = static_cast<const typename Op::P*>(p_);
  Out* to = static_cast<Out*>(out);
  const auto each = [&](auto finish) {
    const auto put = [&](int64_t c, int64_t at) DLCORE_MAP {
      const auto result = finish(p[c]);
      if constexpr (std::is_same_v<std::remove_const_t<decltype(result)>, Out>) to[at] = result;
      else store(to + at, static_cast<compute_t<Out>>(result));
    };
    if constexpr (std::is_arithmetic_v<typename Op::P> && std::is_same_v<compute_t<Out>, Out>) {
      if (stride == 1) {
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) put(c, c);
        return;
      }
    }
    for (int64_t c = 0; c < w; ++c) put(c, c * stride);
  };
  if constexpr (requires { op.as_is(); })
    if (op.as_is()) return each([](typename Op::P x) DLCORE_MAP { return x; });
  each([&](typename Op::P x) DLCORE_MAP { return op.finish(x); });
}

// ---- tiles --------------------------------------------------------------------------------------------------------

[[maybe_unused, gnu::noinline, gnu::noclone]]
static void run_reduction(const ReductionFunctions& functions, const void* op, FetchFunction fetch, bool converts,
                          const Array& in, const Array& out, int64_t mask) {
  constexpr int64_t kFetchTile = 256;  // columns at once when they pass through a buffer
  constexpr int64_t kFetchRows = 16;

  ReductionInput input{ReductionAxes(in, mask, functions.short_rows), fetch, item_size(in.dtype), false, 0, 0};
  const ReductionAxes& axes = input.axes;
  const int64_t run = axes.run.length, width = axes.width.length;
  input.direct = !converts && (axes.columns ? axes.width.strides[kIn] == 1 : axes.run.strides[kIn] == 1 || run == 1);
  input.block = axes.columns ? (input.direct ? 64 : kFetchRows) : kFoldBlock;
  input.blocks_per_run = (run + input.block - 1) / input.block;

  const int64_t blocks = input.blocks_per_run * axes.reduced.size();
  // What one block holds of rows; where they lie side by side and are taken at once, four times as many a call.
  const int64_t held = input.direct && blocks == 1 ? 4 * kFoldBlock : kFoldBlock;
  const int64_t rows = run > 0 && run < held ? held / run : 1;
  const int64_t whole = rows < 16 ? rows : rows & ~int64_t{15};  // rows are folded by batches of at most 16
  const int64_t columns = input.direct ? functions.columns : kFetchTile;
  const int64_t most = axes.columns ? columns : std::min(whole, kReductionTile);
  const int64_t tile = width < most ? width : most;
  const int64_t block_elements = (run < input.block ? run : input.block) * tile;
  const int64_t chunk = block_elements > 0 && block_elements < kReductionChunk ? kReductionChunk / block_elements : 1;
  const int64_t chunks = blocks > chunk ? (blocks + chunk - 1) / chunk : 1;
  const int64_t tiles = width > 0 ? (width + tile - 1) / tile : 0;
  const int64_t outputs = axes.kept.size() * tiles, items = outputs * chunks;
  if (items == 0) return;

  const int64_t tile_size = tile * functions.partial_size;
  const Scratch<char> partial(chunks > 1 ? items * tile_size : 0);
  const auto locate = [&](int64_t output, const char*& from, char*& to) {  // returns the tile's width
    const int64_t k = tiles == 1 ? output : output / tiles, first = (output - k * tiles) * tile;
    int64_t offsets[2];
    axes.kept.locate(k, offsets);
    from = in.as<const char>() + (offsets[kIn] + first * axes.width.strides[kIn]) * input.item;
    to = out.as<char>() + (offsets[kOut] + first * axes.width.strides[kOut]) * item_size(out.dtype);
    return width - first < tile ? width - first : tile;
  };
  const int64_t work = (chunk < blocks ? chunk : blocks) * block_elements;
  const int64_t grain = work < kReductionChunk ? kReductionChunk / (work + 1) + 1 : 1;
  parallel_ranges(items, grain, [&](int64_t begin, int64_t end) {
    alignas(16) char local[kReductionTile * kPartialSize];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t output = chunks == 1 ? item : item / chunks, c = item - output * chunks;
      const char* from;
      char* to;
      const int64_t w = locate(output, from, to), last = (c + 1) * chunk < blocks ? (c + 1) * chunk : blocks;
      char* p = chunks > 1 ? partial.get() + item * tile_size : local;
      functions.take(op, input, from, w, c * chunk, last, p);
      if (chunks == 1) functions.finish(op, p, w, to, axes.width.strides[kOut]);
    }
  });
  for (int64_t output = 0; chunks > 1 && output < outputs; ++output) {
    char* p = partial.get() + output * chunks * tile_size;
    const char* from;
    char* to;
    const int64_t w = locate(output, from, to);
    for (int64_t step = 1; step < chunks; step *= 2)
      for (int64_t i = 0; i + step < chunks; i += 2 * step)
        functions.merge(op, p + i * tile_size, p + (i + step) * tile_size, w);
    functions.finish(op, p, w, to, axes.width.strides[kOut]);
  }
}

// out = `in` of stored type T, reduced over the axes of `mask` and stored as Out.
template <class T, class Out, class Op>
static void reduce_axes(const Op& op, const Array& in, const Array& out, int64_t mask) {
  using C = typename Op::C;
  static_assert((std::is_same_v<wide_t<T>, C> || std::is_same_v<T, C>)&&sizeof(typename Op::P) <= kPartialSize);
  constexpr bool short_rows = requires { requires Op::kShortRows; };
  constexpr int64_t columns = [] {
    if constexpr (requires { Op::kColumns; }) return std::max<int64_t>(kReductionTile, Op::kColumns);
    return kReductionTile;
  }();
  static constexpr ReductionFunctions functions = {sizeof(typename Op::P), take_blocks<Op>, merge_partial<Op>,
                                                   finish_partial<Op, Out>, short_rows, columns};
  run_reduction(functions, &op, fetch<T, C>, !std::is_same_v<T, C>, in, out, mask);
}

#endif  // DLCORE_COMMON_REDUCTION
