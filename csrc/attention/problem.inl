// What a call of attention is: operands as rows, sequences, and which keys a query sees.
//
// Parameters, behind the number of heads of a packed call: 0 scale, 1 left, 2 right, 3 whether the last query has the
// place of the last key, 4 threshold of dropout (0: none), 5 factor of what dropout keeps, 6 whether heads lie behind
// time. Operands, behind what is the call's own: mask, lengths, offsets of queries, offsets of keys, state.

constexpr int64_t kKeys = 64;  // of a block
constexpr int64_t kQueryBlocks = 4;  // that share what is read of keys and values

// The rows (of one query, key, ...) of an operand.
template <class T> struct Rows {
  T* data = nullptr;
  int64_t example = 0, head = 0, time = 0, step = 0;

  Rows(const Array& x, bool heads_behind) {
    const int h = heads_behind ? 2 : 1, t = heads_behind ? 1 : 2;
    example = x.strides[0], head = x.strides[h], time = x.strides[t], step = x.strides[3];
    data = static_cast<T*>(x.data);
  }
  explicit operator bool() const { return data != nullptr; }
  T* at(int64_t e, int64_t h, int64_t t) const { return data + e * example + h * head + t * time; }
};

// Queries and keys that belong together: those of one example, or between two offsets.
struct Sequence {
  int64_t example, query, queries, key, keys;
  int64_t shift;  // of the place of a query among the keys
};

struct Problem {
  int64_t examples, heads, groups, queries, keys, width, out_width;
  double scale, factor;
  int64_t left, right, threshold;
  bool lower, heads_behind, by_offsets;
  Array mask, state;
  std::vector<Sequence> sequences;

  int64_t shared() const { return groups ? heads / groups : 0; }  // heads of queries for each of keys
};

static int64_t index_at(const Array& x, int64_t i) {
  const int64_t at = i * x.strides[0];
  return x.dtype == DType::int32 ? x.as<const int32_t>()[at] : x.as<const int64_t>()[at];
}

static void check_offsets(const char* name, const char* what, const Array& offsets, int64_t total) {
  for (int64_t i = 0; i < offsets.shape[0]; ++i) {
    const int64_t value = index_at(offsets, i), before = i ? index_at(offsets, i - 1) : 0;
    if (value >= before && value <= total) continue;
    throw ValueFault(std::string(name) + ": " + what + " " + std::to_string(value) + " at position " +
                     std::to_string(i) + (value > total ? " is beyond the " + std::to_string(total) + " that there are"
                                                        : " is below the one before"));
  }
}

static int64_t length_at(const char* name, const Array& lengths, int64_t example, int64_t keys) {
  const int64_t i = lengths.shape[0] > 1 ? example : 0, length = index_at(lengths, i);
  if (length >= 0 && length <= keys) return length;
  throw ValueFault(std::string(name) + ": length " + std::to_string(length) + " at position " + std::to_string(i) +
                   " is not between 0 and the number of keys, " + std::to_string(keys));
}

static void find_sequences(Problem& p, const char* name, const Array& lengths, const Array& of_queries,
                           const Array& of_keys) {
  const auto add = [&](int64_t example, int64_t q0, int64_t q1, int64_t k0, int64_t k1) {
    p.sequences.push_back({example, q0, q1 - q0, k0, k1 - k0, p.lower ? (k1 - k0) - (q1 - q0) : 0});
  };
  p.by_offsets = static_cast<bool>(of_queries);
  if (p.by_offsets) {
    check_offsets(name, "query_offsets", of_queries, p.queries);
    check_offsets(name, "key_offsets", of_keys, p.keys);
    for (int64_t s = 0; s + 1 < of_queries.shape[0]; ++s)
      add(0, index_at(of_queries, s), index_at(of_queries, s + 1), index_at(of_keys, s), index_at(of_keys, s + 1));
    return;
  }
  for (int64_t e = 0; e < p.examples; ++e)
    add(e, 0, p.queries, 0, lengths ? length_at(name, lengths, e, p.keys) : p.keys);
}

// ---- what comes next ----------------------------------------------------------------------------------------------
// The head behind one, whose rows are fetched while the products of this one run: where heads lie behind time they are
// short pieces far apart, which a processor does not foresee. A step of model d of bench/gpts.py, whose activations lie
// in the third-level cache, spends 4.4 instead of 5.4 ms on its four attentions on one thread, 2.3 instead of 2.7 on
// two.
// GCC takes a function that only prefetches for one without effect and leaves out its calls: these are always inlined.
#define DLCORE_FETCH inline __attribute__((always_inline)) void
struct Next {
  const Sequence* s;  // null: none
  int64_t head;

  // Where tasks take whole heads: their queries are one block of `size`.
  Next(const Problem& p, const Sequence& sequence, int64_t before, int64_t size) : s(&sequence), head(before + 1) {
    if (head == p.heads) ++s, head = 0;
    if (p.queries > size || s > &p.sequences.back()) s = nullptr;
  }
  template <class T> DLCORE_FETCH queries(const Rows<T>& x, int64_t first, int64_t count, int64_t width) const {
    if (s) fetch(x, head, s->query + first, least(count, s->queries - first), width);
  }
  template <class T>
  DLCORE_FETCH keys(const Problem& p, const Rows<T>& x, int64_t first, int64_t count, int64_t width) const {
    if (s) fetch(x, head / p.shared(), s->key + first, least(count, s->keys - first), width);
  }

