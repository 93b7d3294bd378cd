"""The activations that other operations may apply to their results, such as ``linear(..., activation="relu")``.

From this list follow what `activation` accepts, its error text, the code that kernels are given, reference and
composite, and what is kept for the gradient. The kernels' lists are csrc/core/activations.inl, in the same order, and
kernels/common/activations.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dlcore.op import REGISTRY, Op
from dlcore.ops import activation as _operations  # noqa: F401  (the operations below, found in REGISTRY)

__all__ = ["ACTIVATIONS", "NAMES", "Activation", "check_activation", "code", "matching"]


class Activation(NamedTuple):
    """An operation with certain attributes, and its gradient, under one name."""

    name: str
    operation: str
    attrs: tuple[Any, ...] = ()
    residual: str = "out"
    """What the gradient is a function of besides dout: "out", the result, or "pre", the value before the activation."""
    bound: float = 0.0
    """What |f(x)| does not exceed, where that is not |x|."""

    @property
    def forward(self) -> Op:
        """The operation."""
        return REGISTRY[self.operation]

    @property
    def backward(self) -> Op:
        """Its gradient, an operation of dout and the residual."""
        return REGISTRY[f"{self.operation}_backward"]

    def __call__(self, x: Any) -> Any:
        """The activation of ``x``."""
        return self.forward.call(x, *self.attrs)

    def gradient(self, dout: Any, residual: Any) -> Any:
        """``dout`` times the derivative."""
        return self.backward.call(dout, residual, *self.attrs)

    def ref(self, x: Any) -> Any:
        """The activation of ``x`` in NumPy."""
        return self.forward.ref(x, *self.attrs)  # type: ignore[misc]

    def gradient_ref(self, dout: Any, residual: Any) -> Any:
        """``dout`` times the derivative in NumPy."""
        return self.backward.ref(dout, residual, *self.attrs)  # type: ignore[misc]

    def gradient_magnitude(self, dout: Any, residual: Any) -> Any:
        """What errors of ``gradient`` are measured against: no derivative exceeds 1.13, but terms of it may cancel."""
        own = self.backward.magnitude(dout, residual, *self.attrs) if self.backward.magnitude else 0.0
        return np.maximum(own, 1.13 * np.abs(dout))


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("relu", "relu"),
        Activation("sigmoid", "sigmoid", bound=1.0),
        Activation("tanh", "tanh", bound=1.0),
        Activation("gelu", "gelu", ("none",), residual="pre"),
        Activation("gelu_tanh", "gelu", ("tanh",), residual="pre"),
    )
}
NAMES = (None, *ACTIVATIONS)  # by the kernels' code


def code(name: str | None) -> int:
    """The number by which kernels know it."""
    return NAMES.index(name)


def check_activation(operation: str, name: str | None) -> None:
    """Raises ValueError where there is no activation of this name."""
    if name not in NAMES:
        raise ValueError(f"{operation}: activation {name!r} is not one of {', '.join(map(repr, NAMES))}")


def matching(operation: Op, attrs: tuple[Any, ...], gradient: bool = False) -> Activation | None:
    """The activation that an operation with these attributes is, or that it is the gradient of; None: of none."""
    for activation in ACTIVATIONS.values():
        if operation is (activation.backward if gradient else activation.forward) and attrs == activation.attrs:
            return activation
    return None
