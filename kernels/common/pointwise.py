"""out[i] = f(a[i], b[i], c[i]) over operands that broadcast: every pointwise row is this one generator with another f.

Bound by memory for all but the functions that kernels/common/math.py names: every operand is read and the output
written once, 12 bytes an element for a float32 sum, next to no FLOPs. Axes that all operands walk as one are merged
first, so almost every call becomes one of two shapes:

- dense: one axis, each operand runs along it or is one number. A block of 128 threads takes 1024 elements (2048 of
  bytes), 16 bytes a thread and access: `ld.global.v4` and `st.global.v4` on every architecture. Registers on sm_90: a
  sum of float32 25, of bfloat16 18, gelu 48 and 32, so up to 2048 threads an SM with 32 to 64 KiB in flight. Where only
  2 bytes an element are read, a thread of a large array takes 16 elements, two loads (neg 17 registers, gelu 32), if
  the function leaves room for them.
  A length that is no multiple of 16 would make a masked block's accesses scalar, so there all blocks but the last
  go without a mask (add 32 registers, gelu 54). A view that begins off 16 bytes is read by elements, still in whole
  lines a warp.
- tiles of the two innermost axes, the others (up to six) found from the block's number. Strides 0 of the innermost axis
  are compiled in, which keeps the vector accesses of the others. The tile's rows run along the axis on which an operand
  is contiguous if that is not the innermost one: both sides of a transposition are read and written in whole lines, and
  exchanged through shared memory (4 to 8 KiB; 32 to 38 registers). Rows of a multiple of 16 bytes keep the wide
  accesses: 1000 bfloat16, which are no multiple of 16 elements, too.

Element i of the output depends on the elements i only, read before they are written: an output may be one of the
inputs.

Versions: 1, this one. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, bfloat16, float16
from dlcore.kernels.common.convert import convert
from dlcore.kernels.language import Kernel, jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, Value, View, ceil_div, power_of_2

THREADS = 128
MOST_AXES = 8
ENOUGH = 1 << 18  # elements of which 16 for each thread are 128 blocks

# ---- device -------------------------------------------------------------------------------------------------------


@jit
def read(x, at, mask, NUMBER: tl.constexpr, WIDEN: tl.constexpr):
    """Elements of pointer x at offsets `at` (None: the one it points to), or the number x as a NUMBER, its dtype."""
    if NUMBER is not None:
        y = tl.full((), x, NUMBER)
    elif at is None:
        y = tl.load(x)
    else:
        y = tl.load(x + at, mask)
    if WIDEN and (y.dtype == tl.float16 or y.dtype == tl.bfloat16):
        y = y.to(tl.float32)
    return y


@jit
def evaluate(
    out, a, b, c, at, at_a, at_b, at_c, mask,
    F: tl.constexpr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    x = read(a, at_a, mask, A, WIDEN)
    if c is not None:
        y = F(x, read(b, at_b, mask, B, WIDEN), read(c, at_c, mask, C, WIDEN))
    elif b is not None:
        y = F(x, read(b, at_b, mask, B, WIDEN))
    else:
        y = F(x)
    tl.store(out + at, convert(y, out.dtype.element_ty), mask)


@jit
def dense_kernel(
    out, a, b, c, size,
    F: tl.constexpr,
    A: tl.constexpr, B: tl.constexpr, C: tl.constexpr,  # dtypes of operands that are numbers, else None
    WIDEN: tl.constexpr,
    RUN: tl.constexpr,  # bits: whether a, b, c run along the axis
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0).to(tl.int64) * BLOCK
    i = start + tl.arange(0, BLOCK)
    at_a = i if RUN & 1 else None
    at_b = i if RUN & 2 else None
    at_c = i if RUN & 4 else None
    if SPLIT:
        if start + BLOCK <= size:
            evaluate(out, a, b, c, i, at_a, at_b, at_c, None, F, A, B, C, WIDEN)
        else:
            evaluate(out, a, b, c, i, at_a, at_b, at_c, i < size, F, A, B, C, WIDEN)
    else:
        evaluate(out, a, b, c, i, at_a, at_b, at_c, i < size, F, A, B, C, WIDEN)


@jit
def step(index, offset, n, stride):  # one axis further out: (index // n, offset + index % n * stride)
    if n is not None:
        if stride is not None:
            offset += (index % n).to(tl.int64) * stride
        index = index // n
    return index, offset


@jit
def walk(index, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, s4, s5, s6, s7):
    """Offset of element `index` of axes of these lengths and strides, innermost first; None: no axis, stride 0."""
    offset = index.to(tl.int64) * 0
    index, offset = step(index, offset, n0, s0)
    index, offset = step(index, offset, n1, s1)
    index, offset = step(index, offset, n2, s2)
    index, offset = step(index, offset, n3, s3)
    index, offset = step(index, offset, n4, s4)
    index, offset = step(index, offset, n5, s5)
    index, offset = step(index, offset, n6, s6)
    index, offset = step(index, offset, n7, s7)
    return offset


@jit
def corner(t0, t1, outer, s0, s1, n2, n3, n4, n5, n6, n7, s2, s3, s4, s5, s6, s7, UNIT: tl.constexpr):
    """Offset of a tile's first element: (t1, t0) is where it lies on the inner axes, `outer` counts the others."""
    offset = walk(outer, n2, n3, n4, n5, n6, n7, None, None, s2, s3, s4, s5, s6, s7, None, None)
    if s0 is not None:
        offset += t0.to(tl.int64) * s0
    if s1 is not None:
        offset += t1.to(tl.int64) * s1
    return tl.multiple_of(offset, UNIT if UNIT > 0 else -UNIT)


