"""Whole models and every operation on the fake driver, uncompiled: the host touches no memory of the device, and the
driver refuses nothing. Run by tests/test_cuda_runtime.py in a process of its own."""

import ctypes
import gc
import itertools
import threading
import warnings

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim, testing
from dlcore.cli.programs import with_kernels
from dlcore.op import REGISTRY
from fake_driver import LAUNCH, open_fake, uncompiled

DRIVER = open_fake()
GPU = dl.device("cuda")


@pytest.fixture(autouse=True)
def accepted():
    """Kernels are not compiled; afterwards, nothing has been refused."""
    DRIVER.records()
    with uncompiled():
        yield
    assert DRIVER.refusals() == [] and DRIVER.heal() == 0


@pytest.fixture
def on_gpu():
    dl.set_default_device(GPU)
    yield
    dl.set_default_device(None)


@pytest.mark.parametrize("model", ["a", "b"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_step_and_its_recording(on_gpu, model, optimizer):
    steps = pytest.importorskip("bench.steps", reason="needs the source tree")
    made = steps.module_step(dl, nn, optim, dl.cross_entropy, capture=dl.capture)(model, optimizer)
    for _ in range(3):  # as it is, recorded, as a graph
        made()
    DRIVER.records()
    losses = [made() for _ in range(5)]
    replays = DRIVER.records()
    nodes = [r.name for r in replays if r.kind == LAUNCH]
    assert made.recordings == 1 and len(losses) == 5
    assert all(r.in_graph for r in replays if r.kind == LAUNCH)
    assert nodes and nodes == nodes[: len(nodes) // 5] * 5
    assert {r.thread for r in replays} == {threading.get_native_id()}


def test_fit_and_predict():
    images = np.random.default_rng(0).integers(0, 256, (500, 28, 28), dtype=np.uint8)
    labels = np.arange(500) % 10
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10)).to(GPU)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fit: .*loss is nan")  # nothing is computed
        history = dl.fit(
            model, (images, labels), epochs=2, batch_size=64, loss=dl.cross_entropy, metrics=["accuracy"],
            optimizer=optim.Adam(model.parameters()), transform=dl.data.Normalize(0.5, 0.25), clip_norm=1.0,
            validation=(images[:100], labels[:100]), progress=False,
        )  # fmt: skip
    assert history.recorded, history.reason
    assert dl.predict(model, images[:3].astype(np.float32)).device is GPU
    assert any(r.in_graph for r in DRIVER.records(LAUNCH))


@pytest.mark.parametrize("op", with_kernels(), ids=lambda op: op.name)
def test_every_operation_in_every_layout(op):
    for sample in testing.samples(op)[:2]:
        for dtype, layout in itertools.product(op.dtypes, testing.LAYOUTS):
            operands = testing.tensors(testing.rounded(op, sample, dtype), layout, GPU)
            with dl.no_grad():
                testing.call(op, operands, testing.attributes(op, sample), testing.lengths(op, sample))
            assert not DRIVER.refusals(), (sample, dtype, layout)


@pytest.mark.parametrize("function", [lambda x: x * 2 + 1, lambda x: x.mul_(2)], ids=["graph", "in place"])
def test_a_recording_stands_for_arguments_on_its_own_device(function):
    step = dl.capture(function)
    for _ in range(4):
        for device in (GPU, "cpu"):
            x = dl.ones(10, device=device)
            result = step(x)
            assert result.device is dl.device(device)
            if device == "cpu":
                assert result.tolist() == function(dl.ones(10)).tolist()
    assert step.recordings == 2 and step.reasons[1].startswith("argument 0 is float32 (10,) on c")


def test_a_gradient_lies_where_its_tensor_does():
    p, q = dl.ones(3, device=GPU, requires_grad=True), dl.ones(3, requires_grad=True)
    for tensor, gradient in ((p, dl.ones(3)), (q, dl.ones(3, device=GPU))):
        text = f"^grad: a tensor on {gradient.device} is no gradient of one on {tensor.device}$"
        with pytest.raises(dl.DTypeError, match=text):
            tensor.grad = gradient
        assert tensor.grad is None
        tensor.grad = gradient.to(tensor.device)


@pytest.fixture
def roomy():
    """A GPU with room for 30 GiB, which take none of the host's memory while nobody writes them."""
    DRIVER.limit(30 << 30)
    yield
    gc.collect()
    dl.empty_cache(GPU)
    DRIVER.limit(1 << 30)


@pytest.mark.parametrize(
    "dtype, size", [(dl.bfloat16, 2**31 + 64), (dl.uint8, 2**34 + 2**19)], ids=["2^31 elements", "2^34 elements"]
)
def test_grids_of_large_operands_are_within_the_limits(roomy, dtype, size):
    try:
        x = dl.empty(size, dtype=dtype, device=GPU)
    except MemoryError:
        pytest.skip("this process may not have so much address space")
    tall, wide = (x[: 2**31].reshape(shape) for shape in ((2**30, 2), (2, 2**30)))
    for use in (
        lambda: x.sum(), lambda: x.max(), lambda: dl.argmax(x, 0), lambda: x.mul_(2), lambda: x[1::2].copy_(x[::2]),
        lambda: x.__setitem__(slice(None, None, 3), 1), lambda: tall.sum(0), lambda: tall[: 2**27].sum(1),
        lambda: wide.sum(0), lambda: wide.sum(1), lambda: dl.argmax(wide, 1), lambda: tall.T[:, : 2**27] + 1,
    ):  # fmt: skip
        use()
        assert not DRIVER.refusals()
    assert max(max(r.grid[1:]) for r in DRIVER.records(LAUNCH)) > 2**12


def trained():
    """A few recorded steps of a model of their own: everything that dlcore asks of a driver."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(GPU)
    optimizer = optim.Adam(model.parameters())
    labels = dl.tensor(np.arange(6) % 3, device=GPU)

    @dl.capture
    def step(x):
        loss = dl.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for k in range(4):
        step(dl.tensor(np.full((6, 8), k, np.float32), device=GPU)).item()
    double = dl.capture(lambda x: x.mul_(2))
    for _ in range(3):
        double(labels.float())
    double.sweep(dl.zeros((3, 6), device=GPU))


@pytest.mark.parametrize(
    "function",
    [
        "cuMemcpyAsync", "cuStreamSynchronize", "cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel",
        "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphGetNodes", "cuGraphInstantiate", "cuGraphLaunch",
    ],
)  # fmt: skip
def test_any_call_may_fail_and_all_is_well_afterwards(function):
    trained()
    for after in (0, 1, 2, 7, 20):
        for op in REGISTRY.values():
            op.call.clear_plans()
        GPU.backend._functions.clear()
        DRIVER.fail(2, function, after)
        try:
            trained()
            assert after, f"{function} is never called"
        except RuntimeError as error:
            assert function in str(error) and "CUDA error 2, out of memory" in str(error)
            assert len(DRIVER.refusals()) == 1
        DRIVER.fail(0)
        trained()
        assert DRIVER.refusals() == []


def relaunched(record, data):
    """The driver's answer to the same launch with these parameters."""
    room, size = ctypes.create_string_buffer(data), ctypes.c_size_t(len(data))
    extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(room), 2, ctypes.addressof(size), None)
    with DRIVER.current(0):
        function, stream = map(ctypes.c_void_p, (record.function, record.stream))
        return DRIVER.library.cuLaunchKernel(function, *record.grid, *record.block, record.shared, stream, None, extra)


