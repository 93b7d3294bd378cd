"""The gated recurrent unit, one layer in one direction over a whole sequence, and its gradient.

    r, z = sigmoid of gates + h W_hh^T + b_hh       n = tanh(its gate + r hn), hn = h W_hn^T + b_hn
    h' = n + z (h - n)

`nn.GRU` is made of it. Letters: see _recurrent.py; gates stand in the order r, z, n. The bias of the state is not part
of the gates, for r multiplies that of n.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import float32
from dlcore.errors import ShapeError
from dlcore.op import Domain, ErrorInput, Input, OutputMask, Sample, Spec, Workload
from dlcore.ops._recurrent import (
    check_shape,
    count_of,
    each_step,
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
from dlcore.ops.reduce import sum
from dlcore.ops.shaping import chunk, part, select

__all__ = ["gru_backward", "gru_forward"]

SMALL = Domain(-0.6, 0.6)
OPEN = Domain(0.05, 0.95)


def _units(name: str, w_hh: Spec) -> int:
    """How many units; raises for a weight that is none."""
    if len(w_hh.shape) != 2 or w_hh.shape[0] != 3 * w_hh.shape[1]:
        raise ShapeError(f"{name}: w_hh has shape {w_hh.shape}, not (3 H, H)")
    return w_hh.shape[1]


# ---- forward --------------------------------------------------------------------------------------------------------


@recurrent(
    outputs="y h_n", extras="activated", over_time="gates y", over_batch="h0 lengths h_n", cast="low", ulp=2,
)  # fmt: skip
def gru_forward(
    gates: Spec, w_hh: Annotated[Spec, SMALL], b_hh: Spec | None = None, h0: Spec | None = None,
    lengths: Spec | None = None, reverse: bool = False,
) -> list[Spec]:  # fmt: skip
    """States of a GRU layer at all steps, and the last one (Cho et al. 2014, with r behind the product of n).

    `gates` (T, B, 3 H): the products with the input and their bias; `w_hh` (3 H, H), `b_hh` (3 H,) and `h0` (B, H),
    zeros where absent. `lengths` (B,), integers from 1 to T: a row that has ended keeps its state, and its output is 0.
    `reverse`: from the last step to the first. Gives y (T, B, H) and h_n (B, H). States and sums are kept in float32 or
    wider. Raises ShapeError, DTypeError, and ValueError for a length that is none.
    """
    name = "gru_forward"
    units = _units(name, w_hh)
    if len(gates.shape) != 3 or gates.shape[2] != 3 * units:
        raise ShapeError(f"{name}: gates have shape {gates.shape}, not (T, B, {3 * units}), for w_hh of shape "
                         f"{w_hh.shape}")  # fmt: skip
    (steps, batch, _), of = gates.shape, f"gates of shape {gates.shape}"
    check_shape(name, "b_hh", b_hh, (3 * units,), f"w_hh of shape {w_hh.shape}")
    check_shape(name, "h0", h0, (batch, units), of)
    check_shape(name, "lengths", lengths, (batch,), of)
    return [
        Spec((steps, batch, units), gates.dtype), Spec((batch, units), gates.dtype),
        Spec((steps, batch, 4 * units), wide(gates.dtype)),
    ]  # fmt: skip


def _walk(gates: Any, w_hh: Any, b_hh: Any, h0: Any, lengths: Any, reverse: bool) -> tuple[Any, ...]:
    """y, h_n, and what is kept of each step, all widened."""
    (steps, batch, _), units = gates.shape, w_hh.shape[1]
    h, x, w, bias = start_of(h0, batch, units, gates), widened(gates), transpose(widened(w_hh)), widened(b_hh)
    y, activated = {}, {}
    for t in each_step(steps, reverse):
        hidden = matmul(h, w)
        hr, hz, hn = chunk(hidden if bias is None else add(hidden, bias), 3, 1)
        xr, xz, xn = chunk(select(x, 0, t), 3, 1)
        r, z = sigmoid(add(xr, hr)), sigmoid(add(xz, hz))
        n = tanh(add(xn, mul(r, hn)))
        new = add(n, mul(z, sub(h, n)))
        h, y[t] = masked(lengths, t, new, h), masked(lengths, t, new, None)
        activated[t] = concat([r, z, n, hn], 1)
    return stacked(y, (0, batch, units), x), h, stacked(activated, (0, batch, 4 * units), x)


@gru_forward.composite
def _(gates: Any, w_hh: Any, b_hh: Any, h0: Any, lengths: Any, reverse: bool) -> tuple[Any, ...]:
    found = _walk(gates, w_hh, b_hh, h0, lengths, reverse)
    return tuple(narrowed(x, gates.dtype) for x in found[:2])


@gru_forward.gradient("gates", "w_hh", "b_hh", "h0")
def _(
    dy: Any, dh_n: Any, gates: Any, w_hh: Any, b_hh: Any, h0: Any, lengths: Any, y: Any, activated: Any, reverse: bool,
    needs_input_grad: Sequence[bool], create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:  # as a function of the operands, for a second gradient to go through
        *_, activated = _walk(gates, w_hh, b_hh, h0, lengths, reverse)
    _, to_weight, to_bias, to_h0 = needs_input_grad
    mask = (True, to_h0, True)
    dgates, dh0, dhidden = gru_backward(dy, dh_n, w_hh, h0, lengths, y, activated, reverse, mask)
    both = [part(dgates, 2, 0, 2 * y.shape[2]), dhidden]  # of the state's side
    dw_hh = concat([weight_gradient(d, y, h0, lengths, reverse) for d in both]) if to_weight else None
    return dgates, dw_hh, concat([sum(d, (0, 1)) for d in both]) if to_bias else None, dh0


@gru_forward.reference
def _(gates: Any, w_hh: Any, b_hh: Any, h0: Any, lengths: Any, reverse: bool) -> tuple[Any, ...]:
    (steps, batch, _), units = gates.shape, w_hh.shape[1]
    h, y = np.zeros((batch, units)) if h0 is None else h0, np.zeros((steps, batch, units))
    for t, _ in numpy_steps(steps, reverse):
        hr, hz, hn = np.split(h @ w_hh.T + (0.0 if b_hh is None else b_hh), 3, 1)
        xr, xz, xn = np.split(gates[t], 3, 1)
        z, n = numpy_sigmoid(xz + hz), np.tanh(xn + numpy_sigmoid(xr + hr) * hn)
        new = (1 - z) * n + z * h
        y[t], h = numpy_masked(lengths, t, new, 0.0), numpy_masked(lengths, t, new, h)
    return y, h


@gru_forward.magnitude
def _(gates: Any, w_hh: Any, b_hh: Any, h0: Any, lengths: Any, reverse: bool) -> tuple[Any, ...]:
    """Bounds of errors, carried from step to step: slopes are 1 / 4 of sigmoid and 1 of tanh."""
    (steps, batch, _), units = gates.shape, w_hh.shape[1]
    h = np.zeros((batch, units)) if h0 is None else np.abs(h0)
    error, y = np.zeros(h.shape), np.zeros((steps, batch, units))
    for t, _ in numpy_steps(steps, reverse):
        hr, hz, hn = np.split((h + error) @ np.abs(w_hh).T + (0.0 if b_hh is None else np.abs(b_hh)), 3, 1)
        xr, xz, xn = np.split(np.abs(gates[t]), 3, 1)
        new = (xz + hz + 4) * (h + 1) / 4 + xn + hn * (2 + (xr + hr) / 4) + error + 2
        h, error = np.maximum(h, 1.0), numpy_masked(lengths, t, new, error)
        y[t] = numpy_masked(lengths, t, error, 0.0)
    return y, error + h


@gru_forward.cost
def _(gates: Spec, w_hh: Spec, b_hh: Spec | None, h0: Spec | None) -> tuple[float, float]:
    (steps, batch, _), units = gates.shape, w_hh.shape[1]
    states = Spec((steps + 1, batch, units), gates.dtype)
    return count_of(steps * batch, 3 * units * units, 3 * units), bytes_of(gates, w_hh, b_hh, h0, states)


@gru_forward.samples
def _() -> Iterator[Sample]:
    yield Sample((4, 3, 15), (15, 5), (15,), (3, 5), None, why="a state to begin with")
    yield Sample((3, 11, 51), (51, 17), None, None, None, reverse=True, why="backwards, a tile and more")
    lengths = lengths_input(2, 5, 1)
    yield Sample((5, 3, 9), (9, 3), (9,), (3, 3), lengths, why="lengths")
    yield Sample((5, 3, 9), (9, 3), (9,), (3, 3), lengths, reverse=True, why="lengths, backwards")
    yield Sample((5, 3, 9), (9, 3), (9,), None, lengths, reverse=True, why="lengths, backwards from zeros")
    yield Sample((2, 33, 198), (198, 66), (198,), (33, 66), None, grad=False, why="rows of several tiles")
    yield Sample((2, 1, 900), (900, 300), (900,), (1, 300), None, grad=False, why="one row, many units")
    yield Sample(np.zeros((0, 2, 9)), (9, 3), (9,), (2, 3), None, why="no steps")
    yield Sample(np.zeros((3, 0, 9)), (9, 3), None, None, None, why="no rows")


@gru_forward.error_inputs
def _() -> Iterator[ErrorInput]:
    name, x, w = "gru_forward", np.zeros((2, 3, 6)), np.zeros((6, 2))
    text = f"{name}: gates have shape (2, 3, 7), not (T, B, 6), for w_hh of shape (6, 2)"
    yield ErrorInput(ShapeError, text, np.zeros((2, 3, 7)), w)
    yield ErrorInput(ShapeError, f"{name}: w_hh has shape (6, 3), not (3 H, H)", x, np.zeros((6, 3)))
    text = f"{name}: b_hh has shape (2,), not (6,), for w_hh of shape (6, 2)"
    yield ErrorInput(ShapeError, text, x, w, np.zeros(2))
    text = f"{name}: h0 has shape (2, 2), not (3, 2), for gates of shape (2, 3, 6)"
    yield ErrorInput(ShapeError, text, x, w, None, np.zeros((2, 2)))
    text = f"{name}: lengths has shape (2,), not (3,), for gates of shape (2, 3, 6)"
    yield ErrorInput(ShapeError, text, x, w, None, None, lengths_input(1, 1))
    text = f"{name}: lengths[1] is -3, not between 1 and 2 steps"
    yield ErrorInput(ValueError, text, x, w, None, None, lengths_input(2, -3, 1))


@gru_forward.workloads
def _() -> Iterator[Workload]:
    yield Workload(((64, 64, 384), (384, 128), (384,), None, None), (), "64 steps, batch 64, 128 units", (float32,))
    yield Workload(((64, 1, 384), (384, 128), (384,), None, None), (), "64 steps, one row, 128 units", (float32,))
    yield on_gpu(((256, 128, 1536), (1536, 512), (1536,), None, None))


# ---- gradient -------------------------------------------------------------------------------------------------------


@recurrent(
    outputs="dgates dh0 dhidden", over_time="dy y activated dgates dhidden", over_batch="dh_n h0 lengths dh0",
    kept="activated", ulp=16,
)  # fmt: skip
def gru_backward(
    dy: Spec | None, dh_n: Spec | None, w_hh: Annotated[Spec, SMALL], h0: Spec | None, lengths: Spec | None, y: Spec,
    activated: Annotated[Spec, OPEN], reverse: bool = False, mask: OutputMask = (True, True, True),
) -> list[Spec]:  # fmt: skip
    """Gradients of `gru_forward` for gates and h0, and the part for n of those of h W_hh^T + b_hh (T, B, H).

    `y`: what forward gave; `activated` (T, B, 4 H): r, z, n and hn of each step, in float32 or wider. The gradients of
    weight and bias are products and sums over all steps: with the parts of dgates for r and z, and with dhidden.
    """
    name = "gru_backward"
    units = _units(name, w_hh)
    if len(y.shape) != 3 or y.shape[2] != units:
        raise ShapeError(f"{name}: y has shape {y.shape}, not (T, B, {units}), for w_hh of shape {w_hh.shape}")
    (steps, batch, _), of = y.shape, f"y of shape {y.shape}"
    check_shape(name, "activated", activated, (steps, batch, 4 * units), of)
    check_shape(name, "dy", dy, y.shape, of)
    check_shape(name, "dh_n", dh_n, (batch, units), of)
    check_shape(name, "h0", h0, (batch, units), of)
    check_shape(name, "lengths", lengths, (batch,), of)
    shapes = (steps, batch, 3 * units), (batch, units), y.shape
    return [Spec(shape, w_hh.dtype) for shape in shapes]


@gru_backward.composite
def _(
    dy: Any, dh_n: Any, w_hh: Any, h0: Any, lengths: Any, y: Any, activated: Any, reverse: bool, mask: Sequence[bool]
) -> tuple[Any, ...]:  # fmt: skip
    steps, batch, units = y.shape
    dh, w, first = start_of(dh_n, batch, units, y), widened(w_hh), start_of(h0, batch, units, y)
    dy, states, dgates, dhidden, order = widened(dy), widened(y), {}, {}, each_step(steps, reverse)
    for k in reversed(range(steps)):
        t = order[k]
        r, z, n, hn = chunk(select(activated, 0, t), 4, 1)
        before = masked(lengths, order[k - 1], select(states, 0, order[k - 1]), first) if k else first
        dout = dh if dy is None else add(dh, select(dy, 0, t))
        dn = mul(mul(dout, sub(1.0, z)), sub(1.0, square(n)))
        dr = mul(mul(dn, hn), mul(r, sub(1.0, r)))
        dz = mul(mul(dout, sub(before, n)), mul(z, sub(1.0, z)))
        dhidden[t] = masked(lengths, t, mul(dn, r), None)
        dgates[t] = masked(lengths, t, concat([dr, dz, dn], 1), None)
        back = matmul(concat([part(dgates[t], 1, 0, 2 * units), dhidden[t]], 1), w)
        dh = masked(lengths, t, add(mul(dout, z), back), dh)
    found = stacked(dgates, (steps, batch, 3 * units), activated), dh, stacked(dhidden, y.shape, activated)
    return tuple(narrowed(x, w_hh.dtype) if wanted else None for x, wanted in zip(found, mask, strict=True))


def _numpy_backward(
    dy: Any, dh_n: Any, w_hh: Any, h0: Any, lengths: Any, y: Any, activated: Any, reverse: bool, size: bool
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients, or (``size``) what their errors are measured against: the same of absolute values."""
    steps, batch, units = y.shape
    dh, start = np.zeros((batch, units)) if dh_n is None else dh_n, np.zeros((batch, units)) if h0 is None else h0
    dgates, dhidden = np.zeros((steps, batch, 3 * units)), np.zeros(y.shape)
    for t, before in list(numpy_steps(steps, reverse))[::-1]:
        r, z, n, hn = np.split(activated[t], 4, 1)
        h = start if before is None else numpy_masked(lengths, before, y[before], start)
        dout = dh + (0.0 if dy is None else dy[t])
        dn = dout * (1 - z) * (1.0 if size else 1 - n**2)
        dr = dn * (np.abs(hn) if size else hn) * r * (1 - r)
        dz = dout * (np.abs(h) + np.abs(n) if size else h - n) * z * (1 - z)
        dgates[t] = numpy_masked(lengths, t, np.concatenate([dr, dz, dn], 1), 0.0)
        dhidden[t] = numpy_masked(lengths, t, dn * r, 0.0)
        back = dgates[t, :, : 2 * units] @ w_hh[: 2 * units] + dhidden[t] @ w_hh[2 * units :]
        dh = numpy_masked(lengths, t, dout * z + back, dh)
    return dgates, dh, dhidden


