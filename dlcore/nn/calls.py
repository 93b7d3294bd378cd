"""Watching the calls of modules, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dlcore.nn.module import Module
from dlcore.nn.places import outside

__all__ = ["Around", "watched_calls"]

Around = Callable[[Module, tuple[Any, ...], dict[str, Any], Callable[[], Any]], Any]


@contextmanager
def watched_calls(model: Module, around: Around) -> Iterator[None]:
    """Within it a call of ``model``, or of a module below it, gives ``around(module, args, kwargs, call)``.

    ``call()`` does what would be done without. Images are (N, C, H, W), within `channels_last`, too.

    A step that is recorded meanwhile would hold what ``around`` does: this is for eager calls and dry runs.
    """
    modules = list(model.modules())
    own = [vars(module).get("forward") for module in modules]

    def watched(module: Module) -> Callable[..., Any]:
        forward = module.forward
        return outside(lambda *args, **kwargs: around(module, args, kwargs, lambda: forward(*args, **kwargs)))

    try:
        for module in modules:
            vars(module)["forward"] = watched(module)
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            vars(module).pop("forward", None)
            if forward is not None:
                vars(module)["forward"] = forward
