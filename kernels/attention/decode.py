"""Attention of one query to many keys, as a step of generation has it: keys in parts, and the parts joined in order.

Bound by memory: each key and value is read once, B Hk Tk (D + DV) elements; 2 H / Hk FLOPs an element. At the lengths
of small models, some hundred keys, a step waits for two launches and a few loads instead.

The keys of one head are shared out to at most 32 programs, twice as many in all as there are SMs; how many depends on
the room for keys, not on the length that is in use, which lies in device memory: a growing cache makes no new plan, and
programs behind the length have nothing to do. Nothing behind a length is read. One head of queries to one of keys needs
no matrix instructions: each lane has a key of each block and its own running maximum until the end, so that no step
waits for a reduction over keys. Several heads that read the same keys are the rows of a product. A second launch joins
the parts in their order.

Versions: unmeasured, not yet run on hardware.
"""

from __future__ import annotations

from typing import Any

from dlcore.kernels.attention.plan import Hidden, Rows, index_of, strides_of, work_of
from dlcore.kernels.attention.tiles import (
    INFINITY,
    LN2,
    head_of,
    length_of,
    limits,
    load_rows,
    power,
    scored,
    store_rows,
)
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Arch,
    Errors,
    Launch,
    Temp,
    Workspace,
    accumulator,
    ceil_div,
    power_of_2,
    shared_out,
)  # fmt: skip
from dlcore.kernels.matmul.epilogue import multiply_add, rounded

__all__ = ["launches", "suits"]

PARTS = 32  # of the keys, at most


