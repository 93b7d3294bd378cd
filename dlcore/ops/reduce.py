"""Reductions over any set of axes: sum, mean, max, min, any, all, argmax, argmin, logsumexp.

`axis` is None (all axes), an int or a tuple of ints; negative ones count from the back. `keepdims` leaves the reduced
axes in place with length 1. Floats are summed in blocks of float32 lanes that end in float64, integers in int64; the
order depends on shape and strides only, so the same input gives the same bits for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, FLOATS, DType, bool_, float32, int64
from dlcore.errors import ShapeError
from dlcore.op import Op, Operand, Sample, Size, Spec, Wrong, floating
from dlcore.ops._shape import normalize_axes, normalize_axis
from dlcore.ops._sizes import MILLION, RAGGED, on_gpu
from dlcore.ops.elementwise import cast, div, eq, exp, mul, sub
from dlcore.ops.movement import expand, reshape

__all__ = ["all", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "sum"]

Axes = int | tuple[int, ...] | None
Shape = tuple[int, ...]

# ---- shapes ---------------------------------------------------------------------------------------------------------


def _kept(shape: Shape, axes: Shape) -> Shape:
    """``shape`` with the reduced axes of length 1."""
    return tuple(1 if d in axes else n for d, n in enumerate(shape))


def _reduced(name: str, shape: Shape, axis: Axes, keepdims: bool) -> Shape:
    axes = normalize_axes(name, axis, shape)
    return _kept(shape, axes) if keepdims else tuple(n for d, n in enumerate(shape) if d not in axes)


def _not_empty(name: str, shape: Shape, axis: Axes) -> None:
    for d in normalize_axes(name, axis, shape):
        if shape[d] == 0:
            raise ShapeError(f"{name}: cannot reduce an empty axis: axis {d} of shape {shape}")


def _mask(x: Spec, axis: Axes, *_: Any) -> tuple[int]:
    """What the kernels are told: bit d is set where axis d is reduced."""
    mask = 0
    for d in normalize_axes("reduce", axis, x.shape):
        mask |= 1 << d
    return (mask,)


def _count(shape: Shape, axis: Axes) -> int:
    return math.prod(shape[d] for d in normalize_axes("reduce", axis, shape))


def _spread(ctx: Any, reduced: Any) -> Any:
    """What was reduced, back in the operand's shape; a view."""
    shape = ctx.shapes[0]
    return expand(_aligned(ctx, reduced), shape)


def _aligned(ctx: Any, reduced: Any) -> Any:
    """What was reduced with its axes in place, so that it broadcasts against the operand; a view."""
    shape, (axis, keepdims) = ctx.shapes[0], ctx.attrs
    return reduced if keepdims else reshape(reduced, _kept(shape, normalize_axes("reduce", axis, shape)))


def _cost(x: Spec, axis: Axes, keepdims: bool) -> tuple[float, float]:
    n, out = math.prod(x.shape), math.prod(_reduced("reduce", x.shape, axis, keepdims))
    return float(n), float((n + out) * x.dtype.itemsize)


# ---- samples shared by all ------------------------------------------------------------------------------------------


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((33, 65))
    yield Sample((x,), (None, False), "all axes, unaligned")
    yield Sample((x,), (0, False), "columns, unaligned")
    yield Sample((x,), (-1, True), "rows, unaligned, axis kept")
    yield Sample((rng.standard_normal((3, 4, 5)),), ((0, 2), False), "axes apart")
    yield Sample((rng.standard_normal((2, 3, 4, 5)),), ((-1, 1), True), "axes apart, kept, from the end")
    yield Sample((rng.standard_normal((4, 1, 3)),), (1, False), "an axis of length 1")
    yield Sample((rng.standard_normal((3, 4)),), ((), False), "no axis")
    yield Sample((rng.standard_normal(()),), (None, False), "0-d")
    yield Sample((rng.standard_normal((0, 3)),), (1, False), "empty, along the other axis")
    yield Sample((rng.standard_normal((200, 3)),), (1, False), "many short rows")
    yield Sample((rng.standard_normal((200, 3)),), (0, False), "a few long columns")
    yield Sample((rng.standard_normal(140_001),), (None, False), "several chunks of several blocks", grad=False)
    yield Sample((rng.standard_normal((1100, 70)),), (0, False), "columns in several chunks", grad=False)
    yield Sample((rng.standard_normal(1 << 20),), (None, False), "1M", grad=False)
    yield Sample((rng.standard_normal((4096, 1000)),), (0, False), "long columns", grad=False)


