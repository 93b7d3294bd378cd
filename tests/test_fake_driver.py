"""The fake driver (tests/fake_driver) does what a driver does, and refuses what one refuses."""

import ctypes
import os
import subprocess
import sys
import threading
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import pytest
from fake_driver import COPY, EVENT, LAUNCH, SYNCHRONIZE, WAIT, Driver, environment, image, library

HEADER = "/usr/local/cuda/include/cuda.h"
PARAMETERS = (8, 4, 8)  # a pointer, an int, a pointer
PROCESS = (
    "import ctypes, os, threading\n"
    "from fake_driver import Driver, library\n"
    "driver = Driver(library())\n"
    "def allocate():\n"
    "    address = ctypes.c_uint64()\n"
    "    with driver.current(0): driver.call('cuMemAlloc_v2', ctypes.byref(address), ctypes.c_size_t(100))\n"
    "    return address.value\n"
)


class Machine:
    """Two devices of the driver, device 0 current; every call answers with its status."""

    def __init__(self):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(devices=2, memory=1 << 28).items():
                patch.setenv(name, value)
            self.driver = Driver(library())
            self.driver.call("cuInit", 0)

    def __getattr__(self, name):
        return getattr(self.driver.library, name)

    def made(self, name, *arguments):
        """What a call makes."""
        handle = c_void_p()
        self.driver.call(name, byref(handle), *arguments)
        return handle

    def allocated(self, size):
        address = c_uint64()
        self.driver.call("cuMemAlloc_v2", byref(address), c_size_t(size))
        return address.value

    def function(self, sizes=PARAMETERS, name=b"kernel", loaded=True):
        made = self.made("cuModuleGetFunction", self.made("cuModuleLoadData", image("kernel", sizes)), name)
        if loaded:
            self.driver.call("cuFuncLoad", made)
        return made

    def copy(self, to, source, size, stream):
        return self.cuMemcpyAsync(c_uint64(to), c_uint64(source), c_size_t(size), stream)

    def launch(self, function, stream, data, grid=(1, 1, 1), block=(32, 1, 1), shared=0):
        size = c_size_t(len(data))
        extra = (c_void_p * 5)(1, ctypes.cast(data, c_void_p), 2, ctypes.addressof(size), None)
        return self.cuLaunchKernel(function, *grid, *block, shared, stream, None, extra)


class Attribute(ctypes.Structure):
    _fields_ = (("id", c_uint), ("padding", c_uint), ("value", c_uint * 16))


class Config(ctypes.Structure):
    _fields_ = (
        ("grid", c_uint * 3), ("block", c_uint * 3), ("shared", c_uint), ("stream", c_void_p),
        ("attributes", ctypes.POINTER(Attribute)), ("count", c_uint),
    )  # fmt: skip


@pytest.fixture(scope="module")
def opened():
    return Machine()


@pytest.fixture
def gpu(opened):
    """The machine, nothing lost, nothing captured, device 0 current."""
    opened.driver.records()
    opened.driver.refusals()
    with opened.driver.current(0):
        opened.stream = opened.made("cuStreamCreate", 1)
        yield opened
        opened.driver.heal()


def in_a_process(script):
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DLCORE_", "FAKE_"))}
    command = [sys.executable, "-c", PROCESS + script]
    return subprocess.run(command, env=kept | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=60)


def packed(*values):
    """The bytes of PARAMETERS."""
    pointer, number, other = values
    return b"".join(v.to_bytes(8, "little") for v in (pointer, number, other))


