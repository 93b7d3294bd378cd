"""What kind of thing a value is that a step touches, of Python, of C or of the engine; why a step is refused."""

from __future__ import annotations

import types
from typing import Any

from dlcore._observe import known
from dlcore._observe.guards import lookup, mro, scope
from dlcore._reasons import FailureKind
from dlcore._tensor import Tensor

__all__ = ["Refused", "is_engine", "named", "of_python", "runs_python"]


class Refused(Exception):
    """A reason not to record; ``kind``: whether a later call may do without."""

    def __init__(self, text: str, kind: FailureKind = FailureKind.PERMANENT):
        super().__init__(text)
        self.kind = kind


def of_python(cls: type) -> bool:
    """Whether a class was made by Python code, so that it can change, and what it does is observed."""
    if not cls.__flags__ & known.OBJECT_OF_PYTHON:
        return False
    own = scope(cls)  # a class of C has methods of its own that are written in C
    methods = types.WrapperDescriptorType | types.MethodDescriptorType
    new = own.get("__new__")
    return not (
        (isinstance(new, types.BuiltinFunctionType) and new.__self__ is cls)
        or any(isinstance(found, methods) and found.__objclass__ is cls for found in own.values())
    )


def named(value: Any) -> str:
    """What to call a value in a message: a function or class by its name, any other by its class."""
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return str(value.__qualname__)
    return type(value).__name__


def is_engine(value: Any) -> bool:
    """Whether an object is of a class of dlcore, or of a subclass."""
    return isinstance(value, Tensor) or any(known.is_own(owner.__module__) for owner in mro(type(value)))


def runs_python(value: Any, method: str) -> bool:
    """Whether a method of a value is Python code that is observed when it runs."""
    found = lookup(type(value), method)
    return isinstance(found, types.FunctionType) and not found.__code__.co_filename.startswith(known.LIBRARY)
