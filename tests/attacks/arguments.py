"""Wrong arguments for every function: public functions, methods of tensors, operations that are not public, layers,
losses, optimizers, data sets, metrics, training, and the functions of the extension.

Valid arguments are mixed with other types, junk and extremes. A call may return, or raise an error that says which
argument of which function it does not take. It must never end the process, hang, write beyond memory, or raise an
internal error: a SystemError, an AttributeError and the like, or any error that Python, NumPy or the standard library
raises inside dlcore's code, where no `raise` statement of dlcore's stands behind it.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import operator
import os
import pickle
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from . import children

UNIT = "calls"
SMALL, LARGE = 20_000, 1_000_000
_CHUNK = 10_000


def attack(count: int, seed: int) -> Iterator[str]:
    """Runs ``count`` calls; each kind of violation is told once."""
    seen: set[str] = set()
    memory = 5 << 29  # bytes: absurd sizes must not take the machine down
    for line in children.violations(calls, count, seed, chunk=_CHUNK, seconds=240.0, memory=memory):
        kind = _kind(line)
        if kind not in seen:
            seen.add(kind)
            yield line


def _kind(line: str) -> str:
    """What is the same in violations that have one cause."""
    problem = line.split(" <- ")[0]
    return re.sub(r"\d+", "#", problem) if " at " not in problem else problem.rpartition(" at ")[2]


def calls(first: int, count: int, seed: int) -> list[str]:
    """What went wrong in these calls, a line each."""
    from dlcore import _C

    warnings.simplefilter("ignore")
    warnings.simplefilter("error", DeprecationWarning)
    targets = _targets()
    found: dict[str, str] = {}
    _C.set_guards(True)
    faults = _C.guard_faults()
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    for unit in range(first, first + count):
        children.mark(f"{unit} of seed {seed}")
        call = _call(targets, unit, seed)
        problem = _tried(call)
        if _C.guard_faults() > faults:
            faults = _C.guard_faults()
            problem = "memory around a tensor was written"
        if problem is not None:
            line = f"{call.target.name}: {problem} <- {call}, unit {unit} of seed {seed}"
            found.setdefault(_kind(line), line)
    return list(found.values())


def replay(unit: int, seed: int) -> None:
    """Makes one call of the attack again, with its error as Python shows it; in a child that died it was the last."""
    call = _call(_targets(), unit, seed)
    print(call, flush=True)
    print(call.run())


# ---- a call ---------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A function with valid arguments for it."""

    name: str
    function: Callable[..., Any]
    valid: list[tuple[list[Any], dict[str, Any]]]
    heads: tuple[str, ...] = ()
    """What an error may begin with, beside the name; empty: anything."""


class Call(NamedTuple):
    """A target with arguments."""

    target: Target
    args: list[Any]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """What the function returns; a generator is gone through."""
        result = self.target.function(*self.args, **self.kwargs)
        if hasattr(type(result), "__next__"):
            for _ in zip(range(3), result, strict=False):
                continue
        return result

    def __str__(self) -> str:
        shown = [*map(_shown, self.args), *(f"{k}={_shown(v)}" for k, v in self.kwargs.items())]
        return f"{self.target.name}({', '.join(shown)})"


def _shown(value: Any) -> str:
    import dlcore as dl

    if isinstance(value, dl.Tensor):
        note = ", requires_grad=True" if value.requires_grad else ""
        return f"<{value.dtype.name} {value.shape} {value.strides}{note}>"
    if isinstance(value, np.ndarray):
        return f"<array {value.dtype} {value.shape}>"
    if type(value) in (list, tuple):
        return (
            f"{'[' if type(value) is list else '('}{', '.join(map(_shown, value))}{']' if type(value) is list else ')'}"
        )
    if type(value) is int and value.bit_length() > 200:
        return f"10**{len(hex(value)) - 2}"
    if type(value) in (bool, int, float, complex, str, bytes, dict, slice, type(None), type(...)):
        return repr(value)[:60]
    methods = [
        n for n in vars(type(value)) if n.startswith("__") and n not in ("__module__", "__dict__", "__weakref__")
    ]
    return (
        f"<{type(value).__name__}>"
        if type(value).__name__ not in ("Raises", "Returns")
        else f"<{type(value).__name__} {methods}>"
    )


