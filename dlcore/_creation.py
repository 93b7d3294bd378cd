"""Tensors of given values: filled with a number, spaced, of one pattern."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, instance, integer, lengths, number, quick, renamed, shown
from dlcore._batching import filled_like
from dlcore._device import Device
from dlcore._device import device as as_device
from dlcore._from_data import chosen_device, convert, copy_of, filled, leaf, of_numbers
from dlcore._spelling import spelled
from dlcore.dtypes import DType, as_dtype, bool_, default_float, float32, float64, int64
from dlcore.ops import creation, elementwise
from dlcore.ops.slicing import assign
from dlcore.ops.strided import as_strided
from dlcore.ops.triangles import tril

if TYPE_CHECKING:
    from dlcore._C import Tensor

__all__ = [
    "arange", "empty", "empty_like", "eye", "full", "full_like", "geomspace", "identity", "linspace", "logspace",
    "ones", "ones_like", "tri", "zeros", "zeros_like",
]  # fmt: skip

# ---- filled -------------------------------------------------------------------------------------------------------


def sizes_and_dtype(name: str, shape: tuple[Any, ...], dtype: Any) -> tuple[tuple[int, ...], DType]:
    """The lengths given as ``f(2, 3)`` or as ``f((2, 3))``, and the dtype of a new tensor: float32 where none is given.

    The dtype may stand behind them, as in NumPy: ``f((2, 3), np.int32)``.
    """
    several = dtype is None and len(shape) > 1 and type(shape[-1]) is not int
    if several and isinstance(shape[-1], DType | str | type | np.dtype):
        *shape, dtype = shape  # type: ignore[assignment]
    chosen = float32 if dtype is None else as_dtype(dtype, f"{name}: dtype")
    return lengths(shape[0] if len(shape) == 1 else tuple(shape), f"{name}: shape"), chosen


@quick("empty")
@spelled
def empty(
    shape: Any = (), *more: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of arbitrary values: its memory is not initialised (booleans are False, for not every byte is one)."""
    sizes, chosen = sizes_and_dtype("empty", (shape, *more), dtype)
    if chosen is bool_:
        return filled(sizes, False, chosen, device, requires_grad)
    return leaf(_C.empty(sizes, chosen, chosen_device(device).code), requires_grad)


