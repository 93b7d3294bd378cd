"""What comes in from outside: DLPack capsules, buffers, numbers, and memory that is written through two tensors.

A capsule or a buffer whose description is damaged is refused; one that is right gives the values that are there, and
bytes other than 0 and 1 never pass as booleans. A Python number that an integer dtype does not hold, or no float of
Python, raises OverflowError by every way in, any other becomes what exact arithmetic rounds it to; casts wrap, saturate
and round once. Writes whose source and target overlap leave what NumPy leaves, also through two tensors over one array
and in recorded steps; a target that overlaps itself is refused. Nothing crashes.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np

from . import children

UNIT = "calls"
SMALL, LARGE = 4000, 200_000

NAMES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
NUMPY = {name: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name) for name in NAMES}


def attack(count: int, seed: int) -> Iterator[str]:
    yield from children.violations(calls, count, seed, chunk=5000, seconds=600.0)


def calls(first: int, count: int, seed: int) -> list[str]:
    """What went wrong in these calls, a line each."""
    found = []
    for unit in range(first, first + count):
        draw = random.Random(f"{seed} {unit}")
        kind = draw.choice((capsule, buffer, number, number, cast, cast, overlap, overlap, overlap))
        children.mark(f"{kind.__name__} {unit} of seed {seed}")
        try:
            wrong = kind(draw)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            found.append(f"{kind.__name__} {unit} of seed {seed}: {wrong}")
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two arrays have the same dtype, shape and bits, but for the bits of NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind in "biu":
        return np.array_equal(a, b)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide, other = a.astype(np.float64), b.astype(np.float64)
    return np.array_equal(wide, other, equal_nan=True) and np.array_equal(
        np.signbit(wide[~np.isnan(wide)]), np.signbit(other[~np.isnan(other)])
    )


# ---- capsules -----------------------------------------------------------------------------------------------------


class Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", Tensor),
    )  # fmt: skip


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)

CODES = {"bool": 6, "uint8": 1, "bfloat16": 4, "float16": 2, "float32": 2, "float64": 2}  # others: 0


class Exporter:
    """An object that hands out one capsule."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def capsule(draw: random.Random) -> str | None:
    """A capsule over a strided array, as it should be or with one field damaged."""
    import dlcore as dl

    name = draw.choice(NAMES)
    array = strided(draw, NUMPY[name])
    if name == "bool" and draw.random() < 0.5:
        array.view(np.uint8)[...] = 1 - array.view(np.uint8) % 2
    item, n = array.itemsize, array.ndim
    shape = (ctypes.c_int64 * 9)(*array.shape, *[1] * (9 - n))
    strides = (ctypes.c_int64 * 9)(*(s // item for s in array.strides), *[1] * (9 - n))
    t = Tensor(
        array.ctypes.data, 1, 0, n, CODES.get(name, 0), 8 * item, 1, ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
        ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64)), 0,
    )  # fmt: skip
    good = name != "bool" or not (array.view(np.uint8) > 1).any()
    versioned = draw.random() < 0.7
    owner: Any = Managed(t)
    if versioned:
        owner = Versioned(1, draw.choice((0, 1, 7)), None, None, draw.choice((0, 1, 2)), t)
    if draw.random() < 0.6:
        good = damage(draw, owner, shape, strides, array) and good
    made = new_capsule(ctypes.addressof(owner), b"dltensor_versioned" if versioned else b"dltensor", None)
    try:
        x = dl.from_dlpack(Exporter(made))
    except BufferError as error:
        return None if not good else f"refused {name} {array.shape} {array.strides}: {error}"
    found = f"shape {x.shape}, strides {x.strides}" if not good or x.shape != array.shape else x.numpy().copy()
    del x  # before its owner goes
    if not good:
        return f"took a damaged description of {name} {array.shape}: {found}"
    return None if same(found, array) else f"{found} for {array}"


