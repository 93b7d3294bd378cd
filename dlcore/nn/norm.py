"""Normalisation: by batch, and for each sample by features, groups of channels or channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore._arguments import boolean, integer, integers, number
from dlcore._tensor import Parameter, Tensor, ones, zeros
from dlcore.dtypes import as_dtype, int64
from dlcore.errors import ShapeError
from dlcore.nn.module import Module
from dlcore.ops.batch_norm import batch_norm
from dlcore.ops.group_norms import group_norm, instance_norm, local_response_norm
from dlcore.ops.row_norms import layer_norm, rms_norm

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LayerNorm", "LocalResponseNorm", "RMSNorm",
]  # fmt: skip


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


class _InstanceNorm(_RunningNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        one = x.ndim == self._axes[0]
        given = x.reshape(1, *x.shape) if one else x
        channels = given.shape[-1 if self.layout == "NHWC" else 1]
        if channels != self.num_features:
            name = type(self).__name__
            raise ShapeError(f"{name}: x of shape {x.shape} has {channels} channels, not {self.num_features}")
        found: Tensor = instance_norm(
            given, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or self.running_mean is None, 0.1 if self.momentum is None else self.momentum, self.eps,
            self.layout,
        )  # fmt: skip
        return found.reshape(x.shape) if one else found


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sequence normalised: x (N, C, L) or (C, L); `dl.instance_norm` tells the formula.

    ``affine``: with a weight and a bias for each channel. ``track_running_stats``: running means and variances are
    kept in training mode and taken in evaluation mode, as in `BatchNorm1d`.

    >>> nn.InstanceNorm1d(3)(dl.ones(2, 3, 4)).shape
    (2, 3, 4)
    """

    _axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image normalised: x (N, C, H, W) or (C, H, W); arguments are those of `InstanceNorm1d`."""

    _axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Each channel of each volume normalised: x (N, C, D, H, W) or (C, D, H, W); arguments are those of
    `InstanceNorm1d`."""

    _axes = (4, 5)


class LayerNorm(Module):
    """Each row normalised by its own mean and variance: `dl.layer_norm` tells the formula.

    ``normalized_shape``: the lengths of the last axes, or of the last axis. ``elementwise_affine``: with a weight and,
    with ``bias``, a bias of that shape.

    >>> nn.LayerNorm(8)(dl.ones(2, 8)).shape
    (2, 8)
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self.normalized_shape = integers(normalized_shape, "LayerNorm: normalized_shape")
        self.eps = number(eps, "LayerNorm: eps")
        self.elementwise_affine = boolean(elementwise_affine, "LayerNorm: elementwise_affine")
        kind = None if dtype is None else as_dtype(dtype, "LayerNorm: dtype")
        biased = boolean(bias, "LayerNorm: bias") and self.elementwise_affine
        made: dict[str, Any] = {"dtype": kind, "device": device}
        self.weight = Parameter(ones(self.normalized_shape, **made)) if self.elementwise_affine else None
        self.bias = Parameter(zeros(self.normalized_shape, **made)) if biased else None

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0."""
        if self.weight is not None:
            self.weight.detach().fill_(1)
        if self.bias is not None:
            self.bias.detach().fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return found

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Each row divided by the root of its mean square: `dl.rms_norm` tells the formula.

    ``normalized_shape``: the lengths of the last axes, or of the last axis. ``elementwise_affine``: with a weight of
    that shape. ``eps`` None: that of float32.

    >>> nn.RMSNorm(8)(dl.ones(2, 8)).shape
    (2, 8)
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self.normalized_shape = integers(normalized_shape, "RMSNorm: normalized_shape")
        self.eps = None if eps is None else number(eps, "RMSNorm: eps")
        self.elementwise_affine = boolean(elementwise_affine, "RMSNorm: elementwise_affine")
        kind = None if dtype is None else as_dtype(dtype, "RMSNorm: dtype")
        wanted = self.elementwise_affine
        self.weight = Parameter(ones(self.normalized_shape, dtype=kind, device=device)) if wanted else None

    def reset_parameters(self) -> None:
        """Set weights to 1."""
        if self.weight is not None:
            self.weight.detach().fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = rms_norm(x, self.normalized_shape, self.weight, self.eps)
        return found

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Each group of channels of each image normalised: `dl.group_norm` tells the formula.

    ``affine``: with a weight and, with ``bias``, a bias for each channel. Raises ValueError where ``num_groups`` does
    not divide ``num_channels``.

    >>> nn.GroupNorm(2, 6)(dl.ones(2, 6, 4, 4)).shape
    (2, 6, 4, 4)
    """

    layout: str = "NCHW"
    """"NHWC": inputs have their channels last."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, bias: bool = True,
    ):  # fmt: skip
        self.num_groups = integer(num_groups, "GroupNorm: num_groups", 1)
        self.num_channels = integer(num_channels, "GroupNorm: num_channels", 0)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: {self.num_channels} channels do not make {self.num_groups} groups")
        self.eps, self.affine = number(eps, "GroupNorm: eps"), boolean(affine, "GroupNorm: affine")
        kind = None if dtype is None else as_dtype(dtype, "GroupNorm: dtype")
        biased = boolean(bias, "GroupNorm: bias") and self.affine
        made: dict[str, Any] = {"dtype": kind, "device": device}
        self.weight = Parameter(ones((self.num_channels,), **made)) if self.affine else None
        self.bias = Parameter(zeros((self.num_channels,), **made)) if biased else None

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0."""
        if self.weight is not None:
            self.weight.detach().fill_(1)
        if self.bias is not None:
            self.bias.detach().fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = group_norm(x, self.num_groups, self.weight, self.bias, self.eps, self.layout)
        return found

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """Each channel divided by what its neighbours are: `dl.local_response_norm` tells the formula.

    >>> nn.LocalResponseNorm(2)(dl.ones(2, 6, 4, 4)).shape
    (2, 6, 4, 4)
    """

    layout: str = "NCHW"
    """"NHWC": inputs have their channels last."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size = integer(size, "LocalResponseNorm: size", 1)
        self.alpha, self.beta, self.k = (
            number(v, f"LocalResponseNorm: {name}") for v, name in ((alpha, "alpha"), (beta, "beta"), (k, "k"))
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = local_response_norm(x, self.size, self.alpha, self.beta, self.k, self.layout)
        return found

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
