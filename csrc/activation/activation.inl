// relu, sigmoid, tanh, gelu (by the error function or its tanh approximation) and their gradients.
//
// relu is bound by memory, the others by arithmetic (10 to 30 instructions an element). The scalar functions are those
// of core/math.inl, which the epilogue of matmul uses too.
#include "core/pointwise.inl"

template <Activation code> struct Forward {
  static constexpr int64_t kGrain = code == Activation::relu ? 1 << 16 : 1 << 14;
  template <class T> T operator()(T x) const { return activate<code>(x); }
};
template <Activation code> struct Backward {
  static constexpr int64_t kGrain = Forward<code>::kGrain;
  template <class T> T operator()(T dout, T saved) const { return activate_grad<code>(saved, dout); }
};

template <Activation code> static void forward(const Args& a) {
  with_float(a.in(0).dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    pointwise<Forward<code>, T, T>(a.out(), a.in(0));
  });
}
// Operands: dout, then the output (relu, sigmoid, tanh) or the input (gelu).
template <Activation code> static void backward(const Args& a) {
  with_float(a.in(0).dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    pointwise<Backward<code>, T, T, T>(a.out(), a.in(0), a.in(1));
  });
}

static const Kernel kernels[] = {
    {"activation:relu", forward<Activation::relu>, 0},
    {"activation:sigmoid", forward<Activation::sigmoid>, 0},
    {"activation:tanh", forward<Activation::tanh>, 0},
    {"activation:gelu_erf", forward<Activation::gelu>, 0},
    {"activation:gelu_tanh", forward<Activation::gelu_tanh>, 0},
    {"activation:relu_backward", backward<Activation::relu>, 0},
    {"activation:sigmoid_backward", backward<Activation::sigmoid>, 0},
    {"activation:tanh_backward", backward<Activation::tanh>, 0},
    {"activation:gelu_erf_backward", backward<Activation::gelu>, 0},
    {"activation:gelu_tanh_backward", backward<Activation::gelu_tanh>, 0},
};
