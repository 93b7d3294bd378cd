"""Reductions over any set of axes: sum, mean, max, min, any, all, argmax, argmin, logsumexp.

`axis` is None (all axes), an int or a tuple of ints; negative ones count from the back. `keepdims` leaves the reduced
axes in place with length 1. Floats are summed in blocks of float32 lanes that end in float64, integers in int64; the
order depends on shape and strides only, so the same input gives the same bits for any number of threads.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import called
from dlcore.dtypes import (
    DTYPES,
    FLOATS,
    DType,
    bool_,
    default_float,
    float32,
    float64,
    int64,
    total_dtype,
    uint8,
)
from dlcore.errors import ShapeError
from dlcore.op import Axes, Axis, Dtype, ErrorInput, Input, Op, Sample, Spec, Workload, floating, function
from dlcore.ops._domains import limited
from dlcore.ops._workloads import MILLION, RAGGED, on_gpu
from dlcore.ops.elementwise import cast, div, eq, exp, mul, sub
from dlcore.ops.movement import expand, reshape

__all__ = ["all", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "sum"]

Shape = tuple[int, ...]

# ---- the family -----------------------------------------------------------------------------------------------------


def _kept(shape: Shape, axis: Shape) -> Shape:
    """``shape`` with the reduced axes of length 1."""
    return tuple(1 if d in axis else n for d, n in enumerate(shape))


def reduced_shape(shape: Shape, axis: Shape, keepdims: bool) -> Shape:
    """``shape`` without the reduced axes, or with them of length 1."""
    return _kept(shape, axis) if keepdims else tuple(n for d, n in enumerate(shape) if d not in axis)


def count_of(shape: Shape, axis: Shape) -> int:
    """Of how many elements each result is made."""
    return math.prod(shape[d] for d in axis)


def aligned(reduced: Any, shape: Shape, axis: Shape, keepdims: bool) -> Any:
    """What was reduced with its axes in place, so that it broadcasts against an operand of ``shape``; a view."""
    return reduced if keepdims else reshape(reduced, _kept(shape, axis))


class Reduction(Op):
    """An operation that reduces axes of `x`. The shape rule may be empty: that of the family keeps the dtype."""

    family = "reduce"
    dtypes = DTYPES
    result: DType | None = None
    """The output's dtype where it is not the operand's."""
    flops: float = 1
    """Arithmetic operations an element."""
    empty: bool = True
    """Whether an axis of length 0 can be reduced."""
    special: bool = False
    """Whether samples with NaN and infinities are worth their time."""
    large: Sequence[tuple[Shape, tuple[Any, ...]]] = ()
    """(shape, attributes) that are timed on GPUs alone."""
    interval: tuple[float, float] | None = None
    """Where timed operands come from."""
    quick: str = ""
    methods = True

    def infer(self, x: Spec, axis: Shape | int | None, keepdims: bool) -> Spec:
        """The shape without the reduced axes."""
        axes = tuple(range(len(x.shape))) if axis is None else (axis,) if isinstance(axis, int) else axis
        for d in axes if not self.empty else ():
            if x.shape[d] == 0:
                raise ShapeError(f"{self.name}: cannot reduce an empty axis: axis {d} of shape {x.shape}")
        return self.rule(x, axis, keepdims) or Spec(reduced_shape(x.shape, axes, keepdims), self.result or x.dtype)

    def params(self, x: Spec, axis: Shape | int | None) -> tuple[int, ...]:
        """A mask: bit d is set where axis d is reduced."""
        axes = range(len(x.shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
        return (builtins.sum(1 << d for d in axes),)

    def cost(self, x: Spec, axis: Shape, keepdims: bool) -> tuple[float, float]:
        """``flops`` an element; the operand read and the result written once."""
        n, out = math.prod(x.shape), math.prod(self.infer(x, axis, keepdims).shape)
        return float(self.flops * n), float((n + out) * x.dtype.itemsize)

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"reduce:{self.name}", "cuda": f"reduce.reduce:{self.name}"}

    def family_samples(self) -> Iterator[Sample]:
        yield Sample((33, 65), axis=None, why="all axes, unaligned")
        yield Sample((33, 65), axis=0, why="columns, unaligned")
        yield Sample((33, 65), axis=-1, keepdims=True, why="rows, unaligned, axis kept")
        if self.several:
            yield Sample((3, 4, 5), axis=(0, 2), why="axes apart")
            yield Sample((2, 3, 4, 5), axis=(-1, 1), keepdims=True, why="axes apart, kept, from the end")
        yield Sample((4, 1, 3), axis=1, why="an axis of length 1")
        if self.several:
            yield Sample((3, 4), axis=(), why="no axis")
        yield Sample((), axis=None, why="0-d")
        yield Sample((0, 3), axis=1, why="empty, along the other axis")
        yield Sample((200, 3), axis=1, why="many short rows")
        yield Sample((200, 3), axis=0, why="a few long columns")
        yield Sample((140_001,), axis=None, why="several chunks of several blocks", grad=False)
        yield Sample((1100, 70), axis=0, why="columns in several chunks", grad=False)
        yield Sample((1 << 20,), axis=None, why="1M", grad=False)
        yield Sample((4096, 1000), axis=0, why="long columns", grad=False)
        if self.empty:
            yield Sample((0, 3), axis=0, why="an empty axis", grad=False)
        if self.special:
            x = np.ones((6, 130), np.float32)
            x[0, 7], x[1, 3], x[2, 129], x[3], x[4, ::2] = np.nan, np.inf, -np.inf, -np.inf, np.nan
            yield Sample(x, axis=1, why="NaN and infinities in rows", grad=False)
            yield Sample(x, axis=0, why="NaN and infinities in columns", grad=False)
            yield Sample(x[2:4], axis=None, why="infinities", grad=False)

    @property
    def several(self) -> bool:
        """Whether it takes several axes."""
        return self.signature.attributes[0].kind is Axes.__metadata__[0]

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        x, none = np.zeros((2, 3)), np.zeros((0, 3))
        if self.several:
            text = f"{self.name}: an axis is given twice: (0, -2) for shape (2, 3)"
            yield ErrorInput(ShapeError, text, x, axis=(0, -2))
        if not self.empty:
            text = f"{self.name}: cannot reduce an empty axis: axis 0 of shape (0, 3)"
            yield ErrorInput(ShapeError, text, none, axis=0 if self.several else None)

    def family_workloads(self) -> list[Workload]:
        """All of a million elements, columns, ragged rows, 16 million."""

        def workload(shape: Shape, attrs: tuple[Any, ...], why: str, dtypes: Any = FLOATS, quick: str = "") -> Workload:
            return Workload((Input(shape, *(self.interval or ())),), attrs, why, dtypes, quick=quick)

        return [
            workload(MILLION, (), "1M", quick=self.quick),
            workload((4096, 1000), (0,), "columns"),
            workload(RAGGED, (1,), "ragged, rows"),
            workload((1 << 24,), (), "16M", (float32,)),
            *(on_gpu([shape], attrs) for shape, attrs in self.large),
        ]

    def family_baselines(self) -> dict[str, str]:
        return {
            "numpy": f"np.{self.name}(x, axis, keepdims=keepdims)", "torch": f"torch.{self.name}(x, axis, keepdims)",
            "jax": f"jnp.{self.name}(x, axis, keepdims=keepdims)",
        }  # fmt: skip


reduction = Reduction.definition

# ---- sum, mean ------------------------------------------------------------------------------------------------------


class Total(Reduction):
    """sum, mean and prod: with a `dtype` that x is cast to first."""

    cast = "float32"

    def infer(self, x: Spec, axis: Shape, keepdims: bool, dtype: DType | None) -> Spec:  # type: ignore[override]
        """The shape of the family, in ``dtype`` or the dtype of totals."""
        return Spec(reduced_shape(x.shape, axis, keepdims), dtype or self.total(x.dtype))

    def total(self, dtype: DType) -> DType:
        """Of operands of ``dtype``."""
        return total_dtype(dtype)

    def cost(self, x: Spec, axis: Shape, keepdims: bool) -> tuple[float, float]:
        """As of the family."""
        n, out = math.prod(x.shape), math.prod(reduced_shape(x.shape, axis, keepdims))
        return float(self.flops * n), float(n * x.dtype.itemsize + out * self.total(x.dtype).itemsize)

    def family_kernels(self) -> dict[str, Any]:
        cuda = {"sum": "sum_"}.get(self.name, self.name)
        kernels = {"cpu": f"reduce:{self.name}", "cuda": f"reduce.reduce:{cuda}"}
        return {device: [(kernel, _as_it_is)] for device, kernel in kernels.items()}

    def composite(self, x: Any, axis: Shape, keepdims: bool, dtype: DType) -> Any:
        """The operation on x in ``dtype``; of integers other than int64 the total is cast once more."""
        return cast(self.call(cast(x, dtype), axis, keepdims), dtype)

    def family_samples(self) -> Iterator[Sample]:
        yield from super().family_samples()
        yield Sample((3, 20), axis=1, dtype=float32, why="in float32", grad=False)
        yield Sample(Input((3, 20), 0, 3, int64), axis=0, dtype=float32, why="integers in float32", grad=False)
        yield Sample(Input((3, 20), 0, 3, int64), axis=0, dtype=uint8, why="wrapping in uint8", grad=False)


def _as_it_is(dtype: DType | None) -> bool:
    """Whether there is nothing to cast first."""
    return dtype is None


def numpy_total(dtype: Any) -> Any:
    """The dtype in which NumPy is to sum and multiply arrays of ``dtype``."""
    return dtype if dtype.kind in "fV" else np.uint64 if dtype.kind == "u" else np.int64  # V: bfloat16, to NumPy


def numpy_cast(x: Any, dtype: DType | None) -> Any:
    """What the reference makes of an operand that is cast first: floats stay in float64."""
    if dtype is None:
        return x
    if dtype.is_float:
        return np.asarray(x, np.float64)
    if dtype is not bool_ and x.dtype.kind == "f":  # dlcore's cast goes to the nearest limit, and of NaN to 0
        limits = np.iinfo(dtype.numpy)
        small = np.where(np.isnan(x), 0.0, np.clip(np.trunc(x), -(2.0**62), 2.0**62)).astype(np.int64)
        return np.clip(small, limits.min, limits.max).astype(dtype.numpy)
    return x.astype(dtype.numpy)


total = Total.definition


@total(
    quick="forward",
    large=[((1 << 26,), ()), ((8192, 8192), (0,)), ((8192, 8192), (1,))],
    ulp=4,  # 70 roundings of float32 at most, which add up like a random walk
    magnitude=lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims, dtype=np.float64),
)  # fmt: skip
def sum(x: Spec, axis: Axes = None, keepdims: bool = False, dtype: Dtype | None = None) -> None:
    """Sum of the elements along `axis`.

    Floats keep their dtype and are accumulated in float32 within blocks of 4096, in float64 beyond; bool and signed
    integers give int64, unsigned ones uint64. `dtype`: x is cast to it first, and it is the result's. The sum of
    nothing is 0. Raises IndexError for an axis out of range, ShapeError for one given twice.

    >>> dl.sum(dl.tensor([[1, 2], [3, 4]]), axis=0)
    tensor([4, 6])
    """


@sum.gradient
def _(dout: Any, x_shape: Shape, x_dtype: DType, axis: Shape, keepdims: bool) -> Any:
    dout = dout if dout.dtype is x_dtype else cast(dout, x_dtype)
    return expand(aligned(dout, x_shape, axis, keepdims), x_shape)


@sum.reference
def _(x: Any, axis: Shape, keepdims: bool, dtype: DType | None) -> Any:
    x = numpy_cast(x, dtype)
    out = np.sum(x, axis=axis, keepdims=keepdims, dtype=numpy_total(x.dtype))
    return numpy_cast(out, dtype)


class _Mean(Total):
    """mean: of integers a float, of their exact sum; `dtype` is that of the division too."""

    def total(self, dtype: DType) -> DType:
        return dtype if dtype.is_float else default_float()

    def params(self, x: Spec, axis: Shape) -> tuple[int, ...]:  # type: ignore[override]
        return builtins.sum(1 << d for d in axis), count_of(x.shape, axis)

    def family_kernels(self) -> dict[str, Any]:
        return super().family_kernels() | {"cuda": [("reduce.reduce:mean", _floats_as_they_are)]}

    def composite(self, x: Any, axis: Shape, keepdims: bool, dtype: DType | None) -> Any:
        """In ``dtype``; of integers on a GPU in float64."""
        if dtype is not None and dtype.is_float:
            return mean(cast(x, dtype), axis, keepdims)
        found = mean(cast(x, float64), axis, keepdims)
        return cast(found, dtype or default_float())


def _floats_as_they_are(x: Spec, dtype: DType | None) -> bool:
    return dtype is None and x.dtype.is_float


def _numpy_mean(x: Any, axis: Shape, keepdims: bool, dtype: DType | None) -> Any:
    out = np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64) / np.float64(count_of(x.shape, axis))
    return out if dtype is None or dtype.is_float else numpy_cast(np.asarray(out), dtype)


@_Mean.definition(
    ulp=4, reference=_numpy_mean,
    magnitude=lambda x, axis, keepdims: _numpy_mean(np.abs(x), axis, keepdims, None),
)  # fmt: skip
def mean(x: Spec, axis: Axes = None, keepdims: bool = False, dtype: Dtype | None = None) -> None:
    """Arithmetic mean of the elements along `axis`: their sum, divided by their number in float64.

    Floats keep their dtype, bool and integers are added in float64 and give float32. `dtype`: the result's, to which
    floats are cast first. The mean of nothing is NaN. Errors as in `sum`.

    >>> dl.mean(dl.tensor([[1.0, 2.0], [3.0, 6.0]]), axis=1)
    tensor([1.5, 4.5])
    """


@mean.gradient
def _(dout: Any, x_shape: Shape, x_dtype: DType, axis: Shape, keepdims: bool) -> Any:
    dout = dout if dout.dtype is x_dtype else cast(dout, x_dtype)
    n = count_of(x_shape, axis)
    return expand(aligned(mul(dout, 1 / n) if n else dout, x_shape, axis, keepdims), x_shape)


@mean.restrict
def _(operands: list[Any], largest: float) -> None:
    """The sum behind a mean overflows where the mean would not."""
    operands[0] = limited(operands[0], largest / builtins.max(1, operands[0].size))


# ---- max, min -------------------------------------------------------------------------------------------------------


def _extremum(name: str, numpy: Any) -> Any:
    """The decorator of max and min."""
    return reduction(
        kernels={"cuda": f"reduce.reduce:{name}_"}, ulp=0, empty=False, special=True, gradient=_share,
        reference=lambda x, axis, keepdims: numpy(x, axis, keepdims=keepdims),
        baselines={"torch": f"torch.{name}(x) if axis is None else torch.a{name}(x, axis, keepdims)"},
    )  # fmt: skip


def _share(dout: Any, x: Any, out: Any, x_dtype: DType, axis: Shape, keepdims: bool) -> Any:
    """The gradient goes to the elements equal to the result, in equal parts."""
    chosen = cast(eq(x, aligned(out, x.shape, axis, keepdims)), x_dtype)
    return mul(chosen, div(aligned(dout, x.shape, axis, keepdims), sum(chosen, axis, True)))


@_extremum("max", np.max)
def max(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Largest element along `axis`; NaN where there is one.

    The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty; other
    errors as in `sum`.

    >>> dl.max(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([7, 5])
    """


