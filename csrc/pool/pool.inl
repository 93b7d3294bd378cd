// Maxima and means of windows over one, two or three axes, and their gradients.
//
// They read the input once and write the output once: max_pool of 2 by 2 moves 5 bytes an element of float32, its
// gradient 5.25, and has 4 comparisons for 16 elements to do. Windows of 2 along each axis have ways of their own
// (halves.inl), as have channels that fill vectors (channels.inl), whole planes and rows of large strides (planes.inl),
// and gradients of narrow planes (scatter.inl); others are walked by phases (phases.inl) where they are small, else one
// at a time (max.inl). The position of each maximum in its window, a byte, is what is kept for the gradient.
// Parameters: geometry.inl.

#include "pool/planes.inl"
#include "pool/scatter.inl"

// The dtypes that PyTorch takes maxima of.
template <class F> static void with_comparable(DType dtype, F&& f) {
  switch (dtype) {
    case DType::uint8: return f.template operator()<uint8_t>();
    case DType::int8: return f.template operator()<int8_t>();
    case DType::int16: return f.template operator()<int16_t>();
    case DType::int32: return f.template operator()<int32_t>();
    case DType::int64: return f.template operator()<int64_t>();
    default: return with_float(dtype, f);
  }
}

// P: a byte where windows have at most kPoolVolume elements, else int32, and then few ways come into question.
template <class T, class P>
static void max_forward(const Pooling& p, const Args& a, P* places, int64_t* indices) {
  const T* x = a.in(0).as<T>();
  T* out = a.out().as<T>();
  constexpr bool small = sizeof(P) == 1;
  if constexpr (small && std::is_floating_point_v<T>)
    if (!indices && by_pairs<T>(p)) return max_by_pairs(p, x, out, places);
  if constexpr (small)
    if (!indices && by_halves(p)) return max_by_halves(p, x, out, places);
  if constexpr (!std::is_integral_v<T>)
    if (is_whole(p)) return maxima_of_planes(p, x, out, places, indices);
  if constexpr (small && !std::is_integral_v<T>)
    if (by_channels<T>(p)) {
      if (places || indices) return max_by_channels<true>(p, x, out, places, indices);
      return max_by_channels<false>(p, x, out, places, indices);
    }
  if (by_rows(p)) return max_by_rows(p, x, out, places, indices);
  if constexpr (small)
    if (by_phases(p)) return max_by_phases(p, x, out, places, indices);
  max_by_windows(p, x, out, places, indices);
}

static void max_of_windows(const Args& a, const Array& places, int64_t* indices) {
  const Array& x = a.in(0);
  if (a.out().size() == 0) return;
  const Pooling p = pooling_of(a, x, a.out());
  const bool small = places ? places.dtype == DType::uint8 : p.volume() <= kPoolVolume;
  with_comparable(x.dtype, [&]<class T>() {
    if (small) max_forward<T>(p, a, places.as<uint8_t>(), indices);
    else max_forward<T>(p, a, places.as<int32_t>(), indices);
  });
}

static void max_pool(const Args& a) { max_of_windows(a, a.out(1), nullptr); }
static void max_pool_indices(const Args& a) { max_of_windows(a, a.out(2), a.out(1).as<int64_t>()); }

// The gradients of n maxima behind a ReLU: those that are not above 0 are the ReLU's zeros.
template <class T> static void back_by_relu(const T* dout, const T* maxima, T* to, int64_t n) {
  using C = pool_t<T>;
  constexpr int64_t kBlock = 512;
  C given[kBlock], maximum[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    read(given, dout + i, count), read(maximum, maxima + i, count);
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) given[j] = maximum[j] <= 0 ? C(0) : given[j];
    write(to + i, given, count);
  }
}

static void max_pool_backward(const Args& a) {
  const Array &given = a.in(0), &places = a.in(1), &maxima = a.in(2), &dx = a.out();
  if (dx.size() == 0) return;
  const Pooling p = pooling_of(a, dx, given);
  with_float(given.dtype, [&]<class T>() {
    if (by_scatter(p) && places.dtype == DType::uint8) {
      const uint8_t* at = places.as<uint8_t>();
      if (maxima) return back_by_scatter<true>(p, given.as<T>(), at, maxima.as<T>(), dx.as<T>());
      return back_by_scatter<false, T>(p, given.as<T>(), at, nullptr, dx.as<T>());
    }
    Scratch<T> chosen(maxima ? given.size() : 0);
    const auto run = [&]<class P>(const P* at) {
      constexpr bool small = sizeof(P) == 1;
      if constexpr (small && std::is_floating_point_v<T>)
        if (by_pairs<T>(p))
          return back_by_pairs<true>(p, given.as<T>(), at, maxima.as<T>(), dx.as<T>(), Divisors{p, true, 1});
      const T* dout = maxima ? chosen.get() : given.as<T>();
      parallel_ranges(maxima ? given.size() : 0, int64_t{1} << 14, [&](int64_t begin, int64_t end) {
        back_by_relu(given.as<T>() + begin, maxima.as<T>() + begin, chosen.get() + begin, end - begin);
      });
      const auto none = [](auto&&...) { return 1; };
      if constexpr (small) {
        if (by_halves(p)) return back_by_halves<true>(p, dout, at, dx.as<T>(), Divisors{p, true, 1});
        if (by_channels<T>(p)) return back_by_channels<true>(p, dout, at, dx.as<T>(), Divisors{p, true, 1});
      }
      if (by_planes(p)) return max_back_by_planes(p, dout, at, dx.as<T>());
      if constexpr (small)
        if (by_phases(p)) return back_by_phases<true>(p, dout, at, dx.as<T>(), none);
      back_by_windows<true>(p, dout, at, dx.as<T>(), none);
    };
    if (places.dtype == DType::uint8) run(places.as<const uint8_t>());
    else run(places.as<const int32_t>());
  });
}

