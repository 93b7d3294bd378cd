// The loop of every elementwise kernel: out[i] = f(a[i], b[i], ...) over operands that broadcast to the output's shape.
//
//   pointwise<Add, float, float, float>(a.out(), a.in(0), a.in(1));   // functor, stored types of result and arguments
//
// F is a functor without state, branch-free if it is to become vector code; it states in `kGrain` how many elements are
// worth about 10 us, so that larger outputs are shared between threads. It sees compute types: operands stored as
// 16-bit floats are widened before and rounded once after, in registers. Axes that can be walked as one are merged.
// Dense operands are handed to F's loop as they are; others in blocks that fit the first-level cache, into which
// strided operands are gathered and repeated ones filled in once a row. So there is one compiled loop per F and types,
// and a result's bits never depend on the layout. Input and output may be the same array.
//
// Included by kernel bodies (no include guard: see each_isa.h).

constexpr int kMaxOperands = 4;  // the output, number 0, and up to three inputs
constexpr int64_t kBlock = 512;
constexpr int64_t kShort = 32;   // an innermost axis shorter than this is walked together with the next

using DenseLoop = void (*)(int64_t n, void* out, const void* const* in);

// ---- blocks -------------------------------------------------------------------------------------------------------

// How the elements of a row are laid out: element i at (i / inner) * outer + (i % inner) * stride. A row is one axis
// (inner is its length), or two if the innermost is short: loops over three channels would cost more than their work.
struct Layout {
  int64_t inner, stride, outer;

  bool dense() const { return stride == 1 && outer == inner; }
  int64_t at(int64_t i) const { return i < inner ? i * stride : i / inner * outer + i % inner * stride; }
};

template <class T> static void move_elements(const T* in, const Layout& from, T* out, const Layout& to, int64_t n) {
  for (; n > 0; n -= from.inner, in += from.outer, out += to.outer) {
    const int64_t m = n < from.inner ? n : from.inner;
    if (from.stride == 0 && to.stride == 1) {
      const T value = *in;
#pragma omp simd
      for (int64_t i = 0; i < m; ++i) out[i] = value;
    } else {
      for (int64_t i = 0; i < m; ++i) out[i * to.stride] = in[i * from.stride];
    }
  }
}
static void move_row(int64_t size, const void* in, const Layout& from, void* out, const Layout& to, int64_t n) {
  switch (size) {
    case 1: return move_elements((const uint8_t*)in, from, (uint8_t*)out, to, n);
    case 2: return move_elements((const uint16_t*)in, from, (uint16_t*)out, to, n);
    case 4: return move_elements((const uint32_t*)in, from, (uint32_t*)out, to, n);
    default: return move_elements((const uint64_t*)in, from, (uint64_t*)out, to, n);
  }
}

// One operand along a row: its elements block by block as dense arrays. Blocks start at multiples of the layout's inner
// length, or hold part of one axis.
struct Operand {
  char* data;
  int64_t size;   // bytes of an element
  Layout layout;
  bool repeats;   // every block has the same elements
  char* row;
  alignas(64) char buffer[kBlock * 8];

  Layout dense_layout() const { return {layout.inner, 1, layout.inner}; }

  void begin_row(int64_t offset, int64_t n) {
    row = data + offset * size;
    if (repeats) gather(row, n < kBlock ? n : kBlock);
  }
  const void* read(int64_t start, int64_t n) {
    if (repeats) return buffer;
    char* p = row + layout.at(start) * size;
    return layout.dense() ? p : gather(p, n);
  }
  void* written(int64_t start) { return layout.dense() ? row + start * size : buffer; }
  void write_back(int64_t start, int64_t n) {
    if (!layout.dense()) move_row(size, buffer, dense_layout(), row + layout.at(start) * size, layout, n);
  }

 private:
  const void* gather(const char* p, int64_t n) {
    move_row(size, p, layout, buffer, dense_layout(), n);
    return buffer;
  }
};

// ---- the walk -----------------------------------------------------------------------------------------------------

