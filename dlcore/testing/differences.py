"""How far a result is from what it should be, and whether a kernel wrote beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._tensor import Tensor


class Difference(NamedTuple):
    """How far a result is from what it should be."""

    ulps: float
    """The largest error in units of eps * magnitude, less what subnormal numbers round; infinity for a wrong shape,
    an integer that differs, a NaN or infinity out of place."""
    text: str = ""
    """What is outside the bound, and empty where nothing is."""


def difference(
    got: Tensor, want: np.ndarray[Any, Any], ulp: float, magnitude: Any = None, *, overflows: bool = False,
    signs: bool = False,
) -> Difference:  # fmt: skip
    """|got - want| in units of eps(dtype) * magnitude (default: |want|); NaN and infinities must be in their places.

    Integers must be equal. ``overflows``: where finite terms have a magnitude, a sum of absolute values, of more than
    the dtype holds, infinity and NaN are as good as any number, since terms may be added in any order; where it is
    more than sums are kept in, so is what the operation makes of infinity. ``signs``: zeros must have the same.
    """
    have = np.asarray(got)
    if have.shape != want.shape:
        return Difference(np.inf, f"shape {have.shape}, the reference has {want.shape}")
    if not got.dtype.is_float:
        wrong = np.flatnonzero(np.ravel(have != want))
        if not wrong.size:
            return Difference(0.0)
        pair = f"{np.ravel(have)[wrong[0]]} for {np.ravel(want)[wrong[0]]}"
        return Difference(np.inf, f"{wrong.size} of {have.size} differ, first at {wrong[0]}: {pair}")
    eps, smallest = got.dtype.eps, got.dtype.tiny * got.dtype.eps  # the smallest subnormal
    with np.errstate(all="ignore"):
        nearest = want.astype(got.dtype.numpy).astype(np.float64)  # overflows where the dtype must
        values = have.astype(np.float64)
        scale = np.abs(want) if magnitude is None else np.broadcast_to(magnitude, want.shape)
        size = np.where(np.isfinite(want), np.abs(want), 0)
        unit, slack = eps * np.where(np.isfinite(scale), scale, size), max(ulp, 1.0) * smallest
        bound = ulp * unit + slack
        same = (values == nearest) | (np.isnan(values) & np.isnan(nearest))
        if overflows and magnitude is not None:
            widest = np.finfo(np.float64 if got.dtype.itemsize == 8 else np.float32).max  # what sums are kept in
            over = ~(scale < widest) | (~(scale < got.dtype.largest) & ~np.isfinite(values))
            same |= over & (np.isfinite(scale) | np.isfinite(want))  # else an operand is infinite
        error = np.where(same, 0.0, np.abs(values - want).astype(np.float64))
        other = signs & (values == 0) & (want == 0) & (np.signbit(values) != np.signbit(want))
        error = np.where(other, np.inf, error)
        bad = other | (~same & ~(error <= bound))
        beyond = np.where(error <= slack, 0.0, (error - slack) / unit)
    worst = float(np.max(np.nan_to_num(beyond, nan=np.inf), initial=0.0))
    return Difference(worst, _worst_of(values, want, error, bound, bad) if bad.any() else "")


def _worst_of(values: Any, want: Any, error: Any, bound: Any, bad: Any) -> str:
    with np.errstate(all="ignore"):
        k = int(np.argmax(np.where(bad, np.nan_to_num(error / bound, nan=np.inf), 0)))
        k = k if bad.flat[k] else int(np.flatnonzero(np.ravel(bad))[0])
        times = error.flat[k] / bound.flat[k]
    place = tuple(map(int, np.unravel_index(k, want.shape)))
    return (
        f"{int(bad.sum())} of {want.size} outside the bound, worst at {place}: "
        f"{values.flat[k]!r} for {want.flat[k]!r}, {times:.3g} times the bound"
    )


def compare(what: str, got: Tensor, want: np.ndarray[Any, Any], ulp: float, magnitude: Any = None) -> float:
    """|got - want| <= ulp * eps(dtype) * magnitude, NaN and infinities in the same places; integers exactly.

    Returns the largest error in units of eps * magnitude.
    """
    found = difference(got, want, ulp, magnitude)
    assert not found.text, f"{what}: {found.text}"
    return found.ulps


@contextmanager
def guarded() -> Iterator[None]:
    """Memory made inside starts as NaN between guard bytes; raises if a kernel wrote outside its outputs."""
    _C.set_guards(True)
    before = _C.guard_faults()
    try:
        yield
    finally:
        _C.set_guards(False)
    assert _C.guard_faults() == before, "a kernel wrote outside the memory of its output"
