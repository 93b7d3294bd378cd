// The activations that no other kernel applies to its results, and their gradients: of a value alone, as silu is, and
// with numbers, as leaky_relu's slope. Where a derivative jumps it is what PyTorch takes there.
//
// Those of an exponential are bound by arithmetic (20 to 40 instructions an element), the others by memory. A product
// with an exponential takes its power of two last, so that results keep their bits where the exponential alone is a
// subnormal number: silu(-90). At infinities they are the limits: silu(-inf) = -0.
#include "activation/decay.inl"
#include "common/log1p.inl"
#include "common/numbers.inl"

// exp(x) - 1 for x <= 0, with the sign of x: 2 ulp. Nothing can overflow there, which is a third of expm1_'s work.
DLCORE_MATH T expm1_below(T x) {
  T rounded;
  const T r = reduce_exp(at_least(x, T(-4) * Real<T>::kOne), rounded), power = power_of_two(rounded);
  return copysign_(fma_(power, expm1_reduced(r), power - T(1)), x);
}

// ---- of a value alone ---------------------------------------------------------------------------------------------

// x tanh(log(1 + exp(x))): with e = exp(x) and n = e (e + 2) that is x n / (n + 2), for x > 0 with e = exp(-x)
// x (1 + 2 e) / (1 + 2 e + 2 e^2).
struct Mish : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    const Decay<T> d(x);
    const T e = d.e, up = fma_(T(2), e, T(1)), down = e + T(2);
    const T below = x < T(0) ? fma_(e, down, T(2)) : fma_(T(2) * e, e, up);
    return (x < T(0) ? d.times(at_least(x, T(-1e4))) * down : x * up) / below;
  }
};
// t + x t', t = n / (n + 2) and t' = 4 e (e + 1) / (n + 2)^2, for x > 0 with numerator and denominator times e^-4.
struct MishBackward : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    const Decay<T> d(x);
    const bool negative = x < T(0);
    const T e = d.e, y = at_least(at_most(x, T(1e4)), T(-1e4)), one = e + T(1);
    const T up = fma_(T(2), e, T(1)), down = e + T(2);
    const T below = negative ? fma_(e, down, T(2)) : fma_(T(2) * e, e, up), q = T(1) / below;
    const T of_down = d.times(fma_(T(4) * y * one, q, down)), of_up = fma_(T(4) * y * one, e * e * q, up);
    return dout * ((negative ? of_down : of_up) * q);
  }
};

struct Softsign : Bounded {  // x / (1 + |x|)
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    const T a = at_most(abs_(x), std::numeric_limits<T>::max());
    return copysign_(a / (T(1) + a), x);
  }
};
struct SoftsignBackward : Bounded {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    const T q = T(1) / (T(1) + abs_(x));
    return dout * q * q;
  }
};

struct Logsigmoid : Exponential {  // min(x, 0) - log(1 + exp(-|x|))
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    return (x > T(0) ? T(0) : x) - log1p_below_one(Decay<T>(x).e);
  }
};
struct LogsigmoidBackward : Exponential {  // 1 - s
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    const T e = Decay<T>(x).e;
    return dout * ((x < T(0) ? T(1) : e) / (T(1) + e));
  }
};

struct Hardsigmoid : Bounded {  // min(max(x + 3, 0), 6) / 6
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    return at_most(at_least(x + T(3), T(0)), T(6)) * T(1 / 6.0);
  }
};
struct HardsigmoidBackward : Bounded {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    return abs_(x) < T(3) ? dout * T(1 / 6.0) : T(0);
  }
};
struct Hardswish : Bounded {  // x min(max(x + 3, 0), 6) / 6
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    return at_least(x, T(-3)) * (at_most(at_least(x + T(3), T(0)), T(6)) * T(1 / 6.0));
  }
};
struct HardswishBackward : Bounded {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    const T inside = x < T(3) ? dout * ((x + T(1.5)) * T(1 / 3.0)) : dout;
    return x <= T(-3) ? T(0) : inside;
  }
};

// x where it is positive, else x times a number of its own: prelu.
struct Prelu : Bounded {
  template <class T> __attribute__((always_inline)) T operator()(T x, T weight) const {
    return x > T(0) ? x : x * weight;
  }
};

struct Relu6 : Bounded {  // min(max(x, 0), 6)
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    const T low = x <= T(0) ? T(0) : x;
    return x >= T(6) ? T(6) : low;
  }
};

struct Selu : Exponential {
  static constexpr double kScale = 1.0507009873554804934, kNegative = kScale * 1.6732632423543772848;
  template <class T> __attribute__((always_inline)) T operator()(T x) const {
    return x <= T(0) ? expm1_below(x) * T(kNegative) : x * T(kScale);
  }
};
struct SeluBackward : Exponential {
  template <class T> __attribute__((always_inline)) T operator()(T dout, T x) const {
    return dout * (x <= T(0) ? exp_(x) * T(Selu::kNegative) : T(Selu::kScale));
  }
};

// ---- with numbers -------------------------------------------------------------------------------------------------

template <class C> struct OneNumber {
  C number;
  explicit OneNumber(const Param* p) : number(static_cast<C>(p[0].f)) {}
};
template <class C> struct TwoNumbers {
  C first, second;
  explicit TwoNumbers(const Param* p) : first(static_cast<C>(p[0].f)), second(static_cast<C>(p[1].f)) {}
};
#define DLCORE_NUMBERS(Name, Numbers, Cost)            \
  template <class C> struct Name : Numbers<C>, Cost {  \
    using Numbers<C>::Numbers;                         \
    __attribute__((always_inline)) C operator()

DLCORE_NUMBERS(LeakyRelu, OneNumber, Bounded) (C x) const { return x > C(0) ? x : x * this->number; } };
DLCORE_NUMBERS(LeakyReluBackward, OneNumber, Bounded) (C dout, C x) const {
  return x > C(0) ? dout : dout * this->number;
} };

