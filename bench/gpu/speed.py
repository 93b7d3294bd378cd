"""How fast, beside torch: large shapes on cold caches, timed by events in turns, and held against float64 by torch."""

import functools
from collections.abc import Callable
from typing import Any

import dlcore as dl
from bench.gpu import cases, training
from bench.gpu.context import Context, each
from dlcore.bench.cases import Case
from dlcore.dtypes import DType
from dlcore.kernels import tune

ROUNDS = 30
ROOF = "roofs: a copy, and a product by torch"
SLACK = 8  # eps that dlcore's error may be beyond twice torch's


def names() -> list[str]:
    """What is timed, the most telling first; torch's compiler, which takes long, after the headline."""
    operations = list(cases.cases())
    return [ROOF, *training.TIMED, *operations[:14], *training.COMPILED, *operations[14:]]


def speed(context: Context, name: str) -> dict[str, Any]:
    """Times, and how far off the values are; every number in seconds, bytes, FLOPs, or parts of the largest value."""
    if name == ROOF:
        return _roofs(context)
    if name in training.TIMED or name in training.COMPILED:
        return training.time(context, name)
    case = cases.named(name)
    operands = context.operands(case)
    found: dict[str, Any] = dict(zip(("flops", "bytes"), case.work, strict=True))
    with dl.no_grad():
        results = [_results(context, case, operands) for _ in range(2)]
        context.require(context.same_bits(*results), "other bits at the second call")
        theirs = _torch(context, case, operands)
        if theirs is not None:
            found |= _held(context, case, results[0], operands)
        del results
        functions = [_call(case, operands), *([] if theirs is None else [theirs])]
        clocks = [context.clock, *([] if theirs is None else [context.torch_clock])]
        by = dict(zip(functions, clocks, strict=True))
        timings = tune.timings(functions, lambda function: by[function](function), context.rounds(ROUNDS))
    found |= {"seconds": timings[0].median, "spread": timings[0][1:]}
    return found | ({"torch": timings[1].median, "torch_spread": timings[1][1:]} if len(timings) > 1 else {})


def once(context: Context, name: str) -> dict[str, Any]:
    """Two calls, for a profiler to look at."""
    case = cases.named(name)
    call = _call(case, context.operands(case))
    with dl.no_grad():
        for _ in range(2):
            call()
    return {}


def _call(case: Case, operands: list[Any]) -> Callable[[], Any]:
    return functools.partial(case.op.call, *case.op.nested(operands, case.lengths), *case.attrs)


def _results(context: Context, case: Case, operands: list[Any]) -> tuple[Any, ...]:
    """What a call returns, or writes: then into copies."""
    written = case.op.written(case.lengths)
    given = [x.clone() if k in written else x for k, x in enumerate(operands)]
    found = _call(case, given)()
    return tuple(given[k] for k in written if given[k].dtype.is_float) if written else each(found)


def _roofs(context: Context) -> dict[str, Any]:
    """What a copy and a product of torch's reach: nothing that is bound by memory or arithmetic is much faster."""
    size = 1 << 30
    room = [dl.empty((size,), dtype=dl.uint8, device=context.gpu) for _ in range(2)]
    copy = lambda: room[0].copy_(room[1])  # noqa: E731
    (timing,) = tune.timings([copy], context.clock, context.rounds(ROUNDS))
    found = {"copy_bytes_per_second": 2 * size / max(timing.median, 1e-9)}
    if (torch := context.torch) is not None:
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        (timing,) = tune.timings([lambda: a @ b], context.torch_clock, ROUNDS)
        found["torch_bfloat16_flops_per_second"] = 2 * 8192**3 / timing.median
    return found


# ---- torch --------------------------------------------------------------------------------------------------------


def _torch(context: Context, case: Case, operands: list[Any], wide: bool = False) -> Callable[[], Any] | None:
    """torch's call on copies of the operands, in float64 if ``wide``; None without torch or its like."""
    torch, way = context.torch, case.baselines.get("torch")
    if torch is None or way is None:
        return None
    setup, expression = way if isinstance(way, tuple) else ("", way)
    given = [_copied(context.in_torch(x), wide) if isinstance(x, dl.Tensor) else x for x in operands]
    torch.cuda.synchronize()
    values = case.op.values(given, case.attrs, case.lengths)
    names = {"torch": torch, "F": torch.nn.functional}
    names |= {k: v.name if isinstance(v, DType) else v for k, v in values.items()}
    exec(setup, names)
    call = eval(f"lambda: {expression}", names)
    written = case.op.written(case.lengths)
    if not wide or not written:
        return call

    def changed() -> Any:
        call()
        return tuple(given[k] for k in written if given[k].is_floating_point())

    return changed


def _copied(x: Any, wide: bool) -> Any:
    return x.double() if wide and x.is_floating_point() and x.element_size() < 8 else x.clone()


def _held(context: Context, case: Case, results: tuple[Any, ...], operands: list[Any]) -> dict[str, Any]:
    """dlcore's error and torch's own, both against torch in float64 on the GPU."""
    reference = _torch(context, case, operands, wide=True)
    assert reference is not None
    try:
        with context.torch.no_grad():
            want = each(reference())
            error, theirs = context.error(results[: len(want)], want), _own_error(context, case, operands, want)
    except (RuntimeError, TypeError, NotImplementedError) as failure:  # torch has it not in float64
        return {"no_reference": str(failure)[:200]}
    within = error <= 2 * theirs + SLACK * case.dtype.eps
    context.require(within, f"off by {error:.3g} of the largest value, torch by {theirs:.3g}")
    return {"error": error, "torch_error": theirs}


def _own_error(context: Context, case: Case, operands: list[Any], want: tuple[Any, ...]) -> float:
    if case.op.written(case.lengths):  # what it writes is where the timing will write
        return 0.0
    call = _torch(context, case, operands)
    assert call is not None
    return context.error(each(call())[: len(want)], want)
