"""Losses whose gradient is computed in the same pass: cross_entropy, mse_loss.

While the input is in cache its gradient costs no further trip to memory, so the kernel writes it, already scaled for
the reduction, whenever one is wanted; backward then has nothing to do when the loss itself is the root.
`reduction`: "mean", "sum", or "none" for one loss for each position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DType, bool_, float32, int64
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.op import Op, Operand, Sample, Size, Spec, Wrong, floating
from dlcore.ops._sizes import MILLION, MODELS, RAGGED, on_gpu, pointwise
from dlcore.ops.elementwise import add, cast, div, eq, mul, ne, neg, sub
from dlcore.ops.movement import reshape, unsqueeze
from dlcore.ops.reduce import mean, sum
from dlcore.ops.softmax import log_softmax, softmax

__all__ = ["cross_entropy", "mse_loss"]

REDUCTIONS = ("none", "mean", "sum")  # enum Reduction in csrc/loss/loss.inl
Shape = tuple[int, ...]


def _check_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction {reduction!r} is not one of 'none', 'mean', 'sum'")


def _reduce(loss: Any, reduction: str) -> Any:
    return loss if reduction == "none" else mean(loss) if reduction == "mean" else sum(loss)


# ---- scale_inplace --------------------------------------------------------------------------------------------------


def _scale_infer(x: Spec, factor: Spec) -> tuple[Spec, ...]:
    if factor.shape != () or factor.dtype is not x.dtype:
        raise ShapeError(
            f"scale_inplace: factor has shape {factor.shape} and dtype {factor.dtype.name}, not () and {x.dtype.name}"
        )
    return ()


SCALE_INPLACE = Op(
    name="scale_inplace",
    doc="""Multiplies `x` in place by `factor`, a 0-d tensor of its dtype; memory is not touched when that is 1.""",
    inputs="x factor",
    outputs="",
    infer=_scale_infer,
    promote=None,
    kernels={"cpu": "loss:scale", "cuda": "loss.scale:scale"},
    writes=("x",),
    sizes=(
        Size((MILLION, Operand((), -1.0, -1.0)), why="1M"),  # 1 would be skipped, other numbers end in denormals
        Size((RAGGED, Operand((), -1.0, -1.0)), why="ragged"),
    ),
    peers={"torch": "x.mul_(factor)", "numpy": "np.multiply(x, factor, out=x)"},
    ref=lambda x, factor: x * factor,
    samples=lambda rng: [
        Sample((rng.standard_normal((33, 65)), np.array(0.3)), (), "unaligned", grad=False),
        Sample((rng.standard_normal((3, 5)), np.array(1.0)), (), "factor 1", grad=False),
        Sample((rng.standard_normal((0, 5)), np.array(2.0)), (), "empty", grad=False),
    ],
    errors=lambda: [
        Wrong(
            (np.zeros(3), np.zeros(3)),
            (),
            ShapeError,
            "scale_inplace: factor has shape (3,) and dtype float64, not () and float64",
        ),
    ],
    cost=lambda x, factor: (float(math.prod(x.shape)), 2.0 * math.prod(x.shape) * x.dtype.itemsize),
)
scale_inplace = SCALE_INPLACE.call


def _scaled(ctx: Any, gradient: Any, dout: Any) -> Any:
    """gradient * dout; in the gradient's own memory where nobody will ask for it again."""
    if ctx.retain or dout.shape:
        return mul(gradient, dout)
    scale_inplace(gradient, dout)
    return gradient


# ---- cross_entropy --------------------------------------------------------------------------------------------------


def _axis(shape: Shape) -> int:
    return 0 if len(shape) == 1 else 1


