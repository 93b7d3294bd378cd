// Copies between strided arrays of one item size; what movement, and optimizers of non-contiguous parameters, stand on.
// Bound by memory: every element is read and written once.
//
// Axes are put in the order of the target's addresses and merged where both sides allow, so that most copies become
// rows of memcpy, rows of one repeated value, or transpositions of a matrix by square tiles held in registers.
#ifndef DLCORE_COMMON_STRIDED_COPY
#define DLCORE_COMMON_STRIDED_COPY
#include "common/bytes.inl"
#include "common/dtypes.inl"
#include "common/loop_nest.inl"
#include "common/simd.inl"

enum { kTo, kFrom };  // the arrays of a copy's loop nest
using CopyAxis = LoopAxis<2>;
using CopyNest = LoopNest<2>;
using CopyCursor = LoopCursor<2>;

// The elements of `target` in the order of their addresses, and those of `source`, broadcast, that go there.
static inline CopyNest plan_copy(const Array& target, const Array& source) {
  const Array* const arrays[] = {&target, &source};
  CopyNest nest = loop_over<2>(arrays);
  for (int d = 0; d < nest.count; ++d) {
    CopyAxis& axis = nest.axes[d];
    if (axis.strides[kTo] >= 0) continue;
    for (int k = 0; k < 2; ++k) {  // run forward through the target
      nest.start[k] += (axis.length - 1) * axis.strides[k];
      axis.strides[k] = -axis.strides[k];
    }
  }
  nest.sort([](const CopyAxis& axis) { return axis.strides[kTo]; });
  nest.merge();
  return nest;
}

constexpr int64_t kCopyGrain = 128 * 1024;         // bytes written by one chunk: 5-10 us
constexpr int64_t kPastCaches = int64_t{32} << 20;  // bytes of a target from which its lines are not read first

// n elements that lie `stride` apart. With a stride that the compiler knows it loads vectors: of floats in cache 0.1 ns
// each on a Zen 4 backwards and for every second one, where one at a time takes 0.3.
template <class T>
static __attribute__((noinline)) void copy_run(T* __restrict to, const T* __restrict from, int64_t stride, int64_t n) {
  if (stride == 0) {
    const T value = *from;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else if (stride == -1) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = from[-i];
  } else if (stride == 2) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

// `rows` rows of `along.length` elements each.
template <class T>
static void copy_block(T* to, const CopyAxis& along, const T* from, int64_t rows, const CopyAxis& across,
                       bool streaming = false) {
  const int64_t n = along.length, to_stride = along.strides[kTo], from_stride = along.strides[kFrom];
  const int64_t bytes = n * static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < rows; ++r, to += across.strides[kTo], from += across.strides[kFrom]) {
    if (to_stride == 1 && from_stride == 1) {
      if (streaming) copy_bytes<true>(to, from, bytes);
      else copy_bytes(to, from, bytes);
    } else if (to_stride == 1) {
      copy_run(to, from, from_stride, n);
    } else {
      for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
    }
  }
}

template <class T> static void copy_rows(T* to, const T* from, const CopyNest& nest, bool past_caches) {
  const CopyAxis& inner = nest.innermost();
  const int outer = nest.count - 1;
  const int64_t rows = nest.size(outer), grain = kCopyGrain / static_cast<int64_t>(sizeof(T));
  const bool streaming = past_caches && inner.length >= grain / 32;
  if (inner.length > grain) {  // long rows are cut
    const int64_t pieces = (inner.length + grain - 1) / grain;
    parallel_ranges(rows * pieces, 1, [&](int64_t unit, int64_t) {
      const CopyCursor at(nest, outer, unit / pieces);
      const int64_t first = unit % pieces * grain, left = inner.length - first;
      CopyAxis part = inner;
      part.length = left < grain ? left : grain;
      copy_block(to + at.offsets[kTo] + first * inner.strides[kTo], part,
                 from + at.offsets[kFrom] + first * inner.strides[kFrom], 1, {1, {}}, streaming);
    });
    return;
  }
  const CopyAxis across = outer > 0 ? nest.axes[outer - 1] : CopyAxis{1, {}};
  parallel_ranges(rows, grain / inner.length, [&](int64_t begin, int64_t end) {  // short ones go together
    CopyCursor at(nest, outer, begin);
    for (int64_t row = begin; row < end;) {
      const int64_t n = at.left() < end - row ? at.left() : end - row;
      copy_block(to + at.offsets[kTo], inner, from + at.offsets[kFrom], n, across, streaming);
      at.next(n);
      row += n;
    }
  });
}

