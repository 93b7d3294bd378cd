"""Old objects that come back through new ones, and C code that looks into what observed code hands it."""

import collections
import contextlib
import copy
import functools
import itertools
import math
import operator
import random
import types

import numpy as np

import dlcore as dl
from dlcore import nn

Space = types.SimpleNamespace


class Box:
    def __init__(self, k=None):
        self.k = k


class Plain:
    pass


class Pulls:
    """Gives old values one by one, in Python."""

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return self.pull()

    def pull(self):
        yield from self.values


class Steps:
    def __init__(self, values):
        self.values, self.n = values, 0

    def __iter__(self):
        self.n = 0
        return self

    def __next__(self):
        if self.n == len(self.values):
            raise StopIteration
        self.n += 1
        return self.values[self.n - 1]


def first(index=0, to=7.0):
    """Writes into the first of a list of lists."""
    return lambda v: v[0].__setitem__(index, to)


def more(v):
    v[0].append(7.0)


def lists():
    return [[1.0]]


def empty():
    return [[]]


def set_operator(name, method):
    return lambda v: setattr(type(v), name, method)


def plain():
    return type("P", (), {})()


def with_reinit():
    """Classes whose `__init__` goes by another name, so that its start may be missed."""

    def setup(self):
        self.n = 0

    base = type("Base", (), {"__init__": setup})

    class Child(base):
        def __init__(self):
            self.n = getattr(self, "n", 0) + 1

    return Space(base=base, old=Child())


def reinit(v):
    v.base()
    type(v.old).__init__(v.old)


def caught(v):
    try:
        raise v
    except ValueError as error:
        return error.args[0]


def group(v):
    try:
        raise ExceptionGroup("g", [ValueError(v)])
    except ExceptionGroup as error:
        return error.exceptions[0].args[0][0]


def reraised(v):
    try:
        try:
            raise ValueError(v)
        except ValueError as error:
            raise KeyError from error
    except KeyError as error:
        return error.__cause__.args[0][0]


@contextlib.contextmanager
def holding(v):
    yield v


def through_with(v):
    with holding(v) as held:
        return held[0]


def closed(v):
    with contextlib.closing(v) as held:
        return held.k


def keyed_by(key):
    return lambda v: sorted(range(len(v)), key=lambda i: key(v[i]))[0] + 1.0


def memo(v, known={}):  # noqa: B006
    return known.setdefault(id(v), v)[0]


def delegate(v):
    def inner():
        got = yield
        while True:
            got = yield got

    it = inner()
    next(it)
    return it.send(v)[0]


def thrown(v):
    def inner():
        try:
            yield
        except ValueError as error:
            yield error.args[0]

    it = inner()
    next(it)
    return it.throw(ValueError(v))[0]


def global_of_other(v):
    return v.f()


def other_module():
    module = types.ModuleType("other")
    exec("k = 1.0\ndef f():\n    return k", vars(module))
    return module


class Chained:
    def __init__(self, k):
        self.k = k

    def set(self, k):
        self.k = k
        return self


class Meta(type):
    def __iter__(cls):
        return iter(cls.values)

    def __len__(cls):
        return len(cls.values)

    def __getitem__(cls, key):
        return cls.values[key]

    def __contains__(cls, key):
        return key in cls.values


def meta():
    return Meta("M", (), {"values": [1.0]})


class Gain(nn.Module):
    def __init__(self, k):
        self.k = k

    def forward(self, x):
        return x * self.k[0]


class Passes(nn.Module):
    def forward(self, x):
        return x


def sequenced(v):
    return nn.Sequential(Passes())(v)[0]


