"""A training run, and the callbacks that it tells what happens: two classes that know each other."""

from __future__ import annotations

from typing import Any

from dlcore.metrics import Meter
from dlcore.nn.module import Module
from dlcore.optim import Optimizer
from dlcore.train.history import History

__all__ = ["Callback", "Run"]


class Run:
    """A training run, as callbacks see it.

    ``epoch`` (from 1) of ``epochs``, ``batch`` (from 1) of ``batches``, ``logs``: the figures of the epoch that just
    ended, ``names``: the figures there will be, ``history``; set ``stop`` to end the run after this epoch.
    """

    def __init__(self, model: Module, optimizer: Optimizer, batches: int, epochs: int, meter: Meter):
        self.model, self.optimizer, self.meter = model, optimizer, meter
        self.epochs, self.batches = epochs, batches
        self.epoch = self.batch = 0
        self.logs: dict[str, Any] = {}
        self.names: tuple[str, ...] = ("loss", *(m.name for m in meter.metrics))
        self.history = History()
        self.stop = False
        self.callbacks: list[Callback] = []

    def call(self, event: str) -> None:
        """Tell the callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(self)


class Callback:
    """Base of callbacks; each method gets the :class:`Run`. Set ``run.stop = True`` to end after the epoch.

    A plain function given to ``fit`` as a callback is called at the end of each epoch. ``on_batch_end`` makes ``fit``
    go step by step instead of replaying many steps a call: leave it out where an epoch's end will do, or set
    ``every_batch`` to False, and it is called after some steps, about fifty times a second.
    """

    every_batch = True

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before epoch ``run.epoch``."""

    def on_batch_end(self, run: Run) -> None:
        """After each step of the optimizer."""

    def on_epoch_end(self, run: Run) -> None:
        """After training and validation; the figures are in ``run.logs``."""

    def on_train_end(self, run: Run) -> None:
        """After the last epoch, also when it ended early, by Ctrl-C or by an error."""
