// Attention and its gradient without the square of all scores: tiles of it live in the first-level cache.
//
// Bound by arithmetic: 4 multiply-adds a query, key and element of width forward (two products), 10 backward, half of
// them under a causal mask; an exponential a query and key, about 15 vector instructions for a vector of them, is a
// fifth of the forward pass at a width of 32. Operands are read where they lie, whatever their strides.
//
// A score's sum runs over the width, an output's over the keys in blocks of 64, a gradient's over blocks of queries, in
// an order that depends on shapes alone.
#include "common/dtypes.inl"
#include "common/fold.inl"
#include "random/philox.inl"



static inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

#include "attention/tile.inl"
#include "attention/problem.inl"
#include "attention/forward.inl"
#include "attention/few.inl"
#include "attention/backward.inl"

constexpr double kTaskWork = 1e6;  // multiply-adds of a task: 10 to 20 us

// Reads the parameters from number `first` on, and the operands that may be absent.
static Problem problem_of(const char* name, const Args& a, int first, const Array& q, const Array& k, const Array& v,
                          bool behind, const Array& mask, const Array& lengths, const Array& of_queries,
                          const Array& of_keys, const Array& state) {
  const int h = behind ? 2 : 1, t = behind ? 1 : 2;
  Problem p{};
  p.examples = q.shape[0], p.heads = q.shape[h], p.groups = k.shape[h], p.queries = q.shape[t], p.keys = k.shape[t];
  p.width = q.shape[3], p.out_width = v.shape[3], p.heads_behind = behind;
  p.scale = a.number(first), p.left = a.integer(first + 1), p.right = a.integer(first + 2);
  p.lower = a.integer(first + 3), p.threshold = a.integer(first + 4), p.factor = a.number(first + 5);
  p.mask = mask, p.state = state;
  find_sequences(p, name, lengths, of_queries, of_keys);
  return p;
}

// f(sequence, head, block, room) for all blocks of `size` queries of all sequences and of `heads` heads. `work`: of a
// block; `room`: elements that a thread takes for itself.
template <class C, class F>
static void each_task(const Problem& p, int64_t heads, int64_t size, double work, int64_t room, F f) {
  std::vector<int64_t> before{0};  // tasks of the sequences before one
  for (const Sequence& s : p.sequences) before.push_back(before.back() + heads * parts(s.queries, size));
  const int64_t grain = most(1, static_cast<int64_t>(kTaskWork / (work + 1)));
  parallel_ranges(before.back(), grain, [&](int64_t begin, int64_t end) {
    const Scratch<C> own(room);
    int64_t s = std::upper_bound(before.begin(), before.end(), begin) - before.begin() - 1;
    for (int64_t task = begin; task < end; ++task) {
      while (task >= before[s + 1]) ++s;
      const int64_t blocks = parts(p.sequences[s].queries, size), at = task - before[s];
      f(p.sequences[s], at / blocks, blocks - 1 - at % blocks, own.get());  // the last see most: they come first
    }
  });
}

static void clear(const Array& x) {
  if (x) memset(x.data, 0, x.size() * item_size(x.dtype));
}

// ---- forward ------------------------------------------------------------------------------------------------------
template <class T>
static void attend(const Problem& p, const Rows<const T>& q, const Rows<const T>& k, const Rows<const T>& v,
                   const Array& out, const Array& lse) {
  using C = compute_t<T>;
  if (p.by_offsets) {  // what lies behind the last sequence
    clear(out);
    for (int64_t i = 0; lse && i < lse.size(); ++i) lse.as<C>()[i] = -std::numeric_limits<C>::infinity();
  }
  const Forward<T> forward{p, q, k, v, Rows<T>(out, p.heads_behind), lse.as<C>()};
  const double row = static_cast<double>(p.keys) * static_cast<double>(p.width + p.out_width);
  if (p.queries <= kFewQueries && !p.threshold && !p.by_offsets) {
    const FewQueries<T> few{forward};
    return each_task<C>(p, p.heads, 1, 2 * row, few.room(), [&](const Sequence& s, int64_t head, int64_t i, C* room) {
      few.run(s, head, i, room);
    });
  }
  const bool drops = p.threshold != 0;
  const State state = drops ? read_state(p.state) : State{};
  const Keys generator(state.seed);
  const int64_t size = kTaskQueries<C>;
  each_task<C>(p, p.heads, size, row * static_cast<double>(least(size, p.queries)), forward.room(),
               [&](const Sequence& s, int64_t head, int64_t block, C* room) {
                 const int64_t first = block * size, count = least(size, s.queries - first);
                 forward.run(s, head, first, count, room, drops ? &generator : nullptr, state.offset);
               });
}

