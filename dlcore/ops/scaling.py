"""Batches of data as models take them: rows found by index, shifted and scaled on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import FLOATS, DType, float32, float64, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Op, Operand, Sample, Size, Spec, Wrong
from dlcore.ops._sizes import RAGGED
from dlcore.ops.elementwise import cast
from dlcore.ops.gather import check_indices, take
from dlcore.ops.movement import reshape

__all__ = ["take_scaled"]

Shape = tuple[int, ...]


def _wide(dtype: DType) -> DType:
    """What arithmetic is done in."""
    return float64 if dtype is float64 else float32


def _promote(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    x, _, _, index = specs
    assert x is not None  # a required operand
    return x.dtype, _wide(x.dtype), _wide(x.dtype), None if index is None else index.dtype


def _taken(x: Spec, index: Spec | None) -> Spec:
    shape = x.shape if index is None else (*index.shape, *x.shape[1:])
    return Spec(shape, x.dtype if x.dtype.is_float else float32)


def _infer(x: Spec, offset: Spec, scale: Spec, index: Spec | None) -> Spec:
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


def _composite(x: Any, offset: Any, scale: Any, index: Any) -> Any:
    rows = x if index is None else take(x, index)
    wide = rows.astype(_wide(x.dtype))
    out = (wide - _along(offset, rows.ndim)) * _along(scale, rows.ndim)
    return cast(out, x.dtype) if x.dtype.is_float and out.dtype is not x.dtype else out


def _ref(x: Any, offset: Any, scale: Any, index: Any) -> Any:
    rows = x if index is None else x[index.astype(np.int64)]
    tail = (1,) * max(rows.ndim - 2, 0)
    offset, scale = (v.reshape(v.shape + tail) if np.ndim(v) else v for v in (offset, scale))
    if rows.dtype.kind != "f":  # whole numbers count as float32, and what they are combined with too
        rows, offset, scale = (np.asarray(v, np.float32).astype(np.float64) for v in (rows, offset, scale))
    return (rows - offset) * scale


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    images, some = rng.integers(0, 256, (40, 3, 5, 7)).astype(np.uint8), rng.integers(-40, 40, 33)
    number, other = np.array(0.3), np.array(-1.7)
    yield Sample((rng.standard_normal((10, 7)), number, other, rng.integers(-10, 10, 20)), (), "rows, some twice")
    yield Sample(
        (rng.standard_normal((9, 33)), rng.standard_normal(33), rng.standard_normal(33), rng.integers(0, 9, 4)),
        (),
        "one number for each feature",
    )
    yield Sample(
        (rng.standard_normal((3, 4, 300)), rng.standard_normal(4), other, rng.integers(0, 3, 2)),
        (),
        "one for each channel, more than a block",
    )
    yield Sample((images, rng.standard_normal(3), rng.standard_normal(3), some), (), "images of bytes", grad=False)
    yield Sample((images, 0.0, 1 / 255, None), (), "all images, Python numbers", grad=False)
    yield Sample(
        (rng.integers(-(2**62), 2**62, (5, 3)), number, other, np.array([4, 0], np.uint8)), (), "int64", grad=False
    )
    yield Sample((rng.random((5, 3)) < 0.5, number, other, np.array([1])), (), "bools", grad=False)
    yield Sample((rng.standard_normal((6, 5)), rng.standard_normal(5), other, None), (), "all rows")
    yield Sample((rng.standard_normal(8), number, other, rng.integers(0, 8, 5)), (), "rows of one number")
    yield Sample((np.array(2.5), number, other, None), (), "0-d")
    yield Sample((rng.standard_normal((4, 3)), number, other, np.zeros(0, np.int64)), (), "no indices")
    yield Sample((np.zeros((4, 0)), np.zeros(0), other, np.array([1])), (), "no features")
    pixels = rng.integers(0, 256, (6000, 784)).astype(np.uint8)
    yield Sample((pixels, number, other, rng.integers(0, 6000, 128)), (), "a batch", grad=False)


def _errors() -> Iterator[Wrong]:
    x, number = np.zeros((5, 2)), np.array(1.0)
    yield Wrong(
        (x, number, number, np.array([0, -6])),
        (),
        IndexError,
        "take_scaled: index -6 at position 1 is out of range for axis 0 of length 5",
    )
    yield Wrong(
        (x, number, number, np.array([[0]])),
        (),
        ShapeError,
        "take_scaled: an index of shape (1, 1) does not give rows of shape (5, 2)",
    )
    yield Wrong(
        (x, number, number, np.array([0.0])),
        (),
        DTypeError,
        "take_scaled: indices are of dtype float64, not integers",
    )
    yield Wrong(
        (x, np.zeros(5), number, None),
        (),
        ShapeError,
        "take_scaled: offset has shape (5,), which does not fit axis 1 of (5, 2)",
    )
    yield Wrong(
        (np.zeros(2), number, np.ones(2), None),
        (),
        ShapeError,
        "take_scaled: scale has shape (2,), which does not fit axis 1 of (2,)",
    )


def _cost(x: Spec, offset: Spec, scale: Spec, index: Spec | None) -> tuple[float, float]:
    out = _taken(x, index)
    size = math.prod(out.shape)
    indices = 0 if index is None else math.prod(index.shape) * index.dtype.itemsize
    return 2.0 * size, float(size * (x.dtype.itemsize + out.dtype.itemsize) + indices)


def _batch(rows: int, features: int, batch: int) -> tuple[Operand, ...]:
    """Some rows of a matrix of bytes, with one mean and one scale."""
    number = (Operand((), v, v, float32) for v in (33.3, 0.013))
    return Operand((rows, features), 0, 256, uint8), *number, Operand((batch,), 0, rows, int64)


TAKE_SCALED = Op(
    name="take_scaled",
    doc="""The rows of `x` at `index`, shifted and scaled.

    out[i, c, ...] = (x[index[i], c, ...] - offset[c]) * scale[c].
    x (N, ...) of any dtype, index (B,) of integers (negative ones count from the end; None: all rows), offset and scale
    numbers, or vectors along axis 1: features of (N, C), channels of (N, C, H, W). Integers and bools become float32;
    floats keep their dtype, 16-bit ones are computed in float32 and rounded once. One pass over memory: how a batch is
    fetched and normalised at once. The gradient goes through the composite.""",
    inputs="x offset scale index?",
    infer=_infer,
    promote=_promote,
    kernels={"cpu": "movement:take_scaled", "cuda": "movement.scaled:scaled"},
    composite=_composite,
    ref=_ref,
    samples=_samples,
    sizes=(
        Size(_batch(1797, 64, 64), (), "a batch of model a", (float32,)),
        Size(_batch(6000, 784, 128), (), "a batch of model b", (float32,)),
        Size((RAGGED, RAGGED[1:], RAGGED[1:], None), (), "ragged, all rows, features", (float32,)),
    ),
    peers={
        "torch": "torch.sub(x if index is None else torch.index_select(x, 0, index), offset).mul_(scale)",
        "jax": "((x if index is None else jnp.take(x, index, 0, mode='clip')) - offset) * scale",
    },
    errors=_errors,
    dtypes=FLOATS,
    ulp=1.5,  # two roundings
    cost=_cost,
)
take_scaled: Any = TAKE_SCALED.call
