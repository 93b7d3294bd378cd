"""A part of each image from a place of its own, mirrored or not, with zeros where it leaves the image.

Bound by memory: the part is read and written once. A lane is an element of the output; elements are moved as integers
of their size. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, ceil_div, index_dtype
from dlcore.kernels.movement.copy import RAW

__all__ = ["crop"]

BLOCK = 1024


@jit
def crop_kernel(
    x, start, flip, out, size, each, height, width, rows, columns, channels, INDEX: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    channel, pixel = i % channels, i // channels
    column, row, plane = pixel % columns, pixel // columns % rows, pixel // columns // rows
    n = plane // each
    top = tl.load(start + 2 * n, inside, 0)
    left = tl.load(start + 2 * n + 1, inside, 0)
    if flip is not None:
        column = tl.where(tl.load(flip + n, inside, 0) != 0, columns - 1 - column, column)
    y, z = top + row, left + column
    there = inside & (y >= 0) & (y < height) & (z >= 0) & (z < width)
    value = tl.load(x + ((plane * height + y) * width + z) * channels + channel, there, 0)
    tl.store(out + i, value, inside)


def crop(call: Call) -> Program:
    """out (N, ..., rows, columns) = parts of x (N, ..., height, width) from start (N, 2)."""
    (x, start, flip), out = call.inputs, call.outputs[0]
    assert x is not None and start is not None and out is not None
    if out.size == 0:
        return Program(())
    rows, columns, last = (int(p) for p in call.params[:3])
    channels = x.shape[-1] if last else 1
    height, width = x.shape[-3:-1] if last else x.shape[-2:]
    raw = RAW[x.dtype.itemsize]
    args = {
        "x": In(0, raw), "start": In(1), "flip": None if flip is None else In(2), "out": Out(0, raw), "size": out.size,
        "each": math.prod(x.shape[1:]) // (height * width * channels), "height": height, "width": width, "rows": rows,
        "columns": columns, "channels": channels, "INDEX": index_dtype(max(out.size, x.size)), "BLOCK": BLOCK,
    }  # fmt: skip
    launch = Launch(crop_kernel, (ceil_div(out.size, BLOCK),), args)
    return Program((launch,), (), (0, 1) if flip is None else (0, 1, 2))
