// Whole arrays moved: copies, concatenation, assignment to a slice and its adjoint.
// Bound by memory; see common/strided_copy.inl for how a copy is walked.
//
// Of the rate of a copy (94 GB/s on one thread of a Zen 4, in the third-level cache) a transposition of 1024 x 1024
// float32 reaches a third, 31 GB/s, for its lines lie apart: the same tiles moved without being transposed run at 34,
// those of 1023 x 1025 at 22 (transposed 21), those of 128 x 128 at 110 (65). Tried without gain: prefetches of the
// next tiles (26), strips of 64 to 1024 bytes (25 to 33), tiles by way of a buffer (28 to 35), stores past the caches
// (3 to 13).
#include "common/strided_copy.inl"
#include "movement/zeros.inl"

// out = x
static void copy(const Args& a) { copy_array(a.out(), a.in(0)); }

// out = in(1), broadcast; in(0) gives shape and dtype
static void assign(const Args& a) { copy_array(a.out(), a.in(1)); }

// ---- concat -------------------------------------------------------------------------------------------------------
// to[i * N + k] = from[k][i]
template <int N, class T> static void interleave(T* to, const Args& a, int64_t n) {
  const T* from[N];
  for (int k = 0; k < N; ++k) from[k] = a.in(k).as<const T>();
  parallel_ranges(n, kCopyGrain / (N * static_cast<int64_t>(sizeof(T))), [&](int64_t begin, int64_t end) {
    T* __restrict row = to;
    const T* __restrict part[N];
    for (int k = 0; k < N; ++k) part[k] = from[k];
    for (int64_t i = begin; i < end; ++i)
      for (int k = 0; k < N; ++k) row[i * N + k] = part[k][i];
  });
}

static bool is_dense(const Array& x) {
  int64_t stride = 1;
  for (int d = x.ndim - 1; d >= 0; --d) {
    if (x.shape[d] != 1 && x.strides[d] != stride) return false;
    stride *= x.shape[d];
  }
  return true;
}

// Whether the inputs were two to four dense ones of so few elements behind the axis that these make one word: they are
// laid beside each other by vectors.
static bool interleaved(const Args& a, int64_t axis) {
  const Array& out = a.out();
  int64_t bytes = item_size(out.dtype) * a.in(0).shape[axis];
  for (int d = static_cast<int>(axis) + 1; d < out.ndim; ++d) bytes *= out.shape[d];
  if (bytes > 8 || a.n_inputs < 2 || a.n_inputs > 4) return false;
  for (int k = 0; k < a.n_inputs; ++k)
    if (a.in(k).shape[axis] != a.in(0).shape[axis] || !is_dense(a.in(k))) return false;
  const int64_t n = a.in(0).size() * item_size(out.dtype) / bytes;
  const auto lay = [&]<class T>() {
    switch (a.n_inputs) {
      case 2: return interleave<2>(out.as<T>(), a, n);
      case 3: return interleave<3>(out.as<T>(), a, n);
      default: interleave<4>(out.as<T>(), a, n);
    }
  };
  switch (bytes) {
    case 1: lay.template operator()<uint8_t>(); return true;
    case 2: lay.template operator()<uint16_t>(); return true;
    case 4: lay.template operator()<uint32_t>(); return true;
    case 8: lay.template operator()<uint64_t>(); return true;
    default: return false;
  }
}

// The places [begin, end) along an axis.
static Array part_of(const Array& x, int64_t axis, int64_t begin, int64_t end) {
  Array part = x;
  part.shape[axis] = end - begin;
  part.data = x.as<char>() + begin * x.strides[axis] * item_size(x.dtype);
  return part;
}