def strided(draw: random.Random, dtype: Any) -> Any:
    """A small array of random bytes, seen through random steps."""
    shape = [draw.choice((0, 1, 1, 2, 3, 5)) for _ in range(draw.randrange(4))]
    steps = [draw.choice((1, 1, 2, -1, -2)) for _ in shape]
    whole = np.frombuffer(draw.randbytes(1331 * dtype.itemsize), dtype).copy()[: math.prod(2 * n + 1 for n in shape)]
    view = whole.reshape([2 * n + 1 for n in shape])
    part = view[(*(slice(None if s > 0 else 2 * n, None, s) for n, s in zip(shape, steps, strict=True)), ...)]
    part = part[(*(slice(n) for n in shape), ...)]
    return part.transpose(draw.sample(range(len(shape)), len(shape)))


def damage(draw: random.Random, owner: Any, shape: Any, strides: Any, array: Any) -> bool:
    """Changes one field; whether what it then says is still right."""
    t, n, full = owner.tensor, array.ndim, array.size > 0
    field = draw.randrange(13)
    if field == 0:
        t.ndim = draw.choice((-1, -(2**31), 9, 100, 2**31 - 1))
    elif field == 1 and n:
        shape[draw.randrange(n)] = draw.choice((-1, -3, -(2**63)))
    elif field == 2 and n:
        t.shape = None
    elif field == 3 and array.itemsize > 1 and full:
        t.data += draw.randrange(1, array.itemsize)
    elif field == 4 and full:
        t.data, t.byte_offset = None, draw.choice((0, 8, 2**40))
    elif field == 5 and n > 1 and full:
        shape[0], shape[1] = draw.choice(((2**32, 2**32), (2**62, 4), (2**63 - 1, 2)))
    elif field == 6 and any(k > 1 for k in array.shape) and full:
        strides[max(range(n), key=lambda d: array.shape[d])] = draw.choice((2**62, -(2**62), 2**63 - 1, -(2**63)))
    elif field == 7:
        t.lanes = draw.choice((0, 2, 65535))
    elif field == 8:
        t.code, t.bits = draw.choice(((3, 64), (5, 64), (255, 8), (0, 7), (2, 8), (6, 1), (1, 24), (2, 128), (7, 8)))
    elif field == 9:
        t.device_type, t.device_id = draw.choice(((2, 0), (2, -1), (2, 10**9), (3, 0), (0, 0), (-1, 0), (10, 0)))
    elif field == 10 and full:
        t.byte_offset = 2**64 - draw.choice((1, 8, 4096))
        return False
    elif field == 11 and isinstance(owner, Versioned):
        owner.major = draw.choice((0, 2, 2**32 - 1))
    elif field == 12 and array.flags.c_contiguous:
        t.strides = None
        return True
    else:
        return True
    return False


# ---- buffers ------------------------------------------------------------------------------------------------------


def buffer(draw: random.Random) -> str | None:
    """A NumPy array, shared or copied, with steps, at odd addresses, in another byte order, or read-only."""
    import dlcore as dl

    name = draw.choice(NAMES)
    array, odd = strided(draw, NUMPY[name]), draw.randrange(6)
    if odd == 0 and name != "bfloat16":
        array = array.astype(array.dtype.newbyteorder(">"))
    elif odd == 1:
        raw = np.zeros(array.nbytes + 16, np.uint8)
        array = np.ndarray(array.shape, array.dtype, raw, offset=draw.randrange(1, 9))
    elif odd == 2:
        array = np.zeros(array.shape, [("a", np.int8), ("b", array.dtype)])["b"]
    elif odd == 3:
        array.flags.writeable = False
    want = array.view(np.uint8) != 0 if name == "bool" else array.astype(array.dtype.newbyteorder("="))
    if not same(dl.tensor(array).numpy(), want) or not same(dl.asarray(array).numpy(), want):
        return f"tensor or asarray of {array.dtype.str} {array.shape} {array.strides}: {dl.tensor(array)} for {want}"
    if name == "bool" and int(dl.tensor(array).sum()) != int(want.sum()):
        return f"the sum of {array.view(np.uint8)} is {int(dl.tensor(array).sum())}"
    try:
        shared = dl.from_numpy(array)
    except (ValueError, TypeError, BufferError):
        may = odd in (0, 1, 2) or name == "bool"
        return None if may else f"refused {array.dtype.str} {array.shape} {array.strides}"
    if array.size and (shared.data_ptr != array.ctypes.data or not same(shared.numpy(), want)):
        return f"from_numpy of {array.dtype.str} {array.shape} {array.strides}: {shared}"
    if name == "bool" and array.flags.writeable:  # whoever shares the memory writes other bytes later
        array.view(np.uint8)[...] = draw.choice((2, 128, 255))
        if not same(dl.nonzero(shared).numpy(), np.argwhere(array.view(np.uint8))):
            return f"nonzero of {array.view(np.uint8)} is {dl.nonzero(shared)}"
    return None


