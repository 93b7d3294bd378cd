"""Elements under another shape or in another place: reshape, permute, expand, copies, concat, stack.

The first three give views: the output shares memory with the operand, nothing is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, operand, shaped, shown
from dlcore.dtypes import DTYPES, float32
from dlcore.errors import ShapeError
from dlcore.op import Axis, ErrorInput, Input, Sample, Shape, Spec, Workload, as_given, operation
from dlcore.ops import _geometry as geometry
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of
from dlcore.ops.slicing import Layout, slice, view

_TENSOR, _ARRAYS = _C.TensorBase, (_C.TensorBase, np.ndarray)

__all__ = ["concat", "expand", "flatten", "permute", "reshape", "squeeze", "stack", "transpose", "unsqueeze"]

# ---- views --------------------------------------------------------------------------------------------------------


def _like_output(call: Any) -> Any:
    """All examples in the shape of one's result (see dlcore/ops/_batching.py)."""
    return call.run(call.values, [(call.size, *call.outputs[0].shape)])


@view(
    batch=_like_output, gradient=lambda dout, x_shape: reshape(dout, x_shape),
    reference=lambda x, shape: x.reshape(shape),
    samples=[
        Sample((4, 6), shape=(2, 2, 6), why="one axis split"),
        Sample((4, 3, 5), shape=(-1, 5), why="axes joined, one length left open"),
        Sample((6, 4), shape=(3, 8), why="runs of two axes"), Sample((1, 3, 1), shape=(3,), why="axes of length 1"),
        Sample((), shape=(1, 1), why="0-d"), Sample((0, 3), shape=(3, 0), why="empty"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "reshape: (2, 3) does not fit into (4, 2)", np.zeros((2, 3)), shape=(4, 2)),
        ErrorInput(ShapeError, "reshape: (2, 3) does not fit into (-1, -1)", np.zeros((2, 3)), shape=(-1, -1)),
        ErrorInput(ShapeError, "reshape: (0, 3) does not fit into (-1, 0)", np.zeros((0, 3)), shape=(-1, 0)),
    ],
    workloads=[Workload(((64, 64),), ((16, 256),), "the cost of a call")],
    baselines={"numpy": "x.reshape(shape)", "torch": "x.view(shape)", "jax": "x.reshape(shape)"},
)  # fmt: skip
def reshape(x: Spec, shape: Shape) -> Layout:
    """The same elements, in row-major order, in another shape; a view where strides allow, else a copy.

    One length of `shape` may be -1: it is found from the number of elements. Raises ShapeError where that differs.

    >>> dl.reshape(dl.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    size, known = math.prod(x.shape), math.prod(n for n in shape if n != -1)
    unknown = shape.count(-1)
    fits = size == known if not unknown else known > 0 and size % known == 0
    if unknown > 1 or min(shape, default=0) < -1 or not fits:
        raise ShapeError(f"reshape: {x.shape} does not fit into {shape}")
    new = tuple(size // known if n == -1 else n for n in shape)
    return Layout(new, _reshaped_strides(x, new))


def _reshaped_strides(x: Spec, new: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides of the same elements in another shape, or None where no strides give them (NumPy's algorithm).

    Old and new axes are paired in runs of equal size; within a run the old axes must lie as one.
    """
    if 0 in new:
        return (1,) * len(new)
    old = [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n != 1]
    strides, i, j = [0] * len(new), 0, 0
    while i < len(old):
        first, last = i, j
        have, want = old[i][0], new[j]
        while have != want:
            if have < want:
                i += 1
                have *= old[i][0]
            else:
                j += 1
                want *= new[j]
        if any(old[k][1] != old[k + 1][0] * old[k + 1][1] for k in range(first, i)):
            return None
        step = old[i][1]
        for d in range(j, last - 1, -1):
            strides[d] = step
            step *= new[d]
        i, j = i + 1, j + 1
    return tuple(strides)


