"""Metrics, computed from sums over batches; the sums stay on the device until they are read.

A :class:`Metric` that is called with outputs and targets gives its value at once:

>>> dl.metrics.accuracy(np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([0, 0]))
0.5
"""

from dlcore.metrics.base import Mean, Metric
from dlcore.metrics.classes import (
    F1,
    Accuracy,
    BalancedAccuracy,
    BinaryAccuracy,
    BitsPerByte,
    CalibrationError,
    ConfusionMatrix,
    Perplexity,
    Precision,
    Recall,
    TopK,
)
from dlcore.metrics.meter import Meter
from dlcore.metrics.names import get
from dlcore.metrics.numbers import R2, MeanAbsoluteError, MeanSquaredError, Pearson, RootMeanSquaredError
from dlcore.metrics.ranks import AUC, AveragePrecision, Kept, Spearman

__all__ = [
    "AUC", "F1", "R2", "Accuracy", "AveragePrecision", "BalancedAccuracy", "BinaryAccuracy", "BitsPerByte",
    "CalibrationError", "ConfusionMatrix", "Kept", "Mean", "MeanAbsoluteError", "MeanSquaredError", "Meter", "Metric",
    "Pearson", "Perplexity", "Precision", "Recall", "RootMeanSquaredError", "Spearman", "TopK", "accuracy", "auc",
    "average_precision", "balanced_accuracy", "binary_accuracy", "bits_per_byte", "confusion_matrix", "ece", "f1",
    "get", "mae", "mse", "pearson", "perplexity", "precision", "r2", "recall", "rmse", "spearman",
]  # fmt: skip

accuracy, balanced_accuracy, binary_accuracy = Accuracy(), BalancedAccuracy(), BinaryAccuracy()
precision, recall, f1, confusion_matrix = Precision(), Recall(), F1(), ConfusionMatrix()
perplexity, bits_per_byte, ece = Perplexity(), BitsPerByte(), CalibrationError()
auc, average_precision = AUC(), AveragePrecision()
mse, rmse, mae, r2 = MeanSquaredError(), RootMeanSquaredError(), MeanAbsoluteError(), R2()
pearson, spearman = Pearson(), Spearman()
