"""Losses whose gradient is computed in the same pass: cross_entropy, mse_loss.

While the input is in cache its gradient costs no further trip to memory, so the kernel writes it, already scaled for
the reduction, whenever one is wanted; backward then has nothing to do when the loss itself is the root.
`reduction`: "mean", "sum", or "none" for one loss for each position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from dlcore.dtypes import DType, bool_, float32, int32, int64, uint8
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload, as_given, floating, operation
from dlcore.ops._constants import positions
from dlcore.ops._domains import limited, without_subnormal_probabilities
from dlcore.ops._shape import differing
from dlcore.ops._workloads import MILLION, MODELS, RAGGED, million_and_ragged, on_gpu
from dlcore.ops.elementwise import add, cast, div, eq, mul, ne, neg, sub, where
from dlcore.ops.gather import take
from dlcore.ops.movement import reshape, unsqueeze
from dlcore.ops.reduce import mean, sum
from dlcore.ops.softmax import log_softmax, softmax

__all__ = ["cross_entropy", "mse_loss"]

Reduction = Literal["none", "mean", "sum"]
REDUCTIONS = get_args(Reduction)  # enum Reduction in csrc/loss/loss.inl
Lengths = tuple[int, ...]


def reduced(loss: Any, reduction: str) -> Any:
    """Losses as ``reduction`` says: "none", "mean" or "sum"."""
    return loss if reduction == "none" else mean(loss) if reduction == "mean" else sum(loss)


def numpy_reduced(losses: Any, reduction: str, count: Any) -> Any:
    """The same in NumPy; ``count``: what a mean divides by."""
    return losses if reduction == "none" else losses.sum() / (np.float64(count) if reduction == "mean" else 1)


_loss = partial(operation, family="loss", cast="float32", ulp=4)

# ---- scale_inplace --------------------------------------------------------------------------------------------------


@operation(
    family="loss", kernels={"cpu": "loss:scale", "cuda": "loss.scale:scale"}, promote=as_given, outputs="", writes="x",
    kinds=("float",),
    reference=lambda x, factor: x * factor,
    cost=lambda x: (float(math.prod(x.shape)), 2.0 * math.prod(x.shape) * x.dtype.itemsize),
    samples=[
        Sample((33, 65), np.array(0.3), why="unaligned", grad=False),
        Sample((3, 5), np.array(1.0), why="factor 1", grad=False),
        Sample((0, 5), np.array(2.0), why="empty", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "scale_inplace: factor has shape (3,) and dtype float64, not () and float64",
                   np.zeros(3), np.zeros(3)),
    ],
    workloads=[  # 1 would be skipped, other numbers end in denormals
        Workload((MILLION, Input((), -1.0, -1.0)), why="1M"), Workload((RAGGED, Input((), -1.0, -1.0)), why="ragged"),
    ],
    baselines={"torch": "x.mul_(factor)", "numpy": "np.multiply(x, factor, out=x)"},
)  # fmt: skip
def scale_inplace(x: Spec, factor: Spec) -> None:
    """Multiplies `x` in place by `factor`, a 0-d tensor of its dtype; memory is not touched when that is 1."""
    if factor.shape != () or factor.dtype is not x.dtype:
        have = f"shape {factor.shape} and dtype {factor.dtype.name}"
        raise ShapeError(f"scale_inplace: factor has {have}, not () and {x.dtype.name}")


def scaled(gradient: Any, dout: Any, retain_graph: bool, dout_is_one: bool) -> Any:
    """gradient * dout; in the gradient's own memory where nobody will ask for it again."""
    if dout_is_one:
        return gradient
    if retain_graph or dout.shape:
        return mul(gradient, dout)
    scale_inplace(gradient, dout)
    return gradient


# ---- cross_entropy --------------------------------------------------------------------------------------------------


def _axis(shape: Lengths) -> int:
    """The axis of the classes."""
    return 0 if len(shape) == 1 else 1


