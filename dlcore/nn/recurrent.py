"""Recurrent layers, LSTM, GRU and RNN, and their cells, with PyTorch's arguments, shapes and names of parameters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from dlcore._arguments import boolean, choice, integer, number, operand
from dlcore._tensor import Parameter, Tensor, empty
from dlcore.dtypes import as_dtype
from dlcore.errors import ShapeError
from dlcore.nn import init
from dlcore.nn.module import Module
from dlcore.nn.utils.rnn import PackedSequence
from dlcore.op import Spec, check_floating
from dlcore.ops.elementwise import add
from dlcore.ops.gru import gru_forward
from dlcore.ops.lstm import lstm_forward
from dlcore.ops.matmul import linear
from dlcore.ops.movement import concat, contiguous, squeeze, stack, unsqueeze
from dlcore.ops.rnn import rnn_forward
from dlcore.ops.shaping import select, swapaxes
from dlcore.random import dropout as drop

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

State = tuple[Any, ...]


class _Recurrence(Module):
    """What layers and cells share: how parameters are made and start, and what one direction of a layer computes."""

    gates: ClassVar[int]
    states: ClassVar[tuple[str, ...]] = ("h_0",)
    nonlinearity: str

    def _make(self, inputs: int, width: int, suffix: str, device: Any, dtype: Any) -> None:
        """The parameters of one direction of a layer, in PyTorch's order."""
        units = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (units, inputs), "weight_hh": (units, width)}
        if self.bias:
            shapes |= {"bias_ih": (units,), "bias_hh": (units,)}
        if width != self.hidden_size:
            shapes["weight_hr"] = (width, self.hidden_size)
        for key, shape in shapes.items():
            setattr(self, f"{key}{suffix}", Parameter(empty(shape, dtype=dtype, device=device)))

    def _settle(self, input_size: int, hidden_size: int, bias: bool) -> None:
        name = type(self).__name__
        self.input_size = integer(input_size, f"{name}: input_size", 1)
        self.hidden_size = integer(hidden_size, f"{name}: hidden_size", 1)
        self.bias = boolean(bias, f"{name}: bias")

    def reset_parameters(self) -> None:
        """Draw all parameters anew: uniform in +-1/sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _run(self, x: Any, suffix: str, states: Sequence[Any], lengths: Any, reverse: bool) -> tuple[Any, State]:
        """Outputs of one direction of a layer for ``x`` (T, B, F), and its last states."""
        raise NotImplementedError(f"{type(self).__name__}: _run is not written")

    def _projected(self, x: Any, suffix: str) -> Any:
        """The products of all gates with the input, with both biases."""
        bias = add(getattr(self, f"bias_ih{suffix}"), getattr(self, f"bias_hh{suffix}")) if self.bias else None
        return linear(x, getattr(self, f"weight_ih{suffix}"), bias)


class _OfLSTM(_Recurrence):
    gates = 4
    states = ("h_0", "c_0")

    def _run(self, x: Any, suffix: str, states: Sequence[Any], lengths: Any, reverse: bool) -> tuple[Any, State]:
        w_hr = getattr(self, f"weight_hr{suffix}", None)
        y, h, c = lstm_forward(
            self._projected(x, suffix), getattr(self, f"weight_hh{suffix}"), *states, lengths, w_hr, reverse
        )
        return y, (h, c)


class _OfGRU(_Recurrence):
    gates = 3

    def _run(self, x: Any, suffix: str, states: Sequence[Any], lengths: Any, reverse: bool) -> tuple[Any, State]:
        b_ih, b_hh = (getattr(self, f"{key}{suffix}") if self.bias else None for key in ("bias_ih", "bias_hh"))
        gates = linear(x, getattr(self, f"weight_ih{suffix}"), b_ih)
        y, h = gru_forward(gates, getattr(self, f"weight_hh{suffix}"), b_hh, *states, lengths, reverse)
        return y, (h,)


class _OfRNN(_Recurrence):
    gates = 1

    def _run(self, x: Any, suffix: str, states: Sequence[Any], lengths: Any, reverse: bool) -> tuple[Any, State]:
        gates, w_hh = self._projected(x, suffix), getattr(self, f"weight_hh{suffix}")
        y, h = rnn_forward(gates, w_hh, *states, lengths, self.nonlinearity, reverse)
        return y, (h,)


# ---- layers ---------------------------------------------------------------------------------------------------------


class _Layers(_Recurrence):
    """Layers one above the other, each in one direction or in both."""

    def _settle_layers(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float,
        bidirectional: bool, proj_size: int, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self._settle(input_size, hidden_size, bias)
        self.num_layers = integer(num_layers, f"{name}: num_layers", 1)
        self.batch_first = boolean(batch_first, f"{name}: batch_first")
        self.dropout = number(dropout, f"{name}: dropout")
        self.bidirectional = boolean(bidirectional, f"{name}: bidirectional")
        self.proj_size = integer(proj_size, f"{name}: proj_size", 0)
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"{name}: dropout is a probability, not {self.dropout}")
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"{name}: proj_size {self.proj_size} is not less than hidden_size {self.hidden_size}")
        if self.dropout and self.num_layers == 1:
            warnings.warn(f"{name}: dropout is applied between layers, and there is one", stacklevel=3)
        chosen = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        width = self.proj_size or self.hidden_size
        for layer in range(self.num_layers):
            inputs = width * (1 + self.bidirectional) if layer else self.input_size
            for suffix in self._suffixes(layer):
                self._make(inputs, width, suffix, device, chosen)
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        """The ends of the names of a layer's parameters, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        names = [[f"{kind}{suffix}" for kind in kinds] for k in range(self.num_layers) for suffix in self._suffixes(k)]
        return [[getattr(self, name) for name in group if hasattr(self, name)] for group in names]

    def flatten_parameters(self) -> None:
        """Nothing: parameters may lie anywhere. Code that was written for PyTorch calls it."""

    def _checked(self, x: Any, batched: bool) -> None:
        name = type(self).__name__
        if x.ndim not in (2, 3):
            raise ShapeError(f"{name}: input has shape {x.shape}; it has 3 axes, or 2 for one sequence")
        if x.shape[-1] != self.input_size:
            raise ShapeError(f"{name}: input of shape {x.shape} has {x.shape[-1]} features, input_size is "
                             f"{self.input_size}")  # fmt: skip
        if x.shape[1 if self.batch_first and batched else 0] == 0:
            raise ShapeError(f"{name}: input of shape {x.shape} has no steps")
        check_floating(name, "input", Spec(x.shape, x.dtype))

    def _starts(self, hx: Any, batch: int, batched: bool) -> list[list[Any]]:
        """The states that each layer and direction starts with; raises for other shapes."""
        name, count = type(self).__name__, self.num_layers * (1 + self.bidirectional)
        if hx is None:
            return [[None] * len(self.states)] * count
        given = hx if isinstance(hx, tuple | list) else (hx,)
        if len(given) != len(self.states):
            raise TypeError(f"{name}: hx holds {len(given)} tensors, not {len(self.states)}: {', '.join(self.states)}")
        found = []
        for what, state in zip(self.states, given, strict=True):
            state = operand(state, name, what)
            width = self.hidden_size if what == "c_0" else self.proj_size or self.hidden_size
            wanted = (count, batch, width) if batched else (count, width)
            if state.shape != wanted:
                raise ShapeError(f"{name}: {what} has shape {state.shape}, not {wanted}")
            found.append(state if batched else unsqueeze(state, 1))
        return [[select(state, 0, k) for state in found] for k in range(count)]

    def _through(self, x: Any, starts: list[list[Any]], lengths: Any) -> tuple[Any, list[State]]:
        """All layers, of ``x`` (T, B, F)."""
        ends: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = drop(x, self.dropout)
            outputs = []
            for reverse, suffix in enumerate(self._suffixes(layer)):
                y, end = self._run(x, suffix, starts[len(ends)], lengths, bool(reverse))
                outputs.append(y)
                ends.append(end)
            x = concat(outputs, 2) if len(outputs) > 1 else outputs[0]
        return x, ends

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        packed = isinstance(input, PackedSequence)
        x = input.padded if packed else operand(input, type(self).__name__, "input")
        batched, first = x.ndim == 3, self.batch_first and x.ndim == 3 and not packed
        self._checked(x, batched and not packed)
        if first:
            x = contiguous(swapaxes(x, 0, 1))
        elif not batched:
            x = unsqueeze(x, 1)
        lengths = input.lengths if packed else None
        y, ends = self._through(x, self._starts(hx, x.shape[1], batched), lengths)
        last = tuple(stack([end[k] for end in ends]) for k in range(len(self.states)))
        if not batched:
            y, last = squeeze(y, 1), tuple(squeeze(state, 1) for state in last)
        y = input.like(y) if packed else swapaxes(y, 0, 1) if first else y
        return y, last if len(last) > 1 else last[0]

    def extra_repr(self) -> str:
        return ", ".join(self._described())

    def _described(self) -> Iterator[str]:
        yield f"{self.input_size}, {self.hidden_size}"
        others = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
                  "bidirectional": False}  # fmt: skip
        for key, usual in others.items():
            if getattr(self, key) != usual:
                yield f"{key}={getattr(self, key)}"


