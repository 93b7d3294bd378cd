"""A launch is data: what a planner sees (`Call`) and what it answers (`Program`).

The host side of a GPU kernel, its planner, is a pure function of shapes, dtypes, strides, attributes and architecture.
It touches no memory and asks no device, so the same Program can be compiled without a GPU, interpreted on host memory,
packed once and launched from C++, recorded, and replayed in a CUDA graph.

    def softmax(call: Call) -> Program:
        rows, columns = call.inputs[0].shape
        args = {"x": In(0), "out": Out(0), "columns": columns, "BLOCK": power_of_2(columns)}
        return Program((Launch(softmax_kernel, (rows,), args, num_warps=4),))
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dlcore import _json
from dlcore._files import naming
from dlcore.dtypes import DType, float32, float64, int32, int64, uint8

__all__ = [
    "ARCHES",
    "BAD_INDEX",
    "BAD_LABEL",
    "BAD_LENGTH",
    "BAD_OFFSET",
    "BAD_PARAMETER",
    "BAD_TOKEN",
    "F64",
    "I32",
    "LAUNCH_OPTIONS",
    "NEGATIVE_POWER",
    "NOT_FINITE",
    "NOT_POSITIVE_DEFINITE",
    "NO_PROBABILITY",
    "OTHER_ARCHES",
    "SINGULAR",
    "Arch",
    "Call",
    "Cuda",
    "Descriptor",
    "Errors",
    "In",
    "Launch",
    "Out",
    "PerSM",
    "Program",
    "Table",
    "Temp",
    "Value",
    "View",
    "Workspace",
    "accumulator",
    "ceil_div",
    "configuration",
    "contiguous_strides",
    "index_dtype",
    "lengths",
    "power_of_2",
    "prepared",
    "read_configurations",
    "shared_out",
]  # fmt: skip

KIB = 1024


class Arch(NamedTuple):
    """What a planner may ask about the machine: ``name`` ("sm_90"), SMs, and bytes of shared memory a block may use."""

    name: str
    multiprocessors: int
    shared: int
    parameters: int = 32764
    """Bytes of parameters that a launch may have: 4096 with drivers for CUDA 12.0."""

    @property
    def capability(self) -> int:
        """Ten times the compute capability: 90."""
        return int(self.name.removeprefix("sm_"))


# The devices that stand for an architecture where there is none: A100, H100 and H200, B200, RTX 5090.
ARCHES: dict[str, Arch] = {
    "sm_80": Arch("sm_80", 108, 163 * KIB),
    "sm_90": Arch("sm_90", 132, 227 * KIB),
    "sm_100": Arch("sm_100", 148, 227 * KIB),
    "sm_120": Arch("sm_120", 170, 99 * KIB),
}


# Others that planners may be asked for: RTX 3090, RTX 4090, B300, GB10.
OTHER_ARCHES: dict[str, Arch] = {
    "sm_86": Arch("sm_86", 82, 99 * KIB),
    "sm_89": Arch("sm_89", 128, 99 * KIB),
    "sm_103": Arch("sm_103", 148, 227 * KIB),
    "sm_121": Arch("sm_121", 48, 99 * KIB),
}


class View(NamedTuple):
    """An operand as a planner sees it. Strides are in elements: 0 where broadcast, and may be negative."""

    shape: tuple[int, ...]
    dtype: DType
    strides: tuple[int, ...]
    aligned: bool = True
    """Whether the address of element 0 is divisible by 16."""
    weak: bool = False
    """A Python scalar: no memory behind it, so it is passed as `Value`, never as a pointer."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the elements follow each other in row-major order."""
        pairs = zip(self.shape, self.strides, contiguous_strides(self.shape), strict=True)
        return self.size == 0 or all(length == 1 or have == want for length, have, want in pairs)


class Call(NamedTuple):
    """One call of an operation."""

    inputs: tuple[View | None, ...]
    """Promoted operands; None where an optional one is absent."""
    outputs: tuple[View | None, ...]
    """Outputs, then extras, freshly allocated; None where not wanted (an extra without a gradient)."""
    attrs: tuple[Any, ...]
    params: tuple[int | float, ...]
    arch: Arch


