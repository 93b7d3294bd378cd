"""Losses that are made of other operations, under the names that PyTorch's users know.

`reduction`: "mean", "sum", or "none" for one loss for each element, or each sample of those that take a vector for a
sample. Shapes must agree as each says: an input (N, 1) is no match for a target (N,).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore._arguments import axis_of, boolean, calling, choice, integer, number, operand
from dlcore.dtypes import int64
from dlcore.errors import ShapeError
from dlcore.ops import pairs
from dlcore.ops._constants import positions
from dlcore.ops._shape import broadcast_shapes, differing
from dlcore.ops.activation import relu, sigmoid
from dlcore.ops.elementwise import (
    abs,
    add,
    cast,
    div,
    eq,
    exp,
    gt,
    log,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    sqrt,
    square,
    sub,
    where,
)
from dlcore.ops.gather import gather, take
from dlcore.ops.likelihood import check_weight, class_axis
from dlcore.ops.limits import checked
from dlcore.ops.loss import REDUCTIONS, reduced
from dlcore.ops.movement import squeeze, unsqueeze
from dlcore.ops.reduce import max, sum
from dlcore.ops.units import softplus

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity",
    "focal_loss", "gaussian_nll_loss", "hinge_embedding_loss", "hinge_loss", "kl_div", "margin_ranking_loss",
    "multi_margin_loss", "pairwise_distance", "poisson_nll_loss", "quantile_loss", "soft_margin_loss",
    "triplet_margin_loss",
]  # fmt: skip

_bce, _bce_logits, _kl_div = pairs.of_probabilities, pairs.of_logits, pairs.divergence


def _reduction(reduction: Any, name: str) -> str:
    found: str = choice(reduction, REDUCTIONS, f"{name}: reduction")
    return found


def _alike(name: str, **given: Any) -> list[Any]:
    """Operands as tensors, which must have one shape."""
    tensors = [operand(x, name, what) for what, x in given.items()]
    for t in tensors:
        if t.shape != tensors[0].shape:
            raise ShapeError(f"{name}: {differing(tensors[0].shape, t.shape)}")
    return tensors


def _not_negative(x: Any) -> Any:
    """max(x, 0), whose gradient at 0 is 1, as that of PyTorch's clamp."""
    return where(lt(x, 0), 0.0, x)


# ---- classes --------------------------------------------------------------------------------------------------------


def _class_axis(name: str, x: Any, target: Any) -> int:
    return class_axis(name, x.shape, target)


def _class_weight(name: str, weight: Any, classes: int) -> Any:
    weight = operand(weight, name, "weight")
    check_weight(name, weight, classes)
    return weight


def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Any:
    """Hinge loss of several classes: sum over i != t of w[t] max(0, margin - x[t] + x[i])^p / C.

    `input`: (N, C) or (C,). `target`: class indices, (N,) or (). `p`: 1 or 2. `weight`: (C,). The mean is over samples.
    Raises IndexError for a label outside 0 .. C - 1.

    >>> dl.multi_margin_loss(dl.tensor([[0.5, 0.25]]), dl.tensor([0]))
    tensor(0.375)
    """
    name, kind = "multi_margin_loss", _reduction(reduction, "multi_margin_loss")
    margin = number(margin, f"{name}: margin")
    if integer(p, f"{name}: p") not in (1, 2):
        raise ValueError(f"{name}: p {p} is neither 1 nor 2")
    with calling(name):
        x, target = operand(input, name, "input"), operand(target, name, "target")
        axis = _class_axis(name, x, target)
        if x.ndim > 2:
            raise ShapeError(f"{name}: input has shape {x.shape}, expected (N, C) or (C,)")
        classes = x.shape[axis]
        index = unsqueeze(cast(checked(target, 0, classes - 1, "label"), int64), axis)
        beyond = relu(add(sub(x, gather(x, index, axis)), margin))
        terms = where(ne(index, positions(classes, x)), square(beyond) if p == 2 else beyond, 0.0)
        losses = div(sum(terms, axis), classes)
        if weight is not None:
            losses = mul(losses, take(_class_weight(name, weight, classes), squeeze(index, axis)))
        return reduced(losses, kind)


