"""Functions made of reductions, scans and counts, against NumPy; what the table of operations cannot say."""

import itertools
import math

import numpy as np
import pytest

import dlcore as dl
from dlcore.ops.counting import bincount_sized

RNG = np.random.default_rng(11)
A = RNG.standard_normal((5, 7)).astype(np.float32)
HOLES = np.where(A > 0.8, np.nan, A).astype(np.float32)


def close(ours, theirs, rtol=3e-6):
    ours, theirs = np.asarray(ours.detach()), np.asarray(theirs)
    assert ours.shape == theirs.shape and ours.dtype.kind == theirs.dtype.kind
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_functions_spelled_with_reductions_are_numpys(axis):
    x = dl.tensor(A)
    close(dl.amax(x, axis), A.max(axis))
    close(dl.amin(x, axis), A.min(axis))
    close(dl.ptp(x, axis), np.ptp(A, axis))
    for ours, theirs in zip(dl.aminmax(x, axis), (A.min(axis), A.max(axis)), strict=True):
        close(ours, theirs)
    w = RNG.random((5, 7)).astype(np.float32)
    close(dl.average(x, axis, dl.tensor(w)), np.average(A, axis, w))
    close(dl.average(x, axis), A.mean(axis))
    holes = dl.tensor(HOLES)
    for name in ("nanprod", "nanvar", "nanstd"):
        close(getattr(dl, name)(holes, axis), getattr(np, name)(HOLES, axis))
    close(dl.nanvar(holes, axis, correction=1), np.nanvar(HOLES, axis, ddof=1))


def test_variances_without_nan_have_gradients_infinities_and_long_halves():
    x = dl.tensor([1.0, np.nan, 3.0], requires_grad=True)
    for ours, want in ((dl.nanvar, [-1.0, 0.0, 1.0]), (dl.nanstd, [-0.5, 0.0, 0.5])):
        assert dl.grad(ours(x), [x])[0].tolist() == want
        assert np.isnan(ours(dl.tensor([np.inf, 1.0, np.nan])).item())
        assert np.isnan(ours(x, correction=2).item()), "too few are left"
    half = np.where(np.arange(100_000) % 2, 300, -300).astype(np.float16)
    assert dl.nanstd(dl.tensor(half)).item() == 300.0
    assert dl.nanvar(dl.tensor(half / 300)).item() == 1.0


def test_average_takes_a_weight_for_each_place_along_an_axis():
    w = np.arange(1, 8, dtype=np.float32)
    close(dl.average(dl.tensor(A), 1, w), np.average(A, 1, w))
    with pytest.raises(dl.ShapeError, match=r"average: weights have shape \(7,\), axis 0 of x has length 5"):
        dl.average(dl.tensor(A), 0, w)
    with pytest.raises(dl.ShapeError, match=r"average: weights have shape \(7,\), x has \(5, 7\)"):
        dl.average(dl.tensor(A), None, w)


def test_errors_name_the_function_that_was_called():
    for name in ("amax", "amin", "aminmax", "ptp", "average", "nanprod", "nanvar", "nanstd", "nansum", "norm"):
        with pytest.raises(IndexError, match=f"^{name}: axis 5 is out of range"):
            getattr(dl, name)(dl.tensor(A), axis=5)
    with pytest.raises(TypeError, match=r"^nanvar: correction 'one' is not a number"):
        dl.nanvar(dl.tensor(A), correction="one")
    with pytest.raises(dl.ShapeError, match=r"^amax: cannot reduce an empty axis"):
        dl.amax(dl.zeros(0))


def test_means_and_totals_of_integers_are_exact():
    big = np.array([2**31 - 1, 2**31 - 3, 2**31 - 2], np.int32)
    assert dl.mean(dl.tensor(big), dtype=dl.float64).item() == 2**31 - 2
    assert dl.mean(dl.tensor(np.array([2**62, 2**62, 2**62]))).item() == 2.0**62
    assert dl.sum(dl.tensor(np.array([200, 100], np.uint8)), dtype=dl.uint8).item() == 44
    assert dl.sum(dl.tensor([1.5, 2.5]), dtype=dl.int64).item() == 3
    x = dl.tensor(np.float16([60000, 60000]), requires_grad=True)
    total = dl.sum(x, dtype=dl.float32)
    total.backward()
    assert total.item() == 120000 and x.grad.dtype is dl.float16 and x.grad.tolist() == [1, 1]
    y = dl.tensor(A, requires_grad=True)
    (dl.cumsum(y, 1, dtype=dl.float64) * dl.tensor(A.astype(np.float64))).sum().backward()
    close(y.grad, np.cumsum(A[:, ::-1], 1)[:, ::-1])


