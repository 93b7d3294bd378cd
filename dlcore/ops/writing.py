"""Elements written or added where indices say, beside those that stay; and indices as coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from dlcore import _C
from dlcore.dtypes import float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Axis, ErrorInput, Input, Sample, Shape, Spec, Workload
from dlcore.ops._constants import positions
from dlcore.ops._workloads import RAGGED, bytes_of
from dlcore.ops.elementwise import add, floor_divide, remainder
from dlcore.ops.gather import (
    Indexed,
    check_gather,
    check_indices,
    gather,
    gather_backward,
    ravel_index,
    take,
    take_backward,
)
from dlcore.ops.movement import expand, reshape, stack
from dlcore.ops.scatter import put, put_backward

__all__ = ["coordinates", "index_add_rows", "scatter_onto"]


class Onto(Indexed):
    """An operation that changes elements of a copy of x. On a GPU it is made of others."""

    def family_kernels(self) -> dict[str, Any]:
        """For the CPU."""
        return {"cpu": f"movement:{self.name}", "cuda": []}


def _check_source(name: str, x: Spec, source: Spec, shape: tuple[int, ...]) -> None:
    if source.shape != shape:
        raise ShapeError(f"{name}: the source has shape {source.shape}, not {shape}")
    if source.dtype is not x.dtype:
        raise DTypeError(f"{name}: the source is of dtype {source.dtype.name}, x of {x.dtype.name}")


def places(index: Any, shape: tuple[int, ...], axis: int) -> Any:
    """The row-major positions in ``shape`` that ``index`` names along ``axis``."""
    grids = [
        index if d == axis else reshape(positions(n, index), (*[1] * d, n, *[1] * (index.ndim - 1 - d)))
        for d, n in enumerate(index.shape)
    ]
    return ravel_index(grids, shape)


def _composed(x: Any, index: Any, src: Any, axis: int, reduce: str) -> Any:
    if reduce == "add":
        return add(x, gather_backward(src, index, x.shape, axis))
    return put(x, places(index, x.shape, axis), src, x.ndim)


def _integers(shape: tuple[int, ...], low: int, high: int) -> Input:
    return Input(shape, low, high, int64)


def _scattered() -> Iterator[Sample]:
    for reduce in ("set", "add"):
        yield Sample((5, 7), _integers((5, 9), -7, 7), (5, 9), axis=1, reduce=reduce, why="last axis, some twice")
        yield Sample((5, 7), _integers((9, 6), 0, 5), (9, 6), axis=0, reduce=reduce, why="first axis, fewer columns")
        yield Sample((3, 4), np.zeros((0, 2), np.int64), (0, 2), axis=0, reduce=reduce, why="no indices", grad=False)
        yield Sample((999,), _integers((70_001,), -999, 999), (70_001,), axis=0, reduce=reduce, why="many", grad=False)
    yield Sample(np.array([1, 2, 3]), np.array([0, 0], np.int8), np.array([5, 6]), axis=0, reduce="add", why="integers")


@Onto.definition(
    composite=_composed, ulp=8, samples=_scattered,
    reference=lambda x, index, src, axis, reduce: _numpy_scatter(x, index, src, axis, reduce),
    magnitude=lambda x, index, src, axis, reduce: _numpy_scatter(np.abs(x), index, np.abs(src), axis, reduce),
    gradient={
        "x": lambda dout, index, axis, reduce: dout if reduce == "add" else scatter_onto(
            dout, index, expand(_C.full((), 0, dout.dtype, dout.device.code), index.shape), axis, "set"
        ),
        "src": lambda dout, index, axis, reduce: gather(dout, index, axis) if reduce == "add" else put_backward(
            dout, places(index, dout.shape, axis), dout.ndim
        ),
    },
    cost=lambda x, src: (float(math.prod(src.shape)), 2 * bytes_of(x, src) + 8 * math.prod(src.shape)),
    error_inputs=[
        ErrorInput(ShapeError, "scatter_onto: the source has shape (3,), not (2,)", np.zeros(5), np.array([0, 1]),
                   np.zeros(3), axis=0, reduce="set"),
    ],
    workloads=[
        Workload((RAGGED, _integers(RAGGED, 0, 1025), RAGGED), (1, reduce), f"ragged, {reduce}")
        for reduce in ("set", "add")
    ],
    baselines={
        "torch": "torch.scatter(x, axis, index, src) if reduce == 'set' else torch.scatter_add(x, axis, index, src)",
    },
)  # fmt: skip
def scatter_onto(x: Spec, index: Spec, src: Spec, axis: Axis, reduce: Literal["set", "add"]) -> Spec:
    """A copy of `x` in which the elements of `src` stand, or to which they are added, where `index` says along `axis`.

    For axis 0 of a matrix: out[index[i, j], j] = src[i, j]. Of equal indices the last wins; sums are in float32 or
    wider and in the order of the indices.
    """
    check_gather("scatter_onto", x.shape, index, axis)
    _check_source("scatter_onto", x, src, index.shape)
    if reduce == "add" and x.dtype.kind == "bool":
        raise DTypeError("scatter_onto: there are no sums of dtype bool")
    return Spec(x.shape, x.dtype)


def _numpy_scatter(x: Any, index: Any, src: Any, axis: int, reduce: str) -> Any:
    out = np.array(x)
    at = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    at[axis] = index.astype(np.int64)
    if reduce == "add":
        np.add.at(out, tuple(at), src)
    else:
        for place in np.ndindex(index.shape):
            out[(*place[:axis], int(index[place]), *place[axis + 1 :])] = src[place]
    return out


def _numpy_add(x: Any, index: Any, source: Any, axis: int) -> Any:
    out = np.array(x)
    np.add.at(out, (*[slice(None)] * axis, index.astype(np.int64)), source)
    return out


@Onto.definition(
    composite=lambda x, index, source, axis: add(x, take_backward(source, index, x.shape, axis)), ulp=8,
    batch=lambda call: NotImplemented if call.is_batched[1] else call.run(
        [call.full(0), call.values[1], call.full(2)], [call.attrs[0] + 1]
    ),
    kinds=("float", "int", "uint"), reference=_numpy_add,
    magnitude=lambda x, index, source, axis: _numpy_add(np.abs(x), index, np.abs(source), axis),
    gradient={"x": lambda dout: dout, "source": lambda dout, index, axis: take(dout, index, axis)},
    cost=lambda x, source: (float(math.prod(source.shape)), 2 * bytes_of(x, source)),
    samples=[
        Sample((6, 3), np.array([1, -1, 1]), (3, 3), axis=0, why="one row twice"),
        Sample((2, 5, 600), np.array([4, 0]), (2, 2, 600), axis=1, why="wide rows, middle axis"),
        Sample((3, 4), np.array([3, 3, 0], np.int16), (3, 3), axis=1, why="last axis"),
        Sample((2, 4), np.zeros(0, np.int64), (0, 4), axis=0, why="no indices", grad=False),
        Sample(np.array([1, 2]), np.array([0, 0]), np.array([5, 6]), axis=0, why="integers"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "index_add_rows: the source has shape (3,), not (2,)", np.zeros(5), np.array([0, 1]),
                   np.zeros(3), axis=0),
    ],
    workloads=[Workload((RAGGED, _integers((1023,), 0, 1023), RAGGED), (0,), "ragged")],
    baselines={"torch": "torch.index_add(x, axis, index, source)"},
)  # fmt: skip
def index_add_rows(x: Spec, index: Spec, source: Spec, axis: Axis) -> Spec:
    """A copy of `x` to which each row of `source` is added where `index`, a vector, says along `axis`.

    Sums are in float32 or wider and in the order of the indices.
    """
    check_indices("index_add_rows", index)
    _check_source("index_add_rows", x, source, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))
    return Spec(x.shape, x.dtype)


def _divided(indices: Any, shape: tuple[int, ...]) -> Any:
    rest, found = ravel_index([indices], (math.prod(shape),)), []
    for n in reversed(shape):
        found.append(remainder(rest, n))
        rest = floor_divide(rest, n)
    return stack(found[::-1], 0)


@Onto.definition(
    composite=_divided, dtypes=(float32,), params=lambda shape: shape,
    reference=lambda indices, shape: np.stack(np.unravel_index(indices.astype(np.int64) % math.prod(shape), shape)),
    cost=lambda indices, shape: (
        2.0 * len(shape) * math.prod(indices.shape), bytes_of(indices) + 8.0 * len(shape) * math.prod(indices.shape)
    ),
    samples=[
        Sample(_integers((3, 4), -30, 30), shape=(2, 3, 5), why="three axes"),
        Sample(_integers((7,), 0, 2**40), shape=(2**21, 3, 2**20), why="beyond 32 bits"),
        Sample(np.array(5, np.uint8), shape=(4, 8), why="0-d"), Sample(np.zeros(0, np.int64), shape=(3,), why="none"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "coordinates: a shape of no axes has no coordinates", np.array([0]), shape=()),
    ],
    workloads=[Workload((_integers((1 << 20,), 0, RAGGED[0] * RAGGED[1]),), (RAGGED,), "1M", (float32,))],
    baselines={"numpy": "np.unravel_index(indices, shape)", "torch": "torch.unravel_index(indices, shape)"},
)  # fmt: skip
def coordinates(indices: Spec, shape: Shape) -> Spec:
    """The coordinates, in an array of `shape`, of the elements whose row-major numbers are `indices`: int64, one row an
    axis.

    Negative numbers count from the end; one out of range raises IndexError.
    """
    check_indices("coordinates", indices)
    if not shape:
        raise ShapeError("coordinates: a shape of no axes has no coordinates")
    return Spec((len(shape), *indices.shape), int64)
