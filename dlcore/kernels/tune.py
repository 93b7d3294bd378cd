"""Times a planner's candidates on the GPU at hand and keeps the best in configurations/<arch>.toml.

Run by `make gpu` and by nothing else: the table is frozen between runs, because a configuration decides the order of
sums and so belongs to what makes the same seed give the same bits.

How it times: events around one call, the L2 cache flushed before each (`bench.gpu.driver.Clock`), all candidates in
turns so that clocks and neighbours trouble them alike, the median of the rounds; the first configuration (what the
planner chooses without a table) is replaced only by one that is faster than their spread.
"""

from __future__ import annotations

import importlib
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dlcore import _toml
from dlcore._files import write
from dlcore.kernels import launch
from dlcore.kernels.launch import Call, Program

__all__ = ["Timing", "best", "candidates", "keep", "lookups", "table_path", "timings"]

_UNSEEN = itertools.count(1)


class Timing(NamedTuple):
    """Seconds a call: the median, and the 20th and 80th percentile."""

    median: float
    p20: float
    p80: float


# ---- the table ----------------------------------------------------------------------------------------------------


def table_path(arch: str) -> Path:
    """Where the configurations of an architecture stand."""
    return Path(__file__).parent / "configurations" / f"{arch}.toml"


def keep(arch: str, kernel: str, key: str, values: Mapping[str, Any], path: Path | None = None) -> None:
    """Write ``values`` into the table as the configuration of ``kernel`` for the shape class ``key``.

    None is left out: the planner's default stands for it.
    """
    path = path or table_path(arch)
    table = launch.read_configurations(path)
    table.setdefault(kernel, {})[key] = {name: value for name, value in values.items() if value is not None}
    lines = [f"# Measured by `make gpu` on {arch}; part of what makes results repeatable: change it by measuring.\n"]
    for name in sorted(table):
        lines.append(f"\n[{_toml.key(name)}]\n")
        for entry in sorted(table[name]):
            items = ", ".join(f"{_toml.key(n)} = {_toml.value(v)}" for n, v in table[name][entry].items())
            lines.append(f"{_toml.key(entry)} = {{ {items} }}\n")
    write(path, "".join(lines))
    launch._configurations.cache_clear()


# ---- candidates ---------------------------------------------------------------------------------------------------


@contextmanager
def _heard() -> Iterator[list[tuple[str, str]]]:
    """The (kernel, key) that `configuration` is asked for inside."""
    heard: list[tuple[str, str]] = []
    launch.LISTENERS.append(lambda kernel, key: heard.append((kernel, key)))
    try:
        yield heard
    finally:
        launch.LISTENERS.pop()


def lookups(planner: Callable[[Call], Program], call: Call) -> list[tuple[str, str]]:
    """The entries of the table that ``planner`` looks up for ``call``: (kernel, shape class)."""
    arch = call.arch._replace(shared=call.arch.shared - next(_UNSEEN))  # planners remember what they saw
    with _heard() as heard:
        planner(call._replace(arch=arch))
    return list(dict.fromkeys(heard))


def candidates(name: str, call: Call) -> list[tuple[dict[str, Any], Program]]:
    """What the file of the planner called ``name`` ("matmul.plan:matmul") would have timed for ``call``."""
    module = importlib.import_module(f"dlcore.kernels.{name.partition(':')[0]}")
    if not hasattr(module, "candidates"):
        return []
    return list(module.candidates(call))


def best(times: Sequence[Timing]) -> int:
    """The fastest, unless the first is within its spread."""
    first, index = times[0], min(range(len(times)), key=lambda k: times[k].median)
    return index if times[index].p80 < first.p20 else 0


# ---- times --------------------------------------------------------------------------------------------------------


def timings(functions: Sequence[Callable[[], Any]], clock: Callable[[Any], float], rounds: int = 30) -> list[Timing]:
    """The timing of each function, taken in turns."""
    samples: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + 1):
        for function, found in zip(functions, samples, strict=True):
            seconds = clock(function)
            if number:  # the first round loads code
                found.append(seconds)
    return [_summary(found) for found in samples]


def _summary(samples: Sequence[float]) -> Timing:
    fifths = statistics.quantiles(samples, n=5) if len(samples) > 1 else [samples[0]] * 4
    return Timing(statistics.median(samples), fifths[0], fifths[3])
