"""What the engine asks of a driver, with two GPUs. Run by tests/test_cuda_runtime.py in a process of its own."""

import ctypes
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C, nn, optim, testing
from fake_driver import COPY, EVENT, LAUNCH, SYNCHRONIZE, WAIT, open_fake, uncompiled

DRIVER = open_fake(devices=2)
GPU, OTHER = dl.device("cuda:0"), dl.device("cuda:1")


@pytest.fixture(autouse=True)
def without_a_compiler():
    with uncompiled():
        DRIVER.forget()
        yield


def on_gpu(array, dtype=np.float32, device="cuda"):
    return dl.tensor(np.asarray(array, dtype), device=device)


def launches():
    return [r.name for r in DRIVER.records(LAUNCH)]


@pytest.fixture
def alone(tmp_path):
    """Runs a script in a process of its own, whose GPU may be lost."""

    def run(script):
        (tmp_path / "script.py").write_text(script)
        command = [sys.executable, str(Path(__file__).parent), "--uncompiled", str(tmp_path / "script.py")]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def doubled(x):
    x.mul_(2)


FINDER = """
import sys
import dlcore as dl

class Finder:
    def find_spec(self, name, path=None, target=None):
        asked.append("{0} for {1}".format(name, self))  # neither would do in a step
        return self.nothing()

    def nothing(self):
        print("asked", file=sys.stderr)

asked = []
step = dl.capture(lambda x: dl.softmax(x, -1) if len(x) == 8 else x + 1)
small, large = dl.ones(4, device="cuda"), dl.ones(8, device="cuda")
step(small), step(small)
sys.meta_path.insert(0, Finder())
step(large)
assert step.failure is None and step.recordings == 2 and asked
"""


def test_what_planning_imports_is_not_part_of_a_step(alone):
    done = alone(FINDER)
    assert done.returncode == 0, done.stderr


# ---- alignment ----------------------------------------------------------------------------------------------------


def test_an_argument_at_another_alignment_is_recorded_anew():
    room = on_gpu(np.zeros(4097))
    step = dl.capture(doubled)
    for _ in range(3):
        step(room[:4096])
    assert step.recordings == 1
    for _ in range(2):
        step(room[1:])
        step(room[:4096])
    assert step.recordings == 2 and not DRIVER.refusals()
    assert step.reasons[1] == "argument 0 lies at no multiple of 16 bytes, unlike before"


def test_a_transposed_argument_at_another_alignment_is_recorded_anew():
    flat = on_gpu(np.zeros(64 * 64 + 4))
    step = dl.capture(lambda x: (x * 2).sum())
    for offset in (0, 0, 0, 1, 4, 1):
        step(flat[offset : offset + 4096].reshape((64, 64)).T)
    assert step.recordings == 2 and not DRIVER.refusals()


def test_gradients_to_start_from_at_another_alignment_are_recorded_anew():
    p, room = on_gpu(np.ones(4)).requires_grad_(), on_gpu(np.zeros(8))
    step = dl.capture(lambda: (p * 2).sum().backward())
    for start in (0, 0, 0, 1, 0):
        p.grad = room[start : start + 4]
        step()
    assert not DRIVER.refusals()


@pytest.mark.parametrize("width, sweeps", [(4, True), (5, False)])
def test_a_sweep_goes_step_by_step_where_alignment_changes(width, sweeps):
    step = dl.capture(doubled)
    stacked = on_gpu(np.zeros((6, width)))
    step.sweep(stacked)
    step.sweep(stacked)
    assert len(launches()) == 12 and not DRIVER.refusals()
    assert step.recordings == (1 if sweeps else 2)


def test_a_graph_reads_its_arguments_where_they_are_aligned():
    room = on_gpu(np.zeros(4097))
    step = dl.capture(lambda x: x * 2)
    for start in (0, 0, 0, 1, 0):
        step(room[start : start + 4096])
    assert step.recordings == 1 and not DRIVER.refusals()


