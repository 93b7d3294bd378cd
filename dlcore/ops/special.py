"""Powers and logarithms to other bases, error functions, gamma functions, and sums of logarithms.

Integers become the default float. The 16-bit floats are computed in float32 and rounded once; under autocast they are
float32.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import integer, renamed
from dlcore.dtypes import float64
from dlcore.op import Domain, ErrorInput, Sample, Spec, floating
from dlcore.ops._pointwise import AWAY_FROM_ZERO, POSITIVE, Pointwise, pointwise
from dlcore.ops._workloads import library
from dlcore.ops.activation import sigmoid
from dlcore.ops.elementwise import (
    abs,
    add,
    cast,
    cos,
    div,
    eq,
    exp,
    le,
    log,
    logical_and,
    lt,
    mul,
    neg,
    pow,
    square,
    sub,
    where,
)

__all__ = [
    "cbrt",
    "digamma",
    "erf",
    "erfc",
    "exp2",
    "float_power",
    "lgamma",
    "log2",
    "log10",
    "logaddexp",
    "polygamma",
    "sinc",
    "xlogy",
]  # fmt: skip

_function = partial(pointwise, operands="x", cast="float32")
_LOG_2, _LOG_10 = math.log(2), math.log(10)

# ---- powers and logarithms ----------------------------------------------------------------------------------------

exp2 = _function(
    "exp2", doc="Power of two, 2^x, exact of whole x.", ulp=2, flops=20,
    special=(127.9, 128.0, -126.5, -149.0, -150.0, 1023.9, 1024.0, -1074.0, -1075.5, 10.0, 0.5, 1e-10),
    gradient=lambda dout, out: mul(dout, mul(out, _LOG_2)),
)  # fmt: skip
_POWERS = (-1.0, 1e-45, 1e-310, 1.0, 1e30, 8.0, 1000.0, 1e10, 0.001, 1.0000001, 0.9999999, 2.0**-140, 1e300)
log2 = _function(
    "log2", doc="Logarithm to base 2; -inf of 0, NaN of negative numbers. Exact of powers of 2.", domain=POSITIVE,
    special=_POWERS, ulp=2, flops=25, gradient=lambda dout, x: div(dout, mul(x, _LOG_2)),
)  # fmt: skip
log10 = _function(
    "log10", doc="Logarithm to base 10; -inf of 0, NaN of negative numbers. Exact of powers of 10.", domain=POSITIVE,
    special=_POWERS, ulp=2, flops=25, gradient=lambda dout, x: div(dout, mul(x, _LOG_10)),
)  # fmt: skip
cbrt = _function(
    "cbrt", doc="Cube root, of negative numbers too. Its gradient at 0 is infinite.", domain=AWAY_FROM_ZERO, ulp=1.5,
    special=(8.0, -27.0, 1e-40, 3e38, 1e-310, 1e300, 1e-30), flops=50,
    gradient=lambda dout, out: div(dout, mul(square(out), 3)), baselines=library("cbrt", torch=""),
)  # fmt: skip


def _xlogy(a: Any, b: Any) -> Any:
    return np.where((a == 0) & ~np.isnan(b), 0.0, a * np.log(b))


def _factor(dout: Any, a: Any, b: Any) -> Any:
    """dout log(b), but 0 where a = 0 and b <= 0, as the function is constant there."""
    plain = mul(dout, log(b))
    return where(logical_and(eq(a, 0), le(b, 0)), 0, plain)


xlogy = pointwise(
    "xlogy", "a b", "Product a log(b), and 0 where a = 0, whatever b is but NaN.", reference=_xlogy, ulp=3, flops=30,
    domains={"b": POSITIVE}, cast="float32",
    gradient={"a": lambda dout, a, b: _factor(dout, a, b), "b": lambda dout, a, b: mul(dout, div(a, b))},
    baselines=library("xlogy", "a b", numpy="", jax="jax.scipy.special.xlogy"),
)  # fmt: skip


def _share(dout: Any, a: Any, b: Any) -> Any:
    """dout e^a / (e^a + e^b); half of it where both are the same infinity."""
    return mul(dout, where(eq(a, b), 0.5, sigmoid(sub(a, b))))


logaddexp = pointwise(
    "logaddexp", "a b", "Logarithm of a sum of exponentials, log(e^a + e^b), which do not overflow.", ulp=3, flops=50,
    cast="float32", special=(88.0, -104.0, 1e30),
    magnitude=lambda a, b: np.maximum(np.maximum(a, b), np.log(2)) + np.maximum(-np.maximum(a, b), 0),
    gradient={"a": lambda dout, a, b: _share(dout, a, b), "b": lambda dout, a, b: _share(dout, b, a)},
    baselines=library("logaddexp", "a b"),
)  # fmt: skip

# ---- error functions ----------------------------------------------------------------------------------------------

_TAILS = (0.5, -0.5, 0.9999999, 1.0, -1.0, 3.0, 4.0, -6.0, 9.0, 9.3, 10.1, 12.0, 26.0, 27.1, 30.0, 1e-30, 1e-40, -1e5)
_SLOPE = 2 / math.sqrt(math.pi)


def _density(dout: Any, x: Any) -> Any:
    return mul(dout, mul(exp(neg(square(x))), _SLOPE))


erf = _function(
    "erf", doc="Error function 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.", ulp=3, flops=50,
    special=_TAILS, reference=np.vectorize(math.erf, otypes=[float]), gradient=lambda dout, x: _density(dout, x),
    baselines=library("erf", numpy="", torch="torch.special.erf", jax="jax.scipy.special.erf"),
)  # fmt: skip
erfc = _function(
    "erfc", doc="Complementary error function 1 - erf(x), accurate where that would cancel.", ulp=4, flops=50,
    special=_TAILS, reference=np.vectorize(math.erfc, otypes=[float]), gradient=lambda dout, x: neg(_density(dout, x)),
    baselines=library("erfc", numpy="", torch="torch.special.erfc", jax="jax.scipy.special.erfc"),
)  # fmt: skip

# ---- gamma functions ----------------------------------------------------------------------------------------------

_POLES = (1.0, 2.0, 0.5, 3.0, 10.0, 1e5, 1e30, 1e-30, -0.5, -1.0, -2.0, -2.5, -10.3, 1e-40, 7.9999, 8.0, 1e300, -1e20)


_PI = np.longdouble("3.14159265358979323846264")


def _lgamma_of(x: Any) -> Any:
    """By Stirling's series at 40 or more, in long double."""
    if np.isinf(x) or (x <= 0 and x == np.floor(x)):
        return np.inf
    if x < 0:
        return np.log(_PI / np.abs(x * np.sin(_PI * (x - np.rint(x))))) - _lgamma_of(-x)
    if x in (1, 2):
        return np.longdouble(0)
    between = np.longdouble(1)
    while x < 40:
        between *= x
        x = x + 1
    z = 1 / (x * x)
    series = (1 / np.longdouble(12) - z * (1 / np.longdouble(360) - z * (1 / np.longdouble(1260) - z / 1680))) / x
    return (x - 0.5) * np.log(x) - x + np.log(2 * _PI) / 2 + series - np.log(between)


