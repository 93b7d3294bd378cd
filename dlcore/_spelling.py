"""Other spellings of arguments, PyTorch's and NumPy's, and what an unknown name may have meant.

dlcore documents one spelling, `axis` and `keepdims`. Operations and functions take the others by one table, so that
``dl.sum(x, dim=0)`` and ``x.squeeze(dim=0)`` are what they seem. An argument that a function has under the name given
is that argument, whatever the table says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from dlcore import _C

__all__ = ["SPELLINGS", "UnknownName", "spelled"]

SPELLINGS: dict[str, tuple[str, ...]] = {
    "a_max": ("max",),
    "a_min": ("min",),
    "axes": ("axis",),
    "axis": ("axes", "dim"),
    "ddof": ("correction",),
    "dim": ("axis", "axes"),
    "dim0": ("axis0",),
    "dim1": ("axis1",),
    "dim2": ("axis2",),
    "diagonal": ("k",),
    "dims": ("axes", "axis", "shape"),
    "end_axis": ("end_dim",),
    "end_dim": ("end_axis",),
    "high": ("max",),
    "in_dims": ("in_axes",),
    "keepdim": ("keepdims",),
    "keepdims": ("keepdim",),
    "low": ("min",),
    "max": ("high",),
    "min": ("low",),
    "out_dims": ("out_axes",),
    "shift": ("shifts",),
    "shifts": ("shift",),
    "size": ("shape",),
    "start_axis": ("start_dim",),
    "start_dim": ("start_axis",),
    "steps": ("num",),
    "unbiased": ("correction",),
}
"""Spelling -> the names that an argument so called may have, in the order in which they are looked for."""

_C.bind(spellings=SPELLINGS)

_MEANT: dict[str, list[str]] = {}
"""The same the other way round: a name of an argument -> the spellings that may mean it."""
for _other, _names in SPELLINGS.items():
    for _name in _names:
        _MEANT.setdefault(_name, []).append(_other)

F = TypeVar("F", bound=Callable[..., Any])


def spelled(function: F) -> F:
    """A function in Python that takes its arguments under other spellings too; itself where it has no such argument.

    Operations need no such help: their callables read the same table (csrc/core/function.cpp). What `shaped`
    and `names_errors` make has had it.
    """
    if isinstance(function, _C.Shaped | _C.Quick | _C.Traced):
        return function
    code = getattr(function, "__wrapped__", function).__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    others = {other for name in own for other in _MEANT.get(name, ()) if other not in own}
    names = {other: next(n for n in SPELLINGS[other] if n in own) for other in others}
    if not names:
        return function

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = _respelled(function.__name__, names, kwargs)
        return function(*args, **kwargs)

    return cast(F, called)


def _respelled(function: str, names: dict[str, str], kwargs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for given, value in kwargs.items():
        name = names.get(given, given)
        if name in found:
            raise TypeError(f"{function}: argument {name!r} is given twice")
        found[name] = value
    return found


class UnknownName(AttributeError):
    """An AttributeError that says which known name resembles the unknown one most.

    It is looked for when the text is read: `hasattr` and libraries that try names must not wait for it.
    """

    def __init__(self, module: str, name: str, known: Callable[[], Iterable[str]]):
        super().__init__(f"module {module!r} has no attribute {name!r}", name=name)
        self._known = known

    def __str__(self) -> str:
        from difflib import get_close_matches

        names = [k for k in self._known() if not k.startswith("_")]
        near = get_close_matches(str(self.name), names, n=1)
        return super().__str__() + (f"; did you mean {near[0]!r}?" if near else "")
