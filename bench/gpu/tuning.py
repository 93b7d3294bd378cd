"""The best configuration of a large shape: what its planner would have tried, timed in turns."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import dlcore as dl
from bench.gpu import cases
from bench.gpu.context import Context
from dlcore import _C, _dispatch
from dlcore.bench.cases import Case
from dlcore.cli.programs import Asked, ask, described
from dlcore.kernels import compile as compiling
from dlcore.kernels import tune
from dlcore.kernels.binary import Binary
from dlcore.kernels.launch import Arch, Program, prepared
from dlcore.kernels.specialise import specialise

ROUGH, FINE, FINALISTS = 3, 20, 8


def tuned(context: Context, name: str) -> dict[str, Any]:
    """The configuration that beats the planner's own choice, if one does: {"kernel", "key", "values"}."""
    case = cases.named(name)
    asked = _asked(case, context.gpu.backend.arch)
    if asked is None:
        return {"skipped": "no kernel of its own"}
    planner = _planner(case)
    entries = tune.lookups(_dispatch.planner(planner), asked.call)
    options = tune.candidates(planner, asked.call) if entries else []
    if not options:
        return {"skipped": "nothing to choose"}
    options = [({}, asked.program), *options]
    good = _at_hand([asked._replace(program=program) for _, program in options])
    options = [option for k, option in enumerate(options) if k == 0 or good[k]]
    operands = context.operands(case)
    functions = [planned(case, program, operands) for _, program in options]
    with dl.no_grad():
        want = functions[0]()
        right = [k for k, f in enumerate(functions) if k == 0 or context.error(f(), want) <= 4 * case.dtype.eps]
        rough = tune.timings([functions[k] for k in right], context.clock, context.rounds(ROUGH))
        order = sorted(range(len(right)), key=lambda k: rough[k].median)[:FINALISTS]
        few = [0, *(right[k] for k in order if right[k])]
        times = tune.timings([functions[k] for k in few], context.clock, context.rounds(FINE))
    winner = tune.best(times)
    kernel, key = entries[0]
    found = {"seconds": times[0].median, "tried": len(right), "wrong": len(options) - len(right)}
    found["absent"] = len(good) - len(options)
    if winner and not context.dry:
        values, _ = options[few[winner]]
        found |= {"arch": context.gpu.backend.arch.name, "kernel": kernel, "key": key, "values": values}
        found["best"] = times[winner].median
    return found


def choices(case: Case, arch: Arch) -> list[tuple[dict[str, Any], Program]]:
    """What the case's planner would have tried."""
    asked = _asked(case, arch)
    return [] if asked is None else tune.candidates(_planner(case), asked.call)


def _planner(case: Case) -> str:
    return str(case.op.kernel("cuda", case.values))


def _asked(case: Case, arch: Arch) -> Asked | None:
    given = described(case.workload, case.dtype)
    asked = next(ask(case.op, "", case.dtype, given, case.attrs, [arch], case.lengths), None)
    if asked is not None and isinstance(asked.program, Exception):
        raise asked.program
    return asked


def _at_hand(asked: Sequence[Asked]) -> list[bool]:
    """Whether the kernels of each program are at hand, or can be compiled, without a problem."""
    wanted = [[specialise(launch, prepared(a.call, a.program))[0] for launch in a.program.launches] for a in asked]
    distinct = {w.key: w for launches in wanted for w in launches}
    made = compiling.compile_many(list(distinct.values()), 8)
    good = {key for key, m in zip(distinct, made, strict=True) if isinstance(m, Binary) and not m.problems}
    return [all(w.key in good for w in launches) for launches in wanted]


def planned(case: Case, program: Program, operands: Sequence[Any]) -> Callable[[], Any]:
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
