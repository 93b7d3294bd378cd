"""Splits: random, by class, by group, and into folds; and samples that are on both sides of one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from dlcore._arguments import boolean, integer, items, number, shown
from dlcore._notes import note
from dlcore._tensor import Tensor
from dlcore.data.columns import array_of, is_frame, values_of
from dlcore.data.dataset import TensorDataset
from dlcore.data.sources import as_dataset
from dlcore.data.statistics import inputs_of
from dlcore.data.views import Subset, flatten, is_plain, permutation, targets
from dlcore.errors import ShapeError
from dlcore.random import drawn_seed

__all__ = ["equal_samples", "k_fold", "random_split", "shared_samples"]

_SPLIT = 1 << 22  # the "epoch" of a split: a number that no training reaches
_CHEAP = 1 << 28  # bytes of inputs that are compared without being asked: a quarter of a second or so


def random_split(
    dataset: Any,
    lengths: Sequence[float],
    seed: int | None = 0,
    *,
    stratify: Any = False,
    groups: Any = None,
    equal: bool | None = None,
) -> list[Subset]:
    """Disjoint random parts of ``dataset``: ``random_split(d, [0.8, 0.2])`` or ``random_split(d, [55_000, 5_000])``.

    ``dataset``: whatever `as_dataset` takes; the rows of arrays in a tuple stay together. ``lengths``: integers that
    add up to len(dataset), or fractions that add up to 1 (parts are rounded down, and the samples that are left over go
    to the first parts, one each). The same ``seed`` gives the same parts; None draws one from dlcore's generator.

    stratify: every class has its share in every part, to within one sample: True takes the targets, which must be
    integers, as classes; else an array of a class for each sample. groups: an array of a group for each sample (or
    True: those that the data set knows); the samples of a group stay in one part, and parts are as near to ``lengths``
    as whole groups allow. equal: whether to look for samples with equal inputs in different parts, which are then told
    by a RuntimeWarning with their number (default: where the data are arrays in memory of no more than 256 MB).

    >>> [len(part) for part in dl.data.random_split(dl.data.load_dataset("digits"), [0.8, 0.2], seed=0)]
    [1438, 359]
    """
    name = "random_split"
    dataset = as_dataset(dataset, f"{name}: dataset")
    sizes = _sizes(len(dataset), lengths)
    order = _order(len(dataset), seed, name)
    classes, members = _divisions(dataset, stratify, groups, name)
    if members is not None:
        part = _by_group(members, np.asarray(sizes, float), order, False, name)
    elif classes is not None:
        part = _by_class(classes, sizes, order)
        _warn_of_missing_classes(classes, part, [k for k, size in enumerate(sizes) if size], dataset)
    else:
        part = np.empty(len(dataset), np.int64)
        part[order] = np.repeat(np.arange(len(sizes)), sizes)
    place = np.empty(len(dataset), np.int64)
    place[order] = np.arange(len(dataset))
    parts = [np.flatnonzero(part == k) for k in range(len(sizes))]
    parts = [rows[np.argsort(place[rows])] for rows in parts]
    _warn_of_equal_samples(dataset, part, equal, name, "parts")
    return [Subset(dataset, rows) for rows in parts]


def k_fold(
    dataset: Any,
    k: int = 5,
    seed: int | None = 0,
    *,
    stratify: Any = False,
    groups: Any = None,
    equal: bool | None = None,
) -> list[tuple[Subset, Subset]]:
    """The k pairs (training, validation) of k-fold cross-validation; each sample is in one validation part.

    The folds are random and of one size, to within one sample. ``seed``, ``stratify``, ``groups``, ``equal``: as in
    `random_split`; with ``stratify`` every class has its share in each fold to within one sample, with ``groups`` folds
    are as equal as whole groups allow. Raises ValueError where a class has fewer samples than there are folds, or where
    there are fewer samples or groups than folds.

    >>> [(len(train), len(held_out)) for train, held_out in dl.data.k_fold(range(5), 2)]
    [(2, 3), (3, 2)]
    """
    name = "k_fold"
    dataset, k = as_dataset(dataset, f"{name}: dataset"), integer(k, f"{name}: k", 2)
    n = len(dataset)
    if k > n:
        raise ValueError(f"{name}: {k} folds of {n} samples")
    order = _order(n, seed, name)
    classes, members = _divisions(dataset, stratify, groups, name)
    if members is not None:
        fold = _by_group(members, np.full(k, n / k), order, True, name)
    elif classes is not None:
        counts = np.bincount(classes)
        if counts[counts > 0].min() < k:
            few = int(np.flatnonzero((counts > 0) & (counts < k))[0])
            raise ValueError(f"{name}: class {_called(few, dataset)} has {counts[few]} samples for {k} folds")
        fold = np.empty(n, np.int64)
        fold[order[np.argsort(classes[order], kind="stable")]] = np.arange(n) % k
    else:
        fold = np.empty(n, np.int64)
        fold[order] = np.arange(n) % k
    _warn_of_equal_samples(dataset, fold, equal, name, "folds")
    rows = [(order[fold[order] != i], order[fold[order] == i]) for i in range(k)]
    return [(Subset(dataset, train), Subset(dataset, held_out)) for train, held_out in rows]


def equal_samples(dataset: Any) -> np.ndarray:
    """A number for each sample, the same for samples whose inputs are equal, byte for byte: int64 (N,).

    Given as ``groups`` to `random_split` or `k_fold`, it keeps equal samples on one side.

    >>> dl.data.equal_samples(np.array([[1.0], [2.0], [1.0]]))
    array([0, 1, 0])
    """
    dataset = as_dataset(dataset, "equal_samples: dataset")
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in _keys(dataset)], np.int64)


def shared_samples(first: Any, second: Any) -> int:
    """How many samples of ``second`` have inputs that are equal, byte for byte, to those of a sample of ``first``."""
    seen = set(_keys(as_dataset(first, "shared_samples: first")))
    return sum(key in seen for key in _keys(as_dataset(second, "shared_samples: second")))


def _keys(dataset: Any) -> list[bytes]:
    """The bytes of the inputs of all samples, or a hash of 128 bits of more than 16 of them."""
    keys: list[bytes] = []
    for part in inputs_of(dataset, prepared=False):
        rows = np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8).reshape(len(part), -1)
        raw, width = rows.tobytes(), rows.shape[1]
        pieces = (raw[i : i + width] for i in range(0, len(raw), width)) if width else [b""] * len(part)
        keys += pieces if width <= 16 else (blake2b(piece, digest_size=16).digest() for piece in pieces)
    return keys


def _order(n: int, seed: int | None, name: str) -> np.ndarray:
    """A random order of n samples."""
    chosen = drawn_seed() if seed is None else integer(seed, f"{name}: seed")
    return np.asarray(permutation(n, chosen, _SPLIT, "cpu"))


def _divisions(dataset: Any, stratify: Any, groups: Any, name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The classes and the groups of all samples, numbered from 0, or None where they are not asked for."""
    classes = members = None
    if not (stratify is False or stratify is None):
        if isinstance(stratify, bool | int | np.bool_) and boolean(stratify, f"{name}: stratify"):
            found = targets(dataset, f"{name}: dataset")
            if found.ndim != 1 or found.dtype.kind not in "iub":
                raise TypeError(
                    f"{name}: stratify=True needs one integer a sample as target, not {shown(found)}; "
                    "give an array of a class for each sample"
                )
            classes = np.unique(found, return_inverse=True)[1]
        else:
            classes = _numbered(stratify, len(dataset), f"{name}: stratify")
    if groups is not None and groups is not False:
        known = getattr(dataset, "groups", None) if groups is True else groups
        if known is None:
            raise ValueError(f"{name}: groups=True, and the data set knows of no groups; give one for each sample")
        members = _numbered(known, len(dataset), f"{name}: groups")
    if classes is not None and members is not None:
        raise ValueError(f"{name}: stratify and groups are both given; only one of them can be kept to")
    return classes, members


