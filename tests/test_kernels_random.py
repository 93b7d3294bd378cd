"""Random kernels, interpreted: the CPU's bits for every size, offset and dtype, and a state that moves on by itself."""

import shutil

import numpy as np
import pytest
from interpreted import planned, run

import dlcore as dl
from dlcore._tensor import from_numpy
from dlcore.dtypes import bfloat16, float16, float32, float64, int8, int16, int64
from dlcore.kernels import interpret
from dlcore.kernels.compile import can_compile, compile_program
from dlcore.kernels.launch import ARCHES, In, Out
from dlcore.kernels.random import draws, dropout, permutation, philox
from dlcore.kernels.shim import ORDERS, run_cuda
from dlcore.kernels.specialise import specialise
from dlcore.op import REGISTRY
from dlcore.ops import random as operations

pytest.importorskip("triton")

STATES = [(1, 0), (0x0123456789ABCDEF, 2**32 - 16), (-5, -32)]  # carries into the counter's high word; ends at 2^64


def state(seed, offset):
    return np.array([seed, offset])


def check(function, planner, attrs, seeds=STATES, x=None):
    """Two draws after each other, on the CPU and by the Program; the state is every second element of an array."""
    for seed, offset in seeds:
        given = from_numpy(state(seed, offset))
        moving = np.array([[seed, 9], [offset, 9]])[:, 0]
        for turn in range(2):
            operands = [given] if x is None else [from_numpy(x), given]
            with dl.no_grad():
                want = np.asarray(function(*operands, *attrs))
            (got, *_), _ = run(function.op, planner, [moving] if x is None else [x, moving], attrs)
            what = f"{function.__name__} {attrs}"
            assert got.tobytes() == want.tobytes(), f"{what} of {seed, offset}, draw {turn}"
            assert moving.tolist() == np.asarray(given).tolist(), f"{what}: the state"


# One element, part of a group, a group, a program of 4 warps of float32, one of 8, one of 16, several programs.
@pytest.mark.parametrize("n", [1, 63, 64, 2048, 2049, 5000, 8195])
@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16], ids=lambda d: d.name)
def test_uniform_and_normal_have_the_cpus_bits(dtype, n):
    states = STATES if n == 63 else STATES[:1]
    check(operations.uniform, draws.uniform, ((n,), -1.5, 2.25, dtype), states)
    check(operations.normal, draws.normal, ((n,), 0.5, 2.0, dtype), states)


@pytest.mark.parametrize(
    "low, high, dtype",
    [(0, 1, int64), (-3, 10, int16), (-128, 128, int8), (-(2**63), 2**63, int64), (-7, 2**62, int64)],
)
def test_integers_have_the_cpus_bits(low, high, dtype):
    for n in (70, 3000):
        check(operations.randint, draws.randint, ((n,), low, high, dtype), STATES[:2])


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_masks_have_the_cpus_bits(p):
    for n in (65, 4096, 17000):
        check(operations.bernoulli, draws.bernoulli, ((n,), p), STATES[1:2])


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("n", [3, 2048, 17001])
def test_dropout_draws_its_mask_again(n, dtype):
    x = np.random.default_rng(0).standard_normal(n).astype(dtype.numpy)
    x[:2] = np.inf, -np.inf  # dropped or not, never NaN
    check(operations.dropout, dropout.dropout, (0.4,), STATES[1:2], x)
    check(operations.dropout, dropout.dropout, (1.0,), STATES[:1], x)
    moving = state(3, 48)
    (out, saved), _ = run(operations.dropout.op, dropout.dropout, [x, moving], (0.4,))
    assert saved.tolist() == [3, 48]
    (again,), _ = run(operations.dropout_backward.op, dropout.dropout_backward, [x, saved], (0.4,))
    assert again.tobytes() == out.tobytes() and saved.tolist() == [3, 48]