// Rows of N elements. Where they lie one behind the other in the target, whole vectors are made of N columns, or of one
// that is repeated.
template <int N, class T>
static void copy_narrow_block(T* __restrict to, const T* __restrict from, const CopyAxis& rows, const CopyAxis& inner,
                              int64_t n) {
  const int64_t row = rows.strides[kFrom], column = inner.strides[kFrom];
  if (rows.strides[kTo] == N && inner.strides[kTo] == 1 && row == 1 && column == 0) {
    for (int64_t r = 0; r < n; ++r)
      for (int c = 0; c < N; ++c) to[r * N + c] = from[r];
  } else if (rows.strides[kTo] == N && inner.strides[kTo] == 1 && row == 1) {
    for (int64_t r = 0; r < n; ++r)
      for (int c = 0; c < N; ++c) to[r * N + c] = from[r + c * column];
  } else {
    for (int64_t r = 0; r < n; ++r, to += rows.strides[kTo], from += row)
      for (int c = 0; c < N; ++c) to[c * inner.strides[kTo]] = from[c * column];
  }
}

template <int N, class T> static void copy_narrow_rows(T* to, const T* from, const CopyNest& nest) {
  const CopyAxis inner = nest.innermost(), rows = nest.axes[nest.count - 2];
  const int outer = nest.count - 2;
  constexpr int64_t grain = kCopyGrain / (N * sizeof(T));
  const int64_t block = rows.length < grain ? rows.length : grain, blocks = (rows.length + block - 1) / block;
  parallel_ranges(nest.size(outer) * blocks, grain / block, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const CopyCursor at(nest, outer, unit / blocks);
      const int64_t first = unit % blocks * block, left = rows.length - first;
      copy_narrow_block<N>(to + at.offsets[kTo] + first * rows.strides[kTo],
                           from + at.offsets[kFrom] + first * rows.strides[kFrom], rows, inner,
                           left < block ? left : block);
    }
  });
}

template <class T> static void copy_narrow(T* to, const T* from, const CopyNest& nest) {
  switch (nest.innermost().length) {
    case 1: return copy_narrow_rows<1>(to, from, nest);
    case 2: return copy_narrow_rows<2>(to, from, nest);
    case 3: return copy_narrow_rows<3>(to, from, nest);
    case 4: return copy_narrow_rows<4>(to, from, nest);
    case 5: return copy_narrow_rows<5>(to, from, nest);
    case 6: return copy_narrow_rows<6>(to, from, nest);
    default: return copy_narrow_rows<7>(to, from, nest);
  }
}

// ---- transposition ------------------------------------------------------------------------------------------------
// A tile is N vectors of N elements; log2(N) rounds of interleaving row i with row i + N/2 transpose it. 4- and 8-byte
// elements fill a cache line with a tile's row at full width, so nothing is read or written twice.
template <class T>
constexpr int kTransposeTile = kLanes<T> < 16 ? kLanes<T> : 16;
template <class T, int N> struct TransposeRow { typedef T type __attribute__((vector_size(N * sizeof(T)))); };

template <class T, size_t... I>
static inline __attribute__((always_inline)) void transpose_tile(T* to, int64_t to_stride, const T* from,
                                                                 int64_t from_stride, std::index_sequence<I...>) {
  constexpr size_t N = sizeof...(I);
  using Row = typename TransposeRow<T, N>::type;
  const Row low = {static_cast<T>(I / 2 + I % 2 * N)...};
  const Row high = {static_cast<T>(N / 2 + I / 2 + I % 2 * N)...};
  Row rows[N], next[N];
  ((void)memcpy(&rows[I], from + I * from_stride, sizeof(Row)), ...);
#pragma GCC unroll 4
  for (size_t width = 1; width < N; width *= 2) {
#pragma GCC unroll 16
    for (size_t i = 0; i < N / 2; ++i) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + N / 2], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + N / 2], high);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < N; ++i) rows[i] = next[i];
  }
  ((void)memcpy(to + I * to_stride, &rows[I], sizeof(Row)), ...);
}

// to[i + j * row] = from[i * column + j] for i < ni, j < nj. Lines of the target are filled before others are begun.
template <class T>
static void transpose_strip(T* to, int64_t row, int64_t ni, const T* from, int64_t column, int64_t nj) {
  constexpr int64_t N = kTransposeTile<T>, kLine = 64 / sizeof(T);
  const auto transpose = [&](int64_t i, int64_t j) DLCORE_MAP {
    T* t = to + i + j * row;
    const T* f = from + i * column + j;
    if (ni - i >= N && nj - j >= N) return transpose_tile(t, row, f, column, std::make_index_sequence<N>{});
    const int64_t mi = ni - i < N ? ni - i : N, mj = nj - j < N ? nj - j : N;
    for (int64_t b = 0; b < mj; ++b)
      for (int64_t a = 0; a < mi; ++a) t[a + b * row] = f[a * column + b];
  };
  if constexpr (kLine > N) {
    for (int64_t line = 0; line < ni; line += kLine)
      for (int64_t j = 0; j < nj; j += N)
        for (int64_t i = line; i < std::min(line + kLine, ni); i += N) transpose(i, j);
  } else {
    for (int64_t i = 0; i < ni; i += N)
      for (int64_t j = 0; j < nj; j += N) transpose(i, j);
  }
}

