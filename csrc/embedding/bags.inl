// Sums, means and maxima of the rows of bags of tokens, and their gradients.
//
// Bound by memory. Tokens and offsets are checked as a whole before anything is written. The rows of a bag are added in
// registers, in the order of the tokens; gradients are those of movement/segments.inl, a token's row that of its bag.
// Parameters of all: 0 mode, 1 the token that counts for nothing, or -1, 2 whether the last offset is an end.
#include "common/fold.inl"
#include "loss/position.inl"
#include "common/strided_copy.inl"
#include "movement/positions.inl"
#include "movement/segments.inl"
#include "embedding/tokens.inl"

enum Mode : int64_t { kSum, kMean, kMax };  // as MODES in dlcore/ops/bags.py

// The tokens of all bags: bag b has the numbers entry[first[b]] .. entry[first[b + 1] - 1], without padding.
struct Bags {
  int64_t n, count;
  Scratch<int64_t> token, first, entry;

  Bags(const char* name, const Args& a, const Array& input, const Array& offsets, int64_t size)
      : n(input.size()), count(number(a, input, offsets)), token(n), first(count + 1),
        entry(n + RowsByPlace<int64_t>::kAhead) {
    find_tokens(name, input, size, token.get());
    const Scratch<int64_t> begin(count + 2);
    if (offsets) {
      read_offsets(name, offsets, begin.get());
      if (!a.integer(2)) begin[count] = n;
    } else {
      for (int64_t b = 0; b <= count; ++b) begin[b] = b * input.shape[1];
    }
    const int64_t padding = a.integer(1);
    int64_t kept = 0;
    first[0] = 0;
    for (int64_t b = 0; b < count; ++b) {
      for (int64_t e = begin[b]; e < begin[b + 1]; ++e)
        if (token[e] != padding) entry[kept++] = e;
      first[b + 1] = kept;
    }
    for (int64_t k = 0; k < RowsByPlace<int64_t>::kAhead && kept + k < n + RowsByPlace<int64_t>::kAhead; ++k)
      entry[kept + k] = 0;
  }
  static int64_t number(const Args& a, const Array& input, const Array& offsets) {
    return offsets ? offsets.size() - (a.integer(2) ? 1 : 0) : input.shape[0];
  }
  void read_offsets(const char* name, const Array& offsets, int64_t* begin) const {
    with_integer(offsets.dtype, [&]<class T>() {
      for (int64_t b = 0; b < offsets.size(); ++b) begin[b] = static_cast<int64_t>(offsets.as<const T>()[b]);
    });
    for (int64_t b = 0; b < offsets.size(); ++b) {
      const int64_t low = b ? begin[b - 1] : 0, high = b ? n : 0;
      if (begin[b] < low || begin[b] > high)
        throw ValueFault(std::string(name) + ": offset " + std::to_string(begin[b]) + " at position " +
                         std::to_string(b) +
                         (b ? " is not between the one before, " + std::to_string(low) + ", and " + std::to_string(n)
                            : " is not 0"));
    }
  }
  int64_t size(int64_t b) const { return first[b + 1] - first[b]; }
};

// Rows of a table by the numbers of tokens.
template <class T, bool weighted> struct TableRows {
  static constexpr bool kWeighted = weighted;
  const T *table, *weights;
  const int64_t* token;
  int64_t width;
  const T* row(int64_t, int64_t e) const { return table + token[e] * width; }
  compute_t<T> weight(int64_t e) const { return weighted ? load(weights + e) : compute_t<T>(1); }
};

// out[b] = the largest of its rows, chosen[b] = the tokens they came from; 0 and -1 where there are none. A NaN wins.
template <class T>
static void largest_of(const Bags& bags, int64_t b, const T* table, int64_t width, T* out, int64_t* chosen) {
  for (int64_t j = 0; j < width; ++j) {
    compute_t<T> most = 0;
    int64_t from = -1;
    for (int64_t k = bags.first[b]; k < bags.first[b + 1]; ++k) {
      const int64_t token = bags.token[bags.entry[k]];
      const compute_t<T> x = load(table + token * width + j);
      if (from < 0 || x > most || (x != x && most == most)) most = x, from = token;
    }
    store(out + j, most);
    if (chosen) chosen[j] = from;
  }
}

// Operands: weight, input, offsets or none, weights of tokens or none.
static void forward(const Args& a) {
  const Array &weight = a.in(0), &weights = a.in(3), &out = a.out(0), &chosen = a.out(1);
  const Bags bags("embedding_bag_forward", a, a.in(1), a.in(2), weight.shape[0]);
  const int64_t width = weight.shape[1], mode = a.integer(0);
  if (out.size() == 0) return;
  const int64_t each = bags.n / std::max<int64_t>(bags.count, 1) + 1;
  with_float(weight.dtype, [&]<class T>() {
    const T* table = weight.as<const T>();
    parallel_ranges(bags.count, kCopyGrain / (each * width * static_cast<int64_t>(sizeof(T))) + 1,
                    [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        T* to = out.as<T>() + b * width;
        const int64_t *e = bags.entry.get() + bags.first[b], *last = bags.entry.get() + bags.first[b + 1];
        if (mode == kMax) {
          largest_of(bags, b, table, width, to, chosen ? chosen.as<int64_t>() + b * width : nullptr);
        } else if (weights) {
          add_place(to, TableRows<T, true>{table, weights.as<const T>(), bags.token.get(), width}, 0, e, last, 0, width,
                    1.0);
        } else {
          const double scale = mode == kMean && e != last ? 1.0 / static_cast<double>(last - e) : 1.0;
          add_place(to, TableRows<T, false>{table, nullptr, bags.token.get(), width}, 0, e, last, 0, width, scale);
        }
      }
    });
  });
}

