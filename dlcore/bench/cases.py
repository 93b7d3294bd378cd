"""What is timed: a case for each size, dtype and mode of a row, and a few programs, which cost what their calls do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore import testing
from dlcore._rows import families
from dlcore.dtypes import DType, as_dtype
from dlcore.op import Op, Operand, Size, Spec

__all__ = ["MODES", "PROGRAMS", "Case", "Program", "cases"]

MODES = ("forward", "tracked", "both")  # "tracked": forward with operands that need gradients; "both": and backward


@dataclass(frozen=True)
class Case:
    """A row at one size, in one dtype, forward or forward and backward."""

    op: Op
    size: Size
    dtype: DType
    mode: str = "forward"

    @property
    def name(self) -> str:
        """The same in every run: "softmax 4096x1000 float32 forward"."""
        return " ".join((self.op.name, self.shape, self.dtype.name, self.mode))

    @property
    def shape(self) -> str:
        """Operands and attributes: "4096x1000, 4096 mean"."""
        sides = [s for s in map(_side, self.size.operands) if s]
        text = " @ ".join(sides[:3]) + (f" + {len(sides) - 3} more" if len(sides) > 3 else "")
        given = [str(a) for a, d in zip(self.size.attrs, self.op.attrs.values(), strict=False) if a != d]
        return " ".join([text or "scalar", *given])

    @property
    def specs(self) -> list[Spec | None]:
        """The operands, promoted."""
        given = [_spec(x, self.dtype) for x in self.size.operands]
        targets = self.op.promote(given) if self.op.promote else [None] * len(given)
        return [s if s is None or d is None else s._replace(dtype=d) for s, d in zip(given, targets, strict=True)]

    @property
    def attrs(self) -> tuple[Any, ...]:
        """All attributes, defaults too."""
        return (*self.size.attrs, *tuple(self.op.attrs.values())[len(self.size.attrs) :])

    @property
    def work(self) -> tuple[float, float]:
        """FLOPs, and bytes that must move, of the forward."""
        if self.op.cost is None:
            return 0.0, float(self.bytes)
        flops, moved = self.op.cost(*self.specs, *self.attrs)
        return float(flops), float(moved)

    @property
    def bytes(self) -> int:
        """Of the operands and, where it can be said, of the results: what a call touches."""
        specs = [s for s in self.specs if s is not None]
        if not self.op.dynamic:
            made = self.op.infer(*self.specs, *self.attrs)
            specs += [s for s in ([made] if isinstance(made, Spec) else made) if s is not None]
        return sum(math.prod(s.shape) * s.dtype.itemsize for s in specs)

    @property
    def families(self) -> set[str]:
        """The families of its kernels."""
        return families(self.op)

    @property
    def peers(self) -> Mapping[str, str | tuple[str, str]]:
        """The row's peers."""
        return self.op.peers

    @property
    def leaves(self) -> list[int]:
        """Positions of the operands that gradients are wanted of."""
        floats = (x for x in enumerate(self.specs) if x[1] is not None and x[1].dtype.is_float and not x[1].weak)
        return [k for k, _ in floats] if self.mode != "forward" else []

    @property
    def written(self) -> int | None:
        """Position of the first operand that a call changes in place."""
        return next(iter(testing.written(self.op, len(self.size.operands), self.attrs)), None)

    def dout(self) -> np.ndarray[Any, Any]:
        """A random gradient of the (first) result; of a single number, as a loss is, 1."""
        made = self.op.infer(*self.specs, *self.attrs)
        first = made if isinstance(made, Spec) else made[0]
        assert first is not None
        if first.shape == ():
            return np.ones((), first.dtype.numpy)
        return np.asarray(np.random.default_rng(1).standard_normal(first.shape)).astype(first.dtype.numpy)

    def arrays(self) -> list[Any]:
        """Random operands: NumPy arrays, numbers and None; the same for the same case."""
        rng = np.random.default_rng(0)
        return [_drawn(x, self.dtype, rng) for x in self.size.operands]


@dataclass(frozen=True)
class Program:
    """A statement as one writes it, timed after ``setup`` (for all engines, or engine -> its own); ``check``: what is
    evaluated once and compared across engines (default: the statement); ``own``: the engine that stands for dlcore.

    Names: ``lib`` (the engine's module), ``F``, ``nn``, ``optim``, ``tensor`` and ``normal(*shape)``, which draws.
    """

    name: str
    setup: str | Mapping[str, str]
    stmt: str
    check: str = ""
    engines: tuple[str, ...] = ("dlcore", "torch")
    own: str = "dlcore"
    flops: float = 0.0
    bytes: float = 0.0


