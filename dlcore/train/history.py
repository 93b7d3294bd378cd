"""History: what a training run did, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

from dlcore._files import write_figure

__all__ = ["History"]


class History:
    """What ``dl.fit`` returns.

    ``epochs``: one dict for each epoch: epoch (from 1), loss, metrics, the same figures of the validation with ``val_``
    before their names, and seconds. ``recorded``: whether the step was recorded and replayed (`dlcore.capture`), and
    ``reason``: why it was not. ``diverged``: the first epoch with a loss that is not finite, or None. ``skipped``: how
    many steps were left out, as ``non_finite="skip"`` and float16 do.
    ``stopped_early``, ``interrupted``: whether a callback or Ctrl-C ended the run.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.recorded = False
        self.reason: str | None = None
        self.diverged: int | None = None
        self.skipped = 0
        self.stopped_early = False
        self.interrupted = False

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs of this one."""
        return {"epochs": self.epochs, "diverged": self.diverged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self.epochs, self.diverged = list(state["epochs"]), state["diverged"]

    def __getitem__(self, name: str) -> list[Any]:
        """The values of one figure in all epochs: ``history["val_loss"]``; NaN for epochs that did not measure it."""
        if self.epochs and name not in self.names:
            raise KeyError(f"{name!r}; there are {', '.join(self.names)}")
        return [epoch.get(name, math.nan) for epoch in self.epochs]

    @property
    def names(self) -> list[str]:
        """The figures of all epochs: a run that was resumed may have measured more."""
        return list(dict.fromkeys(name for epoch in self.epochs for name in epoch))

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={v:.4g}" for k, v in (self.epochs[-1] if self.epochs else {}).items() if is_number(v))
        return f"History({len(self.epochs)} epochs{': ' if last else ''}{last})"

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """A matplotlib figure of all curves, training and validation together; written to ``path`` too if one is given.

        Raises ImportError where matplotlib is missing (``pip install "dlcore[plot]"``).
        """
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError:
            raise ImportError('History.plot: matplotlib is missing: pip install "dlcore[plot]"') from None
        numbers = {k for epoch in self.epochs for k, v in epoch.items() if is_number(v)}
        names = [k for k in self.names if k in numbers and k not in ("epoch", "seconds") and k[:4] != "val_"]
        figure = Figure(figsize=(5 * max(len(names), 1), 3.6), layout="constrained")
        for i, name in enumerate(names):
            axes = figure.add_subplot(1, len(names), i + 1)
            axes.plot(self["epoch"], self[name], "o-", color="#0072b2", markersize=3, label="training")
            if f"val_{name}" in numbers:
                values = self[f"val_{name}"]
                axes.plot(self["epoch"], values, "s--", color="#d55e00", markersize=3, label="validation")
                axes.legend(frameon=False)
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3)
        if path is not None:
            write_figure(figure, path)
        return figure


def is_number(value: Any) -> bool:
    """Whether ``value`` is one number (a confusion matrix is not)."""
    return isinstance(value, int | float)
