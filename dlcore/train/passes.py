"""Passes over a data set: the work on a batch is recorded once and replayed, for many batches in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import instance
from dlcore._autograd import no_grad
from dlcore._capture import Captured
from dlcore._device import synchronize
from dlcore._memory import available_memory, readable
from dlcore._recordable import Recordable
from dlcore._tensor import Parameter, Tensor, arange, tensor, zeros
from dlcore.data import Batches
from dlcore.dtypes import float64, int64
from dlcore.errors import CaptureError, ShapeError
from dlcore.metrics import Meter
from dlcore.nn.module import Module
from dlcore.ops.elementwise import where
from dlcore.ops.gather import take
from dlcore.ops.movement import concat
from dlcore.optim import Optimizer, clip_grad_norm_, clip_grad_value_
from dlcore.train.average import Average
from dlcore.train.gate import Gate
from dlcore.train.modes import kept_modes
from dlcore.train.objective import Objective

__all__ = ["CustomTraining", "Evaluation", "SupervisedTraining", "Tally", "Trace", "Training"]

_PACE = 0.05  # for so many seconds steps are replayed before Ctrl-C and callbacks get their turn


class _Pass:
    """``work(pieces)`` for batches of ``size`` samples; ``pieces``: the parts of a batch, ``size`` samples each.

    All batches of a data set follow one another, in a new order each time: ``run`` works on a range of them, counted
    from the first batch of all. ``accumulate``: so many pieces make one batch. Where the data lies on the device,
    fetching is part of the recorded step, whose argument is the indices of its samples. ``depends``: objects and
    functions that the work uses. ``name``: what the step is, in messages. ``weights``: of the samples, by index, which
    then come as the last part of a piece.
    """

    def __init__(
        self,
        batches: Batches,
        size: int,
        work: Callable[[list[list[Tensor]]], None],
        depends: Iterable[Any],
        name: str,
        accumulate: int = 1,
        weights: Tensor | None = None,
    ):
        def step(*batch: Tensor) -> None:
            length = batch[0].shape[0]
            pieces = []
            for start in range(0, length, size) if length else (0,):
                piece = batch if length <= size else [part[start : start + size] for part in batch]
                if not batches.host:
                    fetched = batches.fetch(*piece)
                    piece = fetched if weights is None else (*fetched, take(weights, *piece))
                pieces.append(list(piece))
            work(pieces)

        step.__qualname__ = name
        self.batches, self.size, self.weights = batches, size * accumulate, weights
        self.step = Captured(step, strict=False, depends=[*depends, *batches.recorded_parts()])

    def __len__(self) -> int:
        """How many batches the samples make."""
        return self.batches.count(self.size)

    def run(self, first: int, end: int, after: Callable[[int], int | None]) -> None:
        """Work on the batches from ``first`` to ``end``.

        At times ``after(done)`` is called, with the number of the batch that comes next; it returns the number of the
        one before which it wants to be called again, or None where any time will do.
        """
        pause, done = after(first), first
        while done < end:
            times, begin = divmod(done, len(self))
            start, some = done - begin, min(end - done, len(self) - begin)

            def pausing(at: int, start: int = start) -> int | None:
                nonlocal pause
                pause = after(start + at)
                return None if pause is None else pause - start

            self._run(times, begin, begin + some, None if pause is None else pause - start, pausing)
            done += some

    def _run(
        self, times: int, begin: int, end: int, pause: int | None, after: Callable[[int], int | None]
    ) -> None:
        """Work on the batches from ``begin`` to ``end`` of the ``times``-th order of the samples."""
        order = self.batches.order(times)
        if self.batches.host:
            windows = [order[k * self.size : (k + 1) * self.size] for k in range(begin, end)]
            waited = time.perf_counter()
            for k, batch in enumerate(self.batches.ahead(windows)):
                self.step(*batch, *(() if self.weights is None else (take(self.weights, windows[k]),)))
                if time.perf_counter() - waited > _PACE:
                    synchronize(self.batches.device)
                    waited = time.perf_counter()
                after(begin + k + 1)
            return
        full = order.size // self.size
        self._sweep(order[: full * self.size].reshape((full, self.size)), begin, min(end, full), pause, after)
        if end > full:
            self.step(order[full * self.size :])
            after(end)

    def _sweep(
        self, index: Tensor, begin: int, end: int, pause: int | None, after: Callable[[int], int | None]
    ) -> None:
        """Work on the batches ``index[begin]`` to ``index[end]``: as many in one call as take ``_PACE`` seconds.

        A GPU has done them when ``after`` is called, so that progress, times and Ctrl-C are about its work.
        """
        done, pace = begin, 1
        while done < end:
            count = min(pace, end - done, end if pause is None else pause - done)
            start = time.perf_counter()
            if count == 1:
                self.step(index[done])
            else:
                self.step.sweep(index[done : done + count])
            synchronize(self.batches.device)
            done += count
            pause = after(done)
            if self.step.recorded:
                pace = max(1, min(int(_PACE * count / (time.perf_counter() - start)), 2 * pace))


class Trace(Recordable):
    """The figures of each step of an epoch, on the device: a recorded step writes them, ``read`` reads back many.

    ``figures``: how many there are of a step.
    """

    def __init__(self, steps: int, figures: int, device: Any):
        # One row more: a step that is replayed once more, to be timed, has a place to write to.
        self._rows = zeros((steps + 1, figures), dtype=float64, device=device)
        self._next = zeros((1,), dtype=int64, device=device)

    def restart(self, at: int = 0) -> None:
        """The next step is number ``at``, from 0 on."""
        self._next.fill_(at)

    def write(self, figures: Sequence[Tensor]) -> None:
        """Keep the ``figures`` of this step, each one number."""
        columns = [f.detach().astype(float64).reshape((1, 1)) for f in figures]
        self._rows[self._next] = columns[0] if len(columns) == 1 else concat(columns, 1)
        self._next += 1

    def read(self, first: int, end: int) -> np.ndarray:
        """The figures of the steps from ``first`` to ``end``: (steps, figures), float64. Waits for the device."""
        return np.array(self._rows[first:end].numpy())

    def recorded_state(self) -> Any:
        """The tensors that hold the figures."""
        return self._rows, self._next


class Tally(Recordable):
    """The means of the figures that the steps of an epoch return, on the device; steps count by their samples."""

    metrics: Sequence[Any] = ()
    sample: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()  # known from the first step on
        self.sums: Tensor | None = None

    def reset(self) -> None:
        """Forget all steps."""
        if self.sums is not None:
            self.sums.zero_()

    def update(self, figures: Mapping[str, Tensor], samples: int) -> None:
        """Add those of a step of ``samples`` samples. Raises ValueError where their names have changed."""
        if self.sums is None:
            self.names = tuple(figures)
            self.sums = zeros((1 + len(figures),), dtype=float64, device=next(iter(figures.values())).device)
        elif tuple(figures) != self.names:
            raise ValueError(f"fit: step returned {', '.join(figures)}, but {', '.join(self.names)} before")
        columns = [f.detach().astype(float64).reshape((1,)) * samples for f in figures.values()]
        self.sums[1:] += concat(columns) if len(columns) > 1 else columns[0]
        self.sums[:1] += samples

    def compute(self) -> dict[str, float]:
        """Name -> mean. Waits for the device."""
        if self.sums is None:
            return {}
        samples, *sums = self.sums.tolist()
        return {name: total / samples for name, total in zip(self.names, sums, strict=True)} if samples else {}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, for a run that goes on."""
        return {"sums": self.sums, "names": list(self.names)}

    def load_state_dict(self, state: Mapping[str, Any], device: Any = None) -> None:
        """Go on from what ``state_dict`` gave, on ``device``."""
        self.names = tuple(state["names"])
        self.sums = None if state["sums"] is None else tensor(state["sums"], device=device)

    def recorded_state(self) -> Any:
        """The tensor of all sums; recorded steps go on adding to it."""
        return self.names, self.sums


