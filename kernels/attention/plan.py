"""What the planners of attention speak of: operands by their heads, what hides keys, and the size of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, bool_, float32, float64
from dlcore.kernels.launch import (
    F64,
    Arch,
    Call,
    Descriptor,
    In,
    View,
    ceil_div,
    index_dtype,
    power_of_2,
)
from dlcore.kernels.matmul.precision import float32_precision
from dlcore.kernels.matmul.product import unit_of
from dlcore.kernels.matmul.tiles import family, kind

__all__ = ["Hidden", "Rows", "Tile", "Work", "hidden_of", "tile_of", "work_of"]

SPLIT = 64  # the longest float32 keys and values whose parts of tf32 fit into registers
LOG2E = 1.4426950408889634


class Rows(NamedTuple):
    """An operand, (T, D) for each example and head: where it lies, and its strides in elements."""

    pointer: Any
    dtype: DType
    shape: tuple[int, int, int, int]
    """Examples, heads, rows and the length of one."""
    strides: tuple[int, int, int]
    """Of examples, heads and rows."""
    aligned: bool = True

    @property
    def unit(self) -> int:
        """Elements that a load can take at once."""
        return unit_of(self.dtype.itemsize, *self.strides, self.shape[3]) if self.aligned else 1

    def described(self, rows: int, columns: int) -> Descriptor:
        """What TMA is told of it, for blocks of so many rows and columns."""
        return Descriptor(self.pointer, self.dtype, self.shape, (*self.strides, 1), (1, 1, rows, columns))

    @property
    def ready(self) -> bool:
        """Whether TMA can read it where it lies."""
        size = self.dtype.itemsize
        return self.aligned and all(s > 0 and s * size % 16 == 0 for s in self.strides) and 0 not in self.shape


def rows_of(pointer: Any, view: View, last: bool, heads: tuple[int, int] | None = None) -> Rows:
    """A view of 4 axes, heads behind rows where ``last``; ``heads``: (first, how many) of them."""
    head, row = (2, 1) if last else (1, 2)
    first, count = heads or (0, view.shape[head])
    shape = (view.shape[0], count, view.shape[row], view.shape[3])
    offset = first * view.strides[head] * view.dtype.itemsize
    if offset:
        pointer = type(pointer)(pointer.index, offset=offset)
    whole = (view.strides[0], view.strides[head], view.strides[row])
    inner = shape[3] * shape[2]  # an axis of length 1 is nowhere stepped along: any stride will do
    strides = tuple(inner * 8 if n == 1 else s for n, s in zip(shape[:3], whole, strict=True))
    return Rows(pointer, view.dtype, shape, strides, view.aligned and offset % 16 == 0)  # type: ignore[arg-type]


class Work(NamedTuple):
    """The lengths of a call."""

    examples: int
    heads: int
    shared: int
    """Heads of keys, each for ``heads / shared`` of queries."""
    rows: int
    keys: int
    depth: int
    width: int
    """Of a key, and of a value."""
    dtype: DType
    precision: str

    @property
    def longest(self) -> int:
        """The side of a block that holds a key or a value."""
        return max(power_of_2(self.depth), power_of_2(self.width), 16)


def work_of(q: Rows, k: Rows, v: Rows) -> Work:
    """The lengths of these operands."""
    precision = float32_precision() if q.dtype is float32 else "ieee"
    if precision == "tf32x3" and max(q.shape[3], v.shape[3]) > SPLIT:
        precision = "ieee"
    return Work(*q.shape[:2], k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3], q.dtype, precision)


# ---- what hides keys ----------------------------------------------------------------------------------------------
class Hidden(NamedTuple):
    """Masks, lengths, windows and dropout, as kernels are told of them."""

    args: dict[str, Any]
    biased: bool
    drops: bool
    heavy: bool
    """Whether masks or dropout take registers."""
    lengths: bool
    sequences: int
    """How many; 0: none are told apart."""


def number(x: float, dtype: DType) -> Any:
    """A number as kernels of ``dtype`` take it."""
    return F64(float(x)) if dtype is float64 else float(x)


def hidden_of(call: Call, at: int, params: Sequence[float], dtype: DType, packed: bool, bounds: Any) -> Hidden:
    """What operands from ``at`` on and ``params``, from the scale on, say; ``bounds``: where those of sequences lie."""
    scale, left, right, lower, threshold, factor = params[:6]
    mask, lengths, offsets = call.inputs[at : at + 3]
    state = at + (3 if packed else 4)
    biased = mask is not None and mask.dtype is not bool_
    steps = (0, 0, 0, 0) if mask is None else tuple(0 if n == 1 else s for n, s in
                                                    zip(mask.shape, mask.strides, strict=True))  # fmt: skip
    drops = threshold > 0
    args = {
        "mask": mask and In(at), "lengths": lengths and In(at + 1), "bounds": bounds if offsets else None,
        "state": In(state) if drops else None, "mask_batch": steps[0], "mask_head": steps[1], "mask_row": steps[2],
        "mask_key": steps[3], "lengths_step": 0 if lengths is None or lengths.size == 1 else lengths.strides[0],
        "left": max(int(left), 0), "right": max(int(right), 0), "LEFT": left >= 0, "RIGHT": right >= 0,
        "LOWER": bool(lower), "threshold": int(threshold),
        "factor": number(factor if threshold < 2**32 else 0, dtype), "BIASED": biased,
        "scale": number(abs(scale) * (1 if biased else LOG2E), dtype), "FLIP": scale < 0,
    }  # fmt: skip
    sequences, heavy = offsets.size - 1 if offsets else 0, drops or mask is not None
    return Hidden(args, biased, drops, heavy, lengths is not None, sequences)


# ---- tiles --------------------------------------------------------------------------------------------------------
class Tile(NamedTuple):
    """Queries and keys of a block, warps, stages, and whether tiles come by TMA."""

    m: int
    n: int
    warps: int
    stages: int
    tma: bool = False


# (queries, keys, warps, stages) by kernel, kind and the longest key or value that a block holds; of two, the first is
# for few queries and keys. Each compiles without spills, with masks and dropout too.
_ONE, _TWO = tuple[tuple[int, int, int, int]], tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
TILES: dict[tuple[str, str], dict[int, _ONE | _TWO]] = {
    ("forward", "tma"): {64: ((64, 64, 4, 3), (128, 64, 8, 3)), 128: ((64, 64, 4, 2), (128, 64, 8, 3)),
                         256: ((128, 64, 8, 2),)},
    ("keys", "tma"): {64: ((64, 64, 4, 2), (64, 128, 8, 2)), 128: ((32, 128, 8, 2),), 256: ((32, 32, 8, 2),)},
    ("queries", "tma"): {64: ((64, 64, 4, 2), (128, 64, 8, 2)), 128: ((128, 32, 8, 2),), 256: ((64, 32, 8, 2),)},
    ("forward", "half"): {64: ((64, 64, 4, 3), (128, 64, 8, 3)), 128: ((64, 32, 4, 2),), 256: ((32, 32, 8, 2),)},
    ("keys", "half"): {64: ((32, 64, 4, 2),), 128: ((32, 64, 8, 2),), 256: ((32, 32, 8, 2),)},
    ("queries", "half"): {64: ((64, 32, 4, 2),), 128: ((64, 32, 8, 2),), 256: ((32, 32, 8, 2),)},
    ("forward", "float"): {32: ((64, 32, 4, 2),), 64: ((32, 32, 4, 2),), 256: ((16, 32, 8, 2),)},
    ("keys", "float"): {32: ((16, 64, 4, 2),), 64: ((32, 32, 8, 2),), 256: ((16, 32, 8, 2),)},
    ("queries", "float"): {
        32: ((16, 32, 4, 2),), 64: ((32, 32, 8, 2),), 128: ((16, 32, 4, 2),), 256: ((16, 32, 8, 2),),
    },
    ("any", "double"): {64: ((16, 16, 4, 1),), 256: ((16, 16, 8, 1),)},
}  # fmt: skip


def tile_of(what: str, work: Work, arch: Arch, ready: bool, hidden: Hidden) -> Tile:
    """The tile for ``work``; ``ready``: TMA can read what is walked over."""
    row, longest, heavy = kind(work.dtype, "float"), work.longest, hidden.heavy
    tma = row == "half" and ready and family(arch) in ("sm_90", "sm_100")
    if row == "half" and hidden.drops and work.keys % 64:  # each element makes a block of random words of its own
        return Tile(32, 32, 8, 1, tma)
    large = tma and not (heavy and longest > 64)
    if row == "half" and heavy and not tma:
        longest = max(longest, 128)
    sizes = TILES["any" if row == "double" else what, "tma" if large else row]
    few, *many = sizes[min(n for n in sizes if n >= longest)]
    side = work.keys if what == "keys" else work.rows
    blocks = ceil_div(side, 128) * work.examples * work.heads
    m, n, warps, stages = many[0] if many and blocks >= arch.multiprocessors else few
    if row == "half" and heavy and family(arch) == "sm_90":
        stages = 1  # masks loaded ahead have ptxas serialise all wgmma (C7515)
    return Tile(m, n, warps, stages, tma)


def index_of(*operands: Rows, others: int = 0) -> DType:
    """What offsets within a block are counted in."""
    return index_dtype(max(others, *(256 * abs(x.strides[2]) for x in operands)))


def strides_of(names: str, operands: Sequence[Rows], unit: int) -> dict[str, int]:
    """Strides of operands in units, by the kernels' names for them."""
    return {
        f"{name}_{axis}": step // unit
        for name, x in zip(names.split(), operands, strict=True)
        for axis, step in zip(("batch", "head", "row"), x.strides, strict=True)
    }
