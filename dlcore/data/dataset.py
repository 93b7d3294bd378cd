"""Data sets: samples by index, and whole batches by one gather.

A data set has ``len(d)`` and ``d[i]`` (a tuple: inputs, then the target). One that also has ``gather(rows)`` gives a
whole batch by that; of any other, the samples are stacked one by one.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from dlcore import random
from dlcore._arguments import has, integer, items, number, shown
from dlcore._device import CPU, Device, default_device
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.errors import ShapeError
from dlcore.ops.gather import take

__all__ = ["Dataset", "ImageDataset", "Subset", "TensorDataset", "as_dataset", "gather", "random_split"]

_SPLIT = 1 << 22  # the "epoch" of random_split: a number that no training reaches


@runtime_checkable
class Dataset(Protocol):
    """What a data set must have."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """The sample at ``index``."""
        ...


class TensorDataset:
    """Arrays of one length, side by side: ``TensorDataset(x, y)[i]`` is ``(x[i], y[i])``.

    ``arrays``: NumPy arrays, Tensors, or sequences that NumPy understands. They are indexed together, by an integer, a
    slice or an array of integers. A subclass that changes samples on the way writes its own ``__getitem__`` (batches
    are then made sample by sample) or its own ``gather``.
    """

    def __init__(self, *arrays: Any):
        if not arrays:
            raise ValueError("TensorDataset: no arrays given")
        self.arrays = tuple(a if isinstance(a, Tensor | np.ndarray) else _as_array(a) for a in arrays)
        if any(not a.shape for a in self.arrays) or len({a.shape[0] for a in self.arrays}) != 1:
            raise ValueError(f"TensorDataset: lengths differ: shapes {', '.join(str(a.shape) for a in self.arrays)}")
        self._tensors: dict[Device, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return int(self.arrays[0].shape[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(a[index] for a in self.arrays)

    def on(self, device: Any = None) -> tuple[Tensor, ...]:
        """The arrays as Tensors on ``device``, moved there only once.

        On the CPU they share the arrays' memory, and changes in it are seen, except where an array is read-only, not
        contiguous or of another byte order: such a one is copied once, as all are to a GPU.
        """
        chosen = default_device() if device is None else as_device(device)
        if chosen not in self._tensors:
            self._tensors[chosen] = tuple(_on_device(a, chosen) for a in self.arrays)
        return self._tensors[chosen]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The arrays as Tensors on the default device."""
        return self.on()

    def gather(self, rows: Tensor | slice, device: Any = None) -> tuple[Tensor, ...]:
        """The samples ``rows`` as one batch on ``device``; those of a slice share the memory of the whole there."""
        if isinstance(rows, slice):
            return tuple(t[rows] for t in self.on(device))
        return tuple(take(t, rows) for t in self.on(rows.device if device is None else device))

    def __repr__(self) -> str:
        parts = (f"{a.shape} {getattr(a.dtype, 'name', a.dtype)}" for a in self.arrays)
        return f"{type(self).__name__}({', '.join(parts)})"


class ImageDataset(TensorDataset):
    """Images with labels: ``images`` (N, H, W) or (N, C, H, W), ``labels`` (N,) integers; ``classes``: their names."""

    def __init__(self, images: Any, labels: Any, classes: Sequence[str] | None = None):
        super().__init__(images, labels)
        names = None if classes is None else items(classes)
        if classes is not None and names is None:
            raise TypeError(f"ImageDataset: classes {shown(classes)} is not a sequence of names")
        self.classes = None if names is None else tuple(names)

    @property
    def images(self) -> Any:
        """The images, (N, H, W) or (N, C, H, W); write into them, or make another data set."""
        return self.arrays[0]

    @property
    def labels(self) -> Any:
        """The labels, (N,); write into them, or make another data set."""
        return self.arrays[1]


