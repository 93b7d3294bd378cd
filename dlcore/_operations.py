"""The public functions of the operations, `dl.exp` and the others, and the methods that tensors have of them.

Editors and type checkers read their signatures in `_operations.pyi`, which `make stubs` writes from the definitions.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from dlcore import _C
from dlcore._aliases import ALIASES
from dlcore._arguments import names_errors, renamed
from dlcore.dtypes import bool_
from dlcore.errors import DTypeError
from dlcore.ops.slicing import assign

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
    "conv_pool",
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
    "plain",
    "composed",
)
"""Modules of dlcore.ops whose functions are public, or whose operations are made by merging others."""


class TensorMethods:
    """The operations that tensors have as methods: ``x.sum(0)`` is ``dl.sum(x, 0)``."""

    __slots__ = ()


_NO_METHODS = ("repeat", "append", "clone", "detach", "is_floating_point", "ndim", "numel", "shape", "size")
"""Functions of a tensor `x` that are no methods here: `x.repeat` is NumPy's to some and PyTorch's `tile` to others,
`x.append` looks as if it changed x; the rest tensors have of their own."""

_OWN = ("add_", "sub_", "mul_", "div_")
"""Methods in place that `Tensor` writes out, for the speed of a training step."""


def is_method(function: Any) -> bool:
    """Whether tensors have this public function as a method: where the definition says so, and for functions in Python
    of a tensor `x`."""
    if hasattr(function, "op"):
        return bool(function.op.methods)
    return function.__name__ not in _NO_METHODS and inspect.unwrap(function).__code__.co_varnames[:1] == ("x",)


def is_in_place(name: str, function: Any) -> bool:
    """Whether tensors have a method ``exp_`` beside this method ``exp``: of each element alone, giving no truth."""
    op = getattr(function, "op", None)
    elementwise = op is not None and op.elementwise and getattr(op, "result", None) is not bool_
    return bool(elementwise and is_method(function) and f"{name}_" not in _OWN)


def _in_place(name: str, function: Any) -> Callable[..., Any]:
    """The method that writes what ``function`` gives into the tensor, and keeps it on the tape; it returns the tensor.
    """
    operands = len(function.op.signature.operands)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if len(args) == operands - 1 and not (kwargs or None in args):
                return function.inplace(self, *args)
            tracked = self.requires_grad and _C.is_grad_enabled()  # its gradient may need what is overwritten
            made = function(self.clone() if tracked else self, *args, **kwargs)
            if made.dtype.is_float and not self.dtype.is_float:
                raise DTypeError(f"{name}: a result of dtype {made.dtype.name} does not fit into {self.dtype.name}")
            return assign.inplace(self, made)
        except (TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
            raise renamed(error, f"{name}_") from None

    method.__name__, method.__doc__ = f"{name}_", f"`{name}`, written into the tensor, which is returned."
    return method


def _publish(name: str, function: Any) -> None:
    if name in globals():
        where = "it is an alias too, in dlcore/_aliases.py" if name in ALIASES else "in two modules of dlcore.ops"
        raise ValueError(f"two public functions are called {name!r}: {where}")
    globals()[name] = function
    __all__.append(name)
    if is_method(function):
        setattr(TensorMethods, name, function)
    if is_in_place(name, function):
        setattr(TensorMethods, f"{name}_", _in_place(name, function))


for _module in MODULES:
    _found = importlib.import_module(f"dlcore.ops.{_module}")
    for _name in _found.__all__:
        _function = getattr(_found, _name)
        _publish(_name, _function if hasattr(_function, "op") else names_errors(_function))
for _name, _target in ALIASES.items():
    _publish(_name, globals()[_target])
