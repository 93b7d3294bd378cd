"""Order statistics along axes: median, quantile, percentile, and those that leave NaN out.

They are elements of the sorted lines, or lie between two of them. `axis` is None (all axes), an int or a tuple of ints;
`keepdims` leaves the reduced axes in place with length 1. Floats keep their dtype, bool and integers give float32.
Gradients go to the elements that were chosen.
"""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, Literal, get_args

import numpy as np

from dlcore import _C
from dlcore._arguments import items, number, renamed, shown
from dlcore.dtypes import float32, float64, int64
from dlcore.errors import ShapeError
from dlcore.op import Axes, ErrorInput, Op, Sample, Spec, Workload, floating
from dlcore.op.signature import Kind
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of
from dlcore.ops.elementwise import (
    add,
    cast,
    eq,
    floor_divide,
    ge,
    gt,
    isnan,
    logical_not,
    maximum,
    minimum,
    mul,
    sub,
    where,
)  # fmt: skip
from dlcore.ops.gather import gather
from dlcore.ops.movement import concat, permute, reshape, transpose
from dlcore.ops.order import sort
from dlcore.ops.reduce import sum as total

__all__ = ["median", "nanmedian", "nanquantile", "percentile", "quantile"]

Shape = tuple[int, ...]
Method = Literal["linear", "lower", "higher", "midpoint", "nearest"]
METHODS = get_args(Method)  # in the order of enum Method in csrc/order/quantile.inl


# ---- the family -----------------------------------------------------------------------------------------------------


def _kept(shape: Shape, axis: Shape, keepdims: bool) -> Shape:
    return tuple(1 if d in axis else n for d, n in enumerate(shape) if keepdims or d not in axis)


def _length(shape: Shape, axis: Shape) -> int:
    return math.prod(shape[d] for d in axis)


class _Fractions(Kind):
    """A number from 0 to 1, or several."""

    hint = "float | Sequence[float] | Tensor"

    def accept(self, value: Any, where: str) -> Any:
        known: Any = value
        plain = known.tolist() if isinstance(value, np.ndarray | np.generic | _C.TensorBase) else value
        several = items(plain)
        found = tuple(number(q, where) for q in ([plain] if several is None else several))
        for q in found:
            if not 0 <= q <= 1:
                raise ValueError(f"{where} {shown(q)} is not between 0 and 1")
        return found[0] if several is None else found

    def wrong(self, where: str, given: Any) -> tuple[Any, type[Exception], str]:
        return 1.5, ValueError, f"{where} 1.5 is not between 0 and 1"


Fractions = Annotated[Any, _Fractions()]


def _adjacent(axis: Shape) -> bool:
    """Whether axes follow each other: the lines are then told by two numbers."""
    return bool(axis) and axis[-1] - axis[0] + 1 == len(axis)


def _numbers(missing: bool, axis: Shape, q: Any = 0.5, method: str = "linear") -> tuple[int | float, ...]:
    """What the kernel is told: the axes, whether NaN is left out, the method, and the quantiles."""
    several = q if isinstance(q, tuple) else (q,)
    return axis[0], axis[-1] + 1, int(missing), METHODS.index(method), len(several), *several


def _examples(call: Any) -> Any:
    """All examples at once (see dlcore/ops/_batching.py); several quantiles lie along an axis in front of them."""
    given = dict(zip(call.op.attribute_names, call.attrs, strict=True))
    given["axis"] = tuple(axis + 1 for axis in given["axis"])
    found = call.run(call.values, list(given.values()))
    return transpose(found, 0, 1) if isinstance(given.get("q"), tuple) else found


