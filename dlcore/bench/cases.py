"""What is timed: one case for each size, dtype and mode of a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore import testing
from dlcore.dtypes import DType, as_dtype
from dlcore.op import Op, Operand, Size, Spec

__all__ = ["MODES", "Case", "cases"]

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
        sides = [_side(x) for x in self.size.operands]
        text = " ".join(f"{s}" if k == 0 else f"@ {s}" for k, s in enumerate(s for s in sides if s))
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

    def arrays(self) -> list[Any]:
        """Random operands: NumPy arrays, numbers and None; the same for the same case."""
        rng = np.random.default_rng(0)
        return [_drawn(x, self.dtype, rng) for x in self.size.operands]


def _operand(x: Any) -> Operand | None:
    return x if isinstance(x, Operand) else Operand(x) if isinstance(x, tuple) else None


def _side(x: Any) -> str:
    described = _operand(x)
    shape = described.shape if described else x.shape if isinstance(x, np.ndarray) else None
    return "" if not shape else "x".join(map(str, shape))


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
    shape, low, high, own = described
    dtype = own or dtype
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
        own = size.dtypes or op.dtypes
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
    if not op.differentiable or op.writes or op.dynamic or op.name.endswith("_backward") or not case.dtype.is_float:
        return False
    floats = any(s is not None and s.dtype.is_float and not s.weak for s in case.specs)
    made = op.infer(*case.specs, *case.attrs)
    first = made if isinstance(made, Spec) else made[0]
    small = case.bytes <= 4096  # where the bookkeeping for gradients can be seen
    return floats and first is not None and first.dtype.is_float and (mode == "both" or small)
