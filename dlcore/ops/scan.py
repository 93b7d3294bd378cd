"""Scans along one axis: cumsum, cumprod, cummax, cummin, logcumsumexp, and the recurrence behind their gradients.

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

from dlcore.dtypes import DTYPES, FLOATS, DType, float32, int64, total_dtype
from dlcore.errors import ShapeError
from dlcore.op import Axis, Dtype, ErrorInput, Input, Op, Sample, Spec, Workload, floating
from dlcore.ops._domains import near_one
from dlcore.ops._workloads import MILLION, RAGGED
from dlcore.ops.elementwise import cast, eq, exp, mul, sub, where
from dlcore.ops.gather import gather_backward
from dlcore.ops.movement import flatten, reshape
from dlcore.ops.slicing import slice, slice_backward

__all__ = ["cummax", "cummin", "cumprod", "cumsum", "logcumsumexp"]

Shape = tuple[int, ...]

# ---- the family -----------------------------------------------------------------------------------------------------


def _scanned(shape: Shape, axis: int | None) -> Shape:
    return shape if axis is not None else (math.prod(shape),)


def _line(x: Any, axis: int | None) -> tuple[Any, int]:
    """An array as the reference scans it, and along which axis."""
    return (np.ravel(x), 0) if axis is None else (x, axis)


def _shaped(dout: Any, shape: Shape, axis: int | None) -> Any:
    """The gradient of what a scan of an operand of ``shape`` gave, in that shape; a view."""
    return reshape(dout, shape) if axis is None else dout


class Scan(Op):
    """A scan of the operands along `axis`. The shape rule may be empty."""

    family = "scan"
    dtypes = DTYPES
    cast = "float32"
    flops: float = 1
    """Arithmetic operations an element."""
    result: DType | None = None
    methods = True
    ulp = 8  # 64 additions in a row of a column, whose roundings add up like a random walk

    def infer(self, x: Spec, axis: int | None) -> Any:
        """The operand's shape and dtype, or the widest integer for sums and products of integers."""
        return Spec(_scanned(x.shape, axis), total_dtype(x.dtype))

    def params(self, axis: int | None, reverse: bool) -> tuple[int, ...]:
        """The axis, or -1, and the attributes after it."""
        return (-1 if axis is None else axis, int(reverse))

    def cost(self, x: Spec) -> tuple[float, float]:
        """``flops`` an element; each read and written once."""
        n = math.prod(x.shape)
        return float(self.flops * n), float(n * (x.dtype.itemsize + (x.dtype.itemsize if x.dtype.is_float else 8)))

    def family_samples(self) -> Iterator[Sample]:
        yield Sample((33, 65), axis=-1, why="rows, unaligned")
        yield Sample((33, 65), axis=0, why="columns, unaligned")
        yield Sample((2, 40, 3), axis=1, why="an axis in the middle")
        yield Sample((3, 5), axis=None, why="all elements")
        yield Sample((), axis=None, why="0-d")
        yield Sample((4, 1), axis=1, why="an axis of length 1")
        yield Sample((3, 0), axis=1, why="an empty axis")
        yield Sample((0, 3), axis=1, why="no lines")
        yield Sample((2, 1500), axis=1, why="several blocks", grad=False)
        yield Sample((140_001,), axis=0, why="several chunks", grad=False)
        if self._has("reverse"):
            yield Sample((5, 67), axis=1, reverse=True, why="rows from the end")
            yield Sample((67, 5), axis=0, reverse=True, why="columns from the end")
            yield Sample((70_001,), axis=0, reverse=True, why="chunks from the end", grad=False)
        if self._has("exclusive"):
            yield Sample((5, 67), axis=1, exclusive=True, why="rows, exclusive")
            yield Sample((67, 5), axis=0, exclusive=True, why="columns, exclusive")
            yield Sample((3, 20), axis=1, reverse=True, exclusive=True, why="from the end, exclusive")
            yield Sample((70_001,), axis=0, exclusive=True, why="chunks, exclusive", grad=False)

    def _has(self, name: str) -> bool:
        return name in self.attribute_names

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(IndexError, f"{self.name}: axis -1 is out of range for shape ()", np.zeros(()), axis=-1)

    def family_workloads(self) -> list[Workload]:
        return [
            Workload((MILLION,), (0,), "1M"), Workload(((4096, 1000),), (1,), "rows"),
            Workload((RAGGED,), (0,), "ragged, columns"), Workload(((8,),), (0,), "the cost of a call"),
            Workload(((1 << 24,),), (0,), "16M", (float32,)),
        ]  # fmt: skip

    def family_baselines(self) -> dict[str, str]:
        return {
            "numpy": f"np.{self.name}(x, axis)", "torch": f"torch.{self.name}(x, axis)",
            "jax": f"jnp.{self.name}(x, axis)",
        }  # fmt: skip


scan = Scan.definition


