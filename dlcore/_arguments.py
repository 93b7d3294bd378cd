"""What callers may pass as a whole number, a number, a truth value, a shape or an axis: one answer for every function.

A whole number is what `operator.index` takes, NumPy's integers and 0-d integer arrays and tensors among it, but no
bool; a number is what `float` takes, but no text and no array with axes; a truth value is a bool, or 0 or 1. Each
function here returns a plain Python object or raises an error that begins with ``where``: "softmax: axis".
"""

from __future__ import annotations

import functools
import inspect
import operator
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import numpy as np

from dlcore import _C
from dlcore._spelling import spelled
from dlcore.errors import DTypeError, ShapeError

__all__ = [
    "MAX_AXES", "axis_of", "boolean", "booleans", "called", "check_lengths", "choice", "function", "has", "instance",
    "integer", "integers", "items", "lengths", "listed", "names_errors", "number", "operand", "remembered", "renamed",
    "shaped", "shown",
]  # fmt: skip

MAX_AXES = 8  # kMaxDims in csrc/core/kernel.h

_LARGEST = 2**64
_NOTHING = object()
_BOOLS = (bool, np.bool_)
_TEXTS = (str, bytes, bytearray)
_SEQUENCES = (tuple, list)
_ARRAYS = (np.ndarray, _C.TensorBase)

_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, range, type(None), type(...))


def shown(value: Any) -> str:
    """``value`` in an error, on one short line: its repr where it has a plain one, else what it is."""
    if isinstance(value, _C.TensorBase):
        return f"a tensor of shape {value.shape} and dtype {value.dtype.name}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value) is int and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, np.generic):
        return _shortened(repr(value))
    return _reprs.repr(value) if type(value) in _PLAIN else f"a {type(value).__name__}"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Reprs(reprlib.Repr):
    """Short reprs of containers, with what `shown` says of their items."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = 60

    def repr_int(self, x: Any, level: int) -> str:
        return shown(x) if x.bit_length() > 200 else repr(x)

    def repr_instance(self, x: Any, level: int) -> str:
        return _shortened(repr(x)) if type(x) in _PLAIN else shown(x)


_reprs = _Reprs()


def has(value: Any, name: str) -> bool:
    """Whether an object, or its class, has an attribute. Unlike `hasattr` it runs no code of the object's."""
    if type(value) is type:  # what inspect finds, without its ten microseconds
        return any(name in vars(c) for c in value.__mro__) or name in vars(type)
    return inspect.getattr_static(value, name, _NOTHING) is not _NOTHING


def integer(value: Any, where: str, least: int | None = None) -> int:
    """``value`` as an int of about 64 bits, of at least ``least``."""
    if type(value) is not int:
        if isinstance(value, _BOOLS):
            raise TypeError(f"{where} {value} is not an integer")
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{where} {shown(value)} is not an integer") from None
    if not -_LARGEST <= value <= _LARGEST:
        raise OverflowError(f"{where} is {shown(value)}, which no integer of 64 bits holds")
    if least is not None and value < least:
        raise ValueError(f"{where} is {shown(value)}; it must be at least {least}")
    return value


def number(value: Any, where: str) -> float:
    """``value`` as a float."""
    if type(value) is float:
        return value
    plain = value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value
    try:
        if isinstance(plain, _TEXTS) or (getattr(type(plain), "ndim", None) is not None and plain.ndim):
            raise TypeError
        return float(plain)
    except TypeError:
        raise TypeError(f"{where} {shown(value)} is not a number") from None
    except OverflowError:
        raise OverflowError(f"{where} is {shown(value)}, which is too large for a float") from None


def boolean(value: Any, where: str) -> bool:
    """``value`` as a bool."""
    if type(value) is bool:
        return value
    plain = value
    if isinstance(value, np.ndarray | np.generic | _C.TensorBase) and value.ndim == 0:
        plain = value.item()
    if isinstance(plain, int) and plain in (0, 1):
        return bool(plain)
    raise TypeError(f"{where} {shown(value)} is neither True nor False")


def booleans(name: str, **values: Any) -> list[bool]:
    """The truth values among the arguments of the function ``name`` as bools."""
    return [v if type(v) is bool else boolean(v, f"{name}: {argument}") for argument, v in values.items()]


def choice(value: Any, values: Sequence[Any], where: str) -> Any:
    """``value``, which must be one of ``values``."""
    for v in values:
        if value is v or (type(value) is type(v) and value == v):
            return value
    raise ValueError(f"{where} {shown(value)} is not one of {', '.join(map(repr, values))}")


def function(value: Any, where: str) -> Any:
    """``value``, which must be a function or an object that can be called as one, and no class."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{where} {shown(value)} is not a function or an object that can be called")
    return value


def items(value: Any) -> Sequence[Any] | None:
    """The items of a sequence, or of an array or tensor with one axis; None of anything else, text too."""
    if type(value) in _SEQUENCES:  # of the usual types, without asking abstract classes
        return cast(Sequence[Any], value)
    if type(value) is int or value is None:
        return None
    if isinstance(value, _ARRAYS):
        array: Any = value
        return array.tolist() if array.ndim == 1 else None
    return value if isinstance(value, Sequence) and not isinstance(value, _TEXTS) else None


def listed(value: Any, where: str, what: str, optional: bool = False) -> list[Any]:
    """The items of an iterable as a list; raises TypeError for one thing alone, an array, text or a mapping.

    ``optional``: None is none of them.
    """
    if value is None and optional:
        return []
    if isinstance(value, (*_TEXTS, np.ndarray, _C.TensorBase, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{where} {shown(value)} is not a list of {what}")
    return list(value)


def integers(value: Any, where: str) -> tuple[int, ...]:
    """``value``, a sequence of integers or one alone, as a tuple of ints."""
    several = items(value)
    try:
        return tuple([integer(n, where) for n in ((value,) if several is None else several)])
    except TypeError:
        raise TypeError(f"{where} {shown(value)} is not a sequence of integers") from None


def lengths(value: Any, where: str) -> tuple[int, ...]:
    """The lengths of a new tensor's axes, none of them negative, as a tuple of ints."""
    if type(value) is tuple and len(value) <= MAX_AXES:
        for n in value:
            if type(n) is not int or not 0 <= n < 2**63:
                break
        else:  # nothing to convert
            return value
    if type(value) is int and 0 <= value < 2**63:
        return (value,)
    shape = integers(value, where)
    if not shape or (min(shape) >= 0 and max(shape) < 2**63 and len(shape) <= MAX_AXES):
        return shape
    name = where.partition(":")[0]
    check_lengths(name, shape)
    raise MemoryError(f"{name}: a tensor of shape {shape} does not fit in any memory")