def _figures(returned: Any) -> dict[str, Tensor]:
    """What a step of the user's returned, by name: the loss alone, or a dict of figures."""
    figures = returned if isinstance(returned, Mapping) else {"loss": returned}
    if not figures:
        raise ValueError("fit: step returned no figure; return the loss, or a dict of figures")
    for name, value in figures.items():
        instance(value, Tensor, f"fit: what step returned{'' if name == 'loss' else f' as {name!r}'},", "a tensor")
        if value.size != 1:
            raise ShapeError(f"fit: {name} of step must be one number for a batch, not of shape {value.shape}")
    return dict(figures)


def _times(loss: Tensor, counted: Tensor | float) -> Tensor:
    """The sum that ``loss`` is the mean of; 0 for a mean of nothing."""
    if not isinstance(counted, Tensor):
        return loss * float(counted)
    return where(counted > 0, loss * counted.astype(loss.dtype), 0.0)


def _joined(judged: Sequence[tuple[Tensor, Any, float]], parameters: Sequence[Parameter]) -> Tensor:
    """The loss of a batch from (loss, counted, share) of its pieces; gradients that are sums become means."""
    if judged[0][1] is None:
        return sum((loss * share for loss, _, share in judged[1:]), judged[0][0] * judged[0][2])
    total = sum((counted for _, counted, _ in judged[1:]), judged[0][1])
    loss = sum((_times(loss, counted) for loss, counted, _ in judged[1:]), _times(*judged[0][:2]))
    divisor = where(total > 0, total, 1) if isinstance(total, Tensor) else total  # of nothing gradients stay 0
    for p in parameters:
        if p.grad is not None:
            p.grad /= divisor.astype(p.grad.dtype) if isinstance(divisor, Tensor) else divisor
    return loss / (total if not isinstance(total, Tensor) else total.astype(loss.dtype))


