"""Planners of the kernels over many tensors: sgd.cu, adam.cu and clip.cu. Bytes and bounds stand there.

Tensors of one dtype share launches; a launch takes as many as its table holds (80 for Adam), whatever their sizes, and
one block works on one chunk of 4 KiB of parameters. What is changed in place and not contiguous (rare) goes through a
dense workspace and back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, bfloat16, float16, float32, float64
from dlcore.kernels.launch import F64, I32, Call, Cuda, In, Launch, Out, Program, Table, Temp, Workspace, ceil_div

THREADS = 256
CTYPES = {float32: "float", float64: "double", float16: "__half", bfloat16: "__nv_bfloat16"}
SLOT_ADAM, SLOT_SGD = 80, 56  # bytes of struct Slot
STEPS = 320  # Steps::kCount
PARTIALS = 1024  # of the norm, in all launches together


class Segment(NamedTuple):
    """One tensor and what lies beside it: pointers, elements, and its place in other arrays."""

    pointers: tuple[Any, ...]
    length: int
    slot: int


class Dense:
    """Contiguous memory for each operand: itself, or a workspace filled before and copied back after."""

    def __init__(self, call: Call, temps: list[Workspace]):
        self.call, self.temps = call, temps
        self.before: list[Launch] = []
        self.after: list[Launch] = []

    def __call__(self, k: int) -> In | Temp:
        """A pointer to the dense elements of input ``k``, which is written."""
        view = self.call.inputs[k]
        assert view is not None
        if view.contiguous:
            return In(k)
        self.temps.append(Workspace(view.size * view.dtype.itemsize))
        dense = Temp(len(self.temps) - 1)
        unused = 8 - len(view.shape)
        layout = Table((view.size, *[1] * unused, *view.shape, *[0] * unused, *view.strides))
        word = {2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}[view.dtype.itemsize]
        grid = (min(ceil_div(view.size, THREADS), 65535),)
        for launches, gather in ((self.before, "true"), (self.after, "false")):
            kernel = Cuda("optim/strided.cu", f"copy<{word}, {gather}>", THREADS)
            launches.append(Launch(kernel, grid, {"dense": dense, "strided": In(k), "layout": layout}))
        return dense


def _padded(values: Iterable[Any], count: int, filler: Any) -> list[Any]:
    values = list(values)
    return values + [filler] * (count - len(values))


def _tables(segments: Sequence[Segment], dtype: DType) -> Iterator[tuple[Table, int]]:
    """Tables of ``struct Segments``, each with the number of its chunks; at least one."""
    chunk = THREADS * 16 // dtype.itemsize
    pointers = len(segments[0].pointers)
    room = 480 // (pointers + 2)
    for start in range(0, len(segments), room):
        part = segments[start : start + room]
        first = [0]
        for s in part:
            first.append(first[-1] + ceil_div(s.length, chunk))
        fields: list[Any] = []
        for which in range(pointers):
            fields += _padded((s.pointers[which] for s in part), room, None)
        fields += _padded((s.length for s in part), room, 0)
        fields += map(I32, _padded(first[:-1], room, first[-1]))
        fields += map(I32, _padded((s.slot for s in part), room, 0))
        yield Table(tuple(fields)), first[-1]


def _by_dtype(call: Call, n: int) -> Iterator[tuple[DType, list[int]]]:
    """The positions of inputs 0 ... n - 1 that have elements, dtype by dtype."""
    for dtype in CTYPES:
        members = [k for k in range(n) if (v := call.inputs[k]) and v.dtype is dtype and v.size]
        if members:
            yield dtype, members


# ---- sgd, adam ----------------------------------------------------------------------------------------------------


def adam(call: Call) -> Program:
    """Launches of the row `adam`."""
    return _update(call, "adam", SLOT_ADAM, 4)


def sgd(call: Call) -> Program:
    """Launches of the row `sgd`."""
    return _update(call, "sgd", SLOT_SGD, 3)


def _update(call: Call, name: str, slot: int, pointers: int) -> Program:
    n, groups = call.attrs
    views, settings = call.inputs, len(call.inputs) - 1
    moments = settings // n - 3
    temps = [Workspace(slot * n)]
    dense = Dense(call, temps)
    updates = []
    for dtype, members in _by_dtype(call, n):
        segments = []
        for k in members:
            states = [dense((2 + j) * n + k) if j < moments else None for j in range(pointers - 2)]
            segments.append(Segment((dense(k), In(n + k), *states), views[k].size, k))
        kernel = Cuda(f"optim/{name}.cu", f"{name}<{CTYPES[dtype]}>", THREADS)
        for table, chunks in _tables(segments, dtype):
            updates.append(Launch(kernel, (chunks,), {"table": table, "slots": Temp(0)}))
    made = factors(call, name, slot, groups, (2 + moments) * n)
    strided = tuple(k for k in (*range(n, 2 * n), settings) if not views[k].contiguous)
    return Program((*dense.before, *made, *updates, *dense.after), tuple(temps), strided)


def factors(call: Call, name: str, slot: int, groups: Sequence[int], first: int) -> Iterator[Launch]:
    """Step counts, which are the inputs from ``first`` on, and settings into factors."""
    kernel = Cuda(f"optim/{name}.cu", f"{name}_factors", THREADS)
    for start in range(0, len(groups), STEPS):
        members = range(start, min(start + STEPS, len(groups)))
        about = [
            4 * groups[k] + 2 * (call.inputs[first + k].dtype is float32) + (call.inputs[k].dtype is float64)
            for k in members
        ]
        table = Table((*_padded((In(first + k) for k in members), STEPS, None), *map(I32, _padded(about, STEPS, 0))))
        args = {
            "steps": table,
            "settings": In(len(call.inputs) - 1),
            "slots": Temp(0, offset=slot * start),
            "n": I32(len(members)),
        }
        yield Launch(kernel, (ceil_div(len(members), THREADS),), args)


# ---- clipping -----------------------------------------------------------------------------------------------------


def clip_grad_norm(call: Call) -> Program:
    """Launches of the row `clip_grad_norm`."""
    max_norm, power = call.params
    order = 0 if math.isinf(power) else 1 if power == 2 else 2
    temps: list[Workspace] = [Workspace(8 * 2 * PARTIALS)]
    dense = Dense(call, temps)
    parts = [
        (dtype, table, chunks)
        for dtype, members in _by_dtype(call, len(call.inputs))
        for table, chunks in _tables([Segment((dense(k),), call.inputs[k].size, 0) for k in members], dtype)
    ]
    if not parts:
        empty = next(_tables([Segment((None,), 0, 0)], float32))
        parts = [(float32, *empty)]
    most = max(PARTIALS // len(parts), 8)
    blocks = [min(chunks, most) for _, _, chunks in parts]
    temps[0] = Workspace(8 * max(sum(blocks), 1))
    return Program(
        (*dense.before, *_measure(parts, blocks, order, power),
         *_scale(call, parts, sum(blocks), order, power, max_norm), *dense.after),
        tuple(temps),
    )  # fmt: skip


def _measure(parts: Sequence[Any], blocks: Sequence[int], order: int, power: float) -> Iterator[Launch]:
    done = 0
    for (dtype, table, chunks), grid in zip(parts, blocks, strict=True):
        kernel = Cuda("optim/clip.cu", f"measure<{CTYPES[dtype]}, {order}>", THREADS)
        args = {"table": table, "partials": Temp(0, offset=8 * done), "power": F64(power), "chunks": I32(chunks)}
        if grid:
            yield Launch(kernel, (grid,), args)
        done += grid


def _scale(
    call: Call, parts: Sequence[Any], partials: int, order: int, power: float, max_norm: float
) -> Iterator[Launch]:
    norm = call.outputs[0]
    assert norm is not None
    for i, (dtype, table, chunks) in enumerate(parts):
        args = {
            "table": table,
            "partials": Temp(0),
            "parts": I32(partials),
            "power": F64(power),
            "max_norm": F64(max_norm),
            "out": Out(0),
            "bytes": I32(0 if i else norm.dtype.itemsize),
            "chunks": I32(chunks),
        }
        kernel = Cuda("optim/clip.cu", f"scale<{CTYPES[dtype]}, {order}>", THREADS)
        yield Launch(kernel, (max(min(chunks, 8 * call.arch.multiprocessors), 1),), args)
