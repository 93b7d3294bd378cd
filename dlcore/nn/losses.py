"""Losses as modules, with PyTorch's arguments and defaults; the functions are ``dl.cross_entropy`` and the others."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from dlcore._arguments import boolean, choice, integer, number
from dlcore._spelling import spelled
from dlcore._tensor import Tensor
from dlcore.nn.module import Module
from dlcore.ops import likelihood, losses, pairs
from dlcore.ops.ctc import ctc_loss
from dlcore.ops.elementwise import where
from dlcore.ops.gather import take
from dlcore.ops.loss import REDUCTIONS, cross_entropy, mse_loss

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
    "FocalLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "HingeLoss", "HuberLoss", "KLDivLoss", "L1Loss", "Loss",
    "MSELoss", "MarginRankingLoss", "MultiMarginLoss", "NLLLoss", "PairwiseDistance", "PoissonNLLLoss", "QuantileLoss",
    "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss", "as_cross_entropy", "holds",
]  # fmt: skip


class Loss(Module):
    """A loss with a ``reduction``: "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = choice(reduction, REDUCTIONS, f"{type(self).__name__}: reduction")

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"

    def _number(self, value: Any, name: str) -> float:
        return number(value, f"{type(self).__name__}: {name}")

    def each(self, *given: Tensor) -> Tensor:
        """The loss of each element or sample, whatever the reduction is."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, reduction="none")
        found: Tensor = other(*given)
        return found


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


class CTCLoss(Loss):
    """The loss of a sequence of labels whose times are unknown; see ``dl.ctc_loss`` for shapes and arguments."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction)
        self.blank = integer(blank, "CTCLoss: blank", 0)
        self.zero_infinity = boolean(zero_infinity, "CTCLoss: zero_infinity")

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
        return ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )

    def extra_repr(self) -> str:
        return f"blank={self.blank}, {super().extra_repr()}, zero_infinity={self.zero_infinity}"


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


class MSELoss(Loss):
    """(output - target)^2, averaged; see ``dl.mse_loss``."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return mse_loss(output, target, reduction=self.reduction)


class L1Loss(Loss):
    """|output - target|, averaged; see ``dl.l1_loss``."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return pairs.l1_loss(output, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """|output - target| with a round bottom of width ``beta``; see ``dl.smooth_l1_loss``."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = self._number(beta, "beta")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return pairs.smooth_l1_loss(output, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """(output - target)^2 / 2 with straight sides beyond ``delta``; see ``dl.huber_loss``."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = self._number(delta, "delta")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return pairs.huber_loss(output, target, reduction=self.reduction, delta=self.delta)


class QuantileLoss(Loss):
    """The pinball loss of a ``quantile``; see ``dl.quantile_loss``."""

    def __init__(self, quantile: float = 0.5, reduction: str = "mean"):
        super().__init__(reduction)
        self.quantile = self._number(quantile, "quantile")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return losses.quantile_loss(output, target, self.quantile, self.reduction)


# ---- classes --------------------------------------------------------------------------------------------------------


class NLLLoss(Loss):
    """-weight[target] log_probs[target], averaged; see ``dl.nll_loss``."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = integer(ignore_index, "NLLLoss: ignore_index")

    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:
        return likelihood.nll_loss(log_probs, target, self.weight, self.ignore_index, self.reduction)

    def counted(self, log_probs: Tensor, target: Tensor) -> Tensor | int:
        """What the mean is over: the sum of the weights of the labels that count."""
        return CrossEntropyLoss(self.weight, self.ignore_index).counted(log_probs, target)


class MultiMarginLoss(Loss):
    """The hinge loss of several classes; see ``dl.multi_margin_loss``."""

    weight: Tensor | None

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.p, self.margin = integer(p, "MultiMarginLoss: p"), self._number(margin, "margin")
        self.register_buffer("weight", weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return losses.multi_margin_loss(output, target, self.p, self.margin, self.weight, self.reduction)


class BCELoss(Loss):
    """The cross-entropy of probabilities of two classes; see ``dl.binary_cross_entropy``."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        return losses.binary_cross_entropy(probabilities, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """The cross-entropy of logits of two classes; see ``dl.binary_cross_entropy_with_logits``."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return losses.binary_cross_entropy_with_logits(logits, target, self.weight, self.reduction, self.pos_weight)


