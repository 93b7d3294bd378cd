// Walks through an array by strides, added up: the adjoint of windows and diagonals. And triangles of matrices.
// Bound by memory: zeros are written, then each element of the walk is read and added once.
#include "common/strided_copy.inl"

template <class T> static inline T add_wrapping(T a, T b) {
  return static_cast<T>(static_cast<wrap_t<T>>(a) + static_cast<wrap_t<T>>(b));
}

// One row of the walk, whose elements lie apart unless the stride is 0.
template <class A, class T> static void add_row(A* sums, int64_t to, const T* from, int64_t stride, int64_t n) {
  if (to == 0) {
    for (int64_t i = 0; i < n; ++i) sums[0] = add_wrapping(sums[0], load(from + i * stride));
  } else if (to == 1 && stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sums[i] = add_wrapping(sums[i], load(from + i));
  } else {
    for (int64_t i = 0; i < n; ++i) sums[i * to] = add_wrapping(sums[i * to], load(from + i * stride));
  }
}

// The walk with the longest strides outermost: what is added to one place is added in this order.
static CopyNest plan_walk(const Array& walk, const Array& x) {
  const Array* const arrays[] = {&walk, &x};
  CopyNest nest = loop_over<2>(arrays);
  nest.sort([](const CopyAxis& axis) { return axis.strides[kTo] < 0 ? -axis.strides[kTo] : axis.strides[kTo]; });
  if (nest.count == 0) nest.push({1, {0, 0}});
  for (int d = nest.count - 2; d >= 0; --d) {  // a short innermost axis makes short loops
    if (nest.innermost().length >= 8 || nest.axes[d].strides[kTo] == 0 || nest.axes[d].length < 8) continue;
    const CopyAxis longer = nest.remove(d);
    nest.push(longer);
    break;
  }
  return nest;
}

// Whether different places on the outermost axis are different places in memory, whatever the others are.
static bool outermost_is_apart(const CopyNest& nest) {
  int64_t reach = 0;
  for (int d = 1; d < nest.count; ++d) {
    const int64_t stride = nest.axes[d].strides[kTo];
    reach += (nest.axes[d].length - 1) * (stride < 0 ? -stride : stride);
  }
  const int64_t stride = nest.axes[0].strides[kTo];
  return nest.count > 1 && (stride < 0 ? -stride : stride) > reach;
}

template <class A, class T> static void add_walk(A* sums, const T* x, const CopyNest& nest) {
  const CopyAxis inner = nest.innermost();
  const int outer = nest.count - 1;
  const int64_t rows = nest.size(outer), first = outer > 0 ? nest.axes[0].length : 1, each = rows / first;
  const int64_t work = each * inner.length;
  const int64_t grain = !outermost_is_apart(nest) ? first : work < 32768 ? 32768 / work : 1;
  parallel_ranges(first, grain, [&](int64_t begin, int64_t end) {
    CopyCursor at(nest, outer, begin * each);
    for (int64_t row = begin * each; row < end * each; ++row, at.next())
      add_row(sums + at.offsets[kTo], inner.strides[kTo], x + at.offsets[kFrom], inner.strides[kFrom], inner.length);
  });
}

// out = 0, then the walk described by params (whether it meets no element twice, its first element, its strides) += x
static void strided_add(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  memset(out.data, 0, out.size() * item_size(out.dtype));
  if (x.size() == 0) return;
  Array walk = out;
  walk.data = out.as<char>() + a.integer(1) * item_size(out.dtype);
  walk.ndim = x.ndim;
  for (int d = 0; d < x.ndim; ++d) {
    walk.shape[d] = x.shape[d];
    walk.strides[d] = a.integer(2 + d);
  }
  if (a.integer(0)) return copy_array(walk, x);
  const CopyNest nest = plan_walk(walk, x);
  with_dtype(out.dtype, [&]<class T>() {
    using A = compute_t<T>;
    const T* from = x.as<const T>();
    if constexpr (std::is_same_v<T, A>) {
      add_walk(walk.as<T>(), from, nest);
      if (out.dtype == DType::bool_)
        for (int64_t i = 0; i < out.size(); ++i) out.as<T>()[i] = out.as<T>()[i] != T(0);
    } else {
      const Scratch<A> sums(out.size());
      memset(sums.get(), 0, out.size() * sizeof(A));
      add_walk(sums.get() + a.integer(1), from, nest);
      for (int64_t i = 0; i < out.size(); ++i) store(out.as<T>() + i, sums[i]);
    }
  });
}

// out = x, except for the walk described by params (its axes, lengths, strides and first element), which is value
static void strided_assign(const Args& a) {
  const Array& out = a.out();
  copy_array(out, a.in(0));
  Array walk = out;
  walk.ndim = static_cast<uint8_t>(a.integer(0));
  for (int d = 0; d < walk.ndim; ++d) {
    walk.shape[d] = a.integer(1 + d);
    walk.strides[d] = a.integer(1 + walk.ndim + d);
  }
  walk.data = out.as<char>() + a.integer(1 + 2 * walk.ndim) * item_size(out.dtype);
  copy_array(walk, a.in(1));
}

// Of each matrix of x the elements whose column less row is at most params[0] (upper: at least), and zeros.
template <bool upper> static void triangle(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  const int64_t columns = x.shape[x.ndim - 1], height = x.shape[x.ndim - 2], item = item_size(x.dtype);
  if (out.size() == 0) return;
  const int64_t rows = out.size() / columns, bytes = columns * item, k = a.integer(0);
  parallel_ranges(rows, bytes < kCopyGrain ? kCopyGrain / bytes : 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = r % height, limit = k < -height ? 0 : k > columns ? columns : row + k + !upper;
      const int64_t split = (limit < 0 ? 0 : limit > columns ? columns : limit) * item;
      char* to = out.as<char>() + r * bytes;
      const char* from = x.as<const char>() + r * bytes;
      if (upper) {
        memset(to, 0, split);
        memcpy(to + split, from + split, bytes - split);
      } else {
        memcpy(to, from, split);
        memset(to + split, 0, bytes - split);
      }
    }
  });
}

static const Kernel kernels[] = {
    {"movement:strided_add", strided_add, 0},
    {"movement:strided_assign", strided_assign, 0},
    {"movement:tril", triangle<false>, 0b1},
    {"movement:triu", triangle<true>, 0b1},
};
