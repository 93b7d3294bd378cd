"""Residual networks: for small pictures (He et al. 2016, section 4.2), and ResNet-18 with torchvision's names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dlcore import nn
from dlcore._arguments import boolean, integer, integers
from dlcore._operations import pad
from dlcore._tensor import Tensor

__all__ = ["ResNet", "resnet8", "resnet18", "resnet20", "resnet32"]


class _Padded(nn.Module):
    """Every ``stride``-th row and column, with channels of zeros on both sides of the old ones: no parameters."""

    layout = "NCHW"

    def __init__(self, inputs: int, outputs: int, stride: int):
        self.stride, self.more = stride, ((outputs - inputs) // 2, outputs - inputs - (outputs - inputs) // 2)

    def forward(self, x: Tensor) -> Any:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        s = self.stride
        if self.layout == "NHWC":
            return pad(x[:, ::s, ::s], ((0, 0), (0, 0), (0, 0), self.more))
        return pad(x[:, :, ::s, ::s], ((0, 0), self.more, (0, 0), (0, 0)))


class BasicBlock(nn.Module):
    """ReLU(x + two convolutions 3x3 of x, each with batch normalisation)."""

    passes_layout = True

    def __init__(self, inputs: int, outputs: int, stride: int, padded: bool):
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            projected = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
            self.downsample = _Padded(inputs, outputs, stride) if padded else nn.Sequential(*projected)

    def forward(self, x: Tensor) -> Any:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)  # first: bn2, + and relu become one launch
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet(nn.Module):
    """A residual network of basic blocks: (N, channels, H, W) -> (N, classes).

    Stage k has ``blocks[k]`` blocks of ``widths[k]`` channels, and from the second on halves height and width.
    ``small`` is for pictures of about 32x32, CIFAR's: a convolution 3x3 in front, and shortcuts without parameters (He
    et al. 2016, option A). Otherwise 7x7 with stride 2 and max pooling in front, and convolutions 1x1 in shortcuts, for
    pictures of about 224x224. Names of parameters are torchvision's.

    >>> dl.models.ResNet((1, 1, 1), (8, 16, 32), channels=1)(dl.zeros(5, 1, 28, 28)).shape
    (5, 10)
    """

    passes_layout = True

    def __init__(
        self, blocks: Sequence[int], widths: Sequence[int], classes: int = 10, channels: int = 3, small: bool = True
    ):
        counts, widths = integers(blocks, "ResNet: blocks"), integers(widths, "ResNet: widths")
        if not counts or len(counts) != len(widths) or min(*counts, *widths) < 1:
            raise ValueError(f"ResNet: blocks {counts} and widths {widths} are not one of each for every stage")
        inputs, padded = integer(channels, "ResNet: channels", 1), boolean(small, "ResNet: small")
        self.conv1 = nn.Conv2d(inputs, widths[0], *((3, 1, 1) if padded else (7, 2, 3)), bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = nn.Identity() if padded else nn.MaxPool2d(3, 2, 1)
        stages = []
        for k, (count, (before, width)) in enumerate(zip(counts, pairwise((widths[0], *widths)), strict=True), 1):
            sizes = [(before, width, 1 if k == 1 else 2), *[(width, width, 1)] * (count - 1)]
            setattr(self, f"layer{k}", nn.Sequential(*(BasicBlock(*size, padded) for size in sizes)))
            stages.append(f"layer{k}")
        self.stages = tuple(stages)
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(widths[-1], integer(classes, "ResNet: classes", 1))
        self.apply(_start)

    def forward(self, x: Tensor) -> Any:
        """(N, channels, H, W) -> (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(self.flatten(self.avgpool(x)))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _small(depth: int, classes: int, channels: int) -> ResNet:
    return ResNet(((depth - 2) // 6,) * 3, (16, 32, 64), classes, channels)


def resnet8(classes: int = 10, channels: int = 3) -> ResNet:
    """ResNet-8 for small pictures, a block in each stage: 75,290 parameters."""
    return _small(8, classes, channels)


def resnet20(classes: int = 10, channels: int = 3) -> ResNet:
    """ResNet-20 for small pictures (He et al. 2016): 269,722 parameters."""
    return _small(20, classes, channels)


def resnet32(classes: int = 10, channels: int = 3) -> ResNet:
    """ResNet-32 for small pictures (He et al. 2016): 464,154 parameters."""
    return _small(32, classes, channels)


def resnet18(classes: int = 1000, channels: int = 3) -> ResNet:
    """ResNet-18 for pictures of about 224x224: 11,689,512 parameters, which have torchvision's names.

    >>> len(dl.models.resnet18().state_dict())
    122
    """
    return ResNet((2, 2, 2, 2), (64, 128, 256, 512), classes, channels, small=False)
