"""Preprocessing of tables that is fitted on the training part: `Standardize` and `OneHot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from dlcore._arguments import boolean, integer, shown
from dlcore._tensor import Tensor, tensor
from dlcore.data.sources import as_dataset
from dlcore.data.statistics import inputs_of, moments
from dlcore.data.transforms import Normalize, on_tensor, register
from dlcore.data.views import flatten
from dlcore.errors import ShapeError
from dlcore.ops.elementwise import cast, eq, isnan, logical_and, where
from dlcore.ops.movement import concat, reshape

__all__ = ["OneHot", "Standardize"]


@register
class Standardize:
    """(x - mean) / std for each position of a sample: for each column of a table, for each pixel of an image.

    ``mean``, ``std``: of the shape of a sample. A deviation of 0 counts as 1, so that a constant becomes 0. fill:
    missing values (NaN) become 0, the mean, after that: True, or a truth value for each position. Otherwise it is as
    `Normalize`, which has one mean for a whole channel.

    >>> dl.data.Standardize([1.0, 4.0], [2.0, 0.0], fill=True)(np.float32([[3.0, 4.0], [np.nan, 6.0]]))
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """

    def __init__(self, mean: Any, std: Any, fill: Any = False):
        mean, std = np.array(mean, np.float64), np.array(std, np.float64)
        if mean.shape != std.shape or not mean.ndim or not mean.size:
            raise ShapeError(f"Standardize: mean {mean.shape} and std {std.shape} must have the shape of a sample")
        try:
            self._flat = Normalize(mean.ravel(), std.ravel())
        except ValueError as error:
            raise ValueError(f"Standardize: {str(error).partition(': ')[2]}") from None
        self._shape = mean.shape
        filled = np.array(fill)
        if filled.dtype.kind != "b" or filled.shape not in ((), mean.shape):
            raise TypeError(f"Standardize: fill {shown(fill)} is not True or False, nor one for each position")
        self._fill = np.broadcast_to(filled, mean.shape)
        self._held: dict[Any, Tensor] = {}

    @property
    def mean(self) -> np.ndarray:
        """What is subtracted, in float64; it cannot be changed."""
        return self._flat.mean.reshape(self._shape)

    @property
    def std(self) -> np.ndarray:
        """What is divided by, in float64; it cannot be changed."""
        return self._flat.std.reshape(self._shape)

    @property
    def fill(self) -> np.ndarray:
        """Whether missing values become the mean, for each position; it cannot be changed."""
        return self._fill

    @classmethod
    def of(cls, dataset: Any, columns: Sequence[int | str] | None = None, fill: bool = False) -> Self:
        """Standardisation by mean and deviation over the samples of ``dataset``, the training part.

        ``dataset``: whatever `dlcore.data.as_dataset` takes. columns: which columns of a table, by place or by name;
        the others stay as they are (default: all that hold numbers). fill: missing values are left out of the
        statistics, and become the mean. Raises ValueError for NaN without ``fill``, and for infinities.
        """
        name = "Standardize.of"
        dataset, fill = as_dataset(dataset, f"{name}: dataset"), boolean(fill, f"{name}: fill")
        chosen, texts = _places(dataset, columns, name), _places(dataset, list(_categories(dataset)), name)
        left: list[int] = texts or []
        if chosen is not None and len(dataset):
            shape = next(inputs_of(dataset)).shape
            if len(shape) != 2 or max(chosen, default=0) >= shape[1]:
                raise ShapeError(f"{name}: a batch of shape {shape} has no column {max(chosen, default=0)}")
            left = [k for k in range(shape[1]) if k not in chosen]
        mean, std = (of_all[0] for of_all in moments(dataset, name, lambda ndim: (0,), fill, left))
        filled = np.full(mean.shape, fill)
        filled[left] = False
        return cls(mean, std, filled)

    def __call__(self, x: Any) -> Any:
        """``x`` standardised: (N, ...) for a batch."""
        return on_tensor(self._apply, x)

    def _apply(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self._shape:
            raise ShapeError(f"Standardize: a batch of shape {x.shape} is not one of samples of shape {self._shape}")
        flat = self._flat(x if x.ndim == 2 else reshape(x, (x.shape[0], -1)))
        if self._fill.any():
            missing = isnan(flat)
            if not self._fill.all():
                if x.device not in self._held:
                    self._held[x.device] = tensor(self._fill.ravel(), device=x.device)
                missing = logical_and(missing, self._held[x.device])
            flat = where(missing, 0.0, flat)
        return flat if x.ndim == 2 else reshape(flat, x.shape)

    def config(self) -> dict[str, Any]:
        """The arguments that make this transform again."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "fill": self._fill.tolist()}

    def __repr__(self) -> str:
        return f"Standardize(samples of shape {self._shape})"