constexpr int64_t kStrip = 16 * 1024;  // elements

// The source runs along axis k, the target along the last one.
template <class T> static void copy_transposed(T* to, const T* from, CopyNest nest, int k) {
  const CopyAxis along = nest.pop(), across = nest.remove(k);
  // Of the source's rows four cache lines, and more where columns are short: 32 x 32 x 1024 floats, whose channels go
  // behind their pixels, take a Zen 4 177 us with 64 of the 1024 in a strip, 155 with 256. Of narrow elements 16 lines,
  // of some rows: 1024 x 1024 bfloat16 in memory took 391 us and take 280, in cache 172 and 158.
  constexpr bool narrow = sizeof(T) < 4;
  constexpr int64_t lines = (narrow ? 1024 : 256) / static_cast<int64_t>(sizeof(T));
  const int64_t strip = std::max<int64_t>(kStrip / (along.length * lines), 1) * lines;
  const int64_t strips = (across.length + strip - 1) / strip, width = strip * static_cast<int64_t>(sizeof(T));
  const int64_t piece = narrow ? std::min(along.length, std::max<int64_t>(kCopyGrain / width / 64, 1) * 64)
                               : along.length;
  const int64_t pieces = (along.length + piece - 1) / piece, bytes = width * piece;
  parallel_ranges(nest.size() * strips * pieces, bytes < kCopyGrain ? kCopyGrain / bytes : 1,
                  [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const CopyCursor at(nest, nest.count, unit / pieces / strips);
      const int64_t j = unit / pieces % strips * strip, i = unit % pieces * piece;
      transpose_strip(to + at.offsets[kTo] + j * across.strides[kTo] + i, across.strides[kTo],
                      std::min(piece, along.length - i), from + at.offsets[kFrom] + i * along.strides[kFrom] + j,
                      along.strides[kFrom], std::min(strip, across.length - j));
    }
  });
}

template <class T> static void copy_elements(T* to, const T* from, const CopyNest& nest, bool past_caches = false) {
  if (nest.count == 0) {
    to[nest.start[kTo]] = from[nest.start[kFrom]];
    return;
  }
  const CopyAxis& along = nest.innermost();
  if (along.strides[kTo] == 1 && along.strides[kFrom] != 1 && along.strides[kFrom] != 0 && along.length >= 4) {
    for (int k = nest.count - 2; k >= 0; --k) {
      if (nest.axes[k].strides[kFrom] == 1 && nest.axes[k].length >= 4) return copy_transposed(to, from, nest, k);
    }
  }
  if (along.length < 8 && nest.count >= 2 && nest.axes[nest.count - 2].length > 4 * along.length)
    return copy_narrow(to, from, nest);
  copy_rows(to, from, nest, past_caches);
}

static inline bool is_past_caches(const Array& x) { return x.size() * item_size(x.dtype) >= kPastCaches; }

// target = source, broadcast; both of one dtype. `past_caches`: whether what the target is a part of would not stay in
// them. Families call it as copy_array, so that only csrc/walks has all of it.
static inline void copy_strided(const Array& target, const Array& source, bool past_caches) {
  if (target.size() == 0) return;
  const CopyNest nest = plan_copy(target, source);
  with_bits(target.dtype, [&]<class T>() { copy_elements(target.as<T>(), source.as<const T>(), nest, past_caches); });
}

static inline void copy_array(const Array& target, const Array& source, bool past_caches) {
  walks.copy(target, source, past_caches);
}
static inline void copy_array(const Array& target, const Array& source) {
  copy_array(target, source, is_past_caches(target));
}

// `x` as a contiguous array in memory of its own.
static inline Array contiguous_at(void* data, const Array& x) {
  Array dense = x;
  dense.data = data;
  int64_t stride = 1;
  for (int d = x.ndim - 1; d >= 0; --d) {
    dense.strides[d] = stride;
    stride *= x.shape[d];
  }
  return dense;
}

// `source`, or a copy of it where it may overlap `target`: what an assignment such as `a[1:] = a[:-1]` must read before
// it writes.
struct Extent {
  const char *low, *high;
  explicit Extent(const Array& x) : low(x.as<const char>()), high(low) {
    for (int d = 0; d < x.ndim; ++d)
      (x.strides[d] < 0 ? low : high) += (x.shape[d] - 1) * x.strides[d] * item_size(x.dtype);
    high += item_size(x.dtype);
  }
  bool meets(const Extent& other) const { return low < other.high && other.low < high; }
};

class Apart {
 public:
  Apart(const Array& source, const Array& target)
      : array(source),
        copied_(Extent(source).meets(Extent(target))),
        copy_(copied_ ? source.size() * item_size(source.dtype) : 0) {
    if (!copied_) return;
    array = contiguous_at(copy_.get(), source);
    copy_array(array, source);
  }
  Array array;

 private:
  bool copied_;
  Scratch<char> copy_;
};

#endif  // DLCORE_COMMON_STRIDED_COPY
