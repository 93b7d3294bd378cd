"""Parts of a tensor: the view `slice`, its adjoint, and assignment to a slice."""

from __future__ import annotations

import builtins
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from dlcore._arguments import integer, integers, items, shown
from dlcore.dtypes import DTYPES, DType
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import AxisOf, ErrorInput, Op, Sample, Shape, Spec, Workload, as_given, operation
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of

__all__ = ["assign", "numpy_index", "slice", "slice_assign", "slice_backward"]

Index = tuple[Any, ...]

# ---- the family of views --------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """Where the elements of a view lie, counted in elements of the memory of its operand."""

    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """None where no strides give the elements, so that they must be copied first."""
    offset: int = 0


class View(Op):
    """An operation whose output shares memory with its operand `x`. Its shape rule returns a `Layout`."""

    promote = staticmethod(as_given)
    dtypes = DTYPES
    batching = "axis"

    def infer(self, x: Spec, *attrs: Any) -> Spec:
        """The shape of the layout. Raises DTypeError for a number, which has no memory to share."""
        if x.weak:
            raise DTypeError(f"{self.name}: operand 'x' is a number, not a tensor")
        any_strides = x._replace(strides=x.strides or (0,) * len(x.shape))  # the shape does not depend on them
        return Spec(self.rule(any_strides, *attrs).shape, x.dtype)

    def view(self, *args: Any) -> Layout | None:
        """The layout that the shape rule returns."""
        layout: Layout = self.rule(*args)
        return None if layout.strides is None else layout

    def cost(self) -> tuple[float, float]:
        """Nothing is computed or moved."""
        return 0.0, 0.0


view = View.definition

# ---- slice --------------------------------------------------------------------------------------------------------


