"""Elements found by index: take, gather, their adjoints, and the positions of true elements.

Indices are tensors of any integer dtype; negative ones count from the end. Kernels check them all before they write:
one out of range raises IndexError with its position and value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, FLOATS, DType, bool_, float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import REQUIRED, Op, Operand, Sample, Size, Spec, Wrong
from dlcore.ops._shape import broadcast_shapes, normalize_axis
from dlcore.ops._sizes import MILLION, RAGGED, library, on_gpu

__all__ = ["count_nonzero", "gather", "nonzero", "take"]

Shape = tuple[int, ...]


def check_indices(name: str, indices: Spec) -> None:
    """Raises DTypeError unless ``indices`` are integers."""
    if indices.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: indices are of dtype {indices.dtype.name}, not integers")


def _bytes(*specs: Spec) -> float:
    return float(sum(math.prod(s.shape) * s.dtype.itemsize for s in specs))


# ---- take ---------------------------------------------------------------------------------------------------------


def _take_shape(name: str, shape: Shape, indices: Spec, axis: int) -> Shape:
    at = normalize_axis(name, axis, shape)
    check_indices(name, indices)
    return (*shape[:at], *indices.shape, *shape[at + 1 :])


def _odd_rows(x: Spec, indices: Spec, axis: int) -> bool:
    """Whether the rows are short, whole units of 16 bytes, and not a power of two of them."""
    units, rest = divmod(math.prod(x.shape[axis % len(x.shape) + 1 :]) * x.dtype.itemsize, 16)
    return rest == 0 and units < 512 and units & (units - 1) != 0


def _take_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((10, 7)), rng.integers(-10, 10, 20)), (0,), "rows, some twice")
    yield Sample(
        (rng.standard_normal((3, 9)), rng.integers(0, 9, (2, 3)).astype(np.uint8)), (-1,), "last axis, uint8 indices"
    )
    yield Sample((rng.standard_normal((2, 5, 33)), rng.integers(0, 5, 4)), (1,), "middle axis")
    yield Sample((rng.standard_normal((4, 3)), np.array(2, np.int32)), (0,), "0-d indices")
    yield Sample((rng.standard_normal((4, 3)), np.zeros(0, np.int64)), (0,), "no indices")
    yield Sample((rng.standard_normal((6000, 784)), rng.integers(0, 6000, 128)), (0,), "a batch", grad=False)


TAKE = Op(
    name="take",
    doc="""The elements (rows) of `x` at `indices` along `axis`: out[..., i, ...] = x[..., indices[i], ...].

    x (A, N, B), indices of any shape I: the output has shape (A, I, B). The gradient adds up rows that were taken more
    than once, in the order of the indices.""",
    inputs="x indices",
    attrs={"axis": 0},
    infer=lambda x, indices, axis: Spec(_take_shape("take", x.shape, indices, axis), x.dtype),
    promote=None,
    kernels={"cpu": "movement:take", "cuda": [("movement.gather:take", _odd_rows), ("movement.take:take", None)]},
    params=lambda x, indices, axis: (axis % len(x.shape),),
    saves=("indices",),
    vjp=lambda ctx, dout: (take_backward(dout, ctx.saved[0], ctx.shapes[0], ctx.attrs[0]), None),
    ref=lambda x, indices, axis: np.take(x, indices.astype(np.int64), axis),
    samples=_take_samples,
    sizes=(
        Size(((65, 128), Operand((1024,), 0, 65, int64)), (0,), "an embedding"),
        Size(((6000, 784), Operand((128,), 0, 6000, int64)), (0,), "a batch of images"),
        Size((RAGGED, Operand((517,), 0, 1025, int64)), (1,), "ragged, columns"),
        on_gpu([(65536, 1024), Operand((32768,), 0, 65536, int64)], (0,)),
    ),
    peers={
        "numpy": "np.take(x, indices, axis)", "torch": "torch.index_select(x, axis, indices)",
        "torch out": "torch.index_select(x, axis, indices, out=out)",
        "jax": "jnp.take(x, indices, axis, mode='clip')",
    },
    errors=lambda: [
        Wrong(
            (np.zeros((5, 2)), np.array([0, 5])),
            (0,),
            IndexError,
            "take: index 5 at position 1 is out of range for axis 0 of length 5",
        ),
        Wrong(
            (np.zeros((5, 2)), np.array([0.0])), (0,), DTypeError, "take: indices are of dtype float64, not integers"
        ),
        Wrong((np.zeros((5, 2)), np.array([0])), (2,), IndexError, "take: axis 2 is out of range for shape (5, 2)"),
    ],
    dtypes=DTYPES,
    cost=lambda x, indices, axis: (
        0.0,
        2 * _bytes(Spec(_take_shape("take", x.shape, indices, axis), x.dtype)) + _bytes(indices),
    ),
)
take: Any = TAKE.call


def _take_backward_infer(dout: Spec, indices: Spec, shape: Shape, axis: int) -> Spec:
    if dout.shape != (want := _take_shape("take_backward", shape, indices, axis)):
        raise ShapeError(f"take_backward: dout has shape {dout.shape}, not {want}")
    return Spec(shape, dout.dtype)


def _take_backward_ref(dout: Any, indices: Any, shape: Shape, axis: int) -> Any:
    at = axis % len(shape)
    dx = np.zeros((shape[at], *shape[:at], *shape[at + 1 :]))
    if not dx.size:  # a GPU launches nothing then, and looks at no index
        return np.moveaxis(dx, 0, at)
    rows = np.moveaxis(dout.reshape(*shape[:at], indices.size, *shape[at + 1 :]), at, 0)
    np.add.at(dx, indices.astype(np.int64).ravel(), rows)
    return np.moveaxis(dx, 0, at)


def _take_backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for s in list(_take_samples(rng))[:-1]:
        out = np.take(s.inputs[0], s.inputs[1].astype(np.int64), s.attrs[0])
        yield Sample((rng.standard_normal(out.shape), s.inputs[1]), (s.inputs[0].shape, s.attrs[0]), s.why)
    yield Sample(
        (rng.standard_normal((3000, 64)), rng.integers(0, 65, 3000)),
        ((65, 64), 0),
        "an embedding",
        grad=False,
    )


TAKE_BACKWARD = Op(
    name="take_backward",
    doc="""The gradient of `take`: zeros of `shape`, to which each row of `dout` is added where it was taken.

    Sums are in float32 or wider and in the order of the indices.""",
    inputs="dout indices",
    attrs={"shape": REQUIRED, "axis": 0},
    infer=_take_backward_infer,
    promote=None,
    kernels={"cpu": "movement:take_backward", "cuda": "movement.accumulate:take_backward"},
    params=lambda dout, indices, shape, axis: (axis % len(shape),),
    saves=("indices",),
    vjp=lambda ctx, ddx: (take(ddx, ctx.saved[0], ctx.attrs[1]), None),
    ref=_take_backward_ref,
    samples=_take_backward_samples,
    sizes=(
        Size(((1024, 128), Operand((1024,), 0, 65, int64)), ((65, 128), 0), "an embedding"),
        Size(((1024, 256), Operand((1024,), 0, 16001, int64)), ((16001, 256), 0), "a vocabulary", (float32,)),
    ),
    peers={
        "torch": "dout.new_zeros(shape).index_add_(axis, indices, dout)",
        "torch embedding": "torch.ops.aten.embedding_dense_backward(dout, indices, shape[0], -1, False)",
        "jax": "jnp.zeros(shape, dout.dtype).at[indices].add(dout)",
    },
    errors=lambda: [
        Wrong(
            (np.zeros((2, 3)), np.array([0])),
            ((5, 3), 0),
            ShapeError,
            "take_backward: dout has shape (2, 3), not (1, 3)",
        ),
    ],
    ulp=16,  # about 50 terms a sum in the largest sample, one after the other
    magnitude=lambda dout, indices, shape, axis: _take_backward_ref(np.abs(dout), indices, shape, axis),
    cost=lambda dout, indices, shape, axis: (
        float(math.prod(dout.shape)),
        _bytes(dout, indices, Spec(shape, dout.dtype)),
    ),
)
take_backward: Any = TAKE_BACKWARD.call


# ---- gather -------------------------------------------------------------------------------------------------------


def _check_gather(name: str, shape: Shape, index: Spec, axis: int) -> None:
    at = normalize_axis(name, axis, shape)
    check_indices(name, index)
    fits = len(index.shape) == len(shape) and all(
        i <= n or d == at for d, (i, n) in enumerate(zip(index.shape, shape, strict=True))
    )
    if not fits:
        raise ShapeError(f"{name}: an index of shape {index.shape} does not fit shape {shape} along axis {at}")


def _gather_infer(x: Spec, index: Spec, axis: int) -> Spec:
    _check_gather("gather", x.shape, index, axis)
    return Spec(index.shape, x.dtype)


def _gather_backward_infer(dout: Spec, index: Spec, shape: Shape, axis: int) -> Spec:
    _check_gather("gather_backward", shape, index, axis)
    if dout.shape != index.shape:
        raise ShapeError(f"gather_backward: dout has shape {dout.shape}, not {index.shape}")
    return Spec(shape, dout.dtype)


def _gather_ref(x: Any, index: Any, axis: int) -> Any:
    at = axis % x.ndim
    box = tuple(slice(None) if d == at else slice(n) for d, n in enumerate(index.shape))
    return np.take_along_axis(x[box], index.astype(np.int64), at)


def _gather_backward_ref(dout: Any, index: Any, shape: Shape, axis: int) -> Any:
    dx = np.zeros(shape)
    places = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    places[axis % len(shape)] = index.astype(np.int64)
    np.add.at(dx, tuple(places), dout)
    return dx


def _gather_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((5, 7)), rng.integers(-7, 7, (5, 3))), (1,), "last axis")
    yield Sample((rng.standard_normal((5, 7)), rng.integers(0, 5, (9, 6))), (0,), "first axis, fewer columns")
    yield Sample(
        (rng.standard_normal((2, 4, 3)), rng.integers(0, 4, (2, 5, 3)).astype(np.int16)),
        (1,),
        "middle axis, int16 indices",
    )
    yield Sample((rng.standard_normal((3, 4)), np.zeros((0, 2), np.int64)), (0,), "no indices")
    yield Sample(
        (rng.standard_normal((4096, 100)), rng.integers(0, 100, (4096, 1))),
        (1,),
        "one of each row",
        grad=False,
    )


GATHER = Op(
    name="gather",
    doc="""The elements of `x` at `index` along `axis`, one for each element of `index`.

    For axis 0 of a matrix: out[i, j] = x[index[i, j], j]. `index` has as many axes as `x` and is no longer along the
    others (torch.gather, numpy.take_along_axis).""",
    inputs="x index",
    attrs={"axis": REQUIRED},
    infer=_gather_infer,
    promote=None,
    kernels={"cpu": "movement:gather", "cuda": "movement.take:gather"},
    params=lambda x, index, axis: (axis % len(x.shape),),
    saves=("index",),
    vjp=lambda ctx, dout: (gather_backward(dout, ctx.saved[0], ctx.shapes[0], ctx.attrs[0]), None),
    ref=_gather_ref,
    samples=_gather_samples,
    sizes=(
        Size(((4096, 1000), Operand((4096, 1), 0, 1000, int64)), (1,), "one of each row"),
        Size((RAGGED, Operand((1023, 517), 0, 1025, int64)), (1,), "ragged"),
    ),
    peers={
        "numpy": "np.take_along_axis(x, index, axis)", "torch": "torch.gather(x, axis, index)",
        "torch out": "torch.gather(x, axis, index, out=out)",
        "jax": "jnp.take_along_axis(x, index, axis, mode='clip')",
    },
    errors=lambda: [
        Wrong(
            (np.zeros((5, 2)), np.array([[0, -6]])),
            (0,),
            IndexError,
            "gather: index -6 at position 1 is out of range for axis 0 of length 5",
        ),
        Wrong(
            (np.zeros((5, 2)), np.array([[0, 1, 2]])),
            (0,),
            ShapeError,
            "gather: an index of shape (1, 3) does not fit shape (5, 2) along axis 0",
        ),
        Wrong(
            (np.zeros((5, 2)), np.array([0])),
            (0,),
            ShapeError,
            "gather: an index of shape (1,) does not fit shape (5, 2) along axis 0",
        ),
    ],
    dtypes=DTYPES,
    cost=lambda x, index, axis: (0.0, _bytes(index) + 2 * math.prod(index.shape) * x.dtype.itemsize),
)
gather: Any = GATHER.call


def _gather_backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for s in _gather_samples(rng):
        yield Sample(
            (rng.standard_normal(s.inputs[1].shape), s.inputs[1]), (s.inputs[0].shape, s.attrs[0]), s.why, s.grad
        )


GATHER_BACKWARD = Op(
    name="gather_backward",
    doc="""The gradient of `gather`: zeros of `shape`, to which each element of `dout` is added where it was taken.""",
    inputs="dout index",
    attrs={"shape": REQUIRED, "axis": REQUIRED},
    infer=_gather_backward_infer,
    promote=None,
    kernels={"cpu": "movement:gather_backward", "cuda": "movement.accumulate:gather_backward"},
    params=lambda dout, index, shape, axis: (axis % len(shape),),
    saves=("index",),
    vjp=lambda ctx, ddx: (gather(ddx, ctx.saved[0], ctx.attrs[1]), None),
    ref=_gather_backward_ref,
    samples=_gather_backward_samples,
    sizes=(
        Size(((4096, 1), Operand((4096, 1), 0, 1000, int64)), ((4096, 1000), 1), "one of each row"),
        Size(((1023, 517), Operand((1023, 517), 0, 1025, int64)), (RAGGED, 1), "ragged"),
    ),
    peers={
        "torch": "dout.new_zeros(shape).scatter_add_(axis, index, dout)",
        "jax": "jnp.zeros(shape, dout.dtype).at[jnp.arange(shape[0])[:, None], index].add(dout)",  # along axis 1
    },
    errors=lambda: [
        Wrong(
            (np.zeros((1, 3)), np.array([[0, 1]])),
            ((5, 2), 0),
            ShapeError,
            "gather_backward: dout has shape (1, 3), not (1, 2)",
        ),
    ],
    ulp=4,  # at most 9 terms a sum in the samples
    magnitude=lambda dout, index, shape, axis: _gather_backward_ref(np.abs(dout), index, shape, axis),
    cost=lambda dout, index, shape, axis: (float(math.prod(dout.shape)), _bytes(dout, index, Spec(shape, dout.dtype))),
)
gather_backward: Any = GATHER_BACKWARD.call


# ---- positions ----------------------------------------------------------------------------------------------------


def _ravel_infer(*specs: Any) -> Spec:
    *indices, shape = specs
    if not indices or len(indices) != len(shape):
        raise ShapeError(f"ravel_index: {len(indices)} indices for shape {shape}")
    return Spec(broadcast_shapes("ravel_index", *(i.shape for i in indices)), int64)


RAVEL_INDEX = Op(
    name="ravel_index",
    doc="""The row-major positions, in an array of `shape`, of coordinates given as one index tensor for each axis.

    The indices are broadcast; negative ones count from the end; one out of range raises IndexError.""",
    inputs="*indices",
    attrs={"shape": REQUIRED},
    infer=_ravel_infer,
    promote=lambda specs: (int64,) * len(specs),
    kernels={"cpu": "movement:ravel_index", "cuda": "movement.positions:ravel_index"},
    params=lambda *specs: specs[-1],
    ref=lambda indices, shape: np.ravel_multi_index(
        tuple(np.broadcast_arrays(*(i % n for i, n in zip(indices, shape, strict=True)))), shape
    ),
    samples=lambda rng: [
        Sample((rng.integers(-4, 4, (3, 1)), rng.integers(-5, 5, 6)), ((4, 5),), "broadcast"),
        Sample((rng.integers(0, 4, 3), rng.integers(0, 2, 3), rng.integers(0, 7, 3)), ((4, 2, 7),), "three axes"),
    ],
    errors=lambda: [
        Wrong(
            (np.array([0]), np.array([3])),
            ((2, 3),),
            IndexError,
            "getitem: index 3 at position 0 is out of range for axis 1 of length 3",
        ),
        Wrong((np.array([0]),), ((2, 3),), ShapeError, "ravel_index: 1 indices for shape (2, 3)"),
    ],
    sizes=(
        Size(tuple(Operand((8,), 0, n, int64) for n in RAGGED), (RAGGED,), "the cost of a call"),
        Size(tuple(Operand(MILLION, 0, n, int64) for n in RAGGED), (RAGGED,), "1M"),
    ),
    peers={"numpy": "np.ravel_multi_index(tuple(indices), shape)"},
    dtypes=FLOATS[2:3],
    cost=lambda *specs: (0.0, _bytes(*specs[:-1]) + 8.0 * math.prod(_ravel_infer(*specs).shape)),
)
ravel_index = RAVEL_INDEX.call


_MASKS = tuple((Operand(shape, dtype=bool_), why) for shape, why in (((64, 64), "small"), (MILLION, "1M")))


def _true(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    return (bool_,)


def _mask_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((rng.random((7, 9)) < 0.3,), (), "matrix"),
        Sample((rng.random(1000) < 0.5,), (), "vector"),
        Sample((np.zeros((3, 4), bool),), (), "nothing true"),
        Sample((np.array([0.0, -1.0, 2.0]),), (), "numbers"),
        Sample((np.zeros((0, 2), bool),), (), "empty"),
        Sample((np.zeros((3, 0), bool),), (), "empty, not in front"),
    ]


COUNT_NONZERO = Op(
    name="count_nonzero",
    doc="""The number of elements that are not zero (false), as a 0-d int64 tensor.""",
    inputs="x",
    infer=lambda x: Spec((), int64),
    promote=_true,
    kernels={"cpu": "movement:count_nonzero", "cuda": "movement.positions:count_nonzero"},
    ref=lambda x: np.int64(np.count_nonzero(x)),
    samples=_mask_samples,
    sizes=[Size((mask,), why=why, dtypes=(float32,)) for mask, why in _MASKS],
    peers=library("count_nonzero", out=()),
    dtypes=FLOATS,
    cost=lambda x: (float(math.prod(x.shape)), _bytes(x)),
)
count_nonzero = COUNT_NONZERO.call

NONZERO_SIZED = Op(
    name="nonzero_sized",
    doc="""The coordinates of the first `size` elements that are not zero, (size, ndim) int64, then zeros.

    What `nonzero` runs once it knows the number; with a `size` given it can be recorded.""",
    inputs="x",
    attrs={"size": REQUIRED},
    infer=lambda x, size: Spec((size, len(x.shape)), int64),
    promote=_true,
    kernels={"cpu": "movement:nonzero", "cuda": "movement.positions:nonzero"},
    ref=lambda x, size: np.concatenate([np.argwhere(x), np.zeros((size, x.ndim), np.int64)])[:size],
    samples=lambda rng: [Sample(s.inputs, (12,), s.why) for s in _mask_samples(rng)],
    sizes=[Size((mask,), (math.prod(mask.shape) // 2,), why, (float32,)) for mask, why in _MASKS],
    peers={
        "torch": "torch.nonzero_static(x, size=size, fill_value=0)",
        "jax": "jnp.argwhere(x, size=size, fill_value=0)",
    },
    dtypes=FLOATS,
    cost=lambda x, size: (0.0, _bytes(x) + 8.0 * size * len(x.shape)),
)
nonzero_sized = NONZERO_SIZED.call

NONZERO = Op(
    name="nonzero",
    doc="""The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64.

    The shape depends on values, so a step that calls it cannot be recorded.""",
    inputs="x",
    infer=lambda x: Spec((0, len(x.shape)), int64),
    promote=_true,
    composite=lambda x: nonzero_sized(x, int(count_nonzero(x).item())),
    ref=lambda x: np.argwhere(x),
    samples=lambda rng: [Sample(s.inputs, s.attrs, s.why, grad=False) for s in _mask_samples(rng)],
    sizes=[Size((mask,), why=why, dtypes=(float32,)) for mask, why in _MASKS],
    peers={"numpy": "np.argwhere(x)", "torch": "torch.nonzero(x)"},
    dtypes=FLOATS,
    dynamic=True,
    cost=lambda x: (0.0, _bytes(x)),
)
nonzero = NONZERO.call