// The gradient of a bag as the row of each of its tokens.
template <class T, bool weighted> struct BagRows {
  static constexpr bool kWeighted = weighted;
  const T* dout;
  const int64_t* bag;
  const compute_t<T>* factor;
  int64_t width;
  const T* row(int64_t, int64_t e) const { return dout + bag[e] * width; }
  compute_t<T> weight(int64_t e) const { return weighted ? factor[e] : compute_t<T>(1); }
};

// Of maxima: dweight[chosen[b][j]][j] += dout[b][j], by strips of columns.
template <class T>
static void add_chosen(T* dweight, int64_t length, int64_t width, const T* dout, const int64_t* chosen, int64_t bags) {
  using A = compute_t<T>;
  constexpr int64_t strip = 64;
  parallel_ranges((width + strip - 1) / strip, 1, [&](int64_t unit, int64_t) {
    const int64_t first = unit * strip, n = std::min(strip, width - first);
    const Scratch<A> sums(length * n);
    memset(sums.get(), 0, length * n * sizeof(A));
    for (int64_t b = 0; b < bags; ++b) {
      for (int64_t j = 0; j < n; ++j) {
        const int64_t token = chosen[b * width + first + j];
        if (token >= 0) sums[token * n + j] += load(dout + b * width + first + j);
      }
    }
    for (int64_t k = 0; k < length; ++k) store_block(dweight + k * width + first, sums.get() + k * n, n);
  });
}

static void check_chosen(const Array& chosen, int64_t length) {
  for (int64_t i = 0; i < chosen.size(); ++i) {
    const int64_t token = chosen.as<const int64_t>()[i];
    if (token < -1 || token >= length)
      throw IndexFault("embedding_bag_backward: token " + std::to_string(token) + " at position " +
                       position(chosen, i) + " of chosen is outside of the vocabulary of " + std::to_string(length));
  }
}

// Operands: dout, input, offsets or none, weights of tokens or none, chosen or none. Parameter 3: whether sums are
// divided by how often a token is there.
static void backward(const Args& a) {
  const Array &dout = a.in(0), &weights = a.in(3), &chosen = a.in(4), &dweight = a.out();
  const int64_t length = dweight.shape[0], width = dweight.shape[1], mode = a.integer(0);
  const Bags bags("embedding_bag_backward", a, a.in(1), a.in(2), length);
  if (dweight.size() == 0) return;
  with_float(dweight.dtype, [&]<class T>() {
    using A = compute_t<T>;
    const T* from = dout.as<const T>();
    if (mode == kMax) {
      check_chosen(chosen, length);
      return add_chosen(dweight.as<T>(), length, width, from, chosen.as<const int64_t>(), bags.count);
    }
    const Scratch<int64_t> bag(bags.n), place(bags.n);
    const Scratch<A> factor(bags.n);
    for (int64_t e = 0; e < bags.n; ++e) bag[e] = 0, place[e] = -1, factor[e] = 1;
    for (int64_t b = 0; b < bags.count; ++b) {
      const double share = mode == kMean ? 1.0 / static_cast<double>(bags.size(b)) : 1.0;
      for (int64_t k = bags.first[b]; k < bags.first[b + 1]; ++k) {
        const int64_t e = bags.entry[k];
        bag[e] = b, place[e] = bags.token[e];
        factor[e] = weights ? load(weights.as<const T>() + e) : static_cast<A>(share);
      }
    }
    const bool mean = a.integer(3) != 0;
    T* to = dweight.as<T>();
    if (mode == kSum && !weights)
      add_rows_by_place(to, 1, length, width, place.get(), bags.n,
                        BagRows<T, false>{from, bag.get(), factor.get(), width}, mean);
    else
      add_rows_by_place(to, 1, length, width, place.get(), bags.n,
                        BagRows<T, true>{from, bag.get(), factor.get(), width}, mean);
  });
}

// dweights[e] = the product of its bag's dout with its token's row; 0 for padding. Operands: dout, weight, input,
// offsets.
static void weights_backward(const Args& a) {
  const Array &dout = a.in(0), &weight = a.in(1), &out = a.out();
  const int64_t width = weight.shape[1];
  const Bags bags("embedding_bag_weights_backward", a, a.in(2), a.in(3), weight.shape[0]);
  with_float(weight.dtype, [&]<class T>() {
    memset(out.data, 0, out.size() * sizeof(T));
    parallel_ranges(bags.count, 1 + 16 * 1024 / (width * (bags.n / std::max<int64_t>(bags.count, 1) + 1) + 1),
                    [&](int64_t begin, int64_t end) {
      for (int64_t k = bags.first[begin]; k < bags.first[end]; ++k) {
        while (bags.first[begin + 1] <= k) ++begin;
        const int64_t e = bags.entry[k];
        const T *d = dout.as<const T>() + begin * width, *x = weight.as<const T>() + bags.token[e] * width;
        const auto product = [=](int64_t j) DLCORE_MAP { return load(d + j) * load(x + j); };
        store(out.as<T>() + e, static_cast<compute_t<T>>(sum_of<compute_t<T>>(width, product)));
      }
    });
  });
}

static const Kernel kernels[] = {
    {"embedding:embedding_bag_forward", forward, kAllContiguous},
    {"embedding:embedding_bag_backward", backward, kAllContiguous},
    {"embedding:embedding_bag_weights_backward", weights_backward, kAllContiguous},
};
