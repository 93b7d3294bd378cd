"""Tensors of numbers that depend on shapes alone, on the device of an operand; within recordings, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore import _C
from dlcore._device import default_device
from dlcore.dtypes import int64
from dlcore.ops.creation import ramp
from dlcore.ops.movement import contiguous

__all__ = ["constant", "positions"]


def constant(array: Any, like: Any = None) -> Any:
    """The numbers of a NumPy array as a tensor on the device of ``like`` (None: on the default device).

    A recording keeps them, and every replay copies them, so that what is made from them may be written.
    """
    if _C.is_recording():
        return contiguous(_C.suspended(lambda: constant(array, like)))
    return _C.as_tensor(np.asarray(array), "constant", "x", like)


def positions(count: int, like: Any = None) -> Any:
    """0, 1, ..., count - 1, as int64."""
    made = _C.empty((count,), int64, (default_device() if like is None else like.device).code)
    ramp(made, 0.0, 1.0, count - 1.0)
    return made
