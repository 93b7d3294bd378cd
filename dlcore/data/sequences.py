"""Sequences of several lengths as batches: padding, and batches of about one length each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import boolean, integer, integers, listed, shown
from dlcore.errors import ShapeError
from dlcore.random import drawn_seed

__all__ = ["LengthBuckets", "pad_sequences"]


def pad_sequences(sequences: Iterable[Any], length: int | None = None, value: float = 0) -> np.ndarray:
    """``sequences``, arrays (L, ...) that differ in their length alone, as one array (N, length, ...).

    What is missing at the end is ``value``. length: that of the longest by default. The dtype is that of the sequences.
    Raises ShapeError for a longer one, or where shapes differ otherwise.

    >>> dl.data.pad_sequences([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [4, 0, 0]])
    """
    arrays = [np.asarray(each) for each in listed(sequences, "pad_sequences: sequences", "sequences")]
    for k, array in enumerate(arrays):
        if array.ndim < 1 or (array.dtype.kind not in "biuf" and array.size):
            raise TypeError(f"pad_sequences: sequence {k} {shown(array)} is no array of numbers with axes")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ShapeError(f"pad_sequences: sequence {k} has shape {array.shape}, the first one {arrays[0].shape}")
    longest = max((len(array) for array in arrays), default=0)
    wanted = longest if length is None else integer(length, "pad_sequences: length", 0)
    if longest > wanted:
        k = next(k for k, array in enumerate(arrays) if len(array) > wanted)
        raise ShapeError(f"pad_sequences: sequence {k} has {len(arrays[k])} places, more than length {wanted}")
    filled = [array for array in arrays if len(array)]
    kind = np.result_type(*(array.dtype for array in filled)) if filled else np.dtype(np.int64)
    fill = np.asarray(value)
    if fill.ndim or fill.dtype.kind not in "biuf" or (kind.kind in "iu" and fill != fill.astype(kind)):
        raise ValueError(f"pad_sequences: value {shown(value)} is no {kind}")
    out = np.full((len(arrays), wanted, *(arrays[0].shape[1:] if arrays else ())), fill, kind)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


class LengthBuckets:
    """Batches of sequences of about one length each, so that little is padding: (rows, length) for each.

    ``lengths``: those of all sequences. ``edges``: the lengths to which sequences are padded, each to the next one that
    is not shorter; a recorded step is recorded once for each of them, not for every length. Sequences longer than the
    last edge are an error. drop_last: what does not fill a batch of ``batch_size`` rows is left out of this epoch;
    otherwise it is a smaller batch. shuffle: rows and batches come in a new order each epoch, which depends on ``seed``
    (None: drawn from dlcore's generator) and the number of the epoch alone.

    >>> buckets = dl.data.LengthBuckets([3, 9, 2, 4], batch_size=2, edges=[4, 10], shuffle=False, drop_last=False)
    >>> [(rows.tolist(), length) for rows, length in buckets]
    [([0, 2], 4), ([3], 4), ([1], 10)]
    """

    def __init__(
        self, lengths: Any, batch_size: int, edges: Sequence[int], shuffle: bool = True, seed: int | None = None,
        drop_last: bool = True,
    ):  # fmt: skip
        found = np.asarray(lengths)
        if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
            raise TypeError(f"LengthBuckets: lengths {shown(lengths)} are no vector of integers")
        self.edges = tuple(sorted(set(integers(edges, "LengthBuckets: edges"))))
        if not self.edges or self.edges[0] < 0:
            raise ValueError(f"LengthBuckets: edges {self.edges} are no lengths")
        if found.size and not 0 <= found.min() <= found.max() <= self.edges[-1]:
            k = int(np.flatnonzero((found < 0) | (found > self.edges[-1]))[0])
            last = self.edges[-1]
            raise ValueError(f"LengthBuckets: length {found[k]} at {k} is not within 0 and the last edge, {last}")
        self.batch_size = integer(batch_size, "LengthBuckets: batch_size", 1)
        self.shuffle = boolean(shuffle, "LengthBuckets: shuffle")
        self.drop_last = boolean(drop_last, "LengthBuckets: drop_last")
        self.seed = (drawn_seed() if self.shuffle else 0) if seed is None else integer(seed, "LengthBuckets: seed")
        self.epoch = 0
        at = np.searchsorted(self.edges, found)
        self._rows = [np.flatnonzero(at == k) for k in range(len(self.edges))]

    def _count(self, rows: np.ndarray) -> int:
        """How many batches the rows of one bucket make."""
        full, rest = divmod(len(rows), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return sum(map(self._count, self._rows))

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        batches = []
        for rows, edge in zip(self._rows, self.edges, strict=True):
            order, size = rng.permutation(rows) if self.shuffle else rows, self.batch_size
            batches += [(order[k * size : (k + 1) * size], edge) for k in range(self._count(rows))]
        for k in rng.permutation(len(batches)) if self.shuffle else range(len(batches)):
            yield batches[k]

    def __repr__(self) -> str:
        return f"LengthBuckets({len(self)} batches of {self.batch_size}, lengths {', '.join(map(str, self.edges))})"
