"""Writes the tables of README.md and docs/benchmarks.md, between their `<!-- bench: ... -->` marks, from bench/results.

`python -m bench.report [MACHINE]`: a folder of bench/results, by default this machine's. No number is typed by hand.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from bench.machine import RESULTS, folder

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
MARKS = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---", *["---:"] * (len(header) - 1)], *rows)]
    return "\n".join(lines) + "\n"


def in_unit(row: dict, seconds: float) -> str:
    """A time in the unit that the row is reported in."""
    if row["unit"] in ("GB/s", "GFLOP/s"):
        return f"{row['work'] / seconds / 1e9:.1f}"
    return f"{seconds * {'us': 1e6, 'ns': 1e9}[row['unit']]:.0f}"


def _medians(row: dict, engines) -> list[str]:
    return [in_unit(row, row["engines"][e]["median"]) for e in engines]


def headline(load) -> str:
    """The claim, with its figures."""
    row, dlcore = load("steps")["rows"][0], load("weight")["rows"]["dlcore"]
    return (
        f"A training step of a small network (64-128-64-10, batch 64, Adam) takes {_medians(row, ['dlcore'])[0]} µs on "
        f"one core, {row['ratio']:.1f} times faster than PyTorch's eager mode, with no compiler to wait for; what is "
        f"installed is {dlcore['megabytes']:.0f} MB beside NumPy and imports in {dlcore['import'] * 1e3:.0f} ms.\n"
    )


def machine(load) -> str:
    """Where and with what the numbers were taken."""
    m, versions = load("steps")["machine"], load("steps")["versions"]
    peers = f"torch {versions['torch']}, JAX {versions['jax.jit']}, NumPy {versions['NumPy by hand']}"
    where = f"{m['processor']} (family {m['family']}, {m['cores']} cores, {m['vectors']})"
    return f"Medians on {where}, Python {m['python']}, {peers}; commit {m['commit']}, {m['date']}.\n"


def steps(load) -> str:
    """One training step, in microseconds."""
    found = load("steps")["rows"]
    engines = list(found[0]["engines"])
    rows = [[r["case"], str(r["threads"]), *_medians(r, engines), f"{r['ratio']:.2f}x"] for r in found]
    return _table(["model (µs a step)", "threads", *engines, "dlcore over torch"], rows)


def operations(load) -> str:
    """Operations beside torch's."""
    rows = []
    for r in load("operations")["rows"]:
        numbers = [*_medians(r, ("torch", "dlcore")), f"{r['ratio']:.2f}x", f"{r['goal']:g}x"]
        rows.append([r["case"], str(r["threads"]), r["unit"], *numbers])
    return _table(["operation", "threads", "unit", "torch", "dlcore", "ratio", "goal"], rows)


def gemm(load) -> str:
    """Matrix products: GFLOP/s of each engine."""
    engines, found = ("torch", "numpy", "dlcore"), load("gemm")["rows"]
    rows = [[r["case"], str(r["threads"]), *_medians(r, engines), f"{r['ratio']:.2f}x"] for r in found]
    for threads in sorted({r["threads"] for r in found}):
        mean = statistics.geometric_mean(r["ratio"] for r in found if r["threads"] == threads)
        rows.append(["geometric mean", str(threads), "", "", "", f"{mean:.2f}x"])
    return _table(["M x N x K, layout (GFLOP/s)", "threads", *engines, "dlcore over the better"], rows)


def weight(load) -> str:
    """Megabytes installed and import times."""
    found = load("weight")["rows"].items()
    rows = [[name, f"{r['megabytes']:.1f}", f"{r['import']:.3f}"] for name, r in found]
    return _table(["beside NumPy", "installed, with dependencies: MB", "import: s"], rows)


SECTIONS = {f.__name__: f for f in (headline, machine, steps, operations, gemm, weight)}


def render(text: str, results: Path) -> str:
    """`text` with every marked section made anew from one machine's results."""

    def load(suite: str) -> dict:
        return json.loads((results / f"{suite}.json").read_text())

    return MARKS.sub(lambda mark: mark[1] + SECTIONS[mark[2]](load) + mark[3], text)


def main() -> None:
    """Rewrites README.md and docs/benchmarks.md."""
    results = RESULTS / sys.argv[1] if len(sys.argv) > 1 else folder()
    if not results.is_dir():
        known = ", ".join(sorted(p.name for p in RESULTS.iterdir() if p.is_dir()))
        raise SystemExit(f"bench.report: no results in {results.name}; run `make bench`, or name one of: {known}")
    for page in PAGES:
        page.write_text(render(page.read_text(), results))


if __name__ == "__main__":
    main()
