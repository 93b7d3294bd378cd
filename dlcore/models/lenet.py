"""LeNet-5 and a small network with batch normalisation, for pictures of one size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dlcore import nn
from dlcore._arguments import integer, integers
from dlcore._tensor import Tensor

__all__ = ["CNN", "LeNet5"]


def _size(size: int | Sequence[int], name: str, least: int) -> tuple[int, int]:
    """Height and width of pictures, each at least ``least``."""
    found = integers(size, f"{name}: size")
    if len(found) not in (1, 2) or min(found) < least:
        raise ValueError(f"{name}: size {size} is not a height and a width of at least {least}")
    return found[0], found[-1]


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: (N, channels, H, W) -> (N, classes).

    Two convolutions 5x5 of 6 and 16 channels, each followed by pooling, then layers of 120, 84 and ``classes`` units:
    61,706 parameters for pictures (1, 28, 28).

    >>> dl.models.LeNet5()(dl.zeros(5, 1, 28, 28)).shape
    (5, 10)
    """

    passes_layout = True

    def __init__(self, classes: int = 10, channels: int = 1, size: int | Sequence[int] = 28):
        height, width = _size(size, "LeNet5", 12)
        self.conv1 = nn.Conv2d(integer(channels, "LeNet5: channels", 1), 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu, self.pool, self.flatten = nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        self.fc1 = nn.Linear(16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, integer(classes, "LeNet5: classes", 1))

    def forward(self, x: Tensor) -> Any:
        """(N, channels, H, W) -> (N, classes)."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.flatten(self.pool(self.relu(self.conv2(x))))
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


class CNN(nn.Module):
    """Blocks of convolution 3x3, batch normalisation, ReLU and max pooling, then a linear layer.

    (N, channels, H, W) -> (N, classes). Each of ``widths`` is a block, which halves height and width. With the default
    widths (16, 32, 64) and pictures (1, 28, 28): 29,178 parameters.

    >>> dl.models.CNN()(dl.zeros(5, 1, 28, 28)).shape
    (5, 10)
    """

    passes_layout = True

    def __init__(
        self, classes: int = 10, channels: int = 1, size: int | Sequence[int] = 28,
        widths: Sequence[int] = (16, 32, 64),
    ):  # fmt: skip
        found = (integer(channels, "CNN: channels", 1), *integers(widths, "CNN: widths"))
        height, width = _size(size, "CNN", 2 ** (len(found) - 1))
        blocks: list[nn.Module] = []
        for before, after in pairwise(found):
            blocks += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            blocks += [nn.MaxPool2d(2)]
            height, width = height // 2, width // 2
        self.features = nn.Sequential(*blocks)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(found[-1] * height * width, integer(classes, "CNN: classes", 1))

    def forward(self, x: Tensor) -> Any:
        """(N, channels, H, W) -> (N, classes)."""
        return self.fc(self.flatten(self.features(x)))
