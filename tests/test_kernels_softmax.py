"""Softmax kernels, interpreted: lines held whole and lines read twice, along any axis, in any layout."""

import numpy as np
import pytest
from interpreted import at_odd_address, check, planned, run

from dlcore import testing
from dlcore.dtypes import bfloat16, float16, float32, float64, int64
from dlcore.kernels.common.lines import Tile, lines_of, tiles
from dlcore.kernels.launch import ARCHES, View
from dlcore.kernels.softmax import backward, softmax
from dlcore.op import REGISTRY

pytest.importorskip("triton")

SOFTMAX, LOG_SOFTMAX = REGISTRY["softmax"], REGISTRY["log_softmax"]
SOFTMAX_BACKWARD, LOG_SOFTMAX_BACKWARD = REGISTRY["softmax_backward"], REGISTRY["log_softmax_backward"]
RNG = np.random.default_rng(0)
FORWARD = [(SOFTMAX, False), (LOG_SOFTMAX, True)]
BACKWARD = [(SOFTMAX_BACKWARD, False, SOFTMAX), (LOG_SOFTMAX_BACKWARD, True, LOG_SOFTMAX)]
CASES = [
    ((33, 65), 1, None),  # ragged rows
    ((300, 10), 1, Tile(16, 128, 4)),  # several rows a program
    ((3, 8192), 1, None),  # a tile's edge
    ((33, 65), 0, None),  # columns
    ((3, 20, 70), 1, None),  # the interpreter adds one after the other, a GPU in a tree: not too many
    ((2, 40, 5), 1, None),  # few lines side by side
    ((3, 700), 1, Tile(256, 1, 1)),  # lines read twice
    ((7, 512), 1, Tile(128, 4, 1)),
    ((2, 100, 37), 1, Tile(32, 16, 1)),
]


def forward_planner(log, tile):
    return lambda call: softmax.plan(log, call, tile)


def backward_planner(log, tile):
    return lambda call: backward.plan(log, call, tile)


@pytest.mark.parametrize(("shape", "axis", "tile"), CASES)
@pytest.mark.parametrize(("op", "log"), FORWARD)
def test_forward(op, log, shape, axis, tile):
    x = 3 * RNG.standard_normal(shape)
    check(op, forward_planner(log, tile), [x], (axis,), float32)


@pytest.mark.parametrize(("shape", "axis", "tile"), CASES)
@pytest.mark.parametrize(("op", "log", "before"), BACKWARD)
def test_backward(op, log, before, shape, axis, tile):
    (out,) = testing.reference(before, [3 * RNG.standard_normal(shape)], (axis,))
    check(op, backward_planner(log, tile), [RNG.standard_normal(shape), out], (axis,), float32)


@pytest.mark.parametrize("dtype", [bfloat16, float16, float64])
def test_other_dtypes(dtype):
    for tile in (None, Tile(64, 1, 1)):
        for op, log in FORWARD:
            check(op, forward_planner(log, tile), [RNG.standard_normal((9, 300))], (1,), dtype)
        for op, log, before in BACKWARD:
            (out,) = testing.reference(before, [RNG.standard_normal((9, 300))], (1,))
            check(op, backward_planner(log, tile), [RNG.standard_normal((9, 300)), out], (1,), dtype)


@pytest.mark.parametrize("tile", [None, Tile(64, 1, 1)])
@pytest.mark.parametrize(("op", "log"), FORWARD)
def test_nan_and_infinities(op, log, tile):
    x = RNG.standard_normal((8, 200)).astype(np.float32)
    x[0, 7], x[1, 150], x[2, 3], x[3], x[4, :100], x[5, 100:], x[6] = (
        np.nan, np.inf, -np.inf, -np.inf, -np.inf, -np.inf, np.nan,
    )  # fmt: skip
    x[7] *= 1000
    check(op, forward_planner(log, tile), [x], (1,))
    check(op, forward_planner(log, tile), [np.ascontiguousarray(x.T)], (0,))


def test_layouts_and_addresses_do_not_change_bits():
    x = RNG.standard_normal((24, 128)).astype(np.float32)
    wide = np.zeros((24, 200), np.float32)
    wide[:, 8:136] = x
    views = [at_odd_address(x), np.asfortranarray(x), x[::-1].copy()[::-1], wide[:, 8:136]]
    copied = [(0,), (0,), (), ()]
    for axis in (0, 1):
        (want,), _ = run(SOFTMAX, softmax.softmax, [x], (axis,))
        for view, expected in zip(views, copied, strict=True):
            (got,), _ = run(SOFTMAX, softmax.softmax, [view], (axis,))
            assert got.tobytes() == want.tobytes()
            if axis == 1:  # rows of any distance are read where they are
                assert planned(SOFTMAX, softmax.softmax, [view], (axis,))[1].contiguous == expected


def test_nothing_is_launched_for_nothing():
    for shape in ((0, 5), (5, 0)):
        assert not planned(SOFTMAX, softmax.softmax, [np.zeros(shape)], (1,))[1].launches


def test_large_operands_take_64_bit_offsets():
    assert lines_of([View((1 << 16, 1 << 15), bfloat16, (1 << 15, 1))], 1).offsets is int64
    assert lines_of([View((2, 1 << 15, 1 << 15), bfloat16, (1 << 30, 1 << 15, 1))], 1).offsets is int64


def test_candidates_begin_with_the_usual_and_hold_clusters_where_there_are_any():
    lines = lines_of([View((4096, 65536), bfloat16, (65536, 1))], 1)
    assert {t.ctas for t in tiles(lines, bfloat16, softmax.LIMIT, ARCHES["sm_90"])} == {1, 2, 4, 8}
    assert {t.ctas for t in tiles(lines, bfloat16, softmax.LIMIT, ARCHES["sm_80"])} == {1}
    call, program, *_ = planned(SOFTMAX, softmax.softmax, [np.zeros((3, 70), np.float32)], (1,))
    first, *others = softmax.candidates(call)
    assert first[1] == program and len({str(c) for c, _ in others}) == len(others) > 3
