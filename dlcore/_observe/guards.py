"""Guards: what a step has read, in a form that can be compared before each replay."""

from __future__ import annotations

import collections
import types
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C

__all__ = ["ABSENT", "Guard", "GuardKind", "Guards", "contents", "element", "lookup", "mro", "own_attributes", "scope"]

ABSENT = _C.absent
"""What a guard holds where there was nothing."""

mro = type.__dict__["__mro__"].__get__
"""The classes in which a class looks for its attributes; a metaclass cannot interfere."""
scope = type.__dict__["__dict__"].__get__
"""The dictionary of a class."""
_SEQUENCES = (list, tuple, set, frozenset, collections.deque, bytearray)


class GuardKind(IntEnum):
    """What a guard compares; as in csrc/core/guards.h."""

    ENTRY = 0
    ITEM = 1
    CELL = 2
    TYPE = 3
    CLASS = 4
    ELEMENTS = 5
    ENTRIES = 6
    CODE = 7
    ASKED = 8


class Guard(NamedTuple):
    """``value``: what was found for ``key`` of ``owner``. ``name``: what to call it, in a message."""

    kind: GuardKind
    owner: Any
    key: Any
    value: Any
    name: str


class Guards:
    """The guards of one step, each once, in the order in which things were read."""

    def __init__(self) -> None:
        self._found: dict[Any, Guard] = {}
        self._lookups: dict[type, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Any:
        return iter(self._found.values())

    def entry(self, owner: dict[Any, Any], key: Any, name: str) -> Any:
        """Watches what a dictionary says about ``key``: its value, or that there is none. Returns it."""
        value = dict.get(owner, key, ABSENT)
        mark = key if type(key) in (str, int) else ("", id(key))
        self._add((GuardKind.ENTRY, id(owner), mark), Guard(GuardKind.ENTRY, owner, key, value, name))
        return value

    def item(self, owner: list[Any], index: int, name: str) -> None:
        """Watches an element of a list, at an index of at least 0."""
        guard = Guard(GuardKind.ITEM, owner, index, list.__getitem__(owner, index), name)
        self._add((GuardKind.ITEM, id(owner), index), guard)

    def cell(self, cell: types.CellType, name: str) -> None:
        """Watches a variable of an enclosing function."""
        try:
            value = cell.cell_contents
        except ValueError:
            value = ABSENT
        self._add((GuardKind.CELL, id(cell)), Guard(GuardKind.CELL, cell, None, value, name))

    def class_of(self, value: Any) -> None:
        """Watches the class of an object, and in which dictionary it keeps its attributes."""
        cls = type(value)
        guard = Guard(GuardKind.TYPE, value, own_attributes(value), cls, f"the class of a {cls.__name__}")
        self._add((GuardKind.TYPE, id(value)), guard)

    def lookup(self, cls: type, key: str) -> Any:
        """Watches what a class and its bases say about a name, and which bases these are. Returns it."""
        value = lookup(cls, key)
        if cls not in self._lookups:
            bases, found = mro(cls), self._lookups.setdefault(cls, {})

            def ask() -> bool:
                return same(mro(cls), bases) and all(same(lookup(cls, name), then) for name, then in found.items())

            name = f"an attribute of class {cls.__name__}"
            self._add((GuardKind.CLASS, id(cls)), Guard(GuardKind.CLASS, cls, ask, _C.version_tag(cls), name))
        self._lookups[cls].setdefault(key, value)
        return value

    def code(self, function: types.FunctionType) -> None:
        """Watches what a function runs."""
        runs = (function.__code__, function.__defaults__, function.__kwdefaults__)
        self._add((GuardKind.CODE, id(function)), Guard(GuardKind.CODE, function, None, runs, function.__qualname__))

    def whole(self, owner: Any, name: str) -> None:
        """Watches all entries of a container, or all bytes of an array."""
        mark = ("whole", id(owner))
        if isinstance(owner, list):
            guard = Guard(GuardKind.ELEMENTS, owner, None, contents(owner), name)
        elif isinstance(owner, dict) and not isinstance(owner, collections.OrderedDict):  # it has an order of its own
            pairs = tuple(part for pair in contents(owner) for part in pair)
            guard = Guard(GuardKind.ENTRIES, owner, None, pairs, name)
        else:
            then = contents(owner)
            guard = Guard(GuardKind.ASKED, lambda: _C.same_value(contents(owner), then), None, then, name)
        self._add(mark, guard)

    def asked(self, ask: Callable[..., Any], args: tuple[Any, ...], value: Any, name: str) -> None:
        """Watches what a call without side effects returns."""
        mark = ("asked", id(ask), *map(id, args))
        again = lambda: same(ask(*args), value)  # noqa: E731
        self._add(mark, Guard(GuardKind.ASKED, again, None, (ask, args), name))

    def _add(self, mark: Any, guard: Guard) -> None:
        self._found.setdefault(mark, guard)  # what was read first is from before the step


def own_attributes(value: Any) -> Any:
    """The dictionary in which an object keeps its attributes, or `ABSENT`."""
    found = lookup(type(value), "__dict__")
    own = found.__get__(value) if isinstance(found, types.GetSetDescriptorType | types.MemberDescriptorType) else ABSENT
    return own if isinstance(own, dict) else ABSENT


def same(now: Any, then: Any) -> bool:
    """As `_C.same_value`; NumPy's scalars are compared by value, too."""
    if type(now) is type(then) and isinstance(now, np.generic):
        return now.tobytes() == then.tobytes()
    return _C.same_value(now, then)


def lookup(cls: type, name: str) -> Any:
    """What a class says about a name, found without running anything."""
    return next((scope(owner)[name] for owner in mro(cls) if name in scope(owner)), ABSENT)


def contents(value: Any) -> tuple[Any, ...]:
    """Everything in a container of a known kind, whatever methods its class has."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.strides, value.tobytes()
    if isinstance(value, collections.OrderedDict):
        return tuple(collections.OrderedDict.items(value))
    if isinstance(value, dict):
        return tuple(dict.items(value))
    base = next((b for b in _SEQUENCES if isinstance(value, b)), None)
    if base is not None:
        return tuple(base.__iter__(value))
    return tuple(value.items() if isinstance(value, types.MappingProxyType) else value)


def element(owner: Any, key: Any) -> Any:
    """``owner[key]`` by the method of its built-in base, or `ABSENT`."""
    base: Any = next(b for b in (dict, *_SEQUENCES, types.MappingProxyType, type(owner)) if isinstance(owner, b))
    try:
        return base.__getitem__(owner, key)
    except LookupError:
        return ABSENT
