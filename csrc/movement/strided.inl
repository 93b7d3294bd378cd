// Walks through an array by strides, added up: the adjoint of windows and diagonals. Triangles of matrices. And arrays
// made of pieces of another along each axis: rolled, padded.
// Bound by memory: each element is read and written once, beside the zeros that sums begin with.
#include "common/strided_copy.inl"
#include "movement/zeros.inl"

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
  clear(out.data, out.size() * item_size(out.dtype));
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
      clear(sums.get(), out.size() * sizeof(A));
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
  const bool streaming = is_past_caches(out) && bytes >= kCopyGrain / 32;
  parallel_ranges(rows, bytes < kCopyGrain ? kCopyGrain / bytes : 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = r % height, limit = k < -height ? 0 : k > columns ? columns : row + k + !upper;
      const int64_t split = (limit < 0 ? 0 : limit > columns ? columns : limit) * item;
      char* to = out.as<char>() + r * bytes;
      const char* from = x.as<const char>() + r * bytes;
      const int64_t first = upper ? split : 0, last = upper ? bytes : split;  // what stays
      write_zeros(to, first, streaming);
      if (streaming) copy_bytes<true>(to + first, from + first, last - first);
      else copy_bytes(to + first, from + first, last - first);
      write_zeros(to + last, bytes - last, streaming);
    }
    if (streaming) _mm_sfence();
  });
}

// ---- pieces -------------------------------------------------------------------------------------------------------
// Along each axis the output is made of pieces of x, which params give: for each axis their number, and of each its
// first place, its length and its step (-1: backwards, 0: one place again and again). f(to, from) for every box of the
// output's places [begin, end) along `axis`.
template <class F>
static void each_box(const Args& a, Array to, Array from, int axis, int p, int64_t begin, int64_t end, F&& f) {
  if (axis == to.ndim) return f(to, from);
  const int64_t item = item_size(to.dtype), count = a.integer(p), along = from.strides[axis];
  const int next = p + 1 + 3 * static_cast<int>(count);
  const int64_t behind = axis + 1 < to.ndim ? to.shape[axis + 1] : 1;
  char *const target = to.as<char>(), *const source = from.as<char>();
  for (int64_t k = 0, at = 0; k < count; ++k) {
    const int q = p + 1 + 3 * static_cast<int>(k);
    const int64_t start = a.integer(q), length = a.integer(q + 1), step = a.integer(q + 2);
    const int64_t first = begin > at ? begin - at : 0, last = end - at < length ? end - at : length;
    if (first < last) {
      to.data = target + (at + first) * to.strides[axis] * item;
      from.data = source + (start + first * step) * along * item;
      to.shape[axis] = from.shape[axis] = last - first;
      from.strides[axis] = along * step;
      each_box(a, to, from, axis + 1, next, 0, behind, f);
    }
    at += length;
  }
}

// f(to, from) for every box, with a block of rows of the output after the other, so that short boxes find it in cache.
template <class F> static void each_box_by_rows(const Args& a, const Array& to, const Array& from, F&& f) {
  const int64_t rows = to.ndim ? to.shape[0] : 1, row = to.size() / rows * item_size(to.dtype);
  parallel_ranges(rows, row < kCopyGrain ? kCopyGrain / row : rows, [&](int64_t begin, int64_t end) {
    each_box(a, to, from, 0, 0, begin, end, f);
  });
}

static void rearrange(const Args& a) {
  if (a.out().size() == 0) return;
  const bool past_caches = is_past_caches(a.out());
  each_box_by_rows(a, a.out(), a.in(0), [&](const Array& to, const Array& from) { copy_array(to, from, past_caches); });
}

