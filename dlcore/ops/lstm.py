"""The long short-term memory, one layer in one direction over a whole sequence, and its gradient.

    i, f, o = sigmoid, g = tanh of gates + h W_hh^T       c' = f c + i g       h' = o tanh(c')

`nn.LSTM` is made of it. Letters: see _recurrent.py; gates stand in the order i, f, g, o.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, ErrorInput, Input, OutputMask, Sample, Spec, Workload
from dlcore.ops._recurrent import (
    check_shape,
    count_of,
    each_step,
    flat,
    lengths_input,
    masked,
    narrowed,
    numpy_masked,
    numpy_sigmoid,
    numpy_steps,
    recurrent,
    stacked,
    start_of,
    weight_gradient,
    wide,
    widened,
)
from dlcore.ops._workloads import bytes_of, on_gpu
from dlcore.ops.activation import sigmoid, tanh
from dlcore.ops.elementwise import add, mul, square, sub
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import concat, transpose
from dlcore.ops.shaping import chunk, select

__all__ = ["lstm_backward", "lstm_forward"]

SMALL = Domain(-0.6, 0.6)
OPEN = Domain(0.05, 0.95)


def _sizes(name: str, w_hh: Spec, w_hr: Spec | None) -> tuple[int, int]:
    """Units and the width of the state; raises where weights do not fit each other."""
    if len(w_hh.shape) != 2 or w_hh.shape[0] % 4:
        raise ShapeError(f"{name}: w_hh has shape {w_hh.shape}, not (4 H, P)")
    units, width = w_hh.shape[0] // 4, w_hh.shape[1]
    if w_hr is None and units != width:
        raise ShapeError(f"{name}: w_hh has shape {w_hh.shape}, not {(4 * units, units)}; another width needs w_hr")
    check_shape(name, "w_hr", w_hr, (width, units), f"w_hh of shape {w_hh.shape}")
    return units, width


def _cost(steps: int, batch: int, units: int, width: int, projects: bool) -> float:
    return count_of(steps * batch, (4 + projects) * units * width, 5 * units)


# ---- forward --------------------------------------------------------------------------------------------------------


@recurrent(
    outputs="y h_n c_n", extras="activated cells", over_time="gates y", over_batch="h0 c0 lengths h_n c_n",
    cast="low", ulp=2,
)  # fmt: skip
def lstm_forward(
    gates: Spec, w_hh: Annotated[Spec, SMALL], h0: Spec | None = None, c0: Spec | None = None,
    lengths: Spec | None = None, w_hr: Annotated[Spec | None, SMALL] = None, reverse: bool = False,
) -> list[Spec]:  # fmt: skip
    """States of an LSTM layer at all steps, and the last state and cell (Hochreiter and Schmidhuber 1997).

    `gates` (T, B, 4 H): the products with the input and all biases; `w_hh` (4 H, P); `h0` (B, P) and `c0` (B, H), zeros
    where absent; `w_hr` (P, H) projects each state (Sak et al. 2014), else P is H. `lengths` (B,), integers from 1 to
    T: a row that has ended keeps its state, and its output is 0. `reverse`: from the last step to the first. Gives
    y (T, B, P), h_n (B, P) and c_n (B, H). States, cells and sums are kept in float32 or wider. Raises ShapeError,
    DTypeError, and ValueError for a length that is none.
    """
    name = "lstm_forward"
    units, width = _sizes(name, w_hh, w_hr)
    if len(gates.shape) != 3 or gates.shape[2] != 4 * units:
        raise ShapeError(f"{name}: gates have shape {gates.shape}, not (T, B, {4 * units}), for w_hh of shape "
                         f"{w_hh.shape}")  # fmt: skip
    steps, batch, _ = gates.shape
    of = f"gates of shape {gates.shape}"
    check_shape(name, "h0", h0, (batch, width), of)
    check_shape(name, "c0", c0, (batch, units), of)
    check_shape(name, "lengths", lengths, (batch,), of)
    dtype, kept = gates.dtype, wide(gates.dtype)
    return [
        Spec((steps, batch, width), dtype), Spec((batch, width), dtype), Spec((batch, units), dtype),
        Spec((steps, batch, 4 * units), kept), Spec((steps, batch, units), kept),
    ]  # fmt: skip


def _walk(gates: Any, w_hh: Any, h0: Any, c0: Any, lengths: Any, w_hr: Any, reverse: bool) -> tuple[Any, ...]:
    """y, h_n, c_n, and what is kept of each step, all widened."""
    (steps, batch, _), units = gates.shape, w_hh.shape[0] // 4
    h, c = start_of(h0, batch, w_hh.shape[1], gates), start_of(c0, batch, units, gates)
    x, w, narrow = widened(gates), transpose(widened(w_hh)), None if w_hr is None else transpose(widened(w_hr))
    y, activated, cells = {}, {}, {}
    for t in each_step(steps, reverse):
        i, f, g, o = chunk(add(select(x, 0, t), matmul(h, w)), 4, 1)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = masked(lengths, t, add(mul(f, c), mul(i, g)), c)
        new = mul(o, tanh(c))
        new = new if narrow is None else matmul(new, narrow)
        h, y[t] = masked(lengths, t, new, h), masked(lengths, t, new, None)
        activated[t], cells[t] = concat([i, f, g, o], 1), c
    return (
        stacked(y, (0, batch, w_hh.shape[1]), x), h, c, stacked(activated, gates.shape, x),
        stacked(cells, (0, batch, units), x),
    )  # fmt: skip


@lstm_forward.composite
def _(gates: Any, w_hh: Any, h0: Any, c0: Any, lengths: Any, w_hr: Any, reverse: bool) -> tuple[Any, ...]:
    found = _walk(gates, w_hh, h0, c0, lengths, w_hr, reverse)
    return tuple(narrowed(x, gates.dtype) for x in found[:3])


@lstm_forward.gradient("gates", "w_hh", "h0", "c0", "w_hr")
def _(
    dy: Any, dh_n: Any, dc_n: Any, gates: Any, w_hh: Any, h0: Any, c0: Any, lengths: Any, w_hr: Any, y: Any,
    activated: Any, cells: Any, reverse: bool, needs_input_grad: Sequence[bool], create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:  # as functions of the operands, for a second gradient to go through
        *_, activated, cells = _walk(gates, w_hh, h0, c0, lengths, w_hr, reverse)
    _, to_weight, to_h0, to_c0, to_w_hr = needs_input_grad
    mask = (True, to_h0, to_c0, to_w_hr)
    dgates, dh0, dc0, dprojected = lstm_backward(
        dy, dh_n, dc_n, w_hh, c0, lengths, w_hr, activated, cells, reverse, mask
    )
    dw_hh = weight_gradient(dgates, y, h0, lengths, reverse) if to_weight else None
    dw_hr = None
    if to_w_hr:
        states = mul(chunk(activated, 4, 2)[3], tanh(cells))
        dw_hr = matmul(transpose(flat(dprojected)), narrowed(flat(states), gates.dtype))
    return dgates, dw_hh, dh0, dc0, dw_hr


@lstm_forward.reference
def _(gates: Any, w_hh: Any, h0: Any, c0: Any, lengths: Any, w_hr: Any, reverse: bool) -> tuple[Any, ...]:
    (steps, batch, _), units = gates.shape, w_hh.shape[0] // 4
    h = np.zeros((batch, w_hh.shape[1])) if h0 is None else h0
    c = np.zeros((batch, units)) if c0 is None else c0
    y = np.zeros((steps, batch, w_hh.shape[1]))
    for t, _ in numpy_steps(steps, reverse):
        i, f, g, o = np.split(gates[t] + h @ w_hh.T, 4, 1)
        c = numpy_masked(lengths, t, numpy_sigmoid(f) * c + numpy_sigmoid(i) * np.tanh(g), c)
        new = numpy_sigmoid(o) * np.tanh(c)
        new = new if w_hr is None else new @ w_hr.T
        y[t], h = numpy_masked(lengths, t, new, 0.0), numpy_masked(lengths, t, new, h)
    return y, h, c


@lstm_forward.magnitude
def _(gates: Any, w_hh: Any, h0: Any, c0: Any, lengths: Any, w_hr: Any, reverse: bool) -> tuple[Any, ...]:
    """Bounds of errors, carried from step to step: slopes are 1 / 4 of sigmoid and 1 of tanh."""
    (steps, batch, _), units = gates.shape, w_hh.shape[0] // 4
    h = np.zeros((batch, w_hh.shape[1])) if h0 is None else np.abs(h0)
    c = np.zeros((batch, units)) if c0 is None else np.abs(c0)
    h_error, c_error, y = np.zeros(h.shape), np.zeros(c.shape), np.zeros((steps, *h.shape))
    for t, _ in numpy_steps(steps, reverse):
        i, f, g, o = np.split(np.abs(gates[t]) + (h + h_error) @ np.abs(w_hh).T, 4, 1)
        new = c_error + (f / 4 + 1) * c + i / 4 + g + 2
        c, c_error = c + 1, numpy_masked(lengths, t, new, c_error)
        out = c_error + o / 4 + 2
        out, size = (out, 1.0) if w_hr is None else ((out + 1) @ np.abs(w_hr).T, np.abs(w_hr).sum(1))
        h, h_error = numpy_masked(lengths, t, size + 0 * h, h), numpy_masked(lengths, t, out, h_error)
        y[t] = numpy_masked(lengths, t, h_error, 0.0)
    return y, h_error + h, c_error + c


@lstm_forward.cost
def _(gates: Spec, w_hh: Spec, h0: Spec | None, c0: Spec | None, w_hr: Spec | None) -> tuple[float, float]:
    (steps, batch, _), (rows, width) = gates.shape, w_hh.shape
    states = Spec((steps + 1, batch, width + rows // 4), gates.dtype)
    return _cost(steps, batch, rows // 4, width, w_hr is not None), bytes_of(gates, w_hh, h0, c0, w_hr, states)


@lstm_forward.samples
def _() -> Iterator[Sample]:
    yield Sample((4, 3, 20), (20, 5), (3, 5), (3, 5), None, None, why="states to begin with")
    yield Sample((3, 8, 68), (68, 17), None, None, None, None, reverse=True, why="backwards, a tile and more")
    lengths = lengths_input(2, 5, 1)
    yield Sample((5, 3, 12), (12, 3), (3, 3), (3, 3), lengths, None, why="lengths")
    yield Sample((5, 3, 12), (12, 3), (3, 3), (3, 3), lengths, None, reverse=True, why="lengths, backwards")
    yield Sample((5, 3, 12), (12, 3), None, None, lengths, None, reverse=True, why="lengths, backwards from zeros")
    yield Sample((4, 2, 28), (28, 3), (2, 3), (2, 7), None, (3, 7), why="projected")
    yield Sample((4, 3, 24), (24, 8), (3, 8), None, lengths_input(4, 1, 3), (8, 6), reverse=True,
                 why="projected, wider, lengths, backwards")  # fmt: skip
    yield Sample((2, 33, 264), (264, 66), (33, 66), None, None, None, grad=False, why="rows of several tiles")
    yield Sample((2, 1, 1200), (1200, 300), (1, 300), None, None, None, grad=False, why="one row, many units")
    yield Sample((3, 8, 1024), (1024, 256), None, None, lengths_input(3, 1, 2, 3, 3, 2, 3, 1), None, grad=False,
                 why="weights beyond a core's cache")  # fmt: skip
    yield Sample(np.zeros((0, 2, 12)), (12, 3), (2, 3), (2, 3), None, None, why="no steps")
    yield Sample(np.zeros((3, 0, 12)), (12, 3), None, None, None, None, why="no rows")


@lstm_forward.error_inputs
def _() -> Iterator[ErrorInput]:
    name, x, w = "lstm_forward", np.zeros((2, 3, 8)), np.zeros((8, 2))
    text = f"{name}: gates have shape (2, 3, 7), not (T, B, 8), for w_hh of shape (8, 2)"
    yield ErrorInput(ShapeError, text, np.zeros((2, 3, 7)), w)
    text = "lstm_forward: gates (2, 3, 8) is of int64; it must be of a floating dtype: gates.float()"
    yield ErrorInput(DTypeError, text, np.zeros((2, 3, 8), np.int64), w)
    text = f"{name}: w_hh has shape (8, 3), not (8, 2); another width needs w_hr"
    yield ErrorInput(ShapeError, text, x, np.zeros((8, 3)))
    yield ErrorInput(ShapeError, f"{name}: w_hh has shape (6, 2), not (4 H, P)", x, np.zeros((6, 2)))
    text = f"{name}: h0 has shape (2, 2), not (3, 2), for gates of shape (2, 3, 8)"
    yield ErrorInput(ShapeError, text, x, w, np.zeros((2, 2)))
    text = f"{name}: c0 has shape (3, 3), not (3, 2), for gates of shape (2, 3, 8)"
    yield ErrorInput(ShapeError, text, x, w, None, np.zeros((3, 3)))
    text = f"{name}: w_hr has shape (3, 3), not (2, 2), for w_hh of shape (8, 2)"
    yield ErrorInput(ShapeError, text, x, w, None, None, None, np.zeros((3, 3)))
    text = f"{name}: lengths[1] is 3, not between 1 and 2 steps"
    yield ErrorInput(ValueError, text, x, w, None, None, lengths_input(2, 3, 1))
    text = f"{name}: lengths[2] is 0, not between 1 and 2 steps"
    yield ErrorInput(ValueError, text, x, w, None, None, lengths_input(2, 1, 0))


@lstm_forward.workloads
def _() -> Iterator[Workload]:
    yield Workload(((64, 64, 512), (512, 128), None, None, None, None), (), "64 steps, batch 64, 128 units", (float32,))
    yield Workload(((64, 1, 512), (512, 128), None, None, None, None), (), "64 steps, one row, 128 units", (float32,))
    yield on_gpu(((256, 128, 2048), (2048, 512), None, None, None, None))


# ---- gradient -------------------------------------------------------------------------------------------------------


@recurrent(
    outputs="dgates dh0 dc0 dprojected", over_time="dy activated cells dgates dprojected",
    over_batch="dh_n dc_n c0 lengths dh0 dc0", kept="activated cells", ulp=16,
)  # fmt: skip
def lstm_backward(
    dy: Spec | None, dh_n: Spec | None, dc_n: Spec | None, w_hh: Annotated[Spec, SMALL], c0: Spec | None,
    lengths: Spec | None, w_hr: Annotated[Spec | None, SMALL], activated: Annotated[Spec, OPEN], cells: Spec,
    reverse: bool = False, mask: OutputMask = (True, True, True, True),
) -> list[Spec | None]:  # fmt: skip
    """Gradients of `lstm_forward` for gates, h0 and c0, and those that arrive at projected states.

    `activated` (T, B, 4 H) and `cells` (T, B, H): what forward kept, each step's gates behind their functions and the
    cells, in float32 or wider. Those of weights are products over all steps of dgates with the states, and of
    dprojected (T, B, P), which there is only with `w_hr`.
    """
    name = "lstm_backward"
    units, width = _sizes(name, w_hh, w_hr)
    if len(cells.shape) != 3 or cells.shape[2] != units:
        raise ShapeError(f"{name}: cells have shape {cells.shape}, not (T, B, {units}), for w_hh of shape {w_hh.shape}")
    (steps, batch, _), of = cells.shape, f"cells of shape {cells.shape}"
    check_shape(name, "activated", activated, (steps, batch, 4 * units), of)
    check_shape(name, "dy", dy, (steps, batch, width), of)
    check_shape(name, "dh_n", dh_n, (batch, width), of)
    check_shape(name, "dc_n", dc_n, (batch, units), of)
    check_shape(name, "c0", c0, (batch, units), of)
    check_shape(name, "lengths", lengths, (batch,), of)
    dtype = w_hh.dtype
    return [
        Spec((steps, batch, 4 * units), dtype), Spec((batch, width), dtype), Spec((batch, units), dtype),
        None if w_hr is None else Spec((steps, batch, width), dtype),
    ]  # fmt: skip


@lstm_backward.composite
def _(
    dy: Any, dh_n: Any, dc_n: Any, w_hh: Any, c0: Any, lengths: Any, w_hr: Any, activated: Any, cells: Any,
    reverse: bool, mask: Sequence[bool],
) -> tuple[Any, ...]:  # fmt: skip
    (steps, batch, units), width = cells.shape, w_hh.shape[1]
    dh, dc = start_of(dh_n, batch, width, cells), start_of(dc_n, batch, units, cells)
    w, narrow, dy, first = widened(w_hh), widened(w_hr), widened(dy), start_of(c0, batch, units, cells)
    dgates, dprojected, order = {}, {}, each_step(steps, reverse)
    for k in reversed(range(steps)):
        t = order[k]
        i, f, g, o = chunk(select(activated, 0, t), 4, 1)
        squashed, before = tanh(select(cells, 0, t)), select(cells, 0, order[k - 1]) if k else first
        arrived = dh if dy is None else add(dh, select(dy, 0, t))
        dprojected[t] = masked(lengths, t, arrived, None)
        dout = arrived if narrow is None else matmul(arrived, narrow)
        dcell = add(dc, mul(mul(dout, o), sub(1.0, square(squashed))))
        parts = (
            mul(mul(dcell, g), mul(i, sub(1.0, i))), mul(mul(dcell, before), mul(f, sub(1.0, f))),
            mul(mul(dcell, i), sub(1.0, square(g))), mul(mul(dout, squashed), mul(o, sub(1.0, o))),
        )  # fmt: skip
        dgates[t] = masked(lengths, t, concat(list(parts), 1), None)
        dh, dc = masked(lengths, t, matmul(dgates[t], w), dh), masked(lengths, t, mul(dcell, f), dc)
    found = [stacked(dgates, activated.shape, cells), dh, dc]
    found.append(None if w_hr is None else stacked(dprojected, (steps, batch, width), cells))
    return tuple(narrowed(x, w_hh.dtype) if wanted else None for x, wanted in zip(found, mask, strict=True))


def _numpy_backward(
    dy: Any, dh_n: Any, dc_n: Any, w_hh: Any, c0: Any, lengths: Any, w_hr: Any, activated: Any, cells: Any,
    reverse: bool, size: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients, or (``size``) what their errors are measured against: the same of absolute values."""
    (steps, batch, units), width = cells.shape, w_hh.shape[1]
    dh = np.zeros((batch, width)) if dh_n is None else dh_n
    dc = np.zeros((batch, units)) if dc_n is None else dc_n
    dgates, dprojected = np.zeros(activated.shape), np.zeros((steps, batch, width))
    for t, before in list(numpy_steps(steps, reverse))[::-1]:
        i, f, g, o = np.split(activated[t], 4, 1)
        squashed, previous = np.tanh(cells[t]), cells[before] if before is not None else c0
        previous = 0.0 if previous is None else np.abs(previous) if size else previous
        arrived = dh + (0.0 if dy is None else dy[t])
        dout = arrived if w_hr is None else arrived @ w_hr
        dcell = dc + dout * o * (1.0 if size else 1 - squashed**2)
        slope = 1.0 if size else 1 - g**2
        g, squashed = (np.abs(g), np.abs(squashed)) if size else (g, squashed)
        parts = [dcell * g * i * (1 - i), dcell * previous * f * (1 - f), dcell * i * slope]
        parts.append(dout * squashed * o * (1 - o))
        dgates[t] = numpy_masked(lengths, t, np.concatenate(parts, 1), 0.0)
        dprojected[t] = numpy_masked(lengths, t, arrived, 0.0)
        dh, dc = numpy_masked(lengths, t, dgates[t] @ w_hh, dh), numpy_masked(lengths, t, dcell * f, dc)
    return dgates, dh, dc, None if w_hr is None else dprojected


