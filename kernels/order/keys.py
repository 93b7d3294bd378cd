"""Keys: signed integers that compare as elements do. NaN counts as the largest number and -0.0 equals 0.0."""

from __future__ import annotations

from dlcore.kernels.language import jit, tl


@jit
def key_of(x, DESCENDING: tl.constexpr):
    """int64 for what has 64 bits, int32 for all else; in descending order the complement."""
    if x.dtype == tl.float64:
        bits = tl.where(x == 0, 0, x.to(tl.int64, bitcast=True))
        key = tl.where(bits < 0, bits ^ 0x7FFFFFFFFFFFFFFF, bits)
        key = tl.where(x != x, 0x7FFFFFFFFFFFFFFF, key)
    elif x.dtype.is_floating():
        wide = x.to(tl.float32)
        bits = tl.where(wide == 0, 0, wide.to(tl.int32, bitcast=True))
        key = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        key = tl.where(wide != wide, 0x7FFFFFFF, key)
    elif x.dtype == tl.int64:
        key = x
    elif x.dtype == tl.uint64:
        key = x.to(tl.int64, bitcast=True) ^ -0x8000000000000000
    elif x.dtype == tl.uint32:
        key = x.to(tl.int32, bitcast=True) ^ -0x80000000
    else:
        key = x.to(tl.int32)
    return ~key if DESCENDING else key


@jit
def word_of(key, WORD: tl.constexpr):
    """32 bits of a key, 0 the lower and 1 the upper ones, as an int32 in an int64."""
    if key.dtype == tl.int32:
        word = key.to(tl.int64)
    elif WORD == 1:
        word = key >> 32
    else:
        word = (key & 0xFFFFFFFF) - 0x80000000
    return word
