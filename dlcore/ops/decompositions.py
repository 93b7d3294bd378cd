"""Decompositions of matrices by LAPACK, as NumPy brings it: qr, svd, eigh; and what is made of them: pinv, lstsq.

They run on the CPU and, when recorded, replay as commands of the host. Shapes: M x N matrices behind any axes of a
batch, K = min(M, N). Gradients hold where singular values or eigenvalues differ: of two that are equal, what their
vectors contribute between each other is left out, for it is not defined.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from dlcore.dtypes import int64
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload
from dlcore.ops._linalg import conditioned, matrices, matrix_op, refused, ways
from dlcore.ops.elementwise import add, div, eq, mul, neg, reciprocal, sub, where
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import squeeze, transpose, unsqueeze
from dlcore.ops.triangles import tril
from dlcore.ops.triangular import solve_triangular

__all__ = ["eigh", "eigvalsh", "lstsq", "pinv", "qr", "svd", "svdvals"]

Lengths = tuple[int, ...]


def _spread(values: Any) -> Any:
    """The largest of singular values or eigenvalues over the smallest distance of two, or from 0: (..., 1, 1)."""
    every = np.sort(np.concatenate([values, np.zeros((*values.shape[:-1], 1))], -1), -1)
    gaps = np.min(np.diff(every, axis=-1), -1, initial=np.inf)
    return (np.max(np.abs(values), -1, initial=1e-30) / np.maximum(gaps, 1e-30))[..., None, None]


def _gaps(values: Any, squared: bool = False) -> Any:
    """1 / (w_j - w_i) for all pairs (of squares: w_j^2 - w_i^2), and 0 where they are equal."""
    row, column = unsqueeze(values, -2), unsqueeze(values, -1)
    distance = sub(row, column)
    if squared:
        distance = mul(distance, add(row, column))
    return reciprocal(where(eq(distance, 0), math.inf, distance))


def _refused_shapes(name: str) -> list[ErrorInput]:
    return [
        ErrorInput(ShapeError, f"{name}: takes a (..., M, N), not (3,)", np.zeros(3)),
        ErrorInput(DTypeError, f"{name}: does not take float16; cast to float32", np.eye(2, dtype=np.float16)),
    ]


# ---- qr -------------------------------------------------------------------------------------------------------------


def _to_qr(a: Any, q: Any, r: Any, complete: bool) -> None:
    q[...], r[...] = np.linalg.qr(a, "complete" if complete else "reduced")


def _householder(a: Any, complete: bool) -> tuple[Any, Any]:
    """q and r by reflections, with LAPACK's signs."""
    a, (m, n) = a.copy(), a.shape[-2:]
    q = np.broadcast_to(np.eye(m, dtype=a.dtype), (*a.shape[:-2], m, m)).copy()
    for k in range(min(m - 1, n)):
        v = a[..., k:, k].copy()
        below = np.any(v[..., 1:] != 0, -1)  # else there is nothing to reflect
        v[..., 0] = np.where(below, v[..., 0] + np.copysign(np.sqrt(np.sum(v * v, -1)), v[..., 0]), 0)
        v = v / np.maximum(np.sqrt(np.sum(v * v, -1, keepdims=True)), 1e-300)
        a[..., k:, :] -= 2 * v[..., :, None] * np.sum(v[..., :, None] * a[..., k:, :], -2, keepdims=True)
        q[..., :, k:] -= 2 * np.sum(q[..., :, k:] * v[..., None, :], -1, keepdims=True) * v[..., None, :]
    rows = m if complete else min(m, n)
    return q[..., :rows], np.triu(a)[..., :rows, :]


def _qr_magnitude(a: Any) -> tuple[Any, Any]:
    spread = np.linalg.cond(a)[..., None, None] if a.size else np.ones((*a.shape[:-2], 1, 1))
    return spread, spread * np.max(np.abs(a), (-2, -1), keepdims=True, initial=1e-30)


_TIMED = (Workload((matrices((4, 4)),), (), "dispatch"), Workload((matrices((128, 128)),), (), "large"))


