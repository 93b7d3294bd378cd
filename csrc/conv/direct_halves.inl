// Direct convolutions of 16-bit images: some images at a time are widened to float, and what comes out is rounded.
//
// All kernels above arrange what they read before they compute, and compute in float: widening costs a pass over images
// that stay in the caches, and there is one set of kernels. Rounding is that of the separate operations: of the sums
// with the bias, then of the activation of that. The gradient of the weight is summed in float over all images.
//
// How many times as long as float32 bfloat16 takes in NCHW, two cores of a Zen 4, output, 3 x 3, with elements widened
// one after the other on their way into each kernel, and here:
//   depthwise, 128 channels of 8 x 8, 128 images    6.2 -> 1.5
//   depthwise, 32 of 56 x 56, 16 images             3.9 -> 2.5
//   1 -> 8 channels of 28 x 28, 128 images          4.4 -> 1.3
//   8 -> 16 channels of 13 x 13, 128 images         2.2 -> 1.2

constexpr int64_t kWide = int64_t{1} << 19;  // elements of source and target at a time: 2 MiB of float

// An array as float: `count` of its images, or of whatever its first axis is.
template <class S> struct Wide {
  const Array& narrow;
  const int64_t image, count;  // elements of one
  Scratch<float> room;

  Wide(const Array& x, int64_t n)
      : narrow(x), image(x && x.shape[0] ? x.size() / x.shape[0] : 0), count(x ? n : 0), room(count * image) {}

  Array images(int64_t n) const {
    Array x = narrow;
    if (x) x.data = room.get(), x.dtype = DType::float32, x.shape[0] = n;
    return x;
  }
  Array load(int64_t first, int64_t n) const {
    const S* from = narrow.as<S>() + first * image;
    parallel_ranges(narrow ? n * image : 0, int64_t{1} << 15, [&](int64_t begin, int64_t end) {
      load_block(room.get() + begin, from + begin, end - begin);
    });
    return images(n);
  }
  Array load() const { return load(0, count); }
  void store(int64_t first, int64_t n, const Array& pre, Activation activation) const {
    S *to = narrow.as<S>() + first * image, *kept = pre ? pre.as<S>() + first * image : nullptr;
    with_activation(activation, [&](auto a) {
      using A = decltype(a);
      parallel_ranges(n * image, int64_t{1} << 15, [&](int64_t begin, int64_t end) {
        float* from = room.get();
        store_block(to + begin, from + begin, end - begin);
        if (kept) store_block(kept + begin, from + begin, end - begin);
        if constexpr (!std::is_same_v<A, activation::none>) {
          load_block(from + begin, to + begin, end - begin);
#pragma omp simd
          for (int64_t i = begin; i < end; ++i) from[i] = A::value(from[i]);
          store_block(to + begin, from + begin, end - begin);
        }
      });
    });
  }
};

// f(first, count, most) for some images of both arrays after the other; `most` are all counts or one more.
template <class F> static void each_images(const Array& x, const Array& y, const F& f) {
  const int64_t all = x.shape[0];
  if (all == 0) return;
  const int64_t most = std::max<int64_t>(1, kWide / (x.size() / all + y.size() / all + 1));
  const int64_t parts = (all + most - 1) / most;
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t first = all * p / parts, last = all * (p + 1) / parts;
    f(first, last - first, (all + parts - 1) / parts);
  }
}

template <class S> static void narrow_forward(const Args& a) {
  const Array absent, &pre = a.n_arrays > a.n_inputs + 1 ? a.out(1) : absent;
  std::vector<Param> params(a.params, a.params + a.n_params);
  params[2].i = static_cast<int64_t>(Activation::none);
  const Wide<S> w(a.in(1), a.in(1).shape[0]), bias(a.in(2), a.in(2).shape[0]);
  w.load(), bias.load();
  each_images(a.in(0), a.out(), [&](int64_t first, int64_t count, int64_t most) {
    const Wide<S> x(a.in(0), most), out(a.out(), most);
    Array arrays[] = {x.load(first, count), w.images(w.count), bias.images(bias.count), out.images(count)};
    forward<float>({arrays, 3, 4, params.data(), a.n_params});
    out.store(first, count, pre, static_cast<Activation>(a.integer(2)));
  });
}

template <class S> static void narrow_input(const Args& a) {
  const Wide<S> w(a.in(1), a.in(1).shape[0]);
  w.load();
  each_images(a.in(0), a.out(), [&](int64_t first, int64_t count, int64_t most) {
    const Wide<S> dout(a.in(0), most), dx(a.out(), most);
    Array arrays[] = {dout.load(first, count), w.images(w.count), dx.images(count)};
    input_gradient<float>({arrays, 2, 3, a.params, a.n_params});
    dx.store(first, count, Array(), Activation::none);
  });
}

template <class S> static void narrow_weight(const Args& a) {
  const int64_t size = a.out().size();
  const Wide<S> sum(a.out(), a.out().shape[0]), part(a.out(), a.out().shape[0]);
  std::fill_n(sum.room.get(), size, 0.0f);
  each_images(a.in(0), a.in(1), [&](int64_t first, int64_t count, int64_t most) {
    const Wide<S> x(a.in(0), most), dout(a.in(1), most);
    Array arrays[] = {x.load(first, count), dout.load(first, count), part.images(part.count)};
    weight_gradient<float>({arrays, 2, 3, a.params, a.n_params});
    for (int64_t i = 0; i < size; ++i) sum.room[i] += part.room[i];
  });
  sum.store(0, sum.count, Array(), Activation::none);
}

static void output(const Args& a) {
  with_float(a.in(0).dtype, [&]<class S>() {
    if constexpr (std::is_same_v<S, compute_t<S>>) forward<S>(a);
    else narrow_forward<S>(a);
  });
}
static void input(const Args& a) {
  with_float(a.in(0).dtype, [&]<class S>() {
    if constexpr (std::is_same_v<S, compute_t<S>>) input_gradient<S>(a);
    else narrow_input<S>(a);
  });
}
static void weight(const Args& a) {
  with_float(a.in(0).dtype, [&]<class S>() {
    if constexpr (std::is_same_v<S, compute_t<S>>) weight_gradient<S>(a);
    else narrow_weight<S>(a);
  });
}
