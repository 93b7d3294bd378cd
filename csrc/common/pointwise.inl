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
  walks.pointwise({loop}, grain, arrays, count);
}

// 16-bit floats are converted by load_block and store_block where those have more to offer than the compiler, a group
// of elements at a time: unrolled, it stays in registers. So is F evaluated where it has a member `vector`. A member
// `map(n, out, in...)` is the whole loop over n elements, a multiple of the group's size.
template <class T> constexpr bool kByHand =
    (DLCORE_ISA >= 3 && std::is_same_v<T, half_t>) || (DLCORE_ISA == 4 && std::is_same_v<T, bfloat16_t>);
template <class O> using vector_t = vec<std::conditional_t<std::is_same_v<O, double>, double, float>>;
template <class F, class O>
constexpr bool kHasVector = std::is_floating_point_v<compute_t<O>> && (requires(vector_t<O> x) { F::vector(x); } ||
                                                                      requires(vector_t<O> x) { F::vector(x, x); });
template <class F, class O, class... I>
constexpr bool kGroupByHand = kByHand<O> || (kByHand<I> || ...) || kHasVector<F, O>;

// A loop goes by groups of elements, whole vectors of every operand. The last elements of a cheap loop follow one by
// one; else they are a group that overlaps the one before or, where there is none, is filled up with zeros. Left to
// itself the compiler makes more code for them than for all others: vectors of half the width, then single elements.
template <class F, class... T>
constexpr int64_t kGroupSize = kGroupByHand<F, T...> ? kVectorBytes / (((sizeof(T) == 1) || ...) ? 1 : 2)
                                                     : kVectorBytes / std::min({sizeof(T)...});
constexpr int64_t kCheapGrain = 1 << 16;
constexpr int64_t kScalarGrain = 1 << 12;  // what costs so much is no vector code

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
template <class F, int64_t N, class O>
static inline __attribute__((always_inline)) void store_group(O* out, const compute_t<O>* x) {
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<O, bfloat16_t> && requires { F::kExact; } && N == 32)
    return _mm512_storeu_si512(out, upper_halves(_mm512_castps_si512(_mm512_load_ps(x)),
                                                 _mm512_castps_si512(_mm512_load_ps(x + 16))));
#endif
  store_block(out, x, N);
}
template <int64_t N, class F, class O, class... G>
static inline __attribute__((always_inline)) void map_group(const F& f, O* out, const G&... in) {
  if constexpr (!kByHand<O> && !kHasVector<F, O>) {
#pragma omp simd
    for (int64_t j = 0; j < N; ++j) store_result<F>(out + j, f(in.x[j]...));
    return;
  }
  ElementGroup<O, N> result;
  if constexpr (kHasVector<F, O>) {
#pragma GCC unroll 2
    for (int64_t j = 0; j < N; j += kLanes<compute_t<O>>) vstore(result.x + j, F::vector(vload(in.x + j)...));
  } else {
#pragma omp simd
    for (int64_t j = 0; j < N; ++j) result.x[j] = f(in.x[j]...);
  }
  store_group<F, N>(out, result.x);
}

// n is a multiple of the group's size, which the mask tells the compiler.
template <class F, class O, class... I>
static __attribute__((noinline, noclone)) void map_groups(F f, int64_t n, O* out, const I*... in) {
  constexpr int64_t N = kGroupSize<F, O, I...>;
  n &= -N;
  if constexpr (requires { F::map(n, out, in...); }) {
    F::map(n, out, in...);
  } else if constexpr (kHasVector<F, O> && !kByHand<O> && (std::is_same_v<I, O> && ...)) {  // nothing is converted
#pragma GCC unroll 2
    for (int64_t i = 0; i < n; i += kLanes<O>) vstore(out + i, F::vector(vload(in + i)...));
  } else if constexpr (kGroupByHand<F, O, I...>) {
    for (int64_t i = 0; i < n; i += N) map_group<N>(f, out + i, load_group<N>(in + i)...);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store_result<F>(out + i, f(load(in + i)...));
  }
}