@matrix_op(
    outputs="q r", host=_to_qr, square=False, reference=_householder, magnitude=_qr_magnitude, flops=4,
    samples=[
        Sample(matrices((5, 5)), why="square"), Sample(matrices((2, 6, 3)), why="a batch of tall ones"),
        Sample(matrices((3, 5)), why="wide", grad=False), Sample((0, 3, 3), why="no matrices"),
        Sample(matrices((5, 3)), complete=True, why="complete", grad=False),
        Sample(matrices((3, 3)), complete=True, why="complete, square"),
    ],
    error_inputs=_refused_shapes("qr"), workloads=_TIMED,
    baselines={"numpy": "np.linalg.qr(a, 'complete' if complete else 'reduced')[1]", "torch": "torch.linalg.qr(a)[1]",
               "jax": "jnp.linalg.qr(a)[1]"},
)  # fmt: skip
def qr(a: Spec, complete: bool = False) -> tuple[Spec, Spec]:
    """q (..., M, K) with orthonormal columns and r (..., K, N), upper triangular, with q r = a (..., M, N).

    With `complete`, q is M x M and r M x N. Gradients: for M >= N, `complete` only where M = N, and r must not be
    singular; else AutogradError.
    """
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    k = m if complete else min(m, n)
    return Spec((*batch, m, k), a.dtype), Spec((*batch, k, n), a.dtype)


@qr.gradient
def _(dq: Any, dr: Any, q: Any, r: Any) -> Any:
    m, n = q.shape[-2], r.shape[-1]
    if m < n or q.shape[-1] != n:
        raise AutogradError(f"qr: there is no gradient for q {q.shape} and r {r.shape}; q must be M x N and M >= N")
    # (dq + q c(r dr^T - dq^T q)) r^-T, c: the lower triangle and its mirror image
    inner = None
    if dr is not None:
        inner = matmul(r, transpose(dr))
    if dq is not None:
        part = matmul(transpose(dq), q)
        inner = neg(part) if inner is None else sub(inner, part)
    if inner is None:
        return None
    whole = matmul(q, add(tril(inner), transpose(tril(inner, -1))))
    whole = whole if dq is None else add(whole, dq)
    return transpose(solve_triangular(r, transpose(whole), upper=True))


# ---- svd ------------------------------------------------------------------------------------------------------------


def _to_svd(a: Any, u: Any, s: Any, vh: Any, full_matrices: bool) -> None:
    u[...], s[...], vh[...] = np.linalg.svd(a, full_matrices)


def _svd_magnitude(a: Any) -> tuple[Any, Any, Any]:
    s = np.linalg.svd(a, compute_uv=False) if a.size else np.zeros((*a.shape[:-2], min(a.shape[-2:])))
    spread = _spread(s)
    return spread, np.max(s, -1, keepdims=True, initial=1e-30), spread


def _apart(shape: Lengths) -> Any:
    """Random matrices whose singular values are far from each other."""
    found = matrices(shape)

    def draw(rng: np.random.Generator) -> Any:
        return conditioned(found.draw(rng)) if found.draw else None

    return found._replace(draw=draw)


@matrix_op(
    outputs="u s vh", host=_to_svd, square=False, reference=lambda a, full_matrices: np.linalg.svd(a, full_matrices),
    magnitude=_svd_magnitude, flops=12,
    samples=[
        Sample(_apart((4, 4)), full_matrices=False, why="square"),
        Sample(_apart((2, 5, 3)), full_matrices=False, why="a batch of tall ones"),
        Sample(_apart((3, 5)), full_matrices=False, why="wide"),
        Sample(_apart((4, 3)), why="full", grad=False), Sample((0, 3, 3), why="no matrices"),
    ],
    error_inputs=_refused_shapes("svd"), workloads=[w._replace(attrs=(False,)) for w in _TIMED],
    baselines={"numpy": "np.linalg.svd(a, full_matrices)[2]", "torch": "torch.linalg.svd(a, full_matrices)[2]",
               "jax": "jnp.linalg.svd(a, full_matrices)[2]"},
)  # fmt: skip
def svd(a: Spec, full_matrices: bool = True) -> tuple[Spec, Spec, Spec]:
    """u (..., M, K), s (..., K) and vh (..., K, N) with u diag(s) vh = a (..., M, N): the singular value decomposition.

    Columns of u and rows of vh are orthonormal, s descends. With `full_matrices` u is M x M and vh N x N, and there is
    no gradient unless M = N (AutogradError). Signs of vectors are LAPACK's. Raises numpy.linalg.LinAlgError where the
    algorithm does not converge.
    """
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    k = min(m, n)
    u, v = ((m, m), (n, n)) if full_matrices else ((m, k), (k, n))
    return Spec((*batch, *u), a.dtype), Spec((*batch, k), a.dtype), Spec((*batch, *v), a.dtype)


