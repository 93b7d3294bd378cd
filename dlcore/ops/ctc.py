"""The connectionist temporal classification loss: of a sequence of labels without their times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore._gradients import recomputed
from dlcore.dtypes import float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload, as_given, operation
from dlcore.ops._constants import constant, positions
from dlcore.ops._domains import limited
from dlcore.ops._norms import widened
from dlcore.ops._workloads import bytes_of, on_gpu
from dlcore.ops.elementwise import add, cast, div, eq, logical_and, lt, maximum, minimum, mul, ne, neg, sub, where
from dlcore.ops.gather import gather, take
from dlcore.ops.loss import REDUCTIONS, Reduction, reduced, scaled
from dlcore.ops.movement import concat, expand, reshape, stack, unsqueeze
from dlcore.ops.reduce import logsumexp
from dlcore.ops.scan import cumsum

__all__ = ["ctc_loss"]

NEVER = -1e30  # the logarithm of an impossible state: finite, so that gradients are numbers


# ---- by other operations --------------------------------------------------------------------------------------------


def _padded(targets: Any, lengths: Any, blank: int) -> Any:
    """The labels of each sample, (N, S), blanks behind them."""
    if targets.ndim == 1:
        size = targets.shape[0]
        at = add(unsqueeze(sub(cumsum(lengths, 0), lengths), 1), positions(size, targets))
        targets = take(targets, minimum(at, max(size - 1, 0)), 0) if size else expand(targets, (lengths.shape[0], 0))
    inside = lt(positions(targets.shape[1], targets), unsqueeze(lengths, 1))
    return where(inside, cast(targets, int64), blank)


def _before(x: Any, by: int, first: Any) -> Any:
    """Each state's number `by` states before, ``first`` where there is none; x (N, L)."""
    kept = max(x.shape[1] - by, 0)
    return concat([expand(first, (x.shape[0], x.shape[1] - kept)), x[:, :kept]], 1)


def _sum_of(*logarithms: Any) -> Any:
    return logsumexp(stack(list(logarithms)), 0)


def _composed(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, reduction: str,
    zero_infinity: bool,
) -> Any:  # fmt: skip
    """Step by step over all states of all samples."""
    x = widened(log_probs if log_probs.ndim == 3 else unsqueeze(log_probs, 1))
    count = x.shape[1]
    steps, lengths = (reshape(cast(n, int64), (count,)) for n in (input_lengths, target_lengths))
    labels = _padded(targets, lengths, blank)
    no_label, never = constant(np.array(blank), x), cast(constant(np.array(NEVER), x), x.dtype)
    pairs = reshape(stack([expand(no_label, labels.shape), labels], 2), (count, 2 * labels.shape[1]))
    label = concat([pairs, expand(no_label, (count, 1))], 1)  # of each state
    emissions = gather(x, expand(label, (x.shape[0], *label.shape)), 2)
    emissions = maximum(emissions, NEVER)
    jumps = logical_and(ne(label, blank), ne(label, _before(label, 2, no_label)))
    skip = where(jumps, cast(constant(np.array(0.0), x), x.dtype), never)
    alpha = expand(never, label.shape)
    for t in range(x.shape[0]):
        if t == 0:
            reached = where(lt(positions(label.shape[1], x), 2), emissions[0], never)
        else:
            reached = _sum_of(alpha, _before(alpha, 1, never), add(_before(alpha, 2, never), skip))
            reached = add(reached, emissions[t])
        alpha = where(unsqueeze(lt(t, steps), 1), reached, alpha)
    last = mul(lengths, 2)
    ends = [gather(alpha, unsqueeze(at, 1), 1)[:, 0] for at in (last, maximum(sub(last, 1), 0))]
    total = _sum_of(ends[0], where(ne(lengths, 0), ends[1], never))
    losses = where(lt(total, NEVER / 10), 0.0 if zero_infinity else math.inf, neg(total))
    losses = where(logical_and(eq(steps, 0), eq(lengths, 0)), 0.0, losses)
    losses = _reduced(losses, lengths, reduction)
    losses = losses if losses.ndim == 0 or log_probs.ndim == 3 else losses[0]
    return losses if losses.dtype is log_probs.dtype else cast(losses, log_probs.dtype)


