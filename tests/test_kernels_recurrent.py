"""Recurrent kernels: what the table's samples are too small for, and what they compile to."""

import ml_dtypes
import numpy as np
import pytest

from dlcore.dtypes import bfloat16, float32, float64, int64
from dlcore.kernels import interpret
from dlcore.kernels.launch import ARCHES, Call, View, contiguous_strides
from dlcore.kernels.recurrent import gru, lstm, rnn
from dlcore.ops.gru import gru_backward, gru_forward
from dlcore.ops.lstm import lstm_backward, lstm_forward
from dlcore.ops.rnn import rnn_backward, rnn_forward

pytest.importorskip("triton")

GATES = {lstm: 4, gru: 3, rnn: 1}
OPERATIONS = {lstm: (lstm_forward, lstm_backward), gru: (gru_forward, gru_backward), rnn: (rnn_forward, rnn_backward)}
PLANNERS = {
    lstm: (lstm.lstm_forward, lstm.lstm_backward), gru: (gru.gru_forward, gru.gru_backward),
    rnn: (rnn.rnn_forward, rnn.rnn_backward),
}  # fmt: skip


def shapes(layer, steps, batch, units):
    """Operands and outputs, forward and backward: None for what a layer may lack and "lengths" for them."""
    one, many = (batch, units), (steps, batch, units)
    gates, kept = (*many[:2], GATES[layer] * units), (*many[:2], 4 * units)
    weight = (GATES[layer] * units, units)
    if layer is lstm:
        return (
            ([gates, weight, one, one, "lengths", None], [many, one, one, kept, many]),
            ([many, one, one, weight, one, "lengths", None, kept, many], [gates, one, one, None]),
        )
    if layer is gru:
        return (
            ([gates, weight, weight[:1], one, "lengths"], [many, one, kept]),
            ([many, one, weight, one, "lengths", many, kept], [gates, one, many]),
        )
    return (
        ([gates, weight, one, "lengths"], [many, one]), ([many, one, weight, "lengths", many], [gates, one]),
    )  # fmt: skip


KEPT = {lstm: ((3, 4), (7, 8)), gru: ((2,), (6,)), rnn: ((), ())}


def narrow(layer, direction, which, k):
    """Whether operand or output k is of the layer's dtype; what is kept for the gradient is of float32 or wider."""
    return which != ("out", "in")[direction] or k not in KEPT[layer][direction]


def attributes(layer, reverse):
    return ("tanh", reverse) if layer is rnn else (reverse,)


def params(layer, reverse):
    return (0, int(reverse)) if layer is rnn else (int(reverse),)


def check(layer, steps, batch, units, dtype, reverse=False, lengths=None, arch="sm_90"):
    rng, programs = np.random.default_rng(0), []
    accuracy = {"float32": 2e-6, "float64": 1e-14, "float16": 4e-3, "bfloat16": 3e-2}[np.dtype(dtype).name]
    wide = np.float64 if dtype == np.float64 else np.float32
    for direction in range(2):
        inputs, outputs = shapes(layer, steps, batch, units)[direction]
        given = []
        for k, shape in enumerate(inputs):
            if shape is None or shape == "lengths":
                given.append(lengths if shape == "lengths" else None)
                continue
            array = rng.uniform(0.05, 0.95, shape) if shape[-1] == 4 * units else rng.uniform(-0.6, 0.6, shape)
            given.append(array.astype(dtype if narrow(layer, direction, "in", k) else wide))
        exact = [a if a is None or a is lengths else a.astype(np.float64) for a in given]
        if layer is not lstm and direction and lengths is not None:  # outputs behind the lengths are 0
            exact[-1 if layer is rnn else 5][np.arange(steps)[:, None] >= lengths] = 0
            given = [a if e is None or e is lengths else e.astype(a.dtype) for a, e in zip(given, exact, strict=True)]
        operation = OPERATIONS[layer][direction].op
        wanted = operation.reference(*exact, *attributes(layer, reverse))
        found = [
            s and np.full(s, np.nan, dtype if narrow(layer, direction, "out", k) else wide)
            for k, s in enumerate(outputs)
        ]
        call = Call(tuple(map(interpret.view, given)), tuple(map(interpret.view, found)), (), params(layer, reverse),
                    ARCHES[arch])  # fmt: skip
        programs.append(PLANNERS[layer][direction](call))
        interpret.run(programs[-1], given, found, arch=ARCHES[arch])
        for made, right in zip(found, wanted, strict=False):
            if made is not None:
                np.testing.assert_allclose(made.astype(np.float64), right, rtol=0, atol=accuracy * max(units, 8))
    return programs


LAYERS = pytest.mark.parametrize("layer", [lstm, gru, rnn], ids=["lstm", "gru", "rnn"])


@LAYERS
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_several_programs_and_blocks(layer, dtype, reverse):
    """Weights that stay with a program, and others that are read block by block."""
    programs = check(layer, 4, 19, 35, dtype, reverse)
    for program in programs:
        (launch,) = program.launches
        assert launch.grid == (2,) and launch.args["RESIDENT"] == (np.dtype(dtype).itemsize == 2)


@LAYERS
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths(layer, reverse):
    for dtype in (np.float32, np.float16):
        check(layer, 5, 4, 6, dtype, reverse, np.array([2, 5, 1, 4]))


@LAYERS
def test_a_length_that_is_none_is_reported(layer):
    inputs, outputs = shapes(layer, 3, 18, 4)[0]
    lengths = np.array([3] * 17 + [4])
    given = [lengths if s == "lengths" else s and np.zeros(s, np.float32) for s in inputs]
    found = [np.zeros(s, np.float32) for s in outputs]
    call = Call(tuple(map(interpret.view, given)), tuple(map(interpret.view, found)), (), params(layer, False),
                ARCHES["sm_90"])  # fmt: skip
    errors = np.array([0, 2**63 - 1])
    interpret.run(PLANNERS[layer][0](call), given, found, errors)
    assert errors.tolist() == [10, 17]


CASES = [("sm_80", bfloat16, 128), ("sm_90", bfloat16, 128), ("sm_90", float32, 128), ("sm_90", float64, 128),
         ("sm_100", bfloat16, 64), ("sm_100", bfloat16, 128), ("sm_120", float32, 64),
         ("sm_120", bfloat16, 256)]  # fmt: skip


@LAYERS
@pytest.mark.parametrize(("arch", "dtype", "units"), CASES)
def test_kernels_compile_without_spills(layer, arch, dtype, units):
    from dlcore.kernels.compile import compile_program

    kept = float64 if dtype is float64 else float32
    for direction, planner in enumerate(PLANNERS[layer]):
        inputs, outputs = shapes(layer, 64, 64, units)[direction]
        views = [
            [
                View((64,), int64, (1,)) if s == "lengths" else
                s and View(s, dtype if narrow(layer, direction, which, k) else kept, contiguous_strides(s))
                for k, s in enumerate(some)
            ]
            for which, some in (("in", inputs), ("out", outputs))
        ]  # fmt: skip
        call = Call(tuple(views[0]), tuple(views[1]), (), params(layer, False), ARCHES[arch])
        for binary in compile_program(planner(call), call):
            assert binary.problems == ()
