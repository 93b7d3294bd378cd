"""``dlcore roofline``: the roofs of this machine, and how near to them each operation or launch of a model comes."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dlcore import _C
from dlcore._device import default_device, set_default_device
from dlcore._device import device as as_device
from dlcore._selection import selected
from dlcore.bench.cases import Case, cases
from dlcore.bench.machine import describe
from dlcore.bench.roofs import Roofs, measure
from dlcore.bench.session import Measurement, Session
from dlcore.bench.show import fitted, time
from dlcore.cli import at_least
from dlcore.cli.progress import Stages
from dlcore.dtypes import as_dtype
from dlcore.errors import CaptureError, DTypeError
from dlcore.roofline import model as models
from dlcore.roofline.points import STEP, Point, from_launches, from_measurements
from dlcore.roofline.report import Report, require_plot
from dlcore.roofline.roofs import plateaus, size

__all__ = ["run"]

MEDIUM = 8 << 20  # bytes of an operation's representative case: work enough to be worth two threads, not all of memory

BUSY = 0.1  # of the processors' time: taken by others, a note says that roofs and shares are not to be trusted


def run(
    model: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = None,
    op: tuple[str, ...] = (),
    family: tuple[str, ...] = (),
    dtype: tuple[str, ...] = ("float32",),
    device: str | None = None,
    threads: int | None = None,
    quick: bool = False,
    out: Path | None = None,
) -> int:
    """Measure what this machine can do at best, and what part of that each operation reaches.

    With a model, as my_model.py:build: build() returns a Module or a function, alone or in a tuple with its arguments,
    as (model, x) or (step, x, y), where step is a training step. It is recorded, and each launch is held against the
    roofs, and the whole step too.

    Args:
        model: FILE.py:FUNCTION; default: one case of each operation.
        op: operations, as "softmax matmul"; default: all.
        family: families of kernels, as "reduce loss".
        dtype: dtypes; operations on integers are always timed.
        device: "cpu" or "cuda"; default: the default device.
        threads: of the CPU; default: as many as operations use.
        quick: shorter repeats, fewer sizes of working set.
        out: also write roofline.png, .svg, .html and .json into this folder.
    """
    at_least(1, threads=threads)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    place = str(as_device(device) if device else default_device())
    threads = _C.thread_count() if threads is None else threads
    if threads < 1:
        raise ValueError(f"roofline: at least one thread, not {threads}")
    if out is not None:
        require_plot()
    if model is None:
        report, failures = _operations(_chosen(op, family, dtype, place), place, threads, quick, console)
    else:
        if op or family:
            raise ValueError("roofline: --op and --family choose operations; a model has its own")
        try:
            report, failures = _model(model, place, threads, quick, console), []
        except CaptureError as error:
            print(f"dlcore: {error}", file=sys.stderr)
            return 1
    _show(report, console)
    for text in failures:
        console.print(f"[red]failed[/] {escape(text)}", soft_wrap=True)
    if out is not None:
        written = report.save(out)
        console.print(f"wrote {', '.join(map(str, written))}", soft_wrap=True)
    return 1 if failures else 0


# ---- operations ---------------------------------------------------------------------------------------------------


def _chosen(ops: Sequence[str], families: Sequence[str], dtypes: Sequence[str], device: str) -> list[Case]:
    """A case for each operation and dtype: the forward whose operands and results are nearest to `MEDIUM`."""
    try:
        wanted = [as_dtype(name) for name in dtypes]
    except DTypeError as error:
        raise ValueError(f"roofline: {error}") from None
    found = []
    for op in selected(ops, families):
        per_dtype: dict[str, list[Case]] = {}
        for case in cases([op], wanted, ("forward",), device):
            per_dtype.setdefault(case.dtype.name, []).append(case)
        found += [min(group, key=_distance) for group in per_dtype.values()]
    if not found:
        raise ValueError(f"roofline: none of these operations has a case in {', '.join(dtypes)} on {device}")
    return found


def _distance(case: Case) -> float:
    return abs(math.log(max(case.bytes, 1) / MEDIUM))


def _operations(
    chosen: Sequence[Case], device: str, threads: int, quick: bool, console: Console
) -> tuple[Report, list[str]]:
    """The report, and what failed, in words."""
    measured: list[Measurement] = []
    failures = []
    rounds, seconds = (3, 0.01) if quick else (7, 0.02)
    with Stages(console) as progress, Session(threads=threads, device=device) as session:
        roofs = _roofs(device, threads, quick, progress)
        task = progress.add_task("", total=len(chosen))
        for case in chosen:
            progress.update(task, description=case.name[:50])
            try:
                measured.append(session.measure(case, rounds=rounds, seconds=seconds, again=False))
            except RuntimeError as error:
                failures.append(str(error))
            progress.advance(task)
    points = from_measurements(measured, roofs)
    machine = describe(device)
    return Report(f"Operations on {_place(machine, roofs)}", points, roofs, machine, _notes(roofs)), failures


def _roofs(device: str, threads: int, quick: bool, progress: Stages) -> Roofs:
    task = progress.add_task("roofs", total=1.0)

    def told(done: float, what: str) -> None:
        progress.update(task, completed=done, description=f"roofs: {what}"[:50])

    return measure(device, threads, quick, told)


def _place(machine: dict[str, Any], roofs: Roofs) -> str:
    if not roofs.threads:
        return str(machine.get("gpu", roofs.device))
    return f"{machine['processor']}, {roofs.threads} thread{'s' * (roofs.threads != 1)}"


def _notes(roofs: Roofs) -> list[str]:
    if not roofs.threads:
        return ["The roofs of GPUs have not been verified on hardware: hold them against the vendor's figures first."]
    if roofs.taken > BUSY:
        return [
            f"Other processes had {roofs.taken:.0%} of the processors' time while the roofs were measured: "
            "measure again when this machine is quiet."
        ]
    return []


# ---- a model ------------------------------------------------------------------------------------------------------


def _model(where: str, device: str, threads: int, quick: bool, console: Console) -> Report:
    """The launches of what the file's function builds, and the whole."""
    build = models.load(where)
    before = _C.thread_count()
    set_default_device(device)
    _C.set_thread_count(threads)
    try:
        with Stages(console) as progress:
            progress.add_task("recording", total=None)
            step = models.record(build, *((10, 0.2) if quick else (40, 1.0)))
            roofs = _roofs(device, threads, quick, progress)
    finally:
        _C.set_thread_count(before)
        set_default_device(None)
    points = from_launches(step.explanation, step.held, step.wall, step.name, roofs)
    machine = describe(device)
    inside = step.explanation.seconds
    notes = [f"A replay takes {time(step.wall)} by the wall; its launches, timed one by one, take {time(inside)}."]
    if step.serial and roofs.threads > 1:
        notes.append("It is replayed on one thread: to wake another takes longer than a step as small as this gains.")
    title = f"{step.name} of {Path(where.partition(':')[0]).name} on {_place(machine, roofs)}"
    return Report(title, points, roofs, machine, [*notes, *_notes(roofs)])


