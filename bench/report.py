"""Writes the tables and pictures of README.md and docs/benchmarks.md from bench/results: no number is typed by hand.

`python -m bench.report [MACHINE]`: a folder of bench/results, by default this machine's. Tables stand between
`<!-- bench: ... -->` marks. `python -m bench.report --merge FOLDER` first adds the results of `make gpu` or of a bundle
to those of their GPU and to dlcore's configurations, and makes the tables of GPUs only.
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import RESULTS, figures
from bench.goals import page
from bench.gpu.merge import KEPT, merge
from bench.gpu.record import Result, read
from bench.suites import JAX_CNN, NHWC, RECORDED, ROOFS, SUITES, TORCH, TORCH_CNN
from dlcore._files import write, write_figure
from dlcore.bench.machine import slug
from dlcore.bench.results import Results
from dlcore.bench.session import Measurement
from dlcore.cli.programs import with_kernels
from dlcore.roofline import picture
from dlcore.roofline.report import Report

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "layout.md")
MARKS = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
_SCALE = {"ms": 1e3, "us": 1e6, "ns": 1e9}

Load = Callable[[str], Results]


# ---- figures ------------------------------------------------------------------------------------------------------


def in_unit(m: Measurement, seconds: float, unit: str) -> str:
    """A time in a unit of time, or as a rate of the work."""
    if unit in _SCALE:
        return f"{seconds * _SCALE[unit]:.0f}"
    return f"{(m.bytes if unit == 'GB/s' else m.flops) / seconds / 1e9:.1f}"


def _median(m: Measurement, engine: str, unit: str) -> str:
    return in_unit(m, m.engines[engine].median, unit) if engine in m.engines else ""


# ---- sections -----------------------------------------------------------------------------------------------------


def headline(load: Load, results: Path) -> str:
    """The claim, with its figures."""
    m, dlcore = load("steps").rows[0], json.loads((results / "weight.json").read_text())["rows"]["dlcore"]
    return (
        f"A training step of a small network (64-128-64-10, batch 64, Adam) takes {_median(m, RECORDED, 'us')} µs on "
        f"one core, {figures.ratio(m, RECORDED, ['torch']):.2f} times faster than PyTorch's eager mode and "
        f"{figures.ratio(m, RECORDED, ['jax']):.2f} times faster than JAX's jit, with no compiler to wait for; what is "
        f"installed is {dlcore['megabytes']:.0f} MB beside NumPy and imports in {dlcore['import'] * 1e3:.0f} ms.\n"
    )


def machine(load: Load, results: Path) -> str:
    """Where and with what the numbers were taken."""
    m, versions = load("steps").machine, load("steps").versions
    peers = f"torch {versions['torch']}, JAX {versions['jax']}, NumPy {versions['numpy']}"
    where = f"{m['processor']} (family {m['family']}, {m['cores']} cores, {m['vectors']})"
    return f"Medians on {where}, Python {m['python']}, {peers}; commit {m['commit']}, {m['date']}.\n"


def _steps(load: Load, suite: str, unit: str, *, over: dict[str, Sequence[str]]) -> str:
    found = load(suite).rows
    engines = list(dict.fromkeys(e for m in found for e in m.engines))
    rows = []
    for m in found:
        ratios = [figures.times(figures.ratio(m, m.own, against)) for against in over.values()]
        rows.append([m.case, str(m.threads), *(_median(m, e, unit) for e in engines), *ratios])
    return figures.table([f"{unit.replace('us', 'µs')} each", "threads", *engines, *over], rows)


def steps(load: Load, results: Path) -> str:
    """One training step, in microseconds."""
    over = {"recorded over torch": ["torch"], "over the best torch": TORCH, "over JAX": ["jax"]}
    return _steps(load, "steps", "us", over=over)


def launches(load: Load, results: Path) -> str:
    """A recorded step beside the sum of its launches, each timed where it stands in the step."""
    rows = []
    for r in json.loads((results / "launches.json").read_text())["rows"]:
        times = (f"{r[key] * 1e6:.1f}" for key in ("step", "launches"))
        rows.append([r["case"], str(r["threads"]), str(r["count"]), *times, f"{r['ratio']:.3f}"])
    head = ["µs each", "threads", "launches", "the step", "the sum of its launches", "the step over the sum"]
    return figures.table(head, rows)


def epoch(load: Load, results: Path) -> str:
    """An epoch of training, in milliseconds."""
    return _steps(load, "epoch", "ms", over={})


def goals(load: Load, results: Path) -> str:
    """What was aimed at, and what falls short of it."""
    return page(results)


def operations(load: Load, results: Path) -> str:
    """Operations beside torch's, as written and with `out=`."""
    known, rows = {t.case.name: t for t in SUITES["operations"]}, []
    for m in load("operations").rows:
        unit, goal = known[m.case].unit, known[m.case].goals[0].factor
        times = [_median(m, e, unit) for e in ("torch", "torch out", "dlcore")]
        ratios = [figures.times(figures.ratio(m, "dlcore", [e])) for e in ("torch", "torch out")]
        rows.append([m.case, str(m.threads), unit, *times, ratios[0], f"{goal:g}x", ratios[1]])
    engines, over = ["torch", "torch, out=", "dlcore"], ["over torch", "goal", "over torch, out="]
    return figures.table(["operation", "threads", "unit", *engines, *over], rows)


