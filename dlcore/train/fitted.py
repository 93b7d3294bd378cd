"""What a model does to its inputs first, as ``fit`` has left it: which transform `evaluate` and `predict` apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore._arguments import function, shown
from dlcore.data.views import Prepared
from dlcore.dtypes import DType
from dlcore.nn.module import Module

__all__ = ["Transform", "as_fitted", "as_transform", "chosen_transform", "floating"]

Transform = Callable[[Any], Any]


def floating(model: Module) -> DType | None:
    """The floating-point dtype of the model, to which data are cast; None where it has no parameters of one."""
    return next((p.dtype for p in model.parameters() if p.dtype.is_float), None)


def chosen_transform(model: Module, dataset: Any, transform: Any, name: str) -> tuple[Any, Any]:
    """The data set and the transform of its inputs: with "fitted", that of the model stands for the data set's own."""
    if not isinstance(transform, str):
        return dataset, as_transform(transform, name)
    if transform != "fitted":
        raise ValueError(f'{name}: transform is a function, None or "fitted", not {shown(transform)}')
    return as_fitted(dataset, model.preprocessing)


def as_fitted(dataset: Any, preprocessing: Any) -> tuple[Any, Any]:
    """The data set and the transform of its inputs, which stands for what the data set does itself if there is one."""
    return (dataset, None) if preprocessing is None else (Prepared(dataset, None), preprocessing)


def as_transform(value: Any, name: str) -> Any:
    """The transform that a caller of the function ``name`` gave: a function, or None."""
    return None if value is None else function(value, f"{name}: transform")
