"""What `bench.gpu` has done: one job at a time on the GPU, in a process that may crash.

Reads [stage, name] as JSON, a line each, and answers each with one JSON object; `--once STAGE NAME` does one job and
exits with 1 if it fails. With `--dry-run` the interpreter stands for the GPU and the clock makes up its times.
"""

import functools
import importlib.util
import itertools
import json
import os
import sys
from typing import Any

import numpy as np

import dlcore as dl
from bench import steps
from dlcore import _C, _dispatch, nn, optim, testing
from dlcore.bench.cases import Case
from dlcore.cli.programs import Asked, ask, described, large, programs, title, with_kernels
from dlcore.dtypes import DType, as_dtype, float32
from dlcore.kernels import compile as compiling
from dlcore.kernels import tune
from dlcore.kernels.binary import Binary
from dlcore.kernels.launch import prepared
from dlcore.kernels.specialise import specialise
from dlcore.op import REGISTRY, Input, Workload

DRY = "--dry-run" in sys.argv
REPEATS = 2 if DRY else 20


@functools.cache
def gpu() -> Any:
    """The device."""
    return dl.device("cuda")


@functools.cache
def clock(stream: int) -> Any:
    """Seconds of GPU time of a call on ``stream``; in a dry run of nothing in particular."""
    if DRY:
        ticks = itertools.count(1)
        return lambda function: (function(), 1e-3 + 1e-6 * (next(ticks) % 7))[1]
    return tune.Clock(stream)


def own_clock() -> Any:
    """The clock of dlcore's stream."""
    return clock(0 if DRY else gpu().backend.stream)


# ---- stages -------------------------------------------------------------------------------------------------------


def machine(_: str) -> dict[str, Any]:
    """Versions, and the speed of a copy: the roof of whatever is bound by memory."""
    versions = {m: getattr(__import__(m), "__version__", "?") for m in ("numpy", "cupy", "torch") if _there(m)}
    found = {"gpu": gpu().name, "arch": list(gpu().backend.arch), "versions": versions}
    if DRY:
        return found
    import cupy

    size = 1 << 30
    source, target = cupy.empty(size, cupy.uint8), cupy.empty(size, cupy.uint8)
    stream = cupy.cuda.ExternalStream(gpu().backend.stream)
    (timing,) = tune.timings([lambda: target.data.copy_from_device_async(source.data, size, stream)], own_clock())
    driver = cupy.cuda.runtime.driverGetVersion()
    return found | {"driver": driver, "copy_bytes_per_second": 2 * size / timing.median}


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def load(name: str) -> dict[str, Any]:
    """Every binary of an operation, compiled where it is not at hand, and loaded by the driver."""
    found = [a for a in programs(REGISTRY[name], [gpu().backend.arch]) if not isinstance(a.program, Exception)]
    _compiled(found)
    for asked in found:
        gpu().backend.bind(name, asked.call, asked.program)
    return {"programs": len(found)}


def _compiled(found: list[Asked]) -> list[bool]:
    """Whether each program's kernels could be compiled, without a problem; in as many processes as help."""
    if DRY:
        return [True] * len(found)
    wanted = [[specialise(launch, prepared(a.call, a.program))[0] for launch in a.program.launches] for a in found]
    distinct = {w.key: w for w in itertools.chain(*wanted)}
    made = compiling.compile_many(list(distinct.values()), len(os.sched_getaffinity(0)))
    good = {key for key, m in zip(distinct, made, strict=True) if isinstance(m, Binary) and not m.problems}
    return [all(w.key in good for w in launches) for launches in wanted]


def first(name: str) -> dict[str, Any]:
    """An operation's two smallest samples in float32, against NumPy, from poisoned memory, twice with the same bits."""
    op = REGISTRY[name]
    dtype = float32 if float32 in op.dtypes else op.dtypes[0]
    tried = sorted((s for s in testing.samples(op) if s.size), key=lambda s: s.size)[:2]
    for sample in tried:
        testing.check_forward(op, sample, dtype, device=gpu())
        testing.check_repeatable(op, sample, dtype, device=gpu())
    return {"samples": len(tried)}


