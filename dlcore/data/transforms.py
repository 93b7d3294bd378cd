"""What is done to a batch of inputs before the model gets it.

Bytes (uint8) count as 0..1 wherever a batch of inputs is made, whatever its shape: a picture, its rows or its pixels in
one line give the same numbers. Whole numbers that are none of that, such as tokens, belong into another dtype.

A transform is any function of a batch. One that has ``config()`` and is listed in TRANSFORMS is saved with the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from dlcore import _json
from dlcore._arguments import items, number
from dlcore._tensor import Tensor, asarray, tensor
from dlcore.data.dataset import as_dataset, flatten, gather, is_plain
from dlcore.dtypes import float32, float64, int32, int64, uint8
from dlcore.errors import ShapeError
from dlcore.ops.scaling import take_scaled

__all__ = ["TRANSFORMS", "Normalize", "as_input", "from_config", "of_bytes", "scaling", "to_config"]

_ROWS = 4096  # as many samples are converted at a time when statistics are taken: a few MB
_UNIT = (0.0, 1 / 255)  # the offset and the scale by which bytes become 0..1


class Normalize:
    """(x - mean) / std, with 1 / std rounded once; bytes (uint8) count as 0..1.

    ``mean``, ``std``: one number, or one for each feature (samples of one axis) or channel (images (C, H, W)). A
    deviation of 0 counts as 1, so that a constant feature becomes 0. It works on Tensors and NumPy arrays, and gives
    the same bits as in batches that a loader fetches. Floats keep their dtype, other numbers become float32.

    >>> dl.data.Normalize(mean=[1.0, 4.0], std=[2.0, 0.0])(dl.tensor([[3.0, 4.0]]))
    tensor([[1., 0.]])
    """

    def __init__(self, mean: Any, std: Any):
        mean, std = _moment_of(mean, "mean"), _moment_of(std, "std")
        if mean.ndim > 1 or std.ndim > 1:
            raise ShapeError(f"Normalize: mean {mean.shape} and std {std.shape} must be numbers or vectors")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise ValueError("Normalize: mean and std must be finite, std not negative")
        if mean.ndim and std.ndim and mean.shape != std.shape:
            raise ShapeError(f"Normalize: mean has shape {mean.shape}, std {std.shape}")
        std[std == 0] = 1.0
        mean.flags.writeable = std.flags.writeable = False  # recorded steps and the cache rely on them
        self._mean, self._std = mean, std
        self._cache: dict[Any, tuple[Any, Any]] = {}

    @property
    def mean(self) -> np.ndarray:
        """What is subtracted, in float64; it cannot be changed."""
        return self._mean

    @property
    def std(self) -> np.ndarray:
        """What is divided by, in float64; it cannot be changed."""
        return self._std

    @classmethod
    def of(cls, dataset: Any) -> Self:
        """Normalisation by mean and deviation over the samples of ``dataset`` (bytes count as 0..1).

        ``dataset``: a data set, an array of samples, or a tuple (inputs, targets). The statistics are taken for each
        feature where a sample has one axis, for each channel of (C, H, W) images, and over everything for (H, W)
        images. Raises ValueError for NaN or infinities.
        """
        dataset = as_dataset(dataset, "Normalize.of")
        if not len(dataset):
            raise ValueError("Normalize.of: the data set is empty")
        # Each pass is about a number near all samples, so that nothing cancels, and a constant deviates by exactly 0.
        first = next(_chunks(dataset))
        origin = first[tuple(slice(1) if k in _axes(first) else slice(None) for k in range(first.ndim))]
        mean = origin + _moment(dataset, 1, origin)
        variance = _moment(dataset, 2, mean)
        if not np.isfinite(variance).all():
            raise ValueError("Normalize.of: the data contain NaN or infinity")
        shape = () if mean.size == 1 and mean.ndim != 2 else (-1,)
        return cls(mean.reshape(shape), np.sqrt(variance).reshape(shape))

    def __call__(self, x: Any) -> Any:
        """``x`` normalised: (N, ...) for a batch."""
        if not isinstance(x, Tensor):
            x = np.asarray(x)
            wider = {np.dtype(np.uint16): np.int64, np.dtype(np.uint32): np.int64, np.dtype(np.uint64): np.float64}
            result = self(asarray(x.astype(wider.get(x.dtype, x.dtype), copy=False))).numpy()
            return result.astype(np.float32, copy=False) if x.dtype == np.uint64 else result
        if _exceeds_float32(x):
            return self(x.astype(float64)).astype(float32)
        return take_scaled(x, *self.offset_and_scale(x))

    def offset_and_scale(self, x: Tensor) -> tuple[Any, Any]:
        """What ``take_scaled`` needs to normalise ``x``: mean and 1 / std, scaled to bytes where it holds them.

        They are computed in float64 and rounded once; numbers, or tensors that are the same in later calls.
        """
        unit, dtype = 255.0 if of_bytes(x) else 1.0, "float64" if x.dtype.name == "float64" else "float32"
        key = (unit, dtype, x.device)
        if key not in self._cache:
            offset, scale = (
                tensor(value, dtype, device=x.device) if value.ndim else float(value)
                for value in (self.mean * unit, 1 / (self.std * unit))
            )
            self._cache[key] = offset, scale
        return self._cache[key]

    def config(self) -> dict[str, Any]:
        """The arguments that make this transform again."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def __repr__(self) -> str:
        if self.mean.ndim == 0 and self.std.ndim == 0:
            return f"Normalize(mean={float(self.mean):.4g}, std={float(self.std):.4g})"
        return f"Normalize({max(self.mean.size, self.std.size)} features)"


