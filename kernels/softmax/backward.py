"""Gradients of softmax and log_softmax from their outputs: one sum a line, then one expression an element.

Bound: memory. Two reads and one write of each element (12 bytes for float32), 4 operations; log_softmax's one
exponential more. Sums are float32 (float64 for float64).

Versions, all unmeasured (not yet run on hardware); registers at sm_90, no spills on any architecture:
1. whole lines in registers, up to 16384 columns: 64 to 96 registers with 16 warps.
2. lines read twice beyond: 5 transfers for 3 (log_softmax 4), the second reads mostly from L2. 72 registers.
3. clusters, as a configuration (see softmax.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from dlcore.kernels.common.lines import Tile, at, program_items, program_lines, step_of, tile_of, tiles
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, accumulator
from dlcore.kernels.softmax.softmax import prepared_lines

LIMIT = 16384  # columns of both inputs that one program can hold without spilling


@jit
def term(d, y, LOG: tl.constexpr):
    """What is summed over a line."""
    return d if LOG else d * y


@jit
def gradient(d, y, total, LOG: tl.constexpr):
    """dout - exp(out) * sum(dout), or out * (dout - sum(dout * out))."""
    return d - tl.exp(y) * total if LOG else y * (d - total)


@jit
def softmax_backward_kernel(
    dout, out, dx, n, lines, dout_far, dout_outer, out_far, out_outer, dx_far, dx_outer, LOG: tl.constexpr,
    C: tl.constexpr, UNIT: tl.constexpr, AXIS: tl.constexpr, INDEX: tl.constexpr, BLOCK_L: tl.constexpr,
    BLOCK_N: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    unit = tl.full((), UNIT, INDEX)
    dout_far, dout_outer, dx_far, dx_outer = dout_far * unit, dout_outer * unit, dx_far * unit, dx_outer * unit
    out_far, out_outer = out_far * unit, out_outer * unit
    if AXIS == 1:
        n = n * unit
    else:
        lines = lines * unit
    line, o = program_lines(lines, BLOCK_L, AXIS, INDEX)
    items = program_items(BLOCK_N, AXIS)
    dout = at(dout, line, items, o, dout_far, dout_outer, AXIS)
    out = at(out, line, items, o, out_far, out_outer, AXIS)
    dx = at(dx, line, items, o, dx_far, dx_outer, AXIS)
    if WHOLE:
        mask = (line < lines) & (items < n)
        d = tl.load(dout, mask, 0).to(C)
        y = tl.load(out, mask, 0).to(C)
        total = tl.sum(term(d, y, LOG), AXIS, keep_dims=True)
        tl.store(dx, gradient(d, y, total, LOG).to(dx.dtype.element_ty), mask)
    else:
        SHAPE: tl.constexpr = (BLOCK_L, BLOCK_N) if AXIS == 1 else (BLOCK_N, BLOCK_L)
        sums = tl.zeros(SHAPE, C)
        dout_step = step_of(dout_far, AXIS, INDEX)
        out_step = step_of(out_far, AXIS, INDEX)
        dx_step = step_of(dx_far, AXIS, INDEX)
        for start in range(0, n, BLOCK_N):
            mask = (line < lines) & (items < n - start)
            d = tl.load(dout + start * dout_step, mask, 0, eviction_policy="evict_last").to(C)
            y = d if LOG else tl.load(out + start * out_step, mask, 0, eviction_policy="evict_last").to(C)
            sums += term(d, y, LOG)
        total = tl.sum(sums, AXIS, keep_dims=True)
        for start in range(0, n, BLOCK_N):
            mask = (line < lines) & (items < n - start)
            d = tl.load(dout + start * dout_step, mask, 0, eviction_policy="evict_first").to(C)
            y = tl.load(out + start * out_step, mask, 0, eviction_policy="evict_first").to(C)
            dx_at = dx + start * dx_step
            tl.store(dx_at, gradient(d, y, total, LOG).to(dx.dtype.element_ty), mask)


# ---- planners -----------------------------------------------------------------------------------------------------
def plan(log: bool, call: Call, tile: Tile | None = None) -> Program:
    """The program of softmax_backward, or log_softmax_backward."""
    dout = call.inputs[0]
    assert dout is not None
    if dout.size == 0:
        return Program(())
    lines = prepared_lines(call, 0, 1)
    tile = tile or tile_of(lines, dout.dtype, LIMIT, call.arch, "softmax_backward")
    args = {
        "dout": In(0), "out": In(1), "dx": Out(0), **lines.arguments("dout", "out", "dx"), "LOG": log,
        "C": accumulator(dout.dtype), "BLOCK_L": tile.lines, "BLOCK_N": tile.n, "WHOLE": tile.whole(lines),
    }  # fmt: skip
    grid = (tile.programs(lines),)
    launch = Launch(softmax_backward_kernel, grid, args, num_warps=tile.warps, options=tile.options)
    return Program((launch,), contiguous=lines.copied)


def candidates(call: Call) -> Iterator[tuple[dict[str, Any], Program]]:
    """For the tuner: the configurations worth timing, of softmax_backward for both."""
    dout = call.inputs[0]
    assert dout is not None
    for tile in tiles(prepared_lines(call, 0, 1), dout.dtype, LIMIT, call.arch):
        yield tile._asdict(), plan(False, call, tile)


softmax_backward, log_softmax_backward = partial(plan, False), partial(plan, True)
