"""What the array API standard, version 2024.12, asks of a library beside its functions: `__array_namespace_info__`."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import choice
from dlcore._device import Device, default_device, devices
from dlcore._device import device as as_device
from dlcore.dtypes import DTYPES, DType, default_float, int64

__all__ = ["VERSION", "VERSIONS", "NamespaceInfo", "namespace_info"]

VERSION = "2024.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", VERSION)
"""Versions of the standard that `Tensor.__array_namespace__` answers to."""

_KINDS = {
    "bool": ("bool",), "signed integer": ("int",), "unsigned integer": ("uint",), "integral": ("int", "uint"),
    "real floating": ("float",), "complex floating": (), "numeric": ("int", "uint", "float"),
}  # fmt: skip


class NamespaceInfo:
    """What dlcore can do, in the words of the array API standard."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indices and shapes that depend on values are there; a tensor has at most 8 axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 8}

    def default_device(self) -> Device:
        """Where new tensors are."""
        return default_device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType | None]:
        """The dtypes of new tensors by kind; there are no complex numbers."""
        _known(device)
        return {"real floating": default_float(), "complex floating": None, "integral": int64, "indexing": int64}

    def devices(self) -> list[Device]:
        """The CPU and the GPUs that can be used."""
        return devices()

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes of the standard that dlcore has, by name; those of a ``kind`` (or of several, in a tuple)."""
        _known(device)
        kinds = tuple(_KINDS) if kind is None else kind if isinstance(kind, tuple) else (kind,)
        for one in kinds:
            choice(one, tuple(_KINDS), "dtypes: kind")
        wanted = {found for one in kinds for found in _KINDS[one]}
        return {d.name: d for d in DTYPES if d.kind in wanted and d.name not in ("float16", "bfloat16")}


def _known(device: Any) -> None:
    """Raises DTypeError for what is no device."""
    if device is not None:
        as_device(device)


def namespace_info() -> NamespaceInfo:
    """What dlcore can do: the array API's ``__array_namespace_info__``."""
    return NamespaceInfo()
