"""The machine that numbers come from, in words and as a folder's name."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import dlcore
from dlcore._device import device as as_device

__all__ = ["cache_bytes", "describe", "slug"]


def _processor() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def slug(device: Any = "cpu") -> str:
    """A name for its results: the GPU's, or the processor's with family and model (virtual machines shorten names)."""
    cpu = _processor()
    name = f"{cpu.get('model name', platform.machine())} {cpu.get('cpu family', '')} {cpu.get('model', '')}"
    return re.sub(r"[^a-z0-9]+", "-", (as_device(device).name or name).lower()).strip("-")


def _commit() -> str:
    """Of the tree that dlcore runs from, where that is one."""
    root = Path(dlcore.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        git = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(git, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git here, or not the owner's
        return ""


def describe(device: Any = "cpu") -> dict[str, str | int]:
    """Processor and GPU, instruction sets that matter here, versions, commit and date."""
    cpu, place = _processor(), as_device(device)
    flags = cpu.get("flags", "").split()
    found: dict[str, str | int] = {
        "processor": cpu.get("model name", platform.machine()),
        "family": f"{cpu.get('cpu family', '?')}/{cpu.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "vectors": "AVX-512" if "avx512vl" in flags else "AVX2" if "avx2" in flags else "baseline",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "dlcore": dlcore.__version__,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }
    return found | ({"gpu": place.name} if place.name else {})


def cache_bytes(device: Any = "cpu") -> int:
    """Of the largest cache: what does not fit comes from memory."""
    if as_device(device).type != "cpu":
        return 128 << 20  # the largest L2 of the GPUs that kernels are compiled for
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    found = [int(text[:-1]) * units[text[-1]] for text in (path.read_text().strip() for path in sizes)]
    return max(found, default=32 << 20)
