"""What the operations of dlcore/ops/special.py do to one element: as csrc/elementwise/special.inl, with its bounds.

The gamma functions, cbrt of float32 and sinc are computed in float64, whatever the dtype: bound by arithmetic where
that is slow. The others are bound by memory in float32.
"""

from dlcore.kernels.common.activations import tail_ratio
from dlcore.kernels.common.math import (
    ZERO32,
    ZERO64,
    at_most,
    copysign_,
    exp_,
    log1p_,
    log_,
    log_reduced,
    poly,
    power_of_two,
    reduce_exp,
    scale_exp,
    split_exponent,
)
from dlcore.kernels.elementwise.rounding import round
from dlcore.kernels.language import jit, tl

# ---- powers and logarithms ------------------------------------------------------------------------------------------


@jit
def exp2(x):
    least = -1080.0 if x.dtype == tl.float64 else -151.0
    most = 1025.0 if x.dtype == tl.float64 else 129.0
    zero: tl.constexpr = ZERO64 if x.dtype == tl.float64 else ZERO32
    inside = tl.where(x > most, most, tl.where(x < least, least, x))
    rounded = inside + zero
    return scale_exp((inside - (rounded - zero)) * 0.6931471805599453, rounded)


@jit
def log_and_exponent(x):  # (log(m), e) of x = m 2^e
    shift = 54 if x.dtype == tl.float64 else 25
    subnormal = x < (2.2250738585072014e-308 if x.dtype == tl.float64 else 1.1754943508222875e-38)
    m, e = split_exponent(tl.where(subnormal, x * (18014398509481984.0 if shift == 54 else 33554432.0), x))
    return log_reduced(m - 1.0, tl.zeros_like(x)), tl.where(subnormal, e - shift, e)


@jit
def log_of_all(x, y):
    positive = tl.where(x < float("inf"), y, x)
    return tl.where(x > 0.0, positive, tl.where(x == 0.0, float("-inf"), float("nan")))


@jit
def log2(x):
    log, e = log_and_exponent(x)
    if x.dtype == tl.float64:
        return log_of_all(x, tl.fma(log, 1.4426950408889634, tl.fma(log, 2.0355273740931033e-17, e)))
    else:
        return log_of_all(x, tl.fma(log, 1.4426950216293335, tl.fma(log, 1.925963033500011e-08, e)))


@jit
def log10(x):  # log10(2) in two parts, the first exact times e
    log, e = log_and_exponent(x)
    if x.dtype == tl.float64:
        small = tl.fma(log, 0.4342944819032518, tl.fma(log, 1.098319650216765e-17, e * 1.42050232272661e-13))
        return log_of_all(x, tl.fma(e, 0.30102999566383914, small))
    else:
        small = tl.fma(log, 0.4342944920063019, tl.fma(log, -1.0103049952192578e-08, e * 4.605039e-06))
        return log_of_all(x, tl.fma(e, 0.301025390625, small))


@jit
def cbrt_step(y, x):  # of Newton's method
    squared = y * y
    return y - (squared * y - x) / (3.0 * squared)


@jit
def cbrt(x):  # of m 2^e: the cube root of m 2^(e mod 3), times 2^(e / 3)
    zero: tl.constexpr = ZERO64 if x.dtype == tl.float64 else ZERO32
    shift = 54 if x.dtype == tl.float64 else 24
    a = tl.abs(x)
    subnormal = a < (2.2250738585072014e-308 if x.dtype == tl.float64 else 1.1754943508222875e-38)
    m, e = split_exponent(tl.where(subnormal, a * (18014398509481984.0 if shift == 54 else 16777216.0), a))
    e = tl.where(subnormal, e - shift, e)
    rounded = tl.fma(e, 0.3333333333333333, zero)
    rest = e - 3.0 * (rounded - zero)
    near = poly(m, (0.4516677219701127, 0.9048152875563914, -0.5356257014068374, 0.21693434821619456,
                    -0.03778741202825278)).to(tl.float64)  # fmt: skip
    near *= tl.where(rest > 0.0, 1.2599210498948732, tl.where(rest < 0.0, 0.7937005259840998, 1.0)).to(tl.float64)
    of = m.to(tl.float64) * tl.where(rest > 0.0, 2.0, tl.where(rest < 0.0, 0.5, 1.0)).to(tl.float64)
    y = cbrt_step(near, of)
    if x.dtype == tl.float64:
        squared = y * y
        low = tl.fma(y, y, -squared) * y
        y -= (tl.fma(squared, y, -of) + low) / (3.0 * squared)
    root = y.to(x.dtype) * power_of_two(rounded)
    return tl.where((a > 0.0) & (a < float("inf")), copysign_(root, x), x)


