"""Tensors made from data: from numbers, lists and arrays, by a copy or over their memory, and from other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore import _C, _numpy
from dlcore._arguments import MAX_AXES, boolean, quick, renamed, shown
from dlcore._device import CPU, Device, default_device
from dlcore._device import device as as_device
from dlcore._values import booleans, check_numbers, has_booleans
from dlcore.dtypes import (
    NUMPY_DTYPES,
    DType,
    as_dtype,
    bfloat16,
    bool_,
    default_float,
    float32,
    float64,
    int64,
    uint8,
    uint64,
)
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops import elementwise
from dlcore.ops.movement import stack
from dlcore.ops.transfer import transfer

if TYPE_CHECKING:
    from dlcore._C import Tensor

__all__ = [
    "DLPACK_CPU", "DLPACK_CUDA", "array", "as_tensor", "asarray", "chosen_device", "convert", "copy_of", "filled",
    "from_dlpack", "from_numpy", "is_tensor", "leaf", "of_data", "of_numbers", "tensor",
]  # fmt: skip

DLPACK_CPU = (1, 0)  # a device: its kind and its index
DLPACK_CUDA = 2  # a kind of device
_PYTHON_DATA = (bool, int, float, np.generic, list, tuple, range)
_NUMBERS: dict[str, Callable[[Any], Any]] = {"b": bool, "i": int, "u": int, "f": float}  # by the kind of NumPy's dtype


def chosen_device(device: Any) -> Device:
    """The device meant; the default one for None."""
    return default_device() if device is None else as_device(device)


def filled(shape: tuple[int, ...], value: Any, dtype: DType, device: Any, requires_grad: bool = False) -> Tensor:
    """A tensor filled with a number, made in one native call."""
    return leaf(_C.full(shape, value, dtype, chosen_device(device).code), requires_grad)


def leaf(value: Tensor, requires_grad: bool) -> Tensor:
    """``value``, which has just been made, as a leaf of the graph where ``requires_grad``."""
    if requires_grad is not False and boolean(requires_grad, "requires_grad:"):
        value.requires_grad = True
    return value


@quick("tensor")
def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A new tensor with a copy of ``data``: numbers, nested lists, a generator, a NumPy array, or another tensor.

    Arrays and tensors keep their dtype; Python floats become float32, ints int64. With a ``dtype`` arrays and tensors
    are cast, as by `astype`; Python numbers, alone or in lists, must fit, else OverflowError is raised. The copy of a
    tensor stays on its device unless ``device`` names another.
    """
    return of_data(data, dtype, device, "tensor: data", requires_grad)


