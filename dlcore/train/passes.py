"""Passes over a data set: the work on a batch is recorded once and replayed, for many batches in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from dlcore._arguments import instance
from dlcore._autograd import no_grad
from dlcore._capture import Captured
from dlcore._memory import available_memory, readable
from dlcore._tensor import Tensor, arange
from dlcore.data import Batches
from dlcore.data.views import flatten
from dlcore.errors import CaptureError, ShapeError
from dlcore.metrics import Meter
from dlcore.nn.losses import as_cross_entropy, holds
from dlcore.nn.module import Module
from dlcore.optim import Optimizer, clip_grad_norm_

__all__ = ["Evaluation", "Training"]

_PACE = 0.02  # for so many seconds steps are replayed before Ctrl-C and callbacks get their turn


class _Counting:
    """How a pass weights what its batches give, where a loss is the mean over other things than the samples.

    ``counted(outputs, targets)``: how much the loss of a batch is the mean of, or None for its number of samples. A
    loss of the user's says so by a method of that name. ``ignored``: the label that the loss leaves out, or None where
    no target of the data is that label: nothing is then spent on it.
    """

    def __init__(self, loss: Any, batches: Batches):
        known = as_cross_entropy(loss)
        self.counted = getattr(type(loss), "counted", None) and loss.counted
        self.ignored: int | None = -100
        if known is not None:
            self.ignored = known.ignore_index if _has_label(batches, known.ignore_index) else None
            self.counted = None if known.weight is None and self.ignored is None else known.counted


def _has_label(batches: Batches, label: int) -> bool:
    """Whether a target may be ``label``: what Python code assembles is not looked through."""
    if batches.host:
        return True
    base, _ = flatten(batches.dataset)
    targets = base.on(batches.device)[-1]
    return holds(targets, label) and bool((targets == label).any())


def _loss(value: Any, name: str) -> Tensor:
    """What a loss function returned to the function ``name``, which must be a tensor of one number."""
    instance(value, Tensor, f"{name}: what the loss returned,", "a tensor")
    if value.size != 1:
        raise ShapeError(f"{name}: the loss must be one number for a batch, not of shape {value.shape}")
    return cast("Tensor", value)


class _Pass:
    """``work(inputs, targets)`` for all batches of ``size`` samples.

    Where the data lies on the device, fetching a batch is part of the recorded step, whose argument is the indices of
    its samples. ``depends``: objects and functions that the work uses. ``name``: what the step is, in messages.
    """

    def __init__(
        self,
        batches: Batches,
        size: int,
        work: Callable[[list[Tensor], Tensor], None],
        depends: Iterable[Any],
        name: str,
    ):
        def step(*batch: Tensor) -> None:
            *inputs, targets = batch if batches.host else batches.fetch(*batch)
            work(inputs, targets)

        step.__qualname__ = name
        self.batches, self.size = batches, size
        self.step = Captured(step, strict=False, depends=[*depends, *batches.recorded_parts()])

    def __len__(self) -> int:
        return -(-len(self.batches.dataset) // self.size)

    def run(self, epoch: int, after: Callable[[int], None], singly: bool) -> None:
        """Work on all batches in the order of ``epoch``; call ``after(done)`` at times, if ``singly`` after each."""
        order = self.batches.order(epoch)
        steps, rest = divmod(order.size, self.size)
        if self.batches.host:
            windows = (order[k * self.size : (k + 1) * self.size] for k in range(len(self)))
            for done, batch in enumerate(self.batches.ahead(windows), 1):
                self.step(*batch)
                after(done)
            return
        self._sweep(order[: steps * self.size].reshape((steps, self.size)), after, singly)
        if rest:
            self.step(order[steps * self.size :])
            after(steps + 1)

    def _sweep(self, index: Tensor, after: Callable[[int], None], singly: bool) -> None:
        """Work on the batches ``index[0]``, ``index[1]``, ...: as many in one call as take ``_PACE`` seconds."""
        done, count = 0, 1
        while done < index.shape[0]:
            start = time.perf_counter()
            if count == 1:
                self.step(index[done])
            else:
                self.step.sweep(index[done : done + count])
            done += count
            after(done)
            if self.step.recorded and not singly:
                each = (time.perf_counter() - start) / count
                count = max(1, min(int(_PACE / each), 2 * count, index.shape[0] - done))


class Training(_Pass):
    """The steps of ``fit``."""

    def __init__(
        self,
        model: Module,
        batches: Batches,
        size: int,
        loss: Any,
        optimizer: Optimizer,
        clip_norm: float | None,
        metrics: Iterable[Any],
    ):
        self.parameters = parameters = list(model.parameters())
        self.loss = loss
        counting = _Counting(loss, batches)
        counted = counting.counted
        self.meter = meter = Meter(metrics, counting.ignored)

        def work(inputs: list[Tensor], targets: Tensor) -> None:
            outputs = model(*inputs)
            value = _loss(loss(outputs, targets), "fit")
            optimizer.zero_grad()
            value.backward()
            if clip_norm is not None:
                clip_grad_norm_(parameters, clip_norm)
            optimizer.step()
            meter.update(outputs, targets, value, None if counted is None else counted(outputs, targets))

        super().__init__(batches, size, work, (model, loss, optimizer, meter), "the step of fit")

    def check_memory(self) -> None:
        """Raises MemoryError where a step does not fit into memory; the text tells the largest batch that does.

        This runs the model's Python code, without any kernel. It is left out where even a step of a thousand times the
        memory of its inputs and parameters would fit.
        """
        free = available_memory(self.batches.device)
        if self.batches.host or 1000 * self._given_bytes() < free:
            return
        try:
            need = self._bytes(self.size)
            if need <= free:
                return
            largest = self._largest(free, need)
        except CaptureError:
            return  # there is no memory plan for a model that reads values
        raise MemoryError(
            f"fit: a step with a batch of {self.size} takes {readable(need)}, and {readable(free)} are free; "
            + (f"a batch of {largest} fits" if largest else "not even one sample fits")
        )

    def _largest(self, free: int, need: int) -> int:
        """The largest batch whose step takes no more than ``free``; every sample is taken to add the same."""
        half = self.size // 2
        each = max(need - self._bytes(half), 1) / (self.size - half) if half else need
        largest, taken = self.size, need
        while largest > 0 and taken > free:
            largest -= math.ceil((taken - free) / each)
            taken = self._bytes(largest) if largest > 0 else 0
        return max(largest, 0)

    def _given_bytes(self) -> int:
        size = min(self.size, len(self.batches.dataset))
        inputs, *_ = self.batches.fetch(arange(1, device=self.batches.device))
        return size * inputs.size * 4 + sum(p.size * p.dtype.itemsize for p in self.parameters)

    def _bytes(self, size: int) -> int:
        index = arange(min(size, len(self.batches.dataset)), device=self.batches.device)
        recording = self.step.dry_run(index)
        return recording.arena_bytes + sum(size for kind, size, *_ in recording.regions if kind == "result")


class Evaluation(_Pass):
    """Loss and metrics over a data set."""

    def __init__(self, model: Module, batches: Batches, size: int, loss: Any, metrics: Iterable[Any]):
        counting = _Counting(loss, batches)
        counted = counting.counted
        self.meter = meter = Meter(metrics, counting.ignored)

        def work(inputs: list[Tensor], targets: Tensor) -> None:
            outputs = model(*inputs)
            value = None if loss is None else _loss(loss(outputs, targets), "evaluate")
            meter.update(outputs, targets, value, None if counted is None else counted(outputs, targets))

        super().__init__(batches, size, work, (model, loss, meter), "the step of evaluate")
        self.model = model

    def scores(self, after: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
        """Loss and metrics by name, in evaluation mode and without gradients; ``after`` as in `run`."""
        self.meter.reset()
        with kept_modes(self.model), no_grad():
            self.model.eval()
            self.run(0, after, singly=False)
        return self.meter.compute()


class kept_modes:
    """After the `with` block all modules are in the mode, training or evaluation, in which they were before."""

    def __init__(self, model: Module):
        self._modes = [(module, module.training) for module in model.modules()]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for module, training in self._modes:
            module.training = training