// Dense inputs row by row, so that the result is written from its beginning to its end: two of 1024 x 512 floats take a
// Zen 4 90 us in cache and 290 in memory, one block of rows after the other 105 and 360. False if one is not dense, or
// of short rows, which are copied as columns.
constexpr int64_t kLongRow = 256;  // bytes
static bool joined_by_rows(const Args& a, int64_t axis) {
  const Array& out = a.out();
  int64_t rows = 1;
  for (int d = 0; d < axis; ++d) rows *= out.shape[d];
  const int64_t item = item_size(out.dtype), row = out.size() / rows * item;
  const Scratch<int64_t> widths(a.n_inputs);  // bytes of a row
  for (int k = 0; k < a.n_inputs; ++k) {
    widths[k] = a.in(k).size() / rows * item;
    if (widths[k] < kLongRow || !a.in(k).contiguous()) return false;
  }
  parallel_ranges(rows, std::max<int64_t>(kCopyGrain / row, 1), [&](int64_t begin, int64_t end) {
    char* to = out.as<char>() + begin * row;
    for (int64_t r = begin; r < end; ++r)
      for (int k = 0; k < a.n_inputs; to += widths[k++])
        copy_bytes(to, a.in(k).as<const char>() + r * widths[k], widths[k]);
  });
  return true;
}

// out = the inputs one after another along axis params[0]
static void concat(const Args& a) {
  const int64_t axis = a.integer(0);
  const bool past_caches = is_past_caches(a.out());
  const auto lay = [&](const Array& out, auto&& input) {
    int64_t at = 0;
    for (int k = 0; k < a.n_inputs; ++k) {
      const int64_t n = a.in(k).shape[axis];
      copy_array(part_of(out, axis, at, at + n), input(k), past_caches);
      at += n;
    }
  };
  const Array& out = a.out();
  int64_t outer = 0;  // the first axis that is not of length 1
  while (outer < axis && out.shape[outer] == 1) ++outer;
  const int64_t rows = out.shape[outer], bytes = out.size() * item_size(out.dtype);
  if (outer == axis || bytes <= kCopyGrain || bytes / rows > kCopyGrain)
    return lay(out, [&](int k) -> const Array& { return a.in(k); });
  if (interleaved(a, axis) || (!past_caches && joined_by_rows(a, axis))) return;
  // A block of rows stays in cache while every input is laid into it.
  parallel_ranges(rows, kCopyGrain / (bytes / rows), [&](int64_t begin, int64_t end) {
    lay(part_of(out, outer, begin, end), [&](int k) { return part_of(a.in(k), outer, begin, end); });
  });
}

// The view of `whole` that params describe: the start on each of its axes, the view's number of axes, and for each of
// these the axis it runs along (-1: a new one), its step and its length.
static Array view_of(const Array& whole, const Args& a) {
  Array view = whole;
  int64_t offset = 0;
  int p = 0;
  for (int d = 0; d < whole.ndim; ++d) offset += a.integer(p++) * whole.strides[d];
  view.data = whole.as<char>() + offset * item_size(whole.dtype);
  view.ndim = static_cast<uint8_t>(a.integer(p++));
  for (int d = 0; d < view.ndim; ++d, p += 3) {
    view.strides[d] = a.integer(p) < 0 ? 0 : whole.strides[a.integer(p)] * a.integer(p + 1);
    view.shape[d] = a.integer(p + 2);
  }
  return view;
}

// out = x, except for the view described by params, which is value (broadcast)
static void slice_assign(const Args& a) {
  copy_array(a.out(), a.in(0));
  copy_array(view_of(a.out(), a), a.in(1));
}

// out = 0, except for the view described by params, which is dout
static void slice_backward(const Args& a) {
  clear(a.out().data, a.out().size() * item_size(a.out().dtype));
  copy_array(view_of(a.out(), a), a.in(0));
}

static const Kernel kernels[] = {
    {"movement:copy", copy, 0},
    {"movement:assign", assign, 0},
    {"movement:concat", concat, 0},
    {"movement:slice_assign", slice_assign, 0},
    {"movement:slice_backward", slice_backward, 0},
};
