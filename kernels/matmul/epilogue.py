"""Device functions shared by the kernels of this family: one step of a product, and what happens to its result.

A fused epilogue removes loads and stores, never arithmetic: product, bias and activation are each rounded to the
output's dtype, and the activations are the scalar functions of the pointwise kernels, so linear gives the same bits as
matmul, add and the activation one after the other.
"""

from dlcore.kernels.activation.functions import (
    gelu,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    relu,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    tanh,
    tanh_grad,
)
from dlcore.kernels.language import jit, tl

ACTIVATIONS = (None, "relu", "sigmoid", "tanh", "gelu", "gelu_tanh")  # by the row's code


@jit
def round_tf32(x):
    """x rounded to the 11 significant bits of tf32, ties away from zero: cvt.rna.tf32.f32 as integer operations.

    Tensor cores would drop the low 13 bits, which shrinks every product. A NaN must not carry into its sign.
    """
    bits = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
    return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)


@jit
def multiply_add(a, b, acc, PRECISION: tl.constexpr):
    """acc + a @ b. PRECISION matters to float32 only: "tf32x3", "tf32" or "ieee"."""
    if PRECISION == "tf32":
        a, b = round_tf32(a), round_tf32(b)
    return tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@jit
def activate(x, ACTIVATION: tl.constexpr):
    """The activation of x, a float32 or float64."""
    if ACTIVATION == "relu":
        x = relu(x)
    elif ACTIVATION == "sigmoid":
        x = sigmoid(x)
    elif ACTIVATION == "tanh":
        x = tanh(x)
    elif ACTIVATION == "gelu":
        x = gelu(x)
    elif ACTIVATION == "gelu_tanh":
        x = gelu_tanh(x)
    return x


@jit
def activate_grad(dout, saved, ACTIVATION: tl.constexpr):
    """dout times the derivative: `saved` is the value before a gelu, the result of another activation."""
    if ACTIVATION == "relu":
        dout = relu_grad(dout, saved)
    elif ACTIVATION == "sigmoid":
        dout = sigmoid_grad(dout, saved)
    elif ACTIVATION == "tanh":
        dout = tanh_grad(dout, saved)
    elif ACTIVATION == "gelu":
        dout = gelu_grad(dout, saved)
    elif ACTIVATION == "gelu_tanh":
        dout = gelu_tanh_grad(dout, saved)
    return dout


@jit
def with_bias(acc, bias, dtype: tl.constexpr):
    """acc rounded to `dtype`, then plus bias (broadcast to its shape, or None) rounded again: the pre-activation."""
    x = acc.to(dtype)
    if bias is not None:
        x = (x.to(acc.dtype) + bias.to(acc.dtype)).to(dtype)
    return x


@jit
def grouped(tile, tiles_m, tiles_n, GROUP: tl.constexpr):
    """Row and column of a tile, in an order that walks GROUP rows of tiles at a time: their operands stay in L2."""
    width = GROUP * tiles_n
    first = tile // width * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    return first + tile % width % height, tile % width // height
