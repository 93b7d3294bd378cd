"""Optimizers by name, as configuration files write them."""

from __future__ import annotations

from dlcore._names import Names
from dlcore.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from dlcore.optim.adaptive import LAMB, Adadelta, Adagrad, Lion, RMSprop
from dlcore.optim.lbfgs import LBFGS
from dlcore.optim.matrix import Adafactor, Muon
from dlcore.optim.optimizer import Optimizer
from dlcore.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from dlcore.optim.sgd import SGD

__all__ = ["get", "names"]

_CLASSES = (
    SGD, Adam, AdamW, Adamax, NAdam, RAdam, RMSprop, Adagrad, Adadelta, Lion, ScheduleFreeSGD, ScheduleFreeAdamW,
    LAMB, Muon, Adafactor, LBFGS,
)  # fmt: skip
_NAMES = Names("an optimizer", [(kind.__name__.lower(), kind) for kind in _CLASSES])


def get(name: str) -> type[Optimizer]:
    """The class called ``name``: ``get("adamw")`` is `AdamW`. Capitals, underscores and hyphens do not matter.

    Raises ValueError with the nearest name for one that is unknown.
    """
    found: type[Optimizer] = _NAMES.get(name, "optim.get: name")
    return found


def names() -> list[str]:
    """The names that `get` knows."""
    return list(_NAMES)
