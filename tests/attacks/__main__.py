"""Runs the attacks: ``python -m tests.attacks [names] [--count N] [--seed S] [--small]``.

Large, unless told otherwise; the figures of a large run go into docs/reliability.md. The exit code is 1 where anything
was violated.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import children, load, names

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

What the attacks in `tests/attacks/` have tried, and what they found: `make attack` makes this page. Each attack says
what must never happen in its first lines.

| attack | unit | count | violations | seconds | machine | commit |
|---|---|---:|---:|---:|---|---|
"""


class Run(NamedTuple):
    """One attack, run."""

    name: str
    unit: str
    count: int
    violations: int
    seconds: float

    def row(self) -> str:
        """Its line in the report."""
        link = f"[{self.name}](../tests/attacks/{self.name}.py)"
        figures = f"{self.count:,} | {self.violations:,} | {self.seconds:,.0f}"
        return f"| {link} | {self.unit} | {figures} | {_machine()} | {_commit()} |"


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which attacks: {', '.join(names())}; all of them")
    parser.add_argument("--count", type=int, help="how many units of each, in place of its own number")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other units")
    parser.add_argument("--small", action="store_true", help="as few units as the tests run")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(names()))
    if unknown:
        parser.error(f"there is no attack named {', '.join(unknown)}; there are {', '.join(names())}")
    if asked.count is not None and asked.count < 1:
        parser.error(f"--count: at least 1, not {asked.count}")
    runs = []
    for name in asked.names or names():
        module = load(name)
        count = asked.count or (module.SMALL if asked.small else module.LARGE)
        runs.append(_run(name, module.UNIT, module.attack(count, asked.seed), count))
    if not asked.small and asked.count is None:
        write(runs)
    return int(any(run.violations for run in runs))


def _run(name: str, unit: str, lines: Iterator[str], count: int) -> Run:
    start, found = time.monotonic(), 0
    with _progress(f"{name}: {count:,} {unit}", count) as tell:
        for line in lines:
            found += 1
            tell(f"{name}: {line}")
    run = Run(name, unit, count, found, time.monotonic() - start)
    print(f"{name}: {count:,} {unit}, {found} violations, {run.seconds:.1f} s", flush=True)
    return run


@contextmanager
def _progress(label: str, count: int):
    """A function that prints a line; on a terminal there is a bar below."""
    if not sys.stdout.isatty():
        yield lambda line: print(line, flush=True)
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    before = children.advanced
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(label, total=count)
        children.advanced = lambda units: progress.advance(task, units)
        try:
            yield lambda line: progress.console.print(escape(line))
        finally:
            children.advanced = before


def write(runs: list[Run]) -> None:
    """Writes the report; rows of attacks that did not run now are kept."""
    rows = {}
    if REPORT.exists():
        kept = [line for line in REPORT.read_text().splitlines() if line.startswith("| [")]
        rows = {line.split("[", 1)[1].split("]", 1)[0]: line for line in kept}
    rows |= {run.name: run.row() for run in runs}
    REPORT.write_text(HEAD + "".join(f"{rows[name]}\n" for name in sorted(rows) if name in names()))


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else ():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return f"{cpu}, {len(os.sched_getaffinity(0))} processors"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
