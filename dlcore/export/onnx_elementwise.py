"""The forms in ONNX of rounding, limits, bits and angles: see dlcore/export/onnx_forms.py."""

from __future__ import annotations

import math

import numpy as np

from dlcore.export.onnx_forms import FORMS, REFUSED, Form, Node, form
from dlcore.export.onnx_graph import Value

__all__ = ["of_float32", "signed", "single"]

# ---- rounding -------------------------------------------------------------------------------------------------------


def _whole(kind: str) -> Form:
    """An operator of floats; integers are whole already."""
    return lambda n: n.add(kind if n["x"].is_float else "Identity", n["x"])


FORMS |= {"floor": _whole("Floor"), "ceil": _whole("Ceil")}


@form("trunc")
def _trunc(n: Node) -> Value:
    x, g = n["x"], n.graph
    if not x.is_float:
        return n.add("Identity", x)
    return n.add("Where", n.add("Less", x, g.like(x, 0), dtype="bool"), n.add("Ceil", x), n.add("Floor", x))


@form("round")
def _round(n: Node) -> Value:
    decimals, g = n["decimals"], n.graph
    if decimals == 0 or not n["x"].is_float:
        if decimals < 0:
            raise ValueError("integers are not rounded to tens in ONNX; cast to a float first")
        return _whole("Round")(n)
    x, power = g.cast(n["x"], "float64"), g.constant(np.asarray(10.0 ** abs(decimals)))
    wide, (first, second) = n.but(dtype="float64"), ("Div", "Mul") if decimals < 0 else ("Mul", "Div")
    scaled = wide.add(first, x, power)
    found = wide.add(second, wide.add("Round", scaled), power)
    fits = n.add("Less", wide.add("Abs", x if decimals < 0 else scaled), g.constant(np.asarray(2.0**52)), dtype="bool")
    return g.cast(wide.add("Where", fits, found, x), n.dtype)


# ---- signs and limits -----------------------------------------------------------------------------------------------


def _negative(n: Node, x: Value) -> Value:
    """Whether the sign is minus, of zeros too."""
    g, zero = n.graph, n.graph.like(x, 0)
    of_zero = g.add("Less", g.add("Div", g.like(x, 1), x, shape=x.shape), zero, dtype="bool")
    is_zero = g.add("Equal", x, zero, dtype="bool")
    return g.add("Or", g.add("Less", x, zero, dtype="bool"), g.add("And", is_zero, of_zero))


def signed(n: Node, size: Value, sign: Value) -> Value:
    """``size``, which is not negative, with the sign of another."""
    return n.add("Where", _negative(n, sign), n.add("Neg", size), size)


FORMS |= {
    "isinf": lambda n: n.add("IsInf", n["x"]),
    "isposinf": lambda n: n.add("IsInf", n["x"], detect_negative=0),
    "isneginf": lambda n: n.add("IsInf", n["x"], detect_positive=0),
    "signbit": lambda n: _negative(n, n["x"]),
    "copysign": lambda n: signed(n, n.graph.add("Abs", n["a"]), n["b"]),
}  # fmt: skip


@form("clip")
def _clip(n: Node) -> Value:
    found = n["x"]
    for name, limit in (("maximum", n["min"]), ("minimum", n["max"])):
        if limit is not None:
            found = FORMS[name](n.but(operands={"a": found, "b": limit}))
    return n.add("Identity", found)


# ---- logic and bits -------------------------------------------------------------------------------------------------


def _logic(kind: str) -> Form:
    """An operator of truth values, which numbers are made."""
    return lambda n: n.add(kind, *(n.graph.cast(v, "bool") for v in n.operands.values()))


def _bits(kind: str) -> Form:
    def made(n: Node) -> Value:
        return n.add(kind if n.dtype == "bool" else f"Bitwise{kind}", *n.operands.values())

    return made


FORMS |= {f"logical_{kind.lower()}": _logic(kind) for kind in ("And", "Or", "Xor", "Not")}
FORMS |= {f"bitwise_{kind.lower()}": _bits(kind) for kind in ("And", "Or", "Xor", "Not")}
_SHIFT = "ONNX shifts unsigned integers alone; multiply, or divide by //, by a power of 2"
REFUSED |= {"bitwise_left_shift": _SHIFT, "bitwise_right_shift": _SHIFT}

# ---- angles ---------------------------------------------------------------------------------------------------------


def of_float32(kind: str) -> Form:
    """An operator that onnxruntime has in float32 alone."""

    def made(n: Node) -> Value:
        return n.add(kind, single(n, n["x"], kind.lower()))

    return made


def single(n: Node, x: Value, name: str) -> Value:
    """``x``, which must be float32."""
    if x.dtype != "float32":
        raise ValueError(f"onnxruntime has no {name} of {x.dtype}; export model.to(dlcore.float32)")
    return x


FORMS |= {"asin": of_float32("Asin"), "acos": of_float32("Acos"), "atan": of_float32("Atan")}


def _both(n: Node, kind: str, a: Value, b: Value) -> Value:
    return n.add("And", n.add(kind, a, dtype="bool"), n.add(kind, b, dtype="bool"), dtype="bool")


@form("atan2")
def _atan2(n: Node) -> Value:
    a, b, g = single(n, n["a"], "atan"), n["b"], n.graph
    one, zero = g.like(a, 1), g.like(a, 0)
    infinite = _both(n, "IsInf", a, b)
    equal = [n.add("Equal", v, zero, dtype="bool") for v in (a, b)]
    nothing = n.add("And", *equal, dtype="bool")
    over = n.add("Where", infinite, one, n.add("Abs", a))
    under = n.add("Where", n.add("Or", infinite, nothing, dtype="bool"), one, n.add("Abs", b))
    angle = n.add("Atan", n.add("Div", over, under))
    angle = n.add("Where", _negative(n, b), n.add("Sub", g.like(a, math.pi), angle), angle)
    return signed(n, angle, a)


@form("hypot")
def _hypot(n: Node) -> Value:
    g, dtype = n.graph, n.dtype
    a, b = (g.add("Abs", g.cast(n[name], "float64")) for name in "ab")
    n = n.but(dtype="float64")
    most, least = n.add("Max", a, b), n.add("Min", a, b)
    safe = n.add("Where", n.add("Equal", most, g.like(a, 0), dtype="bool"), g.like(a, 1), most)
    ratio = n.add("Div", least, safe)
    length = n.add("Mul", most, n.add("Sqrt", n.add("Add", g.like(a, 1), n.add("Mul", ratio, ratio))))
    either = n.add("Or", n.add("IsInf", a, dtype="bool"), n.add("IsInf", b, dtype="bool"), dtype="bool")
    return g.cast(n.add("Where", either, g.like(a, math.inf), length), dtype)
