"""Losses of an input and a target, element by element, whose gradient is computed in the same pass.

They keep the gradient to the input as mse_loss does, already scaled for the reduction; see dlcore/ops/loss.py. Shapes
must agree: nothing is broadcast. Sums are accumulated in float32 within blocks and in float64 beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np

from dlcore.errors import ShapeError
from dlcore.op import Domain, ErrorInput, Op, Sample, Spec, Workload, floating, named
from dlcore.ops._domains import limited
from dlcore.ops._shape import differing
from dlcore.ops._workloads import million_and_ragged
from dlcore.ops.activation import sigmoid
from dlcore.ops.elementwise import abs, add, div, eq, exp, log, log1p, lt, maximum, mul, neg, sign, sub, where
from dlcore.ops.loss import REDUCTIONS, Reduction, numpy_reduced, scaled

__all__ = ["huber_loss", "l1_loss", "smooth_l1_loss"]


class Pairwise(Op):
    """A loss of pairs, of which a definition gives `each` and `size` in NumPy."""

    family = "loss"
    cast = "float32"
    promote = staticmethod(floating)
    extras = "dinput"
    ulp = 4
    each: Callable[..., Any] | None = None
    """A part: the loss of each element."""
    size: Callable[..., Any] | None = None
    """A part: the sum of the absolute values of its terms; default: that of the loss."""
    flops: float = 4
    """Operations for an element."""
    special: Any = ()
    """Pairs (input, target) to test beside NaN and infinity."""

    def family_kernels(self) -> dict[str, Any]:
        return {"cpu": f"loss:{self.name}", "cuda": f"loss.pairs:{self.name}"}

    def infer(self, *args: Any) -> tuple[Spec, Spec]:
        """The loss, and the gradient to the input."""
        self.rule(*args)
        input, target = args[:2]
        if input.shape != target.shape:
            raise ShapeError(f"{self.name}: {differing(input.shape, target.shape)}")
        reduction = args[self.signature.names.index("reduction")]
        return Spec(input.shape if reduction == "none" else (), input.dtype), Spec(input.shape, input.dtype)

    def reference(self, *args: Any) -> Any:
        """Each, reduced."""
        return self._reduced(args, self.each)

    def magnitude(self, *args: Any) -> Any:
        """The sizes of the terms, reduced."""
        return self._reduced(args, self.size) if self.size else self._reduced(args, self.each, np.abs)

    def _reduced(self, args: Any, part: Any, then: Callable[[Any], Any] = np.asarray) -> Any:
        given = dict(zip(self.signature.names, args, strict=True))
        return numpy_reduced(then(named(part, given)), given["reduction"], given["input"].size)

    def restrict(self, operands: list[Any], largest: float) -> None:
        """The sum of a mean, before it is divided, must be a number."""
        operands[:] = [limited(x, 1e30 if largest < 1e300 else 1e300) for x in operands]

    def cost(self, input: Spec) -> tuple[float, float]:
        """Both operands read."""
        return self.flops * math.prod(input.shape), 2.0 * math.prod(input.shape) * input.dtype.itemsize

    def family_samples(self) -> Iterator[Sample]:
        for reduction in REDUCTIONS:
            yield Sample((33, 65), (33, 65), reduction=reduction, why=f"unaligned, {reduction}")
        yield Sample((), (), why="0-d")
        yield Sample((0, 3), (0, 3), reduction="sum", why="empty")
        yield Sample((0, 3), (0, 3), why="mean of nothing", grad=False)
        yield Sample((70_001,), (70_001,), why="several chunks", grad=False)
        values = np.array([(np.nan, 0.5), (0.5, np.nan), *self.special])
        inputs = values.T.copy()
        yield Sample(inputs[0], inputs[1], reduction="none", why="special values", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: shapes differ: (2, 1) and (2,); squeeze(-1) takes the last axis away"
        yield ErrorInput(ShapeError, text, np.full((2, 1), 0.5), np.full(2, 0.5))

    def family_workloads(self) -> list[Workload]:
        return [Workload(((128, 10), (128, 10)), why="small"), *million_and_ragged(2)]


def _gradients(
    slope: Callable[[], Any], dout: Any, dinput: Any, reduction: str, passes: tuple[bool, bool, bool],
    needed: tuple[bool, bool], to_target: Callable[[], Any] | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The gradients to both operands. ``slope``, ``to_target``: those of one element, by operations; the latter is -
    the former where it is not given. ``passes``: create_graph, retain_graph, dout_is_one."""
    create_graph, retain_graph, dout_is_one = passes

    def by_operations(of_one: Any) -> Any:
        whole = mul(of_one, 1 / max(math.prod(dinput.shape), 1)) if reduction == "mean" else of_one
        return whole if dout_is_one else mul(whole, dout)

    own = None
    if needed[0] or to_target is None:
        own = by_operations(slope()) if create_graph else scaled(dinput, dout, retain_graph, dout_is_one)
    other = None
    if needed[1]:
        other = neg(own) if to_target is None else by_operations(to_target())
    return own if needed[0] else None, other


