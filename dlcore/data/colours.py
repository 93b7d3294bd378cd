"""Augmentation that changes brightness and colours of images in 0..1; values are those of torchvision."""

from __future__ import annotations

import math
from typing import Any

from dlcore import random
from dlcore._arguments import number
from dlcore._tensor import Tensor
from dlcore.data.augment import check_floats, interval
from dlcore.errors import ShapeError
from dlcore.ops.elementwise import eq, maximum, minimum, where
from dlcore.ops.limits import clip
from dlcore.ops.movement import concat
from dlcore.ops.reduce import mean

__all__ = ["Brightness", "ColorJitter", "Contrast"]

_GREY = (0.2989, 0.587, 0.114)  # of red, green and blue: ITU-R 601-2


class Brightness:
    """Images times a factor of their own, cut to 0..1: (N, H, W) or (N, C, H, W), of floats.

    by: (least, most) factor, or one number for 1 - by (or 0) to 1 + by.
    """

    def __init__(self, by: Any):
        self.by = _factors(by, "Brightness: by")

    def __call__(self, x: Tensor) -> Tensor:
        """The images, darker or brighter."""
        check_floats(x, "Brightness")
        return clip(x * _drawn(x, self.by), 0.0, 1.0)

    def __repr__(self) -> str:
        return f"Brightness({self.by})"


class Contrast:
    """Images whose distance from their own mean grey has a factor of its own, cut to 0..1: (N, H, W) or (N, C, H, W).

    by: (least, most) factor, or one number for 1 - by (or 0) to 1 + by.
    """

    def __init__(self, by: Any):
        self.by = _factors(by, "Contrast: by")

    def __call__(self, x: Tensor) -> Tensor:
        """The images, flatter or starker."""
        check_floats(x, "Contrast")
        middle = mean(_grey(x), tuple(range(1, x.ndim)), True)
        return clip(middle + (x - middle) * _drawn(x, self.by), 0.0, 1.0)

    def __repr__(self) -> str:
        return f"Contrast({self.by})"


class ColorJitter:
    """Images of changed brightness, contrast, saturation and hue, in this order, each by numbers of its own.

    brightness, contrast, saturation: (least, most) factor, or one number for 1 - by (or 0) to 1 + by; None leaves them.
    hue: the largest part of a turn round the colours, up to 0.5, or (least, most). Saturation and hue are of RGB images
    (N, 3, H, W). Images are floats in 0..1, and are cut to that.
    """

    def __init__(self, brightness: Any = None, contrast: Any = None, saturation: Any = None, hue: Any = None):
        self.brightness = None if brightness is None else Brightness(brightness)
        self.contrast = None if contrast is None else Contrast(contrast)
        self.saturation = None if saturation is None else _factors(saturation, "ColorJitter: saturation")
        self.hue = None
        if hue is not None:
            several = isinstance(hue, list | tuple)
            most = 0.0 if several else number(hue, "ColorJitter: hue")
            self.hue = interval(hue, "ColorJitter: hue") if several else (-most, most)
            if not -0.5 <= self.hue[0] <= self.hue[1] <= 0.5:
                raise ValueError(f"ColorJitter: hue is {hue}; it is a part of a turn, up to 0.5")

    def __call__(self, x: Tensor) -> Tensor:
        """The images in other colours."""
        check_floats(x, "ColorJitter")
        if (self.saturation is not None or self.hue is not None) and (x.ndim != 4 or x.shape[1] != 3):
            raise ShapeError(f"ColorJitter: saturation and hue are of images (N, 3, H, W), not of shape {x.shape}")
        for step in (self.brightness, self.contrast):
            x = x if step is None else step(x)
        if self.saturation is not None:
            grey = _grey(x)
            x = clip(grey + (x - grey) * _drawn(x, self.saturation), 0.0, 1.0)
        return x if self.hue is None else _turned(x, _drawn(x, self.hue))

    def __repr__(self) -> str:
        parts = {name: getattr(self, name) for name in ("brightness", "contrast", "saturation", "hue")}
        said = [f"{k}={getattr(v, 'by', v)}" for k, v in parts.items() if v is not None]
        return f"ColorJitter({', '.join(said)})"


def _factors(by: Any, where: str) -> tuple[float, float]:
    """A pair, or from 1 - by, which is 0 at least, to 1 + by."""
    if isinstance(by, list | tuple):
        return interval(by, where, 0.0)
    most = number(by, where)
    if not 0 <= most < math.inf:
        raise ValueError(f"{where} is {most}; it must not be negative")
    return max(1.0 - most, 0.0), 1.0 + most


def _drawn(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """A number for each image, in its dtype."""
    drawn = random.uniform((x.shape[0], *[1] * (x.ndim - 1)), *bounds, device=x.device)
    return drawn if drawn.dtype is x.dtype else drawn.astype(x.dtype)


def _grey(x: Tensor) -> Tensor:
    """RGB images in grey, (N, 1, H, W); others as they are."""
    if x.ndim != 4 or x.shape[1] != 3:
        return x
    red, green, blue = (x[:, k : k + 1] * part for k, part in enumerate(_GREY))
    return red + green + blue


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """RGB images with their hues turned by parts of a turn.

    With the largest v and the smallest of the three, c = v less the smallest, and h the hue in sixths of a turn, a
    colour is v - c max(0, min(k, 4 - k, 1)) with k = (n + h) mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = (x[:, k : k + 1] for k in range(3))
    most = maximum(maximum(red, green), blue)
    chroma = most - minimum(minimum(red, green), blue)
    safe = where(eq(chroma, 0.0), 1.0, chroma)
    of_red, of_green, of_blue = (green - blue) / safe, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe
    hue = where(eq(most, red), of_red, where(eq(most, green), of_green, of_blue)) + 6.0 * turn
    parts = []
    for n in (5.0, 3.0, 1.0):
        k = (hue + n) % 6.0
        parts.append(most - chroma * clip(minimum(k, 4.0 - k), 0.0, 1.0))
    return concat(parts, 1)
