"""Assignment by index: put, in place or not. Of equal indices the last wins.

Two passes: each index raises the entry of its place in a table to its own number + 1 (integer maxima, so the result
does not depend on the order of blocks), then each element whose index still stands there is written. Bound by memory:
value and indices are read, the places written; the table, 4 bytes a place, is cleared, and read once an element. `put`
copies x first, `put_` the value, which may be a view of the target. 1024 elements a program; where an element lies on
each side is found by divisions of its number.

An index out of range sets the error words and writes nothing. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.kernels.common.convert import convert, identity
from dlcore.kernels.common.pointwise import Operand, broadcast_strides, launch, walk
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Call,
    In,
    Launch,
    Out,
    Program,
    Temp,
    Value,
    View,
    Workspace,
    ceil_div,
    contiguous_strides,
    index_dtype,
)
from dlcore.kernels.movement import copy
from dlcore.kernels.movement.index import axis_args, claim, claim_space, claims, numbers, placed

__all__ = ["put", "put_"]


@jit
def put_kernel(
    target, indices, value, last, size, length,
    n0, n1, n2, n3, n4, n5, n6, n7,  # the axes of indices and those of target behind the assigned ones
    i0, i1, i2, i3, i4, i5, i6, i7, v0, v1, v2, v3, v4, v5, v6, v7, t0, t1, t2, t3, t4, t5, t6, t7,
    m0, m1, m2, m3, m4, m5, m6, m7, p0, p1, p2, p3, p4, p5, p6, p7,  # the assigned axes of target
    NUMBER: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    e = numbers(INDEX, BLOCK)
    inside = e < size
    i = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, i0, i1, i2, i3, i4, i5, i6, i7)
    place, good = placed(tl.load(indices + i, inside, 0).to(tl.int64), length)  # `claim` has reported bad ones
    good &= inside
    good &= tl.load(last + place, good, 0) == i + 1
    if NUMBER is None:
        x = tl.load(value + walk(e, n0, n1, n2, n3, n4, n5, n6, n7, v0, v1, v2, v3, v4, v5, v6, v7), good)
    else:
        x = convert(tl.full((), value, NUMBER), target.dtype.element_ty)
    at = walk(e, n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3, t4, t5, t6, t7)
    at += walk(place, m0, m1, m2, m3, m4, m5, m6, m7, p0, p1, p2, p3, p4, p5, p6, p7)
    tl.store(target + at, x, good)


def _put(call: Call, target: View, argument: type[In] | type[Out]) -> Program:
    """The launches that write input 2, copied first where it may share target's memory, into ``target`` at input 1."""
    (_, indices, value), axes = call.inputs, int(call.params[0])
    assert indices is not None and value is not None
    rest, block = target.shape[axes:], 1024
    shape, zeros = (*indices.shape, *rest), (0,) * len(indices.shape)
    size, places = math.prod(shape), math.prod(target.shape[:axes])
    if size == 0:
        return Program(())
    place = copy.raw(argument, 0, target)
    given: Any = Value(2) if value.weak else copy.raw(In, 2, value).argument
    copied: tuple[Launch, ...] = ()
    if argument is In and not value.weak:
        source, given = copy.raw(In, 2, value), Temp(1, copy.RAW[value.dtype.itemsize])
        value = source.view._replace(strides=contiguous_strides(value.shape))
        copied = launch(identity, False, Operand(given, value), source)
    args = {
        "target": argument(0, value.dtype) if value.weak else place.argument, "indices": In(1), "value": given,
        "last": Temp(0, claims(indices.size)), "size": size, "length": places,
        "NUMBER": value.dtype if value.weak else None, "INDEX": index_dtype(size), "BLOCK": block,
    }  # fmt: skip
    strides = (*contiguous_strides(indices.shape), *(0 for _ in rest))
    args |= axis_args(shape, i=strides, v=broadcast_strides(value, shape), t=(*zeros, *target.strides[axes:]))
    lead = axis_args(target.shape[:axes], p=target.strides[:axes])
    args |= {name.replace("n", "m"): argument for name, argument in lead.items()}
    launches = (*copied, claim(indices, places), Launch(put_kernel, (ceil_div(size, block),), args))
    temps = (claim_space(places, indices.size), *[Workspace(value.size * value.dtype.itemsize) for _ in copied])
    return Program(launches, temps, () if indices.contiguous else (1,))


def put_(call: Call) -> Program:
    """target[indices] = value over the first params[0] axes, in place."""
    assert call.inputs[0] is not None
    return _put(call, call.inputs[0], In)


def put(call: Call) -> Program:
    """out = x with out[indices] = value over the first params[0] axes."""
    out = call.outputs[0]
    assert out is not None
    program = _put(call, out, Out)
    return program._replace(launches=(*copy.contiguous(call).launches, *program.launches))
