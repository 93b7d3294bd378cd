"""Optimizer kernels in CUDA C++, run by the host shim: the CPU kernels' bits, whatever the tensors look like."""

import math
import shutil

import numpy as np
import pytest

import dlcore as dl
from dlcore._tensor import from_numpy
from dlcore.dtypes import bfloat16, float16, float32, float64
from dlcore.kernels import interpret
from dlcore.kernels.compile import can_compile, compile_program
from dlcore.kernels.launch import ARCHES, Call, Errors, Temp
from dlcore.kernels.optim import adam, multi_tensor
from dlcore.kernels.shim import ORDERS, run_cuda
from dlcore.kernels.specialise import specialise
from dlcore.op import Spec
from dlcore.ops import optim as operations
from dlcore.ops import training

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no g++")

ADAM, SGD, CLIP_GRAD_NORM = operations.adam.op, operations.sgd.op, training.clip_grad_norm.op
RADAM, LAMB = operations.radam.op, operations.lamb.op
DTYPES = (float32, float64, float16, bfloat16)
# One element, a ragged tail, a chunk less one element, one chunk, one more, several chunks; 4 KiB are 1024 float32.
SIZES = (1, 7, 1023, 1024, 1025, 5000)
ADAM_SETTINGS = [[0.1, 0.9, 0.999, 1e-8, 0, 0, 0], [0.1, 0.9, 0.99, 1e-8, 0.1, 1, 1], [0.1, 0.25, 0.9, 1e-3, 0.1, 0, 0]]
SGD_SETTINGS = [[0.1, 0, 0, 0.1, 0, 1], [0.1, 0.9, 0.25, 0.1, 0, 0], [0.1, 0.9, 0, 0, 1, 0]]


def lengths(op, arrays, attrs):
    """How many of ``arrays``, one by one, belong to each group: one for each parameter, or no moments at all."""
    others = {"clip_grad_norm": 0, "unscale_grads": 1, "update_scale": None}
    if op.name in others:
        return () if others[op.name] is None else (len(arrays) - others[op.name],)
    n, groups = len(attrs[0]), sum(operand.group for operand in op.signature.operands)
    moments = n if len(arrays) > 3 * n + 2 else 0
    return (n, n, *[moments] * (groups - 3), n)


def planned(op, planner, arrays, attrs, arch=ARCHES["sm_90"]):
    """(call, program, outputs) for NumPy operands."""
    inputs, sizes = tuple(map(interpret.view, arrays)), lengths(op, arrays, attrs)
    specs = [Spec(v.shape, v.dtype) for v in inputs]
    attrs = op.bind(attrs, specs, sizes)
    values = op.values(specs, attrs, sizes)
    outputs = [np.full(o.shape, 7, o.dtype.numpy) for o in op.inferred(values)]
    views = tuple(map(interpret.view, outputs))
    call = Call(inputs, views, attrs, tuple(op.kernel_params(values)), arch)
    return call, planner(call), outputs


def on_cpu(op, arrays, attrs):
    """The operands after the CPU's kernel, and its output."""
    tensors = [from_numpy(x.copy()) for x in arrays]
    with dl.no_grad():
        out = op.call(*op.nested(tensors, lengths(op, arrays, attrs)), *attrs)
    return [np.asarray(t) for t in tensors], None if out is None else np.asarray(out)


def same(name, got, want):
    assert got.dtype == want.dtype and got.tobytes() == want.tobytes(), name


def lists(rng, shapes, moments, settings, dtype, count=np.int64, step=2, active=True):
    """Operands of an optimizer: parameters, gradients, moments, step counts, settings, whether it steps."""
    wide = np.float64 if dtype is float64 else np.float32
    made = [rng.standard_normal(s).astype(dtype.numpy) for _ in range(2) for s in shapes]
    made += [np.abs(rng.standard_normal(s)).astype(wide) for _ in range(moments) for s in shapes]
    made += [np.array(step * k, count) for k in range(len(shapes))]
    return [*made, np.array(settings, np.float64), np.array(active)]


