"""A copy of a matrix in rows whose pitch is a multiple of 16 bytes: what TMA can read.

R C elements read and written once: bound by memory, 2 / K of the product's own traffic through the tensor cores. Used
before large products only, for operands whose address or strides are odd; the product then is the same for every
layout, and so are its bits.

Rows begin anywhere, and differently one from another. A thread makes 16 bytes of the copy from the two vectors of 16
bytes in which they lie, by selections and shifts of 32-bit words. The second vector is what the neighbour takes as its
first, so it comes from L1. Bytes beside a row, at most 15, are read too, but not beside the whole operand: a tile where
that would happen goes element by element. What is written behind a row's end, up to its pitch, nobody reads.

Versions, unmeasured, not yet run on hardware: 1. element by element: 79 registers, loads and stores of one element.
2. this one: 56 registers, so 9 programs of 128 threads an SM; a thread has 8 loads and 4 stores of 16 bytes under way.
"""

from __future__ import annotations

import math

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Launch, ceil_div, power_of_2
from dlcore.kernels.matmul.pointers import batch_offset
from dlcore.kernels.matmul.product import Builder, Matrix

__all__ = ["packed"]

VECTOR = 16  # bytes
TILE = 512  # vectors of a program of 128 threads


@jit
def words_of(vectors):
    """The four words of each vector."""
    even, odd = vectors.reshape(vectors.shape[0], vectors.shape[1], 2, 2).split()
    first, third = even.split()
    second, fourth = odd.split()
    return first, second, third, fourth


@jit
def half_on(low, high, halfway):
    """The word that begins half a word into `low` where `halfway`, else `low`."""
    return tl.where(halfway, (low >> 16) | (high << 16), low)


@jit
def straightened(near, far, skew):
    """The 16 bytes from byte `skew` of `near` on, which `far` follows: words of both as uint32."""
    w0, w1, w2, w3 = words_of(near)
    w4, w5, w6, w7 = words_of(far)
    by_two, by_one, halfway = (skew & 8) != 0, (skew & 4) != 0, (skew & 2) != 0
    w0, w1, w2 = tl.where(by_two, w2, w0), tl.where(by_two, w3, w1), tl.where(by_two, w4, w2)
    w3, w4, w5 = tl.where(by_two, w5, w3), tl.where(by_two, w6, w4), tl.where(by_two, w7, w5)
    w0, w1, w2 = tl.where(by_one, w1, w0), tl.where(by_one, w2, w1), tl.where(by_one, w3, w2)
    w3, w4 = tl.where(by_one, w4, w3), tl.where(by_one, w5, w4)
    w0, w1 = half_on(w0, w1, halfway), half_on(w1, w2, halfway)
    w2, w3 = half_on(w2, w3, halfway), half_on(w3, w4, halfway)
    joined = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    return joined.reshape(near.shape)


@jit
def pack_kernel(
    x, out, rows, columns, row, pitch_vectors, low, high, batch_inner, outer, inner,
    ROWS: tl.constexpr, VECTORS: tl.constexpr, AXES: tl.constexpr,
):  # fmt: skip
    SIZE: tl.constexpr = x.dtype.element_ty.primitive_bitwidth // 8
    EACH: tl.constexpr = 16 // SIZE
    vectors = tl.cdiv(columns, EACH)
    across = tl.cdiv(vectors, VECTORS)
    tiles = tl.cdiv(rows, ROWS) * across
    tile, entry = tl.program_id(0) % tiles, (tl.program_id(0) // tiles).to(tl.int64)
    top, left = (tile // across).to(tl.int64) * ROWS, (tile % across).to(tl.int64) * VECTORS
    matrix = batch_offset(entry, batch_inner, outer, inner, 1, AXES)
    i, k = top + tl.arange(0, ROWS), left + tl.arange(0, VECTORS)
    to = ((entry * rows + i) * pitch_vectors)[:, None] + k[None, :]
    inside = (i < rows)[:, None] & (k < vectors)[None, :]
    # The tile's first and last byte from x on; rows may lie in either direction.
    one, other = matrix + top * row, matrix + tl.minimum(top + ROWS - 1, rows - 1) * row
    begin = tl.minimum(one, other) * SIZE + left * 16
    end = tl.maximum(one, other) * SIZE + tl.minimum((left + VECTORS) * 16, columns * tl.full((), SIZE, tl.int64))
    if (begin - 15 >= low) & (end + 15 <= high):
        start = x.to(tl.int64) + (matrix + i * row) * SIZE
        skew = (start & 15).to(tl.int32)[:, None]
        at = (start >> 4)[:, None] * 16 + k[None, :] * 16
        word = tl.arange(0, 4)[None, None, :]
        pointers = tl.multiple_of(at.to(tl.pointer_type(tl.uint32)), (16, 16))[:, :, None] + word
        beyond = inside & (k[None, :] * 16 + 16 - skew < columns * tl.full((), SIZE, tl.int64))
        near = tl.load(pointers, inside[:, :, None])
        far = tl.load(pointers + 4, beyond[:, :, None])
        target = out.to(tl.pointer_type(tl.uint32)) + (to * 4)[:, :, None] + word
        tl.store(target, straightened(near, far, skew), inside[:, :, None])
    else:
        j = left * EACH + tl.arange(0, VECTORS * EACH)
        there = (i < rows)[:, None] & (j < columns)[None, :]
        value = tl.load(x + (matrix + i * row)[:, None] + j[None, :], there)
        tl.store(out + ((entry * rows + i) * pitch_vectors * EACH)[:, None] + j[None, :], value, there)


def packed(builder: Builder, x: Matrix, batch: tuple[int, ...]) -> Matrix:
    """``x``, dense, copied by a launch added to ``builder``; the axis adjacent in memory stays so, a repeated one stays
    one."""
    if not x.by_rows:
        return packed(builder, x.transposed, batch).transposed
    many = any(x.batch)
    axes, batch_inner = (len(batch), batch[-1]) if many else (0, 1)
    entries = math.prod(batch) if many else 1
    size = x.dtype.itemsize
    vectors = ceil_div(x.columns * size, VECTOR)
    pitch = vectors * VECTOR // size
    to = builder.temp(entries * x.rows * pitch, x.dtype)
    outer, inner = (0, 0, *x.batch)[-2:]
    spans = [(x.rows - 1) * x.row, x.columns - 1]
    spans += [(n - 1) * s for n, s in zip(batch, x.batch, strict=True)] if many else []
    across = min(power_of_2(vectors), 32)
    down = TILE // across
    args = {
        "x": x.pointer, "out": to, "rows": x.rows, "columns": x.columns, "row": x.row, "pitch_vectors": vectors,
        "low": sum(min(s, 0) for s in spans) * size, "high": (sum(max(s, 0) for s in spans) + 1) * size,
        "batch_inner": batch_inner, "outer": outer, "inner": inner, "ROWS": down, "VECTORS": across, "AXES": axes,
    }  # fmt: skip
    grid = ceil_div(x.rows, down) * ceil_div(vectors, across) * entries
    builder.launches.append(Launch(pack_kernel, (grid,), args, num_warps=4))
    strides = (x.rows * pitch if many else 0,) if batch else ()
    return Matrix(to, x.dtype, x.rows, x.columns, pitch, 1, strides)
