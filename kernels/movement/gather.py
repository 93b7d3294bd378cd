"""`take` in CUDA C++ (gather.cu), beside the Triton version of take.py, which does what this one leaves out.

Which of the two is faster is unmeasured. By design the Triton version idles where a row's length in bytes is far from a
power of two, so such rows of whole 16-byte units come here (a condition in its `kernels`), the others go there.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.kernels.launch import BAD_INDEX, Call, Cuda, Errors, In, Launch, Out, Program, ceil_div
from dlcore.kernels.movement import take as triton

__all__ = ["take"]

THREADS, UNITS = 256, 4
_CPP = {
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long long",
    "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
}  # fmt: skip


def take(call: Call) -> Program:
    """out[o, i, ...] = x[o, indices[i], ...] with o over the axes before params[0]."""
    (x, indices), out, axis = call.inputs, call.outputs[0], int(call.params[0])
    assert x is not None and indices is not None and out is not None
    strides = triton.rows(x, 1, axis)
    if strides is None or not (x.aligned and out.aligned) or any(s * x.dtype.itemsize % 16 for s in strides):
        return triton.take(call)
    if out.size == 0:
        return Program(())
    size = x.dtype.itemsize
    inner, total = math.prod(x.shape[axis + 1 :]) * size // 16, out.size * size // 16
    count = "unsigned" if total < 2**32 - THREADS * UNITS else "unsigned long long"
    args: dict[str, Any] = {
        "x": In(0), "indices": In(1), "out": Out(0), "errors": Errors(), "bad_index": BAD_INDEX, "total": total,
        "n": indices.size, "length": x.shape[axis], "inner": inner, "x_outer": strides[0] * size // 16,
        "x_axis": strides[1] * size // 16,
    }  # fmt: skip
    kernel = Cuda("movement/gather.cu", f"take<{count}, {_CPP[indices.dtype.name]}, {THREADS}, {UNITS}>", THREADS)
    copied = () if indices.contiguous else (1,)
    return Program((Launch(kernel, (ceil_div(total, THREADS * UNITS),), args),), (), copied)
