"""Forks beside threads that compute.

A child that is forked at any moment, whatever other threads hold then, must be able to compute with several threads, to
differentiate, to record and replay, and to exit; its results are right; and the parent's threads must never notice.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from . import children

UNIT = "forks"
SMALL, LARGE = 40, 2000
SECONDS = 10.0  # for one forked child


def attack(count: int, seed: int) -> Iterator[str]:
    environment = {"DLCORE_NUM_THREADS": "3"}
    yield from children.violations(forks, count, seed, chunk=100, seconds=240.0, environment=environment)


def forks(first: int, count: int, seed: int) -> list[str]:
    """What went wrong with these forks, a line each."""
    import dlcore as dl

    expected = work(dl)
    captured = dl.capture(lambda x: (x @ x).tanh().sum())
    x = dl.ones(64, 64)
    captured(x)
    replayed = captured(x).item()
    found: list[str] = []
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            if work(dl) != expected:
                found.append(f"a thread of the parent computed {work(dl)}, not {expected}")

    threads = [threading.Thread(target=compute, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for unit in range(first, first + count):
            children.mark(f"{unit} of seed {seed}")
            draw = random.Random(f"{seed} {unit}")
            time.sleep(draw.random() * 0.002)
            leaves = draw.random() < 0.5
            child = os.fork()
            if not child:
                _child(dl, expected, lambda: captured(x).item(), replayed, leaves)
            how = _wait(child)
            if how:
                found.append(f"fork {unit} of seed {seed}: the child {how}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return found


def work(dl) -> float:
    """A number that takes the pool, the allocator, the tape and a generator to find."""
    w = dl.ones(256, 64, requires_grad=True)
    x = dl.full((600, 256), 0.5)  # so large that kernels run without the GIL
    ((x @ w).tanh().exp() * 2).sum().backward()
    return float(w.grad.sum())


def _child(dl, expected, replay, replayed, leaves: bool) -> None:
    signal.alarm(int(SECONDS) - 1)  # if it hangs it ends by itself, not the machine's patience
    try:
        good = work(dl) == expected and replay() == replayed
        dl.set_num_threads(2)
        good = good and work(dl) == expected
    except BaseException:
        traceback.print_exc()
        os._exit(4)
    if leaves:
        os._exit(0 if good else 3)
    sys.exit(0 if good else 3)  # through Python's own end


def _wait(child: int) -> str:
    """How a child ended if not well."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGALRM:
                return "hung"
            named = {0: "", 3: "computed something else", 4: "raised an exception"}
            return named.get(code, f"ended with {signal.Signals(-code).name if code < 0 else code}")
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung and ignored SIGALRM"
