"""What the operations of dlcore/ops/arithmetic.py do to one element: as csrc/elementwise/numbers.inl.

Bound by memory, but for gcd and lcm, of which a block goes on as long as its slowest pair.
"""

from dlcore.kernels.common.math import copysign_, divide
from dlcore.kernels.elementwise.functions import split_division
from dlcore.kernels.language import jit, tl


@jit
def fmod(a, b):
    if a.dtype.is_floating():
        return copysign_(a % b, a)
    else:
        _, rest = split_division(a, b)
        return tl.where((b == 0) | (b == -1), tl.full((), 0, a.dtype), rest) if a.dtype.is_int_signed() else rest


# ---- common divisors ------------------------------------------------------------------------------------------------


@jit
def size_of(x):
    wide = x.to(tl.int64)
    return tl.where(wide < 0, -wide, wide).to(tl.uint64, bitcast=True)


@jit
def greatest_divisor(x, y):
    zero = tl.full((), 0, tl.uint64)
    one = tl.full((), 1, tl.uint64)
    while tl.max((y != zero).to(tl.int32)) != 0:
        rest = x % tl.where(y == zero, one, y)
        x, y = tl.where(y == zero, x, y), tl.where(y == zero, y, rest)
    return x


@jit
def gcd(a, b):
    x = size_of(a) + 0 * size_of(b)
    y = size_of(b) + 0 * size_of(a)
    return greatest_divisor(x, y).to(a.dtype)


@jit
def lcm(a, b):
    x = size_of(a) + 0 * size_of(b)
    y = size_of(b) + 0 * size_of(a)
    divisor = greatest_divisor(x, y)
    one = tl.full((), 1, tl.uint64)
    return (x // tl.where(divisor == 0, one, divisor) * y).to(a.dtype)


# ---- choices --------------------------------------------------------------------------------------------------------


@jit
def fmax(a, b):  # a NaN counts as absent
    return tl.where((a >= b) | (b != b), a, b)


@jit
def fmin(a, b):
    return tl.where((a <= b) | (b != b), a, b)


@jit
def heaviside(x, values):
    one = tl.full((), 1, x.dtype)
    zero = tl.full((), 0, x.dtype)
    step = tl.where(x > 0, one, tl.where(x < 0, zero, values))
    return tl.where(x != x, x, step)


@jit
def next_bits(x, y, INFINITY: tl.constexpr, SIGN: tl.constexpr):  # of numbers of unsigned bits
    a, b = x & (SIGN - 1), y & (SIGN - 1)
    away = (b > a) & (((x ^ y) & SIGN) == 0)
    step = tl.where(a == 0, (y & SIGN) | 1, tl.where(away, x + 1, x - 1))
    known = tl.where((x == y) | ((a | b) == 0), y, step)
    return tl.where((a > INFINITY) | (b > INFINITY), INFINITY | (INFINITY >> 1), known)


@jit
def nextafter(a, b):
    if a.dtype == tl.float64:
        x, y = a.to(tl.uint64, bitcast=True), b.to(tl.uint64, bitcast=True)
        return next_bits(x, y, 0x7FF0000000000000, 0x8000000000000000).to(tl.uint64).to(tl.float64, bitcast=True)
    elif a.dtype == tl.float32:
        x, y = a.to(tl.uint32, bitcast=True), b.to(tl.uint32, bitcast=True)
        return next_bits(x, y, 0x7F800000, 0x80000000).to(tl.uint32).to(tl.float32, bitcast=True)
    else:
        x, y = a.to(tl.uint16, bitcast=True).to(tl.uint32), b.to(tl.uint16, bitcast=True).to(tl.uint32)
        infinity: tl.constexpr = 0x7C00 if a.dtype == tl.float16 else 0x7F80
        return next_bits(x, y, infinity, 0x8000).to(tl.uint16).to(a.dtype, bitcast=True)


@jit
def nan_to_num(x, nan, most):
    limited = tl.where(x > most, most, tl.where(x < -most, -most, x))
    return tl.where(x != x, nan, limited).to(x.dtype)


# ---- three operands -------------------------------------------------------------------------------------------------


@jit
def lerp(a, b, weight):  # from the nearer end
    width = b - a
    return tl.where(tl.abs(weight) < 0.5, tl.fma(weight, width, a), tl.fma(weight - 1.0, width, b))


@jit
def addcmul(x, a, b):
    if x.dtype.is_floating():
        return tl.fma(a, b, x)
    else:
        return x + a * b


@jit
def addcdiv(x, a, b):
    return x + divide(a, b)
