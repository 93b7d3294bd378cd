// The activations. From the list at the end follow the kernels `activation:<name>` and `activation:<name>_backward`,
// and what matmul's kernels apply to their results: they share these functions, so a fused result has the same bits as
// the separate one.
//
// An activation is a struct of this name with
//   value(x)              the activation of x;
//   gradient(dout, out)   dout times the derivative, as a function of the result where that suffices,
//   gradient(dout, x)     else as a function of what the activation was applied to;
//   Cost                  what an element is worth: Light or Heavy;
//   vector(x)             value for a whole vector, only where the compiler does not find it by itself.
// To add one, write its struct and put its name at the end of the list. dlcore/ops/_activations.py lists the same names
// in the same order: the place in the list is the code by which a kernel is told which activation to apply.
#ifndef DLCORE_COMMON_ACTIVATIONS
#define DLCORE_COMMON_ACTIVATIONS
#include "common/math.inl"

namespace activation {

struct Light {  // bound by memory; the result is an operand or zero, so nothing is rounded
  static constexpr int64_t kGrain = 1 << 16;
  static constexpr bool kExact = true;
};
struct Heavy {  // bound by arithmetic: 10 to 30 instructions an element
  static constexpr int64_t kGrain = 1 << 14;
};

struct none {
  DLCORE_MATH T value(T x) { return x; }
  DLCORE_MATH T gradient(T dout, T) { return dout; }
};

struct relu {
  using Cost = Light;
  DLCORE_MATH T value(T x) { return x <= T(0) ? T(0) : x; }
  DLCORE_MATH T gradient(T dout, T out) { return out <= T(0) ? T(0) : dout; }
};

struct sigmoid {
  using Cost = Heavy;
  DLCORE_MATH T value(T x) { return sigmoid_(x); }
  DLCORE_MATH T gradient(T dout, T out) { return dout * (out * (T(1) - out)); }
#if DLCORE_ISA == 4
  static vec<float> vector(vec<float> x) { return sigmoid_vector(x); }
#endif
};

struct tanh {
  using Cost = Heavy;
  DLCORE_MATH T value(T x) { return tanh_(x); }
  DLCORE_MATH T gradient(T dout, T out) { return dout * fma_(-out, out, T(1)); }
};

// x times the probability that a standard normal is below x, as max(x, 0) - |x| tail(|x|): 6 ulp, in the negative tail
// too, until it reaches the subnormal numbers: there 0. It has the sign of x, of zeros too.
struct gelu {
  using Cost = Heavy;
  DLCORE_MATH T value(T x) {
    const T a = abs_(x), positive = x <= T(0) ? T(0) : x;
    T exponential;
    const T tail = normal_tail(a, exponential);
    return copysign_(a > Real<T>::kTailErf ? positive : fma_(-a * exponential, tail, positive), x);
  }
  DLCORE_MATH T gradient(T dout, T x) {
    const T a = abs_(x);
    T exponential;
    const T tail = normal_tail(a, exponential);
    const T slope = exponential * fma_(a, T(-0.3989422804014327), tail);  // the derivative at -a; 1 / sqrt(2 pi)
    const T at = a > Real<T>::kTailErf ? T(0) : slope;
    return dout * (x < T(0) ? at : T(1) - at);
  }
};

// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = max(x, 0) - |x| / (1 + exp(v)), v = 2 sqrt(2 / pi) (|x| +
// 0.044715 |x|^3): 2 ulp for x > 0; in the negative tail (2 + 2 v) ulp, the error of v's rounding, and 0 below 1e-37.
struct gelu_tanh {
  using Cost = Heavy;
  static constexpr double kSlope = 1.5957691216057308, kCubic = kSlope * 0.044715;  // 2 sqrt(2 / pi)
  DLCORE_MATH T value(T x) {
    const T a = abs_(x), positive = x <= T(0) ? T(0) : x;
    const T e = exp_normal(-a * fma_(a * a, T(kCubic), T(kSlope)));
    return copysign_(a > Real<T>::kTailTanh ? positive : fma_(-a, e / (T(1) + e), positive), x);
  }
  DLCORE_MATH T gradient(T dout, T x) {
    const T a = abs_(x), z = a * a;
    const T e = exp_normal(-a * fma_(z, T(kCubic), T(kSlope))), q = T(1) / (T(1) + e), tail = e * q;
    const T slope = fma_(-a * fma_(z, T(3 * kCubic), T(kSlope)), tail * q, tail);  // the derivative at -a
    const T at = a > Real<T>::kTailTanh ? T(0) : slope;
    return dout * (x < T(0) ? at : T(1) - at);
  }
};

}  // namespace activation

#define DLCORE_ACTIVATIONS(ROW) ROW(relu) ROW(sigmoid) ROW(tanh) ROW(gelu) ROW(gelu_tanh)

#define DLCORE_CODE(name) name,
enum class Activation : int { none, DLCORE_ACTIVATIONS(DLCORE_CODE) };
#undef DLCORE_CODE

// f(activation::relu{}) for the code of relu.
template <class F> static auto with_activation(Activation code, F&& f) {
  switch (code) {
#define DLCORE_CASE(name) case Activation::name: return f(activation::name{});
    DLCORE_ACTIVATIONS(DLCORE_CASE)
#undef DLCORE_CASE
    case Activation::none: break;
  }
  return f(activation::none{});
}

#endif  // DLCORE_COMMON_ACTIVATIONS
