"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.ops.optim import sgd
from dlcore.optim.optimizer import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    g += weight_decay p; b = momentum b + (1 - dampening) g (b = g at a parameter's first step);
    p -= lr (g + momentum b with ``nesterov``, else b). With ``maximize`` it ascends instead. As in PyTorch, the
    learning rate is outside of the momentum (otherwise it is as in Sutskever et al. 2013).
    """

    _operation = staticmethod(sgd)
    _moments = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        *,
        no_decay: bool | Sequence[str] = (),
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        if settings["nesterov"] and (settings["momentum"] == 0 or settings["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum above 0 and no dampening")

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        names = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
        return [float(settings[name]) for name in names]

    def _completed(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {"step": np.array(1), **entry}  # PyTorch does not count; only the first step differs

    def _slots_for(self, groups: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return ("momentum_buffer",) if any(settings["momentum"] for settings in groups) else ()
