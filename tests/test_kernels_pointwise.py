"""Pointwise kernels: the bits of plain functions on the CPU, how operands lie in memory, and what they compile to."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore.dtypes import bfloat16, bool_, float16, float32, float64, int8, uint8
from dlcore.kernels import interpret
from dlcore.kernels.activation import planners as activation
from dlcore.kernels.common import pointwise
from dlcore.kernels.compile import can_compile, compile_program
from dlcore.kernels.elementwise import planners as elementwise
from dlcore.kernels.launch import ARCHES, Call, View, contiguous_strides
from dlcore.kernels.specialise import specialise
from dlcore.ops import activation as activation_ops
from dlcore.ops import elementwise as elementwise_ops

pytest.importorskip("triton")

SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5, 2.0, 3.0, -2.5, 88.7, 89.0, -87.5, -103.0, -104.0, 709.7]
SPECIAL += [-745.0, 1e-30, -1e-8, 1e-45, 1e-310, 1e30, 9.0, 13.1, -13.3, 100.0, -30.0]


def planned(planner, arrays, out, arch="sm_90"):
    return planner(Call((*map(interpret.view, arrays),), (interpret.view(out),), (), (), ARCHES[arch]))


def computed(planner, arrays, out):
    """``out`` after the planner's Program for these arrays and NumPy scalars."""
    interpret.run(planned(planner, arrays, out), arrays, [out])
    return out


def values(dtype):
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        return np.concatenate([SPECIAL, rng.standard_normal(200) * 3, rng.standard_normal(100) * 40]).astype(dtype)


def same_bits(got, want):
    return (got.view(f"u{got.itemsize}") == want.view(f"u{want.itemsize}")) | (np.isnan(got) & np.isnan(want))


# ---- the CPU's bits -----------------------------------------------------------------------------------------------

ONE = ["sqrt", "rsqrt", "reciprocal", "square", "exp", "expm1", "log", "log1p", "neg", "abs", "sign"]
TWO = ["add", "sub", "mul", "div", "maximum", "minimum", "floor_divide", "remainder"]


