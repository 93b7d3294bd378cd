"""Whether what a step touches is fresh, known or watched: objects, attributes, entries, calls."""

from __future__ import annotations

import abc
import collections
import collections.abc
import contextvars
import functools
import inspect
import operator
import re
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._observe import known
from dlcore._observe.guards import ABSENT, Guards, contents, element, lookup, mro, own_attributes, scope
from dlcore._reasons import FailureKind
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor

__all__ = ["Judge", "Refused"]

_LARGE = 1000  # entries of a container, or 16 bytes of an array: what holds more is data, and belongs into a tensor
_DEEPEST = 50  # so far containers within containers are compared
_C_CALLABLES = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, functools.partial, np.ufunc,
)  # fmt: skip
_DESCRIPTORS_OF_C = (
    types.MemberDescriptorType, types.GetSetDescriptorType, types.ClassMethodDescriptorType,
    type(scope(collections.namedtuple("_", "a"))["a"]),
)  # fmt: skip
_GENERIC = {
    scope(t).get("__getattribute__")
    for t in (object, *known.CONTAINERS, int, float, str, complex, types.SimpleNamespace, BaseException)
}
_LRU_CACHE = type(functools.lru_cache(lambda: None))
_ARRAY_FUNCTION = type(np.sum)
_Then = Callable[[Any], None]
"""What to do with the result of an instruction, once it is there."""


class Refused(Exception):
    """A reason not to record; ``kind``: whether a later call may do without."""

    def __init__(self, text: str, kind: FailureKind = FailureKind.PERMANENT):
        super().__init__(text)
        self.kind = kind


def of_python(cls: type) -> bool:
    """Whether a class was made by Python code, so that it can change, and what it does is observed."""
    if not cls.__flags__ & known.OBJECT_OF_PYTHON:
        return False
    own = scope(cls)  # a class of C has methods of its own that are written in C
    methods = types.WrapperDescriptorType | types.MethodDescriptorType
    new = own.get("__new__")
    return not (
        (isinstance(new, types.BuiltinFunctionType) and new.__self__ is cls)
        or any(isinstance(found, methods) and found.__objclass__ is cls for found in own.values())
    )


def named(value: Any) -> str:
    """What to call a value in a message: a function or class by its name, any other by its class."""
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return str(value.__qualname__)
    return type(value).__name__


def is_engine(value: Any) -> bool:
    """Whether an object is of a class of dlcore, or of a subclass."""
    return isinstance(value, Tensor) or any(known.is_own(owner.__module__) for owner in mro(type(value)))


def runs_python(value: Any, method: str) -> bool:
    """Whether a method of a value is Python code that is observed when it runs."""
    found = lookup(type(value), method)
    return isinstance(found, types.FunctionType) and not found.__code__.co_filename.startswith(known.LIBRARY)


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


def _parts(partial: functools.partial[Any]) -> tuple[Any, ...]:
    return partial.func, partial.args, partial.keywords


def _numpy_errors() -> tuple[Any, ...]:
    return (*np.geterr().values(), np.geterrcall())