@jit
def one_query(
    x, k, v, mask, example, shared, low, high, begin, end, keys, k_row, v_row, mask_key, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    UNIT: tl.constexpr, BIASED: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """Sum, level and total of one query's exponentials: each of BLOCK_N lanes has its own until all keys are read."""
    acc, top, total = tl.zeros((BLOCK_N, BLOCK_V), ACC), tl.full((BLOCK_N,), -INFINITY, ACC), tl.zeros((BLOCK_N,), ACC)
    for start in range(begin, end, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        y = load_rows(k, example, shared, start, k_row, end, D, BLOCK_N, BLOCK_D, UNIT, False, False, INDEX)
        z = load_rows(v, example, shared, start, v_row, end, DV, BLOCK_N, BLOCK_V, UNIT, False, False, INDEX)
        s = tl.sum(y.to(ACC) * x, 1)
        s = scored(s, j * 0, j, low, tl.minimum(high, end), mask, 0, mask_key, 1, keys, scale, True, INDEX)
        above = tl.maximum(top, s)
        level = tl.where(above == -INFINITY, 0, above)
        p, shrunk = power(s - level, BIASED), power(top - level, BIASED)
        total = total * shrunk + p
        acc = acc * shrunk[:, None] + p[:, None] * z.to(ACC)
        top = above
    highest = tl.max(top, 0)
    shrunk = power(top - tl.where(highest == -INFINITY, 0, highest), BIASED)
    return tl.sum(acc * shrunk[:, None], 0)[None, :], highest, tl.sum(total * shrunk, 0)


@jit
def some_queries(
    x, k, v, mask, example, shared, low, high, begin, end, members, keys, k_row, v_row, mask_head, mask_key, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    UNIT: tl.constexpr, BIASED: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """The same of the queries of all heads that share these keys, as products of matrices."""
    BLOCK_R: tl.constexpr = x.shape[0]
    acc, top, total = tl.zeros((BLOCK_R, BLOCK_V), ACC), tl.full((BLOCK_R,), -INFINITY, ACC), tl.zeros((BLOCK_R,), ACC)
    i = tl.arange(0, BLOCK_R)[:, None]
    for start in range(begin, end, BLOCK_N):
        j = (start + tl.arange(0, BLOCK_N))[None, :]
        y = load_rows(k, example, shared, start, k_row, end, D, BLOCK_N, BLOCK_D, UNIT, False, False, INDEX)
        s = multiply_add(x, y.T, tl.zeros((BLOCK_R, BLOCK_N), ACC), PRECISION)
        s = scored(s, i, j, low, tl.minimum(high, end), mask, mask_head, mask_key, members, keys, scale, True, INDEX)
        above = tl.maximum(top, tl.max(s, 1))
        level = tl.where(above == -INFINITY, 0, above)
        p, shrunk = power(s - level[:, None], BIASED), power(top - level, BIASED)
        total = total * shrunk + tl.sum(p, 1)
        z = load_rows(v, example, shared, start, v_row, end, DV, BLOCK_N, BLOCK_V, UNIT, False, False, INDEX)
        acc = multiply_add(rounded(p, z.dtype), z, acc * shrunk[:, None], PRECISION)
        top = above
    return acc, top, total


@jit
def log_of(top, total, BIASED: tl.constexpr):
    """Log-sum-exp of exponentials that add up to total above top."""
    if BIASED:
        sums = top + tl.log(total)
    else:
        sums = (top + tl.log2(total)) * LN2
    return sums


@jit
def decode_kernel(
    q, k, v, mask, lengths, errors, out, lse, sums, tops, totals, shared_heads, group, keys, share, parts,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, o_batch, o_head, o_row,
    mask_batch, mask_head, mask_key, lengths_step, left, right, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr, UNIT: tl.constexpr, BIASED: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr,
    LOWER: tl.constexpr, FLIP: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    part, entry = tl.program_id(0) % parts, tl.program_id(0) // parts
    example, shared = entry // shared_heads, entry % shared_heads
    head = shared * group
    n = length_of(lengths, errors, example, lengths_step, keys)
    shift = 0
    if LOWER:
        shift = n - 1
    low, high = limits(0, n, shift, None, left, right, 1, LEFT, RIGHT)
    begin = tl.maximum(part * share, low // BLOCK_N * BLOCK_N)
    end = tl.minimum(part * share + share, high)
    q = head_of(q, example, head, q_batch, q_head, UNIT, False)
    k = head_of(k, example, shared, k_batch, k_head, UNIT, False)
    v = head_of(v, example, shared, v_batch, v_head, UNIT, False)
    if mask is not None:
        mask += example.to(tl.int64) * mask_batch + head.to(tl.int64) * mask_head
    x = load_rows(q, 0, 0, 0, q_head, group, D, BLOCK_R, BLOCK_D, UNIT, False, False, INDEX)
    if FLIP:
        x = (-x.to(ACC)).to(x.dtype)
    r = tl.arange(0, BLOCK_R)
    if BLOCK_R == 1:
        acc, top, total = one_query(
            x.to(ACC), k, v, mask, example, shared, low, high, begin, end, keys, k_row, v_row, mask_key, scale,
            D, DV, BLOCK_N, BLOCK_D, BLOCK_V, UNIT, BIASED, ACC, INDEX,
        )  # fmt: skip
        top, total = top + r * 0, total + r * 0
    else:
        acc, top, total = some_queries(
            x, k, v, mask, example, shared, low, high, begin, end, group, keys, k_row, v_row, mask_head, mask_key,
            scale, D, DV, BLOCK_N, BLOCK_D, BLOCK_V, UNIT, BIASED, PRECISION, ACC, INDEX,
        )  # fmt: skip
    at = entry.to(tl.int64) * group
    if sums is None:
        out = head_of(out, example, head, o_batch, o_head, UNIT, False)
        store_rows(
            out, acc / tl.where(total == 0, 1, total)[:, None], 0, o_head, group, DV, BLOCK_R, BLOCK_V, UNIT, INDEX
        )
        if lse is not None:
            tl.store(lse + at + r, log_of(top, total, BIASED), r < group)
    else:
        place = (at + r) * parts + part
        d = tl.arange(0, BLOCK_V)[None, :]
        tl.store(sums + place[:, None] * DV + d, acc, (r < group)[:, None] & (d < DV))
        tl.store(tops + place, top, r < group)
        tl.store(totals + place, total, r < group)


@jit
def join_kernel(
    sums, tops, totals, out, lse, heads, parts, o_batch, o_head, DV: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_V: tl.constexpr, UNIT: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    """The parts of one query, joined."""
    entry = tl.program_id(0).to(tl.int64)
    part, d = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_V)[None, :]
    place = entry * parts + part
    top, total = tl.load(tops + place, part < parts, -INFINITY), tl.load(totals + place, part < parts, 0)
    acc = tl.load(sums + place[:, None] * DV + d, (part < parts)[:, None] & (d < DV), 0)
    highest = tl.max(top, 0)
    weights = power(top - tl.where(highest == -INFINITY, 0, highest), BIASED)
    all = tl.sum(total * weights, 0)
    found = tl.sum(acc * weights[:, None], 0)[None, :] / tl.where(all == 0, 1, all)
    at = (entry // heads * o_batch + entry % heads * o_head) * UNIT + d
    tl.store(out + at, found.to(out.dtype.element_ty), d < DV)
    if lse is not None:
        tl.store(lse + entry, log_of(highest, all, BIASED))


# ---- planner ------------------------------------------------------------------------------------------------------
def suits(q: Rows, k: Rows, hidden: Hidden) -> bool:
    """Whether a call is a step of generation."""
    return q.shape[2] == 1 and k.shape[2] > 1 and not hidden.drops and not hidden.sequences


def launches(
    q: Rows, k: Rows, v: Rows, out: Rows, lse: Any, hidden: Hidden, arch: Arch
) -> tuple[tuple[Launch, ...], tuple[Workspace, ...]]:
    """The launches of such a call and the workspaces they take."""
    work, acc, operands = work_of(q, k, v), accumulator(q.dtype), [q, k, v, out]
    group = work.heads // work.shared
    block = max(min(4096 // work.longest // (2 if acc.itemsize == 8 else 1), 64), 16)
    steps, entries = ceil_div(work.keys, block), work.examples * work.shared
    parts = min(PARTS, max(2 * arch.multiprocessors // entries, 1), max(steps // 2, 1))
    share, parts = shared_out(steps, parts)
    unit, whole = min(x.unit for x in operands), work.examples * work.heads
    temps = tuple(Workspace(whole * parts * n * acc.itemsize) for n in (work.width, 1, 1)) if parts > 1 else ()
    sums, tops, totals = (Temp(n, acc) if parts > 1 else None for n in range(3))
    shape = {"DV": work.width, "BLOCK_V": max(power_of_2(work.width), 16), "UNIT": unit, "BIASED": hidden.biased}
    names = ("mask", "lengths", "mask_batch", "mask_head", "mask_key", "lengths_step", "left", "right", "scale",
             "LEFT", "RIGHT", "LOWER", "FLIP")  # fmt: skip
    args = {
        **{n: hidden.args[n] for n in names}, **shape, **strides_of("q k v o", operands, unit), "q": q.pointer,
        "k": k.pointer, "v": v.pointer, "out": out.pointer, "lse": lse, "sums": sums, "tops": tops, "totals": totals,
        "errors": Errors() if hidden.lengths else None,
        "shared_heads": work.shared, "group": group, "keys": work.keys, "share": share * block, "parts": parts,
        "D": work.depth, "BLOCK_R": 1 if group == 1 else max(power_of_2(group), 16), "BLOCK_N": block,
        "BLOCK_D": max(power_of_2(work.depth), 16), "PRECISION": work.precision, "ACC": acc,
        "INDEX": index_of(*operands, q._replace(strides=(q.strides[0], 1, q.strides[1])), others=work.keys),
    }  # fmt: skip
    found = [Launch(decode_kernel, (entries * parts,), args, num_warps=4, num_stages=2)]
    if parts > 1:
        args = {**shape, "sums": sums, "tops": tops, "totals": totals, "out": out.pointer, "lse": lse,
                "heads": work.heads, "parts": parts, "BLOCK_P": power_of_2(parts),
                "o_batch": out.strides[0] // unit, "o_head": out.strides[1] // unit}  # fmt: skip
        found.append(Launch(join_kernel, (whole,), args))
    return tuple(found), temps
