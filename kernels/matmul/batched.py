"""Many small products at once, at most 32 on a side: several matrices a program.

2 B M N K FLOPs on B (M K + K N + M N) elements: bound by memory below 32. A program takes as many matrices as give its
4 warps enough to load, as one three-dimensional dot (mma.sync on every architecture); sides are padded by masks.

Versions: unmeasured, not yet run on hardware. Compiled: 8 x 16^3 bf16 34-40 registers, 4 mma.sync; 4 x 32^3 58-64, 16;
tf32x3 63, 24 and 150, 96; float64 64, 32 (DMMA; FMA on sm_120); 16-byte loads where rows are so long.
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Launch, accumulator, ceil_div, index_dtype, power_of_2
from dlcore.kernels.matmul.epilogue import multiply_add
from dlcore.kernels.matmul.product import Product

__all__ = ["fits", "launch"]


@jit
def batched_kernel(
    a, b, c, entries, m, n, k, a_row, a_column, b_row, b_column, batch_inner, a_outer, a_inner, b_outer, b_inner,
    MATRICES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    entry = tl.program_id(0).to(tl.int64) * MATRICES + tl.arange(0, MATRICES)[:, None, None]
    rows, columns = tl.arange(0, BLOCK_M).to(INDEX)[None, :, None], tl.arange(0, BLOCK_N).to(INDEX)[None, None, :]
    k_across, k_down = tl.arange(0, BLOCK_K).to(INDEX)[None, None, :], tl.arange(0, BLOCK_K).to(INDEX)[None, :, None]
    outer, inner = entry // batch_inner, entry % batch_inner
    here = entry < entries
    x = tl.load(
        a + outer * a_outer + inner * a_inner + rows * a_row + k_across * a_column,
        here & (rows < m) & (k_across < k), 0,
    )  # fmt: skip
    y = tl.load(
        b + outer * b_outer + inner * b_inner + k_down * b_row + columns * b_column,
        here & (k_down < k) & (columns < n), 0,
    )  # fmt: skip
    acc = multiply_add(x, y, tl.zeros((MATRICES, BLOCK_M, BLOCK_N), ACC), PRECISION)
    at = entry * (m * n) + rows * n + columns
    tl.store(c + at, acc.to(c.dtype.element_ty), here & (rows < m) & (columns < n))


def fits(p: Product) -> bool:
    """Whether this kernel is the one for ``p``."""
    small = max(p.m, p.n, p.k) <= 32 and p.entries >= 8 and not p.swapped
    return small and p.bias is None and p.pre is None and p.activation is None


def launch(p: Product, precision: str) -> Launch:
    """The launch for a whole batch."""
    blocks = [max(16, power_of_2(size)) for size in (p.m, p.n, p.k)]
    outer_a, inner_a = (0, 0, *p.a.batch)[-2:]
    outer_b, inner_b = (0, 0, *p.b.batch)[-2:]
    matrices = 8 if max(blocks) == 16 else 4
    reach = max(x.rows * abs(x.row) + x.columns * abs(x.column) for x in (p.a, p.b))
    args = {
        "a": p.a.pointer, "b": p.b.pointer, "c": p.out, "entries": p.entries, "m": p.m, "n": p.n, "k": p.k,
        "a_row": p.a.row, "a_column": p.a.column, "b_row": p.b.row, "b_column": p.b.column,
        "batch_inner": p.batch[-1], "a_outer": outer_a, "a_inner": inner_a, "b_outer": outer_b, "b_inner": inner_b,
        "MATRICES": matrices, "BLOCK_M": blocks[0], "BLOCK_N": blocks[1], "BLOCK_K": blocks[2],
        "PRECISION": precision, "ACC": accumulator(p.dtype), "INDEX": index_dtype(reach),
    }  # fmt: skip
    return Launch(batched_kernel, (ceil_div(p.entries, matrices),), args)
