"""Sorted lines: sort, argsort, topk. Stable, without atomics, the same bits on every GPU.

What is sorted are items of 64 bits: 32 bits of the key above the place in the line, so that no two are equal and any
sorting network is stable. Elements of 64 bits are sorted by the lower half of their keys and, in that order, by the
upper half.

Lines of up to 2048 elements: one launch; a program sorts one, or several short ones, in registers (a bitonic network),
and writes indices and values. Longer ones: runs of 2048 are sorted so, then merged two by two: an item's rank is its
place in its run plus the number of smaller items in the other, by binary search. log2(n / 2048) passes, each of which
moves 16 bytes an item and searches in L2. topk of long lines keeps the first `count` items of every run, round by
round, until one run is left: n items are read once.

Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from dlcore.dtypes import int32, int64
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, Errors, In, Launch, Out, Program, Temp, Workspace, ceil_div, power_of_2
from dlcore.kernels.movement.copy import fill, raw
from dlcore.kernels.movement.index import BAD, placed, report
from dlcore.kernels.order.keys import key_of, word_of

__all__ = ["argsort", "sort", "sort_backward", "topk"]

RUN, MOST, BLOCK = 2048, tl.constexpr(0x7FFFFFFFFFFFFFFF), 256
SHORT = 512  # elements of a program that sorts several lines


@jit
def items_of(x, order, line, place, inside, n, inner, DESCENDING: tl.constexpr, WORD: tl.constexpr):
    """The items of places in lines; `order`: which elements stand there, or None for those of the same number."""
    source = place if order is None else tl.load(order + line * n + place, inside, 0).to(tl.int64)
    x = tl.load(x + (line // inner) * (n * inner) + line % inner + source * inner, inside, 0)
    item = (word_of(key_of(x, DESCENDING), WORD) << 32) | place
    return tl.where(inside, item, MOST)


@jit
def emit(
    x, order, item, line, place, keep, values, indices, n, count, inner, ROW_ORDER: tl.constexpr
):  # fmt: skip
    """Writes what stands at `place` of a sorted line, where `keep`: its index and, if wanted, its value.

    ROW_ORDER: indices of a line follow each other in memory, else they lie as the elements."""
    source = item & 0xFFFFFFFF
    if order is not None:
        source = tl.load(order + line * n + source, keep, 0).to(tl.int64)
    to = (line // inner) * (count * inner) + line % inner + place * inner
    if indices is not None:
        where = line * count + place if ROW_ORDER else to
        tl.store(indices + where, source.to(indices.dtype.element_ty), keep)
    if values is not None:
        value = tl.load(x + (line // inner) * (n * inner) + line % inner + source * inner, keep, 0)
        tl.store(values + to, value, keep)


@jit
def lines_kernel(
    x, order, values, indices, lines, n, count, inner,
    DESCENDING: tl.constexpr, WORD: tl.constexpr, ROW_ORDER: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Whole lines, sorted by one program."""
    line = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    place = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    inside = (line < lines) & (place < n)
    item = tl.sort(items_of(x, order, line, place, inside, n, inner, DESCENDING, WORD), 1)
    emit(x, order, item, line, place, inside & (place < count), values, indices, n, count, inner, ROW_ORDER)


