"""Augmentation: what is done to training batches alone, at random, by operations on the device.

``fit(augment=[...])`` applies these before its ``transform``: bytes of image data sets are in 0..1 by then. The numbers
come from dlcore's default generator, as those of dropout do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore import random
from dlcore._arguments import boolean, integer, integers, number, shown
from dlcore._tensor import Tensor, arange, tensor
from dlcore.dtypes import int64
from dlcore.errors import ShapeError
from dlcore.ops.elementwise import cast, eq, ge, logical_and, lt, minimum, where
from dlcore.ops.gather import take
from dlcore.ops.limits import clip
from dlcore.ops.movement import reshape

__all__ = ["Cutout", "GaussianNoise", "Mixup", "RandomCrop", "RandomFlip", "augmented"]

_NODES = 1024  # of the table from which Mixup takes its quantiles


class RandomFlip:
    """Images of which each is mirrored, left to right, with probability ``p``: (N, H, W) or (N, C, H, W).

    vertical: they are turned upside down instead.
    """

    def __init__(self, p: float = 0.5, vertical: bool = False):
        self.p, self.vertical = _probability(p, "RandomFlip: p"), boolean(vertical, "RandomFlip: vertical")

    def __call__(self, x: Tensor) -> Tensor:
        """``x``, in which some images are mirrored."""
        _check_images(x, "RandomFlip")
        chosen = lt(random.uniform((x.shape[0], *[1] * (x.ndim - 1)), device=x.device), self.p)
        return where(chosen, x[..., ::-1, :] if self.vertical else x[..., ::-1], x)

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
        _check_images(x, "RandomCrop")
        n, (height, width) = x.shape[0], x.shape[-2:]
        spare = [length + 2 * self.padding - size for length, size in zip((height, width), self.size, strict=True)]
        if min(spare) < 0:
            given = f"images of {height} x {width} with padding {self.padding}"
            raise ShapeError(f"RandomCrop: {given} have no {self.size}")
        rows, row_is_there = self._places(n, spare[0], self.size[0], height, x)
        columns, column_is_there = self._places(n, spare[1], self.size[1], width, x)
        place = reshape(rows, (n, -1, 1)) * width + reshape(columns, (n, 1, -1))
        there = logical_and(reshape(row_is_there, (n, -1, 1)), reshape(column_is_there, (n, 1, -1)))
        if x.ndim == 4:
            place, there = (reshape(t, (n, 1, *self.size)) for t in (place, there))
        first = reshape(arange(int(np.prod(x.shape[:-2])), device=x.device), (*x.shape[:-2], 1, 1)) * (height * width)
        return where(there, take(reshape(x, (-1,)), place + first), 0.0)

    def _places(self, n: int, spare: int, size: int, length: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows, or columns, of each image are taken, and whether they lie in it."""
        start = random.randint(spare + 1, shape=(n, 1), device=x.device) - self.padding
        at = start + arange(size, device=x.device)
        return clip(at, 0, length - 1), logical_and(ge(at, 0), lt(at, length))

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, padding={self.padding})"


class Cutout:
    """Images with a square of zeros at a random place: (N, H, W) or (N, C, H, W). DeVries and Taylor 2017.

    The middle of the square of ``size`` pixels is anywhere in the image, so that some of it may lie outside.
    """

    def __init__(self, size: int):
        self.size = integer(size, "Cutout: size", 1)

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` with a square of zeros in each image."""
        _check_images(x, "Cutout")
        n, shape = x.shape[0], (x.shape[0], *[1] * (x.ndim - 3))
        inside = []
        for length, axes in ((x.shape[-2], (-1, 1)), (x.shape[-1], (1, -1))):
            first = random.randint(length, shape=(n, 1), device=x.device) - self.size // 2
            at = arange(length, device=x.device)
            within = logical_and(ge(at, first), lt(at, first + self.size))
            inside.append(reshape(within, (*shape, *axes)))
        return where(logical_and(*inside), 0.0, x)

    def __repr__(self) -> str:
        return f"Cutout({self.size})"


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


class Mixup:
    """Each sample mixed with another one of the batch: l x + (1 - l) x', and the targets alike. Zhang et al. 2018.

    l is drawn once for each batch from Beta(alpha, alpha). classes: how many there are, for integer labels: these
    become probabilities (N, classes), as `cross_entropy` takes them. Floating-point targets are mixed as they are.
    """

    targets = True  # it takes and gives (inputs, targets)

    def __init__(self, alpha: float = 0.2, classes: int | None = None):
        self.alpha = number(alpha, "Mixup: alpha")
        if not 0.01 <= self.alpha <= 100:
            raise ValueError(f"Mixup: alpha is {self.alpha}; it must be from 0.01 to 100")
        self.classes = None if classes is None else integer(classes, "Mixup: classes", 1)
        self._table = _beta_table(self.alpha)
        self._held: dict[Any, Tensor] = {}

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets, mixed."""
        if not x.dtype.is_float:
            raise TypeError(f"Mixup: floats can be mixed, not {x.dtype.name}")
        if not y.dtype.is_float:
            if self.classes is None or y.ndim != 1:
                raise ValueError(f"Mixup: classes must be said for labels, which are a vector, not of shape {y.shape}")
            y = cast(eq(reshape(y, (-1, 1)), arange(self.classes, device=y.device)), x.dtype.name)
        share, other = self._share(x.device), random.permutation(x.shape[0], device=x.device)
        mixed = (cast(share, part.dtype.name) * part + cast(1.0 - share, part.dtype.name) * take(part, other)
                 for part in (x, y))  # fmt: skip
        return next(mixed), next(mixed)

    def _share(self, device: Any) -> Tensor:
        """A number from Beta(alpha, alpha): the quantile of a uniform one, by the table of one half of them."""
        if device not in self._held:
            self._held[device] = tensor(self._table, "float32", device=device)
        u = random.uniform((), device=device)
        place = minimum(u, 1.0 - u) * (2.0 * _NODES)
        below = clip(cast(place, int64), 0, _NODES - 1)
        low, high = take(self._held[device], below), take(self._held[device], below + 1)
        part = (low + (high - low) * (place - cast(below, "float32"))) ** (1.0 / self.alpha)
        return where(lt(u, 0.5), part, 1.0 - part)

    def __repr__(self) -> str:
        return f"Mixup(alpha={self.alpha})"


def _beta_table(alpha: float) -> np.ndarray:
    """x^alpha for the quantiles x of Beta(alpha, alpha) at 0, ..., 1/2, in ``_NODES`` equal steps.

    With s = x^alpha the density is smooth: F(x) is proportional to the integral of (1 - s^(1/alpha))^(alpha - 1) ds.
    """
    s = np.linspace(0.0, 0.5**alpha, 1 << 16)
    density = (1 - s ** (1 / alpha)) ** (alpha - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0.0, 1.0, _NODES + 1), below / below[-1], s)


def _check_images(x: Tensor, name: str) -> None:
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name}: images (N, H, W) or (N, C, H, W) expected, not shape {x.shape}")


def _probability(value: Any, where: str) -> float:
    p = number(value, where)
    if not 0 <= p <= 1:
        raise ValueError(f"{where} is {p}; it must be from 0 to 1")
    return p


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
