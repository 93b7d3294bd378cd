"""Attention, backward, in two kernels without atomics: dk and dv over blocks of queries, dq over blocks of keys.

With p = exp(scale q kᵀ + mask - lse), f what dropout multiplies p by, delta = the sum of out dout of each query:
dv = (p f)ᵀ dout, ds = p (f dout vᵀ - delta), dk = scale dsᵀ q, dq = scale ds k. Two products are made in both kernels,
7 in all where 5 would do: 2 B H Tq Tk (4 D + 3 DV) FLOPs, for sums whose order follows from shapes alone; and p twice,
2 B H Tq Tk exponentials. Bound by arithmetic beyond some hundred tokens. delta is a launch of its own, which reads out
and dout once, bound by memory.

A program of the first kernel has BLOCK_N keys of one of Hk heads and walks over the queries of all H / Hk heads that
read them, so heads that share keys are summed in order too; one of the second has BLOCK_M queries and walks over keys
as in the forward pass. What is walked over comes by TMA where forward's would; loops and dropout as there.

Versions: unmeasured, not yet run on hardware. Compiled without spills, causal, 1024 tokens: tile, warps, stages,
registers, shared KiB, of dk and dv, then of dq:
  sm_80   bf16 D 64 32x64 w4 s2 212, 24 and 64x32 w4 s2 168, 24;
          bf16 D 128 32x64 w8 s2 196, 52 and 64x32 w8 s2 158, 52;
          bf16 D 256 32x32 w8 s2 173, 66 and 32x32 w8 s2 127, 66;
          float32 D 32 16x64 w4 s2 192, 36 and 16x32 w4 s2 93, 16;
          float32 D 64 32x32 w8 s2 211, 48 and 32x32 w8 s2 254, 48;
          float32 D 128 16x32 w8 s2 80, 50 and 16x32 w4 s2 127, 50
  sm_90   bf16 D 64 64x64 w4 s2 171, 49 and 64x64 w4 s2 125, 49;
          bf16 D 128 32x128 w8 s2 207, 96 and 128x32 w8 s2 126, 96;
          bf16 D 256 32x32 w8 s2 172, 66 and 64x32 w8 s2 188, 128;
          float32 D 32 16x64 w4 s2 127, 40 and 16x32 w4 s2 78, 16;
          float32 D 64 32x32 w8 s2 211, 48 and 32x32 w8 s2 166, 48;
          float32 D 128 16x32 w8 s2 104, 50 and 16x32 w4 s2 72, 50
  sm_100  bf16 D 64 64x64 w4 s2 154, 65 and 64x64 w4 s2 119, 57;
          bf16 D 128 32x128 w8 s2 128, 112 and 128x32 w8 s2 86, 104;
          bf16 D 256 32x32 w8 s2 171, 66 and 64x32 w8 s2 88, 145;
          float32 D 32 16x64 w4 s2 212, 8 and 16x32 w4 s2 93, 16;
          float32 D 64 32x32 w8 s2 211, 48 and 32x32 w8 s2 252, 48;
          float32 D 128 16x32 w8 s2 104, 50 and 16x32 w4 s2 102, 50
  sm_120  bf16 D 64 32x64 w4 s2 179, 24 and 64x32 w4 s2 178, 24;
          bf16 D 128 32x64 w8 s2 166, 52 and 64x32 w8 s2 128, 52;
          bf16 D 256 32x32 w8 s2 166, 66 and 32x32 w8 s2 124, 66;
          float32 D 32 16x64 w4 s2 168, 36 and 16x32 w4 s2 94, 16;
          float32 D 64 32x32 w8 s2 237, 48 and 32x32 w8 s2 248, 48;
          float32 D 128 16x32 w8 s2 105, 50 and 16x32 w4 s2 112, 50
"""

from __future__ import annotations

from dlcore.kernels.attention.tiles import (
    INFINITY,
    LOG2E,
    head_of,
    kept,
    length_of,
    limits,
    load_rows,
    power,
    scored,
    seen_by,
    store_rows,
)
from dlcore.kernels.language import jit, tl
from dlcore.kernels.matmul.epilogue import multiply_add, rounded