def _reduced(losses: Any, lengths: Any, reduction: str) -> Any:
    """The mean is that of the losses of a label."""
    if reduction == "mean":
        losses = div(losses, cast(maximum(lengths, 1), losses.dtype))
    return reduced(losses, reduction)


# ---- the definition -------------------------------------------------------------------------------------------------


def _numpy_losses(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, zero_infinity: bool
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The loss of each sample by all of its states, how many steps it has, and how many labels."""
    x = log_probs if log_probs.ndim == 3 else log_probs[:, None]
    steps, lengths = (np.atleast_1d(np.asarray(n)).astype(np.int64) for n in (input_lengths, target_lengths))
    found, first = np.zeros(x.shape[1]), 0
    for n, (count, length) in enumerate(zip(steps, lengths, strict=True)):
        row = targets[n] if targets.ndim == 2 else targets[first:]
        first += length
        states = [blank]
        for label in row[:length]:
            states += [int(label), blank]
        ways = np.full(len(states), -np.inf)
        for t in range(count):
            new = np.full(len(states), -np.inf)
            for s, label in enumerate(states):
                come = [ways[s], *(ways[s - 1 : s] if s else [])]
                if s > 1 and label != blank and label != states[s - 2]:
                    come.append(ways[s - 2])
                start = 0.0 if t == 0 and s < 2 else -np.inf
                new[s] = np.logaddexp.reduce([*come, start] if t == 0 else come) + x[t, n, label]
            ways = new
        loss = -np.logaddexp.reduce(ways[-2:]) if count else (np.inf if length else 0.0)
        found[n] = 0.0 if zero_infinity and np.isinf(loss) else loss
    return found, steps, lengths


def _numpy_reduced(losses: Any, lengths: Any, reduction: str, batched: bool) -> Any:
    if reduction == "none":
        return losses if batched else losses[0]
    with np.errstate(invalid="ignore"):
        return losses.sum() if reduction == "sum" else (losses / np.maximum(lengths, 1)).sum() / np.float64(len(losses))


def _lengths_fit(name: str, given: Spec, samples: int, batched: bool) -> None:
    if given.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"ctc_loss: {name} are of dtype {given.dtype.name}, not integers")
    if given.shape != (samples,) and (batched or given.shape != ()):
        raise ShapeError(f"ctc_loss: {name} have shape {given.shape}, not ({samples},): one for each sample")


def _sequences(steps: int, samples: int, classes: int) -> Input:
    """Logarithms of probabilities."""

    def draw(rng: np.random.Generator) -> Any:
        x = rng.standard_normal((steps, samples, classes) if samples else (steps, classes))
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    return Input((steps, samples, classes) if samples else (steps, classes), draw=draw)


def _integers(*values: int) -> Any:
    return np.array(values, np.int64)


def _samples() -> Iterator[Sample]:
    def labels(shape: tuple[int, ...], classes: int) -> Input:
        return Input(shape, 1, classes, int64)

    steps, lengths = _integers(14, 9, 12), _integers(4, 2, 3)
    for reduction in REDUCTIONS:
        yield Sample(_sequences(14, 3, 6), labels((3, 5), 6), steps, lengths, reduction=reduction, why=reduction)
    yield Sample(_sequences(14, 3, 6), labels((9,), 6), steps, lengths, why="one row of targets")
    repeated = np.array([[2, 2, 2, 0], [1, 1, 0, 0]], np.int32)
    yield Sample(_sequences(8, 2, 5), repeated, _integers(8, 7), _integers(4, 2), blank=4, why="equal neighbours")
    yield Sample(_sequences(7, 0, 5), np.array([1, 3, 1], np.int16), np.array(6), np.array(3), reduction="none",
                 why="no batch")  # fmt: skip
    yield Sample(_sequences(5, 2, 4), labels((2, 3), 4), _integers(5, 3), _integers(0, 3), reduction="sum",
                 why="no labels, and no step to spare")  # fmt: skip
    yield Sample(_sequences(1, 2, 3), labels((2, 1), 3), _integers(1, 1), _integers(1, 0), why="one step")
    of_three = np.array([[1, 1, 1], [1, 2, 3], [1, 2, 3]])
    impossible = (_sequences(6, 3, 4), of_three, _integers(4, 2, 6), _integers(3, 3, 2))
    yield Sample(*impossible, zero_infinity=True, why="impossible, taken for 0")
    yield Sample(*impossible, reduction="none", why="impossible", grad=False)
    yield Sample(_sequences(3, 2, 4), labels((2, 2), 4), _integers(0, 0), _integers(0, 2), reduction="none",
                 why="no steps", grad=False)  # fmt: skip
    yield Sample(_sequences(60, 4, 30), labels((4, 20), 30), _integers(60, 55, 50, 60), _integers(20, 20, 1, 9),
                 why="several vectors", grad=False)  # fmt: skip
    yield Sample(np.zeros((4, 0, 3)), np.zeros((0, 2), np.int64), _integers(), _integers(), reduction="sum",
                 why="no samples", grad=False)  # fmt: skip


def _wrong() -> Iterator[ErrorInput]:
    x, targets, steps, lengths = np.zeros((5, 2, 4)), np.array([[1, 2], [3, 1]]), _integers(5, 5), _integers(2, 2)

    def wrong(error: type[Exception], text: str, **changed: Any) -> ErrorInput:
        given = {"log_probs": x, "targets": targets, "input_lengths": steps, "target_lengths": lengths}
        operands = [changed.pop(name, value) for name, value in given.items()]
        return ErrorInput(error, f"ctc_loss: {text}", *operands, **changed)

    yield wrong(ShapeError, "log_probs has shape (4,), not (steps, samples, classes) or (steps, classes)",
                log_probs=np.zeros(4))  # fmt: skip
    yield wrong(ShapeError, "targets has shape (3, 2) for 2 samples, not (2, labels) or (labels of all,)",
                targets=np.ones((3, 2), np.int64))  # fmt: skip
    yield wrong(DTypeError, "targets are of dtype float64, not integers", targets=np.ones((2, 2)))
    yield wrong(ShapeError, "input_lengths have shape (3,), not (2,): one for each sample",
                input_lengths=_integers(5, 5, 5))  # fmt: skip
    yield wrong(ValueError, "blank 4 is none of 4 classes", blank=4)
    text = "input length 6 at position 1 is not between 0 and 5, the steps of log_probs"
    yield wrong(ValueError, text, input_lengths=_integers(5, 6))
    text = "target length -1 at position 0 is not between 0 and 2, the labels of a row of targets"
    yield wrong(ValueError, text, target_lengths=_integers(-1, 2))
    yield wrong(ValueError, "targets holds 3 labels, target_lengths add up to 4", targets=_integers(1, 2, 3))
    text = "label 4 at position (1, 0) is out of range for 4 classes"
    yield wrong(IndexError, text, targets=np.array([[1, 2], [4, 1]]))
    yield wrong(IndexError, "label 2 at position (0, 1) is the blank", blank=2)


def _in_memory(input_lengths: Spec, target_lengths: Spec) -> bool:
    """Whether lengths are tensors: of numbers a GPU's kernels have no address."""
    return not (input_lengths.weak or target_lengths.weak)


def _workloads() -> Iterator[Workload]:
    def speech(steps: int, samples: int, classes: int, labels: int) -> tuple[Any, ...]:
        return (
            _sequences(steps, samples, classes), Input((samples, labels), 1, classes, int64),
            Input((samples,), steps - steps // 8, steps + 1, int64), Input((samples,), labels // 2, labels + 1, int64),
        )  # fmt: skip

    yield Workload(speech(100, 32, 30, 20), (), "words")
    yield Workload(speech(400, 16, 32, 80), (), "sentences")
    yield Workload(speech(300, 8, 5000, 40), (), "a vocabulary of pieces", (float32,))
    yield on_gpu(speech(1000, 64, 512, 150))


@operation(
    family="ctc", kernels={"cuda": [("ctc.ctc:ctc_loss", _in_memory)]}, cast="float32", kinds=("float",),
    promote=as_given, ulp=8, extras="dlog_probs", batching="loop",
    composite=_composed, samples=_samples, error_inputs=_wrong, workloads=_workloads,
    params=lambda blank, reduction, zero_infinity: (blank, REDUCTIONS.index(reduction), int(zero_infinity)),
    cost=lambda log_probs, targets: (  # two passes over the states, 4 exponentials or logarithms of 12 each
        100.0 * math.prod(log_probs.shape[:-1]) * (2 * targets.shape[-1] + 1), bytes_of(log_probs, targets),
    ),
    baselines={
        "torch": "F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)",
    },
)  # fmt: skip
def ctc_loss(
    log_probs: Spec, targets: Spec, input_lengths: Spec, target_lengths: Spec, blank: int = 0,
    reduction: Reduction = "mean", zero_infinity: bool = False,
) -> tuple[Spec, Spec]:  # fmt: skip
    """The negative logarithm of the probability of a sequence of labels whose times are unknown.

    `log_probs`: (T, N, C) logarithms of the probabilities of C classes at T steps, or (T, C) of one sequence;
    `targets`: (N, S) labels, or those of all samples in one row, (sum of `target_lengths`,); `input_lengths` and
    `target_lengths`: (N,), or a number for one sequence. A way through the steps says a label or the `blank` at each;
    repetitions are taken together and blanks left out, and what remains is the target: the loss is the negative
    logarithm of the sum of all ways. `reduction`: "mean" (of the losses, each divided by the length of its target),
    "sum" or "none". Where no way is long enough the loss is infinite and its gradient NaN; with `zero_infinity` both
    are 0.

    The gradient is the derivative by `log_probs` as they are, minus the probability of each class at each step; behind
    log_softmax it gives the same as PyTorch's, which adds exp(log_probs). Sums are relative to the largest of a step,
    in float32 or wider; samples run in parallel, and bits do not depend on threads. Raises ValueError for a length
    that is negative or too large, IndexError for a label that is no class or the blank, before anything is written;
    ShapeError, DTypeError. Graves et al. 2006.

    >>> dl.ctc_loss(dl.log_softmax(dl.zeros(3, 1, 2), -1), dl.tensor([[1]]), [3], [1]).round(4)
    tensor(0.2877)
    """
    if len(log_probs.shape) not in (2, 3):
        raise ShapeError(
            f"ctc_loss: log_probs has shape {log_probs.shape}, not (steps, samples, classes) or (steps, classes)"
        )
    batched, classes = len(log_probs.shape) == 3, log_probs.shape[-1]
    samples = log_probs.shape[1] if batched else 1
    if targets.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"ctc_loss: targets are of dtype {targets.dtype.name}, not integers")
    if len(targets.shape) != 1 and not (batched and len(targets.shape) == 2 and targets.shape[0] == samples):
        wanted = f"({samples}, labels) or (labels of all,)" if batched else "(labels,)"
        of = f"{samples} samples, not {wanted}" if batched else f"one sample, not {wanted}"
        raise ShapeError(f"ctc_loss: targets has shape {targets.shape} for {of}")
    _lengths_fit("input_lengths", input_lengths, samples, batched)
    _lengths_fit("target_lengths", target_lengths, samples, batched)
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss: blank {blank} is none of {classes} classes")
    shape = (samples,) if batched and reduction == "none" else ()
    return Spec(shape, log_probs.dtype), Spec(log_probs.shape, log_probs.dtype)


@ctc_loss.reference
def _(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, reduction: str,
    zero_infinity: bool,
) -> Any:  # fmt: skip
    losses, _, lengths = _numpy_losses(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity)
    return _numpy_reduced(losses, lengths, reduction, log_probs.ndim == 3)


@ctc_loss.magnitude
def _(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, reduction: str
) -> Any:  # fmt: skip
    """A sum over steps, each of the size of a logarithm."""
    losses, steps, lengths = _numpy_losses(log_probs, targets, input_lengths, target_lengths, blank, True)
    return _numpy_reduced(np.abs(losses) + steps, lengths, reduction, log_probs.ndim == 3)


@ctc_loss.gradient("log_probs")
def _(
    dout: Any, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, dlog_probs: Any, blank: int,
    reduction: str, zero_infinity: bool, create_graph: bool, retain_graph: bool, dout_is_one: bool,
) -> Any:  # fmt: skip
    if create_graph:
        rest = targets, input_lengths, target_lengths, blank, reduction, zero_infinity
        return recomputed(lambda x: _composed(x, *rest), [dout], [log_probs], [True], True)[0]
    if reduction == "none" and not dout_is_one and dout.shape:
        dout = unsqueeze(dout, -1)
    return scaled(dlog_probs, dout, retain_graph, dout_is_one)


@ctc_loss.restrict
def _(operands: list[Any], largest: float) -> None:
    """Sums over steps must be numbers, and no logarithm of a probability is infinite above."""
    x = limited(operands[0], 1e4)
    operands[0] = np.where(x == np.inf, 0.0, x)
