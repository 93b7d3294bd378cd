"""Scans along one axis of contiguous arrays: sums, products, extrema with their places, logsumexp, linear recurrences.

Bound: memory. Each element is read once and each result written once where a line fits into one part; of longer lines
every element is read twice, first for the totals of their parts. 10 to 12 joins an element.

A program takes BLOCK_L lines and a part of each, block by block: a block's prefixes in registers
(`tl.associative_scan`), then what came before joined to each. Lines are cut into at most 1024 parts, by their length
alone, so every GPU joins in the same order; a second launch scans the totals of the parts, a third begins with them.

Versions, unmeasured (not yet run on hardware):
1. Three launches, rather than one whose programs wait for each other: no program depends on which runs first.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from dlcore.dtypes import DType, bool_, int32, int64
from dlcore.kernels.common.layout import SMALL
from dlcore.kernels.common.math import INFINITY
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, Temp, Workspace, accumulator, ceil_div, power_of_2

# In this order: from MAX on a state has two numbers.
SUM, PROD, MAX, MIN, LOGSUMEXP, RECURRENCE = (tl.constexpr(k) for k in range(6))
PARTS = 1024


# ---- joins: of what came before and what comes after ---------------------------------------------------------------
@jit
def join_sum(a, b):
    return a + b


@jit
def join_prod(a, b):
    return a * b


@jit
def join_max(a, i, b, j):
    later = ((b >= a) | (b != b)) & ((a == a) | (b != b))
    return tl.where(later, b, a), tl.where(later, j, i)


@jit
def join_min(a, i, b, j):
    later = ((b <= a) | (b != b)) & ((a == a) | (b != b))
    return tl.where(later, b, a), tl.where(later, j, i)


@jit
def scaled(sum, top, shift):
    """A sum of exponentials above ``top`` as one above ``shift``; -inf stands for no elements."""
    low = tl.where(tl.abs(top) == INFINITY, 0.0, top)
    return sum * tl.where(top == -INFINITY, 1.0, tl.exp(low - shift))


@jit
def join_logsumexp(a, s, b, t):
    top = tl.maximum(a, b)  # drops NaN, which comes back in the sum
    shift = tl.where(tl.abs(top) == INFINITY, 0.0, top)
    return top, scaled(s, a, shift) + scaled(t, b, shift)


@jit
def join_recurrence(a, b, c, d):
    return a * c, b * c + d


@jit
def scanned(p, s, AXIS: tl.constexpr, OP: tl.constexpr):
    """Prefixes along an axis."""
    if OP == SUM:
        p = tl.associative_scan(p, AXIS, join_sum)
    elif OP == PROD:
        p = tl.associative_scan(p, AXIS, join_prod)
    elif OP == MAX:
        p, s = tl.associative_scan((p, s), AXIS, join_max)
    elif OP == MIN:
        p, s = tl.associative_scan((p, s), AXIS, join_min)
    elif OP == LOGSUMEXP:
        p, s = tl.associative_scan((p, s), AXIS, join_logsumexp)
    else:
        p, s = tl.associative_scan((p, s), AXIS, join_recurrence)
    return p, s


@jit
def joined(a, i, b, j, OP: tl.constexpr):
    """The state (a, i) followed by (b, j)."""
    if OP == SUM:
        b = join_sum(a, b)
    elif OP == PROD:
        b = join_prod(a, b)
    elif OP == MAX:
        b, j = join_max(a, i, b, j)
    elif OP == MIN:
        b, j = join_min(a, i, b, j)
    elif OP == LOGSUMEXP:
        b, j = join_logsumexp(a, i, b, j)
    else:
        b, j = join_recurrence(a, i, b, j)
    return b, j


@jit
def picked(x, chosen, AXIS: tl.constexpr):
    """The one element of each line that is ``chosen``."""
    return tl.sum(tl.where(chosen, x, tl.zeros_like(x)), AXIS, keep_dims=True)


# ---- kernels ------------------------------------------------------------------------------------------------------
@jit
def scan_kernel(
    x, y, initial, out, places, before, before_s, totals, totals_s, n, inner, lines, chunk, chunks,
    OP: tl.constexpr, IDENTITY: tl.constexpr, P: tl.constexpr, S: tl.constexpr, INDEX: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_N: tl.constexpr, AXIS: tl.constexpr, REVERSE: tl.constexpr, EXCLUSIVE: tl.constexpr,
):  # fmt: skip
    """A part of each of BLOCK_L lines: its results, or its total alone."""
    line = tl.expand_dims(tl.program_id(0).to(INDEX) * BLOCK_L + tl.arange(0, BLOCK_L), AXIS)
    lanes = tl.expand_dims(tl.arange(0, BLOCK_N), 1 - AXIS)
    within = line < lines
    base = (line // inner) * n * inner + line % inner
    part = tl.program_id(1).to(INDEX)
    begin = part * chunk
    end = tl.minimum(begin + chunk, n)
    p = tl.full(line.shape, IDENTITY, P)
    s = tl.zeros(line.shape, S)
    if before is not None:
        p = tl.load(before + line * chunks + part, within, IDENTITY)
        if OP >= MAX:
            s = tl.load(before_s + line * chunks + part, within, 0)
    for start in range(begin, end, BLOCK_N):
        t = start + lanes
        there = within & (t < end)
        from_ = t - 1 if EXCLUSIVE else t
        known = there & (from_ >= 0)
        at = base + (n - 1 - from_ if REVERSE else from_) * inner
        v = tl.where(known, tl.load(x + at, known, 0).to(P), tl.full((), IDENTITY, P))
        u = tl.zeros(v.shape, S)
        if OP == MAX or OP == MIN:  # noqa: SIM109 (Triton)
            u += t.to(S)
        elif OP == LOGSUMEXP:
            u = tl.where(known, tl.exp(v - tl.where(tl.abs(v) == INFINITY, 0.0, v)), u)
        elif OP == RECURRENCE:
            u = tl.load(y + at, known, 0).to(S)
            if initial is not None:  # what comes before the first is a part of it
                first = tl.load(initial + line, within, 0).to(S)
                u = tl.where(t == 0, v * first + u, u)
            v = tl.where(t == 0, 0.0, v)
        v, u = scanned(v, u, AXIS, OP)
        v, u = joined(p, s, v, u, OP)
        last = lanes == BLOCK_N - 1
        p = picked(v, last, AXIS)
        if OP >= MAX:
            s = picked(u, last, AXIS)
        if out is not None:
            to = base + (n - 1 - t if REVERSE else t) * inner
            result = v
            if OP == LOGSUMEXP:
                result = tl.log(u) + tl.where(tl.abs(v) == INFINITY, 0.0, v)
            elif OP == RECURRENCE:
                result = u
            tl.store(out + to, result.to(out.dtype.element_ty), there)
            if places is not None:
                tl.store(places + to, u.to(tl.int64), there)
    if totals is not None:
        tl.store(totals + line * chunks + part, p, within)
        if OP >= MAX:
            tl.store(totals_s + line * chunks + part, s, within)


@jit
def totals_kernel(
    totals, totals_s, before, before_s, lines, chunks, OP: tl.constexpr, IDENTITY: tl.constexpr, P: tl.constexpr,
    S: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What comes before each part of a line."""
    line = tl.program_id(0).to(INDEX)
    part = tl.arange(0, BLOCK)
    known = (part > 0) & (part < chunks)
    at = line * chunks + part
    p = tl.load(totals + at - 1, known, IDENTITY)
    s = tl.zeros((BLOCK,), S)
    if OP >= MAX:
        s = tl.load(totals_s + at - 1, known, 0)
    p, s = scanned(p, s, 0, OP)
    tl.store(before + at, p, part < chunks)
    if OP >= MAX:
        tl.store(before_s + at, s, part < chunks)


