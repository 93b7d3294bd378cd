"""`take`, of tokens too, in CUDA C++ (gather.cu), beside the Triton version of take.py, which does what it leaves out.

Which of the two is faster is unmeasured. By design the Triton version idles where a row's length in bytes is far from a
power of two, so such rows of whole 16-byte units come here (a condition in its `kernels`), the others go there.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.kernels.launch import BAD_INDEX, BAD_TOKEN, Call, Cuda, Errors, In, Launch, Out, Program, ceil_div
from dlcore.kernels.movement import take as triton

__all__ = ["take", "take_tokens"]

THREADS, UNITS = 256, 4
CPP = {
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long long",
    "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
}  # fmt: skip


def take(call: Call) -> Program:
    """out[o, i, ...] = x[o, indices[i], ...] with o over the axes before params[0]."""
    return _planned(call, int(call.params[0]), False) or triton.take(call)


def take_tokens(call: Call) -> Program:
    """out[i, :] = x[tokens[i], :]: rows of a table, of which no token counts from the end."""
    return _planned(call, 0, True) or triton.take_tokens(call)


def _planned(call: Call, axis: int, tokens: bool) -> Program | None:
    """None where rows do not lie in units of 16 bytes."""
    (x, indices), out = call.inputs, call.outputs[0]
    assert x is not None and indices is not None and out is not None
    strides = triton.rows(x, 1, axis)
    if strides is None or not (x.aligned and out.aligned) or any(s * x.dtype.itemsize % 16 for s in strides):
        return None
    if out.size == 0:
        return Program(())
    size = x.dtype.itemsize
    inner, total = math.prod(x.shape[axis + 1 :]) * size // 16, out.size * size // 16
    count = "unsigned" if total < 2**32 - THREADS * UNITS else "unsigned long long"
    args: dict[str, Any] = {
        "x": In(0), "indices": In(1), "out": Out(0), "errors": Errors(),
        "bad_index": BAD_TOKEN if tokens else BAD_INDEX, "total": total, "n": indices.size, "length": x.shape[axis],
        "inner": inner, "x_outer": strides[0] * size // 16, "x_axis": strides[1] * size // 16,
    }  # fmt: skip
    index, kind = CPP[indices.dtype.name], str(tokens).lower()
    kernel = Cuda("movement/gather.cu", f"take<{count}, {index}, {kind}, {THREADS}, {UNITS}>", THREADS)
    copied = () if indices.contiguous else (1,)
    return Program((Launch(kernel, (ceil_div(total, THREADS * UNITS),), args),), (), copied)
