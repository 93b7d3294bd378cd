"""What a recorded step takes beside the sum of its launches, one and two threads, each in a process of its own.

`python -m bench.launches` writes bench/results/<machine>/launches.json. The launches are timed in their order, one
directly after the other, as the step runs them (`Recording.profile`); steps are called from Python. Both take turns,
and of each the median counts. What remains is the call and the check that the recording stands for it; and the clock,
which is read between launches and not in a step. Steps of a run on one thread in any case: `Recording.serial`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import RESULTS
from dlcore._files import write
from dlcore.bench.machine import describe, slug

ROOT = Path(__file__).resolve().parents[1]
STEPS = {"a": "a: MLP 64-128-64-10, batch 64, Adam", "b": "b: MLP 784-256-128-10, batch 128, Adam",
         "c": "c: 1x28x28, 8 and 16 channels 3x3, ReLU, pools, batch 64, Adam"}  # fmt: skip
GOAL = 1.05
"""A step may take so many times the sum of its launches."""
_TURN = 0.02  # seconds that steps, and then launches, are timed in one turn


def _step(model: str):
    """The recorded step of a model."""
    import dlcore
    from bench import cnn_steps, steps
    from dlcore import nn, optim

    if model == "c":
        return cnn_steps.dlcore_step(model)
    return steps.module_step(dlcore, nn, optim, dlcore.cross_entropy, capture=dlcore.capture)(model, "adam")


def turns(model: str, seconds: float) -> dict[str, float]:
    """Median seconds of a step and of the sum of its launches, and the median ratio of the two within a turn."""
    step = _step(model)
    for _ in range(20):
        step()
    recording = step._entries[0].recording

    def timed() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    def samples(sample) -> float:
        found, end = [], time.perf_counter() + _TURN
        while time.perf_counter() < end:
            found.append(sample())
        return statistics.median(found)

    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        found.append((samples(timed), samples(lambda: sum(recording.profile(1)))))
    whole, parts = (statistics.median(column) for column in zip(*found, strict=True))
    ratio = statistics.median(step / launches for step, launches in found)
    return {"step": whole, "launches": parts, "ratio": ratio, "count": len(recording.profile(1))}


def measure(seconds: float = 3.0) -> dict:
    """All models with one thread and, where there are so many processors, two."""
    rows = []
    for model, case in STEPS.items():
        for threads in range(1, min(len(os.sched_getaffinity(0)), 2) + 1):
            command = [sys.executable, "-P", "-m", "bench.launches", model, str(threads), str(seconds)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT,
                                  env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
            rows.append({"case": case, "threads": threads, **json.loads(done.stdout)})
            print(f"{case}, {threads} thread(s): {rows[-1]['ratio']:.3f} of its launches")
    return {"machine": describe(), "rows": rows}


def main() -> None:
    """Without arguments measures and writes; with a model, a number of threads and seconds, prints one row."""
    if len(sys.argv) > 1:
        model, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        print(json.dumps(turns(model, seconds)))
        return
    path = RESULTS / slug() / "launches.json"
    write(path, json.dumps(measure(), indent=1) + "\n")
    print(f"wrote {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
