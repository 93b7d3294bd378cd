"""Augmentation: what is done to training batches alone, at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore._arguments import shown
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError

__all__ = ["augmented"]


def augmented(
    steps: tuple[Callable[..., Any], ...], x: Tensor, rest: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The inputs ``x`` and the other parts of a batch after ``steps``.

    A step takes and gives the inputs; one whose attribute ``targets`` is true takes and gives (inputs, targets).
    """
    for step in steps:
        if getattr(step, "targets", False):
            if not rest:
                raise ShapeError(f"augment: {shown(step)} changes targets, and the data has none")
            made = step(x, rest[-1])
            if not (isinstance(made, tuple) and len(made) == 2 and all(isinstance(part, Tensor) for part in made)):
                raise TypeError(f"augment: {shown(step)} must return (inputs, targets), two tensors, not {shown(made)}")
            x, rest = made[0], (*rest[:-1], made[1])
        else:
            made = step(x)
            if not isinstance(made, Tensor):
                raise TypeError(f"augment: {shown(step)} must return a tensor for a batch, not {shown(made)}")
            x = made
    return x, rest
