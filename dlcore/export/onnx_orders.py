"""The forms in ONNX of orders: sort, argsort, topk.

TopK gives of equal elements the one that stands first, as every sort here; where it puts NaN, ONNX does not say. So
floats are put in order twice: by their values, with NaN as infinity, then by whether they are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlcore.export.onnx_forms import Node, form, size_of, widened
from dlcore.export.onnx_graph import Graph, Length, Value

__all__: list[str] = []


@form("sort", "argsort")
def _sorted(n: Node) -> Value:
    x, axis = n["x"], n["axis"]
    if axis is None:
        x, axis = n.graph.reshape(x, (size_of(x.shape),)), 0
    order = _order(n.graph, x, axis, x.shape[axis], bool(n["descending"]))
    return order if n.attrs["name"] == "argsort" else n.add("GatherElements", x, order, axis=axis)


@form("topk")
def _top(n: Node) -> tuple[Value, Value]:
    order = _order(n.graph, n["x"], n["axis"], n["k"], bool(n["largest"]))
    return n.add("GatherElements", n["x"], order, axis=n["axis"]), order


def _order(g: Graph, x: Value, axis: int, k: Length, largest: bool) -> Value:
    """The places of the first ``k`` elements along ``axis``, the largest or the smallest first, NaN as the largest."""
    (key,) = widened(g, x)
    if not x.is_float:
        return _first(g, key, axis, k, largest)
    unknown = g.add("IsNaN", key, dtype="bool")
    order = _first(g, g.add("Where", unknown, g.like(key, np.inf), key), axis, x.shape[axis], largest)
    moved = g.add("GatherElements", g.cast(unknown, "int32"), order, axis=axis)
    return g.add("GatherElements", order, _first(g, moved, axis, k, largest), shape=_cut(x.shape, axis, k), axis=axis)


def _first(g: Graph, key: Value, axis: int, k: Length, largest: bool) -> Value:
    """The places of the first ``k``: the second result of TopK."""
    shape = _cut(key.shape, axis, k)
    _, places = g.several("TopK", key, g.length(k), results=((key.dtype, shape), ("int64", shape)),
                          axis=axis, largest=int(largest), sorted=1)  # fmt: skip
    return places


def _cut(shape: Sequence[Length], axis: int, k: Length) -> tuple[Length, ...]:
    return (*shape[:axis], k, *shape[axis + 1 :])
