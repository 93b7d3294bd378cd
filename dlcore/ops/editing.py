"""Elements put in, taken out and added at the end, with NumPy's meaning; places of elements."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, boolean, called, instance, integer, items, names_errors, operand, shown
from dlcore.dtypes import bool_
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops._constants import constant
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops.elementwise import cast
from dlcore.ops.gather import nonzero, take
from dlcore.ops.movement import concat, expand, reshape
from dlcore.ops.shaping import part
from dlcore.ops.slicing import assign
from dlcore.ops.strided import as_strided

__all__ = ["append", "delete", "diag_indices", "fill_diagonal", "flatnonzero", "insert", "ix_"]


_FEW = 8  # places, which are left out by joining what lies between; of more indices are cheaper


def flatnonzero(x: Any) -> Any:
    """The row-major positions of the elements that are not zero, as a vector.

    Its length depends on values, so a step that calls it cannot be recorded.

    >>> dl.flatnonzero(dl.tensor([[1, 0], [0, 2]]))
    tensor([0, 3])
    """
    return called("flatnonzero", nonzero, operand(x, "flatnonzero").reshape(-1)).reshape(-1)


@names_errors
def append(x: Any, values: Any, axis: int | None = None) -> Any:
    """``x`` with ``values`` behind it along ``axis``; with axis=None both are flattened.

    >>> dl.append(dl.tensor([1, 2]), dl.tensor([3]))
    tensor([1, 2, 3])
    """
    x = operand(x, "append")
    values = operand([values] if isinstance(values, bool | int | float) else values, "append", "values", x)
    if axis is None:
        return concat([reshape(x, (-1,)), reshape(values, (-1,))], 0)
    return concat([x, values], axis_of(axis, "append: axis", x.shape))


def _along(name: str, x: Any, axis: int | None) -> tuple[Any, int]:
    x = operand(x, name)
    return (reshape(x, (-1,)), 0) if axis is None else (x, axis_of(axis, f"{name}: axis", x.shape))


def _place(name: str, index: Any, length: int, end: int = 0) -> int:
    """One place, counted from the front."""
    at = integer(index, f"{name}: index")
    if not -length <= at < length + end:
        raise IndexError(f"{name}: index {at} is out of range for an axis of length {length}")
    return at + length if at < 0 else at


def _places(name: str, index: Any, length: int, end: int = 0) -> Any:
    """Places along an axis of this length, of an integer, a slice, integers or a mask, on the host; ``end``: how far
    behind the last one may lie."""
    if isinstance(index, slice):
        return np.asarray(range(length)[index], np.int64)
    several = items(index)
    found: Any = np.asarray([_place(name, index, length, end)] if several is None else several)
    if found.dtype.kind == "b" and found.shape == (length,):
        return np.flatnonzero(found)
    if found.size == 0:
        return found.astype(np.int64)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise DTypeError(f"{name}: index {shown(index)} is neither an integer, a slice, integers nor a mask")
    wrong = found[(found < -length) | (found >= length + end)]
    if wrong.size:
        raise IndexError(f"{name}: index {wrong[0]} is out of range for an axis of length {length}")
    return np.where(found < 0, found + length, found)


def delete(x: Any, index: Any, axis: int | None = None) -> Any:
    """A copy of ``x`` without the places ``index`` along ``axis`` (None: of all its elements, flattened).

    ``index``: an integer, a slice, integers or a mask, which are read on the host.

    >>> dl.delete(dl.tensor([1, 2, 3]), 1)
    tensor([1, 3])
    """
    x, along = _along("delete", x, axis)
    n = x.shape[along]
    gone = [_place("delete", index, n)] if type(index) is int else np.unique(_places("delete", index, n)).tolist()
    if len(gone) <= _FEW:  # what lies between them, one after another
        edges = [-1, *gone, n]
        runs = [part(x, along, a + 1, b - a - 1) for a, b in pairwise(edges) if b > a + 1]
        return concat(runs or [part(x, along, 0, 0)], along)
    return take(x, constant(np.delete(np.arange(n), gone), x), along)


def _joined(x: Any, axis: int, at: int, values: Any) -> Any:
    """``values`` between what lies before a place and what lies behind it."""
    n = x.shape[axis]
    parts = [part(x, axis, 0, at), values, part(x, axis, at, n - at)]
    return concat([p for p in parts if p.shape[axis]] or parts[:1], axis)


def insert(x: Any, index: Any, values: Any, axis: int | None = None) -> Any:
    """A copy of ``x`` with ``values``, broadcast and cast, before the places ``index`` along ``axis``.

    With axis=None x is flattened. ``index``: an integer or integers in terms of x, which are read on the host.

    >>> dl.insert(dl.tensor([1, 3]), 1, 2)
    tensor([1, 2, 3])
    """
    x, along = _along("insert", x, axis)
    n, several = x.shape[along], items(index)
    if type(index) is int and isinstance(values, bool | int | float):
        at, shape = _place("insert", index, n, 1), (*x.shape[:along], 1, *x.shape[along + 1 :])
        return _joined(x, along, at, called("insert", _C.full, shape, values, x.dtype, x.device.code))
    places = _places("insert", index, n, 1)
    values = operand([values] if isinstance(values, bool | int | float) else values, "insert", "values", x)
    if several is None and not isinstance(index, slice) and values.ndim == x.ndim and axis is not None:
        places = np.repeat(places, values.shape[along])
    elif several is None and not isinstance(index, slice) and axis is None:
        places = np.repeat(places, values.size)
    elif several is None and values.ndim == x.ndim - 1:
        values = reshape(values, (*values.shape[:along], 1, *values.shape[along:]))
    shape = (*x.shape[:along], len(places), *x.shape[along + 1 :])
    if broadcast_shapes("insert", shape, values.shape) != shape:
        raise ShapeError(f"insert: values of shape {values.shape} do not fit {shape}")
    values = expand(values if values.dtype is x.dtype else cast(values, x.dtype), shape)
    if len(places) and (places == places[0]).all():
        return _joined(x, along, int(places[0]), values)
    order = np.argsort(np.concatenate([places * 2, np.arange(n) * 2 + 1]), kind="stable")
    whole = np.where(order < len(places), order + n, order - len(places))
    return take(concat([x, values], along), constant(whole, x), along)


def fill_diagonal(x: Any, value: Any, wrap: bool = False) -> None:
    """Writes ``value`` on the main diagonal of ``x``, a matrix or an array whose axes have one length.

    ``wrap``: of a tall matrix again behind a row left out.

    >>> x = dl.zeros(2, 2)
    >>> dl.fill_diagonal(x, 3.0)
    >>> x
    tensor([[3., 0.],
            [0., 3.]])
    """
    x = instance(x, _C.TensorBase, "fill_diagonal: x", "a tensor, and is written in place")
    if x.ndim < 2 or (x.ndim > 2 and len(set(x.shape)) > 1):
        raise ShapeError(f"fill_diagonal: x has shape {x.shape}; it must be a matrix, or all axes of one length")
    again = boolean(wrap, "fill_diagonal: wrap")
    if not x.is_contiguous:
        whole = x.clone()
        fill_diagonal(whole, value, again)
        assign.inplace(x, whole)
        return
    step = sum(x.strides)
    end = x.size if x.ndim > 2 or again else min(x.shape) * step
    count = -(-min(end, x.size) // step) if x.size else 0
    called("fill_diagonal", assign.inplace, as_strided(x, (count,), (step,), 0), value)


def diag_indices(n: int, ndim: int = 2) -> tuple[Any, ...]:
    """The coordinates of the main diagonal of an array of ``ndim`` axes of length ``n``: an index, x[...].

    >>> dl.diag_indices(2)
    (tensor([0, 1]), tensor([0, 1]))
    """
    count = integer(ndim, "diag_indices: ndim", 1)
    return (constant(np.arange(integer(n, "diag_indices: n", 0))),) * count


def ix_(*sequences: Sequence[Any]) -> tuple[Any, ...]:
    """An index that crosses the vectors given: ``x[dl.ix_([0, 2], [1, 3])]`` is the rows 0 and 2 at columns 1 and 3.

    >>> [t.shape for t in dl.ix_(dl.tensor([0, 1]), dl.tensor([2]))]
    [(2, 1), (1, 1)]
    """
    found = []
    for k, given in enumerate(sequences):
        vector = operand(given, "ix_", "sequences")
        if vector.ndim != 1:
            raise ShapeError(f"ix_: {vector.shape} is no vector")
        vector = flatnonzero(vector) if vector.dtype is bool_ else vector
        found.append(reshape(vector, (*[1] * k, -1, *[1] * (len(sequences) - 1 - k))))
    return tuple(found)
