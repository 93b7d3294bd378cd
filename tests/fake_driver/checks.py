"""What dlcore asks of a GPU's driver, against libcuda.c. Run by tests/test_cuda_runtime.py in a process of its own."""

import contextlib
import functools
import gc
import struct
import sys
import types

import numpy as np
import pytest

import dlcore as dl
import dlcore.kernels
from dlcore import _C, _device, _dispatch, testing
from dlcore.backends import cuda
from dlcore.dtypes import float32
from dlcore.kernels import compile as compiler
from dlcore.kernels import nvrtc
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    ARCHES,
    BAD_INDEX,
    F64,
    I32,
    Call,
    Cuda,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Table,
    Temp,
    Value,
    View,
    Workspace,
    prepared,
)
from dlcore.op import REGISTRY, Spec, operation
from dlcore.ops import optim, random, training  # noqa: F401  for their operations
from fake_driver import COPY, FILL, LAUNCH, open_fake, stub

DRIVER = open_fake()
GPU = dl.device("cuda")
BACKEND = GPU.backend
SCRATCH = 48
records = DRIVER.records


def on_gpu(array, dtype=np.float32):
    return dl.tensor(np.asarray(array, dtype), device="cuda")


# ---- an operation whose planner is the test's ---------------------------------------------------------------------


@jit
def probe_kernel(x, out, temp, other, errors, value, n, one, BLOCK: tl.constexpr): ...


class Planner:
    """What the planner of `probe` answers next."""

    def __init__(self):
        self.program, self.calls = Program(()), []

    def __call__(self, call):
        self.calls.append(call)
        return self.program


PLANNER = Planner()
sys.modules["dlcore.kernels.probe.file"] = types.SimpleNamespace(plan=PLANNER)


@operation(name="probe", kernels={"cuda": "probe.file:plan"})
def probe_operation(x: Spec, y: Spec | None = None) -> Spec:
    return Spec(x.shape, x.dtype)


@operation(kernels={"cuda": "probe.file:plan"}, outputs="", writes="x")
def probe_(x: Spec) -> None: ...


@pytest.fixture
def probe(monkeypatch):
    """Sets what the planner answers; kernels are not compiled, and want SCRATCH bytes a block."""

    monkeypatch.setattr(compiler, "binary", functools.partial(stub, scratch=SCRATCH))
    monkeypatch.setattr(BACKEND, "_functions", {})

    def answer(program):
        PLANNER.program = program
        PLANNER.calls.clear()
        for name in ("probe", "probe_"):
            REGISTRY[name].call.clear_plans()
        records()
        return REGISTRY["probe"].call

    return answer


ARGUMENTS = {
    "x": In(0), "out": Out(0), "temp": Temp(0, float32, 64), "other": In(1, offset=4), "errors": Errors(),
    "value": 1.5, "n": 2**40, "one": 1, "BLOCK": 64,
}  # fmt: skip


def test_parameters_lie_where_the_abi_wants_them(probe):
    program = Program((Launch(probe_kernel, (7, 2), ARGUMENTS),), (Workspace(256, zeroed=True),))
    x, y = on_gpu(np.ones((3, 4))), on_gpu(np.ones(3))
    out = probe(program)(x, y[:1])
    fill, launch = records()
    assert (fill.kind, fill.length) == (FILL, 256)
    assert launch.name == b"probe_kernel"
    assert (list(launch.grid), list(launch.block), launch.shared) == ([7, 2, 1], [128, 1, 1], 1024)
    *pointers, value, n, scratch, profile = struct.unpack("<5Qf4xq2Q", launch.data)  # `one` has vanished
    errors = BACKEND._words.data_ptr + BACKEND.faults.place("probe")
    assert pointers == [x.data_ptr, out.data_ptr, fill.to + 64, y.data_ptr + 4, errors]
    assert (value, n, profile) == (1.5, 2**40, 0)
    assert scratch and scratch not in pointers and scratch % 128 == 0
    (call,) = PLANNER.calls
    assert [v.shape for v in call.inputs] == [(3, 4), (1,)]
    assert call.arch == ("sm_90", 132, 232448, 32764)


