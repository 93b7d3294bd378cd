"""Runs CUDA C++ kernels on the CPU: a `.cu` file compiled with g++ behind shim/cuda_on_host.h, called through ctypes.

This is how the interpreter's "cuda" device, and so CI, proves `.cu` kernels without a GPU. The threads of a block run
as fibers that switch at barriers and warp operations, so that barrier logic is exercised as it stands; see the header.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shlex
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from dlcore._files import write
from dlcore.kernels.binary import cache_directory
from dlcore.kernels.launch import F64, I32, Errors, In, Launch, Out, Table, Temp, Value, lengths
from dlcore.kernels.specialise import includes, source_path

__all__ = ["ORDERS", "ShimError", "run_cuda"]

HEADERS = Path(__file__).parent / "shim"
FLAGS = [
    "-std=c++20", "-O1", "-fPIC", "-shared", "-w", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv",
    "-fno-gnu-unique", "-fvisibility=hidden", "-fno-extern-tls-init",
]  # fmt: skip
ORDERS = ("forward", "backward", "interleaved")  # enum Order of the header
SHARED = 227 << 10  # bytes of dynamic shared memory, filled with NaN for each block

_lock = threading.Lock()

Address = Callable[[Any], int]
Number = Callable[[Value], Any]


class ShimError(RuntimeError):
    """A kernel does not compile on the host, or does what no GPU could do rightly (a barrier some threads skip)."""


def run_cuda(
    launch: Launch, address: Address, number: Number | None = None, order: str = "forward", blocks: int = 4
) -> None:
    """Run one launch of a `Cuda` kernel on host memory.

    ``address`` gives the address of an In, Out, Temp or Errors, its offset included; ``number`` the NumPy scalar of a
    Value. ``order``: of blocks and threads, "forward", "backward", or "interleaved" (some blocks at a time): a kernel
    without races gives the same bits in each. ``blocks``: how many of a persistent kernel run (`PerSM`).
    """
    kernel = launch.kernel
    packed = [_packed(a, address, number) for a in launch.args.values()]
    buffers = [ctypes.create_string_buffer(b, max(len(b), 1)) for b in packed]
    arguments = (ctypes.c_void_p * max(len(packed), 1))(*(ctypes.addressof(b) for b in buffers))
    sizes = (ctypes.c_int * max(len(packed), 1))(*map(len, packed))
    grid = (ctypes.c_uint * 3)(*lengths(launch.grid, blocks))
    block = (ctypes.c_uint * 3)(kernel.threads, 1, 1)
    function = _library(kernel.source, kernel.function)
    with _lock:  # fibers and shared memory are the library's
        problem = function(grid, block, len(packed), sizes, arguments, ORDERS.index(order))
    if problem:
        raise ShimError(f"{kernel.name}: {problem.decode()}")


# ---- arguments ----------------------------------------------------------------------------------------------------


def _packed(argument: Any, address: Address, number: Number | None) -> bytes:
    """The bytes a kernel finds where its parameter is."""
    if isinstance(argument, Table):
        data = b""
        for field in argument.fields:
            item = _packed(field, address, number)
            data += bytes(-len(data) % len(item)) + item
        return data + bytes(-len(data) % 8)
    if argument is None:
        return bytes(8)
    if isinstance(argument, In | Out | Temp | Errors):
        return struct.pack("q", address(argument))
    if isinstance(argument, Value):
        assert number is not None
        return number(argument).tobytes()
    if isinstance(argument, I32):
        return struct.pack("i", argument.value)
    if isinstance(argument, F64):
        return struct.pack("d", argument.value)
    if isinstance(argument, bool):
        return struct.pack("?", argument)
    return struct.pack("q" if isinstance(argument, int) else "f", argument)


# ---- compiling ----------------------------------------------------------------------------------------------------


def _wrapper(source: str, texts: Iterable[str], function: str) -> tuple[str, str]:
    """Two translation units: the kernel with its entry, and the dynamic shared memory it names."""
    names = {n for t in texts for n in re.findall(r"extern\s+__shared__[^;]*?(\w+)\s*\[\s*\]\s*;", t)}
    shared = "".join(f"alignas(1024) thread_local unsigned char {n}[{SHARED}];\n" for n in sorted(names))
    entry = f"""#include "cuda_on_host.h"
#include "{source}"
extern "C" __attribute__((visibility("default"))) const char*
dlcore_launch(const unsigned* grid, const unsigned* block, int count, const int* sizes, void* const* arguments,
              int order) {{
  return shim::launch< ::{function}>(grid, block, count, sizes, arguments, order);
}}
"""
    return entry, shared


@cache
def _library(source: str, function: str) -> Any:
    """The entry of the compiled kernel; compiled if this source never was."""
    path = source_path(source)
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    texts = includes(source).values()
    entry, shared = _wrapper(path.name, texts, function)
    parts = [*texts, *(p.read_text() for p in sorted(HEADERS.iterdir())), entry, shared, *compiler, *FLAGS]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    library = cache_directory() / "shim" / f"{path.stem}-{key}.so"
    if not library.exists():
        _compile(compiler, path, entry, shared, library)
    launch = ctypes.CDLL(str(library)).dlcore_launch
    launch.restype = ctypes.c_char_p
    return launch


def _compile(compiler: list[str], source: Path, entry: str, shared: str, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / "made.so"
        units = []
        for name, text in (("entry.cpp", entry), ("shared.cpp", shared)):
            if text:
                (Path(folder) / name).write_text(text)
                units.append(str(Path(folder) / name))
        command = [*compiler, *FLAGS, f"-I{HEADERS}", f"-I{source.parent}", *units, "-o", str(made)]
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise ShimError(f"{source.name}: {compiler[0]} is not here to compile it for the host") from None
        if result.returncode:
            raise ShimError(f"{source.name} does not compile on the host:\n{result.stderr[:4000]}")
        write(library, made.read_bytes())  # in one step: another process may be doing the same
