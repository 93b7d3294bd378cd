"""Augmentation that mixes samples and their targets: mixup and cutmix."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore import random
from dlcore._arguments import integer, number
from dlcore._tensor import Tensor, tensor
from dlcore.data.augment import check_images, within
from dlcore.dtypes import int64
from dlcore.ops.elementwise import cast, lt, minimum, sqrt, where
from dlcore.ops.gather import take
from dlcore.ops.limits import clip
from dlcore.ops.movement import reshape
from dlcore.ops.scattering import one_hot

__all__ = ["CutMix", "Mixup"]

_NODES = 1024  # of the table from which quantiles are taken


class Mixup:
    """Each sample mixed with another one of the batch: l x + (1 - l) x', and the targets alike. Zhang et al. 2018.

    l is drawn once for each batch from Beta(alpha, alpha). classes: how many there are, for integer labels: these
    become probabilities (N, classes), as `cross_entropy` takes them, and one that is no class raises IndexError.
    Floating-point targets are mixed as they are.
    """

    targets = True  # it takes and gives (inputs, targets)

    def __init__(self, alpha: float = 0.2, classes: int | None = None):
        name = type(self).__name__
        self.alpha = number(alpha, f"{name}: alpha")
        if not 0.01 <= self.alpha <= 100:
            raise ValueError(f"{name}: alpha is {self.alpha}; it must be from 0.01 to 100")
        self.classes = None if classes is None else integer(classes, f"{name}: classes", 1)
        self._table = _beta_table(self.alpha)
        self._held: dict[Any, Tensor] = {}

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets, mixed."""
        if not x.dtype.is_float:
            raise TypeError(f"Mixup: floats can be mixed, not {x.dtype.name}")
        y = self._probabilities(x, y)
        share, other = self._share(x.device), random.permutation(x.shape[0], device=x.device)
        return _mixed(x, share, other), _mixed(y, share, other)

    def _probabilities(self, x: Tensor, y: Tensor) -> Tensor:
        """Targets that can be mixed."""
        if y.dtype.is_float:
            return y
        if self.classes is None or y.ndim != 1:
            name = type(self).__name__
            raise ValueError(f"{name}: classes must be said for labels, which are a vector, not of shape {y.shape}")
        dtype = x.dtype.name if x.dtype.is_float else "float32"
        return cast(one_hot(y, self.classes), dtype)

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
        return f"{type(self).__name__}(alpha={self.alpha})"


class CutMix(Mixup):
    """Images with a rectangle of another one of the batch, and targets mixed by its area: (N, H, W) or (N, C, H, W).

    l is drawn once for each batch from Beta(alpha, alpha): the rectangle has the image's shape, 1 - l of its area, and
    its middle anywhere in it; what lies outside is cut, and targets are mixed by what is left. classes: as of `Mixup`.
    Yun et al. 2019.
    """

    def __init__(self, alpha: float = 1.0, classes: int | None = None):
        super().__init__(alpha, classes)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets, mixed."""
        check_images(x, "CutMix")
        y = self._probabilities(x, y)
        side, other = sqrt(1.0 - self._share(x.device)), random.permutation(x.shape[0], device=x.device)
        sides: list[Any] = []
        area: Any = 1.0
        for length in x.shape[-2:]:
            half = cast(side * (length / 2), int64)
            middle = random.randint(length, shape=(), device=x.device)
            first, end = clip(middle - half, 0, length), clip(middle + half, 0, length)
            sides.append((reshape(first, (1, 1)), reshape(end, (1, 1))))
            area = cast(end - first, "float32") * (area / length)
        mixed = where(within(x, *sides), take(x, other), x)
        return mixed, _mixed(y, 1.0 - area, other)


def _mixed(part: Tensor, share: Tensor, other: Tensor) -> Tensor:
    return cast(share, part.dtype.name) * part + cast(1.0 - share, part.dtype.name) * take(part, other)


def _beta_table(alpha: float) -> np.ndarray:
    """x^alpha for the quantiles x of Beta(alpha, alpha) at 0, ..., 1/2, in ``_NODES`` equal steps.

    With s = x^alpha the density is smooth: F(x) is proportional to the integral of (1 - s^(1/alpha))^(alpha - 1) ds.
    """
    s = np.linspace(0.0, 0.5**alpha, 1 << 16)
    density = (1 - s ** (1 / alpha)) ** (alpha - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0.0, 1.0, _NODES + 1), below / below[-1], s)
