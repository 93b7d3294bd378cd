// vecdot: sums of products along one axis of two operands that broadcast; cross: cross products of vectors of length 3;
// kron: Kronecker products.
//
// All are bound by memory: 2 reads of each element, one write for each result. The sums of a line are taken in blocks
// of vectors that end in double where its elements are adjacent, and line by line beside each other where the outputs'
// are; their order depends on shapes and strides alone.
#include "common/dtypes.inl"
#include "common/fold.inl"
#include "common/loop_nest.inl"

constexpr int64_t kWork = int64_t{1} << 15;    // elements worth a chunk of their own
constexpr int64_t kPiece = int64_t{1} << 17;   // of a line, summed by one thread
constexpr int64_t kColumns = 256;              // outputs whose sums are kept beside each other
constexpr int64_t kRun = 64;                   // terms in a sum of the operands' precision

template <class T> using sum_t = std::conditional_t<std::is_integral_v<T>, wrap_t<T>, double>;
template <class T> using term_t = std::conditional_t<std::is_integral_v<T>, wrap_t<T>, compute_t<T>>;

template <class T> static inline term_t<T> term(const T* a, const T* b) {
  if constexpr (std::is_integral_v<T>) return static_cast<wrap_t<T>>(*a) * static_cast<wrap_t<T>>(*b);
  else return load(a) * load(b);
}
template <class T> static inline void put(T* out, sum_t<T> sum) {
  if constexpr (std::is_integral_v<T>) *out = static_cast<T>(sum);
  else if constexpr (std::is_same_v<compute_t<T>, double>) *out = sum;
  else if constexpr (std::is_same_v<T, float>) *out = static_cast<float>(sum);
  else store(out, round_to_odd(sum));
}

// The sum of a block of products of adjacent elements: eight vectors, so that additions wait for nothing.
template <class T> static inline compute_t<T> block_sum(const T* a, const T* b, int64_t n) {
  using C = compute_t<T>;
  constexpr int L = kLanes<C>, kVectors = 8;
  vec<C> sum[kVectors] = {};
  int64_t i = 0;
  for (; i + kVectors * L <= n; i += kVectors * L)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[v] = vfma(widen(a + i + v * L), widen(b + i + v * L), sum[v]);
  for (; i + L <= n; i += L) sum[0] = vfma(widen(a + i), widen(b + i), sum[0]);
#pragma GCC unroll 3
  for (int w = kVectors / 2; w > 0; w /= 2)
#pragma GCC unroll 4
    for (int v = 0; v < w; ++v) sum[v] += sum[v + w];
  C lanes[L];
  vstore(lanes, sum[0]);
  for (; i < n; ++i) lanes[0] += load(a + i) * load(b + i);
  for (int w = L / 2; w > 0; w /= 2)
    for (int l = 0; l < w; ++l) lanes[l] += lanes[l + w];
  return lanes[0];
}

template <class T> static inline double adjacent_sum(const T* a, const T* b, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kFoldBlock) total += block_sum(a + i, b + i, std::min(kFoldBlock, n - i));
  return total;
}

template <class T> static inline sum_t<T> line_sum(const T* a, int64_t a_step, const T* b, int64_t b_step, int64_t n) {
  if constexpr (!std::is_integral_v<T>) {
    if (a_step == 1 && b_step == 1 && n >= 2 * kLanes<compute_t<T>>) return adjacent_sum(a, b, n);
  }
  sum_t<T> total = 0;
  for (int64_t i = 0; i < n; i += kRun) {
    const int64_t end = i + kRun < n ? i + kRun : n;
    term_t<T> run[4] = {};  // fewer roundings one after the other, and additions that do not wait for each other
    int64_t k = i;
    for (; k + 4 <= end; k += 4)
      for (int l = 0; l < 4; ++l) run[l] += term(a + (k + l) * a_step, b + (k + l) * b_step);
    for (; k < end; ++k) run[0] += term(a + k * a_step, b + k * b_step);
    total += static_cast<sum_t<T>>((run[0] + run[1]) + (run[2] + run[3]));
  }
  return total;
}

// The sums of `columns` <= kColumns outputs that are adjacent, as the operands' elements of each step are.
template <class T> static void columns_sum(const T* a, int64_t a_step, const T* b, int64_t b_step, int64_t n, T* out,
                                           int64_t columns) {
  sum_t<T> total[kColumns];
  term_t<T> run[kColumns];
  for (int64_t j = 0; j < columns; ++j) total[j] = 0;
  for (int64_t i = 0; i < n; i += kRun) {
    const int64_t end = i + kRun < n ? i + kRun : n;
    for (int64_t j = 0; j < columns; ++j) run[j] = 0;
    for (int64_t k = i; k < end; ++k) {
      const T *x = a + k * a_step, *y = b + k * b_step;
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) run[j] += term(x + j, y + j);
    }
    for (int64_t j = 0; j < columns; ++j) total[j] += run[j];
  }
  for (int64_t j = 0; j < columns; ++j) put(out + j, total[j]);
}

