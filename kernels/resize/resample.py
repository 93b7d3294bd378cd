"""Weighted sums of neighbouring elements along one axis, by a table of spans and weights.

Bound by memory: the input and the table are read once, near outputs read the same elements, and the output is written
once; 2 FLOPs a term. An element of the output is a lane, so that across memory (inner > 1) and along it loads of a term
lie side by side or nearly so; the number of terms of a program is that of its longest span. A span that leaves the axis
sets the error words and reads nothing there. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import BAD_INDEX, Call, Errors, In, Launch, Out, Program, accumulator, ceil_div, index_dtype
from dlcore.kernels.movement.index import report

__all__ = ["resample"]

BAD = tl.constexpr(BAD_INDEX)
BLOCK = 512


@jit
def resample_kernel(
    x, spans, weights, out, errors, size, m, n, inner, most,
    INDEX: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    row = i // inner
    k = row % m
    first = tl.load(spans + 2 * k, inside, 0).to(INDEX)
    count = tl.load(spans + 2 * k + 1, inside, 0).to(INDEX)
    good = (first >= 0) & (count >= 0) & (first + count <= n) & (count <= most)
    report(errors, inside & (good == 0), k, BAD)
    count = tl.where(inside & good, count, 0)
    from_ = x + (row // m * n + first) * inner + i % inner
    total = tl.zeros((BLOCK,), COMPUTE)
    for t in range(tl.max(count, 0)):
        there = t < count
        value = tl.load(from_ + t * inner, there, 0).to(COMPUTE)
        if weights is not None:
            value *= tl.load(weights + k * most + t, there, 0).to(COMPUTE)
        total += value
    tl.store(out + i, total.to(out.dtype.element_ty), inside)


def resample(call: Call) -> Program:
    """out[o, k, j] = the sum over t of weights[k, t] x[o, spans[k, 0] + t, j] along axis params[0]."""
    (x, spans, _, weights, _), out, axis = call.inputs, call.outputs[0], int(call.params[0])
    assert x is not None and spans is not None and out is not None
    if out.size == 0:
        return Program(())
    args = {
        "x": In(0), "spans": In(1), "weights": None if weights is None else In(3), "out": Out(0), "errors": Errors(),
        "size": out.size, "m": spans.shape[0], "n": x.shape[axis], "inner": math.prod(x.shape[axis + 1 :]),
        "most": x.shape[axis] if weights is None else weights.shape[1],
        "INDEX": index_dtype(max(out.size, x.size)), "COMPUTE": accumulator(x.dtype), "BLOCK": BLOCK,
    }  # fmt: skip
    launch = Launch(resample_kernel, (ceil_div(out.size, BLOCK),), args)
    return Program((launch,), (), (0, 1) if weights is None else (0, 1, 3))
