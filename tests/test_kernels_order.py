"""Order kernels for GPUs, interpreted: what the table's samples are too small for, and what they compile to."""

import numpy as np
import pytest

from dlcore.dtypes import float64, int64
from dlcore.kernels import interpret
from dlcore.kernels.compile import can_compile, compile_program
from dlcore.kernels.launch import ARCHES, Call, View, contiguous_strides
from dlcore.kernels.order import search, sort
from dlcore.kernels.specialise import specialise

pytest.importorskip("triton")
RNG = np.random.default_rng(4)


def run(planner, arrays, outputs, params):
    """``outputs`` after the planner's Program."""
    call = Call((*map(interpret.view, arrays),), (*map(interpret.view, outputs),), (), params, ARCHES["sm_90"])
    words = np.array([0, 2**63 - 1])
    interpret.run(planner(call), arrays, outputs, words)
    assert tuple(words) == (0, 2**63 - 1)
    return outputs


def lines(shape, dtype):
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)
    special = RNG.choice(np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf], dtype), shape)
    return np.where(RNG.random(shape) < 0.1, special, RNG.standard_normal(shape).astype(dtype))


def order_of(x, axis, descending):
    if not descending:
        return np.argsort(x, axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape, axis", [((2, 5003), 1), ((4100, 3), 0), ((9, 100), 1)])
@pytest.mark.parametrize("descending", [False, True])
def test_lines_of_any_length(dtype, shape, axis, descending):
    x = lines(shape, dtype)
    order = order_of(x, axis, descending)
    outputs = [np.empty_like(x), np.empty(shape, np.int64)]
    values, indices = run(sort.sort, [x], outputs, (axis, int(descending)))
    assert indices.tobytes() == np.ascontiguousarray(order).tobytes()
    assert values.tobytes() == np.ascontiguousarray(np.take_along_axis(x, order, axis)).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, k", [(9000, 3), (9000, 500), (9000, 700), (2049, 512), (4100, 100)])
def test_topk_of_long_lines(dtype, n, k):
    x = lines((2, n), dtype)
    order = order_of(x, 1, True)[:, :k]
    values, indices = run(sort.topk, [x], [np.empty((2, k), dtype), np.empty((2, k), np.int64)], (1, 1, k))
    assert indices.tobytes() == np.ascontiguousarray(order).tobytes()
    assert values.tobytes() == np.take_along_axis(x, order, 1).tobytes()


def test_runs_in_several_blocks():
    x, order = np.sort(RNG.integers(0, 900, 5000)), RNG.permutation(5000)
    values, places, numbers = np.unique(x, return_index=True, return_inverse=True)
    want = np.empty(5000, np.int64)
    want[order] = numbers
    assert run(search.run_numbers, [x, order], [np.empty(5000, np.int64)], (0,))[0].tobytes() == want.tobytes()
    assert run(search.count_runs, [x], [np.empty((), np.int64)], (0,))[0] == len(values)
    heads = run(search.run_heads, [x], [np.empty(len(values), np.int64) for _ in range(2)], (len(values), 0))
    assert [h.tolist() for h in heads] == [values.tolist(), places.tolist()]


def view(shape, dtype):
    return View(shape, dtype, contiguous_strides(shape))


@pytest.mark.parametrize("arch", sorted(ARCHES))
def test_runs_are_sorted_in_registers(arch):
    call = Call((view((2, 100_000), float64),), (view((2, 100_000), int64),), (), (1, 0), ARCHES[arch])
    program = sort.argsort(call)
    if not can_compile(specialise(program.launches[0], call)[0]):
        pytest.skip("no Triton of the pinned version")
    assert not any(b.problems or b.spills for b in compile_program(program, call))
