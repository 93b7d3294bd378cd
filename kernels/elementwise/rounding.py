"""What the operations of dlcore/ops/rounding.py, limits.py and bitwise.py do to one element: see functions.py.

Bound by memory, but for rounding by digits, which is done in float64 as on the CPU.
"""

from dlcore.kernels.common.math import bits_of, copysign_
from dlcore.kernels.language import jit, tl

# ---- rounding -----------------------------------------------------------------------------------------------------


@jit
def floor(x):
    if x.dtype.is_floating():
        return tl.floor(x)
    else:
        return x


@jit
def ceil(x):
    if x.dtype.is_floating():
        return tl.ceil(x)
    else:
        return x


@jit
def trunc(x):  # the floor of -0.0 is -0.0, and so is that of the size, with the sign back
    if x.dtype.is_floating():
        return copysign_(tl.floor(tl.abs(x)), x)
    else:
        return x


@jit
def round(x):  # beyond 2^52 (2^23) all are whole; below, what is added leaves no room for a fraction
    if x.dtype.is_floating():
        whole: tl.constexpr = 4503599627370496.0 if x.dtype == tl.float64 else 8388608.0
        a = tl.abs(x)
        return copysign_(tl.where(a < whole, (a + whole) - whole, a), x)
    else:
        return x


@jit
def round_digits(x, power):
    wide = x.to(tl.float64)
    scaled = wide * power
    return tl.where(tl.abs(scaled) < 4503599627370496.0, round(scaled) / power, wide).to(x.dtype)


@jit
def round_tens(x, power):
    wide = x.to(tl.float64)
    return tl.where(tl.abs(x) < float("inf"), round(wide / power) * power, wide).to(x.dtype)


@jit
def round_integer(x, power):  # at ties the even multiple
    wide = x.to(tl.int64)
    quotient, rest = wide // power, wide % power
    twice = 2 * tl.where(rest < 0, -rest, rest)
    up = (twice > power) | ((twice == power) & ((quotient & 1) != 0))
    away = tl.where(up, tl.where(rest < 0, -1, 1), 0)
    return ((quotient + away) * power).to(x.dtype)


@jit
def round_largest(x):  # to a multiple of 10^19, which no int64 holds: 0, or what wraps
    wide = x.to(tl.int64)
    wrapped: tl.constexpr = 10000000000000000000 - 18446744073709551616
    up = tl.where(wide > 5000000000000000000, wrapped, 0)
    return tl.where(wide < -5000000000000000000, -wrapped, up).to(x.dtype)


@jit
def nothing(x):
    return x ^ x


# ---- signs, infinities, limits --------------------------------------------------------------------------------------


@jit
def copysign(a, b):
    return copysign_(a, b)


@jit
def isinf(x):
    return tl.abs(x) == float("inf")


@jit
def isposinf(x):
    return x == float("inf")


@jit
def isneginf(x):
    return x == float("-inf")


@jit
def signbit(x):
    return (bits_of(x) >> (63 if x.dtype == tl.float64 else 31)) != 0


@jit
def at_least(x, low):  # a NaN in either is the result, x where it equals the limit
    return tl.where((x < low) | (low != low), low, x)


@jit
def at_most(x, high):
    return tl.where((x > high) | (high != high), high, x)


@jit
def clip(x, low, high):
    return at_most(at_least(x, low), high)


# ---- bits -----------------------------------------------------------------------------------------------------------


@jit
def bitwise_and(a, b):
    return a & b


@jit
def bitwise_or(a, b):
    return a | b


@jit
def bitwise_xor(a, b):
    return a ^ b


@jit
def bitwise_not(x):
    if x.dtype == tl.int1:
        return x == 0
    else:
        return ~x


@jit
def within(count, dtype: tl.constexpr):  # whether some bit is left; negative counts are not
    return (count >= 0) & (count < dtype.primitive_bitwidth)


@jit
def bitwise_left_shift(a, b):
    good = within(b, a.dtype)
    zero = tl.full((), 0, a.dtype)
    return tl.where(good, a << tl.where(good, b, zero), zero)


@jit
def bitwise_right_shift(a, b):
    good = within(b, a.dtype)
    zero = tl.full((), 0, a.dtype)
    last = tl.full((), a.dtype.primitive_bitwidth - 1, a.dtype)
    if a.dtype.is_int_signed():
        return a >> tl.where(good, b, last)
    else:
        return tl.where(good, a >> tl.where(good, b, zero), zero)
