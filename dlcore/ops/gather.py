"""Elements found by index: take, gather, their adjoints, and the positions of true elements.

Indices are tensors of any integer dtype; negative ones count from the end. Kernels check them all before they write:
one out of range raises IndexError with its position and value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import DTYPES, FLOATS, DType, bool_, float32, int16, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Axis, AxisOf, ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of, library, on_gpu

__all__ = ["count_nonzero", "gather", "nonzero", "take"]

AxisOfShape = Annotated[int, AxisOf("shape")]

# ---- the family -----------------------------------------------------------------------------------------------------


def check_indices(name: str, indices: Spec) -> None:
    """Raises DTypeError unless ``indices`` are integers."""
    if indices.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: indices are of dtype {indices.dtype.name}, not integers")


class Indexed(Op):
    """An operation that moves elements to or from where indices say."""

    family = "movement"
    promote = staticmethod(as_given)


indexed = Indexed.definition


def _integers(shape: tuple[int, ...], low: int, high: int, dtype: DType = int64) -> Input:
    return Input(shape, low, high, dtype)


# ---- take ---------------------------------------------------------------------------------------------------------


def _taken(shape: tuple[int, ...], indices: Spec, axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *indices.shape, *shape[axis + 1 :])


def _odd_rows(x: Spec, axis: int) -> bool:
    """Whether the rows are short, whole units of 16 bytes, and not a power of two of them."""
    units, rest = divmod(math.prod(x.shape[axis + 1 :]) * x.dtype.itemsize, 16)
    return rest == 0 and units < 512 and units & (units - 1) != 0


# (shape, indices, axis, why)
_TAKEN = (
    ((10, 7), _integers((20,), -10, 10), 0, "rows, some twice"),
    ((3, 9), _integers((2, 3), 0, 9, uint8), -1, "last axis, uint8 indices"),
    ((2, 5, 33), _integers((4,), 0, 5), 1, "middle axis"),
    ((4, 3), np.array(2, np.int32), 0, "0-d indices"),
    ((4, 3), np.zeros(0, np.int64), 0, "no indices"),
)


@indexed(
    kernels={"cuda": [("movement.gather:take", _odd_rows), ("movement.take:take", None)]}, dtypes=DTYPES, methods=True,
    gradient=lambda dout, x_shape, indices, axis: take_backward(dout, indices, x_shape, axis),
    reference=lambda x, indices, axis: np.take(x, indices.astype(np.int64), axis),
    cost=lambda x, indices, axis: (
        0.0, 2 * bytes_of(Spec(_taken(x.shape, indices, axis), x.dtype)) + bytes_of(indices)
    ),
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
    """
    check_indices("take", indices)
    return Spec(_taken(x.shape, indices, axis), x.dtype)


@take.samples
def _() -> Iterator[Sample]:
    for shape, indices, axis, why in _TAKEN:
        yield Sample(shape, indices, axis=axis, why=why)
    yield Sample((6000, 784), _integers((128,), 0, 6000), axis=0, why="a batch", grad=False)