_pairwise = Pairwise.definition
_ENDS = [(np.inf, 0.0), (-np.inf, 1.0), (0.0, 0.0), (-0.0, 0.0)]

# ---- distances ------------------------------------------------------------------------------------------------------


@_pairwise(
    each=lambda input, target: np.abs(input - target), special=_ENDS, flops=2,
    baselines={
        "torch": "F.l1_loss(input, target, reduction=reduction)", "jax": "jnp.mean(jnp.abs(input - target))",
    },
)  # fmt: skip
def l1_loss(input: Spec, target: Spec, reduction: Reduction = "mean") -> None:
    """Absolute error |input - target|, averaged, summed, or one for each element. Its gradient is 0 where they agree.

    `input`, `target`: floats (integers become float32) of one shape. Raises ShapeError where shapes differ.

    >>> dl.l1_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 4.0]))
    tensor(1.)
    """


@l1_loss.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, create_graph: bool, retain_graph: bool,
    dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    passes = create_graph, retain_graph, dout_is_one
    return _gradients(lambda: sign(sub(input, target)), dout, dinput, reduction, passes, needs_input_grad)


def _numpy_smooth(input: Any, target: Any, beta: float) -> Any:
    a = np.abs(input - target)
    return np.where(a < beta, 0.5 * a * a / beta, a - 0.5 * beta)


