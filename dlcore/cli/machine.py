"""What this machine has: CPU, memory, GPU and its libraries, data sets. Nothing heavy is imported to find out."""

from __future__ import annotations

import ctypes
import os
import platform
from importlib import metadata, util
from pathlib import Path

__all__ = ["cpu_model", "gpu", "memory_gib", "package", "usable_cpus"]


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def usable_cpus() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Memory in GiB: the machine's, or the container's where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return float(total / 2**30)


def package(name: str) -> str | None:
    """The version of an installed package, "present" where that is not written down, or None. It is not imported."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "present" if util.find_spec(name) is not None else None


def gpu() -> tuple[list[str], str]:
    """The names of the NVIDIA GPUs, and what is found or missing in words."""
    try:
        driver = Path("/proc/driver/nvidia/version").read_text().split("Kernel Module")[-1].split()[0]
    except (OSError, IndexError):
        driver = ""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        kernel = f"kernel driver {driver}, but " if driver else "no NVIDIA driver: "
        return [], f"{kernel}libcuda.so.1 is not found"
    if status := cuda.cuInit(0):
        return [], f"libcuda.so.1 is there, but cuInit fails with error {status}"
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for i in range(count.value):
        name = ctypes.create_string_buffer(128)
        cuda.cuDeviceGetName(name, len(name), i)
        names.append(name.value.decode())
    return names, f"driver {driver or 'of unknown version'}, {count.value} device{'s' * (count.value != 1)}"