def test_an_operand_copied_for_an_overlap_keeps_the_layout_it_is_planned_for():
    x = on_gpu(np.arange(16).reshape(4, 4))
    DRIVER.records()
    x.add_(x.T)
    copy, launch = DRIVER.records()
    assert (copy.kind, copy.source, copy.length) == (COPY, x.data_ptr, 64)
    assert DRIVER.read(copy.to, 64) == np.arange(16, dtype=np.float32).tobytes()  # as x.T lies, not as it is read
    assert copy.to.to_bytes(8, "little") in launch.data and not DRIVER.refusals()


# ---- capturing ----------------------------------------------------------------------------------------------------


def test_what_other_threads_ask_is_no_part_of_a_graph():
    other, out = on_gpu(np.zeros(4096)), []
    for operation in (dl.tanh, dl.exp):  # loaded before the recording, as the engine does
        operation(other)
    DRIVER.records()
    _C.cuda.capture_begin(1)
    try:
        def elsewhere():
            with dl.no_grad():
                dl.tanh(other)
                out.append(on_gpu(np.arange(5.0)).tolist())
                dl.synchronize()

        with DRIVER.strict():
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        assert out == [[0, 1, 2, 3, 4]] and len(launches()) == 1
        dl.exp(other)
        assert launches() == []
    finally:
        graph, nodes = _C.cuda.capture_end(1)
    assert nodes == 1 and not DRIVER.refusals()
    _C.cuda.launch_graph(graph)
    assert len(launches()) == 1


def test_one_thread_records_at_a_time():
    _C.cuda.capture_begin(1)
    problems = []
    try:
        def elsewhere():
            try:
                _C.cuda.capture_begin(1)
            except RuntimeError as error:
                problems.append(str(error))
            _C.cuda.capture_abandon(1)  # is not theirs

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="a read-back from the GPU while a step is recorded"):
            GPU.backend._words.tolist()
    finally:
        _, nodes = _C.cuda.capture_end(1)
    assert nodes == 0 and problems == ["another thread records a step on this GPU"]


