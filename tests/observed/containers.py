"""Containers and arrays whose contents change between two calls."""

import array
import collections
import functools
import itertools
import json
import math
import operator
import statistics
import types

import numpy as np

Space = types.SimpleNamespace


def matched(value):
    match value:
        case [first]:
            return first
        case {"k": first}:
            return first
        case _:
            return 9.0


def nested():
    return Space(a={"b": [{"c": ({"d": [[1.0]]},)}]})


def viewed():
    base = np.ones(4)
    return Space(base=base, view=base[1:])


def proxied():
    base = {"k": 1.0}
    return Space(base=base, proxy=types.MappingProxyType(base))


def over_bytes():
    base = bytearray(b"\1")
    return Space(base=base, view=memoryview(base))


def missing_index(values):
    try:
        return values[1]
    except IndexError:
        return 1.0


def missing_key(values):
    try:
        return values["k"]
    except KeyError:
        return 1.0


def raised(compute):
    try:
        compute()
    except FloatingPointError:
        return 1.0
    return 2.0


def unpacked(values):
    first, *_ = values
    return first


def through_exception(values):
    try:
        raise KeyError(values)
    except KeyError as error:
        return 1.0 + len(error.args[0])


LISTS = {
    "entry": (lambda: [1.0, 2.0], lambda v: v[0], lambda v: v.__setitem__(0, 7.0)),
    "entry by a negative index": (lambda: [1.0], lambda v: v[-1], lambda v: v.append(7.0)),
    "slice": (lambda: [1.0, 2.0], lambda v: sum(v[:1]), lambda v: v.__setitem__(0, 7.0)),
    "slice of lists": (lambda: [[1.0], [2.0]], lambda v: v[:1][0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "loop": (lambda: [1.0], lambda v: sum(n for n in v), lambda v: v.append(7.0)),
    "comprehension": (lambda: [1.0], lambda v: [n * 1 for n in v][-1], lambda v: v.append(7.0)),
    "star": (lambda: [1.0], lambda v: (lambda *n: sum(n))(*v), lambda v: v.append(7.0)),
    "starred display": (lambda: [1.0], lambda v: sum([*v, 1.0]), lambda v: v.append(7.0)),
    "unpacked": (lambda: [1.0, 2.0], unpacked, lambda v: v.__setitem__(0, 7.0)),
    "length": (lambda: [1.0], lambda v: len(v), lambda v: v.append(1)),
    "length by method": (lambda: [1.0], lambda v: v.__len__(), lambda v: v.append(1)),
    "cleared": (lambda: [1.0, 2.0], lambda v: float(len(v)), lambda v: v.clear()),
    "truth": (lambda: [], lambda v: 2.0 if v else 3.0, lambda v: v.append(1)),
    "not": (lambda: [], lambda v: 2.0 if not v else 3.0, lambda v: v.append(1)),
    "or": (lambda: [], lambda v: (v or [3.0])[0], lambda v: v.append(1.0)),
    "bool": (lambda: [], lambda v: float(bool(v)), lambda v: v.append(1)),
    "in": (lambda: [1.0], lambda v: 2.0 if 7.0 in v else 3.0, lambda v: v.append(7.0)),
    "equality": (lambda: [[1.0]], lambda v: 2.0 if v == [[1.0]] else 3.0, lambda v: v[0].append(1)),
    "order": (lambda: [[1.0]], lambda v: 2.0 if v < [[2.0]] else 3.0, lambda v: v[0].__setitem__(0, 7.0)),
    "sum of lists": (lambda: [[1.0]], lambda v: sum(v, [])[0], lambda v: v[0].__setitem__(0, 7.0)),
    "sorted": (lambda: [[1.0], [2.0]], lambda v: sorted(v)[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "max": (lambda: [[1.0], [2.0]], lambda v: max(v)[0], lambda v: v[0].__setitem__(0, 9.0)),
    "min of two": (lambda: [[1.0], [2.0]], lambda v: min(*v)[0], lambda v: v[0].__setitem__(0, 1.5)),
    "max by key": (lambda: [[1.0], [2.0]], lambda v: max(v, key=len)[0], lambda v: v[0].__setitem__(0, 9.0)),
    "sorted by key": (
        lambda: [Space(k=3.0), Space(k=2.0)],
        lambda v: sorted(v, key=lambda n: n.k)[0].k,
        lambda v: setattr(v[0], "k", 1.0),
    ),
    "reversed": (lambda: [1.0], lambda v: next(reversed(v)), lambda v: v.append(7.0)),
    "zip": (lambda: [[1.0]], lambda v: [p[0] for (p,) in zip(v, strict=True)][0], lambda v: v[0].__setitem__(0, 7.0)),
    "enumerate": (lambda: [[1.0]], lambda v: [p[0] for _, p in enumerate(v)][0], lambda v: v[0].__setitem__(0, 7.0)),
    "map": (lambda: [[1.0]], lambda v: next(map(lambda n: n, v))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "filter": (lambda: [[1.0]], lambda v: next(filter(None, v))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "chain": (lambda: [1.0], lambda v: sum(itertools.chain(v, [1.0])), lambda v: v.append(7.0)),
    "chain of chains": (
        lambda: [[1.0]],
        lambda v: sum(itertools.chain.from_iterable(v)),
        lambda v: v[0].append(7.0),
    ),
    "product": (lambda: [1.0], lambda v: sum(a for a, _ in itertools.product(v, v)), lambda v: v.append(7.0)),
    "accumulate": (lambda: [1.0], lambda v: [*itertools.accumulate(v)][-1], lambda v: v.append(7.0)),
    "groupby": (
        lambda: [[1.0]],
        lambda v: next(itertools.groupby(v))[0][0],
        lambda v: v[0].__setitem__(0, 7.0),
    ),
    "starmap": (lambda: [([1.0],)], lambda v: next(itertools.starmap(max, v)), lambda v: v[0][0].append(7.0)),
    "islice": (lambda: [[1.0]], lambda v: next(itertools.islice(v, 1))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "cycle": (lambda: [[1.0]], lambda v: next(itertools.cycle(v))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "repeat": (lambda: [1.0], lambda v: next(itertools.repeat(v))[0], lambda v: v.__setitem__(0, 7.0)),
    "reduce": (
        lambda: [[1.0], [2.0]],
        lambda v: functools.reduce(lambda a, b: a, v)[0],
        lambda v: v[0].__setitem__(0, 7.0),
    ),
    "math.fsum": (lambda: [1.0], lambda v: math.fsum(v), lambda v: v.append(6.0)),
    "math.prod": (lambda: [1.0], lambda v: math.prod(v), lambda v: v.append(6.0)),
    "statistics.mean": (lambda: [1.0], lambda v: statistics.mean(v), lambda v: v.append(6.0)),
    "operator.getitem": (lambda: [1.0], lambda v: operator.getitem(v, 0), lambda v: v.__setitem__(0, 7.0)),
    "operator.getitem of lists": (
        lambda: [[1.0]],
        lambda v: operator.getitem(v, 0)[0],
        lambda v: v[0].__setitem__(0, 7.0),
    ),
    "bound method": (lambda: [1.0].__getitem__, lambda v: v(0), lambda v: v.__self__.__setitem__(0, 7.0)),
    "unbound method": (lambda: [1.0], lambda v: list.__getitem__(v, 0), lambda v: v.__setitem__(0, 7.0)),
    "iterator by method": (lambda: [1.0], lambda v: sum(v.__iter__()), lambda v: v.append(7.0)),
    "next of iter": (lambda: [[1.0]], lambda v: next(iter(v))[0], lambda v: v[0].__setitem__(0, 7.0)),
    "default of next": (lambda: [1.0], lambda v: next(iter(()), v)[0], lambda v: v.__setitem__(0, 7.0)),
    "copy": (lambda: [[1.0]], lambda v: v.copy()[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "list of": (lambda: [[1.0]], lambda v: list(v)[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "tuple of": (lambda: [[1.0]], lambda v: tuple(v)[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "added": (lambda: [[1.0]], lambda v: (v + [2.0])[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "added to a new one": (lambda: [[1.0]], lambda v: ([] + v)[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "multiplied": (lambda: [[1.0]], lambda v: (v * 2)[1][0], lambda v: v[0].__setitem__(0, 7.0)),
    "appended to a new one": (
        lambda: [1.0],
        lambda v: (lambda new: (new.append(v), new[0][0])[1])([]),
        lambda v: v.__setitem__(0, 7.0),
    ),
    "popped from a new one": (lambda: [1.0], lambda v: [v].pop()[0], lambda v: v.__setitem__(0, 7.0)),
    "extended": (
        lambda: [[1.0]],
        lambda v: (lambda new: (new.extend(v), new[0][0])[1])([]),
        lambda v: v[0].__setitem__(0, 7.0),
    ),
    "index": (lambda: [1.0], lambda v: v.index(1.0), lambda v: v.insert(0, 7.0)),
    "count": (lambda: [1.0], lambda v: v.count(1.0), lambda v: v.append(1.0)),
    "match": (lambda: [1.0], matched, lambda v: v.append(1.0)),
    "missing index": (lambda: [1.0], missing_index, lambda v: v.append(7.0)),
    "text of": (lambda: [1.0], lambda v: float(len(str(v))), lambda v: v.append(7.0)),
    "f-string": (lambda: [[1]], lambda v: float(len(f"{v}")), lambda v: v[0].append(22)),
    "f-string with repr": (lambda: [[1]], lambda v: float(len(f"{v!r}")), lambda v: v[0].append(22)),
    "large, one entry": (
        lambda: list(range(5000)),
        lambda v: float(v[4000]),
        lambda v: v.__setitem__(4000, 7),
    ),
    "large, all": (lambda: list(range(5000)), lambda v: float(sum(v)), lambda v: v.append(7)),
    "subclass": (lambda: type("L", (list,), {})([1.0]), lambda v: v[0], lambda v: v.__setitem__(0, 7.0)),
    "inside an exception": (lambda: [], through_exception, lambda v: v.append(1)),
}

DICTS = {
    "entry": (lambda: {"k": 1.0}, lambda v: v["k"], lambda v: v.update(k=7.0)),
    "entry of an entry": (lambda: {"a": {"b": 1.0}}, lambda v: v["a"]["b"], lambda v: v["a"].update(b=7.0)),
    "get": (lambda: {"k": [1.0]}, lambda v: v.get("k")[0], lambda v: v["k"].__setitem__(0, 7.0)),
    "get of what is missing": (lambda: {"k": 1.0}, lambda v: v.get("z", 1.0), lambda v: v.update(z=7.0)),
    "default of get": (lambda: [1.0], lambda v: {}.get("z", v)[0], lambda v: v.__setitem__(0, 7.0)),
    "default of setdefault": (lambda: [1.0], lambda v: {}.setdefault("z", v)[0], lambda v: v.__setitem__(0, 7.0)),
    "default of pop": (lambda: [1.0], lambda v: {}.pop("z", v)[0], lambda v: v.__setitem__(0, 7.0)),
    "behind a keyword": (lambda: [1.0], lambda v: dict(k=v)["k"][0], lambda v: v.__setitem__(0, 7.0)),
    "of a dict with keywords": (lambda: {"k": 1.0}, lambda v: dict(v, z=1)["k"], lambda v: v.update(k=7.0)),
    "in": (lambda: {"k": 1.0}, lambda v: 2.0 if "z" in v else 3.0, lambda v: v.update(z=7.0)),
    "not in": (lambda: {"k": 1.0}, lambda v: 2.0 if "z" not in v else 3.0, lambda v: v.update(z=7.0)),
    "truth": (lambda: {}, lambda v: 2.0 if v else 3.0, lambda v: v.update(k=1)),
    "length": (lambda: {}, lambda v: float(len(v)), lambda v: v.update(k=1)),
    "values": (lambda: {"k": 1.0}, lambda v: sum(v.values()), lambda v: v.update(z=7.0)),
    "values of lists": (lambda: {"k": [1.0]}, lambda v: [*v.values()][0][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "items": (lambda: {"k": [1.0]}, lambda v: [w for _, w in v.items()][0][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "keys": (lambda: {1.0: 1}, lambda v: sum(v.keys()), lambda v: v.update({7.0: 1})),
    "keys, in their order": (
        lambda: {2.0: 0, 1.0: 0},
        lambda v: next(iter(v)),
        lambda v: (v.pop(2.0), v.update({2.0: 0})),
    ),
    "first key": (lambda: {"k": 1.0}, lambda v: v[[*v][-1]], lambda v: v.update(z=7.0)),
    "difference of keys": (lambda: {"k": 1.0}, lambda v: len(v.keys() - {"k"}) + 1.0, lambda v: v.update(z=7.0)),
    "union": (lambda: {"k": [1.0]}, lambda v: (v | {})["k"][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "display": (lambda: {"k": [1.0]}, lambda v: {**v}["k"][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "copy by dict": (lambda: {"k": [1.0]}, lambda v: dict(v)["k"][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "copy by keywords": (lambda: {"k": [1.0]}, lambda v: dict(**v)["k"][0], lambda v: v["k"].__setitem__(0, 7.0)),
    "keywords": (lambda: {"a": 1.0}, lambda v: (lambda a: a)(**v), lambda v: v.update(a=7.0)),
    "keywords of lists": (
        lambda: {"a": [1.0]},
        lambda v: (lambda **kw: kw["a"][0])(**v),
        lambda v: v["a"].__setitem__(0, 7.0),
    ),
    "missing key": (lambda: {}, missing_key, lambda v: v.update(k=7.0)),
    "match": (lambda: {"k": 1.0}, matched, lambda v: v.update(k=7.0)),
    "bound get": (lambda: {"k": 1.0}.get, lambda v: v("k"), lambda v: v.__self__.update(k=7.0)),
    "map of get": (lambda: {"k": 1.0}, lambda v: sum(map(v.get, ["k"])), lambda v: v.update(k=7.0)),
    "sorted by get": (lambda: {"k": 1.0}, lambda v: v[sorted(v, key=v.get)[0]], lambda v: v.update(z=-1.0)),
    "max by get": (lambda: {"k": 1.0}, lambda v: v[max(v, key=v.get)], lambda v: v.update(z=7.0)),
    "itemgetter": (lambda: {"k": 1.0}, lambda v: operator.itemgetter("k")(v), lambda v: v.update(k=7.0)),
    "itemgetter of two": (
        lambda: {"a": 1.0, "b": 2.0},
        lambda v: operator.itemgetter("a", "b")(v)[1],
        lambda v: v.update(b=7.0),
    ),
    "json": (lambda: {"k": [1.0]}, lambda v: float(len(json.dumps(v))), lambda v: v["k"].append(7.0)),
    "format_map": (lambda: {"k": "1"}, lambda v: float("{k}".format_map(v)), lambda v: v.update(k="7")),
    "percent": (lambda: {"k": "1"}, lambda v: float("%(k)s" % v), lambda v: v.update(k="7")),
    "large, one entry": (lambda: dict.fromkeys(range(5000), 1.0), lambda v: v[4000], lambda v: v.update({4000: 7.0})),
    "subclass": (lambda: type("D", (dict,), {})(k=1.0), lambda v: v["k"], lambda v: v.update(k=7.0)),
    "ordered": (lambda: collections.OrderedDict(k=1.0), lambda v: v["k"], lambda v: v.update(k=7.0)),
    "ordered, in its order": (
        lambda: collections.OrderedDict([(2.0, 0), (1.0, 0)]),
        lambda v: next(iter(v)),
        lambda v: v.move_to_end(2.0),
    ),
    "default": (lambda: collections.defaultdict(float, k=1.0), lambda v: v["k"], lambda v: v.update(k=7.0)),
    "counter": (lambda: collections.Counter(k=1), lambda v: v["k"], lambda v: v.update(k=7)),
    "most_common": (lambda: collections.Counter(a=1), lambda v: v.most_common(1)[0][1], lambda v: v.update(b=7)),
    "chain map": (lambda: collections.ChainMap({}, {"k": 1.0}), lambda v: v["k"], lambda v: v.update(k=7.0)),
    "user dict": (lambda: collections.UserDict(k=1.0), lambda v: v["k"], lambda v: v.update(k=7.0)),
    "proxy": (proxied, lambda v: v.proxy["k"], lambda v: v.base.update(k=7.0)),
    "new proxy": (
        lambda: {"k": [1.0]},
        lambda v: types.MappingProxyType(v)["k"][0],
        lambda v: v["k"].__setitem__(0, 7.0),
    ),
    "old view": (
        lambda: Space(d=(d := {"k": 1.0}), view=d.items()),
        lambda v: sum(n for _, n in v.view),
        lambda v: v.d.update(z=7.0),
    ),
}

SEQUENCES = {
    "deep": (
        nested,
        lambda v: v.a["b"][0]["c"][0]["d"][0][0],
        lambda v: v.a["b"][0]["c"][0]["d"][0].__setitem__(0, 7.0),
    ),
    "deque": (lambda: collections.deque([1.0]), lambda v: v[0], lambda v: (v.clear(), v.append(7.0))),
    "user list": (lambda: collections.UserList([1.0]), lambda v: v[0], lambda v: v.__setitem__(0, 7.0)),
    "set": (lambda: {1.0}, lambda v: max(v), lambda v: v.add(7.0)),
    "set of": (lambda: [1.0], lambda v: max(set(v)), lambda v: v.append(7.0)),
    "set operators": (lambda: {1.0}, lambda v: float(len(v & {7.0})), lambda v: v.add(7.0)),
    "issubset": (lambda: {1.0}, lambda v: float({1.0}.issubset(v)), lambda v: v.clear()),
    "frozenset replaced": (
        lambda: {"k": frozenset([1.0])},
        lambda v: max(v["k"]),
        lambda v: v.update(k=frozenset([7.0])),
    ),
    "array.array": (lambda: array.array("d", [1.0]), lambda v: v[0], lambda v: v.__setitem__(0, 7.0)),
    "bytearray": (lambda: bytearray(b"\1"), lambda v: v[0], lambda v: v.__setitem__(0, 7)),
    "bytes of": (lambda: bytearray(b"\1"), lambda v: bytes(v)[0], lambda v: v.__setitem__(0, 7)),
    "int.from_bytes": (lambda: bytearray(b"\1"), lambda v: int.from_bytes(v, "little"), lambda v: v.__setitem__(0, 7)),
    "memoryview": (over_bytes, lambda v: v.view[0], lambda v: v.base.__setitem__(0, 7)),
    "new memoryview": (lambda: bytearray(b"\1"), lambda v: memoryview(v)[0], lambda v: v.__setitem__(0, 7)),
    "tuple of a list": (lambda: ([1.0],), lambda v: v[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "equality of tuples": (
        lambda: (([1.0],),),
        lambda v: 2.0 if v == (([1.0],),) else 3.0,
        lambda v: v[0][0].append(7.0),
    ),
    "hash of a tuple": (lambda: [(1, 2)], lambda v: hash(v[0]) % 97, lambda v: v.__setitem__(0, (3, 4))),
    "star of a tuple": (lambda: ([1.0],), lambda v: (lambda n: n[0])(*v), lambda v: v[0].__setitem__(0, 7.0)),
    "concatenated tuples": (lambda: ([1.0],), lambda v: (v + (1,))[0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "slice of a tuple": (lambda: ([1.0],), lambda v: v[:1][0][0], lambda v: v[0].__setitem__(0, 7.0)),
    "sum of a tuple of lists": (lambda: ([1.0],), lambda v: sum(v, [])[0], lambda v: v[0].__setitem__(0, 7.0)),
    "named tuple of a list": (
        lambda: collections.namedtuple("N", "k")([1.0]),
        lambda v: v.k[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "_asdict": (
        lambda: collections.namedtuple("N", "k")([1.0]),
        lambda v: v._asdict()["k"][0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "_replace": (
        lambda: collections.namedtuple("N", "k j")([1.0], 2),
        lambda v: v._replace(j=1).k[0],
        lambda v: v.k.__setitem__(0, 7.0),
    ),
    "slice object": (
        lambda: [slice(0, 1)],
        lambda v: sum([1.0, 2.0, 3.0][v[0]]),
        lambda v: v.__setitem__(0, slice(0, 2)),
    ),
    "range": (lambda: [range(1)], lambda v: float(len(v[0])), lambda v: v.__setitem__(0, range(7))),
}

ARRAYS = {
    "entry": (lambda: np.ones(1), lambda v: float(v[0]), lambda v: v.__setitem__(0, 7.0)),
    "row": (lambda: np.ones((2, 2)), lambda v: float(v[1].sum()), lambda v: v.__setitem__((1, 1), 7.0)),
    "view": (viewed, lambda v: float(v.view[0]), lambda v: v.base.fill(7.0)),
    "strided": (lambda: np.ones(4)[::2], lambda v: float(v.sum()), lambda v: v.fill(7.0)),
    "0-d": (lambda: [np.array(1.0)], lambda v: float(v[0]), lambda v: v[0].__setitem__((), 7.0)),
    "item": (lambda: np.ones(1), lambda v: v.item(), lambda v: v.fill(7.0)),
    "tolist": (lambda: np.ones(1), lambda v: v.tolist()[0], lambda v: v.fill(7.0)),
    "ufunc": (lambda: np.ones(3), lambda v: float(np.sqrt(v)[0]), lambda v: v.fill(49.0)),
    "ufunc.reduce": (lambda: np.ones(3), lambda v: float(np.add.reduce(v)), lambda v: v.fill(7.0)),
    "np.sum": (lambda: np.ones(3), lambda v: float(np.sum(v)), lambda v: v.fill(49.0)),
    "np.asarray": (lambda: np.ones(3), lambda v: float(np.asarray(v)[0]), lambda v: v.fill(7.0)),
    "np.squeeze": (lambda: np.ones((1, 3)), lambda v: float(np.squeeze(v)[0]), lambda v: v.fill(7.0)),
    "np.reshape": (lambda: np.ones(3), lambda v: float(np.reshape(v, (3, 1))[0, 0]), lambda v: v.fill(7.0)),
    "np.ravel": (lambda: np.ones(3), lambda v: float(np.ravel(v)[0]), lambda v: v.fill(7.0)),
    "np.broadcast_to": (lambda: np.ones(1), lambda v: float(np.broadcast_to(v, 3)[2]), lambda v: v.fill(7.0)),
    "np.atleast_2d": (lambda: np.ones(1), lambda v: float(np.atleast_2d(v)[0, 0]), lambda v: v.fill(7.0)),
    "np.copy": (lambda: np.ones(1), lambda v: float(np.copy(v)[0]), lambda v: v.fill(7.0)),
    "reshape": (lambda: np.ones(3), lambda v: float(v.reshape(3, 1)[0, 0]), lambda v: v.fill(7.0)),
    "T": (lambda: np.ones((1, 3)), lambda v: float(v.T[0, 0]), lambda v: v.fill(7.0)),
    "flat": (lambda: np.ones(3), lambda v: float(v.flat[0]), lambda v: v.fill(7.0)),
    "real": (lambda: np.ones(3), lambda v: float(v.real[0]), lambda v: v.fill(7.0)),
    "shape set": (lambda: np.ones((2, 3)), lambda v: float(v.shape[0]), lambda v: setattr(v, "shape", (3, 2))),
    "length": (lambda: np.ones((2, 3)), lambda v: float(len(v)), lambda v: setattr(v, "shape", (3, 2))),
    "dtype set": (lambda: np.ones(2), lambda v: float(v.view(np.float64)[0]), lambda v: v.fill(7.0)),
    "loop": (lambda: np.ones(1), lambda v: sum(float(n) for n in v), lambda v: v.fill(7.0)),
    "unpacked": (lambda: np.ones(1), unpacked, lambda v: v.fill(7.0)),
    "rows unpacked": (lambda: np.ones((1, 2)), lambda v: float(unpacked(v)[0]), lambda v: v.fill(7.0)),
    "star": (lambda: np.ones(1), lambda v: float((lambda n: n)(*v)), lambda v: v.fill(7.0)),
    "truth": (lambda: np.ones(1), lambda v: 2.0 if v else 3.0, lambda v: v.fill(0.0)),
    "comparison": (lambda: np.ones(1), lambda v: 2.0 if v > 3 else 3.0, lambda v: v.fill(7.0)),
    "rows in a list": (lambda: np.ones((1, 2)), lambda v: list(v)[0][0], lambda v: v.fill(7.0)),
    "rows by zip": (
        lambda: np.ones((1, 2)),
        lambda v: [r[0] for (r,) in zip(v, strict=True)][0],
        lambda v: v.fill(7.0),
    ),
    "rows by iter": (lambda: np.ones((1, 2)), lambda v: next(iter(v))[0], lambda v: v.fill(7.0)),
    "added": (lambda: np.ones(1), lambda v: float((v + 1)[0]), lambda v: v.fill(7.0)),
    "f-string": (lambda: np.ones(1), lambda v: len(f"{v}"), lambda v: v.fill(77.5)),
    "structured": (lambda: np.ones(1, [("k", float)]), lambda v: float(v["k"][0]), lambda v: v.fill(7.0)),
    "record": (lambda: np.rec.array([(1.0,)], dtype=[("k", float)]), lambda v: float(v.k[0]), lambda v: v.k.fill(7.0)),
    "void scalar": (
        lambda: [(a := np.ones(1, [("k", float)])), a[0]],
        lambda v: float(v[1]["k"]),
        lambda v: v[0].fill(7.0),
    ),
    "masked": (lambda: np.ma.array([1.0], mask=[False]), lambda v: float(v.sum()), lambda v: v.__setitem__(0, 7.0)),
    "objects": (lambda: np.array([Space(k=1.0)], object), lambda v: v[0].k, lambda v: setattr(v[0], "k", 7.0)),
    "matrix": (lambda: np.asmatrix(np.ones((1, 1))), lambda v: float(v[0, 0]), lambda v: v.fill(7.0)),
    "memory map": (lambda: np.ones(1).view(np.memmap), lambda v: float(v[0]), lambda v: v.fill(7.0)),
    "subclass": (lambda: np.ones(1).view(type("A", (np.ndarray,), {})), lambda v: float(v[0]), lambda v: v.fill(7.0)),
    "over a buffer": (
        lambda: Space(b=(b := bytearray(8)), a=np.frombuffer(b)),
        lambda v: float(v.a[0]),
        lambda v: v.b.__setitem__(7, 64),
    ),
    "new over an old buffer": (
        lambda: bytearray(8),
        lambda v: float(np.frombuffer(v)[0]),
        lambda v: v.__setitem__(7, 64),
    ),
    "errors": (lambda: np, lambda v: float(len(v.geterr()["divide"])), lambda v: v.seterr(divide="raise")),
    "errors of a function": (
        lambda: np.float64(1000.0),
        lambda v: raised(lambda: np.exp(v)),
        lambda v: np.seterr(all="raise"),
    ),
    "errors of an operator": (
        lambda: np.zeros(1),
        lambda v: raised(lambda: v / v),
        lambda v: np.seterr(all="raise"),
    ),
    "printing": (lambda: np.array(1 / 3), lambda v: float(len(str(v))), lambda v: np.set_printoptions(precision=2)),
    "nditer": (lambda: np.nditer(np.arange(9.0)), lambda v: float(next(v)), None),
    "nditer, new": (lambda: np.ones(1), lambda v: float(next(np.nditer(v))), lambda v: v.fill(7.0)),
    "vectorized": (
        lambda: np.vectorize(lambda n, k=[1.0]: n * k[0]),
        lambda v: float(v(1.0)),
        lambda v: v.pyfunc.__defaults__[0].__setitem__(0, 7.0),
    ),
}
