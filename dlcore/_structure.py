"""Arguments and results of a recorded step: how tensors lie in tuples, lists, dicts, data classes and other values.

The structure of a value is what is left when its tensors are taken out. Calls with equal structures, and tensors alike,
can share a recording (`Arguments`); results are put together anew for every replay (`Results`).
"""

from __future__ import annotations

import dataclasses
import struct
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._device import Device
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import DType
from dlcore.errors import CaptureError

__all__ = ["Arguments", "Results", "Structure", "parts_of"]

Structure = Any

_TENSOR = ("tensor",)
_MAPPINGS = (dict, OrderedDict, defaultdict)
_EXACT = frozenset({int, bool, str, bytes, type(None), type(...), type(NotImplemented)})  # compared with ==


class _Held:
    """An object to compare by identity. It is kept alive, so that no other object gets its id."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Held and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


# Kinds of values are told by their types alone: asking a foreign object for an attribute runs code of its own.


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(vars(kind).get("_fields"), tuple)


def _fields_of(value: Any) -> list[str] | None:
    """The attributes of an instance of a data class whose fields are all that it has; None for other values."""
    kind = type(value)
    if "__dataclass_fields__" not in vars(kind) or issubclass(kind, Tensor | dict | list | tuple):
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    for base in kind.__mro__:
        if base is not object and "__dataclass_fields__" not in vars(base):
            return None  # a part of it has state of its own, as a module's
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        own = {}
    complete = own.keys() <= set(names) and all(name in own or _slot(kind, name) for name in names)
    return names if complete else None


def _slot(kind: type, name: str) -> bool:
    return any(type(vars(base).get(name)).__name__ == "member_descriptor" for base in kind.__mro__)


def _new_data(kind: type, names: Sequence[str], values: Sequence[Any]) -> Any:
    """An instance of a data class, made without running its code, as `copy.copy` makes it."""
    made: Any = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


def parts_of(value: Any) -> tuple[Sequence[Any], Callable[[list[Any]], Any]] | None:
    """What a container holds, and a function that makes one like it of other parts; None if it is no container."""
    kind: Any = type(value)
    if kind in _MAPPINGS:
        keys = list(value)
        if kind is defaultdict:
            factory = value.default_factory
            return list(value.values()), lambda parts: defaultdict(factory, dict(zip(keys, parts, strict=True)))
        return list(value.values()), lambda parts: kind(zip(keys, parts, strict=True))
    if kind is list:
        return value, list
    if kind is tuple or _is_named_tuple(kind):
        return value, lambda parts: tuple.__new__(kind, parts)
    names = _fields_of(value)
    if names is not None:
        parts = [object.__getattribute__(value, name) for name in names]
        return parts, lambda parts: _new_data(kind, names, parts)
    return None


def _plain(value: Any) -> Structure | None:
    """A number, text or the like in a form to compare: by type and value, floats by their bits. None for others."""
    kind = type(value)
    if kind in _EXACT:
        return "static", kind, value
    if kind is float:
        return "float", struct.pack("d", value)  # -0.0 is not 0.0, and NaN is NaN
    if kind is complex:
        return "complex", struct.pack("dd", value.real, value.imag)
    if kind in (slice, range):
        parts = tuple(_plain(v) for v in (value.start, value.stop, value.step))
        return None if None in parts else (kind, parts)
    if issubclass(kind, np.generic) and not value.dtype.hasobject:
        return kind, value.dtype, value.tobytes()
    if kind in (set, frozenset):
        parts = tuple(_plain(v) for v in value)
        return None if None in parts else (kind, frozenset(parts))
    return None


class Arguments:
    """The arguments of a call: their ``tensors``, and the ``structure`` that is left without them.

    Arrays count as tensors. ``objects``: what else is among them, compared by identity, whose attributes the step may
    read. Raises CaptureError for values that a replay could not look at again: iterators, and sets that hold tensors.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.tensors: list[Tensor] = []
        self.objects: list[Any] = []
        self._made: dict[int, int] = {}  # id of a tensor or array -> its (last) number among the tensors
        self._given = (args, kwargs)
        self._open: set[int] = set()
        keywords = tuple(kwargs), tuple([self._visit(v) for v in kwargs.values()])
        self.structure: Structure = (tuple, keywords, tuple([self._visit(a) for a in args]))

    def _visit(self, value: Any) -> Structure:
        kind = type(value)
        if kind in _EXACT:
            return "static", kind, value
        if kind is Tensor or issubclass(kind, Tensor | np.ndarray):
            self._made[id(value)] = len(self.tensors)
            self.tensors.append(value if issubclass(kind, Tensor) else tensor(value))
            return _TENSOR
        if kind is tuple or kind is list:
            return kind, (), self._visit_parts(value, value)
        plain = _plain(value)
        if plain is not None:
            return plain
        container = parts_of(value)
        if container is not None:
            keys = tuple([_plain(k) or _Held(k) for k in value]) if kind in _MAPPINGS else ()
            return kind, keys, self._visit_parts(value, container[0])
        if any("__next__" in vars(base) for base in kind.__mro__):
            raise CaptureError(
                f"capture: an argument is an iterator, of type {kind.__name__}, which only one call can go through; "
                "pass a list"
            )
        if kind in (set, frozenset) and any(issubclass(type(v), Tensor) for v in value):
            raise CaptureError(f"capture: an argument is a {kind.__name__} of tensors, which has no order; pass a list")
        self.objects.append(value)
        return "object", _Held(value)

    def _visit_parts(self, value: Any, parts: Sequence[Any]) -> tuple[Structure, ...]:
        if id(value) in self._open:
            raise CaptureError(f"capture: an argument is a {type(value).__name__} that contains itself")
        self._open.add(id(value))
        found = tuple([self._visit(part) for part in parts])
        self._open.discard(id(value))
        return found

    def with_tensors(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other tensors in the place of theirs. What holds no tensors is passed on as it is."""
        args, kwargs = self._replaced(self._given, tensors)
        return args, kwargs

    def _replaced(self, value: Any, tensors: Sequence[Tensor]) -> Any:
        if id(value) in self._made:
            return tensors[self._made[id(value)]]
        container = None if _plain(value) is not None else parts_of(value)
        if container is None:
            return value
        parts = [self._replaced(part, tensors) for part in container[0]]
        same = all(new is old for new, old in zip(parts, container[0], strict=True))
        return value if same else container[1](parts)

    def same_as(self, other: Arguments) -> bool:
        """Whether the structures and the tensors, these by identity, are the same."""
        return self.structure == other.structure and all(
            a is b for a, b in zip(self.tensors, other.tensors, strict=True)
        )

    @property
    def positional(self) -> bool:
        """Whether the arguments are tensors, all given by position."""
        args, kwargs = self._given
        return not kwargs and len(args) == len(self.tensors) and all(issubclass(type(a), Tensor) for a in args)

    @property
    def arrays(self) -> list[Tensor]:
        """The tensors that were made of arrays."""
        return [t for t in self.tensors if id(t) not in self._made]


class Results:
    """What a recorded call has returned: its ``tensors``, each once, and how to put results of replays together.

    ``aliases`` stood for the arguments. Tensors that were there before the call are returned as they are. ``tracked``:
    the number and the tensor of each result whose gradient history began in the call and has not been used up.
    ``problem``: what cannot be made anew by a replay, with its place, or None.
    """

    def __init__(self, value: Any, aliases: Sequence[Tensor], after: int, known: Sequence[Any] = ()):
        self.tensors: list[Tensor] = []
        self.tracked: dict[int, Tensor] = {}
        self.problem: str | None = None
        self._numbers: dict[int, int] = {}
        self._arguments = {id(alias): k for k, alias in reversed(list(enumerate(aliases)))}
        self._after, self._known = after, {id(o) for o in known}
        self._open: set[int] = set()
        build = self._visit(value, "")
        if type(value) is tuple and [self._numbers.get(id(part)) for part in value] == list(range(len(self.tensors))):
            build = _all_results
        self.build: Callable[[tuple[Tensor, ...], Sequence[Tensor]], Any] = build
        """The value anew, from the tensors that a replay gave and the arguments of its call."""
        if self.problem is not None:
            self.tensors, self.tracked = [], {}

    def detach(self) -> None:
        """Lets go of the gradient history of the tensors."""
        self.tensors, self.tracked = [t.detach() for t in self.tensors], {}

    def _visit(self, value: Any, place: str) -> Callable[..., Any]:
        kind = type(value)
        if issubclass(kind, Tensor):
            return self._visit_tensor(value, place)
        container = None if _plain(value) is not None else parts_of(value)
        if container is None:
            if not self._is_lasting(value):
                self._refuse(value, place)
            return lambda results, arguments: value
        if id(value) in self._open:
            self._refuse(value, place)
            return lambda results, arguments: value
        self._open.add(id(value))
        places = zip(container[0], _places(value), strict=True)
        builds = [self._visit(part, f"{place}{where}") for part, where in places]
        self._open.discard(id(value))
        make = container[1]
        return lambda results, arguments: make([build(results, arguments) for build in builds])

    def _visit_tensor(self, t: Tensor, place: str) -> Callable[..., Any]:
        if id(t) in self._arguments:
            argument = self._arguments[id(t)]
            return lambda results, arguments: arguments[argument]
        if t.requires_grad and (t.node is None or t.node.sequence <= self._after):
            if t.node is None and _C.made_inside(t):
                self.problem = self.problem or (
                    f"its result{place} is made inside the step, and a leaf that requires a gradient"
                )
            return lambda results, arguments: t  # a parameter, or what was computed before
        if _C.history_lost(t):
            self.problem = self.problem or (
                f"its result{place} was changed in place through another tensor that shares its memory, so that its "
                "gradient would be wrong; return a clone()"
            )
        if id(t) not in self._numbers:
            number = self._numbers[id(t)] = len(self.tensors)
            self.tensors.append(t)
            if t.node is not None and t.requires_grad and not t.node.released:
                self.tracked[number] = t
        number = self._numbers[id(t)]
        return lambda results, arguments: results[number]

    def _is_lasting(self, value: Any) -> bool:
        """Whether a value that holds no tensors is the same object, or equal, at every call."""
        kind = type(value)
        if kind in (set, list):
            return False
        lasting = issubclass(kind, DType | Device | Enum | type) or id(value) in self._known
        return lasting or _plain(value) is not None

    def _refuse(self, value: Any, place: str) -> None:
        kind = type(value)
        if kind is types.CoroutineType:
            value.close()  # nobody will await it
        self.problem = self.problem or (
            f"its result{place} is a {kind.__qualname__}, which a replay cannot make anew; return tensors and numbers, "
            "in tuples, lists, dicts, named tuples or data classes"
        )


def _all_results(results: tuple[Tensor, ...], arguments: Sequence[Tensor]) -> Any:
    return results


def _places(value: Any) -> list[str]:
    kind = type(value)
    if kind in _MAPPINGS:
        return [f"[{key!r}]" if type(key) in (str, int) else "[...]" for key in value]
    if kind in (list, tuple):
        return [f"[{k}]" for k in range(len(value))]
    names = vars(kind)["_fields"] if _is_named_tuple(kind) else _fields_of(value)
    return [f".{name}" for name in names or ()]
