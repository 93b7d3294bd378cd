// relu, sigmoid, tanh, gelu (by the error function or its tanh approximation) and their gradients.
//
// relu is bound by memory, the others by arithmetic (10 to 30 instructions an element). The scalar functions are those
// of common/math.inl, which the epilogue of matmul uses too.
#include "common/pointwise.inl"

struct Relu {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T x) const { return activate<Activation::relu>(x); }
};
struct ReluBackward {
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
  template <class T> T operator()(T dout, T saved) const { return activate_grad<Activation::relu>(saved, dout); }
};
template <Activation code> struct Forward {
  static constexpr int64_t kGrain = 1 << 14;
  template <class T> __attribute__((always_inline)) T operator()(T x) const { return activate<code>(x); }
};
struct Sigmoid : Forward<Activation::sigmoid> {
#if DLCORE_ISA == 4
  static vec<float> vector(vec<float> x) { return sigmoid_vector(x); }
#endif
};
template <Activation code> struct Backward {
  static constexpr int64_t kGrain = 1 << 14;
  template <class T> __attribute__((always_inline)) T operator()(T dout, T saved) const {
    return activate_grad<code>(saved, dout);
  }
};

template <class F> static void forward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}
// Operands: dout, then the output (relu, sigmoid, tanh) or the input (gelu).
template <class F> static void backward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}

static const Kernel kernels[] = {
    {"activation:relu", forward<Relu>, 0},
    {"activation:sigmoid", forward<Sigmoid>, 0},
    {"activation:tanh", forward<Forward<Activation::tanh>>, 0},
    {"activation:gelu_erf", forward<Forward<Activation::gelu>>, 0},
    {"activation:gelu_tanh", forward<Forward<Activation::gelu_tanh>>, 0},
    {"activation:relu_backward", backward<ReluBackward>, 0},
    {"activation:sigmoid_backward", backward<Backward<Activation::sigmoid>>, 0},
    {"activation:tanh_backward", backward<Backward<Activation::tanh>>, 0},
    {"activation:gelu_erf_backward", backward<Backward<Activation::gelu>>, 0},
    {"activation:gelu_tanh_backward", backward<Backward<Activation::gelu_tanh>>, 0},
};