def operation(name: str) -> dict[str, Any]:
    """All that an operation's definition says: every sample, dtype and memory layout, gradients, errors."""
    if DRY:
        return first(name)
    testing.check(REGISTRY[name], gpu())
    return {}


def speed(name: str) -> dict[str, Any]:
    """A large shape: the CPU's values, the same bits again and again, and its time beside torch's."""
    case, operands = _operands(name)
    op, dtype, attrs = case.op, case.dtype, case.attrs
    on_gpu = [None if x is None else dl.tensor(x, device=gpu()) for x in operands]
    call = functools.partial(op.call, *op.nested(on_gpu, case.lengths), *attrs)
    with dl.no_grad():
        got = [_bytes(call()) for _ in range(REPEATS)]
        assert len(set(got)) == 1, f"{len(set(got))} different results in {REPEATS} calls"
        on_cpu = [None if x is None else dl.tensor(x) for x in operands]
        error = _error(call(), op.call(*op.nested(on_cpu, case.lengths), *attrs))
        functions = [call]
        if (torch := _torch(case, operands)) is not None:
            functions.append(torch)
        clocks = dict(zip(functions, (own_clock(), clock(0)), strict=False))
        timings = tune.timings(functions, lambda function: clocks[function](function), 30)
    flops, moved = case.work
    found = {"error_in_eps": error / dtype.eps, "flops": flops, "bytes": moved, "seconds": timings[0].median}
    found["spread"] = [timings[0].p20, timings[0].p80]
    return found | ({"torch": timings[1].median} if len(timings) > 1 else {})


def steps_(name: str) -> dict[str, Any]:
    """A training step, by the wall: many steps without waiting, then one wait."""
    import time

    model, optimizer = name.split()
    found = {}
    dl.set_default_device(gpu())
    engines = {"seconds": (dl, nn, optim, dl.cross_entropy, lambda: dl.synchronize())}
    if not DRY and (torch := _torch_with_gpu()) is not None:
        torch.set_default_device("cuda")
        wait = torch.cuda.synchronize
        engines["torch"] = (torch, torch.nn, torch.optim, torch.nn.functional.cross_entropy, wait)
    for engine, (*modules, wait) in engines.items():
        step, count = steps.module_step(*modules)(model, optimizer), 1 if DRY else 200
        for _ in range(1 if DRY else 2):  # the first time compiles and allocates
            wait()
            start = time.perf_counter()
            for _ in range(count):
                step()
            wait()
        found[engine] = (time.perf_counter() - start) / count
    return found


def tuned(name: str) -> dict[str, Any]:
    """The best configuration of a large shape, kept in the table where it beats the planner's own choice."""
    case, operands = _operands(name)
    op, dtype, arch = case.op, case.dtype, gpu().backend.arch
    given = described(case.workload, dtype)
    asked = next(ask(op, "", dtype, given, case.attrs, [arch], case.lengths), None)
    if asked is None or isinstance(asked.program, Exception):
        return {"skipped": "no kernel"}
    planner = op.kernel("cuda", case.values)
    entries, options = tune.lookups(_dispatch.planner(planner), asked.call), tune.candidates(planner, asked.call)
    if not entries or not options:
        return {"skipped": "nothing to choose"}
    choices = [({}, asked.program), *options[: 2 if DRY else None]]
    good = _compiled([asked._replace(program=program) for _, program in choices])
    choices = [choice for k, choice in enumerate(choices) if good[k] or k == 0]
    on_gpu = [None if x is None else dl.tensor(x, device=gpu()) for x in operands]
    functions = [_planned(case, program, on_gpu) for _, program in choices]
    with dl.no_grad():
        want = functions[0]()
        right = [k for k, f in enumerate(functions) if _error(f(), want) <= 4 * dtype.eps]
        rough = tune.timings([functions[k] for k in right], own_clock(), 3)
        order = sorted(range(len(right)), key=lambda k: rough[k].median)[:8]
        few = [0, *(right[k] for k in order if right[k] != 0)]
        times = tune.timings([functions[k] for k in few], own_clock())
    winner = few[tune.best(times)]
    kernel, key = entries[0]
    if winner and not DRY:
        tune.keep(arch.name, kernel, key, choices[winner][0])
    seconds = {"default": times[0].median, "best": times[few.index(winner)].median}
    wrong = len(functions) - len(right)
    return seconds | {"kernel": kernel, "key": key, "values": choices[winner][0], "tried": len(right), "wrong": wrong}


