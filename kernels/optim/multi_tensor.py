"""Planners of the kernels over many tensors, sgd.cu, adam.cu, rule.cu, lamb.cu, clip.cu; rates.cu, loss_scale.cu.

What bounds them stands there. Tensors of one dtype share launches; a launch takes as many as its table holds (`_room`),
whatever their sizes, and one block works on one chunk of 4 KiB of parameters, or a few. What is changed in place and
not contiguous (rare) goes through a dense workspace and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, bfloat16, float16, float32, float64
from dlcore.kernels.launch import (
    F64,
    I32,
    Call,
    Cuda,
    Errors,
    In,
    Launch,
    Out,
    PerSM,
    Program,
    Table,
    Temp,
    View,
    Workspace,
    ceil_div,
)

THREADS = 256
CTYPES = {float32: "float", float64: "double", float16: "__half", bfloat16: "__nv_bfloat16"}
CHUNK = THREADS * 16  # bytes
COUNTS = 480  # Counts::kCount
CLIPPED = 160  # tensors in a table of clip.cu, whatever the driver: the order of the norm's sum follows from it
CHUNKS = 4  # of a block where there are many
PARTIALS = 1024  # of the norm, in all launches together


class Segment(NamedTuple):
    """One tensor and what lies beside it: pointers, elements, and its row of settings."""

    pointers: tuple[Any, ...]
    length: int
    group: int = 0


def _view(call: Call, k: int) -> View:
    view = call.inputs[k]
    assert view is not None  # only a step's flag is optional
    return view


class Dense:
    """Contiguous memory for each operand: itself, or a workspace filled before and copied back after."""

    def __init__(self, call: Call, temps: list[Workspace]):
        self.call, self.temps = call, temps
        self.before: list[Launch] = []
        self.after: list[Launch] = []

    def __call__(self, k: int) -> In | Temp:
        """A pointer to the dense elements of input ``k``, which is written."""
        view = _view(self.call, k)
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


def _room(pointers: int, tensors: int, parameters: int) -> int:
    """How many tensors a table has room for, each with so many ``pointers``: those that 4 KiB of parameters hold or,
    where there are more and a launch may have more ``parameters``, eight times as many."""
    small, large = ((limit - 256) // (8 * (pointers + 2)) for limit in (4096, parameters))
    return large if tensors > small else small


def _tables(segments: Sequence[Segment], chunk: int, room: int) -> Iterator[tuple[Table, int]]:
    """Tables of ``struct Segments``, each with the number of its chunks of ``chunk`` elements, at least 1 a segment."""
    pointers = len(segments[0].pointers)
    for start in range(0, len(segments), room):
        part = segments[start : start + room]
        first = [0]
        for s in part:
            first.append(first[-1] + max(ceil_div(s.length, chunk), 1))
        fields: list[Any] = []
        for which in range(pointers):
            fields += _padded((s.pointers[which] for s in part), room, None)
        fields += _padded((s.length for s in part), room, 0)
        fields += map(I32, _padded(first, room + 1, first[-1]))
        fields += map(I32, _padded((s.group for s in part), room, 0))
        yield Table(tuple(fields)), first[-1]


def _by_dtype(call: Call, n: int) -> Iterator[tuple[DType, list[int]]]:
    """The positions of inputs 0 ... n - 1, dtype by dtype."""
    for dtype in CTYPES:
        if members := [k for k in range(n) if _view(call, k).dtype is dtype]:
            yield dtype, members


# ---- steps --------------------------------------------------------------------------------------------------------


def adam(call: Call) -> Program:
    """Launches of `adam`."""
    return _update(call, "adam", 2, 4)  # as many 16-bit elements a thread as of 32


def sgd(call: Call) -> Program:
    """Launches of `sgd`."""
    return _update(call, "sgd", 1, 2)


def _ruled(name: str, moments: int, numbers: int = 0) -> Callable[[Call], Program]:
    """The planner of a rule of rules.cuh with so many lists of moments, and of numbers behind them."""

    def planner(call: Call) -> Program:
        return _update(call, "update", moments, 4, name, numbers)

    return planner


weight_average = _ruled("WeightAverage", 0)
lion = _ruled("Lion", 1)
rmsprop = _ruled("Rmsprop", 2)
rmsprop_centered = _ruled("RmspropCentered", 3)
adagrad = _ruled("Adagrad", 1)
adadelta = _ruled("Adadelta", 2)
adamax = _ruled("Adamax", 2)
amsgrad = _ruled("Amsgrad", 3)
nadam = _ruled("Nadam", 2, 1)
radam = _ruled("Radam", 2)
schedule_free_sgd = _ruled("ScheduleFreeSgd", 1, 2)
schedule_free_adamw = _ruled("ScheduleFreeAdamw", 2, 2)


def _update(call: Call, name: str, lists: int, narrowest: int, rule: str = "", numbers: int = 0) -> Program:
    """The launches of a kernel that takes ``lists`` lists of moments; the last may be absent, and is null then.

    ``narrowest``: the bytes of an element that chunks are sized by, at least. ``rule``: that of rule.cu, whose kernel
    it is. ``numbers``: how many lists of numbers come behind the moments.
    """
    (groups,) = call.attrs
    n, settings = len(groups), len(call.inputs) - 2
    moments = settings // n - 3 - numbers
    source, argument = ("rule", f", {rule}") if rule else (name, "")
    temps: list[Workspace] = []
    dense = Dense(call, temps)
    counts = _counts(call, dense, range((2 + moments + numbers) * n, settings))
    updates = []
    for dtype, members in _by_dtype(call, n):
        segments = []
        for k in members:
            states = [dense((2 + j) * n + k) if j < moments else None for j in range(lists)]
            kept = [In((2 + moments + j) * n + k) for j in range(numbers)]
            pointers = (dense(k), In(n + k), *states, *kept, counts[k])
            segments.append(Segment(pointers, _view(call, k).size, groups[k]))
        room = _room(2 + lists + numbers + 1, len(segments), call.arch.parameters)
        kernel = Cuda(f"optim/{source}.cu", f"{name}<{CTYPES[dtype]}, {room}{argument}>", THREADS)
        item = max(dtype.itemsize, narrowest)
        for table, chunks in _tables(segments, CHUNK // item, room):
            each = 1 if chunks <= 8 * call.arch.multiprocessors else CHUNKS
            args = {"table": table, "settings": In(settings), "each": I32(each), **_gates(call)}
            updates.append(Launch(kernel, (ceil_div(chunks, each),), args))
    strided = tuple(k for k in (*range(n, 2 * n), settings) if not _view(call, k).contiguous)
    return Program((*dense.before, *updates, *dense.after), tuple(temps), strided)


def lamb(call: Call) -> Program:
    """Launches of `lamb`: two for each table of tensors."""
    (groups,) = call.attrs
    n, settings = len(groups), len(call.inputs) - 2
    temps: list[Workspace] = []
    dense = Dense(call, temps)
    counts = _counts(call, dense, range(4 * n, settings))
    passes: list[list[Launch]] = [[], []]
    for dtype, members in _by_dtype(call, n):
        segments = []
        for k in members:
            pointers = (dense(k), In(n + k), dense(2 * n + k), dense(3 * n + k), counts[k])
            segments.append(Segment(pointers, _view(call, k).size, groups[k]))
        room, item = _room(5, len(segments), call.arch.parameters), max(dtype.itemsize, 4)
        for start, (table, chunks) in zip(
            range(0, len(segments), room), _tables(segments, CHUNK // item, room), strict=True
        ):
            measured = ceil_div(chunks, PARTIALS)
            blocks, tensors = ceil_div(chunks, measured), min(room, len(segments) - start)
            temps.append(Workspace(16 * (blocks + tensors)))
            sums, each = Temp(len(temps) - 1), 1 if chunks <= 8 * call.arch.multiprocessors else CHUNKS
            given = {"table": table, "settings": In(settings)}
            measure = {**given, "each": I32(measured), "sums": sums, **_gates(call)}
            apply = {**given, "each": I32(each), "sums": sums, "measured": I32(measured), **_gates(call)}
            kinds = f"<{CTYPES[dtype]}, {room}>"
            passes[0].append(Launch(Cuda("optim/lamb.cu", f"measure{kinds}", THREADS), (blocks,), measure))
            passes[1].append(Launch(Cuda("optim/lamb.cu", f"apply{kinds}", THREADS), (ceil_div(chunks, each),), apply))
    strided = tuple(k for k in (*range(n, 2 * n), settings) if not _view(call, k).contiguous)
    return Program((*dense.before, *passes[0], *passes[1], *dense.after), tuple(temps), strided)


def _gates(call: Call) -> dict[str, Any]:
    """What may hold a step back: the faults of operations before it, and the flag behind the settings."""
    last = len(call.inputs) - 1
    return {"faults": Errors(every=True), "active": None if call.inputs[last] is None else In(last)}


def _counts(call: Call, dense: Dense, steps: Sequence[int]) -> list[In | Temp]:
    """Pointers to the step counts as integers; those kept as float32 are converted before and back after."""
    floats = [k for k in steps if _view(call, k).dtype is float32]
    if floats:
        dense.temps.append(Workspace(8 * len(floats)))
    whole = len(dense.temps) - 1
    for start in range(0, len(floats), COUNTS):
        part = floats[start : start + COUNTS]
        args = {
            "counts": Table(tuple(_padded(map(In, part), COUNTS, None))),
            "whole": Temp(whole, offset=8 * start),
            "n": I32(len(part)),
        }
        for launches, back in ((dense.before, "false"), (dense.after, "true")):
            kernel = Cuda("optim/counts.cu", f"convert<{back}>", THREADS)
            launches.append(Launch(kernel, (ceil_div(len(part), THREADS),), args))
    return [Temp(whole, offset=8 * floats.index(k)) if k in floats else In(k) for k in steps]


# ---- schedules ----------------------------------------------------------------------------------------------------


def scheduled_rates(call: Call) -> Program:
    """The launch of `scheduled_rates`."""
    settings, rates = _view(call, 0), _view(call, 2)
    args = {
        "settings": In(0),
        "position": In(1),
        "rates": In(2),
        "settings_stride": settings.strides[0],
        "rates_row": rates.strides[0],
        "rates_column": rates.strides[1],
        "steps": rates.shape[0],
        "groups": settings.shape[0],
    }
    return Program((Launch(Cuda("optim/rates.cu", "scheduled_rates", THREADS), (1,), args),))


def update_scale(call: Call) -> Program:
    """The launch of `update_scale`."""
    growth, backoff, interval = call.params
    names = {name: In(k) for k, name in enumerate(("scale", "good", "skipped", "finite"))}
    args = {**names, "growth": F64(growth), "backoff": F64(backoff), "interval": int(interval)}
    return Program((Launch(Cuda("optim/loss_scale.cu", "update_scale", 32), (1,), args),))


# ---- clipping -----------------------------------------------------------------------------------------------------


class Gradients(NamedTuple):
    """All gradients of an operation and what `measure` of clip.cu finds of them, launch by launch."""

    parts: Sequence[tuple[DType, Table, int]]
    """Of each launch the dtype, the segments and the number of their chunks."""
    blocks: Sequence[int]
    """Of each launch of `measure`; each gives a partial."""
    partials: int
    """The workspace of the partials."""

    @property
    def count(self) -> int:
        """How many partials there are."""
        return sum(self.blocks)

    def measured(self, order: int, power: float) -> Iterator[Launch]:
        """The launches that fill the partials."""
        done = 0
        for (dtype, table, _), grid in zip(self.parts, self.blocks, strict=True):
            kernel = Cuda("optim/clip.cu", f"measure<{CTYPES[dtype]}, {order}>", THREADS)
            args = {"table": table, "partials": Temp(self.partials, offset=8 * done), "power": F64(power)}
            yield Launch(kernel, (grid,), args)
            done += grid

    def changed(self, function: str, more: Callable[[bool], dict[str, Any]]) -> Iterator[Launch]:
        """The launches of ``function`` of clip.cu, "scale<{}>" with a place for the dtype, which reads the partials.

        ``more``: its other arguments, for the first launch and for the others.
        """
        for i, (dtype, table, chunks) in enumerate(self.parts):
            args = {"table": table, "partials": Temp(self.partials), "parts": I32(self.count), **more(i == 0)}
            yield Launch(Cuda("optim/clip.cu", function.format(CTYPES[dtype]), THREADS), (PerSM(chunks),), args)


def _gradients(call: Call, n: int, dense: Dense) -> Gradients:
    """The first ``n`` operands, and a workspace for their partials."""
    parts = []
    for dtype, members in _by_dtype(call, n):
        segments = [Segment((dense(k),), _view(call, k).size) for k in members]
        parts += [(dtype, table, chunks) for table, chunks in _tables(segments, CHUNK // dtype.itemsize, CLIPPED)]
    if not parts:  # what is found of nothing is written all the same
        parts = [(float32, *next(_tables([Segment((None,), 0)], 1, CLIPPED)))]
    most = max(PARTIALS // len(parts), 8)
    blocks = [min(chunks, most) for _, _, chunks in parts]
    dense.temps.append(Workspace(8 * sum(blocks)))
    return Gradients(parts, blocks, len(dense.temps) - 1)


def clip_grad_norm(call: Call) -> Program:
    """Launches of `clip_grad_norm`."""
    max_norm, power = call.params
    order = 0 if math.isinf(power) else 1 if power == 2 else 2
    dense, norm = Dense(call, []), call.outputs[0]
    assert norm is not None
    grads = _gradients(call, len(call.inputs), dense)
    item = norm.dtype.itemsize

    def more(first: bool) -> dict[str, Any]:
        numbers = {"power": F64(power), "max_norm": F64(max_norm)}
        return {**numbers, "out": Out(0), "bytes": I32(item if first else 0)}

    launches = (*grads.measured(order, power), *grads.changed(f"scale<{{}}, {order}>", more))
    return Program((*dense.before, *launches, *dense.after), tuple(dense.temps))


def unscale_grads(call: Call) -> Program:
    """Launches of `unscale_grads`."""
    dense, n = Dense(call, []), len(call.inputs) - 1
    grads = _gradients(call, n, dense)

    def more(first: bool) -> dict[str, Any]:
        return {"divisor": In(n), "finite": Out(0) if first else None}

    launches = (*grads.measured(0, math.inf), *grads.changed("unscale<{}>", more))
    return Program((*dense.before, *launches, *dense.after), tuple(dense.temps))


def clip_grad_value(call: Call) -> Program:
    """Launches of `clip_grad_value`."""
    temps: list[Workspace] = []
    dense = Dense(call, temps)
    launches = []
    for dtype, members in _by_dtype(call, len(call.inputs)):
        segments = [Segment((dense(k),), _view(call, k).size) for k in members]
        for table, chunks in _tables(segments, CHUNK // dtype.itemsize, CLIPPED):
            kernel = Cuda("optim/clip.cu", f"bound<{CTYPES[dtype]}>", THREADS)
            launches.append(Launch(kernel, (PerSM(chunks),), {"table": table, "limit": F64(call.params[0])}))
    return Program((*dense.before, *launches, *dense.after), tuple(temps))