def test_dropout_of_a_transposed_input_and_without_a_gradient():
    x = np.random.default_rng(1).standard_normal((31, 17)).astype(np.float32).T
    given = [x, state(1, 0)]
    call, program, outputs, _ = planned(operations.dropout.op, dropout.dropout, given, (0.5,), extras=False)
    assert program.contiguous == (0,) and call.outputs[1] is None
    moving = state(1, 0)
    interpret.run(program, [x, moving], outputs)
    with dl.no_grad():
        want = operations.dropout(from_numpy(x), from_numpy(state(1, 0)), 0.5)
    assert outputs[0].tobytes() == np.asarray(want).tobytes() and moving[1] == 144


def test_philox_has_the_known_answers():
    """Random123's kat_vectors of philox4x32, 10 rounds."""
    every = 2**32 - 1
    counters = np.array([[0] * 4, [every] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]])
    keys = [[0, 0], [every, every], [0xA4093822, 0x299F31D0]]
    want = [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]
    for k, key in enumerate(keys):
        (got,), _ = run(operations.philox.op, philox.philox, [counters, np.array(key)], ())
        assert got[k].tolist() == want[k]


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.parametrize("n", [0, 1, 33, 512, 513, 3000])
def test_permutation_has_the_cpus_order(n):
    check(operations.permutation, permutation.permutation, (n,))


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.parametrize("order", ORDERS)
def test_permutation_does_not_depend_on_the_order_of_threads(order):
    given = state(2, 0)
    _, program, (out,), _ = planned(operations.permutation.op, permutation.permutation, [given], (2000,))
    temps = [np.full(w.bytes, 0 if w.zeroed else 255, np.uint8) for w in program.temps]

    def address(operand):
        where = [given] if isinstance(operand, In) else [out] if isinstance(operand, Out) else temps
        return where[operand.index].ctypes.data + operand.offset

    for launch in program.launches:
        run_cuda(launch, address, order=order)
    assert out.tolist() == np.asarray(operations.permutation(from_numpy(state(2, 0)), 2000)).tolist()


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
def test_a_bucket_of_any_size_is_ranked():
    """Words that all fall into one bucket, some of them equal: no capacity, no assumption on the words."""
    keys = np.random.default_rng(5).integers(0, 50, 700)
    order = np.random.default_rng(6).permutation(700)
    split = np.stack([keys[order], order], 1)
    _, program, (out,), _ = planned(operations.permutation.op, permutation.permutation, [state(0, 0)], (700,))
    start = np.array([0, 0, 700, 700, 700])
    launch = program.launches[-1]
    assert len(start) == launch.grid[0] + 1
    given, memory = state(0, 0), {1: start, 3: split}

    def address(operand):
        where = given if isinstance(operand, In) else out if isinstance(operand, Out) else memory[operand.index]
        return where.ctypes.data + operand.offset

    run_cuda(launch, address)
    assert out.tolist() == np.argsort(keys, kind="stable").tolist()
    assert given.tolist() == [0, 352]


@pytest.mark.parametrize("name, attrs", [("uniform", ((9001,),)), ("normal", ((9001,),)), ("dropout", (0.5,))])
@pytest.mark.parametrize("arch", ARCHES)
def test_compiled_code_writes_vectors_whatever_the_length(name, attrs, arch):
    op, module = REGISTRY[name], dropout if name == "dropout" else draws
    arrays = [state(0, 0)] if name != "dropout" else [np.zeros(9001, np.float32), state(0, 0)]
    call, program, *_ = planned(op, getattr(module, name), arrays, attrs, arch=arch)
    aligned = call._replace(outputs=tuple(v._replace(aligned=True) for v in call.outputs))
    if not can_compile(specialise(program.launches[0], aligned)[0]):
        pytest.skip("Triton is not installed")
    for made in compile_program(program, aligned):
        assert not made.problems and made.registers <= 64
    assert compile_program(program, aligned)[0].instructions["st.v4"] >= 4
