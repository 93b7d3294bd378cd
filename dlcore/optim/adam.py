"""Adam and its relatives: AdamW, Adamax, NAdam, RAdam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlcore.ops.optim import adam, adamax, amsgrad, nadam, radam
from dlcore.optim.optimizer import Optimizer

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]

Words = bool | Sequence[str]


class _Betas(Optimizer):
    """What optimizers with Adam's moments share."""

    _moments = ("exp_avg", "exp_avg_sq")
    _several = ("betas",)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        self._check_betas(settings["betas"])

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        numbers = (settings["lr"], *settings["betas"], settings["eps"], settings["weight_decay"])
        return [*map(float, numbers), float(self._is_decoupled(settings)), float(settings["maximize"])]

    def _is_decoupled(self, settings: Mapping[str, Any]) -> bool:
        return bool(settings["decoupled_weight_decay"])


class Adam(_Betas):
    """Gradient descent with a step size that adapts to each element (Kingma & Ba 2015).

    g += weight_decay p; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps), where t counts the steps of each parameter. amsgrad:
    the largest v so far takes its place (Reddi et al. 2018); this cannot be changed later. With ``maximize`` it ascends
    instead. no_decay: see `Optimizer`.
    """

    _decoupled = False
    _implied: Mapping[str, Any] = {"decoupled_weight_decay": False}
    _fixed = ("amsgrad",)
    _later = ("amsgrad",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
        amsgrad: bool = False,
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
            amsgrad=amsgrad,
            no_decay=no_decay,
        )

    def _is_decoupled(self, settings: Mapping[str, Any]) -> bool:
        return self._decoupled

    def _operation(self, *operands: Any) -> None:
        (amsgrad if self._defaults["amsgrad"] else adam)(*operands)

    def _slots_for(self, groups: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if self._defaults["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def _lists(self) -> Sequence[str]:
        return self._slots()


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p *= 1 - lr weight_decay (Loshchilov & Hutter 2019)."""

    _decoupled = True
    _implied: Mapping[str, Any] = {"decoupled_weight_decay": True}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        maximize: bool = False,
        amsgrad: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(params, lr, betas, eps, weight_decay, maximize, amsgrad, no_decay=no_decay)


class Adamax(_Betas):
    """Adam with the largest gradient in place of the second moment (Kingma & Ba 2015, section 7).

    g += weight_decay p; m = beta1 m + (1 - beta1) g; u = max(beta2 u, |g| + eps); p -= lr / (1 - beta1^t) m / u. With
    ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(adamax)
    _moments = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
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

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        names = ("eps", "weight_decay", "maximize")
        return [float(x) for x in (settings["lr"], *settings["betas"], *(settings[n] for n in names))]


class NAdam(_Betas):
    """Adam with Nesterov's momentum (Dozat 2016).

    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), M the product of mu_1 ... mu_t; m and v as in `Adam`;
    p -= lr ((1 - mu_t) / (1 - M) g + mu_{t+1} / (1 - M mu_{t+1}) m) / (sqrt(v / (1 - beta2^t)) + eps).
    decoupled_weight_decay: as in `AdamW`. With ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(nadam)
    _numbers = ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
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
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        *first, decoupled, maximize = super()._columns(settings)
        return [*first, float(settings["momentum_decay"]), decoupled, maximize]

    def _first_value(self, slot: str, settings: Mapping[str, Any]) -> float:
        return 1.0 if slot == "mu_product" else 0.0


class RAdam(_Betas):
    """Adam whose first steps are those of momentum, until the variance of its step size is known (Liu et al. 2020).

    r = 2 / (1 - beta2) - 1; r_t = r - 2 t beta2^t / (1 - beta2^t); m and v as in `Adam`; p -= lr m / (1 - beta1^t),
    where r_t > 5 times sqrt((r_t - 4) (r_t - 2) r / ((r - 4) (r - 2) r_t)) sqrt(1 - beta2^t) / (sqrt(v) + eps).
    decoupled_weight_decay: as in `AdamW`. With ``maximize`` it ascends. no_decay: see `Optimizer`.
    """

    _operation = staticmethod(radam)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
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
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
            no_decay=no_decay,
        )
