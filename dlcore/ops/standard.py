"""Functions that the array API standard has as such, where dlcore has methods or attributes."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import boolean, operand
from dlcore._device import device as as_device
from dlcore.dtypes import as_dtype
from dlcore.errors import ShapeError
from dlcore.ops.elementwise import cast
from dlcore.ops.movement import contiguous, transpose
from dlcore.ops.transfer import transfer

__all__ = ["astype", "matrix_transpose"]


def astype(x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Any:
    """x in another dtype, and on another device where one is given: a copy, but x itself with ``copy=False`` where
    neither changes.

    Conversion is that of `cast`: floats become integers by truncation, integers wrap. Gradients flow between floats.

    >>> dl.astype(dl.tensor([1.5, -2.5]), "int32")
    tensor([ 1, -2], dtype=int32)
    """  # fmt: skip
    x, target = operand(x, "astype"), as_dtype(dtype, "astype: dtype")
    always = boolean(copy, "astype: copy")
    place = x.device if device is None else as_device(device)
    result = x if x.dtype is target else cast(x, target)
    result = result if place is x.device else transfer(result, place)
    return contiguous(result) if always and result is x else result


def matrix_transpose(x: Any) -> Any:
    """A view with the last two axes exchanged: matrices transposed, one by one. Raises ShapeError for fewer axes."""
    x = operand(x, "matrix_transpose")
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: a matrix has two axes, not shape {x.shape}")
    return transpose(x, -2, -1)
