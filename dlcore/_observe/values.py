"""Whether the values that a step touches are fresh, known or watched: objects, attributes, entries."""

from __future__ import annotations

import abc
import collections
import contextvars
import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._observe import known
from dlcore._observe.guards import ABSENT, Guards, contents, element, lookup, mro, own_attributes, scope
from dlcore._observe.kinds import Refused, is_engine, named, of_python, runs_python
from dlcore._reasons import FailureKind
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor

__all__ = ["Then", "Values"]

_LARGE = 1000  # entries of a container, or 16 bytes of an array: what holds more is data, and belongs into a tensor
_DEEPEST = 50  # so far containers within containers are compared
_DESCRIPTORS_OF_C = (
    types.MemberDescriptorType, types.GetSetDescriptorType, types.ClassMethodDescriptorType,
    type(scope(collections.namedtuple("_", "a"))["a"]),
)  # fmt: skip
_GENERIC = {
    scope(t).get("__getattribute__")
    for t in (object, *known.CONTAINERS, int, float, str, complex, types.SimpleNamespace, BaseException)
}
Then = Callable[[Any], None]
"""What to do with the result of an instruction, once it is there."""


def _is_of_owner(method: Any) -> bool:
    """Whether a method, as found on a class, is observed Python code, or C code that uses its owner and arguments."""
    kinds = types.FunctionType | types.WrapperDescriptorType | types.MethodDescriptorType | classmethod | staticmethod
    if isinstance(method, classmethod | staticmethod):
        method = method.__func__
    return method is ABSENT or method is None or isinstance(method, kinds) or is_engine(method)


def _sets_plainly(found: Any) -> bool:
    """Whether what a class holds by the name of an attribute sets it by observed code, or in the object alone."""
    if isinstance(found, property):
        return found.fset is None or isinstance(found.fset, types.FunctionType)
    setter = lookup(type(found), "__set__") if found is not ABSENT else ABSENT
    plain = types.MemberDescriptorType | types.GetSetDescriptorType
    return setter is ABSENT or isinstance(found, plain) or isinstance(setter, types.FunctionType)


def _holds_made(value: Any, depth: int = 0) -> bool:
    """Whether a tensor that the step has made is among the entries of a container, or of those in it."""
    if isinstance(value, Tensor):
        return _C.made_inside(value)
    if type(value) not in (list, dict, tuple) or depth > _DEEPEST:
        return False
    return any(_holds_made(part, depth + 1) for part in (value.values() if type(value) is dict else value))


