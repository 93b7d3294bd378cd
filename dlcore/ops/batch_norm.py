"""Batch normalisation: by the statistics of a batch, which move running ones on, or by those that were kept.

Three rows: training (statistics of the batch, its mean and 1 / standard deviation kept in float32 or wider for the
gradient, running statistics written in the same step), inference, and the gradient of the former. Axes: (N, C, ...), or
(N, ..., C) with layout "NHWC".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import boolean, called, choice, operand
from dlcore.dtypes import DType, float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, ErrorInput, Input, OutputMask, Sample, Spec, Workload
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
    other_axes,
    wide,
    widened,
)
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import add, cast, eq, logical_and, mul, rsqrt, sub, where
from dlcore.ops.movement import reshape
from dlcore.ops.reduce import all as all_
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.slicing import assign
from dlcore.ops.statistics import var_mean

__all__ = ["batch_norm"]

POSITIVE = Domain(0.5, 2.0)
LAYERS = (((64, 16, 32, 32), "ResNet-20, first layers"), ((128, 64, 16, 16), "64 channels of 16 x 16"),
          ((64, 512), "features"))  # fmt: skip
_MOVED = "(x if layout == 'NCHW' else x.movedim(-1, 1))"
_BACK = "(lambda y: y if layout == 'NCHW' else y.movedim(1, -1))"


def _values_each(x: Spec, channels: int) -> int:
    """How many values a channel has."""
    return math.prod(x.shape) // channels if channels else 0


# ---- training -------------------------------------------------------------------------------------------------------


def _planes(x: Spec, layout: str) -> bool:
    return layout == "NCHW" and len(x.shape) > 2


@norm(
    kernels={"cuda": [("norm.channels:batch_norm_training", _planes)]}, extras="mean rstd", writes="running", ulp=6,
    promote=lambda specs: [*common(specs[:3], 2), *(s and s.dtype for s in specs[3:])],
    params=lambda momentum, eps, layout: (-1.0 if momentum is None else momentum, eps, int(layout == "NHWC")),
    cost=lambda x, weight, bias, running: (8.0 * math.prod(x.shape), bytes_of(x, x, weight, bias, *running, *running)),
    baselines={
        "torch": f"{_BACK}(F.batch_norm({_MOVED}, *(running[:2] or (None, None)), weight, bias, True, momentum, eps))",
        "jax": (
            "axis = 1 if layout == 'NCHW' else -1\naxes = tuple(d for d in range(x.ndim) if d != axis % x.ndim)\n"
            "form = [n if d == axis % x.ndim else 1 for d, n in enumerate(x.shape)]",
            "(x - jnp.mean(x, axes, keepdims=True)) * jax.lax.rsqrt(jnp.var(x, axes, keepdims=True) + eps)"
            " * weight.reshape(form) + bias.reshape(form)",
        ),
    },
)  # fmt: skip
def batch_norm_training(
    x: Spec, weight: Spec | None, bias: Spec | None, running: list[Spec], momentum: float | None = 0.1,
    eps: float = 1e-5, layout: Layout = "NCHW",
) -> Sequence[Spec]:  # fmt: skip
    """`x` normalised by mean and variance of each channel: (x - mean) / sqrt(var + eps) * weight + bias.

    `running`: nothing, or running mean and variance (floats, one a channel), and behind them the number of batches
    (int64, 0-d): they are moved on in place, kept = (1 - momentum) kept + momentum found, the variance found being the
    unbiased one; with momentum None by the mean of all batches. A batch with a mean or variance that is not finite
    leaves them all as they were. Statistics are accumulated in float32 within blocks and in float64 beyond.
    """
    channels = check_channels("batch_norm_training", x, layout, weight=weight, bias=bias)
    check_eps("batch_norm_training", eps)
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
    x: Any, weight: Any, bias: Any, running: list[Any], momentum: float | None, eps: float, layout: str
) -> Any:  # fmt: skip
    rest, mean, var = centred(x, other_axes(x.ndim, layout))
    out = _affine(mul(rest, rsqrt(add(var, eps))), weight, bias, x, layout)
    if running and mean.size:
        n = x.size // mean.size
        found = [reshape(v.detach(), (v.size,)) for v in (mean, var)]
        _move_on(running, found[0], mul(found[1], n / (n - 1)), momentum)
    return out


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


@batch_norm_training.gradient("x", "weight", "bias")
def _(
    dout: Any, x: Any, weight: Any, mean: Any, rstd: Any, eps: float, layout: str,
    needs_input_grad: tuple[bool, bool, bool], create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:  # as functions of x, for a second gradient to go through
        mean, _, rstd = _statistics(x, eps, layout)
    return batch_norm_backward(dout, x, mean, rstd, weight, layout, needs_input_grad)


@batch_norm_training.reference
def _(
    x: Any, weight: Any, bias: Any, running: list[Any], momentum: float | None, eps: float, layout: str
) -> list[Any]:  # fmt: skip
    axis = x.ndim - 1 if layout == "NHWC" else 1
    axes = tuple(d for d in range(x.ndim) if d != axis)
    form = [n if d == axis else 1 for d, n in enumerate(x.shape)]
    mean, (rest, var) = numpy_mean(x, axes), numpy_centred(x, axes)
    out = rest / np.sqrt(var + eps)
    out = out * (1 if weight is None else weight.reshape(form)) + (0 if bias is None else bias.reshape(form))
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
    x: Any, weight: Any, bias: Any, running: list[Any], momentum: float | None, eps: float, layout: str
) -> list[Any]:  # fmt: skip
    axes = other_axes(x.ndim, layout)
    form = along_axis(x.shape, layout)
    mean, (_, var) = numpy_mean(x, axes), numpy_centred(x, axes)
    size = numpy_size(x, axes, eps) * (1 if weight is None else np.abs(weight).reshape(form))
    size = size + (0 if bias is None else np.abs(bias).reshape(form))
    if not running:
        return [size]
    spread = np.sqrt(var).ravel()
    kept = [np.abs(running[0]) + np.abs(mean.ravel()) + spread, running[1] + 2 * var.ravel(), 0]
    return [*kept[: len(running)], size]


def _far(rng: np.random.Generator, shape: tuple[int, ...] = (4, 3, 50)) -> Any:
    """Values whose mean is a thousand times their spread."""
    return rng.standard_normal(shape) + 4096.0


def _kept(channels: int, count: int | None = 3) -> list[Any]:
    """Running statistics, and how many batches there were."""
    found: list[Any] = [Input((channels,)), Input((channels,), 0.5, 2.0)]
    return found if count is None else [*found, np.array(count)]


@batch_norm_training.samples
def _() -> Iterator[Sample]:
    image, vector = (4, 3, 5, 7), (3,)
    yield Sample(image, vector, vector, [], why="images")
    yield Sample((6, 70), None, None, [], why="features alone")
    yield Sample((3, 4, 5, 2), (2,), None, [], layout="NHWC", eps=0.1, why="channels last, no bias")
    yield Sample(image, vector, vector, _kept(3), grad=False, why="running statistics")
    yield Sample((2, 9, 6), None, (9,), _kept(9, 0), momentum=None, grad=False, why="mean of all batches, the first")
    yield Sample((70, 5), (5,), (5,), _kept(5, 7), momentum=None, grad=False, why="mean of all batches, features")
    yield Sample((5, 4, 300), None, None, _kept(300, None), layout="NHWC", grad=False, why="many channels last")
    yield Sample(Input((4, 3, 50), draw=_far), None, None, _kept(3), grad=False, why="far from 0")
    yield Sample(Input((40, 6), draw=partial(_far, shape=(40, 6))), None, None, [], grad=False, why="far, features")
    bad = np.array([[1.0, np.inf, 2.0], [0.5, 1.0, np.nan], [0.25, 3.0, 1.0]])
    yield Sample(bad, None, None, _kept(3), grad=False, why="NaN and infinity: nothing is kept")
    yield Sample((2, 2, 70, 70), (2,), (2,), [], grad=False, why="planes of several blocks")
    yield Sample((4, 0, 3), np.zeros(0), None, [], why="no channels")


@batch_norm_training.error_inputs
def _() -> Iterator[ErrorInput]:
    x, v, name = np.zeros((2, 3, 4)), np.zeros(3), "batch_norm_training"
    text = f"{name}: x has shape (3,), without an axis of channels"
    yield ErrorInput(ShapeError, text, v, None, None, [])
    text = f"{name}: x of shape (1, 3) has 1 value a channel; a variance needs 2"
    yield ErrorInput(ShapeError, text, np.zeros((1, 3)), None, None, [])
    text = f"{name}: x of shape (0, 3, 4) has 0 values a channel; a variance needs 2"
    yield ErrorInput(ShapeError, text, np.zeros((0, 3, 4)), None, None, [])
    text = f"{name}: weight has shape (3,), not (4,), for x of shape (2, 3, 4)"
    yield ErrorInput(ShapeError, text, x, v, None, [], layout="NHWC")
    text = f"{name}: running_var has shape (1,), not (3,), for x of shape (2, 3, 4)"
    yield ErrorInput(ShapeError, text, x, None, None, [v, np.zeros(1)])
    text = f"{name}: running_mean is of dtype int64, not a float"
    yield ErrorInput(DTypeError, text, x, None, None, [np.zeros(3, np.int64), v])
    text = f"{name}: 1 running tensors; there are a mean, a variance and a count"
    yield ErrorInput(ShapeError, text, x, None, None, [v])
    text = f"{name}: num_batches_tracked has shape () and dtype float64, not () and int64"
    yield ErrorInput(DTypeError, text, x, None, None, [v, v, np.array(0.0)])
    text = f"{name}: with momentum None num_batches_tracked is needed"
    yield ErrorInput(ValueError, text, x, None, None, [v, v], momentum=None)
    text = f"{name}: momentum is -0.5, not a number from 0 on or None"
    yield ErrorInput(ValueError, text, x, None, None, [v, v], momentum=-0.5)
    yield ErrorInput(ValueError, f"{name}: eps is -1.0, not a number from 0 on", x, None, None, [], eps=-1.0)


@batch_norm_training.workloads
def _() -> Iterator[Workload]:
    for shape, why in LAYERS:
        vector = (shape[1],)
        yield Workload((shape, vector, vector, _kept(shape[1], None)), (), why)
    yield Workload(((64, 32, 32, 16), (16,), (16,), []), (0.1, 1e-5, "NHWC"), "channels last")


# ---- its gradient ---------------------------------------------------------------------------------------------------


def _backward_dtypes(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    dout, x, _, _, weight = specs
    assert x is not None and dout is not None  # required operands
    return [dout.dtype, x.dtype, wide(x.dtype), wide(x.dtype), weight and weight.dtype]


@norm(
    kernels={"cuda": [("norm.channels:batch_norm_backward", _planes)]}, outputs="dx dweight dbias", ulp=6,
    promote=_backward_dtypes,
    params=lambda layout: (int(layout == "NHWC"),),
    cost=lambda x, weight: (12.0 * math.prod(x.shape), bytes_of(x, x, x, weight, weight, weight)),
    baselines={
        "torch": "torch.ops.aten.native_batch_norm_backward("
        "dout, x, weight, None, None, mean, rstd, True, 1e-5, [True, True, True])"
    },
)  # fmt: skip
def batch_norm_backward(
    dout: Spec, x: Spec, mean: Spec, rstd: Annotated[Spec, POSITIVE], weight: Spec | None, layout: Layout = "NCHW",
    mask: OutputMask = (True, True, True),
) -> Sequence[Spec]:  # fmt: skip
    """Gradients of `batch_norm_training` for x, weight and bias, from the mean and 1 / standard deviation it kept.

    With xhat = (x - mean) rstd and n values a channel: dbias = sum(dout), dweight = sum(dout xhat), dx = weight rstd
    (dout - dbias / n - xhat dweight / n). Sums are in float32 within blocks and in float64 beyond, in fixed order.
    """
    channels = check_channels("batch_norm_backward", x, layout, weight=weight, mean=mean, rstd=rstd)
    if dout.shape != x.shape:
        raise ShapeError(f"batch_norm_backward: dout has shape {dout.shape}, x {x.shape}")
    vector = Spec((channels,), wide(x.dtype) if weight is None else weight.dtype)
    return [Spec(x.shape, x.dtype), vector, vector]


@batch_norm_backward.composite
def _(
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, layout: str, mask: tuple[bool, bool, bool]
) -> tuple[Any, ...]:  # fmt: skip
    place, axes = partial(along, shape=x.shape, layout=layout), other_axes(x.ndim, layout)
    dy = widened(dout)
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
    dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, layout: str
) -> tuple[Any, ...]:  # fmt: skip
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


@batch_norm_backward.samples
def _() -> Iterator[Sample]:
    image, v = (4, 3, 5, 7), (3,)
    yield Sample(image, image, v, v, v, why="images")
    yield Sample((6, 70), (6, 70), (70,), (70,), None, mask=(True, False, True), why="features, no weight")
    yield Sample((3, 4, 5, 2), (3, 4, 5, 2), (2,), (2,), (2,), layout="NHWC", why="channels last")
    yield Sample((2, 300, 3), (2, 300, 3), v, v, v, layout="NHWC", mask=(False, True, True), why="no dx")
    yield Sample((2, 2, 70, 70), (2, 2, 70, 70), (2,), (2,), (2,), grad=False, why="planes of several blocks")
    yield Sample((0, 3, 4), (0, 3, 4), v, v, v, why="empty")


@batch_norm_backward.error_inputs
def _() -> Iterator[ErrorInput]:
    x, v = np.zeros((2, 3)), np.zeros(3)
    text = "batch_norm_backward: dout has shape (2,), x (2, 3)"
    yield ErrorInput(ShapeError, text, np.zeros(2), x, v, v, v)
    text = "batch_norm_backward: mean has shape (2,), not (3,), for x of shape (2, 3)"
    yield ErrorInput(ShapeError, text, x, x, np.zeros(2), v, v)


@batch_norm_backward.workloads
def _() -> Iterator[Workload]:
    for shape, why in LAYERS:
        v = (shape[1],)
        yield Workload((shape, shape, Input(v, dtype=float32), Input(v, 0.5, 2.0, float32), v), (), why, (float32,))


# ---- inference ------------------------------------------------------------------------------------------------------


def _inference_dtypes(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    x, weight, bias = common([specs[0], *specs[3:]], 2)
    return [x, *(s and s.dtype for s in specs[1:3]), weight, bias]


@norm(
    kernels={"cuda": [("norm.channels:batch_norm_inference", _planes)]},
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


@batch_norm_inference.samples
def _() -> Iterator[Sample]:
    v = (3,)
    yield Sample((4, 3, 5, 7), v, v, v, v, why="images")
    yield Sample((5, 6, 3), v, v, None, v, layout="NHWC", eps=0.1, why="channels last")
    yield Sample((6, 300), (300,), (300,), None, None, why="features")
    yield Sample(Input((4, 3, 2), draw=partial(_far, shape=(4, 3, 2))), np.array([4096.0, 4095.0, 4097.0]), v, v, v,
                 grad=False, why="far from 0")  # fmt: skip
    yield Sample(np.array([[np.nan, np.inf, 1.0]]), v, v, v, v, grad=False, why="NaN and infinity")
    yield Sample((0, 3, 4), v, v, v, v, why="no images")


@batch_norm_inference.error_inputs
def _() -> Iterator[ErrorInput]:
    x, v = np.zeros((2, 3)), np.ones(3)
    text = "batch_norm_inference: var has shape (2,), not (3,), for x of shape (2, 3)"
    yield ErrorInput(ShapeError, text, x, v, np.zeros(2), None, None)


@batch_norm_inference.workloads
def _() -> Iterator[Workload]:
    for shape, why in LAYERS:
        v = (shape[1],)
        yield Workload((shape, v, Input(v, 0.5, 2.0), v, v), (), why)


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
        return called("batch_norm", batch_norm_training, x, weight, bias, running, momentum, eps, where_)
    if running_mean is None:
        raise ValueError("batch_norm: running_mean and running_var are needed where training is False")
    return called("batch_norm", batch_norm_inference, x, running_mean, running_var, weight, bias, eps, where_)
