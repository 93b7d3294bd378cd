"""The forms in C of rounding, signs, limits and bits: see dlcore/export/c_forms.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlcore.export.c_forms import C_FORMS, elementwise, libm
from dlcore.export.c_text import SUFFIX, TYPES, CForm, Program, Unsupported
from dlcore.export.trace import Call

__all__: list[str] = []

def _f(dtype: str) -> str:
    """The suffix of libm's functions."""
    return "f" if dtype == "float32" else ""


def _whole(name: str) -> Callable[..., str]:
    def expression(p: Program, dtype: str, x: str) -> str:
        return f"{name}{_f(dtype)}({x})" if dtype in SUFFIX else x

    return expression


def _rounded(p: Program, call: Call) -> list[str]:
    if call.attrs[0] != 0:
        raise Unsupported("of integers it has no form there")
    return elementwise(_whole("rint"))(p, call)


def _limit(symbol: str) -> CForm:
    """The second operand where the first is below it, or above; a NaN in either is the result."""

    def expression(p: Program, dtype: str, x: str, limit: str) -> str:
        taken = f"({x} {symbol} {limit}) | ({limit} != {limit})" if dtype in SUFFIX else f"{x} {symbol} {limit}"
        return f"{taken} ? {limit} : {x}"

    return elementwise(expression)


def _clipped(p: Program, call: Call) -> list[str]:
    found, lines = call, list[str]()
    for limit, symbol in zip(call.inputs[1:], "<>", strict=True):
        if limit is not None:
            lines += _limit(symbol)(p, found._replace(inputs=(found.inputs[0], limit)))
            found = found._replace(inputs=(call.outputs[0],))
    return lines or C_FORMS["copy"](p, call._replace(inputs=call.inputs[:1]))


def _bits(symbol: str) -> Callable[..., str]:
    return lambda p, dtype, a, b: f"({TYPES[dtype]})({a} {symbol} {b})"


def _inverted(p: Program, dtype: str, x: str) -> str:
    return f"{x} ^ 1" if dtype == "bool" else f"({TYPES[dtype]})~{x}"


def _unsigned(dtype: str) -> bool:
    return dtype.startswith("uint")


def _wide(dtype: str) -> str:
    """The unsigned type in which integers are computed."""
    return "uint64_t" if dtype.endswith("64") else "uint32_t"


def _within(dtype: str, count: str) -> str:
    below = f"{count} < {8 * np.dtype(dtype).itemsize}"
    return below if _unsigned(dtype) else f"{count} >= 0 && {below}"


def _shifted_up(p: Program, dtype: str, a: str, b: str) -> str:
    return f"{_within(dtype, b)} ? ({TYPES[dtype]})(({_wide(dtype)}){a} << {b}) : 0"


def _shifted_down(p: Program, dtype: str, a: str, b: str) -> str:
    empty = "0" if _unsigned(dtype) else f"({a} < 0 ? -1 : 0)"
    return f"{_within(dtype, b)} ? ({TYPES[dtype]})({a} >> {b}) : {empty}"


def _remaining(p: Program, dtype: str, a: str, b: str) -> str:
    if dtype in SUFFIX:
        return f"fmod{_f(dtype)}({a}, {b})"
    harmless = f"{b} == 0" if _unsigned(dtype) else f"{b} == 0 || {b} == -1"
    return f"{harmless} ? 0 : ({TYPES[dtype]})({a} % {b})"


def _present(symbol: str) -> Callable[..., str]:
    """The first operand where it stands so to the second, or the second is NaN."""

    def expression(p: Program, dtype: str, a: str, b: str) -> str:
        unknown = f" | ({b} != {b})" if dtype in SUFFIX else ""
        return f"({a} {symbol} {b}){unknown} ? {a} : {b}"

    return expression


def _stepped(p: Program, dtype: str, x: str, values: str) -> str:
    step = f"{x} > 0 ? 1 : {values}" if _unsigned(dtype) else f"{x} > 0 ? 1 : {x} < 0 ? 0 : {values}"
    return f"{x} != {x} ? {x} : {step}" if dtype in SUFFIX else step


def _blended(p: Program, dtype: str, a: str, b: str, weight: str) -> str:
    half, one, width = ("0.5f", "1.0f", f"({b} - {a})") if dtype == "float32" else ("0.5", "1.0", f"({b} - {a})")
    near, far = f"{weight} * {width} + {a}", f"({weight} - {one}) * {width} + {b}"
    return f"fabs{_f(dtype)}({weight}) < {half} ? {near} : {far}"


def _product_added(p: Program, dtype: str, x: str, a: str, b: str) -> str:
    if dtype in SUFFIX:
        return f"{a} * {b} + {x}"
    wide = _wide(dtype)
    return f"({TYPES[dtype]})(({wide}){x} + ({wide}){a} * ({wide}){b})"


def _times(factor: str) -> Callable[..., str]:
    return lambda p, dtype, x: f"({TYPES[dtype]})((double){x} * {factor})"


C_FORMS |= {
    "fmod": elementwise(_remaining), "fmax": elementwise(_present(">=")), "fmin": elementwise(_present("<=")),
    "heaviside": elementwise(_stepped), "lerp": elementwise(_blended), "addcmul": elementwise(_product_added),
    "addcdiv": elementwise(lambda p, dtype, x, a, b: f"{x} + {a} / {b}"),
    "deg2rad": elementwise(_times("0.017453292519943295")), "rad2deg": elementwise(_times("57.29577951308232")),
    "floor": elementwise(_whole("floor")), "ceil": elementwise(_whole("ceil")), "trunc": elementwise(_whole("trunc")),
    "round": _rounded, "copysign": libm("copysign"), "clip": _clipped,
    "isinf": elementwise(lambda p, dtype, x: f"fabs{_f(dtype)}({x}) == ({TYPES[dtype]})INFINITY"),
    "isposinf": elementwise(lambda p, dtype, x: f"{x} == ({TYPES[dtype]})INFINITY"),
    "isneginf": elementwise(lambda p, dtype, x: f"{x} == -({TYPES[dtype]})INFINITY"),
    "signbit": elementwise(lambda p, dtype, x: f"signbit({x}) != 0"),
    "bitwise_and": elementwise(_bits("&")), "bitwise_or": elementwise(_bits("|")),
    "bitwise_xor": elementwise(_bits("^")), "bitwise_not": elementwise(_inverted),
    "bitwise_left_shift": elementwise(_shifted_up), "bitwise_right_shift": elementwise(_shifted_down),
}  # fmt: skip
