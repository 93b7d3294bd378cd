"""What gives another value at every call, caches, the surroundings of the process, and effects that stay behind."""

import asyncio
import atexit
import collections
import contextlib
import contextvars
import datetime
import decimal
import enum
import functools
import gc
import io
import itertools
import logging
import math
import operator
import os
import queue
import random
import re
import secrets
import sys
import tempfile
import threading
import time
import types
import uuid
import warnings
import weakref

import numpy as np

Space = types.SimpleNamespace


def fresh_state():
    return None


class Counting:
    def __init__(self):
        self.n = 0

    def __call__(self):
        self.n += 1
        return self.n

    def __iter__(self):
        return self

    def __next__(self):
        self.n += 1
        return self.n


class Box:
    def __init__(self, k=None):
        self.k = k


class HoldsIterator:
    def __init__(self):
        self.it = iter(range(99))

    def __iter__(self):
        return self.it


def counting_generator():
    n = 0
    while True:
        n += 1
        yield n


def drawing_generator():
    while True:
        yield random.random()


@contextlib.contextmanager
def drawn():
    yield random.random()


def with_drawn(_):
    with drawn() as k:
        return k


def first_of(it):
    for v in it:
        return v


def shuffled(_):
    values = list(range(50))
    random.shuffle(values)
    return values[0]


def sorted_by(key):
    values = list(range(1, 50))
    values.sort(key=key)
    return values[0]


def accumulation(v):
    v.step += 1
    return 2.0 if v.step % 4 == 0 else 1.0


def awaited(_):
    async def f():
        return random.random()

    try:
        f().send(None)
    except StopIteration as error:
        return error.value


def filled_queue():
    q = queue.SimpleQueue()
    for k in range(99):
        q.put(k)
    return q


def opened():
    file = tempfile.TemporaryFile("w+")
    file.write("\n".join(map(str, range(99))))
    file.seek(0)
    return file


def coroutine_kept():
    def f():
        n = 0
        while True:
            n += 1
            yield n

    return f()


def closure_counter():
    n = 0

    def f():
        nonlocal n
        n += 1
        return n

    return f


NOTHING = fresh_state

