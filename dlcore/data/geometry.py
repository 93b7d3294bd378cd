"""Augmentation that turns, moves, scales and shears images: each by an affine map of its own, sampled bilinearly."""

from __future__ import annotations

import math
from typing import Any

from dlcore import random
from dlcore._arguments import choice, number, shown
from dlcore._tensor import Tensor
from dlcore.data.augment import check_floats, interval
from dlcore.ops.elementwise import cos, mul, sin
from dlcore.ops.movement import reshape, stack
from dlcore.ops.sampling import affine_grid, grid_sample

__all__ = ["RandomAffine", "RandomRotation"]


class RandomAffine:
    """Images turned, moved, scaled and sheared, each by numbers of its own: (N, H, W) or (N, C, H, W), of floats.

    degrees: by which images are turned counterclockwise about their middle: (least, most), or one number for -d to d.
    translate: the largest part of (height, width) by which they are moved, or one number for both. scale: (least,
    most). shear: degrees by which columns lean, as ``degrees``. mode: "bilinear" or "nearest"; padding_mode: what lies
    beyond the image, as of `grid_sample`.
    """

    def __init__(
        self, degrees: Any = 0.0, translate: Any = None, scale: Any = None, shear: Any = None, mode: str = "bilinear",
        padding_mode: str = "zeros",
    ):  # fmt: skip
        name = type(self).__name__
        self.degrees = _around_zero(degrees, f"{name}: degrees")
        self.translate = _parts(translate, f"{name}: translate")
        self.scale = None if scale is None else interval(scale, f"{name}: scale", 0.0)
        if self.scale is not None and self.scale[0] == 0:
            raise ValueError(f"{name}: scale {shown(scale)} is not positive")
        self.shear = None if shear is None else _around_zero(shear, f"{name}: shear")
        if self.shear is not None and max(map(abs, self.shear)) >= 90:
            raise ValueError(f"{name}: shear {shown(shear)} is not below 90 degrees")
        self.mode = choice(mode, ("bilinear", "nearest"), f"{name}: mode")
        self.padding_mode = choice(padding_mode, ("zeros", "border", "reflection"), f"{name}: padding_mode")

    def __call__(self, x: Tensor) -> Tensor:
        """The images, each by a map of its own."""
        check_floats(x, type(self).__name__)
        images = x if x.ndim == 4 else reshape(x, (x.shape[0], 1, *x.shape[1:]))
        grid = affine_grid(self._maps(x), images.shape)
        grid = grid if grid.dtype is x.dtype else grid.astype(x.dtype)
        return reshape(grid_sample(images, grid, self.mode, self.padding_mode), x.shape)

    def _maps(self, x: Tensor) -> Tensor:
        """From places of the result to those of ``x``, (N, 2, 3): moved back, turned back, sheared and scaled back."""
        n, (height, width) = x.shape[0], x.shape[-2:]

        def drawn(bounds: tuple[float, float]) -> Tensor:
            return random.uniform((n,), *bounds, device=x.device)

        angle = mul(drawn(self.degrees), math.pi / 180)
        c, s = cos(angle), sin(angle)
        a, b, d, e = c, -s, s, c
        if self.shear is not None:  # x + y tan(shear) undone after the turn
            angle = mul(drawn(self.shear), math.pi / 180)
            lean = sin(angle) / cos(angle)
            a, b = a - lean * d, b - lean * e
        if self.scale is not None:
            back = 1.0 / drawn(self.scale)
            a, b, d, e = (part * back for part in (a, b, d, e))
        b, d = b * (height / width), d * (width / height)
        rows = [[a, b, 0.0 * a], [d, e, 0.0 * a]]
        if self.translate is not None:
            down, right = (2.0 * drawn((-part, part)) for part in self.translate)
            for row in rows:
                row[2] = -(row[0] * right + row[1] * down)
        return stack([stack(row, 1) for row in rows], 1)

    def __repr__(self) -> str:
        given = [f"{name}={getattr(self, name)}" for name in ("translate", "scale", "shear")
                 if getattr(self, name) is not None]  # fmt: skip
        return f"{type(self).__name__}({', '.join([f'degrees={self.degrees}', *given])})"


class RandomRotation(RandomAffine):
    """Images turned about their middle, each by degrees of its own: (N, H, W) or (N, C, H, W), of floats.

    degrees: counterclockwise, (least, most), or one number for -d to d. mode, padding_mode: as of `RandomAffine`.
    """

    def __init__(self, degrees: Any, mode: str = "bilinear", padding_mode: str = "zeros"):
        super().__init__(degrees, mode=mode, padding_mode=padding_mode)


def _around_zero(value: Any, where: str) -> tuple[float, float]:
    """A pair, or from -value to value."""
    if isinstance(value, list | tuple):
        return interval(value, where)
    most = number(value, where)
    if not 0 <= most < math.inf:
        raise ValueError(f"{where} is {most}; it must not be negative")
    return -most, most


def _parts(value: Any, where: str) -> tuple[float, float] | None:
    """Parts of height and width."""
    if value is None:
        return None
    pair = [number(v, where) for v in value] if isinstance(value, list | tuple) else [number(value, where)] * 2
    if len(pair) != 2 or not all(0 <= p <= 1 for p in pair):
        raise ValueError(f"{where} {shown(value)} is not a part of the image, from 0 to 1, or two of them")
    return pair[0], pair[1]