// The output's axes, innermost first, merged where every operand allows it.
struct Walk {
  int count, ndim = 0;
  int64_t shape[kMaxDims + 1];
  int64_t strides[kMaxOperands][kMaxDims + 1];

  Walk(const Array* const* operands, int n) : count(n) {
    const Array& out = *operands[0];
    for (int d = out.ndim - 1; d >= 0; --d) {
      if (out.shape[d] == 1) continue;
      int64_t step[kMaxOperands];
      bool merges = ndim > 0;
      for (int k = 0; k < count; ++k) {
        const Array& a = *operands[k];
        const int axis = d - (out.ndim - a.ndim);
        step[k] = axis < 0 || a.shape[axis] == 1 ? 0 : a.strides[axis];
        merges = merges && step[k] == strides[k][ndim - 1] * shape[ndim - 1];
      }
      if (merges) {
        shape[ndim - 1] *= out.shape[d];
        continue;
      }
      shape[ndim] = out.shape[d];
      for (int k = 0; k < count; ++k) strides[k][ndim] = step[k];
      ++ndim;
    }
    for (; ndim == 0 || (ndim == 1 && shape[0] < kShort); ++ndim) {  // rows have one axis at least
      shape[ndim] = 1;
      for (int k = 0; k < count; ++k) strides[k][ndim] = ndim == 0 ? 1 : shape[0] * strides[k][0];
    }
  }

  bool short_axis() const { return shape[0] < kShort; }
  int64_t unit() const { return short_axis() ? shape[0] : 1; }  // what a chunk's length is a multiple of
  int64_t block() const { return kBlock / unit() * unit(); }
  int64_t row_length() const { return short_axis() ? shape[0] * shape[1] : shape[0]; }
  Layout layout(int k) const {
    if (short_axis()) return {shape[0], strides[k][0], strides[k][1]};
    return {shape[0], strides[k][0], shape[0] * strides[k][0]};
  }
  bool repeats(int k) const { return short_axis() ? strides[k][1] == 0 : strides[k][0] == 0; }

  // f(n, offsets) for every stretch of a row within elements [begin, end), which are multiples of unit().
  template <class F> void rows(int64_t begin, int64_t end, F&& f) const {
    const int first = short_axis();  // the axis that is cut into stretches
    int64_t index[kMaxDims + 1] = {}, offset[kMaxOperands] = {}, rest = begin / unit();
    for (int d = first; rest > 0; ++d) {
      index[d] = rest % shape[d];
      rest /= shape[d];
      for (int k = 0; k < count; ++k) offset[k] += index[d] * strides[k][d];
    }
    while (begin < end) {
      const int64_t left = shape[first] - index[first], wanted = (end - begin) / unit();
      const int64_t n = left < wanted ? left : wanted;
      f(n * unit(), offset);
      begin += n * unit();
      index[first] += n;
      for (int k = 0; k < count; ++k) offset[k] += n * strides[k][first];
      for (int d = first; d + 1 < ndim && index[d] == shape[d]; ++d) {
        index[d] = 0;
        ++index[d + 1];
        for (int k = 0; k < count; ++k) offset[k] += strides[k][d + 1] - shape[d] * strides[k][d];
      }
    }
  }
};

// Elements [begin, end) of the output.
static void walk_chunk(DenseLoop loop, const Array* const* arrays, const Walk& walk, int64_t begin, int64_t end) {
  Operand operands[kMaxOperands];
  bool direct = true;
  for (int k = 0; k < walk.count; ++k) {
    Operand& o = operands[k];
    o.data = arrays[k]->as<char>();
    o.size = item_size(arrays[k]->dtype);
    o.layout = walk.layout(k);
    o.repeats = k > 0 && walk.repeats(k);
    direct = direct && o.layout.dense() && !o.repeats;
  }
  walk.rows(begin, end, [&](int64_t n, const int64_t* offset) {
    for (int k = 1; k < walk.count; ++k) operands[k].begin_row(offset[k], n);
    operands[0].row = operands[0].data + offset[0] * operands[0].size;
    const int64_t length = direct ? n : walk.block();
    for (int64_t start = 0; start < n; start += length) {
      const int64_t m = n - start < length ? n - start : length;
      const void* in[kMaxOperands - 1];
      for (int k = 1; k < walk.count; ++k) in[k - 1] = operands[k].read(start, m);
      loop(m, operands[0].written(start), in);
      operands[0].write_back(start, m);
    }
  });
}