@pytest.mark.parametrize(
    "options, told",
    [
        ({}, {6}),  # it may start before the kernel before it has ended, for which it waits
        ({"overlap": False}, set()),
        ({"cooperative": True}, {2}),
        ({"num_ctas": 2}, {4, 5, 6}),
        ({"cluster": (1, 2, 1), "overlap": False}, {4}),
    ],
)
def test_what_the_driver_is_told_of_a_launch(probe, options, told):
    arguments = ARGUMENTS | {"temp": None, "other": None}
    function = probe(Program((Launch(probe_kernel, (7, 2), arguments, options=options),)))
    function(on_gpu(np.ones(3)))
    (launch,) = records(LAUNCH)
    assert launch.attributes == told
    assert launch.cluster == ([2, 1, 1] if "num_ctas" in options else list(options.get("cluster", (0, 0, 0))))


@pytest.mark.parametrize(
    "name", ["linear", "softmax", "cross_entropy", "mse_loss", "dropout", "permutation", "take", "adam"]
)
def test_compiled_kernels_wait_for_the_kernel_before_them(name):
    """All do on sm_90, ahead of any access to memory, so all are launched early; on sm_80 none can."""
    pytest.importorskip("triton")
    if not nvrtc.available():
        pytest.skip("NVRTC is not installed")
    calls, op = [], REGISTRY[name]
    with pytest.MonkeyPatch.context() as patch:
        bind = BACKEND.bind
        patch.setattr(BACKEND, "bind", lambda op, *planned: calls.append(planned) or bind(op, *planned))
        op.call.clear_plans()
        records()
        for sample in testing.samples(op)[:2]:  # the first may be of no elements
            operands = testing.tensors(testing.rounded(op, sample, float32), device="cuda")
            with dl.no_grad():
                testing.call(op, operands, testing.attributes(op, sample), testing.lengths(op, sample))
    launches = records(LAUNCH)
    assert launches and all(6 in r.attributes for r in launches)
    call, program = calls[-1]
    older = prepared(call, program)._replace(arch=ARCHES["sm_80"])
    assert not any(compiler.load(launch, older)[0].waits for launch in program.launches)


def test_a_plan_is_made_once_for_each_layout_and_alignment(probe):
    function = probe(Program(()))
    x = on_gpu(np.ones((4, 4)))
    for operand in (x, on_gpu(np.ones((4, 4))), x.T, x[1:], x[:, 1:], x.expand(2, 4, 4)):
        function(operand)
    layouts = [(c.inputs[0].strides, c.inputs[0].aligned) for c in PLANNER.calls]
    assert layouts == [((4, 1), True), ((1, 4), True), ((4, 1), True), ((4, 1), False), ((0, 4, 1), True)]


def test_the_value_of_a_number_is_filled_in_at_each_call(probe):
    arguments = ARGUMENTS | {"temp": None, "other": None, "value": Value(1)}
    for dtype, form in ((np.float32, "f"), (np.float64, "d"), (np.float16, "f"), (np.int64, "q"), (np.uint8, "i")):
        function, x = probe(Program((Launch(probe_kernel, (1,), arguments),))), on_gpu(np.ones(16), dtype)
        numbers = (2.5, -3.0) if np.dtype(dtype).kind == "f" else (7, 100)
        for number in numbers:
            function(x, number)
            (launch,) = records(LAUNCH)
            assert struct.unpack_from(f"<{form}", launch.data, 24)[0] == number
        assert len(PLANNER.calls) == 1


def test_operands_are_copied_and_written_back_where_the_program_wants_them_contiguous(probe):
    arguments = ARGUMENTS | {"out": None, "temp": None, "other": None}
    program = Program((Launch(probe_kernel, (1,), arguments),), contiguous=(0,))
    probe(program)
    x = on_gpu(np.arange(6.0).reshape(2, 3)).T
    copies, version = [], x.version
    nothing = _dispatch.Plan((_dispatch.NATIVE, 0, 0, 1, 0), _C.cuda.program("copy", 1, [], []), ())
    _C.bind(copy_plan=lambda source, target: copies.append((source, target)) or nothing)
    try:
        REGISTRY["probe_"].call(x)
    finally:
        _C.bind(copy_plan=_dispatch.copy_plan)
    (launch,) = records(LAUNCH)
    (there, copy), (back, target) = copies
    assert struct.unpack_from("<Q", launch.data)[0] == copy.data_ptr == back.data_ptr != x.data_ptr
    assert there is x and target is x and copy.strides == (2, 1)
    assert x.version == version + 1


