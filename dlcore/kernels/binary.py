"""A compiled kernel, and where compiled kernels are kept: the cache on disk and packs.

A cache entry is one file, whole or not there: written beside its place, flushed to disk, renamed; its digest is checked
when it is read, so a torn or damaged file is compiled anew instead of loaded.

A pack is one file with the binaries of one architecture, "sm_90.pack", made on any machine and read without a compiler.
dlcore looks into the packs of the folders in DLCORE_KERNELS and of its own folder `packs`. A pack begins with a line
that has the digest of the second; that is an index in JSON: which compilers made it, where its blocks lie, and in which
block and where in it each binary lies. The blocks follow, each compressed by itself and with a digest of its own: they
hold some binaries of the same kernel one after the other, as their entries in the cache do. To read a binary its block
is read and unpacked, which takes one or two milliseconds; the index of a thousand takes about ten, once in a process.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dlcore import _json
from dlcore._files import naming, write
from dlcore._json import short

__all__ = [
    "Binary",
    "Pack",
    "cache_directory",
    "cached",
    "forget_packs",
    "pack_folders",
    "packed",
    "packs",
    "store",
    "too_new",
    "use_driver",
    "write_packs",
]

MAGIC = b"dlcore kernel 1\n"  # of an entry of the cache
PACK = b"dlcore pack 2 "  # of a pack
BLOCK = 128 << 10  # bytes of a block before it is packed, unless one binary has more
LARGEST = 64 << 20  # bytes of an index or a block: more is no pack of ours
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 20}]


_KIB = 1024
_RESERVED = 1 * _KIB  # of shared memory, for each block
_SM = {  # threads, blocks and bytes of shared memory of an SM
    "sm_80": (2048, 32, 164 * _KIB), "sm_86": (1536, 16, 100 * _KIB), "sm_89": (1536, 24, 100 * _KIB),
    "sm_90": (2048, 32, 228 * _KIB), "sm_100": (2048, 32, 228 * _KIB), "sm_103": (2048, 32, 228 * _KIB),
    "sm_120": (1536, 24, 100 * _KIB), "sm_121": (1536, 24, 100 * _KIB),
}  # fmt: skip


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

    @property
    def resident(self) -> int:
        """Blocks that an SM runs at once: what registers, shared memory and threads allow, at least 1."""
        threads, most, shared = _SM[self.arch]
        warps = -(-self.threads // 32)
        for_warp = -(-self.registers * 32 // 256) * 256  # registers: 16384 in each of four quarters of an SM
        by_registers = 4 * (16384 // for_warp) // warps if for_warp else most
        by_shared = shared // (self.shared + self.static_shared + _RESERVED)
        return max(min(most, threads // (32 * warps), by_registers, by_shared), 1)

    def scratch_bytes(self, grid: tuple[int, ...]) -> int:
        """Global scratch that a launch over ``grid`` needs."""
        blocks = self.cluster
        for n in grid:
            blocks *= n
        return blocks * self.scratch

    def head(self) -> dict[str, Any]:
        """Everything but the code, for JSON."""
        return asdict(replace(self, cubin=b"")) | {"cubin": hashlib.sha256(self.cubin).hexdigest()}


def _serialised(binary: Binary) -> bytes:
    return json.dumps(binary.head()).encode() + b"\n" + binary.cubin


def _parsed(body: bytes) -> Binary | None:
    """The binary that `_serialised` wrote, or None if its code is another; ValueError where ``body`` is none."""
    text, _, cubin = body.partition(b"\n")
    head = _json.typed(dict[str, Any], _json.parse(text))
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
    with suppress(ValueError):
        return _parsed(body)
    return None


def store(key: str, binary: Binary) -> None:
    """Keep ``binary`` under ``key``. Where the directory cannot be written nothing is kept, and nothing is raised."""
    body = _serialised(binary)
    with suppress(OSError):
        write(_entry(key), MAGIC + hashlib.sha256(body).digest() + body)


# ---- packs --------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Where a block lies behind the index, how long it is unpacked, and the digest of what lies there."""

    start: int
    length: int
    unpacked: int
    digest: str


class Index(NamedTuple):
    """What the second line of a pack tells."""

    arch: str
    compilers: list[str]
    """Which made its binaries: "triton 3.9.0, ptxas 13.0"."""
    blocks: list[Block]
    kernels: dict[str, list[int]]
    """The number of the block that a binary lies in, where in it, and how many bytes."""


class Pack:
    """The binaries of one architecture in a file. Raises ValueError where the file is no pack, or damaged."""

    def __init__(self, path: Path):
        self.path = path
        with naming(path), path.open("rb") as file:
            title, line = file.readline(len(PACK) + 65), file.readline(LARGEST)
            self._first = file.tell()
        if not title.startswith(PACK):
            raise ValueError(f"{path} is no pack of kernels that this dlcore reads")
        if title[len(PACK) :] != f"{hashlib.sha256(line).hexdigest()}\n".encode():
            raise ValueError(f"{path}: its index is damaged")
        try:
            self.index = _json.typed(Index, _json.parse(line))
        except ValueError as error:
            raise ValueError(f"{path}: its index: {error}") from None

    @property
    def cuda(self) -> int:
        """The newest CUDA whose tools have written a binary of it: 13."""
        return max(map(int, re.findall(r"(?:ptxas|nvrtc) (\d+)", " ".join(self.index.compilers))), default=0)

    def read(self, key: str) -> Binary | None:
        """The binary called ``key``, if the pack has it."""
        if key not in self.index.kernels:
            return None
        try:
            number, start, length = self.index.kernels[key]
            if not 0 <= number < len(self.index.blocks):
                raise ValueError(f"there is no block {number}")
            block = _unpacked(self.path, self._first, self.index.blocks[number])
            if min(start, length) < 0 or start + length > len(block):
                raise ValueError("it is not within its block")
            if (made := _parsed(block[start : start + length])) is None:
                raise ValueError("it is damaged")
        except ValueError as error:
            raise ValueError(f"{self.path}: {short(key)}: {error}") from None
        return made


