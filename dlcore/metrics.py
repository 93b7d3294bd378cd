"""Metrics, computed from sums over batches; the sums stay on the device until they are read.

A :class:`Metric` that is called with outputs and targets gives its value at once:

>>> dl.metrics.accuracy(np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([0, 0]))
0.5
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, tensor, zeros
from dlcore.dtypes import float64
from dlcore.errors import ShapeError
from dlcore.ops.elementwise import where

__all__ = [
    "R2", "Accuracy", "ConfusionMatrix", "MeanAbsoluteError", "MeanSquaredError", "Meter", "Metric", "TopK",
    "accuracy", "confusion_matrix", "get", "mae", "mse", "r2",
]  # fmt: skip


Shape = tuple[int, ...]
_OWN: list[Shape] = [(), (), ()]  # what a Meter adds up besides: batches, loss * samples, samples with a loss


class Metric(Recordable):
    """A figure of merit made of sums: ``value(*sums)``, with the ``sums`` of all batches added up.

    ``sums(outputs, targets)`` gives Tensors or Python numbers, of the same shapes for every batch; they are added up on
    the device, in float64. It must not read values back, so that a step with it can be recorded. ``value`` gets the
    totals as float64 arrays, or as numbers where they have no axes.
    """

    name = "metric"
    higher_is_better = True

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        """What one batch adds to the sums."""
        raise NotImplementedError(f"{type(self).__name__}: sums is not written")

    def value(self, *sums: Any) -> Any:
        """The metric from the sums of all batches."""
        raise NotImplementedError(f"{type(self).__name__}: value is not written")

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """The metric of these outputs and targets (Tensors or arrays)."""
        with no_grad():
            sums = self.sums(_as_tensor(outputs), _as_tensor(targets))
        return self.value(*(np.asarray(s, np.float64)[()] for s in sums))


class _Mean(Metric):
    """A metric that is a sum divided by a count."""

    def value(self, total: Any, count: Any) -> float:
        return float(total / count) if count else float("nan")


class Accuracy(_Mean):
    """The share of the labels (...) that are the argmax of the logits (..., C)."""

    name = "accuracy"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        _check_labels(self.name, outputs, targets)
        return (outputs.argmax(axis=-1) == targets).sum(), targets.size


class TopK(_Mean):
    """The share of the labels (...) whose logit is among the ``k`` largest of (..., C); equal ones count as smaller."""

    def __init__(self, k: int = 5):
        if k < 1:
            raise ValueError(f"TopK: k must be at least 1, not {k}")
        self.k, self.name = k, f"top{k}"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        _check_labels(self.name, outputs, targets)
        chosen = _one_hot(targets, outputs.shape[-1])
        own = where(chosen, outputs, float("-inf")).max(axis=-1, keepdims=True)
        above = (outputs > own).sum(axis=-1)
        return (above < self.k).sum(), targets.size


class ConfusionMatrix(Metric):
    """How many samples of class i (targets) are predicted as class j (argmax of the logits (..., C)): int64 (C, C)."""

    name = "confusion_matrix"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        _check_labels(self.name, outputs, targets)
        classes = outputs.shape[-1]
        actual = _one_hot(targets.reshape((targets.size,)), classes).astype("float32")
        predicted = _one_hot(outputs.argmax(axis=-1).reshape((targets.size,)), classes).astype("float32")
        return (actual.T @ predicted,)  # whole numbers below 2^24: exact

    def value(self, counts: Any) -> np.ndarray:
        return np.asarray(np.rint(counts), np.int64)


class MeanSquaredError(_Mean):
    """The mean of (output - target)^2 over all elements."""

    name = "mse"
    higher_is_better = False

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        d = _difference(self.name, outputs, targets)
        return (d * d).sum(), targets.size


class MeanAbsoluteError(_Mean):
    """The mean of |output - target| over all elements."""

    name = "mae"
    higher_is_better = False

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        return abs(_difference(self.name, outputs, targets)).sum(), targets.size


class R2(Metric):
    """Coefficient of determination, 1 - sum (y - output)^2 / sum (y - mean y)^2, averaged over the output's columns.

    A constant column counts as 1 when it is met exactly and 0 otherwise.
    """

    name = "r2"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        d = _difference(self.name, outputs, targets)
        rows = targets.shape[0] if targets.ndim else 1
        d, y = (t.astype("float64").reshape((rows, t.size // max(rows, 1))) for t in (d, targets))
        return (d * d).sum(axis=0), y.sum(axis=0), (y * y).sum(axis=0), rows

    def value(self, residual: Any, total: Any, squares: Any, count: Any) -> float:
        spread = np.maximum(squares - total * total / max(count, 1), 0)
        constant = spread <= 1e-15 * squares
        ratio = residual / np.where(constant, 1, spread)
        return float(np.mean(np.where(constant, residual == 0, 1 - ratio)))


class _Function(_Mean):
    """The value of a function for each batch, averaged over the samples."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]):
        self.function, self.name = function, getattr(function, "__name__", type(function).__name__)

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        rows = outputs.shape[0]
        return self.function(outputs, targets) * rows, rows


accuracy, confusion_matrix = Accuracy(), ConfusionMatrix()
mse, mae, r2 = MeanSquaredError(), MeanAbsoluteError(), R2()
_BY_NAME: dict[str, Metric] = {m.name: m for m in (accuracy, confusion_matrix, mse, mae, r2)}


