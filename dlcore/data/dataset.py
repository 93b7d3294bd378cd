"""Data sets: samples by index, and whole batches by one gather.

A data set has ``len(d)`` and ``d[i]`` (a tuple: inputs, then the target; or a dict of such parts). One that also has
``gather(rows)`` gives a whole batch by that; of any other, the samples are stacked one by one. What its inputs pass
before any transform, it tells by an attribute ``preprocessing``.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dlcore._device import CPU, Device, default_device
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.data.columns import column, dtype_name, native
from dlcore.dtypes import DType
from dlcore.errors import ShapeError
from dlcore.ops.gather import take

__all__ = ["Dataset", "TensorDataset"]


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

    ``arrays``: NumPy arrays, Tensors, pandas frames and series, or sequences that NumPy understands. They are indexed
    together, by an integer, a slice or an array of integers. Raises TypeError for arrays that do not hold numbers,
    ShapeError for other lengths. A subclass that changes samples on the way writes its own ``__getitem__`` (batches are
    then made sample by sample) or its own ``gather``.

    An array that is mapped from a file (``np.load(path, mmap_mode="r")``) stays there: batches are read from it as they
    are needed, by a thread that is one batch ahead, and never is the whole in memory.
    """

    names: tuple[str, ...] | None = None
    """The names of the arrays, where they came with some."""
    classes: tuple[str, ...] | None = None
    """The names of the classes, where they are known."""
    groups: np.ndarray | None = None
    """To which group each sample belongs, where that is known: a split by groups keeps those of one group together."""
    preprocessing: Any = None
    """What the inputs pass before any transform; None where they are taken as they are."""

    def __init__(self, *arrays: Any):
        self._hold(arrays, f"{type(self).__name__}: arrays")

    @classmethod
    def named(cls, arrays: Sequence[Any], where: str, names: Sequence[str] | None = None) -> TensorDataset:
        """The data set of ``arrays`` for the argument ``where`` of a function, which errors name."""
        made = cls.__new__(cls)
        made._hold(arrays, where)
        made.names = None if names is None else tuple(names)
        return made

    def _hold(self, arrays: Sequence[Any], where: str) -> None:
        if not arrays:
            raise ValueError(f"{where}: no arrays given")
        several = len(arrays) > 1
        self.arrays = tuple(column(a, f"{where}[{k}]" if several else where) for k, a in enumerate(arrays))
        if any(not a.shape for a in self.arrays) or len({a.shape[0] for a in self.arrays}) != 1:
            raise ShapeError(f"{where}: lengths differ: shapes {', '.join(str(a.shape) for a in self.arrays)}")
        self.mapped = any(_is_mapped(a) for a in self.arrays)
        self._tensors: dict[Any, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return int(self.arrays[0].shape[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(a[index] for a in self.arrays)

    @property
    def parts(self) -> int:
        """How many parts a sample has."""
        return len(self.arrays)

    def on(self, device: Any = None, floating: DType | None = None, keep: int = 0) -> tuple[Tensor, ...]:
        """The arrays as Tensors on ``device``, moved there only once.

        On the CPU they share the arrays' memory, and changes in it are seen, except where an array is read-only, not
        contiguous, of another byte order or of a dtype that dlcore does not have (unsigned integers of more than 8 bits
        become int64): such a one is copied once, as all are to a GPU. floating: arrays of another floating-point dtype
        are cast to this one, all but the first ``keep``.
        """
        chosen = default_device() if device is None else as_device(device)
        key = (chosen, floating, keep if floating is not None else 0)
        if key not in self._tensors:
            whole = self._tensors.get((chosen, None, 0))
            self._tensors[key] = tuple(
                _on_device(a if whole is None else whole[k], chosen, None if k < keep else floating)
                for k, a in enumerate(self.arrays)
            )
        return self._tensors[key]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The arrays as Tensors on the default device."""
        return self.on()

    def select(self, tensors: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        """The samples at ``rows`` of the arrays as ``on`` gives them: inputs, which rows of these are meant, the rest.

        The inputs are those of all samples, so that one pass gathers and scales them; where rows is None, they are
        those of the batch already.
        """
        return tensors[0], rows, tuple(take(t, rows) for t in tensors[1:])

    def window(self, tensors: tuple[Tensor, ...], rows: slice) -> tuple[Tensor, ...]:
        """The samples of a slice of the arrays as ``on`` gives them, which share their memory."""
        return tuple(t[rows] for t in tensors)

    def gather(self, rows: Tensor | slice, device: Any = None) -> tuple[Tensor, ...]:
        """The samples ``rows`` as one batch on ``device``; those of a slice share the memory of the whole there."""
        if self.mapped:
            index = rows if isinstance(rows, slice) else np.asarray(rows)
            where = device if device is not None or isinstance(rows, slice) else rows.device
            return tuple(tensor(native(np.asarray(a[index])), device=where) for a in self.arrays)
        if isinstance(rows, slice):
            return self.window(self.on(device), rows)
        return tuple(take(t, rows) for t in self.on(rows.device if device is None else device))

    _indexing: Any = (__getitem__, gather)  # they belong together; a subclass of the user's replaces one of them

    def __repr__(self) -> str:
        parts = (f"{a.shape} {dtype_name(a)}" for a in self.arrays)
        return f"{type(self).__name__}({', '.join(parts)})"


def _is_mapped(array: Any) -> bool:
    """Whether an array is mapped from a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap.mmap)


def _on_device(array: Any, device: Device, floating: DType | None) -> Tensor:
    made: Tensor
    if isinstance(array, Tensor):
        made = array.to(device).contiguous()
    else:
        array = native(np.ascontiguousarray(array))
        made = from_numpy(array) if device is CPU and array.flags.writeable else tensor(array, device=device)
    return made.astype(floating) if floating is not None and made.dtype.is_float else made
