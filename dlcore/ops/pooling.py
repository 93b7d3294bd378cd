"""Poolings made of others: adaptive ones, powers' means, and the way back from maxima."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import boolean, integer, items, names_errors, number, operand, remembered
from dlcore.dtypes import check_size, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops._windows import (
    Ints,
    batched,
    lacks_batch,
    lengths_of_windows,
    over_space,
    spatial,
    stride_of,
    with_space,
)
from dlcore.ops.avg_pool import avg_pool, sums_planes, whole_mean
from dlcore.ops.elementwise import abs, eq, mul, pow, where
from dlcore.ops.limits import checked
from dlcore.ops.max_pool import max_pool, max_pool_indices, maxima
from dlcore.ops.movement import reshape
from dlcore.ops.scattering import scatter

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
]  # fmt: skip

# ---- adaptive windows -----------------------------------------------------------------------------------------------


def _sizes(value: Any, space: Ints, name: str) -> Ints:
    """The output's lengths: a number for all axes or one for each; None keeps an axis as long as it is."""
    where = f"{name}: output_size"
    several = items(value)
    given = [value] * len(space) if several is None else list(several)
    if len(given) != len(space):
        raise ShapeError(f"{where} {tuple(given)} has {len(given)} numbers; there are {len(space)} axes in space")
    return tuple(n if v is None else integer(v, where, 0) for v, n in zip(given, space, strict=True))


