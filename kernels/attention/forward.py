"""Attention, forward: softmax(scale q kᵀ + mask) v without the square matrix (Rabe and Staats 2021, Dao et al. 2022).

2 B H Tq Tk (D + DV) FLOPs (half of it where causal) on B (H Tq + Hk Tk) (D + DV) elements that must move, and
B H Tq Tk exponentials: from some hundred keys on bound by arithmetic, tensor cores and the 16 exponentials a clock of
an SM about alike at D = 64; at small-model sizes (64 to 256 tokens and programs) by the latency of a few steps.

A program has BLOCK_M queries of a head and walks over the keys that one of them sees, BLOCK_N at a time, with a running
maximum and sum of each query; exp2, its factor log2(e) folded into the scale. Keys that all queries see come in a loop
without comparisons, those at the diagonal and at the end in a second one (one loop for windows and sequences, and
through pointers on sm_90: see attention.py). Keys and values come by TMA on sm_90 and sm_100 where rows are whole 16
bytes, whatever the layout: descriptors of 4 axes, made on the host. Dropped are the probabilities that `dropout` would
drop of the square (`kept`). float32 is multiplied as in matmul, but exactly ("ieee") from 65 numbers a row on, whose
three parts would not fit into registers. A query that sees no key gives 0, and its log-sum-exp is -inf.

Versions: unmeasured, not yet run on hardware. Compiled without spills, causal, 1024 tokens: tile, warps, stages,
registers, shared KiB; wgmma on sm_90 and tcgen05 on sm_100 for 16 bits, else mma.sync, or FMA (float32 D 128):
  sm_80   bf16 D 64 64x64 w4 s3 184, 40; bf16 D 128 64x32 w4 s2 168, 36; bf16 D 256 32x32 w8 s2 126, 50;
          float32 D 32 64x32 w4 s2 194, 24; float32 D 64 32x32 w4 s2 198, 40; float32 D 128 16x32 w8 s2 69, 42
  sm_90   bf16 D 64 64x64 w4 s3 113, 57; bf16 D 128 64x64 w4 s2 159, 81; bf16 D 256 128x64 w8 s2 215, 192;
          float32 D 32 64x32 w4 s2 126, 32; float32 D 64 32x32 w4 s2 148, 40; float32 D 128 16x32 w8 s2 58, 42
  sm_100  bf16 D 64 64x64 w4 s3 133, 57; bf16 D 128 64x64 w4 s2 168, 81; bf16 D 256 128x64 w8 s2 224, 193;
          float32 D 32 64x32 w4 s2 130, 16; float32 D 64 32x32 w4 s2 201, 40; float32 D 128 16x32 w8 s2 72, 42
  sm_120  bf16 D 64 64x64 w4 s3 182, 40; bf16 D 128 64x32 w4 s2 167, 36; bf16 D 256 32x32 w8 s2 108, 50;
          float32 D 32 64x32 w4 s2 192, 24; float32 D 64 32x32 w4 s2 192, 40; float32 D 128 16x32 w8 s2 70, 42
Masks of numbers and dropout take up to 110 registers more, and then tiles are smaller (`tile_of`); on sm_90 nothing is
loaded ahead beside them, for ptxas would serialise all wgmma (C7515).
"""

from __future__ import annotations

from dlcore.kernels.attention.tiles import (
    INFINITY,
    LN2,
    head_of,
    kept,
    length_of,
    limits,
    load_rows,
    power,
    scored,
    store_rows,
)
from dlcore.kernels.language import jit, tl
from dlcore.kernels.matmul.epilogue import multiply_add, rounded


