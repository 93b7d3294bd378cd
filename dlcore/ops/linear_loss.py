"""The cross-entropy of a linear layer without its logits: they are computed, and used up, a chunk of rows at a time.

The gradients of input, weight and bias are computed in the same pass, already scaled for the reduction, as those of
`cross_entropy` are: a backward pass that begins with the loss has nothing left to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import called
from dlcore.dtypes import DType, bool_, float32, int32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Spec, Workload, floating
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops._workloads import bytes_of
from dlcore.ops.loss import Reduction, cross_entropy, differentiable, scaled
from dlcore.ops.matmul import linear, matmul
from dlcore.ops.movement import reshape, transpose
from dlcore.ops.reduce import sum

__all__ = ["linear_cross_entropy"]


def _promoted(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    x, weight, target, bias = specs
    assert target is not None
    common = floating([x, weight, bias])[0]
    return [common, common, target.dtype, None if bias is None else common]


def _reduced(reduction: str) -> bool:
    """Whether what arrives at the loss is one number, by which finished gradients can be multiplied."""
    return reduction != "none"


@Op.definition(
    family="loss", cast="low", ulp=4, promote=_promoted, extras="dx dweight dbias", batching="composite",
    kernels={
        "cpu": [("loss:linear_cross_entropy", _reduced)], "cuda": [("loss.linear:linear_cross_entropy", _reduced)],
    },
    params=lambda ignore_index, label_smoothing, reduction: (
        ("none", "mean", "sum").index(reduction), ignore_index, label_smoothing
    ),
    cost=lambda x, weight, target, bias: (
        2.0 * math.prod(x.shape) * weight.shape[0] + 22.0 * math.prod(target.shape) * weight.shape[0],
        bytes_of(x, weight, target, bias),
    ),
    baselines={
        "torch": "F.cross_entropy(F.linear(x, weight, bias), target, ignore_index=ignore_index, "
        "label_smoothing=label_smoothing, reduction=reduction)",
        "jax": "-jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x @ weight.T, 1), target[:, None], 1))",
    },
)  # fmt: skip
def linear_cross_entropy_forward(
    x: Spec, weight: Spec, target: Spec, bias: Spec | None = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: Reduction = "mean",
) -> list[Spec | None]:  # fmt: skip
    """The cross-entropy of class indices and x @ weight.T + bias.

    x (..., K), weight (V, K), bias (V,), target (...): `linear_cross_entropy` has the rest.
    """
    name = "linear_cross_entropy_forward"
    if not x.shape or len(weight.shape) != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"{name}: input has shape {x.shape}, linear_weight {weight.shape}: not (..., K) and (V, K)")
    if target.dtype.is_float or target.dtype is bool_:
        raise DTypeError(f"{name}: target holds class indices, integers, not {target.dtype.name}")
    if target.shape != x.shape[:-1]:
        raise ShapeError(f"{name}: target has shape {target.shape}, input {x.shape}: expected {x.shape[:-1]}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"{name}: linear_bias has shape {bias.shape}, expected {weight.shape[:1]}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing {label_smoothing} is not between 0 and 1")
    out = Spec(target.shape if reduction == "none" else (), x.dtype)
    return [out, x, weight, bias]


def _rows(x: Any, target: Any) -> tuple[Any, Any]:
    """Input and target with one axis for all positions."""
    return reshape(x, (math.prod(target.shape), x.shape[-1])), reshape(target, (math.prod(target.shape),))


@linear_cross_entropy_forward.composite
def _(
    x: Any, weight: Any, target: Any, bias: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:  # fmt: skip
    rows, labels = _rows(x, target)
    found = cross_entropy(linear(rows, weight, bias), labels, None, ignore_index, label_smoothing, reduction)
    return reshape(found, target.shape) if reduction == "none" else found


@linear_cross_entropy_forward.gradient("x", "weight", "bias")
def _(
    dout: Any, x: Any, weight: Any, target: Any, bias: Any, dx: Any, dweight: Any, dbias: Any, ignore_index: int,
    label_smoothing: float, reduction: str, needs_input_grad: Sequence[bool], create_graph: bool, retain_graph: bool,
    dout_is_one: bool,
) -> Any:  # fmt: skip
    if not create_graph:
        return [
            scaled(g, dout, retain_graph, dout_is_one) if needed and g is not None else None
            for g, needed in zip((dx, dweight, dbias), needs_input_grad, strict=True)
        ]
    rows, labels = _rows(x, target)
    logits = linear(rows, weight, bias)
    dout = 1.0 if dout_is_one else dout
    d = differentiable(dout, logits, labels, None, ignore_index, label_smoothing, reduction)
    to_x = reshape(matmul(d, weight), x.shape) if needs_input_grad[0] else None
    return to_x, matmul(transpose(d), rows) if needs_input_grad[1] else None, sum(d, 0) if bias is not None else None


def _numpy_losses(
    x: Any, weight: Any, target: Any, bias: Any, ignore_index: int, smoothing: float, size: bool
) -> tuple[Any, Any]:  # fmt: skip
    """The loss of each position, or what its error is measured against, and how many labels count."""
    logits = x @ weight.T + (0 if bias is None else bias)
    scale = np.abs(x) @ np.abs(weight).T + (0 if bias is None else np.abs(bias))  # of the logits' own errors
    below = logits.max(-1, keepdims=True, initial=-np.inf) - logits
    nll = np.log(np.exp(-below).sum(-1, keepdims=True)) + below
    nll = 1 + np.abs(nll) + scale + scale.max(-1, keepdims=True, initial=0) if size else nll
    counted = target != ignore_index
    own = np.take_along_axis(nll, np.where(counted, target, 0)[..., None], -1)[..., 0]
    losses = (1 - smoothing) * own + smoothing * nll.mean(-1)
    return np.where(counted, losses, 0.0), counted.sum()


def _numpy(
    size: bool, x: Any, weight: Any, target: Any, bias: Any, ignore_index: int, smoothing: float, reduction: str
) -> Any:  # fmt: skip
    losses, count = _numpy_losses(x, weight, target, bias, ignore_index, smoothing, size)
    return losses if reduction == "none" else losses.sum() / (np.float64(count) if reduction == "mean" else 1)


@linear_cross_entropy_forward.reference
def _(
    x: Any, weight: Any, target: Any, bias: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:  # fmt: skip
    return _numpy(False, x, weight, target, bias, ignore_index, label_smoothing, reduction)


@linear_cross_entropy_forward.magnitude
def _(
    x: Any, weight: Any, target: Any, bias: Any, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:  # fmt: skip
    return _numpy(True, x, weight, target, bias, ignore_index, label_smoothing, reduction)


@linear_cross_entropy_forward.restrict
def _(operands: list[Any], largest: float) -> None:
    """Logits are finite, and no probability is a subnormal number."""
    width = max(1, operands[0].shape[-1] if operands[0].ndim else 1)
    for k in (0, 1, 3):
        if isinstance(operands[k], np.ndarray):
            operands[k] = without_tiny(limited(np.nan_to_num(operands[k]), (30 / width) ** 0.5), largest)


@linear_cross_entropy_forward.samples
def _() -> Iterator[Sample]:
    def labels(*shape: int, classes: int = 33, dtype: DType = int64) -> Input:
        return Input(shape, 0, classes, dtype)

    some = Input((9,), draw=lambda rng: np.where(np.arange(9) % 3 == 0, -100, rng.integers(0, 33, 9)))
    yield Sample((9, 7), (33, 7), labels(9), (33,), why="rows")
    yield Sample((9, 7), (33, 7), some, None, why="some are ignored, no bias", reduction="sum")
    yield Sample((2, 5, 8), (33, 8), labels(2, 5, dtype=int32), (33,), label_smoothing=0.1, why="smoothing, two axes")
    yield Sample((9, 7), (33, 7), labels(9), (33,), reduction="none", why="none")
    yield Sample((7,), (33, 7), labels(), None, why="one row")
    yield Sample((30, 5), (2500, 5), labels(30, classes=2500), (2500,), why="several blocks of dweight", grad=False)
    yield Sample((70, 2), (140000, 2), labels(70, classes=140000), None, why="several chunks", grad=False)
    yield Sample((0, 7), (33, 7), labels(0), (33,), reduction="sum", why="no rows")


@linear_cross_entropy_forward.error_inputs
def _() -> Iterator[ErrorInput]:
    x, weight, target = np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(2, np.int64)
    name = "linear_cross_entropy_forward"
    text = f"{name}: input has shape (2, 3), linear_weight (4, 2): not (..., K) and (V, K)"
    yield ErrorInput(ShapeError, text, x, weight[:, :2], target, None)
    text = f"{name}: target holds class indices, integers, not float64"
    yield ErrorInput(DTypeError, text, x, weight, np.zeros(2), None)
    text = f"{name}: target has shape (3,), input (2, 3): expected (2,)"
    yield ErrorInput(ShapeError, text, x, weight, np.zeros(3, np.int64), None)
    text = f"{name}: linear_bias has shape (3,), expected (4,)"
    yield ErrorInput(ShapeError, text, x, weight, target, np.zeros(3))
    text = f"{name}: label_smoothing 2.0 is not between 0 and 1"
    yield ErrorInput(ValueError, text, x, weight, target, None, label_smoothing=2.0)


@linear_cross_entropy_forward.workloads
def _() -> Iterator[Workload]:
    yield Workload(((512, 128), (4096, 128), Input((512,), 0, 4096, int64), None), (), "4096 tokens", (float32,))
    large = ((2048, 512), (32000, 512), Input((2048,), 0, 32000, int64), None)
    yield Workload(large, (), "32000 tokens", (float32,))


# ---- the public function --------------------------------------------------------------------------------------------


def linear_cross_entropy(
    input: Any, linear_weight: Any, target: Any, *, linear_bias: Any = None, weight: Any = None,
    reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """Cross-entropy of `target` and the logits input @ linear_weight.T + linear_bias, never stored as a whole.

    `input`: (..., K). `linear_weight`: (V, K), `linear_bias`: (V,). `target`: class indices (...), of any integer
    dtype. `reduction`, `ignore_index`, `label_smoothing` as of `cross_entropy`. Logits are computed a chunk at a time,
    28 MiB of them (on a GPU 32 MiB, or a sixteenth of all), and loss and gradients follow at once: memory grows with
    the parameters, not with rows x V. With `weight`, a factor for each class, and with reduction "none" it is
    `cross_entropy` of `linear`, logits and all.

    Sums over chunks are in float32 or wider, in their order: the same bits for any number of threads. Raises IndexError
    for a label outside 0 .. V - 1, ShapeError, DTypeError, ValueError. Wijmans et al. 2024 (arXiv 2411.09009).

    >>> dl.linear_cross_entropy(dl.tensor([[1.0, 2.0]]), dl.zeros(2, 2), dl.tensor([1])).round(4)
    tensor(0.6931)
    """
    name = "linear_cross_entropy"
    if weight is None:
        return called(
            name, linear_cross_entropy_forward, input, linear_weight, target, linear_bias, ignore_index,
            label_smoothing, reduction,
        )  # fmt: skip
    logits = called(name, linear, input, linear_weight, linear_bias)
    rows = logits if logits.ndim < 3 else reshape(logits, (-1, logits.shape[-1]))
    labels = target if logits.ndim < 3 else reshape(target, (-1,))
    found = called(name, cross_entropy, rows, labels, weight, ignore_index, label_smoothing, reduction)
    return reshape(found, target.shape) if reduction == "none" and logits.ndim > 2 else found
