"""Ctrl-C and SIGTERM take effect between steps, not within them."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from dlcore.train.history import History

__all__ = ["Interrupt"]


class Interrupt:
    """Holds back the first Ctrl-C until :meth:`check`, so that a step, a copy of weights or a file is always finished.

    It does so from :meth:`hold` on, or from the start where there is no ``history``; before, and the second time, Ctrl-C acts at once. SIGTERM does the same, except
    that the program ends in the end: ``terminated`` tells. Outside of the main thread, and where the program handles a
    signal itself, nothing is changed.
    """

    def __init__(self, history: History | None = None) -> None:
        self.history = history  # the attribute `history` of the exception
        self.requested = self.terminated = False
        self._holding = history is None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) is default:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def hold(self) -> None:
        """From here on the first signal waits for :meth:`check`."""
        self._holding = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.terminated = self.terminated or number == signal.SIGTERM
        again = self.requested
        self.requested = True  # also where it is raised here: what swallows the exception ends at the next check
        if again or not self._holding:
            raise self.error()

    def check(self) -> None:
        """Raise the interrupt that was held back, if there was one."""
        if self.requested:
            self.requested = False
            raise self.error()

    def error(self, text: str = "") -> BaseException:
        """What ends a run: KeyboardInterrupt, or the SystemExit of a process that was told to end."""
        return SystemExit(128 + signal.SIGTERM) if self.terminated else KeyboardInterrupt(*[text] * bool(text))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        ours = self.history is not None and isinstance(error, KeyboardInterrupt | SystemExit)
        if ours and not hasattr(error, "history"):
            self.history.interrupted = True
            error.history = self.history  # type: ignore[union-attr]
        if kind is None:
            self.check()
