"""Images of other sizes: interpolate, and channels shuffled with places.

`interpolate` resizes an axis at a time by tables (dlcore/ops/resampling.py), the axis that gets shortest first. What
there is in between is float32 or wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlcore.dtypes import FLOATS, float32, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops._constants import constant
from dlcore.ops._images import image_axes
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import cast
from dlcore.ops.gather import take
from dlcore.ops.movement import contiguous, permute, reshape
from dlcore.ops.resampling import band, resampled

__all__ = ["channel_shuffle", "interpolate", "pixel_shuffle", "pixel_unshuffle"]

Lengths = tuple[int, ...]
Layout = Literal["NCHW", "NHWC"]
Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"]

# ---- interpolate ----------------------------------------------------------------------------------------------------

_OF_AXES = {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}
_LONGEST = 1 << 24  # of an axis: its table takes some 100 bytes an element while it is made
_TABLES = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}


def _factors(scale_factor: Any, count: int) -> tuple[float, ...]:
    """``scale_factor``, a number or a sequence of them, for each axis."""
    several = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * count
    try:
        found = tuple(float(f) for f in several if not isinstance(f, str | bytes))
    except (TypeError, ValueError):
        found = ()
    if len(found) != count:
        what = "a number" if count == 1 else f"a number or {count} of them"
        raise ValueError(f"interpolate: scale_factor {scale_factor!r} is not {what}")
    if not all(0 < f < math.inf for f in found):
        raise ValueError(f"interpolate: scale_factor is {scale_factor}; it must be positive")
    return found


def _sizes(
    shape: Sequence[int], size: Lengths | None, scale_factor: Any, recompute: bool | None
) -> list[tuple[int, float]]:
    """(length, inputs an output is wide; 0 for the ratio of the lengths) of each axis."""
    if (size is None) == (scale_factor is None):
        given = "both are" if size is not None else "neither is"
        raise ValueError(f"interpolate: one of size and scale_factor must be given; {given}")
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor makes no sense with size")
        if len(size) not in (1, len(shape)):
            raise ShapeError(f"interpolate: size {size} for {len(shape)} axes {tuple(shape)}")
        return [(n, 0.0) for n in (size if len(size) == len(shape) else size * len(shape))]
    factors = _factors(scale_factor, len(shape))
    return [(math.floor(n * f), 0.0 if recompute else 1 / f) for n, f in zip(shape, factors, strict=True)]


def _check_mode(mode: str, axes: int, align_corners: bool | None, antialias: bool) -> None:
    if axes not in _OF_AXES.get(mode, (1, 2, 3)):
        raise ShapeError(f"interpolate: mode {mode!r} is for {_OF_AXES[mode][0]} axes of places, not {axes}")
    if align_corners is not None and mode not in _OF_AXES:
        raise ValueError(f"interpolate: align_corners is for linear and cubic modes, not {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is for modes 'bilinear' and 'bicubic', not {mode!r}")


def _plan(x: Any, size: Any, scale_factor: Any, mode: str, recompute: Any, layout: str) -> list[tuple[int, int, float]]:
    """(axis, length, scale) of each axis of places, checked."""
    axes = image_axes("interpolate", x.shape, layout)
    by_length = recompute or (mode == "area" and size is None)
    found = _sizes([x.shape[a] for a in axes], size, scale_factor, by_length)
    made = [(a, n, scale) for a, (n, scale) in zip(axes, found, strict=True)]
    if any(n < 1 or x.shape[a] < 1 for a, n, _ in made):
        to = " x ".join(str(n) for _, n, _ in made)
        raise ShapeError(f"interpolate: images of {' x '.join(str(x.shape[a]) for a in axes)} cannot become {to}")
    if (longest := max(max(n, x.shape[a]) for a, n, _ in made)) > _LONGEST:
        raise ShapeError(f"interpolate: an axis of {longest} elements; tables are of at most {_LONGEST}")
    return made


def _numpy_interpolate(
    x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any, recompute_scale_factor: Any, antialias: bool,
    layout: str,
) -> Any:  # fmt: skip
    """Each output from the definition of its mode, axis by axis: matrices."""
    out = x
    last = x.ndim - 1 if layout == "NCHW" else x.ndim - 2
    first = 2 if layout == "NCHW" else 1
    count = last - first + 1
    for k in range(count):
        axis = first + k
        n = x.shape[axis]
        if size is not None:
            m, scale = size[k % len(size)], n / size[k % len(size)]
        else:
            factor = scale_factor[k] if isinstance(scale_factor, tuple) else scale_factor
            m = int(np.floor(n * factor))
            scale = n / m if recompute_scale_factor or mode == "area" else 1 / factor
        if align_corners:
            scale = (n - 1) / (m - 1) if m > 1 else 0.0
        if m == n and (antialias or "linear" in mode):
            scale = 1.0
        rows = np.stack([_row(o, n, m, scale, mode, bool(align_corners), antialias) for o in range(m)])
        out = np.moveaxis(np.tensordot(rows, out, (1, axis)), 0, axis)
    return out if x.dtype.kind == "f" else out.astype(x.dtype)


def _row(o: int, n: int, m: int, scale: float, mode: str, corners: bool, antialias: bool) -> Any:
    """The weights of all inputs in output ``o``."""
    row = np.zeros(n)
    if mode == "nearest":
        row[min(int(o * np.float32(scale)), n - 1)] = 1
    elif mode == "nearest-exact":
        row[min(int((o + 0.5) * np.float32(scale)), n - 1)] = 1
    elif mode == "area":
        row[o * n // m : ((o + 1) * n + m - 1) // m] = 1
        row /= row.sum()
    elif antialias:
        x = (np.arange(n) + 0.5 - scale * (o + 0.5)) / max(scale, 1.0)
        row = np.maximum(0, 1 - abs(x)) if mode == "bilinear" else _cubic_weight(x, -0.5)
        row = row / row.sum()
    else:
        at = scale * o if corners else scale * (o + 0.5) - 0.5
        places = np.arange(-3, n + 3)
        at = at if mode == "bicubic" else np.clip(at, 0, n - 1)
        weights = _cubic_weight(places - at, -0.75) if mode == "bicubic" else np.maximum(0, 1 - abs(places - at))
        np.add.at(row, np.clip(places, 0, n - 1), weights)
    return row


def _cubic_weight(x: Any, a: float) -> Any:
    x = abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    return np.where(x < 1, near, np.where(x < 2, a * (x**3 - 5 * x**2 + 8 * x - 4), 0))


_BYTES = Input((2, 3, 5, 4), 0, 256, uint8)
_RESIZED: list[tuple[Any, dict[str, Any], str]] = [
    ((2, 3, 5, 4), {"size": (8, 3), "mode": "bilinear"}, "wider and narrower"),
    ((2, 3, 5, 4), {"scale_factor": 2.0, "mode": "nearest"}, "twice as large"),
    ((1, 2, 7, 9), {"size": (3, 20), "mode": "nearest-exact"}, "nearest in the middle"),
    ((2, 2, 6, 5), {"size": (11, 4), "mode": "bicubic", "align_corners": True}, "corners aligned"),
    ((2, 9, 7, 3), {"size": (4, 5), "mode": "bicubic", "antialias": True, "layout": "NHWC"}, "channels last"),
    ((2, 2, 12, 9), {"scale_factor": (0.4, 1.7), "mode": "bilinear", "antialias": True}, "antialiased by factors"),
    ((1, 2, 3, 4, 5), {"size": (4, 4, 7), "mode": "trilinear", "align_corners": True}, "volumes"),
    ((1, 3, 6, 7), {"size": (4, 10), "mode": "area"}, "means of areas"),
    ((2, 3, 9), {"scale_factor": 1.3, "mode": "linear"}, "one axis, by its factor"),
    ((2, 3, 9), {"scale_factor": 1.3, "mode": "linear", "recompute_scale_factor": True}, "one axis, by its length"),
    ((1, 2, 5, 4), {"scale_factor": (1.15, 1.2), "mode": "nearest-exact"}, "the same lengths by other factors"),
    ((1, 2, 5, 4), {"scale_factor": (1.15, 1.2), "mode": "bilinear", "antialias": True}, "the same lengths, smoothed"),
    ((0, 3, 4, 4), {"size": (2, 2), "mode": "bilinear"}, "no images"),
    ((1, 1, 1, 1), {"size": (3,), "mode": "bicubic"}, "one pixel"),
]  # fmt: skip


@Op.definition(
    kernels={}, promote=as_given, dtypes=FLOATS, ulp=8, reference=_numpy_interpolate, methods=False,
    magnitude=lambda x: 2.5 * np.max(np.abs(x), initial=0.0),  # weights of a cubic add up to 1.6 an axis
    cost=lambda x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias, layout: (
        4.0 * _made(x, size, scale_factor, mode, recompute_scale_factor, layout),
        bytes_of(x) + x.dtype.itemsize * _made(x, size, scale_factor, mode, recompute_scale_factor, layout),
    ),
    samples=[
        *(Sample(x, why=why, **options) for x, options, why in _RESIZED),
        Sample(_BYTES, size=(7, 9), mode="nearest", why="bytes", grad=False),
    ],
    error_inputs=[
        ErrorInput(ValueError, "interpolate: one of size and scale_factor must be given; neither is",
                   np.zeros((1, 1, 2, 2))),
        ErrorInput(ValueError, "interpolate: one of size and scale_factor must be given; both are",
                   np.zeros((1, 1, 2, 2)), size=(2, 2), scale_factor=2.0),
        ErrorInput(ShapeError, "interpolate: images (N, C, L), (N, C, H, W) or (N, C, D, H, W) expected, not shape "
                   "(2, 2)", np.zeros((2, 2)), size=(2,)),
        ErrorInput(ShapeError, "interpolate: mode 'bilinear' is for 2 axes of places, not 1", np.zeros((1, 2, 2)),
                   size=(2,), mode="bilinear"),
        ErrorInput(ShapeError, "interpolate: size (2, 2, 2) for 2 axes (2, 3)", np.zeros((1, 1, 2, 3)), size=(2, 2, 2)),
        ErrorInput(ShapeError, "interpolate: images of 2 x 3 cannot become 0 x 1", np.zeros((1, 1, 2, 3)),
                   scale_factor=0.4),
        ErrorInput(ShapeError, "interpolate: an axis of 1000000000 elements; tables are of at most 16777216",
                   np.zeros((1, 1, 2, 3)), size=(2, 10**9)),
        ErrorInput(ValueError, "interpolate: scale_factor is -1.0; it must be positive", np.zeros((1, 1, 2, 3)),
                   scale_factor=-1.0),
        ErrorInput(ValueError, "interpolate: scale_factor (1.0, 2.0, 3.0) is not a number or 2 of them",
                   np.zeros((1, 1, 2, 3)), scale_factor=(1.0, 2.0, 3.0)),
        ErrorInput(ValueError, "interpolate: align_corners is for linear and cubic modes, not 'nearest'",
                   np.zeros((1, 1, 2, 3)), size=(2, 2), align_corners=True),
        ErrorInput(ValueError, "interpolate: antialias is for modes 'bilinear' and 'bicubic', not 'area'",
                   np.zeros((1, 1, 2, 3)), size=(2, 2), mode="area", antialias=True),
        ErrorInput(ValueError, "interpolate: recompute_scale_factor makes no sense with size",
                   np.zeros((1, 1, 2, 3)), size=(2, 2), recompute_scale_factor=True),
        ErrorInput(DTypeError, "interpolate: mode 'bilinear' is for floats, not uint8; cast the images first",
                   np.zeros((1, 1, 2, 3), np.uint8), size=(2, 2), mode="bilinear"),
    ],
    workloads=[
        Workload(((16, 16, 56, 56),), ((112, 112), None, "bilinear"), "twice as large"),
        Workload(((16, 16, 56, 56),), ((112, 112), None, "nearest"), "twice as large"),
        Workload(((8, 3, 64, 64),), ((224, 224), None, "bicubic"), "small images to a network's"),
        Workload(((8, 3, 225, 223),), ((64, 64), None, "bilinear", None, None, True), "ragged, antialiased"),
    ],
    baselines={"torch": (
        "align = align_corners if mode not in ('nearest', 'nearest-exact', 'area') else None\nsize = tuple(size)",
        "F.interpolate(x, size, mode=mode, align_corners=align, antialias=antialias)",
    )},
)  # fmt: skip
def interpolate(
    x: Spec, size: Shape | None = None, scale_factor: Any = None, mode: Mode = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
    layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """Images of another size: `x` (N, C, L), (N, C, H, W) or (N, C, D, H, W), resized as PyTorch does it.

    `size`: the new lengths, or `scale_factor`: one factor or one for each axis; lengths are rounded down. `mode`:
    "nearest", "nearest-exact" (the pixel in whose middle an output lies), "area" (means of the pixels that an output
    covers), "linear" (of 1 axis), "bilinear", "bicubic" (of 2; Keys 1981 with a = -0.75) or "trilinear" (of 3).
    `align_corners`: the first and last pixels stay where they are, else the image's borders do. `antialias` of bilinear
    and bicubic: smaller images are smoothed, as Pillow does it. `recompute_scale_factor`: places come from the rounded
    lengths instead of from the factor. `layout`: "NHWC" where channels come last. An axis whose length stays the same
    is left as it is by linear modes and by `antialias`; others follow the factor, "nearest" along two axes, too (there
    PyTorch takes the lengths where one is the other or twice as long).

    Sums are in float32 or wider; integers can be resized to the nearest pixel. Raises ShapeError for sizes of 0.

    >>> dl.interpolate(dl.tensor([[[0.0, 1.0]]]), scale_factor=2, mode="linear").tolist()
    [[[0.0, 0.25, 0.75, 1.0]]]
    """
    plan = _plan(x, size, scale_factor, mode, recompute_scale_factor, layout)
    _check_mode(mode, len(plan), align_corners, antialias)
    if not x.dtype.is_float and not mode.startswith("nearest"):
        raise DTypeError(f"interpolate: mode {mode!r} is for floats, not {x.dtype.name}; cast the images first")
    shape = list(x.shape)
    for axis, n, _ in plan:
        shape[axis] = n
    return Spec(tuple(shape), x.dtype)


def _made(x: Spec, size: Any, scale_factor: Any, mode: str, recompute: Any, layout: str) -> float:
    """Elements of the output."""
    plan = _plan(x, size, scale_factor, mode, recompute, layout)
    return math.prod(x.shape) * math.prod(n / x.shape[a] for a, n, _ in plan)


@interpolate.composite
def _(
    x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any, recompute_scale_factor: Any, antialias: bool,
    layout: str,
) -> Any:  # fmt: skip
    plan = _plan(x, size, scale_factor, mode, recompute_scale_factor, layout)
    kept = antialias or mode in ("linear", "bilinear", "trilinear")  # by these, an axis that keeps its length
    steps = [(a, n, s) for a, n, s in plan if n != x.shape[a] or (s not in (0.0, 1.0) and not kept)]
    ratio = {a: n / x.shape[a] for a, n, _ in steps}
    steps.sort(key=lambda step: (ratio[step[0]], step[0] if ratio[step[0]] < 1 else -step[0]))
    if not steps:
        return contiguous(x)
    if not x.dtype.is_float:
        for axis, n, scale in steps:
            x = take(x, constant(band(x.shape[axis], n, mode, scale).spans[:, 0], x), axis)
        return x
    dtype = x.dtype
    if dtype.itemsize == 2 and len(steps) > 1 and not mode.startswith("nearest"):
        x = cast(x, float32)
    for axis, n, scale in steps:
        x = resampled(x, axis, n, _TABLES.get(mode, mode), scale, bool(align_corners), antialias)
    return x if x.dtype is dtype else cast(x, dtype)


# ---- channels and places --------------------------------------------------------------------------------------------


class _Shuffle(Op):
    """Elements moved between channels and places: views, and one copy."""

    promote = staticmethod(as_given)
    dtypes = FLOATS
    ulp = 0

    def family_kernels(self) -> dict[str, Any]:
        return {}

    def cost(self, x: Spec) -> tuple[float, float]:
        """Each element is read and written."""
        return 0.0, 2 * bytes_of(x)


def _split(name: str, shape: Lengths, layout: str) -> tuple[Lengths, int, int, int]:
    """(axes in front, C, H, W)."""
    if len(shape) < 3:
        expected = "(..., C, H, W)" if layout == "NCHW" else "(..., H, W, C)"
        raise ShapeError(f"{name}: images {expected} expected, not shape {shape}")
    c, h, w = shape[-3:] if layout == "NCHW" else (shape[-1], *shape[-3:-1])
    return shape[:-3], c, h, w


def _whole(front: Lengths, c: int, h: int, w: int, layout: str) -> Lengths:
    return (*front, c, h, w) if layout == "NCHW" else (*front, h, w, c)


def _shuffled(x: Any, r: int, layout: str, reshape: Any, permute: Any) -> Any:
    front, c, h, w = _split("pixel_shuffle", x.shape, layout)
    f = len(front)
    if layout == "NCHW":
        parts, order = (c // (r * r), r, r, h, w), (0, 3, 1, 4, 2)
    else:
        parts, order = (h, w, c // (r * r), r, r), (0, 3, 1, 4, 2)
    moved = permute(reshape(x, (*front, *parts)), (*range(f), *(f + k for k in order)))
    return reshape(moved, _whole(front, c // (r * r), h * r, w * r, layout))


def _unshuffled(x: Any, r: int, layout: str, reshape: Any, permute: Any) -> Any:
    front, c, h, w = _split("pixel_unshuffle", x.shape, layout)
    f = len(front)
    if layout == "NCHW":
        parts, order = (c, h // r, r, w // r, r), (0, 2, 4, 1, 3)
    else:
        parts, order = (h // r, r, w // r, r, c), (0, 2, 4, 1, 3)
    moved = permute(reshape(x, (*front, *parts)), (*range(f), *(f + k for k in order)))
    return reshape(moved, _whole(front, c * r * r, h // r, w // r, layout))


_ONE = np.zeros((1, 4, 4))


@_Shuffle.definition(
    composite=lambda x, upscale_factor, layout: _shuffled(x, upscale_factor, layout, reshape, permute),
    reference=lambda x, upscale_factor, layout: _numpy_shuffle(x, upscale_factor, layout),
    samples=[
        Sample((2, 12, 3, 5), upscale_factor=2, why="two by two"),
        Sample((18, 4, 1), upscale_factor=3, why="one image"),
        Sample((2, 3, 5, 8), upscale_factor=2, layout="NHWC", why="channels last"),
        Sample((0, 4, 3, 3), upscale_factor=2, why="no images"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "pixel_shuffle: 6 channels are no multiple of upscale_factor 2 squared, 4",
                   np.zeros((6, 2, 2)), upscale_factor=2),
        ErrorInput(ShapeError, "pixel_shuffle: images (..., C, H, W) expected, not shape (4, 4)", np.zeros((4, 4)),
                   upscale_factor=2),
        ErrorInput(ValueError, "pixel_shuffle: upscale_factor is 0; it must be at least 1", _ONE, upscale_factor=0),
    ],
    workloads=[Workload(((16, 64, 32, 32),), (2,), "a layer"), Workload(((8, 27, 33, 35),), (3,), "ragged")],
    baselines={"torch": "F.pixel_shuffle(x, upscale_factor)"},
)  # fmt: skip
def pixel_shuffle(x: Spec, upscale_factor: int, layout: Layout = "NCHW") -> Spec:
    """Channels as places: `x` (..., C r r, H, W) gives (..., C, H r, W r), r = `upscale_factor`. Shi et al. 2016.

    out[c, h r + i, w r + j] = x[c r r + i r + j, h, w]. `layout`: "NHWC" where channels come last. Raises ShapeError
    where the channels are no multiple of r r.

    >>> dl.pixel_shuffle(dl.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    front, c, h, w = _split("pixel_shuffle", x.shape, layout)
    r = upscale_factor
    if r < 1:
        raise ValueError(f"pixel_shuffle: upscale_factor is {r}; it must be at least 1")
    if c % (r * r):
        raise ShapeError(f"pixel_shuffle: {c} channels are no multiple of upscale_factor {r} squared, {r * r}")
    return Spec(_whole(front, c // (r * r), h * r, w * r, layout), x.dtype)


def _numpy_shuffle(x: Any, r: int, layout: str) -> Any:
    x = x if layout == "NCHW" else np.moveaxis(x, -1, -3)
    out = np.zeros((*x.shape[:-3], x.shape[-3] // (r * r), x.shape[-2] * r, x.shape[-1] * r), x.dtype)
    for i in range(r):
        for j in range(r):
            out[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return out if layout == "NCHW" else np.moveaxis(out, -3, -1)


@_Shuffle.definition(
    composite=lambda x, downscale_factor, layout: _unshuffled(x, downscale_factor, layout, reshape, permute),
    reference=lambda x, downscale_factor, layout: _numpy_unshuffle(x, downscale_factor, layout),
    samples=[
        Sample((2, 3, 6, 10), downscale_factor=2, why="two by two"),
        Sample((2, 12, 3), downscale_factor=3, why="one image"),
        Sample((2, 6, 10, 2), downscale_factor=2, layout="NHWC", why="channels last"),
        Sample((0, 4, 4, 4), downscale_factor=2, why="no images"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "pixel_unshuffle: images of 4 x 3 are no multiples of downscale_factor 2",
                   np.zeros((1, 4, 3)), downscale_factor=2),
        ErrorInput(ValueError, "pixel_unshuffle: downscale_factor is 0; it must be at least 1", _ONE,
                   downscale_factor=0),
    ],
    workloads=[Workload(((16, 16, 64, 64),), (2,), "a layer"), Workload(((8, 3, 99, 105),), (3,), "ragged")],
    baselines={"torch": "F.pixel_unshuffle(x, downscale_factor)"},
)  # fmt: skip
def pixel_unshuffle(x: Spec, downscale_factor: int, layout: Layout = "NCHW") -> Spec:
    """Places as channels: `x` (..., C, H r, W r) gives (..., C r r, H, W), r = `downscale_factor`.

    What `pixel_shuffle` undoes. `layout`: "NHWC" where channels come last. Raises ShapeError where height or width is
    no multiple of r.

    >>> dl.pixel_unshuffle(dl.arange(4).reshape(1, 2, 2), 2).tolist()
    [[[0]], [[1]], [[2]], [[3]]]
    """
    front, c, h, w = _split("pixel_unshuffle", x.shape, layout)
    r = downscale_factor
    if r < 1:
        raise ValueError(f"pixel_unshuffle: downscale_factor is {r}; it must be at least 1")
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle: images of {h} x {w} are no multiples of downscale_factor {r}")
    return Spec(_whole(front, c * r * r, h // r, w // r, layout), x.dtype)


def _numpy_unshuffle(x: Any, r: int, layout: str) -> Any:
    x = x if layout == "NCHW" else np.moveaxis(x, -1, -3)
    out = np.zeros((*x.shape[:-3], x.shape[-3] * r * r, x.shape[-2] // r, x.shape[-1] // r), x.dtype)
    for i in range(r):
        for j in range(r):
            out[..., i * r + j :: r * r, :, :] = x[..., i::r, j::r]
    return out if layout == "NCHW" else np.moveaxis(out, -3, -1)


def _mixed(x: Any, groups: int, layout: str, reshape: Any, permute: Any) -> Any:
    axis = 1 if layout == "NCHW" else x.ndim - 1
    parts = (*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
    order = (*range(axis), axis + 1, axis, *range(axis + 2, len(parts)))
    return reshape(permute(reshape(x, parts), order), x.shape)


@_Shuffle.definition(
    composite=lambda x, groups, layout: _mixed(x, groups, layout, reshape, permute),
    reference=lambda x, groups, layout: np.take(
        x, np.arange(x.shape[1 if layout == "NCHW" else -1]).reshape(groups, -1).T.ravel(),
        1 if layout == "NCHW" else -1,
    ),
    samples=[
        Sample((2, 6, 3, 2), groups=3, why="three groups"), Sample((2, 4, 5), groups=2, why="one axis"),
        Sample((2, 3, 2, 6), groups=2, layout="NHWC", why="channels last"),
        Sample((0, 4, 2, 2), groups=2, why="no images"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "channel_shuffle: 6 channels are no multiple of 4 groups", np.zeros((1, 6, 2)),
                   groups=4),
        ErrorInput(ShapeError, "channel_shuffle: images (N, C, ...) expected, not shape (6, 2)", np.zeros((6, 2)),
                   groups=2),
        ErrorInput(ValueError, "channel_shuffle: groups is 0; it must be at least 1", np.zeros((1, 6, 2)), groups=0),
    ],
    workloads=[Workload(((16, 116, 28, 28),), (2,), "a layer"), Workload(((8, 27, 33, 35),), (3,), "ragged")],
    baselines={"torch": "torch.channel_shuffle(x, groups)"},
)  # fmt: skip
def channel_shuffle(x: Spec, groups: int, layout: Layout = "NCHW") -> Spec:
    """Channels of groups taken in turn: `x` (N, C, ...), out[:, k groups + g] = x[:, g (C / groups) + k].

    Zhang et al. 2018. `layout`: "NHWC" where channels come last. Raises ShapeError where the channels are no multiple
    of `groups`.

    >>> dl.channel_shuffle(dl.arange(4).reshape(1, 4, 1), 2).tolist()
    [[[0], [2], [1], [3]]]
    """
    if len(x.shape) < 3:
        expected = "(N, C, ...)" if layout == "NCHW" else "(N, ..., C)"
        raise ShapeError(f"channel_shuffle: images {expected} expected, not shape {x.shape}")
    c = x.shape[1 if layout == "NCHW" else -1]
    if groups < 1:
        raise ValueError(f"channel_shuffle: groups is {groups}; it must be at least 1")
    if c % groups:
        raise ShapeError(f"channel_shuffle: {c} channels are no multiple of {groups} groups")
    return Spec(x.shape, x.dtype)
