"""The activations: scalar functions of float32 and float64 tensors, and the list from which the pointwise kernels
`activation.planners:<name>` and `<name>_backward` follow, and what matmul's kernels apply to their results.

`<name>(x)` is the activation; `<name>_grad(dout, out)` or `<name>_grad(dout, x)` is dout times the derivative, as a
function of the result where that suffices, else of the input. Formulas, and so bits, are those of
csrc/common/activations.inl, which says how far each is from the truth. Arithmetic instructions of a float32 element
(PTX for sm_90; the division is one of them and becomes about 8): relu 2, sigmoid 26, tanh 24, gelu 38, gelu_tanh 25. An
H100 has time for some 70 where 8 bytes an element move, and 35 where 4 do: bound by memory in float32; gelu of 16-bit
floats is on the edge. Unmeasured: not yet run on hardware.

To add one, write its two functions and a line of ACTIVATIONS.
"""

from typing import NamedTuple

from dlcore.kernels.common.math import (
    copysign_,
    divide,
    exp_normal,
    poly,
    sigmoid_,
    tanh_,
)
from dlcore.kernels.language import Kernel, jit, tl

__all__ = ["ACTIVATIONS", "Activation"]

SLOPE = tl.constexpr(1.5957691216057308)  # 2 sqrt(2 / pi)
CUBIC = tl.constexpr(1.5957691216057308 * 0.044715)


@jit
def relu(x):
    return tl.where(x <= 0.0, 0.0, x)


@jit
def relu_grad(dout, out):
    return tl.where(out <= 0.0, 0.0, dout)


@jit
def sigmoid(x):
    return sigmoid_(x)


@jit
def sigmoid_grad(dout, out):
    return dout * (out * (1.0 - out))


@jit
def tanh(x):
    return tanh_(x)


@jit
def tanh_grad(dout, out):
    return dout * tl.fma(-out, out, 1.0)


@jit
def tail_ratio(a):  # P(X > a) / exp(-a^2 / 2) for a standard normal X, a >= 0
    q = divide(1.0, a + 4.25)
    t = tl.fma(q, -8.5, 1.0)
    if a.dtype == tl.float64:
        p = poly(t, (0.7595542082672071, -0.6251297770834476, 0.41822752582252837, -0.22051601745288732,
                     0.08527207614574309, -0.019358324074715175, -0.0007453379458436223, 0.002149382644959385,
                     -0.00040445620206944704, -0.00019212265482555703, 7.800520329752777e-05, 2.0647431040298886e-05,
                     -1.2619099698425858e-05, -3.1919909399442503e-06, 2.003129846474575e-06, 6.684375790346579e-07,
                     -2.974952095696937e-07, -1.4938008843107702e-07, 3.4090230316038835e-08, 2.673636983157589e-08,
                     -1.7046098391235698e-09, -2.401622613659818e-09))  # fmt: skip
    else:
        p = poly(t, (0.7595542, -0.6251298, 0.41822752, -0.22051528, 0.0852723, -0.019366443, -0.0007510003,
                     0.0021831284, -0.0003662345, -0.00023480611))  # fmt: skip
    return q * p


@jit
def normal_tail(a):  # (P(X > a) / e, e = exp(-a^2 / 2)) for a standard normal X
    half = 0.5 * a
    square = a * half
    e = exp_normal(-square, -tl.fma(a, half, -square))  # fed with the square's rounding error, or the tail were wrong
    return tail_ratio(a), e


@jit
def gelu(x):  # max(x, 0) - |x| P(X > |x|)
    a = tl.abs(x)
    positive = relu(x)
    tail, e = normal_tail(a)
    value = tl.where(a > (37.6 if x.dtype == tl.float64 else 13.2), positive, tl.fma(-a * e, tail, positive))
    return copysign_(value, x)


@jit
def gelu_grad(dout, x):
    a = tl.abs(x)
    tail, e = normal_tail(a)
    slope = e * tl.fma(a, -0.3989422804014327, tail)  # the derivative at -a; 1 / sqrt(2 pi)
    at = tl.where(a > (37.6 if x.dtype == tl.float64 else 13.2), 0.0, slope)
    return dout * tl.where(x < 0.0, at, 1.0 - at)


@jit
def gelu_tanh(x):  # max(x, 0) - |x| / (1 + exp(v)), v = 2 sqrt(2 / pi) (|x| + 0.044715 |x|^3)
    a = tl.abs(x)
    positive = relu(x)
    e = exp_normal(-a * tl.fma(a * a, CUBIC, SLOPE))
    below = tl.fma(-a, divide(e, 1.0 + e), positive)
    return copysign_(tl.where(a > (21.14 if x.dtype == tl.float64 else 10.01), positive, below), x)


@jit
def gelu_tanh_grad(dout, x):
    a = tl.abs(x)
    z = a * a
    e = exp_normal(-a * tl.fma(z, CUBIC, SLOPE))
    q = divide(1.0, 1.0 + e)
    tail = e * q
    slope = tl.fma(-a * tl.fma(z, 3 * CUBIC, SLOPE), tail * q, tail)  # the derivative at -a
    at = tl.where(a > (21.14 if x.dtype == tl.float64 else 10.01), 0.0, slope)
    return dout * tl.where(x < 0.0, at, 1.0 - at)


class Activation(NamedTuple):
    """What kernels know of an activation."""

    value: Kernel
    gradient: Kernel
    heavy: bool = True
    """Whether it takes many registers, so that a tile of a product is finished in parts."""


ACTIVATIONS = {
    "relu": Activation(relu, relu_grad, heavy=False),
    "sigmoid": Activation(sigmoid, sigmoid_grad),
    "tanh": Activation(tanh, tanh_grad),
    "gelu": Activation(gelu, gelu_grad),
    "gelu_tanh": Activation(gelu_tanh, gelu_tanh_grad),
}
