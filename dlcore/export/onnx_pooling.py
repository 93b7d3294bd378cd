"""The forms in ONNX of poolings: see dlcore/export/onnx_forms.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore.export.onnx_forms import FORMS, REFUSED, Node
from dlcore.export.onnx_graph import Value

__all__: list[str] = []

REFUSED |= {
    "conv_max_pool": "recorded steps alone make it, of conv and max_pool",
    "max_pool_at": "it is the gradient of a gradient",
    "max_pool_indices": "indices of maxima have no form yet; export the maxima alone",
}


def _channels_first(n: Node, x: Value) -> Value:
    if n["layout"] == "NCHW":
        return x
    order = [0, x.ndim - 1, *range(1, x.ndim - 1)]
    return n.graph.add("Transpose", x, shape=[x.shape[d] for d in order], perm=order)


def _as_given(n: Node, x: Value) -> Value:
    if n["layout"] == "NCHW":
        return n.add("Identity", x)
    return n.add("Transpose", x, perm=[0, *range(2, x.ndim), 1])


def _windows(n: Node, x: Value, dilation: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Padding before and after, so that as many windows fit as there are; `x` has channels first."""
    if not n["kernel"]:
        raise ValueError("ONNX has no adaptive windows where lengths do not divide; choose a size that does")
    space = x.shape[2:]
    if not all(isinstance(length, int) for length in space):
        raise ValueError("its windows run along the batch")
    before, after = list(n["padding"]), []
    axes: Any = zip(space, n["size"], n["kernel"], n["stride"], before, dilation, strict=True)
    for length, size, kernel, stride, first, step in axes:
        after.append(max(0, (size - 1) * stride + (kernel - 1) * step + 1 - length - first))
    return before, after


def _pooled_shape(n: Node, x: Value) -> tuple[Any, ...]:
    return (*x.shape[:2], *n["size"])


def _max_pool(n: Node) -> Value:
    x = _channels_first(n, n["x"])
    if x.dtype == "int64":
        raise ValueError("onnxruntime has no max_pool of int64")
    before, after = _windows(n, x, n["dilation"])
    wide = x if x.is_float or x.dtype in ("int8", "uint8") else n.graph.cast(x, "float64")  # exact for 32 bits
    found = n.graph.add("MaxPool", wide, shape=_pooled_shape(n, x), kernel_shape=n["kernel"], strides=n["stride"],
                        pads=[*before, *after], dilations=n["dilation"])  # fmt: skip
    return _as_given(n, n.graph.cast(found, x.dtype))


def _avg_pool(n: Node) -> Value:
    x, g = _channels_first(n, n["x"]), n.graph
    if x.dtype != "float32":
        raise ValueError(f"onnxruntime has no avg_pool of {x.dtype}")
    before, after = _windows(n, x, (1,) * len(n["kernel"]))
    attributes = {"kernel_shape": n["kernel"], "strides": n["stride"], "pads": [*before, *after]}
    shape = _pooled_shape(n, x)
    if not n["divisor"] and (not n["count_include_pad"] or all(a <= b for a, b in zip(after, before, strict=True))):
        counts = int(n["count_include_pad"])
        return _as_given(n, g.add("AveragePool", x, shape=shape, count_include_pad=counts, **attributes))
    # Sums, and what is behind the padding does not count: the divisors are constants.
    means = g.add("AveragePool", x, shape=shape, count_include_pad=1, **attributes)
    factors = math.prod(n["kernel"]) / np.asarray(_divisors(n, x.shape[2:]), np.float64)
    return _as_given(n, g.add("Mul", means, g.constant(factors.astype("float32")), shape=shape))


def _divisors(n: Node, space: Any) -> Any:
    """What the sums of windows are divided by, where padding counts."""
    if n["divisor"]:
        return n["divisor"]
    found: Any = 1
    for length, size, kernel, stride, padding in zip(
        space, n["size"], n["kernel"], n["stride"], n["padding"], strict=True
    ):
        start = np.arange(size) * stride - padding
        found = np.multiply.outer(found, np.minimum(start + kernel, length + padding) - start)
    return found


FORMS |= {"max_pool": _max_pool, "avg_pool": _avg_pool}
