"""Random calls of an operation: its samples with other sizes, memory layouts, values, dtypes and attributes.

The same seed, operation and number give the same call on any machine, so that one which crashes its process is known.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from dlcore import testing
from dlcore._tensor import tensor
from dlcore.dtypes import DType, as_dtype
from dlcore.op import Domain, Op, named

__all__ = ["PLAIN", "ROOM", "Draw", "Layout", "draw", "place", "restricted"]

LENGTHS = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 19, 31, 32, 33, 37, 63, 64, 65, 127, 128, 129, 255,
           256, 257, 511, 513, 1000, 1023, 1025, 4095, 4097)  # fmt: skip
ROOM = 30_000  # elements of all operands together
TAMER = 4  # how many times a refused call is drawn again, each time closer to the sample


class Layout(NamedTuple):
    """How an operand lies in memory.

    ``order``: its axes from the slowest to the fastest; ``steps``: of each axis, 1, or every second element, negative
    for backwards, or 0 where all are one element; ``offset``: elements before the first.
    """

    order: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    offset: int = 0


PLAIN = Layout()


@dataclass(frozen=True)
class Draw:
    """One call: arrays in the dtypes under test (numbers and None as they are), how they lie, and attributes."""

    op: Op
    operands: tuple[Any, ...]
    layouts: tuple[Layout, ...]
    attrs: tuple[Any, ...]
    lengths: tuple[int, ...] = ()
    """Of the groups among the operands."""
    why: str = ""
    """The sample that it comes from."""

    def make(self, device: Any) -> list[Any]:
        """Fresh tensors."""
        return [
            place(x, layout, device) if isinstance(x, np.ndarray) else x
            for x, layout in zip(self.operands, self.layouts, strict=True)
        ]

    @property
    def size(self) -> int:
        """Elements of all operands."""
        return sum(x.size for x in self.operands if isinstance(x, np.ndarray))


def place(array: np.ndarray[Any, Any], layout: Layout, device: Any = "cpu") -> Any:
    """A tensor with the values of ``array`` so laid out; what lies between its elements is NaN, or all bits 1."""
    if layout == PLAIN:
        return tensor(array, device=device)
    order = layout.order or tuple(range(array.ndim))
    steps = layout.steps or (1,) * array.ndim
    lengths = [1 if steps[a] == 0 else max(1, array.shape[a]) * abs(steps[a]) for a in order]
    room = np.full(int(np.prod(lengths)) * array.itemsize, 0xFF, np.uint8).view(array.dtype)
    if array.dtype == np.bool_:
        room[...] = True
    back = tuple(order.index(a) for a in range(array.ndim))
    inside = tuple(slice(None, 1) if s == 0 else slice(None, n if s > 0 else None, s)
                   for n, s in zip((max(1, n) * abs(s) for n, s in zip(array.shape, steps, strict=True)), steps,
                                   strict=True))  # fmt: skip
    view = room.reshape(lengths).transpose(back)[(..., *inside)]
    first = tuple(slice(None, 1) if s == 0 else slice(None) for s in steps)
    if array.size:
        view[...] = array[(..., *first)]
    whole = tensor(np.concatenate([room[:1].repeat(layout.offset), room]), device=device)
    made = whole[layout.offset :].reshape(lengths).permute(*back) if array.ndim else whole[layout.offset]
    made = made[inside] if array.ndim else made
    if not array.size:
        made = made[tuple(slice(0, n) if s else slice(None) for n, s in zip(array.shape, steps, strict=True))]
    return made.expand(*array.shape) if array.ndim else made


# ---- drawing ------------------------------------------------------------------------------------------------------


def generator(seed: int, name: str, number: int, tame: int) -> np.random.Generator:
    """The randomness of one call."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number, tame])


