"""Whether tensors are equal, or nearly so."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore._arguments import boolean, number, operand, renamed
from dlcore.dtypes import float64
from dlcore.ops.elementwise import abs, add, cast, eq, isfinite, isnan, le, logical_and, logical_or, mul, sub
from dlcore.ops.reduce import all

__all__ = ["allclose", "array_equal", "isclose"]


def isclose(x: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Where ``|x - other| <= atol + rtol |other|``, as bools; infinities are close to themselves alone.

    NaN is close to nothing, with ``equal_nan`` to NaN. Integers and bools are compared in float64. The operands
    broadcast; arrays and lists will do for either. Raises ShapeError where shapes do not broadcast.

    >>> dl.isclose(dl.tensor([1.0, 2.0]), [1.0000001, 2.1])
    tensor([ True, False])
    """
    return _isclose("isclose", x, other, rtol, atol, equal_nan)


def _isclose(name: str, x: Any, other: Any, rtol: Any, atol: Any, equal_nan: Any) -> Any:
    relative, absolute = number(rtol, f"{name}: rtol"), number(atol, f"{name}: atol")
    a, b = _floating(x, name, "x"), _floating(other, name, "other")
    try:
        near = le(abs(sub(a, b)), add(mul(abs(b), relative), absolute))
        close = logical_or(logical_and(near, isfinite(b)), eq(a, b))  # of infinities the difference is NaN
        if boolean(equal_nan, f"{name}: equal_nan"):
            close = logical_or(close, logical_and(isnan(a), isnan(b)))
    except (TypeError, ValueError) as error:
        raise renamed(error, name) from None
    return close


def _floating(value: Any, name: str, which: str) -> Any:
    """An operand as a tensor of floats without history."""
    plain = value.item() if isinstance(value, bool | int | float) and hasattr(value, "item") else value
    if type(plain) in (bool, int, float):
        return float(plain)
    found = operand(value, name, which).detach()
    return found if found.dtype.is_float else cast(found, float64)


def allclose(x: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all of ``x`` and ``other`` are close, a Python bool: see `isclose`.

    >>> dl.allclose(dl.tensor([0.1, 0.2]) * 3, np.array([0.3, 0.6]))
    True
    """
    return bool(all(_isclose("allclose", x, other, rtol, atol, equal_nan)))


def array_equal(x: Any, other: Any, equal_nan: bool = False) -> bool:
    """Whether ``x`` and ``other`` have the same shape and elements, a Python bool; dtypes may differ.

    With ``equal_nan`` NaN equals NaN.

    >>> dl.array_equal(dl.arange(3), [0, 1, 2]), dl.array_equal(dl.arange(3), 0)
    (True, False)
    """
    nan = boolean(equal_nan, "array_equal: equal_nan")
    given = ((np.asarray(v) if isinstance(v, bool | int | float) else v) for v in (x, other))
    a, b = (operand(v, "array_equal", which).detach() for v, which in zip(given, ("x", "other"), strict=True))
    if a.shape != b.shape:
        return False
    same = eq(a, b)
    if nan and a.dtype.is_float and b.dtype.is_float:
        same = logical_or(same, logical_and(isnan(a), isnan(b)))
    return bool(all(same))
