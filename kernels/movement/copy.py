"""Whole arrays moved: copies, concatenation, assignment to a slice and its adjoint.

Bound by memory: an element is read once and written once. A copy is the pointwise kernel of the function that returns
its argument (common/pointwise.py says how strides are walked and transpositions tiled), over integers of the
elements' size: dtypes of one size share a binary, and NaNs keep their bits. Unmeasured: not yet run on hardware.

- concat is one launch a tensor; slice_assign copies everything, then writes the slice over it; slice_backward writes
  zeros, then the slice. In the last two the slice's elements are written twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore.dtypes import DType, int8, int16, int32, int64
from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import Operand, launch
from dlcore.kernels.launch import Call, In, Launch, Out, Program, Value, View

RAW: dict[int, DType] = {1: int8, 2: int16, 4: int32, 8: int64}
"""The dtype that stands for all of a size where elements are only moved."""


def raw(argument: type[In] | type[Out], index: int, view: View, offset: int = 0) -> Operand:
    """Operand ``index``, from element ``offset`` on, as integers."""
    dtype = RAW[view.dtype.itemsize]
    return Operand(argument(index, dtype, offset * dtype.itemsize), view._replace(dtype=dtype))


def fill(out: Operand, value: int = 0) -> tuple[Launch, ...]:
    """Every element set to ``value``."""
    return launch(identity, False, out, Operand(value, View((), out.view.dtype, (), weak=True)))


def contiguous(call: Call) -> Program:
    """out = x, whatever the strides of either."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    return Program(launch(identity, False, raw(Out, 0, out), raw(In, 0, x)))


def _value(out: Operand, index: int, value: View) -> tuple[Launch, ...]:
    """out = input ``index``, broadcast; a number or a tensor of out's size."""
    if value.weak:
        typed = Operand(Out(out.argument.index, None, out.argument.offset), out.view._replace(dtype=value.dtype))
        return launch(identity, False, typed, Operand(Value(index), value))
    return launch(identity, False, out, raw(In, index, value))


def assign(call: Call) -> Program:
    """out = value, broadcast; the target gives only shape and dtype."""
    value, out = call.inputs[1], call.outputs[0]
    assert value is not None and out is not None
    return Program(_value(raw(Out, 0, out), 1, value))


def concat(call: Call) -> Program:
    """The inputs one after another along axis params[0]."""
    axis, out = int(call.params[0]), call.outputs[0]
    assert out is not None
    launches: list[Launch] = []
    start = 0
    for k, x in enumerate(call.inputs):
        assert x is not None
        part = raw(Out, 0, out._replace(shape=x.shape), start * out.strides[axis])
        launches += launch(identity, False, part, raw(In, k, x))
        start += x.shape[axis]
    return Program(tuple(launches))


def sliced(whole: View, params: Sequence[Any]) -> tuple[View, int]:
    """The view that ``params`` describe and its first element: see `slicing.IndexOf`."""
    ndim = len(whole.shape)
    offset = sum(start * stride for start, stride in zip(params, whole.strides, strict=False))
    rest = params[ndim + 1 :]
    axes = [rest[k : k + 3] for k in range(0, 3 * params[ndim], 3)]
    strides = tuple(0 if axis < 0 else whole.strides[axis] * step for axis, step, _ in axes)
    return whole._replace(shape=tuple(length for _, _, length in axes), strides=strides), offset


def slice_assign(call: Call) -> Program:
    """out = x, except for the slice, which is value (broadcast)."""
    (x, value), out = call.inputs, call.outputs[0]
    assert x is not None and value is not None and out is not None
    view, offset = sliced(out, call.params)
    everything = launch(identity, False, raw(Out, 0, out), raw(In, 0, x))
    return Program((*everything, *_value(raw(Out, 0, view, offset), 1, value)))


def slice_backward(call: Call) -> Program:
    """out = 0, except for the slice, which is dout."""
    dout, out = call.inputs[0], call.outputs[0]
    assert dout is not None and out is not None
    view, offset = sliced(out, call.params)
    part = launch(identity, False, raw(Out, 0, view, offset), raw(In, 0, dout))
    return Program((*fill(raw(Out, 0, out)), *part))