# ---- on the terminal ----------------------------------------------------------------------------------------------

_COLUMNS = ("family", "#", "operation", "operands", "time", "FLOPs/byte", "GB/s", "GFLOP/s", "bound by", "% of roof")


def _show(report: Report, console: Console) -> None:
    several = len({p.dtype for p in report.points if p.family != STEP}) > 1
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in _COLUMNS:
        right = title in ("#", "time", "FLOPs/byte", "GB/s", "GFLOP/s", "% of roof")
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "operands",
                         overflow="ellipsis", ratio=1 if title == "operands" else None)  # fmt: skip
    last = ""
    for p in report.points:
        if last and p.family != last and report.points[0].family != STEP:
            table.add_section()
        table.add_row(p.family if p.family != last else "", *_cells(p, several))
        last = p.family
    console.print(f"[bold]{escape(report.title)}[/]")
    console.print(fitted(table, console, ("GFLOP/s", "GB/s", "FLOPs/byte", "bound by", "family", "#")))
    _roofs_in_words(report.roofs, console)
    for note in report.notes:
        console.print(escape(note), soft_wrap=True)


def _cells(p: Point, several: bool) -> list[str]:
    share = "" if p.share is None else f"[bold]{p.share:.0%}[/]"
    return [
        str(p.number), escape(p.name), escape(f"{p.shape} {p.dtype}" if several else p.shape), time(p.seconds),
        f"{p.intensity:.2f}" if p.drawn else "", f"{p.bandwidth / 1e9:.1f}" if p.bytes else "",
        f"{p.rate / 1e9:.1f}" if p.flops else "", p.bound if p.least else "", share,
    ]  # fmt: skip


def _roofs_in_words(roofs: Roofs, console: Console) -> None:
    levels = plateaus(roofs)
    caches = [f"{rate / 1e9:.0f} GB/s up to {size(largest)}" for largest, rate in levels[:-1]]
    memory = f"{levels[-1][1] / 1e9:.0f} GB/s from memory"
    flops = [f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in roofs.fma.items()]
    console.print(f"roofs: {', '.join([*caches, memory])}; multiply-adds {', '.join(flops)}", soft_wrap=True)
    if roofs.gemm:
        products = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in roofs.gemm.items())
        console.print(f"matrix product of {escape(roofs.library)}: {products}", soft_wrap=True)