def _cross_entropy_promote(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    logits, target, weight = specs
    assert logits is not None and target is not None
    common = floating([logits, target if target.dtype.is_float else None, weight])[0]
    return common, common if target.dtype.is_float else target.dtype, None if weight is None else common


def _cross_entropy_infer(
    logits: Spec, target: Spec, weight: Spec | None, ignore_index: int, label_smoothing: float, reduction: str
) -> tuple[Spec, Spec]:
    if not logits.shape:
        raise ShapeError("cross_entropy: logits need an axis of classes, shape () has none")
    if target.dtype is bool_:
        raise DTypeError("cross_entropy: target holds class indices (integers) or probabilities (floats), not bool")
    axis = _axis(logits.shape)
    positions = logits.shape[:axis] + logits.shape[axis + 1 :]
    expected = logits.shape if target.dtype.is_float else positions
    if target.shape != expected:
        what = "probabilities" if target.dtype.is_float else "class indices"
        raise ShapeError(
            f"cross_entropy: target of {what} has shape {target.shape}, logits {logits.shape}: expected {expected}"
        )
    if weight is not None and weight.shape != (logits.shape[axis],):
        raise ShapeError(
            f"cross_entropy: weight has shape {weight.shape}, expected ({logits.shape[axis]},): one for each class"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing} is not between 0 and 1")
    _check_reduction("cross_entropy", reduction)
    return Spec(positions if reduction == "none" else (), logits.dtype), Spec(logits.shape, logits.dtype)


def _class_shape(shape: Shape) -> Shape:
    """The shape in which one number for each class broadcasts against the logits."""
    return tuple(n if d == _axis(shape) else 1 for d, n in enumerate(shape))


def _cross_entropy_of_probabilities(
    logits: Any, target: Any, weight: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:
    axis = _axis(logits.shape)
    if label_smoothing:
        target = add(mul(target, 1 - label_smoothing), label_smoothing / logits.shape[axis])
    terms = mul(target, log_softmax(logits, axis))
    if weight is not None:
        terms = mul(terms, reshape(weight, _class_shape(logits.shape)))
    return _reduce(neg(sum(terms, axis)), reduction)


def _cross_entropy_gradient(ctx: Any, dout: Any) -> Any:
    """dlogits by simpler rows, so that it can be differentiated: p times one number for each position, less others."""
    logits, target, weight, _ = ctx.saved
    ignore_index, smoothing, reduction = ctx.attrs
    shape, dtype, axis = logits.shape, logits.dtype, _axis(logits.shape)
    labels = cast(unsqueeze(target, axis), int64)  # which holds ignore_index too
    counted = cast(ne(labels, ignore_index), dtype)
    chosen = mul(cast(eq(labels, np.arange(shape[axis]).reshape(_class_shape(shape))), dtype), counted)
    weights = reshape(weight.detach(), _class_shape(shape)) if weight is not None else None
    hard = chosen if weights is None else mul(chosen, weights)
    own = sum(hard, axis, True)
    total = own
    if smoothing:
        soft = mul(counted, smoothing / shape[axis])
        soft = soft if weights is None else mul(soft, weights)
        hard = add(mul(hard, 1 - smoothing), soft)
        total = sum(hard, axis, True) if weights is not None else counted
    gradient = sub(mul(softmax(logits, axis), total), hard)
    factor = unsqueeze(dout, axis) if reduction == "none" else div(dout, sum(own)) if reduction == "mean" else dout
    return mul(gradient, factor)


def _cross_entropy_vjp(ctx: Any, dout: Any) -> Any:
    if ctx.needs[2]:
        raise AutogradError("cross_entropy: weight has no gradient where the target holds class indices; detach() it")
    if ctx.taped:
        return _cross_entropy_gradient(ctx, dout), None, None
    dlogits = ctx.saved[3]
    return _scaled(ctx, dlogits, dout if ctx.attrs[2] != "none" else unsqueeze(dout, _axis(dlogits.shape))), None, None


def _numpy_log_softmax(logits: Any) -> tuple[Any, Any]:
    """Logarithms of the probabilities, and how far each logit lies below the largest, classes last."""
    logits = np.moveaxis(logits, _axis(logits.shape), -1)
    shifted = logits - logits.max(-1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), -shifted


def _numpy_losses(log_p: Any, target: Any, weight: Any, ignore_index: int, smoothing: float) -> tuple[Any, Any]:
    """The loss of each position, from logarithms (positions, classes), and what the mean divides by."""
    axis, classes = _axis(log_p.shape), log_p.shape[-1]
    w = np.ones(classes) if weight is None else weight
    if target.dtype.kind == "f":
        t = np.moveaxis(target, axis, -1) * (1 - smoothing) + smoothing / classes
        losses = -(t * w * log_p).sum(-1)
        return losses, losses.size
    counted = target != ignore_index
    label = np.where(counted, target, 0)[..., None]
    own = np.where(counted, w[label[..., 0]], 0.0)
    hard = -own * np.take_along_axis(log_p, label, -1)[..., 0]
    soft = np.where(counted, -(w * log_p).sum(-1), 0.0)
    losses = (1 - smoothing) * hard + (smoothing / classes * soft if smoothing else 0)
    return np.where(counted, losses, 0.0), own.sum()


def _numpy_cross_entropy(
    logits: Any, target: Any, weight: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:
    losses, count = _numpy_losses(_numpy_log_softmax(logits)[0], target, weight, ignore_index, label_smoothing)
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.sum() / np.float64(count)


def _cross_entropy_magnitude(
    logits: Any, target: Any, weight: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:
    # Of each term -w t log p, the logarithm is off by the rounding of itself, of a logit and of a sum of about 1.
    log_p, below = _numpy_log_softmax(logits)
    target = np.abs(target) if target.dtype.kind == "f" else target
    weight = None if weight is None else np.abs(weight)
    each, count = _numpy_losses(-(1 + np.abs(log_p) + below), target, weight, ignore_index, label_smoothing)
    return each if reduction == "none" else each.sum() if reduction == "sum" else each.sum() / np.float64(count)


def _cross_entropy_samples(rng: np.random.Generator) -> Iterator[Sample]:
    def logits(*shape: int) -> Any:
        return 2 * rng.standard_normal(shape)

    x, t = logits(33, 65), rng.integers(0, 65, 33)
    w = rng.random(65).astype(np.float32)  # float32 in every dtype: no gradient goes to it
    some = np.where(np.arange(33) % 3 == 0, -100, t)
    yield Sample((x, t, None), (-100, 0.0, "mean"), "rows, unaligned")
    yield Sample((x, t.astype(np.uint8), w), (-100, 0.0, "mean"), "weights, labels of one byte")
    yield Sample((x, some, w), (-100, 0.1, "mean"), "weights, ignored labels, smoothing")
    yield Sample((x, some, None), (-100, 0.1, "sum"), "sum, ignored labels, smoothing")
    yield Sample((x, t.astype(np.int32), w), (int(t[0]), 0.2, "none"), "none, a class ignored, int32")
    short, labels = logits(70, 10), rng.integers(0, 10, 70)
    labels[3] = -1
    yield Sample((short, labels, None), (-1, 0.0, "mean"), "short rows, more than one tile")
    yield Sample((short, labels, w[:10]), (-1, 0.3, "none"), "short rows, weights, smoothing")
    yield Sample(
        (logits(2, 40, 5), rng.integers(0, 40, (2, 5)), None), (-100, 0.1, "mean"), "an axis after the classes"
    )
    yield Sample(
        (logits(2, 6, 3, 7), rng.integers(0, 6, (2, 3, 7)), w[:6]), (3, 0.1, "none"), "two axes after the classes"
    )
    yield Sample((logits(5), np.array(3), None), (-100, 0.0, "mean"), "no axis but the classes")
    yield Sample((logits(7, 1), np.zeros(7, np.int64), None), (-100, 0.0, "mean"), "one class")
    yield Sample((logits(0, 5), np.zeros(0, np.int64), None), (-100, 0.0, "sum"), "no rows")
    yield Sample((logits(0, 5), np.zeros(0, np.int64), None), (-100, 0.0, "mean"), "mean of no rows", grad=False)
    yield Sample((logits(3, 5), np.full(3, -100), None), (-100, 0.0, "mean"), "all ignored: NaN", grad=False)
    yield Sample(
        (np.array([[1000.0, -1000.0], [0.0, -np.inf]]), np.array([1, 0]), None),
        (-100, 0.0, "sum"),
        "far apart",
        grad=False,
    )
    yield Sample(
        (np.array([[np.nan, 1.0], [0.0, 1.0]], np.float32), np.array([1, 0]), None),
        (-100, 0.0, "none"),
        "NaN",
        grad=False,
    )
    p = rng.random((9, 11))
    yield Sample((logits(9, 11), p / p.sum(1, keepdims=True), None), (-100, 0.1, "mean"), "probabilities")
    yield Sample((logits(2, 4, 3), rng.random((2, 4, 3)), w[:4]), (-100, 0.0, "none"), "probabilities, weights")
    yield Sample(
        (logits(4096, 1000), rng.integers(0, 1000, 4096), None),
        (-100, 0.0, "mean"),
        "4096 x 1000",
        grad=False,
    )
    yield Sample(
        (logits(64, 32000), rng.integers(0, 32000, 64), None),
        (-100, 0.0, "mean"),
        "rows of a vocabulary",
        grad=False,
    )


def _labelled(rows: int, classes: int) -> tuple[Any, ...]:
    return (rows, classes), Operand((rows,), 0, classes, int64), None


def _cross_entropy_sizes() -> Iterator[Size]:
    for name, model in MODELS.items():
        yield Size(_labelled(model.batch, model.widths[-1]), why=f"the loss of model {name}")
    yield Size(_labelled(*RAGGED), why="ragged")
    yield Size(_labelled(4096, 1000), why="1000 classes", quick="both")
    yield Size(_labelled(2048, 32000), why="a vocabulary", dtypes=(float32,))
    yield from (on_gpu(_labelled(*shape)) for shape in ((8192, 32768), (1024, 131072)))


def _cross_entropy_errors() -> list[Wrong]:
    x, t = np.zeros((4, 3)), np.array([0, 1, 2, 0])
    out_of_range = "cross_entropy: label 7 at position 3 is out of range for 3 classes"
    negative = "cross_entropy: label -1 at position (1, 0) is out of range for 3 classes"
    shape = "cross_entropy: target of class indices has shape (4, 1), logits (4, 3): expected (4,)"
    floats = "cross_entropy: target of probabilities has shape (4,), logits (4, 3): expected (4, 3)"
    weight = "cross_entropy: weight has shape (4,), expected (3,): one for each class"
    kind = "cross_entropy: target holds class indices (integers) or probabilities (floats), not bool"
    smoothing = "cross_entropy: label_smoothing 1.5 is not between 0 and 1"
    reduction = "cross_entropy: reduction 'avg' is not one of 'none', 'mean', 'sum'"
    scalar = "cross_entropy: logits need an axis of classes, shape () has none"
    return [
        Wrong((x, np.array([0, 1, 2, 7]), None), (), IndexError, out_of_range),
        Wrong((np.zeros((2, 3, 2)), np.array([[0, 1], [-1, 0]]), None), (), IndexError, negative),
        Wrong((x, t[:, None], None), (), ShapeError, shape),
        Wrong((x, np.zeros(4), None), (), ShapeError, floats),
        Wrong((x, t, np.ones(4)), (), ShapeError, weight),
        Wrong((x, t > 0, None), (), DTypeError, kind),
        Wrong((x, t, None), (-100, 1.5), ValueError, smoothing),
        Wrong((x, t, None), (-100, 0.0, "avg"), ValueError, reduction),
        Wrong((np.zeros(()), np.array(0), None), (), ShapeError, scalar),
    ]


CROSS_ENTROPY = Op(
    name="cross_entropy",
    doc="""Cross-entropy of a target and the softmax of `logits`: -w[t] log(softmax(logits)[t]).

    `logits`: (N, C), (N, C, d...) or (C,), C classes. `target`: class indices, (N,), (N, d...) or (), of any integer
    dtype; or probabilities, floats in the shape of `logits`. `weight`: (C,), one factor for each class, a constant.
    `ignore_index`: positions with this label count for nothing. `label_smoothing` s in [0, 1]: the target becomes
    (1 - s) of itself and s / C for every class. `reduction`: "mean" (divided by the sum of the weights of the labels
    that count; for probabilities, by N), "sum" or "none". The mean over nothing is NaN.

    Forward and gradient are one pass over the logits, in float32 or wider. Raises IndexError, before anything is
    written, for a label outside 0 .. C - 1; ShapeError, DTypeError, ValueError. Szegedy et al. 2016 (smoothing).""",
    inputs="logits target weight?",
    attrs={"ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"},
    extras="dlogits",
    infer=_cross_entropy_infer,
    promote=_cross_entropy_promote,
    kernels={
        "cpu": [("loss:cross_entropy", lambda logits, target, *_: not target.dtype.is_float)],
        "cuda": [("loss.cross_entropy:cross_entropy", lambda logits, target, *_: not target.dtype.is_float)],
    },
    params=lambda logits, target, weight, ignore, smoothing, reduction: (
        REDUCTIONS.index(reduction),
        ignore,
        float(smoothing),
    ),
    composite=_cross_entropy_of_probabilities,
    saves=("logits", "target", "weight", "dlogits"),
    vjp=_cross_entropy_vjp,
    ref=_numpy_cross_entropy,
    samples=_cross_entropy_samples,
    sizes=tuple(_cross_entropy_sizes()),
    peers={
        "torch": "F.cross_entropy(logits, target, weight, ignore_index=ignore_index, label_smoothing=label_smoothing, "
        "reduction=reduction)",
        "jax": "-jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits, 1), target[:, None], 1))",
    },
    errors=_cross_entropy_errors,
    ulp=4,
    magnitude=_cross_entropy_magnitude,
    cost=lambda logits, *_: (22.0 * math.prod(logits.shape), float(math.prod(logits.shape) * logits.dtype.itemsize)),
    cast="float32",
)
cross_entropy = CROSS_ENTROPY.call


# ---- mse_loss -------------------------------------------------------------------------------------------------------


def _mse_infer(input: Spec, target: Spec, reduction: str) -> tuple[Spec, Spec]:
    if input.shape != target.shape:
        raise ShapeError(f"mse_loss: shapes differ: {input.shape} and {target.shape}")
    _check_reduction("mse_loss", reduction)
    return Spec(input.shape if reduction == "none" else (), input.dtype), Spec(input.shape, input.dtype)


def _mse_vjp(ctx: Any, dout: Any) -> Any:
    input, target, dinput = ctx.saved
    if ctx.taped:
        factor = 2 / max(math.prod(ctx.shapes[0]), 1) if ctx.attrs[0] == "mean" else 2
        gradient = mul(mul(sub(input, target), factor), dout)
    else:
        gradient = _scaled(ctx, dinput, dout)
    return gradient if ctx.needs[0] else None, neg(gradient) if ctx.needs[1] else None


def _numpy_mse(input: Any, target: Any, reduction: str) -> Any:
    squares = np.square(input - target)
    return (
        squares
        if reduction == "none"
        else squares.sum()
        if reduction == "sum"
        else squares.sum() / np.float64(squares.size)
    )


def _mse_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x, t = rng.standard_normal((2, 33, 65))
    for reduction in REDUCTIONS:
        yield Sample((x, t), (reduction,), f"unaligned, {reduction}")
    yield Sample((rng.standard_normal(()), rng.standard_normal(())), ("mean",), "0-d")
    yield Sample((rng.standard_normal((0, 3)), rng.standard_normal((0, 3))), ("sum",), "empty")
    yield Sample((rng.standard_normal((0, 3)), rng.standard_normal((0, 3))), ("mean",), "mean of nothing", grad=False)
    yield Sample((rng.standard_normal(140_001), rng.standard_normal(140_001)), ("mean",), "several chunks", grad=False)
    yield Sample(
        (np.array([np.nan, 1.0, np.inf], np.float32), np.zeros(3, np.float32)),
        ("none",),
        "NaN and infinity",
        grad=False,
    )
    yield Sample((rng.standard_normal(1 << 20), rng.standard_normal(1 << 20)), ("mean",), "1M", grad=False)


MSE_LOSS = Op(
    name="mse_loss",
    doc="""Squared error: (input - target)^2, averaged, summed, or one for each element.

    `input`, `target`: floats (integers become float32) of one shape; nothing is broadcast. The sum is accumulated in
    float32 within blocks and in float64 beyond; the mean of nothing is NaN. Raises ShapeError where shapes differ.""",
    inputs="input target",
    attrs={"reduction": "mean"},
    extras="dinput",
    infer=_mse_infer,
    promote=floating,
    kernels={"cpu": "loss:mse_loss", "cuda": "loss.mse:mse_loss"},
    params=lambda input, target, reduction: (REDUCTIONS.index(reduction),),
    saves=("input", "target", "dinput"),
    vjp=_mse_vjp,
    ref=_numpy_mse,
    samples=_mse_samples,
    sizes=(Size(((128, 10), (128, 10)), why="small"), *pointwise(2, large=True)),
    peers={
        "torch": "F.mse_loss(input, target, reduction=reduction)",
        "jax": "jnp.mean(jnp.square(input - target))",
    },
    errors=lambda: [
        Wrong((np.zeros((2, 1)), np.zeros(2)), (), ShapeError, "mse_loss: shapes differ: (2, 1) and (2,)"),
        Wrong(
            (np.zeros(2), np.zeros(2)),
            ("avg",),
            ValueError,
            "mse_loss: reduction 'avg' is not one of 'none', 'mean', 'sum'",
        ),
    ],
    ulp=4,
    cost=lambda input, *_: (3.0 * math.prod(input.shape), 2.0 * math.prod(input.shape) * input.dtype.itemsize),
    cast="float32",
)
mse_loss = MSE_LOSS.call
