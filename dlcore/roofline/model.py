"""A user's model or training step, found in a file, recorded, and timed."""

from __future__ import annotations

import importlib.util
import inspect
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dlcore._autograd import no_grad
from dlcore._capture import Captured, capture
from dlcore._device import synchronize
from dlcore._explain import Explanation, MemoryPlan
from dlcore.errors import CaptureError
from dlcore.nn import Module

__all__ = ["Step", "load", "record"]

_CALLS = 5  # a step is recorded in its second call, or later where the first ones still make lasting state


class Step(NamedTuple):
    """A step recorded. ``held``: bytes that it has in memory; ``wall``: seconds of a replay; ``serial``: whether it is
    replayed on one thread, as small steps are."""

    name: str
    explanation: Explanation
    held: int
    wall: float
    serial: bool


def load(where: str) -> Callable[[], Any]:
    """The function that "my_model.py:build" names; "my_model.py" alone stands for its ``build``.

    ValueError where there is no such file or function. The file's folder can be imported from, as in `python FILE`.
    """
    path, _, name = where.partition(":") if where.rpartition(":")[0].endswith(".py") else (where, "", "")
    file, name = Path(path), name or "build"
    if not file.is_file():
        raise ValueError(f"roofline: there is no file {path} (wanted: FILE.py:FUNCTION, as my_model.py:build)")
    spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
    if spec is None or spec.loader is None:
        raise ValueError(f"roofline: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    sys.path.insert(0, str(file.resolve().parent))
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        there = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        raise ValueError(f"roofline: {path} has no function {name} (it has {', '.join(there) or 'none'})")
    function: Callable[[], Any] = found
    return function


def _parts(built: Any, name: str) -> tuple[Any, tuple[Any, ...]]:
    """(what to call, its arguments) of what a build function returned."""
    function, *arguments = built if isinstance(built, tuple) and built else (built,)
    if not callable(function):
        raise ValueError(
            f"roofline: {name}() returned {_kind(built)}; wanted: a Module or a function, alone or as (model, x) or "
            "(step, x, y) with the arguments to call it with"
        )
    try:
        inspect.signature(function.forward if isinstance(function, Module) else function).bind(*arguments)
    except TypeError as error:
        raise ValueError(
            f"roofline: {name}() returned {_kind(built)}, and {_kind(function)} cannot be called so: {error}"
        ) from None
    return function, tuple(arguments)


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_kind, value))})"
    return getattr(value, "__name__", None) or f"a {type(value).__name__}"


def record(build: Callable[[], Any], repeats: int = 20, seconds: float = 0.5) -> Step:
    """What ``build()`` returns, called until it is recorded, then timed for about ``seconds``.

    A Module is called without gradients, in the mode (`train`, `eval`) that it comes in. CaptureError where it cannot
    be recorded, ValueError where ``build`` returned something else.
    """
    function, arguments = _parts(build(), getattr(build, "__name__", "build"))
    if isinstance(function, Module):
        name = type(function).__name__
        with no_grad():
            return _record(name, capture(_forward(function)), arguments, repeats, seconds)
    captured = function if isinstance(function, Captured) else capture(function)
    return _record(getattr(function, "__name__", type(function).__name__), captured, arguments, repeats, seconds)


def _forward(module: Module) -> Callable[..., Any]:
    def forward(*arguments: Any) -> Any:
        return module(*arguments)

    return forward


def _record(name: str, step: Captured, arguments: tuple[Any, ...], repeats: int, seconds: float) -> Step:
    for _ in range(_CALLS):
        step(*arguments)
        if step.recorded:
            break
    else:
        raise CaptureError(step.failure or f"roofline: {name} was not recorded in {_CALLS} calls")
    step(*arguments)
    recording = step._entries[0].recording
    wall = _wall(step, arguments, seconds)
    held = MemoryPlan(recording).total
    return Step(name, Explanation(recording, repeats), held, wall, recording.serial)


def _wall(step: Captured, arguments: tuple[Any, ...], seconds: float) -> float:
    """The median of the seconds that a replay takes by the wall, what it costs to call it included.

    Several replays a sample, waited for together: on a GPU the host runs ahead."""
    start = time.perf_counter()
    step(*arguments)
    synchronize()
    count = max(1, int(1e-3 / max(time.perf_counter() - start, 1e-7)))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(count):
            step(*arguments)
        synchronize()
        samples.append((time.perf_counter() - start) / count)
    return statistics.median(samples)
