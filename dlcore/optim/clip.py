"""Clipping gradients by their norm or by value."""

from __future__ import annotations

from collections.abc import Iterable

from dlcore._arguments import instance, listed, number
from dlcore._autograd import no_grad
from dlcore._tensor import Tensor, zeros
from dlcore.ops.training import clip_grad_norm, clip_grad_value

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """The norm of all gradients together; they are scaled in place so that it becomes at most ``max_norm``.

    Each gradient is multiplied by min(1, max_norm / (norm + 1e-6)); the norm is computed in float64. norm_type: the
    order of the norm; ``float("inf")`` gives the largest element. Parameters without a gradient are skipped, and
    one that is given twice counts once. A norm that is not finite makes the gradients NaN or 0, as in PyTorch.
    """
    largest, order = number(max_norm, "clip_grad_norm_: max_norm"), number(norm_type, "clip_grad_norm_: norm_type")
    if not largest >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm is {largest}; it must be a number of at least 0")
    if not order > 0:
        raise ValueError(f"clip_grad_norm_: norm_type is {order}; it must be a number above 0")
    grads = _gradients(parameters, "clip_grad_norm_")
    with no_grad():
        return clip_grad_norm(grads, largest, order) if grads else zeros(())


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Bring each element of the gradients into [-clip_value, clip_value], in place, in one launch.

    Parameters without a gradient are skipped. NaN stays.
    """
    limit = number(clip_value, "clip_grad_value_: clip_value")
    if not limit >= 0:
        raise ValueError(f"clip_grad_value_: clip_value is {limit}; it must be a number of at least 0")
    grads = _gradients(parameters, "clip_grad_value_")
    if grads:
        with no_grad():
            clip_grad_value(grads, limit)


def _gradients(parameters: Iterable[Tensor] | Tensor, name: str) -> list[Tensor]:
    """The gradients that there are, each once; ``name``: of the function that was given the parameters."""
    given = [parameters] if isinstance(parameters, Tensor) else listed(parameters, f"{name}: parameters", "parameters")
    for i, p in enumerate(given):
        instance(p, Tensor, f"{name}: parameter {i}", "a tensor")
    return list({id(p.grad): p.grad for p in given if p.grad is not None}.values())
