"""The process that does jobs on the GPU: reads [stage, name] as JSON, a line each, and answers with an object a line.

`--once STAGE NAME` does one job, prints its result and exits with 1 if it failed. Whatever is still at work on the GPU
belongs to the job that asked for it: its errors are the job's.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import dlcore as dl
from bench.gpu import checks, kinds, speed, training, tuning
from bench.gpu.context import Context
from bench.gpu.record import ROOT
from dlcore.bench.machine import describe
from dlcore.kernels import compile as compiling

Work = Callable[[Context, str], dict[str, Any]]


def machine(context: Context, _: str) -> dict[str, Any]:
    """What this machine is."""
    found: dict[str, Any] = describe(context.gpu)
    commit = ROOT / "COMMIT"  # a bundle has no repository
    found["commit"] = found["commit"] or (commit.read_text().strip() if commit.exists() else "")
    names = ("cupy", "cupy-cuda13x", "cupy-cuda12x", "torch", "triton", "ml_dtypes")
    versions = {d.name: d.version for d in importlib.metadata.distributions(path=sys.path) if d.name in names}
    arch = context.gpu.backend.arch
    found |= {"arch": list(arch), "driver": context.driver.version(), "versions": versions}
    return found | ({"dry_run": True} if context.dry else {})


WORK: dict[str, Work] = {
    "machine": machine, "load": checks.load, "kind": kinds.kind, "first": checks.first, "steps": training.check,
    "apart": training.apart, "speed": speed.speed, "tune": tuning.tuned, "rows": checks.row, "counters": speed.once,
}  # fmt: skip


def answer(context: Context, stage: str, name: str) -> dict[str, Any]:
    """The result of one job, or its error."""
    start = time.perf_counter()
    try:
        found = WORK[stage](context, name)
        dl.synchronize()
    except AssertionError as error:
        if not context.dry:
            return {"error": f"wrong: {error}"}
        found = {"not judged": str(error)[:200]}  # no kernel has run
    except Exception as error:  # whatever it is, it is the job's
        return {"error": f"{type(error).__name__}: {error}"}
    return {**found, "took": round(time.perf_counter() - start, 3)}


# ---- kernels that are not compiled --------------------------------------------------------------------------------


def only_packed() -> None:
    """What no pack has and the cache has not is an error at once: no compiler is started."""
    compiling.can_compile = lambda wanted: False


def uncompiled() -> Any:
    """Every kernel that is asked for within the block is one without code."""
    sys.path.insert(0, str(ROOT / "tests"))
    from fake_driver import stub

    return compiling.written_down(stub)


# ---- the process --------------------------------------------------------------------------------------------------


def main() -> int:
    """Answers jobs until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only-packed", action="store_true")
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--once", nargs=2, metavar=("STAGE", "NAME"))
    options = parser.parse_args()
    if options.only_packed:
        only_packed()
    with uncompiled() if options.uncompiled else contextlib.nullcontext():
        return work(Context(options.dry_run, options.exact), options.once)


def work(context: Context, once: Sequence[str] | None) -> int:
    """Does one job, or those that stdin names."""
    if once:
        result = answer(context, *once)
        print(json.dumps(result))
        return 1 if "error" in result else 0
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    for line in sys.stdin:
        print(json.dumps(answer(context, *json.loads(line))), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