def misaligned(x):
    """A copy that starts one element after an aligned address."""
    room = np.empty(x.size + 17, x.dtype)
    start = (-room.ctypes.data % 16) // x.itemsize + 1
    room[start : start + x.size] = x.ravel()
    return room[start : start + x.size].reshape(x.shape)


@pytest.mark.parametrize("multiprocessors, each", [(132, 1), (1, 4)])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("op, moments", [(ADAM, 2), (SGD, 1), (SGD, 0)], ids=["adam", "sgd", "sgd-plain"])
def test_a_step_has_the_cpus_bits(op, moments, dtype, multiprocessors, each):
    settings = ADAM_SETTINGS if op is ADAM else SGD_SETTINGS
    shapes, groups = [(n,) for n in (*SIZES, *SIZES)], tuple(k % 3 for k in range(2 * len(SIZES)))
    arrays = lists(np.random.default_rng(0), shapes, moments, settings, dtype)
    arrays[len(SIZES) : len(shapes)] = map(misaligned, arrays[len(SIZES) : len(shapes)])
    attrs = (groups,)
    want, _ = on_cpu(op, arrays, attrs)
    arch = ARCHES["sm_90"]._replace(multiprocessors=multiprocessors)
    _, program, _ = planned(op, getattr(multi_tensor, op.name), arrays, attrs, arch)
    assert len(program.launches) == 1 and not program.contiguous and not program.temps
    assert program.launches[0].args["each"].value == each  # chunks of a block: several tensors in one, and parts
    interpret.run(program, arrays, [])
    for k, (got, expected) in enumerate(zip(arrays, want, strict=True)):
        same(f"operand {k}", got, expected)


RULES = [
    operations.lion, operations.rmsprop, operations.rmsprop_centered, operations.adagrad, operations.adadelta,
    operations.adamax, operations.amsgrad, operations.nadam, operations.radam, operations.schedule_free_sgd,
    operations.schedule_free_adamw,
]  # fmt: skip


@pytest.mark.parametrize("multiprocessors, dtype", [(1, float32), (132, float16)])
@pytest.mark.parametrize("op", [f.op for f in RULES], ids=lambda op: op.name)
def test_the_other_rules_have_the_cpus_bits(op, dtype, multiprocessors):
    """Whatever the sizes and groups; and twice, so that the counts and numbers of the first step are those of both."""
    rng, shapes = np.random.default_rng(7), [(n,) for n in (*SIZES, 0)]
    n, groups = len(shapes), tuple(k % 3 for k in range(len(SIZES) + 1))
    for moments in (op.moments, op.moments - 1) if op.optional else (op.moments,):
        arrays = lists(rng, shapes, moments, op.settings, dtype)
        if op.name == "rmsprop_centered":  # v is no less than a^2
            for k in range(2 * n, 3 * n):
                arrays[k] += arrays[k + n] ** 2
        numbers = [rng.uniform(0.25, 0.75, ()).astype(arrays[2 * n].dtype) for _ in range(n * op.numbers)]
        numbers = [np.asarray(x) for x in numbers]
        arrays[-n - 2 : -n - 2] = numbers
        arrays[1] = misaligned(arrays[1])
        for _ in range(2):
            operands = op.nested([from_numpy(x.copy()) for x in arrays], sizes := groups_of(op, n, moments))
            with dl.no_grad():
                op.call(*operands, groups)
            want = [np.asarray(t) for group in operands for t in (group if isinstance(group, list) else [group])]
            arch = ARCHES["sm_90"]._replace(multiprocessors=multiprocessors)
            inputs = tuple(map(interpret.view, arrays))
            specs = [Spec(v.shape, v.dtype) for v in inputs]
            values = op.values(specs, (groups,), sizes)
            call = Call(inputs, (), (groups,), tuple(op.kernel_params(values)), arch)
            program = getattr(multi_tensor, op.name)(call)
            assert len(program.launches) == 1
            interpret.run(program, arrays, [])
            for k, (got, expected) in enumerate(zip(arrays, want, strict=True)):
                same(f"{op.name}: operand {k}", got, expected)


def groups_of(op, n, moments):
    """How many tensors each group has: of the optional last moments none, where there are fewer lists of moments."""
    return (n, n, *[n] * moments, *[0] * (op.moments - moments), *[n] * op.numbers, n)


