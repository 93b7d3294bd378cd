"""Normalisation: by batch, and for each sample by features, groups of channels or channels."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import boolean, integer, number
from dlcore._tensor import Parameter, Tensor, ones, zeros
from dlcore.dtypes import as_dtype, int64
from dlcore.errors import ShapeError
from dlcore.nn.module import Module
from dlcore.ops.batch_norm import batch_norm

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class _RunningNorm(Module):
    """What batch and instance normalisation share: a number for each channel, running statistics, checks."""

    layout: str = "NCHW"
    """"NHWC": inputs have their channels last."""
    _axes: tuple[int, ...] = ()
    """How many axes an input may have."""

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool,
        device: Any, dtype: Any,
    ):  # fmt: skip
        name = type(self).__name__
        self.num_features, self.eps = integer(num_features, f"{name}: num_features", 0), number(eps, f"{name}: eps")
        self.momentum = None if momentum is None else number(momentum, f"{name}: momentum")
        self.affine = boolean(affine, f"{name}: affine")
        self.track_running_stats = boolean(track_running_stats, f"{name}: track_running_stats")
        kind = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        chosen: dict[str, Any] = {"device": device, "dtype": kind}
        shape = (self.num_features,)
        self.weight = Parameter(ones(shape, **chosen)) if self.affine else None
        self.bias = Parameter(zeros(shape, **chosen)) if self.affine else None
        tracked = self.track_running_stats
        self.register_buffer("running_mean", zeros(shape, **chosen) if tracked else None)
        self.register_buffer("running_var", ones(shape, **chosen) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=int64, device=device) if tracked else None)

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def reset_running_stats(self) -> None:
        """Set running means to 0, running variances to 1 and the number of batches to 0."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.fill_(0)
            self.running_var.fill_(1)
            self.num_batches_tracked.fill_(0)

    def reset_parameters(self) -> None:
        """Set weights to 1, biases to 0, and running statistics as `reset_running_stats` does."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            self.weight.detach().fill_(1)
            self.bias.detach().fill_(0)

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self._axes:
            wanted = " or ".join(map(str, self._axes))
            raise ShapeError(f"{type(self).__name__}: takes {wanted} axes; x has shape {x.shape}")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        found: Tensor = batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or self.running_mean is None, self.momentum, self.eps, self.num_batches_tracked, self.layout,
        )  # fmt: skip
        return found


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features (N, C) or sequences (N, C, L): `dl.batch_norm` tells the formula.

    In training mode mean and variance are those of the batch, and ``running_mean`` and ``running_var`` move towards
    them by ``momentum`` (None: they are the means of all batches, counted in ``num_batches_tracked``); in evaluation
    mode the running ones are taken. ``affine=False``: no weight and bias; ``track_running_stats=False``: statistics are
    those of the batch in either mode.

    >>> nn.BatchNorm1d(10)(dl.ones(4, 10)).shape
    (4, 10)
    """

    _axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W); the arguments are those of `BatchNorm1d`."""

    _axes = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes (N, C, D, H, W); the arguments are those of `BatchNorm1d`."""

    _axes = (5,)
