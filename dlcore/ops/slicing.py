"""Parts of a tensor: the view `slice`, its adjoint, and assignment to a slice."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import REQUIRED, Op, Sample, Size, Spec, Wrong
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._sizes import MILLION, RAGGED

__all__ = ["assign", "numpy_index", "slice", "slice_assign", "slice_backward"]

Shape = tuple[int, ...]
Layout = tuple[Shape, Shape, int]


# ---- slice --------------------------------------------------------------------------------------------------------
# An index is a tuple of entries, each about the next axis of x: an int selects and drops it, (start, length, step)
# walks along it, None puts a new axis of length 1 without using one. Axes not mentioned stay whole. Starts are counted
# from the front; `indexing.basic_index` makes such tuples from what stands in x[...].


def whole_index(index: tuple[Any, ...], shape: Shape) -> tuple[Any, ...]:
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


def _sliced(shape: Shape, index: tuple[Any, ...]) -> Shape:
    return tuple(1 if e is None else e[1] for e in whole_index(index, shape) if not isinstance(e, int))


def _slice_view(x: Spec, index: tuple[Any, ...]) -> Layout:
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


def view_params(shape: Shape, index: tuple[Any, ...]) -> list[int]:
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


def numpy_index(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """``index`` in the form NumPy arrays take."""

    def entry(e: Any) -> Any:
        if e is None or isinstance(e, int):
            return e
        start, count, step = e
        stop = start + count * step
        return builtins.slice(start, None if stop < 0 else stop, step) if count else builtins.slice(0, 0)

    return tuple(entry(e) for e in index)


def _slice_infer(x: Spec, index: tuple[Any, ...]) -> Spec:
    if x.weak:
        raise DTypeError("slice: operand 'x' is a number, not a tensor")
    return Spec(_sliced(x.shape, index), x.dtype)


def _slice_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((5, 7)),), (((1, 3, 1),),), "rows")
    yield Sample((rng.standard_normal((5, 7)),), (((4, 5, -1), (0, 3, 3)),), "reversed, and every third")
    yield Sample((rng.standard_normal((3, 4, 5)),), ((1, None, (0, 4, 1), 2),), "axes dropped and added")
    yield Sample((rng.standard_normal((3, 4)),), (((0, 0, 1),),), "to nothing")
    yield Sample((rng.standard_normal(()),), ((None,),), "0-d")


_SLICES = "at = tuple(slice(s, s + n * step, step) for s, n, step in index)"
_ROWS = "begin, length, step = index[0]\nend = begin + length * step"  # of the first axis
_SOME, _HALF = ((511, 512, 1),), (512, RAGGED[1])  # the second half of a ragged matrix

SLICE = Op(
    name="slice",
    doc="""A view of some elements: what basic indexing `x[index]` gives.

    `index`: one entry for each axis in turn: an int drops it, (start, length, step) walks along it, None adds one.
    Raises IndexError where an entry leaves the axis.""",
    inputs="x",
    attrs={"index": REQUIRED},
    infer=_slice_infer,
    promote=None,
    view=_slice_view,
    vjp=lambda ctx, dout: slice_backward(dout, ctx.shapes[0], ctx.attrs[0]),
    ref=lambda x, index: x[numpy_index(index)],
    samples=_slice_samples,
    sizes=(Size(((64, 64),), (((16, 32, 1), (0, 32, 2)),), "the cost of a call"),),
    peers=dict.fromkeys(("numpy", "torch", "jax"), (_SLICES, "x[at]")),
    errors=lambda: [
        Wrong((np.zeros((2, 3)),), (((1, 2, 1),),), IndexError, "slice: ((1, 2, 1),) leaves shape (2, 3)"),
        Wrong((np.zeros(()),), (((0, 0, 1),),), IndexError, "slice: ((0, 0, 1),) leaves shape ()"),
    ],
    dtypes=DTYPES,
    cost=lambda x, index: (0.0, 0.0),
)
slice: Any = SLICE.call


def _slice_backward_infer(dout: Spec, shape: Shape, index: tuple[Any, ...]) -> Spec:
    if dout.shape != _sliced(shape, index):
        raise ShapeError(f"slice_backward: dout has shape {dout.shape}, the slice {_sliced(shape, index)}")
    return Spec(shape, dout.dtype)


def _slice_backward_ref(dout: Any, shape: Shape, index: tuple[Any, ...]) -> Any:
    dx = np.zeros(shape, dout.dtype)
    dx[numpy_index(index)] = dout
    return dx


def _slice_backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for x, index, why in ((s.inputs[0], s.attrs[0], s.why) for s in _slice_samples(rng)):
        yield Sample((rng.standard_normal(_sliced(x.shape, index)),), (x.shape, index), why)


SLICE_BACKWARD = Op(
    name="slice_backward",
    doc="""The gradient of `slice`: zeros of `shape`, with `dout` where the slice was.""",
    inputs="dout",
    attrs={"shape": REQUIRED, "index": REQUIRED},
    infer=_slice_backward_infer,
    kernels={"cpu": "movement:slice_backward", "cuda": "movement.copy:slice_backward"},
    params=lambda dout, shape, index: view_params(shape, index),
    vjp=lambda ctx, ddx: slice(ddx, ctx.attrs[1]),
    ref=_slice_backward_ref,
    samples=_slice_backward_samples,
    sizes=(
        Size(((32, 64),), ((64, 64), ((16, 32, 1),)), "the cost of a call"),
        Size((_HALF,), (RAGGED, _SOME), "ragged"),
    ),
    peers={
        "torch": (_ROWS, "torch.ops.aten.slice_backward(dout, shape, 0, begin, end, step)"),
        "jax": (_ROWS, "jnp.zeros(shape, dout.dtype).at[begin:end:step].set(dout)"),
    },
    errors=lambda: [
        Wrong((np.zeros(2),), ((4,), ((0, 3, 1),)), ShapeError, "slice_backward: dout has shape (2,), the slice (3,)"),
    ],
    dtypes=DTYPES,
    cost=lambda dout, shape, index: (0.0, (math.prod(shape) + math.prod(dout.shape)) * dout.dtype.itemsize),
)
slice_backward: Any = SLICE_BACKWARD.call


# ---- assignment ---------------------------------------------------------------------------------------------------


def _assign_infer(target: Spec, value: Spec) -> Spec:
    if broadcast_shapes("assign", target.shape, value.shape) != target.shape:
        raise ShapeError(f"assign: {value.shape} does not broadcast to {target.shape}")
    return Spec(target.shape, target.dtype)


ASSIGN = Op(
    name="assign",
    doc="""`value` broadcast to the shape of `target`, in its dtype.

    `assign.inplace(target, value)` is what `target[...] = value` does: written into `target`'s memory, on the tape.""",
    inputs="target value",
    infer=_assign_infer,
    promote=lambda specs: tuple(None if s is None or specs[0] is None else specs[0].dtype for s in specs),
    kernels={"cpu": "movement:assign", "cuda": "movement.copy:assign"},
    vjp=lambda ctx, dout: (None, dout),
    ref=lambda target, value: np.broadcast_to(value, target.shape).astype(target.dtype),
    samples=lambda rng: [
        Sample((rng.standard_normal((33, 65)), rng.standard_normal((33, 65))), (), "unaligned"),
        Sample((rng.standard_normal((4, 5)), rng.standard_normal((4, 1))), (), "broadcast"),
        Sample((rng.standard_normal((4, 5)), 2.0), (), "a number"),
        Sample((rng.standard_normal((3, 4)), np.arange(4)), (), "cast"),
        Sample((rng.standard_normal((0, 5)), rng.standard_normal((1, 5))), (), "empty"),
        Sample((rng.standard_normal(()), rng.standard_normal(())), (), "0-d"),
    ],
    errors=lambda: [
        Wrong((np.zeros(3), np.zeros((2, 3))), (), ShapeError, "assign: (2, 3) does not broadcast to (3,)"),
        Wrong((np.zeros(3), np.zeros(2)), (), ShapeError, "assign: shapes do not broadcast: (3,) and (2,)"),
    ],
    sizes=(Size((MILLION, MILLION), why="1M"), Size((RAGGED, RAGGED[1:]), why="ragged, broadcast")),
    peers={
        "numpy": "np.broadcast_to(value, target.shape).copy()",
        "torch": "value.expand(target.shape).clone(memory_format=torch.contiguous_format)",
    },
    cost=lambda target, value: (0.0, 2.0 * math.prod(target.shape) * target.dtype.itemsize),
)
assign = ASSIGN.call


