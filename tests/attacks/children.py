"""Functions run in child processes, with a time and a memory limit; how a child ended is a value, never an exception.

    run(function, *arguments, seconds=20)        one call in one child: an Outcome
    violations(function, count, seed)            many units in a few children, one after another; where a child dies or
                                                 hangs, the unit it was in is reported and the next child goes on behind

``function`` is a function of a module (the child imports it), and its arguments and result can be pickled. A child
tells where it is by `mark`, which costs a microsecond, so that a death is reported with the unit that caused it.
"""

from __future__ import annotations

import importlib
import mmap
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["Outcome", "advanced", "mark", "run", "violations"]

MARK_BYTES = 4096
_marks: mmap.mmap | None = None

advanced: Callable[[int], None] = lambda units: None  # noqa: E731  # the runner's progress bar listens here


class Outcome(NamedTuple):
    """How a child ended."""

    how: str
    """Empty where the function returned; else "died of SIGSEGV", "hung for 20 s", "raised ValueError: ..."."""
    value: Any = None
    """What the function returned."""
    mark: str = ""
    """The last `mark` of the child."""
    output: str = ""
    """The last lines that it printed."""

    @property
    def alive(self) -> bool:
        """Whether the function came to its end, by returning or by raising an ordinary exception."""
        return not self.how or self.how.startswith("raised ")

    def __str__(self) -> str:
        where = f" at {self.mark}" if self.mark else ""
        tail = "".join(f"\n    {line}" for line in self.output.splitlines()[-12:])
        return f"{self.how or 'returned'}{where}{tail}"


def mark(text: str) -> None:
    """In a child: what it is about to do. Elsewhere it does nothing."""
    if _marks is not None:
        raw = text.encode(errors="backslashreplace")[: MARK_BYTES - 4]
        _marks[: 4 + len(raw)] = len(raw).to_bytes(4, "little") + raw


def run(
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float = 20.0,
    memory: int | None = None,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes]], object] | None = None,
) -> Outcome:
    """The outcome of ``function(*arguments)`` in a child that starts from nothing.

    ``memory``: bytes of address space that it may have. ``meanwhile(process)`` is called in a thread of this process as
    soon as the child has started, to send it signals; it must end by itself.
    """
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        names = [os.path.join(folder, name) for name in ("task", "result", "marks", "output")]
        task, result, marks, output = names
        with open(task, "wb") as file:
            pickle.dump((function.__module__, function.__qualname__, arguments, memory), file)
        with open(marks, "wb") as file:
            file.truncate(MARK_BYTES)
        with open(output, "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-P", "-c", _PROGRAM, __name__, *names[:3]],
                env=_environment(environment or {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        helper = threading.Thread(target=meanwhile, args=(process,)) if meanwhile else None
        if helper:
            helper.start()
        how = _end(process, seconds)
        if helper:
            helper.join()
        value = None
        if not how and os.path.exists(result):
            with open(result, "rb") as file:
                how, value = pickle.load(file)
        elif not how:
            how = "ended without a result (exit code 0)"
        with open(marks, "rb") as file:
            raw = file.read()
            told = raw[4 : 4 + int.from_bytes(raw[:4], "little")].decode(errors="replace")
        with open(output, "rb") as file:
            text = file.read()[-20_000:].decode(errors="replace")
    return Outcome(how, value, told, "\n".join(text.splitlines()[-40:]))


def violations(
    function: Callable[[int, int, int], list[str]],
    count: int,
    seed: int,
    *,
    chunk: int = 1000,
    seconds: float = 60.0,
    memory: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The lines that ``function(first, count, seed)`` returns in children, for chunks of units that begin at ``first``.

    It calls `mark(f"{unit} ...")`, the number of the unit first, before each unit. Where a child dies or hangs, that is
    a violation, and the next child begins behind the unit that it was in.
    """
    first = 0
    while first < count:
        units = min(chunk, count - first)
        outcome = run(function, first, units, seed, seconds=seconds, memory=memory, environment=environment)
        if not outcome.how:
            yield from outcome.value
            done = units
        else:
            at = outcome.mark.split(" ", 1)[0]
            done = min(units, int(at) + 1 - first) if at.isdigit() else units
            yield f"{function.__module__}.{function.__qualname__}({first}, {units}, seed={seed}): {outcome}"
        advanced(done)
        first += done


def _end(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Waits for a child, and ends it and what it has started where it takes longer; how it ended if not well."""
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        _stack(process)
        code = None
    try:
        os.killpg(process.pid, signal.SIGKILL)  # what it has started ends with it
    except ProcessLookupError:
        process.poll()  # nothing of the group is left
    process.wait()
    if code is None:
        return f"hung for {seconds:g} s"
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else ""


def _stack(process: subprocess.Popen[bytes]) -> None:
    """Lets a child that hangs print where it is: faulthandler writes the stacks of all threads on SIGUSR1."""
    process.send_signal(signal.SIGUSR1)
    try:
        process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        return  # as it should be: it goes on hanging, its stacks written


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    return {**os.environ, "PYTHONPATH": path, "DLCORE_DEVICE": "cpu", **more}


_PROGRAM = "import importlib, sys; importlib.import_module(sys.argv[1])._work(*sys.argv[2:])"


def _work(task: str, result: str, marks: str) -> None:
    """What a child does."""
    global _marks
    import faulthandler

    with open(marks, "r+b") as file:
        _marks = mmap.mmap(file.fileno(), MARK_BYTES)
    with open(task, "rb") as file:
        module, name, arguments, memory = pickle.load(file)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    if memory is not None and "libasan" not in os.environ.get("LD_PRELOAD", ""):  # whose shadow exceeds any limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        answer = "", function(*arguments)
    except Exception as error:
        traceback.print_exc()
        answer = f"raised {type(error).__name__}: {error}", None
    with open(result, "wb") as file:
        pickle.dump(answer, file)
