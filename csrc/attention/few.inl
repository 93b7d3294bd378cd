// Attention of few queries, as a cache of keys has them: bound by the keys and values that are read once. Scores are
// products along the keys' width, of as many keys as a vector has lanes at a time.

constexpr int64_t kFewQueries = 4;  // from where on a block of queries, mostly empty lanes, costs less

// Lanes 0 to kLanes of a vector: the sums of the vectors x[0], x[1], ..., each of which holds `n` lanes of one of them.
template <class C, int count> static inline __attribute__((always_inline)) vec<C> sums_of(const vec<C>* x) {
  constexpr int L = kLanes<C>;
  if constexpr (count == 1) {
    return x[0];
  } else {
    using Index = std::conditional_t<sizeof(C) == 4, int32_t, int64_t>;
    const vec<C> a = sums_of<C, count / 2>(x), b = sums_of<C, count / 2>(x + count / 2);
    constexpr int n = 2 * L / count, half = n / 2;  // lanes that belong together, before and after
    vec<Index> low, high;
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) {
      const int piece = l / half, from = piece * n + l % half;  // b's pieces follow a's, as its lanes do
      low[l] = from, high[l] = from + half;
    }
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
  }
}

// scores[j] = q . keys[j] for n keys.
template <class C>
static void score(const C* q, Matrix<C> keys, int64_t n, int64_t width, C* scores) {
  constexpr int L = kLanes<C>;
  int64_t j = 0;
  for (; j + L <= n; j += L) {
    vec<C> sum[L] = {};
    int64_t d = 0;
    const C* row = keys.data + j * keys.row;
    for (; d + L <= width; d += L) {
      const vec<C> x = vload(q + d);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) sum[i] = vfma(x, vload(row + i * keys.row + d), sum[i]);
    }
    if (d < width) {
      const int tail = static_cast<int>(width - d);
      const vec<C> x = vload_first(q + d, tail);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) sum[i] = vfma(x, vload_first(row + i * keys.row + d, tail), sum[i]);
    }
    vstore(scores + j, sums_of<C, L>(sum));
  }
  for (; j < n; ++j) {
    C sum = 0;
    for (int64_t d = 0; d < width; ++d) sum = fma_(q[d], keys.data[j * keys.row + d], sum);
    scores[j] = sum;
  }
}

template <class M, class C> static void add_mask_row(const M* mask, int64_t column, int64_t n, C* scores) {
  constexpr C hidden = -std::numeric_limits<C>::infinity();
  for (int64_t j = 0; j < n; ++j) {
    if constexpr (std::is_same_v<M, uint8_t>) scores[j] = mask[j * column] ? scores[j] : hidden;
    else scores[j] += static_cast<C>(load(mask + j * column));
  }
}

template <class T> struct FewQueries {
  using C = compute_t<T>;
  static constexpr bool direct = std::is_same_v<T, C>;
  const Forward<T>& f;

  // Room of one task: a query, its output, scores with all keys, their exponentials, blocks of keys or values.
  int64_t room() const {
    const int64_t widest = most(f.p.width, f.p.out_width);
    return 2 * widest + 2 * f.p.keys + kKeys * widest;
  }

  void run(const Sequence& s, int64_t head, int64_t i, C* room) const {
    const Problem& p = f.p;
    const int64_t D = p.width, E = p.out_width, widest = most(D, E), group = head / p.shared();
    C *query = room, *sums = query + widest, *scores = sums + widest, *weights = scores + p.keys;
    C* rows = weights + p.keys;
    const Matrix<C> from = rows_of(f.q, s.example, head, s.query + i, 1, D, query);
    for (int64_t d = 0; d < D; ++d) query[d] = from.data[d] * static_cast<C>(p.scale);
    const Span seen = seen_by(p, s, i, 1);
    const int64_t n = most(0, seen.end - seen.begin);
    each_block(f.k, s, group, seen, D, rows, [&](Matrix<C> keys, int64_t j, int64_t m) {
      score(query, keys, m, D, scores + j);
    });
    mask(s, head, i, seen, scores);
    C max = max_of(n, scores);
    max = max == -std::numeric_limits<C>::infinity() ? C(0) : max;
    const C sum = static_cast<C>(sum_of<C>(n, [=](int64_t j) DLCORE_MAP {
      return weights[j] = exp_below(scores[j] - max);
    }));
    for (int64_t d = 0; d < E; ++d) sums[d] = 0;
    each_block(f.v, s, group, seen, E, rows, [&](Matrix<C> values, int64_t j, int64_t m) {
      multiply<C>(1, E, m, {weights + j, 0, 1}, values.data, values.row, sums, E, true);
    });
    const C scale = sum == C(0) ? C(0) : C(1) / sum;
    for (int64_t d = 0; d < E; ++d) sums[d] *= scale;
    store_block(f.out.at(s.example, head, s.query + i), sums, E);
    if (f.lse) f.lse[(s.example * p.heads + head) * p.queries + s.query + i] = max + log_(sum);
  }

  // take(rows, how many lie before, how many they are) for all rows of `seen`: at once where none is converted.
  template <class F> void each_block(const Rows<const T>& x, const Sequence& s, int64_t group, Span seen, int64_t width,
                                     C* room, F take) const {
    const int64_t block = direct && x.step == 1 ? most(1, seen.end - seen.begin) : kKeys;
    for (int64_t j = seen.begin; j < seen.end; j += block) {
      const int64_t m = least(block, seen.end - j);
      take(rows_of(x, s.example, group, s.key + j, m, width, room), j - seen.begin, m);
    }
  }

  void mask(const Sequence& s, int64_t head, int64_t i, Span seen, C* scores) const {
    const Array& m = f.p.mask;
    if (!m || seen.empty()) return;
    const int64_t at = mask_at(m, s.example, head, s.query + i, s.key + seen.begin), n = seen.end - seen.begin;
    if (m.dtype == DType::bool_) return add_mask_row(m.as<const uint8_t>() + at, mask_stride(m, 3), n, scores);
    with_float(m.dtype, [&]<class M>() { add_mask_row(m.as<const M>() + at, mask_stride(m, 3), n, scores); });
  }
};
