"""Rotary position embedding: pairs of features of each row turned by the angle of its position, either way.

Bound: memory. Each element is read and written once, 8 bytes (float32), with three operations; the rows of the tables
are read once for each head, from the cache. Rows are read where they lie, by strides: no transposition comes before.

A program takes a tile of rows, about 2048 elements. Halves of a row are two contiguous loads; pairs side by side are
one, split in registers, so that accesses stay whole. Products are rounded before they are added: the CPU's bits.

Versions: 1, this one. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.dtypes import int32, int64
from dlcore.kernels.common.layout import SMALL
from dlcore.kernels.common.pointwise import merged_axes
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    BAD_INDEX,
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    View,
    accumulator,
    ceil_div,
    contiguous_strides,
    power_of_2,
)
from dlcore.kernels.movement.index import report

TILE = 2048  # elements of a program
BAD = tl.constexpr(BAD_INDEX)


@jit
def turned_rows(a, b, c, s, turns, INVERSE: tl.constexpr):
    """Pairs (a, b) of the rows that turn."""
    if INVERSE:
        s = -s
    return tl.where(turns, a * c - b * s, a), tl.where(turns, b * c + a * s, b)


@jit
def rotary_kernel(
    x, cos, sin, positions, out, errors, rows, n1, n2, x_batch, x_1, x_2, heads, batches, table, half, width,
    TIME_INNER: tl.constexpr, LISTED: tl.constexpr, INTERLEAVED: tl.constexpr, INVERSE: tl.constexpr, C: tl.constexpr,
    INDEX: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(INDEX) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    second, first, batch = row % n2, row // n2 % n1, row // n2 // n1
    if TIME_INNER:
        t, head, length = second, first, n2
    else:
        t, head, length = first, second, n1
    place, number = t.to(tl.int64), t.to(tl.int64)
    if LISTED:
        number = (batch % batches * length + t).to(tl.int64)
        place = tl.load(positions + number, inside, 0).to(tl.int64)
    elif positions is not None:
        place += tl.load(positions).to(tl.int64)
    good = (place >= 0) & (place < table)
    report(errors, inside & (good == 0), number, BAD)
    turns = (good & (head < heads))[:, None]
    source = (batch * x_batch + first * x_1 + second * x_2)[:, None]
    target = (row * width)[:, None]
    i = tl.arange(0, HALF)[None, :]
    there = inside[:, None] & (i < half)
    at = place[:, None] * half + i
    c = tl.load(cos + at, there & turns, 0).to(C)
    s = tl.load(sin + at, there & turns, 0).to(C)
    TO: tl.constexpr = out.dtype.element_ty
    if INTERLEAVED:
        j = tl.arange(0, 2 * HALF)[None, :]
        both = inside[:, None] & (j < 2 * half)
        v = tl.load(x + source + j, both, 0).to(C)
        a, b = tl.split(tl.reshape(v, (ROWS, HALF, 2)))
        a, b = turned_rows(a, b, c, s, turns, INVERSE)
        tl.store(out + target + j, tl.reshape(tl.join(a, b), (ROWS, 2 * HALF)).to(TO), both)
    else:
        a = tl.load(x + source + i, there, 0).to(C)
        b = tl.load(x + source + half + i, there, 0).to(C)
        a, b = turned_rows(a, b, c, s, turns, INVERSE)
        tl.store(out + target + i, a.to(TO), there)
        tl.store(out + target + half + i, b.to(TO), there)
    if REST > 0:
        k = 2 * half + tl.arange(0, REST)[None, :]
        left = inside[:, None] & (k < width)
        tl.store(out + target + k, tl.load(x + source + k, left, 0), left)


def _row_strides(x: View, axes: int) -> tuple[int, int, int] | None:
    """The strides of the batch as one axis and of the two axes before the features; None where there are none."""
    if x.strides[-1] != 1 and x.shape[-1] > 1:
        return None
    inner = (0,) * (2 - axes) + x.strides[-1 - axes : -1]
    outer = x.shape[: -1 - axes]
    merged = merged_axes(outer, [contiguous_strides(outer), x.strides[: len(outer)]])
    if len(merged) > 1:
        return None
    return (merged[0].strides[1] if merged else 0, *inner)


def rotary_embedding(call: Call) -> Program:
    """The operation."""
    x, cos, _, positions = call.inputs
    out = call.outputs[0]
    assert x is not None and cos is not None and out is not None
    time, head, interleaved, heads, inverse = (int(p) for p in call.params)
    if out.size == 0:
        return Program(())
    axes = 2 if head >= 0 else 1
    copied: tuple[int, ...] = ()
    strides = _row_strides(x, axes)
    if strides is None:
        x, copied = x._replace(strides=contiguous_strides(x.shape), aligned=True), (0,)
        strides = _row_strides(x, axes) or (0, 0, 0)
    table, half = cos.shape
    width, length = x.shape[-1], x.shape[time]
    n1, n2 = (1, *x.shape[-1 - axes : -1])[-2:]
    listed = positions is not None and len(positions.shape) > 0
    columns = power_of_2(max(half, 1))
    reach = max(out.size, sum(abs(s) * n for s, n in zip(x.strides, x.shape, strict=True)))
    index = int64 if reach >= SMALL else int32
    height = max(1, min(TILE // (2 * columns), power_of_2(x.size // width)))
    args = {
        "x": In(0), "cos": In(1), "sin": In(2), "positions": In(3) if positions else None, "out": Out(0),
        "errors": Errors(), "rows": x.size // width, "n1": n1, "n2": n2, "x_batch": strides[0], "x_1": strides[1],
        "x_2": strides[2], "heads": heads,
        "batches": max(math.prod(positions.shape) // length, 1) if positions and listed else 1, "table": table,
        "half": half, "width": width, "TIME_INNER": time > head, "LISTED": listed, "INTERLEAVED": bool(interleaved),
        "INVERSE": bool(inverse), "C": accumulator(x.dtype), "INDEX": index, "ROWS": height, "HALF": columns,
        "REST": power_of_2(width - 2 * half) if width > 2 * half else 0,
    }  # fmt: skip
    launch = Launch(rotary_kernel, (ceil_div(x.size // width, height),), args, num_warps=4 if columns >= 32 else 2)
    return Program((launch,), contiguous=(*copied, 1, 2, *((3,) if listed else ())))
