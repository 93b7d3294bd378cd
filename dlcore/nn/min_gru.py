"""MinGRU: a gated recurrent layer without products along time, so that all steps are one scan."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import boolean, integer
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError
from dlcore.nn.layers import Linear
from dlcore.nn.module import Module
from dlcore.op import Spec, check_floating
from dlcore.ops.activation import sigmoid
from dlcore.ops.elementwise import add, mul, where
from dlcore.ops.recurrence import linear_recurrence

__all__ = ["MinGRU"]


class MinGRU(Module):
    """x (B, T, input_size) to all states h (B, T, hidden_size) and the last (B, hidden_size) (Feng et al. 2024).

    h[t] = (1 - z) h[t-1] + z g(y), z = sigmoid(W_z x[t]), y = W_h x[t]: neither looks at h, so that all steps are one
    `dl.linear_recurrence`. ``positive``: g(y) = y + 1/2 where y >= 0, else sigmoid(y), as in the paper's form in log
    space, which keeps every h positive; else g(y) = y. The paper goes to log space because products of many 1 - z
    vanish; the scan here never forms them, so that both forms are stable as they are. ``h0``: the state before the
    first step, (B, hidden_size), default 0.

    ``linear`` holds W_z above W_h, (2 hidden_size, input_size). https://arxiv.org/abs/2410.01201.

    >>> out, last = nn.MinGRU(8, 16)(dl.ones(2, 5, 8))
    >>> out.shape, last.shape
    ((2, 5, 16), (2, 16))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, positive: bool = True, device: Any = None,
        dtype: Any = None,
    ):  # fmt: skip
        self.input_size = integer(input_size, "MinGRU: input_size", 0)
        self.hidden_size = integer(hidden_size, "MinGRU: hidden_size", 0)
        self.positive = boolean(positive, "MinGRU: positive")
        self.linear = Linear(self.input_size, 2 * self.hidden_size, bias, device, dtype)

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.ndim != 3 or x.shape[-1] != self.input_size or x.shape[1] == 0:
            raise ShapeError(f"MinGRU: x has shape {x.shape}, expected (B, T, {self.input_size}) with T of at least 1")
        if h0 is not None and h0.shape != (x.shape[0], self.hidden_size):
            raise ShapeError(f"MinGRU: h0 has shape {h0.shape}, expected {(x.shape[0], self.hidden_size)}")
        check_floating("MinGRU", "x", Spec(x.shape, x.dtype))
        both = self.linear(x)
        gate, y = both[..., : self.hidden_size], both[..., self.hidden_size :]
        value = where(y >= 0, add(y, 0.5), sigmoid(y)) if self.positive else y
        h: Tensor = linear_recurrence(sigmoid(-gate), mul(sigmoid(gate), value), h0, 1)
        return h, h[:, -1]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, positive={self.positive}"
