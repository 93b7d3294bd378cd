"""Splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._arguments import integer, items, number, shown
from dlcore.data.sources import as_dataset
from dlcore.data.views import Subset, permutation

__all__ = ["random_split"]

_SPLIT = 1 << 22  # the "epoch" of random_split: a number that no training reaches


def random_split(dataset: Any, lengths: Sequence[float], seed: int = 0) -> list[Subset]:
    """Disjoint random parts of ``dataset``: ``random_split(d, [0.8, 0.2])`` or ``random_split(d, [55_000, 5_000])``.

    ``dataset``: a data set, or a tuple of arrays (inputs, targets), whose rows stay together.
    ``lengths``: integers that add up to len(dataset), or fractions that add up to 1 (parts are rounded down, and the
    samples that are left over go to the first parts, one each). The same ``seed`` gives the same parts.

    >>> [len(part) for part in dl.data.random_split(dl.data.load_dataset("digits"), [0.8, 0.2], seed=0)]
    [1438, 359]
    """
    dataset = as_dataset(dataset, "random_split: dataset")
    n = len(dataset)
    sizes = _sizes(n, lengths)
    order = np.asarray(permutation(n, seed, _SPLIT))
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def _sizes(n: int, lengths: Sequence[float]) -> list[int]:
    given, where = items(lengths), "random_split: length"
    if given is None:
        raise TypeError(f"random_split: lengths {shown(lengths)} is not a sequence of numbers")
    lengths = [integer(x, where) if isinstance(x, int | np.integer) else number(x, where) for x in given]
    if not lengths or any(not x >= 0 for x in lengths):
        raise ValueError(f"random_split: lengths must be positive numbers, not {shown(lengths)}")
    if all(isinstance(x, int) for x in lengths) and sum(lengths) != 1:
        if sum(lengths) != n:
            raise ValueError(
                f"random_split: lengths {shown(lengths)} add up to {shown(sum(lengths))}, the data set has {n} samples"
            )
        return [int(x) for x in lengths]
    total = float(sum(lengths))
    if abs(total - 1) > 1e-6:
        raise ValueError(f"random_split: fractions {shown(lengths)} add up to {total:g}, not to 1")
    sizes = [int(n * x / total + 1e-9) for x in lengths]
    for i in range(n - sum(sizes)):
        sizes[i % len(sizes)] += 1
    return sizes
