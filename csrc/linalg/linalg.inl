// Batches of small matrices (at most 64 rows): solve, inv, det, slogdet, cholesky, solve_triangular. N: rows.
//
// Bound by arithmetic: 2/3 N^3 operations for LU, a third of N^3 for Cholesky. LAPACK, which larger matrices go to
// (dlcore/ops/linalg.py), costs a few microseconds a call and half of one a matrix, more than the arithmetic of 16
// rows. A matrix is copied to the stack, row by row, and stays in the first cache; rows are vectors. A thread takes
// whole matrices, so results are the same bits for any number of threads.
#include "common/dtypes.inl"
#include "common/loop_nest.inl"

constexpr int kMost = 64;                     // rows
constexpr int64_t kGrain = int64_t{1} << 16;  // arithmetic operations worth a chunk

struct Matrix {  // where one of an array lies, and its strides
  int64_t rows, columns, row, column;
  explicit Matrix(const Array& x)
      : rows(x.shape[x.ndim - 2]), columns(x.shape[x.ndim - 1]), row(x.strides[x.ndim - 2]),
        column(x.strides[x.ndim - 1]) {}
};

// The array without its last axes: its batch.
static Array batch_of(Array x, int axes) {
  x.ndim = static_cast<uint8_t>(x.ndim - axes);
  return x;
}

// f(offsets) for each matrix of a batch, which all arrays broadcast to.
template <int N, class F> static void each_matrix(const Array (&batches)[N], int64_t operations, F&& f) {
  const Array* arrays[N];
  for (int k = 0; k < N; ++k) arrays[k] = &batches[k];
  const LoopNest<N> nest = loop_over<N>(arrays);
  parallel_ranges(nest.size(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, operations)),
                  [&](int64_t begin, int64_t end) {
    LoopCursor<N> cursor(nest, nest.count, begin);
    for (int64_t e = begin; e < end; ++e, cursor.next()) f(cursor.offsets);
  });
}

template <class T> struct Factors {  // P A = L U: L below the diagonal, U on and above it
  alignas(64) T lu[kMost * kMost];
  int order[kMost];  // row i of P A is row order[i] of A
  int n;
  T sign = 1;
  bool singular = false;

  Factors(const T* a, const Matrix& m) : n(static_cast<int>(m.rows)) {
    for (int i = 0; i < n; ++i) {
      order[i] = i;
      for (int j = 0; j < n; ++j) lu[i * n + j] = a[i * m.row + j * m.column];
    }
    for (int k = 0; k < n; ++k) eliminate(k);
  }

 private:
  void eliminate(int k) {
    int pivot = k;
    for (int i = k + 1; i < n; ++i)
      if (std::fabs(lu[i * n + k]) > std::fabs(lu[pivot * n + k])) pivot = i;
    if (pivot != k) {
      for (int j = 0; j < n; ++j) std::swap(lu[k * n + j], lu[pivot * n + j]);
      std::swap(order[k], order[pivot]);
      sign = -sign;
    }
    const T divisor = lu[k * n + k];
    singular = singular || divisor == 0;
    if (divisor == 0) return;
    const T* upper = lu + k * n;
    for (int i = k + 1; i < n; ++i) {
      T* row = lu + i * n;
      const T factor = row[k] = row[k] / divisor;
#pragma omp simd
      for (int j = k + 1; j < n; ++j) row[j] -= factor * upper[j];
    }
  }
};

template <class T> static inline void subtract(T* x, const T* y, T factor, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) x[j] -= factor * y[j];
}

// x (N, columns), row-major, becomes the solution of a x = x: from the first row on, or from the last.
template <class T> static void substitute(const T* a, int64_t row, int64_t column, int n, bool upper, bool unit, T* x,
                                          int64_t columns) {
  for (int step = 0; step < n; ++step) {
    const int i = upper ? n - 1 - step : step;
    T* own = x + i * columns;
    const int first = upper ? i + 1 : 0, last = upper ? n : i;
    for (int j = first; j < last; ++j) subtract(own, x + j * columns, a[i * row + j * column], columns);
    if (unit) continue;
    const T divisor = a[i * row + i * column];
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) own[j] /= divisor;
  }
}