// Whether `a` is dense and of the output's shape, so that both can be walked by one index.
static inline bool same_layout(const Array& a, const Array& out) {
  if (a.ndim != out.ndim) return false;
  for (int d = 0; d < out.ndim; ++d)
    if (a.shape[d] != out.shape[d]) return false;
  return a.contiguous();
}

static void run_pointwise(DenseLoop loop, int64_t grain, const Array* const* arrays, int count) {
  const Array& out = *arrays[0];
  const int64_t total = out.size();
  if (total == 0) return;
  bool dense = out.contiguous();
  for (int k = 0; k < count && dense; ++k) dense = same_layout(*arrays[k], out);
  if (!dense) {
    const Walk walk(arrays, count);
    return parallel_ranges(total, (grain + walk.unit() - 1) / walk.unit() * walk.unit(),
                           [&](int64_t begin, int64_t end) { walk_chunk(loop, arrays, walk, begin, end); });
  }
  const auto run = [&](int64_t begin, int64_t end) {
    const void* in[kMaxOperands - 1];
    for (int k = 1; k < count; ++k) in[k - 1] = arrays[k]->as<char>() + begin * item_size(arrays[k]->dtype);
    loop(end - begin, out.as<char>() + begin * item_size(out.dtype), in);
  };
  if (total <= grain) run(0, total);
  else parallel_ranges(total, grain, run);
}

// ---- entry --------------------------------------------------------------------------------------------------------

// 16-bit floats are converted by load_block and store_block where those have more to offer than the compiler, a group
// of elements at a time: unrolled, it stays in registers. So is F evaluated where it has a member `vector`.
template <class O> constexpr int64_t kGroup = kLanes<float> * (sizeof(O) == 1 ? 4 : 2);  // whole vectors of results
template <class T> constexpr bool kByHand =
    (DLCORE_ISA >= 3 && std::is_same_v<T, half_t>) || (DLCORE_ISA == 4 && std::is_same_v<T, bfloat16_t>);
template <class F> constexpr bool kHasVector = requires(vec<float> x) { F::vector(x); };
template <class F, class O, class... I>
constexpr bool kInGroups = kByHand<O> || (kByHand<I> || ...) || (kHasVector<F> && std::is_same_v<O, float>);

template <class T, int64_t N> struct Group {
  alignas(64) compute_t<T> x[N];
};
template <int64_t N, class T> static inline __attribute__((always_inline)) Group<T, N> load_group(const T* p) {
  Group<T, N> g;
  load_block(g.x, p, N);
  return g;
}
// F states `kExact` if its result is one of its operands, 0 or 1, but for the sign: then nothing needs rounding.
template <class F, class O> static inline __attribute__((always_inline)) void put(O* p, compute_t<O> x) {
  if constexpr (std::is_same_v<O, bfloat16_t> && requires { F::kExact; })
    *p = {static_cast<uint16_t>(__builtin_bit_cast(uint32_t, x) >> 16)};
  else
    store(p, x);
}
template <class F, class O>
static inline __attribute__((always_inline)) void put_group(O* out, const compute_t<O>* x) {
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<O, bfloat16_t> && requires { F::kExact; })
    return _mm512_storeu_si512(out, upper_halves(_mm512_castps_si512(_mm512_load_ps(x)),
                                                 _mm512_castps_si512(_mm512_load_ps(x + 16))));