@jit
def delta_kernel(
    out, dout, delta, heads, rows, o_batch, o_head, o_row, g_batch, g_head, g_row,
    DV: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_V: tl.constexpr, UNIT: tl.constexpr, ACC: tl.constexpr,
    INDEX: tl.constexpr,
):  # fmt: skip
    """Of each query, the sum of out * dout."""
    blocks = tl.cdiv(rows, BLOCK_M)
    row, entry = tl.program_id(0) % blocks * BLOCK_M, tl.program_id(0) // blocks
    out = head_of(out, entry // heads, entry % heads, o_batch, o_head, UNIT, False)
    dout = head_of(dout, entry // heads, entry % heads, g_batch, g_head, UNIT, False)
    x = load_rows(out, 0, 0, row, o_row, rows, DV, BLOCK_M, BLOCK_V, UNIT, False, False, INDEX)
    g = load_rows(dout, 0, 0, row, g_row, rows, DV, BLOCK_M, BLOCK_V, UNIT, False, False, INDEX)
    r = row + tl.arange(0, BLOCK_M)
    tl.store(delta + entry.to(tl.int64) * rows + r, tl.sum(x.to(ACC) * g.to(ACC), 1), r < rows)


@jit
def levels_of(lse, r, rows, ACC: tl.constexpr, BIASED: tl.constexpr):
    """Log-sum-exps of queries r as exponents, so that those which see nothing, or are none, get weights of 0."""
    level = tl.load(lse + r, r < rows, -INFINITY).to(ACC)
    level = tl.where(level == -INFINITY, INFINITY, level)
    if not BIASED:
        level = level * LOG2E
    return level


# ---- dk and dv ----------------------------------------------------------------------------------------------------
@jit
def keys_loop(
    dk, dv, x, z, q, dout, lse, delta, mask, seed, offset, first, example, head, j, column, n, shift, bounds, left,
    right, begin, end, rows, keys, q_row, g_row, mask_row, mask_key, scale, threshold, factor,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    UNIT: tl.constexpr, TMA: tl.constexpr, BIASED: tl.constexpr, DROPS: tl.constexpr, GROUPS: tl.constexpr,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, EDGE: tl.constexpr, WHOLE: tl.constexpr, FLIP: tl.constexpr,
    DK: tl.constexpr, DV_: tl.constexpr, PRECISION: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """Sums over the queries from begin to end; EDGE: not all of them see all keys of the block."""
    ACC: tl.constexpr = dk.dtype
    BLOCK_N: tl.constexpr = x.shape[0]
    for start in range(begin, end, BLOCK_M):
        start = tl.multiple_of(start, BLOCK_M)
        r = start + tl.arange(0, BLOCK_M)
        i = r[None, :]
        y = load_rows(q, example, head, start, q_row, rows, D, BLOCK_M, BLOCK_D, UNIT, WHOLE, TMA, INDEX)
        if FLIP:
            y = (-y.to(ACC)).to(y.dtype)
        s = multiply_add(x, y.T, tl.zeros((BLOCK_N, BLOCK_M), ACC), PRECISION)
        low, high = limits(i, n, shift, bounds, left, right, rows, LEFT, RIGHT)
        s = scored(s, i, j, low, high, mask, mask_row, mask_key, rows, keys, scale, EDGE, INDEX)
        p = power(s - levels_of(lse, r, rows, ACC, BIASED)[None, :], BIASED)
        g = load_rows(dout, example, head, start, g_row, rows, DV, BLOCK_M, BLOCK_V, UNIT, WHOLE, TMA, INDEX)
        weights = p
        if DROPS:
            element = (first + r[:, None]) * keys
            stays = tl.trans(kept(seed, offset, element, column, threshold, BLOCK_N, GROUPS).to(tl.int8)) != 0
            weights = tl.where(stays, p * factor, 0)
        if DV_:
            dv = multiply_add(rounded(weights, g.dtype), g, dv, PRECISION)
        if DK:
            dp = multiply_add(z, g.T, tl.zeros((BLOCK_N, BLOCK_M), ACC), PRECISION)
            if DROPS:
                dp = tl.where(stays, dp * factor, 0)
            ds = p * (dp - tl.load(delta + r, r < rows, 0)[None, :])
            dk = multiply_add(rounded(ds, y.dtype), y, dk, PRECISION)
    return dk, dv


@jit
def keys_kernel(
    q, k, v, dout, lse, delta, mask, lengths, bounds, state, dk, dv, heads, shared_heads, group, rows, keys,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, g_batch, g_head, g_row,
    dk_batch, dk_head, dk_row, dv_batch, dv_head, dv_row, mask_batch, mask_head, mask_row, mask_key, lengths_step,
    left, right, scale, outer, threshold, factor,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr, UNIT: tl.constexpr, TMA: tl.constexpr, BIASED: tl.constexpr, GROUPS: tl.constexpr,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, LOWER: tl.constexpr, WHOLE: tl.constexpr, FLIP: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(keys, BLOCK_N)
    column, entry = tl.program_id(0) % blocks * BLOCK_N, tl.program_id(0) // blocks
    example, shared = entry // shared_heads, entry % shared_heads
    n = length_of(lengths, None, example, lengths_step, keys)
    shift = 0
    if LOWER:
        shift = n - rows
    k = head_of(k, example, shared, k_batch, k_head, UNIT, False)
    v = head_of(v, example, shared, v_batch, v_head, UNIT, False)
    x = load_rows(k, 0, 0, column, k_row, n, D, BLOCK_N, BLOCK_D, UNIT, False, False, INDEX)
    z = load_rows(v, 0, 0, column, v_row, n, DV, BLOCK_N, BLOCK_V, UNIT, False, False, INDEX)
    j = (column + tl.arange(0, BLOCK_N))[:, None]
    begin, end = seen_by(column, n, shift, bounds, left, right, rows, BLOCK_N, LEFT, RIGHT)
    begin = begin // BLOCK_M * BLOCK_M

    DROPS: tl.constexpr = state is not None
    SPLIT: tl.constexpr = not LEFT and bounds is None
    EDGES: tl.constexpr = not SPLIT or RIGHT or lengths is not None
    middle = end
    if SPLIT:
        middle = begin
        if RIGHT:
            middle = tl.maximum(middle, tl.cdiv(tl.maximum(column + BLOCK_N - 1 - shift - right, 0), BLOCK_M) * BLOCK_M)
        if EDGES:
            middle = tl.minimum(tl.where(column + BLOCK_N <= n, middle, end), end)
    seed, offset = 0, 0
    if DROPS:
        seed, offset = tl.load(state), tl.load(state + 1)
    dk_sum, dv_sum = tl.zeros((BLOCK_N, BLOCK_D), ACC), tl.zeros((BLOCK_N, BLOCK_V), ACC)
    for member in range(group):
        head = shared * group + member
        first = (example * heads + head).to(tl.int64) * rows
        q_of = head_of(q, example, head, q_batch, q_head, UNIT, TMA)
        g_of = head_of(dout, example, head, g_batch, g_head, UNIT, TMA)
        mask_of = mask
        if mask is not None:
            mask_of = mask + example.to(tl.int64) * mask_batch + head.to(tl.int64) * mask_head
        if EDGES:
            dk_sum, dv_sum = keys_loop(
                dk_sum, dv_sum, x, z, q_of, g_of, lse + first, delta + first, mask_of, seed, offset, first, example,
                head, j, column, n, shift, bounds, left, right, begin, middle, rows, keys, q_row, g_row, mask_row,
                mask_key, scale, threshold, factor, D, DV, BLOCK_M, BLOCK_D, BLOCK_V, UNIT, TMA, BIASED, DROPS, GROUPS,
                LEFT, RIGHT, True, WHOLE, FLIP, dk is not None, dv is not None, PRECISION, INDEX,
            )  # fmt: skip
        if SPLIT:
            dk_sum, dv_sum = keys_loop(
                dk_sum, dv_sum, x, z, q_of, g_of, lse + first, delta + first, mask_of, seed, offset, first, example,
                head, j, column, n, shift, bounds, left, right, middle, end, rows, keys, q_row, g_row, mask_row,
                mask_key, scale, threshold, factor, D, DV, BLOCK_M, BLOCK_D, BLOCK_V, UNIT, TMA, BIASED, DROPS, GROUPS,
                LEFT, RIGHT, False, WHOLE, FLIP, dk is not None, dv is not None, PRECISION, INDEX,
            )  # fmt: skip
    if dk is not None:
        dk = head_of(dk, example, shared, dk_batch, dk_head, UNIT, False)
        store_rows(dk, dk_sum * outer, column, dk_row, keys, D, BLOCK_N, BLOCK_D, UNIT, INDEX)
    if dv is not None:
        dv = head_of(dv, example, shared, dv_batch, dv_head, UNIT, False)
        store_rows(dv, dv_sum, column, dv_row, keys, DV, BLOCK_N, BLOCK_V, UNIT, INDEX)


# ---- dq -----------------------------------------------------------------------------------------------------------
@jit
def queries_loop(
    dq, x, g, k, v, level, delta, mask, seed, offset, element, example, head, i, low, high, begin, end, rows, keys,
    k_row, v_row, mask_row, mask_key, scale, threshold, factor,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    UNIT: tl.constexpr, TMA: tl.constexpr, BIASED: tl.constexpr, DROPS: tl.constexpr, GROUPS: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """Sums over the keys from begin to end; EDGE: not all queries see all of them."""
    ACC: tl.constexpr = dq.dtype
    BLOCK_M: tl.constexpr = x.shape[0]
    for start in range(begin, end, BLOCK_N):
        start = tl.multiple_of(start, BLOCK_N)
        j = (start + tl.arange(0, BLOCK_N))[None, :]
        y = load_rows(k, example, head, start, k_row, end, D, BLOCK_N, BLOCK_D, UNIT, not EDGE, TMA, INDEX)
        z = load_rows(v, example, head, start, v_row, end, DV, BLOCK_N, BLOCK_V, UNIT, not EDGE, TMA, INDEX)
        s = multiply_add(x, y.T, tl.zeros((BLOCK_M, BLOCK_N), ACC), PRECISION)
        s = scored(s, i, j, low, high, mask, mask_row, mask_key, rows, keys, scale, EDGE, INDEX)
        p = power(s - level[:, None], BIASED)
        dp = multiply_add(g, z.T, tl.zeros((BLOCK_M, BLOCK_N), ACC), PRECISION)
        if DROPS:
            dp = tl.where(kept(seed, offset, element, start, threshold, BLOCK_N, GROUPS), dp * factor, 0)
        ds = p * (dp - delta[:, None])
        dq = multiply_add(rounded(ds, y.dtype), y, dq, PRECISION)
    return dq


@jit
def queries_kernel(
    q, k, v, dout, lse, delta, mask, lengths, bounds, state, dq, heads, group, rows, keys,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, g_batch, g_head, g_row,
    dq_batch, dq_head, dq_row, mask_batch, mask_head, mask_row, mask_key, lengths_step, left, right, scale, outer,
    threshold, factor,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr, UNIT: tl.constexpr, TMA: tl.constexpr, BIASED: tl.constexpr, GROUPS: tl.constexpr,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, LOWER: tl.constexpr, WHOLE: tl.constexpr, SPLIT: tl.constexpr,
    FLIP: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(rows, BLOCK_M)
    place, entry = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    if RIGHT:
        place = blocks - 1 - place  # those with the most keys first
    example, head = entry // heads, entry % heads
    row, shared = place * BLOCK_M, head // group
    n = length_of(lengths, None, example, lengths_step, keys)
    shift = 0
    if LOWER:
        shift = n - rows

    q = head_of(q, example, head, q_batch, q_head, UNIT, False)
    dout = head_of(dout, example, head, g_batch, g_head, UNIT, False)
    k = head_of(k, example, shared, k_batch, k_head, UNIT, TMA)
    v = head_of(v, example, shared, v_batch, v_head, UNIT, TMA)
    if mask is not None:
        mask += example.to(tl.int64) * mask_batch + head.to(tl.int64) * mask_head
    x = load_rows(q, 0, 0, row, q_row, rows, D, BLOCK_M, BLOCK_D, UNIT, False, False, INDEX)
    if FLIP:
        x = (-x.to(ACC)).to(x.dtype)
    g = load_rows(dout, 0, 0, row, g_row, rows, DV, BLOCK_M, BLOCK_V, UNIT, False, False, INDEX)
    r = row + tl.arange(0, BLOCK_M)
    first = entry.to(tl.int64) * rows
    level = levels_of(lse + first, r, rows, ACC, BIASED)
    rest = tl.load(delta + first + r, r < rows, 0)
    i = r[:, None]
    low, high = limits(i, n, shift, bounds, left, right, rows, LEFT, RIGHT)
    begin, middle = limits(row, n, shift, bounds, left, right, rows, LEFT, RIGHT)
    _, end = limits(tl.minimum(row + BLOCK_M, rows) - 1, n, shift, bounds, left, right, rows, LEFT, RIGHT)
    begin, middle = begin // BLOCK_N * BLOCK_N, middle // BLOCK_N * BLOCK_N

    DROPS: tl.constexpr = state is not None
    seed, offset, element = 0, 0, 0
    if DROPS:
        seed, offset = tl.load(state), tl.load(state + 1)
        element = (first + i) * keys
    sum = tl.zeros((BLOCK_M, BLOCK_D), ACC)
    if WHOLE or (SPLIT and not LEFT and bounds is None):
        sum = queries_loop(
            sum, x, g, k, v, level, rest, mask, seed, offset, element, example, shared, i, low, high, 0, middle, rows,
            keys, k_row, v_row, mask_row, mask_key, scale, threshold, factor, D, DV, BLOCK_N, BLOCK_D, BLOCK_V, UNIT,
            TMA, BIASED, DROPS, GROUPS, False, PRECISION, INDEX,
        )  # fmt: skip
        begin = middle
    if not WHOLE:
        sum = queries_loop(
            sum, x, g, k, v, level, rest, mask, seed, offset, element, example, shared, i, low, high, begin, end, rows,
            keys, k_row, v_row, mask_row, mask_key, scale, threshold, factor, D, DV, BLOCK_N, BLOCK_D, BLOCK_V, UNIT,
            TMA, BIASED, DROPS, GROUPS, True, PRECISION, INDEX,
        )  # fmt: skip
    dq = head_of(dq, example, head, dq_batch, dq_head, UNIT, False)
    store_rows(dq, sum * outer, row, dq_row, rows, D, BLOCK_M, BLOCK_D, UNIT, INDEX)
