"""The planners that operations name: they choose among the kernels of this family.

Products of matrices as they lie go to matmul (pointwise.py), few channels (direct.cu) and depthwise convolutions
(depthwise.cu) to CUDA C++. What is left, also activations but ReLU, more elements than an int counts and kernels of
very many places, the implicit products in Triton do (gemm.py, weight.py). The choice depends on shapes, dtype and
attributes alone.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.dtypes import float64, int32
from dlcore.kernels.conv import gemm, pointwise, weight
from dlcore.kernels.conv.walk import Walk, walk_of
from dlcore.kernels.launch import (
    I32,
    Call,
    Cuda,
    In,
    Launch,
    Out,
    Program,
    Table,
    Temp,
    Workspace,
    accumulator,
    ceil_div,
    shared_out,
)  # fmt: skip
from dlcore.kernels.matmul.split import added

__all__ = ["conv", "conv_input", "conv_weight"]

FEW_CHANNELS = 4
SHARED = 48 << 10
TAPS = (9, 25, 49)  # sums a thread keeps in registers
WIDE_TAPS = (9,)  # those of float64 take two each
_CPP = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}


def _table(walk: Walk) -> Table:
    lengths = (walk.size, walk.made, walk.kernel, walk.stride, walk.before, walk.dilation)
    channels = walk.groups * walk.inputs, walk.groups * walk.outputs
    numbers = walk.images, *channels, walk.points, *(n for part in lengths for n in part)
    return Table(tuple(map(I32, numbers)))


def conv(call: Call) -> Program:
    """activation(the convolution + bias), and the value before the activation where it is wanted."""
    x, w, bias, *_ = call.inputs
    out, pre = call.outputs
    assert x is not None and w is not None and out is not None
    walk, activation = walk_of(call, x, w.shape, out.shape), call.attrs[4]
    if pointwise.fits(walk):
        return pointwise.conv(call, walk)
    if out.size == 0 or pre is not None or activation not in (None, "relu") or walk.index is not int32:
        return gemm.conv(call)
    copied = tuple(k for k, v in enumerate(call.inputs) if v is not None)
    args: dict[str, Any] = {"x": In(0), "w": In(1), "bias": bias and In(2), "out": Out(0), "walk": _table(walk),
                            "relu": I32(int(activation == "relu"))}  # fmt: skip
    name, last = _CPP[x.dtype.name], "true" if walk.channels_last else "false"
    if walk.depthwise:
        parts = walk.images * walk.groups * walk.outputs * ceil_div(walk.places, 4)
        kernel = Cuda("conv/depthwise.cu", f"depthwise<{name}, {last}>", 256)
        return Program((Launch(kernel, (ceil_div(parts, 256),), {**args, "parts": I32(parts)}),), (), copied)
    size = 8 if x.dtype is float64 else 4
    outputs = 8 if walk.outputs <= 8 else 16
    shared = walk.inputs * walk.points * outputs * size
    if walk.groups > 1 or walk.inputs > FEW_CHANNELS or shared > SHARED:
        return gemm.conv(call)
    kernel = Cuda("conv/direct.cu", f"direct<{name}, {outputs}, {last}>", 128, shared)
    launch = (ceil_div(walk.images * walk.places, 256), ceil_div(walk.outputs, outputs))
    return Program((Launch(kernel, launch, args),), (), copied)


def conv_input(call: Call) -> Program:
    """The gradient to the input."""
    y, w = call.inputs
    out = call.outputs[0]
    assert y is not None and w is not None and out is not None
    walk = walk_of(call, out.shape, w.shape, y.shape)
    if pointwise.fits(walk):
        return pointwise.conv_input(call, walk)
    if out.size == 0 or not walk.depthwise or walk.index is not int32:
        return gemm.conv_input(call)
    parts = walk.images * walk.groups * ceil_div(math.prod(walk.size), 4)
    name, last = _CPP[y.dtype.name], "true" if walk.channels_last else "false"
    kernel = Cuda("conv/depthwise.cu", f"depthwise_input<{name}, {last}>", 256)
    args = {"y": In(0), "w": In(1), "out": Out(0), "walk": _table(walk), "parts": I32(parts)}
    return Program((Launch(kernel, (ceil_div(parts, 256),), args),), (), (0, 1))


def conv_weight(call: Call) -> Program:
    """The gradient to the weight."""
    x, y = call.inputs
    out = call.outputs[0]
    assert x is not None and y is not None and out is not None
    walk = walk_of(call, x, out.shape, y.shape)
    if pointwise.fits(walk):
        return pointwise.conv_weight(call, walk)
    known = WIDE_TAPS if x.dtype is float64 else TAPS
    if not walk.depthwise or walk.index is not int32 or walk.points > known[-1]:
        return weight.conv_weight(call)
    channels, total = walk.groups * walk.outputs, walk.images * walk.places
    across = ceil_div(channels, 32) if walk.channels_last else channels
    rows = 64 if walk.channels_last else 1024  # of a slice at least
    wanted = min(ceil_div(4 * call.arch.multiprocessors, across), total // rows, 256)
    share, slices = shared_out(total, max(wanted, 1))
    wide = accumulator(x.dtype)
    name, sums = _CPP[x.dtype.name], _CPP[(wide if slices > 1 else x.dtype).name]
    taps = next(n for n in known if n >= walk.points)
    last = "true" if walk.channels_last else "false"
    kernel = Cuda("conv/depthwise.cu", f"depthwise_weight<{name}, {sums}, {taps}, {last}>", 256)
    args = {"x": In(0), "y": In(1), "slices": Temp(0, wide) if slices > 1 else Out(0), "walk": _table(walk),
            "share": I32(share)}  # fmt: skip
    launch = Launch(kernel, (across, slices), args)
    if slices == 1:
        return Program((launch,), (), (0, 1))
    temps = (Workspace(slices * out.size * wide.itemsize),)
    return Program((launch, added(Temp(0, wide), slices, out.size, Out(0))), temps, (0, 1))
