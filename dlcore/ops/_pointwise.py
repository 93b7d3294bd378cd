"""The family of pointwise operations: functions of the elements of one, two or three operands that broadcast.

    sqrt = pointwise("sqrt", "x", "Square root; NaN of negative numbers.", domain=POSITIVE, ulp=0.5,
                     gradient=lambda dout, out: div(mul(dout, 0.5), out))

is a whole operation: name, operands, documentation, and what is its own. The family supplies shapes and dtypes, kernels
(`elementwise:sqrt`), the reference (NumPy's function of that name), samples (sizes that are no multiple of a vector,
broadcasting, 0-d and empty operands, more than one thread's share, special values, the ends of integers), error inputs,
cost, workloads and baselines. One with attributes has a `def` under `@Pointwise.definition(...)`: its body is empty or
checks what the attributes' kinds do not; the result's shape and dtype are the family's all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import boolean
from dlcore.dtypes import INTEGERS, DType, bool_, float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import (
    EVERYWHERE,
    Domain,
    ErrorInput,
    Input,
    Op,
    Operand,
    Sample,
    Signature,
    Spec,
    Workload,
    floating,
    widest,
)  # fmt: skip
from dlcore.ops._examples import example
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import library, million_and_ragged

__all__ = [
    "ANY", "AWAY_FROM_ZERO", "FLOAT", "NUMBER", "POSITIVE", "Pointwise", "Rectifier", "check_dtype", "ends",
    "pointwise", "specials",
]  # fmt: skip

FLOAT: tuple[str, ...] = ("float",)
NUMBER: tuple[str, ...] = ("float", "int", "uint")
ANY: tuple[str, ...] = (*NUMBER, "bool")

POSITIVE, AWAY_FROM_ZERO = Domain(0.1, 4.0), Domain(gap=0.5)

SHAPES = (
    ((33, 65), "no multiple of a vector"),
    ((), "0-d"),
    ((0, 3), "empty"),
)
PAIRS = (
    ((4, 1, 5), (3, 1), "broadcast both ways"),
    ((33, 65), (65,), "broadcast rows"),
    ((5, 700), (5, 1), "broadcast columns, more than a block"),
    ((), (7,), "0-d with a vector"),
    ((0, 3), (1, 3), "empty"),
)


def specials(*more: float) -> np.ndarray[Any, Any]:
    """NaN, infinities, zeros of both signs, and ``more``."""
    return np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, *more])


def ends(dtype: DType) -> np.ndarray[Any, Any]:
    """The smallest and largest integers of ``dtype``, and small ones."""
    limits = np.iinfo(dtype.numpy)
    return np.array([limits.min, limits.max, 0, 1, 2, 3, limits.max // 2], dtype.numpy)


def check_dtype(name: str, kinds: Sequence[str], *specs: Spec) -> None:
    """Raises DTypeError, e.g. ``sub: does not take bool``, unless every kind is among ``kinds``."""
    for spec in specs:
        if spec.dtype.kind not in kinds:
            raise DTypeError(f"{name}: does not take {spec.dtype.name}")


class Pointwise(Op):
    """An operation on each element alone; see the module."""

    family = "elementwise"
    kinds: Sequence[str] = FLOAT
    result: DType | None = None
    """The output's dtype where it is not the operands'."""
    flops: float = 1
    """Arithmetic operations an element."""
    special: Sequence[float] = ()
    """Values to test beside NaN, infinities and zeros."""
    large: tuple[int, ...] = (2, 33001)
    """A shape for several threads."""
    wrapping: bool = True
    """Whether it takes all pairs of integers."""
    signed_zeros: bool = True
    smooth: bool = True
    """Whether gradients can be checked on the samples of two operands."""
    methods = True
    elementwise = True

    @classmethod
    def named(
        cls, name: str, operands: str, doc: str, *, domain: Domain = EVERYWHERE, domains: Mapping[str, Domain] = {},
        **given: Any,
    ) -> Any:  # fmt: skip
        """The public function of an operation without attributes.

        ``operands``: their names. ``domain``: where they come from, ``domains``: where those named here do. Of floats
        only (``kinds``, the default) integers become the default float, unless ``promote`` is given.
        """

        def rule(*specs: Spec) -> None:
            """Nothing more to check."""

        rule.__doc__ = f"{doc}\n\n{shown}" if (shown := example(name)) else doc
        if given.get("kinds", cls.kinds) == FLOAT:
            given.setdefault("promote", floating)
        made = cls(rule, name=name, **given)
        made.signature = Signature([Operand(n, domain=domains.get(n, domain)) for n in operands.split()])
        return made.call

    def reference(self, *args: Any) -> Any:
        """NumPy's function of that name."""
        return getattr(np, self.name)(*args)

    def infer(self, *args: Any) -> Spec:
        """The broadcast shape, in ``result`` or in the operands' dtype."""
        specs = [s for s in args if isinstance(s, Spec)]
        self.rule(*args)
        check_dtype(self.name, self.kinds, *specs)
        return Spec(broadcast_shapes(self.name, *(s.shape for s in specs)), self.result or specs[0].dtype)

    def cost(self, *args: Any) -> tuple[float, float]:
        """``flops`` an element of the result; every operand read and the result written once."""
        specs = [s for s in args if isinstance(s, Spec)]
        size = math.prod(broadcast_shapes("cost", *(s.shape for s in specs)))
        moved = sum(math.prod(s.shape) * s.dtype.itemsize for s in specs)
        return self.flops * size, moved + size * (self.result or specs[0].dtype).itemsize

    def family_kernels(self) -> dict[str, str]:
        if not self.family:
            return {}
        return {"cpu": f"{self.family}:{self.name}", "cuda": f"{self.family}.planners:{self.name}"}

    def family_samples(self) -> Iterator[Sample]:
        n = len(self.signature.operands)
        alike = Input((), dtype=bool_) if tuple(self.kinds) == ("bool",) else Input(())

        def sample(shapes: Sequence[tuple[int, ...]], why: str, grad: bool = True) -> Sample:
            return Sample(*(alike._replace(shape=s) for s in shapes), why=why, grad=grad)

        for shape, why in SHAPES:
            yield sample([shape] * n, why, self.smooth)
        for first, second, why in PAIRS if n == 2 else ():
            yield sample([first, second], why, self.smooth)
        yield sample([self.large] * n, "several threads", False)
        if "float" in self.kinds:
            values = specials(*self.special) if n == 1 else specials(1.0, -1.5, *self.special)
            yield Sample(*_crossed(values, n), why="special values", grad=False)
        if "int" in self.kinds and self.wrapping:
            for dtype in INTEGERS:
                yield Sample(*_crossed(ends(dtype), n), why=f"{dtype.name}, wrapping", grad=False)
        if "bool" in self.kinds and n == 2:
            yield Sample(*_crossed(np.array([False, True]), n), why="bool", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        n, dtype = len(self.signature.operands), np.float32 if "float" in self.kinds else np.bool_
        for first, second in (((3,), (4,)), ((2, 1, 3), (2, 2))) if n == 2 else ():
            text = f"{self.name}: shapes do not broadcast: {first} and {second}"
            yield ErrorInput(ShapeError, text, np.ones(first, dtype), np.ones(second, dtype))
        if "bool" not in self.kinds and self.promote is widest:
            x, floats = self.input_names[0], tuple(self.kinds) == ("float",)
            floating = f"{x} (1,) is of bool; it must be of a floating dtype: {x}.float()"
            text = f"{self.name}: {floating if floats else 'does not take bool'}"
            yield ErrorInput(DTypeError, text, *[np.array([True])] * n)

    def family_workloads(self) -> list[Workload]:
        n = len(self.signature.operands)
        if tuple(self.kinds) != ("bool",):
            return million_and_ragged(n)
        shaped = [w._replace(operands=tuple(Input(s, dtype=bool_) for s in w.operands)) for w in million_and_ragged(n)]
        return [w._replace(dtypes=(float32,)) for w in shaped]  # no operand is of a dtype that is timed: once is enough

    def family_baselines(self) -> dict[str, str]:
        return library(self.name, " ".join(self.input_names))


def _crossed(values: np.ndarray[Any, Any], n: int) -> list[np.ndarray[Any, Any]]:
    """``values`` alone, or each with each."""
    return [values] if n == 1 else [values[:, None], values]


pointwise = Pointwise.named


class Rectifier(Pointwise):
    """An activation. PyTorch's ``inplace`` is taken and changes nothing: the operand is never overwritten."""

    def otherwise(self, x: Any, *args: Any, inplace: bool, **kwargs: Any) -> Any:
        """The activation, whatever ``inplace`` says."""
        boolean(inplace, f"{self.name}: inplace")
        return self.call(x, *args, **kwargs)
