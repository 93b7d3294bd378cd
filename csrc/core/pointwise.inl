// The loop of every elementwise kernel: out[i] = f(a[i], b[i], ...) over operands that broadcast to the output's shape.
//
//   pointwise<Add, float, float, float>(a.out(), a.in(0), a.in(1));   // functor, its result type, its argument types
//
// F is a functor without state, branch-free if it is to become vector code; it states in `kGrain` how many elements are
// worth about 10 us, so that larger outputs are shared between threads. Its types are compute types: operands stored as
// 16-bit floats are widened before and rounded once after. Axes that can be walked as one are merged. Dense operands
// are handed to F's loop as they are; others in blocks that fit the first-level cache, into which strided operands are
// gathered and repeated ones filled in once a row. So there is one compiled loop per F and types, and a result's bits
// never depend on the layout. Input and output may be the same array.
//
// Included by kernel bodies (no include guard: see each_isa.h).

constexpr int kMaxOperands = 4;  // the output, number 0, and up to three inputs
constexpr int64_t kBlock = 512;
constexpr int64_t kShort = 32;   // an innermost axis shorter than this is walked together with the next

using DenseLoop = void (*)(int64_t n, void* out, const void* const* in);

// ---- blocks -------------------------------------------------------------------------------------------------------

template <class T> static void widen(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
#if DLCORE_ISA >= 3  // the compiler does not vectorise the scalar conversion instructions
  if constexpr (std::is_same_v<T, half_t>)
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(in + i))));
#endif
#pragma omp simd
  for (int64_t k = i; k < n; ++k) out[k] = to_float(T{in[k]});
}
template <class T> static void narrow(const float* in, uint16_t* out, int64_t n) {
  int64_t i = 0;
#if DLCORE_ISA >= 3
  if constexpr (std::is_same_v<T, half_t>)
    for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i*)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), 0));
#endif
#pragma omp simd
  for (int64_t k = i; k < n; ++k) {
    T rounded;
    store(&rounded, in[k]);
    out[k] = rounded.bits;
  }
}

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

static inline bool is_half(DType t) { return t == DType::float16 || t == DType::bfloat16; }

// One operand along a row: its elements block by block as dense arrays of the compute type. Blocks start at multiples
// of the layout's inner length, or hold part of one axis.
struct Operand {
  char* data;
  int64_t size;   // bytes of an element
  DType dtype;    // float16 and bfloat16 if they are to be converted
  Layout layout;
  bool repeats;   // every block has the same elements
  char* row;
  alignas(64) char buffer[kBlock * 8];
  alignas(64) uint16_t packed[kBlock];

  bool converts() const { return is_half(dtype); }
  bool direct() const { return layout.dense() && !converts(); }
  Layout dense_layout() const { return {layout.inner, 1, layout.inner}; }

  void begin_row(int64_t offset, int64_t n) {
    row = data + offset * size;
    if (repeats) gather(row, n < kBlock ? n : kBlock);
  }
  const void* read(int64_t start, int64_t n) {
    if (repeats) return buffer;
    char* p = row + layout.at(start) * size;
    return direct() ? p : gather(p, n);
  }
  void* written(int64_t start) { return direct() ? row + start * size : buffer; }
  void write_back(int64_t start, int64_t n) {
    if (direct()) return;
    char* p = row + layout.at(start) * size;
    if (!converts()) return move_row(size, buffer, dense_layout(), p, layout, n);
    auto* bits = layout.dense() ? reinterpret_cast<uint16_t*>(p) : packed;
    (dtype == DType::float16 ? narrow<half_t> : narrow<bfloat16_t>)(reinterpret_cast<float*>(buffer), bits, n);
    if (!layout.dense()) move_row(size, packed, dense_layout(), p, layout, n);
  }

 private:
  const void* gather(const char* p, int64_t n) {
    if (!converts()) {
      move_row(size, p, layout, buffer, dense_layout(), n);
      return buffer;
    }
    auto* bits = reinterpret_cast<const uint16_t*>(p);
    if (!layout.dense()) {
      move_row(size, p, layout, packed, dense_layout(), n);
      bits = packed;
    }
    (dtype == DType::float16 ? widen<half_t> : widen<bfloat16_t>)(bits, reinterpret_cast<float*>(buffer), n);
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

// Elements [begin, end) of the output. `raw`: 16-bit floats are moved as they are.
static void walk_chunk(DenseLoop loop, const Array* const* arrays, const Walk& walk, bool raw, int64_t begin,
                       int64_t end) {
  Operand operands[kMaxOperands];
  bool direct = true;
  for (int k = 0; k < walk.count; ++k) {
    Operand& o = operands[k];
    o.data = arrays[k]->as<char>();
    o.size = item_size(arrays[k]->dtype);
    o.dtype = raw ? DType::float32 : arrays[k]->dtype;
    o.layout = walk.layout(k);
    o.repeats = k > 0 && walk.repeats(k);
    direct = direct && o.direct() && !o.repeats;
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

static void run_pointwise(DenseLoop loop, int64_t grain, bool raw, const Array* const* arrays, int count) {
  const Array& out = *arrays[0];
  const int64_t total = out.size();
  if (total == 0) return;
  bool dense = out.contiguous();
  for (int k = 0; k < count && dense; ++k)
    dense = same_layout(*arrays[k], out) && (raw || !is_half(arrays[k]->dtype));
  if (!dense) {
    const Walk walk(arrays, count);
    return parallel_ranges(total, (grain + walk.unit() - 1) / walk.unit() * walk.unit(),
                           [&](int64_t begin, int64_t end) { walk_chunk(loop, arrays, walk, raw, begin, end); });
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

template <class F, class O, class... I>
static inline __attribute__((always_inline)) void apply(int64_t n, O* out, const I*... in) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = F{}(in[i]...);
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
  run_pointwise(dense_loop<F, O, I...>, F::kGrain, false, arrays, 1 + sizeof...(in));
}
// The same for functors that only move elements: their types are unsigned integers of the elements' sizes.
template <class F, class O, class... I, class... Arrays>
static void pointwise_raw(const Array& out, const Arrays&... in) {
  const Array* const arrays[] = {&out, &in...};
  run_pointwise(dense_loop<F, O, I...>, F::kGrain, true, arrays, 1 + sizeof...(in));
}

// ---- dtypes -------------------------------------------------------------------------------------------------------

template <class T> struct Type { using type = T; };

// f(Type<T>{}) for the compute type of a dtype: float for the 16-bit floats.
template <class F> static inline void with_float(DType t, F&& f) {
  if (t == DType::float64) f(Type<double>{});
  else f(Type<float>{});
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
