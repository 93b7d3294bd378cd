"""Positions: of coordinates (ravel_index), and of true elements (count_nonzero, nonzero).

Bound by memory. Counts are sums of integers by atomics, which come out the same in any order; the positions are found
in three launches: each block counts its 1024 elements, one program turns the counts into offsets, and each block writes
its coordinates behind those of the blocks before it. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.dtypes import int64
from dlcore.kernels.common.pointwise import MOST_AXES, Operand, broadcast_strides, walk
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    Value,
    Workspace,
    ceil_div,
    index_dtype,
)  # fmt: skip
from dlcore.kernels.movement.copy import fill
from dlcore.kernels.movement.index import BAD, axis_args, numbers, placed, report

__all__ = ["count_nonzero", "nonzero", "ravel_index"]

BLOCK, CHUNK = 1024, 1024


@jit
def ravel_kernel(
    out, index, errors, size, length,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7,
    FIRST: tl.constexpr, NUMBER: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out = out * length + index, or index for the FIRST axis; each thread reads what it wrote before."""
    i = numbers(INDEX, BLOCK)
    if NUMBER:
        k = i.to(tl.int64) * 0 + index
    else:
        k = tl.load(index + walk(i, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7), i < size, 0)
    place, good = placed(k, length)
    report(errors, (i < size) & (good == 0), i, BAD)
    place = tl.where(good, place, 0)
    if not FIRST:
        place += tl.load(out + i, i < size, 0) * length
    tl.store(out + i, place, i < size)


@jit
def count_kernel(x, counts, size, TOTAL: tl.constexpr, BLOCK: tl.constexpr):
    """The number of true elements of each block, or added to the TOTAL."""
    block = tl.program_id(0)
    i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    count = tl.sum(tl.load(x + i, i < size, 0).to(tl.int32)).to(tl.int64)
    if TOTAL:
        tl.atomic_add(counts, count, sem="relaxed")
    else:
        tl.store(counts + block, count)


@jit
def offset_kernel(counts, blocks, CHUNK: tl.constexpr):
    """Each count becomes the sum of those before it."""
    before = tl.full((), 0, tl.int64)
    for first in range(0, blocks, CHUNK):
        i = first + tl.arange(0, CHUNK)
        count = tl.load(counts + i, i < blocks, 0)
        tl.store(counts + i, before + tl.cumsum(count) - count, i < blocks)
        before += tl.sum(count)


@jit
def nonzero_kernel(
    x, offsets, out, size, limit, n0, n1, n2, n3, n4, n5, n6, n7,
    NDIM: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    i = numbers(INDEX, BLOCK)
    true = tl.load(x + i, i < size, 0)
    rank = tl.load(offsets + block) + tl.cumsum(true.to(tl.int32)) - 1
    to = out + rank * NDIM + NDIM - 1
    mask = true & (i < size) & (rank < limit)
    rest = coordinate(to, i, mask, n0, 0)
    rest = coordinate(to, rest, mask, n1, 1)
    rest = coordinate(to, rest, mask, n2, 2)
    rest = coordinate(to, rest, mask, n3, 3)
    rest = coordinate(to, rest, mask, n4, 4)
    rest = coordinate(to, rest, mask, n5, 5)
    rest = coordinate(to, rest, mask, n6, 6)
    rest = coordinate(to, rest, mask, n7, 7)


@jit
def coordinate(to, index, mask, n, D: tl.constexpr):
    if n is not None:
        tl.store(to - D, (index % n).to(tl.int64), mask)
        index = index // n
    return index


def ravel_index(call: Call) -> Program:
    """Row-major positions in an array of shape params, of coordinates given one input an axis."""
    out = call.outputs[0]
    assert out is not None
    if out.size == 0:
        return Program(())
    launches = []
    for k, (index, length) in enumerate(zip(call.inputs, call.params, strict=True)):
        assert index is not None
        args = {
            "out": Out(0), "index": Value(k) if index.weak else In(k), "errors": Errors(), "size": out.size,
            "length": int(length), "FIRST": k == 0, "NUMBER": index.weak, "INDEX": index_dtype(out.size),
            "BLOCK": CHUNK,
        } | axis_args(out.shape, s=broadcast_strides(index, out.shape))  # fmt: skip
        launches.append(Launch(ravel_kernel, (ceil_div(out.size, CHUNK),), args))
    return Program(tuple(launches))


def count_nonzero(call: Call) -> Program:
    """The number of true elements."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    args = {"x": In(0), "counts": Out(0), "size": x.size, "TOTAL": True, "BLOCK": BLOCK}
    counted = (Launch(count_kernel, (ceil_div(x.size, BLOCK),), args),) if x.size else ()
    return Program((*fill(Operand(Out(0), out)), *counted), (), () if x.contiguous else (0,))


def nonzero(call: Call) -> Program:
    """The coordinates of the true elements in row-major order, as many as the output has rows; zeros behind them."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    zeros = fill(Operand(Out(0), out))
    if x.size == 0 or out.size == 0:
        return Program(zeros)
    blocks, counts = ceil_div(x.size, BLOCK), Temp(0, int64)
    shared = {"x": In(0), "size": x.size, "BLOCK": BLOCK}
    lengths = {f"n{d}": x.shape[-1 - d] if d < len(x.shape) else None for d in range(MOST_AXES)}
    placed = {
        "offsets": counts,
        "out": Out(0),
        "limit": out.shape[0],
        "NDIM": len(x.shape),
        "INDEX": index_dtype(x.size),
    }
    launches = (
        *zeros,
        Launch(count_kernel, (blocks,), shared | {"counts": counts, "TOTAL": False}),
        Launch(offset_kernel, (1,), {"counts": counts, "blocks": blocks, "CHUNK": CHUNK}),
        Launch(nonzero_kernel, (blocks,), shared | placed | lengths),
    )
    return Program(launches, (Workspace(8 * blocks),), () if x.contiguous else (0,))
