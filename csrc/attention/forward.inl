// Attention forward. A task takes up to four blocks of queries of one head through all keys they see: scores of a block
// with up to 64 keys, their exponentials below the running maximum, their product with the values.

// Blocks of queries go through the keys together, so that keys and values are read once for all.
template <class C> constexpr int64_t kTaskQueries = kQueryBlocks * kQueries<C>;

// Rows `first` to `first + count` as the compute type with adjacent elements: where they are, or copied to `room`.
template <class T> static Matrix<compute_t<T>> rows_of(const Rows<const T>& x, int64_t example, int64_t head,
                                                       int64_t first, int64_t count, int64_t width,
                                                       compute_t<T>* room) {
  const T* from = x.at(example, head, first);
  if constexpr (std::is_same_v<T, compute_t<T>>)
    if (x.step == 1 || width == 1) return {from, x.time, 1};
  for (int64_t i = 0; i < count; ++i, from += x.time) {
    if (x.step == 1) load_block(room + i * width, from, width);
    else
      for (int64_t d = 0; d < width; ++d) room[i * width + d] = load(from + d * x.step);
  }
  return {room, width, 1};
}

// N rows of N elements become columns: log2(N) rounds of interleaving row i with row i + N / 2.
template <class C, size_t... I>
static inline __attribute__((always_inline)) void turn_tile(vec<C>* rows, std::index_sequence<I...>) {
  constexpr size_t N = sizeof...(I);
  using Index = std::conditional_t<sizeof(C) == 4, int32_t, int64_t>;
  const vec<Index> low = {static_cast<Index>(I / 2 + I % 2 * N)...};
  const vec<Index> high = {static_cast<Index>(N / 2 + I / 2 + I % 2 * N)...};
  vec<C> next[N];
#pragma GCC unroll 4
  for (size_t width = 1; width < N; width *= 2) {
#pragma GCC unroll 16
    for (size_t i = 0; i < N / 2; ++i) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + N / 2], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + N / 2], high);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < N; ++i) rows[i] = next[i];
  }
}

// to[d * kQueries + i] = x[i][d] * scale for `count` rows, zeros in the other lanes.
template <class C> static void turn(Matrix<C> x, int64_t count, int64_t width, C scale, C* to) {
  constexpr int64_t Q = kQueries<C>, N = kLanes<C>;
  const vec<C> factor = vset(scale);
  for (int64_t i = 0; i < Q; i += N) {
    const int64_t there = most(0, least(N, count - i));
    for (int64_t d = 0; d < width; d += N) {
      vec<C> rows[N] = {};
      const C* from = x.data + i * x.row + d;
      const int wide = static_cast<int>(least(N, width - d));
      if (there == N && wide == N) {
#pragma GCC unroll 16
        for (int64_t r = 0; r < N; ++r) rows[r] = vload(from + r * x.row);
      } else {
        for (int64_t r = 0; r < there; ++r) rows[r] = vload_first(from + r * x.row, wide);
      }
      turn_tile<C>(rows, std::make_index_sequence<N>{});
#pragma GCC unroll 16
      for (int64_t c = 0; c < N; ++c)
        if (c < wide) vstore(to + (d + c) * Q + i, rows[c] * factor);
    }
  }
}

template <class C> struct Running {
  C max[kQueries<C>], sum[kQueries<C>], factor[kQueries<C>];
  bool fresh = true;  // no key has been seen

  Running() {
    for (int l = 0; l < kQueries<C>; ++l) max[l] = -std::numeric_limits<C>::infinity(), sum[l] = 0;
  }
  // Scores of n keys become exponentials below the maximum so far; `factor`: what sums so far are multiplied by.
  template <int W> void take(C* s, int64_t n) {
    constexpr int Q = static_cast<int>(kQueries<C>);
    constexpr C lowest = -std::numeric_limits<C>::infinity();
    constexpr int L = kLanes<C>;
    C top[W], base[W], total[W];
    vec<C> tops[W / L];
    for (int v = 0; v < W / L; ++v) tops[v] = vload(max + v * L);
    for (int64_t j = 0; j < n; ++j)
#pragma GCC unroll 4
      for (int v = 0; v < W / L; ++v) {
        const vec<C> x = vload(s + j * Q + v * L);
        tops[v] = x > tops[v] ? x : tops[v];
      }
    for (int v = 0; v < W / L; ++v) vstore(top + v * L, tops[v]);
#pragma omp simd
    for (int l = 0; l < W; ++l) {
      base[l] = top[l] == lowest ? C(0) : top[l];
      factor[l] = exp_below(max[l] - base[l]);
      max[l] = top[l], total[l] = sum[l] * factor[l];
    }
    for (int64_t j = 0; j < n; ++j)
#pragma omp simd
      for (int l = 0; l < W; ++l) {
        const C e = exp_below(s[j * Q + l] - base[l]);
        s[j * Q + l] = e, total[l] += e;
      }
    for (int l = 0; l < W; ++l) sum[l] = total[l];
  }
};

