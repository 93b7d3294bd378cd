"""A GPU's driver without a GPU: it refuses what a driver refuses, and writes down what it is asked.

    from fake_driver import open_fake          # in a test, for tests/ is on its path
    driver = open_fake()                       # from here on dl.device("cuda") is a GPU of this driver
    ...                                        # any use of dlcore
    launches = driver.records(LAUNCH)          # what the driver was asked since the last call
    assert not driver.refusals()               # what it refused, in words

    python tests/fake_driver -m pytest -q tests/test_x.py     # any program, its GPU being of this driver
    python tests/fake_driver --uncompiled program.py          # ... and its kernels never compiled

No kernel runs, so results are what the memory held: 0xFF, NaN, where nothing was copied. Memory of the device cannot be
touched by the host (a segmentation fault); `Driver.read` and `Driver.write` do for a test. Memory comes from the driver
itself, CuPy is not needed. libcuda.c is compiled once, into build/fake_driver; where DLCORE_LIBCUDA is set, that file
is taken. FAKE_CUDA_DEVICES (1), FAKE_CUDA_ARCH (90) and FAKE_CUDA_MEMORY (bytes of each device) describe the machine.

A pointer that is less aligned than its kernel was compiled for is refused because `Backend` tells the driver, for each
function it loads, what the kernel was compiled for. Without a compiler (`uncompiled`), `stub` makes cubins that hold
what the driver reads: the names and the parameters.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "COPY", "EVENT", "FILL", "LAUNCH", "SYNCHRONIZE", "WAIT", "Driver", "Record", "environment", "image", "library",
    "open_fake", "stub", "uncompiled",
]  # fmt: skip

LAUNCH, FILL, COPY, EVENT, WAIT, SYNCHRONIZE = range(6)
MAX_RECORDS, MAX_PARAMETERS, TENSOR_MAP = 1 << 14, 32764, 0
_HERE = Path(__file__).resolve().parent


@functools.cache
def library() -> str:
    """Where the driver lies; compiled first where its sources have changed."""
    if chosen := os.environ.get("DLCORE_LIBCUDA"):
        return chosen
    sources = sorted([*_HERE.glob("*.c"), *_HERE.glob("*.h")])
    digest = hashlib.sha256(b"\0".join(s.read_bytes() for s in sources)).hexdigest()[:16]
    folder = _HERE.parents[1] / "build" / "fake_driver" / digest
    if not (made := folder / "libcuda.so.1").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            new = Path(unfinished) / made.name
            flags = ("-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread")
            subprocess.run(["gcc", *flags, "-o", new, _HERE / "libcuda.c"], check=True)
            new.replace(made)
    return str(made)


def environment(devices=1, arch=90, memory=8 << 30):
    """The variables with which a process finds this driver instead of the machine's."""
    machine = {"FAKE_CUDA_DEVICES": devices, "FAKE_CUDA_ARCH": arch, "FAKE_CUDA_MEMORY": memory}
    return {"DLCORE_LIBCUDA": library(), **{name: str(value) for name, value in machine.items()}}


class _Record(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int), ("name", ctypes.c_char * 160), ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint), ("size", ctypes.c_size_t), ("to", ctypes.c_uint64),
        ("source", ctypes.c_uint64), ("length", ctypes.c_size_t), ("stream", ctypes.c_void_p),
        ("thread", ctypes.c_long), ("in_graph", ctypes.c_int), ("attributes", ctypes.c_uint),
        ("cluster", ctypes.c_uint * 3), ("bytes", ctypes.c_void_p), ("function", ctypes.c_void_p),
    )  # fmt: skip


class Record(NamedTuple):
    """One thing that the driver was asked for."""

    kind: int
    name: bytes
    grid: list[int]
    block: list[int]
    shared: int
    data: bytes
    """The parameters of a launch."""
    to: int
    """Address; an event's handle."""
    source: int
    length: int
    stream: int
    thread: int
    """That asked, as `threading.get_native_id` says; of a node of a graph, the thread that asked for the node."""
    in_graph: bool
    attributes: set[int]
    """CUlaunchAttributeID of those that were set."""
    cluster: list[int]
    function: int
    """The CUfunction launched."""

    @property
    def size(self) -> int:
        """Bytes of parameters."""
        return len(self.data)


