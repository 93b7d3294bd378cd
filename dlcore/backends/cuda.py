"""NVIDIA GPUs: memory from CuPy's pool, streams and launches through the driver (csrc/core/cuda/).

A Program becomes a native kernel once for each plan: its cubins are loaded, its parameters packed, and only addresses
and the values of Python numbers are filled in when it is called.
"""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Iterable
from typing import Any, Protocol

from dlcore import _C
from dlcore._arguments import shown
from dlcore.backends import Bound, Faults, clear
from dlcore.dtypes import int64
from dlcore.errors import DeviceError
from dlcore.kernels import binary as storage
from dlcore.kernels.binary import Binary
from dlcore.kernels.launch import (
    Arch,
    Call,
    Descriptor,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    Value,
    lengths,
    prepared,
)  # fmt: skip
from dlcore.kernels.specialise import SIZES, Parameter, specialise

__all__ = ["Backend", "CupyPool", "Packed", "Pool"]

OLDEST_DRIVER = 12000  # CUDA 12.0
_MAJOR, _MINOR, _MULTIPROCESSORS, _SHARED = 75, 76, 16, 97  # CUdevice_attribute
_MAP_TYPES = {  # CUtensorMapDataType
    "uint8": 0, "int32": 3, "int64": 5, "float16": 6, "float32": 7, "float64": 8, "bfloat16": 9,
}  # fmt: skip
_FORMATS = {"i1": "<?", "i32": "<i", "i64": "<q", "f32": "<f", "f64": "<d"}
_COOPERATIVE, _CLUSTER, _CLUSTER_POLICY, _OVERLAP = 2, 4, 5, 6  # CUlaunchAttributeID; 6: "programmatic"
_SPREAD = 1  # CU_CLUSTER_SCHEDULING_POLICY_SPREAD, as Triton's own launcher has it
MANY_PARAMETERS = 12010  # the driver's CUDA from which a launch may have more than 4 KiB of them
OVERLAP_IN_GRAPHS = 12030  # the driver's CUDA from which graphs keep kernels that overlap as such
Attribute = tuple[int, tuple[int, int, int]]
"""A CUlaunchAttributeID and the first three ints of its value."""
Slot = tuple[int, int, int, int, bool]
"""Offset and size in the parameters; which array; bytes past its element 0; whether its value is meant."""


class Pool(Protocol):
    """Where a device's memory comes from."""

    def allocate(self, size: int) -> int:
        """The address of a block, 512-byte aligned; MemoryError where there is no room."""
        ...

    def release(self, address: int) -> None:
        """Takes a block back."""
        ...


class CupyPool:
    """A `cupy.cuda.MemoryPool` of our own, so that no other stream gets our blocks."""

    def __init__(self, index: int):
        import cupy

        self._device, self._pool = cupy.cuda.Device(index), cupy.cuda.MemoryPool()
        self._held: dict[int, Any] = {}

    def allocate(self, size: int) -> int:
        """See `Pool`."""
        with self._device:
            block = self._pool.malloc(size)
        self._held[block.ptr] = block
        return int(block.ptr)

    def release(self, address: int) -> None:
        """See `Pool`."""
        del self._held[address]


