"""Activations as modules: the functions of the same name in ``dl``, with PyTorch's arguments and defaults.

``inplace`` is taken where PyTorch has it, and changes nothing: the input is never overwritten.
"""

from __future__ import annotations

from typing import Any

from dlcore._arguments import boolean, choice, integer, number
from dlcore._creation import full
from dlcore._spelling import spelled
from dlcore._tensor import Parameter, Tensor
from dlcore.dtypes import as_dtype
from dlcore.nn.module import Module
from dlcore.ops import gated, gates, units

__all__ = [
    "CELU", "ELU", "GEGLU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "PReLU", "ReLU6", "SiLU", "Softplus", "Softshrink", "Softsign", "SwiGLU", "Tanhshrink",
    "Threshold",
]  # fmt: skip


class _Plain(Module):
    """An activation without arguments."""

    def __init__(self, inplace: bool = False):
        boolean(inplace, f"{type(self).__name__}: inplace")


class SiLU(_Plain):
    """x sigmoid(x), also called swish."""

    def forward(self, x: Tensor) -> Tensor:
        return units.silu(x)


class Mish(_Plain):
    """x tanh(softplus(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return units.mish(x)


class ReLU6(_Plain):
    """min(max(x, 0), 6)."""

    def forward(self, x: Tensor) -> Tensor:
        return units.relu6(x)


class SELU(_Plain):
    """The self-normalising exponential linear unit."""

    def forward(self, x: Tensor) -> Tensor:
        return units.selu(x)


class Hardsigmoid(_Plain):
    """min(max(x + 3, 0), 6) / 6."""

    def forward(self, x: Tensor) -> Tensor:
        return units.hardsigmoid(x)


class Hardswish(_Plain):
    """x hardsigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return units.hardswish(x)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x: Tensor) -> Tensor:
        return units.softsign(x)


class LogSigmoid(Module):
    """log(sigmoid(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return units.logsigmoid(x)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return gates.tanhshrink(x)


class LeakyReLU(Module):
    """x where it is positive, else x times ``negative_slope``."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope = number(negative_slope, "LeakyReLU: negative_slope")
        boolean(inplace, "LeakyReLU: inplace")

    def forward(self, x: Tensor) -> Tensor:
        return units.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x where it is positive, else x times ``weight``, which is learned: one number, or one for each channel (axis 1).

    >>> nn.PReLU(3)(dl.full((1, 3), -1.0)).tolist()
    [[-0.25, -0.25, -0.25]]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None):
        self.num_parameters = integer(num_parameters, "PReLU: num_parameters", 1)
        chosen = None if dtype is None else as_dtype(dtype, "PReLU: dtype")
        start = number(init, "PReLU: init")
        self.weight = Parameter(full((self.num_parameters,), start, dtype=chosen, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return gates.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x where it is positive, else alpha (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = number(alpha, f"{type(self).__name__}: alpha")
        boolean(inplace, f"{type(self).__name__}: inplace")

    def forward(self, x: Tensor) -> Tensor:
        return units.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(ELU):
    """x where it is positive, else alpha (exp(x / alpha) - 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return units.celu(x, self.alpha)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta; x itself where beta x is above ``threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = number(beta, "Softplus: beta"), number(threshold, "Softplus: threshold")

    def forward(self, x: Tensor) -> Tensor:
        return units.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """x limited to [``min_val``, ``max_val``]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        self.min_val, self.max_val = number(min_val, "Hardtanh: min_val"), number(max_val, "Hardtanh: max_val")
        boolean(inplace, "Hardtanh: inplace")
        if not self.min_val < self.max_val:
            raise ValueError(f"Hardtanh: min_val {self.min_val} is not below max_val {self.max_val}")

    def forward(self, x: Tensor) -> Tensor:
        return units.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Hardshrink(Module):
    """x where it lies outside of [-``lambd``, ``lambd``], else 0."""

    def __init__(self, lambd: float = 0.5):
        self.lambd = number(lambd, f"{type(self).__name__}: lambd")

    def forward(self, x: Tensor) -> Tensor:
        return units.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Softshrink(Hardshrink):
    """x moved towards 0 by ``lambd``, 0 within."""

    def __init__(self, lambd: float = 0.5):
        super().__init__(lambd)
        if self.lambd < 0:
            raise ValueError(f"Softshrink: lambd {self.lambd} is negative")

    def forward(self, x: Tensor) -> Tensor:
        return units.softshrink(x, self.lambd)


class Threshold(Module):
    """x where it is above ``threshold``, else ``value``."""

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        self.threshold, self.value = number(threshold, "Threshold: threshold"), number(value, "Threshold: value")
        boolean(inplace, "Threshold: inplace")

    def forward(self, x: Tensor) -> Tensor:
        return units.threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class GLU(Module):
    """a sigmoid(b), a and b the halves of the input along ``dim``."""

    @spelled
    def __init__(self, dim: int = -1):
        self.dim = integer(dim, f"{type(self).__name__}: dim")

    def forward(self, x: Tensor) -> Tensor:
        return gates.glu(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class SwiGLU(GLU):
    """silu(a) b, a and b the halves of the input along ``dim``, in one kernel: `dl.swiglu`.

    >>> nn.SwiGLU()(dl.tensor([0.0, 20.0, 3.0, 3.0]))
    tensor([ 0., 60.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return gated.swiglu(x, None, self.dim)


class GEGLU(GLU):
    """gelu(a) b, a and b the halves of the input along ``dim``, in one kernel: `dl.geglu`.

    >>> nn.GEGLU()(dl.tensor([0.0, 20.0, 3.0, 3.0]))
    tensor([ 0., 60.])
    """

    @spelled
    def __init__(self, dim: int = -1, approximate: str = "none"):
        self.dim = integer(dim, "GEGLU: dim")
        self.approximate = choice(approximate, ("none", "tanh"), "GEGLU: approximate")

    def forward(self, x: Tensor) -> Tensor:
        return gated.geglu(x, None, self.dim, self.approximate)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, approximate={self.approximate!r}"
