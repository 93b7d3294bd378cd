"""The planners of dlcore/ops/elementwise.py: each operation's function under the operation's name."""

from __future__ import annotations

from dlcore.dtypes import DType
from dlcore.kernels.common import math as m
from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import pointwise
from dlcore.kernels.elementwise import functions as f
from dlcore.kernels.launch import Call, Program

add = pointwise(f.add)
sub = pointwise(f.sub)
mul = pointwise(f.mul)
div = pointwise(m.divide)
floor_divide = pointwise(f.floor_divide)
remainder = pointwise(f.remainder)
maximum = pointwise(f.maximum)
minimum = pointwise(f.minimum)

neg = pointwise(f.neg)
abs = pointwise(f.absolute)
sign = pointwise(f.sign)
square = pointwise(f.square)
reciprocal = pointwise(f.reciprocal)
sqrt = pointwise(m.root)
rsqrt = pointwise(f.rsqrt)
exp = pointwise(m.exp_)
expm1 = pointwise(m.expm1_)
log = pointwise(m.log_)
log1p = pointwise(m.log1p_)
sin = pointwise(f.sin)
cos = pointwise(f.cos)

eq = pointwise(f.eq)
ne = pointwise(f.ne)
lt = pointwise(f.lt)
le = pointwise(f.le)
gt = pointwise(f.gt)
ge = pointwise(f.ge)
logical_and = pointwise(f.logical_and)
logical_or = pointwise(f.logical_or)
logical_xor = pointwise(f.logical_xor)
logical_not = pointwise(f.logical_not)
isnan = pointwise(f.isnan)
isfinite = pointwise(f.isfinite)
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
