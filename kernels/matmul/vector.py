"""A matrix times a vector, with bias and activation: products with one row or one column, without tensor cores.

2 R K FLOPs on R K elements of the matrix, each read once: bound by memory. A program sums BLOCK_R rows, BLOCK_K terms
at a time, in float32 (float64), each thread its own terms first; few rows are split over K, and split.py adds up.
The matrix may lie either way: the tile is the same, and the compiler lets threads follow what is adjacent in memory.

Versions: unmeasured, not yet run on hardware. Compiled: 40 to 96 registers, no spills, the matrix in loads of 16 bytes,
8 to 16 KiB on their way in each program: 8 rows x 512 terms of bf16 (weights by rows), 128 columns x 32 (by columns).
Rows of odd length come element by element, with up to 194 registers for their addresses.
"""

from __future__ import annotations

from typing import Any

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Arch, Launch, accumulator, ceil_div, shared_out
from dlcore.kernels.matmul.epilogue import activate, with_bias
from dlcore.kernels.matmul.pointers import batch_offset, results, side_dtype, sizes, strides
from dlcore.kernels.matmul.product import Product

__all__ = ["launch", "splits"]


@jit
def vector_kernel(
    a, b, c, pre, bias, m_units, k_units, stride_a, stride_b, batch_inner, a_outer, a_inner, b_outer, b_inner,
    BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr, SPLITS: tl.constexpr, AXES: tl.constexpr, A_BY_ROWS: tl.constexpr,
    UNIT_A: tl.constexpr, UNIT_M: tl.constexpr, UNIT_K: tl.constexpr, ACTIVATION: tl.constexpr,
    SWAPPED: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    m, k = m_units * tl.full((), UNIT_M, INDEX), k_units * tl.full((), UNIT_K, INDEX)
    blocks = tl.cdiv(m, BLOCK_R)
    block, rest = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    split, entry = rest % SPLITS, (rest // SPLITS).to(tl.int64)
    a += batch_offset(entry, batch_inner, a_outer, a_inner, UNIT_A, AXES)
    b += batch_offset(entry, batch_inner, b_outer, b_inner, 1, AXES)
    stride_a = stride_a * tl.full((), UNIT_A, tl.int64)
    rows = block * BLOCK_R + tl.arange(0, BLOCK_R)
    share = tl.cdiv(tl.cdiv(k, BLOCK_K), SPLITS) * BLOCK_K
    first = split * share
    acc = tl.zeros((BLOCK_R, BLOCK_K), ACC)
    for start in range(first, tl.minimum(k, first + share), BLOCK_K):
        along = start + tl.arange(0, BLOCK_K)
        if A_BY_ROWS:
            at = rows[:, None] * stride_a + along[None, :]
        else:
            at = rows[:, None] + along[None, :] * stride_a
        x = tl.load(a + at, (rows < m)[:, None] & (along < k)[None, :], 0).to(ACC)
        y = tl.load(b + along.to(tl.int64) * stride_b, along < k, 0).to(ACC)
        acc = tl.fma(x, tl.broadcast_to(y[None, :], (BLOCK_R, BLOCK_K)), acc)
    total = tl.sum(acc, 1)
    values = None
    if bias is not None:
        values = tl.load(bias + (rows if SWAPPED else rows * 0), rows < m, 0)
    x = with_bias(total, values, c.dtype.element_ty)
    at = (entry + split * (tl.num_programs(0) // (blocks * SPLITS)).to(tl.int64)) * m + rows
    if pre is not None:
        tl.store(pre + at, x, rows < m)
    tl.store(c + at, activate(x.to(ACC), ACTIVATION).to(x.dtype), rows < m)


def shape(p: Product) -> tuple[int, int]:
    """Rows and terms of a tile: 32 to 64 elements a thread on their way in either case."""
    wide = 4096 * 2 // p.dtype.itemsize
    if p.a.by_rows:
        terms = min(512, max(32, 1 << (p.k - 1).bit_length()))
        return max(1, wide // terms), terms
    rows = min(128, max(16, 1 << (p.m - 1).bit_length()))
    return rows, max(16, wide // rows)


def splits(p: Product, arch: Arch) -> int:
    """Slices of K: two programs for each SM, each with 4 tiles of terms at least."""
    rows, terms = shape(p)
    blocks = ceil_div(p.m, rows) * p.entries
    most = max(1, min(2 * arch.multiprocessors // blocks, p.k // (4 * terms), 64))
    return shared_out(ceil_div(p.k, terms), most)[1]


def launch(p: Product, count: int, slices: Any = None) -> Launch:
    """The launch for a product with one column."""
    rows, terms = shape(p)
    lie = strides(p)
    outer, inner = (0, 0, *p.b.batch)[-2:]
    args = {
        "a": p.a.pointer, "b": p.b.pointer,
        **{name: v for name, v in results(p, slices).items() if name != "before"},
        **{name: v for name, v in sizes(p, p.dtype.itemsize).items() if name not in ("n_units", "UNIT_N")},
        **{name: v for name, v in lie.items() if name not in ("B_BY_ROWS", "UNIT_B")},
        "stride_b": p.b.row, "b_outer": outer, "b_inner": inner,
        "BLOCK_R": rows, "BLOCK_K": terms, "SPLITS": count, "ACC": accumulator(p.dtype),
        "INDEX": side_dtype(p),
    }  # fmt: skip
    return Launch(vector_kernel, (ceil_div(p.m, rows) * count * p.entries,), args, num_warps=4)
