"""Callbacks that write down what a training does: lines in a file, TensorBoard's files, a picture of the curves."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlcore import _json
from dlcore._arguments import instance, integer
from dlcore._files import write
from dlcore.train.history import is_number
from dlcore.train.run import Callback, Run

__all__ = ["Log", "Plot", "TensorBoard", "read_log"]


_FIRST = '{"epoch": '  # how each line of a log in JSON begins


class Log(Callback):
    """Writes the figures of each epoch to ``path``: .jsonl (an object a line) or .csv (the numbers, with a head).

    A file that is there is kept up to the epoch before the first of this run: one that is resumed goes on in it, one
    that begins at the first epoch begins it anew. Numbers that are not finite are texts in JSON ("nan").
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(instance(path, str | os.PathLike, "Log: path", "a path"))
        if self.path.suffix not in (".jsonl", ".csv"):
            raise ValueError(f"Log: path {str(path)!r} ends neither in .jsonl nor in .csv")

    def on_train_begin(self, run: Run) -> None:
        self._begun = False

    def on_epoch_begin(self, run: Run) -> None:
        if not self._begun:
            self._begun = True
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows = [row for row in self._rows() if row["epoch"] < run.epoch]
            if self.path.exists() or self.path.suffix == ".csv":
                write(self.path, self._text(rows, run))

    def on_epoch_end(self, run: Run) -> None:
        if self.path.suffix == ".csv" and not self.path.stat().st_size:
            write(self.path, self._text([], run))
        with self.path.open("a") as file:
            file.write(self._line(run.logs))

    def _rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        if self.path.suffix == ".jsonl":
            return list(read_log(self.path))
        with self.path.open(newline="") as file:
            try:
                rows = [row for row in csv.DictReader(file) if None not in row.values()]  # but for one cut short
                return [{**row, "epoch": int(row["epoch"])} for row in rows]
            except (KeyError, ValueError, csv.Error) as error:
                raise ValueError(f"Log: {self.path} is there already, and no log: {error!r}; remove it") from None

    def _text(self, rows: list[dict[str, Any]], run: Run) -> str:
        if self.path.suffix == ".jsonl":
            return "".join(map(self._line, rows))
        known = rows or ([run.logs] if run.logs else [])
        if not known:
            return ""
        self._names = [name for name, value in known[0].items() if isinstance(value, str) or is_number(value)]
        return _row(self._names) + "".join(map(self._line, rows))

    def _line(self, figures: Mapping[str, Any]) -> str:
        if self.path.suffix == ".csv":
            return _row([figures.get(name, "") for name in self._names])
        return json.dumps({name: _plain(value) for name, value in figures.items()}) + "\n"


def _row(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def read_log(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The epochs in a .jsonl file that `Log` has written; a last line that was cut short is left out.

    Raises ValueError with the number of a line that is none of a log.
    """
    lines = Path(path).read_text().split("\n")
    for number, line in enumerate(lines, 1):
        try:
            row = _json.typed(dict[str, Any], _json.parse(line)) if line else None
            if row is not None and not isinstance(row.get("epoch"), int):
                raise ValueError("it has no epoch")
        except ValueError as error:
            if number == len(lines) and _FIRST.startswith(line[: len(_FIRST)]):
                return  # a process was killed while it wrote
            raise ValueError(f"{path}:{number}: not a line of a log: {error}") from None
        if row is not None:
            yield {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in row.items()}


class TensorBoard(Callback):
    """Writes TensorBoard's files into ``folder``: the loss of every step, and all figures of each epoch.

    Needs ``pip install "dlcore[tensorboard]"``. ``every``: of so many steps one loss is written.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int = 1):
        self.folder = Path(instance(folder, str | os.PathLike, "TensorBoard: folder", "a path"))
        self.interval = integer(every, "TensorBoard: every", 1)
        try:
            import tensorboardX
        except ImportError:
            raise ImportError('TensorBoard: tensorboardX is missing: pip install "dlcore[tensorboard]"') from None
        self._writer = tensorboardX.SummaryWriter

    def on_train_begin(self, run: Run) -> None:
        self.writer = self._writer(str(self.folder), purge_step=run.step or None)

    def on_losses(self, run: Run, losses: np.ndarray, norms: np.ndarray | None) -> None:
        first = run.step - len(losses) + 1
        for k, loss in enumerate(losses):
            if (first + k) % self.interval == 0:
                self.writer.add_scalar("step/loss", loss, first + k)
                if norms is not None:
                    self.writer.add_scalar("step/gradient norm", norms[k], first + k)

    def on_epoch_end(self, run: Run) -> None:
        for name, value in run.logs.items():
            if name != "epoch" and is_number(value):
                part, bare = ("validation", name[4:]) if name.startswith("val_") else ("training", name)
                self.writer.add_scalar(f"{part}/{bare}", value, run.epoch)

    def on_train_end(self, run: Run) -> None:
        self.writer.close()


class Plot(Callback):
    """Draws the curves of all figures into the picture ``path`` when the training ends, however it does.

    Needs matplotlib (``pip install "dlcore[plot]"``).
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = instance(path, str | os.PathLike, "Plot: path", "a path")

    def on_train_end(self, run: Run) -> None:
        if run.history.epochs:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            run.history.plot(self.path)