@jit
def runs_kernel(
    x, order, items, n, count, keep, inner, DESCENDING: tl.constexpr, WORD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sorted runs of BLOCK items, of which the first `keep` are written: `count` a line in all."""
    runs = tl.cdiv(n, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    line, run = program // runs, program % runs
    place = run * BLOCK + tl.arange(0, BLOCK)
    item = tl.sort(items_of(x, order, line, place, place < n, n, inner, DESCENDING, WORD))
    to = run * keep + tl.arange(0, BLOCK)
    tl.store(items + line * count + to, item, (tl.arange(0, BLOCK) < keep) & (to < count))


@jit
def again_kernel(items, fewer, n, count, keep, BLOCK: tl.constexpr):
    """The same of items: the first `keep` of each run of BLOCK."""
    runs = tl.cdiv(n, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    line, run = program // runs, program % runs
    place = run * BLOCK + tl.arange(0, BLOCK)
    item = tl.sort(tl.load(items + line * n + place, place < n, MOST))
    to = run * keep + tl.arange(0, BLOCK)
    tl.store(fewer + line * count + to, item, (tl.arange(0, BLOCK) < keep) & (to < count))


@jit
def merge_kernel(items, merged, n, width, blocks, BLOCK: tl.constexpr):
    """Sorted runs of `width` items made sorted runs of twice as many."""
    program = tl.program_id(0).to(tl.int64)
    base = program // blocks * n
    place = program % blocks * BLOCK + tl.arange(0, BLOCK)
    item = tl.load(items + base + place, place < n, MOST)
    run = place // width
    other = (run ^ 1) * width
    size = tl.minimum(tl.maximum(n - other, 0), width)
    below = tl.zeros((BLOCK,), tl.int64)  # how many of the other run are known to be smaller
    half = tl.full((), width, tl.int64)
    while half > 0:
        probe = below + half
        smaller = tl.load(items + base + other + probe - 1, (probe <= size) & (place < n), MOST) < item
        below = tl.where(smaller, probe, below)
        half //= 2
    rank = (run & -2) * width + place % width + below
    tl.store(merged + base + rank, item, place < n)


@jit
def emit_kernel(
    x, order, items, values, indices, n, sorted_n, count, inner, blocks, ROW_ORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    line = program // blocks
    place = program % blocks * BLOCK + tl.arange(0, BLOCK)
    keep = place < count
    item = tl.load(items + line * sorted_n + place, keep, 0)
    emit(x, order, item, line, place, keep, values, indices, n, count, inner, ROW_ORDER)


@jit
def back_kernel(dout, indices, dx, errors, size, line, n, inner, BLOCK: tl.constexpr):
    """Each element to where it came from."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    place, good = placed(tl.load(indices + i, i < size, 0), n)
    report(errors, (i < size) & (good == 0), i, BAD)
    good = good & (i < size)
    tl.store(dx + (i // line * n + place) * inner + i % inner, tl.load(dout + i, good, 0), good)


class _Lines(NamedTuple):
    """Lines of ``n`` elements, ``inner`` of them side by side, of which the first ``count`` in order are wanted."""

    lines: int
    n: int
    inner: int
    count: int
    descending: bool
    wide: bool
    """Whether elements have 64 bits."""


def _sorted(of: _Lines, values: Out | None, indices: Out | None) -> Program:
    """Launches that write the first elements of the sorted lines, and their indices."""
    if of.n >= 2**31:
        raise OverflowError(f"sort: a line of {of.n} elements is too long for a GPU")
    if not of.wide:
        launches, temps = _passes(of, None, 1, values, indices, 0)
        return Program(tuple(launches), tuple(temps), (0,))
    order = Temp(0, int32)
    flat = of._replace(count=of.n)
    first, temps = _passes(flat, None, 0, None, order, 1)
    second, more = _passes(of, order, 1, values, indices, 1 + len(temps))
    return Program((*first, *second), (Workspace(4 * of.lines * of.n), *temps, *more), (0,))


def _passes(
    of: _Lines, order: Temp | None, word: int, values: Any, indices: Any, temp: int
) -> tuple[list[Launch], list[Workspace]]:
    """A sort by one word of the keys of what stands in ``order``; ``temp``: the first workspace that is free.

    Where ``indices`` is a workspace it gets the order of the lines, one after another."""
    rows = isinstance(indices, Temp)
    shared: dict[str, Any] = {"x": In(0), "order": order, "n": of.n, "inner": of.inner}
    how = {"DESCENDING": of.descending, "WORD": word}
    results = {"values": values, "indices": indices, "count": of.count, "ROW_ORDER": rows}
    if of.n <= RUN:
        block = max(power_of_2(of.n), 2)
        several = max(min(SHORT // block, power_of_2(of.lines)), 1)
        args = {**shared, **how, **results, "lines": of.lines, "ROWS": several, "BLOCK": block}
        warps = max(min(block * several // 128, 8), 1)
        return [Launch(lines_kernel, (ceil_div(of.lines, several),), args, num_warps=warps)], []
    items, runs = Temp(temp, int64), ceil_div(of.n, RUN)
    keep = RUN if of.count * 4 > RUN else of.count
    total = of.n if keep == RUN else min(runs * keep, (runs - 1) * keep + min(keep, of.n - (runs - 1) * RUN))
    args = {**shared, **how, "items": items, "count": total, "keep": keep, "BLOCK": RUN}
    launches = [Launch(runs_kernel, (of.lines * runs,), args, num_warps=16)]
    temps = [Workspace(8 * of.lines * total)]
    if keep < RUN:
        more, items, total = _rounds(of, items, total, keep, temps, temp)
    else:
        more, items = _merges(of, items, temps, temp)
    blocks = ceil_div(of.count, BLOCK)
    last = {**shared, **results, "items": items, "sorted_n": total, "blocks": blocks, "BLOCK": BLOCK}
    return [*launches, *more, Launch(emit_kernel, (of.lines * blocks,), last)], temps


def _rounds(
    of: _Lines, items: Temp, total: int, keep: int, temps: list[Workspace], temp: int
) -> tuple[list[Launch], Temp, int]:
    """Launches that keep the first items of each run until one run is left; where they are, and how many."""
    launches = []
    while True:
        runs = ceil_div(total, RUN)
        left = (runs - 1) * keep + min(keep, total - (runs - 1) * RUN)
        fewer = Temp(temp + len(temps), int64)
        temps.append(Workspace(8 * of.lines * left))
        args = {"items": items, "fewer": fewer, "n": total, "count": left, "keep": keep, "BLOCK": RUN}
        launches.append(Launch(again_kernel, (of.lines * runs,), args, num_warps=8))
        items, total = fewer, left
        if runs == 1:
            return launches, items, total


def _merges(of: _Lines, items: Temp, temps: list[Workspace], temp: int) -> tuple[list[Launch], Temp]:
    """Launches that merge sorted runs two by two; where the items are in the end."""
    launches, other, width = [], Temp(temp + 1, int64), RUN
    temps.append(Workspace(8 * of.lines * of.n))
    blocks = ceil_div(of.n, BLOCK)
    while width < of.n:
        args = {"items": items, "merged": other, "n": of.n, "width": width, "blocks": blocks, "BLOCK": BLOCK}
        launches.append(Launch(merge_kernel, (of.lines * blocks,), args))
        items, other, width = other, items, 2 * width
    return launches, items


def _lines_of(call: Call, count: int | None = None) -> _Lines | None:
    """The lines of input 0 along the axis params[0] (-1: flat), in the direction params[1]; None where there are
    none."""
    x, axis = call.inputs[0], int(call.params[0])
    assert x is not None
    shape, axis = ((x.size,), 0) if axis < 0 else (x.shape, axis)
    n, inner = shape[axis], math.prod(shape[axis + 1 :])
    count = n if count is None else count
    if x.size == 0 or count == 0:
        return None
    return _Lines(x.size // n, n, inner, count, bool(call.params[1]), x.dtype.itemsize == 8)


def _planned(call: Call, count: int | None, values: Out | None, indices: Out | None) -> Program:
    lines = _lines_of(call, count)
    return Program(()) if lines is None else _sorted(lines, values, indices)


def sort(call: Call) -> Program:
    """The elements in order and, for a gradient, their indices."""
    return _planned(call, None, Out(0), None if call.outputs[1] is None else Out(1))


def argsort(call: Call) -> Program:
    """The indices of the elements in order."""
    return _planned(call, None, None, Out(0))


def topk(call: Call) -> Program:
    """The first params[2] elements in order, and their indices."""
    return _planned(call, int(call.params[2]), Out(0), Out(1))


def sort_backward(call: Call) -> Program:
    """dx[..., indices[..., j, ...], ...] = dout[..., j, ...] along axis params[0], 0 elsewhere."""
    dout, indices = call.inputs
    dx, axis = call.outputs[0], int(call.params[0])
    assert dout is not None and indices is not None and dx is not None
    zeros = fill(raw(Out, 0, dx))
    if dout.size == 0 or dx.size == 0:
        return Program(zeros)
    inner = math.prod(dout.shape[axis + 1 :])
    args = {
        "dout": In(0), "indices": In(1), "dx": Out(0), "errors": Errors(), "size": dout.size,
        "line": dout.shape[axis] * inner, "n": dx.shape[axis], "inner": inner, "BLOCK": 1024,
    }  # fmt: skip
    copied = tuple(k for k, view in enumerate((dout, indices)) if not view.contiguous)
    return Program((*zeros, Launch(back_kernel, (ceil_div(dout.size, 1024),), args)), (), copied)
