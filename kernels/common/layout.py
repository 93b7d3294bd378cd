"""How a reduction is cut into tiles and launches; no kernel is here.

Whatever the axes and strides, the kernels see one of two kinds of tile, BLOCK_W outputs by BLOCK_R elements of each:
rows, where the innermost axis in memory is reduced, and columns, where it is kept; lanes lie along that axis. Each lane
folds what it meets, one tile after another, and the lanes are joined at the end. Too few outputs to fill a GPU: the
reduced elements are cut into at most 1024 parts (or parts of 64 blocks), and a second launch joins the partial results.
All of it follows from shape, strides and dtype, not from the machine, so every GPU adds in the same order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dlcore.dtypes import DType, int32, int64
from dlcore.kernels.launch import View, ceil_div, power_of_2

PROGRAMS = 1024  # enough to fill any GPU several times over
MAX_BLOCKS = 64  # one lane folds no more: what the rounding of a sum grows with
SMALL = 1 << 30  # offsets below it, and sums of two, fit int32


class Axis(NamedTuple):
    """Some elements side by side: how many, and their strides in the input and in the output."""

    length: int
    x: int
    out: int


ONE = Axis(1, 0, 0)  # strides of 0: the compiler then knows that they do not spoil alignment


class Layout(NamedTuple):
    """Kept axes: ``width`` is cut into tiles, ``outer`` counts programs; reduced axes: ``run`` is the inner one."""

    width: Axis
    outer: tuple[Axis, Axis]
    run: Axis
    runs: Axis
    columns: bool

    @property
    def outputs(self) -> int:
        """Number of results."""
        return self.width.length * self.outer[0].length * self.outer[1].length

    @property
    def n(self) -> int:
        """Number of elements that make one result."""
        return self.run.length * self.runs.length

    @property
    def unit(self) -> int:
        """A power of two that divides every length and stride on which 16-byte vectors depend.

        Kernels are given those in units, because what the compiler is told of a number is whether 16 divides it.
        """
        near, far = (self.width, self.run) if self.columns else (self.run, self.width)
        common = math.gcd(near.length, far.x, self.runs.x, *(a.x for a in self.outer), 16)
        return common & -common if near.x == 1 else 1

    @property
    def division(self) -> tuple[int, int]:
        """(m, s) with r // run == (r * m >> 32) >> s for r below 2^31."""
        if self.runs.length == 1:
            return 0, 0
        bits = (self.run.length - 1).bit_length()
        return ceil_div(1 << 31 + bits, self.run.length), bits - 1

    @property
    def offsets(self) -> DType:
        """The type offsets are computed in."""
        axes = (self.width, *self.outer, self.run, self.runs)
        reach = sum(a.length * max(abs(a.x), abs(a.out)) for a in axes)
        return int64 if max(reach, self.n) >= SMALL else int32


class Tiles(NamedTuple):
    """``programs`` tiles of (``width``, ``depth``), each over ``chunk`` reduced elements, in ``splits`` parts."""

    width: int
    depth: int
    programs: int
    chunk: int
    splits: int
    warps: int


def _merged(axes: list[Axis], ordered: bool) -> list[Axis]:
    """Innermost first, in memory order unless ``ordered``; neighbours that form one axis are merged."""
    if not ordered:
        axes = sorted(axes, key=lambda a: abs(a.x) or math.inf)
    merged: list[Axis] = []
    for a in axes:
        inner = merged[-1] if merged else None
        if inner and a.x == inner.x * inner.length and a.out == inner.out * inner.length:
            merged[-1] = inner._replace(length=inner.length * a.length)
        else:
            merged.append(a)
    return merged


def layout_of(x: View, mask: int, ordered: bool = False) -> Layout | None:
    """The layout of the reduction of ``x`` over the axes in ``mask``; None where it takes more axes than that.

    ``ordered``: reduced elements are numbered in row-major order, as an index into them counts.
    """
    kept: list[Axis] = []
    reduced: list[Axis] = []
    out = 1
    for d in reversed(range(len(x.shape))):
        length, is_reduced = x.shape[d], bool(mask >> d & 1)
        if length != 1:
            (reduced if is_reduced else kept).append(Axis(length, x.strides[d], 0 if is_reduced else out))
            out *= 1 if is_reduced else length
    kept, reduced = _merged(kept, False), _merged(reduced, ordered)
    if len(kept) > 3 or len(reduced) > 2:
        return None
    run, runs = (*reduced, ONE, ONE)[:2]
    near = kept[0] if kept else ONE
    columns = near.length > 1 and (run.length == 1 or 0 < abs(near.x) < (abs(run.x) or math.inf))
    tiled = 0
    if not columns or near.length < 8:  # nothing to read side by side: better many outputs in a tile
        tiled = max(range(len(kept)), key=lambda k: kept[k].length, default=0)
    width = kept.pop(tiled) if kept else ONE
    first, second = (*kept, ONE, ONE)[:2]
    return Layout(width, (first, second), run, runs, columns and tiled == 0)


def tiles_of(layout: Layout, lane_bytes: int, whole: bool = False) -> Tiles:
    """The tiles of ``layout`` for lanes of that size; ``whole``: in one launch."""
    lane_bytes = power_of_2(lane_bytes)
    elements = 16384 // lane_bytes  # 32 accumulators of 4 bytes a thread
    w, n = power_of_2(layout.width.length), power_of_2(layout.n)
    rest = layout.outer[0].length * layout.outer[1].length
    spread = power_of_2(ceil_div(layout.width.length * rest, PROGRAMS))  # outputs a program, all programs busy
    if layout.columns:
        width = min(w, max(128, min(elements // n, spread)))
        depth = min(n, max(elements // width, 1))
    else:
        depth = min(n, elements)
        width = min(w, elements // depth, spread)
    programs = ceil_div(layout.width.length, width) * rest
    blocks = max(ceil_div(layout.n, depth), 1)
    parts = 1 if whole or blocks <= 4 or programs >= PROGRAMS // 4 else PROGRAMS // programs
    per = max(ceil_div(blocks, parts), 1 if parts == 1 else 2)
    per = per if whole else min(per, MAX_BLOCKS)
    per = max(per, ceil_div(blocks, 65535))  # grids have no more programs along their second axis
    warps = min(max(width * depth * lane_bytes // 4096, 1), 4)
    return Tiles(width, depth, programs, per * depth, ceil_div(blocks, per), warps)


def joined(outputs: int, splits: int) -> Layout:
    """The layout of the partial results of ``splits`` parts: one after the other, each in the order of the output."""
    return Layout(Axis(outputs, 1, 1), (ONE, ONE), Axis(splits, outputs, 0), ONE, outputs > 1)


def moved_by_address(x: View, layout: Layout) -> bool:
    """Whether the compiler would read ``x`` in other vectors, and so add in another order, were it aligned."""
    steps = [a.x for a in (layout.width, *layout.outer, layout.run, layout.runs) if a.x != 1]
    return not x.aligned and math.gcd(*steps) % 2 == 0
