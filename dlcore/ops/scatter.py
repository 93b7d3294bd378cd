"""Assignment by index: put, in place or not, and the gradient of what was put."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore.dtypes import DType
from dlcore.errors import ShapeError
from dlcore.op import Op, Sample, Size, Spec, Wrong
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._sizes import RAGGED
from dlcore.ops.gather import check_indices
from dlcore.ops.slicing import assign

__all__ = ["put", "put_", "put_backward"]

Shape = tuple[int, ...]


def _bytes(*specs: Spec) -> float:
    return float(sum(math.prod(s.shape) * s.dtype.itemsize for s in specs))


def _put_value(name: str, shape: Shape, indices: Spec, axes: int) -> Shape:
    """The shape that the value of an assignment is broadcast to."""
    check_indices(name, indices)
    if not 1 <= axes <= len(shape):
        raise ShapeError(f"{name}: {axes} leading axes of shape {shape}")
    return (*indices.shape, *shape[axes:])


def _check_put(name: str, x: Spec, indices: Spec, value: Spec, axes: int) -> None:
    want = _put_value(name, x.shape, indices, axes)
    if broadcast_shapes(name, want, value.shape) != want:
        raise ShapeError(f"{name}: {value.shape} does not broadcast to {want}")


def _put_infer(x: Spec, indices: Spec, value: Spec, axes: int) -> Spec:
    _check_put("put", x, indices, value, axes)
    return Spec(x.shape, x.dtype)


def _put_into_infer(target: Spec, indices: Spec, value: Spec, axes: int) -> tuple[Spec, ...]:
    _check_put("put_", target, indices, value, axes)
    return ()


def _value_like_first(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    x, indices, value = specs
    return (x and x.dtype, indices and indices.dtype, value and x and x.dtype)


def _put_ref(x: Any, indices: Any, value: Any, axes: int) -> Any:
    out = np.array(x, order="C")  # so that its rows are a view
    rows = out.reshape(math.prod(x.shape[:axes]), *x.shape[axes:])
    values = np.broadcast_to(value, (*indices.shape, *x.shape[axes:])).reshape(indices.size, *x.shape[axes:])
    for i, place in enumerate(indices.astype(np.int64).ravel()):
        rows[place] = values[i]
    return out


def _put_vjp(ctx: Any, dout: Any) -> tuple[Any, ...]:
    (indices,), (axes,) = ctx.saved, ctx.attrs
    return (
        put(dout, indices, 0, axes) if ctx.needs[0] else None,
        None,
        put_backward(dout, indices, axes) if ctx.needs[2] else None,
    )


def _put_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(
        (rng.standard_normal((6, 3)), np.array([1, -1, 1]), rng.standard_normal((3, 3))),
        (1,),
        "one row twice: the last wins",
    )
    yield Sample(
        (rng.standard_normal((4, 5, 2)), rng.permutation(20)[:6].reshape(2, 3), rng.standard_normal(2)),
        (2,),
        "two axes, broadcast",
    )
    yield Sample((rng.standard_normal(7), np.array([2, 5]), 1.5), (1,), "a number")
    yield Sample((rng.standard_normal((3, 2)), np.zeros(0, np.int64), rng.standard_normal((0, 2))), (1,), "no indices")


def _put_errors(name: str) -> list[Wrong]:
    x, text = np.zeros((5, 2)), f"{name}: index 5 at position 0 is out of range for axis 0 of length 5"
    return [
        Wrong((x, np.array([5]), np.zeros((1, 2))), (1,), IndexError, text),
        Wrong((x, np.array([1]), np.zeros((3, 2))), (1,), ShapeError, f"{name}: (3, 2) does not broadcast to (1, 2)"),
        Wrong((x, np.array([1]), np.zeros(2)), (3,), ShapeError, f"{name}: 3 leading axes of shape (5, 2)"),
    ]


def _put_cost(x: Spec, indices: Spec, value: Spec, axes: int) -> tuple[float, float]:
    return 0.0, 2 * _bytes(Spec(_put_value("put", x.shape, indices, axes), x.dtype)) + _bytes(indices)


_INDICES = np.arange(7, RAGGED[0], 8)  # of equal ones, libraries do not say which wins
_SIZES = (
    Size(((64, 64), np.arange(0, 64, 4), (16, 64)), (1,), "small"),
    Size((RAGGED, _INDICES, (len(_INDICES), RAGGED[1])), (1,), "ragged"),
)

PUT = Op(
    name="put",
    doc="""A copy of `x` in which the elements (blocks) at `indices` are `value`; of equal indices the last wins.

    `indices` (I) are row-major positions in the first `axes` axes of `x`; `value` is broadcast to I and the others.""",
    inputs="x indices value",
    attrs={"axes": 1},
    infer=_put_infer,
    promote=_value_like_first,
    kernels={"cpu": "movement:put", "cuda": "movement.put:put"},
    params=lambda x, indices, value, axes: (axes,),
    saves=("indices",),
    vjp=_put_vjp,
    ref=_put_ref,
    samples=_put_samples,
    sizes=_SIZES,
    peers={"torch": "torch.index_copy(x, 0, indices, value)", "jax": "x.at[indices].set(value)"},
    errors=lambda: _put_errors("put"),
    cost=lambda x, indices, value, axes: (0.0, 2 * _bytes(x) + _put_cost(x, indices, value, axes)[1]),
)
put: Any = PUT.call

PUT_ = Op(
    name="put_",
    doc="""Writes `value` into the elements (blocks) of `target` at `indices`, as `put` describes. Returns None.""",
    inputs="target indices value",
    attrs={"axes": 1},
    outputs="",
    writes=("target",),
    infer=_put_into_infer,
    promote=_value_like_first,
    kernels={"cpu": "movement:put_", "cuda": "movement.put:put_"},
    params=lambda target, indices, value, axes: (axes,),
    ref=_put_ref,
    samples=_put_samples,
    sizes=_SIZES,
    peers={
        "numpy": "target.__setitem__(indices, value)", "torch": "target.index_copy_(0, indices, value)",
    },
    errors=lambda: _put_errors("put_"),
    cost=_put_cost,
)
put_ = PUT_.call


def _put_backward_vjp(ctx: Any, ddvalue: Any) -> tuple[Any, ...]:
    zeros = assign.inplace(_C.empty(ctx.shapes[0], ddvalue.dtype, ddvalue.device.code), 0)
    return put(zeros, ctx.saved[0], ddvalue, ctx.attrs[0]), None


def _put_backward_ref(dout: Any, indices: Any, axes: int) -> Any:
    rows = dout.reshape(math.prod(dout.shape[:axes]), *dout.shape[axes:])
    places = indices.astype(np.int64).ravel()
    last = {int(p) % len(rows): i for i, p in enumerate(places)}
    kept = [np.where(last[int(p) % len(rows)] == i, rows[p], 0.0) for i, p in enumerate(places)]
    return np.reshape(kept, (*indices.shape, *dout.shape[axes:]))


PUT_BACKWARD = Op(
    name="put_backward",
    doc="""The gradient of the value of `put`: the rows of `dout` at `indices`; zero where a later one wrote again.""",
    inputs="dout indices",
    attrs={"axes": 1},
    infer=lambda dout, indices, axes: Spec(_put_value("put_backward", dout.shape, indices, axes), dout.dtype),
    promote=None,
    kernels={"cpu": "movement:put_backward", "cuda": "movement.take:put_backward"},
    params=lambda dout, indices, axes: (axes,),
    saves=("indices",),
    vjp=_put_backward_vjp,
    ref=_put_backward_ref,
    samples=lambda rng: [Sample(s.inputs[:2], s.attrs, s.why) for s in _put_samples(rng)],
    sizes=[s._replace(operands=s.operands[:2]) for s in _SIZES],
    peers={
        "numpy": "np.take(dout, indices, 0)", "torch": "torch.index_select(dout, 0, indices)",
        "jax": "jnp.take(dout, indices, 0, mode='clip')",
    },
    cost=lambda dout, indices, axes: _put_cost(dout, indices, dout, axes),
)
put_backward: Any = PUT_BACKWARD.call
