"""Results of a run into bench/results/<GPU>/gpu.jsonl, and the tuner's winners into dlcore's own configurations."""

import json
import re
from pathlib import Path

from bench import RESULTS
from bench.gpu.record import FILE, Result, read
from bench.gpu.stages import STAGES
from dlcore._files import write
from dlcore.kernels import tune

KEPT = "gpu.jsonl"


def merge(folder: Path, results: Path = RESULTS, configurations: Path | None = None) -> Path:
    """Adds what ``folder`` has; returns the file of the GPU. ``configurations``: a file in the place of dlcore's own.

    The newest result of each job stays, but a failure does not replace a success of the same sources. Raises ValueError
    where there is nothing to add, or nothing that a GPU has said.
    """
    found = list(read(folder / FILE))
    machines = [r for r in found if r["stage"] == "machine" and "error" not in r]
    if not machines:
        raise ValueError(f"{folder / FILE} does not say on which machine it was made")
    machine = machines[-1]
    if machine.get("dry_run"):
        raise ValueError(f"{folder / FILE} is of a dry run: no GPU was there")
    name = re.sub(r"[^a-z0-9]+", "-", str(machine["gpu"]).lower()).strip("-")
    path, newest = results / name / KEPT, {}
    for result in [*read(path), *({"commit": machine["commit"], **r} for r in found)]:
        key = result["stage"], result["name"]
        old = newest.get(key)
        if old is None or "error" not in result or "error" in old or old["sources"] != result["sources"]:
            newest[key] = result
    order = {stage.name: k for k, stage in enumerate(STAGES)}
    lines = sorted(newest.values(), key=lambda r: (order.get(r["stage"], len(order)), r["name"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, "".join(json.dumps(line) + "\n" for line in lines))
    for result in found:
        _keep(result, configurations)
    return path


def _keep(result: Result, configurations: Path | None) -> None:
    if result["stage"] == "tune" and result.get("values") is not None:
        tune.keep(result["arch"], result["kernel"], result["key"], result["values"], configurations)