@pytest.mark.parametrize(
    "tensors, parameters, functions",
    [
        (60, 32764, ["adam<float, 68>"]),
        (150, 32764, ["adam<float, 580>"]),
        (600, 32764, ["adam<float, 580>"] * 2),
        (150, 4096, ["adam<float, 68>"] * 3),  # a driver for CUDA 12.0
    ],
)
def test_how_many_tensors_share_a_launch(tensors, parameters, functions):
    n = tensors
    shapes = [(k % 5,) for k in range(n)]  # some are empty: their steps count all the same
    arrays = lists(np.random.default_rng(1), shapes, 2, ADAM_SETTINGS, float32)
    attrs = (tuple(k % 3 for k in range(n)),)
    want, _ = on_cpu(ADAM, arrays, attrs)
    arch = ARCHES["sm_90"]._replace(parameters=parameters)
    call, program, _ = planned(ADAM, multi_tensor.adam, arrays, attrs, arch)
    assert [launch.kernel.function for launch in program.launches] == functions
    for launch in program.launches:
        assert sum(p.size for p in specialise(launch, call)[1]) <= parameters
    interpret.run(program, arrays, [])
    for got, expected in zip(arrays, want, strict=True):
        same("operand", got, expected)


def test_dtypes_strides_and_float_counts_in_one_step():
    rng = np.random.default_rng(2)
    parts = [lists(rng, [(33, 5)], 2, ADAM_SETTINGS, dtype, np.float32)[:-2] for dtype in DTYPES]
    arrays = [x for which in zip(*parts, strict=True) for x in which]
    arrays = [x[:, ::-1].T.copy().T[:, ::-1] if x.ndim else x for x in arrays]  # transposed and reversed
    arrays[4] = np.broadcast_to(arrays[4][:1, :1], (33, 5))  # as sum's gradient is
    arrays += [np.array(ADAM_SETTINGS)[:, ::-1].copy()[:, ::-1], np.array(True)]
    attrs = ((0, 1, 2, 0),)
    want, _ = on_cpu(ADAM, arrays, attrs)
    _, program, _ = planned(ADAM, multi_tensor.adam, arrays, attrs)
    assert program.contiguous == (4, 5, 6, 7, 20)
    interpret.run(program, arrays, [])
    for k, (got, expected) in enumerate(zip(arrays, want, strict=True)):
        same(f"operand {k}", np.ascontiguousarray(got), np.ascontiguousarray(expected))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("op", [ADAM, SGD, RADAM, LAMB, CLIP_GRAD_NORM], ids=lambda op: op.name)
def test_the_order_of_threads_does_not_matter(op, order):
    rng, shapes = np.random.default_rng(3), [(3000,), (1,), (5000,)]
    arrays, attrs = [rng.standard_normal(s).astype(np.float32) for s in shapes], (1.0, 2.0)
    if op is not CLIP_GRAD_NORM:
        arrays, attrs = lists(rng, shapes, op.moments, op.settings, float32), ((0, 1, 2),)
    want, norm = on_cpu(op, arrays, attrs)
    arch = ARCHES["sm_90"]._replace(multiprocessors=1)
    _, program, outputs = planned(op, getattr(multi_tensor, op.name), arrays, attrs, arch)
    temps = [np.full(w.bytes, 255, np.uint8) for w in program.temps]

    def address(operand):
        if isinstance(operand, Errors):
            return 0  # nothing has gone wrong
        where = temps if isinstance(operand, Temp) else outputs if type(operand).__name__ == "Out" else arrays
        return where[operand.index].ctypes.data + operand.offset

    for launch in program.launches:
        run_cuda(launch, address, order=order)
    for got, expected in zip([*arrays, *outputs], want if norm is None else [*want, norm], strict=True):
        same("result", got, expected)


