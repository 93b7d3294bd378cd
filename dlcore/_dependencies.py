"""What a recorded step depends on: the Python variables its function reads, and the modules and optimizers behind them.

Cells, globals, attributes and entries of dicts and lists are found by walking from the function, through the functions
and methods whose names its code mentions. A `Recordable` (a module, an optimizer, a meter) says itself what matters.
Numbers and strings are compared by value, tuples by their parts, everything else by identity.
"""

from __future__ import annotations

import dis
import functools
import struct
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dlcore._recordable import Recordable
from dlcore._tensor import Tensor

__all__ = ["Dependencies", "Variable", "same_value"]

_DEPTH = 6  # how far into containers and objects the walk goes
_LARGE = 256  # a dict or list with more entries than this counts as data, and its entries are not watched
_LIBRARIES = {"dlcore", "numpy", "ml_dtypes", *sys.stdlib_module_names}  # their variables are not watched


def same_value(now: Any, then: Any) -> bool:
    """Whether two values are the same to a recording; the rule is that of `same_value` in csrc/core/replay.cpp."""
    if now is then:
        return True
    if type(now) is not type(then):
        return False
    if isinstance(then, float):
        return struct.pack("d", now) == struct.pack("d", then)  # -0.0 is not 0.0
    if isinstance(then, tuple):
        return len(now) == len(then) and all(map(same_value, now, then))
    return isinstance(then, int | str | bytes) and bool(now == then)


class Variable(NamedTuple):
    """A Python variable: a cell, an entry of a dict or list, an attribute, or the number of entries of one of these."""

    container: Any
    key: tuple[Any] | None  # of an entry or attribute; None for a cell and for a number of entries
    value: Any
    name: str

    def changed(self) -> bool:
        """Whether it has another value now."""
        container, key = self.container, self.key
        try:
            if isinstance(container, types.CellType):
                now = container.cell_contents
            elif key is None:
                now = len(container)
            else:
                now = container[key[0]] if isinstance(container, dict | list) else getattr(container, *key)
        except (ValueError, LookupError, AttributeError):
            return True
        return not same_value(now, self.value)


