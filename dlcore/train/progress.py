"""How a training is shown while it runs: a moving bar on a terminal, a table in a notebook, else plain lines."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Mapping
from typing import Any

from dlcore.train.history import is_number
from dlcore.train.run import Callback, Run

__all__ = ["Lines", "NotebookTable", "ProgressBar", "display", "figures"]

_INTERVAL = 0.1  # seconds between updates of the bar: reading the running loss waits for the device
_PATIENCE = 5.0  # seconds between plain lines, and before the first


def display(wanted: bool | None) -> Callback | None:
    """The display for where this runs; None if none is ``wanted`` (None: short runs in a pipe show nothing)."""
    if wanted is False:
        return None
    if _in_notebook():
        return NotebookTable()
    if sys.stdout.isatty():
        return ProgressBar()
    return Lines(0.0 if wanted else _PATIENCE)


def _in_notebook() -> bool:
    """Whether IPython is here, and shows more than text."""
    shell = sys.modules.get("IPython")
    instance = None if shell is None else shell.get_ipython()
    return instance is not None and hasattr(instance, "kernel")


def figures(values: Mapping[str, Any]) -> str:
    """The numbers among ``values`` in one line, without those that tell where and how long."""
    return "  ".join(f"{name} {_short(value)}" for name, value in _shown(values).items())


def _shown(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in values.items() if k not in ("epoch", "seconds") and is_number(v)}


def _short(value: float) -> str:
    """Four digits that matter: 0.3141, 12.35, 2.7e-05."""
    size = abs(value)
    return f"{value:.2e}" if size and (size < 1e-3 or size >= 1e6) else f"{value:.4f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"


class _Rate:
    """Steps a second, and the seconds that are left, from when the run began here."""

    def __init__(self, run: Run):
        self.start, self.first, self.total = time.monotonic(), run.step, run.epochs * run.batches

    def samples(self, run: Run) -> float:
        """Samples a second."""
        passed = time.monotonic() - self.start
        return (run.step - self.first) * run.training.size / passed if passed > 0 else 0.0

    def left(self, run: Run) -> float | None:
        """Seconds until the end, if all goes on like this."""
        done = run.step - self.first
        return (time.monotonic() - self.start) / done * (self.total - run.step) if done > 0 else None


class ProgressBar(Callback):
    """A bar that moves with the steps, at most ten times a second, and a line that stays for each epoch."""

    every = None

    def __init__(self, console: Any = None):
        self.console = console
        self.told = False  # why the step is not recorded

    def on_train_begin(self, run: Run) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.text import Text

        self.console = self.console or Console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task("", total=run.batches, figures="")
        self.rate = _Rate(run)
        self.progress.start()
        for cast in run.training.batches.casts():
            self.progress.console.print(Text(f"{cast}: cast once", "dim"))

    def on_epoch_begin(self, run: Run) -> None:
        width = len(str(run.epochs))
        self.head = f"epoch {run.epoch:>{width}}/{run.epochs}"
        self.progress.reset(self.task, total=run.batches, description=self.head, figures="")
        self.due = time.monotonic() + _INTERVAL

    def on_batch_end(self, run: Run) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + _INTERVAL
        left = self.rate.left(run)
        text = f"{figures(run.meter.compute())}  {self.rate.samples(run):,.0f} samples/s"
        if left is not None:
            text += f"  {_duration(left)} left"
        self.progress.update(self.task, completed=run.batch, figures=text)

    def on_epoch_end(self, run: Run) -> None:
        from rich.text import Text

        line = Text(self.head)
        for name, value in _shown(run.logs).items():
            line.append(f"  {name} ", "dim").append(_short(value))
        line.append(f"  {_duration(run.logs['seconds'])}", "dim")
        self.progress.console.print(line, soft_wrap=True)
        if run.history.reason and not self.told:
            self.told = True
            text = Text(f"every step runs eagerly: {run.history.reason}", "dim")
            self.progress.console.print(text, soft_wrap=True)

    def on_train_end(self, run: Run) -> None:
        self.progress.stop()


class Lines(Callback):
    """Plain lines on stderr, at most one in ``patience`` seconds, and one at the end if there was any before."""

    every = None

    def __init__(self, patience: float = _PATIENCE):
        self.patience = patience

    def on_train_begin(self, run: Run) -> None:
        self.rate, self.due, self.shown = _Rate(run), time.monotonic() + self.patience, 0

    def on_batch_end(self, run: Run) -> None:
        if self.patience and time.monotonic() >= self.due and run.batch < run.batches:
            left = self.rate.left(run)
            text = f"{run.batch}/{run.batches}  {figures(run.meter.compute())}"
            self._say(run, text + ("" if left is None else f"  {_duration(left)} left"))

    def on_epoch_end(self, run: Run) -> None:
        last = run.epoch == run.epochs or run.stop
        if time.monotonic() >= self.due or (last and self.shown):
            self._say(run, f"{figures(run.logs)}  {_duration(run.logs['seconds'])}")
            if self.shown == 1:
                for cast in run.training.batches.casts():
                    self._say(run, f"{cast}: cast once")
                if run.history.reason:
                    self._say(run, f"every step runs eagerly: {run.history.reason}")

    def _say(self, run: Run, text: str) -> None:
        self.shown += 1
        self.due = time.monotonic() + self.patience
        print(f"epoch {run.epoch}/{run.epochs}  {text}", file=sys.stderr, flush=True)


class NotebookTable(Callback):
    """A table with a row for each epoch, under the cell of a notebook."""

    every = None

    def on_train_begin(self, run: Run) -> None:
        from IPython.display import HTML, display

        self.html, self.rate, self.due = HTML, _Rate(run), time.monotonic()
        self.handle = display(HTML(""), display_id=True)

    def on_batch_end(self, run: Run) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + 10 * _INTERVAL
            self._show(run, {"epoch": run.epoch, **run.meter.compute()})

    def on_epoch_end(self, run: Run) -> None:
        self._show(run, None)

    def _show(self, run: Run, running: Mapping[str, Any] | None) -> None:
        rows = [*run.history.epochs, *([running] if running else [])]
        self.handle.update(self.html(table(rows, run.epochs, self.rate.left(run) if running else None)))


def table(rows: list[Mapping[str, Any]], epochs: int, left: float | None = None) -> str:
    """The figures of epochs as a table in HTML."""
    names = list(dict.fromkeys(name for row in rows for name in _shown(row)))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("epoch", *names, "time"))
    body = []
    for row in rows:
        cells = [f"{row['epoch']}/{epochs}", *(_short(row[name]) if name in row else "" for name in names)]
        cells.append(_duration(row["seconds"]) if "seconds" in row else f"{_duration(left)} left" if left else "")
        body.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
