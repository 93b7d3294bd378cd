"""Elements under another shape or in another place: reshape, permute, expand, copies, concat, stack.

The first three give views: the output shares memory with the operand, nothing is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import REQUIRED, Op, Operand, Sample, Size, Spec, Wrong
from dlcore.ops._shape import normalize_axis
from dlcore.ops._sizes import MILLION, RAGGED
from dlcore.ops.slicing import slice

__all__ = ["concat", "expand", "flatten", "permute", "reshape", "squeeze", "stack", "transpose", "unsqueeze"]

Shape = tuple[int, ...]
Layout = tuple[Shape, Shape, int]


def _nothing(*_: Any) -> tuple[float, float]:
    return 0.0, 0.0


def _tensor(name: str, x: Spec) -> None:
    if x.weak:
        raise DTypeError(f"{name}: operand 'x' is a number, not a tensor")


# ---- reshape ------------------------------------------------------------------------------------------------------


def _reshaped(shape: Shape, wanted: Shape) -> Shape:
    """``wanted`` with its -1 replaced."""
    size, unknown = math.prod(shape), [d for d, n in enumerate(wanted) if n == -1]
    known = math.prod(n for n in wanted if n != -1)
    fits = size == known if not unknown else known > 0 and size % known == 0
    if len(unknown) > 1 or min(wanted, default=0) < -1 or not fits:
        raise ShapeError(f"reshape: {shape} does not fit into {wanted}")
    return tuple(size // known if n == -1 else n for n in wanted)


def _reshape_infer(x: Spec, shape: Shape) -> Spec:
    _tensor("reshape", x)
    return Spec(_reshaped(x.shape, shape), x.dtype)


def _reshape_view(x: Spec, shape: Shape) -> Layout | None:
    """Strides of the same elements in another shape, or None where no strides give them (NumPy's algorithm).

    Old and new axes are paired in runs of equal size; within a run the old axes must lie as one.
    """
    new = _reshaped(x.shape, shape)
    if 0 in new:
        return new, tuple(1 for _ in new), 0
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
    return new, tuple(strides), 0


def _reshape_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((4, 6)),), ((2, 2, 6),), "one axis split")
    yield Sample((rng.standard_normal((4, 3, 5)),), ((-1, 5),), "axes joined, one length left open")
    yield Sample((rng.standard_normal((6, 4)),), ((3, 8),), "runs of two axes")
    yield Sample((rng.standard_normal((1, 3, 1)),), ((3,),), "axes of length 1")
    yield Sample((rng.standard_normal(()),), ((1, 1),), "0-d")
    yield Sample((rng.standard_normal((0, 3)),), ((3, 0),), "empty")


RESHAPE = Op(
    name="reshape",
    doc="""The same elements, in row-major order, in another shape; a view where strides allow, else a copy.

    One length of `shape` may be -1: it is found from the number of elements. Raises ShapeError where that differs.""",
    inputs="x",
    attrs={"shape": REQUIRED},
    infer=_reshape_infer,
    promote=None,
    view=_reshape_view,
    vjp=lambda ctx, dout: reshape(dout, ctx.shapes[0]),
    ref=lambda x, shape: x.reshape(shape),
    samples=_reshape_samples,
    sizes=(Size(((64, 64),), ((16, 256),), "the cost of a call"),),
    peers={"numpy": "x.reshape(shape)", "torch": "x.view(shape)", "jax": "x.reshape(shape)"},
    errors=lambda: [
        Wrong((np.zeros((2, 3)),), ((4, 2),), ShapeError, "reshape: (2, 3) does not fit into (4, 2)"),
        Wrong((np.zeros((2, 3)),), ((-1, -1),), ShapeError, "reshape: (2, 3) does not fit into (-1, -1)"),
        Wrong((np.zeros((0, 3)),), ((-1, 0),), ShapeError, "reshape: (0, 3) does not fit into (-1, 0)"),
    ],
    dtypes=DTYPES,
    cost=_nothing,
)
reshape: Any = RESHAPE.call


# ---- permute ------------------------------------------------------------------------------------------------------


def _permuted(x: Spec, axes: Shape) -> Shape:
    """``axes`` counted from the front."""
    _tensor("permute", x)
    order = tuple(normalize_axis("permute", a, x.shape) for a in axes)
    if sorted(order) != list(range(len(x.shape))):
        raise ShapeError(f"permute: {axes} is not an order of the axes of shape {x.shape}")
    return order


def _permute_view(x: Spec, axes: Shape) -> Layout:
    order = _permuted(x, axes)
    return tuple(x.shape[a] for a in order), tuple(x.strides[a] for a in order), 0


def _permute_vjp(ctx: Any, dout: Any) -> Any:
    order = [a % len(ctx.attrs[0]) for a in ctx.attrs[0]]
    return permute(dout, tuple(order.index(d) for d in range(len(order))))


PERMUTE = Op(
    name="permute",
    doc="""A view with the axes in another order: axis d of the output is axis `axes[d]` of `x`.""",
    inputs="x",
    attrs={"axes": REQUIRED},
    infer=lambda x, axes: Spec(tuple(x.shape[a] for a in _permuted(x, axes)), x.dtype),
    promote=None,
    view=_permute_view,
    vjp=_permute_vjp,
    ref=lambda x, axes: x.transpose(axes),
    sizes=(Size(((64, 64),), ((1, 0),), "the cost of a call"),),
    peers={"numpy": "np.transpose(x, axes)", "torch": "torch.permute(x, axes)", "jax": "jnp.transpose(x, axes)"},
    samples=lambda rng: [
        Sample((rng.standard_normal((3, 5)),), ((1, 0),), "matrix"),
        Sample((rng.standard_normal((2, 3, 4)),), ((2, 0, 1),), "a cycle, which is not its own inverse"),
        Sample((rng.standard_normal((2, 3, 4)),), ((0, -1, 1),), "axes from the end"),
        Sample((rng.standard_normal(()),), ((),), "0-d"),
    ],
    errors=lambda: [
        Wrong(
            (np.zeros((2, 3)),), ((0, 0),), ShapeError, "permute: (0, 0) is not an order of the axes of shape (2, 3)"
        ),
        Wrong((np.zeros((2, 3)),), ((0, 2),), IndexError, "permute: axis 2 is out of range for shape (2, 3)"),
    ],
    dtypes=DTYPES,
    cost=_nothing,
)
permute: Any = PERMUTE.call


# ---- expand -------------------------------------------------------------------------------------------------------


def _expanded(x: Spec, shape: Shape) -> Shape:
    _tensor("expand", x)
    extra = len(shape) - len(x.shape)
    new = tuple(x.shape[d - extra] if n == -1 and d >= extra else n for d, n in enumerate(shape))
    if extra < 0 or min(new, default=0) < 0 or any(n not in (1, new[d + extra]) for d, n in enumerate(x.shape)):
        raise ShapeError(f"expand: {x.shape} does not broadcast to {shape}")
    return new


def _expand_view(x: Spec, shape: Shape) -> Layout:
    new = _expanded(x, shape)
    extra = len(new) - len(x.shape)
    kept = [s if n == new[d + extra] else 0 for d, (n, s) in enumerate(zip(x.shape, x.strides, strict=True))]
    return new, (*[0] * extra, *kept), 0


EXPAND = Op(
    name="expand",
    doc="""A view broadcast to `shape`: new axes in front, axes of length 1 repeated, without using memory.

    -1 keeps an axis's length. Raises ShapeError where NumPy's rule does not allow it.""",
    inputs="x",
    attrs={"shape": REQUIRED},
    infer=lambda x, shape: Spec(_expanded(x, shape), x.dtype),
    promote=None,
    view=_expand_view,
    vjp=lambda ctx, dout: dout,  # the engine sums it to the operand's shape
    ref=lambda x, shape: np.broadcast_to(x, [x.shape[d - len(shape)] if n == -1 else n for d, n in enumerate(shape)]),
    samples=lambda rng: [
        Sample((rng.standard_normal((3, 1)),), ((3, 4),), "an axis of length 1"),
        Sample((rng.standard_normal((4,)),), ((2, 3, -1),), "new axes in front"),
        Sample((rng.standard_normal(()),), ((2, 2),), "0-d"),
        Sample((rng.standard_normal((1, 3)),), ((0, 3),), "to nothing"),
    ],
    errors=lambda: [
        Wrong((np.zeros((2, 3)),), ((2, 4),), ShapeError, "expand: (2, 3) does not broadcast to (2, 4)"),
        Wrong((np.zeros((2, 3)),), ((3,),), ShapeError, "expand: (2, 3) does not broadcast to (3,)"),
    ],
    dtypes=DTYPES,
    sizes=(Size(((64,),), ((64, 64),), "the cost of a call"),),
    peers={"numpy": "np.broadcast_to(x, shape)", "torch": "x.expand(shape)", "jax": "jnp.broadcast_to(x, shape)"},
    cost=_nothing,
)
expand = EXPAND.call


# ---- copies -------------------------------------------------------------------------------------------------------


def _moved(x: Spec, *_: Any) -> tuple[float, float]:
    return 0.0, 2.0 * math.prod(x.shape) * x.dtype.itemsize


CONTIGUOUS = Op(
    name="contiguous",
    doc="""A copy in memory of its own, in row-major order; gradients flow through.""",
    inputs="x",
    infer=lambda x: Spec(x.shape, x.dtype),
    promote=None,
    kernels={"cpu": "movement:copy", "cuda": "movement.copy:contiguous"},
    vjp=lambda ctx, dout: dout,
    ref=lambda x: x.copy(),
    samples=lambda rng: [
        Sample((rng.standard_normal((33, 65)),), (), "not a multiple of the tile"),
        Sample((rng.standard_normal((3, 20, 17)),), (), "three axes"),
        Sample((rng.standard_normal((5000, 3)),), (), "short rows", grad=False),
        Sample((rng.standard_normal((1024, 1024)),), (), "large", grad=False),
        Sample((rng.standard_normal((0, 4)),), (), "empty"),
        Sample((rng.standard_normal(()),), (), "0-d"),
    ],
    sizes=(
        Size((MILLION,), why="1M"),
        Size((Operand(RAGGED, transposed=True),), why="ragged"),
        Size((Operand((4096, 4096), transposed=True),), why="16M", dtypes=(float32,)),
    ),
    peers={"numpy": "x.copy()", "torch": "x.clone(memory_format=torch.contiguous_format)"},
    dtypes=DTYPES,
    cost=_moved,
)
contiguous = CONTIGUOUS.call


# ---- concat -------------------------------------------------------------------------------------------------------


def _concat_infer(*specs: Any) -> Spec:
    *tensors, axis = specs
    if not tensors:
        raise ShapeError("concat: no tensors are given")
    first = tensors[0]
    at = normalize_axis("concat", axis, first.shape)
    for t in tensors:
        if (
            len(t.shape) != len(first.shape)
            or t.shape[:at] != first.shape[:at]
            or t.shape[at + 1 :] != first.shape[at + 1 :]
        ):
            raise ShapeError(f"concat: shapes differ outside axis {at}: {first.shape} and {t.shape}")
    return Spec((*first.shape[:at], sum(t.shape[at] for t in tensors), *first.shape[at + 1 :]), first.dtype)


def _concat_vjp(ctx: Any, dout: Any) -> tuple[Any, ...]:
    at, start, parts = ctx.attrs[0] % dout.ndim, 0, []
    whole = tuple((0, n, 1) for n in dout.shape[:at])
    for shape, needed in zip(ctx.shapes, ctx.needs, strict=True):
        parts.append(slice(dout, (*whole, (start, shape[at], 1))) if needed else None)
        start += shape[at]
    return tuple(parts)


def _concat_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(tuple(rng.standard_normal((3, n, 5)) for n in (2, 0, 7)), (1,), "an empty one among them")
    yield Sample((rng.standard_normal((33, 4)), rng.standard_normal((2, 4))), (0,), "rows")
    yield Sample((rng.standard_normal((6, 3)), rng.standard_normal((6, 4))), (-1,), "last axis")
    yield Sample((rng.standard_normal(5),), (0,), "one tensor")
    yield Sample((rng.standard_normal(2), np.arange(3)), (0,), "two dtypes")


CONCAT = Op(
    name="concat",
    doc="""The tensors one after another along `axis`: lengths may differ there, and nowhere else.

    Raises ShapeError where shapes differ elsewhere or no tensors are given.""",
    inputs="*tensors",
    attrs={"axis": 0},
    infer=_concat_infer,
    kernels={"cpu": "movement:concat", "cuda": "movement.copy:concat"},
    params=lambda *specs: (specs[-1] % len(specs[0].shape),),
    vjp=_concat_vjp,
    ref=lambda tensors, axis: np.concatenate(tensors, axis),
    samples=_concat_samples,
    sizes=(
        Size(((64, 64), (64, 64)), (1,), "small"),
        Size((MILLION, MILLION), (0,), "1M each"),
        Size(((1023, 517), (1023, 508)), (1,), "ragged"),
    ),
    peers={
        "numpy": "np.concatenate(tensors, axis)", "numpy out": "np.concatenate(tensors, axis, out=out)",
        "torch": "torch.cat(tensors, axis)", "torch out": "torch.cat(tensors, axis, out=out)",
    },
    errors=lambda: [
        Wrong((), (0,), ShapeError, "concat: no tensors are given"),
        Wrong(
            (np.zeros((2, 3)), np.zeros((2, 4))),
            (0,),
            ShapeError,
            "concat: shapes differ outside axis 0: (2, 3) and (2, 4)",
        ),
        Wrong((np.zeros(3),), (1,), IndexError, "concat: axis 1 is out of range for shape (3,)"),
    ],
    cost=lambda *specs: (0.0, 2.0 * sum(math.prod(s.shape) * s.dtype.itemsize for s in specs[:-1])),
)
concat = CONCAT.call


# ---- spelled with the rows above ----------------------------------------------------------------------------------


def transpose(x: Any, axis0: int = -2, axis1: int = -1) -> Any:
    """A view with two axes exchanged. Raises IndexError for an axis out of range."""
    order = list(range(x.ndim))
    a, b = (normalize_axis("transpose", axis, x.shape) for axis in (axis0, axis1))
    order[a], order[b] = order[b], order[a]
    return permute(x, tuple(order))


def unsqueeze(x: Any, axis: int) -> Any:
    """A view with a new axis of length 1 at ``axis`` (-1: behind the last). Raises IndexError for one out of range."""
    at = normalize_axis("unsqueeze", axis, (*x.shape, 1))
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """A view without its axes of length 1, or without those in ``axis``.

    Raises ShapeError where an axis named has another length.
    """
    given = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    dropped = {normalize_axis("squeeze", a, x.shape) for a in given}
    for a in dropped if axis is not None else ():
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of shape {x.shape} has length {x.shape[a]}, not 1")
    return reshape(x, tuple(n for d, n in enumerate(x.shape) if d not in dropped or n != 1))


def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Any:
    """The axes from ``start_axis`` to ``end_axis`` (included) made one; a view where strides allow."""
    if x.ndim == 0:
        return reshape(x, (1,))
    a, b = (normalize_axis("flatten", axis, x.shape) for axis in (start_axis, end_axis))
    if a > b:
        raise ShapeError(f"flatten: axis {start_axis} lies behind axis {end_axis} for shape {x.shape}")
    return reshape(x, (*x.shape[:a], math.prod(x.shape[a : b + 1]), *x.shape[b + 1 :]))


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """The tensors, all of one shape, along a new axis at ``axis``. Raises ShapeError where shapes differ."""
    for t in tensors:
        if t.shape != tensors[0].shape:
            raise ShapeError(f"stack: shapes differ: {tensors[0].shape} and {t.shape}")
    return concat([unsqueeze(t, axis) for t in tensors], axis)
