"""Methods of tensors under the names that people know from PyTorch: conversions, new tensors alike, what memory holds.

Each says in one line what it is in dlcore's own words.
"""

from __future__ import annotations

import sys
from typing import Any

from dlcore import _C, dtypes, linalg
from dlcore._arguments import renamed
from dlcore.dtypes import DType, as_dtype
from dlcore.errors import ShapeError
from dlcore.ops import elementwise
from dlcore.ops.movement import transpose
from dlcore.ops.slicing import assign
from dlcore.ops.strided import as_strided

__all__ = ["Habits"]


def _drawn(name: str, x: Any, make: str, *numbers: Any) -> Any:
    """``x`` with numbers drawn by a function of `dlcore.random` in its memory; errors name the method."""
    try:
        return assign.inplace(x, getattr(sys.modules["dlcore"].random, make)(x.shape, *numbers, dtype=x.dtype))
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, name) from None


def _as(x: Any, dtype: DType) -> Any:
    return x if x.dtype is dtype else elementwise.cast(x, dtype)


def _new(x: Any, make: str, args: tuple[Any, ...], dtype: Any, requires_grad: Any) -> Any:
    """What a function of dlcore makes, of the dtype of ``x`` where none is given, on its device."""
    chosen = x.dtype if dtype is None else dtype
    try:
        function = getattr(sys.modules["dlcore"], make)
        return function(*args, dtype=chosen, device=x.device, requires_grad=requires_grad)
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, f"new_{make}") from None


class _Elsewhere:
    """A name that tensors have not, since it would mean two things or belong to another result: the error helps on."""

    def __init__(self, instead: str):
        self.instead = instead

    def __set_name__(self, owner: Any, name: str) -> None:
        self.name = name

    def __get__(self, x: Any, owner: Any = None) -> Any:
        raise AttributeError(f"Tensor has no {self.name}: {self.instead}", name=self.name, obj=x)


