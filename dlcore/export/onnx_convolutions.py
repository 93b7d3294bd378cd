"""The forms in ONNX of convolutions; see `onnx_forms`."""

from __future__ import annotations

from typing import Any

from dlcore.export.onnx_forms import FORMS, Node, form
from dlcore.export.onnx_graph import Value
from dlcore.ops._convolution import Geometry

__all__: list[str] = []


def _channels_first(n: Node, x: Value) -> Value:
    if n["layout"] == "NCHW":
        return x
    order = [0, x.ndim - 1, *range(1, x.ndim - 1)]
    return n.graph.add("Transpose", x, perm=order, shape=tuple(x.shape[d] for d in order))


def _as_layout(n: Node, x: Value) -> Value:
    if n["layout"] == "NCHW":
        return x
    return n.add("Transpose", x, perm=[0, *range(2, x.ndim), 1])


def _first_shape(n: Node) -> tuple[Any, ...]:
    """The output's shape with the channels in front."""
    return n.shape if n["layout"] == "NCHW" else (n.shape[0], n.shape[-1], *n.shape[1:-1])


def _walk(n: Node, kernel: tuple[Any, ...]) -> dict[str, Any]:
    if n.dtype != "float32":
        raise ValueError(f"onnxruntime has no convolution of {n.dtype}; export model.to(dlcore.float32)")
    padding = n["padding"]
    return {
        "kernel_shape": list(kernel), "strides": list(n["stride"]), "dilations": list(n["dilation"]),
        "pads": [*padding[::2], *padding[1::2]], "group": n["groups"],
    }  # fmt: skip


@form("conv")
def _conv(n: Node) -> Value:
    weight, bias = n["weight"], n["bias"]
    inputs = [_channels_first(n, n["x"]), weight, *([] if bias is None else [bias])]
    out = n.add("Conv", *inputs, shape=_first_shape(n), **_walk(n, weight.shape[2:]))
    name, _, approximate = (n["activation"] or "").partition("_")
    if name:
        activated = n.but(operands={"x": out}, attrs={"approximate": approximate or "none"}, shape=out.shape)
        out = FORMS[name](activated)
    return _as_layout(n, out)


@form("conv_input")
def _conv_input(n: Node) -> Value:
    y, weight = _channels_first(n, n["y"]), n["weight"]
    kernel, size = weight.shape[2:], n["size"]
    walk = Geometry(n["stride"], n["padding"], n["dilation"], n["groups"], n["layout"])
    left = [(m - r) % s for m, r, s in zip(walk.padded(size), walk.reach(kernel), walk.stride, strict=True)]
    out = n.add("ConvTranspose", y, weight, shape=_first_shape(n), output_padding=left, **_walk(n, kernel))
    return _as_layout(n, out)
