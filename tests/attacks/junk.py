"""Values that no function expects: other types, extremes, and objects whose special methods lie or raise."""

from __future__ import annotations

import collections
import enum
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import ml_dtypes
import numpy as np

import dlcore as dl

__all__ = ["OwnError", "T", "fresh", "junk", "mutated"]


class OwnError(Exception):
    """What the objects below raise: it may pass through dlcore unchanged."""


class T:
    """Stands for a new tensor with these values."""

    def __init__(self, values: Any, grad: bool = False):
        self.values, self.grad = np.asarray(values), grad

    def make(self) -> dl.Tensor:
        """The tensor."""
        tensor = dl.tensor(self.values)
        tensor.requires_grad = self.grad and tensor.dtype.is_float
        return tensor


def fresh(value: Any) -> Any:
    """``value`` with new tensors and copies of arrays in it, so that no call sees what another has written."""
    if isinstance(value, T):
        return value.make()
    if type(value) is np.ndarray:
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)([fresh(v) for v in value])
    return {k: fresh(v) for k, v in value.items()} if type(value) is dict else value


def _raises(*names: str) -> type:
    def raising(*args: Any, **kwargs: Any) -> Any:
        raise OwnError("own")

    return type("Raises", (), dict.fromkeys(names, raising))


def _returns(value: Any, *names: str) -> type:
    return type("Returns", (), dict.fromkeys(names, lambda *args, **kwargs: value))