def draw(op: Op, seed: int, number: int, tame: int = 0, dtypes: Sequence[DType] = ()) -> Draw:
    """Call ``number`` of the operation; ``tame``: how often it was refused, from 0 (anything goes) to `TAMER`."""
    rng = generator(seed, op.name, number, tame)
    every = testing.samples(op)
    small = [s for s in every if s.size <= ROOM] or every
    sample = small[rng.integers(len(small))]
    inputs, given = testing.drawn(op, sample), testing.attributes(op, sample)
    mapping = _lengths(rng, inputs, given, tame)
    shapes = [tuple(mapping(n) for n in x.shape) if isinstance(x, np.ndarray) else () for x in inputs]
    if tame == 0 and len(shapes) > 1:
        shapes = _broadcast(rng, shapes)
    attrs = _attrs(rng, given, [testing.attributes(op, s) for s in small], op, mapping, tame)
    chosen = [d for d in op.dtypes if not dtypes or d in dtypes] or list(op.dtypes)
    dtype, values = chosen[rng.integers(len(chosen))], Values(rng, inputs, tame)
    operands = []
    for k, (x, shape) in enumerate(zip(inputs, shapes, strict=True)):
        if not isinstance(x, np.ndarray):
            operands.append(_number(rng, x))
        elif x.dtype == np.float64:
            own = chosen[rng.integers(len(chosen))] if tame == 0 and rng.random() < 0.1 else dtype
            operands.append(values.of(k, x, shape, own))
        else:
            operands.append(values.of(k, x, shape, as_dtype(x.dtype)))
    lengths = testing.lengths(op, sample)
    operands = restricted(op, operands, attrs, lengths)
    layouts = tuple(_layout(rng, x) for x in operands)
    written = op.written(lengths)
    layouts = tuple(w._replace(steps=tuple(s or 1 for s in w.steps)) if k in written else w
                    for k, w in enumerate(layouts))  # fmt: skip
    repeated = [_repeated(x, w) if isinstance(x, np.ndarray) else x for x, w in zip(operands, layouts, strict=True)]
    again = restricted(op, repeated, attrs, lengths)
    if op.restrict and not all(x is None or np.array_equal(x, y, equal_nan=True)
                               for x, y in zip(repeated, again, strict=True)):  # fmt: skip
        repeated, layouts = operands, (PLAIN,) * len(operands)  # elements that must differ lie apart
    return Draw(op, tuple(repeated), layouts, attrs, lengths, sample.why)


def restricted(op: Op, operands: Sequence[Any], attrs: Sequence[Any], lengths: Sequence[int] = ()) -> list[Any]:
    """The operands with their values mapped to where the operation's bound holds: into the strict domains of operands,
    and as the definition's `restrict` says. NaN stays where it is, nearly always."""
    domains = [o.domain for o, many in zip(op.signature.operands, op.nested(operands, lengths), strict=False)
               for _ in (many if o.group else [many])]  # fmt: skip
    if op.restrict is None and not any(d.strict for d in domains):
        return list(operands)
    changed = [_inside(_wide(x), d) for x, d in zip(operands, domains, strict=True)]
    doubles = any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in operands)
    largest = float(np.finfo(np.float64 if doubles else np.float32).max)
    floats = [as_dtype(x.dtype) for x in operands if isinstance(x, np.ndarray) and as_dtype(x.dtype).is_float]
    dtype_max = min((d.largest for d in floats), default=largest)
    with np.errstate(all="ignore"):
        if op.restrict is not None:
            known = dict(zip(op.attribute_names, attrs, strict=False))
            ends = {"largest": largest, "dtype_max": dtype_max}
            named(op.restrict, {"operands": changed, "lengths": lengths, **ends, **known})
        return [
            np.asarray(y).reshape(x.shape).astype(x.dtype) if isinstance(x, np.ndarray) else x
            for x, y in zip(operands, changed, strict=True)
        ]


def _wide(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, np.ndarray) and as_dtype(x.dtype).is_float else x


def _inside(x: Any, domain: Domain) -> Any:
    return np.clip(x, domain.low, domain.high) if domain.strict and isinstance(x, np.ndarray) else x


def _repeated(array: np.ndarray[Any, Any], layout: Layout) -> np.ndarray[Any, Any]:
    """With one value along each axis whose step is 0."""
    for axis, step in enumerate(layout.steps):
        if step == 0 and array.shape[axis]:
            array = np.repeat(np.take(array, [0], axis), array.shape[axis], axis)
    return array


