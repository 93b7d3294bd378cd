"""The first loss that is not finite stops a run, with the weights that it had before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore._anomaly import detect_anomaly
from dlcore._notes import note
from dlcore._tensor import Tensor
from dlcore.errors import AnomalyError
from dlcore.train.mistakes import damaged_data
from dlcore.train.run import Run

__all__ = ["NonFiniteError", "Sentinel"]

_SPACING = 0.5  # seconds, at least, between two copies of the state
_SHARE = 50  # and so many times what a copy takes: copies cost at most 2 % of the time


class NonFiniteError(Exception):
    """A figure of step ``batch`` of this epoch, counted from 0, is not finite. It does not leave ``fit``."""

    def __init__(self, batch: int):
        super().__init__(batch)
        self.batch = batch


class Sentinel:
    """Looks at the figures of the steps between them, and goes back to before the first that is not finite.

    Nothing is added to a step: the figures that it writes are read as often as callbacks get their turn, and the state
    of the run is copied at times. From the last copy the steps are made again, to the same bits, up to the bad one.
    """

    def __init__(self, run: Run):
        self.run, self.checked = run, 0
        self.state: dict[str, Any] = {}
        self.due = 0.0

    def begin(self) -> None:
        """An epoch begins, or goes on."""
        self.checked, self.due = self.run.batch, 0.0
        self._keep()

    def check(self) -> None:
        """Raises NonFiniteError where a figure of the steps since the last time is not finite."""
        run = self.run
        rows = run.training.trace.read(self.checked, run.batch)
        if run.training.gate is not None:  # which takes care of gradients, and so of their norm
            rows = rows[:, :1]
        wrong = ~np.isfinite(rows).all(axis=1)
        if wrong.any():
            raise NonFiniteError(self.checked + int(wrong.argmax()))
        self.checked = run.batch
        self._keep()

    def _keep(self) -> None:
        start = time.monotonic()
        if start < self.due:
            return
        self.state = _copied({**self.run.state(), "callbacks": []})
        end = time.monotonic()
        self.due = end + max(_SPACING, _SHARE * (end - start))

    def go_back(self, batch: int) -> None:
        """Put everything back to before step ``batch``, or the one before it where that has made the weights wrong.

        Says in which epoch and batch, and what operation made the first NaN or infinity.
        """
        run = self.run
        begin = self.state["batch"]
        cause = ""
        self._redo(max(batch - 1, begin))
        while run.batch <= batch:
            try:
                with detect_anomaly():
                    self._steps(run.batch + 1)
            except AnomalyError as error:
                cause, batch = f"{error}{_place(error)}", run.batch
                break
        self._redo(batch)
        run.history.diverged, run.stop = run.epoch, True
        damaged = " and ".join(damaged_data(run.training.batches).values())
        cause = cause or damaged or "the operation that made it could not be found again"
        note(
            f"fit: the loss or its gradient is not finite in epoch {run.epoch}, batch {batch + 1}: {cause}; training "
            "stops with the weights from before that batch"
        )

    def _redo(self, end: int) -> None:
        """The steps from the last copy of the state to before step ``end`` of this epoch."""
        self.run.go_on(_copied(self.state))
        self.run.training.trace.restart(self.run.batch)
        self._steps(end)

    def _steps(self, end: int) -> None:
        run = self.run
        first = (run.epoch - 1) * run.batches
        run.training.run(first + run.batch, first + end, lambda done: None)
        run.batch = end


def _place(error: AnomalyError) -> str:
    """Where in the program an operation was called: the innermost line that is not dlcore's."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "dlcore":
            found = f", at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _copied(value: Any) -> Any:
    """A copy that later steps do not write to."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value
