// The loop of every elementwise kernel: out[i] = f(a[i], b[i], ...) over operands that broadcast to the output's shape.
//
//   pointwise<Add, float, float, float>(a.out(), a.in(0), a.in(1));   // functor, stored types of result and arguments
//
// F is a functor without state, branch-free if it is to become vector code; it states in `kGrain` how many elements are
// worth about 10 us, so that larger outputs are shared between threads. It sees compute types: operands stored as
// 16-bit floats are widened before and rounded once after, in registers. How strided and repeated operands become
// blocks that are dense stands in walks/walks.inl: there is one compiled loop per F and types.
#ifndef DLCORE_COMMON_POINTWISE
#define DLCORE_COMMON_POINTWISE
#include "common/dtypes.inl"
#include "common/loop_nest.inl"
#include "common/math.inl"

[[maybe_unused]]
static void run_pointwise(DenseLoop loop, int64_t grain, const Array* const* arrays, int count) {
  walks.pointwise(loop, grain, arrays, count);
}

// 16-bit floats are converted by load_block and store_block where those have more to offer than the compiler, a group
// of elements at a time: unrolled, it stays in registers. So is F evaluated where it has a member `vector`.
template <class O> constexpr int64_t kGroupSize = kLanes<float> * (sizeof(O) == 1 ? 4 : 2);  // whole vectors of results
template <class T> constexpr bool kByHand =
    (DLCORE_ISA >= 3 && std::is_same_v<T, half_t>) || (DLCORE_ISA == 4 && std::is_same_v<T, bfloat16_t>);
template <class O> using vector_t = vec<std::conditional_t<std::is_same_v<O, double>, double, float>>;
template <class F, class O>
constexpr bool kHasVector = std::is_floating_point_v<compute_t<O>> && (requires(vector_t<O> x) { F::vector(x); } ||
                                                                      requires(vector_t<O> x) { F::vector(x, x); });
template <class F, class O, class... I>
constexpr bool kInGroups = kByHand<O> || (kByHand<I> || ...) || kHasVector<F, O>;

template <class T, int64_t N> struct ElementGroup {
  alignas(64) compute_t<T> x[N];
};
template <int64_t N, class T> static inline __attribute__((always_inline)) ElementGroup<T, N> load_group(const T* p) {
  ElementGroup<T, N> g;
  load_block(g.x, p, N);
  return g;
}
// F states `kExact` if its result is one of its operands, 0 or 1, but for the sign: then nothing needs rounding.
template <class F, class O> static inline __attribute__((always_inline)) void store_result(O* p, compute_t<O> x) {
  if constexpr (std::is_same_v<O, bfloat16_t> && requires { F::kExact; })
    *p = {static_cast<uint16_t>(__builtin_bit_cast(uint32_t, x) >> 16)};
  else
    store(p, x);
}
template <class F, class O>
static inline __attribute__((always_inline)) void store_group(O* out, const compute_t<O>* x) {
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<O, bfloat16_t> && requires { F::kExact; })
    return _mm512_storeu_si512(out, upper_halves(_mm512_castps_si512(_mm512_load_ps(x)),
                                                 _mm512_castps_si512(_mm512_load_ps(x + 16))));
#endif
  store_block(out, x, kGroupSize<O>);
}
template <class F, class O, class... G>
static inline __attribute__((always_inline)) void map_group(O* out, const G&... in) {
  constexpr int64_t N = kGroupSize<O>;
  if constexpr (!kByHand<O> && !kHasVector<F, O>) {
#pragma omp simd
    for (int64_t j = 0; j < N; ++j) store_result<F>(out + j, F{}(in.x[j]...));
    return;
  }
  ElementGroup<O, N> result;
  if constexpr (kHasVector<F, O>) {
#pragma GCC unroll 2
    for (int64_t j = 0; j < N; j += kLanes<compute_t<O>>) vstore(result.x + j, F::vector(vload(in.x + j)...));
  } else {
#pragma omp simd
    for (int64_t j = 0; j < N; ++j) result.x[j] = F{}(in.x[j]...);
  }
  store_group<F>(out, result.x);
}
// The first n elements of a group, the rest zeros.
template <int64_t N, class T>
static inline __attribute__((always_inline)) ElementGroup<T, N> load_part(const T* p, int64_t n) {
  T part[N] = {};
  std::memcpy(part, p, n * sizeof(T));
  return load_group<N>(part);
}

template <class F, class O, class... I>
static inline __attribute__((always_inline)) void map_dense(int64_t n, O* out, const I*... in) {
  if constexpr (kInGroups<F, O, I...>) {
    constexpr int64_t N = kGroupSize<O>;
    int64_t i = 0;
    for (; i + N <= n; i += N) map_group<F>(out + i, load_group<N>(in + i)...);
    if (i == n) return;
    O part[N];
    map_group<F>(part, load_part<N>(in + i, n - i)...);
    std::memcpy(out + i, part, (n - i) * sizeof(O));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store_result<F>(out + i, F{}(load(in + i)...));
  }
}
template <class F, class O, class... I> static void dense_loop(int64_t n, void* out, const void* const* in) {
  const auto map = [&]<size_t... k>(std::index_sequence<k...>) DLCORE_MAP {
    map_dense<F>(n, static_cast<O*>(out), static_cast<const I*>(in[k])...);
  };
  map(std::index_sequence_for<I...>());
}

template <class F, class O, class... I, class... Arrays> static void pointwise(const Array& out, const Arrays&... in) {
  const Array* const arrays[] = {&out, &in...};
  run_pointwise(dense_loop<F, O, I...>, F::kGrain, arrays, 1 + sizeof...(in));
}

#endif  // DLCORE_COMMON_POINTWISE