// n < N elements and zeros.
template <class T, int64_t N> struct FilledGroup {
  alignas(64) T x[N] = {};
  FilledGroup(const T* p, int64_t n) {
#if DLCORE_ISA == 4  // in whole vectors: what is written in pieces and read as one waits
    for (int64_t v = 0, left = n * sizeof(T); v < int64_t{N * sizeof(T)}; v += 64, left -= 64) {
      const __mmask64 there = _bzhi_u64(~uint64_t{0}, static_cast<uint32_t>(std::clamp<int64_t>(left, 0, 64)));
      _mm512_store_si512(reinterpret_cast<char*>(x) + v,
                         _mm512_maskz_loadu_epi8(there, reinterpret_cast<const char*>(p) + v));
    }
#else
    std::memcpy(x, p, n * sizeof(T));
#endif
  }
};

template <class F, class O, class... I> static inline void map_dense(F f, int64_t n, O* out, const I*... in) {
  constexpr int64_t N = kGroupSize<F, O, I...>;
  const int64_t rest = n % N;
  if (rest == 0) return map_groups(f, n, out, in...);
  if constexpr (F::kGrain >= kCheapGrain && !kGroupByHand<F, O, I...>) {
    if (n > N) map_groups(f, n - rest, out, in...);
    for (int64_t i = n - rest; i < n; ++i) {
      store_result<F>(out + i, f(load(in + i)...));
      asm volatile("");  // no vector code
    }
    return;
  }
  alignas(64) O last[N];  // written behind the others, for `out` may be where they are read
  if (n > N) {
    map_groups(f, N, last, in + n - N...);
    map_groups(f, n - rest, out, in...);
    std::memcpy(out + n - N, last, sizeof last);
  } else {
    const auto map = [&](const auto&... filled) { map_groups(f, N, last, filled.x...); };
    map(FilledGroup<I, N>(in, n)...);
    std::memcpy(out, last, n * sizeof(O));
  }
}

template <class F, class O, class... I> static inline void map_with(int64_t n, O* out, const I*... in) {
  if constexpr (F::kGrain > kScalarGrain || kGroupByHand<F, O, I...>) return map_dense(F{}, n, out, in...);
  for (int64_t i = 0; i < n; ++i) store_result<F>(out + i, F{}(load(in + i)...));
}

template <class F, class O, class... I> static void dense_loop(int64_t n, void* out, const void* const* in) {
  const auto map = [&]<size_t... k>(std::index_sequence<k...>) DLCORE_MAP {
    map_with<F>(n, static_cast<O*>(out), static_cast<const I*>(in[k])...);
  };
  map(std::index_sequence_for<I...>());
}

// Cheap loops over two arrays of float32 there are also with one number for either.
template <class F, int which, class T> struct WithNumber {
  static constexpr int64_t kGrain = F::kGrain;
  T number;
  auto operator()(T x) const {
    if constexpr (which == 0) return F{}(number, x);
    else return F{}(x, number);
  }
};
template <class F, int which, class O, class T> static void number_loop(int64_t n, void* out, const void* const* in) {
  map_dense(WithNumber<F, which, T>{*static_cast<const T*>(in[which])}, n, static_cast<O*>(out),
            static_cast<const T*>(in[1 - which]));
}
template <class F, class O, class... I> static constexpr ElementLoops element_loops() {
  if constexpr (DLCORE_ISA >= 3 && sizeof...(I) == 2 && (std::is_same_v<I, float> && ...) &&
                F::kGrain >= kCheapGrain && !kGroupByHand<F, O, I...>)
    return {dense_loop<F, O, I...>, {number_loop<F, 0, O, float>, number_loop<F, 1, O, float>}};
  return {dense_loop<F, O, I...>};
}

template <class F, class O, class... I, class... Arrays> static void pointwise(const Array& out, const Arrays&... in) {
  const Array* const arrays[] = {&out, &in...};
  walks.pointwise(element_loops<F, O, I...>(), F::kGrain, arrays, 1 + sizeof...(in));
}

#endif  // DLCORE_COMMON_POINTWISE
