"""Short runs before the long one, after which everything is as before: a learning rate, and whether a model learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from dlcore import optim
from dlcore._arguments import instance, integer, number
from dlcore._autograd import no_grad
from dlcore._files import write_figure
from dlcore._tensor import Tensor
from dlcore.data import Subset, as_dataset
from dlcore.nn.layers import Dropout
from dlcore.nn.module import Module
from dlcore.optim import Optimizer
from dlcore.optim.schedules import Exponential
from dlcore.random import generator_states, set_generator_states
from dlcore.train.fitting import fit
from dlcore.train.run import Callback, Run

__all__ = ["Overfit", "RateSearch", "find_learning_rate", "overfit"]

_SMOOTHING = 0.9
_DIVERGED = 4.0  # a smoothed loss of so many times the lowest ends the search
_LEARNED = 0.1  # a batch has been learnt when its loss is this part of the first


class RateSearch:
    """What `find_learning_rate` has seen: ``rates`` and ``losses``, step by step, float64, and a ``suggestion``.

    suggestion: a tenth of the rate at which the smoothed loss was lowest (Smith 2017); None where no rate has lowered
    it. Several groups of parameters keep the ratios of their rates: these are the largest.
    """

    def __init__(self, rates: np.ndarray, losses: np.ndarray):
        self.rates, self.losses = rates, losses
        self.smoothed = _smoothed(losses)
        lowest = int(np.argmin(self.smoothed)) if len(losses) else 0
        self.suggestion = float(rates[lowest]) / 10 if lowest else None

    def __repr__(self) -> str:
        last = f", up to {self.rates[-1]:.3g}" if len(self.rates) else ""
        best = None if self.suggestion is None else f"{self.suggestion:.3g}"
        return f"RateSearch(suggestion={best}, {len(self.rates)} steps{last})"

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """A matplotlib figure of loss against rate; written to ``path`` too if one is given.

        Raises ImportError where matplotlib is missing (``pip install "dlcore[plot]"``).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError('RateSearch.plot: matplotlib is missing: pip install "dlcore[plot]"') from None
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, ".", color="#999999", markersize=3, label="loss of a step")
        axes.plot(self.rates, self.smoothed, color="#0072b2", label="smoothed")
        if self.suggestion is not None:
            text = f"suggestion: {self.suggestion:.2g}"
            axes.axvline(self.suggestion, color="#d55e00", linestyle="--", label=text)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        if len(self.smoothed):
            low, high = float(np.min(self.losses)), float(np.max(self.smoothed[:10]))
            room = max(high - low, 1e-6 * abs(high), 1e-12)
            axes.set_ylim(low - 0.05 * room, high + 0.3 * room)  # the end, where it diverges, is far above
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        if path is not None:
            write_figure(figure, path)
        return figure


class Overfit(NamedTuple):
    """What `overfit` has seen: the losses of the steps (float64), whether the batch was ``learned``, and a ``reason``.

    reason: in words what came out, and if it was not learnt, what seems to be wrong.
    """

    losses: np.ndarray
    learned: bool
    reason: str

    def __str__(self) -> str:
        return self.reason


class _EnoughError(Exception):
    """Ends a run within an epoch. It does not leave this module."""


class _Losses(Callback):
    """Keeps the losses of all steps, up to one that is not finite, or where the smoothed is ``most`` times as high."""

    def __init__(self, most: float = math.inf):
        self.most, self.losses = most, np.empty(0)

    def on_losses(self, run: Run, losses: np.ndarray, norms: np.ndarray | None) -> None:
        self.losses = np.concatenate([self.losses, losses])
        smoothed = _smoothed(self.losses)
        lowest = np.minimum.accumulate(np.where(np.isfinite(smoothed), smoothed, math.inf))
        far = ~np.isfinite(self.losses) | (smoothed > lowest + (self.most - 1) * np.maximum(abs(lowest), 1e-12))
        if far.any():
            self.losses = self.losses[: int(far.argmax())]
            raise _EnoughError


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """The exponential moving average of ``losses``, without its bias towards 0 in the beginning."""
    found, mean = np.empty(len(losses)), 0.0
    for k, loss in enumerate(losses):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * float(loss)
        found[k] = mean / (1 - _SMOOTHING ** (k + 1))
    return found


def _optimizer(given: Any, model: Module, name: str) -> Optimizer:
    made = optim.get(given)(model.parameters()) if isinstance(given, str) else given
    return instance(made, Optimizer, f"{name}: optimizer", "an optimizer or the name of one")


@contextmanager
def _restored(model: Module, optimizer: Optimizer) -> Iterator[None]:
    """After the block the model, the optimizer, its parameters and all random numbers are as they were before."""
    buffers = [(module, name, getattr(module, name)) for module in model.modules() for name in module._buffers]
    held = [*model.parameters(), *(p for group in optimizer.param_groups for p in group["params"])]
    tensors = {id(t): t for t in [*held, *(b for *_, b in buffers if isinstance(b, Tensor))]}.values()
    kept = [(t, t.detach().clone()) for t in tensors]
    gradients = [(p, p.grad) for p in held]
    state, states, preprocessing = optimizer.state_dict(), generator_states(), model.preprocessing
    state = {**state, "state": {i: {n: t.clone() for n, t in s.items()} for i, s in state["state"].items()}}
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
        with no_grad():
            for t, value in kept:
                t.copy_(value)
        for p, gradient in gradients:
            p.grad = gradient
        optimizer.load_state_dict(state)
        set_generator_states(states)
        model.preprocessing = preprocessing


