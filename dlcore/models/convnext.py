"""ConvNeXt (Liu et al. 2022): depthwise convolutions 7x7 and pointwise layers, with layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore import nn
from dlcore._arguments import integer, integers
from dlcore._creation import full
from dlcore._operations import permute
from dlcore._tensor import Tensor
from dlcore.nn import functional as F

__all__ = ["ConvNeXt", "convnext_tiny"]


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of images."""

    layout = "NCHW"

    def forward(self, x: Tensor) -> Any:
        """(N, channels, H, W), each place by itself."""
        if self.layout == "NHWC":
            return super().forward(x)
        return permute(super().forward(permute(x, (0, 2, 3, 1))), (0, 3, 1, 2))


class Block(nn.Module):
    """x + layer_scale times (depthwise convolution 7x7, normalisation, and two linear layers with GELU between)."""

    layout = "NCHW"

    def __init__(self, width: int):
        self.layer_scale = nn.Parameter(full((width, 1, 1), 1e-6))
        self.block = nn.Sequential(
            {
                "0": nn.Conv2d(width, width, 7, padding=3, groups=width),
                "2": nn.LayerNorm(width, 1e-6),
                "3": nn.Linear(width, 4 * width),
                "5": nn.Linear(4 * width, width),
            }
        )

    def forward(self, x: Tensor) -> Any:
        """(N, width, H, W) -> the same."""
        parts: Any = self.block
        conv, norm, wide, narrow = parts
        last = self.layout == "NHWC"
        inner = conv(x) if last else permute(conv(x), (0, 2, 3, 1))
        # As functions: features are the last axis here, whatever the layout of images.
        inner = F.layer_norm(inner, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        inner = F.linear(F.gelu(F.linear(inner, wide.weight, wide.bias)), narrow.weight, narrow.bias)
        inner = inner * self.layer_scale.reshape(-1)
        return x + (inner if last else permute(inner, (0, 3, 1, 2)))


class ConvNeXt(nn.Module):
    """ConvNeXt: (N, channels, H, W) -> (N, classes).

    A convolution of size and stride ``patch`` in front; stage k has ``depths[k]`` blocks of ``widths[k]`` channels, and
    from the second on begins with a convolution 2x2 of stride 2. Names of parameters are torchvision's. The default is
    for pictures of about 28x28: 109,338 parameters.

    >>> dl.models.ConvNeXt()(dl.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """

    passes_layout = True

    def __init__(
        self, classes: int = 10, channels: int = 1, depths: Sequence[int] = (1, 1, 2),
        widths: Sequence[int] = (24, 40, 64), patch: int = 2,
    ):  # fmt: skip
        counts, sizes = integers(depths, "ConvNeXt: depths"), integers(widths, "ConvNeXt: widths")
        if not counts or len(counts) != len(sizes) or min(*counts, *sizes) < 1:
            raise ValueError(f"ConvNeXt: depths {counts} and widths {sizes} are not one of each for every stage")
        inputs, step = integer(channels, "ConvNeXt: channels", 1), integer(patch, "ConvNeXt: patch", 1)
        layers = [nn.Sequential(nn.Conv2d(inputs, sizes[0], step, step), _ChannelNorm(sizes[0], 1e-6))]
        for k, (count, width) in enumerate(zip(counts, sizes, strict=True)):
            if k:
                layers.append(nn.Sequential(_ChannelNorm(sizes[k - 1], 1e-6), nn.Conv2d(sizes[k - 1], width, 2, 2)))
            layers.append(nn.Sequential(*(Block(width) for _ in range(count))))
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1)
        outputs = integer(classes, "ConvNeXt: classes", 1)
        head = nn.Linear(sizes[-1], outputs)
        self.classifier = nn.Sequential(_ChannelNorm(sizes[-1], 1e-6), nn.Flatten(), head)
        self.apply(_start)

    def forward(self, x: Tensor) -> Any:
        """(N, channels, H, W) -> (N, classes)."""
        return self.classifier(self.avgpool(self.features(x)))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def convnext_tiny(classes: int = 1000, channels: int = 3) -> ConvNeXt:
    """ConvNeXt-T for pictures of about 224x224: 28,589,128 parameters, which have torchvision's names."""
    return ConvNeXt(classes, channels, (3, 3, 9, 3), (96, 192, 384, 768), 4)
