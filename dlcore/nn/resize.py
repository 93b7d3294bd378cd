"""Layers that resize images, move channels to places and back, and take images apart into windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore._arguments import boolean, choice, integer, integers, number
from dlcore._tensor import Tensor
from dlcore.nn.functional import fold, unfold
from dlcore.nn.module import Module
from dlcore.ops.resize import channel_shuffle, interpolate, pixel_shuffle, pixel_unshuffle

__all__ = [
    "ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold", "Upsample", "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]  # fmt: skip

_LAYOUTS = ("NCHW", "NHWC")
_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")


class Upsample(Module):
    """Images of another ``size``, or larger by ``scale_factor``; see `nn.functional.interpolate`.

    >>> nn.Upsample(scale_factor=2, mode="bilinear")(dl.ones(1, 3, 4, 5)).shape
    (1, 3, 8, 10)
    """

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest", align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
        layout: str = "NCHW",
    ):  # fmt: skip
        name = type(self).__name__
        if (size is None) == (scale_factor is None):
            raise ValueError(f"{name}: one of size and scale_factor must be given")
        self.size = None if size is None else integers(size, f"{name}: size")
        where = f"{name}: scale_factor"
        self.scale_factor: Any = None
        if isinstance(scale_factor, list | tuple):
            self.scale_factor = tuple(number(f, where) for f in scale_factor)
        elif scale_factor is not None:
            self.scale_factor = number(scale_factor, where)
        self.mode = choice(mode, _MODES, f"{name}: mode")
        self.align_corners = None if align_corners is None else boolean(align_corners, f"{name}: align_corners")
        self.recompute_scale_factor = recompute_scale_factor
        self.layout = choice(layout, _LAYOUTS, f"{name}: layout")

    def forward(self, x: Tensor) -> Tensor:
        return interpolate(
            x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor, False,
            self.layout,
        )  # fmt: skip

    def extra_repr(self) -> str:
        size = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` of (N, C, H, W) to the nearest pixel."""

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of (N, C, H, W), bilinear, whose corner pixels stay where they are."""

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """Channels as places: (N, C r r, H, W) -> (N, C, H r, W r), r = ``upscale_factor``. Shi et al. 2016.

    >>> nn.PixelShuffle(2)(dl.ones(1, 12, 4, 5)).shape
    (1, 3, 8, 10)
    """

    def __init__(self, upscale_factor: int, layout: str = "NCHW"):
        self.upscale_factor = integer(upscale_factor, "PixelShuffle: upscale_factor", 1)
        self.layout = choice(layout, _LAYOUTS, "PixelShuffle: layout")

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(x, self.upscale_factor, self.layout)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Places as channels: (N, C, H r, W r) -> (N, C r r, H, W), r = ``downscale_factor``."""

    def __init__(self, downscale_factor: int, layout: str = "NCHW"):
        self.downscale_factor = integer(downscale_factor, "PixelUnshuffle: downscale_factor", 1)
        self.layout = choice(layout, _LAYOUTS, "PixelUnshuffle: layout")

    def forward(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(x, self.downscale_factor, self.layout)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """The channels of ``groups`` groups taken in turn: (N, C, ...) -> (N, C, ...). Zhang et al. 2018."""

    def __init__(self, groups: int, layout: str = "NCHW"):
        self.groups = integer(groups, "ChannelShuffle: groups", 1)
        self.layout = choice(layout, _LAYOUTS, "ChannelShuffle: layout")

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(x, self.groups, self.layout)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Unfold(Module):
    """Windows of images as columns: (N, C, H, W) -> (N, C kh kw, L); see `nn.functional.unfold`.

    >>> nn.Unfold(3, padding=1)(dl.ones(1, 2, 4, 5)).shape
    (1, 18, 20)
    """

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1, layout: str = "NCHW"):
        self.kernel_size, self.dilation, self.padding, self.stride = _four(
            "Unfold", kernel_size, dilation, padding, stride
        )
        self.layout = choice(layout, _LAYOUTS, "Unfold: layout")

    def forward(self, x: Tensor) -> Tensor:
        return unfold(x, self.kernel_size, self.dilation, self.padding, self.stride, self.layout)

    def extra_repr(self) -> str:
        given = ("kernel_size", "dilation", "padding", "stride")
        return ", ".join(f"{name}={getattr(self, name)}" for name in given)


class Fold(Unfold):
    """Columns added up to images of ``output_size``: (N, C kh kw, L) -> (N, C, H, W); see `nn.functional.fold`."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1,
        layout: str = "NCHW",
    ):  # fmt: skip
        self.output_size = integers(output_size, "Fold: output_size")
        self.kernel_size, self.dilation, self.padding, self.stride = _four(
            "Fold", kernel_size, dilation, padding, stride
        )
        self.layout = choice(layout, _LAYOUTS, "Fold: layout")

    def forward(self, x: Tensor) -> Tensor:
        return fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride, self.layout)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"


def _four(name: str, *given: Any) -> list[tuple[int, ...]]:
    names = ("kernel_size", "dilation", "padding", "stride")
    return [integers(value, f"{name}: {what}") for value, what in zip(given, names, strict=True)]
