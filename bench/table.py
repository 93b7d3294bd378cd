"""Times every operation at a million elements and at 8, beside torch, NumPy and JAX, and writes docs/speed.md of it.

    python -m bench.table --peers PYTHON           # a Python with torch and jax; what is timed already is kept
    python -m bench.table --peers PYTHON --only sort stack --fresh
    python -m bench.table --page                   # the page alone, from the results

All rows of the table that another library can do are timed at the workload nearest to a million elements and, where
they have one, at the ragged matrix; elementwise ones in float64 too; functions made of operations as bench/composed.py
writes them. At 8 elements a row is timed at the workload that is so small, else at its large one with short axes, else
at a sample. Results go to bench/results/<machine>/table.json and .csv, every few seconds: an interrupted run goes on
where it was, unless the commit is another.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS, table_page
from bench.composed import COMPOSED, OPERANDS, SIZES, Composed
from dlcore.bench.cases import Case, Snippet
from dlcore.bench.machine import describe, slug
from dlcore.bench.results import Results
from dlcore.bench.roofs import measure
from dlcore.bench.session import Session, installed
from dlcore.dtypes import float32, float64
from dlcore.op import REGISTRY, Input, Op, Sample, Workload, flat, lengths_of
from dlcore.ops import operations

NAMES = "xymwcrpqijbksn"  # of the operands
SMALL, LARGE = 64, (1 << 18, 1 << 23)  # elements of all operands and results: at most; from, up to
NEAR = 1 << 20
SAVED_EVERY = 20.0  # seconds
FAMILIES = {"affine": "products", "contraction": "products", "counting": "count", "gather": "movement",
            "rearranging": "movement", "sets": "order", "slicing": "views", "movement": "views", "strided": "views",
            "writing": "movement"}  # fmt: skip
Timed = Case | Snippet


# ---- choosing -----------------------------------------------------------------------------------------------------


def _sizes(case: Case) -> list[int]:
    specs = [s for s in case.specs if s is not None]
    return [math.prod(s.shape) for s in (*specs, *([] if case.op.dynamic else case.results))] or [0]


def _elements(case: Case) -> int:
    return max(_sizes(case))


def _cases(op: Op, dtype: Any) -> list[Case]:
    timed = [w for w in op.timed() if "cpu" in w.devices]
    return [Case(op, w, d) for w in timed for d in [(w.dtypes or (dtype,))[0]]]


def large(op: Op) -> list[Case]:
    """The workload nearest to a million elements, and the ragged matrix; in float64 too where each element is alone."""
    found = [c for c in _cases(op, float32) if LARGE[0] <= _elements(c) <= LARGE[1]]
    if not found:
        return sorted(_cases(op, float32), key=_elements)[-1:]
    near = min(found, key=lambda c: (c.workload.why != "1M", abs(math.log(_elements(c) / NEAR))))
    chosen = [near, *[c for c in found if c is not near and c.workload.why.startswith("ragged")][:1]]
    if op.elementwise and float64 in op.dtypes and not near.workload.dtypes:
        chosen.append(Case(op, near.workload, float64))
    return chosen


def _short(op: Op, workload: Workload) -> Workload | None:
    """The workload with its long axes made short, the same length everywhere it stands; None where that cannot be."""
    shapes = [x.shape if isinstance(x, Input) else x for x in flat(workload.operands) if isinstance(x, (Input, tuple))]
    first = max(shapes, key=math.prod, default=())
    lengths = {1: [8], 2: [2, 4]}.get(len(first), [2])
    long = list(dict.fromkeys(n for n in first if n > 8))
    made = {n: lengths[min(k, len(lengths) - 1)] for k, n in enumerate(long)}
    if len(long) == 1 and len(first) == 2:
        made[long[0]] = 3 if first[0] == first[1] else 4

    def new(x: Any) -> Any:
        if isinstance(x, Input):
            return x._replace(shape=new(x.shape), high=x.high and made.get(x.high, min(x.high, 4)))
        if isinstance(x, (tuple, list)):
            return type(x)(map(new, x))
        return made.get(x, 4) if type(x) is int and x > 8 else x

    if any(isinstance(x, Input) and x.draw for x in flat(workload.operands)):
        return None
    return workload._replace(operands=new(workload.operands), attrs=new(workload.attrs))


def _of(sample: Sample, op: Op) -> Workload:
    arrays = [x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
              for x in sample.arrays(op.name, op.signature.operands)]  # fmt: skip
    nested = op.nested(arrays, lengths_of(sample.inputs, op.signature.operands))
    return Workload(tuple(nested), op.named_attributes(sample.attrs), sample.why)


def _runs(case: Case) -> bool:
    """Whether the shape rule takes it, and the operation."""
    try:
        operands = [np.asarray(x) if isinstance(x, np.ndarray) else x for x in case.arrays()]
        case.op.call(*case.op.nested(operands, case.lengths), *case.attrs)
        return min(_sizes(case)) > 0 and _elements(case) <= SMALL
    except Exception:  # of whatever kind: another workload is tried
        return False


def small(op: Op) -> list[Case]:
    """The operation at about 8 elements."""
    found = sorted((c for c in _cases(op, float32) if 0 < _elements(c) <= SMALL), key=_elements)
    if found:
        return found[:1]
    tried = [w for c in large(op) for w in [_short(op, c.workload)] if w is not None]
    samples = [s for s in op.sample_inputs() if 1 < s.size <= SMALL and "special" not in s.why]
    samples.sort(key=lambda s: abs(s.size - 8))
    for workload in (*tried, *(_of(s, op) for s in samples)):
        case = Case(op, workload, float32)
        if _runs(case):
            return [case]
    return []


def family(op: Op) -> str:
    """That of its kernels, or of the module where an operation without kernels of its own stands."""
    module = op.rule.__module__.rpartition(".")[2].lstrip("_")
    return op.family or next((f for f in sorted(op.kernel_families)), "") or FAMILIES.get(module, module)


def composed(function: Composed, size: str) -> Snippet:
    """A function made of operations at a size, in all libraries that have it."""
    setup = OPERANDS.format(size=SIZES[size])
    setups, statements = {}, {}
    for library, way in function.ways.items():
        setups[library], statements[library] = setup, way
        if library == "jax":
            used = compile(way, "way", "eval").co_names
            given = ", ".join(n for n in NAMES if n in used)
            setups[library] += f"jitted = jax.jit(lambda {given}: {way})\nwait = jax.block_until_ready\n"
            statements[library] = f"wait(jitted({given}))"
    return Snippet(
        f"{function.title}, {size}", setups, statements, engines=tuple(function.ways), mode="forward",
        family=function.family, shape=size,
    )  # fmt: skip


def everything(only: Sequence[str] = ()) -> Iterator[tuple[str, Timed]]:
    """(size, what is timed) of all that another library can do."""
    operations()
    for op in REGISTRY.values():
        if op.ways() and op.family != "optim" and (not only or op.name in only):
            yield from (("1M", case) for case in large(op))
            yield from (("8", case) for case in small(op))
    for function in COMPOSED:
        if not only or function.name in only:
            yield from ((size, composed(function, size)) for size in SIZES)


# ---- measuring ----------------------------------------------------------------------------------------------------


def _begun(path: Path, fresh: bool) -> Results:
    """What was measured of this commit."""
    empty = Results(describe(), {}, [])
    if fresh or not path.with_suffix(".json").exists():
        return empty
    found = Results.load(path)
    same = [found.machine.get(k) == empty.machine.get(k) for k in ("commit", "processor", "python", "numpy")]
    return found if all(same) else empty


def run(options: argparse.Namespace) -> int:
    """Times what is not timed yet; returns how many cases failed."""
    path = Path(options.out) if options.out else RESULTS / slug() / "table"
    results = _begun(path, options.fresh)
    done = {m.case for m in results.rows}
    todo = [(size, case) for size, case in everything(options.only) if case.name not in done]
    libraries = [n for n in installed(options.peers) if n != "cupy"]
    session = Session(libraries, options.threads or None, pythons=dict.fromkeys(libraries, options.peers))
    results.roofs = results.roofs or measure("cpu", session.threads, quick=True).to_json()
    failed, saved = 0, time.perf_counter()
    with session:
        for k, (size, case) in enumerate(todo):
            try:
                m = session.measure(case, rounds=options.rounds, seconds=options.seconds)
            except Exception as error:  # of this case; the others may work
                print(f"{case.name}: {error}", flush=True)
                failed += 1
                continue
            m.why = size
            if isinstance(case, Case):
                m.family = family(case.op)
            results.rows.append(m)
            print(f"[{k + 1}/{len(todo)}] {table_page.line(m)}", flush=True)
            if time.perf_counter() - saved > SAVED_EVERY or k + 1 == len(todo):
                results.versions.update(session.versions)
                results.save(path)
                saved = time.perf_counter()
    results.versions.update(session.versions)
    results.save(path)
    return failed


# ---- the command --------------------------------------------------------------------------------------------------


def main() -> int:
    """Times what was asked for, and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=sys.executable, help="a Python that has torch and jax")
    parser.add_argument("--only", nargs="*", default=(), help="operations by name; then no page is written")
    parser.add_argument("--fresh", action="store_true", help="time again what is there")
    parser.add_argument("--threads", type=int, default=0, help="processors for each engine; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each engine")
    parser.add_argument("--seconds", type=float, default=0.01, help="length of a turn")
    parser.add_argument("--out", type=Path, help="another file than bench/results/<machine>/table")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    options = parser.parse_args()
    failed = 0 if options.page else run(options)
    if not options.only and not options.out:
        table_page.write_page(RESULTS / slug() / "table.json")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
