"""Parts of a tensor: the view `slice`, its adjoint, and assignment to a slice."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, DType
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Sample, Shape, Spec, Workload, as_given, operation
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import MILLION, RAGGED

__all__ = ["assign", "numpy_index", "slice", "slice_assign", "slice_backward"]

Index = tuple[Any, ...]
Layout = tuple[tuple[int, ...], tuple[int, ...], int]


# ---- slice --------------------------------------------------------------------------------------------------------
# An index is a tuple of entries, each about the next axis of x: an int selects and drops it, (start, length, step)
# walks along it, None puts a new axis of length 1 without using one. Axes not mentioned stay whole. Starts are counted
# from the front; `indexing.basic_index` makes such tuples from what stands in x[...].


def whole_index(index: Index, shape: Shape) -> Index:
    """``index`` with an entry for every axis; raises IndexError where it leaves the shape."""
    used = sum(entry is not None for entry in index)
    entries = (*index, *((0, n, 1) for n in shape[used:]))
    if used > len(shape):
        raise IndexError(f"slice: {index} leaves shape {shape}")
    axes = iter(shape)
    for entry in entries:
        if entry is None:
            continue
        length = next(axes)
        start, count, step = (entry, 1, 1) if isinstance(entry, int) else entry
        if count < 0 or (count and not (0 <= start < length and 0 <= start + (count - 1) * step < length)):
            raise IndexError(f"slice: {index} leaves shape {shape}")
    return entries


def _sliced(shape: Shape, index: Index) -> Shape:
    return tuple(1 if e is None else e[1] for e in whole_index(index, shape) if not isinstance(e, int))


def view_params(shape: Shape, index: Index) -> list[int]:
    """How kernels are told of a slice: start on each axis, axes of the view, and of each (axis or -1, step, length)."""
    starts: list[int] = []
    view: list[int] = []
    for entry in whole_index(index, shape):
        if entry is None:
            view += [-1, 0, 1]
        elif isinstance(entry, int):
            starts.append(entry)
        else:
            start, count, step = entry
            view += [len(starts), step, count]
            starts.append(start if count else 0)
    return [*starts, len(view) // 3, *view]


def numpy_index(index: Index) -> tuple[Any, ...]:
    """``index`` in the form NumPy arrays take."""

    def entry(e: Any) -> Any:
        if e is None or isinstance(e, int):
            return e
        start, count, step = e
        stop = start + count * step
        return builtins.slice(start, None if stop < 0 else stop, step) if count else builtins.slice(0, 0)

    return tuple(entry(e) for e in index)


_SLICES = "at = tuple(slice(s, s + n * step, step) for s, n, step in index)"
_ROWS = "begin, length, step = index[0]\nend = begin + length * step"  # of the first axis
_SOME, _HALF = ((511, 512, 1),), (512, RAGGED[1])  # the second half of a ragged matrix
_EXAMPLES: tuple[tuple[Shape, Index, str], ...] = (
    ((5, 7), ((1, 3, 1),), "rows"),
    ((5, 7), ((4, 5, -1), (0, 3, 3)), "reversed, and every third"),
    ((3, 4, 5), (1, None, (0, 4, 1), 2), "axes dropped and added"),
    ((3, 4), ((0, 0, 1),), "to nothing"),
    ((), (None,), "0-d"),
)


@operation(
    promote=as_given, dtypes=DTYPES, cost=lambda: (0.0, 0.0),
    gradient=lambda dout, x_shape, index: slice_backward(dout, x_shape, index),
    reference=lambda x, index: x[numpy_index(index)],
    samples=[Sample(shape, index=index, why=why) for shape, index, why in _EXAMPLES],
    error_inputs=[
        ErrorInput(IndexError, "slice: ((1, 2, 1),) leaves shape (2, 3)", np.zeros((2, 3)), index=((1, 2, 1),)),
        ErrorInput(IndexError, "slice: ((0, 0, 1),) leaves shape ()", np.zeros(()), index=((0, 0, 1),)),
    ],
    workloads=[Workload(((64, 64),), (((16, 32, 1), (0, 32, 2)),), "the cost of a call")],
    baselines=dict.fromkeys(("numpy", "torch", "jax"), (_SLICES, "x[at]")),
)  # fmt: skip
def slice(x: Spec, index: Index) -> Spec:
    """A view of some elements: what basic indexing `x[index]` gives.

    `index`: one entry for each axis in turn: an int drops it, (start, length, step) walks along it, None adds one.
    Raises IndexError where an entry leaves the axis.
    """
    if x.weak:
        raise DTypeError("slice: operand 'x' is a number, not a tensor")
    return Spec(_sliced(x.shape, index), x.dtype)


@slice.view
def _(x: Spec, index: Index) -> Layout:
    offset, strides, axis = 0, [], iter(x.strides)
    for entry in whole_index(index, x.shape):
        if entry is None:
            strides.append(0)
            continue
        start, count, step = (entry, 1, 0) if isinstance(entry, int) else entry
        stride = next(axis)
        offset += start * stride if count else 0
        if not isinstance(entry, int):
            strides.append(step * stride)
    return _sliced(x.shape, index), tuple(strides), offset


@operation(
    family="movement", kernels={"cuda": "movement.copy:slice_backward"}, outputs="dx", dtypes=DTYPES,
    params=lambda shape, index: view_params(shape, index), gradient=lambda ddx, index: slice(ddx, index),
    cost=lambda dout, shape: (0.0, (math.prod(shape) + math.prod(dout.shape)) * dout.dtype.itemsize),
    samples=[Sample(_sliced(shape, index), shape=shape, index=index, why=why) for shape, index, why in _EXAMPLES],
    error_inputs=[
        ErrorInput(ShapeError, "slice_backward: dout has shape (2,), the slice (3,)", np.zeros(2), shape=(4,),
                   index=((0, 3, 1),)),
    ],
    workloads=[
        Workload(((32, 64),), ((64, 64), ((16, 32, 1),)), "the cost of a call"),
        Workload((_HALF,), (RAGGED, _SOME), "ragged"),
    ],
    baselines={
        "torch": (_ROWS, "torch.ops.aten.slice_backward(dout, shape, 0, begin, end, step)"),
        "jax": (_ROWS, "jnp.zeros(shape, dout.dtype).at[begin:end:step].set(dout)"),
    },
)  # fmt: skip
def slice_backward(dout: Spec, shape: Shape, index: Index) -> Spec:
    """The gradient of `slice`: zeros of `shape`, with `dout` where the slice was."""
    if dout.shape != _sliced(shape, index):
        raise ShapeError(f"slice_backward: dout has shape {dout.shape}, the slice {_sliced(shape, index)}")
    return Spec(shape, dout.dtype)


@slice_backward.reference
def _(dout: Any, shape: Shape, index: Index) -> Any:
    dx = np.zeros(shape, dout.dtype)
    dx[numpy_index(index)] = dout
    return dx


# ---- assignment ---------------------------------------------------------------------------------------------------


def _like_first(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """All operands to the dtype of the first."""
    return [None if s is None or specs[0] is None else specs[0].dtype for s in specs]


@operation(
    family="movement", kernels={"cuda": "movement.copy:assign"}, promote=_like_first,
    gradient={"value": lambda dout: dout},
    reference=lambda target, value: np.broadcast_to(value, target.shape).astype(target.dtype),
    cost=lambda target: (0.0, 2.0 * math.prod(target.shape) * target.dtype.itemsize),
    samples=[
        Sample((33, 65), (33, 65), why="unaligned"), Sample((4, 5), (4, 1), why="broadcast"),
        Sample((4, 5), 2.0, why="a number"), Sample((3, 4), np.arange(4), why="cast"),
        Sample((0, 5), (1, 5), why="empty"), Sample((), (), why="0-d"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "assign: (2, 3) does not broadcast to (3,)", np.zeros(3), np.zeros((2, 3))),
        ErrorInput(ShapeError, "assign: shapes do not broadcast: (3,) and (2,)", np.zeros(3), np.zeros(2)),
    ],
    workloads=[Workload((MILLION, MILLION), why="1M"), Workload((RAGGED, RAGGED[1:]), why="ragged, broadcast")],
    baselines={
        "numpy": "np.broadcast_to(value, target.shape).copy()",
        "torch": "value.expand(target.shape).clone(memory_format=torch.contiguous_format)",
    },
)  # fmt: skip
def assign(target: Spec, value: Spec) -> Spec:
    """`value` broadcast to the shape of `target`, in its dtype.

    `assign.inplace(target, value)` is what `target[...] = value` does: written into `target`'s memory, on the tape.
    """
    if broadcast_shapes("assign", target.shape, value.shape) != target.shape:
        raise ShapeError(f"assign: {value.shape} does not broadcast to {target.shape}")
    return Spec(target.shape, target.dtype)


@operation(
    family="movement", kernels={"cuda": "movement.copy:slice_assign"}, promote=_like_first,
    params=lambda x, index: view_params(x.shape, index),
    gradient={"x": lambda dout, index: slice_assign(dout, 0, index), "value": lambda dout, index: slice(dout, index)},
    cost=lambda x: (0.0, 2.0 * math.prod(x.shape) * x.dtype.itemsize),
    error_inputs=[
        ErrorInput(ShapeError, "slice_assign: shapes do not broadcast: (3,) and (2,)", np.zeros(4), np.zeros(2),
                   index=((0, 3, 1),)),
    ],
    workloads=[
        Workload(((64, 64), (32, 64)), (((16, 32, 1),),), "small"), Workload((RAGGED, _HALF), (_SOME,), "ragged"),
    ],
    baselines={
        "torch": (_ROWS, "torch.slice_scatter(x, value, 0, begin, end, step)"),
        "jax": (_ROWS, "x.at[begin:end:step].set(value)"),
    },
)  # fmt: skip
def slice_assign(x: Spec, value: Spec, index: Index) -> Spec:
    """A copy of `x` in which the slice `index` is `value` (broadcast, cast): `x[index] = value` on the tape."""
    view = _sliced(x.shape, index)
    if broadcast_shapes("slice_assign", view, value.shape) != view:
        raise ShapeError(f"slice_assign: {value.shape} does not broadcast to the slice {view}")
    return Spec(x.shape, x.dtype)


@slice_assign.reference
def _(x: Any, value: Any, index: Index) -> Any:
    out = np.array(x)
    out[numpy_index(index)] = value
    return out


@slice_assign.samples
def _() -> Iterator[Sample]:
    for shape, index, why in _EXAMPLES:
        yield Sample(shape, _sliced(shape, index), index=index, why=why)
    yield Sample((4, 5), (5,), index=((0, 2, 2),), why="broadcast")
