"""Lines: the shape in which softmax and the losses see their operands, and how lines are cut into programs.

An axis of length n and what lies around it: outer x n x inner. Where inner is 1 a line is a row, contiguous, and lies
along the last axis of a tile (AXIS 1); otherwise `inner` lines lie side by side and along the first (AXIS 0). Lanes
always go along the axis that is contiguous in memory: the near one; the stride of the other is called far.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, float64, int32, int64
from dlcore.kernels.common.layout import PROGRAMS, SMALL
from dlcore.kernels.common.math import INFINITY
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Arch, View, ceil_div, configuration, contiguous_strides, power_of_2


@jit
def program_lines(lines, BLOCK_L: tl.constexpr, AXIS: tl.constexpr, INDEX: tl.constexpr):
    """The program's lines, along their axis of a tile, and its outer index."""
    blocks = tl.cdiv(lines, BLOCK_L)
    program = tl.program_id(0)
    line = (program % blocks).to(INDEX) * BLOCK_L + tl.arange(0, BLOCK_L)
    return tl.expand_dims(line, AXIS), (program // blocks).to(INDEX)


@jit
def program_items(BLOCK_N: tl.constexpr, AXIS: tl.constexpr):
    """The first BLOCK_N elements of a line, along their axis of a tile."""
    return tl.expand_dims(tl.arange(0, BLOCK_N), 1 - AXIS)


@jit
def at(pointer, line, item, o, far, outer, AXIS: tl.constexpr):
    """Pointers to elements of lines, from the two strides of an operand."""
    # Step by step: one address and constant offsets from it are then seen where a line is contiguous.
    return pointer + line * far + item if AXIS == 1 else pointer + o * outer + line + item.to(line.dtype) * far


@jit
def step_of(far, AXIS: tl.constexpr, INDEX: tl.constexpr):
    """What the next element of a line adds to a pointer."""
    return 1 if AXIS == 1 else tl.full((), far, INDEX)


@jit
def raised(top, x, AXIS: tl.constexpr):
    """The larger of top and the maxima of x, and by what exponentials may be shifted without -inf + inf."""
    top = tl.maximum(top, tl.max(x, AXIS, keep_dims=True))  # drops NaN, which comes back in the sum
    return top, tl.where(top == -INFINITY, 0.0, top)


class Lines(NamedTuple):
    """``outer`` times ``lines`` lines of ``n`` elements, with the (far, outer) strides of each operand."""

    n: int
    lines: int
    outer: int
    columns: bool
    strides: tuple[tuple[int, int], ...]
    copied: tuple[int, ...]
    """Operands that must be made contiguous first; their strides are given as if they were."""

    @property
    def unit(self) -> int:
        """A power of two that divides the near length and all strides, and so lets 16-byte vectors be used."""
        common = math.gcd(self.lines if self.columns else self.n, *(s for pair in self.strides for s in pair), 16)
        return common & -common

    @property
    def offsets(self) -> DType:
        """The type offsets are computed in."""
        count, far = (self.n, self.lines) if self.columns else (self.lines, self.n)
        reach = max(abs(outer) * self.outer + abs(step) * count for step, outer in self.strides) + far
        return int64 if reach >= SMALL else int32

    def arguments(self, *names: str) -> dict[str, Any]:
        """What kernels are told of lines: lengths and, for the operands so named, strides; the near ones in units."""
        unit = self.unit
        args: dict[str, Any] = {
            "n": self.n if self.columns else self.n // unit,
            "lines": self.lines // unit if self.columns else self.lines,
            "UNIT": unit, "AXIS": int(not self.columns), "INDEX": self.offsets,
        }  # fmt: skip
        for name, (far, outer) in zip(names, self.strides, strict=True):
            args |= {f"{name}_far": far // unit, f"{name}_outer": outer // unit}
        return args


def lines_of(inputs: Sequence[View], axis: int, outputs: int = 1) -> Lines:
    """The lines of ``inputs`` of one shape along ``axis``, and of contiguous ``outputs`` after them."""
    shape = inputs[0].shape
    outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    found = [_strides(view, axis, inner > 1) for view in inputs]
    packed = View(shape, inputs[0].dtype, contiguous_strides(shape))
    whole = _strides(packed, axis, inner > 1)
    assert whole is not None
    copied = tuple(k for k, strides in enumerate(found) if strides is None)
    strides = tuple(s or whole for s in found) + (whole,) * outputs
    if inner == 1:
        return Lines(n, outer, 1, False, strides, copied)
    return Lines(n, inner, outer, True, strides, copied)


def _strides(view: View, axis: int, columns: bool) -> tuple[int, int] | None:
    """(far, outer) of an operand; None where it is no lines, or where vectors would depend on its address."""
    before = _step(view.shape[:axis], view.strides[:axis])
    after = _step(view.shape[axis + 1 :], view.strides[axis + 1 :])
    item = view.strides[axis] if view.shape[axis] > 1 else 1
    if before is None or after is None or (after if columns else item) != 1:
        return None
    far, outer = (item, before) if columns else (before, 0)
    if not view.aligned and math.gcd(far, outer) % 2 == 0:
        return None
    return far, outer


def _step(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """The stride of some axes seen as one; None where they cannot be."""
    axes = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    for (_, outer), (n, inner) in itertools.pairwise(axes):
        if outer != inner * n:
            return None
    return axes[-1][1] if axes else 0


# ---- tiles --------------------------------------------------------------------------------------------------------
class Tile(NamedTuple):
    """``lines`` by ``n`` elements a program; ``n`` below the length of a line: it is read twice (see `whole`).

    Any is right for any lines; but only tiles of whole lines are shared by a cluster."""

    n: int
    lines: int
    warps: int
    ctas: int = 1
    """Blocks of a cluster that share a tile, and its sums through distributed shared memory."""

    @property
    def options(self) -> dict[str, Any]:
        """Compile options of a launch."""
        return {"num_ctas": self.ctas} if self.ctas > 1 else {}

    def whole(self, lines: Lines) -> bool:
        """Whether a tile holds whole lines, which are then read once."""
        return self.n >= lines.n

    def programs(self, lines: Lines) -> int:
        """Programs of the grid."""
        return ceil_div(lines.lines, self.lines) * lines.outer


def tile_of(lines: Lines, dtype: DType, limit: int, arch: Arch, kernel: str, lanes: int = 16) -> Tile:
    """The tile for ``kernel``, which holds lines of up to ``limit`` float32 in registers."""
    tuned = configuration(arch, kernel, shape_class(lines, dtype))
    return Tile(**tuned) if tuned else usual_tile(lines, dtype, limit, lanes)


def usual_tile(lines: Lines, dtype: DType, limit: int, lanes: int = 16) -> Tile:
    """The tile where nothing was measured; ``lanes``: elements a thread of tiles of several rows."""
    limit //= 4 if dtype is float64 else 1
    n, count = power_of_2(lines.n), power_of_2(lines.lines)
    if lines.columns:
        if n * min(count, 16) > min(limit, 8192):
            return Tile(64, min(count, 64), 4)
        return with_warps(n, min(count, 128, max(4096 // n, 16)))
    if n > limit:
        return Tile(min(limit, 8192 if lines.unit >= 4 else 2048), 1, 8)  # one by one, more addresses
    spread = power_of_2(ceil_div(lines.lines, PROGRAMS))
    return with_warps(n, min(count, max(2048 // n, 1), spread), lanes)


def shape_class(lines: Lines, dtype: DType) -> str:
    """The key of a configuration: "float32 rows 32768", the length rounded up to a power of two."""
    return f"{dtype.name} {'columns' if lines.columns else 'rows'} {power_of_2(lines.n)}"


def tiles(lines: Lines, dtype: DType, limit: int, arch: Arch, lanes: int = 16) -> Iterator[Tile]:
    """Tiles worth timing, the usual one first."""
    yield usual_tile(lines, dtype, limit, lanes)
    limit //= 4 if dtype is float64 else 1
    n, count = power_of_2(lines.n), power_of_2(lines.lines)
    clusters = arch.name in ("sm_90", "sm_100") and dtype is not float64 and not lines.columns
    for ctas in (1, 2, 4, 8) if clusters and n >= 8192 else (1,):
        for warps in (1, 2, 4, 8, 16):
            for width in (1, 2, 4, 8, 16, 32, 64, 128):
                lanes = n * width // ctas
                if lanes <= limit and 4 <= lanes // (32 * warps) <= 64 and width <= count:
                    yield Tile(n, width, warps, ctas)
    if n > 4096:
        yield from (Tile(block, 1, warps) for block in (4096, 8192, 16384) for warps in (8, 16) if block < n)


def with_warps(n: int, lines: int, lanes: int = 16) -> Tile:
    """A tile of whole lines: ``lanes`` elements a thread where there are several, 16 to 64 of a single one."""
    elements = n * lines
    if lines > 1 and lanes < 16:
        return Tile(n, lines, max(1, min(16, elements // (32 * lanes))))
    return Tile(n, lines, 16 if elements > 8192 else 8 if elements > 2048 else max(1, min(4, elements // 256)))
