"""Linear algebra on (batches of) square matrices: solve, inv, det, slogdet, cholesky.

Matrices of at most 64 rows have kernels here, on CPUs and GPUs; larger ones are LAPACK's on a CPU, as NumPy brings it,
as commands of the host, and refused on a GPU. Shapes: N x N matrices behind any axes of a batch. float32 and float64;
integers become the default float, 16-bit floats are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.dtypes import float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload
from dlcore.ops._linalg import (
    conditioned,
    determinant,
    inverse,
    logarithm,
    matrices,
    matrix_op,
    positive,
    refused,
    root,
    solved,
    ways,
)
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import on_gpu
from dlcore.ops.elementwise import add, mul, neg
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import reshape, squeeze, transpose, unsqueeze
from dlcore.ops.triangles import tril
from dlcore.ops.triangular import solve_triangular

__all__ = ["cholesky", "det", "inv", "slogdet", "solve"]

Lengths = tuple[int, ...]


# ---- solve ----------------------------------------------------------------------------------------------------------


def _to_solve(a: Any, b: Any, out: Any) -> None:
    out[...] = np.linalg.solve(a, b)


def _solve_magnitude(a: Any, b: Any) -> Any:
    found = np.abs(solved(a, b))
    if b.ndim == 1:
        found = found[..., None]
    terms = np.abs(inverse(a)) @ (np.abs(a) @ found + np.abs(b[:, None] if b.ndim == 1 else b))
    return terms[..., 0] if b.ndim == 1 else terms


_SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
_NO_INVERSE = "Singular matrix"


def _each_solved(call: Any) -> Any:
    """All examples of a vmap at once: as one more axis of the batch."""
    a, b = call.specs
    if len(b.shape) > 1:
        ndim = max(len(a.shape), len(b.shape))
        return call.run([call.padded(0, ndim), call.padded(1, ndim)])
    column = unsqueeze(call.full(1), -1)
    column = reshape(column, (call.size, *[1] * (len(a.shape) - 2), *column.shape[1:]))
    return squeeze(call.run([call.full(0), column]), -1)


@matrix_op(
    host=_to_solve, small=True, batch=_each_solved, reference=solved, magnitude=_solve_magnitude, flops=2,
    baselines={"numpy": "np.linalg.solve(a, b)", "torch": "torch.linalg.solve(a, b)", "jax": "jnp.linalg.solve(a, b)"},
    samples=[
        Sample(matrices((5, 5)), (5,), why="a vector"), Sample(matrices((9, 9)), (9, 3), why="columns"),
        Sample(matrices((2, 3, 4, 4)), (3, 4, 2), why="batches that broadcast"),
        Sample(matrices((3, 4, 4)), (4,), why="a vector for a batch"), Sample(matrices((33, 33)), (33, 40), why="more"),
        Sample(np.array([[0.0, 2.0], [3.0, 1.0]]), (2,), why="a pivot that is 0"),
        Sample(matrices((70, 70)), (70, 3), why="LAPACK's", grad=False), Sample((0, 0), (0, 2), why="no rows"),
        Sample(matrices((0, 3, 3)), (3, 1), why="no matrices"),
        Sample(matrices((1, 1)), (1, 1), why="one element"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "solve: takes a (..., N, N), not (2, 3)", np.zeros((2, 3)), np.zeros(2)),
        ErrorInput(ShapeError, "solve: a (2, 2) and b (3, 1) do not fit", np.zeros((2, 2)), np.zeros((3, 1))),
        ErrorInput(DTypeError, "solve: does not take float16; cast to float32", *[np.eye(2, dtype=np.float16)] * 2),
        ErrorInput(np.linalg.LinAlgError, "solve: Singular matrix", _SINGULAR, np.ones(2)),
    ],
    workloads=[
        Workload((matrices((3, 3)), (3,)), (), "dispatch"), Workload((matrices((256, 256)), (256, 64)), (), "large"),
        Workload((matrices((1024, 8, 8)), (1024, 8, 1)), (), "a batch of small ones"),
        on_gpu([matrices((16384, 32, 32)), (16384, 32, 8)], (), (float32,)),
    ],
)  # fmt: skip
def solve(a: Spec, b: Spec) -> Spec:
    """The solutions x of a x = b: `a` (..., N, N), `b` (..., N, K) or a vector (N,).

    By LU with partial pivoting; batches broadcast. Raises numpy.linalg.LinAlgError for a singular matrix, ShapeError
    where shapes do not fit, DTypeError for 16-bit floats; on a GPU DTypeError for more than 64 rows.

    >>> dl.linalg.solve(dl.tensor([[2.0, 0.0], [0.0, 4.0]]), dl.tensor([6.0, 8.0]))
    tensor([3., 2.])
    """
    n, column = a.shape[-1], len(b.shape) == 1
    if not b.shape or b.shape[-1 if column else -2] != n:
        raise ShapeError(f"solve: a {a.shape} and b {b.shape} do not fit")
    batch = broadcast_shapes("solve", a.shape[:-2], () if column else b.shape[:-2])
    return Spec((*batch, n) if column else (*batch, n, b.shape[-1]), a.dtype)


@solve.gradient("a", "b")
def _(dout: Any, a: Any, out: Any, b_shape: Lengths, needs_input_grad: tuple[bool, bool]) -> tuple[Any, Any]:
    column = len(b_shape) == 1
    if column:
        dout, out = unsqueeze(dout, -1), unsqueeze(out, -1)
    db = solve(transpose(a), dout)
    da = neg(matmul(db, transpose(out))) if needs_input_grad[0] else None
    return da, squeeze(db, -1) if column else db


# ---- inv, det, slogdet ----------------------------------------------------------------------------------------------


def _to_inv(a: Any, out: Any) -> None:
    out[...] = np.linalg.inv(a)


_SQUARES = (
    Sample(matrices((5, 5)), why="a matrix"), Sample(matrices((2, 3, 4, 4)), why="a batch"),
    Sample(matrices((33, 33)), why="more rows"), Sample(np.array([[0.0, 2.0], [3.0, 1.0]]), why="a pivot that is 0"),
    Sample((0, 0), why="no rows"), Sample((0, 3, 3), why="no matrices"), Sample(matrices((1, 1)), why="one element"),
    Sample(matrices((70, 70)), why="LAPACK's", grad=False),
)  # fmt: skip
_TIMED = (
    Workload((matrices((3, 3)),), (), "dispatch"), Workload((matrices((256, 256)),), (), "large"),
    Workload((matrices((1024, 8, 8)),), (), "a batch of small ones"),
    on_gpu([matrices((16384, 32, 32))], (), (float32,)),
)  # fmt: skip


def _inverse_magnitude(a: Any) -> Any:
    found = np.abs(inverse(a))
    return found @ np.abs(a) @ found


@matrix_op(
    host=_to_inv, small=True, reference=inverse, magnitude=_inverse_magnitude, baselines=ways("inv(a)"), flops=2,
    gradient=lambda dout, out: neg(matmul(matmul(transpose(out), dout), transpose(out))), samples=_SQUARES,
    workloads=_TIMED,
    error_inputs=[*refused("inv"), ErrorInput(np.linalg.LinAlgError, "inv: Singular matrix", _SINGULAR)],
)  # fmt: skip
def inv(a: Spec) -> Spec:
    """The inverses of matrices `a` (..., N, N). To solve a x = b, `solve` is faster and more exact.

    Raises numpy.linalg.LinAlgError for a singular matrix, ShapeError where matrices are not square, DTypeError for
    16-bit floats; on a GPU DTypeError for more than 64 rows.

    >>> dl.linalg.inv(dl.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    return Spec(a.shape, a.dtype)


def _near_one(shape: Lengths) -> Input:
    """Random matrices whose determinants neither overflow nor vanish."""
    return Input(shape, draw=lambda rng: rng.standard_normal(shape) / (4 * shape[-1]) + np.eye(shape[-1]))


def _to_det(a: Any, out: Any) -> None:
    out[...] = np.linalg.det(a)


def _condition(a: Any) -> Any:
    """What relative errors of a determinant are measured against."""
    return np.sum(np.abs(inverse(a)) * np.swapaxes(np.abs(a), -1, -2), (-2, -1))


def _inverse_for(name: str, a: Any) -> Any:
    """The inverse that a gradient rule needs."""
    try:
        return inv(a)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(f"{name}: it has no gradient at a singular matrix") from error


def _over_matrix(dout: Any) -> Any:
    return reshape(dout, (*dout.shape, 1, 1))


@matrix_op(
    host=_to_det, small=True, reference=determinant, baselines=ways("det(a)"), flops=2 / 3,
    magnitude=lambda a: np.abs(determinant(a)) * (1 + _condition(a)),
    gradient=lambda dout, a, out: mul(_over_matrix(mul(dout, out)), transpose(_inverse_for("det", a))),
    samples=[*_SQUARES, Sample(_SINGULAR, why="a singular matrix", grad=False)], workloads=[
        Workload((_near_one((3, 3)),), (), "dispatch"), Workload((_near_one((256, 256)),), (), "large"), *_TIMED[2:]],
    error_inputs=refused("det"),
)  # fmt: skip
def det(a: Spec) -> Spec:
    """The determinants of matrices `a` (..., N, N), by LU with partial pivoting: (...). That of no rows is 1.

    Its gradient, det(a) a^-T, raises numpy.linalg.LinAlgError for a singular matrix. Raises ShapeError where matrices
    are not square, DTypeError for 16-bit floats; on a GPU DTypeError for more than 64 rows.

    >>> dl.linalg.det(dl.tensor([[1.0, 2.0], [3.0, 4.0]])).round(4)
    tensor(-2.)
    """
    return Spec(a.shape[:-2], a.dtype)


def _to_slogdet(a: Any, sign: Any, logabsdet: Any) -> None:
    sign[...], logabsdet[...] = np.linalg.slogdet(a)


@matrix_op(
    outputs="sign logabsdet", host=_to_slogdet, small=True, reference=logarithm, flops=2 / 3,
    magnitude=lambda a: (np.ones(a.shape[:-2]), 1 + np.abs(logarithm(a)[1]) + _condition(a)),
    gradient=lambda dlogabsdet, a: _slogdet_to_a(dlogabsdet, a),
    samples=_SQUARES, workloads=_TIMED, error_inputs=refused("slogdet"), baselines={
        "numpy": "np.linalg.slogdet(a)[1]", "torch": "torch.linalg.slogdet(a)[1]", "jax": "jnp.linalg.slogdet(a)[1]"},
)  # fmt: skip
def slogdet(a: Spec) -> tuple[Spec, Spec]:
    """The signs and the logarithms of the absolute values of determinants of `a` (..., N, N): two tensors (...).

    Where a determinant itself would overflow. A singular matrix has sign 0 and logarithm -inf, and no gradient. Raises
    as `det` does.
    """
    return Spec(a.shape[:-2], a.dtype), Spec(a.shape[:-2], a.dtype)


def _slogdet_to_a(dlogabsdet: Any, a: Any) -> Any:
    return None if dlogabsdet is None else mul(_over_matrix(dlogabsdet), transpose(_inverse_for("slogdet", a)))


# ---- cholesky -------------------------------------------------------------------------------------------------------


def _to_cholesky(a: Any, out: Any, upper: bool) -> None:
    out[...] = np.linalg.cholesky(a, upper=upper)


def _cholesky_magnitude(a: Any, upper: bool) -> Any:
    found = np.abs(root(a, False))
    scale = np.max(found, (-2, -1), keepdims=True, initial=0.0) * np.ones_like(found)
    return scale * np.max(np.abs(inverse(a)), (-2, -1), keepdims=True, initial=0.0) * np.max(
        np.abs(a), (-2, -1), keepdims=True, initial=0.0)  # fmt: skip


@matrix_op(
    host=_to_cholesky, small=True, movable=False, reference=root, magnitude=_cholesky_magnitude, flops=1 / 3,
    samples=[
        Sample(given, upper=upper, why=why, grad=False)  # no gradient along matrices that are not symmetric
        for given, upper, why in (
            (positive((5, 5)), False, "a matrix"), (positive((2, 3, 4, 4)), True, "a batch, upper"),
            (positive((33, 33)), False, "more rows"), (positive((70, 70)), True, "LAPACK's"),
            ((0, 0), False, "no rows"), ((0, 3, 3), False, "no matrices"), (positive((1, 1)), False, "one element"),
        )
    ],
    error_inputs=[
        *refused("cholesky"),
        ErrorInput(np.linalg.LinAlgError, "cholesky: Matrix is not positive definite", np.diag([1.0, -1.0])),
    ],
    workloads=[
        Workload((positive((3, 3)),), (), "dispatch"), Workload((positive((256, 256)),), (), "large"),
        Workload((positive((1024, 8, 8)),), (), "a batch of small ones"),
        on_gpu([positive((16384, 32, 32))], (), (float32,)),
    ],
    baselines=ways("cholesky(a, upper=upper)"),
)  # fmt: skip
def cholesky(a: Spec, upper: bool = False) -> Spec:
    """The lower triangular matrices l with positive diagonals for which l l^T = a: `a` (..., N, N), symmetric.

    With `upper` their transposes. Only the lower triangle of `a` is read (with `upper` the other); the gradient is
    that along symmetric matrices. Raises numpy.linalg.LinAlgError where a matrix is not positive definite,
    ShapeError where it is not square, DTypeError for 16-bit floats; on a GPU DTypeError for more than 64 rows.

    >>> dl.linalg.cholesky(dl.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return Spec(a.shape, a.dtype)


@cholesky.gradient
def _(dout: Any, out: Any, upper: bool) -> Any:
    # with l the lower factor: a's gradient is l^-T p(l^T dl) l^-1, made symmetric; p: the lower triangle, its diagonal
    # halved
    lower, dlower = (transpose(out), transpose(dout)) if upper else (out, dout)
    inner = matmul(transpose(lower), tril(dlower))
    half = mul(add(tril(inner), tril(inner, -1)), 0.5)
    across = transpose(lower)
    left = solve_triangular(across, half, upper=True)
    whole = transpose(solve_triangular(across, transpose(left), upper=True))
    return mul(add(whole, transpose(whole)), 0.5)


@cholesky.restrict
def _(operands: list[Any], largest: float) -> None:
    """Symmetric matrices, far from singular."""
    x = conditioned(operands[0])
    operands[0] = (x + np.swapaxes(x, -1, -2)) / 2 if x.ndim > 1 and x.shape[-1] == x.shape[-2] else x
