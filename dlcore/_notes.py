"""Warnings at the line of the program that has caused them."""

from __future__ import annotations

import sys
import warnings

__all__ = ["note"]


def note(text: str) -> None:
    """Give a RuntimeWarning at the first line up the stack that is not dlcore's."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "dlcore":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, RuntimeWarning, stacklevel=level)
