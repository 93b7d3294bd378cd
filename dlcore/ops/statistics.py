"""Products, variances, norms and averages over any set of axes, as the reductions of dlcore.ops.reduce.

Variances are found in one pass over memory, and as exactly as in two: see csrc/reduce/statistics.inl.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, called, number, operand
from dlcore.dtypes import FLOATS, DType, default_float, float32, float64
from dlcore.errors import ShapeError
from dlcore.op import Axes, Domain, Dtype, Kind, Sample, Spec, Workload, floating
from dlcore.ops._domains import limited, near_one, without_tiny
from dlcore.ops._workloads import MILLION, RAGGED
from dlcore.ops.elementwise import abs, add, cast, div, eq, maximum, mul, pow, sign, sqrt, square, sub, where
from dlcore.ops.movement import expand, permute, reshape
from dlcore.ops.reduce import (
    Reduction,
    Shape,
    Total,
    aligned,
    count_of,
    max,
    mean,
    min,
    numpy_cast,
    numpy_total,
    reduced_shape,
    reduction,
    sum,
)
from dlcore.ops.scan import cumprod

__all__ = [
    "amax", "amin", "aminmax", "average", "norm", "prod", "ptp", "std", "std_mean", "var", "var_mean",
]  # fmt: skip

# ---- prod -----------------------------------------------------------------------------------------------------------

_ZEROS = np.array([[1.5, 0.0, 2.0], [0.0, 3.0, 0.0], [-1.5, 2.0, 0.5]])


def _numpy_prod(x: Any, axis: Shape, keepdims: bool, dtype: DType | None) -> Any:
    x = numpy_cast(x, dtype)
    out = np.prod(x, axis=axis, keepdims=keepdims, dtype=numpy_total(x.dtype))
    return numpy_cast(out, dtype)


@Total.definition(
    ulp=4, reference=_numpy_prod, interval=(1.0, 1.0),
    baselines={"torch": "torch.prod(x) if axis is None else torch.prod(x, axis, keepdims)"},
    magnitude=lambda x, axis, keepdims: (
        np.abs(np.prod(x, axis=axis, keepdims=keepdims)) * np.sqrt(1 + count_of(x.shape, axis))
    ),
    samples=[
        Sample(_ZEROS, axis=1, why="one zero, several, none"), Sample(_ZEROS, axis=None, why="zeros"),
        Sample(np.array([1e30, 1e30, 1e-30, 1e-30], np.float32), axis=0, why="no overflow on the way", grad=False),
        Sample(np.array([-3, 5, 100, 100, 7], np.int8), axis=0, why="integers, in int64", grad=False),
    ],
)  # fmt: skip
def prod(
    x: Annotated[Spec, Domain(0.9, 1.1035)], axis: Axes = None, keepdims: bool = False, dtype: Dtype | None = None
) -> None:
    """Product of the elements along `axis`.

    Floats keep their dtype and are multiplied in float64 (on a GPU in float32 or wider); bool and signed
    integers give int64, unsigned ones uint64, which wrap. `dtype`: x is cast to it first, and it is the result's. The
    product of nothing is 1. The gradient is right where elements are 0. Errors as in `sum`.

    >>> dl.prod(dl.tensor([[1, 2], [3, 4]]), axis=0).tolist()
    [3, 8]
    """


@prod.restrict
def _(operands: list[Any], largest: float) -> None:
    """Products in any order must be normal numbers."""
    operands[0] = near_one(operands[0], largest)


@prod.gradient
def _(dout: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
    # The product of all others: of those before and of those after, however many of them are 0.
    kept = tuple(d for d in range(x.ndim) if d not in axis)
    order = (*kept, *axis)
    turned = permute(x if x.dtype is dout.dtype else cast(x, dout.dtype), order)
    lines = reshape(turned, (*(x.shape[d] for d in kept), count_of(x.shape, axis)))
    last = lines.ndim - 1
    others = mul(cumprod(lines, last, False, True), cumprod(lines, last, True, True))
    dlines = mul(others, reshape(dout, (*lines.shape[:last], 1)))
    dx = permute(reshape(dlines, turned.shape), tuple(order.index(d) for d in range(x.ndim)))
    return dx if dx.dtype is x.dtype else cast(dx, x.dtype)


# ---- var, std, var_mean, std_mean -----------------------------------------------------------------------------------


def _left(shape: Shape, axis: Shape, correction: float) -> float:
    """What a sum of squares is divided by."""
    return builtins.max(count_of(shape, axis) - correction, 0.0)


def _numpy_var(x: Any, axis: Shape, keepdims: bool, correction: float) -> Any:
    x = np.asarray(x, np.longdouble)
    n = count_of(x.shape, axis)
    mean = np.sum(x, axis=axis, keepdims=True) / np.float64(n)
    squares = np.sum(np.square(x - mean), axis=axis, keepdims=keepdims)
    return np.asarray(squares / np.float64(_left(x.shape, axis, correction)), np.float64)


def _numpy_mean(x: Any, axis: Shape, keepdims: bool) -> Any:
    total = np.sum(x, axis=axis, keepdims=keepdims, dtype=np.longdouble)
    return np.asarray(total / np.float64(count_of(x.shape, axis)), np.float64)


class Moments(Reduction):
    """A variance, or its root, alone or with the mean."""

    cast = "float32"
    ulp = 10  # 64 additions in a row of a column, whose roundings add up like a random walk
    flops = 4
    special = True

    def infer(self, x: Spec, axis: Shape, keepdims: bool) -> Any:  # type: ignore[override]
        """Of floats their dtype, of others the default float."""
        spec = Spec(reduced_shape(x.shape, axis, keepdims), x.dtype if x.dtype.is_float else default_float())
        return spec if len(self.output_names) == 1 else (spec, spec)

    def params(self, x: Spec, axis: Shape, correction: float) -> tuple[float, ...]:  # type: ignore[override]
        return builtins.sum(1 << d for d in axis), float(correction)

    def cost(self, x: Spec, axis: Shape, keepdims: bool) -> tuple[float, float]:
        n, out = math.prod(x.shape), math.prod(reduced_shape(x.shape, axis, keepdims))
        return 4.0 * n, float((n + out) * x.dtype.itemsize)

    def family_kernels(self) -> dict[str, Any]:
        return {"cpu": f"reduce:{self.name}"}

    def composite(self, x: Any, axis: Shape, keepdims: bool, correction: float) -> Any:
        """In two passes: the mean, then squares of what differs from it."""
        dtype = x.dtype if x.dtype.is_float else default_float()
        x = x if x.dtype.is_float else cast(x, float64)
        middle = mean(x, axis, True)
        left = _left(x.shape, axis, correction)
        found = div(sum(square(sub(x, middle)), axis, keepdims), left)
        found = sqrt(found) if self.name.startswith("std") else found
        results = found, reshape(middle, found.shape)
        results = tuple(r if r.dtype is dtype else cast(r, dtype) for r in results)
        return results if len(self.output_names) == 2 else results[0]

    def reference(self, x: Any, axis: Shape, keepdims: bool, correction: float) -> Any:
        found = _numpy_var(x, axis, keepdims, correction)
        found = np.sqrt(found) if self.name.startswith("std") else found
        return found if len(self.output_names) == 1 else (found, _numpy_mean(x, axis, keepdims))

    def magnitude(self, x: Any, axis: Shape, keepdims: bool, correction: float) -> Any:
        found = self.reference(x, axis, keepdims, correction)
        return None if self.outputs == "out" else (found[0], _numpy_mean(np.abs(x), axis, keepdims))

    def family_samples(self) -> Iterator[Sample]:
        yield from super().family_samples()
        yield Sample((5, 9), axis=1, correction=1, why="corrected")
        yield Sample((5, 9), axis=0, correction=1.5, keepdims=True, why="corrected by a fraction")
        far = np.random.default_rng(0).standard_normal((3, 5000)) + 1000.0
        yield Sample(far, axis=1, why="far from 0", grad=False)
        yield Sample(far.T.copy(), axis=0, why="far from 0, columns", grad=False)
        far[0, :700] += 1000.0
        yield Sample(far, axis=1, why="the first elements lie apart", grad=False)
        yield Sample(np.full((3, 70), 0.5), axis=1, why="all equal", grad=False)
        yield Sample((2, 1), axis=1, correction=1, why="nothing left to divide by", grad=False)
        big = np.array([[2**24, 2**24 + 1, 2**24 + 5], [1, 2, 4]], np.int32)
        yield Sample(big, axis=1, why="integers that float32 does not hold", grad=False)

    def family_baselines(self) -> dict[str, str]:
        axes = "tuple(range(x.ndim)) if axis is None else axis"
        torch = f"torch.{self.name}({{}}, {axes}, correction=correction, keepdim=keepdims)"
        if len(self.output_names) == 2:
            return {"torch": torch.format("x")}
        return {
            "numpy": f"np.{self.name}(x, axis, ddof=correction, keepdims=keepdims)", "torch": torch.format("x"),
            "jax": f"jnp.{self.name}(x, axis, ddof=int(correction), keepdims=keepdims)",
        }  # fmt: skip


def _of_var(dvar: Any, x: Any, axis: Shape, keepdims: bool, correction: float) -> Any:
    """d var / dx = 2 (x - mean) / (n - correction)."""
    left = _left(x.shape, axis, correction)
    middle = mean(x, axis, True)
    return mul(sub(x, middle), mul(aligned(dvar, x.shape, axis, keepdims), 2 / left if left else math.nan))


def _of_root(dstd: Any, std: Any) -> Any:
    """The gradient of a variance from that of its root; 0 where that is 0."""
    zero = eq(std, 0)
    return where(zero, 0, div(mul(dstd, 0.5), where(zero, 1, std)))


def _of_mean(dmean: Any, x_shape: Shape, axis: Shape, keepdims: bool) -> Any:
    n = count_of(x_shape, axis)
    return expand(aligned(mul(dmean, 1 / n) if n else dmean, x_shape, axis, keepdims), x_shape)


def _both(dvar: Any, dmean: Any, x: Any, axis: Shape, keepdims: bool, correction: float) -> Any:
    first = None if dvar is None else _of_var(dvar, x, axis, keepdims, correction)
    second = None if dmean is None else _of_mean(dmean, x.shape, axis, keepdims)
    return first if second is None else second if first is None else add(first, second)


_moments = Moments.definition


@_moments(gradient=lambda dout, x, axis, keepdims, correction: _of_var(dout, x, axis, keepdims, correction))
def var(x: Spec, axis: Axes = None, keepdims: bool = False, correction: float = 0.0) -> None:
    """Variance of the elements along `axis`: sum((x - mean(x))^2) / (n - correction), n the number of elements.

    One pass over memory, as exact as two. Floats keep their dtype, bool and integers give float32. `correction`: 0 for
    that of the elements themselves (NumPy's default), 1 for an unbiased estimate from a sample (PyTorch's default;
    NumPy's ddof). NaN where there is nothing to divide by. Errors as in `sum`.

    >>> dl.var(dl.tensor([1.0, 2.0, 3.0, 4.0])).item()
    1.25
    """


@_moments(
    gradient=lambda dout, x, out, axis, keepdims, correction: (
        _of_var(_of_root(dout, out), x, axis, keepdims, correction)
    ),
)  # fmt: skip
def std(x: Spec, axis: Axes = None, keepdims: bool = False, correction: float = 0.0) -> None:
    """Standard deviation of the elements along `axis`: the square root of `var`, with its arguments.

    The gradient is 0 where all elements are equal.

    >>> dl.std(dl.tensor([1.0, 1.0, 3.0, 3.0])).item()
    1.0
    """


@_moments(outputs="var mean", gradient=_both)
def var_mean(x: Spec, axis: Axes = None, keepdims: bool = False, correction: float = 0.0) -> None:
    """Variance and mean of the elements along `axis` in one pass: (var, mean). Arguments as of `var`.

    >>> [t.item() for t in dl.var_mean(dl.tensor([1.0, 3.0]))]
    [1.0, 2.0]
    """


@_moments(
    outputs="std mean",
    gradient=lambda dstd, dmean, x, std, axis, keepdims, correction: (
        _both(None if dstd is None else _of_root(dstd, std), dmean, x, axis, keepdims, correction)
    ),
)  # fmt: skip
def std_mean(x: Spec, axis: Axes = None, keepdims: bool = False, correction: float = 0.0) -> None:
    """Standard deviation and mean of the elements along `axis` in one pass: (std, mean). Arguments as of `var`.

    >>> [t.item() for t in dl.std_mean(dl.tensor([1.0, 3.0]))]
    [1.0, 2.0]
    """


for _function in (var, std, var_mean, std_mean):

    @_function.restrict
    def _(operands: list[Any], largest: float) -> None:
        """Squares of differences must be numbers, and none of them subnormal."""
        bound = math.sqrt(largest) / (4 * builtins.max(1, operands[0].size))
        operands[0] = without_tiny(limited(operands[0], bound), largest)


# ---- norm -----------------------------------------------------------------------------------------------------------


class Order(Kind):
    """The order of a norm: a number, infinity, or "fro" for 2."""

    hint = 'float | Literal["fro"] | None'

    def accept(self, value: Any, where: str) -> float:
        if value is None or (isinstance(value, str) and value == "fro"):
            return 2.0
        if isinstance(value, str):
            raise ValueError(f"{where} {value!r} is neither a number nor 'fro'")
        order = number(value, where)
        if math.isnan(order):
            raise ValueError(f"{where} is NaN")
        return order

    def moved(self, value: float, size: int) -> float:
        return value

    def wrong(self, where: str, given: Any) -> tuple[Any, type[Exception], str]:
        return "nuc", ValueError, f"{where} 'nuc' is neither a number nor 'fro'"


def _by_kernel(p: float) -> bool:
    return p in (0.0, 1.0, 2.0) or math.isinf(p)


def _numpy_norm(x: Any, p: float, axis: Shape, keepdims: bool) -> Any:
    a = np.abs(x)
    if p == 0:
        return np.sum(a != 0, axis=axis, keepdims=keepdims).astype(np.float64)
    if math.isinf(p):
        if p > 0:
            return np.max(a, axis=axis, keepdims=keepdims, initial=0.0)
        return np.min(a, axis=axis, keepdims=keepdims, initial=np.inf)
    powers = np.power(a.astype(np.longdouble), p)
    return np.power(np.sum(powers, axis=axis, keepdims=keepdims), 1 / p).astype(np.float64)


@reduction(
    promote=floating, dtypes=FLOATS, cast="float32", special=True, ulp=8, flops=2, reference=_numpy_norm,
    kernels={"cpu": [("reduce:norm", _by_kernel)], "cuda": None},
    params=lambda x, p, axis: (builtins.sum(1 << d for d in axis), float(p)),
    baselines={
        "numpy": "np.linalg.norm(x.ravel() if axis is None else x, p, axis, keepdims)",
        "torch": "torch.linalg.vector_norm(x, p, axis, keepdims)",
        "jax": "jnp.linalg.vector_norm(x, axis=axis, ord=p, keepdims=keepdims)",
    },
    samples=[
        *(Sample((33, 65), p=p, axis=1, why=f"rows of order {p}") for p in (1.0, math.inf, -math.inf, 3.0)),
        *(Sample((33, 65), p=p, axis=0, why=f"columns of order {p}") for p in (0.0, 1.0, math.inf, -math.inf, 1.5)),
        Sample(np.array([[0.0, 0.0], [0.0, -2.0]]), p="fro", axis=1, why="zeros", grad=False),
        *(Sample(np.array([[0.0, np.nan], [np.inf, -2.0]], np.float32), p=p, axis=1, why=f"NaN, order {p}", grad=False)
          for p in (0.0, 1.0, math.inf, -math.inf)),
        Sample(np.array([3e30, 4e30, 1e-30, 0.0], np.float32), axis=0, why="squares that overflow", grad=False),
        Sample(np.array([[3e-30, 4e-30]], np.float32).T.copy(), axis=0, why="squares that vanish", grad=False),
    ],
    workloads=[
        Workload((MILLION,), why="1M"), Workload((MILLION,), (math.inf,), "1M, largest"),
        Workload((RAGGED,), (2.0, 1), "ragged, rows"), Workload(((4096, 1000),), (2.0, 0), "columns"),
        Workload(((8,),), why="the cost of a call"),
    ],
)  # fmt: skip
def norm(x: Spec, p: Annotated[Any, Order()] = 2.0, axis: Axes = None, keepdims: bool = False) -> None:
    """Norm of the vectors along `axis`: sum(|x|^p)^(1/p).

    `p`: 2 (or "fro") for the Euclidean length, 1 for the sum of absolute values, inf for the largest of them, -inf for
    the smallest, 0 for the number of elements that are not 0, or any other number. Of several axes all elements are one
    vector. Integers become float32; the norm of nothing is 0, of order -inf infinite. The gradient is 0 where the norm
    is 0; of order inf and -inf it goes to the elements that have it, in equal parts. Errors as in `sum`.

    >>> dl.norm(dl.tensor([3.0, 4.0])).item()
    5.0
    """


@norm.composite
def _(x: Any, p: float, axis: Shape, keepdims: bool) -> Any:
    if x.dtype.itemsize == 2:  # powers are rounded once, at the end
        return cast(norm(cast(x, float32), p, axis, keepdims), x.dtype)
    size = abs(x)
    if p == 0:
        return cast(sum(cast(size, bool), axis, keepdims), x.dtype)
    if p == 2:
        return sqrt(sum(square(x), axis, keepdims))
    if p == 1:
        return sum(size, axis, keepdims)
    if math.isinf(p):
        if count_of(x.shape, axis) == 0:
            return add(sum(size, axis, keepdims), 0 if p > 0 else math.inf)
        return max(size, axis, keepdims) if p > 0 else min(size, axis, keepdims)
    if p > 0 and not (x.requires_grad and _C.is_grad_enabled()):
        return pow(sum(pow(size, p), axis, keepdims), 1 / p)
    nothing = eq(size, 0)  # whose powers may have infinite slopes
    total = sum(where(nothing, 0.0 if p > 0 else math.inf, pow(where(nothing, 1, size), p)), axis, keepdims)
    none = eq(total, 0)
    return where(none, 0, pow(where(none, 1, total), 1 / p))


@norm.gradient
def _(dout: Any, x: Any, out: Any, p: float, axis: Shape, keepdims: bool) -> Any:
    d, size = (aligned(t, x.shape, axis, keepdims) for t in (dout, out))
    if p == 0:
        return expand(mul(d, 0), x.shape)
    if p == 1:
        return mul(sign(x), d)
    if math.isinf(p):
        chosen = cast(eq(abs(x), size), x.dtype)
        return mul(mul(sign(x), chosen), div(d, maximum(sum(chosen, axis, True), 1)))
    zero = eq(size, 0)
    scale = where(zero, 1, size)
    if p == 2:
        return mul(x, where(zero, 0, div(d, scale)))
    nothing = eq(x, 0)
    ratio = where(nothing, 1, div(abs(x), scale))
    return mul(mul(sign(x), where(nothing, 0, pow(ratio, p - 1))), d)


@norm.restrict
def _(operands: list[Any], largest: float) -> None:
    """Squares must be numbers, and none of them subnormal."""
    bound = math.sqrt(largest) / builtins.max(1, operands[0].size)
    operands[0] = without_tiny(limited(operands[0], bound), largest)


# ---- spelled with others --------------------------------------------------------------------------------------------


def amax(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Largest element along ``axis``: `max` under another name.

    >>> dl.amax(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([7, 5])
    """
    return called("amax", max, x, axis, keepdims)


def amin(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Smallest element along ``axis``: `min` under another name.

    >>> dl.amin(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([1, 2])
    """
    return called("amin", min, x, axis, keepdims)


def aminmax(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Smallest and largest elements along ``axis``: (min, max). Errors as of `max`.

    >>> [t.item() for t in dl.aminmax(dl.tensor([3, 1, 2]))]
    [1, 3]
    """
    return called("aminmax", min, x, axis, keepdims), called("aminmax", max, x, axis, keepdims)


def ptp(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Range of the elements along ``axis``, from peak to peak: max(x) - min(x). Errors as of `max`; no bools.

    >>> dl.ptp(dl.tensor([3, 1, 7]))
    tensor(6)
    """
    return called("ptp", sub, called("ptp", max, x, axis, keepdims), called("ptp", min, x, axis, keepdims))


def average(x: Any, axis: int | tuple[int, ...] | None = None, weights: Any = None, keepdims: bool = False) -> Any:
    """Weighted mean along ``axis``: sum(weights x) / sum(weights); without ``weights`` the mean.

    ``weights``: of the shape of x, or with one axis of the length of the one ``axis``. Raises ShapeError where they are
    of another shape.

    >>> dl.average(dl.tensor([1.0, 2.0, 6.0]), weights=[1.0, 1.0, 2.0]).item()
    3.75
    """
    x = operand(x, "average")
    if weights is None:
        return called("average", mean, x, axis, keepdims)
    w = operand(weights, "average", "weights")
    if w.shape != x.shape:
        if not isinstance(axis, int) or w.ndim != 1:
            raise ShapeError(f"average: weights have shape {w.shape}, x has {x.shape}")
        at = axis_of(axis, "average: axis", x.shape)
        if w.shape[0] != x.shape[at]:
            raise ShapeError(f"average: weights have shape {w.shape}, axis {at} of x has length {x.shape[at]}")
        w = expand(reshape(w, tuple(n if d == at else 1 for d, n in enumerate(x.shape))), x.shape)
    return called("average", div, called("average", sum, mul(x, w), axis, keepdims), sum(w, axis, keepdims))
