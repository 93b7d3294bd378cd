// Pointwise functions with numbers beside their operands, as leaky_relu has its slope: the call's parameters.
//
//   pointwise_with<LeakyRelu, T, 1>(a);     // out = LeakyRelu<C>(a.params)(in 0), C the compute type of T
//   pointwise_with<Close, T, 2, bool>(a);   // the same with a result of another dtype
//
// The functor is made from the parameters once a loop. They travel as one more operand that repeats, whose elements are
// the address of the parameters, so that rows and blocks are those of common/pointwise.inl.
#ifndef DLCORE_COMMON_NUMBERS
#define DLCORE_COMMON_NUMBERS
#include "common/pointwise.inl"

// Not inlined: float and the 16-bit floats, which become floats in blocks, share the first, all functions the others.
template <class F, class O, class... I>
static __attribute__((noinline, noclone)) void map_numbers(const F& f, int64_t n, O* out, const I*... in) {
  map_dense(f, n, out, in...);
}
template <class T> static __attribute__((noinline)) void widen_block(compute_t<T>* to, const T* from, int64_t n) {
  load_block(to, from, n);
}
template <class T> static __attribute__((noinline)) void round_block(T* to, const compute_t<T>* from, int64_t n) {
  store_block(to, from, n);
}

template <template <class> class F, class T, class O, size_t... k>
static inline void numbers_block(int64_t m, O* out, const void* const* in, const F<compute_t<T>>& f,
                                 std::index_sequence<k...>) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
    map_numbers(f, m, out, static_cast<const T*>(in[k])...);
  } else {
    C block[sizeof...(k)][kPointwiseBlock];
    (widen_block(block[k], static_cast<const T*>(in[k]), m), ...);
    if constexpr (std::is_same_v<O, bool>) {
      map_numbers(f, m, out, static_cast<const C*>(block[k])...);
    } else {
      map_numbers(f, m, block[0], static_cast<const C*>(block[k])...);
      round_block(out, block[0], m);
    }
  }
}

template <template <class> class F, class T, int inputs, class O>
static void numbers_loop(int64_t n, void* out, const void* const* in) {
  const F<compute_t<T>> f(*static_cast<const Param* const*>(in[inputs]));
  const int64_t block = std::is_same_v<T, compute_t<T>> ? n : kPointwiseBlock;
  for (int64_t start = 0; start < n; start += block) {
    const void* at[inputs];
    for (int k = 0; k < inputs; ++k) at[k] = static_cast<const T*>(in[k]) + start;
    numbers_block<F, T, O>(n - start < block ? n - start : block, static_cast<O*>(out) + start, at, f,
                           std::make_index_sequence<inputs>());
  }
}

template <template <class> class F, class T, int inputs, class O = T>
static void pointwise_with(const Args& a) {
  static_assert(inputs + 2 <= kMaxOperands && sizeof(const Param*) == 8);
  const Param* params = a.params;
  Array numbers;
  numbers.data = &params;
  numbers.dtype = DType::int64;
  const Array* arrays[inputs + 2] = {&a.out()};
  bool dense = a.out().contiguous();
  for (int k = 0; k < inputs; ++k) {
    arrays[k + 1] = &a.in(k);
    dense = dense && same_layout(a.in(k), a.out());
  }
  arrays[inputs + 1] = &numbers;
  constexpr int64_t grain = F<compute_t<T>>::kGrain;
  if (!dense) return run_pointwise(numbers_loop<F, T, inputs, O>, grain, arrays, inputs + 2);
  parallel_ranges(a.out().size(), grain, [&](int64_t begin, int64_t end) {
    const void* in[inputs + 1];
    for (int k = 0; k < inputs; ++k) in[k] = a.in(k).as<T>() + begin;
    in[inputs] = &params;
    numbers_loop<F, T, inputs, O>(end - begin, a.out().as<O>() + begin, in);
  });
}

#endif  // DLCORE_COMMON_NUMBERS