class OrderStatistic(Op):
    """A statistic of the sorted elements along axes of `x`."""

    family = "order"
    promote = staticmethod(floating)
    cast = "float32"
    batch = staticmethod(_examples)
    methods = True
    ulp = 4.0
    missing = False
    """Whether NaN is left out."""

    def infer(self, x: Spec, *attrs: Any) -> Spec:
        """The shape without the reduced axes. Raises ShapeError where they are empty."""
        axis = attrs[self.signature.attribute_names.index("axis")]
        for d in axis:
            if x.shape[d] == 0:
                raise ShapeError(f"{self.name}: cannot reduce an empty axis: axis {d} of shape {x.shape}")
        found: Spec = self.rule(x, *attrs)
        return found

    def family_kernels(self) -> dict[str, Any]:
        return {"cpu": [("order:quantile", _adjacent)]}

    def cost(self, x: Spec, axis: Shape) -> tuple[float, float]:
        """A few comparisons an element, which is read once."""
        n = math.prod(x.shape)
        return 4.0 * n, bytes_of(x) + n / max(_length(x.shape, axis), 1) * x.dtype.itemsize

    @property
    def given(self) -> dict[str, Any]:
        """Attributes that samples need."""
        return {"q": 0.3} if "q" in self.signature.attribute_names else {}

    def family_samples(self) -> list[Sample]:
        special = np.array([[1, np.nan, 3, -np.inf], [np.inf, np.inf, 2, 1], [np.nan] * 4], np.float32)
        given = self.given
        return [
            Sample((5, 7), axis=1, why="rows, odd", **given),
            Sample((6, 5), axis=0, keepdims=True, why="columns, even, axis kept", **given),
            Sample((4, 5), axis=None, why="all axes", **given),
            Sample((3, 4, 5), axis=(0, 2), why="axes apart", **given),
            Sample((2, 3, 4), axis=(-1, 0), keepdims=True, why="axes apart, kept", **given),
            Sample((33, 65), axis=-1, why="unaligned", grad=False, **given),
            Sample(special[:2], axis=1, why="NaN, infinities", grad=False, **(given and {"q": 1.0, "method": "lower"})),
            *(Sample(special, axis=1, why="nothing but NaN", grad=False, **given) for _ in range(self.missing)),
            Sample((3, 1), axis=1, why="one element", **given), Sample((), axis=None, why="0-d", **given),
            Sample((0, 3), axis=1, why="empty, along the other axis", **given),
            Sample(np.arange(12).reshape(3, 4), axis=1, why="integers", grad=False, **given),
        ]  # fmt: skip

    def family_error_inputs(self) -> list[ErrorInput]:
        text = f"{self.name}: cannot reduce an empty axis: axis 0 of shape (0, 3)"
        return [ErrorInput(ShapeError, text, np.zeros((0, 3)), axis=0, **self.given)]

    def family_workloads(self) -> list[Workload]:
        first = tuple(self.given.values())
        return [
            Workload(((8,),), first, "the cost of a call"),
            Workload((MILLION,), first, "1M", (float32, float64)),
            Workload(((1000, 1000),), (*first, 1), "rows", (float32,)),
            Workload((RAGGED,), (*first, 0), "ragged, columns", (float32,)),
        ]


statistic = OrderStatistic.definition


def _rows(x: Any, axis: Shape) -> Any:
    """`x` with the axes in ``axis`` as one, the last."""
    kept = [d for d in range(x.ndim) if d not in axis]
    moved = permute(x, (*kept, *axis)) if [*kept, *axis] != list(range(x.ndim)) else x
    return reshape(moved, (*(x.shape[d] for d in kept), _length(x.shape, axis)))


def _numpy(name: str) -> Any:
    """NumPy's function, of all elements of an array without axes, and without the warning that all are NaN."""

    def reference(x: Any, *args: Any, axis: Shape, **attrs: Any) -> Any:
        if not x.size:  # NumPy does not take several axes then
            return np.zeros((*np.shape(args[0] if args else 0.0), *_kept(x.shape, axis, attrs["keepdims"])))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return getattr(np, name)(x, *args, axis=axis if x.ndim else None, **attrs)

    return reference


