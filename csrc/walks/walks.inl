// How elementwise kernels and copies walk through strided arrays (walks.h). Axes that can be walked as one are merged.
// Dense operands are handed to the kernel's loop as they are; others in blocks that fit the first-level cache, into
// which strided operands are gathered and repeated ones filled in once a row, or, where one lies across the rows as
// `x.T` does, in tiles that are transposed in registers. So there is one compiled loop per function and types, and a
// result's bits never depend on the layout. Input and output may be the same array.
//
// On one core of a Zen 4 x.T + y of float32 took, without and with tiles: 128 x 128 13 and 5 us, 1024 x 1024, whose
// columns all fall into one set of the caches, 9050 and 470.
#include "common/dtypes.inl"
#include "common/loop_nest.inl"
#include "common/strided_copy.inl"

constexpr int64_t kShortAxis = 32;  // an innermost axis shorter than this is walked together with the next

// ---- blocks -------------------------------------------------------------------------------------------------------

// How the elements of a row are laid out: element i at (i / inner) * outer + (i % inner) * stride. A row is one axis
// (inner is its length), or two if the innermost is short: loops over three channels would cost more than their work.
struct RowLayout {
  int64_t inner, stride, outer;

  bool dense() const { return stride == 1 && outer == inner; }
  int64_t at(int64_t i) const { return i < inner ? i * stride : i / inner * outer + i % inner * stride; }
};

template <class T>
static inline void move_elements(const T* in, const RowLayout& from, T* out, const RowLayout& to, int64_t n) {
  for (; n > 0; n -= from.inner, in += from.outer, out += to.outer) {
    const int64_t m = n < from.inner ? n : from.inner;
    if (to.stride == 1 && m >= 8) {
      copy_run(out, in, from.stride, m);
    } else {
      for (int64_t i = 0; i < m; ++i) out[i * to.stride] = in[i * from.stride];
    }
  }
}
static inline void move_row(DType dtype, const void* in, const RowLayout& from, void* out, const RowLayout& to,
                            int64_t n) {
  with_bits(dtype, [&]<class T>() { move_elements(static_cast<const T*>(in), from, static_cast<T*>(out), to, n); });
}

// An operand along a row: its elements block by block as dense arrays. Blocks start at multiples of the layout's inner
// length, or hold part of one axis.
struct RowOperand {
  char* data;
  DType dtype;
  int64_t size;  // bytes of an element
  RowLayout layout;
  bool repeats;  // every block has the same elements
  char* row;
  alignas(64) char buffer[kPointwiseBlock * 8];

  RowLayout dense_layout() const { return {layout.inner, 1, layout.inner}; }

  void begin_row(int64_t offset, int64_t n) {
    row = data + offset * size;
    if (repeats) gather(row, n < kPointwiseBlock ? n : kPointwiseBlock);
  }
  const void* read(int64_t start, int64_t n) {
    if (repeats) return buffer;
    char* p = row + layout.at(start) * size;
    return layout.dense() ? p : gather(p, n);
  }
  void* written(int64_t start) { return layout.dense() ? row + start * size : buffer; }
  void write_back(int64_t start, int64_t n) {
    if (!layout.dense()) move_row(dtype, buffer, dense_layout(), row + layout.at(start) * size, layout, n);
  }

 private:
  const void* gather(const char* p, int64_t n) {
    move_row(dtype, p, layout, buffer, dense_layout(), n);
    return buffer;
  }
};

// ---- rows ---------------------------------------------------------------------------------------------------------

using PointwiseNest = LoopNest<kMaxOperands>;

// The output's axes, merged where every operand allows it, as rows of one axis or two.
struct RowLoop {
  int operands;
  PointwiseNest nest;
  bool two_axes;

