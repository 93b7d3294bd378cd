"""What compiled code shows: registers, spills, instructions, and what is wrong with it although it compiled.

A compiler that reports success proves little (docs/kernels.md lists what was seen): tensor memory overflowing into a
bare `trap`, warp specialisation that specialised nothing, serialised wgmma, kilobytes of spills.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from dlcore.kernels.launch import ARCHES, OTHER_ARCHES

__all__ = ["Seen", "count", "entry_parameters", "inspect_log", "matrix", "problems", "waits"]

_PATTERNS = {
    "wgmma": r"\bwgmma\.mma_async", "mma.sync": r"\bmma\.sync", "tcgen05": r"\btcgen05\.mma",
    "cp.async": r"\bcp\.async\.c[ag]\.shared", "tma": r"\bcp\.async\.bulk\.tensor", "setmaxnreg": r"\bsetmaxnreg",
    "atomic": r"\b(?:atom|red)\.", "float atomic": r"\b(?:atom|red)\.[\w.:]*\.add\.(?:noftz\.)?b?f\d",
    "trap": r"\btrap;", "wait": r"\bgriddepcontrol\.wait",
}  # fmt: skip
_ACCESS = re.compile(r"\b(ld|st)\.(?:\w+\.)*?global(?:[.:]+(?!v\d|[busf]\d)\w+)*(?:\.v(\d))?\.[busf](\d+)")
_MEMORY = re.compile(r"\b(?:ld|st|atom|red|cp|prefetch|tensormap)\.(?!(?:[a-z]+\.)*(?:param|const|shared|local)\b)")
_SHAPES = re.compile(r"\b(?:wgmma\.mma_async\.sync|mma\.sync)\.aligned\.(m\d+n\d+k\d+)")
_SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}


def count(ptx: str) -> dict[str, int]:
    """How often ``ptx`` has each instruction of interest (see `Binary.instructions`), zeros left out."""
    counts = Counter({name: len(re.findall(pattern, ptx)) for name, pattern in _PATTERNS.items()})
    for kind, vector, bits in _ACCESS.findall(ptx):
        size = int(vector or 1) * int(bits) // 8
        counts[kind + (".v4" if size >= 16 else ".v2" if size == 8 else "")] += 1
    return {name: n for name, n in counts.items() if n}


def matrix(counts: dict[str, int], ptx: str) -> str:
    """The matrix instruction of the code, with its shape; empty if it has none."""
    names = [n for n in ("tcgen05", "wgmma", "mma.sync") if n in counts]
    if not names:
        return ""
    shapes = Counter(_SHAPES.findall(ptx))
    return " ".join([names[0], *(s for s, _ in shapes.most_common(1))])


def waits(ptx: str) -> bool:
    """Whether the code waits for the kernel before it ahead of any access to memory that others see."""
    wait, access = re.search(_PATTERNS["wait"], ptx), _MEMORY.search(ptx)
    return wait is not None and (access is None or wait.start() < access.start())


def entry_parameters(ptx: str, function: str) -> tuple[int, ...]:
    """Bytes of each parameter that ``function`` declares."""
    match = re.search(rf"\.entry\s+{re.escape(function)}\s*\(([^)]*)\)", ptx)
    found = re.findall(
        r"\.param\s+(?:\.align\s+\d+\s+)?\.[busf](\d+)\s[^,\[]*(?:\[(\d+)\])?", match[1] if match else ""
    )
    return tuple(_SIZES[bits] * int(n or 1) for bits, n in found)


class Seen(NamedTuple):
    """What `ptxas -v` said. ``spills`` counts bytes of stack a thread."""

    registers: int
    spills: int
    shared: int
    serialised: bool


def inspect_log(log: str, function: str) -> Seen:
    """The numbers for ``function`` in the output of `ptxas -v`."""
    section = re.search(rf"Function properties for {re.escape(function)}\s(.*?)(Compiling entry|\Z)", log, re.DOTALL)
    text = section[1] if section else log
    stack, stores = re.search(r"(\d+) bytes stack frame", text), re.search(r"(\d+) bytes spill stores", text)
    registers, shared = re.search(r"Used (\d+) registers", text), re.search(r"(\d+) bytes smem", text)
    numbers = [int(m[1]) if m else 0 for m in (registers, stack, stores, shared)]
    return Seen(numbers[0], max(numbers[1:3]), numbers[3], "wgmma" in log and "serialized" in log)


def problems(
    seen: Seen,
    counts: dict[str, int],
    parameters: tuple[int, ...],
    expected: tuple[int, ...],
    threads: int,
    shared: int,
    arch: str,
    specialised: bool | None = None,
    tensor_memory: int = 0,
    waits: bool = True,
) -> tuple[str, ...]:
    """What must not be in code for ``arch``, in words.

    ``expected``: the parameters' sizes; ``specialised``: whether warp specialisation asked for was done; ``waits``: see
    the function.
    """
    limit = (OTHER_ARCHES | ARCHES).get(arch, ARCHES["sm_120"]).shared
    found = [
        (not seen.registers, "no registers reported: nothing was compiled"),
        ("trap" in counts, "has a trap"),
        ("float atomic" in counts, "adds floats atomically: their order would decide the bits"),
        (parameters != expected, f"takes parameters of {list(parameters)} bytes, not {list(expected)}"),
        (seen.spills > 0, f"spills {seen.spills} bytes a thread"),
        (seen.serialised, "wgmma is serialised"),
        (shared > limit, f"needs {shared} bytes of shared memory, the limit is {limit}"),
        (seen.registers * threads > 65536, f"needs {seen.registers} registers for each of {threads} threads"),
        (threads > 1024, f"has {threads} threads in a block"),
        (tensor_memory > 512, f"needs {tensor_memory} columns of tensor memory, there are 512"),
        ("wait" in counts and not waits, "touches memory before it waits for the kernel before it"),
        (specialised is False, "warp specialisation was asked for and not done"),
    ]
    return tuple(text for wrong, text in found if wrong)
