"""Elements found by index: take, gather, their adjoints, and the positions of true elements.

Indices are tensors of any integer dtype; negative ones count from the end. Kernels check them all before they write:
one out of range raises IndexError with its position and value.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean
from dlcore.dtypes import DTYPES, DType, bool_, float32, int16, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Axes, Axis, AxisOf, ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given, function
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of, on_gpu
from dlcore.ops.movement import permute, reshape
from dlcore.ops.slicing import slice as slice_view

__all__ = ["count_nonzero", "gather", "nonzero", "take"]

AxisOfShape = Annotated[int, AxisOf("shape")]

# ---- the families ---------------------------------------------------------------------------------------------------


def check_indices(name: str, indices: Spec) -> None:
    """Raises DTypeError unless ``indices`` are integers."""
    if indices.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: indices are of dtype {indices.dtype.name}, not integers")


class Indexed(Op):
    """An operation that moves elements to or from where indices say."""

    family = "movement"
    promote = staticmethod(as_given)


class Adjoint(Indexed):
    """The gradient of one that takes elements: zeros of `shape`, to which `dout` is added where they were taken."""

    outputs = "dx"
    kinds = ("float", "int", "uint")  # integers for index_add and scatter

    def magnitude(self, dout: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
        """Sums of absolute values."""
        return self.reference(np.abs(dout), indices, shape, axis)  # type: ignore[misc]

    def cost(self, dout: Spec, indices: Spec, shape: tuple[int, ...]) -> tuple[float, float]:
        """An addition for each element of `dout`."""
        return float(math.prod(dout.shape)), bytes_of(dout, indices, Spec(shape, dout.dtype))


indexed, adjoint = Indexed.definition, Adjoint.definition


def _integers(shape: tuple[int, ...], low: int, high: int, dtype: DType = int64) -> Input:
    return Input(shape, low, high, dtype)


# ---- take ---------------------------------------------------------------------------------------------------------


def _taken(shape: tuple[int, ...], indices: Any, axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *indices.shape, *shape[axis:][1:])


def _odd_rows(x: Spec, axis: int) -> bool:
    """Whether the rows are short, whole units of 16 bytes, and not a power of two of them."""
    units, rest = divmod(math.prod(x.shape[axis + 1 :]) * x.dtype.itemsize, 16)
    return rest == 0 and units < 512 and units & (units - 1) != 0


def _take_examples(call: Any) -> Any:
    """Of all examples (see dlcore/ops/_batching.py): rows of a longer table where both have their own."""
    (x, indices), (axis,) = call.values, call.attrs
    if not call.is_batched[1]:
        return take(x, indices, axis + 1)
    if not call.is_batched[0]:
        return _to_front(take(x, indices, axis), axis)
    rows = _to_front(x, axis + 1)  # (length, examples, ...)
    shape = rows.shape
    table = reshape(rows, (shape[0] * call.size, *shape[2:]))
    of = np.arange(call.size).reshape(-1, *[1] * (indices.ndim - 1))
    taken = take(table, ravel_index([indices, of], shape[:2]), 0)  # (examples, indices, ...)
    n = indices.ndim
    order = (0, *range(n, n + axis), *range(1, n), *range(n + axis, taken.ndim))
    return permute(taken, order)


def _to_front(x: Any, axis: int) -> Any:
    return permute(x, (axis, *(d for d in range(x.ndim) if d != axis)))


def _take_backward_examples(call: Any) -> Any:
    (dout, indices), (shape, axis) = call.values, call.attrs
    if not call.is_batched[1]:
        return take_backward(dout, indices, (call.size, *shape), axis + 1)
    n, whole = indices.ndim - 1, call.full(0)
    behind = 1 + axis + n
    rows = permute(whole, (0, *range(1 + axis, behind), *range(1, 1 + axis), *range(behind, whole.ndim)))
    others = (*shape[:axis], *shape[axis + 1 :])
    of = np.arange(call.size).reshape(-1, *[1] * n)
    places = ravel_index([of, indices], (call.size, shape[axis]))
    found = take_backward(rows, places, (call.size * shape[axis], *others), 0)
    table = reshape(found, (call.size, shape[axis], *others))
    return permute(table, (0, *range(2, 2 + axis), 1, *range(2 + axis, table.ndim)))


_TAKEN = [
    Sample((10, 7), _integers((20,), -10, 10), axis=0, why="rows, some twice"),
    Sample((3, 9), _integers((2, 3), 0, 9, uint8), axis=-1, why="last axis, uint8 indices"),
    Sample((2, 5, 33), _integers((4,), 0, 5), axis=1, why="middle axis"),
    Sample((4, 3), np.array(2, np.int32), axis=0, why="0-d indices"),
    Sample((4, 3), np.zeros(0, np.int64), axis=0, why="no indices"),
]


@indexed(
    kernels={"cuda": [("movement.gather:take", _odd_rows), ("movement.take:take", None)]}, dtypes=DTYPES, methods=True,
    batch=_take_examples,
    gradient=lambda dout, x_shape, indices, axis: take_backward(dout, indices, x_shape, axis),
    reference=lambda x, indices, axis: np.take(x, indices.astype(np.int64), axis),
    cost=lambda x, indices, axis: (
        0.0, 2 * bytes_of(Spec(_taken(x.shape, indices, axis), x.dtype)) + bytes_of(indices)
    ),
    samples=[*_TAKEN, Sample((6000, 784), _integers((128,), 0, 6000), axis=0, why="a batch", grad=False)],
    error_inputs=[
        ErrorInput(IndexError, "take: index 5 at position 1 is out of range for axis 0 of length 5",
                   np.zeros((5, 2)), np.array([0, 5])),
        ErrorInput(DTypeError, "take: indices are of dtype float64, not integers", np.zeros((5, 2)), np.array([0.0])),
    ],
    workloads=[
        Workload(((65, 128), _integers((1024,), 0, 65)), (0,), "an embedding"),
        Workload(((6000, 784), _integers((128,), 0, 6000)), (0,), "a batch of images"),
        Workload((RAGGED, _integers((517,), 0, 1025)), (1,), "ragged, columns"),
        on_gpu([(65536, 1024), _integers((32768,), 0, 65536)], (0,)),
    ],
    baselines={
        "numpy": "np.take(x, indices, axis)", "torch": "torch.index_select(x, axis, indices)",
        "torch out": "torch.index_select(x, axis, indices, out=out)",
        "jax": "jnp.take(x, indices, axis, mode='clip')",
    },
)  # fmt: skip
def take(x: Spec, indices: Spec, axis: Axis = 0) -> Spec:
    """The elements (rows) of `x` at `indices` along `axis`: out[..., i, ...] = x[..., indices[i], ...].

    x (A, N, B), indices of any shape I: the output has shape (A, I, B). The gradient adds up rows that were taken more
    than once, in the order of the indices.

    >>> dl.take(dl.tensor([10, 20, 30]), dl.tensor([2, 0]))
    tensor([30, 10])
    """
    check_indices("take", indices)
    return Spec(_taken(x.shape, indices, axis), x.dtype)


@adjoint(
    batch=_take_backward_examples,
    kernels={"cuda": "movement.accumulate:take_backward"}, gradient=lambda ddx, indices, axis: take(ddx, indices, axis),
    ulp=16,  # about 50 terms a sum in the largest sample, one after the other
    samples=[
        *(s.but(_taken(s.inputs[0], s.inputs[1], s.attrs["axis"]), s.inputs[1], shape=s.inputs[0]) for s in _TAKEN),
        Sample((3000, 64), _integers((3000,), 0, 65), shape=(65, 64), axis=0, why="an embedding", grad=False),
        Sample(np.arange(6).reshape(3, 2), np.array([1, 1, -1]), shape=(4, 2), axis=0, why="integers"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "take_backward: dout has shape (2, 3), not (1, 3)", np.zeros((2, 3)), np.array([0]),
                   shape=(5, 3)),
    ],
    workloads=[
        Workload(((1024, 128), _integers((1024,), 0, 65)), ((65, 128), 0), "an embedding"),
        Workload(((1024, 256), _integers((1024,), 0, 16001)), ((16001, 256), 0), "a vocabulary", (float32,)),
    ],
    baselines={
        "torch": "dout.new_zeros(shape).index_add_(axis, indices, dout)",
        "torch embedding": "torch.ops.aten.embedding_dense_backward(dout, indices, shape[0], -1, False)",
        "jax": "jnp.zeros(shape, dout.dtype).at[indices].add(dout)",
    },
)  # fmt: skip
def take_backward(dout: Spec, indices: Spec, shape: Shape, axis: AxisOfShape = 0) -> Spec:
    """The gradient of `take`: zeros of `shape`, to which each row of `dout` is added where it was taken.

    Sums are in float32 or wider and in the order of the indices.
    """
    check_indices("take_backward", indices)
    if dout.shape != (want := _taken(shape, indices, axis)):
        raise ShapeError(f"take_backward: dout has shape {dout.shape}, not {want}")
    return Spec(shape, dout.dtype)


@take_backward.reference
def _(dout: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    dx = np.zeros((shape[axis], *shape[:axis], *shape[axis + 1 :]))
    if dx.size:  # else a GPU launches nothing, and looks at no index
        rows = np.moveaxis(dout.reshape(*shape[:axis], indices.size, *shape[axis + 1 :]), axis, 0)
        np.add.at(dx, indices.astype(np.int64).ravel(), rows)
    return np.moveaxis(dx, 0, axis)


# ---- gather -------------------------------------------------------------------------------------------------------


def check_gather(name: str, shape: tuple[int, ...], index: Spec, axis: int) -> None:
    """Raises ShapeError where an index does not fit what is gathered from, along the other axes."""
    check_indices(name, index)
    fits = len(index.shape) == len(shape) and all(
        i <= n or d == axis for d, (i, n) in enumerate(zip(index.shape, shape, strict=True))
    )
    if not fits:
        raise ShapeError(f"{name}: an index of shape {index.shape} does not fit shape {shape} along axis {axis}")


GATHERED = [
    Sample((5, 7), _integers((5, 3), -7, 7), axis=1, why="last axis"),
    Sample((5, 7), _integers((9, 6), 0, 5), axis=0, why="first axis, fewer columns"),
    Sample((2, 4, 3), _integers((2, 5, 3), 0, 4, int16), axis=1, why="middle axis, int16 indices"),
    Sample((3, 4), np.zeros((0, 2), np.int64), axis=0, why="no indices"),
    Sample((3, 4), np.zeros((2, 0), np.int64), axis=1, why="no indices in a row"),
    Sample((4096, 100), _integers((4096, 1), 0, 100), axis=1, why="one of each row", grad=False),
]


@indexed(
    kernels={"cuda": "movement.take:gather"}, dtypes=DTYPES, methods=True,
    gradient=lambda dout, x_shape, index, axis: gather_backward(dout, index, x_shape, axis),
    cost=lambda x, index: (0.0, bytes_of(index) + 2 * math.prod(index.shape) * x.dtype.itemsize),
    samples=GATHERED,
    error_inputs=[
        ErrorInput(IndexError, "gather: index -6 at position 1 is out of range for axis 0 of length 5",
                   np.zeros((5, 2)), np.array([[0, -6]]), axis=0),
        ErrorInput(ShapeError, "gather: an index of shape (1, 3) does not fit shape (5, 2) along axis 0",
                   np.zeros((5, 2)), np.array([[0, 1, 2]]), axis=0),
        ErrorInput(ShapeError, "gather: an index of shape (1,) does not fit shape (5, 2) along axis 0",
                   np.zeros((5, 2)), np.array([0]), axis=0),
    ],
    workloads=[
        Workload(((4096, 1000), _integers((4096, 1), 0, 1000)), (1,), "one of each row"),
        Workload((RAGGED, _integers((1023, 517), 0, 1025)), (1,), "ragged"),
    ],
    baselines={
        "numpy": "np.take_along_axis(x, index, axis)", "torch": "torch.gather(x, axis, index)",
        "torch out": "torch.gather(x, axis, index, out=out)",
        "jax": "jnp.take_along_axis(x, index, axis, mode='clip')",
    },
)  # fmt: skip
def gather(x: Spec, index: Spec, axis: Axis) -> Spec:
    """The elements of `x` at `index` along `axis`, one for each element of `index`.

    For axis 0 of a matrix: out[i, j] = x[index[i, j], j]. `index` has as many axes as `x` and is no longer along the
    others (torch.gather, numpy.take_along_axis).

    >>> dl.gather(dl.tensor([[1, 2], [3, 4]]), dl.tensor([[1], [0]]), axis=1)
    tensor([[2],
            [3]])
    """
    check_gather("gather", x.shape, index, axis)
    return Spec(index.shape, x.dtype)


@gather.otherwise
def _(x: Any, dim: int, index: Any) -> Any:
    """PyTorch's order."""
    return gather(x, index, dim) if isinstance(dim, int) and isinstance(index, _C.TensorBase) else NotImplemented


