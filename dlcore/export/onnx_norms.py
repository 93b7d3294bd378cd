"""The forms in ONNX of normalisations; see `onnx_forms`."""

from __future__ import annotations

import numpy as np

from dlcore.export.onnx_forms import Node, form
from dlcore.export.onnx_graph import Value

__all__: list[str] = []


def _vector(n: Node, name: str, length: int, otherwise: float) -> Value:
    """One number a channel in the dtype of x, or a constant where the operand is absent."""
    found = n[name]
    if found is None:
        return n.graph.constant(np.full(length, otherwise, n["x"].dtype))
    return found if found.dtype == n["x"].dtype else n.graph.cast(found, n["x"].dtype)


def _channels_first(n: Node) -> tuple[Value, list[int] | None]:
    """x with its channels on axis 1, and the permutation that brings them back behind the others."""
    x, last = n["x"], n["x"].ndim - 1
    if n["layout"] == "NCHW" or last == 1:
        return x, None
    order = [0, last, *range(1, last)]
    moved = n.graph.add("Transpose", x, perm=order, shape=[x.shape[d] for d in order])
    return moved, [0, *range(2, last + 1), 1]


@form("batch_norm_inference")
def _batch_norm(n: Node) -> Value:
    x, back = _channels_first(n)
    channels = n["mean"].shape[0]
    given = [_vector(n, name, channels, 1.0 if name == "weight" else 0.0) for name in ("weight", "bias", "mean", "var")]
    out = n.graph.add("BatchNormalization", x, *given, shape=x.shape, epsilon=float(n["eps"]))
    return out if back is None else n.add("Transpose", out, perm=back)


@form("layer_norm_forward")
def _layer_norm(n: Node) -> Value:
    x, g, axes = n["x"], n.graph, n["axes"]
    tail = x.shape[x.ndim - axes :]
    if not all(isinstance(m, int) for m in tail):
        raise ValueError("its rows depend on the size of the batch")
    scale, bias = n["weight"], n["bias"]
    scale = g.constant(np.ones(tail, x.dtype)) if scale is None else g.cast(scale, x.dtype)
    given = [x, scale] if bias is None else [x, scale, g.cast(bias, x.dtype)]
    return n.add("LayerNormalization", *given, axis=-axes, epsilon=float(n["eps"]))


@form("rms_norm_forward")
def _rms_norm(n: Node) -> Value:
    x, g, axes = n["x"], n.graph, n["axes"]
    kept = (*x.shape[: x.ndim - axes], *[1] * axes)
    last = g.constant(np.arange(x.ndim - axes, x.ndim))
    square = g.add("ReduceMean", g.add("Mul", x, x), last, shape=kept, keepdims=1)
    root = g.add("Sqrt", g.add("Add", square, g.like(x, n["eps"])))
    out = n.add("Div", x, root)
    return out if n["weight"] is None else n.add("Mul", out, g.cast(n["weight"], x.dtype))


@form("group_norm_forward")
def _group_norm(n: Node) -> Value:
    x, back = _channels_first(n)
    g, groups, channels = n.graph, n["groups"], x.shape[1]
    places = int(np.prod(x.shape[2:], dtype=np.int64)) if all(isinstance(m, int) for m in x.shape[1:]) else 0
    if not places:
        raise ValueError("its groups depend on the size of the batch, or are empty")
    if x.dtype == "float64":
        raise ValueError("onnxruntime has no InstanceNormalization of float64; export model.to(dlcore.float32)")
    lines = g.reshape(x, (x.shape[0], groups, channels // groups * places))
    means = g.add("ReduceMean", lines, g.constant(np.array([2])), shape=(*lines.shape[:2], 1), keepdims=1)
    lines = g.add("Sub", lines, means)  # onnxruntime's variance is poor where the mean is far from 0
    one, zero = (g.constant(np.full(groups, v, x.dtype)) for v in (1.0, 0.0))
    out = g.add("InstanceNormalization", lines, one, zero, shape=lines.shape, epsilon=float(n["eps"]))
    out = g.reshape(out, x.shape)
    form = (channels, *[1] * (x.ndim - 2))
    for kind, name in (("Mul", "weight"), ("Add", "bias")):
        if n[name] is not None:
            out = g.add(kind, out, g.reshape(g.cast(n[name], x.dtype), form))
    return out if back is None else n.add("Transpose", out, perm=back)
