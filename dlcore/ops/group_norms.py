"""Normalisation of each image by groups of channels or by single channels, and by neighbouring channels.

Mean and 1 / standard deviation of each image and group are kept in float32 or wider for the gradient. Axes: (N, C,
...), or (N, ..., C) with layout "NHWC".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import boolean, called, choice, integer, number, operand
from dlcore.dtypes import float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, ErrorInput, Input, OutputMask, Sample, Spec, Workload, check_floating
from dlcore.ops._norms import (
    Layout,
    along,
    centred,
    channel_axis,
    check_channels,
    check_eps,
    common,
    norm,
    numpy_centred,
    numpy_mean,
    numpy_size,
    of_gradient,
    other_axes,
    wide,
    widened,
)
from dlcore.ops._workloads import bytes_of
from dlcore.ops.arranging import pad
from dlcore.ops.batch_norm import batch_norm
from dlcore.ops.elementwise import add, cast, div, mul, pow, rsqrt, square, sub
from dlcore.ops.movement import expand, permute, reshape
from dlcore.ops.reduce import mean as mean_
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.slicing import assign
from dlcore.ops.statistics import var_mean
from dlcore.ops.strided import unfold

__all__ = ["group_norm", "instance_norm", "local_response_norm"]

POSITIVE = Domain(0.5, 2.0)
LAYERS = (((64, 16, 32, 32), 4, "16 channels in 4 groups"), ((128, 64, 16, 16), 8, "64 channels in 8 groups"))


def _check_groups(name: str, x: Spec, groups: int, layout: str, **vectors: Spec | None) -> int:
    """The number of channels; raises where it is no multiple of ``groups``."""
    channels = check_channels(name, x, layout, **vectors)
    if groups < 1 or channels % groups:
        raise ShapeError(f"{name}: {channels} channels do not make {groups} groups, for x of shape {x.shape}")
    return channels


def _grouped(x: Any, groups: int, layout: str) -> Any:
    """x as (N, groups, elements of one)."""
    if layout == "NHWC":
        x = permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))
    return reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))


def _ungrouped(x: Any, shape: Sequence[int], layout: str) -> Any:
    """What `_grouped` made of an array of ``shape`` as it was."""
    if layout == "NCHW":
        return reshape(x, tuple(shape))
    first = reshape(x, (shape[0], shape[-1], *shape[1:-1]))
    return permute(first, (0, *range(2, len(shape)), 1))


# ---- forward --------------------------------------------------------------------------------------------------------


def _channels_first(layout: str) -> bool:
    return layout == "NCHW"


@norm(
    kernels={"cuda": [("norm.rows:group_norm_forward", _channels_first)]},
    extras="mean rstd", cast="float32", ulp=6, batching="composite", promote=lambda specs: common(specs, 2),
    params=lambda groups, eps, layout: (groups, eps, int(layout == "NHWC")),
    cost=lambda x, weight, bias: (8.0 * math.prod(x.shape), bytes_of(x, x, weight, bias)),
    baselines={"torch": "F.group_norm(x, groups, weight, bias, eps)"},
)  # fmt: skip
def group_norm_forward(
    x: Spec, weight: Spec | None, bias: Spec | None, groups: int, eps: float = 1e-5, layout: Layout = "NCHW"
) -> Sequence[Spec]:  # fmt: skip
    """`x` with each group of channels of each image normalised: (x - mean) / sqrt(var + eps) * weight + bias.

    `weight`, `bias`: a number each for every channel. Sums are accumulated in float32 within blocks and in float64
    beyond.
    """
    _check_groups("group_norm_forward", x, groups, layout, weight=weight, bias=bias)
    check_eps("group_norm_forward", eps)
    kept = Spec((x.shape[0], groups), wide(x.dtype))
    return [Spec(x.shape, x.dtype), kept, kept]


def _statistics(x: Any, groups: int, eps: float, layout: str) -> tuple[Any, Any]:
    """Mean and 1 / standard deviation of each image and group, as functions of x."""
    var, mean = var_mean(_grouped(widened(x), groups, layout), 2)
    return mean, rsqrt(add(var, eps))


def _normalised(x: Any, mean: Any, rstd: Any, groups: int, layout: str) -> Any:
    """(x - mean) * rstd in the dtype of the statistics."""
    lines = _grouped(widened(x), groups, layout)
    form = (*mean.shape, 1)
    return _ungrouped(mul(sub(lines, reshape(mean, form)), reshape(rstd, form)), x.shape, layout)


@group_norm_forward.composite
def _(x: Any, weight: Any, bias: Any, groups: int, eps: float, layout: str) -> Any:
    rest, _, var = centred(_grouped(x, groups, layout), 2)
    out = _ungrouped(mul(rest, rsqrt(add(var, eps))), x.shape, layout)
    out = out if weight is None else mul(out, along(widened(weight), x.shape, layout))
    out = out if bias is None else add(out, along(widened(bias), x.shape, layout))
    return out if out.dtype is x.dtype else cast(out, x.dtype)


@group_norm_forward.gradient("x", "weight", "bias")
def _(
    dout: Any, x: Any, weight: Any, mean: Any, rstd: Any, groups: int, eps: float, layout: str,
    needs_input_grad: tuple[bool, bool, bool], create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:  # as functions of x, for a second gradient to go through
        mean, rstd = _statistics(x, groups, eps, layout)
    return group_norm_backward(dout, x, mean, rstd, weight, groups, layout, needs_input_grad)


@group_norm_forward.reference
def _(x: Any, weight: Any, bias: Any, groups: int, eps: float, layout: str) -> Any:
    first = np.moveaxis(x, -1, 1) if layout == "NHWC" else x
    lines = first.reshape(x.shape[0], groups, -1) if x.size else first.reshape(x.shape[0], groups, 0)
    rest, var = numpy_centred(lines, (2,))
    out = (rest / np.sqrt(var + eps)).reshape(first.shape)
    form = (1, -1, *[1] * (x.ndim - 2))
    out = out * (1 if weight is None else weight.reshape(form)) + (0 if bias is None else bias.reshape(form))
    return np.moveaxis(out, 1, -1) if layout == "NHWC" else out


@group_norm_forward.magnitude
def _(x: Any, weight: Any, bias: Any, groups: int, eps: float, layout: str) -> Any:
    first = np.moveaxis(x, -1, 1) if layout == "NHWC" else x
    lines = first.reshape(x.shape[0], groups, -1) if x.size else first.reshape(x.shape[0], groups, 0)
    form = (1, -1, *[1] * (x.ndim - 2))
    size = numpy_size(lines, (2,), eps).reshape(first.shape) * (1 if weight is None else np.abs(weight).reshape(form))
    size = size + (0 if bias is None else np.abs(bias).reshape(form))
    return np.moveaxis(size, 1, -1) if layout == "NHWC" else size


@group_norm_forward.samples
def _() -> Iterator[Sample]:
    yield Sample((3, 6, 4, 5), (6,), (6,), groups=2, why="images")
    yield Sample((3, 5, 33), (5,), None, groups=5, eps=0.1, why="instances, no bias")
    yield Sample((3, 4, 5, 6), (6,), (6,), groups=3, layout="NHWC", why="channels last")
    yield Sample((1, 70, 4), (4,), (4,), groups=4, layout="NHWC", why="one image, channels last")
    yield Sample((5, 40), (40,), (40,), groups=4, why="features")
    yield Sample((2, 4, 50, 50), None, None, groups=1, grad=False, why="one group, several blocks")
    far = Input((2, 4, 30), draw=lambda rng: rng.standard_normal((2, 4, 30)) + 4096.0)
    yield Sample(far, None, None, groups=2, grad=False, why="far from 0")
    bad = np.array([[1.0, np.inf, 2.0, 3.0], [0.5, 1.0, np.nan, 2.0]])
    yield Sample(bad, None, None, groups=2, grad=False, why="NaN and infinity")
    yield Sample((0, 4, 3), (4,), (4,), groups=2, why="no images")


@group_norm_forward.error_inputs
def _() -> Iterator[ErrorInput]:
    x, name = np.zeros((2, 6, 4)), "group_norm_forward"
    for groups in (4, 0):
        text = f"{name}: 6 channels do not make {groups} groups, for x of shape (2, 6, 4)"
        yield ErrorInput(ShapeError, text, x, None, None, groups=groups)
    text = f"{name}: weight has shape (6,), not (4,), for x of shape (2, 6, 4)"
    yield ErrorInput(ShapeError, text, x, np.zeros(6), None, groups=2, layout="NHWC")
    yield ErrorInput(ValueError, f"{name}: eps is -1.0, not a number from 0 on", x, None, None, groups=2, eps=-1.0)
    text = f"{name}: x (2, 4, 3) is of int64; it must be of a floating dtype: x.float()"
    yield ErrorInput(DTypeError, text, np.zeros((2, 4, 3), np.int64), None, None, groups=2)


@group_norm_forward.workloads
def _() -> Iterator[Workload]:
    for shape, groups, why in LAYERS:
        yield Workload((shape, (shape[1],), (shape[1],)), (groups,), why)


# ---- its gradient ---------------------------------------------------------------------------------------------------


@norm(
    kernels={"cuda": [("norm.rows:group_norm_backward", _channels_first)]},
    outputs="dx dweight dbias", ulp=6, batching="composite", promote=of_gradient,
    params=lambda groups, layout: (groups, int(layout == "NHWC")),
    cost=lambda x, weight: (12.0 * math.prod(x.shape), bytes_of(x, x, x, weight, weight, weight)),
    baselines={
        "torch": "torch.ops.aten.native_group_norm_backward(dout, x, mean, rstd, weight, x.shape[0], x.shape[1], "
        "x[0, 0].numel(), groups, [True, True, True])"
    },
)  # fmt: skip
def group_norm_backward(
    dout: Spec, x: Spec, mean: Spec, rstd: Annotated[Spec, POSITIVE], weight: Spec | None, groups: int,
    layout: Layout = "NCHW", mask: OutputMask = (True, True, True),
) -> Sequence[Spec]:  # fmt: skip
    """Gradients of `group_norm_forward` for x, weight and bias, from the mean and 1 / standard deviation it kept.

    With xhat = (x - mean) rstd and g = dout weight, means over a group: dx = rstd (g - mean(g) - xhat mean(g xhat));
    dweight and dbias are the sums of dout xhat and dout over images and places, in fixed order.
    """
    name = "group_norm_backward"
    channels = _check_groups(name, x, groups, layout, weight=weight)
    if dout.shape != x.shape:
        raise ShapeError(f"{name}: dout has shape {dout.shape}, x {x.shape}")
    for key, value in (("mean", mean), ("rstd", rstd)):
        if value.shape != (x.shape[0], groups):
            raise ShapeError(f"{name}: {key} has shape {value.shape}, not {(x.shape[0], groups)}")
    vector = Spec((channels,), wide(x.dtype) if weight is None else weight.dtype)
    return [Spec(x.shape, x.dtype), vector, vector]


@group_norm_backward.composite
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, groups: int, layout: str, mask: Sequence[bool]
) -> tuple[Any, ...]:  # fmt: skip
    xhat, dy, axes = _normalised(x, mean, rstd, groups, layout), widened(dout), other_axes(x.ndim, layout)
    g = dy if weight is None else mul(dy, along(widened(weight), x.shape, layout))
    lines, hats, form = _grouped(g, groups, layout), _grouped(xhat, groups, layout), (*rstd.shape, 1)
    rest = add(mean_(lines, 2, True), mul(hats, mean_(mul(lines, hats), 2, True)))
    dx = _ungrouped(mul(sub(lines, rest), reshape(rstd, form)), x.shape, layout)
    found = cast(dx, x.dtype), sum_(mul(dy, xhat), axes), sum_(dy, axes)
    to = rstd.dtype if weight is None else weight.dtype
    return tuple(
        None if not wanted else value if value.dtype is to or k == 0 else cast(value, to)
        for k, (value, wanted) in enumerate(zip(found, mask, strict=True))
    )


def _lines(x: Any, groups: int, layout: str) -> Any:
    """An array as (N, groups, channels of one, places)."""
    first = np.moveaxis(x, -1, 1) if layout == "NHWC" else x
    n, c = first.shape[:2]
    return first.reshape(n, groups, c // groups, math.prod(first.shape[2:]))


@group_norm_backward.reference
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, groups: int, layout: str
) -> tuple[Any, ...]:  # fmt: skip
    dy, lines = _lines(dout, groups, layout), _lines(x, groups, layout)
    xhat = (lines - mean[:, :, None, None]) * rstd[:, :, None, None]
    g = dy * (1 if weight is None else weight.reshape(1, groups, -1, 1))
    dx = g - numpy_mean(g, (2, 3)) - xhat * numpy_mean(g * xhat, (2, 3))
    dx = (dx * rstd[:, :, None, None]).reshape(np.moveaxis(x, -1, 1).shape if layout == "NHWC" else x.shape)
    dx = np.moveaxis(dx, 1, -1) if layout == "NHWC" else dx
    return dx, (dy * xhat).sum((0, 3)).ravel(), dy.sum((0, 3)).ravel()


@group_norm_backward.magnitude
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, groups: int, layout: str
) -> tuple[Any, ...]:  # fmt: skip
    dy, lines = np.abs(_lines(dout, groups, layout)), np.abs(_lines(x, groups, layout))
    xhat = (lines + np.abs(mean)[:, :, None, None]) * rstd[:, :, None, None]
    g = dy * (1 if weight is None else np.abs(weight).reshape(1, groups, -1, 1))
    dx = g + numpy_mean(g, (2, 3)) + xhat * numpy_mean(g * xhat, (2, 3))
    dx = (dx * rstd[:, :, None, None]).reshape(np.moveaxis(x, -1, 1).shape if layout == "NHWC" else x.shape)
    dx = np.moveaxis(dx, 1, -1) if layout == "NHWC" else dx
    return dx, (dy * xhat).sum((0, 3)).ravel(), dy.sum((0, 3)).ravel()


@group_norm_backward.samples
def _() -> Iterator[Sample]:
    for shape, groups, layout, why in (
        ((3, 6, 4, 5), 2, "NCHW", "images"), ((3, 5, 33), 5, "NCHW", "instances"), ((5, 40), 4, "NCHW", "features"),
        ((3, 4, 5, 6), 3, "NHWC", "channels last"),
    ):  # fmt: skip
        kept, c = (shape[0], groups), shape[1 if layout == "NCHW" else -1]
        yield Sample(shape, shape, kept, kept, (c,), groups=groups, layout=layout, why=why)
    yield Sample((3, 4, 9), (3, 4, 9), (3, 2), (3, 2), None, groups=2, mask=(True, False, True), why="no weight")
    yield Sample((2, 7, 4), (2, 7, 4), (2, 2), (2, 2), (4,), groups=2, layout="NHWC", mask=(False, True, True),
                 why="no dx")  # fmt: skip
    yield Sample((0, 4, 3), (0, 4, 3), (0, 2), (0, 2), (4,), groups=2, why="no images")
    dout = Input((3, 4, 9), dtype=float32)
    yield Sample(dout, (3, 4, 9), (3, 2), (3, 2), (4,), groups=2, grad=False, why="dout of another dtype")


@group_norm_backward.error_inputs
def _() -> Iterator[ErrorInput]:
    x, kept = np.zeros((2, 4)), np.ones((2, 2))
    text = "group_norm_backward: mean has shape (2, 1), not (2, 2)"
    yield ErrorInput(ShapeError, text, x, x, kept[:, :1], kept, None, groups=2)
    text = "group_norm_backward: dout has shape (2, 2), x (2, 4)"
    yield ErrorInput(ShapeError, text, kept, x, kept, kept, None, groups=2)


@group_norm_backward.workloads
def _() -> Iterator[Workload]:
    for shape, groups, why in LAYERS:
        kept = Input((shape[0], groups), 0.5, 2.0, float32)
        yield Workload((shape, shape, kept, kept, (shape[1],)), (groups,), why, (float32,))


# ---- the public functions -------------------------------------------------------------------------------------------


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, layout: str = "NCHW"
) -> Any:  # fmt: skip
    """`input` with each group of channels of each image normalised: (x - mean) / sqrt(var + eps) * weight + bias.

    `input` (N, C, ...), with ``layout="NHWC"`` (N, ..., C), its C channels in `num_groups` groups; `weight` and `bias`
    (C,), each may be None (Wu & He 2018). The variance is the biased one. Statistics are kept in float32 (float64 for
    float64) whatever the dtype of `input`; under autocast all is computed in float32. Raises ShapeError where shapes do
    not fit and where there is one value a group.

    >>> dl.group_norm(dl.tensor([[1.0, 3.0, 5.0, 9.0]]), 2, eps=0.0)
    tensor([[-1.,  1., -1.,  1.]])
    """
    x, where = operand(input, "group_norm"), choice(layout, ("NCHW", "NHWC"), "group_norm: layout")
    groups = integer(num_groups, "group_norm: num_groups")
    if x.ndim > 1 and groups > 0 and x.size == x.shape[0] * groups and x.shape[channel_axis(x.shape, where)] == groups:
        _one_value("group_norm", x, "a group")
    return called("group_norm", group_norm_forward, x, weight, bias, groups, eps, where)


def _one_value(name: str, x: Any, what: str) -> None:
    if x.size:
        raise ShapeError(f"{name}: x of shape {x.shape} has 1 value {what}; a variance needs 2")


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """`input` with each channel of each image normalised: (x - mean) / sqrt(var + eps) * weight + bias.

    `input` (N, C, ...), with ``layout="NHWC"`` (N, ..., C); the others (C,), each may be None (Ulyanov et al. 2016).
    ``use_input_stats``: mean and variance are those of each image, and running ones move on in place by the means over
    the images, as in `batch_norm`; else they are the running ones. Raises ShapeError where shapes do not fit and where
    there is one value a channel.

    >>> dl.instance_norm(dl.tensor([[[1.0, 3.0], [5.0, 9.0]]]), eps=0.0)
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """
    name = "instance_norm"
    x, own = operand(input, name), boolean(use_input_stats, f"{name}: use_input_stats")
    where = choice(layout, ("NCHW", "NHWC"), f"{name}: layout")
    if not own:
        return called(name, batch_norm, x, running_mean, running_var, weight, bias, False, momentum, eps, None, where)
    if x.ndim < 3:
        raise ShapeError(f"{name}: x has shape {x.shape}; it needs axes behind images and channels")
    channels = x.shape[channel_axis(x.shape, where)]
    if x.size == x.shape[0] * channels:
        _one_value(name, x, "a channel")
    if running_mean is None and running_var is None:
        if not channels:
            return called(name, group_norm_forward, x, weight, bias, 1, eps, where)
        return called(name, group_norm_forward, x, weight, bias, channels, eps, where)
    return called(name, _tracked, x, running_mean, running_var, weight, bias, momentum, eps, where)


def _tracked(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, momentum: float, eps: float, layout: str
) -> Any:  # fmt: skip
    """By batch_norm of one image with N * C channels; running statistics become the means over the images."""
    first = permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1))) if layout == "NHWC" else x
    n, c = first.shape[:2]
    w, b = (None if v is None else reshape(expand(v, (n, c)), (n * c,)) for v in (weight, bias))
    given = [operand(v, "instance_norm") for v in (running_mean, running_var)]
    mean, var = (reshape(expand(v, (n, c)), (n * c,)).clone() for v in given)
    out = batch_norm(reshape(first, (1, n * c, *first.shape[2:])), mean, var, w, b, True, momentum, eps)
    for running, found in ((running_mean, mean), (running_var, var)):
        assign.inplace(running, cast(mean_(reshape(found, (n, c)), 0), running.dtype))
    out = reshape(out, first.shape)
    return permute(out, (0, *range(2, x.ndim), 1)) if layout == "NHWC" else out


def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, layout: str = "NCHW"
) -> Any:  # fmt: skip
    """`input` divided by (k + alpha * mean of squares of `size` neighbouring channels) ** beta (Krizhevsky 2012).

    `input` (N, C, ...), with ``layout="NHWC"`` (N, ..., C). Of channel c the window holds channels c - size // 2 to
    c + (size - 1) // 2; those that there are not count as 0. 16-bit floats are computed in float32. Raises ValueError
    for a size below 1 and ShapeError for less than three axes.

    >>> dl.local_response_norm(dl.ones(1, 2, 1), 2, alpha=6.0, beta=1.0).reshape(-1)
    tensor([0.25     , 0.14285715])
    """
    name = "local_response_norm"
    x, window = operand(input, name), integer(size, f"{name}: size")
    where = choice(layout, ("NCHW", "NHWC"), f"{name}: layout")
    numbers = [number(v, f"{name}: {what}") for v, what in ((alpha, "alpha"), (beta, "beta"), (k, "k"))]
    if window < 1:
        raise ValueError(f"{name}: size is {window}, less than 1")
    check_floating(name, "x", Spec(x.shape, x.dtype))
    if x.ndim < 3:
        raise ShapeError(f"{name}: x has shape {x.shape}; it needs axes behind images and channels")
    return called(name, _by_neighbours, x, window, numbers, channel_axis(x.shape, where))


def _by_neighbours(x: Any, size: int, numbers: Sequence[float], axis: int) -> Any:
    alpha, beta, k = numbers
    wide_x = widened(x)
    widths = [(size // 2, (size - 1) // 2) if d == axis else (0, 0) for d in range(x.ndim)]
    windows = unfold(pad(square(wide_x), widths), axis, size, 1)
    below = pow(add(mul(mean_(windows, windows.ndim - 1), alpha), k), beta)
    out = div(wide_x, below)
    return out if out.dtype is x.dtype else cast(out, x.dtype)
