"""Functions that the array API standard has as such, where dlcore has methods or attributes."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import axis_of, boolean, operand, renamed, shaped
from dlcore._device import device as as_device
from dlcore.dtypes import as_dtype
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops.elementwise import cast
from dlcore.ops.movement import concat, contiguous, expand, permute
from dlcore.ops.scan import cumprod, cumsum
from dlcore.ops.transfer import transfer

__all__ = [
    "astype", "conj", "cumulative_prod", "cumulative_sum", "imag", "matrix_transpose", "positive", "real",
]  # fmt: skip


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


def cumulative_sum(x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """Sums along ``axis`` up to each element: `cumsum`, which says more; with ``include_initial`` a 0 stands before.

    ``axis``: may be None for a vector alone. Raises ShapeError where it is None for another shape.

    >>> dl.cumulative_sum(dl.tensor([1, 2, 3]), include_initial=True)
    tensor([0, 1, 3, 6])
    """
    return _cumulative("cumulative_sum", cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """Products along ``axis`` up to each element: `cumprod`; with ``include_initial`` a 1 stands before.

    ``axis``: may be None for a vector alone. Raises ShapeError where it is None for another shape.

    >>> dl.cumulative_prod(dl.tensor([1, 2, 3]))
    tensor([1, 2, 6])
    """
    return _cumulative("cumulative_prod", cumprod, 1, x, axis, dtype, include_initial)


def _cumulative(name: str, scan: Any, first: int, x: Any, axis: Any, dtype: Any, include_initial: Any) -> Any:
    x, wanted = operand(x, name), boolean(include_initial, f"{name}: include_initial")
    if axis is None and x.ndim != 1:
        raise ShapeError(f"{name}: of shape {x.shape} an axis must be named")
    along = axis_of(0 if axis is None else axis, f"{name}: axis", x.shape)
    try:
        out = scan(x, axis=along, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise renamed(error, name) from None
    if not wanted:
        return out
    start = cast(first, out.dtype).to(out.device)
    return concat([expand(start, (*x.shape[:along], 1, *x.shape[along + 1 :])), out], along)


def positive(x: Any) -> Any:
    """+x: a copy of a tensor of numbers. Raises DTypeError for bools.

    >>> dl.positive(dl.tensor([1, -2]))
    tensor([ 1, -2])
    """
    x = operand(x, "positive")
    if x.dtype.kind == "bool":
        raise DTypeError("positive: does not take bool")
    return contiguous(x)


def conj(numbers: Any) -> Any:
    """The complex conjugate of ``numbers``: themselves, for dlcore has real numbers alone.

    >>> dl.conj(dl.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return operand(numbers, "conj", "numbers")


def real(numbers: Any) -> Any:
    """The real part of ``numbers``: themselves, for dlcore has real numbers alone.

    >>> dl.real(dl.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return operand(numbers, "real", "numbers")


def imag(numbers: Any) -> Any:
    """The imaginary part of ``numbers``: zeros, for dlcore has real numbers alone.

    >>> dl.imag(dl.tensor([1.0, 2.0]))
    tensor([0., 0.])
    """
    x = operand(numbers, "imag", "numbers")
    return contiguous(expand(cast(0, x.dtype).to(x.device), x.shape))


@shaped(permute)
def matrix_transpose(x: Any) -> Any:
    """A view with the last two axes exchanged: matrices transposed, one by one. Raises ShapeError for fewer axes.

    >>> dl.matrix_transpose(dl.tensor([[1, 2], [3, 4]]))
    tensor([[1, 3],
            [2, 4]])
    """
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: a matrix has two axes, not shape {x.shape}")
    *before, rows, columns = range(x.ndim)
    return (*before, columns, rows)
