"""Muon and Adafactor: optimizers that treat a parameter as a matrix, in terms of other operations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlcore._arguments import choice, integer, listed, number, shown
from dlcore._operations import maximum, minimum, stack, where
from dlcore._tensor import Tensor
from dlcore.ops.optim import adam
from dlcore.optim.optimizer import Optimizer, _Arguments

__all__ = ["Adafactor", "Muon"]

Words = bool | Sequence[str]


class Muon(Optimizer):
    """Momentum made orthogonal, for the matrices of hidden layers, and AdamW for all other parameters (Jordan 2024).

    m = momentum m + (1 - momentum) g; u = nesterov ? momentum m + (1 - momentum) g : m; u = about U V^T of its singular
    value decomposition, by ns_steps of Newton and Schulz: X = u / |u|, then X = a X + (b X X^T + c (X X^T)^2) X;
    p = (1 - lr weight_decay) p - lr r u. r by adjust_lr_fn: "original" sqrt(max(1, rows / columns)), "match_rms_adamw"
    0.2 sqrt(max(rows, columns)), with which AdamW's rates do (Liu et al. 2025). Parameters of more than two axes count
    as matrices of their first axis against the others. Matrices of one shape are worked on together. PyTorch iterates
    in bfloat16, here it is float32 (float64 for float64).

    adamw: words; AdamW is also for matrices whose name holds one of them: give ``model.named_parameters()`` and
    ``adamw=("embedding", "head")``. What AdamW is for becomes groups of their own, with ``muon=False`` and the learning
    rate ``adamw_lr`` (default: lr), adamw_betas and adamw_eps. A group may say ``muon=False`` itself. maximize,
    no_decay: see `Optimizer`.
    """

    _several = ("adamw_betas", "ns_coefficients")
    _constant = ("muon",)
    _recorded = ("nesterov", "ns_coefficients", "ns_steps", "adjust_lr_fn")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str = "original",
        maximize: bool = False,
        *,
        adamw: Sequence[str] = (),
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        no_decay: Words = (),
    ):
        words = [adamw] if isinstance(adamw, str) else listed(adamw, "Muon: adamw", "words")
        self._words = tuple(words)
        self._adamw_lr = None if adamw_lr is None else number(adamw_lr, "Muon: adamw_lr")
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
            maximize=maximize,
            muon=True,
            adamw_betas=adamw_betas,
            adamw_eps=adamw_eps,
            no_decay=no_decay,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        special = ("ns_coefficients", "adjust_lr_fn")
        super()._check({name: value for name, value in settings.items() if name not in special})
        given = settings["ns_coefficients"]
        if not isinstance(given, tuple | list) or len(given) != 3:
            raise ValueError(f"Muon: ns_coefficients are three numbers, not {shown(given)}")
        for i, value in enumerate(given):
            number(value, f"Muon: ns_coefficients[{i}]")
        choice(settings["adjust_lr_fn"], ("original", "match_rms_adamw"), "Muon: adjust_lr_fn")
        integer(settings["ns_steps"], "Muon: ns_steps", 1)
        self._check_part(settings, "momentum", 1.0)
        self._check_betas(settings["adamw_betas"])

    def _changes(self, i: int, names: Sequence[str], p: Tensor, settings: Mapping[str, Any]) -> dict[str, Any]:
        changes = super()._changes(i, names, p, settings)
        if self._words and not names:
            raise ValueError(f"Muon: adamw={shown(self._words)} needs names: give model.named_parameters()")
        if settings["muon"] and (p.ndim < 2 or any(word in names[i] for word in self._words)):
            rate = settings["lr"] if self._adamw_lr is None else self._adamw_lr
            changes |= {"muon": False, "lr": rate}
        return changes

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        if settings["muon"]:
            own = [settings[n] for n in ("lr", "momentum", "weight_decay", "maximize", "eps")]
            return [*map(float, own), 0.0, 0.0]
        adamw = (settings["lr"], *settings["adamw_betas"], settings["adamw_eps"], settings["weight_decay"], 1)
        return [*map(float, adamw), float(settings["maximize"])]

    def _kept(self, p: Tensor, settings: Mapping[str, Any], slots: Sequence[str]) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("momentum_buffer",) if settings["muon"] else ("exp_avg", "exp_avg_sq"), p.shape)

    def _update(self, given: _Arguments, grads: list[Tensor], active: Tensor | None) -> None:
        adamw: list[int] = []
        alike: dict[Any, list[int]] = {}  # matrices that are worked on together
        for k, group in enumerate(given.groups):
            if not self._groups[group]._settings["muon"]:
                adamw.append(k)
                continue
            p = given.parameters[k]
            matrix = (p.shape[0], math.prod(p.shape[1:]))
            alike.setdefault((group, matrix, p.dtype), []).append(k)
        if adamw:
            states = [self._state[given.numbers[k]] for k in adamw]
            state = [[s[slot] for s in states] for slot in ("exp_avg", "exp_avg_sq", "step")]
            parameters, gradients = [given.parameters[k] for k in adamw], [grads[k] for k in adamw]
            adam(parameters, gradients, *state, self._settings, active, tuple(given.groups[k] for k in adamw))
        for (group, matrix, _), members in alike.items():
            kept = [self._state[given.numbers[k]] for k in members]
            for each in kept:
                _count(each["step"], active)
            if math.prod(matrix):
                parameters, gradients = [given.parameters[k] for k in members], [grads[k] for k in members]
                self._matrices(group, matrix, parameters, gradients, kept, active)

    def _matrices(
        self,
        group: int,
        matrix: tuple[int, int],
        parameters: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Tensor]],
        active: Tensor | None,
    ) -> None:
        """A step of matrices of one shape in one group."""
        settings = self._groups[group]._settings
        wide = states[0]["momentum_buffer"].dtype
        row = self._settings[group]
        lr, momentum, decay, maximize, eps = (row[j].astype(wide) for j in range(5))
        sign = 1 - 2 * maximize
        directions = []
        for grad, state in zip(grads, states, strict=True):
            m, g = state["momentum_buffer"], grad.astype(wide) * sign
            _write(m, m + (1 - momentum) * (g - m), active)
            u = g + momentum * (m - g) if settings["nesterov"] else m
            directions.append(u.reshape(matrix))
        x = _orthogonal(stack(directions), settings["ns_coefficients"], settings["ns_steps"], eps)
        rows, columns = matrix
        ratio = math.sqrt(max(1, rows / columns))
        if settings["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        for k, p in enumerate(parameters):
            _write(p, p.astype(wide) * (1 - lr * decay) - (lr * ratio) * x[k].reshape(p.shape), active)


def _orthogonal(x: Tensor, coefficients: Sequence[float], steps: int, eps: Tensor) -> Tensor:
    """About U V^T of each matrix U S V^T in ``x`` (n, rows, columns)."""
    a, b, c = (float(value) for value in coefficients)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / maximum((x * x).sum((-2, -1), keepdims=True).sqrt(), eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


class Adafactor(Optimizer):
    """Adam's second moment from the means of rows and columns alone, and steps in units of the parameter (Shazeer &
    Stern 2018).

    b = t^beta2_decay; p *= 1 - lr weight_decay; v += b (g^2 - v), of a matrix only the means R over its columns and C
    over its rows are kept and v = R C / max(mean(R), eps1); u = g / sqrt(max(v, eps1^2)); with rms the root of the mean
    square p -= max(eps2, rms(p)) min(lr, 1 / sqrt(t)) / max(1, rms(u) / d) u. Of parameters of more axes the last two
    are those of matrices. eps: (eps1, eps2); eps1 None is that of the parameter's dtype. maximize, no_decay: see
    `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        maximize: bool = False,
        *,
        no_decay: Words = (),
    ):
        super().__init__(
            params,
            lr=lr,
            beta2_decay=beta2_decay,
            eps=eps,
            d=d,
            weight_decay=weight_decay,
            maximize=maximize,
            no_decay=no_decay,
        )

    _several = ("eps",)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check({name: value for name, value in settings.items() if name not in ("beta2_decay", "eps")})
        if not number(settings["beta2_decay"], "Adafactor: beta2_decay") <= 0:
            raise ValueError(f"Adafactor: beta2_decay is {settings['beta2_decay']}; it must be at most 0")
        if not settings["d"] >= 1:
            raise ValueError(f"Adafactor: d is {settings['d']}; it must be at least 1")
        eps = settings["eps"]
        if not isinstance(eps, tuple | list) or len(eps) != 2:
            raise ValueError(f"Adafactor: eps are two numbers, the first of which may be None, not {shown(eps)}")
        for i, value in enumerate(eps):
            if (i or value is not None) and not number(value, f"Adafactor: eps[{i}]") >= 0:
                raise ValueError(f"Adafactor: eps[{i}] is {value}; it must be at least 0")

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        first, second = settings["eps"]
        own = (settings[n] for n in ("lr", "beta2_decay", "d", "weight_decay", "maximize"))
        return [*map(float, own), -1.0 if first is None else float(first), float(second)]

    def _kept(self, p: Tensor, settings: Mapping[str, Any], slots: Sequence[str]) -> dict[str, tuple[int, ...]]:
        if p.ndim < 2:
            return {"variance": p.shape}
        return {"row_var": (*p.shape[:-1], 1), "col_var": (*p.shape[:-2], 1, p.shape[-1])}

    def _update(self, given: _Arguments, grads: list[Tensor], active: Tensor | None) -> None:
        for k, (p, grad) in enumerate(zip(given.parameters, grads, strict=True)):
            state = self._state[given.numbers[k]]
            _count(state["step"], active)
            if p.size:
                self._one(p, grad, state, self._settings[given.groups[k]], active)

    def _one(
        self, p: Tensor, grad: Tensor, state: dict[str, Tensor], row: Tensor, active: Tensor | None
    ) -> None:
        """A step of one parameter; the scalars are computed in float64."""
        wide = state["variance" if p.ndim < 2 else "row_var"].dtype
        lr, beta2_decay, d, decay, maximize, first, second = (row[j] for j in range(7))
        first = where(first < 0, p.dtype.eps, first).astype(wide)
        t = state["step"].astype("float64")
        weight = (t**beta2_decay).astype(wide)
        g = grad.astype(wide) * (1 - 2 * maximize).astype(wide)
        x = p.astype(wide)
        alpha = maximum(second, _rms(x)) * minimum(lr, t.rsqrt())
        x = x * (1 - lr * decay).astype(wide)
        if p.ndim < 2:
            v = state["variance"]
            _lerp(v, g * g, weight, active)
        else:
            rows, columns = state["row_var"], state["col_var"]
            _lerp(rows, (g * g).mean(-1, keepdims=True), weight, active)
            _lerp(columns, (g * g).mean(-2, keepdims=True), weight, active)
            v = rows * columns / maximum(rows.mean(-2, keepdims=True), first)
        u = g * maximum(v, first * first).rsqrt()
        scale = alpha / maximum(1.0, _rms(u) / d)
        _write(p, x - scale.astype(wide) * u, active)


def _write(to: Tensor, values: Tensor, active: Tensor | None) -> None:
    """Put ``values`` there; where ``active`` is false everything stays."""
    to.copy_(values if active is None else where(active, values.astype(to.dtype), to))


def _count(step: Tensor, active: Tensor | None) -> None:
    step.add_(1 if active is None else active.astype(step.dtype))


def _lerp(v: Tensor, x: Tensor, weight: Tensor, active: Tensor | None) -> None:
    _write(v, v + weight * (x - v), active)


def _rms(x: Tensor) -> Tensor:
    """The root of the mean square, in float64."""
    return (x * x).mean().astype("float64").sqrt()