class LSTM(_OfLSTM, _Layers):
    """Layers of long short-term memory (Hochreiter and Schmidhuber 1997): ``output, (h_n, c_n) = lstm(input, hx)``.

    With i, f, o = sigmoid and g = tanh of W_ih x + b_ih + W_hh h + b_hh:  c' = f c + i g,  h' = o tanh(c').

    ``input`` (T, B, input_size), (B, T, input_size) with ``batch_first``, (T, input_size) for one sequence, or a
    `PackedSequence`; ``hx``: (h_0, c_0), zeros where it is None, of shapes (D num_layers, B, P) and (D num_layers, B,
    hidden_size), D 2 with ``bidirectional`` and else 1. ``output`` (T, B, D P) holds the states of the last layer, h_n
    and c_n the last ones of all. P is hidden_size, or ``proj_size`` where that is given (Sak et al. 2014).
    ``dropout``: between layers, in training. Parameters start uniform in +-1/sqrt(hidden_size).

    >>> output, (h_n, c_n) = nn.LSTM(8, 16, num_layers=2)(dl.ones(5, 3, 8))
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 3, 16), (2, 3, 16), (2, 3, 16))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self._settle_layers(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )


class GRU(_OfGRU, _Layers):
    """Layers of gated recurrent units (Cho et al. 2014): ``output, h_n = gru(input, h_0)``.

    With r, z = sigmoid of W_ih x + b_ih + W_hh h + b_hh and n = tanh(W_in x + b_in + r (W_hn h + b_hn)):
    h' = (1 - z) n + z h. Shapes and arguments are those of `LSTM`, without a cell and projections.

    >>> output, h_n = nn.GRU(8, 16, bidirectional=True)(dl.ones(5, 3, 8))
    >>> output.shape, h_n.shape
    ((5, 3, 32), (2, 3, 16))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self._settle_layers(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class RNN(_OfRNN, _Layers):
    """Layers of a plain recurrent network (Elman 1990): ``output, h_n = rnn(input, h_0)``.

    h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or with ``nonlinearity="relu"`` its rectifier. Shapes and arguments are
    those of `LSTM`, without a cell and projections.

    >>> output, h_n = nn.RNN(8, 16, batch_first=True)(dl.ones(3, 5, 8))
    >>> output.shape, h_n.shape
    ((3, 5, 16), (1, 3, 16))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None,
    ):  # fmt: skip
        self.nonlinearity = choice(nonlinearity, ("tanh", "relu"), "RNN: nonlinearity")
        self._settle_layers(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


# ---- cells ----------------------------------------------------------------------------------------------------------


class _Cell(_Recurrence):
    """One step of one layer."""

    def _settle_cell(self, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any) -> None:
        self._settle(input_size, hidden_size, bias)
        name = type(self).__name__
        chosen = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        self._make(self.input_size, self.hidden_size, "", device, chosen)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        name = type(self).__name__
        x = operand(input, name, "input")
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(f"{name}: input has shape {x.shape}, not (B, {self.input_size}) or ({self.input_size},)")
        check_floating(name, "input", Spec(x.shape, x.dtype))
        batched = x.ndim == 2
        x = x if batched else unsqueeze(x, 0)
        given: Sequence[Any] = [None] * len(self.states)
        if hx is not None:
            given = hx if isinstance(hx, tuple | list) else (hx,)
        if len(given) != len(self.states):
            raise TypeError(f"{name}: hx holds {len(given)} tensors, not {len(self.states)}: {', '.join(self.states)}")
        wanted = (x.shape[0], self.hidden_size) if batched else (self.hidden_size,)
        states = []
        for what, state in zip(self.states, given, strict=True):
            state = None if state is None else operand(state, name, what)
            if state is not None and state.shape != wanted:
                raise ShapeError(f"{name}: {what} has shape {state.shape}, not {wanted}")
            states.append(state if batched or state is None else unsqueeze(state, 0))
        _, ends = self._run(unsqueeze(x, 0), "", states, None, False)
        ends = ends if batched else tuple(squeeze(end, 0) for end in ends)
        return ends if len(ends) > 1 else ends[0]

    def extra_repr(self) -> str:
        more = "" if self.bias else ", bias=False"
        relu = getattr(self, "nonlinearity", "tanh") != "tanh"
        return f"{self.input_size}, {self.hidden_size}{more}{', nonlinearity=relu' if relu else ''}"


class LSTMCell(_OfLSTM, _Cell):
    """One step of an `LSTM` layer: ``h, c = cell(input, (h, c))``, of ``input`` (B, input_size) or (input_size,).

    >>> h, c = nn.LSTMCell(8, 16)(dl.ones(3, 8))
    >>> h.shape, c.shape
    ((3, 16), (3, 16))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        self._settle_cell(input_size, hidden_size, bias, device, dtype)


class GRUCell(_OfGRU, _Cell):
    """One step of a `GRU` layer: ``h = cell(input, h)``, of ``input`` (B, input_size) or (input_size,).

    >>> nn.GRUCell(8, 16)(dl.ones(3, 8)).shape
    (3, 16)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        self._settle_cell(input_size, hidden_size, bias, device, dtype)


class RNNCell(_OfRNN, _Cell):
    """One step of an `RNN` layer: ``h = cell(input, h)``, of ``input`` (B, input_size) or (input_size,).

    >>> nn.RNNCell(8, 16, nonlinearity="relu")(dl.ones(3, 8)).shape
    (3, 16)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ):  # fmt: skip
        self.nonlinearity = choice(nonlinearity, ("tanh", "relu"), "RNNCell: nonlinearity")
        self._settle_cell(input_size, hidden_size, bias, device, dtype)