@pytest.mark.parametrize(
    "order, dtype", [(2.0, d) for d in DTYPES] + [(math.inf, float16), (1.0, float32), (3.0, float32)]
)
def test_clipping_has_the_cpus_bits(order, dtype):
    rng = np.random.default_rng(4)
    shapes = [(n,) for n in SIZES] + [(0,), (), (40, 50)]
    arrays = [np.asarray(rng.standard_normal(s)).astype(dtype.numpy) for s in shapes]
    arrays[1], arrays[-1] = misaligned(arrays[1]), arrays[-1].T
    for attrs in ((0.5, order), (1e6, order)):
        want, norm = on_cpu(CLIP_GRAD_NORM, arrays, attrs)
        _, program, outputs = planned(CLIP_GRAD_NORM, multi_tensor.clip_grad_norm, arrays, attrs)
        interpret.run(program, arrays, outputs)
        if dtype is float64:  # sums in another order: the last bits of float64 differ
            np.testing.assert_allclose(outputs[0], norm, rtol=1e-14)
            for got, expected in zip(arrays, want, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-14)
        else:
            same("norm", outputs[0], norm)
            for got, expected in zip(arrays, want, strict=True):
                same("gradient", np.ascontiguousarray(got), np.ascontiguousarray(expected))


@pytest.mark.parametrize("values", [(), (0,), (3, math.nan, 4), (3, math.inf), (3e38, 3e38), (1e-30, 1e-30)])
def test_clipping_of_nothing_nan_and_extremes(values):
    arrays = [np.array([x], np.float32) for x in values]
    for attrs in ((1.0, 2.0), (1.0, math.inf)):
        given = [x.copy() for x in arrays]
        want, norm = on_cpu(CLIP_GRAD_NORM, given, attrs)
        _, program, outputs = planned(CLIP_GRAD_NORM, multi_tensor.clip_grad_norm, given, attrs)
        interpret.run(program, given, outputs)
        np.testing.assert_array_equal(outputs[0], norm)
        for got, expected in zip(given, want, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [float32, float16], ids=lambda d: d.name)
def test_lamb_has_the_cpus_bits_but_for_the_order_of_sums(dtype):
    op, shapes, groups = operations.lamb.op, [(n,) for n in (*SIZES, 0)], tuple(k % 3 for k in range(len(SIZES) + 1))
    arrays = lists(np.random.default_rng(8), shapes, 2, op.settings, dtype)
    arrays[1] = misaligned(arrays[1])
    for multiprocessors in (132, 1):
        want, _ = on_cpu(op, arrays, (groups,))
        arch = ARCHES["sm_90"]._replace(multiprocessors=multiprocessors)
        _, program, _ = planned(op, multi_tensor.lamb, arrays, (groups,), arch)
        assert [launch.kernel.function.partition("<")[0] for launch in program.launches] == ["measure", "apply"]
        interpret.run(program, arrays, [])
        for got, expected in zip(arrays, want, strict=True):
            np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-6)


@pytest.mark.parametrize("dtype", [float32, float16], ids=lambda d: d.name)
def test_clipping_by_value_has_the_cpus_bits(dtype):
    op, rng = training.clip_grad_value.op, np.random.default_rng(9)
    arrays = [np.asarray(rng.standard_normal(s)).astype(dtype.numpy) for s in [*SIZES, 0, (), (40, 50)]]
    arrays[0][...], arrays[1], arrays[-1] = np.nan, misaligned(arrays[1]), arrays[-1].T
    want = [from_numpy(x.copy()) for x in arrays]
    with dl.no_grad():
        op.call(want, 0.5)
    inputs = tuple(map(interpret.view, arrays))
    program = multi_tensor.clip_grad_value(Call(inputs, (), (0.5,), (0.5,), ARCHES["sm_90"]))
    interpret.run(program, arrays, [])
    for got, expected in zip(arrays, want, strict=True):
        same("gradient", np.ascontiguousarray(got), np.ascontiguousarray(np.asarray(expected)))


@pytest.mark.parametrize("op", [ADAM, SGD, RADAM, LAMB], ids=lambda op: op.name)
def test_a_step_that_is_not_active_writes_nothing(op):
    rng, shapes = np.random.default_rng(10), [(3000,), (1,), (5000,)]
    arrays = lists(rng, shapes, op.moments, op.settings, float32, active=False)
    before, attrs = [x.copy() for x in arrays], ((0, 1, 2),)
    want, _ = on_cpu(op, arrays, attrs)
    _, program, _ = planned(op, getattr(multi_tensor, op.name), arrays, attrs)
    interpret.run(program, arrays, [])
    for got, cpu, expected in zip(arrays, want, before, strict=True):
        same("operand", got, expected)
        same("operand on the CPU", cpu, expected)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [float32, float16, float64], ids=lambda d: d.name)
