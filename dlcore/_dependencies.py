"""What a recorded step depends on: the Python variables its function reads, and the modules and optimizers behind them.

Cells, globals and entries of dicts, lists and objects are found by walking from the function. Objects with
``_recorded_state`` (modules, optimizers, meters) say themselves what matters; the rest counts by value where it is a
number or a text, and by identity elsewhere.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from dlcore._tensor import Tensor

__all__ = ["Dependencies", "Variable"]

_DEPTH = 4  # how far into containers and objects the walk goes
_LARGE = 256  # entries from which a dict or list counts as data: they are not looked at


class Variable(NamedTuple):
    """A Python variable: a cell, an entry of a dict or list, or how many entries these have."""

    container: Any
    key: Any  # None for a cell and for the number of entries
    value: Any
    name: str

    def current(self) -> Any:
        """Its value now."""
        if self.key is None:
            if isinstance(self.container, types.CellType):
                return self.container.cell_contents if _filled(self.container) else None
            return len(self.container)
        if isinstance(self.container, dict):
            return self.container.get(self.key)
        return self.container[self.key] if self.key < len(self.container) else None

    def changed(self) -> bool:
        """Whether its value is another one now."""
        now, then = self.current(), self.value
        if now is then:
            return False
        plain = isinstance(then, int | float | str | tuple)
        return not (type(now) is type(then) and plain and bool(now == then))


class Dependencies:
    """What ``function`` depends on now: ``variables``, and ``states``, pairs of an object and its recorded state.

    ``more``: objects and functions that it uses, besides those found.
    """

    def __init__(self, function: Any, *more: Any):
        self.variables: list[Variable] = []
        self.objects: list[Any] = []
        self._seen: dict[int, Any] = {}
        self._visit(function, 0, "", top=True)
        for part in more:
            self._visit(part, 0, "")
        self._seen.clear()
        self.states = [(o, o._recorded_state()) for o in self.objects]

    def changed_variable(self) -> str | None:
        """The name of a variable that has changed since."""
        return next((v.name for v in self.variables if v.changed()), None)

    def changed_object(self) -> str | None:
        """The class of an object whose recorded state has changed since."""
        return next((type(o).__name__ for o, state in self.states if o._recorded_state() != state), None)

    def _visit(self, value: Any, depth: int, name: str, top: bool = False) -> None:
        skipped = Tensor | type | types.ModuleType | np.ndarray
        if id(value) in self._seen or depth > _DEPTH or isinstance(value, skipped):
            return
        self._seen[id(value)] = value
        if isinstance(value, types.MethodType):
            self._visit(value.__self__, depth, "self")
            self._visit(value.__func__, depth, name, top)
        elif isinstance(value, functools.partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                self._visit(part, depth, name)
        elif hasattr(value, "_recorded_state"):
            self.objects.append(value)
            for part in value._recorded_parts():
                self._visit(part, depth, name)
        elif isinstance(value, tuple):
            for part in value:
                self._visit(part, depth + 1, name)
        else:
            found = _variables(value, name, top)
            self.variables += found
            for v in found:
                self._visit(v.value, depth + 1, v.name)


def _variables(value: Any, name: str, top: bool) -> list[Variable]:
    """The variables of a function, dict, list or object."""
    if isinstance(value, types.FunctionType):
        return _of_function(value) if top or not _is_ours(value.__module__) else []
    if isinstance(value, dict):
        return _entries(value, value.items(), f"{name}[{{!r}}]", f"len({name})")
    if isinstance(value, list):
        return _entries(value, enumerate(value), f"{name}[{{}}]", f"len({name})")
    if hasattr(value, "__dict__") and not _is_ours(type(value).__module__):
        return _entries(vars(value), vars(value).items(), f"{name}.{{}}", f"{name}'s attributes")
    return []


def _entries(container: Any, entries: Iterable[tuple[Any, Any]], form: str, size: str) -> list[Variable]:
    """How many entries there are, and each of them unless there are so many that they must be data."""
    number = [Variable(container, None, len(container), size)]
    if len(container) > _LARGE:
        return number
    return number + [Variable(container, k, v, form.format(k)) for k, v in entries]


def _is_ours(module: str | None) -> bool:
    return (module or "").startswith("dlcore.")


def _of_function(function: types.FunctionType) -> list[Variable]:
    """Closed-over and global variables; defaults, which the function object holds."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = [Variable(cell, None, cell.cell_contents, name) for name, cell in cells if _filled(cell)]
    scope = function.__globals__
    names = [n for n in _globals(function.__code__) if not isinstance(scope.get(n, types), types.ModuleType | type)]
    found += [Variable(scope, n, scope[n], n) for n in sorted(names)]
    defaults = function.__kwdefaults__ or {}
    return found + [Variable(defaults, n, v, n) for n, v in defaults.items()] + _positional_defaults(function)


def _positional_defaults(function: types.FunctionType) -> list[Variable]:
    values = list(function.__defaults__ or ())
    names = function.__code__.co_varnames[function.__code__.co_argcount - len(values) : function.__code__.co_argcount]
    return [Variable(values, k, v, n) for k, (n, v) in enumerate(zip(names, values, strict=True))]


def _filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _globals(code: types.CodeType) -> set[str]:
    """Names that the code, or functions written inside it, look up as globals."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_globals(c) for c in code.co_consts if isinstance(c, types.CodeType)))
