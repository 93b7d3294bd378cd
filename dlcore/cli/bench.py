"""``dlcore bench``: every operation timed, beside the libraries that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dlcore._device import default_device
from dlcore._selection import load as load_operations
from dlcore._selection import selected
from dlcore.bench import show
from dlcore.bench.cases import SNIPPETS, Case, Snippet, cases
from dlcore.bench.machine import cache_bytes, describe
from dlcore.bench.results import Results
from dlcore.bench.roofs import Roofs, measure
from dlcore.bench.session import LIBRARIES, Measurement, Session, installed
from dlcore.cli import at_least
from dlcore.dtypes import as_dtype, float32

__all__ = ["run"]

SMALL = 64 << 10  # bytes that a cold cache makes no difference worth timing below
BUSY = 0.1  # of the processors' time taken by others: the roofs are not to be trusted
QUICK_SECONDS = 50.0  # --quick stops asking for more after these

Turn = tuple[Case | Snippet, str]


def run(
    op: tuple[str, ...] = (),
    family: tuple[str, ...] = (),
    dtype: tuple[str, ...] = ("float32", "bfloat16"),
    mode: tuple[Literal["forward", "tracked", "both"], ...] = ("forward", "tracked", "both"),
    cache: tuple[Literal["warm", "cold"], ...] = ("warm", "cold"),
    device: str | None = None,
    vs: tuple[Literal["torch", "numpy", "jax", "cupy"], ...] | None = None,
    python: str = sys.executable,
    threads: int = len(os.sched_getaffinity(0)),
    quick: bool = False,
    rounds: int = 7,
    seconds: float = 0.03,
    load: str | None = None,
    out: Path | None = None,
    compare: tuple[Path, Path] | None = None,
) -> int:
    """Time operations, beside the libraries that are installed.

    They compute on random data, and their results are compared first. Engines run in processes of their own and take
    turns; dlcore runs in two, and what they differ by is the noise. Each library gets its best way (out=, inference
    mode, jit), and the same processors. Every operation is timed on the workloads it lists: "forward"; "tracked",
    forward with operands that need gradients, where calls are all that counts; "both", forward and backward. A warm
    cache has seen the operands just now; cold means sets of operands taken in turns. A terminal shows a table in the
    end, by families; a pipe or a file gets each line as soon as it is measured.

    Args:
        op: operations, as "softmax matmul"; default: all.
        family: families of kernels, as "reduce loss".
        dtype: dtypes; operations on integers are always timed.
        mode: forward, tracked, both.
        cache: warm, cold.
        device: "cpu" or "cuda"; default: the default device.
        vs: libraries to hold against; default: those installed.
        python: the Python that has them.
        threads: processors for each engine.
        quick: one size of each operation and those that matter most, in float32 from a warm cache, in about a minute.
        rounds: turns of each engine.
        seconds: length of a turn.
        load: a Python file that defines operations of your own; only they are timed, unless others are named.
        out: write OUT.json and OUT.csv.
        compare: two results, OUT.json of then and of now: what changed beyond the noise; the exit code is 1 where
            something became slower.
    """
    at_least(1, threads=threads, rounds=rounds)
    at_least(1e-6, seconds=seconds)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    if compare is not None:
        before, after = map(Results.load, compare)
        return 1 if show.compared(before, after, console) else 0
    place = device or str(default_device())
    chosen = load_operations(load) if load else []
    if op or family or not load:
        chosen += [o for o in selected(op, family) if o not in chosen]
    dtypes = [as_dtype(d) for d in dtype]
    found = cases(chosen, dtypes, mode, place)
    programs = [] if op or family or load else list(SNIPPETS)
    turns = _quick(found, programs) if quick else _turns(found, programs, cache, place)
    if not turns:
        raise ValueError("bench: nothing to time: no case has what was asked for")
    libraries = _libraries(vs, python, place)
    session = Session(libraries, threads, place, dict.fromkeys(libraries, python), load)
    settings = {"rounds": 4, "seconds": 0.006} if quick else {"rounds": rounds, "seconds": seconds}
    results, failed = _measured(session, turns, settings, console, quick)
    return max(_report(results, console, out), int(failed))


def _libraries(asked: Sequence[str] | None, python: str, device: str) -> list[str]:
    """Those asked for, or those there; ValueError where one asked for is not."""
    try:
        there = installed(python, device)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"bench: {python} is no Python that runs: {error}") from None
    if missing := [name for name in asked or () if name not in there]:
        raise ValueError(f"bench: {python} has no {', '.join(missing)}")
    return [name for name in LIBRARIES if name in (there if asked is None else asked)]


def _turns(found: Sequence[Case], programs: Sequence[Snippet], caches: Sequence[str], device: str) -> list[Turn]:
    """Each case with each state of the cache that makes a difference to it."""
    turns: list[Turn] = [(p, "warm") for p in programs]
    fits = cache_bytes(device)
    for case in found:
        states = [c for c in caches if c == "warm" or (case.bytes >= SMALL and case.written is None)] or caches[:1]
        turns += [(case, state) for state in (states[:1] if case.bytes > 2 * fits else states)]
    return turns


def _quick(found: Sequence[Case], programs: Sequence[Snippet]) -> list[Turn]:
    """What matters most, first: sizes marked as quick, then the first of each operation, in float32 where it may be."""
    first: dict[str, Case] = {}
    for case in sorted(found, key=lambda c: c.dtype is not float32):
        first.setdefault(case.op.name, case)
    marked = [c for c in found if c.workload.quick == c.mode and c.dtype is first[c.op.name].dtype]
    rest = [c for c in first.values() if c not in marked]
    chosen: list[Case | Snippet] = [*programs, *marked, *rest]
    return [(case, "warm") for case in chosen]


def _measured(
    session: Session, turns: Sequence[Turn], settings: dict, console: Console, quick: bool
) -> tuple[Results, bool]:
    """The measurements, of those begun, where Ctrl-C ends it or --quick has used its time; whether dlcore failed."""
    results = Results(describe(session.device), session.versions, [])
    started, interrupted = time.perf_counter(), False
    failures: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress, session:
        task = progress.add_task("the machine's roofs", total=len(turns))
        roofs = measure(session.device, session.threads, quick=True)
        results.roofs = roofs.to_json()
        tell = partial(_tell, console, roofs, session)
        tell(None)
        try:
            for case, cache in turns:
                if quick and time.perf_counter() - started > QUICK_SECONDS:
                    break
                progress.update(task, description=f"{case.name}, {cache}"[:60])
                try:
                    results.rows.append(session.measure(case, cache, **settings))
                    tell(results.rows[-1])
                except Exception as error:  # of this operation, a user's for one; the others may work
                    text = str(error)
                    own = text.startswith("bench: ")
                    failures.append(text if own else f"bench: {case.name}: {type(error).__name__}: {text}")
                progress.advance(task)
        except KeyboardInterrupt:
            interrupted = True
    for text in session.absent.values():
        console.print(f"[red]{text}[/]")
    for text in failures:
        console.print(f"[red]{escape(text)}[/]", soft_wrap=True)
    if len(results.rows) + len(failures) < len(turns):
        why = "interrupted" if interrupted else "the minute is over"
        console.print(f"[yellow]{why}: {len(results.rows)} of {len(turns)} cases were timed[/]")
    results.rows.sort(key=lambda m: m.family)
    return results, bool(failures)


def _tell(console: Console, roofs: Roofs, session: Session, row: Measurement | None) -> None:
    """Writes a row as it comes (None: the titles) where no terminal shows how far things are."""
    if not console.is_terminal:
        text = show.line(row, roofs, session.libraries, session.device != "cpu")
        console.print(text, markup=False, soft_wrap=True)


def _report(results: Results, console: Console, out: Path | None) -> int:
    roofs = Roofs.from_json(results.roofs) if results.roofs else None
    optional = ("GFLOP/s", "GB/s", "host", "noise", "% of roof", "cache", "mode", "dtype", "operands")
    if console.is_terminal:  # else each row was written as it came
        console.print(show.fitted(show.table(results.rows, roofs), console, optional))
    show.summary(results, console)
    machine = results.machine
    where = machine.get("gpu") or f"{machine['processor']} ({machine['vectors']})"
    if roofs and roofs.taken > BUSY:
        console.print(f"[yellow]others had {roofs.taken:.0%} of the processors' time while the roofs were measured[/]")
    console.print(f"{where}, Python {machine['python']}, commit {machine['commit'] or 'unknown'}, {machine['date']}")
    if out is not None:
        console.print(f"wrote {' and '.join(map(str, results.save(out)))}")
    return 1 if any(p.startswith("differs") for m in results.rows for p in m.problems.values()) else 0