def updated(x):
    """A step of Adam, whose pointers lie in a table."""
    parameter = dl.nn.Parameter(x)
    parameter.grad = dl.ones_like(x)
    DRIVER.records()
    optim.Adam([parameter]).step()


@pytest.mark.parametrize(
    "run, kernel",
    [(dl.exp, b"dense_kernel"), (lambda x: x[[1, 0]], b"take"), (updated, b"adam")],
    ids=["triton", "cuda", "table"],
)
def test_no_pointer_may_be_less_aligned_than_its_kernel_was_compiled_for(run, kernel):
    """The driver knows it: of a Triton kernel from its key, of a CUDA C++ kernel from what its planner has seen."""
    x = dl.zeros((4, 12), device=GPU)
    DRIVER.records()
    run(x)
    launch = [r for r in DRIVER.records(LAUNCH) if r.name.startswith(kernel)][-1]
    address = int.from_bytes(launch.data[:8], "little")
    assert address % 16 == 0 and relaunched(launch, launch.data) == 0
    assert relaunched(launch, (address + 4).to_bytes(8, "little") + launch.data[8:]) == 716
    assert "is no multiple of 16" in DRIVER.refusals()[-1] and DRIVER.heal() == 716
    assert relaunched(launch, (1 << 40).to_bytes(8, "little") + launch.data[8:]) == 700
    assert "is in no live block" in DRIVER.refusals()[-1] and DRIVER.heal() == 700
