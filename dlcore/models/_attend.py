"""Causal attention made of other operations, until there is a kernel."""

from __future__ import annotations

import math
from typing import Any

from dlcore import nn
from dlcore._operations import le, matmul, permute, softmax, take, where
from dlcore._tensor import Parameter, arange, empty


def attend(q: Any, k: Any, v: Any, dropout_p: float, positions: Any = None) -> Any:
    """q (B, H, T, D), k, v (B, Hk, Tk, D) -> (B, H, T, D)"""
    b, h, t, d = q.shape
    hk, tk = k.shape[1], k.shape[2]
    g = h // hk
    q = q.reshape(b, hk, g * t, d)
    scores = matmul(q, permute(k, (0, 1, 3, 2))) * (1 / math.sqrt(d))
    scores = scores.reshape(b, hk, g, t, tk)
    at = arange(t, device=q.device) if positions is None else positions
    seen = le(arange(tk, device=q.device), at.reshape(t, 1))
    p = softmax(where(seen, scores, float("-inf")), -1)
    p = nn.functional.dropout(p, dropout_p)
    return matmul(p.reshape(b, hk, g * t, tk), v).reshape(b, h, t, d)


class Embedding(nn.Module):
    """Rows of a table."""

    def __init__(self, rows: int, width: int):
        self.weight = Parameter(empty((rows, width)))

    def forward(self, tokens: Any) -> Any:
        """(...) -> (..., width)"""
        return take(self.weight, tokens)