def _numbered(values: Any, n: int, where: str) -> np.ndarray:
    """The number, from 0, of the distinct value that each sample has."""
    if is_frame(values):
        values = values_of(values)
    array = np.asarray(values) if isinstance(values, Tensor) else array_of(values, where)
    if array.shape != (n,):
        raise ShapeError(f"{where}: one value for each of {n} samples expected, not an array of shape {array.shape}")
    return np.unique(array, return_inverse=True)[1]


def _by_class(classes: np.ndarray, sizes: Sequence[int], order: np.ndarray) -> np.ndarray:
    """The part of each sample: parts of ``sizes``, in which every class has its share to within one sample.

    Each share is rounded down; which of them get one sample more, so that all sums are right, is a matrix of zeros and
    ones with given sums of rows and columns: the rows with the largest sums first, each gives to the columns that lack
    most (Gale 1957, Ryser 1957), of these to the ones that were rounded down most.
    """
    counts = np.bincount(classes)
    shares, remainders = np.divmod(np.outer(counts, sizes), max(sum(sizes), 1))
    lacking = np.asarray(sizes) - shares.sum(0)
    more = counts - shares.sum(1)
    for c in np.argsort(-more, kind="stable"):
        to = np.lexsort((-remainders[c], -lacking))[: more[c]]
        shares[c, to] += 1
        lacking[to] -= 1
    part = np.empty(len(order), np.int64)
    line = order[np.argsort(classes[order], kind="stable")]  # class by class
    part[line] = np.concatenate([np.repeat(np.arange(len(sizes)), row) for row in shares])
    return part