@jit
def xlogy(a, b):
    return tl.where((a == 0.0) & (b == b), 0.0, a * log_(b))


@jit
def logaddexp(a, b):
    most = tl.where((a > b) | (a != a), a, b)
    return most + log1p_(exp_(tl.where(a == b, 0.0, -tl.abs(a - b))))


# ---- error functions ------------------------------------------------------------------------------------------------


@jit
def erfc_positive(a):  # 1 - erf(a) for a >= 0
    x = at_most(a, 27.3 if a.dtype == tl.float64 else 10.2)
    squared = x * x
    r, rounded = reduce_exp(-squared)
    return scale_exp(r - tl.fma(x, x, -squared), rounded) * (2.0 * tail_ratio(x * 1.4142135623730951))


@jit
def erf(x):
    a = tl.abs(x)
    z = a * a
    if x.dtype == tl.float64:
        p = poly(z, (0.1283791670955126, -0.3761263890318375, 0.11283791670954885, -0.026866170645077875,
                     0.005223977624828431, -0.0008548326981425541, 0.00012055331132955798, -1.4925595772180445e-05,
                     1.6461008477795947e-06, -1.6350396222798252e-07, 1.466032872232511e-08, -1.1374955734553238e-09,
                     5.960685336093912e-11))  # fmt: skip
    else:
        p = poly(z, (0.128379166, -0.37612626, 0.112836003, -0.0268544462, 0.00518953661, -0.000802084571,
                     7.8891193e-05))  # fmt: skip
    return copysign_(tl.where(a < 1.0, tl.fma(a, p, a), 1.0 - erfc_positive(a)), x)


@jit
def erfc(x):
    tail = erfc_positive(tl.abs(x))
    return tl.where(x < 0.0, 2.0 - tail, tail)


# ---- gamma functions ------------------------------------------------------------------------------------------------


@jit
def sine_ratio(z):  # sin(pi r) / r for |r| <= 1/2, z = r^2
    return poly(z, (3.141592653589793, -5.167712780049969, 2.550164039877294, -0.5992645293187383,
                    0.08214588656989333, -0.007370430478768394, 0.00046629968879996004, -2.190318548305919e-05,
                    7.694727910685407e-07))  # fmt: skip


@jit
def lgamma(x):
    infinity = float("inf")
    wide = x.to(tl.float64)
    a = tl.abs(wide)
    small = a < 8.0
    w = tl.where(small, a + 8.0, a)
    v = 1.0 / w
    series = v * poly(v * v, (0.08333333333333333, -0.002777777777777778, 0.0007936507936507937,
                              -0.0005952380952380953, 0.0008417508417508417, -0.0019175269175269176,
                              0.00641025641025641))  # fmt: skip
    y = tl.fma(a - 0.5, log_(w), 0.9189385332046727 - w) + series
    between = a * (a + 1.0) * (a + 2.0) * (a + 3.0) * (a + 4.0) * (a + 5.0) * (a + 6.0) * (a + 7.0)
    squared = w * w
    fourth = squared * squared
    q = tl.where(small, fourth * fourth / between, 1.0)
    r = a - round(a)
    negative = wide < 0.0
    rest = log_(tl.where(negative, 3.141592653589793 / (a * tl.abs(r * sine_ratio(r * r)) * q), q))
    found = rest + tl.where(negative, -y, y)
    found = tl.where((wide == 1.0) | (wide == 2.0), 0.0, found)
    return tl.where((a == infinity) | (a == 0.0), infinity, found).to(x.dtype)


