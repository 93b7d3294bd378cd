"""More functions that make tensors: from data, filled, spaced, of one pattern, from other libraries."""

from __future__ import annotations

import math
from collections.abc import Iterator, KeysView, ValuesView
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, instance, integer, lengths, number, renamed
from dlcore._batching import filled_like
from dlcore._device import CPU, Device, default_device
from dlcore._device import device as as_device
from dlcore._spelling import spelled
from dlcore._tensor import (
    DLPACK_CPU,
    DLPACK_CUDA,
    Tensor,
    chosen_device,
    computed,
    convert,
    empty,
    filled,
    leaf,
    of_data,
    of_numbers,
    ramp,
    sharable,
)
from dlcore._tensor import from_numpy as over_array
from dlcore.dtypes import DType, as_dtype, bool_, default_float, uint8
from dlcore.ops.movement import stack
from dlcore.ops.slicing import assign
from dlcore.ops.strided import as_strided
from dlcore.ops.transfer import transfer
from dlcore.ops.triangles import tril

__all__ = [
    "array", "asarray", "empty_like", "eye", "from_dlpack", "full", "full_like", "geomspace", "identity", "linspace",
    "logspace", "ones_like", "tri", "zeros_like",
]  # fmt: skip

# ---- from data ----------------------------------------------------------------------------------------------------