@view(
    batch=lambda call: permute(call.values[0], (0, *(a % len(call.attrs[0]) + 1 for a in call.attrs[0]))),
    gradient=lambda dout, axes: permute(dout, _inverse(axes)),
    reference=lambda x, axes: x.transpose(axes),
    samples=[
        Sample((3, 5), axes=(1, 0), why="matrix"),
        Sample((2, 3, 4), axes=(2, 0, 1), why="a cycle, which is not its own inverse"),
        Sample((2, 3, 4), axes=(0, -1, 1), why="axes from the end"), Sample((), axes=(), why="0-d"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "permute: (0, 0) is not an order of the axes of shape (2, 3)", np.zeros((2, 3)),
                   axes=(0, 0)),
        ErrorInput(IndexError, "permute: axis 2 is out of range for shape (2, 3)", np.zeros((2, 3)), axes=(0, 2)),
    ],
    workloads=[Workload(((64, 64),), ((1, 0),), "the cost of a call")],
    baselines={"numpy": "np.transpose(x, axes)", "torch": "torch.permute(x, axes)", "jax": "jnp.transpose(x, axes)"},
)  # fmt: skip
def permute(x: Spec, axes: Shape) -> Layout:
    """A view with the axes in another order: axis d of the output is axis `axes[d]` of `x`.

    >>> dl.permute(dl.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    order = [axis_of(a, "permute: axis", x.shape) for a in axes]
    if sorted(order) != list(range(len(x.shape))):
        raise ShapeError(f"permute: {axes} is not an order of the axes of shape {x.shape}")
    return Layout(tuple(x.shape[a] for a in order), tuple(x.strides[a] for a in order))


def _inverse(axes: tuple[int, ...]) -> list[int]:
    """The order that undoes another."""
    return sorted(range(len(axes)), key=lambda d: axes[d] % len(axes))


@view(
    batch=lambda call: expand(call.padded(0, len(call.outputs[0].shape)), (call.size, *call.outputs[0].shape)),
    gradient=lambda dout: dout,  # the engine sums it to the operand's shape
    reference=lambda x, shape: np.broadcast_to(
        x, [x.shape[d - len(shape)] if n == -1 else n for d, n in enumerate(shape)]
    ),
    samples=[
        Sample((3, 1), shape=(3, 4), why="an axis of length 1"),
        Sample((4,), shape=(2, 3, -1), why="new axes in front"),
        Sample((), shape=(2, 2), why="0-d"), Sample((1, 3), shape=(0, 3), why="to nothing"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "expand: (2, 3) does not broadcast to (2, 4)", np.zeros((2, 3)), shape=(2, 4)),
        ErrorInput(ShapeError, "expand: (2, 3) does not broadcast to (3,)", np.zeros((2, 3)), shape=(3,)),
    ],
    workloads=[Workload(((64,),), ((64, 64),), "the cost of a call")],
    baselines={"numpy": "np.broadcast_to(x, shape)", "torch": "x.expand(shape)", "jax": "jnp.broadcast_to(x, shape)"},
)  # fmt: skip
def expand(x: Spec, shape: Shape) -> Layout:
    """A view broadcast to `shape`: new axes in front, axes of length 1 repeated, without using memory.

    -1 keeps an axis's length. Raises ShapeError where NumPy's rule does not allow it.

    >>> dl.expand(dl.tensor([[1], [2]]), (2, 3))
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    extra = len(shape) - len(x.shape)
    new = tuple(x.shape[d - extra] if n == -1 and d >= extra else n for d, n in enumerate(shape))
    if extra < 0 or min(new, default=0) < 0 or any(n not in (1, new[d + extra]) for d, n in enumerate(x.shape)):
        raise ShapeError(f"expand: {x.shape} does not broadcast to {shape}")
    strides = (s if n == m else 0 for n, s, m in zip(x.shape, x.strides, new[extra:], strict=True))
    return Layout(new, (*[0] * extra, *strides))


# ---- copies -------------------------------------------------------------------------------------------------------


@operation(
    family="movement", kernels={"cpu": "movement:copy", "cuda": "movement.copy:contiguous"}, promote=as_given,
    batching="pointwise",
    dtypes=DTYPES, gradient=lambda dout: dout, reference=lambda x: x.copy(), cost=lambda x: (0.0, 2 * bytes_of(x)),
    samples=[
        Sample((33, 65), why="not a multiple of the tile"), Sample((3, 20, 17), why="three axes"),
        Sample((5000, 3), why="short rows", grad=False), Sample((1024, 1024), why="large", grad=False),
        Sample((0, 4), why="empty"), Sample((), why="0-d"),
    ],
    workloads=[
        Workload((MILLION,), why="1M"), Workload((Input(RAGGED, transposed=True),), why="ragged"),
        Workload((Input((4096, 4096), transposed=True),), why="16M", dtypes=(float32,)),
    ],
    baselines={"numpy": "x.copy()", "torch": "x.clone(memory_format=torch.contiguous_format)"},
)  # fmt: skip
def contiguous(x: Spec) -> Spec:
    """A copy in memory of its own, in row-major order; gradients flow through."""
    return Spec(x.shape, x.dtype)


# ---- concat -------------------------------------------------------------------------------------------------------


def _along(axis: int | None) -> bool:
    """Whether there is an axis; without one the composite joins what is flattened."""
    return axis is not None


