"""Settings as options of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["changed"]

Settings = TypeVar("Settings")


def changed(settings: Settings, arguments: Sequence[str], program: str) -> Settings:
    """``settings`` with what ``arguments`` change: ``--train.epochs 5``. Exits with 2 where one is wrong."""
    import tyro

    return tyro.cli(type(settings), default=settings, args=list(arguments), prog=program)
