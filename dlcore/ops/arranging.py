"""Elements copied to other places: joined, repeated, rolled, padded; and tensors of coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._arguments import (
    MAX_AXES,
    axis_of,
    boolean,
    check_lengths,
    choice,
    has,
    integer,
    integers,
    items,
    names_errors,
    operand,
    remembered,
    renamed,
    shaped,
    shown,
)
from dlcore.dtypes import as_dtype
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops import _geometry as geometry
from dlcore.ops._constants import constant
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops.gather import take
from dlcore.ops.movement import concat, contiguous, expand, reshape, stack
from dlcore.ops.rearranging import Piece, pad_constant, rearrange
from dlcore.ops.shaping import atleast_2d, each, one_axis, three_axes, two_axes
from dlcore.ops.slicing import slice_backward

__all__ = [
    "block_diag", "cartesian_prod", "column_stack", "combinations", "dstack", "hstack", "indices", "meshgrid", "pad",
    "repeat", "repeat_interleave", "roll", "tile", "vstack",
]  # fmt: skip

# ---- joining ------------------------------------------------------------------------------------------------------


def _several(name: str, tensors: Any, view: Any) -> list[Any]:
    """``view`` of the tensors of a sequence, or along the first axis of one."""
    if type(tensors) is not list:
        if has(type(tensors), "ndim") and tensors.ndim:
            tensors = list(tensors)
        if not isinstance(tensors, Sequence) or isinstance(tensors, str):
            raise TypeError(f"{name}: operand 'tensors' {shown(tensors)} is not a sequence of tensors")
    if not tensors:
        raise ShapeError(f"{name}: no tensors are given")
    return each(name, tensors, view)


@shaped(reshape)
def _column(x: Any) -> Any:
    return (x.size, 1) if x.ndim < 2 else None


@names_errors
def hstack(tensors: Sequence[Any]) -> Any:
    """The tensors one after another along axis 1; vectors along axis 0.

    >>> dl.hstack([dl.tensor([1, 2]), dl.tensor([3])])
    tensor([1, 2, 3])
    """
    parts = _several("hstack", tensors, one_axis)
    return concat(parts, 0 if parts[0].ndim == 1 else 1)


@names_errors
def vstack(tensors: Sequence[Any]) -> Any:
    """The tensors one after another along axis 0; vectors are rows.

    >>> dl.vstack([dl.tensor([1, 2]), dl.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    return concat(_several("vstack", tensors, two_axes), 0)


@names_errors
def dstack(tensors: Sequence[Any]) -> Any:
    """The tensors one after another along axis 2, which vectors and matrices get first.

    >>> dl.dstack([dl.tensor([1, 2]), dl.tensor([3, 4])]).shape
    (1, 2, 2)
    """
    return concat(_several("dstack", tensors, three_axes), 2)


@names_errors
def column_stack(tensors: Sequence[Any]) -> Any:
    """The tensors one after another along axis 1; vectors are columns.

    >>> dl.column_stack([dl.tensor([1, 2]), dl.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    return concat(_several("column_stack", tensors, _column), 1)


@names_errors
def block_diag(*tensors: Any) -> Any:
    """A matrix with the matrices given along its diagonal, and zeros; vectors and numbers are matrices of one row.

    >>> dl.block_diag(dl.tensor([[1, 2]]), dl.tensor([[3]]))
    tensor([[1, 2, 0],
            [0, 0, 3]])
    """
    parts = [atleast_2d(t) for t in tensors] or [operand([[]], "block_diag")]
    width, rows, start = sum(t.shape[-1] for t in parts), [], 0
    for t in parts:
        if t.ndim != 2:
            raise ShapeError(f"block_diag: {t.shape} is no matrix")
        rows.append(slice_backward(t, (t.shape[0], width), ((0, t.shape[0], 1), (start, t.shape[1], 1))))
        start += t.shape[1]
    return concat(rows, 0)


# ---- repeating ----------------------------------------------------------------------------------------------------


@names_errors
def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """``x`` repeated as a whole, ``reps`` times along each axis (of the last axes where there are fewer numbers).

    >>> dl.tile(dl.tensor([1, 2]), (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    x = operand(x, "tile")
    shape, counts = geometry.tiled(x.shape, reps)
    out = x if x.shape == shape else reshape(x, shape)
    if counts is None:
        return contiguous(out)
    for axis in range(len(shape) - 1, -1, -1):
        if counts[axis] != 1:
            out = _repeated(out, axis, counts[axis], axis)
    return out


def _repeated(x: Any, axis: int, count: int, at: int) -> Any:
    """A copy of ``x`` with an axis of ``count`` repetitions put in at ``at`` and made one with ``axis``."""
    if x.ndim == MAX_AXES:  # there is no room for one more axis
        places = np.arange(x.shape[axis])
        return take(x, constant(np.tile(places, count) if at == axis else np.repeat(places, count), x), axis)
    new, longer, joined = geometry.repeated(x.shape, axis, count, at)
    return reshape(contiguous(expand(reshape(x, new), longer)), joined)


def _repeat(name: str, x: Any, repeats: Any, axis: int | None) -> Any:
    x = operand(x, name)
    if axis is None:
        x, axis = x if x.ndim == 1 else reshape(x, (-1,)), 0
    along = axis_of(axis, f"{name}: axis", x.shape)
    if type(repeats) is int and repeats >= 0:
        return _repeated(x, along, repeats, along + 1)
    counts = integers(repeats, f"{name}: repeats")
    if min(counts, default=0) < 0:
        raise ValueError(f"{name}: a negative number of repetitions: {min(counts)}")
    n = x.shape[along]
    if len(counts) == 1:
        return _repeated(x, along, counts[0], along + 1)
    if len(counts) != n:
        raise ShapeError(f"{name}: {len(counts)} repeats for axis {along} of shape {x.shape}")
    return take(x, constant(np.repeat(np.arange(n), counts), x), along)


@names_errors
def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """``x`` with each element along ``axis`` (None: of all, flattened) repeated: NumPy's `repeat`.

    ``repeats``: how often, one number or one for each place. PyTorch's `Tensor.repeat` is `tile`.

    >>> dl.repeat(dl.tensor([1, 2]), [2, 3]).tolist()
    [1, 1, 2, 2, 2]
    """
    return _repeat("repeat", x, repeats, axis)


@names_errors
def repeat_interleave(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """``x`` with each element along ``axis`` (None: of all, flattened) repeated: `repeat` under PyTorch's name.

    >>> dl.repeat_interleave(dl.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    return _repeat("repeat_interleave", x, repeats, axis)


@names_errors
def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """``x`` with the elements moved on by ``shift`` places along ``axis``; what leaves at the end enters in front.

    ``shift`` and ``axis``: one or several each. None: the elements move in row-major order.

    >>> dl.roll(dl.tensor([1, 2, 3]), 1)
    tensor([3, 1, 2])
    """
    x, shifts = operand(x, "roll"), integers(shift, "roll: shift")
    if axis is None:
        pieces = (_turned(x.size, sum(shifts)),)
        flat = x.ndim == 1
        return rearrange(x, pieces) if flat else reshape(rearrange(reshape(x, (-1,)), pieces), x.shape)
    several = items(axis)
    axes = [axis_of(a, "roll: axis", x.shape) for a in ([axis] if several is None else several)]
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    count = max(len(shifts), len(axes))
    moved = dict.fromkeys(axes, 0)
    for s, a in zip(shifts * (count // len(shifts) or 1), axes * (count // len(axes) or 1), strict=True):
        moved[a] += s
    return rearrange(x, tuple(_turned(n, moved.get(a, 0)) for a, n in enumerate(x.shape)))


def _turned(n: int, shift: int) -> tuple[Piece, ...]:
    """The pieces of an axis of length ``n`` whose places move on by ``shift``."""
    first = -shift % n if n else 0
    return ((first, n - first, 1), (0, first, 1)) if first else ((0, n, 1),)


# ---- padding ------------------------------------------------------------------------------------------------------

_MODES = {
    "constant": "constant", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge", "replicate": "edge",
    "wrap": "wrap", "circular": "wrap",
}  # fmt: skip


def _pairs(values: Any, what: str, ndim: int) -> list[Any]:
    """(before, after) for each axis from NumPy's forms: one number, one pair, or a pair or number for each axis."""
    if type(values) in (int, float):
        return [(values, values)] * ndim
    if isinstance(values, dict):
        pairs: list[Any] = [(0, 0)] * ndim
        for axis, value in values.items():
            at = axis_of(axis, f"pad: axis of {what}", (1,) * ndim)
            pairs[at] = (value, value) if items(value) is None else tuple(value)
        return pairs
    given: Any = values.tolist() if has(type(values), "ndim") else values
    array: Any = np.asarray(given, np.dtype(object))
    try:
        return [tuple(pair) for pair in np.broadcast_to(array, (ndim, 2)).tolist()]
    except ValueError:
        raise ShapeError(
            f"pad: {what} {shown(values)} is neither a number, nor a pair, nor {ndim} pairs (before, after)"
        ) from None


@remembered
def _widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    where = "pad: pad_width"
    return tuple((integer(b, where, 0), integer(a, where, 0)) for b, a in _pairs(pad_width, "pad_width", ndim))


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """``x`` with more elements before and after along each axis: NumPy's `pad`.

    ``pad_width``: one number, one pair (before, after) for every axis, a pair for each, or a dict from axes to pairs.
    ``mode``: "constant" (``constant_values``: a number or pairs as above), "edge" or "replicate" (the outermost
    element), "reflect" (mirrored at it), "symmetric" (mirrored with it), "wrap" or "circular" (from the other end).

    >>> dl.pad(dl.tensor([1, 2, 3]), (2, 1), mode="reflect").tolist()
    [3, 2, 1, 2, 3, 2]
    """
    x, kind = operand(x, "pad"), _MODES[choice(mode, tuple(_MODES), "pad: mode")]
    widths = _widths(pad_width, x.ndim)
    if kind == "constant":
        if type(constant_values) in (int, float):
            return _around(x, widths, constant_values)
        return _padded_with(x, widths, _pairs(constant_values, "constant_values", x.ndim))
    for n, width in zip(x.shape, widths, strict=True):
        if not n and any(width):
            axis = x.shape.index(0)
            raise ShapeError(f"pad: axis {axis} of shape {x.shape} is empty; only constants can extend it")
    pieces = (_extended(n, before, after, kind) for n, (before, after) in zip(x.shape, widths, strict=True))
    return rearrange(x, tuple(pieces))


def _padded_with(x: Any, widths: tuple[tuple[int, int], ...], values: list[tuple[Any, Any]]) -> Any:
    value = values[0][0] if values else 0
    if all(v is value or (v == value and type(v) is type(value)) for pair in values for v in pair):
        return _around(x, widths, value)
    for axis, (width, ends) in enumerate(zip(widths, values, strict=True)):
        for side in range(2):  # each axis after the one before: corners belong to the last
            own = [(0, 0)] * x.ndim
            own[axis] = (width[0], 0) if side == 0 else (0, width[1])
            x = _around(x, tuple(own), ends[side])
    return x


def _around(x: Any, widths: tuple[tuple[int, int], ...], value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, bool | int | float):
        raise TypeError(f"pad: constant_values {shown(value)} is not a number")
    try:
        return pad_constant(x, value, widths)
    except (OverflowError, TypeError) as error:
        raise renamed(error, "pad") from None


def _extended(n: int, before: int, after: int, kind: str) -> tuple[Piece, ...]:
    """The pieces of an axis of length ``n`` that are put before and after it, and itself."""
    whole, skipped = (0, n, 1), int(kind == "reflect")
    if not (before or after):
        return (whole,)
    if kind == "edge":
        ends = (0, before, 0), (n - 1, after, 0)
    elif max(before, after) > n - skipped:  # several times to and fro
        return _runs(np.pad(np.arange(n), (before, after), kind).tolist())  # type: ignore[call-overload]
    elif kind == "wrap":
        ends = (n - before, before, 1), (0, after, 1)
    else:
        ends = (before - 1 + skipped, before, -1), (n - 1 - skipped, after, -1)
    return tuple(piece for piece in (ends[0], whole, ends[1]) if piece[1])


def _runs(places: list[int]) -> tuple[Piece, ...]:
    """Places along an axis as pieces."""
    found: list[Piece] = []
    at = 0
    while at < len(places):
        step = places[at + 1] - places[at] if at + 1 < len(places) else 1
        step, end = (step if abs(step) < 2 else 1), at + 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        found.append((places[at], end - at, step))
        at = end
    return tuple(found)


# ---- coordinates --------------------------------------------------------------------------------------------------


@names_errors
def meshgrid(*tensors: Any, indexing: str = "xy", sparse: bool = False, copy: bool = False) -> list[Any]:
    """Coordinates of a grid, one tensor for each vector given, as views broadcast to the grid's shape.

    ``indexing``: "ij": vector k runs along axis k; "xy": the first two the other way round (NumPy's default, PyTorch's
    is "ij"). ``sparse``: each has length 1 along the others' axes. ``copy``: in memory of their own.

    >>> x, y = dl.meshgrid(dl.tensor([1, 2]), dl.tensor([3, 4]), indexing="ij")
    >>> x.tolist(), y.tolist()
    ([[1, 1], [2, 2]], [[3, 4], [3, 4]])
    """
    choice(indexing, ("xy", "ij"), "meshgrid: indexing")
    given = each("meshgrid", tensors, one_axis)
    for t in given:
        if t.ndim != 1:
            raise ShapeError(f"meshgrid: {t.shape} is no vector")
    check_lengths("meshgrid", (1,) * len(given))
    found = []
    for k, t in enumerate(given):
        axis = 1 - k if indexing == "xy" and k < 2 and len(given) > 1 else k
        found.append(reshape(t, (*[1] * axis, -1, *[1] * (len(given) - 1 - axis))))
    if not boolean(sparse, "meshgrid: sparse") and found:
        shape = broadcast_shapes("meshgrid", *(t.shape for t in found))
        found = [expand(t, shape) for t in found]
    return [t.clone() for t in found] if boolean(copy, "meshgrid: copy") else list(found)


@names_errors
def indices(dimensions: Sequence[int], dtype: object = "int64", sparse: bool = False) -> Any:
    """The coordinates of an array of shape ``dimensions``: (ndim, *dimensions); a tuple of them if ``sparse``.

    >>> dl.indices((2, 2)).tolist()
    [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """
    shape, kind = integers(dimensions, "indices: dimensions"), as_dtype(dtype, "indices: dtype")
    check_lengths("indices", (len(shape), *shape))
    if kind.kind == "bool":
        raise DTypeError("indices: coordinates are numbers, not of dtype bool")
    axes = meshgrid(*(constant(np.arange(n)).astype(kind) for n in shape), indexing="ij", sparse=sparse)
    if boolean(sparse, "indices: sparse"):
        return tuple(axes)
    return stack(list(axes), 0) if axes else constant(np.zeros((0,))).astype(kind)


@names_errors
def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of one element of each vector, the last one changing fastest: (count, vectors).

    >>> dl.cartesian_prod(dl.tensor([1, 2]), dl.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    if len(tensors) == 1:
        return each("cartesian_prod", tensors, one_axis)[0]
    grids = meshgrid(*tensors, indexing="ij")
    if not grids:
        raise ShapeError("cartesian_prod: no tensors are given")
    return stack([reshape(g, (-1,)) for g in grids], 1)


def combinations(x: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of ``r`` elements of a vector, in the order of `itertools.combinations`: (count, r).

    >>> dl.combinations(dl.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    x, size = operand(x, "combinations"), integer(r, "combinations: r", 1)
    if x.ndim != 1:
        raise ShapeError(f"combinations: x has shape {x.shape}; it must have 1 axis")
    repeated = boolean(with_replacement, "combinations: with_replacement")
    chosen = (itertools.combinations_with_replacement if repeated else itertools.combinations)(range(x.shape[0]), size)
    return take(x, constant(np.array(list(chosen), np.int64).reshape(-1, size), x), 0)
