"""Layers: linear, activations, dropout, flatten, and Sequential, which runs others in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from dlcore import _C
from dlcore._arguments import boolean, choice, integer, number, shown
from dlcore._autograd import is_grad_enabled
from dlcore._notes import note
from dlcore._spelling import spelled
from dlcore._tensor import Parameter, Tensor, empty
from dlcore.dtypes import as_dtype
from dlcore.nn import init
from dlcore.nn.module import Module, _Slot, _slots
from dlcore.ops.activation import gelu, relu, sigmoid, tanh
from dlcore.ops.matmul import linear
from dlcore.ops.movement import flatten
from dlcore.ops.softmax import log_softmax, softmax, softmin
from dlcore.random import dropout

__all__ = [
    "GELU", "Dropout", "Flatten", "Identity", "Linear", "LogSoftmax", "ReLU", "Sequential", "Sigmoid", "Softmax",
    "Softmin", "Tanh",
]  # fmt: skip


class Linear(Module):
    """``x @ weight.T + bias``: x (..., in_features) -> (..., out_features).

    ``weight`` (out_features, in_features) and ``bias`` (out_features,) start uniform in +-1/sqrt(in_features).

    >>> nn.Linear(64, 10)(dl.ones(32, 64)).shape
    (32, 10)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        self.in_features = integer(in_features, "Linear: in_features", 0)
        self.out_features = integer(out_features, "Linear: out_features", 0)
        chosen = None if dtype is None else as_dtype(dtype, "Linear: dtype")
        shape = self.out_features, self.in_features
        self.weight = Parameter(empty(shape, dtype=chosen, device=device))
        wanted = boolean(bias, "Linear: bias")
        self.bias = Parameter(empty(shape[:1], dtype=chosen, device=device)) if wanted else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)  # Kaiming uniform with a = sqrt(5), as in PyTorch
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class ReLU(Module):
    """max(x, 0). ``inplace`` is taken as PyTorch has it, and changes nothing: the input is never overwritten."""

    def __init__(self, inplace: bool = False):
        boolean(inplace, "ReLU: inplace")

    def forward(self, x: Tensor) -> Tensor:
        return relu(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)


class GELU(Module):
    """x times the normal distribution function of x; with ``approximate="tanh"`` its approximation by tanh."""

    def __init__(self, approximate: str = "none"):
        self.approximate = choice(approximate, ("none", "tanh"), "GELU: approximate")

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along ``dim``."""

    @spelled
    def __init__(self, dim: int = -1):
        self.dim = integer(dim, f"{type(self).__name__}: dim")

    def forward(self, x: Tensor) -> Tensor:
        return softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """log(softmax(x)) along ``dim``."""

    def forward(self, x: Tensor) -> Tensor:
        return log_softmax(x, self.dim)


class Softmin(Softmax):
    """softmax(-x) along ``dim``."""

    def forward(self, x: Tensor) -> Tensor:
        return softmin(x, self.dim)


class Identity(Module):
    """x; arguments are accepted and ignored, so that it can take the place of any layer."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` made one: (B, 28, 28) -> (B, 784)."""

    @spelled
    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = integer(start_dim, "Flatten: start_dim"), integer(end_dim, "Flatten: end_dim")

    def forward(self, x: Tensor) -> Tensor:
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Dropout(Module):
    """In training, sets each element to zero with probability ``p`` and scales the others by 1 / (1 - p).

    In training mode under ``no_grad()`` it gives a RuntimeWarning: that is an evaluation without ``model.eval()``.
    ``inplace`` is taken as PyTorch's, and changes nothing: the input is never overwritten.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False):
        name = type(self).__name__
        boolean(inplace, f"{name}: inplace")
        self.p = number(p, f"{name}: p")
        if not 0 <= self.p <= 1:
            raise ValueError(f"{name}: p is a probability, not {self.p}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if not is_grad_enabled() and not _C.is_recording():
            name = type(self).__name__
            note(f"{name}: it is in training mode under no_grad(); call model.eval() before an evaluation")
        return self._drop(x)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Sequential(Module):
    """Modules run one after the other: ``Sequential(Linear(64, 10), ReLU())`` or a dict of named ones.

    >>> nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))(dl.zeros(5, 8, 8)).shape
    (5, 10)
    """

    def __init__(self, *layers: Module | Mapping[str, Module]):
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named = dict(layers[0])
        else:
            named = {str(i): layer for i, layer in enumerate(layers)}  # type: ignore[misc]
        for name, layer in named.items():
            _check_layer(name, layer)
        self._layers: dict[str, Module] = named

    def _construction(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        names = list(self._layers)
        plain = names == [str(k) for k in range(len(names))]
        return (list(self._layers.values()) if plain else [dict(self._layers)]), {}

    def _members(self) -> Iterator[_Slot]:
        yield from _slots(self._layers)  # "0.weight", not "_layers.0.weight"

    def forward(self, x: Any) -> Any:
        for layer in self._layers.values():
            x = layer(x)
        return x

    def append(self, layer: Module) -> Sequential:
        """Add a module at the end."""
        name = str(len(self._layers))
        _check_layer(name, layer)
        self._layers[name] = layer
        return self

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            try:
                return Sequential(dict(list(self._layers.items())[index]))
            except (TypeError, ValueError) as error:
                raise IndexError(f"Sequential: index {index!r} is no slice of layers: {error}") from None
        return self._layers[self._name(index)]

    def __setitem__(self, index: int, layer: Module) -> None:
        name = self._name(index)
        _check_layer(name, layer)
        self._layers[name] = layer

    def _name(self, index: int) -> str:
        """The name of a layer by its position."""
        at, names = integer(index, "Sequential: index"), list(self._layers)
        if not -len(names) <= at < len(names):
            raise IndexError(f"Sequential: there is no layer {shown(at)} among {len(names)}")
        return names[at]


def _check_layer(name: str, layer: Any) -> None:
    if not isinstance(layer, Module):
        raise TypeError(f"Sequential: layer {name} {shown(layer)} is not a Module")