def _call(targets: list[Target], unit: int, seed: int) -> Call:
    """The call of this number: valid arguments of which none, one or a few are changed."""
    from .junk import fresh, junk, mutated

    draw = Random(seed << 40 | unit)
    target = draw.choice(targets)
    args, kwargs = fresh(draw.choice(target.valid))
    args, kwargs = list(args), dict(kwargs)
    if draw.random() < 0.2:
        args = [a.requires_grad_() if _is_float_tensor(a) else a for a in args]
    for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        names = [*range(len(args)), *kwargs]
        if names and draw.random() < 0.88:
            at = draw.choice(names)
            holder: Any = kwargs if isinstance(at, str) else args
            holder[at] = mutated(holder[at], draw)
        else:
            how = draw.randrange(3)
            if how == 0:
                args.append(junk(draw))
            elif how == 1:
                kwargs[draw.choice(("axes", "dim", "x", "dtyp", "out", "axis", "shape", "dtype"))] = junk(draw)
            elif args:
                args.pop()
    return Call(target, args, kwargs)


def _is_float_tensor(value: Any) -> bool:
    import dlcore as dl

    return isinstance(value, dl.Tensor) and value.dtype.is_float and value.is_leaf


# ---- what an error may be -------------------------------------------------------------------------------------------

_OWN = os.path.dirname(os.path.abspath(__file__))
_NEVER = (AttributeError, NameError, AssertionError, SystemError, RecursionError, SyntaxError, Warning, ImportError)
_KINDS = (TypeError, ValueError, IndexError, OverflowError, MemoryError, RuntimeError, BufferError, OSError, KeyError)
# What Python says of a call itself, before any code of dlcore runs.
_PYTHON = re.compile(
    r"[\w.<>]+\(\) (missing|takes|got|argument after|keywords must)|unsupported operand|'.+' not supported between"
    r"|bad operand type|'[\w.]+' object (is not|does not)|__\w+__ (returned|method)|(object|\w+) of type '\w+' has no"
    r"|[\w.]+ expected (at (least|most) )?\d+ argument|expected at most|must be (str|called)|function (missing|takes)"
    r"|can only concatenate|Cannot compare|cannot convert float|can't (multiply|concat)|descriptor|keyword argument"
    r"|len\(\) of|.*(required|positional) argument|.* exactly one argument|attribute name must"
)
_BOUND = re.compile(r"([A-Za-z]\w*\.)?([A-Za-z]\w*|__init__)\(\) (missing|takes|got)")
_HEAD = re.compile(
    r"[A-Za-z_][\w.]*(\[[^\]]*\])?(\([^)]*\))?:|the truth of a tensor|(len\(\) of|iteration over) a 0-d tensor"
    r"|out of memory: |a tensor of |elements of a tensor cannot be deleted"
)


def _tried(call: Call) -> str | None:
    """What is wrong with how a call ended, or None."""
    from .junk import OwnError

    try:
        result = call.run()
        _used(result)
    except OwnError:
        return None
    except Exception as error:
        return _judged(error, call)
    return None


def _used(result: Any) -> None:
    """Where a result is a tensor it must be in good order, and have a gradient where it says so."""
    import dlcore as dl

    if isinstance(result, dl.Tensor):
        if result.size and result.size < 10_000:
            result.numpy().tobytes()
        if result.requires_grad and not result.is_leaf and result.size < 10_000:
            result.sum().backward()


