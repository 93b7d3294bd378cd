"""A copy of a matrix in rows whose pitch is a multiple of 16 bytes: what TMA can read.

R C elements read and written once: bound by memory, 2 / K of the product's own traffic through the tensor cores. Used
before large products only, for operands whose address or strides are odd; the product then is the same for every
layout, and so are its bits. Tiles of 64 x 64 follow whichever axis is adjacent in memory.

Versions: unmeasured, not yet run on hardware. 79 registers; loads and stores one by one, neighbours side by side.
"""

from __future__ import annotations

import math

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Launch, ceil_div
from dlcore.kernels.matmul.pointers import batch_offset
from dlcore.kernels.matmul.product import Builder, Matrix

__all__ = ["packed"]


@jit
def pack_kernel(
    x, out, rows, columns, row, column, pitch, batch_inner, outer, inner, BLOCK: tl.constexpr, AXES: tl.constexpr
):
    tiles_c = tl.cdiv(columns, BLOCK)
    tiles = tl.cdiv(rows, BLOCK) * tiles_c
    tile, entry = tl.program_id(0) % tiles, (tl.program_id(0) // tiles).to(tl.int64)
    i = (tile // tiles_c * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    j = (tile % tiles_c * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[None, :]
    mask = (i < rows) & (j < columns)
    value = tl.load(x + batch_offset(entry, batch_inner, outer, inner, 1, AXES) + i * row + j * column, mask, 0)
    tl.store(out + (entry * rows + i) * pitch + j, value, mask)


def packed(builder: Builder, x: Matrix, batch: tuple[int, ...]) -> Matrix:
    """``x``, copied by a launch added to ``builder``; an axis adjacent in memory stays so, a repeated one stays one."""
    if x.row == 1 and x.column != 1:
        return packed(builder, x.transposed, batch).transposed
    many = any(x.batch)
    axes, batch_inner = (len(batch), batch[-1]) if many else (0, 1)
    entries = math.prod(batch) if many else 1
    unit = 16 // x.dtype.itemsize
    pitch = ceil_div(x.columns, unit) * unit
    to = builder.temp(entries * x.rows * pitch, x.dtype)
    outer, inner = (0, 0, *x.batch)[-2:]
    block = 64
    args = {
        "x": x.pointer, "out": to, "rows": x.rows, "columns": x.columns, "row": x.row, "column": x.column,
        "pitch": pitch, "batch_inner": batch_inner, "outer": outer, "inner": inner, "BLOCK": block, "AXES": axes,
    }  # fmt: skip
    grid = ceil_div(x.rows, block) * ceil_div(x.columns, block) * entries
    builder.launches.append(Launch(pack_kernel, (grid,), args, num_warps=8))
    strides = (x.rows * pitch if many else 0,) if batch else ()
    return Matrix(to, x.dtype, x.rows, x.columns, pitch, 1, strides)
