"""Convolutions and transposed convolutions in 1, 2 and 3 dimensions, with PyTorch's arguments, shapes and names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from dlcore._arguments import boolean, choice, integer, integers, shown
from dlcore._tensor import Parameter, Tensor, empty
from dlcore.dtypes import as_dtype
from dlcore.nn import init
from dlcore.nn.module import Module
from dlcore.ops import convolution as functions

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
]  # fmt: skip

Ints = int | Sequence[int]


def _each(value: Any, count: int, where: str, least: int) -> tuple[int, ...]:
    """``value``, one integer or one for each of ``count`` axes, as a tuple."""
    found = integers(value, where)
    if len(found) == 1:
        found *= count
    if len(found) != count:
        raise ValueError(f"{where} {shown(value)} has {len(found)} numbers for {count} axes")
    for n in found:
        integer(n, where, least)
    return found


class _Conv(Module):
    """What convolutions share: their arguments, parameters, how these start, and the repr."""

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False
    layout: str = "NCHW"
    """How images lie in memory: `nn.channels_last` sets "NHWC"."""

    def _settle(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints, padding: Ints | str,
        output_padding: Ints, groups: int, bias: bool, dilation: Ints, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.in_channels = integer(in_channels, f"{name}: in_channels", 1)
        self.out_channels = integer(out_channels, f"{name}: out_channels", 1)
        self.kernel_size = _each(kernel_size, self.axes, f"{name}: kernel_size", 1)
        self.stride = _each(stride, self.axes, f"{name}: stride", 1)
        self.dilation = _each(dilation, self.axes, f"{name}: dilation", 1)
        self.output_padding = _each(output_padding, self.axes, f"{name}: output_padding", 0)
        self.groups = integer(groups, f"{name}: groups", 1)
        self.padding_mode = choice(padding_mode, self._modes, f"{name}: padding_mode")
        self.padding: tuple[int, ...] | str
        if isinstance(padding, str) and not self.transposed:
            self.padding = str(choice(padding, ("valid", "same"), f"{name}: padding"))
            if padding == "same" and max(self.stride) > 1:
                raise ValueError(f"{name}: padding='same' needs a stride of 1, not {self.stride}")
        else:
            self.padding = _each(padding, self.axes, f"{name}: padding", 0)
        for what, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"{name}: {what} {channels} is not divisible by groups {self.groups}")
        ends = (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        chosen = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        shape = (ends[0], ends[1] // self.groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, dtype=chosen, device=device))
        wanted = boolean(bias, f"{name}: bias")
        self.bias = Parameter(empty((self.out_channels,), dtype=chosen, device=device)) if wanted else None
        self.reset_parameters()

    _modes: ClassVar[tuple[str, ...]] = ("zeros", "reflect", "replicate", "circular")

    def reset_parameters(self) -> None:
        """Draw weight and bias anew: uniform in +-1/sqrt(fan_in), as PyTorch has it."""
        init.kaiming_uniform_(self.weight, math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        usual = {"padding": 0, "dilation": 1, "output_padding": 0}
        parts += [f"{n}={getattr(self, n)}" for n, one in usual.items() if getattr(self, n) != (one,) * self.axes]
        parts += [f"groups={self.groups}"] * (self.groups > 1) + ["bias=False"] * (self.bias is None)
        return ", ".join(parts + [f"padding_mode={self.padding_mode}"] * (self.padding_mode != "zeros"))


class _Direct(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints | str = 0,
        dilation: Ints = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self._settle(
            in_channels, out_channels, kernel_size, stride, padding, 0, groups, bias, dilation, padding_mode, device,
            dtype,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        function = (functions.conv1d, functions.conv2d, functions.conv3d)[self.axes - 1]
        return function(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups,
            padding_mode=self.padding_mode, layout=self.layout,
        )  # fmt: skip


class _Transposed(_Conv):
    transposed = True
    _modes = ("zeros",)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints = 0,
        output_padding: Ints = 0, groups: int = 1, bias: bool = True, dilation: Ints = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self._settle(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Any:
        """``output_size``: the spatial size wanted, of those that ``stride`` leaves open (or the whole shape)."""
        function = (functions.conv_transpose1d, functions.conv_transpose2d, functions.conv_transpose3d)[self.axes - 1]
        assert not isinstance(self.padding, str)  # names are for convolutions
        extra = self.output_padding if output_size is None else self._output_padding(x, output_size)
        return function(
            x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation, layout=self.layout
        )

    def _output_padding(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output_padding that gives ``output_size``."""
        name, wanted = type(self).__name__, integers(output_size, f"{type(self).__name__}: output_size")
        if len(wanted) == x.ndim:
            wanted = wanted[-1 - self.axes : -1] if self.layout == "NHWC" else wanted[-self.axes :]
        if len(wanted) != self.axes:
            raise ValueError(f"{name}: output_size {shown(output_size)} has {len(wanted)} numbers for {self.axes} axes")
        sizes = x.shape[-1 - self.axes : -1] if self.layout == "NHWC" else x.shape[-self.axes :]
        extra = []
        for k, (size, n) in enumerate(zip(sizes, wanted, strict=True)):
            assert not isinstance(self.padding, str)
            least = (size - 1) * self.stride[k] - 2 * self.padding[k] + self.dilation[k] * (self.kernel_size[k] - 1) + 1
            if not least <= n < least + self.stride[k]:
                raise ValueError(
                    f"{name}: output_size {n} along spatial axis {k}: an input of {size} gives {least} to "
                    f"{least + self.stride[k] - 1}"
                )
            extra.append(n - least)
        return tuple(extra)


