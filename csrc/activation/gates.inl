// Gates: a product of two values of which an activation has gone over one. glu: a sigmoid(b) of the halves a and b of
// an array along an axis; swiglu, geglu, reglu: f(a) b, of the halves or of two arrays.
//
// The functions are bound by memory in float32 (12 bytes for each pair) or nearly so. Each gradient is one pass that
// reads dout, a and b and writes both gradients, 20 bytes for each pair, with one exponential for both.
//
// Operands: [dout,] a or the array of both halves, b or none. Parameter: 0 the axis of the halves.
#include "activation/decay.inl"
#include "common/activations.inl"
#include "common/pointwise.inl"

struct Glu : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T a, T b) const { return a * sigmoid_(b); }
  template <class T> static __attribute__((always_inline)) void gradient(T dout, T a, T b, T& da, T& db) {
    const T e = Decay<T>(b).e, q = T(1) / (T(1) + e);
    da = dout * sigmoid_(b), db = dout * (a * (e * q * q));
  }
};
struct Swiglu : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T a, T b) const { return Silu{}(a) * b; }
#if DLCORE_ISA == 4
  DLCORE_MAP static vec<float> vector(vec<float> a, vec<float> b) { return Silu::vector(a) * b; }
#endif
  template <class T> static __attribute__((always_inline)) void gradient(T dout, T a, T b, T& da, T& db) {
    da = SiluBackward{}(dout * b, a), db = dout * Silu{}(a);
  }
};
// Of an activation whose gradient is a function of its input.
template <class A> struct Gated {
  static constexpr int64_t kGrain = A::Cost::kGrain;
  template <class T> __attribute__((always_inline)) T operator()(T a, T b) const { return A::value(a) * b; }
  template <class T> static __attribute__((always_inline)) void gradient(T dout, T a, T b, T& da, T& db) {
    da = A::gradient(dout * b, a), db = dout * A::value(a);
  }
};
static Array half_of(const Array& x, int64_t axis, int which) {
  Array half = x;
  half.shape[axis] /= 2;
  half.data = x.as<char>() + which * half.shape[axis] * half.strides[axis] * item_size(x.dtype);
  return half;
}
template <class F> static void forward(const Args& a) {
  const Array& x = a.in(0);
  const bool whole = a.n_inputs < 2 || !a.in(1);
  const int64_t axis = a.integer(0);
  const Array first = whole ? half_of(x, axis, 0) : x, second = whole ? half_of(x, axis, 1) : a.in(1);
  with_float(x.dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), first, second); });
}

// n pairs; da or db may be null.
template <class F, class C>
static void gradient_block(int64_t n, const C* __restrict dout, const C* __restrict a, const C* __restrict b,
                           C* __restrict da, C* __restrict db) {
  C first, second;
  if (da && db) {
#pragma omp simd private(first, second)
    for (int64_t i = 0; i < n; ++i) {
      F::gradient(dout[i], a[i], b[i], first, second);
      da[i] = first, db[i] = second;
    }
  } else if (da) {
#pragma omp simd private(first, second)
    for (int64_t i = 0; i < n; ++i) F::gradient(dout[i], a[i], b[i], first, second), da[i] = first;
  } else {
#pragma omp simd private(first, second)
    for (int64_t i = 0; i < n; ++i) F::gradient(dout[i], a[i], b[i], first, second), db[i] = second;
  }
}
template <class F, class T>
static void gradient_row(int64_t n, const T* dout, const T* a, const T* b, T* da, T* db) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
    gradient_block<F>(n, dout, a, b, da, db);
  } else {
    C in[3][kPointwiseBlock], out[2][kPointwiseBlock];
    for (int64_t i = 0; i < n; i += kPointwiseBlock) {
      const int64_t m = n - i < kPointwiseBlock ? n - i : kPointwiseBlock;
      load_block(in[0], dout + i, m), load_block(in[1], a + i, m), load_block(in[2], b + i, m);
      gradient_block<F>(m, in[0], in[1], in[2], da ? out[0] : nullptr, db ? out[1] : nullptr);
      if (da) store_block(da + i, out[0], m);
      if (db) store_block(db + i, out[1], m);
    }
  }
}

// The halves of a contiguous array are `rows` stretches of n elements, 2 n apart; two arrays are one.
template <class F> static void backward(const Args& args) {
  const Array &dout = args.in(0), &x = args.in(1);
  const bool whole = args.n_inputs < 3 || !args.in(2);
  int64_t rows = 1, n = 1;
  for (int d = 0; d < dout.ndim; ++d) (whole && d < args.integer(0) ? rows : n) *= dout.shape[d];
  if (rows * n == 0) return;
  with_float(x.dtype, [&]<class T>() {
    const T *g = dout.as<const T>(), *a = x.as<const T>(), *b = whole ? a + n : args.in(2).as<const T>();
    T *da = args.out(0).as<T>(), *db = whole ? da + n : args.out(1).as<T>();
    const int64_t step = whole ? 2 * n : n, length = n < F::kGrain ? n : F::kGrain, pieces = (n + length - 1) / length;
    const int64_t together = (F::kGrain + length - 1) / length;
    if (!da && !db) return;
    parallel_ranges(rows * pieces, together, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / pieces, i = (k - row * pieces) * length, at = row * step + i;
        gradient_row<F, T>(n - i < length ? n - i : length, g + row * n + i, a + at, b + at, da ? da + at : nullptr,
                           db ? db + at : nullptr);
      }
    });
  });
}

static const Kernel kernels[] = {
    {"activation:glu", forward<Glu>, 0},
    {"activation:glu_backward", backward<Glu>, kAllContiguous},
    {"activation:swiglu", forward<Swiglu>, 0},
    {"activation:swiglu_backward", backward<Swiglu>, kAllContiguous},
    {"activation:geglu", forward<Gated<activation::gelu>>, 0},
    {"activation:geglu_backward", backward<Gated<activation::gelu>>, kAllContiguous},
    {"activation:geglu_tanh", forward<Gated<activation::gelu_tanh>>, 0},
    {"activation:geglu_tanh_backward", backward<Gated<activation::gelu_tanh>>, kAllContiguous},
    {"activation:reglu", forward<Gated<activation::relu>>, 0},
    {"activation:reglu_backward", backward<Gated<activation::relu>>, kAllContiguous},
};
