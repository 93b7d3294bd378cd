"""The callbacks that come with dlcore."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from dlcore import metrics
from dlcore._arguments import boolean, choice, function, instance, integer, number
from dlcore._checkpoint import save
from dlcore._safetensors import read_metadata
from dlcore._tensor import Tensor
from dlcore.train.run import Callback, Run

__all__ = ["Checkpoint", "Each", "EarlyStopping", "LearningRate"]


class _Monitor(Callback):
    """Base of callbacks that follow one figure and tell when it is the best so far."""

    def __init__(self, monitor: str | None, mode: str | None, min_delta: float = 0.0):
        name = type(self).__name__
        self.min_delta = abs(number(min_delta, f"{name}: min_delta"))
        if not math.isfinite(self.min_delta):
            raise ValueError(f"{name}: min_delta is {self.min_delta}; it must be finite")
        self.mode = choice(mode, (None, "min", "max"), f"{name}: mode")
        self.monitor = instance(monitor, str | None, f"{name}: monitor", "the name of a figure")

    def on_train_begin(self, run: Run) -> None:
        self.name = self.monitor or ("val_loss" if "val_loss" in run.names else "loss")
        if self.name not in run.names:
            raise ValueError(
                f"{type(self).__name__}: {self.name!r} is not measured in this run ({', '.join(run.names)})"
            )
        self.sign = -1.0 if self._higher_is_better() else 1.0
        self.best = math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]

    def _higher_is_better(self) -> bool:
        bare = self.name.removeprefix("val_")
        if self.mode is not None:
            return self.mode == "max"
        try:
            return bare != "loss" and metrics.get(bare).higher_is_better
        except ValueError:
            raise ValueError(f'{type(self).__name__}: say mode="min" or mode="max" for {self.name!r}') from None

    def improved(self, run: Run) -> bool:
        """Whether this epoch is the best so far by more than ``min_delta`` (NaN never is)."""
        value = self.sign * float(run.logs[self.name])
        if value < self.best - self.min_delta or (math.isinf(self.best) and value < math.inf):
            self.best = value
            return True
        return False


class EarlyStopping(_Monitor):
    """Ends training when ``monitor`` has not improved for ``patience`` epochs.

    monitor: a figure of the epochs (default: val_loss, or loss without validation). mode: "min" or "max", which need
    not be said for losses and dlcore's metrics. restore_best: the model ends with the weights of its best epoch.
    """

    def __init__(
        self,
        patience: int = 5,
        monitor: str | None = None,
        restore_best: bool = False,
        min_delta: float = 0.0,
        mode: str | None = None,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = integer(patience, "EarlyStopping: patience", 1)
        self.restore_best = boolean(restore_best, "EarlyStopping: restore_best")

    def on_train_begin(self, run: Run) -> None:
        super().on_train_begin(run)
        self.waited = 0
        self.best_epoch: int | None = None
        self._weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, run: Run) -> None:
        if self.improved(run):
            self.waited, self.best_epoch = 0, run.epoch
            if self.restore_best:
                self._weights = {name: value.clone() for name, value in run.model.state_dict().items()}
        else:
            self.waited += 1
            if self.waited >= self.patience:
                run.stop = True

    def on_train_end(self, run: Run) -> None:
        if self._weights is not None:
            run.model.load_state_dict(self._weights)
            self._weights = None

    def state_dict(self) -> dict[str, Any]:
        own = {"waited": self.waited, "best_epoch": self.best_epoch, "weights": self._weights}
        return super().state_dict() | own

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.waited, self.best_epoch, self._weights = state["waited"], state["best_epoch"], state["weights"]


class Checkpoint(_Monitor):
    """Saves the model to ``path`` after each epoch, or with ``save_best`` only when ``monitor`` is the best so far.

    With ``save_best`` the file tells the figure's name and value (``metadata``: "monitor", "score"), and only a better
    model replaces it, in later runs too: after a run that was never better, ``saved`` is False and ``path`` holds the
    earlier model. Remove the file to begin anew; one that does not tell this figure is replaced after the first epoch.

    On Ctrl-C it saves the weights of the last finished step (with ``save_best`` only where no epoch's are in the file).
    optimizer: its state is kept in the file too, so that training can go on after ``dl.load(model, path, optimizer)``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_best: bool = False,
        monitor: str | None = None,
        mode: str | None = None,
        optimizer: bool = False,
    ):
        super().__init__(monitor, mode)
        self.path = instance(path, str | os.PathLike, "Checkpoint: path", "a path")
        self.save_best = boolean(save_best, "Checkpoint: save_best")
        self.optimizer = boolean(optimizer, "Checkpoint: optimizer")

    def on_train_begin(self, run: Run) -> None:
        self.best = math.inf
        if self.save_best:
            super().on_train_begin(run)
        self.saved = False

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"saved": self.saved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.saved = state["saved"]

    def on_epoch_end(self, run: Run) -> None:
        if not self.save_best:
            self._save(run)
        elif self.improved(run):
            kept = self._kept()
            if kept is None or self.best < self.sign * kept:
                self._save(run, {"monitor": self.name, "score": repr(self.sign * self.best)})

    def on_train_end(self, run: Run) -> None:
        if run.history.interrupted and not (self.save_best and (self.saved or self._kept() is not None)):
            self._save(run)

    def _kept(self) -> float | None:
        """The figure that the file tells of its model; None where there is no file, or it does not tell it."""
        if not os.path.isfile(self.path):
            return None
        try:
            texts = read_metadata(self.path)
            score = float(texts["score"]) if texts.get("monitor") == self.name else math.nan
        except (ValueError, KeyError):
            return None
        return score if math.isfinite(score) else None

    def _save(self, run: Run, metadata: Mapping[str, str] | None = None) -> None:
        save(run.model, self.path, metadata=metadata, optimizer=run.optimizer if self.optimizer else None)
        self.saved = True


class LearningRate(Callback):
    """Sets the learning rate before each epoch: ``LearningRate(lambda epoch: 1e-3 * 0.9**epoch)``, epoch from 0."""

    def __init__(self, schedule: Callable[[int], float]):
        self.schedule = function(schedule, "LearningRate: schedule")

    def on_epoch_begin(self, run: Run) -> None:
        run.optimizer.lr = self.schedule(run.epoch - 1)


class Each(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def on_epoch_end(self, run: Run) -> None:
        self.function(run)
