"""Images sampled at places of a grid: grid_sample, and the grids of affine maps.

Where there is no kernel, and for gradients, a sample is a weighted sum of pixels found by index: the gradient of the
image adds up in the order of the indices, the same bits at every call, and gradients of gradients follow.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.dtypes import FLOATS, float32, int64
from dlcore.errors import ShapeError
from dlcore.op import Domain, ErrorInput, Op, Sample, Shape, Spec, Workload, floating
from dlcore.ops._constants import constant
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import abs as abs_
from dlcore.ops.elementwise import add, cast, div, eq, ge, logical_and, lt, mul, sub, where
from dlcore.ops.gather import gather
from dlcore.ops.limits import clip
from dlcore.ops.movement import expand, permute, reshape, stack
from dlcore.ops.rounding import floor
from dlcore.ops.rounding import round as round_

__all__ = ["affine_grid", "grid_sample"]

Lengths = tuple[int, ...]
Layout = Literal["NCHW", "NHWC"]
_MOST = 2**31 - 1  # elements of an image: kernels count them in 32 bits


# ---- places ---------------------------------------------------------------------------------------------------------


def _place(g: Any, n: int, align: bool) -> Any:
    """The place among n pixels for which a coordinate from -1 to 1 stands."""
    if align:
        return mul(div(add(g, 1.0), 2.0), n - 1.0)
    return div(sub(mul(add(g, 1.0), float(n)), 1.0), 2.0)


def _padded(c: Any, n: int, padding: str, align: bool) -> Any:
    """The place inside of the image that stands for ``c``; beyond an image of zeros they stay near."""
    if padding == "reflection":
        low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
        if span == 0:
            return mul(c, 0.0)
        away = abs_(sub(c, low))
        times = floor(div(away, span))
        rest = sub(away, mul(times, span))
        even = eq(sub(times, mul(floor(div(times, 2.0)), 2.0)), 0.0)
        c = where(even, add(rest, low), sub(span + low, rest))
    return clip(c, -3.0, n + 2.0) if padding == "zeros" else clip(c, 0.0, n - 1.0)


def _taps(c: Any, n: int, mode: str, padding: str, align: bool) -> list[tuple[Any, Any, Any]]:
    """(index, weight, whether it lies in the image) of the pixels that a place is made of, along one axis."""
    if mode == "bicubic":
        return _cubic_taps(_place(c, n, align), n, padding, align)
    c = _padded(_place(c, n, align), n, padding, align)
    if mode == "nearest":
        near = round_(c.detach())  # halves to even
        return [(*_index(near, n), add(mul(c, 0.0), 1.0))]
    low = floor(c.detach())
    part = sub(c, low)
    return [(*_index(low, n), sub(1.0, part)), (*_index(add(low, 1.0), n), part)]


def _index(pixel: Any, n: int) -> tuple[Any, Any]:
    inside = logical_and(ge(pixel, 0.0), lt(pixel, float(n)))
    return cast(where(inside, pixel, 0.0), int64), inside


def _keys(x: Any, far: bool) -> Any:
    """The weight of a neighbour at distance x in [0, 1], or in [1, 2]. Keys 1981, a = -3/4."""
    if far:
        return add(mul(sub(mul(add(mul(x, -0.75), 3.75), x), 6.0), x), 3.0)
    return add(mul(mul(sub(mul(x, 1.25), 2.25), x), x), 1.0)


def _cubic_taps(c: Any, n: int, padding: str, align: bool) -> list[tuple[Any, Any, Any]]:
    low = floor(c.detach())
    part = sub(c, low)
    weights = (_keys(add(part, 1.0), True), _keys(part, False), _keys(sub(1.0, part), False),
               _keys(sub(2.0, part), True))  # fmt: skip
    made = []
    for offset, weight in zip(range(-1, 3), weights, strict=True):
        at = _padded(add(low, float(offset)), n, padding, align)
        made.append((*_index(floor(at) if padding == "reflection" else at, n), weight))
    return made


# ---- grid_sample ----------------------------------------------------------------------------------------------------


def _sampled(x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool, layout: str) -> Any:
    """A sum over pixels found by index."""
    dtype, axes = x.dtype, grid.shape[-1]
    if layout == "NHWC":
        x = permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))
    if dtype.itemsize == 2:
        x, grid = cast(x, float32), cast(grid, float32)
    (batch, channels), size = x.shape[:2], x.shape[2:]
    points = math.prod(grid.shape[1:-1])
    pixels = reshape(x, (batch, channels, math.prod(size)))
    places = reshape(grid, (batch, points, axes))
    how = (mode, padding_mode, align_corners)
    along = [_taps(places[:, :, axes - 1 - d], size[d], *how) for d in range(axes)]
    total = None
    for taps in itertools.product(*along):
        index, inside, weight = taps[0]
        for d, (more, there, factor) in enumerate(taps[1:], 1):
            index = add(mul(index, size[d]), more)
            inside, weight = logical_and(inside, there), mul(weight, factor)
        index, inside, weight = (reshape(t, (batch, 1, points)) for t in (index, inside, weight))
        value = gather(pixels, expand(index, (batch, channels, points)), 2)
        term = mul(where(inside, value, 0.0), weight)
        total = term if total is None else add(total, term)
    out = reshape(total, (batch, channels, *grid.shape[1:-1]))
    if layout == "NHWC":
        out = permute(out, (0, *range(2, out.ndim), 1))
    return out if out.dtype is dtype else cast(out, dtype)


def _numpy_places(g: Any, n: int, align: bool) -> Any:
    return (g + 1) / 2 * (n - 1) if align else ((g + 1) * n - 1) / 2


def _numpy_inside(c: Any, n: int, padding: str, align: bool) -> Any:
    """The place that stands for ``c``."""
    if padding == "reflection":
        low, high = (0.0, n - 1.0) if align else (-0.5, n - 0.5)
        wave = np.mod(c - low, 2 * (high - low)) if high > low else c * 0
        c = low + np.minimum(wave, 2 * (high - low) - wave) if high > low else wave
    return c if padding == "zeros" else np.clip(c, 0, n - 1)


def _numpy_weights(g: Any, n: int, mode: str, padding: str, align: bool) -> Any:
    """The weight of each pixel of an axis in each point: (points, n)."""
    c, pixels = _numpy_places(g, n, align), np.arange(n)
    if mode != "bicubic":
        c = _numpy_inside(c, n, padding, align)[:, None]
        return (pixels == np.rint(c)) * 1.0 if mode == "nearest" else np.maximum(0, 1 - np.abs(pixels - c))
    made = np.zeros((len(g), n))
    for k in range(-1, 3):
        at = np.floor(c) + k
        x = np.abs(c - at)
        near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        where_ = np.rint(_numpy_inside(at, n, padding, align))
        made += (pixels == where_[:, None]) * np.where(x < 1, near, far)[:, None]
    return made


def _numpy_grid_sample(x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool, layout: str) -> Any:
    x = np.moveaxis(x, -1, 1) if layout == "NHWC" else x
    axes, size, points = grid.shape[-1], x.shape[2:], grid.shape[1:-1]
    out = np.zeros((*x.shape[:2], math.prod(points)), x.dtype)
    for n in range(len(x)):
        places = grid[n].reshape(-1, axes)
        made = x[n][..., None]  # (C, D, H, W, 1), then a last axis of points
        for d in range(axes - 1, -1, -1):
            weights = _numpy_weights(places[:, axes - 1 - d], size[d], mode, padding_mode, align_corners)
            made = np.einsum("c...np,pn->c...p", np.broadcast_to(made, (*made.shape[:-1], len(places))), weights)
        out[n] = made
    out = out.reshape(*x.shape[:2], *points)
    return np.moveaxis(out, 1, -1) if layout == "NHWC" else out


_CASES: list[tuple[Lengths, Lengths, dict[str, Any], str]] = [
    ((2, 3, 5, 7), (2, 4, 6, 2), {}, "bilinear, zeros around"),
    ((1, 2, 4, 6), (1, 9, 9, 2), {"mode": "bicubic", "align_corners": True}, "bicubic, several blocks of points"),
    ((2, 2, 4, 3), (2, 3, 3, 2), {"mode": "nearest", "padding_mode": "border"}, "nearest, the border around"),
    ((1, 2, 5, 4), (1, 3, 5, 2), {"padding_mode": "reflection"}, "reflected"),
    ((1, 2, 5, 4), (1, 3, 5, 2), {"padding_mode": "reflection", "align_corners": True}, "reflected at pixels"),
    ((1, 2, 5, 4), (1, 3, 5, 2), {"mode": "bicubic", "padding_mode": "reflection"}, "bicubic, reflected"),
    ((1, 2, 3, 4, 2), (1, 2, 3, 4, 3), {"padding_mode": "border"}, "volumes"),
    ((2, 4, 3, 5), (2, 3, 4, 2), {"layout": "NHWC", "align_corners": True}, "channels last"),
    ((0, 2, 3, 3), (0, 2, 2, 2), {}, "no images"),
    ((1, 1, 1, 1), (1, 2, 2, 2), {"padding_mode": "reflection", "align_corners": True}, "one pixel"),
]


@Op.definition(
    family="resize", promote=floating, dtypes=FLOATS, cast="widest", ulp=16, batching="composite",
    kernels={"cpu": "resize:grid_sample", "cuda": None}, composite=_sampled, reference=_numpy_grid_sample,
    magnitude=lambda x: (1 + max(x.shape[1:], default=0)) * np.max(np.abs(x), initial=0.0),  # a rounded place
    cost=lambda x, grid, mode: (
        (2.0 * {"nearest": 1, "bilinear": 2, "bicubic": 4}[mode] ** grid.shape[-1] + 20)
        * math.prod(grid.shape[:-1]), bytes_of(x, grid) * 2,
    ),
    samples=[Sample(x, grid, why=why, **options) for x, grid, options, why in _CASES],
    error_inputs=[
        ErrorInput(ShapeError, "grid_sample: images (N, C, H, W) or (N, C, D, H, W) expected, not shape (3, 4, 4)",
                   np.zeros((3, 4, 4)), np.zeros((3, 2, 2, 2))),
        ErrorInput(ShapeError, "grid_sample: a grid of shape (2, 3, 3, 3) does not fit images of shape (2, 1, 4, 4): "
                   "it is (2, H', W', 2)", np.zeros((2, 1, 4, 4)), np.zeros((2, 3, 3, 3))),
        ErrorInput(ShapeError, "grid_sample: a grid of shape (1, 3, 3, 2) does not fit images of shape (2, 1, 4, 4): "
                   "it is (2, H', W', 2)", np.zeros((2, 1, 4, 4)), np.zeros((1, 3, 3, 2))),
        ErrorInput(ShapeError, "grid_sample: images of 0 x 4 have no pixels", np.zeros((2, 1, 0, 4)),
                   np.zeros((2, 3, 3, 2))),
        ErrorInput(ValueError, "grid_sample: mode 'bicubic' is for images, not for volumes",
                   np.zeros((1, 1, 2, 2, 2)), np.zeros((1, 1, 1, 1, 3)), mode="bicubic"),
    ],
    workloads=[
        Workload(((16, 16, 56, 56), (16, 56, 56, 2)), ("bilinear",), "a layer"),
        Workload(((128, 1, 28, 28), (128, 28, 28, 2)), ("bilinear",), "a batch of images"),
        Workload(((2, 3, 63, 65), (2, 127, 31, 2)), ("bicubic", "reflection"), "ragged"),
    ],
    baselines={"torch": "F.grid_sample(x, grid, mode, padding_mode, align_corners)"},
)  # fmt: skip
def grid_sample(
    x: Spec, grid: Annotated[Spec, Domain(-1.3, 1.3)],
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros", align_corners: bool = False,
    layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """Pixels of `x` at the places in `grid`: x (N, C, H, W), grid (N, H', W', 2) give (N, C, H', W').

    A place is (column, row), of volumes (N, C, D, H, W) with a grid (N, D', H', W', 3) it is (column, row, depth), from
    -1 to 1: with `align_corners` from the middle of the first pixel to that of the last, else from border to border.
    Between pixels they are mixed by `mode`: "bilinear" (of volumes trilinear), "nearest" or "bicubic" (Keys 1981 with
    a = -0.75). Beyond the image `padding_mode`: "zeros", the "border" or a "reflection". `layout`: "NHWC" where
    channels come last, in the result as well. Computed in float32 or wider; NaN at a place gives NaN. Jaderberg et
    al. 2015.

    Gradients go to both; that of images adds up in a fixed order. Raises ShapeError where shapes do not fit.

    >>> dl.grid_sample(dl.tensor([[[[0.0, 1.0, 2.0]]]]), dl.tensor([[[[0.5, 0.0]]]]), align_corners=True).tolist()
    [[[[1.5]]]]
    """
    if len(x.shape) not in (4, 5):
        wanted = "(N, C, H, W) or (N, C, D, H, W)" if layout == "NCHW" else "(N, H, W, C) or (N, D, H, W, C)"
        raise ShapeError(f"grid_sample: images {wanted} expected, not shape {x.shape}")
    axes = len(x.shape) - 2
    if len(grid.shape) != axes + 2 or grid.shape[-1] != axes or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            f"grid_sample: a grid of shape {grid.shape} does not fit images of shape {x.shape}: it is {_grid_text(x)}"
        )
    if mode == "bicubic" and axes == 3:
        raise ValueError("grid_sample: mode 'bicubic' is for images, not for volumes")
    size = x.shape[2:] if layout == "NCHW" else x.shape[1:-1]
    if 0 in size:
        raise ShapeError(f"grid_sample: images of {' x '.join(map(str, size))} have no pixels")
    if math.prod(x.shape[1:]) > _MOST:
        raise ShapeError(f"grid_sample: images of shape {x.shape[1:]} have more than 2^31 elements")
    points = grid.shape[1:-1]
    return Spec((x.shape[0], x.shape[1], *points) if layout == "NCHW" else (x.shape[0], *points, x.shape[-1]), x.dtype)


def _grid_text(x: Spec) -> str:
    names = ("D'", "H'", "W'")[5 - len(x.shape) :]
    return f"({x.shape[0]}, {', '.join(names)}, {len(names)})"


# ---- affine_grid ----------------------------------------------------------------------------------------------------


def _coordinates(n: int, align: bool) -> Any:
    """-1 to 1: the middles of n pixels."""
    if n == 1:
        return np.zeros(1)
    steps = np.linspace(-1.0, 1.0, n)
    return steps if align else steps * (n - 1) / n


def _affine(theta: Any, size: Lengths, align_corners: bool) -> Any:
    """An axis at a time: products with a matrix would be of low precision within autocast."""
    dtype, axes = theta.dtype, len(size) - 2
    theta = cast(theta, float32) if dtype.itemsize == 2 else theta
    batch, parts = theta.shape[0], []
    for row in range(axes):
        total = reshape(theta[:, row, axes], (batch, *[1] * axes))
        for d in range(axes):  # the slowest axis first, so that the last sum alone is of all points
            along = cast(constant(_coordinates(size[2 + d], align_corners), theta), theta.dtype)
            factor = reshape(theta[:, row, axes - 1 - d], (batch, *[1] * axes))
            total = add(total, mul(reshape(along, (-1, *[1] * (axes - 1 - d))), factor))
        parts.append(total)
    out = stack(parts, -1)
    return out if out.dtype is dtype else cast(out, dtype)


def _numpy_affine(theta: Any, size: Lengths, align_corners: bool) -> Any:
    lines = [_coordinates(n, align_corners) for n in size[2:]]
    mesh = np.meshgrid(*lines, indexing="ij")[::-1]
    base = np.stack([*mesh, np.ones(size[2:])], -1)
    return np.einsum("...k,njk->n...j", base, theta)


@Op.definition(
    kernels={}, promote=floating, dtypes=FLOATS, cast="float32", ulp=6, composite=_affine, reference=_numpy_affine,
    magnitude=lambda theta, size, align_corners: _numpy_affine(np.abs(theta), size, align_corners) + np.max(
        np.abs(theta), initial=0.0) * 4,
    cost=lambda theta, size: (2.0 * math.prod(size[2:]) * math.prod(theta.shape), bytes_of(theta) + theta.dtype.itemsize
                              * math.prod(size[2:]) * (len(size) - 2) * size[0]),
    samples=[
        Sample((2, 2, 3), size=(2, 3, 4, 5), why="images"),
        Sample((2, 2, 3), size=(2, 1, 4, 1), align_corners=True, why="corners aligned"),
        Sample((1, 3, 4), size=(1, 2, 3, 4, 2), why="volumes"),
        Sample((0, 2, 3), size=(0, 3, 4, 5), why="no images"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "affine_grid: size (2, 3, 4) is neither (N, C, H, W) nor (N, C, D, H, W)",
                   np.zeros((2, 2, 3)), size=(2, 3, 4)),
        ErrorInput(ShapeError, "affine_grid: theta has shape (2, 2, 2), not (2, 2, 3)", np.zeros((2, 2, 2)),
                   size=(2, 3, 4, 4)),
        ErrorInput(ShapeError, "affine_grid: size (2, 3, 0, 4) has no pixels", np.zeros((2, 2, 3)),
                   size=(2, 3, 0, 4)),
    ],
    workloads=[
        Workload(((16, 2, 3),), ((16, 16, 56, 56),), "a layer"),
        Workload(((128, 2, 3),), ((128, 1, 28, 28),), "a batch of images"),
    ],
    baselines={"torch": ("lengths = list(size)", "F.affine_grid(theta, lengths, align_corners)")},
)  # fmt: skip
def affine_grid(theta: Spec, size: Shape, align_corners: bool = False) -> Spec:
    """The places that affine maps give to pixels: `theta` (N, 2, 3) gives (N, H, W, 2), for `grid_sample`.

    `size`: (N, C, H, W) of the images sampled. The place of the pixel at (x, y), from -1 to 1, is theta @ (x, y, 1).
    Of volumes, size (N, C, D, H, W), theta is (N, 3, 4) and the grid (N, D, H, W, 3). `align_corners`: as `grid_sample`
    is told. Computed in float32 or wider. Raises ShapeError where theta does not fit.

    >>> dl.affine_grid(dl.tensor([[[1.0, 0, 0.5], [0, 1, 0]]]), (1, 1, 1, 2), align_corners=True).tolist()
    [[[[-0.5, 0.0], [1.5, 0.0]]]]
    """
    if len(size) not in (4, 5):
        raise ShapeError(f"affine_grid: size {size} is neither (N, C, H, W) nor (N, C, D, H, W)")
    axes = len(size) - 2
    if theta.shape != (size[0], axes, axes + 1):
        raise ShapeError(f"affine_grid: theta has shape {theta.shape}, not {(size[0], axes, axes + 1)}")
    if min(size[2:]) < 1:
        raise ShapeError(f"affine_grid: size {size} has no pixels")
    return Spec((size[0], *size[2:], axes), theta.dtype)
