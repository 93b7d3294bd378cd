"""Clipping gradients by their norm."""

from __future__ import annotations

from collections.abc import Iterable

from dlcore._autograd import no_grad
from dlcore._tensor import Tensor, zeros
from dlcore.ops.optim import clip_grad_norm

__all__ = ["clip_grad_norm_"]


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """The norm of all gradients together; they are scaled in place so that it becomes at most ``max_norm``.

    Each gradient is multiplied by min(1, max_norm / (norm + 1e-6)); the norm is computed in float64. norm_type: the
    order of the norm; ``float("inf")`` gives the largest element. Parameters without a gradient are skipped.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm is {max_norm}; it must be a number of at least 0")
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [p.grad for p in given if p.grad is not None]
    with no_grad():
        return clip_grad_norm(grads, float(max_norm), float(norm_type)) if grads else zeros(())