class Conv1d(_Direct):
    """Cross-correlation of signals with ``out_channels`` kernels: (N, in_channels, L) -> (N, out_channels, L').

    Arguments, shapes and defaults as `Conv2d`, along one axis: the function `dl.conv1d`.

    >>> nn.Conv1d(16, 33, 3, stride=2)(dl.zeros(20, 16, 50)).shape
    (20, 33, 24)
    """

    axes = 1


class Conv2d(_Direct):
    """Cross-correlation of images with ``out_channels`` kernels: (N, in_channels, H, W) -> (N, out_channels, H', W').

    ``weight`` (out_channels, in_channels / groups, \\*kernel_size) and ``bias`` (out_channels,) start uniform in
    +-1/sqrt(fan_in). ``kernel_size``, ``stride``, ``padding`` and ``dilation``: one number for both axes or one for
    each; ``padding`` may be "valid" (none) or, with a stride of 1, "same" (the size stays). ``padding_mode``: what lies
    around the image, "zeros", "reflect", "replicate" or "circular". Each of ``groups`` parts of the outputs sees its
    part of the inputs alone; groups = in_channels is a depthwise convolution. H' = (H + 2 padding - dilation
    (kernel_size - 1) - 1) // stride + 1: the function `dl.conv2d`.

    >>> nn.Conv2d(1, 8, 3, padding=1)(dl.zeros(5, 1, 28, 28)).shape
    (5, 8, 28, 28)
    """

    axes = 2


class Conv3d(_Direct):
    """Cross-correlation of volumes with ``out_channels`` kernels: (N, in_channels, D, H, W) -> (N, out_channels, ...).

    Arguments, shapes and defaults as `Conv2d`, along three axes: the function `dl.conv3d`.

    >>> nn.Conv3d(2, 4, 3)(dl.zeros(1, 2, 5, 6, 7)).shape
    (1, 4, 3, 4, 5)
    """

    axes = 3


class ConvTranspose1d(_Transposed):
    """The gradient of `Conv1d` with respect to its input, as a layer: (N, in_channels, L) -> (N, out_channels, L').

    Arguments as `ConvTranspose2d`, along one axis: the function `dl.conv_transpose1d`.

    >>> nn.ConvTranspose1d(3, 6, 4, stride=2, padding=1)(dl.zeros(5, 3, 10)).shape
    (5, 6, 20)
    """

    axes = 1


class ConvTranspose2d(_Transposed):
    """The gradient of `Conv2d` with respect to its input, as a layer: it makes images larger by ``stride``.

    (N, in_channels, H, W) -> (N, out_channels, H', W') with H' = (H - 1) stride - 2 padding + dilation
    (kernel_size - 1) + output_padding + 1. ``weight``: (in_channels, out_channels / groups, \\*kernel_size). A
    stride maps several sizes to one; ``output_padding`` or, in the call, ``output_size`` chooses among them.

    >>> up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1)
    >>> up(dl.zeros(5, 8, 7, 7)).shape, up(dl.zeros(5, 8, 7, 7), output_size=(14, 14)).shape
    ((5, 4, 13, 13), (5, 4, 14, 14))
    """

    axes = 2


class ConvTranspose3d(_Transposed):
    """The gradient of `Conv3d` with respect to its input, as a layer.

    (N, in_channels, D, H, W) -> (N, out_channels, D', H', W'), arguments as `ConvTranspose2d`: the function
    `dl.conv_transpose3d`.

    >>> nn.ConvTranspose3d(2, 3, 2, stride=2)(dl.zeros(1, 2, 3, 4, 5)).shape
    (1, 3, 6, 8, 10)
    """

    axes = 3
