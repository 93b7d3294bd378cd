"""Metrics by name."""

from __future__ import annotations

import difflib
import re
from typing import Any

from dlcore._arguments import shown
from dlcore.metrics.base import FunctionMetric, Metric
from dlcore.metrics.classes import (
    F1,
    Accuracy,
    BalancedAccuracy,
    BinaryAccuracy,
    BitsPerByte,
    CalibrationError,
    ConfusionMatrix,
    OfLabels,
    Perplexity,
    Precision,
    Recall,
    TopK,
)
from dlcore.metrics.numbers import R2, MeanAbsoluteError, MeanSquaredError, Pearson, RootMeanSquaredError
from dlcore.metrics.ranks import AUC, AveragePrecision, Spearman

__all__ = ["KINDS", "get"]

KINDS: dict[str, type[Metric]] = {
    kind.name: kind
    for kind in (
        Accuracy, BalancedAccuracy, BinaryAccuracy, ConfusionMatrix, Perplexity, BitsPerByte, CalibrationError, AUC,
        AveragePrecision, MeanSquaredError, RootMeanSquaredError, MeanAbsoluteError, R2, Pearson, Spearman,
    )
} | {kind.bare: kind for kind in (Precision, Recall, F1)}  # fmt: skip


def get(metric: Any, ignore_index: int | None = -100) -> Metric:
    """The metric meant: a name ("accuracy", "top5", "f1", "recall_micro", "auc", "r2", ...), a Metric or a function.

    precision, recall and f1 are followed by _micro, _weighted, _binary or _classes for other averages than the mean
    over classes. A function f(outputs, targets) is to give the mean over a batch; batches count by their number of
    samples. ``ignore_index``: the label that metrics of labels given by name leave out.
    """
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        return _named(metric, ignore_index)
    if callable(metric):
        return FunctionMetric(metric)
    raise TypeError(f"metrics: a name, a Metric or a function expected, not {type(metric).__name__}")


def _named(name: str, ignore_index: int | None) -> Metric:
    if top := re.fullmatch(r"top([1-9]\d*)", name):
        return TopK(int(top[1]), ignore_index)
    if averaged := re.fullmatch(r"(precision|recall|f1)_(macro|micro|weighted|binary|classes)", name):
        kind: Any = KINDS[averaged[1]]
        made: Metric = kind(None if averaged[2] == "classes" else averaged[2], ignore_index)
        return made
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, 1)
        told = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}, top<k>"
        raise ValueError(f"metrics: {shown(name)} is not known; {told}")
    known: Any = KINDS[name]
    return known(ignore_index=ignore_index) if issubclass(known, OfLabels) else known()
