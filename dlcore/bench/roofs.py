"""What a machine can do at best: bytes a second by working set, multiply-adds a second by dtype. `measure() -> Roofs`.

Roofs are measured, never looked up, by loops of dlcore's own (csrc/roofs/, kernels/roofs/) on as many threads of its
own pool as operations have. Each is the best of several repeats, since nothing makes a loop faster than the machine.

    copy    read a half of the working set, write the other; counted: bytes read + bytes written. The better of ordinary
            stores and, beyond the caches, of stores that go past them (an ordinary store reads the line first, which
            nobody asked for and which is not counted)
    read    sum the whole working set, as 8-byte words; counted: bytes read
    FMA     x = x * a + b in registers, in so many independent chains that every unit is busy; counted: 2 FLOPs each
    GEMM    the library's product of large square matrices; counted: 2 n**3 FLOPs
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dlcore import _C, _json
from dlcore._creation import full
from dlcore._device import Device
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, zeros
from dlcore.dtypes import DType, as_dtype, float64, int64

__all__ = ["Progress", "Roofs", "measure"]

Progress = Callable[[float, str], None]
"""Told how much is done, from 0 to 1, and what comes next."""

CHAINS = {"float32": 192, "float64": 96}  # elements a thread multiplies and adds to: what csrc/roofs/roofs.inl takes
FACTOR, TERM = 0.5, 1.0  # x = x / 2 + 1 stays near 2 for ever
_SAMPLE = 3e-4  # seconds of one sample: the clock costs less than 0.1 % of it


@dataclass(frozen=True)
class Roofs:
    """The roofs of a device. ``copy``, ``read``: (working set in bytes, bytes/s); ``fma``, ``gemm``: dtype -> FLOP/s.

    ``library`` says what ``gemm`` is of; a GPU's ``fma`` has "tf32" too: float32 rounded to 11 bits on tensor cores.
    ``threads``: 0 for a GPU. ``taken``: the part of the processors' time that others had while these were measured.
    """

    device: str
    threads: int
    copy: list[tuple[int, float]]
    read: list[tuple[int, float]]
    fma: dict[str, float]
    gemm: dict[str, float] = field(default_factory=dict)
    library: str = ""
    quick: bool = False
    taken: float = 0.0

    @cached_property
    def curve(self) -> list[tuple[int, float]]:
        """(working set, bytes/s): the better of copy and read, and never less than for a larger working set."""
        best: dict[int, float] = {}
        for size, rate in (*self.copy, *self.read):
            best[size] = max(rate, best.get(size, 0.0))
        found: list[tuple[int, float]] = []
        for size in sorted(best, reverse=True):
            found.append((size, max(best[size], found[-1][1] if found else 0.0)))
        return found[::-1]

    def bandwidth(self, touched: float) -> float:
        """Bytes a second for a working set of ``touched`` bytes; linear in its logarithm between those measured."""
        sizes, rates = zip(*self.curve, strict=True)
        return float(np.interp(math.log(max(touched, 1.0)), np.log(sizes), rates))

    def flops(self, dtype: Any) -> float:
        """FLOP/s in a dtype: of multiply-adds, or of the library's product where that is more.

        What has no figure of its own is computed in float32, or of 8 bytes, in float64. On a GPU three tf32 products
        on tensor cores, which are as accurate, may be faster than float32's own units.
        """
        kind = dtype if isinstance(dtype, DType) else as_dtype(dtype)
        name = kind.name if kind.name in self.fma else "float64" if kind.itemsize == 8 else "float32"
        best = max(self.fma[name], self.gemm.get(name, 0.0))
        return max(best, self.fma.get("tf32", 0.0) / 3) if name == "float32" else best

    def working_set(self, bytes: float, touched: float, cold: bool = False) -> float:
        """What a call's bandwidth is that of: what it touches, of a table that it takes a few rows from no more than
        these; where caches are cold, as much as memory."""
        return float(self.curve[-1][0]) if cold else min(bytes, touched)

    def least(self, flops: float, bytes: float, touched: float, dtype: Any) -> float:
        """The fewest seconds in which so many FLOPs can be done and so many bytes be moved, each at its roof."""
        return max(self._parts(flops, bytes, touched, dtype))

    def bound(self, flops: float, bytes: float, touched: float, dtype: Any) -> str:
        """Which of the two takes longer: "memory" or "arithmetic"."""
        moving, computing = self._parts(flops, bytes, touched, dtype)
        return "memory" if moving >= computing else "arithmetic"

    def _parts(self, flops: float, bytes: float, touched: float, dtype: Any) -> tuple[float, float]:
        return bytes / self.bandwidth(touched), flops / self.flops(dtype)

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Roofs:
        """What `to_json` gave; ValueError where it did not."""
        try:
            found = _json.typed(cls, data)
            figures = [n for pair in (*found.copy, *found.read) for n in pair]
            if not figures or min(*figures, *found.fma.values(), *found.gemm.values()) <= 0:
                raise ValueError("a figure that is not above 0, or none at all")
            if missing := {"float32", "float64"} - found.fma.keys():
                raise ValueError(f"no figure of multiply-adds in {', '.join(sorted(missing))}")
        except ValueError as error:
            raise ValueError(f"roofs: not what Roofs.to_json gave: {error}") from None
        return found


def measure(
    device: str | Device = "cpu", threads: int | None = None, quick: bool = False, progress: Progress | None = None
) -> Roofs:
    """The roofs of a device: 10 s, or 3 s if ``quick`` (fewer sizes of working set, fewer repeats).

    ``threads``: of the CPU; default: as many as operations use.
    """
    place = as_device(device)
    told = progress or (lambda done, what: None)
    if place.type != "cpu":
        from dlcore.bench.gpu_roofs import measure_gpu

        return Roofs(**measure_gpu(place, quick, told), quick=quick)
    threads = threads or _C.thread_count()
    before = _C.thread_count()
    _C.set_thread_count(threads)
    try:
        found = _measure_cpu(threads, quick, told)
    finally:
        _C.set_thread_count(before)
    told(0.9, "GEMM of NumPy")
    gemm, library = _numpy_gemm(threads, 0.6 if quick else 1.2)
    told(1.0, "")
    return Roofs(str(place), threads, **found, gemm=gemm, library=library, quick=quick)


# ---- CPU ----------------------------------------------------------------------------------------------------------


def working_sets(quick: bool) -> list[int]:
    """Bytes: from the smallest L1 to four times a large last-level cache and more."""
    return [1 << k for k in (*range(14, 27, 2), 27)] if quick else [1 << k for k in range(14, 29)]


def _measure_cpu(threads: int, quick: bool, told: Progress) -> dict[str, Any]:
    """Everything twice, some time apart: another process may have had a core, or the memory, in between."""
    sizes = working_sets(quick)
    words = full((sizes[-1] // 8,), 1, dtype=int64, device="cpu")  # written, so that every page is there
    loops = _Loops(threads, 0.015 if quick else 0.05)
    copy, read, fma = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0.0), dict.fromkeys(CHAINS, 0.0)
    for turn in range(2):
        for name, elements in CHAINS.items():
            told(0.45 * turn, f"FMA in {name}")
            fma[name] = max(fma[name], loops.fma(as_dtype(name), elements))
        for k, size in enumerate(sizes):
            told(0.45 * (turn + k / len(sizes)), f"copy and read, {size >> 10} KiB")
            n = size // 16
            half, other = words[:n], words[n : 2 * n]
            copy[size] = max(copy[size], loops.copy(half, other, past_caches=size >= 1 << 20))
            read[size] = max(read[size], loops.read(words[: 2 * n]))
    return {"copy": list(copy.items()), "read": list(read.items()), "fma": fma, "taken": loops.taken}


class _Loops:
    """The loops of csrc/roofs/: rates on ``threads`` threads, the best within ``seconds``."""

    def __init__(self, threads: int, seconds: float):
        self.threads, self.seconds = threads, seconds
        self._wall = self._busy = 0.0
        self._times = zeros((threads, 2), dtype=float64, device="cpu")
        self._sums = zeros((threads,), dtype=int64, device="cpu")

    @property
    def taken(self) -> float:
        """Of the processors' time since the first loop, what part other processes had."""
        return max(0.0, 1 - self._busy / (self.threads * self._wall))

    def copy(self, source: Tensor, target: Tensor, past_caches: bool) -> float:
        """Bytes read and written a second."""
        kinds = (0, 1) if past_caches else (0,)
        return max(self._rate("roofs:copy", source, target, 2 * source.size * 8, (kind,)) for kind in kinds)

    def read(self, source: Tensor) -> float:
        """Bytes read a second."""
        return self._rate("roofs:read", source, self._sums, source.size * 8)

    def fma(self, dtype: DType, elements: int) -> float:
        """FLOP/s."""
        x = full((self.threads, elements), 2.0, dtype=dtype, device="cpu")
        return self._rate("roofs:fma", x, zeros(x.shape, dtype=dtype, device="cpu"), 2 * x.size, (FACTOR, TERM))

    def _rate(self, kernel: str, x: Tensor, out: Tensor, work: float, params: Sequence[int | float] = ()) -> float:
        """Work a second where one pass does ``work``: the best sample. A sample has as many passes as it needs."""
        passes, best = 1, 0.0
        while (seconds := self._sample(kernel, x, out, passes, params)) < _SAMPLE:
            passes *= max(2, min(100, math.ceil(1.2 * _SAMPLE / max(seconds, 1e-9))))
        end, number = time.perf_counter() + self.seconds, 0
        while number < 3 or time.perf_counter() < end:
            best, number = max(best, work * passes / seconds), number + 1
            seconds = self._sample(kernel, x, out, passes, params)
        return best

    def _sample(self, kernel: str, x: Tensor, out: Tensor, passes: int, params: Sequence[int | float]) -> float:
        """Seconds from the first thread's start to the last one's end."""
        for _ in range(20):
            wall, busy = time.perf_counter(), time.process_time()
            _C.run_kernel(kernel, [x], [out, self._times], [passes, *params])
            self._wall, self._busy = self._wall + time.perf_counter() - wall, self._busy + time.process_time() - busy
            times = self._times.numpy()
            if not np.isnan(times).any():
                return float(times[:, 1].max() - times[:, 0].min())
        raise RuntimeError(
            f"roofs: {self.threads} threads could not be had at the same time: another thread of this process computes"
        )


def _numpy_gemm(threads: int, seconds: float) -> tuple[dict[str, float], str]:
    """(dtype -> FLOP/s, what was measured); in a process of its own, where BLAS takes the number of threads given."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
    script = Path(__file__).with_name("gemm.py")
    command = [sys.executable, "-P", str(script), str(seconds), "float32", "float64"]
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {}, f"not measured: {done.stderr.strip().rpartition(os.linesep)[2]}"
    found = json.loads(done.stdout)
    library = f"{found.pop('library')}, {threads} thread{'s' * (threads != 1)}"
    return found, library
