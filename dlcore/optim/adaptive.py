"""RMSprop, Adagrad, Adadelta, Lion and LAMB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlcore.ops.optim import adadelta, adagrad, lamb, lion, rmsprop, rmsprop_centered
from dlcore.optim.optimizer import Optimizer

__all__ = ["LAMB", "Adadelta", "Adagrad", "Lion", "RMSprop"]

Words = bool | Sequence[str]


class RMSprop(Optimizer):
    """Gradient descent by the root mean square of recent gradients (Hinton 2012).

    g += weight_decay p; v = alpha v + (1 - alpha) g^2; u = g / (sqrt(v) + eps); with momentum b = momentum b + u and
    u = b; p -= lr u. centered: the variance v - a^2, with a = alpha a + (1 - alpha) g, takes the place of v (Graves
    2013); this cannot be changed later. With ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _fixed = ("centered",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        self._check_part(settings, "alpha", 1.0)

    def _operation(self, *operands: Any) -> None:
        (rmsprop_centered if self._defaults["centered"] else rmsprop)(*operands)

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        return [float(settings[n]) for n in ("lr", "alpha", "eps", "weight_decay", "momentum", "maximize")]

    def _lists(self) -> Sequence[str]:
        means = ("grad_avg",) if self._defaults["centered"] else ()
        return ("square_avg", *means, "momentum_buffer")

    def _slots_for(self, groups: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return self._lists() if any(settings["momentum"] for settings in groups) else self._lists()[:-1]


class Adagrad(Optimizer):
    """Gradient descent by the sum of all squared gradients (Duchi et al. 2011).

    g += weight_decay p; v += g^2; p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps). initial_accumulator_value: v
    before the first step. With ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(adagrad)
    _moments = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        return [float(settings[n]) for n in ("lr", "lr_decay", "weight_decay", "eps", "maximize")]

    def _first_value(self, slot: str, settings: Mapping[str, Any]) -> float:
        return float(settings["initial_accumulator_value"])


class Adadelta(Optimizer):
    """Steps in the units of the parameters, from the recent gradients and the recent steps (Zeiler 2012).

    g += weight_decay p; v = rho v + (1 - rho) g^2; u = sqrt(a + eps) / sqrt(v + eps) g; a = rho a + (1 - rho) u^2;
    p -= lr u. With ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(adadelta)
    _moments = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(
            params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize, no_decay=no_decay
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        self._check_part(settings, "rho", 1.0)

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        return [float(settings[n]) for n in ("lr", "rho", "eps", "weight_decay", "maximize")]


class Lion(Optimizer):
    """Steps by the sign of an averaged gradient (Chen et al. 2023).

    u = sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g; p = (1 - lr weight_decay) p - lr u. All elements
    move by the same length: take a third to a tenth of AdamW's rate, and as many times its weight decay. With
    ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(lion)
    _moments = ("exp_avg",)
    _several = ("betas",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        maximize: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize, no_decay=no_decay)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        self._check_betas(settings["betas"])

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        return [float(x) for x in (settings["lr"], *settings["betas"], settings["weight_decay"], settings["maximize"])]


class LAMB(Optimizer):
    """AdamW whose steps have the length of the parameter, for large batches (You et al. 2020).

    u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p, with m and v as in `Adam`;
    p -= lr |p| / |u| u, where a norm is 0 p -= lr u. |p| and |u| are norms over each parameter, summed in float64. With
    ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(lamb)
    _moments = ("exp_avg", "exp_avg_sq")
    _several = ("betas",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
        *,
        no_decay: Words = (),
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
        self._check_betas(settings["betas"])

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        names = ("eps", "weight_decay", "maximize")
        return [float(x) for x in (settings["lr"], *settings["betas"], *(settings[n] for n in names))]