  RowLoop(const Array* const* arrays, int count) : operands(count), nest(loop_over<kMaxOperands>(arrays, count)) {
    nest.merge();
    if (nest.count == 0) nest.push({1, {1, 1, 1, 1}});
    two_axes = nest.count > 1 && (nest.innermost().length < kShortAxis || repeats_short_rows());
  }

  int64_t unit() const { return two_axes ? nest.innermost().length : 1; }  // what a chunk's length is a multiple of
  int64_t block() const { return kPointwiseBlock / unit() * unit(); }
  int64_t outer_stride(int k) const {
    return two_axes ? nest.axes[nest.count - 2].strides[k] : nest.innermost().length * nest.innermost().strides[k];
  }
  RowLayout layout(int k) const { return {nest.innermost().length, nest.innermost().strides[k], outer_stride(k)}; }
  bool repeats(int k) const { return outer_stride(k) == 0; }
  // Whether some have the same short row again and again, and all others dense ones that follow each other: then blocks
  // are of several rows, into which the repeated one is filled once. 16,384 rows of 64 floats plus one take 118 us so,
  // 199 by a call for each.
  bool repeats_short_rows() const {
    const LoopAxis<kMaxOperands>&inner = nest.innermost(), &outer = nest.axes[nest.count - 2];
    bool all = inner.length <= kPointwiseBlock / 2;
    for (int k = 0; k < operands && all; ++k)
      all = inner.strides[k] == 1 && (outer.strides[k] == inner.length || (k > 0 && outer.strides[k] == 0));
    return all;
  }

  // f(n, offsets) for every stretch of a row within elements [begin, end), which are multiples of unit().
  template <class F> void rows(int64_t begin, int64_t end, F&& f) const {
    int64_t units = (end - begin) / unit();
    for (LoopCursor<kMaxOperands> at(nest, nest.count - two_axes, begin / unit()); units > 0;) {
      const int64_t n = at.left() < units ? at.left() : units;
      f(n * unit(), at.offsets);
      units -= n;
      at.next(n);
    }
  }
};

// Rows that all operands have as dense arrays, or number `number` as one number: nothing but a call of the loop for
// each and a step to the next. A million floats in rows of 64, one operand's 16 KiB apart, took a Zen 4 240 us where a
// cursor found each row and take 158, a loop without calls 155. Of short ones that do not follow each other in memory
// the processor does not foresee the next: without prefetches they took 628 us for 395, in memory 1064 for 591.
static inline void run_dense_rows(DenseLoop loop, const RowOperand* operands, const RowLoop& walk, int number,
                                  int64_t begin, int64_t end) {
  constexpr int64_t kRowsAhead = 4, kLine = 64, kShortRow = 1024;
  const PointwiseNest& nest = walk.nest;
  const LoopAxis<kMaxOperands>& along = nest.innermost();
  const int64_t length = along.length;
  const int outer = nest.count - 1;
  int64_t pitch[kMaxOperands] = {}, ahead[kMaxOperands] = {}, reach[kMaxOperands] = {};  // bytes: to the next row, to
  for (int k = 0; k < walk.operands && outer > 0; ++k) {                                // a later one, and of it
    const int64_t next = nest.axes[outer - 1].strides[k], size = operands[k].size;
    pitch[k] = next * size;
    if (k == 0 || k == number || next == length || next == 0 || length * size > kShortRow) continue;
    ahead[k] = kRowsAhead * pitch[k], reach[k] = length * size;
  }
  LoopCursor<kMaxOperands> at(nest, outer, begin / length);
  for (int64_t first = begin % length; begin < end; first = 0) {
    const int64_t n = std::min(length - first, end - begin);
    const int64_t rows = n < length ? 1 : std::min(at.left(), (end - begin) / length);
    char* row[kMaxOperands];
    for (int k = 0; k < walk.operands; ++k)
      row[k] = operands[k].data + (at.offsets[k] + first * along.strides[k]) * operands[k].size;
    for (int64_t r = 0; r < rows; ++r) {
      const void* in[kMaxOperands - 1];
      for (int k = 1; k < walk.operands; ++k) {
        for (int64_t b = 0; b < reach[k]; b += kLine) __builtin_prefetch(row[k] + ahead[k] + b);
        in[k - 1] = row[k];
        row[k] += pitch[k];
      }
      loop(n, row[0], in);
      row[0] += pitch[0];
    }
    begin += n * rows;
    at.next(rows);
  }
}

