"""Trainings that are killed.

A process that trains, and saves its state every few steps, is killed by SIGKILL at a random moment; another one goes on
in the same folder, and is killed in turn. When one is let through, the model and the history are the same bits as those
of a training that nobody has killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import children

UNIT = "kills"
SMALL, LARGE = 6, 500

_KINDS = ("plain", "averages", "schedule", "early stopping")


def attack(count: int, seed: int) -> Iterator[str]:
    yield from children.violations(resumes, count, seed, chunk=50, seconds=400.0)


def resumes(first: int, count: int, seed: int) -> list[str]:
    """What was wrong after these kills, a line each."""
    found = []
    unit = first
    while unit < first + count:
        children.mark(f"{unit} of seed {seed}")
        draw = random.Random(f"{seed} {unit}")
        kind, every = draw.choice(_KINDS), draw.choice([1, 3, 7, 40])
        with tempfile.TemporaryDirectory() as folder:
            whole, killed = Path(folder, "whole"), Path(folder, "killed")
            start = time.perf_counter()
            if (code := _end(_begin(whole, kind, every))) != 0:
                found.append(f"kill {unit} of seed {seed}, {kind}: the training itself ended with {code}")
                unit += 1
                continue
            seconds, kills, code = time.perf_counter() - start, 0, -1
            while code:
                process = _begin(killed, kind, every)
                if kills < min(4, first + count - unit):
                    time.sleep(seconds * draw.random())
                    os.kill(process, signal.SIGKILL)
                code = _end(process)
                if code not in (0, -signal.SIGKILL):
                    break
                kills += code != 0
            same = code == 0 and (killed / "end.json").read_bytes() == (whole / "end.json").read_bytes()
            if not same:
                found.append(f"kill {unit} of seed {seed}, {kind}, every {every}: after {kills} kills not the same")
            unit += max(kills, 1)
    return found


def _begin(folder: Path, kind: str, every: int) -> int:
    """The process that trains in ``folder``, from the start or further."""
    if process := os.fork():
        return process
    code = 1
    try:
        _train(folder, kind, every)
        code = 0
    finally:
        os._exit(code)


def _end(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _train(folder: Path, kind: str, every: int) -> None:
    import dlcore as dl
    from dlcore import nn, optim

    rng = np.random.default_rng(0)
    x = rng.standard_normal((96, 8)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)
    dl.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 3))
    callbacks: list[dl.train.Callback] = [dl.train.Resume(folder, every=every)]
    settings = {
        "averages": {"ema": 0.9, "clip_norm": 1.0},
        "schedule": {"schedule": optim.schedules.Cosine(warmup=5)},
    }.get(kind, {})
    if kind == "early stopping":
        callbacks.insert(0, dl.train.EarlyStopping(patience=2, restore_best=True))
    history = dl.fit(
        model, (x, labels), (x[:40], labels[:40]), loss="cross_entropy", batch_size=12, epochs=8, callbacks=callbacks,
        optimizer=optim.AdamW(model.parameters(), lr=1e-2), metrics=["accuracy"], progress=False, **settings,
    )  # fmt: skip
    figures = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in history.epochs]
    weights = {name: np.asarray(value).tolist() for name, value in model.state_dict().items()}
    (folder / "end.json").write_text(json.dumps([figures, weights]))
