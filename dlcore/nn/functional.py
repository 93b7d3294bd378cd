"""Functions of layers and losses under the names of ``torch.nn.functional``: those of ``dl``, gathered.

    import dlcore.nn.functional as F
    loss = F.cross_entropy(F.relu(F.linear(x, weight, bias)), target)

They are the same functions, but for `dropout`, `fold`, `normalize`, `pad` and `unfold`, which have PyTorch's arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore._arguments import axis_of, boolean, called, choice, integers, number, operand, renamed
from dlcore._attention import scaled_dot_product_attention
from dlcore._operations import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    affine_grid,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    batch_norm,
    bilinear,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    celu,
    channel_shuffle,
    col2im,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cosine_embedding_loss,
    cosine_similarity,
    cross_entropy,
    ctc_loss,
    elu,
    embedding,
    embedding_bag,
    focal_loss,
    gaussian_nll_loss,
    geglu,
    gelu,
    glu,
    grid_sample,
    group_norm,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hinge_embedding_loss,
    hinge_loss,
    huber_loss,
    im2col,
    instance_norm,
    interpolate,
    kl_div,
    l1_loss,
    layer_norm,
    leaky_relu,
    linear,
    linear_cross_entropy,
    local_response_norm,
    log_softmax,
    logsigmoid,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    margin_ranking_loss,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    mish,
    mse_loss,
    multi_margin_loss,
    nll_loss,
    one_hot,
    pairwise_distance,
    permute,
    pixel_shuffle,
    pixel_unshuffle,
    poisson_nll_loss,
    prelu,
    quantile_loss,
    relu,
    relu6,
    rms_norm,
    rotary_embedding,
    selu,
    sigmoid,
    silu,
    smooth_l1_loss,
    soft_margin_loss,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    swiglu,
    tanh,
    tanhshrink,
    threshold,
    triplet_margin_loss,
)
from dlcore._operations import pad as numpy_pad
from dlcore._tensor import Tensor
from dlcore.nn.dropout import dropout1d, dropout2d, dropout3d
from dlcore.nn.padding import without_negative
from dlcore.ops.elementwise import abs, add, cast, div, log, maximum, pow, sqrt, square, sub
from dlcore.ops.reduce import argmax, max, sum
from dlcore.random import dropout as drop
from dlcore.random import exponential

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "affine_grid", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "bilinear",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "ctc_loss", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "embedding",
    "embedding_bag", "focal_loss", "fold", "gaussian_nll_loss", "geglu",
    "gelu", "glu", "grid_sample", "group_norm", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hinge_embedding_loss", "hinge_loss", "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss",
    "layer_norm", "leaky_relu", "linear",
    "linear_cross_entropy",
    "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d",
    "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "mish", "mse_loss", "multi_margin_loss", "nll_loss", "normalize", "one_hot", "pad",
    "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "quantile_loss", "relu",
    "relu6", "rms_norm",
    "rotary_embedding",
    "scaled_dot_product_attention", "selu", "sigmoid", "silu", "smooth_l1_loss",
    "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "swiglu",
    "tanh", "tanhshrink", "threshold",
    "triplet_margin_loss", "unfold", "upsample",
]  # fmt: skip


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``x`` with each element set to 0 with probability ``p``, the others divided by 1 - p; ``x`` itself where
    ``training`` is False. ``inplace`` is taken as PyTorch has it, and changes nothing.

    >>> nn.functional.dropout(dl.ones(3), training=False)
    tensor([1., 1., 1.])
    """
    boolean(inplace, "dropout: inplace")
    return drop(x, p) if boolean(training, "dropout: training") else operand(x, "dropout")


def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, dim: int = -1) -> Any:
    """Draws of a class along ``dim``, with gradients: softmax((logits + Gumbel noise) / ``tau``), Jang et al. 2017.

    ``hard``: vectors of 0 with a 1 at the largest, whose gradients are those of the soft ones. Raises ValueError unless
    ``tau`` is positive.

    >>> nn.functional.gumbel_softmax(dl.zeros(2, 3), hard=True).sum(1)
    tensor([1., 1.])
    """
    x, warmth = operand(logits, "gumbel_softmax"), number(tau, "gumbel_softmax: tau")
    if not warmth > 0:
        raise ValueError(f"gumbel_softmax: tau is {warmth}; it must be positive")
    axis = axis_of(dim, "gumbel_softmax: dim", x.shape)
    noise = sub(0.0, log(exponential(x.shape, dtype=x.dtype, device=x.device)))
    soft = softmax(div(add(x, noise), warmth), axis)
    if not boolean(hard, "gumbel_softmax: hard"):
        return soft
    chosen = permute(one_hot(argmax(soft, axis), x.shape[axis]), _with_last_at(axis, x.ndim))
    return add(sub(cast(chosen, x.dtype), soft.detach()), soft)