def array(
    data: Any, dtype: Any = None, *, copy: bool | None = True, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``data`` as a tensor: numbers, nested lists, generators, arrays, tensors and lists of tensors; NumPy's `array`.

    As `asarray`, but what is a tensor or an array already is copied unless ``copy`` is None.

    >>> dl.array(i * i for i in range(4))
    tensor([0, 1, 4, 9])
    """
    return leaf(_as_tensor("array", data, dtype, device, copy), requires_grad)


def asarray(data: Any, dtype: Any = None, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """``data`` as a tensor that shares memory with a tensor or array where strides, dtype and device allow.

    ``copy``: True always copies, False raises ValueError where a copy is needed, None copies where it is. An array on a
    GPU (CuPy's, torch's, anything with ``__dlpack__``) stays there; what is in host memory goes to the default device.
    Gradients flow to tensors, in lists too: these are stacked.
    """
    return _as_tensor("asarray", data, dtype, device, copy)


def _as_tensor(name: str, data: Any, dtype: Any, device: Any, copy: Any) -> Tensor:
    chosen = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
    place = None if device is None else as_device(device)
    always = None if copy is None else boolean(copy, f"{name}: copy")
    given = list(data) if isinstance(data, Iterator | KeysView | ValuesView) else data
    shared = _shared(given, chosen, place)
    found = shared
    if found is None:
        parts = _stacked(name, given)
        found = of_data(given, chosen, device, f"{name}: data") if parts is None else parts
    result = found if chosen is None else found.astype(chosen)
    result = result if place is None or result.device is place else transfer(result, place)
    if always is False and result is not shared:
        raise ValueError(f"{name}: the data cannot become such a tensor without a copy; copy=None makes one")
    return result.clone() if always and result is shared else result


def _shared(data: Any, dtype: DType | None, place: Device | None) -> Tensor | None:
    """A tensor over the memory of ``data``, if it has any that tensors may share."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        fits = (place or default_device()) is CPU and (dtype is None or dtype.numpy == data.dtype)
        return over_array(data) if fits and sharable(data) else None
    if hasattr(type(data), "__dlpack__") and hasattr(type(data), "__dlpack_device__"):
        kind, _ = data.__dlpack_device__()
        return from_dlpack(data) if int(kind) == DLPACK_CUDA else None
    return None


def _stacked(name: str, data: Any) -> Tensor | None:
    """Lists of tensors and numbers, nested, as one tensor through which gradients flow; None where no tensor is in."""
    if not isinstance(data, list | tuple):
        return None
    parts = [d if isinstance(d, Tensor) else _stacked(name, d) for d in data]
    if all(part is None for part in parts):
        return None
    like = next(part for part in parts if part is not None)
    try:
        every = [of_data(d, None, like.device, f"{name}: data") if p is None else p
                 for d, p in zip(data, parts, strict=True)]  # fmt: skip
        return stack(every)
    except (TypeError, ValueError) as error:
        raise renamed(error, name) from None


def from_dlpack(source: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of any object with ``__dlpack__`` (NumPy, CuPy, torch, JAX): nothing is copied.

    On a GPU the work of the two libraries on this memory is kept in order: when it is handed over, and when the last
    tensor over it has gone, before it is used otherwise. The exporter does not name its stream for the latter: where
    that is a non-blocking one, keep the exporter until `synchronize`.

    ``device``: where the tensor is to be, if not where the memory is; ``copy``: True copies, False raises ValueError
    where ``device`` needs a copy. Raises BufferError where what the object tells of its memory is wrong, or of a kind
    that tensors have not.
    """
    if not hasattr(type(source), "__dlpack__"):
        raise TypeError(f"from_dlpack: an object with __dlpack__ is wanted, not {type(source).__name__}")
    kind, index = source.__dlpack_device__() if hasattr(type(source), "__dlpack_device__") else DLPACK_CPU
    given = {} if int(kind) != DLPACK_CUDA else {"stream": as_device(f"cuda:{index}").backend.stream}
    try:
        capsule = source.__dlpack__(max_version=(1, 0), **given)
    except TypeError:  # written before DLPack 1.0
        capsule = source.__dlpack__(**given)
    made: Tensor = _C.from_dlpack(capsule)
    if made.dtype is bool_ and _C.suspended(lambda: bool((_C.reinterpret(made, uint8) > 1).any())):
        raise BufferError("from_dlpack: the booleans have other bytes than 0 and 1; share them as uint8")
    place = made.device if device is None else as_device(device)
    if place is not made.device:
        if copy is False:
            raise ValueError(f"from_dlpack: memory on {made.device} does not come to {place} without a copy")
        return transfer(made, place)
    return made.clone() if copy else made


# ---- filled -------------------------------------------------------------------------------------------------------


@spelled
def full(shape: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with ``fill_value``, in its dtype (float32 for a Python float) where none is given."""
    sizes = lengths(shape, "full: shape")
    kind = type(fill_value)
    plain = kind is float or kind is int or kind is bool
    if plain and dtype is None:
        return filled(sizes, fill_value, as_dtype(kind), device, requires_grad)
    given = fill_value if plain or isinstance(fill_value, Tensor) else convert(fill_value, "full", "fill_value", None)
    if dtype is not None:
        chosen = as_dtype(dtype, "full: dtype")
    elif isinstance(given, Tensor):
        chosen = given.dtype
    else:
        of = fill_value.dtype if isinstance(fill_value, np.generic) else type(given)
        chosen = as_dtype(of, "full: the dtype of fill_value")
    if isinstance(given, Tensor):
        try:
            return leaf(empty(sizes, dtype=chosen, device=device).fill_(given), requires_grad)
        except (TypeError, ValueError) as error:
            raise renamed(error, "full") from None
    return filled(sizes, given, chosen, device, requires_grad)


def _like(name: str, x: Tensor, dtype: Any, device: Any) -> tuple[DType, Device]:
    """Dtype and device of a new tensor like ``x``."""
    if type(x) is not Tensor:
        instance(x, Tensor, f"{name}: x", "a tensor")
    chosen = x.dtype if dtype is None else as_dtype(dtype, f"{name}: dtype")
    return chosen, x.device if device is None else as_device(device)


def _filled_like(name: str, x: Tensor, value: int, dtype: Any, device: Any) -> Tensor:
    chosen, place = _like(name, x, dtype, device)
    if _C.batch_of(x) is None:
        return _C.full(x.shape, value, chosen, place.code)
    return filled_like(x, lambda shape: filled(shape, value, chosen, place))


def empty_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """An uninitialised tensor of the shape (and dtype, device) of ``x``."""
    chosen, place = _like("empty_like", x, dtype, device)
    return filled_like(x, lambda shape: empty(shape, dtype=chosen, device=place))


def zeros_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of zeros, of the shape (and dtype, device) of ``x``."""
    return _filled_like("zeros_like", x, 0, dtype, device)


def ones_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ones, of the shape (and dtype, device) of ``x``."""
    return _filled_like("ones_like", x, 1, dtype, device)


def full_like(x: Tensor, fill_value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor filled with ``fill_value``, of the shape (and dtype, device) of ``x``."""
    chosen, place = _like("full_like", x, dtype, device)
    try:
        return filled_like(x, lambda shape: full(shape, fill_value, chosen, place))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise renamed(error, "full_like") from None


# ---- spaced -------------------------------------------------------------------------------------------------------


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
    rows, diagonal = integer(n, f"{name}: n", 0), integer(k, f"{name}: k")
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
