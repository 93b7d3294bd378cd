"""The public functions of the operations, `dl.exp` and the others, and the methods that tensors have of them.

Editors and type checkers read their signatures in `_operations.pyi`, which `make stubs` writes from the definitions.
"""

from __future__ import annotations

import importlib
from typing import Any

from dlcore._aliases import ALIASES
from dlcore._spelling import spelled

__all__: list[str] = []

MODULES = (
    "elementwise",
    "bitwise",
    "limits",
    "rounding",
    "trigonometry",
    "arithmetic",
    "special",
    "activation",
    "units",
    "gates",
    "gated",
    "movement",
    "gather",
    "shaping",
    "arranging",
    "strided",
    "triangles",
    "scattering",
    "editing",
    "reduce",
    "matmul",
    "softmax",
    "rotary",
    "order",
    "quantile",
    "search",
    "sets",
    "loss",
    "likelihood",
    "pairs",
    "losses",
    "linear_loss",
    "comparison",
    "standard",
    "vectors",
    "contraction",
    "products",
    "affine",
    "recurrence",
    "scan",
    "statistics",
    "numbers",
    "counting",
    "differences",
    "convolution",
    "max_pool",
    "avg_pool",
    "columns",
    "resize",
    "batch_norm",
    "sampling",
    "cropping",
    "pooling",
    "row_norms",
    "group_norms",
    "embedding",
    "bags",
    "ctc",
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
    return bool(getattr(function, "__wrapped__", function).__code__.co_varnames[:1] == ("x",))


def _publish(name: str, function: Any) -> None:
    if name in globals():
        where = "it is an alias too, in dlcore/_aliases.py" if name in ALIASES else "in two modules of dlcore.ops"
        raise ValueError(f"two public functions are called {name!r}: {where}")
    globals()[name] = function
    __all__.append(name)
    if is_method(function):
        setattr(TensorMethods, name, function)


for _module in MODULES:
    _found = importlib.import_module(f"dlcore.ops.{_module}")
    for _name in _found.__all__:
        _function = getattr(_found, _name)
        _publish(_name, _function if hasattr(_function, "op") else spelled(_function))
for _name, _target in ALIASES.items():
    _publish(_name, globals()[_target])
