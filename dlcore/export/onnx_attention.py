"""The forms in ONNX of attention, in operators of opset 20, which has none of its own; see `onnx_forms`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.export.onnx_forms import Node, form
from dlcore.export.onnx_graph import Graph, Length, Value

__all__: list[str] = []


def _turned(g: Graph, x: Value, order: tuple[int, ...]) -> Value:
    return g.add("Transpose", x, perm=list(order), shape=[x.shape[d] for d in order])


def _length(n: Length) -> int:
    if not isinstance(n, int):
        raise ValueError("its queries and keys depend on the size of the batch")
    return n


def _of_offsets(n: Node, names: tuple[str, str], queries: int, keys: int) -> Any:
    """Which keys are in a query's sequence, and by how much its place is behind that of the key."""
    if any(n[name].values is None for name in names):
        raise ValueError("its sequences depend on values")
    q_ends, k_ends = ([int(x) for x in n[name].values] for name in names)
    seen, ahead = np.zeros((queries, keys), bool), np.zeros((queries, keys), np.int64)
    for q0, q1, k0, k1 in zip(q_ends, q_ends[1:], k_ends, k_ends[1:], strict=False):
        shift = (k1 - k0) - (q1 - q0) if n["lower"] else 0
        seen[q0:q1, k0:k1] = True
        ahead[q0:q1, k0:k1] = np.arange(k1 - k0) - np.arange(q1 - q0)[:, None] - shift
    return _within(n, seen, ahead)


def _within(n: Node, seen: Any, ahead: Any) -> Any:
    if n["left"] >= 0:
        seen = seen & (ahead >= -n["left"])
    return seen & (ahead <= n["right"]) if n["right"] >= 0 else seen


def _of_lengths(n: Node, queries: int, keys: int) -> Value:
    """The same where the number of keys is known when the model runs: (B, 1, Tq, Tk) or fewer queries."""
    g = n.graph
    count = g.reshape(g.cast(n["lengths"], "int64"), (n["lengths"].shape[0], 1, 1, 1))
    least = g.add("Min", count, g.constant(np.array(keys)))
    count = g.add("Max", least, g.constant(np.array(0)))
    b = count.shape[0]
    seen = g.add("Less", g.constant(np.arange(keys)), count, dtype="bool", shape=(b, 1, 1, keys))
    ahead = g.constant(np.arange(keys) - np.arange(queries)[:, None])
    whole: tuple[Length, ...] = (queries, keys)
    if n["lower"]:
        whole = (b, 1, queries, keys)
        ahead = g.add("Sub", ahead, g.add("Sub", count, g.constant(np.array(queries))), shape=whole)
    for name, kind, limit in (("left", "GreaterOrEqual", -n["left"]), ("right", "LessOrEqual", n["right"])):
        if n[name] >= 0:
            within = g.add(kind, ahead, g.constant(np.array(limit)), dtype="bool", shape=whole)
            seen = g.add("And", seen, within, shape=(b, 1, queries, keys))
    return seen


def _seen(n: Node, offsets: tuple[str, str], queries: int, keys: int) -> Value | None:
    """What each query sees; None for all."""
    if n["lengths"] is not None:
        return _of_lengths(n, queries, keys)
    if n[offsets[0]] is not None:
        return n.graph.constant(_of_offsets(n, offsets, queries, keys))
    shift = keys - queries if n["lower"] else 0
    ahead = np.arange(keys) - np.arange(queries)[:, None] - shift
    seen = _within(n, np.ones((queries, keys), bool), ahead)
    return None if seen.all() else n.graph.constant(seen)


def _hidden(g: Graph, s: Value, seen: Value | None, mask: Value | None) -> Value:
    """Scores with -inf where a key is hidden, and the mask added."""
    hidden = g.like(s, -math.inf)
    if mask is not None:
        s = g.add("Where", mask, s, hidden, dtype=s.dtype, shape=s.shape) if mask.dtype == "bool" else \
            g.add("Add", s, g.cast(mask, s.dtype))  # fmt: skip
    return s if seen is None else g.add("Where", seen, s, hidden, dtype=s.dtype, shape=s.shape)


def _probabilities(g: Graph, s: Value, whole: bool) -> Value:
    """``whole``: every query sees a key; the others have zeros."""
    if whole:
        return g.add("Softmax", s, axis=-1)
    top = g.add("ReduceMax", s, g.constant(np.array([-1])), shape=(*s.shape[:-1], 1), keepdims=1)
    nothing = g.add("Equal", top, g.like(s, -math.inf), dtype="bool")
    given = g.add("Where", nothing, g.like(s, 0), s, dtype=s.dtype, shape=s.shape)
    return g.add("Where", nothing, g.like(s, 0), g.add("Softmax", given, axis=-1), dtype=s.dtype, shape=s.shape)


def _attention(n: Node, parts: Sequence[Value], offsets: tuple[str, str]) -> Value:
    """(B, H, Tq, Dv) of (B, H, Tq, D), (B, Hk, Tk, D) and (B, Hk, Tk, Dv)."""
    g, (q, k, v) = n.graph, parts
    (b, h, queries, d), (groups, keys, width) = q.shape, (k.shape[1], k.shape[2], v.shape[3])
    queries, keys = _length(queries), _length(keys)
    if n["dropout"]:
        raise ValueError("it draws random numbers; call model.eval() first")
    if keys == 0:
        zeros = (b, h, queries, width)
        return g.add("Expand", g.like(q, 0), g.lengths(zeros), shape=zeros)
    shared = _length(h) // _length(groups)
    q = g.reshape(g.add("Mul", q, g.like(q, n["scale"])), (b, groups, shared, queries, d))
    turned = g.reshape(_turned(g, k, (0, 1, 3, 2)), (k.shape[0], groups, 1, d, keys))
    s = g.add("MatMul", q, turned, shape=(b, groups, shared, queries, keys))
    s = g.reshape(s, (b, h, queries, keys))
    seen, mask = _seen(n, offsets, queries, keys), n["attn_mask"]
    whole = mask is None and (seen is None or (seen.values is not None and bool(seen.values.any(-1).all())))
    p = _probabilities(g, _hidden(g, s, seen, mask), whole)
    p = g.reshape(p, (b, groups, shared, queries, keys))
    values = g.reshape(v, (v.shape[0], groups, 1, keys, width))
    made = g.add("MatMul", p, values, shape=(b, groups, shared, queries, width))
    return g.reshape(made, (b, h, queries, width))


@form("attention_forward")
def _forward(n: Node) -> Value:
    behind, order = n["layout"] == "BTHD", (0, 2, 1, 3)
    parts = [_turned(n.graph, n[x], order) if behind else n[x] for x in ("q", "k", "v")]
    out = _attention(n, parts, ("query_offsets", "key_offsets"))
    return _turned(n.graph, out, order) if behind else out


@form("attention_packed_forward")
def _packed(n: Node) -> Value:
    g, x, heads = n.graph, n["qkv"], n["heads"]
    b, t, count, d = x.shape
    groups = (_length(count) - heads) // 2
    parts = []
    for first, size in ((0, heads), (heads, groups), (heads + groups, groups)):
        ends = [g.constant(np.array([i], np.int64)) for i in (first, first + size, 2)]
        part = g.add("Slice", x, *ends, shape=(b, t, size, d))
        parts.append(_turned(g, part, (0, 2, 1, 3)))
    return _turned(g, _attention(n, parts, ("offsets", "offsets")), (0, 2, 1, 3))