def _with_empty(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _samples(rng)
    yield Sample((rng.standard_normal((0, 3)),), (0, False), "an empty axis", grad=False)


def _with_nan(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _samples(rng)
    yield from _specials(rng)


def _specials(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((6, 130)).astype(np.float32)
    x[0, 7], x[1, 3], x[2, 129], x[3], x[4, ::2] = np.nan, np.inf, -np.inf, -np.inf, np.nan
    yield Sample((x,), (1, False), "NaN and infinities in rows", grad=False)
    yield Sample((x,), (0, False), "NaN and infinities in columns", grad=False)
    yield Sample((x[2:4],), (None, False), "infinities", grad=False)


def _axis_errors(name: str, twice: bool = True) -> list[Wrong]:
    x = np.zeros((2, 3))
    found = [Wrong((x,), (2,), IndexError, f"{name}: axis 2 is out of range for shape (2, 3)")]
    if twice:
        found.append(Wrong((x,), ((0, -2),), ShapeError, f"{name}: an axis is given twice: (0, -2) for shape (2, 3)"))
    return found


# ---- what is timed --------------------------------------------------------------------------------------------------


def _sizes(
    *large: tuple[Shape, tuple[Any, ...]], low: float | None = None, high: float | None = None, quick: str = ""
) -> tuple[Size, ...]:
    """All of a million elements, columns, ragged rows, 16 million; ``large``: (shape, attributes) for a GPU."""

    def size(shape: Shape, attrs: tuple[Any, ...], why: str, dtypes: tuple[DType, ...] = FLOATS, q: str = "") -> Size:
        return Size((Operand(shape, low, high),), attrs, why, dtypes, quick=q)

    return (
        size(MILLION, (), "1M", q=quick),
        size((4096, 1000), (0,), "columns"),
        size(RAGGED, (1,), "ragged, rows"),
        size((1 << 24,), (), "16M", (float32,)),
        *(on_gpu([shape], attrs) for shape, attrs in large),
    )


def _peers(numpy: str, torch: str, jax: str = "") -> dict[str, str]:
    found = {"numpy": f"np.{numpy}(x, axis, keepdims=keepdims)", "torch": torch}
    return found | {"jax": f"{jax or 'jnp.' + numpy}(x, axis, keepdims=keepdims)"}


# ---- sum, mean ------------------------------------------------------------------------------------------------------


def _sum_infer(x: Spec, axis: Axes, keepdims: bool) -> Spec:
    return Spec(_reduced("sum", x.shape, axis, keepdims), x.dtype if x.dtype.is_float else int64)


def _numpy_sum(x: Any, axis: Axes, keepdims: bool) -> Any:
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype if x.dtype.kind == "f" else np.int64)


SUM = Op(
    name="sum",
    doc="""Sum of the elements along `axis`.

    Floats keep their dtype and are accumulated in float32 within blocks of 4096, in float64 beyond; bool and integers
    give int64. The sum of nothing is 0. Raises IndexError for an axis out of range, ShapeError for one given twice.""",
    inputs="x",
    attrs={"axis": None, "keepdims": False},
    infer=_sum_infer,
    kernels={"cpu": "reduce:sum", "cuda": "reduce.reduce:sum_"},
    params=_mask,
    vjp=lambda ctx, dout: _spread(ctx, dout),
    ref=_numpy_sum,
    samples=_with_empty,
    sizes=_sizes(((1 << 26,), ()), ((8192, 8192), (0,)), ((8192, 8192), (1,)), quick="forward"),
    peers=_peers("sum", "torch.sum(x, axis, keepdims)"),
    errors=lambda: _axis_errors("sum"),
    dtypes=DTYPES,
    ulp=4,  # 70 roundings of float32 at most, which add up like a random walk
    magnitude=lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims),
    cost=_cost,
    cast="float32",
)
sum = SUM.call


def _mean_vjp(ctx: Any, dout: Any) -> Any:
    n = _count(ctx.shapes[0], ctx.attrs[0])
    return _spread(ctx, mul(dout, 1 / n) if n else dout)


def _numpy_mean(x: Any, axis: Axes, keepdims: bool) -> Any:
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64) / _numpy_count(x, axis)


def _numpy_count(x: Any, axis: Axes) -> Any:
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return np.float64(math.prod(x.shape[a] for a in axes))


