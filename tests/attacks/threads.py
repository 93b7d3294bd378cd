"""Threads that do everything at once.

They run operations, differentiate one graph together, call captured functions, save and load, while others fork and
collect garbage; every result is the one that a single thread gets, no error is raised, no thread hangs, and a process
whose daemon threads still compute ends as it would without them.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from . import children

UNIT = "rounds"
SMALL, LARGE = 30, 1000
THREADS = 6
DAEMONS = 10  # one in so many rounds is a process that ends beside daemon threads


def attack(count: int, seed: int) -> Iterator[str]:
    environment = {"DLCORE_NUM_THREADS": "3"}
    for unit in range(0, count, DAEMONS):
        outcome = children.run(daemons, f"{seed} {unit}", environment=environment, seconds=60.0)
        if outcome.how:
            yield f"daemons of round {unit}, seed {seed}: {outcome}"
    yield from children.violations(rounds, count, seed, chunk=50, seconds=300.0, environment=environment)


def daemons(seed: str) -> None:
    """A process that ends while its threads compute."""
    import time

    import dlcore as dl

    draw = random.Random(seed)
    w = dl.ones(500, 500, requires_grad=True)
    small = dl.ones(20, 20, requires_grad=True)
    captured = dl.capture(lambda x: (x @ x).tanh().sum())

    def compute(work: Callable[[], object]) -> None:
        while True:
            work()

    works = (
        lambda: (w @ w).tanh().sum().backward(),
        lambda: (small @ small).tanh().sum().backward(),
        lambda: dl.grad((small @ small).sum(), [small]),
        lambda: captured(dl.ones(300, 300)),
    )
    captured(dl.ones(300, 300))
    for k in range(3):
        work = works[3] if k == 0 else draw.choice(works[:3])
        threading.Thread(target=compute, args=(work,), daemon=True).start()
    time.sleep(draw.random() * 0.1)


def rounds(first: int, count: int, seed: int) -> list[str]:
    """What went wrong in these rounds, a line each."""
    sys.setswitchinterval(1e-5)
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="attack-threads-") as folder:
        for unit in range(first, first + count):
            children.mark(f"{unit} of seed {seed}")
            draw = random.Random(f"{seed} {unit}")
            found += [f"round {unit} of seed {seed}: {text}" for text in _round(draw, Path(folder))]
    return found


def _round(draw: random.Random, folder: Path) -> list[str]:
    import numpy as np

    import dlcore as dl
    from dlcore import nn

    size = draw.choice((8, 50, 400))
    rng = np.random.default_rng(draw.randrange(1 << 30))
    w = dl.tensor(rng.integers(-2, 3, (size, size)).astype(np.float32), requires_grad=True)
    x = dl.tensor(rng.integers(-2, 3, (size, size)).astype(np.float32))
    loss = ((x @ w).relu() @ w).sum()  # of small integers, so that sums do not depend on their order
    (one,) = dl.grad(loss, [w], retain_graph=True)
    one = one.numpy().copy()
    captured = [dl.capture(lambda a: (a @ a).sum()) for _ in range(THREADS)]
    for function in captured:
        for _ in range(2):
            function(x)
    square = float(captured[0](x))
    product = (x @ w.detach()).numpy().copy()
    found: list[str] = []
    backwards = [0] * THREADS

    def backward(k: int) -> None:
        loss.backward(retain_graph=True)
        backwards[k] += 1

    def gradient(k: int) -> None:
        (g,) = dl.grad(loss, [w], retain_graph=True)
        if not np.array_equal(g.numpy(), one):
            found.append("a gradient of a shared graph is wrong")

    def eager(k: int) -> None:
        if not np.array_equal((x @ w.detach()).numpy(), product):
            found.append("a product is wrong")

    def replay(k: int) -> None:
        if float(captured[k](x)) != square:
            found.append("a replay is wrong")

    def save(k: int) -> None:
        model, again = nn.Linear(20, 20), nn.Linear(20, 20)
        path = folder / f"{k}.safetensors"
        dl.save(model, path)
        dl.load(again, path)
        if not np.array_equal(model.weight.numpy(), again.weight.numpy()):
            found.append("a file holds something else")

    def fork(k: int) -> None:
        child = os.fork()
        if not child:
            os._exit(0 if np.array_equal((x @ w.detach()).numpy(), product) else 3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            found.append(f"a forked child ended with {code}")

    def collect(k: int) -> None:
        gc.collect()

    choice = [backward, gradient, eager, replay, save, collect]
    if "libtsan" not in os.environ.get("LD_PRELOAD", ""):  # which does not go on in a fork of several threads
        choice.append(fork)
    works = [draw.choice(choice) for _ in range(THREADS)]
    ready = threading.Barrier(THREADS)

    def run(k: int, work: Callable[[int], None]) -> None:
        ready.wait()
        try:
            for _ in range(4):
                work(k)
        except Exception as error:
            found.append(f"{work.__name__} raised {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(k, work)) for k, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(backwards)
    if total and not np.array_equal(w.grad.numpy(), total * one):
        found.append(f"the gradients of {total} backward passes do not add up")
    return found
