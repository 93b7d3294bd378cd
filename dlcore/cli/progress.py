"""How far a long command is: a bar on a terminal, plain lines on stderr elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

__all__ = ["Stages"]

_PATIENCE = 5.0  # seconds between plain lines, and before the first


class Stages(Progress):
    """A bar, or where the console is no terminal a line for the task at hand once in a few seconds."""

    def __init__(self, console: Console):
        columns = (TextColumn("{task.description:24}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        super().__init__(*columns, console=console, transient=True)
        self._told = time.monotonic()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As rich's."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As rich's."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        now = time.monotonic()
        if not self.console.is_terminal and now >= self._told + _PATIENCE:
            task, self._told = self.tasks[self.task_ids.index(task_id)], now
            done = "" if task.total is None else f" ({task.percentage:.0f}%)"
            print(f"{task.description}{done}", file=sys.stderr, flush=True)