def _median_parts(name: str) -> dict[str, Any]:
    """Reference and magnitude."""
    function = _numpy(name)
    return {
        "reference": lambda x, axis, keepdims: function(x, axis=axis, keepdims=keepdims),
        "magnitude": lambda x, axis, keepdims: (
            np.abs(function(x, axis=axis, keepdims=keepdims)) + function(np.abs(x), axis=axis, keepdims=keepdims)
        ),
    }


# ---- median ---------------------------------------------------------------------------------------------------------


@statistic(
    **_median_parts("median"), params=lambda axis: _numbers(False, axis),
    baselines={
        "numpy": "np.median(x, axis, keepdims=keepdims)",
        "torch": "torch.quantile(x, 0.5) if axis is None else torch.quantile(x, 0.5, axis, keepdims)",
        "jax": "jnp.median(x, axis, keepdims=keepdims)",
    },
)  # fmt: skip
def median(x: Spec, axis: Axes = None, keepdims: bool = False) -> Spec:
    """The middle of the elements along `axis`; of an even number the mean of the middle two; NaN where there is one.

    This is NumPy's median. PyTorch's is the smaller one of the two, kthvalue(x, (n + 1) // 2), and returns indices too
    where it is given an axis. Raises IndexError for an axis out of range, ShapeError where one is empty or given twice.

    >>> dl.median(dl.tensor([4.0, 1.0, 3.0, 2.0])).item()
    2.5
    """
    return Spec(_kept(x.shape, axis, keepdims), x.dtype)


