"""sum, mean, prod, max, min, any, all, argmax, argmin and logsumexp over any axes of an array with any strides.

Bound: memory. Every element is read once; partial results are at most 1/64 of that, for whole matrices far less. 1 to 6
operations an element, logsumexp one exponential. Read in 16-byte vectors along whichever axis is innermost in memory.
Lanes hold float32 or wider (int64 for sums of integers); NaN propagates; ties go to the left. Tiles, parts and so the
order of additions: see layout.py.

Versions, all unmeasured (not yet run on hardware); registers at sm_90, no spills on any architecture:
1. One tile a program, masked: an odd length costs 16-byte loads, `r // run` for axes apart 20 instructions an element.
2. Full tiles without a mask and one masked tail (a sum of 2^26 + 1 float32 keeps ld.v4); strides and lengths in units
   of what divides them, so that 1000 columns are read by ld.v4 too; runs found by one multiplication. A tile is 8
   loads of 16 bytes (float32) a thread, which the assembler issues in two groups of 4, for 32 sums leave no room for
   more: with 8 blocks of 4 warps 64 KiB are in flight a multiprocessor. Sum 56-72 registers, argmax 56-71; logsumexp,
   whose lanes hold two numbers: 4 loads, 48 (rows) to 80 (columns). Extrema are joined by max.NaN in the
   loop; only the last step goes through integers that order as floats do, which takes NaN and zeros of both signs
   through one integer reduction. any and all read operands as they are; cast to booleans first, those would be read
   once more and the booleans, 1 byte an element, written and read.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from dlcore.dtypes import DType, bool_, int32, int64
from dlcore.kernels.common.layout import SMALL, Layout, Tiles, joined, layout_of, moved_by_address, tiles_of
from dlcore.kernels.common.math import INFINITY, divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, Temp, View, Workspace, accumulator, contiguous_strides

# In this order: up to ALL a lane holds 0 or 1, before ARGMAX a value, from there on a companion too; from LOGSUMEXP on
# it is no position.
ANY, ALL, SUM, PROD, MAX, MIN, ARGMAX, ARGMIN, LOGSUMEXP = (tl.constexpr(k) for k in range(9))


# ---- one step -----------------------------------------------------------------------------------------------------
@jit
def ordered(x, LARGEST: tl.constexpr):
    """Integers that order as the numbers x do, a NaN above all if LARGEST, else below all."""
    if x.dtype.is_floating():
        last: tl.constexpr = x.dtype.primitive_bitwidth - 1
        bits = x.to(tl.int64 if last == 63 else tl.int32, bitcast=True)
        greatest: tl.constexpr = (1 << last) - 1
        key = bits ^ ((bits >> last) & greatest)
        x = tl.where(x == x, key, greatest if LARGEST else -greatest - 1)
    return x


@jit
def unordered(key, dtype: tl.constexpr):
    """What `ordered` was given, but for the bits of a NaN."""
    if dtype.is_floating():
        last: tl.constexpr = dtype.primitive_bitwidth - 1
        nan = (key == (1 << last) - 1) | (key == -(1 << last))
        number = (key ^ ((key >> last) & ((1 << last) - 1))).to(dtype, bitcast=True)
        key = tl.where(nan, float("nan"), number)
    return key


@jit
def finite_or_0(x):
    """x, or 0 where it is infinite: what an exponential may be shifted by without inf - inf."""
    return tl.where(tl.abs(x) == INFINITY, 0.0, x)


@jit
def product(a, b):
    return a * b


@jit
def taken(p, s, x, y, AXIS: tl.constexpr, OP: tl.constexpr):
    """The state (p, s) of all lanes after values x and their companions y: positions, or sums of exponentials."""
    if OP == SUM:
        p += x
    elif OP == PROD:
        p *= x
    elif OP == MAX:
        p = tl.maximum(p, x, propagate_nan=tl.PropagateNan.ALL)
    elif OP == MIN:
        p = tl.minimum(p, x, propagate_nan=tl.PropagateNan.ALL)
    elif OP == ANY:
        p |= x
    elif OP == ALL:
        p &= x
    elif OP == LOGSUMEXP:
        top = tl.maximum(p, tl.max(x, AXIS, keep_dims=True))  # drops NaN, which comes back in the sum
        shift = finite_or_0(top)
        scale = tl.where(p == -INFINITY, 1.0, tl.exp(finite_or_0(p) - shift))  # s is then 0 or NaN
        s = s * scale + y * tl.exp(x - shift)
        p = top
    else:
        if OP == ARGMAX:
            better = x > p
        else:
            better = x < p
        better = (better | (x != x)) & (p == p)
        p = tl.where(better, x, p)
        s = tl.where(better, y, s)
    return p, s


@jit
def finished(p, s, AXIS: tl.constexpr, OP: tl.constexpr):
    """The state of each output, its lanes joined; both of one dimension."""
    if OP == SUM:
        p = tl.sum(p, AXIS)
    elif OP == PROD:
        p = tl.reduce(p, AXIS, product)
    elif OP == ANY:
        p = tl.max(p, AXIS)
    elif OP == ALL:
        p = tl.min(p, AXIS)
    elif OP == LOGSUMEXP:
        s = tl.sum(s, AXIS)
        p = tl.reshape(p, s.shape)
    else:
        largest: tl.constexpr = OP == (ARGMAX if OP >= ARGMAX else MAX)
        dtype: tl.constexpr = p.dtype
        if OP >= ARGMAX:
            p += 0  # -0 becomes 0: they are equal
        key = ordered(p, largest)
        if largest:
            best = tl.max(key, AXIS, keep_dims=True)
        else:
            best = tl.min(key, AXIS, keep_dims=True)
        if OP >= ARGMAX:
            greatest: tl.constexpr = (1 << (s.dtype.primitive_bitwidth - 1)) - 1
            s = tl.min(tl.where(key == best, s, greatest), AXIS)
        p = tl.reshape(unordered(best, dtype), tl.sum(key, AXIS).shape)
    return p, s


# ---- the kernel ---------------------------------------------------------------------------------------------------
@jit
def quotient(r, d, magic, shift):
    """r // d: for r below 2^31 by a multiplication (Granlund and Montgomery 1994), see `Layout.division`."""
    if r.dtype == tl.int32:
        return (tl.umulhi(r.to(tl.uint32), magic.to(tl.uint32)) >> shift).to(tl.int32)
    else:
        return r // d