def _skew(x: Any) -> Any:
    return sub(x, transpose(x))


def _sum(*terms: Any) -> Any:
    """Of those that there are; None of none."""
    found = None
    for x in terms:
        found = x if found is None else found if x is None else add(found, x)
    return found


@svd.gradient
def _(du: Any, ds: Any, dvh: Any, u: Any, s: Any, vh: Any) -> Any:
    m, k, n = u.shape[-2], s.shape[-1], vh.shape[-1]
    if u.shape[-1] != k or vh.shape[-2] != k:
        raise AutogradError("svd: there is no gradient of full matrices that are not square; use full_matrices=False")
    row, column, v, across = unsqueeze(s, -2), unsqueeze(s, -1), transpose(vh), transpose(u)
    inner = left = right = None  # u inner vh + left vh + u right
    if du is not None:
        inner = mul(mul(_skew(matmul(across, du)), _gaps(s, squared=True)), row)
        if m > k:
            own = div(du, row)
            left = sub(own, matmul(u, matmul(across, own)))
    if dvh is not None:
        inner = _sum(inner, mul(column, mul(_skew(matmul(vh, transpose(dvh))), _gaps(s, squared=True))))
        if n > k:
            own = div(dvh, column)
            right = sub(own, matmul(matmul(own, v), vh))
    parts = [
        None if inner is None else matmul(u, matmul(inner, vh)), None if ds is None else
        matmul(mul(u, unsqueeze(ds, -2)), vh), None if left is None else matmul(left, vh),
        None if right is None else matmul(u, right),
    ]  # fmt: skip
    return _sum(*parts)


def _to_svdvals(a: Any, out: Any) -> None:
    out[...] = np.linalg.svd(a, compute_uv=False)


@matrix_op(
    host=_to_svdvals, square=False, reference=lambda a: np.linalg.svd(a, compute_uv=False), flops=4,
    magnitude=lambda a: _svd_magnitude(a)[1], error_inputs=_refused_shapes("svdvals"), workloads=_TIMED,
    samples=[Sample(_apart((4, 4)), why="square"), Sample(_apart((2, 5, 3)), why="a batch of tall ones"),
             Sample(_apart((3, 5)), why="wide"), Sample((0, 3, 3), why="no matrices")],
    baselines={"numpy": "np.linalg.svd(a, compute_uv=False)", "torch": "torch.linalg.svdvals(a)",
               "jax": "jnp.linalg.svdvals(a)"},
)  # fmt: skip
def svdvals(a: Spec) -> Spec:
    """The singular values of `a` (..., M, N) in descending order: (..., K). Raises as `svd` does.

    >>> dl.linalg.svdvals(dl.tensor([[3.0, 0.0], [0.0, 2.0]])).round(4)
    tensor([3., 2.])
    """
    return Spec((*a.shape[:-2], min(a.shape[-2:])), a.dtype)


@svdvals.gradient
def _(dout: Any, a: Any) -> Any:
    u, _, vh = svd(a, False)
    return matmul(mul(u, unsqueeze(dout, -2)), vh)


# ---- eigh -----------------------------------------------------------------------------------------------------------


def _to_eigh(a: Any, w: Any, v: Any, uplo: Any) -> None:
    w[...], v[...] = np.linalg.eigh(a, uplo)


