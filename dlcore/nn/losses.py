"""Losses as modules; the functions are ``dl.cross_entropy`` and ``dl.mse_loss``."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from dlcore._arguments import choice, integer, number
from dlcore._tensor import Tensor
from dlcore.nn.module import Module
from dlcore.ops.elementwise import where
from dlcore.ops.gather import take
from dlcore.ops.loss import REDUCTIONS, cross_entropy, mse_loss

__all__ = ["CrossEntropyLoss", "MSELoss", "as_cross_entropy", "holds"]


class CrossEntropyLoss(Module):
    """-log softmax(logits)[target], averaged; see ``dl.cross_entropy`` for the arguments."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        self.register_buffer("weight", weight)
        self.ignore_index = integer(ignore_index, "CrossEntropyLoss: ignore_index")
        self.reduction = choice(reduction, REDUCTIONS, "CrossEntropyLoss: reduction")
        self.label_smoothing = number(label_smoothing, "CrossEntropyLoss: label_smoothing")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(
            logits,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def counted(self, logits: Tensor, target: Tensor) -> Tensor | int:
        """What the mean is over: the sum of the weights of the labels that count (of probabilities, their number)."""
        if target.dtype.is_float:
            return int(logits.size // max(1, logits.shape[0 if logits.ndim == 1 else 1]))
        weights = self.weights_of(target)
        return int(target.size) if weights is None else weights.sum()

    def weights_of(self, target: Tensor) -> Tensor | None:
        """How much each label counts in the mean, of the target's shape; None where each counts 1."""
        if target.dtype.is_float:
            return None
        counts = target != self.ignore_index if holds(target, self.ignore_index) else None
        if self.weight is None:
            return counts
        labels = target if counts is None else where(counts, target, 0)
        weights = take(self.weight.astype("float64"), labels.reshape((target.size,))).reshape(target.shape)
        return weights if counts is None else where(counts, weights, 0.0)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, label_smoothing={self.label_smoothing}"


def as_cross_entropy(loss: Any) -> CrossEntropyLoss | None:
    """The CrossEntropyLoss that ``loss`` amounts to: one itself, ``dl.cross_entropy`` or a partial call of it."""
    if isinstance(loss, CrossEntropyLoss):
        return loss
    if loss is cross_entropy:
        return CrossEntropyLoss()
    if isinstance(loss, functools.partial) and loss.func is cross_entropy and not loss.args:
        return CrossEntropyLoss(**loss.keywords)
    return None


def holds(target: Tensor, label: int) -> bool:
    """Whether a target of this dtype can hold ``label``."""
    kind = target.dtype.numpy
    return kind.kind == "f" or bool(kind.kind in "iu" and np.iinfo(kind).min <= label <= np.iinfo(kind).max)


class MSELoss(Module):
    """(output - target)^2, averaged; see ``dl.mse_loss``."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = choice(reduction, REDUCTIONS, "MSELoss: reduction")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return mse_loss(output, target, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
