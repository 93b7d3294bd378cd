"""Places in sorted sequences (searchsorted), and runs of equal elements (run_starts, run_numbers).

A search is log2(n) loads one after the other, which hit L2 or closer: each program has 256 on their way. Numbers of
runs are found in three launches, as positions are (movement/positions.py). Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.dtypes import int64
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, Errors, In, Launch, Out, Program, Temp, Value, Workspace, ceil_div, power_of_2
from dlcore.kernels.movement.index import BAD, placed, report
from dlcore.kernels.movement.positions import BLOCK, CHUNK, count_kernel, offset_kernel

__all__ = ["run_numbers", "run_starts", "searchsorted"]


@jit
def before(s, v, RIGHT: tl.constexpr):
    """Whether an element goes before a value: NaN counts as the largest."""
    if s.dtype.is_floating():
        return (s <= v) | (v != v) if RIGHT else (s < v) | ((v != v) & (s == s))
    else:
        return s <= v if RIGHT else s < v


@jit
def plain(x):  # 16-bit floats are compared in float32, bools and small integers in int32
    if x.dtype == tl.float64 or x.dtype == tl.int64:
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
def starts_kernel(x, out, size, EQUAL_NAN: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    this = plain(tl.load(x + i, i < size, 0))
    last = plain(tl.load(x + i - 1, (i > 0) & (i < size), 0))
    changed = this != last
    if EQUAL_NAN and this.dtype.is_floating():
        changed = changed & ((this == this) | (last == last))
    tl.store(out + i, changed | (i == 0), i < size)


@jit
def number_kernel(starts, order, offsets, out, errors, size, BLOCK: tl.constexpr):
    block = tl.program_id(0)
    i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    start = tl.load(starts + i, i < size, 0).to(tl.int32)
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


def run_starts(call: Call) -> Program:
    """Whether each element differs from the one before it."""
    x = call.inputs[0]
    assert x is not None
    if x.size == 0:
        return Program(())
    args = {"x": In(0), "out": Out(0), "size": x.size, "EQUAL_NAN": bool(call.params[0]), "BLOCK": CHUNK}
    launch = Launch(starts_kernel, (ceil_div(x.size, CHUNK),), args)
    return Program((launch,), (), () if x.contiguous else (0,))


def run_numbers(call: Call) -> Program:
    """out[order[i]] = the number of true flags among the first i + 1, less 1."""
    starts, order = call.inputs
    assert starts is not None and order is not None
    n = starts.size
    if n == 0:
        return Program(())
    blocks, counts = ceil_div(n, BLOCK), Temp(0, int64)
    shared = {"size": n, "BLOCK": BLOCK}
    numbered = {"starts": In(0), "order": In(1), "offsets": counts, "out": Out(0), "errors": Errors()}
    launches = (
        Launch(count_kernel, (blocks,), shared | {"x": In(0), "counts": counts, "TOTAL": False}),
        Launch(offset_kernel, (1,), {"counts": counts, "blocks": blocks, "CHUNK": CHUNK}),
        Launch(number_kernel, (blocks,), shared | numbered),
    )
    copied = tuple(k for k, view in enumerate((starts, order)) if not view.contiguous)
    return Program(launches, (Workspace(8 * blocks),), copied)