class Backend:
    """See `dlcore.backends`."""

    def __init__(self, code: int, index: int, pool: Pool | None = None):
        _load_driver(index, needs_cupy=pool is None)
        self.code, self.index = code, index
        _C.cuda.open(code, index)
        major, minor, multiprocessors, shared = (
            _C.cuda.attribute(index, a) for a in (_MAJOR, _MINOR, _MULTIPROCESSORS, _SHARED)
        )
        version = _C.cuda.driver_version()
        storage.use_driver(version)
        parameters = 32764 if version >= MANY_PARAMETERS else 4096
        self.arch = Arch(f"sm_{10 * major + minor}", multiprocessors, shared, parameters)
        self.pool = CupyPool(index) if pool is None else pool
        _C.set_memory(code, False, self.pool.allocate, self.pool.release)
        self.overlap = version >= OVERLAP_IN_GRAPHS and os.environ.get("DLCORE_OVERLAP", "1") != "0"
        self.faults = Faults()
        self._words = _C.empty((Faults.ROOM, 2), int64, code)
        self._watch()
        clear(self._words)
        self._functions: dict[str, tuple[int, Any]] = {}

    @property
    def name(self) -> str:
        """What the GPU is called."""
        return str(_C.cuda.name(self.index))

    @property
    def stream(self) -> int:
        """The CUstream on which everything runs."""
        return int(_C.cuda.stream(self.code))

    def memory_stats(self) -> dict[str, int]:
        """See `Device.memory_stats`."""
        free, total = _C.cuda.memory_info(self.code)
        return {**_C.device_memory_stats(self.code), "free": free, "total": total}

    def order_before(self, stream: int | None) -> int:
        """Lets another stream wait for ours, and returns its number as DLPack counts.

        None is the legacy default stream, 1; -1 wants no order. BufferError for 0, which may be either default stream.
        """
        if stream is not None and (type(stream) is not int or stream < -1 or stream == 0):
            raise BufferError(f"__dlpack__: {shown(stream)} is no stream: 1 is the legacy default, 2 the thread's")
        number = 1 if stream is None else stream
        if number != -1:
            _C.cuda.wait_for(self.code, number, False)
        return number

    def after_read_back(self) -> None:
        """Nothing: the copy has waited, and looked at the fault words."""

    def synchronize(self) -> None:
        """Waits for all work; raises what its kernels found wrong."""
        _C.synchronize(self.code)

    def raise_faults(self, words: bytes) -> None:
        """Raises what ``words`` tell and starts anew."""
        error = self.faults.error(words)
        if error is not None:
            clear(self._words)
            raise error

    def _errors(self, row: str) -> int:
        """The address of the operation's fault words."""
        place = self.faults.place(row)
        self._watch()
        return int(self._words.data_ptr) + place

    def _watch(self) -> None:
        _C.cuda.set_fault_words(self.code, self._words.data_ptr, 16 * len(self.faults.rows), 16 * Faults.ROOM)

    # ---- programs

    def bind(self, row: str, call: Call, program: Program) -> Bound:
        """A native kernel with the program's launches, ready but for the operands' addresses."""
        errors = self._errors(row) if any(launch.reports for launch in program.launches) else 0
        seen, temps = prepared(call, program), [w.bytes for w in program.temps]
        first = len(call.inputs) + len(call.outputs)  # where workspaces stand among the arrays
        launches = []
        for launch in program.launches:
            parameters, function, binary = self._function(launch, seen)
            grid = lengths(launch.grid, self.arch.multiprocessors * binary.resident // binary.cluster)
            if binary.triton:  # two pointers more: global scratch, and the profiler's
                scratch = binary.scratch_bytes(grid)
                temps += [scratch] if scratch else []
                last = Temp(len(temps) - 1) if scratch else None
                parameters = (*parameters, Parameter("ptr", last, 8), Parameter("ptr", None, 8))
            packed = Packed(parameters, len(call.inputs), first, errors, int(self._words.data_ptr))
            if (sizes := tuple(p.size for p in parameters)) != binary.parameters:
                raise RuntimeError(f"{row}: {binary.name} takes parameters of {binary.parameters} bytes, not {sizes}")
            grid = (grid[0] * binary.cluster, *grid[1:])
            block = (binary.threads, 1, 1)
            attributes = self._attributes(launch, binary)
            maps = [
                (at, array, d.pointer.offset, _MAP_TYPES[d.dtype.name], d.dtype.itemsize, swizzle,
                 d.shape[::-1], tuple(s * d.dtype.itemsize for s in d.strides[-2::-1]), tuple(box[::-1]))
                for (at, array, d), (swizzle, *box) in zip(packed.maps, binary.descriptors, strict=True)
            ]  # fmt: skip
            given = bytes(packed.bytes), packed.offsets, packed.slots, maps, attributes
            launches.append((function, grid, block, binary.shared, *given))
        zeroed = [(first + k, w.bytes) for k, w in enumerate(program.temps) if w.zeroed and w.bytes]
        views = {k: call.inputs[k] for k in program.contiguous}
        copies = tuple(k for k, v in views.items() if v is not None and not (v.contiguous and v.aligned))
        return Bound(_C.cuda.program(row, self.code, launches, zeroed), tuple(temps), copies)

    def _attributes(self, launch: Launch, binary: Binary) -> list[Attribute]:
        """What the driver is told of the launch besides its grid: see `Launch`."""
        found: list[Attribute] = []
        cooperative = bool(launch.options.get("cooperative"))
        if self.overlap and binary.waits and not cooperative and launch.options.get("overlap", True):
            found.append((_OVERLAP, (1, 0, 0)))
        if cooperative:
            found.append((_COOPERATIVE, (1, 0, 0)))
        if binary.cluster > 1:
            found += [(_CLUSTER, (binary.cluster, 1, 1)), (_CLUSTER_POLICY, (_SPREAD, 0, 0))]
        elif "cluster" in launch.options:
            found.append((_CLUSTER, tuple(launch.options["cluster"])))
        return found

    def _function(self, launch: Launch, call: Call) -> tuple[tuple[Parameter, ...], int, Any]:
        """What the launch hands over, its CUfunction, and its Binary."""
        from dlcore.kernels.compile import binary

        specialised, parameters = specialise(launch, call)
        if specialised.key not in self._functions:
            made = binary(specialised)
            module = _C.cuda.module_load(self.code, made.cubin)
            self._functions[specialised.key] = _C.cuda.function(self.code, module, made.function, made.shared), made
        return (parameters, *self._functions[specialised.key])


class Packed:
    """The parameters of one launch: ``bytes``, each parameter's ``offsets``, and ``slots`` that each call fills in.

    The arrays of a call are its inputs, its outputs (from ``outputs`` on) and its workspaces (from ``temps`` on).
    """

    def __init__(self, parameters: Iterable[Parameter], outputs: int, temps: int, errors: int, all_errors: int):
        self.outputs, self.temps, self.errors, self.all_errors = outputs, temps, errors, all_errors
        self.bytes, self.offsets = bytearray(), list[int]()
        self.slots: list[Slot] = []
        self.maps: list[tuple[int, int, Descriptor]] = []
        """Tensor maps: their offsets, whose addresses they hold, and what they tell."""
        for parameter in parameters:
            self._add(parameter)

    def _add(self, parameter: Parameter) -> None:
        """Appends one parameter at its natural alignment."""
        start = self._room(parameter.size, parameter.alignment)
        self.offsets.append(start)
        if parameter.type == "map":
            self.maps.append((start, self._array(parameter.argument.pointer), parameter.argument))
            return
        if parameter.type != "table":
            self._put(start, parameter.type, parameter.argument)
            return
        for offset, type, argument in parameter.argument:
            self._put(start + offset, type, argument)

    def _array(self, pointer: In | Out | Temp) -> int:
        """Which of the call's arrays it points into."""
        base = 0 if isinstance(pointer, In) else self.outputs if isinstance(pointer, Out) else self.temps
        return base + pointer.index

    def _room(self, size: int, alignment: int) -> int:
        start = len(self.bytes) + -len(self.bytes) % alignment
        self.bytes.extend(bytes(start + size - len(self.bytes)))
        return start

    def _put(self, at: int, type: str, argument: Any) -> None:
        if isinstance(argument, Value):
            self.slots.append((at, SIZES[type], argument.index, 0, True))
        elif isinstance(argument, In | Out | Temp):
            self.slots.append((at, 8, self._array(argument), argument.offset, False))
        elif type == "ptr":
            words = (self.all_errors if argument.every else self.errors) if isinstance(argument, Errors) else 0
            struct.pack_into("<Q", self.bytes, at, words)
        else:
            struct.pack_into(_FORMATS[type], self.bytes, at, argument)


# ---- what may be missing ------------------------------------------------------------------------------------------


def _load_driver(index: int, needs_cupy: bool) -> None:
    """Opens libcuda.so.1; DeviceError says in one sentence what is missing for GPU ``index``."""
    wanted = "device: 'cuda' needs"
    try:
        _C.cuda.load(os.environ.get("DLCORE_LIBCUDA", "libcuda.so.1"))
    except RuntimeError as error:
        raise DeviceError(f"{wanted} an NVIDIA GPU and its driver: {error}") from None
    version, count = _C.cuda.driver_version(), _C.cuda.count()
    if version < OLDEST_DRIVER:
        old = f"{version // 1000}.{version % 1000 // 10}"
        raise DeviceError(f"{wanted} a driver for CUDA 12 or newer; this one is for CUDA {old}")
    if index >= count:
        raise DeviceError(f"device: there is no GPU {index}: this machine has {count}")
    if needs_cupy and importlib.util.find_spec("cupy") is None:
        raise DeviceError(f"{wanted} CuPy: pip install 'dlcore[cuda{13 if version >= 13000 else 12}]'")
