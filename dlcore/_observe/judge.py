"""Whether the calls that a step makes are known or observed, and what they give is fresh."""

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
from typing import Any

import numpy as np

from dlcore._observe import known
from dlcore._observe.guards import ABSENT, lookup, mro
from dlcore._observe.kinds import Refused, is_engine, named, of_python, runs_python
from dlcore._observe.values import Then, Values
from dlcore._reasons import FailureKind
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor

__all__ = ["Judge"]

_C_CALLABLES = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, functools.partial, np.ufunc,
)  # fmt: skip
_LRU_CACHE = type(functools.lru_cache(lambda: None))
_ARRAY_FUNCTION = type(np.sum)


def _parts(partial: functools.partial[Any]) -> tuple[Any, ...]:
    return partial.func, partial.args, partial.keywords


def _numpy_errors() -> tuple[Any, ...]:
    return (*np.geterr().values(), np.geterrcall())


class Judge(Values):
    """Raises `Refused` where what a step does is neither fresh, known nor watched."""

    # -- calls -------------------------------------------------------------------------------------------------------
    # Each returns what to do with the result, if anything. Python functions are observed when they run.

    def call(self, f: Any, args: list[Any], kw: dict[str, Any], by_engine: bool = False) -> Then | None:
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

    def _python_function(self, f: types.FunctionType, args: list[Any], kw: dict[str, Any]) -> Then | None:
        module = f.__module__ or ""
        if f.__code__.co_filename.startswith(known.LIBRARY[0]):
            return self._engine(f, args, kw)
        if module.partition(".")[0] == "numpy" or f.__code__.co_filename.startswith(known.LIBRARY[1]):
            if f.__name__ not in known.NUMPY or "random" in module:
                raise Refused(f"it calls numpy's {f.__name__}, which is not known to be pure")
            self.deep((*args, *kw.values()))
        self.calls = f.__code__
        return self.made if f.__code__.co_flags & inspect.CO_GENERATOR else None

    def _engine(self, f: Any, args: list[Any], kw: dict[str, Any]) -> Then | None:
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

    def _numpy(self, f: Any, args: list[Any], kw: dict[str, Any]) -> Then | None:
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

    def _cached(self, f: Any, args: list[Any], kw: dict[str, Any]) -> Then:
        """A cached result, or what a weak reference refers to: asked for again before each replay."""
        if kw or not all(type(a) in known.SCALARS for a in args):
            raise Refused("it calls a cached function with more than constants")
        return lambda result: self.guards.asked(f, tuple(args), result, f"the result of {named(f)}")

    def _construct(self, cls: type, args: list[Any], kw: dict[str, Any]) -> Then | None:
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

    def _construct_known(self, cls: type, args: list[Any], kw: dict[str, Any]) -> Then:
        if cls is collections.defaultdict and args:
            self._calls_many(args[0])
        if cls in (collections.defaultdict, functools.partial):
            args = args[1:]
        copies = cls in (list, tuple) or (cls is dict and all(isinstance(value, dict) for value in args))
        for value in args if copies else (*args, *kw.values()):  # what stands behind a keyword is only kept
            if copies:
                self.shallow(value)
            elif cls is str or issubclass(cls, BaseException):
                self.text(value)
            else:
                self.deep(value)
        return self.made

    def _construct_own(self, cls: type, args: list[Any]) -> Then | None:
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

    def _higher_order(self, which: int, args: list[Any]) -> Then:
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

    def _c_function(self, f: Any, args: list[Any], kw: dict[str, Any]) -> Then | None:
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

    def _builtin(self, name: str, args: list[Any], kw: dict[str, Any]) -> Then | None:
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

    def method(self, value: Any, name: str, args: list[Any], kw: dict[str, Any]) -> Then | None:
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

    def _class_method(self, cls: type, name: str, args: list[Any], kw: dict[str, Any]) -> Then:
        if name == "__new__" and (cls in known.CONSTRUCTORS or issubclass(cls, BaseException)):
            return self._construct_known(cls, args[1:], kw)
        if name not in ("fromkeys", "from_bytes", "fromhex", "maketrans"):
            raise Refused(f"it calls {named(cls)}.{name}, which is not known to be pure")
        self.deep((*args, *kw.values()))
        return self.made

    def _container_method(self, value: Any, name: str, args: list[Any], kw: dict[str, Any]) -> Then | None:
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