# ---- arguments ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class In:
    """Pointer to element 0 of input ``index``, ``offset`` bytes further, seen as elements of ``dtype``."""

    index: int
    dtype: DType | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Out:
    """Pointer to output ``index``, as `In`."""

    index: int
    dtype: DType | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Temp:
    """Pointer to workspace ``index``, ``offset`` bytes into it, as elements of ``dtype``."""

    index: int
    dtype: DType = uint8
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What TMA is told of an array, made on the host (`cuTensorMapEncodeTiled`) when its address changes.

    A Triton kernel gets it as a tensor descriptor. ``pointer``: In, Out or Temp, its address divisible by 16;
    ``shape``, no length of which is 0, and ``strides`` in elements of ``dtype``: 1 the last, multiples of 16 bytes the
    others; ``block``: the shape of what one load or store moves.
    """

    pointer: In | Out | Temp
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    block: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """The value of input ``index``, a weak scalar: float32 for 16-bit floats, int32 for small integers and bools,
    otherwise its own dtype."""

    index: int


@dataclass(frozen=True, slots=True)
class Errors:
    """Pointer to two int64 words of the operation called, (code, position), at first (0, 2^63 - 1).

    A kernel that meets bad data writes with atomic max to the code and atomic min to the position, so that what is
    raised does not depend on the order of blocks, and goes on without touching what it must not. ``every``: pointer to
    all words, FAULT_ROOM pairs, or null: what changes parameters looks there first, and leaves them alone.
    """

    every: bool = False


FAULT_ROOM = 256  # rows that may report bad data

# Codes; larger ones win.
BAD_LABEL, BAD_INDEX, NOT_FINITE, NEGATIVE_POWER, BAD_PARAMETER, NO_PROBABILITY = 1, 2, 3, 4, 5, 6
SINGULAR, NOT_POSITIVE_DEFINITE = 7, 8  # the position: of a matrix in its batch
BAD_TOKEN, BAD_LENGTH, BAD_OFFSET = 9, 10, 11


@dataclass(frozen=True, slots=True)
class I32:
    """A C++ ``int`` (plain Python integers are ``int64_t`` there)."""

    value: int


@dataclass(frozen=True, slots=True)
class F64:
    """A C++ ``double``, or a Triton fp64 (plain Python floats are float32)."""

    value: float


@dataclass(frozen=True, slots=True)
class Table:
    """A struct passed by value to CUDA C++: ``fields`` one after the other, each aligned to its size.

    All parameters together have at most `Arch.parameters` bytes.

    A field is In, Out, Temp, Errors or None (pointers, 8 bytes), Value, int (int64), I32, float (float32) or F64.
    """

    fields: tuple[Any, ...]


class Cuda(NamedTuple):
    """A CUDA C++ kernel: ``source`` below kernels/, ``function`` as C++ names it, template arguments included."""

    source: str
    function: str
    threads: int = 256
    shared: int = 0
    """Bytes of dynamic shared memory."""

    @property
    def name(self) -> str:
        """What tables and errors call it."""
        return f"{self.source}:{self.function}"


# ---- programs -----------------------------------------------------------------------------------------------------


class PerSM(NamedTuple):
    """A length of a grid: as many blocks as all SMs run at once, ``most`` at the most; for persistent kernels.

    It is resolved where the kernel is launched, by the registers and shared memory of its code (`Binary.resident`) and
    the number of SMs, so what a kernel computes must not depend on it.
    """

    most: int


def lengths(grid: Sequence[int | PerSM], blocks: int) -> tuple[int, int, int]:
    """The three lengths of ``grid`` on a GPU that runs ``blocks`` blocks at once."""
    x, y, z = [min(n.most, max(blocks, 1)) if isinstance(n, PerSM) else n for n in (*grid, 1, 1)[:3]]
    return x, y, z


class Launch(NamedTuple):
    """One kernel launch.

    ``args`` maps a Triton kernel's parameters to arguments, constexprs included; a CUDA C++ kernel's arguments are
    taken in the order of the mapping, and its threads and shared memory are its own (`kernel._replace(threads=512)`).
    Of a Triton kernel's int argument three cases are compiled apart (1, divisible by 16, other); int32 where the value
    fits, else int64. bool, None, str, dtypes and kernels are constants.

    ``options``: of a Triton kernel those of its compiler (maxnreg, num_ctas); of any kernel those of the launch,
    ``LAUNCH_OPTIONS``. "overlap": False keeps a kernel from starting while the one before it still runs. Otherwise, on
    sm_90 and later, its blocks may be in place by then: a Triton kernel begins with an instruction that waits for the
    kernel before and its writes, a CUDA C++ kernel calls `after_previous()` (common/order.cuh). "cooperative": all
    blocks run at the same time, so that they may wait for each other. "cluster": (x, y, z) blocks of a CUDA C++ kernel
    share a cluster; a Triton kernel has ``num_ctas``.
    """

    kernel: Any
    grid: tuple[int | PerSM, ...]
    args: Mapping[str, Hashable]
    num_warps: int = 4
    num_stages: int = 3
    options: Mapping[str, Any] = {}

    @property
    def reports(self) -> bool:
        """Whether it may report bad data, in words of its operation."""
        arguments = (f for a in self.args.values() for f in (a.fields if isinstance(a, Table) else (a,)))
        return any(isinstance(a, Errors) and not a.every for a in arguments)


LAUNCH_OPTIONS = ("overlap", "cooperative", "cluster")


class Workspace(NamedTuple):
    """Memory that lives for one call, 128-byte aligned; ``zeroed``: set to 0 before the launches of every call."""

    bytes: int
    zeroed: bool = False


class Program(NamedTuple):
    """What a call does on a GPU: ``launches`` in order, over ``temps``."""

    launches: tuple[Launch, ...]
    temps: tuple[Workspace, ...] = ()
    contiguous: tuple[int, ...] = ()
    """Inputs that are made contiguous and aligned first; the launches are planned as if they were."""


def prepared(call: Call, program: Program) -> Call:
    """The call as the launches see it: the inputs that ``program`` wants contiguous are."""
    inputs = [
        v._replace(strides=contiguous_strides(v.shape), aligned=True) if v and k in program.contiguous else v
        for k, v in enumerate(call.inputs)
    ]
    return call._replace(inputs=tuple(inputs))


# ---- for planners -------------------------------------------------------------------------------------------------


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def shared_out(pieces: int, parts: int) -> tuple[int, int]:
    """(pieces of each part, parts) that share ``pieces`` out to at most ``parts`` parts, of which none is empty.

    The last part may be shorter. No pieces are one part with nothing.
    """
    share = max(ceil_div(pieces, parts), 1)
    return share, max(ceil_div(pieces, share), 1)


def power_of_2(n: int) -> int:
    """The smallest power of two that is at least ``n``."""
    return 1 << max(n - 1, 0).bit_length()


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


def index_dtype(reach: int) -> DType:
    """What holds numbers and offsets up to ``reach``, and those that a masked block adds.

    An integer argument is int32 where its value fits, and a product of two such is int32 too, however large: where it
    might not fit, a planner says in which type to multiply. int32 as long as possible: its division takes a fifth.
    """
    return int32 if reach < 2**31 - 2**16 else int64


def accumulator(dtype: DType) -> DType:
    """What floats of ``dtype`` are computed and summed in: float32, float64 for float64."""
    return float64 if dtype is float64 else float32


def configuration(arch: Arch, kernel: str, key: str) -> dict[str, Any] | None:
    """What the tuner found for ``kernel`` on ``arch`` and the shape class ``key``: names to values, or None.

    The table, configurations/<arch>.toml, is frozen: it is part of what makes the same seed give the same bits. An
    entry was measured for one shape and is used for its whole class: a planner must make of it what is right for any,
    for instance cut a sum into no more parts than it has steps.
    """
    for listener in LISTENERS:
        listener(kernel, key)
    found: dict[str, Any] | None = _configurations(arch.name).get(kernel, {}).get(key)
    return found


LISTENERS: list[Callable[[str, str], Any]] = []  # the tuner, asking what a planner looks up


@lru_cache
def _configurations(arch: str) -> dict[str, Any]:
    return read_configurations(Path(__file__).parent / "configurations" / f"{arch}.toml")


def read_configurations(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """A table of configurations, by kernel and shape class: {} without a file; ValueError where it is damaged."""
    if not path.exists():
        return {}
    try:
        with naming(path):
            data = tomllib.loads(path.read_bytes().decode())
        return _json.typed(dict[str, dict[str, dict[str, Any]]], data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no table of configurations: {error}") from None
