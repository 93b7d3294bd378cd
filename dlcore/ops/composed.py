"""Everyday functions made of others: covariances, distances of points, interpolation, runs of equal values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, boolean, choice, integer, integers, names_errors, number, operand
from dlcore.dtypes import default_float, int64, result_type
from dlcore.errors import ShapeError
from dlcore.ops import reduce
from dlcore.ops._constants import positions
from dlcore.ops.convolution import conv1d
from dlcore.ops.decompositions import lstsq
from dlcore.ops.elementwise import add, cast, div, eq, gt, logical_and, logical_or, lt, mul, ne, sqrt, sub, where
from dlcore.ops.gather import gather, nonzero, take
from dlcore.ops.limits import clip
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import concat, expand, reshape, squeeze, transpose, unsqueeze
from dlcore.ops.order import sort
from dlcore.ops.scan import cummax, cumprod, cumsum
from dlcore.ops.search import searchsorted
from dlcore.ops.shaping import flip, part
from dlcore.ops.statistics import norm
from dlcore.ops.strided import diagonal

__all__ = [
    "block", "cdist", "compress", "convolve", "corrcoef", "cov", "dist", "extract", "gradient", "interp", "mode",
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "polyfit", "polyval", "unique_consecutive", "vander",
]  # fmt: skip


# ---- statistics -----------------------------------------------------------------------------------------------------


@names_errors
def cov(x: Any, rowvar: bool = True, correction: float = 1) -> Any:
    """The covariances (N, N) of N variables, the rows of x (N, M), over M observations; of x (M,) its variance.

    ``rowvar`` False: the variables are the columns. ``correction``: what is taken from M in the divisor. Integers
    become float32.

    >>> dl.cov(dl.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    x = operand(x, "cov")
    if x.ndim > 2:
        raise ShapeError(f"cov: x has shape {x.shape}; it has one axis or two")
    rows = unsqueeze(x, 0) if x.ndim < 2 else x if boolean(rowvar, "cov: rowvar") else transpose(x, 0, 1)
    rows = unsqueeze(rows, -1) if rows.ndim < 2 else rows
    centred = sub(rows, reduce.mean(rows, 1, True))
    left = max(rows.shape[1] - number(correction, "cov: correction"), 0.0)
    found = div(matmul(centred, transpose(centred, 0, 1)), left)
    return reshape(found, ()) if x.ndim < 2 else found


@names_errors
def corrcoef(x: Any, rowvar: bool = True) -> Any:
    """The correlations (N, N) of N variables, the rows of x (N, M), or its columns; between -1 and 1. See `cov`.

    >>> dl.corrcoef(dl.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    covariances = cov(x, rowvar)
    if not covariances.ndim:
        return div(covariances, covariances)
    spread = sqrt(diagonal(covariances))
    return clip(div(div(covariances, unsqueeze(spread, 1)), spread), -1, 1)


@names_errors
def mode(x: Any, axis: int = -1, keepdims: bool = False) -> Any:
    """The values that are most frequent along ``axis``, the smallest of several, and the last place of each.

    (values, indices), both without the axis or (``keepdims``) with length 1. NaN equals NaN, and is the largest.
    Raises ShapeError along an axis without elements.

    >>> dl.mode(dl.tensor([3, 1, 2, 1, 3]))
    (tensor(1), tensor(3))
    """
    x = operand(x, "mode")
    at = axis_of(axis, "mode: axis", x.shape)
    n = x.shape[at]
    if n == 0:
        raise ShapeError(f"mode: x has shape {x.shape}: no elements along axis {at}")
    ordered = sort(x, at)
    before, after = part(ordered, at, 0, n - 1), part(ordered, at, 1, n - 1)
    line = [n if a == at else 1 for a in range(x.ndim)]
    places = expand(reshape(positions(n, x), line), x.shape)
    begins = where(_differ(before, after), part(places, at, 1, n - 1), 0)
    starts = concat([part(places, at, 0, 1), cummax(begins, at)[0]], at) if n > 1 else places
    longest = reduce.argmax(sub(places, starts), at, True)
    chosen = gather(ordered, at, longest)
    indices = reduce.max(where(_differ(x, chosen), -1, places), at, True)
    values = gather(x, at, indices)
    return (values, indices) if boolean(keepdims, "mode: keepdims") else (squeeze(values, at), squeeze(indices, at))


def _differ(a: Any, b: Any) -> Any:
    """Whether elements are different numbers; NaN is one number."""
    return logical_and(ne(a, b), logical_or(eq(a, a), eq(b, b)))


def _without_nan(name: str, x: Any, filling: float) -> Any:
    x = operand(x, name)
    return where(ne(x, x), filling, x) if x.dtype.is_float else x


@names_errors
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the largest element that is no NaN, along ``axis`` or (None) of all; 0 where all are NaN.

    >>> dl.nanargmax(dl.tensor([1.0, dl.nan, 3.0, 2.0]))
    tensor(2)
    """
    return reduce.argmax(_without_nan("nanargmax", x, -float("inf")), axis, keepdims)


@names_errors
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the smallest element that is no NaN, along ``axis`` or (None) of all; 0 where all are NaN.

    >>> dl.nanargmin(dl.tensor([dl.nan, 3.0, 2.0]))
    tensor(2)
    """
    return reduce.argmin(_without_nan("nanargmin", x, float("inf")), axis, keepdims)


@names_errors
def nancumsum(x: Any, axis: int | None = None) -> Any:
    """Sums of the elements up to each along ``axis`` or (None) of all in one line, NaN counting as 0.

    >>> dl.nancumsum(dl.tensor([1.0, dl.nan, 2.0]))
    tensor([1., 1., 3.])
    """
    x = _without_nan("nancumsum", x, 0.0)
    return cumsum(reshape(x, (-1,)), 0) if axis is None else cumsum(x, axis)


@names_errors
def nancumprod(x: Any, axis: int | None = None) -> Any:
    """Products of the elements up to each along ``axis`` or (None) of all in one line, NaN counting as 1.

    >>> dl.nancumprod(dl.tensor([2.0, dl.nan, 3.0]))
    tensor([2., 2., 6.])
    """
    x = _without_nan("nancumprod", x, 1.0)
    return cumprod(reshape(x, (-1,)), 0) if axis is None else cumprod(x, axis)


# ---- distances ------------------------------------------------------------------------------------------------------


@names_errors
def dist(x: Any, other: Any, p: float = 2.0) -> Any:
    """The norm of order ``p`` of x - other, of all elements.

    >>> dl.dist(dl.tensor([3.0, 0.0]), dl.tensor([0.0, 4.0]))
    tensor(5.)
    """
    return norm(sub(x, other), p)


@names_errors
def cdist(x: Any, other: Any, p: float = 2.0) -> Any:
    """The distances of each point, a row of x (..., P, M), from each of ``other`` (..., R, M): (..., P, R).

    ``p``: the order of the norm. Differences are formed, not products: near points keep their digits; P R M numbers are
    held in between. The gradient at distance 0 is 0.

    >>> dl.cdist(dl.tensor([[0.0, 0.0]]), dl.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    x, other = operand(x, "cdist"), operand(other, "cdist", "other")
    if x.ndim < 2 or other.ndim < 2 or x.shape[-1] != other.shape[-1]:
        raise ShapeError(f"cdist: takes points (..., P, M) and (..., R, M), not {x.shape} and {other.shape}")
    return norm(sub(unsqueeze(x, -2), unsqueeze(other, -3)), p, -1)


# ---- along one axis -------------------------------------------------------------------------------------------------


@names_errors
def interp(x: Any, xp: Any, fp: Any, left: float | None = None, right: float | None = None) -> Any:
    """Values at ``x`` of the line through the points (xp, fp), ``xp`` (N,) in ascending order: of the shape of x.

    ``left`` and ``right``: what it is before the first point and after the last; default: as at that point. Gradients
    flow to all three. Raises ShapeError unless there are as many ``xp`` as ``fp``, one at the least.

    >>> dl.interp(dl.tensor([0.5, 3.0]), dl.tensor([0.0, 1.0]), dl.tensor([10.0, 20.0]))
    tensor([15., 20.])
    """
    x = operand(x, "interp")
    xp, fp = operand(xp, "interp", "xp", x), operand(fp, "interp", "fp", x)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ShapeError(f"interp: xp {xp.shape} and fp {fp.shape} are not two lines of points of one length")
    last = xp.shape[0] - 1
    after = clip(searchsorted(xp, x, "right"), min(1, last), last)
    before = clip(sub(after, 1), 0, last)
    x0, x1, f0, f1 = take(xp, before), take(xp, after), take(fp, before), take(fp, after)
    width = sub(x1, x0)
    none = eq(width, 0)
    share = where(none, 0.0, div(sub(clip(x, xp[0], xp[last]), x0), where(none, 1, width)))
    found = where(eq(x, xp[last]), fp[last], add(f0, mul(share, sub(f1, f0))))
    found = where(gt(x, xp[last]), fp[last] if right is None else right, found)
    return where(lt(x, xp[0]), fp[0] if left is None else left, found)


@names_errors
def gradient(x: Any, spacing: float = 1.0, axis: int | Sequence[int] | None = None) -> Any:
    """Slopes of x along ``axis`` (None: along each): central differences inside, one-sided ones at the ends.

    ``spacing``: from one place to the next. A tensor, or a list with one for each of several axes; integers become
    float32. Raises ShapeError where an axis has fewer than two places. Of a function, see `dl.func.grad`.

    >>> dl.gradient(dl.tensor([1.0, 2.0, 4.0]))
    tensor([1. , 1.5, 2. ])
    """
    x, width = operand(x, "gradient"), number(spacing, "gradient: spacing")
    x = x if x.dtype.is_float else cast(x, default_float())
    given = tuple(range(x.ndim)) if axis is None else integers(axis, "gradient: axis")
    found = []
    for at in (axis_of(a, "gradient: axis", x.shape) for a in given):
        n = x.shape[at]
        if n < 2:
            raise ShapeError(f"gradient: axis {at} of shape {x.shape} has fewer than two places")
        inside = mul(sub(part(x, at, 2, n - 2), part(x, at, 0, n - 2)), 0.5 / width)
        first, last = (div(sub(part(x, at, k + 1, 1), part(x, at, k, 1)), width) for k in (0, n - 2))
        found.append(concat([first, inside, last], at))
    return found[0] if len(found) == 1 else found


@names_errors
def convolve(a: Any, b: Any, mode: Literal["full", "same", "valid"] = "full") -> Any:
    """The convolution of two lines (N,) and (M,), as NumPy's: sums of products, the second one in reverse order.

    ``mode``: "full" (N + M - 1 places), "same" (the middle max(N, M) of them), "valid" (where the two overlap wholly).
    Integers become float32. For batches and learning see `dl.conv1d`.

    >>> dl.convolve(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 1.0]))
    tensor([1., 3., 2.])
    """
    a = operand(a, "convolve", "a")
    b = operand(b, "convolve", "b", a)
    if a.ndim != 1 or b.ndim != 1 or not a.size or not b.size:
        raise ShapeError(f"convolve: takes two lines with elements, not {a.shape} and {b.shape}")
    common = result_type([(a.dtype, False), (b.dtype, False)])
    common = common if common.is_float else default_float()
    long, short = (a, b) if a.size >= b.size else (b, a)
    kernel = reshape(cast(flip(short, 0), common), (1, 1, -1))
    found = reshape(conv1d(reshape(cast(long, common), (1, 1, -1)), kernel, padding=short.size - 1), (-1,))
    kind = choice(mode, ("full", "same", "valid"), "convolve: mode")
    cut = 0 if kind == "full" else (short.size - 1) // 2 if kind == "same" else short.size - 1
    return part(found, 0, cut, {"full": found.size, "same": long.size, "valid": found.size - 2 * cut}[kind])


@names_errors
def polyval(p: Any, x: Any) -> Any:
    """The polynomial with coefficients ``p`` (N,), that of the highest power first, at ``x``: of the shape of x.

    >>> dl.polyval(dl.tensor([1.0, 0.0, 2.0]), dl.tensor([1.0, 3.0]))
    tensor([ 3., 11.])
    """
    p = operand(p, "polyval", "p")
    if p.ndim != 1:
        raise ShapeError(f"polyval: p has shape {p.shape}; it must have one axis")
    found: Any = 0
    for coefficient in p:
        found = add(mul(found, x), coefficient)
    return add(found, mul(x, 0)) if not p.size else found


@names_errors
def polyfit(x: Any, y: Any, deg: int, rtol: float | None = None, w: Any = None) -> Any:
    """The coefficients (deg + 1,) of the polynomial that is nearest to the points (x, y) (M,), the highest power first.

    It has the smallest sum of squares of (y - p(x)) ``w``, w (M,) ones by default; of y (M, K) there is a column of
    coefficients for each: (deg + 1, K). ``rtol``: singular values below ``rtol`` times the largest count as 0. Raises
    ShapeError where shapes do not fit.

    >>> dl.polyfit(dl.tensor([0.0, 1.0, 2.0]), dl.tensor([1.0, 3.0, 5.0]), 1).round(4)
    tensor([2., 1.])
    """
    x, y, deg = operand(x, "polyfit", "x"), operand(y, "polyfit", "y"), integer(deg, "polyfit: deg", 0)
    if x.ndim != 1 or y.ndim not in (1, 2) or x.shape[0] != y.shape[0] or not x.shape[0]:
        raise ShapeError(f"polyfit: x {x.shape} and y {y.shape} are not points: (M,) and (M,) or (M, K)")
    dtype = result_type([(x.dtype, False), (y.dtype, False)])
    x, y = (cast(v, dtype if dtype.is_float else default_float()) for v in (x, y))
    powers = vander(x, deg + 1)
    if w is not None:
        w = operand(w, "polyfit", "w")
        if w.shape != x.shape:
            raise ShapeError(f"polyfit: w has shape {w.shape}, x has {x.shape}")
        powers, y = mul(powers, unsqueeze(w, 1)), mul(y, w if y.ndim == 1 else unsqueeze(w, 1))
    scale = norm(powers, axis=0)
    rtol = x.shape[0] * x.dtype.eps if rtol is None else rtol
    found = lstsq(div(powers, scale), y, rtol=rtol)[0]
    return div(found, scale if y.ndim == 1 else unsqueeze(scale, 1))


# ---- parts ----------------------------------------------------------------------------------------------------------


@names_errors
def compress(condition: Any, x: Any, axis: int | None = None) -> Any:
    """What of x along ``axis`` or (None) in one line has a true ``condition`` (N,), which may be shorter.

    >>> dl.compress([True, False, True], dl.tensor([1, 2, 3]))
    tensor([1, 3])
    """
    x, mask = operand(x, "compress"), operand(condition, "compress", "condition")
    if mask.ndim != 1:
        raise ShapeError(f"compress: condition has shape {mask.shape}; it must have one axis")
    places = reshape(nonzero(mask), (-1,))
    return take(reshape(x, (-1,)), places, 0) if axis is None else take(x, places, axis)


@names_errors
def extract(condition: Any, x: Any) -> Any:
    """The elements of x where ``condition``, of its shape, is true: one line.

    >>> dl.extract(dl.tensor([True, False, True]), dl.tensor([1, 2, 3]))
    tensor([1, 3])
    """
    mask = operand(condition, "extract", "condition")
    return compress(reshape(mask, (-1,)), x)


@names_errors
def block(arrays: Sequence[Any] | Any) -> Any:
    """One tensor of nested lists of blocks: the innermost lists lie along the last axis, those around along the others.

    >>> dl.block([[dl.ones(1, 1), dl.zeros(1, 1)], [dl.zeros(1, 1), dl.ones(1, 1)]])
    tensor([[1., 0.],
            [0., 1.]])
    """

    def depth(value: Any) -> int:
        return 1 + max((depth(v) for v in value), default=0) if isinstance(value, list) else 0

    def joined(value: Any, level: int, ndim: int) -> Any:
        if not isinstance(value, list):
            x = operand(value, "block", "arrays")
            return reshape(x, (*[1] * (ndim - x.ndim), *x.shape)) if x.ndim < ndim else x
        if not value:
            raise ShapeError("block: a list has no blocks")
        return concat([joined(v, level - 1, ndim) for v in value], -level)

    def axes(value: Any) -> int:
        if isinstance(value, list):
            return max(map(axes, value), default=0)
        return value.ndim if isinstance(value, _C.TensorBase) else int(np.ndim(value))

    levels = depth(arrays)
    return joined(arrays, levels, max(levels, axes(arrays)))


@names_errors
def vander(x: Any, n: int | None = None, increasing: bool = False) -> Any:
    """The powers of x (N,) as rows (N, n), from the highest to 0, or ``increasing``; ``n`` is N by default.

    >>> dl.vander(dl.tensor([2, 3]), 3)
    tensor([[4, 2, 1],
            [9, 3, 1]])
    """
    x = operand(x, "vander")
    if x.ndim != 1:
        raise ShapeError(f"vander: x has shape {x.shape}; it must have one axis")
    count = x.shape[0] if n is None else n
    powers = range(count) if boolean(increasing, "vander: increasing") else range(count - 1, -1, -1)
    exponents = _C.as_tensor(list(powers), "vander", "n", x, int64)
    return unsqueeze(x, 1) ** cast(exponents, x.dtype)


@names_errors
def unique_consecutive(x: Any, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The first of each run of equal elements of x, read as one line; with what else is asked for in a tuple.

    ``return_inverse``: the number of the run of each element, of the shape of x; ``return_counts``: the lengths of the
    runs. Its shape depends on values, so a step that calls it cannot be recorded.

    >>> dl.unique_consecutive(dl.tensor([1, 1, 2, 2, 1]))
    tensor([1, 2, 1])
    """
    x = operand(x, "unique_consecutive")
    line = reshape(x, (-1,))
    n = line.shape[0]
    changes = ne(part(line, 0, 1 if n > 1 else 0, max(n - 1, 0)), part(line, 0, 0, max(n - 1, 0)))
    heads = concat([_C.as_tensor(np.ones(min(n, 1), bool), "unique_consecutive", "x", x), changes], 0)
    starts = reshape(nonzero(heads), (-1,))
    found = [take(line, starts)]
    if boolean(return_inverse, "unique_consecutive: return_inverse"):
        found.append(reshape(sub(cumsum(cast(heads, int64), 0), 1), x.shape))
    if boolean(return_counts, "unique_consecutive: return_counts"):
        ends = concat([part(starts, 0, 1 if starts.size else 0, max(starts.size - 1, 0)),
                       _C.as_tensor([n] * min(n, 1), "unique_consecutive", "x", x, int64)], 0)  # fmt: skip
        found.append(sub(ends, starts))
    return found[0] if len(found) == 1 else tuple(found)
