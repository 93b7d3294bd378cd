"""Functions that say in one word what tensors have as methods or operators, under PyTorch's names."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import axis_of, called, operand
from dlcore.ops.elementwise import div, floor_divide, log, remainder, sub
from dlcore.ops.limits import clip
from dlcore.ops.movement import contiguous
from dlcore.ops.rounding import trunc

__all__ = [
    "clamp_max", "clamp_min", "clone", "detach", "divmod", "frac", "is_floating_point", "logit", "ndim", "numel",
    "shape", "size",
]  # fmt: skip


def clone(x: Any) -> Any:
    """A copy in memory of its own, through which gradients flow.

    >>> dl.clone(dl.tensor([1, 2]))
    tensor([1, 2])
    """
    return contiguous(operand(x, "clone"))


def detach(x: Any) -> Any:
    """The same values in the same memory, without their gradient history.

    >>> dl.detach(dl.ones(2, requires_grad=True)).requires_grad
    False
    """
    return operand(x, "detach").detach()


def numel(x: Any) -> int:
    """Number of elements.

    >>> dl.numel(dl.zeros(2, 3))
    6
    """
    return int(operand(x, "numel").size)


def ndim(x: Any) -> int:
    """Number of axes.

    >>> dl.ndim(dl.zeros(2, 3))
    2
    """
    return int(operand(x, "ndim").ndim)


def shape(x: Any) -> tuple[int, ...]:
    """Lengths of the axes.

    >>> dl.shape(dl.zeros(2, 3))
    (2, 3)
    """
    found: tuple[int, ...] = operand(x, "shape").shape
    return found


def size(x: Any, axis: int | None = None) -> int:
    """Number of elements, or the length of ``axis``.

    >>> dl.size(dl.zeros(2, 3))
    6
    """
    x = operand(x, "size")
    return int(x.size if axis is None else x.shape[axis_of(axis, "size: axis", x.shape)])


def divmod(a: Any, b: Any) -> tuple[Any, Any]:
    """(a // b, a % b), element by element.

    >>> dl.divmod(dl.tensor([7, -7]), 2)
    (tensor([ 3, -4]), tensor([1, 1]))
    """
    return called("divmod", floor_divide, a, b), called("divmod", remainder, a, b)


def is_floating_point(x: Any) -> bool:
    """Whether the dtype is a floating-point one.

    >>> dl.is_floating_point(dl.arange(3))
    False
    """
    return bool(operand(x, "is_floating_point").dtype.is_float)


def clamp_min(x: Any, min: Any) -> Any:
    """x where it is at least ``min``, else that: ``clip(x, min)``.

    >>> dl.clamp_min(dl.tensor([-1.0, 2.0]), 0)
    tensor([0., 2.])
    """
    return called("clamp_min", clip, x, min)


def clamp_max(x: Any, max: Any) -> Any:
    """x where it is at most ``max``, else that: ``clip(x, None, max)``.

    >>> dl.clamp_max(dl.tensor([-1.0, 2.0]), 0)
    tensor([-1.,  0.])
    """
    return called("clamp_max", clip, x, None, max)


def frac(x: Any) -> Any:
    """What lies behind the point, with the sign of x: x - trunc(x).

    >>> dl.frac(dl.tensor([1.5, -0.25]))
    tensor([ 0.5 , -0.25])
    """
    return called("frac", sub, x, called("frac", trunc, x))


def logit(x: Any, eps: float | None = None) -> Any:
    """The inverse of `sigmoid`, log(x / (1 - x)); of x limited to [eps, 1 - eps] where ``eps`` is given.

    >>> dl.logit(dl.tensor([0.5, 1.0]))
    tensor([ 0., inf])
    """
    x = operand(x, "logit")
    p = x if eps is None else called("logit", clip, x, eps, 1 - eps)
    return called("logit", log, div(p, sub(1, p)))
