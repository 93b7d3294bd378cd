"""How often values occur: bincount of integers, histogram of numbers."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import integer, items, number, operand, renamed
from dlcore.dtypes import DType, bool_, default_float, float32, float64, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Spec, Workload
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import add, cast, div, ge, le, logical_and, lt, maximum, minimum, mul, sub, where
from dlcore.ops.gather import take, take_backward
from dlcore.ops.movement import expand, flatten
from dlcore.ops.reduce import max, min, sum
from dlcore.ops.slicing import assign

__all__ = ["bincount", "histc", "histogram"]

# ---- bincount -------------------------------------------------------------------------------------------------------


def _counted(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """Bools as bytes; weights that are no floats to float64."""
    x, weights = specs
    assert x is not None
    weighed = weights and (weights.dtype if weights.dtype.is_float and not weights.weak else float64)
    return [uint8 if x.dtype is bool_ else x.dtype, weighed]


def _numbers(n: int, low: int, high: int, dtype: DType = int64) -> Input:
    return Input((n,), low, high, dtype)


class Count(Op):
    """A count of integers, or a sum of what they weigh."""

    promote = staticmethod(_counted)
    kinds = ("int", "uint", "bool")
    ulp = 4

    def check(self, x: Spec, weights: Spec | None) -> DType:
        """The result's dtype; raises ShapeError unless both are vectors of one length."""
        if len(x.shape) != 1:
            raise ShapeError(f"{self.name}: x has shape {x.shape}, not one axis")
        if weights is None:
            return int64
        if weights.shape != x.shape:
            raise ShapeError(f"{self.name}: weights have shape {weights.shape}, x has {x.shape}")
        return weights.dtype

    def cost(self, x: Spec, weights: Spec | None) -> tuple[float, float]:
        """An addition an element."""
        return float(math.prod(x.shape)), bytes_of(x, weights)


_SAMPLES = [
    Sample(_numbers(1000, 0, 37), None, why="few values", grad=False),
    Sample(_numbers(999, 0, 100, uint8), None, why="uint8", grad=False),
    Sample(Input((50,), dtype=bool_), None, why="bools", grad=False),
    Sample(_numbers(500, 0, 5000), None, why="more places than a table in turn", grad=False),
    Sample(np.zeros(0, np.int64), None, why="no elements", grad=False),
    Sample(_numbers(300_000, 0, 10), None, why="several parts", grad=False),
    Sample(_numbers(70, 0, 9), (70,), why="weights"),
    Sample(_numbers(280_000, 0, 10), (280_000,), why="weights, several parts", grad=False),
    Sample(np.array([1, 1, 3]), np.array([2, 3, 4]), why="integers as weights", grad=False),
]
_WRONG = [
    ErrorInput(ShapeError, "bincount: x has shape (1, 2), not one axis", np.array([[0, 1]]), None),
    ErrorInput(ShapeError, "bincount: weights have shape (3,), x has (2,)", np.array([0, 1]), np.zeros(3)),
    ErrorInput(ValueError, "bincount: value -1 at position 1 is negative", np.array([0, -1]), None),
]


def _reference(x: Any, weights: Any, size: int) -> Any:
    if weights is None:
        return np.bincount(x.astype(np.int64), minlength=size)
    return np.bincount(x.astype(np.int64), weights.astype(np.float64), minlength=size)


def _magnitude(x: Any, weights: Any, size: int) -> Any:
    return None if weights is None else _reference(x, np.abs(weights), size)


_TIMED = [
    Workload((_numbers(1 << 20, 0, 100), None), (), "1M, 100 values", (float32,)),
    Workload((_numbers(1 << 20, 0, 100), (1 << 20,)), (), "1M, weights", (float32,)),
    Workload((_numbers(1_000_000, 0, 100_000), None), (), "1M, 100000 values", (float32,)),
    Workload((_numbers(8, 0, 8), None), (), "the cost of a call", (float32,)),
]


@Count.definition(
    family="count", kernels={"cpu": "count:bincount", "cuda": None}, params=lambda size: (size,),
    reference=_reference, magnitude=_magnitude,
    gradient={"weights": lambda dout, x: take(dout, x, 0)},
    samples=[s.but(size=5500) for s in _SAMPLES],
    error_inputs=[
        *(ErrorInput(e.error, e.text.replace("bincount", "bincount_sized"), *e.inputs, size=7) for e in _WRONG),
        ErrorInput(ValueError, "bincount_sized: value 7 at position 1 is not below 7", np.array([0, 7]), None, size=7),
        ErrorInput(ValueError, "bincount_sized: size is -1; it must be at least 0", np.array([0, 7]), None, size=-1),
    ],
    workloads=[w._replace(attrs=(100_000,)) for w in _TIMED],
    baselines={"jax": "jnp.bincount(x, weights, length=size)"},
)  # fmt: skip
def bincount_sized(x: Spec, weights: Spec | None = None, size: int = 0) -> None:
    """How often each of 0 .. `size` - 1 is among the elements of `x`: what `bincount` runs once it knows the size.

    With a `size` given it can be recorded. Raises ValueError for an element that is negative or not below `size`.
    """


