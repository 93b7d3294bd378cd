"""Element types and the rules of promotion.

A dtype is one of thirteen objects, the same on every device. Python scalars are weak: they take the tensor's dtype
where their kind fits into it (``int32 + 2`` is int32; ``int32 + 0.5`` is the default float, float32). Between tensors
the lattice of the array API holds, except that an integer tensor never widens a floating one (``int64 + float16`` is
float16); signed and unsigned ones follow NumPy, where int64 and uint64 are float64 together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np

from dlcore import _C
from dlcore._arguments import check_lengths, shown
from dlcore.errors import DTypeError, ShapeError

__all__ = ["DTYPES", "FLOATS", "INTEGERS", "DType", "as_dtype", "default_float", "result_type", "total_dtype"]


class DType:
    """An element type: ``name``, ``code`` (shared with csrc/core/dtype.h), ``itemsize`` in bytes, ``numpy`` dtype.

    ``kind`` is one of "bool", "int", "uint", "float". Equal to itself and to what names it: ``x.dtype == "float32"``,
    ``x.dtype == np.float32``. NumPy takes it for a dtype of its own: ``np.zeros(3, dtype=dl.float32)``.
    """

    __slots__ = ("_largest", "code", "itemsize", "kind", "name", "numpy")
    code: int
    itemsize: int
    kind: str
    name: str
    numpy: np.dtype[Any]

    def __init__(self, code: int, name: str, kind: str, numpy_type: Any):
        self.code, self.name, self.kind = code, name, kind
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize
        self._largest: float | None = None

    def __repr__(self) -> str:
        return f"dlcore.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, DType) else _known(other) is self

    __hash__ = object.__hash__

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype, under the name by which NumPy asks for it."""
        return self.numpy

    @property
    def is_float(self) -> bool:
        """Whether this is a floating-point type (the only ones that can have gradients)."""
        return self.kind == "float"

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger number; 0 for integers."""
        return float(ml_dtypes.finfo(self.numpy).eps) if self.is_float else 0.0

    @property
    def tiny(self) -> float:
        """The smallest positive normal number; 0 for integers."""
        return float(ml_dtypes.finfo(self.numpy).tiny) if self.is_float else 0.0

    @property
    def largest(self) -> float:
        """The largest finite number; of bool, 1."""
        if self._largest is None:
            kind = ml_dtypes.finfo if self.is_float else np.iinfo
            self._largest = 1.0 if self.kind == "bool" else float(kind(self.numpy).max)
        return self._largest

    @property
    def range(self) -> str:
        """The smallest and the largest finite number, for errors: ``0 to 255``."""
        if self.is_float:
            return f"{-self.largest:.8g} to {self.largest:.8g}"
        if self.kind == "bool":
            return "False to True"
        limits = np.iinfo(self.numpy)
        return f"{limits.min} to {limits.max}"


bool_: DType = DType(0, "bool", "bool", np.bool_)
uint8: DType = DType(1, "uint8", "uint", np.uint8)
uint16: DType = DType(2, "uint16", "uint", np.uint16)
uint32: DType = DType(3, "uint32", "uint", np.uint32)
uint64: DType = DType(4, "uint64", "uint", np.uint64)
int8: DType = DType(5, "int8", "int", np.int8)
int16: DType = DType(6, "int16", "int", np.int16)
int32: DType = DType(7, "int32", "int", np.int32)
int64: DType = DType(8, "int64", "int", np.int64)
float16: DType = DType(9, "float16", "float", np.float16)
bfloat16: DType = DType(10, "bfloat16", "float", ml_dtypes.bfloat16)
float32: DType = DType(11, "float32", "float", np.float32)
float64: DType = DType(12, "float64", "float", np.float64)

DTYPES: tuple[DType, ...] = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64, float16, bfloat16, float32, float64,
)  # fmt: skip
INTEGERS: tuple[DType, ...] = (uint8, uint64, int8, int16, int32, int64)
"""The integers whose ends are tried."""
FLOATS: tuple[DType, ...] = (float16, bfloat16, float32, float64)
_BY_NAME: dict[Any, DType] = {d.name: d for d in DTYPES} | {"bool_": bool_}
_BY_NUMPY = {d.numpy: d for d in DTYPES}
NUMPY_DTYPES = frozenset(_BY_NUMPY)
_PYTHON: dict[Any, DType] = {bool: bool_, int: int64, float: float32}
_C.register_dtypes(DTYPES)

_found: dict[str | type, DType] = {}
"""What `as_dtype` has found for names and types: NumPy takes a third of a microsecond to say what they mean."""


def check_size(name: str, shape: Sequence[int], dtype: DType) -> None:
    """Raises ShapeError where ``shape`` has a negative length, or where lengths other than 0 make 2^63 bytes or more.

    Sizes, offsets and strides of smaller arrays, also of an empty array's other axes, can be computed in 64 bits. Every
    output of an operation passes here once; csrc/core/layout.h has the same for memory that comes from elsewhere.
    """
    check_lengths(name, shape)
    if math.prod(n or 1 for n in shape) * dtype.itemsize >= 2**63:
        raise ShapeError(f"{name}: an array of shape {tuple(shape)} has more elements than can be counted")


def default_float() -> DType:
    """The dtype of new floating-point tensors made from Python floats: float32."""
    return float32


def total_dtype(dtype: DType) -> DType:
    """The dtype of sums and products of ``dtype``: of integers and bool the widest, signed or not as they are."""
    return dtype if dtype.is_float else uint64 if dtype.kind == "uint" else int64


def as_dtype(x: Any, where: str = "") -> DType:
    """The DType that ``x`` names: a DType, a name, a NumPy dtype or scalar type, or Python's bool, int, float.

    ``where`` begins the error: "cast: dtype".
    """
    if type(x) is DType:
        return x
    kept = isinstance(x, type) or type(x) is str
    found = _found.get(x) if kept else None
    if found is None:
        found = _known(x)
    if found is not None:
        if kept:
            _found[x] = found
        return found
    given = repr(x) if isinstance(x, np.dtype) else shown(x)
    raise DTypeError(f"{where} {given} is not a dtype of dlcore (known: {', '.join(d.name for d in DTYPES)})".lstrip())


def _known(x: Any) -> DType | None:
    """The DType that ``x`` names, or None."""
    if isinstance(x, DType):
        return x
    if isinstance(x, np.dtype) and x in _BY_NUMPY:
        return _BY_NUMPY[x]
    if isinstance(x, str | type | np.dtype):
        if x in _PYTHON:
            return _PYTHON[x]
        if x in _BY_NAME:
            return _BY_NAME[x]
        with suppress(TypeError, ValueError, SyntaxError, KeyError, DeprecationWarning):
            return _BY_NUMPY[np.dtype(x).newbyteorder("=")]
    return None


def _promote(a: DType, b: DType) -> DType:
    if a is b:
        return a
    if a.is_float != b.is_float:
        return a if a.is_float else b
    if a.is_float and a.itemsize == b.itemsize == 2:  # float16 with bfloat16: neither holds the other
        return float32
    return _BY_NUMPY[np.promote_types(a.numpy, b.numpy)]


def result_type(operands: Iterable[tuple[DType, bool]]) -> DType:
    """The common dtype of ``operands``, each (dtype, weak).

    Weak operands (Python scalars) count by kind only: a weak float lifts integers to the default float, a weak int
    lifts bool to int64; otherwise they follow the tensors.
    """
    strong: DType | None = None
    weak_kinds = set()
    for dtype, weak in operands:
        if weak:
            weak_kinds.add(dtype.kind)
        else:
            strong = dtype if strong is None else _promote(strong, dtype)
    if "float" in weak_kinds and (strong is None or not strong.is_float):
        return default_float()
    if "int" in weak_kinds and (strong is None or strong is bool_):
        return int64
    return strong if strong is not None else bool_
