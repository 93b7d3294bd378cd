"""Angles in radians and the functions of them; lengths.

Integers become the default float. The 16-bit floats are computed in float32 and rounded once. Under autocast they are
float32: slopes grow without bound at the ends of the domains.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from dlcore.op import Domain
from dlcore.ops._pointwise import AWAY_FROM_ZERO, pointwise
from dlcore.ops.elementwise import add, div, mul, neg, rsqrt, square, sub

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "deg2rad", "hypot", "rad2deg", "sinh", "tan",
]  # fmt: skip

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


# ---- tangent and hyperbolic functions -----------------------------------------------------------------------------

tan = _function(
    "tan", doc="Tangent of x in radians; NaN of infinities.", special=(1e5, -3.0, 1.5, 1e-30, 3e6), ulp=3, flops=30,
    gradient=lambda dout, out: mul(dout, add(square(out), 1)),
)  # fmt: skip
_LARGE = (88.5, 89.3, 89.5, -100.0, 1e-5, -1e-30, 1e-40, 710.3, 710.6, 1.0, 5e-310)
sinh = _function(
    "sinh", doc="Hyperbolic sine (e^x - e^-x) / 2.", special=_LARGE, ulp=4, flops=30,
    gradient=lambda dout, x: mul(dout, cosh(x)),
)  # fmt: skip
cosh = _function(
    "cosh", doc="Hyperbolic cosine (e^x + e^-x) / 2.", special=_LARGE, ulp=3, flops=30,
    gradient=lambda dout, x: mul(dout, sinh(x)),
)  # fmt: skip
_FAR = (1.0, -1.0, 1e-30, 1e-40, 1e10, -3e38, 2.0**26, 0.1, 1e300, 1.0000001, 0.5, -0.9999999, 1.5)
asinh = _function(
    "asinh", doc="Inverse of sinh: log(x + sqrt(x^2 + 1)).", reference=np.arcsinh, special=_FAR, ulp=4, flops=50,
    gradient=lambda dout, x: div(dout, hypot(x, 1.0)),
)  # fmt: skip
acosh = _function(
    "acosh", doc="Inverse of cosh, log(x + sqrt(x^2 - 1)), which is not negative; NaN below 1.", reference=np.arccosh,
    domain=Domain(1.1, 5.0), special=_FAR, ulp=4, flops=50,
    gradient=lambda dout, x: mul(dout, mul(rsqrt(sub(x, 1)), rsqrt(add(x, 1)))),
)  # fmt: skip
atanh = _function(
    "atanh", doc="Inverse of tanh, log((1 + x) / (1 - x)) / 2; infinite at -1 and 1, NaN beyond.", ulp=4, flops=50,
    reference=np.arctanh, domain=_WITHIN, special=_FAR,
    gradient=lambda dout, x: div(dout, mul(sub(1, x), add(1, x))),
)  # fmt: skip

# ---- degrees ------------------------------------------------------------------------------------------------------

_DEGREE = math.pi / 180
deg2rad = pointwise(
    "deg2rad", "x", "Degrees in radians: x pi / 180.", ulp=1, special=(180.0, 1e-40, 3e38),
    gradient=lambda dout: mul(dout, _DEGREE),
)  # fmt: skip
rad2deg = pointwise(
    "rad2deg", "x", "Radians in degrees: x 180 / pi.", ulp=1, special=(math.pi, 1e-40, 3e38),
    gradient=lambda dout: mul(dout, 1 / _DEGREE),
)  # fmt: skip