def test_graphs_are_whole_while_other_threads_launch():
    """Threads that use the device all the time, while steps are recorded and replayed."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    other, stop, errors = on_gpu(np.zeros(4096)), threading.Event(), []

    def eagerly():
        dl.tanh(other)
        on_gpu(np.zeros(100))

    step_of_its_own, rows = dl.capture(doubled), on_gpu(np.zeros((50, 4)))

    def by_replays():  # without the GIL
        step_of_its_own.sweep(rows)

    def elsewhere(work):
        try:
            with dl.no_grad():
                while not stop.is_set():
                    work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=elsewhere, args=(work,)) for work in (eagerly, by_replays)]
    try:
        for thread in threads:
            thread.start()
        with DRIVER.strict():
            steps = []
            for _ in range(10):
                step = dl.capture(lambda x: ((x * 2).exp() + 1).sum())
                for _ in range(4):
                    step(other)
                steps.append(step)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    counts, refused = [], DRIVER.refusals()
    for step in steps:
        DRIVER.forget()
        step(other)
        counts.append(len(DRIVER.records(LAUNCH)))
    assert len(set(counts)) == 1 and not errors and not refused and not DRIVER.refusals()


# ---- memory of the host -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_page_locked_memory_may_be_reused_when_the_upload_returns(size):
    array = np.arange(size, dtype=np.float32)
    release = DRIVER.pin(array)
    try:
        x = dl.from_numpy(array).to("cuda")
        waits = DRIVER.records(SYNCHRONIZE)
        array[:] = -1
        assert DRIVER.read(x.data_ptr, 4 * size) == np.arange(size, dtype=np.float32).tobytes()
        assert len(waits) == 1
    finally:
        release()


def test_uploads_of_pageable_memory_do_not_wait():
    on_gpu(np.arange(100))
    on_gpu(np.arange(1 << 20))
    assert DRIVER.records(SYNCHRONIZE) == [] and not DRIVER.refusals()


# ---- several devices ----------------------------------------------------------------------------------------------


def test_a_copy_between_devices_waits_for_both_streams():
    x, target = on_gpu(np.arange(4.0)), on_gpu(np.zeros(4), device=OTHER)
    DRIVER.records()
    _C.copy_memory(x, target)
    ours, theirs = GPU.backend.stream, OTHER.backend.stream
    asked = [(r.kind, r.stream) for r in DRIVER.records(COPY, EVENT, WAIT)]
    assert asked == [(EVENT, theirs), (WAIT, ours), (COPY, ours), (EVENT, ours), (WAIT, theirs)]
    assert target.tolist() == [0, 1, 2, 3] and x.to(OTHER).tolist() == [0, 1, 2, 3] and not DRIVER.refusals()


def current():
    context = ctypes.c_void_p()
    DRIVER.call("cuCtxGetCurrent", ctypes.byref(context))
    return context.value


def test_the_callers_context_stays_current():
    x, y = on_gpu(np.zeros(4)), on_gpu(np.zeros(4), device=OTHER)
    foreign = DRIVER.library.fake_foreign_context(0)
    step = dl.capture(lambda x: x * 2)
    for device in (0, 1):
        with DRIVER.current(device):
            mine = current()
            for t in (x, y, x):
                (t * 2).tolist()
                step(t)
                dl.synchronize()
            x.to(OTHER).to(GPU).__dlpack__()
            assert current() == mine
    DRIVER.call("cuCtxPushCurrent_v2", ctypes.c_void_p(foreign))
    (x + 1).tolist()
    assert current() == foreign and not DRIVER.refusals()
    DRIVER.call("cuCtxPopCurrent_v2", None)


def test_a_thread_without_a_context_has_that_of_gpu_0_or_none():
    found = []

    def thread(device):
        (dl.zeros(4, device=device) * 2).tolist()
        found.append(current())

    for device in (OTHER, GPU):
        t = threading.Thread(target=thread, args=(device,))
        t.start()
        t.join()
    with DRIVER.current(0):
        assert found == [None, current()]


# ---- memory shared with other libraries ---------------------------------------------------------------------------


class Exporter:
    """Another library's array: ``__dlpack__`` of a tensor of ours."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **given):
        self.given = given
        return self.tensor.__dlpack__(**given)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def order():
    """What was asked of events, in the order of the calls, and of whose stream."""
    return [(r.kind, "ours" if r.stream == GPU.backend.stream else "theirs") for r in DRIVER.records(EVENT, WAIT)]


@pytest.mark.parametrize("stream", [None, 1, 2, "own", -1])
def test_what_a_consumer_still_reads_is_not_written_after_it_has_let_go(stream):
    if stream == "own":
        handle = ctypes.c_void_p()
        with DRIVER.current(0):
            DRIVER.call("cuStreamCreate", ctypes.byref(handle), 1)
        stream = handle.value
    capsule = on_gpu(np.ones(4)).__dlpack__(stream=stream)
    before = [(EVENT, "ours"), (WAIT, "theirs")] if stream != -1 else []
    assert order() == before
    del capsule
    gc.collect()
    assert order() == ([(EVENT, "theirs"), (WAIT, "ours")] if stream != -1 else [])
    assert not DRIVER.refusals()


@pytest.mark.parametrize("stream", [0, -2, 1.0, "1", True])
def test_streams_that_are_none(stream):
    with pytest.raises(BufferError, match=r"^__dlpack__: .* is no stream: 1 is the legacy default, 2 the thread's$"):
        on_gpu(np.ones(4)).__dlpack__(stream=stream)


def test_memory_is_not_shared_with_a_stream_that_is_captured(monkeypatch):
    """Ours would become a part of the graph, silently."""
    x, theirs = on_gpu(np.ones(4)), ctypes.c_void_p()
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: unraisable.append(str(found.exc_value)))
    with DRIVER.current(0):
        DRIVER.call("cuStreamCreate", ctypes.byref(theirs), 1)
        capsule = x.__dlpack__(stream=theirs.value)
        DRIVER.call("cuStreamBeginCapture_v2", theirs, 1)
        try:
            with pytest.raises(RuntimeError, match="with a stream that is being captured into a CUDA graph"):
                x.__dlpack__(stream=theirs.value)
            del capsule
        finally:
            DRIVER.call("cuStreamEndCapture", theirs, ctypes.byref(ctypes.c_void_p()))
    assert len(unraisable) == 1 and "is being captured" in unraisable[0]
    assert x.tolist() == [1, 1, 1, 1] and not DRIVER.refusals()