def _class_shape(shape: Lengths) -> Lengths:
    """The shape in which one number for each class broadcasts against the logits."""
    return tuple(n if d == _axis(shape) else 1 for d, n in enumerate(shape))


def _promoted(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    logits, target, weight = specs
    assert logits is not None and target is not None
    common = floating([logits, target if target.dtype.is_float else None, weight])[0]
    return [common, common if target.dtype.is_float else target.dtype, None if weight is None else common]


def _of_labels(target: Spec) -> bool:
    return not target.dtype.is_float


def _no_gradient_of_weight() -> NoReturn:
    raise AutogradError("cross_entropy: weight has no gradient where the target holds class indices; detach() it")


def _cross_entropy_examples(call: Any) -> Any:
    """All positions of all examples at once (see dlcore/ops/_batching.py), then the mean or sum over each example."""
    if call.is_batched[2]:
        return NotImplemented
    logits, target, weight = call.full(0), call.full(1), call.values[2]
    spread = len(call.specs[0].shape) == 1  # no axis of positions in an example
    n = 1 if spread else logits.shape[1]
    rows = logits if spread else reshape(logits, (call.size * n, *logits.shape[2:]))
    labels = reshape(target, rows.shape if target.dtype.is_float else (rows.shape[0], *rows.shape[2:]))
    ignore_index, smoothing, reduction = call.attrs
    each = cross_entropy(rows, labels, weight, ignore_index, smoothing, "none")
    each = reshape(each, (call.size, *([] if spread else [n]), *rows.shape[2:]))
    axes = tuple(range(1, each.ndim))
    if reduction != "mean" or target.dtype.is_float:
        return each if reduction == "none" else sum(each, axes) if reduction == "sum" else mean(each, axes)
    counted = ne(labels, ignore_index)
    own = cast(counted, each.dtype)
    if weight is not None:
        own = mul(own, take(weight.detach(), where(counted, labels, 0), 0))
    total = sum(reshape(own, each.shape), axes)
    nothing = eq(total, 0)  # the mean of nothing is NaN, and its gradient 0
    return where(nothing, math.nan, div(sum(each, axes), where(nothing, 1, total)))


@_loss(
    batch=_cross_entropy_examples,
    kernels={"cpu": [("loss:cross_entropy", _of_labels)], "cuda": [("loss.cross_entropy:cross_entropy", _of_labels)]},
    promote=_promoted, extras="dlogits", gradient={"weight": _no_gradient_of_weight},
    params=lambda ignore_index, label_smoothing, reduction: (
        REDUCTIONS.index(reduction), ignore_index, label_smoothing
    ),
    cost=lambda logits: (22.0 * math.prod(logits.shape), float(math.prod(logits.shape) * logits.dtype.itemsize)),
    baselines={
        "torch": "F.cross_entropy(logits, target, weight, ignore_index=ignore_index, label_smoothing=label_smoothing, "
        "reduction=reduction)",
        "jax": "-jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits, 1), target[:, None], 1))",
    },
)  # fmt: skip
def cross_entropy(
    logits: Spec, target: Spec, weight: Spec | None = None, ignore_index: int = -100, label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> tuple[Spec, Spec]:  # fmt: skip
    """Cross-entropy of a target and the softmax of `logits`: -w[t] log(softmax(logits)[t]).

    `logits`: (N, C), (N, C, d...) or (C,), C classes. `target`: class indices, (N,), (N, d...) or (), of any integer
    dtype; or probabilities, floats in the shape of `logits`. `weight`: (C,), one factor for each class, a constant.
    `ignore_index`: positions with this label count for nothing. `label_smoothing` s in [0, 1]: the target becomes
    (1 - s) of itself and s / C for every class. `reduction`: "mean" (divided by the sum of the weights of the labels
    that count; for probabilities, by N), "sum" or "none". The mean over nothing is NaN.

    Forward and gradient are one pass over the logits, in float32 or wider. Raises IndexError, before anything is
    written, for a label outside 0 .. C - 1; ShapeError, DTypeError, ValueError. Szegedy et al. 2016 (smoothing).

    >>> dl.cross_entropy(dl.tensor([[0.0, 0.0]]), dl.tensor([1])).round(4)
    tensor(0.6931)
    """
    if not logits.shape:
        raise ShapeError("cross_entropy: logits need an axis of classes, shape () has none")
    if target.dtype is bool_:
        raise DTypeError("cross_entropy: target holds class indices (integers) or probabilities (floats), not bool")
    axis = _axis(logits.shape)
    positions = logits.shape[:axis] + logits.shape[axis + 1 :]
    expected = logits.shape if target.dtype.is_float else positions
    if target.shape != expected:
        what = "probabilities" if target.dtype.is_float else "class indices"
        meant = "; class indices are integers" if target.shape == positions else ""
        raise ShapeError(
            f"cross_entropy: target of {what} has shape {target.shape}, logits {logits.shape}: expected "
            f"{expected}{meant}"
        )
    if weight is not None and weight.shape != (logits.shape[axis],):
        raise ShapeError(
            f"cross_entropy: weight has shape {weight.shape}, expected ({logits.shape[axis]},): one for each class"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing} is not between 0 and 1")
    return Spec(positions if reduction == "none" else (), logits.dtype), Spec(logits.shape, logits.dtype)


@cross_entropy.composite
def _(logits: Any, target: Any, weight: Any, label_smoothing: float, reduction: str) -> Any:
    """Of probabilities."""
    axis = _axis(logits.shape)
    if label_smoothing:
        target = add(mul(target, 1 - label_smoothing), label_smoothing / max(1, logits.shape[axis]))
    terms = mul(target, log_softmax(logits, axis))
    if weight is not None:
        terms = mul(terms, reshape(weight, _class_shape(logits.shape)))
    return reduced(neg(sum(terms, axis)), reduction)


@cross_entropy.gradient("logits")
def _(
    dout: Any, logits: Any, target: Any, weight: Any, dlogits: Any, ignore_index: int, label_smoothing: float,
    reduction: str, create_graph: bool, retain_graph: bool, dout_is_one: bool,
) -> Any:  # fmt: skip
    if reduction == "none" and not dout_is_one:
        dout = unsqueeze(dout, _axis(logits.shape))
    if not create_graph:
        return scaled(dlogits, dout, retain_graph, dout_is_one)
    return differentiable(dout, logits, target, weight, ignore_index, label_smoothing, reduction)


def differentiable(
    dout: Any, logits: Any, target: Any, weight: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:  # fmt: skip
    """The gradient for the logits by simpler operations, which can be differentiated: p times one number for each
    position, less others. ``dout`` has an axis of classes where it is no number."""
    shape, dtype, axis = logits.shape, logits.dtype, _axis(logits.shape)
    labels = cast(unsqueeze(target, axis), int64)  # which holds ignore_index too
    counted = cast(ne(labels, ignore_index), dtype)
    classes = reshape(positions(shape[axis], labels), _class_shape(shape))
    chosen = mul(cast(eq(labels, classes), dtype), counted)
    weights = reshape(weight.detach(), _class_shape(shape)) if weight is not None else None
    hard = chosen if weights is None else mul(chosen, weights)
    own = sum(hard, axis, True)
    total = own
    if label_smoothing:
        soft = mul(counted, label_smoothing / max(1, shape[axis]))
        soft = soft if weights is None else mul(soft, weights)
        hard = add(mul(hard, 1 - label_smoothing), soft)
        total = sum(hard, axis, True) if weights is not None else counted
    gradient = sub(mul(softmax(logits, axis), total), hard)
    count = sum(own)
    count = add(count, cast(eq(count, 0), dtype))  # where nothing counts, the gradient is 0, as the kernel's is
    return mul(gradient, div(dout, count) if reduction == "mean" else dout)


def _numpy_log_softmax(logits: Any) -> tuple[Any, Any]:
    """Logarithms of the probabilities, and how far each logit lies below the largest, classes last."""
    logits = np.moveaxis(logits, _axis(logits.shape), -1)
    shifted = logits - logits.max(-1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), -shifted


def _numpy_losses(log_p: Any, target: Any, weight: Any, ignore_index: int, smoothing: float) -> tuple[Any, Any]:
    """The loss of each position, from logarithms (positions, classes), and what the mean divides by."""
    axis, classes = _axis(log_p.shape), log_p.shape[-1]
    w, share = np.ones(classes) if weight is None else weight, smoothing / max(1, classes)
    if target.dtype.kind == "f":
        t = np.moveaxis(target, axis, -1) * (1 - smoothing) + share
        losses = -(t * w * log_p).sum(-1)
        return losses, losses.size
    counted = target != ignore_index
    if not classes:  # every label is ignored, or the call raises
        return np.zeros(target.shape), 0.0
    label = np.where(counted, target, 0)[..., None]
    own = np.where(counted, w[label[..., 0]], 0.0)
    hard = -own * np.take_along_axis(log_p, label, -1)[..., 0]
    soft = np.where(counted, -(w * log_p).sum(-1), 0.0)
    losses = (1 - smoothing) * hard + (share * soft if smoothing else 0)
    return np.where(counted, losses, 0.0), own.sum()


@cross_entropy.reference
def _(logits: Any, target: Any, weight: Any, ignore_index: int, label_smoothing: float, reduction: str) -> Any:
    losses, count = _numpy_losses(_numpy_log_softmax(logits)[0], target, weight, ignore_index, label_smoothing)
    return numpy_reduced(losses, reduction, count)


@cross_entropy.magnitude
def _(logits: Any, target: Any, weight: Any, ignore_index: int, label_smoothing: float, reduction: str) -> Any:
    # Of each term -w t log p, the logarithm is off by the rounding of itself, of a logit and of a sum of about 1.
    log_p, below = _numpy_log_softmax(logits)
    target = np.abs(target) if target.dtype.kind == "f" else target
    weight = None if weight is None else np.abs(weight)
    each, count = _numpy_losses(-(1 + np.abs(log_p) + below), target, weight, ignore_index, label_smoothing)
    return numpy_reduced(each, reduction, count)


@cross_entropy.samples
def _() -> Iterator[Sample]:
    def sample(logits: Lengths, target: Any, weighted: bool, why: str, **rest: Any) -> Sample:
        # Weights are float32 in every dtype: no gradient goes to them.
        weight = Input((logits[_axis(logits)],), 0.0, 1.0, float32) if weighted else None
        return Sample(Input(logits, -4.0, 4.0), target, weight, why=why, **rest)

    def labels(shape: Lengths, classes: int, dtype: DType = int64) -> Input:
        return Input(shape, 0, classes, dtype)

    def some_are(ignored: int, n: int, classes: int) -> Input:
        def draw(rng: np.random.Generator) -> Any:
            return np.where(np.arange(n) % 3 == 0, ignored, rng.integers(0, classes, n))

        return Input((n,), draw=draw)

    x, t, some = (33, 65), labels((33,), 65), some_are(-100, 33, 65)
    yield sample(x, t, False, "rows, unaligned")
    yield sample(x, labels((33,), 65, uint8), True, "weights, labels of one byte")
    yield sample(x, some, True, "weights, ignored labels, smoothing", label_smoothing=0.1)
    yield sample(x, some, False, "sum, ignored labels, smoothing", label_smoothing=0.1, reduction="sum")
    none = {"label_smoothing": 0.2, "reduction": "none"}
    yield sample(x, labels((33,), 5, int32), True, "none, a class ignored, int32", ignore_index=3, **none)
    short, some = (70, 10), some_are(-1, 70, 10)
    yield sample(short, some, False, "short rows, more than one tile", ignore_index=-1)
    yield sample(short, some, True, "short rows, weights, smoothing", ignore_index=-1, **none)
    yield sample((2, 40, 5), labels((2, 5), 40), False, "an axis after the classes", label_smoothing=0.1)
    yield sample((2, 6, 3, 7), labels((2, 3, 7), 6), True, "two axes after the classes", ignore_index=3, **none)
    yield sample((5,), np.array(3), False, "no axis but the classes")
    yield sample((7, 1), labels((7,), 1), False, "one class")
    yield sample((0, 5), labels((0,), 5), False, "no rows", reduction="sum")
    yield sample((0, 5), labels((0,), 5), False, "mean of no rows", grad=False)
    yield sample((3, 5), np.full(3, -100), False, "all ignored: NaN", grad=False)
    apart, nan = [[1000.0, -1000.0], [0.0, -np.inf]], [[np.nan, 1.0], [0.0, 1.0]]
    yield Sample(np.array(apart), np.array([1, 0]), None, reduction="sum", why="far apart", grad=False)
    yield Sample(np.array(nan, np.float32), np.array([1, 0]), None, reduction="none", why="NaN", grad=False)
    p = Input((9, 11), draw=lambda rng: rng.dirichlet(np.ones(11), 9))
    yield sample((9, 11), p, False, "probabilities", label_smoothing=0.1)
    yield sample((2, 4, 3), Input((2, 4, 3), 0.0, 1.0), True, "probabilities, weights", reduction="none")
    yield sample((3, 0), (3, 0), False, "probabilities of no classes", label_smoothing=0.1, grad=False)
    yield sample((4096, 1000), labels((4096,), 1000), False, "4096 x 1000", grad=False)
    yield sample((64, 32000), labels((64,), 32000), False, "rows of a vocabulary", grad=False)


@cross_entropy.error_inputs
def _() -> Iterator[ErrorInput]:
    def wrong(error: type[Exception], text: str, *inputs: Any, **attrs: Any) -> ErrorInput:
        return ErrorInput(error, f"cross_entropy: {text}", *inputs, **attrs)

    x, t = np.zeros((4, 3)), np.array([0, 1, 2, 0])
    yield wrong(IndexError, "label 7 at position 3 is out of range for 3 classes", x, np.array([0, 1, 2, 7]), None)
    text = "label -1 at position (1, 0) is out of range for 3 classes"
    yield wrong(IndexError, text, np.zeros((2, 3, 2)), np.array([[0, 1], [-1, 0]]), None)
    text = "target of class indices has shape (4, 1), logits (4, 3): expected (4,)"
    yield wrong(ShapeError, text, x, t[:, None], None)
    text = "target of probabilities has shape (4,), logits (4, 3): expected (4, 3); class indices are integers"
    yield wrong(ShapeError, text, x, np.zeros(4), None)
    yield wrong(ShapeError, "weight has shape (4,), expected (3,): one for each class", x, t, np.ones(4))
    text = "target holds class indices (integers) or probabilities (floats), not bool"
    yield wrong(DTypeError, text, x, t > 0, None)
    yield wrong(ValueError, "label_smoothing 1.5 is not between 0 and 1", x, t, None, label_smoothing=1.5)
    yield wrong(ShapeError, "logits need an axis of classes, shape () has none", np.zeros(()), np.array(0), None)


@cross_entropy.workloads
def _() -> Iterator[Workload]:
    def labelled(rows: int, classes: int) -> tuple[Any, ...]:
        return (rows, classes), Input((rows,), 0, classes, int64), None

    for name, model in MODELS.items():
        yield Workload(labelled(model.batch, model.widths[-1]), why=f"the loss of model {name}")
    yield Workload(labelled(*RAGGED), why="ragged")
    yield Workload(labelled(4096, 1000), why="1000 classes", quick="both")
    yield Workload(labelled(2048, 32000), why="a vocabulary", dtypes=(float32,))
    yield from (on_gpu(labelled(*shape)) for shape in ((8192, 32768), (1024, 131072)))


@cross_entropy.restrict
def _(operands: list[Any], largest: float) -> None:
    """Smoothing sums the weighted logits of all classes, which must be a number: a weight of 0 may follow. Of
    probabilities the logarithms are rounded to their dtype, where a probability of 0 may follow: float16 ends at 65504;
    their product must be a number too. Weights of classes are summed and divided by, and none is negative; they
    multiply what may be a subnormal number."""
    probabilities = isinstance(operands[1], np.ndarray) and operands[1].dtype == np.float64
    weighted = isinstance(operands[2], np.ndarray)
    logits = limited(operands[0], 16000.0 if probabilities else 1e24 if weighted else 1e30)
    operands[0] = without_subnormal_probabilities(logits, 1, largest)
    if probabilities:
        operands[1] = limited(np.where(np.abs(operands[1]) < 1e-30, 0.0, operands[1]), 4.0)
    if weighted:
        operands[2] = np.minimum(np.abs(operands[2]), 1e6)


# ---- mse_loss -------------------------------------------------------------------------------------------------------


@_loss(
    kernels={"cuda": "loss.mse:mse_loss"}, promote=floating, extras="dinput",
    reference=lambda input, target, reduction: numpy_reduced(np.square(input - target), reduction, input.size),
    cost=lambda input: (3.0 * math.prod(input.shape), 2.0 * math.prod(input.shape) * input.dtype.itemsize),
    samples=[
        *(Sample((33, 65), (33, 65), reduction=r, why=f"unaligned, {r}") for r in REDUCTIONS),
        Sample((), (), why="0-d"), Sample((0, 3), (0, 3), reduction="sum", why="empty"),
        Sample((0, 3), (0, 3), why="mean of nothing", grad=False),
        Sample((140_001,), (140_001,), why="several chunks", grad=False),
        Sample(np.array([np.nan, 1.0, np.inf], np.float32), np.zeros(3, np.float32), reduction="none",
               why="NaN and infinity", grad=False),
        Sample(MILLION, MILLION, why="1M", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "mse_loss: shapes differ: (2, 1) and (2,); squeeze(-1) takes the last axis away",
                   np.zeros((2, 1)), np.zeros(2)),
    ],
    workloads=[Workload(((128, 10), (128, 10)), why="small"), *million_and_ragged(2, large=True)],
    baselines={
        "torch": "F.mse_loss(input, target, reduction=reduction)", "jax": "jnp.mean(jnp.square(input - target))",
    },
)  # fmt: skip
def mse_loss(input: Spec, target: Spec, reduction: Reduction = "mean") -> tuple[Spec, Spec]:
    """Squared error: (input - target)^2, averaged, summed, or one for each element.

    `input`, `target`: floats (integers become float32) of one shape; nothing is broadcast. The sum is accumulated in
    float32 within blocks and in float64 beyond; the mean of nothing is NaN. Raises ShapeError where shapes differ.

    >>> dl.mse_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 4.0]))
    tensor(2.)
    """
    if input.shape != target.shape:
        raise ShapeError(f"mse_loss: {differing(input.shape, target.shape)}")
    return Spec(input.shape if reduction == "none" else (), input.dtype), Spec(input.shape, input.dtype)


@mse_loss.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, create_graph: bool, retain_graph: bool,
    dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    if create_graph:
        factor = 2 / max(math.prod(input.shape), 1) if reduction == "mean" else 2
        gradient = mul(mul(sub(input, target), factor), dout)
    else:
        gradient = scaled(dinput, dout, retain_graph, dout_is_one)
    to_input, to_target = needs_input_grad
    return gradient if to_input else None, neg(gradient) if to_target else None
