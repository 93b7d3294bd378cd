"""How much memory is free."""

from __future__ import annotations

from pathlib import Path

from dlcore import _C
from dlcore._device import CPU, Device

__all__ = ["available_memory", "readable"]

_GROUP = Path("/sys/fs/cgroup")


def available_memory(device: Device = CPU) -> int:
    """The bytes that can still be allocated on ``device``; on the CPU within the limit of the container, too."""
    if not _C.on_host(device.code):
        return int(_C.cuda.memory_info(device.code)[0])
    meminfo = _lines(Path("/proc/meminfo"))
    free = [int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemAvailable:")]
    limit, used = _lines(_GROUP / "memory.max"), _lines(_GROUP / "memory.current")
    if limit and used and limit[0].isdigit():
        cached = sum(
            int(v) for k, v in (line.split() for line in _lines(_GROUP / "memory.stat")) if k == "inactive_file"
        )
        free.append(int(limit[0]) - int(used[0]) + cached)
    return min(free, default=2**63 - 1)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []  # not Linux, or control groups of another version: no limit is known


def readable(count: float) -> str:
    """A number of bytes with a unit that suits it: "3.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
