"""``dlcore verify``: every kernel of this machine held against references; with --fuzz, random calls too."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import dlcore
from dlcore import _C, _selection
from dlcore._device import default_device
from dlcore._device import device as as_device
from dlcore._files import write
from dlcore.bench.show import fitted
from dlcore.cli import at_least
from dlcore.cli.progress import Stages
from dlcore.dtypes import DTYPES, FLOATS, as_dtype
from dlcore.errors import DeviceError
from dlcore.kernels.launch import ARCHES
from dlcore.op import Op
from dlcore.verify import Check, Fuzzed, RowReport, fuzz, verify

__all__ = ["run"]


def run(
    op: tuple[str, ...] = (),
    family: tuple[str, ...] = (),
    dtype: tuple[str, ...] = (),
    device: str | None = None,
    fuzz: int = 0,
    seed: int = 0,
    load: tuple[str, ...] = (),
    json: Path | None = None,
    jobs: int = len(os.sched_getaffinity(0)),
    compile: bool = False,
    arch: tuple[str, ...] = tuple(ARCHES),
    all: bool = False,
    out: Path | None = None,
    report: Path | None = None,
) -> int:
    """Check every operation against NumPy, its other implementations and itself; or compile the GPU kernels.

    Args:
        op: operations, as "softmax matmul"; default: all.
        family: families of kernels, as "matmul softmax"; default: all.
        dtype: dtypes, as "float32 float16"; default: all that an operation claims.
        device: "cpu" or "cuda"; default: the default device.
        fuzz: so many random calls instead: shapes, memory layouts, values; each difference as the smallest program.
        seed: of the random calls.
        load: Python files that make operations; without --op and --family only these are checked.
        json: also write what was found to this file.
        jobs: processes at work.
        compile: compile what the operations' samples need and show registers, spills, shared memory and instructions.
        arch: architectures to compile for; "sm_120:84" means a GPU with 84 multiprocessors.
        all: every sample, memory layout and dtype on a GPU too, where without it those are checked whose kernels come
            compiled with dlcore; with --compile: not one of each kernel, row and architecture.
        out: with --compile: also write packs of the binaries into this folder: DLCORE_KERNELS=DIR loads them without
            compilers.
        report: with --compile: also write the table, as in docs/kernels.md, to this file.
    """
    at_least(0, fuzz=fuzz, seed=seed)
    at_least(1, jobs=jobs)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    if compile:
        from dlcore.cli.compiled import compile_kernels

        if op or dtype or load or fuzz:
            raise ValueError("verify: --compile takes --family and --arch, no --op, --dtype, --load or --fuzz")
        return compile_kernels(console, arch, family, all, out, jobs, report)
    made = [made for file in load for made in _selection.load(file)]
    ops = _selection.selected(op, family) if op or family or not load else made
    names = tuple(as_dtype(d).name for d in dtype)
    place = _device(device)
    if fuzz:
        return _fuzz(console, ops, fuzz, seed, place, names, jobs, load, json)
    return _verify(console, ops, place, names, all, jobs, load, json)


def _device(name: str | None) -> str:
    try:
        return str(default_device() if name is None else as_device(name))
    except DeviceError as error:
        raise ValueError(str(error)) from None


def _write(path: Path | None, device: str, **found: Any) -> None:
    """The file is whole or as it was."""
    if path is None:
        return
    content = {"dlcore": dlcore.__version__, "device": device, "instructions": _C.isa(), **found}
    write(path, json.dumps(content, indent=1) + "\n")


# ---- checks -------------------------------------------------------------------------------------------------------


def _verify(
    console: Console, ops: Sequence[Op], device: str, dtypes: Sequence[str], everything: bool, jobs: int,
    files: Sequence[str], path: Path | None,
) -> int:  # fmt: skip
    start = time.monotonic()
    with Stages(console) as progress:
        task = progress.add_task("", total=None)
        reports = verify(
            ops, device, dtypes=dtypes, jobs=jobs, files=files, everything=everything,
            done=lambda row, n, total: progress.update(task, description=row, completed=n, total=total),
        )  # fmt: skip
    console.print(fitted(_table(reports), console, (*reversed(_CHECKS), "samples")))
    failures = [(r.row, text) for r in reports for text in r.failures]
    for row, text in failures:
        console.print(f"[red]{escape(row)}[/]: {escape(text)}", soft_wrap=True)
    wrong = len({row for row, _ in failures})
    color = "red" if wrong else "green"
    console.print(
        f"{len(reports)} operations on {device} ({_C.isa()}): [{color}]{wrong} wrong[/], "
        f"{sum(c.done for r in reports for c in r.checks.values()):,} checks in {time.monotonic() - start:.0f} s"
    )
    _write(path, device, seconds=time.monotonic() - start, rows=[r.to_json() for r in reports])
    return 1 if wrong else 0


_CHECKS = ("gradient", "errors", "replay", "repeatable", "composite", "twin", "interpreter")


def _table(reports: Sequence[RowReport]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("operation", no_wrap=True)
    table.add_column("dtypes", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("worst error", no_wrap=True)
    for name in _CHECKS:
        table.add_column(name, justify="right", no_wrap=True)
    for name, group in groupby(sorted(reports, key=lambda r: r.family), key=lambda r: r.family):
        table.add_row(f"[bold]{escape(name)}[/]")
        for r in group:
            cells = (_cell(r.checks.get(n)) for n in _CHECKS)
            table.add_row(f"  {escape(r.row)}", _claimed(r.dtypes), str(r.samples), _error(r), *cells)
    return table


def _claimed(names: Sequence[str]) -> str:
    """ "all", "floats", or their names."""
    if len(names) == len(DTYPES):
        return "all"
    return "floats" if list(names) == [d.name for d in FLOATS] else " ".join(names)


def _error(report: RowReport) -> str:
    """ "0.7 of 2 ulp"; "exact" where nothing was off by more than its rounding."""
    check = report.checks.get("forward") or Check()
    if check.failures:
        return f"[red]{_number(check.worst)} of {report.ulp:g} ulp[/]"
    if not check.done:
        return f"[dim]{escape(check.note) or 'not run'}[/]"
    return f"[green]{'exact' if check.worst == 0 else f'{_number(check.worst)} of {report.ulp:g} ulp'}[/]"


def _number(x: float) -> str:
    return "wrong" if math.isinf(x) else f"{x:.2g}"


def _cell(check: Check | None) -> str:
    """How many ran, or how many failed."""
    if check is None or (not check.done and not check.failures):
        return "[dim]·[/]"
    return f"[red]{len(check.failures)} wrong[/]" if check.failures else f"[green]{check.done}[/]"


# ---- random calls -------------------------------------------------------------------------------------------------


def _fuzz(
    console: Console, ops: Sequence[Op], count: int, seed: int, device: str, dtypes: Sequence[str], jobs: int,
    files: Sequence[str], path: Path | None,
) -> int:  # fmt: skip
    start = time.monotonic()
    with Stages(console) as progress:
        task = progress.add_task("", total=count)
        found = fuzz(
            ops, count, seed, device, dtypes=dtypes, jobs=jobs, files=files,
            done=lambda row, n, total: progress.update(task, description=row, completed=n, total=total),
        )  # fmt: skip
    for f in found:
        if f.calls >= 10 and f.plain > 0.9 * f.calls:
            told = f"{f.plain} of {f.calls} calls were only its samples: it refused the others"
            console.print(f"[yellow]{escape(f.row)}[/]: {told}")
    wrong = [f for f in found if f.text]
    for f in wrong:
        _show_difference(console, f, seed)
    _write(path, device, seed=seed, seconds=time.monotonic() - start, fuzz=[f.to_json() for f in found])
    color = "red" if wrong else "green"
    console.print(
        f"{sum(f.calls for f in found):,} random calls of {len(found)} operations on {device}, seed {seed}, "
        f"{sum(f.refused for f in found):,} others refused: [{color}]{len(wrong)} wrong[/], "
        f"{time.monotonic() - start:.0f} s"
    )
    return 1 if wrong else 0


def _show_difference(console: Console, found: Fuzzed, seed: int) -> None:
    console.print(
        f"[red]{escape(found.row)}[/] (seed {seed}, call {found.number}): {escape(found.text)}", soft_wrap=True
    )
    if found.snippet:
        console.print("[dim]# shows it:[/]")
        console.out(found.snippet, highlight=False)
