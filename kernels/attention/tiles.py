"""Device functions shared by the kernels of this family: what a query sees, scores, dropout, loads of rows.

Letters: B examples, H heads of queries, Hk of keys (H / Hk query heads share one), Tq queries, Tk keys, D and DV the
lengths of a key and of a value.

A query sees the keys from `low` on and before `high`: lengths, causality, windows and sequences packed one after the
other all come down to these two numbers, which never fall from one query to the next. So the keys that a block of
queries looks at, and those of them that all its queries see, follow from its first and its last query.
"""

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import BAD_LENGTH

BAD = tl.constexpr(BAD_LENGTH)
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
INFINITY = tl.constexpr(float("inf"))


# ---- what a query sees --------------------------------------------------------------------------------------------
@jit
def length_of(lengths, errors, example, stride, keys):
    """Keys that an example has: all, or its length, which is reported and clamped where it is not in 0 .. keys."""
    n = keys
    if lengths is not None:
        given = tl.load(lengths + example * stride)
        if errors is not None:  # noqa: SIM102 (one is known at compile time)
            if (given < 0) | (given > keys):
                tl.atomic_max(errors, tl.full((), BAD, tl.int64), sem="relaxed")
                position = tl.minimum(example * stride * stride, example)  # 0 of one length for all
                tl.atomic_min(errors + 1, position.to(tl.int64), sem="relaxed")
        n = tl.minimum(tl.maximum(given, 0), keys).to(tl.int32)
    return n


