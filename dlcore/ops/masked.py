"""The elements that a mask selects, once their number is known."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import DTYPES, bool_, float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import AxisOf, ErrorInput, Input, Sample, Spec, Workload
from dlcore.ops._workloads import MILLION, bytes_of
from dlcore.ops.gather import Indexed, nonzero_sized, take, take_backward
from dlcore.ops.movement import reshape

__all__ = ["masked_take"]


def _joined(shape: tuple[int, ...], mask: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """``shape`` with the axes of the mask, from ``axis`` on, as one."""
    return (*shape[:axis], math.prod(mask), *shape[axis + len(mask) :])


def _places(mask: Any, size: int) -> Any:
    return reshape(nonzero_sized(reshape(mask, (-1,)), size), (-1,))


def _gradient(dout: Any, mask: Any, x_shape: tuple[int, ...], size: int, axis: int) -> Any:
    return reshape(take_backward(dout, _places(mask, size), _joined(x_shape, mask.shape, axis), axis), x_shape)


def _reference(x: Any, mask: Any, size: int, axis: int) -> Any:
    places = np.concatenate([np.flatnonzero(mask), np.zeros(size, np.int64)])[:size]
    return np.take(x.reshape(_joined(x.shape, mask.shape, axis)), places, axis)


def _some(shape: tuple[int, ...]) -> Input:
    return Input(shape, draw=lambda rng: rng.random(shape) < 0.4, dtype=bool_)


def _examples(call: Any) -> Any:
    """Of all examples with one mask (see dlcore/ops/_batching.py)."""
    (x, mask), (size, axis) = call.values, call.attrs
    return NotImplemented if call.is_batched[1] else masked_take(x, mask, size, axis + 1)


_HALF = MILLION[0] // 2


@Indexed.definition(
    kernels={"cpu": "movement:masked_take", "cuda": []}, params=lambda axis: (axis,), dtypes=DTYPES, batch=_examples,
    gradient=_gradient, reference=_reference,
    composite=lambda x, mask, size, axis: take(
        reshape(x, _joined(x.shape, mask.shape, axis)), _places(mask, size), axis
    ),
    cost=lambda x, mask, size, axis: (
        0.0, bytes_of(x, mask, Spec((*x.shape[:axis], size, *x.shape[axis + len(mask.shape) :]), x.dtype))
    ),
    samples=[
        Sample((7, 9), _some((7, 9)), size=20, why="elements"),
        Sample((6, 5), _some((6,)), size=2, axis=0, why="rows"),
        Sample((2, 3, 4, 5), _some((3, 4)), size=4, axis=1, why="axes in the middle"),
        Sample((9,), np.array([False, True] + 7 * [False]), size=3, why="more than there are"),
        Sample((3, 4), np.ones((3, 4), bool), size=0, why="to nothing"),
        Sample((2, 100000), _some((2, 100000)), size=70000, why="several chunks", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "masked_take: a mask of shape (3,) does not fit shape (2, 3) from axis 0 on",
                   np.zeros((2, 3)), np.zeros(3, bool), size=1),
        ErrorInput(ShapeError, "masked_take: a mask of shape () does not fit shape (2,) from axis 0 on",
                   np.zeros(2), np.array(True), size=1),
        ErrorInput(DTypeError, "masked_take: the mask is of dtype int64, not bool", np.zeros(2), np.array([0, 1]),
                   size=1),
    ],
    workloads=[
        Workload(((64, 64), _some((64, 64))), (1500, 0), "small", (float32,)),
        Workload((MILLION, _some(MILLION)), (_HALF // 2, 0), "1M", (float32,)),
    ],
    baselines={"numpy": "x[mask][:size]", "torch": "torch.masked_select(x, mask)[:size]"},
)  # fmt: skip
def masked_take(x: Spec, mask: Spec, size: int, axis: Annotated[int, AxisOf("x")] = 0) -> Spec:
    """The first `size` elements (rows) of `x` where `mask` is true, then the first of all where there are no more.

    `mask` has the lengths of the axes of `x` from `axis` on, which become one of length `size`. What x[mask] runs once
    it knows the number.
    """
    if mask.dtype is not bool_:
        raise DTypeError(f"masked_take: the mask is of dtype {mask.dtype.name}, not bool")
    if not mask.shape or x.shape[axis : axis + len(mask.shape)] != mask.shape:
        raise ShapeError(f"masked_take: a mask of shape {mask.shape} does not fit shape {x.shape} from axis {axis} on")
    return Spec((*x.shape[:axis], size, *x.shape[axis + len(mask.shape) :]), x.dtype)
