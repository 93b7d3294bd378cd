"""What dtypes hold and what they become together: `finfo`, `iinfo`, `result_type`, `can_cast` and the like."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from dlcore import _C
from dlcore._arguments import shown
from dlcore.dtypes import DType, as_dtype
from dlcore.dtypes import result_type as common_dtype
from dlcore.errors import DTypeError

__all__ = ["FInfo", "IInfo", "can_cast", "finfo", "iinfo", "isdtype", "promote_types", "result_type"]


class FInfo(NamedTuple):
    """The limits of a floating-point dtype, as Python floats.

    ``bits``: its width. ``eps``: from 1 to the next larger number. ``min``, ``max``: the smallest and largest finite
    number. ``smallest_normal`` (NumPy's ``tiny`` too): the smallest positive number of full precision.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType

    @property
    def tiny(self) -> float:
        """``smallest_normal``."""
        return self.smallest_normal

    @property
    def resolution(self) -> float:
        """10 to the power of minus the decimal digits that are always kept."""
        return float(ml_dtypes.finfo(self.dtype.numpy).resolution)


class IInfo(NamedTuple):
    """The limits of an integer dtype: ``bits``, its width, and ``min`` and ``max``."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(x: Any, where: str) -> DType:
    """The dtype of a tensor or array, or the one that ``x`` names."""
    return as_dtype(x.dtype if isinstance(x, _C.TensorBase | np.ndarray) else x, where)


def finfo(dtype: Any) -> FInfo:
    """The limits of a floating-point dtype, or of a tensor's. Raises DTypeError for others.

    >>> dl.finfo(dl.float16).max
    65504.0
    """
    found = _dtype_of(dtype, "finfo: dtype")
    if not found.is_float:
        raise DTypeError(f"finfo: {found.name} is not a floating-point dtype; iinfo tells of integers")
    return FInfo(8 * found.itemsize, found.eps, found.largest, -found.largest, found.tiny, found)


def iinfo(dtype: Any) -> IInfo:
    """The limits of an integer dtype, or of a tensor's. Raises DTypeError for others.

    >>> dl.iinfo("int8").min
    -128
    """
    found = _dtype_of(dtype, "iinfo: dtype")
    if found.kind not in ("int", "uint"):
        raise DTypeError(f"iinfo: {found.name} is not an integer dtype; finfo tells of floating-point ones")
    limits = np.iinfo(found.numpy)
    return IInfo(8 * found.itemsize, int(limits.max), int(limits.min), found)


def _operand(x: Any) -> tuple[DType, bool]:
    """(dtype, weak) of what `result_type` is given."""
    if type(x) in (bool, int, float):
        return as_dtype(type(x)), type(x) is not bool
    return _dtype_of(x, "result_type: operand"), False


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that operations give of these tensors, dtypes and Python numbers together.

    Raises TypeError where nothing is given.

    >>> dl.result_type(dl.int8, dl.ones(2), 3)
    dlcore.float32
    """
    if not arrays_and_dtypes:
        raise TypeError("result_type: at least one tensor or dtype is wanted")
    return common_dtype(_operand(x) for x in arrays_and_dtypes)


def promote_types(first: Any, second: Any) -> DType:
    """The dtype that two dtypes become together, as `result_type` has it."""
    return common_dtype((as_dtype(d, "promote_types: dtype"), False) for d in (first, second))


def can_cast(source: Any, target: Any) -> bool:
    """Whether every number of dtype ``source`` (or of a tensor's) is one of dtype ``target``, as in NumPy.

    >>> dl.can_cast(dl.int32, dl.float64), dl.can_cast(dl.int64, dl.float32)
    (True, False)
    """
    first, second = _dtype_of(source, "can_cast: source"), as_dtype(target, "can_cast: target")
    return first is second or bool(np.can_cast(first.numpy, second.numpy))


_KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",), "signed integer": ("int",), "unsigned integer": ("uint",), "integral": ("int", "uint"),
    "real floating": ("float",), "complex floating": (), "numeric": ("int", "uint", "float"),
}  # fmt: skip


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: "bool", "signed integer", "unsigned integer", "integral", "real floating",
    "complex floating" (none is), "numeric", a dtype itself, or one of several in a tuple.

    >>> dl.isdtype(dl.int8, ("bool", "integral"))
    True
    """  # fmt: skip
    found = as_dtype(dtype, "isdtype: dtype")
    if isinstance(kind, tuple):
        return any(isdtype(found, one) for one in kind)
    if isinstance(kind, str) and kind in _KINDS:
        return found.kind in _KINDS[kind]
    try:
        return found is as_dtype(kind)
    except DTypeError:
        text = f"isdtype: kind {shown(kind)} is neither a dtype nor one of {', '.join(map(repr, _KINDS))}"
        raise ValueError(text) from None