def gemm(load: Load, results: Path) -> str:
    """Matrix products: GFLOP/s of each library's best way."""
    ways = {"torch": ("torch", "torch out"), "NumPy": ("numpy", "numpy out"), "JAX": ("jax",)}
    rows, ratios = [], []
    for m in load("gemm").rows:
        best = [figures.best(m, engines) for engines in ways.values()]
        cells = ["" if e is None else _median(m, e, "GFLOP/s") for e in best]
        ratios.append((m.threads, figures.ratio(m, "dlcore", [e for e in best if e])))
        shape, _, sums = m.shape.partition(" dlcore.")
        dtype, own = f"int8, sums {sums}" if sums else m.dtype, _median(m, "dlcore", "GFLOP/s")
        rows.append([shape, dtype, str(m.threads), *cells, own, figures.times(ratios[-1][1])])
    for threads in sorted({t for t, _ in ratios}):
        mean = statistics.geometric_mean(ratio for t, ratio in ratios if t == threads and ratio)
        rows.append(["geometric mean", "", str(threads), *[""] * (len(ways) + 1), figures.times(mean)])
    return figures.table(["operands (GFLOP/s)", "dtype", "threads", *ways, "dlcore", "over the best"], rows)


def weight(load: Load, results: Path) -> str:
    """Megabytes installed and import times."""
    found = json.loads((results / "weight.json").read_text())["rows"].items()
    rows = [[name, f"{r['megabytes']:.1f}", f"{r['import']:.3f}", f"{r['first_steps']:.3f}"] for name, r in found]
    return figures.table(
        ["beside NumPy", "installed, with dependencies: MB", "import: s", "then the first six steps of a: s"], rows
    )


def kernels(load: Load, results: Path) -> str:
    """How many GPU kernels compile without problems, from docs/kernels.md, and how many operations GPUs have right."""
    lines = (ROOT / "docs" / "kernels.md").read_text().splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (_, *arches), _, *rows = cells
    columns = [[c for c in column if c] for column in list(zip(*rows, strict=True))[1:]]
    counts = [f"{sum('problem' not in c for c in column)} of {len(column)}" for column in columns]
    right = {r["name"] for path in results.parent.glob(f"*/{KEPT}") for r in _well(path, "first")}
    users = [op.name for op in with_kernels()]
    run = sum(name in right for name in users)
    table = figures.table(["kernels", *arches], [["compiled without problems", *counts]])
    return f"{table}\n{run} of {len(users)} operations with kernels have been right on hardware.\n"


def _well(path: Path, stage: str) -> list[Result]:
    """A GPU's results of a stage that went well."""
    return [r for r in read(path) if r["stage"] == stage and not {"error", "skipped"} & r.keys()]


def gpu(load: Load, results: Path) -> str:
    """What was measured on GPUs: training steps and large shapes, beside torch."""
    parts = [_gpu(path) for path in sorted(results.parent.glob(f"*/{KEPT}"))]
    return "\n".join(parts) or "Nothing has been measured on a GPU yet.\n"


def _gpu(path: Path) -> str:
    (machine,), found = _well(path, "machine"), _well(path, "speed")
    versions = {"CUDA": f"{machine['driver'] // 1000}.{machine['driver'] % 1000 // 10}", **machine["versions"]}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    commits = ", ".join(sorted({str(r["commit"]) for r in found}))
    lines = [f"Medians on {machine['gpu']}, {text}; commit {commits}, {machine['date']}.\n"]
    timed = [r for r in found if "engines" in r]
    engines = list(dict.fromkeys(e for r in timed for e in r["engines"]))
    rows = [[r["name"], *(f"{r['engines'][e] * 1e6:.1f}" if e in r["engines"] else "" for e in engines)] for r in timed]
    lines += ["", figures.table(["µs each", *engines], rows)] if rows else []
    rows = []
    for r in found:
        if "seconds" in r:
            rates = [f"{r[work] / r['seconds'] / 1e12:.2f}" if r.get(work) else "" for work in ("bytes", "flops")]
            torch = r.get("torch")
            beside = ["", ""] if torch is None else [f"{torch * 1e6:.1f}", figures.times(torch / r["seconds"])]
            rows.append([r["name"], f"{r['seconds'] * 1e6:.1f}", *rates, *beside])
    header = ["large shapes", "µs", "TB/s", "TFLOP/s", "torch: µs", "over torch"]
    lines += ["", figures.table(header, rows)] if rows else []
    return "\n".join(lines)