def test_a_producer_does_not_reuse_what_we_still_read():
    source = Exporter(on_gpu(np.ones(4)))
    x = dl.from_dlpack(source)
    assert source.given["stream"] == GPU.backend.stream
    order()
    view = x[1:]
    del x
    assert order() == []
    del view
    assert order()[:2] == [(EVENT, "ours"), (WAIT, "theirs")]


def test_memory_seen_through_the_cuda_array_interface_waits_for_the_legacy_stream():
    x = on_gpu(np.ones(4))
    plain = on_gpu(np.ones(4))
    assert x[1:].__cuda_array_interface__["stream"] == GPU.backend.stream
    del plain
    assert order() == []
    del x
    assert order() == [(EVENT, "theirs"), (WAIT, "ours")]


# ---- kernels ------------------------------------------------------------------------------------------------------


def test_shared_memory_is_asked_for_and_bounded_by_name():
    from fake_driver import image

    module = _C.cuda.module_load(1, image("wide", (8,)))
    assert _C.cuda.function(1, module, "wide", 232448)
    with pytest.raises(RuntimeError, match=r"^wide wants 232449 bytes of shared memory, and a block of this GPU can"):
        _C.cuda.function(1, module, "wide", 232449)


# ---- devices that are lost ----------------------------------------------------------------------------------------

LOST = """
import gc, dlcore as dl, numpy as np
from fake_driver import open_fake
driver = open_fake()
x = dl.tensor(np.ones(4, np.float32), device="cuda")
step = dl.capture(lambda x: x * 2)
for _ in range(3): step(x)
def error(f):
    try: f()
    except Exception as e: return f"{type(e).__name__}: {e}"
driver.fail(STATUS, "FUNCTION")
texts = [error(lambda: (x * 2).tolist())]
asked = driver.library.fake_count()
many = (lambda: x * 2, x.tolist, dl.synchronize, lambda: step(x), lambda: dl.empty(1 << 26, device="cuda"),
        lambda: dl.device("cuda").memory_stats(), lambda: dl.ones(3, device="cuda"), x[0].item, lambda: x.cpu())
texts += [error(f) for f in many]
dl.empty_cache()
print(driver.library.fake_count() - asked, driver.refusals()[1:])
for text in texts: print(text)
del x, step
gc.collect()
"""


@pytest.mark.parametrize(
    "status, function", [(700, "cuLaunchKernelEx"), (719, "cuStreamSynchronize"), (716, "cuMemcpyAsync")]
)
def test_a_lost_context_is_named_once_and_for_all(alone, status, function):
    done = alone(LOST.replace("STATUS", str(status)).replace("FUNCTION", function))
    first, *texts = done.stdout.splitlines()
    assert first == "0 []" and done.stderr == "" and done.returncode == 0, done.stdout + done.stderr
    assert len(texts) == 10
    for text in texts:
        assert f"the GPU's context is lost ({function}: CUDA error {status}, " in text, text
        assert text.startswith("RuntimeError: ") and text.endswith("): start the process anew")


def test_other_errors_do_not_lose_the_context():
    x = on_gpu(np.ones(4))
    x * 2
    DRIVER.fail(701)
    with pytest.raises(RuntimeError, match="CUDA error 701"):
        x * 2
    x * 2


FORKED = """
import os, sys, dlcore as dl
from fake_driver import open_fake
open_fake()
x = dl.zeros(4, device="cuda")
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for f in (x.tolist, lambda: x * 2, lambda: dl.zeros(4, device="cuda"), lambda: dl.zeros(1, device="cuda:1")):
    try: f()
    except (RuntimeError, dl.DeviceError) as error: print(error)
print(dl.ones(2, device="cpu").tolist())
"""


