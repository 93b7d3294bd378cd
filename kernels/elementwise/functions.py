"""What the operations of dlcore/ops/elementwise.py do to one element: a device function of the operation's name.

The 16-bit floats come widened to float32, bools as int1. Integers wrap; their division by 0 gives 0. The formulas of
arithmetic, roots, exp, expm1, log and log1p are those of csrc/elementwise, so results have the CPU's bits (of log, and
of exp of doubles, those without AVX-512). Where the CPU has vector forms of its own (angles, powers, cube roots, log2,
log10, exp2, inverse hyperbolic functions) or calls its C library, they are within the operation's bounds instead.
"""

from dlcore.kernels.common.math import (
    circle,
    copysign_,
    divide,
    pow_double,
    pow_float,
    root,
)
from dlcore.kernels.language import jit, tl

# ---- arithmetic ---------------------------------------------------------------------------------------------------


@jit
def add(a, b):
    if a.dtype == tl.int1:
        return a | b
    else:
        return a + b


@jit
def sub(a, b):
    return a - b


@jit
def mul(a, b):
    if a.dtype == tl.int1:
        return a & b
    else:
        return a * b


@jit
def maximum(a, b):  # a NaN in either operand is the result
    if a.dtype == tl.int1:
        return a | b
    else:
        return tl.where((a > b) | (a != a), a, b)


@jit
def minimum(a, b):
    if a.dtype == tl.int1:
        return a & b
    else:
        return tl.where((a < b) | (a != a), a, b)


@jit
def split_division(a, b):  # (quotient towards 0, remainder) of integers; of a / 0 and a / -1 something harmless
    one = tl.full((), 1, b.dtype)
    if b.dtype.is_int_signed():
        safe = tl.where((b == 0) | (b == -1), one, b)
    else:
        safe = tl.where(b == 0, one, b)
    return a // safe, a % safe


@jit
def floor_divide(a, b):
    if a.dtype.is_floating():
        rest = a % b
        below = (rest != 0.0) & ((rest < 0.0) != (b < 0.0))
        quotient = divide(a - rest, b) - tl.where(below, 1.0, 0.0)
        low = tl.floor(quotient)
        rounded = tl.where(quotient - low > 0.5, low + 1.0, low)
        ratio = divide(a, b)
        rounded = tl.where(quotient == 0.0, copysign_(quotient, ratio), rounded)
        return tl.where(b == 0.0, ratio, rounded)
    else:
        quotient, rest = split_division(a, b)
        if a.dtype.is_int_signed():
            quotient -= ((rest != 0) & ((a < 0) != (b < 0))).to(a.dtype)
            quotient = tl.where(b == -1, -a, quotient)
        return tl.where(b == 0, tl.full((), 0, a.dtype), quotient)


@jit
def remainder(a, b):
    if a.dtype.is_floating():
        rest = a % b
        moved = tl.where((rest < 0.0) != (b < 0.0), rest + b, rest)
        return tl.where(rest == 0.0, copysign_(rest, b), moved)
    else:
        zero = tl.full((), 0, a.dtype)
        _, rest = split_division(a, b)
        if a.dtype.is_int_signed():
            rest += tl.where((rest != 0) & ((rest < 0) != (b < 0)), b, zero)
            rest = tl.where(b == -1, zero, rest)
        return tl.where(b == 0, zero, rest)


# ---- powers -------------------------------------------------------------------------------------------------------


@jit
def pow_integer(base, exponent):  # exponent >= 0
    one = tl.full((), 1, base.dtype)
    result = base * 0 + exponent * 0 + one
    square, rest = result * base, result * exponent
    for _ in tl.range(base.dtype.primitive_bitwidth):
        result = tl.where((rest & 1) != 0, result * square, result).to(base.dtype)
        square *= square
        rest >>= 1
    return result


@jit
def pow(a, b):
    if not a.dtype.is_floating():
        return pow_integer(a, b)
    elif a.dtype == tl.float64:
        return pow_double(a, b)
    else:
        return pow_float(a, b)


@jit
def pow_constant(a, b):  # one exponent for all, b a scalar: the usual ones need no logarithm
    if b == 2.0:
        y = a * a
    elif b == 1.0:
        y = a
    elif b == -1.0:
        y = divide(1.0, a)
    elif b == 0.5:  # differs from sqrt at -0 and -inf
        y = tl.where(a == float("-inf"), float("inf"), root(a) + 0.0)
    else:
        y = pow(a, b)
    return y


# ---- functions of one operand -------------------------------------------------------------------------------------


@jit
def neg(x):
    return -x


@jit
def absolute(x):
    if x.dtype.is_floating():
        return tl.abs(x)
    else:
        return tl.where(x < 0, -x, x)


@jit
def sign(x):  # of NaN: NaN
    if x.dtype.is_floating():
        return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, tl.where(x == 0.0, 0.0, x)))
    else:
        return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


@jit
def square(x):
    return x * x


@jit
def reciprocal(x):
    return divide(1.0, x)


@jit
def rsqrt(x):
    return divide(1.0, root(x))


@jit
def sin(x):
    return circle(x, 0)


@jit
def cos(x):
    return circle(x, 1)


# ---- comparisons, tests, choices ----------------------------------------------------------------------------------


@jit
def ordered(x):  # true is -1 as a signed int1
    if x.dtype == tl.int1:
        return x.to(tl.int32)
    else:
        return x


@jit
def eq(a, b):
    return a == b


@jit
def ne(a, b):
    return a != b


@jit
def lt(a, b):
    return ordered(a) < ordered(b)


@jit
def le(a, b):
    return ordered(a) <= ordered(b)


@jit
def gt(a, b):
    return ordered(a) > ordered(b)


@jit
def ge(a, b):
    return ordered(a) >= ordered(b)


@jit
def logical_and(a, b):
    return (a != 0) & (b != 0)


@jit
def logical_or(a, b):
    return (a != 0) | (b != 0)


@jit
def logical_xor(a, b):
    return (a != 0) ^ (b != 0)


@jit
def logical_not(x):
    return x == 0


@jit
def isnan(x):
    return x != x


@jit
def isfinite(x):
    return tl.abs(x) < float("inf")


@jit
def where(condition, a, b):
    return tl.where(condition, a, b)