# ---- images: each table is of the machines that have measured it ----------------------------------------------------


def _machines(results: Path, suite: str) -> list[Results]:
    """The results of a suite on every machine that has any."""
    return [Results.load(path) for path in sorted(results.parent.glob(f"*/{suite}.json"))]


def _taken(found: Results) -> str:
    """Where and with what results were taken."""
    m = found.machine
    versions = [pair for pair in sorted(found.versions.items()) if not pair[0].startswith("dlcore")]
    peers = ", ".join(f"{name} {version}" for name, version in versions)
    where = f"{m['processor']} (family {m['family']}, {m['cores']} cores, {m['vectors']})"
    return f"Medians on {where}, {peers}; commit {m['commit']}, {m['date']}.\n"


def _everywhere(results: Path, suite: str, made: Callable[[Sequence[Measurement]], str]) -> str:
    """A table for each machine that has results of a suite."""
    parts = [f"{_taken(found)}\n{made(found.rows)}" for found in _machines(results, suite)]
    return "\n".join(parts) or "Not measured yet.\n"


Lines = dict[tuple[str, str], list[str]]  # (case, threads) -> the cells of one machine


def _side_by_side(
    results: Path, suite: str, title: str, columns: Sequence[str], made: Callable[[Sequence[Measurement]], Lines]
) -> str:
    """One table of all machines that have results of a suite, with columns for each."""
    machines = _machines(results, suite)
    if not machines:
        return "Not measured yet.\n"
    lines = [made(found.rows) for found in machines]
    keys = dict.fromkeys(key for own in lines for key in own)
    rows = [[*key, *(cell for own in lines for cell in own.get(key, [""] * len(columns)))] for key in keys]
    header = [title, "threads", *(f"{found.machine['family']}: {name}" for found in machines for name in columns)]
    return "\n".join([*map(_taken, machines), figures.table(header, rows)])


def _means(ratios: Sequence[Sequence[float | None]]) -> list[str]:
    """The geometric mean of each column of ratios."""
    columns = ([r for r in column if r] for column in zip(*ratios, strict=True))
    return [figures.times(statistics.geometric_mean(column)) if column else "" for column in columns]


def cnn(load: Load, results: Path) -> str:
    """Training steps of convolutional networks, in microseconds, recorded and in the others' best ways."""

    def made(found: Sequence[Measurement]) -> Lines:
        lines: Lines = {}
        for m in found:
            cells = [_median(m, m.own, "us")]
            for against in (TORCH_CNN, JAX_CNN):
                best = figures.best(m, against)
                ratio = figures.times(figures.ratio(m, m.own, against))
                cells.append("" if best is None else f"{_median(m, best, 'us')} ({ratio})")
            lines[m.case, str(m.threads)] = cells
        return lines

    columns = ("recorded", "the best torch (ratio)", "the best JAX (ratio)")
    return _side_by_side(results, "cnn", "µs each", columns, made)


def gpt(load: Load, results: Path) -> str:
    """Training steps of GPTs in microseconds, and decoding in tokens a second."""

    def made(found: Sequence[Measurement]) -> str:
        steps, decoded = ([m for m in found if ("decoded" in m.case) == late] for late in (False, True))
        engines, rows = list(dict.fromkeys(e for m in steps for e in m.engines)), []
        for m in steps:
            ratios = [figures.times(figures.ratio(m, RECORDED, against)) for against in (TORCH, ("jax",))]
            rows.append([m.case, str(m.threads), *(_median(m, e, "us") for e in engines), *ratios])
        tables = [figures.table(["µs each", "threads", *engines, "recorded over the best torch", "over JAX"], rows)]
        if decoded:
            engines, rows = list(decoded[0].engines), []
            for m in decoded:
                medians = (_median(m, e, "ms") for e in engines)
                rows.append([m.case, str(m.threads), *medians, figures.times(figures.ratio(m, "dlcore", ["torch"]))])
            tables.append(figures.table(["ms each", "threads", *engines, "over torch"], rows))
        return "\n".join(tables)

    return _everywhere(results, "gpt", made)


