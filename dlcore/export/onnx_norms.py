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
