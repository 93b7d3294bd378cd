"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlcore.ops.optim import adam
from dlcore.optim.optimizer import Optimizer

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Gradient descent with a step size that adapts to each element (Kingma & Ba 2015).

    g += weight_decay p; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps), where t counts the steps of each parameter. With
    ``maximize`` it ascends instead.
    """

    _operation = staticmethod(adam)
    _moments = ("exp_avg", "exp_avg_sq")
    _several = ("betas",)
    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
        *,
        no_decay: bool | Sequence[str] = (),
    ):
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        betas = settings["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers in [0, 1), not {betas}")

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        numbers = (settings["lr"], *settings["betas"], settings["eps"], settings["weight_decay"])
        return [*map(float, numbers), float(self._decoupled), float(settings["maximize"])]

    def _slots_for(self, groups: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return ("exp_avg", "exp_avg_sq")


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p *= 1 - lr weight_decay (Loshchilov & Hutter 2019)."""

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        maximize: bool = False,
        *,
        no_decay: bool | Sequence[str] = (),
    ):
        super().__init__(params, lr, betas, eps, weight_decay, maximize, no_decay=no_decay)
