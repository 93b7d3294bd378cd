"""The progress display: a moving bar, and a line for each epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dlcore.train.history import is_number
from dlcore.train.run import Callback, Run

_INTERVAL = 0.1  # seconds between updates: reading the running loss waits for the device


class ProgressBar(Callback):
    """Shows where the training is, at most ten times a second, so that it is not slowed down."""

    every = None

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self.told = False  # why the step is not recorded

    def on_train_begin(self, run: Run) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task("", total=run.batches, figures="")
        self.progress.start()

    def on_epoch_begin(self, run: Run) -> None:
        width = len(str(run.epochs))
        self.head = f"epoch {run.epoch:>{width}}/{run.epochs}"
        self.progress.reset(self.task, total=run.batches, description=self.head, figures="")
        self.due = time.monotonic() + _INTERVAL

    def on_batch_end(self, run: Run) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + _INTERVAL
            self.progress.update(self.task, completed=run.batch, figures=figures(run.meter.compute()))

    def on_epoch_end(self, run: Run) -> None:
        line = f"{self.head} {figures(run.logs)} [dim]{run.logs['seconds']:.1f}s[/]"
        self.progress.console.print(line, highlight=False, soft_wrap=True)
        if run.history.reason and not self.told:
            self.told = True
            text = f"[dim]every step runs eagerly: {escape(run.history.reason)}[/]"
            self.progress.console.print(text, highlight=False, soft_wrap=True)

    def on_train_end(self, run: Run) -> None:
        self.progress.stop()


def figures(values: Mapping[str, object]) -> str:
    """The numbers among ``values`` in one line, in rich's markup."""
    shown = {k: v for k, v in values.items() if k not in ("epoch", "seconds") and is_number(v)}
    return " ".join(f"[dim]{escape(name)}[/] {value:.4f}" for name, value in shown.items())
