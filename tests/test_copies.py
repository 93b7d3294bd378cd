"""Copies longer than those of the table: cut for threads, of narrow rows, at odd addresses, past the caches."""

import numpy as np
import pytest

import dlcore as dl

RNG = np.random.default_rng(11)
DTYPES = [np.uint8, np.int16, np.float32, np.float64]
N = 150_001  # elements: 128 KiB and more in each dtype


def drawn(shape, dtype):
    return RNG.integers(0, 127, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [1, 3, 15, 64, -1, 77_777])
def test_long_runs_at_every_distance(shift, dtype):
    x = drawn(N, dtype)
    np.testing.assert_array_equal(dl.roll(dl.tensor(x), shift), np.roll(x, shift))


@pytest.mark.parametrize("dtype", DTYPES)
def test_runs_of_every_length(dtype):
    x = drawn((5, 300), dtype)
    t = dl.tensor(x)
    for first in (0, 1, 5):
        for end in range(first + 1, 300, 1 if first == 0 else 13):
            got = dl.concat([t[:, first:end], t[:, :1]], 1)
            np.testing.assert_array_equal(got, np.concatenate([x[:, first:end], x[:, :1]], 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 8])
def test_narrow_rows(count, dtype):
    x, wide = drawn(N // 2, dtype), drawn((count, N // 2), dtype)
    np.testing.assert_array_equal(dl.repeat(dl.tensor(x), count), np.repeat(x, count))
    np.testing.assert_array_equal(dl.tensor(wide).T.clone(), np.ascontiguousarray(wide.T))
    rows = drawn((N // 4, 9), dtype)
    np.testing.assert_array_equal(dl.tensor(rows)[:, 1 : count + 1].clone(), rows[:, 1 : count + 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widths", [(1, 1), (2, 2), (1, 1, 1), (1,) * 4, (1,) * 5, (4, 4), (3, 3), (1, 2), (2, 0, 5)])
def test_columns_laid_beside_each_other(widths, dtype):
    parts = [drawn((N // 2, w), dtype) for w in widths]
    np.testing.assert_array_equal(dl.concat([dl.tensor(p) for p in parts], 1), np.concatenate(parts, 1))
    views = [dl.tensor(np.ascontiguousarray(p.T)).T for p in parts]
    np.testing.assert_array_equal(dl.concat(views, 1), np.concatenate(parts, 1))
    whole = [dl.tensor(p[None, :, None]) for p in parts]
    np.testing.assert_array_equal(dl.concat(whole, 3), np.concatenate(parts, 1)[None, :, None])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_of_many_rows(dtype):
    x = drawn((2, 700, 301), dtype)
    t = dl.tensor(x)
    widths = ((1, 0), (3, 2), (2, 4))
    for mode in ("reflect", "symmetric", "wrap", "edge", "constant"):
        if mode == "reflect":
            widths = ((0, 1), (3, 2), (2, 4))
        np.testing.assert_array_equal(dl.pad(t, widths, mode=mode), np.pad(x, widths, mode))
    np.testing.assert_array_equal(dl.roll(t, (1, -5, 7), (0, 1, 2)), np.roll(x, (1, -5, 7), (0, 1, 2)))


def test_gradient_of_a_roll_is_a_roll_and_of_padding_a_sum():
    x = dl.tensor(RNG.standard_normal((700, 301)).astype(np.float32), requires_grad=True)
    weight = RNG.standard_normal((700, 301)).astype(np.float32)
    (dl.roll(x, (5, -7), (0, 1)) * dl.tensor(weight)).sum().backward()
    np.testing.assert_array_equal(x.grad, np.roll(weight, (-5, 7), (0, 1)))
    x.grad = None
    dl.pad(x, ((0, 0), (2, 0)), mode="reflect").sum().backward()
    expected = np.ones((700, 301), np.float32)
    expected[:, 1:3] = 2
    np.testing.assert_array_equal(x.grad, expected)


def test_past_the_caches():
    x = drawn((33 << 20) + 5, np.uint8)
    t = dl.tensor(x)
    assert np.array_equal(np.asarray(t[1:].clone()), x[1:])
    assert np.array_equal(np.asarray(dl.roll(t, 3)), np.roll(x, 3))