class Judge:
    """Raises `Refused` where something is neither fresh, known nor watched; keeps the guards of what is watched.

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
        if known.is_own(found.fget.__module__):
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
    # Each returns what to do with the result, if anything. Python functions are observed when they run.

    def call(self, f: Any, args: list[Any], kw: dict[str, Any], by_engine: bool = False) -> _Then | None:
        """The step calls ``f``; ``by_engine``: the engine will call it, with arguments that are tensors."""
        if isinstance(f, types.MethodType):
            return self.call(f.__func__, [f.__self__, *args], kw, by_engine)
        if isinstance(f, types.FunctionType):
            return None if by_engine else self._python_function(f, args, kw)
        if isinstance(f, type):
            return self._construct(f, args, kw)
        if isinstance(f, types.BuiltinFunctionType):
            owner = f.__self__
            if owner is None or isinstance(owner, types.ModuleType):
                return self._c_function(f, args, kw)
            return self.method(owner, f.__name__, args, kw)
        if isinstance(f, types.MethodDescriptorType | types.WrapperDescriptorType):
            return self.method(args[0], f.__name__, args[1:], kw) if args else None
        if isinstance(f, types.MethodWrapperType):
            return self.method(f.__self__, f.__name__, args, kw)
        if isinstance(f, functools.partial):
            if not self.is_fresh(f):
                self.guards.asked(_parts, (f,), _parts(f), "what a partial calls")
            self.shallow(f.keywords)
            for part in (*f.args, *f.keywords.values()) if by_engine else ():
                self.deep(part)
            return self.call(f.func, [*f.args, *args], {**f.keywords, **kw}, by_engine)
        if isinstance(f, np.ufunc | _ARRAY_FUNCTION):
            return self._numpy(f, args, kw)
        if isinstance(f, operator.attrgetter | operator.itemgetter):
            self._getter(f, args)
            return None
        if isinstance(f, _LRU_CACHE | weakref.ReferenceType):
            return self._cached(f, args, kw)
        if isinstance(f, Recordable):
            for part in f.recorded_members():
                if lookup(type(part), "forward") is not ABSENT:
                    self.attribute(part, "forward")
        if is_engine(f):
            return self._engine(f, args, kw)
        if runs_python(f, "__call__"):
            self._of_class(type(f), "__call__")
            self.calls = lookup(type(f), "__call__").__code__
            return None
        raise Refused(f"it calls a {named(f)}, which is not known to be pure")

    def _python_function(self, f: types.FunctionType, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        module = f.__module__ or ""
        if f.__code__.co_filename.startswith(known.LIBRARY[0]):
            return self._engine(f, args, kw)
        if module.partition(".")[0] == "numpy" or f.__code__.co_filename.startswith(known.LIBRARY[1]):
            if f.__name__ not in known.NUMPY or "random" in module:
                raise Refused(f"it calls numpy's {f.__name__}, which is not known to be pure")
            self.deep((*args, *kw.values()))
        self.calls = f.__code__
        return self.made if f.__code__.co_flags & inspect.CO_GENERATOR else None

    def _engine(self, f: Any, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        """The engine follows tensors, modules and optimizers itself, and says where it reads other state."""
        self.asks_engine = True
        module = f.__module__ if isinstance(f, types.FunctionType | type) else type(f).__module__
        outside = (module or "").startswith(known.NOT_IN_STEPS)
        if isinstance(f, types.FunctionType) and args and isinstance(args[0], Recordable):
            methods = args[0].recorded_methods
            outside = methods is not None and f.__name__ not in methods
        if outside:
            raise Refused(f"it calls {named(f)}, which is not part of a step")
        for value in (*args, *kw.values()):
            self.deep(value)
            if isinstance(value, _C_CALLABLES):
                raise Refused(f"it gives {named(f)} a {named(value)} to call")
        for value in (f, getattr(f, "__self__", None), *args):
            self.state(value)
        if isinstance(f, Recordable) or any(callable(a) and not isinstance(a, Recordable | Tensor) for a in args):
            return None
        return self._new_container

    def _new_container(self, value: Any) -> None:
        """What the engine's functions return is new if it is a container; modules, groups and the like are not."""
        if type(value) in (list, dict, set, types.GeneratorType, zip, map, filter, enumerate):
            self.made(value)

    def _numpy(self, f: Any, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        if "out" in kw or not (isinstance(f, np.ufunc) or f.__name__ in known.NUMPY):
            raise Refused(f"it calls numpy's {f.__name__}, which is not known to be pure")
        if isinstance(f, np.ufunc) and len(args) > f.nin:
            raise Refused(f"it gives numpy's {f.__name__} an array to write to", FailureKind.PERMANENT)
        simple = (np.generic, *known.CONTAINERS, int, float, str, Tensor)
        if any(of_python(type(a)) and not isinstance(a, simple) for a in args):
            raise Refused(f"it gives numpy's {f.__name__} an object that may do anything")
        self.deep((*args, *kw.values()))
        self.numpy_errors()
        return None if f.__name__ in known.NUMPY_VIEWS else self.made

    def numpy_errors(self) -> None:
        """The step computes in NumPy, where overflow and the like may raise."""
        self.guards.asked(_numpy_errors, (), _numpy_errors(), "what NumPy does on overflow")

    def _getter(self, f: Any, args: list[Any]) -> None:
        for key in f.__reduce__()[1]:
            if isinstance(f, operator.itemgetter):
                self.subscript(args[0], key)
            elif "." in key:
                raise Refused("it reads attributes of attributes through an attrgetter")
            else:
                self.attribute(args[0], key)

    def _cached(self, f: Any, args: list[Any], kw: dict[str, Any]) -> _Then:
        """A cached result, or what a weak reference refers to: asked for again before each replay."""
        if kw or not all(type(a) in known.SCALARS for a in args):
            raise Refused("it calls a cached function with more than constants")
        return lambda result: self.guards.asked(f, tuple(args), result, f"the result of {named(f)}")

    def _construct(self, cls: type, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        if cls is type and len(args) == 1:
            if not self.is_fresh(args[0]) and of_python(type(args[0])):
                self.guards.class_of(args[0])
            return None
        if cls in known.HIGHER_ORDER:
            return self._higher_order(known.HIGHER_ORDER[cls], args)
        if (
            cls in known.CONSTRUCTORS or issubclass(cls, np.generic) or cls is np.dtype
            or (issubclass(cls, BaseException) and not of_python(cls))
        ):  # fmt: skip
            return self._construct_known(cls, args, kw)
        if known.is_own(cls.__module__):
            return self._engine(cls, args, kw)
        return self._construct_own(cls, args)

    def _construct_known(self, cls: type, args: list[Any], kw: dict[str, Any]) -> _Then:
        if cls is collections.defaultdict and args:
            self._calls_many(args[0])
        if cls in (collections.defaultdict, functools.partial):
            args = args[1:]
        copies = cls in (list, tuple) or (cls is dict and all(isinstance(value, dict) for value in args))
        for value in (*args, *kw.values()):
            if copies:
                self.shallow(value)
            elif cls is str or issubclass(cls, BaseException):
                self.text(value)
            else:
                self.deep(value)
        return self.made

    def _construct_own(self, cls: type, args: list[Any]) -> _Then | None:
        """A class that is written in Python: its ``__new__`` and ``__init__`` are observed."""
        how = lookup(type(cls), "__call__")
        if of_python(cls) and isinstance(how, types.FunctionType | types.WrapperDescriptorType):
            base = next(owner for owner in mro(cls) if not of_python(owner))
            is_error = issubclass(base, BaseException)
            if is_error or base in (object, tuple, list, dict, set, int, float, str):
                if base is not object and not is_error:
                    self.deep(tuple(args))
                new, init, leave = (self._of_class(cls, name) for name in ("__new__", "__init__", "__del__"))
                if leave is not ABSENT:
                    raise Refused(f"it makes a {cls.__qualname__}, which does something when it goes")
                makes = new.__func__ if isinstance(new, staticmethod) else new
                own_new = isinstance(makes, types.FunctionType) and not known.is_own(makes.__module__)
                if isinstance(init, types.FunctionType) and not own_new:
                    self.building = cls, init.__code__
                return self.made if type(cls) is type and not own_new else None
        raise Refused(f"it makes a {cls.__qualname__}, which is not known to be pure")

    def _higher_order(self, which: int, args: list[Any]) -> _Then:
        self._calls_many(args[which] if which < len(args) else None)
        for k, value in enumerate(args):
            if k != which:
                self.deep(value)
        return self.made

    def _calls_many(self, f: Any) -> None:
        """C code will call ``f``, with arguments that are not seen: it must be observed Python, or pure for all."""
        if f is None or isinstance(f, types.FunctionType | types.MethodType | types.MethodDescriptorType):
            return
        if f in (int, float, str, len, abs, bool, tuple, list, repr, type):
            return
        if isinstance(f, types.BuiltinFunctionType):
            if (f.__module__ or "").lstrip("_") in ("math", "operator") or self.is_fresh(f.__self__):
                return
        elif is_engine(f):
            self.call(f, [], {})
            return
        raise Refused(f"it applies a {named(f)} to many")

    def _c_function(self, f: Any, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        module, name = (f.__module__ or "").lstrip("_"), f.__name__
        if module == "builtins":
            return self._builtin(name, args, kw)
        if name == "_count_elements":
            self.owned(args[0], "counts in")
        if module == "functools" and name == "reduce":
            self._higher_order(0, args)
            return None
        if module == "abc":
            self.guards.asked(abc.get_cache_token, (), abc.get_cache_token(), "the classes registered with an ABC")
        changes = module == "operator" and (
            name in ("setitem", "delitem", "call") or (name.startswith("i") and hasattr(operator, name[1:]))
        )
        if module in known.PURE_MODULES and not changes:
            self.deep(tuple(a for a in args if not isinstance(a, type)))
            return None
        if known.is_own(module):
            return self._engine(f, args, kw)
        if module.startswith("numpy") and name in known.NUMPY and "random" not in module and "out" not in kw:
            self.deep((*args, *kw.values()))
            return None if name in known.NUMPY_VIEWS else self.made
        raise Refused(f"it calls {module}.{name}, which is not known to be pure")

    def _builtin(self, name: str, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        if name in ("getattr", "hasattr"):
            self.attribute(args[0], args[1])
            return None
        if name in ("setattr", "delattr"):
            self.set_attribute(args[0], args[1], args[2] if name == "setattr" else None)
            return None
        if name == "vars" and args:
            self.attribute(args[0], "__dict__")
            return None
        if name in ("globals", "locals", "__import__"):
            return None
        if name == "iter" and len(args) == 1:
            self.deep(args[0])  # C code may use up the iterator, and look into what it gives
            return lambda result: self.new_iterator(args[0], result)
        if name == "next":
            if not self.is_fresh(args[0]) and not runs_python(args[0], "__next__"):
                raise Refused(f"it advances a {named(args[0])} that was there before the step")
            return None
        if name not in known.BUILTINS:
            raise Refused(f"it calls {name}, which is not known to be pure")
        if (key := kw.get("key")) is not None:
            self._calls_many(key)
        if name in ("callable", "isinstance", "issubclass"):
            self._of_kind(args[0])
        elif name in ("repr", "ascii", "format"):
            self.text(args[0])
        elif args and (name == "len" or key is not None):
            self.shallow(args[0])
        elif args:
            self.deep(args[0])
        if name == "format" and str(args[-1]).endswith("n"):
            raise Refused("it formats numbers by the locale")
        for value in args[1:]:
            self.deep(value)
        return self.made if name == "sorted" else None

    def _of_kind(self, value: Any) -> None:
        """The step asks of which class a value is, or what a class derives from."""
        if isinstance(value, type):
            self._of_class(value, "__subclasshook__")
        elif of_python(type(value)) and not known.is_own(type(value).__module__):
            self.attribute(value, "__class__")
            self._of_class(type(value), "__call__")

    def method(self, value: Any, name: str, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        """The step calls a method that is written in C."""
        if isinstance(value, contextvars.ContextVar) and name == "get" and not args:
            return lambda result: self.guards.asked(value.get, (), result, f"the ContextVar {value.name}")
        if isinstance(value, Tensor) or (
            is_engine(value) and not isinstance(value, type) and name not in ("__setattr__", "__getattribute__")
        ):
            return self._engine(type(value), args, kw)
        if name == "__call__":
            return self.call(value, args, kw)
        reads = name in ("reduce", "accumulate", "outer") and "out" not in kw and len(args) <= 2
        if isinstance(value, np.ufunc) and not reads:
            raise Refused(f"it calls numpy's {value.__name__}.{name}")
        if isinstance(value, str) and name in ("format", "format_map"):
            if re.search(r"{[^}]*([.\[{]|n})", value):
                raise Refused("it formats by the locale, or attributes or entries of what it is given")
            self.text((*args, *kw.values()))
        if isinstance(value, str) and name == "__mod__":
            self.text(tuple(args))
        if isinstance(value, type):
            return self._class_method(value, name, args, kw)
        if name in ("__init__", "__init_subclass__", "__enter__", "__exit__") and (
            self.is_fresh(value) or type(value).__init__ is object.__init__
        ):
            self.deep((*args, *kw.values()))
            return None
        if name in ("__setattr__", "__delattr__"):
            self.owned(value, "sets an attribute of")
            return None
        if name == "__getattribute__":
            self.attribute(value, args[0])
            return None
        if name in ("__repr__", "__str__", "__format__"):
            self.text(value)
            if args and str(args[0]).endswith("n"):
                raise Refused("it formats numbers by the locale")
            return None
        if name in ("__eq__", "__ne__", "__bool__", "__get__") or (name == "__hash__" and self._hashes(value)):
            self.deep((value, *args))
            return None
        if type(value) in known.SCALARS or isinstance(value, int | float | str | np.generic):
            if any(callable(a) and not isinstance(a, type | types.FunctionType) for a in args):
                raise Refused(f"it gives {named(value)}.{name} something to call")
            self.deep((*args, *kw.values()))
            return self.made
        return self._container_method(value, name, args, kw)

    @staticmethod
    def _hashes(value: Any) -> bool:
        """Whether the hash of a value is made of its contents, and not of its address."""
        return isinstance(value, int | float | complex | str | bytes | tuple | frozenset)

    def _class_method(self, cls: type, name: str, args: list[Any], kw: dict[str, Any]) -> _Then:
        if name == "__new__" and (cls in known.CONSTRUCTORS or issubclass(cls, BaseException)):
            return self._construct_known(cls, args[1:], kw)
        if name not in ("fromkeys", "from_bytes", "fromhex", "maketrans"):
            raise Refused(f"it calls {named(cls)}.{name}, which is not known to be pure")
        self.deep((*args, *kw.values()))
        return self.made

    def _container_method(self, value: Any, name: str, args: list[Any], kw: dict[str, Any]) -> _Then | None:
        fresh_kinds = (*known.CONTAINERS, np.ndarray, types.GeneratorType, collections.abc.Iterator)
        if self.is_fresh(value) and isinstance(value, fresh_kinds):
            if "key" in kw:
                self._calls_many(kw["key"])
            looks = name not in ("append", "appendleft", "add", "insert", "get", "pop", "setdefault", "__setitem__")
            for given in (*args, *kw.values()):
                if looks or lookup(type(given), "__next__") is not ABSENT:
                    self.deep(given)
            if name in ("sort", "index", "count", "remove"):  # it compares the entries
                self.deep(value)
            return self.made if name in known.NEW_RESULTS else None
        if not isinstance(value, (*known.CONTAINERS, np.ndarray)):
            raise Refused(f"it calls {named(value)}.{name}, which is not known to be pure")
        if isinstance(value, dict | types.MappingProxyType) and name in ("get", "__getitem__", "__missing__"):
            self.subscript(value, args[0])
            return None
        if name not in known.reads(value) or "out" in kw:
            text = f"it calls {named(value)}.{name} on one that was there before the step"
            raise Refused(f"{text}, which a replay would not", FailureKind.REBINDS)
        if name in ("items", "keys", "values", "copy", "__iter__", "__len__"):
            self.shallow(value)
        else:
            self.deep(value)
        self.deep(tuple(args))
        return self.made if name in known.NEW_RESULTS or isinstance(value, np.ndarray) else None

    # -- iterators ---------------------------------------------------------------------------------------------------

    def new_iterator(self, source: Any, iterator: Any) -> None:
        """What `iter` has returned: of a known container a new one, of a Python class what its code gave."""
        code = getattr(lookup(type(source), "__iter__"), "__code__", None)
        if iterator is source:
            return
        if not runs_python(source, "__iter__") or (code and code.co_flags & inspect.CO_GENERATOR):
            self.made(iterator)
        elif not self.is_fresh(iterator) and not runs_python(iterator, "__next__"):
            raise Refused(f"it advances a {named(iterator)} that was there before the step")
