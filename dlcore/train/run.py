"""A training run and its callbacks: `Run` and the base class `Callback`, each of which works with the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.nn.module import Module
from dlcore.optim import Optimizer
from dlcore.train.history import History
from dlcore.train.passes import Training

__all__ = ["Callback", "Run"]


class Run:
    """A training run, as callbacks see it.

    ``epoch``, from 1 to ``epochs``, and ``batch``, from 1 to ``batches``: where the run is; ``step``: how many steps
    have been made in all. ``logs``: the figures of the epoch that has just ended; ``names``: those that every epoch
    will have. ``history``: the epochs so far. ``optimizers``: all of them, ``optimizer`` the first. Set ``stop`` to end
    the run after this epoch.
    """

    def __init__(self, model: Module, optimizers: Sequence[Optimizer], training: Training, epochs: int, epoch: int):
        self.model, self.optimizers, self.optimizer = model, list(optimizers), optimizers[0]
        self.training, self.meter = training, training.meter
        self.epochs, self.batches = epochs, training.steps
        self.epoch, self.batch = epoch, 0
        self.logs: dict[str, Any] = {}
        self.names: tuple[str, ...] = training.meter.names
        self.history = History()
        self.stop = False
        self.callbacks: list[Callback] = []

    @property
    def step(self) -> int:
        """How many steps of the optimizer have been made, those of earlier epochs among them."""
        return max(self.epoch - 1, 0) * self.batches + self.batch

    def call(self, event: str) -> None:
        """Call the method ``event`` of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(self)


class Callback:
    """Base of callbacks; each method gets the :class:`Run`. Set ``run.stop = True`` to end after the epoch.

    A plain function given to ``fit`` as a callback is called at the end of each epoch. ``on_batch_end`` is called after
    every ``every``-th step of the run, for which ``fit``, which replays many steps at a time, stops there; with
    ``every = None`` it is called about fifty times a second, which costs nothing. Leave that method out if the end of
    an epoch will do, or write ``on_losses``, which gets the losses of all steps.
    """

    every: int | None = 1

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before epoch ``run.epoch``."""

    def on_batch_end(self, run: Run) -> None:
        """After a step of the optimizer."""

    def on_losses(self, run: Run, losses: np.ndarray, norms: np.ndarray | None) -> None:
        """About fifty times a second, after ``run.batch`` batches of the epoch: the losses of the last ones, float64.

        ``norms``: those of the gradients before clipping, where ``fit`` clips them by norm.
        """

    def on_epoch_end(self, run: Run) -> None:
        """After training and validation; the figures are in ``run.logs``."""

    def on_train_end(self, run: Run) -> None:
        """After the last epoch, also when it ended early, by Ctrl-C or by an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of this callback: numbers, texts, lists and dicts of them, and tensors in a dict."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave in the run that was interrupted; called after ``on_train_begin``."""