# ---- numbers ------------------------------------------------------------------------------------------------------

MANTISSA = {"float16": (11, -24), "bfloat16": (8, -133), "float32": (24, -149), "float64": (53, -1074)}  # bits, 2^k


def largest(name: str) -> Fraction:
    """The largest finite number of a dtype."""
    return Fraction(float(ml_dtypes.finfo(NUMPY[name]).max))


def rounded(value: int | float, name: str) -> float:
    """A number to nearest even in a floating dtype, by exact arithmetic; infinite beyond its range."""
    if isinstance(value, float) and (value == 0 or not math.isfinite(value)):
        return value
    exact = Fraction(value)
    if exact == 0:
        return 0.0
    bits, smallest = MANTISSA[name]
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - bits + 1, smallest)
    result = round(exact / unit) * unit
    sign = -1.0 if exact < 0 else 1.0
    return sign * (math.inf if abs(result) > largest(name) else abs(float(result)))


def finite(value: int | float) -> bool:
    """Whether a number is neither infinite nor NaN."""
    return isinstance(value, int) or math.isfinite(value)


def fits(value: int | float, name: str) -> bool:
    """The rule for Python numbers."""
    if name == "bool":
        return True
    if name in MANTISSA:
        return isinstance(value, float) or math.isfinite(rounded(value, "float64"))
    limits = np.iinfo(NUMPY[name])
    return finite(value) and limits.min <= math.trunc(value) <= limits.max


def converted(value: int | float, name: str) -> Any:
    """A number that fits, as an array of the dtype."""
    if name in MANTISSA:
        return np.array(rounded(value, name)).astype(NUMPY[name])
    return np.array(bool(value) if name == "bool" else math.trunc(value), NUMPY[name])


def some_number(draw: random.Random) -> int | float:
    """Often at the edge of a dtype."""
    if draw.random() < 0.25:
        some = (math.nan, math.inf, -math.inf, 0.0, -0.0, -0.5, 0.9, -0.999, 2.5, 1e30, -1e300, True, False)
        return draw.choice(some)
    edge = draw.choice((0, 7, 8, 15, 16, 24, 31, 32, 52, 53, 62, 63, 64, 70, 127, 128, 500, 1024))
    value = draw.choice((1, -1)) * 2**edge + draw.randrange(-3, 4) * draw.choice((1, 1, 2 ** max(0, edge - 9)))
    if draw.random() < 0.4 and edge < 1000:
        return float(value) + draw.choice((0.0, 0.5, -0.5, 0.25))
    return value