def test_unscaling_has_the_cpus_bits_and_finds_what_is_not_finite(dtype, bad):
    op, rng = training.unscale_grads.op, np.random.default_rng(11)
    arrays = [np.asarray(rng.standard_normal(s)).astype(dtype.numpy) for s in [*SIZES, 0, (), (40, 50)]]
    arrays[1], arrays[-1] = misaligned(arrays[1]), arrays[-1].T
    if bad is not None:
        arrays[-1][3, 7] = bad
    for scale in (1024.0, 1.0):
        given = [*(x.copy() for x in arrays), np.array(scale, np.float32)]
        want, finite = on_cpu(op, given, ())
        assert bool(finite) is (bad is None)
        _, program, outputs = planned(op, multi_tensor.unscale_grads, given, ())
        interpret.run(program, given, outputs)
        assert outputs[0] == finite
        for got, expected in zip(given, want, strict=True):
            same("gradient", np.ascontiguousarray(got), np.ascontiguousarray(expected))


@pytest.mark.parametrize("scale, good, finite", [(8.0, 1, True), (8.0, 2, True), (2.0**127, 2, True), (8.0, 2, False)])
def test_the_scale_follows_the_cpu(scale, good, finite):
    arrays = [np.array(scale, np.float32), np.array(good), np.array(4), np.array(finite)]
    want, _ = on_cpu(training.update_scale.op, arrays, (2.0, 0.5, 3))
    _, program, _ = planned(training.update_scale.op, multi_tensor.update_scale, arrays, (2.0, 0.5, 3))
    interpret.run(program, arrays, [])
    for got, expected in zip(arrays, want, strict=True):
        same("operand", got, expected)


def test_many_gradients_share_the_partials():
    arrays = [np.full(3, 1.0, (np.float32, np.float16)[k % 2]) for k in range(500)]
    _, norm = on_cpu(CLIP_GRAD_NORM, arrays, (1.0, 2.0))
    _, program, outputs = planned(CLIP_GRAD_NORM, multi_tensor.clip_grad_norm, arrays, (1.0, 2.0))
    assert len(program.launches) == 8  # 160 tensors to a table, two dtypes, measured and scaled
    interpret.run(program, arrays, outputs)
    same("norm", outputs[0], norm)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_tritons_twin_has_the_same_bits(dtype):
    pytest.importorskip("triton")
    for settings in ADAM_SETTINGS:
        arrays = lists(np.random.default_rng(5), [(2500,)], 2, [settings], dtype)
        attrs = ((0,),)
        want, _ = on_cpu(ADAM, arrays, attrs)
        _, program, _ = planned(ADAM, adam.adam_arena, arrays, attrs)
        interpret.run(program, arrays, [])
        for k, (got, expected) in enumerate(zip(arrays, want, strict=True)):
            same(f"operand {k}", got, expected)


@pytest.mark.parametrize("tensors", [1, 69])  # the small table, and the large one
@pytest.mark.parametrize("arch", ARCHES)
def test_compiled_code_reads_and_writes_vectors(arch, tensors):
    arrays = lists(np.random.default_rng(6), [(5000,)] * tensors, 2, ADAM_SETTINGS[:1], float32)
    call, program, _ = planned(ADAM, multi_tensor.adam, arrays, ((0,) * tensors,), ARCHES[arch])
    if not can_compile(specialise(program.launches[0], call)[0]):
        pytest.skip("NVRTC is not installed")
    (update,) = compile_program(program, call)
    assert not update.problems and update.waits == (ARCHES[arch].capability >= 90)
    assert update.registers <= 64  # 4 blocks of 256 threads an SM
    assert update.instructions["ld.v4"] >= 4 and update.instructions["st.v4"] >= 3