ALIASES = {
    "list.__getitem__ of a new list": (lists, lambda v: [v].__getitem__(0)[0][0], first()),
    "dict.__getitem__ of a new dict": (lists, lambda v: {1: v}.__getitem__(1)[0][0], first()),
    "unbound list.__getitem__": (lists, lambda v: list.__getitem__([v], 0)[0][0], first()),
    "map of list.__getitem__": (lists, lambda v: [*map(list.__getitem__, [v], [0])][0][0], first()),
    "deque.popleft": (lists, lambda v: collections.deque(v).popleft()[0], first()),
    "popitem": (lists, lambda v: {1: v}.popitem()[1][0][0], first()),
    "OrderedDict": (lists, lambda v: collections.OrderedDict(k=v)["k"][0][0], first()),
    "defaultdict": (lists, lambda v: collections.defaultdict(lambda: v)["k"][0][0], first()),
    "ChainMap": (lists, lambda v: collections.ChainMap({"k": v})["k"][0][0], first()),
    "UserDict": (lists, lambda v: collections.UserDict(k=v)["k"][0][0], first()),
    "UserList": (lists, lambda v: collections.UserList(v)[0][0], first()),
    "Counter": (lambda: {"a": 1}, lambda v: collections.Counter(v)["a"], lambda v: v.update(a=7)),
    "fromkeys": (lists, lambda v: dict.fromkeys("k", v)["k"][0][0], first()),
    "namedtuple made now": (lists, lambda v: Pair(v, 1).a[0][0], first()),
    "namedtuple._make": (lists, lambda v: Pair._make(v + [1])[0][0], first()),
    "copy.copy of a list": (lists, lambda v: copy.copy(v)[0][0], first()),
    "slice of a new list": (lists, lambda v: [v, 1][:1][0][0][0], first()),
    "starred target": (lists, lambda v: (lambda a, *b: b[0][0])(1, *v), first()),
    "zip_longest": (lists, lambda v: next(itertools.zip_longest([], v))[1][0], first()),
    "zip_longest's filling": (lists, lambda v: next(itertools.zip_longest([], [1], fillvalue=v))[0][0][0], first()),
    "product": (lists, lambda v: next(itertools.product(v))[0][0], first()),
    "permutations": (lists, lambda v: next(itertools.permutations(v))[0][0], first()),
    "combinations": (lists, lambda v: next(itertools.combinations(v, 1))[0][0], first()),
    "pairwise": (lambda: [[1.0], [2.0]], lambda v: next(itertools.pairwise(v))[0][0], first()),
    "compress": (lists, lambda v: next(itertools.compress(v, [1]))[0], first()),
    "selectors of compress": (lambda: [0, 1], lambda v: next(itertools.compress([1.0, 2.0], v)), lambda v: v.reverse()),
    "filterfalse": (lists, lambda v: next(itertools.filterfalse(lambda n: False, v))[0], first()),
    "takewhile": (lists, lambda v: next(itertools.takewhile(lambda n: True, v))[0], first()),
    "dropwhile": (lists, lambda v: next(itertools.dropwhile(lambda n: False, v))[0], first()),
    "tee": (lists, lambda v: next(itertools.tee(v)[1])[0], first()),
    "count from an old list": (lambda: [1.0], lambda v: next(itertools.count(*v)), lambda v: v.__setitem__(0, 7.0)),
    "min with a default": (lists, lambda v: min([], default=v)[0][0], first()),
    "reduce with a start": (lists, lambda v: functools.reduce(lambda a, b: a, [], v)[0][0], first()),
    "sum with a start": (lists, lambda v: sum([], v)[0][0], first()),
    "getattr with a default": (lists, lambda v: getattr(Plain, "zz", v)[0][0], first()),
    "operator.or_ of dicts": (
        lambda: {"k": [1.0]},
        lambda v: operator.or_(v, {})["k"][0],
        lambda v: v["k"].__setitem__(0, 7.0),
    ),
    "operator.concat": (lists, lambda v: operator.concat([], v)[0][0], first()),
    "operator.mul": (lists, lambda v: operator.mul(v, 2)[1][0], first()),
    "itemgetter with a slice": (lists, lambda v: operator.itemgetter(slice(1))(v)[0][0], first()),
    "attrgetter": (lambda: Space(k=[1.0]), lambda v: operator.attrgetter("k")(v)[0], lambda v: v.k.__setitem__(0, 7.0)),
    "own property": (lambda: Space(k=[1.0]), lambda v: Reads(v).k[0], lambda v: v.k.__setitem__(0, 7.0)),
    "method chain": (lists, lambda v: Chained(1).set(v).k[0][0], first()),
    "vars of a new one": (lists, lambda v: vars(Chained(v))["k"][0][0], first()),
    "dict of a new one": (lists, lambda v: Chained(v).__dict__.copy()["k"][0][0], first()),
    "types.MethodType": (lists, lambda v: types.MethodType(lambda s: s, v)()[0][0], first()),
    "__self__": (lists, lambda v: v.append.__self__[0][0], first()),
    "__func__": (
        lambda: Space(k=[1.0]),
        lambda v: types.MethodType(lambda s: s.k, v).__func__(v)[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "partial's arguments": (lists, lambda v: functools.partial(max, v).args[0][0][0], first()),
    "partial of a partial": (lists, lambda v: functools.partial(functools.partial(max, v), key=len)()[0], first()),
    "default of a new function": (lists, lambda v: (lambda k=v: k)()[0][0], first()),
    "__defaults__ of a new function": (lists, lambda v: (lambda k=v: k).__defaults__[0][0][0], first()),
    "closure of a new function": (lists, lambda v: (lambda: v).__closure__[0].cell_contents[0][0], first()),
    "attribute of a new function": (
        lists,
        lambda v: (lambda f: (setattr(f, "k", v), f.k)[1])(lambda: 0)[0][0],
        first(),
    ),
    "exception": (lambda: [ValueError(1.0)], lambda v: caught(v[0]), lambda v: setattr(v[0], "args", (7.0,))),
    "exception group": (lambda: [1.0], group, lambda v: v.__setitem__(0, 7.0)),
    "cause": (lambda: [1.0], reraised, lambda v: v.__setitem__(0, 7.0)),
    "context manager": (lambda: [1.0], through_with, lambda v: v.__setitem__(0, 7.0)),
    "contextlib.closing": (lambda: Space(k=1.0, close=lambda: None), closed, lambda v: setattr(v, "k", 7.0)),
    "contextlib.nullcontext": (lambda: [1.0], lambda v: with_null(v), lambda v: v.__setitem__(0, 7.0)),
    "send": (lambda: [1.0], delegate, lambda v: v.__setitem__(0, 7.0)),
    "throw": (lambda: [1.0], thrown, lambda v: v.__setitem__(0, 7.0)),
    "memory of the function": (lambda: [1.0], memo, lambda v: v.__setitem__(0, 7.0)),
    "np.array without a copy": (lambda: np.ones(1), lambda v: float(np.array(v, copy=False)[0]), lambda v: v.fill(7.0)),
    "np.atleast_1d": (lambda: np.ones(1), lambda v: float(np.atleast_1d(v)[0]), lambda v: v.fill(7.0)),
    "np.moveaxis": (lambda: np.ones((1, 1)), lambda v: float(np.moveaxis(v, 0, 1)[0, 0]), lambda v: v.fill(7.0)),
    "np.diagonal": (lambda: np.ones((1, 1)), lambda v: float(np.diagonal(v)[0]), lambda v: v.fill(7.0)),
    "np.split": (lambda: np.ones(2), lambda v: float(np.split(v, 2)[0][0]), lambda v: v.fill(7.0)),
    "np.asanyarray": (lambda: np.ones(2), lambda v: float(np.asanyarray(v)[0]), lambda v: v.fill(7.0)),
    "np.broadcast_arrays": (
        lambda: np.ones(2),
        lambda v: float(np.broadcast_arrays(v, v)[0][0]),
        lambda v: v.fill(7.0),
    ),
    "np.ndarray over a buffer": (
        lambda: bytearray(8),
        lambda v: float(np.ndarray((1,), buffer=v)[0]),
        lambda v: v.__setitem__(7, 64),
    ),
    "np.ndarray.__new__": (
        lambda: bytearray(8),
        lambda v: float(np.ndarray.__new__(np.ndarray, (1,), buffer=v)[0]),
        lambda v: v.__setitem__(7, 64),
    ),
    "array of arrays": (lambda: [np.ones(1)], lambda v: float(np.stack(v)[0, 0]), lambda v: v[0].fill(7.0)),
    "arrays in a new list": (lambda: np.ones(1), lambda v: float(np.concatenate([v, v])[0]), lambda v: v.fill(7.0)),
    "array in a new dict": (lambda: np.ones(1), lambda v: {"a": v}["a"].sum() * 1.0, lambda v: v.fill(7.0)),
    "view of a view": (lambda: np.ones((2, 2)), lambda v: float(v.T[1:].ravel()[0]), lambda v: v.fill(7.0)),
    "array by indices": (lambda: [1], lambda v: float(np.arange(9.0)[v][0]), lambda v: v.__setitem__(0, 7)),
    "array by an index array": (lambda: np.ones(1, int), lambda v: float(np.arange(9.0)[v][0]), lambda v: v.fill(7)),
    "array by a mask": (
        lambda: np.array([True, False]),
        lambda v: float(np.array([1.0, 2.0])[v][0]),
        lambda v: v.__setitem__(slice(None), [False, True]),
    ),
    "array set by an old one": (
        lambda: np.ones(1),
        lambda v: (lambda a: (a.__setitem__(0, v[0]), float(a[0]))[1])(np.zeros(1)),
        lambda v: v.fill(7.0),
    ),
    "array set by a whole old one": (lambda: np.ones(1), lambda v: set_all(v), lambda v: v.fill(7.0)),
    "array plus an old one": (lambda: np.ones(1), lambda v: float((np.zeros(1) + v)[0]), lambda v: v.fill(7.0)),
    "array += an old one": (
        lambda: np.ones(1),
        lambda v: float(operator.iadd(np.zeros(1), v)[0]),
        lambda v: v.fill(7.0),
    ),
    "nan_to_num": (lambda: np.ones(1), lambda v: float(np.nan_to_num(v)[0]), lambda v: v.fill(7.0)),
    "dl.asarray": (lambda: np.ones(1), lambda v: dl.asarray(v), lambda v: v.fill(7.0)),
    "dl.tensor": (lambda: np.ones(1), lambda v: dl.tensor(v), lambda v: v.fill(7.0)),
    "tensor plus an array": (lambda: np.ones(1, "f"), lambda v: dl.zeros(1) + v, lambda v: v.fill(7.0)),
    "dl.tensor of a new list": (lambda: [1.0], lambda v: dl.tensor([v, v])[0], lambda v: v.__setitem__(0, 7.0)),
    "dl.stack of a generator": (
        lambda: [dl.ones(1)],
        lambda v: dl.stack([t for t in v]).sum(),
        lambda v: v.append(dl.ones(1)),
    ),
    "module made now": (lambda: [1.0], lambda v: Gain(v)(dl.ones(1)), lambda v: v.__setitem__(0, 7.0)),
    "module of an old list": (lambda: Gain([1.0]), lambda v: v(dl.ones(1)), lambda v: v.k.__setitem__(0, 7.0)),
    "Sequential passes a list on": (lambda: [1.0], sequenced, lambda v: v.__setitem__(0, 7.0)),
    "Sequential of a list in it": (
        lambda: nn.Sequential(Gain([1.0])),
        lambda v: v(dl.ones(1)),
        lambda v: v[0].k.__setitem__(0, 7.0),
    ),
    "global of another module": (other_module, global_of_other, lambda v: setattr(v, "k", 7.0)),
    "instance made of C": (lambda: [1.0], lambda v: Space(**{"k": v}).k[0], lambda v: v.__setitem__(0, 7.0)),
    "subclass of list made now": (lists, lambda v: type("L", (list,), {})(v)[0][0], first()),
    "MyList": (lists, lambda v: MyList(v)[0][0], first()),
    "MyDict": (lambda: {"k": [1.0]}, lambda v: MyDict(v)["k"][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "MyTuple": (lists, lambda v: MyTuple(v)[0][0], first()),
}


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyTuple(tuple):
    pass


class Reads:
    def __init__(self, source):
        self.source = source

    @property
    def k(self):
        return self.source.k


Pair = collections.namedtuple("Pair", "a b")


def set_all(v):
    new = np.zeros(1)
    new[:] = v
    return float(new[0])


def with_null(v):
    with contextlib.nullcontext(v) as held:
        return held[0]


def yields(v):
    yield from v


READERS = {  # C code that looks into what iterators and functions give it
    "dict of pairs": (lambda: [["k", 1.0]], lambda v: dict(v)["k"], lambda v: v[0].__setitem__(1, 7.0)),
    "dict of an iterator of pairs": (
        lambda: [["k", 1.0]],
        lambda v: dict(iter(v))["k"],
        lambda v: v[0].__setitem__(1, 7.0),
    ),
    "dict of a generator of pairs": (
        lambda: [["k", 1.0]],
        lambda v: dict(p for p in v)["k"],
        lambda v: v[0].__setitem__(1, 7.0),
    ),
    "dict of a new list of pairs": (lambda: ["k", 1.0], lambda v: dict([v])["k"], lambda v: v.__setitem__(1, 7.0)),
    "update by pairs": (
        lambda: [["k", 1.0]],
        lambda v: (lambda d: (d.update(v), d["k"])[1])({}),
        lambda v: v[0].__setitem__(1, 7.0),
    ),
    "update by a generator of pairs": (
        lambda: [["k", 1.0]],
        lambda v: (lambda d: (d.update(p for p in v), d["k"])[1])({}),
        lambda v: v[0].__setitem__(1, 7.0),
    ),
    "|= by pairs": (lambda: [["k", 1.0]], lambda v: operator.ior({}, v)["k"], lambda v: v[0].__setitem__(1, 7.0)),
    "any of an iterator": (empty, lambda v: float(any(iter(v))), more),
    "any of a generator": (empty, lambda v: float(any(k for k in v)), more),
    "any of a yield from": (empty, lambda v: float(any(yields(v))), more),
    "any of a map": (empty, lambda v: float(any(map(lambda k: k, v))), more),
    "any of a map by index": (empty, lambda v: float(any(map(lambda i: v[i], range(1)))), more),
    "any of a Python iterable": (lambda: Pulls([[]]), lambda v: float(any(v)), lambda v: v.values[0].append(1)),
    "any of a Python iterator": (lambda: Steps([[]]), lambda v: float(any(v)), lambda v: v.values[0].append(1)),
    "any of a starmap": (empty, lambda v: float(any(itertools.starmap(lambda k: k, zip(v, strict=True)))), more),
    "any of an accumulate": (empty, lambda v: float(any(itertools.accumulate(v, lambda a, b: a))), more),
    "any of a chain": (empty, lambda v: float(any(itertools.chain(v))), more),
    "any of chain.from_iterable": (empty, lambda v: float(any(itertools.chain.from_iterable(iter([v])))), more),
    "any of reversed": (empty, lambda v: float(any(reversed(v))), more),
    "any of an islice": (empty, lambda v: float(any(itertools.islice(v, 1))), more),
    "any of a cycle": (empty, lambda v: float(any(itertools.islice(itertools.cycle(v), 1))), more),
    "any of a repeat": (list, lambda v: float(any(itertools.repeat(v, 1))), lambda v: v.append(1)),
    "any of dict values": (lambda: {"k": []}, lambda v: float(any(v.values())), lambda v: v["k"].append(1)),
    "any of an iterator of dict values": (
        lambda: {"k": []},
        lambda v: float(any(iter(v.values()))),
        lambda v: v["k"].append(1),
    ),
    "all of a new list": (list, lambda v: float(all([v])), lambda v: v.append(1)),
    "all of a new tuple": (list, lambda v: float(all((v,))), lambda v: v.append(1)),
    "filter of an iterator": (empty, lambda v: float(len([*filter(None, iter(v))])), more),
    "filter by a function of a list": (empty, lambda v: float(len([*filter(lambda i: v[i], range(1))])), more),
    "filter by bool": (empty, lambda v: float(len([*filter(bool, v)])), more),
    "takewhile by a function of a list": (
        empty,
        lambda v: float(len([*itertools.takewhile(lambda i: v[0], [1])])),
        more,
    ),
    "map of len": (lists, lambda v: sum(map(len, v)), more),
    "map of len over an iterator": (lists, lambda v: sum(map(len, iter(v))), more),
    "map of len over a generator": (lists, lambda v: sum(map(len, (k for k in v))), more),
    "map of sum": (lists, lambda v: sum(map(sum, v)), more),
    "map of tuple": (lists, lambda v: float(len(next(map(tuple, v)))), more),
    "map of float": (lambda: [Box(1.0)], lambda v: sum(map(lambda b: b.k, v)), lambda v: setattr(v[0], "k", 7.0)),
    "sum of lists by an iterator": (lists, lambda v: sum(iter(v), [])[0], first()),
    "sum of lists by a generator": (lists, lambda v: sum((k for k in v), [])[0], first()),
    "sum of lists by a map": (lists, lambda v: sum(map(lambda i: v[i], range(1)), [])[0], first()),
    "reduce by operator.add": (lambda: [[1.0], [2.0]], lambda v: functools.reduce(operator.add, v)[0], first()),
    "reduce by operator.add over an iterator": (
        lambda: [[1.0], [2.0]],
        lambda v: functools.reduce(operator.add, iter(v))[0],
        first(),
    ),
    "accumulate of lists": (lambda: [[1.0], [2.0]], lambda v: [*itertools.accumulate(v)][1][0], first()),
    "accumulate of lists by an iterator": (
        lambda: [[1.0], [2.0]],
        lambda v: [*itertools.accumulate(iter(v))][1][0],
        first(),
    ),
    "sorted by an iterator": (lambda: [[1.0], [2.0]], lambda v: sorted(iter(v))[0][0], first()),
    "sorted by a generator": (lambda: [[1.0], [2.0]], lambda v: float(sorted(k for k in v)[0] is v[0]), first()),
    "sorted by a key of lists": (lambda: [[1.0], [2.0]], keyed_by(lambda k: k), first()),
    "sorted by a key of copies": (lambda: [[1.0], [2.0]], keyed_by(lambda k: k[:]), first()),
    "sorted by a key of tuples": (lambda: [[1.0], [2.0]], keyed_by(lambda k: (k, 1)), first()),
    "sorted by a key of objects": (
        lambda: [Space(k=1.0), Space(k=2.0)],
        keyed_by(lambda k: k.k),
        lambda v: setattr(v[0], "k", 7.0),
    ),
    "max by an iterator": (lambda: [[1.0], [2.0]], lambda v: float(max(iter(v)) is v[0]), first()),
    "max by a key of lists": (lambda: [[1.0], [2.0]], lambda v: max(range(2), key=lambda i: v[i]), first()),
    "groupby by a key of lists": (
        lambda: [[1.0], [2.0]],
        lambda v: float(len([*itertools.groupby(range(2), lambda i: v[i])])),
        first(to=2.0),
    ),
    "chain over lists in an iterator": (lists, lambda v: sum(itertools.chain.from_iterable(iter(v))), more),
    "chain over lists in a generator": (lists, lambda v: sum(itertools.chain.from_iterable(k for k in v)), more),
    "chain over lists in a map": (
        lists,
        lambda v: sum(itertools.chain.from_iterable(map(lambda i: v[i], range(1)))),
        more,
    ),
    "starmap over lists": (lists, lambda v: next(itertools.starmap(max, [(v[0], [0.0])]))[0], first()),
    "starmap over an iterator": (
        lambda: [([1.0, 0.0],)],
        lambda v: next(itertools.starmap(max, iter(v))),
        lambda v: v[0][0].append(7.0),
    ),
    "zip over lists in an iterator": (lists, lambda v: float(len([*zip(*v, strict=True)])), more),
    "join over an iterator": (lambda: ["a"], lambda v: float(len("".join(iter(v)))), lambda v: v.append("b")),
    "join over a generator": (lambda: ["a"], lambda v: float(len("".join(s for s in v))), lambda v: v.append("b")),
    "set of tuples": (lambda: ["a"], lambda v: float(len({*v})), lambda v: v.append("b")),
    "fsum over a generator": (lambda: [1.0], lambda v: math.fsum(k for k in v), lambda v: v.append(7.0)),
    "math.dist": (lambda: [1.0], lambda v: math.dist(v, [0.0]), lambda v: v.__setitem__(0, 7.0)),
    "math.hypot": (lambda: [1.0], lambda v: math.hypot(*v), lambda v: v.__setitem__(0, 7.0)),
    "index in a new list": (lambda: [1.0], lambda v: [v, [1.0]].index([1.0]), lambda v: v.append(1)),
    "count in a new list": (lambda: [1.0], lambda v: [v].count([1.0]) + 1.0, lambda v: v.append(1)),
    "remove from a new list": (
        lambda: [1.0],
        lambda v: (lambda n: (n.remove([1.0]), float(n[0] is v))[1])([v, [1.0]]),
        lambda v: v.append(1),
    ),
    "sort of a new list": (
        lambda: [1.0],
        lambda v: (lambda n: (n.sort(), float(n[0] is v))[1])([v, [2.0]]),
        lambda v: v.__setitem__(0, 7.0),
    ),
    "sort of a new list by a key": (
        lambda: [1.0],
        lambda v: (lambda n: (n.sort(key=lambda k: k), float(n[0] is v))[1])([v, [2.0]]),
        lambda v: v.__setitem__(0, 7.0),
    ),
    "in a new list": (lambda: [1.0], lambda v: float([1.0] in [v]), lambda v: v.append(1)),
    "in a generator": (lambda: [1.0], lambda v: float([1.0] in (k for k in [v])), lambda v: v.append(1)),
    "equality of new lists": (lambda: [1.0], lambda v: float([v] == [[1.0]]), lambda v: v.append(1)),
    "equality of new tuples": (lambda: [1.0], lambda v: float((v,) == ([1.0],)), lambda v: v.append(1)),
    "equality of new dicts": (lambda: [1.0], lambda v: float({1: v} == {1: [1.0]}), lambda v: v.append(1)),
    "equality of values": (lambda: {"k": [1.0]}, lambda v: float([*v.values()] == [[1.0]]), lambda v: v["k"].append(1)),
    "order of new tuples": (lambda: [1.0], lambda v: float((1, v) < (1, [2.0])), lambda v: v.__setitem__(0, 7.0)),
    "extend by lists in an iterator": (lists, lambda v: (lambda n: (n.extend(iter(v)), n[0][0])[1])([]), first()),
    "format of a new list": (lambda: [1], lambda v: float(len(f"{[v]}")), lambda v: v.append(7)),
    "format of a new dict": (lambda: [1], lambda v: float(len(str({"k": v}))), lambda v: v.append(7)),
    "percent of a new tuple": (lambda: [1], lambda v: float(len("%s" % (v,))), lambda v: v.append(7)),
    "str.format of a list": (lambda: [1], lambda v: float(len("{}".format(v))), lambda v: v.append(7)),
    "str.format with an index": (lambda: ["1"], lambda v: float("{0[0]}".format(v)), lambda v: v.__setitem__(0, "7")),
    "text of an exception": (lambda: [1], lambda v: float(len(str(ValueError(v)))), lambda v: v.append(7)),
    "text of a namespace": (lambda: [1], lambda v: float(len(str(Space(k=v)))), lambda v: v.append(7)),
    "text of a partial": (lambda: [1], lambda v: float(len(str(functools.partial(max, v)))), lambda v: v.append(7)),
    "text of an array": (lambda: np.ones(1), lambda v: float(len(str([v]))), lambda v: v.fill(77.5)),
    "truth of an or": (list, lambda v: 2.0 if (v or None) else 3.0, lambda v: v.append(1)),
    "ternary of len": (list, lambda v: 2.0 if len([*v]) else 3.0, lambda v: v.append(1)),
    "metaclass's iteration": (meta, lambda v: sum(v), lambda v: v.values.append(7.0)),
    "metaclass's length": (meta, lambda v: float(len(v)), lambda v: v.values.append(7.0)),
    "metaclass's entry": (meta, lambda v: v[0], lambda v: v.values.__setitem__(0, 7.0)),
    "metaclass's in": (meta, lambda v: float(7.0 in v), lambda v: v.values.append(7.0)),
    "bytes.join": (lambda: [bytearray(b"a")], lambda v: float(len(b"".join(v))), lambda v: v[0].append(1)),
    "bytes.join over an iterator": (
        lambda: [bytearray(b"a")],
        lambda v: float(len(b"".join(iter(v)))),
        lambda v: v[0].append(1),
    ),
    "startswith": (lambda: ["a"], lambda v: float("abc".startswith(tuple(v))), lambda v: v.__setitem__(0, "z")),
    "translate": (lambda: {97: "1"}, lambda v: float("a".translate(v)), lambda v: v.update({97: "7"})),
    "int of a text in a list": (lambda: ["1"], lambda v: int(v[0]) * 1.0, lambda v: v.__setitem__(0, "7")),
    "divmod": (lambda: [7.0], lambda v: divmod(v[0], 4)[1], lambda v: v.__setitem__(0, 5.0)),
    "round": (lambda: [1.26, 1], lambda v: round(*v), lambda v: v.__setitem__(1, 2)),
    "range": (lambda: [3], lambda v: float(sum(range(*v))), lambda v: v.__setitem__(0, 7)),
    "slice": (lambda: [1], lambda v: float(sum([1.0, 2.0, 3.0][: v[0]])), lambda v: v.__setitem__(0, 2)),
    "isinstance of a tuple of classes": (
        lambda: [int],
        lambda v: float(isinstance(1.0, (*v,))),
        lambda v: v.append(float),
    ),
    "callable": (plain, lambda v: float(callable(v)), set_operator("__call__", lambda self: 1)),
    "issubclass": (
        lambda: [type("A", (), {}), type("B", (), {}), type("C", (type("D", (), {}),), {})],
        lambda v: float(issubclass(v[2], v[1])),
        lambda v: setattr(v[2], "__bases__", (v[1],)),
    ),
    "isinstance after a change of bases": (
        lambda: (lambda b: [b, type("C", (type("D", (), {}),), {})()])(type("B", (), {})),
        lambda v: float(isinstance(v[1], v[0])),
        lambda v: setattr(type(v[1]), "__bases__", (v[0],)),
    ),
    "isinstance by __class__": (
        lambda: type("C", (), {"__class__": property(lambda self: self.k)})(),
        lambda v: (vars(v).setdefault("k", int), float(isinstance(v, int)))[1],
        lambda v: setattr(v, "k", str),
    ),
}

OPERATORS = {  # operators that a class gets, or changes, later
    "__bool__ later": (plain, lambda v: 2.0 if v else 3.0, set_operator("__bool__", lambda self: False)),
    "__len__ later": (plain, lambda v: 2.0 if v else 3.0, set_operator("__len__", lambda self: 0)),
    "__bool__ later, by not": (plain, lambda v: 2.0 if not v else 3.0, set_operator("__bool__", lambda self: False)),
    "__bool__ later, by or": (
        plain,
        lambda v: 2.0 if (v or 0) is v else 3.0,
        set_operator("__bool__", lambda self: False),
    ),
    "__bool__ later, by any": (plain, lambda v: float(any([v])), set_operator("__bool__", lambda self: False)),
    "__bool__ later, by filter": (
        plain,
        lambda v: float(len([*filter(None, [v])])),
        set_operator("__bool__", lambda self: False),
    ),
    "__eq__ later": (plain, lambda v: 2.0 if v == 1 else 3.0, set_operator("__eq__", lambda self, o: True)),
    "__eq__ later, in a list": (plain, lambda v: float(1 in [v]), set_operator("__eq__", lambda self, o: True)),
    "__eq__ later, by index": (plain, lambda v: float([v, 1].index(1)), set_operator("__eq__", lambda self, o: True)),
    "__eq__ later, right": (plain, lambda v: 2.0 if 1 == v else 3.0, set_operator("__eq__", lambda self, o: True)),
    "__ne__ later": (plain, lambda v: 2.0 if v != 1 else 3.0, set_operator("__ne__", lambda self, o: False)),
    "__iter__ later": (
        lambda: type("P", (list,), {})([1.0]),
        lambda v: sum(k for k in v),
        set_operator("__iter__", lambda self: iter([7.0])),
    ),
    "__len__ of a list later": (
        lambda: type("P", (list,), {})([1.0]),
        lambda v: len(v),
        set_operator("__len__", lambda self: 7),
    ),
    "__getitem__ of a list later": (
        lambda: type("P", (list,), {})([1.0]),
        lambda v: v[0],
        set_operator("__getitem__", lambda self, i: 7.0),
    ),
    "__getitem__ of a dict later": (
        lambda: type("P", (dict,), {})(k=1.0),
        lambda v: v["k"],
        set_operator("__getitem__", lambda self, i: 7.0),
    ),
    "__contains__ of a list later": (
        lambda: type("P", (list,), {})([1.0]),
        lambda v: float(1.0 in v),
        set_operator("__contains__", lambda self, k: False),
    ),
    "get of a dict later": (
        lambda: type("P", (dict,), {})(k=1.0),
        lambda v: v.get("k"),
        set_operator("get", lambda self, k: 7.0),
    ),
    "__missing__ later": (
        lambda: type("P", (dict,), {})(),
        lambda v: missing(v),
        set_operator("__missing__", lambda self, k: 7.0),
    ),
    "__add__ of an int later": (
        lambda: type("P", (int,), {})(1),
        lambda v: v + 1,
        set_operator("__add__", lambda s, o: 7),
    ),
    "__mul__ of a float later": (
        lambda: type("P", (float,), {})(1.0),
        lambda v: v * 1.0,
        set_operator("__mul__", lambda s, o: 7.0),
    ),
    "__float__ of a float later": (
        lambda: type("P", (float,), {})(1.0),
        lambda v: float(v),
        set_operator("__float__", lambda s: 7.0),
    ),
    "__str__ of a str later": (
        lambda: type("P", (str,), {})("1"),
        lambda v: float(str(v)),
        set_operator("__str__", lambda s: "7"),
    ),
    "__format__ of a float later": (
        lambda: type("P", (float,), {})(1.0),
        lambda v: float(f"{v}"),
        set_operator("__format__", lambda s, f: "7"),
    ),
    "__getattr__ later": (plain, lambda v: getattr(v, "k", 1.0), set_operator("__getattr__", lambda self, n: 7.0)),
    "__getattribute__ later": (
        lambda: type("P", (), {"k": 1.0})(),
        lambda v: v.k,
        set_operator("__getattribute__", lambda self, n: 7.0),
    ),
    "data descriptor later": (
        lambda: (lambda p: (setattr(p, "k", 1.0), p)[1])(plain()),
        lambda v: v.k,
        set_operator("k", property(lambda self: 7.0)),
    ),
    "metaclass attribute later": (
        lambda: type("M", (type,), {})("C", (), {"k": 1.0}),
        lambda v: v.k,
        set_operator("k", property(lambda self: 7.0)),
    ),
    "attribute of a base later": (
        lambda: type("C", (type("B", (), {}),), {})(),
        lambda v: getattr(v, "k", 1.0),
        lambda v: setattr(type(v).__bases__[0], "k", 7.0),
    ),
    "attribute in between later": (
        lambda: type("C", (type("B", (type("A", (), {"k": 1.0}),), {}),), {})(),
        lambda v: v.k,
        lambda v: setattr(type(v).__bases__[0], "k", 7.0),
    ),
    "super's attribute later": (
        lambda: (lambda b: type("C", (b,), {}))(type("B", (type("A", (), {"k": 1.0}),), {}))(),
        lambda v: super(type(v), v).k,
        lambda v: setattr(type(v).__bases__[0], "k", 7.0),
    ),
    "operator of C that is no method": (
        lambda: (lambda kept: [type("P", (), {"__len__": kept.__len__})(), kept])([1]),
        lambda v: float(len(v[0])),
        lambda v: v[1].append(1),
    ),
    "__getitem__ of C that is no method": (
        lambda: (lambda kept: [type("P", (), {"__getitem__": kept.__getitem__})(), kept])([1.0]),
        lambda v: v[0][0],
        lambda v: v[1].__setitem__(0, 7.0),
    ),
    "__getitem__ of C on a new one": (
        lambda: (lambda kept: [type("P", (), {"__getitem__": kept.__getitem__}), kept])([1.0]),
        lambda v: v[0]()[0],
        lambda v: v[1].__setitem__(0, 7.0),
    ),
    "__iter__ of C on a new one": (
        lambda: (lambda kept: [type("P", (), {"__iter__": kept.__iter__}), kept])([1.0]),
        lambda v: sum(v[0]()),
        lambda v: v[1].__setitem__(0, 7.0),
    ),
    "__contains__ of C on a new one": (
        lambda: (lambda kept: [type("P", (), {"__contains__": kept.__contains__}), kept])([1.0]),
        lambda v: float(1.0 in v[0]()),
        lambda v: v[1].__setitem__(0, 7.0),
    ),
    "__call__ of C on a new one": (
        lambda: (lambda kept: [type("P", (), {"__call__": kept.__len__}), kept])([1.0]),
        lambda v: float(v[0]()()),
        lambda v: v[1].append(7.0),
    ),
    "__add__ of C on a new one": (
        lambda: (lambda kept: [type("P", (), {"__add__": kept.__getitem__}), kept])([1.0]),
        lambda v: v[0]() + 0,
        lambda v: v[1].__setitem__(0, 7.0),
    ),
    "__getattr__ of C on a new one": (
        lambda: (lambda kept: [type("P", (), {"__getattr__": kept.__getitem__}), kept])({"k": 1.0}),
        lambda v: v[0]().k,
        lambda v: v[1].update(k=7.0),
    ),
    "__get__ of C": (
        lambda: (lambda kept: [type("P", (), {"k": type("D", (), {"__get__": lambda s, o, t: kept[0]})()})(), kept])(
            [1.0]
        ),
        lambda v: v[0].k,
        lambda v: v[1].__setitem__(0, 7.0),
    ),
}


def missing(v):
    try:
        return v["k"]
    except KeyError:
        return 1.0


EFFECTS = {
    "__init__ again": (with_reinit, reinit, lambda v: v.old.n),
    "__init__ again, by hand": (lambda: Box(0), lambda v: v.__init__(v.k + 1), lambda v: v.k),
    "__init__ of a list again": (list, lambda v: list.__init__(v, [1] * (len(v) + 1)), len),
    "__init__ of a new class on an old one": (
        lambda: Box(0),
        lambda v: (Box(1), Box.__init__(v, v.k + 1)),
        lambda v: v.k,
    ),
    "__setstate__": (lambda: collections.deque(), lambda v: v.__init__([1] * (len(v) + 1)), len),
    "property's setter of C": (
        lambda: (lambda kept: [type("P", (), {"k": property(None, lambda s, k: kept.append(k))}), kept])([]),
        lambda v: setattr(v[0](), "k", 1),
        lambda v: len(v[1]),
    ),
    "setter that is a partial": (
        lambda: (lambda kept: [type("P", (), {"k": property(None, functools.partial(Noted.note, kept))}), kept])([]),
        lambda v: v[0]().__setattr__("k", 1),
        lambda v: len(v[1]),
    ),
    "__set__ that is a partial": (
        lambda: (
            lambda kept: [type("P", (), {"k": type("D", (), {"__set__": functools.partial(Noted.note, kept)})()}), kept]
        )([]),
        lambda v: set_k(v[0]()),
        lambda v: len(v[1]),
    ),
    "__setitem__ of C": (
        lambda: (lambda kept: [type("P", (), {"__setitem__": kept.__setitem__}), kept])({}),
        lambda v: v[0]().__setitem__(len(v[1]), 1),
        lambda v: len(v[1]),
    ),
    "__setitem__ of C, by a statement": (
        lambda: (lambda kept: [type("P", (), {"__setitem__": kept.__setitem__}), kept])({}),
        lambda v: set_item(v[0](), len(v[1])),
        lambda v: len(v[1]),
    ),
    "__setattr__ of C": (
        lambda: (lambda kept: [type("P", (), {"__setattr__": kept.__setitem__}), kept])({}),
        lambda v: set_k(v[0]()),
        lambda v: v[1].get("k"),
    ),
    "__iadd__ of C": (
        lambda: (lambda kept: [type("P", (), {"__iadd__": kept.append}), kept])([]),
        lambda v: operator.iadd(v[0](), 1),
        lambda v: len(v[1]),
    ),
    "__iadd__ of C, by a statement": (
        lambda: (lambda kept: [type("P", (), {"__iadd__": kept.append}), kept])([]),
        lambda v: add_to(v[0]()),
        lambda v: len(v[1]),
    ),
    "__enter__ of C": (
        lambda: (
            lambda kept: [
                type("P", (), {"__enter__": functools.partial(kept.append, 1), "__exit__": lambda *a: None}),
                kept,
            ]
        )([]),
        lambda v: enter(v[0]()),
        lambda v: len(v[1]),
    ),
    "__exit__ of C": (
        lambda: (
            lambda kept: [
                type("P", (), {"__enter__": lambda s: s, "__exit__": functools.partial(Noted.note3, kept)}),
                kept,
            ]
        )([]),
        lambda v: enter(v[0]()),
        lambda v: len(v[1]),
    ),
    "__del__ of a new one": (
        lambda: (lambda kept: [type("P", (), {"__del__": lambda s: kept.append(1)}), kept])([]),
        lambda v: v[0](),
        lambda v: len(v[1]),
    ),
    "__del__ of an old one": (lambda: counting_leaves(), lambda v: v[0].pop(), lambda v: len(v[1])),
    "__new__ of C": (
        lambda: (lambda kept: [type("P", (), {"__new__": functools.partial(Noted.note1, kept)}), kept])([]),
        lambda v: v[0](),
        lambda v: len(v[1]),
    ),
    "append to what sorted gives": (lambda: [[]], lambda v: sorted(v)[0].append(1), lambda v: len(v[0])),
    "append to what max gives": (lambda: [[]], lambda v: max(v).append(1), lambda v: len(v[0])),
    "append to what list gives": (lambda: [[]], lambda v: list(v)[0].append(1), lambda v: len(v[0])),
    "append to what values gives": (lambda: {1: []}, lambda v: [*v.values()][0].append(1), lambda v: len(v[1])),
    "append to what items gives": (lambda: {1: []}, lambda v: [*v.items()][0][1].append(1), lambda v: len(v[1])),
    "append to what starmap gives": (
        lambda: [[]],
        lambda v: next(itertools.starmap(lambda k: k, [(v[0],)])).append(1),
        lambda v: len(v[0]),
    ),
    "append to what reduce gives": (
        lambda: [[]],
        lambda v: functools.reduce(lambda a, b: a, v).append(1),
        lambda v: len(v[0]),
    ),
    "append to what send gives": (list, lambda v: echo(v).append(1), len),
    "append to what a property gives": (lambda: Space(k=[]), lambda v: Reads(v).k.append(1), lambda v: len(v.k)),
    "append to what __getattr__ gives": (
        list,
        lambda v: type("P", (), {"__getattr__": lambda s, n: v})().k.append(1),
        len,
    ),
    "append to what __call__ gives": (list, lambda v: Calls(v)().append(1), len),
    "append to what __getitem__ gives": (list, lambda v: Items(v)[0].append(1), len),
    "append to what __iter__ gives": (list, lambda v: [k for k in Items(v)][0].append(1), len),
    "append to what __enter__ gives": (list, lambda v: entered(v).append(1), len),
    "append to what a module gives": (list, lambda v: Passes()(v).append(1), len),
    "append to what a Sequential gives": (list, lambda v: nn.Sequential(Passes())(v).append(1), len),
    "append to what an lru_cache gives": (
        lambda: functools.lru_cache(lambda n: []),
        lambda v: v(1).append(1),
        lambda v: len(v(1)),
    ),
    "append to what __add__ gives": (list, lambda v: (Adds(v) + 1).append(1), len),
    "append to what __or__ gives": (list, lambda v: (Adds(v) | 1).append(1), len),
    "append to what copy gives": (lambda: [[]], lambda v: copy.copy(v)[0].append(1), lambda v: len(v[0])),
    "append to an entry of a new dict": (list, lambda v: dict(k=v)["k"].append(1), len),
    "append to a cell": (list, lambda v: (lambda: v).__closure__[0].cell_contents.append(1), len),
    "append to a keyword": (list, lambda v: (lambda **k: k["v"].append(1))(v=v), len),
    "append to a star": (list, lambda v: (lambda *k: k[0].append(1))(v), len),
    "append to a default": (list, lambda v: (lambda k=v: k.append(1))(), len),
    "append to globals": (list, lambda v: HELD.append(1), lambda v: len(HELD)),
    "append through a class": (
        lambda: type("C", (), {"rows": []}),
        lambda v: v().rows.append(1),
        lambda v: len(v.rows),
    ),
    "append through a dataclass": (list, lambda v: Box(Box(v)).k.k.append(1), len),
    "append through a slot": (list, lambda v: Slot(v).k.append(1), len),
    "append through an exception": (list, lambda v: caught(ValueError(v)).append(1), len),
    "set in a cell of an old function": (lambda: counter(), lambda v: v(), lambda v: v.__closure__[0].cell_contents),
    "generator function's old list": (list, lambda v: next(yields([v])).append(1), len),
    "advance by zip": (lambda: iter(range(999)), lambda v: list(zip([1], v)), lambda v: v.__length_hint__()),
    "advance by a starred call": (
        lambda: iter(range(999)),
        lambda v: (lambda *k: 0)(*itertools.islice(v, 1)),
        lambda v: v.__length_hint__(),
    ),
    "advance by unpacking": (lambda: Steps2(), lambda v: [k for k in v], lambda v: v.n),
    "advance by in": (lambda: iter(range(999)), lambda v: next(v) + 1 in v, lambda v: v.__length_hint__()),
    "random state set to what it is": (lambda: random.Random(0), lambda v: v.random(), lambda v: v.getstate()[1][-1]),
    "array by a slice": (lambda: np.zeros(2), lambda v: v[:1].__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by np.ravel": (lambda: np.zeros(2), lambda v: np.ravel(v).__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by broadcast": (
        lambda: np.zeros(1),
        lambda v: np.expand_dims(v, 0).__setitem__((0, 0), v[0] + 1),
        lambda v: v[0],
    ),
    "array by np.array(copy=False)": (
        lambda: np.zeros(1),
        lambda v: np.array(v, copy=False).__setitem__(0, v[0] + 1),
        lambda v: v[0],
    ),
    "array by a new list": (lambda: np.zeros(1), lambda v: [v][0].__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by augmented entry": (lambda: np.zeros(1), lambda v: augmented(v), lambda v: v[0]),
    "array by view": (lambda: np.zeros(1), lambda v: v.view().__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by transpose": (
        lambda: np.zeros((1, 1)),
        lambda v: v.transpose().__setitem__(0, v[0] + 1),
        lambda v: v[0, 0],
    ),
    "array by swapaxes": (
        lambda: np.zeros((1, 1)),
        lambda v: v.swapaxes(0, 1).__setitem__(0, v[0] + 1),
        lambda v: v[0, 0],
    ),
    "array by a new object": (lambda: np.zeros(1), lambda v: Box(v).k.__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array's flags": (
        lambda: np.zeros(1),
        lambda v: setattr(v.flags, "writeable", not v.flags.writeable),
        lambda v: v.flags.writeable,
    ),
    "array's dtype": (
        lambda: np.zeros(1, "i8"),
        lambda v: setattr(v, "dtype", "f8" if v.dtype == "i8" else "i8"),
        lambda v: v.dtype,
    ),
}
HELD = []


class Noted:
    @staticmethod
    def note(kept, *rest):
        kept.append(1)

    note1 = note3 = note


class Calls:
    def __init__(self, v):
        self.v = v

    def __call__(self):
        return self.v


class Items(Calls):
    def __getitem__(self, i):
        if i:
            raise IndexError
        return self.v


class Adds(Calls):
    def __add__(self, other):
        return self.v

    __or__ = __add__


class Slot:
    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k


class Steps2:
    n = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.n += 1
        if self.n % 2:
            return 1
        raise StopIteration


def counter():
    n = 0

    def f():
        nonlocal n
        n += 1

    return f


def counting_leaves():
    kept = []

    class Leaves:
        def __del__(self):
            kept.append(1)

    return [Leaves() for _ in range(99)], kept


def set_k(v):
    v.k = object()


def set_item(v, k):
    v[k] = 1


def add_to(v):
    v += 1


def augmented(v):
    v[0] += 1


def enter(v):
    with v:
        return 1


def entered(v):
    with holding(v) as held:
        return held


def echo(v):
    def inner():
        got = yield
        yield got

    it = inner()
    next(it)
    return it.send(v)
