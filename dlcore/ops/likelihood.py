"""nll_loss, of logarithms of probabilities and class indices, and its gradient: one pass over what labels choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from dlcore.dtypes import DType, float32, int32, int64
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Shape, Spec, Workload, floating, operation
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import cast, div, eq, lt, mul, ne, neg, sub, where
from dlcore.ops.gather import gather, gather_backward, take
from dlcore.ops.loss import REDUCTIONS, Reduction, numpy_reduced, reduced
from dlcore.ops.movement import expand, squeeze, unsqueeze
from dlcore.ops.reduce import sum

__all__ = ["nll_loss"]

Lengths = tuple[int, ...]


def class_axis(name: str, shape: Lengths, target: Any) -> int:
    """The axis of the classes of an input of ``shape``, which must fit a target of class indices."""
    if not shape:
        raise ShapeError(f"{name}: input needs an axis of classes, shape () has none")
    if target.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: target holds class indices (integers), not {target.dtype.name}")
    axis = min(1, len(shape) - 1)
    expected = shape[:axis] + shape[axis + 1 :]
    if target.shape != expected:
        raise ShapeError(f"{name}: target has shape {target.shape}, input {shape}: expected {expected}")
    return axis


def check_weight(name: str, weight: Any, classes: int) -> None:
    """Raises ShapeError unless there is one weight for each class."""
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"{name}: weight has shape {weight.shape}, expected ({classes},): one for each class")


def indices(labels: Any, classes: int) -> Any:
    """Labels as indices that do not count from the end: negative ones are moved out of range."""
    labels = cast(labels, int64)
    return where(lt(labels, 0), sub(labels, classes), labels)


def _promoted(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    first, target, weight = specs
    assert first is not None and target is not None
    common = floating([first, weight])[0]
    return [common, target.dtype, None if weight is None else common]


def _no_gradient_of_weight(name: str) -> NoReturn:
    raise AutogradError(f"{name}: weight has no gradient; detach() it")


def _shares(target: Any, weight: Any, classes: int, ignore_index: int, dtype: Any) -> tuple[Any, Any]:
    """The labels, 0 where they do not count, and what each counts for."""
    counted = ne(target, ignore_index)
    labels = where(counted, indices(target, classes), 0)
    return labels, cast(counted, dtype) if weight is None else where(counted, take(weight.detach(), labels), 0.0)


def _composed(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    axis = min(1, input.ndim - 1)
    labels, share = _shares(target, weight, input.shape[axis], ignore_index, input.dtype)
    losses = mul(neg(squeeze(gather(input, unsqueeze(labels, axis), axis), axis)), share)
    losses = where(ne(target, ignore_index), losses, 0.0)  # of infinities too
    return div(sum(losses), sum(share)) if reduction == "mean" else reduced(losses, reduction)


def _composed_backward(
    dout: Any, target: Any, weight: Any, shape: Lengths, ignore_index: int, reduction: str
) -> Any:  # fmt: skip
    axis = min(1, len(shape) - 1)
    labels, share = _shares(target, weight, shape[axis], ignore_index, dout.dtype)
    if reduction == "mean":
        total = sum(share)
        share = div(share, where(eq(total, 0), 1.0, total))
    given = neg(mul(expand(dout, target.shape), share))
    return gather_backward(unsqueeze(given, axis), unsqueeze(labels, axis), shape, axis)


_PARAMS = {"params": lambda reduction, ignore_index: (REDUCTIONS.index(reduction), ignore_index)}
_likelihood = partial(
    operation, family="loss", cast="float32", ulp=4, promote=_promoted, batching="composite", **_PARAMS
)  # fmt: skip


@_likelihood(
    kernels={"cpu": "loss:nll_loss", "cuda": None}, composite=_composed,
    gradient={
        "input": lambda dout, input_shape, target, weight, ignore_index, reduction: nll_loss_backward(
            dout, target, weight, input_shape, ignore_index, reduction
        ),
        "weight": lambda: _no_gradient_of_weight("nll_loss"),
    },
    cost=lambda target: (2.0 * math.prod(target.shape), 3.0 * bytes_of(target)),
    baselines={"torch": "F.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=reduction)"},
)  # fmt: skip
def nll_loss(
    input: Spec, target: Spec, weight: Spec | None = None, ignore_index: int = -100, reduction: Reduction = "mean"
) -> Spec:  # fmt: skip
    """Negative log-likelihood of class indices, -w[t] input[t], where `input` holds logarithms of probabilities.

    `input`: (N, C), (N, C, d...) or (C,), as of `log_softmax(x, 1)`. `target`: (N,), (N, d...) or (), integers.
    `weight`: (C,), a constant. `ignore_index`: positions with this label count for nothing. The mean is divided by the
    sum of the weights of the labels that count; over nothing it is NaN. Sums run in float64. Raises IndexError for a
    label outside 0 .. C - 1. Of logits take cross_entropy, which is one pass.

    >>> dl.nll_loss(dl.log([[0.25, 0.75], [0.5, 0.5]]), dl.tensor([1, 0]), reduction="none")
    tensor([0.28768206, 0.6931472 ])
    """
    axis = class_axis("nll_loss", input.shape, target)
    check_weight("nll_loss", weight, input.shape[axis])
    return Spec(target.shape if reduction == "none" else (), input.dtype)


def _numpy_losses(x: Any, target: Any, weight: Any, ignore_index: int) -> tuple[Any, Any]:
    """The loss of each position, and what each counts for."""
    axis = min(1, x.ndim - 1)
    counted = target != ignore_index
    label = np.where(counted, target, 0)
    own = np.where(counted, 1.0 if weight is None else weight[label], 0.0)
    chosen = np.take_along_axis(x, np.expand_dims(label, axis), axis).squeeze(axis)
    return np.where(counted, -own * chosen, 0.0), own


@nll_loss.reference
def _(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    losses, own = _numpy_losses(input, target, weight, ignore_index)
    return numpy_reduced(losses, reduction, own.sum())


@nll_loss.magnitude
def _(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    losses, own = _numpy_losses(np.abs(input), target, weight, ignore_index)
    return numpy_reduced(np.abs(losses), reduction, np.abs(own).sum())


def _labels(shape: Lengths, classes: int, ignored: int | None = None, dtype: DType = int64) -> Input:
    def draw(rng: np.random.Generator) -> Any:
        labels = rng.integers(0, classes, shape)
        return labels if ignored is None else np.where(rng.random(shape) < 0.3, ignored, labels)

    return Input(shape, 0, classes, dtype) if ignored is None else Input(shape, draw=draw)


_CASES: list[tuple[Lengths, Any, bool, dict[str, Any], str]] = [
    ((33, 65), _labels((33,), 65), False, {}, "rows"),
    ((33, 65), _labels((33,), 65, -100), True, {}, "weights, ignored labels"),
    ((33, 65), _labels((33,), 65, -100), False, {"reduction": "sum"}, "sum, ignored labels"),
    ((7, 5), _labels((7,), 5, None, int32), True, {"reduction": "none", "ignore_index": 3}, "none, a class ignored"),
    ((2, 6, 3, 7), _labels((2, 3, 7), 6), True, {}, "two axes after the classes"),
    ((2, 6, 5), _labels((2, 5), 6), False, {"reduction": "none"}, "none, an axis after the classes"),
    ((5,), np.array(3), False, {}, "no axis but the classes"),
    ((0, 5), _labels((0,), 5), False, {"reduction": "sum"}, "no rows"),
]


def _weight(shape: Lengths, weighted: bool) -> Input | None:
    return Input((shape[min(1, len(shape) - 1)],), 0.5, 1.5, float32) if weighted else None


@nll_loss.samples
def _() -> Iterator[Sample]:
    for shape, target, weighted, attrs, why in _CASES:
        yield Sample(Input(shape, -4.0, 0.0), target, _weight(shape, weighted), why=why, **attrs)
    yield Sample((3, 5), np.full(3, -100), None, why="mean of nothing: NaN", grad=False)
    yield Sample(Input((40000, 3), -4.0, 0.0), _labels((40000,), 3), None, why="several threads", grad=False)


@nll_loss.error_inputs
def _() -> Iterator[ErrorInput]:
    def wrong(error: type[Exception], text: str, *inputs: Any, **attrs: Any) -> ErrorInput:
        return ErrorInput(error, f"nll_loss: {text}", *inputs, **attrs)

    x = np.zeros((2, 3))
    yield wrong(ShapeError, "target has shape (1, 2), input (2, 3): expected (2,)", x, np.array([[0, 1]]))
    yield wrong(ShapeError, "input needs an axis of classes, shape () has none", np.zeros(()), np.array(0))
    yield wrong(ShapeError, "weight has shape (1,), expected (3,): one for each class", x, np.array([0, 1]), np.ones(1))
    yield wrong(DTypeError, "target holds class indices (integers), not float64", x, np.zeros(2))


@nll_loss.workloads
def _() -> Iterator[Workload]:
    yield Workload(((2, 4), Input((2,), 0, 4, int64), None), (), "the cost of a call")
    yield Workload(((1024, 1024), Input((1024,), 0, 1024, int64), None), (), "1M")


@_likelihood(
    kernels={"cpu": "loss:nll_loss_backward", "cuda": None}, composite=_composed_backward, outputs="dinput",
    gradient={
        "dout": lambda ddinput, target, weight, ignore_index, reduction: nll_loss(
            ddinput, target, weight, ignore_index, reduction
        ),
        "weight": lambda: _no_gradient_of_weight("nll_loss_backward"),
    },
    cost=lambda dout, target, shape: (
        2.0 * math.prod(target.shape), 2.0 * bytes_of(target) + math.prod(shape) * dout.dtype.itemsize
    ),
    samples=[
        Sample(target.shape if attrs.get("reduction") == "none" else (), target, _weight(shape, weighted), shape=shape,
               why=why, **attrs)
        for shape, target, weighted, attrs, why in _CASES
    ],
    error_inputs=[
        ErrorInput(ShapeError, "nll_loss_backward: dout has shape (3,), not ()", np.zeros(3), np.array([0, 1]),
                   shape=(2, 3)),
    ],
    workloads=[Workload(((), Input((1024,), 0, 1024, int64), None), ((1024, 1024),), "1M")],
    baselines={
        "torch": "torch.ops.aten.nll_loss_backward(dout, dout.new_zeros(shape), target, None, 1, -100, dout * 0 + "
        "len(target))",
    },
)  # fmt: skip
def nll_loss_backward(
    dout: Spec, target: Spec, weight: Spec | None, shape: Shape, ignore_index: int = -100, reduction: Reduction = "mean"
) -> Spec:  # fmt: skip
    """The gradient of `nll_loss` for its input, of `shape`: -w[t] dout where a label is, else 0; of a mean divided as
    that is. Where nothing counts it is 0."""
    check_weight("nll_loss_backward", weight, shape[class_axis("nll_loss_backward", shape, target)])
    expected = target.shape if reduction == "none" else ()
    if dout.shape != expected:
        raise ShapeError(f"nll_loss_backward: dout has shape {dout.shape}, not {expected}")
    return Spec(shape, dout.dtype)


@nll_loss_backward.reference
def _(dout: Any, target: Any, weight: Any, shape: Lengths, ignore_index: int, reduction: str) -> Any:
    axis = min(1, len(shape) - 1)
    own = _numpy_losses(np.ones(shape), target, weight, ignore_index)[0]
    if reduction == "mean":
        own = own / max(abs(own.sum()), np.finfo(float).tiny)
    dinput = np.zeros(shape)
    label = np.where(target != ignore_index, target, 0)
    np.put_along_axis(dinput, np.expand_dims(label, axis), np.expand_dims(own * dout, axis), axis)
    return dinput