# ---- two classes ----------------------------------------------------------------------------------------------------


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    """Cross-entropy of probabilities and targets of two classes: -w (t log(p) + (1 - t) log(1 - p)).

    `input`: probabilities p of any shape; `target`: 0, 1 or what lies between, of that shape; `weight` broadcasts with
    them. Logarithms are -100 at least. Raises ValueError for an input outside of [0, 1]. Of logits take
    binary_cross_entropy_with_logits, which is right in the tails.

    >>> dl.binary_cross_entropy(dl.tensor([0.5, 0.25]), dl.tensor([1.0, 0.0]), reduction="none")
    tensor([0.6931472 , 0.28768206])
    """
    name, kind = "binary_cross_entropy", _reduction(reduction, "binary_cross_entropy")
    if weight is None:
        return _bce(input, target, kind)
    with calling(name):
        return reduced(_weighted(name, _bce(input, target, "none"), weight), kind)


def _weighted(name: str, losses: Any, weight: Any) -> Any:
    found = mul(losses, weight)
    if found.shape != losses.shape:
        raise ShapeError(f"{name}: a weight of shape {operand(weight, name, 'weight').shape} for losses of shape "
                         f"{losses.shape}")  # fmt: skip
    return found


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """Cross-entropy of logits and targets of two classes: -w (q t log(s) + (1 - t) log(1 - s)), s = sigmoid(input).

    `input`: logits of any shape; `target`: 0, 1 or what lies between, of that shape. `weight` w and `pos_weight` q, the
    factor of the positive class, broadcast with them: q of shape (C,) for inputs (N, C). Nothing overflows: with q = 1
    it is max(x, 0) - x t + log(1 + e^-|x|), forward and gradient in one pass.

    >>> dl.binary_cross_entropy_with_logits(dl.tensor([0.0, 100.0]), dl.tensor([1.0, 0.0]), reduction="none")
    tensor([  0.6931472, 100.       ])
    """
    name, kind = "binary_cross_entropy_with_logits", _reduction(reduction, "binary_cross_entropy_with_logits")
    if weight is None and pos_weight is None:
        return _bce_logits(input, target, kind)
    with calling(name):
        if pos_weight is None:
            losses = _bce_logits(input, target, "none")
        else:
            x, t = _alike(name, input=input, target=target)
            factor = add(mul(sub(pos_weight, 1), t), 1)
            losses = _weighted(name, add(mul(sub(1, t), x), mul(factor, softplus(neg(x), 1.0, math.inf))), 1.0)
            if losses.shape != x.shape:
                raise ShapeError(f"{name}: a pos_weight of shape {operand(pos_weight, name, 'pos_weight').shape} for "
                                 f"losses of shape {x.shape}")  # fmt: skip
        return reduced(losses if weight is None else _weighted(name, losses, weight), kind)