def _slice_assign_infer(x: Spec, value: Spec, index: tuple[Any, ...]) -> Spec:
    view = _sliced(x.shape, index)
    if broadcast_shapes("slice_assign", view, value.shape) != view:
        raise ShapeError(f"slice_assign: {value.shape} does not broadcast to the slice {view}")
    return Spec(x.shape, x.dtype)


def _slice_assign_ref(x: Any, value: Any, index: tuple[Any, ...]) -> Any:
    out = np.array(x)
    out[numpy_index(index)] = value
    return out


def _slice_assign_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for x, index, why in ((s.inputs[0], s.attrs[0], s.why) for s in _slice_samples(rng)):
        yield Sample((x, rng.standard_normal(_sliced(x.shape, index))), (index,), why)
    yield Sample((rng.standard_normal((4, 5)), rng.standard_normal(5)), (((0, 2, 2),),), "broadcast")


SLICE_ASSIGN = Op(
    name="slice_assign",
    doc="""A copy of `x` in which the slice `index` is `value` (broadcast, cast): `x[index] = value` on the tape.""",
    inputs="x value",
    attrs={"index": REQUIRED},
    infer=_slice_assign_infer,
    promote=lambda specs: tuple(None if s is None or specs[0] is None else specs[0].dtype for s in specs),
    kernels={"cpu": "movement:slice_assign", "cuda": "movement.copy:slice_assign"},
    params=lambda x, value, index: view_params(x.shape, index),
    vjp=lambda ctx, dout: (
        slice_assign(dout, 0, ctx.attrs[0]) if ctx.needs[0] else None,
        slice(dout, ctx.attrs[0]) if ctx.needs[1] else None,
    ),
    ref=_slice_assign_ref,
    samples=_slice_assign_samples,
    sizes=(Size(((64, 64), (32, 64)), (((16, 32, 1),),), "small"), Size((RAGGED, _HALF), (_SOME,), "ragged")),
    peers={
        "torch": (_ROWS, "torch.slice_scatter(x, value, 0, begin, end, step)"),
        "jax": (_ROWS, "x.at[begin:end:step].set(value)"),
    },
    errors=lambda: [
        Wrong(
            (np.zeros(4), np.zeros(2)),
            (((0, 3, 1),),),
            ShapeError,
            "slice_assign: shapes do not broadcast: (3,) and (2,)",
        ),
    ],
    cost=lambda x, value, index: (0.0, 2.0 * math.prod(x.shape) * x.dtype.itemsize),
)
slice_assign: Any = SLICE_ASSIGN.call
