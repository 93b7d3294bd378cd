"""Results as tables for the terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape, render
from rich.table import Column, Table

from dlcore.bench.results import Results, changes, drift, ratios
from dlcore.bench.roofs import Roofs
from dlcore.bench.session import LIBRARIES, Measurement

__all__ = ["compared", "fitted", "headings", "line", "share", "table", "time"]


_UNITS = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))


def time(seconds: float) -> str:
    """Three digits in a unit that suits: "74.1 us"."""
    unit, factor = next((u, f) for u, f in _UNITS if seconds * f >= 1 or u == "ns")
    value = seconds * factor
    return f"{value:.{max(0, 2 - (value >= 10) - (value >= 100))}f} {unit}"


_FOLDED = 12  # characters that a column whose cells may be folded is left with


def fitted(table: Table, console: Console, optional: Sequence[str]) -> Table:
    """``table`` as wide as the console: as many as must be of its ``optional`` columns, by title, left out in turn.

    Cells are folded where a column allows it, and never cut: a figure without its unit would be wrong.
    """
    kept = list(table.columns)
    for title in (None, *optional):
        kept = [c for c in kept if c.header != title]
        if sum(_width(c) for c in kept) + 2 * len(kept) <= console.width:
            break
    if len(kept) == len(table.columns):
        return table
    made = Table(*(c.copy() for c in kept), box=table.box, padding=table.padding)
    for cells, row in zip(zip(*(c.cells for c in kept), strict=True), table.rows, strict=True):
        made.add_row(*cells, end_section=row.end_section)
    return made


def _width(column: Column) -> int:
    widest = max(cell_len(render(str(cell)).plain) for cell in (column.header, *column.cells))
    return widest if column.no_wrap else min(widest, _FOLDED)


def share(m: Measurement, roofs: Roofs) -> float | None:
    """The least time the machine needs for the work, as a fraction of the time taken; None where there is no work."""
    if not m.flops and not m.bytes:
        return None
    touched = roofs.working_set(m.bytes, m.touched, m.cache == "cold")
    return roofs.least(m.flops, m.bytes, touched, m.dtype) / m.seconds


def _ratio(ratio: float | None, noise: float) -> str:
    """How many times faster than a library: red where it is slower, by more than the noise."""
    if ratio is None:
        return ""
    colour = "red" if ratio < 1 / (1 + noise) else "green" if ratio > 1 + noise else "yellow"
    return f"[{colour}]{ratio:.2f}x[/]"


_LEFT = {"operation": 24, "operands": 32, "dtype": 8, "mode": 7, "cache": 5}  # characters, where lines come one by one
_RIGHT = 9


def headings(libraries: Sequence[str], on_gpu: bool) -> list[str]:
    """The titles of a line's cells."""
    own = [*_LEFT, "dlcore", *(["host"] if on_gpu else []), "noise", "GB/s", "GFLOP/s", "% of roof"]
    return [*own, *(title for name in libraries for title in (name, ""))]


def _row(m: Measurement, roofs: Roofs | None, libraries: Sequence[str], on_gpu: bool) -> list[str]:
    """The cells of a line, with markup."""
    return [*_cells(m, roofs, on_gpu), *(cell for name in libraries for cell in _against(m, name))]


def table(rows: Sequence[Measurement], roofs: Roofs | None) -> Table:
    """One line a case: times, rates, the share of the roof, and how many times faster than each library."""
    libraries = [name for name in LIBRARIES if any(m.best(name) for m in rows)]
    on_gpu = any(m.device != "cpu" for m in rows)
    found = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    for title in headings(libraries, on_gpu):
        found.add_column(title, justify="left" if title in _LEFT else "right", no_wrap=title != "operands")
    last = ""
    for m in rows:
        if m.family != last and last:
            found.add_section()
        last = m.family
        found.add_row(*_row(m, roofs, libraries, on_gpu))
    return found