def get(metric: Any) -> Metric:
    """The metric meant: a name ("accuracy", "top5", "r2", "mae", "mse", "confusion_matrix"), a Metric or a function.

    A function f(outputs, targets) is to give the mean over a batch; batches count by their number of samples.
    """
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        top = re.fullmatch(r"top([1-9]\d*)", metric)
        if top:
            return TopK(int(top[1]))
        if metric in _BY_NAME:
            return _BY_NAME[metric]
        raise ValueError(f"metrics: {metric!r} is not known ({', '.join(_BY_NAME)}, top<k>)")
    if callable(metric):
        return _Function(metric)
    raise TypeError(f"metrics: a name, a Metric or a function expected, not {type(metric).__name__}")


class Meter(Recordable):
    """Adds up metrics over batches, without reading anything back before ``compute``.

    The ``loss`` given to ``update`` is averaged over samples, so that a smaller last batch counts for what it holds.
    All sums lie side by side in one float64 tensor, made at the first ``update`` and kept for the Meter's life, so that
    a recorded step that updates the meter goes on doing so after ``reset``.
    """

    def __init__(self, metrics: Iterable[Any] = ()):
        self.metrics = [get(m) for m in metrics]
        names = [m.name for m in self.metrics]
        if len(set(names)) != len(names) or "loss" in names:
            raise ValueError(f"metrics: names must differ from each other and from 'loss': {', '.join(names)}")
        self._sums: Tensor | None = None
        self._shapes: list[list[Shape]] = []  # of each metric's sums
        self._parts: list[list[Tensor]] = []  # views of that tensor: _OWN, then the sums of each metric

    def reset(self) -> None:
        """Forget all batches."""
        if self._sums is not None:
            self._sums.zero_()

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> None:
        """Add a batch. Raises ShapeError where a metric's sums have other shapes than in earlier batches."""
        with no_grad():
            outputs = outputs.detach()
            found = [[_as_sum(s) for s in metric.sums(outputs, targets)] for metric in self.metrics]
            shapes = [[s.shape if isinstance(s, Tensor) else () for s in sums] for sums in found]
            if self._sums is None or shapes != self._shapes:
                self._prepare(shapes, outputs.device)
            (batches, total, samples), *parts = self._parts
            batches += 1
            if loss is not None:
                rows = outputs.shape[0] if outputs.ndim else 1
                weighted = loss.detach().astype(float64) * rows
                total += weighted.reshape(()) if weighted.ndim else weighted
                samples += rows
            for part, sums in zip(parts, found, strict=True):
                for kept, more in zip(part, sums, strict=True):
                    kept += more

    def _prepare(self, shapes: list[list[Shape]], device: Any) -> None:
        """Makes the tensor for sums of these shapes; raises ShapeError where it is there already, for other ones."""
        if self._sums is not None:
            changed = zip(self.metrics, self._shapes, shapes, strict=True)
            name, before, now = next((m.name, a, b) for m, a, b in changed if a != b)
            raise ShapeError(f"{name}: a batch gives sums of shapes {now}, earlier ones gave {before}")
        size = sum(math.prod(shape) for group in (_OWN, *shapes) for shape in group)
        self._sums = zeros(size, dtype=float64, device=device)
        self._shapes, self._parts = shapes, _split(self._sums, (_OWN, *shapes))

    def compute(self) -> dict[str, Any]:
        """Name -> value over all batches so far, "loss" first where one was given. Waits for the device."""
        if self._sums is None:
            return {}
        (batches, total, samples), *sums = _split(self._sums.numpy().copy(), (_OWN, *self._shapes))
        if not batches:
            return {}
        result = {"loss": float(total / samples)} if samples else {}
        for metric, values in zip(self.metrics, sums, strict=True):
            result[metric.name] = metric.value(*(v[()] for v in values))
        return result

    def recorded_state(self) -> Any:
        """The tensor of all sums; recorded steps go on adding to it."""
        return self._sums

    def recorded_parts(self) -> list[Metric]:
        """The metrics, which may read variables of their own."""
        return self.metrics


def _as_sum(x: Any) -> Any:
    """``x`` as a Tensor, or as a number, which needs no memory on the device."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, int | float):
        return float(x)
    array = np.asarray(x)
    return tensor(array) if array.ndim else float(array)


def _split(vector: Any, shapes: Sequence[Sequence[Shape]]) -> list[list[Any]]:
    """Views of ``vector`` in these shapes, one after the other."""
    parts: list[list[Any]] = []
    start = 0
    for group in shapes:
        parts.append([])
        for shape in group:
            end = start + math.prod(shape)
            parts[-1].append(vector[start:end].reshape(shape))
            start = end
    return parts


def _as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else tensor(np.asarray(x))


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """(...) -> bool (..., classes)."""
    return labels.reshape((*labels.shape, 1)) == _classes(classes, labels.device)


@functools.lru_cache(maxsize=64)
def _classes(n: int, device: Any) -> Tensor:
    """The integers 0 to n - 1, made only once, so that no step makes them."""
    return arange(n, device=device)


def _check_labels(name: str, outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim < 1 or outputs.shape[:-1] != targets.shape:
        raise ShapeError(f"{name}: logits (..., C) and labels (...) expected, not {outputs.shape} and {targets.shape}")


def _difference(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape:
        raise ShapeError(f"{name}: shapes differ: output {outputs.shape}, target {targets.shape}")
    return outputs - targets