def test_what_the_driver_refuses_is_raised_with_the_row(probe):
    function = probe(Program((Launch(probe_kernel, (1,), ARGUMENTS | {"temp": None, "other": None}),)))
    x = on_gpu(np.ones(3))
    DRIVER.fail(701)
    with pytest.raises(RuntimeError, match=r"^probe: cuLaunchKernelEx: CUDA error 701"):
        function(x)
    function(on_gpu(np.ones(3)))
    assert len(records(LAUNCH)) == 1


def test_bad_data_is_raised_at_the_next_wait(probe):
    function = probe(Program((Launch(probe_kernel, (1,), ARGUMENTS | {"temp": None, "other": None}),)))
    x = on_gpu(np.ones(3))
    function(x)
    words = BACKEND._words.data_ptr + BACKEND.faults.place("probe")
    for wait in (dl.synchronize, x.numpy, x[0].item, lambda: x.to("cpu")):
        DRIVER.write(words, struct.pack("<2q", BAD_INDEX, 5))
        with pytest.raises(IndexError, match=r"^probe: the index at position 5 is out of range$"):
            wait()
        assert struct.unpack("<2q", DRIVER.read(words, 16)) == (0, 2**63 - 1)
        wait()


# ---- parameters against the compiler ------------------------------------------------------------------------------


@jit
def every_kind_kernel(pointer, one, small, large, single, double, BLOCK: tl.constexpr):
    pass


EVERY_KIND = """
struct Fields { const float* pointer; int small; long long large; void* other; bool flag; };
__global__ void every_kind(float* pointer, bool flag, int small, long long large, float single, double both,
                           Fields fields) {}
"""


