"""Roofs as the lines of a picture, and in words."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from dlcore.bench.roofs import Roofs

__all__ = ["Line", "lines", "plateaus", "size"]

_LEVEL = 0.7  # a plateau: rates that are at least this part of its first
_MOST = 3  # plateaus drawn, memory among them


class Line(NamedTuple):
    """A roof. ``rate``: bytes/s, or FLOP/s where it is ``flat``; ``kind``: "memory", "cache", "FMA", "GEMM"."""

    kind: str
    label: str
    rate: float
    flat: bool
    style: int
    width: float


def size(number: float) -> str:
    """Bytes in words: "64 KiB"."""
    unit, factor = next((u, f) for u, f in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)) if number >= f)
    return f"{number / factor:.3g} {unit}"


def plateaus(roofs: Roofs) -> list[tuple[int, float]]:
    """(largest working set, bytes/s) of each level of memory, as the measured curve shows them; memory last.

    Sizes of about equal bandwidth are a level; a single size between two levels belongs to neither.
    """
    levels: list[list[tuple[int, float]]] = []
    for point in roofs.curve:
        if levels and point[1] >= _LEVEL * levels[-1][0][1]:
            levels[-1].append(point)
        else:
            levels.append([point])
    kept = [level for k, level in enumerate(levels) if len(level) > 1 or k in (0, len(levels) - 1)]
    return [(level[-1][0], level[0][1]) for level in [*kept[:-1][: _MOST - 1], kept[-1]]]


def lines(roofs: Roofs, dtypes: Collection[str]) -> list[Line]:
    """The roofs drawn for kernels of these dtypes."""
    levels = plateaus(roofs)
    found = []
    for k, (largest, rate) in enumerate(levels):
        last = k == len(levels) - 1
        where = "memory" if last else f"working set up to {size(largest)}"
        kind = "memory" if last else "cache"
        found.append(Line(kind, f"{where}:\n{rate / 1e9:.0f} GB/s", rate, False, 0 if last else 1 + k, 1.4))
    library = roofs.library.partition(" ")[0]
    names = sorted({"float64" if d in ("float64", "int64") else d if d in roofs.fma else "float32" for d in dtypes})
    for k, name in enumerate(names or ["float32"]):
        rate = roofs.fma[name]
        found.append(Line("FMA", f"multiply-adds, {name}:\n{rate / 1e9:.0f} GFLOP/s", rate, True, 0, 2.0 - 0.6 * k))
        if rate := roofs.gemm.get(name, 0.0):
            label = f"matrix product of {library},\n{name}: {rate / 1e9:.0f} GFLOP/s"
            found.append(Line("GEMM", label, rate, True, 3 if k == 0 else 4, 1.2))
    return found
