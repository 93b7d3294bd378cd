// Products with at most kFew rows or columns: bound by reading the large operand once, not by arithmetic. It is read in
// the order it has in memory, by dot products where k's elements are adjacent, by rows scaled and added otherwise.

constexpr int kFew = 4;
constexpr int kDots = 4;   // lines of y at once: independent chains, and streams the prefetcher can follow (sum_four)
constexpr int kSteps = 8;  // values of k at once, so that c is loaded and stored once for all of them

// c[i, j] = sum over k of x[i, k] * y[j, k], i < few <= kFew.
template <class T> struct Narrow {
  const T* x;
  int64_t x_i, x_k;
  const T* y;
  int64_t y_j, y_k;
  T* c;
  int64_t c_i, c_j;
  int64_t few, many, depth;
};

template <class T> static inline T sum_lanes(vec<T> v) {
  T lanes[kLanes<T>];
  vstore(lanes, v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// sum_lanes of each of four vectors, at `out`, `stride` apart.
template <class T> static inline void sum_four(const vec<T>* sums, T* out, int64_t stride) {
#if DLCORE_ISA >= 3
  if constexpr (std::is_same_v<T, float>) {  // in its order, so with its bits, but all four together: lanes are columns
    const auto quarter = [](vec<float> v) {
#if DLCORE_ISA >= 4
      const auto half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                        __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#else
      const auto half = v;
#endif
      const auto low = __builtin_shufflevector(half, half, 0, 1, 2, 3);
      return (__m128)(low + __builtin_shufflevector(half, half, 4, 5, 6, 7));
    };
    __m128 a = quarter(sums[0]), b = quarter(sums[1]), c = quarter(sums[2]), d = quarter(sums[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    float found[4];
    _mm_storeu_ps(found, (a + c) + (b + d));
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) out[l * stride] = found[l];
    return;
  }
#endif
  for (int l = 0; l < 4; ++l) out[l * stride] = sum_lanes<T>(sums[l]);
}

// y_k == x_k == 1.
template <class T, int FEW, int LINES> static void dots(const Narrow<T>& p, int64_t j) {
  constexpr int L = kLanes<T>;
  vec<T> sum[FEW][LINES] = {};
  const T* y = p.y + j * p.y_j;
  const auto add = [&](int64_t k, auto whole, int lanes) {
    const auto load_at = [&](const T* q) { return whole ? vload(q) : vload_first(q, lanes); };
    vec<T> line[LINES];
#pragma GCC unroll 8
    for (int l = 0; l < LINES; ++l) line[l] = load_at(y + l * p.y_j + k);
#pragma GCC unroll 8
    for (int i = 0; i < FEW; ++i) {
      const vec<T> x = load_at(p.x + i * p.x_i + k);
#pragma GCC unroll 8
      for (int l = 0; l < LINES; ++l) sum[i][l] = vfma(x, line[l], sum[i][l]);
    }
  };
  int64_t k = 0;
  for (; k + L <= p.depth; k += L) add(k, std::true_type(), L);
  if (k < p.depth) add(k, std::false_type(), static_cast<int>(p.depth - k));
#pragma GCC unroll 8
  for (int i = 0; i < FEW; ++i) {
    T* to = p.c + i * p.c_i + j * p.c_j;
    if constexpr (LINES == 4) sum_four<T>(sum[i], to, p.c_j);
    else *to = sum_lanes<T>(sum[i][0]);
  }
}

template <class T, int FEW> static void all_dots(const Narrow<T>& p) {
  int64_t j = 0;
  for (; j + kDots <= p.many; j += kDots) dots<T, FEW, kDots>(p, j);
  for (; j < p.many; ++j) dots<T, FEW, 1>(p, j);
}

// y_j == c_j == 1.
template <class T, int FEW, int STEPS> static void add_lines(const Narrow<T>& p, int64_t k) {
  constexpr int L = kLanes<T>;
  T x[FEW][STEPS];
  for (int i = 0; i < FEW; ++i) {
    for (int s = 0; s < STEPS; ++s) x[i][s] = p.x[i * p.x_i + (k + s) * p.x_k];
  }
  const T* y = p.y + k * p.y_k;
  const auto add = [&](int64_t j, auto whole, int lanes) {
    const auto load_at = [&](const T* q) { return whole ? vload(q) : vload_first(q, lanes); };
#pragma GCC unroll 8
    for (int i = 0; i < FEW; ++i) {
      vec<T> sum = k ? load_at(p.c + i * p.c_i + j) : vec<T>{};
#pragma GCC unroll 8
      for (int s = 0; s < STEPS; ++s) sum = vfma(vset(x[i][s]), load_at(y + s * p.y_k + j), sum);
      if (whole) vstore(p.c + i * p.c_i + j, sum);
      else vstore_first(p.c + i * p.c_i + j, sum, lanes);
    }
  };
  int64_t j = 0;
  for (; j + L <= p.many; j += L) add(j, std::true_type(), L);
  if (j < p.many) add(j, std::false_type(), static_cast<int>(p.many - j));
}

template <class T, int FEW> static void all_lines(const Narrow<T>& p) {
  int64_t k = 0;
  for (; k + kSteps <= p.depth; k += kSteps) add_lines<T, FEW, kSteps>(p, k);
  for (; k < p.depth; ++k) add_lines<T, FEW, 1>(p, k);
}

template <class T> static void run_narrow(const Narrow<T>& p) {
  const bool along_k = p.y_k == 1;
  switch (p.few) {
    case 1: return along_k ? all_dots<T, 1>(p) : all_lines<T, 1>(p);
    case 2: return along_k ? all_dots<T, 2>(p) : all_lines<T, 2>(p);
    case 3: return along_k ? all_dots<T, 3>(p) : all_lines<T, 3>(p);
    default: return along_k ? all_dots<T, 4>(p) : all_lines<T, 4>(p);
  }
}

// The block of C by one of these ways, or false where none suits. The choice depends on the product, not on the block.
template <class T> static bool narrow_block(const Product<T>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  if (p.k < 2 * kLanes<T> || std::min(p.m, p.n) > kFew) return false;
  Narrow<T> q;
  if (p.m <= kFew) {
    const T* b = p.b + j0 * p.b_col;
    q = {p.a, p.a_row, p.a_col, b, p.b_col, p.b_row, p.c + j0, p.c_row, 1, p.m, j1 - j0, p.k};
  } else {
    const T* a = p.a + i0 * p.a_row;
    q = {p.b, p.b_col, p.b_row, a, p.a_row, p.a_col, p.c + i0 * p.c_row, 1, p.c_row, p.n, i1 - i0, p.k};
  }
  // Of lines shorter than a vector, sums would be a chain through memory: tiles keep them in registers.
  const bool along_k = q.y_k == 1, along_lines = q.y_j == 1 && q.c_j == 1 && std::max(p.m, p.n) >= kLanes<T>;
  if (!along_k && !along_lines) return false;
  Scratch<T> x(along_k && q.x_k != 1 ? q.few * q.depth : 0);
  if (along_k && q.x_k != 1) {
    for (int64_t i = 0; i < q.few; ++i) {
      for (int64_t k = 0; k < q.depth; ++k) x[i * q.depth + k] = q.x[i * q.x_i + k * q.x_k];
    }
    q.x = x.get(), q.x_i = q.depth, q.x_k = 1;
  }
  run_narrow(q);
  return true;
}
