"""Attacks: programs that try hard to make dlcore crash, hang, lie or break a file.

Each module here is one attack. It says what must never happen in its docstring, and defines

    UNIT                            what it counts: "calls", "files", "kills"
    SMALL, LARGE                    how many units the tests run, and how many `make attack`
    attack(count, seed)             runs `count` units, the same ones for the same seed, and yields one line, with what
                                    reproduces it, for every violation

What may die or hang runs in child processes with a time limit (`children.py`). `python -m tests.attacks` runs them all.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

__all__ = ["load", "names"]

NO_ATTACKS = ("__init__", "__main__", "children", "junk")


def names() -> list[str]:
    """The attacks, in alphabetical order."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in NO_ATTACKS)


def load(name: str) -> ModuleType:
    """The module of an attack."""
    return importlib.import_module(f"{__name__}.{name}")