def _symmetric(shape: Lengths) -> Any:
    """Random symmetric matrices whose eigenvalues are far from each other."""
    found = _apart(shape)

    def draw(rng: np.random.Generator) -> Any:
        x: Any = found.draw(rng) if found.draw else None
        return (x + np.swapaxes(x, -1, -2)) / 2

    return found._replace(draw=draw)


def _eigh_magnitude(a: Any, uplo: Any) -> tuple[Any, Any]:
    w = np.linalg.eigvalsh(a, uplo) if a.size else np.zeros(a.shape[:-1])
    return np.max(np.abs(w), -1, keepdims=True, initial=1e-30), _spread(w)


_SYMMETRIC = [
    Sample(_symmetric((4, 4)), why="a matrix", grad=False),  # no gradient along matrices that are not symmetric
    Sample(_symmetric((2, 3, 3)), uplo="U", why="a batch, by the upper triangle", grad=False),
    Sample((0, 3, 3), why="no matrices", grad=False),
]


@matrix_op(
    outputs="w v", host=_to_eigh, reference=lambda a, uplo: np.linalg.eigh(a, uplo), magnitude=_eigh_magnitude, flops=9,
    samples=_SYMMETRIC, error_inputs=refused("eigh"), workloads=_TIMED,
    baselines={"numpy": "np.linalg.eigh(a, uplo)[1]", "torch": "torch.linalg.eigh(a, uplo)[1]",
               "jax": "jnp.linalg.eigh(a, uplo)[1]"},
)  # fmt: skip
def eigh(a: Spec, uplo: Literal["L", "U"] = "L") -> tuple[Spec, Spec]:
    """The eigenvalues w (..., N), ascending, and eigenvectors v (..., N, N), its columns, of symmetric `a` (..., N, N).

    a = v diag(w) v^T. Only the lower triangle of `a` is read (of "U" the upper); the gradient is that along symmetric
    matrices. Signs of vectors are LAPACK's. Raises numpy.linalg.LinAlgError where the algorithm does not converge.
    """
    return Spec(a.shape[:-1], a.dtype), Spec(a.shape, a.dtype)


@eigh.gradient
def _(dw: Any, dv: Any, w: Any, v: Any) -> Any:
    across = transpose(v)
    inner = None if dv is None else matmul(v, matmul(mul(matmul(across, dv), _gaps(w)), across))
    found = _sum(inner, None if dw is None else matmul(mul(v, unsqueeze(dw, -2)), across))
    return None if found is None else mul(add(found, transpose(found)), 0.5)


def _to_eigvalsh(a: Any, out: Any, uplo: Any) -> None:
    out[...] = np.linalg.eigvalsh(a, uplo)


@matrix_op(
    host=_to_eigvalsh, reference=lambda a, uplo: np.linalg.eigvalsh(a, uplo), flops=4 / 3, samples=_SYMMETRIC,
    magnitude=lambda a, uplo: _eigh_magnitude(a, uplo)[0], error_inputs=refused("eigvalsh"), workloads=_TIMED,
    baselines={"numpy": "np.linalg.eigvalsh(a, uplo)", "torch": "torch.linalg.eigvalsh(a, uplo)",
               "jax": "jnp.linalg.eigvalsh(a, uplo)"},
)  # fmt: skip
def eigvalsh(a: Spec, uplo: Literal["L", "U"] = "L") -> Spec:
    """The eigenvalues of symmetric matrices `a` (..., N, N) in ascending order: (..., N). As `eigh`.

    >>> dl.linalg.eigvalsh(dl.tensor([[2.0, 1.0], [1.0, 2.0]])).round(4)
    tensor([1., 3.])
    """
    return Spec(a.shape[:-1], a.dtype)


@eigvalsh.gradient
def _(dout: Any, a: Any, uplo: str) -> Any:
    _, v = eigh(a, uplo)
    return matmul(mul(v, unsqueeze(dout, -2)), transpose(v))


# ---- pinv and lstsq -------------------------------------------------------------------------------------------------


def _cutoff(a: Any, rtol: Any) -> Any:
    """Singular values below this times the largest count as 0."""
    return max(a.shape[-2:]) * float(np.finfo(a.dtype).eps) if rtol is None else rtol


