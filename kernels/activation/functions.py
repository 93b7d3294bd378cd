"""What the operations of dlcore/ops/units.py do to one element: a device function of the operation's name.

The 16-bit floats come widened to float32. Formulas, and so bits, are those of csrc/activation/units.inl. Those with an
exponential take 25 to 60 arithmetic
instructions of a float32 element, the others 2 to 8: bound by memory in float32. Unmeasured: not yet run on hardware.
"""

from dlcore.kernels.common.activations import gelu, gelu_grad, gelu_tanh, gelu_tanh_grad, relu, relu_grad
from dlcore.kernels.common.math import (
    at_most,
    copysign_,
    divide,
    exp_,
    expm1_,
    expm1_reduced,
    log1p_,
    power_of_two,
    reduce_exp,
    sigmoid_,
)
from dlcore.kernels.language import jit, tl

SELU_SCALE = tl.constexpr(1.0507009873554804934)
SELU_NEGATIVE = tl.constexpr(1.0507009873554804934 * 1.6732632423543772848)


@jit
def at_least(x, low):
    return tl.where(x < low, low, x)  # NaN passes through


@jit
def decay(x):  # (s, r, exp(-|x|)): f exp(-|x|) rounded once is s f r
    low = 932.5 if x.dtype == tl.float64 else 130.0
    zero = 6755399441055744.0 + 1023 if x.dtype == tl.float64 else 12582912.0 + 127
    r, rounded = reduce_exp(-at_most(tl.abs(x), low))
    n = rounded - zero
    half = tl.fma(n, 0.5, zero)
    scaled = (expm1_reduced(r) + 1.0) * power_of_two(half)
    rest = power_of_two((n - (half - zero)) + zero)
    return scaled, rest, scaled * rest


# ---- smooth ones of a value alone -----------------------------------------------------------------------------------


@jit
def silu(x):
    scaled, rest, e = decay(x)
    return divide(tl.where(x < 0.0, scaled * at_least(x, -1e4) * rest, x), 1.0 + e)


@jit
def silu_backward(dout, x):
    scaled, rest, e = decay(x)
    q = divide(1.0, 1.0 + e)
    y = at_least(at_most(x, 1e4), -1e4)
    up = q * tl.fma(y, e * q, 1.0)
    down = scaled * tl.fma(y, q, 1.0) * rest * q
    return dout * tl.where(x < 0.0, down, up)


@jit
def mish(x):
    scaled, rest, e = decay(x)
    up = tl.fma(e, 2.0, 1.0)
    down = e + 2.0
    below = tl.where(x < 0.0, tl.fma(e, down, 2.0), tl.fma(2.0 * e, e, up))
    return divide(tl.where(x < 0.0, scaled * at_least(x, -1e4) * rest * down, x * up), below)


@jit
def mish_backward(dout, x):
    scaled, rest, e = decay(x)
    y = at_least(at_most(x, 1e4), -1e4)
    one = e + 1.0
    up = tl.fma(e, 2.0, 1.0)
    down = e + 2.0
    q = divide(1.0, tl.where(x < 0.0, tl.fma(e, down, 2.0), tl.fma(2.0 * e, e, up)))
    of_down = scaled * tl.fma(4.0 * y * one, q, down) * rest
    of_up = tl.fma(4.0 * y * one, e * e * q, up)
    return dout * (tl.where(x < 0.0, of_down, of_up) * q)


@jit
def softsign(x):
    a = at_most(tl.abs(x), 1.7976931348623157e308 if x.dtype == tl.float64 else 3.4028234663852886e38)
    return copysign_(divide(a, 1.0 + a), x)


@jit
def softsign_backward(dout, x):
    q = divide(1.0, 1.0 + tl.abs(x))
    return dout * q * q


@jit
def logsigmoid(x):
    _, _, e = decay(x)
    return tl.where(x > 0.0, 0.0, x) - log1p_(e)


@jit
def logsigmoid_backward(dout, x):
    _, _, e = decay(x)
    return dout * divide(tl.where(x < 0.0, 1.0, e), 1.0 + e)


@jit
def softplus(x, beta, threshold):
    y = x * beta
    _, _, e = decay(y)
    return tl.where(y > threshold, x, divide(tl.where(y > 0.0, y, 0.0) + log1p_(e), beta))


