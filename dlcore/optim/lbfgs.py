"""L-BFGS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore._arguments import choice, function, integer, number
from dlcore._autocast import autocast, autocast_dtype
from dlcore._autograd import enable_grad, no_grad
from dlcore._operations import concat
from dlcore._tensor import Tensor, tensor, zeros
from dlcore.ops.training import scheduled_rates
from dlcore.optim.optimizer import Optimizer

__all__ = ["LBFGS"]

_SCALARS = ("n_iter", "func_evals", "t", "H_diag", "prev_loss")


class LBFGS(Optimizer):
    """A quasi-Newton method that knows the curvature from its last steps (Nocedal 1980; Liu & Nocedal 1989).

    With q = -g, s_k the last steps and y_k the changes of the gradient over them, the direction d is -H g, where H is
    the inverse Hessian that they imply; p += t d. t is lr, in the very first iteration min(1, 1 / |g|_1) lr, or with
    line_search_fn="strong_wolfe" found so that the loss falls enough and the slope flattens (Nocedal & Wright 2006,
    algorithms 3.5 and 3.6).

    A step is up to max_iter iterations, and needs ``closure``: a function that clears the gradients, computes the loss
    and its gradients, and returns the loss; it is called up to max_eval times (default: 1.25 max_iter). The step ends
    when no element of the gradient is above tolerance_grad, or when a step or the change of the loss is below
    tolerance_change. There is one group of parameters; those without a gradient count as constant. It takes
    2 history_size times the memory of the parameters, and reads values, so that it cannot be recorded (the closure's
    work can: ``dl.capture`` it).
    """

    _exact = ("step", "scalars", "ro")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        if max_eval is None:
            max_eval = integer(max_iter, "LBFGS: max_iter", 1) * 5 // 4
        super().__init__(
            params,
            lr=lr,
            max_iter=max_iter,
            max_eval=max_eval,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
            history_size=history_size,
            line_search_fn=line_search_fn,
        )

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check({name: value for name, value in settings.items() if name != "line_search_fn"})
        choice(settings["line_search_fn"], (None, "strong_wolfe"), "LBFGS: line_search_fn")
        for name in ("max_iter", "max_eval", "history_size"):
            integer(settings[name], f"LBFGS: {name}", 1)

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        return [float(settings["lr"])]

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """The first group; ValueError for another: all parameters are one vector."""
        if self._groups:
            raise ValueError("LBFGS: there is only one group of parameters, for all are one vector")
        super().add_param_group(group)

    # -- vectors -----------------------------------------------------------------------------------------------------

    def _gradient(self) -> Tensor:
        """The gradients of all parameters as one vector."""
        parts = [
            (zeros(p.shape, dtype=p.dtype, device=p.device) if p.grad is None else p.grad.detach()).reshape((-1,))
            for p in self._parameters
        ]
        return concat([x.astype(self._wide()) for x in parts], 0)

    def _wide(self) -> str:
        return "float64" if any(p.dtype.name == "float64" for p in self._parameters) else "float32"

    def _move(self, start: Sequence[Tensor], t: float, d: Tensor) -> None:
        """Put the parameters to start + t d."""
        at = 0
        for p, x in zip(self._parameters, start, strict=True):
            part = d[at : at + p.size].reshape(p.shape)
            p.copy_(x.astype(part.dtype) + t * part)
            at += p.size

    # -- a step ------------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None, *, active: Tensor | None = None) -> Any:
        """Up to max_iter iterations; returns the loss of the first call of ``closure``.

        Raises TypeError without a closure or with ``active``; FloatingPointError, before anything changes, where the
        loss or a gradient is not finite.
        """
        if closure is None:
            raise TypeError("LBFGS.step: a closure is needed, which computes the loss and its gradients and returns it")
        if active is not None:
            raise TypeError("LBFGS.step: active: the search reads its losses, and one that is not finite raises")
        call, dtype = function(closure, "LBFGS.step: closure"), autocast_dtype()

        def evaluate() -> tuple[Any, float, Tensor]:
            with enable_grad(), autocast(dtype):
                loss = call()
            value = number(loss.item() if isinstance(loss, Tensor) else loss, "LBFGS.step: the loss")
            return loss, value, self._gradient()

        with no_grad(), autocast(None):
            return self._minimise(evaluate)

    def _minimise(self, evaluate: Callable[[], tuple[Any, float, Tensor]]) -> Any:
        self._follow_parameters()
        group = self._groups[0]._settings
        first_loss, loss, g = evaluate()
        largest = _largest(g)
        if not math.isfinite(loss) or not math.isfinite(largest):
            raise FloatingPointError(f"LBFGS.step: the loss is {loss}, and the largest gradient {largest}")
        if self._rates is not None:
            scheduled_rates(self._settings, self._position, self._rates)
        lr = float(self._settings[0, 0].item())
        state = self._state.setdefault(0, {"step": zeros((), dtype="int64", device=g.device)})
        state["step"].add_(1)
        history = _History(state, int(group["history_size"]))
        history.func_evals += 1
        evaluations = 1
        for iteration in range(1, int(group["max_iter"]) + 1):
            if largest <= group["tolerance_grad"]:
                break
            history.n_iter += 1
            d = history.direction(g)
            history.g, history.prev_loss = g, loss
            t = lr * min(1.0, 1.0 / g.abs().sum().item()) if history.n_iter == 1 else lr
            slope = _dot(g, d)
            if slope > -group["tolerance_change"]:
                break
            start = [p.detach().clone() for p in self._parameters]
            before = loss
            if group["line_search_fn"] is not None:

                def at(t: float, start: list[Tensor] = start, d: Tensor = d) -> tuple[float, Tensor]:
                    self._move(start, t, d)
                    return evaluate()[1:]

                search = _Search(at, d, _Point(0.0, loss, g, slope), int(group["max_eval"]) - evaluations)
                best = search.best(t)
                loss, g, t, count = best.loss, best.g, best.t, search.tried + 1
                self._move(start, t, d)
            else:
                self._move(start, t, d)
                count = 0
                if iteration < group["max_iter"]:  # the loss at the last point is not needed
                    _, loss, g = evaluate()
                    count = 1
            largest = _largest(g)
            evaluations += count
            history.func_evals += count
            history.t = t
            if evaluations >= group["max_eval"] or t * _largest(d) <= group["tolerance_change"]:
                break
            if iteration < group["max_iter"] and abs(loss - before) < group["tolerance_change"]:
                break
        history.keep(state)
        return first_loss

    def _prepared_state(self, saved: Any, settings: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Tensor]]:
        if not isinstance(saved, Mapping) or not all(isinstance(entry, Mapping) for entry in saved.values()):
            raise ValueError("'state' is a dict of dicts")
        if not saved:
            return {}
        size, device = sum(p.size for p in self._parameters), self._parameters[0].device
        if set(saved) != {0}:
            raise ValueError("the state is that of parameter 0")
        entry = saved[0]
        needed = {"step", "scalars", "d", "prev_flat_grad", "old_dirs", "old_stps", "ro"}
        if set(entry) != needed:
            raise ValueError(f"the state holds {', '.join(sorted(map(str, entry)))}, not {', '.join(sorted(needed))}")
        found = {slot: tensor(value, device=device) for slot, value in entry.items()}
        count = found["ro"].shape[0] if found["ro"].ndim == 1 else -1
        shapes = {
            "step": (), "scalars": (len(_SCALARS),), "d": (size,), "prev_flat_grad": (size,),
            "old_dirs": (count, size), "old_stps": (count, size), "ro": (count,),
        }  # fmt: skip
        for slot, shape in shapes.items():
            if found[slot].shape != shape:
                raise ValueError(f"{slot} has shape {found[slot].shape}, not {shape}")
        return {0: found}


def _dot(x: Tensor, y: Tensor) -> float:
    return float((x * y).sum().item())


def _largest(x: Tensor) -> float:
    return float(x.abs().max().item()) if x.size else 0.0


class _History:
    """What an iteration knows of those before: the state of `LBFGS`, as numbers and lists of vectors."""

    def __init__(self, state: Mapping[str, Tensor], size: int):
        self.size = size
        self.d: Tensor | None = state.get("d")
        self.g: Tensor | None = state.get("prev_flat_grad")
        scalars = np.asarray(state["scalars"]).tolist() if "scalars" in state else [0, 0, 0.0, 1.0, 0.0]
        self.n_iter, self.func_evals = (int(x) for x in scalars[:2])
        self.t, self.scale, self.prev_loss = (float(x) for x in scalars[2:])
        self.changes = list(state["old_dirs"]) if "old_dirs" in state else []
        self.steps = list(state["old_stps"]) if "old_stps" in state else []
        self.inverses = np.asarray(state["ro"]).tolist() if "ro" in state else []

    def direction(self, g: Tensor) -> Tensor:
        """-H g, after the last step and the change of the gradient over it have been taken in."""
        if self.d is None or self.g is None:
            self.d = -g
            return self.d
        y, s = g - self.g, self.d * self.t
        curvature = _dot(y, s)
        if curvature > 1e-10:
            for kept in (self.changes, self.steps, self.inverses):
                del kept[: max(len(kept) - self.size + 1, 0)]
            self.changes.append(y)
            self.steps.append(s)
            self.inverses.append(1.0 / curvature)
            self.scale = curvature / _dot(y, y)
        q, weights = -g, []
        for y, s, inverse in zip(reversed(self.changes), reversed(self.steps), reversed(self.inverses), strict=True):
            weights.append(_dot(s, q) * inverse)
            q = q - weights[-1] * y
        q = q * self.scale
        for y, s, inverse, weight in zip(self.changes, self.steps, self.inverses, reversed(weights), strict=True):
            q = q + (weight - _dot(y, q) * inverse) * s
        self.d = q
        return q

    def keep(self, state: dict[str, Tensor]) -> None:
        """Write what there is to the state, as tensors."""
        if self.d is None or self.g is None:
            return
        empty = zeros((0, self.d.size), dtype=self.d.dtype, device=self.d.device)
        numbers = [self.n_iter, self.func_evals, self.t, self.scale, self.prev_loss]
        state["scalars"] = tensor(np.array(numbers, np.float64), device=self.d.device)
        state["ro"] = tensor(np.array(self.inverses, np.float64), device=self.d.device)
        state["d"], state["prev_flat_grad"] = self.d, self.g
        for slot, vectors in (("old_dirs", self.changes), ("old_stps", self.steps)):
            state[slot] = concat([v.reshape((1, -1)) for v in vectors], 0) if vectors else empty


# ---- the line search ----------------------------------------------------------------------------------------------


class _Point(NamedTuple):
    """A step length with the loss, the gradient and the slope there."""

    t: float
    loss: float
    g: Tensor
    slope: float


def _cubic(a: _Point, b: _Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points is least, within ``bounds`` (default: between the points).

    Halfway where it has no least value, or a loss is not finite.
    """
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    with np.errstate(all="ignore"):
        d1 = a.slope + b.slope - 3 * float(np.float64(a.loss - b.loss) / np.float64(a.t - b.t))
        root = d1 * d1 - a.slope * b.slope
        if not root >= 0 or not math.isfinite(root):
            return (low + high) / 2
        d2 = math.sqrt(root)
        if a.t <= b.t:
            least = b.t - (b.t - a.t) * float(np.float64(b.slope + d2 - d1) / np.float64(b.slope - a.slope + 2 * d2))
        else:
            least = a.t - (a.t - b.t) * float(np.float64(a.slope + d2 - d1) / np.float64(a.slope - b.slope + 2 * d2))
    return min(max(least, low), high) if math.isfinite(least) else (low + high) / 2