@median.composite
def _(x: Any, axis: Shape, keepdims: bool) -> Any:
    s = sort(_rows(x, axis))
    n, last = s.shape[-1], s[..., -1]
    middle = s[..., n // 2]
    if n % 2 == 0:
        middle = add(mul(s[..., n // 2 - 1], 0.5), mul(middle, 0.5))  # the sum might overflow
    return reshape(where(isnan(last), last, middle), _kept(x.shape, axis, keepdims))


@statistic(
    missing=True, **_median_parts("nanmedian"), params=lambda axis: _numbers(True, axis),
    baselines={
        "numpy": "np.nanmedian(x, axis, keepdims=keepdims)",
        "torch": "torch.nanquantile(x, 0.5) if axis is None else torch.nanquantile(x, 0.5, axis, keepdims)",
        "jax": "jnp.nanmedian(x, axis, keepdims=keepdims)",
    },
)  # fmt: skip
def nanmedian(x: Spec, axis: Axes = None, keepdims: bool = False) -> Spec:
    """The median of the elements along `axis` that are not NaN; NaN where there are none. Errors as in `median`.

    >>> dl.nanmedian(dl.tensor([4.0, float("nan"), 3.0])).item()
    3.5
    """
    return Spec(_kept(x.shape, axis, keepdims), x.dtype)


@nanmedian.composite
def _(x: Any, axis: Shape, keepdims: bool) -> Any:
    s = sort(_rows(x, axis))
    count = total(logical_not(isnan(s)), -1, True)
    upper = minimum(floor_divide(count, 2), s.shape[-1] - 1)
    lower = maximum(floor_divide(sub(count, 1), 2), 0)  # of nothing: the first, which is NaN
    middle = add(mul(gather(s, lower, -1), 0.5), mul(gather(s, upper, -1), 0.5))
    return reshape(middle, _kept(x.shape, axis, keepdims))


# ---- quantile -------------------------------------------------------------------------------------------------------


def _quantile_shape(x: Spec, q: Any, axis: Shape, keepdims: bool) -> Spec:
    lead = (len(q),) if isinstance(q, tuple) else ()
    return Spec((*lead, *_kept(x.shape, axis, keepdims)), x.dtype)


def _place(q: float, n: int, method: str) -> tuple[int, int, float]:
    """(lower element, upper element, how far between them) of ``n`` sorted ones."""
    at = q * (n - 1)
    low = math.floor(at)
    part = at - low
    if method == "linear" or part == 0:
        return low, min(low + 1, n - 1), part
    if method == "midpoint":
        return low, low + 1, 0.5
    chosen = low if method == "lower" else low + 1 if method == "higher" else round(at)
    return chosen, chosen, 0.0


def _between(low: Any, high: Any, part: Any) -> Any:
    """low (1 - part) + high part: infinite, not NaN, where one of the two is; their value where they are equal."""
    return where(eq(low, high), low, add(mul(low, 1 - part), mul(high, part)))


def _quantiles(rows: Any, q: Any, shape: Shape, one: Any) -> Any:
    """``one(q)`` of each, along a new first axis where there are several."""
    if not isinstance(q, tuple):
        return reshape(one(q), shape)
    if not q:
        return reshape(rows[..., :0], (0, *shape))
    return concat([reshape(one(p), (1, *shape)) for p in q], 0)


def _quantile_parts(name: str) -> dict[str, Any]:
    """Reference, and as magnitude the larger of the absolute values between which a quantile lies.

    NumPy interpolates between equal infinities, which gives NaN; so this is made of elements that it finds.
    """
    function = _numpy(name)

    def between(x: Any, q: Any, axis: Shape, keepdims: bool) -> list[Any]:
        return [function(x, q, axis=axis, method=m, keepdims=keepdims) for m in ("lower", "higher")]

    def reference(x: Any, q: Any, axis: Shape, keepdims: bool, method: str) -> Any:
        if method in ("lower", "higher", "nearest"):
            return function(x, q, axis=axis, method=method, keepdims=keepdims)
        low, high = between(x, q, axis, keepdims)
        numbers = ~np.isnan(x) if "nan" in name else np.ones(x.shape, bool)
        count = np.sum(numbers, axis=axis, keepdims=keepdims)
        at = np.multiply.outer(q, np.maximum(count - 1, 0))
        part = at - np.floor(at) if method == "linear" else 0.5
        return np.where(low == high, low, low * (1 - part) + high * part)

    def magnitude(x: Any, q: Any, axis: Shape, keepdims: bool) -> Any:
        return np.maximum(*np.abs(between(x, q, axis, keepdims)))

    return {"reference": reference, "magnitude": magnitude}


_METHODS = [
    *(Sample((5, 8), q=0.3, axis=1, method=m, why=m) for m in ("lower", "higher", "midpoint", "nearest")),
    Sample((5, 8), q=(0.0, 0.5, 0.75, 1.0), axis=0, why="several"),
    Sample((5, 8), q=(0.9,), axis=None, keepdims=True, why="several, all axes, kept"),
    Sample((3, 5), q=(), axis=1, why="none", grad=False), Sample((3, 2000), q=0.37, axis=1, why="long", grad=False),
    Sample((300_001,), q=0.77, axis=0, why="several chunks", grad=False),
    Sample(np.full((1, 3), 0.1), q=0.7, axis=1, why="equal elements", grad=False),
]


@statistic(
    samples=_METHODS, **_quantile_parts("quantile"),
    params=lambda axis, q, method: _numbers(False, axis, q, method),
    baselines={
        "numpy": "np.quantile(x, q, axis, keepdims=keepdims, method=method)",
        "torch": "torch.quantile(x, q, axis, keepdims, interpolation=method)",
        "jax": "jnp.quantile(x, jnp.float32(q), axis, keepdims=keepdims, method=method)",
    },
)  # fmt: skip
def quantile(
    x: Spec, q: Fractions, axis: Axes = None, keepdims: bool = False, method: Method = "linear"
) -> Spec:
    """The value below which the fraction `q` of the elements along `axis` lies; NaN where there is one among them.

    `q`: a number from 0 to 1, or several, which come along a new first axis. q (n - 1) is a place among the n sorted
    elements; where it is between two, `method` "linear" interpolates, "midpoint" gives their mean, "lower", "higher"
    and "nearest" (half to even) one of them. As numpy.quantile and torch.quantile.

    Raises ValueError for a `q` out of range, IndexError for an axis out of range, ShapeError where one is empty.

    >>> dl.quantile(dl.tensor([1.0, 2.0, 3.0, 4.0]), [0.5, 1.0]).tolist()
    [2.5, 4.0]
    """
    return _quantile_shape(x, q, axis, keepdims)


@quantile.composite
def _(x: Any, q: Any, axis: Shape, keepdims: bool, method: str) -> Any:
    s = sort(_rows(x, axis))
    last = s[..., -1]
    missing = isnan(last)

    def one(p: float) -> Any:
        low, high, part = _place(p, s.shape[-1], method)
        found = s[..., low] if part == 0 else _between(s[..., low], s[..., high], part)
        return where(missing, last, found)

    return _quantiles(s, q, _kept(x.shape, axis, keepdims), one)


@statistic(
    missing=True, samples=_METHODS, **_quantile_parts("nanquantile"),
    params=lambda axis, q, method: _numbers(True, axis, q, method),
    baselines={
        "numpy": "np.nanquantile(x, q, axis, keepdims=keepdims, method=method)",
        "torch": "torch.nanquantile(x, q, axis, keepdims, interpolation=method)",
        "jax": "jnp.nanquantile(x, jnp.float32(q), axis, keepdims=keepdims, method=method)",
    },
)  # fmt: skip
def nanquantile(
    x: Spec, q: Fractions, axis: Axes = None, keepdims: bool = False, method: Method = "linear"
) -> Spec:
    """The quantile of the elements along `axis` that are not NaN; NaN where there are none. See `quantile`.

    >>> dl.nanquantile(dl.tensor([1.0, float("nan"), 3.0]), 0.5).item()
    2.0
    """
    return _quantile_shape(x, q, axis, keepdims)


@nanquantile.composite
def _(x: Any, q: Any, axis: Shape, keepdims: bool, method: str) -> Any:
    s = sort(_rows(x, axis))
    last = cast(maximum(sub(total(logical_not(isnan(s)), -1, True), 1), 0), float64)

    def one(p: float) -> Any:
        at = mul(last, p)
        low = cast(at, int64)
        part = sub(at, cast(low, float64))
        high = minimum(add(low, 1), cast(last, int64))
        if method == "lower":
            return gather(s, low, -1)
        if method == "higher":
            return gather(s, where(gt(part, 0), high, low), -1)
        if method == "nearest":  # half to even
            even = eq(low, mul(floor_divide(low, 2), 2))
            return gather(s, where(where(even, gt(part, 0.5), ge(part, 0.5)), high, low), -1)
        if method == "midpoint":
            part = where(gt(part, 0), 0.5, 0.0)
        a, b = gather(s, low, -1), gather(s, high, -1)
        return where(gt(part, 0), _between(a, b, cast(part, x.dtype)), a)

    return _quantiles(s, q, _kept(x.shape, axis, keepdims), one)


def percentile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The value below which ``q`` per cent of the elements along ``axis`` lie: quantile(x, q / 100, ...).

    Raises ValueError for a ``q`` that is not between 0 and 100.

    >>> dl.percentile(dl.tensor([1.0, 2.0, 3.0, 4.0]), 50).item()
    2.5
    """
    plain = q.tolist() if hasattr(q, "tolist") else q
    several = items(plain)
    found = [number(p, "percentile: q") for p in ([plain] if several is None else several)]
    for p in found:
        if not 0 <= p <= 100:
            raise ValueError(f"percentile: q {shown(p)} is not between 0 and 100")
    fractions: Any = [p / 100 for p in found]
    try:
        return quantile(x, fractions[0] if several is None else fractions, axis, keepdims, method)
    except (TypeError, ValueError, IndexError) as error:
        raise renamed(error, "percentile") from error
