"""`custom`: a function with a gradient of its own."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import function
from dlcore._autograd import is_grad_enabled, no_grad
from dlcore._batching import Level, all_of, levels_of, one_of, within
from dlcore._creation import zeros_like
from dlcore._tensor import Tensor
from dlcore.errors import AutogradError, ShapeError

__all__ = ["custom"]


class custom:
    """``forward`` as a function whose gradient is what ``backward`` says.

    ``forward``: a function of tensors and other arguments that returns a tensor or a tuple of them. Nothing in it is
    tracked. ``backward`` names what it needs, in any order: ``dout``, the gradient of the result (a tuple where there
    are several results), the arguments of ``forward`` by their names, and ``out``, the result. It returns the gradients
    of the tensors among the arguments, in their order: alone where there is one, None for one that has none.

    Arguments and results named in ``backward`` are kept for it; where the gradient is itself differentiated
    (``create_graph``), they are those of the graph, so that higher gradients are right as long as ``backward`` is made
    of differentiable operations. Works in recorded steps, in `vmap` and in `dl.checkpoint`.

    As a decorator of ``forward``, with the rule declared after it:

    >>> @dl.func.custom
    ... def clipped(x, limit):
    ...     return dl.clip(x, -limit, limit)
    >>> @clipped.backward
    ... def _(dout):
    ...     return dout  # as if nothing had been clipped
    >>> dl.func.grad(lambda x: clipped(x, 1.0).sum())(dl.tensor([0.5, 3.0]))
    tensor([1., 1.])
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any] | None = None):
        self.forward = function(forward, "custom: forward")
        self.name = getattr(forward, "__name__", type(forward).__name__)
        self.signature = inspect.signature(forward)
        kinds = {p.kind for p in self.signature.parameters.values()}
        if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            raise TypeError(f"custom: {self.name} takes *args or **kwargs; name the arguments, as backward does")
        for name in ("dout", "out"):
            if name in self.signature.parameters:
                raise TypeError(f"custom: an argument of {self.name} is called {name!r}, which means another thing")
        self._function = _C.Function(types.SimpleNamespace(name=self.name))
        self._backward: Callable[..., Any] | None = None
        self._asked: tuple[str, ...] = ()
        functools.update_wrapper(self, forward, updated=())
        if backward is not None:
            self.backward(backward)

    def backward(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Declares the gradient rule; returns it."""
        function(rule, "custom: backward")
        asked = tuple(inspect.signature(rule).parameters)
        if unknown := set(asked) - {"dout", "out", *self.signature.parameters}:
            raise TypeError(
                f"custom: backward names {', '.join(map(repr, sorted(unknown)))}; there are 'dout', 'out' and the "
                f"arguments of {self.name}: {', '.join(self.signature.parameters)}"
            )
        self._backward, self._asked = rule, asked
        return rule

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<custom function {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._backward is None:
            raise AutogradError(f"custom: {self.name} has no backward yet: declare one with @{self.name}.backward")
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        names = [name for name, value in values.items() if isinstance(value, Tensor)]
        levels = levels_of([values[name] for name in names])
        values |= {name: all_of(values[name], levels) for name in names}
        with no_grad(), within(levels):
            found = self._run(bound, {**values, **{name: one_of(values[name], levels) for name in names}})
            single = not isinstance(found, tuple)
            outs = tuple(self._result(o, levels) for o in ((found,) if single else found))
        if is_grad_enabled() and any(values[name].requires_grad for name in names):
            outs = self._linked(values, names, outs, levels, single)
        results = tuple(one_of(o, levels) for o in outs)
        return results[0] if single else results

    def _run(self, bound: inspect.BoundArguments, values: Mapping[str, Any]) -> Any:
        bound.arguments.update(values)
        return self.forward(*bound.args, **bound.kwargs)

    def _result(self, out: Any, levels: Sequence[Level]) -> Any:
        if not isinstance(out, Tensor):
            raise TypeError(f"custom: {self.name} returned a {type(out).__name__}; results are tensors")
        return all_of(out, levels).detach()

    def _linked(
        self, values: Mapping[str, Any], names: Sequence[str], outs: tuple[Any, ...], levels: Sequence[Level],
        single: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        """The results as those of one operation of the tape."""
        kept = [k for k, name in enumerate(names) if name in self._asked]
        with_out = "out" in self._asked
        others = {name: value for name, value in values.items() if name not in names}
        empty = [o.detach() for o in outs]

        def rule(create_graph: bool, needed: tuple[bool, ...], *given: Any) -> list[Any]:
            douts = [zeros_like(e) if d is None else d for d, e in zip(given, empty, strict=False)]
            rest = given[len(outs) :]
            known: dict[str, Any] = dict(others)
            known |= {names[k]: one_of(t, levels) for k, t in zip(kept, rest, strict=False)}
            with within(levels):
                several = [one_of(d, levels) for d in douts]
                made = [one_of(t, levels) for t in rest[len(kept) :]]
                known["dout"] = several[0] if single else tuple(several)
                if with_out:
                    known["out"] = made[0] if single else tuple(made)
                assert self._backward is not None
                found = self._backward(**{name: known[name] for name in self._asked})
                return self._gradients(found, values, names, needed, levels)

        keep_outputs = tuple(range(len(outs))) if with_out else ()
        inputs = tuple(values[name] for name in names)
        return _C.custom_node(self._function, rule, inputs, outs, tuple(kept), keep_outputs)

    def _gradients(
        self, found: Any, values: Mapping[str, Any], names: Sequence[str], needed: Sequence[bool],
        levels: Sequence[Level],
    ) -> list[Any]:  # fmt: skip
        """A gradient for each tensor, checked."""
        several = list(found) if isinstance(found, tuple | list) else [found]
        if len(several) != len(names):
            raise TypeError(
                f"custom: backward of {self.name} returned {len(several)} gradients for {len(names)} tensors: "
                f"{', '.join(names)}"
            )
        gradients: list[Any] = []
        for gradient, name, need in zip(several, names, needed, strict=True):
            if gradient is None or not need:
                gradients.append(None)
                continue
            if not isinstance(gradient, Tensor):
                raise TypeError(
                    f"custom: backward of {self.name} returned a {type(gradient).__name__} for {name!r}, not a tensor"
                )
            whole = all_of(gradient, levels)
            if whole.shape != values[name].shape:
                shape = values[name].shape[len(levels) :]
                raise ShapeError(
                    f"custom: backward of {self.name} returned shape {gradient.shape} for {name!r} of shape {shape}"
                )
            gradients.append(whole)
        return gradients