// Whether the pieces along every axis take each place of x once.
static bool takes_all_once(const Args& a, const Array& x) {
  for (int d = 0, p = 0; d < x.ndim; ++d, p += 1 + 3 * static_cast<int>(a.integer(p))) {
    int64_t taken = 0;
    for (int64_t k = 0; k < a.integer(p); ++k) {
      const int q = p + 1 + 3 * static_cast<int>(k);
      const auto low = [&](int at) { return a.integer(at) - (a.integer(at + 2) < 0 ? a.integer(at + 1) - 1 : 0); };
      const int64_t first = low(q), length = a.integer(q + 1);
      if (a.integer(q + 2) == 0 && length > 1) return false;
      for (int r = p + 1; r < q; r += 3)
        if (length > 0 && first < low(r) + a.integer(r + 1) && low(r) < first + length) return false;
      taken += length;
    }
    if (taken != x.shape[d]) return false;
  }
  return true;
}

// dx = 0, and each element of dout is added where rearrange took it
static void rearrange_backward(const Args& a) {
  const Array &dout = a.in(0), &dx = a.out();
  if (dout.size() > 0 && takes_all_once(a, dx))
    return each_box_by_rows(a, dout, dx, [](const Array& from, const Array& to) { copy_array(to, from); });
  if (dout.size() == 0) return clear(dx.data, dx.size() * item_size(dx.dtype));
  with_float(dx.dtype, [&]<class T>() {
    using A = compute_t<T>;
    const Scratch<A> wide(std::is_same_v<T, A> ? 0 : dx.size());
    A* sums;
    if constexpr (std::is_same_v<T, A>) sums = dx.as<T>();
    else sums = wide.get();
    clear(sums, dx.size() * sizeof(A));
    each_box(a, dout, dx, 0, 0, 0, dout.ndim ? dout.shape[0] : 1, [&](const Array& from, const Array& to) {
      add_walk(sums + (to.as<const T>() - dx.as<const T>()), from.as<const T>(), plan_walk(to, from));
    });
    if constexpr (!std::is_same_v<T, A>)
      for (int64_t i = 0; i < dx.size(); ++i) store(dx.as<T>() + i, sums[i]);
  });
}

// The output's places [begin, end) along `axis`, which lie at `to`: value, but for those of x, at `from`.
static void pad_axis(const Args& a, Array to, Array from, int axis, int64_t begin, int64_t end) {
  const int64_t item = item_size(to.dtype), before = a.integer(axis), behind = before + from.shape[axis];
  const int64_t step = to.strides[axis] * item, along = from.strides[axis] * item;
  char *const target = to.as<char>(), *const source = from.as<char>();
  const bool past_caches = is_past_caches(a.out());
  const auto part = [&](int64_t first, int64_t last) {
    to.data = target + first * step;
    to.shape[axis] = last > first ? last - first : 0;
  };
  part(begin, std::min(end, before));
  copy_array(to, a.in(1), past_caches);
  part(std::max(begin, behind), end);
  copy_array(to, a.in(1), past_caches);
  part(std::max(begin, before), std::min(end, behind));
  if (to.shape[axis] == 0) return;
  from.data = source + (std::max(begin, before) - before) * along;
  from.shape[axis] = to.shape[axis];
  if (axis + 1 == to.ndim) copy_array(to, from, past_caches);
  else pad_axis(a, to, from, axis + 1, 0, to.shape[axis + 1]);
}

// out = value, but for x in the middle: params are the lengths before it. A block of rows after the other, so that what
// stands around x is laid while they are in cache.
static void pad_constant(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  if (out.ndim == 0) return copy_array(out, x);
  if (out.size() == 0) return;
  const int64_t rows = out.shape[0], row = out.size() / rows * item_size(out.dtype);
  parallel_ranges(rows, row < kCopyGrain ? kCopyGrain / row : 1, [&](int64_t begin, int64_t end) {
    pad_axis(a, out, x, 0, begin, end);
  });
}

static const Kernel kernels[] = {
    {"movement:rearrange", rearrange, 0},
    {"movement:rearrange_backward", rearrange_backward, 0},
    {"movement:pad_constant", pad_constant, 0},
    {"movement:strided_add", strided_add, 0},
    {"movement:strided_assign", strided_assign, 0},
    {"movement:tril", triangle<false>, 0b1},
    {"movement:triu", triangle<true>, 0b1},
};
