"""Memory that runs out: every allocation of a piece of work fails in turn.

Whatever fails, dlcore raises MemoryError, or the work goes on without what it could do without; the process lives; the
pool, the tape, the recorder and the generators stay usable: the same work right after gives the result that it always
gives, and no memory is lost: the same failure again and again does not take more and more.
"""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import children

UNIT = "failures"
SMALL, LARGE = 70, 3000
PYTHON_SHARE = 0.4  # of the units in which Python's own allocations are counted too


def attack(count: int, seed: int) -> Iterator[str]:
    environment = {"DLCORE_NUM_THREADS": "3"}
    yield from children.violations(failures, count, seed, chunk=150, seconds=180.0, environment=environment)


def failures(first: int, count: int, seed: int) -> list[str]:
    """What went wrong in these units, a line each."""
    found = []
    with tempfile.TemporaryDirectory(prefix="attack-memory-") as folder:
        works = [(name, work(Path(folder))) for name, work in WORKS.items()]
        expected = {name: [work() for _ in range(3)][-1] for name, work in works}
        lengths = {(name, python): _allocations(work, python) for name, work in works for python in (False, True)}
        for unit in range(first, first + count):
            draw = random.Random(f"{seed} {unit}")
            name, work = works[unit % len(works)]
            python = draw.random() < PYTHON_SHARE
            turn = unit // len(works)  # every allocation in turn, from a beginning of the seed's
            n = 1 + (seed * 101 + turn) % lengths[name, python]
            children.mark(f"{unit} {name}: allocation {n} fails, Python's {'too' if python else 'not'}")
            text = _fail(work, n, python, expected[name])
            if text:
                found.append(f"{name}, allocation {n} (Python's {'too' if python else 'not'}): {text}")
    return found


def _fail(work: Callable[[], Any], n: int, python: bool, expected: Any) -> str:
    from dlcore import _C

    in_use = []
    while len(in_use) < 20 and (len(in_use) < 2 or in_use[-1] > in_use[-2]):
        text = _fail_once(work, n, python, expected)
        if text:
            return text
        gc.collect()
        in_use.append(_C.memory_stats()["in_use"])
    return f"{in_use[-1] - in_use[-2]} bytes of tensors are lost each time" if len(in_use) == 20 else ""


def _fail_once(work: Callable[[], Any], n: int, python: bool, expected: Any) -> str:
    from dlcore import _C

    text = ""
    try:
        _C.fail_allocation(n, python)
        try:
            result = work()
        finally:
            _C.fail_allocation(0)
        if result != expected:
            text = f"the result is {result!r}, not {expected!r}"
        del result
    except MemoryError as error:
        if not python and not str(error):
            text = "a MemoryError that says nothing"
    except BaseException as error:
        text = f"raised {type(error).__name__}: {error}"
    if text:
        return text
    again = work()
    return f"afterwards the result is {again!r}, not {expected!r}" if again != expected else ""


def _allocations(work: Callable[[], Any], python: bool) -> int:
    """How many allocations the work makes."""
    from dlcore import _C

    many = 1 << 40
    _C.fail_allocation(many, python)
    work()
    return max(1, many - _C.fail_allocation(0))


# ---- pieces of work: each returns a function that does it and gives a result to compare -----------------------------


def _eager(folder: Path) -> Callable[[], Any]:
    import dlcore as dl

    x = dl.arange(300 * 40).reshape((300, 40)).astype(dl.float32) / 7000

    def work() -> Any:
        y = (x @ x.T).softmax(1)
        parts = [y.sum(0), y.T.contiguous().max(1), dl.concat([y, y], 1).mean(), y[3:40:2].mean()]
        return [float(p.astype(dl.float32).sum()) for p in parts]

    return work


def _large(folder: Path) -> Callable[[], Any]:
    import dlcore as dl

    x = dl.full((700, 600), 0.25)  # kernels that want scratch space in chunks, and run without the GIL
    y = dl.full((600, 500), 0.5, dl.bfloat16)

    def work() -> Any:
        values = (x.T @ x, x.astype(dl.bfloat16) @ y, x.T.sum(0), x.T.softmax(0), dl.log_softmax(x.T, 1))
        return [float(v.astype(dl.float32).sum()) for v in values]

    return work


def _backward(folder: Path) -> Callable[[], Any]:
    import dlcore as dl
    from dlcore import nn

    dl.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.GELU(), nn.Linear(30, 5))
    x, y = dl.randn(16, 20), dl.arange(16) % 5

    def work() -> Any:
        for p in model.parameters():
            p.grad = None
        dl.cross_entropy(model(x), y).backward()
        twice = dl.grad((model(x) ** 2).sum(), list(model.parameters()))
        return [float(p.grad.sum()) for p in model.parameters()] + [float(g.sum()) for g in twice]

    return work


def _recording(folder: Path) -> Callable[[], Any]:
    import dlcore as dl

    w = dl.full((30, 30), 0.01, requires_grad=True)
    x = dl.ones(8, 30)

    def work() -> Any:
        def step(x: Any) -> Any:
            w.grad = None
            loss = (x @ w).tanh().sum()
            loss.backward()
            return loss

        w.grad = None
        captured = dl.capture(step)
        return [float(captured(x)) for _ in range(4)] + [float(w.grad.sum())]

    return work


def _replay(folder: Path) -> Callable[[], Any]:
    import dlcore as dl

    captured = dl.capture(lambda x: (x @ x).softmax(1).sum(0))
    x = dl.ones(40, 40)
    for _ in range(3):
        captured(x)

    def work() -> Any:
        held = [captured(x) for _ in range(3)]
        return [float(h.sum()) for h in held] + [float(captured.sweep(dl.ones(5, 40, 40)).sum())]

    return work


def _save(folder: Path) -> Callable[[], Any]:
    import dlcore as dl
    from dlcore import nn

    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    weights = [p.numpy().copy() for p in model.parameters()]
    path = folder / "model.safetensors"
    dl.save(model, path)

    def work() -> Any:
        dl.save(model, path)
        dl.load(model, path)
        same = all((p.numpy() == w).all() for p, w in zip(model.parameters(), weights, strict=True))
        return same, sorted(p.name for p in folder.iterdir() if p.name.startswith("model"))

    return work


def _fit(folder: Path) -> Callable[[], Any]:
    import numpy as np

    import dlcore as dl
    from dlcore import nn, optim

    x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]

    def work() -> Any:
        model = nn.Linear(1, 1)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        dl.fit(model, (x, 3 * x + 1), loss=dl.mse_loss, optimizer=optimizer, epochs=2, progress=False)
        return len(list(model.parameters()))

    return work


WORKS = {
    "eager operations": _eager,
    "large operations": _large,
    "backward": _backward,
    "recording": _recording,
    "replay": _replay,
    "save and load": _save,
    "fit": _fit,
}