def _to_pinv(a: Any, rtol: Any, out: Any) -> None:
    out[...] = np.linalg.pinv(a, _cutoff(a, rtol))


def _pinv_magnitude(a: Any, rtol: Any) -> Any:
    if not a.size:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]))
    s = np.linalg.svd(a, compute_uv=False)
    return (s[..., 0] / np.min(s, -1) ** 2)[..., None, None] * np.ones((*a.shape[:-2], a.shape[-1], a.shape[-2]))


@matrix_op(
    host=_to_pinv, square=False, reference=lambda a, rtol: np.linalg.pinv(a, _cutoff(a, rtol)), flops=14,
    magnitude=_pinv_magnitude, workloads=[w._replace(operands=(*w.operands, None)) for w in _TIMED],
    baselines=ways("pinv(a)"),
    samples=[Sample(matrices((4, 4)), why="square"), Sample(matrices((2, 5, 3)), why="a batch of tall ones"),
             Sample(matrices((3, 5)), 1e-3, why="wide"), Sample((0, 3, 3), why="no matrices"),
             Sample(matrices((2, 4, 3)), Input((2,), 1e-6, 1e-3), why="a tolerance for each matrix", grad=False)],
    error_inputs=[*_refused_shapes("pinv"), ErrorInput(
        ShapeError, "pinv: rtol (3,) does not broadcast to the matrices of a (2, 2, 2)", np.ones((2, 2, 2)), np.ones(3),
    )],
)  # fmt: skip
def pinv(a: Spec, rtol: Spec | None = None) -> Spec:
    """The pseudo-inverses (..., N, M) of `a` (..., M, N), after Moore and Penrose.

    Singular values of at most `rtol` times the largest count as 0: a number, or a tensor (...) with one for each
    matrix; default: max(M, N) times the dtype's epsilon. Its gradient holds where the rank does not change. Raises as
    `svd` does.

    >>> dl.linalg.pinv(dl.tensor([[2.0], [0.0]])).round(4)
    tensor([[0.5, 0. ]])
    """
    batch = a.shape[:-2]
    own = () if rtol is None else rtol.shape
    if len(own) > len(batch) or any(r not in (1, n) for r, n in zip(own[::-1], batch[::-1], strict=False)):
        raise ShapeError(f"pinv: rtol {own} does not broadcast to the matrices of a {a.shape}")
    return Spec((*batch, a.shape[-1], a.shape[-2]), a.dtype)


def _inverse_to_a(dout: Any, a: Any, p: Any) -> Any:
    """The gradient of a pseudo-inverse p (Golub and Pereyra, 1973)."""
    (m, n), across = a.shape[-2:], transpose(p)
    found = neg(matmul(across, matmul(dout, across)))
    back = transpose(dout)
    if m > n:
        part = matmul(matmul(back, p), across)
        found = add(found, sub(part, matmul(a, matmul(p, part))))
    if m < n:
        part = matmul(across, matmul(p, back))
        found = add(found, sub(part, matmul(matmul(part, p), a)))
    return found


@pinv.gradient("a")
def _(dout: Any, a: Any, out: Any) -> Any:
    return _inverse_to_a(dout, a, out)


def _to_lstsq(a: Any, b: Any, out: Any, residuals: Any, rank: Any, s: Any, rtol: float | None) -> None:
    for at in np.ndindex(a.shape[:-2]):
        out[at], _, rank[at], s[at] = np.linalg.lstsq(a[at], b[at], _cutoff(a, rtol))
        left = b[at] - a[at] @ out[at]
        residuals[at] = np.sum(left * left, 0)


def _least_squares(a: Any, b: Any, rtol: float | None) -> tuple[Any, ...]:
    p = np.linalg.pinv(a, _cutoff(a, rtol))
    out = p @ b
    left, s = b - a @ out, np.linalg.svd(a, compute_uv=False)
    rank = np.sum(s > _cutoff(a, rtol) * np.max(s, -1, keepdims=True, initial=0), -1)
    return out, np.sum(left * left, 0 if b.ndim == 1 else -2), rank.astype(np.int64), s