@_pairwise(
    each=_numpy_smooth, special=[*_ENDS, (1.5, 0.5)], flops=5,
    size=lambda input, target, beta: np.abs(input - target) + np.where(np.abs(input - target) < beta, 0.0, 0.5 * beta),
    samples=[Sample((5, 7), (5, 7), beta=0.3, why="another beta"), Sample((5, 7), (5, 7), beta=0.0, why="beta 0")],
    error_inputs=[
        ErrorInput(ValueError, "smooth_l1_loss: beta -1.0 is negative", np.zeros(2), np.zeros(2), beta=-1.0),
    ],
    baselines={"torch": "F.smooth_l1_loss(input, target, reduction=reduction, beta=beta)"},
)  # fmt: skip
def smooth_l1_loss(input: Spec, target: Spec, reduction: Reduction = "mean", beta: float = 1.0) -> None:
    """Absolute error with a round bottom: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, d = input - target.

    `input`, `target`: floats (integers become float32) of one shape. `beta` 0 gives l1_loss. Girshick 2015. Raises
    ShapeError where shapes differ, ValueError for a negative `beta`.

    >>> dl.smooth_l1_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 5.0]))
    tensor(1.25)
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta {beta} is negative")


def _clipped_slope(input: Any, target: Any, limit: float, factor: float) -> Any:
    d = sub(input, target)
    return where(lt(abs(d), limit), mul(d, factor), mul(sign(d), limit * factor if limit else 1.0))


@smooth_l1_loss.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, beta: float, create_graph: bool,
    retain_graph: bool, dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    def slope() -> Any:
        return _clipped_slope(input, target, beta, 1 / beta if beta else 1.0)

    return _gradients(slope, dout, dinput, reduction, (create_graph, retain_graph, dout_is_one), needs_input_grad)


def _numpy_huber(input: Any, target: Any, delta: float) -> Any:
    a = np.abs(input - target)
    return np.where(a < delta, 0.5 * a * a, delta * (a - 0.5 * delta))


@_pairwise(
    each=_numpy_huber, special=[*_ENDS, (1.5, 0.5)], flops=5,
    size=lambda input, target, delta: _numpy_huber(input, target, delta) + delta * delta,
    samples=[Sample((5, 7), (5, 7), delta=0.3, why="another delta")],
    error_inputs=[
        ErrorInput(ValueError, "huber_loss: delta 0.0 is not positive", np.zeros(2), np.zeros(2), delta=0.0),
    ],
    baselines={"torch": "F.huber_loss(input, target, reduction=reduction, delta=delta)"},
)  # fmt: skip
def huber_loss(input: Spec, target: Spec, reduction: Reduction = "mean", delta: float = 1.0) -> None:
    """Squared error with straight sides: with d = input - target, d^2 / 2 where |d| < delta, else
    delta (|d| - delta / 2).

    `input`, `target`: floats (integers become float32) of one shape. Huber 1964. Raises ShapeError where shapes differ,
    ValueError unless `delta` is positive.

    >>> dl.huber_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 5.0]))
    tensor(1.25)
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta {delta} is not positive")


@huber_loss.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, delta: float, create_graph: bool,
    retain_graph: bool, dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    passes = create_graph, retain_graph, dout_is_one
    slope = lambda: _clipped_slope(input, target, delta, 1.0)  # noqa: E731
    return _gradients(slope, dout, dinput, reduction, passes, needs_input_grad)


# ---- cross-entropies of two classes ---------------------------------------------------------------------------------

_PROBABILITY = Domain(0.05, 0.95, strict=True)


def _numpy_logs(p: Any) -> tuple[Any, Any]:
    return np.maximum(np.log(p), -100.0), np.maximum(np.log1p(-p), -100.0)


@_pairwise(
    name="binary_cross_entropy", flops=60, special=[(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1e-30, 0.5)],
    each=lambda input, target: -(target * _numpy_logs(input)[0] + (1 - target) * _numpy_logs(input)[1]),
    size=lambda input, target: -(np.abs(target) * _numpy_logs(input)[0] + np.abs(1 - target) * _numpy_logs(input)[1]),
    error_inputs=[
        ErrorInput(ValueError, "binary_cross_entropy: input 1.500000 at position 1 is no probability, between 0 and 1; "
                   "of logits take binary_cross_entropy_with_logits", np.array([0.5, 1.5]), np.zeros(2)),
    ],
    baselines={"torch": "F.binary_cross_entropy(input, target, reduction=reduction)"},
)  # fmt: skip
def of_probabilities(
    input: Annotated[Spec, _PROBABILITY], target: Annotated[Spec, _PROBABILITY], reduction: Reduction = "mean"
) -> None:
    """Binary cross-entropy of probabilities: -t log(p) - (1 - t) log(1 - p), logarithms at least -100."""


@of_probabilities.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, create_graph: bool, retain_graph: bool,
    dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    def slope() -> Any:
        return div(sub(input, target), maximum(mul(input, sub(1, input)), 1e-12))

    def to_target() -> Any:
        return sub(maximum(log1p(neg(input)), -100.0), maximum(log(input), -100.0))

    passes = create_graph, retain_graph, dout_is_one
    return _gradients(slope, dout, dinput, reduction, passes, needs_input_grad, to_target)