@bincount_sized.infer
def _(x: Spec, weights: Spec | None, size: int) -> Spec:
    dtype = bincount_sized.op.check(x, weights)
    return Spec((integer(size, "bincount_sized: size", 0),), dtype)


@bincount_sized.composite
def _(x: Any, weights: Any, size: int) -> Any:
    if _size_of(x, 0) > size:
        at = int(np.argmax(np.asarray(x.detach().cpu()) >= size))
        raise ValueError(f"bincount: value {x[at].item()} at position {at} is not below {size}")
    if weights is not None:
        return take_backward(weights, x, (size,), 0)
    ones = expand(assign.inplace(_C.empty((), float64, x.device.code), 1), x.shape)
    return cast(take_backward(ones, x, (size,), 0), int64)


def _bincount(x: Any, weights: Any, minlength: int) -> Any:
    found = _C.count_values(x, minlength) if weights is None else None  # without a plan for each size
    return bincount_sized(x, weights, _size_of(x, minlength)) if found is None else found


def _size_of(x: Any, minlength: int) -> int:
    """How many places there are; raises ValueError for a negative element."""
    if x.shape[0] == 0:
        return minlength
    if x.dtype.kind == "int" and min(x).item() < 0:
        at = int(np.argmax(np.asarray(x.detach().cpu()) < 0))
        raise ValueError(f"bincount: value {x[at].item()} at position {at} is negative")
    return builtins.max(int(max(x).item()) + 1, minlength)


@Count.definition(
    family="", dynamic=True, methods=True,
    composite=lambda x, weights, minlength: _bincount(x, weights, minlength),
    reference=lambda x, weights, minlength: _reference(x, weights, minlength),
    magnitude=lambda x, weights, minlength: _magnitude(x, weights, minlength),
    samples=[*_SAMPLES, Sample(np.array([1, 1, 3]), None, minlength=6, why="more places", grad=False)],
    error_inputs=[
        *_WRONG,
        ErrorInput(ValueError, "bincount: minlength is -1; it must be at least 0", np.array([0]), None,
                   minlength=-1),
        ErrorInput(DTypeError, "bincount: does not take float64", np.zeros(3), None),
    ],
    workloads=_TIMED,
    baselines={
        "numpy": "np.bincount(x, weights, minlength)", "torch": "torch.bincount(x, weights, minlength)",
    },
)  # fmt: skip
def bincount(x: Spec, weights: Spec | None = None, minlength: int = 0) -> None:
    """How often each of 0, 1, ... is among the elements of `x`, as int64: out[v] is the number of v.

    x (N), integers that are not negative; there are max(x) + 1 results, at least `minlength`. `weights` (N): the sums
    of what the elements weigh instead, in their dtype (float64 of integers), added in float64 in a fixed order; a
    gradient flows to them. The shape depends on values, so a step that calls it cannot be recorded. Raises ValueError
    for a negative element, ShapeError where x has several axes or weights another shape.

    >>> dl.bincount(dl.tensor([1, 3, 1])).tolist()
    [0, 2, 0, 1]
    """


@bincount.infer
def _(x: Spec, weights: Spec | None, minlength: int) -> Spec:
    dtype = bincount.op.check(x, weights)
    return Spec((integer(minlength, "bincount: minlength", 0),), dtype)


# ---- histogram ------------------------------------------------------------------------------------------------------


def _limits(x: Any, given: Any) -> tuple[float, float]:
    """The first and the last edge."""
    if given is not None:
        several = items(given)
        if several is None or len(several) != 2:
            raise TypeError("histogram: range is not a pair (low, high)")
        low, high = (number(v, "histogram: range") for v in several)
        if low > high:
            raise ValueError(f"histogram: range is ({low}, {high}): low must not exceed high")
    elif x.shape[0] == 0:
        low, high = 0.0, 1.0
    else:
        low, high = float(min(x).item()), float(max(x).item())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"histogram: the range ({low}, {high}) is not finite")
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _even_places(x: Any, edges: Any, low: float, high: float, bins: int) -> Any:
    """The bin of each element between the limits; ``bins`` for others. An edge decides, whatever was rounded before."""
    inside = logical_and(ge(x, low), le(x, high))
    scaled = mul(sub(where(inside, x, low), low), bins / (high - low))
    place = minimum(cast(scaled, int64), bins - 1)
    place = sub(place, cast(lt(x, take(edges, place)), int64))
    place = maximum(place, 0)
    above = logical_and(ge(x, take(edges, add(place, 1))), lt(place, bins - 1))
    return where(inside, add(place, cast(above, int64)), bins)


