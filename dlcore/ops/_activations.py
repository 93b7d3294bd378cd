"""The activations that a kernel may apply to its result: what `linear(activation=...)` knows of them.

One more is an entry here, one in csrc/common/activations.inl and one in kernels/common/activations.py, beside its
operation in activation.py. The code that kernels are told is the position in this list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from dlcore.op import Choice, Domain, Op
from dlcore.ops.activation import (
    gelu,
    gelu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    tanh,
    tanh_backward,
)

if TYPE_CHECKING:
    from dlcore._commands import Command

__all__ = ["ACTIVATIONS", "Activation", "Fusable", "name_of"]


class Fusable(NamedTuple):
    """An activation as a fused kernel applies it."""

    operation: Any
    gradient: Any
    """Its gradient's operation, of (dout, what is kept)."""
    attrs: tuple[Any, ...] = ()
    kept: str = "out"
    """What the gradient needs: the result, "out", or the value before the activation, "pre"."""
    slope: float = 1.0
    """No slope is larger."""
    bound: float = 0.0
    """Results are no larger than this and the argument together."""

    def restricted(self, dout: Any, kept: Any) -> list[Any]:
        """Random operands of the gradient, mapped to where its bound holds."""
        operands, domain = [dout, kept], self.kept_domain
        if domain.low is not None:
            operands[1] = np.clip(kept, domain.low, domain.high)
        if self.gradient.op.restrict:
            self.gradient.op.restrict(operands)
        return operands

    @property
    def kept_domain(self) -> Domain:
        """The values that what is kept may have."""
        domain: Domain = self.gradient.op.signature.operands[1].domain
        return domain

    def __call__(self, x: Any) -> Any:
        """The activation of a tensor."""
        return self.operation(x, *self.attrs)

    def backward(self, dout: Any, kept: Any) -> Any:
        """The gradient before the activation."""
        return self.gradient(dout, kept, *self.attrs)

    def reference(self, x: Any) -> Any:
        """The activation of an array."""
        return _reference(self.operation.op, x, *self.attrs)

    def backward_reference(self, dout: Any, kept: Any) -> Any:
        """The gradient before the activation, of arrays."""
        return _reference(self.gradient.op, dout, kept, *self.attrs)

    def backward_magnitude(self, dout: Any, kept: Any) -> Any:
        """What errors of that are measured against: the largest slope, or the terms that cancel in it."""
        op = self.gradient.op
        own = op.magnitudes(dict(zip(op.signature.names, (dout, kept, *self.attrs), strict=True)))
        steep = self.slope * np.abs(dout)
        return steep if own is None else np.maximum(steep, own)


def _reference(op: Op, *args: Any) -> Any:
    return op.expected(dict(zip(op.signature.names, args, strict=True)))[0]


ACTIVATIONS: dict[str | None, Fusable] = {
    "relu": Fusable(relu, relu_backward),
    "sigmoid": Fusable(sigmoid, sigmoid_backward, bound=1.0),
    "tanh": Fusable(tanh, tanh_backward, bound=1.0),
    "gelu": Fusable(gelu, gelu_backward, ("none",), "pre", 1.13),
    "gelu_tanh": Fusable(gelu, gelu_backward, ("tanh",), "pre", 1.13),
}


def name_of(command: Command, gradient: bool = False) -> str | None:
    """The activation that a launch of a recorded step is, or that it is the gradient of; None where it is none."""
    for name, activation in ACTIVATIONS.items():
        operation = activation.gradient if gradient else activation.operation
        if command.op is operation.op and command.attrs == activation.attrs:
            return name
    return None


Activation = Annotated[str | None, Choice(None, *ACTIVATIONS)]
