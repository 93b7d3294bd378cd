"""Shape arithmetic that rows share: broadcasting, with errors that name the operation."""

from __future__ import annotations

from dlcore.errors import ShapeError

__all__ = ["broadcast_shapes", "differing"]

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


def differing(a: Shape, b: Shape) -> str:
    """How the shapes of outputs and targets differ, for errors: ``shapes differ: (2, 1) and (2,); ...``."""
    column = a == (*b, 1) or b == (*a, 1)
    return f"shapes differ: {a} and {b}" + ("; squeeze(-1) takes the last axis away" if column else "")
