"""Devices: where a tensor's memory is. The CPU is always there; "cuda:0", "cuda:1", ... are NVIDIA GPUs.

New tensors are made on the default device. That is what `set_default_device` says, else the environment variable
DLCORE_DEVICE ("cpu", "cuda", "cuda:1", "auto"), else "auto": the first GPU where the machine has one and CuPy is
installed, and the CPU otherwise. The choice is made when the first tensor is, without importing anything heavy.

Where a kernel fails on a GPU, for instance by an illegal address, its context is lost: that call and all that follow
raise RuntimeError with the driver's first error, and the process must be started anew. A process forked from one that
has opened a GPU cannot use one: start it by "spawn". The current context of the thread, which other libraries may have
chosen, is left as it was.

With DLCORE_CUDA=interpreter, "cuda:0" needs no GPU: its memory is the host's, and Triton's interpreter runs its
kernels, slowly. That is for tests.
"""

from __future__ import annotations

import importlib
import os
import re
import warnings
from importlib.util import find_spec
from typing import Any

from dlcore import _C
from dlcore._arguments import shown
from dlcore.errors import DeviceError, DTypeError

__all__ = ["CPU", "Device", "default_device", "device", "devices", "empty_cache", "set_default_device", "synchronize"]


class Device:
    """A place for tensors: ``type`` ("cpu" or "cuda") and ``index`` (0). Equal devices are the same object."""

    __slots__ = ("backend", "code", "index", "type")

    def __init__(self, code: int, type: str, index: int, backend: Any = None):
        self.code, self.type, self.index, self.backend = code, type, index, backend

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __str__(self) -> str:
        return self.type if self.type == "cpu" else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (str(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Device:
        return self

    @property
    def name(self) -> str:
        """What a GPU is called; of the CPU, nothing."""
        return "" if self.backend is None else str(self.backend.name)

    def memory_stats(self) -> dict[str, int]:
        """Bytes in tensors (``in_use``), kept for reuse (``cached``), most in tensors so far (``peak``), and how many
        ``allocations``; of a GPU also what is ``free`` and its ``total``."""
        return _C.memory_stats() if self.backend is None else dict(self.backend.memory_stats())

    def raise_faults(self, words: bytes) -> None:
        """Raises what the fault words tell, as the device's kernels left them."""
        self.backend.raise_faults(words)


CPU = Device(0, "cpu", 0)
_C.register_device(0, CPU)
_cuda: dict[int, Device] = {}
_default: Device | None = None


def device(name: str | Device) -> Device:
    """The device called ``name``: "cpu", or "cuda" ("cuda:0"), "cuda:1", ...

    Raises ``DeviceError`` where there is no such GPU, saying what is missing, and ``DTypeError`` for other names.
    """
    if isinstance(name, Device):
        return name
    kind, colon, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind == "cpu" and number in ("", "0"):
        return CPU
    plain = number.isascii() and number.isdecimal() and len(number) < 3
    if kind not in ("cuda", "gpu") or not (plain if colon else not number):
        raise DTypeError(f"device: {shown(name)} is not a device (known: 'cpu', 'cuda', 'cuda:<number>')")
    index = int(number or 0)
    if index not in _cuda:
        _cuda[index] = _open(index)
    return _cuda[index]


def devices() -> list[Device]:
    """The devices that can be used: the CPU, and the GPUs that are open or can be opened."""
    if default_device() is CPU and not _cuda:
        return [CPU]
    found = [CPU]
    for index in range(100):
        try:
            found.append(device(f"cuda:{index}"))
        except DeviceError:
            break
    return found


def _open(index: int) -> Device:
    kind = "interpreter" if os.environ.get("DLCORE_CUDA") == "interpreter" else "cuda"
    backend = importlib.import_module(f"dlcore.backends.{kind}")
    code = 1 + index
    opened = Device(code, "cuda", index, backend.Backend(code, index))
    _C.register_device(code, opened)
    return opened


def default_device() -> Device:
    """The device new tensors are made on."""
    global _default
    if _default is None:
        asked = os.environ.get("DLCORE_DEVICE") or "auto"
        _default = _automatic() if asked == "auto" else device(asked)
        _C.set_default_place(_default.code)
    return _default


def set_default_device(name: str | Device | None) -> None:
    """New tensors are made on the device called ``name`` from here on (None: on what DLCORE_DEVICE says)."""
    global _default
    _default = None if name is None else device(name)
    _C.set_default_place(-1 if _default is None else _default.code)


def _automatic() -> Device:
    """The first GPU where there is one and CuPy is installed; a look at /dev tells, nothing is opened otherwise."""
    names = os.listdir("/dev") if os.path.isdir("/dev") else ()
    if not any(re.match("nvidia[0-9]|dxg$", name) for name in names) or find_spec("cupy") is None:
        return CPU
    try:
        return device("cuda")
    except DeviceError as error:
        warnings.warn(f"{error}; dlcore computes on the CPU", stacklevel=3)
        return CPU


def empty_cache(name: str | Device | None = None) -> None:
    """Gives the memory that a device (default: all) keeps for reuse back to the system.

    Memory of tensors that are gone is kept, because fresh memory costs more than the arithmetic in it: on the CPU at
    most 2 GiB, ``device.memory_stats()["cached"]``. It is also given back by itself before memory runs out.

    >>> dl.empty_cache()
    >>> dl.device("cpu").memory_stats()["cached"]
    0
    """
    for place in [CPU, *_cuda.values()] if name is None else [device(name)]:
        if _C.on_host(place.code):
            _C.trim_memory()
        else:
            _C.trim_device_memory(place.code)


def synchronize(name: str | Device | None = None) -> None:
    """Waits until a device (default: every GPU in use) has done all that was asked; raises what went wrong there.

    Work on a GPU goes on in the background. A bad label or index there raises IndexError at the first wait after it:
    here, or where a value is read (`item`, `numpy`, `print`).
    """
    for place in list(_cuda.values()) if name is None else [device(name)]:
        if place.backend is not None:
            place.backend.synchronize()
