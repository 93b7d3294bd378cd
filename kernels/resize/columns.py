"""Windows of images as columns (im2col) and columns added up to images (col2im).

Bound by memory: im2col writes each element of a window once and reads the image from the cache; col2im reads columns
once and writes the image once. A lane is an element of the output. col2im gathers: it goes through the places that an
element may have in a window, in their order, and adds those windows that are there, so that nothing is added by
atomics. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, accumulator, ceil_div, index_dtype
from dlcore.kernels.movement.copy import RAW

__all__ = ["col2im", "im2col"]

BLOCK = 512


@jit
def im2col_kernel(
    x, out, size, height, width, rows, columns, top, left,
    KH: tl.constexpr, KW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    column, above = i % columns, i // columns
    row, tap = above % rows, above // rows
    y = row * SH + tap // KW % KH * DH - top
    z = column * SW + tap % KW * DW - left
    there = inside & (y >= 0) & (y < height) & (z >= 0) & (z < width)
    value = tl.load(x + (tap // (KH * KW) * height + y) * width + z, there, 0)
    tl.store(out + i, value, inside)


@jit
def col2im_kernel(
    x, out, size, height, width, rows, columns, top, left,
    KH: tl.constexpr, KW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    INDEX: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    z, y, plane = i % width, i // width % height, i // width // height
    total = tl.zeros((BLOCK,), COMPUTE)
    for tap in range(KH * KW):
        down, right = y + top - tap // KW * DH, z + left - tap % KW * DW
        row, column = down // SH, right // SW
        there = inside & (down >= 0) & (right >= 0) & (down == row * SH) & (right == column * SW)
        there = there & (row < rows) & (column < columns)
        total += tl.load(x + ((plane * (KH * KW) + tap) * rows + row) * columns + column, there, 0).to(COMPUTE)
    tl.store(out + i, total.to(out.dtype.element_ty), inside)


def _args(call: Call) -> dict[str, object]:
    kernel, dilation, padding, stride, size = (tuple(int(p) for p in call.params[k : k + 2]) for k in range(0, 10, 2))
    rows, columns = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    )
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    return {
        "size": out.size, "height": size[0], "width": size[1], "rows": rows, "columns": columns,
        "top": padding[0], "left": padding[1], "KH": kernel[0], "KW": kernel[1], "DH": dilation[0], "DW": dilation[1],
        "SH": stride[0], "SW": stride[1], "INDEX": index_dtype(max(x.size, out.size)), "BLOCK": BLOCK,
    }  # fmt: skip


def im2col(call: Call) -> Program:
    """out (N, C kh kw, L) = the windows of x (N, C, H, W)."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    if out.size == 0:
        return Program(())
    raw = RAW[x.dtype.itemsize]
    args = {"x": In(0, raw), "out": Out(0, raw), **_args(call)}
    return Program((Launch(im2col_kernel, (ceil_div(math.prod(out.shape), BLOCK),), args),), (), (0,))


def col2im(call: Call) -> Program:
    """out (N, C, H, W) = the sums of the columns x (N, C kh kw, L)."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    if out.size == 0:
        return Program(())
    args = {"x": In(0), "out": Out(0), **_args(call), "COMPUTE": accumulator(x.dtype)}
    return Program((Launch(col2im_kernel, (ceil_div(out.size, BLOCK),), args),), (), (0,))