# ---- launches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grid, block, shared, status",
    [
        ((1, 1, 1), (32, 1, 1), 0, 0),
        ((2**31 - 1, 65535, 65535), (1024, 1, 1), 48 << 10, 0),
        ((0, 1, 1), (32, 1, 1), 0, 1),
        ((1, 0, 1), (32, 1, 1), 0, 1),
        ((2**31, 1, 1), (32, 1, 1), 0, 1),
        ((1, 65536, 1), (32, 1, 1), 0, 1),
        ((1, 1, 65536), (32, 1, 1), 0, 1),
        ((1, 1, 1), (0, 1, 1), 0, 1),
        ((1, 1, 1), (1025, 1, 1), 0, 1),
        ((1, 1, 1), (64, 32, 1), 0, 1),
        ((1, 1, 1), (1, 1, 65), 0, 1),
        ((1, 1, 1), (32, 1, 1), (48 << 10) + 1, 1),
    ],
)
def test_shapes_of_launches(gpu, grid, block, shared, status):
    assert gpu.launch(gpu.function(), gpu.stream, packed(0, 5, 0), grid, block, shared) == status
    records = gpu.driver.records()
    assert [(tuple(r.grid), tuple(r.block), r.shared) for r in records] == [(grid, block, shared)] * (not status)


def test_shared_memory_beyond_the_functions_limit(gpu):
    function = gpu.function()
    assert gpu.cuFuncSetAttribute(function, 8, 227 << 10) == 0
    assert gpu.launch(function, gpu.stream, packed(0, 0, 0), shared=227 << 10) == 0
    assert gpu.cuFuncSetAttribute(function, 8, (227 << 10) + 1) == 1
    assert [gpu.cuFuncSetAttribute(function, 9, percent) for percent in (-1, 100, 101)] == [0, 0, 1]
    assert gpu.cuFuncLoad(function) == 0


def test_parameters_come_as_a_buffer_of_the_cubins_size_or_one_by_one(gpu):
    function = gpu.function()
    assert gpu.driver.parameters(function.value) == ([(0, 8), (8, 4), (16, 8)], 24)
    assert gpu.launch(function, gpu.stream, packed(0, 7, 0)[:23]) == 1
    assert gpu.launch(function, gpu.stream, packed(0, 7, 0) + b"\0") == 1
    assert "25 bytes of parameters; the cubin takes 24" in gpu.driver.refusals()[-1]
    values = (c_uint64(0), c_int(7), c_uint64(0))
    pointers = (c_void_p * 3)(*map(ctypes.addressof, values))
    assert gpu.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, gpu.stream, pointers, None) == 0
    assert gpu.launch(function, gpu.stream, packed(0, 7, 0)) == 0
    assert [r.data for r in gpu.driver.records()] == [packed(0, 7, 0)] * 2


def test_what_a_cubin_has_not(gpu):
    module = gpu.made("cuModuleLoadData", image("kernel", PARAMETERS))
    assert gpu.cuModuleGetFunction(byref(c_void_p()), module, b"other") == 500
    assert gpu.cuModuleLoadData(byref(c_void_p()), b"\x7fELF" + bytes(100)) == 200
    assert gpu.cuModuleLoadData(byref(c_void_p()), image("kernel", PARAMETERS, arch=80)) == 209
    assert gpu.cuModuleGetFunction(byref(c_void_p()), gpu.stream, b"kernel") == 400


