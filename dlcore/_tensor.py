"""`Tensor`: the methods on top of the C type, and the functions that make tensors."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, KeysView, ValuesView
from contextlib import suppress
from typing import Any

import numpy as np

from dlcore import _C, _autograd, _indexing, _numpy
from dlcore._arguments import MAX_AXES, boolean, instance, integer, lengths, number, shaped, shown
from dlcore._array_api import VERSIONS
from dlcore._device import CPU, Device, default_device
from dlcore._device import device as as_device
from dlcore._hooks import HookHandle, register_hook, retain_grad
from dlcore._operations import TensorMethods
from dlcore._printing import text_of
from dlcore._spelling import spelled
from dlcore._values import booleans, check_numbers, has_booleans
from dlcore._writing import Writing
from dlcore.dtypes import (
    NUMPY_DTYPES,
    DType,
    as_dtype,
    bfloat16,
    bool_,
    default_float,
    float32,
    float64,
    int16,
    int64,
    uint64,
)
from dlcore.errors import AutogradError, CaptureError, DTypeError, ShapeError
from dlcore.op import function
from dlcore.ops import bitwise, creation, elementwise, movement, rounding
from dlcore.ops.slicing import assign
from dlcore.ops.transfer import transfer

__all__ = [
    "DLPACK_CPU", "DLPACK_CUDA", "Parameter", "Tensor", "arange", "chosen_device", "computed", "convert", "copy_of",
    "empty", "filled", "from_numpy", "leaf", "of_data", "of_numbers", "ones", "sharable", "sizes_and_dtype", "tensor",
    "zeros",
]  # fmt: skip


DLPACK_CPU = (1, 0)  # a device: its kind and its index
DLPACK_CUDA = 2  # a kind of device


def _together(values: tuple[Any, ...]) -> Any:
    """The numbers given as ``f(2, 3)`` or as ``f((2, 3))``, for an operation's attribute."""
    return values[0] if len(values) == 1 else values


@shaped(movement.permute)
def _reversed(x: Any) -> Any:
    return tuple(reversed(range(x.ndim)))


