"""Planners of matmul and linear, and the one way in which every product of this family is planned.

What is chosen (kernel, tile, splits of K) depends on shapes, dtypes and architecture alone. Where an operand lies in a
way that the choice cannot take, it is copied first: so the bits of a result do not depend on addresses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from dlcore.dtypes import DType, float32, int64
from dlcore.kernels.common.activations import ACTIVATIONS
from dlcore.kernels.launch import Call, In, Out, Program, View, accumulator
from dlcore.kernels.matmul import batched, integers, pointers, tma, vector
from dlcore.kernels.matmul.pack import packed
from dlcore.kernels.matmul.precision import float32_precision
from dlcore.kernels.matmul.product import (
    Builder,
    Matrix,
    Product,
    as_contiguous,
    foldable,
    matrix,
    product,
    shifted,
)
from dlcore.kernels.matmul.split import add_slices
from dlcore.kernels.matmul.tiles import Tile, Work, choose, plain, portable, shares, worth_timing

__all__ = ["accumulate", "candidates", "linear", "matmul", "multiply"]

COPY_UNALIGNED = 1 << 16  # elements from which a copy costs less than loading them one by one

# ---- rows ---------------------------------------------------------------------------------------------------------


def matmul(call: Call) -> Program:
    """a (..., M, K) @ b (..., K, N); vectors are a row and a column."""
    builder = Builder(call.arch)
    a, b = call.inputs
    out = call.outputs[0]
    assert a is not None and b is not None and out is not None
    if out.size == 0:
        return Program(())
    a = a if len(a.shape) > 1 else _with_axis(a, 0)
    b = b if len(b.shape) > 1 else _with_axis(b, 1)
    batch = _broadcast(a.shape[:-2], b.shape[:-2])
    whole = math.prod(b.shape[:-2]) == 1  # then the batch is nothing but further rows
    left = _operand(builder, 0, a, batch, whole)
    right = _operand(builder, 1, b, batch, False)
    p = product(left, right, batch, out=Out(0))
    if len(p.batch) > 2:
        builder.contiguous |= {0, 1}
        p = product(matrix(In(0), as_contiguous(a), batch), matrix(In(1), as_contiguous(b), batch), batch, out=Out(0))
    for part in _parts(p):
        multiply(builder, part)
    return builder.program()


def linear(call: Call) -> Program:
    """activation(x @ weight.T + bias), and the value before the activation where it is wanted."""
    return _linear(call, None)


def _linear(call: Call, tile: Tile | None) -> Program:
    builder = Builder(call.arch)
    x, weight, bias, *_ = call.inputs
    out, pre = call.outputs
    assert x is not None and weight is not None and out is not None
    if out.size == 0:
        return Program(())
    if bias is not None and not bias.contiguous:
        builder.contiguous.add(2)
    x = x if len(x.shape) > 1 else _with_axis(x, 0)
    left = _operand(builder, 0, x, x.shape[:-2], True)
    right = _operand(builder, 1, weight, (), False).transposed
    p = product(
        left, right._replace(batch=(0,) * len(left.batch)), x.shape[:-2], out=Out(0), pre=pre and Out(1),
        bias=bias and In(2), activation=ACTIVATIONS.get(call.attrs[0]),
    )  # fmt: skip
    multiply(builder, p, tile)
    return builder.program()


def candidates(call: Call) -> list[tuple[dict[str, Any], Program]]:
    """For the tuner: configurations worth timing for linear, or for matmul of two matrices; the planner's own first."""
    a, b = call.inputs[:2]
    out = call.outputs[0]
    assert a is not None and b is not None and out is not None
    alone = len(call.outputs) == 1
    rows, columns = math.prod(out.shape[:-1]), out.shape[-1] if out.shape else 1
    if min(rows, columns) < 2 or not a.dtype.is_float or (alone and max(len(a.shape), len(b.shape)) > 2):
        return []
    work = Work(rows, columns, a.shape[-1], 1, a.dtype, _precision(a.dtype))
    made = _matrices if alone else _linear
    return [(tile._asdict(), made(call, tile)) for tile in worth_timing(work, call.arch)]


def _matrices(call: Call, tile: Tile) -> Program:
    builder = Builder(call.arch)
    a, b = call.inputs
    assert a is not None and b is not None
    p = product(_operand(builder, 0, a, (), False), _operand(builder, 1, b, (), False), (), out=Out(0))
    multiply(builder, p, tile)
    return builder.program()


# ---- operands -----------------------------------------------------------------------------------------------------


