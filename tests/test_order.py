"""Order: what the table does not say of sort and its relatives, of sets and order statistics."""

import numpy as np
import pytest

import dlcore as dl

RNG = np.random.default_rng(3)


def lines(dtype, shape):
    """Numbers with ties, and NaNs and zeros of both signs among floats."""
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        x = RNG.integers(info.min, info.max, shape, dtype, endpoint=True)
        return np.where(RNG.random(shape) < 0.5, x, RNG.integers(0, 9, shape).astype(dtype))
    x = RNG.standard_normal(shape).astype(dtype)
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0], dtype)
    return np.where(RNG.random(shape) < 0.7, x, RNG.choice(special, shape))


def order_of(x, descending):
    if not descending:
        return np.argsort(x, -1, kind="stable")
    return x.shape[-1] - 1 - np.flip(np.argsort(np.flip(x, -1), -1, kind="stable"), -1)


def bits(x):
    return np.asarray(x).tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8"])
@pytest.mark.parametrize("descending", [False, True])
def test_stable_order_keeps_bits(dtype, descending):
    """At every length where another way begins: networks, few digits, several digits, all threads."""
    short = [(3, 2), (5, 17), (4, 33), (3, 65), (3, 130), (3, 257)]
    for shape in [*short, (2, 700), (2, 5000), (1, 70_000), (1, 200_001)]:
        x = lines(dtype, shape)
        order = order_of(x, descending)
        want = np.take_along_axis(x, order, -1)
        assert bits(dl.sort(dl.tensor(x), descending=descending)) == bits(want), shape
        assert bits(dl.argsort(dl.tensor(x), descending=descending)) == bits(order), shape
        k = max(1, shape[1] // 20)
        values, indices = dl.topk(dl.tensor(x), k, largest=descending)
        assert bits(indices) == bits(np.ascontiguousarray(order[:, :k])), shape
        assert bits(values) == bits(np.ascontiguousarray(want[:, :k])), shape


@pytest.mark.parametrize("make", [np.zeros, np.arange, lambda n: -np.arange(n), lambda n: np.arange(n) // 7 % 5])
def test_patterns(make):
    for n in (100, 4000, 300_000):
        for dtype in ("float32", "float64", "int64", "int16"):
            x = make(n).astype(dtype)
            assert bits(dl.sort(dl.tensor(x))) == bits(np.sort(x)), (n, dtype)
            assert bits(dl.argsort(dl.tensor(x))) == bits(np.argsort(x, kind="stable")), (n, dtype)


def test_searchsorted_with_a_sorter_and_bucketize():
    x, values = RNG.integers(0, 20, 40), RNG.integers(-3, 25, (6, 7))
    order = np.argsort(x, kind="stable")
    for side in ("left", "right"):
        found = dl.searchsorted(dl.tensor(x), dl.tensor(values), side, dl.tensor(order))
        np.testing.assert_array_equal(found, np.searchsorted(x, values, side, order))
    edges = np.unique(x)
    for right in (False, True):
        want = np.searchsorted(edges, values, "right" if right else "left")
        np.testing.assert_array_equal(dl.bucketize(dl.tensor(values), dl.tensor(edges), right), want)
    assert dl.searchsorted(dl.tensor([1, 2, 3]), 2.5).item() == 2
    with pytest.raises(dl.ShapeError, match=r"searchsorted: a sorter of shape \(2,\) does not fit"):
        dl.searchsorted(dl.tensor([1, 2, 3]), 2, sorter=dl.tensor([0, 1]))
    with pytest.raises(IndexError, match="searchsorted: index 9 at position 1 is out of range"):
        dl.searchsorted(dl.tensor([1, 2, 3]), 2, sorter=dl.tensor([0, 9, 1]))
    with pytest.raises(dl.ShapeError, match="bucketize: boundaries have shape"):
        dl.bucketize(dl.tensor([1.0]), dl.zeros(2, 2))


@pytest.mark.parametrize("x", [
    RNG.integers(0, 9, (5, 7)), RNG.standard_normal(50).astype(np.float32), np.array(3.0), np.zeros((0, 3)),
    np.array([np.nan, 1.0, np.nan, -0.0, 0.0, 1.0]), np.array([True, False, True]),
])  # fmt: skip
def test_unique_gives_what_numpy_gives(x):
    t = dl.tensor(x)
    for equal in (True, False):
        want = np.unique(x, True, True, True, equal_nan=equal)
        got = dl.unique(t, True, True, True, equal_nan=equal)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(g, w)
            assert g.shape == w.shape
    np.testing.assert_array_equal(dl.unique(t), np.unique(x))
    for name in ("unique_all", "unique_counts", "unique_inverse"):
        want, got = getattr(np, name)(x), getattr(dl, name)(t)
        assert got._fields == want._fields
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(g, w)


def test_unique_along_an_axis():
    x = RNG.integers(0, 2, (12, 3, 2))
    for axis in (0, 1, -1):
        want, got = np.unique(x, True, True, True, axis), dl.unique(dl.tensor(x), True, True, True, axis)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(g, w)
    with pytest.raises(dl.ShapeError, match=r"unique: the parts along axis 0 of shape \(3, 0\) are empty"):
        dl.unique(dl.zeros(3, 0), axis=0)


def test_sets_are_numpys():
    x, y = RNG.integers(0, 12, 20), RNG.integers(5, 18, (4, 5))
    a, b = dl.tensor(x), dl.tensor(y)
    for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d"):
        np.testing.assert_array_equal(getattr(dl, name)(a, b), getattr(np, name)(x, y))
    both = [library.intersect1d(*pair, return_indices=True) for library, pair in ((dl, (a, b)), (np, (x, y)))]
    for got, want in zip(*both, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(dl.setdiff1d(a, b, assume_unique=True), np.setdiff1d(x, y, assume_unique=True))
    np.testing.assert_array_equal(dl.isin(b, a), np.isin(y, x))
    np.testing.assert_array_equal(dl.isin(b, a, invert=True), np.isin(y, x, invert=True))
    np.testing.assert_array_equal(dl.isin(a, []), np.isin(x, []))
    np.testing.assert_array_equal(dl.isin(a, 5), np.isin(x, 5))
    assert dl.isin(dl.tensor([np.nan, 1.0]), dl.tensor([np.nan])).tolist() == [False, False]
    assert dl.union1d(a, dl.tensor([0.5])).dtype.is_float


def test_isin_of_evenly_spaced_integers():
    """Whose products with a multiplier of the hash table (csrc/order/among.inl) are all alike: none takes long."""
    first, second = (pow(m, -1, 2**64) for m in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93))
    k = np.arange(100_000, dtype=np.uint64)
    for tests in (k * 1134903170, k * first, np.concatenate([k * first, k * second])):  # a Fibonacci number, inverses
        tests = tests.view(np.int64)
        x = np.concatenate([tests[::7], tests[::7] + 1])
        np.testing.assert_array_equal(dl.isin(dl.tensor(x), dl.tensor(tests)), np.isin(x, tests))


def test_kthvalue_and_partitions():
    x = RNG.standard_normal((4, 9))
    for k in (1, 4, 9):
        values, indices = dl.kthvalue(dl.tensor(x), k, axis=0 if k < 5 else 1)
        want = np.sort(x, 0 if k < 5 else 1).take(k - 1, 0 if k < 5 else 1)
        np.testing.assert_array_equal(values, want)
        axis = 0 if k < 5 else 1
        picked = np.take_along_axis(x, np.expand_dims(np.asarray(indices), axis), axis)
        np.testing.assert_array_equal(picked.squeeze(axis), want)
    assert dl.kthvalue(dl.tensor(x), 2, keepdims=True)[0].shape == (4, 1)
    with pytest.raises(dl.ShapeError, match="kthvalue: k is 0"):
        dl.kthvalue(dl.tensor(x), 0)
    assert dl.partition(dl.tensor(x), 3, axis=0)[3].tolist() == np.sort(x, 0)[3].tolist()
    with pytest.raises(IndexError, match="argpartition: kth 9 is out of range for 9 elements"):
        dl.argpartition(dl.tensor(x), 9)
    np.testing.assert_array_equal(dl.msort(dl.tensor(x)), np.sort(x, 0))


def test_gradients_go_to_the_elements_chosen():
    x = dl.tensor([[3.0, 1.0, 2.0], [5.0, 9.0, 7.0]], requires_grad=True)
    (dl.sort(x) * dl.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [[100.0, 1.0, 10.0], [1.0, 100.0, 10.0]]
    x.grad = None
    values, _ = dl.kthvalue(x, 2)
    values.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    x.grad = None
    dl.median(x).backward()  # between 3 and 5
    assert x.grad.tolist() == [[0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]


def test_percentile_and_quantiles_of_many():
    x = RNG.standard_normal((6, 5))
    np.testing.assert_allclose(dl.percentile(dl.tensor(x), [25, 50], 0), np.percentile(x, [25, 50], 0))
    q = dl.tensor([0.1, 0.9], dtype=dl.float64)
    np.testing.assert_allclose(dl.quantile(dl.tensor(x), q, axis=1), np.quantile(x, [0.1, 0.9], axis=1))
    with pytest.raises(ValueError, match=r"percentile: q 101\.0 is not between 0 and 100"):
        dl.percentile(dl.tensor(x), 101)
    with pytest.raises(IndexError, match="percentile: axis 2 is out of range"):
        dl.percentile(dl.tensor(x), 10, 2)
    infinite = dl.tensor([1.0, float("inf"), 2.0, float("-inf")])
    assert dl.quantile(infinite, [0.1, 0.5, 0.9]).tolist() == [-float("inf"), 1.5, float("inf")]
