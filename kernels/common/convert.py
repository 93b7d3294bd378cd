"""From one dtype to another, and the identity: device functions that pointwise kernels and copies share."""

from dlcore.kernels.common.math import bits_of, of_bits
from dlcore.kernels.language import jit, tl


@jit
def identity(x):
    return x


@jit
def round_to_odd(x):  # the float32 nearest to float64 x whose rounding to 16 bits is that of x: never a false tie
    near = x.to(tl.float32)
    back = near.to(tl.float64)
    odd = (bits_of(near) - (tl.abs(back) > tl.abs(x)).to(tl.uint32)) | 1
    return tl.where((back == x) | (x != x), near, of_bits(odd))


@jit
def marked(x):  # an integer as a float64 that rounds to 16 bits as it does: of more than 53 bits the last tell whether
    if x.dtype == tl.int64:  # any of them was set
        cut = (x & -2048) | tl.where((x & 2047) != 0, 1024, 0)
        x = tl.where((x > 9007199254740992) | (x < -9007199254740992), cut, x)
    return x.to(tl.float64)


@jit
def saturate(x, DTYPE: tl.constexpr):  # towards 0; beyond the range the nearest limit; NaN gives 0
    digits: tl.constexpr = DTYPE.primitive_bitwidth - (1 if DTYPE.is_int_signed() else 0)
    above: tl.constexpr = 1.0 * (1 << digits)
    least: tl.constexpr = -(1 << digits) if DTYPE.is_int_signed() else 0
    inside = tl.where((x >= 1.0 * least) & (x < above), x, 0.0).to(DTYPE)
    clipped = tl.where(x < 1.0 * least, tl.full((), least, DTYPE), inside)
    return tl.where(x >= above, tl.full((), (1 << digits) - 1, DTYPE), clipped)


@jit
def convert(x, DTYPE: tl.constexpr):
    """x in another dtype as `cast` has it: integers wrap, floats round once, to bool whether it is not 0."""
    if DTYPE == tl.int1 and x.dtype != tl.int1:
        return x != 0
    elif x.dtype.is_floating() and DTYPE.is_int():
        return saturate(x, DTYPE)
    elif x.dtype == tl.float64 and (DTYPE == tl.float16 or DTYPE == tl.bfloat16):
        return round_to_odd(x).to(DTYPE)
    elif DTYPE == tl.bfloat16 and (x.dtype == tl.int64 or x.dtype == tl.int32):
        return round_to_odd(marked(x)).to(DTYPE)
    elif x.dtype.is_int() and (DTYPE == tl.float16 or DTYPE == tl.bfloat16):
        return x.to(tl.float32).to(DTYPE)
    else:
        return x.to(DTYPE)
