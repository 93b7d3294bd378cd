"""Rounding to whole numbers and digits, and the signs and infinities of floats.

Rounding gives the operand's dtype; integers are whole already. Numbers that are rounded to zero keep their sign, NaN
and infinities stay what they are. Gradients of rounding are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import INTEGERS, bool_
from dlcore.op import Input, Sample, Spec, Workload
from dlcore.ops._pointwise import NUMBER, Pointwise, ends, pointwise
from dlcore.ops._workloads import MILLION, RAGGED, library
from dlcore.ops.elementwise import mul, sign

__all__ = ["ceil", "copysign", "floor", "isinf", "isneginf", "isposinf", "round", "signbit", "trunc"]

_HALVES = (0.5, -0.5, 1.5, 2.5, -2.5, 0.3, -0.3, 2.0**23 + 1, -(2.0**22) - 0.5, 1e10, 1e300)

_rounding = partial(
    pointwise, operands="x", kinds=NUMBER, ulp=0, special=_HALVES, smooth=False, gradient=lambda dout: mul(dout, 0)
)
floor = _rounding("floor", doc="The largest whole number that is not above x. Integers stay as they are.")
ceil = _rounding("ceil", doc="The smallest whole number that is not below x. Integers stay as they are.")
trunc = _rounding("trunc", doc="x without its fraction: the next whole number towards 0. Integers stay as they are.")


def _sixtyfourths(rng: np.random.Generator) -> Any:
    """Numbers that all libraries round alike: elsewhere x 10^decimals is rounded first, at times to a tie."""
    return rng.integers(-4096, 4096, MILLION) / 64


def _by_digits(decimals: int) -> bool:
    return decimals == 0


@Pointwise.definition(
    kinds=NUMBER, ulp=0.5, special=_HALVES, smooth=False, gradient=lambda dout: mul(dout, 0),
    kernels={
        "cpu": [("elementwise:round", _by_digits), ("elementwise:round_digits", None)],
        "cuda": [("elementwise.planners:round", _by_digits), ("elementwise.planners:round_digits", None)],
    },
    workloads=[
        Workload(((8,),), why="the cost of a call"), Workload((MILLION,), why="1M"),
        Workload((Input(MILLION, draw=_sixtyfourths),), (2,), "1M, two digits"), Workload((RAGGED,), why="ragged"),
    ],
    baselines={
        "numpy": "np.round(x, decimals)", "torch": "torch.round(x, decimals=decimals)",
        "torch out": "torch.round(x, decimals=decimals, out=out)", "jax": "jnp.round(x, decimals)",
    },
)  # fmt: skip
def round(x: Spec, decimals: int = 0) -> None:
    """The nearest whole number, at ties the even one; or with ``decimals`` digits behind the point.

    rint(x 10^decimals) / 10^decimals, computed in float64; what has no such digits, or no room for them, stays as it
    is. Negative ``decimals`` round to tens, hundreds, ..., integers too, which wrap where they leave the dtype.

    >>> dl.round(dl.tensor([0.5, 1.5, 2.675]), decimals=2)
    tensor([0.5 , 1.5 , 2.67])
    """


@round.reference
def _(x: Any, decimals: int) -> Any:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        if decimals >= 0:
            return x.copy()
        unit = 10**-decimals

        def nearest(v: int) -> int:
            below, rest = divmod(int(v), unit)
            return (below + (2 * rest > unit or (2 * rest == unit and below % 2))) * unit % (1 << 64)

        return np.vectorize(nearest, otypes=[np.uint64])(x).astype(x.dtype)
    power = np.float64(10.0 ** abs(decimals))
    if decimals < 0:
        return np.where(np.isfinite(x), np.rint(x / power) * power, x)
    scaled = x * power
    return np.where(np.abs(scaled) < 2.0**52, np.rint(scaled) / power, x)


@round.samples
def _() -> Iterator[Sample]:
    values = np.array([0.125, -0.125, 2.675, 1e-20, 12345.678, 4.5e15, 1e300, -1e-3, np.inf, np.nan, -0.0, 55.0, 45.0])
    for decimals in (1, 3, -1, -3, 25):
        yield Sample(values, decimals=decimals, why=f"{decimals} digits", grad=False)
    yield Sample((33, 65), decimals=2, why="two digits of many", grad=False)
    for dtype in INTEGERS:
        for decimals in (-1, -2, 2):
            yield Sample(ends(dtype), decimals=decimals, why=f"{dtype.name}, {decimals} digits", grad=False)
    wide = np.array([2**62 + 1, -(2**63), 2**63 - 1, 15, 25, 500000, 5 * 10**17], np.int64)
    for decimals in (-1, -6, -18, -19, -25):
        yield Sample(wide, decimals=decimals, why=f"large integers, {decimals} digits", grad=False)


# ---- signs and infinities -----------------------------------------------------------------------------------------

copysign = pointwise(
    "copysign", "a b", "The size of a with the sign of b, of zeros and NaN too. Integers become the default float.",
    ulp=0, gradient={"a": lambda dout, a, out: mul(dout, mul(sign(a), sign(out))), "b": lambda dout: mul(dout, 0)},
)  # fmt: skip

_test = partial(pointwise, operands="x", result=bool_)
isinf = _test("isinf", doc="Whether each element is infinite, as bools.", baselines=library("isinf", out=("numpy",)))
isposinf = _test("isposinf", doc="Whether each element is plus infinity, as bools.")
isneginf = _test("isneginf", doc="Whether each element is minus infinity, as bools.")
signbit = _test("signbit", doc="Whether the sign of each element is minus, of zeros and NaN too, as bools.")