@register
class OneHot:
    """Columns of a table that hold numbers of categories, each as one column of 0 and 1 for each category.

    ``columns``: place of a column -> the values that get a column of their own, in this order; (N, F) becomes (N, F'),
    the new columns in the place of the old ones. Any other value, NaN too, becomes zeros.

    >>> dl.data.OneHot({1: [0, 2]})(np.float32([[5.0, 2.0], [6.0, 1.0]]))
    array([[5., 0., 1.],
           [6., 0., 0.]], dtype=float32)
    """

    def __init__(self, columns: Mapping[Any, Sequence[float]]):
        if not isinstance(columns, Mapping) or not columns:
            raise TypeError(f"OneHot: columns {shown(columns)} is not a dict: place of a column -> values")
        made = {}
        for place, values in columns.items():
            key = int(place) if isinstance(place, str) and place.isdecimal() else place
            array = np.array(values, np.float64)
            if array.ndim != 1 or not array.size or not np.isfinite(array).all() or len(np.unique(array)) < array.size:
                raise ValueError(f"OneHot: columns[{shown(place)}] is not a list of different numbers: {shown(values)}")
            made[integer(key, "OneHot: a place in columns", 0)] = array
        self._columns = dict(sorted(made.items()))
        self._held: dict[Any, Tensor] = {}

    @property
    def columns(self) -> dict[int, list[float]]:
        """Place of a column -> its values."""
        return {place: values.tolist() for place, values in self._columns.items()}

    @classmethod
    def of(cls, dataset: Any, columns: Sequence[int | str] | None = None) -> Self:
        """One column for each value that occurs in ``dataset``, the training part.

        columns: by place or by name (default: the columns of texts of a `TableDataset`). Raises ValueError where there
        are none.
        """
        name = "OneHot.of"
        dataset = as_dataset(dataset, f"{name}: dataset")
        places = _places(dataset, list(_categories(dataset)) if columns is None else columns, name)
        if not places:
            raise ValueError(f"{name}: the data set has no columns of texts; say which columns")
        seen: dict[int, set[float]] = {place: set() for place in places}
        for part in inputs_of(dataset):
            if part.ndim != 2 or max(places) >= part.shape[1]:
                raise ShapeError(f"{name}: a batch of shape {part.shape} has no column {max(places)}")
            for place in places:
                seen[place] |= set(np.unique(part[:, place]).tolist())
        return cls({place: sorted(v for v in values if np.isfinite(v)) for place, values in seen.items()})

    def __call__(self, x: Any) -> Any:
        """``x`` (N, F) with the columns of categories replaced."""
        return on_tensor(self._apply, x)

    def _apply(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or max(self._columns) >= x.shape[1]:
            raise ShapeError(f"OneHot: a batch of shape {x.shape} has no column {max(self._columns)}")
        dtype = x.dtype.name if x.dtype.is_float else "float32"
        parts, start = [], 0
        for place, values in self._columns.items():
            key = (place, dtype, x.device)
            if key not in self._held:
                self._held[key] = tensor(values, dtype, device=x.device)
            column = cast(x[:, place : place + 1], dtype)
            parts += [cast(x[:, start:place], dtype), cast(eq(column, self._held[key]), dtype)]
            start = place + 1
        parts.append(cast(x[:, start:], dtype))
        return concat([part for part in parts if part.shape[1]], 1)

    def config(self) -> dict[str, Any]:
        """The arguments that make this transform again."""
        return {"columns": {str(place): values for place, values in self.columns.items()}}

    def __repr__(self) -> str:
        return f"OneHot({', '.join(f'{place}: {len(values)} values' for place, values in self._columns.items())})"


def _categories(dataset: Any) -> Mapping[str, Any]:
    base, _ = flatten(dataset)
    return getattr(base, "categories", {})


def _places(dataset: Any, columns: Any, name: str) -> list[int] | None:
    """The places of ``columns``, which are given by place or by name."""
    if columns is None:
        return None
    base, _ = flatten(dataset)
    names = getattr(base, "columns", ())
    found = []
    for column in [columns] if isinstance(columns, str) else columns:
        if isinstance(column, str):
            if column not in names:
                raise ValueError(f"{name}: there is no column {column!r}; there are {', '.join(names) or 'no names'}")
            found.append(names.index(column))
        else:
            found.append(integer(column, f"{name}: a place in columns", 0))
    return found

