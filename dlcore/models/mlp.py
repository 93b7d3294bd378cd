"""Linear models and multilayer perceptrons, for samples of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dlcore import nn
from dlcore._arguments import integer, integers, number
from dlcore._names import Names
from dlcore._tensor import Tensor

__all__ = ["MLP", "Linear"]

ACTIVATIONS = Names(
    "an activation",
    [
        ("relu", nn.ReLU), ("gelu", nn.GELU), ("silu", nn.SiLU), ("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid),
        ("leaky_relu", nn.LeakyReLU), ("elu", nn.ELU), ("selu", nn.SELU), ("mish", nn.Mish), ("softplus", nn.Softplus),
        ("hardswish", nn.Hardswish), ("relu6", nn.ReLU6),
    ],
)  # fmt: skip


class MLP(nn.Module):
    """A multilayer perceptron: samples of ``shape``, flattened, through layers of ``hidden`` units to ``outputs``.

    Each hidden layer is linear, an activation ("relu", "gelu", "silu", "tanh", ...) and, with ``dropout`` above 0, a
    Dropout. It gives (N, outputs): logits, or values.

    >>> dl.models.MLP((8, 8), 10, hidden=(32,))(dl.zeros(5, 8, 8)).shape
    (5, 10)
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        outputs: int,
        hidden: int | Sequence[int] = (128, 64),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        name = type(self).__name__
        lengths = integers(shape, f"{name}: shape")
        widths = [math.prod(lengths), *integers(hidden, f"{name}: hidden"), integer(outputs, f"{name}: outputs", 1)]
        if min(widths) < 1:
            raise ValueError(f"{name}: layers of {widths} units; each needs at least one")
        between, p = ACTIVATIONS.get(activation, f"{name}: activation"), number(dropout, f"{name}: dropout")
        layers: list[nn.Module] = [nn.Flatten()]
        for k, (width, following) in enumerate(pairwise(widths)):
            if k:
                layers += [between(), *([nn.Dropout(p)] if p else [])]
            layers.append(nn.Linear(width, following))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Any:
        """(N, \\*shape) -> (N, outputs)."""
        return self.layers(x)


class Linear(MLP):
    """A linear model of samples of ``shape``: with cross_entropy, logistic regression."""

    def __init__(self, shape: int | Sequence[int], outputs: int):
        super().__init__(shape, outputs, ())
