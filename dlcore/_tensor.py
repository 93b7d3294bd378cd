"""`Tensor` and `Parameter`: the methods on top of the C type."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlcore import _C, _autograd, _indexing, _numpy
from dlcore._arguments import boolean, instance, quick, shaped, shown
from dlcore._array_api import VERSIONS
from dlcore._creation import arange, empty, ones, zeros
from dlcore._device import CPU, Device
from dlcore._device import device as as_device
from dlcore._from_data import DLPACK_CPU, DLPACK_CUDA, convert, from_numpy, tensor
from dlcore._habits import Habits
from dlcore._hooks import HookHandle, register_hook, retain_grad
from dlcore._operations import TensorMethods
from dlcore._printing import text_of
from dlcore._writing import Writing
from dlcore.dtypes import as_dtype, bfloat16, bool_, float32, int16, int64
from dlcore.errors import AutogradError, CaptureError, DTypeError, ShapeError
from dlcore.op import function
from dlcore.ops import bitwise, elementwise, movement, rounding
from dlcore.ops.slicing import assign
from dlcore.ops.transfer import transfer

__all__ = ["Parameter", "Tensor", "arange", "empty", "from_numpy", "ones", "tensor", "zeros"]


def _together(values: tuple[Any, ...]) -> Any:
    """The numbers given as ``f(2, 3)`` or as ``f((2, 3))``, for an operation's attribute."""
    return values[0] if len(values) == 1 else values


@shaped(movement.permute)
def _reversed(x: Any) -> Any:
    return tuple(reversed(range(x.ndim)))


class Tensor(Writing, Habits, TensorMethods):
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
        if not (spec or self.ndim) and _C.batch_of(self) is None:  # a number, as in NumPy and PyTorch
            return str(self.numpy()[()])
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

    @quick("cast")
    def astype(self, dtype: Any, copy: bool = False, device: Any = None) -> Tensor:
        """This tensor in another dtype; itself if it has that dtype and no ``copy`` is asked for.

        Floats become integers by truncation.
        """
        target = as_dtype(dtype, "astype: dtype")
        result = self if target is self.dtype else elementwise.cast(self, target)
        result = result if device is None else result.to_device(device)
        return movement.contiguous(self) if boolean(copy, "astype: copy") and result is self else result

    @quick("cast")
    def to(
        self, *targets: Any, device: Any = None, dtype: Any = None, non_blocking: Any = False, copy: Any = False
    ) -> Tensor:  # fmt: skip
        """This tensor on another device, in another dtype, or both: ``x.to("cpu")``, ``x.to("cuda", dl.float16)``.

        Another tensor stands for its device and dtype. Itself where it is so already and no ``copy`` is asked for. Work
        on a GPU goes on in the background, whatever ``non_blocking`` says.
        """
        result = self
        for target in (*targets, device, dtype):
            if isinstance(target, Tensor):
                result = result.to(target.device, target.dtype)
            elif isinstance(target, Device) or (
                isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda", "gpu")
            ):
                place = as_device(target)
                result = result if result.device is place else transfer(result, place)
            elif target is not None:
                chosen = as_dtype(target, "to: target")
                result = result if result.dtype is chosen else elementwise.cast(result, chosen)
        return result.clone() if boolean(copy, "to: copy") and result is self else result

    def cpu(self) -> Tensor:
        """This tensor on the CPU."""
        return self.to(CPU)

    def cuda(self) -> Tensor:
        """This tensor on the first GPU."""
        return self.to("cuda")

    def float(self) -> Tensor:
        """This tensor in float32."""
        return self if self.dtype is float32 else elementwise.cast(self, float32)

    # ---- writing
    def copy_(self, source: Any) -> Tensor:
        """Writes ``source``, broadcast and cast, into this tensor's memory."""
        self[...] = source
        return self

    def fill_(self, value: Any) -> Tensor:
        """Sets every element to ``value``."""
        self[...] = value
        return self

    def zero_(self) -> Tensor:
        """Sets every element to 0."""
        self[...] = 0
        return self

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self += alpha other."""
        return elementwise.add.inplace(self, other if alpha == 1 else elementwise.mul(other, alpha))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self -= alpha other."""
        return elementwise.sub.inplace(self, other if alpha == 1 else elementwise.mul(other, alpha))

    def mul_(self, other: Any) -> Tensor:
        """self *= other."""
        return elementwise.mul.inplace(self, other)

    def div_(self, other: Any) -> Tensor:
        """self /= other."""
        return elementwise.div.inplace(self, other)

    # ---- shapes
    @quick("reshape")
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape (one length may be -1); a view where strides allow."""
        return movement.reshape(self, _together(shape))

    view = reshape

    @quick("permute")
    def permute(self, *axes: Any) -> Tensor:
        """A view with the axes in another order."""
        return movement.permute(self, _together(axes))

    @property
    @quick("T")
    def T(self) -> Tensor:
        """A view with all axes in reverse order, as in NumPy."""
        return _reversed(self)

    @property
    @quick("mT")
    def mT(self) -> Tensor:
        """A view with the last two axes exchanged."""
        return movement.transpose(self, -2, -1)

    @quick("expand")
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


_C.set_tensor_type(Tensor)
_C.bind(
    ShapeError=ShapeError, DTypeError=DTypeError, CaptureError=CaptureError, AutogradError=AutogradError,
    convert=convert, getitem=_indexing.getitem, setitem=_indexing.setitem, assign=assign, cast=elementwise.cast,
    add=elementwise.add, subtract=elementwise.sub, multiply=elementwise.mul, divide=elementwise.div,
    power=elementwise.pow, negative=elementwise.neg, absolute=elementwise.abs, matmul=function("matmul"),
    slice=function("slice"), take=function("take"), as_strided=function("as_strided"),
    strided_assign=function("strided_assign"), reshape=function("reshape"), ravel_index=function("ravel_index"),
    put=function("put_"), where=function("where"), ndarray=np.ndarray,
    floor_divide=elementwise.floor_divide, remainder=elementwise.remainder,
    bitwise_and=bitwise.bitwise_and, bitwise_or=bitwise.bitwise_or, bitwise_xor=bitwise.bitwise_xor,
    bitwise_not=bitwise.bitwise_not, left_shift=bitwise.bitwise_left_shift, right_shift=bitwise.bitwise_right_shift,
    eq=elementwise.eq, ne=elementwise.ne, lt=elementwise.lt, le=elementwise.le,
    gt=elementwise.gt, ge=elementwise.ge,
)  # fmt: skip
