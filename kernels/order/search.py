"""Places in sorted sequences (searchsorted), and runs of equal elements (count_runs, run_heads, run_numbers).

A search is log2(n) loads one after the other, which hit L2 or closer: each program has 256 on their way. Runs are
numbered in three launches: each block counts those that begin in it, one program turns the counts into offsets, and
each block numbers its own behind those of the blocks before it. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from typing import Any

from dlcore.dtypes import int64
from dlcore.kernels.common.pointwise import Operand
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
    View,
    Workspace,
    ceil_div,
    power_of_2,
)
from dlcore.kernels.movement.copy import fill
from dlcore.kernels.movement.index import BAD, placed, report
from dlcore.kernels.movement.positions import BLOCK, CHUNK, offset_kernel

__all__ = ["count_runs", "run_heads", "run_numbers", "searchsorted"]


@jit
def before(s, v, RIGHT: tl.constexpr):
    """Whether an element goes before a value: NaN counts as the largest."""
    if s.dtype.is_floating():
        return (s <= v) | (v != v) if RIGHT else (s < v) | ((v != v) & (s == s))
    else:
        return s <= v if RIGHT else s < v


@jit
def plain(x):  # 16-bit floats are compared in float32, bools and small integers in int32
    if x.dtype.primitive_bitwidth == 64 or x.dtype == tl.uint32:
        return x
    elif x.dtype.is_floating():
        return x.to(tl.float32)
    else:
        return x.to(tl.int32)


@jit
def search_kernel(
    x, values, out, size, n, each, first, RIGHT: tl.constexpr, NUMBER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = i // each * n
    if NUMBER:
        v = tl.zeros((BLOCK,), tl.int32).to(x.dtype.element_ty) + values
        v = plain(v.to(x.dtype.element_ty))
    else:
        v = plain(tl.load(values + i, i < size, 0))
    below = tl.zeros((BLOCK,), tl.int64)  # how many are known to go before the value
    step = tl.full((), first, tl.int64)
    while step > 0:
        probe = below + step
        inside = (probe <= n) & (i < size)
        s = plain(tl.load(x + row + probe - 1, inside, 0))
        below = tl.where(inside & before(s, v, RIGHT), probe, below)
        step //= 2
    tl.store(out + i, below, i < size)


@jit
def starts(x, i, size, EQUAL_NAN: tl.constexpr):
    """Whether elements differ from those before them."""
    this = plain(tl.load(x + i, i < size, 0))
    last = plain(tl.load(x + i - 1, (i > 0) & (i < size), 0))
    changed = this != last
    if EQUAL_NAN and this.dtype.is_floating():
        changed = changed & ((this == this) | (last == last))
    return (changed | (i == 0)) & (i < size)


@jit
def count_kernel(x, counts, size, EQUAL_NAN: tl.constexpr, TOTAL: tl.constexpr, BLOCK: tl.constexpr):
    """The number of runs that begin in each block, or added to the TOTAL."""
    block = tl.program_id(0)
    i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    count = tl.sum(starts(x, i, size, EQUAL_NAN).to(tl.int32)).to(tl.int64)
    if TOTAL:
        tl.atomic_add(counts, count, sem="relaxed")
    else:
        tl.store(counts + block, count)


@jit
def heads_kernel(x, offsets, values, places, size, limit, EQUAL_NAN: tl.constexpr, BLOCK: tl.constexpr):
    block = tl.program_id(0)
    i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    start = starts(x, i, size, EQUAL_NAN)
    number = tl.load(offsets + block) + tl.cumsum(start.to(tl.int32)) - 1
    keep = start & (number < limit)
    tl.store(values + number, tl.load(x + i, keep, 0), keep)
    tl.store(places + number, i, keep)


@jit
def number_kernel(x, order, offsets, out, errors, size, EQUAL_NAN: tl.constexpr, BLOCK: tl.constexpr):
    block = tl.program_id(0)
    i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    start = starts(x, i, size, EQUAL_NAN).to(tl.int32)
    number = tl.load(offsets + block) + tl.cumsum(start) - 1
    place, good = placed(tl.load(order + i, i < size, 0), size)
    report(errors, (i < size) & (good == 0), i, BAD)
    tl.store(out + place, number.to(tl.int64), (i < size) & good)


def searchsorted(call: Call) -> Program:
    """x: (..., n) sorted along its last axis; values: (..., m), or of any shape where x has one axis."""
    (x, values), out = call.inputs, call.outputs[0]
    assert x is not None and values is not None and out is not None
    if out.size == 0:
        return Program(())
    n = x.shape[-1]
    args = {
        "x": In(0), "values": Value(1) if values.weak else In(1), "out": Out(0), "size": out.size, "n": n,
        "each": out.size if len(x.shape) == 1 else out.shape[-1], "first": power_of_2(n) if n else 0,
        "RIGHT": bool(call.params[0]), "NUMBER": values.weak, "BLOCK": 256,
    }  # fmt: skip
    copied = tuple(k for k, view in enumerate((x, values)) if not view.weak and not view.contiguous)
    return Program((Launch(search_kernel, (ceil_div(out.size, 256),), args),), (), copied)


def count_runs(call: Call) -> Program:
    """The number of runs; params: whether NaN equals NaN."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    zeros = fill(Operand(Out(0), out))
    if x.size == 0:
        return Program(zeros)
    args = {
        "x": In(0), "counts": Out(0), "size": x.size, "EQUAL_NAN": bool(call.params[0]), "TOTAL": True, "BLOCK": BLOCK,
    }  # fmt: skip
    return Program((*zeros, Launch(count_kernel, (ceil_div(x.size, BLOCK),), args)), (), _copied(x))


def _numbered(x: View, equal_nan: bool, kernel: Any, args: dict[str, Any]) -> tuple[tuple[Launch, ...], Workspace]:
    """Launches that count the runs of each block, and of a ``kernel`` that is told how many begin before its own."""
    blocks, counts = ceil_div(x.size, BLOCK), Temp(0, int64)
    shared = {"x": In(0), "size": x.size, "EQUAL_NAN": equal_nan, "BLOCK": BLOCK}
    return (
        Launch(count_kernel, (blocks,), shared | {"counts": counts, "TOTAL": False}),
        Launch(offset_kernel, (1,), {"counts": counts, "blocks": blocks, "CHUNK": CHUNK}),
        Launch(kernel, (blocks,), shared | {"offsets": counts} | args),
    ), Workspace(8 * blocks)


def run_heads(call: Call) -> Program:
    """The first elements of the first params[0] runs, and where they stand; zeros behind the last."""
    x = call.inputs[0]
    assert x is not None
    zeros = [launch for k, out in enumerate(call.outputs) if out for launch in fill(Operand(Out(k), out))]
    if x.size == 0 or call.params[0] == 0:
        return Program(tuple(zeros))
    args = {"values": Out(0), "places": Out(1), "limit": int(call.params[0])}
    launches, temp = _numbered(x, bool(call.params[1]), heads_kernel, args)
    return Program((*zeros, *launches), (temp,), _copied(x))


def run_numbers(call: Call) -> Program:
    """out[order[i]] = the number of the run that x[i] is in; params: whether NaN equals NaN."""
    x, order = call.inputs
    assert x is not None and order is not None
    if x.size == 0:
        return Program(())
    args = {"order": In(1), "out": Out(0), "errors": Errors()}
    launches, temp = _numbered(x, bool(call.params[0]), number_kernel, args)
    return Program(launches, (temp,), _copied(x, order))


def _copied(*views: View) -> tuple[int, ...]:
    return tuple(k for k, view in enumerate(views) if not view.contiguous)
