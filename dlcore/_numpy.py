"""NumPy's functions called with tensors: those that dlcore has become its operations, and none cuts a gradient unseen.

``np.exp(x)`` is ``dl.exp(x)``, and ``np.sum(x, axis=0)`` is ``dl.sum(x, axis=0)``. A function that dlcore does not have
gets the tensors' values as arrays, as long as no gradient is tracked through them; otherwise it raises AutogradError,
unless what it gives has no gradient anyhow. Only who asks for the values gets them in any case: ``x.numpy()``,
``np.asarray(x)``, which is read-only then.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import operand
from dlcore._spelling import SPELLINGS
from dlcore.errors import AutogradError

__all__ = ["array_function", "array_ufunc", "untracked"]

_RENAMED = {
    "around": "round", "copy": "array", "fix": "trunc", "rint": "round",
}  # fmt: skip
"""NumPy's functions that dlcore has under another name, beside those of `dlcore._aliases`."""

_SAME = frozenset({
    "abs", "absolute", "acos", "acosh", "add", "all", "allclose", "amax", "amin", "any", "append", "arange", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argpartition", "argsort",
    "around", "array_equal", "array_split", "asin", "asinh", "atan", "atan2", "atanh", "bincount", "bitwise_and",
    "bitwise_count", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "broadcast_to", "cbrt", "ceil", "clip", "concat", "concatenate", "copy", "copysign", "cos", "cosh",
    "count_nonzero", "cross", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "deg2rad", "degrees", "det",
    "diag", "diagonal", "diff", "divide", "dot", "dsplit", "dstack", "einsum", "empty_like", "equal", "exp", "exp2",
    "expand_dims", "expm1", "fabs", "flip", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "full_like",
    "gcd", "greater", "greater_equal", "heaviside", "histogram", "hsplit", "hstack", "hypot", "inner", "intersect1d",
    "inv", "invert", "isclose", "isfinite", "isin", "isinf", "isnan", "kron", "lcm", "left_shift", "less", "less_equal",
    "log", "log10", "log1p", "log2", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "matmul", "matrix_power", "matrix_transpose", "matvec", "max", "maximum", "mean", "median",
    "meshgrid", "min", "minimum", "mod", "moveaxis", "multiply", "nan_to_num", "nancumsum", "nanmax", "nanmean",
    "nanmedian", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "negative", "nextafter", "norm", "not_equal",
    "ones_like", "outer", "pad", "percentile", "permute_dims", "pinv", "positive", "pow", "power", "prod", "ptp",
    "quantile", "rad2deg", "radians", "ravel", "reciprocal", "remainder", "repeat", "reshape", "right_shift", "roll",
    "rot90", "round", "searchsorted", "setdiff1d", "sign", "signbit", "sin", "sinh", "slogdet", "solve", "sort",
    "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "svd", "swapaxes", "take",
    "take_along_axis", "tan", "tanh", "tensordot", "tile", "trace", "transpose", "trapezoid", "tril", "triu",
    "true_divide", "trunc", "union1d", "unique", "unique_values", "unstack", "var", "vdot", "vecdot", "vecmat",
    "vsplit", "vstack", "where", "zeros_like", *_RENAMED,
})  # fmt: skip
"""NumPy's functions, ufuncs and those of numpy.linalg among them, that are dlcore's function of that name, where dlcore
has it. What is not here has another meaning there (`save`, `nonzero`) or no counterpart."""

_NO_VALUE: Any = getattr(np, "_NoValue", None)  # NumPy's default of what was not given

_WITHOUT_GRADIENT = frozenset({
    "allclose", "array2string", "array_equal", "array_equiv", "array_repr", "array_str", "isclose", "ndim", "save",
    "savetxt", "savez", "savez_compressed", "shape", "size",
})  # fmt: skip
"""Functions of NumPy whose results nobody differentiates."""




def _transpose(x: Any, axes: Any = None) -> Any:
    return x.T if axes is None else x.permute(axes)


_HERE = {"transpose": _transpose}
"""Functions of NumPy whose name has another meaning here."""


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Tensor.__array_ufunc__``."""
    name = ufunc.__name__
    ours = _counterpart(name, "numpy") if method == "__call__" and not kwargs else None
    if ours is not None:
        return ours(*inputs)
    if any(isinstance(t, _C.TensorBase) for t in kwargs.get("out", ())):
        raise TypeError(f"np.{name}: out must be a NumPy array, not a tensor")
    return _on_arrays(f"np.{name}", getattr(ufunc, method), inputs, kwargs)


def array_function(called: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Tensor.__array_function__``."""
    name = called.__name__
    ours = _counterpart(name, called.__module__)
    arguments = None if ours is None else _translated(called, ours, args, kwargs)
    if arguments is not None:
        return ours(*arguments[0], **arguments[1])
    return _on_arrays(f"np.{name}", called, args, kwargs)


def _counterpart(name: str, module: str) -> Any:
    """dlcore's function for NumPy's in ``module``; None where there is none."""
    if name in _HERE:
        return _HERE[name]
    if name not in _SAME:
        return None
    space: Any = sys.modules["dlcore"]
    if module == "numpy.linalg":
        space = getattr(space, "linalg", None)
    return getattr(space, _RENAMED.get(name, name), None)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    with suppress(TypeError, ValueError):
        return inspect.signature(function)
    return None


def _translated(called: Any, ours: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """(args, kwargs) of a call of NumPy's function as one of ``ours``; None where ours does not take what is asked.

    Arguments go by name, those in front that have no counterpart of their name by place. A default of NumPy's that is
    not ours is given as if the caller had: ``np.take(x, i)`` is of the flattened array.
    """
    theirs, own = _signature(called), _signature(ours)
    if own is None:
        return None
    names = list(own.parameters)
    if theirs is None or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in theirs.parameters.values()):
        return (args, kwargs) if set(kwargs) <= set(names) else None  # in C, or of any number of arrays
    given, found, in_front = theirs.bind(*args, **kwargs).arguments, dict[str, Any](), 0
    for place, (name, parameter) in enumerate(theirs.parameters.items()):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= given.get(name, {})
            continue
        there, value = name in given, given.get(name, parameter.default)
        mine = next((n for n in (name, *SPELLINGS.get(name, ())) if n in own.parameters and n not in found), None)
        if there and place == in_front < len(names) and mine in (None, names[place]):
            found[names[place]], in_front = value, in_front + 1
        elif mine is None and there and value is not parameter.default:
            return None
        elif mine is not None and (there or _differs(mine, value, own.parameters[mine].default)):
            found[mine] = value
    return (), _along_one_axis(names, own, found)


def _differs(name: str, theirs: Any, ours: Any) -> bool:
    """Whether NumPy's default must be given; None is one for an axis, else it stands for nothing said."""
    if theirs is None:
        return name == "axis" and ours is not None
    return theirs not in (_NO_VALUE, inspect.Parameter.empty) and bool(theirs != ours)


def _along_one_axis(names: list[str], own: inspect.Signature, found: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the first operand flattened where NumPy would flatten it: our function wants an axis."""
    if "axis" in found and found["axis"] is None and own.parameters["axis"].default is not None:
        return {**found, names[0]: operand(found[names[0]], "flatten").reshape(-1), "axis": 0}
    return found


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
