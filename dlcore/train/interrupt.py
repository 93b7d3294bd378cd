"""Ctrl-C takes effect between steps, not within them."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupt"]


class Interrupt:
    """Holds back the first Ctrl-C until :meth:`check`, so that a step, a copy of weights or a file is always finished.

    A second Ctrl-C acts at once. Outside of the main thread, and where the program handles the signal itself, nothing
    is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if handler is signal.default_int_handler:
                self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was held back, if there was one."""
        if self.requested:
            self.requested = False
            raise KeyboardInterrupt

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if kind is None:
            self.check()
