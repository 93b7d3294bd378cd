"""GPUs under the names of `torch.cuda`: whether there are any, how many, what they are called; waiting for them.

    device = "cuda" if dl.cuda.is_available() else "cpu"
"""

from __future__ import annotations

from typing import Any

from dlcore import _device
from dlcore._device import Device, DeviceError, device, empty_cache, synchronize

__all__ = ["device_count", "empty_cache", "get_device_name", "is_available", "synchronize"]


def is_available() -> bool:
    """Whether there is a GPU that can be used: ``dl.device("cuda")`` opens."""
    try:
        return device("cuda").type == "cuda"
    except DeviceError:
        return False


def device_count() -> int:
    """How many GPUs can be used."""
    return len(_device.devices()) - 1 if is_available() else 0


def get_device_name(name: str | Device | Any = "cuda") -> str:
    """What a GPU is called; raises DeviceError where there is none."""
    return device(f"cuda:{name}" if isinstance(name, int) else name).name
