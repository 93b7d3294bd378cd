"""Products of vectors along one axis of two operands: dot products and cross products.

The kernels read each element once: products are neither stored nor copied together. A sum runs in runs of the operands'
precision that are added in double.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import INTEGERS, float32, int8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Spec, Workload
from dlcore.op.signature import AxisOf
from dlcore.ops import reduce
from dlcore.ops._domains import without_tiny
from dlcore.ops._pointwise import NUMBER, check_dtype
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import cast, mul, sub
from dlcore.ops.movement import concat, unsqueeze
from dlcore.ops.slicing import slice as slice_of

__all__ = ["cross", "vecdot"]

Lengths = tuple[int, ...]


class _SharedAxis(AxisOf):
    """An axis of both operands, counted from the back as they broadcast: negative."""

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Any:
        shapes = [given["a"].shape, given["b"].shape]
        axis = value if value < 0 else value - max(map(len, shapes))
        for shape in shapes:
            if not -len(shape) <= axis < 0:
                raise IndexError(f"{where} {value} is out of range for shape {shape}")
        return axis

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return 8, IndexError, f"{where} 8 is out of range for shape {given['a'].shape}"


SharedAxis = Annotated[int, _SharedAxis("a")]


class _AlongAxis(Op):
    """An operation of two operands that broadcast, along an axis that both have."""

    family = "products"
    batching = "pointwise"
    cast = "low"
    methods = True

    def family_kernels(self) -> Mapping[str, Any]:
        return {"cpu": f"products:{self.name}"}

    def checked(self, a: Spec, b: Spec, axis: int) -> Lengths:
        """The shape that both broadcast to; lengths along the axis must be equal."""
        check_dtype(self.name, NUMBER, a, b)
        if a.shape[axis] != b.shape[axis]:
            text = f"{a.shape[axis]} and {b.shape[axis]} along axis {axis} of {a.shape} and {b.shape}"
            raise ShapeError(f"{self.name}: lengths differ: {text}")
        return broadcast_shapes(self.name, a.shape, b.shape)

    def restrict(self, operands: list[Any], largest: float) -> None:
        """As for matmul."""
        operands[:2] = [without_tiny(x, largest) for x in operands[:2]]


_along_axis = _AlongAxis.definition


def _without(shape: Lengths, axis: int) -> Lengths:
    return tuple(n for d, n in enumerate(shape) if d != axis % len(shape))


def _vecdot_numpy(a: Any, b: Any, axis: int) -> Any:
    return np.sum(np.multiply(a, b, dtype=np.result_type(a, b)), axis, dtype=np.result_type(a, b))


@_along_axis(
    reference=_vecdot_numpy, ulp=8, magnitude=lambda a, b, axis: np.sum(np.abs(a) * np.abs(b), axis),
    composite=lambda a, b, axis: _vecdot(a, b, axis),
    gradient={
        "a": lambda dout, b, axis: mul(unsqueeze(dout, axis), b),
        "b": lambda dout, a, axis: mul(unsqueeze(dout, axis), a),
    },
    baselines={"numpy": "np.vecdot(a, b, axis=axis)", "torch": "torch.linalg.vecdot(a, b, dim=axis)",
               "jax": "jnp.vecdot(a, b, axis=axis)"},
    samples=[
        Sample((33, 65), (33, 65), why="rows"), Sample((33, 65), (33, 65), axis=0, why="columns"),
        Sample((700, 9), (1, 700, 9), axis=-2, why="columns in several runs", grad=False),
        Sample((4, 1, 5), (3, 5), why="broadcast"), Sample((7,), (7,), why="vectors"),
        Sample((140_001,), (140_001,), why="a long line, in pieces", grad=False),
        Sample((3, 0), (3, 0), why="empty sum"), Sample((0, 3), (1, 3), why="empty"),
        *[Sample(Input((5, 9), i.min, i.max, d), Input((5, 9), i.min, i.max, d), why=f"{d.name}, wrapping", grad=False)
          for d in INTEGERS for i in [np.iinfo(d.numpy)]],
    ],
    error_inputs=[
        ErrorInput(ShapeError, "vecdot: lengths differ: 3 and 4 along axis -1 of (2, 3) and (2, 4)",
                   np.zeros((2, 3)), np.zeros((2, 4))),
        ErrorInput(ShapeError, "vecdot: shapes do not broadcast: (2, 3) and (4, 3)",
                   np.zeros((2, 3)), np.zeros((4, 3))),
        ErrorInput(DTypeError, "vecdot: does not take bool", *[np.ones(2, bool)] * 2),
    ],
    workloads=[Workload(((8,), (8,)), (), "dispatch"), Workload(((1024, 1024), (1024, 1024)), (), "1M"),
               Workload(((1024, 1024), (1024, 1024)), (0,), "columns", (float32,)),
               Workload(((131_072, 8), (131_072, 8)), (), "short rows", (float32,))],
)  # fmt: skip
def vecdot(a: Spec, b: Spec, axis: SharedAxis = -1) -> Spec:
    """The sums of a b along one axis: out[...] = the sum over k of a[..., k] b[..., k].

    The other axes broadcast; `axis` counts from the back where the operands have different numbers of axes. Raises
    ShapeError where lengths along it differ or shapes do not broadcast, IndexError for an axis out of range.

    >>> dl.vecdot(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0, 4.0]]))
    tensor([11.])
    """
    return Spec(_without(vecdot.op.checked(a, b, axis), axis), a.dtype)


def _vecdot(a: Any, b: Any, axis: int) -> Any:
    product = mul(a, b)
    out = reduce.sum(product, axis)
    return out if out.dtype is product.dtype else cast(out, product.dtype)


@vecdot.cost
def _(a: Spec, b: Spec, axis: int) -> tuple[float, float]:
    shape = broadcast_shapes("vecdot", a.shape, b.shape)
    return 2.0 * math.prod(shape), bytes_of(a, b) + math.prod(_without(shape, axis)) * a.dtype.itemsize


@_along_axis(
    reference=lambda a, b, axis: np.cross(a, b, axis=axis), ulp=1.5, cast="widest",
    magnitude=lambda a, b, axis: _cross_magnitude(a, b, axis),
    composite=lambda a, b, axis: _cross(a, b, axis),
    gradient={"a": lambda dout, b, axis: cross(b, dout, axis), "b": lambda dout, a, axis: cross(dout, a, axis)},
    cost=lambda a, b: (3.0 * math.prod(np.broadcast_shapes(a.shape, b.shape)),
                       bytes_of(a, b) + math.prod(np.broadcast_shapes(a.shape, b.shape)) * a.dtype.itemsize),
    baselines={"numpy": "np.cross(a, b, axis=axis)", "torch": "torch.linalg.cross(a, b, dim=axis)",
               "jax": "jnp.cross(a, b, axis=axis)"},
    samples=[
        Sample((33, 3), (33, 3), why="rows"), Sample((3, 33), (3, 33), axis=-2, why="columns"),
        Sample((3,), (3,), why="vectors"), Sample((4, 1, 3), (5, 3), why="broadcast"),
        Sample((0, 3), (3,), why="empty"),
        Sample(Input((5, 3), -128, 127, int8), Input((5, 3), -128, 127, int8), why="int8, wrapping", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "cross: vectors have 3 elements, not 2: axis -1 of (4, 2)",
                   np.zeros((4, 2)), np.zeros((4, 2))),
        ErrorInput(ShapeError, "cross: lengths differ: 3 and 2 along axis -1 of (3,) and (2,)",
                   np.zeros(3), np.zeros(2)),
    ],
    workloads=[Workload(((8, 3), (8, 3)), (), "dispatch"), Workload(((349_525, 3), (349_525, 3)), (), "1M"),
               Workload(((3, 349_525), (3, 349_525)), (-2,), "columns", (float32,))],
)  # fmt: skip
def cross(a: Spec, b: Spec, axis: SharedAxis = -1) -> Spec:
    """The cross products of vectors of three elements along `axis`: (a1 b2 - a2 b1, a2 b0 - a0 b2, a0 b1 - a1 b0).

    The other axes broadcast; `axis` counts from the back where the operands have different numbers of axes. Integers
    wrap around. Raises ShapeError where vectors have not three elements or shapes do not broadcast.

    >>> dl.cross(dl.tensor([1.0, 0.0, 0.0]), dl.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    shape = cross.op.checked(a, b, axis)
    if a.shape[axis] != 3:
        raise ShapeError(f"cross: vectors have 3 elements, not {a.shape[axis]}: axis {axis} of {a.shape}")
    return Spec(shape, a.dtype)


def _part(x: Any, axis: int, k: int) -> Any:
    at = axis % x.ndim
    return slice_of(x, tuple((k, 1, 1) if d == at else (0, n, 1) for d, n in enumerate(x.shape)))


def _cross(a: Any, b: Any, axis: int) -> Any:
    (a0, a1, a2), (b0, b1, b2) = ([_part(x, axis, k) for k in range(3)] for x in (a, b))
    parts = [sub(mul(a1, b2), mul(a2, b1)), sub(mul(a2, b0), mul(a0, b2)), sub(mul(a0, b1), mul(a1, b0))]
    return concat(parts, axis)


def _cross_magnitude(a: Any, b: Any, axis: int) -> Any:
    a, b = np.moveaxis(np.abs(a), axis, -1), np.moveaxis(np.abs(b), axis, -1)
    terms = [a[..., i] * b[..., j] + a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.moveaxis(np.stack(terms, -1), -1, axis)