// ---- backward -----------------------------------------------------------------------------------------------------
// The blocks of queries that one task goes through: all of a head of keys, or where there are few heads a part of them.
struct Shares {
  int64_t blocks, units, count, each;
  Shares(const Problem& p, int64_t size) {
    blocks = parts(p.queries, size), units = blocks * p.shared();
    const double work = static_cast<double>(p.queries) * p.keys * (p.width + p.out_width) * p.heads * p.examples;
    const int64_t tasks = p.examples * p.groups, wanted = tasks < 8 && !p.by_offsets ? parts(8, most(1, tasks)) : 1;
    count = most(1, least(least(wanted, units), static_cast<int64_t>(work / (4 * kTaskWork))));
    each = parts(most(1, units), count);
  }
};

// The sums of a task as rows of the compute type: in the output itself, or beside it.
template <class T>
static void store_sums(const Rows<T>& to, const Sequence& s, int64_t head, int64_t keys, int64_t width,
                       const compute_t<T>* sums, int64_t shares, int64_t share) {
  using C = compute_t<T>;
  const Scratch<C> row(most(1, width));
  for (int64_t j = 0; j < keys; ++j, sums += width) {
    for (int64_t d = 0; d < width; ++d) {
      C sum = sums[d];
      for (int64_t k = 1; k < shares; ++k) sum += sums[k * share + d];
      row[d] = sum;
    }
    store_block(to.at(s.example, head, s.key + j), row.get(), width);
  }
}

template <class T> static void differentiate(const Problem& p, const Backward<T>& b) {
  using C = compute_t<T>;
  const int64_t size = kTaskQueries<C>, D = b.dk ? p.width : 0, E = b.dv ? p.out_width : 0;
  const Shares shares(p, size);
  const bool direct = Backward<T>::direct && shares.count == 1, drops = p.threshold != 0;
  const int64_t share = p.keys * (D + E);  // elements of one's sums
  const Scratch<C> partial(shares.count > 1 ? most(1, share * shares.count * p.examples * p.groups) : 1);
  const State state = drops ? read_state(p.state) : State{};
  const Keys generator(state.seed);
  const double row = 5 * static_cast<double>(p.keys) * static_cast<double>(p.width + p.out_width);
  const int64_t room = b.room() + (direct || shares.count > 1 ? 0 : share);
  const int64_t tasks = static_cast<int64_t>(p.sequences.size()) * p.groups * shares.count;
  const double work = row * static_cast<double>(p.queries * p.shared() / shares.count);
  parallel_ranges(tasks, most(1, static_cast<int64_t>(kTaskWork / (work + 1))), [&](int64_t begin, int64_t end) {
    const Scratch<C> own(room);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task % shares.count, group = task / shares.count % p.groups;
      const Sequence& s = p.sequences[task / shares.count / p.groups];
      C *dk = own.get() + b.room(), *dv = dk + p.keys * D;
      if (shares.count > 1) dk = partial.get() + task * share, dv = dk + p.keys * D;
      int64_t dk_row = D, dv_row = E;
      if constexpr (Backward<T>::direct)
        if (direct) {
          dk = b.dk ? b.dk.at(s.example, group, s.key) : nullptr, dk_row = b.dk.time;
          dv = b.dv ? b.dv.at(s.example, group, s.key) : nullptr, dv_row = b.dv.time;
        }
      // Behind the keys that a sequence has, too: they are those of an example with a length.
      const int64_t keys = p.by_offsets ? s.keys : p.keys, blocks = parts(s.queries, size);
      for (int64_t j = 0; j < keys; ++j) {
        for (int64_t d = 0; d < D; ++d) dk[j * dk_row + d] = 0;
        for (int64_t d = 0; d < E; ++d) dv[j * dv_row + d] = 0;
      }
      const int64_t last = least((part + 1) * shares.each, blocks * p.shared());
      for (int64_t unit = part * shares.each; unit < last; ++unit) {
        const int64_t first = unit % blocks * size, count = least(size, s.queries - first);
        b.run(s, group * p.shared() + unit / blocks, first, count, D ? dk : nullptr, dk_row, E ? dv : nullptr, dv_row,
              own.get(), drops ? &generator : nullptr, state.offset);
      }
      if (direct || shares.count > 1) continue;
      if (D) store_sums(b.dk, s, group, keys, D, dk, 1, 0);
      if (E) store_sums(b.dv, s, group, keys, E, dv, 1, 0);
    }
  });
  if (shares.count == 1) return;
  parallel_ranges(p.examples * p.groups, 1, [&](int64_t head, int64_t) {
    const Sequence& s = p.sequences[head / p.groups];
    const C* sums = partial.get() + head * shares.count * share;
    if (D) store_sums(b.dk, s, head % p.groups, p.keys, D, sums, shares.count, share);
    if (E) store_sums(b.dv, s, head % p.groups, p.keys, E, sums + p.keys * D, shares.count, share);
  });
}