@jit
def limits(i, n, shift, bounds, left, right, rows, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    """(low, high) of queries i: one, or a block whose queries beyond the last see nothing."""
    if bounds is not None:
        low, high = tl.load(bounds + i, i < rows, 0), tl.load(bounds + rows + i, i < rows, 0)
    else:
        low, high = i * 0, i * 0 + n
        if LEFT:
            low = tl.minimum(tl.maximum(i + (shift - left), 0), n)
        if RIGHT:
            high = tl.minimum(tl.maximum(i + (shift + right + 1), 0), n)
        high = tl.where(i < rows, high, 0)
    return low, high


@jit
def first_above(values, count, key):
    """The first place of rising values that holds more than key, or count."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        above = tl.load(values + middle) > key
        high = tl.where(above, middle, high)
        low = tl.where(above, low, middle + 1)
    return low


@jit
def seen_by(
    column, n, shift, bounds, left, right, rows, BLOCK_N: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr
):
    """The first query, and one past the last, that sees one of BLOCK_N keys from column on."""
    begin, end = 0, rows
    if bounds is not None:
        begin = first_above(bounds + rows, rows, column)
        end = first_above(bounds, rows, column + BLOCK_N - 1)
    else:
        if RIGHT:
            begin = tl.minimum(tl.maximum(column - shift - right, 0), rows)
        if LEFT:
            end = tl.minimum(tl.maximum(column + BLOCK_N - shift + left, 0), rows)
        end = tl.where(column < n, end, begin)
    return begin, end


# ---- loads --------------------------------------------------------------------------------------------------------
@jit
def head_of(x, example, head, of_example, of_head, UNIT: tl.constexpr, TMA: tl.constexpr):
    """x from this head's first row on; TMA finds its way by itself."""
    if not TMA:
        x += (example.to(tl.int64) * of_example + head.to(tl.int64) * of_head) * UNIT
    return x


@jit
def load_rows(
    x, example, head, row, pitch, end, D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
    UNIT: tl.constexpr, WHOLE: tl.constexpr, TMA: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """BLOCK_R rows of a head; WHOLE: all of them exist. What lies behind the last one repeats it (by TMA: zeros).

    A mask along rows would keep wgmma from running while others are loaded; the lengths of rows alone need one."""
    if TMA:
        block = x.load([example, head, row, 0]).reshape(BLOCK_R, BLOCK_D)
    else:
        r, d = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_D)[None, :]
        if not WHOLE:
            r = tl.maximum(tl.minimum(r, end - row - 1), 0)
        x += row * tl.full((), UNIT, tl.int64) * pitch
        at = r[:, None].to(INDEX) * (pitch * tl.full((), UNIT, INDEX)) + d
        if D == BLOCK_D:
            block = tl.load(x + at)
        else:
            block = tl.load(x + at, d < D, 0)
    return block


@jit
def store_rows(
    x, block, row, pitch, end, D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, UNIT: tl.constexpr,
    INDEX: tl.constexpr,
):  # fmt: skip
    """The rows of a block that exist."""
    r, d = tl.arange(0, BLOCK_R)[:, None], tl.arange(0, BLOCK_D)[None, :]
    x += row * tl.full((), UNIT, tl.int64) * pitch
    at = r.to(INDEX) * (pitch * tl.full((), UNIT, INDEX)) + d
    inside = r < end - row
    if D != BLOCK_D:
        inside = inside & (d < D)
    tl.store(x + at, block.to(x.dtype.element_ty), inside)


# ---- scores -------------------------------------------------------------------------------------------------------
@jit
def scored(
    s, i, j, low, high, mask, of_row, of_key, rows, keys, factor, EDGE: tl.constexpr, INDEX: tl.constexpr
):
    """Products of queries i and keys j as exponents, -inf where hidden; i, low and high lie across j.

    Exponents of 2; of e where a mask of numbers is added, which times log2(e) might be beyond the largest number."""
    s = s * factor
    if mask is not None:
        place = mask + (i.to(INDEX) * of_row + j.to(INDEX) * of_key)
        there = (i < rows) & (j < keys)
        if mask.dtype.element_ty == tl.int1:
            s = tl.where(tl.load(place, there, 0) != 0, s, -INFINITY)
        else:
            s += tl.load(place, there, 0).to(s.dtype)
    if EDGE:
        s = tl.where((j >= low) & (j < high), s, -INFINITY)
    return s


@jit
def power(x, BIASED: tl.constexpr):
    """What an exponent stands for."""
    if BIASED:
        x = x * LOG2E
    return tl.exp2(x)


# ---- dropout ------------------------------------------------------------------------------------------------------
@jit
def kept(seed, offset, element, start, threshold, BLOCK_N: tl.constexpr, GROUPS: tl.constexpr):
    """Which of BLOCK_N probabilities from place `start` on stay; element: (rows, 1), the number of each row's first.

    Numbered and drawn as `dropout` does (random/philox.py). GROUPS: rows begin with a group of 64, whose words come
    from 16 blocks: a block is made once. Otherwise each element makes its block and takes one word of four."""
    if GROUPS:
        ROWS: tl.constexpr = element.shape[0]
        block = offset + (element + start) // 4 + tl.arange(0, BLOCK_N // 4)[None, :]
        zero = tl.zeros((ROWS, BLOCK_N // 4), tl.uint32)
        u = block.to(tl.uint64)
        w0, w1, w2, w3 = tl.philox(seed, u.to(tl.uint32), (u >> 32).to(tl.uint32), zero, zero)
        even = tl.join((w0.to(tl.int64) >= threshold).to(tl.int8), (w2.to(tl.int64) >= threshold).to(tl.int8))
        odd = tl.join((w1.to(tl.int64) >= threshold).to(tl.int8), (w3.to(tl.int64) >= threshold).to(tl.int8))
        words = tl.join(even, odd).reshape(ROWS, BLOCK_N // 64, 16, 2, 2)
        stays = words.permute(0, 1, 3, 4, 2).reshape(ROWS, BLOCK_N) != 0
    else:
        e = element + (start + tl.arange(0, BLOCK_N)[None, :])
        u = (offset + e // 64 * 16 + e % 16).to(tl.uint64)
        zero = tl.zeros(e.shape, tl.uint32)
        w0, w1, w2, w3 = tl.philox(seed, u.to(tl.uint32), (u >> 32).to(tl.uint32), zero, zero)
        which = e // 16 % 4
        word = tl.where(which < 2, tl.where(which == 0, w0, w1), tl.where(which == 2, w2, w3))
        stays = word.to(tl.int64) >= threshold
    return stays