@gather.reference
def _(x: Any, index: Any, axis: int) -> Any:
    box = tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(index.shape))
    return np.take_along_axis(x[box], index.astype(np.int64), axis)


@adjoint(
    kernels={"cuda": "movement.accumulate:gather_backward"},
    gradient=lambda ddx, indices, axis: gather(ddx, indices, axis),
    ulp=4,  # at most 9 terms a sum in the samples
    samples=[
        *(s.but(s.inputs[1].shape, s.inputs[1], shape=s.inputs[0]) for s in GATHERED),
        Sample(np.array([5, -2, 7], np.int32), np.array([1, 1, 0]), shape=(3,), axis=0, why="integers"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "gather_backward: dout has shape (1, 3), not (1, 2)", np.zeros((1, 3)),
                   np.array([[0, 1]]), shape=(5, 2), axis=0),
    ],
    workloads=[
        Workload(((4096, 1), _integers((4096, 1), 0, 1000)), ((4096, 1000), 1), "one of each row"),
        Workload(((1023, 517), _integers((1023, 517), 0, 1025)), (RAGGED, 1), "ragged"),
    ],
    baselines={
        "torch": "dout.new_zeros(shape).scatter_add_(axis, indices, dout)",
        "jax": "jnp.zeros(shape, dout.dtype).at[jnp.arange(shape[0])[:, None], indices].add(dout)",  # along axis 1
    },
)  # fmt: skip
def gather_backward(dout: Spec, indices: Spec, shape: Shape, axis: AxisOfShape) -> Spec:
    """The gradient of `gather`: zeros of `shape`, to which each element of `dout` is added where it was taken."""
    check_gather("gather_backward", shape, indices, axis)
    if dout.shape != indices.shape:
        raise ShapeError(f"gather_backward: dout has shape {dout.shape}, not {indices.shape}")
    return Spec(shape, dout.dtype)