class IndexOf(AxisOf):
    """A basic index of the operand or shape called ``name``: a tuple of entries, each about the next axis.

    An int selects an element and drops the axis, (start, length, step) walks along it, None puts a new axis of length 1
    without using one. Axes that are not mentioned stay whole: the converted index has an entry for every axis. Starts
    are counted from the front; `_indexing.basic_index` makes such tuples from what stands in x[...].
    """

    hint = "Any"

    def accept(self, value: Any, where: str) -> Index:
        several = items(value)
        if several is None:
            raise TypeError(f"{where} {shown(value)} is not a tuple of entries, one for each axis")
        return tuple([_entry(entry, where) for entry in several])

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Index:
        shape = self.shape(given, where)
        used = sum(entry is not None for entry in value)
        entries = (*value, *((0, n, 1) for n in shape[used:]))
        steps = (entry for entry in entries if entry is not None)
        if used > len(shape) or not all(map(_inside, steps, shape)):
            raise IndexError(f"{where.partition(':')[0]}: {value} leaves shape {shape}")
        return entries

    def moved(self, value: Index, size: int) -> Index:
        return ((0, size, 1), *value)

    def to_kernel(self, value: Index) -> tuple[int, ...]:
        """The start on each axis of x, the number of axes of the view, and of each (axis or -1, step, length)."""
        starts: list[int] = []
        axes: list[int] = []
        for entry in value:
            if entry is None:
                axes += [-1, 0, 1]
            elif isinstance(entry, int):
                starts.append(entry)
            else:
                start, count, step = entry
                axes += [len(starts), step, count]
                starts.append(start if count else 0)
        return (*starts, len(axes) // 3, *axes)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str]:
        shape = self.shape(given, where)
        value = tuple((0, n + 1, 1) for n in shape) or (0,)
        return value, IndexError, f"{where.partition(':')[0]}: {value} leaves shape {shape}"


def _entry(entry: Any, where: str) -> Any:
    if entry is None:
        return None
    if items(entry) is None:
        return integer(entry, where)
    walk = integers(entry, where)
    if len(walk) != 3:
        raise TypeError(f"{where} has the entry {shown(entry)}; one is an integer, (start, length, step) or None")
    return walk


def _inside(entry: Any, length: int) -> bool:
    """Whether an entry stays on an axis of this length."""
    start, count, step = (entry, 1, 1) if isinstance(entry, int) else entry
    return count == 0 or (count > 0 and 0 <= start < length and 0 <= start + (count - 1) * step < length)


IndexOfX = Annotated[Index, IndexOf("x")]


def _sliced(index: Index) -> tuple[int, ...]:
    """The shape of the slice."""
    return tuple(1 if entry is None else entry[1] for entry in index if not isinstance(entry, int))


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
# (shape, index, shape of the slice, why)
_EXAMPLES: tuple[tuple[tuple[int, ...], Index, tuple[int, ...], str], ...] = (
    ((5, 7), ((1, 3, 1),), (3, 7), "rows"),
    ((5, 7), ((4, 5, -1), (0, 3, 3)), (5, 3), "reversed, and every third"),
    ((3, 4, 5), (1, None, (0, 4, 1), 2), (1, 4), "axes dropped and added"),
    ((3, 4), ((0, 0, 1),), (0, 4), "to nothing"),
    ((), (None,), (1,), "0-d"),
)


@view(
    gradient=lambda dout, x_shape, index: slice_backward(dout, x_shape, index),
    reference=lambda x, index: x[numpy_index(index)],
    samples=[Sample(shape, index=index, why=why) for shape, index, _, why in _EXAMPLES],
    error_inputs=[
        ErrorInput(IndexError, "slice: ((1, 2, 1),) leaves shape (2, 3)", np.zeros((2, 3)), index=((1, 2, 1),)),
        ErrorInput(IndexError, "slice: ((0, 0, 1),) leaves shape ()", np.zeros(()), index=((0, 0, 1),)),
    ],
    workloads=[Workload(((64, 64),), (((16, 32, 1), (0, 32, 2)),), "the cost of a call")],
    baselines=dict.fromkeys(("numpy", "torch", "jax"), (_SLICES, "x[at]")),
)  # fmt: skip
def slice(x: Spec, index: IndexOfX) -> Layout:
    """A view of some elements: what basic indexing `x[index]` gives.

    `index`: one entry for each axis in turn: an int drops it, (start, length, step) walks along it, None adds one.
    Raises IndexError where an entry leaves the axis.
    """
    offset, strides, axes = 0, [], iter(x.strides)
    for entry in index:
        if entry is None:
            strides.append(0)
            continue
        start, count, step = (entry, 1, 0) if isinstance(entry, int) else entry
        stride = next(axes)
        offset += start * stride if count else 0
        if not isinstance(entry, int):
            strides.append(step * stride if count > 1 else stride)
    return Layout(_sliced(index), tuple(strides), offset)


@operation(
    family="movement", kernels={"cuda": "movement.copy:slice_backward"}, outputs="dx", dtypes=DTYPES,
    gradient=lambda ddx, index: slice(ddx, index),
    cost=lambda dout, shape: (0.0, (math.prod(shape) + math.prod(dout.shape)) * dout.dtype.itemsize),
    samples=[Sample(part, shape=shape, index=index, why=why) for shape, index, part, why in _EXAMPLES],
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
def slice_backward(dout: Spec, shape: Shape, index: Annotated[Index, IndexOf("shape")]) -> Spec:
    """The gradient of `slice`: zeros of `shape`, with `dout` where the slice was."""
    if dout.shape != _sliced(index):
        raise ShapeError(f"slice_backward: dout has shape {dout.shape}, the slice {_sliced(index)}")
    return Spec(shape, dout.dtype)


@slice_backward.reference
def _(dout: Any, shape: Shape, index: Index) -> Any:
    dx = np.zeros(shape, dout.dtype)
    dx[numpy_index(index)] = dout
    return dx


# ---- assignment ---------------------------------------------------------------------------------------------------


def value_like_first(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """The value, which is the last operand, to the dtype of the first; the others as they are."""
    *others, value = [s and s.dtype for s in specs]
    return [*others, value and others[0]]


def check_value(name: str, shape: tuple[int, ...], value: Spec) -> None:
    """Raises ShapeError, e.g. ``assign: (2, 3) does not broadcast to (3,)``."""
    if broadcast_shapes(name, shape, value.shape) != shape:
        raise ShapeError(f"{name}: {value.shape} does not broadcast to {shape}")


@operation(
    family="movement", kernels={"cuda": "movement.copy:assign"}, promote=value_like_first, elementwise=True,
    batch=lambda call: assign(call.full(0), call.padded(1, len(call.specs[0].shape))),
    gradient={"value": lambda dout: dout},
    reference=lambda target, value: np.broadcast_to(value, target.shape).astype(target.dtype),
    cost=lambda target: (0.0, 2 * bytes_of(target)),
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
    check_value("assign", target.shape, value)
    return Spec(target.shape, target.dtype)


@operation(
    family="movement", kernels={"cuda": "movement.copy:slice_assign"}, promote=value_like_first,
    batch=lambda call: slice_assign(
        call.full(0), call.padded(1, len(_sliced(call.attrs[0]))), ((0, call.size, 1), *call.attrs[0])
    ),
    gradient={"x": lambda dout, index: slice_assign(dout, 0, index), "value": lambda dout, index: slice(dout, index)},
    cost=lambda x: (0.0, 2 * bytes_of(x)),
    samples=[
        *(Sample(shape, part, index=index, why=why) for shape, index, part, why in _EXAMPLES),
        Sample((4, 5), (5,), index=((0, 2, 2),), why="broadcast"),
    ],
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
def slice_assign(x: Spec, value: Spec, index: IndexOfX) -> Spec:
    """A copy of `x` in which the slice `index` is `value` (broadcast, cast): `x[index] = value` on the tape."""
    check_value("slice_assign", _sliced(index), value)
    return Spec(x.shape, x.dtype)


@slice_assign.reference
def _(x: Any, value: Any, index: Index) -> Any:
    out = np.array(x)
    out[numpy_index(index)] = value
    return out
