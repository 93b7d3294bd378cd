// The kernels `activation:<name>` and `activation:<name>_backward` of every activation in common/activations.inl.
#include "common/activations.inl"
#include "common/pointwise.inl"

template <class A> struct Forward : A::Cost {
  template <class T> __attribute__((always_inline)) T operator()(T x) const { return A::value(x); }
  static vec<float> vector(vec<float> x) requires requires { A::vector(x); } { return A::vector(x); }
};
template <class A> struct Backward : A::Cost {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T saved) const {
    return A::gradient(dout, saved);
  }
};

template <class A> static void forward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<Forward<A>, T, T>(a.out(), a.in(0)); });
}
// Operands: dout, then what the gradient is a function of.
template <class A> static void backward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<Backward<A>, T, T, T>(a.out(), a.in(0), a.in(1)); });
}

static const Kernel kernels[] = {
#define DLCORE_KERNELS(name)                                     \
  {"activation:" #name, forward<activation::name>, 0},           \
  {"activation:" #name "_backward", backward<activation::name>, 0},
    DLCORE_ACTIVATIONS(DLCORE_KERNELS)
#undef DLCORE_KERNELS
};