def _numpy_take_backward(dout: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    dx = np.zeros((shape[axis], *shape[:axis], *shape[axis + 1 :]))
    if dx.size:  # a GPU launches nothing else, and looks at no index
        rows = np.moveaxis(dout.reshape(*shape[:axis], indices.size, *shape[axis + 1 :]), axis, 0)
        np.add.at(dx, indices.astype(np.int64).ravel(), rows)
    return np.moveaxis(dx, 0, axis)


@indexed(
    kernels={"cuda": "movement.accumulate:take_backward"}, outputs="dx", reference=_numpy_take_backward,
    gradient=lambda ddx, indices, axis: take(ddx, indices, axis),
    ulp=16,  # about 50 terms a sum in the largest sample, one after the other
    magnitude=lambda dout, indices, shape, axis: _numpy_take_backward(np.abs(dout), indices, shape, axis),
    cost=lambda dout, indices, shape: (
        float(math.prod(dout.shape)), bytes_of(dout, indices, Spec(shape, dout.dtype))
    ),
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


@take_backward.samples
def _() -> Iterator[Sample]:
    for shape, indices, axis, why in _TAKEN:
        out = _taken(shape, Spec(indices.shape, int64), axis % len(shape))
        yield Sample(out, indices, shape=shape, axis=axis, why=why)
    yield Sample((3000, 64), _integers((3000,), 0, 65), shape=(65, 64), axis=0, why="an embedding", grad=False)


# ---- gather -------------------------------------------------------------------------------------------------------


def _check_gather(name: str, shape: tuple[int, ...], index: Spec, axis: int) -> None:
    check_indices(name, index)
    fits = len(index.shape) == len(shape) and all(
        i <= n or d == axis for d, (i, n) in enumerate(zip(index.shape, shape, strict=True))
    )
    if not fits:
        raise ShapeError(f"{name}: an index of shape {index.shape} does not fit shape {shape} along axis {axis}")


# (shape, index, axis, why, whether a gradient is worth its time)
_GATHERED = (
    ((5, 7), _integers((5, 3), -7, 7), 1, "last axis", True),
    ((5, 7), _integers((9, 6), 0, 5), 0, "first axis, fewer columns", True),
    ((2, 4, 3), _integers((2, 5, 3), 0, 4, int16), 1, "middle axis, int16 indices", True),
    ((3, 4), np.zeros((0, 2), np.int64), 0, "no indices", True),
    ((4096, 100), _integers((4096, 1), 0, 100), 1, "one of each row", False),
)


@indexed(
    kernels={"cuda": "movement.take:gather"}, dtypes=DTYPES, methods=True,
    gradient=lambda dout, x_shape, index, axis: gather_backward(dout, index, x_shape, axis),
    cost=lambda x, index: (0.0, bytes_of(index) + 2 * math.prod(index.shape) * x.dtype.itemsize),
    samples=[Sample(shape, index, axis=axis, why=why, grad=grad) for shape, index, axis, why, grad in _GATHERED],
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
    """
    _check_gather("gather", x.shape, index, axis)
    return Spec(index.shape, x.dtype)


@gather.reference
def _(x: Any, index: Any, axis: int) -> Any:
    box = tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(index.shape))
    return np.take_along_axis(x[box], index.astype(np.int64), axis)


def _numpy_gather_backward(dout: Any, index: Any, shape: tuple[int, ...], axis: int) -> Any:
    dx = np.zeros(shape)
    places = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    places[axis] = index.astype(np.int64)
    np.add.at(dx, tuple(places), dout)
    return dx


@indexed(
    kernels={"cuda": "movement.accumulate:gather_backward"}, outputs="dx", reference=_numpy_gather_backward,
    gradient=lambda ddx, index, axis: gather(ddx, index, axis),
    ulp=4,  # at most 9 terms a sum in the samples
    magnitude=lambda dout, index, shape, axis: _numpy_gather_backward(np.abs(dout), index, shape, axis),
    cost=lambda dout, index, shape: (float(math.prod(dout.shape)), bytes_of(dout, index, Spec(shape, dout.dtype))),
    samples=[
        Sample(index.shape, index, shape=shape, axis=axis, why=why, grad=grad)
        for shape, index, axis, why, grad in _GATHERED
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
        "torch": "dout.new_zeros(shape).scatter_add_(axis, index, dout)",
        "jax": "jnp.zeros(shape, dout.dtype).at[jnp.arange(shape[0])[:, None], index].add(dout)",  # along axis 1
    },
)  # fmt: skip
def gather_backward(dout: Spec, index: Spec, shape: Shape, axis: AxisOfShape) -> Spec:
    """The gradient of `gather`: zeros of `shape`, to which each element of `dout` is added where it was taken."""
    _check_gather("gather_backward", shape, index, axis)
    if dout.shape != index.shape:
        raise ShapeError(f"gather_backward: dout has shape {dout.shape}, not {index.shape}")
    return Spec(shape, dout.dtype)


# ---- positions ----------------------------------------------------------------------------------------------------


@indexed(
    kernels={"cuda": "movement.positions:ravel_index"}, promote=lambda specs: [int64] * len(specs), dtypes=(float32,),
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
    dtypes = FLOATS
    attrs: Mapping[str, Any] = {}
    """Of the samples."""

    def family_samples(self) -> Iterator[Sample]:
        def mask(shape: tuple[int, ...], p: float) -> Input:
            return Input(shape, dtype=bool_, draw=lambda rng: rng.random(shape) < p)

        inputs = (
            (mask((7, 9), 0.3), "matrix"), (mask((1000,), 0.5), "vector"), (np.zeros((3, 4), bool), "nothing true"),
            (np.array([0.0, -1.0, 2.0]), "numbers"), (np.zeros((0, 2), bool), "empty"),
            (np.zeros((3, 0), bool), "empty, not in front"),
        )  # fmt: skip
        for x, why in inputs:
            yield Sample(x, why=why, grad=not self.dynamic, **self.attrs)

    def family_workloads(self) -> list[Workload]:
        return [Workload((mask,), why=why, dtypes=(float32,)) for mask, why in _MASKS]


_MASKS = tuple((Input(shape, dtype=bool_), why) for shape, why in (((64, 64), "small"), (MILLION, "1M")))
_of_mask = OfMask.definition


@_of_mask(
    kernels={"cuda": "movement.positions:count_nonzero"}, methods=True,
    reference=lambda x: np.int64(np.count_nonzero(x)),
    cost=lambda x: (float(math.prod(x.shape)), bytes_of(x)), baselines=library("count_nonzero", out=()),
)  # fmt: skip
def count_nonzero(x: Spec) -> Spec:
    """The number of elements that are not zero (false), as a 0-d int64 tensor."""
    return Spec((), int64)


@_of_mask(
    kernels={"cpu": "movement:nonzero", "cuda": "movement.positions:nonzero"}, attrs={"size": 12},
    reference=lambda x, size: np.concatenate([np.argwhere(x), np.zeros((size, x.ndim), np.int64)])[:size],
    cost=lambda x, size: (0.0, bytes_of(x) + 8.0 * size * len(x.shape)),
    workloads=[Workload((mask,), (math.prod(mask.shape) // 2,), why, (float32,)) for mask, why in _MASKS],
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


@_of_mask(
    family="", dynamic=True, methods=True, composite=lambda x: nonzero_sized(x, int(count_nonzero(x).item())),
    reference=lambda x: np.argwhere(x), cost=lambda x: (0.0, bytes_of(x)),
    baselines={"numpy": "np.argwhere(x)", "torch": "torch.nonzero(x)"},
)  # fmt: skip
def nonzero(x: Spec) -> Spec:
    """The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64.

    The shape depends on values, so a step that calls it cannot be recorded.
    """
    return Spec((0, len(x.shape)), int64)
