"""Views by strides: sliding windows, diagonals, any walk through the elements; and their adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, check_lengths, integer, names_errors, operand
from dlcore.dtypes import DTYPES, bool_, uint8
from dlcore.errors import ShapeError
from dlcore.op import Axis, ErrorInput, Op, Sample, Shape, Spec, Workload
from dlcore.ops import _geometry as geometry
from dlcore.ops._constants import positions
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import cast
from dlcore.ops.gather import take_backward
from dlcore.ops.movement import reshape
from dlcore.ops.slicing import Layout, assign, check_value, value_like_first, view

__all__ = ["as_strided", "diag_embed", "diagonal", "sliding_window_view", "unfold"]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous array of this shape."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _reach(shape: Sequence[int], strides: Sequence[int], offset: int) -> tuple[int, int]:
    """The first and the last position of a walk that has elements."""
    spans = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    return offset + sum(min(s, 0) for s in spans), offset + sum(max(s, 0) for s in spans)


def _check_walk(name: str, size: int, shape: Sequence[int], strides: Sequence[int], offset: int) -> None:
    """Raises ShapeError or IndexError unless a walk stays within ``size`` elements."""
    check_lengths(name, shape)
    if len(strides) != len(shape):
        raise ShapeError(f"{name}: {len(strides)} strides for shape {tuple(shape)}")
    if 0 in shape:
        return
    first, last = _reach(shape, strides, offset)
    if first < 0 or last >= size:
        where = f"shape {tuple(shape)} with strides {tuple(strides)} and offset {offset}"
        raise IndexError(f"{name}: {where} leaves the {size} elements")


def _apart(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether no element is met twice, as far as that is seen from nested strides."""
    reach = 0
    for stride, n in sorted((abs(s), n) for n, s in zip(shape, strides, strict=True) if n != 1):
        if stride <= reach and 0 not in shape:
            return False
        reach += (n - 1) * stride
    return True


# ---- the walk and its adjoint -------------------------------------------------------------------------------------

_WALKS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int, str]] = [
    ((3, 7), (5, 3), (1, 2), 1, "overlapping"),
    ((4, 6), (4, 2), (6, 3), 1, "every third column"),
    ((6,), (2, 3), (-1, 0), 4, "backwards, and repeated"),
    ((2, 30), (2, 14, 4), (30, 2, 1), 0, "windows of rows"),
    ((5,), (0, 3), (1, 1), 9, "nothing"),
    ((), (2,), (0,), 0, "0-d"),
]


def _walk_of_examples(call: Any) -> tuple[Any, ...]:
    """The walk through each example after the other (see dlcore/ops/_batching.py)."""
    shape, strides, offset = call.attrs
    return (call.size, *shape), (math.prod(call.specs[0].shape), *strides), offset


@view(
    batch=lambda call: as_strided(call.full(0), *_walk_of_examples(call)),
    gradient=lambda dout, x_shape, strides, offset: strided_add(dout, x_shape, strides, offset),
    samples=[Sample(x, shape=n, strides=s, offset=o, why=why) for x, n, s, o, why in _WALKS],
    error_inputs=[
        ErrorInput(IndexError, "as_strided: shape (2, 3) with strides (3, 1) and offset 1 leaves the 6 elements",
                   np.zeros((2, 3)), shape=(2, 3), strides=(3, 1), offset=1),
        ErrorInput(IndexError, "as_strided: shape (2,) with strides (-1,) and offset 0 leaves the 6 elements",
                   np.zeros((2, 3)), shape=(2,), strides=(-1,)),
        ErrorInput(ShapeError, "as_strided: 1 strides for shape (2, 3)", np.zeros(6), shape=(2, 3), strides=(1,)),
        ErrorInput(ShapeError, "as_strided: negative length in shape (-1,)", np.zeros(6), shape=(-1,), strides=(1,)),
    ],
    workloads=[Workload(((64, 64),), ((62, 3), (64, 1), 0), "the cost of a call")],
    baselines={"torch": "torch.as_strided(x, shape, strides, offset)"},
)  # fmt: skip
def as_strided(x: Spec, shape: Shape, strides: Shape, offset: int = 0) -> Layout:
    """The elements that a walk through `x` in row-major order meets: a view where x lies so, else of a copy.

    Element (i, j, ...) of the output is number offset + i strides[0] + j strides[1] + ... of x. Elements may be met
    several times: their gradients add up. Raises IndexError where the walk leaves x.

    >>> dl.as_strided(dl.arange(4), (3, 2), (1, 1))
    tensor([[0, 1],
            [1, 2],
            [2, 3]])
    """
    _check_walk("as_strided", math.prod(x.shape), shape, strides, offset)
    dense = all(n == 1 or s == t for n, s, t in zip(x.shape, x.strides, row_major(x.shape), strict=True))
    return Layout(shape, strides if dense or 0 in x.shape else None, 0 if 0 in shape else offset)