struct Axis {  // the one that is summed over, of either operand
  int64_t length, a_step, b_step;
};

// An operand without one of its axes, counted from the back.
static Array without(Array x, int64_t axis) {
  const int at = x.ndim + static_cast<int>(axis);
  for (int d = at; d + 1 < x.ndim; ++d) x.shape[d] = x.shape[d + 1], x.strides[d] = x.strides[d + 1];
  --x.ndim;
  return x;
}

template <class T> static void lines(const LoopNest<3>& nest, const Axis& k, T* out, const T* a, const T* b) {
  const int64_t count = nest.size(), pieces = k.length > kPiece ? (k.length + kPiece - 1) / kPiece : 1;
  if (pieces > 1) {  // long lines: pieces of them in parallel
    Scratch<sum_t<T>> sums(count * pieces);
    parallel_for(count * pieces, [&](int64_t chunk) {
      int64_t at[3];
      nest.locate(chunk / pieces, at);
      const int64_t begin = chunk % pieces * kPiece, n = std::min(kPiece, k.length - begin);
      sums[chunk] = line_sum(a + at[1] + begin * k.a_step, k.a_step, b + at[2] + begin * k.b_step, k.b_step, n);
    });
    for (int64_t e = 0; e < count; ++e) {
      sum_t<T> total = 0;
      for (int64_t p = 0; p < pieces; ++p) total += sums[e * pieces + p];
      int64_t at[3];
      nest.locate(e, at);
      put(out + at[0], total);
    }
    return;
  }
  parallel_ranges(count, std::max<int64_t>(1, kWork / std::max<int64_t>(1, k.length)), [&](int64_t begin, int64_t end) {
    LoopCursor<3> cursor(nest, nest.count, begin);
    for (int64_t e = begin; e < end; ++e, cursor.next()) {
      const int64_t* at = cursor.offsets;
      put(out + at[0], line_sum(a + at[1], k.a_step, b + at[2], k.b_step, k.length));
    }
  });
}

// Whether neighbours on the last axis of the loop are adjacent in all three arrays, and worth going along.
static bool side_by_side(const LoopNest<3>& nest, const Axis& k) {
  if (nest.count == 0 || (k.a_step == 1 && k.b_step == 1)) return false;
  const LoopAxis<3>& last = nest.innermost();
  return last.length >= 8 && last.strides[0] == 1 && last.strides[1] == 1 && last.strides[2] == 1;
}

template <class T> static void columns(LoopNest<3> nest, const Axis& k, T* out, const T* a, const T* b) {
  const LoopAxis<3> last = nest.pop();
  const int64_t blocks = (last.length + kColumns - 1) / kColumns;
  parallel_for(nest.size() * blocks, [&](int64_t chunk) {
    int64_t at[3];
    nest.locate(chunk / blocks, at);
    const int64_t j = chunk % blocks * kColumns;
    columns_sum(a + at[1] + j, k.a_step, b + at[2] + j, k.b_step, k.length, out + at[0] + j,
                std::min(kColumns, last.length - j));
  });
}

// a, b -> out without the axis. Parameter: the axis, negative.
static void vecdot(const Args& args) {
  const Array &a = args.in(0), &b = args.in(1), &out = args.out();
  const int64_t axis = args.integer(0);
  const Axis k = {a.shape[a.ndim + axis], a.strides[a.ndim + axis], b.strides[b.ndim + axis]};
  if (out.size() == 0) return;
  const Array of_a = without(a, axis), of_b = without(b, axis);
  const Array* arrays[3] = {&out, &of_a, &of_b};
  LoopNest<3> nest = loop_over<3>(arrays);
  nest.merge();
  with_dtype(a.dtype, [&]<class T>() {
    if (side_by_side(nest, k)) columns(nest, k, out.as<T>(), a.as<T>(), b.as<T>());
    else lines(nest, k, out.as<T>(), a.as<T>(), b.as<T>());
  });
}

template <class T> static inline void scaled_row(const T* x, const T* y, T* z, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_integral_v<T>) z[i] = static_cast<T>(term(x, y + i));
    else store(z + i, load(x) * load(y + i));
  }
}

template <class T> static inline T difference(const T* a, const T* b, const T* c, const T* d) {  // a b - c d
  T result;
  if constexpr (std::is_integral_v<T>) return static_cast<T>(term(a, b) - term(c, d));
  else store(&result, term(a, b) - term(c, d));
  return result;
}

