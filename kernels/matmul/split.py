"""The second pass of split-K: slices of sums added in their order, then the epilogue; and column sums of partial rows.

S M N additions on S M N float32 read and M N written; bound by memory, and mostly by L2, where the slices just were.
Each program adds BLOCK neighbouring elements, slice after slice: one order for each shape, hence the same bits always.

`before`: sums made earlier, added after the slices.

Versions: unmeasured, not yet run on hardware. 32 to 40 registers (58 with GELU in float64), loads of 16 bytes.
"""

from __future__ import annotations

from typing import Any

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Launch, ceil_div
from dlcore.kernels.matmul.epilogue import activate, with_bias
from dlcore.kernels.matmul.product import Product, unit_of

__all__ = ["add_slices", "added"]


@jit
def slices_kernel(
    slices, c, before, pre, bias, size_units, n, count,
    UNIT: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    size = size_units * tl.full((), UNIT, tl.int64)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.load(slices + i, i < size, 0)
    for s in range(1, count):
        acc += tl.load(slices + s * size + i, i < size, 0)
    if before is not None:
        acc += tl.load(before + i, i < size, 0)
    values = None
    if bias is not None:
        values = tl.load(bias + i % n, i < size, 0)
    x = with_bias(acc, values, c.dtype.element_ty)
    if pre is not None:
        tl.store(pre + i, x, i < size)
    tl.store(c + i, activate(x.to(acc.dtype), ACTIVATION).to(x.dtype), i < size)


def add_slices(slices: Any, count: int, p: Product) -> Launch:
    """The launch that adds ``count`` slices of all of ``p``'s results and finishes them."""
    finish = {"before": p.before, "pre": p.pre, "bias": p.bias, "ACTIVATION": p.epilogue}
    return added(slices, count, p.entries * p.m * p.n, p.out, n=p.m if p.swapped else p.n, **finish)


def added(slices: Any, count: int, size: int, out: Any, **finish: Any) -> Launch:
    """The launch that adds ``count`` slices of ``size`` sums each; ``finish``: what else becomes of them, if anything.
    """
    unit, block = unit_of(4, size), 1024 if size >= 1 << 18 else 256
    args = {
        "slices": slices, "c": out, "before": None, "pre": None, "bias": None, "size_units": size // unit, "n": 1,
        "count": count, "UNIT": unit, "ACTIVATION": None, "BLOCK": block, **finish,
    }  # fmt: skip
    return Launch(slices_kernel, (ceil_div(size, block),), args, num_warps=block // 256 * 2 or 2)