class Tensor(Writing, TensorMethods):
    """An n-dimensional array of one dtype on one device, of at most 8 axes, with a gradient where wanted.

    Tensors are made by `tensor`, `zeros`, ... and by operations, never by calling the class. Indexing, slicing,
    `reshape`, `permute` and `expand` give views that share memory. Operators broadcast their operands and promote
    dtypes as described in `dlcore.dtypes`.

    What is written in place into a view (``row = y[0]; row *= 2``, ``y[:, 0] += x``) is written into what it is a view
    of, its gradient history too, and other views of that follow. Leaves that require a gradient, and their views, are
    changed under `no_grad` only; a tensor that a gradient rule has kept and that was changed since is an error.
    """

    __slots__ = ()
    __array_priority__ = 1000  # NumPy leaves operators between an array and a tensor to the tensor

    # ---- reading out
    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array, which shares memory on the CPU (read-only if a gradient is required).

        From a GPU it is a copy, made when all work there is done.
        """
        if self.device is not CPU:
            return transfer(self.detach(), CPU).numpy()
        if self.dtype is bfloat16:
            bits = np.asarray(memoryview(_C.reinterpret(self, int16)))
            if self.requires_grad:
                bits.flags.writeable = False
            return bits.view(bfloat16.numpy)
        if not self.requires_grad:
            return np.asarray(memoryview(self))
        array = np.asarray(memoryview(self.detach()))
        array.flags.writeable = False
        return array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _numpy.array_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, called: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _numpy.array_function(called, args, kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.device is not CPU and copy is False:
            raise ValueError(f"np.asarray: a tensor on {self.device} must be copied")
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"np.asarray: {self.dtype.name} cannot become {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def tolist(self) -> Any:
        """The values as nested Python lists (a number for a 0-d tensor)."""
        return self.numpy().tolist()

    def __repr__(self) -> str:
        if (batch := _C.batch_of(self)) is not None:
            return f"tensor(shape={self.shape}, dtype={self.dtype.name}, one of {batch[0].size} examples of a vmap)"
        values = self.numpy()
        if self.dtype is bfloat16:
            values = values.astype(np.float32)
        body = text_of(values, "tensor(")
        notes = [] if self.dtype in (float32, int64, bool_) else [f"dtype={self.dtype.name}"]
        if self.size == 0 and self.ndim != 1:
            notes.insert(0, f"shape={self.shape}")
        if self.device is not CPU:
            notes.append(f"device='{self.device}'")
        if self.requires_grad:
            notes.append("requires_grad=True" if self.node is None else f"from={self.node.name}")
        return f"tensor({', '.join([body, *notes])})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(repr(self), spec)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        found: Any = self == value
        return bool(found.any()) if isinstance(found, Tensor) else bool(found)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return elementwise.floor_divide(self, other), elementwise.remainder(self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return elementwise.floor_divide(other, self), elementwise.remainder(other, self)

    def __round__(self, ndigits: int | None = None) -> Tensor:
        return rounding.round(self, 0 if ndigits is None else ndigits)

    # ---- size
    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def numel(self) -> int:
        """Number of elements: PyTorch's name for `size`."""
        return self.size

    def dim(self) -> int:
        """Number of axes: PyTorch's name for `ndim`."""
        return self.ndim

    # ---- the array API
    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """`dlcore`, which follows the array API standard: versions 2021.12 to 2024.12."""
        if api_version is not None and api_version not in VERSIONS:
            raise ValueError(f"__array_namespace__: version {shown(api_version)} is not one of {', '.join(VERSIONS)}")
        return sys.modules["dlcore"]

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """This tensor on another device; the array API's name for `to`."""
        if stream is not None:
            raise ValueError("to_device: dlcore keeps its own streams; stream must be None")
        return self.to(as_device(device))

    def __complex__(self) -> complex:
        return complex(self.item())

    # ---- exchange
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if self.requires_grad:
            raise BufferError(
                "__dlpack__: the tensor requires a gradient, which the other side would not see; detach() it"
            )
        source = self
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            if tuple(dl_device) != DLPACK_CPU or copy is False:
                raise BufferError(f"__dlpack__: a tensor on {self.device} does not go to device {tuple(dl_device)}")
            source, copy = self.cpu(), True
        elif copy:
            source = self.clone()
        user = -1  # the stream on which the other side uses the memory
        if source.device is not CPU:
            user = source.device.backend.order_before(stream)
        elif stream is not None:
            raise BufferError(f"__dlpack__: a tensor on {source.device} has no stream")
        # The view keeps this memory, whatever becomes of the tensor (Module.to).
        return _C.to_dlpack(source.detach(), max_version is not None and max_version[0] >= 1, bool(copy), user)

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLPACK_CPU if self.device is CPU else (DLPACK_CUDA, self.device.index)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.device is CPU or self.dtype is bfloat16:
            raise AttributeError(f"a {self.dtype.name} tensor on {self.device} has no __cuda_array_interface__")
        if self.requires_grad:
            raise AttributeError("__cuda_array_interface__: the tensor requires a gradient; detach() it")
        interface = {
            "shape": self.shape,
            "typestr": self.dtype.numpy.str,
            "data": (self.data_ptr if self.size else 0, False),
            "strides": None if self.is_contiguous else tuple(s * self.dtype.itemsize for s in self.strides),
            "stream": self.device.backend.stream,
            "version": 3,
        }
        _C.lend(self)
        return interface

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.numpy()
        array = array.copy() if self.device is CPU else array
        return _rebuild, (type(self), array, self.requires_grad and self.is_leaf, self.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise AutogradError("deepcopy: only leaves can be copied; detach() the tensor first")
        copied = _like_class(type(self), self.detach().clone(), self.requires_grad)
        memo[id(self)] = copied
        return copied

    # ---- gradients
    def backward(
        self, gradient: Tensor | None = None, *, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Adds the gradient of this tensor to ``grad`` of every leaf it depends on.

        ``gradient``: what to start from, of this tensor's shape and dtype (default: 1, for a scalar only). The graph is
        released unless ``retain_graph``; with ``create_graph`` the backward pass is tracked, for higher derivatives.
        """
        _autograd.backward(self, gradient, retain_graph, create_graph)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Calls ``hook`` with the gradient of this tensor in each backward pass that comes here.

        What it returns, unless None, takes the gradient's place. It sees the whole gradient, of a leaf before that is
        added to ``grad``, and before `grad` gives it. Returns a handle: ``remove()``, or the end of a ``with`` block,
        takes the hook away. In a recorded step its operations are recorded.
        """
        return register_hook(self, hook)

    def retain_grad(self) -> None:
        """Has backward passes add the gradient of this tensor, which is no leaf, to its ``grad`` as well."""
        retain_grad(self)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets ``requires_grad`` and returns the tensor itself."""
        self.requires_grad = requires_grad
        return self

    # ---- copies and conversions
    def contiguous(self) -> Tensor:
        """This tensor if its elements lie in row-major order without gaps, else a copy in which they do."""
        return self if self.is_contiguous else movement.contiguous(self)

    def clone(self) -> Tensor:
        """A copy in memory of its own, through which gradients flow."""
        return movement.contiguous(self)

    def copy(self) -> Tensor:
        """A copy in memory of its own, through which gradients flow: NumPy's name for `clone`."""
        return movement.contiguous(self)

    def astype(self, dtype: Any, copy: bool = False, device: Any = None) -> Tensor:
        """This tensor in another dtype; itself if it has that dtype and no ``copy`` is asked for.

        Floats become integers by truncation.
        """
        target = as_dtype(dtype, "astype: dtype")
        result = self if target is self.dtype else elementwise.cast(self, target)
        result = result if device is None else result.to_device(device)
        return movement.contiguous(self) if boolean(copy, "astype: copy") and result is self else result

    def to(self, *targets: Any) -> Tensor:
        """This tensor on another device, in another dtype, or both: ``x.to("cpu")``, ``x.to("cuda", dl.float16)``."""
        result = self
        for target in targets:
            if isinstance(target, Device) or (
                isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda", "gpu")
            ):
                device = as_device(target)
                result = result if result.device is device else transfer(result, device)
            else:
                dtype = as_dtype(target, "to: target")
                result = result if result.dtype is dtype else elementwise.cast(result, dtype)
        return result

    def cpu(self) -> Tensor:
        """This tensor on the CPU."""
        return self.to(CPU)

    def cuda(self) -> Tensor:
        """This tensor on the first GPU."""
        return self.to("cuda")

    def float(self) -> Tensor:
        """This tensor in float32."""
        return self.astype(float32)

    # ---- writing
    def copy_(self, source: Any) -> Tensor:
        """Writes ``source``, broadcast and cast, into this tensor's memory."""
        _indexing.setitem(self, ..., source)
        return self

    def fill_(self, value: Any) -> Tensor:
        """Sets every element to ``value``."""
        return self.copy_(value)

    def zero_(self) -> Tensor:
        """Sets every element to 0."""
        return self.copy_(0)

    def add_(self, other: Any) -> Tensor:
        """self += other."""
        return elementwise.add.inplace(self, other)

    def sub_(self, other: Any) -> Tensor:
        """self -= other."""
        return elementwise.sub.inplace(self, other)

    def mul_(self, other: Any) -> Tensor:
        """self *= other."""
        return elementwise.mul.inplace(self, other)

    def div_(self, other: Any) -> Tensor:
        """self /= other."""
        return elementwise.div.inplace(self, other)

    # ---- shapes
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape (one length may be -1); a view where strides allow."""
        return movement.reshape(self, _together(shape))

    view = reshape

    def permute(self, *axes: Any) -> Tensor:
        """A view with the axes in another order."""
        return movement.permute(self, _together(axes))

    @property
    def T(self) -> Tensor:
        """A view with all axes in reverse order, as in NumPy."""
        return _reversed(self)

    @property
    def mT(self) -> Tensor:
        """A view with the last two axes exchanged."""
        return movement.transpose(self, -2, -1)

    def expand(self, *shape: Any) -> Tensor:
        """A view broadcast to ``shape``, which takes no memory; -1 keeps the length of an axis."""
        return movement.expand(self, _together(shape))


class Parameter(Tensor):
    """A tensor that a module owns and an optimizer changes: ``Parameter(tensor)`` requires a gradient."""

    __slots__ = ()

    def __new__(cls, source: Tensor, requires_grad: bool = True) -> Parameter:
        instance(source, Tensor, "Parameter: source", "a tensor; make one with dlcore.tensor(data)")
        trained = boolean(requires_grad, "Parameter: requires_grad")
        if trained and not source.dtype.is_float:
            raise DTypeError(f"Parameter: source has dtype {source.dtype.name}; only floats have gradients")
        parameter = super().__new__(cls, source.detach())
        parameter.requires_grad = trained
        return parameter

    def __init__(self, source: Tensor, requires_grad: bool = True) -> None:
        """``source``: the initial value, a floating-point tensor (memory is shared)."""

    def __repr__(self) -> str:
        return "Parameter " + super().__repr__()


def _like_class(cls: type[Tensor], value: Tensor, requires_grad: bool) -> Tensor:
    result = cls(value) if cls is not Tensor else value
    result.requires_grad = requires_grad
    return result


def _rebuild(cls: type[Tensor], array: np.ndarray[Any, Any], requires_grad: bool, device: Any = CPU) -> Tensor:
    return _like_class(cls, tensor(array, device=device), requires_grad)


# ---- making tensors -----------------------------------------------------------------------------------------------


def chosen_device(device: Any) -> Device:
    """The device meant; the default one for None."""
    return default_device() if device is None else as_device(device)


def sizes_and_dtype(name: str, shape: tuple[Any, ...], dtype: Any) -> tuple[tuple[int, ...], DType]:
    """The lengths given as ``f(2, 3)`` or as ``f((2, 3))``, and the dtype of a new tensor: float32 where none is given.

    The dtype may stand behind them, as in NumPy: ``f((2, 3), np.int32)``.
    """
    several = dtype is None and len(shape) > 1 and type(shape[-1]) is not int
    if several and isinstance(shape[-1], DType | str | type | np.dtype):
        *shape, dtype = shape  # type: ignore[assignment]
    chosen = float32 if dtype is None else as_dtype(dtype, f"{name}: dtype")
    return lengths(shape[0] if len(shape) == 1 else tuple(shape), f"{name}: shape"), chosen


def filled(shape: tuple[int, ...], value: Any, dtype: DType, device: Any, requires_grad: bool = False) -> Tensor:
    """A tensor filled with a number, made in one native call."""
    return leaf(_C.full(shape, value, dtype, chosen_device(device).code), requires_grad)


def leaf(value: Tensor, requires_grad: bool) -> Tensor:
    """``value``, which has just been made, as a leaf of the graph where ``requires_grad``."""
    if requires_grad is not False and boolean(requires_grad, "requires_grad:"):
        value.requires_grad = True
    return value


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


_PYTHON_DATA = (bool, int, float, np.generic, list, tuple, range)


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
    if isinstance(data, Tensor):
        source = data.detach()
        target = source.device if device is None else as_device(device)
        copied = source.clone() if target is source.device else transfer(source, target)
        return leaf(copied if chosen is None else copied.astype(chosen), requires_grad)
    if isinstance(data, list | tuple) and any(isinstance(d, Tensor) for d in data):
        data = [np.asarray(d) if isinstance(d, Tensor) else d for d in data]
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


@spelled
def empty(
    shape: Any = (), *more: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of arbitrary values: its memory is not initialised (booleans are False, for not every byte is one)."""
    sizes, chosen = sizes_and_dtype("empty", (shape, *more), dtype)
    if chosen is bool_:
        return filled(sizes, False, chosen, device, requires_grad)
    return leaf(_C.empty(sizes, chosen, chosen_device(device).code), requires_grad)


@spelled
def zeros(
    shape: Any = (), *more: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``; float32 by default."""
    sizes, chosen = sizes_and_dtype("zeros", (shape, *more), dtype)
    return filled(sizes, 0, chosen, device, requires_grad)


@spelled
def ones(
    shape: Any = (), *more: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``; float32 by default."""
    sizes, chosen = sizes_and_dtype("ones", (shape, *more), dtype)
    return filled(sizes, 1, chosen, device, requires_grad)


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


_NUMBERS: dict[str, Callable[[Any], Any]] = {"b": bool, "i": int, "u": int, "f": float}  # by the kind of NumPy's dtype


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


_C.set_tensor_type(Tensor)
_C.bind(
    ShapeError=ShapeError, DTypeError=DTypeError, CaptureError=CaptureError, AutogradError=AutogradError,
    convert=convert, getitem=_indexing.getitem, setitem=_indexing.setitem, assign=assign, cast=elementwise.cast,
    add=elementwise.add, subtract=elementwise.sub, multiply=elementwise.mul, divide=elementwise.div,
    power=elementwise.pow, negative=elementwise.neg, absolute=elementwise.abs, matmul=function("matmul"),
    slice=function("slice"), take=function("take"), as_strided=function("as_strided"),
    strided_assign=function("strided_assign"),
    floor_divide=elementwise.floor_divide, remainder=elementwise.remainder,
    bitwise_and=bitwise.bitwise_and, bitwise_or=bitwise.bitwise_or, bitwise_xor=bitwise.bitwise_xor,
    bitwise_not=bitwise.bitwise_not, left_shift=bitwise.bitwise_left_shift, right_shift=bitwise.bitwise_right_shift,
    eq=elementwise.eq, ne=elementwise.ne, lt=elementwise.lt, le=elementwise.le,
    gt=elementwise.gt, ge=elementwise.ge,
)  # fmt: skip
