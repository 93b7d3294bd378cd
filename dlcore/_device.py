"""Devices: where a tensor's memory is. The CPU is always there."""

from __future__ import annotations

import os
from typing import Any

from dlcore import _C
from dlcore.errors import DTypeError

__all__ = ["Device", "default_device", "device"]


class Device:
    """A place for tensors: ``type`` ("cpu") and ``index`` (0). Equal devices are the same object."""

    __slots__ = ("code", "index", "type")

    def __init__(self, code: int, type: str, index: int):
        self.code, self.type, self.index = code, type, index

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __str__(self) -> str:
        return self.type if self.type == "cpu" else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (str(self),)


CPU = Device(0, "cpu", 0)
_C.register_device(0, CPU)


def device(name: str | Device) -> Device:
    """The device called ``name``: "cpu" (or "cpu:0").

    Raises ``DTypeError`` for devices this version has no backend for, saying so.
    """
    if isinstance(name, Device):
        return name
    if name in ("cpu", "cpu:0"):
        return CPU
    if str(name).partition(":")[0] in ("cuda", "gpu"):
        raise DTypeError(f"device: {name!r} is not available: this version of dlcore has no GPU backend yet; use 'cpu'")
    raise DTypeError(f"device: {name!r} is not a device (known: 'cpu')")


def default_device() -> Device:
    """The device new tensors are made on: the environment variable DLCORE_DEVICE, else the CPU."""
    return device(os.environ.get("DLCORE_DEVICE", "cpu"))
