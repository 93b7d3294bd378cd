"""Elements found by index: take (rows along an axis), gather (one element for each index), the gradient of put.

Bound by memory: indices and the elements they name are read once, the output is written once; nothing is computed.

- take: a program moves a tile of rows by columns, 8 KiB of the output. Rows are seen as integers as wide as their
  length and alignment allow (8 bytes for most), so dtypes share binaries; rows of a multiple of 16 bytes move by 16.
  Others move element by element, 1024 a program.
- gather: 1024 elements a program; the element's place along the other axes is found by divisions of its number.

An index out of range sets the error words and reads nothing; its output is 0. gather.cu is take in CUDA C++, for
rows of odd lengths. Registers: take 32 to 56, gather 48 to 54. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.kernels.common.pointwise import divisor, merged_axes, walk
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    View,
    ceil_div,
    contiguous_strides,
    index_dtype,
    power_of_2,
)
from dlcore.kernels.movement.copy import RAW
from dlcore.kernels.movement.index import axis_args, claim, claim_space, claims, find, numbers

__all__ = ["gather", "put_backward", "take", "take_tokens"]

TILE = 8192  # bytes of the output a program writes


@jit
def take_kernel(
    x, indices, last, out, errors, n, length, inner, x_outer, x_axis,
    TOKENS: tl.constexpr, UNIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    tiles, groups = tl.cdiv(inner, COLUMNS), tl.cdiv(n, ROWS)
    block = tl.program_id(0)
    first = block % tiles * COLUMNS
    i = (block // tiles % groups).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    outer = (block // tiles // groups).to(tl.int64)
    place, good = find(indices, i, i < n, length, errors, TOKENS)
    if last is not None:  # of put_backward: where another index came later, the gradient is 0
        good &= tl.load(last + place, good, 0) == i + 1
    j = tl.arange(0, COLUMNS)[None, :]
    inside = j < tl.multiple_of(inner - first, UNIT)
    source = tl.multiple_of(outer * x_outer + place * x_axis, UNIT)[:, None] + first + j
    target = tl.multiple_of((outer * n + i) * inner, UNIT)[:, None] + first + j
    rows = tl.load(x + source, good[:, None] & inside, 0)
    tl.store(out + target, rows, (i < n)[:, None] & inside)


@jit
def gather_kernel(
    x, indices, out, errors, size, length, x_axis,
    n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7,
    INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = numbers(INDEX, BLOCK)
    place, good = find(indices, i, i < size, length, errors)
    at = walk(i, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7)
    tl.store(out + i, tl.load(x + at + place * x_axis, good, 0), i < size)


def _one_stride(view: View, axes: slice, of_one: int = 0) -> int | None:
    """The stride at which these axes are walked as one, ``of_one`` if they hold one element; None if they cannot be."""
    merged = merged_axes(view.shape[axes], [contiguous_strides(view.shape[axes]), view.strides[axes]])
    if len(merged) > 1:
        return None
    return merged[0].strides[1] if merged else of_one


def rows(x: View, axes: int, start: int) -> tuple[int, int] | None:
    """(stride of the axes before ``start``, of the ``axes`` from there) if the axes behind them are dense."""
    outer, along = _one_stride(x, slice(start)), _one_stride(x, slice(start, start + axes))
    inner = _one_stride(x, slice(start + axes, None), 1)
    return (outer, along) if inner == 1 and outer is not None and along is not None else None


def _take(call: Call, axis: int, axes: int, last: Temp | None, tokens: bool = False) -> Program:
    """Blocks of input 0, one for each index or token (input 1) into its ``axes`` from ``axis`` on, by tiles."""
    x, indices, out = call.inputs[0], call.inputs[1], call.outputs[0]
    assert x is not None and indices is not None and out is not None
    copied = () if indices.contiguous else (1,)
    if (strides := rows(x, axes, axis)) is None:
        copied = (0, *copied)
        x = x._replace(strides=contiguous_strides(x.shape), aligned=True)
        strides = rows(x, axes, axis) or (0, 0)
    size, n = x.dtype.itemsize, indices.size
    lengths = (math.prod(x.shape[axis + axes :]) * size, strides[0] * size, strides[1] * size)
    aligned = x.aligned and out.aligned
    wide = math.gcd(*lengths, 8) if aligned else size
    inner, x_outer, x_axis = (length // wide for length in lengths)
    unit = (aligned and divisor(math.gcd(inner, x_outer, x_axis), wide)) or 1
    tile = TILE // wide if unit > 1 else 1024  # single elements cost registers for their addresses
    columns = min(power_of_2(inner), tile)
    height = min(tile // columns, 512)
    args = {
        "x": In(0, RAW[wide]), "indices": In(1), "last": last, "out": Out(0, RAW[wide]), "errors": Errors(), "n": n,
        "length": math.prod(x.shape[axis : axis + axes]), "inner": inner, "x_outer": x_outer, "x_axis": x_axis,
        "TOKENS": tokens, "UNIT": unit, "ROWS": height, "COLUMNS": columns,
    }  # fmt: skip
    blocks = ceil_div(inner, columns) * ceil_div(n, height) * math.prod(x.shape[:axis])
    return Program((Launch(take_kernel, (blocks,), args),), (), copied)


def take(call: Call) -> Program:
    """out[o, i, ...] = x[o, indices[i], ...] with o over the axes before params[0]."""
    out = call.outputs[0]
    return _take(call, int(call.params[0]), 1, None) if out is not None and out.size else Program(())


def take_tokens(call: Call) -> Program:
    """out[i, :] = x[tokens[i], :]: rows of a table, of which no token counts from the end."""
    out = call.outputs[0]
    return _take(call, 0, 1, None, True) if out is not None and out.size else Program(())


def put_backward(call: Call) -> Program:
    """out[i] = dout[indices[i]] over the first params[0] axes, 0 where another index equal to it came later."""
    (dout, indices), out, axes = call.inputs, call.outputs[0], int(call.params[0])
    assert dout is not None and indices is not None and out is not None
    if out.size == 0:
        return Program(())
    places = math.prod(dout.shape[:axes])
    program = _take(call, 0, axes, Temp(0, claims(indices.size)))
    launches = (claim(indices, places), *program.launches)
    return Program(launches, (claim_space(places, indices.size),), program.contiguous)


def gather(call: Call) -> Program:
    """out[i, j, ...] = x[index[i, j, ...], j, ...] for axis params[0] = 0, and so on."""
    (x, index), out, axis = call.inputs, call.outputs[0], int(call.params[0])
    assert x is not None and index is not None and out is not None
    if out.size == 0:
        return Program(())
    others = tuple(0 if d == axis else s for d, s in enumerate(x.strides))
    raw, block = RAW[x.dtype.itemsize], 1024
    args = {
        "x": In(0, raw), "indices": In(1), "out": Out(0, raw), "errors": Errors(), "size": out.size,
        "length": x.shape[axis], "x_axis": x.strides[axis], "INDEX": index_dtype(out.size), "BLOCK": block,
    } | axis_args(index.shape, s=others)  # fmt: skip
    launch = Launch(gather_kernel, (ceil_div(out.size, block),), args)
    return Program((launch,), (), () if index.contiguous else (1,))
