"""Device functions shared by the kernels of this family: one step of a product, and what happens to its result.

A fused epilogue removes loads and stores, never arithmetic: product, bias and activation are each rounded to the
output's dtype, and the activations are the scalar functions of the pointwise kernels (common/activations.py), so linear
gives the same bits as matmul, add and the activation one after the other.
"""

from dlcore.kernels.language import jit, tl


@jit
def round_tf32(x):
    """x rounded to the 11 significant bits of tf32, ties away from zero: tensor cores would drop the low 13 bits, which
    shrinks every product."""
    return tl.inline_asm_elementwise("cvt.rna.tf32.f32 $0, $1;", "=r,r", [x], tl.float32, True, 1)


@jit
def multiply_add(a, b, acc, PRECISION: tl.constexpr):
    """acc + a @ b. PRECISION matters to float32 only: "tf32x3", "tf32" or "ieee"."""
    if PRECISION == "tf32":
        a, b = round_tf32(a), round_tf32(b)
    return tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@jit
def activate(x, ACTIVATION: tl.constexpr):
    """ACTIVATION(x), or x where there is none."""
    if ACTIVATION is not None:
        x = ACTIVATION(x)
    return x


@jit
def rounded(x, dtype: tl.constexpr):
    """x in `dtype`. 16 bits: two elements an instruction, for ptxas 13.4 moves single conversions up into the wgmmas
    that make x, says that they read accumulators in flight (C7514), and serialises all wgmmas."""
    if dtype == tl.bfloat16:
        x = tl.inline_asm_elementwise("cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,r,r", [x], tl.bfloat16, True, 2)
    elif dtype == tl.float16:
        x = tl.inline_asm_elementwise("cvt.rn.f16x2.f32 $0, $2, $1;", "=r,r,r", [x], tl.float16, True, 2)
    else:
        x = x.to(dtype)
    return x


@jit
def with_bias(acc, bias, dtype: tl.constexpr):
    """acc rounded to `dtype`, then plus bias (broadcast to its shape, or None) rounded again: the pre-activation."""
    x = rounded(acc, dtype)
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