def _judged(error: Exception, call: Call) -> str | None:
    from dlcore.errors import CaptureError

    text, where = str(error.args[0] if isinstance(error, KeyError) else error), _origin(error.__traceback__)
    told = f"{type(error).__name__}: {text[:200]!r}" + (f" at {where.place}" if where.place else "")
    if where.kind == "own" or (call.target.name == "setattr" and isinstance(error, AttributeError)):
        return None
    if isinstance(error, _NEVER) and not (where.kind == "call" and isinstance(error, Warning)):
        return told
    if not isinstance(error, _KINDS) and where.kind != "call":
        return told
    if where.kind == "outside":
        return f"not dlcore's own error: {told}"
    if where.kind == "call":
        known = (
            isinstance(error, MemoryError)
            or _HEAD.match(text)
            or _PYTHON.match(text)
            or call.target.name.startswith("_C.")
        )
        return None if known else f"names no function: {told}"
    if isinstance(error, BufferError) and call.target.name in ("dl.from_dlpack", "dl.asarray"):
        return None  # what the other library says
    given = call.target.name in ("fit", "evaluate", "predict") and _PYTHON.match(text)
    if given:
        return None  # what a function that was given says
    if _BOUND.match(text):  # a public function's own arguments
        return None
    if where.kind == "inside" and (not _HEAD.match(text) or _PYTHON.match(text)):
        return f"raised inside: {told}"
    if not _HEAD.match(text):
        return f"names no function: {told}"
    heads = call.target.heads and (*call.target.heads, "backward")
    if heads and not isinstance(error, MemoryError | CaptureError) and re.split(r"[:(\[]", text)[0] not in heads:
        return f"names another function than {heads[0]}: {told}"
    return None


class _Origin(NamedTuple):
    """Where an error comes from. ``kind``: the "call" itself, the attack's "own" objects, a `raise` of dlcore's
    ("raised"), something that dlcore's Python called or did ("inside"), or other Python code ("outside")."""

    kind: str
    place: str = ""


def _origin(tb: TracebackType | None) -> _Origin:
    last = None
    while tb is not None:
        last, tb = tb, tb.tb_next
    if last is None:
        return _Origin("call")
    code, file = last.tb_frame.f_code, last.tb_frame.f_code.co_filename
    if file.startswith(_OWN):
        return _Origin("own" if os.path.basename(file) == "junk.py" else "call")
    place = f"{os.path.relpath(file, os.path.dirname(os.path.dirname(_OWN)))}:{last.tb_lineno} in {code.co_name}"
    if f"{os.sep}dlcore{os.sep}" not in file:
        return _Origin("outside", place)
    name = dis.opname[code.co_code[last.tb_lasti]]
    return _Origin("raised" if name in ("RAISE_VARARGS", "RERAISE") else "inside", place)


# ---- what is called -------------------------------------------------------------------------------------------------


def _targets() -> list[Target]:
    """Everything, with valid arguments; rows and what has many forms stand in the list more than once."""
    return [*_rows(), *_functions(), *_methods(), *_operators(), *_layers(), *_upper(), *_extension()]


def _rows() -> Iterator[Target]:
    """Every operation, public or not, as a function, in place, and as a method of tensors."""
    import dlcore as dl
    from dlcore.op import lengths_of
    from dlcore.ops import operations

    from .junk import T

    for op in operations():
        valid = []
        smallest = sorted(op.sample_inputs(), key=lambda s: s.size)[:12]
        samples = [s for s in smallest if s.size < 3000] or smallest[:2]
        for sample in samples:
            operands = op.signature.operands
            inputs = op.nested(sample.arrays(op.name, operands), lengths_of(sample.inputs, operands))
            valid.append(([_as_tensors(v, T) for v in inputs], dict(sample.attrs)))
            valid.append(([*valid[-1][0], *sample.attrs.values()], {}))
        heads = (op.name, *_ROW_HEADS.get(op.name, ()))
        yield Target(op.name, op.call, valid, heads)
        yield Target(f"{op.name}.inplace", op.call.inplace, [(a, {}) for a, k in valid if not k], ())
        if hasattr(dl.Tensor, op.name):
            yield Target(
                f"Tensor.{op.name}", partial(_method, op.name), [v for v in valid if isinstance(v[0][0], T)], heads
            )


_ROW_HEADS = {"ravel_index": ("getitem",), "nonzero": ("nonzero_sized", "count_nonzero"), "transfer": ("device",)}