@jit
def tile_at(
    x, y, r, axes, mask, IDENTITY: tl.constexpr, P: tl.constexpr, S: tl.constexpr, AXIS: tl.constexpr,
    RUNS: tl.constexpr, UNIT: tl.constexpr, OP: tl.constexpr, FIRST: tl.constexpr,
):  # fmt: skip
    """Values at elements r, and their companions."""
    run, magic, shift, x_run, x_jump = axes
    offset = r * x_run
    if RUNS:
        offset += quotient(r, run, magic, shift) * x_jump  # from the end of a run to the next
        if AXIS == 1 and UNIT > 1:  # a run is whole units, and so is a jump
            offset = tl.max_contiguous(tl.multiple_of(offset, (1, UNIT)), (1, UNIT))
    values = tl.load(x + offset, mask, IDENTITY)
    if OP <= ALL:
        values = values != 0
    values = values.to(P)
    companions = values
    if OP >= ARGMAX and not FIRST:
        companions = tl.load(y + offset, mask, 0)
    elif OP == LOGSUMEXP:
        companions = tl.full(values.shape, 1, S)
    elif OP >= ARGMAX:
        companions = r.to(S)
    return values, companions


@jit
def reduce_kernel(
    x, y, out, out_s, width, x_width, out_width, inner, x_inner, out_inner, x_outer, out_outer,
    n, run, magic, shift, x_run, x_jump, chunk, outputs, count,
    OP: tl.constexpr, IDENTITY: tl.constexpr, P: tl.constexpr, S: tl.constexpr, INDEX: tl.constexpr,
    BLOCK_W: tl.constexpr, BLOCK_R: tl.constexpr, AXIS: tl.constexpr, RUNS: tl.constexpr, UNIT: tl.constexpr,
    FIRST: tl.constexpr, LAST: tl.constexpr, MEAN: tl.constexpr,
):  # fmt: skip
    unit = tl.full((), UNIT, INDEX)
    x_inner, x_outer, x_jump = x_inner * unit, x_outer * unit, x_jump * unit
    if AXIS == 1:
        x_width, n, run = x_width * unit, n * unit, run * unit
    else:
        x_run, width = x_run * unit, width * unit
    axes = (run, magic, shift, x_run, x_jump)
    tiles = tl.cdiv(width, BLOCK_W)
    program = tl.program_id(0)
    o = program // tiles
    i = (o % inner).to(INDEX)
    o = (o // inner).to(INDEX)
    w = (program % tiles).to(INDEX) * BLOCK_W + tl.arange(0, BLOCK_W)
    x += i * x_inner + o * x_outer + tl.expand_dims(w * x_width, AXIS)
    if y is not None:
        y += tl.expand_dims(w * x_width, AXIS)
    begin = tl.program_id(1).to(INDEX) * chunk
    end = tl.minimum(begin + chunk, n)
    full = begin + (end - begin) // BLOCK_R * BLOCK_R
    within = tl.expand_dims(w < width, AXIS)
    lanes = tl.expand_dims(tl.arange(0, BLOCK_R), 1 - AXIS)

    SHAPE: tl.constexpr = (BLOCK_W, BLOCK_R) if AXIS == 1 else (BLOCK_R, BLOCK_W)
    LINE: tl.constexpr = (BLOCK_W, 1) if AXIS == 1 else (1, BLOCK_W)
    p = tl.full(LINE if OP == LOGSUMEXP else SHAPE, IDENTITY, P)
    s = tl.zeros(SHAPE if OP >= ARGMAX else LINE, S)
    for start in range(begin, full, BLOCK_R):
        v, u = tile_at(x, y, start + lanes, axes, within, IDENTITY, P, S, AXIS, RUNS, UNIT, OP, FIRST)
        p, s = taken(p, s, v, u, AXIS, OP)
    if full < end:
        r = full + lanes
        v, u = tile_at(x, y, r, axes, within & (r < end), IDENTITY, P, S, AXIS, RUNS, UNIT, OP, FIRST)
        p, s = taken(p, s, v, u, AXIS, OP)
    p, s = finished(p, s, AXIS, OP)

    to = tl.program_id(1).to(INDEX) * outputs + i * out_inner + o * out_outer + w * out_width
    if LAST:
        if OP == LOGSUMEXP:
            p = tl.log(s) + finite_or_0(p)
        elif OP >= ARGMAX:
            p = s
        elif MEAN:
            p = divide(p, tl.full(p.shape, count, P))
    elif out_s is not None:
        tl.store(out_s + to, s, w < width)
    tl.store(out + to, p.to(out.dtype.element_ty), w < width)


# ---- planners -----------------------------------------------------------------------------------------------------
def lane_dtype(x: DType, op: Any) -> DType:
    """What a lane holds: float32 or wider, int32 or wider; int64 for a sum or product of integers."""
    if op in (ANY, ALL):
        return int32
    if x.is_float:
        return accumulator(x)
    return int64 if x is int64 or op in (SUM, PROD) else int32


def identity(x: DType, op: Any) -> float | int:
    """The stored value that changes no result."""
    if op in (ANY, ALL):
        return int(op is ALL)
    if op in (SUM, PROD):
        neutral = int(op is PROD)
        return float(neutral) if x.is_float else neutral
    low = op in (MAX, ARGMAX, LOGSUMEXP)
    if x.is_float:
        return -math.inf if low else math.inf
    if x is bool_:
        return int(not low)
    bits = 8 * x.itemsize
    least, greatest = (0, (1 << bits) - 1) if x.kind == "uint" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return least if low else greatest


def launch(op: Any, dtype: DType, index: DType, source: tuple[Any, Any], to: tuple[Any, Any], layout: Layout,
           tiles: Tiles, count: int | None, first: bool, last: bool) -> Launch:  # fmt: skip
    """One launch over values of ``dtype``; ``index``: of positions; ``count``: what a mean divides by."""
    held, unit = lane_dtype(dtype, op), layout.unit
    width, (inner, outer), run, runs, columns = layout
    row, column = (1, unit) if columns else (unit, 1)
    magic, shift = layout.division
    offsets = int64 if layout.outputs * tiles.splits >= SMALL else layout.offsets
    args = {
        "x": source[0], "y": source[1], "out": to[0], "out_s": to[1],
        "width": width.length // column, "x_width": width.x // row, "out_width": width.out,
        "inner": inner.length, "x_inner": inner.x // unit, "out_inner": inner.out,
        "x_outer": outer.x // unit, "out_outer": outer.out,
        "n": layout.n // row, "run": max(run.length, 1) // row, "x_run": run.x // column,
        "magic": magic, "shift": shift, "x_jump": (runs.x - run.length * run.x) // unit if runs.length > 1 else 0,
        "chunk": tiles.chunk, "outputs": layout.outputs, "count": count or 0,
        "OP": op.value, "IDENTITY": identity(dtype, op), "P": held, "S": held if op is LOGSUMEXP else index,
        "INDEX": offsets, "BLOCK_W": tiles.width, "BLOCK_R": tiles.depth, "AXIS": int(not columns),
        "RUNS": runs.length > 1, "UNIT": unit, "FIRST": first, "LAST": last, "MEAN": count is not None,
    }  # fmt: skip
    return Launch(reduce_kernel, (tiles.programs, tiles.splits), args, num_warps=tiles.warps)


def reduction(op: Any, x: View, layout: Layout, source: Any, to: Any, count: int | None, temp: int) -> Program:
    """The program that reduces ``source`` (``x`` seen as ``layout``) to ``to``, with workspaces from ``temp`` on."""
    held, index = lane_dtype(x.dtype, op), int64 if layout.n >= SMALL else int32
    seconds = {LOGSUMEXP: held, ARGMAX: index, ARGMIN: index}.get(op)
    lane_bytes = held.itemsize + (seconds.itemsize if seconds else 0)
    tiles = tiles_of(layout, lane_bytes)
    make = partial(launch, op, x.dtype, index)
    if tiles.splits == 1:
        return Program((make((source, None), (to, None), layout, tiles, count, True, True),))
    dtypes = (held, seconds) if seconds else (held,)
    temps = tuple(Workspace(layout.outputs * tiles.splits * d.itemsize) for d in dtypes)
    partials = Temp(temp, held), Temp(temp + 1, seconds) if seconds else None
    rest = joined(layout.outputs, tiles.splits)
    launches = (
        make((source, None), partials, layout, tiles, None, True, False),
        make(partials, (to, None), rest, tiles_of(rest, lane_bytes, whole=True), count, False, True),
    )
    return Program(launches, temps)


def in_stages(op: Any, x: View, mask: int, count: int | None) -> Program:
    """The reduction of a contiguous array whose kept and reduced axes take turns more often than a layout can say."""
    source: Any = In(0)
    launches: tuple[Launch, ...] = ()
    temps: tuple[Workspace, ...] = ()
    while (layout := layout_of(x, mask)) is None:
        inner = max(d for d in range(len(x.shape)) if mask >> d & 1 and x.shape[d] != 1)
        layout = layout_of(x, 1 << inner)
        assert layout is not None
        held = lane_dtype(x.dtype, op)
        done = reduction(op, x, layout, source, Temp(len(temps), held), None, len(temps) + 1)
        launches, temps = launches + done.launches, (*temps, Workspace(layout.outputs * held.itemsize), *done.temps)
        source = Temp(len(temps) - len(done.temps) - 1, held)
        shape = (*x.shape[:inner], 1, *x.shape[inner + 1 :])
        x, mask = View(shape, held, contiguous_strides(shape)), mask & ~(1 << inner)
    done = reduction(op, x, layout, source, Out(0), count, len(temps))
    return Program(launches + done.launches, temps + done.temps)


def plan(op: Any, call: Call, count: int | None = None) -> Program:
    """The program of an operation whose first parameter is the mask of the reduced axes."""
    program = planned(op, call, count)
    if call.arch.name != "sm_120":
        return program
    # ptxas 13.4 aims at 64 registers there, and spills 8 bytes of some kernels, unless it is given a limit.
    return program._replace(launches=tuple(x._replace(options={"maxnreg": 255}) for x in program.launches))


def planned(op: Any, call: Call, count: int | None) -> Program:
    """The same for any architecture."""
    (x,), mask = call.inputs, int(call.params[0])
    assert x is not None
    if call.outputs[0] is None or call.outputs[0].size == 0:
        return Program(())
    layout = layout_of(x, mask, ordered=op in (ARGMAX, ARGMIN))
    if layout and not (op in (SUM, PROD, LOGSUMEXP) and moved_by_address(x, layout)):
        return reduction(op, x, layout, In(0), Out(0), count, 0)
    x = x._replace(strides=contiguous_strides(x.shape), aligned=True)
    return in_stages(op, x, mask, count)._replace(contiguous=(0,))


def mean(call: Call) -> Program:
    """The operation `mean`: its second parameter is the number of elements."""
    return plan(SUM, call, int(call.params[1]))


sum_, prod, max_, min_, any_, all_ = (partial(plan, op) for op in (SUM, PROD, MAX, MIN, ANY, ALL))
argmax, argmin, logsumexp = partial(plan, ARGMAX), partial(plan, ARGMIN), partial(plan, LOGSUMEXP)