class Driver:
    """The test's side of the driver of this process."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        size, address = ctypes.c_size_t, ctypes.c_uint64
        for name, result, *arguments in (
            ("count", size), ("read", ctypes.c_int, size, ctypes.c_void_p, ctypes.c_void_p), ("refusals", size),
            ("refusal", None, size, ctypes.c_char_p), ("reach", ctypes.c_void_p, address),
            ("require", ctypes.c_int, address, *[ctypes.c_uint] * 4),
            ("parameter", ctypes.c_int, address, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
            ("parameters_size", ctypes.c_uint, address), ("limit", None, ctypes.c_int, size),
            ("used", size, ctypes.c_int), ("fail", None, ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
            ("heal", ctypes.c_int), ("strict", None, ctypes.c_int), ("lag", None, ctypes.c_int),
            ("foreign_context", ctypes.c_void_p, ctypes.c_int),
        ):  # fmt: skip
            function = getattr(self.library, f"fake_{name}")
            function.restype, function.argtypes = result, arguments
        self._seen = self._refused = 0

    # ---- what it was asked

    def records(self, *kinds):
        """What was done since the last call: launches, fills and copies, or what is of these kinds."""
        first, self._seen = self._seen, self.library.fake_count()
        if self._seen - first > MAX_RECORDS:
            raise RuntimeError(f"the fake driver keeps {MAX_RECORDS} records; {self._seen - first} were made")
        found = map(self._record, range(first, self._seen))
        return [r for r in found if r.kind in (kinds or (LAUNCH, FILL, COPY))]

    def forget(self):
        """Begins anew: what was asked and refused until now is not looked at."""
        self._seen, self._refused = self.library.fake_count(), self.library.fake_refusals()

    def _record(self, k):
        r, data = _Record(), ctypes.create_string_buffer(MAX_PARAMETERS)
        if not self.library.fake_read(k, ctypes.byref(r), data):
            raise RuntimeError("the fake driver keeps this record no longer")
        kept = data.raw[: r.size] if r.kind == LAUNCH else b""
        attributes = {a for a in range(32) if r.attributes >> a & 1}
        return Record(
            r.kind, r.name, list(r.grid), list(r.block), r.shared, kept, r.to, r.source, r.length, r.stream, r.thread,
            bool(r.in_graph), attributes, list(r.cluster), r.function or 0,
        )  # fmt: skip

    def refusals(self):
        """What was refused since the last call, in words; also what two streams did with a block in no order."""
        first, self._refused = self._refused, self.library.fake_refusals()
        found = []
        for k in range(first, self._refused):
            text = ctypes.create_string_buffer(256)
            self.library.fake_refusal(k, text)
            found.append(text.value.decode())
        return found

    # ---- memory of the device

    def address(self, device):
        """Where the host reaches what lies at an address of the device."""
        found = self.library.fake_reach(device)
        if not found:
            raise ValueError(f"{device:#x} is no address of a device")
        return found

    def read(self, address, n):
        """``n`` bytes of the device's memory."""
        return ctypes.string_at(self.address(address), n)

    def write(self, address, data):
        """Bytes into the device's memory."""
        ctypes.memmove(self.address(address), data, len(data))

    def limit(self, bytes, device=0):
        """How much memory a device has."""
        self.library.fake_limit(device, bytes)

    def used(self, device=0):
        """Bytes in blocks."""
        return self.library.fake_used(device)

    def pin(self, array):
        """Page-locks a NumPy array's memory; returns what undoes it."""
        with self.current(0):
            self.call("cuMemHostRegister_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), 0)
        return lambda: self._unpin(array)

    def _unpin(self, array):
        with self.current(0):
            self.call("cuMemHostUnregister", ctypes.c_void_p(array.ctypes.data))

    # ---- how it behaves

    def fail(self, status, function="cuLaunchKernel", after=0):
        """Once ``after`` more calls of functions whose names begin so went well, the next gives this error; if it is
        one that loses the context (700, 716, ...), so do all later calls, until `heal`. Status 0: none does."""
        self.library.fake_fail(function.encode(), status, after)

    def heal(self):
        """Forgets that the context was lost, as no driver can; returns the error it was lost by, or 0."""
        return self.library.fake_heal()

    @contextlib.contextmanager
    def strict(self):
        """Refuses what threads ask of a stream that another one captures, instead of capturing it."""
        self.library.fake_strict(1)
        try:
            yield
        finally:
            self.library.fake_strict(0)

    @contextlib.contextmanager
    def slow(self, queries):
        """What is asked meanwhile is done only after so many queries (of its event or stream), or a wait."""
        self.library.fake_lag(queries)
        try:
            yield
        finally:
            self.library.fake_lag(0)

    # ---- calls of its own

    def call(self, name, *arguments):
        """Calls the driver; RuntimeError where it refuses."""
        if status := getattr(self.library, name)(*arguments):
            raise RuntimeError(f"{name}: error {status}: {self.refusals()[-1:]}")

    @contextlib.contextmanager
    def current(self, device):
        """Makes a device's context this thread's."""
        context = ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent_v2", None)

    def parameters(self, function):
        """((offset, size) of each parameter of a CUfunction, the size of all), as its cubin says."""
        offset, size, found = ctypes.c_uint(), ctypes.c_uint(), []
        while not self.library.fake_parameter(function, len(found), ctypes.byref(offset), ctypes.byref(size)):
            found.append((offset.value, size.value))
        return found, self.library.fake_parameters_size(function)

    def require(self, function, ordinal, offset, alignment, written=False):
        """The parameter (``offset`` bytes into it) is a pointer, null or so aligned and into a live block, which the
        kernel writes; with alignment 0, a tensor map."""
        if self.library.fake_require(function, ordinal, offset, alignment, written):
            raise RuntimeError(f"the cubin has no pointer {offset} bytes into parameter {ordinal}")


# ---- dlcore on it -------------------------------------------------------------------------------------------------


@dataclass
class Pool:
    """Memory of a device, from the driver: see `dlcore.backends.cuda.Pool`."""

    driver: Driver
    device: int

    def allocate(self, size):
        """A block; MemoryError where there is no room."""
        address = ctypes.c_uint64()
        with self.driver.current(self.device):
            status = self.driver.library.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        if status == 2:
            raise MemoryError
        if status:
            raise RuntimeError(f"cuMemAlloc: error {status}: {self.driver.refusals()[-1:]}")
        return address.value

    def release(self, address):
        """Takes a block back."""
        with self.driver.current(self.device):
            self.driver.call("cuMemFree_v2", ctypes.c_uint64(address))


def open_fake(devices=1):
    """Makes `dl.device("cuda")`, "cuda:1", ... GPUs of this driver, in this process; before the first is opened."""
    for name, value in environment(devices=devices).items():
        os.environ.setdefault(name, value)
    if (there := int(os.environ["FAKE_CUDA_DEVICES"])) < devices:
        raise RuntimeError(f"open_fake: {devices} devices are wanted; FAKE_CUDA_DEVICES is {there}")
    return _opened()


@functools.cache
def _opened():
    from dlcore import _C
    from dlcore._observe import known
    from dlcore.backends import cuda

    known.LIBRARY = (*known.LIBRARY, __file__)  # runs on behalf of the engine, as CuPy does
    driver = Driver(os.environ["DLCORE_LIBCUDA"])

    class Backend(cuda.Backend):
        """Tells the driver what each kernel was compiled for."""

        def __init__(self, code, index):
            self._known = {}
            super().__init__(code, index, Pool(driver, index))

        def _function(self, launch, call):
            parameters, function, binary = super()._function(launch, call)
            pointers = tuple(_pointers(launch, call, parameters, binary))
            if (function, pointers) not in self._known:  # the code of a CUDA C++ kernel is the same for any alignment
                module = _C.cuda.module_load(self.code, binary.cubin)
                own = _C.cuda.function(self.code, module, binary.function, binary.shared)
                _check_packing(driver, parameters, own, binary)
                for pointer in pointers:
                    driver.require(own, *pointer)
                self._known[function, pointers] = own
            return parameters, self._known[function, pointers], binary

    cuda.Backend = Backend
    return driver


def _pointers(launch, call, parameters, binary):
    """(ordinal, offset, alignment, whether it is written) of the addresses among a launch's parameters.

    An input that is written in place counts as read: a launch does not say which it is.
    """
    from dlcore.kernels.launch import In, Out, Temp
    from dlcore.kernels.specialise import sizes_of, specialise

    signature = specialise(launch, call)[0].signature
    divisible = [known for _, type, known in signature for _ in (sizes_of(type) if binary.triton else (type,))]
    for ordinal, parameter in enumerate(parameters):
        if parameter.type == "map":
            yield ordinal, 0, TENSOR_MAP, not isinstance(parameter.argument.pointer, In)
            continue
        fields = parameter.argument if parameter.type == "table" else ((0, parameter.type, parameter.argument),)
        for offset, type, argument in fields:
            if type != "ptr":
                continue
            alignment, aligned = 1, not isinstance(argument, In | Out | Temp) or argument.offset % 16 == 0
            if isinstance(argument, In | Out):
                view = (call.inputs if isinstance(argument, In) else call.outputs)[argument.index]
                alignment, aligned = (argument.dtype or view.dtype).itemsize, aligned and view.aligned
            # A planner of CUDA C++ that has seen aligned operands may have chosen wide loads.
            alignment = 16 if (divisible[ordinal] if binary.triton else aligned) else alignment
            yield ordinal, offset, alignment, not isinstance(argument, In)
    if binary.triton:
        yield len(parameters), 0, 128, True  # global scratch


def _check_packing(driver, parameters, function, binary):
    """That the parameters lie where the cubin has them."""
    from dlcore.backends.cuda import Packed
    from dlcore.kernels.specialise import Parameter

    every = [*parameters, *([Parameter("ptr", None, 8)] * 2 if binary.triton else [])]
    ends = [len(Packed(every[: k + 1], 0, 0, 0, 0).bytes) for k in range(len(every))]
    packed = [(end - p.size, p.size) for p, end in zip(every, ends, strict=True)]
    found = driver.parameters(function)
    if any(p.type == "map" for p in every):  # which is aligned to 64 in the GPU's memory: 48 bytes in on sm_90
        first = found[0][0][0]
        found = [(at - first, size) for at, size in found[0]], found[1] - first
    if found != (packed, ends[-1] if ends else 0):
        raise RuntimeError(f"{binary.name}: parameters are packed as {packed}, and its cubin has {found}")


# ---- without a compiler -------------------------------------------------------------------------------------------


def image(function, sizes, arch=90):
    """A cubin with one kernel, of which it holds no code: its parameters, each at its natural alignment."""
    attributes, at = b"", 0
    for ordinal, size in enumerate(sizes):
        at += -at % (size if size in (1, 2, 4, 8) else 64 if size == 128 else 8)
        attributes += struct.pack("<BBHIHHHH", 4, 0x45, 12, 0, ordinal, at, size, 0)
        at += size
    attributes += struct.pack("<BBH", 3, 0x19, at)
    contents = {"": b"", f".text.{function}": b"", f".nv.info.{function}": attributes}
    names = b"\0".join(name.encode() for name in (*contents, ".shstrtab")) + b"\0"
    contents[".shstrtab"] = names
    headers, body, start = b"", b"", 64
    for name, content in contents.items():
        place = names.index(name.encode() + b"\0")
        type, offset = int(name != ""), start + len(body)
        headers += struct.pack("<IIQQQQIIQQ", place, type, 0, 0, offset, len(content), 0, 0, 1, 0)
        body += content
    head = b"\x7fELF\x02\x01\x01\x41\x08" + bytes(7)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, start + len(body), arch << 8, 64, 0, 0, 64, len(contents),
                        len(contents) - 1)  # fmt: skip
    return head + body + headers


