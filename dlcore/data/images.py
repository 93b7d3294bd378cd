"""Images as data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._arguments import items, shown
from dlcore.data.columns import dtype_name
from dlcore.data.dataset import TensorDataset
from dlcore.data.transforms import ScaleBytes

__all__ = ["ImageDataset", "check_labels"]


class ImageDataset(TensorDataset):
    """Images with labels: ``images`` (N, H, W) or (N, C, H, W), ``labels`` (N,) integers; ``classes``: their names.

    Bytes (uint8) count as 0..1: they stay bytes in memory, and become float32 / 255 in each batch, before any
    transform. Raises ValueError for labels that are none of the ``classes``.
    """

    def __init__(self, images: Any, labels: Any, classes: Sequence[str] | None = None):
        super().__init__(images, labels)
        names = None if classes is None else items(classes)
        if classes is not None and names is None:
            raise TypeError(f"ImageDataset: classes {shown(classes)} is not a sequence of names")
        self.classes = None if names is None else tuple(str(name) for name in names)
        if self.classes is not None:
            check_labels(self.labels, len(self.classes), "ImageDataset")

    @property
    def images(self) -> Any:
        """The images, (N, H, W) or (N, C, H, W); write into them, or make another data set."""
        return self.arrays[0]

    @property
    def labels(self) -> Any:
        """The labels, (N,); write into them, or make another data set."""
        return self.arrays[1]

    @property
    def preprocessing(self) -> Any:
        """What the images pass before any transform: `ScaleBytes` for bytes, else nothing."""
        return ScaleBytes() if dtype_name(self.images) == "uint8" else None


def check_labels(labels: Any, count: int, where: str) -> None:
    """Raises ValueError where ``labels`` are not integers from 0 to ``count`` - 1."""
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"{where}: labels of classes are a vector of integers, not {shown(values)}")
    bad = np.flatnonzero((values < 0) | (values >= count))
    if bad.size:
        more = f", and {bad.size - 1} more" if bad.size > 1 else ""
        raise ValueError(f"{where}: label {values[bad[0]]} at position {bad[0]}{more}: there are {count} classes")
