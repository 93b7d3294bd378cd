"""Metrics of classes: labels (...) and logits (..., C), or as `cross_entropy` takes them, (N, C, ...)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._arguments import choice, integer, number
from dlcore._tensor import Tensor, arange
from dlcore.dtypes import float64
from dlcore.errors import ShapeError
from dlcore.metrics.base import Mean, Metric
from dlcore.nn.losses import holds
from dlcore.ops.elementwise import isnan, minimum, where
from dlcore.ops.loss import cross_entropy
from dlcore.ops.softmax import softmax

__all__ = [
    "F1", "Accuracy", "BalancedAccuracy", "BinaryAccuracy", "BitsPerByte", "CalibrationError", "ConfusionMatrix",
    "OfLabels", "Perplexity", "Precision", "Recall", "TopK",
]  # fmt: skip

AVERAGES = ("macro", "micro", "weighted", "binary", None)


class OfLabels(Metric):
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


class Accuracy(OfLabels, Mean):
    """The share of the labels (...) that are the argmax of the logits (..., C), C at least 2.

    Labels that equal ``ignore_index`` count for nothing, as in ``dl.cross_entropy``. One output unit is not a class:
    BinaryAccuracy says on which side of a threshold it lies.
    """

    name = "accuracy"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        outputs = with_classes_last(self.name, outputs, targets)
        return self.share(outputs.argmax(axis=-1) == targets, outputs, targets)


class TopK(OfLabels, Mean):
    """The share of the labels (...) whose logit is among the ``k`` largest of (..., C).

    Of equal logits the one of the smaller class comes first, so that ``TopK(1)`` is Accuracy. Labels that equal
    ``ignore_index`` count for nothing.
    """

    def __init__(self, k: int = 5, ignore_index: int | None = -100):
        super().__init__(ignore_index)
        self.k = integer(k, "TopK: k", 1)
        self.name = f"top{self.k}"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        outputs = with_classes_last(self.name, outputs, targets)
        column = targets.reshape((*targets.shape, 1))
        classes = class_numbers(outputs.shape[-1], outputs.device)
        chosen = classes == column
        outputs = outputs if outputs.dtype.is_float else outputs.astype(float64)  # of whole numbers none is -inf
        own = where(chosen, outputs, float("-inf")).max(axis=-1, keepdims=True)
        before = (outputs > own) | ((outputs == own) & (classes < column))
        return self.share((before.sum(axis=-1) < self.k) & chosen.any(axis=-1), outputs, targets)


class BinaryAccuracy(Mean):
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


class _OfCounts(OfLabels):
    """A metric of how many samples of each class there are, are predicted, and are predicted rightly.

    Labels (...) are those of logits (..., C), or 0 and 1 of one output (...) or (..., 1), which says 1 above
    ``threshold``. Labels that equal ``ignore_index`` count for nothing; a sample with a NaN among its logits is
    predicted as none. Raises ValueError where a label is not a class.
    """

    def __init__(self, ignore_index: int | None = -100, threshold: float = 0.0):
        super().__init__(ignore_index)
        self.threshold = number(threshold, f"{type(self).__name__}: threshold")

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        one = outputs.shape in (targets.shape, (*targets.shape, 1))
        if not one:
            outputs = with_classes_last(self.name, outputs, targets)
        labels = targets.reshape((targets.size,))
        classes = 2 if one else outputs.shape[-1]
        if one:
            x = outputs.reshape((targets.size,))
            chosen, strange = (x > self.threshold).astype("int64"), isnan(x) if x.dtype.is_float else None
        else:
            chosen = outputs.argmax(axis=-1).reshape((targets.size,))
            strange = isnan(outputs.max(axis=-1)).reshape((targets.size,)) if outputs.dtype.is_float else None
        actual, predicted = one_hot(labels, classes), one_hot(chosen, classes)
        counted = self.counted(labels)
        for mask in (None if strange is None else ~strange, counted):
            if mask is not None:
                predicted = predicted & mask.reshape((targets.size, 1))
        per_class = actual.sum(axis=0)
        outside = labels.size - per_class.sum() - (0 if counted is None else (~counted).sum())
        return (actual & predicted).sum(axis=0), predicted.sum(axis=0), per_class, outside

    def value(self, right: Any, predicted: Any, actual: Any, outside: Any) -> Any:
        """Raises ValueError where labels are no classes: what is right of them cannot be said."""
        if outside > 0:
            raise ValueError(f"{self.name}: {int(outside)} labels lie outside 0 .. {len(actual) - 1}")
        return self.of_counts(right, predicted, actual)

    def of_counts(self, right: Any, predicted: Any, actual: Any) -> Any:
        """The metric from the numbers of samples of each class that are right, predicted, and there."""
        raise NotImplementedError(f"{type(self).__name__}: of_counts is not written")


class BalancedAccuracy(_OfCounts):
    """The mean over the classes of the share of their samples that is predicted rightly (Brodersen et al. 2010)."""

    name = "balanced_accuracy"

    def of_counts(self, right: Any, predicted: Any, actual: Any) -> float:
        there = actual > 0
        return float(np.mean(right[there] / actual[there])) if there.any() else math.nan


class _Averaged(_OfCounts):
    """A metric of each class, averaged over classes."""

    bare = "metric"

    def __init__(self, average: str | None = "macro", ignore_index: int | None = -100, threshold: float = 0.0):
        super().__init__(ignore_index, threshold)
        self.average = choice(average, AVERAGES, f"{type(self).__name__}: average")
        self.name = self.bare if average == "macro" else f"{self.bare}_{average or 'classes'}"

    def score(self, right: Any, predicted: Any, actual: Any) -> Any:
        """Of each class, or of all together; 0 where there is nothing to divide by."""
        raise NotImplementedError(f"{type(self).__name__}: score is not written")

    def of_counts(self, right: Any, predicted: Any, actual: Any) -> Any:
        if self.average == "micro":
            if not predicted.sum() and not actual.sum():
                return math.nan  # of no samples
            return float(self.score(right.sum(), predicted.sum(), actual.sum()))
        each = self.score(right, predicted, actual)
        if self.average is None:
            return each
        if self.average == "binary":
            if len(each) != 2:
                raise ValueError(f"{self.name}: average 'binary' is for 2 classes, and there are {len(each)}")
            return float(each[1])
        weights = actual if self.average == "weighted" else (actual + predicted > 0).astype(float)
        return float((each * weights).sum() / weights.sum()) if weights.sum() else math.nan


class Precision(_Averaged):
    """Of the samples that are predicted as a class, the share that is of it.

    average: "macro" (the mean over the classes that occur), "weighted" (by their numbers of samples), "micro" (all
    together), "binary" (that of class 1 of two), or None: of each class, an array. 0 where none is predicted, as in
    scikit-learn.
    """

    bare = "precision"

    def score(self, right: Any, predicted: Any, actual: Any) -> Any:
        return _share(right, predicted)


class Recall(_Averaged):
    """Of the samples of a class, the share that is predicted as it. average: as in `Precision`."""

    bare = "recall"

    def score(self, right: Any, predicted: Any, actual: Any) -> Any:
        return _share(right, actual)


class F1(_Averaged):
    """The harmonic mean of precision and recall, 2 right / (predicted + actual). average: as in `Precision`."""

    bare = "f1"

    def score(self, right: Any, predicted: Any, actual: Any) -> Any:
        return _share(2 * right, predicted + actual)


def _share(part: Any, whole: Any) -> Any:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


class ConfusionMatrix(OfLabels):
    """How many samples of class i (targets) are predicted as class j (argmax of the logits (..., C)): int64 (C, C).

    Labels that equal ``ignore_index`` count for nothing, and a sample with a NaN among its logits is predicted as
    none. Raises ValueError where a label is not a class.
    """

    name = "confusion_matrix"

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        outputs = with_classes_last(self.name, outputs, targets)
        classes, labels = outputs.shape[-1], targets.reshape((targets.size,))
        actual = one_hot(labels, classes).astype("float32")
        predicted = one_hot(outputs.argmax(axis=-1).reshape((targets.size,)), classes)
        if outputs.dtype.is_float:
            predicted = predicted & ~isnan(outputs.max(axis=-1)).reshape((targets.size, 1))
        counted = self.counted(labels)
        strange = labels.size - actual.sum() - (0 if counted is None else (~counted).sum())
        return actual.T @ predicted.astype("float32"), strange  # whole numbers below 2^24: exact

    def value(self, counts: Any, strange: Any) -> np.ndarray:
        if strange > 0:
            raise ValueError(f"{self.name}: {int(strange)} labels lie outside 0 .. {len(counts) - 1}")
        return np.asarray(np.rint(counts), np.int64)


class Perplexity(OfLabels):
    """e to the mean of -log softmax(logits)[label] over the labels (...) that count, logits (..., C)."""

    name = "perplexity"
    higher_is_better = False

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        outputs = with_classes_last(self.name, outputs, targets)
        rows, labels = outputs.reshape((targets.size, outputs.shape[-1])), targets.reshape((targets.size,))
        counted = self.counted(labels)
        each = cross_entropy(
            rows, labels, ignore_index=-100 if self.ignore_index is None else self.ignore_index, reduction="none"
        )
        return each.astype(float64).sum(), targets.size if counted is None else counted.sum()

    def value(self, total: Any, count: Any) -> float:
        return float(np.exp(total / count)) if count else math.nan


class BitsPerByte(Perplexity):
    """The mean of -log2 softmax(logits)[label] for each byte of text; ``bytes``: how many a label stands for."""

    name = "bits_per_byte"

    def __init__(self, bytes: float = 1.0, ignore_index: int | None = -100):
        super().__init__(ignore_index)
        self.bytes = number(bytes, "BitsPerByte: bytes")
        if not self.bytes > 0:
            raise ValueError(f"BitsPerByte: bytes is {self.bytes}; it must be above 0")

    def value(self, total: Any, count: Any) -> float:
        return float(total / count / math.log(2) / self.bytes) if count else math.nan


class CalibrationError(OfLabels):
    """The expected calibration error (Naeini et al. 2015): how far confidence lies from accuracy.

    Samples are put into ``bins`` of equal width by the largest softmax of their logits (..., C); the differences of
    mean confidence and accuracy in each bin are averaged, weighted by its samples.
    """

    name = "ece"
    higher_is_better = False

    def __init__(self, bins: int = 15, ignore_index: int | None = -100):
        super().__init__(ignore_index)
        self.bins = integer(bins, "CalibrationError: bins", 1)

    def sums(self, outputs: Tensor, targets: Tensor) -> Sequence[Tensor | float]:
        outputs = with_classes_last(self.name, outputs, targets)
        rows, labels = outputs.reshape((targets.size, outputs.shape[-1])), targets.reshape((targets.size,))
        confidence = softmax(rows.astype(float64), axis=-1).max(axis=-1)
        right = (rows.argmax(axis=-1) == labels).astype(float64)
        number = minimum((confidence * self.bins).astype("int64"), self.bins - 1)
        inside = one_hot(number, self.bins) & ~isnan(confidence).reshape((targets.size, 1))
        counted = self.counted(labels)
        if counted is not None:
            inside = inside & counted.reshape((targets.size, 1))
        each = inside.astype(float64).T
        safe = where(isnan(confidence), 0.0, confidence)
        return each.sum(axis=1), each @ safe, each @ right

    def value(self, counts: Any, confidence: Any, right: Any) -> float:
        return float(np.abs(confidence - right).sum() / counts.sum()) if counts.sum() else math.nan


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(...) -> bool (..., classes)."""
    return labels.reshape((*labels.shape, 1)) == class_numbers(classes, labels.device)


