"""Ctrl-C and SIGTERM at random moments of training, saving and sweeping.

A run ends soon after the signal, by KeyboardInterrupt or SystemExit (or by SIGTERM itself where dlcore does not hold
it back), never in another way; `fit` gives its History, ends its callbacks and puts the handlers back; the model is
usable, what a checkpoint holds can be loaded and is what the model was, and a file that was being saved is the old or
the new one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from . import children

UNIT = "signals"
SMALL, LARGE = 30, 600
SECONDS = 2.0  # after a signal, on a busy machine; a quiet one needs 0.1
HANDLED = (signal.SIGINT, signal.SIGTERM)
FRESH = 15  # one in so many units is a process that has not even imported dlcore


def attack(count: int, seed: int) -> Iterator[str]:
    for unit in range(0, count, FRESH):
        yield from _fresh(unit, seed)
    yield from children.violations(signals, count, seed, chunk=50, seconds=240.0)


def _fresh(unit: int, seed: int) -> Iterator[str]:
    draw = random.Random(f"{seed} fresh {unit}")
    number, delay = draw.choice((signal.SIGINT, signal.SIGTERM)), draw.random()
    sent = []

    def shoot(process: subprocess.Popen[bytes]) -> None:
        time.sleep(delay)
        if process.poll() is None:
            process.send_signal(number)
            sent.append(number)

    outcome = children.run(first_moments, meanwhile=shoot, seconds=60.0)
    ends = "", "died of SIGINT", "died of SIGTERM", "ended with exit code 143", "ended with exit code 1"
    numpys_own = "Importing the numpy C-extensions failed" in outcome.how  # where Ctrl-C came while it was imported
    if outcome.how not in ends and not numpys_own:
        yield f"fresh process {unit} of seed {seed}, {number.name} after {delay:.3f} s: {outcome}"


def first_moments() -> None:
    """Everything from the first import on."""
    import numpy.random  # noqa: F401  # its modules of Cython swallow a Ctrl-C that comes while they load

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="attack-signals-") as folder:
        train(Path(folder))


def signals(first: int, count: int, seed: int) -> list[str]:
    """What went wrong in these units, a line each."""
    import numpy.random  # noqa: F401  # what the victims share; see first_moments

    import dlcore.optim
    import dlcore.train.progress  # noqa: F401

    found = []
    for unit in range(first, first + count):
        draw = random.Random(f"{seed} {unit}")
        work = draw.choice((train, train, save, sweep))
        number = draw.choice((signal.SIGINT, signal.SIGTERM))
        delay = draw.random() ** 2 * 0.3
        text = f"{work.__name__}, unit {unit} of seed {seed}, {number.name} after {delay:.4f} s"
        children.mark(f"{unit} {text}")
        with tempfile.TemporaryDirectory(prefix="attack-signals-") as folder:
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # until the victim is ready for them
            victim = os.fork()
            if not victim:
                _be_victim(work, Path(folder))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            time.sleep(delay)
            os.kill(victim, number)
            how = _wait(victim, number, work is not train)
            if not how and work is save:
                how = _saved(Path(folder))
        if how:
            found.append(f"{text}: {how}")
    return found


def _be_victim(work: Callable[[Path], None], folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 0
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        work(folder)
    except KeyboardInterrupt:
        code = 130
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 5
    except BaseException:
        traceback.print_exc()
        code = 4
    os._exit(code)


def _wait(victim: int, number: int, killed: bool) -> str:
    """How a victim ended if not well; ``killed``: whether SIGTERM may end it at once."""
    start = time.monotonic()
    done = status = 0
    while not done and time.monotonic() - start < SECONDS + 10:
        done, status = os.waitpid(victim, os.WNOHANG)
        time.sleep(0.0005)
    seconds = time.monotonic() - start
    if not done:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        return "it did not end"
    code = os.waitstatus_to_exitcode(status)
    good = {0, 128 + number, -number}  # -number: before a handler was there
    if code not in good:
        return f"it ended with {code}"
    return f"it took {seconds:.2f} s to end" if seconds > SECONDS else ""


def train(folder: Path) -> None:
    """A run of `fit` with a checkpoint and a progress bar."""
    import numpy as np

    import dlcore as dl
    from dlcore import nn, optim
    from dlcore.train import Callback, Checkpoint

    class Ended(Callback):
        ended = begun = False

        def on_train_begin(self, run: object) -> None:
            self.begun = True

        def on_train_end(self, run: object) -> None:
            self.ended = True

    x = np.random.default_rng(0).standard_normal((4096, 20)).astype(np.float32)
    y = (x.sum(1) > 0).astype(np.int64)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    checkpoint, ended = Checkpoint(folder / "model.safetensors"), Ended()
    arguments = {"loss": dl.cross_entropy, "optimizer": optimizer, "epochs": 1000, "callbacks": [checkpoint, ended]}
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        dl.fit(model, (x, y), (x[:500], y[:500]), progress=True, **arguments)
    except (KeyboardInterrupt, SystemExit) as error:
        if "dlcore.train.loop" in sys.modules and ended.begun:
            assert error.history.interrupted, "the history does not say that it was interrupted"
            assert ended.ended, "on_train_end was not called"
            assert checkpoint.saved, "nothing was saved"
            again = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
            dl.load(again, checkpoint.path)
            pairs = zip(again.parameters(), model.parameters(), strict=True)
            assert all((a.numpy() == b.numpy()).all() for a, b in pairs), "the checkpoint is not the model"
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before, "handlers are left"
        assert np.isfinite(dl.predict(model, x[:10]).numpy()).all(), "the model is not usable"
        raise


def save(folder: Path) -> None:
    """The same file, written again and again."""
    import dlcore as dl
    from dlcore import nn

    model = nn.Linear(300, 300)
    for value in range(1_000_000):
        with dl.no_grad():
            model.weight.copy_(dl.full((300, 300), float(value % 7)))
        dl.save(model, folder / "model.safetensors")


def _saved(folder: Path) -> str:
    import dlcore as dl
    from dlcore import nn

    path = folder / "model.safetensors"
    if not path.exists():
        return ""
    model = nn.Linear(300, 300)
    try:
        dl.load(model, path)
    except Exception as error:
        return f"the file cannot be loaded: {error}"
    weight = model.weight.numpy()
    return "" if (weight == weight[0, 0]).all() else "the file holds two states"


def sweep(folder: Path) -> None:
    """Millions of replays in one call."""
    import dlcore as dl

    total = dl.zeros(64)

    def step(x: object) -> object:
        total.copy_(total * 0.5 + x)
        return total.sum()

    captured = dl.capture(step)
    x = dl.ones(1, 64).expand(3_000_000, 64)
    captured.sweep(x)
