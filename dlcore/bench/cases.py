"""What is timed: a case for each workload, dtype and mode of an operation, and a few statements as one writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.dtypes import DType, as_dtype
from dlcore.op import Domain, Input, Op, Spec, Workload, flat, lengths_of, shape_of

__all__ = ["MODES", "SNIPPETS", "Case", "Snippet", "cases"]

MODES = ("forward", "tracked", "both")  # "tracked": forward with operands that need gradients; "both": and backward


@dataclass(frozen=True)
class Case:
    """An operation on one workload, in one dtype, forward or forward and backward."""

    op: Op
    workload: Workload
    dtype: DType
    mode: str = "forward"

    @property
    def name(self) -> str:
        """The same in every run: "softmax 4096x1000 float32 forward"."""
        return " ".join((self.op.name, self.shape, self.dtype.name, self.mode))

    @property
    def shape(self) -> str:
        """Operands and attributes: "4096x1000, 4096 mean"."""
        sides = [s for s in map(_side, self.operands) if s]
        text = " @ ".join(sides[:3]) + (f" + {len(sides) - 3} more" if len(sides) > 3 else "")
        given = [str(a) for a, d in zip(self.workload.attrs, self.op.signature.defaults, strict=False) if a != d]
        return " ".join([text or "scalar", *given])

    @property
    def operands(self) -> list[Any]:
        """The operands as described, those of groups one by one."""
        return list(flat(self.workload.operands))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the groups among the operands."""
        return lengths_of(self.workload.operands, self.op.signature.operands)

    @property
    def specs(self) -> list[Spec | None]:
        """The operands, promoted."""
        return self.op.promoted([_spec(x, self.dtype) for x in self.operands])

    @property
    def attrs(self) -> tuple[Any, ...]:
        """All attributes, defaults too, as a caller gives them."""
        given = self.workload.attrs
        return (*given, *self.op.signature.defaults[len(given) :])

    @property
    def values(self) -> dict[str, Any]:
        """Specs of the operands and converted attributes, by name."""
        specs = self.specs
        return self.op.values(specs, self.op.bind(self.attrs, specs, self.lengths), self.lengths)

    @property
    def results(self) -> list[Spec]:
        """Specs of the outputs and extras."""
        return [s for s in self.op.inferred(self.values) if s is not None]

    @property
    def work(self) -> tuple[float, float]:
        """FLOPs, and bytes that must move, of the forward."""
        return self.op.work(self.values) or (0.0, float(self.bytes))

    @property
    def bytes(self) -> int:
        """Of the operands and, where it can be said, of the results: what a call touches."""
        specs = [s for s in self.specs if s is not None]
        specs += [] if self.op.dynamic else self.results
        return sum(math.prod(s.shape) * s.dtype.itemsize for s in specs)

    @property
    def families(self) -> set[str]:
        """The families of its kernels."""
        return self.op.kernel_families

    @property
    def baselines(self) -> Mapping[str, str | tuple[str, str]]:
        """How other libraries compute the same."""
        return self.op.ways()

    @property
    def leaves(self) -> list[int]:
        """Positions of the operands that gradients are wanted of."""
        floats = (x for x in enumerate(self.specs) if x[1] is not None and x[1].dtype.is_float and not x[1].weak)
        return [k for k, _ in floats] if self.mode != "forward" else []

    @property
    def written(self) -> int | None:
        """Position of the first operand that a call changes in place."""
        return next(iter(self.op.written(self.lengths)), None)

    def dout(self) -> np.ndarray[Any, Any]:
        """A random gradient of the (first) result; of a single number, as a loss is, 1."""
        first = self.results[0]
        if first.shape == ():
            return np.ones((), first.dtype.numpy)
        return np.asarray(np.random.default_rng(1).standard_normal(first.shape)).astype(first.dtype.numpy)

    def arrays(self) -> list[Any]:
        """Random operands: NumPy arrays, numbers and None; the same for the same case."""
        rng, domains = np.random.default_rng(0), []
        for operand, given in zip(self.op.signature.operands, self.workload.operands, strict=False):
            domains += [operand.domain] * (len(given) if operand.group else 1)
        return [_drawn(x, self.dtype, rng, domain) for x, domain in zip(self.operands, domains, strict=True)]


