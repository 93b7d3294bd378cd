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
    x = drawn((700, 5, 61), dtype)
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(300, 700), (513, 1025), (3, 40, 1500)])
def test_matrices_of_several_pieces_are_transposed(shape, dtype):
    x = drawn(shape, dtype)
    turned = np.ascontiguousarray(x.swapaxes(-1, -2))
    np.testing.assert_array_equal(dl.tensor(x).mT.clone(), turned)
    np.testing.assert_array_equal(dl.tensor(turned).mT.clone(), x)


def test_past_the_caches():
    x = drawn((33 << 20) + 5, np.uint8)
    t = dl.tensor(x)
    assert np.array_equal(np.asarray(t[1:].clone()), x[1:])
    assert np.array_equal(np.asarray(dl.roll(t, 3)), np.roll(x, 3))


# ---- by index -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [3, 255, 256, 1000, 1025, 3000])
def test_rows_of_indices(length, dtype):
    """Short ones share blocks of indices, long ones are cut; with as many or few places to choose from."""
    for places in (length, 7, 20_000):
        x, index = drawn((9, places), dtype), RNG.integers(-places, places, (9, length))
        found = dl.tensor(x).take_along_dim(dl.tensor(index), -1)
        np.testing.assert_array_equal(found, np.take_along_axis(x, index, -1))
    order = RNG.permuted(np.broadcast_to(np.arange(length), (9, length)), axis=-1)
    wanted = drawn((9, length), dtype)
    np.put_along_axis(wanted, order, source := drawn((9, length), dtype), -1)
    written = dl.zeros((9, length), dtype=dl.tensor(source).dtype).scatter(-1, dl.tensor(order), dl.tensor(source))
    np.testing.assert_array_equal(written, wanted)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.int8])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 120, 70), (1, 90_001, 1), (257, 1, 129), (2, 2, 20_000), (40_000, 2, 1)])
def test_many_places_along_every_axis(shape, axis, dtype):
    x, src = drawn((2, *shape), np.float32)
    low = -min(shape[axis], 100) if dtype != np.uint8 else 0
    index = RNG.integers(low, min(shape[axis], 100), shape).astype(dtype)
    positions = index.astype(np.int64) % shape[axis]
    t, i, s = dl.tensor(x), dl.tensor(index), dl.tensor(src)
    np.testing.assert_array_equal(dl.take_along_axis(t, i, axis), np.take_along_axis(x, positions, axis))
    expected, total, largest = x.copy(), x.copy(), x.copy()
    np.put_along_axis(expected, positions, src, axis)  # the last of equal ones stays
    np.testing.assert_array_equal(dl.scatter(t, axis, i, s), expected)
    places = list(np.indices(shape))
    places[axis] = positions
    np.add.at(total, tuple(places), src)
    np.testing.assert_array_equal(dl.scatter_add(t, axis, i, s), total)
    np.maximum.at(largest, tuple(places), src)
    np.testing.assert_array_equal(dl.scatter_reduce(t, axis, i, s, "amax"), largest)


@pytest.mark.parametrize("at", [0, 8_191, 8_192, 99_999])
def test_the_first_index_out_of_range_is_named(at):
    x, index = dl.arange(100_000), np.arange(100_000)
    index[[at, 99_999]] = 100_001, -100_001
    value = 100_001 if at < 99_999 else -100_001
    text = f"index {value} at position {at} is out of range for axis 0 of length 100000"
    for call in (lambda i: dl.take(x, i), lambda i: dl.take_along_axis(x, i, 0), lambda i: dl.scatter(x, 0, i, x)):
        with pytest.raises(IndexError, match=text):
            call(dl.tensor(index))


def test_the_last_of_equal_blocks_stays():
    x, index = drawn((50, 3, 1025), np.float32), RNG.integers(0, 50, 200)
    value, expected = drawn((200, 3, 1025), np.float32), x.copy()
    expected[index] = value
    t = dl.tensor(x)
    t[dl.tensor(index)] = dl.tensor(value)
    np.testing.assert_array_equal(t, expected)
    turned = dl.tensor(x.T.copy()).T
    turned[dl.tensor(index)] = dl.tensor(value)
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize("n", [1, 63, 16_319, 16_320, 16_321, 700_001])
def test_counts_of_many(n):
    x = RNG.random(n) < 0.7
    assert int(dl.count_nonzero(dl.tensor(x))) == np.count_nonzero(x)
    assert int(dl.count_nonzero(dl.ones((n,), dtype=dl.uint8))) == n