@as_strided.reference
def _(x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    if 0 in shape:
        return np.zeros(shape, x.dtype)
    flat = np.ascontiguousarray(x).reshape(-1)[offset:]
    item = x.dtype.itemsize
    return np.lib.stride_tricks.as_strided(flat, shape, [s * item for s in strides]).copy()


class Walked(Op):
    """The adjoint of a walk."""

    family = "movement"
    outputs = "out"
    dtypes = DTYPES


def _add_composite(x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    """By sorting the places, where a GPU would have to add up elements that meet."""
    size = math.prod(shape)
    where = as_strided(positions(size, x), x.shape, strides, offset)
    return reshape(take_backward(reshape(x, (-1,)), reshape(where, (-1,)), (size,), 0), shape)


@Walked.definition(
    batch=lambda call: strided_add(
        call.full(0), (call.size, *call.attrs[0]), (math.prod(call.attrs[0]), *call.attrs[1]), call.attrs[2]
    ),
    kernels={"cuda": [("movement.strided:strided_add", lambda x, strides: _apart(x.shape, strides))]},
    composite=_add_composite, kinds=("float", "int", "uint"), dtypes=tuple(d for d in DTYPES if d.kind != "bool"),
    gradient=lambda dout, x_shape, strides, offset: as_strided(dout, x_shape, strides, offset),
    params=lambda x, strides, offset: (int(_apart(x.shape, strides)), offset, *strides),
    cost=lambda x, shape: (float(math.prod(x.shape)), bytes_of(x, Spec(shape, x.dtype))), ulp=4,
    magnitude=lambda x, shape, strides, offset: _numpy_add(np.abs(x), shape, strides, offset),
    reference=lambda x, shape, strides, offset: _numpy_add(x, shape, strides, offset),
    samples=[
        *(Sample(n, shape=x, strides=s, offset=o, why=why) for x, n, s, o, why in _WALKS),
        Sample(np.arange(12).reshape(4, 3), shape=(8,), strides=(1, 2), why="integers"),
    ],
    error_inputs=[
        ErrorInput(IndexError, "strided_add: shape (3,) with strides (2,) and offset 0 leaves the 4 elements",
                   np.zeros(3), shape=(2, 2), strides=(2,)),
    ],
    workloads=[
        Workload(((1022, 1023, 3),), ((1022, 1025), (1025, 1, 1), 0), "windows of 3"),
        Workload(((1024,),), ((1024, 1024), (1025,), 0), "a diagonal"),
    ],
    baselines={
        "torch": "torch.ops.aten.as_strided_scatter(x.new_zeros(shape), x, x.shape, strides, offset)",  # where apart
    },
)  # fmt: skip
def strided_add(x: Spec, shape: Shape, strides: Shape, offset: int = 0) -> Spec:
    """The gradient of `as_strided`: zeros of `shape`, to which each element of `x` is added where the walk met it.

    Sums are in float32 or wider, in a fixed order.
    """
    _check_walk("strided_add", math.prod(shape), x.shape, strides, offset)
    return Spec(shape, x.dtype)


def _numpy_add(x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    out = np.zeros(math.prod(shape), x.dtype)
    places = offset + sum((i * s for i, s in zip(np.indices(x.shape), strides, strict=True)), np.zeros(x.shape, int))
    np.add.at(out, places, x)
    return out.reshape(shape)


@Walked.definition(
    batch=lambda call: strided_assign(
        call.full(0), call.padded(1, len(call.attrs[0])), *_walk_of_examples(call)
    ),
    kernels={"cuda": lambda x, value, out, shape, strides, offset: _write(x, value, out, shape, strides, offset)},
    promote=value_like_first,
    gradient={
        "x": lambda dout, shape, strides, offset: strided_assign(
            dout, _C.full((), 0, dout.dtype, dout.device.code), shape, strides, offset
        ),
        "value": lambda dout, shape, strides, offset: as_strided(dout, shape, strides, offset),
    },
    params=lambda shape, strides, offset: (len(shape), *shape, *strides, offset),
    cost=lambda x: (0.0, 2 * bytes_of(x)),
    samples=[
        Sample((4, 6), (4, 2), shape=(4, 2), strides=(6, 3), offset=1, why="every third column"),
        Sample((7,), (3,), shape=(3,), strides=(-2,), offset=5, why="backwards"),
        Sample((5, 3), 2.0, shape=(3,), strides=(4,), why="a number on a diagonal"),
        Sample((5,), (0, 2), shape=(0, 2), strides=(2, 1), why="nothing"),
        Sample((3, 2), np.arange(2), shape=(2,), strides=(1,), offset=4, why="cast"),
    ],
    error_inputs=[
        ErrorInput(IndexError, "strided_assign: shape (3,) with strides (2,) and offset 0 leaves the 4 elements",
                   np.zeros((2, 2)), np.zeros(3), shape=(3,), strides=(2,)),
        ErrorInput(ShapeError, "strided_assign: (3, 2) does not broadcast to (2,)", np.zeros(4), np.zeros((3, 2)),
                   shape=(2,), strides=(2,)),
    ],
    workloads=[Workload(((1024, 1024), (1024,)), ((1024,), (1025,), 0), "a diagonal")],
    baselines={"torch": "torch.as_strided_scatter(x, value, shape, strides, offset)"},
)  # fmt: skip
def strided_assign(x: Spec, value: Spec, shape: Shape, strides: Shape, offset: int = 0) -> Spec:
    """A copy of `x` in which the elements that a walk meets, each once, are `value` (broadcast, cast).

    See `as_strided`. What a tracked write into a view makes of the tensor that it is a view of.
    """
    _check_walk("strided_assign", math.prod(x.shape), shape, strides, offset)
    check_value("strided_assign", shape, value)
    return Spec(x.shape, x.dtype)


@strided_assign.reference
def _(x: Any, value: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    out = np.array(x, order="C").reshape(-1)
    places = offset + sum((i * s for i, s in zip(np.indices(shape), strides, strict=True)), np.zeros(shape, int))
    out[places] = value
    return out.reshape(x.shape)


def _write(x: Any, value: Any, out: Any, shape: Shape, strides: Shape, offset: int) -> None:
    """On a GPU: two launches of copies."""
    assign.inplace(out, x)
    there = value.item() if value.device is not out.device else value  # a number
    assign.inplace(as_strided(out, shape, strides, offset), there)


# ---- windows ------------------------------------------------------------------------------------------------------


def _windows(shape: tuple[int, ...], axis: int, size: int, step: int) -> tuple[int, ...]:
    if not 0 <= size <= shape[axis]:
        raise ShapeError(f"unfold: windows of {size} elements along axis {axis} of shape {shape}")
    if step < 1:
        raise ShapeError(f"unfold: the step is {step}; it must be at least 1")
    return (*shape[:axis], (shape[axis] - size) // step + 1, *shape[axis + 1 :], size)


@view(
    methods=True,
    gradient=lambda dout, x_shape, axis, step: strided_add(dout, x_shape, _window_strides(x_shape, axis, step), 0),
    reference=lambda x, axis, size, step: np.moveaxis(
        np.stack([np.take(x, range(k, k + size), axis) for k in range(0, x.shape[axis] - size + 1, step)], axis),
        axis + 1, -1,
    ),
    samples=[
        Sample((2, 9), axis=1, size=3, step=1, why="overlapping"), Sample((7, 3), axis=0, size=2, step=3, why="gaps"),
        Sample((2, 8, 3), axis=-2, size=4, step=2, why="half"), Sample((5,), axis=0, size=5, step=1, why="all of it"),
        Sample((3, 4), axis=1, size=0, step=2, why="windows of nothing"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "unfold: windows of 4 elements along axis 1 of shape (2, 3)", np.zeros((2, 3)), axis=1,
                   size=4),
        ErrorInput(ShapeError, "unfold: the step is 0; it must be at least 1", np.zeros(3), axis=0, size=2, step=0),
    ],
    workloads=[Workload(((64, 64),), (1, 3, 1), "the cost of a call")],
    baselines={"torch": "x.unfold(axis, size, step)"},
)  # fmt: skip
def unfold(x: Spec, axis: Axis, size: int, step: int = 1) -> Layout:
    """Windows of `size` elements along `axis`, every `step` elements one, as a view: the windows' axis comes last.

    x (A, N, B) gives (A, (N - size) // step + 1, B, size). Where windows overlap their gradients add up.

    >>> dl.unfold(dl.arange(5), 0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    shape = _windows(x.shape, axis, size, step)
    strides = list(x.strides)
    strides[axis] *= step if shape[axis] > 1 else 1
    return Layout(shape, (*strides, x.strides[axis]))


def _window_strides(shape: tuple[int, ...], axis: int, step: int) -> tuple[int, ...]:
    along = row_major(shape)
    step = min(step, shape[axis])  # beyond, there is one window, and any distance to the next will do
    return (*along[:axis], along[axis] * step, *along[axis + 1 :], along[axis])


def sliding_window_view(x: Any, window_shape: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """All windows of ``window_shape`` along ``axis`` (one axis or several; None: all), as a view.

    The axes of x get shorter by the windows' lengths less 1; the windows' axes come last, as in NumPy. Where windows
    overlap their gradients add up. Raises ShapeError where a window does not fit.

    >>> dl.sliding_window_view(dl.arange(5), 3).tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    """
    x = operand(x, "sliding_window_view")
    for a, size in geometry.windows(x.shape, window_shape, axis):
        x = unfold(x, a, size, 1)
    return x


# ---- diagonals ----------------------------------------------------------------------------------------------------


def _diagonal(
    shape: Sequence[int], strides: Sequence[int], offset: int, axis1: int, axis2: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Shape, strides and first element of a diagonal, whose axis comes last."""
    rows, columns = shape[axis1] + min(offset, 0), shape[axis2] - max(offset, 0)
    length = max(0, min(rows, columns))
    start = max(offset, 0) * strides[axis2] + max(-offset, 0) * strides[axis1] if length else 0
    others = [d for d in range(len(shape)) if d not in (axis1, axis2)]
    along = strides[axis1] + strides[axis2]
    return (*(shape[d] for d in others), length), (*(strides[d] for d in others), along), start


def _check_two(name: str, shape: tuple[int, ...], axis1: int, axis2: int) -> None:
    if axis1 == axis2:
        raise ShapeError(f"{name}: axis1 and axis2 are both axis {axis1} of shape {shape}")


@view(
    methods=True, reference=lambda x, offset, axis1, axis2: np.diagonal(x, offset, axis1, axis2).copy(),
    samples=[
        Sample((4, 6), why="matrix"), Sample((5, 3), offset=-2, why="below"), Sample((3, 4), offset=2, why="above"),
        Sample((2, 3, 4), axis1=2, axis2=0, why="other axes"), Sample((2, 3), offset=5, why="outside"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "diagonal: axis1 and axis2 are both axis 1 of shape (2, 3)", np.zeros((2, 3)), axis1=-1),
        ErrorInput(IndexError, "diagonal: axis2 1 is out of range for shape (3,)", np.zeros(3)),
    ],
    workloads=[Workload(((64, 64),), (), "the cost of a call")],
    baselines={"numpy": "np.diagonal(x, offset, axis1, axis2)", "torch": "torch.diagonal(x, offset, axis1, axis2)"},
)  # fmt: skip
def diagonal(x: Spec, offset: int = 0, axis1: Axis = 0, axis2: Axis = 1) -> Layout:
    """A view of a diagonal: the elements whose place along `axis2` is that along `axis1` plus `offset`.

    The axis along the diagonal comes last, behind those of x that are left.

    >>> dl.diagonal(dl.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    _check_two("diagonal", x.shape, axis1, axis2)
    return Layout(*_diagonal(x.shape, x.strides, offset, axis1, axis2))


@diagonal.gradient
def _(dout: Any, x_shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    _, strides, start = _diagonal(x_shape, row_major(x_shape), offset, axis1, axis2)
    return strided_add(dout, x_shape, strides, start)


@names_errors
def diag_embed(x: Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Any:
    """Matrices with the last axis of x on a diagonal, and zeros: the inverse of `diagonal`.

    x (..., N) gives (..., N + |offset|, N + |offset|), whose two new axes are ``axis1`` and ``axis2``.

    >>> dl.diag_embed(dl.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = operand(x, "diag_embed")
    offset = integer(offset, "diag_embed: offset")
    if not x.ndim:
        raise ShapeError("diag_embed: x has no axis, and needs one")
    check_lengths("diag_embed", (*x.shape, 1))
    whole = (*x.shape, 1)
    a, b = axis_of(axis1, "diag_embed: axis1", whole), axis_of(axis2, "diag_embed: axis2", whole)
    _check_two("diag_embed", x.shape, a, b)
    n = x.shape[-1] + abs(offset)
    others = iter(x.shape[:-1])
    shape = tuple(n if d in (a, b) else next(others) for d in range(len(whole)))
    _, strides, start = _diagonal(shape, row_major(shape), offset, a, b)
    return placed(x, shape, strides, start)


def placed(x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    """Zeros of ``shape`` with the elements of ``x`` along a walk that meets each place once; of bools too."""
    if x.dtype is bool_:
        return cast(strided_add(cast(x, uint8), shape, strides, offset), bool_)
    return strided_add(x, shape, strides, offset)