@jit
def spread(i, j, s0, s1, UNIT: tl.constexpr):
    """Offsets of a tile's elements from its first; None where all are 0."""
    if s1 is None and s0 is None:
        return None
    else:
        down = i * 0 if s1 is None else i * s1
        along = j * 0 if s0 is None else j * s0
        if UNIT > 1:
            down = tl.multiple_of(down, (UNIT, UNIT))
        if UNIT < -1:
            along = tl.multiple_of(along, (-UNIT, -UNIT))
        return down + along


@jit
def tile_kernel(
    out, a, b, c, n0, n1, n2, n3, n4, n5, n6, n7,  # lengths, innermost first; None: no such axis
    out0, out1, out2, out3, out4, out5, out6, out7,  # strides; None: 0
    a0, a1, a2, a3, a4, a5, a6, a7,
    b0, b1, b2, b3, b4, b5, b6, b7,
    c0, c1, c2, c3, c4, c5, c6, c7,
    F: tl.constexpr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, WIDEN: tl.constexpr,
    UNIT: tl.constexpr, UNIT_A: tl.constexpr, UNIT_B: tl.constexpr, UNIT_C: tl.constexpr,  # see _unit
    UNIT_0: tl.constexpr, UNIT_1: tl.constexpr,
    INDEX: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    tiles0, tiles1 = tl.cdiv(n0, COLUMNS), tl.cdiv(n1, ROWS)
    block = tl.program_id(0)
    outer = block // tiles0 // tiles1
    t0, t1 = block % tiles0 * COLUMNS, block // tiles0 % tiles1 * ROWS
    i, j = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    mask = (i < tl.multiple_of(n1 - t1, UNIT_1)) & (j < tl.multiple_of(n0 - t0, UNIT_0))
    i, j = i.to(INDEX), j.to(INDEX)
    out += corner(t0, t1, outer, out0, out1, n2, n3, n4, n5, n6, n7, out2, out3, out4, out5, out6, out7, UNIT)
    if A is None:
        a += corner(t0, t1, outer, a0, a1, n2, n3, n4, n5, n6, n7, a2, a3, a4, a5, a6, a7, UNIT_A)
    if B is None and b is not None:
        b += corner(t0, t1, outer, b0, b1, n2, n3, n4, n5, n6, n7, b2, b3, b4, b5, b6, b7, UNIT_B)
    if C is None and c is not None:
        c += corner(t0, t1, outer, c0, c1, n2, n3, n4, n5, n6, n7, c2, c3, c4, c5, c6, c7, UNIT_C)
    at, at_a = spread(i, j, out0, out1, UNIT), spread(i, j, a0, a1, UNIT_A)
    at_b, at_c = spread(i, j, b0, b1, UNIT_B), spread(i, j, c0, c1, UNIT_C)
    evaluate(out, a, b, c, at, at_a, at_b, at_c, mask, F, A, B, C, WIDEN)


# ---- axes ---------------------------------------------------------------------------------------------------------


class Axis(NamedTuple):
    """A length and each operand's stride along it, the output's first."""

    length: int
    strides: tuple[int, ...]


def broadcast_strides(view: View, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of ``view`` when it is broadcast to ``shape``."""
    own = [0 if n == 1 else s for n, s in zip(view.shape, view.strides, strict=True)]
    return (*[0] * (len(shape) - len(own)), *own)


def merged_axes(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
    """The fewest axes that walk all elements, in the order of the output's (the first's) addresses, innermost last."""
    axes = [Axis(n, s) for n, *s in zip(shape, *strides, strict=True) if n != 1]  # type: ignore[arg-type]
    axes.sort(key=lambda axis: -abs(axis.strides[0]))
    merged: list[Axis] = []
    for axis in axes:
        outer = merged[-1].strides if merged else ()
        if merged and all(o == axis.length * s for o, s in zip(outer, axis.strides, strict=True)):
            merged[-1] = Axis(merged[-1].length * axis.length, tuple(axis.strides))
        else:
            merged.append(Axis(axis.length, tuple(axis.strides)))
    return merged


# ---- planning -----------------------------------------------------------------------------------------------------


class Operand(NamedTuple):
    """An argument (In, Out, Temp, Value or a float) and how it lies in memory."""

    argument: Any
    view: View

    @property
    def number(self) -> bool:
        """Whether it is passed by value."""
        return self.view.weak


def launch(
    function: Kernel, widen: bool, out: Operand, *inputs: Operand, long: bool = False, most: int = 16
) -> tuple[Launch, ...]:  # fmt: skip
    """The launch that writes ``function`` of the inputs into ``out``, in its dtype; none where it has no elements.

    ``long``: it fills the registers with 8 elements a thread. ``most``: how many a thread may take.
    """
    if out.view.size == 0:
        return ()
    operands = (out, *inputs)
    axes = merged_axes(out.view.shape, [broadcast_strides(o.view, out.view.shape) for o in operands])
    args: dict[str, Any] = {"out": out.argument, "F": function, "WIDEN": widen}
    for k, name in enumerate("abc"):
        known = inputs[k] if k < len(inputs) else None
        args[name] = known and known.argument
        args[name.upper()] = known.view.dtype if known and known.number else None
    narrowest = min(o.view.dtype.itemsize for o in operands if not o.number)
    block = max(8 * THREADS, 16 // narrowest * THREADS)
    if len(axes) > 1 or any(s not in (0, 1) for axis in axes for s in axis.strides):
        return (_tiled(args, axes, operands, narrowest, block),)
    axis = axes[0] if axes else Axis(1, (1, int(not inputs[0].number), 0, 0))
    loaded = [o.view.dtype.itemsize for o, s in zip(inputs, axis.strides[1:], strict=False) if s and not o.number]
    vectors = axis.length % 16 == 0 and all(o.view.aligned for o in operands)
    if loaded == [2] and vectors and axis.length >= ENOUGH and not long:
        block = 16 * THREADS
    block = min(block, most * THREADS)
    args |= {"size": axis.length, "RUN": sum(bool(s) << k for k, s in enumerate(axis.strides[1:]))}
    args |= {"SPLIT": axis.length % 16 != 0 and axis.length > block, "BLOCK": block}
    return (Launch(dense_kernel, (ceil_div(axis.length, block),), args),)


def _tiled(args: dict[str, Any], axes: list[Axis], operands: Sequence[Operand], narrowest: int, block: int) -> Launch:
    columns, *others = reversed(axes)
    across = next((k for k, axis in enumerate(others) if _transposed(columns, axis)), None)
    rows = others.pop(across or 0) if others else Axis(1, (0,) * len(operands))
    height = rows.length if others or across is not None else block  # fewer kinds of tile where none is repeated
    shape, warps = _tile(height, columns.length, across is not None, narrowest, block)
    inner_first = [columns, rows, *others]
    for d in range(MOST_AXES):
        args[f"n{d}"] = inner_first[d].length if d < len(inner_first) else None
    for k, name in enumerate(("out", "a", "b", "c")):
        memory = k < len(operands) and not operands[k].number
        strides = [axis.strides[k] for axis in inner_first] if memory else []
        for d in range(MOST_AXES):
            args[f"{name}{d}"] = (strides[d] or None) if d < len(strides) else None
        unit = _unit(strides, shape, operands[k].view.dtype.itemsize) if memory else 1
        args[f"UNIT_{name.upper()}".removesuffix("_OUT")] = unit
    sizes = [o.view.dtype.itemsize for o in operands if not o.number]
    lengths = (columns.length, rows.length if across is not None else 1)
    args |= {f"UNIT_{d}": divisor(n, min(sizes)) or divisor(n, max(sizes)) or 1 for d, n in enumerate(lengths)}
    reach = max(shape[0] * abs(r) + shape[1] * abs(c) for r, c in zip(rows.strides, columns.strides, strict=True))
    args |= {"INDEX": tl.int64 if reach >= 2**31 else tl.int32, "ROWS": shape[0], "COLUMNS": shape[1]}
    blocks = ceil_div(rows.length, shape[0]) * ceil_div(columns.length, shape[1])
    blocks *= math.prod(axis.length for axis in others)
    return Launch(tile_kernel, (blocks,), args, num_warps=warps)


def divisor(n: int, itemsize: int) -> int | None:
    """The number of elements in 16 bytes if ``n`` is a multiple of it."""
    vector = max(16 // itemsize, 1)
    return vector if n % vector == 0 else None


def _unit(strides: Sequence[int], tile: tuple[int, int], itemsize: int) -> int:
    """What all of an operand's strides but a 1 are multiples of if that makes 16 bytes, else 1; negative where the 1 is
    the rows'. Triton itself knows only of multiples of 16."""
    column, row = strides[:2]
    if column == 1:
        return divisor(math.gcd(row, *strides[2:], tile[1]), itemsize) or 1
    return -(divisor(math.gcd(column, *strides[2:], tile[0]), itemsize) or 1) if row == 1 else 1


def _transposed(columns: Axis, axis: Axis) -> bool:
    """Whether an operand runs along ``axis`` instead of the columns."""
    pairs = zip(columns.strides, axis.strides, strict=True)
    return any(abs(s) == 1 and abs(c) > 1 for c, s in pairs)


def _tile(rows: int, columns: int, square: bool, itemsize: int, block: int) -> tuple[tuple[int, int], int]:
    """(rows, columns) of a tile and its warps."""
    if not square:
        widths = [w for w in (block, block // 2, block // 4) if w <= columns] or [power_of_2(columns)]
        width = min(widths, key=lambda w: (ceil_div(columns, w) * w, -w))  # least beyond the end, then largest
        return (min(power_of_2(rows), block // width), width), 4
    rows, columns = power_of_2(rows), power_of_2(columns)
    side = 32 if itemsize >= 4 else 64  # 128 bytes, so that both directions move whole lines
    width = min(columns, max(side, side * side // rows))
    return (min(rows, side * side // width), width), side // 8


def widened(dtype: DType) -> bool:
    """Whether arithmetic is done in float32 instead."""
    return dtype is float16 or dtype is bfloat16


def operands(call: Call) -> list[Operand]:
    """The call's inputs as pointers or values."""
    views = [v for v in call.inputs if v is not None]
    return [Operand(Value(k) if v.weak else In(k), v) for k, v in enumerate(views)]


def pointwise(function: Kernel, moves: bool = False, long: bool = False) -> Callable[[Call], Program]:
    """A planner: out = function(inputs).

    ``moves``: it only moves elements, so 16-bit floats stay as they are; ``long``: see `launch`.
    """

    def plan(call: Call) -> Program:
        inputs = operands(call)
        widen = not moves and any(widened(o.view.dtype) for o in inputs)
        assert call.outputs[0] is not None
        return Program(launch(function, widen, Operand(Out(0), call.outputs[0]), *inputs, long=long))

    return plan