def _lstsq_magnitude(a: Any, b: Any) -> tuple[Any, ...]:
    size = np.max(np.abs(b), initial=1e-30)
    s = np.linalg.svd(a, compute_uv=False)
    spread = float(np.max(s, initial=0)) / max(float(np.min(s, initial=np.inf)), 1e-30)
    return spread**2 * size, b.shape[0] * spread * size**2, 1.0, np.max(s, -1, keepdims=True, initial=0)


@matrix_op(
    outputs="out residuals rank s", host=_to_lstsq, square=False, reference=_least_squares, magnitude=_lstsq_magnitude,
    flops=14, batching="loop",
    samples=[Sample(matrices((4, 4)), (4, 2), why="square"), Sample(matrices((6, 3)), (6,), why="tall, a vector"),
             Sample(matrices((2, 6, 3)), (2, 6, 2), why="a batch"), Sample(matrices((3, 5)), (3, 2), why="wide")],
    error_inputs=[ErrorInput(ShapeError, "lstsq: takes a (..., M, N), not (3,)", np.zeros(3), np.zeros(3)), ErrorInput(
        ShapeError, "lstsq: a (2, 3) and b (3,) do not fit", np.zeros((2, 3)), np.zeros(3))],
    workloads=[Workload((matrices((8, 4)), (8, 2)), (), "dispatch"),
               Workload((matrices((256, 32)), (256, 8)), (), "large")],
    baselines={"numpy": "np.linalg.lstsq(a, b)[3]", "torch": "torch.linalg.lstsq(a, b, driver='gelsd')[3]",
               "jax": "jnp.linalg.lstsq(a, b)[3]"},
)  # fmt: skip
def lstsq(a: Spec, b: Spec, rtol: float | None = None) -> tuple[Spec, Spec, Spec, Spec]:
    """The x of least norm that minimise the sums of squares of a x - b, these sums, the ranks and singular values of a.

    `a` (..., M, N), `b` (..., M, R) with the same batch, or a vector (M,) for one matrix: x (..., N, R) or (N,), sums
    (..., R) or (), ranks (...) in int64, singular values (..., K). `rtol` as for `pinv`. The sums are there for any
    rank (NumPy leaves them out for some). Gradients hold where the rank does not change. Raises ShapeError where
    shapes do not fit.

    >>> dl.linalg.lstsq(dl.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), dl.tensor([1.0, 3.0, 5.0]))[0].round(4)
    tensor([1., 2.])
    """
    (m, n), batch, vector = a.shape[-2:], a.shape[:-2], len(b.shape) == 1
    if (vector and batch) or b.shape[: len(batch) + 1] != (*batch, m) or len(b.shape) > len(a.shape):
        raise ShapeError(f"lstsq: a {a.shape} and b {b.shape} do not fit")
    rest = b.shape[len(batch) + 1 :]
    shapes = (*batch, n, *rest), (*batch, *rest), batch, (*batch, min(m, n))
    out, residuals, rank, s = (Spec(shape, a.dtype) for shape in shapes)
    return out, residuals, rank._replace(dtype=int64), s


@lstsq.gradient("a", "b")
def _(dout: Any, dresiduals: Any, ds: Any, a: Any, b: Any, out: Any, rtol: float | None) -> tuple[Any, Any]:
    vector = b.ndim == 1
    if vector:
        dout = None if dout is None else unsqueeze(dout, -1)
        dresiduals = None if dresiduals is None else unsqueeze(dresiduals, -1)
        b, out = unsqueeze(b, -1), unsqueeze(out, -1)
    da = db = None
    if dout is not None:
        p = pinv(a, rtol)
        da, db = _inverse_to_a(matmul(dout, transpose(b)), a, p), matmul(transpose(p), dout)
    if dresiduals is not None:  # x minimises the sums: they do not change with it
        left = mul(mul(sub(b, matmul(a, out)), 2), unsqueeze(dresiduals, -2))
        da, db = _sum(da, neg(matmul(left, transpose(out)))), _sum(db, left)
    if ds is not None:
        u, _, vh = svd(a, False)
        da = _sum(da, matmul(mul(u, unsqueeze(ds, -2)), vh))
    return da, squeeze(db, -1) if vector and db is not None else db