def line(m: Measurement | None, roofs: Roofs | None, libraries: Sequence[str], on_gpu: bool) -> str:
    """The line of a case as plain text, for rows that are shown as they come; of None, the titles."""
    titles = headings(libraries, on_gpu)
    cells = titles if m is None else [render(cell).plain for cell in _row(m, roofs, libraries, on_gpu)]
    placed = (
        cell.ljust(_LEFT[title]) if title in _LEFT else cell.rjust(_RIGHT)
        for title, cell in zip(titles, cells, strict=True)
    )
    return "  ".join(placed).rstrip()


def _cells(m: Measurement, roofs: Roofs | None, on_gpu: bool) -> list[str]:
    rates = [f"{work / m.seconds / 1e9:.1f}" if work else "" for work in (m.bytes, m.flops)]
    part = share(m, roofs) if roofs else None
    host = [time(m.engines["dlcore"].host)] if on_gpu else []
    name = m.row if m.mode != "program" else m.case
    return [
        escape(name), escape(m.shape), m.dtype, m.mode, m.cache, f"[bold]{time(m.seconds)}[/]", *host,
        f"{m.noise:.0%}", *rates, "" if part is None else f"{part:.0%}",
    ]  # fmt: skip


def _against(m: Measurement, library: str) -> tuple[str, str]:
    best = m.best(library)
    problem = next((p for e, p in m.problems.items() if e.partition(" ")[0] == library), "")
    if best is None:
        return "[red]differs[/]" if problem.startswith("differs") else "[red]failed[/]" if problem else "", ""
    return time(m.engines[best].median), _ratio(m.ratio(library), m.noise)


def summary(results: Results, console: Console) -> None:
    """In a few lines: versions, means, and how often a library is faster."""
    rows = results.rows
    for name in LIBRARIES:
        if found := ratios(rows, name):
            slower = sum((m.ratio(name) or math.inf) < 1 / (1 + m.noise) for m in rows)
            console.print(
                f"dlcore is {statistics.geometric_mean(found):.2f} times as fast as {name} {results.versions[name]} "
                f"in the geometric mean of {len(found)} cases, and slower in {slower}"
            )
    if rows:
        noise = statistics.median(m.noise for m in rows)
        console.print(f"noise (dlcore held against itself): {noise:.1%} in the median")
    for text in dict.fromkeys(f"{m.case}: {engine}: {p}" for m in rows for engine, p in m.problems.items()):
        console.print(f"[red]{escape(text)}[/]", soft_wrap=True)


def compared(a: Results, b: Results, console: Console) -> int:
    """Prints what changed from one run to another, beyond noise; returns how many cases became slower."""
    found = changes(a, b)
    if not found:
        raise ValueError("bench: the two runs have no case in common")
    machine, count = drift(a, b)
    for key in sorted({*a.machine, *b.machine}):
        if a.machine.get(key) != b.machine.get(key):
            console.print(f"{key}: {a.machine.get(key, 'none')} -> {b.machine.get(key, 'none')}", markup=False)
    note = f"by {count} timings of libraries of the same version" if count else "unknown: no library is in both runs"
    console.print(f"speed of the machine itself: {machine:.2f} times the first run's ({note})")
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("case", "before", "after", "times as fast", "noise", ""):
        shown.add_column(title, justify="left" if title in ("case", "") else "right", no_wrap=title != "case")
    colours = {"faster": "green", "slower": "red", "noise": "dim"}
    for c in found:
        if c.verdict != "noise":
            colour = colours[c.verdict]
            shown.add_row(escape(c.case), time(c.first), time(c.second), f"[{colour}]{c.ratio:.2f}[/]",
                          f"{c.noise:.0%}", f"[{colour}]{c.verdict}[/]")  # fmt: skip
    if shown.row_count:
        console.print(fitted(shown, console, ("noise", "before", "after")))
    counts = {verdict: sum(c.verdict == verdict for c in found) for verdict in colours}
    console.print(f"{counts['faster']} faster, {counts['slower']} slower, {counts['noise']} within the noise")
    return counts["slower"]
