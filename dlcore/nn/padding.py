"""Layers that make signals, images and volumes larger at their borders, and Unflatten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dlcore._arguments import integer, integers, number, shown
from dlcore._operations import pad, unflatten
from dlcore._spelling import spelled
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError
from dlcore.nn.module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "Unflatten", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip

Ints = int | Sequence[int]


def without_negative(x: Any, around: Sequence[Sequence[int]], name: str) -> tuple[Any, list[tuple[int, int]]]:
    """``x`` without what negative padding takes from it, and the padding that remains."""
    kept = []
    for n, (before, after) in zip(x.shape, around, strict=True):
        first, last = max(-before, 0), n - max(-after, 0)
        if first > last:
            raise ShapeError(f"{name}: padding {(before, after)} takes more away than x {x.shape} has")
        kept.append(slice(first, last))
    return x[tuple(kept)], [(max(before, 0), max(after, 0)) for before, after in around]


class _Pad(Module):
    """(N, C, \\*spatial) or (C, \\*spatial), with more elements around the spatial axes."""

    axes: ClassVar[int]
    mode: ClassVar[str] = "constant"
    value: float = 0.0
    layout: str = "NCHW"

    def __init__(self, padding: Ints):
        name = type(self).__name__
        found = integers(padding, f"{name}: padding")
        self.padding = found * (2 * self.axes) if len(found) == 1 else found
        if len(self.padding) != 2 * self.axes:
            raise ValueError(
                f"{name}: padding {shown(padding)} is not one number, nor (before, after) for each of {self.axes} axes"
            )
        if self.mode != "constant":
            for n in self.padding:
                integer(n, f"{name}: padding", 0)

    def forward(self, x: Tensor) -> Any:
        if not self.axes < x.ndim <= self.axes + 2:
            raise ShapeError(f"{type(self).__name__}: x {x.shape} has {x.ndim} axes, not {self.axes + 2}")
        pairs = [self.padding[k : k + 2] for k in range(2 * self.axes - 2, -1, -2)]
        at = x.ndim - self.axes - (self.layout == "NHWC")
        around: Sequence[Sequence[int]] = [(0, 0)] * at + pairs + [(0, 0)] * (x.ndim - at - self.axes)
        if min(self.padding) < 0:
            x, around = without_negative(x, around, type(self).__name__)
        return pad(x, list(around), self.mode, constant_values=self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Pad):
    """Zeros around the last axis: ``padding`` is one number, or (before, after)."""

    axes = 1


class ZeroPad2d(_Pad):
    """Zeros around images: ``padding`` is one number, or (left, right, top, bottom); negative ones take away.

    >>> nn.ZeroPad2d((1, 1, 2, 0))(dl.ones(1, 1, 3, 3)).shape
    (1, 1, 5, 5)
    """

    axes = 2


class ZeroPad3d(_Pad):
    """Zeros around volumes: ``padding`` is one number, or (left, right, top, bottom, front, back)."""

    axes = 3


class _Constant(_Pad):
    def __init__(self, padding: Ints, value: float):
        super().__init__(padding)
        self.value = number(value, f"{type(self).__name__}: value")

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_Constant):
    """``value`` around the last axis: ``padding`` is one number, or (before, after)."""

    axes = 1


class ConstantPad2d(_Constant):
    """``value`` around images: ``padding`` is one number, or (left, right, top, bottom).

    >>> nn.ConstantPad2d((1, 0, 0, 0), 9.0)(dl.ones(1, 1, 1, 2)).tolist()
    [[[[9.0, 1.0, 1.0]]]]
    """

    axes = 2


class ConstantPad3d(_Constant):
    """``value`` around volumes: ``padding`` is one number, or (left, right, top, bottom, front, back)."""

    axes = 3


class ReflectionPad1d(_Pad):
    """The signal mirrored at its outermost elements: ``padding`` is one number, or (before, after).

    >>> nn.ReflectionPad1d(2)(dl.tensor([[1, 2, 3]])).tolist()
    [[3, 2, 1, 2, 3, 2, 1]]
    """

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The image mirrored at its outermost elements: ``padding`` is one number, or (left, right, top, bottom)."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The volume mirrored at its outermost elements: ``padding`` is one number, or six (`ZeroPad3d`)."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The outermost elements again: ``padding`` is one number, or (before, after).

    >>> nn.ReplicationPad1d(2)(dl.tensor([[1, 2, 3]])).tolist()
    [[1, 1, 1, 2, 3, 3, 3]]
    """

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The outermost elements again: ``padding`` is one number, or (left, right, top, bottom)."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The outermost elements again: ``padding`` is one number, or six (`ZeroPad3d`)."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """What comes from the other end: ``padding`` is one number, or (before, after).

    >>> nn.CircularPad1d((2, 1))(dl.tensor([[1, 2, 3]])).tolist()
    [[2, 3, 1, 2, 3, 1]]
    """

    axes, mode = 1, "circular"


class CircularPad2d(_Pad):
    """What comes from the other side: ``padding`` is one number, or (left, right, top, bottom)."""

    axes, mode = 2, "circular"


class CircularPad3d(_Pad):
    """What comes from the other side: ``padding`` is one number, or six (`ZeroPad3d`)."""

    axes, mode = 3, "circular"


class Unflatten(Module):
    """Axis ``dim`` made several, of the lengths ``unflattened_size``, of which one may be -1: the reverse of Flatten.

    >>> nn.Unflatten(1, (1, 28))(dl.zeros(5, 28, 28)).shape
    (5, 1, 28, 28)
    """

    @spelled
    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        self.dim = integer(dim, "Unflatten: dim")
        self.unflattened_size = integers(unflattened_size, "Unflatten: unflattened_size")
        if not self.unflattened_size or min(self.unflattened_size) < -1 or self.unflattened_size.count(-1) > 1:
            raise ValueError(
                f"Unflatten: unflattened_size {shown(unflattened_size)} is no list of lengths, of which one may be -1"
            )

    def forward(self, x: Tensor) -> Any:
        return unflatten(x, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