class Subset:
    """The samples of ``dataset`` at ``indices``, without a copy."""

    def __init__(self, dataset: Any, indices: Any):
        self.dataset = dataset = as_dataset(dataset, "Subset")
        self.indices = _array_of(indices, "Subset: indices")
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
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, where the data set has them."""
        return self.dataset.classes if has(self.dataset, "classes") else None

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def as_dataset(data: Any, name: str = "as_dataset") -> Any:
    """``data`` as a data set, for the function ``name``: what all of dlcore takes as one.

    A data set stays itself. An array, a Tensor or nested lists of numbers are its samples, and in a tuple arrays lie
    side by side: ``(inputs, targets)``. A list of tuples is a data set of these samples. Raises TypeError for anything
    else.
    """
    if isinstance(data, tuple):
        return TensorDataset(*data)
    if isinstance(data, Tensor | np.ndarray):
        return TensorDataset(data)
    if isinstance(data, list) and not (data and isinstance(data[0], tuple)):
        rows = [_array_of(row, f"{name}: sample") for row in data]
        if len({row.shape for row in rows}) > 1:
            raise TypeError(f"{name}: a list of samples of different shapes; give arrays as a tuple: (inputs, targets)")
        return TensorDataset(np.stack(rows) if rows and rows[0].ndim else data)
    if has(data, "__len__") and has(data, "__getitem__") and not isinstance(data, Mapping | str | bytes | type):
        return data
    raise TypeError(f"{name}: a data set, an array or a tuple (inputs, targets) expected, not {type(data).__name__}")


def random_split(dataset: Any, lengths: Sequence[float], seed: int = 0) -> list[Subset]:
    """Disjoint random parts of ``dataset``: ``random_split(d, [0.8, 0.2])`` or ``random_split(d, [55_000, 5_000])``.

    ``dataset``: a data set, or a tuple of arrays (inputs, targets), whose rows stay together.
    ``lengths``: integers that add up to len(dataset), or fractions that add up to 1 (parts are rounded down, and the
    samples that are left over go to the first parts, one each). The same ``seed`` gives the same parts.

    >>> [len(part) for part in dl.data.random_split(dl.data.load_dataset("digits"), [0.8, 0.2], seed=0)]
    [1438, 359]
    """
    dataset = as_dataset(dataset, "random_split")
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


def permutation(n: int, seed: int, epoch: int, device: Any = None) -> Tensor:
    """The order of n samples in an epoch: random, and the same on every device for the same ``seed`` and ``epoch``."""
    generator = random.Generator(seed, device)
    generator.state[1] = epoch << 40  # each epoch has offsets of its own: a permutation uses about n / 2 of them
    return random.permutation(n, generator=generator)


def flatten(dataset: Any) -> tuple[Any, np.ndarray | None]:
    """The data set below all Subsets, and which of its samples are meant (None: all, in order)."""
    rows = None
    while isinstance(dataset, Subset):
        rows = dataset.indices if rows is None else dataset.indices[rows]
        dataset = dataset.dataset
    return dataset, rows


def is_plain(dataset: Any) -> bool:
    """Whether ``dataset`` is arrays and nothing more; a subclass of the user's may change samples on the way."""
    own = type(dataset)
    return (
        isinstance(dataset, TensorDataset)
        and own.__getitem__ is TensorDataset.__getitem__
        and own.gather is TensorDataset.gather
    )


def gather(
    dataset: Any, rows: Tensor | slice, device: Any = None, name: str = "gather"
) -> tuple[Tensor, ...]:
    """The samples ``rows`` of ``dataset`` as a batch of Tensors on ``device`` (None: wherever they are).

    The data set's own ``gather`` makes it; where there is none, the samples are stacked one by one. ``name``: who asks,
    for errors about samples that are not alike.
    """
    if is_plain(dataset):
        return cast("tuple[Tensor, ...]", dataset.gather(rows, device))
    own = dataset.gather if has(dataset, "gather") else None
    inherited = isinstance(dataset, TensorDataset) and type(dataset).gather is TensorDataset.gather
    if own is not None and not inherited:
        batch = cast("tuple[Tensor, ...]", own(rows))
        return batch if device is None else tuple(t.to(device) for t in batch)
    indices = range(len(dataset))[rows] if isinstance(rows, slice) else np.asarray(rows)
    samples = [dataset[operator.index(i)] for i in indices]
    parts = [s if isinstance(s, tuple) else (s,) for s in samples]
    lengths = sorted({len(part) for part in parts})
    if len(lengths) > 1:
        raise ValueError(f"{name}: the samples of a batch have {' and '.join(map(str, lengths))} parts")
    columns = (_stacked(column, f"{name}: part {k} of ") for k, column in enumerate(zip(*parts, strict=True)))
    return tuple(tensor(column, device=device) for column in columns)


def _stacked(values: Sequence[Any], where: str) -> np.ndarray:
    """One part of all samples of a batch, which must have one shape."""
    arrays = [_array_of(value, f"{where}a sample") for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        raise ShapeError(f"{where}the samples has shapes {found}; give them one shape")
    return np.stack(arrays)


def _as_array(values: Any) -> np.ndarray:
    """An array of nested lists; Python floats are float32, as everywhere in dlcore."""
    array = _array_of(values, "TensorDataset: array")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _array_of(values: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise TypeError(f"{where} {shown(values)} is not an array of numbers") from None


def _on_device(array: Any, device: Device) -> Tensor:
    if isinstance(array, Tensor):
        return array.to(device).contiguous()
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return from_numpy(array) if device is CPU and array.flags.writeable else tensor(array, device=device)