@lru_cache(maxsize=8)  # the kernels of a training step lie in a few blocks
def _unpacked(path: Path, first: int, block: Block) -> bytes:
    """A block's content."""
    if min(block[:3]) < 0 or max(block[:3]) > LARGEST:
        raise ValueError(f"{block} cannot be")
    with naming(path), path.open("rb") as file:
        file.seek(first + block.start)
        packed = file.read(block.length)
    if hashlib.sha256(packed).hexdigest() != block.digest:
        raise ValueError("its block is damaged")
    try:
        content = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LARGEST).decompress(packed, block.unpacked + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"its block is damaged: {error}") from None
    if len(content) != block.unpacked:
        raise ValueError("its block has another length")
    return content


def pack_folders() -> list[Path]:
    """The folders of packs looked into: those in DLCORE_KERNELS (separated as in PATH), then the one in dlcore."""
    chosen = [Path(p) for p in os.environ.get("DLCORE_KERNELS", "").split(os.pathsep) if p]
    return [*chosen, Path(__file__).parent / "packs"]


def packs(arch: str) -> list[Pack]:
    """The packs of an architecture that there are, in the order they are looked into.

    Those are left out that tools of a newer CUDA have written than `use_driver` was told of. Raises ValueError for a
    folder in DLCORE_KERNELS without any pack, and for a file that is none.
    """
    return [pack for pack in _of(arch) if pack.cuda <= _newest_cuda]


def too_new(key: str, arch: str) -> Pack | None:
    """A pack that has the binary called ``key`` and is left out: see `packs`."""
    return next((pack for pack in _of(arch) if pack.cuda > _newest_cuda and key in pack.index.kernels), None)


def _of(arch: str) -> list[Pack]:
    *chosen, own = pack_folders()
    for folder in chosen:
        if not _any_pack(folder):
            raise ValueError(f"DLCORE_KERNELS: {folder} has no pack of kernels (sm_90.pack)")
    return [pack for folder in (*chosen, own) if (pack := _pack(folder / f"{arch}.pack")) is not None]


_newest_cuda = math.inf


def use_driver(version: int) -> None:
    """From here on binaries are for a driver of this version (12040: CUDA 12.4).

    It loads what tools of its own CUDA or an older one have written; whether it loads more nobody promises.
    """
    global _newest_cuda
    _newest_cuda = version // 1000


@lru_cache
def _any_pack(folder: Path) -> bool:
    return any(folder.glob("*.pack"))


@lru_cache
def _pack(path: Path) -> Pack | None:
    return Pack(path) if path.exists() else None


def packed(key: str, arch: str) -> Binary | None:
    """The binary called ``key`` in a pack of the architecture. Raises ValueError as `packs` does."""
    return next((found for pack in packs(arch) if (found := pack.read(key)) is not None), None)


def write_packs(folder: Path, binaries: Iterable[tuple[str, Binary]], keep: bool = True) -> dict[Path, int]:
    """Write (key, binary) pairs into ``folder``, a pack for each architecture; returns how many binaries each has.

    ``keep``: beside those that a pack there has already; otherwise it is replaced.
    """
    arches: dict[str, dict[str, Binary]] = {}
    for key, binary in binaries:
        arches.setdefault(binary.arch, {})[key] = binary
    written = {}
    for arch, made in arches.items():
        path = folder / f"{arch}.pack"
        if keep and path.exists():
            old = Pack(path)
            made = {key: found for key in old.index.kernels if (found := old.read(key)) is not None} | made
        write(path, _content(arch, made))
        written[path] = len(made)
    forget_packs()
    return written


def _content(arch: str, binaries: Mapping[str, Binary]) -> bytes:
    """The bytes of a pack; the same for the same binaries."""
    blocks: list[Block] = []
    kernels: dict[str, list[int]] = {}
    body, block = bytearray(), bytearray()

    def end() -> None:
        if block:
            packed = lzma.compress(bytes(block), filters=_FILTERS)
            blocks.append(Block(len(body), len(packed), len(block), hashlib.sha256(packed).hexdigest()))
            body.extend(packed)
            block.clear()

    for key, binary in sorted(binaries.items(), key=lambda item: (item[1].name, item[1].cubin, item[0])):
        entry = _serialised(binary)
        if block and len(block) + len(entry) > BLOCK:
            end()
        kernels[key] = [len(blocks), len(block), len(entry)]
        block.extend(entry)
    end()
    index = Index(arch, sorted({b.compiler for b in binaries.values()}), blocks, kernels)
    line = json.dumps(index._asdict(), separators=(",", ":")).encode() + b"\n"
    return PACK + hashlib.sha256(line).hexdigest().encode() + b"\n" + line + body


def forget_packs() -> None:
    """Packs are read anew: for those that have changed files of packs."""
    for remembered in (_pack, _any_pack, _unpacked):
        remembered.cache_clear()