// out = the elements of x at the positions of the windows that max_pool chose: the other way round.
static void max_pool_at(const Args& a) {
  const Array &x = a.in(0), &places = a.in(1), &out = a.out();
  if (out.size() == 0) return;
  const Pooling p = pooling_of(a, x, out);
  with_float(x.dtype, [&]<class T>() {
    each_row_of_windows(p, [&](int64_t plane, int64_t od, int64_t oh) {
      const T* from = x.as<T>() + plane * p.in() * p.inner;
      for (int64_t ow = 0; ow < p.axis[2].out; ++ow) {
        const int64_t to = (((plane * p.axis[0].out + od) * p.axis[1].out + oh) * p.axis[2].out + ow) * p.inner;
        for (int64_t c = 0; c < p.inner; ++c) {
          const bool byte = places.dtype == DType::uint8;
          const int64_t k = byte ? places.as<uint8_t>()[to + c] : places.as<int32_t>()[to + c];
          const int64_t i = Indices{p}.of(od, oh, ow, k);
          if (i >= 0) out.as<T>()[to + c] = from[i * p.inner + c];
          else store(out.as<T>() + to + c, compute_t<T>(0));
        }
      }
    });
  });
}

// Further parameters of means: whether padding counts, and the divisor where one is given.
static Divisors divisors_of(const Args& a, const Pooling& p, int space) {
  return {p, a.integer(1 + 4 * space) != 0, a.integer(2 + 4 * space)};
}

static void avg_pool(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  if (out.size() == 0) return;
  const Pooling p = pooling_of(a, x, out);
  const Divisors divisors = divisors_of(a, p, x.ndim - 2);
  const auto run = [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>)
      if (by_pairs<T>(p)) return means_by_pairs(p, x.as<T>(), out.as<T>(), divisors);
    if (by_halves(p)) return means_by_halves(p, x.as<T>(), out.as<T>(), divisors);
    if constexpr (!std::is_integral_v<T>) {
      if (is_whole(p)) return means_of_planes(p, x.as<T>(), out.as<T>(), divisors);
      if (by_channels<T>(p)) return means_by_channels(p, x.as<T>(), out.as<T>(), divisors);
    }
    if (by_rows(p)) means_by_rows(p, x.as<T>(), out.as<T>(), divisors);
    else if (by_phases(p)) means_by_phases(p, x.as<T>(), out.as<T>(), divisors);
    else means_by_windows(p, x.as<T>(), out.as<T>(), divisors);
  };
  if (x.dtype == DType::int64) run.template operator()<int64_t>();
  else with_float(x.dtype, run);
}

static void avg_pool_backward(const Args& a) {
  const Array &dout = a.in(0), &dx = a.out();
  if (dx.size() == 0) return;
  const Pooling p = pooling_of(a, dx, dout);
  const Divisors divisors = divisors_of(a, p, dx.ndim - 2);
  with_float(dout.dtype, [&]<class T>() {
    const uint8_t* none = nullptr;
    if constexpr (std::is_floating_point_v<T>)
      if (by_pairs<T>(p)) return back_by_pairs<false, T>(p, dout.as<T>(), none, nullptr, dx.as<T>(), divisors);
    if (by_halves(p)) back_by_halves<false>(p, dout.as<T>(), none, dx.as<T>(), divisors);
    else if (is_whole(p)) back_to_planes(p, dout.as<T>(), dx.as<T>(), divisors);
    else if (by_channels<T>(p)) back_by_channels<false>(p, dout.as<T>(), none, dx.as<T>(), divisors);
    else if (by_rows(p)) back_by_rows(p, dout.as<T>(), dx.as<T>(), divisors);
    else if (by_phases(p))
      back_by_phases<false>(p, dout.as<T>(), none, dx.as<T>(), [&](int64_t od, int64_t oh, int64_t ow, int64_t n,
                            auto* row, int64_t block) { divisors.divide(od, oh, ow, n, row, block); });
    else
      back_by_windows<false>(p, dout.as<T>(), none, dx.as<T>(), [&](int64_t od, int64_t oh, int64_t ow) {
        return static_cast<compute_t<T>>(divisors.of(od, oh, ow));
      });
  });
}

static const Kernel kernels[] = {
    {"pool:max_pool", max_pool, kAllContiguous},
    {"pool:max_pool_indices", max_pool_indices, kAllContiguous},
    {"pool:max_pool_backward", max_pool_backward, kAllContiguous},
    {"pool:max_pool_at", max_pool_at, kAllContiguous},
    {"pool:avg_pool", avg_pool, kAllContiguous},
    {"pool:avg_pool_backward", avg_pool_backward, kAllContiguous},
};
