"""`as_dataset`: what every function of dlcore takes as data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from dlcore._arguments import has, shown
from dlcore._tensor import Tensor
from dlcore.data.columns import array_of, is_frame, ordered
from dlcore.data.dataset import TensorDataset

__all__ = ["as_dataset", "inputs_and_targets"]


def as_dataset(data: Any, where: str = "as_dataset: data") -> Any:
    """``data`` as a data set, for the argument ``where`` of a function: what all of dlcore takes as one.

    =======================================  ===========================================================================
    a data set                               stays itself: what has ``len(d)`` and ``d[i]``
    an array, a Tensor, nested lists         the samples
    a tuple                                  arrays side by side: ``(inputs, targets)``, or ``((a, b), targets)``
    a dict                                   arrays side by side by name; one named y, target(s) or label(s) comes last
    a pandas frame or series                 the rows of its columns, which must be numbers
    a list, an iterator or a generator       samples: arrays, tuples (inputs, targets), or dicts; it is read to its end
    a `DataLoader`                           its data set, and its transform; batches and order are the caller's
    =======================================  ===========================================================================

    Raises TypeError for anything else, ShapeError for arrays of different lengths.

    >>> dl.data.as_dataset({"label": np.arange(3), "x": np.zeros((3, 2))})
    TensorDataset((3, 2) float64, (3,) int64)
    """
    if has(data, "as_dataset") and not isinstance(data, type):
        return data.as_dataset()
    if isinstance(data, tuple | Mapping):
        return _side_by_side(dict(zip(data._fields, data, strict=True)) if hasattr(data, "_fields") else data, where)
    if isinstance(data, Tensor | np.ndarray) or is_frame(data) or hasattr(type(data), "__array__"):
        return TensorDataset.named((data,), where)
    if isinstance(data, list):
        return _of_samples(data, where)
    if isinstance(data, type | str | bytes | os.PathLike | Set):
        hint = "; load_dataset reads files and folders" if isinstance(data, str | os.PathLike) else ""
        raise TypeError(f"{where}: {shown(data)} is not data{hint}")
    if has(data, "__len__") and has(data, "__getitem__"):
        return data
    if has(data, "__iter__"):
        if has(data, "batch_size") or has(data, "dataset"):
            raise TypeError(
                f"{where}: a {type(data).__name__} gives batches one after another, not samples by index; "
                "give the data set that it reads"
            )
        return _of_samples(list(data), where)
    raise TypeError(f"{where}: a data set, an array or a tuple (inputs, targets) expected, not {shown(data)}")


def inputs_and_targets(data: Any, where: str) -> Any:
    """``data`` as a data set whose samples have a target, of which there is at least one; raises where it is none."""
    if isinstance(data, Tensor | np.ndarray):
        raise TypeError(f"{where}: a data set or a tuple (inputs, targets) expected, not {shown(data)}")
    dataset = as_dataset(data, where)
    if not len(dataset):
        used = "; an iterator gives its samples only once" if has(data, "__next__") else ""
        raise ValueError(f"{where} is empty{used}")
    parts = getattr(dataset, "parts", None)
    if parts is None and isinstance(dataset, Sequence):  # of samples; a data set of the user's may be slow to give one
        parts = len(dataset[0]) if isinstance(dataset[0], tuple | Mapping) else 1
    if parts is not None and parts < 2:
        frame = "; give (frame.drop(columns=name), frame[name])" if is_frame(data) else ""
        raise ValueError(f"{where} has inputs but no targets: {dataset!r}{frame}")
    return dataset


def _side_by_side(data: Any, where: str) -> TensorDataset:
    """The arrays of a tuple or a dict, in which some may be grouped in tuples and dicts of their own."""
    names = ordered(data) if isinstance(data, Mapping) else range(len(data))
    arrays: list[Any] = []
    for name in names:
        part = data[name]
        if isinstance(part, Mapping):
            arrays += [part[key] for key in ordered(part)]
        elif isinstance(part, tuple) and part and all(isinstance(p, np.ndarray | Tensor) for p in part):
            arrays += part
        else:
            arrays.append(part)
    flat = isinstance(data, Mapping) and len(arrays) == len(data)
    return TensorDataset.named(arrays, where, [str(name) for name in names] if flat else None)


def _of_samples(samples: list[Any], where: str) -> Any:
    """A list of samples as a data set: itself where they have parts, else one array of them."""
    if samples and isinstance(samples[0], tuple | Mapping):
        return samples
    rows = [array_of(row, f"{where}: sample") for row in samples]
    if len({row.shape for row in rows}) > 1:
        raise TypeError(f"{where}: a list of samples of different shapes; give arrays as a tuple: (inputs, targets)")
    return TensorDataset.named((np.stack(rows) if rows and rows[0].ndim else samples,), where)
