"""Dropout of whole channels: each channel of each sample is kept or set to zero."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import boolean, number, operand
from dlcore._tensor import Tensor, ones
from dlcore.dtypes import float32
from dlcore.errors import ShapeError
from dlcore.nn.layers import Dropout
from dlcore.ops.elementwise import mul
from dlcore.random import dropout as drop

__all__ = ["Dropout1d", "Dropout2d", "Dropout3d", "dropout1d", "dropout2d", "dropout3d"]


def _dropped(name: str, input: Any, p: float, training: bool, ndim: tuple[int, int], layout: str) -> Any:
    """``input`` with whole channels dropped. Of the smaller ``ndim`` it is one sample, but for dropout2d."""
    x, share = operand(input, name), number(p, f"{name}: p")
    if not 0 <= share <= 1:
        raise ValueError(f"{name}: p is {share}, not a probability")
    if x.ndim not in ndim:
        raise ShapeError(f"{name}: takes {ndim[0]} or {ndim[1]} axes; x has shape {x.shape}")
    if not boolean(training, f"{name}: training") or not share:
        return x
    several = x.ndim == ndim[1] or name == "dropout2d"
    channel = x.ndim - 1 if layout == "NHWC" else int(several)
    kept = {0, channel} if several else {channel}
    shape = tuple(n if d in kept else 1 for d, n in enumerate(x.shape))
    return mul(x, drop(ones(shape, dtype=x.dtype if x.dtype.is_float else float32, device=x.device), share))


def dropout1d(input: Any, p: float = 0.5, training: bool = True, layout: str = "NCHW") -> Any:
    """``input`` (N, C, L) or (C, L) with each channel of each sample set to 0 with probability ``p``, the others
    divided by 1 - p (Tompson et al. 2015); ``input`` itself where ``training`` is False.

    >>> nn.functional.dropout1d(dl.ones(1, 2, 2), training=False)
    tensor([[[1., 1.],
             [1., 1.]]])
    """
    return _dropped("dropout1d", input, p, training, (2, 3), layout)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, layout: str = "NCHW") -> Any:
    """``input`` (N, C, H, W) or, as in PyTorch, (N, C, L) with each channel of each sample set to 0 with probability
    ``p``, the others divided by 1 - p; ``input`` itself where ``training`` is False.

    >>> nn.functional.dropout2d(dl.ones(1, 1, 2, 2), 1.0)
    tensor([[[[0., 0.],
              [0., 0.]]]])
    """
    return _dropped("dropout2d", input, p, training, (3, 4), layout)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, layout: str = "NCHW") -> Any:
    """``input`` (N, C, D, H, W) or (C, D, H, W) with each channel of each sample set to 0 with probability ``p``, the
    others divided by 1 - p; ``input`` itself where ``training`` is False.

    >>> nn.functional.dropout3d(dl.ones(1, 1, 1, 1, 2), 0.0)
    tensor([[[[[1., 1.]]]]])
    """
    return _dropped("dropout3d", input, p, training, (4, 5), layout)


class Dropout1d(Dropout):
    """In training, sets each channel of each sample to zero with probability ``p``, divides the others by 1 - p.

    x (N, C, L), or one sample (C, L).
    """

    layout: str = "NCHW"
    """"NHWC": inputs have their channels last."""
    _function: Any = staticmethod(dropout1d)

    def _drop(self, x: Tensor) -> Tensor:
        found: Tensor = self._function(x, self.p, True, self.layout)
        return found


class Dropout2d(Dropout1d):
    """In training, sets each channel of each sample to zero with probability ``p``, divides the others by 1 - p.

    x (N, C, H, W), or as in PyTorch (N, C, L).
    """

    _function: Any = staticmethod(dropout2d)


class Dropout3d(Dropout1d):
    """In training, sets each channel of each sample to zero with probability ``p``, divides the others by 1 - p.

    x (N, C, D, H, W), or one sample (C, D, H, W).
    """

    _function: Any = staticmethod(dropout3d)
