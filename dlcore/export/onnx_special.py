"""The forms in ONNX of special functions and of numbers: see dlcore/export/onnx_forms.py."""

from __future__ import annotations

import math

import numpy as np

from dlcore.export.onnx_elementwise import of_float32, signed, single
from dlcore.export.onnx_forms import FORMS, REFUSED, Form, Node, divisor, form, widened
from dlcore.export.onnx_graph import Value

__all__: list[str] = []

_GAMMA, _DIVISORS = "ONNX has no gamma functions", "ONNX has no common divisors"
REFUSED |= {
    "lgamma": _GAMMA, "digamma": _GAMMA, "digamma_slope": _GAMMA, "gcd": _DIVISORS, "lcm": _DIVISORS,
    "nextafter": "ONNX does not see the bits of floats",
}  # fmt: skip

# ---- functions of one operand ---------------------------------------------------------------------------------------


def _scaled(kind: str, factor: float) -> Form:
    """An operator, then a factor."""
    return lambda n: n.add("Mul", n.add(kind, n["x"]), n.graph.like(n["x"], factor))


FORMS |= {name: of_float32(name.capitalize()) for name in ("tan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf")}
FORMS |= {
    "log2": _scaled("Log", 1 / math.log(2)), "log10": _scaled("Log", 1 / math.log(10)),
    "deg2rad": _scaled("Identity", math.pi / 180), "rad2deg": _scaled("Identity", 180 / math.pi),
    "exp2": lambda n: n.add("Pow", n.graph.like(n["x"], 2), n["x"], shape=n.shape),
    "erfc": lambda n: n.add("Sub", n.graph.like(n["x"], 1), n.add("Erf", single(n, n["x"], "erfc"))),
    "cbrt": lambda n: signed(n, n.add("Pow", n.add("Abs", n["x"]), n.graph.like(n["x"], 1 / 3)), n["x"]),
}  # fmt: skip


@form("sinc")
def _sinc(n: Node) -> Value:
    x, g = n["x"], n.graph
    zero = n.add("Equal", x, g.like(x, 0), dtype="bool")
    angle = n.add("Mul", n.add("Where", zero, g.like(x, 1), x), g.like(x, math.pi))
    return n.add("Where", zero, g.like(x, 1), n.add("Div", n.add("Sin", angle), angle))


@form("nan_to_num")
def _nan_to_num(n: Node) -> Value:
    x, g = n["x"], n.graph
    most = float(np.finfo(x.dtype).max)
    limited = n.add("Where", n.add("IsInf", x, dtype="bool", detect_negative=0), g.like(x, most), x)
    limited = n.add("Where", n.add("IsInf", x, dtype="bool", detect_positive=0), g.like(x, -most), limited)
    return n.add("Where", n.add("IsNaN", x, dtype="bool"), g.like(x, n["nan"]), limited)


@form("isclose")
def _isclose(n: Node) -> Value:
    g, (a, b) = n.graph, widened(n.graph, n["x"], n["other"])
    both = lambda kind, x, y: n.add(kind, x, y, dtype="bool")  # noqa: E731
    size = g.add("Abs", b)
    limit = g.add("Add", g.add("Mul", size, g.like(b, n["rtol"])), g.like(b, n["atol"]))
    near = both("LessOrEqual", g.add("Abs", g.add("Sub", a, b)), limit)
    near = both("And", near, both("Less", size, g.like(b, np.inf)))
    close = both("Or", near, both("Equal", a, b))
    if n["equal_nan"]:
        nan = both("And", g.add("IsNaN", a, dtype="bool"), g.add("IsNaN", b, dtype="bool"))
        close = both("Or", close, nan)
    return close


# ---- of two and three -----------------------------------------------------------------------------------------------


@form("xlogy")
def _xlogy(n: Node) -> Value:
    a, b, zero = n["a"], n["b"], n.graph.like(n["a"], 0)
    number = n.add("Not", n.graph.add("IsNaN", b, dtype="bool"), dtype="bool")
    nothing = n.add("And", n.graph.add("Equal", a, zero, dtype="bool"), number, dtype="bool")
    return n.add("Where", nothing, zero, n.add("Mul", a, n.graph.add("Log", b)))


@form("logaddexp")
def _logaddexp(n: Node) -> Value:
    a, b, g = n["a"], n["b"], n.graph
    equal = n.add("Equal", a, b, dtype="bool")
    apart = n.add("Where", equal, g.like(a, 0), n.add("Neg", n.add("Abs", n.add("Sub", a, b))))
    return n.add("Add", n.add("Max", a, b), n.add("Log", n.add("Add", n.add("Exp", apart), g.like(a, 1))))


@form("fmod")
def _fmod(n: Node) -> Value:
    a, b = widened(n.graph, n["a"], n["b"])
    if a.is_float:
        return n.add("Mod", a, b, fmod=1)
    g, wide = n.graph, n.but(dtype=a.dtype)
    rest = wide.add("Mod", a, divisor(n, b), fmod=1)
    nothing = g.add("Equal", b, g.like(b, 0), dtype="bool")
    return g.cast(wide.add("Where", nothing, g.like(a, 0), rest), n.dtype)


def _present(kind: str) -> Form:
    """The first operand where it stands so to the second, or the second is NaN."""

    def made(n: Node) -> Value:
        a, b = widened(n.graph, n["a"], n["b"])
        chosen = n.add(kind, a, b, dtype="bool")
        if a.is_float:
            chosen = n.add("Or", chosen, n.graph.add("IsNaN", b, dtype="bool"), dtype="bool")
        return n.graph.cast(n.add("Where", chosen, a, b, dtype=a.dtype), n.dtype)

    return made


FORMS |= {"fmax": _present("GreaterOrEqual"), "fmin": _present("LessOrEqual")}


@form("heaviside")
def _heaviside(n: Node) -> Value:
    g, (x, values) = n.graph, widened(n.graph, n["x"], n["values"])
    wide, zero = n.but(dtype=x.dtype), g.like(x, 0)
    below = wide.add("Where", g.add("Less", x, zero, dtype="bool"), zero, values)
    found = wide.add("Where", g.add("Greater", x, zero, dtype="bool"), g.like(x, 1), below)
    if x.is_float:
        found = wide.add("Where", g.add("IsNaN", x, dtype="bool"), x, found)
    return g.cast(found, n.dtype)


def _sum_with(kind: str) -> Form:
    """The first operand and what the operator makes of the others."""

    def made(n: Node) -> Value:
        x, a, b = widened(n.graph, n["x"], n["a"], n["b"])
        wide = n.but(dtype=x.dtype)
        return n.graph.cast(wide.add("Add", x, wide.add(kind, a, b)), n.dtype)

    return made


FORMS |= {"addcmul": _sum_with("Mul"), "addcdiv": _sum_with("Div")}


@form("lerp")
def _lerp(n: Node) -> Value:
    a, b, weight, g = n["a"], n["b"], n["weight"], n.graph
    width = n.add("Sub", b, a)
    near = n.add("Add", a, n.add("Mul", weight, width))
    far = n.add("Sub", b, n.add("Mul", width, n.add("Sub", g.like(a, 1), weight)))
    return n.add("Where", n.add("Less", n.add("Abs", weight), g.like(a, 0.5), dtype="bool"), near, far)
