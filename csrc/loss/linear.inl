// ---- linear_cross_entropy -------------------------------------------------------------------------------------------
// The cross-entropy of x @ weight.T + bias, whose logits are never there as a whole: a chunk of rows at a time has its
// logits computed, turned into their gradient where they lie, and multiplied into dx, dweight and dbias.
//
// Bound by the three products, 6 R K V operations. Memory: a chunk of logits, kLogitsBytes, whatever R is, in the place
// of R V logits and as many gradients. What it costs is that dweight is read and written once for each chunk; its
// parts are products of up to kWeightRows rows, which are in the cache when they are added. Chunks depend on shapes
// alone and are added in order.
//
// The products are the kernels of csrc/matmul. Inputs x (..., K), weight (V, K), target (...), bias (V) or none;
// outputs loss, and dx, dweight, dbias, each where it is asked for. Parameters: reduction (not "none"), ignore_index,
// label_smoothing.
constexpr int64_t kLogitsBytes = 28 << 20, kWeightRows = 2048;

// A view of rows and columns; the columns are adjacent.
template <class T> static Array rows_of(const T* data, int64_t rows, int64_t columns, int64_t stride) {
  Array x;
  x.data = const_cast<T*>(data);
  x.ndim = 2;
  x.shape[0] = rows, x.shape[1] = columns, x.strides[0] = stride, x.strides[1] = 1;
  return x;
}
static void run_matmul(const Array& a, const Array& b, const Array& out) {
  Array arrays[] = {a, b, out};
  run(*find_kernel("matmul:matmul"), Args{arrays, 2, 3, nullptr, 0});
}
static void run_linear(const Array& x, const Array& weight, const Array& bias, const Array& out) {
  Array arrays[] = {x, weight, bias, out, Array{}};
  Param no_activation[1] = {};
  run(*find_kernel("matmul:linear"), Args{arrays, 3, 5, no_activation, 1});
}