class FocalLoss(Loss):
    """The cross-entropy of two classes in which easy samples count little; see ``dl.focal_loss``."""

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.alpha = None if alpha is None else self._number(alpha, "alpha")
        self.gamma = self._number(gamma, "gamma")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return losses.focal_loss(logits, target, self.alpha, self.gamma, self.reduction)


class SoftMarginLoss(Loss):
    """log(1 + exp(-target output)), targets -1 and 1; see ``dl.soft_margin_loss``."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return losses.soft_margin_loss(output, target, self.reduction)


class _MarginLoss(Loss):
    def __init__(self, margin: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = self._number(margin, "margin")


class HingeLoss(_MarginLoss):
    """max(0, margin - target output), targets -1 and 1; see ``dl.hinge_loss``."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return losses.hinge_loss(output, target, self.margin, self.reduction)


class HingeEmbeddingLoss(_MarginLoss):
    """The distance where the target is 1, max(0, margin - distance) where it is -1."""

    def forward(self, distance: Tensor, target: Tensor) -> Tensor:
        return losses.hinge_embedding_loss(distance, target, self.margin, self.reduction)


# ---- pairs and triplets of vectors ----------------------------------------------------------------------------------


class MarginRankingLoss(_MarginLoss):
    """max(0, margin - target (first - second)); see ``dl.margin_ranking_loss``."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(margin, reduction)

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return losses.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(MarginRankingLoss):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1; see ``dl.cosine_embedding_loss``."""

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return losses.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(_MarginLoss):
    """max(0, margin + d(anchor, positive) - d(anchor, negative)); see ``dl.triplet_margin_loss``."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ):
        super().__init__(margin, reduction)
        self.p, self.eps = self._number(p, "p"), self._number(eps, "eps")
        self.swap = boolean(swap, "TripletMarginLoss: swap")

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return losses.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction
        )


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along ``dim``; see ``dl.cosine_similarity``."""

    @spelled
    def __init__(self, dim: int = 1, eps: float = 1e-8):
        self.dim, self.eps = integer(dim, "CosineSimilarity: dim"), number(eps, "CosineSimilarity: eps")

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return losses.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last axis; see ``dl.pairwise_distance``."""

    @spelled
    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        self.p, self.eps = number(p, "PairwiseDistance: p"), number(eps, "PairwiseDistance: eps")
        self.keepdim = boolean(keepdim, "PairwiseDistance: keepdim")

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return losses.pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)


# ---- likelihoods and divergences ------------------------------------------------------------------------------------


class KLDivLoss(Loss):
    """target (log(target) - output), averaged; "batchmean" divides by the samples; see ``dl.kl_div``."""

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        self.reduction = choice(reduction, (*REDUCTIONS, "batchmean"), "KLDivLoss: reduction")
        self.log_target = boolean(log_target, "KLDivLoss: log_target")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return losses.kl_div(output, target, self.reduction, self.log_target)


class PoissonNLLLoss(Loss):
    """The negative log-likelihood of counts; see ``dl.poisson_nll_loss``."""

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"):
        super().__init__(reduction)
        self.log_input = boolean(log_input, "PoissonNLLLoss: log_input")
        self.full, self.eps = boolean(full, "PoissonNLLLoss: full"), self._number(eps, "eps")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return losses.poisson_nll_loss(output, target, self.log_input, self.full, self.eps, self.reduction)


class GaussianNLLLoss(Loss):
    """The negative log-likelihood of normal distributions; see ``dl.gaussian_nll_loss``."""

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction)
        self.full, self.eps = boolean(full, "GaussianNLLLoss: full"), self._number(eps, "eps")

    def forward(self, output: Tensor, target: Tensor, var: Tensor) -> Tensor:
        return losses.gaussian_nll_loss(output, target, var, self.full, self.eps, self.reduction)
