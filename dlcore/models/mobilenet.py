"""MobileNet (Howard et al. 2017): depthwise convolutions 3x3, one kernel a channel, then 1x1 ones across channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore import nn
from dlcore._arguments import integer
from dlcore._tensor import Tensor

__all__ = ["MobileNet", "mobilenet_v1"]

Plan = Sequence[tuple[int, int]]

SMALL: Plan = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
LARGE: Plan = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)
)  # fmt: skip


def _unit(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class MobileNet(nn.Module):
    """A depthwise separable network: (N, channels, H, W) -> (N, classes).

    A convolution 3x3 of ``first`` = (channels, stride) in front, then for each (channels, stride) of ``plan`` a
    depthwise convolution 3x3 with that stride and a convolution 1x1 to as many channels, each with batch normalisation
    and ReLU; the mean over height and width, and a linear layer. The default plan is for pictures of about 28x28:
    36,874 parameters with 1 channel and 10 classes.

    >>> dl.models.MobileNet()(dl.zeros(5, 1, 28, 28)).shape
    (5, 10)
    """

    passes_layout = True

    def __init__(self, classes: int = 10, channels: int = 1, plan: Plan = SMALL, first: tuple[int, int] = (16, 1)):
        width, stride = first
        layers = _unit(integer(channels, "MobileNet: channels", 1), width, 3, stride)
        for outputs, step in plan:
            layers += [*_unit(width, width, 3, step, groups=width), *_unit(width, outputs, 1, 1)]
            width = outputs
        self.features = nn.Sequential(*layers)
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(width, integer(classes, "MobileNet: classes", 1))
        self.apply(_start)

    def forward(self, x: Tensor) -> Any:
        """(N, channels, H, W) -> (N, classes)."""
        return self.fc(self.flatten(self.avgpool(self.features(x))))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in", nonlinearity="relu")


def mobilenet_v1(classes: int = 1000, channels: int = 3) -> MobileNet:
    """MobileNet v1 for pictures of about 224x224: 4,231,976 parameters."""
    return MobileNet(classes, channels, LARGE, (32, 2))