def _as_tensors(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return [_as_tensors(v, kind) for v in value]
    return (
        kind(value.astype(np.float32) if value.dtype == np.float64 else value)
        if isinstance(value, np.ndarray)
        else value
    )


def _method(name: str, x: Any, *args: Any, **kwargs: Any) -> Any:
    """``x.name(...)``, where x is a tensor at all."""
    import dlcore as dl

    return getattr(x, name)(*args, **kwargs) if isinstance(x, dl.Tensor) else None


def _listed(space: Any, prefix: str, table: dict[str, list[tuple[Any, ...]]], named: bool = True) -> Iterator[Target]:
    """Targets from a table: name -> tuples of arguments, of which a last dict is the keywords."""
    for name, calls in table.items():
        valid = [(list(c[:-1]), c[-1]) if c and type(c[-1]) is dict else (list(c), {}) for c in calls]
        function = operator.attrgetter(name)(space)
        yield Target(prefix + name, function, valid, (name.rpartition(".")[2],) if named else ())


def _functions() -> Iterator[Target]:
    """The functions that are written in Python."""
    import dlcore as dl

    from .junk import T

    x, labels = T(np.arange(6, dtype=np.float32).reshape(2, 3)), T(np.array([0, 1]))
    grown = T(np.ones((2, 3), np.float32), grad=True)
    table: dict[str, list[tuple[Any, ...]]] = {
        "arange": [(5,), (1, 7, 2), (0.0, 1.0, 0.1, "float64", "cpu")],
        "asarray": [([1.0, 2.0],), (x,), (np.ones(3, np.float32), "float64")], "astype": [],
        "addcdiv": [(x, x, 2.0), (x, 1.0, x, 3)], "addcmul": [(x, x, 2.0), (x, 1.0, x, 3)],
        "div": [(x, 2.0), (x, x, "floor"), (x, 3, {"rounding_mode": "trunc"})],
        "float_power": [(x, 2), (2.0, x)], "polygamma": [(1, x), (0, x)],
        "concat": [([x, x], 1)], "device": [("cpu",)], "dropout": [(x, 0.5), (x, 0.1, None)],
        "empty": [((2, 3), "float32", "cpu", False), (4,)], "empty_like": [(x,), (x, "int64")],
        "eye": [(3,), (2, 3, "float32")], "flatten": [(x, 0, 1), (x,)], "from_dlpack": [(np.ones(3, np.float32),)],
        "from_numpy": [(np.ones((2, 3), np.float32),)],
        "full": [((2, 3), 1.5, "float32", "cpu", True), (3, 2), ((), x)],
        "full_like": [(x, 2.0), (x, 1, "int64")], "linspace": [(0, 1, 5), (0.0, 2.0, 3, "float64")],
        "ones": [(2, 3), ((2, 3), {"dtype": "int64"})], "ones_like": [(x,)],
        "rand": [(2, 3), ((4,), {"dtype": "float64"})],
        "randint": [(10,), (0, 10, (2, 3)), (-5, 5, 4, "int8")], "randn": [(2, 3), (5, {"requires_grad": True})],
        "randperm": [(7,)], "squeeze": [(x,), (T(np.ones((1, 3), np.float32)), 0)],
        "stack": [([x, x], 0), ((x, x, x), -1)],
        "tensor": [([1.0, 2.0],), (x,), ([[1, 2], [3, 4]], "float32", True, "cpu"), (3,)],
        "transpose": [(x, 0, 1), (x,)], "unsqueeze": [(x, 1), (x, -1)],
        "zeros": [(2, 3), ((2, 3), {"requires_grad": True})],
        "zeros_like": [(x,), (x, "float64")], "manual_seed": [(3,)],
        "grad": [(T(1.0, True), [grown]), (grown, grown, T(np.ones((2, 3), np.float32)), {"allow_unused": True})],
        "set_default_device": [("cpu",)], "synchronize": [(), ("cpu",)], "no_grad": [()], "enable_grad": [()],
        "cross_entropy": [(x, labels), (x, labels, None, -100, 0.1, "sum")],
    }  # fmt: skip
    del table["astype"]
    free = ("no_grad", "enable_grad", "grad", "tensor", "asarray", "from_dlpack", "set_default_device", "synchronize")
    for target in _listed(dl, "dl.", table):
        head = target.heads[0]
        more = ("device", "generator", "requires_grad", "tensor", "assign", "permutation", "backward")
        yield target._replace(heads=() if head in free else (head, *more))
    state = T(np.array([3, 0]))
    sampled: dict[str, list[tuple[Any, ...]]] = {
        "uniform": [((2, 3),), (4, -1.0, 1.0, "float64", "cpu")], "normal": [((2, 3), 0.0, 1.0)], "permutation": [(5,)],
        "bernoulli": [((2, 3), 0.3)], "default_generator": [(), ("cpu",)], "Generator": [(3,), (3, "cpu")],
    }  # fmt: skip
    for target in _listed(dl.random, "random.", sampled):
        yield target._replace(heads=(*target.heads, "device", "generator", "manual_seed"))
    yield Target("set_state", lambda s: dl.random.Generator(1).set_state(s), [([state], {})])
    numpy: dict[str, list[tuple[Any, ...]]] = {
        "sum": [(x,)], "mean": [(x, 0)], "concatenate": [([x, x],)], "exp": [(x,)], "asarray": [(x,)],
        "stack": [([x, x],)],
        "add": [(x, x)], "dot": [(x, x)], "max": [(x,)], "reshape": [(x, (3, 2))],
    }  # fmt: skip
    for name, arguments in numpy.items():
        for args in arguments:
            yield Target(f"np.{name}", partial(_numpy, name), [(list(args), {})])


def _numpy(name: str, *args: Any, **kwargs: Any) -> Any:
    """NumPy's function of tensors: what it raises is NumPy's business, dying is not."""
    try:
        return getattr(np, name)(*args, **kwargs)
    except (SystemError, AssertionError, RecursionError):
        raise
    except Exception:
        return None


def _methods() -> Iterator[Target]:
    """The methods of tensors that are no operations."""
    from .junk import T

    x, y = T(np.arange(6, dtype=np.float32).reshape(2, 3)), T(np.ones((2, 3), np.float32))
    table: dict[str, list[tuple[Any, ...]]] = {
        "add_": [(x, y), (x, 2)], "sub_": [(x, y)], "mul_": [(x, 2.0)], "div_": [(x, 2)], "fill_": [(x, 1.5)],
        "zero_": [(x,)],
        "copy_": [(x, y), (x, [1, 2, 3])], "astype": [(x, "int64")], "to": [(x, "cpu"), (x, "cpu", "float64")],
        "reshape": [(x, 3, 2), (x, (-1, 2)), (x, [6])], "permute": [(x, 1, 0), (x, (1, 0))],
        "expand": [(y, 4, 2, 3), (y, (2, 2, 3))], "backward": [(x, y), (T(1.0, True),), (y, y, {"retain_graph": True})],
        "requires_grad_": [(x,), (x, False)], "numpy": [(x,)], "tolist": [(x,)], "item": [(T(3),)], "detach": [(x,)],
        "clone": [(x,)], "contiguous": [(x,)], "cpu": [(x,)], "float": [(x,)], "flatten": [(x, 0, 1)],
        "squeeze": [(x, ())], "transpose": [(x, 0, 1)],
        "unsqueeze": [(x, 0)], "clip": [(x, 0, 1)],
    }  # fmt: skip
    aliases = {
        "add_": "add", "sub_": "sub", "mul_": "mul", "div_": "div", "fill_": "assign", "zero_": "assign",
        "copy_": "assign",
    }  # fmt: skip
    for name, arguments in table.items():
        valid = [(list(c[:-1]), c[-1]) if type(c[-1]) is dict else (list(c), {}) for c in arguments]
        heads: tuple[str, ...] = (
            name,
            aliases.get(name, name),
            "device",
            "index",
            "transfer",
            "slice",
            "setitem",
            "requires_grad",
        )
        yield Target(f"Tensor.{name}", partial(_method, name), valid, () if name in ("backward", "to") else heads)
    yield Target("setattr", partial(_with_tensor, setattr), [([x, "grad", y], {}), ([x, "requires_grad", True], {})])
    yield Target("Parameter", _dl("Parameter"), [([x], {}), ([x, False], {})], ("Parameter",))
    yield Target("Tensor", _dl("Tensor"), [([x], {})], ())


def _dl(name: str) -> Any:
    import dlcore as dl

    return operator.attrgetter(name)(dl)


def _operators() -> Iterator[Target]:
    """Operators, indexing and conversions."""
    from .junk import T

    x, y = T(np.arange(6, dtype=np.float32).reshape(2, 3)), T(np.ones((2, 3), np.float32))
    pairs = {
        "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder",
        "pow": "pow", "matmul": "matmul", "and_": "bitwise_and", "or_": "bitwise_or", "xor": "bitwise_xor",
        "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "iand": "bitwise_and", "ior": "bitwise_or",
        "ixor": "bitwise_xor", "ilshift": "bitwise_left_shift", "irshift": "bitwise_right_shift", "lt": "lt",
        "ifloordiv": "floor_divide", "imod": "remainder",
        "le": "le", "eq": "eq", "ne": "ne", "gt": "gt", "ge": "ge", "iadd": "add", "isub": "sub", "imul": "mul",
        "itruediv": "div", "ipow": "pow",
    }  # fmt: skip
    for name, row in pairs.items():
        valid: list[tuple[list[Any], dict[str, Any]]] = [
            ([x, y], {}),
            ([x, 2], {}),
            ([2.0, x], {}),
            ([np.ones(3), x], {}),
        ]
        reflected = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}.get(row, row)
        yield Target(name, partial(_with_tensor, getattr(operator, name)), valid, (row, reflected, "assign"))
    for name in ("neg", "pos", "abs", "invert", "index", "truth"):
        yield Target(name, partial(_with_tensor, getattr(operator, name)), [([x], {}), ([T(3)], {})])
    for kind in (int, float, bool, complex, len, list, iter, repr, str, hash, copy.deepcopy, pickle.dumps):
        one = lambda a, *more, _kind=kind: _with_tensor(_kind, a)  # noqa: E731
        yield Target(kind.__name__, one, [([x], {}), ([T(3)], {})])
    yield Target("contains", partial(_with_tensor, operator.contains), [([x, 3], {})], ("eq",))
    indices = [
        0,
        -1,
        slice(0, 1),
        (0, 1),
        None,
        ...,
        [0, 1],
        T([0, 1]),
        T([True, False]),
        (slice(None), [0, 2]),
        ([0], [1]),
    ]
    for _ in range(4):
        yield Target("getitem", partial(_with_tensor, operator.getitem), [([x, i], {}) for i in indices], ("getitem",))
        values = [1.0, T(np.ones(3, np.float32)), [1, 2, 3], np.ones(3)]
        chosen: list[tuple[list[Any], dict[str, Any]]] = [([x, i, v], {}) for i in indices for v in values]
        yield Target("setitem", partial(_with_tensor, operator.setitem), chosen, ("setitem", "assign"))


