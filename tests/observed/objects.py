"""Objects and classes whose attributes change between two calls."""

import abc
import argparse
import collections
import configparser
import copy
import dataclasses
import enum
import functools
import inspect
import operator
import pickle
import string
import threading
import types
import typing
import weakref

Space = types.SimpleNamespace


def Class(bases=(), **entries):
    """A new class."""
    return type("C", bases, entries)


def instance(bases=(), /, state=None, **entries):
    """An object of a new class, with attributes of its own."""
    made = Class(bases, **entries)()
    vars(made).update(state or {})
    return made


def slotted(**values):
    made = Class(__slots__=("k",))()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def data(frozen=False, **options):
    @dataclasses.dataclass(frozen=frozen, **options)
    class Data:
        k: float = 1.0
        rest: list = dataclasses.field(default_factory=lambda: [1.0])

    return Data()


def missing_attribute(value):
    try:
        return value.k
    except AttributeError:
        return 1.0


def cyclic():
    made = Space(k=1.0)
    made.me = made
    return made


def fill(value, **state):
    for name, entry in state.items():
        object.__setattr__(value, name, entry)
    return value


class Descriptor:
    def __get__(self, owner, cls):
        return owner.q


class Data:
    """A data descriptor with state of its own."""

    def __init__(self):
        self.value = 1.0

    def __get__(self, owner, cls):
        return self.value

    def __set__(self, owner, value):
        self.value = value


class Meta(type):
    @property
    def k(cls):
        return cls.held


def with_meta():
    return Meta("C", (), {"held": 1.0})


def meta_getattr():
    return type("M", (type,), {"__getattr__": lambda cls, name: cls.held[name]})("C", (), {"held": {"k": 1.0}})


def with_two_bases():
    base = Class(k=1.0)
    return type("C", (base,), {})


def cached():
    made = instance(k=functools.cached_property(lambda self: self.q), state={"q": 1.0})
    functools.cached_property.__set_name__(type(made).k, type(made), "k")
    made.k  # noqa: B018 - computed now
    return made


def registered():
    return Space(base=abc.ABCMeta("A", (), {}), one=Class()())


def protocol():
    @typing.runtime_checkable
    class Has(typing.Protocol):
        k: float

    return Space(protocol=Has, one=Space())


def singledispatch():
    @functools.singledispatch
    def f(value):
        return 1.0

    return f


def weak():
    one = Space2(k=1.0)
    return one, weakref.ref(one)


class Space2(types.SimpleNamespace):
    pass


def weak_values():
    table = weakref.WeakValueDictionary()
    one = Space2(k=1.0)
    table["k"] = one
    return one, table


def parser():
    made = configparser.ConfigParser()
    made.read_string("[a]\nk=1")
    return made


def super_of():
    base = Class(f=lambda self: 1.0)

    class Child(base):
        def f(self):
            return super().f()

    return Child()


def set_k(value):
    return lambda v: setattr(v, "k", value)


def many_attributes():
    made = Space()
    made.k = 1.0
    return made


def set_global_len(v):
    v["len"] = lambda _: 7


def namespace_function():
    scope = {}
    exec("def f(v):\n    return float(len(v))", scope)
    return scope


