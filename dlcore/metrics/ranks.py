"""Metrics of an order: they keep what every sample gives, and are computed in the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._tensor import Tensor
from dlcore.dtypes import float64
from dlcore.metrics.base import Metric, difference
from dlcore.metrics.classes import OfLabels, with_classes_last
from dlcore.ops.movement import concat
from dlcore.ops.softmax import softmax

__all__ = ["AUC", "AveragePrecision", "Kept", "Spearman"]


class Kept(Metric):
    """A metric that needs the samples themselves: ``value(rows)``, with what ``keep`` gave for all of them.

    A Meter that knows how many samples will come keeps them on the device, so that a recorded step can go on doing so;
    otherwise they are read back batch by batch.
    """

    def keep(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is kept of a batch: float64 (samples, figures)."""
        raise NotImplementedError(f"{type(self).__name__}: keep is not written")

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        """What is kept of one batch, where that is all."""
        return (self.keep(outputs, targets),)


class _OfScores(OfLabels, Kept):
    """A metric of how well the score of a class tells its samples from the others, averaged over the classes.

    Labels (N,) are those of logits (N, C), whose softmax is the score, or 0 and 1 of one output (N,) or (N, 1). Of two
    classes the score of class 1 counts. Labels that equal ``ignore_index`` count for nothing. NaN where a class has no
    samples, or all, and where a score is NaN.
    """

    def keep(self, outputs: Tensor, targets: Tensor) -> Tensor:
        labels = targets.astype(float64).reshape((targets.size, 1))
        if outputs.shape in (targets.shape, (*targets.shape, 1)):
            return concat([outputs.astype(float64).reshape((targets.size, 1)), labels], 1)
        outputs = with_classes_last(self.name, outputs, targets)
        shares = softmax(outputs.astype(float64).reshape((targets.size, outputs.shape[-1])), axis=-1)
        return concat([shares[:, 1:] if outputs.shape[-1] == 2 else shares, labels], 1)

    def value(self, rows: Any) -> float:
        scores, labels = rows[:, :-1], rows[:, -1]
        if self.ignore_index is not None:
            scores, labels = scores[labels != self.ignore_index], labels[labels != self.ignore_index]
        if not len(labels) or not np.isfinite(scores).all():
            return math.nan
        if scores.shape[1] == 1:
            return self.of_one(scores[:, 0], labels == 1)
        return float(np.mean([self.of_one(scores[:, k], labels == k) for k in range(scores.shape[1])]))

    def of_one(self, scores: np.ndarray, positive: np.ndarray) -> float:
        """The metric of one class."""
        raise NotImplementedError(f"{type(self).__name__}: of_one is not written")


class AUC(_OfScores):
    """The area under the receiver operating characteristic: how often a positive sample has the higher score.

    Ties count a half (Mann & Whitney 1947).
    """

    name = "auc"

    def of_one(self, scores: np.ndarray, positive: np.ndarray) -> float:
        n, m = int(positive.sum()), int((~positive).sum())
        if not n or not m:
            return math.nan
        return float((ranks(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


class AveragePrecision(_OfScores):
    """The area under precision over recall, as a sum of steps: sum (R_k - R_{k-1}) P_k over the distinct scores."""

    name = "average_precision"

    def of_one(self, scores: np.ndarray, positive: np.ndarray) -> float:
        if not positive.any():
            return math.nan
        order = np.argsort(-scores, kind="stable")
        right = np.cumsum(positive[order])
        last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each distinct score
        precision, recall = right[last] / (last + 1), right[last] / right[-1]
        return float((np.diff(recall, prepend=0.0) * precision).sum())


class Spearman(Kept):
    """The linear correlation of the ranks of outputs and targets, (N,) or (N, 1), from -1 to 1; ties have mean ranks.

    NaN where one of them is constant, or not finite.
    """

    name = "spearman"

    def keep(self, outputs: Tensor, targets: Tensor) -> Tensor:
        difference(self.name, outputs, targets)
        columns = [x.astype(float64).reshape((targets.size, 1)) for x in (outputs, targets)]
        return concat(columns, 1)

    def value(self, rows: Any) -> float:
        if len(rows) < 2 or not np.isfinite(rows).all():
            return math.nan
        x, y = ranks(rows[:, 0]), ranks(rows[:, 1])
        x, y = x - x.mean(), y - y.mean()
        size = math.sqrt(float((x * x).sum() * (y * y).sum()))
        return float((x * y).sum() / size) if size else math.nan


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value in ascending order, from 1 on; equal values have the mean of their places."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