 private:
  template <class T>
  DLCORE_FETCH fetch(const Rows<T>& x, int64_t of, int64_t first, int64_t count, int64_t width) const {
    if (!x) return;
    T* row = x.at(s->example, of, first);
    for (int64_t i = 0; i < count; ++i, row += x.time)
      for (int64_t d = 0; d < width; d += 64 / static_cast<int64_t>(sizeof(T)))
        __builtin_prefetch(row + d, !std::is_const_v<T>, 2);
  }
};

// ---- what a query sees --------------------------------------------------------------------------------------------
struct Span {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
};

// The keys of which some query of `count` from `first` on sees at least one.
static Span seen_by(const Problem& p, const Sequence& s, int64_t first, int64_t count) {
  const int64_t place = first + s.shift;
  const int64_t begin = p.left < 0 ? 0 : most(0, place - p.left);
  const int64_t end = p.right < 0 ? s.keys : least(s.keys, place + count + p.right);
  return {least(begin, s.keys), end};
}

// How many of the keys some query of the first half of a block sees: of the others, at a causal diagonal, half of the
// products are left out.
template <class C> static int64_t seen_by_half(const Problem& p, const Sequence& s, int64_t first, Span keys) {
  const int64_t all = keys.end - keys.begin;
  return p.right < 0 ? all : most(0, least(all, first + kQueries<C> / 2 + s.shift + p.right - keys.begin));
}

// Scores of keys `keys` with the block of queries from `first` on, a row for each key, -inf where one is out of sight.
template <class C> static void hide(const Problem& p, const Sequence& s, int64_t first, Span keys, C* scores) {
  constexpr int Q = static_cast<int>(kQueries<C>);
  constexpr C hidden = -std::numeric_limits<C>::infinity();
  if (p.left < 0 && p.right < 0) return;
  for (int64_t j = keys.begin; j < keys.end; ++j, scores += Q) {
    const int64_t place = j - s.shift - first;  // of the lane that stands at the key
    const int from = p.right < 0 ? 0 : static_cast<int>(least(Q, most(0, place - p.right)));
    const int to = p.left < 0 ? Q : static_cast<int>(most(0, least(Q, place + p.left + 1)));
    if (from == 0 && to == Q) continue;
#pragma omp simd
    for (int l = 0; l < Q; ++l) scores[l] = (l >= from) & (l < to) ? scores[l] : hidden;
  }
}

template <class M, class C>
static void add_mask(const M* mask, int64_t row, int64_t column, int64_t count, int64_t keys, C* scores) {
  constexpr C hidden = -std::numeric_limits<C>::infinity();
  for (int64_t j = 0; j < keys; ++j, scores += kQueries<C>, mask += column) {
    if (row == 0) {
      const C value = std::is_same_v<M, uint8_t> ? (load(mask) ? C(0) : hidden) : static_cast<C>(load(mask));
#pragma omp simd
      for (int l = 0; l < kQueries<C>; ++l) scores[l] += value;
      continue;
    }
#pragma omp simd
    for (int64_t l = 0; l < count; ++l) {
      if constexpr (std::is_same_v<M, uint8_t>) scores[l] = mask[l * row] ? scores[l] : hidden;
      else scores[l] += static_cast<C>(load(mask + l * row));
    }
  }
}

static int64_t mask_stride(const Array& m, int d) { return m.shape[d] == 1 ? 0 : m.strides[d]; }
static int64_t mask_at(const Array& m, int64_t example, int64_t head, int64_t query, int64_t key) {
  return example * mask_stride(m, 0) + head * mask_stride(m, 1) + query * mask_stride(m, 2) + key * mask_stride(m, 3);
}

// Adds the mask to the scores of `count` queries.
template <class C>
static void apply_mask(const Problem& p, const Sequence& s, int64_t head, int64_t first, int64_t count, Span keys,
                       C* scores) {
  const Array& m = p.mask;
  if (!m) return;
  const int64_t at = mask_at(m, s.example, head, s.query + first, s.key + keys.begin), n = keys.end - keys.begin;
  const int64_t row = mask_stride(m, 2), column = mask_stride(m, 3);
  if (m.dtype == DType::bool_) return add_mask(m.as<const uint8_t>() + at, row, column, count, n, scores);
  with_float(m.dtype, [&]<class M>() { add_mask(m.as<const M>() + at, row, column, count, n, scores); });
}

// What dropout multiplies probabilities by, 0 or the factor, laid out as they are. Word e of the generator is that of
// element e of the square of all scores.
template <class C>
static void draw_factors(const Problem& p, const Keys& generator, uint64_t offset, const Sequence& s, int64_t head,
                         int64_t first, int64_t count, Span keys, C* factors) {
  const uint32_t last = static_cast<uint32_t>(p.threshold - 1);
  const C kept = static_cast<C>(p.factor);
  const int64_t n = keys.end - keys.begin;
  Group group;
  for (int64_t l = 0; l < count; ++l) {
    const int64_t query = (s.example * p.heads + head) * p.queries + s.query + first + l;
    int64_t e = query * p.keys + s.key + keys.begin;
    for (int64_t j = 0; j < n; ++j, ++e) {
      const int64_t word = e % kGroupWords;
      if (j == 0 || word == 0) draw_group(generator, offset + static_cast<uint64_t>(e / kGroupWords) * kBlocks, group);
      factors[j * kQueries<C> + l] = group.words[word] > last ? kept : C(0);
    }
  }
}