@lstm_backward.reference
def _(
    dy: Any, dh_n: Any, dc_n: Any, w_hh: Any, c0: Any, lengths: Any, w_hr: Any, activated: Any, cells: Any,
    reverse: bool,
) -> tuple[Any, ...]:  # fmt: skip
    return _numpy_backward(dy, dh_n, dc_n, w_hh, c0, lengths, w_hr, activated, cells, reverse, False)


@lstm_backward.magnitude
def _(
    dy: Any, dh_n: Any, dc_n: Any, w_hh: Any, c0: Any, lengths: Any, w_hr: Any, activated: Any, cells: Any,
    reverse: bool,
) -> tuple[Any, ...]:  # fmt: skip
    dy, dh_n, dc_n, w_hh, c0, w_hr = (None if x is None else np.abs(x) for x in (dy, dh_n, dc_n, w_hh, c0, w_hr))
    return _numpy_backward(dy, dh_n, dc_n, w_hh, c0, lengths, w_hr, activated, cells, reverse, True)


@lstm_backward.cost
def _(w_hh: Spec, w_hr: Spec | None, activated: Spec, cells: Spec) -> tuple[float, float]:
    (steps, batch, units), width = cells.shape, w_hh.shape[1]
    moved = bytes_of(activated, activated, cells, w_hh, w_hr) + math.prod(cells.shape) * cells.dtype.itemsize
    return _cost(steps, batch, units, width, w_hr is not None), moved


