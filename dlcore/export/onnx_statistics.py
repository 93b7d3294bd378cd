"""The forms in ONNX of variances and norms, of tensors that are filled, and of what `one_hot` is made of."""

from __future__ import annotations

import math

import numpy as np

from dlcore.export.onnx_forms import FORMS, Node, axes_of, form, reduced, size_of
from dlcore.export.onnx_graph import Value

__all__: list[str] = []


@form("var", "std")
def _variance(n: Node) -> Value:
    """In two passes, as the composite; of integers in float64, which holds them."""
    g = n.graph
    x = n["x"] if n["x"].is_float else g.cast(n["x"], "float64")
    axes = axes_of(n)
    middle = g.add("ReduceMean", x, g.constant(np.array(axes)), keepdims=1) if axes else x
    apart = g.add("Sub", x, middle)
    total = reduced(n, "ReduceSum", g.add("Mul", apart, apart))
    count = g.number(size_of([x.shape[axis] for axis in axes]), x.dtype)
    left = g.add("Max", g.add("Sub", count, g.like(x, n["correction"])), g.like(x, 0))
    found = g.add("Div", total, left, shape=n.shape)
    return g.cast(g.add("Sqrt", found) if n.attrs["name"] == "std" else found, n.dtype)


@form("norm")
def _norm(n: Node) -> Value:
    g, p = n.graph, n["p"]
    size = g.add("Abs", g.cast(n["x"], n.dtype))
    if p == 0:
        nothing = g.add("Equal", size, g.like(size, 0), dtype="bool")
        return reduced(n, "ReduceSum", g.cast(g.add("Not", nothing), n.dtype))
    if p == 1:
        return reduced(n, "ReduceSum", size)
    if math.isinf(p):
        return FORMS["max" if p > 0 else "min"](n.but(operands={"x": size}))
    if not axes_of(n):
        return n.add("Identity", size)
    return _length(n, size)  # of order 2: those of other orders are composed of what has forms


def _length(n: Node, size: Value) -> Value:
    """The Euclidean one: divided by the largest, so that no square vanishes or overflows."""
    g = n.graph

    def scale(node: Node) -> Value:
        top = reduced(node, "ReduceMax", size)
        usable = g.add("And", g.add("Greater", top, g.like(size, 0), dtype="bool"),
                       g.add("Less", top, g.like(size, math.inf), dtype="bool"))  # fmt: skip
        return g.add("Where", usable, top, g.like(size, 1), dtype=n.dtype)

    shape = tuple(1 if d in axes_of(n) else m for d, m in enumerate(size.shape))
    kept = n.but(attrs={**n.attrs, "keepdims": True}, shape=shape)
    part = g.add("Div", size, scale(kept))
    return n.add("Mul", n.add("Sqrt", reduced(n, "ReduceSum", g.add("Mul", part, part))), scale(n))


@form("ramp")
def _ramp(n: Node) -> Value:
    (length,) = n.shape
    if not isinstance(length, int):
        raise ValueError("its length depends on the size of the batch")
    numbers = np.append(n["first"] + n["step"] * np.arange(length - 1, dtype=np.float64), n["last"])[:length]
    return n.graph.constant(numbers.astype(n.dtype))


@form("gather_backward")
def _spread(n: Node) -> Value:
    """Also a gradient, but it is what `one_hot` is recorded as."""
    g = n.graph
    nothing = g.add("Expand", g.constant(np.zeros((), n.dtype)), g.lengths(n.shape), shape=n.shape)
    return n.add("ScatterElements", nothing, g.cast(n["indices"], "int64"), n["dout"], axis=n["axis"], reduction="add")
