"""The public functions of the operations, `dl.exp` and the others, and the methods that tensors have of them.

Editors and type checkers read their signatures in `_operations.pyi`, which `make stubs` writes from the definitions.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__: list[str] = []

MODULES = (
    "elementwise",
    "activation",
    "movement",
    "gather",
    "reduce",
    "matmul",
    "softmax",
    "loss",
)
"""Modules of dlcore.ops whose functions are public."""


class TensorMethods:
    """The operations that tensors have as methods: ``x.sum(0)`` is ``dl.sum(x, 0)``."""

    __slots__ = ()


def is_method(function: Any) -> bool:
    """Whether tensors have this public function as a method: where the definition says so, and for functions in Python
    of a tensor `x`."""
    if hasattr(function, "op"):
        return bool(function.op.methods)
    return bool(function.__code__.co_varnames[:1] == ("x",))


for _module in MODULES:
    _found = importlib.import_module(f"dlcore.ops.{_module}")
    for _name in _found.__all__:
        globals()[_name] = _function = getattr(_found, _name)
        __all__ += [_name]
        if is_method(_function):
            setattr(TensorMethods, _name, _function)