def _as_scanned(function: Any, x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    """NumPy's scan from either end, with each element or up to it."""
    x, axis = _line(x, axis)
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
        return Spec(_scanned(x.shape, axis), dtype or (total_dtype(x.dtype)))

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
    return _as_scanned(np.add, x, axis, reverse, exclusive)


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
    dx = _shaped(cumsum(dout, 0 if axis is None else axis, not reverse, exclusive), x_shape, axis)
    return dx if dx.dtype is x_dtype else cast(dx, x_dtype)


def _numpy_cumprod(x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    return _as_scanned(np.multiply, x, axis, reverse, exclusive)


def _roundings(x: Any, axis: int | None, reverse: bool, exclusive: bool) -> Any:
    """The size of a product times the root of the number of its factors: each is rounded."""
    size = np.abs(_numpy_cumprod(x, axis, reverse, exclusive))
    return size * np.sqrt(_as_scanned(np.add, np.ones_like(x), axis, reverse, False))


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
    h = recurrence(moved(lines, d, not reverse), dout, d, not reverse)
    dx = _shaped(mul(before, h), x.shape, axis)
    return dx if dx.dtype is x.dtype else cast(dx, x.dtype)


def _place(shape: Shape, axis: int, start: int) -> tuple[Any, ...]:
    """All but one element of each line, from ``start`` on."""
    return (*((0, n, 1) for n in shape[:axis]), (start, max(shape[axis] - 1, 0), 1))


def moved(x: Any, axis: int, to_front: bool) -> Any:
    """x one place along ``axis``, to its front or to its end, with 0 in the place that is left."""
    kept = slice(x, _place(x.shape, axis, int(to_front and x.shape[axis] > 0)))
    return slice_backward(kept, x.shape, _place(x.shape, axis, int(not to_front and x.shape[axis] > 0)))


# ---- recurrence -----------------------------------------------------------------------------------------------------


def _numpy_recurrence(factors: Any, terms: Any, axis: int, reverse: bool) -> Any:
    a, b = np.moveaxis(factors, axis, 0), np.moveaxis(terms, axis, 0)
    out = np.zeros(b.shape, np.result_type(a, b))
    steps = range(len(b))
    h = np.zeros(b.shape[1:], out.dtype)
    for k, t in enumerate(reversed(steps) if reverse else steps):
        h = a[t] * h + b[t] if k else b[t] + 0 * h
        out[t] = h
    return np.moveaxis(out, 0, axis)


class Recurrence(Scan):
    """A scan of two operands."""

    dtypes = FLOATS
    promote = staticmethod(floating)

    def infer(self, factors: Spec, terms: Spec) -> Spec:  # type: ignore[override]
        """The operands' shape."""
        if factors.shape != terms.shape:
            raise ShapeError(f"{self.name}: factors and terms differ in shape: {factors.shape} and {terms.shape}")
        return Spec(terms.shape, terms.dtype)

    def cost(self, factors: Spec) -> tuple[float, float]:
        """A product and a sum an element."""
        n = math.prod(factors.shape)
        return 2.0 * n, 3.0 * n * factors.dtype.itemsize

    def family_samples(self) -> Iterator[Sample]:
        for sample in super().family_samples():
            (shape,) = sample.inputs
            if sample.attrs["axis"] is not None:
                yield sample.but(Input(shape, -0.9, 0.9), shape)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: factors and terms differ in shape: (2, 3) and (3, 2)"
        yield ErrorInput(ShapeError, text, np.zeros((2, 3)), np.zeros((3, 2)), axis=0)

    def family_workloads(self) -> list[Workload]:
        return [w._replace(operands=(Input(w.operands[0], -0.9, 0.9), *w.operands)) for w in super().family_workloads()]

    def family_baselines(self) -> dict[str, str]:
        step = "lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])"
        return {"jax": f"jax.lax.associative_scan({step}, (factors, terms), reverse=reverse, axis=axis)[1]"}


@Recurrence.definition(
    reference=_numpy_recurrence,
    magnitude=lambda factors, terms, axis, reverse: _numpy_recurrence(np.abs(factors), np.abs(terms), axis, reverse),
)  # fmt: skip
def recurrence(factors: Spec, terms: Spec, axis: Axis = -1, reverse: bool = False) -> None:
    """The linear recurrence h[t] = factors[t] h[t-1] + terms[t] along `axis`, h[-1] = 0: the first factor is unused.

    factors, terms: of one shape; integers become float32. `reverse`: h[t] = factors[t] h[t+1] + terms[t], from the end.
    Raises ShapeError where shapes differ, IndexError for an axis out of range.
    """


@recurrence.gradient("factors", "terms")
def _(dout: Any, factors: Any, out: Any, axis: int, reverse: bool, needs_input_grad: Any) -> Any:
    # dterms[t] = dout[t] + factors[t+1] dterms[t+1], dfactors[t] = dterms[t] h[t-1]
    dterms = recurrence(moved(factors, axis, not reverse), dout, axis, not reverse)
    dfactors = mul(dterms, moved(out, axis, reverse)) if needs_input_grad[0] else None
    return dfactors, dterms


# ---- cummax, cummin -------------------------------------------------------------------------------------------------


class Extrema(Scan):
    """cummax and cummin: values, and the index of each."""

    outputs = "values indices"
    ulp = 0

    def infer(self, x: Spec, axis: int | None) -> tuple[Spec, Spec]:
        """Values and indices of the operand's shape."""
        shape = _scanned(x.shape, axis)
        return Spec(shape, x.dtype), Spec(shape, int64)

    def params(self, axis: int | None) -> tuple[int, ...]:  # type: ignore[override]
        return (-1 if axis is None else axis, 0)

    def reference(self, x: Any, axis: int | None) -> tuple[Any, Any]:
        """One element after another."""
        x, axis = _line(x, axis)
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
    x, axis = _line(x, axis)
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
    first, second = (slice(finite, _place(finite.shape, d, k)) for k in (0, int(finite.shape[d] > 0)))
    step = sub(second, first) if reverse else sub(first, second)
    place = _place(finite.shape, d, int(reverse and finite.shape[d] > 0))
    decay = where(nothing, 0, slice_backward(exp(step), finite.shape, place))
    h = recurrence(decay, dout, d, not reverse)
    return _shaped(where(nothing, 0, mul(exp(sub(lines, finite)), h)), x.shape, axis)
