"""Views of data sets: some of the samples, or what their inputs pass; and whole batches of any data set."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from dlcore import random
from dlcore._arguments import has
from dlcore._tensor import Tensor, tensor
from dlcore.data.columns import array_of, column, native, ordered
from dlcore.data.dataset import TensorDataset
from dlcore.data.sources import as_dataset
from dlcore.errors import ShapeError

__all__ = ["Prepared", "Subset", "flatten", "gather", "is_arrays", "is_plain", "parts_of", "permutation", "targets"]


class _View:
    """Base of data sets that show the samples of another one, ``dataset``, and tell what it tells of them."""

    dataset: Any

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, where the data set has them."""
        return getattr(self.dataset, "classes", None)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the parts of a sample, where the data set has them."""
        return getattr(self.dataset, "names", None)

    @property
    def preprocessing(self) -> Any:
        """What the inputs pass before any transform."""
        return getattr(self.dataset, "preprocessing", None)


class Subset(_View):
    """The samples of ``dataset`` at ``indices``, without a copy."""

    def __init__(self, dataset: Any, indices: Any):
        self.dataset = dataset = as_dataset(dataset, "Subset: dataset")
        self.indices = array_of(indices, "Subset: indices")
        if self.indices.size == 0:
            self.indices = self.indices.astype(np.int64)
        if self.indices.ndim != 1 or self.indices.dtype.kind not in "iu":
            raise TypeError(
                f"Subset: indices must be a vector of integers, not {self.indices.shape} {self.indices.dtype}"
            )
        n = len(dataset)
        if self.indices.size and not (-n <= self.indices.min() and self.indices.max() < n):
            raise IndexError(f"Subset: indices run to {self.indices.max()}, the data set has {n} samples")
        self.indices = np.where(self.indices < 0, self.indices + n, self.indices).astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        rows = self.indices[np.asarray(index) if isinstance(index, Tensor) else index]
        return self.dataset[int(rows) if rows.ndim == 0 else rows]

    @property
    def groups(self) -> np.ndarray | None:
        """The groups of these samples, where the data set has them."""
        whole = getattr(self.dataset, "groups", None)
        return None if whole is None else np.asarray(whole)[self.indices]

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


class Prepared(_View):
    """The samples of ``dataset``, whose inputs pass ``preprocessing`` before any transform."""

    def __init__(self, dataset: Any, preprocessing: Any):
        self.dataset, self._preprocessing = dataset, preprocessing

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    @property
    def preprocessing(self) -> Any:
        """What the inputs pass before any transform."""
        return self._preprocessing

    @property
    def groups(self) -> np.ndarray | None:
        """The groups of the samples, where the data set has them."""
        return getattr(self.dataset, "groups", None)

    def __repr__(self) -> str:
        return repr(self.dataset)


def permutation(n: int, seed: int, epoch: int, device: Any = None) -> Tensor:
    """The order of n samples in an epoch: random, and the same on every device for the same ``seed`` and ``epoch``."""
    generator = random.Generator(seed, device)
    generator.state[1] = epoch << 40  # each epoch has offsets of its own: a permutation uses about n / 2 of them
    return random.permutation(n, generator=generator)


def flatten(dataset: Any) -> tuple[Any, np.ndarray | None]:
    """The data set below all views, and which of its samples are meant (None: all, in order)."""
    rows = None
    while isinstance(dataset, _View):
        if isinstance(dataset, Subset):
            rows = dataset.indices if rows is None else dataset.indices[rows]
        dataset = dataset.dataset
    return dataset, rows


def is_plain(dataset: Any) -> bool:
    """Whether the samples of ``dataset`` are gathered from arrays on the device, by operations alone.

    A subclass of the user's may change samples on the way, and arrays that are mapped from files stay there.
    """
    return is_arrays(dataset) and not dataset.mapped


def is_arrays(dataset: Any) -> bool:
    """Whether a data set is one of dlcore's own, whose ``__getitem__`` and ``gather`` give the same samples."""
    own = type(dataset)
    return isinstance(dataset, TensorDataset) and (own.__getitem__, own.gather) == own._indexing


def gather(
    dataset: Any, rows: Tensor | slice, device: Any = None, name: str = "gather"
) -> tuple[Tensor, ...]:
    """The samples ``rows`` of ``dataset`` as a batch of Tensors on ``device`` (None: wherever they are).

    The data set's own ``gather`` makes it; where there is none, the samples are stacked one by one. ``name``: who asks,
    for errors about samples that are not alike.
    """
    if is_arrays(dataset):
        return cast("tuple[Tensor, ...]", dataset.gather(rows, device))
    inherited = isinstance(dataset, TensorDataset) and type(dataset).gather is dataset._indexing[1]
    if has(dataset, "gather") and not inherited:
        batch = cast("tuple[Tensor, ...]", dataset.gather(rows))
        return batch if device is None else tuple(t.to(device) for t in batch)
    indices = range(len(dataset))[rows] if isinstance(rows, slice) else np.asarray(rows)
    parts = [parts_of(dataset[operator.index(i)]) for i in indices]
    lengths = sorted({len(part) for part in parts})
    if len(lengths) > 1:
        raise ValueError(f"{name}: the samples of a batch have {' and '.join(map(str, lengths))} parts")
    columns = (_stacked(column, f"{name}: part {k} of ") for k, column in enumerate(zip(*parts, strict=True)))
    return tuple(tensor(native(column), device=device) for column in columns)


def parts_of(sample: Any) -> tuple[Any, ...]:
    """The parts of a sample: of a tuple its items, of a dict its values, the target last."""
    if isinstance(sample, Mapping):
        return tuple(sample[key] for key in ordered(sample))
    return sample if isinstance(sample, tuple) else (sample,)


def targets(dataset: Any, where: str) -> np.ndarray:
    """The targets of all samples, the last part of each, as a NumPy array."""
    base, rows = flatten(dataset)
    if getattr(base, "parts", 2) < 2:
        raise ValueError(f"{where} has inputs but no targets: {base!r}")
    if isinstance(base, TensorDataset) and type(base).__getitem__ is TensorDataset.__getitem__:
        found = np.asarray(base.arrays[-1])
        return found if rows is None else found[rows]
    if has(base, "targets"):  # a data set of files, which need not be read for this
        found = column(base.targets, f"{where}.targets")
        return np.asarray(found) if rows is None else np.asarray(found)[rows]
    return _stacked([parts_of(dataset[i])[-1] for i in range(len(dataset))], f"{where}: the last part of ")


def _stacked(values: Sequence[Any], where: str) -> np.ndarray:
    """One part of all samples of a batch, which must have one shape."""
    arrays = [array_of(value, f"{where}a sample") for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        raise ShapeError(f"{where}the samples has shapes {found}; give them one shape")
    return column(np.stack(arrays), f"{where}the samples")
