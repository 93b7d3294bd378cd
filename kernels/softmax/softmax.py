"""softmax and log_softmax along any axis: each line is held in registers between its maximum, its sum and its result.

Bound: memory. One read and one write of each element (8 bytes for float32, 4 for 16-bit floats), one exponential and
about 6 further operations. Sums are float32 (float64 for float64); a line that holds NaN or +inf, or nothing but -inf,
gives NaN, as the formula does.

Versions, all unmeasured (not yet run on hardware); registers at sm_90, no spills on any architecture:
1. whole lines: up to 32768 columns in one program, several lines a program where they are short, 16-byte loads wherever
   strides allow. 16 to 32 elements a thread up to 8192 columns (36 registers at 1000); 64 at 32768 (16 warps, 97-102
   registers: one block a multiprocessor, so loads and stores of neighbours no longer overlap: the tuner may prefer 3).
2. lines read twice beyond: a maximum and a sum kept up to date block by block, then the result: 3 transfers for 2, the
   second read mostly from L2. 92 registers.
3. clusters (sm_90, sm_100), a configuration, none by default: 2 to 8 blocks hold a line and share its sums: 96
   registers for 131072 columns of 16 bits in 4 blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from dlcore.kernels.common.lines import (
    Lines,
    Tile,
    at,
    lines_of,
    program_items,
    program_lines,
    raised,
    step_of,
    tile_of,
    tiles,
)
from dlcore.kernels.common.math import INFINITY, divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, accumulator

LIMIT = 32768  # columns one program can hold without spilling


@jit
def result(below, e, total, LOG: tl.constexpr):
    """The (log) probabilities of elements so far `below` the maximum, e their exponentials and total the sum of all."""
    if LOG:
        return below - tl.log(total)
    else:
        return e * divide(tl.full(total.shape, 1, total.dtype), total)


@jit
def softmax_kernel(
    x, out, n, lines, x_far, x_outer, out_far, out_outer, LOG: tl.constexpr, C: tl.constexpr, UNIT: tl.constexpr,
    AXIS: tl.constexpr, INDEX: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_N: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    unit = tl.full((), UNIT, INDEX)
    x_far, x_outer, out_far, out_outer = x_far * unit, x_outer * unit, out_far * unit, out_outer * unit
    if AXIS == 1:
        n = n * unit
    else:
        lines = lines * unit
    line, o = program_lines(lines, BLOCK_L, AXIS, INDEX)
    items = program_items(BLOCK_N, AXIS)
    x = at(x, line, items, o, x_far, x_outer, AXIS)
    out = at(out, line, items, o, out_far, out_outer, AXIS)
    if WHOLE:
        mask = (line < lines) & (items < n)
        v = tl.load(x, mask, -INFINITY).to(C)
        top = tl.max(v, AXIS, keep_dims=True)
        v -= top
        e = tl.exp(v)
        total = tl.sum(e, AXIS, keep_dims=True)
        tl.store(out, result(v, e, total, LOG).to(out.dtype.element_ty), mask)
    else:
        SHAPE: tl.constexpr = (BLOCK_L, BLOCK_N) if AXIS == 1 else (BLOCK_N, BLOCK_L)
        LINE: tl.constexpr = (BLOCK_L, 1) if AXIS == 1 else (1, BLOCK_L)
        top = tl.full(LINE, -INFINITY, C)
        sums = tl.zeros(SHAPE, C)
        x_step = step_of(x_far, AXIS, INDEX)
        out_step = step_of(out_far, AXIS, INDEX)
        for start in range(0, n, BLOCK_N):
            mask = (line < lines) & (items < n - start)
            v = tl.load(x + start * x_step, mask, -INFINITY, eviction_policy="evict_last").to(C)
            before = top
            top, shift = raised(top, v, AXIS)
            sums = sums * tl.exp(before - shift) + tl.exp(v - shift)
        total = tl.sum(sums, AXIS, keep_dims=True)
        for start in range(0, n, BLOCK_N):
            mask = (line < lines) & (items < n - start)
            v = tl.load(x + start * x_step, mask, -INFINITY, eviction_policy="evict_first").to(C)
            v -= top
            tl.store(out + start * out_step, result(v, tl.exp(v), total, LOG).to(out.dtype.element_ty), mask)


# ---- planners -----------------------------------------------------------------------------------------------------
def prepared_lines(call: Call, *inputs: int) -> Lines:
    """The lines of these inputs, then of the output, along the axis of the first parameter."""
    return lines_of([call.inputs[k] for k in inputs], int(call.params[0]))


def plan(log: bool, call: Call, tile: Tile | None = None) -> Program:
    """The program of softmax, or log_softmax."""
    x = call.inputs[0]
    assert x is not None
    if x.size == 0:
        return Program(())
    lines = prepared_lines(call, 0)
    tile = tile or tile_of(lines, x.dtype, LIMIT, call.arch, "softmax")
    args = {
        "x": In(0), "out": Out(0), **lines.arguments("x", "out"), "LOG": log, "C": accumulator(x.dtype),
        "BLOCK_L": tile.lines, "BLOCK_N": tile.n, "WHOLE": tile.whole(lines),
    }  # fmt: skip
    launch = Launch(softmax_kernel, (tile.programs(lines),), args, num_warps=tile.warps, options=tile.options)
    return Program((launch,), contiguous=lines.copied)


def candidates(call: Call) -> Iterator[tuple[dict[str, Any], Program]]:
    """For the tuner: the configurations worth timing, of softmax for both."""
    x = call.inputs[0]
    assert x is not None
    for tile in tiles(prepared_lines(call, 0), x.dtype, LIMIT, call.arch):
        yield tile._asdict(), plan(False, call, tile)


softmax, log_softmax = partial(plan, False), partial(plan, True)
