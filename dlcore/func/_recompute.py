"""`checkpoint`: what a function keeps for the backward pass is computed again there, and takes no memory until then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from dlcore import _C
from dlcore._arguments import function
from dlcore._autocast import autocast
from dlcore._autograd import enable_grad, is_grad_enabled
from dlcore._batching import around, within
from dlcore._tensor import Tensor
from dlcore.errors import AutogradError
from dlcore.func._tree import leaves
from dlcore.random import default_generator, generator_states, set_generator_states

__all__ = ["checkpoint"]


class _Region:
    """One call of a function whose nodes on the tape keep nothing (csrc/core/hooks.h)."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.f, self.args, self.kwargs = f, args, kwargs
        self.names: list[str] = []
        self.nodes: list[Any] | None = None
        self.levels, self.autocast = around(), _C.autocast_dtype()
        for device in {t.device for t in leaves((args, kwargs)) if isinstance(t, Tensor)}:
            default_generator(device)  # it must be there, so that its state is kept
        self.states = generator_states()

    def run(self) -> Any:
        """The call; nothing is kept."""
        before = _C.set_region((self, self.names, False))
        try:
            return self.f(*self.args, **self.kwargs)
        finally:
            _C.set_region(before)

    def __call__(self, place: int) -> Any:
        """The node of that place, with all that it keeps."""
        if self.nodes is None:
            self.nodes = self._again()
        node, self.nodes[place] = self.nodes[place], None
        return node

    def _again(self) -> list[Any]:
        nodes: list[Any] = []
        now = generator_states()
        set_generator_states(self.states)
        before = _C.set_region((self, nodes, True))
        cast = nullcontext() if self.autocast is None else autocast(self.autocast)
        try:
            with enable_grad(), cast, within(self.levels):
                self.f(*self.args, **self.kwargs)
        finally:
            _C.set_region(before)
            set_generator_states(now)
        found = [node.name for node in nodes]
        for k, name in enumerate(self.names):
            if k >= len(found) or found[k] != name:
                other = found[k] if k < len(found) else "nothing"
                raise AutogradError(
                    f"checkpoint: computed again the function did something else: operation {k} was {name}, then "
                    f"{other}"
                )
        return nodes


def checkpoint(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``f(*args, **kwargs)``, computed again in the backward pass instead of keeping what its gradients need.

    Memory for time: between the passes only the arguments and the result are there. Gradients flow to the arguments and
    to whatever else ``f`` uses (parameters), and are the same to the bit. ``f`` must do the same both times: the states
    of the default random generators, autocast and vmap are those of the first time. Works in recorded steps, with
    ``create_graph``, and within another checkpoint.

    Raises AutogradError, in the backward pass, where ``f`` did other operations the second time, or an argument or a
    parameter was changed in place since.

    >>> x = dl.tensor([1.0, 2.0], requires_grad=True)
    >>> dl.checkpoint(lambda x: dl.exp(dl.sin(x)), x).sum().backward()
    >>> dl.allclose(x.grad, dl.exp(dl.sin(x)) * dl.cos(x))
    True
    """
    function(f, "checkpoint: f")
    return _Region(f, args, kwargs).run() if is_grad_enabled() else f(*args, **kwargs)
