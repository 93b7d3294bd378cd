"""Writes the tables of README.md and docs/benchmarks.md, between their `<!-- bench: ... -->` marks, from bench/results.

`python -m bench.report [MACHINE]`: a folder of bench/results, by default this machine's. No number is typed by hand.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from bench.cases import RECORDED, TORCH
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
    return f"{seconds * {'ms': 1e3, 'us': 1e6, 'ns': 1e9}[row['unit']]:.0f}"


def _medians(row: dict, engines) -> list[str]:
    return [in_unit(row, row["engines"][e]["median"]) for e in engines]


def _ratio(row: dict, engine: str, *against: str) -> str:
    engines = row["engines"]
    return f"{min(engines[e]['median'] for e in against) / engines[engine]['median']:.2f}x"


def headline(load) -> str:
    """The claim, with its figures."""
    row, dlcore = load("steps")["rows"][0], load("weight")["rows"]["dlcore"]
    return (
        f"A training step of a small network (64-128-64-10, batch 64, Adam) takes {_medians(row, [RECORDED])[0]} µs on "
        f"one core, {_ratio(row, RECORDED, 'torch')[:-1]} times faster than PyTorch's eager mode and "
        f"{_ratio(row, RECORDED, 'jax.jit')[:-1]} times faster than JAX's jit, with no compiler to wait for; what is "
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
    rows = []
    for r in found:
        ratios = [_ratio(r, RECORDED, *against) for against in (("torch",), TORCH, ("jax.jit",))]
        rows.append([r["case"], str(r["threads"]), *_medians(r, engines), *ratios])
    over = [f"recorded over {name}" for name in ("torch", "the best torch", "JAX")]
    return _table(["model (µs a step)", "threads", *engines, *over], rows)


def epoch(load) -> str:
    """An epoch of training, in milliseconds."""
    found = load("epoch")["rows"]
    engines = list(found[0]["engines"])
    rows = [[r["case"], str(r["threads"]), *_medians(r, engines)] for r in found]
    return _table(["ms", "threads", *engines], rows)


def goals(load) -> str:
    """What was aimed at for training steps, and what was reached."""
    rows = []
    for r in (*load("steps")["rows"], *load("epoch")["rows"]):
        for g in r["goals"]:
            reached = "yes" if g["ratio"] >= g["goal"] else "**no**"
            numbers = (f"{g['ratio']:.2f}x", f"{g['goal']:.2g}x", reached)
            rows.append([r["case"], str(r["threads"]), f"{g['engine']} over {g['against']}", *numbers])
    return _table(["case", "threads", "held against", "ratio", "goal", "reached"], rows)


def operations(load) -> str:
    """Operations beside torch's."""
    rows = []
    for r in load("operations")["rows"]:
        g = r["goals"][0]
        numbers = [*_medians(r, ("torch", "dlcore")), f"{g['ratio']:.2f}x", f"{g['goal']:g}x"]
        rows.append([r["case"], str(r["threads"]), r["unit"], *numbers])
    return _table(["operation", "threads", "unit", "torch", "dlcore", "ratio", "goal"], rows)


def gemm(load) -> str:
    """Matrix products: GFLOP/s of each engine."""
    engines, found = ("torch", "numpy", "dlcore"), load("gemm")["rows"]
    ratios = [(r["threads"], r["goals"][0]["ratio"]) for r in found]
    rows = [
        [r["case"], str(r["threads"]), *_medians(r, engines), f"{ratio:.2f}x"]
        for r, (_, ratio) in zip(found, ratios, strict=True)
    ]
    for threads in sorted({t for t, _ in ratios}):
        mean = statistics.geometric_mean(ratio for t, ratio in ratios if t == threads)
        rows.append(["geometric mean", str(threads), "", "", "", f"{mean:.2f}x"])
    return _table(["M x N x K, layout (GFLOP/s)", "threads", *engines, "dlcore over the better"], rows)


def weight(load) -> str:
    """Megabytes installed and import times."""
    found = load("weight")["rows"].items()
    rows = [[name, f"{r['megabytes']:.1f}", f"{r['import']:.3f}", f"{r['first_steps']:.3f}"] for name, r in found]
    return _table(
        ["beside NumPy", "installed, with dependencies: MB", "import: s", "then the first six steps of a: s"], rows
    )


def kernels(load) -> str:
    """GPU kernels by family, from docs/kernels.md."""
    lines = (ROOT / "docs" / "kernels.md").read_text().splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (_, *arches), _, *rows = cells
    families: dict[str, list[list[str]]] = {}
    for name, *found in rows:
        families.setdefault(re.split(r"[./]", name.strip("`"))[0], []).append(found)
    table = []
    for family, kernels_of in families.items():
        columns = [[c for c in column if c] for column in zip(*kernels_of, strict=True)]
        counts = [f"{sum('problem' not in c for c in column)} of {len(column)}" for column in columns]
        table.append([f"[{family}](kernels/{family})", *counts, "not yet"])
    return _table(["kernels compiled without problems", *arches, "run on hardware"], table)


SECTIONS = {f.__name__: f for f in (headline, machine, steps, epoch, goals, operations, gemm, weight, kernels)}


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
