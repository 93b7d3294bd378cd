"""Augmentation: what is done to training batches alone, at random, by operations on the device.

``fit(augment=[...])`` applies these before its ``transform``: bytes of image data sets are in 0..1 by then. The numbers
come from dlcore's default generator, as those of dropout do, so that the same seed gives the same pictures on every
device. Here are parts of images, erasures and noise; `geometry` has what turns images, `colours` what changes colours,
and `mixing` what mixes samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlcore import random
from dlcore._arguments import boolean, integer, integers, number, shown
from dlcore._tensor import Tensor, arange, zeros
from dlcore.dtypes import int64
from dlcore.errors import ShapeError
from dlcore.ops.cropping import crop
from dlcore.ops.elementwise import cast, exp, ge, logical_and, lt, sqrt, where
from dlcore.ops.limits import clip
from dlcore.ops.movement import reshape, stack

__all__ = ["Cutout", "GaussianNoise", "RandomCrop", "RandomErasing", "RandomFlip", "RandomTranslate", "augmented"]


class RandomFlip:
    """Images of which each is mirrored, left to right, with probability ``p``: (N, H, W) or (N, C, H, W).

    vertical: they are turned upside down instead.
    """

    def __init__(self, p: float = 0.5, vertical: bool = False):
        self.p, self.vertical = probability(p, "RandomFlip: p"), boolean(vertical, "RandomFlip: vertical")

    def __call__(self, x: Tensor) -> Tensor:
        """``x``, in which some images are mirrored."""
        check_images(x, "RandomFlip")
        chosen = lt(random.uniform((x.shape[0], *[1] * (x.ndim - 1)), device=x.device), self.p)
        if self.vertical:
            return where(chosen, x[..., ::-1, :], x)
        start = zeros((x.shape[0], 2), dtype=int64, device=x.device)
        return crop(x, start, reshape(chosen, (-1,)), size=x.shape[-2:])

    def __repr__(self) -> str:
        return f"RandomFlip(p={self.p}{', vertical=True' * self.vertical})"


class RandomCrop:
    """A random part of ``size`` of each image: (N, H, W) or (N, C, H, W).

    size: (height, width), or one number for both. padding: images have so many zeros on every side before, so that a
    crop of their own size moves them by up to ``padding``.
    """

    def __init__(self, size: Any, padding: int = 0):
        shape = integers(size, "RandomCrop: size")
        if len(shape) not in (1, 2) or min(shape) < 1:
            raise ValueError(f"RandomCrop: size is (height, width) or one positive number, not {shown(size)}")
        self.size, self.padding = (shape[0], shape[-1]), integer(padding, "RandomCrop: padding", 0)

    def __call__(self, x: Tensor) -> Tensor:
        """The parts, each from a place of its own."""
        check_images(x, "RandomCrop")
        n, (height, width) = x.shape[0], x.shape[-2:]
        spare = [length + 2 * self.padding - size for length, size in zip((height, width), self.size, strict=True)]
        if min(spare) < 0:
            given = f"images of {height} x {width} with padding {self.padding}"
            raise ShapeError(f"RandomCrop: {given} have no {self.size}")
        starts = [random.randint(s + 1, shape=(n,), device=x.device) - self.padding for s in spare]
        return crop(x, stack(starts, 1), size=self.size)

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, padding={self.padding})"


class RandomTranslate:
    """Images moved by whole pixels, each by up to ``pixels`` along both axes: (N, H, W) or (N, C, H, W).

    pixels: (rows, columns), or one number for both. Zeros come in. `RandomAffine` moves by parts of pixels too.
    """

    def __init__(self, pixels: Any):
        found = integers(pixels, "RandomTranslate: pixels")
        if len(found) not in (1, 2) or min(found) < 0:
            raise ValueError(f"RandomTranslate: pixels are (rows, columns) or one number, not {shown(pixels)}")
        self.pixels = (found[0], found[-1])

    def __call__(self, x: Tensor) -> Tensor:
        """The images, each moved."""
        check_images(x, "RandomTranslate")
        starts = [random.randint(-k, k + 1, shape=(x.shape[0],), device=x.device) for k in self.pixels]
        return crop(x, stack(starts, 1), size=x.shape[-2:])

    def __repr__(self) -> str:
        return f"RandomTranslate({self.pixels})"


class Cutout:
    """Images with a square of zeros at a random place: (N, H, W) or (N, C, H, W). DeVries and Taylor 2017.

    The middle of the square of ``size`` pixels is anywhere in the image, so that some of it may lie outside.
    """

    def __init__(self, size: int):
        self.size = integer(size, "Cutout: size", 1)

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` with a square of zeros in each image."""
        check_images(x, "Cutout")
        sides = []
        for length in x.shape[-2:]:
            first = random.randint(length, shape=(x.shape[0], 1), device=x.device) - self.size // 2
            sides.append((first, first + self.size))
        return where(within(x, *sides), 0.0, x)

    def __repr__(self) -> str:
        return f"Cutout({self.size})"