@lstm_backward.samples
def _() -> Iterator[Sample]:
    time, rows = (4, 3, 5), (3, 5)
    yield Sample(time, rows, rows, (20, 5), rows, None, None, (4, 3, 20), time, why="all that arrives")
    yield Sample(time, None, None, (20, 5), None, None, None, (4, 3, 20), time, reverse=True, why="backwards")
    lengths = lengths_input(2, 4, 1)
    yield Sample(time, rows, rows, (20, 5), rows, lengths, None, (4, 3, 20), time, why="lengths")
    yield Sample(time, rows, rows, (20, 5), rows, lengths, None, (4, 3, 20), time, reverse=True,
                 why="lengths, backwards")  # fmt: skip
    yield Sample((4, 3, 2), (3, 2), rows, (20, 2), rows, lengths, (2, 5), (4, 3, 20), time, why="projected")
    yield Sample((4, 3, 2), None, None, (20, 2), None, None, (2, 5), (4, 3, 20), time, mask=(True, False, False, True),
                 why="projected, from zeros")  # fmt: skip
    yield Sample(None, (33, 66), None, (264, 66), None, None, None, (2, 33, 264), (2, 33, 66), grad=False,
                 why="rows of several tiles")  # fmt: skip
    yield Sample((2, 8, 256), None, None, (1024, 256), None, None, None, (2, 8, 1024), (2, 8, 256), grad=False,
                 why="weights beyond a core's cache")  # fmt: skip
    yield Sample(np.zeros((0, 3, 5)), rows, rows, (20, 5), None, None, None, np.zeros((0, 3, 20)), np.zeros((0, 3, 5)),
                 why="no steps")  # fmt: skip


