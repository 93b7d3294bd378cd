"""x *= factor in place, with the factor in device memory; nothing is read or written where that is 1.

Bound: memory, 8 bytes an element (float32), or one launch where the factor is 1, as it is at the root of a backward
pass. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.common.pointwise import Operand, launch, merged_axes, widened
from dlcore.kernels.elementwise.functions import mul
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Program, accumulator, ceil_div

BLOCK = 2048


@jit
def scale_kernel(x, factor, n, C: tl.constexpr, BLOCK: tl.constexpr):
    by = tl.load(factor).to(C)
    if by != 1:
        start = tl.program_id(0).to(tl.int64) * BLOCK
        i = start + tl.arange(0, BLOCK)
        if start + BLOCK <= n:
            tl.store(x + i, (tl.load(x + i).to(C) * by).to(x.dtype.element_ty))
        else:
            tl.store(x + i, (tl.load(x + i, i < n, 0).to(C) * by).to(x.dtype.element_ty), i < n)


def scale(call: Call) -> Program:
    """The operation scale_inplace."""
    x, factor = call.inputs
    assert x is not None and factor is not None
    if x.size == 0:
        return Program(())
    axes = merged_axes(x.shape, [x.strides])
    if len(axes) > 1 or any(axis.strides[0] != 1 for axis in axes):
        place = Operand(In(0), x)
        return Program(launch(mul, widened(x.dtype), place, place, Operand(In(1), factor)))
    args = {"x": In(0), "factor": In(1), "n": x.size, "C": accumulator(x.dtype), "BLOCK": BLOCK}
    return Program((Launch(scale_kernel, (ceil_div(x.size, BLOCK),), args),))
