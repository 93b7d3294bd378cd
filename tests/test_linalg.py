"""dl.linalg: what the tests of the table cannot say: symmetric matrices, decompositions put together, norms, errors."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import linalg

RNG = np.random.default_rng(5)


def random(*shape):
    return np.random.default_rng(list(shape)).standard_normal(shape)


def spd(n, *batch):
    x = random(*batch, n, n)
    return x @ np.swapaxes(x, -1, -2) / n + np.eye(n)


def close(got, want, tolerance=1e-9):
    np.testing.assert_allclose(np.asarray(got), want, rtol=tolerance, atol=tolerance)


# ---- gradients along symmetric matrices -----------------------------------------------------------------------------


def check_gradients(function, x):
    """The first and second derivative along random directions against central differences."""
    weights = [np.random.default_rng(7).standard_normal(o.shape) for o in outputs(function, dl.tensor(x))]
    one, two = (np.random.default_rng(k).standard_normal(x.shape) for k in (8, 9))

    def value(at):
        return sum(float(np.sum(w * np.asarray(o.detach()))) for w, o in zip(weights, outputs(function, dl.tensor(at)),
                                                                            strict=True))

    def slope(at, create_graph=False):
        leaf = dl.tensor(at)
        leaf.requires_grad = True
        total = sum((dl.tensor(w) * o).sum() for w, o in zip(weights, outputs(function, leaf), strict=True))
        (g,) = dl.grad([total], [leaf], create_graph=create_graph)
        return leaf, (g * dl.tensor(one)).sum()

    step = 1e-5
    leaf, first = slope(x, create_graph=True)
    numeric = (value(x + step * one) - value(x - step * one)) / (2 * step)
    assert abs(first.item() - numeric) <= 1e-6 * max(1.0, abs(numeric))
    (second,) = dl.grad([first], [leaf])
    numeric = (slope(x + step * two)[1].item() - slope(x - step * two)[1].item()) / (2 * step)
    analytic = float(np.sum(np.asarray(second) * two))
    assert abs(analytic - numeric) <= 1e-5 * max(1.0, abs(numeric))


def outputs(function, x):
    found = function(x)
    return list(found) if isinstance(found, tuple) else [found]


def symmetric(x):
    return x @ linalg.matrix_transpose(x) + dl.tensor(np.diag(np.arange(1.0, x.shape[-1] + 1)))


@pytest.mark.parametrize("function", [
    lambda x: linalg.cholesky(symmetric(x)), lambda x: linalg.cholesky(symmetric(x), upper=True),
    lambda x: linalg.eigh(symmetric(x)), lambda x: linalg.eigh(symmetric(x), "U"),
    lambda x: linalg.eigvalsh(symmetric(x)), lambda x: linalg.slogdet(symmetric(x)).logabsdet,
    lambda x: linalg.cholesky_solve(x, linalg.cholesky(symmetric(x))),
    lambda x: linalg.solve_triangular(symmetric(x), x, left=False),
    lambda x: linalg.matrix_power(x, 3), lambda x: linalg.matrix_power(symmetric(x), -2),
    lambda x: linalg.multi_dot([x, x, x[0]]), lambda x: linalg.norm(x), lambda x: linalg.norm(x, 3.5, 0),
    lambda x: linalg.matrix_norm(x, "nuc"), lambda x: linalg.matrix_norm(x, 2), lambda x: linalg.trace(x) ** 2,
    lambda x: linalg.cond(symmetric(x)), lambda x: linalg.qr(x, "r"),
])  # fmt: skip
def test_gradients(function):
    check_gradients(function, random(4, 4) + 2 * np.eye(4))


def test_the_gradient_of_a_norm_at_zero_is_zero():
    for ord in (2, 3):
        x = dl.zeros(3)
        x.requires_grad = True
        linalg.vector_norm(x, ord).backward()
        close(x.grad, np.zeros(3))


# ---- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 4, 3), (90, 80)])
def test_decompositions_put_together_give_the_matrix(shape):
    a = random(*shape)
    x, k = dl.tensor(a), min(shape[-2:])
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(x, mode)
        close(q @ r, a)
        close(q.mT @ q, np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], q.shape[-1], q.shape[-1])))
    close(linalg.qr(x, "r"), np.linalg.qr(a, "r"))
    u, s, vh = linalg.svd(x, full_matrices=False)
    close(u * s[..., None, :] @ vh, a)
    close(linalg.svdvals(x), s)
    u, s, vh = linalg.svd(x)
    assert u.shape[-1] == shape[-2] and vh.shape[-1] == shape[-1]
    close(u[..., :k] * s[..., None, :] @ vh[..., :k, :], a)
    close(linalg.pinv(x), np.linalg.pinv(a))


@pytest.mark.parametrize("n", [1, 8, 64, 65, 130])
def test_small_and_large_matrices_are_solved_alike(n):
    a, b = random(2, n, n) + n * np.eye(n), random(n, 3)
    close(linalg.solve(dl.tensor(a), dl.tensor(b)), np.linalg.solve(a, b))
    close(linalg.inv(dl.tensor(a)), np.linalg.inv(a))
    sign, logabsdet = linalg.slogdet(dl.tensor(a))
    close(sign, np.linalg.slogdet(a)[0]), close(logabsdet, np.linalg.slogdet(a)[1])
    p = spd(n, 2)
    lower = linalg.cholesky(dl.tensor(p))
    close(lower, np.linalg.cholesky(p)), close(linalg.cholesky_solve(dl.tensor(b), lower), np.linalg.solve(p, b))
    values, vectors = linalg.eigh(dl.tensor(p))
    close(vectors * values[..., None, :] @ vectors.mT, p)
    for upper in (False, True):
        t = np.triu(a) if upper else np.tril(a)
        close(linalg.solve_triangular(dl.tensor(a), dl.tensor(b), upper=upper), np.linalg.solve(t, b))
        right = linalg.solve_triangular(dl.tensor(a), dl.tensor(b.T), upper=upper, left=False)
        close(right @ dl.tensor(t), np.broadcast_to(b.T, (2, 3, n)))


@pytest.mark.parametrize("x", [random(5), random(4, 3), random(4, 4), random(2, 3, 4)], ids=lambda x: str(x.shape))
def test_norms_are_numpys(x):
    t = dl.tensor(x)
    close(linalg.norm(t), np.linalg.norm(x))
    for ord in (2, 1, 0, 3, 0.5, -1, -2, np.inf, -np.inf):
        close(linalg.vector_norm(t, ord), np.linalg.vector_norm(x, ord=ord))
        close(linalg.vector_norm(t, ord, -1, True), np.linalg.vector_norm(x, ord=ord, axis=-1, keepdims=True))
        close(linalg.norm(t, ord, 0), np.linalg.norm(x, ord, 0))
    for ord in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf) if x.ndim > 1 else ():
        close(linalg.matrix_norm(t, ord), np.linalg.matrix_norm(x, ord=ord))
        close(linalg.norm(t, ord, (0, -1), True), np.linalg.norm(x, ord, (0, -1), True))
    for p in (None, 1, -1, 2, -2, np.inf, "fro", "nuc") if x.shape[-1] == 4 == x.shape[0] else ():
        close(linalg.cond(t, p), np.linalg.cond(x, p))


def test_norms_of_halves_and_integers():
    assert linalg.norm(dl.tensor([3, 4])).dtype is dl.float32 and linalg.norm(dl.tensor([3, 4])).item() == 5
    assert linalg.norm(dl.tensor(np.array([3.0, 4.0], np.float16))).dtype is dl.float16


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 8.0])
def test_exponentials_of_matrices(scale):
    x = RNG.standard_normal((2, 4, 4)) * scale
    values, vectors = np.linalg.eig(x)
    want = ((vectors * np.exp(values)[:, None, :]) @ np.linalg.inv(vectors)).real
    t = dl.tensor(x, requires_grad=True)
    got = dl.linalg.matrix_exp(t)
    np.testing.assert_allclose(np.asarray(got.detach()), want, atol=1e-12 * np.abs(want).max())
    assert dl.matrix_exp(dl.zeros(0, 0)).shape == (0, 0) and dl.linalg.matrix_exp(dl.tensor([[0]])).tolist() == [[1.0]]
    direction, step = RNG.standard_normal(x.shape), 1e-6
    (got * dl.tensor(np.asarray(got.detach()))).sum().backward()
    slopes = [(np.asarray(dl.linalg.matrix_exp(dl.tensor(x + d * step * direction))) ** 2).sum() / 2 for d in (-1, 1)]
    slope = (np.asarray(t.grad) * direction).sum()
    assert slope == pytest.approx((slopes[1] - slopes[0]) / (2 * step), rel=1e-5, abs=1e-6 * np.abs(want).max() ** 2)


def test_numbers_of_matrices():
    a = random(2, 4, 4)
    t = dl.tensor(a)
    close(linalg.trace(t, 1), np.trace(a, 1, -2, -1)), close(linalg.diagonal(t, -1), np.diagonal(a, -1, -2, -1))
    assert linalg.matrix_rank(dl.tensor(np.ones((3, 3)))).item() == 1
    stack = dl.tensor([[[1.0, 0.0], [0.0, 0.1]]] * 2)
    assert linalg.matrix_rank(stack, dl.tensor([0.01, 0.5])).tolist() == [2, 1]
    assert linalg.trace(t, dtype=dl.float64).dtype is dl.float64
    assert linalg.matrix_rank(t).tolist() == [4, 4] and linalg.matrix_rank(t).dtype is dl.int64
    for n in (0, 1, 2, 5, -1, -3):
        close(linalg.matrix_power(t, n), np.linalg.matrix_power(a, n), 1e-7)
    parts = [random(7), random(7, 2), random(2, 9), random(9)]
    close(linalg.multi_dot([dl.tensor(p) for p in parts]), np.linalg.multi_dot(parts))
    x, residuals, rank, s = linalg.lstsq(dl.tensor(random(6, 3)), dl.tensor(random(6, 2)))
    for got, want in zip((x, residuals, rank, s), np.linalg.lstsq(random(6, 3), random(6, 2)), strict=True):
        close(got, want)


# ---- recordings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 80])
def test_it_replays_on_the_host(n):
    @dl.capture
    def step(a, b):
        return linalg.solve(a, b), linalg.svd(a, full_matrices=False)[1]

    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((n, n)), rng.standard_normal((n, 2))
        x, s = step(dl.tensor(a), dl.tensor(b))
        close(x, np.linalg.solve(a, b), 1e-6), close(s, np.linalg.svd(a, compute_uv=False))
    assert step.recordings == 1
    for _ in range(2):  # an error of a replay leaves the recording as it was
        with pytest.raises(np.linalg.LinAlgError, match="solve: Singular matrix"):
            step(dl.zeros((n, n), dtype="float64"), dl.tensor(b))
        close(step(dl.tensor(a), dl.tensor(b))[0], np.linalg.solve(a, b), 1e-6)
    assert step.recordings == 1


# ---- what is refused ------------------------------------------------------------------------------------------------


X = dl.tensor(np.eye(3))


@pytest.mark.parametrize("error, text, call", [
    (np.linalg.LinAlgError, "solve: Singular matrix", lambda: linalg.solve(dl.zeros((70, 70)), dl.zeros(70))),
    (np.linalg.LinAlgError, "inv: Singular matrix", lambda: linalg.inv(dl.zeros((70, 70)))),
    (np.linalg.LinAlgError, "inv: Singular matrix", lambda: linalg.matrix_power(dl.zeros((2, 2)), -1)),
    (np.linalg.LinAlgError, "cholesky: Matrix is not positive definite", lambda: linalg.cholesky(dl.zeros((70, 70)))),
    (dl.ShapeError, "matrix_power: takes x (..., N, N), not (3,)", lambda: linalg.matrix_power(dl.ones(3), 2)),
    (dl.ShapeError, "trace: takes x (..., M, N), not (3,)", lambda: linalg.trace(dl.ones(3))),
    (dl.ShapeError, "multi_dot: inner sizes differ: (3, 3), (2, 3)", lambda: linalg.multi_dot([X, dl.ones((2, 3))])),
    (TypeError, "multi_dot: tensors a tensor of shape (3, 3) and dtype float64 is not a list of two or more tensors",
     lambda: linalg.multi_dot(X)),
    (ValueError, "qr: mode 'full' is not one of 'reduced', 'complete', 'r'", lambda: linalg.qr(X, "full")),
    (ValueError, "matrix_norm: ord 3 is not one of 'fro', 'nuc', 1, -1, 2, -2, inf, -inf",
     lambda: linalg.matrix_norm(X, 3)),
    (ValueError, "norm: axis (0, 1, 2) is neither one axis nor two", lambda: linalg.norm(X, 2, (0, 1, 2))),
    (dl.ShapeError, "norm: ord 1 without axis takes x with one or two axes, not (1, 1, 1)",
     lambda: linalg.norm(dl.ones((1, 1, 1)), 1)),
    (dl.DTypeError, "norm: does not take bool", lambda: linalg.norm(X > 0)),
    (dl.ShapeError, "cholesky_solve: a (3, 3) and b (2, 1) do not fit",
     lambda: linalg.cholesky_solve(dl.ones((2, 1), dtype="float64"), X)),
    (IndexError, "vector_norm: axis 2 is out of range for shape (3, 3)", lambda: linalg.vector_norm(X, 2, 2)),
    (dl.AutogradError, "svd: there is no gradient of full matrices that are not square; use full_matrices=False",
     lambda: backward(lambda x: linalg.svd(x)[0], random(4, 3))),
    (dl.AutogradError, "qr: there is no gradient for q (3, 3) and r (3, 4); q must be M x N and M >= N",
     lambda: backward(lambda x: linalg.qr(x)[0], random(3, 4))),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(error, text, call):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == text


def backward(function, x):
    leaf = dl.tensor(x)
    leaf.requires_grad = True
    function(leaf).sum().backward()


def test_numbers_that_are_not_finite_do_not_hang_or_crash():
    for n in (3, 70):
        x = dl.tensor(np.full((n, n), np.nan))
        for found in (linalg.det(x), linalg.inv(x), linalg.solve(x, x), linalg.cholesky(x)[-1]):
            assert np.isnan(np.asarray(found)).any()
        with pytest.raises(np.linalg.LinAlgError, match="eigvalsh: Eigenvalues did not converge"):
            linalg.eigvalsh(x)


def test_pinv_takes_a_tolerance_for_each_matrix():
    a = np.random.default_rng(0).standard_normal((2, 4, 3))
    a[:, 3] = a[:, 2] = a[:, 1] + 1e-4 * a[:, 0]
    for rtol in (np.array([1e-2, 1e-9]), np.array([1e-2]), 1e-2):
        close(linalg.pinv(dl.tensor(a), dl.tensor(rtol)), np.linalg.pinv(a, rcond=rtol))
    close(linalg.pinv(dl.tensor(a), rtol=1e-9), np.linalg.pinv(a, rcond=1e-9))
    x, rtol = dl.tensor(a[:, :2], requires_grad=True), dl.tensor([1e-2, 1e-9], dtype="float64")  # of full rank
    assert dl.testing.gradcheck(lambda t: linalg.pinv(t, rtol), x)
    mapped = dl.func.vmap(linalg.pinv)(dl.tensor(a), rtol)
    close(mapped, np.linalg.pinv(a, rcond=np.array([1e-2, 1e-9])))