template <class T> struct LinearCrossEntropy {
  using C = compute_t<T>;
  static constexpr bool direct = std::is_same_v<T, C>;
  const Args& a;
  DType dtype;
  int64_t k, v, rows, chunk;
  Scratch<T> logits;
  Scratch<C> sums;        // of dweight, where T is narrower
  Scratch<double> biases;

  explicit LinearCrossEntropy(const Args& a)
      : a(a), dtype(a.in(0).dtype), k(a.in(1).shape[1]), v(a.in(1).shape[0]), rows(a.in(2).size()),
        chunk(chunk_of(rows, v)), logits(chunk * v), sums(!direct && a.out(2) ? v * k : 0),
        biases(a.out(3) ? v : 0) {}
  static int64_t chunk_of(int64_t rows, int64_t v) {
    const int64_t most = kLogitsBytes / static_cast<int64_t>(sizeof(T)) / (v + 1) / 16 * 16;
    return rows < most ? rows : most < 64 ? 64 : most;
  }
  Array view(const T* data, int64_t n, int64_t columns, int64_t stride) const {
    Array x = rows_of(data, n, columns, stride);
    x.dtype = dtype;
    return x;
  }

  // The losses of n rows of logits, and gradients in their place.
  void differentiate(const CrossEntropy<C>& lines, int64_t n, bool gradients) {
    parallel_ranges(n, line_grain(v), [&](int64_t begin, int64_t end) {
      const Scratch<C> from(v), to(direct ? 0 : v);  // a sum may look at an element twice
      for (int64_t r = begin; r < end; ++r) {
        T* row = logits.get() + r * v;
        load_block(from.get(), row, v);
        C* gradient = nullptr;
        if constexpr (direct) gradient = gradients ? row : nullptr;
        else gradient = gradients ? to.get() : nullptr;
        lines.line(r, from.get(), nullptr, gradient);
        if constexpr (!direct) {
          if (gradients) store_block(row, to.get(), v);
        }
      }
    });
  }
  // dweight (+)= dlogits.T @ x, n rows of each.
  void add_weight(const Array& x, int64_t n, bool first) {
    T* out = a.out(2).as<T>();
    const Scratch<T> product(direct && first ? 0 : (v < kWeightRows ? v : kWeightRows) * k);
    for (int64_t begin = 0; begin < v; begin += kWeightRows) {
      const int64_t m = v - begin < kWeightRows ? v - begin : kWeightRows, at = begin * k;
      Array d = view(logits.get() + begin, m, n, 1);
      d.strides[1] = v;
      T* to = direct && first ? out + at : product.get();
      run_matmul(d, x, view(to, m, k, k));
      if (direct && first) continue;
      C* total;
      if constexpr (direct) total = out + at;
      else total = sums.get() + at;
      parallel_ranges(m * k, 32768, [&](int64_t from, int64_t end) {
        if (first) {
          load_block(total + from, to + from, end - from);
        } else if constexpr (direct) {
#pragma omp simd
          for (int64_t i = from; i < end; ++i) total[i] += to[i];
        } else {
          for (int64_t i = from; i < end; ++i) total[i] += load(to + i);
        }
      });
    }
  }
  void add_bias(int64_t n, bool first) {
    parallel_ranges(v, 512, [&](int64_t begin, int64_t end) {
      C sum[512];
      for (int64_t j = begin; j < end; ++j) sum[j - begin] = 0;
      for (int64_t r = 0; r < n; ++r) {
        const T* row = logits.get() + r * v;
#pragma omp simd
        for (int64_t j = begin; j < end; ++j) sum[j - begin] += load(row + j);
      }
      for (int64_t j = begin; j < end; ++j) biases[j] = (first ? 0 : biases[j]) + static_cast<double>(sum[j - begin]);
    });
  }

  void operator()() {
    const int64_t reduction = a.integer(0);
    Scratch<int64_t> labels(rows);
    Scratch<double> losses(rows);
    read_labels("linear_cross_entropy", a.in(2), v, a.integer(1), labels.get());
    double counted = 0;
    for (int64_t i = 0; i < rows; ++i) counted += labels[i] >= 0;
    const bool gradients = a.out(1) || a.out(2) || a.out(3);
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t n = rows - begin < chunk ? rows - begin : chunk;
      const Array x = view(a.in(0).as<T>() + begin * k, n, k, k), all = view(logits.get(), n, v, v);
      run_linear(x, a.in(1), a.in(3), all);
      const CrossEntropy<C> lines{v, a.number(2), reduction == kMean ? 1 / counted : 1, nullptr,
                                  static_cast<double>(v), labels.get() + begin, losses.get() + begin};
      differentiate(lines, n, gradients);
      if (a.out(1)) run_matmul(all, a.in(1), view(a.out(1).as<T>() + begin * k, n, k, k));
      if (a.out(2)) add_weight(x, n, begin == 0);
      if (a.out(3)) add_bias(n, begin == 0);
    }
    finish(losses.get(), counted, reduction);
  }
  void finish(const double* losses, double counted, int64_t reduction) {
    T *dweight = a.out(2).as<T>(), *dbias = a.out(3).as<T>();
    if (dweight && rows == 0) std::memset(static_cast<void*>(dweight), 0, sizeof(T) * static_cast<size_t>(v * k));
    else if (dweight && !direct)
      parallel_ranges(v * k, 32768, [&](int64_t from, int64_t end) {
        store_block(dweight + from, sums.get() + from, end - from);
      });
    for (int64_t j = 0; dbias && j < v; ++j) store(dbias + j, static_cast<C>(rows ? biases[j] : 0));
    const double sum = sum_of<double>(rows, [&](int64_t i) DLCORE_MAP { return losses[i]; });
    store_loss(a.out(0), 0, reduction == kMean ? sum / counted : sum);
  }
};

static void linear_cross_entropy(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { LinearCrossEntropy<T>{a}(); });
}