@lstm_backward.error_inputs
def _() -> Iterator[ErrorInput]:
    name, w, cells, kept = "lstm_backward", np.zeros((8, 2)), np.zeros((4, 3, 2)), np.zeros((4, 3, 8))
    text = f"{name}: dy has shape (3, 2), not (4, 3, 2), for cells of shape (4, 3, 2)"
    yield ErrorInput(ShapeError, text, np.zeros((3, 2)), None, None, w, None, None, None, kept, cells)
    text = f"{name}: activated has shape (4, 3, 2), not (4, 3, 8), for cells of shape (4, 3, 2)"
    yield ErrorInput(ShapeError, text, cells, None, None, w, None, None, None, cells, cells)
    text = f"{name}: cells have shape (4, 3, 8), not (T, B, 2), for w_hh of shape (8, 2)"
    yield ErrorInput(ShapeError, text, cells, None, None, w, None, None, None, kept, kept)


@lstm_backward.workloads
def _() -> Iterator[Workload]:
    for (steps, batch, units), why in (((64, 64, 128), "64 steps, batch 64, 128 units"),):
        time, kept = (steps, batch, units), Input((steps, batch, 4 * units), 0.05, 0.95, float32)
        yield Workload(
            (time, None, None, (4 * units, units), None, None, None, kept, Input(time, -1.0, 1.0, float32)),
            (False, (True, False, False, False)), why, (float32,),
        )  # fmt: skip