def test_the_gradient_of_a_deviation_is_0_where_all_are_equal():
    x = dl.tensor([[2.0, 2.0], [1.0, 3.0]], requires_grad=True)
    dl.std(x, axis=1).sum().backward()
    assert x.grad.tolist() == [[0, 0], [-0.5, 0.5]]
    one = dl.tensor([[2.0, 2.0], [1.0, 3.0]], requires_grad=True)
    _, mean = dl.var_mean(one, axis=1)
    mean.sum().backward()
    assert one.grad.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_cumulative_sums_keep_the_sign_of_zero():
    x = np.array([-0.0, -0.0, 0.0, -0.0], np.float32)
    assert np.signbit(dl.cumsum(dl.tensor(x), 0).numpy()).tolist() == np.signbit(np.cumsum(x)).tolist()
    assert np.signbit(dl.cumsum(dl.tensor(x), 0, exclusive=True).numpy()).tolist() == [False, True, True, False]


@pytest.mark.parametrize("n", [0, 1, 2, 9])
@pytest.mark.parametrize("axis", [0, 1])
def test_differences_are_numpys(n, axis):
    x = dl.tensor(A)
    close(dl.diff(x, n, axis), np.diff(A, n, axis))
    close(dl.diff(x, n, axis, prepend=1.5, append=x), np.diff(A, n, axis, prepend=np.float32(1.5), append=A))