template <class C> static void scale_rows(C* x, int64_t row, int64_t rows, int64_t width, const C* factor) {
  for (int64_t i = 0; i < rows; ++i) {
    if (factor[i] == C(1)) continue;
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) x[i * row + d] *= factor[i];
  }
}

template <class T> struct Forward {
  using C = compute_t<T>;
  static constexpr bool direct = std::is_same_v<T, C>;
  static constexpr int64_t Q = kQueries<C>;
  const Problem& p;
  Rows<const T> q, k, v;
  Rows<T> out;
  C* lse;

  // Room of one task: queries turned, keys, values and outputs of 16 bits in the compute type, scores, factors.
  int64_t room() const {
    const int64_t widths = p.width + p.out_width;
    return kTaskQueries<C> * widths + most(kKeys, Q) * widths + 2 * kKeys * Q;
  }

  // One head's queries `first` to `first + count` of a sequence.
  void run(const Sequence& s, int64_t head, int64_t first, int64_t count, C* room, const Keys* generator,
           uint64_t offset) const {
    const int64_t D = p.width, E = p.out_width, group = head / p.shared(), blocks = parts(count, Q);
    C *turned = room, *sums = turned + kTaskQueries<C> * D, *key_room = sums + kTaskQueries<C> * E;
    C *value_room = key_room + most(kKeys, Q) * D, *scores = value_room + most(kKeys, Q) * E;
    C* factors = scores + kKeys * Q;
    const Next next(p, s, head, kTaskQueries<C>);
    Running<C> running[kQueryBlocks];
    Span spans[kQueryBlocks], all{s.keys, 0};
    int64_t row = E;
    if constexpr (direct) sums = out.at(s.example, head, s.query + first), row = out.time;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = first + b * Q, n = least(Q, count - b * Q);
      const Matrix<C> queries = rows_of(q, s.example, head, s.query + at, n, D, key_room);
      turn(queries, n, D, static_cast<C>(p.scale), turned + b * Q * D);
      spans[b] = seen_by(p, s, at, n);
      if (!spans[b].empty()) all = {least(all.begin, spans[b].begin), most(all.end, spans[b].end)};
    }
    for (int64_t j = all.begin; j < all.end; j += kKeys) {
      const int64_t n = least(kKeys, all.end - j);
      const Matrix<C> keys = rows_of(k, s.example, group, s.key + j, n, D, key_room);
      const Matrix<C> values = rows_of(v, s.example, group, s.key + j, n, E, value_room);
      for (int64_t b = 0; b < blocks; ++b) {
        const Span seen{most(j, spans[b].begin), least(j + n, spans[b].end)};
        if (seen.empty()) continue;
        const int64_t at = first + b * Q, m = least(Q, count - b * Q), height = seen.end - seen.begin;
        const int64_t skipped = seen.begin - j;
        const int64_t split = seen_by_half<C>(p, s, at, seen);
        const Matrix<C> these{keys.data + skipped * keys.row, keys.row, 1};
        next.queries(q, at, m, D), next.queries(out, at, m, E);
        multiply_turned<C>(split, height, m, D, these, turned + b * Q * D, scores);
        apply_mask(p, s, head, at, m, seen, scores);
        hide(p, s, at, seen, scores);
        Running<C>& r = running[b];
        if (lanes_of<C>(m) == Q) r.template take<Q>(scores, height);
        else r.template take<Q / 2>(scores, height);
        if (generator) {
          draw_factors(p, *generator, offset, s, head, at, m, seen, factors);
#pragma omp simd
          for (int64_t e = 0; e < height * Q; ++e) scores[e] *= factors[e];
        }
        if (b == 0) next.keys(p, k, j, n, D), next.keys(p, v, j, n, E);
        C* to = sums + b * Q * row;
        if (!r.fresh) scale_rows(to, row, m, E, r.factor);
        const C* those = values.data + skipped * values.row;
        multiply_queries<C>(split, height, m, E, scores, those, values.row, to, row, !r.fresh);
        r.fresh = false;
      }
    }
    for (int64_t b = 0; b < blocks; ++b) finish(s, head, first + b * Q, least(Q, count - b * Q), running[b],
                                                sums + b * Q * row, row);
  }

  void finish(const Sequence& s, int64_t head, int64_t first, int64_t count, Running<C>& r, C* sums,
              int64_t row) const {
    const int64_t E = p.out_width;
    for (int64_t i = 0; i < count; ++i) {
      C* x = sums + i * row;
      const C scale = C(1) / r.sum[i];
      if (r.fresh || r.sum[i] == C(0))
        for (int64_t d = 0; d < E; ++d) x[d] = 0;
      else
#pragma omp simd
        for (int64_t d = 0; d < E; ++d) x[d] *= scale;
      if constexpr (!direct) store_block(out.at(s.example, head, s.query + first + i), x, E);
    }
    if (!lse) return;
    C* to = lse + (s.example * p.heads + head) * p.queries + s.query + first;
    for (int64_t i = 0; i < count; ++i) to[i] = r.max[i] + log_(r.sum[i]);
  }
};
