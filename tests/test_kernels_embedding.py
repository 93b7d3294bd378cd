"""Bags of tokens on a GPU, interpreted: long bags, many tokens, special values, and what is wrong with them."""

import numpy as np
import pytest
from interpreted import check, run

from dlcore.dtypes import bfloat16, float32, float64
from dlcore.kernels.embedding import bags
from dlcore.kernels.launch import BAD_OFFSET, BAD_TOKEN
from dlcore.op import REGISTRY

pytest.importorskip("triton")

FORWARD, BACKWARD, PRODUCTS = (
    REGISTRY[f"embedding_bag_{name}"] for name in ("forward", "backward", "weights_backward")
)  # fmt: skip
GOOD = 2**63 - 1


def drawn(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def given(n, vocabulary, count, seed=0):
    """Tokens, and offsets of bags of which some are empty and the last has many."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.sort(rng.integers(0, n // 2, count - 1))])
    return rng.integers(0, vocabulary, n), offsets


def forward(*arrays, mode="sum", padding=-1, ends=False, dtype=float32):
    return check(FORWARD, bags.embedding_bag_forward, arrays, (mode, padding, ends, False), dtype)


def backward(*arrays, shape, mode="sum", padding=-1, ends=False, frequent=False, dtype=float32):
    attrs = (shape, mode, padding, ends, frequent)
    return check(BACKWARD, bags.embedding_bag_backward, arrays, attrs, dtype)


@pytest.mark.parametrize("dtype", [float32, bfloat16, float64])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("width", [5, 8, 300])
def test_bags_longer_than_a_tile(mode, width, dtype):
    tokens, offsets = given(150, 40, 6)
    factors = drawn(150) if mode == "sum" else None
    for padding, ends in ((-1, False), (3, True)):
        forward(drawn(40, width), tokens, offsets, factors, mode=mode, padding=padding, ends=ends, dtype=dtype)


@pytest.mark.parametrize("dtype", [float32, bfloat16])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_of_thousands_of_tokens(mode, dtype):
    tokens, offsets = given(5000, 30, 9)
    factors = drawn(5000) if mode == "sum" else None
    for padding, frequent in ((-1, False), (7, True)):
        backward(
            drawn(8, 12), tokens, offsets, factors, None, shape=(30, 12), mode=mode, padding=padding, ends=True,
            frequent=frequent, dtype=dtype,
        )  # fmt: skip


def test_gradients_of_many_maxima():
    chosen = np.random.default_rng(0).integers(-1, 20, (70, 33))
    tokens = np.zeros((70, 2), np.int64)
    for dtype in (float32, bfloat16):
        backward(drawn(70, 33), tokens, None, None, chosen, shape=(20, 33), mode="max", dtype=dtype)
    chosen[3, 4], chosen[9, 0] = 20, -2
    arrays = [drawn(70, 33).astype(np.float32), tokens, None, None, chosen]
    _, errors = run(BACKWARD, bags.embedding_bag_backward, arrays, ((20, 33), "max", -1, False, False))
    assert errors.tolist() == [BAD_TOKEN, 3 * 33 + 4]


def test_gradients_of_factors():
    tokens, offsets = given(100, 40, 6)
    for width, padding in ((5, -1), (300, 3)):
        arrays = [drawn(5, width), drawn(40, width), tokens, offsets]
        check(PRODUCTS, bags.embedding_bag_weights_backward, arrays, (padding, True), float32)


def test_the_first_of_equal_maxima_and_nan_above_all():
    table = np.array([[1, np.nan], [3, 2], [3, -np.inf], [0, 5]], np.float32)
    rows = np.array([[1, 2, 3] * 20, [3, 2, 1] * 20, [0, 3, 0] * 20, [2, 2, 2] * 20])
    (out, chosen), _ = run(FORWARD, bags.embedding_bag_forward, [table, rows, None, None], ("max", -1, False, False))
    np.testing.assert_array_equal(out, np.array([[3, 5], [3, 5], [1, np.nan], [3, -np.inf]], np.float32))
    assert chosen.tolist() == [[1, 3], [2, 3], [0, 0], [2, 2]]
    (out, chosen), _ = run(FORWARD, bags.embedding_bag_forward, [table, rows[3:], None, None], ("max", 2, False, False))
    assert out.tolist() == [[0, 0]] and chosen.tolist() == [[-1, -1]]


def test_tables_of_any_layout():
    table, rows = drawn(9, 16).astype(np.float32), np.arange(12).reshape(3, 4) % 9
    (want, _), _ = run(FORWARD, bags.embedding_bag_forward, [table, rows, None, None], ("sum", -1, False, False))
    wide = np.zeros((9, 40), np.float32)
    wide[:, 3:19] = table
    for x, tokens in ((np.asfortranarray(table), rows), (wide[:, 3:19], rows), (table, np.asfortranarray(rows))):
        (out, _), _ = run(FORWARD, bags.embedding_bag_forward, [x, tokens, None, None], ("sum", -1, False, False))
        assert (out == want).all()


@pytest.mark.parametrize(
    ("offsets", "ends", "code", "position"),
    [
        ([1, 3], False, BAD_OFFSET, 0),
        ([0, 4, 2, 5], False, BAD_OFFSET, 2),
        ([0, 9], False, BAD_OFFSET, 1),
        ([0, 2, 1], True, BAD_OFFSET, 2),
        ([0, 2, 7], True, BAD_OFFSET, 2),
        ([0, -1], True, BAD_OFFSET, 1),
        ([0, 2, 6], True, 0, GOOD),
        ([0, 6, 6], False, 0, GOOD),
    ],
)
def test_offsets_that_cannot_be(offsets, ends, code, position):
    table, tokens, offsets = drawn(5, 4).astype(np.float32), np.array([0, 4, 2, 2, 1, 3]), np.array(offsets)
    count = len(offsets) - ends
    for dout, op, planner, arrays, attrs in (
        (None, FORWARD, bags.embedding_bag_forward, [table, tokens, offsets, None], ("mean", -1, ends, False)),
        (1, BACKWARD, bags.embedding_bag_backward, [tokens, offsets, None, None], ((5, 4), "mean", -1, ends, False)),
        (1, PRODUCTS, bags.embedding_bag_weights_backward, [table, tokens, offsets], (-1, ends)),
    ):
        operands = arrays if dout is None else [np.ones((count, 4), np.float32), *arrays]
        assert run(op, planner, operands, attrs)[1].tolist() == [code, position]


def test_tokens_outside_of_the_vocabulary():
    table, tokens, offsets = drawn(5, 4).astype(np.float32), np.array([0, 4, 2, 9, 1, -3]), np.array([0, 2, 3])
    for mode in ("sum", "mean", "max"):
        (out, _), errors = run(
            FORWARD, bags.embedding_bag_forward, [table, tokens, offsets, None], (mode, -1, True, False)
        )
        assert errors.tolist() == [BAD_TOKEN, 3] and np.isfinite(out).all()
