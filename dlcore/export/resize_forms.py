"""The forms in ONNX and C of what images are resized and taken apart by; see `onnx_forms` and `c_forms`.

`interpolate`, `pixel_shuffle` and their kin are recorded as the operations that they are made of.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore.export.c_forms import C_FORMS
from dlcore.export.c_text import SUFFIX, TYPES, Program, Unsupported
from dlcore.export.onnx_forms import REFUSED, Node, form
from dlcore.export.onnx_graph import Value
from dlcore.export.trace import Call
from dlcore.ops.sampling import pixel_places

__all__: list[str] = []

_FEW = 4  # terms of a sum that are taken one by one; more are a product with a matrix

# ---- ONNX -----------------------------------------------------------------------------------------------------------


@form("resample")
def _resample(n: Node) -> Value:
    x, spans, weights, axis, g = n["x"], n["spans"], n["weights"], n["axis"], n.graph
    if not isinstance(x.shape[axis], int):
        raise ValueError("it resizes the axis of the batch")
    if spans.values is None or (weights is not None and weights.values is None):
        raise ValueError("its table is computed")
    first, count = spans.values.T.astype(np.int64)
    most = int(count.max(initial=0))
    factors = np.ones((len(first), most)) if weights is None else weights.values.astype(np.float64)
    if most > _FEW:
        return _as_product(n, first, count, factors)
    total = None
    for t in range(most):
        there = t < count
        chosen = n.add("Gather", x, g.constant(np.where(there, first + t, 0)), axis=axis)
        column = (-1, *[1] * (x.ndim - 1 - axis))
        if weights is not None:
            chosen = n.add("Mul", chosen, g.constant(factors[:, t].astype(x.dtype).reshape(column)))
        if not there.all():
            chosen = n.add("Where", g.constant(there.reshape(column)), chosen, g.like(x, 0))
        total = chosen if total is None else n.add("Add", total, chosen)
    if total is None:
        raise ValueError("nothing is in any span")
    return n.add("Identity", total)


def _as_product(n: Node, first: np.ndarray, count: np.ndarray, factors: np.ndarray) -> Value:
    """The table as a matrix."""
    x, axis, g = n["x"], n["axis"], n.graph
    matrix = np.zeros((x.shape[axis], len(first)), x.dtype)
    for k, (start, length) in enumerate(zip(first, count, strict=True)):
        matrix[start : start + length, k] = factors[k, :length]
    order = [d for d in range(x.ndim) if d != axis] + [axis]
    back = [order.index(d) for d in range(x.ndim)]
    moved = g.add("Transpose", x, perm=order, shape=[x.shape[d] for d in order])
    made = g.add("MatMul", moved, g.constant(matrix), shape=[*moved.shape[:-1], len(first)])
    return n.add("Transpose", made, perm=back)


def _pairs(n: Node) -> list[tuple[int, int]]:
    names = ("kernel_size", "dilation", "padding", "stride")
    return [n[name] if len(n[name]) == 2 else n[name] * 2 for name in names]


@form("im2col")
def _im2col(n: Node) -> Value:
    x, g = n["x"], n.graph
    if not all(isinstance(k, int) for k in x.shape[-3:]):
        raise ValueError("its windows run along the batch")
    kernel, dilation, padding, stride = _pairs(n)
    front, (channels, *size) = x.shape[:-3], x.shape[-3:]
    f = len(front)
    sides = np.array([*[0] * (f + 1), *padding] * 2, np.int64)
    padded = [a + 2 * p for a, p in zip(size, padding, strict=True)]
    found = g.add("Pad", x, g.constant(sides), g.like(x, 0), shape=(*front, channels, *padded))
    shape: list[Any] = [*front, channels, *padded]
    for d, at in ((0, f + 1), (1, f + 3)):
        counted = (padded[d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1
        places = np.arange(kernel[d])[:, None] * dilation[d] + np.arange(counted) * stride[d]
        shape[at : at + 1] = places.shape
        found = g.add("Gather", found, g.constant(places), axis=at, shape=tuple(shape))
    order = [*range(f + 2), f + 3, f + 2, f + 4]
    return g.reshape(g.add("Transpose", found, perm=order, shape=[shape[d] for d in order]), n.shape)


@form("col2im")
def _col2im(n: Node) -> Value:
    x, g = n["x"], n.graph
    if x.dtype != "float32":
        raise ValueError("onnxruntime has no fold of float64; export model.to(dlcore.float32)")
    if not all(isinstance(k, int) for k in x.shape[-2:]):
        raise ValueError("its columns run along the batch")
    kernel, dilation, padding, stride = _pairs(n)
    size = n["output_size"] if len(n["output_size"]) == 2 else n["output_size"] * 2
    whole = x if x.ndim == 3 else g.reshape(x, (1, *x.shape))
    shape = n.shape if x.ndim == 3 else (1, *n.shape)
    options: dict[str, Any] = {"dilations": list(dilation), "pads": [*padding, *padding], "strides": list(stride)}
    lengths = [g.constant(np.array(v, np.int64)) for v in (size, kernel)]
    return g.reshape(g.add("Col2Im", whole, *lengths, shape=shape, **options), n.shape)


REFUSED["crop"] = "each image is cut at a place of its own, which belongs to training; slice, or take and reshape"


@form("grid_sample")
def _grid_sample(n: Node) -> Value:
    x, grid, g = n["x"], n["grid"], n.graph
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(n["mode"], n["mode"])
    options = {"mode": mode, "padding_mode": n["padding_mode"], "align_corners": int(n["align_corners"])}
    if n["layout"] == "NCHW":
        return n.add("GridSample", x, grid, **options)
    first = [0, x.ndim - 1, *range(1, x.ndim - 1)]
    last = [0, *range(2, x.ndim), 1]
    moved = g.add("Transpose", x, perm=first, shape=[x.shape[d] for d in first])
    made = g.add("GridSample", moved, grid, shape=[n.shape[d] for d in first], **options)
    return n.add("Transpose", made, perm=last)


@form("affine_grid")
def _affine_grid(n: Node) -> Value:
    theta, g, batch, places = n["theta"], n.graph, n.shape[0], [int(k) for k in n["size"][2:]]
    lines: list[Any] = [pixel_places(k, n["align_corners"]) for k in places]
    axes, mesh = len(places), np.meshgrid(*lines, indexing="ij")[::-1]
    points = g.constant(np.stack([*mesh, np.ones(places)], -1).reshape(-1, axes + 1).astype(theta.dtype))
    turned = g.add("Transpose", theta, perm=[0, 2, 1], shape=(batch, axes + 1, axes))
    return g.reshape(g.add("MatMul", points, turned, shape=(batch, points.shape[0], axes)), n.shape)


# ---- C --------------------------------------------------------------------------------------------------------------


def _resampled(p: Program, call: Call) -> list[str]:
    x, spans, _, weights, _ = p.operands(call)
    out, axis = p.out(call), call.attrs[0]
    if out.dtype not in SUFFIX:
        raise Unsupported("of integers it has no form there")
    if 0 in out.shape:
        return []
    inner, n, m, t = math.prod(x.shape[axis + 1 :]), x.shape[axis], out.shape[axis], TYPES[out.dtype]
    factor = "" if weights is None else f" * ({t})({weights.pointer})[k * {weights.shape[1]} + t]"
    return [
        f"for (int o = 0; o < {math.prod(x.shape[:axis])}; ++o)",
        f"  for (int k = 0; k < {m}; ++k)",
        f"    for (int j = 0; j < {inner}; ++j) {{",
        f"      const int32_t *span = {spans.pointer} + 2 * k;",
        f"      const {t} *from = {x.pointer} + (o * {n} + span[0]) * {inner} + j;",
        f"      {t} sum = 0;",
        f"      for (int t = 0; t < span[1]; ++t) {{ const {t} term = from[t * {inner}]{factor};",
        "        sum = t == 0 ? term : sum + term; }",
        f"      ({out.pointer})[(o * {m} + k) * {inner} + j] = sum;",
        "    }",
    ]


def _windows(call: Call, names: int) -> tuple[list[Any], tuple[int, ...], list[int]]:
    """Kernel, dilation, padding and stride; the size of images; how many windows there are."""
    four = [a if len(a) == 2 else a * 2 for a in call.attrs[names : names + 4]]
    array = call.inputs[0] if names == 0 else call.outputs[0]
    assert array is not None
    size = array.shape[-2:]
    counts = [(s + 2 * p - d * (k - 1) - 1) // q + 1 for s, k, d, p, q in zip(size, *four, strict=True)]
    return four, size, counts


def _walk(call: Call, planes: int, names: int, body: str) -> list[str]:
    """Loops over planes, places in a window and windows; ``body`` where the place (y, z) is in the image."""
    (kernel, dilation, padding, stride), (height, width), (rows, columns) = _windows(call, names)
    return [
        f"for (int p = 0; p < {planes}; ++p)",
        f"  for (int k = 0; k < {kernel[0] * kernel[1]}; ++k)",
        f"    for (int r = 0; r < {rows}; ++r)",
        f"      for (int c = 0; c < {columns}; ++c) {{",
        f"        const int y = r * {stride[0]} + k / {kernel[1]} * {dilation[0]} - {padding[0]};",
        f"        const int z = c * {stride[1]} + k % {kernel[1]} * {dilation[1]} - {padding[1]};",
        f"        const int inside = y >= 0 && y < {height} && z >= 0 && z < {width};",
        f"        const int column = ((p * {kernel[0] * kernel[1]} + k) * {rows} + r) * {columns} + c;",
        f"        const int place = inside ? (p * {height} + y) * {width} + z : 0;",
        f"        {body}",
        "      }",
    ]


def _to_columns(p: Program, call: Call) -> list[str]:
    (x,), out = p.operands(call), p.out(call)
    body = f"({out.pointer})[column] = inside ? ({x.pointer})[place] : 0;"
    return _walk(call, math.prod(x.shape[:-2]), 0, body) if math.prod(out.shape) else []


def _to_images(p: Program, call: Call) -> list[str]:
    (x,), out = p.operands(call), p.out(call)
    if not math.prod(out.shape):
        return []
    zero = f"for (int i = 0; i < {math.prod(out.shape)}; ++i) ({out.pointer})[i] = 0;"
    body = f"if (inside) ({out.pointer})[place] += ({x.pointer})[column];"
    return [zero, *_walk(call, math.prod(out.shape[:-2]), 1, body)]


C_FORMS |= {"resample": _resampled, "im2col": _to_columns, "col2im": _to_images}
