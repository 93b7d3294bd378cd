"""Operations on numbers: remainders as in C, common divisors, choices that pass NaN over, blends of three operands.

Operands broadcast by NumPy's rule and are promoted to a common dtype; Python numbers take the tensor's. The 16-bit
floats are computed in float32 and rounded once. Integers wrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore._arguments import choice, renamed
from dlcore.dtypes import INTEGERS
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload, widest
from dlcore.ops._pointwise import ANY, AWAY_FROM_ZERO, NUMBER, Pointwise, ends, pointwise, specials
from dlcore.ops._workloads import MILLION, RAGGED, library
from dlcore.ops.bitwise import Bitwise
from dlcore.ops.elementwise import div as quotient
from dlcore.ops.elementwise import (
    eq,
    floor_divide,
    gt,
    isfinite,
    isnan,
    logical_or,
    lt,
    mul,
    neg,
    square,
    sub,
    where,
)
from dlcore.ops.movement import contiguous
from dlcore.ops.rounding import isneginf, isposinf, trunc

__all__ = [
    "addcdiv", "addcmul", "div", "fmax", "fmin", "fmod", "gcd", "heaviside", "lcm", "lerp", "nan_to_num", "nextafter",
]  # fmt: skip


def _quietly(function: Any) -> Any:
    """NumPy's function without its warning; of integers a modulo 0 is 0."""

    def reference(a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(a, b)

    return reference


fmod = pointwise(
    "fmod", "a b",
    "Remainder a - b trunc(a / b), with the sign of a, as C's fmod; integers modulo 0 give 0. See also `remainder`.",
    domain=AWAY_FROM_ZERO, kinds=NUMBER, ulp=0, reference=_quietly(np.fmod), smooth=False,
    gradient={"a": lambda dout: dout, "b": lambda dout, a, b: neg(mul(dout, trunc(quotient(a.detach(), b.detach()))))},
    samples=[
        Sample(Input((5, 7), 2.2, 2.8), Input((7,), draw=lambda g: g.choice([-1.0, 1.0], 7)), why="within one step"),
    ],
    baselines=library("fmod", "a b"),
)  # fmt: skip


def div(x: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """Quotient x / other; ``rounding_mode``: None, "floor" (down, as `floor_divide`) or "trunc" (towards 0).

    Without a mode in floating point, where integers become the default float first, by 0 infinity or NaN. With one
    integers stay integers, and by 0 they give 0; the gradient is 0. Raises ValueError for another mode.

    >>> dl.div(dl.tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """
    if rounding_mode is None:
        return quotient(x, other)
    try:
        if choice(rounding_mode, (None, "floor", "trunc"), "div: rounding_mode") == "floor":
            return floor_divide(x, other)
        exact = floor_divide(sub(x, fmod(x, other)), other)
        return trunc(quotient(x, other)) if exact.dtype.is_float else exact
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, "div") from None


# ---- common divisors ----------------------------------------------------------------------------------------------


class Divisors(Bitwise):
    """Integers, and what they have in common."""

    kinds = ("int", "uint")


gcd = Divisors.named(
    "gcd", "a b", "Greatest common divisor of |a| and |b|; of 0 and b it is |b|. DTypeError for bools and floats.",
)  # fmt: skip
lcm = Divisors.named(
    "lcm", "a b",
    "Least common multiple of |a| and |b|, which wraps; 0 where either is 0. DTypeError for bools and floats.",
)  # fmt: skip

# ---- choices ------------------------------------------------------------------------------------------------------


def _shares(dout: Any, a: Any, b: Any, loses: Any) -> tuple[Any, Any]:
    """What two operands get: nothing where one is NaN or ``loses`` against the other, half at a tie, else all."""
    share = where(eq(a, b), mul(dout, 0.5), dout)
    return where(logical_or(loses(a, b), isnan(a)), 0, share), where(logical_or(loses(b, a), isnan(b)), 0, share)


fmax = pointwise(
    "fmax", "a b",
    "The larger of a and b; the other where one is NaN. At ties the gradient is split half and half.",
    kinds=NUMBER, ulp=0, signed_zeros=False,
)  # fmt: skip
fmin = pointwise(
    "fmin", "a b",
    "The smaller of a and b; the other where one is NaN. At ties the gradient is split half and half.",
    kinds=NUMBER, ulp=0, signed_zeros=False,
)  # fmt: skip


@fmax.gradient("a", "b")
def _(dout: Any, a: Any, b: Any) -> Any:
    return _shares(dout, a, b, lt)


@fmin.gradient("a", "b")
def _(dout: Any, a: Any, b: Any) -> Any:
    return _shares(dout, a, b, gt)


def _heaviside(x: Any, values: Any) -> Any:
    return np.where(x != x, x, np.where(x > 0, 1, np.where(x < 0, 0, values)))


heaviside = pointwise(
    "heaviside", "x values", "Step function: 0 for x < 0, values for x = 0, 1 for x > 0; NaN of NaN.", kinds=NUMBER,
    ulp=0, reference=_heaviside, baselines=library("heaviside", "x values"),
    gradient={"x": lambda dout: mul(dout, 0), "values": lambda dout, x: where(eq(x, 0), dout, 0)},
)  # fmt: skip


class _Neighbours(Pointwise):
    """Its reference, in float64, does not know the dtype's neighbours: bounds are of an ulp, without infinities."""

    def family_samples(self) -> Iterator[Sample]:
        yield from (s for s in super().family_samples() if s.why != "special values")
        values = np.array([0.0, -0.0, 1.0, -1.0, 1.5, -2.0, 3.0e4, np.nan])
        yield Sample(values[:, None], values, why="zeros and NaN", grad=False)

    def restrict(self, operands: list[Any]) -> None:
        """No infinities, and no numbers next to them."""
        for k, x in enumerate(operands):
            operands[k] = np.where(np.isnan(x), x, np.clip(x, -3e4, 3e4))


nextafter = _Neighbours.named(
    "nextafter", "a b",
    """The number next to a in its dtype, towards b: b itself where they are equal; NaN if either is.

    From 0 the smallest subnormal number, from the largest one infinity. The gradient goes to a.""",
    ulp=1.5, signed_zeros=False, gradient={"a": lambda dout: dout, "b": lambda dout: mul(dout, 0)},
    baselines=library("nextafter", "a b"),
)  # fmt: skip

# ---- NaN and infinities -------------------------------------------------------------------------------------------


class _Finite(Pointwise):
    """Its reference, in float64, does not know the dtype's largest number: infinities come with numbers for them."""

    def family_samples(self) -> Iterator[Sample]:
        yield from (s for s in super().family_samples() if s.why != "special values")
        values = specials(1.5, -2.0)
        yield Sample(values, nan=7.0, posinf=2.0, neginf=-3.0, why="all replaced", grad=False)
        yield Sample(values, posinf=np.inf, neginf=-1.0, why="infinity kept", grad=False)
        yield Sample(np.array([np.nan, -0.0, 3.0, np.nan]), why="NaN", grad=False)
        yield Sample(np.array([np.nan, 0.0, 3.0]), nan=-0.5, why="another number", grad=False)
        yield Sample((33, 65), nan=1.0, posinf=2.0, neginf=3.0, why="nothing replaced")

    def restrict(self, operands: list[Any]) -> None:
        """No infinities."""
        operands[0] = np.where(np.isinf(operands[0]), 1.0, operands[0])


def _by_kernel(x: Spec, posinf: float | None, neginf: float | None) -> bool:
    return x.dtype.is_float and posinf is None and neginf is None


@_Finite.definition(
    kinds=ANY, ulp=0,
    kernels={
        "cpu": [("elementwise:nan_to_num", _by_kernel)], "cuda": [("elementwise.planners:nan_to_num", _by_kernel)],
    },
    gradient=lambda dout, x: where(isfinite(x), dout, 0),
    baselines={
        "numpy": "np.nan_to_num(x, True, nan, posinf, neginf)", "torch": "torch.nan_to_num(x, nan, posinf, neginf)",
        "torch out": "torch.nan_to_num(x, nan, posinf, neginf, out=out)",
        "jax": "jnp.nan_to_num(x, True, nan, posinf, neginf)",
    },
)  # fmt: skip
def nan_to_num(x: Spec, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> None:
    """x with numbers in the place of NaN and infinities: ``nan``, ``posinf`` and ``neginf``.

    A limit of None is the largest finite number of the dtype, or the smallest. Integers and bools stay as they are. The
    gradient is 0 where something was replaced.

    >>> dl.nan_to_num(dl.tensor([1.0, dl.tensor(0.0).log().item()]), neginf=-9)
    tensor([ 1., -9.])
    """


@nan_to_num.composite
def _(x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    if not x.dtype.is_float:
        return contiguous(x)
    high = x.dtype.largest if posinf is None else posinf
    low = -x.dtype.largest if neginf is None else neginf
    return where(isnan(x), nan, where(isposinf(x), high, where(isneginf(x), low, x)))


@nan_to_num.reference
def _(x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        return x.copy()
    high, low = np.inf if posinf is None else posinf, -np.inf if neginf is None else neginf
    return np.where(np.isnan(x), nan, np.where(x == np.inf, high, np.where(x == -np.inf, low, x)))


# ---- three operands -----------------------------------------------------------------------------------------------


class Ternary(Pointwise):
    """An operation of three operands."""

    def family_samples(self) -> Iterator[Sample]:
        yield Sample(*[(33, 65)] * 3, why="no multiple of a vector")
        yield Sample((), (), (), why="0-d")
        yield Sample((0, 3), (1, 3), (3,), why="empty")
        yield Sample((4, 1, 5), (3, 1), (5,), why="broadcast")
        yield Sample((5, 700), (5, 1), (700,), why="broadcast columns, more than a block")
        yield Sample((5, 7), (5, 7), 0.75, why="a Python number")
        yield Sample(*[self.large] * 3, why="several threads", grad=False)
        values = specials(1.0, -2.5)
        yield Sample(values[:, None, None], values[:, None], values, why="special values", grad=False)
        if "int" in self.kinds:
            for dtype in INTEGERS:
                some = ends(dtype)
                yield Sample(some[:, None], some, some[::-1].copy(), why=f"{dtype.name}, wrapping", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: shapes do not broadcast: (3,) and (4,) and ()"
        yield ErrorInput(ShapeError, text, np.ones(3, np.float32), np.ones(4, np.float32), np.float32(1))
        if "bool" not in self.kinds and self.promote is widest:
            yield ErrorInput(DTypeError, f"{self.name}: does not take bool", *[np.array([True])] * 3)

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((8,),) * 3, why="the cost of a call"), Workload((MILLION,) * 3, why="1M"),
            Workload((RAGGED, RAGGED, RAGGED[1:]), why="ragged, broadcast"),
        ]  # fmt: skip


def _lerp(a: Any, b: Any, weight: Any) -> Any:
    return np.where(np.abs(weight) < 0.5, a + weight * (b - a), b - (b - a) * (1 - weight))


lerp = Ternary.named(
    "lerp", "a b weight",
    "Linear interpolation a + weight (b - a), which meets a at weight 0 and b at 1. Integers become the default float.",
    ulp=2, flops=3, reference=_lerp,
    magnitude=lambda a, b, weight: (np.abs(a) + np.abs(b)) * (1 + np.abs(weight)), signed_zeros=False,
    gradient={
        "a": lambda dout, weight: sub(dout, mul(dout, weight)), "b": lambda dout, weight: mul(dout, weight),
        "weight": lambda dout, a, b: mul(dout, sub(b, a)),
    },
    baselines={"torch": "torch.lerp(a, b, weight)", "torch out": "torch.lerp(a, b, weight, out=out)",
               "numpy": "a + weight * (b - a)", "jax": "a + weight * (b - a)"},
)  # fmt: skip
_addcmul = Ternary.named(
    "addcmul", "x a b", "Sum x + a b, rounded once where the processor can.", kinds=NUMBER, ulp=1, flops=2,
    reference=lambda x, a, b: x + a * b, magnitude=lambda x, a, b: np.abs(x) + np.abs(a * b), signed_zeros=False,
    gradient={
        "x": lambda dout: dout, "a": lambda dout, b: mul(dout, b), "b": lambda dout, a: mul(dout, a),
    },
    baselines={"torch": "torch.addcmul(x, a, b)", "torch out": "torch.addcmul(x, a, b, out=out)",
               "numpy": "x + a * b", "jax": "x + a * b"},
)  # fmt: skip
_addcdiv = Ternary.named(
    "addcdiv", "x a b", "Sum x + a / b. Integers become the default float.", ulp=1.5, flops=2,
    domains={"b": AWAY_FROM_ZERO}, reference=lambda x, a, b: x + a / b, signed_zeros=False,
    magnitude=lambda x, a, b: np.abs(x) + np.abs(a / b),
    gradient={
        "x": lambda dout: dout, "a": lambda dout, b: quotient(dout, b),
        "b": lambda dout, a, b: neg(quotient(mul(dout, a), square(b))),
    },
    baselines={"torch": "torch.addcdiv(x, a, b)", "torch out": "torch.addcdiv(x, a, b, out=out)",
               "numpy": "x + a / b", "jax": "x + a / b"},
)  # fmt: skip


def addcmul(x: Any, a: Any, b: Any, value: Any = 1) -> Any:
    """Sum x + value a b of operands that broadcast; ``value``: a number or a tensor.

    Raises ShapeError, DTypeError for bools.

    >>> dl.addcmul(dl.ones(2), dl.tensor([1.0, 2.0]), dl.tensor([3.0, 4.0]), value=0.5)
    tensor([2.5, 5. ])
    """
    try:
        return _addcmul(x, a if isinstance(value, int) and value == 1 else mul(a, value), b)
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, "addcmul") from None


def addcdiv(x: Any, a: Any, b: Any, value: Any = 1) -> Any:
    """Sum x + value a / b of operands that broadcast; ``value``: a number or a tensor. Integers become floats.

    >>> dl.addcdiv(dl.ones(2), dl.tensor([1.0, 2.0]), dl.tensor([2.0, 4.0]), value=2)
    tensor([2., 2.])
    """
    try:
        return _addcdiv(x, a if isinstance(value, int) and value == 1 else mul(a, value), b)
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, "addcdiv") from None