class Values(abc.ABC):
    """Raises `Refused` where a value is neither fresh, known nor watched; keeps the guards of what is watched.

    ``on_object``: called with each Recordable before the step uses it, to put back later what the step changes of it.
    """

    def __init__(self, on_object: Callable[[Recordable], Any] | None = None):
        self.guards = Guards()
        self.objects: list[tuple[Recordable, Any]] = []
        """What the step uses of these, with the state that it had before."""
        self._on_object = on_object
        self._covered: set[int] = set()  # the objects whose state those cover
        self._checked: set[type] = set()  # whose operators have been looked at
        self._fresh: dict[int, Any] = {}  # by id; holds them, so that no other object gets the id
        self.asks_engine = False
        """Whether the instruction is about something of the engine, which then runs code of its own."""
        self.building: tuple[type, types.CodeType] | None = None
        """A class of which the instruction makes an instance, and the code of its ``__init__``."""
        self.calls: types.CodeType | None = None
        """What the instruction runs whose result goes to the observed code, and not to C code that may look into it."""

    # -- fresh -------------------------------------------------------------------------------------------------------

    def made(self, value: Any) -> None:
        """Notes a value as fresh. Tensors need it not, and what cannot change neither."""
        if type(value) not in (int, float, str, bool, tuple, type(None)) and not isinstance(value, Tensor | type):
            self._fresh[id(value)] = value

    def is_fresh(self, value: Any) -> bool:
        """Whether this call has made a value; of a view of an array, whether it has made the array.

        A list or dict that holds a tensor made inside the step was made there, too: by code of the engine, which is not
        observed, for nothing else puts tensors into what was there before without being refused.
        """
        while isinstance(value, np.ndarray) and value.base is not None and id(value) not in self._fresh:
            value = value.base
        if type(value) in (list, dict) and id(value) not in self._fresh and _holds_made(value):
            self.made(value)
        return id(value) in self._fresh

    def forget(self) -> None:
        """Lets go of all that the step has made."""
        self._fresh.clear()

    def owned(self, value: Any, what: str) -> None:
        """The step changes a value, in the way that ``what`` tells: it must be its own, or a tensor."""
        if not self.is_fresh(value) and not isinstance(value, Tensor):
            text = f"{what} a {named(value)} that was there before the step"
            raise Refused(f"it {text}, which a replay would not", FailureKind.REBINDS)

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """The step sets an attribute, maybe to what it is already: ``self.total += x`` changes a tensor in place."""
        cls = type(owner)
        setter, found = lookup(cls, "__setattr__"), lookup(cls, name)
        own = own_attributes(owner) if of_python(cls) else ABSENT
        generic = setter in (object.__setattr__, Recordable.__setattr__)
        if generic and own is not ABSENT and isinstance(value, Tensor) and own.get(name) is value:
            self.guards.entry(own, name, f"{named(owner)}.{name}")
        elif not _is_of_owner(setter) or not _sets_plainly(found):
            raise Refused(f"it sets .{name} of a {named(owner)}, which does so in its own way")
        elif self._on_object is not None and isinstance(owner, Recordable):
            self.state(owner)
        else:
            self.owned(owner, f"sets .{name} of")

    def set_entry(self, owner: Any, key: Any, value: Any) -> None:
        """The step sets an entry of a container, to what it is already or in a container of its own."""
        if type(owner) in (list, dict) and isinstance(value, Tensor) and element(owner, key) is value:
            self.subscript(owner, key)
        else:
            self.owned(owner, "writes into")
            self._operators(owner)
            self.deep(key)
            if isinstance(owner, Tensor | np.ndarray) or type(key) is slice:
                self.deep(value)

    # -- values ------------------------------------------------------------------------------------------------------

    def shallow(self, value: Any) -> None:
        """The step looks at what is directly inside a container: how many entries there are, and which."""
        self.asks_engine = self.asks_engine or is_engine(value)
        self.state(value)
        self._operators(value)
        if self.is_fresh(value) or isinstance(value, Tensor | str | bytes | range | tuple | frozenset):
            return
        if isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, known.CONTAINERS):
            if len(contents(value)) > _LARGE:
                raise Refused(f"it reads a {named(value)} of {len(contents(value))} entries; keep them in a tensor")
            self.guards.whole(value, f"a {named(value)}")
        elif lookup(type(value), "__next__") is not ABSENT and not runs_python(value, "__next__"):
            raise Refused(f"it advances a {named(value)} that was there before the step", FailureKind.PERMANENT)
        elif not isinstance(value, Recordable) and not any(
            runs_python(value, name) for name in ("__iter__", "__len__", "__getitem__", "__bool__")
        ):
            raise Refused(f"it looks into a {named(value)}, whose contents cannot be watched")

    def _array(self, value: np.ndarray[Any, Any]) -> None:
        if type(value) is not np.ndarray or value.dtype.hasobject or value.nbytes > 16 * _LARGE:
            raise Refused("it reads a large or special NumPy array; keep the values in a tensor")
        self.guards.whole(value, "a NumPy array")

    def deep(self, value: Any, depth: int = 0) -> None:
        """The step uses a value with all that is inside: compares, formats, adds it, hands it to a C function."""
        cls = type(value)
        if cls is slice:
            self.deep((value.start, value.stop, value.step), depth + 1)
        if cls in known.SCALARS or isinstance(value, type | np.generic | np.dtype):
            return
        if depth > _DEEPEST:
            raise Refused("it reads containers that are nested too deeply")
        self._operators(value)
        if is_engine(value):
            self.asks_engine = True
            self.state(value)
            return
        if isinstance(value, BaseException):
            if not self.is_fresh(value):
                raise Refused(f"it uses a {named(value)} that was there before the step")
            self.deep(value.args, depth + 1)
        elif isinstance(value, np.ndarray):
            self.shallow(value)
        elif isinstance(value, known.CONTAINERS):
            self.shallow(value)
            for part in contents(value):
                self.deep(part, depth + 1)
        elif cls is types.SimpleNamespace:
            self.deep(vars(value), depth + 1)
        elif lookup(cls, "__next__") is not ABSENT:
            self.shallow(value)
        elif not of_python(cls) or not all(of_python(base) or base in known.SCALARS for base in mro(cls)):
            raise Refused(f"it uses a {named(value)}, which is not known to be constant")

    def _operators(self, value: Any) -> None:
        """The step uses operators of a value: of a class of Python their code is observed, and must stay the same."""
        cls = type(value)
        if not of_python(cls) or known.is_own(cls.__module__) or isinstance(value, type | np.generic):
            return
        if not self.is_fresh(value):
            self.guards.class_of(value)
        if cls in self._checked:
            return
        self._checked.add(cls)
        for name in known.OPERATORS:
            if not _is_of_owner(self.guards.lookup(cls, name)):
                raise Refused(f"it uses a {named(value)}, whose {name} is not written in Python")

    def text(self, value: Any) -> None:
        """The step makes a text of a value: not every one is made of the contents alone."""
        self.deep(value)
        cls = type(value)
        if isinstance(value, known.CONTAINERS):
            for part in contents(value):
                self.text(part)
        elif isinstance(value, BaseException):
            self.text(value.args)
        elif cls is types.SimpleNamespace:
            self.text(vars(value))
        elif not (
            cls in known.TEXTS or isinstance(value, type | Tensor | np.dtype | int | float | str)
            or (is_engine(value) and not isinstance(value, Recordable))
            or any(runs_python(value, name) for name in ("__repr__", "__str__", "__format__"))
        ):  # fmt: skip
            raise Refused(f"it makes a text of a {named(value)}, which may hold an address or follow settings")

    def state(self, value: Any) -> None:
        """The engine uses a module, an optimizer or the like: these say themselves what matters."""
        if not isinstance(value, Recordable) or id(value) in self._covered:
            return
        members = list(value.recorded_members())
        self._covered.update(id(value) for value in members)
        self._covered.add(id(value))
        if self._on_object is not None:
            self._on_object(value)
        self.objects.append((value, value.recorded_state()))
        parts = list(value.recorded_parts())
        self._containers(parts)
        if known.is_own(type(value).__module__):
            for part in parts:
                self.given(part)

    def _containers(self, values: Iterable[Any]) -> None:
        """Lists and dicts in which a module keeps others; changing them tells nobody."""
        for value in values:
            if isinstance(value, list | dict) and not self.is_fresh(value) and len(value) <= _LARGE:
                self.guards.whole(value, f"a {named(value)} of a module")
                self._containers(contents(value) if isinstance(value, list) else dict.values(value))

    def given(self, value: Any) -> None:
        """The engine has been given something that it will use, or call: a loss, a transform, a layer."""
        self.state(value)
        if isinstance(value, tuple | list):
            for part in value:
                self.given(part)
        elif callable(value) and not isinstance(value, type | Recordable | Tensor) and not is_engine(value):
            self.call(value, [], {}, by_engine=True)

    # -- attributes --------------------------------------------------------------------------------------------------

    def attribute(self, value: Any, name: str) -> None:
        """The step reads an attribute."""
        self.asks_engine = self.asks_engine or is_engine(value)
        cls = type(value)
        if cls is types.ModuleType:
            self.guards.class_of(value)
            self.guards.entry(vars(value), name, f"{value.__name__}.{name}")
        elif isinstance(value, Tensor):
            self._of_tensor(value, name)
        elif cls is super:
            self._of_super(value, name)
        elif isinstance(value, type):
            found = self._of_class(value, name)
            of_meta = self._of_class(cls, name)
            if isinstance(of_meta, types.GetSetDescriptorType | types.MemberDescriptorType):
                if of_python(value):
                    self._ask(value, name, of_meta)
            elif found is ABSENT and of_meta is ABSENT:
                self._fallback(value, name)
        elif not of_python(cls):
            self._of_c_object(value, name)
        elif not isinstance(value, np.generic | np.dtype | np.ufunc):
            self._of_object(value, name)

    def _of_tensor(self, value: Tensor, name: str) -> None:
        if name in ("requires_grad", "is_leaf", "node") and not _C.made_inside(value):
            self.guards.asked(getattr, (value, name), getattr(value, name), f"{name} of a tensor")
        if not known.is_own(type(value).__module__):  # a subclass
            self._of_class(type(value), name)
            if isinstance(own := getattr(value, "__dict__", None), dict):
                self.guards.entry(own, name, f"{named(value)}.{name}")

    def _of_super(self, value: Any, name: str) -> None:
        line = mro(value.__self_class__)
        for owner in line[line.index(value.__thisclass__) + 1 :]:
            if of_python(owner):
                self._of_class(owner, name)
            if name in scope(owner):
                return

    def _of_c_object(self, value: Any, name: str) -> None:
        cls = type(value)
        if cls is functools.partial:
            raise Refused("it looks into a partial")
        if cls is types.FunctionType or cls is types.SimpleNamespace:
            self._of_object(value, name)
        elif cls is np.ndarray:
            self.shallow(value)
        elif isinstance(value, contextvars.ContextVar):
            if name != "get":
                raise Refused(f"it reads .{name} of a ContextVar")
        elif cls not in known.SCALARS and not (
            isinstance(value, (*known.CONTAINERS, np.generic, np.dtype)) or is_engine(value) or self.is_fresh(value)
        ):
            raise Refused(f"it reads .{name} of a {named(value)}, which cannot be watched")

    def _of_object(self, value: Any, name: str) -> None:
        cls, label = type(value), f"{named(value)}.{name}"
        getter = self._of_class(cls, "__getattribute__")
        if getter not in _GENERIC and not isinstance(getter, types.FunctionType):
            raise Refused(f"it reads .{name} of a {named(value)}, which finds its attributes in its own way")
        if not self.is_fresh(value):
            self.guards.class_of(value)
        found = self._of_class(cls, name)
        if isinstance(found, functools.cached_property) and name not in object.__getattribute__(value, "__dict__"):
            if not is_engine(value):
                raise Refused(f"it computes the cached property .{name} of a {named(value)}", FailureKind.REBINDS)
            getattr(value, name)  # the engine keeps it
        if isinstance(found, property):
            self._property(value, name, found)
        elif isinstance(found, types.MemberDescriptorType | types.GetSetDescriptorType):
            if name not in ("__dict__", "__class__"):  # these are watched already
                self._ask(value, name, found)
        else:
            own = own_attributes(value)
            if own is not ABSENT and not self.is_fresh(value):
                self.guards.entry(own, name, label)
            if found is ABSENT and (own is ABSENT or name not in own):
                self._fallback(value, name)

    def _fallback(self, value: Any, name: str) -> None:
        """An attribute was not found: a class may have a method for that."""
        fallback = self._of_class(type(value), "__getattr__")
        if isinstance(fallback, types.FunctionType):
            self.calls = fallback.__code__
        elif isinstance(fallback, types.WrapperDescriptorType | types.MethodDescriptorType):
            self.call(fallback, [value, name], {})
        elif fallback is not ABSENT:
            raise Refused(f"it reads .{name} of a {named(value)}, which finds its attributes in its own way")

    def _property(self, value: Any, name: str, found: property) -> None:
        if not isinstance(found.fget, types.FunctionType):
            raise Refused(f"it reads the property .{name}, which is not written in Python")
        self.calls = found.fget.__code__
        if known.is_own(found.fget.__module__) and not isinstance(value, known.CONSTANT):
            methods = value.recorded_methods if isinstance(value, Recordable) else ()
            if methods is not None and name not in methods:
                raise Refused(f"it reads .{name} of a {named(value)}, which may change")

    def _ask(self, value: Any, name: str, found: Any) -> None:
        """The step reads a slot, or what C code gives: watched by asking again."""
        if self.is_fresh(value):
            return
        try:
            now = found.__get__(value)
        except AttributeError:
            raise Refused(f"it asks for .{name} of a {named(value)}, which is not set") from None
        self.guards.asked(found.__get__, (value,), now, f"{named(value)}.{name}")

    def _of_class(self, cls: type, name: str) -> Any:
        """The step looks a name up on a class. Returns what it finds."""
        found = self.guards.lookup(cls, name) if of_python(cls) else lookup(cls, name)
        plain = (types.FunctionType, property, staticmethod, classmethod, *_DESCRIPTORS_OF_C)
        if found is ABSENT or isinstance(found, plain) or type(found) in known.SCALARS or is_engine(found):
            return found
        getter = lookup(type(found), "__get__")
        if getter is not ABSENT and not isinstance(getter, types.FunctionType):
            raise Refused(f"it reads .{name} through a {named(found)}")
        return found

    # -- entries -----------------------------------------------------------------------------------------------------

    def subscript(self, value: Any, key: Any) -> None:
        """The step reads ``value[key]``."""
        self.asks_engine = self.asks_engine or is_engine(value)
        self.state(value)
        self._operators(value)
        self.deep(key)
        constant = (str, bytes, range, tuple, Tensor, Recordable, type, types.GenericAlias)
        if self.is_fresh(value) or isinstance(value, constant) or runs_python(value, "__getitem__"):
            return
        if isinstance(value, dict):
            found = self.guards.entry(value, key, f"[{key!r}] of a {named(value)}")
            if found is ABSENT and isinstance(value, collections.defaultdict):
                raise Refused("it makes a new entry in a defaultdict", FailureKind.REBINDS)
        elif isinstance(value, list) and isinstance(key, int) and 0 <= key < list.__len__(value):
            self.guards.item(value, key, f"[{key}] of a {named(value)}")
        elif isinstance(value, known.CONTAINERS) and type(key) in (int, str, bool) and len(contents(value)) > _LARGE:
            self.guards.asked(element, (value, key), element(value, key), f"[{key!r}] of a {named(value)}")
        elif is_engine(value):
            raise Refused(f"it reads an entry of a {named(value)}")
        else:
            self.shallow(value)

    # -- calls -------------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def call(self, f: Any, args: list[Any], kw: dict[str, Any], by_engine: bool = False) -> Then | None:
        """The step calls ``f``, or reads what calls it; ``by_engine``: the engine will do it, giving it tensors."""
