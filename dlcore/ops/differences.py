"""Differences of neighbours and integrals by trapezoids, along one axis."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import axis_of, called, integer, number, operand
from dlcore.dtypes import bool_
from dlcore.errors import ShapeError
from dlcore.ops import _geometry as geometry
from dlcore.ops.elementwise import add, mul, ne, sub
from dlcore.ops.movement import concat, expand, reshape
from dlcore.ops.reduce import sum
from dlcore.ops.scan import cumsum
from dlcore.ops.shaping import part, select
from dlcore.ops.slicing import slice

__all__ = ["cumulative_trapezoid", "diff", "trapezoid"]


def _neighbours(x: Any, axis: int) -> tuple[Any, Any]:
    """All elements but the first along ``axis``, and all but the last; views."""
    second, first = geometry.but_one(x.shape, axis)
    return slice(x, second), slice(x, first)


def _beside(x: Any, more: Any, axis: int, name: str) -> Any:
    """What is put before or behind x: a number, or a tensor, of which one alone is repeated."""
    more = operand(more, "diff", name) if not isinstance(more, int | float) else more
    if isinstance(more, int | float) or more.ndim == 0:
        one = tuple(1 if d == axis else n for d, n in enumerate(x.shape))
        more = expand(operand([more], "diff", name) if isinstance(more, int | float) else more, one)
        return more.to(x.device) if more.device != x.device else more
    return more


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along ``axis``, x[i + 1] - x[i], taken ``n`` times; of bools whether they differ.

    ``prepend``, ``append``: numbers or tensors put before and behind x first. Each time the axis becomes one shorter.
    Raises IndexError for an axis out of range, ValueError for a negative ``n``, ShapeError for a 0-d x.

    >>> dl.diff(dl.tensor([1, 4, 9, 16])).tolist()
    [3, 5, 7]
    """
    x = operand(x, "diff")
    n = integer(n, "diff: n", 0)
    if x.ndim == 0:
        raise ShapeError("diff: x has no axis")
    axis = axis_of(axis, "diff: axis", x.shape)
    if n == 0:
        return x
    parts = [] if prepend is None else [_beside(x, prepend, axis, "prepend")]
    parts.append(x)
    parts += [] if append is None else [_beside(x, append, axis, "append")]
    if len(parts) > 1:
        x = called("diff", concat, parts, axis)
    for _ in range(min(n, x.shape[axis])):  # then nothing is left
        x = (ne if x.dtype is bool_ else sub)(*_neighbours(x, axis))
    return x


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Integral of ``y`` along ``axis`` by the trapezoidal rule: the sum of (y[i + 1] + y[i]) / 2 (x[i + 1] - x[i]).

    ``x``: where the samples lie, with one axis of their number or of the shape of y; without it they are ``dx`` apart.
    Integers become float32. Raises IndexError for an axis out of range, ShapeError where x does not fit y.

    >>> dl.trapezoid(dl.tensor([1.0, 2.0, 4.0])).item()
    4.5
    """
    y, axis = _samples("trapezoid", y, axis)
    if x is None:
        step, n = number(dx, "trapezoid: dx"), y.shape[axis]
        ends = add(mul(select(y, axis, 0), 0.5), mul(select(y, axis, -1), 0.5)) if n > 1 else 0.0
        return mul(add(sum(part(y, axis, min(n, 1), max(n - 2, 0)), axis), ends), step)
    return sum(_areas("trapezoid", y, x, axis), axis)


def cumulative_trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral of ``y`` along ``axis`` up to each place but the first, by the trapezoidal rule: one element less.

    Arguments and errors are those of `trapezoid`.

    >>> dl.cumulative_trapezoid(dl.tensor([1.0, 2.0, 3.0]))
    tensor([1.5, 4. ])
    """
    y, axis = _samples("cumulative_trapezoid", y, axis)
    if x is not None:
        return cumsum(_areas("cumulative_trapezoid", y, x, axis), axis)
    step = number(dx, "cumulative_trapezoid: dx")
    return cumsum(mul(add(*_neighbours(y, axis)), 0.5 * step), axis)


def _samples(name: str, y: Any, axis: int) -> tuple[Any, int]:
    """What is integrated, and along which axis."""
    y = operand(y, name, "y")
    axis = axis_of(axis, f"{name}: axis", y.shape)
    if y.dtype is bool_:
        raise TypeError(f"{name}: does not take bool")
    return y, axis


def _areas(name: str, y: Any, x: Any, axis: int) -> Any:
    """Those of the trapezoids between neighbours, which lie at ``x``."""
    x = operand(x, name)
    if x.ndim == 1 and x.shape[0] == y.shape[axis]:
        x = reshape(x, tuple(x.shape[0] if d == axis else 1 for d in range(y.ndim)))
    elif x.shape != y.shape:
        raise ShapeError(f"{name}: x has shape {x.shape}, y has {y.shape}")
    return mul(mul(add(*_neighbours(y, axis)), 0.5), sub(*_neighbours(x, axis)))
