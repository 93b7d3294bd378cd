"""Rows folded by index: sums, the gradients of take (an embedding's) and of gather; products and extrema, for scatter.

Deterministic, without float atomics.

dx[k] = sum of dout[i] over the i with indices[i] == k. Bound by memory: dout and indices read, dx written once. The
order of the sums must not depend on which block runs first, so the rows are sorted by where they go:

1. sort: each program sorts 2048 keys, place << shift | i, in registers: they are all different, so equal places keep
   the order of the indices. Keys have 32 bits where they fit: a vocabulary of 50000 and 16384 tokens;
2. merge, where there is more than one run: a key's rank is its place in its run plus the number of smaller keys in each
   other run, by binary search. n / 2048 * 12 loads a key: right for the thousands of tokens of a step, slow beyond a
   million;
3. sum: a program takes 32 or more sorted keys and up to 128 columns, gathers their rows at once, and adds up those of
   one place with a segmented scan. What begins and ends in it goes to dx; what crosses its borders, to workspaces;
4. join: of each place that crosses borders the parts are added in their order, 32 at a time. So a token that fills the
   batch costs no more than others.

gather's gradient is the same with rows of one element; where each of dx's elements has few candidates (32 at most along
the axis) they are simply compared, in order, in one pass that has the CPU's bits. Sums are in float32 (float64 for
it, int64 for integers). Products and extrema (scatter_fold) go the same way by another function.

An index out of range sets the error words and adds nothing. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dlcore.dtypes import DType, int32, int64
from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import Operand, divisor, launch, step, walk
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
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
    index_dtype,
    power_of_2,
)
from dlcore.kernels.movement.copy import fill, raw
from dlcore.kernels.movement.index import axis_args, find, numbers

__all__ = ["Tokens", "add_chosen", "add_tokens", "gather_backward", "scatter_fold", "take_backward"]

SUM, PRODUCT, MAXIMUM, MINIMUM = (tl.constexpr(k) for k in range(4))  # but for the first in the order of scatter_fold

RUN = 2048
PARTS = tl.constexpr(32)
UNCUT = {"maxnreg": 255}  # without a limit ptxas aims at 64 registers on sm_80, and spills 16 bytes


@jit
def sort_kernel(
    indices, bags, keys, errors, n, length, limit, shift, axis, padding,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7,
    TOKENS: tl.constexpr, MOST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """keys = sorted runs of (offset along the other axes + index * axis) << shift | i; bad ones go to `limit`."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    place, good = find(indices, i, i < n, length, errors, TOKENS, padding)
    if bags is not None:
        good &= tl.load(bags + i, i < n, 0) != 0
    place = place * axis + walk(i, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7)
    key = (tl.where(good, place, limit) << shift) | i
    tl.store(keys + i, tl.sort(tl.where(i < n, key, MOST).to(keys.dtype.element_ty)), i < n)


