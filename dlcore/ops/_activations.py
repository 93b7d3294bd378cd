"""The activations that a kernel may apply to its result: what `linear(activation=...)` knows of them.

One more is an entry here, one in csrc/common/activations.inl and one in kernels/activation/functions.py, beside its
operation in activation.py. The code that kernels are told is the position in this list.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from dlcore.op import Choice, Op
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

__all__ = ["ACTIVATIONS", "Activation", "Fusable"]


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


def _reference(op: Op, *args: Any) -> Any:
    return op.expected(dict(zip(op.signature.names, args, strict=True)))[0]


ACTIVATIONS: dict[str | None, Fusable] = {
    "relu": Fusable(relu, relu_backward),
    "sigmoid": Fusable(sigmoid, sigmoid_backward, bound=1.0),
    "tanh": Fusable(tanh, tanh_backward, bound=1.0),
    "gelu": Fusable(gelu, gelu_backward, ("none",), "pre", 1.13),
    "gelu_tanh": Fusable(gelu, gelu_backward, ("tanh",), "pre", 1.13),
}

Activation = Annotated[str | None, Choice(None, *ACTIVATIONS)]