def _moment_of(value: Any, name: str) -> np.ndarray:
    """A copy of ``value``, one number or several, in float64."""
    where, several = f"Normalize: {name}", items(value)
    if several is None and not (isinstance(value, np.ndarray) and value.ndim):
        return np.array(number(value, where))
    if several is None:
        return np.array(value, np.float64)  # of a shape that is refused
    return np.array([number(v, where) for v in several], np.float64)


TRANSFORMS: dict[str, Any] = {"Normalize": Normalize}


def of_bytes(x: Any) -> bool:
    """Whether ``x`` holds bytes, which count as 0..1."""
    return bool(x.dtype == (uint8 if isinstance(x, Tensor) else np.uint8))


def _exceeds_float32(x: Tensor) -> bool:
    """Whether float32 does not hold all numbers of the dtype of ``x``, though the normalised ones fit."""
    return x.dtype in (int32, int64)


def as_input(x: Tensor) -> Tensor:
    """``x`` as models take it: bytes become float32 in 0..1."""
    return take_scaled(x, *_UNIT) if of_bytes(x) else x


def scaling(transform: Any, x: Tensor) -> tuple[Any, Any] | None:
    """The offset and the scale that are all of the preprocessing of inputs like ``x``, or None where there is more."""
    if transform is None:
        return _UNIT if of_bytes(x) else None
    return transform.offset_and_scale(x) if type(transform) is Normalize and not _exceeds_float32(x) else None


def to_config(transform: Any) -> str | None:
    """JSON that describes ``transform``, or None where it is a function, which cannot be written down."""
    name = type(transform).__name__
    if TRANSFORMS.get(name) is not type(transform):
        return None
    return json.dumps({"name": name, **transform.config()})


def from_config(text: str) -> Any:
    """The transform that ``to_config`` has described; raises ValueError where ``text`` describes none."""
    try:
        config = _json.typed(dict[str, Any], _json.parse(text))
        kind = TRANSFORMS.get(_json.typed(str, config.pop("name", None), "name"))
        if kind is None:
            raise ValueError(f"known are {', '.join(TRANSFORMS)}")
        return kind(**config)
    except Exception as error:  # a class that a program has added to TRANSFORMS may raise anything
        raise ValueError(f"not the description of a transform: {_json.short(text)} ({error})") from None


def _moment(dataset: Any, power: int, about: Any) -> np.ndarray:
    """The mean of (x - about)^power in float64 for each feature or channel; the other axes are kept with length 1."""
    total, count = 0.0, 0
    for x in _chunks(dataset):
        axes = _axes(x)
        total = total + ((x - about) ** power).sum(axis=axes, keepdims=True)
        count += int(np.prod([x.shape[i] for i in axes]))
    return np.asarray(total) / count


def _axes(x: np.ndarray) -> tuple[int, ...]:
    """The axes of a batch over which statistics are taken."""
    return {1: (0,), 2: (0,), 3: (0, 1, 2)}.get(x.ndim, (0, *range(2, x.ndim)))


def _chunks(dataset: Any) -> Iterator[np.ndarray]:
    """The inputs of all samples in float64, a part at a time."""
    base, rows = flatten(dataset)
    for start in range(0, len(dataset), _ROWS):
        window = slice(start, min(start + _ROWS, len(dataset)))
        if is_plain(base):
            x = np.asarray(base.arrays[0][window] if rows is None else np.asarray(base.arrays[0])[rows[window]])
        else:
            indices = np.arange(window.start, window.stop) if rows is None else rows[window]
            x = np.asarray(gather(base, tensor(indices, device="cpu"), "cpu")[0])
        yield x.astype(np.float64) / 255 if of_bytes(x) else x.astype(np.float64)