@jit
def merge_kernel(keys, merged, n, MOST: tl.constexpr, RUN: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(keys + i, i < n, MOST)
    rank = i % RUN
    mine = i - rank
    first = tl.full((), 0, tl.int64)
    while first < n:
        count = tl.minimum(n - first, RUN)
        below = tl.zeros((BLOCK,), tl.int64)  # how many of the run are known to be smaller
        width = RUN
        while width > 0:
            probe = below + width
            smaller = tl.load(keys + first + probe - 1, probe <= count, MOST) < key
            below = tl.where(smaller, probe, below)
            width //= 2
        rank += tl.where(mine == first, 0, below)
        first += RUN
    tl.store(merged + rank, key, i < n)


@jit
def add_within(flag_a, a, flag_b, b):  # of a segmented scan: a flag says that a segment begins
    return flag_a | flag_b, tl.where(flag_b != 0, b, a + b)


@jit
def multiply_within(flag_a, a, flag_b, b):
    return flag_a | flag_b, tl.where(flag_b != 0, b, a * b)


@jit
def larger(a, b):  # a NaN wins
    return tl.where((b > a) | (b != b), b, a)


@jit
def smaller(a, b):
    return tl.where((b < a) | (b != b), b, a)


@jit
def larger_within(flag_a, a, flag_b, b):
    return flag_a | flag_b, tl.where(flag_b != 0, b, larger(a, b))


@jit
def smaller_within(flag_a, a, flag_b, b):
    return flag_a | flag_b, tl.where(flag_b != 0, b, smaller(a, b))


@jit
def multiplied(a, b):
    return a * b


@jit
def folded(a, b, FOLD: tl.constexpr):
    if FOLD == SUM:
        return a + b
    elif FOLD == PRODUCT:
        return a * b
    elif FOLD == MAXIMUM:
        return larger(a, b)
    else:
        return smaller(a, b)


@jit
def sum_kernel(
    dout, bags, factors, keys, dx, first, last, n, limit, inner, shift,
    MOST: tl.constexpr, UNIT: tl.constexpr, LENGTH: tl.constexpr, COLUMNS: tl.constexpr, FOLD: tl.constexpr,
    NEUTRAL: tl.constexpr,
):  # fmt: skip
    tiles, chunks = tl.cdiv(inner, COLUMNS), tl.cdiv(n, LENGTH)
    block = tl.program_id(0)
    j = block % tiles * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    chunk = block // tiles % chunks
    outer = (block // tiles // chunks).to(tl.int64)
    e = chunk.to(tl.int64) * LENGTH + tl.arange(0, LENGTH)
    key = tl.load(keys + e, e < n, MOST).to(tl.int64)
    before = tl.load(keys + e - 1, (e > 0) & (e <= n), -1).to(tl.int64) >> shift
    after = tl.load(keys + e + 1, e + 1 < n, MOST).to(tl.int64) >> shift
    outside = tl.load(keys + chunk.to(tl.int64) * LENGTH - 1, chunk > 0, -1).to(tl.int64) >> shift
    place, i = key >> shift, key & ((tl.full((), 1, tl.int64) << shift) - 1)
    good, columns = (e < n) & (place < limit), j < inner
    row = outer * n + i
    if bags is not None:  # a token's row is that of its bag
        row = tl.load(bags + i, good, 1).to(tl.int64) - 1
    rows = tl.multiple_of(row * inner, UNIT)[:, None] + j
    x = tl.load(dout + rows, good[:, None] & columns, 0).to(first.dtype.element_ty)
    if factors is not None:
        x *= tl.load(factors + i, good, 0).to(x.dtype)[:, None]
    begins = tl.broadcast_to((place != before).to(tl.int32)[:, None], (LENGTH, COLUMNS))
    if FOLD == SUM:
        _, total = tl.associative_scan((begins, x), 0, add_within)
    elif FOLD == PRODUCT:
        _, total = tl.associative_scan((begins, x), 0, multiply_within)
    elif FOLD == MAXIMUM:
        _, total = tl.associative_scan((begins, x), 0, larger_within)
    else:
        _, total = tl.associative_scan((begins, x), 0, smaller_within)
    begun, ends, stops = place != outside, place != after, tl.arange(0, LENGTH) == LENGTH - 1
    to = tl.multiple_of((outer * limit + place) * inner, UNIT)[:, None] + j
    tl.store(dx + to, total.to(dx.dtype.element_ty), (good & ends & begun)[:, None] & columns)
    part = tl.multiple_of((outer * chunks + chunk) * inner, UNIT) + j + tl.zeros((LENGTH, 1), tl.int64)
    tl.store(first + part, total, (good & (ends | stops) & (begun == 0))[:, None] & columns)
    tl.store(last + part, total, (good & (ends == 0) & stops & begun)[:, None] & columns)


@jit
def join_kernel(
    keys, dx, first, last, n, limit, inner, shift,
    MOST: tl.constexpr, UNIT: tl.constexpr, LENGTH: tl.constexpr, COLUMNS: tl.constexpr, FOLD: tl.constexpr,
    NEUTRAL: tl.constexpr,
):  # fmt: skip
    tiles, chunks = tl.cdiv(inner, COLUMNS), tl.cdiv(n, LENGTH)
    block = tl.program_id(0)
    j = block % tiles * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    chunk = (block // tiles % chunks).to(tl.int64)
    outer = (block // tiles // chunks).to(tl.int64)
    border = (chunk + 1) * LENGTH
    place = tl.load(keys + border, border < n, MOST).to(tl.int64) >> shift
    mine = tl.load(keys + border - 1, border < n, -1).to(tl.int64) >> shift == place
    outside = tl.load(keys + chunk * LENGTH - 1, chunk > 0, -1).to(tl.int64) >> shift
    mine &= (outside != place) & (place < limit)
    if mine:
        columns = j < inner
        base = tl.multiple_of(outer * chunks * inner, UNIT)
        total = tl.full((PARTS, COLUMNS), NEUTRAL, first.dtype.element_ty)
        part = chunk + 1 + tl.arange(0, PARTS)
        more = True
        while more:
            same = (tl.load(keys + part * LENGTH, part < chunks, MOST).to(tl.int64) >> shift) == place
            at = first + base + tl.multiple_of(part * inner, UNIT)[:, None] + j
            total = folded(total, tl.load(at, same[:, None] & columns, NEUTRAL), FOLD)
            part += PARTS
            more = tl.min(same.to(tl.int32)) != 0
        if FOLD == SUM:
            parts = tl.sum(total, 0)
        elif FOLD == PRODUCT:
            parts = tl.reduce(total, 0, multiplied)
        elif FOLD == MAXIMUM:
            parts = tl.reduce(total, 0, larger)
        else:
            parts = tl.reduce(total, 0, smaller)
        result = folded(tl.load(last + base + chunk * inner + j, columns, NEUTRAL), parts[None, :], FOLD)
        to = tl.multiple_of((outer * limit + place) * inner, UNIT) + j
        tl.store(dx + to, result.to(dx.dtype.element_ty), columns)


@jit
def divide_kernel(keys, dx, n, limit, inner, shift, MOST: tl.constexpr, COLUMNS: tl.constexpr):
    """dx[k] /= the number of keys of place k, by the program of the first of them."""
    e = tl.program_id(0).to(tl.int64)
    place = tl.load(keys + e).to(tl.int64) >> shift
    before = tl.load(keys + e - 1, e > 0, -1).to(tl.int64) >> shift
    if (place != before) & (place < limit):
        end, high = e + 1, tl.full((), 0, tl.int64) + n  # the first key behind those of this place
        while end < high:
            middle = (end + high) // 2
            mine = tl.load(keys + middle).to(tl.int64) >> shift == place
            end, high = tl.where(mine, middle + 1, end), tl.where(mine, high, middle)
        count = (end - e).to(dx.dtype.element_ty if dx.dtype.element_ty.is_fp64() else tl.float32)
        for first in range(0, inner, COLUMNS):
            j = first + tl.arange(0, COLUMNS)
            x = tl.load(dx + place * inner + j, j < inner, 0).to(count.dtype)
            tl.store(dx + place * inner + j, (x / count).to(dx.dtype.element_ty), j < inner)


@jit
def compare_kernel(
    dout, indices, dx, errors, size, length, count, along, i_along,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7,  # of dx; strides of index, 0 on the axis
    m0, m1, m2, m3, m4, m5, m6, m7,  # lengths of index, where they are shorter than dx's
    WIDE: tl.constexpr, INDEX: tl.constexpr, FOLD: tl.constexpr, NEUTRAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dx[..., j, ...] = sum of dout[..., k, ...] over the k with index[..., k, ...] == j, in their order."""
    e = numbers(INDEX, BLOCK)
    inside = e < size
    rest, at = e, e.to(tl.int64) * 0
    rest, at, inside = within(rest, at, inside, n0, s0, m0)
    rest, at, inside = within(rest, at, inside, n1, s1, m1)
    rest, at, inside = within(rest, at, inside, n2, s2, m2)
    rest, at, inside = within(rest, at, inside, n3, s3, m3)
    rest, at, inside = within(rest, at, inside, n4, s4, m4)
    rest, at, inside = within(rest, at, inside, n5, s5, m5)
    rest, at, inside = within(rest, at, inside, n6, s6, m6)
    rest, at, inside = within(rest, at, inside, n7, s7, m7)
    j = e // along % length
    total = tl.full((BLOCK,), NEUTRAL, WIDE)
    for k in range(count):
        i = at + tl.full((), i_along, tl.int64) * k
        place, good = find(indices, i, inside, length, errors)
        good &= place == j
        total = folded(total, tl.where(good, tl.load(dout + i, good, 0).to(WIDE), NEUTRAL), FOLD)
    tl.store(dx + e, total.to(dx.dtype.element_ty), e < size)


@jit
def within(index, offset, inside, n, stride, least):  # `step`, and whether the coordinate is below `least`
    if least is not None:
        inside &= index % n < least
    index, offset = step(index, offset, n, stride)
    return index, offset, inside


class Tokens(NamedTuple):
    """Indices that do not count from the end: the one that adds nothing, and whether sums become means."""

    padding: int | None
    mean: bool
    input: int = 1
    bags: Any = None
    """Where one more than the row of ``dout`` of each token is, 0 if it has none; None: row i is that of token i."""
    factors: Any = None
    """What the row of each token is multiplied by, if anything."""
    temps: int = 0
    """Workspaces that the caller has before those of the sums."""


def _sums(
    call: Call, length: int, limit: int, outer: int, inner: int, axis: int, walked: dict[str, Any], fold: int = 0,
    tokens: Tokens | None = None,
) -> Program:  # fmt: skip
    """Sorted sums, or another fold: input 0 is (outer, n, inner), the output (outer, ``limit``, inner), contiguous.

    Input 1 has the n indices below ``length``, each for the place index * ``axis`` + what ``walked`` says; or they are
    ``tokens``.
    """
    known = tokens or Tokens(None, False)
    dout, indices, dx = call.inputs[0], call.inputs[known.input], call.outputs[0]
    assert dout is not None and indices is not None and dx is not None
    n = indices.size
    shift, run, block = (n - 1).bit_length(), RUN if n > 256 else 256, 256
    if (limit << shift) + n >= 2**63:
        raise OverflowError(f"the gradient of take or gather: {n} indices into {limit} places do not fit 63 bits")
    narrow = (limit << shift) + n < 2**31 - 1
    key, most = (int32, 2**31 - 1) if narrow else (int64, 2**63 - 1)
    unsorted, keys = Temp(known.temps, key), Temp(known.temps + (n > RUN), key)
    args = {"indices": In(known.input), "bags": known.bags, "keys": unsorted, "errors": Errors(), "n": n}
    args |= {"length": length, "limit": limit, "shift": shift, "axis": axis, "padding": known.padding, **walked}
    args |= {"TOKENS": tokens is not None, "MOST": most, "BLOCK": run}
    neutral = _neutral(dx.dtype, fold)
    launches = [*_filled(dx, neutral), Launch(sort_kernel, (ceil_div(n, run),), args, 8, options=UNCUT)]
    if n > RUN:
        merge = {"keys": unsorted, "merged": keys, "n": n, "MOST": most, "RUN": RUN, "BLOCK": block}
        launches.append(Launch(merge_kernel, (ceil_div(n, block),), merge))
    columns = min(power_of_2(inner), 128)
    rows = min(max(4096 // columns, 32), 512)
    chunks, blocks = ceil_div(n, rows), ceil_div(n, rows) * ceil_div(inner, columns) * outer
    dtype, parts = _summed_in(dx.dtype), keys.index + 1
    shared = {
        "keys": keys, "dx": Out(0), "first": Temp(parts, dtype), "last": Temp(parts + 1, dtype), "n": n,
        "limit": limit, "inner": inner, "shift": shift, "MOST": most,
        "UNIT": divisor(inner, dx.dtype.itemsize) or 1, "LENGTH": rows,
        "COLUMNS": columns, "FOLD": fold, "NEUTRAL": neutral,
    }  # fmt: skip
    read = {"dout": In(0), "bags": known.bags, "factors": known.factors}
    warps = 4 if shared["UNIT"] != 1 else 8  # elements one by one: an address of two registers for each
    launches.append(Launch(sum_kernel, (blocks,), shared | read, warps))
    if chunks > 1:
        launches.append(Launch(join_kernel, (blocks,), shared))
    if known.mean:
        names = ("keys", "dx", "n", "limit", "inner", "shift", "MOST")
        divided = {name: shared[name] for name in names} | {"COLUMNS": min(power_of_2(inner), 1024)}
        launches.append(Launch(divide_kernel, (n,), divided))
    part = Workspace(outer * chunks * inner * dtype.itemsize)
    temps = (*[Workspace(key.itemsize * n)] * (parts - known.temps), part, part)
    copied = [k for k, view in ((0, dout), (known.input, indices)) if not view.contiguous]
    return Program(tuple(launches), temps, tuple(copied))


def _summed_in(dtype: DType) -> DType:
    """Integers are summed in int64, whose low bits are those of a sum that wraps."""
    return accumulator(dtype) if dtype.is_float else int64


def _copied(*views: View) -> tuple[int, ...]:
    return tuple(k for k, view in enumerate(views) if not view.contiguous)


def _neutral(dtype: DType, fold: int) -> int | float:
    """What changes nothing."""
    if fold < 2:
        return fold
    if dtype.is_float:
        return -math.inf if fold == 2 else math.inf
    limits = np.iinfo(dtype.numpy)
    return int(limits.min if fold == 2 else limits.max)


def _filled(dx: View, value: float) -> tuple[Launch, ...]:
    """The output everywhere ``value``."""
    if value == 0:
        return fill(raw(Out, 0, dx))
    dtype = int64 if isinstance(value, int) and not dx.dtype.is_float else accumulator(dx.dtype)
    return launch(identity, False, Operand(Out(0), dx), Operand(value, View((), dtype, (), weak=True)))


def take_backward(call: Call) -> Program:
    """dx[o, k, ...] = sum of dout[o, i, ...] over the i with indices[i] == k; o over the axes before params[0]."""
    indices, dx, axis = call.inputs[1], call.outputs[0], int(call.params[0])
    assert indices is not None and dx is not None
    if indices.size == 0 or dx.size == 0:
        return Program(_filled(dx, 0))
    length = dx.shape[axis]
    outer, inner = math.prod(dx.shape[:axis]), math.prod(dx.shape[axis + 1 :])
    return _sums(call, length, length, outer, inner, 1, axis_args((), s=()))


def add_tokens(call: Call, tokens: Tokens) -> Program:
    """dx[k, :] = sum of dout[i, :] over the i with tokens[i] == k."""
    indices, dx = call.inputs[1], call.outputs[0]
    assert indices is not None and dx is not None
    if indices.size == 0 or dx.size == 0:
        return Program(_filled(dx, 0))
    length, inner = dx.shape
    return _sums(call, length, length, 1, inner, 1, axis_args((), s=()), tokens=tokens)


def add_chosen(call: Call, input: int) -> Program:
    """dx[k, j] = sum of dout[i, j] over the i with k in row i of input ``input``; -1 there is no row."""
    chosen, dx = call.inputs[input], call.outputs[0]
    assert chosen is not None and dx is not None
    if chosen.size == 0 or dx.size == 0:
        return Program(_filled(dx, 0))
    length, inner = dx.shape
    return _sums(call, length, dx.size, 1, 1, inner, axis_args(chosen.shape, s=(0, 1)), tokens=Tokens(-1, False, input))


def gather_backward(call: Call) -> Program:
    """dx[index[i, j, ...], j, ...] += dout[i, j, ...], from zero, for axis params[0] = 0, and so on."""
    return _along(call, 0)


def scatter_fold(call: Call) -> Program:
    """The same with the product, maximum or minimum that params[1] says."""
    return _along(call, 1 + int(call.params[1]))


def _along(call: Call, fold: int) -> Program:
    (dout, index), dx, axis = call.inputs, call.outputs[0], int(call.params[0])
    assert dout is not None and index is not None and dx is not None
    neutral = _neutral(dx.dtype, fold)
    if index.size == 0 or dx.size == 0:
        return Program(_filled(dx, neutral))
    along = contiguous_strides(dx.shape)
    if index.shape[axis] > 32:
        others = tuple(0 if d == axis else s for d, s in enumerate(along))
        return _sums(call, dx.shape[axis], dx.size, 1, 1, along[axis], axis_args(index.shape, s=others), fold)
    strides, block = contiguous_strides(index.shape), 1024
    args: dict[str, Any] = {
        "dout": In(0), "indices": In(1), "dx": Out(0), "errors": Errors(), "size": dx.size, "length": dx.shape[axis],
        "count": index.shape[axis], "along": along[axis], "i_along": strides[axis], "WIDE": _summed_in(dx.dtype),
        "FOLD": fold, "NEUTRAL": neutral,
        "INDEX": index_dtype(dx.size),
        "BLOCK": block,
    }  # fmt: skip
    for d in range(8):
        at = len(dx.shape) - 1 - d
        shorter = at >= 0 and at != axis and index.shape[at] < dx.shape[at]
        args |= {f"n{d}": dx.shape[at] if at >= 0 else None, f"m{d}": index.shape[at] if shorter else None}
        args[f"s{d}"] = strides[at] if at >= 0 and at != axis else None
    return Program((Launch(compare_kernel, (ceil_div(dx.size, block),), args),), (), _copied(dout, index))
