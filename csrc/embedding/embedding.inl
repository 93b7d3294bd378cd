// Rows of a table by tokens, their gradient, and rows that are made shorter where they are too long.
//
// Bound by memory. Tokens are checked as a whole before anything is written. Sums and their order:
// movement/segments.inl.
#include "loss/position.inl"
#include "common/strided_copy.inl"
#include "movement/positions.inl"
#include "movement/segments.inl"
#include "embedding/tokens.inl"

// out[i] = weight[input[i]]
static void forward(const Args& a) {
  const Array &weight = a.in(0), &input = a.in(1);
  const Scratch<int64_t> positions(input.size());
  find_tokens("embedding_forward", input, weight.shape[0], positions.get());
  take_at(weight, 0, input.size(), a.out(), [&](int64_t first, int64_t, int64_t*) { return positions.get() + first; });
}

// dweight[k] = sum of dout[i] over the i with input[i] == k. Parameters: 0 the token without a gradient, or -1; 1
// whether the sum is divided by its number of terms.
static void backward(const Args& a) {
  const Array &dout = a.in(0), &input = a.in(1), &dweight = a.out();
  const int64_t n = input.size(), length = dweight.shape[0], width = dweight.shape[1], padding = a.integer(0);
  const Scratch<int64_t> places(n);
  find_tokens("embedding_backward", input, length, places.get());
  if (dweight.size() == 0) return;
  for (int64_t i = 0; padding >= 0 && i < n; ++i)
    if (places[i] == padding) places[i] = -1;
  with_float(dweight.dtype, [&]<class T>() {
    const DenseRows<T> rows{dout.as<const T>(), 0, width};
    add_rows_by_place(dweight.as<T>(), 1, length, width, places.get(), n, rows, a.integer(1) != 0);
  });
}

// ---- embedding_renorm_ --------------------------------------------------------------------------------------------
// The norm of a row of n elements `stride` apart, in double; a NaN among them is the norm.
template <class T> static double norm_of(const T* x, int64_t n, int64_t stride, double p) {
  const auto sum = [=](auto term) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += term(std::fabs(static_cast<double>(load(x + i * stride))));
    return total;
  };
  if (p == 2) return std::sqrt(sum([](double v) { return v * v; }));
  if (p == 1) return sum([](double v) { return v; });
  if (p == 0) return sum([](double v) { return v != 0 ? 1.0 : 0.0; });
  if (std::isinf(p)) {
    double most = 0;
    sum([&](double v) { return most = v > most || v != v ? v : most; });
    return most;
  }
  return std::pow(sum([=](double v) { return std::pow(v, p); }), 1 / p);
}

// weight[k] *= max_norm / (norm + 1e-7) for each k in input whose row has a norm beyond max_norm.
static void renorm(const Args& a) {
  const Array &weight = a.in(0), &input = a.in(1);
  const double most = a.number(0), p = a.number(1);
  const int64_t n = input.size(), length = weight.shape[0], width = weight.shape[1];
  const Scratch<int64_t> places(n);
  find_tokens("embedding_renorm_", input, length, places.get());
  const Scratch<uint8_t> seen(length);
  memset(seen.get(), 0, length);
  int64_t found = 0;  // each row once
  for (int64_t i = 0; i < n; ++i) {
    const int64_t k = places[i];
    if (!seen[k]) places[found++] = k;
    seen[k] = 1;
  }
  with_float(weight.dtype, [&]<class T>() {
    parallel_ranges(found, 8192 / (width + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* row = weight.as<T>() + places[i] * weight.strides[0];
        const double norm = norm_of(row, width, weight.strides[1], p);
        if (!(norm > most)) continue;
        const compute_t<T> scale = static_cast<compute_t<T>>(most / (norm + 1e-7));
        for (int64_t j = 0; j < width; ++j) {
          T* x = row + j * weight.strides[1];
          store(x, load(x) * scale);
        }
      }
    });
  });
}

static const Kernel kernels[] = {
    {"embedding:embedding_forward", forward, kAllContiguous},
    {"embedding:embedding_backward", backward, kAllContiguous},
    {"embedding:embedding_renorm_", renorm, 0b10},
};
