"""Linear algebra on batches of matrices of at most 64 rows: solve, inv, det, slogdet, cholesky, solve_triangular.

Bound by latency: N steps, each of which waits for the one before. A program holds one matrix in registers (64 x 64
float32: 16 KiB, 8 warps), and solve, inv and solve_triangular 64 columns of the right side, so a batch fills the
device. A step reads a row and a column of the matrix by masked sums over the tile, of which all but one term are 0:
exact, and without shared memory of its own.

solve and inv eliminate above and below the diagonal at once (Gauss and Jordan), with the largest element of the column
as pivot, so that nothing is substituted afterwards. Lanes beyond N are those of an identity matrix. A singular matrix,
or one that is not positive definite, is reported by its number in the batch. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from typing import Any

from dlcore.kernels.common.pointwise import walk
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    NOT_POSITIVE_DEFINITE,
    SINGULAR,
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    View,
    ceil_div,
    power_of_2,
)
from dlcore.kernels.movement.index import axis_args, report

__all__ = ["cholesky", "det", "inv", "slogdet", "solve", "solve_triangular"]

COLUMNS = 64  # of the right side, a program


@jit
def row_of(x, row, k):
    """Row k of a tile."""
    return tl.sum(tl.where(row == k, x, 0), 0)


@jit
def column_of(x, column, k):
    """Column k of a tile."""
    return tl.sum(tl.where(column == k, x, 0), 1)


@jit
def exchanged(x, row, k, of_k, p, of_p):
    """The tile with rows k and p exchanged."""
    return tl.where(row == k, of_p[None, :], tl.where(row == p, of_k[None, :], x))


@jit
def largest(values, i, k, n):
    """The place from k on, and before n, where a column is largest."""
    return tl.argmax(tl.where((i >= k) & (i < n), tl.abs(values), -1.0), 0)


@jit
def matrix(a, n, row_stride, column_stride, row, column):
    """The matrix at `a`, within an identity matrix."""
    inside = (row < n) & (column < n)
    x = tl.load(a + row * row_stride + column * column_stride, inside, 0)
    return tl.where(inside, x, tl.where(row == column, 1.0, 0.0).to(x.dtype))


@jit
def solve_kernel(
    a, b, out, errors, n, columns, a_row, a_column, b_row, b_column,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7,
    CODE: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    e = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    row, column = i[:, None], i[None, :]
    j = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7)
    left = matrix(a + at, n, a_row, a_column, row, column)
    inside = (row < n) & (j < columns)
    if b is not None:
        at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3, t4, t5, t6, t7)
        right = tl.load(b + at + row * b_row + j * b_column, inside, 0)
    else:
        right = tl.where(row == j, 1.0, 0.0).to(left.dtype)
    singular = left.to(tl.int32) * 0  # of a tile, to be summed once
    for k in range(n):
        values = column_of(left, column, k)
        p = largest(values, i, k, n)
        of_p, of_k = row_of(left, row, p), row_of(left, row, k)
        left = exchanged(left, row, k, of_k, p, of_p)
        beside_p, beside_k = row_of(right, row, p), row_of(right, row, k)
        right = exchanged(right, row, k, beside_k, p, beside_p)
        pivot = tl.sum(tl.where(i == p, values, 0), 0)
        singular += (pivot == 0).to(tl.int32)
        factor = tl.where(i == k, 0, column_of(left, column, k) / pivot)
        left -= factor[:, None] * of_p[None, :]
        right -= factor[:, None] * beside_p[None, :]
    right /= tl.sum(tl.where(row == column, left, 0), 1)[:, None]
    report(errors, singular > 0, e + i[None, :] * 0, CODE)
    tl.store(out + e.to(tl.int64) * n * columns + row * columns + j, right, inside)


@jit
def det_kernel(
    a, sign, logarithm, n, a_row, a_column,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7, BLOCK: tl.constexpr,
):  # fmt: skip
    e = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    row, column = i[:, None], i[None, :]
    at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7)
    left = matrix(a + at, n, a_row, a_column, row, column)
    pivots = tl.where(i < n, 0.0, 1.0).to(left.dtype)
    odd = 0
    for k in range(n):
        values = column_of(left, column, k)
        p = largest(values, i, k, n)
        of_p, of_k = row_of(left, row, p), row_of(left, row, k)
        left = exchanged(left, row, k, of_k, p, of_p)
        pivot = tl.sum(tl.where(i == p, values, 0), 0)
        pivots = tl.where(i == k, pivot, pivots)
        odd ^= (p != k).to(tl.int32)
        below = column_of(left, column, k) / tl.where(pivot == 0, 1, pivot)  # a column of zeros stays one
        left -= tl.where(i > k, below, 0)[:, None] * of_p[None, :]
    flips = odd + tl.sum((pivots < 0).to(tl.int32), 0)
    one = tl.where(flips % 2 == 1, -1.0, 1.0).to(left.dtype)
    nothing = tl.sum((pivots == 0).to(tl.int32), 0) > 0
    unknown = tl.sum((pivots != pivots).to(tl.int32), 0) > 0
    if logarithm is None:
        size = tl.reduce(tl.abs(pivots), 0, times)
        tl.store(sign + e, one * size)
    else:
        one = tl.where(nothing, 0.0, one)
        tl.store(sign + e, tl.where(unknown, float("nan"), one))
        tl.store(logarithm + e, tl.sum(tl.log(tl.abs(pivots)), 0))


@jit
def times(x, y):
    """Their product."""
    return x * y


@jit
def cholesky_kernel(
    a, out, errors, n, a_row, a_column, out_row, out_column,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7, CODE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    e = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    row, column = i[:, None], i[None, :]
    at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7)
    low, high = tl.minimum(row, column), tl.maximum(row, column)
    left = matrix(a + at, n, a_row, a_column, high, low)  # both triangles from the lower one
    wrong = tl.full((1, BLOCK), 0, tl.int32)
    found = left * 0
    for k in range(n):
        values = column_of(left, column, k)
        square = tl.sum(tl.where(i == k, values, 0), 0)
        wrong += tl.where(square <= 0, 1, 0)
        root = tl.sqrt(square)
        factor = tl.where(i > k, values / root, tl.where(i == k, root, 0))
        found = tl.where(column == k, factor[:, None], found)
        below = tl.where(i > k, factor, 0)
        left -= below[:, None] * below[None, :]
    report(errors, wrong > 0, e + i[None, :] * 0, CODE)
    to = out + e.to(tl.int64) * n * n + row * out_row + column * out_column
    tl.store(to, found, (row < n) & (column < n))


@jit
def solve_triangular_kernel(
    a, b, out, n, columns, a_row, a_column, b_row, b_column,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7,
    UPPER: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    e = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    row, column = i[:, None], i[None, :]
    j = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7)
    left = matrix(a + at, n, a_row, a_column, row, column)
    inside = (row < n) & (j < columns)
    at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3, t4, t5, t6, t7)
    x = tl.load(b + at + row * b_row + j * b_column, inside, 0)
    for step in range(n):
        k = n - 1 - step if UPPER else step
        values = column_of(left, column, k)
        found = row_of(x, row, k)
        if not UNIT:
            found /= tl.sum(tl.where(i == k, values, 0), 0)
        x = tl.where(row == k, found[None, :], x)
        after = i < k if UPPER else i > k
        x -= tl.where(after, values, 0)[:, None] * found[None, :]
    tl.store(out + e.to(tl.int64) * n * columns + row * columns + j, x, inside)


# ---- planners -------------------------------------------------------------------------------------------------------


def _batch(view: View, shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """The strides of an operand's batch, broadcast to ``shape``; its last ``axes`` axes are its matrix."""
    own = view.shape[: len(view.shape) - axes]
    strides = [0 if n == 1 else s for n, s in zip(own, view.strides, strict=False)]
    return (*[0] * (len(shape) - len(own)), *strides)