ACTIVATIONS = ["sigmoid", "tanh", "relu"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the CPU computes without AVX-512, with which it looks logarithms and exponentials up in tables."""
    folder = tmp_path_factory.mktemp("plain")
    np.savez(folder / "x.npz", float32=values(np.float32), float64=values(np.float64))
    script = (
        "import sys, numpy as np, dlcore as dl\n"
        "x = {k: dl.tensor(v) for k, v in np.load('x.npz').items()}\n"
        "y = {f'{name} {k}': getattr(dl, name)(x[k]).numpy() for k in x for name in sys.argv[1:]}\n"
        "np.savez('y.npz', **y)"
    )
    here = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "DLCORE_ISA": "v3", "DLCORE_DEVICE": "cpu", "PYTHONPATH": str(here)}
    subprocess.run([sys.executable, "-P", "-c", script, *ONE, *ACTIVATIONS], cwd=folder, env=environment, check=True)
    with np.load(folder / "y.npz") as found:
        return dict(found)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("name", [*ONE, *ACTIVATIONS])
def test_functions_of_one_operand_have_the_bits_of_the_cpu(name, dtype, plain):
    planners = elementwise if name in ONE else activation
    x = values(dtype.numpy)
    assert same_bits(computed(getattr(planners, name), [x], np.empty_like(x)), plain[f"{name} {dtype.name}"]).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_gradient_have_the_bits_of_the_cpu(approximate):
    name = {"none": "gelu", "tanh": "gelu_tanh"}[approximate]
    for dtype in (np.float32, np.float64):
        x, dout = values(dtype), values(dtype)[::-1].copy()
        want = np.asarray(dl.gelu(dl.tensor(x), approximate))
        assert same_bits(computed(getattr(activation, name), [x], np.empty_like(x)), want).all()
        want = np.asarray(activation_ops.gelu_backward(dl.tensor(dout), dl.tensor(x), approximate))
        assert same_bits(computed(getattr(activation, f"{name}_backward"), [dout, x], np.empty_like(x)), want).all()


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_operands_have_the_bits_of_the_cpu(name):
    x = values(np.float32)
    a, b = (np.ascontiguousarray(o) for o in np.broadcast_arrays(x[:60, None], x[:60]))
    want = np.asarray(getattr(elementwise_ops, name)(dl.tensor(a), dl.tensor(b)))
    assert same_bits(computed(getattr(elementwise, name), [a, b], np.empty_like(a)), want).all()


@pytest.mark.parametrize("exponent", [2.0, 1.0, -1.0, 0.5, 0.0])
def test_powers_without_a_logarithm_have_the_bits_of_the_cpu(exponent):
    x = values(np.float32)
    want = np.asarray(dl.pow(dl.tensor(x), exponent))
    assert same_bits(computed(elementwise.pow, [x, np.float32(exponent)], np.empty_like(x)), want).all()


def test_powers_are_the_cpus_or_the_float_beside():
    x = values(np.float32)
    a, b = (np.ascontiguousarray(o) for o in np.broadcast_arrays(x[:60, None], x[:60]))
    for exponent in (b, np.full_like(a, 3.0), np.full_like(a, -2.5)):
        want = np.asarray(dl.pow(dl.tensor(a), dl.tensor(exponent)))
        got = computed(elementwise.pow, [a, exponent], np.empty_like(a))
        apart = np.abs(got.view(np.int32).astype(np.int64) - want.view(np.int32))
        assert (same_bits(got, want) | (apart <= 1)).all()  # AVX-512 has a logarithm of its own


def test_sine_and_cosine_reduce_any_argument():
    """The last is the float64 that comes closest to a multiple of pi / 2: cos is -4.68716592425462761112e-19."""
    x = np.array([0.49, 1e5, -3e6, 1e22, 1e300, -np.inf, np.nan, 6381956970095103 * 2.0**797])
    cos = computed(elementwise.cos, [x], np.empty_like(x))
    assert abs(cos[-1] / -4.68716592425462761112e-19 - 1) < 4.5e-16
    assert np.isnan(cos[-3:-1]).all()
    near = x[:4]
    np.testing.assert_allclose(computed(elementwise.sin, [near], np.empty_like(near)), np.sin(near), 2e-15)
    narrow = near.astype(np.float32)
    want = np.sin(narrow.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(computed(elementwise.sin, [narrow], np.empty_like(narrow)), want, 1.2e-7)


def test_powers_in_float64_are_within_an_ulp():
    rng = np.random.default_rng(1)
    a, b = np.exp(rng.standard_normal(500) * 5), rng.standard_normal(500) * 40
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.longdouble), b.astype(np.longdouble))
        got = computed(elementwise.pow, [a, b], np.empty_like(a))
        finite = (want > 1e-300) & (want < 1e300)
        assert np.max(np.abs(got / want - 1)[finite]) < 2.3e-16


def test_a_number_is_rounded_to_the_dtype_of_the_tensors_first():
    x = np.arange(40).astype(bfloat16.numpy)
    want = (x.astype(np.float32) * np.float32(bfloat16.numpy.type(0.1))).astype(x.dtype)
    got = computed(elementwise.mul, [x, bfloat16.numpy.type(0.1)], np.empty_like(x))
    assert got.tobytes() == want.tobytes()


# ---- layouts ------------------------------------------------------------------------------------------------------


def lying(rng, shape, layout):
    if layout == "transposed":
        return rng.standard_normal(shape[::-1]).T
    if layout == "reversed":
        return rng.standard_normal(shape)[::-1, ::-1]
    if layout == "strided":
        return rng.standard_normal((shape[0], 3 * shape[1]))[:, ::3]
    if layout == "unaligned":
        return rng.standard_normal(shape[0] * shape[1] + 1)[1:].reshape(shape)
    return np.broadcast_to(rng.standard_normal((1, shape[1]) if layout == "row" else (shape[0], 1)), shape)


@pytest.mark.parametrize("out_layout", ["transposed", "reversed", "strided", "unaligned"])
@pytest.mark.parametrize("layout", ["transposed", "reversed", "strided", "unaligned", "row", "column"])
def test_operands_and_outputs_of_any_layout(layout, out_layout):
    """Ragged and tile-edge shapes; a view's neighbours in memory stay as they are."""
    rng = np.random.default_rng(2)
    for shape in ((33, 65), (64, 32)):
        a, b = lying(rng, shape, layout), lying(rng, shape, "unaligned")
        out = lying(rng, shape, out_layout)
        whole = out.base if out.base is not None else out
        before = whole.copy()
        computed(elementwise.add, [a, b], out)
        np.testing.assert_array_equal(out, a + b)
        out[...] = 0
        assert np.count_nonzero(whole) <= np.count_nonzero(before)
        assert whole.size - np.count_nonzero(whole == before) <= out.size


def test_eight_axes():
    rng = np.random.default_rng(3)
    a = rng.standard_normal((2, 3, 2, 3, 2, 1, 2, 3)).transpose(7, 5, 3, 1, 0, 2, 4, 6)
    b = rng.standard_normal((3, 1, 3, 3, 2, 2, 1, 2))
    np.testing.assert_array_equal(computed(elementwise.mul, [a, b], np.empty(a.shape)), a * b)


@pytest.mark.parametrize("size", [1, 15, 1024, 3001])
def test_an_output_may_be_an_operand(size):
    x = np.arange(size, dtype=np.float32)
    want = x * x
    assert (computed(elementwise.mul, [x, x], x) == want).all()


@pytest.mark.parametrize("size", [1024, 1025, 4096, 4100])
def test_nothing_behind_the_last_element_is_touched(size):
    room = np.zeros(size + 2000, np.float32)
    computed(elementwise.sub, [np.ones(size, np.float32), np.float32(3)], room[:size])
    assert (room[:size] == -2).all() and not room[size:].any()


def test_two_loads_a_thread_change_no_bit(monkeypatch):
    """A large array of 16-bit elements; functions that fill the registers, odd lengths and addresses stay with one."""

    def blocks(planner, dtype=bfloat16, size=1 << 20, aligned=True):
        x = View((size,), dtype, (1,), aligned)
        (launch,) = planner(Call((x,), (View((size,), dtype, (1,)),), (), (), ARCHES["sm_90"])).launches
        return launch.args["BLOCK"]

    assert blocks(activation.gelu) == blocks(elementwise.neg, float16) == 2048
    for planner, options in (
        (elementwise.sin, {}), (activation.gelu_tanh, {}), (activation.gelu, {"dtype": float32}),
        (activation.gelu, {"size": (1 << 20) + 8}), (activation.gelu, {"aligned": False}),
        (activation.gelu, {"size": 1 << 16}),
    ):  # fmt: skip
        assert blocks(planner, **options) == 1024
    x = values(np.float32)[:320].astype(bfloat16.numpy)
    want = computed(activation.gelu, [x], np.empty_like(x))
    monkeypatch.setattr(pointwise, "ENOUGH", 16)
    assert planned(activation.gelu, [x], np.empty_like(x)).launches[0].args["BLOCK"] == 2048
    assert same_bits(computed(activation.gelu, [x], np.empty_like(x)), want).all()


def view(shape, dtype, strides=None, aligned=True):
    return View(shape, dtype, strides or contiguous_strides(shape), aligned)


def launch(*operands):
    program = elementwise.add(Call(operands[:-1], operands[-1:], (), (), ARCHES["sm_90"]))
    return program.launches[0]


def test_axes_are_merged():
    dense = launch(*[view((4, 5, 6), float32)] * 3)
    assert dense.kernel is pointwise.dense_kernel and dense.args["size"] == 120
    assert launch(*[view((4, 5, 6), float32, (1, 24, 4))] * 3).kernel is pointwise.dense_kernel  # all alike
    bias = launch(view((8, 4, 64), float32), view((64,), float32), view((8, 4, 64), float32))
    assert (bias.args["n0"], bias.args["n1"], bias.args["n2"], bias.args["b1"]) == (64, 32, None, None)
    crossed = launch(view((64, 96), float32, (1, 64)), *[view((64, 96), float32)] * 2)
    assert (crossed.args["ROWS"], crossed.args["COLUMNS"], crossed.args["a1"]) == (32, 32, 1)


def test_offsets_beyond_32_bits_are_counted_in_64():
    far = launch(view((3, 2**31), float32, (2**33, 2)), *[view((3, 2**31), float32)] * 2)
    assert far.args["a1"] == 2**33 and far.args["n0"] == 2**31
    wide = launch(view((64, 64), float32, (2**28, 1)), *[view((64, 64), float32)] * 2)
    assert wide.args["INDEX"] == pointwise.tl.int64
    assert launch(*[view((2**33,), uint8)] * 3).grid == (2**33 // 2048,)


# ---- compiled code ------------------------------------------------------------------------------------------------


def code(planner, operands, arch):
    call = Call(operands[:-1], operands[-1:], (), (), ARCHES[arch])
    program = planner(call)
    if not can_compile(specialise(program.launches[0], call)[0]):
        pytest.skip("no Triton of the pinned version")
    binaries = compile_program(program, call)
    assert all(not binary.problems and binary.spills == 0 for binary in binaries)
    return max(binaries, key=lambda binary: binary.registers)


@pytest.mark.parametrize("arch", sorted(ARCHES))
def test_wide_accesses(arch):
    """16 bytes a thread where operands are aligned, whatever the length, and for rows of a multiple of 16 bytes."""
    n = 1 << 20
    cases = [
        (elementwise.add, [view((n,), float32)] * 3),
        (elementwise.add, [view((n + 3,), bfloat16)] * 3),
        (activation.gelu_backward, [view((n,), bfloat16)] * 3),
        (elementwise.add, [view((512, 1000), bfloat16), view((1000,), bfloat16), view((512, 1000), bfloat16)]),
        (elementwise.add, [view((512, 1000), float32, (1, 512)), *[view((512, 1000), float32)] * 2]),
        (elementwise.where, [view((n,), bool_), *[view((n,), float16)] * 3]),
        (elementwise.cast, [view((n,), uint8), view((n,), float32)]),
        (activation.gelu, [view((n,), bfloat16)] * 2),
    ]
    for planner, operands in cases:
        found = code(planner, tuple(operands), arch).instructions
        assert found["ld.v4"] >= len(operands) - 1 and found["st.v4"], (operands, found)
    assert "ld.v4" not in code(elementwise.add, (view((n,), float32, aligned=False),) * 3, arch).instructions


@pytest.mark.parametrize("name", ["sin", "pow", "remainder", "floor_divide", "log1p"])
def test_the_longest_functions_keep_to_registers(name):
    for dtype in (float32, float64, bfloat16, int8):
        unary = name in ("sin", "log1p")
        if dtype.is_float or not unary:
            operands = [view((1 << 20,), dtype)] * (2 if unary else 3)
            assert code(getattr(elementwise, name), tuple(operands), "sm_90").registers <= 160