DLCORE_NUMBERS(Elu, OneNumber, Exponential) (C x) const { return x <= C(0) ? expm1_below(x) * this->number : x; } };
DLCORE_NUMBERS(EluBackward, OneNumber, Exponential) (C dout, C x) const {
  return dout * (x <= C(0) ? exp_(x) * this->number : C(1));
} };
DLCORE_NUMBERS(Celu, OneNumber, Exponential) (C x) const {
  return x <= C(0) ? expm1_(x / this->number) * this->number : x;
} };
DLCORE_NUMBERS(CeluBackward, OneNumber, Exponential) (C dout, C x) const {
  return dout * (x <= C(0) ? exp_(x / this->number) : C(1));
} };

// log(1 + exp(beta x)) / beta, and x where beta x is above the threshold.
DLCORE_NUMBERS(Softplus, TwoNumbers, Exponential) (C x) const {
  const C y = x * this->first, soft = (y > C(0) ? y : C(0)) + log1p_below_one(Decay<C>(y).e);
  return y > this->second ? x : soft / this->first;
} };
DLCORE_NUMBERS(SoftplusBackward, TwoNumbers, Exponential) (C dout, C x) const {
  const C y = x * this->first, e = Decay<C>(y).e;
  return y > this->second ? dout : dout * ((y < C(0) ? e : C(1)) / (C(1) + e));
} };

DLCORE_NUMBERS(Hardtanh, TwoNumbers, Bounded) (C x) const {
  const C low = x <= this->first ? this->first : x;
  return x >= this->second ? this->second : low;
} };
DLCORE_NUMBERS(HardtanhBackward, TwoNumbers, Bounded) (C dout, C x) const {
  return (x <= this->first) | (x >= this->second) ? C(0) : dout;
} };
DLCORE_NUMBERS(Hardshrink, OneNumber, Bounded) (C x) const {
  return (x >= -this->number) & (x <= this->number) ? C(0) : x;
} };
DLCORE_NUMBERS(HardshrinkBackward, OneNumber, Bounded) (C dout, C x) const {
  return (x >= -this->number) & (x <= this->number) ? C(0) : dout;
} };
DLCORE_NUMBERS(Softshrink, OneNumber, Bounded) (C x) const {
  const C below = x < -this->number ? x + this->number : x * C(0);
  return x > this->number ? x - this->number : below;
} };
DLCORE_NUMBERS(Threshold, TwoNumbers, Bounded) (C x) const { return x <= this->first ? this->second : x; } };
DLCORE_NUMBERS(ThresholdBackward, OneNumber, Bounded) (C dout, C x) const {
  return x <= this->number ? C(0) : dout;
} };
#undef DLCORE_NUMBERS

// ---- kernels ------------------------------------------------------------------------------------------------------

template <class F> static void unary(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T>(a.out(), a.in(0)); });
}
template <class F> static void binary(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, T, T, T>(a.out(), a.in(0), a.in(1)); });
}
template <template <class> class F, int inputs> static void numbered(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise_with<F, T, inputs>(a); });
}

static const Kernel kernels[] = {
    {"activation:silu", unary<Silu>, 0},
    {"activation:silu_backward", binary<SiluBackward>, 0},
    {"activation:mish", unary<Mish>, 0},
    {"activation:mish_backward", binary<MishBackward>, 0},
    {"activation:softsign", unary<Softsign>, 0},
    {"activation:softsign_backward", binary<SoftsignBackward>, 0},
    {"activation:logsigmoid", unary<Logsigmoid>, 0},
    {"activation:logsigmoid_backward", binary<LogsigmoidBackward>, 0},
    {"activation:hardsigmoid", unary<Hardsigmoid>, 0},
    {"activation:hardsigmoid_backward", binary<HardsigmoidBackward>, 0},
    {"activation:hardswish", unary<Hardswish>, 0},
    {"activation:hardswish_backward", binary<HardswishBackward>, 0},
    {"activation:prelu", binary<Prelu>, 0},
    {"activation:relu6", unary<Relu6>, 0},
    {"activation:leaky_relu", numbered<LeakyRelu, 1>, 0},
    {"activation:leaky_relu_backward", numbered<LeakyReluBackward, 2>, 0},
    {"activation:elu", numbered<Elu, 1>, 0},
    {"activation:elu_backward", numbered<EluBackward, 2>, 0},
    {"activation:celu", numbered<Celu, 1>, 0},
    {"activation:celu_backward", numbered<CeluBackward, 2>, 0},
    {"activation:selu", unary<Selu>, 0},
    {"activation:selu_backward", binary<SeluBackward>, 0},
    {"activation:softplus", numbered<Softplus, 1>, 0},
    {"activation:softplus_backward", numbered<SoftplusBackward, 2>, 0},
    {"activation:hardtanh", numbered<Hardtanh, 1>, 0},
    {"activation:hardtanh_backward", numbered<HardtanhBackward, 2>, 0},
    {"activation:hardshrink", numbered<Hardshrink, 1>, 0},
    {"activation:hardshrink_backward", numbered<HardshrinkBackward, 2>, 0},
    {"activation:softshrink", numbered<Softshrink, 1>, 0},
    {"activation:threshold", numbered<Threshold, 1>, 0},
    {"activation:threshold_backward", numbered<ThresholdBackward, 2>, 0},
};
