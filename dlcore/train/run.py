"""A training run and its callbacks: `Run` and the base class `Callback`, each of which works with the other."""

from __future__ import annotations

from typing import Any

from dlcore.metrics import Meter
from dlcore.nn.module import Module
from dlcore.optim import Optimizer
from dlcore.train.history import History

__all__ = ["Callback", "Run"]


class Run:
    """A training run, as callbacks see it.

    ``epoch``, from 1 to ``epochs``, and ``batch``, from 1 to ``batches``: where the run is. ``logs``: the figures of
    the epoch that has just ended; ``names``: those that every epoch will have. ``history``: the epochs so far. Set
    ``stop`` to end the run after this epoch.
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
        """Call the method ``event`` of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(self)


class Callback:
    """Base of callbacks; each method gets the :class:`Run`. Set ``run.stop = True`` to end after the epoch.

    A plain function given to ``fit`` as a callback is called at the end of each epoch. A callback with ``on_batch_end``
    makes ``fit`` go step by step, where it replays many steps at a time otherwise. Leave that method out if the end of
    an epoch will do, or set ``every_batch`` to False: it is then called about fifty times a second.
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
