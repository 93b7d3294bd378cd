"""The stages in order of worth, how long each may take, and their jobs.

A stage goes on until so many seconds after the start of a run of 560 seconds; a longer run stretches them, a shorter
one cuts off the last. What a stage leaves over is the next one's, and what is left at the end goes to the jobs that
were not reached, in the same order.
"""

import csv
import glob
import shutil
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bench.gpu import cases, kinds, speed, training
from bench.gpu.record import Result
from dlcore.cli.programs import with_kernels

NOMINAL = 560.0  # seconds
TESTS = "tests/test_cuda_models.py"
WORST = 3  # cases that the counters are read of
METRICS = (
    "gpu__time_duration.sum", "dram__bytes_read.sum", "dram__bytes_write.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed", "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active", "sm__inst_executed_pipe_tensor.sum",
)  # fmt: skip
_TOOLS = {  # where they lie beside PATH
    "compute-sanitizer": ("/usr/local/cuda/bin/*sanitizer", "/usr/local/cuda/compute-sanitizer/compute-sanitizer"),
    "ncu": ("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute/*/ncu"),
}


class Stage(NamedTuple):
    """``until``: seconds after the start; ``lanes``: processes at work; ``limit``: seconds of a job."""

    name: str
    until: float
    lanes: int
    limit: float
    environment: Mapping[str, str] = {}


_FEW_THREADS = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
STAGES = (
    Stage("machine", 8, 1, 30),
    Stage("load", 20, 1, 60, {"CUDA_MODULE_LOADING": "EAGER"}),  # lazily, a bad binary shows at its first launch only
    Stage("kind", 50, 2, 20),
    Stage("first", 85, 6, 30, _FEW_THREADS),
    Stage("steps", 125, 2, 60),
    Stage("apart", 130, 1, 20, {"DLCORE_OVERLAP": "0"}),
    Stage("sanitizer", 205, 8, 40, _FEW_THREADS),
    Stage("speed", 345, 1, 60),  # torch's compiler takes most of that
    Stage("tune", 485, 1, 40),
    Stage("rows", 545, 8, 60, _FEW_THREADS),
    Stage("counters", 560, 1, 20),
)


def jobs(stage: str, results: Iterable[Result]) -> list[str]:
    """The names of a stage's jobs, most valuable first; ``results``: those of `speed`, which choose for `counters`."""
    found: dict[str, Iterable[str]] = {
        "kind": kinds.KINDS, "steps": (*training.CHECKS, TESTS), "apart": training.APART, "sanitizer": _sanitizer(),
        "speed": speed.names(), "tune": cases.cases(), "counters": slowest(results),
    }  # fmt: skip
    if stage in ("first", "rows"):
        return [op.name for op in with_kernels()]
    return list(found.get(stage, ("all",)))


def _sanitizer() -> list[str]:
    found = [f"memcheck {kind}" for kind in kinds.KINDS]
    return [*found, *(f"racecheck {kind}" for kind in kinds.RACES), f"synccheck {kinds.SYNCHRONISES}"]


def slowest(results: Iterable[Result]) -> list[str]:
    """The cases that are slowest beside torch; without torch the first that were timed."""
    timed = [r for r in results if "seconds" in r]
    beside = [(r["torch"] / r["seconds"], r["name"]) for r in timed if "torch" in r]
    return [name for _, name in sorted(beside)[:WORST]] or [r["name"] for r in timed[:WORST]]


# ---- jobs that are commands ---------------------------------------------------------------------------------------


def command(stage: str, name: str, worker: list[str], start: list[str]) -> list[str] | str | None:
    """The command of a job that is one; why it cannot be run; None for a job of the worker's.

    ``worker``: the command of a worker; ``start``: what Python is started with for a module.
    """
    if stage == "sanitizer":
        tool, _, kind = name.partition(" ")
        options = ["--tool", tool, "--error-exitcode", "9", "--print-limit", "20"]
        if tool == "memcheck":  # calls that fail are their callers' business: some libraries try what may be absent
            options += ["--report-api-errors", "no"]
        return _with("compute-sanitizer", options, [*worker, "--exact", "--once", "kind", kind])
    if stage == "counters":
        options = ["--clock-control", "none", "--csv", "--metrics", ",".join(METRICS), "--launch-count", "8"]
        return _with("ncu", options, [*worker, "--once", stage, name])
    if name == TESTS:
        return [*start, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS]
    return None


def _with(tool: str, options: list[str], rest: list[str]) -> list[str] | str:
    places = [p for pattern in _TOOLS[tool] for p in sorted(glob.glob(pattern))]
    path = shutil.which(tool) or next(iter(places), None)
    if path is not None:
        return [path, *options, *rest]
    return rest if "--dry-run" in rest else f"{tool} is not installed"


def judged(stage: str, found: Mapping[str, Any], dry: bool) -> Result:
    """The result of a command: {} if it went well."""
    output = found["output"]
    if "error" in found:
        return {"error": f"{found['error']}: {output[-800:]}", "late": True}
    if found["code"] and not (dry and stage == "steps"):  # in a dry run values are not right
        return {"error": f"exit code {found['code']}: {output[-1200:]}"}
    if stage == "counters":
        return {"counters": counters(output)}
    return {"last": output.strip().rpartition("\n")[2][-200:]}


def counters(text: str) -> dict[str, dict[str, str]]:
    """Kernel -> metric -> value with its unit, from ncu's table."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(lines):
        kernel = found.setdefault(f"{row['ID']} {row['Kernel Name']}"[:80], {})
        kernel[row["Metric Name"]] = f"{row['Metric Value']} {row['Metric Unit']}".strip()
    return found