class RandomErasing:
    """Images of which each, with probability ``p``, has a rectangle of one value: (N, H, W) or (N, C, H, W).

    scale: the least and the largest part of the image that is erased; ratio: of the rectangle's height to its width;
    both drawn for each image, the ratio evenly in its logarithm. The rectangle lies within the image, and is cut to it.
    value: what it is filled with. Zhong et al. 2020.
    """

    def __init__(self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: float = 0.0):
        self.p, self.value = probability(p, "RandomErasing: p"), number(value, "RandomErasing: value")
        self.scale = interval(scale, "RandomErasing: scale", 0.0)
        self.ratio = interval(ratio, "RandomErasing: ratio", 0.0)
        if self.scale[1] > 1 or self.ratio[0] <= 0:
            wrong = f"scale {self.scale}" if self.scale[1] > 1 else f"ratio {self.ratio}"
            raise ValueError(f"RandomErasing: {wrong} is not of parts of an image")

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` with a rectangle in some images."""
        check_images(x, "RandomErasing")
        height, width = x.shape[-2:]
        shape, device = (x.shape[0], 1), x.device
        area = random.uniform(shape, self.scale[0], self.scale[1], device=device) * (height * width)
        ratio = exp(random.uniform(shape, math.log(self.ratio[0]), math.log(self.ratio[1]), device=device))
        erased = lt(random.uniform(shape, device=device), self.p)
        sides = []
        for wanted, length in ((sqrt(area * ratio), height), (sqrt(area / ratio), width)):
            side = clip(cast(wanted + 0.5, int64), 1, length)
            spare = cast(length - side + 1, "float32")
            first = clip(cast(random.uniform(shape, device=device) * spare, int64), 0, length - 1)
            sides.append((first, where(erased, first + side, first)))  # nothing of what is not erased
        return where(within(x, *sides), self.value, x)

    def __repr__(self) -> str:
        return f"RandomErasing(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value})"


class GaussianNoise:
    """x + std z, with a z of its own for each element, from the standard normal distribution."""

    def __init__(self, std: float):
        self.std = number(std, "GaussianNoise: std")
        if not 0 <= self.std < float("inf"):
            raise ValueError(f"GaussianNoise: std is {self.std}; it must not be negative")

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` with noise."""
        if not x.dtype.is_float:
            raise TypeError(f"GaussianNoise: noise is added to floats, not to {x.dtype.name}")
        return x + random.normal(x.shape, 0.0, self.std, dtype=x.dtype, device=x.device)

    def __repr__(self) -> str:
        return f"GaussianNoise({self.std})"


# ---- what they share ------------------------------------------------------------------------------------------------


def within(x: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Where images ``x`` have a rectangle of its own each: from the first to before the second number (N, 1)."""
    inside = []
    for (first, end), length, axes in ((rows, x.shape[-2], (-1, 1)), (columns, x.shape[-1], (1, -1))):
        at = arange(length, device=x.device)
        there = logical_and(ge(at, first), lt(at, end))
        inside.append(reshape(there, (there.shape[0], *[1] * (x.ndim - 3), *axes)))
    return logical_and(*inside)


def check_images(x: Tensor, name: str) -> None:
    """Raises ShapeError unless ``x`` are images."""
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name}: images (N, H, W) or (N, C, H, W) expected, not shape {x.shape}")


def check_floats(x: Tensor, name: str) -> None:
    """Raises unless ``x`` are images of floats."""
    check_images(x, name)
    if not x.dtype.is_float:
        raise TypeError(f"{name}: images of floats expected, not of {x.dtype.name}; divide bytes by 255 first")


def probability(value: Any, where: str) -> float:
    """A number from 0 to 1."""
    p = number(value, where)
    if not 0 <= p <= 1:
        raise ValueError(f"{where} is {p}; it must be from 0 to 1")
    return p


def interval(value: Any, where: str, least: float = -math.inf) -> tuple[float, float]:
    """Two numbers that ascend, of at least ``least``."""
    pair = [number(v, where) for v in value] if isinstance(value, list | tuple) else []
    if len(pair) != 2 or not least <= pair[0] <= pair[1] < math.inf:
        raise ValueError(f"{where} {shown(value)} is not a pair of numbers that ascend")
    return pair[0], pair[1]


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