def _by_group(members: np.ndarray, wanted: np.ndarray, order: np.ndarray, largest_first: bool, name: str) -> np.ndarray:
    """The part of each sample, the samples of one group in the same part.

    One group after another goes to the part that lacks the largest share of its samples. largest_first: makes parts of
    one size more equal; where sizes differ, it would send the large groups to the large parts.
    """
    counts, filled = np.bincount(members), wanted > 0
    if len(counts) < filled.sum():
        raise ValueError(f"{name}: {len(counts)} groups cannot be split into {filled.sum()} parts")
    names, first = np.unique(members[order], return_index=True)
    queue = names[np.argsort(first)]  # the groups in the random order in which their first samples come
    if largest_first:
        queue = queue[np.argsort(-counts[queue], kind="stable")]
    taken = np.zeros(len(wanted))
    of_group = np.empty(len(counts), np.int64)
    for done, group in enumerate(queue):
        empty = filled & (taken == 0)
        open_parts = empty if len(queue) - done <= empty.sum() else filled  # no part shall stay empty
        lacking = np.where(open_parts, 1 - taken / np.where(filled, wanted, 1), -np.inf)
        of_group[group] = int(np.argmax(lacking))
        taken[of_group[group]] += counts[group]
    return of_group[members]


def _warn_of_missing_classes(classes: np.ndarray, part: np.ndarray, parts: Sequence[int], dataset: Any) -> None:
    there = {(int(c), int(p)) for c, p in zip(classes, part, strict=True)}
    missing = sorted({c for c in map(int, np.unique(classes)) for p in parts if (c, p) not in there})
    if missing:
        few = ", ".join(f"{_called(c, dataset)} ({(classes == c).sum()} samples)" for c in missing[:4])
        text = f"random_split: some parts have no sample of class {few}{', ...' if len(missing) > 4 else ''}"
        note(text)


def _called(number: int, dataset: Any) -> str:
    names = getattr(dataset, "classes", None)
    return repr(names[number]) if names is not None and number < len(names) else str(number)


def _warn_of_equal_samples(dataset: Any, part: np.ndarray, equal: bool | None, name: str, places: str) -> None:
    """Tells of samples whose inputs are equal to those of a sample in another part."""
    if equal is None:
        base, _ = flatten(dataset)
        plain = isinstance(base, TensorDataset) and is_plain(base)
        equal = plain and sum(a.size * a.dtype.itemsize for a in base.arrays) <= _CHEAP
    if not boolean(equal, f"{name}: equal") or not len(dataset):
        return
    numbers = equal_samples(dataset)
    if len(np.unique(numbers)) == len(numbers):
        return
    pairs = np.unique(np.stack([numbers, part]), axis=1)
    split = np.flatnonzero(np.bincount(pairs[0]) > 1)  # numbers that are in several parts
    if split.size:
        count = int(np.isin(numbers, split).sum())
        note(
            f"{name}: {count} of {len(numbers)} samples have inputs that are equal to those of a sample in another of "
            f"the {places}; groups=dlcore.data.equal_samples(dataset) keeps them together, equal=False says nothing",
        )


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