@operation(
    family="movement", kernels={"cpu": [("movement:concat", _along)], "cuda": [("movement.copy:concat", _along)]},
    composite=lambda tensors, axis: concat([reshape(t, (-1,)) for t in tensors], 0),
    reference=lambda tensors, axis: np.concatenate(tensors, axis),
    cost=lambda tensors: (0.0, 2 * bytes_of(*tensors)),
    samples=[
        Sample([(3, 2, 5), (3, 0, 5), (3, 7, 5)], axis=1, why="an empty one among them"),
        Sample([(33, 4), (2, 4)], axis=0, why="rows"), Sample([(6, 3), (6, 4)], axis=-1, why="last axis"),
        Sample([(5,)], axis=0, why="one tensor"), Sample([(2,), np.arange(3)], axis=0, why="two dtypes"),
        Sample([(2, 3), (), (4,)], axis=None, why="flattened, of several shapes"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "concat: no tensors are given", []),
        ErrorInput(ShapeError, "concat: no tensors are given", [], axis=None),
        ErrorInput(ShapeError, "concat: shapes differ outside axis 0: (2, 3) and (2, 4)",
                   [np.zeros((2, 3)), np.zeros((2, 4))]),
    ],
    workloads=[
        Workload(([(64, 64), (64, 64)],), (1,), "small"), Workload(([MILLION, MILLION],), (0,), "1M each"),
        Workload(([(1023, 517), (1023, 508)],), (1,), "ragged"),
    ],
    baselines={
        "numpy": "np.concatenate(tensors, axis)", "numpy out": "np.concatenate(tensors, axis, out=out)",
        "torch": "torch.cat(tensors, axis)", "torch out": "torch.cat(tensors, axis, out=out)",
    },
)  # fmt: skip
def concat(tensors: list[Spec], axis: Axis | None = 0) -> Spec:
    """The tensors one after another along `axis`: lengths may differ there, and nowhere else.

    With an `axis` of None they are flattened first. Raises ShapeError where shapes differ elsewhere or no tensors are
    given.

    >>> dl.concat([dl.tensor([1, 2]), dl.tensor([3])])
    tensor([1, 2, 3])
    """
    if not tensors:
        raise ShapeError("concat: no tensors are given")
    if axis is None:
        return Spec((sum(math.prod(t.shape) for t in tensors),), tensors[0].dtype)
    first = tensors[0].shape
    for t in tensors:
        if len(t.shape) != len(first) or t.shape[:axis] != first[:axis] or t.shape[axis + 1 :] != first[axis + 1 :]:
            raise ShapeError(f"concat: shapes differ outside axis {axis}: {first} and {t.shape}")
    return Spec((*first[:axis], sum(t.shape[axis] for t in tensors), *first[axis + 1 :]), tensors[0].dtype)


@concat.gradient
def _(dout: Any, tensors_shape: list[tuple[int, ...]], axis: int, needs_input_grad: Sequence[bool]) -> list[Any]:
    start, parts = 0, []
    whole = tuple((0, n, 1) for n in dout.shape[:axis])
    for shape, needed in zip(tensors_shape, needs_input_grad, strict=True):
        parts.append(slice(dout, (*whole, (start, shape[axis], 1))) if needed else None)
        start += shape[axis]
    return parts


# ---- spelled with the operations above ----------------------------------------------------------------------------


@shaped(permute)
def transpose(x: Any, axis0: int = -2, axis1: int = -1, *axes: int) -> Any:
    """A view with two axes exchanged. Raises IndexError for an axis out of range.

    NumPy's other calls, ``transpose(x, (2, 0, 1))`` and ``x.transpose(2, 0, 1)``, name all axes: `permute`.

    >>> dl.transpose(dl.tensor([[1, 2, 3]])).shape
    (3, 1)
    """
    if axes or (isinstance(axis0, tuple | list) and all(isinstance(a, int) for a in axis0)):
        return (axis0, axis1, *axes) if axes else tuple(axis0)  # type: ignore[arg-type]
    return geometry.swapped("transpose: axis0", "transpose: axis1", x.shape, axis0, axis1)


@shaped(reshape)
def unsqueeze(x: Any, axis: int) -> Any:
    """A view with a new axis of length 1 at ``axis`` (-1: behind the last). Raises IndexError for one out of range.

    >>> dl.unsqueeze(dl.tensor([1, 2]), 0).shape
    (1, 2)
    """
    return geometry.unsqueezed(x.shape, axis)


@shaped(reshape)
def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """A view without its axes of length 1, or without those in ``axis``.

    Raises ShapeError where an axis named has another length or is given twice.

    >>> dl.squeeze(dl.zeros(1, 3, 1)).shape
    (3,)
    """
    return geometry.squeezed(x.shape, axis)


@shaped(reshape)
def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Any:
    """The axes from ``start_axis`` to ``end_axis`` (included) made one; a view where strides allow.

    >>> dl.flatten(dl.zeros(2, 3, 4), 1).shape
    (2, 12)
    """
    return geometry.flattened(x.shape, start_axis, end_axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """The tensors, all of one shape, along a new axis at ``axis``. Raises ShapeError where shapes differ.

    >>> dl.stack([dl.tensor([1, 2]), dl.tensor([3, 4])], axis=1)
    tensor([[1, 3],
            [2, 4]])
    """
    if type(tensors) is not list and (isinstance(tensors, _ARRAYS) or not isinstance(tensors, Sequence)):
        raise TypeError(f"stack: operand 'tensors' {shown(tensors)} is not a sequence of tensors")
    if not tensors:
        raise ShapeError("stack: no tensors are given")
    parts = [t if isinstance(t, _TENSOR) else operand(t, "stack", "tensors") for t in tensors]
    at, whole, new = geometry.stacked(axis, *parts)
    if new is None:  # joined along the axis that will stand behind the new one: the elements lie in the same order
        return reshape(concat(parts, at), whole)
    return concat([reshape(t, new) for t in parts], at)