@gru_backward.reference
def _(dy: Any, dh_n: Any, w_hh: Any, h0: Any, lengths: Any, y: Any, activated: Any, reverse: bool) -> tuple[Any, ...]:
    return _numpy_backward(dy, dh_n, w_hh, h0, lengths, y, activated, reverse, False)


@gru_backward.magnitude
def _(dy: Any, dh_n: Any, w_hh: Any, h0: Any, lengths: Any, y: Any, activated: Any, reverse: bool) -> tuple[Any, ...]:
    dy, dh_n, w_hh, h0 = (None if x is None else np.abs(x) for x in (dy, dh_n, w_hh, h0))
    return _numpy_backward(dy, dh_n, w_hh, h0, lengths, y, activated, reverse, True)


@gru_backward.cost
def _(w_hh: Spec, y: Spec, activated: Spec) -> tuple[float, float]:
    (steps, batch, units), item = y.shape, y.dtype.itemsize
    moved = bytes_of(activated, y, w_hh) + 5.0 * math.prod(y.shape) * item
    return count_of(steps * batch, 3 * units * units, 3 * units), moved


@gru_backward.samples
def _() -> Iterator[Sample]:
    time, rows, kept, lengths = (4, 3, 5), (3, 5), (4, 3, 20), lengths_input(2, 4, 1)
    yield Sample(time, rows, (15, 5), rows, None, time, kept, why="all that arrives")
    yield Sample(time, None, (15, 5), None, None, time, kept, reverse=True, why="backwards")
    yield Sample(time, rows, (15, 5), rows, lengths, time, kept, why="lengths")
    yield Sample(time, rows, (15, 5), rows, lengths, time, kept, reverse=True, why="lengths, backwards")
    yield Sample(None, rows, (15, 5), None, None, time, kept, mask=(True, False, True), why="the last state alone")
    yield Sample((2, 33, 66), None, (198, 66), None, None, (2, 33, 66), (2, 33, 264), grad=False,
                 why="rows of several tiles")  # fmt: skip
    yield Sample(np.zeros((0, 3, 5)), rows, (15, 5), None, None, np.zeros((0, 3, 5)), np.zeros((0, 3, 20)),
                 why="no steps")  # fmt: skip


@gru_backward.error_inputs
def _() -> Iterator[ErrorInput]:
    name, w, y, kept = "gru_backward", np.zeros((6, 2)), np.zeros((4, 3, 2)), np.zeros((4, 3, 8))
    text = f"{name}: dy has shape (3, 2), not (4, 3, 2), for y of shape (4, 3, 2)"
    yield ErrorInput(ShapeError, text, np.zeros((3, 2)), None, w, None, None, y, kept)
    text = f"{name}: activated has shape (4, 3, 2), not (4, 3, 8), for y of shape (4, 3, 2)"
    yield ErrorInput(ShapeError, text, y, None, w, None, None, y, y)


@gru_backward.workloads
def _() -> Iterator[Workload]:
    time, kept = (64, 64, 128), Input((64, 64, 512), 0.05, 0.95, float32)
    operands = (time, None, (384, 128), None, None, time, kept)
    yield Workload(operands, (False, (True, False, True)), "64 steps, batch 64, 128 units", (float32,))