_PAIR = "a, b = (tensor(normal(8), requires_grad={}) for _ in range(2))"
_CHAIN = """
x = tensor(normal(8), requires_grad=True)
def chain():
    x.grad, y = None, x
    for _ in range(10):
        y = y + x
    y.sum().backward()
    return x.grad
"""
PROGRAMS = (
    Program("a + b, 8 elements", _PAIR.format(False), "a + b"),
    Program("a + b, 8 elements, with gradient", _PAIR.format(True), "a + b"),
    Program("10 adds, sum, backward", _CHAIN, "chain()"),
)


def _operand(x: Any) -> Operand | None:
    return x if isinstance(x, Operand) else Operand(x) if isinstance(x, tuple) else None


def _side(x: Any) -> str:
    described = _operand(x)
    shape = described.shape if described else x.shape if isinstance(x, np.ndarray) else None
    stored = "T" if described and described.transposed else ""
    return "" if not shape else "x".join(map(str, shape)) + stored


def _spec(x: Any, dtype: DType) -> Spec | None:
    described = _operand(x)
    if described is not None:
        return Spec(described.shape, described.dtype or dtype)
    if isinstance(x, np.ndarray):
        return Spec(x.shape, as_dtype(x.dtype))
    return None if x is None else Spec((), as_dtype(type(x)), True)


def _drawn(x: Any, dtype: DType, rng: np.random.Generator) -> Any:
    described = _operand(x)
    if described is None:
        return x
    shape, low, high, own, transposed = described
    dtype = own or dtype
    if transposed:
        stored = Operand((*shape[:-2], shape[-1], shape[-2]), low, high, dtype)
        return np.swapaxes(_drawn(stored, dtype, rng), -1, -2)
    if dtype.kind == "bool":
        return rng.random(shape) < 0.5
    if not dtype.is_float:
        return rng.integers(int(low or 0), int(high or 100), shape).astype(dtype.numpy)
    wide = np.float64 if dtype.itemsize == 8 else np.float32
    values = rng.standard_normal(shape, wide)
    if low is not None or high is not None:
        values = rng.random(shape, wide) * wide((high or 0.0) - (low or 0.0)) + wide(low or 0.0)
    return np.asarray(values).astype(dtype.numpy)


# ---- choosing -----------------------------------------------------------------------------------------------------


def cases(
    ops: Sequence[Op], dtypes: Sequence[DType] = (), modes: Sequence[str] = MODES, device: str = "cpu"
) -> list[Case]:
    """The cases of some rows: every size in every dtype asked for that the row claims, in every mode that it has."""
    return [case for op in ops for case in _cases(op, dtypes, modes, device)]


def _cases(op: Op, dtypes: Sequence[DType], modes: Sequence[str], device: str) -> Iterator[Case]:
    for size in op.sizes or _from_samples(op):
        if device.partition(":")[0] not in size.devices:
            continue
        own = size.dtypes or tuple(d for d in op.dtypes if d.is_float) or op.dtypes
        for dtype in [d for d in own if d in dtypes] if dtypes else own:
            for mode in modes:
                case = Case(op, size, dtype, mode)
                if mode == "forward" or _has_gradient(case, mode):
                    yield case
            if not any((described := _operand(x)) and described.dtype is None for x in size.operands):
                break  # no operand is of the dtype timed


def _from_samples(op: Op) -> list[Size]:
    """For rows without sizes (a user's): the largest of its samples."""
    found = [s for s in testing.samples(op) if any(isinstance(x, np.ndarray) and x.size for x in s.inputs)]
    if not found:
        return []
    largest = max(found, key=lambda s: sum(np.size(x) for x in s.inputs))
    operands = tuple(Operand(x.shape) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
                     for x in largest.inputs)  # fmt: skip
    return [Size(operands, largest.attrs, largest.why)]


def _has_gradient(case: Case, mode: str) -> bool:
    op = case.op
    if not op.differentiable or op.writes or op.dynamic or op.place or op.name.endswith("_backward"):
        return False
    if not case.dtype.is_float:
        return False
    floats = any(s is not None and s.dtype.is_float and not s.weak for s in case.specs)
    made = op.infer(*case.specs, *case.attrs)
    first = made if isinstance(made, Spec) else made[0]
    small = case.bytes <= 4096  # where the bookkeeping for gradients can be seen
    return floats and first is not None and first.dtype.is_float and (mode == "both" or small)