def _with_tensor(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An operator, where one of its first two operands is a tensor: others have nothing to do with dlcore."""
    import dlcore as dl

    there = [isinstance(a, dl.Tensor) for a in args[:2]]
    first = (
        function in (operator.getitem, operator.setitem, operator.contains, setattr)
        or len(args) == 1
        or function.__name__[0] == "i"
    )
    if kwargs or not any(there) or (first and not there[0]) or isinstance(args[0], np.ma.MaskedArray | np.matrix):
        return None
    return function(*args)


def _layers() -> Iterator[Target]:
    """Modules made and called, and the initialisers."""
    import dlcore as dl

    from .junk import T

    nn = dl.nn
    x, labels = T(np.ones((4, 3), np.float32)), T(np.array([0, 1, 2, 0]))
    made: dict[str, list[tuple[Any, ...]]] = {
        "Linear": [(3, 2), (3, 2, True, "cpu", "float32")], "GELU": [("tanh",)], "Softmax": [(-1,)],
        "LogSoftmax": [(1,)],
        "Flatten": [(1, -1)], "Dropout": [(0.5,)], "CrossEntropyLoss": [(None, -100, "mean", 0.1)],
        "MSELoss": [("sum",)],
        "ReLU": [()], "Identity": [()], "Sequential": [()], "MultiheadAttention": [(3, 1, 0.1, True, True, True)],
        "TransformerEncoderLayer": [(3, 3, 4, 0.1, "gelu")], "TransformerDecoderLayer": [(3, 1, 4)],
        "Transformer": [(3, 1, 1, 1, 4)],
    }  # fmt: skip
    alike = {"MSELoss": 2, "MultiheadAttention": 3, "TransformerDecoderLayer": 2, "Transformer": 2}
    for target in _listed(nn, "nn.", made, named=False):
        yield target
        layer = target.name.removeprefix("nn.")
        operands: list[Any] = [x, labels] if "Entropy" in layer else [x] * alike.get(layer, 1)
        for args, kwargs in target.valid:
            yield Target(f"{target.name}()()", partial(_made, target.function, args, kwargs), [(operands, {})])
    init: dict[str, list[tuple[Any, ...]]] = {
        "uniform_": [(x, -1.0, 1.0)], "normal_": [(x, 0.0, 1.0)], "constant_": [(x, 2.0)], "zeros_": [(x,)],
        "ones_": [(x,)],
        "xavier_uniform_": [(x, 1.0)], "xavier_normal_": [(x, 1.0)], "calculate_gain": [("leaky_relu", 0.1)],
        "kaiming_uniform_": [(x, 0.0, "fan_in", "relu")], "kaiming_normal_": [(x, 0.1, "fan_out", "leaky_relu")],
    }  # fmt: skip
    for target in _listed(nn.init, "init.", init):
        yield target._replace(heads=(*target.heads, "calculate_gain"))
    model = lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))  # noqa: E731
    methods: dict[str, list[list[Any]]] = {
        "train": [[True]], "eval": [[]], "requires_grad_": [[False]], "to": [["cpu"], ["float64"]], "zero_grad": [[]],
        "load_state_dict": [[{"0.weight": np.ones((4, 3), np.float32)}, False]],
        "register_buffer": [["mean", x, True]], "__getitem__": [[0], [slice(0, 1)]], "append": [[None]],
        "forward": [[x]],
        "__setitem__": [[0, None]], "named_parameters": [["a", True]], "parameters": [[True]], "extra_repr": [[]],
    }  # fmt: skip
    for name, arguments in methods.items():
        call = lambda *args, _name=name, **kwargs: getattr(model(), _name)(*args, **kwargs)  # noqa: E731
        yield Target(f"Sequential.{name}", call, [(a, {}) for a in arguments])


def print_nothing(*args: Any) -> None:
    """A function that does nothing."""


def _made(cls: Any, args: list[Any], kwargs: dict[str, Any], *operands: Any, **more: Any) -> Any:
    return cls(*args, **kwargs)(*operands, **more)


def _upper() -> Iterator[Target]:
    """Optimizers, data sets, metrics, training."""
    import dlcore as dl

    from .junk import T

    p, x = T(np.ones(3, np.float32), grad=True), np.ones((6, 3), np.float32)
    y, few = np.array([0, 1, 0, 1, 0, 1]), np.ones((4, 2), np.float32)
    made: dict[str, list[tuple[Any, ...]]] = {
        "optim.SGD": [([p], 0.1), ([p], 0.1, 0.9, 0.0, 0.01, True, False), ([{"params": [p], "lr": 0.1}],)],
        "optim.Adam": [([p], 0.1, (0.9, 0.999), 1e-8, 0.0, False)], "optim.AdamW": [([p],)],
        "optim.clip_grad_norm_": [([p], 1.0, 2.0)], "data.TensorDataset": [(x, y)], "data.Subset": [(x, [0, 1])],
        "data.ImageDataset": [(np.zeros((4, 2, 2), np.uint8), np.arange(4))], "data.Normalize": [(0.5, 2.0)],
        "data.random_split": [(x, [4, 2], 0), (x, [0.5, 0.5])], "metrics.get": [("accuracy",)],
        "metrics.TopK": [(2,)], "metrics.accuracy": [(few, np.array([0, 1, 0, 1]))], "metrics.mse": [(few, few)],
        "metrics.mae": [(few, few)], "metrics.r2": [(few, few)],
        "metrics.confusion_matrix": [(few, np.array([0, 1, 0, 1]))],
        "metrics.Meter": [(["accuracy"],)], "train.EarlyStopping": [(5, "loss", True, 0.0, "min")],
        "train.Checkpoint": [("path", True, "loss", "min", False)], "train.LearningRate": [(print_nothing,)],
    }  # fmt: skip
    yield from _listed(dl, "", made, named=False)

    def step(cls: Any, *args: Any, **kwargs: Any) -> Any:
        optimizer = cls([dl.nn.Parameter(dl.ones(3))], *args, **kwargs)
        for q in optimizer.param_groups[0]["params"]:
            q.grad = dl.ones(3)
        optimizer.step()
        return optimizer

    def setting(name: Any, value: Any) -> None:
        step(dl.optim.SGD, 0.1).param_groups[0][name] = value

    yield Target("SGD.step", partial(step, dl.optim.SGD), [([0.1, 0.9], {}), ([0.1], {"weight_decay": 0.1})])
    yield Target("Adam.step", partial(step, dl.optim.Adam), [([0.1, (0.9, 0.99)], {})])
    yield Target("Group.__setitem__", setting, [(["lr", 0.2], {}), (["momentum", 0.0], {})])
    state = lambda value: step(dl.optim.SGD, 0.1).load_state_dict(value)  # noqa: E731
    yield Target("load_state_dict", state, [([{"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}], {})])

    def batches(*args: Any, **kwargs: Any) -> list[Any]:
        return [b for b, _ in zip(dl.data.DataLoader(*args, **kwargs), range(3), strict=False)]

    loaded = [([(dl.data.TensorDataset(x, y)), 2, True, 0, False], {})]
    yield Target("DataLoader", batches, loaded)

    def fit(*args: Any, **kwargs: Any) -> Any:
        model = dl.nn.Linear(3, 2)
        with contextlib.suppress(TypeError, ValueError):
            if operator.index(kwargs.get("epochs")) > 2:  # as many as are asked for are not wrong
                kwargs["epochs"] = 2
        defaults = {"loss": dl.cross_entropy, "optimizer": dl.optim.SGD(model.parameters(), 0.1), "epochs": 1}
        return dl.fit(model, *args, **{**defaults, "progress": False, **kwargs})

    keywords = {
        "metrics": ["accuracy"],
        "callbacks": [],
        "batch_size": 3,
        "seed": 0,
        "clip_norm": None,
        "shuffle": True,
    }
    fits: list[tuple[list[Any], dict[str, Any]]] = [
        ([(x, y)], keywords),
        ([(x, y), (x, y)], {"epochs": 1, "transform": None}),
    ]
    yield Target("fit", fit, fits)
    scored = lambda *args, **kwargs: dl.evaluate(dl.nn.Linear(3, 2), *args, **kwargs)  # noqa: E731
    yield Target("evaluate", scored, [([(x, y)], {"metrics": ["accuracy"], "loss": dl.cross_entropy, "batch_size": 4})])
    guessed = lambda *args, **kwargs: dl.predict(dl.nn.Linear(3, 2), *args, **kwargs)  # noqa: E731
    yield Target("predict", guessed, [([x], {"batch_size": 4, "transform": None})])


def _extension() -> Iterator[Target]:
    """What the extension offers to dlcore's own code."""
    import dlcore as dl
    from dlcore import _C

    from .junk import T

    x, y = T(np.arange(6, dtype=np.float32).reshape(2, 3)), T(np.ones((2, 3), np.float32), grad=True)
    table: dict[str, list[tuple[Any, ...]]] = {
        "as_tensor": [([1.0], "name", "operand"), (2, "name", "operand", x)], "empty": [((2, 3), dl.float32, 0)],
        "full": [((2, 3), 1.5, dl.float32, 0)], "reinterpret": [(x, dl.int32)],
        "wrap": [(np.ones(3, np.float32), dl.float32)],
        "copy_memory": [(x, T(np.zeros((2, 3), np.float32)))], "to_dlpack": [(x, True, False, -1)], "lend": [(x,)],
        "is_recording": [()],
        "backward": [((y,), (x,), None, False, False), ((y,), (x,), (y,), True, True, 0)], "newest_node": [()],
        "thread_count": [()], "memory_stats": [()], "kernel_names": [()], "isa": [()], "Function": [(dl.add.op,)],
        "TensorBase": [(x,)], "is_grad_enabled": [()],
    }  # fmt: skip
    yield from _listed(_C, "_C.", table, named=False)


if __name__ == "__main__":
    replay(int(sys.argv[1]), int(sys.argv[2]))
