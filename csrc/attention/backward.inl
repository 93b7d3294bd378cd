// Attention backward. Scores and their exponentials are made again, from lse; a block of queries and one of keys give
//   p = exp(s - lse), ds = p (dp - delta) scale with dp = dout v^T, delta = the sum of dout out,
//   dv += p^T dout, dk += ds^T q, dq += ds k: five products where the forward pass has two.
//
// A task has one head of keys to itself, and all heads of queries that read it, so that it alone adds to dk and dv.
// Where there are too few heads for that, the blocks of queries are shared out, in parts that follow from shapes alone:
// each part has sums of its own, which are added in order.

template <class T> struct Backward {
  using C = compute_t<T>;
  static constexpr bool direct = std::is_same_v<T, C>;
  static constexpr int64_t Q = kQueries<C>;
  const Problem& p;
  Rows<const T> dout, q, k, v, out;
  Rows<T> dq, dk, dv;
  const Array& lse;

  int64_t room() const {
    const int64_t widths = p.width + p.out_width;
    return kTaskQueries<C> * (3 * p.width + 3 * p.out_width + 2) + kKeys * widths + 3 * kKeys * Q;
  }

  // What a task has of its queries.
  struct Queries {
    Matrix<C> q[kQueryBlocks], dout[kQueryBlocks];  // as they are
    C *q_turned, *dout_turned, *base, *delta;       // base: lse, +inf for what has no gradient
    C* dq;
    int64_t dq_row;
    Span spans[kQueryBlocks], all;
  };

  // Adds the gradients of a sequence's queries `first` to `first + count` of one head to those of keys and values.
  void run(const Sequence& s, int64_t head, int64_t first, int64_t count, C* dk_sums, int64_t dk_row, C* dv_sums,
           int64_t dv_row, C* room, const Keys* generator, uint64_t offset) const {
    const int64_t D = p.width, E = p.out_width, group = head / p.shared(), blocks = parts(count, Q);
    const Next next(p, s, head, kTaskQueries<C>);
    Queries x;
    C* rest = load(s, head, first, count, x, room);
    C *key_room = rest, *value_room = key_room + kKeys * D;
    C *scores = value_room + kKeys * E, *slopes = scores + kKeys * Q, *factors = slopes + kKeys * Q;
    for (int64_t j = x.all.begin; j < x.all.end; j += kKeys) {
      const int64_t n = least(kKeys, x.all.end - j);
      const Matrix<C> keys = rows_of(k, s.example, group, s.key + j, n, D, key_room);
      const Matrix<C> values = rows_of(v, s.example, group, s.key + j, n, E, value_room);
      for (int64_t b = 0; b < blocks; ++b) {
        const Span seen{most(j, x.spans[b].begin), least(j + n, x.spans[b].end)};
        if (seen.empty()) continue;
        const int64_t at = first + b * Q, m = least(Q, count - b * Q), height = seen.end - seen.begin;
        const int64_t skipped = seen.begin - j;
        const C *these = keys.data + skipped * keys.row, *those = values.data + skipped * values.row;
        const int64_t split = seen_by_half<C>(p, s, at, seen);
        next.queries(q, at, m, D), next.queries(dq, at, m, D);
        multiply_turned<C>(split, height, m, D, {these, keys.row, 1}, x.q_turned + b * Q * D, scores);
        apply_mask(p, s, head, at, m, seen, scores);
        hide(p, s, at, seen, scores);
        next.queries(dout, at, m, E), next.queries(out, at, m, E);
        multiply_turned<C>(split, height, m, E, {those, values.row, 1}, x.dout_turned + b * Q * E, slopes);
        if (generator) draw_factors(p, *generator, offset, s, head, at, m, seen, factors);
        const C *base = x.base + b * Q, *delta = x.delta + b * Q, *drawn = generator ? factors : nullptr;
        if (lanes_of<C>(m) == Q) differentiate<Q>(height, base, delta, drawn, scores, slopes);
        else differentiate<Q / 2>(height, base, delta, drawn, scores, slopes);
        if (b == 0) next.keys(p, v, j, n, E), next.keys(p, dv, j, n, E);
        if (dv_sums)
          multiply_keys<C>(split, height, m, E, scores, x.dout[b], dv_sums + seen.begin * dv_row, dv_row);
        if (b == 0) next.keys(p, k, j, n, D), next.keys(p, dk, j, n, D);
        if (dk_sums)
          multiply_keys<C>(split, height, m, D, slopes, x.q[b], dk_sums + seen.begin * dk_row, dk_row);
        if (dq)
          multiply_queries<C>(split, height, m, D, slopes, these, keys.row, x.dq + b * Q * x.dq_row, x.dq_row, true);
      }
    }
    if constexpr (!direct)
      for (int64_t i = 0; dq && i < count; ++i)
        store_block(dq.at(s.example, head, s.query + first + i), x.dq + i * x.dq_row, D);
  }

  // Queries and gradients of their outputs, turned too; returns what is left of the room.
  C* load(const Sequence& s, int64_t head, int64_t first, int64_t count, Queries& x, C* room) const {
    const int64_t D = p.width, E = p.out_width;
    C *q_room = room, *dout_room = q_room + kTaskQueries<C> * D, *out_room = dout_room + kTaskQueries<C> * E;
    x.q_turned = out_room + kTaskQueries<C> * E, x.dout_turned = x.q_turned + kTaskQueries<C> * D;
    x.base = x.dout_turned + kTaskQueries<C> * E, x.delta = x.base + kTaskQueries<C>;
    C* dq_room = x.delta + kTaskQueries<C>;
    x.dq = dq_room, x.dq_row = D, x.all = {s.keys, 0};
    if constexpr (direct)
      if (dq) x.dq = dq.at(s.example, head, s.query + first), x.dq_row = dq.time;
    for (int64_t i = 0; dq && i < count; ++i)
      for (int64_t d = 0; d < D; ++d) x.dq[i * x.dq_row + d] = 0;
    for (int64_t b = 0; b * Q < count; ++b) {
      const int64_t at = s.query + first + b * Q, m = least(Q, count - b * Q);
      x.q[b] = rows_of(q, s.example, head, at, m, D, q_room + b * Q * D);
      x.dout[b] = rows_of(dout, s.example, head, at, m, E, dout_room + b * Q * E);
      turn(x.q[b], m, D, static_cast<C>(p.scale), x.q_turned + b * Q * D);
      turn(x.dout[b], m, E, C(1), x.dout_turned + b * Q * E);
      const Matrix<C> o = rows_of(out, s.example, head, at, m, E, out_room);
      const C* kept = lse.as<const C>() + (s.example * p.heads + head) * p.queries + at;
      constexpr C infinite = std::numeric_limits<C>::infinity();
      for (int64_t i = 0; i < Q; ++i) {
        C sum = 0;
        const C *y = x.dout[b].data + i * x.dout[b].row, *z = o.data + i * o.row;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < (i < m ? E : 0); ++d) sum += y[d] * z[d];
        x.delta[b * Q + i] = sum;
        x.base[b * Q + i] = i >= m || kept[i] == -infinite ? infinite : kept[i];
      }
      x.spans[b] = seen_by(p, s, first + b * Q, m);
      if (!x.spans[b].empty()) x.all = {least(x.all.begin, x.spans[b].begin), most(x.all.end, x.spans[b].end)};
    }
    return dq_room + kTaskQueries<C> * D;
  }

  // Scores become probabilities, times what dropout keeps; `slopes`, the gradients of those, become the scores'.
  template <int W>
  void differentiate(int64_t keys, const C* base, const C* delta, const C* factors, C* scores, C* slopes) const {
    const C scale = static_cast<C>(p.scale);
    for (int64_t j = 0; j < keys; ++j, scores += Q, slopes += Q) {
#pragma omp simd
      for (int64_t l = 0; l < W; ++l) scores[l] = exp_below(scores[l] - base[l]);
      if (factors) {
#pragma omp simd
        for (int64_t l = 0; l < W; ++l) {
          slopes[l] = scores[l] * (slopes[l] * factors[l] - delta[l]) * scale;
          scores[l] *= factors[l];
        }
        factors += Q;
      } else {
#pragma omp simd
        for (int64_t l = 0; l < W; ++l) slopes[l] = scores[l] * (slopes[l] - delta[l]) * scale;
      }
    }
  }
};