@jit
def digamma(given):
    wide = given.to(tl.float64)
    x = tl.where(wide < 0.0, 1.0 - wide, wide)
    small = x < 8.0
    over = x * 0.0 + 1.0
    under = x
    for k in tl.static_range(1, 8):
        over = tl.fma(over, x + k, under)
        under *= x + k
    w = tl.where(small, x + 8.0, x)
    v = 1.0 / w
    z = v * v
    series = z * poly(z, (0.08333333333333333, -0.008333333333333333, 0.003968253968253968, -0.004166666666666667,
                          0.007575757575757576, -0.021092796092796094, 0.08333333333333333,
                          -0.4432598039215686))  # fmt: skip
    y = (log_(w) - 0.5 * v) - series - tl.where(small, over / under, 0.0)
    r = wide - round(wide)
    side = 0.5 - tl.abs(r)  # cos(pi r) = sin(pi (1/2 - |r|))
    slope = 3.141592653589793 * (side * sine_ratio(side * side)) / (r * sine_ratio(r * r))
    other = tl.where(r == 0.0, float("nan"), y - slope)
    found = tl.where(wide < 0.0, other, y)
    zero = copysign_(tl.full(wide.shape, float("inf"), tl.float64), -wide)
    return tl.where(wide == 0.0, zero, found).to(given.dtype)


@jit
def power_below_32(t, exponent):
    found = t * 0.0 + 1.0
    for bit in tl.static_range(5):
        found = tl.where((exponent >> bit) & 1 != 0, found * t, found)
        t *= t
    return found


@jit
def zeta_series(y, n):  # n! / n times this is n! zeta(n + 1, y), y >= 0
    v = 1.0 / (y + 12.0)
    z = v * v
    wide = n.to(tl.float64)
    ratio = wide * (wide + 1.0) * 0.5  # (2 j + n - 1)! / (2 j)! / (n - 1)!
    series = z * 0.0
    power = z
    for j in tl.static_range(1, 8):
        bernoulli = (0.0, 0.16666666666666666, -0.03333333333333333, 0.023809523809523808, -0.03333333333333333,
                     0.07575757575757576, -0.2531135531135531, 1.1666666666666667)  # fmt: skip
        series += power * (ratio * bernoulli[j])
        power *= z
        ratio *= (wide + 2 * j) * (wide + (2 * j + 1)) / ((2 * j + 1) * (2 * j + 2))
    total = v * 0.0
    for k in range(12):
        total += power_below_32(1.0 / (y + (11 - k)), n + 1)
    return total * wide + power_below_32(v, n) * (series + (0.5 * wide * v + 1.0))


@jit
def digamma_slope(given, n, factorial):  # of n; each value is made of three sums, for those of x < 0 are
    at = given.to(tl.float64)
    negative = at < 0.0
    odd = tl.where(n & 1 != 0, 1.0, -1.0)
    first = zeta_series(tl.where(negative, at - tl.floor(at), at), n)
    high = zeta_series(tl.where(negative, tl.ceil(at) - at, 1.0), n)
    beyond = zeta_series(tl.where(negative, 1.0 - at, 1.0), n)
    found = tl.where(negative, first + odd * (high - beyond), first)
    return (odd * (factorial / n.to(tl.float64)) * found).to(given.dtype)


@jit
def sinc(x):
    wide = x.to(tl.float64)
    n = round(wide)
    r = wide - n
    s = r * sine_ratio(r * r)
    half = 0.5 * n
    s = tl.where(half == round(half), s, -s)
    below = tl.where(wide == 0.0, 1.0, 3.141592653589793 * wide)
    return tl.where(wide == 0.0, 1.0, s / below).to(x.dtype)
