"""Gates: an activation of one array times another, of two arrays or of the halves of one along an axis, where they lie.

Forward: pointwise kernels, 12 bytes for each pair in float32. The gradient is one kernel that reads dout and both and
writes both gradients, 20 bytes for each pair, over rows of stretches that are contiguous. Bound: memory. Unmeasured:
not yet run on hardware.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dlcore.dtypes import int32, int64
from dlcore.kernels.activation import functions as f
from dlcore.kernels.common.layout import SMALL
from dlcore.kernels.common.pointwise import Operand, launch, widened
from dlcore.kernels.language import Kernel, jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, View, accumulator, ceil_div, power_of_2

TILE = 1024  # pairs of a program


@jit
def gradients_kernel(
    dout, a, b, da, db, rows, columns, step, F: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(columns, COLUMNS)
    i = ((tl.program_id(0) // tiles).to(INDEX) * ROWS + tl.arange(0, ROWS))[:, None]
    j = tl.program_id(0) % tiles * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mask = (i < rows) & (j < columns)
    at = i * step + j
    g = tl.load(dout + i * columns + j, mask, 0).to(C)
    x, y = F(g, tl.load(a + at, mask, 0).to(C), tl.load(b + at, mask, 0).to(C))
    if da is not None:
        tl.store(da + at, x.to(da.dtype.element_ty), mask)
    if db is not None:
        tl.store(db + at, y.to(db.dtype.element_ty), mask)


def _half(index: int, view: View, axis: int, which: int) -> Operand:
    shape = tuple(n // 2 if d == axis else n for d, n in enumerate(view.shape))
    offset = which * shape[axis] * view.strides[axis] * view.dtype.itemsize
    half = view._replace(shape=shape, aligned=view.aligned and offset % 16 == 0)
    return Operand(In(index, None, offset), half)


def _forward(function: Kernel) -> Callable[[Call], Program]:
    def plan(call: Call) -> Program:
        x, other, out, axis = call.inputs[0], (*call.inputs, None)[1], call.outputs[0], int(call.params[0])
        assert x is not None and out is not None
        both = (_half(0, x, axis, 0), _half(0, x, axis, 1)) if other is None else (
            Operand(In(0), x), Operand(In(1), other)
        )  # fmt: skip
        return Program(launch(function, widened(x.dtype), Operand(Out(0), out), *both))

    return plan


def _backward(function: Kernel) -> Callable[[Call], Program]:
    def plan(call: Call) -> Program:
        dout, x, other = (*call.inputs, None)[:3]
        assert dout is not None and x is not None
        wanted = [k for k, out in enumerate(call.outputs) if out is not None]
        if dout.size == 0 or not wanted:
            return Program(())
        axis = int(call.params[0])
        columns = dout.size if other else math.prod(dout.shape[axis:])
        rows, far = dout.size // columns, columns * x.dtype.itemsize
        width = min(power_of_2(columns), TILE)
        height = min(TILE // width, power_of_2(rows))
        args = {
            "dout": In(0), "a": In(1), "b": In(2) if other else In(1, None, far),
            "da": Out(0) if 0 in wanted else None,
            "db": (Out(1) if 1 in wanted else None) if other else Out(0, None, far), "rows": rows,
            "columns": columns, "step": columns if other else 2 * columns, "F": function, "C": accumulator(x.dtype),
            "INDEX": int64 if 2 * dout.size >= SMALL else int32, "ROWS": height, "COLUMNS": width,
        }  # fmt: skip
        grid = (ceil_div(columns, width) * ceil_div(rows, height),)
        return Program((Launch(gradients_kernel, grid, args),), contiguous=(0, 1, 2) if other else (0, 1))

    return plan


glu, glu_backward = _forward(f.glu), _backward(f.glu_gradients)
swiglu, swiglu_backward = _forward(f.swiglu), _backward(f.swiglu_gradients)
geglu, geglu_backward = _forward(f.geglu), _backward(f.geglu_gradients)
geglu_tanh, geglu_tanh_backward = _forward(f.geglu_tanh), _backward(f.geglu_tanh_gradients)
reglu, reglu_backward = _forward(f.reglu), _backward(f.reglu_gradients)
