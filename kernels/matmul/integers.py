"""C = A @ B of integers, wrapping around: sums of 32 bits, or of 64 where the operands have them.

2 M N K operations on (M K + K N + M N) elements; bound by integer arithmetic. int8 with sums of 32 bits goes to the
tensor cores, in tiles of 64 x 64 x 64. Everything else is plain, one multiply-add a term: a program adds outer products
of a column of A and a row of B, which come from L1.

Versions: unmeasured, not yet run on hardware. No spills; plain 40 to 78 registers; int8, registers and shared KiB:
sm_80 162, 16 mma.sync m16n8k32; sm_90 80, 16 wgmma m64n64k32; sm_100 75, 24 tcgen05; sm_120 96, 16 mma.sync m16n8k32.
"""

from __future__ import annotations

from dlcore.dtypes import int8, int32, int64
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Launch, ceil_div
from dlcore.kernels.matmul.pointers import batch_offset
from dlcore.kernels.matmul.product import Product

__all__ = ["launch"]


@jit
def store(c, acc, entry, rows, columns, m, n, SWAPPED: tl.constexpr):
    """The tile's sums; SWAPPED: element (i, j) of this product is (j, i) of the result."""
    if SWAPPED:
        at = columns[None, :] * m + rows[:, None]
    else:
        at = rows[:, None] * n + columns[None, :]
    tl.store(c + entry * m * n + at, acc.to(c.dtype.element_ty), (rows < m)[:, None] & (columns < n)[None, :])


@jit
def integers_kernel(
    a, b, c, m, n, k, a_row, a_column, b_row, b_column, batch_inner, a_outer, a_inner, b_outer, b_inner,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, AXES: tl.constexpr, SWAPPED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    tiles_n = tl.cdiv(n, BLOCK)
    tiles = tl.cdiv(m, BLOCK) * tiles_n
    tile, entry = tl.program_id(0) % tiles, (tl.program_id(0) // tiles).to(tl.int64)
    rows = (tile // tiles_n).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    columns = (tile % tiles_n).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    a += batch_offset(entry, batch_inner, a_outer, a_inner, 1, AXES) + rows * a_row
    b += batch_offset(entry, batch_inner, b_outer, b_inner, 1, AXES) + columns * b_column
    acc = tl.zeros((BLOCK, BLOCK), ACC)
    if BLOCK_K == 1:
        for _ in range(k):
            x, y = tl.load(a, rows < m, 0).to(ACC), tl.load(b, columns < n, 0).to(ACC)
            acc += x[:, None] * y[None, :]
            a += a_column
            b += b_row
    else:
        depth = tl.arange(0, BLOCK_K).to(tl.int64)
        x_at, y_at = a[:, None] + depth[None, :] * a_column, b[None, :] + depth[:, None] * b_row
        for start in range(0, k, BLOCK_K):
            there = start + depth < k
            x = tl.load(x_at, (rows < m)[:, None] & there[None, :], 0)
            y = tl.load(y_at, there[:, None] & (columns < n)[None, :], 0)
            acc = tl.dot(x, y, acc, out_dtype=ACC)
            x_at += a_column * BLOCK_K
            y_at += b_row * BLOCK_K
    store(c, acc, entry, rows, columns, m, n, SWAPPED)


def launch(p: Product) -> Launch:
    """The launch for one product, whatever the strides."""
    a, b, axes = p.a, p.b, len(p.batch)
    outer_a, inner_a = (0, 0, *a.batch)[-2:]
    outer_b, inner_b = (0, 0, *b.batch)[-2:]
    on_tensor_cores = a.dtype is b.dtype is int8
    block = 64 if on_tensor_cores else 32
    args = {
        "a": a.pointer, "b": b.pointer, "c": p.out, "m": p.m, "n": p.n, "k": p.k, "a_row": a.row, "a_column": a.column,
        "b_row": b.row, "b_column": b.column, "batch_inner": p.batch[-1] if axes else 1, "a_outer": outer_a,
        "a_inner": inner_a, "b_outer": outer_b, "b_inner": inner_b, "BLOCK": block,
        "BLOCK_K": 64 if on_tensor_cores else 1, "AXES": axes, "SWAPPED": p.swapped,
        "ACC": int64 if p.dtype is int64 else int32,
    }  # fmt: skip
    return Launch(integers_kernel, (ceil_div(p.m, block) * ceil_div(p.n, block) * p.entries,), args)