@functools.lru_cache(maxsize=64)
def class_numbers(n: int, device: Any) -> Tensor:
    """The integers 0 to n - 1, made only once, so that no step makes them."""
    return arange(n, device=device)


def with_classes_last(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """The logits (..., C), C > 1, of labels (...); those of `cross_entropy`, (N, C, ...), get the axis moved.

    Raises ShapeError, naming the metric, for others.
    """
    if outputs.ndim and outputs.shape[-1] == 1 and outputs.shape in ((*targets.shape, 1), targets.shape):
        raise ShapeError(
            f"{name}: outputs {outputs.shape} have one unit, whose argmax is always class 0; for 0 or 1 use "
            "dl.metrics.BinaryAccuracy(threshold=0.0) with logits, 0.5 with probabilities"
        )
    if outputs.ndim > 0 and outputs.shape[:-1] == targets.shape:
        return outputs
    if outputs.ndim > 2 and (outputs.shape[0], *outputs.shape[2:]) == targets.shape and outputs.shape[1] > 1:
        return outputs.permute((0, *range(2, outputs.ndim), 1))
    also = "; targets.argmax(axis=1) are labels of probabilities" if outputs.shape == targets.shape else ""
    raise ShapeError(
        f"{name}: logits (..., C), or (N, C, ...), and labels (...) expected, not {outputs.shape} and "
        f"{targets.shape}{also}"
    )
