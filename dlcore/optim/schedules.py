"""Schedules: the learning rate of every step, computed once and read from memory by the steps themselves.

A schedule is a pure function of the step, the number of all steps and the rate that a group was given. `prepare`
evaluates it in float64 for all steps and lays the result beside the optimizer's settings; from then on each
``optimizer.step()`` uses the rate of its number, counted in memory. So nothing is called between steps, a recorded step
stays one recording while its rate changes, and both devices use the same numbers.

    schedule = optim.schedules.Cosine(warmup=100)
    schedule.prepare(optimizer, 1000)          # `fit(schedule=...)` does this by itself
    for x, y in batches:
        ...
        optimizer.step()                       # the first with the rate of step 0, the next with that of step 1

There is no ``schedule.step()`` to call, but for `Plateau`, which learns a metric by it. Steps are those of the
optimizer: with accumulated gradients one for several batches. After the last step its rate stays. ``group["lr"]`` is
the rate that the schedule starts from, and may be set at any time; `Schedule.rates_now` tells the rates in use.

Numbers of steps may be given as parts: ``warmup=100`` is 100 steps, ``warmup=0.1`` a tenth of all; what a shape counts
(`Step.every`, `MultiStep.at`, `Cosine.period`) is counted, and taken as a part, of the steps after the warm-up.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import choice, function, instance, integer, listed, number, shown
from dlcore._names import Names
from dlcore._tensor import Tensor
from dlcore.optim.optimizer import Optimizer

__all__ = [
    "Constant", "Cosine", "Exponential", "Function", "Linear", "MultiStep", "OneCycle", "Plateau", "Polynomial",
    "Schedule", "Step", "WarmupStableDecay", "get",
]  # fmt: skip

Array = np.ndarray[Any, np.dtype[np.float64]]

_MOST = 2**25  # rates in one table: 256 MiB


class Schedule:
    """Base of schedules. A subclass gives `shape`: the rates after the warm-up.

    warmup: steps in which the rate rises in a straight line, base (k + 1) / (warmup + 1) in step k, before the shape
    begins; a number of steps, or below 1 a part of all steps.

    >>> w = nn.Parameter(dl.tensor([1.0]))
    >>> optimizer = optim.SGD([w], lr=1.0)
    >>> schedule = optim.schedules.Linear(warmup=1)
    >>> schedule.prepare(optimizer, 5)
    >>> schedule.rates(5, base=1.0).tolist()
    [0.5, 1.0, 0.75, 0.5, 0.25]
    >>> w.grad = dl.tensor([0.5])
    >>> optimizer.step()
    >>> w.tolist()
    [0.75]
    """

    _optimizer: Optimizer | None = None
    _total: int | None = None

    def __init__(self, warmup: float = 0):
        self.warmup = self._steps(warmup, "warmup")

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates of steps ``k`` (0, 1, 2, ... in float64) of ``total``, both counted from the end of the warm-up."""
        raise NotImplementedError(f"{type(self).__name__}: shape is not written")

    @property
    def _straight(self) -> int | float:
        """The steps in which the rate rises in a straight line before the shape begins."""
        return self.warmup

    def _rows(self, rest: int) -> int:
        """How many rates after the warm-up are needed where it has ``rest`` steps; the last one stays."""
        return rest

    # -- the rates ---------------------------------------------------------------------------------------------------

    def rates(self, total: int, base: float = 1.0) -> Array:
        """The rate of each of ``total`` steps for a group whose learning rate is ``base``: float64 (total,).

        Those of `Plateau` end with the one that stays until a metric lowers it. Raises ValueError where the schedule
        does not fit into so few steps, or gives a rate that is negative or not finite.
        """
        total, base = integer(total, f"{self._name}: total", 1), float(base)
        warmup = self._resolved(self._straight, total, "warmup")
        rising = base * (np.arange(warmup, dtype=np.float64) + 1) / (warmup + 1)
        rest = total - warmup
        with np.errstate(all="ignore"):  # what is not finite is refused below
            body = self.shape(np.arange(self._rows(rest), dtype=np.float64), rest, base)
        found = np.concatenate([rising, body])
        wrong = ~(found >= 0) | ~np.isfinite(found)
        if wrong.any():
            step = int(np.argmax(wrong))
            raise ValueError(f"{self._name}: the rate of step {step} is {found[step]}; it must be at least 0")
        return found

    def _table(self, bases: Sequence[float]) -> Array:
        """Row by row the rates of the groups in each step, and last the row that stays."""
        assert self._total is not None
        return np.stack([self.rates(self._total, base) for base in bases], 1)

    # -- in use ------------------------------------------------------------------------------------------------------

    def prepare(self, optimizer: Optimizer, total: int) -> None:
        """From now on the steps of ``optimizer`` use these rates; ``total``: how many steps there will be.

        The count begins at 0. A schedule that another optimizer uses can be prepared again: the other one goes on with
        a copy. ``detach`` ends it. Raises ValueError, before anything changes, where the schedule does not fit.
        """
        instance(optimizer, Optimizer, f"{self._name}.prepare: optimizer", "an optimizer")
        total = integer(total, f"{self._name}.prepare: total", 1)
        if total * len(optimizer.param_groups) > _MOST:
            raise ValueError(
                f"{self._name}.prepare: {total} steps of {len(optimizer.param_groups)} groups are more than the "
                f"{_MOST} rates that are kept in memory"
            )
        for group in optimizer._groups:
            self.rates(total, group._settings["lr"])
        before = self._optimizer
        if before is not None and before is not optimizer and before._schedule is self:
            before._schedule = copy.copy(self)
        self._optimizer, self._total = optimizer, total
        self._begin()
        optimizer._use_schedule(self)

    def detach(self) -> None:
        """The optimizer goes back to the rates of its groups."""
        if self._optimizer is not None and self._optimizer._schedule is self:
            self._optimizer._use_schedule(None)
        self._optimizer = self._total = None

    def _begin(self) -> None:
        """Forget what was learnt in an earlier run."""

    @property
    def position(self) -> int:
        """How many steps the optimizer has made since `prepare`. On a GPU this waits for the device."""
        position = self._prepared("position")._position
        assert position is not None
        return int(position.item())

    @property
    def total(self) -> int | None:
        """The number of steps that `prepare` was told, or None."""
        return self._total

    @property
    def rates_now(self) -> list[float]:
        """The rates of the next step, one for each group."""
        table = self._prepared("rates_now")._rates
        assert table is not None
        return [float(rate) for rate in table[min(self.position, table.shape[0] - 1)].tolist()]

    def _prepared(self, name: str) -> Optimizer:
        if self._optimizer is None or self._optimizer._schedule is not self:
            raise RuntimeError(f"{self._name}.{name}: call prepare(optimizer, total) first")
        return self._optimizer

    def __getattr__(self, name: str) -> Any:
        if name == "step":
            raise AttributeError(
                f"{self._name} has no step(): after prepare(optimizer, total) each optimizer.step() uses the next rate"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on at the same step with the same rates: plain numbers and texts."""
        return {"schedule": self._name, "position": self.position, "total": self._total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was saved; the schedule must have been prepared with an optimizer.

        ``total`` becomes that of the state. Raises ValueError, before anything changes, where something does not fit.
        """
        optimizer = self._prepared("load_state_dict")
        where = f"{self._name}.load_state_dict"
        expected = set(self.state_dict())
        if not isinstance(state, Mapping) or set(state) != expected:
            found = ", ".join(sorted(map(str, state))) if isinstance(state, Mapping) else shown(state)
            raise ValueError(f"{where}: a dict of {', '.join(sorted(expected))} is needed, not of {found}")
        if state["schedule"] != self._name:
            raise ValueError(f"{where}: the state is that of {shown(state['schedule'])}")
        position, total = (integer(state[k], f"{where}: {k}", k == "total") for k in ("position", "total"))
        for group in optimizer._groups:
            self.rates(total, group._settings["lr"])
        self._take(state, where)
        self._total = total
        optimizer._use_schedule(self, position)

    def _take(self, state: Mapping[str, Any], where: str) -> None:
        """Take over what a subclass keeps beside the position; raises ValueError before anything changes."""

    # -- arguments ---------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _number(self, value: Any, name: str, least: float = 0.0, most: float = math.inf) -> float:
        found = number(value, f"{self._name}: {name}")
        if not least <= found <= most or math.isinf(found):
            limits = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise ValueError(f"{self._name}: {name} is {found}; it must be a number {limits}")
        return found

    def _steps(self, value: Any, name: str, least: int = 0) -> int | float:
        """A number of steps as an int, or a part of all steps as a float below 1."""
        found = self._number(value, name)
        if 0 < found < 1:
            return found
        if found != int(found) or found < least:
            raise ValueError(
                f"{self._name}: {name} is {found:g}; it must be a whole number of steps of at least {least}, or below "
                "1 a part of all"
            )
        return int(found)

    def _resolved(self, steps: int | float, total: int, name: str) -> int:
        """``steps`` as a number of steps of ``total``."""
        found = round(steps * total) if isinstance(steps, float) else steps
        if found > total:
            raise ValueError(f"{self._name}: {name} takes {found} steps, and there are {total}")
        return found

    def __repr__(self) -> str:
        given = (f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{self._name}({', '.join(given)})"


class Constant(Schedule):
    """The rate as it is, after the warm-up."""

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        return np.full(k.shape, base)


class Step(Schedule):
    """base factor^floor(k / every): the rate is multiplied by ``factor`` after each ``every`` steps (StepLR)."""

    def __init__(self, every: float, factor: float = 0.1, warmup: float = 0):
        super().__init__(warmup)
        self.every, self.factor = self._steps(every, "every", 1), self._number(factor, "factor")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        every = max(round(self.every * total), 1) if isinstance(self.every, float) else self.every
        return base * self.factor ** np.floor(k / every)


class MultiStep(Schedule):
    """The rate is multiplied by ``factor`` at each step of ``at``: at=[0.5, 0.75] is after half and three quarters.

    The steps are counted from the end of the warm-up (MultiStepLR).
    """

    def __init__(self, at: Sequence[float], factor: float = 0.1, warmup: float = 0):
        super().__init__(warmup)
        given = listed(at, "MultiStep: at", "numbers of steps")
        self.at = [self._steps(value, f"at[{i}]") for i, value in enumerate(given)]
        self.factor = self._number(factor, "factor")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        at = sorted(round(a * total) if isinstance(a, float) else a for a in self.at)
        return base * self.factor ** np.searchsorted(np.array(at, np.float64), k, side="right").astype(np.float64)


class Exponential(Schedule):
    """base factor^k (ExponentialLR), or with ``final`` from base to final, reached after the last step.

    Exactly one of the two is given: factor, that of one step, or final, a rate above 0.
    """

    def __init__(self, factor: float | None = None, final: float | None = None, warmup: float = 0):
        super().__init__(warmup)
        if (factor is None) == (final is None):
            raise ValueError("Exponential: give either factor (that of one step) or final (the last rate)")
        self.factor = None if factor is None else self._number(factor, "factor")
        self.final = None if final is None else self._number(final, "final")
        if self.final == 0:
            raise ValueError("Exponential: final is 0, which an exponential never reaches; take Cosine or Linear")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        if self.factor is not None:
            return base * self.factor**k
        assert self.final is not None
        return np.zeros(k.shape) if base == 0 else base * (self.final / base) ** (k / max(total, 1))


class Cosine(Schedule):
    """final + (base - final) (1 + cos(pi k / period)) / 2 (Loshchilov & Hutter 2017, SGDR).

    final: the rate at the end. period: steps until the rate starts again at base (default: all after the warm-up, so
    that it never does); each further period is ``growth`` times as long as the one before (CosineAnnealingWarmRestarts'
    T_0 and T_mult).
    """

    def __init__(self, final: float = 0.0, period: float | None = None, growth: float = 1, warmup: float = 0):
        super().__init__(warmup)
        self.final = self._number(final, "final")
        self.period = None if period is None else self._steps(period, "period", 1)
        self.growth = self._number(growth, "growth", 1.0)

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        done = np.zeros(k.shape)  # the part of its period that a step begins at
        if self.period is None:
            done = k / max(total, 1)
        else:
            first = max(round(self.period * total), 1) if isinstance(self.period, float) else self.period
            starts, lengths = [0.0], [float(first)]
            while starts[-1] + lengths[-1] < total:
                starts.append(starts[-1] + lengths[-1])
                lengths.append(float(round(lengths[-1] * self.growth)))
            which = np.searchsorted(np.array(starts), k, side="right") - 1
            done = (k - np.array(starts)[which]) / np.array(lengths)[which]
        return self.final + (base - self.final) * (1 + np.cos(np.pi * done)) / 2


class Polynomial(Schedule):
    """final + (base - final) (1 - k / total)^power (PolynomialLR with total_iters = total)."""

    def __init__(self, power: float = 2.0, final: float = 0.0, warmup: float = 0):
        super().__init__(warmup)
        self.power, self.final = self._number(power, "power"), self._number(final, "final")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        return self.final + (base - self.final) * (1 - k / max(total, 1)) ** self.power


class Linear(Schedule):
    """final + (base - final) (1 - k / total): from base to final in a straight line."""

    def __init__(self, final: float = 0.0, warmup: float = 0):
        super().__init__(warmup)
        self.final = self._number(final, "final")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        return self.final + (base - self.final) * (1 - k / max(total, 1))


class OneCycle(Schedule):
    """Up from peak / div_factor to peak, then down to peak / div_factor / final_div_factor (Smith & Topin 2019).

    peak: the highest rate; None: that of the group. warmup: the part of the steps, or a number of them, that rises.
    anneal: "cos" or "linear". The rates are those of PyTorch's OneCycleLR (max_lr, pct_start, anneal_strategy) with two
    phases; the momentum stays as it is.
    """

    def __init__(
        self,
        peak: float | None = None,
        warmup: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal: str = "cos",
    ):
        super().__init__(warmup)
        self.peak = None if peak is None else self._number(peak, "peak")
        self.div_factor = self._number(div_factor, "div_factor", 1.0)
        self.final_div_factor = self._number(final_div_factor, "final_div_factor", 1.0)
        self.anneal = choice(anneal, ("cos", "linear"), "OneCycle: anneal")

    @property
    def _straight(self) -> int | float:
        return 0

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates of all steps: the rise is a part of the shape."""
        peak = base if self.peak is None else self.peak
        start = peak / self.div_factor
        steps = self.warmup * total if isinstance(self.warmup, float) else self._resolved(self.warmup, total, "warmup")
        top = max(float(steps) - 1, 0.0)  # the step with the highest rate, between two where it is not whole
        up = np.clip(k / top, 0, 1) if top > 0 else np.ones(k.shape)
        down = np.clip((k - top) / max(total - 1 - top, 1e-9), 0, 1)
        return np.where(
            k <= top, self._between(start, peak, up), self._between(peak, start / self.final_div_factor, down)
        )

    def _between(self, first: float, last: float, part: Array) -> Array:
        if self.anneal == "linear":
            return first + (last - first) * part
        return last + (first - last) / 2 * (1 + np.cos(np.pi * part))


class WarmupStableDecay(Schedule):
    """Up, long level, down: base until the last ``decay`` steps bring it to final (Hu et al. 2024, MiniCPM).

    warmup, decay: numbers of steps, or parts of all steps. anneal: how it falls, with x from 0 to 1: "linear" 1 - x,
    "cos" (1 + cos(pi x)) / 2, "sqrt" 1 - sqrt(x) (Haegele et al. 2024).
    """

    def __init__(self, warmup: float = 0.05, decay: float = 0.2, final: float = 0.0, anneal: str = "linear"):
        super().__init__(warmup)
        self.decay, self.final = self._steps(decay, "decay"), self._number(final, "final")
        self.anneal = choice(anneal, ("linear", "cos", "sqrt"), "WarmupStableDecay: anneal")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        steps = min(round(self.decay * (total + self._rise(total))), total) if isinstance(self.decay, float) else (
            self._resolved(self.decay, total, "decay")
        )  # fmt: skip
        x = np.clip((k - (total - steps)) / max(steps, 1), 0, 1)
        down = {"linear": 1 - x, "cos": (1 + np.cos(np.pi * x)) / 2, "sqrt": 1 - np.sqrt(x)}[self.anneal]
        return self.final + (base - self.final) * down

    def _rise(self, rest: int) -> int:
        """The steps of the warm-up where ``rest`` steps come after it."""
        return round(rest * self.warmup / (1 - self.warmup)) if isinstance(self.warmup, float) else self.warmup


class Function(Schedule):
    """base factor(k), as LambdaLR: ``Function(lambda k: 0.95 ** k)``.

    It is called once for each step when the schedule is prepared, with a Python int, and must depend on that alone.
    """

    def __init__(self, factor: Callable[[int], float], warmup: float = 0):
        super().__init__(warmup)
        self.factor = function(factor, "Function: factor")

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rates after the warm-up."""
        return base * np.array([number(self.factor(i), f"Function: factor({i})") for i in range(total)], np.float64)


class Plateau(Schedule):
    """The rate is multiplied by ``factor`` when a metric has not improved for long (ReduceLROnPlateau).

    ``step(metric)`` tells the metric, mostly once an epoch; `fit` does so with the validation loss. One that is not
    better than the best by ``threshold`` (a part of the best, with threshold_mode "abs" a number) for more than
    ``patience`` times in a row lowers the rate, but not below ``final``; then ``cooldown`` times are not counted. mode:
    "min" for a loss, "max" for an accuracy. NaN is never better.
    """

    def __init__(
        self,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        final: float = 0.0,
        warmup: float = 0,
    ):
        super().__init__(warmup)
        self.mode = choice(mode, ("min", "max"), "Plateau: mode")
        self.factor = self._number(factor, "factor")
        if not self.factor < 1:
            raise ValueError(f"Plateau: factor is {self.factor}; it must be a number below 1")
        self.patience = integer(patience, "Plateau: patience", 0)
        self.threshold = self._number(threshold, "threshold")
        self.threshold_mode = choice(threshold_mode, ("rel", "abs"), "Plateau: threshold_mode")
        self.cooldown = integer(cooldown, "Plateau: cooldown", 0)
        self.final = self._number(final, "final")
        self._begin()

    def _begin(self) -> None:
        self._best: float | None = None
        self._bad = self._resting = self._reductions = 0

    def step(self, metric: float | Tensor) -> None:
        """Tell the metric; a rate that is lowered is that of the next step. Nothing is recorded again."""
        optimizer = self._prepared("step")
        value = number(metric.item() if isinstance(metric, Tensor) else metric, "Plateau.step: metric")
        if self._better(value):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._resting:
            self._resting, self._bad = self._resting - 1, 0
        if self._bad > self.patience:
            self._bad, self._resting = 0, self.cooldown
            self._reductions += 1
            optimizer._write_rates()

    def _better(self, value: float) -> bool:
        if self._best is None:
            return value == value
        sign = -1.0 if self.mode == "min" else 1.0
        by = self.threshold * (self._best if self.threshold_mode == "rel" else 1.0)
        return sign * value > sign * (self._best + sign * by)

    def _rows(self, rest: int) -> int:
        return 1  # which stays

    def shape(self, k: Array, total: int, base: float) -> Array:
        """The rate after the warm-up."""
        lowered = base
        for _ in range(self._reductions):
            lowered = min(lowered, max(lowered * self.factor, self.final))
        return np.full(k.shape, lowered)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs, the best metric and the counts among it."""
        own = {"best": self._best, "bad": self._bad, "resting": self._resting, "reductions": self._reductions}
        return {**super().state_dict(), **own}

    def _take(self, state: Mapping[str, Any], where: str) -> None:
        counts = [integer(state[k], f"{where}: {k}", 0) for k in ("bad", "resting", "reductions")]
        self._best = None if state["best"] is None else number(state["best"], f"{where}: best")
        self._bad, self._resting, self._reductions = counts


_NAMES = Names(
    "a schedule",
    [
        ("constant", Constant),
        ("step", Step),
        ("multi_step", MultiStep),
        ("exponential", Exponential),
        ("cosine", Cosine),
        ("linear", Linear),
        ("polynomial", Polynomial),
        ("one_cycle", OneCycle),
        ("plateau", Plateau),
        ("warmup_stable_decay", WarmupStableDecay),
        ("function", Function),
    ],
)


def get(name: str) -> type[Schedule]:
    """The class called ``name``, as configuration files write it: ``get("one_cycle")`` is `OneCycle`.

    Capitals, underscores and hyphens do not matter. Raises ValueError with the nearest name for one that is unknown.
    """
    found: type[Schedule] = _NAMES.get(name, "schedules.get: name")
    return found


def make(name: str, **settings: Any) -> Schedule:
    """The schedule called ``name``, as by `get`; ValueError where it needs other arguments than ``settings``."""
    kind = get(name)
    try:
        inspect.signature(kind).bind(**settings)
    except TypeError as error:
        raise ValueError(
            f"schedules.make: {name!r} needs arguments of its own, optim.schedules.{kind.__name__}(...): {error}"
        ) from None
    return kind(**settings)


def names() -> list[str]:
    """The names that `get` knows."""
    return list(_NAMES)