// The loop that takes operand k, of which each row has one number, as this number; null where there is none, or another
// operand is not dense. 1024 x 1024 floats plus a column take 90 us so, as a copy does, and 124 where a block is filled
// with each row's number; 16,384 rows of 64 take 96 for 335.
static inline DenseLoop loop_with_number(const ElementLoops& loops, const RowLoop& walk, int& k) {
  for (k = 1; k <= 2; ++k) {
    const RowLayout number = walk.layout(k);
    bool fits = loops.with_number[k - 1] && number.stride == 0 && number.outer == 0;
    for (int other = 0; other < walk.operands && fits; ++other) fits = other == k || walk.layout(other).dense();
    if (fits) return loops.with_number[k - 1];
  }
  return nullptr;
}

// Elements [begin, end) of the output.
static inline void run_rows(const ElementLoops& loops, const Array* const* arrays, const RowLoop& walk, int64_t begin,
                            int64_t end) {
  RowOperand operands[kMaxOperands];
  int number;
  const DenseLoop with_number = loop_with_number(loops, walk, number), loop = loops.dense;
  bool direct = true;
  for (int k = 0; k < walk.operands; ++k) {
    RowOperand& o = operands[k];
    o.data = arrays[k]->as<char>();
    o.dtype = arrays[k]->dtype;
    o.size = item_size(o.dtype);
    o.layout = walk.layout(k);
    o.repeats = k > 0 && walk.repeats(k);
    direct = direct && o.layout.dense() && !o.repeats;
  }
  if (with_number) return run_dense_rows(with_number, operands, walk, number, begin, end);
  if (direct) return run_dense_rows(loop, operands, walk, 0, begin, end);
  walk.rows(begin, end, [&](int64_t n, const int64_t* offsets) {
    for (int k = 1; k < walk.operands; ++k) operands[k].begin_row(offsets[k], n);
    operands[0].row = operands[0].data + offsets[0] * operands[0].size;
    const int64_t length = walk.block();
    for (int64_t start = 0; start < n; start += length) {
      const int64_t m = n - start < length ? n - start : length;
      const void* in[kMaxOperands - 1];
      for (int k = 1; k < walk.operands; ++k) in[k - 1] = operands[k].read(start, m);
      loop(m, operands[0].written(start), in);
      operands[0].write_back(start, m);
    }
  });
}

// ---- tiles --------------------------------------------------------------------------------------------------------

constexpr int64_t kTileLength = 256;  // elements of a tile's rows

// The axis along which an operand that jumps from element to element of a row is adjacent in memory; -1: there is none.
static inline int axis_across(const PointwiseNest& nest, int operands) {
  for (int k = 0; k < operands; ++k) {
    const int64_t stride = nest.innermost().strides[k];
    for (int d = 0; d < nest.count - 1 && (stride > 1 || stride < -1); ++d)
      if (nest.axes[d].strides[k] == 1 && nest.axes[d].length >= 8) return d;
  }
  return -1;
}