def _layers(results: Path, suite: str, against: dict[str, Sequence[str]]) -> str:
    """A line for each layer: forward, and with both gradients."""
    modes = ("forward", "both")

    def made(found: Sequence[Measurement]) -> Lines:
        layers: dict[tuple[str, str], dict[str, Measurement]] = {}
        for m in found:
            name, _, mode = m.case.rpartition(" ")
            layers.setdefault((name, str(m.threads)), {})[mode] = m
        lines: Lines = {}
        ratios: dict[str, list[list[float | None]]] = {mode: [] for mode in modes}
        for key, timed in layers.items():
            lines[key] = []
            for mode in modes:
                m = timed[mode]
                ratios[mode].append([figures.ratio(m, "dlcore", engines) for engines in against.values()])
                lines[key].append(f"{_median(m, 'dlcore', 'us')} ({', '.join(map(figures.times, ratios[mode][-1]))})")
        lines["geometric mean", ""] = [f"({', '.join(_means(ratios[mode]))})" for mode in modes]
        return lines

    over = ", ".join(f"over {name}" for name in against)
    columns = [f"{mode} ({over})" for mode in ("forward", "with gradients")]
    return _side_by_side(results, suite, "layer (µs)", columns, made)


def conv(load: Load, results: Path) -> str:
    """Convolutions beside torch's and JAX's."""
    return _layers(results, "conv", {"torch": ["torch"], "JAX": ["jax"]})


def pools(load: Load, results: Path) -> str:
    """Pools and norms beside torch's."""
    return _layers(results, "pools", {"torch": ["torch"]})


def memory(load: Load, results: Path) -> str:
    """Kernels that memory bounds beside loops that move as many bytes."""
    caches = ("warm", "cold")

    def made(found: Sequence[Measurement]) -> Lines:
        lines: Lines = {}
        for m in found:
            cells = lines.setdefault((m.shape, str(m.threads)), [""] * 6)
            part = figures.ratio(m, "dlcore", ROOFS) or 0.0
            own = [_median(m, "dlcore", "us"), f"{part:.0%}", figures.times(figures.ratio(m, "dlcore", ["torch"]))]
            at = 3 * caches.index(m.cache)
            cells[at : at + 3] = own
        return lines

    columns = [f"{cache}: {what}" for cache in caches for what in ("µs", "of the roof", "over torch")]
    return _side_by_side(results, "memory", "operation", columns, made)


def layout(load: Load, results: Path) -> str:
    """How many times faster networks and layers are with the channels last."""

    def made(found: Sequence[Measurement]) -> str:
        rows = []
        for m in found:
            last = f"{m.own}{NHWC}"
            times = [_median(m, e, "us") for e in (m.own, last)]
            rows.append([m.case, str(m.threads), *times, figures.times(figures.ratio(m, last, [m.own]))])
        return figures.table(["µs each", "threads", "NCHW", "NHWC", "NHWC is faster"], rows)

    return "\n".join(_everywhere(results, suite, made) for suite in ("cnn", "conv"))


SECTIONS = {
    f.__name__: f
    for f in (
        headline, machine, steps, launches, epoch, goals, operations, gemm, weight, kernels, gpu, cnn, conv,
        pools, layout, gpt, memory,
    )
}  # fmt: skip
OF_GPUS = ("kernels", "gpu")
PICTURES = {"roofline": "roofline.png", "roofline-step": "roofline-step.png"}


def render(text: str, results: Path, only: Sequence[str] = tuple(SECTIONS)) -> str:
    """`text` with every marked section, or those named, made anew from one machine's results."""

    def load(suite: str) -> Results:
        return Results.load(results / f"{suite}.json")

    def made(mark: re.Match[str]) -> str:
        return mark[1] + SECTIONS[mark[2]](load, results) + mark[3] if mark[2] in only else mark[0]

    return MARKS.sub(made, text)


def main() -> None:
    """Rewrites README.md and docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("machine", nargs="?", default=slug(), help="a folder of bench/results (this machine's)")
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="results of a GPU to add")
    options = parser.parse_args()
    results = RESULTS / options.machine
    if options.merge is not None:
        print(f"results of a GPU: {merge(options.merge)}")
        for page in PAGES:
            write(page, render(page.read_text(), results, OF_GPUS))
        return
    if not results.is_dir():
        known = ", ".join(sorted(p.name for p in RESULTS.iterdir() if p.is_dir()))
        raise SystemExit(f"bench.report: no results in {results.name}; run `make bench`, or name one of: {known}")
    for page in PAGES:
        write(page, render(page.read_text(), results))
    for name, image in PICTURES.items():
        found = Report.load(results / f"{name}.json")
        write_figure(picture.draw(found.points, found.roofs, found.title), ROOT / "docs" / "images" / image)


if __name__ == "__main__":
    main()