#endif
  store_block(out, x, kGroup<O>);
}
template <class F, class O, class... G>
static inline __attribute__((always_inline)) void apply_group(O* out, const G&... in) {
  constexpr int64_t N = kGroup<O>;
  if constexpr (!kByHand<O> && !kHasVector<F>) {
#pragma omp simd
    for (int64_t j = 0; j < N; ++j) put<F>(out + j, F{}(in.x[j]...));
    return;
  }
  Group<O, N> result;
  if constexpr (kHasVector<F>) {
#pragma GCC unroll 2
    for (int64_t j = 0; j < N; j += kLanes<float>) vstore(result.x + j, F::vector(vload(in.x + j)...));
  } else {
#pragma omp simd
    for (int64_t j = 0; j < N; ++j) result.x[j] = F{}(in.x[j]...);
  }
  put_group<F>(out, result.x);
}
// The first n elements of a group, the rest zeros.
template <int64_t N, class T>
static inline __attribute__((always_inline)) Group<T, N> load_part(const T* p, int64_t n) {
  T part[N] = {};
  std::memcpy(part, p, n * sizeof(T));
  return load_group<N>(part);
}

template <class F, class O, class... I>
static inline __attribute__((always_inline)) void apply(int64_t n, O* out, const I*... in) {
  if constexpr (kInGroups<F, O, I...>) {
    constexpr int64_t N = kGroup<O>;
    int64_t i = 0;
    for (; i + N <= n; i += N) apply_group<F>(out + i, load_group<N>(in + i)...);
    if (i == n) return;
    O part[N];
    apply_group<F>(part, load_part<N>(in + i, n - i)...);
    std::memcpy(out + i, part, (n - i) * sizeof(O));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) put<F>(out + i, F{}(load(in + i)...));
  }
}
template <class F, class O, class A> static void dense_loop(int64_t n, void* out, const void* const* in) {
  apply<F>(n, static_cast<O*>(out), static_cast<const A*>(in[0]));
}
template <class F, class O, class A, class B> static void dense_loop(int64_t n, void* out, const void* const* in) {
  apply<F>(n, static_cast<O*>(out), static_cast<const A*>(in[0]), static_cast<const B*>(in[1]));
}
template <class F, class O, class A, class B, class C>
static void dense_loop(int64_t n, void* out, const void* const* in) {
  apply<F>(n, static_cast<O*>(out), static_cast<const A*>(in[0]), static_cast<const B*>(in[1]),
           static_cast<const C*>(in[2]));
}

template <class F, class O, class... I, class... Arrays> static void pointwise(const Array& out, const Arrays&... in) {
  const Array* const arrays[] = {&out, &in...};
  run_pointwise(dense_loop<F, O, I...>, F::kGrain, arrays, 1 + sizeof...(in));
}

// ---- dtypes -------------------------------------------------------------------------------------------------------

template <class T> struct Type { using type = T; };

// f(Type<T>{}) for the stored type of a dtype.
template <class F> static inline void with_float(DType t, F&& f) {
  switch (t) {
    case DType::float16: return f(Type<half_t>{});
    case DType::bfloat16: return f(Type<bfloat16_t>{});
    case DType::float32: return f(Type<float>{});
    default: return f(Type<double>{});
  }
}
template <class F> static inline void with_number(DType t, F&& f) {
  switch (t) {
    case DType::uint8: return f(Type<uint8_t>{});
    case DType::int8: return f(Type<int8_t>{});
    case DType::int16: return f(Type<int16_t>{});
    case DType::int32: return f(Type<int32_t>{});
    case DType::int64: return f(Type<int64_t>{});
    default: return with_float(t, f);
  }
}
template <class F> static inline void with_dtype(DType t, F&& f) {
  if (t == DType::bool_) f(Type<bool>{});
  else with_number(t, f);
}

// Integers overflow by wrapping: arithmetic is done on unsigned numbers, of at least 32 bits so that none is promoted
// to a signed int.
template <class T, bool = std::is_integral_v<T>> struct WrapOf { using type = T; };
template <class T> struct WrapOf<T, true> { using type = std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>; };
template <class T> using wrap_t = typename WrapOf<T>::type;
