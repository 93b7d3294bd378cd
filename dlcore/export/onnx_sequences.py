"""The forms in ONNX of operations on sequences; see `onnx_forms`."""

from __future__ import annotations

import numpy as np

from dlcore.export.onnx_activations import halves
from dlcore.export.onnx_forms import FORMS, Form, Node, form
from dlcore.export.onnx_graph import Value

__all__: list[str] = []


def _rotary_columns(half: int, width: int, interleaved: bool) -> tuple[list[int], list[int], list[int]]:
    """Of each feature: its partner, its column among (cos, 1), and its column among (sin, -sin, 0)."""
    partner, cosine, sine = list(range(width)), [half] * width, [2 * half] * width
    for i in range(half):
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
        partner[a], partner[b] = b, a
        cosine[a] = cosine[b] = i
        sine[a], sine[b] = i + half, i
    return partner, cosine, sine


def _some_heads(n: Node, axis: int) -> Value:
    """The first heads turned and the others behind them."""
    x, heads, count = n["x"], n["heads"], n["x"].shape[axis]
    parts = []
    for begin, end in ((0, heads), (heads, count)):
        shape = (*x.shape[:axis], end - begin, *x.shape[axis + 1 :])
        part = n.graph.add("Gather", x, n.graph.constant(np.arange(begin, end)), shape=shape, axis=axis)
        given = n.but(operands={**n.operands, "x": part}, attrs={**n.attrs, "heads": None}, shape=shape)
        parts.append(_rotary(given) if begin == 0 else part)
    return n.add("Concat", *parts, axis=axis)


@form("rotary_embedding")
def _rotary(n: Node) -> Value:
    """x C + partners S, with a column of C and S for each feature: 1 and 0 for those that stay."""
    x, g, positions = n["x"], n.graph, n["positions"]
    packed = n["layout"] == "BTHD"
    time = x.ndim - (3 if packed else 2)
    rows, half = n["cos"].shape
    width, length = x.shape[-1], x.shape[time]
    if not isinstance(length, int):
        raise ValueError("its number of positions depends on the size of the batch")
    if n["heads"] is not None and x.ndim > 2:
        return _some_heads(n, x.ndim - (2 if packed else 3))
    dtype = n["cos"].dtype
    partner, cosine, sine = _rotary_columns(half, width, bool(n["interleaved"]))
    sines = [n["sin"], g.add("Neg", n["sin"])]
    sines = sines[::-1] if n["inverse"] else sines
    one, none = (g.constant(np.full((rows, 1), v, dtype)) for v in (1.0, 0.0))
    if positions is None:
        positions = g.constant(np.arange(length))
    elif positions.ndim == 0:
        positions = g.add("Add", g.cast(positions, "int64"), g.constant(np.arange(length)), shape=(length,))

    def table(parts: list[Value], columns: list[int]) -> Value:
        joined = g.add("Concat", *parts, shape=(rows, max(columns) + 1), axis=1)
        wide = g.add("Gather", joined, g.constant(np.array(columns)), shape=(rows, width), axis=1)
        found = g.add("Gather", wide, positions, shape=(*positions.shape, width), axis=0)
        return g.reshape(found, (*positions.shape, 1, width)) if packed else (
            g.reshape(found, (*positions.shape[:-1], 1, length, width)) if x.ndim > 2 else found
        )  # fmt: skip

    wide = g.cast(x, dtype)
    partners = g.add("Gather", wide, g.constant(np.array(partner)), shape=x.shape, axis=x.ndim - 1)
    turned = g.add("Mul", wide, table([n["cos"], one], cosine), shape=x.shape)
    other = g.add("Mul", partners, table([*sines, none], sine), shape=x.shape)
    return g.cast(g.add("Add", turned, other, shape=x.shape), n.dtype)


def _gated(activation: str) -> Form:
    def made(n: Node) -> Value:
        a, b = halves(n, n["gate"]) if n["up"] is None else (n["gate"], n["up"])
        return n.add("Mul", FORMS[activation](n.but(operands={"x": a})), b)

    return made


FORMS |= {"swiglu": _gated("silu"), "geglu": _gated("gelu"), "reglu": _gated("relu")}