def test_differences_of_bools_and_their_gradient():
    flags = np.array([True, False, False, True])
    assert dl.diff(dl.tensor(flags)).tolist() == np.diff(flags).tolist()
    assert dl.diff(dl.tensor(flags), 1 << 40).shape == (0,)  # at once
    x = dl.tensor([1.0, 4.0, 9.0], requires_grad=True)
    (dl.diff(x) * dl.tensor([2.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [-2, -3, 5]
    for call, said in (
        (lambda: dl.diff(dl.tensor(1.0)), "diff: x has no axis"),
        (lambda: dl.diff(x, -1), "diff: n is -1; it must be at least 0"),
        (lambda: dl.diff(x, axis=1), r"diff: axis 1 is out of range for shape \(3,\)"),
        (lambda: dl.diff(x, prepend=dl.ones(2, 2)), "diff: shapes differ"),
    ):
        with pytest.raises((ValueError, IndexError), match=said):
            call()


def test_trapezoids_are_numpys():
    numpy = np.trapezoid
    at = np.sort(RNG.random(7)).astype(np.float32)
    y = dl.tensor(A)
    close(dl.trapezoid(y), numpy(A))
    close(dl.trapezoid(y, dx=0.25, axis=0), numpy(A, dx=0.25, axis=0))
    close(dl.trapezoid(y, at), numpy(A, at))
    close(dl.trapezoid(y, dl.tensor(A), axis=0), numpy(A, A, axis=0))
    close(dl.trapezoid(dl.tensor([1, 2, 4])), np.float32(4.5))
    close(dl.trapezoid(dl.tensor([100, 100, 100], dl.int8)), np.float32(200))
    for n in (1, 2, 3):
        close(dl.trapezoid(y[:, :n], dx=2.0), numpy(A[:, :n], dx=2.0))
    assert dl.trapezoid(y[:, :0]).tolist() == [0.0] * 5
    with pytest.raises(dl.ShapeError, match=r"trapezoid: x has shape \(3,\), y has \(5, 7\)"):
        dl.trapezoid(y, [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="trapezoid: does not take bool"):
        dl.trapezoid(dl.tensor([True, False]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize("given", [{}, {"bins": 7}, {"bins": 4, "range": (-1, 2)}, {"bins": 3, "density": True}])
def test_histograms_are_numpys(dtype, given):
    a = np.round(RNG.standard_normal((9, 70)) * 4, 1).astype(dtype)
    values, edges = dl.histogram(dl.tensor(a), **given)
    wanted, at = np.histogram(a, **given)
    np.testing.assert_allclose(edges.numpy(), at, rtol=1e-6)
    close(values, wanted.astype(values.dtype.numpy))


def test_histograms_of_edges_weights_and_special_cases():
    a, w = RNG.standard_normal(500), RNG.random(500)
    edges = [-2.0, -0.5, 0.0, 0.25, 3.0]
    close(dl.histogram(dl.tensor(a), edges)[0], np.histogram(a, edges)[0])
    close(dl.histogram(dl.tensor(a), edges, weights=dl.tensor(w))[0], np.histogram(a, edges, weights=w)[0])
    close(dl.histogram(dl.tensor(a), 6, weights=dl.tensor(w), density=True)[0],
          np.histogram(a, 6, weights=w, density=True)[0])  # fmt: skip
    for few in ([], [2.0], [2.0, 2.0]):
        values, at = dl.histogram(dl.tensor(np.array(few)), 3)
        close(values, np.histogram(few, 3)[0])
        close(at, np.histogram(few, 3)[1])
    assert dl.histogram(dl.tensor([0.0, math.nan, 1.0]), 2, range=(0, 1))[0].tolist() == [1, 1]
    x = dl.tensor(a)
    for call, error, said in (
        (lambda: dl.histogram(dl.tensor([0.0, math.nan])), ValueError, "the range .* is not finite"),
        (lambda: dl.histogram(x, 0), ValueError, "bins is 0; it must be at least 1"),
        (lambda: dl.histogram(x, [1.0]), dl.ShapeError, "not one axis of at least two edges"),
        (lambda: dl.histogram(x, [1.0, 0.0]), ValueError, "bins must increase"),
        (lambda: dl.histogram(x, range=(1, 0)), ValueError, "low must not exceed high"),
        (lambda: dl.histogram(x, range=3), TypeError, "range is not a pair"),
        (lambda: dl.histogram(x, weights=[1.0]), dl.ShapeError, "weights have shape"),
    ):
        with pytest.raises(error, match=f"^histogram: .*{said}|^histogram: {said}"):
            call()


def test_softmin_is_the_softmax_of_the_negative():
    close(dl.softmin(dl.tensor(A), 0), dl.softmax(dl.tensor(-A), 0).numpy())
    with pytest.raises(IndexError, match="softmin: axis 2 is out of range"):
        dl.softmin(dl.tensor(A), 2)


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, -1.0, np.inf])
def test_norms_of_nothing_but_zeros_have_the_gradient_0(p):
    x = dl.zeros(3, requires_grad=True)
    (slope,) = dl.grad(dl.norm(x, p), [x])
    np.testing.assert_array_equal(slope, 0)
    y = dl.tensor([0.0, 2.0], requires_grad=True)
    assert np.isfinite(dl.grad(dl.norm(y, p), [y])[0]).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.bool_, np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 3, 17, 70])
def test_rows_of_any_length_are_reduced_exactly(dtype, rows):
    rng = np.random.default_rng(0)
    for n in (*range(1, 19), 31, 33, 47, 48, 63, 64, 65, 129):
        a = rng.integers(-128, 128, (rows, n)).astype(dtype)
        x = dl.tensor(a)
        for y, b in ((x, a), (x[::-1], a[::-1]), (x[:, 1:], a[:, 1:])):
            assert np.array_equal(y.sum(-1), b.sum(-1)), n
            if b.size:
                assert np.array_equal(y.max(-1), b.max(-1)) and np.array_equal(y.argmax(-1), b.argmax(-1)), n


@pytest.mark.parametrize("dtype", [dl.bfloat16, dl.float16])
def test_rows_of_16_bit_floats_are_reduced_exactly(dtype):
    rng = np.random.default_rng(0)
    for rows, n in itertools.product((3, 33, 70), (1, 7, 15, 17, 33, 63, 64, 65, 100, 131, 257, 1025)):
        a = rng.integers(-1, 2, (rows, n))  # sums of at most 256, which are exact
        x = dl.tensor(a).to(dtype)
        assert np.array_equal(x.sum(-1).to(dl.int64), a.sum(-1)), n
        assert np.array_equal(x.amax(-1).to(dl.int64), a.max(-1)), n


def test_bincount_sized_refuses_what_int64_would_take_for_negative():
    values = dl.tensor(np.array([0, 2**63 + 1], np.uint64))
    with pytest.raises(ValueError, match=r"^bincount_sized: value 9223372036854775809 at position 1 is not below 7$"):
        bincount_sized(values, None, 7)