def number(draw: random.Random) -> str | None:
    """A Python number into a tensor by one of the ways in."""
    import dlcore as dl

    name, value = draw.choice(NAMES), some_number(draw)
    x = dl.zeros(3, dtype=name)
    mask = dl.tensor([True, False, True])
    ways = {
        "tensor": lambda: dl.tensor(value, dtype=name), "list": lambda: dl.tensor([value, value], dtype=name)[0],
        "full": lambda: dl.full((2,), value, name)[1], "full_like": lambda: dl.full_like(x, value)[0],
        "fill_": lambda: x.fill_(value)[2], "setitem": lambda: (x.__setitem__(1, value), x[1])[1],
        "mask": lambda: (x.__setitem__(mask, value), x[0])[1],
        "indices": lambda: (x.__setitem__([0, 2], value), x[2])[1],
        "a list": lambda: (x.__setitem__(slice(None), [value] * 3), x[2])[1],
    }  # fmt: skip
    same_kind = name in MANTISSA or (isinstance(value, int) and not isinstance(value, bool) and name != "bool")
    if same_kind:
        least = -math.inf if name in MANTISSA else np.iinfo(name).min
        ways |= {
            "where": lambda: dl.where(mask, value, x)[0],
            "add": lambda: (x + value)[0],
            "add_": lambda: x.add_(value)[0],
            "maximum": lambda: dl.maximum(dl.full_like(x, least), value)[0],
        }
    way = draw.choice(sorted(ways))
    try:
        got = ways[way]()
    except OverflowError as error:
        if fits(value, name):
            return f"{way} of {value!r} into {name}: {error}"
        return None if "does not fit in" in str(error) else f"{way} of {value!r} into {name} says {error}"
    if not fits(value, name):
        return f"{way} of {value!r} into {name} gives {got}"
    want = converted(value, name)
    if way in ("add", "add_"):
        want = want + want.dtype.type(0)
    return None if same(got.numpy(), want) else f"{way} of {value!r} into {name} gives {got}, not {want}"


def cast(draw: random.Random) -> str | None:
    """An array of one dtype to another, or compared with a Python number."""
    import dlcore as dl

    source, target = draw.choice(NAMES), draw.choice(NAMES)
    values = [v for v in (some_number(draw) for _ in range(draw.choice((1, 5, 70)))) if fits(v, source)]
    array = np.array([converted(v, source) for v in values], NUMPY[source])
    x = dl.tensor(array)
    exact = [v.item() if source != "bfloat16" else float(v) for v in array]
    if draw.random() < 0.3:
        op, limit = draw.choice(("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")), some_number(draw)
        if source == "bool" or (isinstance(limit, float) and source not in MANTISSA) or not exact:
            return None
        if source in MANTISSA and finite(limit) and fits(limit, source):
            limit = rounded(limit, source)
        got = getattr(x, op)(limit).tolist()
        want = [getattr(Compared(v), op)(limit) for v in exact]
        return None if got == want else f"{source} {exact} {op} {limit!r} is {got}"
    want = np.array([cast_value(v, target) for v in exact], NUMPY[target])
    for what, got in (("astype", x.astype(target)), ("tensor", dl.tensor(array, dtype=target))):
        if not same(got.numpy(), want):
            return f"{what} of {source} {exact} to {target} gives {got.tolist()}, not {want.tolist()}"
    return None


class Compared:
    """A number that compares as Python's do, without NotImplemented."""

    def __init__(self, value: int | float):
        self.value = value

    def __lt__(self, other: Any) -> bool:
        return self.value < other

    def __le__(self, other: Any) -> bool:
        return self.value <= other

    def __gt__(self, other: Any) -> bool:
        return self.value > other

    def __ge__(self, other: Any) -> bool:
        return self.value >= other

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __ne__(self, other: object) -> bool:
        return self.value != other

    __hash__ = None  # type: ignore[assignment]


def cast_value(value: int | float, name: str) -> int | float | bool:
    """The rule for casts."""
    if name == "bool":
        return value != 0
    if name in MANTISSA:
        return rounded(value, name)
    limits = np.iinfo(NUMPY[name])
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        return limits.min if value < limits.min else limits.max if value > limits.max else math.trunc(value)
    return (int(value) - limits.min) % 2 ** (8 * NUMPY[name].itemsize) + limits.min


# ---- overlaps -----------------------------------------------------------------------------------------------------


