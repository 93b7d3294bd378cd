"""x[i] = first + i * step, computed in float64, then converted; the last element is given.

Bound: memory, each element is written once; where float64 runs at 1/64 of float32's rate (GPUs for graphics), by its
two operations an element. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import F64, Call, In, Launch, Program, ceil_div

BLOCK = 1024


@jit
def ramp_kernel(x, n, stride, first, step, last, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.where(i < n - 1, first + i.to(tl.float64) * step, last)
    tl.store(x + i * stride, value.to(x.dtype.element_ty), i < n)


def ramp(call: Call) -> Program:
    """The operation ramp."""
    x = call.inputs[0]
    assert x is not None
    if x.size == 0:
        return Program(())
    first, step, last = map(F64, call.params)
    args = {"x": In(0), "n": x.size, "stride": x.strides[0], "first": first, "step": step, "last": last, "BLOCK": BLOCK}
    return Program((Launch(ramp_kernel, (ceil_div(x.size, BLOCK),), args),))