def _warps(n: int) -> int:
    return 8 if n > 32 else 4 if n > 16 else 1


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _systems(call: Call, kernel: Any, more: dict[str, Any]) -> Program:
    """The launch of a kernel over a batch of matrices and tiles of columns of a right side."""
    a, b, out = call.inputs[0], call.inputs[1] if len(call.inputs) > 1 else None, call.outputs[0]
    assert a is not None and out is not None
    if out.size == 0:
        return Program(())
    n, vector = a.shape[-1], b is not None and len(b.shape) == 1
    columns = 1 if vector else out.shape[-1]
    batch = out.shape[: -1 if vector else -2]
    of_b = (0,) * len(batch) if b is None or vector else _batch(b, batch, 2)
    width = min(COLUMNS, power_of_2(columns))
    args = {
        "a": In(0), "b": None if b is None else In(1), "out": Out(0), "n": n, "columns": columns,
        "a_row": a.strides[-2], "a_column": a.strides[-1],
        "b_row": 0 if b is None else b.strides[-1 if vector else -2],
        "b_column": 0 if b is None or vector else b.strides[-1],
        **axis_args(batch, s=_batch(a, batch, 2), t=of_b), "BLOCK": power_of_2(n), "COLUMNS": width, **more,
    }  # fmt: skip
    return Program((Launch(kernel, (_size(batch), ceil_div(columns, width)), args, num_warps=_warps(n)),))


def solve(call: Call) -> Program:
    """One program for each matrix and 64 columns."""
    return _systems(call, solve_kernel, {"errors": Errors(), "CODE": SINGULAR})


inv = solve


def solve_triangular(call: Call) -> Program:
    """One program for each matrix and 64 columns."""
    upper, unit = call.attrs
    return _systems(call, solve_triangular_kernel, {"UPPER": upper, "UNIT": unit})


def det(call: Call) -> Program:
    """One program for each matrix."""
    a, out = call.inputs[0], call.outputs[0]
    assert a is not None and out is not None
    if out.size == 0:
        return Program(())
    n = a.shape[-1]
    args = {
        "a": In(0), "sign": Out(0), "logarithm": Out(1) if len(call.outputs) > 1 else None, "n": n,
        "a_row": a.strides[-2], "a_column": a.strides[-1], **axis_args(out.shape, s=_batch(a, out.shape, 2)),
        "BLOCK": power_of_2(n),
    }  # fmt: skip
    return Program((Launch(det_kernel, (out.size,), args, num_warps=_warps(n)),))


slogdet = det


def cholesky(call: Call) -> Program:
    """One program for each matrix. An upper factor is the lower one of the other triangle, transposed."""
    (a, out), (upper,) = (call.inputs[0], call.outputs[0]), call.attrs
    assert a is not None and out is not None
    if out.size == 0:
        return Program(())
    n, batch = a.shape[-1], out.shape[:-2]
    row, column = a.strides[-2:]
    args = {
        "a": In(0), "out": Out(0), "errors": Errors(), "n": n, "a_row": column if upper else row,
        "a_column": row if upper else column, "out_row": 1 if upper else n, "out_column": n if upper else 1,
        **axis_args(batch, s=_batch(a, batch, 2)), "CODE": NOT_POSITIVE_DEFINITE, "BLOCK": power_of_2(n),
    }  # fmt: skip
    return Program((Launch(cholesky_kernel, (_size(batch),), args, num_warps=_warps(n)),))
