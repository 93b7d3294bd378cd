"""docs/speed.md: every operation beside torch, NumPy and JAX, from bench/results/<machine>/table.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from bench import figures
from bench.figures import CAUSES, causes
from dlcore._files import write
from dlcore.bench.results import Results
from dlcore.bench.roofs import Roofs
from dlcore.bench.session import Measurement
from dlcore.bench.show import share, time

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
ENOUGH = 0.8  # of the best library's speed: below it the cause is told
SIZES = ("1M", "8")
LIBRARIES = ("torch", "numpy", "jax")

HEAD = """# Every operation beside torch, NumPy and JAX

<!-- Written by `python -m bench.table` from bench/results: not to be edited. -->

Each operation at about a million elements and at about 8, forward, from a warm cache, held against the fastest way of
the three libraries: with `out=` where there is one, in inference mode, under `jit`. Engines run in processes of their
own and take turns; results are compared first. A ratio above 1 says that dlcore is faster. To repeat it, in about
ten minutes (an interrupted run goes on where it was):

    python -m bench.table --peers /path/to/a/python/with/torch/and/jax
"""


def best(m: Measurement) -> str | None:
    """The fastest way of any other library."""
    return figures.best(m, [e for e in m.engines if not e.startswith("dlcore")])


def ratio(m: Measurement) -> float | None:
    """How many times faster than the best of the others dlcore is."""
    fastest = best(m)
    return None if fastest is None else m.engines[fastest].median / m.seconds


def line(m: Measurement) -> str:
    """One case, for the terminal."""
    found, fastest = ratio(m), best(m)
    against = "no other library" if found is None or fastest is None else f"{found:5.2f} x {fastest}"
    problems = "".join(f"  ({e}: {p})" for e, p in m.problems.items())
    return f"{time(m.seconds):>8} {against:<20} {m.why:>2} {m.case}{problems}"


def cause(m: Measurement, known: dict[str, str]) -> str:
    """What is known to hold a case back: of itself, of its operation, of its family at this size."""
    return figures.cause(m, known) or _given(m) or known.get(f"{m.family}, {m.why}", "")


def _given(m: Measurement) -> str:
    """Where the fastest writes into memory that it is given, and with a result of its own is no faster."""
    fastest = best(m) or ""
    plain = m.engines.get(fastest.removesuffix(" out"))
    if plain is None or not fastest.endswith(" out") or plain.median < ENOUGH * m.seconds:
        return ""
    return f"it is given the memory of the result; with a new one, as here, it takes {time(plain.median)}"


def _figures(rows: Sequence[Measurement]) -> list[str]:
    found = [r for r in map(ratio, rows) if r is not None]
    if not found:
        return ["", "", ""]
    mean = statistics.geometric_mean(found)
    return [str(len(found)), f"{mean:.2f}x", str(sum(r < ENOUGH for r in found))]


def _families(rows: Sequence[Measurement]) -> str:
    header = ["family", *(f"{size}: {what}" for size in SIZES for what in ("cases", "mean", f"below {ENOUGH}"))]
    table = []
    for family in [*sorted({m.family for m in rows}), ""]:
        own = [m for m in rows if family in ("", m.family)]
        table.append([family or "**all**", *(c for s in SIZES for c in _figures([m for m in own if m.why == s]))])
    return figures.table(header, table)


def _name(m: Measurement) -> str:
    plain = m.case.removesuffix(" forward").removesuffix(f", {m.why}")
    return f"`{plain}`".replace("|", "\\|")


def _below(rows: Sequence[Measurement], known: dict[str, str]) -> str:
    header = ["case", "elements", "dlcore", "the fastest", "", "ratio", "noise", "why"]
    table = []
    for m in sorted(rows, key=lambda m: ratio(m) or 0.0):
        found, fastest = ratio(m), best(m)
        if found is not None and fastest is not None and found < ENOUGH:
            times = [time(m.seconds), fastest, time(m.engines[fastest].median), f"{found:.2f}x", f"{m.noise:.0%}"]
            table.append([_name(m), m.why, *times, cause(m, known)])
    return figures.table(header, table) if table else "None.\n"


def _against(m: Measurement, library: str) -> str:
    found = m.ratio(library)
    return "" if found is None else f"{found:.2f}x"


def _elsewhere(m: Measurement, found: Sequence[dict[str, Measurement]]) -> list[str]:
    """Its time and its ratio to the fastest on other machines."""
    cells = []
    for own in found:
        there = own.get(m.case)
        factor = None if there is None else ratio(there)
        cells += ["" if there is None else time(there.seconds), "" if factor is None else f"{factor:.2f}x"]
    return cells


def _part(m: Measurement, roofs: Roofs | None) -> str:
    """The share of the roof, of what is large enough to have one."""
    part = share(m, roofs) if roofs and m.why == "1M" else None
    return "" if part is None else f"{part:.0%}"


def _everything(results: Results, others: Sequence[Results]) -> str:
    found = sorted(results.rows, key=lambda m: (m.family, m.row, SIZES.index(m.why)))
    there = [{m.case: m for m in other.rows} for other in others]
    roofs = Roofs.from_json(results.roofs) if results.roofs else None
    table = []
    for m in found:
        own = (time(m.seconds), _part(m, roofs), *(_against(m, library) for library in LIBRARIES))
        table.append([_name(m), m.why, *own, *_elsewhere(m, there)])
    more = [f"{o.machine['family']}: {what}" for o in others for what in ("dlcore", "over the fastest")]
    header = ["case", "elements", "dlcore", "of the roof", *(f"over {library}" for library in LIBRARIES), *more]
    return figures.table(header, table)


def _taken(results: Results) -> str:
    """Where and with what results were taken."""
    m = results.machine
    versions = ", ".join(f"{name} {results.versions[name]}" for name in LIBRARIES if name in results.versions)
    where = f"{m['processor']} (family {m['family']}, {m['cores']} cores, {m['vectors']})"
    return f"on {where}, Python {m['python']}, {versions}; commit {m['commit']}, {m['date']}."


def page(results: Results, known: dict[str, str], others: Sequence[Results] = ()) -> str:
    """The page's text; ``others``: results of other machines, which stand beside these."""
    rows = results.rows
    noise = statistics.median(x.noise for x in rows)
    parts = [
        HEAD,
        f"Medians {_taken(results)}",
        f"Two processes of dlcore differ by {noise:.1%} in the median.\n",
        "## By family\n\nGeometric means over the fastest of the three.\n", _families(rows),
        f"## Below {ENOUGH}\n", _below(rows, known),
        "## All\n", *(f"Beside them those {_taken(other)}\n" for other in others), _everything(results, others),
    ]  # fmt: skip
    return "\n".join(parts)


def write_page(table: Path) -> None:
    """Rewrites the page from the results of a machine, where there are any."""
    if table.exists():
        others = [path for path in sorted(table.parents[1].glob(f"*/{table.name}")) if path != table]
        write(PAGE, page(Results.load(table), causes(CAUSES.read_text()), [Results.load(path) for path in others]))