def places(launch):
    """Where the compiled kernel has its parameters, and the bytes of all; `Backend` has compared them with ours."""
    from dlcore.kernels import worker

    view = View((16,), float32, (1,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "binary", worker.compile)
        return DRIVER.parameters(BACKEND._function(launch, Call((view,), (), (), (), BACKEND.arch))[1])


def test_parameters_of_every_kind_lie_where_the_cubin_has_them_in_triton():
    pytest.importorskip("triton")
    arguments = {
        "pointer": In(0), "one": 1, "small": 7, "large": 2**40, "single": 1.5, "double": F64(2.5), "BLOCK": 64,
    }  # fmt: skip
    sizes = (8, 4, 8, 4, 8, 8, 8)  # `one` has vanished; the last two are Triton's own
    assert places(Launch(every_kind_kernel, (1,), arguments)) == (list(zip(range(0, 56, 8), sizes, strict=True)), 56)


def test_parameters_of_every_kind_lie_where_the_cubin_has_them_in_cuda(tmp_path, monkeypatch):
    if not nvrtc.available():
        pytest.skip("NVRTC is not installed")
    (tmp_path / "every.cu").write_text(EVERY_KIND)
    monkeypatch.setattr(dlcore.kernels, "__path__", [str(tmp_path), *dlcore.kernels.__path__])
    fields = Table((In(0), I32(7), 2**40, None, True))
    arguments = {
        "pointer": In(0), "flag": True, "small": I32(7), "large": 2**40, "single": 1.5, "both": F64(2.5),
        "fields": fields,
    }  # fmt: skip
    found = places(Launch(Cuda("every.cu", "every_kind", 128), (1,), arguments))
    assert found == ([(0, 8), (8, 1), (12, 4), (16, 8), (24, 4), (32, 8), (40, 40)], 80)


@pytest.mark.parametrize("name", ["linear", "linear_backward", "softmax", "dropout", "take_backward", "adam", "sgd"])
def test_kernels_of_a_training_step_are_packed(name):
    """The fake driver's `Backend` compares where its kernels' parameters lie with what their cubins say."""
    pytest.importorskip("triton")
    if not nvrtc.available():
        pytest.skip("NVRTC is not installed")
    op = REGISTRY[name]
    sample = testing.samples(op)[0]
    operands = testing.tensors(testing.rounded(op, sample, float32), device="cuda")
    records()
    with dl.no_grad():
        testing.call(op, operands, testing.attributes(op, sample), testing.lengths(op, sample))
    launches = records(LAUNCH)
    addresses = {t.data_ptr for t in operands if isinstance(t, dl.Tensor) and t.size and t.is_contiguous}
    words = {w for r in launches for w in struct.unpack(f"<{r.size // 8}Q", r.data[: r.size // 8 * 8])}
    assert launches and len(addresses & words) >= len(addresses) - 1  # one at most is cast first


def test_tensor_maps_are_made_on_the_host_and_again_where_an_array_has_moved():
    """Of a product by TMA: where the cubin wants them, what they tell, and none while the addresses stay."""
    pytest.importorskip("triton")
    weight, *others = [on_gpu(np.ones((2048, 2048))).astype(dl.bfloat16) for _ in range(3)]
    records()
    out = dl.matmul(others[0], weight)
    (launch,) = records(LAUNCH)
    first = launch.data.index(b"faKe map") - 8
    for at, tensor in zip((first, first + 192, first + 384), (others[0], weight, out), strict=True):
        assert struct.unpack_from("<Q", launch.data, at)[0] == tensor.data_ptr
        assert struct.unpack_from("<2i2q", launch.data, at + 128) == (2048, 2048, 2048, 1)
    del out
    dl.matmul(others[0], weight)  # its result's memory is the next one's
    DRIVER.fail(1, "cuTensorMapEncodeTiled")
    again = dl.matmul(others[0], weight)
    with pytest.raises(RuntimeError, match=r"^matmul: cuTensorMapEncodeTiled: CUDA error 1"):
        dl.matmul(others[1], weight)
    moved = dl.matmul(others[1], weight)
    before, same, other = records(LAUNCH)
    assert same.data == before.data and again.data_ptr != moved.data_ptr
    assert struct.unpack_from("<Q", other.data, first)[0] == others[1].data_ptr


# ---- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", dl.dtypes.DTYPES, ids=lambda d: d.name)
def test_values_come_back_as_they_went(dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype.numpy)
    x = dl.tensor(array, device="cuda")
    assert x.device is GPU is dl.device("cuda:0")
    assert (np.asarray(x) == array).all()
    assert (x[1].cpu().numpy() == array[1]).all()
    assert x[2, 3].item() == array[2, 3].item()
    big = (np.arange(100_000) % 100).astype(dtype.numpy)  # past what goes through pinned memory
    assert (dl.tensor(big, device="cuda").numpy() == big).all()


def test_freed_blocks_are_handed_out_again():
    gc.collect()
    x = on_gpu(np.ones(1000))
    before, address = GPU.memory_stats(), x.data_ptr
    assert before["total"] == 1 << 30 and before["total"] - before["free"] == DRIVER.used()
    del x
    assert _C.device_memory_stats(1)["cached"] > before["cached"]
    y = on_gpu(np.ones(900))
    assert y.data_ptr == address and _C.device_memory_stats(1)["in_use"] == before["in_use"]
    del y
    _C.trim_device_memory(1)
    assert _C.device_memory_stats(1)["cached"] == 0


def test_cupys_pool_is_used_as_it_wants(monkeypatch):
    cupy = pytest.importorskip("cupy")
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    blocks, entered = [], []

    class Pool:
        def malloc(self, size):
            blocks.append(types.SimpleNamespace(ptr=len(blocks) + 512, size=size))
            return blocks[-1]

    @contextlib.contextmanager
    def device(index):
        entered.append(index)
        yield

    monkeypatch.setattr(cupy.cuda, "MemoryPool", Pool)
    monkeypatch.setattr(cupy.cuda, "Device", lambda index: device(index))
    pool = cuda.CupyPool(3)
    assert (pool.allocate(100), entered) == (512, [3])
    pool.release(512)
    with pytest.raises(KeyError):
        pool.release(512)


def test_out_of_memory_says_what_was_asked_and_is_held():
    gc.collect()
    _C.trim_device_memory(1)
    held = on_gpu(np.ones(1 << 18))
    kept = on_gpu(np.ones(1 << 18))
    del kept  # cached: given back before the device counts as full
    DRIVER.limit(DRIVER.used() + (1 << 20))
    try:
        room = dl.empty((1 << 18) + (1 << 17), device="cuda")
        with pytest.raises(MemoryError, match=r"^out of memory on cuda:0: asked for 4194304 bytes; dlcore holds \d+ "):
            dl.empty(1 << 20, device="cuda")
        del room
    finally:
        DRIVER.limit(1 << 30)
    assert dl.empty(1 << 20, device="cuda").size == 1 << 20
    assert (held.numpy() == 1).all()


def test_a_tensor_moves_with_its_gradient():
    x = dl.tensor([1.0, 2.0], requires_grad=True)
    there = x.to("cuda")
    assert there.device is GPU and there.node.name == "transfer"
    back = there.cuda().cpu()
    back.sum().backward()
    assert x.grad.tolist() == [1, 1] and x.grad.device is _device.CPU
    assert there.to("cuda") is there


def test_devices_do_not_mix():
    with pytest.raises(dl.DTypeError, match="add: operands are on different devices: cpu, cuda:0"):
        dl.add(on_gpu([1.0]), dl.tensor([1.0]))


# ---- exchange -----------------------------------------------------------------------------------------------------


def test_gpu_memory_is_not_taken_for_the_hosts():
    x = on_gpu([1.0, 2.0])
    for refused in (lambda: memoryview(x), lambda: _C.host_alias(x)):
        with pytest.raises(BufferError, match="host memory"):
            refused()
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(x, copy=False)


def test_cuda_array_interface():
    x = on_gpu(np.ones((3, 4)))
    there = x.T.__cuda_array_interface__
    assert there["shape"] == (4, 3) and there["strides"] == (4, 16) and there["typestr"] == "<f4"
    assert there["data"] == (x.data_ptr, False) and there["stream"] == BACKEND.stream and there["version"] == 3
    assert x.__cuda_array_interface__["strides"] is None
    assert not hasattr(dl.ones(2), "__cuda_array_interface__")
    assert not hasattr(x.requires_grad_(), "__cuda_array_interface__")


def test_dlpack_both_ways():
    x = on_gpu(np.arange(6.0).reshape(2, 3))
    assert x.__dlpack_device__() == (2, 0)
    y = dl.from_dlpack(x.T)
    assert y.device is GPU and y.data_ptr == x.data_ptr and y.strides == (1, 3) and y.shape == (3, 2)
    assert (np.from_dlpack(x, device="cpu") == x.numpy()).all()
    with pytest.raises(BufferError, match="does not go to device"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    del x
    assert y.T.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


# ---- graphs -------------------------------------------------------------------------------------------------------


def test_a_recorded_step_is_launched_as_one_graph(probe):
    arguments = ARGUMENTS | {"other": None}
    function = probe(Program((Launch(probe_kernel, (3,), arguments),), (Workspace(128, zeroed=True),)))
    x = on_gpu(np.ones(5))
    function(x)
    (eager,) = records(LAUNCH)
    _C.cuda.capture_begin(1)
    try:
        out = function(x)
        assert records() == []
        for wait, why in ((x.numpy, "a read-back"), (dl.synchronize, "a wait"), (lambda: on_gpu([1.0]), "a copy to")):
            with pytest.raises(RuntimeError, match=f"{why}.* while a step is recorded"):
                wait()
    finally:
        graph, nodes = _C.cuda.capture_end(1)
    assert nodes == 2  # the fill of the workspace, the launch
    for _ in range(2):
        _C.cuda.launch_graph(graph)
        fill, launch = records()
        assert (fill.kind, launch.kind) == (FILL, LAUNCH)
        assert launch.size == eager.size
        assert struct.unpack_from("<2Q", launch.data) == (x.data_ptr, out.data_ptr)
    _C.cuda.capture_begin(1)
    _C.cuda.capture_abandon(1)
    dl.synchronize()


def test_a_copy_is_part_of_a_recording():
    leaf = on_gpu(np.ones(4)).requires_grad_()
    gradient = on_gpu(np.arange(4.0))
    _C.cuda.capture_begin(1)
    leaf.backward(gradient)  # the leaf's own copy, for the gradient is somebody else's too
    graph, nodes = _C.cuda.capture_end(1)
    assert nodes == 1 and leaf.grad.data_ptr != gradient.data_ptr
    _C.cuda.launch_graph(graph)
    assert leaf.grad.tolist() == [0, 1, 2, 3]


def test_layouts_of_the_tables_samples_are_made_on_the_gpu():
    array = np.arange(6.0).reshape(2, 3)
    strides = {x: testing.tensors([array], x, "cuda")[0].strides for x in testing.LAYOUTS}
    assert strides == {"contiguous": (3, 1), "transposed": (1, 2), "strided": (6, 2), "reversed": (-3, -1)}


def test_a_captured_function_is_replayed_as_one_graph(probe):
    arguments = ARGUMENTS | {"other": None}
    function = probe(Program((Launch(probe_kernel, (3,), arguments),), (Workspace(128, zeroed=True),)))
    step = dl.capture(lambda x: function(function(x)))
    step(on_gpu(np.ones(5)))
    step(on_gpu(np.ones(5)))
    assert step.recordings == 1 and len(records(LAUNCH)) == 4
    logs, results = [], []
    for value in (2.0, 3.0):
        x = on_gpu(np.full(5, value))
        records()
        results.append(step(x))
        logs.append(records())
    for log in logs:  # the argument to the graph's memory, the graph, its result to the caller's
        assert [r.kind for r in log] == [COPY, FILL, LAUNCH, FILL, LAUNCH, COPY]
    first, second = logs
    assert first[0].source != second[0].source and first[0].to == second[0].to
    assert [r.data for r in first if r.kind == LAUNCH] == [r.data for r in second if r.kind == LAUNCH]
    assert results[0].data_ptr != results[1].data_ptr and first[-1].to == results[0].data_ptr
    entry = struct.pack("<Q", first[0].to)
    assert first[2].data[: len(entry)] == entry, "the first launch does not read the graph's copy of the argument"


def test_a_sweep_copies_each_argument_and_launches_the_graph(probe):
    launch = Launch(probe_kernel, (3,), ARGUMENTS | {"other": None})
    function = probe(Program((launch,), (Workspace(128, zeroed=True),)))
    step = dl.capture(lambda x: function(x))
    stacked = on_gpu(np.ones((6, 5)))
    step.sweep(stacked[:3])
    records()
    step.sweep(stacked[3:])
    log = records()
    sources = [r.source for r in log if r.kind == COPY][:3]
    assert sources == [stacked.data_ptr + 20 * k for k in (3, 4, 5)] and len([r for r in log if r.kind == LAUNCH]) == 3


@pytest.mark.parametrize("width", [8, 5])  # 32 bytes a step, one after the other; 20, which are put 32 apart
def test_a_long_sweep_launches_eight_steps_at_a_time(probe, width):
    """Each step reads its own argument; what is left over is launched step by step."""
    function = probe(Program((Launch(probe_kernel, (3,), ARGUMENTS | {"other": None, "temp": None}),)))
    step = dl.capture(lambda x: function(x))
    stacked = on_gpu(np.arange(22 * width).reshape(22, width))
    step.sweep(stacked[:3])
    records()
    step.sweep(stacked[3:])
    log = records()
    kinds = [r.kind for r in log]
    copies = 1 if width == 8 else 8
    assert kinds == [*[*[COPY] * copies, *[LAUNCH] * 8] * 2, *[COPY, LAUNCH] * 3, COPY]  # the last: the result
    reads = [struct.unpack_from("<Q", r.data)[0] for r in log if r.kind == LAUNCH]
    assert reads[:8] == list(range(reads[0], reads[0] + 8 * 32, 32))
    assert reads[:8] == reads[8:16] and len(set(reads[16:])) == 1 and not set(reads[:8]) & set(reads[16:])
    size = 4 * width
    want = np.arange(22 * width, dtype=np.float32).reshape(22, width)
    for k in range(8):  # of the second launch: what its steps read is still there
        assert DRIVER.read(reads[k], size) == want[3 + 8 + k].tobytes()
    assert DRIVER.read(reads[-1], size) == want[21].tobytes()
    assert step.recordings == 1


def test_results_of_a_graph_that_are_gradients_move_when_they_are_kept(probe):
    launch = Launch(probe_kernel, (3,), ARGUMENTS | {"other": None})
    function = probe(Program((launch,), (Workspace(128, zeroed=True),)))
    p = on_gpu(np.ones(5)).requires_grad_()

    @dl.capture
    def step(x):
        with dl.no_grad():
            p.grad = function(x)

    for _ in range(3):
        step(on_gpu(np.ones(5)))
    kept = p.grad
    step(on_gpu(np.ones(5)))
    assert p.grad is not kept and p.grad.data_ptr != kept.data_ptr