@_pairwise(
    name="binary_cross_entropy_with_logits", flops=60, special=[*_ENDS, (90.0, 0.5), (-90.0, 0.0), (-700.0, 0.0)],
    each=lambda input, target: (1 - target) * input + np.logaddexp(0, -input) if np.isfinite(input).all() else (
        np.maximum(input, 0) - input * target + np.log1p(np.exp(-np.abs(input)))
    ),
    size=lambda input, target: np.abs(input) * (1 + np.abs(target)) + np.log1p(np.exp(-np.abs(input))),
    baselines={
        "torch": "F.binary_cross_entropy_with_logits(input, target, reduction=reduction)",
        "jax": "jnp.mean(jnp.maximum(input, 0) - input * target + jnp.log1p(jnp.exp(-jnp.abs(input))))",
    },
)  # fmt: skip
def of_logits(input: Spec, target: Annotated[Spec, Domain(0.0, 1.0)], reduction: Reduction = "mean") -> None:
    """Binary cross-entropy of logits: max(x, 0) - x t + log(1 + e^-|x|)."""


@of_logits.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, create_graph: bool, retain_graph: bool,
    dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    passes = create_graph, retain_graph, dout_is_one
    slope = lambda: sub(sigmoid(input), target)  # noqa: E731
    return _gradients(slope, dout, dinput, reduction, passes, needs_input_grad, lambda: neg(input))


# ---- divergences ----------------------------------------------------------------------------------------------------


def _numpy_kl(input: Any, target: Any, log_target: bool) -> Any:
    if log_target:
        p = np.exp(target)
        return np.where(p == 0, 0.0, p * (target - input))
    return np.where(target == 0, 0.0, target * (np.log(target) - input))


def _kl_size(input: Any, target: Any, log_target: bool) -> Any:
    p, own = (np.exp(target), np.abs(target)) if log_target else (target, np.abs(np.log(np.abs(target))))
    return np.where(p == 0, 0.0, np.abs(p) * (own + np.abs(input) + (own if log_target else 0)))


def _without_tails(operands: list[Any]) -> None:
    """No exponential of a target is a subnormal number, which the input would enlarge."""
    input, target = (limited(x, 1e30) for x in operands)
    operands[:] = [input, np.where((target < -20) & (target > -4000), target / 200, target)]


@_pairwise(
    name="kl_div", restrict=_without_tails, each=_numpy_kl, size=_kl_size, flops=30,
    special=[(0.5, 0.0), (-1.0, 1e-30), (-1.0, -0.5)],
    kernels={
        "cpu": [("loss:kl_div_of_logs", lambda log_target: log_target), ("loss:kl_div", None)],
        "cuda": [("loss.pairs:kl_div_of_logs", lambda log_target: log_target), ("loss.pairs:kl_div", None)],
    },
    samples=[
        Sample((5, 7), (5, 7), log_target=True, why="logarithms"),
        Sample(np.array([0.5, -1.0, -2.0]), np.array([-np.inf, -90.0, 0.0]), log_target=True, reduction="none",
               why="logarithms, special values", grad=False),
    ],
    baselines={"torch": "F.kl_div(input, target, reduction=reduction, log_target=log_target)"},
)  # fmt: skip
def divergence(
    input: Spec, target: Annotated[Spec, Domain(0.05, 1.0)], reduction: Reduction = "mean", log_target: bool = False
) -> None:
    """Terms of the Kullback-Leibler divergence: t (log(t) - x), of a target of logarithms e^t (t - x)."""


@divergence.gradient("input", "target")
def _(
    dout: Any, input: Any, target: Any, dinput: Any, reduction: str, log_target: bool, create_graph: bool,
    retain_graph: bool, dout_is_one: bool, needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    def slope() -> Any:
        return neg(exp(target)) if log_target else neg(target)

    def to_target() -> Any:
        if log_target:
            return mul(exp(target), add(sub(target, input), 1))
        none = eq(target, 0)
        return where(none, 0.0, add(sub(log(where(none, 1.0, target)), input), 1))

    passes = create_graph, retain_graph, dout_is_one
    return _gradients(slope, dout, dinput, reduction, passes, needs_input_grad, to_target)
