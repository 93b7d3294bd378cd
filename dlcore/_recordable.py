"""`Recordable`: what `capture` asks of an object whose state a recorded step depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dlcore import _C

__all__ = ["CAPTURED_METHODS", "Recordable", "state_of"]

CAPTURED_METHODS = "_captured_methods"  # the attribute in which an object keeps its methods that are captured
_MISSING = object()


class Recordable:
    """Base of objects with state that a captured step may use: modules, optimizers, meters, batches.

    A class of yours needs it only where the state is more than plain attributes. Of other objects `capture` compares,
    at every call, the attributes that the step's code mentions. A Recordable answers for itself instead, which is
    faster and more exact: its state is compared only after an attribute of some Recordable has been assigned, and it
    knows which of its attributes are no part of the state, and how to take back what a trial run leaves behind.

    Each method has a default for objects whose attributes are all there is. Override ``recorded_state`` to leave out
    what steps read from memory at every replay (the values of tensors), or what they do not read at all.

    >>> class Scale(dl.Recordable):
    ...     def __init__(self):
    ...         self.factor = 2.0
    >>> scale = Scale()
    >>> step = dl.capture(lambda x: x * scale.factor)
    >>> [step(dl.tensor(1.0)).item() for _ in range(3)]
    [2.0, 2.0, 2.0]
    >>> scale.factor = 5.0
    >>> step(dl.tensor(1.0)).item()
    5.0
    """

    _excluded: frozenset[str] = frozenset({CAPTURED_METHODS})
    """The attributes that are no part of the state."""
    recorded_methods: frozenset[str] | None = None
    """Which methods a recorded step may call; None: all."""

    def recorded_state(self) -> Any:
        """What recordings depend on: a recording stands only as long as this is the same.

        Numbers and strings are compared by value, tuples by their parts, everything else (tensors, too) by identity.
        Default: all attributes. It must not read values of tensors, and should be cheap.
        """
        return tuple(state_of(self._included()))

    def recorded_members(self) -> Iterable[Recordable]:
        """The objects whose state ``recorded_state`` covers: this one, and where it is a module, those below it."""
        return (self,)

    def recorded_parts(self) -> Iterable[Any]:
        """Functions, objects and containers that the computation uses.

        Functions of C among them must be known to be pure, and the entries of lists and dicts are watched.

        Default: the values of all attributes.
        """
        return self._included().values()

    def before_dry_run(self) -> Callable[[], None]:
        """Called before a run in which no kernel runs; returns a function that puts back all that such a run changes.

        Values in memory stay as they are by themselves; what changes is which tensors there are. Default: the
        attributes are put back.
        """
        before = dict(vars(self))

        def restore() -> None:
            vars(self).clear()
            vars(self).update(before)

        return restore

    def _included(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._excluded}

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        before = attributes.get(name, _MISSING)
        object.__setattr__(self, name, value)
        if attributes.get(name, _MISSING) is not before:
            _C.note_change()  # recordings compare the states again before they are replayed

    def __delattr__(self, name: str) -> None:
        _C.note_change()
        object.__delattr__(self, name)


def state_of(container: Any) -> Iterator[Any]:
    """The entries of a dict, list or tuple with their keys, in a form to compare; those of nested containers, too."""
    for key, value in container.items() if isinstance(container, Mapping) else enumerate(container):
        yield key, (type(value), *state_of(value)) if isinstance(value, Mapping | list | tuple) else value