MEAN = Op(
    name="mean",
    doc="""Arithmetic mean of the elements along `axis`: their sum, divided by their number in float64.

    Floats keep their dtype, bool and integers give float32. The mean of nothing is NaN. Errors as in `sum`.""",
    inputs="x",
    attrs={"axis": None, "keepdims": False},
    infer=lambda x, axis, keepdims: Spec(_reduced("mean", x.shape, axis, keepdims), x.dtype),
    promote=floating,
    kernels={"cpu": "reduce:mean", "cuda": "reduce.reduce:mean"},
    params=lambda x, axis, keepdims: (*_mask(x, axis), _count(x.shape, axis)),
    vjp=_mean_vjp,
    ref=_numpy_mean,
    samples=_with_empty,
    sizes=_sizes(),
    peers=_peers("mean", "torch.mean(x, axis, keepdims)"),
    errors=lambda: _axis_errors("mean"),
    dtypes=DTYPES,
    ulp=4,
    magnitude=lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims) / _numpy_count(x, axis),
    cost=_cost,
    cast="float32",
)
mean = MEAN.call


# ---- max, min -------------------------------------------------------------------------------------------------------


def _extremum_vjp(ctx: Any, dout: Any) -> Any:
    x, out = ctx.saved
    chosen = cast(eq(x, _aligned(ctx, out)), ctx.dtypes[0])
    ties = sum(chosen, ctx.attrs[0], True)
    return mul(chosen, div(_aligned(ctx, dout), ties))


def _extremum(name: str, what: str, numpy: Any) -> Op:
    def infer(x: Spec, axis: Axes, keepdims: bool) -> Spec:
        _not_empty(name, x.shape, axis)
        return Spec(_reduced(name, x.shape, axis, keepdims), x.dtype)

    return Op(
        name=name,
        doc=f"""{what} element along `axis`; NaN where there is one.

        The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty;
        other errors as in `sum`.""",
        inputs="x",
        attrs={"axis": None, "keepdims": False},
        infer=infer,
        kernels={"cpu": f"reduce:{name}", "cuda": f"reduce.reduce:{name}_"},
        params=_mask,
        saves=("x", "out"),
        vjp=_extremum_vjp,
        ref=lambda x, axis, keepdims: numpy(x, axis=axis, keepdims=keepdims),
        samples=_with_nan,
        sizes=_sizes(),
        peers=_peers(name, f"torch.{name}(x) if axis is None else torch.a{name}(x, axis, keepdims)"),
        errors=lambda: [
            *_axis_errors(name),
            Wrong(
                (np.zeros((0, 3)),), (0,), ShapeError, f"{name}: cannot reduce an empty axis: axis 0 of shape (0, 3)"
            ),
        ],
        dtypes=DTYPES,
        ulp=0,
        cost=_cost,
    )


MAX = _extremum("max", "Largest", np.max)
max = MAX.call
MIN = _extremum("min", "Smallest", np.min)
min = MIN.call


# ---- any, all -------------------------------------------------------------------------------------------------------