template <class T> static void solve_factored(const Factors<T>& f, T* x, int64_t columns) {
  substitute(f.lu, f.n, 1, f.n, false, true, x, columns);
  substitute(f.lu, f.n, 1, f.n, true, false, x, columns);
}

// a (..., N, N), b (..., N, K) or (N) -> out (..., N, K) or (..., N)
static void solve(const Args& args) {
  const Array &a = args.in(0), &b = args.in(1), &out = args.out();
  const bool vector = b.ndim == 1;
  const Matrix m(a);
  const int64_t columns = vector ? 1 : b.shape[b.ndim - 1];
  const int64_t row = b.strides[vector ? 0 : b.ndim - 2], column = vector ? 0 : b.strides[b.ndim - 1];
  const Array batches[3] = {batch_of(out, vector ? 1 : 2), batch_of(a, 2), batch_of(b, vector ? 1 : 2)};
  if (out.size() == 0) return;
  with_float(a.dtype, [&]<class T>() {
    if constexpr (sizeof(T) >= 4) {
      each_matrix(batches, m.rows * m.rows * (m.rows + columns), [&](const int64_t (&at)[3]) {
        const Factors<T> f(a.as<T>() + at[1], m);
        if (f.singular) throw LinAlgFault("solve: Singular matrix");
        T* x = out.as<T>() + at[0];
        for (int i = 0; i < f.n; ++i) {
          const T* from = b.as<T>() + at[2] + f.order[i] * row;
          for (int64_t j = 0; j < columns; ++j) x[i * columns + j] = from[j * column];
        }
        solve_factored(f, x, columns);
      });
    }
  });
}

// a (..., N, N) -> out (..., N, N)
static void inv(const Args& args) {
  const Array &a = args.in(0), &out = args.out();
  const Matrix m(a);
  const Array batches[2] = {batch_of(out, 2), batch_of(a, 2)};
  if (out.size() == 0) return;
  with_float(a.dtype, [&]<class T>() {
    if constexpr (sizeof(T) >= 4) {
      each_matrix(batches, 2 * m.rows * m.rows * m.rows, [&](const int64_t (&at)[2]) {
        const Factors<T> f(a.as<T>() + at[1], m);
        if (f.singular) throw LinAlgFault("inv: Singular matrix");
        T* x = out.as<T>() + at[0];
        for (int i = 0; i < f.n; ++i)
          for (int j = 0; j < f.n; ++j) x[i * f.n + j] = static_cast<T>(j == f.order[i]);
        solve_factored(f, x, f.n);
      });
    }
  });
}

// a (..., N, N) -> out (...)
static void det(const Args& args) {
  const Array &a = args.in(0), &out = args.out();
  const Matrix m(a);
  const Array batches[2] = {out, batch_of(a, 2)};
  if (out.size() == 0) return;
  with_float(a.dtype, [&]<class T>() {
    if constexpr (sizeof(T) >= 4) {
      each_matrix(batches, m.rows * m.rows * m.rows, [&](const int64_t (&at)[2]) {
        const Factors<T> f(a.as<T>() + at[1], m);
        double product = f.sign;
        for (int i = 0; i < f.n; ++i) product *= f.lu[i * f.n + i];
        out.as<T>()[at[0]] = static_cast<T>(product);
      });
    }
  });
}

// a (..., N, N) -> sign (...), logabsdet (...)
static void slogdet(const Args& args) {
  const Array &a = args.in(0), &sign = args.out(0), &logarithm = args.out(1);
  const Matrix m(a);
  const Array batches[3] = {sign, batch_of(a, 2), logarithm};
  if (sign.size() == 0) return;
  with_float(a.dtype, [&]<class T>() {
    if constexpr (sizeof(T) >= 4) {
      each_matrix(batches, m.rows * m.rows * m.rows, [&](const int64_t (&at)[3]) {
        const Factors<T> f(a.as<T>() + at[1], m);
        T s = f.sign;
        double sum = 0;
        for (int i = 0; i < f.n; ++i) {
          const T u = f.lu[i * f.n + i];
          s = u == 0 ? T(0) : u < 0 ? -s : u > 0 ? s : u;  // the sign of NaN is NaN
          sum += std::log(std::fabs(static_cast<double>(u)));
        }
        sign.as<T>()[at[0]] = s;
        logarithm.as<T>()[at[2]] = static_cast<T>(sum);
      });
    }
  });
}

