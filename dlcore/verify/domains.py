"""Where a row's bound holds, for rows that are not meant for every number: what the fuzzer may draw for them.

Each entry says why. No row is left out: its values are mapped into the domain. NaN stays where it is, nearly always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore import testing
from dlcore.dtypes import as_dtype
from dlcore.op import Op

__all__ = ["restricted"]

Change = Callable[[list[Any], tuple[Any, ...]], list[Any]]


def restricted(op: Op, operands: Sequence[Any], attrs: tuple[Any, ...]) -> list[Any]:
    """The operands with their values mapped into the row's domain."""
    change, found = DOMAINS.get(op.name), list(operands)
    if change is None:
        return found
    with np.errstate(all="ignore"):
        changed = change([_wide(x) for x in found], attrs)
    return [_narrow(x, y) for x, y in zip(found, changed, strict=True)]


def _wide(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, np.ndarray) and as_dtype(x.dtype).is_float else x


def _narrow(x: Any, y: Any) -> Any:
    if not isinstance(x, np.ndarray):
        return y
    with np.errstate(all="ignore"):
        return np.asarray(y).reshape(x.shape).astype(x.dtype)


def _between(position: int, low: float, high: float) -> Change:
    """Operand ``position`` clipped."""

    def change(operands: list[Any], attrs: tuple[Any, ...]) -> list[Any]:
        x = operands[position]
        operands[position] = np.clip(x, low, high) if isinstance(x, np.ndarray | float) else x
        return operands

    return change


def _within(limit: float) -> Change:
    """Finite values of all operands no larger than ``limit``."""

    def change(operands: list[Any], attrs: tuple[Any, ...]) -> list[Any]:
        return [
            np.where(np.isfinite(x), np.clip(x, -limit, limit), x)
            if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in operands
        ]  # fmt: skip

    return change


# What a gradient takes from its forward pass is a result of it, and the formulas use that.
_OUTPUTS: dict[str, Change] = {
    "sigmoid_backward": _between(1, 0.0, 1.0),
    "tanh_backward": _between(1, -1.0, 1.0),
    "softmax_backward": _between(1, 0.0, 1.0),
    "log_softmax_backward": _between(1, -np.inf, 0.0),
}

DOMAINS: dict[str, Change] = {**_OUTPUTS}
assert testing
