// Integer products: exact modulo 2^bits, as NumPy's. U is the unsigned type of the same width, whose overflow is
// defined and gives the same bits.

constexpr int64_t kIntegerRows = 4, kIntegerColumns = 1024;

// c[i, :] = sum over k of a[i, k] * b[k, :] for `rows` <= kIntegerRows rows; columns of b and c are adjacent.
template <class U> static void integer_rows(const Product<U>& p, int64_t i, int64_t rows, const U* b, int64_t b_row) {
  for (int64_t j = 0; j < p.n; j += kIntegerColumns) {
    const int64_t columns = std::min(kIntegerColumns, p.n - j);
    U* c = p.c + i * p.c_row + j;
    for (int64_t r = 0; r < rows; ++r) __builtin_memset(c + r * p.c_row, 0, static_cast<size_t>(columns) * sizeof(U));
    for (int64_t k = 0; k < p.k; ++k) {
      const U* line = b + k * b_row + j;
      for (int64_t r = 0; r < rows; ++r) {
        const U x = p.a[(i + r) * p.a_row + k * p.a_col];
        U* sum = c + r * p.c_row;
#pragma omp simd
        for (int64_t l = 0; l < columns; ++l) sum[l] = static_cast<U>(sum[l] + x * line[l]);
      }
    }
  }
}

template <class U> static void integer_product(const Product<U>& p) {
  const bool copies = p.b_col != 1 && p.n > 1;
  Scratch<U> copy(copies ? p.k * p.n : 0);
  for (int64_t k = 0; copies && k < p.k; ++k) {
    for (int64_t j = 0; j < p.n; ++j) copy[k * p.n + j] = p.b[k * p.b_row + j * p.b_col];
  }
  const U* b = copies ? copy.get() : p.b;
  const int64_t b_row = copies ? p.n : p.b_row, groups = ceil_div(p.m, kIntegerRows);
  const int64_t grain = std::max<int64_t>(1, kBlockWork / std::max<int64_t>(1, kIntegerRows * p.n * p.k));
  parallel_ranges(groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t i = g * kIntegerRows;
      integer_rows(p, i, std::min(kIntegerRows, p.m - i), b, b_row);
    }
  });
}