ATTRIBUTES = {
    "namespace": (lambda: Space(k=1.0), lambda v: v.k, set_k(7.0)),
    "argparse": (lambda: argparse.Namespace(k=1.0), lambda v: v.k, set_k(7.0)),
    "cycle": (cyclic, lambda v: v.me.me.me.k, set_k(7.0)),
    "getattr": (lambda: Space(), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "default of getattr": (lambda: [1.0], lambda v: getattr(v, "k", v)[0], lambda v: v.__setitem__(0, 7.0)),
    "hasattr": (lambda: argparse.Namespace(), lambda v: 2.0 if hasattr(v, "k") else 3.0, set_k(1)),
    "vars": (lambda: Space(k=1.0), lambda v: vars(v)["k"], set_k(7.0)),
    "values of vars": (lambda: Space(k=1.0), lambda v: sum(vars(v).values()), set_k(7.0)),
    "__dict__": (lambda: instance(state={"k": 1.0}), lambda v: v.__dict__["k"], set_k(7.0)),
    "__dict__ replaced": (
        lambda: instance(state={"k": 1.0}),
        lambda v: v.k,
        lambda v: setattr(v, "__dict__", {"k": 7.0}),
    ),
    "dir": (lambda: Space(), lambda v: float(len(dir(v))), set_k(7.0)),
    "text of": (lambda: Space(k=1), lambda v: float(len(str(v))), set_k(77)),
    "equality": (lambda: Space(k=1), lambda v: 2.0 if v == Space(k=1) else 3.0, set_k(7.0)),
    "missing": (lambda: Space(), missing_attribute, set_k(7.0)),
    "deleted": (lambda: instance(k=7.0, state={"k": 1.0}), lambda v: v.k, lambda v: delattr(v, "k")),
    "class attribute": (lambda: Class(k=1.0), lambda v: v.k, set_k(7.0)),
    "class attribute of an object": (lambda: instance(k=1.0), lambda v: v.k, lambda v: setattr(type(v), "k", 7.0)),
    "object shadows": (lambda: instance(k=1.0), lambda v: v.k, set_k(7.0)),
    "base of a class": (with_two_bases, lambda v: v.k, lambda v: setattr(v.__bases__[0], "k", 7.0)),
    "bases": (with_two_bases, lambda v: v.k, lambda v: setattr(v, "__bases__", (Class(k=7.0),))),
    "class set": (lambda: instance(k=1.0), lambda v: v.k, lambda v: setattr(v, "__class__", Class(k=7.0))),
    "type()": (lambda: instance(k=1.0), lambda v: type(v).k, lambda v: setattr(v, "__class__", Class(k=7.0))),
    "__class__": (lambda: instance(k=1.0), lambda v: v.__class__.k, lambda v: setattr(v, "__class__", Class(k=7.0))),
    "isinstance": (
        lambda: [Class(), Class()(), Class()],
        lambda v: 2.0 if isinstance(v[1], v[2]) else 3.0,
        lambda v: setattr(v[1], "__class__", v[2]),
    ),
    "name of a class": (lambda: Class(), lambda v: float(len(v.__name__)), lambda v: setattr(v, "__name__", "Longer")),
    "slots": (lambda: slotted(k=1.0), lambda v: v.k, set_k(7.0)),
    "slot not set": (slotted, missing_attribute, set_k(7.0)),
    "slot by descriptor": (lambda: slotted(k=1.0), lambda v: type(v).k.__get__(v), set_k(7.0)),
    "slots and dict": (lambda: instance(__slots__=("__dict__", "z"), state={"k": 1.0}), lambda v: v.k, set_k(7.0)),
    "property": (
        lambda: instance(k=property(lambda self: self.q), state={"q": 1.0}),
        lambda v: v.k,
        lambda v: setattr(v, "q", 7.0),
    ),
    "property replaced": (
        lambda: instance(k=property(lambda self: 1.0)),
        lambda v: v.k,
        lambda v: setattr(type(v), "k", 7.0),
    ),
    "property of C": (
        lambda: instance(k=property(operator.attrgetter("q")), state={"q": 1.0}),
        lambda v: v.k,
        lambda v: setattr(v, "q", 7.0),
    ),
    "cached property": (cached, lambda v: v.k, lambda v: (setattr(v, "q", 7.0), vars(v).pop("k"))),
    "descriptor": (lambda: instance(k=Descriptor(), state={"q": 1.0}), lambda v: v.k, lambda v: setattr(v, "q", 7.0)),
    "data descriptor": (lambda: instance(k=Data()), lambda v: v.k, set_k(7.0)),
    "__getattr__": (
        lambda: instance(__getattr__=lambda self, name: self.held[name], state={"held": {"k": 1.0}}),
        lambda v: v.k,
        lambda v: v.held.update(k=7.0),
    ),
    "__getattribute__": (
        lambda: fill(Class(__getattribute__=lambda self, name: object.__getattribute__(self, "q"))(), q=1.0),
        lambda v: v.k,
        lambda v: setattr(v, "q", 7.0),
    ),
    "__getattribute__ by hand": (lambda: Space(k=1.0), lambda v: v.__getattribute__("k"), set_k(7.0)),
    "__getattribute__ of object": (lambda: Space(k=1.0), lambda v: object.__getattribute__(v, "k"), set_k(7.0)),
    "attribute dict": (
        lambda: Class((dict,), __getattr__=dict.__getitem__)(k=1.0),
        lambda v: v.k,
        lambda v: v.update(k=7.0),
    ),
    "attribute dict by get": (
        lambda: Class((dict,), __getattr__=dict.get)(k=1.0),
        lambda v: v.k,
        lambda v: v.update(k=7.0),
    ),
    "dict as its own attributes": (
        lambda: (lambda d: (setattr(d, "__dict__", d), d)[1])(Class((dict,))(k=1.0)),
        lambda v: v.k,
        lambda v: v.update(k=7.0),
    ),
    "metaclass property": (with_meta, lambda v: v.k, lambda v: setattr(v, "held", 7.0)),
    "metaclass __getattr__": (meta_getattr, lambda v: v.k, lambda v: v.held.update(k=7.0)),
    "attrgetter": (lambda: Space(k=1.0), lambda v: operator.attrgetter("k")(v), set_k(7.0)),
    "attrgetter, dotted": (
        lambda: Space(a=Space(k=1.0)),
        lambda v: operator.attrgetter("a.k")(v),
        lambda v: setattr(v.a, "k", 7.0),
    ),
    "map of an attrgetter": (
        lambda: [Space(k=1.0)],
        lambda v: sum(map(operator.attrgetter("k"), v)),
        lambda v: setattr(v[0], "k", 7.0),
    ),
    "format with an attribute": (lambda: Space(k="1"), lambda v: float("{0.k}".format(v)), set_k("7")),
    "template": (lambda: {"k": "1"}, lambda v: float(string.Template("$k").substitute(v)), lambda v: v.update(k="7")),
    "split string": (lambda: Space(k="1"), lambda v: float(v.k.split(",")[0]), set_k("7,1")),
    "dataclass": (data, lambda v: v.k, set_k(7.0)),
    "dataclass equality": (data, lambda v: 2.0 if v == type(v)() else 3.0, set_k(7.0)),
    "dataclass text": (data, lambda v: float(len(repr(v))), set_k(77.5)),
    "dataclass asdict": (data, lambda v: dataclasses.asdict(v)["k"], set_k(7.0)),
    "dataclass astuple": (data, lambda v: dataclasses.astuple(v)[1][0], lambda v: v.rest.__setitem__(0, 7.0)),
    "dataclass replace": (data, lambda v: dataclasses.replace(v, k=2.0).rest[0], lambda v: v.rest.__setitem__(0, 7.0)),
    "dataclass fields": (
        data,
        lambda v: sum(len(f.name) for f in dataclasses.fields(v)),
        lambda v: type(v).__dataclass_fields__.pop("k"),
    ),
    "dataclass with slots": (lambda: data(slots=True), lambda v: v.k, set_k(7.0)),
    "dataclass order": (lambda: data(order=True), lambda v: 2.0 if v < type(v)(3.0) else 3.0, set_k(7.0)),
    "frozen dataclass": (lambda: data(frozen=True), lambda v: v.k, lambda v: object.__setattr__(v, "k", 7.0)),
    "copy.copy": (data, lambda v: copy.copy(v).k, set_k(7.0)),
    "copy.copy, read deeply": (data, lambda v: copy.copy(v).rest[0], lambda v: v.rest.__setitem__(0, 7.0)),
    "copy.deepcopy": (data, lambda v: copy.deepcopy(v).rest[0], lambda v: v.rest.__setitem__(0, 7.0)),
    "pickle": (lambda: [1.0], lambda v: pickle.loads(pickle.dumps(v))[0], lambda v: v.__setitem__(0, 7.0)),
    "enum attribute": (lambda: enum.Enum("E", "A"), lambda v: getattr(v.A, "k", 1.0), lambda v: setattr(v.A, "k", 7.0)),
    "enum value": (
        lambda: enum.Enum("E", {"A": [1.0]}),
        lambda v: v.A.value[0],
        lambda v: v.A.value.__setitem__(0, 7.0),
    ),
    "enum by name": (lambda: ["A"], lambda v: enum.IntEnum("E", "A B")[v[0]] + 0.0, lambda v: v.__setitem__(0, "B")),
    "attribute of a float": (lambda: Class((float,))(1.0), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "attribute of an exception": (lambda: ValueError(1.0), lambda v: v.args[0], lambda v: setattr(v, "args", (7.0,))),
    "text of an exception": (lambda: ValueError(1.0), lambda v: float(str(v)), lambda v: setattr(v, "args", (7.0,))),
    "cause of an exception": (
        lambda: ValueError(),
        lambda v: 2.0 if v.__cause__ else 3.0,
        lambda v: setattr(v, "__cause__", KeyError()),
    ),
    "notes of an exception": (
        lambda: ValueError(),
        lambda v: float(len(getattr(v, "__notes__", []))),
        lambda v: v.add_note("a"),
    ),
    "own exception": (lambda: Class((Exception,))(), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "ABC.register": (
        registered,
        lambda v: 2.0 if isinstance(v.one, v.base) else 3.0,
        lambda v: v.base.register(type(v.one)),
    ),
    "protocol": (protocol, lambda v: 2.0 if isinstance(v.one, v.protocol) else 3.0, lambda v: setattr(v.one, "k", 7.0)),
    "__instancecheck__": (
        lambda: type("M", (type,), {"__instancecheck__": lambda cls, one: cls.held})("C", (), {"held": True}),
        lambda v: 2.0 if isinstance(1, v) else 3.0,
        lambda v: setattr(v, "held", False),
    ),
    "weakref": (weak, lambda v: v[1]().k, lambda v: setattr(v[0], "k", 7.0)),
    "weak proxy": (lambda: (o := Space2(k=1.0), weakref.proxy(o)), lambda v: v[1].k, lambda v: setattr(v[0], "k", 7.0)),
    "weak values": (weak_values, lambda v: v[1]["k"].k, lambda v: setattr(v[0], "k", 7.0)),
    "weak keys": (
        lambda: (o := Space3(), weakref.WeakKeyDictionary({o: 1.0})),
        lambda v: v[1][v[0]],
        lambda v: v[1].update({v[0]: 7.0}),
    ),
    "configparser": (parser, lambda v: float(v["a"]["k"]), lambda v: v["a"].update(k="7")),
    "thread local": (lambda: threading.local(), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "own thread local": (lambda: Class((threading.local,), k=1.0)(), lambda v: v.k, set_k(7.0)),
    "module": (lambda: types.ModuleType("m"), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "module __getattr__": (
        lambda: (lambda m: (setattr(m, "__getattr__", lambda name: m.q), setattr(m, "q", 1.0), m))(
            types.ModuleType("m")
        )[2],
        lambda v: v.k,
        lambda v: setattr(v, "q", 7.0),
    ),
    "module's vars": (
        lambda: (lambda m: (setattr(m, "k", 1.0), m)[1])(types.ModuleType("m")),
        lambda v: vars(v)["k"],
        set_k(7.0),
    ),
    "module replaced": (
        lambda: (lambda m: (setattr(m, "k", 1.0), m)[1])(Class((types.ModuleType,))("m")),
        lambda v: v.k,
        set_k(7.0),
    ),
}


class Space3:
    pass


METHODS = {
    "replaced": (lambda: instance(f=lambda self: 1.0), lambda v: v.f(), lambda v: setattr(type(v), "f", lambda s: 7.0)),
    "replaced on the object": (
        lambda: instance(f=lambda self: 1.0),
        lambda v: v.f(),
        lambda v: setattr(v, "f", lambda: 7.0),
    ),
    "in the object": (
        lambda: instance(state={"f": lambda: 1.0}),
        lambda v: v.f(),
        lambda v: setattr(v, "f", lambda: 7.0),
    ),
    "of the base, replaced": (super_of, lambda v: v.f(), lambda v: setattr(type(v).__bases__[0], "f", lambda s: 7.0)),
    "static": (
        lambda: instance(f=staticmethod(lambda: 1.0)),
        lambda v: v.f(),
        lambda v: setattr(type(v), "f", staticmethod(lambda: 7.0)),
    ),
    "of the class": (
        lambda: instance(f=classmethod(lambda cls: cls.k), k=1.0),
        lambda v: v.f(),
        lambda v: setattr(type(v), "k", 7.0),
    ),
    "partialmethod": (
        lambda: instance(f=functools.partialmethod(lambda self, k: k[0], [1.0])),
        lambda v: v.f(),
        lambda v: vars(type(v))["f"].args[0].__setitem__(0, 7.0),
    ),
    "singledispatchmethod": (
        lambda: instance(f=functools.singledispatchmethod(lambda self, k: 1.0)),
        lambda v: v.f(1),
        lambda v: vars(type(v))["f"].register(int, lambda self, k: 7.0),
    ),
    "bound, kept": (
        lambda: instance(f=lambda self: self.k, state={"k": 1.0}).f,
        lambda v: v(),
        lambda v: setattr(v.__self__, "k", 7.0),
    ),
    "__self__ of a bound": (
        lambda: instance(f=lambda self: 0, state={"k": 1.0}).f,
        lambda v: v.__self__.k,
        lambda v: setattr(v.__self__, "k", 7.0),
    ),
    "new bound": (
        lambda: Space(k=1.0),
        lambda v: types.MethodType(lambda self: self.k, v)(),
        lambda v: setattr(v, "k", 7.0),
    ),
    "__add__": (lambda: instance(__add__=lambda self, other: self.k, state={"k": 1.0}), lambda v: v + 1, set_k(7.0)),
    "__radd__": (lambda: instance(__radd__=lambda self, other: self.k, state={"k": 1.0}), lambda v: 1 + v, set_k(7.0)),
    "__add__ of an old list": (
        lambda: instance(__add__=lambda self, o: self.k, state={"k": [1.0]}),
        lambda v: (v + 1)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__matmul__ of an old list": (
        lambda: instance(__matmul__=lambda self, o: self.k, state={"k": [1.0]}),
        lambda v: (v @ 1)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__neg__": (
        lambda: instance(__neg__=lambda self: self.k, state={"k": [1.0]}),
        lambda v: (-v)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__bool__": (
        lambda: instance(__bool__=lambda self: self.k, state={"k": True}),
        lambda v: 2.0 if v else 3.0,
        set_k(False),
    ),
    "__len__": (lambda: instance(__len__=lambda self: self.k, state={"k": 1}), lambda v: len(v), set_k(7)),
    "__len__ as truth": (
        lambda: instance(__len__=lambda self: self.k, state={"k": 1}),
        lambda v: 2.0 if v else 3.0,
        set_k(0),
    ),
    "__len__ by any": (
        lambda: instance(__len__=lambda self: self.k, state={"k": 1}),
        lambda v: float(any([v])),
        set_k(0),
    ),
    "__eq__": (
        lambda: instance(__eq__=lambda self, o: self.k, __hash__=None, state={"k": True}),
        lambda v: 2.0 if v == 1 else 3.0,
        set_k(False),
    ),
    "__eq__ in a list": (
        lambda: instance(__eq__=lambda self, o: self.k, __hash__=None, state={"k": True}),
        lambda v: 2.0 if 1 in [v] else 3.0,
        set_k(False),
    ),
    "__eq__ by index": (
        lambda: instance(__eq__=lambda self, o: self.k, __hash__=None, state={"k": True}),
        lambda v: [v, 1].index(1),
        set_k(False),
    ),
    "__lt__ by sorted": (
        lambda: [
            instance(__lt__=lambda s, o: s.k < o.k, state={"k": 1}),
            instance(__lt__=lambda s, o: s.k < o.k, state={"k": 2}),
        ],
        lambda v: float(sorted(v)[0] is v[0]),
        lambda v: setattr(v[0], "k", 7),
    ),
    "__hash__": (lambda: instance(__hash__=lambda self: self.k, state={"k": 1}), lambda v: hash(v), set_k(7)),
    "__contains__": (
        lambda: instance(__contains__=lambda self, o: self.k, state={"k": True}),
        lambda v: 2.0 if 1 in v else 3.0,
        set_k(False),
    ),
    "__getitem__": (
        lambda: instance(__getitem__=lambda self, key: self.k, state={"k": 1.0}),
        lambda v: v[0],
        set_k(7.0),
    ),
    "__getitem__ with a slice": (
        lambda: instance(__getitem__=lambda self, key: self.k, state={"k": [1.0]}),
        lambda v: v[0:1][0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__getitem__ by a loop": (
        lambda: instance(__getitem__=lambda self, i: self.k[i], state={"k": [1.0]}),
        lambda v: sum(v),
        lambda v: v.k.append(7.0),
    ),
    "__class_getitem__": (
        lambda: Class(__class_getitem__=classmethod(lambda cls, key: cls.k), k=1.0),
        lambda v: v[0],
        set_k(7.0),
    ),
    "__iter__": (
        lambda: instance(__iter__=lambda self: iter(self.k), state={"k": [1.0]}),
        lambda v: sum(v),
        lambda v: v.k.append(7.0),
    ),
    "__iter__ by star": (
        lambda: instance(__iter__=lambda self: iter(self.k), state={"k": [1.0]}),
        lambda v: sum([*v]),
        lambda v: v.k.append(7.0),
    ),
    "__iter__ of lists": (
        lambda: instance(__iter__=lambda self: iter(self.k), state={"k": [[1.0]]}),
        lambda v: [*v][0][0],
        lambda v: v.k[0].__setitem__(0, 7.0),
    ),
    "__reversed__": (
        lambda: instance(__reversed__=lambda self: iter(self.k), state={"k": [1.0]}),
        lambda v: sum(reversed(v)),
        lambda v: v.k.append(7.0),
    ),
    "__call__": (lambda: instance(__call__=lambda self: self.k, state={"k": 1.0}), lambda v: v(), set_k(7.0)),
    "__call__ replaced": (
        lambda: instance(__call__=lambda self: 1.0),
        lambda v: v(),
        lambda v: setattr(type(v), "__call__", lambda self: 7.0),
    ),
    "__float__": (lambda: instance(__float__=lambda self: self.k, state={"k": 1.0}), lambda v: float(v), set_k(7.0)),
    "__index__": (lambda: instance(__index__=lambda self: self.k, state={"k": 0}), lambda v: [1.0, 7.0][v], set_k(1)),
    "__index__ in a slice": (
        lambda: instance(__index__=lambda self: self.k, state={"k": 1}),
        lambda v: sum([1.0, 7.0][:v]),
        set_k(2),
    ),
    "__index__ in range": (
        lambda: instance(__index__=lambda self: self.k, state={"k": 1}),
        lambda v: float(len(range(v))),
        set_k(2),
    ),
    "__round__": (lambda: instance(__round__=lambda self: self.k, state={"k": 1}), lambda v: round(v), set_k(7)),
    "__abs__": (
        lambda: instance(__abs__=lambda self: self.k, state={"k": [1.0]}),
        lambda v: abs(v)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__divmod__": (
        lambda: instance(__divmod__=lambda self, o: self.k, state={"k": [1.0]}),
        lambda v: divmod(v, 1)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__pow__": (
        lambda: instance(__pow__=lambda self, o: self.k, state={"k": [1.0]}),
        lambda v: pow(v, 1)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__str__": (lambda: instance(__str__=lambda self: self.k, state={"k": "1"}), lambda v: float(str(v)), set_k("7")),
    "__format__": (
        lambda: instance(__format__=lambda self, s: self.k, state={"k": "1"}),
        lambda v: float(f"{v}"),
        set_k("7"),
    ),
    "__repr__ in a list": (
        lambda: instance(__repr__=lambda self: self.k, state={"k": "1"}),
        lambda v: float(len(f"{[v]}")),
        set_k("777"),
    ),
    "__enter__": (
        lambda: instance(__enter__=lambda self: self.k, __exit__=lambda *a: None, state={"k": 1.0}),
        lambda v: entered(v),
        set_k(7.0),
    ),
    "__exit__": (
        lambda: instance(__enter__=lambda self: 0, __exit__=lambda self, *a: self.k, state={"k": True}),
        lambda v: swallowed(v),
        set_k(False),
    ),
    "__missing__": (
        lambda: Class((dict,), __missing__=lambda self, key: self.k)(),
        lambda v: (setattr(v, "k", getattr(v, "k", 1.0)), v["z"])[1],
        set_k(7.0),
    ),
    "__missing__ only": (
        lambda: (lambda d: (setattr(d, "k", 1.0), d)[1])(Class((dict,), __missing__=lambda self, key: self.k)()),
        lambda v: v["z"],
        set_k(7.0),
    ),
    "__new__": (lambda: Class(__new__=lambda cls: cls.k, k=[1.0]), lambda v: v()[0], lambda v: v.k.__setitem__(0, 7.0)),
    "__call__ of a metaclass": (
        lambda: type("M", (type,), {"__call__": lambda cls: cls.k})("C", (), {"k": [1.0]}),
        lambda v: v()[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "__init__ replaced": (
        lambda: Class(__init__=lambda self: setattr(self, "k", 1.0)),
        lambda v: v().k,
        lambda v: setattr(v, "__init__", lambda self: setattr(self, "k", 7.0)),
    ),
    "__init_subclass__": (lambda: [1.0], lambda v: type("C", (), {"k": v}).k[0], lambda v: v.__setitem__(0, 7.0)),
    "__set_name__ of a class statement": (lambda: [1.0], lambda v: class_statement(v), lambda v: v.__setitem__(0, 7.0)),
    "operator.index": (
        lambda: instance(__index__=lambda self: self.k, state={"k": 1}),
        lambda v: operator.index(v),
        set_k(7),
    ),
    "operator.length_hint": (
        lambda: instance(__length_hint__=lambda self: self.k, state={"k": 1}),
        lambda v: operator.length_hint(v),
        set_k(7),
    ),
    "operator.call": (
        lambda: instance(__call__=lambda self: self.k, state={"k": 1.0}),
        lambda v: operator.call(v),
        set_k(7.0),
    ),
    "methodcaller": (
        lambda: instance(f=lambda self: self.k, state={"k": 1.0}),
        lambda v: operator.methodcaller("f")(v),
        set_k(7.0),
    ),
    "__array__": (
        lambda: instance(__array__=lambda self, *a, **k: __import__("numpy").full(1, self.k), state={"k": 1.0}),
        lambda v: float(__import__("numpy").sum(v)),
        set_k(7.0),
    ),
}


def entered(value):
    with value as k:
        return k


def swallowed(value):
    try:
        with value:
            raise KeyError
    except KeyError:
        return 3.0
    return 2.0


def class_statement(value):
    class C:
        k = value

    return C.k[0]


def plain():
    def f(k=1.0, *, j=1.0):
        return k * j

    return f


def seven(k=1.0, *, j=1.0):
    return 7.0


def counted(value):
    def f():
        return value

    return f


def annotated():
    def f(k: int):
        return 1.0

    return f


FUNCTIONS = {
    "attribute": (lambda: plain(), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "code": (plain, lambda v: v(), lambda v: setattr(v, "__code__", seven.__code__)),
    "defaults": (plain, lambda v: v(), lambda v: setattr(v, "__defaults__", (7.0,))),
    "defaults of keywords": (plain, lambda v: v(), lambda v: v.__kwdefaults__.update(j=7.0)),
    "defaults of keywords replaced": (plain, lambda v: v(), lambda v: setattr(v, "__kwdefaults__", {"j": 7.0})),
    "defaults, read": (plain, lambda v: v.__defaults__[0], lambda v: setattr(v, "__defaults__", (7.0,))),
    "default is a list": (lambda: lambda k=[1.0]: k[0], lambda v: v(), lambda v: v.__defaults__[0].__setitem__(0, 7.0)),
    "name": (plain, lambda v: float(len(v.__name__)), lambda v: setattr(v, "__name__", "longer")),
    "documentation": (plain, lambda v: 2.0 if v.__doc__ else 3.0, lambda v: setattr(v, "__doc__", "text")),
    "annotations": (annotated, lambda v: float(len(v.__annotations__)), lambda v: v.__annotations__.update(j=1)),
    "signature": (
        plain,
        lambda v: float(len(inspect.signature(v).parameters)),
        lambda v: setattr(v, "__code__", counted.__code__),
    ),
    "cell": (lambda: counted(1.0), lambda v: v(), lambda v: setattr(v.__closure__[0], "cell_contents", 7.0)),
    "cell, read": (
        lambda: counted(1.0),
        lambda v: v.__closure__[0].cell_contents,
        lambda v: setattr(v.__closure__[0], "cell_contents", 7.0),
    ),
    "list in a cell": (lambda: counted([1.0]), lambda v: v()[0], lambda v: v().__setitem__(0, 7.0)),
    "globals of": (namespace_function, lambda v: v["f"]([1]), set_global_len),
    "__globals__": (plain, lambda v: v.__globals__.get("OBSERVED_K", 1.0), lambda v: globals().update(OBSERVED_K=7.0)),
    "partial": (
        lambda: functools.partial(lambda k: k[0], [1.0]),
        lambda v: v(),
        lambda v: v.args[0].__setitem__(0, 7.0),
    ),
    "partial with keywords": (
        lambda: functools.partial(lambda k: k, k=1.0),
        lambda v: v(),
        lambda v: v.keywords.update(k=7.0),
    ),
    "partial set": (
        lambda: functools.partial(lambda k: k, 1.0),
        lambda v: v(),
        lambda v: v.__setstate__((lambda k: 7.0, (1.0,), {}, {})),
    ),
    "partial, looked into": (
        lambda: functools.partial(lambda k: k, k=1.0),
        lambda v: v.keywords["k"],
        lambda v: v.keywords.update(k=7.0),
    ),
    "attribute of a partial": (lambda: functools.partial(max), lambda v: getattr(v, "k", 1.0), set_k(7.0)),
    "new partial of an old list": (
        lambda: [1.0],
        lambda v: functools.partial(lambda k: k[0], v)(),
        lambda v: v.__setitem__(0, 7.0),
    ),
    "singledispatch": (singledispatch, lambda v: v(1), lambda v: v.register(int, lambda n: 7.0)),
    "wrapped": (
        lambda: functools.wraps(seven)(lambda: 1.0),
        lambda v: v.__wrapped__(),
        lambda v: setattr(v, "__wrapped__", lambda: 1.0),
    ),
    "in a namespace": (lambda: Space(f=lambda: 1.0), lambda v: v.f(), lambda v: setattr(v, "f", lambda: 7.0)),
    "in a list": (lambda: [lambda: 1.0], lambda v: v[0](), lambda v: v.__setitem__(0, lambda: 7.0)),
    "in a table": (lambda: {"f": lambda: 1.0}, lambda v: v["f"](), lambda v: v.update(f=lambda: 7.0)),
    "generator that reads": (lambda: [1.0], lambda v: next(generator(v)), lambda v: v.__setitem__(0, 7.0)),
    "generator of old lists": (lambda: [[1.0]], lambda v: next(generator(v))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "yield from": (lambda: [[1.0]], lambda v: next(delegating(v))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "sent to a generator": (lambda: [1.0], lambda v: sent(v), lambda v: v.__setitem__(0, 7.0)),
    "returned by a generator": (lambda: [1.0], lambda v: returned(v), lambda v: v.__setitem__(0, 7.0)),
    "identity": (lambda: [1.0], lambda v: (lambda n: n)(v)[0], lambda v: v.__setitem__(0, 7.0)),
    "conditional": (lambda: [1.0], lambda v: (v if True else [])[0], lambda v: v.__setitem__(0, 7.0)),
    "and": (lambda: [1.0], lambda v: (True and v)[0], lambda v: v.__setitem__(0, 7.0)),
    "walrus": (lambda: [1.0], lambda v: (n := v)[0] + 0 * len(n), lambda v: v.__setitem__(0, 7.0)),
    "star arguments": (lambda: [1.0], lambda v: (lambda *a: a[0][0])(v), lambda v: v.__setitem__(0, 7.0)),
    "keyword arguments": (lambda: [1.0], lambda v: (lambda **a: a["n"][0])(n=v), lambda v: v.__setitem__(0, 7.0)),
    "deque of an old list": (lambda: [1.0], lambda v: collections.deque([v])[0][0], lambda v: v.__setitem__(0, 7.0)),
    "new object with an old list": (lambda: [1.0], lambda v: Space(n=v).n[0], lambda v: v.__setitem__(0, 7.0)),
    "new instance with an old list": (lambda: [1.0], lambda v: Box(v).n[0], lambda v: v.__setitem__(0, 7.0)),
    "cast": (lambda: [1.0], lambda v: typing.cast(list, v)[0], lambda v: v.__setitem__(0, 7.0)),
}


class Box:
    def __init__(self, n):
        self.n = n


def generator(values):
    yield values[0]


def delegating(values):
    return (yield from generator(values))


def echo():
    got = yield
    yield got


def sent(value):
    it = echo()
    next(it)
    return it.send(value)[0]


def returning(value):
    return value
    yield


def returned(value):
    try:
        next(returning(value))
    except StopIteration as error:
        return error.value[0]