def stub(wanted, threads=128, shared=1024, scratch=0):
    """In the place of `dlcore.kernels.compile.binary`: a Binary whose cubin holds its parameters and no code."""
    from dlcore.kernels.binary import Binary
    from dlcore.kernels.launch import Cuda
    from dlcore.kernels.specialise import SIZES, sizes_of

    kernel, arch, options = wanted.kernel, int(wanted.arch.removeprefix("sm_")), dict(wanted.options)
    if isinstance(kernel, Cuda):
        sizes = tuple(SIZES.get(t) or int(t.removeprefix("table")) for _, t, _ in wanted.signature)
        cubin = image(kernel.function, sizes, arch)
        return Binary(kernel.name, wanted.arch, kernel.function, kernel.threads, kernel.shared, triton=False,
                      waits=arch >= 90, parameters=sizes, cubin=cubin)  # fmt: skip
    sizes = (*(size for _, type, _ in wanted.signature for size in sizes_of(type)), 8, 8)
    blocks = [re.findall(r"\d+", type.partition("[")[2]) for _, type, _ in wanted.signature if type[0] == "t"]
    descriptors = tuple((0, *map(int, block)) for block in blocks)  # unswizzled, one box
    function = kernel.name.rpartition(":")[2]
    return Binary(kernel.name, wanted.arch, function, threads, shared, options.get("num_ctas", 1), scratch,
                  waits=options.get("launch_pdl", False), parameters=sizes, descriptors=descriptors,
                  cubin=image(function, sizes, arch))  # fmt: skip


@contextlib.contextmanager
def uncompiled():
    """Kernels that are asked for meanwhile are not compiled: see `stub`."""
    from dlcore.kernels import compile as compiler

    compiled = compiler.binary
    compiler.binary = stub
    try:
        yield
    finally:
        compiler.binary = compiled
