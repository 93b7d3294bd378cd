// Gradients of linear: dout, x, weight, saved -> dx, dweight, dbias, each only where asked for.
//   dpre = dout * activation'(saved)    (R, N), computed once, with its column sums on the way
//   dx = dpre @ weight    (R, K),  dweight = dpre.T @ x    (N, K),  dbias = sum of dpre over R
// R: the product of all leading axes of x.

constexpr int64_t kSumRows = 64;  // rows of one partial sum: errors grow with 64 + R / 64, not with R

// One stripe of rows: dpre, and the sum over its rows.
template <class A, class S>
static void activation_stripe(const S* dout, const S* saved, S* dpre, compute_t<S>* sum, int64_t rows,
                              int64_t columns) {
  using T = compute_t<S>;
  if (sum) {
    for (int64_t j = 0; j < columns; ++j) sum[j] = 0;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const S* from = dout + r * columns;
    if constexpr (!std::is_same_v<A, activation::none>) {
      const S* kept = saved + r * columns;
      S* to = dpre + r * columns;
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to + j, A::gradient(load(from + j), load(kept + j)));
      from = to;
    }
    if (sum) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) sum[j] += T(load(from + j));
    }
  }
}

template <class S>
using StripeFunction = void (*)(const S*, const S*, S*, compute_t<S>*, int64_t, int64_t);
template <class S> static void backward(const Args& args, Activation code) {
  using T = compute_t<S>;
  const Array &dout = args.in(0), &x = args.in(1), &weight = args.in(2), &saved = args.in(3);
  const Array &dx = args.out(0), &dweight = args.out(1), &dbias = args.out(2);
  const int64_t n = dout.shape[dout.ndim - 1], k = x.shape[x.ndim - 1];
  int64_t rows = 1;
  for (int d = 0; d < dout.ndim - 1; ++d) rows *= dout.shape[d];

  const int64_t stripes = ceil_div(rows, kSumRows);
  Scratch<S> own(code == Activation::none ? 0 : rows * n);
  Scratch<T> sums(dbias ? stripes * n : 0);
  const S* dpre = code == Activation::none ? dout.as<S>() : own.get();
  if (code != Activation::none || dbias) {
    const auto run = with_activation(code, [](auto a) -> StripeFunction<S> {
      return activation_stripe<decltype(a), S>;
    });
    const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 14) / (kSumRows * n + 1));  // elements: some us
    parallel_ranges(stripes, grain, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        const int64_t first = s * kSumRows, at = first * n;
        run(dout.as<S>() + at, saved ? saved.as<S>() + at : nullptr, own.get() + (code == Activation::none ? 0 : at),
            dbias ? sums.get() + s * n : nullptr, std::min(kSumRows, rows - first), n);
      }
    });
  }
  if (dbias) {
    for (int64_t s = 1; s < stripes; ++s) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) sums[j] += sums[s * n + j];
    }
    for (int64_t j = 0; j < n; ++j) store(dbias.as<S>() + j, stripes ? sums[j] : T(0));
  }
  Product<S> both[] = {
      {dx ? rows : 0, k, n, dpre, n, 1, weight.as<S>(), weight.strides[0], weight.strides[1], dx.as<S>(), k},
      {dweight ? n : 0, k, rows, dpre, 1, n, x.as<S>(), k, 1, dweight.as<S>(), k}};
  for (Product<S>& p : both)
    if (multiply_without_zeros(p)) p.m = 0;
  gemm(both);
}

// Parameter: the activation's code. `saved` is what linear kept; absent without activation.
static void linear_backward(const Args& args) {
  with_float(args.in(0).dtype,
             [&]<class T>() { backward<T>(args, static_cast<Activation>(args.integer(0))); });
}