// One symmetric matrix, its lower triangle in `l` (N, N): replaced by its Cholesky factor, zeros above. False: it is
// not positive definite.
template <class T> static bool factor_positive(T* l, int n) {
  T column[kMost];
  for (int k = 0; k < n; ++k) {
    if (l[k * n + k] <= 0) return false;  // NaN goes on, as in LAPACK
    const T root = std::sqrt(l[k * n + k]);
    l[k * n + k] = root;
    for (int i = k + 1; i < n; ++i) column[i] = l[i * n + k] = l[i * n + k] / root;
    for (int i = k + 1; i < n; ++i) {
      T* row = l + i * n;
      const T factor = column[i];
#pragma omp simd
      for (int j = k + 1; j <= i; ++j) row[j] -= factor * column[j];
    }
    for (int j = k + 1; j < n; ++j) l[k * n + j] = 0;
  }
  return true;
}

// a (..., N, N) -> out (..., N, N). Parameter: whether upper.
static void cholesky(const Args& args) {
  const Array &a = args.in(0), &out = args.out();
  const bool upper = args.integer(0);
  Matrix m(a);
  if (upper) std::swap(m.row, m.column);
  const Array batches[2] = {batch_of(out, 2), batch_of(a, 2)};
  const int n = static_cast<int>(m.rows);
  if (out.size() == 0) return;
  with_float(a.dtype, [&]<class T>() {
    if constexpr (sizeof(T) >= 4) {
      each_matrix(batches, m.rows * m.rows * m.rows / 2, [&](const int64_t (&at)[2]) {
        alignas(64) T l[kMost * kMost];
        const T* from = a.as<T>() + at[1];
        T* to = out.as<T>() + at[0];
        for (int i = 0; i < n; ++i)
          for (int j = 0; j <= i; ++j) l[i * n + j] = from[i * m.row + j * m.column];
        if (!factor_positive(l, n)) throw LinAlgFault("cholesky: Matrix is not positive definite");
        for (int i = 0; i < n; ++i)
          for (int j = 0; j < n; ++j) to[i * n + j] = upper ? l[j * n + i] : l[i * n + j];
      });
    }
  });
}

// a (..., N, N), b (..., N, K) -> out (..., N, K). Parameters: whether upper, whether the diagonal counts as ones.
static void solve_triangular(const Args& args) {
  const Array &a = args.in(0), &b = args.in(1), &out = args.out();
  const Matrix m(a), of_b(b);
  const Array batches[3] = {batch_of(out, 2), batch_of(a, 2), batch_of(b, 2)};
  if (out.size() == 0) return;
  with_float(a.dtype, [&]<class T>() {
    if constexpr (sizeof(T) >= 4) {
      each_matrix(batches, m.rows * m.rows * of_b.columns, [&](const int64_t (&at)[3]) {
        T* x = out.as<T>() + at[0];
        const T* from = b.as<T>() + at[2];
        for (int64_t i = 0; i < of_b.rows; ++i)
          for (int64_t j = 0; j < of_b.columns; ++j) x[i * of_b.columns + j] = from[i * of_b.row + j * of_b.column];
        substitute(a.as<T>() + at[1], m.row, m.column, static_cast<int>(m.rows), args.integer(0) != 0,
                   args.integer(1) != 0, x, of_b.columns);
      });
    }
  });
}

static const Kernel kernels[] = {
    {"linalg:solve", solve, 0},
    {"linalg:inv", inv, 0},
    {"linalg:det", det, 0},
    {"linalg:slogdet", slogdet, 0},
    {"linalg:cholesky", cholesky, 0},
    {"linalg:solve_triangular", solve_triangular, 0},
};