class Training(_Pass):
    """The steps of ``fit``: ``work`` as in a pass, whose figures ``meter`` adds up and ``trace`` keeps.

    ``steps``: so many make an epoch (default: one pass over the data). ``figures``: how many of each step are kept, the
    loss first.
    """

    gate: Gate | None = None

    def __init__(
        self,
        model: Module,
        batches: Batches,
        size: int,
        work: Callable[[list[list[Tensor]]], None],
        depends: Iterable[Any],
        meter: Meter | Tally,
        steps: int | None,
        figures: int = 1,
        accumulate: int = 1,
        weights: Tensor | None = None,
    ):
        super().__init__(batches, size, work, (model, *depends, meter), "the step of fit", accumulate, weights)
        self.model, self.parameters, self.meter = model, list(model.parameters()), meter
        self.steps = len(self) if steps is None else steps
        self.trace = Trace(self.steps, figures, batches.device)

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


class CustomTraining(Training):
    """Steps of which a function of the user's, ``step(*parts)``, does all the work."""

    def __init__(
        self,
        model: Module,
        batches: Batches,
        size: int,
        step: Callable[..., Any],
        optimizers: Sequence[Optimizer],
        steps: int | None = None,
        average: Average | None = None,
    ):
        tally = Tally()

        def work(pieces: list[list[Tensor]]) -> None:
            (parts,) = pieces
            figures = _figures(step(*parts))
            tally.update(figures, parts[0].shape[0])
            if average is not None:
                average.update()
            self.trace.write((next(iter(figures.values())),))

        super().__init__(model, batches, size, work, (step, *optimizers), tally, steps)


class SupervisedTraining(Training):
    """Steps that judge a batch by an objective and let the optimizer step along the gradient of its loss.

    The gradients of the pieces of a batch are added up as if they were one, and clipped, before the step: those of the
    parameters that the optimizer holds, others are not reset from step to step. ``gate``: leaves out steps.
    """

    def __init__(
        self,
        model: Module,
        batches: Batches,
        size: int,
        objective: Objective,
        optimizer: Optimizer,
        metrics: Iterable[Any] = (),
        steps: int | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        weights: Tensor | None = None,
        average: Average | None = None,
        gate: Gate | None = None,
    ):
        self.objective, self.gate = objective, gate
        per_epoch = batches.count(size * accumulate) if steps is None else steps
        meter = Meter(metrics, objective.ignored, per_epoch * size * accumulate)

        def work(pieces: list[list[Tensor]]) -> None:
            optimizer.zero_grad()
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            samples = sum(piece[0].shape[0] for piece in pieces)
            judged = []
            for piece in pieces:
                parts, weight = (piece, None) if weights is None else (piece[:-1], piece[-1])
                loss, counted = _judge(parts, weight)
                rows = parts[0].shape[0]
                share = loss
                if len(pieces) > 1:
                    share = loss * (rows / samples) if counted is None else _times(loss, counted)
                (share if gate is None else gate.scaled(share)).backward()
                judged.append((loss.detach(), counted, rows / samples))
            loss = judged[0][0] if len(judged) == 1 else _joined(judged, parameters)
            taken = None if gate is None else gate.open(optimizer, loss)
            if clip_value is not None:
                clip_grad_value_(parameters, clip_value)
            norm = () if clip_norm is None else (clip_grad_norm_(parameters, clip_norm),)
            optimizer.step(active=taken)
            if average is not None:
                average.update(taken)
            if gate is not None:
                gate.close()
            self.trace.write((loss, *norm))

        def _judge(parts: list[Tensor], weight: Tensor | None) -> tuple[Tensor, Any]:
            one = objective(model, parts, weight)
            assert one.loss is not None
            worth = parts[0].shape[0] if one.counted is None else one.counted
            worth = worth if gate is None else gate.counted(one.loss, worth)
            meter.update(one.outputs, one.targets, one.loss, worth, objective.takes_probabilities(one))
            return one.loss, one.counted

        depends, figures = [objective, optimizer], 1 + (clip_norm is not None)
        depends += [part for part in (average, gate) if part is not None]
        super().__init__(model, batches, size, work, depends, meter, steps, figures, accumulate, weights)


class Evaluation(_Pass):
    """Loss and metrics over a data set, or the first ``steps`` batches of it."""

    def __init__(
        self, model: Module, batches: Batches, size: int, objective: Objective, metrics: Iterable[Any],
        steps: int | None = None,
    ):  # fmt: skip
        self.meter = meter = Meter(metrics, objective.ignored, len(batches.dataset))

        def work(pieces: list[list[Tensor]]) -> None:
            (parts,) = pieces
            one = objective(model, parts)
            worth = parts[0].shape[0] if one.counted is None else one.counted
            meter.update(one.outputs, one.targets, one.loss, worth, objective.takes_probabilities(one))

        super().__init__(batches, size, work, (model, objective, meter), "the step of evaluate")
        self.model, self.objective = model, objective
        self.steps = len(self) if steps is None else min(steps, len(self))

    def scores(self, after: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
        """Loss and metrics by name, in evaluation mode and without gradients; ``after`` as in `run`."""
        self.meter.reset()
        with kept_modes(self.model), no_grad():
            self.model.eval()
            self.run(0, self.steps, after)
        return self.meter.compute()
