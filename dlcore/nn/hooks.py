"""Hooks on the calls of a module: `Module.register_forward_pre_hook` and `Module.register_forward_hook`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dlcore import _C
from dlcore._arguments import boolean, function, shown
from dlcore._hooks import HookHandle
from dlcore._recordable import Recordable
from dlcore.errors import CaptureError
from dlcore.nn.places import outside

__all__ = ["Hooks", "hooked", "registered"]


class Hook(NamedTuple):
    """A function that is called with a module, and whether it gets the keyword arguments, too."""

    function: Callable[..., Any]
    with_kwargs: bool


class Hooks(Recordable):
    """What is called before and after the ``forward`` of a module. It is never changed: another takes its place."""

    def __init__(self, before: tuple[Hook, ...] = (), after: tuple[Hook, ...] = ()):
        self.before, self.after = before, after

    def with_(self, kind: str, hooks: tuple[Hook, ...]) -> Hooks | None:
        """The same with others "before" or "after"; None where there are none at all."""
        both = {"before": self.before, "after": self.after, kind: hooks}
        return Hooks(**both) if any(both.values()) else None


def registered(module: Any, kind: str, hook: Any, prepend: Any, with_kwargs: Any) -> HookHandle:
    """The handle of ``hook``, which is called from now on; ``kind``: "before" or "after"."""
    name = "register_forward_pre_hook" if kind == "before" else "register_forward_hook"
    new = Hook(function(hook, f"{name}: hook"), boolean(with_kwargs, f"{name}: with_kwargs"))
    first = boolean(prepend, f"{name}: prepend")

    def change(to: Callable[[tuple[Hook, ...]], tuple[Hook, ...]]) -> None:
        if _C.is_recording():
            raise CaptureError(f"{name}: a hook cannot come or go inside a recorded step")
        hooks = module._call_hooks or Hooks()
        module._call_hooks = hooks.with_(kind, to(getattr(hooks, kind)))

    change(lambda there: (new, *there) if first else (*there, new))
    return HookHandle(lambda: change(lambda there: tuple(other for other in there if other is not new)))


def hooked(module: Any, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call of ``module`` gives. Hooks get and give images (N, C, H, W), within `channels_last`, too."""

    def call(*args: Any, **kwargs: Any) -> Any:
        for hook in hooks.before:
            answer = hook.function(module, args, kwargs) if hook.with_kwargs else hook.function(module, args)
            if answer is not None and hook.with_kwargs:
                args, kwargs = _both(answer)
            elif answer is not None:
                args = answer if isinstance(answer, tuple) else (answer,)
        result = module.forward(*args, **kwargs)
        for hook in hooks.after:
            given = (module, args, kwargs, result) if hook.with_kwargs else (module, args, result)
            answer = hook.function(*given)
            result = result if answer is None else answer
        return result

    return outside(call)(*args, **kwargs)


def _both(answer: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments by place and by name that a hook gives for others."""
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], tuple) and isinstance(answer[1], dict):
        return answer
    raise TypeError(f"register_forward_pre_hook: a hook with_kwargs returns None or (args, kwargs), not "
                    f"{shown(answer)}")  # fmt: skip