def overlap(draw: random.Random) -> str | None:
    """A write through one view of an array from another one."""
    import dlcore as dl

    dtype = NUMPY[draw.choice(("uint8", "int16", "int64", "float32", "float64"))]
    base = np.arange(1, draw.choice((5, 12, 300, 70000)) + 1).astype(dtype)
    make = views(draw, base.size)
    if make is None:
        return None
    to, read, text = make
    expected = base.copy()
    target = to(expected)
    step = draw.choice(("setitem", "copy_", "add_", "sub_", "mul_", "minimum"))
    itself = overlapping(target)
    times = draw.choice((1, 1, 1, 3))
    if not itself:
        for _ in range(times):
            run_numpy(step, target, read(expected))
    memory = base.copy()
    if draw.random() < 0.5:
        one, two = dl.from_numpy(to(memory)), dl.from_numpy(read(memory))
    else:
        one, two = (dl_view(dl.from_numpy(memory), view(np.arange(memory.size))) for view in (to, read))
    call = lambda: run_dlcore(dl, step, one, two)  # noqa: E731
    if times > 1:
        call = dl.capture(call)
    try:
        for _ in range(times):
            try:
                call()
            except dl.CaptureError:
                continue  # the step has run
    except ValueError as error:
        return None if itself else f"{step} of {text}: {error}"
    if itself:
        return f"{step} of {text} wrote into memory that overlaps itself"
    if same(memory, expected):
        return None
    return f"{step} of {text} {dtype}, {times} times: {memory[:20]}, not {expected[:20]}"


def views(draw: random.Random, n: int) -> Any:
    """Two functions from an array of n elements to views of one shape, and how they look."""
    def stretch() -> tuple[int, int, int]:
        step = draw.choice((1, 1, 2, 3, -1, -2))
        length = max(1, (n - 1) // abs(step) - draw.randrange(3))
        reach = (length - 1) * abs(step)
        start = draw.randrange(n - reach)
        return (start if step > 0 else start + reach), step, length

    (a, s, k), (b, r, m) = stretch(), stretch()
    length = min(k, m)
    sides = [(a, s), (b, r)]
    side = math.isqrt(length)
    form = draw.choice(("line", "line", "square", "windows", "repeated")) if side > 1 else "line"

    def view(which: int) -> Any:
        start, step = sides[which]

        def of(x: Any) -> Any:
            line = x[start:] if step > 0 else x[start::-1]
            line = line[:: abs(step)][:length]
            if form == "line":
                return line
            square = line[: side * side].reshape(side, side)
            if form == "square":
                return square.T if which else square
            if which == 0 and form == "windows":
                return np.lib.stride_tricks.sliding_window_view(line, side, writeable=True)[: side // 2 + 1]
            if which == 0:
                return np.lib.stride_tricks.as_strided(line, (side // 2 + 1, side), (0, line.strides[0]))
            return square[: side // 2 + 1]

        return of

    return view(0), view(1), f"{form} of {length} from {sides}"


def overlapping(view: Any) -> bool:
    """Whether two elements of a view are one."""
    at = np.zeros((), np.int64)
    for n, s in zip(view.shape, view.strides, strict=True):
        at = at[..., None] + np.arange(n) * s
    return np.unique(at).size < at.size


def run_numpy(step: str, target: Any, source: Any) -> None:
    source = source.copy()  # of two lines with different steps NumPy's assignment itself reads what it has written
    if step in ("setitem", "copy_"):
        target[...] = source
    else:
        function = {"add_": np.add, "sub_": np.subtract, "mul_": np.multiply, "minimum": np.minimum}[step]
        with np.errstate(all="ignore"):
            function(target, source, out=target)


def run_dlcore(dl: Any, step: str, target: Any, source: Any) -> None:
    if step == "setitem":
        target[...] = source
    elif step == "minimum":
        dl.minimum.inplace(target, source)
    else:
        getattr(target, step)(source)


def dl_view(x: Any, positions: Any) -> Any:
    """The view of a tensor with one axis that has these positions, made by operations."""
    start, strides = int(positions.ravel()[0]), [s // positions.itemsize for s in positions.strides]
    if positions.ndim == 1:
        step = strides[0]
        stop = start + step * positions.size
        if step > 0:
            return x[start:stop:step]
        from dlcore.ops.slicing import slice as slice_view

        return slice_view(x, ((start, positions.size, step),))
    import dlcore as dl

    return dl.from_numpy(
        np.lib.stride_tricks.as_strided(x.numpy()[start:], positions.shape, [s * x.numpy().itemsize for s in strides])
    )
