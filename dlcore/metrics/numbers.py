"""Metrics of numbers: outputs and targets of one shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._tensor import Tensor
from dlcore.dtypes import float64
from dlcore.metrics.base import Mean, Metric, difference

__all__ = ["R2", "MeanAbsoluteError", "MeanSquaredError", "Pearson", "RootMeanSquaredError"]


class MeanSquaredError(Mean):
    """The mean of (output - target)^2 over all elements."""

    name = "mse"
    higher_is_better = False

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        d = difference(self.name, outputs, targets)
        return (d * d).sum(), targets.size


class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean of (output - target)^2 over all elements."""

    name = "rmse"

    def value(self, total: Any, count: Any) -> float:
        return math.sqrt(total / count) if count else math.nan


class MeanAbsoluteError(Mean):
    """The mean of |output - target| over all elements."""

    name = "mae"
    higher_is_better = False

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        return abs(difference(self.name, outputs, targets)).sum(), targets.size


class R2(Metric):
    """Coefficient of determination, 1 - sum (y - output)^2 / sum (y - mean y)^2, averaged over the output's columns.

    A constant column counts as 1 when it is met exactly and 0 otherwise. The squares of each batch are taken about its
    own mean and merged (Chan, Golub & LeVeque 1983), so that nothing cancels however far the targets lie from 0.
    """

    name = "r2"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        rows = targets.shape[0] if targets.ndim else 1
        shape = (rows, targets.size // max(rows, 1))
        d = difference(self.name, outputs, targets).reshape(shape)
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


class Pearson(Metric):
    """The linear correlation of outputs and targets over all elements, from -1 to 1; NaN where one is constant.

    The moments of each batch are taken about its own means and merged (Chan, Golub & LeVeque 1983).
    """

    name = "pearson"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        difference(self.name, outputs, targets)
        x, y = outputs.astype(float64).reshape((targets.size,)), targets.astype(float64).reshape((targets.size,))
        n = max(targets.size, 1)
        mean_x, mean_y = x.sum() / n, y.sum() / n
        dx, dy = x - mean_x, y - mean_y
        return mean_x, mean_y, (dx * dx).sum(), (dy * dy).sum(), (dx * dy).sum(), targets.size

    def merge(self, kept: Sequence[Tensor], sums: Sequence[Tensor | float]) -> None:
        mean_x, mean_y, xx, yy, xy, count = kept
        more_x, more_y, more_xx, more_yy, more_xy, rows = sums
        share = rows / (count + rows) if rows else 0.0
        apart_x, apart_y, weight = more_x - mean_x, more_y - mean_y, count * share
        xx += more_xx + apart_x * apart_x * weight
        yy += more_yy + apart_y * apart_y * weight
        xy += more_xy + apart_x * apart_y * weight
        mean_x += apart_x * share
        mean_y += apart_y * share
        count += rows

    def value(self, mean_x: Any, mean_y: Any, xx: Any, yy: Any, xy: Any, count: Any) -> float:
        rounding = 4 * np.finfo(np.float64).eps
        constant = any(s <= count * (rounding * m) ** 2 for s, m in ((xx, mean_x), (yy, mean_y)))
        return math.nan if not count or constant else float(np.clip(xy / math.sqrt(xx) / math.sqrt(yy), -1, 1))
