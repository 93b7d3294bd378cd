// matmul and linear. Letters: M, N, K; a (..., M, K) @ b (..., K, N) -> (..., M, N).
//
// Bound by arithmetic: 2 M N K operations on M K + K N + M N elements; with few rows or columns by memory. What each
// step gained, in GFLOP/s of float32 on one core of a Zen 4 (115 at most), 1024 x 1024 x 1024 and 32 x 2048 x 2048,
// roughly, for the machine was busy with other work (docs/benchmarks.md has figures measured beside the peers'):
//   tiles in registers, one panel of B packed at a time      87    42
//   rows of B packed in runs of 1 KiB, through 8 panels       91    42
//   A packed step by step of k (was: row by row)              96    50
//   rows of B read in place prefetched 32 ahead               96    70
#include "common/activations.inl"
#include "common/dtypes.inl"
#include "matmul/tile.inl"
#include "matmul/pack.inl"
#include "matmul/product.inl"
#include "matmul/gemm.inl"
#include "matmul/integer.inl"
#include "matmul/bytes.inl"

// The last two axes of an array, and where each entry of the batch in front of them begins.
struct Matrices {
  int64_t rows, columns, row, column;  // sizes and strides
  int batch_axes = 0;
  int64_t shape[kMaxDims], strides[kMaxDims];  // of the batch

  // A vector counts as one row.
  explicit Matrices(const Array& x) {
    const int d = x.ndim;
    columns = x.shape[d - 1], column = x.strides[d - 1];
    rows = d > 1 ? x.shape[d - 2] : 1, row = d > 1 ? x.strides[d - 2] : 0;
    set_batch(x, d > 2 ? d - 2 : 0);
  }
  void set_batch(const Array& x, int axes) {
    batch_axes = axes;
    for (int i = 0; i < axes; ++i) shape[i] = x.shape[i], strides[i] = x.strides[i];
  }
  int64_t batch() const {
    int64_t n = 1;
    for (int i = 0; i < batch_axes; ++i) n *= shape[i];
    return n;
  }
  Matrices transposed() const {
    Matrices t = *this;
    std::swap(t.rows, t.columns), std::swap(t.row, t.column);
    return t;
  }
  // Where entry `index` of a batch of the shape of `full` begins; axes of length 1 are repeated.
  int64_t offset(const Matrices& full, int64_t index) const {
    int64_t at = 0;
    for (int i = full.batch_axes - 1, own = batch_axes - 1; i >= 0; --i, --own) {
      if (own >= 0 && shape[own] != 1) at += index % full.shape[i] * strides[own];
      index /= full.shape[i];
    }
    return at;
  }
  // How far apart entries of a batch of the shape of `full` are, where all are as far apart; -1 otherwise.
  int64_t even_step(const Matrices& full) const {
    if (batch() == 1) return 0;
    for (int i = 0; i < full.batch_axes; ++i) {
      if (batch_axes != full.batch_axes || shape[i] != full.shape[i]) return -1;
      if (i > 0 && strides[i - 1] != shape[i] * strides[i]) return -1;
    }
    return strides[batch_axes - 1];
  }
  // Turns the batch into further rows where strides allow, so that one large product replaces many.
  bool fold() {
    for (int64_t i = batch_axes - 1, below = rows * row; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != below) return false;
      below *= shape[i];
    }
    rows *= batch();
    batch_axes = 0;
    return true;
  }
};

// One product, or one for each entry of a batch; `axes`: how many axes of `out` are its rows and columns. Of `p`, what
// is done with the sums is given.
template <class P>
static void multiply(P p, Matrices a, const Matrices& b, const Array& x, const Array& y, const Array& out, int axes) {
  Matrices c = a;
  c.set_batch(out, out.ndim - axes);
  if (b.batch() == 1 && a.batch() == c.batch() && a.fold()) c = a;
  p.m = a.rows, p.n = b.columns, p.k = a.columns;
  p.a = static_cast<decltype(p.a)>(x.data), p.a_row = a.row, p.a_col = a.column;
  p.b = static_cast<decltype(p.b)>(y.data), p.b_row = b.row, p.b_col = b.column;
  p.c = static_cast<decltype(p.c)>(out.data), p.c_row = b.columns;
  const int64_t a_step = a.even_step(c), b_step = b.even_step(c);  // mostly: offset() divides
  const auto place = [&](P& entry, int64_t e) {
    entry.a += a_step < 0 ? a.offset(c, e) : e * a_step, entry.b += b_step < 0 ? b.offset(c, e) : e * b_step;
    entry.c += e * p.m * p.n;
    if (entry.pre) entry.pre += e * p.m * p.n;
  };
  if (p.m == 0 || p.n == 0) return;
  if constexpr (std::is_same_v<P, ByteProduct>) {
    multiply_bytes(p, c.batch(), place);
  } else if constexpr (std::is_integral_v<std::remove_pointer_t<decltype(p.c)>>) {
    for (int64_t e = 0; e < c.batch(); ++e) {
      P entry = p;
      place(entry, e);
      integer_product(entry);
    }
  } else {
    gemm_batch(p, c.batch(), place);
  }
}

// a (..., M, K), b (..., K, N) -> out (..., M, N); batches broadcast, a vector is a row of a or a column of b. Operands
// have the dtype of the result, or are bytes of any sign and give int32.
static void matmul(const Args& args) {
  const Array &a = args.in(0), &b = args.in(1), &out = args.out();
  const Matrices right = b.ndim == 1 ? Matrices(b).transposed() : Matrices(b);
  const auto run = [&](const auto& p) { multiply(p, Matrices(a), right, a, b, out, (a.ndim > 1) + (b.ndim > 1)); };
  if (item_size(a.dtype) < item_size(out.dtype)) {
    ByteProduct p;
    p.a_signed = a.dtype == DType::int8, p.b_signed = b.dtype == DType::int8;
    return run(p);
  }
  with_dtype(a.dtype, [&]<class T>() {
    if constexpr (std::is_integral_v<T>) run(Product<std::make_unsigned_t<T>>());
    else run(Product<T>());
  });
}

// x (..., K), weight (N, K), bias (N,) or absent -> out (..., N) = activation(x @ weight.T + bias), and the values
// before the activation if asked for. Parameter: the activation's code.
static void linear(const Args& args) {
  const Array &x = args.in(0), &weight = args.in(1), &bias = args.in(2), &out = args.out();
  with_float(x.dtype, [&]<class T>() {
    Product<T> p;
    p.activation = static_cast<Activation>(args.integer(0));
    if (bias) p.bias = bias.as<T>();
    if (args.out(1)) p.pre = args.out(1).as<T>();
    multiply(p, Matrices(x), Matrices(weight).transposed(), x, weight, out, x.ndim > 1 ? 2 : 1);
  });
}

#include "matmul/linear_backward.inl"

static const Kernel kernels[] = {
    {"matmul:matmul", matmul, 0},
    {"matmul:linear", linear, 1u << 2},  // bias contiguous
    {"matmul:linear_backward", linear_backward, 1u << 0 | 1u << 1 | 1u << 3},  // all but weight
};
