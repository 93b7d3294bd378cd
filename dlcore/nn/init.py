"""Initialisers: each fills a tensor in place and returns it.

The fan-in and the fan-out of a weight (out, in, ...) are in and out, each times the number of elements of the further
axes. Glorot & Bengio 2010 (Xavier), He et al. 2015 (Kaiming). The random numbers are those of the default generator:
after ``dl.manual_seed`` with the same seed the weights are the same, on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore._arguments import choice, instance, integer, number, renamed
from dlcore._autograd import no_grad
from dlcore._device import CPU
from dlcore._tensor import Tensor
from dlcore.dtypes import float64
from dlcore.errors import ShapeError
from dlcore.random import normal, uniform

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip


def _filled(name: str, tensor: Tensor, values: Callable[[], Any]) -> Tensor:
    """``tensor`` with the values written into it; errors are those of the initialiser ``name``."""
    instance(tensor, Tensor, f"{name}: tensor", "a tensor")
    try:
        with no_grad():
            return tensor.copy_(values())
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, name) from None


def _uniform(name: str, tensor: Tensor, low: float, high: float) -> Tensor:
    return _filled(name, tensor, lambda: uniform(tensor.shape, low, high, tensor.dtype, tensor.device))


def _normal(name: str, tensor: Tensor, mean: float, std: float) -> Tensor:
    return _filled(name, tensor, lambda: normal(tensor.shape, mean, std, tensor.dtype, tensor.device))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with numbers uniform in [a, b)."""
    return _uniform("uniform_", tensor, number(a, "uniform_: a"), number(b, "uniform_: b"))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with normal numbers of mean ``mean`` and standard deviation ``std``."""
    return _normal("normal_", tensor, mean, std)


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Fill with ``value``."""
    return _filled("constant_", tensor, lambda: value)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _filled("zeros_", tensor, lambda: 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _filled("ones_", tensor, lambda: 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain of ``nonlinearity`` ("linear", "sigmoid", "tanh", "relu", "leaky_relu"), which keeps the variance.

    ``param``: the negative slope of leaky_relu (default 0.01).
    """
    slope = 0.01 if param is None else number(param, "calculate_gain: param")
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2) / math.hypot(1, slope),
    }
    return gains[choice(nonlinearity, tuple(gains), "calculate_gain: nonlinearity")]


def _fans(tensor: Tensor, name: str) -> tuple[int, int]:
    instance(tensor, Tensor, f"{name}: tensor", "a tensor")
    if tensor.ndim < 2:
        raise ShapeError(f"{name}: a weight has at least 2 axes (out, in, ...), not shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with uniform numbers of variance gain^2 * 2 / (fan_in + fan_out)."""
    fans = _fans(tensor, "xavier_uniform_")
    bound = number(gain, "xavier_uniform_: gain") * math.sqrt(6 / max(sum(fans), 1))
    return _uniform("xavier_uniform_", tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with normal numbers of variance gain^2 * 2 / (fan_in + fan_out)."""
    fans = _fans(tensor, "xavier_normal_")
    std = number(gain, "xavier_normal_: gain") * math.sqrt(2 / max(sum(fans), 1))
    return _normal("xavier_normal_", tensor, 0.0, std)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str, name: str) -> float:
    fan = _fans(tensor, name)[choice(mode, ("fan_in", "fan_out"), f"{name}: mode") == "fan_out"]
    return calculate_gain(nonlinearity, number(a, f"{name}: a")) / math.sqrt(max(fan, 1))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill with uniform numbers of variance gain^2 / fan; ``a``: the negative slope of leaky_relu (0: relu)."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return _uniform("kaiming_uniform_", tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill with normal numbers of variance gain^2 / fan; ``a``: the negative slope of leaky_relu (0: relu)."""
    std = _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_")
    return _normal("kaiming_normal_", tensor, 0.0, std)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on its diagonal and zeros elsewhere."""
    instance(tensor, Tensor, "eye_: tensor", "a tensor")
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: a matrix is needed, not shape {tensor.shape}")
    rows, columns = tensor.shape
    return _filled("eye_", tensor, lambda: np.eye(rows, columns))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the weight (out, in / groups, \\*kernel) of a convolution so that it passes on as many channels as it can.

    Kernel k of each of ``groups`` parts is 1 in the middle of input k and 0 elsewhere.
    """
    instance(tensor, Tensor, "dirac_: tensor", "a tensor")
    parts = integer(groups, "dirac_: groups", 1)
    if not 3 <= tensor.ndim <= 5:
        raise ShapeError(f"dirac_: a weight (out, in, *kernel) of 3 to 5 axes is needed, not shape {tensor.shape}")
    if tensor.shape[0] % parts:
        raise ValueError(f"dirac_: {tensor.shape[0]} outputs are not divisible by groups {parts}")
    each, values = tensor.shape[0] // parts, np.zeros(tensor.shape)
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for part in range(parts):
        for k in range(min(each, tensor.shape[1])):
            values[(part * each + k, k, *middle)] = 1
    return _filled("dirac_", tensor, lambda: values)


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with ``gain`` times a matrix of orthonormal rows or, where these are more, columns (Saxe et al. 2014).

    Of a weight (out, in, ...) the matrix is (out, in times the elements of the further axes).
    """
    _fans(tensor, "orthogonal_")
    factor, rows = number(gain, "orthogonal_: gain"), tensor.shape[0]
    if not tensor.size:
        return tensor
    drawn = np.asarray(normal((rows, tensor.size // rows), 0.0, 1.0, float64, CPU))
    wide = drawn.shape[0] < drawn.shape[1]
    q, r = np.linalg.qr(drawn.T if wide else drawn)
    q = q * np.sign(np.diag(r))  # the signs that make it uniform over all such matrices (Mezzadri 2007)
    return _filled("orthogonal_", tensor, lambda: factor * (q.T if wide else q).reshape(tensor.shape))
