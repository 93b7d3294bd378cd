"""What a model does to its inputs first, as ``fit`` has left it: which transform `evaluate` and `predict` apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore._arguments import function, shown
from dlcore._notes import note
from dlcore.data.columns import dtype_name
from dlcore.data.transforms import ScaleBytes, steps_of
from dlcore.data.views import Prepared, flatten, is_plain
from dlcore.dtypes import DType
from dlcore.nn.module import Module

__all__ = ["Transform", "as_fitted", "as_transform", "chosen_transform", "floating"]

Transform = Callable[[Any], Any]

_LOOKED_AT = 8  # so many of the pictures are looked at


def floating(model: Module) -> DType | None:
    """The floating-point dtype of the model, to which data are cast; None where it has no parameters of one."""
    return next((p.dtype for p in model.parameters() if p.dtype.is_float), None)


def chosen_transform(model: Module, dataset: Any, transform: Any, name: str) -> tuple[Any, Any]:
    """The data set and the transform of its inputs: with "fitted", that of the model stands for the data set's own."""
    if not isinstance(transform, str):
        return dataset, as_transform(transform, name)
    if transform != "fitted":
        raise ValueError(f'{name}: transform is a function, None or "fitted", not {shown(transform)}')
    return as_fitted(dataset, model.preprocessing, name)


def as_fitted(dataset: Any, preprocessing: Any, name: str) -> tuple[Any, Any]:
    """The data set and the transform of its inputs, which stands for what the data set does itself if there is one."""
    if preprocessing is None:
        return dataset, None
    if any(isinstance(step, ScaleBytes) for step in steps_of(preprocessing)):
        _check_scale(dataset, name)
    return Prepared(dataset, None), preprocessing


def _check_scale(dataset: Any, name: str) -> None:
    """Say where pictures for a model of bytes are neither bytes nor in 0..1, as bytes that were cast are not."""
    base, rows = flatten(dataset)
    if not is_plain(base) or not len(dataset) or dtype_name(base.arrays[0]) in ("uint8", "bool"):
        return
    x = base.arrays[0]
    some = np.asarray(x[:_LOOKED_AT] if rows is None else x[rows[:_LOOKED_AT]]).astype(np.float64)
    low, high = some.min(initial=0.0), some.max(initial=0.0)
    if low < -0.5 or high > 1.5:
        note(
            f"{name}: the model was fitted to pictures of bytes, which it makes floats in 0..1; these go from "
            f"{low:.4g} to {high:.4g} in {dtype_name(x)} and are taken as they are: give bytes (uint8) or 0..1"
        )


def as_transform(value: Any, name: str) -> Any:
    """The transform that a caller of the function ``name`` gave: a function, or None."""
    return None if value is None else function(value, f"{name}: transform")
