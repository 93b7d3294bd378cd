"""The planners of dlcore/ops/elementwise.py: each operation's function, of functions.py, under the operation's name."""

from __future__ import annotations

from collections.abc import Callable

from dlcore.dtypes import DType
from dlcore.kernels.common import math as m
from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import pointwise
from dlcore.kernels.elementwise import functions as f
from dlcore.kernels.launch import Call, Program

# Those that functions.py calls otherwise, or that lie in kernels/common.
_NAMED = {
    "abs": f.absolute, "div": m.divide, "sqrt": m.root,
    "exp": m.exp_, "expm1": m.expm1_, "log": m.log_, "log1p": m.log1p_,
}  # fmt: skip


def __getattr__(name: str) -> Callable[[Call], Program]:
    """The planner of the function of functions.py that has this name."""
    return pointwise(_NAMED.get(name) or getattr(f, name))


where = pointwise(f.where, moves=True)
_pow, _pow_constant = pointwise(f.pow), pointwise(f.pow_constant)
_convert, _copy = pointwise(identity), pointwise(identity, moves=True)


def _dtype(call: Call) -> DType:
    assert call.inputs[0] is not None
    return call.inputs[0].dtype


def pow(call: Call) -> Program:
    """One exponent for all elements, as in x ** 2, is told from many."""
    base, exponent = call.inputs
    assert base is not None and exponent is not None
    return (_pow_constant if base.dtype.is_float and exponent.size == 1 else _pow)(call)


def cast(call: Call) -> Program:
    """The same dtype again is a copy, bit for bit."""
    out = call.outputs[0]
    return (_copy if out is not None and out.dtype is _dtype(call) else _convert)(call)
