"""The forms in ONNX of the activations in dlcore/ops/units.py, from operators that onnxruntime has in every dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.export.onnx_graph import Value

__all__ = ["ACTIVATION_FORMS", "halves"]

Form = Callable[[Any], Value]  # of an onnx_forms.Node


def _limited(n: Any, x: Value) -> Value:
    """x with -1e4 in the place of all that is less: products with an exponential are 0 there, and not NaN."""
    return _where(n, _compare(n, "Less", x, -1e4), -1e4, x)


def _compare(n: Any, kind: str, x: Value, number: float) -> Value:
    found: Value = n.add(kind, x, n.graph.like(x, number), dtype="bool")
    return found


def _where(n: Any, condition: Value, a: Value | float, b: Value | float) -> Value:
    like = a if isinstance(a, Value) else b
    a, b = (v if isinstance(v, Value) else n.graph.like(like, v) for v in (a, b))
    found: Value = n.add("Where", condition, a, b)
    return found


def _scaled(n: Any, x: Value, factor: float) -> Value:
    found: Value = x if factor == 1 else n.add("Mul", x, n.graph.like(x, factor))
    return found


def _soft(n: Any, y: Value) -> Value:
    """log(1 + e^y)."""
    g = n.graph
    decay = n.add("Exp", n.add("Neg", n.add("Abs", y)))
    found: Value = n.add("Add", n.add("Relu", y), n.add("Log", n.add("Add", decay, g.like(y, 1))))
    return found


def _silu(n: Any) -> Value:
    x = _limited(n, n["x"])
    found: Value = n.add("Mul", x, n.add("Sigmoid", x))
    return found


def _mish(n: Any) -> Value:
    x = _limited(n, n["x"])
    found: Value = n.add("Mul", x, n.add("Tanh", _soft(n, x)))
    return found


def _softplus(n: Any) -> Value:
    x, beta = n["x"], n["beta"]
    y = _scaled(n, x, beta)
    return _where(n, _compare(n, "Greater", y, n["threshold"]), x, _scaled(n, _soft(n, y), 1 / beta))


def _softsign(n: Any) -> Value:
    x, g = n["x"], n.graph
    far = _compare(n, "Greater", n.add("Abs", x), 1e30)
    found = n.add("Div", x, n.add("Add", n.add("Abs", x), g.like(x, 1)))
    return _where(n, far, n.add("Sign", x), found)


def _exponential(alpha: Callable[[Any], tuple[float, float, float]]) -> Form:
    """x times the second number, or the first times e^(third x) - 1 where it is not positive."""

    def made(n: Any) -> Value:
        x, (negative, positive, rate) = n["x"], alpha(n)
        below = n.add("Sub", n.add("Exp", _scaled(n, x, rate)), n.graph.like(x, 1))
        return _where(n, _compare(n, "LessOrEqual", x, 0), _scaled(n, below, negative), _scaled(n, x, positive))

    return made


_SCALE, _ALPHA = 1.0507009873554804934, 1.6732632423543772848


def _between(n: Any, x: Value, low: float, high: float) -> Value:
    upper = _where(n, _compare(n, "GreaterOrEqual", x, high), high, x)
    return _where(n, _compare(n, "LessOrEqual", x, low), low, upper)


def _hardsigmoid(n: Any) -> Value:
    x = n["x"]
    return _scaled(n, _between(n, n.add("Add", x, n.graph.like(x, 3)), 0, 6), 1 / 6)


def _hardswish(n: Any) -> Value:
    x = n["x"]
    found: Value = n.add("Mul", _where(n, _compare(n, "Less", x, -3), -3, x), _hardsigmoid(n))
    return found


def _steep(n: Any, slope: Any) -> Value:
    x = n["x"]
    below = n.add("Mul", x, slope if isinstance(slope, Value) else n.graph.like(x, slope))
    found: Value = n.add("Where", _compare(n, "Greater", x, 0), x, below)
    return found


def _inside(n: Any) -> Value:
    x, limit = n["x"], n["lambd"]
    above, below = _compare(n, "GreaterOrEqual", x, -limit), _compare(n, "LessOrEqual", x, limit)
    found: Value = n.add("And", above, below, dtype="bool")
    return found


def _softshrink(n: Any) -> Value:
    x, limit, g = n["x"], n["lambd"], n.graph
    up = n.add("Sub", x, g.like(x, limit))
    down = _where(n, _compare(n, "Less", x, -limit), n.add("Add", x, g.like(x, limit)), n.add("Mul", x, g.like(x, 0)))
    return _where(n, _compare(n, "Greater", x, limit), up, down)


def halves(n: Any, x: Value) -> list[Value]:
    """Both halves of ``x`` along the axis of the call."""
    axis, g = n["axis"], n.graph
    length = x.shape[axis]
    if not isinstance(length, int):
        raise ValueError("the axis that is halved depends on the size of the batch")
    ends = [g.constant(np.array([k * (length // 2)])) for k in range(3)]
    along = g.constant(np.array([axis]))
    return [n.add("Slice", x, ends[k], ends[k + 1], along) for k in range(2)]


def _glu(n: Any) -> Value:
    a, b = halves(n, n["x"])
    found: Value = n.add("Mul", a, n.add("Sigmoid", b))
    return found


ACTIVATION_FORMS: dict[str, Form] = {
    "silu": _silu, "mish": _mish, "softplus": _softplus, "softsign": _softsign,
    "logsigmoid": lambda n: n.add("Neg", _soft(n, n.add("Neg", n["x"]))),
    "elu": _exponential(lambda n: (n["alpha"], 1.0, 1.0)),
    "celu": _exponential(lambda n: (n["alpha"], 1.0, 1 / n["alpha"])),
    "selu": _exponential(lambda n: (_SCALE * _ALPHA, _SCALE, 1.0)),
    "glu": _glu, "relu6": lambda n: _between(n, n["x"], 0, 6),
    "hardtanh": lambda n: _between(n, n["x"], n["min_val"], n["max_val"]),
    "hardsigmoid": _hardsigmoid, "hardswish": _hardswish,
    "leaky_relu": lambda n: _steep(n, n["negative_slope"]), "prelu": lambda n: _steep(n, n["weight"]),
    "hardshrink": lambda n: _where(n, _inside(n), 0, n["x"]), "softshrink": _softshrink,
    "threshold": lambda n: _where(n, _compare(n, "LessOrEqual", n["x"], n["threshold"]), n["value"], n["x"]),
}  # fmt: skip