def _with_axis(view: View, axis: int) -> View:
    shape, strides = list(view.shape), list(view.strides)
    shape.insert(axis, 1)
    strides.insert(axis, view.shape[0] if axis == 0 else 1)
    return view._replace(shape=tuple(shape), strides=tuple(strides))


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    pairs = itertools.zip_longest(reversed(a), reversed(b), fillvalue=1)
    return tuple(y if x == 1 else x for x, y in pairs)[::-1]


def _operand(builder: Builder, index: int, view: View, batch: tuple[int, ...], fold: bool) -> Matrix:
    """Input ``index``, copied first if no axis of it is adjacent in memory, or if it must fold and does not."""
    x = matrix(In(index), view, batch)
    if (view.dtype.is_float and not x.dense) or (fold and not foldable(view)):
        builder.contiguous.add(index)
        x = matrix(In(index), as_contiguous(view), batch)
    return x


def _parts(p: Product) -> Iterator[Product]:
    """Products with at most two axes of batch each."""
    outer, inner = p.batch[:-2], p.batch[-2:]
    for place, entry in enumerate(itertools.product(*map(range, outer))):
        a, b = (
            x.at(sum(i * s for i, s in zip(entry, x.batch, strict=False)))._replace(batch=x.batch[-2:]) if outer else x
            for x in (p.a, p.b)
        )
        start = place * math.prod(inner) * p.m * p.n * p.dtype.itemsize
        yield p._replace(a=a, b=b, batch=inner, out=shifted(p.out, start))


# ---- one product --------------------------------------------------------------------------------------------------


def multiply(builder: Builder, p: Product, tile: Tile | None = None) -> None:
    """Adds the launches that compute ``p``."""
    if not p.dtype.is_float:
        builder.launches.append(integers.launch(p))
        return
    precision = _precision(p.dtype)
    if tile is None and min(p.m, p.n) == 1:
        _vector(builder, p if p.n == 1 else p.swap)
    elif tile is None and batched.fits(p):
        builder.launches.append(batched.launch(p, precision))
    else:
        work = Work(p.m, p.n, p.k, p.entries, p.dtype, precision)
        _tiled(builder, p, tile or choose(work, builder.arch), precision)


def accumulate(builder: Builder, p: Product, total: Any, first: bool, last: bool) -> None:
    """Adds the launches that add ``p`` to ``total``, sums of the accumulator's dtype; the last goes to ``p.out``."""
    p = p._replace(before=None if first else total, out=p.out if last else total)
    with builder.passing():
        multiply(builder, p)


def _precision(dtype: DType) -> str:
    return float32_precision() if dtype is float32 else "ieee"


def _vector(builder: Builder, p: Product) -> None:
    if not p.a.aligned:
        p = p._replace(a=packed(builder, p.a, p.batch))
    count = vector.splits(p, builder.arch)
    sliced = count > 1 or p.before is not None
    slices = builder.temp(count * p.entries * p.m, accumulator(p.dtype)) if sliced else None
    builder.launches.append(vector.launch(p, count, slices))
    if sliced:
        builder.launches.append(add_slices(slices, count, p))


def _tiled(builder: Builder, p: Product, tile: Tile, precision: str) -> None:
    if len(p.batch) > 1 or p.k == 0 or pointers.side_dtype(p) is int64:  # TMA: int32, no empty arrays
        tile = portable(tile)
    if tile.swap:
        p = p.swap
    share, splits = shares(p.k, tile)
    tile, slices = tile._replace(splits=splits), None
    if splits > 1:
        slices = builder.temp(splits * p.entries * p.m * p.n, accumulator(p.dtype))
    if tile.kernel == "tma":
        a, b = (x if tma.ready(x) else packed(builder, x, p.batch) for x in (p.a, p.b))
        launch = tma.launch(p._replace(a=a, b=b), tile, precision, builder.arch, share, slices)
    else:
        a, b = (_aligned(builder, x) for x in (p.a, p.b))
        if min(a.unit, b.unit) * p.dtype.itemsize < 4:
            tile = plain(tile)
        launch = pointers.launch(p._replace(a=a, b=b), tile, precision, builder.arch, share, slices)
    builder.launches.append(launch)
    if splits > 1:
        builder.launches.append(add_slices(slices, splits, p))


def _aligned(builder: Builder, x: Matrix) -> Matrix:
    """``x``, packed first if it is large and no cp.async could load it where it lies."""
    large = x.rows * x.columns >= COPY_UNALIGNED and not any(x.batch)
    return packed(builder, x, ()) if large and x.unit * x.dtype.itemsize < 4 else x
