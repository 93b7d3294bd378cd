"""The epochs of a training run, one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np

from dlcore._notes import note
from dlcore.optim.schedules import Plateau
from dlcore.train import mistakes
from dlcore.train.callbacks import Checkpoint
from dlcore.train.interrupt import Interrupt
from dlcore.train.passes import Evaluation
from dlcore.train.run import Callback, Run
from dlcore.train.sentinel import NonFiniteError, Sentinel

__all__ = ["Loop"]


class Loop:
    """The epochs of a run, one after the other."""

    def __init__(
        self, run: Run, scoring: Evaluation | None, interrupt: Interrupt, check: bool, sentinel: Sentinel | None
    ):
        self.run, self.training, self.average = run, run.training, run.average
        self.scoring, self.interrupt, self.check, self.sentinel = scoring, interrupt, check, sentinel
        self._switching: list[Any] = [o for o in run.optimizers if hasattr(o, "eval")]  # that keep averages themselves
        self._told = False  # that steps were left out
        self._read = 0  # the losses of so many batches of this epoch have been read back

    def go(self) -> None:
        """Run all epochs that are left, and call ``on_train_end`` whatever happens."""
        run, interrupted = self.run, False
        begun: list[Callback] = []
        try:
            self._begin(begun)
            self.interrupt.check()
            while run.epoch <= run.epochs and not run.stop:
                self._epoch()
                if run.stop:
                    run.history.stopped_early = run.epoch < run.epochs
                    break
                run.epoch, run.batch = run.epoch + 1, 0
        except (KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, SystemExit) and not self.interrupt.terminated:
                raise  # of a callback
            interrupted = run.history.interrupted = True
            run.call("on_interrupt")
        finally:
            run.epoch = min(run.epoch, run.epochs)
            self._note_recording()
            for optimizer in self._switching:
                optimizer.eval()
            if self.average is not None:
                self.average.apply()
            with ExitStack() as ending:  # all of it, also where a callback fails
                if run.schedule is not None:
                    ending.callback(run.schedule.detach)
                for callback in reversed(begun):
                    ending.callback(callback.on_train_end, run)
        if interrupted:
            self._raise_interrupt()

    def _begin(self, begun: list[Callback]) -> None:
        """Call ``on_train_begin`` of all callbacks, which come into ``begun``, and go on with an earlier run."""
        run = self.run
        for callback in run.callbacks:
            callback.on_train_begin(run)
            begun.append(callback)
        if run.resumed is not None:
            try:
                run.go_on(run.resumed)
            except (ValueError, KeyError) as error:
                raise ValueError(f"fit: Resume: {error}") from None
        run.model.preprocessing = self.training.batches.preprocessing

    def _epoch(self) -> None:
        run, start = self.run, time.perf_counter()
        run.call("on_epoch_begin")
        self._train()
        self._note_recording()
        run.logs = {"epoch": run.epoch, **run.meter.compute()}
        if self.scoring is not None:
            with self._averaged():
                scores = self.scoring.scores(self._let_interrupt)
            run.logs |= {f"val_{name}": value for name, value in scores.items()}
        if run.schedule is not None:
            if isinstance(run.schedule, Plateau):
                run.schedule.step(run.logs["val_loss" if "val_loss" in run.logs else "loss"])
            run.logs["lr"] = run.schedule.rates_now[0]
        run.logs["seconds"] = time.perf_counter() - start
        self._note_divergence()
        mistakes.after_epoch(run)
        run.history.epochs.append(run.logs)
        with self._averaged():
            run.call("on_epoch_end")
        self.interrupt.check()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within it the model has the averages for its weights, where there are any."""
        for optimizer in self._switching:
            optimizer.eval()
        with nullcontext() if self.average is None else self.average.applied():
            yield
        for optimizer in self._switching:
            optimizer.train()

    def _let_interrupt(self, done: int) -> None:
        self.interrupt.check()

    def _train(self) -> None:
        """The steps of an epoch that are left."""
        run, training = self.run, self.training
        first = (run.epoch - 1) * training.steps
        run.model.train()
        for optimizer in self._switching:
            optimizer.train()
        if not run.batch:
            run.meter.reset()
        training.trace.restart(run.batch)
        self._read = run.batch
        if self.check:
            training.step.compare_next()
        if self.sentinel is not None:
            self.sentinel.begin()
        try:
            training.run(first + run.batch, first + training.steps, self._after)
        except NonFiniteError as error:
            assert self.sentinel is not None
            self.sentinel.go_back(error.batch)

    def _after(self, done: int) -> int | None:
        """What is to be done between steps, of which ``done`` have been made; returns when this is wanted again."""
        run = self.run
        stepped = done > run.step
        run.batch = done - (run.epoch - 1) * run.batches
        watchers = [c for c in run.callbacks if type(c).on_batch_end is not Callback.on_batch_end]
        if stepped:
            if self.sentinel is not None:
                self.sentinel.check()
            self._read_losses()
            for callback in watchers:
                if callback.every is None or run.step % callback.every == 0:
                    callback.on_batch_end(run)
            if self.check and any(c.every == 1 for c in watchers):
                self.training.step.compare_next()
            self.interrupt.check()
        return min((done + c.every - done % c.every for c in watchers if c.every is not None), default=None)

    def _read_losses(self) -> None:
        """Hands the losses of the steps since the last time to the callbacks that want them."""
        run = self.run
        listening = [c for c in run.callbacks if type(c).on_losses is not Callback.on_losses]
        if not listening:
            return
        figures = self.training.trace.read(self._read, run.batch)
        self._read = run.batch
        for callback in listening:
            callback.on_losses(run, figures[:, 0], figures[:, 1] if figures.shape[1] > 1 else None)

    def _note_recording(self) -> None:
        self.run.history.recorded = self.training.step.recorded
        if self.training.gate is not None:
            self.run.history.skipped = self.training.gate.skipped
        self.run.history.reason = self.training.step.failure

    def _note_divergence(self) -> None:
        """Says once that a loss is not finite, since which batch, and whether the data are not."""
        run, batches = self.run, self.training.batches
        self._note_skipped()
        names = [name for name in ("loss", "val_loss") if not math.isfinite(run.logs.get(name, 0.0))]
        if not names or run.history.diverged is not None:
            return
        run.history.diverged = run.epoch
        bad = list(mistakes.damaged_data(batches))
        cause = f"the {' and the '.join(bad)} hold NaN or infinities" if bad else "the training has diverged"
        wrong = ~np.isfinite(self.training.trace.read(0, run.batch)[:, 0])
        since = f" since batch {int(wrong.argmax()) + 1}" if names[0] == "loss" and wrong.any() else ""
        text = f"fit: {names[0]} is {run.logs[names[0]]} in epoch {run.epoch}{since}: {cause}"
        note(text)

    def _note_skipped(self) -> None:
        """Says once that steps were left out; a scaler does so all the time."""
        gate, history = self.training.gate, self.run.history
        if gate is None or gate.scaler is not None or not history.skipped or self._told:
            return
        self._told = True
        text = f"fit: steps were left out, for their loss or gradients were not finite: {history.skipped} up to epoch "
        note(f"{text}{self.run.epoch}")

    def _raise_interrupt(self) -> None:
        run = self.run
        saved = [str(c.path) for c in run.callbacks if isinstance(c, Checkpoint) and c.saved]
        error = self.interrupt.error(
            f"fit: stopped in epoch {run.epoch} of {run.epochs} after {run.batch} of {run.batches} batches"
            + (f"; the model is saved in {', '.join(saved)}" if saved else "")
        )
        error.history = run.history  # type: ignore[attr-defined]
        raise error
