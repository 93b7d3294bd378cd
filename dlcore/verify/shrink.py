"""The smallest call that still differs: greedy, one change at a time, while time lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from dlcore.dtypes import as_dtype
from dlcore.verify.draws import PLAIN, Draw, with_operand

__all__ = ["shrunk"]

SECONDS = 20.0


def shrunk(given: Draw, differs: Callable[[Draw], bool], seconds: float = SECONDS) -> Draw:
    """``given`` with plainer layouts, fewer elements and plainer values, as long as it ``differs``."""
    end, progress = time.monotonic() + seconds, True
    while progress and time.monotonic() < end:
        progress = False
        for changes in (_plainer_layouts, _shorter, _plainer_values):
            found = _taken(given, changes, differs, end)
            progress, given = progress or found is not given, found
    return given


def _taken(given: Draw, changes: Callable[[Draw], Iterator[Draw]], differs: Any, end: float) -> Draw:
    """All changes of one kind that can be made, each tried on what the ones before left."""
    again = True
    while again:
        again = False
        for smaller in changes(given):
            if time.monotonic() > end:
                return given
            if differs(smaller):
                given, again = smaller, True
                break
    return given


def _plainer_layouts(given: Draw) -> Iterator[Draw]:
    if all(w == PLAIN for w in given.layouts):
        return
    yield replace(given, layouts=(PLAIN,) * len(given.layouts))
    for k, layout in enumerate(given.layouts):
        if layout == PLAIN:
            continue
        yield with_operand(given, k, layout=PLAIN)
        ndim = np.ndim(given.operands[k])
        plainer = [layout._replace(offset=0), layout._replace(order=()), layout._replace(steps=(1,) * ndim)]
        for a, step in enumerate(layout.steps):
            before, after = layout.steps[:a], layout.steps[a + 1 :]
            plainer += [layout._replace(steps=(*before, other, *after)) for other in (1, abs(step))]
        for other in plainer:
            if _complexity(other) < _complexity(layout):
                yield with_operand(given, k, layout=other)


def _complexity(layout: Any) -> tuple[int, int]:
    moved = sum(k != a for k, a in enumerate(layout.order))
    steps = sum(0 if s == 1 else 1 + (s < 0) + abs(s) for s in layout.steps)
    return moved + steps + (layout.offset > 0), layout.offset


def _shorter(given: Draw) -> Iterator[Draw]:
    """Every axis of one length cut to a part of it, in all operands and shapes among the attributes; then only those
    that are as far from the last; then one alone."""
    arrays = {k: x for k, x in enumerate(given.operands) if isinstance(x, np.ndarray)}
    for n in sorted({n for x in arrays.values() for n in x.shape if n}, reverse=True):
        for keep in _parts(n):
            places = [(k, a - x.ndim) for k, x in arrays.items() for a, m in enumerate(x.shape) if m == n]
            yield _cut(given, n, keep, places, shapes=True)
            for axis in {a for _, a in places} if len({a for _, a in places}) > 1 else ():
                yield _cut(given, n, keep, [(k, a) for k, a in places if a == axis])
            for place in places if len(places) > 1 else ():
                yield _cut(given, n, keep, [place])


def _parts(n: int) -> Iterator[slice]:
    size = n // 2
    while size >= 1:
        starts = range(0, n - size + 1, max(size, (n - size) // 16 or 1))
        yield from (slice(s, s + size) for s in starts)
        size //= 2
    if n > 1:
        yield slice(0, n - 1)
        yield slice(1, n)
    yield slice(0, 0)


def _cut(given: Draw, n: int, keep: slice, places: Iterable[tuple[int, int]], shapes: bool = False) -> Draw:
    """With axes (operand, axis from the end) of length ``n`` cut, and with ``shapes`` such lengths among attributes."""
    operands, size = list(given.operands), keep.stop - keep.start
    for k, axis in places:
        operands[k] = operands[k][(..., keep, *[slice(None)] * (-1 - axis))].copy()
    attrs = tuple(
        tuple(size if m == n and shapes else m for m in a) if isinstance(a, tuple) and name == "shape" else a
        for name, a in zip(given.op.attribute_names, given.attrs, strict=False)
    )
    return replace(given, operands=tuple(operands), attrs=attrs)


def _plainer_values(given: Draw) -> Iterator[Draw]:
    for k, x in enumerate(given.operands):
        if not isinstance(x, np.ndarray) or not x.size:
            continue
        for candidate in _plainer(x):
            if _cost(candidate) < _cost(x):
                yield with_operand(given, k, array=candidate)


def _plainer(x: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    for value in (0, 1):
        yield np.full_like(x, value)
    if as_dtype(x.dtype).is_float:
        wide = x.astype(np.float64)
        with np.errstate(all="ignore"):
            yield np.where(np.isfinite(wide), 1.0, wide).astype(x.dtype)
            yield np.where(np.isfinite(wide), 0.0, wide).astype(x.dtype)
            yield np.where(np.isfinite(wide), wide, 1.0).astype(x.dtype)
            yield np.where(np.abs(wide) < 1e6, np.round(wide), wide).astype(x.dtype)
    if x.size <= 64:
        for place in np.ndindex(x.shape):
            for value in (0, 1):
                made = x.copy()
                made[place] = value
                yield made


def _cost(x: np.ndarray[Any, Any]) -> float:
    """Zeros are the plainest, then ones, whole numbers, others, infinities and NaN."""
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        ranks = [wide == 0, wide == 1, wide == np.round(wide), np.isfinite(wide)]
    return float(np.sum(np.select(ranks, [0, 1, 2, 3], 4) + (np.signbit(wide) & (wide <= 0)) * 0.5))
