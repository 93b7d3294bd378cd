"""Scans along one axis: cumsum, cumprod, cummax, cummin, logcumsumexp.

`axis` is an int; None takes all elements in row-major order and gives one axis. `reverse` begins at the end. Sums and
products of floats are in float64 on a CPU and float32 or wider on a GPU, rounded once for each result, those of
integers in int64, which wraps; long lines are cut by their length alone, so that the bits are the same for any number
of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import FLOATS, DType, float32, int64, total_dtype
from dlcore.op import Axis, Dtype, Input, Sample, Spec, Workload, floating
from dlcore.ops._domains import near_one
from dlcore.ops._scan import Scan, line_of, moved, place_of, scanned_shape, shaped
from dlcore.ops.elementwise import cast, eq, exp, mul, sub, where
from dlcore.ops.gather import gather_backward
from dlcore.ops.movement import flatten, reshape
from dlcore.ops.recurrence import linear_recurrence
from dlcore.ops.slicing import slice, slice_backward

__all__ = ["cummax", "cummin", "cumprod", "cumsum", "logcumsumexp"]

Shape = tuple[int, ...]

scan = Scan.definition


def _asscanned_shape(function: Any, x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    """NumPy's scan from either end, with each element or up to it."""
    x, axis = line_of(x, axis)
    x = np.flip(x, axis) if reverse else x
    if exclusive and x.shape[axis]:
        first = np.full_like(x[_along(axis, 0, 1)], function.identity)
        x = np.concatenate([first, x[_along(axis, 0, x.shape[axis] - 1)]], axis)
    total = {"f": np.longdouble, "u": np.uint64}.get(x.dtype.kind, np.int64)
    out = function.accumulate(x, axis, dtype=total)
    out = out.astype(x.dtype) if x.dtype.kind == "f" else out
    return np.flip(out, axis) if reverse else out


def _along(axis: int, begin: int, end: int) -> tuple[Any, ...]:
    """The index of NumPy that takes [begin, end) along ``axis``."""
    return (*[np.s_[:]] * axis, np.s_[begin:end])


def _plain(dtype: DType | None) -> bool:
    """Whether there is nothing to cast first."""
    return dtype is None


class Accumulation(Scan):
    """cumsum and cumprod: in the dtype of a sum, or in `dtype`, to which x is cast first."""

    def infer(self, x: Spec, axis: int | None, dtype: DType | None) -> Spec:  # type: ignore[override]
        """As of the family, in ``dtype`` where it is given."""
        return Spec(scanned_shape(x.shape, axis), dtype or (total_dtype(x.dtype)))

    def params(self, axis: int | None, reverse: bool, exclusive: bool) -> tuple[int, ...]:  # type: ignore[override]
        return (-1 if axis is None else axis, int(reverse), int(exclusive))

    def family_kernels(self) -> dict[str, Any]:
        return {device: [(kernel, _plain)] for device, kernel in super().family_kernels().items()}

    def composite(self, x: Any, axis: int | None, reverse: bool, exclusive: bool, dtype: DType) -> Any:
        """The operation on x in ``dtype``; of integers other than int64 the total wraps once more."""
        return cast(self.call(cast(x, dtype), axis, reverse, exclusive), dtype)

    def family_samples(self) -> Iterator[Sample]:
        yield from super().family_samples()
        yield Sample((3, 20), axis=1, dtype=float32, why="in float32", grad=False)
        yield Sample(Input((3, 20), 0, 7, int64), axis=1, dtype=float32, why="integers in float32", grad=False)


    def family_workloads(self) -> list[Workload]:
        """Of signs, whose sums and products are exact in any order."""
        shapes = [(w, w.operands[0]) for w in super().family_workloads()]
        return [w._replace(operands=(Input(shape, draw=partial(_signs, shape)),)) for w, shape in shapes]


def _signs(shape: Shape, rng: np.random.Generator) -> Any:
    return np.where(rng.random(shape, np.float32) < 0.5, np.float32(-1), np.float32(1))


accumulation = Accumulation.definition

# ---- cumsum, cumprod ------------------------------------------------------------------------------------------------