def _given_edges(bins: Sequence[Any] | Any, dtype: DType) -> Any:
    edges = operand(bins, "histogram", "bins").detach()
    if edges.ndim != 1 or edges.shape[0] < 2:
        raise ShapeError(f"histogram: bins have shape {edges.shape}: not one axis of at least two edges")
    edges = edges if edges.dtype is dtype else cast(edges, dtype)
    if sum(lt(edges[1:], edges[:-1])).item():
        raise ValueError("histogram: bins must increase")
    return edges


def histogram(
    x: Any, bins: Any = 10, range: Sequence[float] | None = None, weights: Any = None, density: bool = False
) -> Any:
    """How many elements lie in each bin, and the edges of the bins: (values, edges), as NumPy's function.

    ``bins``: how many of equal width between the limits of ``range``, by default the smallest and largest element; or
    the edges themselves, increasing. Bin k holds edges[k] <= x < edges[k + 1], the last one its upper edge too;
    elements outside are left out. values (bins) are int64, with ``weights`` of the shape of x the sums of what the
    elements weigh; ``density``: divided by their sum and the bins' widths, in the dtype of the edges. The edges
    (bins + 1) have the dtype of x, float32 for integers. Raises ValueError where the range is not finite or edges
    decrease.

    >>> [t.tolist() for t in dl.histogram(dl.tensor([0.0, 1.0, 1.5, 4.0]), bins=4)]
    [[1, 2, 0, 1], [0.0, 1.0, 2.0, 3.0, 4.0]]
    """
    x = operand(x, "histogram")
    if weights is not None:
        weights = operand(weights, "histogram", "weights")
        if weights.shape != x.shape:
            raise ShapeError(f"histogram: weights have shape {weights.shape}, x has {x.shape}")
        weights = flatten(weights)
    dtype = x.dtype if x.dtype.is_float else default_float()
    flat = flatten(x.detach())
    flat = flat if flat.dtype.is_float else cast(flat, float64)
    if items(bins) is not None:
        edges = _given_edges(bins, flat.dtype)
        places = _found_places(flat, edges)
    else:
        bins = integer(bins, "histogram: bins", 1)
        low, high = _limits(flat, range)
        exact = np.linspace(low, high, bins + 1)
        edges = cast(operand(exact, "histogram"), flat.dtype).to(x.device)
        places = _even_places(flat, edges, low, high, bins)
    values = bincount_sized(places, weights, edges.shape[0])[:-1]
    edges = edges if edges.dtype is dtype else cast(edges, dtype)
    if density:
        values = cast(values, dtype) if not values.dtype.is_float else values
        values = div(div(values, sum(values)), sub(edges[1:], edges[:-1]))
    return values, edges


def histc(x: Any, bins: int = 100, min: float = 0.0, max: float = 0.0) -> Any:
    """How many elements lie in each of ``bins`` bins of equal width from ``min`` to ``max``, in the dtype of x (bins).

    PyTorch's function: where both limits are the same they are the smallest and the largest element. `histogram` has
    more. Raises ValueError where the limits are not finite or ``min`` exceeds ``max``.

    >>> dl.histc(dl.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    x, limits = operand(x, "histc"), (number(min, "histc: min"), number(max, "histc: max"))
    try:
        if limits[0] == limits[1]:
            limits = _limits(flatten(cast(x, float64)), None)
        return cast(histogram(x, integer(bins, "histc: bins", 1), limits)[0], x.dtype)
    except (TypeError, ValueError) as error:
        raise renamed(error, "histc") from None


def _found_places(x: Any, edges: Any) -> Any:
    """The bin of each element between edges that need not be even, found by halving; their number for others."""
    last = edges.shape[0] - 1
    inside = logical_and(ge(x, edges[0]), le(x, edges[-1]))
    place = cast(mul(cast(inside, int64), 0), int64)
    for bit in reversed(builtins.range(last.bit_length())):
        further = add(place, 1 << bit)
        reached = logical_and(le(further, last), ge(x, take(edges, minimum(further, last))))
        place = where(reached, further, place)
    return where(inside, minimum(place, last - 1), last)
