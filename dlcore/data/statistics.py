"""Statistics over the inputs of a data set, of which a part at a time is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dlcore._tensor import tensor
from dlcore.data.sources import as_dataset
from dlcore.data.views import flatten, gather

__all__ = ["inputs_of", "moments", "pieces"]

_ROWS, _VALUES = 4096, 1 << 18  # at most so many samples, and values of them, are in memory at a time: a few MB


def pieces(dataset: Any, name: str) -> Iterator[tuple[np.ndarray, ...]]:
    """All samples, a part of them at a time as arrays of inputs and targets."""
    base, rows = flatten(dataset)
    start, count = 0, 1
    while start < len(dataset):
        window = slice(start, min(start + count, len(dataset)))
        index = window if rows is None else tensor(rows[window], device="cpu")
        batch = tuple(np.asarray(part) for part in gather(base, index, "cpu", name))
        yield batch
        start = window.stop
        count = max(1, min(_ROWS, _VALUES * (window.stop - window.start) // max(sum(part.size for part in batch), 1)))


def inputs_of(dataset: Any, prepared: bool = True) -> Iterator[np.ndarray]:
    """The inputs of all samples, a part at a time; ``prepared``: after what the data set does to them."""
    change = getattr(dataset, "preprocessing", None) if prepared else None
    for x, *_ in pieces(dataset, "inputs_of"):
        yield x if change is None else change(x)


def moments(
    dataset: Any,
    where: str,
    axes_of: Callable[[int], tuple[int, ...]],
    missing: bool = False,
    left: Sequence[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the inputs over ``axes_of(number of axes)``, which are kept with length 1, in float64.

    missing: NaN is left out. Otherwise NaN is an error, as infinity always is. left: columns of a table that are left
    out: mean and deviation 0. ``where``: the function that asks.
    Every pass is about a number near all samples, so that nothing cancels, and a constant deviates by exactly 0.
    """
    dataset = as_dataset(dataset, f"{where}: dataset")
    if not len(dataset):
        raise ValueError(f"{where}: the data set is empty")
    first = next(_numbers(dataset, left))
    if first.size == 0:
        raise ValueError(f"{where}: the samples are empty: a batch has shape {first.shape}")
    axes = axes_of(first.ndim)
    origin = _origin(first, axes)
    with np.errstate(invalid="ignore", over="ignore"):  # of infinities; they are told below
        mean = origin + _mean(_numbers(dataset, left), 1, origin, axes, missing)
        variance = _mean(_numbers(dataset, left), 2, mean, axes, missing)
    if not np.isfinite(variance).all():
        found = _bad_values(_numbers(dataset, left), missing)
        raise ValueError(f"{where}: the data contain NaN or infinity: {found} of {len(dataset)} samples")
    return mean, np.sqrt(variance)


def _origin(first: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A value of the data for each of the statistics."""
    kept = [n for k, n in enumerate(first.shape) if k not in axes]
    values = np.moveaxis(first, axes, range(len(axes))).reshape(-1, *kept)
    found = np.take_along_axis(values, np.isfinite(values).argmax(0)[None], 0)[0]
    shape = tuple(1 if k in axes else n for k, n in enumerate(first.shape))
    return np.where(np.isfinite(found), found, 0.0).reshape(shape)


def _numbers(dataset: Any, left: Sequence[int]) -> Iterator[np.ndarray]:
    """The inputs in float64, in which the columns ``left`` are 0."""
    for part in inputs_of(dataset):
        x = part.astype(np.float64)
        if left:
            x[:, left] = 0.0
        yield x


def _mean(parts: Iterable[np.ndarray], power: int, about: Any, axes: tuple[int, ...], missing: bool) -> np.ndarray:
    """The mean of (x - about)^power over ``axes``; of nothing at all it is 0."""
    total: Any = 0.0
    count: Any = 0
    for part in parts:
        x = (part - about) ** power
        there = ~np.isnan(x) if missing else np.ones(1, bool)
        total = total + np.where(there, x, 0.0).sum(axis=axes, keepdims=True)
        count = count + (there.sum(axis=axes, keepdims=True) if missing else math.prod(x.shape[k] for k in axes))
    return np.asarray(total) / np.maximum(count, 1)


def _bad_values(parts: Iterable[np.ndarray], missing: bool) -> str:
    """How many values no statistic can be taken of, in how many samples."""
    values = samples = 0
    for part in parts:
        bad = (np.isinf(part) if missing else ~np.isfinite(part)).reshape(len(part), -1)
        values, samples = values + int(bad.sum()), samples + int(bad.any(axis=1).sum())
    return f"{values} values in {samples}"