@jit
def softplus_backward(dout, x, threshold):  # where beta is 1
    _, _, e = decay(x)
    return tl.where(x > threshold, dout, dout * divide(tl.where(x < 0.0, e, 1.0), 1.0 + e))


@jit
def selu(x):
    return tl.where(x <= 0.0, expm1_(x) * SELU_NEGATIVE, x * SELU_SCALE)


@jit
def selu_backward(dout, x):
    return dout * tl.where(x <= 0.0, exp_(x) * SELU_NEGATIVE, SELU_SCALE)


@jit
def elu(x, alpha):
    return tl.where(x <= 0.0, expm1_(x) * alpha, x)


@jit
def elu_backward(dout, x, alpha):
    return dout * tl.where(x <= 0.0, exp_(x) * alpha, 1.0)


@jit
def celu(x, alpha):
    return tl.where(x <= 0.0, expm1_(divide(x, alpha)) * alpha, x)


@jit
def celu_backward(dout, x, alpha):
    return dout * tl.where(x <= 0.0, exp_(divide(x, alpha)), 1.0)


# ---- pieces of straight lines ---------------------------------------------------------------------------------------


@jit
def relu6(x):
    return tl.where(x >= 6.0, 6.0, tl.where(x <= 0.0, 0.0, x))


@jit
def relu6_backward(dout, x):
    return tl.where((x <= 0.0) | (x >= 6.0), 0.0, dout)


@jit
def hardsigmoid(x):
    return at_most(at_least(x + 3.0, 0.0), 6.0) * (1 / 6.0)


@jit
def hardsigmoid_backward(dout, x):
    return tl.where(tl.abs(x) < 3.0, dout * (1 / 6.0), 0.0)


@jit
def hardswish(x):
    return at_least(x, -3.0) * (at_most(at_least(x + 3.0, 0.0), 6.0) * (1 / 6.0))


@jit
def hardswish_backward(dout, x):
    return tl.where(x <= -3.0, 0.0, tl.where(x < 3.0, dout * ((x + 1.5) * (1 / 3.0)), dout))


@jit
def prelu(x, weight):
    return tl.where(x > 0.0, x, x * weight)


@jit
def leaky_relu_backward(dout, x, negative_slope):
    return tl.where(x > 0.0, dout, dout * negative_slope)


@jit
def hardtanh(x, min_val, max_val):
    return tl.where(x >= max_val, max_val, tl.where(x <= min_val, min_val, x))


@jit
def hardtanh_backward(dout, x, limit):  # of limits on both sides of 0
    return tl.where((x <= -limit) | (x >= limit), 0.0, dout)


@jit
def hardshrink(x, lambd):
    return tl.where((x >= -lambd) & (x <= lambd), 0.0, x)


@jit
def hardshrink_backward(dout, x, lambd):
    return tl.where((x >= -lambd) & (x <= lambd), 0.0, dout)


@jit
def softshrink(x, lambd):
    return tl.where(x > lambd, x - lambd, tl.where(x < -lambd, x + lambd, x * 0.0))


@jit
def threshold(x, threshold, value):
    return tl.where(x <= threshold, value, x)


@jit
def threshold_backward(dout, x, threshold):
    return tl.where(x <= threshold, 0.0, dout)


# ---- gates ----------------------------------------------------------------------------------------------------------


@jit
def glu(a, b):
    return a * sigmoid_(b)


@jit
def glu_of_gate(dout, a, b):  # the gradient to b
    _, _, e = decay(b)
    q = divide(1.0, 1.0 + e)
    return dout * (a * (e * q * q))


@jit
def glu_gradients(dout, a, b):
    return dout * sigmoid_(b), glu_of_gate(dout, a, b)


@jit
def swiglu(a, b):
    return silu(a) * b


@jit
def swiglu_gradients(dout, a, b):
    return silu_backward(dout * b, a), dout * silu(a)


@jit
def geglu(a, b):
    return gelu(a) * b


@jit
def geglu_gradients(dout, a, b):
    return gelu_grad(dout * b, a), dout * gelu(a)


@jit
def geglu_tanh(a, b):
    return gelu_tanh(a) * b


@jit
def geglu_tanh_gradients(dout, a, b):
    return gelu_tanh_grad(dout * b, a), dout * gelu_tanh(a)


@jit
def reglu(a, b):
    return relu(a) * b


@jit
def reglu_gradients(dout, a, b):
    return relu_grad(dout * b, a), dout * relu(a)