def focal_loss(
    input: Any, target: Any, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> Any:
    """Cross-entropy of two classes in which easy samples count little: a (1 - p)^gamma (-log(p)), p the probability of
    the target (https://arxiv.org/abs/1708.02002).

    `input`: logits of any shape; `target`: 0, 1 or what lies between, of that shape. a is `alpha` for the positive
    class and 1 - alpha for the other, or 1 where `alpha` is None.

    >>> dl.focal_loss(dl.tensor([0.0]), dl.tensor([1.0])).round(4)
    tensor(0.0433)
    """
    name, kind = "focal_loss", _reduction(reduction, "focal_loss")
    gamma = number(gamma, f"{name}: gamma")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        losses, s = _bce_logits(x, t, "none"), sigmoid(x)
        if gamma:
            wrong = add(mul(t, sigmoid(neg(x))), mul(sub(1, t), s))
            losses = mul(losses, wrong if gamma == 1 else square(wrong) if gamma == 2 else pow(wrong, gamma))
        if alpha is not None:
            share = number(alpha, f"{name}: alpha")
            losses = mul(losses, add(mul(t, 2 * share - 1), 1 - share))
        return reduced(losses, kind)


def soft_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Logistic loss of a target of -1 and 1: log(1 + e^(-t x)). Nothing overflows.

    >>> dl.soft_margin_loss(dl.tensor([0.0]), dl.tensor([1.0])).round(4)
    tensor(0.6931)
    """
    name, kind = "soft_margin_loss", _reduction(reduction, "soft_margin_loss")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        return reduced(softplus(neg(mul(x, t)), 1.0, math.inf), kind)


def hinge_loss(input: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Any:
    """Hinge loss of a target of -1 and 1, as of support vector machines: max(0, margin - t x).

    >>> dl.hinge_loss(dl.tensor([0.5, 2.0]), dl.tensor([-1.0, 1.0]), reduction="none")
    tensor([1.5, 0. ])
    """
    name, kind = "hinge_loss", _reduction(reduction, "hinge_loss")
    margin = number(margin, f"{name}: margin")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        return reduced(relu(sub(margin, mul(x, t))), kind)


# ---- distances ------------------------------------------------------------------------------------------------------


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Any:
    """A distance as it is where the target is 1, and max(0, margin - input) where it is -1.

    >>> dl.hinge_embedding_loss(dl.tensor([0.5, 0.25]), dl.tensor([1.0, -1.0]))
    tensor(0.625)
    """
    name, kind = "hinge_embedding_loss", _reduction(reduction, "hinge_embedding_loss")
    margin = number(margin, f"{name}: margin")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        near, far = where(ne(t, -1), x, 0.0), where(ne(t, 1), _not_negative(sub(margin, x)), 0.0)
        return reduced(add(near, far), kind)


def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """Loss of an order: max(0, margin - t (input1 - input2)); a target of 1 asks for the first to be larger, -1 for the
    second. All have one shape.

    >>> dl.margin_ranking_loss(dl.tensor([1.0]), dl.tensor([3.0]), dl.tensor([1.0]))
    tensor(2.)
    """
    name, kind = "margin_ranking_loss", _reduction(reduction, "margin_ranking_loss")
    margin = number(margin, f"{name}: margin")
    with calling(name):
        a, b, t = _alike(name, input1=input1, input2=input2, target=target)
        return reduced(_not_negative(sub(margin, mul(t, sub(a, b)))), kind)


def cosine_similarity(x1: Any, x2: Any, axis: int = 1, eps: float = 1e-8) -> Any:
    """Cosine of the angle between vectors along `axis`: x1 x2 / (max(|x1|, eps) max(|x2|, eps)). They broadcast.

    >>> dl.cosine_similarity(dl.tensor([[1.0, 0.0]]), dl.tensor([[3.0, 4.0]]))
    tensor([0.6])
    """
    name, eps = "cosine_similarity", number(eps, "cosine_similarity: eps")
    with calling(name):
        a, b = operand(x1, name, "x1"), operand(x2, name, "x2")
        product = mul(a, b)
        along = axis_of(axis, f"{name}: axis", product.shape) - product.ndim
        lengths = [sqrt(maximum(sum(square(t), along), eps * eps)) for t in (a, b)]
        return div(sum(product, along), mul(*lengths))


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Any:
    """Distance of vectors along the last axis: the p-norm of x1 - x2 + eps. They broadcast. `p` may be infinite.

    >>> dl.pairwise_distance(dl.tensor([[0.0, 0.0]]), dl.tensor([[3.0, 4.0]])).round(4)
    tensor([5.])
    """
    name, p, eps = "pairwise_distance", number(p, "pairwise_distance: p"), number(eps, "pairwise_distance: eps")
    kept = boolean(keepdims, f"{name}: keepdims")
    if not p > 0:
        raise ValueError(f"{name}: p {p} is not positive")
    with calling(name):
        d = add(sub(operand(x1, name, "x1"), operand(x2, name, "x2")), eps)
        if p == 2:
            return sqrt(sum(square(d), -1, kept))
        if p == 1 or math.isinf(p):
            return (sum if p == 1 else max)(abs(d), -1, kept)
        return pow(sum(pow(abs(d), p), -1, kept), 1 / p)


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """Loss of pairs of vectors: 1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    `input1`, `input2`: (N, D) and `target` (N,), or (D,) and ().

    >>> dl.cosine_embedding_loss(dl.tensor([[1.0, 0.0]]), dl.tensor([[0.0, 1.0]]), dl.tensor([1.0])).round(4)
    tensor(1.)
    """
    name, kind = "cosine_embedding_loss", _reduction(reduction, "cosine_embedding_loss")
    margin, tiny = number(margin, f"{name}: margin"), 1e-12
    with calling(name):
        (a, b), t = _alike(name, input1=input1, input2=input2), operand(target, name, "target")
        if a.ndim not in (1, 2) or t.shape != a.shape[:-1]:
            raise ShapeError(f"{name}: target has shape {t.shape}, inputs {a.shape}: expected (N,) and (N, D)")
        lengths = mul(add(sum(square(a), -1), tiny), add(sum(square(b), -1), tiny))
        cosine = div(sum(mul(a, b), -1), sqrt(lengths))
        near = where(eq(t, 1), sub(1, cosine), 0.0)
        return reduced(add(near, where(eq(t, -1), _not_negative(sub(cosine, margin)), 0.0)), kind)


def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> Any:  # fmt: skip
    """Loss of triplets of vectors: max(0, margin + d(anchor, positive) - d(anchor, negative)), d `pairwise_distance`.

    `anchor`, `positive`, `negative`: (N, D) or (D,). `swap`: the smaller one of d(anchor, negative) and
    d(positive, negative) is taken (Balntas et al. 2016).

    >>> dl.triplet_margin_loss(dl.tensor([[0.0]]), dl.tensor([[1.0]]), dl.tensor([[1.5]])).round(4)
    tensor(0.5)
    """
    name, kind = "triplet_margin_loss", _reduction(reduction, "triplet_margin_loss")
    margin, swapped = number(margin, f"{name}: margin"), boolean(swap, f"{name}: swap")
    with calling(name):
        a, near, far = _alike(name, anchor=anchor, positive=positive, negative=negative)
        away = pairwise_distance(a, far, p, eps)
        if swapped:
            away = minimum(away, pairwise_distance(near, far, p, eps))
        return reduced(_not_negative(add(sub(pairwise_distance(a, near, p, eps), away), margin)), kind)


def quantile_loss(input: Any, target: Any, quantile: float = 0.5, reduction: str = "mean") -> Any:
    """Pinball loss, least at the quantile of the target: max(q d, (q - 1) d), d = target - input.

    `quantile` q in [0, 1]: 0.9 charges nine times as much for an input that is too low as for one too high.

    >>> dl.quantile_loss(dl.tensor([0.0, 2.0]), dl.tensor([1.0, 1.0]), 0.75, reduction="none")
    tensor([0.75, 0.25])
    """
    name, kind = "quantile_loss", _reduction(reduction, "quantile_loss")
    q = number(quantile, f"{name}: quantile")
    if not 0 <= q <= 1:
        raise ValueError(f"{name}: quantile {q} is not between 0 and 1")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        d = sub(t, x)
        return reduced(maximum(mul(d, q), mul(d, q - 1)), kind)


# ---- likelihoods and divergences ------------------------------------------------------------------------------------


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """Kullback-Leibler divergence of a target t from an `input` of logarithms of probabilities: t (log(t) - input).

    `input`, `target`: of one shape; the target holds probabilities, or their logarithms where `log_target` is set.
    Where t is 0, so is the term. `reduction`: "batchmean" too, the sum divided by the length of axis 0, which is the
    divergence of distributions along the other axes; "mean" divides by the number of elements.

    >>> dl.kl_div(dl.tensor([0.5, 0.5]).log(), dl.tensor([1.0, 0.0]), reduction="sum").round(4)
    tensor(0.6931)
    """
    kind = choice(reduction, (*REDUCTIONS, "batchmean"), "kl_div: reduction")
    logs = boolean(log_target, "kl_div: log_target")
    if kind != "batchmean":
        return _kl_div(input, target, kind, logs)
    total = _kl_div(input, target, "sum", logs)
    shape = operand(input, "kl_div", "input").shape
    return div(total, shape[0] if shape else 1)


def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> Any:
    """Negative log-likelihood of counts: e^x - t x, or without `log_input` x - t log(x + eps), x being the rate.

    `full`: with Stirling's approximation of log(t!), t log(t) - t + log(2 pi t) / 2, where t > 1.

    >>> dl.poisson_nll_loss(dl.tensor([0.0]), dl.tensor([2.0]))
    tensor(1.)
    """
    name, kind = "poisson_nll_loss", _reduction(reduction, "poisson_nll_loss")
    logs, whole = boolean(log_input, f"{name}: log_input"), boolean(full, f"{name}: full")
    eps = number(eps, f"{name}: eps")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        losses = sub(exp(x), mul(t, x)) if logs else sub(x, mul(t, log(add(x, eps))))
        if whole:
            large = gt(t, 1)
            count = where(large, t, 2)  # any number of which the logarithm is one
            stirling = add(sub(mul(count, log(count)), count), mul(log(mul(count, 2 * math.pi)), 0.5))
            losses = add(losses, where(large, stirling, 0.0))
        return reduced(losses, kind)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """Negative log-likelihood of a normal distribution: (log(v) + (input - target)^2 / v) / 2, v = max(var, eps).

    `input`, `target`: of one shape; `var`: a number, that shape, that shape without the last axis, or with a last axis
    of length 1. `full`: with log(2 pi) / 2. The gradient goes through the limit `eps` as if it were not there. Raises
    ValueError for a negative variance.

    >>> dl.gaussian_nll_loss(dl.tensor([1.0]), dl.tensor([3.0]), dl.tensor([1.0]))
    tensor(2.)
    """
    name, kind = "gaussian_nll_loss", _reduction(reduction, "gaussian_nll_loss")
    whole, eps = boolean(full, f"{name}: full"), number(eps, f"{name}: eps")
    if eps <= 0:
        raise ValueError(f"{name}: eps {eps} is not positive")
    with calling(name):
        x, t = _alike(name, input=input, target=target)
        v = _variance(name, x, var, eps)
        losses = mul(add(log(v), div(square(sub(x, t)), v)), 0.5)
        return reduced(add(losses, 0.5 * math.log(2 * math.pi)) if whole else losses, kind)


def _variance(name: str, x: Any, var: Any, eps: float) -> Any:
    """``var`` in a form that broadcasts with ``x``, ``eps`` at least."""
    if isinstance(var, int | float):
        var = np.asarray(var, x.dtype.numpy)
    v = operand(var, name, "var")
    if v.shape and v.shape != x.shape and v.shape == x.shape[:-1]:
        v = unsqueeze(v, -1)
    if broadcast_shapes(name, x.shape, v.shape) != x.shape:
        raise ShapeError(f"{name}: var has shape {v.shape}, which does not fit input of shape {x.shape}")
    v = checked(v, 0.0, math.inf, "var")
    low = v.detach()
    return add(v, where(lt(low, eps), sub(eps, low), 0.0))
