"""Gradients of convolutions to their weights: a product over all places of all images, in slices added in fixed order.

Rows are channels D of the output, columns (K, C) places of the kernel and channels of the input, terms the places (N L)
of the output: 2 N L G D C K FLOPs on N G (C S + D L) + G D C K elements that must move. Rows and columns are few and
terms many, so the terms are shared out to programs (split-K): each writes its sums in float32, and a second pass
(matmul/split.py) adds them one after the other. How many there are depends on shapes and architecture alone.

A tile of the input is gathered through pointers: each column has an offset, each row of terms too, and what is padding
is not loaded. Channels are innermost in a column's number, so that with channels last neighbours are neighbours in
memory. The result is written as (D, C, K).

Versions: 1, this one: unmeasured, not yet run on hardware. Compiled, registers on sm_80, 90, 100 and 120, no spills:
bf16 64x64 channels last (steps of 64, 4 warps) 126, 88, 47, 90; NCHW (steps of 32, 8 warps) 104, 114, 80, 92; tf32x3
160, 109, 58, 147, and 240, 175, 127, 194. At most 32 KiB of shared memory: registers bound what an SM holds, 16 to 20
warps of bf16 on Hopper.
"""

from __future__ import annotations

from typing import Any

from dlcore.kernels.conv.gemm import strides
from dlcore.kernels.conv.walk import Walk, kind, precision_of, walk_of
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Call,
    In,
    Launch,
    Out,
    Program,
    Temp,
    Workspace,
    accumulator,
    ceil_div,
    power_of_2,
    shared_out,
)  # fmt: skip
from dlcore.kernels.matmul.epilogue import multiply_add, rounded
from dlcore.kernels.matmul.split import added

__all__ = ["conv_weight"]

MOST_SLICES = 64 << 20  # bytes


@jit
def weight_kernel(
    x, y, out, images, inputs_units, outputs_units, size_z, size_y, size_x, made_z, made_y, made_x,
    kernel_z, kernel_y, kernel_x, stride_z, stride_y, stride_x, before_z, before_y, before_x,
    dilation_z, dilation_y, dilation_x, share, UNIT_INPUTS: tl.constexpr, UNIT_OUTPUTS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    group, groups = tl.program_id(2), tl.num_programs(2)
    inputs, outputs = inputs_units * UNIT_INPUTS, outputs_units * UNIT_OUTPUTS
    points = kernel_z * kernel_y * kernel_x
    columns = points * inputs
    across = tl.cdiv(columns, BLOCK_N)
    d = tl.program_id(0) // across * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(0) % across * BLOCK_N + tl.arange(0, BLOCK_N)
    c, k = column % inputs, column // inputs
    to_x = k % kernel_x * dilation_x - before_x
    to_y = k // kernel_x % kernel_y * dilation_y - before_y
    to_z = k // (kernel_x * kernel_y) * dilation_z - before_z
    of_n, of_c, of_z, of_y, of_x = strides(inputs * groups, size_z, size_y, size_x, CHANNELS_LAST, INDEX)
    y_n, y_c, _, _, y_x = strides(outputs * groups, made_z, made_y, made_x, CHANNELS_LAST, INDEX)
    x_at = (group * inputs + c) * of_c + to_z * of_z + to_y * of_y + to_x * of_x
    y_at = (group * outputs + d) * y_c

    one = tl.full((), 1, INDEX)
    places = one * made_z * made_y * made_x
    total = places * images
    begin = tl.program_id(1).to(INDEX) * share
    end = tl.minimum(begin + share, total)
    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for start in range(begin, end, BLOCK_K):
        row = start + tl.arange(0, BLOCK_K)
        n, place = row // places, row % places
        at_x = place % made_x * stride_x
        at_y = place // made_x % made_y * stride_y
        at_z = place // (made_x * made_y) * stride_z
        y_row = n * y_n + place * y_x
        left = tl.load(y + (y_at[:, None] + y_row[None, :]), (d < outputs)[:, None] & (row < end)[None, :], 0)
        in_z, in_y, in_x = (
            at_z[:, None] + to_z[None, :], at_y[:, None] + to_y[None, :], at_x[:, None] + to_x[None, :]
        )  # fmt: skip
        there = (row < end)[:, None] & (column < columns)[None, :]
        there = there & (in_z >= 0) & (in_z < size_z) & (in_y >= 0) & (in_y < size_y) & (in_x >= 0) & (in_x < size_x)
        x_row = n * of_n + at_z * of_z + at_y * of_y + at_x * of_x
        right = tl.load(x + (x_row[:, None] + x_at[None, :]), there, 0)
        acc = multiply_add(left, right, acc, PRECISION)
    at = ((group * outputs + d).to(tl.int64) * columns)[:, None] + (c * points + k)[None, :]
    out += tl.program_id(1).to(tl.int64) * groups * outputs * columns
    mask = (d < outputs)[:, None] & (column < columns)[None, :]
    tl.store(out + at, rounded(acc, out.dtype.element_ty), mask)


def _sides(walk: Walk) -> tuple[int, int, int, int, int]:
    """Rows, columns and terms of a tile, warps and stages."""
    what = kind(walk.dtype)
    rows = min(max(power_of_2(walk.outputs), 16), 64)
    columns = min(max(power_of_2(walk.inputs * walk.points), 16), 64)
    if what in ("double", "ieee"):
        most = 32 if what == "double" else 64
        return min(rows, most), min(columns, most), 16, 4, 1 if what == "double" else 2
    if what == "half" and walk.channels_last:
        return rows, columns, 64, 4, 2
    return rows, columns, 32, 8 if rows == columns == 64 else 4, 2


def conv_weight(call: Call) -> Program:
    """The gradient to the weight."""
    x, y = call.inputs
    out = call.outputs[0]
    assert x is not None and y is not None and out is not None
    walk = walk_of(call, x, out.shape, y.shape)
    m, n, k, warps, stages = _sides(walk)
    tiles = ceil_div(walk.outputs, m) * ceil_div(walk.inputs * walk.points, n)
    total = walk.images * walk.places
    steps, wide = ceil_div(total, k), accumulator(walk.dtype)
    wanted = min(ceil_div(2 * call.arch.multiprocessors, tiles * walk.groups), steps // 8,
                 MOST_SLICES // (out.size * wide.itemsize))  # fmt: skip
    share, splits = shared_out(steps, max(wanted, 1))
    args: dict[str, Any] = {
        "x": In(0), "y": In(1), "out": Temp(0, wide) if splits > 1 else Out(0), **walk.arguments(),
        "share": share * k, "CHANNELS_LAST": walk.channels_last, "BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k,
        "PRECISION": precision_of(walk.dtype), "ACC": wide, "INDEX": walk.index,
    }  # fmt: skip
    first = Launch(weight_kernel, (tiles, splits, walk.groups), args, warps, stages)
    copied = (0, 1)
    if splits == 1:
        return Program((first,), (), copied)
    last = added(Temp(0, wide), splits, out.size, Out(0))
    return Program((first, last), (Workspace(splits * out.size * wide.itemsize),), copied)
