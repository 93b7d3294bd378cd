"""checked: a copy, of which elements beyond the limits are reported, the first of them by its position.

Bound: memory, each element is read and written once. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    BAD_INDEX,
    BAD_LABEL,
    BAD_LENGTH,
    BAD_PARAMETER,
    F64,
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    ceil_div,
    index_dtype,
)
from dlcore.kernels.movement.index import numbers, report

BLOCK = 1024
CODES = (BAD_PARAMETER, BAD_LABEL, BAD_INDEX, BAD_LENGTH, BAD_LENGTH)  # of what is checked


@jit
def checked_kernel(
    x, out, errors, size, low, high, CODE: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = numbers(INDEX, BLOCK)
    element = tl.load(x + i, i < size, 0)
    value = element.to(tl.float64)
    report(errors, (i < size) & ((value < low) | (value > high)), i, CODE)
    tl.store(out + i, element, i < size)


def checked(call: Call) -> Program:
    """The operation checked."""
    x = call.inputs[0]
    assert x is not None
    if x.size == 0:
        return Program(())
    low, high, what = call.params
    args = {
        "x": In(0), "out": Out(0), "errors": Errors(), "size": x.size, "low": F64(low),
        "high": F64(high), "CODE": CODES[int(what)], "INDEX": index_dtype(x.size), "BLOCK": BLOCK,
    }  # fmt: skip
    return Program((Launch(checked_kernel, (ceil_div(x.size, BLOCK),), args),), (), () if x.contiguous else (0,))