class _Search:
    """A search for a step length with loss(t) <= loss + c1 t slope and |slope(t)| <= c2 |slope| (strong Wolfe).

    ``at(t)``: loss and gradient at a step length along ``d``. ``origin``: where no step is made. ``most``: so many more
    lengths than the first are tried; ``tried`` counts them. As PyTorch's ``_strong_wolfe``, number for number; a loss
    that is not finite counts as one that is too high.
    """

    C1, C2, TOLERANCE = 1e-4, 0.9, 1e-9

    def __init__(self, at: Callable[[float], tuple[float, Tensor]], d: Tensor, origin: _Point, most: int):
        self.at, self.d, self.origin, self.most, self.tried = at, d, origin, most, 0

    def best(self, t: float) -> _Point:
        """The point found, from the first length ``t`` on, or the best of those tried."""
        bracket = self._bracket(t)
        return bracket[0] if len(bracket) == 1 else self._zoom(bracket)

    def _bracket(self, t: float) -> list[_Point]:
        """Longer and longer steps: a point that does, or two between which one lies."""
        last, new = self.origin, self._point(t)
        while self.tried < self.most:
            if self._is_too_high(new, last.loss if self.tried > 1 else math.inf):
                return [last, new]
            if self._is_flat(new):
                return [new]
            if new.slope >= 0:
                return [last, new]
            longest = (new.t + 0.01 * (new.t - last.t), new.t * 10)
            last, new = new, self._point(_cubic(last, new, longest))
            self.tried += 1
        return [self.origin, new]

    def _zoom(self, bracket: list[_Point]) -> _Point:
        """Closer and closer between the two points of ``bracket``."""
        low, high = _by_loss(bracket)
        stuck = False
        reach = _largest(self.d)
        while self.tried < self.most:
            least, greatest = sorted(p.t for p in bracket)
            if (greatest - least) * reach < self.TOLERANCE:
                break
            t = _cubic(bracket[0], bracket[1])
            margin = 0.1 * (greatest - least)
            near = min(greatest - t, t - least) < margin  # to an end
            if near and (stuck or t >= greatest or t <= least):
                t = greatest - margin if abs(t - greatest) < abs(t - least) else least + margin
                near = False
            stuck = near
            new = self._point(t)
            self.tried += 1
            if self._is_too_high(new, bracket[low].loss):
                bracket[high] = new
                low, high = _by_loss(bracket)
                continue
            flat = self._is_flat(new)
            if not flat and new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
            if flat:
                break
        return bracket[low]

    def _point(self, t: float) -> _Point:
        loss, g = self.at(t)
        return _Point(t, loss, g, _dot(g, self.d))

    def _is_too_high(self, p: _Point, limit: float) -> bool:
        return not p.loss <= self.origin.loss + self.C1 * p.t * self.origin.slope or p.loss >= limit

    def _is_flat(self, p: _Point) -> bool:
        return abs(p.slope) <= -self.C2 * self.origin.slope


def _by_loss(bracket: Sequence[_Point]) -> tuple[int, int]:
    """Which of the two points is lower, and which is higher."""
    return (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
