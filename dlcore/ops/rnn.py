"""The plain recurrent network, one layer in one direction over a whole sequence, and its gradient.

    h' = tanh or relu of gates + h W_hh^T

`nn.RNN` is made of it (Elman 1990). Letters: see _recurrent.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

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
    numpy_steps,
    recurrent,
    stacked,
    start_of,
    weight_gradient,
    widened,
)
from dlcore.ops._workloads import bytes_of, on_gpu
from dlcore.ops.activation import relu, tanh
from dlcore.ops.elementwise import add, gt, mul, square, sub, where
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import transpose
from dlcore.ops.shaping import select

__all__ = ["rnn_backward", "rnn_forward"]

SMALL = Domain(-0.6, 0.6)
Nonlinearity = Literal["tanh", "relu"]


def _units(name: str, w_hh: Spec) -> int:
    """How many units; raises for a weight that is none."""
    if len(w_hh.shape) != 2 or w_hh.shape[0] != w_hh.shape[1]:
        raise ShapeError(f"{name}: w_hh has shape {w_hh.shape}, not (H, H)")
    return w_hh.shape[1]


# ---- forward --------------------------------------------------------------------------------------------------------


@recurrent(
    outputs="y h_n", over_time="gates y", over_batch="h0 lengths h_n", cast="low", ulp=2,
)  # fmt: skip
def rnn_forward(
    gates: Spec, w_hh: Annotated[Spec, SMALL], h0: Spec | None = None, lengths: Spec | None = None,
    nonlinearity: Nonlinearity = "tanh", reverse: bool = False,
) -> list[Spec]:  # fmt: skip
    """States of a plain recurrent layer at all steps, and the last one.

    `gates` (T, B, H): the products with the input and all biases; `w_hh` (H, H); `h0` (B, H), zeros where absent.
    `lengths` (B,), integers from 1 to T: a row that has ended keeps its state, and its output is 0. `reverse`: from the
    last step to the first. Gives y (T, B, H) and h_n (B, H). States and sums are kept in float32 or wider. Raises
    ShapeError, DTypeError, and ValueError for a length that is none.
    """
    name = "rnn_forward"
    units = _units(name, w_hh)
    if len(gates.shape) != 3 or gates.shape[2] != units:
        raise ShapeError(f"{name}: gates have shape {gates.shape}, not (T, B, {units}), for w_hh of shape {w_hh.shape}")
    (_, batch, _), of = gates.shape, f"gates of shape {gates.shape}"
    check_shape(name, "h0", h0, (batch, units), of)
    check_shape(name, "lengths", lengths, (batch,), of)
    return [Spec(gates.shape, gates.dtype), Spec((batch, units), gates.dtype)]


@rnn_forward.composite
def _(gates: Any, w_hh: Any, h0: Any, lengths: Any, nonlinearity: str, reverse: bool) -> tuple[Any, ...]:
    steps, batch, units = gates.shape
    h, x, w, y = start_of(h0, batch, units, gates), widened(gates), transpose(widened(w_hh)), {}
    function = relu if nonlinearity == "relu" else tanh
    for t in each_step(steps, reverse):
        new = function(add(select(x, 0, t), matmul(h, w)))
        h, y[t] = masked(lengths, t, new, h), masked(lengths, t, new, None)
    return narrowed(stacked(y, gates.shape, x), gates.dtype), narrowed(h, gates.dtype)


@rnn_forward.gradient("gates", "w_hh", "h0")
def _(
    dy: Any, dh_n: Any, w_hh: Any, h0: Any, lengths: Any, y: Any, nonlinearity: str, reverse: bool,
    needs_input_grad: Sequence[bool],
) -> Any:  # fmt: skip
    mask = (True, needs_input_grad[2])
    dgates, dh0 = rnn_backward(dy, dh_n, w_hh, lengths, y, nonlinearity, reverse, mask)
    return dgates, weight_gradient(dgates, y, h0, lengths, reverse) if needs_input_grad[1] else None, dh0


@rnn_forward.reference
def _(gates: Any, w_hh: Any, h0: Any, lengths: Any, nonlinearity: str, reverse: bool) -> tuple[Any, ...]:
    h, y = np.zeros(gates.shape[1:]) if h0 is None else h0, np.zeros(gates.shape)
    for t, _ in numpy_steps(len(gates), reverse):
        new = gates[t] + h @ w_hh.T
        new = np.where(new <= 0, 0.0, new) if nonlinearity == "relu" else np.tanh(new)
        y[t], h = numpy_masked(lengths, t, new, 0.0), numpy_masked(lengths, t, new, h)
    return y, h


@rnn_forward.magnitude
def _(gates: Any, w_hh: Any, h0: Any, lengths: Any, nonlinearity: str, reverse: bool) -> tuple[Any, ...]:
    """Bounds of errors, carried from step to step."""
    h = np.zeros(gates.shape[1:]) if h0 is None else np.abs(h0)
    error, y = np.zeros(h.shape), np.zeros(gates.shape)
    for t, _ in numpy_steps(len(gates), reverse):
        pre = np.abs(gates[t]) + h @ np.abs(w_hh).T
        new = pre + error @ np.abs(w_hh).T + 1
        h, error = pre if nonlinearity == "relu" else np.maximum(h, 1.0), numpy_masked(lengths, t, new, error)
        y[t] = numpy_masked(lengths, t, error, 0.0)
    return y, error + h


@rnn_forward.cost
def _(gates: Spec, w_hh: Spec, h0: Spec | None) -> tuple[float, float]:
    steps, batch, units = gates.shape
    return count_of(steps * batch, units * units, units), bytes_of(gates, gates, w_hh, h0)


@rnn_forward.samples
def _() -> Iterator[Sample]:
    lengths = lengths_input(2, 5, 1)
    yield Sample((4, 3, 5), (5, 5), (3, 5), None, why="a state to begin with")
    yield Sample((4, 17, 37), (37, 37), None, None, reverse=True, why="backwards, a tile and more")
    yield Sample((5, 3, 3), (3, 3), (3, 3), lengths, why="lengths")
    yield Sample((5, 3, 3), (3, 3), (3, 3), lengths, reverse=True, why="lengths, backwards")
    yield Sample((4, 3, 5), (5, 5), (3, 5), None, nonlinearity="relu", why="relu")
    yield Sample((2, 33, 66), (66, 66), (33, 66), None, grad=False, why="rows of several tiles")
    yield Sample((2, 1, 600), (600, 600), (1, 600), None, grad=False, why="one row, many units")
    yield Sample(np.zeros((0, 2, 3)), (3, 3), (2, 3), None, why="no steps")
    yield Sample(np.zeros((3, 0, 3)), (3, 3), None, None, why="no rows")


@rnn_forward.error_inputs
def _() -> Iterator[ErrorInput]:
    name, x, w = "rnn_forward", np.zeros((2, 3, 2)), np.zeros((2, 2))
    text = f"{name}: gates have shape (2, 3, 7), not (T, B, 2), for w_hh of shape (2, 2)"
    yield ErrorInput(ShapeError, text, np.zeros((2, 3, 7)), w)
    yield ErrorInput(ShapeError, f"{name}: w_hh has shape (6, 3), not (H, H)", x, np.zeros((6, 3)))
    text = f"{name}: h0 has shape (2, 2), not (3, 2), for gates of shape (2, 3, 2)"
    yield ErrorInput(ShapeError, text, x, w, np.zeros((2, 2)))
    text = f"{name}: lengths[0] is 4, not between 1 and 2 steps"
    yield ErrorInput(ValueError, text, x, w, None, lengths_input(4, 1, 1))


@rnn_forward.workloads
def _() -> Iterator[Workload]:
    yield Workload(((64, 64, 128), (128, 128), None, None), (), "64 steps, batch 64, 128 units", (float32,))
    yield Workload(((64, 1, 128), (128, 128), None, None), (), "64 steps, one row, 128 units", (float32,))
    yield on_gpu(((256, 128, 512), (512, 512), None, None))


# ---- gradient -------------------------------------------------------------------------------------------------------


@recurrent(outputs="dgates dh0", over_time="dy y dgates", over_batch="dh_n lengths dh0", ulp=16)
def rnn_backward(
    dy: Spec | None, dh_n: Spec | None, w_hh: Annotated[Spec, SMALL], lengths: Spec | None,
    y: Annotated[Spec, Domain(gap=0.1)], nonlinearity: Nonlinearity = "tanh", reverse: bool = False,
    mask: OutputMask = (True, True),
) -> list[Spec]:  # fmt: skip
    """Gradients of `rnn_forward` for gates and h0, from its result `y`.

    That of the weight is the product over all steps of dgates with the states.
    """
    name = "rnn_backward"
    units = _units(name, w_hh)
    if len(y.shape) != 3 or y.shape[2] != units:
        raise ShapeError(f"{name}: y has shape {y.shape}, not (T, B, {units}), for w_hh of shape {w_hh.shape}")
    (_, batch, _), of = y.shape, f"y of shape {y.shape}"
    check_shape(name, "dy", dy, y.shape, of)
    check_shape(name, "dh_n", dh_n, (batch, units), of)
    check_shape(name, "lengths", lengths, (batch,), of)
    return [Spec(y.shape, w_hh.dtype), Spec((batch, units), w_hh.dtype)]


@rnn_backward.composite
def _(
    dy: Any, dh_n: Any, w_hh: Any, lengths: Any, y: Any, nonlinearity: str, reverse: bool, mask: Sequence[bool]
) -> tuple[Any, ...]:  # fmt: skip
    steps, batch, units = y.shape
    dh, w, dy, states, dgates = start_of(dh_n, batch, units, y), widened(w_hh), widened(dy), widened(y), {}
    for t in reversed(each_step(steps, reverse)):
        dout, out = dh if dy is None else add(dh, select(dy, 0, t)), select(states, 0, t)
        dpre = where(gt(out, 0), dout, 0.0) if nonlinearity == "relu" else mul(dout, sub(1.0, square(out)))
        dgates[t] = masked(lengths, t, dpre, None)
        dh = masked(lengths, t, matmul(dpre, w), dh)
    found = stacked(dgates, y.shape, states), dh
    return tuple(narrowed(x, w_hh.dtype) if wanted else None for x, wanted in zip(found, mask, strict=True))


def _numpy_backward(
    dy: Any, dh_n: Any, w_hh: Any, lengths: Any, y: Any, slopes: Any, reverse: bool
) -> tuple[Any, ...]:  # fmt: skip
    dh, dgates = np.zeros(y.shape[1:]) if dh_n is None else dh_n, np.zeros(y.shape)
    for t, _ in list(numpy_steps(len(y), reverse))[::-1]:
        dgates[t] = numpy_masked(lengths, t, (dh + (0.0 if dy is None else dy[t])) * slopes[t], 0.0)
        dh = numpy_masked(lengths, t, dgates[t] @ w_hh, dh)
    return dgates, dh


@rnn_backward.reference
def _(
    dy: Any, dh_n: Any, w_hh: Any, lengths: Any, y: Any, nonlinearity: str, reverse: bool
) -> tuple[Any, ...]:  # fmt: skip
    slopes = (y > 0) * 1.0 if nonlinearity == "relu" else 1 - y * y
    return _numpy_backward(dy, dh_n, w_hh, lengths, y, slopes, reverse)


@rnn_backward.magnitude
def _(
    dy: Any, dh_n: Any, w_hh: Any, lengths: Any, y: Any, nonlinearity: str, reverse: bool
) -> tuple[Any, ...]:  # fmt: skip
    dy, dh_n = (None if x is None else np.abs(x) for x in (dy, dh_n))
    return _numpy_backward(dy, dh_n, np.abs(w_hh), lengths, y, 1 + y * y, reverse)


@rnn_backward.cost
def _(w_hh: Spec, y: Spec) -> tuple[float, float]:
    steps, batch, units = y.shape
    return count_of(steps * batch, units * units, units), bytes_of(y, y, y, w_hh)


@rnn_backward.samples
def _() -> Iterator[Sample]:
    time, rows, lengths = (4, 3, 5), (3, 5), lengths_input(2, 4, 1)
    yield Sample(time, rows, (5, 5), None, time, why="all that arrives")
    yield Sample(time, None, (5, 5), None, time, reverse=True, why="backwards")
    yield Sample(time, rows, (5, 5), lengths, time, why="lengths")
    yield Sample(time, rows, (5, 5), lengths, time, reverse=True, nonlinearity="relu", why="lengths, backwards, relu")
    yield Sample(None, rows, (5, 5), None, time, mask=(True, False), why="the last state alone")
    yield Sample((2, 33, 66), None, (66, 66), None, Input((2, 33, 66), -1.0, 1.0), grad=False,
                 why="rows of several tiles")  # fmt: skip
    yield Sample(np.zeros((0, 3, 5)), rows, (5, 5), None, np.zeros((0, 3, 5)), why="no steps")


@rnn_backward.error_inputs
def _() -> Iterator[ErrorInput]:
    name, w, y = "rnn_backward", np.zeros((2, 2)), np.zeros((4, 3, 2))
    text = f"{name}: dy has shape (3, 2), not (4, 3, 2), for y of shape (4, 3, 2)"
    yield ErrorInput(ShapeError, text, np.zeros((3, 2)), None, w, None, y)
    text = f"{name}: y has shape (3, 2), not (T, B, 2), for w_hh of shape (2, 2)"
    yield ErrorInput(ShapeError, text, None, None, w, None, np.zeros((3, 2)))


@rnn_backward.workloads
def _() -> Iterator[Workload]:
    time = Input((64, 64, 128), -1.0, 1.0)
    operands = (time, None, (128, 128), None, time)
    yield Workload(operands, ("tanh", False, (True, False)), "64 steps, batch 64, 128 units", (float32,))
