"""Triangles of matrices: what lies on one side of a diagonal is copied, the rest is zero.

Bound by memory: half is read and all written, at best; here every 16 bytes of which one element is kept are read. 1024
elements a program, whose rows and columns are found by two divisions. Elements move as integers of their size, so that
dtypes share binaries and NaNs keep their bits. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, ceil_div, index_dtype
from dlcore.kernels.movement.copy import RAW
from dlcore.kernels.movement.index import numbers

__all__ = ["tril", "triu"]


@jit
def triangle_kernel(
    x, out, size, rows, columns, k, UPPER: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = numbers(INDEX, BLOCK)
    across = (i % columns).to(tl.int64) - (i // columns % rows).to(tl.int64)
    kept = (across >= k) if UPPER else (across <= k)
    tl.store(out + i, tl.load(x + i, (i < size) & kept, 0), i < size)


def _triangle(call: Call, upper: bool) -> Program:
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    if out.size == 0:
        return Program(())
    raw, block, k = RAW[x.dtype.itemsize], 1024, int(call.params[0])
    rows, columns = x.shape[-2:]
    args = {
        "x": In(0, raw), "out": Out(0, raw), "size": out.size, "rows": rows, "columns": columns,
        "k": max(-rows, min(k, columns)), "UPPER": upper, "INDEX": index_dtype(out.size), "BLOCK": block,
    }  # fmt: skip
    launch = Launch(triangle_kernel, (ceil_div(out.size, block),), args)
    return Program((launch,), (), () if x.contiguous else (0,))


def tril(call: Call) -> Program:
    """out = x where column - row <= params[0], else 0."""
    return _triangle(call, False)


def triu(call: Call) -> Program:
    """out = x where column - row >= params[0], else 0."""
    return _triangle(call, True)
