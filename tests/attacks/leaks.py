"""Steps of many kinds, over and over, also those that end in an exception or leave a cycle behind.

When they are over and Python's collector has run, the memory of tensors in use is to the byte what it was, there are no
more Python objects than before, and the process has not grown. Neither an exception in the middle of a forward or a
backward pass, nor a cycle of tensors, parameters, modules and their attributes may keep anything.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dlcore as dl
from dlcore import _C, nn, optim

from . import children

UNIT = "steps"
SMALL, LARGE = 1200, 100_000
BLOCK = 40  # steps of one kind, after which everything must be as before
GROWN = 24 << 20  # bytes by which the process may grow over all blocks: the allocators keep some
OBJECTS = 30  # Python objects more than before: entries of caches, not one for each step

Step = Callable[[random.Random], object]
STEPS: list[Step] = []


def attack(count: int, seed: int) -> Iterator[str]:
    yield from children.violations(steps, count, seed, chunk=20_000, seconds=1200.0)


def steps(first: int, count: int, seed: int) -> list[str]:
    """Runs blocks of steps in this process; the violations."""
    warnings.simplefilter("ignore")
    found, start, shown = [], 0, (first // BLOCK) % len(STEPS)
    for unit in range(first, first + count, BLOCK):
        step = STEPS[(shown + (unit - first) // BLOCK) % len(STEPS)]
        children.mark(f"{unit} {step.__name__}, seed={seed}")
        line = _block(step, min(BLOCK, first + count - unit), f"{seed}-{unit}")
        if line:
            found.append(f"steps({unit}, {BLOCK}, seed={seed}): {step.__name__}: {line}")
        if unit - first == 2 * BLOCK * len(STEPS):  # everything has run twice: caches and pools have their sizes
            start = _resident()
    if start and _resident() - start > GROWN:
        found.append(f"steps({first}, {count}, seed={seed}): the process grew by {_resident() - start:,} bytes")
    return found


def _block(step: Step, count: int, seed: str) -> str:
    """What ``count`` steps of one kind leave behind, in words; empty where that is nothing."""
    for _ in range(2):
        step(random.Random(seed))
    before = _state()
    draw = random.Random(seed)
    for _ in range(count):
        step(draw)
    after = _state()
    if after[0] != before[0]:
        return f"{after[0] - before[0]:,} bytes of tensors are left after {count} steps"
    if after[1] - before[1] > OBJECTS:
        return f"{after[1] - before[1]:,} Python objects are left after {count} steps"
    return ""


def _state() -> tuple[int, int]:
    """Bytes in use by tensors, and how many objects the collector knows."""
    for _ in range(3):  # what a finalizer lets go of is found by the next run
        gc.collect()
    return _C.memory_stats()["in_use"], len(gc.get_objects())


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


# ---- the kinds of steps ---------------------------------------------------------------------------------------------


def kind(step: Step) -> Step:
    """Registers a kind of step."""
    STEPS.append(step)
    return step


def expected(*errors: type[BaseException]) -> Callable[[Step], Step]:
    """For a step that must end in one of these errors."""

    def decorate(step: Step) -> Step:
        def wrapped(draw: random.Random) -> None:
            try:
                step(draw)
            except errors:
                return
            raise AssertionError(f"{step.__name__} ended without an error")

        wrapped.__name__ = step.__name__
        return kind(wrapped)

    return decorate


def _x(draw: random.Random, *shape: int, grad: bool = True) -> dl.Tensor:
    return dl.full(shape or (draw.choice([1, 8, 33]), 4), draw.random(), requires_grad=grad)


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))


def _loss(model: nn.Module, draw: random.Random) -> dl.Tensor:
    return dl.cross_entropy(model(_x(draw, 6, 4, grad=False)), dl.zeros(6, dtype="int64"))


@kind
def eager(draw: random.Random) -> None:
    with dl.no_grad():
        x = _x(draw)
        (x * 2 + x.T.T).softmax(-1).sum().item()


@kind
def forward_without_backward(draw: random.Random) -> None:
    _loss(_net(), draw)


@kind
def backward_pass(draw: random.Random) -> None:
    _loss(_net(), draw).backward()


@kind
def backward_twice(draw: random.Random) -> None:
    loss = _loss(_net(), draw)
    loss.backward(retain_graph=True)
    loss.backward()


@kind
def graph_of_the_gradient_in_the_leaf(draw: random.Random) -> None:
    x = _x(draw)
    (x * x * x).sum().backward(create_graph=True)


@kind
def second_derivative(draw: random.Random) -> None:
    x = _x(draw)
    (slope,) = dl.grad((x * x * x).sum(), x, create_graph=True)
    (slope * slope).sum().backward()


@kind
def gradient_kept_by_what_it_is_of(draw: random.Random) -> None:
    class Own(nn.Parameter):
        pass

    p = Own(_x(draw))
    p.result = (p * 2).sum()
    p.itself = p


@kind
def output_kept_by_a_module(draw: random.Random) -> None:
    model = _net()
    model.last = _loss(model, draw)
    model.closure = lambda: model.last


@kind
def parent_and_child(draw: random.Random) -> None:
    model = _net()
    for layer in model:
        layer.parent = model
    list(model.state_dict())
    _loss(model, draw).backward()


@kind
def in_place_on_the_tape(draw: random.Random) -> None:
    x = _x(draw)
    y = x * 2
    y += x
    y[0] = 1.0
    y *= 2.0
    y.sum().backward()


@expected(dl.ShapeError)
def shapes_that_do_not_fit(draw: random.Random) -> None:
    x = _x(draw) * 2
    (x @ x[:, :3]).sum()


@expected(IndexError)
def label_out_of_range(draw: random.Random) -> None:
    dl.cross_entropy(_net()(_x(draw, 6, 4)), dl.full((6,), 9))


@expected(dl.AutogradError)
def graph_that_was_released(draw: random.Random) -> None:
    loss = (_x(draw) ** 2).exp().sum()
    loss.backward()
    loss.backward()


@expected(dl.AutogradError)
def saved_tensor_that_was_changed(draw: random.Random) -> None:
    x = _x(draw)
    y = x * 2
    z = (y * y).sum()
    y += 1
    z.backward()


@kind
def error_kept_with_its_frames(draw: random.Random) -> None:
    x = _x(draw) * 2
    try:
        x.reshape(7, 11)
    except dl.ShapeError as error:
        caught = error
        x.detach().reshape(-1)
        holder = {"error": caught, "x": x}
        holder["self"] = holder


@kind
def optimizers(draw: random.Random) -> None:
    model = _net()
    make = draw.choice([optim.SGD, optim.Adam, optim.AdamW])
    optimizer = make(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        _loss(model, draw).backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    state = optimizer.state_dict()
    other = make(model.parameters(), lr=0.2)
    other.load_state_dict(state)
    model.to(dl.float64)
    optimizer.state_dict()


@kind
def recorded_steps(draw: random.Random) -> None:
    model = _net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: dl.Tensor) -> dl.Tensor:
        loss = model(x).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    captured = dl.capture(step)
    model.step = captured
    for _ in range(4):
        captured(_x(draw, 6, 4, grad=False))


@expected(dl.CaptureError)
def step_that_cannot_be_recorded(draw: random.Random) -> None:
    captured = dl.capture(lambda x: x * x.sum().item())
    for _ in range(3):
        captured(_x(draw, 6, 4, grad=False))


@expected(ZeroDivisionError)
def step_that_raises_while_it_is_recorded(draw: random.Random) -> None:
    calls: list[int] = []

    def step(x: dl.Tensor) -> dl.Tensor:
        calls.append(1)
        y = x * 2
        if len(calls) == 2:
            raise ZeroDivisionError
        return y

    captured = dl.capture(step)
    captured(_x(draw, 6, 4, grad=False))
    captured(_x(draw, 6, 4, grad=False))


def _data() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((10, 4), np.float32), np.arange(10) % 3


@kind
def fits(draw: random.Random) -> None:
    model = _net()
    optimizer = optim.Adam(model.parameters())
    options: dict[str, Any] = {"loss": dl.cross_entropy, "optimizer": optimizer, "epochs": 3, "batch_size": 4}
    dl.fit(model, _data(), validation=_data(), metrics=["accuracy"], callbacks=[dl.train.EarlyStopping(2)], **options)
    dl.predict(model, _data()[0])


@expected(ZeroDivisionError, KeyboardInterrupt)
def fits_that_are_ended(draw: random.Random) -> None:
    error = draw.choice([ZeroDivisionError, KeyboardInterrupt])

    def stop(run: dl.train.Run) -> None:
        raise error

    model = _net()
    dl.fit(model, _data(), loss=dl.cross_entropy, optimizer=optim.SGD(model.parameters()), epochs=2, callbacks=[stop])


@kind
def loaders_left_in_the_middle(draw: random.Random) -> None:
    samples = [(np.ones(4, np.float32), i) for i in range(20)]
    for data in (samples, _data()):
        for x, _ in dl.data.DataLoader(data, batch_size=4, shuffle=True):
            x.sum()
            break
    batches = dl.data.Batches(samples).ahead(slice(i, i + 4) for i in range(0, 20, 4))
    next(batches)


@kind
def memory_of_others(draw: random.Random) -> None:
    x = _x(draw, grad=False)
    array = np.asarray(x)
    back = dl.from_numpy(array)
    again = dl.from_dlpack(np.from_dlpack(back))
    view = memoryview(again)
    capsule = again.__dlpack__(max_version=(1, 0))
    del x, array, back, again, capsule
    view.tolist()


@expected(dl.AutogradError)
def numpy_in_between(draw: random.Random) -> None:
    np.unwrap(_x(draw) * 2)


@kind
def generators_left_in_the_middle(draw: random.Random) -> None:
    @dl.no_grad
    def values() -> Iterator[dl.Tensor]:
        x = _x(draw)
        while True:
            x = x * 2
            yield x

    started = values()
    next(started)
    next(started)
    assert dl.is_grad_enabled()


@kind
def files(draw: random.Random) -> None:
    model = _net()
    optimizer = optim.Adam(model.parameters())
    _loss(model, draw).backward()
    optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        dl.save(model, path, optimizer=optimizer)
        dl.load(model, path, optimizer)
        path.write_bytes(path.read_bytes()[: draw.choice([0, 7, 100, 400])])
        try:
            dl.load(model, path, optimizer)
        except ValueError:
            model.zero_grad()


@kind
def copies(draw: random.Random) -> None:
    model = _net()
    model.parent = model
    other = copy.deepcopy(model)
    pickle.loads(pickle.dumps(other)).load_state_dict(other.state_dict())


@kind
def weak_references(draw: random.Random) -> None:
    gone: list[int] = []
    x = _x(draw)
    y = (x * x).sum()
    held = [weakref.ref(t, lambda _: gone.append(1)) for t in (x, y)]
    y.backward(create_graph=True)
    del x, y
    gc.collect()
    assert len(gone) == len(held) == 2


@kind
def threads(draw: random.Random) -> None:
    seeds = [draw.random() for _ in range(2)]
    workers = [threading.Thread(target=lambda s: _loss(_net(), random.Random(s)).backward(), args=(s,)) for s in seeds]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@kind
def figures(draw: random.Random) -> None:
    meter = dl.metrics.Meter(["accuracy", "top2", "confusion_matrix"])
    for _ in range(3):
        meter.update(_x(draw, 6, 4, grad=False), dl.zeros(6, dtype="int64"), dl.tensor(1.0))
    meter.compute()
