"""Sums, means and maxima of the rows of bags of tokens, and their gradients.

Shapes: n tokens in B bags, a table (V, W). A bag is a row of (B, L) tokens, or what lies between two of its offsets.

Bound by memory. Forward: each token and its row are read once, n W elements, and B W written; a program takes a bag and
up to 128 columns, ROWS rows at a time, whose sums (or maxima, with the numbers of their tokens) lanes keep: a long bag
is the work of few programs. Gradients: a launch by bags says of each token which bag it is in, 4 bytes (and what a mean
divides by, 4 or 8), then

- of the table: sums by sorted tokens, as of an embedding (movement/accumulate.py), a token's row being that of its bag,
  times its factor: no float atomics. Of maxima each element goes its own way: B W of them are sorted;
- of the tokens' factors: the product of the bag's row and the table's, read once each, up to 128 columns at a time.

Tokens outside of the vocabulary, and offsets that fall, do not begin at 0 or lead beyond the tokens, set the error
words and read nothing. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.dtypes import int32
from dlcore.kernels.common.math import INFINITY, divide
from dlcore.kernels.common.pointwise import divisor
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    BAD_OFFSET,
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    View,
    Workspace,
    accumulator,
    ceil_div,
    contiguous_strides,
    power_of_2,
)
from dlcore.kernels.movement import accumulate
from dlcore.kernels.movement.index import MOST, find

__all__ = ["embedding_bag_backward", "embedding_bag_forward", "embedding_bag_weights_backward"]

SUM, MEAN, MAX = (tl.constexpr(k) for k in range(3))  # as MODES in dlcore/ops/bags.py
NO_OFFSET = tl.constexpr(BAD_OFFSET)


@jit
def refuse(errors, wrong, position):
    tl.atomic_max(errors, tl.full((), NO_OFFSET, tl.int64), wrong, "relaxed")
    tl.atomic_min(errors + 1, position, wrong, "relaxed")


@jit
def bounds(offsets, errors, bag, count, n, length, ENDS: tl.constexpr):
    """Where a bag begins and ends, within the tokens whatever the offsets say; those that cannot be are reported."""
    if offsets is None:
        begin = bag * length
        end = begin + length
    else:
        begin = tl.load(offsets + bag).to(tl.int64)
        least = tl.load(offsets + bag - 1, bag > 0, 0).to(tl.int64)
        end = tl.load(offsets + bag + 1, bag + 1 < count + ENDS, 0).to(tl.int64)
        end = tl.where(bag + 1 < count + ENDS, end, n)
        refuse(errors, (begin < least) | (begin > tl.where(bag == 0, 0, n)), bag)
        if ENDS:  # the last of them begins no bag
            refuse(errors, (bag + 1 == count) & ((end < begin) | (end > n)), bag + 1)
        begin = tl.minimum(tl.maximum(begin, 0), n)
        end = tl.minimum(tl.maximum(end, begin), n)
    return begin, end


@jit
def larger(a, i, b, k):
    """The larger of two values with its number; NaN is above all, and of equal ones the first counts."""
    above = (b > a) | ((b != b) & (a == a)) | (((a == b) | ((a != a) & (b != b))) & (k < i))
    return tl.where(above, b, a), tl.where(above, k, i)


@jit
def forward_kernel(
    weight, input, offsets, factors, out, chosen, errors, count, n, length, vocabulary, width, stride, padding,
    MODE: tl.constexpr, ENDS: tl.constexpr, C: tl.constexpr, UNIT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(width, COLUMNS)
    bag = (tl.program_id(0) // tiles).to(tl.int64)
    j = tl.program_id(0) % tiles * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    begin, end = bounds(offsets, errors, bag, count, n, length, ENDS)
    value = tl.full((ROWS, COLUMNS), -INFINITY if MODE == MAX else 0, C)
    number = tl.full((ROWS, COLUMNS), MOST, tl.int64)
    kept = tl.zeros((ROWS,), tl.int32)
    for start in range(begin, end, ROWS):
        e = (start + tl.arange(0, ROWS)).to(tl.int64)
        token, good = find(input, e, e < end, vocabulary, errors, True, padding)
        rows = tl.multiple_of(token * stride, UNIT)[:, None] + j
        there = good[:, None] & (j < width)
        if MODE == MAX:
            x = tl.load(weight + rows, there, -INFINITY).to(C)
            value, number = larger(value, number, x, tl.where(there, e[:, None], MOST))
        else:
            x = tl.load(weight + rows, there, 0).to(C)
            if factors is not None:
                x *= tl.load(factors + e, good, 0).to(C)[:, None]
            value += x
            kept += good.to(tl.int32)
    if ENDS:  # tokens in no bag are checked too
        for start in range(tl.where(bag + 1 == count, end, n), n, ROWS):
            e = (start + tl.arange(0, ROWS)).to(tl.int64)
            find(input, e, e < n, vocabulary, errors, True, padding)
    to = bag * width + j
    if MODE == MAX:
        most, first = tl.reduce((value, number), 0, larger, keep_dims=True)
        some = first != MOST
        tl.store(out + to, tl.where(some, most, 0).to(out.dtype.element_ty), j < width)
        if chosen is not None:
            token = tl.load(input + first, some & (j < width), 0).to(tl.int64)
            tl.store(chosen + to, tl.where(some, token, -1), j < width)
    else:
        total = tl.sum(value, 0, keep_dims=True)
        if MODE == MEAN:
            size = tl.maximum(tl.sum(kept, 0), 1)
            total = divide(total, tl.full((1, COLUMNS), size, C))
        tl.store(out + to, total.to(out.dtype.element_ty), j < width)


@jit
def bags_kernel(
    input, offsets, bags, factors, errors, count, n, length, padding, ENDS: tl.constexpr, BLOCK: tl.constexpr
):
    """bags[e] = 1 + the bag of token e, 0 (which is there) for padding; factors[e] = 1 / the size of its bag."""
    bag = tl.program_id(0).to(tl.int64)
    begin, end = bounds(offsets, errors, bag, count, n, length, ENDS)
    kept = tl.zeros((BLOCK,), tl.int32)
    for start in range(begin, end, BLOCK):
        e = (start + tl.arange(0, BLOCK)).to(tl.int64)
        mine = e < end
        if padding is not None:
            mine &= tl.load(input + e, mine, 0).to(tl.int64) != padding
        tl.store(bags + e, tl.full((BLOCK,), bag + 1, tl.int32), mine)
        kept += mine.to(tl.int32)
    if factors is not None:
        size = tl.full((BLOCK,), tl.sum(kept, 0), factors.dtype.element_ty)
        share = divide(tl.full((BLOCK,), 1, size.dtype), size)
        for start in range(begin, end, BLOCK):
            e = (start + tl.arange(0, BLOCK)).to(tl.int64)
            tl.store(factors + e, share, e < end)


@jit
def products_kernel(
    dout, weight, input, bags, out, errors, n, vocabulary, width, stride,
    C: tl.constexpr, UNIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out[e] = the product of the row of token e and that of its bag."""
    e = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    token, good = find(input, e, e < n, vocabulary, errors, True)
    bag = tl.load(bags + e, good, 0).to(tl.int64)
    good &= bag != 0
    total = tl.zeros((ROWS, COLUMNS), C)
    for start in range(0, width, COLUMNS):
        j = start + tl.arange(0, COLUMNS)[None, :]
        there = good[:, None] & (j < width)
        x = tl.load(weight + tl.multiple_of(token * stride, UNIT)[:, None] + j, there, 0).to(C)
        total += x * tl.load(dout + (bag - 1)[:, None] * width + j, there, 0).to(C)
    tl.store(out + e, tl.sum(total, 1).to(out.dtype.element_ty), e < n)


