"""Averages of the weights over the steps of a training: exponential (EMA) and stochastic (SWA)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dlcore._arguments import integer, number
from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Parameter, Tensor, tensor, zeros
from dlcore.dtypes import float64, int64
from dlcore.nn.module import Module
from dlcore.ops.optim import weight_average

__all__ = ["EMA", "SWA", "Average", "as_average"]


class Average(Recordable):
    """a += max(1 - decay, 1 / n) (p - a) for each parameter p, in the n-th step after ``start``; before, a = p.

    The first steps are thus averaged alike, until ``decay`` gives new weights a larger share. The averages are kept in
    float32, of float64 parameters in float64; other state of the model (running statistics) is not averaged.
    """

    def __init__(self, decay: float, start: int):
        self.decay, self.start = decay, start
        self.averages: list[Tensor] = []
        self.counts: list[Tensor] = []  # of each average, how many steps have been taken in
        self._settings: Tensor | None = None
        self._parameters: list[Parameter] = []
        self._trained: list[Tensor] | None = None  # the weights, while the averages are in their place

    def prepare(self, model: Module) -> None:
        """Begin anew, with the weights of ``model``."""
        self._parameters, self._trained = list(model.parameters()), None
        if not self._parameters:
            raise ValueError("ema: the model has no parameters to average")
        device = self._parameters[0].device
        self.averages = [tensor(p, "float64" if p.dtype is float64 else "float32") for p in self._parameters]
        self.counts = [zeros((), dtype=int64, device=device) for _ in self._parameters]
        self._settings = tensor([[self.decay, self.start]], "float64", device=device)

    def update(self, active: Tensor | None = None) -> None:
        """Take the weights in, after a step of the optimizer, but not where ``active`` is false; recordable."""
        with no_grad():
            weights = [p if p.dtype is a.dtype else p.astype(a.dtype) for p, a in self._pairs()]
            weight_average(self.averages, weights, self.counts, self._settings, active, groups=(0,) * len(weights))

    def _pairs(self) -> Iterator[tuple[Parameter, Tensor]]:
        return zip(self._parameters, self.averages, strict=True)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the `with` block the model has the averages for its weights."""
        self.apply()
        try:
            yield
        finally:
            with no_grad():
                for p, values in zip(self._parameters, self._trained or (), strict=True):
                    p.copy_(values)
            self._trained = None

    def apply(self) -> None:
        """Give the model the averages for its weights; `trained` still tells the others."""
        with no_grad():
            if self._trained is None:
                self._trained = [p.clone() for p in self._parameters]
            for p, a in self._pairs():
                p.copy_(a.astype(p.dtype))

    def trained(self, model: Module) -> dict[str, Tensor]:
        """The weights that the optimizer has made, by their names in ``model``, where averages are in their place."""
        if self._trained is None:
            return {}
        values = {id(p): t for p, t in zip(self._parameters, self._trained, strict=True)}
        return {name: values[id(p)] for name, p in model.named_parameters() if id(p) in values}

    def state_dict(self) -> dict[str, Any]:
        """The averages and the numbers of steps taken in; memory is shared."""
        return {"counts": list(self.counts), "averages": list(self.averages)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave, after ``prepare``. Raises ValueError for averages of other shapes."""
        given = state["averages"]
        if [a.shape for a in given] != [a.shape for a in self.averages]:
            raise ValueError("the averages of the weights are of another model")
        with no_grad():
            own = [*self.counts, *self.averages]
            for mine, values in zip(own, [*state["counts"], *given], strict=True):
                mine.copy_(values)

    def recorded_state(self) -> Any:
        """Which tensors there are, and the settings."""
        return self._settings, tuple(self.counts), tuple(self.averages), tuple(self._parameters)


class EMA(Average):
    """The exponential moving average of the weights (Polyak & Juditsky 1992): a = d a + (1 - d) p a step.

    In the n-th step d is min(decay, 1 - 1 / n): until n is 1 / (1 - decay) the average is the plain mean of all weights
    so far, so that it never leans on those that the model began with. A run of not many more steps than that has an
    average that is still an early mean, behind the weights themselves; a smaller decay follows them closer.
    """

    def __init__(self, decay: float = 0.999):
        decay = number(decay, "EMA: decay")
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay is {decay}; it must be at least 0 and below 1")
        super().__init__(decay, 0)


class SWA(Average):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights of all steps after ``start``."""

    def __init__(self, start: int):
        super().__init__(1.0, integer(start, "SWA: start", 0))


def as_average(value: Any, where: str) -> Average | None:
    """The average meant: an EMA or SWA, the decay of an EMA, or None."""
    if value is None or isinstance(value, Average):
        return value
    decay = number(value, where)
    if not (0 <= decay < 1) or math.isnan(decay):
        raise ValueError(f"{where} is {decay}; a decay must be at least 0 and below 1")
    return EMA(decay)
