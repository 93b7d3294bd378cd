"""All rows, spread over child processes: checks (`verify`) and random calls (`fuzz`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from dlcore._device import device as as_device
from dlcore.dtypes import as_dtype
from dlcore.op import Op
from dlcore.verify import checks
from dlcore.verify.draws import draw
from dlcore.verify.fuzzing import Fuzzed, bounds
from dlcore.verify.pool import Crash, Task, work
from dlcore.verify.report import Check, RowReport
from dlcore.verify.snippet import snippet

__all__ = ["fuzz", "verify"]

_INTERPRETER = (("DLCORE_CUDA", "interpreter"), ("TRITON_INTERPRET", "1"))
Done = Callable[[str, int, int], None]


def verify(
    ops: Sequence[Op],
    device: str = "cpu",
    *,
    dtypes: Sequence[str] = (),
    jobs: int | None = None,
    files: Sequence[str] = (),
    twins: bool = True,
    everything: bool = False,
    done: Done | None = None,
) -> list[RowReport]:
    """A report of each operation, in their order; whatever is wrong is in it, also a kernel that crashed.

    ``dtypes``: names, default all that an operation claims. ``files``: Python files that define some of them.
    ``twins``: on the CPU also its other instruction sets and, where Triton is installed, the GPU kernels in its
    interpreter. ``everything``: every sample in every dtype and layout on a GPU too, where each is a kernel to compile.
    ``done`` is called with the operation, how many tasks are done and how many there are.
    """
    tasks = [Task("row", (op.name, device, tuple(dtypes), everything)) for op in ops]
    if device == "cpu" and twins:
        tasks += [
            Task("isa", (op.name, tuple(dtypes)), (("DLCORE_ISA", isa),))
            for isa in checks.instruction_sets() for op in ops if _named(op, "cpu")
        ]  # fmt: skip
        if checks.can_interpret():
            interpreted = [op for op in ops if _named(op, "cuda")]
            tasks += [Task("interpreted", (op.name, tuple(dtypes)), _INTERPRETER) for op in interpreted]
    found: dict[str, list[tuple[Task, RowReport]]] = {op.name: [] for op in ops}
    for count, (task, result) in enumerate(work(tasks, _jobs(jobs), files), 1):
        name = task.arguments[0]
        if isinstance(result, Crash):
            op = next(o for o in ops if o.name == name)
            result = _crashed(op, task, result)
        found[name].append((task, result))
        if done:
            done(name, count, len(tasks))
    return [_merged(parts, tasks) for parts in found.values()]


def _named(op: Op, device: str) -> bool:
    """Whether it has kernels of ours for the device, and not functions in Python."""
    return any(isinstance(kernel, str) for kernel, _ in op.kernel_choices(device))


def _jobs(jobs: int | None) -> int:
    return jobs or len(os.sched_getaffinity(0))


def _crashed(op: Op, task: Task, crash: Crash) -> RowReport:
    kind = {"row": "forward", "isa": "twin", "interpreted": "interpreter"}[task.function]
    report = RowReport(op.name, checks.family_of(op), op.ulp)
    settings = " ".join(f"{k}={v}" for k, v in task.environment)
    report.checks[kind] = Check(0, float("inf"), [f"{op.name}: the process {crash}{settings and f' ({settings})'}"])
    return report


def _merged(parts: Sequence[tuple[Task, RowReport]], tasks: Sequence[Task]) -> RowReport:
    order = sorted(parts, key=lambda p: tasks.index(p[0]))
    whole = order[0][1]
    for _, more in order[1:]:
        whole.merge(more)
    return whole


# ---- fuzzing ------------------------------------------------------------------------------------------------------


def fuzz(
    ops: Sequence[Op],
    count: int,
    seed: int = 0,
    device: str = "cpu",
    *,
    dtypes: Sequence[str] = (),
    jobs: int | None = None,
    files: Sequence[str] = (),
    done: Done | None = None,
) -> list[Fuzzed]:
    """``count`` random calls spread evenly over the operations, each until a call differs from its reference.

    The same ``seed`` gives the same calls. ``done`` is called with the operation, how many calls are done and how many
    there are to be. A call that crashes its process is found too, and told as it was drawn.
    """
    as_device(device)
    each, more = divmod(count, max(1, len(ops)))
    shares = {op.name: each + (k < more) for k, op in enumerate(ops)}
    rows = {op.name: op for op in ops}
    rest = tuple(dtypes), tuple(files)
    tasks = [Task("fuzz", (name, device, seed, share, *rest)) for name, share in shares.items() if share]
    at = dict.fromkeys(shares, 0)

    def told(task: Task, message: Any) -> None:
        at[task.arguments[0]] = message[0]
        if done:
            done(task.arguments[0], sum(at.values()), count)

    results: dict[str, Fuzzed] = {}
    for task, result in work(tasks, _jobs(jobs), files, told):
        name = task.arguments[0]
        results[name] = _crash_found(rows[name], seed, result, device, dtypes, files) if isinstance(
            result, Crash) else result  # fmt: skip
        at[name] = shares[name]
        if done:
            done(name, sum(at.values()), count)
    return [results[name] for name in shares if name in results]


def _crash_found(
    op: Op, seed: int, crash: Crash, device: str, dtypes: Sequence[str], files: Sequence[str]
) -> Fuzzed:
    """A call that crashed is drawn once more, not made: it is told as it was, not shrunk."""
    result = Fuzzed(op.name, text=f"{op.name}: the process {crash}")
    if crash.told is not None:
        result.number, tame = crash.told
        given = draw(op, seed, result.number, tame, [as_dtype(d) for d in dtypes])
        result.calls = result.number + 1
        result.snippet = snippet(given, device, files, bounds(given))
    return result
