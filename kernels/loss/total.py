"""The last step of a loss: partial sums, already few, to one number, divided by what the mean counts.

Bound: latency, one block of 4 warps over at most 16384 numbers; more of them are first joined by the reductions'
kernel. The order is fixed by how many there are.
"""

from __future__ import annotations

from dlcore.dtypes import DType, int32
from dlcore.kernels.common.layout import ONE, Axis, Layout, tiles_of
from dlcore.kernels.common.math import divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Launch, Out, Program, Temp, Workspace, ceil_div, power_of_2, shared_out
from dlcore.kernels.reduce.reduce import SUM, launch

NONE, MEAN, SUMMED = range(3)  # as REDUCTIONS in dlcore/ops/loss.py
FEW = 16384
BLOCK = 1024


@jit
def total_kernel(sums, counts, out, n, parts, count, C: tl.constexpr, MEAN: tl.constexpr, PARTS: tl.constexpr,
                 BLOCK: tl.constexpr):  # fmt: skip
    i = tl.arange(0, BLOCK)
    lanes = tl.zeros((BLOCK,), C)
    for start in range(0, n, BLOCK):
        lanes += tl.load(sums + start + i, i < n - start, 0)
    total = tl.sum(lanes, 0)
    if MEAN:
        if counts is not None:
            k = tl.arange(0, PARTS)
            divisor = tl.sum(tl.load(counts + k, k < parts, 0), 0).to(C)
        else:
            divisor = tl.full((), count, C)
        total = divide(total, divisor)
    tl.store(out, total.to(out.dtype.element_ty))


def parts_of(positions: int) -> tuple[int, int]:
    """(parts, positions of each) in which what the mean divides by is counted."""
    share, parts = shared_out(ceil_div(positions, BLOCK), 128)
    return parts, share * BLOCK


def to_loss(mean: bool, n: int, dtype: DType, count: int | tuple[Temp, int], temp: int) -> Program:
    """The launches from ``n`` sums of ``dtype`` in Temp(0) to Out(0), and their workspaces, from ``temp`` on.

    A mean divides by ``count``, a number or (where parts of it are, how many).
    """
    source = Temp(0, dtype) if n else Out(0)
    launches: tuple[Launch, ...] = ()
    temps: tuple[Workspace, ...] = ()
    if n > FEW:
        layout = Layout(ONE, (ONE, ONE), Axis(n, 1, 0), ONE, False)
        tiles = tiles_of(layout, dtype.itemsize)
        to = Temp(temp, dtype)
        launches = (launch(SUM, dtype, int32, (source, None), (to, None), layout, tiles, None, True, False),)
        source, n, temps = to, tiles.splits, (Workspace(tiles.splits * dtype.itemsize),)
    counts, parts = count if isinstance(count, tuple) else (None, 0)
    args = {
        "sums": source, "counts": counts, "out": Out(0), "n": n, "parts": parts,
        "count": 0 if isinstance(count, tuple) else count, "C": dtype, "MEAN": mean, "PARTS": power_of_2(parts),
        "BLOCK": BLOCK,
    }  # fmt: skip
    return Program((*launches, Launch(total_kernel, (1,), args)), temps)