@_extremum("min", np.min)
def min(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Smallest element along `axis`; NaN where there is one.

    The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty; other
    errors as in `sum`.

    >>> dl.min(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([1, 2])
    """


def _of_two(own: str, name: str) -> Any:
    """PyTorch's other meaning of `max` and `min`: of two tensors, element by element."""

    def call(x: Any, other: Any) -> Any:
        two = isinstance(other, _C.TensorBase) and (other.shape != () or other.dtype.is_float)
        return called(own, function(name), x, other) if two else NotImplemented

    return call


max.otherwise(_of_two("max", "maximum"))
min.otherwise(_of_two("min", "minimum"))


# ---- any, all -------------------------------------------------------------------------------------------------------


class _Truth(Reduction):
    """any and all: of the operand's truth. Timed operands give nothing to stop early at."""

    result = bool_

    def family_samples(self) -> Iterator[Sample]:
        for sample in super().family_samples():
            rare = [Input(s, draw=partial(_rarely, s)) for s in sample.inputs]
            yield sample.but(*rare) if self.name == "any" else sample
        yield Sample(np.array([[0.0, np.nan], [0.0, 0.0]], np.float32), axis=1, why="NaN counts as true")
        zeros = np.zeros((3, 300), np.float32)
        zeros[1], zeros[2, 7], zeros[:, ::5] = 1, -1, -0.0
        for axis in (0, 1):
            yield Sample(zeros, axis=axis, why="zeros of both signs", grad=False)

    def family_baselines(self) -> dict[str, str]:
        torch = f"torch.{self.name}(x) if axis is None else torch.{self.name}(x, axis, keepdims)"
        return super().family_baselines() | {"torch": torch}


def _rarely(shape: Shape, rng: np.random.Generator) -> Any:
    return rng.standard_normal(shape) > 1.5


_truth = _Truth.definition


@_truth(
    kernels={"cuda": "reduce.reduce:any_"}, interval=(0.0, 0.0),
    reference=lambda x, axis, keepdims: np.any(x, axis, keepdims=keepdims),
)  # fmt: skip
def any(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Whether any element along `axis` is not zero; of nothing, False.

    >>> dl.any(dl.tensor([[True, False], [False, False]]), axis=1)
    tensor([ True, False])
    """


@_truth(
    kernels={"cuda": "reduce.reduce:all_"}, interval=(1.0, 2.0),
    reference=lambda x, axis, keepdims: np.all(x, axis, keepdims=keepdims),
)  # fmt: skip
def all(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Whether every element along `axis` is not zero; of nothing, True.

    >>> dl.all(dl.tensor([[True, False], [True, True]]), axis=1)
    tensor([False,  True])
    """


# ---- argmax, argmin -------------------------------------------------------------------------------------------------


class _Position(Reduction):
    """argmax and argmin: along one axis, or in the flattened array."""

    result, empty, special = int64, False, True

    def family_samples(self) -> Iterator[Sample]:
        for sample in super().family_samples():
            yield sample.but(grad=False)
        ties = partial(_ties, (40, 130)), partial(_ties, (130, 40))
        yield Sample(Input((40, 130), draw=ties[0]), axis=1, why="ties: the first", grad=False)
        yield Sample(Input((130, 40), draw=ties[1]), axis=0, keepdims=True, why="ties in columns", grad=False)


def _ties(shape: Shape, rng: np.random.Generator) -> Any:
    return rng.integers(0, 4, shape).astype(np.float64)


_position = _Position.definition


@_position(
    large=[((8192, 8192), (1,))], quick="forward",
    reference=lambda x, axis, keepdims: np.argmax(x, axis, keepdims=keepdims),
)  # fmt: skip
def argmax(x: Spec, axis: Axis | None = None, keepdims: bool = False) -> None:
    """Index (int64) of the largest element along `axis`, the first of equal ones; a NaN counts as largest.

    `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
    ShapeError where the axis is empty.

    >>> dl.argmax(dl.tensor([[1, 5, 2]]), axis=1)
    tensor([1])
    """


@_position(reference=lambda x, axis, keepdims: np.argmin(x, axis, keepdims=keepdims))
def argmin(x: Spec, axis: Axis | None = None, keepdims: bool = False) -> None:
    """Index (int64) of the smallest element along `axis`, the first of equal ones; a NaN counts as smallest.

    `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
    ShapeError where the axis is empty.

    >>> dl.argmin(dl.tensor([[4, 1, 2]]), axis=1)
    tensor([1])
    """


# ---- logsumexp ------------------------------------------------------------------------------------------------------


@reduction(
    promote=floating, dtypes=FLOATS, ulp=4, flops=16, cast="float32", special=True, large=[((8192, 32768), (1,))],
    magnitude=lambda x, axis, keepdims: 1 + np.abs(_numpy_logsumexp(x, axis, keepdims)),
    baselines={
        "numpy": "", "torch": "torch.logsumexp(x, 0 if axis is None else axis, keepdims)",  # None: of a vector
        "jax": "jax.nn.logsumexp(x, axis, keepdims=keepdims)",
    },
    samples=[
        Sample(np.array([[1000.0, 999.0], [-1000.0, -1001.0]]), axis=1, why="exp alone would overflow"),
    ],
)  # fmt: skip
def logsumexp(x: Spec, axis: Axes = None, keepdims: bool = False) -> None:
    """Logarithm of the sum of exponentials along `axis`: m + log(sum(exp(x - m))) with m = max(x).

    One pass; nothing overflows. Of nothing it is -inf. Integers become float32. Errors as in `sum`.

    >>> dl.logsumexp(dl.tensor([1000.0, 1000.0]), axis=0).round(4)
    tensor(1000.6932)
    """


@logsumexp.gradient
def _(dout: Any, x: Any, out: Any, axis: Shape, keepdims: bool) -> Any:
    e = exp(sub(x, aligned(out, x.shape, axis, keepdims)))
    # The sum of e is 1 but for the rounding of `out`, which is large beside 1 where x is: in bfloat16, 2 at x = 1000.
    return mul(e, div(aligned(dout, x.shape, axis, keepdims), sum(e, axis, True)))


@logsumexp.reference
def _numpy_logsumexp(x: Any, axis: Shape, keepdims: bool) -> Any:
    max_ = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(max_), max_, 0.0)
    out = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    return out if keepdims else out.reshape(np.sum(x, axis=axis).shape)
