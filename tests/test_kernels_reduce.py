"""Reduction kernels, interpreted: rows, columns, axes apart, parts joined, special values, and planning itself."""

import numpy as np
import pytest
from interpreted import at_odd_address, check, planned, run

from dlcore.dtypes import bfloat16, bool_, float16, float32, float64, int8, int64, uint8
from dlcore.kernels.common import layout as layouts
from dlcore.kernels.launch import View, contiguous_strides
from dlcore.kernels.reduce import reduce as kernels
from dlcore.op import REGISTRY

pytest.importorskip("triton")

PLANNERS = {
    "sum": kernels.sum_, "mean": kernels.mean, "max": kernels.max_, "min": kernels.min_, "argmax": kernels.argmax,
    "argmin": kernels.argmin, "logsumexp": kernels.logsumexp, "any": kernels.any_, "all": kernels.all_,
}  # fmt: skip
REDUCTIONS = {name: (REGISTRY[name], planner) for name, planner in PLANNERS.items()}
OF_FLOATS = [name for name in REDUCTIONS if name not in ("any", "all")]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", OF_FLOATS)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((33, 65), 1),  # ragged rows
        ((33, 65), 0),  # ragged columns
        ((4, 4096), 1),  # a tile's edge
        ((40_001,), None),  # parts, the last ragged
        ((1300, 40), 0),  # parts of columns
        ((6, 20, 9), 1),  # an axis in the middle
    ],
)
def test_any_axis(name, shape, axis):
    x = RNG.standard_normal(shape)
    check(*REDUCTIONS[name], [x], (axis, False), float32)
    if len(shape) > 1:
        check(*REDUCTIONS[name], [np.asfortranarray(x.astype(np.float32))[::-1]], (axis, True))


@pytest.mark.parametrize("dtype", [bfloat16, float16, float64])
@pytest.mark.parametrize("name", OF_FLOATS)
def test_other_floats(name, dtype):
    check(*REDUCTIONS[name], [RNG.standard_normal((9, 300))], (1, False), dtype)
    check(*REDUCTIONS[name], [RNG.standard_normal((70, 33))], (0, False), dtype)


@pytest.mark.parametrize("dtype", [bool_, uint8, int8, int64])
@pytest.mark.parametrize("name", ["sum", "max", "min", "argmax", "argmin"])
def test_integers(name, dtype):
    low, high = (0, 2) if dtype is bool_ else (0, 250) if dtype is uint8 else (-120, 120)
    x = RNG.integers(low, high, (40, 130)).astype(dtype.numpy)
    for axis in (0, 1, None):
        check(*REDUCTIONS[name], [x], (axis, False))


def test_any_all():
    for x in (RNG.random((5, 70)) > 0.98, RNG.random((5, 70)) > 0.02, np.zeros((0, 3), bool), np.ones((3, 0), bool)):
        for axis in (0, 1, None):
            check(*REDUCTIONS["any"], [x], (axis, False))
            check(*REDUCTIONS["all"], [x], (axis, False))
    x = RNG.integers(-1, 2, (40, 130)) * (RNG.random((40, 130)) > 0.9)
    for dtype in (int8, uint8, int64, float16, bfloat16, float64):
        for axis in (0, 1, None):
            check(*REDUCTIONS["any"], [x * -1.0], (axis, False), dtype)
            check(*REDUCTIONS["all"], [1 - x * 1.0], (axis, False), dtype)


@pytest.mark.parametrize("name", ["mean", "min", "logsumexp"])
def test_axes_that_take_turns(name):
    x = RNG.standard_normal((2, 2, 2, 3, 2, 2, 3))
    check(*REDUCTIONS[name], [x], ((0, 2, 4, 6), False), float32, "four and three")
    check(*REDUCTIONS[name], [x], ((1, 5), True), float32, "two and three")
    check(*REDUCTIONS[name], [x[:, ::2, :, ::-1]], ((1, 3, 5), False), float32, "strided")


def test_the_mean_of_nothing_and_the_sum():
    for shape, axis in (((0, 3), 0), ((0,), None), ((3, 0), 1)):
        check(*REDUCTIONS["sum"], [np.zeros(shape)], (axis, False), float32)
        check(*REDUCTIONS["mean"], [np.zeros(shape)], (axis, False), float32)
        check(*REDUCTIONS["logsumexp"], [np.zeros(shape)], (axis, False), float32)
    assert not planned(*REDUCTIONS["sum"], [np.zeros((0, 3))], (1, False))[1].launches


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "logsumexp"])
def test_nan_and_infinities(name):
    x = RNG.standard_normal((8, 9000)).astype(np.float32)
    x[0, 700], x[1, 3], x[2, 8999], x[3], x[4], x[5, ::2] = np.nan, np.inf, -np.inf, -np.inf, np.inf, np.nan
    x[6, :4500], x[7] = -np.inf, np.nan
    x[7].view(np.uint32)[::2] |= 1 << 31  # NaN with a sign
    check(*REDUCTIONS[name], [x], (1, False))
    check(*REDUCTIONS[name], [np.ascontiguousarray(x[:, :600].T)], (0, False))
    check(*REDUCTIONS[name], [x], (None, False))


def test_ties_go_to_the_left():
    x = RNG.integers(0, 3, (6, 9000)).astype(np.float64)
    x[0] = 0.0
    x[0, ::3] = -0.0
    for name in ("argmax", "argmin"):
        check(*REDUCTIONS[name], [x], (1, False), float32)
        check(*REDUCTIONS[name], [x[:, :500].T], (0, False), float32)
        check(*REDUCTIONS[name], [x.T], (None, False), float32, "numbered in row-major order")


def test_the_bits_of_a_sum_do_not_depend_on_its_address():
    for shape, axis in (((40_000,), None), ((30, 64), 1), ((64, 30), 0), ((30, 65), 1)):
        x = RNG.standard_normal(shape).astype(np.float32)
        (want,), _ = run(*REDUCTIONS["sum"], [x], (axis, False))
        (got,), _ = run(*REDUCTIONS["sum"], [at_odd_address(x)], (axis, False))
        assert got.tobytes() == want.tobytes()
        _, program, *_ = planned(*REDUCTIONS["sum"], [at_odd_address(x)], (axis, False))
        assert program.contiguous == (() if shape[-1] == 65 else (0,))  # aligned where vectors could be read


def test_runs_are_found_without_a_division():
    for run_length in (2, 3, 7, 64, 3136, 2**20 + 1):
        view = View((3, 5, run_length), float32, contiguous_strides((3, 5, run_length)))
        magic, shift = layouts.layout_of(view, 0b101).division
        for r in (0, run_length - 1, run_length, 12345, 2**30 // run_length * run_length - 1, 2**31 - 1):
            assert (r * magic >> 32) >> shift == r // run_length and magic < 2**32


def test_large_operands_take_64_bit_offsets_and_enough_programs():
    view = View((1 << 17, 1 << 15), bfloat16, (1 << 15, 1))
    for mask, columns in ((0b01, True), (0b10, False), (0b11, False)):
        found = layouts.layout_of(view, mask)
        tiles = layouts.tiles_of(found, 4)
        assert found.offsets is int64 and found.columns is columns
        assert tiles.programs * tiles.splits >= layouts.PROGRAMS and tiles.splits <= 65535
        assert tiles.chunk // tiles.depth <= layouts.MAX_BLOCKS and tiles.splits * tiles.chunk >= found.n