def _each(function: Any) -> Any:
    """A function of long doubles as one of arrays."""

    def reference(x: Any) -> Any:
        wide = np.asarray(x, np.longdouble)
        return np.array([function(v) for v in wide.ravel()], np.longdouble).reshape(wide.shape).astype(float)

    return reference


def _digamma_of(x: Any) -> Any:
    """By Euler and Maclaurin at 40 or more, in long double."""
    if np.isnan(x) or x == -np.inf or (x < 0 and x == np.floor(x)):
        return np.nan
    if x == 0:
        return -np.copysign(np.inf, x)
    if x < 0:
        r = x - np.rint(x)
        return _digamma_of(1 - x) - _PI / np.tan(_PI * r)
    below = np.longdouble(0)
    while x < 40:
        below += 1 / x
        x = x + 1
    z = 1 / (x * x)
    return np.log(x) - 1 / (2 * x) - z * (1 / np.longdouble(12) - z * (1 / np.longdouble(120) - z / 252)) - below


_lgamma, _digamma = _each(_lgamma_of), _each(_digamma_of)

lgamma = _function(
    "lgamma",
    doc="""Logarithm of the absolute value of the gamma function, log|gamma(x)|; infinite at 0, -1, -2, ...

    For whole x > 0 it is log((x - 1)!). Near its zeros the error is relative to 2 at most, of 16- and 32-bit floats to
    the result.""",
    ulp=4, flops=150, special=_POLES, domain=Domain(0.3, 12.0), reference=_lgamma,
    magnitude=lambda x: np.maximum(np.abs(_lgamma(x)), 2),
    gradient=lambda dout, x: mul(dout, digamma(x)), large=(2, 8200),
    baselines=library("lgamma", numpy="", jax="jax.scipy.special.gammaln"),
)  # fmt: skip
digamma = _function(
    "digamma",
    doc="""Slope of log(gamma(x)); NaN at -1, -2, ..., -inf at 0, inf at -0.0.

    Near its zeros (1.4616..., and one between any two poles) errors are those of its terms, about 2.""",
    ulp=4, flops=150, special=_POLES, domain=Domain(0.3, 12.0), reference=_digamma, large=(2, 8200),
    magnitude=lambda x: np.abs(_digamma(x)) + 2 + np.log1p(np.abs(np.where(np.isfinite(x), x, 0))),
    gradient=lambda dout, x: mul(dout, digamma_slope(x, 1)),
    baselines=library("digamma", numpy="", jax="jax.scipy.special.digamma"),
)  # fmt: skip


