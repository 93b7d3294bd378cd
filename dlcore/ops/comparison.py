"""Whether tensors are equal, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import boolean, called, operand, quick
from dlcore.dtypes import DType, bool_, float64, result_type
from dlcore.op import Input, Sample, Spec, Workload
from dlcore.ops._pointwise import ANY, PAIRS, SHAPES, Pointwise, specials
from dlcore.ops.elementwise import abs, add, eq, isfinite, isnan, le, logical_and, logical_or, mul, sub
from dlcore.ops.reduce import all

__all__ = ["allclose", "array_equal", "isclose"]


def _precise(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """All operands to their common dtype, integers and bools to float64."""
    given = [s for s in specs if s is not None]
    common = result_type((s.dtype if s.weak or s.dtype.is_float else float64, s.weak) for s in given)
    return [None if s is None else common if common.is_float else float64 for s in specs]


class _Close(Pointwise):
    """Of its operands' rounding the reference knows nothing: samples are clearly close, or clearly apart."""

    def family_samples(self) -> Iterator[Sample]:
        for shape, why in SHAPES:
            yield Sample(Input(shape), Input(shape), rtol=0.0, atol=2.0, why=why)
        for first, second, why in PAIRS:
            yield Sample(Input(first), Input(second), rtol=1.0, atol=0.5, why=why)
        yield Sample(Input(self.large), Input(self.large), rtol=0.5, atol=0.25, why="several threads")
        values = specials(1.0, 1.00390625, -1.5, 1e-3, 60000.0)
        for nan in (False, True):
            yield Sample(values[:, None], values, equal_nan=nan, why=f"special values, equal_nan={nan}")
        yield Sample(values[:, None], values, rtol=0.0, atol=0.0, why="equality")
        yield Sample(values[:, None], values, rtol=0.0, atol=np.inf, why="all finite ones")
        yield Sample(np.array([1, 2, 3]), np.array([1, 3, 3]), why="integers")

    def family_workloads(self) -> list[Workload]:
        return [w._replace(attrs=(1e-5, 1e-8, False)) for w in super().family_workloads()]


@_Close.definition(
    kinds=ANY, result=bool_, promote=_precise, flops=6, kernels={"cpu": "elementwise:isclose", "cuda": None},
    baselines={
        "numpy": "np.isclose(x, other, rtol, atol, equal_nan)",
        "torch": "torch.isclose(x, other, rtol, atol, equal_nan)",
        "jax": "jnp.isclose(x, other, rtol, atol, equal_nan)",
    },
)  # fmt: skip
def isclose(x: Spec, other: Spec, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> None:
    """Where ``|x - other| <= atol + rtol |other|``, as bools; infinities are close to themselves alone.

    NaN is close to nothing, with ``equal_nan`` to NaN. Integers and bools are compared in float64. The operands
    broadcast. Raises ShapeError where shapes do not broadcast.

    >>> dl.isclose(dl.tensor([1.0, 2.0]), [1.0000001, 2.1])
    tensor([ True, False])
    """


@isclose.composite
def _(x: Any, other: Any, rtol: float, atol: float, equal_nan: bool) -> Any:
    near = le(abs(sub(x, other)), add(mul(abs(other), rtol), atol))
    close = logical_or(logical_and(near, isfinite(other)), eq(x, other))  # of infinities the difference is NaN
    return logical_or(close, logical_and(isnan(x), isnan(other))) if equal_nan else close


@isclose.reference
def _(x: Any, other: Any, rtol: float, atol: float, equal_nan: bool) -> Any:
    with np.errstate(invalid="ignore"):
        return np.isclose(x, other, rtol, atol, equal_nan)


def allclose(x: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all of ``x`` and ``other`` are close, a Python bool: see `isclose`.

    >>> dl.allclose(dl.tensor([0.1, 0.2]) * 3, np.array([0.3, 0.6]))
    True
    """
    return bool(all(called("allclose", isclose, x, other, rtol, atol, equal_nan)))


def _compared(value: Any, which: str) -> Any:
    value = np.asarray(value) if isinstance(value, bool | int | float) else value
    found = operand(value, "array_equal", which)
    return found.detach() if found.requires_grad else found


@quick("array_equal")
def array_equal(x: Any, other: Any, equal_nan: bool = False) -> bool:
    """Whether ``x`` and ``other`` have the same shape and elements, a Python bool; dtypes may differ.

    With ``equal_nan`` NaN equals NaN.

    >>> dl.array_equal(dl.arange(3), [0, 1, 2]), dl.array_equal(dl.arange(3), 0)
    (True, False)
    """
    nan = boolean(equal_nan, "array_equal: equal_nan")
    a, b = _compared(x, "x"), _compared(other, "other")
    if a.shape != b.shape:
        return False
    same = eq(a, b)
    if nan and a.dtype.is_float and b.dtype.is_float:
        same = logical_or(same, logical_and(isnan(a), isnan(b)))
    return bool(all(same))
