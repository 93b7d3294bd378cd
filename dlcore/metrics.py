"""Metrics, computed from sums over batches; the sums stay on the device until they are read.

A :class:`Metric` that is called with outputs and targets gives its value at once:

>>> dl.metrics.accuracy(np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([0, 0]))
0.5
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import has, integer, listed, number, shown
from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, tensor, zeros
from dlcore.dtypes import float64
from dlcore.errors import ShapeError
from dlcore.nn.losses import holds
from dlcore.ops.elementwise import isnan, where

__all__ = [
    "R2", "Accuracy", "BinaryAccuracy", "ConfusionMatrix", "MeanAbsoluteError", "MeanSquaredError", "Meter", "Metric",
    "TopK", "accuracy", "binary_accuracy", "confusion_matrix", "get", "mae", "mse", "r2",
]  # fmt: skip


Shape = tuple[int, ...]
_OWN: list[Shape] = [(), (), ()]  # what a Meter adds up besides: batches, loss * counted, what the losses counted


class Metric(Recordable):
    """A figure of merit made of sums: ``value(*sums)``, with the ``sums`` of all batches added up.

    ``sums(outputs, targets)`` gives Tensors or Python numbers, of the same shapes for every batch; they are added up on
    the device, in float64. It must not read values back, so that a step with it can be recorded. ``value`` gets the
    totals as float64 arrays, or as numbers where they have no axes. Where adding would lose digits, override ``merge``.
    """

    name = "metric"
    higher_is_better = True

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        """What one batch adds to the sums."""
        raise NotImplementedError(f"{type(self).__name__}: sums is not written")

    def value(self, *sums: Any) -> Any:
        """The metric from the sums of all batches."""
        raise NotImplementedError(f"{type(self).__name__}: value is not written")

    def merge(self, kept: Sequence[Tensor], sums: Sequence[Tensor | float]) -> None:
        """Adds the sums of a batch to those ``kept``, float64 tensors that start as zeros, in place."""
        for total, more in zip(kept, sums, strict=True):
            total += more

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """The metric of these outputs and targets (Tensors or arrays)."""
        with no_grad():
            sums = self.sums(_as_tensor(outputs), _as_tensor(targets))
        return self.value(*(np.asarray(s, np.float64)[()] for s in sums))


class _Mean(Metric):
    """A metric that is a sum divided by a count."""

    def value(self, total: Any, count: Any) -> float:
        return float(total / count) if count else float("nan")


class _OfLabels(Metric):
    """A metric of labels (...) and logits (..., C).

    Labels that equal ``ignore_index`` count for nothing (None: all count), as in ``dl.cross_entropy``. A sample with a
    NaN among its logits is never right, nor is one whose label is not a class.
    """

    def __init__(self, ignore_index: int | None = -100):
        name = f"{type(self).__name__}: ignore_index"
        self.ignore_index = None if ignore_index is None else integer(ignore_index, name)

    def counted(self, targets: Tensor) -> Tensor | None:
        """Which labels count, or None where all do."""
        ignored = self.ignore_index
        return targets != ignored if ignored is not None and holds(targets, ignored) else None

    def share(self, right: Tensor, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        """The sums of a batch of whose labels those in ``right`` are met."""
        right = right & ~isnan(outputs.max(axis=-1)) if outputs.dtype.is_float else right
        counted = self.counted(targets)
        if counted is None:
            return right.sum(), targets.size
        return (right & counted).sum(), counted.sum()


class Accuracy(_OfLabels, _Mean):
    """The share of the labels (...) that are the argmax of the logits (..., C), C at least 2.

    Labels that equal ``ignore_index`` count for nothing, as in ``dl.cross_entropy``. One output unit is not a class:
    BinaryAccuracy says on which side of a threshold it lies.
    """

    name = "accuracy"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        _check_labels(self.name, outputs, targets)
        return self.share(outputs.argmax(axis=-1) == targets, outputs, targets)


class TopK(_OfLabels, _Mean):
    """The share of the labels (...) whose logit is among the ``k`` largest of (..., C).

    Of equal logits the one of the smaller class comes first, so that ``TopK(1)`` is Accuracy. Labels that equal
    ``ignore_index`` count for nothing.
    """

    def __init__(self, k: int = 5, ignore_index: int | None = -100):
        super().__init__(ignore_index)
        self.k = integer(k, "TopK: k", 1)
        self.name = f"top{self.k}"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        _check_labels(self.name, outputs, targets)
        column = targets.reshape((*targets.shape, 1))
        classes = _classes(outputs.shape[-1], outputs.device)
        chosen = classes == column
        outputs = outputs if outputs.dtype.is_float else outputs.astype(float64)  # of whole numbers none is -inf
        own = where(chosen, outputs, float("-inf")).max(axis=-1, keepdims=True)
        before = (outputs > own) | ((outputs == own) & (classes < column))
        return self.share((before.sum(axis=-1) < self.k) & chosen.any(axis=-1), outputs, targets)


class BinaryAccuracy(_Mean):
    """The share of the labels 0 and 1 that an output says by lying above ``threshold``.

    ``threshold``: 0 for logits, 0.5 for probabilities or where 0 and 1 are fitted by ``mse_loss``. Outputs and targets
    are of one shape, or outputs have one axis of length 1 more. An output or a label of NaN is never right.
    """

    name = "binary_accuracy"

    def __init__(self, threshold: float = 0.0):
        self.threshold = number(threshold, "BinaryAccuracy: threshold")

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        if outputs.shape not in (targets.shape, (*targets.shape, 1)):
            raise ShapeError(
                f"{self.name}: outputs (...) or (..., 1) and labels (...) expected, not {outputs.shape} and "
                f"{targets.shape}"
            )
        x = outputs.reshape(targets.shape)
        right = ((x > self.threshold) & (targets == 1)) | ((x <= self.threshold) & (targets == 0))
        return right.sum(), targets.size


class ConfusionMatrix(_OfLabels):
    """How many samples of class i (targets) are predicted as class j (argmax of the logits (..., C)): int64 (C, C).

    Labels that equal ``ignore_index`` count for nothing, and a sample with a NaN among its logits is predicted as
    none. Raises ValueError where a label is not a class.
    """

    name = "confusion_matrix"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        _check_labels(self.name, outputs, targets)
        classes, labels = outputs.shape[-1], targets.reshape((targets.size,))
        actual = _one_hot(labels, classes).astype("float32")
        predicted = _one_hot(outputs.argmax(axis=-1).reshape((targets.size,)), classes)
        if outputs.dtype.is_float:
            predicted = predicted & ~isnan(outputs.max(axis=-1)).reshape((targets.size, 1))
        counted = self.counted(labels)
        strange = labels.size - actual.sum() - (0 if counted is None else (~counted).sum())
        return actual.T @ predicted.astype("float32"), strange  # whole numbers below 2^24: exact

    def value(self, counts: Any, strange: Any) -> np.ndarray:
        if strange > 0:
            raise ValueError(f"{self.name}: {int(strange)} labels lie outside 0 .. {len(counts) - 1}")
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

    A constant column counts as 1 when it is met exactly and 0 otherwise. The squares of each batch are taken about its
    own mean and merged (Chan, Golub & LeVeque 1983), so that nothing cancels however far the targets lie from 0.
    """

    name = "r2"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        rows = targets.shape[0] if targets.ndim else 1
        shape = (rows, targets.size // max(rows, 1))
        d = _difference(self.name, outputs, targets).reshape(shape)
        y = targets.astype(float64).reshape(shape)
        mean = y.sum(axis=0) / max(rows, 1)
        return (d * d).sum(axis=0), mean, ((y - mean) * (y - mean)).sum(axis=0), rows

    def merge(self, kept: Sequence[Tensor], sums: Sequence[Tensor | float]) -> None:
        residual, mean, spread, count = kept
        more_residual, more_mean, more_spread, rows = sums
        share = rows / (count + rows).reshape(()) if rows else 0.0
        apart = more_mean - mean
        spread += more_spread + apart * apart * (count * share)
        mean += apart * share
        residual += more_residual
        count += rows

    def value(self, residual: Any, mean: Any, spread: Any, count: Any) -> float:
        if not count:
            return float("nan")
        rounding = 4 * np.finfo(np.float64).eps * np.abs(mean)
        constant = spread <= count * rounding * rounding
        ratio = residual / np.where(constant, 1, spread)
        return float(np.mean(np.where(constant, residual == 0, 1 - ratio)))


class _Function(_Mean):
    """The value of a function for each batch, averaged over the samples."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]):
        self.function, self.name = function, function.__name__ if has(function, "__name__") else type(function).__name__

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        rows = _rows(outputs)
        found = self.function(outputs, targets)
        if isinstance(found, Tensor | np.ndarray) and found.size != 1:
            raise ShapeError(f"{self.name}: a metric is one number for a batch, not of shape {found.shape}")
        if isinstance(found, Tensor):
            return found.astype(float64).reshape(()) * rows, rows
        return float(found) * rows, rows


accuracy, binary_accuracy, confusion_matrix = Accuracy(), BinaryAccuracy(), ConfusionMatrix()
mse, mae, r2 = MeanSquaredError(), MeanAbsoluteError(), R2()
_BY_NAME: dict[str, Metric] = {m.name: m for m in (accuracy, binary_accuracy, confusion_matrix, mse, mae, r2)}


def get(metric: Any, ignore_index: int | None = -100) -> Metric:
    """The metric meant: a name ("accuracy", "top5", "r2", "mae", "mse", "confusion_matrix"), a Metric or a function.

    A function f(outputs, targets) is to give the mean over a batch; batches count by their number of samples.
    ``ignore_index``: the label that metrics of labels given by name leave out.
    """
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        top = re.fullmatch(r"top([1-9]\d*)", metric)
        if top:
            return TopK(int(top[1]), ignore_index)
        if metric in _BY_NAME:
            named = _BY_NAME[metric]
            return type(named)(ignore_index) if isinstance(named, _OfLabels) else named
        raise ValueError(f"metrics: {shown(metric)} is not known ({', '.join(_BY_NAME)}, top<k>)")
    if callable(metric):
        return _Function(metric)
    raise TypeError(f"metrics: a name, a Metric or a function expected, not {type(metric).__name__}")


class Meter(Recordable):
    """Adds up metrics over batches, without reading anything back before ``compute``.

    The ``loss`` given to ``update`` is averaged over what it counts, so that a smaller last batch, or one with ignored
    labels, counts for what it holds. ``ignore_index``: the label that metrics of labels given by name leave out.
    All sums lie side by side in one float64 tensor, made at the first ``update`` and kept for the Meter's life, so that
    a recorded step that updates the meter goes on doing so after ``reset``.
    """

    def __init__(self, metrics: Iterable[Any] = (), ignore_index: int | None = -100):
        given = listed(metrics, "metrics:", "names, Metrics or functions")
        self.metrics = [get(m, ignore_index) for m in given]
        names = [m.name for m in self.metrics]
        if len(set(names)) != len(names) or "loss" in names:
            raise ValueError(f"metrics: names must differ from each other and from 'loss': {', '.join(names)}")
        self.sample: tuple[Any, ...] = ()
        """Of the first batch: the shapes of one sample's outputs and targets, and the targets' dtype; () where the
        outputs are several tensors."""
        self._sums: Tensor | None = None
        self._shapes: list[list[Shape]] = []  # of each metric's sums
        self._parts: list[list[Tensor]] = []  # views of that tensor: _OWN, then the sums of each metric

    @property
    def names(self) -> tuple[str, ...]:
        """Those of what ``compute`` gives where losses are given to ``update``."""
        return "loss", *(m.name for m in self.metrics)

    def reset(self) -> None:
        """Forget all batches."""
        if self._sums is not None:
            self._sums.zero_()

    def update(
        self, outputs: Any, targets: Tensor, loss: Tensor | None = None, counted: Tensor | float | None = None
    ) -> None:
        """Add a batch. Raises ShapeError where a metric's sums have other shapes than in earlier batches.

        ``counted``: how much the ``loss`` is the mean of, the sum of its weights (default: the number of samples). A
        loss of nothing, which is NaN, adds nothing.
        """
        with no_grad():
            outputs = _detached(outputs)
            if not isinstance(outputs, Tensor):
                _check_takes(self.metrics, outputs)
            found = [[_as_sum(s) for s in metric.sums(outputs, targets)] for metric in self.metrics]
            shapes = [[s.shape if isinstance(s, Tensor) else () for s in sums] for sums in found]
            if self._sums is None or shapes != self._shapes:
                self._prepare(shapes, targets.device)
                if isinstance(outputs, Tensor):
                    self.sample = outputs.shape[1:], targets.shape[1:], targets.dtype
            (batches, total, samples), *parts = self._parts
            batches += 1
            if loss is not None:
                weight = _rows(outputs) if counted is None else counted
                weighted = loss.detach().astype(float64) * weight
                if isinstance(weight, Tensor):
                    weighted = where(weight > 0, weighted, 0.0)
                total += weighted.reshape(()) if weighted.ndim else weighted
                samples += weight
            for metric, part, sums in zip(self.metrics, parts, found, strict=True):
                metric.merge(part, sums)

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

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, for a run that goes on."""
        shapes = [[list(shape) for shape in group] for group in self._shapes]
        return {"sums": self._sums, "shapes": shapes}

    def load_state_dict(self, state: Mapping[str, Any], device: Any = None) -> None:
        """Go on from what ``state_dict`` gave, on ``device``. Raises ShapeError where it is of other metrics."""
        if state["sums"] is None:
            self.reset()
            return
        shapes = [[tuple(shape) for shape in group] for group in state["shapes"]]
        if len(shapes) != len(self.metrics):
            raise ShapeError(f"metrics: {len(shapes)} in the state, {len(self.metrics)} here")
        if self._sums is None or shapes != self._shapes:
            self._prepare(shapes, device)
        assert self._sums is not None
        self._sums.copy_(state["sums"])

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
    if isinstance(x, Tensor):
        return x
    try:
        return tensor(np.asarray(x))
    except (TypeError, ValueError):
        raise TypeError(f"metrics: {shown(x)} is not an array of numbers") from None


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """(...) -> bool (..., classes)."""
    return labels.reshape((*labels.shape, 1)) == _classes(classes, labels.device)


@functools.lru_cache(maxsize=64)
def _classes(n: int, device: Any) -> Tensor:
    """The integers 0 to n - 1, made only once, so that no step makes them."""
    return arange(n, device=device)


def _rows(outputs: Any) -> int:
    """The number of samples in a batch of outputs, which may be tensors in tuples, lists and dicts."""
    while not isinstance(outputs, Tensor):
        outputs = next(iter(outputs.values() if isinstance(outputs, Mapping) else outputs))
    return int(outputs.shape[0]) if outputs.ndim else 1


def _detached(outputs: Any) -> Any:
    """The same values without their history; anything but tuples, lists and dicts of tensors stays as it is."""
    if isinstance(outputs, Tensor):
        return outputs.detach()
    if isinstance(outputs, Mapping):
        return {name: _detached(part) for name, part in outputs.items()}
    if isinstance(outputs, tuple | list):
        return tuple(_detached(part) for part in outputs)
    return outputs


def _check_takes(metrics: Iterable[Metric], outputs: Any) -> None:
    """Raises TypeError where one of dlcore's own metrics would get outputs that are several tensors."""
    for metric in metrics:
        if type(metric).__module__ == __name__ and not isinstance(metric, _Function):
            raise TypeError(
                f"{metric.name}: the model returns a {type(outputs).__name__}, not one tensor; give a function that "
                f"chooses, such as lambda outputs, targets: dl.metrics.{metric.name}(outputs[0], targets)"
            )


def _check_labels(name: str, outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim and outputs.shape[-1] == 1 and outputs.shape in ((*targets.shape, 1), targets.shape):
        raise ShapeError(
            f"{name}: outputs {outputs.shape} have one unit, whose argmax is always class 0; for 0 or 1 use "
            "dl.metrics.BinaryAccuracy(threshold=0.0) with logits, 0.5 with probabilities"
        )
    if outputs.ndim < 1 or outputs.shape[:-1] != targets.shape:
        raise ShapeError(f"{name}: logits (..., C) and labels (...) expected, not {outputs.shape} and {targets.shape}")


def _difference(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Output - target in float64, whatever they are: bytes would wrap, and squares of float16 overflow."""
    if outputs.shape != targets.shape:
        raise ShapeError(f"{name}: shapes differ: output {outputs.shape}, target {targets.shape}")
    return outputs.astype(float64) - targets.astype(float64)