def _lengths(
    rng: np.random.Generator, inputs: Sequence[Any], attrs: Sequence[Any], tame: int
) -> Callable[[int], int]:
    """New lengths for old: equal ones stay equal. 1 mostly stays, since it may be there to broadcast."""
    given = [n for x in inputs if isinstance(x, np.ndarray) for n in x.shape]
    given += [n for a in attrs if isinstance(a, tuple) for n in a if isinstance(n, int)]
    known = sorted({n for n in given if n >= 0})
    moved = {3: [], 4: []}.get(tame, known)
    if tame == 2 and known:
        moved = [known[rng.integers(len(known))]]
    table: dict[int, int] = {}
    for n in moved:
        stays = 0.8 if n == 1 else 0.35
        if rng.random() > stays:
            table[n] = int(rng.choice(LENGTHS))
    while sum(_size(x, table) for x in inputs) > ROOM:
        largest = max(known, key=lambda n: table.get(n, n))
        table[largest] = table.get(largest, largest) // 2
    return lambda n: table.get(n, n)


def _size(x: Any, table: dict[int, int]) -> int:
    return int(np.prod([table.get(n, n) for n in x.shape])) if isinstance(x, np.ndarray) else 0


def _broadcast(rng: np.random.Generator, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Now and then one axis of one operand of length 1, or left out."""
    if rng.random() < 0.8:
        return shapes
    k = int(rng.integers(len(shapes)))
    if shapes[k] and 0 not in shapes[k]:  # without its axis of length 0 an array might be of any size
        axis = int(rng.integers(len(shapes[k])))
        shapes[k] = tuple(1 if a == axis else n for a, n in enumerate(shapes[k]))
        if rng.random() < 0.3:
            shapes[k] = shapes[k][1:]
    return shapes


def _attrs(
    rng: np.random.Generator,
    given: Sequence[Any],
    others: Sequence[Sequence[Any]],
    op: Op,
    mapping: Callable[[int], int],
    tame: int,
) -> tuple[Any, ...]:
    found = []
    for k, (name, value) in enumerate(zip(op.attribute_names, given, strict=True)):
        if tame < 3 and rng.random() < 0.25:
            value = others[int(rng.integers(len(others)))][k]
        if isinstance(value, bool) and tame < 2 and rng.random() < 0.3:
            value = not value
        elif name == "axis" and isinstance(value, int) and tame < 2 and rng.random() < 0.3:
            value = int(rng.integers(-3, 3))
        elif name == "shape" and isinstance(value, tuple):
            value = tuple(mapping(n) if isinstance(n, int) and n >= 0 else n for n in value)
        elif name in ("n", "size") and isinstance(value, int) and tame == 0 and rng.random() < 0.5:
            value = int(rng.choice(LENGTHS))
        found.append(value)
    return tuple(found)


def _number(rng: np.random.Generator, x: Any) -> Any:
    """A Python number in place of another."""
    if isinstance(x, bool) or not isinstance(x, int | float) or rng.random() < 0.5:
        return x
    if isinstance(x, int):
        return int(rng.integers(0, 100))
    return float(rng.choice([0.0, -0.0, 1.0, -1.0, 0.1, 2.5, -3.0, 1e-3, 100.0]))


def _layout(rng: np.random.Generator, x: Any) -> Layout:
    if not isinstance(x, np.ndarray) or rng.random() < 0.35 or _span(x.shape, (1,) * x.ndim) > 8 * ROOM:
        return PLAIN
    order = tuple(map(int, rng.permutation(x.ndim))) if rng.random() < 0.5 else tuple(range(x.ndim))
    steps = tuple(int(s) for s in rng.choice([1, 1, 1, 1, 2, 3, -1, -2, 0], x.ndim))
    steps = steps if _span(x.shape, steps) <= 8 * ROOM else (1,) * x.ndim
    return Layout(order, steps if rng.random() < 0.6 else (1,) * x.ndim, int(rng.choice([0, 0, 1, 2, 3, 5, 8])))


def _span(shape: tuple[int, ...], steps: tuple[int, ...]) -> int:
    """Elements of the memory that an array lies in; an empty one may need much."""
    return math.prod(max(1, n) * max(1, abs(s)) for n, s in zip(shape, steps, strict=True))


# ---- values -------------------------------------------------------------------------------------------------------

PROFILES = ("sample", "sample", "normal", "normal", "integers", "specials", "subnormal", "tiny", "huge", "exponents",
            "constant")  # fmt: skip


class Values:
    """Values of the operands of one call, of one kind mostly."""

    def __init__(self, rng: np.random.Generator, inputs: Sequence[Any], tame: int):
        self.rng, self.inputs, self.tame = rng, inputs, tame
        self.profile = str(rng.choice(PROFILES))

    def of(self, k: int, x: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: DType) -> np.ndarray[Any, Any]:
        """An array in place of operand ``k``, which is ``x`` in the sample."""
        if not dtype.is_float:
            return self._numbers(x, shape, dtype)
        profile = self.profile if self.rng.random() < 0.8 else str(self.rng.choice(PROFILES))
        with np.errstate(all="ignore"):
            return np.asarray(getattr(self, f"_{profile}")(x, shape, dtype)).astype(dtype.numpy)

    def _numbers(self, x: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: DType) -> np.ndarray[Any, Any]:
        """Integers and bools: as in the sample where they are indices or labels, else in its range."""
        if x.shape == shape and (self.tame >= 3 or self.rng.random() < 0.3):
            return x.copy()
        if dtype.kind == "bool":
            return np.asarray(self.rng.random(shape) < self.rng.choice([0.0, 0.1, 0.5, 1.0]))
        if x.dtype == np.float64:  # an operation that claims integers, and samples which are rounded to them
            ends = np.iinfo(dtype.numpy)
            low, high = (ends.min, ends.max) if self.rng.random() < 0.5 else (max(ends.min, -3), 3)
        else:
            low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
        if self.tame and self.rng.random() < 0.8:  # an index of the shortest axis is one of any
            first = [n for s in self.inputs if isinstance(s, np.ndarray) for n in s.shape if n]
            low, high = 0, min(max(high, 0), max(0, min(first, default=1) - 1))
            high = high if self.tame == 1 else 0
        return self.rng.integers(low, high, shape, dtype.numpy, endpoint=True)

    def _sample(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        if not x.size or x.dtype.kind != "f":
            return self._normal(x, shape, dtype)
        return x.copy() if x.shape == shape else self.rng.choice(np.ravel(x), shape)

    def _normal(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        return self.rng.standard_normal(shape) * self.rng.choice([1.0, 1.0, 10.0, 0.1])

    def _integers(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        return self.rng.integers(-3, 4, shape).astype(np.float64)

    def _constant(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        return np.full(shape, self.rng.choice([0.0, -0.0, 1.0, -1.0, 0.1, np.nan, np.inf, -np.inf]))

    def _specials(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        made = np.asarray(self._sample(x, shape, dtype), np.float64)
        which = self.rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
        return np.where(self.rng.random(shape) < self.rng.choice([0.02, 0.2, 0.7]), which, made)

    def _subnormal(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        return self._signed(shape) * (self.rng.integers(0, 50, shape) * (dtype.tiny * dtype.eps))

    def _tiny(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        return self._signed(shape) * dtype.tiny * self.rng.uniform(0.3, 8.0, shape)

    def _huge(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        return self._signed(shape) * dtype.largest * self.rng.uniform(1e-3, 1.0, shape)

    def _exponents(self, x: Any, shape: tuple[int, ...], dtype: DType) -> Any:
        low, high = np.log2(dtype.tiny), np.log2(dtype.largest)
        return self._signed(shape) * np.exp2(self.rng.uniform(low, high, shape))

    def _signed(self, shape: tuple[int, ...]) -> Any:
        return np.copysign(1.0, self.rng.standard_normal(shape))


def finite(array: Any) -> bool:
    """Whether an operand has neither NaN nor infinity."""
    if not isinstance(array, np.ndarray):
        return True
    return bool(np.isfinite(array).all()) if array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16 else True


def with_operand(given: Draw, k: int, **fields: Any) -> Draw:
    """The same call with another array or layout of operand ``k``."""
    operands, layouts = list(given.operands), list(given.layouts)
    operands[k] = fields.get("array", operands[k])
    layouts[k] = fields.get("layout", layouts[k])
    return replace(given, operands=tuple(operands), layouts=tuple(layouts))