// Distances between vectors and between the three elements of one, of the result and both operands: where they are
// constants, as in rows of three and in planes, loads of whole vectors and shuffles take the place of gathers, 82 us
// for 477 (349,525 rows of float32 on AMD EPYC 25/17, where x + y of as many elements takes 76).
struct Steps {
  int64_t vector[3], element[3];
};

template <class T>
DLCORE_MAP static inline void cross_products(T* z, const T* x, const T* y, int64_t n, const Steps& by) {
  const int64_t o = by.element[0], s = by.element[1], t = by.element[2];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T *u = x + i * by.vector[1], *v = y + i * by.vector[2];
    T* w = z + i * by.vector[0];
    const T first = difference(u + s, v + 2 * t, u + 2 * s, v + t);
    const T second = difference(u + 2 * s, v, u, v + 2 * t);
    w[2 * o] = difference(u, v + t, u + s, v);
    w[0] = first;
    w[o] = second;
  }
}

// a, b -> out, all with the axis of length 3. Parameter: the axis, negative.
static void cross(const Args& args) {
  const Array &a = args.in(0), &b = args.in(1), &out = args.out();
  const int64_t axis = args.integer(0);
  if (out.size() == 0) return;
  const Array of_out = without(out, axis), of_a = without(a, axis), of_b = without(b, axis);
  const Array* arrays[3] = {&of_out, &of_a, &of_b};
  LoopNest<3> nest = loop_over<3>(arrays);
  nest.merge();
  const LoopAxis<3> last = nest.count ? nest.pop() : LoopAxis<3>{1, {}};
  const Steps by = {{last.strides[0], last.strides[1], last.strides[2]},
                    {out.strides[out.ndim + axis], a.strides[a.ndim + axis], b.strides[b.ndim + axis]}};
  const auto all = [](const int64_t (&steps)[3], int64_t step) {
    return steps[0] == step && steps[1] == step && steps[2] == step;
  };
  const bool rows = all(by.vector, 3) && all(by.element, 1), planes = all(by.vector, 1);
  with_dtype(a.dtype, [&]<class T>() {
    const int64_t blocks = (last.length + kWork - 1) / kWork;
    parallel_for(nest.size() * blocks, [&](int64_t chunk) {
      int64_t at[3];
      nest.locate(chunk / blocks, at);
      const int64_t begin = chunk % blocks * kWork, n = std::min(kWork, last.length - begin);
      T* z = out.as<T>() + at[0] + begin * by.vector[0];
      const T *x = a.as<T>() + at[1] + begin * by.vector[1], *y = b.as<T>() + at[2] + begin * by.vector[2];
      if (rows) cross_products(z, x, y, n, {{3, 3, 3}, {1, 1, 1}});
      else if (planes) cross_products(z, x, y, n, {{1, 1, 1}, {by.element[0], by.element[1], by.element[2]}});
      else cross_products(z, x, y, n, by);
    });
  });
}

// a, b, contiguous -> out, of which each element of a is a block like b; all with the axes of out, or fewer.
static void kron(const Args& args) {
  const Array &a = args.in(0), &b = args.in(1), &out = args.out();
  const int n = out.ndim;
  if (out.size() == 0) return;
  int64_t of_b[kMaxDims], columns = 1, width = 1;  // lengths of b, and of the last axes
  for (int d = 0; d < n; ++d) of_b[d] = d < n - b.ndim ? 1 : b.shape[d - (n - b.ndim)];
  if (n > 0) width = of_b[n - 1], columns = out.shape[n - 1] / width;
  with_dtype(out.dtype, [&]<class T>() {
    const int64_t row_size = columns * width, rows = out.size() / row_size;
    parallel_ranges(rows, std::max<int64_t>(1, kWork / row_size), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t rest = r, at_a = 0, at_b = 0, step_a = columns, step_b = width;
        for (int d = n - 2; d >= 0; --d) {
          const int64_t i = rest % out.shape[d], length = out.shape[d] / of_b[d];
          rest /= out.shape[d];
          at_a += i / of_b[d] * step_a, at_b += i % of_b[d] * step_b;
          step_a *= length, step_b *= of_b[d];
        }
        const T *x = a.as<T>() + at_a, *y = b.as<T>() + at_b;
        T* z = out.as<T>() + r * row_size;
        for (int64_t j = 0; j < columns; ++j, z += width) scaled_row(x + j, y, z, width);
      }
    });
  });
}

static const Kernel kernels[] = {
    {"products:vecdot", vecdot, 0},
    {"products:cross", cross, 0},
    {"products:kron", kron, 1u << 0 | 1u << 1},
};
