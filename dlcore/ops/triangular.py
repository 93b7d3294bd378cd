"""Systems of equations with triangular matrices.

Of at most 64 rows a matrix has a kernel; a larger one is cut in two: the first half of the unknowns, a product of
matrices, the second half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Sample, Spec, Workload
from dlcore.ops._linalg import LARGEST, MatrixOp, conditioned, inverse, is_small, matrices
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops.elementwise import neg, sub
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import concat, transpose
from dlcore.ops.slicing import slice as slice_of
from dlcore.ops.triangles import tril, triu

__all__ = ["solve_triangular"]

Lengths = tuple[int, ...]


class _Triangular(MatrixOp):
    """Its larger matrices are composed of smaller ones, on any device."""

    batching = "pointwise"

    def family_kernels(self) -> Mapping[str, Any]:
        return {"cpu": [(f"linalg:{self.name}", is_small)], "cuda": [(f"linalg.small:{self.name}", is_small)]}


def _triangle(a: Any, upper: bool, unitriangular: bool) -> Any:
    found = np.triu(a) if upper else np.tril(a)
    places = range(a.shape[-1])
    if unitriangular:
        found[..., places, places] = 1
    return found


def _substituted(a: Any, b: Any, upper: bool, unitriangular: bool) -> Any:
    a, n = _triangle(a, upper, unitriangular), a.shape[-1]
    out = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)
    for i in reversed(range(n)) if upper else range(n):
        left = b[..., i, :] - np.sum(a[..., i, :, None] * out, -2)
        out[..., i, :] = left / a[..., i, i, None]
    return out


def _magnitude(a: Any, b: Any, upper: bool, unitriangular: bool) -> Any:
    found = np.abs(_substituted(a, b, upper, unitriangular))
    a = _triangle(a, upper, unitriangular)
    return np.abs(inverse(a)) @ (np.abs(a) @ found + np.abs(b))


@_Triangular.definition(
    reference=_substituted, magnitude=_magnitude,
    samples=[
        Sample(matrices((9, 9)), (9, 3), why="lower"), Sample(matrices((9, 9)), (9, 3), upper=True, why="upper"),
        Sample((5, 5), (5, 40), unitriangular=True, why="ones on the diagonal"),
        Sample(matrices((2, 1, 4, 4)), (3, 4, 2), upper=True, why="batches that broadcast"),
        Sample(matrices((70, 70), 4.0), (70, 2), why="in two halves", grad=False),
        Sample(matrices((140, 140), 4.0), (140, 3), upper=True, why="in more parts", grad=False),
        Sample((0, 0), (0, 2), why="no rows"), Sample(matrices((0, 3, 3)), (3, 1), why="no matrices"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "solve_triangular: takes a (..., N, N), not (2, 3)", np.zeros((2, 3)), np.zeros((2, 1))),
        ErrorInput(ShapeError, "solve_triangular: a (2, 2) and b (2,) do not fit", np.zeros((2, 2)), np.zeros(2)),
        ErrorInput(DTypeError, "solve_triangular: does not take float16; cast to float32",
                   *[np.eye(2, dtype=np.float16)] * 2),
    ],
    workloads=[
        Workload((matrices((4, 4)), (4, 1)), (), "dispatch"),
        Workload((matrices((512, 512), 4.0), (512, 64)), (), "large"),
    ],
    baselines={
        "torch": "torch.linalg.solve_triangular(a, b, upper=upper, unitriangular=unitriangular)",
        "jax": "jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)",
    },
)  # fmt: skip
def solve_triangular(a: Spec, b: Spec, upper: bool = False, unitriangular: bool = False) -> Spec:
    """The solutions x of t x = b, with t the lower (`upper`: upper) triangle of `a` (..., N, N); `b` (..., N, K).

    The rest of `a` is not read; nor is its diagonal where `unitriangular` says that it is all ones. Batches broadcast.
    A 0 on the diagonal gives infinities and NaN. Raises ShapeError where shapes do not fit, DTypeError for 16-bit
    floats.
    """
    if len(b.shape) < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(f"solve_triangular: a {a.shape} and b {b.shape} do not fit")
    batch = broadcast_shapes("solve_triangular", a.shape[:-2], b.shape[:-2])
    return Spec((*batch, *b.shape[-2:]), a.dtype)


def _rows(x: Any, start: int, stop: int, columns: tuple[int, int] | None = None) -> Any:
    first, last = columns or (0, x.shape[-1])
    whole = tuple((0, n, 1) for n in x.shape[:-2])
    return slice_of(x, (*whole, (start, stop - start, 1), (first, last - first, 1)))


@solve_triangular.composite
def _(a: Any, b: Any, upper: bool, unitriangular: bool) -> Any:
    n = a.shape[-1]
    half = max(n // 2 // LARGEST * LARGEST, min(LARGEST, n // 2))
    parts = [(half, n), (0, half)] if upper else [(0, half), (half, n)]
    (f0, f1), (s0, s1) = parts
    first = solve_triangular(_rows(a, f0, f1, (f0, f1)), _rows(b, f0, f1), upper, unitriangular)
    left = sub(_rows(b, s0, s1), matmul(_rows(a, s0, s1, (f0, f1)), first))
    second = solve_triangular(_rows(a, s0, s1, (s0, s1)), left, upper, unitriangular)
    return concat([second, first] if upper else [first, second], -2)


@solve_triangular.gradient("a", "b")
def _(
    dout: Any, a: Any, out: Any, upper: bool, unitriangular: bool, needs_input_grad: tuple[bool, bool]
) -> tuple[Any, Any]:  # fmt: skip
    db = solve_triangular(transpose(a), dout, not upper, unitriangular)
    if not needs_input_grad[0]:
        return None, db
    whole = neg(matmul(db, transpose(out)))
    return triu(whole, int(unitriangular)) if upper else tril(whole, -int(unitriangular)), db


@solve_triangular.cost
def _(a: Spec, b: Spec) -> tuple[float, float]:
    out = math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * math.prod(b.shape[-2:])
    size = a.dtype.itemsize
    return float(out * a.shape[-1]), float((math.prod(a.shape) / 2 + math.prod(b.shape) + out) * size)


@solve_triangular.restrict
def _(operands: list[Any], largest: float) -> None:
    """Matrices that are far from singular, as for `solve`."""
    operands[0] = conditioned(operands[0])
    operands[1] = np.clip(np.nan_to_num(operands[1]), -1, 1)
    if operands[0].ndim > 1 and operands[0].shape[-1]:
        operands[0] /= 4.0 * operands[0].shape[-1]  # with ones on the diagonal too
