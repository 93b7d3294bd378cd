"""The planners of pointwise operations: each operation's function, of the files beside this, under its name."""

from __future__ import annotations

import math
from collections.abc import Callable

from dlcore.dtypes import DType, float32, float64, int64
from dlcore.kernels.common import math as m
from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import Operand, launch, operands, pointwise, walk, widened
from dlcore.kernels.elementwise import functions as f
from dlcore.kernels.elementwise import numbers, rounding, special, trigonometry
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    F64,
    NEGATIVE_POWER,
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Value,
    View,
    ceil_div,
    index_dtype,
)
from dlcore.kernels.movement.index import axis_args, report
from dlcore.kernels.movement.index import numbers as positions

# Those that functions.py calls otherwise, or that lie in kernels/common.
_NAMED = {
    "abs": f.absolute, "div": m.divide, "sqrt": m.root,
    "exp": m.exp_, "expm1": m.expm1_, "log": m.log_, "log1p": m.log1p_,
}  # fmt: skip
_LONG = {"sin", "cos", "tan", "hypot", "lgamma", "digamma", "sinc", "erf", "erfc", "cbrt"}  # float64 inside
_FILES = (f, rounding, trigonometry, special, numbers)


def __getattr__(name: str) -> Callable[[Call], Program]:
    """The planner of the function that has this name."""
    function = _NAMED.get(name) or next((getattr(file, name) for file in _FILES if hasattr(file, name)), None)
    if function is None:
        raise AttributeError(f"no function of one element is called {name}")
    return pointwise(function, long=name in _LONG)


where = pointwise(f.where, moves=True)
_pow, _pow_constant = pointwise(f.pow, long=True), pointwise(f.pow_constant, long=True)
_convert, _copy = pointwise(identity), pointwise(identity, moves=True)


def _dtype(call: Call) -> DType:
    assert call.inputs[0] is not None
    return call.inputs[0].dtype


@jit
def negative_kernel(
    exponent, errors, size, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7,
    CODE: tl.constexpr, NUMBER: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Reports exponents below 0."""
    i = positions(INDEX, BLOCK)
    if NUMBER:
        e = i.to(tl.int64) * 0 + exponent
    else:
        e = tl.load(exponent + walk(i, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7), i < size, 0)
    report(errors, (i < size) & (e < 0), i, CODE)


def pow(call: Call) -> Program:
    """One exponent for all elements, as in x ** 2, is told from many; those of integers must not be negative."""
    base, exponent = call.inputs
    assert base is not None and exponent is not None
    if base.dtype.is_float:
        return (_pow_constant if exponent.size == 1 else _pow)(call)
    powers = _pow(call)
    if base.dtype.kind == "uint" or not powers.launches:
        return powers
    args = {
        "exponent": Value(1) if exponent.weak else In(1), "errors": Errors(), "size": exponent.size,
        "CODE": NEGATIVE_POWER, "NUMBER": exponent.weak, "INDEX": index_dtype(exponent.size), "BLOCK": 1024,
    } | axis_args(exponent.shape, s=exponent.strides)  # fmt: skip
    checked = Launch(negative_kernel, (ceil_div(exponent.size, 1024),), args)
    return powers._replace(launches=(checked, *powers.launches))


def cast(call: Call) -> Program:
    """The same dtype again is a copy, bit for bit."""
    out = call.outputs[0]
    return (_copy if out is not None and out.dtype is _dtype(call) else _convert)(call)


def clip(call: Call) -> Program:
    """Either limit may be absent."""
    x, low, high = call.inputs
    assert x is not None and call.outputs[0] is not None
    function = rounding.clip if low and high else rounding.at_least if low else rounding.at_most if high else identity
    given = [Operand(Value(k) if v.weak else In(k), v) for k, v in enumerate(call.inputs) if v is not None]
    return Program(launch(function, widened(x.dtype), Operand(Out(0), call.outputs[0]), *given))


def round_digits(call: Call) -> Program:
    """The power of ten is a number that the kernel is told."""
    digits, out, dtype = int(call.params[0]), call.outputs[0], _dtype(call)
    assert out is not None
    if dtype.is_float:
        function = rounding.round_tens if digits < 0 else rounding.round_digits
        power = 10.0**digits if 0 < digits <= 308 else math.inf if digits > 0 else 10.0 ** min(-digits, 308)
        factor = Operand(F64(power), View((), float64, (), weak=True))
    elif digits < -18 or digits >= 0:
        function = identity if digits > 0 else rounding.round_largest if digits == -19 else rounding.nothing
        return Program(launch(function, False, Operand(Out(0), out), *operands(call)))
    else:
        function, factor = rounding.round_integer, Operand(10**-digits, View((), int64, (), weak=True))
    most = 4 if dtype.is_float else 8  # divisions of doubles take many registers
    return Program(launch(function, widened(dtype), Operand(Out(0), out), *operands(call), factor, most=most))


def digamma_slope(call: Call) -> Program:
    """Which slope, and its factorial, are numbers that the kernel is told."""
    n, out, dtype = int(call.params[0]), call.outputs[0], _dtype(call)
    assert out is not None
    told = [Operand(n, View((), int64, (), weak=True)),
            Operand(F64(float(math.factorial(n))), View((), float64, (), weak=True))]  # fmt: skip
    return Program(launch(special.digamma_slope, widened(dtype), Operand(Out(0), out), *operands(call), *told, most=2))


def nan_to_num(call: Call) -> Program:
    """The number in the place of NaN, and the largest of the dtype, are numbers that the kernel is told."""
    out, dtype = call.outputs[0], _dtype(call)
    assert out is not None
    number = float64 if dtype is float64 else float32
    told = [Operand(F64(float(v)) if number is float64 else float(v), View((), number, (), weak=True))
                for v in (call.params[0], dtype.largest)]  # fmt: skip
    return Program(launch(numbers.nan_to_num, widened(dtype), Operand(Out(0), out), *operands(call), *told))


nextafter = pointwise(numbers.nextafter, moves=True)
