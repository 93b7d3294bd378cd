"""A training run and its callbacks: `Run` and the base class `Callback`, each of which works with the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._notes import note
from dlcore.nn.module import Module
from dlcore.optim import Optimizer
from dlcore.optim.schedules import Schedule
from dlcore.random import generator_states, set_generator_states
from dlcore.train.average import Average
from dlcore.train.history import History
from dlcore.train.passes import Training

__all__ = ["Callback", "Run"]

_KEPT = ("optimizer", "seed")  # the settings that a run goes on with, whatever it is given


class Run:
    """A training run, as callbacks see it.

    ``epoch``, from 1 to ``epochs``, and ``batch``, from 1 to ``batches``: where the run is; ``step``: how many steps
    have been made in all. ``logs``: the figures of the epoch that has just ended; ``names``: those that every epoch
    will have. ``history``: the epochs so far. ``optimizers``: all of them, ``optimizer`` the first. Set ``stop`` to end
    the run after this epoch.
    """

    def __init__(
        self, model: Module, optimizers: Sequence[Optimizer], training: Training, epochs: int, epoch: int,
        average: Average | None = None, schedule: Schedule | None = None, settings: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.model, self.optimizers, self.optimizer = model, list(optimizers), optimizers[0]
        self.training, self.meter = training, training.meter
        self.epochs, self.batches = epochs, training.steps
        self.epoch, self.batch = epoch, 0
        self.logs: dict[str, Any] = {}
        self.names: tuple[str, ...] = training.meter.names
        self.history = History()
        self.stop = False
        self.callbacks: list[Callback] = []
        self.average, self.schedule = average, schedule
        self.settings = dict(settings or {})
        """What `fit` was given that a run which goes on with this one should be given, too."""
        self.resumed: Mapping[str, Any] | None = None
        """What `state` gave in the run that this one goes on with."""

    @property
    def step(self) -> int:
        """How many steps of the optimizer have been made, those of earlier epochs among them."""
        return max(self.epoch - 1, 0) * self.batches + self.batch

    @property
    def ended(self) -> bool:
        """Whether the figures of this epoch are in the history: it is not to be made again."""
        return bool(self.history.epochs) and self.history.epochs[-1]["epoch"] == self.epoch

    def call(self, event: str) -> None:
        """Call the method ``event`` of every callback; where Ctrl-C ends one, the others all the same."""
        interrupt = None
        for callback in self.callbacks:
            try:
                getattr(callback, event)(self)
            except KeyboardInterrupt as error:
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt

    def state(self, ended: bool = False) -> dict[str, Any]:
        """All that the run is made of, for `go_on`; ``ended``: this epoch is done, its figures are in the history."""
        epoch, batch = (self.epoch + 1, 0) if ended else (self.epoch, self.batch)
        averages = None if self.average is None else self.average.state_dict()
        model = dict(self.model.state_dict())
        if self.average is not None:
            model |= self.average.trained(self.model)
        return {
            "epoch": epoch, "batch": batch, "stop": self.stop and ended, "sizes": self._sizes(),
            "seed": self.training.batches.seed, "settings": {**self.settings, "seed": self.training.batches.seed},
            "history": self.history.state_dict(), "model": model,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers], "average": averages,
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "generators": generator_states(), "meter": self.meter.state_dict(),
            "gate": None if self.training.gate is None else self.training.gate.state_dict(),
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self.callbacks],
        }  # fmt: skip

    def _sizes(self) -> dict[str, int]:
        batches = self.training.batches
        return {"samples": len(batches.dataset), "batch_size": self.training.size, "steps_per_epoch": self.batches}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Go on where the run ended that gave ``state``. Raises ValueError, before anything changes, for another one's.

        Callbacks are given what those of the same class, in order, have kept. A warning names settings that differ.
        """
        for name, size in self._sizes().items():
            if state["sizes"].get(name) != size:
                was = state["sizes"].get(name)
                times = " (times accumulate)" if name == "batch_size" else ""
                raise ValueError(f"{name} was {was} in the run that was interrupted, and is {size}{times}")
        if len(state["optimizers"]) != len(self.optimizers):
            raise ValueError(f"the run that was interrupted had {len(state['optimizers'])} optimizers")
        for name, own in (("average", self.average), ("schedule", self.schedule)):
            if (state[name] is None) != (own is None):
                raise ValueError(f"only one of the runs, this and the one that was interrupted, has a setting {name!r}")
        if self.schedule is not None and state["schedule"]["schedule"] != self.schedule.state_dict()["schedule"]:
            raise ValueError(f"the run that was interrupted had the schedule {state['schedule']['schedule']}")
        measured, names = state["meter"].get("names"), list(self.meter.names)
        if state["batch"] and measured and names and measured != names:
            raise ValueError(
                f"{', '.join(measured)} were measured in the epoch that was interrupted, and now {', '.join(names)}"
            )
        gate = self.training.gate
        if (state.get("gate") is None) != (gate is None):  # runs of older versions have none
            raise ValueError("only one of the runs, this and the one that was interrupted, leaves out or scales steps")
        prepared = [o._prepared(s) for o, s in zip(self.optimizers, state["optimizers"], strict=True)]
        kept = [list(entry) for entry in state["callbacks"]]
        self.model.load_state_dict(state["model"])
        for take_over in prepared:
            take_over()
        if self.schedule is not None:
            self.schedule.load_state_dict({**state["schedule"], "total": self.epochs * self.batches})
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if gate is not None:
            gate.load_state_dict(state["gate"])
        if state["batch"]:
            self.meter.load_state_dict(state["meter"], self.training.batches.device)
        else:
            self.meter.reset()  # an epoch begins, whatever it measures
        set_generator_states(state["generators"])
        self.history.load_state_dict(state["history"])
        self.training.batches.seed = state["seed"]
        self.epoch, self.batch, self.stop = state["epoch"], state["batch"], state["stop"]
        for callback in self.callbacks:
            for entry in kept:
                if entry[0] == type(callback).__name__:
                    callback.load_state_dict(entry[1])
                    kept.remove(entry)
                    break
        self._tell_differences(state.get("settings", {}))  # files of older versions have none

    def _tell_differences(self, before: Mapping[str, Any]) -> None:
        """Says what was given to the run that is gone on with, and is given to this one otherwise."""
        told = []
        for name in self.settings.keys() & before.keys():
            now, then = self.settings[name], before[name]
            if now == then or (name == "seed" and now is None):  # None would have drawn one
                continue
            if name in _KEPT:
                self.settings[name] = then
                told.append(f"{name} was {then}, which goes on, and is given as {now}")
            else:
                told.append("the training data are others" if name == "data" else f"{name} was {then} and is {now}")
        if told:
            note(f"fit: Resume: unlike in the run that was interrupted, {'; '.join(sorted(told))}")


class Callback:
    """Base of callbacks; each method gets the :class:`Run`. Set ``run.stop = True`` to end after the epoch.

    A plain function given to ``fit`` as a callback is called at the end of each epoch. ``on_batch_end`` is called after
    every ``every``-th step of the run, for which ``fit``, which replays many steps at a time, stops there; with
    ``every = None`` it is called about fifty times a second, which costs nothing. Leave that method out if the end of
    an epoch will do, or write ``on_losses``, which gets the losses of all steps.
    """

    every: int | None = 1
    after_others = False
    """Whether it is called after the others, so that it sees what they have done."""

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

    def on_interrupt(self, run: Run) -> None:
        """After Ctrl-C or SIGTERM, when the last step is finished, before ``on_train_end`` of any callback.

        The model still has the weights that are trained: no callback has put others in their place.
        """

    def on_train_end(self, run: Run) -> None:
        """After the last epoch, also when it ended early, by Ctrl-C or by an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of this callback: numbers, texts, lists and dicts of them, and tensors in a dict."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave in the run that was interrupted; called after ``on_train_begin``."""