@gather_backward.reference
def _(dout: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    dx = np.zeros(shape)
    places = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    places[axis] = indices.astype(np.int64)
    np.add.at(dx, tuple(places), dout)
    return dx


# ---- positions ----------------------------------------------------------------------------------------------------


@indexed(
    batching="pointwise", kernels={"cuda": "movement.positions:ravel_index"},
    promote=lambda specs: [int64] * len(specs), dtypes=(float32,),
    params=lambda shape: shape,
    reference=lambda indices, shape: np.ravel_multi_index(
        tuple(np.broadcast_arrays(*(i % n for i, n in zip(indices, shape, strict=True)))), shape
    ),
    cost=lambda indices: (
        0.0, bytes_of(*indices) + 8.0 * math.prod(broadcast_shapes("cost", *(i.shape for i in indices)))
    ),
    samples=[
        Sample([_integers((3, 1), -4, 4), _integers((6,), -5, 5)], shape=(4, 5), why="broadcast"),
        Sample([_integers((3,), 0, n) for n in (4, 2, 7)], shape=(4, 2, 7), why="three axes"),
    ],
    error_inputs=[
        ErrorInput(IndexError, "getitem: index 3 at position 0 is out of range for axis 1 of length 3",
                   [np.array([0]), np.array([3])], shape=(2, 3)),
        ErrorInput(ShapeError, "ravel_index: 1 indices for shape (2, 3)", [np.array([0])], shape=(2, 3)),
    ],
    workloads=[
        Workload(([_integers((8,), 0, n) for n in RAGGED],), (RAGGED,), "the cost of a call"),
        Workload(([_integers(MILLION, 0, n) for n in RAGGED],), (RAGGED,), "1M"),
    ],
    baselines={"numpy": "np.ravel_multi_index(tuple(indices), shape)"},
)  # fmt: skip
def ravel_index(indices: list[Spec], shape: Shape) -> Spec:
    """The row-major positions, in an array of `shape`, of coordinates given as one index tensor for each axis.

    The indices are broadcast; negative ones count from the end; one out of range raises IndexError.
    """
    if not indices or len(indices) != len(shape):
        raise ShapeError(f"ravel_index: {len(indices)} indices for shape {shape}")
    return Spec(broadcast_shapes("ravel_index", *(i.shape for i in indices)), int64)


class OfMask(Indexed):
    """An operation on where the elements of `x` are not zero."""

    promote = staticmethod(lambda specs: [bool_])


_of_mask = OfMask.definition

_MASKS = [
    Sample(Input((7, 9), draw=lambda rng: rng.random((7, 9)) < 0.3), why="matrix", grad=False),
    Sample(Input((1000,), dtype=bool_), why="vector", grad=False),
    Sample(np.zeros((3, 4), bool), why="nothing true", grad=False),
    Sample(np.array([0.0, -1.0, 2.0]), why="numbers", grad=False),
    Sample(np.zeros((0, 2), bool), why="empty", grad=False),
    Sample(np.zeros((3, 0), bool), why="empty, not in front", grad=False),
    Sample(Input((7, 100, 120), draw=lambda rng: rng.random((7, 100, 120)) < 0.3), why="several chunks", grad=False),
]
_TIMED = [
    Workload((Input(shape, dtype=bool_),), (), why, (float32,)) for shape, why in (((64, 64), "small"), (MILLION, "1M"))
]


def _counts_all(x: Spec, axis: tuple[int, ...], keepdims: bool) -> bool:
    return len(axis) == len(x.shape) and not keepdims


@_of_mask(
    kernels={
        "cpu": [("movement:count_nonzero", _counts_all)], "cuda": [("movement.positions:count_nonzero", _counts_all)],
    },
    params=lambda: (), composite=lambda x, axis, keepdims: function("sum")(x, axis, keepdims), methods=True,
    samples=[
        *_MASKS, Sample(_MASKS[0].inputs[0], axis=1, why="rows", grad=False),
        Sample((4, 5, 6), axis=(0, 2), keepdims=True, why="numbers, axes apart, kept", grad=False),
    ],
    workloads=_TIMED,
    reference=lambda x, axis, keepdims: np.sum(x != 0, axis=axis, keepdims=keepdims, dtype=np.int64),
    cost=lambda x: (float(math.prod(x.shape)), bytes_of(x)),
    baselines={
        "numpy": "np.count_nonzero(x, axis, keepdims=keepdims)", "torch": "torch.count_nonzero(x, axis)",
        "jax": "jnp.count_nonzero(x, axis, keepdims=keepdims)",
    },
)  # fmt: skip
def count_nonzero(x: Spec, axis: Axes = None, keepdims: bool = False) -> Spec:
    """The number of elements along `axis` that are not zero (false), as int64; NaN is not zero.

    Raises IndexError for an axis out of range, ShapeError for one given twice.

    >>> dl.count_nonzero(dl.tensor([[1, 0], [2, 3]]), axis=0)
    tensor([2, 1])
    """
    return Spec(tuple(1 if d in axis else n for d, n in enumerate(x.shape) if keepdims or d not in axis), int64)


@_of_mask(
    kernels={"cpu": "movement:nonzero", "cuda": "movement.positions:nonzero"},
    reference=lambda x, size: np.concatenate([np.argwhere(x), np.zeros((size, x.ndim), np.int64)])[:size],
    cost=lambda x, size: (0.0, bytes_of(x) + 8.0 * size * len(x.shape)),
    samples=[s.but(size=12) for s in _MASKS],
    workloads=[w._replace(attrs=(math.prod(w.operands[0].shape) // 2,)) for w in _TIMED],
    baselines={
        "torch": "torch.nonzero_static(x, size=size, fill_value=0)",
        "jax": "jnp.argwhere(x, size=size, fill_value=0)",
    },
)  # fmt: skip
def nonzero_sized(x: Spec, size: int) -> Spec:
    """The coordinates of the first `size` elements that are not zero, (size, ndim) int64, then zeros.

    What `nonzero` runs once it knows the number; with a `size` given it can be recorded.
    """
    return Spec((size, len(x.shape)), int64)


def _nonzero(x: Any) -> Any:
    found = _C.true_positions(x)
    return nonzero_sized(x, int(count_nonzero(x).item())) if found is None else found


@_of_mask(
    family="", dynamic=True, methods=True, composite=_nonzero,
    reference=lambda x: np.argwhere(x), cost=lambda x: (0.0, bytes_of(x)), samples=_MASKS, workloads=_TIMED,
    baselines={"numpy": "np.argwhere(x)", "torch": "torch.nonzero(x)"},
)  # fmt: skip
def nonzero(x: Spec) -> Spec:
    """The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64.

    The shape depends on values, so a step that calls it cannot be recorded.

    >>> dl.nonzero(dl.tensor([[1, 0], [0, 2]]))
    tensor([[0, 0],
            [1, 1]])
    """
    return Spec((0, len(x.shape)), int64)


@nonzero.otherwise
def _(x: Any, *, as_tuple: bool) -> Any | tuple[Any, ...]:
    """PyTorch's ``as_tuple``: the coordinates along each axis, as NumPy has them: an index."""
    places = nonzero(x)
    if not boolean(as_tuple, "nonzero: as_tuple"):
        return places
    return tuple(slice_view(places, ((0, places.shape[0], 1), axis)) for axis in range(places.shape[1]))
