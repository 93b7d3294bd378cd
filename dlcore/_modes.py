"""Modes of a thread, such as whether gradients are tracked, that a `with` block or a decorated function switches."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from dlcore._arguments import shown
from dlcore.errors import AutogradError

__all__ = ["Mode"]

F = TypeVar("F", bound=Callable[..., Any])


class Mode:
    """Switches a mode of this thread to ``state`` for a `with` block or a decorated function.

    A decorated generator or coroutine has the mode while it runs, and whoever runs it has its own between the steps. A
    `with` block inside of one would keep the mode across a yield or an await: decorate the function instead.
    """

    state: Any
    switch: Callable[[Any], Any]
    """switch(state): sets the mode and returns what it was."""

    def __init__(self) -> None:
        self._before: list[Any] = []

    def again(self) -> Mode:
        """A context of the same kind that nobody has entered."""
        other = copy.copy(self)
        other._before = []
        return other

    def __enter__(self) -> None:
        self._before.append(self.switch(self.state))

    def __exit__(self, *error: object) -> None:
        if self.switch(self._before.pop()) is not self.state:
            raise AutogradError(
                f"{type(self).__name__}: another block has ended in between, of a generator or coroutine that was "
                "suspended inside it; decorate its function instead"
            )

    def __call__(self, function: F) -> F:
        if not callable(function):
            raise TypeError(f"{type(self).__name__}: {shown(function)} is not a function to decorate")

        mode = self.again
        wrapped: Any
        if inspect.isgeneratorfunction(function):

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                return (yield from _steps(mode, function(*args, **kwargs)))

        elif inspect.iscoroutinefunction(function):

            async def wrapped(*args: Any, **kwargs: Any) -> Any:
                return await _steps(mode, function(*args, **kwargs))

        elif inspect.isasyncgenfunction(function):
            wrapped = _asynchronous(mode, function)

        else:

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with mode():
                    return function(*args, **kwargs)

        return functools.wraps(function)(wrapped)  # type: ignore[return-value]


@types.coroutine
def _steps(mode: Callable[[], Mode], inner: Any) -> Generator[Any, Any, Any]:
    """What ``inner``, a generator or awaitable in progress, yields and returns; it runs in ``mode``."""
    call, given = inner.send, None
    while True:
        try:
            with mode():
                item = call(given)
        except StopIteration as end:
            return end.value
        try:
            call, given = inner.send, (yield item)
        except GeneratorExit:
            with mode():
                inner.close()
            raise
        except BaseException as error:
            call, given = inner.throw, error


def _asynchronous(mode: Callable[[], Mode], function: Callable[..., Any]) -> Callable[..., Any]:
    """An asynchronous generator function that runs in ``mode``."""

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        inner = function(*args, **kwargs)
        call, given = inner.asend, None
        while True:
            try:
                item = await _steps(mode, call(given))
            except StopAsyncIteration:
                return
            try:
                call, given = inner.asend, (yield item)
            except GeneratorExit:
                await _steps(mode, inner.aclose())
                raise
            except BaseException as error:
                call, given = inner.athrow, error

    return wrapped
