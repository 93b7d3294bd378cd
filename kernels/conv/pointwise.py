"""Convolutions with a kernel of length 1, no stride and no padding, of images with their channels behind: products of
matrices as they lie, which matmul's kernels do (TMA, tiles chosen by shape), forward and both gradients.

With channels in front an image is a matrix (C, S) of its own, whose bias goes by rows: that is left to the implicit
product (gemm.py, weight.py). Versions: 1, this one: unmeasured, not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.common.activations import ACTIVATIONS
from dlcore.kernels.conv.walk import Walk
from dlcore.kernels.launch import Call, In, Out, Program
from dlcore.kernels.matmul.plan import multiply
from dlcore.kernels.matmul.product import Builder, product, row_major

__all__ = ["conv", "conv_input", "conv_weight", "fits"]


def fits(walk: Walk) -> bool:
    """Whether the convolution is a product of matrices."""
    plain = walk.points == 1 and walk.groups == 1 and walk.size == walk.made and not any(walk.before)
    return plain and walk.channels_last and max(walk.stride) == 1 and walk.images * walk.places > 0


def conv(call: Call, walk: Walk) -> Program:
    """x (N S, C) @ weight.T (C, D) + bias, activated."""
    builder, rows = Builder(call.arch), walk.images * walk.places
    builder.contiguous |= {k for k, v in enumerate(call.inputs) if v is not None}
    x = row_major(In(0), walk.dtype, rows, walk.inputs)
    weight = row_major(In(1), walk.dtype, walk.outputs, walk.inputs).transposed
    bias, pre = call.inputs[2], call.outputs[1]
    multiply(builder, product(x, weight, (), out=Out(0), pre=pre and Out(1), bias=bias and In(2),
                              activation=ACTIVATIONS.get(call.attrs[4])))  # fmt: skip
    return builder.program()


def conv_input(call: Call, walk: Walk) -> Program:
    """y (N S, D) @ weight (D, C)."""
    builder, rows = Builder(call.arch), walk.images * walk.places
    builder.contiguous |= {0, 1}
    y = row_major(In(0), walk.dtype, rows, walk.outputs)
    multiply(builder, product(y, row_major(In(1), walk.dtype, walk.outputs, walk.inputs), (), out=Out(0)))
    return builder.program()


def conv_weight(call: Call, walk: Walk) -> Program:
    """y.T (D, N S) @ x (N S, C)."""
    builder, rows = Builder(call.arch), walk.images * walk.places
    builder.contiguous |= {0, 1}
    x = row_major(In(0), walk.dtype, rows, walk.inputs)
    y = row_major(In(1), walk.dtype, rows, walk.outputs).transposed
    multiply(builder, product(y, x, (), out=Out(0)))
    return builder.program()
