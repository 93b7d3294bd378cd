"""Schedule-free optimizers: an average of the parameters takes the place of a falling learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dlcore._autograd import no_grad
from dlcore._tensor import Tensor, tensor
from dlcore.ops.optim import schedule_free_adamw, schedule_free_sgd
from dlcore.optim.optimizer import Optimizer

__all__ = ["ScheduleFreeAdamW", "ScheduleFreeSGD"]

Words = bool | Sequence[str]


class _ScheduleFree(Optimizer):
    """What both share: the weights of the average, and the two points at which the parameters can be.

    While training, the parameters are at y, where gradients are taken; `eval` puts them to the average x, with which to
    evaluate and predict, and `train` back to y, to the same bits.
    """

    _numbers = ("lr_max", "weight_sum")
    _points: dict[int, Tensor]
    """The parameters as `eval` found them, by their numbers; empty while training."""

    def __init__(self, params: Iterable[Any], **settings: Any):
        self._points = {}
        super().__init__(params, **settings)

    def _momentum(self, settings: Mapping[str, Any]) -> float:
        raise NotImplementedError(f"{type(self).__name__}: _momentum is not written")

    def _copied_at_first(self, slot: str) -> bool:
        return slot == "z"

    def step(self, closure: Callable[[], Any] | None = None, *, active: Tensor | None = None) -> Any:
        """Change every parameter that has a gradient, see `Optimizer`; RuntimeError after `eval` without `train`."""
        if self._points:
            raise RuntimeError(f"{type(self).__name__}.step: call optimizer.train() first; eval() was the last")
        return super().step(closure, active=active)

    def eval(self) -> None:
        """Put the parameters to the average x = y + (1 - 1 / momentum) (z - y), with which to evaluate and predict."""
        if self._points:
            return
        self._follow_parameters()
        points = {}
        with no_grad():
            for i, state in self._state.items():
                p, weight = self._parameters[i], 1 - 1 / self._momentum(self._groups[self._group_of[i]]._settings)
                points[i] = p.detach().clone()
                y = p.astype(state["z"].dtype)
                p.copy_(y + weight * (state["z"] - y))
        self._points = points

    def train(self) -> None:
        """Put the parameters back to y, where the next step goes on."""
        with no_grad():
            for i, point in self._points.items():
                self._parameters[i].copy_(point)
        self._points = {}

    def state_dict(self) -> dict[str, Any]:
        """As that of other optimizers; after `eval` the state of a parameter holds y as well."""
        found = super().state_dict()
        for i, point in self._points.items():
            found["state"][i]["y"] = point
        return found

    def _prepared(self, state: Mapping[str, Any]) -> Callable[[], None]:
        entries = state.get("state") if isinstance(state, Mapping) else None
        points: dict[int, Any] = {}
        if isinstance(entries, Mapping) and all(isinstance(entry, Mapping) for entry in entries.values()):
            points = {i: entry["y"] for i, entry in entries.items() if "y" in entry}
            plain = {i: {k: v for k, v in entry.items() if k != "y"} for i, entry in entries.items()}
            state = {**state, "state": plain}
        take_over = super()._prepared(state)
        copies = {i: self._copy_of_point(i, y) for i, y in points.items()}

        def take_all() -> None:
            take_over()
            self._points = copies

        return take_all

    def _copy_of_point(self, i: int, y: Any) -> Tensor:
        p = self._parameters[i]
        found = tensor(y, device=p.device)
        if found.shape != p.shape or found.dtype is not p.dtype:
            have, need = f"{found.shape} {found.dtype.name}", f"{p.shape} {p.dtype.name}"
            raise ValueError(f"parameter {i}: y has shape {have}, not {need}")
        return found


class ScheduleFreeSGD(_ScheduleFree):
    """SGD that needs no schedule (Defazio et al. 2024, "The road less scheduled").

    z -= lr g; x = (1 - c) x + c z, the average, c = w / W, w = t^r lr_max^weight_lr_power, W the sum of all w;
    y = (1 - momentum) z + momentum x is where gradients are taken, to which weight_decay y is added. Call
    ``optimizer.eval()`` before evaluating, predicting and saving the model, and ``optimizer.train()`` before training
    goes on. A warm-up helps: ``schedules.Constant(warmup=...)``. maximize, no_decay: see `Optimizer`.
    """

    _operation = staticmethod(schedule_free_sgd)
    _moments = ("z",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        maximize: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            r=r,
            weight_lr_power=weight_lr_power,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        if not 0 < settings["momentum"] < 1:
            raise ValueError(f"ScheduleFreeSGD: momentum is {settings['momentum']}; it must be between 0 and 1")

    def _momentum(self, settings: Mapping[str, Any]) -> float:
        return float(settings["momentum"])

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        return [float(settings[n]) for n in ("lr", "momentum", "weight_decay", "r", "weight_lr_power", "maximize")]


class ScheduleFreeAdamW(_ScheduleFree):
    """AdamW that needs no schedule (Defazio et al. 2024, "The road less scheduled").

    v = beta2 v + (1 - beta2) g^2; u = g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay y takes the place of the
    gradient in `ScheduleFreeSGD`, and beta1 that of its momentum. Call ``optimizer.eval()`` before evaluating,
    predicting and saving the model, and ``optimizer.train()`` before training goes on. A warm-up helps:
    ``schedules.Constant(warmup=...)``. maximize, no_decay: see `Optimizer`.
    """

    _operation = staticmethod(schedule_free_adamw)
    _moments = ("z", "exp_avg_sq")
    _several = ("betas",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
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
            r=r,
            weight_lr_power=weight_lr_power,
            maximize=maximize,
            no_decay=no_decay,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        self._check_betas(settings["betas"])
        if not settings["betas"][0] > 0:
            raise ValueError(f"ScheduleFreeAdamW: betas are {settings['betas']}; the first must be above 0")

    def _momentum(self, settings: Mapping[str, Any]) -> float:
        return float(settings["betas"][0])

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        names = ("eps", "weight_decay", "r", "weight_lr_power", "maximize")
        return [float(x) for x in (settings["lr"], *settings["betas"], *(settings[n] for n in names))]