def _numpy_cumsum(x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    return _asscanned_shape(np.add, x, axis, reverse, exclusive)


@accumulation(
    reference=_numpy_cumsum,
    magnitude=lambda x, axis, reverse, exclusive: _numpy_cumsum(np.abs(x), axis, reverse, exclusive),
)  # fmt: skip
def cumsum(
    x: Spec, axis: Axis | None = None, reverse: bool = False, exclusive: bool = False, dtype: Dtype | None = None
) -> None:
    """Sums of the elements along `axis` up to each: out[i] = x[0] + ... + x[i]; of bool and integers int64 or uint64.

    `axis`: None for all elements in row-major order. `reverse`: from each to the end. `exclusive`: without the element
    itself. `dtype`: x is cast to it first. The gradient is the sum from the other end. Raises IndexError for an axis
    out of range.

    >>> dl.cumsum(dl.tensor([1, 2, 3])).tolist()
    [1, 3, 6]
    """


@cumsum.gradient
def _(dout: Any, x_shape: Shape, x_dtype: DType, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    dx = shaped(cumsum(dout, 0 if axis is None else axis, not reverse, exclusive), x_shape, axis)
    return dx if dx.dtype is x_dtype else cast(dx, x_dtype)


def _numpy_cumprod(x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    return _asscanned_shape(np.multiply, x, axis, reverse, exclusive)


def _roundings(x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    """The size of a product times the root of the number of its factors: each is rounded."""
    size = np.abs(_numpy_cumprod(x, axis, reverse, exclusive))
    return size * np.sqrt(_asscanned_shape(np.add, np.ones_like(x), axis, reverse, False))


@accumulation(
    reference=_numpy_cumprod, magnitude=_roundings,
    samples=[
        Sample(np.array([[1.5, 0.0, 2.0, -3.0], [0.0, 2.0, 0.0, 0.5], [2.0, -1.0, 3.0, 0.25]]), axis=1, why="zeros"),
    ],
)  # fmt: skip
def cumprod(
    x: Spec, axis: Axis | None = None, reverse: bool = False, exclusive: bool = False, dtype: Dtype | None = None
) -> None:
    """Products of the elements along `axis` up to each: out[i] = x[0] ... x[i]; of bool and integers int64 or uint64.

    Arguments as of `cumsum`. The gradient is right where elements are 0. Raises IndexError for an axis out of range.

    >>> dl.cumprod(dl.tensor([1, 2, 3])).tolist()
    [1, 2, 6]
    """


@cumprod.restrict
def _(operands: list[Any], largest: float) -> None:
    """Products in any order must be normal numbers."""
    operands[0] = near_one(operands[0], largest)


@cumprod.gradient
def _(dout: Any, x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    # out[i] = x[0] ... x[i], so that dx[j] = (x[0] ... x[j-1]) h[j] with h[j] = dout[j] + x[j+1] h[j+1]
    lines, d = (flatten(x), 0) if axis is None else (x, axis)
    if lines.dtype is not dout.dtype:
        lines = cast(lines, dout.dtype)
    before = cumprod(lines, d, reverse, True)
    if exclusive:  # dout of the next, with a factor more
        dout = moved(dout, d, not reverse)
    h = linear_recurrence(moved(lines, d, not reverse), dout, None, d, not reverse)
    dx = shaped(mul(before, h), x.shape, axis)
    return dx if dx.dtype is x.dtype else cast(dx, x.dtype)


# ---- cummax, cummin -------------------------------------------------------------------------------------------------


class Extrema(Scan):
    """cummax and cummin: values, and the index of each."""

    outputs = "values indices"
    ulp = 0

    def infer(self, x: Spec, axis: int | None) -> tuple[Spec, Spec]:
        """Values and indices of the operand's shape."""
        shape = scanned_shape(x.shape, axis)
        return Spec(shape, x.dtype), Spec(shape, int64)

    def params(self, axis: int | None) -> tuple[int, ...]:  # type: ignore[override]
        return (-1 if axis is None else axis, 0)

    def reference(self, x: Any, axis: int | None) -> tuple[Any, Any]:
        """One element after another."""
        x, axis = line_of(x, axis)
        values, indices = np.array(np.moveaxis(x, axis, 0)), np.zeros(np.moveaxis(x, axis, 0).shape, np.int64)
        better = np.greater_equal if self.name == "cummax" else np.less_equal
        for t in range(1, len(values)):
            best, new = values[t - 1], values[t].copy()
            taken = (new != new) | ((best == best) & better(new, best))
            values[t], indices[t] = np.where(taken, new, best), np.where(taken, t, indices[t - 1])
        return np.moveaxis(values, 0, axis), np.moveaxis(indices, 0, axis)

    def family_samples(self) -> Iterator[Sample]:
        yield from super().family_samples()
        ties = Input((6, 40), draw=lambda rng: rng.integers(0, 4, (6, 40)).astype(np.float64))
        yield Sample(ties, axis=1, why="ties: the last", grad=False)
        yield Sample(ties, axis=0, why="ties in columns", grad=False)
        x = np.ones((4, 30), np.float32)
        x[0, 7], x[1, 3], x[2, 9], x[3] = np.nan, np.inf, -np.inf, -np.inf
        x[0, 20] = np.nan
        yield Sample(x, axis=1, why="NaN and infinities", grad=False)
        yield Sample(x.T.copy(), axis=0, why="NaN and infinities in columns", grad=False)

    def cost(self, x: Spec) -> tuple[float, float]:
        """A comparison an element; values and indices written."""
        n = math.prod(x.shape)
        return float(n), float(n * (2 * x.dtype.itemsize + 8))

    def family_baselines(self) -> dict[str, str]:
        return {"torch": f"torch.{self.name}(x, axis)"}


def _of_extrema(dvalues: Any, indices: Any, x_shape: Shape, axis: int | None) -> Any:
    """The gradient goes to the elements that the values are."""
    if axis is not None:
        return gather_backward(dvalues, indices, x_shape, axis)
    return reshape(gather_backward(dvalues, indices, dvalues.shape, 0), x_shape)


@Extrema.definition(gradient=_of_extrema)
def cummax(x: Spec, axis: Axis | None = None) -> None:
    """Largest elements along `axis` up to each, and their indices: (values, indices), of equal elements the last.

    Indices are int64. From a NaN on all are NaN. `axis`: None for all elements in row-major order. The gradient goes to
    the elements at the indices. Raises IndexError for an axis out of range.

    >>> [t.tolist() for t in dl.cummax(dl.tensor([1, 3, 2]))]
    [[1, 3, 3], [0, 1, 1]]
    """


@Extrema.definition(gradient=_of_extrema)
def cummin(x: Spec, axis: Axis | None = None) -> None:
    """Smallest elements along `axis` up to each, and their indices: (values, indices), of equal elements the last.

    Indices are int64. From a NaN on all are NaN. `axis`: None for all elements in row-major order. The gradient goes to
    the elements at the indices. Raises IndexError for an axis out of range.

    >>> [t.tolist() for t in dl.cummin(dl.tensor([3, 1, 2]))]
    [[3, 1, 1], [0, 1, 1]]
    """


# ---- logcumsumexp ---------------------------------------------------------------------------------------------------

_SPECIAL = np.array([[-np.inf, 0.0, np.inf, 1.0], [0.0, np.nan, 1.0, 2.0], [-np.inf] * 4], np.float32)


def _numpy_logcumsumexp(x: Any, axis: int | None, reverse: bool) -> Any:
    x, axis = line_of(x, axis)
    x = np.flip(x, axis) if reverse else x
    out = np.logaddexp.accumulate(x.astype(np.longdouble), axis).astype(x.dtype) if x.shape[axis] else x
    return np.flip(out, axis) if reverse else out


@scan(
    dtypes=FLOATS, promote=floating, flops=60, reference=_numpy_logcumsumexp,
    magnitude=lambda x, axis, reverse: 1 + np.abs(_numpy_logcumsumexp(x, axis, reverse)),
    baselines={"numpy": "", "torch": "torch.logcumsumexp(x, axis)", "jax": "jax.lax.cumlogsumexp(x, axis, reverse)"},
    samples=[
        Sample(np.array([[1000.0, 999.0, 1001.0], [-1000.0, -1001.0, 1000.0]]), axis=1, why="exp would overflow",
               grad=False),
        Sample(_SPECIAL, axis=1, why="NaN and infinities", grad=False),
        Sample(_SPECIAL.T.copy(), axis=0, why="NaN and infinities in columns", grad=False),
    ],
)  # fmt: skip
def logcumsumexp(x: Spec, axis: Axis | None = None, reverse: bool = False) -> None:
    """Logarithms of the sums of exponentials along `axis` up to each: log(exp(x[0]) + ... + exp(x[i])).

    Nothing overflows: exponentials are taken of differences from the largest element so far. Integers become float32.
    `axis`: None for all elements in row-major order; `reverse`: from each to the end. Raises IndexError for an axis out
    of range.

    >>> dl.logcumsumexp(dl.tensor([0.0, 0.0])).round(4)
    tensor([0.    , 0.6931])
    """


@logcumsumexp.gradient
def _(dout: Any, x: Any, out: Any, axis: int | None, reverse: bool) -> Any:
    # dx[j] = exp(x[j] - out[j]) h[j], h[j] = dout[j] + exp(out[j] - out[j+1]) h[j+1]: no exponential exceeds 1
    lines, d = (flatten(x), 0) if axis is None else (x, axis)
    nothing = eq(out, -math.inf)  # where -inf - -inf would be NaN
    finite = where(nothing, 0, out)
    first, second = (slice(finite, place_of(finite.shape, d, k)) for k in (0, int(finite.shape[d] > 0)))
    step = sub(second, first) if reverse else sub(first, second)
    place = place_of(finite.shape, d, int(reverse and finite.shape[d] > 0))
    decay = where(nothing, 0, slice_backward(exp(step), finite.shape, place))
    h = linear_recurrence(decay, dout, None, d, not reverse)
    return shaped(where(nothing, 0, mul(exp(sub(lines, finite)), h)), x.shape, axis)