class Habits(_C.TensorBase):
    """The methods."""

    __slots__ = ()

    # ---- names without a meaning of their own
    values = _Elsewhere("max, min, median and sort give the values themselves; topk, kthvalue and cummax a pair")
    indices = _Elsewhere("max, min, median and sort give values alone; argmax, argmin, argsort and topk give places")
    repeat = _Elsewhere(
        "x.tile((2, 1)) repeats the whole, as PyTorch's repeat(2, 1); dl.repeat(x, 2, axis) each element, as NumPy's"
    )

    # ---- conversions
    def type_as(self, other: Any) -> Any:
        """This tensor in the dtype of another."""
        return _as(self, other.dtype)

    def type(self, dtype: Any) -> Any:
        """This tensor in another dtype: `astype`."""
        return _as(self, as_dtype(dtype, "type: dtype"))

    def double(self) -> Any:
        """This tensor in float64."""
        return _as(self, dtypes.float64)

    def half(self) -> Any:
        """This tensor in float16."""
        return _as(self, dtypes.float16)

    def bfloat16(self) -> Any:
        """This tensor in bfloat16."""
        return _as(self, dtypes.bfloat16)

    def long(self) -> Any:
        """This tensor in int64."""
        return _as(self, dtypes.int64)

    def short(self) -> Any:
        """This tensor in int16."""
        return _as(self, dtypes.int16)

    def char(self) -> Any:
        """This tensor in int8."""
        return _as(self, dtypes.int8)

    def byte(self) -> Any:
        """This tensor in uint8."""
        return _as(self, dtypes.uint8)

    def int(self) -> Any:
        """This tensor in int32."""
        return _as(self, dtypes.int32)

    def bool(self) -> Any:
        """This tensor as truth values: what is not 0."""
        return _as(self, dtypes.bool_)

    # ---- new tensors, of this dtype and on this device
    def new_zeros(self, *shape: Any, dtype: Any = None, requires_grad: Any = False) -> Any:
        """Zeros of a shape, of this tensor's dtype and on its device."""
        return _new(self, "zeros", shape, dtype, requires_grad)

    def new_ones(self, *shape: Any, dtype: Any = None, requires_grad: Any = False) -> Any:
        """Ones of a shape, of this tensor's dtype and on its device."""
        return _new(self, "ones", shape, dtype, requires_grad)

    def new_empty(self, *shape: Any, dtype: Any = None, requires_grad: Any = False) -> Any:
        """An uninitialised tensor of a shape, of this tensor's dtype and on its device."""
        return _new(self, "empty", shape, dtype, requires_grad)

    def new_full(self, shape: Any, fill_value: Any, dtype: Any = None, requires_grad: Any = False) -> Any:
        """A tensor of a shape filled with a value, of this tensor's dtype and on its device."""
        return _new(self, "full", (shape, fill_value), dtype, requires_grad)

    def new_tensor(self, data: Any, dtype: Any = None, requires_grad: Any = False) -> Any:
        """``data`` as a tensor of this one's dtype and on its device."""
        return _new(self, "tensor", (data,), dtype, requires_grad)

    # ---- what it is
    def is_floating_point(self) -> Any:
        """Whether the dtype is a floating-point one."""
        return self.dtype.is_float

    def element_size(self) -> Any:
        """Bytes of an element: `itemsize`."""
        return self.dtype.itemsize

    def nelement(self) -> Any:
        """Number of elements: `size`."""
        return self.size

    def stride(self, axis: Any = None) -> Any:
        """Elements from one place to the next along each axis, or along ``axis``: `strides`."""
        return self.strides if axis is None else self.strides[axis]

    @property
    def is_cuda(self) -> Any:
        """Whether the tensor is on a GPU."""
        return self.device.type == "cuda"

    @property
    def grad_fn(self) -> Any:
        """What the tensor was made by, on the tape; None of leaves: `node`."""
        return self.node

    @property
    def data(self) -> Any:
        """The values without their gradient history, in the same memory: `detach`. What is assigned is written there.
        """
        return self.detach()

    @data.setter
    def data(self, values: Any) -> None:
        assign.inplace(self.detach(), values)

    # ---- other calls
    def t(self) -> Any:
        """A view of a matrix with its axes exchanged; a tensor with fewer axes is itself."""
        if self.ndim > 2:
            raise ShapeError(f"t: x has shape {self.shape}; mT exchanges the last two axes")
        return self if self.ndim < 2 else transpose(self, 0, 1)

    def fill(self, value: Any) -> None:
        """Sets every element to ``value``, as NumPy's: `fill_`, which returns the tensor."""
        assign.inplace(self, value)

    def as_strided(self, size: Any, stride: Any, storage_offset: Any = 0) -> Any:
        """A view of other lengths and strides, in elements, from an offset on: `dl.as_strided`."""
        return as_strided(self, size, stride, storage_offset)

    def where(self, condition: Any, other: Any) -> Any:
        """This tensor where ``condition`` holds, else ``other``: ``dl.where(condition, x, other)``."""
        return elementwise.where(condition, self, other)

    def det(self) -> Any:
        """The determinants of matrices: `dl.linalg.det`."""
        return linalg.det(self)

    def inverse(self) -> Any:
        """The inverses of matrices: `dl.linalg.inv`."""
        return linalg.inv(self)

    def matrix_power(self, n: Any) -> Any:
        """Powers of square matrices: `dl.linalg.matrix_power`."""
        return linalg.matrix_power(self, n)

    def normal_(self, mean: Any = 0.0, std: Any = 1.0) -> Any:
        """Numbers of a normal distribution in the place of all elements: `dl.random.normal`."""
        return _drawn("normal_", self, "normal", mean, std)

    def uniform_(self, low: Any = 0.0, high: Any = 1.0) -> Any:
        """Numbers of a uniform distribution in the place of all elements: `dl.random.uniform`."""
        return _drawn("uniform_", self, "uniform", low, high)
