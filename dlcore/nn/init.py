"""Initialisers: each fills a tensor in place and returns it.

The fan-in and the fan-out of a weight (out, in, ...) are in and out, each times the number of elements of the further
axes. Glorot & Bengio 2010 (Xavier), He et al. 2015 (Kaiming). The random numbers are those of the default generator:
after ``dl.manual_seed`` with the same seed the weights are the same, on every device.
"""

from __future__ import annotations

import math

from dlcore._autograd import no_grad
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError
from dlcore.random import normal, uniform

__all__ = [
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "uniform_",
    "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with numbers uniform in [a, b)."""
    with no_grad():
        return tensor.copy_(uniform(tensor.shape, a, b, tensor.dtype, tensor.device))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with normal numbers of mean ``mean`` and standard deviation ``std``."""
    with no_grad():
        return tensor.copy_(normal(tensor.shape, mean, std, tensor.dtype, tensor.device))


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Fill with ``value``."""
    with no_grad():
        return tensor.fill_(value)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain of ``nonlinearity`` ("linear", "sigmoid", "tanh", "relu", "leaky_relu"), which keeps the variance.

    ``param``: the negative slope of leaky_relu (default 0.01).
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: {nonlinearity!r} is not one of {', '.join(gains)}")
    return gains[nonlinearity]


def _fans(tensor: Tensor, name: str) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ShapeError(f"{name}: a weight has at least 2 axes (out, in, ...), not shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with uniform numbers of variance gain^2 * 2 / (fan_in + fan_out)."""
    bound = gain * math.sqrt(6 / max(sum(_fans(tensor, "xavier_uniform_")), 1))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with normal numbers of variance gain^2 * 2 / (fan_in + fan_out)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(sum(_fans(tensor, "xavier_normal_")), 1)))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str, name: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'{name}: mode is "fan_in" or "fan_out", not {mode!r}')
    fan = _fans(tensor, name)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill with uniform numbers of variance gain^2 / fan; ``a``: the negative slope of leaky_relu (0: relu)."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill with normal numbers of variance gain^2 / fan; ``a``: the negative slope of leaky_relu (0: relu)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_"))
