"""Batch normalisation: by the statistics of a batch, which move running ones on, or by those that were kept.

Three rows: training (statistics of the batch, its mean and 1 / standard deviation kept in float32 or wider for the
gradient, running statistics written in the same step), inference, and the gradient of the former. Axes: (N, C, ...), or
(N, ..., C) with layout "NHWC". In a recorded step what follows training, the addition of a residual and a ReLU, becomes
part of its second pass. On a CPU the gradient of that ReLU becomes part of its own gradient, unless a residual needs it
too: 28 bytes an element for 32, and a launch less. The depthwise network's step, two threads of a Zen 4, alternating:
41.0 to 38.5 ms; that of ResNet-20, where half of them have residuals, is as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from dlcore._arguments import boolean, called, choice, operand
from dlcore.dtypes import DType, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Choice, Domain, OutputMask, Spec
from dlcore.ops import _batch_norm_cases as cases
from dlcore.ops._activations import name_of
from dlcore.ops._norms import (
    Layout,
    along,
    along_axis,
    centred,
    check_channels,
    check_eps,
    check_floats,
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
from dlcore.ops.activation import relu, relu_backward
from dlcore.ops.elementwise import add, cast, eq, logical_and, mul, rsqrt, sub, where
from dlcore.ops.movement import reshape
from dlcore.ops.reduce import all as all_
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.slicing import assign
from dlcore.ops.statistics import var_mean

if TYPE_CHECKING:
    from dlcore._commands import Command

__all__ = ["batch_norm"]

Rectifier = Annotated[str | None, Choice(None, "relu")]
"""What the kernels apply to their results: what is bound by memory alone."""
POSITIVE = Domain(0.5, 2.0)
_MOVED = "(x if layout == 'NCHW' else x.movedim(-1, 1))"
_BACK = "(lambda y: y if layout == 'NCHW' else y.movedim(1, -1))"


def _values_each(x: Spec, channels: int) -> int:
    """How many values a channel has."""
    return math.prod(x.shape) // channels if channels else 0


# ---- training -------------------------------------------------------------------------------------------------------


def _training_dtypes(specs: Sequence[Spec | None]) -> list[DType | None]:
    found = common(specs[:3], 2)
    return [*found, specs[3] and found[0], *(s and s.dtype for s in specs[4:])]


def _planes(x: Spec, layout: str) -> bool:
    return layout == "NCHW" and len(x.shape) > 2


_TORCH = (
    "def finish(y, residual):\n    y = y if residual is None else y + residual\n"
    "    return torch.relu_(y) if activation else y",
    f"finish({_BACK}(F.batch_norm({_MOVED}, *(running[:2] or (None, None)), weight, bias, True, momentum, eps)),"
    " residual)",
)
_JAX = (
    "axis = 1 if layout == 'NCHW' else -1\naxes = tuple(d for d in range(x.ndim) if d != axis % x.ndim)\n"
    "form = [n if d == axis % x.ndim else 1 for d, n in enumerate(x.shape)]\n"
    "finish = jax.nn.relu if activation else lambda y: y",
    "finish((x - jnp.mean(x, axes, keepdims=True)) * jax.lax.rsqrt(jnp.var(x, axes, keepdims=True) + eps)"
    " * weight.reshape(form) + bias.reshape(form) + (0 if residual is None else residual))",
)

@norm(
    kernels={"cuda": [("norm.channels:batch_norm_training", _planes)]}, extras="mean rstd", writes="running", ulp=6,
    promote=_training_dtypes,
    params=lambda momentum, eps, layout, activation: (
        -1.0 if momentum is None else momentum, eps, int(layout == "NHWC"), int(activation is not None)),
    cost=lambda x, weight, bias, residual, running: (
        8.0 * math.prod(x.shape), bytes_of(x, x, weight, bias, residual, *running, *running)),
    samples=cases.training_samples, error_inputs=cases.training_errors, workloads=cases.training_workloads,
    baselines={"torch": _TORCH, "jax": _JAX},
)  # fmt: skip
def batch_norm_training(
    x: Spec, weight: Spec | None, bias: Spec | None, residual: Spec | None, running: list[Spec],
    momentum: float | None = 0.1, eps: float = 1e-5, layout: Layout = "NCHW", activation: Rectifier = None,
) -> Sequence[Spec]:  # fmt: skip
    """`x` normalised by mean and variance of each channel: (x - mean) / sqrt(var + eps) * weight + bias.

    `residual`, of the shape of `x`, is added to that, and `activation` "relu" applied to the sum: the same bits as the
    separate operations.
    `running`: nothing, or running mean and variance (floats, one a channel), and behind them the number of batches
    (int64, 0-d): they are moved on in place, kept = (1 - momentum) kept + momentum found, the variance found being the
    unbiased one; with momentum None by the mean of all batches. A batch with a mean or variance that is not finite
    leaves them all as they were. Statistics are accumulated in float32 within blocks and in float64 beyond.
    """
    channels = check_channels("batch_norm_training", x, layout, weight=weight, bias=bias)
    check_eps("batch_norm_training", eps)
    if residual is not None and residual.shape != x.shape:
        raise ShapeError(f"batch_norm_training: residual has shape {residual.shape}, not that of x, {x.shape}")
    if math.prod(x.shape[d] for d in other_axes(len(x.shape), layout)) < 2:
        values = math.prod(x.shape[d] for d in other_axes(len(x.shape), layout))
        raise ShapeError(
            f"batch_norm_training: x of shape {x.shape} has {values} value{'s' * (values != 1)} a channel; a variance "
            "needs 2"
        )
    _check_running(x, layout, running, momentum)
    kept = Spec((channels,), wide(x.dtype))
    return [Spec(x.shape, x.dtype), kept, kept]


def _check_running(x: Spec, layout: str, running: Sequence[Spec], momentum: float | None) -> None:
    name = "batch_norm_training"
    if momentum is not None and not (math.isfinite(momentum) and momentum >= 0):
        raise ValueError(f"{name}: momentum is {momentum}, not a number from 0 on or None")
    if not running:
        return
    if len(running) not in (2, 3):
        raise ShapeError(f"{name}: {len(running)} running tensors; there are a mean, a variance and a count")
    mean, var, *count = running
    check_channels(name, x, layout, running_mean=mean, running_var=var)
    check_floats(name, running_mean=mean, running_var=var)
    if count and (count[0].shape != () or count[0].dtype is not int64):
        found = f"shape {count[0].shape} and dtype {count[0].dtype.name}"
        raise DTypeError(f"{name}: num_batches_tracked has {found}, not () and int64")
    if momentum is None and not count:
        raise ValueError(f"{name}: with momentum None num_batches_tracked is needed")


def _statistics(x: Any, eps: float, layout: str) -> tuple[Any, Any, Any]:
    """Mean, variance and 1 / standard deviation of each channel, as functions of x."""
    var, mean = var_mean(widened(x), other_axes(x.ndim, layout))
    return mean, var, rsqrt(add(var, eps))


def _normalised(x: Any, mean: Any, rstd: Any, weight: Any, bias: Any, layout: str) -> Any:
    """(x - mean) * rstd * weight + bias, in the dtype of x."""
    place = partial(along, shape=x.shape, layout=layout)
    return _affine(mul(sub(widened(x), place(mean)), place(rstd)), weight, bias, x, layout)


def _affine(xhat: Any, weight: Any, bias: Any, x: Any, layout: str) -> Any:
    """xhat * weight + bias, in the dtype of x."""
    out = xhat if weight is None else mul(xhat, along(widened(weight), x.shape, layout))
    out = out if bias is None else add(out, along(widened(bias), x.shape, layout))
    return out if out.dtype is x.dtype else cast(out, x.dtype)


@batch_norm_training.composite
def _(
    x: Any, weight: Any, bias: Any, residual: Any, running: list[Any], momentum: float | None, eps: float, layout: str,
    activation: str | None,
) -> Any:  # fmt: skip
    rest, mean, var = centred(x, other_axes(x.ndim, layout))
    out = _affine(mul(rest, rsqrt(add(var, eps))), weight, bias, x, layout)
    if running and mean.size:
        n = x.size // mean.size
        found = [reshape(v.detach(), (v.size,)) for v in (mean, var)]
        _move_on(running, found[0], mul(found[1], n / (n - 1)), momentum)
    out = out if residual is None else add(out, residual)
    return relu(out) if activation else out


@batch_norm_training.merge
def _(first: Command, second: Command) -> Command | None:
    """Batch normalisation, then the addition of a residual or a ReLU: both in one, in this order."""
    if first.op is not batch_norm_training.op or first.attrs[-1] is not None:
        return None
    made, outputs = first.outputs[0], (second.outputs[0], *first.outputs[1:])
    if name_of(second) == "relu":
        return first._replace(attrs=(*first.attrs[:-1], "relu"), outputs=outputs)
    if second.op is not add.op or first.inputs[3] is not None or made is None:
        return None
    others = [a for a in second.inputs if a is not None and a.region != made.region]
    if len(others) != 1 or (others[0].shape, others[0].dtype) != (made.shape, made.dtype):
        return None
    return first._replace(inputs=(*first.inputs[:3], others[0], *first.inputs[4:]), outputs=outputs)


@batch_norm_training.residuals
def _(momentum: float | None, eps: float, layout: str, activation: str | None) -> tuple[str, ...]:
    return ("x", "weight", "mean", "rstd", *(["out"] if activation else []))


def _move_on(running: list[Any], mean: Any, var: Any, momentum: float | None) -> None:
    """Running statistics after a batch with these, unless one of them is not finite."""
    finite = logical_and(all_(eq(sub(mean, mean), 0)), all_(eq(sub(var, var), 0)))
    share: Any = momentum
    if len(running) > 2:
        assign.inplace(running[2], add(running[2], cast(finite, int64)))
        if momentum is None:
            share = cast(running[2], mean.dtype).reciprocal()
    for kept, found in zip(running[:2], (mean, var), strict=True):
        before = cast(kept, found.dtype)
        rest = 1 - share if momentum is not None else sub(1, share)
        after = add(mul(before, rest), mul(found, share))
        assign.inplace(kept, cast(where(finite, after, before), kept.dtype))


@batch_norm_training.gradient("x", "weight", "bias", "residual")
def _(
    dout: Any, x: Any, weight: Any, mean: Any, rstd: Any, out: Any, eps: float, layout: str, activation: str | None,
    needs_input_grad: tuple[bool, bool, bool, bool], create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:  # as functions of x, for a second gradient to go through
        mean, _, rstd = _statistics(x, eps, layout)
    *own, to_residual = needs_input_grad
    if to_residual and activation:  # which takes the gradient before the ReLU
        dout, out, activation = relu_backward(dout, out), None, None
    found = batch_norm_backward(dout, x, mean, rstd, weight, out, layout, activation, own) if any(own) else (None,) * 3
    return (*found, dout if to_residual else None)


@batch_norm_training.reference
def _(
    x: Any, weight: Any, bias: Any, residual: Any, running: list[Any], momentum: float | None, eps: float, layout: str,
    activation: str | None,
) -> list[Any]:  # fmt: skip
    axis = x.ndim - 1 if layout == "NHWC" else 1
    axes = tuple(d for d in range(x.ndim) if d != axis)
    form = [n if d == axis else 1 for d, n in enumerate(x.shape)]
    mean, (rest, var) = numpy_mean(x, axes), numpy_centred(x, axes)
    out = rest / np.sqrt(var + eps)
    out = out * (1 if weight is None else weight.reshape(form)) + (0 if bias is None else bias.reshape(form))
    out = out + (0 if residual is None else residual)
    out = np.where(out <= 0, 0.0, out) if activation else out
    if not running:
        return [out]
    n, kept = x.size // max(mean.size, 1), list(running)
    if np.isfinite(mean).all() and np.isfinite(var).all():
        kept[2:] = [count + 1 for count in kept[2:]]
        share = 1 / int(kept[2]) if momentum is None else momentum
        kept[0] = (1 - share) * kept[0] + share * mean.ravel()
        kept[1] = (1 - share) * kept[1] + share * (var.ravel() * (n / (n - 1)))
    return [*kept, out]


@batch_norm_training.magnitude
def _(
    x: Any, weight: Any, bias: Any, residual: Any, running: list[Any], eps: float, layout: str
) -> list[Any]:  # fmt: skip
    axes = other_axes(x.ndim, layout)
    form = along_axis(x.shape, layout)
    mean, (_, var) = numpy_mean(x, axes), numpy_centred(x, axes)
    size = numpy_size(x, axes, eps) * (1 if weight is None else np.abs(weight).reshape(form))
    size = size + (0 if bias is None else np.abs(bias).reshape(form)) + (0 if residual is None else np.abs(residual))
    if not running:
        return [size]
    spread = np.sqrt(var).ravel()
    kept = [np.abs(running[0]) + np.abs(mean.ravel()) + spread, running[1] + 2 * var.ravel(), 0]
    return [*kept[: len(running)], size]


# ---- its gradient ---------------------------------------------------------------------------------------------------


def _backward_dtypes(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    *others, saved = specs
    found = of_gradient(others)
    return [*found, saved and found[0]]


def _plain_planes(x: Spec, layout: str, activation: str | None) -> bool:
    return _planes(x, layout) and activation is None


@norm(
    kernels={"cuda": [("norm.channels:batch_norm_backward", _plain_planes)]}, outputs="dx dweight dbias",
    ulp=6, promote=_backward_dtypes,
    params=lambda layout, activation: (int(layout == "NHWC"), int(activation is not None)),
    cost=lambda x, weight, saved: (12.0 * math.prod(x.shape), bytes_of(x, x, x, weight, weight, weight, saved)),
    samples=cases.backward_samples, error_inputs=cases.backward_errors, workloads=cases.backward_workloads,
    baselines={
        "torch": "torch.ops.aten.native_batch_norm_backward("
        "dout if saved is None else torch.ops.aten.threshold_backward(dout, saved, 0), x, weight, None, None, mean,"
        " rstd, True, 1e-5, [True, True, True])"
    },
)  # fmt: skip
def batch_norm_backward(
    dout: Spec, x: Spec, mean: Spec, rstd: Annotated[Spec, POSITIVE], weight: Spec | None, saved: Spec | None = None,
    layout: Layout = "NCHW", activation: Rectifier = None, mask: OutputMask = (True, True, True),
) -> Sequence[Spec]:  # fmt: skip
    """Gradients of `batch_norm_training` for x, weight and bias, from the mean and 1 / standard deviation it kept.

    With xhat = (x - mean) rstd and n values a channel: dbias = sum(dout), dweight = sum(dout xhat), dx = weight rstd
    (dout - dbias / n - xhat dweight / n). Sums are in float32 within blocks and in float64 beyond, in fixed order. With
    `activation` "relu", whose result is `saved`, dout is 0 where `saved` is not above 0.
    """
    channels = check_channels("batch_norm_backward", x, layout, weight=weight, mean=mean, rstd=rstd)
    if dout.shape != x.shape:
        raise ShapeError(f"batch_norm_backward: dout has shape {dout.shape}, x {x.shape}")
    if (activation is not None) != (saved is not None) or (saved is not None and saved.shape != dout.shape):
        given = None if saved is None else saved.shape
        raise ShapeError(
            f"batch_norm_backward: saved {given} does not fit dout {dout.shape} and activation {activation!r}"
        )
    vector = Spec((channels,), wide(x.dtype) if weight is None else weight.dtype)
    return [Spec(x.shape, x.dtype), vector, vector]


@batch_norm_backward.merge
def _(first: Command, second: Command) -> Command | None:
    """The gradient of a ReLU, then that of the batch normalisation before it."""
    if first.op is not relu_backward.op or second.op is not batch_norm_backward.op or second.inputs[5] is not None:
        return None
    made, (dout, out) = first.outputs[0], first.inputs
    if made is None or second.inputs[0] is None or not second.inputs[0].same_elements(made):
        return None
    attrs = (*second.attrs[:1], "relu", *second.attrs[2:])
    return second._replace(inputs=(dout, *second.inputs[1:5], out), attrs=attrs)


@batch_norm_backward.composite
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, saved: Any, layout: str, activation: str | None,
    mask: tuple[bool, bool, bool],
) -> tuple[Any, ...]:  # fmt: skip
    place, axes = partial(along, shape=x.shape, layout=layout), other_axes(x.ndim, layout)
    dy = widened(relu_backward(dout, saved) if activation else dout)
    xhat = mul(sub(widened(x), place(mean)), place(rstd))
    dbias, dweight = sum_(dy, axes), sum_(mul(dy, xhat), axes)
    scale = rstd if weight is None else mul(rstd, widened(weight))
    share = mean.size / max(x.size, 1)
    rest = add(place(mul(dbias, share)), mul(xhat, place(mul(dweight, share))))
    found = cast(mul(sub(dy, rest), place(scale)), x.dtype), dweight, dbias
    to = dbias.dtype if weight is None else weight.dtype
    return tuple(
        None if not wanted else g if k == 0 or g.dtype is to else cast(g, to)
        for k, (g, wanted) in enumerate(zip(found, mask, strict=True))
    )


@batch_norm_backward.reference
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, saved: Any, layout: str
) -> tuple[Any, ...]:  # fmt: skip
    dout = dout if saved is None else np.where(saved <= 0, 0.0, dout)
    axis = x.ndim - 1 if layout == "NHWC" else 1
    axes = tuple(d for d in range(x.ndim) if d != axis)
    form = [n if d == axis else 1 for d, n in enumerate(x.shape)]
    xhat = (x - mean.reshape(form)) * rstd.reshape(form)
    dbias, dweight = dout.sum(axes), (dout * xhat).sum(axes)
    n = max(x.size // max(len(mean), 1), 1)
    scale = rstd if weight is None else rstd * weight
    rest = (dbias.reshape(form) + xhat * dweight.reshape(form)) / n
    return scale.reshape(form) * (dout - rest), dweight, dbias


@batch_norm_backward.magnitude
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, layout: str
) -> tuple[Any, ...]:  # fmt: skip
    axes, form = other_axes(x.ndim, layout), along_axis(x.shape, layout)
    xhat = (np.abs(x) + np.abs(mean.reshape(form))) * rstd.reshape(form)
    dbias, dweight = np.abs(dout).sum(axes), (np.abs(dout) * xhat).sum(axes)
    n = max(x.size // max(len(mean), 1), 1)
    scale = rstd if weight is None else rstd * np.abs(weight)
    rest = (dbias.reshape(form) + xhat * dweight.reshape(form)) / n
    return scale.reshape(form) * (np.abs(dout) + rest), dweight, dbias


# ---- inference ------------------------------------------------------------------------------------------------------


def _inference_dtypes(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    x, weight, bias = common([specs[0], *specs[3:]], 2)
    return [x, *(s and s.dtype for s in specs[1:3]), weight, bias]


@norm(
    kernels={"cuda": [("norm.channels:batch_norm_inference", _planes)]},
    samples=cases.inference_samples, error_inputs=cases.inference_errors, workloads=cases.inference_workloads,
    promote=_inference_dtypes, ulp=6, params=lambda eps, layout: (eps, int(layout == "NHWC")),
    cost=lambda x, mean, var, weight, bias: (3.0 * math.prod(x.shape), bytes_of(x, x, mean, var, weight, bias)),
    baselines={"torch": f"{_BACK}(F.batch_norm({_MOVED}, mean, var, weight, bias, False, 0.1, eps))"},
)  # fmt: skip
def batch_norm_inference(
    x: Spec, mean: Spec, var: Annotated[Spec, POSITIVE], weight: Spec | None, bias: Spec | None, eps: float = 1e-5,
    layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """`x` normalised by mean and variance given for each channel: (x - mean) / sqrt(var + eps) * weight + bias.

    One pass: scale and shift of each channel are found first. On a CPU means that are not finite and variances that
    are not, or negative, raise ValueError; on a GPU they give NaN.
    """
    check_channels("batch_norm_inference", x, layout, mean=mean, var=var, weight=weight, bias=bias)
    check_eps("batch_norm_inference", eps)
    check_floats("batch_norm_inference", mean=mean, var=var)
    return Spec(x.shape, x.dtype)


@batch_norm_inference.composite
def _(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, layout: str) -> Any:
    rstd = rsqrt(add(cast(var, wide(x.dtype)), eps))
    return _normalised(x, cast(mean, rstd.dtype), rstd, weight, bias, layout)


@batch_norm_inference.reference
def _(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, layout: str) -> Any:
    axis = x.ndim - 1 if layout == "NHWC" else 1
    form = [n if d == axis else 1 for d, n in enumerate(x.shape)]
    out = (x - mean.reshape(form)) / np.sqrt(var + eps).reshape(form)
    return out * (1 if weight is None else weight.reshape(form)) + (0 if bias is None else bias.reshape(form))


@batch_norm_inference.magnitude
def _(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, layout: str) -> Any:
    form = along_axis(x.shape, layout)
    size = (np.abs(x - mean.reshape(form)) + np.abs(mean.reshape(form))) / np.sqrt(var + eps).reshape(form)
    size = size * (1 if weight is None else np.abs(weight).reshape(form))
    return size + (0 if bias is None else np.abs(bias).reshape(form))


# ---- the public function --------------------------------------------------------------------------------------------


def batch_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float | None = 0.1, eps: float = 1e-5, num_batches_tracked: Any = None,
    layout: str = "NCHW",
) -> Any:  # fmt: skip
    """`input` with each channel normalised: (x - mean) / sqrt(var + eps) * weight + bias (Ioffe & Szegedy 2015).

    `input` (N, C) or (N, C, ...), with ``layout="NHWC"`` (N, ..., C); the others (C,), each may be None. ``training``:
    mean and variance are those of the batch, and the running ones move on in place: kept = (1 - momentum) kept +
    momentum found, the variance found being the unbiased one. ``num_batches_tracked`` (int64, 0-d) counts them; with
    ``momentum=None`` the running statistics are the means of all batches. A batch whose statistics are not finite
    leaves them as they were. Else mean and variance are the running ones. Statistics are kept in float32 (float64 for
    float64) whatever the dtype of `input`. Raises ShapeError for shapes that do not fit, and for one value a channel in
    training.

    >>> dl.batch_norm(dl.tensor([[1.0, 5.0], [3.0, 9.0]]), training=True, eps=0.0)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """
    x, train = operand(input, "batch_norm"), boolean(training, "batch_norm: training")
    where_ = choice(layout, ("NCHW", "NHWC"), "batch_norm: layout")
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: running_mean and running_var belong together: one of them is None")
    if train:
        running = [] if running_mean is None else [running_mean, running_var]
        running += [num_batches_tracked] if running and num_batches_tracked is not None else []
        return called("batch_norm", batch_norm_training, x, weight, bias, None, running, momentum, eps, where_)
    if running_mean is None:
        raise ValueError("batch_norm: running_mean and running_var are needed where training is False")
    return called("batch_norm", batch_norm_inference, x, running_mean, running_var, weight, bias, eps, where_)