def check_lengths(name: str, shape: Sequence[int]) -> None:
    """Raises ShapeError where ``shape`` has a negative length or too many of them. ``name``: of the operation."""
    if min(shape, default=0) < 0:
        raise ShapeError(f"{name}: negative length in shape {tuple(shape)}")
    if len(shape) > MAX_AXES:
        raise ShapeError(f"{name}: {len(shape)} axes; a tensor has at most {MAX_AXES}")


def axis_of(value: Any, where: str, shape: tuple[int, ...]) -> int:
    """An axis of ``shape`` counted from the front; negative ones count from the back.

    Raises IndexError, e.g. ``softmax: axis 3 is out of range for shape (2, 3)``.
    """
    axis = integer(value, where)
    if not -len(shape) <= axis < len(shape):
        raise IndexError(f"{where} {shown(axis)} is out of range for shape {shape}")
    return axis % len(shape)


def instance(value: Any, types: Any, where: str, expected: str) -> Any:
    """``value``, which must be one of ``types``: ``Parameter: source [1.0] is not a tensor``."""
    if not isinstance(value, types):
        raise TypeError(f"{where} {shown(value)} is not {expected}")
    return value


def operand(value: Any, name: str, operand: str = "x", like: Any = None) -> Any:
    """What a function in Python makes of its operand: a tensor; arrays and lists become one, where ``like`` is."""
    if not isinstance(value, _C.TensorBase):
        value = _C.as_tensor(value, name, operand, like)
    if value.weak:
        raise DTypeError(f"{name}: operand {operand!r} is a number, not a tensor")
    return value


def renamed(error: Exception, name: str) -> Exception:
    """The error of an operation as that of the function ``name``, which the caller knows: ``raise renamed(...)``.

    A plain RuntimeError, which names a function of the driver or the system, stays as it is.
    """
    head, colon, rest = str(error).partition(":")
    own = bool(colon) and head.isidentifier() and type(error) is not RuntimeError
    return type(error)(f"{name}:{rest}") if own else error


class calling:
    """``with calling(name):`` errors of the operations within are those of the function ``name``, which the caller
    knows; where a step is recorded, those of its replays, too."""

    __slots__ = ("name", "noted")

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> Self:
        self.noted = _C.begin_call(self.name)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.noted:
            _C.end_call()
        if isinstance(error, TypeError | ValueError | IndexError | OverflowError | RuntimeError):
            raise renamed(error, self.name) from None


def called(name: str, function: Any, *args: Any) -> Any:
    """``function(*args)``, the errors of which name ``name``: what the caller of a function made of others knows."""
    noted = _C.begin_call(name)  # `calling`, which costs more
    try:
        return function(*args)
    except (TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
        raise renamed(error, name) from None
    finally:
        if noted:
            _C.end_call()


F = TypeVar("F", bound=Callable[..., Any])


def remembered(function: F) -> F:
    """A function of a shape and plain arguments that works out once what they mean; a decorator.

    It keeps what it gave for ints, text, None and tuples or lists of them, and runs for others; of tensors it may look
    at dtype, device, shape and strides alone. See csrc/core/remembered.cpp. What it returns must not be changed; it is
    called without names.
    """
    return cast(F, _C.Remembered(function))


def names_errors(function: F) -> F:
    """A function in Python that calls others of dlcore, with their errors as its own; a decorator.

    Once C++ has seen which operations a call makes, it runs them by itself: of tensors Python may ask no more than what
    csrc/core/traced.cpp says. A function that is in C++ already stays as it is.
    """
    if isinstance(function, _C.Shaped | _C.Quick | _C.Traced):
        return function
    return cast(F, _C.Traced(function.__name__, function, spelled(function), renamed))


def quick(name: str) -> Callable[[F], F]:
    """A function in Python the plainest calls of which C++ answers, as ``name`` in csrc/core/quick.cpp; a decorator."""

    def decorate(function: F) -> F:
        return cast(F, _C.Quick(name, function))

    return decorate


def shaped(operation: Any) -> Callable[[F], F]:
    """A function of a tensor that is one view ``operation`` of it, with errors of its own; a decorator.

    The function below it says what the call means: it returns the operation's attribute, or None where the result is
    the tensor itself. For plain arguments it does so once (csrc/core/shaped.cpp), so a call costs what one of the
    operation does.
    """

    def decorate(meaning: F) -> F:
        name = meaning.__name__

        @functools.wraps(meaning)
        def function(x: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                tensor = operand(x, name)
                meant = meaning(tensor, *args, **kwargs)
                return tensor if meant is None else operation(tensor, meant)
            except (TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
                raise renamed(error, name) from None

        return cast(F, _C.Shaped(meaning, operation, spelled(function)))

    return decorate