@jit
def forward_loop(
    acc, top, total, x, k, v, mask, seed, offset, element, example, head, i, low, high, begin, end, rows, keys,
    k_row, v_row, mask_row, mask_key, scale, threshold,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    UNIT: tl.constexpr, TMA: tl.constexpr, BIASED: tl.constexpr, DROPS: tl.constexpr, GROUPS: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """Sums over the keys from begin to end; EDGE: not all queries see all of them."""
    for start in range(begin, end, BLOCK_N):
        start = tl.multiple_of(start, BLOCK_N)
        j = (start + tl.arange(0, BLOCK_N))[None, :]
        y = load_rows(k, example, head, start, k_row, end, D, BLOCK_N, BLOCK_D, UNIT, not EDGE, TMA, INDEX)
        s = multiply_add(x, y.T, tl.zeros((x.shape[0], BLOCK_N), acc.dtype), PRECISION)
        s = scored(s, i, j, low, high, mask, mask_row, mask_key, rows, keys, scale, EDGE, INDEX)
        above = tl.maximum(top, tl.max(s, 1))
        level = tl.where(above == -INFINITY, 0, above)  # nothing seen so far: exponents stay -inf, not NaN
        p = power(s - level[:, None], BIASED)
        shrunk = power(top - level, BIASED)
        total = total * shrunk + tl.sum(p, 1)
        if DROPS:
            p = tl.where(kept(seed, offset, element, start, threshold, BLOCK_N, GROUPS), p, 0)
        acc = acc * shrunk[:, None]
        z = load_rows(v, example, head, start, v_row, end, DV, BLOCK_N, BLOCK_V, UNIT, not EDGE, TMA, INDEX)
        acc = multiply_add(rounded(p, z.dtype), z, acc, PRECISION)
        top = above
    return acc, top, total


@jit
def forward_kernel(
    q, k, v, mask, lengths, errors, bounds, state, out, lse, heads, group, rows, keys,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, o_batch, o_head, o_row,
    mask_batch, mask_head, mask_row, mask_key, lengths_step, left, right, scale, threshold, factor,
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
    n = length_of(lengths, errors, example, lengths_step, keys)
    shift = 0
    if LOWER:
        shift = n - rows

    q = head_of(q, example, head, q_batch, q_head, UNIT, False)
    k = head_of(k, example, shared, k_batch, k_head, UNIT, TMA)
    v = head_of(v, example, shared, v_batch, v_head, UNIT, TMA)
    out = head_of(out, example, head, o_batch, o_head, UNIT, False)
    if mask is not None:
        mask += example.to(tl.int64) * mask_batch + head.to(tl.int64) * mask_head
    x = load_rows(q, example, head, row, q_row, rows, D, BLOCK_M, BLOCK_D, UNIT, False, False, INDEX)
    if FLIP:
        x = (-x.to(ACC)).to(x.dtype)
    i = (row + tl.arange(0, BLOCK_M))[:, None]
    low, high = limits(i, n, shift, bounds, left, right, rows, LEFT, RIGHT)
    begin, middle = limits(row, n, shift, bounds, left, right, rows, LEFT, RIGHT)
    _, end = limits(tl.minimum(row + BLOCK_M, rows) - 1, n, shift, bounds, left, right, rows, LEFT, RIGHT)
    begin, middle = begin // BLOCK_N * BLOCK_N, middle // BLOCK_N * BLOCK_N

    DROPS: tl.constexpr = state is not None
    seed, offset, element = 0, 0, 0
    if DROPS:
        seed, offset = tl.load(state), tl.load(state + 1)
        element = (entry.to(tl.int64) * rows + i) * keys
    acc = tl.zeros((BLOCK_M, BLOCK_V), ACC)
    top = tl.full((BLOCK_M,), -INFINITY, ACC)
    total = tl.zeros((BLOCK_M,), ACC)
    if WHOLE or (SPLIT and not LEFT and bounds is None):
        acc, top, total = forward_loop(
            acc, top, total, x, k, v, mask, seed, offset, element, example, shared, i, low, high, 0, middle, rows,
            keys, k_row, v_row, mask_row, mask_key, scale, threshold, D, DV, BLOCK_N, BLOCK_D, BLOCK_V, UNIT, TMA,
            BIASED, DROPS, GROUPS, False, PRECISION, INDEX,
        )  # fmt: skip
        begin = middle
    if not WHOLE:
        acc, top, total = forward_loop(
            acc, top, total, x, k, v, mask, seed, offset, element, example, shared, i, low, high, begin, end, rows,
            keys, k_row, v_row, mask_row, mask_key, scale, threshold, D, DV, BLOCK_N, BLOCK_D, BLOCK_V, UNIT, TMA,
            BIASED, DROPS, GROUPS, True, PRECISION, INDEX,
        )  # fmt: skip
    if DROPS:
        acc = acc * factor
    acc = acc / tl.where(total == 0, 1, total)[:, None]
    store_rows(out, acc, row, o_row, rows, DV, BLOCK_M, BLOCK_V, UNIT, INDEX)
    if lse is not None:
        r = row + tl.arange(0, BLOCK_M)
        if BIASED:
            sums = top + tl.log(total)
        else:
            sums = (top + tl.log2(total)) * LN2
        tl.store(lse + entry.to(tl.int64) * rows + r, sums, r < rows)
