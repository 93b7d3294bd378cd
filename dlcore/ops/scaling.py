"""Batches of data as models take them: rows found by index, shifted and scaled on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DType, bool_, float32, float64, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload, operation
from dlcore.ops._workloads import RAGGED, bytes_of
from dlcore.ops.elementwise import cast
from dlcore.ops.gather import check_indices, take
from dlcore.ops.movement import reshape

__all__ = ["take_scaled"]


def _wide(dtype: DType) -> DType:
    """What arithmetic is done in."""
    return float64 if dtype is float64 else float32


def _promote(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    x, _, _, index = specs
    assert x is not None  # a required operand
    return [x.dtype, _wide(x.dtype), _wide(x.dtype), None if index is None else index.dtype]


def _rows(x: Spec, index: Spec | None) -> Spec:
    return Spec(x.shape if index is None else (*index.shape, *x.shape[1:]), x.dtype)


def _taken(x: Spec, index: Spec | None) -> Spec:
    return Spec(_rows(x, index).shape, x.dtype if x.dtype.is_float else float32)


def _batch(rows: int, features: int, batch: int) -> tuple[Input, ...]:
    """Some rows of a matrix of bytes, with one mean and one scale."""
    number = (Input((), v, v, float32) for v in (33.3, 0.013))
    return Input((rows, features), 0, 256, uint8), *number, Input((batch,), 0, rows, int64)


@operation(
    family="movement", kernels={"cuda": "movement.scaled:scaled"}, promote=_promote, ulp=1.5,  # two roundings
    cost=lambda x, index: (
        2.0 * math.prod(_taken(x, index).shape), bytes_of(_rows(x, index), _taken(x, index), index)
    ),
    workloads=[
        Workload(_batch(1797, 64, 64), (), "a batch of model a", (float32,)),
        Workload(_batch(6000, 784, 128), (), "a batch of model b", (float32,)),
        Workload((RAGGED, RAGGED[1:], RAGGED[1:], None), (), "ragged, all rows, features", (float32,)),
    ],
    baselines={
        "torch": "torch.sub(x if index is None else torch.index_select(x, 0, index), offset).mul_(scale)",
        "jax": "((x if index is None else jnp.take(x, index, 0, mode='clip')) - offset) * scale",
    },
)  # fmt: skip
def take_scaled(x: Spec, offset: Spec, scale: Spec, index: Spec | None = None) -> Spec:
    """The rows of `x` at `index`, shifted and scaled.

    out[i, c, ...] = (x[index[i], c, ...] - offset[c]) * scale[c].
    x (N, ...) of any dtype, index (B,) of integers (negative ones count from the end; None: all rows), offset and scale
    numbers, or vectors along axis 1: features of (N, C), channels of (N, C, H, W). Integers and bools become float32;
    floats keep their dtype, 16-bit ones are computed in float32 and rounded once. One pass over memory: how a batch is
    fetched and normalised at once. The gradient goes through the composite.
    """
    if x.weak:
        raise DTypeError("take_scaled: operand 'x' is a number, not a tensor")
    if index is not None:
        check_indices("take_scaled", index)
        if len(index.shape) != 1 or not x.shape:
            raise ShapeError(f"take_scaled: an index of shape {index.shape} does not give rows of shape {x.shape}")
    for name, value in (("offset", offset), ("scale", scale)):
        if value.shape not in ((), x.shape[1:2] or ()):
            raise ShapeError(f"take_scaled: {name} has shape {value.shape}, which does not fit axis 1 of {x.shape}")
    return _taken(x, index)


def _along(value: Any, ndim: int) -> Any:
    """A vector so shaped that it runs along axis 1."""
    return reshape(value, (-1, *[1] * (ndim - 2))) if value.ndim else value


@take_scaled.composite
def _(x: Any, offset: Any, scale: Any, index: Any) -> Any:
    rows = x if index is None else take(x, index)
    wide = rows.astype(_wide(x.dtype))
    out = (wide - _along(offset, rows.ndim)) * _along(scale, rows.ndim)
    return cast(out, x.dtype) if x.dtype.is_float and out.dtype is not x.dtype else out


@take_scaled.reference
def _(x: Any, offset: Any, scale: Any, index: Any) -> Any:
    rows = x if index is None else x[index.astype(np.int64)]
    tail = (1,) * max(rows.ndim - 2, 0)
    offset, scale = (v.reshape(v.shape + tail) if np.ndim(v) else v for v in (offset, scale))
    if rows.dtype.kind != "f":  # whole numbers count as float32, and what they are combined with too
        rows, offset, scale = (np.asarray(v, np.float32).astype(np.float64) for v in (rows, offset, scale))
    return (rows - offset) * scale


@take_scaled.samples
def _() -> Iterator[Sample]:
    number, other = np.array(0.3), np.array(-1.7)
    images = Input((40, 3, 5, 7), 0, 256, uint8)

    def some(n: int, low: int, high: int) -> Input:
        return Input((n,), low, high, int64)

    yield Sample((10, 7), number, other, some(20, -10, 10), why="rows, some twice")
    yield Sample((9, 33), (33,), (33,), some(4, 0, 9), why="one number for each feature")
    yield Sample((3, 4, 300), (4,), other, some(2, 0, 3), why="one for each channel, more than a block")
    yield Sample(images, (3,), (3,), some(33, -40, 40), why="images of bytes", grad=False)
    yield Sample(images, 0.0, 1 / 255, None, why="all images, Python numbers", grad=False)
    whole = Input((5, 3), -(2**62), 2**62, int64)
    yield Sample(whole, number, other, np.array([4, 0], np.uint8), why="int64", grad=False)
    yield Sample(Input((5, 3), dtype=bool_), number, other, np.array([1]), why="bools", grad=False)
    yield Sample((6, 5), (5,), other, None, why="all rows")
    yield Sample((8,), number, other, some(5, 0, 8), why="rows of one number")
    yield Sample(np.array(2.5), number, other, None, why="0-d")
    yield Sample((4, 3), number, other, np.zeros(0, np.int64), why="no indices")
    yield Sample(np.zeros((4, 0)), np.zeros(0), other, np.array([1]), why="no features")
    pixels = Input((6000, 784), 0, 256, uint8)
    yield Sample(pixels, number, other, some(128, 0, 6000), why="a batch", grad=False)


@take_scaled.error_inputs
def _() -> Iterator[ErrorInput]:
    x, number = np.zeros((5, 2)), np.array(1.0)
    text = "take_scaled: index -6 at position 1 is out of range for axis 0 of length 5"
    yield ErrorInput(IndexError, text, x, number, number, np.array([0, -6]))
    text = "take_scaled: an index of shape (1, 1) does not give rows of shape (5, 2)"
    yield ErrorInput(ShapeError, text, x, number, number, np.array([[0]]))
    text = "take_scaled: indices are of dtype float64, not integers"
    yield ErrorInput(DTypeError, text, x, number, number, np.array([0.0]))
    text = "take_scaled: offset has shape (5,), which does not fit axis 1 of (5, 2)"
    yield ErrorInput(ShapeError, text, x, np.zeros(5), number, None)
    text = "take_scaled: scale has shape (2,), which does not fit axis 1 of (2,)"
    yield ErrorInput(ShapeError, text, np.zeros(2), number, np.ones(2), None)