@quick("zeros")
@spelled
def zeros(
    shape: Any = (), *more: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``; float32 by default."""
    sizes, chosen = sizes_and_dtype("zeros", (shape, *more), dtype)
    return filled(sizes, 0, chosen, device, requires_grad)


@quick("ones")
@spelled
def ones(
    shape: Any = (), *more: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``; float32 by default."""
    sizes, chosen = sizes_and_dtype("ones", (shape, *more), dtype)
    return filled(sizes, 1, chosen, device, requires_grad)


@quick("full")
@spelled
def full(shape: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with ``fill_value``, in its dtype (float32 for a Python float) where none is given."""
    sizes = lengths(shape, "full: shape")
    kind = type(fill_value)
    plain = kind is float or kind is int or kind is bool
    if plain and dtype is None:
        return filled(sizes, fill_value, as_dtype(kind), device, requires_grad)
    is_ours = plain or isinstance(fill_value, _C.TensorBase)
    given = fill_value if is_ours else convert(fill_value, "full", "fill_value", None)
    if dtype is not None:
        chosen = as_dtype(dtype, "full: dtype")
    elif isinstance(given, _C.TensorBase):
        chosen = given.dtype
    else:
        of = fill_value.dtype if isinstance(fill_value, np.generic) else type(given)
        chosen = as_dtype(of, "full: the dtype of fill_value")
    if isinstance(given, _C.TensorBase):
        try:
            return leaf(empty(sizes, dtype=chosen, device=device).fill_(given), requires_grad)
        except (TypeError, ValueError) as error:
            raise renamed(error, "full") from None
    return filled(sizes, given, chosen, device, requires_grad)


def _like(name: str, x: Tensor, dtype: Any, device: Any) -> tuple[DType, Device]:
    """Dtype and device of a new tensor like ``x``."""
    if not isinstance(x, _C.TensorBase):
        instance(x, _C.TensorBase, f"{name}: x", "a tensor")
    chosen = x.dtype if dtype is None else as_dtype(dtype, f"{name}: dtype")
    return chosen, x.device if device is None else as_device(device)


def _filled_like(name: str, x: Tensor, value: int, dtype: Any, device: Any) -> Tensor:
    chosen, place = _like(name, x, dtype, device)
    if _C.batch_of(x) is None:
        return _C.full(x.shape, value, chosen, place.code)
    return filled_like(x, lambda shape: filled(shape, value, chosen, place))


@quick("empty_like")
def empty_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """An uninitialised tensor of the shape (and dtype, device) of ``x``."""
    chosen, place = _like("empty_like", x, dtype, device)
    return filled_like(x, lambda shape: empty(shape, dtype=chosen, device=place))


@quick("zeros_like")
def zeros_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of zeros, of the shape (and dtype, device) of ``x``."""
    return _filled_like("zeros_like", x, 0, dtype, device)


@quick("ones_like")
def ones_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ones, of the shape (and dtype, device) of ``x``."""
    return _filled_like("ones_like", x, 1, dtype, device)


@quick("full_like")
def full_like(x: Tensor, fill_value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor filled with ``fill_value``, of the shape (and dtype, device) of ``x``."""
    chosen, place = _like("full_like", x, dtype, device)
    try:
        return filled_like(x, lambda shape: full(shape, fill_value, chosen, place))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise renamed(error, "full_like") from None


# ---- spaced -------------------------------------------------------------------------------------------------------


@quick("arange")
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers start, start + step, ... below ``stop``; ``arange(n)`` gives 0 to n - 1.

    The dtype is int64 when all arguments are integers, else float32. Element i is start + i * step, computed in int64
    or float64 and then cast.
    """
    if stop is None:
        start, stop = 0, start
    plain = type(start) is int and type(stop) is int and type(step) is int and dtype is None
    if plain and start == 0 and step == 1 and 0 < stop < 1 << 44:
        return ramp("arange", stop, 0.0, 1.0, stop - 1.0, int64, device)
    first, last, step = _real(start, "arange: start"), _real(stop, "arange: stop"), _real(step, "arange: step")
    if step == 0:
        raise ValueError("arange: the step is 0")
    whole = isinstance(first, int) and isinstance(last, int) and isinstance(step, int)
    target = as_dtype(dtype, "arange: dtype") if dtype is not None else int64 if whole else default_float()
    if not whole:
        first, last, step = float(first), float(last), float(step)
    steps = -((first - last) // step) if whole else (last - first) / step
    count = max(0, math.ceil(steps)) if math.isfinite(steps) else 1 << 62
    if not count:
        return empty(0, dtype=target, device=device)
    last = first + (count - 1) * step
    exact = whole and max(abs(first), abs(last), abs(count * step)) <= 1 << 53  # float64 holds them all
    if not (exact and target in (int64, float32, float64)):
        kind = int64 if whole else float64
        for limiting in (kind,) if kind is target else (kind, target):
            for end in (first, last):  # all others lie between
                _C.check_number(end, limiting, "arange")
    if whole and not exact:
        numbers = computed("arange", count, lambda: first + np.arange(count, dtype=np.int64) * step)
        return copy_of(numbers, target, device)
    return ramp("arange", count, float(first), float(step), float(last), target, device)


def _real(value: Any, where: str) -> int | float:
    """A whole number as an int, another as a float."""
    if type(value) is int:
        return value
    try:
        return integer(value, where)
    except TypeError:
        if isinstance(value, bool | np.bool_):
            raise
    found = number(value, where)
    if not math.isfinite(found):
        raise ValueError(f"{where} is {found}; it must be finite")
    return found


def computed(name: str, size: int, make: Callable[[], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What ``make`` returns: ``size`` numbers. Raises MemoryError where there is no room for them."""
    with suppress(MemoryError):
        if size < 1 << 44:
            return make()
    raise MemoryError(f"{name}: {shown(size)} numbers do not fit in memory")


def ramp(name: str, count: int, first: float, step: float, last: float, dtype: DType, device: Any) -> Tensor:
    """first + i step for i in 0 ... count - 1, computed in float64, but ``last`` as the last; the function ``name``."""
    own = dtype if dtype in creation.DTYPES else float64
    if count >= 1 << 44:
        raise MemoryError(f"{name}: {shown(count)} numbers do not fit in memory")
    place = chosen_device(device).code
    made = _C.few_ramp(count, first, step, last, own, place)
    if made is None:
        made = _C.empty((count,), own, place)
        creation.ramp(made, first, step, last)
    return made if own is dtype else elementwise.cast(made, dtype)


def _spaced(name: str, num: Any, dtype: Any, device: Any, make: Any) -> Tensor:
    """A tensor of the ``num`` numbers in float64 that ``make(num)`` gives."""
    size = integer(num, f"{name}: num", 0)
    target = default_float() if dtype is None else as_dtype(dtype, f"{name}: dtype")
    with np.errstate(all="ignore"):
        made = computed(name, size, lambda: make(size))
    return of_numbers(name, made, target, device)


@spelled
def linspace(
    start: float, stop: float, num: int = 50, *, endpoint: bool = True, dtype: Any = None, device: Any = None
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is left out with ``endpoint=False``; float32.

    >>> dl.linspace(0, 1, 4, endpoint=False)
    tensor([0.  , 0.25, 0.5 , 0.75])
    """
    first, last = number(start, "linspace: start"), number(stop, "linspace: stop")
    closed, size = boolean(endpoint, "linspace: endpoint"), integer(num, "linspace: num", 0)
    target = default_float() if dtype is None else as_dtype(dtype, "linspace: dtype")
    step = (last - first) / max(size - 1 if closed else size, 1)
    if not (target.is_float and math.isfinite(step)) or (step == 0 and first != last):
        return _spaced("linspace", size, target, device, lambda n: np.linspace(first, last, n, endpoint=closed))
    for end in (first, last):
        _C.check_number(end, target, "linspace")
    end = last if closed and size > 1 else first + (size - 1) * step
    return ramp("linspace", size, first, step, end, target, device)


@spelled
def logspace(
    start: float, stop: float, num: int = 50, *, endpoint: bool = True, base: float = 10.0, dtype: Any = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """``num`` numbers from base^start to base^stop, their logarithms evenly spaced; float32 by default.

    >>> dl.logspace(0, 3, 4)
    tensor([   1.,   10.,  100., 1000.])
    """
    first, last = number(start, "logspace: start"), number(stop, "logspace: stop")
    closed, power = boolean(endpoint, "logspace: endpoint"), number(base, "logspace: base")
    return _spaced(
        "logspace", num, dtype, device, lambda n: np.power(power, np.linspace(first, last, n, endpoint=closed))
    )


@spelled
def geomspace(
    start: float, stop: float, num: int = 50, *, endpoint: bool = True, dtype: Any = None, device: Any = None
) -> Tensor:
    """``num`` numbers from ``start`` to ``stop``, each the one before times the same factor; float32 by default.

    Raises ValueError where a limit is 0 or the two differ in sign.

    >>> dl.geomspace(1, 8, 4)
    tensor([1., 2., 4., 8.])
    """
    first, last = number(start, "geomspace: start"), number(stop, "geomspace: stop")
    closed = boolean(endpoint, "geomspace: endpoint")
    if first == 0 or last == 0 or (first < 0) != (last < 0):
        raise ValueError(f"geomspace: from {first:g} to {last:g} there is no factor; the two must be of one sign")
    return _spaced("geomspace", num, dtype, device, lambda n: np.geomspace(first, last, n, endpoint=closed))


# ---- of one pattern -----------------------------------------------------------------------------------------------


def _size(name: str, n: Any, m: Any, k: Any, dtype: Any) -> tuple[int, int, int, DType]:
    """Rows, columns, the diagonal (at most just outside of the matrix) and the dtype."""
    rows = integer(n, f"{name}: n", 0)
    diagonal = k if type(k) is int else integer(k, f"{name}: k")  # of any size: beyond the matrix it is empty
    columns = rows if m is None else integer(m, f"{name}: m", 0)
    target = default_float() if dtype is None else as_dtype(dtype, f"{name}: dtype")
    return rows, columns, min(max(diagonal, -rows), columns), target


def _eye(name: str, n: Any, m: Any, k: Any, dtype: Any, device: Any) -> Tensor:
    rows, columns, diagonal, target = _size(name, n, m, k, dtype)
    place = chosen_device(device)
    made = _C.few_eye(rows, columns, diagonal, target, place.code)
    if made is not None:
        return made
    made = filled((rows, columns), 0, target, place)
    count = min(rows + min(diagonal, 0), columns - max(diagonal, 0))
    if count > 0:
        first = diagonal if diagonal >= 0 else -diagonal * columns
        assign.inplace(as_strided(made, (count,), (columns + 1,), first), 1)
    return made


def eye(n: int, m: int | None = None, k: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on diagonal ``k`` of zeros (n, m), above the main one for k > 0; m = n and float32 by default."""
    return _eye("eye", n, m, k, dtype, device)


def identity(n: int, dtype: Any = None, device: Any = None) -> Tensor:
    """The identity matrix (n, n): ``eye(n)``."""
    return _eye("identity", n, None, 0, dtype, device)


def tri(n: int, m: int | None = None, k: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones at and below diagonal ``k``, zeros above it: (n, m); m = n and float32 by default."""
    rows, columns, diagonal, target = _size("tri", n, m, k, dtype)
    return tril(filled((rows, columns), 1, target, device), diagonal)
