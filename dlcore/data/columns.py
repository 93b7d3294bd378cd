"""Columns of data: what counts as an array of numbers, whoever made it, and in which order parts are taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from dlcore._arguments import shown
from dlcore._tensor import Tensor

__all__ = [
    "array_of", "column", "dtype_name", "is_frame", "is_missing", "named_columns", "native", "ordered", "values_of",
]  # fmt: skip

_TARGETS = ("y", "target", "targets", "label", "labels")  # keys of a dict whose array is taken as the targets
_KINDS = {
    "O": "Python objects", "U": "texts", "S": "bytes of text", "M": "dates", "m": "durations", "c": "complex numbers",
}  # fmt: skip


def column(value: Any, where: str) -> Any:
    """``value`` as a Tensor or an array of numbers; Python's floats become float32, as everywhere in dlcore.

    ``where``: the argument of the function that asks, for errors.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(f"{where}: {np.ma.count_masked(value)} values of the array are masked; fill them first")
        value = value.data
    if is_frame(value):
        return _of_frame(value, where)
    if hasattr(type(value), "toarray"):
        raise TypeError(f"{where}: a {type(value).__name__} is a sparse matrix; give what its toarray() returns")
    made = array_of(value, where)
    if isinstance(value, list | tuple) and made.dtype == np.float64:
        made = made.astype(np.float32)
    return _numbers(made, where)


def array_of(value: Any, where: str) -> np.ndarray:
    """What NumPy makes of ``value``; TypeError where it makes nothing."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{where} {shown(value)} is not an array of numbers") from None


def _numbers(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind in "biuf" or array.dtype.name == "bfloat16":
        if array.dtype == np.uint64 and array.size and array.max() >= 2**63:
            raise OverflowError(f"{where}: the array holds {array.max()}, which int64 does not")
        return array
    if array.dtype.names:
        raise TypeError(f"{where}: the array has the fields {', '.join(array.dtype.names)}; give arrays of numbers")
    found = _KINDS.get(array.dtype.kind, f"the dtype {array.dtype}")
    hint = "; number the classes, or read them with dlcore.data.table" if array.dtype.kind in "US" else ""
    raise TypeError(f"{where}: the array holds {found}, not integers, floats or bools{hint}")


def dtype_name(array: Any) -> str:
    """The name of the dtype of an array or a Tensor."""
    return str(array.dtype.name)


def native(array: np.ndarray) -> np.ndarray:
    """``array`` in a dtype that dlcore has, in this machine's byte order.

    Unsigned integers of more than 8 bits become int64, floats of more than 64 bits float64.
    """
    dtype = array.dtype
    if dtype.kind == "u" and dtype.itemsize > 1:
        return array.astype(np.int64)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return array.astype(np.float64)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def is_frame(value: Any) -> bool:
    """Whether ``value`` is a frame or a series of pandas, polars or pyarrow; none of them is imported."""
    return type(value).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow") and (
        hasattr(value, "to_numpy") or hasattr(value, "column_names")
    )


def named_columns(frame: Any) -> Iterator[tuple[str, Any]] | None:
    """The names of a frame's columns with their series; None of a series."""
    kind = type(frame)
    if hasattr(kind, "column_names"):  # pyarrow
        return zip(map(str, frame.column_names), frame.columns, strict=True)
    if not hasattr(kind, "columns"):
        return None
    pairs = frame.items() if hasattr(kind, "items") else zip(frame.columns, frame, strict=True)
    return ((str(name), series) for name, series in pairs)


def _of_frame(value: Any, where: str) -> np.ndarray:
    """A frame as a matrix of its columns, or a series as a vector."""
    pairs = named_columns(value)
    if pairs is None:
        return _numbers(values_of(value), where)
    columns = [_numbers(values_of(series), f"{where}: column {name!r}") for name, series in pairs]
    if not columns:
        raise ValueError(f"{where}: the frame has no columns")
    return np.stack(columns, 1)


def values_of(series: Any) -> np.ndarray:
    """The values of a series: numbers, with NaN for missing ones, texts, or what else there is."""
    array = np.asarray(series.to_numpy())
    if array.dtype.kind != "O":
        return array
    if any(isinstance(item, str) for item in array):
        return np.array(["" if is_missing(item) else str(item) for item in array])
    try:
        return np.array([np.nan if is_missing(item) else item for item in array], np.float64)
    except (TypeError, ValueError):
        return array


def is_missing(item: Any) -> bool:
    """Whether an item of a series stands for a missing value."""
    return item is None or type(item).__name__ in ("NAType", "NaTType") or item != item


def ordered(named: Mapping[Any, Any] | Iterable[str]) -> list[Any]:
    """The keys of a dict of parts in the order in which they are taken: a key that says "target" comes last."""
    keys = list(named)
    last = [key for key in keys if isinstance(key, str) and key.lower() in _TARGETS]
    return [key for key in keys if key not in last] + last if len(last) == 1 else keys
