"""Optimizers by name, as configuration files write them."""

from __future__ import annotations

from dlcore._names import Names
from dlcore.optim.adam import Adam, AdamW
from dlcore.optim.optimizer import Optimizer
from dlcore.optim.sgd import SGD

__all__ = ["get", "names"]

_NAMES = Names("an optimizer", [("sgd", SGD), ("adam", Adam), ("adamw", AdamW)])


def get(name: str) -> type[Optimizer]:
    """The class called ``name``: ``get("adamw")`` is `AdamW`. Capitals, underscores and hyphens do not matter.

    Raises ValueError with the nearest name for one that is unknown.
    """
    found: type[Optimizer] = _NAMES.get(name, "optim.get: name")
    return found


def names() -> list[str]:
    """The names that `get` knows."""
    return list(_NAMES)