class Dependencies:
    """What ``function`` depends on now: ``variables``, and ``objects`` with their ``states``.

    ``more``: objects and functions that it uses besides those that are found.
    """

    def __init__(self, function: Any, *more: Any):
        self.variables: list[Variable] = []
        self.objects: list[Recordable] = []
        self._names: set[str] = set()  # all names that the code found so far mentions
        self._seen: dict[int, Any] = {}
        mentioned = -1
        while mentioned < len(self._names):  # a method may mention attributes of objects that were visited before it
            mentioned = len(self._names)
            self.variables, self.objects, self._seen = [], [], {}
            self._visit(function, 0, "", top=True)
            for part in more:
                self._visit(part, 0, "")
        self._seen.clear()
        self.states = [o.recorded_state() for o in self.objects]

    def changed_variable(self) -> str | None:
        """The name of a variable that has changed since, if there is one."""
        return next((v.name for v in self.variables if v.changed()), None)

    def changed_object(self) -> str | None:
        """The class of an object whose state has changed since, by name, if there is one."""
        found = zip(self.objects, self.states, strict=True)
        return next((type(o).__name__ for o, state in found if not same_value(o.recorded_state(), state)), None)

    # -- the walk ----------------------------------------------------------------------------------------------------

    def _visit(self, value: Any, depth: int, name: str, top: bool = False) -> None:
        if id(value) in self._seen or depth > _DEPTH or isinstance(value, Tensor | np.ndarray | str | int | float):
            return
        self._seen[id(value)] = value
        if isinstance(value, types.MethodType):
            self._visit(value.__self__, depth, "self")
            self._visit(value.__func__, depth, name, top)
        elif isinstance(value, functools.partial):
            self._visit_all((value.func, *value.args, *value.keywords.values()), depth, name)
        elif isinstance(value, types.FunctionType):
            if top or not _is_library(value.__module__):
                self._names |= _mentioned(value.__code__)
                self._watch(_of_function(value), depth)
        elif isinstance(value, tuple):
            self._visit_all(value, depth + 1, name)
        elif isinstance(value, dict | list) and type(value).__module__ == "builtins":
            self._watch(_entries(value, name), depth)
        elif isinstance(value, types.ModuleType):
            if not _is_library(value.__name__):
                scope = vars(value)
                self._watch([Variable(scope, (n,), scope[n], f"{name}.{n}") for n in self._names if n in scope], depth)
        elif isinstance(value, Recordable):
            self._visit_recordable(value, depth, name)
        else:
            self._visit_object(value, depth, name)

    def _visit_all(self, parts: Iterable[Any], depth: int, name: str) -> None:
        for part in parts:
            self._visit(part, depth, name)

    def _watch(self, found: list[Variable], depth: int) -> None:
        self.variables += found
        for v in found:
            self._visit(v.value, depth + 1, v.name)

    def _visit_recordable(self, value: Recordable, depth: int, name: str) -> None:
        self.objects.append(value)
        for member in value.recorded_members():
            self._seen[id(member)] = member
            self._watch(self._of_class(type(member), name or type(member).__name__), depth)
        self._visit_all(value.recorded_parts(), depth + 1, name)

    def _visit_object(self, value: Any, depth: int, name: str) -> None:
        """Watches the attributes and methods that the code mentions by name, of an object or class of the user's."""
        if "__wrapped__" in getattr(value, "__dict__", ()):  # a captured function, or a cached one
            self._visit(value.__wrapped__, depth, name, top=True)
        cls = value if isinstance(value, type) else type(value)
        if _is_library(cls.__module__) and not isinstance(value, types.SimpleNamespace):
            return
        if not isinstance(value, type) and hasattr(value, "__dict__"):
            own = vars(value)
            number = Variable(own, None, len(own), f"{name}'s attributes")
            self._watch(
                [number, *(Variable(own, (k,), v, f"{name}.{k}") for k, v in own.items() if k in self._names)], depth
            )
        self._watch(self._of_class(cls, name, value), depth)

    def _of_class(self, cls: type, name: str, instance: Any = None) -> list[Variable]:
        found = []
        names = self._names | {"__call__", "forward"}
        for owner in cls.__mro__:
            if _is_library(owner.__module__):
                continue
            for key in names & vars(owner).keys():
                value = vars(owner)[key]
                if isinstance(value, types.MemberDescriptorType):  # a slot
                    if instance is not None and not isinstance(instance, type) and hasattr(instance, key):
                        found.append(Variable(instance, (key,), getattr(instance, key), f"{name}.{key}"))
                elif not hasattr(value, "__get__"):
                    found.append(Variable(owner, (key,), value, f"{owner.__name__}.{key}"))
                else:
                    inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                    self._visit(inner, 0, key)
        return found


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES


def _entries(container: Any, name: str) -> list[Variable]:
    """The number of entries, and each of them, unless there are so many that they must be data."""
    number = [Variable(container, None, len(container), f"len({name})")]
    if len(container) > _LARGE:
        return number
    items = container.items() if isinstance(container, dict) else enumerate(container)
    return number + [Variable(container, (k,), v, f"{name}[{k!r}]") for k, v in items]


def _of_function(function: types.FunctionType) -> list[Variable]:
    """The variables that a function reads: closed-over ones, globals, and the defaults of its parameters."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = [Variable(cell, None, cell.cell_contents, name) for name, cell in cells if _filled(cell)]
    scope = function.__globals__
    found += [Variable(scope, (n,), scope[n], n) for n in sorted(_globals(function.__code__)) if n in scope]
    defaults = function.__kwdefaults__ or {}
    return found + [Variable(defaults, (n,), v, n) for n, v in defaults.items()] + _positional_defaults(function)


def _positional_defaults(function: types.FunctionType) -> list[Variable]:
    values = list(function.__defaults__ or ())
    names = function.__code__.co_varnames[function.__code__.co_argcount - len(values) : function.__code__.co_argcount]
    return [Variable(values, (k,), v, n) for k, (n, v) in enumerate(zip(names, values, strict=True))]


def _filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object, and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _globals(code: types.CodeType) -> set[str]:
    """The names that the code looks up as globals."""
    found = (i for c in _codes(code) for i in dis.get_instructions(c))
    return {i.argval for i in found if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def _mentioned(code: types.CodeType) -> set[str]:
    """The names of attributes and globals, and strings that may be names, as in `getattr(config, "scale")`."""
    texts = {t for c in _codes(code) for t in c.co_consts if isinstance(t, str) and t.isidentifier()}
    return texts.union(*(c.co_names for c in _codes(code)))
