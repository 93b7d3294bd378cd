"""take_scaled: rows found by index, less an offset, times a scale: how a batch is fetched and normalised at once.

Bound by memory: 2 FLOPs an element. Indices and the rows they name are read once, as they are stored, the output is
written once: 0.1 MB and 0.4 MB for 128 rows of 784 bytes, where the launch itself is what takes time.

- A program of 128 threads moves a tile of rows by columns, 1024 elements. A thread's accesses are as long as 16 bytes
  of the output: bytes are read by 4, so that a warp reads 128 of them and writes 512, both in whole lines, and nothing
  is exchanged between threads. Rows of another length, or apart by one, move element by element; x that begins off 16
  bytes is read so, and still written by 16.
- All rows (no index) with one offset and one scale are one row.
- An offset or scale for each channel: the channel is found once for a column, not for an element, by a division.
- The CPU's bits: one subtraction, one multiplication, which nothing can fuse; 16-bit floats are rounded once.

An index out of range sets the error words and reads nothing; its row is that of zeros.
Registers: 16 to 36, 18 for a batch of bytes; no shared memory. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.dtypes import bool_, uint8
from dlcore.kernels.common.convert import convert
from dlcore.kernels.common.pointwise import divisor, read
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Value,
    View,
    accumulator,
    ceil_div,
    contiguous_strides,
    index_dtype,
    power_of_2,
)
from dlcore.kernels.movement.index import find
from dlcore.kernels.movement.take import rows

__all__ = ["scaled"]

TILE = 1024  # elements a program writes


@jit
def scaled_kernel(
    x, offset, scale, indices, out, errors, n, length, inner, tiles, x_row, run, offset_step, scale_step,
    WIDE: tl.constexpr,  # what arithmetic is done in
    OFFSET: tl.constexpr, SCALE: tl.constexpr,  # WIDE where they are Python numbers, else None
    INDEX: tl.constexpr, UNIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    first = (block % tiles).to(INDEX) * COLUMNS
    i = (block // tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    if indices is None:
        place, good = i, i < n
    else:
        place, good = find(indices, i, i < n, length, errors)
    j = tl.arange(0, COLUMNS)[None, :]
    inside = j < tl.multiple_of(inner - first, UNIT)
    source = tl.multiple_of(place * x_row, UNIT)[:, None] + tl.multiple_of(first, UNIT) + j
    target = tl.multiple_of(i * inner, UNIT)[:, None] + first + j
    channel = ((first + j) // run).to(tl.int64)
    y = tl.load(x + source, good[:, None] & inside, 0).to(WIDE)
    y -= read(offset, None if offset_step is None else channel * offset_step, inside, OFFSET, False)
    y *= read(scale, None if scale_step is None else channel * scale_step, inside, SCALE, False)
    tl.store(out + target, convert(y, out.dtype.element_ty), (i < n)[:, None] & inside)


def _factors(views: dict[str, tuple[int, View]]) -> dict[str, Any]:
    """Arguments of offset and scale, {name: (input, view)}: numbers, tensors of one number, or of one a channel."""
    args: dict[str, Any] = {}
    for name, (k, view) in views.items():
        args[name] = Value(k) if view.weak else In(k)
        args[name.upper()] = view.dtype if view.weak else None
        args[f"{name}_step"] = view.strides[0] if view.shape else None
    return args


def scaled(call: Call) -> Program:
    """out[i, c, ...] = (x[index[i], c, ...] - offset[c]) * scale[c]; of all rows where there is no index."""
    (x, offset, scale, index), out = call.inputs, call.outputs[0]
    assert x is not None and offset is not None and scale is not None and out is not None
    if out.size == 0:
        return Program(())
    copied = () if index is None or index.contiguous else (3,)
    if (strides := rows(x, 1, 0)) is None:
        copied = (0, *copied)
        x = x._replace(strides=contiguous_strides(x.shape), aligned=True)
        strides = rows(x, 1, 0) or (0, 0)
    vectors = bool(offset.shape or scale.shape)
    n, inner, x_row = math.prod(out.shape[:1]), math.prod(out.shape[1:]), strides[1]
    if index is None and not vectors and x.contiguous:
        n, inner = 1, out.size
    columns = min(power_of_2(inner), TILE)
    height, tiles = min(TILE // columns, 512), ceil_div(inner, columns)
    args = _factors({"offset": (1, offset), "scale": (2, scale)}) | {
        "x": In(0, uint8 if x.dtype is bool_ else None), "indices": None if index is None else In(3), "out": Out(0),
        "errors": Errors(), "n": n, "length": 0 if index is None else x.shape[0], "inner": inner, "tiles": tiles,
        "x_row": x_row, "run": inner // out.shape[1] if vectors else 1,
        "WIDE": accumulator(out.dtype), "INDEX": index_dtype(inner),
        "UNIT": divisor(math.gcd(inner, x_row), out.dtype.itemsize) or 1, "ROWS": height, "COLUMNS": columns,
    }  # fmt: skip
    return Program((Launch(scaled_kernel, (tiles * ceil_div(n, height),), args),), (), copied)
