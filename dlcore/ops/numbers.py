"""Reductions over the numbers alone, as if NaN were not there: nansum, nanmean, nanmax, nanmin and others."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore._arguments import called, number, operand
from dlcore.dtypes import DTYPES, default_float, float32, total_dtype
from dlcore.op import Axes, Sample, Spec
from dlcore.ops._domains import limited
from dlcore.ops.elementwise import cast, div, eq, gt, isnan, maximum, mul, sqrt, square, sub, where
from dlcore.ops.movement import expand
from dlcore.ops.reduce import Reduction, Shape, aligned, all, max, mean, min, numpy_total, reduced_shape, sum
from dlcore.ops.statistics import prod

__all__ = ["nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar"]

# ---- the family -----------------------------------------------------------------------------------------------------


class Numbers(Reduction):
    """A reduction of what is not NaN; of integers and bools that of all, by its composite."""

    cast = "float32"

    def family_kernels(self) -> dict[str, Any]:
        return {"cpu": [(f"reduce:{self.name}", _floating)]}

    def family_samples(self) -> Iterator[Sample]:
        yield from super().family_samples()
        x = np.random.default_rng(3).standard_normal((9, 200)).astype(np.float32)
        x[x > 1.2], x[3], x[4, 5], x[5, 5], x[5, 7] = np.nan, np.nan, np.inf, np.inf, -np.inf
        yield Sample(x, axis=1, why="some NaN, all NaN, infinities", grad=False)
        yield Sample(x.T.copy(), axis=0, why="some NaN, all NaN, infinities, columns", grad=False)
        yield Sample(np.array([[3, -7, 100]], np.int8), axis=1, why="integers", grad=False)

    def family_baselines(self) -> dict[str, str]:
        jax = {"jax": f"jnp.{self.name}(x, axis, keepdims=keepdims)"}
        numpy = {"numpy": f"np.{self.name}(x, axis, keepdims=keepdims)"}
        torch = {"torch": f"torch.{self.name}(x, axis, keepdims)"} if self.name in ("nansum", "nanmean") else {}
        return numpy | torch | jax


def _floating(x: Spec) -> bool:
    return x.dtype.is_float


numbers = Numbers.definition


def _present(x: Any) -> Any:
    """1 for each number, 0 for NaN, in the dtype of x."""
    return cast(eq(x, x), x.dtype)


# ---- nansum, nanmean ------------------------------------------------------------------------------------------------


def _numpy_nansum(x: Any, axis: Shape, keepdims: bool) -> Any:
    return np.nansum(x, axis=axis, keepdims=keepdims, dtype=numpy_total(x.dtype))


@numbers(
    ulp=8, reference=_numpy_nansum,
    magnitude=lambda x, axis, keepdims: np.nansum(np.abs(x), axis=axis, keepdims=keepdims),
)  # fmt: skip
def nansum(x: Spec, axis: Axes = None, keepdims: bool = False) -> Spec:
    """Sum along `axis` of the elements that are not NaN; 0 where there are none. Otherwise as `sum`.

    >>> dl.nansum(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(4.)
    """
    return Spec(reduced_shape(x.shape, axis, keepdims), total_dtype(x.dtype))


@nansum.composite
def _(x: Any, axis: Shape, keepdims: bool) -> Any:
    return sum(where(isnan(x), 0, x) if x.dtype.is_float else x, axis, keepdims)


@nansum.gradient
def _(dout: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
    return where(isnan(x), 0, expand(aligned(dout, x.shape, axis, keepdims), x.shape))


def _numpy_nanmean(x: Any, axis: Shape, keepdims: bool) -> Any:
    total = np.nansum(x, axis=axis, keepdims=keepdims, dtype=np.float64)
    return total / np.sum(~np.isnan(x), axis=axis, keepdims=keepdims, dtype=np.float64)


@numbers(
    ulp=8, reference=_numpy_nanmean,
    magnitude=lambda x, axis, keepdims: _numpy_nanmean(np.abs(x), axis, keepdims),
)  # fmt: skip
def nanmean(x: Spec, axis: Axes = None, keepdims: bool = False) -> Spec:
    """Arithmetic mean along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `mean`.

    >>> dl.nanmean(dl.tensor([1.0, float("nan"), 3.0])).item()
    2.0
    """
    return Spec(reduced_shape(x.shape, axis, keepdims), x.dtype if x.dtype.is_float else default_float())


@nanmean.composite
def _(x: Any, axis: Shape, keepdims: bool) -> Any:
    if not x.dtype.is_float:
        return mean(x, axis, keepdims)
    return div(nansum(x, axis, keepdims), sum(_present(x), axis, keepdims))


@nanmean.gradient
def _(dout: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
    there = _present(x)
    share = div(aligned(dout, x.shape, axis, keepdims), maximum(sum(there, axis, True), 1))
    return mul(there, share)


@nanmean.restrict
def _(operands: list[Any], largest: float) -> None:
    """The sum behind a mean overflows where the mean would not."""
    operands[0] = limited(operands[0], largest / builtins.max(1, operands[0].size))


# ---- nanmax, nanmin -------------------------------------------------------------------------------------------------


def _numpy_extremum(name: str) -> Any:
    function, none = (np.max, -np.inf) if name == "nanmax" else (np.min, np.inf)

    def reference(x: Any, axis: Shape, keepdims: bool) -> Any:
        if x.dtype.kind != "f":
            return function(x, axis=axis, keepdims=keepdims)
        nan = np.isnan(x)
        found = function(np.where(nan, none, x), axis=axis, keepdims=keepdims)
        return np.where(np.all(nan, axis=axis, keepdims=keepdims), np.nan, found)

    return reference


def _composite(name: str) -> Any:
    function, none = (max, -math.inf) if name == "nanmax" else (min, math.inf)

    def composite(x: Any, axis: Shape, keepdims: bool) -> Any:
        if not x.dtype.is_float:
            return function(x, axis, keepdims)
        nan = isnan(x)
        return where(all(nan, axis, keepdims), math.nan, function(where(nan, none, x), axis, keepdims))

    return composite


def _share(dout: Any, x: Any, out: Any, axis: Shape, keepdims: bool) -> Any:
    """The gradient goes to the elements equal to the result, in equal parts; to none where all are NaN."""
    chosen = cast(eq(x, aligned(out, x.shape, axis, keepdims)), x.dtype)
    return mul(chosen, div(aligned(dout, x.shape, axis, keepdims), maximum(sum(chosen, axis, True), 1)))


def _extremum(name: str) -> Any:
    return numbers(
        ulp=0, empty=False, gradient=_share, reference=_numpy_extremum(name), composite=_composite(name), dtypes=DTYPES,
    )  # fmt: skip


@_extremum("nanmax")
def nanmax(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Largest along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `max`.

    >>> dl.nanmax(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(3.)
    """


@_extremum("nanmin")
def nanmin(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Smallest along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `min`.

    >>> dl.nanmin(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(1.)
    """


# ---- spelled with others --------------------------------------------------------------------------------------------

def nanprod(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Product along ``axis`` of the elements that are not NaN; 1 where there are none. Otherwise as `prod`.

    >>> dl.nanprod(dl.tensor([2.0, dl.nan, 3.0]))
    tensor(6.)
    """
    x = operand(x, "nanprod")
    return called("nanprod", prod, where(isnan(x), 1, x) if x.dtype.is_float else x, axis, keepdims)


def nanvar(
    x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, correction: float = 0.0
) -> Any:
    """Variance along ``axis`` of the elements that are not NaN; NaN where too few are left. Otherwise as `var`.

    >>> dl.nanvar(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(1.)
    """
    return _spread("nanvar", x, axis, keepdims, correction)


def nanstd(
    x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, correction: float = 0.0
) -> Any:
    """Standard deviation along ``axis`` of the elements that are not NaN: the square root of `nanvar`.

    >>> dl.nanstd(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(1.)
    """
    return _spread("nanstd", x, axis, keepdims, correction)


def _spread(name: str, x: Any, axis: Any, keepdims: bool, correction: float) -> Any:
    x = operand(x, name)
    x = x if x.dtype.is_float else cast(x, default_float())
    correction = number(correction, f"{name}: correction")
    wide = cast(x, float32) if x.dtype.itemsize == 2 else x  # which holds the counts and sums of squares
    middle = called(name, nanmean, wide, axis, True)
    # NaN stands at the middle, where it adds nothing, to gradients neither; infinities make NaN of their own.
    squares = sum(square(sub(where(isnan(wide), middle, wide), middle)), axis, keepdims)
    left = sub(sum(_present(wide), axis, keepdims), correction)
    found = div(squares, where(gt(left, 0), left, math.nan))
    found = sqrt(found) if name == "nanstd" else found
    return found if found.dtype is x.dtype else cast(found, x.dtype)
