"""The rule for values that a dtype does not hold, the same whatever the way they come in.

- Python numbers (NumPy's scalars and the elements of lists count as such) must fit an integer dtype: one beyond the
  range, NaN or an infinity raise OverflowError; they are truncated towards zero. For a float dtype they are rounded
  once, and beyond its range infinite, as in arithmetic (in NumPy and PyTorch too); only an integer for which Python has
  no float raises OverflowError. For bool they are true where they are not 0. Comparisons take each number as it is.
- Arrays and tensors are cast: integers wrap, floats become the nearest integer towards zero within the range, NaN
  becomes 0, and floats beyond the range of a narrower float infinite (see `dlcore.cast`).
- Booleans are bytes of 0 and 1. Others become 1 where memory is copied, and are refused where it is to be shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore import _C
from dlcore.dtypes import DType, bool_
from dlcore.errors import DTypeError

__all__ = ["booleans", "check_numbers", "has_booleans"]


def check_numbers(operation: str, numbers: np.ndarray[Any, Any], dtype: DType) -> None:
    """Raises OverflowError for the first of ``numbers``, an array made of Python numbers, that does not fit.

    Raises DTypeError where they are no numbers.
    """
    kind = numbers.dtype.kind
    if kind == "V":  # bfloat16's, to NumPy
        numbers, kind = numbers.astype(np.float32), "f"
    if kind == "O":  # integers beyond 64 bits among them
        wrong = np.ones(numbers.shape, bool)
    elif kind not in "biuf":
        raise DTypeError(f"{operation}: values of dtype {numbers.dtype} are no numbers of {dtype.name}")
    else:
        wrong = _beyond(numbers, dtype)
        if not wrong.any():
            return
    for number in numbers[wrong].ravel().tolist():
        if not isinstance(number, bool | int | float):
            raise DTypeError(f"{operation}: {number!r} is not a number")
        _C.check_number(number, dtype, operation)


def _beyond(numbers: np.ndarray[Any, Any], dtype: DType) -> Any:
    """Where numbers are that may not fit; `_C.check_number` decides."""
    if dtype is bool_ or dtype.is_float or numbers.dtype == dtype.numpy or numbers.dtype == np.bool_:
        return np.False_
    limits = np.iinfo(dtype.numpy)
    if numbers.dtype.kind == "f":
        return ~((numbers >= float(limits.min)) & (numbers < float(limits.max) + 1))  # 2**63 - 1 is no float64
    return (numbers < limits.min) | (numbers > limits.max)


def has_booleans(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array of dtype bool holds bytes of 0 and 1 only; True of other dtypes."""
    return array.dtype != np.bool_ or not bool((array.view(np.uint8) > 1).any())


def booleans(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of dtype bool with 1 for every byte that is not 0; others as they are."""
    return array if has_booleans(array) else array.view(np.uint8) != 0