def find_learning_rate(
    model: Module,
    train: Any,
    *,
    loss: Callable[..., Any] | str | None = None,
    optimizer: Optimizer | str,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
    batch_size: int = 32,
    seed: int = 0,
    **settings: Any,
) -> RateSearch:
    """Train for ``steps`` steps with a rate that rises exponentially from ``low`` to ``high``: a `RateSearch`.

    The search ends where the smoothed loss is four times its lowest value, or a loss is not finite. Afterwards the
    model, the optimizer and random numbers are as they were before. settings: others of ``fit``, such as transform,
    augment, clip_norm or class_weight; use those of the long run, and its batch size, on which the rate depends.

    >>> _ = dl.manual_seed(0)
    >>> x = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    >>> model = nn.Linear(4, 1)
    >>> optimizer = optim.SGD(model.parameters())
    >>> search = dl.train.find_learning_rate(model, (x, x.sum(1, keepdims=True)), loss="mse", optimizer=optimizer)
    >>> 0.01 < search.suggestion < 10
    True
    """
    name = "find_learning_rate"
    instance(model, Module, f"{name}: model", "a Module")
    low, high, steps = number(low, f"{name}: low"), number(high, f"{name}: high"), integer(steps, f"{name}: steps", 2)
    if not 0 < low < high:
        raise ValueError(f"{name}: rates rise from low to high: 0 < low < high is needed, not {low} and {high}")
    chosen, factor = _optimizer(optimizer, model, name), (high / low) ** (1 / (steps - 1))
    watch = _Losses(_DIVERGED)
    with _restored(model, chosen):
        largest = max(group["lr"] for group in chosen.param_groups)
        for group in chosen.param_groups:
            group["lr"] = group["lr"] * (low / largest) if largest else low
        _run(model, train, loss, chosen, watch, steps, batch_size=batch_size, seed=seed,
             schedule=Exponential(factor), **settings)  # fmt: skip
    return RateSearch(low * factor ** np.arange(len(watch.losses)), watch.losses)


def overfit(
    model: Module,
    train: Any,
    *,
    loss: Callable[..., Any] | str | None = None,
    optimizer: Optimizer | str,
    steps: int = 300,
    batch_size: int = 32,
    seed: int = 0,
    **settings: Any,
) -> Overfit:
    """Train on one batch of ``train`` alone: a model, loss and optimizer that are right learn it by heart: `Overfit`.

    It is learnt where the loss falls to a tenth of its first value within ``steps`` steps; ``print`` says so, or what
    seems to be wrong: parameters that get no gradient, a rate that is too large or too small. Afterwards the model, the
    optimizer and random numbers are as they were before. settings: others of ``fit``.

    >>> x = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    >>> model = nn.Linear(4, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> dl.train.overfit(model, (x, x.sum(1, keepdims=True)), loss="mse", optimizer=optimizer).learned
    True
    """
    instance(model, Module, "overfit: model", "a Module")
    steps, batch_size = integer(steps, "overfit: steps", 2), integer(batch_size, "overfit: batch_size", 1)
    chosen, data = _optimizer(optimizer, model, "overfit"), as_dataset(train, "overfit: train")
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:batch_size])
    watch = _Losses()
    with _restored(model, chosen):
        _run(model, Subset(data, rows.tolist()), loss, chosen, watch, steps, batch_size=batch_size, seed=seed,
             shuffle=False, **settings)  # fmt: skip
        return _judged(watch.losses, steps, model, chosen)


def _run(model: Module, data: Any, loss: Any, chosen: Optimizer, watch: _Losses, steps: int, **settings: Any) -> None:
    callbacks: Sequence[Any] = [watch]
    try:
        fit(model, data, loss=loss, optimizer=chosen, epochs=1, steps_per_epoch=steps, callbacks=callbacks,
            progress=False, **settings)  # fmt: skip
    except _EnoughError:
        return


def _judged(losses: np.ndarray, steps: int, model: Module, optimizer: Optimizer) -> Overfit:
    """What came out of ``steps`` steps on one batch, of which the last have left their gradients."""
    if len(losses) < steps:
        at = len(losses) + 1
        return Overfit(losses, False, f"not learnt: the loss is not finite at step {at}; take a smaller learning rate")
    tail = max(steps // 20, 1)
    first, last, lowest = float(losses[0]), float(np.median(losses[-tail:])), float(losses.min())
    course = f"the loss went from {first:.4g} to {last:.4g} in {steps} steps"
    if last <= _LEARNED * abs(first):
        return Overfit(losses, True, f"learnt: {course}")
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    still = [name for name, p in trained if p.grad is None or not bool((p.grad != 0).any())]
    before = float(np.median(losses[-4 * tail : -3 * tail])) if steps >= 4 * tail else first
    rates = [group["lr"] for group in optimizer.param_groups]
    if not any(rates):
        reason = "the learning rate is 0"
    elif still:
        names = ", ".join(still[:4]) + (f" and {len(still) - 4} more" if len(still) > 4 else "")
        reason = f"the gradient of {names} is 0 or none: the loss does not depend on them, or units are dead"
    elif last > 1.5 * lowest or last > first:
        reason = "it rises again or jumps; take a smaller learning rate"
    elif last < 0.98 * before:
        reason = "it is still falling; take more steps or a larger learning rate"
    elif any(isinstance(module, Dropout) and module.p for module in model.modules()):
        reason = "dropout keeps it from doing so; try without"
    else:
        reason = (
            "it has come to rest; the model may be too small, the loss may have a floor, the same inputs may have "
            "different targets, or the learning rate is too small by far"
        )
    return Overfit(losses, False, f"not learnt: {course}: {reason}")