@dataclass(frozen=True)
class Snippet:
    """A statement as one writes it, timed after ``setup`` (each for all engines, or engine -> its own); ``check``: what
    is evaluated once and compared across engines (default: the statement); ``own``: the engine that stands for dlcore;
    ``mode``: "forward" where no gradients are noted.

    Names: ``lib`` (the engine's module), ``F``, ``nn``, ``optim``, ``tensor`` and ``normal(*shape)``, which draws.
    """

    name: str
    setup: str | Mapping[str, str]
    stmt: str | Mapping[str, str]
    check: str = ""
    engines: tuple[str, ...] = ("dlcore", "torch")
    own: str = "dlcore"
    flops: float = 0.0
    bytes: float = 0.0
    mode: str = "tracked"
    family: str = "dispatch"
    shape: str = ""


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
SNIPPETS = (
    Snippet("a + b, 8 elements", _PAIR.format(False), "a + b"),
    Snippet("a + b, 8 elements, with gradient", _PAIR.format(True), "a + b"),
    Snippet("10 adds, sum, backward", _CHAIN, "chain()"),
)


def _input(x: Any) -> Input | None:
    return x if isinstance(x, Input) else Input(x) if type(x) is tuple else None


def _side(x: Any) -> str:
    shape, described = shape_of(x), _input(x)
    stored = "T" if described and described.transposed else ""
    return "" if not shape else "x".join(map(str, shape)) + stored


def _spec(x: Any, dtype: DType) -> Spec | None:
    described = _input(x)
    if described is not None:
        return Spec(described.shape, described.dtype or dtype)
    if isinstance(x, np.ndarray):
        return Spec(x.shape, as_dtype(x.dtype))
    return None if x is None else Spec((), as_dtype(type(x)), True)


def _drawn(x: Any, dtype: DType, rng: np.random.Generator, domain: Domain) -> Any:
    """An operand: as described, else from its domain; floating ones no wider than they are timed."""
    described = _input(x)
    if described is None:
        return x
    shape, dtype = described.shape, described.dtype or dtype
    if described.transposed:
        stored = described._replace(shape=(*shape[:-2], shape[-1], shape[-2]), transposed=False)
        return np.swapaxes(_drawn(stored, dtype, rng, domain), -1, -2)
    if described.draw is not None or not dtype.is_float:
        return described._replace(dtype=dtype).array(rng).astype(dtype.numpy)
    wide = np.float64 if dtype.itemsize == 8 else np.float32
    either_sign = domain.gap and described.low is None
    low, high = (domain.low, domain.high) if described.low is None else (described.low, described.high)
    if either_sign:
        low, high = domain.gap, 2.0
    values = rng.standard_normal(shape, wide)
    if low is not None and high is not None:
        size = rng.random(shape, wide) * wide(high - low) + wide(low)
        values = np.copysign(size, values) if either_sign else size
    return np.asarray(values).astype(dtype.numpy)


# ---- choosing -----------------------------------------------------------------------------------------------------


def cases(
    ops: Sequence[Op], dtypes: Sequence[DType] = (), modes: Sequence[str] = MODES, device: str = "cpu"
) -> list[Case]:
    """The cases of some operations: every workload in every dtype asked for that it claims, in every mode it has."""
    return [case for op in ops for case in _cases(op, dtypes, modes, device)]


def _cases(op: Op, dtypes: Sequence[DType], modes: Sequence[str], device: str) -> Iterator[Case]:
    for workload in op.timed() or _from_samples(op):
        if device.partition(":")[0] not in workload.devices:
            continue
        own = workload.dtypes or tuple(d for d in op.dtypes if d.is_float) or op.dtypes
        for dtype in [d for d in own if d in dtypes] if dtypes else own:
            for mode in modes:
                case = Case(op, workload, dtype, mode)
                if mode == "forward" or _has_gradient(case, mode):
                    yield case
            if not any((given := _input(x)) and given.dtype is None for x in flat(workload.operands)):
                break  # no operand is of the dtype timed


def _from_samples(op: Op) -> list[Workload]:
    """For operations without workloads (a user's): the largest of the samples."""
    found = [s for s in op.sample_inputs() if s.size and s.draw is None]
    if not found:
        return []
    largest = max(found, key=lambda s: s.size)
    operands = tuple([_again(x) for x in given] if isinstance(given, list) else _again(given)
                     for given in largest.inputs)  # fmt: skip
    return [Workload(operands, op.named_attributes(largest.attrs), largest.why)]


def _again(x: Any) -> Any:
    return Input(x.shape) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x


def _has_gradient(case: Case, mode: str) -> bool:
    op = case.op
    if not op.differentiable or op.writes or op.dynamic or op.output_device or op.name.endswith("_backward"):
        return False
    if not case.dtype.is_float:
        return False
    floats = any(s is not None and s.dtype.is_float and not s.weak for s in case.specs)
    small = case.bytes <= 4096  # where the bookkeeping for gradients can be seen
    return floats and case.results[0].dtype.is_float and (mode == "both" or small)
