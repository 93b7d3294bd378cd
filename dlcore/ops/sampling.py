"""Images sampled at places of a grid: grid_sample, and the grids of affine maps.

Where there is no kernel, and for gradients, a sample is a weighted sum of pixels found by index: the gradient of the
image adds up in the order of the indices, the same bits at every call, and gradients of gradients follow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from dlcore import _C
from dlcore._gradients import recomputed
from dlcore.dtypes import FLOATS, DType, float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, ErrorInput, Op, OutputMask, Sample, Shape, Spec, Workload, check_floating, floating
from dlcore.ops._constants import constant
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import abs as abs_
from dlcore.ops.elementwise import add, cast, div, eq, ge, le, logical_and, logical_or, lt, mul, sub, where
from dlcore.ops.gather import gather
from dlcore.ops.limits import clip
from dlcore.ops.movement import expand, permute, reshape, stack
from dlcore.ops.rounding import floor
from dlcore.ops.rounding import round as round_

__all__ = ["affine_grid", "grid_sample"]

Lengths = tuple[int, ...]
Layout = Literal["NCHW", "NHWC"]
_LONGEST = 1 << 24  # of a grid's axes, whose coordinates are made on the host
_MOST = 2**31 - 1  # elements of an image: kernels count them in 32 bits


# ---- places ---------------------------------------------------------------------------------------------------------


def _place(g: Any, n: int, align: bool) -> Any:
    """The place among n pixels for which a coordinate from -1 to 1 stands."""
    if align:
        return mul(div(add(g, 1.0), 2.0), n - 1.0)
    return div(sub(mul(add(g, 1.0), float(n)), 1.0), 2.0)


def _padded(c: Any, n: int, padding: str, align: bool) -> Any:
    """The place inside of the image that stands for ``c``; beyond an image of zeros they stay near.

    At the middle of the last pixel, where the place turns, its slope is 0.
    """
    if padding == "reflection":
        low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
        if span == 0:
            return mul(c, 0.0)
        away = abs_(sub(c, low))
        times = floor(div(away, span))
        rest = sub(away, mul(times, span))
        even = eq(sub(times, mul(floor(div(times, 2.0)), 2.0)), 0.0)
        c = where(even, add(rest, low), sub(span + low, rest))
    if padding == "zeros":
        return clip(c, -3.0, n + 2.0)
    return where(logical_or(le(c, 0.0), ge(c, n - 1.0)), clip(c.detach(), 0.0, n - 1.0), c)


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


def _numpy_slopes(g: Any, n: int, mode: str, padding: str, align: bool) -> Any:
    """How fast each weight grows with the coordinate: (points, n)."""
    c, pixels, scale, step = _numpy_places(g, n, align), np.arange(n), (n - 1 if align else n) / 2, 1e-6
    made = np.zeros((len(g), n))
    if mode == "bilinear":
        ahead, behind = (_numpy_inside(c + h, n, padding, align) for h in (step, -step))
        turn = np.rint((ahead - behind) / (2 * step))  # forward, backward or nowhere
        away = _numpy_inside(c, n, padding, align)[:, None] - pixels
        made = -np.sign(away) * (np.abs(away) < 1) * (turn * scale)[:, None]
    for k in range(-1, 3) if mode == "bicubic" else ():
        at = np.floor(c) + k
        x, side = np.abs(c - at), np.where(c >= at, scale, -scale)
        slope = np.where(x < 1, 3.75 * x**2 - 4.5 * x, -0.75 * (3 * x**2 - 10 * x + 8)) * side
        where_ = np.rint(_numpy_inside(at, n, padding, align))
        made += (pixels == where_[:, None]) * slope[:, None]
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


def _of_examples(call: Any) -> Any:
    """Of all examples: one larger batch."""
    wholes = [call.full(k) for k in range(len(call.values))]
    parts = [reshape(t, (call.size * t.shape[1], *t.shape[2:])) for t in wholes]
    found = call.run(parts)
    several = found if isinstance(found, tuple) else (found,)
    made = [
        None if t is None else reshape(t, (call.size, *o.shape)) for t, o in zip(several, call.outputs, strict=True)
    ]
    return tuple(made) if isinstance(found, tuple) else made[0]


def _promoted(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """The widest dtype of images and grid; raises DTypeError for images of integers."""
    assert specs[0] is not None
    check_floating("grid_sample", "x", specs[0])
    return floating(specs)


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
    family="resize", promote=_promoted, dtypes=FLOATS, cast="widest", ulp=16, batch=_of_examples,
    kernels={"cpu": "resize:grid_sample", "cuda": "resize.sample:grid_sample"}, composite=_sampled,
    reference=_numpy_grid_sample,
    magnitude=lambda x: (1 + max(x.shape[1:], default=0)) * np.max(np.abs(x), initial=0.0),  # a rounded place
    cost=lambda x, grid, mode: (
        (2.0 * {"nearest": 1, "bilinear": 2, "bicubic": 4}[mode] ** grid.shape[-1] + 20)
        * math.prod(grid.shape[:-1]), bytes_of(x, grid) * 2,
    ),
    samples=[Sample(x, grid, why=why, **options) for x, grid, options, why in _CASES],
    error_inputs=[
        ErrorInput(DTypeError, "grid_sample: x (1, 1, 4, 4) is of uint8; it must be of a floating dtype: x.float(), "
                   "and bytes of a picture divided by 255", np.zeros((1, 1, 4, 4), np.uint8), np.zeros((1, 2, 2, 2))),
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
    _check_sampling("grid_sample", x, grid, mode, layout)
    return Spec(_sampled_shape(x, grid, layout), x.dtype)


@grid_sample.gradient("x", "grid")
def _(
    dout: Any, x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool, layout: str, needs_input_grad: Any
) -> Any:
    wanted = tuple(needs_input_grad)
    return grid_sample_backward(x, grid, dout, mode, padding_mode, align_corners, layout, wanted)


def _differentiated(
    x: Any, grid: Any, dout: Any, mode: str, padding_mode: str, align_corners: bool, layout: str,
    output_mask: tuple[bool, ...],
) -> Any:  # fmt: skip
    """By the tape, through the sum over pixels."""

    def sampled(x: Any, grid: Any) -> Any:
        return _sampled(x, grid, mode, padding_mode, align_corners, layout)

    found = recomputed(sampled, [dout], [x, grid], output_mask, _C.is_grad_enabled())
    return tuple(  # nothing depends on a grid to the nearest pixel
        mul(t, 0.0) if wanted and g is None else g
        for t, g, wanted in zip((x, grid), found, output_mask, strict=True)
    )


def _numpy_backward(
    x: Any, grid: Any, dout: Any, mode: str, padding_mode: str, align_corners: bool, layout: str
) -> Any:
    how = (mode, padding_mode, align_corners)
    x, dout = (np.moveaxis(t, -1, 1) if layout == "NHWC" else t for t in (x, dout))
    axes, size = grid.shape[-1], x.shape[2:]
    dx, dgrid = np.zeros(x.shape), np.zeros(grid.shape)
    for n in range(len(x)):
        places, flat = grid[n].reshape(-1, axes), dout[n].reshape(x.shape[1], -1)
        weights = [_numpy_weights(places[:, axes - 1 - d], size[d], *how) for d in range(axes)]
        letters = "yxw"[:axes]
        sums = ",".join(f"p{k}" for k in letters)
        dx[n] = np.einsum(f"cp,{sums}->c{letters}", flat, *weights)
        for d in range(axes):
            slope = _numpy_slopes(places[:, axes - 1 - d], size[d], *how)
            parts = [slope if e == d else w for e, w in enumerate(weights)]
            made = np.einsum(f"cp,c{letters},{sums}->p", flat, x[n], *parts)
            dgrid[n].reshape(-1, axes)[:, axes - 1 - d] = made
    return (np.moveaxis(dx, 1, -1) if layout == "NHWC" else dx), dgrid


def _backward_samples() -> list[Sample]:
    found = []
    for x, grid, options, why in _CASES:
        last = options.get("layout") == "NHWC"
        out = (x[0], *grid[1:-1], x[-1]) if last else (*x[:2], *grid[1:-1])
        found.append(Sample(x, grid, out, why=why, grad=x[0] == 1 and len(x) == 4 and "mode" not in options, **options))
    return [*found, found[0].but(output_mask=(True, False), why="of the image alone", grad=False)]


@Op.definition(
    family="resize", promote=floating, dtypes=FLOATS, ulp=64, outputs="dx dgrid", batch=_of_examples,
    kernels={"cpu": "resize:grid_sample_backward", "cuda": None}, composite=_differentiated,
    reference=_numpy_backward,
    magnitude=lambda x, grid, dout: tuple(
        (1 + max(x.shape[1:], default=0)) ** 2 * np.max(np.abs(dout), initial=0.0) * size
        for size in (grid.size, np.max(np.abs(x), initial=0.0) * x.shape[1])
    ),
    cost=lambda x, grid, dout: (
        30.0 * math.prod(dout.shape), 2 * bytes_of(x, grid) + bytes_of(dout)
    ),
    params=lambda mode, padding_mode, align_corners, layout: (
        ("bilinear", "nearest", "bicubic").index(mode), ("zeros", "border", "reflection").index(padding_mode),
        int(align_corners), int(layout == "NHWC"),
    ),
    samples=_backward_samples,
    error_inputs=[
        ErrorInput(ShapeError, "grid_sample_backward: dout has shape (2, 1, 3, 4), not (2, 1, 3, 3)",
                   np.zeros((2, 1, 4, 4)), np.zeros((2, 3, 3, 2)), np.zeros((2, 1, 3, 4))),
    ],
    workloads=[
        Workload(((16, 16, 56, 56), (16, 56, 56, 2), (16, 16, 56, 56)), ("bilinear",), "a layer"),
        Workload(((2, 3, 63, 65), (2, 127, 31, 2), (2, 3, 127, 31)), ("bicubic", "reflection"), "ragged"),
    ],
    baselines={"torch": (
        "modes, pads = ['bilinear', 'nearest', 'bicubic'], ['zeros', 'border', 'reflection']\n"
        "m, p, mask = modes.index(mode), pads.index(padding_mode), list(output_mask)",
        "torch.ops.aten.grid_sampler_2d_backward(dout, x, grid, m, p, align_corners, mask)",
    )},
)  # fmt: skip
def grid_sample_backward(
    x: Spec, grid: Annotated[Spec, Domain(-1.3, 1.3)], dout: Spec,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros", align_corners: bool = False,
    layout: Layout = "NCHW", output_mask: OutputMask = (True, True),
) -> tuple[Spec, Spec]:  # fmt: skip
    """Gradients of `grid_sample`: of its images and of its grid, each None where `output_mask` says so.

    Sums are in float32 or wider, those of an image's pixels in the order of the points.
    """
    _check_sampling("grid_sample_backward", x, grid, mode, layout)
    out = _sampled_shape(x, grid, layout)
    if dout.shape != out:
        raise ShapeError(f"grid_sample_backward: dout has shape {dout.shape}, not {out}")
    return Spec(x.shape, x.dtype), Spec(grid.shape, x.dtype)


def _check_sampling(name: str, x: Spec, grid: Spec, mode: str, layout: str) -> None:
    """Raises where a grid does not fit images, or these cannot be sampled so."""
    if len(x.shape) not in (4, 5):
        wanted = "(N, C, H, W) or (N, C, D, H, W)" if layout == "NCHW" else "(N, H, W, C) or (N, D, H, W, C)"
        raise ShapeError(f"{name}: images {wanted} expected, not shape {x.shape}")
    axes = len(x.shape) - 2
    if len(grid.shape) != axes + 2 or grid.shape[-1] != axes or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            f"{name}: a grid of shape {grid.shape} does not fit images of shape {x.shape}: it is {_grid_text(x)}"
        )
    if mode == "bicubic" and axes == 3:
        raise ValueError(f"{name}: mode 'bicubic' is for images, not for volumes")
    size = x.shape[2:] if layout == "NCHW" else x.shape[1:-1]
    if 0 in size:
        raise ShapeError(f"{name}: images of {' x '.join(map(str, size))} have no pixels")
    if math.prod(x.shape[1:]) > _MOST:
        raise ShapeError(f"{name}: images of shape {x.shape[1:]} have more than 2^31 elements")


def _sampled_shape(x: Spec, grid: Spec, layout: str) -> Lengths:
    """The shape of the samples."""
    points = grid.shape[1:-1]
    return (x.shape[0], x.shape[1], *points) if layout == "NCHW" else (x.shape[0], *points, x.shape[-1])


def _grid_text(x: Spec) -> str:
    names = ("D'", "H'", "W'")[5 - len(x.shape) :]
    return f"({x.shape[0]}, {', '.join(names)}, {len(names)})"


# ---- affine_grid ----------------------------------------------------------------------------------------------------


def pixel_places(n: int, align: bool) -> Any:
    """-1 to 1: the middles of n pixels; with `align` the first and the last lie at the ends."""
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
            along = cast(constant(pixel_places(size[2 + d], align_corners), theta), theta.dtype)
            factor = reshape(theta[:, row, axes - 1 - d], (batch, *[1] * axes))
            total = add(total, mul(reshape(along, (-1, *[1] * (axes - 1 - d))), factor))
        parts.append(total)
    out = stack(parts, -1)
    return out if out.dtype is dtype else cast(out, dtype)


def _numpy_affine(theta: Any, size: Lengths, align_corners: bool) -> Any:
    lines = [pixel_places(n, align_corners) for n in size[2:]]
    mesh = np.meshgrid(*lines, indexing="ij")[::-1]
    base = np.stack([*mesh, np.ones(size[2:])], -1)
    return np.einsum("...k,njk->n...j", base, theta)


@Op.definition(
    kernels={"cpu": "resize:affine_grid"}, params=lambda align_corners: (int(align_corners),),
    promote=floating, dtypes=FLOATS, cast="float32", ulp=6, composite=_affine, reference=_numpy_affine,
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
        ErrorInput(ShapeError, "affine_grid: size (2, 3, 2, 1000000000) has an axis of more than 16777216 pixels",
                   np.zeros((2, 2, 3)), size=(2, 3, 2, 10**9)),
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
    if max(size[2:]) > _LONGEST:
        raise ShapeError(f"affine_grid: size {size} has an axis of more than {_LONGEST} pixels")
    return Spec((size[0], *size[2:], axes), theta.dtype)
