"""Where the channels of images are in the module that is running: within `channels_last` they are the last axis."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dlcore._tensor import Tensor
from dlcore.ops.movement import permute

__all__ = ["each", "outside", "place", "to_first", "to_last"]


class Place(threading.local):
    """Whether the module that is running gets its images with the channels last."""

    last = False


place = Place()


def outside(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, which gets and gives images (N, C, H, W) wherever it is called, as from outside of `channels_last`."""

    def called(*args: Any, **kwargs: Any) -> Any:
        if not place.last:
            return call(*args, **kwargs)
        place.last = False
        try:
            return each(to_last, call(*each(to_first, args), **each(to_first, kwargs)))
        finally:
            place.last = True

    return called


def each(turn: Callable[[Tensor], Any], value: Any) -> Any:
    """``value`` with the tensors in it, and in its tuples, lists and dicts, turned."""
    if isinstance(value, Tensor):
        return turn(value)
    if type(value) in (tuple, list):
        return type(value)(each(turn, part) for part in value)
    return {key: each(turn, part) for key, part in value.items()} if type(value) is dict else value


def to_last(x: Tensor) -> Any:
    """(N, C, H, W) -> (N, H, W, C), a view; what has fewer than 3 axes has no channels beside space."""
    return permute(x, (0, *range(2, x.ndim), 1)) if x.ndim > 2 else x


def to_first(x: Tensor) -> Any:
    """(N, H, W, C) -> (N, C, H, W), a view."""
    return permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1))) if x.ndim > 2 else x
