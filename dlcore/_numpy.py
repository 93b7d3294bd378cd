"""NumPy's functions called with tensors: those that dlcore has become its operations, and none cuts a gradient unseen.

``np.exp(x)`` is ``dl.exp(x)``. A function that dlcore does not have gets the tensors' values as arrays, as long as no
gradient is tracked through them; otherwise it raises AutogradError, unless what it gives has no gradient anyhow. Only
who asks for the values gets them in any case: ``x.numpy()``, ``np.asarray(x)``, which is read-only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlcore import _C
from dlcore.errors import AutogradError
from dlcore.op import function

__all__ = ["array_function", "array_ufunc", "untracked"]

_OPERATIONS = {
    "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "power": "pow", "negative": "neg",
    "absolute": "abs", "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt",
    "greater_equal": "ge", "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor",
    "invert": "logical_not",
    **{name: name for name in (
        "add", "floor_divide", "remainder", "matmul", "exp", "expm1", "log", "log1p", "sqrt", "square", "reciprocal",
        "sin", "cos", "tanh", "sign", "isnan", "isfinite", "maximum", "minimum", "logical_and", "logical_or",
        "logical_xor", "logical_not",
    )},
}  # fmt: skip
"""NumPy's ufuncs and the names of the operations that do the same."""

_WITHOUT_GRADIENT = frozenset({
    "allclose", "array2string", "array_equal", "array_equiv", "array_repr", "array_str", "isclose", "ndim", "save",
    "savetxt", "savez", "savez_compressed", "shape", "size",
})  # fmt: skip
"""Functions of NumPy whose results nobody differentiates."""


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Tensor.__array_ufunc__``."""
    name = ufunc.__name__
    if method == "__call__" and not kwargs and name in _OPERATIONS:
        return function(_OPERATIONS[name])(*inputs)
    if any(isinstance(t, _C.TensorBase) for t in kwargs.get("out", ())):
        raise TypeError(f"np.{name}: out must be a NumPy array, not a tensor")
    return _on_arrays(f"np.{name}", getattr(ufunc, method), inputs, kwargs)


def array_function(called: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Tensor.__array_function__``."""
    return _on_arrays(f"np.{called.__name__}", called, args, kwargs)


def untracked(name: str, value: Any) -> None:
    """Raises AutogradError where a gradient is tracked through a tensor in ``value``: lists, tuples, dicts, nested."""
    if _C.is_grad_enabled() and any(t.requires_grad for t in _tensors(value)):
        raise AutogradError(
            f"{name}: a tensor requires a gradient, which would be lost here; use dlcore's operations (stack makes one "
            "tensor of several), or detach() it"
        )


def _on_arrays(name: str, called: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    if name.removeprefix("np.") not in _WITHOUT_GRADIENT:
        untracked(name, (args, kwargs))
    return called(*_arrays(args), **_arrays(kwargs))


def _tensors(value: Any) -> Iterator[Any]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, _C.TensorBase):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _arrays(value: Any) -> Any:
    """``value`` with NumPy arrays in the place of tensors."""
    if isinstance(value, _C.TensorBase):
        return value.numpy()  # type: ignore[attr-defined]
    if type(value) in (tuple, list):
        return type(value)(_arrays(part) for part in value)
    if type(value) is dict:
        return {key: _arrays(part) for key, part in value.items()}
    return value