# ---- planners -----------------------------------------------------------------------------------------------------
def identity(x: DType, op: Any) -> float | int:
    """The first number of the state of no elements; the second is 0."""
    if op is SUM:
        return 0.0 if x.is_float else 0
    if op in (PROD, RECURRENCE):
        return 1.0 if x.is_float else 1
    if x.is_float:
        return math.inf if op is MIN else -math.inf
    if x is bool_:
        return int(op is MIN)
    bits = 8 * x.itemsize
    least, greatest = (0, (1 << bits) - 1) if x.kind == "uint" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return greatest if op is MIN else least


def plan(op: Any, call: Call) -> Program:
    """The program of a scan whose parameters are axis (-1: all), reverse and exclusive."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None
    axis, reverse, exclusive = (int(v) for v in (*call.params, 0)[:3])
    if out is None or out.size == 0:
        return Program(())
    n = x.size if axis < 0 else x.shape[axis]
    inner = 1 if axis < 0 else math.prod(x.shape[axis + 1 :])
    lines, columns = x.size // n, inner > 1
    held = accumulator(x.dtype) if x.dtype.is_float else int64 if op in (SUM, PROD) or x.dtype is int64 else int32
    index = int64 if x.size >= SMALL else int32
    second = {MAX: index, MIN: index}.get(op, held)
    wide = 2 if held.itemsize == 8 or op in (MAX, MIN, LOGSUMEXP, RECURRENCE) else 1
    depth = min(power_of_2(n), (64 if columns else 2048) // wide)
    width = min(power_of_2(lines), max(2048 // wide // depth, 1))
    programs = ceil_div(lines, width)
    parts = 1 if n <= 4 * depth or programs >= 512 else min(PARTS, ceil_div(n, 2 * depth))
    chunk = ceil_div(ceil_div(n, parts), depth) * depth
    parts = ceil_div(n, chunk)
    initial = In(2) if op is RECURRENCE and call.inputs[2] is not None else None
    state = {"OP": op.value, "IDENTITY": identity(x.dtype, op), "P": held, "S": second, "INDEX": index}
    temps = tuple(Workspace(lines * parts * d.itemsize) for d in (held, second, held, second))
    total, before = (Temp(0, held), Temp(1, second)), (Temp(2, held), Temp(3, second))

    def part(to: Any, places: Any, first: Any, sums: Any) -> Launch:
        args = {
            "x": In(0), "y": In(1) if op is RECURRENCE else None, "initial": initial, "out": to, "places": places,
            "before": first[0], "before_s": first[1], "totals": sums[0], "totals_s": sums[1],
            "n": n, "inner": inner, "lines": lines, "chunk": chunk, "chunks": parts, **state,
            "BLOCK_L": width, "BLOCK_N": depth, "AXIS": int(not columns), "REVERSE": bool(reverse),
            "EXCLUSIVE": bool(exclusive),
        }  # fmt: skip
        return Launch(scan_kernel, (programs, parts), args, num_warps=max(1, min(8, width * depth // 256)))

    results = (Out(0), Out(1) if op in (MAX, MIN) else None)
    inputs = (0,) if op is not RECURRENCE else (0, 1) if initial is None else (0, 1, 2)
    if parts == 1:
        return Program((part(*results, (None, None), (None, None)),), contiguous=inputs)
    args = {
        "totals": total[0], "totals_s": total[1], "before": before[0], "before_s": before[1], "lines": lines,
        "chunks": parts, **state, "BLOCK": power_of_2(parts),
    }  # fmt: skip
    middle = Launch(totals_kernel, (lines,), args)
    launches = (part(None, None, (None, None), total), middle, part(*results, before, (None, None)))
    return Program(launches, temps, inputs)


cumsum, cumprod, cummax, cummin = (partial(plan, op) for op in (SUM, PROD, MAX, MIN))
logcumsumexp, linear_recurrence = partial(plan, LOGSUMEXP), partial(plan, RECURRENCE)
