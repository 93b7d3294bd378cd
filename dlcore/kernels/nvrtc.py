"""CUDA C++ to cubins by NVRTC, through ctypes: no GPU, driver or CuPy is needed.

NVRTC is told the full architecture (sm_90a), which CuPy's own RawKernel does not do, and so has wgmma and TMA.
"""

from __future__ import annotations

import ctypes
import glob
import os
import site
import sys
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["NvrtcError", "Output", "available", "compile", "version"]


class NvrtcError(RuntimeError):
    """NVRTC is not there, or refused a source; the text has its log."""


class Output(NamedTuple):
    """``function``: the mangled name; ``log``: what ptxas -v said."""

    function: str
    cubin: bytes
    ptx: str
    log: str


@lru_cache
def _roots() -> list[str]:
    """Folders of the toolkit: DLCORE_TOOLKIT alone, else CUDA_HOME and those of the nvidia wheels (one for CUDA 13, one
    each for 12)."""
    if chosen := os.environ.get("DLCORE_TOOLKIT"):
        return [chosen]
    places = dict.fromkeys((*sys.path, *site.getsitepackages()))
    wheels = [r for p in places for r in sorted(glob.glob(os.path.join(p, "nvidia", "*")), reverse=True)]
    roots = [os.environ.get("CUDA_HOME", ""), *wheels, "/usr/local/cuda"]
    return [r for r in dict.fromkeys(roots) if r and os.path.isdir(r)]


def available() -> bool:
    """Whether NVRTC can be loaded."""
    try:
        _library()
    except NvrtcError:
        return False
    return True


@lru_cache
def _library() -> Any:
    names = [n for root in _roots() for n in sorted(glob.glob(os.path.join(root, "lib*", "libnvrtc.so.[0-9]*")))]
    elsewhere = [] if os.environ.get("DLCORE_TOOLKIT") else ["libnvrtc.so.13", "libnvrtc.so"]
    for name in [*names, *elsewhere]:
        try:
            # libnvrtc opens its builtins by their bare name, and not every release of it looks into its own folder:
            # what is loaded already is found by that name.
            for builtins in sorted(glob.glob(os.path.join(os.path.dirname(name), "libnvrtc-builtins.so.*"))):
                ctypes.CDLL(builtins, ctypes.RTLD_GLOBAL)
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    if chosen := os.environ.get("DLCORE_TOOLKIT"):
        raise NvrtcError(f"DLCORE_TOOLKIT: {chosen} has no NVRTC (lib/libnvrtc.so.13)")
    raise NvrtcError("NVRTC is not installed: pip install 'dlcore[compile]'")


def version() -> str:
    """Its version: "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _check(name: str, *args: Any) -> None:
    library = _library()
    if code := getattr(library, name)(*args):
        raise NvrtcError(f"{name}: {library.nvrtcGetErrorString(code).decode()}")


def compile(source: str, name: str, headers: dict[str, str], function: str, arch: str) -> Output:
    """The kernel ``function``, as C++ names it, of ``source``, for ``arch`` ("sm_90a").

    ``headers``: name -> text of what `#include "..."` finds beside the source. Raises NvrtcError with the log.
    """
    texts = [t.encode() for t in headers.values()]
    names = [n.encode() for n in headers]
    program = ctypes.c_void_p()
    arrays = [(ctypes.c_char_p * max(len(x), 1))(*x) for x in (texts, names)]
    _check("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), len(texts), *arrays)
    try:
        _check("nvrtcAddNameExpression", program, function.encode())
        options = [o.encode() for o in _options(arch)]
        try:
            _check("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
        except NvrtcError as error:
            raise NvrtcError(f"{error}\n{_text(program, 'ProgramLog')}") from None
        lowered = ctypes.c_char_p()
        _check("nvrtcGetLoweredName", program, function.encode(), ctypes.byref(lowered))
        mangled = (lowered.value or b"").decode()
        return Output(mangled, _bytes(program, "CUBIN"), _text(program, "PTX"), _text(program, "ProgramLog"))
    finally:
        _check("nvrtcDestroyProgram", ctypes.byref(program))


def _options(arch: str) -> list[str]:
    folders = [os.path.join(root, "include") for root in _roots()]
    paths = [f"--include-path={p}" for p in folders if os.path.isdir(p)]
    exact = ["--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false"]
    return [f"--gpu-architecture={arch}", "--std=c++20", "-default-device", *exact, "--ptxas-options=-v", *paths]


def _bytes(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _check(f"nvrtcGet{what}", program, buffer)
    return buffer.raw


def _text(program: ctypes.c_void_p, what: str) -> str:
    return _bytes(program, what).rstrip(b"\0").decode(errors="replace")