class _Config(dict[str, Any]):
    """The attributes of a dict are its keys, as in many configurations: a missing one is a KeyError."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise OwnError(name)
        return self[name]


class _Everything:
    """Has every attribute."""

    def __getattr__(self, name: str) -> Any:
        return self


class _Named(enum.IntEnum):
    ONE = 1


class _Text(str):
    __slots__ = ()


class _Vector(list[Any]):
    pass


_Pair = collections.namedtuple("_Pair", "a b")  # without types is how most are written
_STRANGE: list[Callable[[], Any]] = [
    _raises("__index__"), _raises("__float__"), _raises("__array__"), _raises("__len__", "__getitem__"),
    _raises("__iter__"), _raises("__bool__"), _raises("__repr__"), _raises("__eq__"), _raises("__hash__"),
    _raises("__int__", "__index__", "__float__", "__repr__", "__str__"), _raises("__getattr__"),
    _raises("__dlpack__", "__dlpack_device__"), _raises("__array_interface__"), _raises("__call__"),
    _returns("a", "__index__"), _returns(2**70, "__index__"), _returns(1, "__index__"), _returns(1.5, "__float__"),
    _returns("a", "__float__"), _returns(float("nan"), "__float__"), _returns(3, "__array__"),
    _returns(np.ones(3, np.float32), "__array__"), _returns(-1, "__len__"), _returns("a", "__bool__"),
    _returns((1, 0), "__dlpack_device__"), _returns(None, "__dlpack__"), _returns(None, "__array__"),
    _returns(NotImplemented, "__radd__", "__eq__"), _returns(2, "__len__"), _returns(3, "__int__"),
    _Config, _Everything, lambda: _Config(a=1), lambda: _Named.ONE, lambda: _Text("mean"), lambda: _Vector([1, 2]),
    lambda: _Pair(0, 1), lambda: collections.deque([0, 1]), lambda: collections.OrderedDict(a=1), object,
    lambda: iter([1, 2]), lambda: (i for i in range(2)), lambda: types.SimpleNamespace(shape=(2,), dtype="float32"),
    lambda: _Everything, lambda: dl.Tensor, lambda: int, lambda: dl.nn.ReLU, lambda: dl, lambda: print,
    lambda: lambda *args, **kwargs: None, lambda: memoryview(b"\1\2"), lambda: Decimal("1.5"), lambda: Fraction(1, 3),
]  # fmt: skip

_PLAIN: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, -2, 2**31, 2**32 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 2**70, -(2**70),
    10**400, 10**5000, 0.0, -0.0, 1.0, 0.5, -1.5, 2.0, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, 1e30,
    1j, complex("nan"), "", "a", "mean", "none", "cpu", "cuda:0", "cuda:99999999999", "float32", "float", "int64", "0",
    "relu", "\udcff", "a" * 10_000, b"ab", b"", [], (), [0], [1, 2], (0, 1), (0, 0), (-1,), (2, 3), (1.0,), (True,),
    (None,), [None], ["a"], [[1, 2], [3]], [[[]]], [1, [2]], [2**70], [1j], {}, {"a": 1}, {1, 2}, range(3), slice(None),
    slice(1, None, 2), slice("a"), slice(0, 2, 0), ..., (slice(None), 0), (None, ...), ([0], [1]), ((0, 2, 1),), (1,) * 9,
    (1,) * 70, (2**40, 2**40), (2**63,), (0, 2**62), (-5, 3), ((0, 1), (1, 0)), NotImplemented, {"lr": "a"}, {"params": []},
]  # fmt: skip

_NUMPY: list[Any] = [
    np.int8(1), np.int64(1), np.int64(-1), np.uint8(200), np.uint16(3), np.uint64(2**63), np.float16(0.5), np.float32(1),
    np.float64(1), np.float64("nan"), np.longdouble(1), np.bool_(True), np.complex64(1 + 2j), np.complex128(1), np.str_("a"),
    np.bytes_(b"a"), np.datetime64("2026-01-01"), np.timedelta64(3, "s"), ml_dtypes.bfloat16(1), ml_dtypes.int4(1),
    np.array(1), np.array(0), np.array(1.0), np.array(True), np.array("a"), np.array(None), np.array([1]), np.array([0, 1]),
    np.array([0, 5]), np.array([True, False]), np.zeros(0), np.zeros((0, 3)), np.ones((2, 3), np.float32), np.ones((3, 2)),
    np.ones((2, 3), ">f4"), np.arange(3, dtype=">i8"), np.ones(3, np.uint16), np.ones(3, np.uint64), np.ones(2, "c8"),
    np.array([None, 1]), np.array(["a", "b"]), np.array([b"a"]), np.ones((1,) * 9), np.ones(3, "M8[s]"),
    np.zeros(2, "f4,i4"), np.broadcast_to(np.float32(1), (2, 3)), np.ones((4, 6))[::2, ::-2], np.ones(2, ml_dtypes.bfloat16),
    np.ma.masked_array([1.0, 2.0], [True, False]), np.matrix([[1.0, 2.0]]), np.dtype("f4"), np.float32, np.dtype("u2"),
    np.random.default_rng(0), np.ndindex(2), np.float32(1e38), np.array([2**62, -(2**63)]), np.array([300.0, -1.0, np.nan]),
]  # fmt: skip

_TENSORS: list[Callable[[], Any]] = [
    lambda: dl.tensor(1), lambda: dl.tensor(0), lambda: dl.tensor(-1), lambda: dl.tensor(2**62), lambda: dl.tensor(1.0),
    lambda: dl.tensor(float("nan")), lambda: dl.tensor(True), lambda: dl.tensor([1]), lambda: dl.tensor([0, 1]),
    lambda: dl.tensor([0, 5, -9]), lambda: dl.tensor([2**40]), lambda: dl.tensor([True, False]), lambda: dl.ones(2, 3),
    lambda: dl.ones(2, 3, requires_grad=True), lambda: dl.ones(3, 2).T, lambda: dl.ones(3).expand(2, 3), lambda: dl.zeros(0),
    lambda: dl.zeros(0, 3), lambda: dl.ones(1, 1, 1, 1, 1, 1, 1, 1), lambda: dl.ones(2, 3, dtype="uint8"),
    lambda: dl.ones(2, 3, dtype="bfloat16"), lambda: dl.ones(2, 3, dtype="float16"), lambda: dl.ones(2, 3, dtype="float64"),
    lambda: dl.ones(2, 3, dtype="bool"), lambda: dl.ones(4, 6)[::2, ::-2], lambda: dl.ones(2, requires_grad=True) * 2,
    lambda: dl.arange(6).reshape(2, 3), lambda: dl.nn.Parameter(dl.ones(2, 3)), lambda: dl.ones(5000),
    lambda: dl.from_numpy(np.broadcast_to(np.float32(1), (2, 3))), lambda: dl.ones(2, 3, dtype="int8"),
    lambda: dl.nn.ReLU(), lambda: dl.nn.Linear(3, 2), lambda: dl.optim.SGD([dl.nn.Parameter(dl.ones(2))], 0.1),
    lambda: dl.float32, lambda: dl.int64, lambda: dl.bool_, lambda: dl.device("cpu"), lambda: dl.random.Generator(1),
    lambda: dl.add, lambda: dl.no_grad(), lambda: dl.data.TensorDataset(np.ones((4, 3)), np.arange(4)),
]  # fmt: skip


def junk(draw: Random) -> Any:
    """Any value."""
    pool = draw.choice((_PLAIN, _PLAIN, _NUMPY, _TENSORS, _STRANGE))
    value = draw.choice(pool)
    if pool is _TENSORS or pool is _STRANGE:
        return value()
    return fresh(value) if pool is _PLAIN else value.copy() if type(value) is np.ndarray else value


def mutated(value: Any, draw: Random) -> Any:
    """Something else in the place of ``value``: junk, or the same with a part or its form changed."""
    if isinstance(value, dl.Tensor) and draw.random() < 0.5:
        return draw.choice(_FORMS)(value.detach())
    if type(value) in (list, tuple) and value and draw.random() < 0.6:
        items = list(value)
        at = draw.randrange(len(items))
        how = draw.randrange(4)
        if how == 0:
            del items[at]
        elif how == 1:
            items.insert(at, junk(draw))
        else:
            items[at] = mutated(items[at], draw)
        return type(value)(items)
    if type(value) is int and abs(value) < 2**62 and draw.random() < 0.3:
        return draw.choice((value + 1, -value, value - 1, float(value), np.int32(value % 2**31), str(value), [value]))
    return junk(draw)


_FORMS: list[Callable[[Any], Any]] = [
    lambda t: t.astype("int64"), lambda t: t.astype("uint8"), lambda t: t.astype("bool"), lambda t: t.astype("float64"),
    lambda t: t.astype("bfloat16"), lambda t: t.astype("int8"), lambda t: t.reshape(-1), lambda t: t.unsqueeze(0) if t.ndim < 8 else t,
    lambda t: t.T, lambda t: t.T.contiguous().T, lambda t: t[..., None] if t.ndim < 8 else t, lambda t: t[:0] if t.ndim else t, lambda t: t.numpy(),
    lambda t: t.tolist(), lambda t: dl.ones(2, *t.shape[:7])[::-1], lambda t: t.expand(2, *t.shape) if t.ndim < 8 else t,
    lambda t: t[::-1] if t.ndim else t, lambda t: t[..., :1] if t.ndim else t, lambda t: list(t) if t.ndim else [t],
]  # fmt: skip
