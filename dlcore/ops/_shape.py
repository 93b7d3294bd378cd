"""Shape arithmetic that rows share: broadcasting and axes, with errors that name the operation."""

from __future__ import annotations

from collections.abc import Sequence

from dlcore.errors import ShapeError

__all__ = ["broadcast_shapes", "normalize_axes", "normalize_axis"]

Shape = tuple[int, ...]


def broadcast_shapes(name: str, *shapes: Shape) -> Shape:
    """The shape that ``shapes`` broadcast to by NumPy's rule: aligned at the right, lengths of 1 are stretched.

    Raises ShapeError, e.g. ``add: shapes do not broadcast: (3,) and (4,)``.
    """
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    ndim = max(map(len, shapes))
    out = [1] * ndim
    for shape in shapes:
        for d, length in enumerate(shape, ndim - len(shape)):
            if length != 1 and length != out[d]:
                if out[d] != 1:
                    raise ShapeError(f"{name}: shapes do not broadcast: {' and '.join(map(str, shapes))}")
                out[d] = length
    return tuple(out)


def normalize_axis(name: str, axis: int, shape: Shape) -> int:
    """``axis`` counted from the front, 0 <= axis < ndim; negative ones count from the back.

    Raises IndexError, e.g. ``softmax: axis 3 is out of range for shape (2, 3)``.
    """
    if not -len(shape) <= axis < len(shape):
        raise IndexError(f"{name}: axis {axis} is out of range for shape {shape}")
    return axis % len(shape)


def normalize_axes(name: str, axes: int | Sequence[int] | None, shape: Shape) -> Shape:
    """``axes`` counted from the front and sorted; None means all of them.

    Raises IndexError for one out of range, ShapeError for one given twice.
    """
    if axes is None:
        return tuple(range(len(shape)))
    if isinstance(axes, int):
        return (normalize_axis(name, axes, shape),)
    normal = sorted(normalize_axis(name, axis, shape) for axis in axes)
    if len(set(normal)) != len(normal):
        raise ShapeError(f"{name}: an axis is given twice: {tuple(axes)} for shape {shape}")
    return tuple(normal)
