"""Statistics over the inputs of a data set, of which a part at a time is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlcore._tensor import tensor
from dlcore.data.sources import as_dataset
from dlcore.data.views import flatten, gather

__all__ = ["inputs_of", "moments"]

_ROWS = 4096  # as many samples are converted at a time: a few MB


def inputs_of(dataset: Any, prepared: bool = True) -> Iterator[np.ndarray]:
    """The inputs of all samples, a part at a time; ``prepared``: after what the data set does to them."""
    base, rows = flatten(dataset)
    change = getattr(dataset, "preprocessing", None) if prepared else None
    for start in range(0, len(dataset), _ROWS):
        window = slice(start, min(start + _ROWS, len(dataset)))
        index = window if rows is None else tensor(rows[window], device="cpu")
        x = gather(base, index, "cpu")[0]
        yield np.asarray(x if change is None else change(x))


def moments(
    dataset: Any, where: str, axes_of: Callable[[int], tuple[int, ...]], missing: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the inputs over ``axes_of(number of axes)``, which are kept with length 1, in float64.

    missing: NaN is left out. Otherwise NaN is an error, as infinity always is. ``where``: the function that asks.
    Every pass is about a number near all samples, so that nothing cancels, and a constant deviates by exactly 0.
    """
    dataset = as_dataset(dataset, f"{where}: dataset")
    if not len(dataset):
        raise ValueError(f"{where}: the data set is empty")
    first = next(inputs_of(dataset)).astype(np.float64)
    if first.size == 0:
        raise ValueError(f"{where}: the samples are empty: a batch has shape {first.shape}")
    axes = axes_of(first.ndim)
    origin = _origin(first, axes)
    mean = origin + _mean(dataset, 1, origin, axes, missing)
    variance = _mean(dataset, 2, mean, axes, missing)
    if not np.isfinite(variance).all():
        raise ValueError(f"{where}: the data contain NaN or infinity{_bad_values(dataset, missing)}")
    return mean, np.sqrt(variance)


def _origin(first: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A value of the data for each of the statistics."""
    kept = [n for k, n in enumerate(first.shape) if k not in axes]
    values = np.moveaxis(first, axes, range(len(axes))).reshape(-1, *kept)
    found = np.take_along_axis(values, np.isfinite(values).argmax(0)[None], 0)[0]
    shape = tuple(1 if k in axes else n for k, n in enumerate(first.shape))
    return np.where(np.isfinite(found), found, 0.0).reshape(shape)


def _mean(dataset: Any, power: int, about: Any, axes: tuple[int, ...], missing: bool) -> np.ndarray:
    """The mean of (x - about)^power over ``axes``; of nothing at all it is 0."""
    total: Any = 0.0
    count: Any = 0
    for part in inputs_of(dataset):
        x = (part.astype(np.float64) - about) ** power
        there = ~np.isnan(x) if missing else np.ones(1, bool)
        total = total + np.where(there, x, 0.0).sum(axis=axes, keepdims=True)
        count = count + (there.sum(axis=axes, keepdims=True) if missing else math.prod(x.shape[k] for k in axes))
    return np.asarray(total) / np.maximum(count, 1)


def _bad_values(dataset: Any, missing: bool) -> str:
    """How many values no statistic can be taken of."""
    values = samples = 0
    for part in inputs_of(dataset):
        bad = (np.isinf(part) if missing else ~np.isfinite(part)).reshape(len(part), -1)
        values, samples = values + int(bad.sum()), samples + int(bad.any(axis=1).sum())
    return f": {values} values in {samples} of {len(dataset)} samples" if values else ""
