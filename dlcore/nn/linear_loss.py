"""A linear layer and its cross-entropy in one module, whose logits are not stored."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import choice, integer, number
from dlcore._tensor import Tensor
from dlcore.nn.layers import Linear
from dlcore.nn.module import Module
from dlcore.ops.linear_loss import linear_cross_entropy
from dlcore.ops.loss import REDUCTIONS

__all__ = ["LinearCrossEntropyLoss"]


class LinearCrossEntropyLoss(Module):
    """Cross-entropy of labels and what a linear layer makes of the input: `dl.linear_cross_entropy`.

    The layer is ``linear``, (in_features, num_classes), by default without bias. ``weight``: a factor for each class.

    >>> nn.LinearCrossEntropyLoss(8, 5)(dl.ones(3, 8), dl.tensor([0, 1, 4])).shape
    ()
    """

    weight: Tensor | None

    def __init__(
        self, in_features: int, num_classes: int, *, bias: bool = False, device: Any = None, dtype: Any = None,
        reduction: str = "mean", weight: Tensor | None = None, ignore_index: int = -100, label_smoothing: float = 0.0,
    ):  # fmt: skip
        name = "LinearCrossEntropyLoss"
        self.linear = Linear(in_features, num_classes, bias, device, dtype)
        self.register_buffer("weight", weight)
        self.reduction: Any = choice(reduction, REDUCTIONS, f"{name}: reduction")
        self.ignore_index = integer(ignore_index, f"{name}: ignore_index")
        self.label_smoothing = number(label_smoothing, f"{name}: label_smoothing")

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        found: Tensor = linear_cross_entropy(
            x, self.linear.weight, target, linear_bias=self.linear.bias, weight=self.weight, reduction=self.reduction,
            ignore_index=self.ignore_index, label_smoothing=self.label_smoothing,
        )  # fmt: skip
        return found

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, label_smoothing={self.label_smoothing}"
