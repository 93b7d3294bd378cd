"""A compiled kernel, and where compiled kernels are kept: the cache on disk and packs.

A cache entry is one file, whole or not there: written beside its place, flushed to disk, renamed; its digest is checked
when it is read, so a torn or damaged file is compiled anew instead of loaded. A pack is a folder of cubins with one
index.json, made on any machine by `dlcore verify --compile --out DIR` and read, without a compiler, by setting
DLCORE_KERNELS=DIR.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlcore import _json
from dlcore._files import write
from dlcore._json import short

__all__ = ["Binary", "cache_directory", "cached", "packed", "packs", "store", "unpacked", "write_pack"]

MAGIC = b"dlcore kernel 1\n"  # of an entry of the cache
FORMAT = 1  # of a pack's index.json


@dataclass(frozen=True)
class Binary:
    """A compiled kernel: what the driver needs to load and launch it, and what was seen in its code.

    Launch ``function`` of ``cubin`` with ``grid[0] * cluster`` blocks along x, ``threads`` threads and ``shared`` bytes
    of dynamic shared memory. Its parameters are those that `specialise` gives, in order; a Triton kernel (``triton``)
    then takes two more pointers: global scratch (`scratch_bytes`, 128-aligned; null where 0), and null.
    """

    name: str
    arch: str
    function: str
    threads: int
    shared: int
    cluster: int = 1
    scratch: int = 0
    triton: bool = True
    parameters: tuple[int, ...] = ()
    """Bytes of each parameter as the compiled code declares them, the two pointers included."""
    descriptors: tuple[tuple[int, ...], ...] = ()
    """For each `Descriptor` among them: the CUtensorMapSwizzle that the code expects, and the sides of its box."""
    registers: int = 0
    spills: int = 0
    """Bytes of stack a thread uses: spilled registers and local arrays."""
    static_shared: int = 0
    waits: bool = False
    """Whether it waits for the kernel before it ahead of any access to memory, so that it may be started early."""
    matrix: str = ""
    """Its matrix instruction: "wgmma m64n128k16"."""
    instructions: Mapping[str, int] = field(default_factory=dict)
    """How often the code has wgmma, mma.sync, tcgen05, cp.async, tma, setmaxnreg, atomic, wait (for the kernel before),
    and loads and stores of global memory by width: ld.v4 and st.v4 (16 bytes or more), ld.v2 (8), ld (less)."""
    problems: tuple[str, ...] = ()
    compiler: str = ""
    cubin: bytes = field(default=b"", repr=False)

    def scratch_bytes(self, grid: tuple[int, ...]) -> int:
        """Global scratch that a launch over ``grid`` needs."""
        blocks = self.cluster
        for n in grid:
            blocks *= n
        return blocks * self.scratch

    def head(self) -> dict[str, Any]:
        """Everything but the code, for JSON."""
        return asdict(replace(self, cubin=b"")) | {"cubin": hashlib.sha256(self.cubin).hexdigest()}


def _made(head: Mapping[str, Any], cubin: bytes) -> Binary | None:
    """The binary, or None if ``cubin`` is not the one that ``head`` tells of; ValueError where that is no head."""
    if hashlib.sha256(cubin).hexdigest() != head.get("cubin"):
        return None
    known = Binary.__dataclass_fields__.keys() - {"cubin"}
    return replace(_json.typed(Binary, {k: v for k, v in head.items() if k in known}), cubin=cubin)


# ---- the cache ----------------------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """DLCORE_CACHE, else dlcore/ in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("DLCORE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlcore"


def _entry(key: str) -> Path:
    return cache_directory() / "kernels" / key[:2] / key


def cached(key: str) -> Binary | None:
    """The binary kept under ``key``; None if there is none or its file is damaged."""
    try:
        data = _entry(key).read_bytes()
    except OSError:
        return None
    digest, body = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if not data.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        return None
    head, _, cubin = body.partition(b"\n")
    with suppress(ValueError):
        return _made(_json.typed(dict[str, Any], _json.parse(head)), cubin)
    return None


def store(key: str, binary: Binary) -> None:
    """Keep ``binary`` under ``key``. Where the directory cannot be written nothing is kept, and nothing is raised."""
    body = json.dumps(binary.head()).encode() + b"\n" + binary.cubin
    with suppress(OSError):
        write(_entry(key), MAGIC + hashlib.sha256(body).digest() + body)


# ---- packs --------------------------------------------------------------------------------------------------------


def packs() -> list[Path]:
    """The packs looked into: those in DLCORE_KERNELS (separated as in PATH), then the one that came with dlcore."""
    chosen = [Path(p) for p in os.environ.get("DLCORE_KERNELS", "").split(os.pathsep) if p]
    return [*chosen, Path(__file__).parent / "pack"]


def packed(key: str) -> Binary | None:
    """The binary called ``key`` in a pack. Raises ValueError for a pack in DLCORE_KERNELS that is none, or damaged."""
    for folder in packs():
        if (head := _index(folder).get(key)) is not None:
            return unpacked(folder, key, head)
    return None


def unpacked(folder: Path, key: str, head: Mapping[str, Any]) -> Binary:
    """The binary that the index of the pack in ``folder`` describes by ``head``; ValueError where there is another."""
    try:
        path = folder / _json.typed(str, head.get("file"), "file")
        binary = _made(head, path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{folder / 'index.json'}: {short(key)}: {error}") from None
    if binary is None:
        raise ValueError(f"{path} is not the file that the pack's index.json describes")
    return binary


@lru_cache
def _index(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "index.json"
    if not path.is_file():
        if str(folder) in os.environ.get("DLCORE_KERNELS", "").split(os.pathsep):
            raise ValueError(f"DLCORE_KERNELS: {folder} is no pack of kernels: it has no index.json")
        return {}
    try:
        return _json.typed(dict[str, dict[str, Any]], _json.read(path, FORMAT).get("kernels"), "kernels")
    except ValueError as error:
        raise ValueError(f"{path} is no index of a pack of kernels: {error}") from None


def write_pack(folder: Path, binaries: Iterable[tuple[str, Binary]]) -> int:
    """Write (key, binary) pairs as a pack into ``folder``, beside those already there; returns their number."""
    path = folder / "index.json"
    kernels = dict(_index(folder)) if path.exists() else {}
    for key, binary in binaries:
        name = re.sub(r"\W+", "-", binary.name).strip("-")
        file = f"{binary.arch}/{name}-{key[:12]}.cubin"
        write(folder / file, binary.cubin)
        kernels[key] = binary.head() | {"file": file}
    write(path, json.dumps({"format": FORMAT, "kernels": kernels}, indent=1, sort_keys=True).encode())
    _index.cache_clear()
    return len(kernels)