_MOST_SLOPES = 20  # of polygamma; its gradients go on to more


def _digamma_slope_of(x: Any, n: int) -> Any:
    """By Euler and Maclaurin at 40 or more, in long double; of x < 0 by terms that lead there."""
    if np.isnan(x) or x == -np.inf:
        return np.nan
    sign = np.longdouble(1 if n % 2 else -1)
    if x <= 0 and x == np.floor(x):
        return sign * np.inf if n % 2 or x == 0 else np.nan
    found = np.longdouble(0)
    while x < 40:
        found += 1 / x ** (n + 1)
        x = x + 1
    tail, z = 1 / x + np.longdouble(n) / (2 * x * x), 1 / (x * x)
    for j, (over, under) in enumerate(((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6)), 1):
        share = math.factorial(2 * j + n - 1) // math.factorial(n - 1)
        tail += np.longdouble(over) * share / (under * math.factorial(2 * j)) * z**j / x
    return sign * math.factorial(n) * (found + tail / (n * x ** (n - 1)))


def _digamma_slope(x: Any, n: int) -> Any:
    return _each(lambda v: _digamma_slope_of(v, n))(x)


@Pointwise.definition(
    promote=floating, cast="float32", ulp=6, flops=150, large=(2, 8200), methods=False, signed_zeros=False,
    special=(1.0, 2.0, 0.5, 3.0, 10.0, 11.999, 12.0, 1e5, 1e-30, -0.5, -1.0, -2.0, -2.5, -10.3, 1e-40, 1e10),
    params=lambda n: (n,), reference=_digamma_slope,
    magnitude=lambda x, n: (np.abs(_digamma_slope(x, n)) + np.where(x < 0, np.abs(_digamma_slope(1 - x, n)), 0)) * n,
    gradient=lambda dout, x, n: mul(dout, digamma_slope(x, n + 1)),
    samples=[
        *(Sample((5, 7), n=n, why=f"slope {n}", grad=n == 2) for n in (2, 3, 20)),
        *(Sample(np.array([0.5, -0.3, -2.6, -7.75, 30.0, 1e4, -0.0]), n=n, why=f"slope {n}, both sides", grad=False)
          for n in (2, 5)),
    ],
    error_inputs=[
        ErrorInput(ValueError, "digamma_slope: n is 0; it must be from 1 to 24", np.ones(3), n=0),
        ErrorInput(ValueError, "digamma_slope: n is 25; it must be from 1 to 24", np.ones(3), n=25),
    ],
    baselines={
        "numpy": "", "numpy out": "", "torch": "torch.polygamma(n, x)", "jax": "jax.scipy.special.polygamma(n, x)",
    },
)  # fmt: skip
def digamma_slope(x: Annotated[Spec, Domain(0.3, 12.0)], n: int = 1) -> None:
    """The `n`-th derivative of `digamma`, `n` from 1 to 24; see `polygamma`. Computed in float64."""
    if not 1 <= n <= _MOST_SLOPES + 4:
        raise ValueError(f"digamma_slope: n is {n}; it must be from 1 to {_MOST_SLOPES + 4}")


def polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of `digamma`: (-1)^(n + 1) n! times the sum of (x + k)^-(n + 1) over k = 0, 1, 2, ...

    ``n``: 0 (digamma) to 20. It is computed in float64, whatever the dtype, and of x < 0 too; at -1, -2, ... it is
    infinite for odd n, NaN for even n. Raises ValueError for another n.

    >>> dl.round(dl.polygamma(1, dl.tensor([1.0, 0.5])), 4)
    tensor([1.6449, 4.9348])
    """
    n = integer(n, "polygamma: n", 0)
    if n > _MOST_SLOPES:
        raise ValueError(f"polygamma: n is {n}; it must be at most {_MOST_SLOPES}")
    try:
        return digamma_slope(x, n) if n else digamma(x)
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, "polygamma") from None


# ---- sinc ---------------------------------------------------------------------------------------------------------


def _sinc(x: Any) -> Any:
    n = np.rint(x)
    sine = np.sin(np.pi * (x - n)) * np.where(n / 2 == np.rint(n / 2), 1.0, -1.0)
    return np.where(x == 0, 1.0, sine / (np.pi * np.where(x == 0, 1.0, x)))


_SERIES = [(-1) ** k * math.pi ** (2 * k) * 2 * k / math.factorial(2 * k + 1) for k in range(1, 10)]


def _slope_of_sinc(x: Any, out: Any) -> Any:
    """(cos(pi x) - sinc(x)) / x, near 0 by its series: there the difference cancels."""
    near, z = lt(abs(x), 0.5), square(x)
    series: Any = _SERIES[-1]
    for c in reversed(_SERIES[:-1]):
        series = add(mul(z, series), c)
    far = div(sub(cos(mul(x, math.pi)), out), where(near, 1, x))
    return where(near, mul(x, series), far)


sinc = _function(
    "sinc", doc="Normalised sine sin(pi x) / (pi x), 1 at 0; 0 of other whole numbers, NaN of infinities.", ulp=3,
    reference=_sinc, special=(0.5, 1.0, -2.0, 1e-30, 1e5, 3.75, 1e-45), flops=40,
    gradient=lambda dout, x, out: mul(dout, _slope_of_sinc(x, out)), baselines=library("sinc", out=("torch",)),
)  # fmt: skip


def float_power(x: Any, exponent: Any) -> Any:
    """Power x^exponent in float64, whatever the operands' dtypes.

    Integers have negative powers here. See `pow` for special values.

    >>> dl.float_power(dl.tensor([2, 4]), -1).dtype.name
    'float64'
    """
    try:
        return pow(cast(x, float64), cast(exponent, float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, "float_power") from None
