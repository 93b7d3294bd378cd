"""The forms in ONNX of products of vectors along an axis; see `onnx_forms`."""

from __future__ import annotations

import numpy as np

from dlcore.export.onnx_forms import Node, form
from dlcore.export.onnx_graph import Value

__all__: list[str] = []

_WIDE = ("float16", "float32", "float64", "int32", "int64")


def _operands(n: Node) -> list[Value]:
    """Both, small integers as int32, with a length for each axis that they broadcast to."""
    return [x if x.dtype in _WIDE else n.graph.cast(x, "int32") for x in (n["a"], n["b"])]


def _last(n: Node, x: Value) -> Value:
    """The operand with the axis behind the others."""
    at = n["axis"] % x.ndim
    order = [d for d in range(x.ndim) if d != at] + [at]
    shape = tuple(x.shape[d] for d in order)
    return x if order == sorted(order) else n.graph.add("Transpose", x, perm=order, shape=shape)


@form("vecdot")
def _vecdot(n: Node) -> Value:
    a, b = (_last(n, x) for x in _operands(n))
    if a.dtype.startswith("int"):  # ReduceSum of integers does not wrap, MatMul does
        row, column = n.graph.reshape(a, (*a.shape[:-1], 1, a.shape[-1])), n.graph.reshape(b, (*b.shape, 1))
        made = n.graph.add("MatMul", row, column, shape=(*n.shape, 1, 1))
        return n.graph.cast(n.graph.reshape(made, n.shape), n.dtype)
    return n.add("ReduceSum", n.graph.add("Mul", a, b), n.graph.constant(np.array([-1])), keepdims=0)


@form("cross")
def _cross(n: Node) -> Value:
    a, b = _operands(n)
    one, two = (n.graph.constant(np.array(order)) for order in ((1, 2, 0), (2, 0, 1)))
    (a_one, a_two), (b_one, b_two) = (
        [n.graph.add("Gather", x, order, axis=n["axis"]) for order in (one, two)] for x in (a, b)
    )
    left = n.add("Mul", a_one, b_two, dtype=a.dtype)
    return n.graph.cast(n.add("Sub", left, n.add("Mul", a_two, b_one, dtype=a.dtype), dtype=a.dtype), n.dtype)


@form("inner", "vdot")
def _inner(n: Node) -> Value:  # of vectors: all others are recorded as the operations that they are made of
    a, b = _operands(n)
    return n.graph.cast(n.add("MatMul", a, b, dtype=a.dtype), n.dtype)


@form("outer")
def _outer(n: Node) -> Value:
    a, b = _operands(n)
    column, row = n.graph.reshape(a, (n.shape[0], 1)), n.graph.reshape(b, (1, n.shape[1]))
    return n.graph.cast(n.add("Mul", column, row, dtype=a.dtype), n.dtype)


@form("kron")
def _kron(n: Node) -> Value:
    (a, b), g, axes = _operands(n), n.graph, len(n.shape)
    of_a, of_b = ((*[1] * (axes - x.ndim), *x.shape) for x in (a, b))
    apart = [tuple(k for pair in zip(*sides, strict=True) for k in pair)
             for sides in ((of_a, [1] * axes), ([1] * axes, of_b), (of_a, of_b))]  # fmt: skip
    product = g.add("Mul", g.reshape(a, apart[0]), g.reshape(b, apart[1]), shape=apart[2])
    return g.cast(g.reshape(product, n.shape), n.dtype)