def _to_bool(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    return (bool_,)


def _truth(name: str, doc: str, kernel: str, numpy: Any) -> Op:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for s in _with_empty(rng):
            yield s._replace(inputs=(s.inputs[0] > 1.5,)) if name == "any" else s
        yield Sample((np.array([[0.0, np.nan], [0.0, 0.0]], np.float32),), (1, False), "NaN counts as true")

    return Op(
        name=name,
        doc=doc,
        inputs="x",
        attrs={"axis": None, "keepdims": False},
        infer=lambda x, axis, keepdims: Spec(_reduced(name, x.shape, axis, keepdims), bool_),
        promote=_to_bool,
        kernels={"cpu": kernel, "cuda": f"reduce.reduce:{name}_"},
        params=_mask,
        ref=lambda x, axis, keepdims: numpy(x, axis=axis, keepdims=keepdims),
        samples=samples,
        sizes=_sizes(low=0.0, high=0.0) if name == "any" else _sizes(low=1.0, high=2.0),  # nothing to stop early at
        peers=_peers(name, f"torch.{name}(x) if axis is None else torch.{name}(x, axis, keepdims)"),
        errors=lambda: _axis_errors(name),
        dtypes=DTYPES,
        cost=_cost,
    )


ANY = _truth("any", "Whether any element along `axis` is not zero; of nothing, False.", "reduce:max", np.any)
any = ANY.call
ALL = _truth("all", "Whether every element along `axis` is not zero; of nothing, True.", "reduce:all", np.all)
all = ALL.call


# ---- argmax, argmin -------------------------------------------------------------------------------------------------


def _arg(name: str, what: str, numpy: Any, *large: tuple[Shape, tuple[Any, ...]]) -> Op:
    def infer(x: Spec, axis: int | None, keepdims: bool) -> Spec:
        if axis is not None:
            normalize_axis(name, axis, x.shape)
        _not_empty(name, x.shape, axis)
        return Spec(_reduced(name, x.shape, axis, keepdims), int64)

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for s in _with_nan(rng):
            if s.attrs[0] is None or isinstance(s.attrs[0], int):
                yield s._replace(grad=False)
        yield Sample((rng.integers(0, 4, (40, 130)).astype(np.float64),), (1, False), "ties: the first", grad=False)
        yield Sample((rng.integers(0, 4, (130, 40)).astype(np.float64),), (0, True), "ties in columns", grad=False)

    return Op(
        name=name,
        doc=f"""Index (int64) of the {what} element along `axis`, the first of equal ones; a NaN counts as {what}.

        `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
        ShapeError where the axis is empty.""",
        inputs="x",
        attrs={"axis": None, "keepdims": False},
        infer=infer,
        kernels={"cpu": f"reduce:{name}", "cuda": f"reduce.reduce:{name}"},
        params=_mask,
        ref=lambda x, axis, keepdims: numpy(x, axis=axis, keepdims=keepdims),
        samples=samples,
        sizes=_sizes(*large, quick="forward" if name == "argmax" else ""),
        peers=_peers(name, f"torch.{name}(x, axis, keepdims)"),
        errors=lambda: [
            *_axis_errors(name, twice=False),
            Wrong((np.zeros((0, 3)),), (), ShapeError, f"{name}: cannot reduce an empty axis: axis 0 of shape (0, 3)"),
        ],
        dtypes=DTYPES,
        cost=_cost,
    )


ARGMAX = _arg("argmax", "largest", np.argmax, ((8192, 8192), (1,)))
argmax = ARGMAX.call
ARGMIN = _arg("argmin", "smallest", np.argmin)
argmin = ARGMIN.call


# ---- logsumexp ------------------------------------------------------------------------------------------------------


def _logsumexp_vjp(ctx: Any, dout: Any) -> Any:
    x, out = ctx.saved
    e = exp(sub(x, _aligned(ctx, out)))
    # The sum of e is 1 but for the rounding of `out`, which is large beside 1 where x is: in bfloat16, 2 at x = 1000.
    return mul(e, div(_aligned(ctx, dout), sum(e, ctx.attrs[0], True)))


def _numpy_logsumexp(x: Any, axis: Axes, keepdims: bool) -> Any:
    max_ = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(max_), max_, 0.0)
    out = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    return out if keepdims else out.reshape(np.sum(x, axis=axis).shape)


def _logsumexp_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _with_empty(rng)
    yield from _specials(rng)
    yield Sample((np.array([[1000.0, 999.0], [-1000.0, -1001.0]]),), (1, False), "exp alone would overflow")


LOGSUMEXP = Op(
    name="logsumexp",
    doc="""Logarithm of the sum of exponentials along `axis`: m + log(sum(exp(x - m))) with m = max(x).

    One pass; nothing overflows. Of nothing it is -inf. Integers become float32. Errors as in `sum`.""",
    inputs="x",
    attrs={"axis": None, "keepdims": False},
    infer=lambda x, axis, keepdims: Spec(_reduced("logsumexp", x.shape, axis, keepdims), x.dtype),
    promote=floating,
    kernels={"cpu": "reduce:logsumexp", "cuda": "reduce.reduce:logsumexp"},
    params=_mask,
    saves=("x", "out"),
    vjp=_logsumexp_vjp,
    ref=_numpy_logsumexp,
    samples=_logsumexp_samples,
    sizes=_sizes(((8192, 32768), (1,))),
    peers={
        "torch": "torch.logsumexp(x, 0 if axis is None else axis, keepdims)",  # None: of a vector
        "jax": "jax.nn.logsumexp(x, axis, keepdims=keepdims)",
    },
    errors=lambda: _axis_errors("logsumexp"),
    ulp=4,
    magnitude=lambda x, axis, keepdims: 1 + np.abs(_numpy_logsumexp(x, axis, keepdims)),
    cost=lambda x, axis, keepdims: (16.0 * math.prod(x.shape), _cost(x, axis, keepdims)[1]),
    cast="float32",
)
logsumexp = LOGSUMEXP.call
