"""Hooks on gradients, `Tensor.register_hook` and `Tensor.retain_grad`, and the handle that every hook has."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from dlcore import _C
from dlcore._arguments import function
from dlcore._batching import all_of, levels_of, one_of, within
from dlcore.errors import AutogradError

__all__ = ["HookHandle", "register_hook", "retain_grad"]


class HookHandle:
    """What `register_hook` and its like return: ``remove()``, or the end of a ``with`` block, takes the hook away."""

    __slots__ = ("_remove",)

    def __init__(self, remove: Callable[[], None]):
        self._remove = remove

    def remove(self) -> None:
        """The hook is not called any more; nothing happens where it has been removed."""
        self._remove()
        _C.note_change()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _add(t: Any, hook: Callable[[Any], Any], last: bool) -> HookHandle:
    hooks, output = _C.hooks_of(t)
    entry = (output, hook, last)
    hooks.append(entry)
    _C.note_change()  # recorded steps look again whether the hooks of their parameters are the same

    def remove() -> None:
        hooks[:] = [other for other in hooks if other is not entry]

    return HookHandle(remove)


def register_hook(t: Any, hook: Callable[[Any], Any]) -> HookHandle:
    """See `Tensor.register_hook`."""
    function(hook, "register_hook: hook")
    if not t.requires_grad:
        raise AutogradError(f"register_hook: the tensor of shape {t.shape} does not require a gradient")
    levels = levels_of((t,))
    if not levels:
        return _add(t, hook, False)

    def of_examples(gradient: Any) -> Any:
        with within(levels):
            answer = hook(one_of(gradient, levels))
            return None if answer is None else all_of(answer, levels)

    return _add(t, of_examples, False)


class _Keep:
    """Adds a gradient to ``grad`` of a tensor, as long as that is there."""

    def __init__(self, t: Any):
        self.tensor = weakref.ref(t)

    def __call__(self, gradient: Any) -> None:
        t = self.tensor()
        if t is not None:
            t.grad = gradient if t.grad is None else t.grad + gradient


def retain_grad(t: Any) -> None:
    """See `Tensor.retain_grad`."""
    if not t.requires_grad:
        raise AutogradError(f"retain_grad: the tensor of shape {t.shape} does not require a gradient")
    if _C.batch_of(t) is not None:
        raise AutogradError("retain_grad: of a tensor that stands for one example of a vmap; use dl.func.grad")
    if t.is_leaf or any(isinstance(hook, _Keep) and hook.tensor() is t for _, hook, _ in _C.hooks_of(t)[0]):
        return
    _add(t, _Keep(t), True)
