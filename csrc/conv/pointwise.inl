// Kernels of length 1, without stride and padding, are products of what lies in memory: the family matmul does them
// where transposing would cost more than its packing. With few channels an element of x is worth few multiply-adds.

constexpr int64_t kFewChannels = 128;  // GFLOP/s here and there, NCHW: 64 -> 256 channels 147, 192; 512 -> 128 194, 188
constexpr int64_t kPlane = 128;        // positions of an image of NCHW: fewer leave lanes of its product empty

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

// Whether it is for matmul, which then has done it. `w` (D, C); backward the product is with its transpose.
static bool run_pointwise(const Args& args, const Images& source, const Images& target, const Axis (&axes)[kAxes],
                          const Walk& walk, bool transposed) {
  const Array &x = args.in(0), &w = args.in(1), &out = args.out();
  for (const Axis& a : axes) {
    if (a.kernel != 1 || a.stride != 1 || a.before != 0 || a.source != a.target) return false;
  }
  const int64_t n = source.count, p = source.positions(), from = source.channels, to = target.channels;
  if (walk.groups != 1 || n * p == 0 || from > kFewChannels) return false;
  const bool bias = !transposed && args.in(2), pre = args.n_arrays > args.n_inputs + 1 && args.out(1);
  if (walk.interleaved) {  // weight (N, K) of linear
    Array arrays[] = {matrix(x, x.data, {n * p, from}, {from, 1}),
                      matrix(w, w.data, {to, from}, {transposed ? 1 : from, transposed ? to : 1}),
                      bias ? args.in(2) : Array(),
                      matrix(out, out.data, {n * p, to}, {to, 1}),
                      pre ? matrix(out, args.out(1).data, {n * p, to}, {to, 1}) : Array()};
    run_product("matmul:linear", arrays, 3, 2, transposed ? 0 : args.integer(2));
    return true;
  }
  if (bias || pre || walk.activation != Activation::none || p < kPlane) return false;
  Array arrays[] = {matrix(w, w.data, {to, from}, {transposed ? 1 : from, transposed ? to : 1}),
                    matrix(x, x.data, {n, from, p}, {from * p, p, 1}),
                    matrix(out, out.data, {n, to, p}, {to * p, p, 1})};
  run_product("matmul:matmul", arrays, 2, 1, 0);
  return true;
}