def of_data(data: Any, dtype: Any, device: Any, where: str, requires_grad: bool = False) -> Tensor:
    """A new tensor; errors about ``data`` begin with ``where``."""
    chosen = None if dtype is None else as_dtype(dtype, "tensor: dtype")
    if isinstance(data, Iterator | KeysView | ValuesView):  # generators, map, zip, the values of a dict
        data = list(data)
    if isinstance(data, _C.TensorBase):
        source: Any = data.detach()
        target = source.device if device is None else as_device(device)
        copied = source.clone() if target is source.device else transfer(source, target)
        return leaf(copied if chosen is None else copied.astype(chosen), requires_grad)
    if isinstance(data, list | tuple) and any(isinstance(d, _C.TensorBase) for d in data):
        data = [np.asarray(d) if isinstance(d, _C.TensorBase) else d for d in data]
    if isinstance(data, np.ndarray) and _C.is_recording():
        _C.not_recordable("a tensor is made from a NumPy array; make it outside the step, or pass it as an argument")
    array = _as_array(data, where)
    if isinstance(data, _PYTHON_DATA):
        wanted = _dtype_of(data, array) if chosen is None else chosen
        if wanted is uint64 and array.dtype.kind == "f" and array.max(initial=0) >= 2**63:
            array = np.asarray(data, dtype=object)  # of integers around 2^63 NumPy makes floats, which round
        return of_numbers(where.partition(":")[0], array, wanted, device, requires_grad)
    if chosen is None:
        plain = array.dtype in NUMPY_DTYPES  # else the text of the error is needed
        chosen = as_dtype(array.dtype, "" if plain else f"{where} {shown(data)}: dtype")
    return copy_of(array, chosen, device, requires_grad)


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


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor that shares memory where it can: `asarray` under PyTorch's name.

    >>> dl.as_tensor([1.0, 2.0])
    tensor([1., 2.])
    """
    return _as_tensor("as_tensor", data, dtype, device, None)


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


def _shared(data: Any, dtype: DType | None, place: Device | None) -> Any:
    """A tensor over the memory of ``data``, if it has any that tensors may share."""
    if isinstance(data, _C.TensorBase):
        return data
    if isinstance(data, np.ndarray):
        fits = (place or default_device()) is CPU and (dtype is None or dtype.numpy == data.dtype)
        return from_numpy(data) if fits and sharable(data) else None
    if hasattr(type(data), "__dlpack__") and hasattr(type(data), "__dlpack_device__"):
        kind, _ = data.__dlpack_device__()
        return from_dlpack(data) if int(kind) == DLPACK_CUDA else None
    return None


def _stacked(name: str, data: Any) -> Tensor | None:
    """Lists of tensors and numbers, nested, as one tensor through which gradients flow; None where no tensor is in."""
    if not isinstance(data, list | tuple):
        return None
    parts = [d if isinstance(d, _C.TensorBase) else _stacked(name, d) for d in data]
    if all(part is None for part in parts):
        return None
    like = next(part for part in parts if part is not None)
    try:
        every = [of_data(d, None, like.device, f"{name}: data") if p is None else p
                 for d, p in zip(data, parts, strict=True)]  # fmt: skip
        return stack(every)
    except (TypeError, ValueError) as error:
        raise renamed(error, name) from None


def _as_array(data: Any, where: str) -> np.ndarray[Any, Any]:
    """``data`` as an array of numbers; raises ValueError or DTypeError, which say what is wrong."""
    try:
        array = np.asarray(data)
    except (TypeError, ValueError):
        text = f"{where} {shown(data)} is not an array: its parts differ in shape or are no numbers"
        raise ValueError(text) from None
    large = array.dtype.kind == "O" and array.size > 0 and all(isinstance(n, int | float) for n in array.flat)
    if not (large or array.dtype.kind == "f" or array.dtype in NUMPY_DTYPES):  # of any size: `_as_ours` narrows it
        as_dtype(array.dtype, f"{where} {shown(data)}: dtype")
    if array.ndim > MAX_AXES:
        raise ShapeError(f"{where} has {array.ndim} axes; a tensor has at most {MAX_AXES}")
    return array


def _dtype_of(data: Any, array: np.ndarray[Any, Any]) -> Any:
    """The dtype of a tensor of Python numbers (or of NumPy's scalars)."""
    wide = array.dtype == np.uint64 and not isinstance(data, np.generic)
    if array.dtype.kind == "O" or wide:  # integers that int64 does not hold
        return int64
    return default_float() if array.dtype == np.float64 and not isinstance(data, np.generic) else array.dtype


def of_numbers(
    operation: str, numbers: np.ndarray[Any, Any], dtype: Any, device: Any, requires_grad: bool = False
) -> Tensor:
    """A tensor of an array that was made from Python numbers. Raises OverflowError where one does not fit."""
    target = as_dtype(dtype, f"{operation}: dtype")
    check_numbers(operation, numbers, target)
    if numbers.dtype.kind == "O":
        each = [filled((), number, target, CPU).numpy() for number in numbers.ravel().tolist()]
        numbers = np.array(each, target.numpy).reshape(numbers.shape)
    return copy_of(numbers, target, device, requires_grad)


def copy_of(array: np.ndarray[Any, Any], dtype: Any, device: Any, requires_grad: bool = False) -> Tensor:
    """A tensor of an array's values, in memory of its own."""
    target = as_dtype(array.dtype if dtype is None else dtype)
    device = chosen_device(device)
    if _C.is_recording():  # every replay makes it again
        return leaf(_C.suspended(lambda: copy_of(array, target, device)).clone(), requires_grad)
    array = _as_ours(array, target)
    source = as_dtype(array.dtype)
    copied = _C.empty(array.shape, source, 0)
    if array.size:
        copied.numpy()[...] = array
    copied = copied if source is target else elementwise.cast(copied, target)
    return leaf(copied if device is CPU else transfer(copied, device), requires_grad)


def _as_ours(array: np.ndarray[Any, Any], target: DType) -> np.ndarray[Any, Any]:
    """``array`` in a dtype that tensors have and from which `cast` leads to ``target``; booleans as 0 and 1."""
    array = booleans(array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))
    if array.dtype in NUMPY_DTYPES:
        return array
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(target.numpy if target in (float32, float64) else np.float64)
    raise DTypeError(f"tensor: an array of dtype {array.dtype} cannot become {target.name}")


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of a NumPy array: nothing is copied, and changes are seen on both sides.

    Raises ValueError for a boolean array with other bytes than 0 and 1 (a view of numbers): `tensor` copies it.
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: a NumPy array is wanted, not {type(array).__name__}")
    if not has_booleans(array):
        raise ValueError("from_numpy: the boolean array has other bytes than 0 and 1; dl.tensor(array) copies it")
    return _wrap(array)


def _wrap(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of a NumPy array."""
    dtype = as_dtype(array.dtype, "from_numpy: array's dtype")
    if not array.dtype.isnative:
        raise DTypeError(f"from_numpy: the bytes of {array.dtype.str} are in another order; copy with dlcore.tensor")
    return _C.wrap(array.view(np.uint16) if dtype is bfloat16 else array, dtype)


def sharable(array: np.ndarray[Any, Any]) -> bool:
    """Whether a tensor may lie in an array's memory."""
    strided = all(s % array.itemsize == 0 for s in array.strides)
    return bool(array.flags.aligned) and array.dtype.isnative and strided and has_booleans(array)


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a tensor of dlcore."""
    return isinstance(value, _C.TensorBase)


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


def convert(value: Any, operation: str, operand: str, like: Any, dtype: DType | None = None) -> Any:
    """What an operand that is neither a tensor nor a Python number becomes; NumPy's scalars count as Python numbers.

    Arrays and lists go to the device of ``like``, another operand of the operation, if there is one, and are cast to
    ``dtype``.
    """
    where = f"{operation}: operand {operand!r}"
    if isinstance(value, np.generic) and (value.dtype.kind in _NUMBERS or value.dtype == bfloat16.numpy):
        return _NUMBERS.get(value.dtype.kind, float)(value)
    if isinstance(value, int | float):  # of a subclass
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, list | tuple | range) or hasattr(type(value), "__array__"):
        _numpy.untracked(where, value)
        data = _as_array(value, where) if hasattr(type(value), "__array__") else value
        return of_data(data, dtype, None if like is None else like.device, where)
    raise DTypeError(f"{where} {shown(value)} is not a tensor or number")