// Tile by tile: rows of up to kTileLength elements, side by side along axis `across`, so many that they fill a line of
// an operand that is adjacent there. Operands that are not adjacent along the rows go through a copy of the tile.
static inline void run_tiles(DenseLoop loop, int64_t grain, const Array* const* arrays, int count, PointwiseNest nest,
                             int axis) {
  constexpr int64_t kRows = 16;
  const LoopAxis<kMaxOperands> along = nest.pop(), across = nest.remove(axis);
  const int64_t bands = (across.length + kRows - 1) / kRows, pieces = (along.length + kTileLength - 1) / kTileLength;
  const int64_t tile = kRows * kTileLength;
  const auto run = [&](int64_t begin, int64_t end) {
    const Scratch<char> copies(count * tile * 8);
    for (int64_t unit = begin; unit < end; ++unit) {
      const LoopCursor<kMaxOperands> at(nest, nest.count, unit / (bands * pieces));
      const int64_t i = unit % bands * kRows, j = unit / bands % pieces * kTileLength;
      const int64_t rows = std::min(kRows, across.length - i), n = std::min(kTileLength, along.length - j);
      char* data[kMaxOperands];
      int64_t pitch[kMaxOperands];  // bytes from row to row
      const auto copy_tile = [&](int k, bool back) {
        const int64_t size = item_size(arrays[k]->dtype);
        const int64_t offset = at.offsets[k] + i * across.strides[k] + j * along.strides[k];
        data[k] = arrays[k]->as<char>() + offset * size, pitch[k] = across.strides[k] * size;
        if (along.strides[k] == 1) return;
        char *own = data[k], *copy = copies.get() + k * tile * 8;
        data[k] = copy, pitch[k] = kTileLength * size;
        if (back != (k == 0)) return;  // the output's is copied in the end
        CopyNest rectangle;
        rectangle.push({rows, {kTileLength, across.strides[k]}});
        rectangle.push({n, {1, along.strides[k]}});
        if (back) {
          std::swap(own, copy);
          for (int d = 0; d < 2; ++d) std::swap(rectangle.axes[d].strides[kTo], rectangle.axes[d].strides[kFrom]);
          if (rectangle.axes[0].strides[kTo] < rectangle.axes[1].strides[kTo])
            std::swap(rectangle.axes[0], rectangle.axes[1]);
        }
        with_bits(arrays[k]->dtype, [&]<class T>() {
          copy_elements(reinterpret_cast<T*>(copy), reinterpret_cast<const T*>(own), rectangle);
        });
      };
      for (int k = 0; k < count; ++k) copy_tile(k, false);
      for (int64_t r = 0; r < rows; ++r) {
        const void* in[kMaxOperands - 1];
        for (int k = 1; k < count; ++k) in[k - 1] = data[k] + r * pitch[k];
        loop(n, data[0] + r * pitch[0], in);
      }
      copy_tile(0, true);
    }
  };
  parallel_ranges(nest.size() * bands * pieces, std::max<int64_t>(1, grain / tile), run);
}

// ---- entry --------------------------------------------------------------------------------------------------------

static void run_pointwise(const ElementLoops& loops, int64_t grain, const Array* const* arrays, int count) {
  const Array& out = *arrays[0];
  const int64_t total = out.size();
  if (total == 0) return;
  bool dense = out.contiguous();
  for (int k = 0; k < count && dense; ++k) dense = same_layout(*arrays[k], out);
  if (!dense) {
    const RowLoop walk(arrays, count);
    const int across = walk.two_axes ? -1 : axis_across(walk.nest, count);
    if (across >= 0) return run_tiles(loops.dense, grain, arrays, count, walk.nest, across);
    return parallel_ranges(total, (grain + walk.unit() - 1) / walk.unit() * walk.unit(),
                           [&](int64_t begin, int64_t end) { run_rows(loops, arrays, walk, begin, end); });
  }
  const auto run = [&](int64_t begin, int64_t end) {
    const void* in[kMaxOperands - 1];
    for (int k = 1; k < count; ++k) in[k - 1] = arrays[k]->as<char>() + begin * item_size(arrays[k]->dtype);
    loops.dense(end - begin, out.as<char>() + begin * item_size(out.dtype), in);
  };
  if (total <= grain) run(0, total);
  else parallel_ranges(total, grain, run);
}

// In place of a family's kernels.
static const Walks kernels = {run_pointwise, copy_strided};
