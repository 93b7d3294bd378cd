"""Assignment by index: put, in place or not, and the gradient of what was put."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore import _C
from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload
from dlcore.ops._workloads import RAGGED, bytes_of
from dlcore.ops.gather import Indexed, check_indices, ravel_index
from dlcore.ops.slicing import assign, check_value, value_like_first

__all__ = ["put", "put_", "put_backward"]


def _value_shape(name: str, shape: tuple[int, ...], indices: Spec, axes: int) -> tuple[int, ...]:
    """The shape that the value of an assignment is broadcast to."""
    check_indices(name, indices)
    if not 1 <= axes <= len(shape):
        raise ShapeError(f"{name}: {axes} leading axes of shape {shape}")
    return (*indices.shape, *shape[axes:])


def _moved(x: Spec, indices: Spec, axes: int) -> float:
    """Bytes of indices and values read and of elements written."""
    return 2 * bytes_of(Spec(_value_shape("put", x.shape, indices, axes), x.dtype)) + bytes_of(indices)


def _positions_of_examples(call: Any, at: int = 1) -> Any:
    """Positions in the axis of examples and those behind it (see dlcore/ops/_batching.py)."""
    indices, axes = call.full(at), call.named("axes")
    of = np.arange(call.size).reshape(-1, *[1] * (indices.ndim - 1))
    return ravel_index([of, indices], (call.size, math.prod(call.specs[0].shape[:axes])))


def _put_examples(call: Any) -> Any:
    axes = call.named("axes")
    ndim = len(call.specs[1].shape) + len(call.specs[0].shape) - axes
    if call.op.writes and not call.is_batched[0]:
        return NotImplemented
    return call.run([call.full(0), _positions_of_examples(call), call.padded(2, ndim)], [axes + 1])


class Put(Indexed):
    """Assignment to the elements (blocks) of operand 0 at indices. The shape rule of the family checks the value."""

    promote = staticmethod(value_like_first)
    batch = staticmethod(_put_examples)

    def infer(self, *args: Any) -> Spec | None:
        """What the rule says, if the value fits."""
        target, indices, value, axes = args
        check_value(self.name, _value_shape(self.name, target.shape, indices, axes), value)
        return self.rule(*args)

    def family_samples(self) -> Iterator[Sample]:
        apart = Input((2, 3), draw=lambda rng: rng.permutation(20)[:6].reshape(2, 3))
        yield Sample((6, 3), np.array([1, -1, 1]), (3, 3), axes=1, why="one row twice: the last wins")
        yield Sample((4, 5, 2), apart, (2,), axes=2, why="two axes, broadcast")
        yield Sample((7,), np.array([2, 5]), 1.5, axes=1, why="a number")
        yield Sample((3, 2), np.zeros(0, np.int64), (0, 2), axes=1, why="no indices")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        x, one = np.zeros((5, 2)), np.array([1])
        text = f"{self.name}: index 5 at position 0 is out of range for axis 0 of length 5"
        yield ErrorInput(IndexError, text, x, np.array([5]), np.zeros((1, 2)))
        yield ErrorInput(ShapeError, f"{self.name}: (3, 2) does not broadcast to (1, 2)", x, one, np.zeros((3, 2)))
        yield ErrorInput(ShapeError, f"{self.name}: 3 leading axes of shape (5, 2)", x, one, np.zeros(2), axes=3)

    def family_workloads(self) -> list[Workload]:
        apart = np.arange(7, RAGGED[0], 8)  # of equal ones, libraries do not say which wins
        return [
            Workload(((64, 64), np.arange(0, 64, 4), (16, 64)), (1,), "small"),
            Workload((RAGGED, apart, (len(apart), RAGGED[1])), (1,), "ragged"),
        ]


def _numpy_put(x: Any, indices: Any, value: Any, axes: int) -> Any:
    out = np.array(x, order="C")  # so that its rows are a view
    rows = out.reshape(math.prod(x.shape[:axes]), *x.shape[axes:])
    values = np.broadcast_to(value, (*indices.shape, *x.shape[axes:])).reshape(indices.size, *x.shape[axes:])
    for i, place in enumerate(indices.astype(np.int64).ravel()):
        rows[place] = values[i]
    return out


@Put.definition(
    kernels={"cuda": "movement.put:put"}, reference=_numpy_put,
    gradient={
        "x": lambda dout, indices, axes: put(dout, indices, 0, axes),
        "value": lambda dout, indices, axes: put_backward(dout, indices, axes),
    },
    cost=lambda x, indices, axes: (0.0, 2 * bytes_of(x) + _moved(x, indices, axes)),
    baselines={"torch": "torch.index_copy(x, 0, indices, value)", "jax": "x.at[indices].set(value)"},
)  # fmt: skip
def put(x: Spec, indices: Spec, value: Spec, axes: int = 1) -> Spec:
    """A copy of `x` in which the elements (blocks) at `indices` are `value`; of equal indices the last wins.

    `indices` (I) are row-major positions in the first `axes` axes of `x`; `value` is broadcast to I and the others.
    """
    return Spec(x.shape, x.dtype)


@Put.definition(
    kernels={"cuda": "movement.put:put_"}, outputs="", writes="target",
    reference=lambda target, indices, value, axes: _numpy_put(target, indices, value, axes),
    cost=lambda target, indices, axes: (0.0, _moved(target, indices, axes)),
    baselines={"numpy": "target.__setitem__(indices, value)", "torch": "target.index_copy_(0, indices, value)"},
)  # fmt: skip
def put_(target: Spec, indices: Spec, value: Spec, axes: int = 1) -> None:
    """Writes `value` into the elements (blocks) of `target` at `indices`, as `put` describes. Returns None."""


@Indexed.definition(
    batch=lambda call: put_backward(call.full(0), _positions_of_examples(call), call.attrs[0] + 1),
    kernels={"cuda": "movement.take:put_backward"}, outputs="dvalue",
    cost=lambda dout, indices, axes: (0.0, _moved(dout, indices, axes)),
    samples=lambda: [s.but(*s.inputs[:2]) for s in put.op.family_samples()],
    workloads=lambda: [w._replace(operands=w.operands[:2]) for w in put.op.family_workloads()],
    baselines={
        "numpy": "np.take(dout, indices, 0)", "torch": "torch.index_select(dout, 0, indices)",
        "jax": "jnp.take(dout, indices, 0, mode='clip')",
    },
)  # fmt: skip
def put_backward(dout: Spec, indices: Spec, axes: int = 1) -> Spec:
    """The gradient of the value of `put`: the rows of `dout` at `indices`; zero where a later one wrote again."""
    return Spec(_value_shape("put_backward", dout.shape, indices, axes), dout.dtype)


@put_backward.gradient
def _(ddvalue: Any, indices: Any, axes: int, dout_shape: tuple[int, ...]) -> Any:
    zeros = assign.inplace(_C.empty(dout_shape, ddvalue.dtype, ddvalue.device.code), 0)
    return put(zeros, indices, ddvalue, axes)


@put_backward.reference
def _(dout: Any, indices: Any, axes: int) -> Any:
    rows = dout.reshape(math.prod(dout.shape[:axes]), *dout.shape[axes:])
    places = indices.astype(np.int64).ravel()
    last = {int(p) % len(rows): i for i, p in enumerate(places)}
    kept = [np.where(last[int(p) % len(rows)] == i, rows[p], 0.0) for i, p in enumerate(places)]
    return np.reshape(kept, (*indices.shape, *dout.shape[axes:]))