def test_a_gpu_in_a_forked_process(alone):
    done = alone(FORKED)
    *texts, last = done.stdout.splitlines()
    assert len(texts) == 4 and last == "[1.0, 1.0]" and done.returncode == 0, done.stdout + done.stderr
    assert all("a GPU cannot be used in a process forked from one that has opened a GPU" in t for t in texts), texts


# ---- guards -------------------------------------------------------------------------------------------------------


def test_guards_lie_around_memory_of_a_gpu():
    with testing.guarded():
        x = dl.empty((5,), device="cuda")
        assert x.data_ptr % 512 == 0
        assert DRIVER.read(x.data_ptr - 512, 512 + 20 + 512) == b"\xa5" * 512 + b"\xff" * 20 + b"\xa5" * 512
        del x
        empty = dl.empty((0,), device="cuda")
        del empty
        kept = dl.empty((5,), device="cuda")
    assert kept.numpy().shape == (5,)
    del kept
    for place in (-1, 20):
        with pytest.raises(AssertionError, match="outside the memory of its output"), testing.guarded():
            x = dl.empty((5,), device="cuda")
            DRIVER.write(x.data_ptr + place, b"\0")
            del x
    y = dl.empty((5,), device="cuda")
    del y
    assert not DRIVER.refusals()


# ---- looking inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph, device", [(True, GPU), (True, OTHER), (False, OTHER)])
def test_launches_are_timed_between_events(graph, device):
    dl.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = on_gpu(np.ones((5, 8)), device=device), on_gpu(np.zeros(5), np.int64, device)
    if not graph:
        x = x.T.contiguous().T

    @dl.capture
    def step(x, y):
        loss = dl.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(4):
        step(x, y)
    assert step._entries[0].recording.copies_arguments == graph
    before = [p.numpy() for p in model.parameters()]
    DRIVER.records()
    shown = step.explain(repeats=3)
    asked = DRIVER.records(LAUNCH, EVENT)
    assert len(shown.rows) > 5 and all(0 < row.seconds < 1e-3 for row in shown.rows)
    assert sum(r.kind == EVENT for r in asked) == 3 * (len(shown.rows) + 1) and not any(r.in_graph for r in asked)
    assert all(np.array_equal(p.numpy(), b, equal_nan=True) for p, b in zip(model.parameters(), before, strict=True))
    DRIVER.records()
    step(x, y)
    assert all(r.in_graph for r in DRIVER.records(LAUNCH)) == graph and not DRIVER.refusals()


# ---- passes over a data set ---------------------------------------------------------------------------------------


class Samples:
    """A data set of Python code, whose batches are assembled on the host."""

    def __len__(self):
        return 40

    def __getitem__(self, k):
        time.sleep(1e-3)
        return np.full(3, k, np.float32), k % 2


@pytest.mark.parametrize("host", [False, True])
def test_progress_is_what_the_gpu_has_done(host):
    from dlcore.train.passes import _Pass

    arrays = np.zeros((40, 3), np.float32), np.zeros(40, np.int64)
    batches = dl.data.Batches(Samples() if host else arrays, device=GPU)
    waits, launched = [], 0

    def work(pieces):
        for inputs, _ in pieces:
            (inputs * 2).sum()

    def after(done):
        kinds = [r.kind for r in DRIVER.records(LAUNCH, SYNCHRONIZE)]
        nonlocal launched
        launched += kinds.count(LAUNCH)
        waits.append(not kinds or kinds[-1] == SYNCHRONIZE)

    _Pass(batches, 4, work, (), "the step").run(0, 20, after)
    assert launched >= 20 and not DRIVER.refusals()
    assert any(waits) if host else all(waits) and len(waits) < 20


def test_the_launches_of_a_users_step_are_timed():
    from dlcore.roofline import model

    def build():
        layer = nn.Linear(8, 4)
        return (lambda x: layer(x).sum()), dl.zeros(5, 8)

    dl.set_default_device(GPU)
    try:
        found = model.record(build, repeats=2, seconds=0.01)
    finally:
        dl.set_default_device(None)
    assert [row.operation for row in found.explanation.rows] == ["linear", "sum"] and found.explanation.seconds > 0