# ---- planners -----------------------------------------------------------------------------------------------------
def _bags(call: Call, input: int, offsets: int, padding: float, ends: float) -> dict[str, Any]:
    """What kernels are told of tokens, inputs ``input`` and ``offsets``, and their bags."""
    tokens, starts = call.inputs[input], call.inputs[offsets]
    assert tokens is not None
    return {
        "input": In(input), "offsets": starts and In(offsets), "errors": Errors(), "n": tokens.size,
        "count": tokens.shape[0] if starts is None else starts.size - int(ends),
        "length": 0 if starts is not None else tokens.shape[1], "padding": int(padding) if padding >= 0 else None,
        "ENDS": bool(ends) and starts is not None,
    }  # fmt: skip


def _rows_of(table: View, index: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """What kernels are told of a table, and whether it is made contiguous first."""
    copied = () if table.strides[1] == 1 or table.shape[1] == 1 else (index,)
    if copied:
        table = table._replace(strides=contiguous_strides(table.shape), aligned=True)
    width, stride = table.shape[1], table.strides[0]
    unit = divisor(math.gcd(width, stride), table.dtype.itemsize) if table.aligned else None
    args = {
        "weight": In(index), "vocabulary": table.shape[0], "width": width, "stride": stride, "UNIT": unit or 1,
        "C": accumulator(table.dtype), "COLUMNS": min(power_of_2(width), 128),
    }  # fmt: skip
    return args, copied


def _contiguous(call: Call, *inputs: int) -> tuple[int, ...]:
    return tuple(k for k in inputs if (view := call.inputs[k]) is not None and not view.contiguous)


def embedding_bag_forward(call: Call) -> Program:
    """The sum, mean or maximum of the rows of each bag, and the tokens that maxima came from."""
    weight, (mode, padding, ends, _) = call.inputs[0], call.params
    out, chosen = call.outputs
    assert weight is not None and out is not None
    if out.size == 0:
        return Program(())
    table, copied = _rows_of(weight, 0)
    rows = max(min(2048 // table["COLUMNS"], 32), 8)
    args = {
        **table, **_bags(call, 1, 2, padding, ends), "factors": call.inputs[3] and In(3), "out": Out(0),
        "chosen": chosen and Out(1), "MODE": int(mode), "ROWS": rows,
    }  # fmt: skip
    blocks = out.shape[0] * ceil_div(out.shape[1], table["COLUMNS"])
    warps = max(rows * table["COLUMNS"] // 512, 1)
    launch = Launch(forward_kernel, (blocks,), args, warps, options=accumulate.UNCUT)
    return Program((launch,), (), copied + _contiguous(call, 1, 2, 3))


def _numbered(
    call: Call, input: int, offsets: int, padding: float, ends: float, factors: Any = None
) -> tuple[tuple[Launch, ...], Workspace]:  # fmt: skip
    """The launches that say of each token which bag it is in, in workspace 0, and that workspace."""
    bags = _bags(call, input, offsets, padding, ends)
    args = {
        **{name: v for name, v in bags.items() if name != "vocabulary"}, "bags": Temp(0, int32), "factors": factors,
        "BLOCK": 1024 if bags["offsets"] else min(max(power_of_2(bags["length"]), 32), 1024),
    }  # fmt: skip
    launches = (Launch(bags_kernel, (bags["count"],), args, max(args["BLOCK"] // 256, 1)),) if bags["count"] else ()
    return launches, Workspace(bags["n"] * int32.itemsize, zeroed=True)


def embedding_bag_backward(call: Call) -> Program:
    """dweight[k] = the sum of the rows of the bags in which k is, each times its factor."""
    (mode, padding, ends, frequent), tokens, out = call.params, call.inputs[1], call.outputs[0]
    assert tokens is not None and out is not None
    if mode == MAX.value:
        return accumulate.add_chosen(call, 4)
    wide = accumulator(out.dtype)
    shares = Temp(1, wide) if mode == MEAN.value else None
    launches, bags = _numbered(call, 1, 2, padding, ends, shares)
    own = (bags,) if shares is None else (bags, Workspace(tokens.size * wide.itemsize))
    factors = shares or (call.inputs[3] and In(3))
    program = accumulate.add_tokens(
        call, accumulate.Tokens(None, bool(frequent), 1, Temp(0, int32), factors, len(own))
    )  # fmt: skip
    if not tokens.size or not out.size:
        return program
    copied = program.contiguous + _contiguous(call, 2, 3)
    return Program(launches + program.launches, own + program.temps, copied)


def embedding_bag_weights_backward(call: Call) -> Program:
    """dweights[e] = the product of its token's row with that of its bag, 0 for padding."""
    (_, padding, ends), weight, out = call.params, call.inputs[1], call.outputs[0]
    assert weight is not None and out is not None
    if out.size == 0:
        return Program(())
    launches, bags = _numbered(call, 2, 3, padding, ends)
    table, copied = _rows_of(weight, 1)
    rows = max(min(2048 // table["COLUMNS"], 128), 16)
    args = {
        **table, "dout": In(0), "input": In(2), "bags": Temp(0, int32), "out": Out(0), "errors": Errors(),
        "n": out.size, "ROWS": rows,
    }  # fmt: skip
    launch = Launch(products_kernel, (ceil_div(out.size, rows),), args, max(rows * table["COLUMNS"] // 512, 1))
    return Program((*launches, launch), (bags,), copied + _contiguous(call, 0, 2, 3))
