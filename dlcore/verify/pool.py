"""Child processes that work through tasks; one that crashes takes only its task with it.

Children start from nothing (`python -m dlcore.verify.worker`), so each has the environment that its task needs: another
instruction set, Triton's interpreter. What they print is kept for the report of a crash.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Crash", "Task", "work"]

SILENCE = 300.0  # seconds without a word after which a child hangs


class Task(NamedTuple):
    """``function`` of `dlcore.verify.worker` with its ``arguments``, in a child with this ``environment``."""

    function: str
    arguments: tuple[Any, ...]
    environment: tuple[tuple[str, str], ...] = ()


class Crash(NamedTuple):
    """A child that ended or hung: how, the last lines it printed, and the last thing it told."""

    how: str
    output: str
    told: Any = None

    def __str__(self) -> str:
        return f"{self.how}\n{self.output}".rstrip()


class _Child:
    def __init__(self, environment: tuple[tuple[str, str], ...], files: Sequence[str]):
        self.environment = environment
        self.connection, there = Pipe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-P", "-m", "dlcore.verify.worker", str(there.fileno()), *files],
            pass_fds=(there.fileno(),), env=_environment(dict(environment)), stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        there.close()
        self.task: Task | None = None
        self.told: Any = None
        self.heard = time.monotonic()

    def give(self, task: Task) -> None:
        self.task, self.told, self.heard = task, None, time.monotonic()
        try:
            self.connection.send((task.function, task.arguments))
        except OSError:
            self.told = None  # it has ended, which shows when its end of the pipe is read

    def end(self) -> str:
        """Ends the child; how it had ended by itself, in words."""
        self.connection.close()
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed"
        if code < 0:
            return f"crashed: {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def output(self) -> str:
        """The last lines it printed."""
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        self.log.close()
        return "\n".join(text.splitlines()[-20:])


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    return {**os.environ, "PYTHONPATH": path, **more}


def work(
    tasks: Sequence[Task],
    jobs: int,
    files: Sequence[str] = (),
    told: Callable[[Task, Any], None] | None = None,
    silence: float = SILENCE,
) -> Iterator[tuple[Task, Any]]:
    """Each task with its result, or a Crash, as they come; ``told`` gets what children tell on the way.

    ``files``: Python files whose rows the children load. Tasks of one environment share a child.
    """
    waiting = deque(tasks)
    children: list[_Child] = []
    try:
        while waiting or any(c.task for c in children):
            _assign(waiting, children, max(1, jobs), files)
            busy = [c for c in children if c.task]
            ready = wait([c.connection for c in busy], timeout=1.0)
            for child in busy:
                assert child.task is not None
                if child.connection in ready:
                    done, result = _hear(child)
                elif time.monotonic() - child.heard > silence:
                    child.process.kill()
                    child.end()
                    done, result = True, Crash(f"no answer in {silence:g} s", child.output(), child.told)
                else:
                    continue
                if not done:
                    if told:
                        told(child.task, result)
                    continue
                task, child.task = child.task, None
                if isinstance(result, Crash):
                    children.remove(child)
                yield task, result
    finally:
        for child in children:
            if child.task:
                child.process.kill()
            child.end()
            child.log.close()


def _hear(child: _Child) -> tuple[bool, Any]:
    """Whether the task is done, and its result or what was told."""
    try:
        done, result = child.connection.recv()
    except (EOFError, OSError):
        return True, Crash(child.end(), child.output(), child.told)
    child.heard = time.monotonic()
    child.told = child.told if done else result
    return done, result


def _assign(waiting: deque[Task], children: list[_Child], jobs: int, files: Sequence[str]) -> None:
    """Tasks to children without one, first to those of the environment that is wanted."""
    while waiting and sum(c.task is not None for c in children) < jobs:
        idle = [c for c in children if c.task is None]
        for child in idle:
            task = next((t for t in waiting if t.environment == child.environment), None)
            if task is not None:
                break
        else:
            for child in idle[: len(children) + 1 - jobs]:
                children.remove(child)
                child.end()
                child.log.close()
            task = waiting[0]
            child = _Child(task.environment, files)
            children.append(child)
        waiting.remove(task)
        child.give(task)


def connect(descriptor: int) -> Connection:
    """The child's end."""
    return Connection(descriptor)