# ---- what they share ----------------------------------------------------------------------------------------------


def _operands(name: str) -> tuple[Case, list[Any]]:
    """The large workload called ``name`` in its dtype, and random NumPy operands; small ones in a dry run."""
    prefix, _, what = name.partition(" ")
    op, workload = next((op, w) for op in with_kernels() for w in large(op) if title(op, w) == what)
    case = Case(op, _small(workload) if DRY else workload, as_dtype(prefix))
    return case, case.arrays()


def _small(workload: Workload) -> Workload:
    return workload._replace(operands=tuple(map(_small_operand, workload.operands)))


def _small_operand(x: Any) -> Any:
    if isinstance(x, list):
        return list(map(_small_operand, x))
    if not isinstance(x, tuple):
        return x
    described = x if isinstance(x, Input) else Input(x)
    high = min(described.high, 48) if described.dtype is not None and described.high else described.high  # labels
    return described._replace(shape=tuple(min(n, 48) for n in described.shape), high=high)


def _planned(case: Case, program: Any, operands: list[Any]) -> Any:
    """A call of the operation that runs ``program``: a function with plans of its own, planned by nobody else."""
    function, planner = _C.Function(case.op), _dispatch.planner
    call = functools.partial(function, *case.op.nested(operands, case.lengths), *case.attrs)
    _dispatch.planner = lambda _: lambda call: program
    try:
        with dl.no_grad():
            call()
    finally:
        _dispatch.planner = planner
    return call


def _bytes(result: Any) -> bytes:
    return b"".join(np.asarray(r).tobytes() for r in _each(result))


def _each(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _error(got: Any, want: Any) -> float:
    """The largest difference over the largest value; NaN counts as infinite."""
    worst = 0.0
    for g, w in zip(_each(got), _each(want), strict=True):
        a, b = np.asarray(g).astype(np.float64), np.asarray(w).astype(np.float64)
        scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-30)
        difference = float(np.max(np.abs(a - b), initial=0.0)) / scale
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _torch_with_gpu() -> Any:
    if not _there("torch"):
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def _torch(case: Case, operands: list[Any]) -> Any:
    """torch's call for the same operands, on its default stream; None without torch or its like."""
    torch, way = None if DRY else _torch_with_gpu(), case.baselines.get("torch")
    if torch is None or way is None:
        return None
    setup, expression = way if isinstance(way, tuple) else ("", way)
    move = torch.utils.dlpack.from_dlpack
    x = [None if o is None else move(dl.tensor(o, device=gpu())).clone() for o in operands]
    torch.cuda.synchronize()
    values = case.op.values(x, case.attrs, case.lengths)
    names = {"torch": torch, "F": torch.nn.functional}
    names |= {k: v.name if isinstance(v, DType) else v for k, v in values.items()}
    exec(setup, names)
    return eval(f"lambda: {expression}", names)


WORK = {
    "machine": machine, "load": load, "first": first, "operations": operation, "speed": speed, "steps": steps_,
    "tune": tuned,
}  # fmt: skip


def answer(stage: str, name: str) -> dict[str, Any]:
    """The result of one job, or its error."""
    try:
        return WORK[stage](name)
    except Exception as error:  # the next job may still work
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> int:
    """Answer jobs until the input ends."""
    if "--once" in sys.argv:
        result = answer(*sys.argv[-2:])
        print(json.dumps(result))
        return 1 if "error" in result else 0
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
