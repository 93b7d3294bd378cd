"""Linear algebra, under the names of NumPy, PyTorch and the array API: `dl.linalg.solve`, `dl.linalg.norm`, ...

    x = dl.linalg.solve(a, b)
    u, s, vh = dl.linalg.svd(a, full_matrices=False)

Matrices are the last two axes of a tensor, in front of which a batch may have any. float32 and float64; integers become
the default float; 16-bit floats are refused but by norms and products. solve, inv, det, slogdet, cholesky and
solve_triangular have kernels for matrices of at most 64 rows, on CPUs and GPUs. Everything else is LAPACK's, as NumPy
brings it, on a CPU; on a GPU it is a DTypeError that says so. All have gradients, of any order, where mathematics has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, boolean, calling, choice, integer, items, number, operand, renamed, shown
from dlcore._spelling import spelled
from dlcore.dtypes import default_float
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops import contraction, decompositions, linalg, reduce
from dlcore.ops._constants import constant
from dlcore.ops.decompositions import eigvalsh, lstsq, pinv, svdvals
from dlcore.ops.elementwise import abs, cast, div, eq, gt, mul, pow, where
from dlcore.ops.linalg import cholesky, det, inv, solve
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import expand, permute, reshape, transpose
from dlcore.ops.products import outer, tensordot
from dlcore.ops.statistics import norm as _norm
from dlcore.ops.strided import diagonal as _diagonal
from dlcore.ops.triangular import solve_triangular as _solve_triangular
from dlcore.ops.vectors import cross, vecdot

__all__ = [
    "EighResult", "QRResult", "SVDResult", "SlogdetResult", "cholesky", "cholesky_solve", "cond", "cross", "det",
    "diagonal", "eigh", "eigvalsh", "inv", "logdet", "lstsq", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Any
    R: Any


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Any
    S: Any
    Vh: Any


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Any
    eigenvectors: Any


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Any
    logabsdet: Any


# ---- decompositions -------------------------------------------------------------------------------------------------


def qr(x: Any, mode: str = "reduced") -> Any:
    """(Q, R) with Q R = x (..., M, N): Q with orthonormal columns, R upper triangular.

    ``mode``: "reduced", Q (..., M, K) and R (..., K, N) with K = min(M, N); "complete", Q (..., M, M) and R
    (..., M, N); "r", R of "reduced" alone. There are gradients of "reduced" for M >= N, of "complete" for M = N.

    >>> Q, R = dl.linalg.qr(dl.tensor([[3.0, 0.0], [4.0, 5.0]]))
    >>> abs(R).tolist()
    [[5.0, 4.0], [0.0, 3.0]]
    """
    choice(mode, ("reduced", "complete", "r"), "qr: mode")
    q, r = decompositions.qr(x, mode == "complete")
    return r if mode == "r" else QRResult(q, r)


def svd(x: Any, full_matrices: bool = True) -> SVDResult:
    """(U, S, Vh) with U diag(S) Vh = x (..., M, N): S (..., K) descends, columns of U and rows of Vh are orthonormal.

    U is (..., M, M) and Vh (..., N, N); with ``full_matrices=False`` (..., M, K) and (..., K, N), K = min(M, N), which
    gradients need unless M = N. Signs are LAPACK's.

    >>> U, S, Vh = dl.linalg.svd(dl.tensor([[3.0, 0.0], [0.0, 2.0]]))
    >>> S.round(4)
    tensor([3., 2.])
    """
    return SVDResult(*decompositions.svd(x, full_matrices))


def eigh(x: Any, UPLO: str = "L") -> EighResult:
    """(eigenvalues, eigenvectors) of symmetric x (..., N, N): (..., N), ascending, and (..., N, N), the columns.

    ``UPLO``: which triangle of x is read. The gradient is that along symmetric matrices. Signs are LAPACK's.

    >>> values, vectors = dl.linalg.eigh(dl.tensor([[2.0, 0.0], [0.0, 1.0]]))
    >>> values.round(4)
    tensor([1., 2.])
    """
    return EighResult(*decompositions.eigh(x, UPLO))


def slogdet(x: Any) -> SlogdetResult:
    """(sign, logabsdet) of the determinants of x (..., N, N): for where a determinant itself would overflow.

    >>> sign, logabsdet = dl.linalg.slogdet(dl.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign, logabsdet
    (tensor(-1.), tensor(0.))
    """
    return SlogdetResult(*linalg.slogdet(x))


# ---- equations ------------------------------------------------------------------------------------------------------


def solve_triangular(
    a: Any, b: Any, *, upper: bool = False, left: bool = True, unitriangular: bool = False
) -> Any:  # fmt: skip
    """The solutions x of t x = b, t the lower (``upper``: upper) triangle of ``a`` (..., N, N); ``b`` (..., N, K).

    With ``left=False`` of x t = b, ``b`` (..., K, N). ``unitriangular``: the diagonal counts as ones and is not read.

    >>> dl.linalg.solve_triangular(dl.tensor([[2.0, 0.0], [1.0, 1.0]]), dl.tensor([[4.0], [5.0]]), upper=False)
    tensor([[2.],
            [3.]])
    """
    if boolean(left, "solve_triangular: left"):
        return _solve_triangular(a, b, upper, unitriangular)
    a, b = operand(a, "solve_triangular", "a"), operand(b, "solve_triangular", "b")
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(f"solve_triangular: a {a.shape} and b {b.shape} do not fit")
    return transpose(_solve_triangular(transpose(a), transpose(b), not upper, unitriangular))


def cholesky_solve(b: Any, L: Any, upper: bool = False) -> Any:
    """The solutions x of L L^T x = b, with L a Cholesky factor (..., N, N), lower or ``upper``; b (..., N, K).

    >>> L = dl.linalg.cholesky(dl.tensor([[4.0, 0.0], [0.0, 9.0]]))
    >>> dl.linalg.cholesky_solve(dl.tensor([[8.0], [27.0]]), L)
    tensor([[2.],
            [3.]])
    """
    upper = boolean(upper, "cholesky_solve: upper")
    L = operand(L, "cholesky_solve", "L")
    with calling("cholesky_solve"):
        first = _solve_triangular(transpose(L) if upper else L, b, False)
        return _solve_triangular(L if upper else transpose(L), first, True)


def matrix_power(x: Any, n: int) -> Any:
    """x (..., N, N) multiplied by itself ``n`` times; of a negative ``n``, its inverse; of 0, identity matrices.

    Raises numpy.linalg.LinAlgError where a singular matrix would be inverted.

    >>> dl.linalg.matrix_power(dl.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    tensor([[1., 3.],
            [0., 1.]])
    """
    x, n = _square(x, "matrix_power"), integer(n, "matrix_power: n")
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        return expand(constant(np.eye(x.shape[-1], dtype=x.dtype.numpy), x), x.shape)
    found = None
    while n:
        if n & 1:
            found = x if found is None else matmul(found, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return found


_PADE = (1.0, 1 / 2, 3 / 26, 5 / 312, 5 / 3432, 1 / 11440, 1 / 308880, 1 / 17297280)
"""Coefficients of the numerator of exp's Pade approximant of order 7; with alternating signs of the denominator."""


def matrix_exp(x: Any) -> Any:
    """The exponentials of the matrices x (..., N, N): the sums of x^k / k!.

    By scaling and squaring (Higham 2005) with an approximant of order 7; how often is squared depends on the values.

    >>> dl.linalg.matrix_exp(dl.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    x = _square(x, "matrix_exp")
    x = x if x.dtype.is_float else cast(x, default_float())
    if x.size == 0:
        return x
    largest = float(reduce.max(reduce.sum(abs(x.detach()), -2)).item())
    halvings = max(0, math.ceil(math.log2(largest / 0.95))) if 0 < largest < math.inf else 0
    a = mul(x, 2.0**-halvings)
    square = matmul(a, a)
    power = expand(constant(np.eye(x.shape[-1], dtype=x.dtype.numpy), x), x.shape)
    even: Any = 0.0
    odd: Any = 0.0
    for k in range(0, len(_PADE), 2):
        even, odd = even + mul(power, _PADE[k]), odd + mul(power, _PADE[k + 1])
        power = matmul(power, square) if k + 2 < len(_PADE) else power
    odd = matmul(a, odd)
    found = solve(even - odd, even + odd)
    for _ in range(halvings):
        found = matmul(found, found)
    return found


def multi_dot(tensors: Sequence[Any]) -> Any:
    """The product of two or more matrices, in the order with the fewest operations. The first and last may be vectors.

    Raises ShapeError where shapes do not fit.

    >>> dl.linalg.multi_dot([dl.ones(2, 3), dl.ones(3, 4), dl.ones(4, 1)])
    tensor([[12.],
            [12.]])
    """
    several = items(tensors) if not isinstance(tensors, _C.TensorBase) else None
    if several is None or len(several) < 2:
        raise TypeError(f"multi_dot: tensors {shown(tensors)} is not a list of two or more tensors")
    parts = [operand(x, "multi_dot", "tensors") for x in several]
    axes = [2] * len(parts)
    axes[0], axes[-1] = parts[0].ndim, parts[-1].ndim
    shapes = ", ".join(str(x.shape) for x in parts)
    if any(x.ndim != n or n not in (1, 2) for x, n in zip(parts, axes, strict=True)):
        raise ShapeError(f"multi_dot: takes matrices, and vectors at the ends, not {shapes}")
    names = [(f"n{k}", f"n{k + 1}") for k in range(len(parts))]
    labels = [names[0][2 - axes[0] :], *names[1:-1], names[-1][: axes[-1]]]
    for x, y in pairwise(parts):
        if x.shape[-1] != y.shape[0]:
            raise ShapeError(f"multi_dot: inner sizes differ: {shapes}")
    out = (*(["n0"] if axes[0] == 2 else []), *([f"n{len(parts)}"] if axes[-1] == 2 else []))
    return contraction.contract(parts, tuple(labels), out)


# ---- numbers of a matrix --------------------------------------------------------------------------------------------


def _square(x: Any, name: str) -> Any:
    x = operand(x, name)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name}: takes x (..., N, N), not {x.shape}")
    return x


def _matrices(x: Any, name: str) -> Any:
    x = operand(x, name)
    if x.ndim < 2:
        raise ShapeError(f"{name}: takes x (..., M, N), not {x.shape}")
    return x


def diagonal(x: Any, offset: int = 0) -> Any:
    """A view of the diagonals of the matrices x (..., M, N): the elements ``offset`` places right of the main one.

    >>> dl.linalg.diagonal(dl.tensor([[[1, 2], [3, 4]]]))
    tensor([[1, 4]])
    """
    return _diagonal(_matrices(x, "diagonal"), offset, -2, -1)


def trace(x: Any, offset: int = 0, *, dtype: Any = None) -> Any:
    """The sums of the diagonals of the matrices x (..., M, N), ``offset`` places right of the main one: (...).

    ``dtype``: as in `sum`.

    >>> dl.linalg.trace(dl.tensor([[[1, 2], [3, 4]]]))
    tensor([5])
    """
    return reduce.sum(_diagonal(_matrices(x, "trace"), offset, -2, -1), -1, dtype=dtype)


def matrix_transpose(x: Any) -> Any:
    """A view of x (..., M, N) with its last two axes exchanged.

    >>> dl.linalg.matrix_transpose(dl.tensor([[[1, 2], [3, 4]]]))
    tensor([[[1, 3],
             [2, 4]]])
    """
    return transpose(_matrices(x, "matrix_transpose"))


def matrix_rank(x: Any, rtol: Any = None) -> Any:
    """How many singular values of x (..., M, N) are larger than ``rtol`` times the largest: (...), integers.

    ``rtol``: a number, or a tensor (...) with one for each matrix. Default: max(M, N) times the dtype's epsilon.

    >>> dl.linalg.matrix_rank(dl.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(1)
    """
    s = svdvals(_matrices(x, "matrix_rank"))
    if isinstance(rtol, _C.TensorBase):
        rtol = reshape(cast(rtol, s.dtype), (*rtol.shape, 1))
    else:
        rtol = max(x.shape[-2:]) * s.dtype.eps if rtol is None else number(rtol, "matrix_rank: rtol")
    if not s.shape[-1]:
        return reduce.sum(cast(s, "int64"), -1)
    return reduce.sum(cast(gt(s, mul(reduce.max(s, -1, True), rtol)), "int64"), -1)


def logdet(x: Any) -> Any:
    """The logarithms of the determinants of the matrices x (..., N, N): (...); -inf of 0, NaN of negative ones.

    >>> dl.linalg.logdet(dl.tensor([[2.0, 0.0], [0.0, 0.5]])).round(4)
    tensor(0.)
    """
    sign, logarithm = slogdet(_square(x, "logdet"))
    return where(gt(sign, 0), logarithm, where(eq(sign, 0), -math.inf, math.nan))


def cond(x: Any, p: Any = None) -> Any:
    """The condition numbers of the matrices x (..., M, N): the norm times that of the inverse.

    ``p``: an order of `matrix_norm`. None, 2 and -2: ratios of the largest and the smallest singular value, of any
    matrix; others of square ones, which raise numpy.linalg.LinAlgError where they are singular.

    >>> dl.linalg.cond(dl.tensor([[4.0, 0.0], [0.0, 2.0]])).round(4)
    tensor(2.)
    """
    if p is None or (isinstance(p, int | float) and p in (2, -2)):
        s = svdvals(_matrices(x, "cond"))
        if not s.shape[-1]:
            raise ShapeError(f"cond: x {x.shape} has no elements in its matrices")
        largest, smallest = reduce.max(s, -1), reduce.min(s, -1)
        return div(smallest, largest) if p == -2 else div(largest, smallest)
    x = _square(x, "cond")
    return mul(_matrix_norm(x, p, "cond"), _matrix_norm(inv(x), p, "cond"))


# ---- norms ----------------------------------------------------------------------------------------------------------


@spelled
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """A norm of vectors or of matrices, as NumPy chooses it.

    With ``axis`` a number, of the vectors along it, see `vector_norm`; with two, of these matrices, see `matrix_norm`.
    Without ``axis`` and ``ord``, the square root of the sum of squares of all elements; with ``ord``, of x itself,
    which has one axis or two.

    >>> dl.linalg.norm(dl.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = operand(x, "norm")
    several = None if axis is None else items(axis)
    if axis is None and ord is None:
        return _vector_norm(x, 2, None, keepdims, "norm")
    if axis is None:
        if x.ndim not in (1, 2):
            raise ShapeError(f"norm: ord {shown(ord)} without axis takes x with one or two axes, not {x.shape}")
        several = tuple(range(x.ndim))
    axes = (axis,) if several is None else tuple(several)
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes[0], keepdims, "norm")
    if len(axes) != 2:
        raise ValueError(f"norm: axis {shown(axis)} is neither one axis nor two")
    return _matrix_norm(x, "fro" if ord is None else ord, "norm", axes, keepdims)


@spelled
def vector_norm(x: Any, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:
    """The norms of vectors: (the sum of |x| ** ord) ** (1 / ord), over ``axis``, several or (None) all.

    ``ord``: any number; inf and -inf give the largest and smallest |x|, 0 how many are not 0. The gradient at a vector
    of zeros is 0.

    >>> dl.linalg.vector_norm(dl.tensor([[3.0], [4.0]]))
    tensor(5.)
    """
    return _vector_norm(operand(x, "vector_norm"), ord, axis, keepdims, "vector_norm")


@spelled
def matrix_norm(x: Any, ord: Any = "fro", axis: Any = (-2, -1), keepdims: bool = False) -> Any:
    """The norms of the matrices in the two axes ``axis`` of x.

    ``ord``: "fro", the root of the sum of squares; "nuc", the sum of singular values; 2 and -2, the largest and the
    smallest of them; 1 and -1, the largest and smallest sum of |x| down a column; inf and -inf, along a row.

    >>> dl.linalg.matrix_norm(dl.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    several = items(axis)
    if several is None or len(several) != 2:
        raise ValueError(f"matrix_norm: axis {shown(axis)} is not two axes")
    return _matrix_norm(operand(x, "matrix_norm"), ord, "matrix_norm", tuple(several), keepdims)


def _floating(x: Any, name: str) -> Any:
    if x.dtype.is_float:
        return x
    if x.dtype.kind == "bool":
        raise DTypeError(f"{name}: does not take bool")
    return cast(x, default_float())


def _vector_norm(x: Any, ord: Any, axis: Any, keepdims: bool, name: str) -> Any:
    x, p = _floating(x, name), number(ord, f"{name}: ord")
    try:
        if math.isinf(p) or p in (0, 1, 2):
            return _norm(x, p, axis, keepdims)
        total = reduce.sum(pow(abs(x), p), axis, keepdims)
        nothing = eq(total, 0)  # whose gradient is 0
        return where(nothing, 0.0 if p > 0 else math.inf, pow(where(nothing, 1.0, total), 1 / p))
    except (ShapeError, IndexError, TypeError) as error:
        raise renamed(error, name) from None


def _matrix_norm(x: Any, ord: Any, name: str, axis: tuple[Any, ...] = (-2, -1), keepdims: bool = False) -> Any:
    x = _floating(_matrices(x, name), name)
    row, column = (axis_of(k, f"{name}: axis", x.shape) for k in axis)
    if row == column:
        raise ShapeError(f"{name}: an axis is given twice: {axis} for shape {x.shape}")
    if ord == "fro":
        return _vector_norm(x, 2, (row, column), keepdims, name)
    known = ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)
    if isinstance(ord, str) and ord != "nuc":
        choice(ord, known, f"{name}: ord")
    if ord == "nuc" or number(ord, f"{name}: ord") in (2, -2):
        others = [d for d in range(x.ndim) if d not in (row, column)]
        s = svdvals(permute(x, (*others, row, column)))
        found = reduce.sum(s, -1) if ord == "nuc" else (reduce.max if ord > 0 else reduce.min)(s, -1)
        shape = tuple(1 if d in (row, column) else n for d, n in enumerate(x.shape))
        return reshape(found, shape) if keepdims else found
    p = number(ord, f"{name}: ord")
    if math.fabs(p) not in (1, math.inf):
        raise ValueError(f"{name}: ord {shown(ord)} is not one of {', '.join(map(repr, known))}")
    first, second = (row, column) if math.fabs(p) == 1 else (column, row)
    sums = reduce.sum(abs(x), first, True)
    found = (reduce.max if p > 0 else reduce.min)(sums, second, True)
    kept = tuple(n for d, n in enumerate(found.shape) if d not in (row, column))
    return found if keepdims else reshape(found, kept)