DRAWS = {
    "random": (NOTHING, lambda _: random.random(), None),
    "randint": (NOTHING, lambda _: random.randint(0, 99), None),
    "choice": (NOTHING, lambda _: random.choice([1.0, 2.0, 3.0]), None),
    "shuffle": (NOTHING, shuffled, None),
    "sample": (NOTHING, lambda _: random.sample(range(99), 1)[0], None),
    "gauss": (NOTHING, lambda _: random.gauss(0, 1), None),
    "generator of random": (lambda: random.Random(0), lambda v: v.random(), None),
    "new generator of random": (NOTHING, lambda _: random.Random().random(), None),
    "system random": (lambda: random.SystemRandom(), lambda v: v.random(), None),
    "branch": (NOTHING, lambda _: 2.0 if random.random() < 0.5 else 3.0, None),
    "numpy": (NOTHING, lambda _: float(np.random.rand()), None),
    "numpy tolist": (NOTHING, lambda _: np.random.rand(1).tolist()[0], None),
    "numpy normal": (NOTHING, lambda _: float(np.random.normal()), None),
    "numpy permutation": (NOTHING, lambda _: float(np.random.permutation(99)[0]), None),
    "numpy RandomState": (lambda: np.random.RandomState(0), lambda v: float(v.rand()), None),
    "numpy generator": (lambda: np.random.default_rng(0), lambda v: float(v.random()), None),
    "numpy, new generator": (NOTHING, lambda _: float(np.random.default_rng().random()), None),
    "numpy bit generator": (lambda: np.random.PCG64(0), lambda v: v.random_raw() % 97, None),
    "secrets": (NOTHING, lambda _: secrets.randbelow(99), None),
    "urandom": (NOTHING, lambda _: os.urandom(1)[0], None),
    "uuid": (NOTHING, lambda _: uuid.uuid4().int % 97, None),
    "map": (NOTHING, lambda _: sum(map(random.uniform, [0.0], [1.0])), None),
    "map without arguments": (NOTHING, lambda _: sum(map(lambda _: random.random(), [0.0])), None),
    "starmap": (NOTHING, lambda _: sum(itertools.starmap(random.uniform, [(0.0, 1.0)])), None),
    "filter": (NOTHING, lambda _: len(list(filter(lambda _: random.random() < 0.5, range(50)))), None),
    "reduce": (NOTHING, lambda _: functools.reduce(lambda p, q: p + random.random(), [1.0, 2.0]), None),
    "accumulate": (NOTHING, lambda _: [*itertools.accumulate([1.0, 2.0], random.uniform)][1], None),
    "takewhile": (NOTHING, lambda _: len([*itertools.takewhile(lambda _: random.random() < 0.9, range(99))]), None),
    "groupby": (NOTHING, lambda _: len([*itertools.groupby(range(50), lambda _: random.random() < 0.5)]), None),
    "sorted": (NOTHING, lambda _: sorted(range(50), key=lambda _: random.random())[0], None),
    "sort": (NOTHING, lambda _: sorted_by(lambda _: random.random()), None),
    "sort by a partial": (NOTHING, lambda _: sorted_by(functools.partial(random.uniform, 0)), None),
    "min by key": (NOTHING, lambda _: min(range(50), key=lambda _: random.random()), None),
    "min by C": (NOTHING, lambda _: min(range(1, 50), key=random.randrange), None),
    "iter with a sentinel": (NOTHING, lambda _: next(iter(random.random, 2.0)), None),
    "defaultdict": (NOTHING, lambda _: collections.defaultdict(random.random)["k"], None),
    "setdefault": (NOTHING, lambda _: {}.setdefault("k", random.random()), None),
    "__missing__": (
        lambda: type("D", (dict,), {"__missing__": lambda self, k: random.random()})(),
        lambda v: v["q"],
        None,
    ),
    "__call__ of C": (lambda: type("R", (), {"__call__": random.random})(), lambda v: v(), None),
    "__call__": (lambda: type("R", (), {"__call__": lambda self: random.random()})(), lambda v: v(), None),
    "__call__ by hand": (NOTHING, lambda _: random.random.__call__(), None),
    "type.__call__": (NOTHING, lambda _: type.__call__(random.Random).random(), None),
    "partial": (lambda: functools.partial(random.random), lambda v: v(), None),
    "partial by hand": (NOTHING, lambda _: functools.partial(random.random).__call__(), None),
    "methodcaller": (NOTHING, lambda _: operator.methodcaller("random")(random), None),
    "getattr": (NOTHING, lambda _: getattr(random, "random")(), None),
    "import": (NOTHING, lambda _: __import__("random").random(), None),
    "eval": (NOTHING, lambda _: eval("random.random()"), None),
    "exec": (NOTHING, lambda _: (lambda d: (exec("import random; k = random.random()", d), d["k"])[1])({}), None),
    "nested": (NOTHING, lambda _: (lambda: (lambda: random.random())())(), None),
    "context manager": (NOTHING, with_drawn, None),
    "coroutine": (NOTHING, awaited, None),
    "new generator": (NOTHING, lambda _: next(drawing_generator()), None),
    "__bool__": (
        lambda: type("B", (), {"__bool__": lambda self: random.random() < 0.5})(),
        lambda v: 2.0 if v else 3.0,
        None,
    ),
    "__bool__ by all": (
        lambda: type("B", (), {"__bool__": lambda self: random.random() < 0.5})(),
        lambda v: float(all([v])),
        None,
    ),
    "__len__ by a partialmethod": (
        lambda: type("B", (), {"__len__": functools.partialmethod(lambda self: random.getrandbits(4))})(),
        lambda v: len(v),
        None,
    ),
    "__float__": (lambda: type("B", (), {"__float__": lambda self: random.random()})(), lambda v: float(v), None),
    "__float__ in math": (
        lambda: type("B", (), {"__float__": lambda self: random.random()})(),
        lambda v: math.sqrt(v),
        None,
    ),
    "__index__ of C": (
        lambda: type("B", (), {"__index__": functools.partial(random.getrandbits, 4)})(),
        lambda v: operator.index(v),
        None,
    ),
    "__eq__": (
        lambda: type("B", (), {"__eq__": lambda self, o: random.random() < 0.5})(),
        lambda v: 2.0 if v in [1] else 3.0,
        None,
    ),
    "__hash__": (lambda: type("B", (), {"__hash__": lambda self: random.getrandbits(7)})(), lambda v: hash(v), None),
    "__lt__ by sorted": (
        lambda: [type("B", (), {"__lt__": lambda self, o: random.random() < 0.5})() for _ in range(20)],
        lambda v: v.index(sorted(v)[0]),
        None,
    ),
    "__del__": (lambda: type("B", (), {"__del__": lambda self: HEARD.append(1)}), lambda v: (v(), len(HEARD))[1], None),
    "property of C": (lambda: type("B", (), {"k": property(lambda self: random.random())})(), lambda v: v.k, None),
    "re.sub": (NOTHING, lambda _: float(re.sub("a", lambda m: str(random.randint(1, 99)), "a")), None),
    "str of a new object": (NOTHING, lambda _: float(len({str(object())} - HEARD_TEXTS)) + random.random(), None),
    "enum auto": (NOTHING, lambda _: enum.Enum("E", {"A": random.random()}).A.value, None),
    "set of texts": (NOTHING, lambda _: float(hash(object()) % 97), None),
    "id": (lambda: [], lambda v: (v.append(object()), id(v[-1]) // 16 % 97)[1], None),
    "vectorized": (lambda: np.vectorize(lambda n: random.random()), lambda v: float(v(1.0)), None),
    "frompyfunc": (lambda: np.frompyfunc(lambda n: random.random(), 1, 1), lambda v: float(v(1.0)), None),
    "apply_along_axis": (NOTHING, lambda _: float(np.apply_along_axis(lambda r: random.random(), 0, np.ones(1))), None),
    "fromfunction": (NOTHING, lambda _: float(np.fromfunction(lambda i: i + random.random(), (1,))[0]), None),
}
HEARD = []
KEPT = []
HEARD_TEXTS = set()

CLOCKS = {
    "time": (NOTHING, lambda _: time.time() % 1, None),
    "perf_counter_ns": (NOTHING, lambda _: time.perf_counter_ns() % 997, None),
    "monotonic_ns": (NOTHING, lambda _: time.monotonic_ns() % 997, None),
    "process_time": (NOTHING, lambda _: time.process_time_ns() % 997, None),
    "ctime": (NOTHING, lambda _: len(time.ctime()) + time.time() % 1, None),
    "now": (NOTHING, lambda _: datetime.datetime.now().microsecond, None),
    "today": (NOTHING, lambda _: datetime.date.today().day + time.time() % 1, None),
    "asyncio": (NOTHING, lambda _: asyncio.new_event_loop().time(), None),
    "gc": (NOTHING, lambda _: gc.get_count()[0] + time.time() % 1, None),
    "frame": (NOTHING, lambda _: sys._getframe().f_back.f_lineno + time.time() % 1, None),
    "threads": (NOTHING, lambda _: threading.active_count() + time.time() % 1, None),
    "identity of a thread": (NOTHING, lambda _: threading.get_ident() % 97 + time.time() % 1, None),
}

ITERATORS = {
    "count": (itertools.count, lambda v: next(v), None),
    "list iterator": (lambda: iter([*range(99)]), lambda v: next(v), None),
    "range iterator": (lambda: iter(range(99)), lambda v: next(v), None),
    "generator": (lambda: (k for k in range(99)), lambda v: next(v), None),
    "generator function": (counting_generator, lambda v: next(v), None),
    "send": (counting_generator, lambda v: v.send(None), None),
    "yield from": (
        counting_generator,
        lambda v: (lambda it: (next(it), KEPT.append(it))[0])((lambda: (yield from v))()),
        None,
    ),
    "frame of a generator": (counting_generator, lambda v: (next(v), v.gi_frame.f_locals["n"])[1], None),
    "Python iterator": (Counting, lambda v: next(v), None),
    "dunder next": (itertools.count, lambda v: v.__next__(), None),
    "loop": (lambda: iter(range(99)), first_of, None),
    "loop over what holds one": (HoldsIterator, first_of, None),
    "iter of what holds one": (HoldsIterator, lambda v: next(iter(v)), None),
    "iter of an iterator": (lambda: iter(range(99)), lambda v: next(iter(v)), None),
    "cycle": (lambda: itertools.cycle([1.0, 2.0]), lambda v: next(v), None),
    "repeat": (lambda: itertools.repeat(1.0, 3), lambda v: next(v, 7.0), None),
    "repeat by its text": (lambda: itertools.repeat(1.0, 9), lambda v: (next(v), float(len(repr(v))))[1], None),
    "map": (lambda: map(float, range(99)), lambda v: next(v), None),
    "zip": (lambda: zip(range(99), range(99), strict=True), lambda v: next(v)[0], None),
    "new zip of an old iterator": (lambda: iter(range(99)), lambda v: next(zip(v, strict=True))[0], None),
    "new map of an old iterator": (lambda: iter(range(99)), lambda v: next(map(float, v)), None),
    "new filter of an old iterator": (lambda: iter(range(1, 99)), lambda v: next(filter(None, v)), None),
    "new enumerate of an old iterator": (lambda: iter(range(99)), lambda v: next(enumerate(v))[1], None),
    "new islice of an old iterator": (lambda: iter(range(99)), lambda v: next(itertools.islice(v, 1)), None),
    "new chain of an old iterator": (lambda: iter(range(99)), lambda v: next(itertools.chain(v)), None),
    "chain of old iterators": (lambda: [iter(range(99))], lambda v: next(itertools.chain.from_iterable(v)), None),
    "new tee of an old iterator": (lambda: iter(range(99)), lambda v: next(itertools.tee(v)[0]), None),
    "tee": (lambda: itertools.tee(range(99))[0], lambda v: next(v), None),
    "generator over an old iterator": (lambda: iter(range(99)), lambda v: next(k for k in v), None),
    "list of an old iterator": (lambda: iter(range(99)), lambda v: float(len(list(v))), None),
    "deque of an old iterator": (lambda: iter(range(99)), lambda v: float(len(collections.deque(v))), None),
    "dict of an old iterator": (lambda: iter([(1, 2)]), lambda v: float(len(dict(v))), None),
    "set of an old iterator": (lambda: iter(range(99)), lambda v: float(len(set(v))), None),
    "tuple of an old iterator": (lambda: iter(range(99)), lambda v: float(len(tuple(v))), None),
    "sum of an old iterator": (lambda: iter(range(99)), lambda v: float(sum(v)), None),
    "max of an old iterator": (lambda: iter(range(99)), lambda v: float(max(v, default=-1)), None),
    "any of an old iterator": (lambda: iter([1, 0]), lambda v: float(any(v)), None),
    "sorted of an old iterator": (lambda: iter(range(99)), lambda v: float(len(sorted(v))), None),
    "text of an old iterator": (lambda: iter("abc"), lambda v: float(len("".join(v))), None),
    "in an old iterator": (lambda: iter(range(99)), lambda v: 2.0 if 0 in v else 3.0, None),
    "operator.contains": (lambda: iter(range(99)), lambda v: float(operator.contains(v, 0)), None),
    "operator.countOf": (lambda: iter(range(99)), lambda v: float(operator.countOf(v, 0)), None),
    "unpacked": (lambda: iter([(1.0, 2.0)] * 3), lambda v: [p + q for p, q in v].__len__(), None),
    "extend by an old iterator": (
        lambda: iter(range(99)),
        lambda v: (lambda n: (n.extend(v), float(len(n)))[1])([]),
        None,
    ),
    "update by an old iterator": (
        lambda: iter([(1, 2)]),
        lambda v: (lambda n: (n.update(v), float(len(n)))[1])({}),
        None,
    ),
    "slice set to an old iterator": (
        lambda: iter(range(9)),
        lambda v: (lambda n: (n.__setitem__(slice(0, 0), v), float(len(n)))[1])([]),
        None,
    ),
    "fsum of an old iterator": (lambda: iter([1.0, 2.0]), lambda v: math.fsum(v), None),
    "starred": (lambda: iter(range(99)), lambda v: float(len([*v])), None),
    "starred into a call": (lambda: iter(range(99)), lambda v: float((lambda *n: len(n))(*v)), None),
    "starred into a call of two": (lambda: iter(range(99)), lambda v: float((lambda *n: len(n))(1, *v)), None),
    "islice into a call": (lambda: iter(range(99)), lambda v: (lambda *n: n[0])(*itertools.islice(v, 1)), None),
    "map of next": (itertools.count, lambda v: list(map(next, [v]))[0], None),
    "map of a bound next": (
        itertools.count,
        lambda v: list(map(v.__next__.__call__, [])).__len__() + v.__next__(),
        None,
    ),
    "iter with a bound next": (itertools.count, lambda v: next(iter(v.__next__, None)), None),
    "partial of next": (itertools.count, lambda v: functools.partial(next, v)(), None),
    "default of partial": (lambda: functools.partial(next, itertools.count()), lambda v: v(), None),
    "defaultdict of next": (
        lambda: collections.defaultdict(itertools.count().__next__),
        lambda v: (v.pop("k", None), v["k"])[1],
        None,
    ),
    "new defaultdict of next": (itertools.count, lambda v: collections.defaultdict(v.__next__)["k"], None),
    "dunder iter": (lambda: iter(range(99)), lambda v: next(v.__iter__()), None),
    "length hint": (lambda: iter(range(99)), lambda v: (next(v), operator.length_hint(v))[1], None),
    "pickled": (itertools.count, lambda v: (next(v), v.__reduce__()[1][0])[1], None),
    "text of count": (itertools.count, lambda v: (next(v), float(repr(v)[6:-1]))[1], None),
    "np.fromiter": (lambda: iter(range(99)), lambda v: float(len(np.fromiter(v, float))), None),
    "popleft": (lambda: collections.deque(range(99)), lambda v: v.popleft(), None),
    "pop of a list": (lambda: [*range(99)], lambda v: v.pop(), None),
    "pop of a dict": (lambda: {k: float(k) for k in range(99)}, lambda v: v.popitem()[1], None),
    "pop of a set": (lambda: {*range(99)}, lambda v: v.pop(), None),
    "rotate": (lambda: collections.deque(range(99)), lambda v: (v.rotate(), v[0])[1], None),
    "queue": (filled_queue, lambda v: v.get(), None),
    "text file": (lambda: io.StringIO("\n".join(map(str, range(99)))), lambda v: float(v.readline()), None),
    "bytes file": (lambda: io.BytesIO(bytes(range(99))), lambda v: v.read(1)[0], None),
    "file": (opened, lambda v: float(v.readline()), None),
    "loop over a file": (opened, lambda v: float(first_of(v)), None),
    "counting object": (Counting, lambda v: v(), None),
    "counting closure": (closure_counter, lambda v: v(), None),
    "counting default": (lambda: lambda z=[0]: (z.append(1), len(z))[1], lambda v: v(), None),
    "counter in a namespace": (lambda: Space(step=0), accumulation, None),
    "classmethod counter": (
        lambda: type("C", (), {"k": 0, "f": classmethod(lambda c: (setattr(c, "k", c.k + 1), c.k)[1])}),
        lambda v: v.f(),
        None,
    ),
    "regular expression's scanner": (lambda: re.finditer("a", "a" * 99), lambda v: next(v).start(), None),
    "warnings": (lambda: [], lambda v: warned(v), None),
}


def warned(v):
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn("x", UserWarning, stacklevel=1)
    v.append(len(seen))
    return len(v)


variable = contextvars.ContextVar("variable", default=1.0)
SETTING = 1.0
OTHER = 1.0


@functools.lru_cache
def cached():
    return SETTING


@functools.lru_cache
def cached_list(n):
    return [OTHER]


def set_globals(**values):
    return lambda v: globals().update(values)


def read_global(_):
    return SETTING


def closure():
    k = 1.0

    def read():
        return k

    def write(value):
        nonlocal k
        k = value

    return Space(read=read, write=write)


SURROUNDINGS = {
    "global": (NOTHING, read_global, set_globals(SETTING=7.0)),
    "globals()": (NOTHING, lambda _: globals()["SETTING"], set_globals(SETTING=7.0)),
    "eval of a global": (NOTHING, lambda _: eval("SETTING"), set_globals(SETTING=7.0)),
    "closure": (closure, lambda v: v.read(), lambda v: v.write(7.0)),
    "builtin hidden": (NOTHING, lambda _: float(abs(-1)), set_globals(abs=lambda n: 7)),
    "module's attribute": (NOTHING, lambda _: math.tau, lambda v: setattr(math, "tau", 7.0)),
    "module's function": (NOTHING, lambda _: math.floor(1.5), lambda v: setattr(math, "floor", lambda n: 7.0)),
    "sys.modules": (NOTHING, lambda _: float(len(sys.modules)), lambda v: sys.modules.update(observed_none=None)),
    "environment": (
        NOTHING,
        lambda _: float(os.environ.get("OBSERVED_K", "1")),
        lambda v: os.environ.update(OBSERVED_K="7"),
    ),
    "getenv": (NOTHING, lambda _: float(os.getenv("OBSERVED_J", "1")), lambda v: os.environ.update(OBSERVED_J="7")),
    "in the environment": (
        NOTHING,
        lambda _: float("OBSERVED_I" in os.environ),
        lambda v: os.environ.update(OBSERVED_I="7"),
    ),
    "copy of the environment": (
        NOTHING,
        lambda _: float(dict(os.environ).get("OBSERVED_H", "1")),
        lambda v: os.environ.update(OBSERVED_H="7"),
    ),
    "arguments": (NOTHING, lambda _: float(len(sys.argv)), lambda v: sys.argv.append("x")),
    "folder": (NOTHING, lambda _: float(len(os.getcwd())), lambda v: os.chdir("/")),
    "file exists": (lambda: tempfile.mktemp(), lambda v: float(os.path.exists(v)), lambda v: open(v, "w").close()),
    "recursion limit": (NOTHING, lambda _: float(sys.getrecursionlimit()), lambda v: sys.setrecursionlimit(5000)),
    "references": (lambda: [], lambda v: float(sys.getrefcount(v)), lambda v: HEARD.append(v)),
    "gc.isenabled": (NOTHING, lambda _: float(gc.isenabled()), lambda v: gc.disable()),
    "trace function": (NOTHING, lambda _: float(sys.gettrace() is None), lambda v: sys.settrace(lambda *a: None)),
    "context variable": (NOTHING, lambda _: variable.get(), lambda v: variable.set(7.0)),
    "context variable with a default": (
        lambda: contextvars.ContextVar("v"),
        lambda v: v.get(1.0),
        lambda v: v.set(7.0),
    ),
    "default of a context variable": (
        lambda: (contextvars.ContextVar("v"), [1.0]),
        lambda v: v[0].get(v[1])[0],
        lambda v: v[1].__setitem__(0, 7.0),
    ),
    "copied context": (NOTHING, lambda _: contextvars.copy_context().get(variable, 1.0), lambda v: variable.set(7.0)),
    "decimal context": (
        NOTHING,
        lambda _: float(decimal.Decimal(1) / decimal.Decimal(3)),
        lambda v: setattr(decimal.getcontext(), "prec", 3),
    ),
    "locale": (NOTHING, lambda _: float(len(f"{1234567:n}")), None),
    "locale by format": (NOTHING, lambda _: float(len(format(1234567, "n"))), None),
    "locale by str.format": (NOTHING, lambda _: float(len("{:n}".format(1234567))), None),
    "lru_cache": (NOTHING, lambda _: cached(), lambda v: (globals().update(SETTING=7.0), cached.cache_clear())),
    "list from lru_cache": (lambda: cached_list, lambda v: v(3)[0], lambda v: v(3).__setitem__(0, 7.0)),
    "cache_info": (NOTHING, lambda _: float(cached.cache_info().hits), lambda v: cached()),
    "lru_cache by __wrapped__": (NOTHING, lambda _: cached.__wrapped__(), set_globals(SETTING=7.0)),
    "logging level": (
        lambda: logging.getLogger("observed.level"),
        lambda v: 2.0 if v.isEnabledFor(10) else 3.0,
        lambda v: v.setLevel(10),
    ),
    "logging disabled": (
        lambda: logging.getLogger("observed.disabled"),
        lambda v: 2.0 if v.isEnabledFor(50) else 3.0,
        lambda v: logging.disable(50),
    ),
    "logging by name": (
        NOTHING,
        lambda _: float(logging.getLogger("observed.name").level),
        lambda v: logging.getLogger("observed.name").setLevel(7),
    ),
    "int_max_str_digits": (
        NOTHING,
        lambda _: float(sys.get_int_max_str_digits()),
        lambda v: sys.set_int_max_str_digits(7000),
    ),
    "annotation": (
        lambda: type("C", (), {"__annotations__": {"k": 1.0}}),
        lambda v: v.__annotations__["k"],
        lambda v: v.__annotations__.update(k=7.0),
    ),
    "subclasses": (
        lambda: type("C", (), {}),
        lambda v: float(len(v.__subclasses__())),
        lambda v: setattr(v, "kept", type("D", (v,), {})),
    ),
    "event": (threading.Event, lambda v: 2.0 if v.is_set() else 3.0, lambda v: v.set()),
    "lock": (threading.Lock, lambda v: 2.0 if v.locked() else 3.0, lambda v: v.acquire()),
    "weak set": (lambda: weakref.WeakSet(), lambda v: float(len(v)), lambda v: v.add(Box)),
    "finalizer": (
        lambda: (o := Box(), weakref.finalize(o, int)),
        lambda v: 2.0 if v[1].alive else 3.0,
        lambda v: v[1].detach(),
    ),
}


def increment(v):
    v.n += 1


def in_place(v):
    w = v
    w += [1]


def global_increment(_):
    global OTHER
    OTHER += 1


def import_new(v):
    import observed_module  # noqa: F401


def with_file(v):
    with open(v, "a") as file:
        file.write("x")


def sized(make=list):
    return make, lambda v: len(v)


def logger():
    out = io.StringIO()
    made = logging.getLogger(f"observed.effect{next(NUMBERS)}")
    made.setLevel(10)
    made.addHandler(logging.StreamHandler(out))
    made.propagate = False
    return Space(log=made, out=out)


def counter_object():
    return Space(n=0)


def sink():
    class Sink:
        def __init__(self):
            self.rows = []

        def __call__(self, row):
            self.rows.append(row)

    return Sink()


NUMBERS = itertools.count()
EFFECTS = {
    "append": (list, lambda v: v.append(1), len),
    "append, unbound": (list, lambda v: list.append(v, 1), len),
    "append, kept": (lambda: [].append, lambda v: v(1), lambda v: len(v.__self__)),
    "append in a comprehension": (list, lambda v: [v.append(k) for k in range(2)], len),
    "append by map": (list, lambda v: list(map(v.append, [1])), len),
    "append by sorted": (list, lambda v: sorted([1], key=v.append), len),
    "append by a partial": (list, lambda v: functools.partial(v.append, 1)(), len),
    "append by a methodcaller": (list, lambda v: operator.methodcaller("append", 1)(v), len),
    "append by reduce": (list, lambda v: functools.reduce(lambda a, b: a.append(b) or a, [1], v), len),
    "append by filter": (list, lambda v: list(filter(v.append, [1])), len),
    "append by getattr": (list, lambda v: getattr(v, "append")(1), len),
    "append by a new list": (list, lambda v: [v][0].append(1), len),
    "append by max": (list, lambda v: max([], default=v).append(1), len),
    "append by next": (list, lambda v: next(iter([v])).append(1), len),
    "append by a generator": (list, lambda v: [k.append(1) for k in (n for n in [v])], len),
    "append by get": (list, lambda v: {"k": v}.get("k").append(1), len),
    "append by pop": (list, lambda v: {"k": v}.pop("k").append(1), len),
    "append by setdefault": (list, lambda v: {}.setdefault("k", v).append(1), len),
    "append by a partial's arguments": (list, lambda v: functools.partial(int, v).args[0].append(1), len),
    "append by or": (list, lambda v: (v or v).append(1), len),
    "append by iadd of a tuple": (lambda: ([],), lambda v: v[0].append(1), lambda v: len(v[0])),
    "append by itemgetter": (list, lambda v: operator.itemgetter(0)([v]).append(1), len),
    "append by zip": (list, lambda v: [k.append(1) for (k,) in zip([v], strict=True)], len),
    "append by a new object": (list, lambda v: Box(v).k.append(1), len),
    "append by a tuple": (list, lambda v: tuple([v])[0].append(1), len),
    "append by copy": (list, lambda v: [v].copy()[0].append(1), len),
    "append by cycle": (list, lambda v: next(itertools.cycle([v])).append(1), len),
    "append by repeat": (list, lambda v: next(itertools.repeat(v)).append(1), len),
    "append by accumulate": (list, lambda v: next(itertools.accumulate([v])).append(1), len),
    "append by an exception": (list, lambda v: ValueError(v).args[0].append(1), len),
    "append by a slice": (list, lambda v: slice(v).stop.append(1), len),
    "append by a bound method": (list, lambda v: types.MethodType(lambda s: s.append(1), v)(), len),
    "append by sum": (list, lambda v: sum([], start=v).append(1) if False else sum([[v]], [])[0].append(1), len),
    "append by a cell": (list, lambda v: (lambda: v)().append(1), len),
    "append by operator.getitem": (list, lambda v: operator.getitem([v], 0).append(1), len),
    "append by a namespace": (list, lambda v: Space(k=v).k.append(1), len),
    "append by vars": (list, lambda v: vars(Space(k=v))["k"].append(1), len),
    "extend": (list, lambda v: v.extend([1]), len),
    "insert": (list, lambda v: v.insert(0, 1), len),
    "+=": (list, in_place, len),
    "slice set": (list, lambda v: v.__setitem__(slice(0, 0), [1]), len),
    "operator.setitem": (lambda: [0], lambda v: operator.setitem(v, 0, v[0] + 1), lambda v: v[0]),
    "operator.iadd": (list, lambda v: operator.iadd(v, [1]), len),
    "operator.iconcat": (list, lambda v: operator.iconcat(v, [1]), len),
    "operator.delitem": (lambda: [1] * 99, lambda v: operator.delitem(v, 0), len),
    "clear": (lambda: [1], lambda v: v.clear() if len(v) > 1 else v.append(1), len),
    "sort": (lambda: [2, 1, 3], lambda v: v.sort(reverse=v[0] < v[-1]), lambda v: v[0]),
    "reverse": (lambda: [1, 2], lambda v: v.reverse(), lambda v: v[0]),
    "set.add": (set, lambda v: v.add(next(NUMBERS)), len),
    "set |=": (set, lambda v: v.__ior__({len(v)}), len),
    "dict.update": (dict, lambda v: v.update({len(v): 1}), len),
    "dict set": (dict, lambda v: v.__setitem__(len(v), 1), len),
    "dict |=": (dict, lambda v: v.__ior__({len(v): 1}), len),
    "setdefault": (dict, lambda v: v.setdefault(len(v), 1), len),
    "setdefault, unbound": (dict, lambda v: dict.setdefault(v, len(v), 1), len),
    "defaultdict": (lambda: collections.defaultdict(list), lambda v: v[len(v)], len),
    "defaultdict append": (lambda: collections.defaultdict(list), lambda v: v["k"].append(1), lambda v: len(v["k"])),
    "Counter": (collections.Counter, lambda v: v.update(k=1), lambda v: v["k"]),
    "Counter of a list": (collections.Counter, lambda v: v.update(["k"]), lambda v: v["k"]),
    "move_to_end": (
        lambda: collections.OrderedDict(a=1, b=2),
        lambda v: v.move_to_end(next(iter(v))),
        lambda v: next(iter(v)),
    ),
    "deque.append": (collections.deque, lambda v: v.append(1), len),
    "deque.rotate": (lambda: collections.deque([1, 2]), lambda v: v.rotate(), lambda v: v[0]),
    "bytearray": (bytearray, lambda v: v.append(1), len),
    "memoryview": (lambda: bytearray(1), lambda v: memoryview(v).__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array": (lambda: np.zeros(1), lambda v: v.__iadd__(1), lambda v: v[0]),
    "array entry": (lambda: np.zeros(1), lambda v: v.__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by a view": (lambda: np.zeros(1), lambda v: v[:].__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by asarray": (lambda: np.zeros(1), lambda v: np.asarray(v).__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by reshape": (lambda: np.zeros(1), lambda v: v.reshape(1, 1).__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by squeeze": (lambda: np.zeros(1), lambda v: np.squeeze(v).__setitem__((), v[0] + 1), lambda v: v[0]),
    "array by ravel": (lambda: np.zeros(1), lambda v: v.ravel().__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by iteration": (
        lambda: np.zeros((1, 1)),
        lambda v: [r.__setitem__(0, r[0] + 1) for r in v],
        lambda v: v[0, 0],
    ),
    "array by unpacking": (
        lambda: np.zeros((1, 1)),
        lambda v: (lambda r: r.__setitem__(0, r[0] + 1))(*v),
        lambda v: v[0, 0],
    ),
    "array by a list": (lambda: np.zeros((1, 1)), lambda v: list(v)[0].__setitem__(0, v[0, 0] + 1), lambda v: v[0, 0]),
    "array by T": (lambda: np.zeros((1, 1)), lambda v: v.T.__setitem__(0, v[0] + 1), lambda v: v[0, 0]),
    "array by flat": (lambda: np.zeros(1), lambda v: v.flat.__setitem__(0, v[0] + 1), lambda v: v[0]),
    "array by out=": (lambda: np.zeros(1), lambda v: np.add(v, 1, out=v), lambda v: v[0]),
    "array by a third argument": (lambda: np.zeros(1), lambda v: np.add(v, 1, v), lambda v: v[0]),
    "array by clip": (lambda: np.zeros(1), lambda v: np.clip(v + 1, 0, 99, v), lambda v: v[0]),
    "array by a method's out": (lambda: np.zeros(()), lambda v: (v + np.ones(1)).sum(0, None, v), lambda v: v[()]),
    "array by ufunc.at": (lambda: np.zeros(1), lambda v: np.add.at(v, [0], 1), lambda v: v[0]),
    "array by ufunc.reduce": (
        lambda: np.zeros(()),
        lambda v: np.add.reduce(v + np.ones(1), 0, None, v),
        lambda v: v[()],
    ),
    "array by np.sum": (lambda: np.zeros(()), lambda v: np.sum(v + np.ones(1), 0, None, v), lambda v: v[()]),
    "array by np.copyto": (lambda: np.zeros(1), lambda v: np.copyto(v, v + 1), lambda v: v[0]),
    "array by np.put": (lambda: np.zeros(1), lambda v: np.put(v, 0, v[0] + 1), lambda v: v[0]),
    "array by matmul": (lambda: np.ones((1, 1)), lambda v: np.matmul(v, v + 1, v), lambda v: v[0, 0]),
    "array by concatenate": (lambda: np.zeros(1), lambda v: np.concatenate([v + 1], 0, v), lambda v: v[0]),
    "array by dot": (lambda: np.ones((1, 1)), lambda v: np.dot(v, v + 1, v), lambda v: v[0, 0]),
    "array by operator.iadd": (lambda: np.zeros(1), lambda v: operator.iadd(v, 1), lambda v: v[0]),
    "array.fill": (lambda: np.zeros(1), lambda v: v.fill(v[0] + 1), lambda v: v[0]),
    "array.sort": (lambda: np.arange(2.0), lambda v: v[::-1].sort() if v[0] < v[1] else v.sort(), lambda v: v[0]),
    "array.resize": (lambda: np.zeros(1), lambda v: v.resize(len(v) + 1, refcheck=False), len),
    "array's shape": (lambda: np.zeros((1, 2)), lambda v: setattr(v, "shape", v.shape[::-1]), lambda v: v.shape[0]),
    "attribute": (counter_object, increment, lambda v: v.n),
    "setattr": (counter_object, lambda v: setattr(v, "n", v.n + 1), lambda v: v.n),
    "delattr": (
        lambda: Space(**{f"k{k}": 1 for k in range(9)}),
        lambda v: delattr(v, [*vars(v)][-1]),
        lambda v: len(vars(v)),
    ),
    "object.__setattr__": (Box, lambda v: object.__setattr__(v, "n", getattr(v, "n", 0) + 1), lambda v: v.n),
    "__dict__": (Box, lambda v: v.__dict__.__setitem__("n", v.__dict__.get("n", 0) + 1), lambda v: v.n),
    "vars": (counter_object, lambda v: vars(v).update(n=v.n + 1), lambda v: v.n),
    "attribute of a class": (lambda: type("C", (), {"n": 0}), increment, lambda v: v.n),
    "type.__setattr__": (lambda: type("C", (), {"n": 0}), lambda v: type.__setattr__(v, "n", v.n + 1), lambda v: v.n),
    "attribute of a function": (lambda: (lambda f: (setattr(f, "n", 0), f)[1])(lambda: 0), increment, lambda v: v.n),
    "attribute of a module": (
        lambda: (lambda m: (setattr(m, "n", 0), m)[1])(types.ModuleType("m")),
        increment,
        lambda v: v.n,
    ),
    "defaults of a function": (lambda: lambda n=0: n, lambda v: setattr(v, "__defaults__", (v() + 1,)), lambda v: v()),
    "global": (NOTHING, global_increment, lambda v: OTHER),
    "globals()": (NOTHING, lambda v: globals().update(OTHER=OTHER + 1), lambda v: OTHER),
    "closure": (closure_counter, lambda v: v(), lambda v: v.__closure__[0].cell_contents),
    "cell": (
        lambda: closure_counter().__closure__[0],
        lambda v: setattr(v, "cell_contents", v.cell_contents + 1),
        lambda v: v.cell_contents,
    ),
    "print": (io.StringIO, lambda v: print("x", file=v), lambda v: len(v.getvalue())),
    "write": (io.StringIO, lambda v: v.write("x"), lambda v: len(v.getvalue())),
    "file": (lambda: tempfile.mktemp(), with_file, lambda v: os.path.exists(v) and os.path.getsize(v)),
    "logging": (logger, lambda v: v.log.info("x"), lambda v: len(v.out.getvalue())),
    "set level": (logger, lambda v: v.log.setLevel(v.log.level + 1), lambda v: v.log.level),
    "callable object": (sink, lambda v: v(1), lambda v: len(v.rows)),
    "generator closed": (lambda: (k for k in range(99)), lambda v: v.close(), lambda v: v.gi_frame is None),
    "environment": (
        NOTHING,
        lambda v: os.environ.update(OBSERVED_N=str(next(NUMBERS))),
        lambda v: os.environ.get("OBSERVED_N"),
    ),
    "context variable": (
        lambda: contextvars.ContextVar("v", default=0),
        lambda v: v.set(v.get() + 1),
        lambda v: v.get(),
    ),
    "seed": (NOTHING, lambda v: random.seed(next(NUMBERS)), lambda v: random.random()),
    "numpy's seed": (NOTHING, lambda v: np.random.seed(next(NUMBERS)), lambda v: np.random.rand()),
    "class registered": (
        lambda: __import__("abc").ABCMeta("A", (), {}),
        lambda v: v.register(type("B", (), {})),
        lambda v: len(v._abc_registry) if hasattr(v, "_abc_registry") else next(NUMBERS),
    ),
    "cache filled": (
        lambda: functools.lru_cache(lambda n: n),
        lambda v: v(next(NUMBERS)),
        lambda v: v.cache_info().currsize,
    ),
    "cache cleared": (
        lambda: functools.lru_cache(lambda n: n),
        lambda v: (v(1), v.cache_clear()),
        lambda v: next(NUMBERS),
    ),
    "cached property": (lambda: cached_holder(), lambda v: (v.__dict__.pop("k", None), v.k), lambda v: v.n),
    "weak set": (weakref.WeakSet, lambda v: v.add(HEARD_CLASSES[next(NUMBERS) % 50]), len),
    "atexit": (NOTHING, lambda v: atexit.register(int), lambda v: atexit._ncallbacks()),
    "event": (
        lambda: Space(e=threading.Event()),
        lambda v: v.e.set() if not v.e.is_set() else v.e.clear(),
        lambda v: v.e.is_set(),
    ),
    "sleep": (lambda: [time.perf_counter()], lambda v: time.sleep(0), lambda v: time.perf_counter()),
    "thread": (
        list,
        lambda v: threading.Thread(target=v.append, args=(1,)).start(),
        lambda v: (time.sleep(0.05), len(v))[1],
    ),
    "trace": (NOTHING, lambda v: sys.settrace(None), lambda v: next(NUMBERS)),
    "gc": (NOTHING, lambda v: gc.collect(), lambda v: next(NUMBERS)),
    "sys.modules": (
        NOTHING,
        lambda v: sys.modules.update({f"observed{next(NUMBERS)}": None}),
        lambda v: len(sys.modules),
    ),
    "exception's notes": (ValueError, lambda v: v.add_note("x"), lambda v: len(v.__notes__)),
    "suppress": (list, lambda v: suppressing(v), len),
    "exit stack": (list, lambda v: stacking(v), len),
    "redirected print": (io.StringIO, lambda v: redirected(v), lambda v: len(v.getvalue())),
    "finally": (list, lambda v: finally_appends(v), len),
    "__del__": (list, lambda v: deleted(v), len),
    "__set__": (lambda: setting(), lambda v: setattr(v, "k", 1), lambda v: len(v.rows)),
    "__setattr__": (
        lambda: type("C", (), {"rows": [], "__setattr__": lambda s, n, k: s.rows.append(k)})(),
        lambda v: setattr(v, "k", 1),
        lambda v: len(v.rows),
    ),
    "__getattr__": (
        lambda: type("C", (), {"rows": [], "__getattr__": lambda s, n: s.rows.append(n)})(),
        lambda v: v.k,
        lambda v: len(v.rows),
    ),
    "__iadd__": (
        lambda: type("C", (), {"rows": [], "__iadd__": lambda s, o: s.rows.append(o) or s})(),
        lambda v: operator.iadd(v, 1),
        lambda v: len(v.rows),
    ),
    "__format__": (
        lambda: type("C", (), {"rows": [], "__format__": lambda s, o: str(s.rows.append(o))})(),
        lambda v: f"{v}",
        lambda v: len(v.rows),
    ),
    "__hash__": (
        lambda: type("C", (), {"rows": [], "__hash__": lambda s: s.rows.append(1) or 1})(),
        lambda v: {v: 1},
        lambda v: len(v.rows),
    ),
    "__eq__": (
        lambda: type("C", (), {"rows": [], "__eq__": lambda s, o: s.rows.append(1)})(),
        lambda v: [v].count(1),
        lambda v: len(v.rows),
    ),
    "__bool__": (
        lambda: type("C", (), {"rows": [], "__bool__": lambda s: s.rows.append(1) or True})(),
        lambda v: bool(v),
        lambda v: len(v.rows),
    ),
    "__index__": (
        lambda: type("C", (), {"rows": [], "__index__": lambda s: s.rows.append(1) or 0})(),
        lambda v: [1][v],
        lambda v: len(v.rows),
    ),
    "__del__ of an item": (
        lambda: type("D", (dict,), {"rows": [], "__delitem__": lambda s, k: s.rows.append(k)})(),
        lambda v: operator.delitem(v, 1),
        lambda v: len(v.rows),
    ),
}
HEARD_CLASSES = [type("K", (), {}) for _ in range(50)]


def cached_holder():
    class Holder:
        n = 0

        @functools.cached_property
        def k(self):
            Holder.n += 1
            return 1.0

    return Holder()


def suppressing(v):
    with contextlib.suppress(KeyError):
        v.append(1)
        raise KeyError


def stacking(v):
    with contextlib.ExitStack() as stack:
        stack.callback(v.append, 1)


def redirected(v):
    with contextlib.redirect_stdout(v):
        print("x")


def finally_appends(v):
    try:
        return 1
    finally:
        v.append(1)


def deleted(v):
    class Leaves:
        def __del__(self):
            v.append(1)

    Leaves()


def setting():
    class Noted:
        def __set__(self, owner, value):
            owner.rows.append(value)

    return type("C", (), {"k": Noted(), "rows": []})()