def _windows(space: Ints, size: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Windows side by side where each length divides, else those of kernel ()."""
    if 0 in size or any(n % o for n, o in zip(space, size, strict=True)):
        return (), (), (), ()
    kernel = tuple(n // o for n, o in zip(space, size, strict=True))
    return kernel, kernel, (0,) * len(space), (1,) * len(space)


@remembered
def _shared_out(x: Any, output_size: Any, rank: int, name: str, layout: str) -> tuple[bool, Ints, tuple[Ints, ...]]:
    """Whether x has no batch, the output's lengths in space and the windows, as operations take them."""
    alone = lacks_batch(x.shape, rank, name, layout)
    if not x.dtype.is_float:
        raise DTypeError(f"{name}: does not take {x.dtype.name}")
    space = spatial((1, *x.shape) if alone else x.shape, layout)
    if 0 in space:
        raise ShapeError(f"{name}: shape {x.shape} has no elements in space")
    size = _sizes(output_size, space, name)
    return alone, size, _windows(space, size)


def _adaptive_means(input: Any, output_size: Any, rank: int, name: str, layout: str) -> Any:
    x = operand(input, name, "input")
    alone, size, (kernel, stride, padding, _) = _shared_out(x, output_size, rank, name, layout)
    x = reshape(x, (1, *x.shape)) if alone else x
    if sums_planes(x, layout) and size == (1,) * rank:
        out = whole_mean(x, rank, layout)
    else:
        out = avg_pool(x, size, kernel, stride, padding, True, 0, layout)
    return reshape(out, out.shape[1:]) if alone else out


def _adaptive_maxima(input: Any, output_size: Any, rank: int, name: str, indices: Any, layout: str) -> Any:
    x = operand(input, name, "input")
    alone, size, windows = _shared_out(x, output_size, rank, name, layout)
    x = reshape(x, (1, *x.shape)) if alone else x
    both = boolean(indices, f"{name}: return_indices")
    found = (max_pool_indices if both else max_pool)(x, size, *windows, layout)
    if not alone:
        return found
    return tuple(reshape(f, f.shape[1:]) for f in found) if both else reshape(found, found.shape[1:])


@names_errors
def adaptive_avg_pool1d(input: Any, output_size: int | Sequence[int | None] | None, layout: str = "NCHW") -> Any:
    """The means of ``output_size`` windows that share out the last axis; see `adaptive_avg_pool2d`.

    >>> dl.adaptive_avg_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[2.0, 1.0]]
    """
    return _adaptive_means(input, output_size, 1, "adaptive_avg_pool1d", layout)


@names_errors
def adaptive_avg_pool2d(input: Any, output_size: int | Sequence[int | None] | None, layout: str = "NCHW") -> Any:
    """The means of ``output_size`` windows that share out an image: (N, C, H, W) or (C, H, W).

    ``output_size``: a number for both axes or one for each, None to keep an axis as it is. Window o of O along an axis
    of N elements goes from floor(o N / O) to ceil((o + 1) N / O); where O does not divide N windows overlap.
    ``layout="NHWC"``: (N, H, W, C). Floats; sums are in float32 or wider, in a fixed order.

    Raises ShapeError for other shapes, ValueError for a negative size, DTypeError for integers.

    >>> dl.adaptive_avg_pool2d(dl.ones(2, 3, 8, 6), (4, None)).shape
    (2, 3, 4, 6)
    """
    return _adaptive_means(input, output_size, 2, "adaptive_avg_pool2d", layout)


@names_errors
def adaptive_avg_pool3d(input: Any, output_size: int | Sequence[int | None] | None, layout: str = "NCHW") -> Any:
    """The means of ``output_size`` windows that share out the last three axes; see `adaptive_avg_pool2d`.

    >>> dl.adaptive_avg_pool3d(dl.ones(2, 3, 4, 4, 4), 2).shape
    (2, 3, 2, 2, 2)
    """
    return _adaptive_means(input, output_size, 3, "adaptive_avg_pool3d", layout)


@names_errors
def adaptive_max_pool1d(
    input: Any, output_size: int | Sequence[int | None] | None, return_indices: bool = False, layout: str = "NCHW"
) -> Any:  # fmt: skip
    """The maxima of ``output_size`` windows that share out the last axis; see `adaptive_max_pool2d`.

    >>> dl.adaptive_max_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[3.0, 2.0]]
    """
    return _adaptive_maxima(input, output_size, 1, "adaptive_max_pool1d", return_indices, layout)


@names_errors
def adaptive_max_pool2d(
    input: Any, output_size: int | Sequence[int | None] | None, return_indices: bool = False, layout: str = "NCHW"
) -> Any:  # fmt: skip
    """The maxima of ``output_size`` windows that share out an image: (N, C, H, W) or (C, H, W).

    Windows, sizes and errors as in `adaptive_avg_pool2d`; indices, NaN and gradients as in `max_pool2d`. Floats.

    >>> dl.adaptive_max_pool2d(dl.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """
    return _adaptive_maxima(input, output_size, 2, "adaptive_max_pool2d", return_indices, layout)


@names_errors
def adaptive_max_pool3d(
    input: Any, output_size: int | Sequence[int | None] | None, return_indices: bool = False, layout: str = "NCHW"
) -> Any:  # fmt: skip
    """The maxima of ``output_size`` windows that share out the last three axes; see `adaptive_max_pool2d`.

    >>> dl.adaptive_max_pool3d(dl.ones(2, 3, 4, 4, 4), 2).shape
    (2, 3, 2, 2, 2)
    """
    return _adaptive_maxima(input, output_size, 3, "adaptive_max_pool3d", return_indices, layout)


# ---- powers ---------------------------------------------------------------------------------------------------------


def _powers(
    input: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any, rank: int, name: str, layout: str
) -> Any:
    p = number(norm_type, f"{name}: norm_type")
    if p == 0 or p != p:
        raise ValueError(f"{name}: norm_type {p} has no root")
    x, alone = batched(input, rank, name, layout)
    if not x.dtype.is_float:
        raise DTypeError(f"{name}: does not take {x.dtype.name}")
    if p == math.inf:
        out = maxima(abs(x), rank, name, (kernel_size, stride, 0, 1), ceil_mode, False, layout)
        return reshape(out, out.shape[1:]) if alone else out
    kernel = over_space(kernel_size, rank, f"{name}: kernel_size")
    step = stride_of(stride, kernel, f"{name}: stride")
    none, rounds = (0,) * rank, boolean(ceil_mode, f"{name}: ceil_mode")
    shape, space = x.shape[1:] if alone else x.shape, spatial(x.shape, layout)
    size = lengths_of_windows(name, shape, space, kernel, step, none, (1,) * rank, rounds)
    means = avg_pool(x if p == 1 else pow(x, p), size, kernel, step, none, True, 0, layout)
    sums = mul(means, float(math.prod(kernel)))  # of windows that reach beyond the end too, as in PyTorch
    if p > 1:
        sums = where(eq(sums, 0.0), 0.0, sums)  # no gradient through the root of 0, whose slope is infinite
    out = sums if p == 1 else pow(sums, 1 / p)
    return reshape(out, out.shape[1:]) if alone else out


@names_errors
def lp_pool1d(
    input: Any, norm_type: float, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The roots of sums of powers in windows along one axis; see `lp_pool2d`.

    >>> dl.lp_pool1d(dl.tensor([[3.0, 4.0, 0.0, 2.0]]), 2, 2).tolist()
    [[5.0, 2.0]]
    """
    return _powers(input, norm_type, kernel_size, stride, ceil_mode, 1, "lp_pool1d", layout)


@names_errors
def lp_pool2d(
    input: Any, norm_type: float, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The roots of sums of powers in windows: sum(x^p)^(1/p), p = ``norm_type``, of (N, C, H, W) or (C, H, W).

    As in PyTorch it is the power of x, not of |x|, so that odd powers of negative numbers are negative, and the root of
    a negative sum is NaN; with ``ceil_mode`` the sum of a window that reaches beyond the end is its mean times all
    elements of a window. With p infinite: the maximum of |x|. Other arguments as in `avg_pool2d`.

    Raises ValueError for p = 0, ShapeError where windows do not fit, DTypeError for integers.

    >>> dl.lp_pool2d(dl.tensor([[[3.0, 0.0], [0.0, 4.0]]]), 2, 2).tolist()
    [[[5.0]]]
    """
    return _powers(input, norm_type, kernel_size, stride, ceil_mode, 2, "lp_pool2d", layout)


@names_errors
def lp_pool3d(
    input: Any, norm_type: float, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The roots of sums of powers in windows along three axes; see `lp_pool2d`.

    >>> dl.lp_pool3d(dl.ones(1, 2, 2, 2), 1, 2).tolist()
    [[[[8.0]]]]
    """
    return _powers(input, norm_type, kernel_size, stride, ceil_mode, 3, "lp_pool3d", layout)


# ---- back from maxima -----------------------------------------------------------------------------------------------


def _asked(output_size: Any, least: Ints, stride: Ints, x: Any, name: str, layout: str) -> Ints:
    """The output's lengths in space: ``output_size``, with or without batch and channels, near the default's."""
    asked = tuple(integer(n, f"{name}: output_size") for n in (items(output_size) or [output_size]))
    if len(asked) == len(least) + 2:
        asked = spatial(asked, layout)
    elif len(asked) == len(least) + 1:
        asked = asked[1:] if layout == "NCHW" else asked[:-1]
    if len(asked) != len(least):
        raise ShapeError(f"{name}: output_size {asked} for shape {x.shape}")
    for n, middle, step in zip(asked, least, stride, strict=True):
        if not middle - step < n < middle + step:
            raise ShapeError(f"{name}: output_size {asked}: {n} is not between {middle - step} and {middle + step}")
    return asked


def _unpooled(
    input: Any, indices: Any, windows: tuple[Any, Any, Any], output_size: Any, rank: int, name: str, layout: str
) -> Any:
    x, alone = batched(input, rank, name, layout)
    index = operand(indices, name, "indices")
    if index.dtype is not int64:
        raise DTypeError(f"{name}: indices are {index.dtype.name}, not int64")
    index = reshape(index, (1, *index.shape)) if alone else index
    if index.shape != x.shape:
        raise ShapeError(f"{name}: indices of shape {index.shape} for shape {x.shape}")
    kernel = over_space(windows[0], rank, f"{name}: kernel_size")
    stride = stride_of(windows[1], kernel, f"{name}: stride")
    padding = over_space(windows[2], rank, f"{name}: padding")
    space = spatial(x.shape, layout)
    size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(space, stride, padding, kernel, strict=True))
    if output_size is not None:
        size = _asked(output_size, size, stride, x, name, layout)
    if min(size) < 1 or min(stride) < 1:
        raise ShapeError(f"{name}: the output would be {size} in space")
    check_size(name, with_space(x.shape, size, layout), x.dtype)
    index = checked(index, 0, math.prod(size) - 1, "place")
    axis = 2 if layout == "NCHW" else 1
    flat = with_space(x.shape, (math.prod(space),), layout)
    zeros = _C.full(with_space(x.shape, (math.prod(size),), layout), 0, x.dtype, x.device.code)
    out = reshape(scatter(zeros, axis, reshape(index, flat), reshape(x, flat)), with_space(x.shape, size, layout))
    return reshape(out, out.shape[1:]) if alone else out


@names_errors
def max_unpool1d(
    input: Any, indices: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, output_size: Sequence[int] | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """Zeros with the elements of ``input`` where ``indices`` say, the way back from `max_pool1d`; see `max_unpool2d`.

    >>> values, indices = dl.max_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2, return_indices=True)
    >>> dl.max_unpool1d(values, indices, 2).tolist()
    [[0.0, 3.0, 2.0, 0.0]]
    """
    return _unpooled(input, indices, (kernel_size, stride, padding), output_size, 1, "max_unpool1d", layout)


@names_errors
def max_unpool2d(
    input: Any, indices: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, output_size: Sequence[int] | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """Zeros with the elements of ``input`` where ``indices`` say: the way back from `max_pool2d`.

    ``indices``: flat in each plane, int64, of the shape of ``input`` (N, C, H, W) or (C, H, W). The output has
    (H - 1) stride - 2 padding + kernel rows, or ``output_size``, which says which of the inputs that pool to the same
    size it was. Of equal indices the last wins. The gradient gathers.

    Raises ShapeError for shapes that do not fit, IndexError for indices out of range, DTypeError for other indices.

    >>> values, indices = dl.max_pool2d(dl.tensor([[[1.0, 5.0], [4.0, 2.0]]]), 2, return_indices=True)
    >>> dl.max_unpool2d(values, indices, 2).tolist()
    [[[0.0, 5.0], [0.0, 0.0]]]
    """
    return _unpooled(input, indices, (kernel_size, stride, padding), output_size, 2, "max_unpool2d", layout)


@names_errors
def max_unpool3d(
    input: Any, indices: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, output_size: Sequence[int] | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """Zeros with the elements of ``input`` where ``indices`` say, the way back from `max_pool3d`; see `max_unpool2d`.

    >>> values, indices = dl.max_pool3d(dl.arange(8.0).reshape(1, 2, 2, 2), 2, return_indices=True)
    >>> dl.max_unpool3d(values, indices, 2).sum().item()
    7.0
    """
    return _unpooled(input, indices, (kernel_size, stride, padding), output_size, 3, "max_unpool3d", layout)