def _with_last_at(axis: int, ndim: int) -> tuple[int, ...]:
    """The order of axes that brings the last one to ``axis``."""
    return (*range(axis), ndim - 1, *range(axis, ndim - 1))


def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """``x`` divided by its ``p``-norms along ``dim``, which are taken as ``eps`` at least; ``p`` may be infinite.

    >>> nn.functional.normalize(dl.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    x, p, least = operand(x, "normalize"), number(p, "normalize: p"), number(eps, "normalize: eps")
    axis = axis_of(dim, "normalize: dim", x.shape)
    if not p > 0:
        raise ValueError(f"normalize: p {p} is not positive")
    try:
        if p == 2:
            return div(x, maximum(sqrt(sum(square(x), axis, True)), least))
        if p == float("inf"):
            return div(x, maximum(max(abs(x), axis, True), least))
        powers = sum(abs(x) if p == 1 else pow(abs(x), p), axis, True)
        return div(x, maximum(powers if p == 1 else pow(powers, 1 / p), least))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise renamed(error, "normalize") from None


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Any:
    """``x`` with more elements around it: ``pad`` holds (before, after) of the last axis, then of the one before it.

    ``mode``: "constant" (``value``; negative numbers take elements away), "reflect", "replicate" or "circular".
    `dl.pad` has NumPy's arguments.

    >>> nn.functional.pad(dl.tensor([[1, 2]]), (1, 0)).tolist()
    [[0, 1, 2]]
    """
    x, widths = operand(x, "pad"), integers(pad, "pad: pad")
    if len(widths) % 2 or len(widths) > 2 * x.ndim:
        raise ValueError(f"pad: {len(widths)} numbers are no pairs for the last of {x.ndim} axes")
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2)
    pairs += [(widths[k], widths[k + 1]) for k in range(len(widths) - 2, -1, -2)]
    if mode == "constant" and min(widths, default=0) < 0:
        x, pairs = without_negative(x, pairs, "pad")
    return numpy_pad(x, pairs, mode, constant_values=value)


def unfold(
    x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1, layout: str = "NCHW"
) -> Any:
    """Windows of images as columns: ``x`` (N, C, H, W) gives (N, C kh kw, L); `dl.im2col`.

    Arguments are pairs or one number for both axes. ``layout``: "NHWC" where channels come last; the columns are the
    same. ``Tensor.unfold`` walks along one axis.

    >>> nn.functional.unfold(dl.ones(2, 3, 8, 8), 3, padding=1).shape
    (2, 27, 64)
    """
    x = operand(x, "unfold")
    if choice(layout, ("NCHW", "NHWC"), "unfold: layout") == "NHWC" and x.ndim in (3, 4):
        x = permute(x, (*range(x.ndim - 3), x.ndim - 1, x.ndim - 3, x.ndim - 2))
    return called("unfold", im2col, x, kernel_size, dilation, padding, stride)


def fold(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1,
    layout: str = "NCHW",
) -> Any:  # fmt: skip
    """Images of ``output_size`` to which columns add up: ``x`` (N, C kh kw, L) gives (N, C, H, W); `dl.col2im`.

    ``layout``: "NHWC" for images whose channels come last.

    >>> nn.functional.fold(dl.ones(1, 4, 4), 3, 2).tolist()
    [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    last = choice(layout, ("NCHW", "NHWC"), "fold: layout") == "NHWC"
    out = called("fold", col2im, operand(x, "fold"), output_size, kernel_size, dilation, padding, stride)
    return permute(out, (*range(out.ndim - 3), out.ndim - 2, out.ndim - 1, out.ndim - 3)) if last else out


def upsample(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """`interpolate`, under an older name."""
    return called("upsample", interpolate, operand(x, "upsample"), size, scale_factor, mode, align_corners)