// ---- entries ------------------------------------------------------------------------------------------------------
static void forward(const Args& a) {
  const bool behind = a.integer(6);
  const Problem p = problem_of("attention_forward", a, 0, a.in(0), a.in(1), a.in(2), behind, a.in(3), a.in(4), a.in(5),
                               a.in(6), a.in(7));
  with_float(a.in(0).dtype, [&]<class T>() {
    using R = Rows<const T>;
    attend<T>(p, R(a.in(0), behind), R(a.in(1), behind), R(a.in(2), behind), a.out(0), a.out(1));
  });
}

static void backward(const Args& a) {
  const bool behind = a.integer(6);
  const Problem p = problem_of("attention_backward", a, 0, a.in(1), a.in(2), a.in(3), behind, a.in(6), a.in(7), a.in(8),
                               a.in(9), a.in(10));
  if (p.by_offsets)
    for (int k = 0; k < 3; ++k) clear(a.out(k));
  with_float(a.in(1).dtype, [&]<class T>() {
    using R = Rows<const T>;
    using W = Rows<T>;
    differentiate<T>(p, {p, R(a.in(0), behind), R(a.in(1), behind), R(a.in(2), behind), R(a.in(3), behind),
                         R(a.in(4), behind), W(a.out(0), behind), W(a.out(1), behind), W(a.out(2), behind), a.in(5)});
  });
}

// The heads `first` to `first + count` of one projection (B, T, heads, D).
static Array heads_of(const Array& qkv, int64_t first, int64_t count) {
  Array part = qkv;
  part.data = static_cast<char*>(qkv.data) + first * qkv.strides[2] * item_size(qkv.dtype);
  part.shape[2] = count;
  return part;
}

static void packed_forward(const Args& a) {
  const Array& qkv = a.in(0);
  const int64_t heads = a.integer(0), groups = (qkv.shape[2] - heads) / 2;
  const Array q = heads_of(qkv, 0, heads), k = heads_of(qkv, heads, groups), v = heads_of(qkv, heads + groups, groups);
  const Problem p = problem_of("attention_packed_forward", a, 1, q, k, v, true, a.in(1), a.in(2), a.in(3), a.in(3),
                               a.in(4));
  with_float(qkv.dtype, [&]<class T>() {
    using R = Rows<const T>;
    attend<T>(p, R(q, true), R(k, true), R(v, true), a.out(0), a.out(1));
  });
}

static void packed_backward(const Args& a) {
  const Array &qkv = a.in(1), &to = a.out(0);
  const int64_t heads = a.integer(0), groups = (qkv.shape[2] - heads) / 2;
  const auto part = [&](const Array& x, int which) {
    return heads_of(x, which == 0 ? 0 : heads + (which - 1) * groups, which == 0 ? heads : groups);
  };
  const Array q = part(qkv, 0), k = part(qkv, 1), v = part(qkv, 2);
  const Problem p = problem_of("attention_packed_backward", a, 1, q, k, v, true, a.in(4), a.in(5), a.in(6), a.in(6),
                               a.in(7));
  if (p.by_offsets) clear(to);
  with_float(qkv.dtype, [&]<class T>() {
    using R = Rows<const T>;
    using W = Rows<T>;
    differentiate<T>(p, {p, R(a.in(0), true), R(q, true), R(k, true), R(v, true), R(a.in(2), true),
                         W(part(to, 0), true), W(part(to, 1), true), W(part(to, 2), true), a.in(3)});
  });
}

static const Kernel kernels[] = {
    {"attention:attention_forward", forward, 0},
    {"attention:attention_backward", backward, 0b100000},
    {"attention:attention_packed_forward", packed_forward, 0},
    {"attention:attention_packed_backward", packed_backward, 0b1000},
};
