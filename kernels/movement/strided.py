"""The adjoint of a walk by strides that meets no element twice: zeros, then each element where it was met.

Bound by memory: the output is written, then the walk's elements a second time. Both are pointwise kernels of
common/pointwise.py over integers of the elements' size. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import launch
from dlcore.kernels.launch import Call, In, Out, Program
from dlcore.kernels.movement.copy import fill, raw

__all__ = ["strided_add"]


def strided_add(call: Call) -> Program:
    """out = 0, then the walk from element params[1] by the strides params[2:] = x."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    start, *strides = (int(p) for p in call.params[1:])
    walk = raw(Out, 0, out._replace(shape=x.shape, strides=tuple(strides)), start if x.size else 0)
    return Program((*fill(raw(Out, 0, out)), *launch(identity, False, walk, raw(In, 0, x))))