def test_pointers_must_be_aligned_and_alive(gpu):
    function, block = gpu.function(), gpu.allocated(1000)
    gpu.driver.require(function.value, 0, 0, 16)
    for good in (0, block, block + 16):
        assert gpu.launch(function, gpu.stream, packed(good, 0, 1)) == 0
    assert gpu.launch(function, gpu.stream, packed(block + 4, 0, 0)) == 716
    others = (gpu.cuStreamSynchronize(gpu.stream), gpu.copy(block, block, 0, gpu.stream), gpu.cuStreamQuery(None))
    assert others == (716, 716, 716)  # the context is lost
    assert gpu.driver.heal() == 716 and gpu.launch(function, gpu.stream, packed(block, 0, 0)) == 0
    assert gpu.cuMemFree_v2(c_uint64(block)) == 0
    assert gpu.launch(function, gpu.stream, packed(block, 0, 0)) == 700 and gpu.driver.heal() == 700
    host = np.zeros(64, np.float32)
    assert gpu.launch(function, gpu.stream, packed(host.ctypes.data // 16 * 16 + 16, 0, 0)) == 700
    gpu.driver.heal()
    undo = gpu.driver.pin(host)
    assert gpu.launch(function, gpu.stream, packed(host.ctypes.data // 16 * 16 + 16, 0, 0)) == 0
    undo()


def test_attributes_of_launches(gpu):
    def launch(*attributes, grid=(8, 1, 1)):
        wanted = (Attribute * len(attributes))(*[Attribute(id, 0, (c_uint * 16)(*value)) for id, value in attributes])
        config = Config(grid, (128, 1, 1), 0, gpu.stream, wanted, len(attributes))
        values = (c_uint64(0), c_int(7), c_uint64(0))
        pointers = (c_void_p * 3)(*map(ctypes.addressof, values))
        return gpu.cuLaunchKernelEx(byref(config), function, pointers, None)

    function = gpu.function()
    assert launch((6, (1,)), (2, (1,)), (4, (4, 1, 1))) == 0
    (record,) = gpu.driver.records()
    assert record.attributes == {2, 4, 6} and record.cluster == [4, 1, 1]
    assert launch((4, (3, 1, 1))) == 912  # 8 blocks are no multiple
    assert launch((4, (32, 1, 1)), grid=(32, 1, 1)) == 912
    assert launch((2, (1,)), grid=(132 * 16 + 1, 1, 1)) == 720
    assert launch((2, (1,)), grid=(132 * 16, 1, 1)) == 0
    assert launch((40, (1,))) == 1


@pytest.mark.skipif(not Path(HEADER).exists(), reason="the CUDA toolkit's headers are not here")
def test_structures_are_those_of_the_header(tmp_path):
    fields = {"shared": "sharedMemBytes", "stream": "hStream", "attributes": "attrs", "n_attributes": "numAttrs"}
    same = [(f"sizeof({name})", f"sizeof(CUl{name[1:]})") for name in ("LaunchConfig", "LaunchAttribute")]
    same += [(f"offsetof(LaunchConfig, {a})", f"offsetof(CUlaunchConfig, {b})") for a, b in fields.items()]
    same += [("offsetof(LaunchAttribute, value)", "offsetof(CUlaunchAttribute, value)")]
    same += [(name, f"CU_LAUNCH_ATTRIBUTE_{name}") for name in ("COOPERATIVE", "CLUSTER_DIMENSION")]
    same += [("PROGRAMMATIC_SERIALIZATION", "CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION")]
    same += [("(uintptr_t)LAUNCH_BUFFER", "(uintptr_t)CU_LAUNCH_PARAM_BUFFER_POINTER")]
    same += [("(uintptr_t)LAUNCH_BUFFER_SIZE", "(uintptr_t)CU_LAUNCH_PARAM_BUFFER_SIZE")]
    lines = [f'_Static_assert({a} == {b}, "{a}");' for a, b in same]
    includes = [f"#include {name}" for name in ("<stddef.h>", "<cuda.h>", '"abi.h"')]
    (tmp_path / "same.c").write_text("\n".join([*includes, *lines]))
    folders = ["-I", str(Path(HEADER).parent), "-I", str(Path(__file__).parent / "fake_driver")]
    subprocess.run(["gcc", "-fsyntax-only", *folders, tmp_path / "same.c"], check=True)
    assert (ctypes.sizeof(Config), ctypes.sizeof(Attribute)) == (56, 72)


def test_tensor_maps(gpu):
    block = gpu.allocated(1 << 16)
    good = {"type": 9, "rank": 2, "at": block, "sizes": (64, 128), "strides": (128,), "box": (64, 64), "steps": (1, 1)}

    def encode(shift=0, swizzle=3, **changes):
        w = good | changes
        room = ctypes.create_string_buffer(256)
        to = -(-ctypes.addressof(room) // 64) * 64 + shift
        status = gpu.cuTensorMapEncodeTiled(
            c_void_p(to), w["type"], w["rank"], c_void_p(w["at"]), (c_uint64 * 5)(*w["sizes"]),
            (c_uint64 * 5)(*w["strides"]), (c_uint * 5)(*w["box"]), (c_uint * 5)(*w["steps"]), 0, swizzle, 2, 0,
        )  # fmt: skip
        return status, ctypes.string_at(to, 128)

    status, tensor_map = encode()
    assert (status, gpu.driver.refusals()) == (0, [])
    assert int.from_bytes(tensor_map[:8], "little") == block
    for change in (
        {"shift": 16}, {"at": block + 8}, {"at": 1 << 20}, {"strides": (136,)}, {"strides": (112,)}, {"box": (64, 257)},
        {"box": (0, 64)}, {"sizes": (0, 128)}, {"rank": 0}, {"rank": 6}, {"steps": (1, 9)}, {"box": (128, 64)},
        {"box": (4, 64)}, {"type": 13}, {"swizzle": 7},
    ):  # fmt: skip
        assert encode(**change)[0] == 1, change
    assert encode(box=(128, 64), sizes=(128, 128), strides=(256,), swizzle=0)[0] == 0
    function = gpu.function((8, 128))
    assert gpu.driver.parameters(function.value) == ([(0, 8), (64, 128)], 192)
    gpu.driver.require(function.value, 1, 0, 0)
    assert gpu.launch(function, gpu.stream, bytes(64) + tensor_map) == 0
    assert gpu.launch(function, gpu.stream, bytes(192)) == 700


# ---- memory -------------------------------------------------------------------------------------------------------


def test_blocks_are_freed_once_and_end_where_they_end(gpu):
    block, host = gpu.allocated(1000), np.zeros(1001, np.uint8)
    assert block % 512 == 0
    assert gpu.driver.read(block, 1000) == b"\xff" * 1000  # of a block that nobody has written
    assert gpu.copy(host.ctypes.data, block, 1001, gpu.stream) == 1
    assert gpu.copy(block + 1000, block, 0, gpu.stream) == 0
    assert gpu.cuMemsetD8Async(c_uint64(block + 999), 7, c_size_t(2), gpu.stream) == 1
    assert gpu.cuMemsetD8Async(c_uint64(block + 999), 7, c_size_t(1), gpu.stream) == 0
    assert gpu.copy(host.ctypes.data, block + 999, 1, gpu.stream) == 0 and host[0] == 7
    assert gpu.cuMemFree_v2(c_uint64(block + 8)) == 1
    assert [gpu.cuMemFree_v2(c_uint64(block)) for _ in range(2)] == [0, 1]
    assert gpu.copy(host.ctypes.data, block, 1, gpu.stream) == 1


def test_memory_runs_out(gpu):
    used, room = gpu.driver.used(), (1 << 28) - gpu.driver.used()
    block = gpu.allocated(room)
    free, total = c_size_t(), c_size_t()
    assert gpu.cuMemGetInfo_v2(byref(free), byref(total)) == 0 and (free.value, total.value) == (0, 1 << 28)
    assert gpu.cuMemAlloc_v2(byref(c_uint64()), c_size_t(1)) == 2
    assert gpu.cuMemFree_v2(c_uint64(block)) == 0 and gpu.driver.used() == used
    assert gpu.cuMemAlloc_v2(byref(c_uint64()), c_size_t(0)) == 1


def test_the_host_cannot_touch_the_devices_memory():
    read = in_a_process("print(driver.read(allocate(), 2))\nctypes.string_at(allocate(), 1)")
    assert (read.stdout, read.returncode) == ("b'\\xff\\xff'\n", -11), read.stderr
    assert in_a_process("ctypes.memset(allocate(), 0, 1)").returncode == -11


def test_copies_between_devices(gpu):
    first = gpu.allocated(16)
    with gpu.driver.current(1):
        second = gpu.allocated(16)
    gpu.driver.write(first, bytes(range(16)))
    assert gpu.copy(second, first, 16, gpu.stream) == 0 and gpu.driver.read(second, 16) == bytes(range(16))
    where = c_int()
    assert gpu.cuPointerGetAttribute(byref(where), 9, c_uint64(second)) == 0 and where.value == 1


def test_copies_from_page_locked_memory_happen_when_somebody_waits(gpu):
    block, host = gpu.allocated(8), np.arange(2, dtype=np.int32)
    kind = c_uint()
    assert gpu.cuPointerGetAttribute(byref(kind), 2, c_uint64(host.ctypes.data)) == 1  # pageable: read at once
    assert gpu.copy(block, host.ctypes.data, 8, gpu.stream) == 0
    host[:] = 5
    assert gpu.driver.read(block, 8) == np.arange(2, dtype=np.int32).tobytes()
    undo = gpu.driver.pin(host)
    assert gpu.cuMemHostRegister_v2(c_void_p(host.ctypes.data), c_size_t(4), 0) == 712
    assert gpu.cuPointerGetAttribute(byref(kind), 2, c_uint64(host.ctypes.data)) == 0 and kind.value == 1
    assert gpu.copy(block, host.ctypes.data, 8, gpu.stream) == 0
    host[:] = 6
    assert gpu.cuStreamSynchronize(gpu.stream) == 0
    assert gpu.driver.read(block, 8) == host.tobytes()
    undo()
    assert gpu.cuMemHostUnregister(c_void_p(host.ctypes.data)) == 713


# ---- contexts, streams, events ------------------------------------------------------------------------------------


def test_contexts(gpu):
    function = gpu.function()
    other = c_void_p(gpu.fake_foreign_context(0))
    assert gpu.cuCtxPushCurrent_v2(other) == 0
    assert gpu.launch(function, gpu.stream, packed(0, 0, 0)) == 400
    popped = c_void_p()
    assert gpu.cuCtxPopCurrent_v2(byref(popped)) == 0 and popped.value == other.value
    with gpu.driver.current(1):
        theirs = gpu.made("cuStreamCreate", 1)
    assert gpu.launch(function, theirs, packed(0, 0, 0)) == 400
    event = gpu.made("cuEventCreate", 2)
    assert gpu.cuEventRecord(event, theirs) == 400 and gpu.cuStreamWaitEvent(theirs, event, 0) == 0
    assert gpu.cuCtxSetCurrent(gpu.stream) == 201
    before = c_void_p()
    assert gpu.cuCtxGetCurrent(byref(before)) == 0 and gpu.cuCtxSetCurrent(None) == 0
    assert gpu.cuStreamSynchronize(gpu.stream) == 201
    assert gpu.cuCtxSetCurrent(before) == 0


def test_a_forked_process_is_refused():
    done = in_a_process("allocate()\nif not os.fork(): os._exit(driver.library.cuCtxGetCurrent(None))\n"
                        "print(os.waitstatus_to_exitcode(os.wait()[1]))")  # fmt: skip
    assert done.stdout == "3\n", done.stderr
    assert in_a_process("print(driver.library.cuCtxGetCurrent(None))").stdout == "3\n"


def test_events_have_times_and_are_done_when_asked_often_enough(gpu):
    first, last, untimed = (gpu.made("cuEventCreate", flags) for flags in (0, 0, 2))
    time = c_float()
    assert gpu.cuEventElapsedTime(byref(time), first, last) == 400  # never recorded
    for event in (first, untimed, last):
        assert gpu.cuEventRecord(event, gpu.stream) == 0
    assert gpu.cuEventElapsedTime(byref(time), first, last) == 0 and time.value > 0
    assert gpu.cuEventElapsedTime(byref(time), first, untimed) == 400
    with gpu.driver.slow(2):
        assert gpu.cuEventRecord(last, gpu.stream) == 0
    assert [gpu.cuEventQuery(last) for _ in range(4)] == [600, 600, 0, 0]
    with gpu.driver.slow(2):
        assert gpu.cuEventRecord(last, gpu.stream) == 0
    assert gpu.cuStreamQuery(gpu.stream) == 600 and gpu.cuEventElapsedTime(byref(time), first, last) == 600
    assert gpu.cuEventSynchronize(last) == 0 == gpu.cuEventQuery(last)
    assert gpu.cuStreamSynchronize(gpu.stream) == 0 == gpu.cuStreamQuery(gpu.stream)
    assert [r.kind for r in gpu.driver.records(EVENT, WAIT, SYNCHRONIZE)] == [EVENT] * 5 + [SYNCHRONIZE]
    assert gpu.cuEventDestroy_v2(last) == 0 and gpu.cuEventQuery(last) == 400


def test_streams_that_use_a_block_need_an_order(gpu):
    """Of which one writes; an event that the other waits for, the host's waiting, or being default streams make one."""
    function, block, other = gpu.function(), gpu.allocated(64), gpu.allocated(64)
    gpu.driver.require(function.value, 0, 0, 4)
    gpu.driver.require(function.value, 2, 0, 4, written=True)
    mine, theirs, blocking = gpu.stream, gpu.made("cuStreamCreate", 1), gpu.made("cuStreamCreate", 0)
    event = gpu.made("cuEventCreate", 2)

    def fill(stream, to=block):
        assert gpu.cuMemsetD8Async(c_uint64(to), 0, c_size_t(8), stream) == 0

    def launch(stream, read, written):
        assert gpu.launch(function, stream, packed(read, 0, written)) == 0

    def after(earlier, later):
        assert gpu.cuEventRecord(event, earlier) == 0 == gpu.cuStreamWaitEvent(later, event, 0)

    fill(mine)
    fill(theirs)
    (text,) = gpu.driver.refusals()
    assert "cuMemsetD8Async: stream" in text and "writes the block" in text and "in no order with" in text
    after(theirs, mine)
    after(mine, theirs)
    launch(mine, block, other)
    launch(theirs, block, 0)  # both read
    assert gpu.driver.refusals() == []
    launch(theirs, other, 0)
    assert len(gpu.driver.refusals()) == 1
    launch(theirs, 0, block)  # which the other reads
    assert len(gpu.driver.refusals()) == 1
    assert gpu.cuStreamSynchronize(theirs) == 0
    launch(mine, block, 0)
    assert gpu.cuEventRecord(event, mine) == 0 == gpu.cuEventSynchronize(event)
    launch(theirs, 0, block)
    after(theirs, blocking)
    fill(blocking)
    fill(None)
    fill(blocking)
    assert gpu.driver.refusals() == []
    fill(mine)
    assert len(gpu.driver.refusals()) == 1


# ---- captures -----------------------------------------------------------------------------------------------------


def captured(gpu, *steps):
    """What the stream captures while the steps run, as an executable."""
    assert gpu.cuStreamBeginCapture_v2(gpu.stream, 1) == 0
    for step in steps:
        assert step() == 0
    graph = c_void_p()
    assert gpu.cuStreamEndCapture(gpu.stream, byref(graph)) == 0
    return graph, gpu.made("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))


def elsewhere(call):
    """The call's answer in another thread, and that thread."""
    found = []
    thread = threading.Thread(target=lambda: found.extend((call(), threading.get_native_id())))
    thread.start()
    thread.join()
    return found


def test_what_is_captured_runs_when_the_graph_does(gpu):
    function, block = gpu.function(), gpu.allocated(8)
    graph, executable = captured(
        gpu,
        lambda: gpu.launch(function, gpu.stream, packed(0, 3, 0)),
        lambda: gpu.cuMemsetD8Async(c_uint64(block), 0, c_size_t(4), gpu.stream),
        lambda: gpu.copy(block + 4, block, 4, gpu.stream),
    )
    assert gpu.driver.records() == [] and gpu.driver.read(block, 8) == b"\xff" * 8
    nodes, count, kind = (c_void_p * 3)(), c_size_t(3), c_int()
    assert gpu.cuGraphGetNodes(graph, nodes, byref(count)) == 0 and count.value == 3
    kinds = [gpu.cuGraphNodeGetType(c_void_p(node), byref(kind)) or kind.value for node in nodes]
    assert kinds == [0, 2, 1]
    assert gpu.cuGraphDestroy(graph) == 0 and gpu.cuGraphDestroy(graph) == 400
    assert gpu.cuGraphLaunch(executable, gpu.stream) == 0 and gpu.driver.read(block, 8) == bytes(8)
    records = gpu.driver.records()
    assert all(r.in_graph for r in records) and records[0].data == packed(0, 3, 0)
    assert gpu.cuMemFree_v2(c_uint64(block)) == 0
    assert gpu.cuGraphLaunch(executable, gpu.stream) == 700 and gpu.driver.heal() == 700
    assert gpu.cuGraphExecDestroy(executable) == 0 and gpu.cuGraphLaunch(executable, gpu.stream) == 400


def test_another_threads_launch_is_captured_under_its_name(gpu):
    function = gpu.function()
    asked = []

    def launch():
        with gpu.driver.current(0):
            return gpu.launch(function, gpu.stream, packed(0, 0, 0))

    def from_another():
        asked.extend(elsewhere(launch))
        return asked[0]

    _, executable = captured(gpu, launch, from_another)
    assert gpu.cuGraphLaunch(executable, gpu.stream) == 0
    assert [r.thread for r in gpu.driver.records(LAUNCH)] == [threading.get_native_id(), asked[1]]
    with gpu.driver.strict():
        _, executable = captured(gpu, launch, lambda: from_another() and 0)
    assert asked[2] == 908
    assert gpu.cuGraphLaunch(executable, gpu.stream) == 0 and len(gpu.driver.records()) == 1


def test_what_a_capture_may_not_do(gpu):
    host, block = np.zeros(4, np.float32), gpu.allocated(16)
    event = gpu.made("cuEventCreate", 0)
    assert gpu.cuEventRecord(event, gpu.stream) == 0
    code, room = image("kernel", PARAMETERS), c_void_p()
    lazy, parameters = gpu.function(loaded=False), packed(0, 0, 0)

    def end():
        with gpu.driver.current(0):
            return gpu.cuStreamEndCapture(gpu.stream, byref(room))

    for forbidden, status in (
        (lambda: gpu.cuStreamSynchronize(gpu.stream), 900),
        (lambda: gpu.cuStreamQuery(gpu.stream), 900),
        (lambda: gpu.cuCtxSynchronize(), 900),
        (lambda: gpu.cuMemAlloc_v2(byref(room), c_size_t(8)), 900),
        (lambda: gpu.cuModuleLoadData(byref(room), code), 900),
        (lambda: gpu.launch(lazy, gpu.stream, parameters), 900),
        (lambda: gpu.copy(block, host.ctypes.data, 16, gpu.stream), 900),
        (lambda: gpu.cuStreamWaitEvent(gpu.stream, event, 0), 905),
    ):
        assert gpu.cuStreamBeginCapture_v2(gpu.stream, 1) == 0
        assert elsewhere(end)[0] == 908
        assert forbidden() == status
        assert end() == 901 and not room
    assert end() == 401
    assert gpu.cuStreamBeginCapture_v2(None, 1) == 900
    assert gpu.copy(block, block, 16, gpu.stream) == 0 and len(gpu.driver.records(COPY)) == 1


# ---- threads, and what tests ask for ------------------------------------------------------------------------------


def test_threads_may_call_at_once(gpu):
    function, each, threads = gpu.function(), 500, 8

    def work():
        with gpu.driver.current(0):
            for k in range(each):
                block = gpu.allocated(64 + k)
                assert gpu.launch(function, gpu.stream, packed(block, k, 0)) == 0
                assert gpu.cuMemFree_v2(c_uint64(block)) == 0

    used = gpu.driver.used()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    records = gpu.driver.records()
    assert len(records) == each * threads and gpu.driver.used() == used and not gpu.driver.refusals()
    for thread in {r.thread for r in records}:
        numbers = [int.from_bytes(r.data[8:16], "little") for r in records if r.thread == thread]
        assert numbers == list(range(each))


def test_a_failure_that_a_test_asks_for(gpu):
    gpu.driver.fail(2, "cuMemAlloc")
    assert gpu.cuMemAlloc_v2(byref(c_uint64()), c_size_t(8)) == 2
    assert gpu.cuMemAlloc_v2(byref(c_uint64()), c_size_t(8)) == 0
    gpu.driver.fail(2, "cuMem", after=1)
    assert [gpu.cuMemAlloc_v2(byref(c_uint64()), c_size_t(8)) for _ in range(3)] == [0, 2, 0]
    gpu.driver.fail(719)
    assert gpu.launch(gpu.function(), gpu.stream, packed(0, 0, 0)) == 719
    assert gpu.cuStreamSynchronize(gpu.stream) == 719 and gpu.driver.heal() == 719
    assert gpu.cuStreamSynchronize(gpu.stream) == 0
