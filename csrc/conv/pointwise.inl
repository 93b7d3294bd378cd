// Kernels of length 1, without stride and padding, are products of what lies in memory; the family matmul does them:
// with channels last, or one position an image, out (N P, D) = x (N P, C) @ w^T; of planes, out (D, P) = w @ x (C, P)
// for each image. There lanes are positions, of which P may leave some empty, where the general kernels transpose x and
// out and transpose the weights anew in each call: cheaper for few positions and many channels.
//
// Microseconds of float32, NCHW, by the general kernels and by products, two cores of a Zen 4 (the multiply-adds alone
// take 8.8 each million), output, alternating processes:
//   64 images, 128 -> 128 of 8 x 8       794 -> 589      64 images, 128 -> 128 of 6 x 6     416 -> 382
//   64 images,  64 -> 128 of 8 x 8       408 -> 298       1 image,  256 -> 512 of 14 x 14   342 -> 236
//    4 images,  64 -> 128 of 8 x 8        52 ->  21      16 images, 192 ->  64 of 28 x 28  1862 -> 1530
// With empty lanes they lose: 16 images, 256 -> 256 of 3 x 6 207 -> 231, 128 -> 512 of 5 x 5 285 -> 299.

constexpr int64_t kTranspose = 3, kWeigh = 2;  // half, quarter multiply-adds of a vector: an element of x or out, of w
constexpr int64_t kChunk = int64_t{1} << 19;   // elements of out that are made before bias and activation: in cache

static inline Array matrix(const Array& like, void* data, std::initializer_list<int64_t> shape,
                           std::initializer_list<int64_t> strides) {
  Array x;
  x.data = data, x.dtype = like.dtype, x.ndim = static_cast<uint8_t>(shape.size());
  std::copy(shape.begin(), shape.end(), x.shape);
  std::copy(strides.begin(), strides.end(), x.strides);
  return x;
}

static inline void run_product(const char* name, Array* arrays, int inputs, int outputs, int64_t activation) {
  Param param;
  param.i = activation;
  find_kernel(name)->function({arrays, inputs, inputs + outputs, &param, 1});
}

// Whether products of planes take less time than the general kernels, in multiply-adds of a vector.
static bool prefers_planes(const Images& source, const Images& target) {
  constexpr int64_t L = kLanes<float>;
  const int64_t from = source.channels, to = target.channels, p = target.positions();
  const int64_t product = from * to * ceil_div(p, L), general = from * ceil_div(to, L) * p;
  return product <= general + (from + to) * p * kTranspose / 2 + from * to * kWeigh / (4 * target.count);
}

// Bias and activation of `count` planes of p elements of an output, in place; each step rounds to S.
template <class S>
static void finish_planes(S* out, S* pre, const S* bias, Activation activation, int64_t count, int64_t channels,
                          int64_t p) {
  using T = compute_t<S>;
  constexpr int64_t kBlock = 1024;
  with_activation(activation, [&](auto a) {
    using A = decltype(a);
    parallel_ranges(count, (int64_t{1} << 14) / p + 1, [&](int64_t begin, int64_t end) {
      T block[kBlock];
      for (int64_t plane = begin; plane < end; ++plane)
        for (int64_t i = 0; i < p; i += kBlock) {
          const int64_t n = std::min(kBlock, p - i), at = plane * p + i;
          load_block(block, out + at, n);
          if (bias) {
            const T b = load(bias + plane % channels);
#pragma omp simd
            for (int64_t j = 0; j < n; ++j) block[j] += b;
            if (!std::is_same_v<S, T>) store_block(out + at, block, n), load_block(block, out + at, n);
          }
          if (pre) store_block(pre + at, block, n);
          activate<A, T>(block, n);
          store_block(out + at, block, n);
        }
    });
  });
}

// Whether it is for matmul, which then has done it. `w` (D, C); backward the product is with its transpose.
static bool run_pointwise(const Args& args, const Images& source, const Images& target, const Axis (&axes)[kAxes],
                          const Walk& walk, bool transposed) {
  const Array &x = args.in(0), &w = args.in(1), &out = args.out();
  for (const Axis& a : axes) {
    if (a.kernel != 1 || a.stride != 1 || a.before != 0 || a.source != a.target) return false;
  }
  const int64_t n = source.count, p = source.positions(), from = source.channels, to = target.channels;
  if (walk.groups != 1 || n * p == 0) return false;
  const Array bias = transposed ? Array() : args.in(2);
  const Array pre = !transposed && args.n_arrays > args.n_inputs + 1 ? args.out(1) : Array();
  const Array weight = matrix(w, w.data, {to, from}, {transposed ? 1 : from, transposed ? to : 1});
  if (walk.interleaved || p == 1) {  // weight (N, K) of linear
    Array arrays[] = {matrix(x, x.data, {n * p, from}, {from, 1}), weight, bias,
                      matrix(out, out.data, {n * p, to}, {to, 1}),
                      pre ? matrix(out, pre.data, {n * p, to}, {to, 1}) : Array()};
    run_product("matmul:linear", arrays, 3, 2, transposed ? 0 : args.integer(2));
    return true;
  }
  if (!prefers_planes(source, target)) return false;
  with_float(x.dtype, [&]<class S>() {
    const bool finished = !bias && !pre && walk.activation == Activation::none;
    const int64_t images = finished ? n : std::clamp<int64_t>(kChunk / (to * p), 1, n);
    for (int64_t i = 0; i < n; i += images) {
      const int64_t count = std::min(images, n - i), at = i * to * p;
      Array arrays[] = {weight, matrix(x, x.as<S>() + i * from * p, {count, from, p}, {from * p, p, 1}),
                        matrix(out, out.as<S>() + at, {count, to, p}, {to * p, p, 1})};
      run_product("matmul:matmul", arrays, 2, 1, 0);
      if (!finished)
        finish_planes(out.as<S>() + at, pre ? pre.as<S>() + at : nullptr, bias ? bias.as<S>() : nullptr,
                      walk.activation, count * to, to, p);
    }
  });
  return true;
}
