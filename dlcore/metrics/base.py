"""What a metric is: figures of merit made of sums over batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import has, shown
from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import float64
from dlcore.errors import ShapeError

__all__ = ["FunctionMetric", "Mean", "Metric", "as_tensor", "difference", "rows_of"]


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
            sums = self.sums(as_tensor(outputs), as_tensor(targets))
        return self.value(*(np.asarray(s, np.float64)[()] for s in sums))


class Mean(Metric):
    """A metric that is a sum divided by a count."""

    def value(self, total: Any, count: Any) -> float:
        return float(total / count) if count else float("nan")


class FunctionMetric(Mean):
    """The value of a function for each batch, averaged over the samples."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]):
        self.function, self.name = function, function.__name__ if has(function, "__name__") else type(function).__name__

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        rows = rows_of(outputs)
        found = self.function(outputs, targets)
        if isinstance(found, Tensor | np.ndarray) and found.size != 1:
            raise ShapeError(f"{self.name}: a metric is one number for a batch, not of shape {found.shape}")
        if isinstance(found, Tensor):
            return found.astype(float64).reshape(()) * rows, rows
        try:
            return float(found) * rows, rows
        except (TypeError, ValueError):
            raise TypeError(f"{self.name}: a metric is one number for a batch, not {shown(found)}") from None


def as_tensor(x: Any) -> Tensor:
    """A Tensor of an array or nested lists; TypeError for anything else."""
    if isinstance(x, Tensor):
        return x
    try:
        return tensor(np.asarray(x))
    except (TypeError, ValueError):
        raise TypeError(f"metrics: {shown(x)} is not an array of numbers") from None


def rows_of(outputs: Any) -> int:
    """The number of samples in a batch of outputs, which may be tensors in tuples, lists and dicts."""
    while not isinstance(outputs, Tensor):
        outputs = next(iter(outputs.values() if isinstance(outputs, Mapping) else outputs))
    return int(outputs.shape[0]) if outputs.ndim else 1


def difference(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Output - target in float64, whatever they are: bytes would wrap, and squares of float16 overflow."""
    if outputs.shape != targets.shape:
        raise ShapeError(f"{name}: shapes differ: output {outputs.shape}, target {targets.shape}")
    return outputs.astype(float64) - targets.astype(float64)
