"""Losses as modules; the functions are ``dl.cross_entropy`` and ``dl.mse_loss``."""

from __future__ import annotations

from dlcore._arguments import choice, integer, number
from dlcore._tensor import Tensor
from dlcore.nn.module import Module
from dlcore.ops.loss import REDUCTIONS, cross_entropy, mse_loss

__all__ = ["CrossEntropyLoss", "MSELoss"]


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

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, label_smoothing={self.label_smoothing}"


class MSELoss(Module):
    """(output - target)^2, averaged; see ``dl.mse_loss``."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = choice(reduction, REDUCTIONS, "MSELoss: reduction")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return mse_loss(output, target, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
