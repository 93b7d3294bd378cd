"""glu and its gradient: pointwise kernels over the halves of an array along an axis, where they lie.

Bound: memory, 12 bytes for each pair of halves in float32, 28 for the gradient, in two launches. Unmeasured: not yet
run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.activation import functions as f
from dlcore.kernels.common.pointwise import Operand, launch, widened
from dlcore.kernels.launch import Call, In, Out, Program, View


def _half(kind: type[In] | type[Out], index: int, view: View, axis: int, which: int) -> Operand:
    shape = tuple(n // 2 if d == axis else n for d, n in enumerate(view.shape))
    offset = which * shape[axis] * view.strides[axis] * view.dtype.itemsize
    half = view._replace(shape=shape, aligned=view.aligned and offset % 16 == 0)
    return Operand(kind(index, None, offset), half)


def glu(call: Call) -> Program:
    """The operation."""
    x, out, axis = call.inputs[0], call.outputs[0], int(call.params[0])
    assert x is not None and out is not None
    halves = [_half(In, 0, x, axis, which) for which in (0, 1)]
    return Program(launch(f.glu, widened(x.dtype), Operand(Out(0), out), *halves))


def glu_backward(call: Call) -> Program:
    """The operation: both halves of the gradient."""
    dout, x = call.inputs
    dx, axis = call.outputs[0], int(call.params[0])
    assert dout is not None and x is not None and dx is not None
    given, (a, b) = Operand(In(0), dout), (_half(In, 1, x, axis, which) for which in (0, 1))
    first, second = (_half(Out, 0, dx, axis, which) for which in (0, 1))
    widen = widened(x.dtype)
    return Program((*launch(f.glu, widen, first, given, b), *launch(f.glu_of_gate, widen, second, given, a, b)))
