"""Angles in radians and the functions of them; lengths.

Integers become the default float. The 16-bit floats are computed in float32 and rounded once. Under autocast they are
float32: slopes grow without bound at the ends of the domains.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dlcore.op import Domain
from dlcore.ops._pointwise import AWAY_FROM_ZERO, pointwise
from dlcore.ops.elementwise import add, div, mul, neg, rsqrt, square, sub

__all__ = ["acos", "asin", "atan", "atan2", "hypot"]

_function = partial(pointwise, operands="x", cast="float32")
_WITHIN = Domain(-0.99, 0.99)
_EDGES = (1.0, -1.0, 0.5, -0.5, 0.5000001, 0.9999999, 1.0000001, -1.5, 1e-10, 1e-40)


def _slope_of_asin(x: Any) -> Any:
    return rsqrt(mul(sub(1, x), add(1, x)))


asin = _function(
    "asin", doc="Arc sine: the angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1].", reference=np.arcsin,
    domain=_WITHIN, special=_EDGES, ulp=3, flops=25, gradient=lambda dout, x: mul(dout, _slope_of_asin(x)),
)  # fmt: skip
acos = _function(
    "acos", doc="Arc cosine: the angle in [0, pi] whose cosine is x; NaN outside [-1, 1].", reference=np.arccos,
    domain=_WITHIN, special=_EDGES, ulp=3, flops=25, gradient=lambda dout, x: neg(mul(dout, _slope_of_asin(x))),
)  # fmt: skip
atan = _function(
    "atan", doc="Arc tangent: the angle in (-pi/2, pi/2) whose tangent is x.", reference=np.arctan, ulp=3, flops=25,
    special=(0.41421357, 2.4142136, 1.0, -1.0, 1e-40, 1e30, -3.0),
    gradient=lambda dout, x: div(dout, add(square(x), 1)),
)  # fmt: skip


def _towards(dout: Any, over: Any, a: Any, b: Any) -> Any:
    """dout over / (a^2 + b^2), whose squares may be too large."""
    r = hypot(a, b)
    return div(mul(dout, div(over, r)), r)


atan2 = pointwise(
    "atan2", "a b",
    """The angle of the point (b, a), in [-pi, pi]: the arc tangent of a / b with the quadrant that their signs tell.

    The sign is that of a, of zeros too: atan2(-0.0, -1) = -pi. Of two zeros 0 or pi, of two infinities +-pi/4 or
    +-3 pi/4, as in C. Its gradient at (0, 0) is NaN.""",
    reference=np.arctan2, domain=AWAY_FROM_ZERO, special=(1e-40, 1e-45, 3e38), ulp=3, flops=30, cast="float32",
    gradient={"a": lambda dout, a, b: _towards(dout, b, a, b), "b": lambda dout, a, b: neg(_towards(dout, a, a, b))},
)  # fmt: skip
hypot = pointwise(
    "hypot", "a b",
    """Length of the hypotenuse, sqrt(a^2 + b^2), without overflow of the squares.

    Infinity where either is infinite, even beside NaN. Its gradient at (0, 0) is NaN.""",
    domain=AWAY_FROM_ZERO, special=(1e-40, 3e38, 1e300, 1e-300), ulp=1.5, flops=5, cast="float32",
    gradient={
        "a": lambda dout, a, out: mul(dout, div(a, out)), "b": lambda dout, b, out: mul(dout, div(b, out)),
    },
)  # fmt: skip
